"""When a wait is over and when a trigger fires: what gateway/delay.py says, as instants.

    wait × when it was caused × a zone × what is known of somebody ─► due_at       one, or many at once (due_all)
    due_at × now × max_lateness ─► wait · now · late                               DL-2, TR-7
    schedule × zone × an instant ─► the next occurrence, with the key of its cause      TR-3, TR-7
    a known date × zone × now ─► the occurrence to wait for                             TR-10

The offset from UTC is always that of the target instant, never of now (DL-5): a local time that does not exist is the
first instant after the gap, one that exists twice is the first of both, and no local time is ever due twice.
Not here: reading words (gateway/delay.py), windows (quiet_hours.py: what is due at night is held by the gate).
"""

import calendar
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from gateway.campaign.quiet_hours import first_instant, instant_of
from gateway.campaign.zones import zone
from gateway.delay import (
    MOST_S,
    RECIPIENT,
    WORKSPACE,
    After,
    At,
    Delay,
    Every,
    Next,
    Offset,
    Once,
    OnDate,
    Schedule,
    Supply,
    Until,
)
from gateway.predicate import MISSING, at_path, number_in

Known = Mapping[str, Any]
Lateness = Literal["wait", "now", "late"]
DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_YEARLY = re.compile(r"(?:--)?(\d\d)-(\d\d)", re.ASCII)
_ISO = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII | re.IGNORECASE
)
# Of a date each year, without a year: a leap year, so that 29 February is a day.
_LEAP_YEAR = 1904


class Clocks(NamedTuple):
    """Zones by whose they are: the recipient's, and the workspace's."""

    recipient: str
    workspace: str = "UTC"

    def of(self, clock: str) -> str:
        """Name the zone of a clock as a document names it."""
        return self.recipient if clock == RECIPIENT else self.workspace if clock == WORKSPACE else clock


class Occurrence(NamedTuple):
    """One firing of a trigger.

    key   unique among the firings of one schedule, or of one date of one person, and the same whenever it is computed
          (TR-3). By the recipient's clock it names no zone: who moves is not written to twice for one local time
    zone  whose clock it is by
    """

    at: datetime
    key: str
    zone: str


# -- waits -------------------------------------------------------------------------------------------------------------


def due_at(delay: Delay, anchor: datetime, clocks: Clocks, known: Known) -> datetime | None:
    """Return when a wait is over that began at `anchor`; None: what it goes by is not known, or is no time.

    anchor  when the trigger happened, or the step before was done, with a zone
    known   by name; a name with dots leads into objects
    """
    try:
        if isinstance(delay, After):
            days = _supplied(delay.supply, known) if delay.supply else 0
            if days is None:
                return None
            # A time in a zone of its own would be added to as a clock shows it.
            return anchor.astimezone(UTC) + timedelta(days=days, seconds=delay.seconds)
        name = clocks.of(delay.clock)
        if isinstance(delay, Until):
            return _known_at(delay, _looked_up(known, delay.attribute), name)
        return _due_on(delay, anchor.astimezone(zone(name)).date(), known, name)
    except OverflowError:
        # Beyond the year 9999, or before the first: never.
        return None


def due_all(
    delay: Delay,
    anchors: Sequence[datetime],
    recipients: Sequence[str],
    workspace: str,
    known: Sequence[Known] | None = None,
) -> list[datetime | None]:
    """Return the same for many people: their anchors, their zones, and what is known of each.

    cost  about a microsecond each, and more once for each day and zone among them
    """
    if isinstance(delay, After) and delay.supply is None:
        later = timedelta(seconds=delay.seconds)
        return [anchor.astimezone(UTC) + later for anchor in anchors]
    if isinstance(delay, At | Next) and not (isinstance(delay, At) and delay.supply):
        names = recipients if delay.clock == RECIPIENT else [Clocks("", workspace).of(delay.clock)] * len(anchors)
        infos = {name: zone(name) for name in set(names)}
        made: dict[tuple[date, str], datetime | None] = {}
        found: list[datetime | None] = []
        for anchor, name in zip(anchors, names, strict=True):
            key = (anchor.astimezone(infos[name]).date(), name)
            if key not in made:
                made[key] = due_at(delay, anchor, Clocks(name, workspace), {})
            found.append(made[key])
        return found
    of_all = known if known is not None else [{}] * len(anchors)
    if isinstance(delay, Until):
        return _until_all(delay, recipients, workspace, of_all)
    pairs = zip(anchors, recipients, of_all, strict=True)
    return [due_at(delay, anchor, Clocks(name, workspace), of_one) for anchor, name, of_one in pairs]


def _until_all(
    delay: Until, recipients: Sequence[str], workspace: str, known: Sequence[Known]
) -> list[datetime | None]:
    made: dict[tuple[Any, str], datetime | None] = {}
    found: list[datetime | None] = []
    for name, of_one in zip(recipients, known, strict=True):
        value = _looked_up(of_one, delay.attribute)
        if not isinstance(value, str | date):
            found.append(None)
            continue
        key = (value, name)
        if key not in made:
            made[key] = due_at(delay, _EPOCH, Clocks(name, workspace), of_one)
        found.append(made[key])
    return found


