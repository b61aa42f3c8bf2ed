"""The text of a cell -> a value of a kind, or a fault with a name.

    string        as it stands, without blanks around it          number        1234  -3.5  12,50
    bool          true false yes no 1 0, and words of a few languages
    time          a day, or an instant with its offset            money:EUR     {"amount": 12.5, "currency": "EUR"}
    array         a|b|c; array:; and array:, take another mark

Nothing is guessed. 1.234 may be a thousand or one and a bit, so it is `ambiguous_number` until `decimal` is said, and
1.234,50 is certain. 01/02/2026 is a day of January or of February until `dates` is said; a time without offset is none
until `zone` is said, and one that the clocks had twice, or not at all, stays none.
An empty cell says nothing. What a spreadsheet left instead of a value (#REF!, a formula) is a fault of its own.
Not here: numbers of phones (numbers.py), which column is what (persons.py).
"""

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from gateway.person import EPOCH, is_currency

FAULTS: dict[str, str] = {
    "spreadsheet_error": "a value: the spreadsheet could not reckon it out",
    "formula": "a value, not a formula: export values",
    "bad_octets": "characters of the file's encoding; say --encoding",
    "too_long": "at most 10,000 characters",
    "number": "a number",
    "ambiguous_number": "a number that can be read in one way: say --decimal . or --decimal ,",
    "bool": "true or false, yes or no, 1 or 0",
    "time": "a day or a time such as 2026-03-01 or 2026-03-01T12:00:00+01:00",
    "ambiguous_date": "a date that can be read in one way: say --dates dmy or --dates mdy",
    "no_zone": "a time with its offset from UTC: say --zone Europe/Berlin",
    "time_change": "a time that the clocks showed once",
    "amount": "an amount of money, and no other currency than the column's",
}
"""Name of a fault -> what was expected instead."""

LONGEST_TEXT = 10_000
KINDS = ("string", "number", "bool", "time", "money", "array")
Dates = Literal["", "dmy", "mdy", "ymd"]

_ERRORS = frozenset("#REF! #N/A #NAME? #VALUE! #DIV/0! #NULL! #NUM! #SPILL! #CALC! #GETTING_DATA".split())
_QUOTED = re.compile(r'=\s*"(.*)"', re.DOTALL)
# What a spreadsheet would run: a call, or a command of the old exchange of data between programs.
_CALL = re.compile(r"[+\-@]\s*[A-Za-z][\w.]*\s*[(|]")
_TRUE = frozenset("true yes y 1 t wahr ja oui vrai si sí sim da да tak evet on x ✓".split())
_FALSE = frozenset("false no n 0 f falsch nein non faux não net нет nie hayir hayır off".split())
_PLAIN = re.compile(r"[+-]?\d{1,15}")
_NUMBER = re.compile(r"([+-]?)(\d[\d.,'’ \u00a0\u202f]*)")
_ISO_DAY = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(.*)", re.DOTALL)
_DATE = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(.*)", re.DOTALL)
_CLOCK = re.compile(r"[T ]\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,6})\d*)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?", re.I)
_SYMBOLS = {"EUR": ("€", "EUR"), "USD": ("$", "US$", "USD"), "GBP": ("£", "GBP"), "JPY": ("¥", "JPY")}

Read = Callable[[str], Any]


class Wrong(Exception):
    """A cell is not what its column holds; `fault` is a name of FAULTS."""

    def __init__(self, fault: str):
        super().__init__(fault)
        self.fault = fault


class Ways(Struct, frozen=True, kw_only=True):
    """How cells of a file are meant, where they could be meant in several ways."""

    decimal: Literal["", ".", ","] = ""
    dates: Dates = ""
    zone: ZoneInfo | None = None


def column(cells: Sequence[str], read: Read) -> tuple[list[Any], dict[int, str]]:
    """Read one column; -> values, None = nothing is said, and the fault of each cell that has one, by its place.

    cost  0.2-1.5 us a cell
    """
    values: list[Any] = []
    faults: dict[int, str] = {}
    for at, cell in enumerate(cells):
        cell = cell.strip()
        try:
            values.append(read(cell) if cell else None)
        except Wrong as error:
            values.append(None)
            faults[at] = error.fault
    return values, faults


