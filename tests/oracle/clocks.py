"""Local times the slow way: a clock is read every minute until it shows what is looked for, or more. From DL-5."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
# No clock is further from UTC, and no gap was longer than a day.
AROUND = timedelta(hours=40)


def first_shown(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first minute, in UTC, at which a clock shows `wall`, or has passed it without having shown it."""
    now = wall.replace(tzinfo=UTC) - AROUND
    while now.astimezone(zone).replace(tzinfo=None) < wall:
        now += MINUTE
    return now
