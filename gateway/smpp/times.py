"""SMPP times, both ways.

Wire, 16 characters and a NUL, or the NUL alone for "now" or "the SMSC's default" (§7.1.1):

    YYMMDDhhmmss t nn p
    |            | |  +- + or -: local time is nn ahead of or behind UTC;  R: all of it is from now on
    |            | +---- quarter hours, 00..48
    |            +------ tenths of a second
    +------------------- the date of a calendar, or years, months, days, hours, minutes, seconds to go

YY is read as 20YY: the standard was written in 1999 and names no pivot, and nothing is scheduled into the past.
Not here: the dates inside the text of a receipt, which are each carrier's own (_fastpath/receipttext.pyx).
"""

import calendar
from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

_MAX_QUARTERS = 48


class Relative(NamedTuple):
    """A time to go. Months and years are steps of the calendar, not fixed numbers of days."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0
    minutes: int = 0
    seconds: int = 0

    def after(self, start: datetime) -> datetime:
        """Step from `start`: first the calendar, the day clipped to its month (31 January + 1 month = 28 or 29
        February), then the exact part.

        raises  OverflowError behind the year 9999
        """
        months = start.month - 1 + self.months
        year = start.year + self.years + months // 12
        if year > 9999:
            raise OverflowError(f"year {year}, at most 9999")
        month = months % 12 + 1
        day = min(start.day, calendar.monthrange(year, month)[1])
        return start.replace(year=year, month=month, day=day) + timedelta(
            days=self.days, hours=self.hours, minutes=self.minutes, seconds=self.seconds
        )


_RELATIVE_LIMITS = Relative(years=99, months=12, days=31, hours=23, minutes=59, seconds=59)


def parse(text: str, *, may_be_relative: bool = True) -> datetime | Relative | None:
    """Read the characters of a time field, without the NUL.

    ->      None for the empty field; a Relative; or a datetime in UTC
    raises  ValueError on a wrong length, a letter, a date no calendar has, nn over 48, tenths or quarters in a
            relative time, or a relative time where the field allows none (final_date)
    """
    if not text:
        return None
    if len(text) != 16:
        raise ValueError(f"time {text!r}: {len(text)} characters, expected 16 or none")
    digits, sign = text[:15], text[15]
    # str.isdigit takes every script's digits; the field is ASCII.
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"time {text!r}: expected 15 digits and a sign")
    pairs = [int(digits[i : i + 2]) for i in range(0, 12, 2)]
    tenths, quarters = int(digits[12]), int(digits[13:])
    if sign == "R":
        if not may_be_relative:
            raise ValueError(f"time {text!r}: relative, expected an absolute one")
        relative = Relative(*pairs)
        for name, found, most in zip(Relative._fields, relative, _RELATIVE_LIMITS, strict=True):
            if found > most:
                raise ValueError(f"time {text!r}: {found} {name}, at most {most}")
        if tenths or quarters:
            raise ValueError(f"time {text!r}: tenths and quarter hours of a relative time are 0")
        return relative
    if sign not in "+-":
        raise ValueError(f"time {text!r}: ends in {sign!r}, expected +, - or R")
    if quarters > _MAX_QUARTERS:
        raise ValueError(f"time {text!r}: {quarters} quarter hours, at most {_MAX_QUARTERS}")
    year, month, day, hour, minute, second = pairs
    try:
        local = datetime(2000 + year, month, day, hour, minute, second, tenths * 100_000, tzinfo=UTC)
    except ValueError as wrong:
        raise ValueError(f"time {text!r}: {wrong}") from None
    ahead = timedelta(minutes=15 * quarters)
    return local - ahead if sign == "+" else local + ahead


def absolute(at: datetime, quarters: int = 0) -> str:
    """Write a moment as local time `quarters` quarter hours ahead of UTC (behind when negative); tenths cut off.

    raises  ValueError on a datetime without a zone, a year outside 2000..2099 or more than 48 quarters
    """
    if at.tzinfo is None:
        raise ValueError("time without a zone, expected one")
    if abs(quarters) > _MAX_QUARTERS:
        raise ValueError(f"{quarters} quarter hours, at most {_MAX_QUARTERS} either way")
    local = at.astimezone(timezone(timedelta(minutes=15 * quarters)))
    if not 2000 <= local.year <= 2099:
        raise ValueError(f"year {local.year}, expected 2000 to 2099")
    sign = "-" if quarters < 0 else "+"
    return f"{local:%y%m%d%H%M%S}{local.microsecond // 100_000}{abs(quarters):02d}{sign}"


def relative(span: timedelta | Relative) -> str:
    """Write a time to go; a timedelta becomes days, hours, minutes and seconds, its fraction cut off.

    Two digits hold at most 31 days, so a longer timedelta is cut into years of 365 and months of 30 days, and the
    SMSC, which steps by the calendar, may read it a few days longer. Give a Relative to choose the steps.
    raises  ValueError when negative, or over what two digits hold
    """
    if isinstance(span, timedelta):
        if span < timedelta(0):
            raise ValueError(f"{span} from now, expected no past")
        days, seconds = span.days, span.seconds
        years, months = 0, 0
        if days > 31:
            years, days = divmod(days, 365)
            months, days = divmod(days, 30)
        span = Relative(years, months, days, seconds // 3600, seconds // 60 % 60, seconds % 60)
    for name, found, most in zip(Relative._fields, span, _RELATIVE_LIMITS, strict=True):
        if not 0 <= found <= most:
            raise ValueError(f"{found} {name}, expected 0 to {most}")
    return "".join(f"{part:02d}" for part in span) + "000R"
