"""Calls are asked for once, each host's oldest come first, and who waits for one is looked at when it has ended."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.store import calls, postgres
from gateway.store.calls import End
from tests.fixtures.shop import NOW


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def test_wf_10_asked_twice_is_asked_once_and_what_ended_is_still_known(connection: Any) -> None:
    for _ in range(2):
        await calls.ask(connection, (7, 1), 5, "https://a.example/", "crm", NOW)
    (one,) = await calls.due(connection, NOW, 8)
    assert (one.key, one.host, one.tries) == ((7, 1), "a.example:443", 0)
    assert await calls.states(connection, [(7, 1), (7, 2)]) == {(7, 1): calls.WAITING}
    again = NOW + timedelta(seconds=10)
    await calls.end(connection, [End(call=one, state=calls.WAITING, tries=1, status=503, due_at=again)], NOW)
    assert await calls.due(connection, NOW, 8) == []
    (one,) = await calls.due(connection, again, 8)
    await calls.end(connection, [End(call=one, state=calls.TOLD, tries=2, status=200)], again)
    assert not await calls.is_wanted(connection)
    await calls.ask(connection, (7, 1), 5, "https://a.example/", "crm", again)
    assert await calls.states(connection, [(7, 1)]) == {(7, 1): calls.TOLD}
    await calls.forget(connection, again + calls.KEPT + timedelta(seconds=1))
    assert await calls.states(connection, [(7, 1)]) == {}


async def test_wf_10_many_calls_of_one_host_leave_room_for_others(connection: Any) -> None:
    for visit in range(50):
        await calls.ask(connection, (1, visit), 5, "https://slow.example/", "", NOW + timedelta(seconds=visit))
    await calls.ask(connection, (2, 1), 5, "https://zoo.example/", "", NOW + timedelta(seconds=90))
    found = await calls.due(connection, NOW + timedelta(seconds=100), 3)
    assert [one.key for one in found] == [(1, 0), (1, 1), (1, 2), (2, 1)]
    await calls.drop(connection, [(2, 1)])
    assert (2, 1) not in {one.key for one in await calls.due(connection, NOW + timedelta(seconds=100), 3)}
