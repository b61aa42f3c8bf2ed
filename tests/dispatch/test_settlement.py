"""A flush is written once and answered when it is durable, whatever happens to it."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway import app
from gateway.config import CarrierSettings, WorkerSettings
from gateway.dispatch.intake import Intake
from gateway.dispatch.settlement import Settlement
from gateway.errors import StoreError
from gateway.simulator.behaviour import Receipts
from gateway.simulator.ledger import read
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, queue, runs
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.engine import engine, only_lane, until
from tests.fixtures.node_away import Nodes

DEADLINE_S = 5.0


class Bench:
    """A settlement without binds, whose rows come from the test."""

    def __init__(self, dsn: str, other: Any, deadline_s: float = DEADLINE_S):
        self.other = other
        self.connections = 0
        self._dsn = dsn
        clock = app.CLOCK
        settings = CarrierSettings(host="nowhere")
        self.carrier = Carrier(
            "acme", settings, 1, clock=clock.monotonic, chance=random.Random(1),
            on_request=lambda link, pdu: None,
        )  # fmt: skip
        intake = Intake(self.carrier.ledger, clock, 1, settings)
        self.settlement = Settlement(self.carrier, intake, WorkerSettings(), clock, self.connect, deadline_s, 1)

    async def connect(self) -> Any:
        self.connections += 1
        return await postgres.connect(self._dsn)

    def add(self, *positions: int, chunk_id: int = 7) -> None:
        self.carrier.ledger.wall_offset_us = app.CLOCK.offset_us()
        at_us = int(app.CLOCK.monotonic() * 1e6) + self.carrier.ledger.wall_offset_us
        for pos in positions:
            self.carrier.ledger.outcomes.add_row(chunk_id, pos, 1, 1, 1, 0, at_us, 0, b"id%d" % pos)

    async def chunk(self, chunk_id: int) -> tuple[int, int, str | None]:
        row = await self.other.fetchrow("SELECT state, sent_upto, owner FROM chunk WHERE id = $1", chunk_id)
        return row["state"], row["sent_upto"], row["owner"]

    async def written(self) -> list[int]:
        return sorted(row["pos"] for row in await self.other.fetch("SELECT pos FROM outcome"))


@pytest.fixture
async def bench(dsn: str) -> AsyncIterator[Bench]:
    other = await postgres.connect(dsn)
    await runs.ensure_partitions(other, app.CLOCK.wall())
    made = Bench(dsn, other)
    yield made
    await made.settlement.close()
    other.terminate()


async def test_nothing_to_write_is_no_transaction(bench: Bench) -> None:
    assert not await bench.settlement.settle()
    assert bench.connections == 0 and bench.settlement.is_idle


async def test_what_goes_back_to_the_queue_goes_with_its_last_answers_or_not_at_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who dies between the two leaves its last messages in doubt, and nobody looks for them in a chunk of nobody."""
    lane = await runs.lane_of(bench.other, "acme", app.CLOCK.wall())
    await make_run(bench.other, numbers(10), [lane], now=app.CLOCK.wall())
    (batch,) = (await queue.claim(bench.other, lane, "w1", app.CLOCK.wall(), 1)).batches
    bench.add(0, 1, chunk_id=batch.chunk_id)
    bench.settlement.returning.append((batch.chunk_id, batch.epoch, 2))
    real, states = queue.flush, []

    async def flush(connection: Any, lane_: int, what: queue.Flush) -> None:
        if not states:
            states.append(await bench.chunk(batch.chunk_id))
            # Something else is let go while this is under way: it goes with the next one.
            bench.settlement.returning.append((0, 1, 0))
            raise StoreError("Postgres is away", retryable=True)
        await real(connection, lane_, what)

    monkeypatch.setattr(queue, "flush", flush)
    await bench.settlement.settle()
    assert states == [(1, 0, "w1")]
    assert await bench.chunk(batch.chunk_id) == (0, 2, None) and await bench.written() == [0, 1]
    assert bench.settlement.returning == [(0, 1, 0)] and not bench.settlement.is_idle
    await bench.settlement.settle()
    assert bench.settlement.is_idle


@pytest.mark.parametrize("carried_out", [True, False])
async def test_a_flush_without_an_answer_is_written_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, carried_out: bool
) -> None:
    """Case 10 of the write protocol."""
    real = queue.flush
    tries = []

    async def flush(connection: Any, lane: int, what: queue.Flush) -> Any:
        tries.append(what.id)
        if len(tries) == 1:
            if carried_out:
                await real(connection, lane, what)
            raise StoreError("the answer was lost", retryable=True)
        return await real(connection, lane, what)

    monkeypatch.setattr(queue, "flush", flush)
    bench.add(1, 2, 3)
    assert await bench.settlement.settle()
    assert await bench.written() == [1, 2, 3]
    assert len(tries) == (1 if carried_out else 2)
    assert not bench.settlement.is_away and bench.settlement.is_idle and bench.connections == 2


