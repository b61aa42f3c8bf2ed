"""Events are numbered in the order they become visible, and wake who listens."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.events import Event, event
from gateway.store import events
from tests.fixtures.database import Database

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def some(count: int, subject: str = "44") -> list[Event]:
    return [event("handset.reachable", NOW, subject, address=str(n), status=None) for n in range(count)]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    yield opened
    opened.terminate()


async def test_what_was_appended_is_read_behind_the_last_one_seen(connection: Any) -> None:
    assert await events.last(connection, 1) == 0
    await events.append(connection, 1, some(3))
    await events.append(connection, 2, some(1))
    await events.append(connection, 1, [])
    found = await events.after(connection, 1, 1)
    assert [(one.id, one.body["address"], one.at) for one in found] == [(2, "1", NOW), (3, "2", NOW)]
    assert await events.last(connection, 1) == 3 and await events.last(connection, 2) == 1
    assert [one.id for one in await events.after(connection, 1, 0, limit=2)] == [1, 2]


async def test_subject_of_a_stranger_does_no_harm(connection: Any) -> None:
    await events.append(connection, 1, some(1, subject="a\0'\"{}\ufffd\U0001f600"))
    assert (await events.after(connection, 1, 0))[0].subject == "a\ufffd'\"{}\ufffd\U0001f600"


async def test_lower_number_never_becomes_visible_behind_a_higher_one(database: Database, connection: Any) -> None:
    """A reader that remembers the last number would miss it: the second writer waits for the first one's COMMIT."""
    first = await database.connect()
    transaction = first.transaction()
    await transaction.start()
    await events.append(first, 1, some(1))
    second = asyncio.create_task(events.append(connection, 1, some(1)))
    looking = await database.connect()
    while not await database.waits():
        await asyncio.sleep(0)
    assert not second.done() and await events.after(looking, 1, 0) == []
    await transaction.rollback()
    await second
    assert [one.id for one in await events.after(looking, 1, 0)] == [1]
    first.terminate()
    looking.terminate()


async def test_listener_is_woken_by_the_commit_and_looks_by_itself_otherwise(
    database: Database, connection: Any
) -> None:
    listening = await database.connect()
    bell = events.Bell(listening)
    await bell.hang()
    await bell.wait(0.001)
    loop = asyncio.get_running_loop()
    started = loop.time()
    waiting = asyncio.create_task(bell.wait(30.0))
    await events.append(connection, 1, some(1))
    await asyncio.wait_for(waiting, 20)
    assert loop.time() - started < 20
    listening.terminate()
