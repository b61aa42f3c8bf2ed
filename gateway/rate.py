"""How fast a run goes out, how much it may cost and when it stops by itself: as Structs, read from words (TH-1, TH-5).

    over      "3h"                       spread evenly, over what is open of these hours
    rate      "100/s" · "5000/h"         so many messages; a fraction of one a second too
    ramp      "1%,10%,100%"              so many of the people, then a hold, then on
    budget    "500 EUR"
    clicks    "200/m"                    so that no more than so many a minute come to the site it leads to (TH-4)
    pause_at  "failure 20% of 100"       a carrier stops for this run when so large a share of at least so many …

Not here: what follows (campaign/rates.py), what is kept (store/rates.py), who does it (dispatch/rates.py and
automation/rates.py).
"""

import math
import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.reporting import CostLine, End, Money, days_problems
from gateway.routing import Problem

Kind = Literal["failure", "throttle", "no_receipt", "opt_out"]
KINDS: Mapping[Kind, str] = {
    "failure": "of the messages that were answered or reported, those refused or undelivered",
    "throttle": "of the answers of a carrier, those that ask for less",
    "no_receipt": "of the messages taken five minutes ago and more, those without a receipt",
    "opt_out": "of the messages taken, those whose people said STOP since",
}
ASK = "ask"
HOLD_S = 900
RECEIPT_S = 300
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
MOST_S = 31 * 86_400
MOST_PER_S = 1_000_000
CLICK_SHARE = 0.1


