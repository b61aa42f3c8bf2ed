"""Nothing leaves before the watermark that covers it is committed."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from _fastpath.backlog import Backlog
from gateway import app
from gateway.config import CarrierSettings, WorkerSettings
from gateway.dispatch.compose import form_of
from gateway.dispatch.intent import Intents
from gateway.store import postgres, queue, runs
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.engine import until

WINDOW = 50


class Bench:
    """Intents over a backlog that the test fills and empties."""

    def __init__(self, dsn: str, connection: Any, tps: int = 0):
        self.connection, self._dsn = connection, dsn
        settings = CarrierSettings(host="nowhere", tps=tps)
        self.now = 100.0
        self.unsettled = 0
        self.carrier: Any = SimpleNamespace(
            lane=1, settings=settings, backlog=Backlog(), window_size=WINDOW, is_up=True, binds=[], pump=lambda: None,
            flow=SimpleNamespace(rate_per_s=tps),
        )  # fmt: skip
        clock = app.Clock(monotonic=lambda: self.now, wall=app.CLOCK.wall)
        self.intents = Intents(self.carrier, lambda: self.unsettled, WorkerSettings(), clock, self.connect, 5.0)

    async def connect(self) -> Any:
        return await postgres.connect(self._dsn)

    async def claim(self, owner: str = "w1", limit: int = 1) -> list[Any]:
        now = app.CLOCK.wall()
        taken = await queue.claim(self.connection, 1, owner, now, limit)
        for batch in taken.batches:
            batch.dress(form_of("x", self.carrier.settings))
            self.carrier.backlog.add(batch)
        return taken.batches

    async def sent_upto(self) -> int:
        return int(await self.connection.fetchval("SELECT sum(sent_upto) FROM chunk"))


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[Bench]:
    connection = await postgres.connect(dsn)
    await runs.ensure_partitions(connection, app.CLOCK.wall())
    lane = await runs.lane_of(connection, "acme", app.CLOCK.wall())
    await make_run(connection, numbers(3000), [lane])
    made = Bench(dsn, connection)
    yield made
    await made.intents.close()
    connection.terminate()


async def test_ranks_may_leave_when_their_watermark_is_committed_and_not_before(bench: Bench) -> None:
    (batch,) = await bench.claim()
    lock = bench.connection.transaction()
    await lock.start()
    await bench.connection.execute("LOCK TABLE chunk IN ACCESS EXCLUSIVE MODE")
    step = asyncio.create_task(bench.intents.advance())
    watcher = await bench.connect()

    async def waits() -> bool:
        return bool(await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await until(waits, "the step waits")
    assert batch.committed == 0
    await lock.rollback()
    assert await step == 1
    assert batch.committed == await bench.sent_upto() == WINDOW
    watcher.terminate()


async def test_a_step_is_no_larger_than_the_windows_while_the_rate_is_not_known(bench: Bench) -> None:
    await bench.claim(limit=2)
    for _ in range(3):
        await bench.intents.advance()
        bench.now += 1.0
    assert await bench.sent_upto() == WINDOW


async def test_outcomes_that_are_not_settled_stop_the_watermark(bench: Bench) -> None:
    (batch,) = await bench.claim()
    bench.unsettled = WINDOW
    assert await bench.intents.advance() == 0 and batch.committed == 0
    bench.unsettled = WINDOW - 10
    assert await bench.intents.advance() == 1 and batch.committed == 10


async def test_nothing_moves_for_a_carrier_that_is_down_or_a_worker_that_drains(bench: Bench) -> None:
    (batch,) = await bench.claim()
    bench.carrier.is_up = False
    assert await bench.intents.advance() == 0
    bench.carrier.is_up = True
    bench.intents.drain()
    assert await bench.intents.advance() == 0 and batch.committed == 0


async def test_a_throttled_account_intends_no_more_than_its_throttle_lets_go(dsn: str, bench: Bench) -> None:
    slow = Bench(dsn, bench.connection, tps=100)
    (batch,) = await slow.claim()
    await slow.intents.advance()
    assert batch.committed == 100 * 0.05 + 1
    await slow.intents.close()


async def test_a_chunk_that_has_another_owner_lets_nothing_more_leave(bench: Bench) -> None:
    lost, kept = await bench.claim(limit=2)
    await bench.connection.execute("UPDATE chunk SET owner = 'w2', epoch = epoch + 1 WHERE id = $1", lost.chunk_id)
    await bench.intents.advance()
    assert lost.dropped and lost.committed == 0 and not kept.dropped
    await bench.intents.advance()
    assert kept.committed == WINDOW


async def test_what_may_be_in_doubt_is_bound_by_the_limit_and_not_by_a_burst_under_it(dsn: str, bench: Bench) -> None:
    limited = Bench(dsn, bench.connection, tps=1000)
    (batch,) = await limited.claim()
    await limited.intents.advance()
    # Half a second of the limit within 10 ms: the throttle's saved tokens, and answers that wait to be written.
    limited.carrier.backlog = SimpleNamespace(
        handed_out=500, batches=lambda: [batch], delayed=(), urgent_delayed=(), in_flight=0
    )
    limited.now += 0.01
    limited.unsettled = WINDOW + 2 * 50
    assert limited.intents.plan(limited.now) == []
    limited.unsettled -= 1
    limited.now += 0.01
    assert limited.intents.rate_per_s > 10_000
    assert sum(upto - batch.next_rank for _, upto in limited.intents.plan(limited.now)) <= 1
    await limited.intents.close()
