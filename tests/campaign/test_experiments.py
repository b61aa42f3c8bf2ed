"""What arms say, and what becomes of an experiment: rules AB-3 to AB-9 and RP-4."""

import math
from collections.abc import Sequence
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign import experiments
from gateway.campaign.experiments import (
    MISMATCH,
    REACHED_MISMATCH,
    REWEIGHTED,
    SMALL,
    UNDERPOWERED,
    WORSE,
    Verdict,
    decide,
    guard,
    may_win,
    mismatch_of,
    plan,
    verdict,
)
from gateway.experiment import (
    CONTROL,
    Arm,
    Experiment,
    Split,
    Standing,
    Sums,
    Variant,
    allocation_of,
    problems_of,
)

DAY = 86400.0


def made(*weights: float, **more: object) -> Experiment:
    variants = tuple(Variant(name=chr(65 + at), weight=weight) for at, weight in enumerate(weights))
    return Experiment(name="spring", variants=variants, **more)  # type: ignore[arg-type]


AB = made(50, 50)
HELD_OUT = made(45, 45, holdout=10)


def arm(at: int, people: int, conversions: int, **more: int) -> Arm:
    sums = Sums(people=people, conversions=conversions)
    return Arm(arm=at, assigned=sums, reached=sums, **more)


def known(experiment: Experiment, counts: Sequence[tuple[int, int]], stopped: Sequence[int] = ()) -> Verdict:
    """The verdict on (people, conversions) of each arm, from the control on, of people who divided as they are."""
    arms = [arm(at, *count) for at, count in enumerate(counts)]
    people = [one.assigned.people for one in arms]
    total = sum(people) or 1
    split = Split(shares=tuple(one / total for one in people), assigned=tuple(people), reached=tuple(people))
    return verdict(experiment, arms, [split], stopped)


def test_ab_3_before_it_starts_the_needed_people_the_days_and_what_so_many_can_tell_are_known() -> None:
    found = plan(AB, people=2000, people_a_day=500)
    assert found.needed == pytest.approx(2 * 2213, abs=4) and found.is_underpowered
    assert found.days == pytest.approx(found.needed / 500)
    assert found.effect is not None and found.effect > AB.minimum_effect
    assert experiments.people_needed(AB, found.effect) == pytest.approx(2000, abs=1)
    assert not plan(AB, people=5000).is_underpowered and plan(AB).people is None


def test_ab_3_who_is_not_in_the_test_does_not_count() -> None:
    found = plan(made(50, 50, test_share=20), people=10_000, people_a_day=1000)
    assert found.people == 2000 and found.is_underpowered and found.days == pytest.approx(found.needed / 200)


def test_ab_3_more_variants_smaller_arms_and_a_control_take_more_people() -> None:
    two, three, uneven, held = (plan(one).needed for one in (AB, made(1, 1, 1), made(90, 10), made(45, 45, holdout=10)))
    assert two < three and two < uneven and two < held
    assert plan(made(1, 1, 0)).needed == two
    assert plan(made(1, holdout=50)).needed == two


def test_ab_3_of_revenue_it_follows_from_the_deviation() -> None:
    found = plan(made(1, 1, metric="revenue", currency="EUR", minimum_effect=100, deviation=1000), people=3200)
    assert found.needed == pytest.approx(3140, abs=2) and not found.is_underpowered
    assert found.effect == pytest.approx(99, abs=1)
    assert plan(AB, people=3).effect is None


@pytest.mark.covers("S4.75")
def test_ab_4_a_variant_that_beats_the_other_at_the_horizon_is_named() -> None:
    found = known(AB, [(0, 0), (5000, 250), (5000, 400)])
    assert found.beats == 2 and found.by_rule == 2 and found.labels == ()
    [pair] = found.pairs
    assert pair.difference.value == pytest.approx(-0.03) and pair.p == pair.adjusted < 1e-6
    assert pair.always.high < 0 and pair.always_p < 0.05
    assert [(line.name, line.rank) for line in found.lines] == [("A", 2), ("B", 1)]


