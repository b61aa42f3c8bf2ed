"""Who is told of products by the job: once, whatever is done again."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.automation.shop import Shop
from gateway.person import Item, Who
from gateway.product import Product
from gateway.store import membership, products, runs
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ADA, BOB = 447700900123, 447700900124


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    worker = runs.Worker(instance="w1", host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node="n")
    await membership.register(opened, worker)
    yield opened
    await opened.close()


async def told(connection: Any) -> list[tuple[int, str]]:
    rows = await connection.fetch(
        "SELECT p.number, v.name FROM person_event v JOIN profile p ON p.id = v.profile WHERE v.flags & 8 > 0 "
        "AND v.name <> 'session_ended' ORDER BY v.name"
    )
    return [(row["number"], row["name"]) for row in rows]


@pytest.mark.covers("S4.8", "S4.17")
async def test_replenishment_and_stock_alerts_are_told_once_by_any_number_of_rounds(dsn: str, connection: Any) -> None:
    feed = [Product(id="coffee", name="Coffee", supply_days=30), Product(id="cap", name="Cap", stock=0)]
    await products.write(connection, feed, NOW - 40 * DAY)
    items = [{"product_id": "coffee", "quantity": 1}, {"product_id": "cap"}]
    events = [
        Item(who=Who(phone=ADA), name="order_placed", occurred_at=NOW - 30 * DAY, properties={"items": items}),
        Item(who=Who(phone=BOB), name="stock_alert_requested", occurred_at=NOW - DAY, properties={"product": "cap"}),
    ]
    await ingest(connection, events, NOW - DAY, Random(1))
    await products.write(connection, [Product(id="cap", name="Cap", stock=9)], NOW - timedelta(minutes=1))
    made = []
    for minutes in (1, 2, 70, 140):
        at = NOW + timedelta(minutes=minutes)
        job = Shop(lambda at=at: at, lambda: asyncpg.connect(dsn), "w1", Random(minutes))
        assert await job.round()
        made.append(job.told)
        await job.close()
    assert made == [2, 0, 0, 0]
    assert await told(connection) == [(BOB, "product_restocked"), (ADA, "replenishment_due")]
    assert await connection.fetchval("SELECT orders FROM product_pair WHERE product = 'cap'") == 1


async def test_nothing_is_done_where_there_is_no_feed(dsn: str, connection: Any) -> None:
    job = Shop(lambda: NOW, lambda: asyncpg.connect(dsn), "w1", Random(1))
    assert not await job.round()
    await job.close()
    assert await connection.fetchval("SELECT count(*) FROM job") == 0
