"""What the arms of an experiment say: who is ahead, what was gained, what is to be done: rules AB-3 to AB-9.

    counts ─► guard     an arm that drives people away is stopped (AB-8)
           ─► verdict   arms, pairs, lift, labels: what a person is shown, at any time
           ─► decide    at its time: the winner by the rule, or what was said for otherwise (AB-4, AB-5)

By assignment: who was assigned counts, whether reached or not (AB-6). The rule of the winner: expected loss below LOSS,
at least LEAST_CONVERSIONS conversions in all, and a day over. Of revenue, that has no percentage points, the loss is
judged against what a person pays on the average.
Not here: the statistics (inference.py), where counts come from (store/experiments.py), when (automation/deciding.py).
"""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

from msgspec import Struct

from gateway.campaign import inference
from gateway.campaign.inference import Best, Interval
from gateway.experiment import (
    BEST,
    CONTROL,
    EVEN,
    FLASH_S,
    HOLD,
    LEAST_S,
    Arm,
    Experiment,
    Split,
    Standing,
    Sums,
    allocation_of,
    pooled,
    seconds_of,
)

ALPHA, POWER = 0.05, 0.8
LOSS = 0.001
MONEY_LOSS = 0.01
LEAST_CONVERSIONS = 100
MISMATCH_P = 0.001
GUARD_P, GUARD_RATIO, GUARD_EVENTS = 0.01, 2.0, 20
# Fewer conversions in an arm, and who leads is chance: intervals are shown, no ranks (RP-4).
RANKED_FROM = 20

UNDERPOWERED = "underpowered"
MISMATCH = "sample ratio mismatch"
REACHED_MISMATCH = "reached unevenly"
SMALL = "too few to rank"
WORSE = "worse than the control"
REWEIGHTED = "weights were changed"


class Line(Struct, frozen=True, kw_only=True):
    """One arm as it is shown.

    rate    of conversions, by assignment; mean: of revenue, in minor units
    best    None: it cannot win, being the control, alone, or stopped
    rank    1 = ahead; 0: not ranked
    """

    arm: int
    name: str
    people: int
    reached: int
    conversions: int
    rate: Interval
    rate_reached: Interval
    mean: float
    opt_outs: int
    failures: int
    best: Best | None = None
    rank: int = 0
    is_stopped: bool = False


class Pair(Struct, frozen=True, kw_only=True):
    """Two arms compared, the first less the second: at a horizon that was fixed before, and at any time.

    p, adjusted   two-sided; by Holm over the pairs of its family
    """

    one: int
    other: int
    difference: Interval
    p: float
    adjusted: float
    always: Interval
    always_p: float


class Lift(Struct, frozen=True, kw_only=True):
    """What an arm has brought over the control, to all whom it was assigned (AB-9); arm 0: all variants together.

    conversions, revenue  more than if they had been the control's; revenue is None where no currency is counted
    """

    arm: int
    people: int
    conversions: Interval
    revenue: Interval | None


class Verdict(Struct, frozen=True, kw_only=True):
    """What is known now.

    beats     the variant that beats all others at the fixed horizon; None: none does
    by_rule   that whose expected loss is small enough, with enough conversions
    needed    people in all for the minimum effect (AB-3)
    mismatch  p of the sample ratio
    """

    lines: tuple[Line, ...]
    pairs: tuple[Pair, ...]
    against: tuple[Pair, ...]
    lifts: tuple[Lift, ...]
    labels: tuple[str, ...]
    beats: int | None
    by_rule: int | None
    needed: int
    mismatch: float

    @property
    def is_blocked(self) -> bool:
        """Whether the verdict is none, since arms are not as large as they were to be (AB-7)."""
        return MISMATCH in self.labels


class Stop(Struct, frozen=True, kw_only=True):
    """An arm that is to be stopped, and why."""

    arm: int
    what: Literal["opt-outs", "failures"]
    events: int
    ratio: float
    p: float

    def said(self, names: Sequence[str]) -> str:
        """Why, in words."""
        times = f"{self.ratio:.1f} times" if math.isfinite(self.ratio) else "above nothing of"
        return f"{names[self.arm]}: {self.events} {self.what}, {times} the other's, p = {self.p:.2g}"


class Decision(Struct, frozen=True, kw_only=True):
    """What becomes of an experiment: decided, with a winner or without one, or held for a person."""

    state: Literal["decided", "held"]
    winner: int | None
    why: str


