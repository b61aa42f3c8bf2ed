"""Tokens are looked up together, each is answered once, and who gives up takes nobody's answer along."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.link import Link, read_token, target_of
from gateway.redirect import looking
from gateway.redirect.looking import Looking
from gateway.store import links, postgres
from gateway.store.links import Place, Wanted

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def places(dsn: str) -> list[Place]:
    connection = await postgres.connect(dsn)
    target = await links.keep_target(connection, target_of(Link(url="https://a.example/"), "a"), NOW)
    wanted = [Wanted(447_700_900_000 + n, target, 1, NOW, NOW + timedelta(days=1)) for n in range(30)]
    tokens = await links.mint_all(connection, wanted, Random(1))
    await postgres.close(connection)
    return [place for token in tokens if (place := read_token(token))]


@pytest.fixture
async def asked(dsn: str) -> AsyncIterator[Looking]:
    connections = postgres.Connections(dsn, size=1)
    made = Looking(connections, 5.0)
    yield made
    await made.close()
    await connections.close()


async def test_all_that_are_asked_for_at_one_moment_are_one_statement(asked: Looking, places: list[Place]) -> None:
    found = await asyncio.gather(*(asked.ask(place) for place in [*places, *places, (0, 1)]))
    assert [one[0].number if one else 0 for one in found] == [*range(447_700_900_000, 447_700_900_030)] * 2 + [0]
    assert asked.statements == 1


async def test_more_than_one_statement_takes_are_looked_up_one_after_the_other(
    asked: Looking, places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "MOST_AT_ONCE", 7)
    monkeypatch.setattr(looking, "MOST_TARGETS", 0)
    assert all(await asyncio.gather(*(asked.ask(place) for place in places)))
    assert asked.statements == 5


async def test_who_goes_away_takes_nobodys_answer_along(asked: Looking, places: list[Place]) -> None:
    first, second = (asyncio.create_task(asked.ask(places[0])) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second is not None
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_database_that_is_away_is_told_to_everybody_and_asked_again(
    asked: Looking, places: list[Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> Any:
        raise StoreError("away", retryable=True)

    with monkeypatch.context() as patched:
        patched.setattr(links, "look", away)
        found = await asyncio.gather(*(asked.ask(place) for place in places[:3]), return_exceptions=True)
        assert [type(one) for one in found] == [StoreError] * 3
    assert await asked.ask(places[0]) is not None


async def test_who_still_waits_at_the_end_is_told_so(asked: Looking, places: list[Place]) -> None:
    waiting = asyncio.create_task(asked.ask(places[0]))
    await asyncio.sleep(0)
    await asked.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
