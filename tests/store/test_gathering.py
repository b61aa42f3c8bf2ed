"""Batches of many callers share transactions, and each caller hears of his own."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.person import Item, Who
from gateway.store import gathering, postgres
from gateway.store.gathering import Gathering

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def visit(who: str, event_id: str = "", **more: Any) -> Item:
    return Item(who=Who(external_id=who), name="visit", event_id=event_id, occurred_at=NOW, **more)


@pytest.fixture
async def gathered(dsn: str) -> AsyncIterator[Gathering]:
    connections = postgres.Connections(dsn, size=2)
    made = Gathering(connections, lambda: NOW, Random(1))
    yield made
    await made.close()
    await connections.close()


async def counted(dsn: str) -> dict[str, int]:
    connection = await postgres.connect(dsn)
    try:
        rows = await connection.fetch(
            "SELECT external_id, count FROM event_total t JOIN profile p ON p.bucket = t.bucket AND p.id = t.profile"
        )
        return {row["external_id"]: row["count"] for row in rows}
    finally:
        await postgres.close(connection)


async def test_batches_that_wait_are_written_together_and_each_is_counted_once(dsn: str, gathered: Gathering) -> None:
    batches = [[visit(f"p{at % 7}", f"{caller}-{at}") for at in range(50)] for caller in range(40)]
    heard = await asyncio.gather(*(gathered.take(batch) for batch in batches))
    assert heard == [[False] * 50] * 40
    assert gathered.taken.events == 2000 == sum((await counted(dsn)).values())
    assert gathered.groups <= 4


async def test_who_hears_finds_it_committed(dsn: str, gathered: Gathering) -> None:
    for at in range(3):
        await gathered.take([visit("ada", str(at))])
        assert await counted(dsn) == {"ada": at + 1}


async def test_ev_1_what_another_caller_of_the_group_has_told_is_a_duplicate_of_the_second(
    dsn: str, gathered: Gathering
) -> None:
    heard = await asyncio.gather(
        gathered.take([visit("eve", "0")]),
        gathered.take([visit("eve", "1")]),
        gathered.take([visit("ada", "7")]),
        gathered.take([visit("bob", "8"), visit("ada", "7")]),
        gathered.take([visit("ada", "7")]),
    )
    assert heard[2:] == [[False], [False, True], [True]]
    assert await counted(dsn) == {"ada": 1, "bob": 1, "eve": 2}


async def test_a_batch_that_cannot_be_taken_is_no_reason_to_refuse_those_beside_it(
    dsn: str, gathered: Gathering
) -> None:
    bad = [visit("bad", "1", properties={"text": "\x00"})]
    heard = await asyncio.gather(
        *(gathered.take(batch) for batch in ([visit("a")], [visit("b")], [visit("c")], bad, [visit("d")])),
        return_exceptions=True,
    )
    assert [one for one in heard if one != [False]] == [heard[3]]
    assert isinstance(heard[3], StoreError) and not heard[3].retryable
    assert await counted(dsn) == dict.fromkeys("abcd", 1)


async def test_without_postgres_every_caller_hears_so_and_goes_on_when_it_is_back(
    dsn: str, gathered: Gathering, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreError("away", retryable=True)

    with monkeypatch.context() as patch:
        patch.setattr(gathering.profiles, "ingest", away)
        heard = await asyncio.gather(
            *(gathered.take([visit(f"p{at}", "1")]) for at in range(9)), return_exceptions=True
        )
    assert all(isinstance(one, StoreError) and one.retryable for one in heard)
    assert await gathered.take([visit("p0", "1")]) == [False] and await counted(dsn) == {"p0": 1}


async def test_a_caller_who_goes_away_takes_nobody_with_him(dsn: str, gathered: Gathering) -> None:
    calls = [asyncio.create_task(gathered.take([visit(f"p{at}")])) for at in range(6)]
    await asyncio.sleep(0)
    calls[4].cancel()
    heard = await asyncio.gather(*calls, return_exceptions=True)
    assert [one for one in heard if one != [False]] == [heard[4]] and isinstance(heard[4], asyncio.CancelledError)
    assert await gathered.take([visit("last")]) == [False]


async def test_a_batch_larger_than_a_group_is_one_of_its_own(
    dsn: str, gathered: Gathering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MOST", 10)
    await asyncio.gather(*(gathered.take([visit("ada", f"{at}-{more}") for more in range(25)]) for at in range(4)))
    assert gathered.groups == 4 and await counted(dsn) == {"ada": 100}
