"""Who of an experiment gets what: rules AB-1 and AB-2; and what is refused of a document."""

from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.experiment import (
    CONTROL,
    REST,
    Allocation,
    Arm,
    Experiment,
    Standing,
    Sums,
    Variant,
    allocation_of,
    arm_to_send,
    counting_of,
    in_global_control,
    pooled,
    problems_of,
    seconds_of,
)
from gateway.message import MessageClass

NUMBERS = range(447_700_900_000, 447_700_920_000)
WEIGHTS = st.lists(st.integers(0, 100), min_size=1, max_size=6).filter(lambda some: sum(some) > 0)


def made(*weights: float, **more: object) -> Experiment:
    variants = tuple(Variant(name=chr(65 + at), weight=weight) for at, weight in enumerate(weights))
    return Experiment(name="spring", variants=variants, **more)  # type: ignore[arg-type]


def arms(experiment: Experiment) -> dict[int, int]:
    allocation = allocation_of(experiment)
    return {number: allocation.arm_of(number) for number in NUMBERS}


def shares(found: dict[int, int]) -> dict[int, float]:
    return {arm: count / len(found) for arm, count in Counter(found.values()).items()}


@pytest.mark.covers("S4.75")
def test_ab_1_people_divide_as_the_weights_say() -> None:
    experiment = made(50, 30, 20)
    found = shares(arms(experiment))
    assert [found[arm] for arm in (1, 2, 3)] == pytest.approx([0.5, 0.3, 0.2], abs=0.015)
    assert allocation_of(experiment).shares() == pytest.approx((0, 0.5, 0.3, 0.2))


def test_ab_1_changing_weights_moves_only_those_between_the_old_bound_and_the_new_one() -> None:
    before, after = arms(made(50, 50)), arms(made(60, 40))
    moved = [number for number in NUMBERS if before[number] != after[number]]
    assert len(moved) / len(NUMBERS) == pytest.approx(0.1, abs=0.01)
    assert {(before[number], after[number]) for number in moved} == {(2, 1)}


@given(WEIGHTS, WEIGHTS)
def test_ab_1_who_moves_lies_between_bounds_that_moved(old: list[int], new: list[int]) -> None:
    size = max(len(old), len(new))
    one = allocation_of(made(*old, *[0] * (size - len(old))))
    other = allocation_of(made(*new, *[0] * (size - len(new))))
    moved = sum(one.variant_of(number) != other.variant_of(number) for number in NUMBERS[:500])
    apart = sum(abs(a - b) for a, b in zip(one.bounds, other.bounds, strict=True))
    assert apart or not moved
    assert moved <= 500 * apart / 10_000 + 5 * (500 * min(1, apart / 10_000)) ** 0.5


def test_ab_1_a_wider_test_takes_in_more_people_and_moves_nobody_who_is_in_it() -> None:
    narrow, wide = arms(made(1, 1, test_share=20)), arms(made(1, 1, test_share=40))
    assert all(wide[number] == arm for number, arm in narrow.items() if arm != REST)
    assert shares(narrow)[REST] == pytest.approx(0.8, abs=0.01) and shares(wide)[REST] == pytest.approx(0.6, abs=0.01)


def test_ab_1_a_variant_of_no_weight_has_nobody_wherever_it_stands() -> None:
    assert set(arms(made(0, 1, 1)).values()) == {2, 3}
    assert set(arms(made(1, 0, 1)).values()) == {1, 3}
    assert set(arms(made(1, 1, 0)).values()) == {1, 2}


def test_ab_1_two_experiments_divide_the_same_people_independently() -> None:
    one, other = made(1, 1), msgspec.structs.replace(made(1, 1), name="summer")
    both = Counter(zip(arms(one).values(), arms(other).values(), strict=True))
    assert all(count / len(NUMBERS) == pytest.approx(0.25, abs=0.015) for count in both.values()) and len(both) == 4
    shared = arms(msgspec.structs.replace(other, salt="spring"))
    assert shared == arms(one)


