"""Brings people to campaigns that the calendar begins: each occurrence once, and none that is too late (TR-7).

    schedule, silence ─► occurrences since the last one: carried out, or noted as missed
    date              ─► once an hour, whose date comes within it; at once, whose date has changed (TR-10)

By the recipient's clock an occurrence is one of each zone; who told no zone goes by that of the brand.
Not here: when an occurrence is (campaign/delays.py), who enters for it (arriving.py).
"""

import functools
import zoneinfo
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias

from msgspec import Struct

from gateway.campaign.delays import Clocks, Occurrence, missed, occurrences_of
from gateway.campaign.entering import Live
from gateway.campaign.zones import is_zone
from gateway.delay import RECIPIENT, Every, OnDate, Schedule, read_date, read_schedule
from gateway.document import OnDate as DateTrigger
from gateway.document import OnInactivity, OnSchedule, seconds_of
from gateway.predicate import Predicate
from gateway.routing import Problem, minute_of
from gateway.store import ticks
from gateway.store.audiences import Terms
from gateway.store.postgres import Connection

# Dates are looked for once an hour, and brought a little longer before they come.
LOOK_S = 3600.0
AHEAD = timedelta(minutes=70)
# A date with its offset lies on one of these days around today, whatever the zone.
AROUND = 2
# Occurrences that are caught up with in one look, after a long time without a worker.
MOST_AT_ONCE = 200

Occurring: TypeAlias = tuple[Occurrence, list[str] | None, bool]
Act: TypeAlias = Callable[[Connection, ticks.Buckets], Awaitable[int]]
Step: TypeAlias = Callable[[Act], Awaitable[int]]
"""Carries something out for all buckets, some at a time, in transactions that hold the job; -> the sum."""


class Calendar(Struct, frozen=True, kw_only=True):
    """What of the calendar begins a campaign."""

    schedule: Schedule | None = None
    date: OnDate | None = None


def calendar_of(one: Live) -> Calendar | None:
    """Read what of the calendar begins a campaign; None: nothing of it does."""
    trigger, problems = one.plan.document.trigger, list[Problem]()
    match trigger:
        case OnSchedule():
            return Calendar(schedule=read_schedule(trigger.schedule, "trigger.schedule", problems))
        case OnInactivity():
            daily = Every(
                unit="day", minute=minute_of(trigger.at), clock=trigger.clock,
                max_lateness_s=seconds_of(trigger.max_lateness),
            )  # fmt: skip
            return Calendar(schedule=daily)
        case DateTrigger():
            return Calendar(date=read_date(trigger.date, "trigger.date", problems))
    return None


class Ticking:
    """What of the calendar was looked at by this worker, and when."""

    def __init__(self) -> None:
        self._looked: dict[tuple[int, int], datetime] = {}

    async def tick(
        self, connection: Connection, one: Live, launched_at: datetime, house: str, terms: Terms,
        expanded: Callable[[Predicate], Predicate], step: Step,
    ) -> int:  # fmt: skip
        """Carry out what has come of a campaign's calendar; -> people brought to it."""
        calendar = calendar_of(one)
        if calendar is None:
            return 0
        tree = None if one.plan.filter is None else expanded(one.plan.filter)
        if calendar.schedule is not None:
            return await self._schedule(connection, one, calendar.schedule, launched_at, house, terms, tree, step)
        assert calendar.date is not None
        key, now = (one.id, one.version), terms.now
        before = self._looked.get(key)
        if before is not None and 0 <= (now - before).total_seconds() < LOOK_S:
            return 0
        date = calendar.date

        async def look(connection_: Connection, buckets: ticks.Buckets) -> int:
            return await bring_dated(connection_, one, date, buckets, house, now)

        found = await step(look)
        self._looked[key] = now
        return found

    async def _schedule(
        self, connection: Connection, one: Live, schedule: Schedule, launched_at: datetime, house: str, terms: Terms,
        tree: Predicate | None, step: Step,
    ) -> int:  # fmt: skip
        since = await ticks.last(connection, one.id)
        since = launched_at if since is None else max(since, launched_at)
        brought = 0
        for occurrence, zones, is_late in occurrences(schedule, since, terms.now, house):
            # By the recipient's clock one local time is as many instants as there are offsets.
            key = occurrence.key if zones is None else f"{occurrence.key}@{occurrence.at:%Y-%m-%dT%H:%MZ}"
            people = 0
            if not is_late:
                people = await step(_bringing(one, occurrence, launched_at, house, terms, tree, zones))
            state = "missed" if is_late else "done"
            await ticks.note(connection, one.id, key, occurrence.at, state, people, terms.now)
            brought += people
        return brought


