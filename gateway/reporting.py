"""What reports are reckoned by: `[reports]` and `[costs]` of sluice.toml.

    [reports]
    zone = "Europe/Vienna"               # of days
    staff_lists = ["staff"]              # whoever is in them counts for nothing (RP-3)

    [costs]
    currency = "EUR"
    part = 0.05                          # of an SMS, where nothing below says another
    countries = { DE = 0.07, US = 0.011 }
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

What a part costs is said by the most exact of: the carrier's country, the carrier's *, the country, `part`.
Not here: what is reckoned by them (campaign/formulas.py), who reads them (commands/report.py).
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from gateway.countries import countries
from gateway.routing import Problem

Money = Annotated[float, Meta(ge=0, le=1e12)]
Price = Annotated[float, Meta(ge=0, le=1e6)]
Country = Annotated[str, Meta(pattern=r"^([A-Z]{2}|\*)$")]
Currency = Annotated[str, Meta(pattern="^([A-Z]{3})?$")]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
State = Literal["undeliverable", "expired", "rejected", "partial", "unknown", "no_receipt"]


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


class CostSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What messages cost, and what is earned by what they bring.

    countries    price of a part by country
    carriers     by carrier, and in it by country or *
    refunded     ends of a message for which its carrier gives the price of its parts back
    credit       bought; credit_from: the day from which on parts are taken off it; "" = ever
    margin       share of net revenue that is earned
    acquisition  cost of a new customer by other ways, to compare one who was won back with
    """

    currency: Currency = ""
    part: Price = 0.0
    countries: Mapping[Country, Price] = {}
    carriers: Mapping[str, Mapping[Country, Price]] = {}
    refunded: Annotated[tuple[State, ...], Meta(max_length=6)] = ()
    credit: Money = 0.0
    credit_from: Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    margin: Annotated[float, Meta(ge=0, le=1)] = 1.0
    acquisition: Money = 0.0
    lines: Annotated[tuple[CostLine, ...], Meta(max_length=10_000)] = ()

    def price(self, carrier: str, country: str) -> float:
        """What a part costs."""
        own = self.carriers.get(carrier, {})
        for prices, key in ((own, country), (own, "*"), (self.countries, country), (self.countries, "*")):
            if key in prices:
                return prices[key]
        return self.part


def problems_of(reports: ReportSettings, costs: CostSettings) -> list[Problem]:
    """Find what the types of the values cannot say: key, expected, found."""
    problems: list[Problem] = []
    try:
        ZoneInfo(reports.zone)
    except (KeyError, ValueError, OSError):
        problems.append(("reports.zone", "a zone such as Europe/Berlin", repr(reports.zone)))
    tables = {"costs.countries": costs.countries}
    tables |= {f"costs.carriers.{name}": prices for name, prices in costs.carriers.items()}
    for key, prices in tables.items():
        for country in prices:
            if country != "*" and country not in countries():
                problems.append((f"{key}.{country}", "a country of two letters such as GB, or *", repr(country)))
    days = {f"costs.lines[{at}].day": line.day for at, line in enumerate(costs.lines)}
    for key, day in {"costs.credit_from": costs.credit_from, **days}.items():
        try:
            if day:
                date.fromisoformat(day)
        except ValueError:
            problems.append((key, "a day such as 2026-03-01", repr(day)))
    return problems
