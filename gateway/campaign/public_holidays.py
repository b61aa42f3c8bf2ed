"""Days on which a country or a part of it rests (QH-11), computed by the library `holidays` for any year.

A calendar is a country or a country and a part of it, as ISO 3166 has them: FR, FR-57, US, DE-BY.
Not here: who closes on them (a pack's `holidays`, a window's).
"""

import functools
from collections.abc import Iterable
from datetime import date
from importlib import metadata


@functools.cache
def of_year(calendar: str, year: int) -> frozenset[date]:
    """Return the public holidays of a year; none where the country has no calendar.

    A part that the country's calendar does not know has the country's own days.
    """
    import holidays  # late: 0.2 s, and most packs name no calendar

    country, _, part = calendar.partition("-")
    try:
        found = holidays.country_holidays(country, subdiv=part or None, years=year)
    except NotImplementedError:
        return of_year(country, year) if part else frozenset()
    return frozenset(day for day in found if day.year == year)


def is_calendar(calendar: str) -> bool:
    """Say whether there is such a calendar."""
    import holidays

    country, _, part = calendar.partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    return country in known and (not part or part in known[country])


def days_off(calendars: Iterable[str], first: date, last: date) -> frozenset[date]:
    """Return the holidays of any of the calendars between two days, both among them."""
    years = range(first.year, last.year + 1)
    return frozenset(
        day for calendar in calendars for year in years for day in of_year(calendar, year) if first <= day <= last
    )


def version() -> str:
    """Say which data this is."""
    return metadata.version("holidays")
