"""An experiment as its author writes it, who of its people gets what, and the sums that are kept of them (AB-1, AB-2).

    [experiment]
    name = "spring"              metric = "conversion"          holdout = 5         # percent who get nothing
    minimum_effect = 0.02        baseline = 0.05                test_share = 20     # percent of the others
    decide_after = "24h"         otherwise = "hold"
    [[experiment.variant]]
    name = "A"
    weight = 50
    text = "Spring is here: -20 %"

The unit is the endpoint. A number has two slots of 10,000 each, drawn by the hash of SG-8 under two salts, so that what
moves a boundary of one moves nobody across a boundary of the other:

    role       0 ── control ──┬────────── test ──────────┬────────── rest ────────── 9999
    variant    0 ────── A ──────┬────── B ──────┬──────── C ──────────────────────── 9999

The rest waits until there is a winner. Arms are counted from 1 in the order of the variants; 0 is the control.
Not here: what the sums say (gateway.campaign.experiments), where they come from (gateway.store.experiments).
"""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct, field

from gateway.message import MessageClass
from gateway.person import CLICKED, ORDER_PLACED, REPLIED
from gateway.predicate import HUMAN, RANDOM_BUCKETS, random_bucket

CONTROL = 0
REST = -1
"""Whoever is neither held out nor in the test: they get what wins."""
SLOTS = RANDOM_BUCKETS

HOLD, BEST, EVEN = "hold", "best_so_far", "even"
OTHERWISE = (HOLD, BEST, EVEN)
CONTROL_NAME = "control"
# A winner is found no sooner (AB-4): a day has its hours, and some words are read at once, others in the evening.
FLASH_S, LEAST_S = 4 * 3600, 24 * 3600
MOST_CONTROL_PERCENT = 10.0
LONGEST_S = 90 * 86400
MOST_VARIANTS = 20
REDEEMED = "coupon_redeemed"

Metric: TypeAlias = Literal["conversion", "click", "reply", "redemption", "revenue"]
State: TypeAlias = Literal["running", "held", "decided", "stopped"]
Problem: TypeAlias = tuple[str, str, str]

_SPAN = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}