class Plan(Struct, frozen=True, kw_only=True):
    """What it takes (AB-3).

    needed    people in the test, control included, for the minimum effect between any two arms that are compared
    people    expected in it; None: not known
    effect    the least difference that so many people can tell
    days      until there are enough; None: not known
    """

    needed: int
    people: int | None
    effect: float | None
    days: float | None

    @property
    def is_underpowered(self) -> bool:
        """Whether it is begun with less than it takes."""
        return self.people is not None and self.people < self.needed


def plan(experiment: Experiment, people: int | None = None, people_a_day: float | None = None) -> Plan:
    """Say what an experiment takes, and how long that is.

    people        in its audience; people_a_day: who enter it. Those of either who are in the test are reckoned here
    """
    allocation = allocation_of(experiment)
    share = allocation.test / 10_000
    needed = people_needed(experiment, experiment.minimum_effect)
    if needed is None:
        return Plan(needed=0, people=None, effect=None, days=None)
    tested = None if people is None else round(people * share)
    days = needed / (people_a_day * share) if people_a_day else None
    return Plan(needed=needed, people=tested, effect=_effect(experiment, tested) if tested else None, days=days)


def people_needed(experiment: Experiment, effect: float) -> int | None:
    """How many people it takes to tell the two smallest arms that are compared apart; None: nothing is."""
    shares = allocation_of(experiment).shares()
    variants = sorted(one for one in shares[1:] if one > 0)
    control = shares[CONTROL]
    pairs = len(variants) * (len(variants) - 1) // 2
    found = [0]
    if len(variants) > 1:
        found.append(_needed(experiment, effect, variants[0], variants[1], ALPHA / pairs))
    if control and variants:
        found.append(_needed(experiment, effect, control, variants[0], ALPHA / len(variants)))
    return max(found) or None


def _needed(experiment: Experiment, effect: float, share: float, other: float, alpha: float) -> int:
    if experiment.is_of_money:
        return inference.people_needed_of_means(experiment.deviation, effect, share, other, alpha, POWER)
    return inference.people_needed(experiment.baseline, effect, share, other, alpha, POWER)


def _effect(experiment: Experiment, people: int) -> float | None:
    low, high = 0.0, (1e6 * experiment.deviation if experiment.is_of_money else 1 - experiment.baseline)
    if (least := people_needed(experiment, high * (1 - 1e-9))) is None or least > people:
        return None
    for _ in range(60):
        middle = (low + high) / 2
        if middle > 0 and (people_needed(experiment, middle) or 0) <= people:
            high = middle
        else:
            low = middle
    return high


def guard(arms: Sequence[Arm], stopped: Sequence[int] = ()) -> list[Stop]:
    """Name the variants that people leave, or that fail, twice as often as the best of the others (AB-8).

    p is that of one look, as the rule has it: an arm is stopped rather too early than too late.
    """
    running = [one for one in arms if one.arm != CONTROL and one.arm not in stopped and one.reached.people]
    found = []
    for one in running:
        others = [other for other in running if other is not one]
        for what, events in (("opt-outs", "opt_outs"), ("failures", "failures")):
            if not others:
                continue
            count, of = getattr(one, events), one.reached.people
            least = min(others, key=lambda other: getattr(other, events) / other.reached.people)
            other_count, other_of = getattr(least, events), least.reached.people
            other_rate = other_count / other_of
            ratio = count / of / other_rate if other_rate else math.inf if count else 0.0
            p = min(1.0, inference.two_rates(min(count, of), of, min(other_count, other_of), other_of) * len(others))
            if count >= GUARD_EVENTS and ratio >= GUARD_RATIO and p < GUARD_P:
                found.append(Stop(arm=one.arm, what=what, events=count, ratio=ratio, p=p))  # type: ignore[arg-type]
                break
    return found


def mismatch_of(splits: Sequence[Split], stopped: Sequence[int] = (), of: str = "assigned") -> float:
    """The chance that arms became so uneven though people were divided as they should be (AB-7).

    Versions with other weights are judged each by its own; arms that were stopped are left out.
    """
    value, degrees = 0.0, 0
    for split in splits:
        kept = [arm for arm in range(len(split.shares)) if arm not in stopped]
        counts = getattr(split, of)
        one, cells = inference.goodness_of_fit([counts[arm] for arm in kept], [split.shares[arm] for arm in kept])
        value, degrees = value + one, degrees + cells
    return inference.chi_square_tail(value, degrees)


