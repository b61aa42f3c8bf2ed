"""Cancelled runs between a real Postgres, the simulator and workers: what is certain, what is too late, who obeys.

Case 26 of the write protocol: before intent a cancel is certain, after it the answer is "too late".
"""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.dispatch.cancelling import Acknowledged, Cancelling, Count
from gateway.dispatch.worker import Worker
from gateway.errors import StoreError
from gateway.message import ChunkState, MessageClass, Policy, Refusal
from gateway.simulator.behaviour import Account, Limit, Responses
from gateway.store import cancels, postgres, runs
from gateway.store.runs import Run
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, only_lane, until


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


def cancelling(e: Engine, lease_s: float = 1.0) -> Cancelling:
    return Cancelling(app.CLOCK, lambda: postgres.connect(e.dsn), 5.0, lease_s, app.identity())


async def cancel(e: Engine, run: Run, patience_s: float = 10.0) -> tuple[Acknowledged, Count]:
    """Cancel a run; -> who obeys, and the count once everything is decided."""
    made = cancelling(e)
    try:
        done = await made.cancel([run.id], "ann@here", "a typo")
        assert await made.settled([run.id], patience_s)
        return done, await made.count(await fresh(e, run))
    finally:
        await made.stop()


async def fresh(e: Engine, run: Run) -> Run:
    found = await runs.run_by_id(e.connection, run.id)
    assert found is not None
    return found


def submitted(workers: list[Worker]) -> int:
    return sum(only_lane(worker).carrier.ledger.submitted for worker in workers)


async def cancelled_rows(e: Engine, run: Run) -> int:
    return int(
        await e.connection.fetchval(
            "SELECT count(*) FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id "
            "WHERE k.run = $1 AND o.status = $2",
            run.id, Refusal.CANCELLED,
        )
    )  # fmt: skip


async def test_case_26_of_the_write_protocol_what_has_not_left_is_certain_and_the_rest_too_late(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=2)) as e:
        e.carrier_settings = {"tps": 500, "adaptive": False, "binds": 2}
        run = await e.run(numbers(5000))
        other = await e.run(numbers(300, 447711000000), name="autumn")
        workers = list(await asyncio.gather(e.start(), e.start()))
        await until(lambda: submitted(workers) > 200, "they send")
        done, count = await cancel(e, run)
        assert set(done.obeyed_by) == {worker.instance for worker in workers} and not done.fenced
        assert count.before > 1000 and count.too_late > 150
        assert (count.before + count.too_late, count.otherwise, count.undecided) == (5000, 0, 0)
        await e.ends(other)
        await e.ends(run)
        states = await e.states(run)
        assert states["refused"] == count.before and states["delivered"] == count.too_late
        assert await cancelled_rows(e, run) == count.before
        (await e.audit(other)).check(doubt_at_most=0, receipts=True)


async def test_nothing_of_a_cancelled_run_begins_after_the_acknowledgement(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=50)) as e:
        e.carrier_settings = {"tps": 1000, "adaptive": False, "window": 100}
        run = await e.run(numbers(4000))
        worker = await e.start()
        await until(lambda: submitted([worker]) > 100, "it sends")
        made = cancelling(e)
        await made.cancel([run.id], "ann@here")
        before = submitted([worker])
        assert await made.settled([run.id], 10.0)
        await e.ends(run)
        assert submitted([worker]) == before
        await made.stop()
