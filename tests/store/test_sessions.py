"""Ends of sessions are told once: rule EV-10."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.person import OURS, Item, Who
from gateway.store import aggregates, sessions
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def visit(connection: Any, minutes: float, *names: str, name: str = "visit") -> None:
    at = NOW + minutes * MINUTE
    items = [Item(who=Who(external_id=one), name=name, occurred_at=at) for one in names]
    await ingest(connection, items, at, Random(int(minutes)))


async def end_all(connection: Any, minutes: float, seed: int = 1) -> int:
    ended = 0
    for bucket in range(sessions.BUCKETS):
        ended += (await sessions.end_due(connection, bucket, NOW + minutes * MINUTE, Random(seed)))[0]
    return ended


async def ends(connection: Any) -> list[float]:
    rows = await connection.fetch("SELECT occurred_at, flags FROM person_event WHERE name = 'session_ended' ORDER BY 1")
    assert {row["flags"] for row in rows} <= {0, OURS}
    return [(row["occurred_at"] - NOW) / MINUTE for row in rows]


async def test_ev_10_a_session_ends_half_an_hour_after_its_last_event_whenever_it_is_told(connection: Any) -> None:
    await visit(connection, 0, "ada", "bob")
    await visit(connection, 20, "ada")
    assert await end_all(connection, 29) == 0
    assert await end_all(connection, 45) == 1 and await ends(connection) == [30]
    assert await end_all(connection, 300) == 1 and await ends(connection) == [30, 50]
    assert await end_all(connection, 600) == 0
    assert await connection.fetchval("SELECT count(*) FROM session_open") == 0


async def test_ev_10_whoever_comes_back_begins_another_session_which_ends_too(connection: Any) -> None:
    await visit(connection, 0, "ada")
    await end_all(connection, 31)
    await visit(connection, 40, "ada")
    assert await connection.fetchval("SELECT sessions FROM profile") == 2
    assert await end_all(connection, 90) == 1 and await ends(connection) == [30, 70]
    row = await connection.fetchrow("SELECT bucket, sessions, session_at FROM profile")
    await aggregates.rebuild(connection, row["bucket"], NOW)
    assert await connection.fetchrow("SELECT bucket, sessions, session_at FROM profile") == row


async def test_ev_10_an_explicit_end_is_told_by_nobody_again(connection: Any) -> None:
    await visit(connection, 0, "ada")
    await visit(connection, 5, "ada", name="session_ended")
    assert await end_all(connection, 90) == 0 and await ends(connection) == [5]


async def test_ev_10_two_who_tell_at_once_tell_each_end_once(dsn: str, connection: Any) -> None:
    await visit(connection, 0, *(f"p{number}" for number in range(300)))
    others = [await asyncpg.connect(dsn) for _ in range(2)]
    try:
        async with asyncio.timeout(30):
            told = await asyncio.gather(*(end_all(other, 31, seed) for seed, other in enumerate(others)))
    finally:
        for other in others:
            await other.close()
    assert sum(told) == 300 == len(await ends(connection))
    assert await connection.fetchval("SELECT sum(count) FROM event_total WHERE name = 'session_ended'") == 300
