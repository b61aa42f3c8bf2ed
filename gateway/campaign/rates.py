"""How fast a run goes now, and when it will be over: pure, of what is left and of what time is open (TH-1, TH-2, TH-5).

    left ÷ what is open until the end ─► per_s          looked at each second: N hours are N hours
    per_s × time since ─► credit ─► grants              a worker takes what it can send in the next moments
    ramp, budget ─► goes_to                             how many may be granted in all, until somebody looks again
    answers, receipts, STOPs ─► breached                why a carrier stops for this run
    people, throughput, windows ─► forecast             before anything leaves

Not here: reading words (gateway/rate.py), where credit is kept (store/rates.py).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct, structs

from gateway.campaign import zones
from gateway.campaign.quiet_hours import Hours, Layer, Rules
from gateway.campaign.zones import Place
from gateway.gate import Gate
from gateway.message import MessageClass
from gateway.rate import RatePlan, Threshold
from gateway.rules import Problem, read_window

Spans = Sequence[tuple[float, float]]
"""Sorted [begin, end) in seconds: when it is open."""

# What is left at the very end is spread over so long: the last second is no burst.
LEAST_LEFT_S = 1.5
# A worker that asks late gets what it missed, of so long at most: no burst after a pause.
CATCH_UP_S = 1.0
# Of the goal: how much faster than planned a run may go that fell behind.
CATCH_UP_TIMES = 20.0
# Of how many messages the stated share of clicks is worth as much as what was seen.
CLICKS_KNOWN = 100


def open_s(spans: Spans | None, begin: float, end: float) -> float:
    """Return how many seconds of [begin, end) are open; None: all are."""
    if spans is None:
        return max(0.0, end - begin)
    return math.fsum(max(0.0, min(last, end) - max(first, begin)) for first, last in spans)


def per_s_of(
    plan: RatePlan, total: int, left: int, now: float, ends_at: float | None, spans: Spans | None = None
) -> float:
    """Return the messages a second from now on; 0: as fast as it goes.

    total    people of the run
    left     of them
    ends_at  when what it is spread over is over; None: it has not begun
    spans    when it is open, of the time until then at least
    """
    if plan.per_s:
        return plan.per_s
    if not plan.over_s:
        return 0.0
    even = total / plan.over_s
    if ends_at is None:
        return max(even, 1e-6)
    room = open_s(spans, now, ends_at)
    if room <= LEAST_LEFT_S:
        # What is left when the time is over does not thin out for ever.
        return max(even, min(left / LEAST_LEFT_S, CATCH_UP_TIMES * even))
    return max(1e-6, min(left / room, CATCH_UP_TIMES * even))


def per_s_of_clicks(plan: RatePlan, taken: int = 0, clicks: int = 0, last_minute: int = 0) -> float:
    """Return the messages a second that bring no more clicks than the site bears; 0: it bears any (TH-4).

    taken, clicks  messages that left so far, and how often they were opened; what is stated counts as CLICKS_KNOWN more
    last_minute    how often in it: where that is more than it bears, we are as much slower
    """
    if not plan.clicks_per_min:
        return 0.0
    share = (plan.click_share * CLICKS_KNOWN + clicks) / (CLICKS_KNOWN + taken)
    return max(1e-6, plan.clicks_per_min / 60 / share * min(1.0, plan.clicks_per_min / max(1, last_minute)))


def slower(per_s: float, other: float) -> float:
    """Return the slower of two rates; 0 is no limit."""
    return min(per_s, other) if per_s > 0 and other > 0 else max(per_s, other)


def per_s_by_country(
    plan: RatePlan, total: int, left: int, waiting: Mapping[str, int], now: float, ends_at: float | None,
    spans_of: Callable[[str], Spans | None],
) -> float:  # fmt: skip
    """Return the same for people of several countries: of each the rate of what is open there, while it is.

    waiting   of what is left, how much in each country, in whatever measure
    spans_of  when it is open in a country, from now until the end at least; None: always
    """
    every = sum(waiting.values())
    if not plan.over_s or not every:
        return per_s_of(plan, total, left, now, ends_at)
    per_s = 0.0
    for country, some in waiting.items():
        spans = spans_of(country)
        if spans is None or any(first <= now < last for first, last in spans):
            share = some / every
            per_s += per_s_of(plan, math.ceil(total * share), math.ceil(left * share), now, ends_at, spans)
    # Where it is shut everywhere, the gate holds what is granted: it goes on as it was planned.
    return per_s or total / plan.over_s


def spans_in(gate: Gate, class_: MessageClass, country: str, begin: float, end: float) -> Spans:
    """Return when the windows of a run are open in a country, by the clock of most of its people."""
    problems: list[Problem] = []
    layers = [
        Layer(name=name, window=window, zone=gate.zones.get(name, ""))
        for name, value in gate.windows.items()
        if (window := read_window(value, name, problems)) is not None
    ]
    hours = Hours(Rules(class_=class_, layers=tuple(layers), to_hard_limit=gate.to_hard_limit))
    names = zones.zones_of_country(country) if country else ()
    places = (Place(names[0] if names else zones.NOWHERE, country, ""),)
    return [(float(first), float(last)) for first, last in hours.openings(places, int(begin), math.ceil(end))]


class Credit(Struct, frozen=True, kw_only=True):
    """What may be granted of a run.

    credit   messages that time has earned and nobody has taken, as of `at`
    goes_to  that may be granted in all
    """

    per_s: float
    credit: float
    at: datetime | None
    granted: int
    goes_to: int | None = None


def grant(one: Credit, wanted: int, now: datetime) -> tuple[int, Credit]:
    """Take what a worker wants and time has earned; -> how many, and what is left."""
    most = wanted if one.goes_to is None else min(wanted, one.goes_to - one.granted)
    if one.per_s <= 0:
        n = max(0, most)
        return n, structs.replace(one, granted=one.granted + n, at=now)
    # At its first moment it has earned one message; a clock that was set back earns nothing, and does not wait either.
    elapsed_s = 0.0 if one.at is None else min(max(0.0, (now - one.at).total_seconds()), CATCH_UP_S)
    room = max(1.0, one.per_s * CATCH_UP_S)
    earned = min(room, (1.0 if one.at is None else one.credit) + one.per_s * elapsed_s)
    # What time earns is a sum of small parts: a millionth less than one message is one.
    n = max(0, min(most, int(earned + 1e-6)))
    return n, structs.replace(one, credit=earned - n, granted=one.granted + n, at=now)


class Step(NamedTuple):
    """Where a ramp stands: at a step, of which so many may be granted; and since when it holds there."""

    stage: int
    goes_to: int | None
    held_since: datetime | None


def step_of(
    plan: RatePlan, total: int, granted: int, stage: int, held_since: datetime | None, now: datetime, is_told: bool,
    is_stopped: bool,
) -> Step:  # fmt: skip
    """Say where a ramp goes on (TH-1).

    is_told     somebody has said that it goes on
    is_stopped  a carrier of it is: nothing is raised then
    """
    if not plan.ramp or stage >= len(plan.ramp) - 1:
        return Step(max(0, len(plan.ramp) - 1), None, None)
    goes_to = max(stage + 1, math.ceil(total * plan.ramp[stage] - 1e-9))
    if granted < goes_to:
        return Step(stage, goes_to, None)
    since = held_since or now
    is_over = bool(plan.hold_s) and now - since >= timedelta(seconds=plan.hold_s)
    if (is_over or is_told) and not is_stopped:
        return step_of(plan, total, granted, stage + 1, None, now, False, is_stopped)
    return Step(stage, goes_to, since)


class Tally(Struct, frozen=True, kw_only=True):
    """What a carrier has said of a run.

    taken, failed     messages that it took, and those it refused or told to be undeliverable
    old               taken longer ago than a receipt may need; receipts: that have come
    answers           of the carrier in the last moments, of whatever run; throttled: of them
    opt_outs          of people who were written to
    cost              of the parts it took
    """

    taken: int = 0
    failed: int = 0
    refused: int = 0
    old: int = 0
    receipts: int = 0
    answers: int = 0
    throttled: int = 0
    opt_outs: int = 0
    cost: float = 0.0
    parts: int = 0


def breached(threshold: Threshold, tally: Tally) -> str:
    """Say why a carrier stops for a run; "": it does not (TH-5)."""
    part, whole, words = {
        "failure": (tally.failed, tally.taken + tally.refused, "messages failed"),
        "throttle": (tally.throttled, tally.answers, "answers asked for less"),
        "no_receipt": (max(0, tally.old - tally.receipts), tally.old, "messages have no receipt"),
        "opt_out": (tally.opt_outs, tally.taken, "people said STOP"),
    }[threshold.kind]
    if whole < threshold.least or part < threshold.share * whole:
        return ""
    return f"{part:,} of {whole:,} {words}, {part / whole:.1%}; the threshold is {threshold.share * 100:g}%"


def affordable(budget: float, spent: float, granted: int, settled: int, dearest: float) -> int:
    """Return how many may be granted in all: what is on its way counts as dear as a message can be.

    settled  messages of which it is known what they cost, or that they cost nothing
    dearest  what one message costs at most
    """
    if dearest <= 0:
        return granted + (1 << 40)
    left = budget - spent - max(0, granted - settled) * dearest
    return granted + max(0, int(left / dearest + 1e-9))


# -- before anything leaves --------------------------------------------------------------------------------------------


class Way(NamedTuple):
    """One carrier's part of a run: its people, what it carries, and what waits there before them, in messages."""

    people: int
    per_s: float
    ahead: int