class Threshold(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stops a carrier for a run: a share, of at least so many."""

    kind: Kind
    share: Annotated[float, Meta(gt=0, le=1)]
    least: Annotated[int, Meta(ge=1)] = 50

    @property
    def words(self) -> str:
        """How people write it."""
        return f"{self.kind} {self.share * 100:g}% of {self.least}"


class RatePlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What was said of a run; nothing of it: as fast as it goes.

    over_s    spread over so long; per_s: so many messages a second; neither: asap
    ramp      shares of the people, the last is 1
    hold_s    between the steps of a ramp; 0 = until somebody says that it goes on
    budget    in its currency; 0 = none
    parts     of a message, as far as that is known before it is sent
    clicks_per_min  that the site bears which its links lead to; 0 = any
    click_share     of the messages that are opened, as long as it is not known
    """

    over_s: Annotated[int, Meta(ge=0, le=MOST_S)] = 0
    per_s: Annotated[float, Meta(ge=0, le=MOST_PER_S)] = 0.0
    ramp: tuple[Annotated[float, Meta(gt=0, le=1)], ...] = ()
    hold_s: Annotated[int, Meta(ge=0, le=MOST_S)] = HOLD_S
    budget: Annotated[float, Meta(ge=0)] = 0.0
    currency: str = ""
    parts: Annotated[int, Meta(ge=1)] = 1
    thresholds: tuple[Threshold, ...] = ()
    clicks_per_min: Annotated[float, Meta(ge=0, le=60 * MOST_PER_S)] = 0.0
    click_share: Annotated[float, Meta(gt=0, le=10)] = CLICK_SHARE

    @property
    def is_asap(self) -> bool:
        """Whether nothing is said of how fast."""
        return not self.over_s and not self.per_s and not self.clicks_per_min

    @property
    def words(self) -> str:
        """How a person reads it."""
        said = [f"over {length_words(self.over_s)}"] if self.over_s else []
        said += [f"{rate_words(self.per_s)}"] if self.per_s else []
        if self.clicks_per_min:
            said.append(f"at most {self.clicks_per_min:g} clicks a minute")
        if self.ramp:
            said.append("ramp " + ", ".join(f"{share * 100:g}%" for share in self.ramp))
        if self.budget:
            said.append(f"budget {self.budget:g} {self.currency}")
        return "; ".join([*(said or ["asap"]), *(f"pause at {one.words}" for one in self.thresholds)])


class CostSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a part of a message costs, by country of two letters; "*" = any other. And what else is paid, and earned.

    countries    whoever carries it; carriers: what one of them takes instead
    refunded     ends of a message for which its carrier gives the price of its parts back
    credit       bought; credit_from: the day from which on parts are taken off it; "" = ever
    margin       share of net revenue that is earned
    acquisition  cost of a new customer by other ways, to compare one who was won back with
    lines        what was paid beside the messages
    """

    currency: Annotated[str, Meta(pattern="^([A-Z]{3})?$")] = ""
    countries: Mapping[str, Annotated[float, Meta(ge=0, le=1000)]] = {}
    carriers: Mapping[str, Mapping[str, Annotated[float, Meta(ge=0, le=1000)]]] = {}
    refunded: Annotated[tuple[End, ...], Meta(max_length=6)] = ()
    credit: Money = 0.0
    credit_from: Annotated[str, Meta(pattern=r"^(\d{4}-\d{2}-\d{2})?$")] = ""
    margin: Annotated[float, Meta(ge=0, le=1)] = 1.0
    acquisition: Money = 0.0
    lines: Annotated[tuple[CostLine, ...], Meta(max_length=10_000)] = ()

    def of(self, carrier: str, country: str) -> float | None:
        """Return the cost of a part; None: nobody has said it."""
        for table, key in ((self.carriers.get(carrier, {}), country), (self.carriers.get(carrier, {}), "*"),
                           (self.countries, country), (self.countries, "*")):  # fmt: skip
            if key in table:
                return table[key]
        return None

    def dearest(self, carrier: str) -> float:
        """Return what a part costs at most on a carrier."""
        return max([*self.carriers.get(carrier, {}).values(), *self.countries.values()], default=0.0)


def cost_problems(costs: CostSettings, countries: Collection[str], carriers: Collection[str]) -> list[Problem]:
    """Find countries and carriers that there are not, and costs without a currency."""
    problems = days_problems("costs", costs.credit_from, costs.lines)
    tables = {"costs.countries": costs.countries} | {f"costs.carriers.{one}": it for one, it in costs.carriers.items()}
    for key, table in tables.items():
        for country in table:
            if country != "*" and country not in countries:
                problems.append((f"{key}.{country}", 'the two letters of a country such as DE, or "*"', repr(country)))
    problems += [
        (f"costs.carriers.{name}", "the name of a carrier", "no such section")
        for name in costs.carriers
        if name not in carriers
    ]
    if any(tables.values()) and not costs.currency:
        problems.append(("costs.currency", "three letters such as EUR", "none"))
    return problems


def plan_of(text: str) -> RatePlan:
    """Read the column. raises msgspec.ValidationError where it is of another form."""
    return msgspec.json.decode(text, type=RatePlan)


def read_over(text: str) -> int:
    """Read `3h`; -> seconds. raises ValueError with what was expected."""
    found = re.fullmatch(r"\s*(\d{1,7})\s*(s|m|min|h|d)\s*", text, re.ASCII)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= MOST_S:
        raise ValueError("expected a length such as 90s, 45m, 3h, 2d, of at most 31 days")
    return seconds


def read_rate(text: str) -> float:
    """Read `5000/h`; -> messages a second. raises ValueError with what was expected."""
    found = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,6})?)\s*/\s*(s|m|min|h|d)\s*", text, re.ASCII)
    per_s = float(found[1]) / _SECONDS[found[2]] if found else 0.0
    if not 0 < per_s <= MOST_PER_S:
        raise ValueError("expected a rate such as 100/s, 600/m, 5000/h")
    return per_s


def read_share(text: str) -> float:
    """Read `8%`; -> a share. raises ValueError with what was expected."""
    found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,4})?)\s*%\s*", text, re.ASCII)
    share = float(found[1]) / 100 if found else 0.0
    if not 0 < share <= 10:
        raise ValueError("expected a share such as 8%")
    return share


def read_ramp(text: str) -> tuple[float, ...]:
    """Read `1%,10%,100%`; -> shares. raises ValueError with what was expected."""
    shares: list[float] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,3}(?:\.\d{1,4})?)\s*%\s*", part, re.ASCII)
        share = float(found[1]) / 100 if found else 0.0
        if not (shares[-1] if shares else 0.0) < share <= 1.0:
            raise ValueError("expected rising shares such as 1%,10%,100%")
        shares.append(share)
    return tuple(shares) if shares[-1] == 1.0 else (*shares, 1.0)


def read_budget(text: str) -> tuple[float, str]:
    """Read `500 EUR`; -> amount, currency. raises ValueError with what was expected."""
    found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,6})?)\s*([A-Z]{3})\s*", text, re.ASCII)
    if found is None or float(found[1]) <= 0:
        raise ValueError("expected an amount and a currency such as 500 EUR")
    return float(found[1]), found[2]


def read_threshold(text: str) -> Threshold:
    """Read `failure 20% of 100`. raises ValueError with what was expected."""
    found = re.fullmatch(r"\s*([a-z_]+)\s+(\d{1,3}(?:\.\d{1,4})?)\s*%(?:\s+of\s+(\d{1,9}))?\s*", text, re.ASCII)
    share = float(found[2]) / 100 if found else 0.0
    if found is None or found[1] not in KINDS or not 0 < share <= 1 or found[3] == "0":
        raise ValueError(f"expected {', '.join(KINDS)} with a share and of how many, such as failure 20% of 100")
    return msgspec.convert({"kind": found[1], "share": share, "least": int(found[3] or 50)}, Threshold)


def clicks_plan(clicks: str, share: str = "") -> RatePlan | None:
    """Read `200/m` and `8%`: what the site bears that a step's texts lead to, and how many are opened; None: any.

    raises  ValueError with what was expected
    """
    if not clicks:
        return None
    return RatePlan(clicks_per_min=read_rate(clicks) * 60, click_share=read_share(share) if share else CLICK_SHARE)


def length_words(seconds: int) -> str:
    """Write a length as read_over reads it."""
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"


def rate_words(per_s: float) -> str:
    """Write a rate as a person reads it."""
    for unit in ("s", "m", "h", "d"):
        n = per_s * _SECONDS[unit]
        if n >= 1 and math.isclose(n, round(n), rel_tol=1e-6):
            return f"{round(n)}/{unit}"
    return f"{per_s:.3g}/s"