def test_ab_2_a_holdout_takes_its_share_first_and_says_nothing_of_the_variants() -> None:
    held, free = arms(made(50, 50, holdout=5)), arms(made(50, 50))
    assert shares(held)[CONTROL] == pytest.approx(0.05, abs=0.006)
    assert all(free[number] == arm for number, arm in held.items() if arm != CONTROL)
    wider = arms(made(50, 50, holdout=10))
    assert all(wider[number] == CONTROL for number, arm in held.items() if arm == CONTROL)
    assert allocation_of(made(50, 50, holdout=5, test_share=20)).shares() == pytest.approx(
        (0.05 / 0.24, 0.095 / 0.24, 0.095 / 0.24)
    )


def test_ab_2_the_global_control_is_the_same_people_for_all_campaigns_and_grows_only() -> None:
    of_five = {number for number in NUMBERS if in_global_control(number, "salt", 5, MessageClass.BULK)}
    of_ten = {number for number in NUMBERS if in_global_control(number, "salt", 10, MessageClass.TRIGGERED)}
    assert of_five < of_ten and len(of_ten) / len(NUMBERS) == pytest.approx(0.1, abs=0.01)
    assert not any(in_global_control(number, "salt", 0, MessageClass.BULK) for number in NUMBERS)
    assert not any(in_global_control(number, "salt", 10, MessageClass.TRANSACTIONAL) for number in NUMBERS)
    with pytest.raises(ValueError, match="expected 0 to 10, found 11"):
        in_global_control(1, "salt", 11, MessageClass.BULK)
    held = Counter(arm for number, arm in arms(made(1, 1)).items() if number in of_ten)
    assert held[1] / len(of_ten) == pytest.approx(0.5, abs=0.04)


ALLOCATION = allocation_of(made(1, 1, holdout=10, test_share=20))
BY_ARM = {arm: next(n for n in NUMBERS if ALLOCATION.arm_of(n) == arm) for arm in (REST, CONTROL, 1, 2)}


def sent(arm: int, **standing: object) -> int | None:
    return arm_to_send(ALLOCATION, Standing(**standing), BY_ARM[arm], None)  # type: ignore[arg-type]


def test_ab_5_the_rest_waits_and_gets_what_wins_while_those_of_the_test_keep_theirs() -> None:
    assert [sent(arm) for arm in (REST, CONTROL, 1, 2)] == [None, CONTROL, 1, 2]
    assert [sent(arm, state="held") for arm in (REST, CONTROL, 1, 2)] == [None, CONTROL, 1, 2]
    decided = [sent(arm, state="decided", winner=2) for arm in (REST, CONTROL, 1, 2)]
    assert decided == [2, CONTROL, 1, 2]
    assert [sent(arm, state="stopped") for arm in (REST, CONTROL, 1, 2)] == [None] * 4


def test_ab_5_decided_without_a_winner_the_rest_divides_as_the_test_did() -> None:
    drawn = {
        number: arm_to_send(ALLOCATION, Standing(state="decided"), number, None)
        for number in NUMBERS
        if ALLOCATION.arm_of(number) == REST
    }
    assert all(arm == ALLOCATION.variant_of(number) for number, arm in drawn.items())
    assert set(drawn.values()) == {1, 2}
    lone = Standing(state="decided", stopped=(1,))
    assert {arm_to_send(ALLOCATION, lone, number, None) for number in drawn} == {2}
    assert arm_to_send(ALLOCATION, Standing(state="decided", stopped=(1, 2)), BY_ARM[REST], None) is None


def test_ab_1_an_arm_that_was_assigned_stays_whatever_the_weights_are() -> None:
    other = Allocation(salt="spring", control=0, test=10_000, bounds=(0,))
    assert arm_to_send(other, Standing(), BY_ARM[1], 1) == 1
    assert arm_to_send(other, Standing(), BY_ARM[1], None) == 2


def test_ab_8_nobody_gets_an_arm_that_was_stopped() -> None:
    assert [sent(arm, stopped=(1,)) for arm in (CONTROL, 1, 2)] == [CONTROL, None, 2]
    assert sent(1, state="decided", winner=2, stopped=(1,)) == 2


