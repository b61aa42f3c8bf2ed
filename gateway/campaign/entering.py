"""Who enters a campaign for a cause, and why not: the checks of TR-2 in their order, one person after the other (EV-6).

    Cause ─► candidates: live, inside [start, end), young enough, what was said of it fits
          ─► facts of all candidates, set-wise ─► decide: filter ─► once more? ─► already under way? ─► number, consent

What is not a cause for a campaign is noted nowhere; whom a cause is for and who does not enter is noted with the first
reason. Not here: what happens to who has entered (workflow.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
from msgspec import Struct

from gateway.campaign import evaluation
from gateway.campaign.workflow import Plan
from gateway.document import (
    OnAudience,
    OnCall,
    OnEvent,
    OnKeyword,
    OnList,
    OnMessage,
    OnPlace,
    OnSequence,
    again_of,
    seconds_of,
)
from gateway.happening import is_at, value_at
from gateway.person import CLICKED
from gateway.predicate import HUMAN, VERDICT_PROPERTY
from gateway.reasons import Reason

# Another who is under way goes before, or the cause had its turn.
RUNNING = Reason.ARBITRATION_LOST
# By as much the clocks of those who tell and of whoever launches may differ.
APART = timedelta(minutes=1)


class Told(Protocol):
    """A cause, as store.causes.Cause."""

    @property
    def profile(self) -> int: ...
    @property
    def id(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def told(self) -> str: ...
    @property
    def occurred_at(self) -> datetime: ...
    @property
    def received_at(self) -> datetime: ...
    @property
    def properties(self) -> str: ...


class Live(Struct, frozen=True, kw_only=True):
    """A campaign that people enter, in the version that they enter; subject: id of its audience or list, as text.

    since  when it was launched: what was told before begins nothing (SG-5); None: whatever was told does
    """

    id: int
    version: int
    plan: Plan
    subject: str = ""
    since: datetime | None = None


class Candidate(Struct, frozen=True, kw_only=True):
    """A person whom a cause brings to a campaign; reason: why they do not enter, as far as the cause itself says it."""

    campaign: Live
    profile: int
    cause: str
    key: str
    anchor_id: int
    anchor_at: datetime
    context: str
    reason: int = 0


class Before(Protocol):
    """An earlier enrolment, as store.enrolments.Known."""

    @property
    def id(self) -> int: ...
    @property
    def campaign(self) -> int: ...
    @property
    def profile(self) -> int: ...
    @property
    def state(self) -> int: ...
    @property
    def entered_at(self) -> datetime: ...
    @property
    def key(self) -> str: ...
    @property
    def cause(self) -> str: ...


class Entering(Struct, frozen=True, kw_only=True):
    """What is decided: who enters, or is noted as refused, and who is cancelled for it (TR-5: restart)."""

    candidate: Candidate
    number: int | None
    reason: int = 0
    cancels: tuple[int, ...] = ()


class Facts(Struct, frozen=True, kw_only=True):
    """What is so as of now: (campaign, profile) of those who match the filter, and of those with consent.

    numbers  of persons; who is not among them is gone
    """

    fits: frozenset[tuple[int, int]]
    agreed: frozenset[tuple[int, int]]
    numbers: Mapping[int, int | None]


def candidates(live: Iterable[Live], causes: Sequence[Told], now: datetime) -> list[Candidate]:
    """Say whom causes bring to which campaigns, in the order of the causes."""
    by_subject: dict[tuple[str, str], list[Live]] = {}
    for one in live:
        for subject in subjects(one):
            by_subject.setdefault(subject, []).append(one)
    found = []
    for cause in causes:
        for one in by_subject.get((cause.kind, cause.name), ()):
            made = _candidate(one, cause, now)
            if made is not None:
                found.append(made)
    return found


def subjects(one: Live) -> list[tuple[str, str]]:
    """Name what begins a campaign: kind and name of causes."""
    trigger = one.plan.document.trigger
    if isinstance(trigger, OnAudience):
        return [(trigger.change, one.subject)]
    if isinstance(trigger, OnList):
        return [("joined" if trigger.change == "entered" else "parted", one.subject)]
    if isinstance(trigger, OnCall):
        return [("call", one.plan.document.name)]
    if one.plan.trigger is not None:
        return [("event", one.plan.trigger.event)]
    # Of dates, schedules and silences the calendar tells.
    return [("tick", one.plan.document.name)]


def _candidate(one: Live, cause: Told, now: datetime) -> Candidate | None:
    plan, trigger = one.plan, one.plan.document.trigger
    if one.since is not None and cause.received_at < one.since - APART:
        # Left by a campaign that has ended.
        return None
    if not fits(plan, cause, now):
        return None
    reason = 0
    if (plan.starts_at and now < plan.starts_at) or (plan.ends_at and now >= plan.ends_at):
        reason = int(Reason.CAMPAIGN_ENDED)
    oldest = getattr(trigger, "max_age", "")
    if not reason and oldest and cause.received_at - cause.occurred_at > timedelta(seconds=seconds_of(oldest)):
        reason = int(Reason.LATE)
    named = getattr(trigger, "key", "")
    key = value_at(msgspec.json.decode(cause.properties), named) if named else ""
    return Candidate(
        campaign=one, profile=cause.profile, cause=cause.told, key=key, anchor_id=cause.id,
        anchor_at=cause.occurred_at, context=cause.properties, reason=reason,
    )  # fmt: skip


def fits(plan: Plan, cause: Told, now: datetime) -> bool:
    """Say whether what was told is what begins a campaign: its properties, an address, a place."""
    trigger = plan.document.trigger
    if not isinstance(trigger, OnEvent | OnSequence | OnMessage | OnKeyword | OnPlace):
        return True
    sought = plan.trigger
    assert sought is not None
    if sought.where is None and not sought.url and not isinstance(trigger, OnPlace) and cause.name != CLICKED:
        return True
    properties = msgspec.json.decode(cause.properties)
    if cause.name == CLICKED and properties.get(VERDICT_PROPERTY) != HUMAN:
        return False
    if sought.url and not is_at(sought.url, properties.get("url")):
        return False
    if isinstance(trigger, OnPlace):
        return _is_inside(trigger, properties.get("lat"), properties.get("lon"))
    if sought.where is None:
        return True
    terms = evaluation.Terms(now=now)
    return evaluation.matches(sought.where, evaluation.Person(attributes=properties), terms)


def _is_inside(place: OnPlace, lat: object, lon: object) -> bool:
    """Whether a point is within a circle, or a polygon by the rule of even and odd (S3.8)."""
    if isinstance(lat, bool) or isinstance(lon, bool):
        return False
    if (
        not isinstance(lat, int | float)
        or not isinstance(lon, int | float)
        or not abs(lat) <= 90
        or not abs(lon) <= 180
    ):
        return False
    if place.km:
        return evaluation.distance_km(place.lat, place.lon, lat, lon) <= place.km
    inside = False
    for (a_lat, a_lon), (b_lat, b_lon) in zip(place.polygon, (*place.polygon[1:], place.polygon[0]), strict=True):
        if (a_lat > lat) != (b_lat > lat):
            crosses = a_lon + (lat - a_lat) / (b_lat - a_lat) * (b_lon - a_lon)
            inside ^= not math.isnan(crosses) and lon < crosses
    return inside


def decide(found: Sequence[Candidate], known: Iterable[Before], facts: Facts, now: datetime) -> list[Entering]:
    """Decide about candidates of one bucket, in their order: what one decides the next one sees.

    known  enrolments of these persons in these campaigns, refused ones left out
    """
    by_person: dict[tuple[int, int], list[_Was]] = {}
    for one in known:
        was = _Was(one.id, one.state == 0, one.entered_at, one.key, one.cause)
        by_person.setdefault((one.campaign, one.profile), []).append(was)
    decided = []
    for candidate in found:
        of = (candidate.campaign.id, candidate.profile)
        before = by_person.setdefault(of, [])
        if candidate.profile not in facts.numbers or any(was.cause == candidate.cause for was in before):
            # Gone since, or had for this cause already.
            continue
        number = facts.numbers[candidate.profile]
        reason = candidate.reason
        cancels: tuple[int, ...] = ()
        if not reason and candidate.campaign.plan.filter is not None and of not in facts.fits:
            reason = int(Reason.AUDIENCE_LEFT)
        if not reason:
            reason, cancels = _again(candidate, before, now)
        if not reason and candidate.campaign.plan.writes:
            if number is None:
                reason = int(Reason.NO_NUMBER)
            elif of not in facts.agreed:
                reason = int(Reason.NO_CONSENT)
        if not reason:
            for was in before:
                was.is_running = was.is_running and was.id not in cancels
            before.append(_Was(0, True, now, candidate.key, candidate.cause))
        decided.append(Entering(candidate=candidate, number=number, reason=reason, cancels=() if reason else cancels))
    return decided


class _Was(Struct):
    id: int
    is_running: bool
    entered_at: datetime
    key: str
    cause: str


def _again(candidate: Candidate, before: Sequence[_Was], now: datetime) -> tuple[int, tuple[int, ...]]:
    """Say why a person does not enter once more (TR-4, TR-5); -> 0 and whom it cancels."""
    entry, again = candidate.campaign.plan.document.entry, again_of(candidate.campaign.plan.document)
    if again == "once" and before:
        return int(Reason.DUPLICATE_ENDPOINT), ()
    if again == "per_key" and any(was.key == candidate.key for was in before):
        return int(Reason.DUPLICATE_ENDPOINT), ()
    if again == "period":
        since = now - timedelta(seconds=seconds_of(entry.period))
        if any(was.entered_at > since for was in before):
            return int(Reason.DUPLICATE_ENDPOINT), ()
    running = [was for was in before if was.is_running]
    how = entry.running or ("per_key" if candidate.key else "single")
    if how == "restart":
        same = [was.id for was in running if not candidate.key or was.key == candidate.key]
        return 0, tuple(same)
    if how == "per_key":
        running = [was for was in running if was.key == candidate.key]
    most = entry.most if how == "parallel" else 1
    return (int(RUNNING), ()) if len(running) >= most else (0, ())
