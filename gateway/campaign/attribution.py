"""Which message is an order owed to, and who has reached a goal: GL-3 to GL-5, GL-8, GL-9, over lists.

    revenue, once (GL-4)     a coupon of message M, until its code expires ─► M
                             else the latest human click of 5 days
                             else the latest reply of 5 days
                             else the latest delivery of 12 hours
                             else nobody
    beside it, influenced    every campaign that one of these holds for
    conversion (GL-3)        once per (case, goal): the first hit in a window of one of the case's messages

A *case* is an enrolment, or where there is none a run: a person is in it once. A touch is a message that was sent to a
person, with what came of it. All times are of the event itself and of the message (GL-9), so that what arrives late
counts where it belongs. A window that looks back holds what happened less than its length ago, or just now; one that
looks ahead begins with its start and ends before its end.

This is the rule. store/conversions.py reckons the same set-wise, and tests hold the two to each other.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.campaign import audience as language
from gateway.goal import Goal, Starts
from gateway.predicate import Compare, Count, Predicate

Rule = Literal["coupon", "click", "reply", "delivery"]
RULES: tuple[Rule, ...] = ("coupon", "click", "reply", "delivery")
CLICK = timedelta(days=5)
REPLY = timedelta(days=5)
DELIVERY = timedelta(hours=12)
# Answers and opt-outs this long after a message are of it (RP).
ANSWER = timedelta(hours=72)


class Touch(Struct, frozen=True, kw_only=True):
    """A message that was sent to somebody.

    at       of it among all of the person, in the order they were sent
    case     the enrolment, or the run
    clicks   of humans alone (GL-5)
    replies  that are neither STOP nor START
    codes    that it brought, and until when each is good; None: for ever
    """

    at: int
    campaign: str
    case: int
    submitted_at: datetime
    entered_at: datetime | None = None
    delivered_at: datetime | None = None
    clicks: tuple[datetime, ...] = ()
    replies: tuple[datetime, ...] = ()
    codes: tuple[tuple[str, datetime | None], ...] = ()


class Bought(Struct, frozen=True, kw_only=True):
    """An order. gross: as it was placed; back: what was given back of it since, on the day it was placed (GL-8)."""

    key: str
    placed_at: datetime
    gross: int
    back: int = 0
    codes: tuple[str, ...] = ()

    @property
    def net(self) -> int:
        """What is left of it."""
        return self.gross - self.back


class Owed(Struct, frozen=True, kw_only=True):
    """To which message an order is owed, and why; influenced: every campaign that had a part in it, in order."""

    key: str
    touch: int
    campaign: str
    rule: Rule
    influenced: tuple[str, ...]


class Hit(Struct, frozen=True, kw_only=True):
    """Something that a goal asks for. campaigns: of which alone it is a hit (a reply to them, a code of theirs)."""

    at: datetime
    campaigns: frozenset[str] | None = None


class Aim(Struct, frozen=True, kw_only=True):
    """A goal of a campaign, for messages from `since` on and before `until` (GL-6)."""

    campaign: str
    place: int
    within: timedelta
    starts: Starts = "submitted"
    since: datetime | None = None
    until: datetime | None = None


class Reached(Struct, frozen=True, kw_only=True):
    """A conversion, by the newest message in whose window the first hit lies. hits: how often it was reached."""

    campaign: str
    case: int
    place: int
    touch: int
    at: datetime
    hits: int


def where_of(goal: Goal, known: language.Known = language.ANYTHING) -> Predicate | None:
    """Read the condition on a goal's event; None: it has none.

    raises  AudienceFault
    """
    if not goal.where:
        return None
    event = goal.event.replace('"', '""')
    tree = language.parse(f'count("{event}", {goal.where}) >= 1', known)
    assert isinstance(tree, Compare) and isinstance(tree.what, Count)
    return tree.what.where


def owed(order: Bought, touches: Sequence[Touch]) -> Owed | None:
    """Say to which message an order is owed (GL-4); None: to none."""
    ways: tuple[tuple[Rule, list[tuple[datetime, Touch]]], ...] = (
        ("coupon", [(one.submitted_at, one) for one in touches if _is_its_code(order, one)]),
        ("click", [(at, one) for one in touches for at in one.clicks if _is_recent(at, order.placed_at, CLICK)]),
        ("reply", [(at, one) for one in touches for at in one.replies if _is_recent(at, order.placed_at, REPLY)]),
        ("delivery", [
            (one.delivered_at, one) for one in touches
            if one.delivered_at is not None and _is_recent(one.delivered_at, order.placed_at, DELIVERY)
        ]),
    )  # fmt: skip
    influenced = sorted({one.campaign for _, found in ways for _, one in found})
    for rule, found in ways:
        if found:
            _, touch = max(found, key=lambda pair: (pair[0], pair[1].at))
            return Owed(key=order.key, touch=touch.at, campaign=touch.campaign, rule=rule, influenced=tuple(influenced))
    return None


def reached(aim: Aim, touches: Iterable[Touch], hits: Sequence[Hit]) -> list[Reached]:
    """Find the conversions of one goal, one a case (GL-3)."""
    cases: dict[int, list[tuple[datetime, Touch]]] = {}
    for touch in touches:
        start = start_of(aim, touch)
        if touch.campaign == aim.campaign and start is not None and _holds(aim, touch):
            cases.setdefault(touch.case, []).append((start, touch))
    found = []
    for case, begun in sorted(cases.items()):
        within = [
            (hit.at, start, touch)
            for start, touch in begun
            for hit in hits
            if start <= hit.at < start + aim.within and (hit.campaigns is None or aim.campaign in hit.campaigns)
        ]
        if not within:
            continue
        first = min(at for at, _, _ in within)
        _, touch = max(((start, touch) for at, start, touch in within if at == first), key=lambda one: one[1].at)
        # A hit in the windows of two messages of the case is one.
        seen = {
            index for index, hit in enumerate(hits)
            for start, _ in begun
            if start <= hit.at < start + aim.within and (hit.campaigns is None or aim.campaign in hit.campaigns)
        }  # fmt: skip
        found.append(
            Reached(
                campaign=aim.campaign, case=case, place=aim.place, touch=touch.at, at=first, hits=len(seen)
            )
        )  # fmt: skip
    return found


def start_of(aim: Aim, touch: Touch) -> datetime | None:
    """When the window of a message begins (GL-2); None: it does not."""
    if aim.starts == "clicked":
        return min(touch.clicks, default=None)
    return touch.entered_at if aim.starts == "entered" else touch.submitted_at


def _holds(aim: Aim, touch: Touch) -> bool:
    return (aim.since is None or aim.since <= touch.submitted_at) and (
        aim.until is None or touch.submitted_at < aim.until
    )


def _is_recent(at: datetime, now: datetime, length: timedelta) -> bool:
    return now - length < at <= now


def _is_its_code(order: Bought, touch: Touch) -> bool:
    return touch.submitted_at <= order.placed_at and any(
        code in order.codes and (until is None or order.placed_at <= until) for code, until in touch.codes
    )
