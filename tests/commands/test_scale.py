"""What a load needs is reckoned from figures that say where they come from; docs/scale.md shows the same ones."""

import re
from pathlib import Path

import pytest

from gateway.commands._scale import Load, figures, need, said

DOCS = Path(__file__).parents[2] / "docs" / "scale.md"
HOW = {"window": 10, "rtt_s": 0.05}


def a_day(per_s: int, days: int = 30) -> Load:
    """So many messages a second of one segment for eight hours."""
    return Load(messages_per_day=per_s * 8 * 3600, segments=1.0, retention_days=days)


def test_cores_disk_and_network_follow_from_the_figures() -> None:
    found = need(Load(messages_per_day=10_000_000, segments=1.2, receipts=0.5, peak_hours=10), **HOW)
    segments_per_s = 10_000_000 / 36_000 * 1.2
    day = 10_000_000 * (1.2 * (137 + 0.5 * 83) + 9)
    assert found.segments_per_s == pytest.approx(segments_per_s)
    assert found.postgres_cores == pytest.approx(segments_per_s * 4.47e-6 / 0.5)
    assert found.disk_gb_per_day == pytest.approx(day / 1e9)
    assert found.disk_gb == pytest.approx((day * 31 + 10_000_000 * 1.3 * 60) * 2 / 1e9)
    assert found.smpp_mbit_per_s == pytest.approx(segments_per_s * 330 * 8 / 1e6)
    assert (found.nodes, found.workers, found.is_seen) == (1, 1, True)
    assert found.binds == 3, "334 segments/s × 50 ms × 1.3 in flight, ten a bind"


@pytest.mark.parametrize(
    ("load", "more", "expected"),
    [
        (a_day(10_000), {}, (1, "cores")),
        (a_day(100_000, 3), {}, (1, "cores")),
        (a_day(100_000, 30), {}, (6, "disk")),
        (a_day(200_000, 1), {"node_disk_gb": 10_000}, (2, "rate")),
        (a_day(1_000_000, 1), {"node_disk_gb": 10**6, "node_cores": 4}, (5, "cores")),
        (a_day(100_000, 1), {"node_cores": 1}, (1, "cores")),
    ],
)
def test_nodes_are_as_many_as_the_scarcest_thing_wants(
    load: Load, more: dict[str, int], expected: tuple[int, str]
) -> None:
    found = need(load, **HOW, **more)
    assert (found.nodes, found.nodes_by) == expected


def test_what_was_never_run_and_what_cannot_work_is_said() -> None:
    few, many = (said(load, need(load, **HOW), **HOW) for load in (a_day(10_000), a_day(1_000_000)))
    assert not [line for line in few if line.startswith(("unseen", "too much"))]
    assert [line.split()[0] for line in many[-2:]] == ["too", "unseen"]


@pytest.mark.parametrize(
    ("load", "more"),
    [
        (Load(messages_per_day=0), {}),
        (Load(messages_per_day=1, segments=0.5), {}),
        (Load(messages_per_day=1, peak_hours=25), {}),
        (Load(messages_per_day=1, receipts=-1), {}),
        (Load(messages_per_day=1, retention_days=0), {}),
        (Load(messages_per_day=1), {"node_cores": 0}),
    ],
)
def test_loads_that_no_gateway_has_are_refused(load: Load, more: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        need(load, **HOW, **more)


def test_every_figure_says_how_it_was_come_by_and_the_docs_show_it() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert {figure.how for figure in figures().values()} == {"measured", "arithmetic"}
    for name, figure in figures().items():
        assert figure.source and re.search(
            rf"^\| `{name}` \| {figure.value:,g} \| .* \| {figure.how} \|", text, re.M
        ), name


def test_what_the_docs_say_of_three_rates_is_what_is_reckoned() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for per_s in (10_000, 100_000, 1_000_000):
        for days in (30, 3):
            found = need(a_day(per_s, days), **HOW)
            row = (
                f"| {per_s:,} | {days} | {found.postgres_cores:.1f} | {found.workers} | {found.disk_gb / 1000:,.1f} TB "
                f"| {found.nodes} | {found.roll_s_per_day:,.0f} s | {found.smpp_mbit_per_s:,.0f} Mbit/s |"
            )
            assert row in text, row
