"""A job has one worker, until that is gone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.store import jobs, membership, postgres, runs

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    for name in ("a", "b"):
        worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node=name)
        await membership.register(opened, worker)
    yield opened
    await postgres.close(opened)


async def test_a_job_is_taken_from_the_gone_alone_and_its_epoch_rises(connection: Any) -> None:
    assert await jobs.take(connection, "sweep", "a") == 1
    assert await jobs.take(connection, "sweep", "b") is None
    assert await jobs.take(connection, "sweep", "a") == 1
    assert await jobs.take(connection, "mop", "b") == 1
    await membership.leave(connection, "a")
    assert await jobs.take(connection, "sweep", "b") == 2


async def test_who_takes_a_job_over_waits_for_a_transaction_that_holds_it(dsn: str, connection: Any) -> None:
    await jobs.take(connection, "sweep", "a")
    assert not await jobs.hold(connection, "sweep", "b") and not await jobs.hold(connection, "mop", "a")
    other = await postgres.connect(dsn)
    try:
        async with connection.transaction():
            assert await jobs.hold(connection, "sweep", "a")
            await membership.leave(other, "a")
            taking = asyncio.create_task(jobs.take(other, "sweep", "b"))
            done, _ = await asyncio.wait([taking], timeout=0.3)
            assert not done
        assert await asyncio.wait_for(taking, 10) == 2
    finally:
        await postgres.close(other)