def test_ab_4_the_winner_has_to_beat_all_others_and_comparisons_are_adjusted() -> None:
    three = made(1, 1, 1)
    found = known(three, [(0, 0), (5000, 250), (5000, 290), (5000, 400)])
    assert found.beats == 3 and len(found.pairs) == 3
    assert all(pair.adjusted >= pair.p for pair in found.pairs)
    close = known(three, [(0, 0), (5000, 250), (5000, 380), (5000, 400)])
    assert close.beats is None
    # Two alone would differ; among three pairs it is not enough.
    barely = [(0, 0), (5000, 250), (5000, 298), (5000, 270)]
    first = next(pair for pair in known(three, barely).pairs if (pair.one, pair.other) == (1, 2))
    assert first.p < 0.05 < first.adjusted


def test_ab_10_of_1000_experiments_with_four_alike_variants_5_percent_at_most_name_one_that_beats_all() -> None:
    random, named = Random(1), 0
    four = made(1, 1, 1, 1)
    for _ in range(1000):
        counts = [(1000, sum(random.random() < 0.1 for _ in range(1000))) for _ in range(4)]
        arms = [arm(0, 0, 0), *(arm(at, *count) for at, count in enumerate(counts, 1))]
        pairs = experiments._pairs(four, list(experiments.combinations(arms[1:], 2)))
        named += experiments._beats(pairs, [1, 2, 3, 4]) is not None
    assert named <= 65


def test_ab_4_the_rule_wants_a_small_loss_and_a_hundred_conversions() -> None:
    assert known(AB, [(0, 0), (700, 30), (700, 69)]).by_rule is None
    assert known(AB, [(0, 0), (700, 31), (700, 69)]).by_rule == 2
    near = known(AB, [(0, 0), (1000, 60), (1000, 62)])
    assert near.by_rule is None and min(line.best.loss for line in near.lines if line.best) > experiments.LOSS
    # Alike, but so well known that it does not matter which one is taken.
    assert known(AB, [(0, 0), (400_000, 20_000), (400_000, 20_010)]).by_rule == 2


def test_ab_5_it_is_decided_at_its_time_and_not_before() -> None:
    clear = known(AB, [(0, 0), (5000, 250), (5000, 400)])
    assert decide(AB, clear, DAY - 1) is None
    found = decide(AB, clear, DAY)
    assert found is not None and (found.state, found.winner) == ("decided", 2)
    assert found.why.startswith("by the rule: P(best) = 1.000, expected loss = 0.000")
    flash = made(50, 50, decide_after="4h")
    assert decide(flash, clear, DAY / 6) is not None and decide(flash, clear, DAY / 6 - 1) is None


@pytest.mark.parametrize(
    ("otherwise", "state", "winner"),
    [("hold", "held", None), ("best_so_far", "decided", 2), ("A", "decided", 1), ("even", "decided", None)],
)
def test_ab_5_without_a_winner_it_goes_as_was_said(otherwise: str, state: str, winner: int | None) -> None:
    experiment = made(50, 50, otherwise=otherwise)
    found = decide(experiment, known(experiment, [(0, 0), (500, 20), (500, 22)]), DAY)
    assert found is not None and (found.state, found.winner) == (state, winner)
    assert "42 of 100 conversions" in found.why


def test_ab_5_nothing_is_decided_between_one_variant_and_the_control() -> None:
    one = made(1, holdout=20)
    assert decide(one, known(one, [(1000, 50), (4000, 400)]), 10 * DAY) is None


def test_ab_7_an_uneven_sample_blocks_the_verdict_and_is_held_for_a_person() -> None:
    arms = [arm(0, 0, 0), arm(1, 5000, 250), arm(2, 4500, 400)]
    split = Split(shares=(0, 0.5, 0.5), assigned=(0, 5000, 4500), reached=(0, 5000, 4500))
    found = verdict(AB, arms, [split])
    assert found.is_blocked and found.mismatch < 0.001 and found.beats is None and found.by_rule is None
    decision = decide(made(50, 50, otherwise="best_so_far"), found, DAY)
    assert decision is not None and decision.state == "held" and MISMATCH in decision.why
    even = Split(shares=(0, 0.5, 0.5), assigned=(0, 5000, 4900), reached=(0, 5000, 4900))
    assert not verdict(AB, arms, [even]).is_blocked


