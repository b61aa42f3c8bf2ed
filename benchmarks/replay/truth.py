"""What reports have to say of a world: counted from its own lists, customer by customer, with nothing of the product.

Columns are named as those of the views are. Not here: the reports (engine.py).
"""

import bisect
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from benchmarks.replay.world import CAMPAIGNS, DAY, HOUR, LINKED, LOST, PARTS, Customer, Order, Text, World, moment

Cells = dict[tuple[Any, ...], Counter[str]]
CLICK, REPLY, DELIVERY = 5 * DAY, 5 * DAY, 12 * HOUR
WINDOW = 3 * DAY
ASLEEP, AWAKE = 90 * DAY, 90 * DAY


def day_of(at: int) -> date:
    """The day, in UTC."""
    return moment(at).date()


def month_of(at: int) -> date:
    """The first day of the month."""
    return day_of(at).replace(day=1)


def owed(order: Order, texts: Iterable[Text]) -> tuple[Text, int] | None:
    """Say to which text an order is owed and by which rule: 1 code, 2 click, 3 reply, 4 delivery (GL-4)."""
    texts = [text for text in texts if text.at <= order.at]
    for text in reversed(texts):
        if order.code and text.code == order.code and order.at <= text.code_until:
            return text, 1
    ways: tuple[tuple[int, int, Callable[[Text], list[int]]], ...] = (
        (2, CLICK, lambda text: text.clicks),
        (3, REPLY, lambda text: text.replies),
        (4, DELIVERY, lambda text: [] if text.delivered_at is None else [text.delivered_at]),
    )
    for rule, length, acts in ways:
        found = [(at, text.at, text) for text in texts for at in acts(text) if order.at - length < at <= order.at]
        if found:
            return max(found, key=lambda one: one[:2])[2], rule
    return None


def campaigns(world: World) -> tuple[Cells, Cells]:
    """Count what came of texts: by campaign; by campaign and day of the sending."""
    whole: Cells = {(name,): Counter() for name in CAMPAIGNS}
    daily: Cells = defaultdict(Counter)
    for index, one in enumerate(world.customers):
        if index not in world.staff and one.texts:
            for cells, of in ((whole, _whole), (daily, _daily)):
                _count(cells, one, of)
    return {key: cell for key, cell in whole.items() if cell}, dict(daily)


def _whole(text: Text) -> tuple[Any, ...]:
    return (text.campaign,)


def _daily(text: Text) -> tuple[Any, ...]:
    return text.campaign, day_of(text.at)


def _count(cells: Cells, one: Customer, of: Callable[[Text], tuple[Any, ...]]) -> None:
    people: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    unsure: set[tuple[Any, ...]] = set()
    cases: list[Text] = []
    for text in one.texts:
        cell = cells[of(text)]
        if text.status < 0:
            cell["refused"] += 1
            continue
        cell["attempted"] += 1
        if text.status > 0:
            cell["rejected"] += 1
            continue
        cell["accepted"] += 1
        cell["parts"] += PARTS[text.campaign]
        cell["undelivered"] += text.end == LOST
        cell["no_receipt"] += text.end == 0
        told = people[of(text)]
        told.add("endpoints")
        if text.delivered_at is not None:
            cell["delivered"] += 1
            cell["codes_delivered"] += bool(text.code)
            told.add("delivered_endpoints")
            if text.campaign in LINKED:
                told.add("link_endpoints")
            # These campaigns have one text: each is an enrolment of its own, and a case.
            cell["delivered_cases"] += 1
        cases.append(text)
        if text.clicks:
            told.add("clicked_endpoints")
        if text.unsure:
            unsure.add(of(text))
        if text.replies and min(text.replies) < text.at + 72 * HOUR:
            told.add("replied_endpoints")
        if text.opted_out_at is not None:
            told.add("opted_out_endpoints")
    for key, told in people.items():
        cells[key].update(told)
        cells[key]["unsure_endpoints"] += key in unsure and "clicked_endpoints" not in told
    for text in cases:
        cells[of(text)]["converted"] += any(text.at <= order.at < text.at + WINDOW for order in one.orders)
    sent = [text for text in one.texts if text.status == 0]
    for order in one.orders:
        found = owed(order, sent)
        if found is not None:
            cell = cells[of(found[0])]
            cell["orders"] += 1
            cell["codes_redeemed"] += found[1] == 1
            cell["revenue_gross"] += order.amount
            cell["revenue_net"] += order.net


