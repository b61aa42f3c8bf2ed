"""Windows the slow way: a clock is read every minute, and what it shows is looked up. Written from QH-2 and DL-5.

No intervals, no transitions: only what the wall shows, and which spans have already shown their end.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.rules import Window

MINUTE = timedelta(minutes=1)


def open_minutes(
    window: Window, zone: ZoneInfo, is_day_off: Callable[[date], bool], begin: datetime, end: datetime
) -> Iterator[tuple[datetime, bool]]:
    """Say of every minute of [begin, end), in UTC, whether the window is open then."""
    ended: set[tuple[date, int, int]] = set()
    now = begin - timedelta(days=4)
    while now < end:
        wall = now.astimezone(zone).replace(tzinfo=None)
        is_open = False
        for days_back in range(3):
            day = wall.date() - timedelta(days=days_back)
            spans = window.days[day.weekday()]
            if window.holidays is not None and is_day_off(day):
                spans = window.holidays
            midnight = datetime(day.year, day.month, day.day)
            for first, last in spans:
                if wall >= midnight + last * MINUTE:
                    ended.add((day, first, last))
                elif wall >= midnight + first * MINUTE and (day, first, last) not in ended:
                    is_open = True
        if now >= begin:
            yield now.astimezone(UTC), is_open
        now += MINUTE