def verdict(
    experiment: Experiment, arms: Sequence[Arm], splits: Sequence[Split], stopped: Sequence[int] = ()
) -> Verdict:
    """Say what is known now.

    arms  one for each of the experiment's, from the control on
    """
    names = experiment.names()
    can_win = [one for one in arms if one.arm != CONTROL and one.arm not in stopped]
    best = _best(experiment, can_win) if len(can_win) > 1 else {}
    least = min((one.assigned.conversions for one in can_win), default=0)
    is_small = least < RANKED_FROM
    order = [] if is_small else sorted(best, key=lambda arm: (best[arm].loss, arm))
    lines = tuple(
        Line(
            arm=one.arm,
            name=names[one.arm],
            people=one.assigned.people,
            reached=one.reached.people,
            conversions=one.assigned.conversions,
            rate=inference.wilson(one.assigned.conversions, one.assigned.people),
            rate_reached=inference.wilson(one.reached.conversions, one.reached.people),
            mean=inference.mean_of(one.assigned),
            opt_outs=one.opt_outs,
            failures=one.failures,
            best=best.get(one.arm),
            rank=order.index(one.arm) + 1 if one.arm in order else 0,
            is_stopped=one.arm in stopped,
        )
        for one in arms
        if one.arm != CONTROL or experiment.holdout or one.assigned.people
    )
    pairs = _pairs(experiment, list(combinations(can_win, 2)))
    control = arms[CONTROL]
    has_control = bool(control.assigned.people)
    against = _pairs(experiment, [(one, control) for one in can_win]) if has_control else ()
    mismatch = mismatch_of(splits, stopped)
    needed = people_needed(experiment, experiment.minimum_effect) or 0
    labels = []
    if mismatch < MISMATCH_P:
        labels.append(MISMATCH)
    if mismatch_of(splits, stopped, "reached") < MISMATCH_P:
        labels.append(REACHED_MISMATCH)
    # People of different times are in different shares of the arms: a good week may look like a good variant.
    if len({tuple(share for share in one.shares if share) for one in splits if sum(one.assigned)}) > 1:
        labels.append(REWEIGHTED)
    if sum(one.assigned.people for one in arms) < needed:
        labels.append(UNDERPOWERED)
    if is_small:
        labels.append(SMALL)
    conversions = sum(one.assigned.conversions for one in can_win)
    leader = min(best, key=lambda arm: (best[arm].loss, arm), default=None)
    by_rule = leader if leader is not None and conversions >= LEAST_CONVERSIONS else None
    if by_rule is not None and not best[by_rule].loss < _loss_allowed(experiment, can_win):
        by_rule = None
    if leader is not None and any(one.one == leader and one.adjusted < ALPHA and one.difference.value < 0
                                  for one in against):  # fmt: skip
        labels.append(WORSE)
    is_blocked = MISMATCH in labels
    return Verdict(
        lines=lines,
        pairs=pairs,
        against=against,
        lifts=_lifts(experiment, arms) if has_control else (),
        labels=tuple(labels),
        beats=None if is_blocked else _beats(pairs, [one.arm for one in can_win]),
        by_rule=None if is_blocked else by_rule,
        needed=needed,
        mismatch=mismatch,
    )


def _best(experiment: Experiment, arms: Sequence[Arm]) -> dict[int, Best]:
    if experiment.is_of_money:
        total = pooled(arms).assigned
        found = inference.best_means([inference.mean_and_error(one.assigned, total) for one in arms])
    else:
        found = inference.best_rates([(one.assigned.conversions, one.assigned.people) for one in arms])
    return {one.arm: best for one, best in zip(arms, found, strict=True)}


def _loss_allowed(experiment: Experiment, arms: Sequence[Arm]) -> float:
    return MONEY_LOSS * inference.mean_of(pooled(arms).assigned) if experiment.is_of_money else LOSS


def _pairs(experiment: Experiment, pairs: Sequence[tuple[Arm, Arm]]) -> tuple[Pair, ...]:
    made = []
    for one, other in pairs:
        difference, p, variance = _compared(experiment, one.assigned, other.assigned)
        always, always_p = inference.always_valid(difference.value, variance, experiment.minimum_effect, ALPHA)
        made.append((one.arm, other.arm, difference, p, always, always_p))
    adjusted = inference.holm([one[3] for one in made])
    return tuple(
        Pair(one=one, other=other, difference=difference, p=p, adjusted=fair, always=always, always_p=always_p)
        for (one, other, difference, p, always, always_p), fair in zip(made, adjusted, strict=True)
    )