def judged(due: datetime, now: datetime, max_lateness_s: int) -> Lateness:
    """Say what becomes of what is due: it waits, goes now, or is too late (DL-2, TR-7)."""
    if due > now:
        return "wait"
    return "now" if now - due <= timedelta(seconds=max_lateness_s) else "late"


def _due_on(delay: At | Next, today: date, known: Known, name: str) -> datetime | None:
    if isinstance(delay, Next):
        ahead = min((weekday - today.weekday() - 1) % 7 + 1 for weekday in delay.weekdays)
        return instant_of(today + timedelta(days=ahead), delay.minute, name)
    days = _supplied(delay.supply, known) if delay.supply else 0
    if days is None:
        return None
    day = later_by(today, delay.months) + timedelta(days=delay.days + int(days))
    return instant_of(day, delay.minute, name)


def later_by(day: date, months: int) -> date:
    """Return the day so many months later, or the last of that month where it has none such (DL-4)."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    if not 1 <= year <= 9999:
        raise OverflowError("a day of no year of four digits")
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _supplied(supply: Supply, known: Known) -> float | None:
    """Say for how many days a supply lasts; None: it is not known."""
    found = _looked_up(known, supply.field)
    days = _number(supply.days.get(_text(found)) if supply.days else found)
    times = _number(_looked_up(known, supply.times)) if supply.times else 1
    if days is None or times is None or not 0 <= days * times <= MOST_S // DAY_S:
        return None
    return days * times


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        value = number_in(value)
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return float(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _looked_up(known: Known, name: str) -> Any:
    """Return what is known under a name; a name with dots leads into objects, unless it is a name as it stands."""
    found = known.get(name, MISSING)
    return at_path(known, tuple(name.split("."))) if found is MISSING and "." in name else found


# -- times that are known of somebody ----------------------------------------------------------------------------------


def _known_at(form: Until, value: Any, name: str) -> datetime | None:
    wall_or_instant = _time_of(value)
    return None if wall_or_instant is None else _shifted(wall_or_instant, form.offset, form.minute, name)


def _shifted(given: datetime, offset: Offset, minute: int | None, name: str) -> datetime:
    """Lay an offset on a time, which is of this zone if it has none: months and days by its calendar, then seconds."""
    if minute is None and not offset.months and not offset.days:
        start = given if given.tzinfo else first_instant(given, name)
        return (start + timedelta(seconds=offset.seconds)).astimezone(UTC)
    wall = given.astimezone(zone(name)).replace(tzinfo=None, fold=0) if given.tzinfo else given
    day = later_by(wall.date(), offset.months) + timedelta(days=offset.days)
    at = (
        instant_of(day, minute, name) if minute is not None else first_instant(datetime.combine(day, wall.time()), name)
    )
    return at + timedelta(seconds=offset.seconds)


def _time_of(value: Any) -> datetime | None:
    """Read a date or a time of JSON: an instant if it says its offset from UTC, else what a clock shows."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    found = _ISO.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return None
    day, minute, second, fraction, offset = found.groups()
    offset = (offset or "").upper().replace("Z", "+00:00")
    if offset and ":" not in offset:
        offset = f"{offset[:3]}:{offset[3:]}"
    try:
        return datetime.fromisoformat(f"{day}T{minute or '00:00'}:{second or '00'}.{fraction or '':0<6}{offset}")
    except ValueError:
        return None


def occurrence_of(form: OnDate, value: Any, clocks: Clocks, now: datetime, fired: str = "") -> Occurrence | None:
    """Return the firing to wait for, or that is due and not too late; None: there is none (TR-10).

    value  the attribute as it is now; when it changes, what was computed of the old one is dropped and this asked anew.
           Each year also MM-DD or --MM-DD
    fired  the key of what has fired last: it does not come again
    """
    try:
        find = _yearly if form.yearly else _single
        return find(form, value, clocks, now, fired)
    except OverflowError:
        return None


def occurrences_of(
    form: OnDate, values: Sequence[Any], recipients: Sequence[str], workspace: str, now: datetime
) -> list[Occurrence | None]:
    """Return the same for many people; people of one date and zone have one computation."""
    made: dict[tuple[Any, str], Occurrence | None] = {}
    found: list[Occurrence | None] = []
    for value, name in zip(values, recipients, strict=True):
        if not isinstance(value, str | date):
            found.append(None)
            continue
        key = (value, name)
        if key not in made:
            made[key] = occurrence_of(form, value, Clocks(name, workspace), now)
        found.append(made[key])
    return found


def _single(form: OnDate, value: Any, clocks: Clocks, now: datetime, fired: str) -> Occurrence | None:
    name = clocks.of(form.clock)
    given = _time_of(value)
    if given is None:
        return None
    at = _shifted(given, form.offset, form.minute, name)
    # A date that is changed and changed back is one cause; a new one is another.
    key = _shown(given)
    return None if key == fired or judged(at, now, form.max_lateness_s) == "late" else Occurrence(at, key, name)


