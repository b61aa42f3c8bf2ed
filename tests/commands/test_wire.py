"""Commands ask every worker that lives, and wait for none that is dead or silent longer than they said."""

import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest_asyncio

from gateway import app
from gateway.commands import _wire
from gateway.smpp.capture import pdus_of
from gateway.store import membership, postgres, runs
from tests.fixtures.engine import engine, until


@pytest_asyncio.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    made = await postgres.connect(dsn)
    yield made
    made.terminate()


def a_worker(instance: str, ago: timedelta) -> runs.Worker:
    now = app.CLOCK.wall()
    at = now - ago
    return runs.Worker(instance=instance, host="elsewhere", boot="", pid=1, started_at=at, seen_at=at, node=instance)


async def test_tapes_of_every_worker_come_and_nothing_is_left_behind(dsn: str, tmp_path: Path, connection: Any) -> None:
    async with engine(dsn, tmp_path / "ledger.csv") as e:
        e.carrier_settings = {"binds": 2}
        workers = [await e.start(), await e.start()]
        await until(lambda: all(w.lanes[0].carrier.is_up for w in workers), "bound")
        found, silent = await _wire.tapes(connection, "acme", 20.0)
        assert silent == set()
        assert {instance for instance, _ in found} == {worker.instance for worker in workers}
        assert all(pdus_of(tape) for _, tape in found)
        assert await connection.fetchval("SELECT count(*) FROM capture") == 0
        assert await connection.fetchval("SELECT count(*) FROM capture_request") == 0


async def test_worker_that_does_not_answer_is_named_and_a_dead_one_is_not_asked(dsn: str, connection: Any) -> None:
    await membership.register(connection, a_worker("silent", timedelta(0)))
    await membership.register(connection, a_worker("dead", timedelta(hours=1)))
    began = time.monotonic()
    assert await _wire.tapes(connection, "acme", 0.1) == ([], {"silent"})
    assert time.monotonic() - began < 5.0


async def test_nobody_is_asked_where_nobody_lives(dsn: str, connection: Any) -> None:
    assert await _wire.tapes(connection, "acme", 20.0) == ([], set())
