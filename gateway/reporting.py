"""What reports are reckoned by: `[reports]` and `[costs]` of sluice.toml.

    [reports]
    zone = "Europe/Vienna"               # of days
    staff_lists = ["staff"]              # whoever is in them counts for nothing (RP-3)

    [costs]
    currency = "EUR"
    countries = { "*" = 0.05, DE = 0.07, US = 0.011 }      # of a part: gateway/rate.py
    carriers = { acme = { "*" = 0.04, DE = 0.06 } }
    refunded = ["undeliverable"]         # ends for which a carrier gives the price of the parts back
    credit = 1000                        # bought, from credit_from on
    margin = 0.4                         # of net revenue
    acquisition = 12                     # of a new customer, by other ways

    [[costs.lines]]
    day = "2026-03-01"
    campaign = "spring"                  # none: of all
    what = "copywriting"
    amount = 200

What a part costs, and who reads [costs], is said by gateway/rate.py.
Not here: what is reckoned by them (campaign/formulas.py), who reads them (commands/report.py).
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from gateway.routing import Problem

Money = Annotated[float, Meta(ge=0, le=1e12)]
Currency = Annotated[str, Meta(pattern="^([A-Z]{3})?$")]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
End = Literal["undeliverable", "expired", "rejected", "partial", "unknown", "no_receipt"]


class ReportSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How numbers are counted.

    zone           of days; of all reports, and what is changed here is counted anew
    currency       in which revenue is summed; "" = that in which most have paid
    staff_lists    lists of numbers of the house, testers, seeds: their messages cost, and count for nothing (RP-3)
    staff_numbers  more of them, as +44…
    interval_s     between two counts by a worker; it takes a twentieth of the time at most. 0 = no worker counts, and
                   `sluice report` does when it is asked
    """

    zone: str = "UTC"
    currency: Currency = ""
    staff_lists: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    staff_numbers: Annotated[tuple[Annotated[str, Meta(pattern=r"^\+\d{5,15}$")], ...], Meta(max_length=1000)] = ()
    interval_s: Annotated[int, Meta(ge=0, le=86400)] = 300


class CostLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was paid beside the messages: copywriting, MMS, a tool (S4.50)."""

    day: Day
    what: Annotated[str, Meta(min_length=1, max_length=200)]
    amount: Money
    campaign: Annotated[str, Meta(max_length=200)] = ""


def problems_of(key: str, reports: ReportSettings) -> list[Problem]:
    """Find what the types of the values cannot say: key, expected, found."""
    try:
        ZoneInfo(reports.zone)
    except (KeyError, ValueError, OSError):
        return [(f"{key}.zone", "a zone such as Europe/Berlin", repr(reports.zone))]
    return []


def days_problems(key: str, credit_from: str, lines: Sequence[CostLine]) -> list[Problem]:
    """Find days of costs that there are not."""
    days = {f"{key}.credit_from": credit_from, **{f"{key}.lines[{at}].day": one.day for at, one in enumerate(lines)}}
    problems: list[Problem] = []
    for name, day in days.items():
        try:
            if day:
                date.fromisoformat(day)
        except ValueError:
            problems.append((name, "a day such as 2026-03-01", repr(day)))
    return problems
