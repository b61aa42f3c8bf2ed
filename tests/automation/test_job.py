"""One worker does a job for all, round by round, and goes on when Postgres is back."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.automation.job import Every, Job
from gateway.errors import StoreError
from gateway.store import membership, postgres, runs
from tests.fixtures.engine import until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Counting(Job):
    """Does nothing, and counts how often."""

    NAME = "counting"
    ROUND_S = 0.01
    UNDONE = "nothing is counted"
    rounds = 0
    is_something = True

    async def is_wanted(self, connection: Any, now: datetime) -> bool:
        return self.is_something

    async def work(self, connection: Any, now: datetime) -> bool:
        self.rounds += await connection.fetchval("SELECT 1")
        return True


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    for name in ("one", "two"):
        worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node=name)
        await membership.register(opened, worker)
    yield opened
    await postgres.close(opened)


async def test_one_of_two_works_and_the_other_goes_on_when_it_is_gone(dsn: str, connection: Any) -> None:
    one, two = (Counting(lambda: NOW, lambda: postgres.connect(dsn), name) for name in ("one", "two"))
    try:
        assert await one.round() and not await two.round()
        await membership.leave(connection, "one")
        assert await two.round() and not await one.round()
        assert (one.rounds, two.rounds) == (1, 1)
    finally:
        await one.close()
        await two.close()


async def test_who_has_nothing_to_do_takes_no_job(dsn: str, connection: Any) -> None:
    one, two = (Counting(lambda: NOW, lambda: postgres.connect(dsn), name) for name in ("one", "two"))
    try:
        one.is_something = False
        assert not await one.round() and await two.round()
    finally:
        await one.close()
        await two.close()


async def test_a_server_that_is_away_is_told_once_and_the_job_goes_on_when_it_is_back(
    dsn: str, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    tried = 0

    async def connect() -> postgres.Connection:
        nonlocal tried
        tried += 1
        if tried in (2, 3, 4):
            raise StoreError("away", retryable=True)
        return await postgres.connect(dsn)

    job = Counting(lambda: NOW, connect, "one")
    caplog.set_level(logging.WARNING)
    running = asyncio.create_task(job.run())
    try:
        await until(lambda: job.rounds > 0, "the first round")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
        await until(lambda: tried == 5, "a connection when the server is back")
        before = job.rounds
        await until(lambda: job.rounds > before, "the next round")
        assert job.last_error == ""
        assert [one.message for one in caplog.records].count("! nothing is counted: away") <= 1
        assert sum(one.message.startswith("! nothing is counted") for one in caplog.records) == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def test_what_is_done_every_hour_is_due_at_first_after_an_hour_and_when_the_clock_went_back() -> None:
    every = Every(3600.0)
    assert every.is_due(NOW)
    every.done(NOW)
    assert [every.is_due(NOW + timedelta(minutes=at)) for at in (0, 59, 60, -1)] == [False, False, True, True]
