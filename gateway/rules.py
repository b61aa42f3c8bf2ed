"""Windows of local time, and what a country asks for: as Structs, read from the words of TOML or JSON.

    {mon-sat = ["09:00-20:00"], sun = ["12:00-20:00"], holidays = []}
     days        spans, half-open: 09:00:00 is in, 20:00:00 is out; a day that is not named is closed
                 "22:00-06:00" crosses midnight and belongs to the day on which it starts; "00:00-24:00" is a whole day
     holidays    other spans on the days that a calendar names; not said: as on that weekday

Every problem is reported, not the first alone: key, what was expected, what was found.
Not here: instants, zones and holidays (campaign/quiet_hours.py), the files of the packs (campaign/law.py).
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.routing import DAYS, span_of

Problem = tuple[str, str, str]
Spans = tuple[tuple[int, int], ...]
"""(begin, end) in minutes of the day on which a span starts; an end past 1440 is on the next day."""

DAY = 24 * 60
WEEK = 7 * DAY
HOLIDAYS = "holidays"
_EVERY = {"daily": range(7), "all": range(7), "weekdays": range(5), "weekends": range(5, 7)}
FULL_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Window(Struct, frozen=True):
    """When something may be sent, by the clock on a wall.

    days      seven, Monday first
    holidays  instead of the weekday's, on a holiday that the span starts on; None: as on the weekday
    """

    days: tuple[Spans, Spans, Spans, Spans, Spans, Spans, Spans]
    holidays: Spans | None = None


_WHOLE: Spans = ((0, DAY),)
ALWAYS = Window(days=(_WHOLE,) * 7)


def read_window(value: Any, key: str, problems: list[Problem]) -> Window | None:
    """Read a window from words; None, and the problems appended, where it cannot be.

    value  "always", one span or a list of spans for every day, or a table of days
    """
    before = len(problems)
    if value == "always":
        return ALWAYS
    if isinstance(value, str | list | tuple):
        spans = _spans(value, key, problems)
        if not spans and len(problems) == before:
            problems.append((key, "a span such as 09:00-20:00", "none"))
        return Window(days=(spans,) * 7) if len(problems) == before else None
    if not isinstance(value, Mapping):
        problems.append((key, 'a table such as {mon-sat = ["09:00-20:00"]}', _shown(value)))
        return None
    days: list[Spans | None] = [None] * 7
    holidays: Spans | None = None
    for name, given in value.items():
        spans = _spans(given, f"{key}.{name}", problems)
        if str(name).casefold() == HOLIDAYS:
            holidays = spans
            continue
        named = _days(str(name))
        if named is None:
            problems.append((f"{key}.{name}", _days_wanted(str(name)), _shown(name)))
            continue
        for day in named:
            if days[day] is not None:
                problems.append((f"{key}.{name}", "each day once", f"{DAYS[day]} twice"))
                break
            days[day] = spans
    if len(problems) > before:
        return None
    if not any(days):
        problems.append((key, "at least one span on one day", _shown(value)))
        return None
    mon, tue, wed, thu, fri, sat, sun = (day or () for day in days)
    return Window(days=(mon, tue, wed, thu, fri, sat, sun), holidays=holidays)


def _days(name: str) -> list[int] | None:
    """Days that a key names: mon, monday, mon-fri, fri-mon, "mon,wed", daily; None where it names none."""
    found: list[int] = []
    for part in name.casefold().replace(" ", "").split(","):
        if part in _EVERY:
            found += _EVERY[part]
            continue
        ends = [next((i for i in range(7) if word in (DAYS[i], FULL_DAYS[i])), None) for word in part.split("-")]
        if not 1 <= len(ends) <= 2 or ends[0] is None or ends[-1] is None:
            return None
        found += [(ends[0] + i) % 7 for i in range((ends[-1] - ends[0]) % 7 + 1)]
    return found


def _days_wanted(name: str) -> str:
    close = difflib.get_close_matches(name.casefold(), (*DAYS, *FULL_DAYS, *_EVERY, HOLIDAYS), 1)
    return "days such as mon, mon-fri, sat-sun or holidays" + (f" (did you mean {close[0]}?)" if close else "")


def _spans(value: Any, key: str, problems: list[Problem]) -> Spans:
    """Read one span or a list of them; ["09:00", "20:00"] is one span too."""
    if value == "always":
        return _WHOLE
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        problems.append((key, "spans such as 09:00-20:00", _shown(value)))
        return ()
    if len(texts) == 2 and not any("-" in text for text in texts):
        texts = ["-".join(texts)]
    found: list[tuple[int, int]] = []
    for text in texts:
        try:
            begin, end = span_of(text)
        except ValueError as error:
            expected = "a span such as 09:00-20:00 with an end that is not its start (the whole day is 00:00-24:00)"
            problems.append((key, expected, str(error)))
            continue
        found.append((begin, end if begin < end else end + DAY))
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        first = merged[-1][0] if merged else 0
        longest = max(end - first, merged[-1][1] - first) if merged else 0
        # What one span in words cannot say, a day and more, stays two that overlap.
        if merged and begin <= merged[-1][1] and (longest < DAY or first == 0 and longest == DAY):
            merged[-1] = (first, first + longest)
        else:
            merged.append((begin, end))
    return tuple(merged)


def words_of(window: Window) -> dict[str, list[str]]:
    """Write a window as words that read_window reads the same."""
    said: dict[str, list[str]] = {}
    day = 0
    while day < 7:
        last = day
        while last < 6 and window.days[last + 1] == window.days[day]:
            last += 1
        if window.days[day]:
            said[DAYS[day] if last == day else f"{DAYS[day]}-{DAYS[last]}"] = _said(window.days[day])
        day = last + 1
    if window.holidays is not None:
        said[HOLIDAYS] = _said(window.holidays)
    return said


def _said(spans: Spans) -> list[str]:
    ends = [(begin, end if end <= DAY else end - DAY) for begin, end in spans]
    return [f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}" for begin, end in ends]


def text_of(window: Window) -> str:
    """Write a window on one line for a person."""
    if window == ALWAYS:
        return "always"
    return "; ".join(f"{days} {', '.join(spans) or 'closed'}" for days, spans in words_of(window).items())


def weekly(windows: Iterable[Window]) -> list[tuple[int, int]]:
    """Spans, in minutes from Monday 00:00, that all windows leave in a week without holidays or a change of the clock.

    Empty: no message can ever leave, whatever the zone: an error at configuration.
    """
    left = [(0, WEEK)]
    for window in windows:
        spans: list[tuple[int, int]] = []
        for day, of_day in enumerate(window.days):
            for begin, end in of_day:
                first, last = day * DAY + begin, day * DAY + end
                spans.append((first, min(last, WEEK)))
                if last > WEEK:
                    spans.append((0, last - WEEK))
        left = meet(left, joined(spans))
    return left


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort spans and join those that touch."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            if end > found[-1][1]:
                found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def meet(one: Sequence[tuple[int, int]], other: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """What two sorted lists of half-open spans have in common."""
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(one) and j < len(other):
        begin, end = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if begin < end:
            found.append((begin, end))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return found


# What a country asks for.

Count = Annotated[int, Meta(ge=1, le=1000)]
Per = Annotated[str, Meta(pattern=r"^(rolling_[1-9]\d{0,3}h|calendar_(day|week|month))$")]


class PackCap(Struct, frozen=True, forbid_unknown_fields=True):
    """At most n messages in a period: rolling_24h, or calendar_day, _week, _month of the recipient's zone."""

    n: Count
    per: Per