def months(world: World) -> Cells:
    """Count who bought in a month."""
    cells: Cells = defaultdict(Counter)
    before: dict[date, set[int]] = defaultdict(set)
    for index, one in enumerate(world.customers):
        counted = [order for order in one.orders if order.is_counted]
        first = month_of(min((order.at for order in counted), default=0))
        for order in counted:
            month = month_of(order.at)
            cell = cells[(month,)]
            cell["orders"] += 1
            cell["revenue_gross"] += order.amount
            cell["revenue_net"] += order.net
            if index not in before[month]:
                before[month].add(index)
                cell["buyers"] += 1
                cell["new_buyers"] += month == first
    order_of = sorted(before)
    for earlier, month in zip(order_of, order_of[1:], strict=False):
        cells[(month,)]["buyers_before"] = len(before[earlier])
        cells[(month,)]["stayed"] = len(before[earlier] & before[month])
    return dict(cells)


def cohorts(world: World) -> Cells:
    """Count, of those who bought first in a month, who bought so many months later; buyers: of month 0."""
    cells: Cells = defaultdict(Counter)
    for one in world.customers:
        counted = [order for order in one.orders if order.is_counted]
        if not counted:
            continue
        first = month_of(min(order.at for order in counted))
        seen = set()
        for order in counted:
            month = month_of(order.at)
            cell = cells[first, (month.year - first.year) * 12 + month.month - first.month]
            cell["orders"] += 1
            cell["revenue_net"] += order.net
            if month not in seen:
                seen.add(month)
                cell["active_buyers"] += 1
    for (first, _), cell in cells.items():
        cell["buyers"] = cells[first, 0]["active_buyers"]
    return dict(cells)


def weeks(world: World) -> Cells:
    """Count weeks of persons by how many texts they were sent, and those with an opt-out."""
    cells: Cells = defaultdict(Counter)
    for index, one in enumerate(world.customers):
        of: dict[int, list[Text]] = defaultdict(list)
        for text in one.texts if index not in world.staff else ():
            if text.status == 0:
                of[day_of(text.at).toordinal() - day_of(text.at).weekday()].append(text)
        for texts in of.values():
            cell = cells[(min(8, len(texts)),)]
            cell["people_weeks"] += 1
            cell["opted_out"] += any(text.opted_out_at is not None for text in texts)
    return dict(cells)


def growth(world: World) -> Cells:
    """Count who became marketable on a day, and who ceased to be."""
    cells: Cells = defaultdict(Counter)
    for one in world.customers:
        if one.consents_at is not None:
            cells[(day_of(one.consents_at),)]["gained"] += 1
            if one.stopped_at is not None:
                cells[(day_of(one.stopped_at),)]["lost"] += 1
    return dict(cells)


def lives(world: World, now: int, lapse: float) -> Cells:
    """Count customers by the days from their first order to their last, or until now: lapsed, and still there."""
    today = day_of(now).toordinal()
    days = [
        sorted({day_of(order.at).toordinal() for order in one.orders if order.is_counted}) for one in world.customers
    ]
    days = [of for of in days if of]
    gaps = [later - earlier for of in days for earlier, later in zip(of, of[1:], strict=False)]
    usual = statistics.median(gaps) if gaps else None
    cells: Cells = defaultdict(Counter)
    for of in days:
        own = [later - earlier for earlier, later in zip(of, of[1:], strict=False)]
        gap = statistics.median(own) if own else usual
        is_lapsed = gap is not None and today - of[-1] > lapse * gap
        cell = cells[(of[-1] - of[0] if is_lapsed else today - of[0],)]
        cell["lapsed" if is_lapsed else "still"] += 1
        cell["together"] += of[-1] - of[0]
    return dict(cells)


def year(world: World, now: int) -> Counter[str]:
    """Count who bought in the year before now, how often, for how much; and who had before, and did not again."""
    found: Counter[str] = Counter()
    for one in world.customers:
        counted = [order for order in one.orders if order.is_counted]
        late = [order for order in counted if order.at > now - 365 * DAY]
        early = [order for order in counted if now - 730 * DAY < order.at <= now - 365 * DAY]
        found["buyers"] += bool(late)
        found["orders"] += len(late)
        found["net"] += sum(order.net for order in late)
        found["buyers_before"] += bool(early)
        found["lost"] += bool(early) and not late
        found["bought_again"] += len(counted) >= 2
        found["bought_ever"] += bool(counted)
    return found


def reactivated(world: World, campaign: str) -> tuple[int, int]:
    """Count whom a campaign reached who had slept, and of those who have bought since."""
    asleep = back = 0
    for index, one in enumerate(world.customers):
        counted = sorted(order.at for order in one.orders if order.is_counted)
        slept = [
            text.delivered_at for text in one.texts
            if text.campaign == campaign and text.delivered_at is not None and index not in world.staff
            and counted and counted[0] <= text.delivered_at - ASLEEP
            and bisect.bisect(counted, text.delivered_at) == bisect.bisect(counted, text.delivered_at - ASLEEP)
        ]  # fmt: skip
        asleep += bool(slept)
        back += any(at < order < at + AWAKE for at in slept for order in counted)
    return asleep, back