def test_ab_7_each_version_is_judged_by_its_own_weights_and_without_stopped_arms() -> None:
    before = Split(shares=(0, 0.5, 0.5), assigned=(0, 1000, 1000), reached=(0, 1000, 1000))
    after = Split(shares=(0, 0.9, 0.1), assigned=(0, 900, 100), reached=(0, 900, 100))
    assert mismatch_of([before, after]) == 1
    assert mismatch_of([msgspec.structs.replace(before, assigned=(0, 1900, 1100))]) < 1e-9
    third = Split(shares=(0.1, 0.3, 0.3, 0.3), assigned=(1000, 3000, 200, 3000), reached=(1000, 3000, 200, 3000))
    assert mismatch_of([third]) < 1e-9 and mismatch_of([third], stopped=(2,)) == 1
    assert mismatch_of([]) == 1


def test_ab_7_changed_weights_are_told_since_versions_of_different_times_are_added_up() -> None:
    arms = [arm(0, 0, 0), arm(1, 1900, 0), arm(2, 1100, 0)]
    before = Split(shares=(0, 0.5, 0.5), assigned=(0, 1000, 1000), reached=(0, 1000, 1000))
    after = Split(shares=(0, 0.9, 0.1), assigned=(0, 900, 100), reached=(0, 900, 100))
    found = verdict(AB, arms, [before, after])
    assert REWEIGHTED in found.labels and not found.is_blocked
    nobody = msgspec.structs.replace(after, assigned=(0, 0, 0))
    assert REWEIGHTED not in verdict(AB, arms, [before, nobody]).labels
    assert REWEIGHTED not in verdict(AB, arms, [before, before]).labels


def test_ab_7_of_even_samples_one_in_a_thousand_is_told_to_be_uneven() -> None:
    random, told = Random(7), 0
    for _ in range(3000):
        first = sum(random.random() < 0.5 for _ in range(200))
        told += mismatch_of([Split(shares=(0, 0.5, 0.5), assigned=(0, first, 200 - first), reached=(0, 0, 0))]) < 0.001
    assert told <= 10


def test_ab_6_by_assignment_and_beside_it_by_who_was_reached() -> None:
    arms = [
        Arm(arm=0),
        Arm(arm=1, assigned=Sums(people=1000, conversions=50), reached=Sums(people=500, conversions=50)),
        Arm(arm=2, assigned=Sums(people=1000, conversions=60), reached=Sums(people=900, conversions=60)),
    ]
    split = Split(shares=(0, 0.5, 0.5), assigned=(0, 1000, 1000), reached=(0, 500, 900))
    found = verdict(AB, arms, [split])
    line = found.lines[0]
    assert (line.rate.value, line.rate_reached.value) == (0.05, 0.1)
    assert found.pairs[0].difference.value == pytest.approx(-0.01)
    # What became of people on the way is no fault of who divided them: it is told, and blocks nothing.
    assert REACHED_MISMATCH in found.labels and not found.is_blocked


@pytest.mark.parametrize(
    ("one", "other", "is_stopped"),
    [
        ((1000, 40), (1000, 15), True),
        ((1000, 19), (1000, 0), False),
        ((1000, 20), (1000, 0), True),
        ((1000, 40), (1000, 21), False),
        ((1000, 22), (1000, 11), False),
        ((100_000, 300), (100_000, 150), True),
    ],
)
def test_ab_8_an_arm_that_people_leave_twice_as_often_is_stopped(one, other, is_stopped) -> None:
    arms = [arm(0, 0, 0), arm(1, one[0], 0, opt_outs=one[1]), arm(2, other[0], 0, opt_outs=other[1])]
    assert [stop.arm for stop in guard(arms)] == [1] * is_stopped
    failing = [arm(0, 0, 0), arm(1, one[0], 0, failures=one[1]), arm(2, other[0], 0, failures=other[1])]
    assert [(stop.arm, stop.what) for stop in guard(failing)] == [(1, "failures")] * is_stopped


