"""What each number means: its formula, once. Views, CSV, `sluice report` and docs/numbers.md are made from CATALOGUE.

    share = numerator / denominator, both columns of the views report_… (store/migrations); nothing of nothing

A share of a few is shown with the interval that it may be by chance (RP-4), and few are never ranked. What cannot be
measured is an estimate and says so: nobody can know who has opened an SMS (S4.63).

Beside them what is no quotient of two columns: how long customers stay (Kaplan and Meier 1958), what they are worth,
return on investment, the account of credit. Money is in units of the smallest coin where it is whole, and in the
currency's own unit where it is a float.
Not here: where the columns come from (store/reports.py), how a figure is drawn (commands/_figures.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from msgspec import Struct

Unit = Literal["share", "money", "count", "days"]
About = Literal["campaign", "arm", "month", "cohort", "week", "growth"]
# 95 % of a normal distribution lies within so many standard deviations of its mean.
Z95 = 1.959963984540054
# Of fewer, shares are shown as intervals and compared with nothing.
FEW = 100
SETTLES_H = 72


class Formula(Struct, frozen=True, kw_only=True):
    """One number.

    name         of its column; numerator, denominator: columns of the same view
    about        which views have it
    sentence     what it says, for people
    rows         of the capabilities that ask for it
    is_estimate  it is not what it is taken for, and is never shown as measured
    """

    name: str
    title: str
    numerator: str
    denominator: str
    sentence: str
    about: About = "campaign"
    unit: Unit = "share"
    rows: tuple[str, ...] = ()
    is_estimate: bool = False

    @property
    def sql(self) -> str:
        """As the views have it."""
        return f"{self._numerator}::float8 / nullif({self.denominator}, 0) AS {self.name}"

    @property
    def _numerator(self) -> str:
        return f"({self.numerator})" if " " in self.numerator else self.numerator


CATALOGUE: tuple[Formula, ...] = (
    Formula(
        name="acceptance_rate", title="acceptance", numerator="accepted", denominator="attempted",
        sentence="Messages that a carrier took, of those that were handed to one.",
    ),
    Formula(
        name="delivery_rate", title="delivery", numerator="delivered", denominator="accepted", rows=("S4.64",),
        sentence="Messages of which a receipt says that they arrived, of those a carrier took; always shown beside the "
        "share of which no receipt has come.",
    ),
    Formula(
        name="undelivered_rate", title="not delivered", numerator="undelivered", denominator="accepted",
        sentence="Messages of which a receipt says that they did not arrive, of those a carrier took.",
    ),
    Formula(
        name="no_receipt_share", title="no receipt", numerator="no_receipt", denominator="accepted", rows=("S4.64",),
        sentence="Messages of which no final receipt has come, of those a carrier took.",
    ),
    Formula(
        name="click_rate", title="clicks", numerator="clicked_endpoints", denominator="link_endpoints", rows=("S4.66",),
        sentence="People with a human click, of those to whom a message with a link was delivered. Bots never count.",
    ),
    Formula(
        name="page_open_rate", title="opens (estimate)", numerator="opened_endpoints", denominator="link_endpoints",
        rows=("S4.63",), is_estimate=True,
        sentence="SMS tells nobody that it was opened. In its place: people who opened a page of ours, of those to "
        "whom a message with a link was delivered; an estimate, from below.",
    ),
    Formula(
        name="response_rate", title="replies", numerator="replied_endpoints", denominator="delivered_endpoints",
        rows=("S4.65",),
        sentence="People who wrote back within 72 hours, STOP, START and HELP apart, of those reached.",
    ),
    Formula(
        name="conversion_rate", title="conversion", numerator="converted", denominator="delivered_cases",
        rows=("S2.24", "S4.67"),
        sentence="Enrolments (without one: people of a run) that reached the primary goal in its window, of those to "
        "whom a message was delivered.",
    ),
    Formula(
        name="redemption_rate", title="redemption", numerator="codes_redeemed", denominator="codes_delivered",
        rows=("S4.67",), sentence="Orders with a code that a message brought, of the codes that were delivered.",
    ),
    Formula(
        name="unsubscribe_rate", title="opt-outs", numerator="opted_out_endpoints", denominator="delivered_endpoints",
        rows=("S4.62", "S4.37"),
        sentence="People who opted out within 72 hours after a message, their latest, of those reached.",
    ),
    Formula(
        name="revenue_per_message", title="per message", numerator="revenue_net", denominator="delivered", unit="money",
        sentence="Net revenue that is owed to messages, by each message that was delivered.",
    ),
    Formula(
        name="revenue_per_part", title="per part", numerator="revenue_net", denominator="parts", unit="money",
        sentence="The same by each part that a carrier took: what is paid for.",
    ),
    Formula(
        name="average_order_value", title="order value", numerator="revenue_net", denominator="orders", unit="money",
        rows=("S4.72",), sentence="Net revenue of an order.",
    ),
    Formula(
        name="goal_rate", title="of the arm", numerator="converted", denominator="cases", about="arm",
        rows=("S4.75",),
        sentence="Enrolments that reached the primary goal in its window, of those whom a text was sent to, or of the "
        "control would have been.",
    ),
    Formula(
        name="purchase_frequency", title="frequency", numerator="orders", denominator="buyers", about="month",
        unit="count", rows=("S4.70",), sentence="Orders by each person who bought in the month.",
    ),
    Formula(
        name="average_order_value", title="order value", numerator="revenue_net", denominator="orders", about="month",
        unit="money", rows=("S4.72",), sentence="Net revenue of an order of the month.",
    ),
    Formula(
        name="churn_rate", title="churn", numerator="buyers_before - stayed", denominator="buyers_before",
        about="month", rows=("S1.2",),
        sentence="People who bought in the month before and not in this one, of those of the month before.",
    ),
    Formula(
        name="retention_rate", title="retention", numerator="active_buyers", denominator="buyers", about="cohort",
        rows=("S2.31",), sentence="Of those who bought first in a month, who bought so many months later.",
    ),
    Formula(
        name="unsubscribe_rate", title="opt-outs", numerator="opted_out", denominator="people_weeks", about="week",
        rows=("S3.30",), sentence="Weeks of persons that ended in an opt-out, of those with so many messages.",
    ),
    Formula(
        name="list_growth_rate", title="net growth", numerator="gained - lost", denominator="marketable_before",
        about="growth", rows=("S4.61", "S4.68"),
        sentence="People who became marketable less those who ceased to be, of those who were at the start.",
    ),
    Formula(
        name="gross_growth_rate", title="gross growth", numerator="gained", denominator="marketable_before",
        about="growth", rows=("S4.61", "S4.68"),
        sentence="People who became marketable, of those who were at the start.",
    ),
    Formula(
        name="list_unsubscribe_rate", title="opt-outs of the list", numerator="lost", denominator="marketable_average",
        about="growth", rows=("S4.62",),
        sentence="People who ceased to be marketable in the time, of the mean of those at its start and at its end.",
    ),
)  # fmt: skip


def of(about: About) -> dict[str, Formula]:
    """The formulas of a view, by name."""
    return {one.name: one for one in CATALOGUE if one.about == about}


def share(numerator: float, denominator: float) -> float | None:
    """A quotient; None: there is nothing that it could be a share of."""
    return numerator / denominator if denominator else None


def wilson(count: int, total: int, z: float = Z95) -> tuple[float, float] | None:
    """The interval that a share of few may be by chance, 95 % sure (Wilson 1927); None: there is nobody.

    A count above its total (a denominator of receipts that have not come) is taken for all of it.
    """
    if total <= 0:
        return None
    p = min(1.0, count / total)
    spread = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total))
    middle = p + z * z / (2 * total)
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


class Life(Struct, frozen=True, kw_only=True):
    """Customers who were seen for so many days; `lapsed` of them have gone then, the others may still come."""

    days: int
    lapsed: int = 0
    still: int = 0


def survival(lives: Iterable[Life]) -> list[tuple[int, float]]:
    """The share that still is a customer after so many days (Kaplan and Meier 1958): day 0, and each day of a loss."""
    by_day: dict[int, list[int]] = {}
    for life in lives:
        counts = by_day.setdefault(life.days, [0, 0])
        counts[0] += life.lapsed
        counts[1] += life.still
    at_risk = sum(lapsed + still for lapsed, still in by_day.values())
    steps = [(0, 1.0)]
    left = 1.0
    for days in sorted(by_day):
        lapsed, still = by_day[days]
        if lapsed:
            left *= 1 - lapsed / at_risk
            steps.append((days, left))
        at_risk -= lapsed + still
    return steps


def median_lifetime(steps: Sequence[tuple[int, float]]) -> int | None:
    """The day on which half of them are gone; None: most are still there."""
    return next((days for days, left in steps if left <= 0.5), None)


def clv_historic(revenue_net: float, buyers: int, margin: float) -> float | None:
    """What a customer has brought, mean over all of a cohort (S4.73)."""
    earned = share(revenue_net, buyers)
    return None if earned is None else earned * margin


def clv_simple(
    order_value: float | None, orders_per_year: float | None, churn_per_year: float | None, margin: float
) -> float | None:
    """What a customer may bring: order value × orders a year × 1 / churn a year × margin (S4.73).

    None: nobody leaves, or nothing is known.
    """
    if order_value is None or orders_per_year is None or not churn_per_year:
        return None
    return order_value * orders_per_year / churn_per_year * margin


def roi(earned: float, cost: float) -> float | None:
    """What came back above what was paid, of what was paid (S4.74). earned: a margin, which one is said beside it."""
    return share(earned - cost, cost)


def percentile(values: Mapping[int, int], percent: float) -> int | None:
    """The least of counted values that so many percent are no greater than (nearest rank); None: there is none."""
    wanted = max(1, math.ceil(sum(values.values()) * percent / 100))
    upto = 0
    for value in sorted(values):
        upto += values[value]
        if upto >= wanted:
            return value
    return None


def best_hour(visits: Sequence[int]) -> int | None:
    """The hour of the day, 0 to 23, in which most happens (S2.33); None: nothing does."""
    return max(range(len(visits)), key=lambda hour: (visits[hour], -hour)) if any(visits) else None


def as_markdown() -> str:
    """The table of docs/numbers.md."""
    lines = ["| column | formula | what it says | shown by |", "|---|---|---|---|"]
    for one in CATALOGUE:
        estimate = " **An estimate.**" if one.is_estimate else ""
        lines.append(
            f"| `{one.name}` ({one.about}) | {one.numerator} / {one.denominator} | {one.sentence}{estimate} "
            f"| {', '.join(one.rows) or '—'} |"
        )
    return "\n".join(lines) + "\n"
