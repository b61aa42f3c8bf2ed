"""A small shop whose behaviour is known: reports say what is true of it, and intervals hold the true lift."""

from collections import Counter

import pytest

from benchmarks.replay import engine, lift
from benchmarks.replay.world import BACK, CAMPAIGNS, CART, REFILL, World


@pytest.mark.slow
@pytest.mark.covers(
    "S1.2", "S1.5", "S2.24", "S2.31", "S4.5", "S4.61", "S4.64", "S4.65", "S4.66", "S4.67", "S4.69", "S4.70", "S4.72"
)
async def test_every_figure_of_the_reports_of_a_shop_is_the_true_one_to_the_last_unit(dsn: str) -> None:
    """RP-1, GL-3, GL-4, GL-8, TR-6, EX-2: 1,200 customers, 42 days, four campaigns; invariant 12."""
    played = await engine.play(dsn, World(1200, 42, 5), 5)
    assert [(one.name, one.true, one.told) for one in played.wrong] == []
    # There was something to be right about.
    true = {one.name: one.true for one in played.figures}
    assert all(true[f"{name}: delivered"] > 5 for name in (CART, REFILL, BACK))
    assert all(sum(true.get(f"{name}: {what}", 0) for name in CAMPAIGNS) > 0 for what in ("orders", "converted"))
    assert true["cart: clicked_endpoints"] > 0 and true["cart: prevented by an order"] > 0
    assert played.counts["replies"] > 0 and len(played.figures) > 150


def test_a_cell_that_is_not_true_is_found_and_named() -> None:
    true = {("cart", 1): Counter(orders=2, refused=0), ("cart", 2): Counter(orders=3)}
    rows = [{"name": "cart", "day": 1, "orders": 3, "refused": None}, {"name": "cart", "day": 2, "orders": 2}]
    lines, orders, refused = engine.together("day", true, rows, ("name", "day"))
    assert lines.is_equal and refused.is_equal and not orders.is_equal
    assert orders.name == "day: orders (first at ('cart', 1))" and orders.told == (5, 2)
    wrong = [one for one in engine.one_by_one("year", true, rows, ("name", "day")) if not one.is_equal]
    # Nothing at all is no zero where a figure stands by itself.
    assert [(one.name, one.true, one.told) for one in wrong] == [
        ("cart 1: orders", 2, 3), ("cart 1: refused", 0, None), ("cart 2: orders", 3, 2),
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.covers("S4.75")
async def test_the_true_lift_lies_in_the_reported_interval_of_most_experiments_AB_9(dsn: str) -> None:
    """AB-9: of 6 runs of a shop of 400; the full measure is the benchmark's."""
    found = await lift.measure(dsn, 400, 6, 4)
    assert sum(one.is_covered for one in found) >= 4 and sum(one.is_revenue_covered for one in found) >= 4
    # The interval says something, and the text does.
    assert all(0 < one.true < one.people and one.high - one.low < one.people for one in found)
