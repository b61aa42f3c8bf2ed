"""Occurrences: noted once, and who they bring is brought once whoever repeats it."""

import asyncpg

from gateway.person import hash_of
from gateway.store import causes, ticks
from tests.fixtures.shop import NOW

ANN = 447700900001


async def test_occurrence_is_noted_once(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await ticks.note(connection, 1, "a", NOW, "missed", 0, NOW)
    await ticks.note(connection, 1, "a", NOW, "done", 7, NOW)
    assert [(one.key, one.state) for one in await ticks.newest(connection, 1)] == [("a", "missed")]
    assert await ticks.last(connection, 1) == NOW
    assert await ticks.last(connection, 2) is None
    await connection.close()


async def test_date_that_is_to_come_is_told_now_of_then(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    bucket = hash_of(ANN)
    later = NOW.replace(hour=13)
    assert await ticks.bring(connection, "c", [(bucket, 5, "date:x", later)], NOW) == 1
    [cause] = await causes.take(connection, [bucket], 9)
    assert (cause.kind, cause.name, cause.occurred_at, cause.received_at) == ("tick", "c", later, NOW)
    await connection.close()