def test_document_is_read_with_its_variants_under_their_name() -> None:
    octets = b'{"name": "spring", "variant": [{"name": "A", "weight": 50, "text": "hi"}, {"name": "B"}], "holdout": 5}'
    found = msgspec.json.decode(octets, type=Experiment)
    assert found.names() == ("control", "A", "B") and found.arm_named("B") == 2 and found.arm_named("C") is None
    assert problems_of("experiment", found) == []
    assert msgspec.json.decode(msgspec.json.encode(found), type=Experiment) == found
    with pytest.raises(msgspec.ValidationError, match="weigth"):
        msgspec.json.decode(b'{"name": "x", "variant": [{"name": "A", "weigth": 5}]}', type=Experiment)


@pytest.mark.parametrize(
    ("experiment", "key", "found"),
    [
        (made(1), "e.variant", "one"),
        (made(0, 0), "e.variant", "none"),
        (made(1, 1, otherwise="C"), "e.otherwise", "'C'"),
        (made(1, 1, decide_after="3h"), "e.decide_after", "'3h'"),
        (made(1, 1, decide_after="soon"), "e.decide_after", "'soon'"),
        (made(1, 1, window="100d"), "e.window", "'100d'"),
        (made(1, 1, metric="revenue", deviation=5.0), "e.currency", "none"),
        (made(1, 1, metric="revenue", currency="EUR"), "e.deviation", "none"),
        (made(1, 1, baseline=0.99), "e.minimum_effect", "0.02"),
        (made(1, 1, baseline=1.5), "e.baseline", "1.5"),
        (Experiment(name="x", variants=(Variant(name="hold"), Variant(name="B"))), "e.variant[1].name", "'hold'"),
        (Experiment(name="x", variants=(Variant(name="A"), Variant(name="A"))), "e.variant[2].name", "'A'"),
        (Experiment(name="x", variants=(Variant(name="A", text="a", ref="b"), Variant(name="B"))), "e.variant[1]",
         "both"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_refused_with_its_place(experiment: Experiment, key: str, found: str) -> None:
    assert [(problem[0], problem[2]) for problem in problems_of("e", experiment)] == [(key, found)]


def test_what_no_table_takes_is_refused() -> None:
    nul = Experiment(name="a\0", variants=(Variant(name="A\n"), Variant(name="B", text="hi\0")))
    assert [problem[0] for problem in problems_of("e", nul)] == ["e.name", "e.variant[1]", "e.variant[2]"]


def test_ab_1_however_narrow_a_test_or_a_holdout_it_has_a_slot() -> None:
    narrow = allocation_of(made(1, 1, test_share=0.01, holdout=50))
    assert (narrow.control, narrow.test) == (5000, 5001)
    assert allocation_of(made(1, holdout=0.0001)).control == 1


def test_ab_2_one_variant_and_a_holdout_are_an_experiment() -> None:
    assert problems_of("e", made(1, holdout=5)) == []
    assert set(arms(made(1, holdout=5)).values()) == {CONTROL, 1}


def test_lengths_of_time_have_a_unit() -> None:
    assert [seconds_of(text) for text in ("90m", "24h", "3d")] == [5400, 86400, 259200]
    assert [seconds_of(text) for text in ("", "24", "0h", "1.5h", "-1d", "24 h", "２４h")] == [None] * 7


def test_ab_5_only_human_clicks_count_and_only_of_the_campaign() -> None:
    click = counting_of(made(1, 1, metric="click"), "spring")
    assert (click.event, click.verdict, click.campaign) == ("clicked", "human", "spring")
    bought = counting_of(made(1, 1, window="2d"), "spring")
    assert (bought.event, bought.verdict, bought.campaign, bought.window_s) == ("order_placed", "", "", 172_800)
    events = {metric: counting_of(made(1, 1, metric=metric), "").event for metric in ("reply", "redemption", "revenue")}
    assert events == {"reply": "replied", "redemption": "coupon_redeemed", "revenue": "order_placed"}


def test_arms_add_up() -> None:
    one = Arm(arm=1, assigned=Sums(people=3, conversions=1, payers=1, revenue=5, squares=25), opt_outs=1, failures=2)
    other = Arm(arm=2, assigned=Sums(people=4), reached=Sums(people=2), opt_outs=1)
    both = pooled([one, other])
    assert (both.arm, both.assigned.people, both.reached.people, both.opt_outs, both.failures) == (1, 7, 2, 2, 2)
    assert (both.assigned.revenue, both.assigned.squares, both.assigned.payers) == (5, 25, 1)