def reader(kind: str, detail: str, ways: Ways) -> Read:
    """Make what reads cells of a kind; raises ValueError with what was expected."""
    if kind == "money":
        if not is_currency(detail):
            raise ValueError(f"expected money:EUR, with the currency of the column, found money:{detail}")
        return lambda cell: {"amount": money(cell, detail, ways), "currency": detail}
    if kind == "array":
        if detail not in ("", "|", ";", ",", "/"):
            raise ValueError(f"expected array, or array: and one of | ; , / between the values, found array:{detail}")
        mark = detail or "|"
        return lambda cell: [text(each.strip()) for each in cell.split(mark) if each.strip()]
    if detail:
        raise ValueError(f"expected {kind} without more, found {kind}:{detail}")
    if kind == "string":
        return text
    if kind == "number":
        return lambda cell: number(cell, ways)
    if kind == "bool":
        return truth
    if kind == "time":
        return lambda cell: told_time(cell, ways)
    raise ValueError(f"expected one of {', '.join(KINDS)}, found {kind}")


def text(cell: str) -> str:
    """Read a text, in the one form that equal texts have (NFC)."""
    if cell[0] in "=#+-@":
        if (quoted := _QUOTED.fullmatch(cell)) is not None:
            cell = quoted[1].strip()
        elif cell[0] == "=" or _CALL.match(cell) is not None:
            raise Wrong("formula")
        elif cell.upper() in _ERRORS:
            raise Wrong("spreadsheet_error")
    if len(cell) > LONGEST_TEXT:
        raise Wrong("too_long")
    if cell.isascii():
        return cell
    if "\ufffd" in cell:
        raise Wrong("bad_octets")
    return unicodedata.normalize("NFC", cell)


def number(cell: str, ways: Ways) -> int | float:
    """Read a number; digits with groups or a fraction only where they can be read in one way."""
    if _PLAIN.fullmatch(cell) is not None:
        return int(cell)
    found = _NUMBER.fullmatch(cell)
    if found is None:
        text(cell)
        raise Wrong("number")
    digits = re.sub(r"['’ \u00a0\u202f](?=\d{3}(?:\D|$))", "", found[2])
    mark = _decimal_mark(digits, ways.decimal)
    whole, _, fraction = digits.rpartition(mark) if mark else (digits, "", "")
    groups = re.split(r"[.,]", whole)
    is_grouped = len(groups) == 1 or (0 < len(groups[0]) <= 3 and all(len(each) == 3 for each in groups[1:]))
    if not is_grouped or not (fraction.isdecimal() or not mark) or not "".join(groups).isdecimal():
        raise Wrong("number")
    value = found[1] + "".join(groups)
    if mark:
        found_value = float(f"{value}.{fraction}")
        if not math.isfinite(found_value):
            raise Wrong("number")
        return found_value
    if len(value) > 18:
        raise Wrong("number")
    return int(value)


def _decimal_mark(digits: str, asked: str) -> str:
    """Find what stands before the fraction; "" = there is none."""
    points, commas = digits.count("."), digits.count(",")
    if asked:
        if digits.count(asked) > 1:
            raise Wrong("number")
        if digits.rfind("," if asked == "." else ".") > digits.find(asked) >= 0:
            raise Wrong("number")
        return asked if asked in digits else ""
    if points and commas:
        last = "." if digits.rfind(".") > digits.rfind(",") else ","
        if digits.count(last) > 1:
            raise Wrong("number")
        return last
    mark = "." if points else "," if commas else ""
    if points + commas > 1:
        return ""
    if mark and len(digits.rpartition(mark)[2]) == 3 and 0 < len(digits.partition(mark)[0]) <= 3 and digits[0] != "0":
        raise Wrong("ambiguous_number")
    return mark