def test_ab_8_of_three_arms_each_is_held_against_the_best_and_the_control_is_none_of_them() -> None:
    arms = [arm(0, 5000, 0), *(arm(at, 1000, 0, opt_outs=count) for at, count in enumerate((10, 40, 41), 1))]
    assert [stop.arm for stop in guard(arms)] == [2, 3]
    assert [stop.arm for stop in guard(arms, stopped=(1,))] == []
    assert guard([arm(0, 5000, 0), arm(1, 1000, 0, opt_outs=100)]) == []
    [stop] = guard(arms, stopped=(3,))
    assert stop.said(AB.names()) == "B: 40 opt-outs, 4.0 times the other's, p = 1.7e-05"


def test_ab_8_an_arm_that_was_stopped_wins_nothing() -> None:
    found = known(AB, [(0, 0), (5000, 250), (5000, 400)], stopped=(2,))
    assert found.by_rule is None and [line.is_stopped for line in found.lines] == [False, True]
    named = made(50, 50, otherwise="B")
    decision = decide(named, found, DAY)
    assert decision is not None and (decision.state, decision.winner) == ("held", None)
    best = decide(made(50, 50, otherwise="best_so_far"), found, DAY)
    assert best is not None and best.winner == 1


def test_ab_9_lift_is_what_was_gained_over_the_control_with_its_interval() -> None:
    found = known(HELD_OUT, [(1000, 50), (4500, 270), (4500, 315)])
    by_arm = {lift.arm: lift for lift in found.lifts}
    assert by_arm[1].conversions.value == pytest.approx(45) and by_arm[2].conversions.value == pytest.approx(90)
    assert by_arm[0].conversions.value == pytest.approx(135) and by_arm[0].people == 9000
    assert by_arm[2].conversions.low < 90 < by_arm[2].conversions.high and by_arm[2].revenue is None
    assert len(found.against) == 2
    assert known(AB, [(0, 0), (10, 1), (10, 2)]).lifts == ()


def test_ab_9_lift_of_revenue_has_its_interval_too() -> None:
    experiment = made(1, holdout=50, metric="revenue", currency="EUR", minimum_effect=100, deviation=1000)
    sums = [Sums(people=1000, conversions=n, payers=n, revenue=n * 5000, squares=n * 25e6) for n in (50, 80)]
    arms = [Arm(arm=at, assigned=one, reached=one) for at, one in enumerate(sums)]
    [lift] = verdict(experiment, arms, []).lifts
    assert lift.revenue is not None and lift.revenue.value == pytest.approx(150_000)
    assert 0 < lift.revenue.low < 150_000 < lift.revenue.high


def test_ab_9_the_true_lift_lies_in_its_interval_95_times_of_100() -> None:
    random, held = Random(2), 0
    for _ in range(1000):
        control = sum(random.random() < 0.08 for _ in range(200))
        treated = sum(random.random() < 0.12 for _ in range(1800))
        [lift] = known(made(1, holdout=10), [(200, control), (1800, treated)]).lifts
        held += lift.conversions.low <= 0.04 * 1800 <= lift.conversions.high
    assert held / 1000 >= 0.93


def test_ab_4_of_revenue_the_loss_is_judged_against_what_a_person_pays() -> None:
    experiment = made(1, 1, metric="revenue", currency="EUR", minimum_effect=100, deviation=1000)

    def arms(*payers: int) -> list[Arm]:
        some = [Sums(people=5000, conversions=n, payers=n, revenue=n * 5000, squares=n * 30e6) for n in payers]
        return [Arm(arm=0), *(Arm(arm=at, assigned=one, reached=one) for at, one in enumerate(some, 1))]

    found = verdict(experiment, arms(250, 400), [])
    assert found.by_rule == 2 and found.beats == 2
    assert verdict(experiment, arms(250, 260), []).by_rule is None
    decision = decide(experiment, found, DAY)
    assert decision is not None and "minor units of EUR a person" in decision.why
    assert verdict(experiment, [Arm(arm=0), Arm(arm=1), Arm(arm=2)], []).by_rule is None


def test_rp_4_small_samples_show_intervals_and_no_ranks() -> None:
    found = known(AB, [(0, 0), (100, 19), (100, 60)])
    assert SMALL in found.labels and [line.rank for line in found.lines] == [0, 0]
    assert all(line.rate.low < line.rate.value < line.rate.high for line in found.lines)
    assert [line.rank for line in known(AB, [(0, 0), (100, 20), (100, 60)]).lines] == [2, 1]