class Variant(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the things that are compared: a text of its own, or the name of a step or template; or a name alone."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    weight: Annotated[float, Meta(ge=0, le=1_000_000)] = 1.0
    text: str = ""
    ref: str = ""


class Experiment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is compared, on whom, by what, and when it is decided.

    salt            what slots are drawn with; "" = the name. Who shares a salt shares people
    metric          what decides; `conversion` is the event `goal`, `revenue` is what was paid, net, in `currency`
    window          of each person, from the message or the virtual send on
    minimum_effect  the least difference worth finding: of rates as a fraction, of revenue in minor units a person
    baseline        the rate, or the revenue a person, without it; deviation: of revenue a person, standard
    test_share      percent of those not held out; None = all of them
    decide_after    from the first assignment on (AB-5); under a day only what is over in a day
    otherwise       where no variant has won by then: hold, best_so_far, even, or the name of a variant
    holdout         percent who get nothing
    """

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    salt: str = ""
    metric: Metric = "conversion"
    goal: Annotated[str, Meta(min_length=1)] = ORDER_PLACED
    window: str = "3d"
    currency: Annotated[str, Meta(pattern="^([A-Z]{3})?$")] = ""
    minimum_effect: Annotated[float, Meta(ge=1e-6, le=1e12)] = 0.02
    baseline: Annotated[float, Meta(ge=0, le=1e12)] = 0.05
    deviation: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    test_share: Annotated[float, Meta(ge=0.01, le=100)] | None = None
    decide_after: str = "24h"
    otherwise: str = HOLD
    holdout: Annotated[float, Meta(ge=0, le=50)] = 0.0
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=MOST_VARIANTS)] = field(name="variant")

    @property
    def is_of_money(self) -> bool:
        """Whether arms are compared by what was paid."""
        return self.metric == "revenue"

    def arm_named(self, name: str) -> int | None:
        """Find the arm of a variant, or of the control."""
        return self.names().index(name) if name in self.names() else None

    def names(self) -> tuple[str, ...]:
        """Name the arms, from the control on."""
        return (CONTROL_NAME, *(one.name for one in self.variants))


class Allocation(Struct, frozen=True, kw_only=True):
    """Who gets what: the boundaries of both slots.

    control, test  role slots below `control` are the control's, those from `test` on the rest's
    bounds         variant slots of a variant end before its bound; that of the last one, 10,000, is left out
    """

    salt: str
    control: int
    test: int
    bounds: tuple[int, ...]

    def arm_of(self, number: int) -> int:
        """Say which arm a number is of: CONTROL, REST, or that of a variant."""
        role = random_bucket(number, role_salt(self.salt))
        if role < self.control:
            return CONTROL
        return self.variant_of(number) if role < self.test else REST

    def variant_of(self, number: int) -> int:
        """Say which variant a number has who is not held out."""
        return 1 + bisect_right(self.bounds, random_bucket(number, self.salt))

    def shares(self) -> tuple[float, ...]:
        """How those who are assigned divide into the arms, from the control on; their sum is 1."""
        edges = (0, *self.bounds, SLOTS)
        tested = (self.test - self.control) / SLOTS
        slots = [self.control, *(tested * (after - before) for before, after in zip(edges, edges[1:], strict=False))]
        return tuple(one / sum(slots) for one in slots)


def allocation_of(experiment: Experiment) -> Allocation:
    """Draw the boundaries of an experiment whose parts are sound (`problems_of`)."""
    total = sum(one.weight for one in experiment.variants)
    bounds, sum_ = [], 0.0
    for one in experiment.variants[:-1]:
        sum_ += one.weight
        bounds.append(round(SLOTS * sum_ / total))
    control = math.ceil(SLOTS * experiment.holdout / 100)
    share = 100.0 if experiment.test_share is None else experiment.test_share
    return Allocation(
        salt=experiment.salt or experiment.name,
        control=control,
        test=control + max(1, round((SLOTS - control) * share / 100)),
        bounds=tuple(bounds),
    )


def role_salt(salt: str) -> str:
    """The salt of the role slot."""
    return f"{salt}/role"


def in_global_control(number: int, salt: str, percent: float, class_: MessageClass) -> bool:
    """Say whether a number is of those who get nothing that advertises, from any campaign (AB-2).

    salt     of the installation (SG-8): as long as it stays, and the percent does not fall, they stay the same people
    percent  0 to MOST_CONTROL_PERCENT
    class_   of the message: what does not advertise leaves for everybody
    """
    if not 0 <= percent <= MOST_CONTROL_PERCENT:
        raise ValueError(f"percent: expected 0 to {MOST_CONTROL_PERCENT:g}, found {percent:g}")
    if class_ < MessageClass.TRIGGERED:
        return False
    return random_bucket(number, f"{salt}/control") < round(SLOTS * percent / 100)


def seconds_of(text: str) -> int | None:
    """Read a length of time such as 90m, 24h or 3d; None: it is none."""
    found = _SPAN.fullmatch(text)
    return int(found[1]) * _UNITS_S[found[2]] if found and int(found[1]) else None


def problems_of(key: str, experiment: Experiment) -> list[Problem]:
    """Say what is wrong with an experiment whose parts are well-formed."""
    problems: list[Problem] = []
    for field_, said in (("name", experiment.name), ("salt", experiment.salt), ("goal", experiment.goal)):
        if not said.isprintable():
            problems.append((f"{key}.{field_}", "printable characters", repr(said)))
    names = [one.name for one in experiment.variants]
    for at, one in enumerate(experiment.variants, 1):
        where = f"{key}.variant[{at}]"
        if one.name in (*OTHERWISE, CONTROL_NAME) or one.name in names[: at - 1]:
            taken = "a name of its own, none of hold, best_so_far, even and control"
            problems.append((f"{where}.name", taken, repr(one.name)))
        if not one.name.isprintable() or "\0" in one.text + one.ref:
            problems.append((where, "a printable name, and no NUL", repr(one.name)))
        if one.text and one.ref:
            problems.append((where, "either text or ref", "both"))
    if not sum(one.weight for one in experiment.variants) > 0:
        problems.append((f"{key}.variant", "a weight above 0", "none"))
    if len(names) == 1 and not experiment.holdout:
        problems.append((f"{key}.variant", "a second one, or a holdout to compare the one with", "one"))
    if experiment.otherwise not in (*OTHERWISE, *names):
        expected = f"hold, best_so_far, even or the name of a variant ({', '.join(names)})"
        problems.append((f"{key}.otherwise", expected, repr(experiment.otherwise)))
    after = seconds_of(experiment.decide_after)
    if after is None or not FLASH_S <= after <= LONGEST_S:
        problems.append((f"{key}.decide_after", "a time from 4h to 90d", repr(experiment.decide_after)))
    window = seconds_of(experiment.window)
    if window is None or window > LONGEST_S:
        problems.append((f"{key}.window", "a time such as 12h or 3d, at most 90d", repr(experiment.window)))
    if experiment.is_of_money:
        if not experiment.currency:
            problems.append((f"{key}.currency", "one such as EUR, which revenue is counted in", "none"))
        if not experiment.deviation:
            expected = "the standard deviation of what one person pays, in minor units"
            problems.append((f"{key}.deviation", expected, "none"))
    elif not experiment.baseline < 1:
        problems.append((f"{key}.baseline", "a rate below 1", f"{experiment.baseline:g}"))
    elif not experiment.baseline + experiment.minimum_effect < 1:
        expected = f"less than 1 together with baseline ({experiment.baseline:g})"
        problems.append((f"{key}.minimum_effect", expected, f"{experiment.minimum_effect:g}"))
    return problems


class Counting(Struct, frozen=True, kw_only=True):
    """What counts as a conversion of a person: an event, of a verdict where that is given.

    campaign  of which message it has to be the answer; "" = of any
    """

    event: str
    verdict: str = ""
    campaign: str = ""
    currency: str = ""
    window_s: int


def counting_of(experiment: Experiment, campaign: str = "") -> Counting:
    """Say what counts for an experiment, in the messages of a campaign where it belongs to one."""
    verdict, of_message = "", ""
    match experiment.metric:
        case "click":
            event, verdict, of_message = CLICKED, HUMAN, campaign
        case "reply":
            event, of_message = REPLIED, campaign
        case "redemption":
            event = REDEEMED
        case "revenue":
            event = ORDER_PLACED
        case "conversion":
            event = experiment.goal
    return Counting(
        event=event, verdict=verdict, campaign=of_message, currency=experiment.currency,
        window_s=seconds_of(experiment.window) or 0,
    )  # fmt: skip


class Sums(Struct, frozen=True, kw_only=True):
    """Sums over people: how many, how many converted, how many paid, and what each has paid, and its squares."""

    people: int = 0
    conversions: int = 0
    payers: int = 0
    revenue: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            people=self.people + other.people,
            conversions=self.conversions + other.conversions,
            payers=self.payers + other.payers,
            revenue=self.revenue + other.revenue,
            squares=self.squares + other.squares,
        )


class Arm(Struct, frozen=True, kw_only=True):
    """What is known of one arm: by assignment, and beside it of those who were reached (AB-6).

    reached  the message left; of the control: it would have left
    """

    arm: int
    assigned: Sums = Sums()
    reached: Sums = Sums()
    opt_outs: int = 0
    failures: int = 0

    def __add__(self, other: "Arm") -> "Arm":
        return Arm(
            arm=self.arm,
            assigned=self.assigned + other.assigned,
            reached=self.reached + other.reached,
            opt_outs=self.opt_outs + other.opt_outs,
            failures=self.failures + other.failures,
        )


def pooled(arms: Sequence[Arm]) -> Arm:
    """Add arms up as one, under the number of the first."""
    total = arms[0]
    for one in arms[1:]:
        total += one
    return total


class Split(Struct, frozen=True, kw_only=True):
    """How those whom one version of an experiment assigned were to divide, and how they did; from the control on."""

    shares: tuple[float, ...]
    assigned: tuple[int, ...]
    reached: tuple[int, ...]


class Standing(Struct, frozen=True, kw_only=True):
    """How far an experiment is.

    winner   of a decided one; None: nobody has won, and the rest divides as the test did
    stopped  arms that nobody gets any more (AB-8)
    """

    state: State = "running"
    winner: int | None = None
    stopped: tuple[int, ...] = ()


def arm_to_send(allocation: Allocation, standing: Standing, number: int, arm: int | None) -> int | None:
    """Say what a number gets now; None: nothing yet, or nothing any more. CONTROL: a virtual send (AB-6).

    arm  what they were assigned before, which they keep (AB-1); None: nothing
    """
    if standing.state == "stopped":
        return None
    found = allocation.arm_of(number) if arm is None else arm
    if found == CONTROL or (found != REST and found not in standing.stopped):
        return found
    if standing.state != "decided":
        return None
    if standing.winner is not None:
        return standing.winner
    drawn = allocation.variant_of(number)
    others = [one for one in range(1, len(allocation.bounds) + 2) if one not in standing.stopped]
    return drawn if drawn in others else others[drawn % len(others)] if others else None


SHOWN: Mapping[State, str] = {
    "running": "runs",
    "held": "waits for a person",
    "decided": "is decided",
    "stopped": "was stopped",
}
