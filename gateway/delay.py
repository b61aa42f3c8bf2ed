"""When a step is due, and when a trigger fires: as Structs, read from the words of a document.

    waits      "30m"                                                        elapsed, to the microsecond (DL-1)
               {at = {days = 3, time = "10:00", clock = "workspace"}}       calendar days, then a time of day
               {next = {weekday = "mon", time = "10:00"}}                   strictly later: on a Monday it is in 7 days
               {until = {attribute = "appointment", offset = "-24h"}}       a time that is known of somebody
               {after = {days = {field = "supply_days", times = "quantity"}, offset = "-3d"}}     when it runs out
    dates      {attribute = "birthday", offset = "-7d", at = "09:00", yearly = true}
    schedules  {once = "2026-03-02T10:00"} · {every = "day", at = "10:00"} · {every = "15m"}
               {every = "week", weekday = ["mon", "thu"], at = …} · {every = "year", on = "12-24", at = …}
               {every = "month", day = 31, at = …}                          clamped (DL-4)

    clock         whose: recipient, workspace, or a zone by its name. Where nothing is said waits and dates go by the
                  recipient's, schedules by the workspace's (S1.9)
    max_lateness  after which it is too late (DL-2, TR-7)

Lengths are elapsed: s, m or min, h, d, w. In an offset with a time of day they are days of the calendar, d, w, mo, y.
Every problem is reported: key, what was expected, what was found.
Not here: instants, zones and clocks set back (campaign/delays.py), until an event or a time (a step of its own).
"""

import difflib
import functools
import re
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gateway.routing import DAYS, Problem, minute_of
from gateway.rules import FULL_DAYS

RECIPIENT, WORKSPACE = "recipient", "workspace"
MOST_DAYS = 36_600
MOST_S = MOST_DAYS * 86_400
# Waits and win-backs may be a day late; what is meant for an hour, two (TR-7).
WAIT_LATENESS_S = 86_400
HOUR_LATENESS_S = 7_200
LEAST_EVERY_S = 60
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MONTHS = {"mo": 1, "y": 12}
_LENGTH = re.compile(r"([+-]?)\s*(\d{1,12})\s*([a-z]+)")

Minute = Annotated[int, Meta(ge=0, le=1439)]
Seconds = Annotated[int, Meta(ge=0, le=MOST_S)]
Weekdays = Annotated[tuple[Annotated[int, Meta(ge=0, le=6)], ...], Meta(min_length=1, max_length=7)]