class Forecast(NamedTuple):
    """When the last message leaves, in seconds of UTC; None: not within the time that is known. shortfall: too late."""

    ends_at: float | None
    shortfall: int


def forecast(
    plan: RatePlan, ways: Sequence[Way], begin: float, spans: Spans | None = None, expires_at: float | None = None,
    most_open: float = 1.0,
) -> Forecast:  # fmt: skip
    """Say when a run would be over, and how many of its people would not be reached before it expires (S0.16, TH-2).

    ways       carriers without a known rate carry everything
    most_open  the share of the people that caps leave
    """
    total = sum(way.people for way in ways)
    per_s = slower(plan.per_s, per_s_of_clicks(plan))
    people = math.ceil(total * most_open)
    needed_s = 0.0
    for way in ways:
        if way.per_s > 0:
            needed_s = max(needed_s, (way.people * most_open + way.ahead) / way.per_s)
    if per_s:
        needed_s = max(needed_s, people / per_s)
    ends = _after(begin, needed_s, spans)
    if plan.over_s:
        # It is spread over what is open of its hours, and where that is nothing, goes on behind them.
        ends = None if ends is None else max(ends, begin + plan.over_s)
    if ends is not None:
        ends += plan.hold_s * max(0, len(plan.ramp) - 1)
    if expires_at is None or (ends is not None and ends <= expires_at):
        return Forecast(ends, 0)
    holds_s = plan.hold_s * max(0, len(plan.ramp) - 1)
    span_s = open_s(spans, begin, expires_at) - holds_s
    reached = 0.0
    for way in ways:
        reached += min(way.people * most_open, max(0.0, span_s * way.per_s - way.ahead) if way.per_s > 0 else math.inf)
    if span_s <= 0:
        reached = 0.0
    elif per_s:
        reached = min(reached, span_s * per_s)
    if plan.over_s and span_s > 0:
        whole_s = open_s(spans, begin, begin + plan.over_s)
        reached = min(reached, people * span_s / whole_s if whole_s > 0 else 0.0)
    return Forecast(ends, max(0, people - int(reached + 1e-9)))


def _after(begin: float, needed_s: float, spans: Spans | None) -> float | None:
    """Return the moment at which so many open seconds have passed."""
    if spans is None:
        return begin + needed_s
    left = needed_s
    for first, last in spans:
        first = max(first, begin)
        if last <= first:
            continue
        if left <= last - first:
            return first + left
        left -= last - first
    return None