def _compared(experiment: Experiment, one: Sums, other: Sums) -> tuple[Interval, float, float]:
    if experiment.is_of_money:
        means = inference.two_means(one, other)
        return means.interval, means.p, means.error**2
    counts = (one.conversions, one.people, other.conversions, other.people)
    return inference.newcombe(*counts), inference.two_rates(*counts), inference.rates_variance(*counts)


def _beats(pairs: Sequence[Pair], arms: Sequence[int]) -> int | None:
    """The variant that beats all others, each pair adjusted; None: none does, or there is nobody to beat."""
    won: dict[int, int] = {}
    for pair in pairs:
        if pair.adjusted < ALPHA:
            ahead = pair.one if pair.difference.value > 0 else pair.other
            won[ahead] = won.get(ahead, 0) + 1
    return next((arm for arm, count in won.items() if count == len(arms) - 1), None)


def _lifts(experiment: Experiment, arms: Sequence[Arm]) -> tuple[Lift, ...]:
    control, variants = arms[CONTROL].assigned, [one for one in arms if one.arm != CONTROL]
    made = [(one.arm, one.assigned) for one in variants]
    if len(variants) > 1:
        made.append((CONTROL, pooled(variants).assigned))
    return tuple(
        Lift(
            arm=arm,
            people=one.people,
            conversions=inference.newcombe(
                one.conversions, one.people, control.conversions, control.people
            ).times(one.people),
            revenue=inference.two_means(one, control).interval.times(one.people) if experiment.currency else None,
        )
        for arm, one in made
        if one.people
    )  # fmt: skip


def due_after_s(experiment: Experiment) -> int:
    """From the first assignment on, how long until it is decided: a flash is over in a day, nothing else is sooner."""
    after = seconds_of(experiment.decide_after) or LEAST_S
    return max(FLASH_S, after)


def decide(experiment: Experiment, known: Verdict, elapsed_s: float) -> Decision | None:
    """Decide an experiment so long after its first assignment; None: it is not its time, or there is nothing to decide.

    An uneven sample is held for a person, whatever was said for otherwise.
    """
    if len(experiment.variants) < 2 or elapsed_s < due_after_s(experiment):
        return None
    names = experiment.names()
    if known.is_blocked:
        return Decision(state="held", winner=None, why=f"{MISMATCH}: p = {known.mismatch:.2g}")
    if known.by_rule is not None:
        best = next(one.best for one in known.lines if one.arm == known.by_rule)
        assert best is not None
        why = f"by the rule: P(best) = {best.chance:.3f}, expected loss = {_loss_said(experiment, best.loss)}"
        return Decision(state="decided", winner=known.by_rule, why=why)
    running = [one for one in known.lines if one.arm != CONTROL and not one.is_stopped]
    conversions = sum(one.conversions for one in running)
    lacks = (
        f"{conversions} of {LEAST_CONVERSIONS} conversions"
        if conversions < LEAST_CONVERSIONS
        else "no variant's expected loss is small enough"
    )
    if experiment.otherwise == HOLD or not running:
        return Decision(state="held", winner=None, why=lacks)
    if experiment.otherwise == EVEN:
        return Decision(state="decided", winner=None, why=f"even: {lacks}")
    if experiment.otherwise == BEST:
        # Alone, nobody is compared; without a loss the greater rate leads.
        ahead = min(running, key=lambda one: (one.best.loss if one.best else 0.0, -one.rate.value, one.arm))
        return Decision(state="decided", winner=ahead.arm, why=f"best so far: {lacks}")
    arm = names.index(experiment.otherwise)
    if all(one.arm != arm for one in running):
        return Decision(state="held", winner=None, why=f"{experiment.otherwise} was stopped; {lacks}")
    return Decision(state="decided", winner=arm, why=f"{experiment.otherwise} as was said: {lacks}")


def _loss_said(experiment: Experiment, loss: float) -> str:
    if experiment.is_of_money:
        return f"{loss:.1f} minor units of {experiment.currency} a person"
    return f"{100 * loss:.3f} percentage points"


def may_win(experiment: Experiment, standing: Standing, name: str) -> str:
    """Say why a person may not declare a variant the winner; "": they may."""
    arm = experiment.arm_named(name)
    names = ", ".join(one.name for one in experiment.variants)
    if arm is None or arm == CONTROL:
        return f"winner: expected one of {names}, found {name!r}"
    if standing.state in ("decided", "stopped"):
        return f"{experiment.name}: expected one that runs or is held, it is {standing.state}"
    return ""