def test_ab_3_what_runs_with_less_than_it_takes_is_labelled() -> None:
    assert UNDERPOWERED in known(AB, [(0, 0), (2000, 100), (2000, 130)]).labels
    assert UNDERPOWERED not in known(AB, [(0, 0), (2300, 115), (2300, 150)]).labels


def test_a_leader_that_is_worse_than_the_control_is_labelled() -> None:
    assert WORSE in known(HELD_OUT, [(2000, 200), (4500, 270), (4500, 315)]).labels
    assert WORSE not in known(HELD_OUT, [(2000, 100), (4500, 270), (4500, 315)]).labels


def test_nothing_at_all_is_a_verdict_without_claims() -> None:
    found = verdict(AB, [Arm(arm=0), Arm(arm=1), Arm(arm=2)], [])
    assert (found.beats, found.by_rule, found.lifts, found.mismatch) == (None, None, (), 1.0)
    assert found.labels == (UNDERPOWERED, SMALL) and math.isinf(found.pairs[0].always.high)


def test_a_person_may_declare_any_variant_the_winner_while_nothing_is_decided() -> None:
    assert may_win(AB, Standing(), "B") == "" and may_win(AB, Standing(state="held"), "A") == ""
    assert may_win(AB, Standing(), "control") == "winner: expected one of A, B, found 'control'"
    assert "it is decided" in may_win(AB, Standing(state="decided", winner=1), "B")


VARIANTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=5).map(
    lambda weights: tuple(Variant(name=chr(65 + at), weight=weight) for at, weight in enumerate(weights))
)
EXPERIMENTS = st.builds(
    Experiment,
    name=st.just("any"),
    variants=VARIANTS,
    metric=st.sampled_from(["conversion", "revenue"]),
    currency=st.sampled_from(["", "EUR"]),
    minimum_effect=st.floats(1e-6, 1e12),
    baseline=st.floats(0, 1e12),
    deviation=st.floats(0, 1e12),
    holdout=st.floats(0, 50),
    test_share=st.none() | st.floats(0.01, 100),
    otherwise=st.sampled_from(["hold", "best_so_far", "even", "A"]),
).filter(lambda one: not problems_of("e", one))


@given(EXPERIMENTS, st.data())
def test_whatever_was_asked_and_counted_there_is_an_answer(experiment: Experiment, data: st.DataObject) -> None:
    arms = []
    for at in range(len(experiment.variants) + 1):
        people = data.draw(st.integers(0, 10**7))
        reached = data.draw(st.integers(0, people))
        converted = data.draw(st.integers(0, reached))
        paid = data.draw(st.floats(0, 1e12)) if converted else 0.0
        sums = [
            Sums(
                people=n, conversions=converted, payers=converted, revenue=converted * paid, squares=converted * paid**2
            )
            for n in (people, reached)
        ]
        left, failed = data.draw(st.integers(0, reached)), data.draw(st.integers(0, reached))
        arms.append(Arm(arm=at, assigned=sums[0], reached=sums[1], opt_outs=left, failures=failed))
    split = Split(
        shares=allocation_of(experiment).shares(),
        assigned=tuple(one.assigned.people for one in arms),
        reached=tuple(one.reached.people for one in arms),
    )
    stopped = [stop.arm for stop in guard(arms)]
    assert CONTROL not in stopped
    found = verdict(experiment, arms, [split], stopped)
    assert sum(line.best.chance for line in found.lines if line.best) in (0, pytest.approx(1, abs=0.01))
    assert not {found.beats, found.by_rule} & {CONTROL, *stopped}
    made = decide(experiment, found, 90 * DAY)
    assert made is None or made.winner not in (CONTROL, *stopped)
    assert made is None or not found.is_blocked or made.state == "held"
    asked = plan(experiment, people=data.draw(st.integers(1, 10**8)), people_a_day=data.draw(st.floats(0.1, 1e6)))
    assert asked.needed >= 0 and (asked.effect is None or asked.effect >= 0)


def test_shares_of_the_plan_are_those_of_the_allocation() -> None:
    assert sum(allocation_of(HELD_OUT).shares()) == pytest.approx(1)
