"""Silences as histograms, against a count by hand: capabilities S0.12 and S0.13."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from gateway.message import MessageClass
from gateway.person import Item, Who
from gateway.store import inactivity, postgres
from gateway.store.inactivity import Repeated
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


def told(who: str, name: str, at: datetime, **properties: Any) -> Item:
    return Item(who=Who(external_id=who), name=name, occurred_at=at, properties=properties)


async def test_s0_12_gaps_and_repeats_are_those_of_a_count_by_hand(connection: Any) -> None:
    chance = random.Random(3)
    items, bought = [], {}
    for person in range(120):
        times = [NOW - chance.randrange(400) * DAY - chance.randrange(86_400) * timedelta(seconds=1)
                 for _ in range(chance.choice((0, 1, 2, 3, 6)))]  # fmt: skip
        bought[person] = sorted({at.date() for at in times})
        for number, at in enumerate(times):
            order = {"order_id": f"{person}:{number}", "total": 5, "currency": "EUR"}
            items.append(told(f"p{person}", "order_placed", at, **order))
    # One that was taken back is none.
    items.append(told("p0", "order_placed", NOW - 500 * DAY, order_id="back", total=5, currency="EUR"))
    items.append(told("p0", "order_cancelled", NOW - 499 * DAY, order_id="back"))
    await ingest(connection, items, NOW, random.Random(1))
    gaps = Counter((b - a).days for days in bought.values() for a, b in pairwise(days))
    assert await inactivity.gaps(connection, NOW) == gaps
    wanted = []
    for within in (30, 90, 1000):
        old = [
            (days, at) for days in bought.values() for at in range(len(days)) if (NOW.date() - days[at]).days >= within
        ]
        followed = sum(at + 1 < len(days) and (days[at + 1] - days[at]).days <= within for days, at in old)
        wanted.append(Repeated(days=within, purchases=len(old), followed=followed))
    assert await inactivity.repeats(connection, NOW, [90, 30, 1000]) == wanted and wanted[0].followed > 0


async def test_two_orders_of_one_day_are_one_purchase(connection: Any) -> None:
    for number, at in enumerate((NOW, NOW - timedelta(hours=1), NOW - 10 * DAY)):
        order = {"order_id": str(number), "total": 5, "currency": "EUR"}
        await ingest(connection, [told("ada", "order_placed", at, **order)], NOW, random.Random(number))
    assert await inactivity.gaps(connection, NOW) == {10: 1}


async def test_s0_13_people_are_counted_by_whole_days_since_each_sign(connection: Any) -> None:
    order = {"order_id": "1", "total": 5, "currency": "EUR"}
    items = [
        told("ada", "order_placed", NOW - 30 * DAY, **order),
        told("ada", "visit", NOW - 30 * DAY + timedelta(microseconds=1)),
        told("bob", "visit", NOW),
        told("bob", "clicked", NOW - 5 * DAY, verdict="human"),
        Item(who=Who(external_id="cid"), attributes={"city": "Wien"}),
    ]
    await ingest(connection, items, NOW, random.Random(1))
    assert await inactivity.silences(connection, NOW) == {
        "order": {30: 1, None: 2},
        "seen": {29: 1, 0: 1, None: 1},
        "message": {5: 1, None: 2},
        "any": {29: 1, 0: 1, None: 1},
    }


async def test_s0_11_days_of_sending_are_those_on_which_bulk_runs_began(connection: Any) -> None:
    for number, (ago, class_, has_list) in enumerate(
        ((0, MessageClass.BULK, True), (7, MessageClass.BULK, True), (7, MessageClass.BULK, True),
         (9, MessageClass.OTP, True), (11, MessageClass.BULK, False), (200, MessageClass.BULK, True)), 1,
    ):  # fmt: skip
        await connection.execute(
            "INSERT INTO run (id, name, template, fields, class, priority, policy, lanes, list, not_before, "
            "created_at) VALUES ($1, 'r', 't', '{}', $2, 0, 'once', '{1}', $3, $4, $4)",
            number, int(class_), 1 if has_list else None, NOW - ago * DAY,
        )  # fmt: skip
    assert sorted(await inactivity.sent_on(connection, NOW, 180)) == [0, 7]