def _bringing(
    one: Live, occurrence: Occurrence, launched_at: datetime, house: str, terms: Terms, tree: Predicate | None,
    zones: list[str] | None,
) -> Act:  # fmt: skip
    """Say what an occurrence does in some buckets."""
    name, at, trigger = one.plan.document.name, occurrence.at, one.plan.document.trigger

    async def silent(connection: Connection, buckets: ticks.Buckets) -> int:
        assert isinstance(trigger, OnInactivity)
        until = at - timedelta(days=trigger.days)
        since = oldest_of(trigger, launched_at)
        return await ticks.silent(
            connection, buckets, one.id, name, at, terms.now, until, since, tree, terms, zones, house
        )

    async def everybody(connection: Connection, buckets: ticks.Buckets) -> int:
        key = occurrence.key
        return await ticks.everybody(connection, buckets, name, key, at, terms.now, tree, terms, zones, house)

    return silent if isinstance(trigger, OnInactivity) else everybody


def oldest_of(trigger: OnInactivity, launched_at: datetime) -> datetime | None:
    """Say whose silence is too old to count: the backlog of when the campaign began (TR-6); None: nobody's."""
    if trigger.backlog == "all":
        return None
    back = timedelta(days=trigger.days)
    return (
        launched_at - back - (timedelta(0) if trigger.backlog == "none" else timedelta(days=int(trigger.backlog[:-1])))
    )


def occurrences(schedule: Schedule, since: datetime, now: datetime, house: str) -> list[Occurring]:
    """Name occurrences in (since, now], in their order: with the zones they are for (None: all); whether too late."""
    if schedule.clock != RECIPIENT:
        clocks = Clocks(house, house)
        found: list[Occurring] = [(one, None, how == "late") for one, how in missed(schedule, since, now, clocks)]
        return found[-MOST_AT_ONCE:]
    zones: dict[datetime, list[str]] = {}
    of: dict[datetime, tuple[Occurrence, bool]] = {}
    for name in _zones():
        for one, how in missed(schedule, since, now, Clocks(name, house)):
            zones.setdefault(one.at, []).append(name)
            of[one.at] = one, how == "late"
    by_zone: list[Occurring] = [(of[at][0], zones[at], of[at][1]) for at in sorted(of)]
    return by_zone[-MOST_AT_ONCE:]


@functools.cache
def _zones() -> tuple[str, ...]:
    return tuple(sorted(name for name in zoneinfo.available_timezones() if is_zone(name)))


async def bring_dated(
    connection: Connection, one: Live, date: OnDate, buckets: ticks.Buckets, house: str, now: datetime,
    profiles: Sequence[int] | None = None,
) -> int:  # fmt: skip
    """Bring those of some buckets whose date comes soon; of some persons alone, whose date has changed; -> how many."""
    rows = await ticks.dated(connection, buckets, date.attribute.split("."), days_of(date, now), date.yearly, profiles)
    found = occurrences_of(date, [row.value for row in rows], [row.zone or house for row in rows], house, now)
    due = [
        (row.bucket, row.profile, f"date:{at.key}", at.at)
        for row, at in zip(rows, found, strict=True)
        if at is not None and at.at <= now + AHEAD
    ]
    return await ticks.bring(connection, one.plan.document.name, due, now)


def days_of(date: OnDate, now: datetime) -> list[str]:
    """Name the days that a date may have whose occurrence is about now: as they are written."""
    offset = date.offset
    middle = now - timedelta(days=offset.days, seconds=offset.seconds)
    found = set()
    late = -(-date.max_lateness_s // 86_400)
    # Months of an offset are of 28 to 31 days.
    months = [0] if not offset.months else range(28 * abs(offset.months), 32 * abs(offset.months))
    for back in months:
        about = middle - timedelta(days=back) if offset.months >= 0 else middle + timedelta(days=back)
        for around in range(-AROUND - late, AROUND + 1):
            day = (about + timedelta(days=around)).date()
            found.add(f"{day:%m-%d}" if date.yearly else f"{day:%Y-%m-%d}")
    if date.yearly and found & {"02-28", "03-01"}:
        found.add("02-29")
    return sorted(found)