def _yearly(form: OnDate, value: Any, clocks: Clocks, now: datetime, fired: str) -> Occurrence | None:
    name = clocks.of(form.clock)
    given = _time_of(value)
    if given is None:
        text = value.strip() if isinstance(value, str) else ""
        found = _YEARLY.fullmatch(text)
        try:
            given = datetime(_LEAP_YEAR, int(found[1]), int(found[2])) if found else None
        except ValueError:
            given = None
        if given is None:
            return None
    wall = given.astimezone(zone(name)).replace(tzinfo=None, fold=0) if given.tzinfo else given
    # An offset moves the firing away from the year of its anniversary, by at most a hundred of them.
    guess = _elapsed_year(now, form.offset)
    first = max(wall.year, guess - 1, int(fired) + 1 if fired.isdecimal() else 1)
    for year in range(first, first + 4):
        day = later_by(date(wall.year, wall.month, wall.day), (year - wall.year) * 12)
        at = _shifted(datetime.combine(day, wall.time()), form.offset, form.minute, name)
        if judged(at, now, form.max_lateness_s) != "late":
            return Occurrence(at, str(year), name)
    return None


def _elapsed_year(now: datetime, offset: Offset) -> int:
    """Return the year of an anniversary whose firing is about now."""
    days = offset.days + offset.months * 30.4375 + offset.seconds / DAY_S
    return int((now - timedelta(days=days)).year)


def _shown(given: datetime) -> str:
    return (given.astimezone(UTC) if given.tzinfo else given).isoformat(timespec="minutes")


# -- schedules ---------------------------------------------------------------------------------------------------------


def next_occurrence(schedule: Schedule, after: datetime, clocks: Clocks) -> Occurrence | None:
    """Return the first occurrence later than an instant; None: there is none.

    Where days of the calendar were skipped, two local times may be one instant: it is then the later one's.
    """
    if isinstance(schedule, Every) and schedule.unit == "interval":
        return _interval(schedule, after)
    name = clocks.of(schedule.clock)
    suffix = RECIPIENT if schedule.clock == RECIPIENT else name
    if isinstance(schedule, Once):
        wall = datetime.fromisoformat(schedule.at)
        at = first_instant(wall, name)
        return Occurrence(at, f"{schedule.at}/{suffix}", name) if at > after else None
    found: Occurrence | None = None
    # No clock is more than a day from UTC, and no gap was longer than one.
    for day in _days_from(schedule, after.astimezone(zone(name)).date() - timedelta(days=2)):
        at = instant_of(day, schedule.minute, name)
        if found is not None and at > found.at:
            return found
        if at > after:
            found = Occurrence(at, f"{day}T{schedule.minute // 60:02}:{schedule.minute % 60:02}/{suffix}", name)
    return found


def first_tick(schedule: Schedule, ready: datetime, clocks: Clocks) -> Occurrence | None:
    """Return the first occurrence at or after an instant: when somebody who is ready then is looked at (TR-6, S1.4)."""
    return next_occurrence(schedule, ready - timedelta(microseconds=1), clocks)


def inactive_at(tick: Schedule, last_order_at: datetime, days: int, clocks: Clocks) -> Occurrence | None:
    """Return the tick at which somebody is inactive for so many days, elapsed ones from the last order (TR-6, SG-3)."""
    return first_tick(tick, last_order_at.astimezone(UTC) + timedelta(days=days), clocks)


def missed(
    schedule: Schedule, since: datetime, now: datetime, clocks: Clocks
) -> Iterator[tuple[Occurrence, Literal["now", "late"]]]:
    """Yield each occurrence in (since, now], the oldest first, and whether it still runs or is too late (TR-7).

    After long downtime of a short interval they are many: whoever catches up takes them one by one.
    """
    while True:
        found = next_occurrence(schedule, since, clocks)
        if found is None or found.at > now:
            return
        yield found, "late" if judged(found.at, now, schedule.max_lateness_s) == "late" else "now"
        since = found.at


def _interval(schedule: Every, after: datetime) -> Occurrence:
    elapsed = (after - _EPOCH) // _SECOND
    at = _EPOCH + timedelta(seconds=(elapsed // schedule.seconds + 1) * schedule.seconds)
    return Occurrence(at, f"{at:%Y-%m-%dT%H:%M:%S}Z", "UTC")


def _days_from(schedule: Every, first: date) -> Iterator[date]:
    """Yield the days on which a schedule occurs, from the first on, until the calendar ends."""
    try:
        if schedule.unit in ("day", "week"):
            day = first
            while True:
                if schedule.unit == "day" or day.weekday() in schedule.weekdays:
                    yield day
                day += timedelta(days=1)
        step = 1 if schedule.unit == "month" else 12
        month = date(first.year, first.month if schedule.unit == "month" else schedule.month, 1)
        while True:
            day = month.replace(day=min(schedule.day, calendar.monthrange(month.year, month.month)[1]))
            if day >= first:
                yield day
            month = later_by(month, step)
    except OverflowError:
        return