class Supply(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How many days something lasts, of what is known of the trigger: days each, times how many (S4.8).

    field     that says how many days one lasts; or, where `days` is given, what they are looked up by
    days      by the value of the field, as a table: {"SKU-A" = 30}
    times     a field that says how many there are; "" = one
    """

    field: Annotated[str, Meta(min_length=1, max_length=200)]
    days: Mapping[str, Annotated[int, Meta(ge=0, le=MOST_DAYS)]] = {}
    times: Annotated[str, Meta(max_length=200)] = ""


class Offset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """So far from a time that is known: months and days by the calendar, then seconds as they pass."""

    months: Annotated[int, Meta(ge=-1200, le=1200)] = 0
    days: Annotated[int, Meta(ge=-MOST_DAYS, le=MOST_DAYS)] = 0
    seconds: Annotated[int, Meta(ge=-MOST_S, le=MOST_S)] = 0


class After(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="is", tag="after"
):
    """Elapsed time, from when the trigger happened; with a supply, its days and `seconds`, which may be below 0."""

    seconds: Annotated[int, Meta(ge=-MOST_S, le=MOST_S)] = 0
    supply: Supply | None = None
    max_lateness_s: Seconds = WAIT_LATENESS_S


class At(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="is", tag="at"):
    """Calendar days of a clock, months before days, then a time of day; months are clamped (DL-4)."""

    minute: Minute
    months: Annotated[int, Meta(ge=0, le=1200)] = 0
    days: Annotated[int, Meta(ge=0, le=MOST_DAYS)] = 0
    supply: Supply | None = None
    clock: str = RECIPIENT
    max_lateness_s: Seconds = WAIT_LATENESS_S


class Next(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="is", tag="next"
):
    """A time of day on the next of these weekdays, strictly later than today; Monday is 0."""

    weekdays: Weekdays
    minute: Minute
    clock: str = RECIPIENT
    max_lateness_s: Seconds = WAIT_LATENESS_S


class Until(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="is", tag="until"
):
    """A time that is known of somebody, and an offset; with a time of day, of the day that comes out.

    clock  by which days are counted, and local times without an offset from UTC are read
    """

    attribute: Annotated[str, Meta(min_length=1, max_length=200)]
    offset: Offset = Offset()
    minute: Minute | None = None
    clock: str = RECIPIENT
    max_lateness_s: Seconds = HOUR_LATENESS_S


Delay = After | At | Next | Until


class OnDate(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="is", tag="date"
):
    """A trigger: a date that is known of somebody, once or each year from then on; 29 February is the 28th (TR-10)."""

    attribute: Annotated[str, Meta(min_length=1, max_length=200)]
    offset: Offset = Offset()
    minute: Minute | None = None
    yearly: bool = False
    clock: str = RECIPIENT
    max_lateness_s: Seconds = HOUR_LATENESS_S


class Once(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="is", tag="once"
):
    """A trigger: one local time, as 2026-03-02T10:00."""

    at: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$")]
    clock: str = WORKSPACE
    max_lateness_s: Seconds = HOUR_LATENESS_S


class Every(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="is", tag="every"
):
    """A trigger that comes again.

    unit      interval: each `seconds` since 1970; else each day, week (on weekdays), month (on a day), year (on a date)
    day       of the month, the last where it has none; month: of a year
    """

    unit: Literal["interval", "day", "week", "month", "year"]
    seconds: Seconds = 0
    minute: Minute = 0
    weekdays: tuple[Annotated[int, Meta(ge=0, le=6)], ...] = ()
    day: Annotated[int, Meta(ge=0, le=31)] = 0
    month: Annotated[int, Meta(ge=0, le=12)] = 0
    clock: str = WORKSPACE
    max_lateness_s: Seconds = HOUR_LATENESS_S


Schedule = Once | Every


def attributes_of(delay: Delay | OnDate) -> tuple[str, ...]:
    """Name what has to be known of somebody for it."""
    if isinstance(delay, Until | OnDate):
        return (delay.attribute,)
    supply = delay.supply if isinstance(delay, After | At) else None
    return tuple(name for name in (supply.field, supply.times) if name) if supply else ()


# -- reading -----------------------------------------------------------------------------------------------------------


def read_delay(value: Any, key: str, problems: list[Problem]) -> Delay | None:
    """Read a wait; None, and the problems appended, where it is none."""
    if isinstance(value, str):
        value = {"after": value}
    words = _Words(value, key, problems, 'a wait such as "30m" or {at = {days = 3, time = "10:00"}}')
    form = words.one_of("after", "at", "next", "until")
    lateness = words.length("max_lateness")
    said: dict[str, Any] = {} if lateness is None else {"max_lateness_s": lateness}
    found = _FORMS[form](words.under(form), said) if form else None
    return found if words.is_right() else None


def read_date(value: Any, key: str, problems: list[Problem]) -> OnDate | None:
    """Read the date of a trigger; None, and the problems appended, where it is none."""
    words = _Words(value, key, problems, 'a date such as {attribute = "birthday", offset = "-7d", at = "09:00"}')
    said = _known_time(words, "at")
    yearly = words.flag("yearly")
    lateness = words.length("max_lateness")
    if yearly and "offset" in said and said["offset"].seconds and said.get("minute") is None:
        words.wrong("at", 'a time of day such as "09:00", since a yearly date is a day', "none")
    if lateness is not None:
        said["max_lateness_s"] = lateness
    return OnDate(**said, yearly=yearly) if words.is_right() else None


def read_schedule(value: Any, key: str, problems: list[Problem]) -> Schedule | None:
    """Read when a trigger fires of itself; None, and the problems appended, where it cannot be."""
    words = _Words(
        value, key, problems, 'a schedule such as {every = "day", at = "10:00"} or {once = "2026-03-02T10:00"}'
    )
    form = words.one_of("once", "every")
    lateness = words.length("max_lateness")
    said: dict[str, Any] = {} if lateness is None else {"max_lateness_s": lateness}
    found = _once(words, said) if form == "once" else _every(words, said) if form else None
    return found if words.is_right() else None


def _once(words: "_Words", said: dict[str, Any]) -> Once | None:
    clock, text = words.clock(WORKSPACE), words.take("once")
    if isinstance(text, datetime) and text.tzinfo is None and not text.second and not text.microsecond:
        text = f"{text:%Y-%m-%dT%H:%M}"
    text = text.replace(" ", "T") if isinstance(text, str) else text
    try:
        if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d", text, re.ASCII):
            raise ValueError
        datetime.fromisoformat(text)
    except ValueError:
        words.wrong("once", "a local time such as 2026-03-02T10:00 (whose, says clock)", _shown(text))
        return None
    return Once(at=text, clock=clock, **said)


def _every(words: "_Words", said: dict[str, Any]) -> Every | None:
    text = words.take("every")
    if text in ("day", "week", "month", "year"):
        said |= {"minute": words.minute("at"), "clock": words.clock(WORKSPACE)}
        if text == "week":
            said["weekdays"] = words.weekdays("weekday")
        elif text == "month":
            said["day"] = words.whole("day", 1, 31)
        elif text == "year":
            said["month"], said["day"] = words.month_day("on")
        return None if any(part is None for part in said.values()) else Every(unit=text, **said)
    try:
        seconds = _length(text)[1]
    except ValueError:
        seconds = 0
    if not LEAST_EVERY_S <= seconds <= MOST_S:
        words.wrong("every", "day, week, month, year, or a length of a minute and more such as 15m", _shown(text))
        return None
    return Every(unit="interval", seconds=seconds, **said)


def _after(words: "_Words", said: dict[str, Any]) -> After | None:
    if isinstance(words.value, str):
        found = words.length("")
        return None if found is None else After(seconds=found, **said)
    supply = words.supply("days")
    seconds = words.length("offset", is_signed=True)
    if supply is None:
        if not words.has("days"):
            words.wrong("", 'a length such as "30m", or {days = {field = "supply_days"}}', _shown(words.value))
        return None
    return After(supply=supply, seconds=seconds or 0, **said)


def _at(words: "_Words", said: dict[str, Any]) -> At | None:
    minute, clock = words.minute("time"), words.clock(RECIPIENT)
    supply = words.supply("days") if isinstance(words.peek("days"), Mapping) else None
    days = 0 if supply or not words.has("days") else words.whole("days", 0, MOST_DAYS)
    weeks = words.whole("weeks", 0, MOST_DAYS // 7) if words.has("weeks") else 0
    months = words.whole("months", 0, 1200) if words.has("months") else 0
    if not any(words.has(name) for name in ("days", "weeks", "months")):
        words.wrong("days", "how many days, weeks or months later: 0 is the same day", "none")
        return None
    if minute is None or days is None or weeks is None or months is None:
        return None
    if days + 7 * weeks > MOST_DAYS:
        words.wrong("weeks", f"at most {MOST_DAYS} days in all", str(days + 7 * weeks))
        return None
    return At(minute=minute, months=months, days=days + 7 * weeks, supply=supply, clock=clock, **said)


def _next(words: "_Words", said: dict[str, Any]) -> Next | None:
    weekdays, minute, clock = words.weekdays("weekday"), words.minute("time"), words.clock(RECIPIENT)
    return None if weekdays is None or minute is None else Next(weekdays=weekdays, minute=minute, clock=clock, **said)


def _until(words: "_Words", said: dict[str, Any]) -> Until | None:
    known = _known_time(words, "time")
    return None if known.get("attribute") is None else Until(**known, **said)


_FORMS: Mapping[str, Callable[["_Words", dict[str, Any]], Delay | None]] = {
    "after": _after,
    "at": _at,
    "next": _next,
    "until": _until,
}


def _known_time(words: "_Words", time_key: str) -> dict[str, Any]:
    """Read attribute, offset, clock and a time of day: what waits and triggers of a known time have in common."""
    said: dict[str, Any] = {"attribute": words.name("attribute"), "clock": words.clock(RECIPIENT)}
    if words.has(time_key):
        said["minute"] = words.minute(time_key)
    if not words.has("offset"):
        return said
    text = words.take("offset")
    try:
        months, seconds = _length(text, is_signed=True, has_months=True)
    except ValueError as error:
        words.wrong("offset", str(error), _shown(text))
        return said
    if not words.has(time_key):
        said["offset"] = Offset(months=months, seconds=seconds)
    elif seconds % 86_400:
        words.wrong("offset", f"days, weeks, months or years, since {time_key} says the time of day", _shown(text))
    else:
        said["offset"] = Offset(months=months, days=seconds // 86_400)
    return said


class _Words:
    """One table of a document, while it is read: what nobody asked for in it is a problem at the end."""

    def __init__(self, value: Any, key: str, problems: list[Problem], wanted: str):
        self.value, self.key, self.problems = value, key, problems
        self._before = len(problems)
        self._asked: dict[str, None] = {}
        self._below: list[_Words] = []
        if not isinstance(value, Mapping):
            self.wrong("", wanted, _shown(value))

    def wrong(self, name: str, expected: str, found: str) -> None:
        self.problems.append((f"{self.key}.{name}" if name else self.key, expected, found))

    def peek(self, name: str) -> Any:
        self._asked[name] = None
        return self.value.get(name) if isinstance(self.value, Mapping) else None

    def has(self, name: str) -> bool:
        return self.peek(name) is not None

    def take(self, name: str) -> Any:
        """Return a value; of name "" the whole, where it is no table."""
        return self.peek(name) if name else self.value

    def under(self, name: str) -> "_Words":
        value = self.peek(name)
        if isinstance(value, str) and name == "after":
            below = _Words({}, f"{self.key}.{name}", self.problems, "")
            below.value = value
        else:
            below = _Words(value, f"{self.key}.{name}", self.problems, f"a table of what {name} needs")
        self._below.append(below)
        return below

    def is_right(self) -> bool:
        """Say what nobody asked for; -> whether nothing was wrong."""
        for words in (self, *self._below):
            for name in words.value if isinstance(words.value, Mapping) else ():
                if name not in words._asked:
                    known = [each for each in words._asked if each]
                    close = difflib.get_close_matches(str(name), known, 1)
                    hint = f" (did you mean {close[0]}?)" if close else ""
                    words.wrong(str(name), f"one of {', '.join(known)}{hint}", _shown(name))
        return len(self.problems) == self._before

    def one_of(self, *names: str) -> str:
        """Say which one of these is there; "" and a problem where it is not exactly one."""
        found = [name for name in names if self.has(name)]
        if len(found) != 1 and isinstance(self.value, Mapping):
            self.wrong("", f"exactly one of {', '.join(names)}", " and ".join(found) or _shown(dict(self.value)))
        return found[0] if len(found) == 1 else ""

    def length(self, name: str, *, is_signed: bool = False) -> int | None:
        text = self.take(name)
        if text is None:
            return None
        try:
            return _length(text, is_signed=is_signed)[1]
        except ValueError as error:
            self.wrong(name, str(error), _shown(text))
            return None

    def minute(self, name: str) -> int | None:
        text = self.take(name)
        try:
            found = minute_of(text) if isinstance(text, str) else 1440
        except ValueError:
            found = 1440
        if found < 1440:
            return found
        self.wrong(name, "a time of day such as 10:00, 00:00 to 23:59", _shown(text))
        return None

    def clock(self, otherwise: str) -> str:
        name = self.take("clock")
        if name is None:
            return otherwise
        if isinstance(name, str) and (name in (RECIPIENT, WORKSPACE) or name in _zones()):
            return name
        close = difflib.get_close_matches(str(name), (RECIPIENT, WORKSPACE, *_zones()), 1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        self.wrong("clock", f"recipient, workspace or a zone such as Europe/London{hint}", _shown(name))
        return otherwise

    def name(self, name: str) -> str | None:
        text = self.take(name)
        if isinstance(text, str) and 0 < len(text) <= 200:
            return text
        self.wrong(name, "the name of an attribute", _shown(text))
        return None

    def flag(self, name: str) -> bool:
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            self.wrong(name, "true or false", _shown(value))
        return value is True

    def whole(self, name: str, least: int, most: int) -> int | None:
        value = self.take(name)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self.wrong(name, f"a whole number from {least} to {most}", _shown(value))
        return None

    def weekdays(self, name: str) -> tuple[int, ...] | None:
        value = self.take(name)
        texts = value if isinstance(value, list | tuple) else [value]
        found = {_weekday(text) for text in texts}
        if not found or None in found:
            self.wrong(name, f"a weekday or a list of them: {', '.join(DAYS)}", _shown(value))
            return None
        return tuple(sorted(day for day in found if day is not None))

    def month_day(self, name: str) -> tuple[int | None, int | None]:
        text = self.take(name)
        try:
            if not isinstance(text, str) or not re.fullmatch(r"\d\d-\d\d", text, re.ASCII):
                raise ValueError
            day = date.fromisoformat(f"2024-{text}")  # a leap year: 02-29 is a day
        except ValueError:
            self.wrong(name, "a month and a day such as 12-24", _shown(text))
            return None, None
        return day.month, day.day

    def supply(self, name: str) -> Supply | None:
        value = self.peek(name)
        if value is None:
            return None
        words = _Words(value, f"{self.key}.{name}", self.problems, 'a table such as {field = "supply_days"}')
        self._below.append(words)
        if not isinstance(value, Mapping):
            return None
        field, times, days = words.name("field"), "", words.take("days")
        if words.has("times"):
            times = words.name("times") or ""
        table = days if isinstance(days, Mapping) else {}
        if days is not None and not isinstance(days, Mapping):
            words.wrong("days", "a table of days by the value of the field", _shown(days))
        for each, n in table.items():
            if not isinstance(n, int) or isinstance(n, bool) or not 0 <= n <= MOST_DAYS:
                words.wrong(f"days.{each}", f"a whole number from 0 to {MOST_DAYS}", _shown(n))
                return None
        return Supply(field=field, days=dict(table), times=times) if field else None


def _weekday(text: Any) -> int | None:
    word = text.casefold() if isinstance(text, str) else ""
    return next((day for day in range(7) if word in (DAYS[day], FULL_DAYS[day])), None)


@functools.cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _length(text: Any, *, is_signed: bool = False, has_months: bool = False) -> tuple[int, int]:
    """Read a length of time; -> (months, seconds).

    raises  ValueError with what was expected
    """
    found = _LENGTH.fullmatch(text.strip()) if isinstance(text, str) and text.isascii() else None
    units = {**_SECONDS, **(_MONTHS if has_months else {})}
    if found is None or found[3] not in units or (found[1] and not is_signed):
        example = "-24h" if is_signed else "30m"
        raise ValueError(f"a length such as {example}, in {', '.join(units)}")
    n = int(found[2]) * (-1 if found[1] == "-" else 1)
    months = n * _MONTHS.get(found[3], 0)
    seconds = n * _SECONDS.get(found[3], 0)
    if abs(months) > 1200 or abs(seconds) > MOST_S:
        raise ValueError("a length of at most a hundred years")
    return months, seconds


def _shown(value: Any) -> str:
    text = "none" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


# -- writing -----------------------------------------------------------------------------------------------------------


def words_of(form: Delay | OnDate | Schedule) -> dict[str, Any]:
    """Write it as words that are read the same."""
    said: dict[str, Any] = {}
    if isinstance(form, After):
        said["after"] = _said(form.seconds)
        if form.supply:
            said["after"] = {"days": _supply(form.supply)}
            if form.seconds:
                said["after"]["offset"] = _said(form.seconds)
    elif isinstance(form, At):
        said["at"] = dict(_counts(form)) | {"time": _time(form.minute), "clock": form.clock}
    elif isinstance(form, Next):
        said["next"] = {"weekday": _days(form.weekdays), "time": _time(form.minute), "clock": form.clock}
    elif isinstance(form, Until):
        said["until"] = _known(form, "time")
    elif isinstance(form, OnDate):
        said = _known(form, "at") | {"yearly": form.yearly}
    elif isinstance(form, Once):
        said = {"once": form.at, "clock": form.clock}
    elif form.unit == "interval":
        said = {"every": _said(form.seconds)}
    else:
        said = {"every": form.unit, "at": _time(form.minute), "clock": form.clock}
        if form.unit == "week":
            said["weekday"] = _days(form.weekdays)
        elif form.unit == "month":
            said["day"] = form.day
        elif form.unit == "year":
            said["on"] = f"{form.month:02}-{form.day:02}"
    return said | {"max_lateness": _said(form.max_lateness_s)}


def _counts(form: At) -> Iterator[tuple[str, Any]]:
    yield "days", _supply(form.supply) if form.supply else form.days
    if form.supply and form.days:
        yield "weeks", form.days // 7
    if form.months:
        yield "months", form.months


def _known(form: Until | OnDate, time_key: str) -> dict[str, Any]:
    said: dict[str, Any] = {"attribute": form.attribute, "clock": form.clock}
    if form.offset.months:
        said["offset"] = f"{form.offset.months}mo"
    elif form.offset != Offset():
        said["offset"] = _said(form.offset.days * 86_400 + form.offset.seconds)
    if form.minute is not None:
        said[time_key] = _time(form.minute)
    return said


def _supply(supply: Supply) -> dict[str, Any]:
    said: dict[str, Any] = {"field": supply.field}
    if supply.days:
        said["days"] = dict(supply.days)
    if supply.times:
        said["times"] = supply.times
    return said


def _said(seconds: int) -> str:
    unit = next(unit for unit in ("w", "d", "h", "m", "s") if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def _time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _days(weekdays: Sequence[int]) -> list[str]:
    return [DAYS[day] for day in weekdays]