async def test_a_flush_waits_for_the_node_of_its_lane_on_the_connection_that_it_has(bench: Bench) -> None:
    nodes = Nodes(bench.connect)
    bench.settlement._line._connect = nodes.connect
    bench.add(1)
    assert await bench.settlement.settle()
    nodes.away.add(1)
    bench.add(2, 3)
    task = asyncio.create_task(bench.settlement.settle())
    await until(lambda: nodes.asked >= 2, "the flush is tried again")
    assert bench.settlement.is_away and bench.settlement.unsettled == 2 and await bench.written() == [1]
    nodes.away.clear()
    assert await task
    assert await bench.written() == [1, 2, 3]
    assert nodes.opened == 1 and not bench.settlement.is_away


@pytest.mark.parametrize("at", ["flush", "outcome"])
async def test_a_cancelled_flush_stays_in_hand_and_is_written_by_the_next_call(bench: Bench, at: str) -> None:
    """At a stop: the task that flushes is cancelled while Postgres is slow."""
    lock = bench.other.transaction()
    await lock.start()
    await bench.other.execute(f"LOCK TABLE {at} IN ACCESS EXCLUSIVE MODE")
    bench.add(1, 2)
    task = asyncio.create_task(bench.settlement.settle())
    watcher = await bench.connect()

    async def waits() -> bool:
        return bool(await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    await until(waits, "the flush waits for the lock")
    assert not bench.settlement.is_idle and bench.settlement.unsettled == 2
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.settlement.unsettled == 2
    bench.add(3)
    await lock.rollback()
    assert await bench.settlement.settle() and await bench.settlement.settle()
    assert not await bench.settlement.settle()
    assert await bench.written() == [1, 2, 3]
    watcher.terminate()


async def test_rows_that_come_while_a_flush_is_under_way_belong_to_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = queue.flush

    async def flush(connection: Any, lane: int, what: queue.Flush) -> Any:
        bench.add(9)
        monkeypatch.setattr(queue, "flush", real)
        return await real(connection, lane, what)

    monkeypatch.setattr(queue, "flush", flush)
    bench.add(1)
    await bench.settlement.settle()
    assert await bench.written() == [1] and not bench.settlement.is_idle
    await bench.settlement.settle()
    assert await bench.written() == [1, 9]


async def test_a_day_without_its_partition_is_healed(bench: Bench) -> None:
    today = app.CLOCK.wall()
    await bench.other.execute(f"DROP TABLE outcome_{today:%Y%m%d}")
    bench.add(1)
    await bench.settlement.settle()
    assert await bench.written() == [1]


async def test_postgres_away_is_said_and_unsaid(bench: Bench) -> None:
    real, refused = bench.settlement._line._connect, []

    async def connect() -> Any:
        if len(refused) < 2:
            refused.append(1)
            raise StoreError("connect: nobody there", retryable=True)
        return await real()

    bench.settlement._line._connect = connect
    bench.add(1)
    task = asyncio.create_task(bench.settlement.settle())
    await until(lambda: bench.settlement.is_away, "it is known that Postgres is away")
    assert "nobody there" in bench.settlement.last_error
    assert await task and not bench.settlement.is_away and not bench.settlement.last_error
    assert await bench.written() == [1]


async def test_stop_ends_the_loop_behind_the_flush_in_hand(bench: Bench) -> None:
    loop = asyncio.create_task(bench.settlement.run())
    bench.add(1)
    bench.settlement.wake.set()
    await until(lambda: bench.settlement.flushes == 1, "a flush")
    bench.settlement.stop()
    await asyncio.wait_for(loop, DEADLINE_S)
    assert await bench.written() == [1]


async def test_receipts_are_answered_only_when_they_are_durable(dsn: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.csv"

    def answered() -> int:
        return sum(receipt.answer == 0 for message in read(ledger) for receipt in message.receipts)

    async with engine(dsn, ledger, receipts=Receipts(delay_ms=0)) as e:
        run = await e.run(numbers(30))
        lock = await postgres.connect(dsn)
        transaction = lock.transaction()
        await transaction.start()
        await lock.execute("LOCK TABLE receipt IN ACCESS EXCLUSIVE MODE")
        worker = await e.start()
        carried = only_lane(worker).carrier
        await until(lambda: carried.ledger.receipts_matched == 30, "every receipt has come")
        assert answered() == 0 and not await lock.fetchval("SELECT count(*) FROM receipt")
        await transaction.rollback()
        await e.ends(run)
        await until(lambda: answered() == 30, "every receipt is answered")
        lock.terminate()


def test_asyncpg_has_the_error_that_a_farewell_in_the_wrong_state_raises() -> None:
    assert postgres.is_retryable(asyncpg.InternalClientError("cannot switch to state 12"))