def money(cell: str, currency: str, ways: Ways) -> int | float:
    """Read an amount; the sign of the column's own currency may stand with it, no other."""
    bare = cell
    for mark in sorted((*_SYMBOLS.get(currency, ()), currency), key=len, reverse=True):
        if bare.upper().startswith(mark):
            bare = bare[len(mark) :].strip()
            break
        if bare.upper().endswith(mark):
            bare = bare[: -len(mark)].strip()
            break
    try:
        return number(bare, ways)
    except Wrong as error:
        raise Wrong("amount" if error.fault == "number" else error.fault) from None


def truth(cell: str) -> bool:
    """Read yes or no."""
    word = cell.casefold()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    text(cell)
    raise Wrong("bool")


def told_time(cell: str, ways: Ways) -> str:
    """Read a day or an instant; -> as RFC 3339 writes it, an instant in UTC."""
    at, is_day = _time(cell, ways)
    return f"{at:%Y-%m-%d}" if is_day else instant_text(at)


def instant(cell: str, ways: Ways) -> datetime:
    """Read when something happened; a day is its beginning there, and so it needs a zone."""
    at, is_day = _time(cell, ways)
    if is_day:
        if ways.zone is None:
            raise Wrong("no_zone")
        at = _placed(at.replace(tzinfo=None), ways.zone)
    if at < EPOCH:
        raise Wrong("time")
    return at


def instant_text(at: datetime) -> str:
    """An instant in UTC as it is kept among attributes."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _time(cell: str, ways: Ways) -> tuple[datetime, bool]:
    year, month, day, rest = _date(cell, ways.dates)
    try:
        begin = datetime(year, month, day)
    except ValueError:
        raise Wrong("time") from None
    if not rest.strip():
        return begin.replace(tzinfo=UTC), True
    clock = _CLOCK.fullmatch(rest.rstrip())
    if clock is None:
        raise Wrong("time")
    hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise Wrong("time")
    at = begin.replace(hour=hour, minute=minute, second=second, microsecond=int((clock[4] or "").ljust(6, "0")))
    offset = (clock[5] or "").upper()
    try:
        if offset in ("Z", "UTC"):
            return at.replace(tzinfo=UTC), False
        if offset:
            hours, minutes = int(offset[1:3]), int(offset[-2:])
            if hours > 15 or minutes > 59:
                raise Wrong("time")
            ahead = timedelta(hours=hours, minutes=minutes)
            return (at - ahead if offset[0] == "+" else at + ahead).replace(tzinfo=UTC), False
        if ways.zone is None:
            raise Wrong("no_zone")
        return _placed(at, ways.zone), False
    except OverflowError:
        raise Wrong("time") from None


def _date(cell: str, dates: Dates) -> tuple[int, int, int, str]:
    if (iso := _ISO_DAY.fullmatch(cell)) is not None:
        return int(iso[1]), int(iso[2]), int(iso[3]), iso[4]
    found = _DATE.fullmatch(cell)
    if found is None:
        text(cell)
        raise Wrong("time")
    first, second, third, rest = found[1], int(found[3]), found[4], found[5]
    if len(first) == 4:
        return int(first), second, int(third), rest
    # Two digits of a year are no year: 03.04.05.
    if len(third) != 4:
        raise Wrong("ambiguous_date" if len(first) <= 2 and len(third) <= 2 else "time")
    one = int(first)
    if dates == "dmy" or (not dates and one > 12) or (not dates and one == second):
        return int(third), second, one, rest
    if dates == "mdy" or (not dates and second > 12):
        return int(third), one, second, rest
    raise Wrong("ambiguous_date")


def _placed(local: datetime, zone: ZoneInfo) -> datetime:
    """A local time in a zone as an instant; Wrong where the clocks showed it twice or never."""
    first, second = local.replace(tzinfo=zone), local.replace(tzinfo=zone, fold=1)
    if first.utcoffset() != second.utcoffset():
        raise Wrong("time_change")
    return first.astimezone(UTC)
