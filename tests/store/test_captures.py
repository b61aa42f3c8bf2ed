"""Who wants to see the wire asks by way of Postgres, and every worker answers once."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest_asyncio

from gateway.store import captures, events
from gateway.store.captures import Answer, Request
from tests.fixtures.database import ON_POSTGRES, Database

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def request(carrier: str = "acme", place: int | None = None, redacts: bool = False) -> Request:
    return Request(id=uuid.uuid4(), carrier=carrier, place=place, redacts=redacts)


@pytest_asyncio.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    made = await database.connect()
    yield made
    made.terminate()


async def test_every_worker_is_asked_until_it_has_answered(connection: Any) -> None:
    first, second = request(place=2), request("other", redacts=True)
    await captures.ask(connection, first, NOW)
    await captures.ask(connection, second, NOW + timedelta(seconds=1))
    assert await captures.asked(connection, "w1", NOW) == [first, second]
    mine = Answer(instance="w1", bind="acme#1", octets=b"\x00one")
    await captures.answer(connection, first, [mine], "w1")
    assert await captures.asked(connection, "w1", NOW) == [second]
    assert await captures.asked(connection, "w2", NOW) == [first, second]
    await captures.answer(connection, first, [], "w2")
    assert await captures.done(connection, first) == {"w1", "w2"}
    assert await captures.answers(connection, first) == [mine]
    assert await captures.answers(connection, second) == []


async def test_answer_to_a_request_that_is_gone_leaves_nothing_behind(connection: Any) -> None:
    one = request()
    await captures.ask(connection, one, NOW)
    await captures.drop(connection, one.id, NOW)
    await captures.answer(connection, one, [Answer(instance="w1", bind="acme#1", octets=b"x")], "w1")
    assert await connection.fetchval("SELECT count(*) FROM capture") == 0


async def test_what_a_killed_command_left_goes_with_the_next_request(connection: Any) -> None:
    left, next_one = request(), request()
    await captures.ask(connection, left, NOW)
    await captures.answer(connection, left, [Answer(instance="w1", bind="acme#1", octets=b"x")], "w1")
    later = NOW + captures.STALE + timedelta(seconds=1)
    assert await captures.asked(connection, "w2", later) == []
    await captures.ask(connection, next_one, later)
    assert await captures.asked(connection, "w1", later) == [next_one]
    assert await connection.fetchval("SELECT count(*) FROM capture") == 0


async def test_both_sides_are_woken(database: Database, connection: Any) -> None:
    bell = events.Bell(connection, captures.CHANNEL)
    await bell.hang()
    other = await database.connect()
    try:
        one = request()
        for act in (captures.ask(other, one, NOW), captures.answer(other, one, [], "w1")):
            await act
            before = datetime.now(UTC)
            await bell.wait(20.0)
            assert datetime.now(UTC) - before < timedelta(seconds=10)
    finally:
        other.terminate()


@ON_POSTGRES
async def test_requests_and_answers_are_in_no_backup_of_the_log(connection: Any) -> None:
    rows = await connection.fetch(
        "SELECT relpersistence::text AS p FROM pg_class WHERE relname LIKE 'capture%' AND relkind = 'r'"
    )
    assert [row["p"] for row in rows] == ["u", "u"]