class OptIn(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a grant needs.

    double    a second word from the handset
    ask_once  no answer is a refusal, and the same request is not repeated
    """

    double: bool
    ask_once: bool


class Footer(Struct, frozen=True, forbid_unknown_fields=True):
    """How often the way out must be said: in the first text, each `messages` texts, and after `days`."""

    messages: Count
    days: Count | None = None


class OptOut(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often the way out is said. A STOP is honoured within a second, and confirmed, everywhere."""

    footer_every: Footer


class Label(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Words a promotional text begins and ends with; {names} are filled in by the sender. They are counted as text."""

    prefix: str | None
    suffix: str | None


class Night(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Hours outside the window that a consent of their own opens."""

    hours: Annotated[str, Meta(min_length=11, max_length=11)]
    needs: Literal["night_consent"]


class Dlt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must stand on every text where templates are registered; its category is the class of the run."""

    pe_id: Literal["required", "optional"]
    template_id: Literal["required", "optional"]
    header: Literal["required", "optional"]


class Origin(Struct, frozen=True):
    """Where a value comes from and how sure it is: A primary text … D general knowledge, to be verified."""

    src: str
    conf: Literal["A", "B", "C", "D"]
    checked: str
    pack: str


class Pack(Struct, frozen=True, kw_only=True):
    """What is asked for in one country, or in one region of it; `origins` says for each key whence.

    promo_window          of promotional messages
    hard_window           how far a brand may widen it, who says so; None: not at all
    transactional_window  of transactional ones
    holidays              calendars whose days are closed for promotional messages
    zone_mode             for zones known from the number alone: those of its area code, or all of its country
    legal_max             caps that nobody may go over
    regions               what differs in parts of the country, each whole
    """

    country: str
    region: str
    version: str
    promo_window: Window
    hard_window: Window | None
    transactional_window: Window
    night: Night | None
    holidays: tuple[str, ...]
    zone_mode: Literal["trust_area_code", "strict"]
    legal_max: tuple[PackCap, ...]
    optin: OptIn
    optout: OptOut
    label: Label
    dlt: Dlt | None
    origins: Mapping[str, Origin]
    regions: Mapping[str, "Pack"] = {}


WINDOWS = ("promo_window", "hard_window", "transactional_window")
_PARTS: dict[str, Any] = {
    "night": Night | None,
    "holidays": tuple[Annotated[str, Meta(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,6})?$")], ...],
    "zone_mode": Literal["trust_area_code", "strict"],
    "legal_max": tuple[PackCap, ...],
    "optin": OptIn,
    "optout": OptOut,
    "label": Label,
    "dlt": Dlt | None,
}
KEYS = (*WINDOWS, *_PARTS)
# A leaf that TOML cannot leave empty.
_NONE = "none"


def read_pack(
    country: str, layers: Sequence[tuple[str, Mapping[str, Any]]], problems: list[Problem], region: str = ""
) -> Pack | None:
    """Lay documents over one another, the default's first, and read what comes out; None, and problems, if it is wrong.

    layers  (name, document); a leaf is {v = …, src = …, conf = …, checked = …}
    """
    before = len(problems)
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    version = ""
    for name, document in layers:
        version = str(document.get("version", version))
        for key, found in document.items():
            if key not in ("version", "states"):
                _lay(values, origins, key, found, name, version, problems)
    for key in KEYS:
        if key not in values:
            problems.append((f"{country or 'default'}.{key}", "a value", "none"))
    for key in values.keys() - set(KEYS):
        close = difflib.get_close_matches(key, KEYS, 1)
        wanted = f"one of {', '.join(KEYS)}" + (f" (did you mean {close[0]}?)" if close else "")
        problems.append((f"{layers[-1][0]}.{key}", wanted, repr(key)))
    if len(problems) > before:
        return None
    windows: dict[str, Window | None] = {}
    for key in WINDOWS:
        windows[key] = None if values[key] is None else read_window(values[key], f"{layers[-1][0]}.{key}", problems)
    parts: dict[str, Any] = {}
    for key, kind in _PARTS.items():
        try:
            parts[key] = msgspec.convert(values[key], kind)
        except msgspec.ValidationError as error:
            where = str(error).partition(" - at `$")[2].rstrip("`")
            problems.append((f"{layers[-1][0]}.{key}{where}", str(error).partition(" - at")[0], _shown(values[key])))
    night = parts.get("night")
    if night is not None:
        read_window(night.hours, f"{layers[-1][0]}.night.hours", problems)
    promo, transactional = windows["promo_window"], windows["transactional_window"]
    if len(problems) > before or promo is None or transactional is None:
        return None
    return Pack(
        country=country, region=region, version=version, origins=origins, promo_window=promo,
        hard_window=windows["hard_window"], transactional_window=transactional, **parts,
    )  # fmt: skip


def _lay(
    values: dict[str, Any],
    origins: dict[str, Origin],
    path: str,
    found: Any,
    name: str,
    version: str,
    problems: list[Problem],
) -> None:
    """Lay one leaf, or the leaves below a table, over what is there."""
    if isinstance(found, Mapping) and "v" not in found:
        for key, below in found.items():
            _lay(values, origins, f"{path}.{key}", below, name, version, problems)
        return
    if not isinstance(found, Mapping):
        problems.append((f"{name}.{path}", "{v = …, src = …, conf = …}", _shown(found)))
        return
    if not isinstance(found.get("src"), str) or not found["src"]:
        problems.append((f"{name}.{path}.src", "where the value comes from", _shown(found.get("src"))))
    if found.get("conf") not in ("A", "B", "C", "D"):
        problems.append((f"{name}.{path}.conf", "A, B, C or D", _shown(found.get("conf"))))
        return
    *above, last = path.split(".")
    place = values
    for key in above:
        place = place.setdefault(key, {})
    place[last] = None if found["v"] == _NONE else found["v"]
    origins[path] = Origin(
        src=str(found.get("src", "")), conf=found["conf"], checked=str(found.get("checked", version)), pack=name
    )


def _shown(value: Any) -> str:
    return re.sub(r"\s+", " ", repr(value))[:80]
