"""Chunks that end before all of them has left: an outcome for each position above the watermark, and none below."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath.copyrows import OutcomeRows
from gateway.message import ChunkState, Policy, Refusal
from gateway.store import endings, queue, runs
from gateway.store.endings import Shut
from gateway.store.queue import Flush
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.database import ON_POSTGRES, Database
from tests.simulation.copyoctets import us_of

# test_shared.py holds the models of the statements against them.
pytestmark = ON_POSTGRES

NOW = datetime.now(UTC)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    await runs.ensure_partitions(opened, NOW)
    await runs.lane_of(opened, "acme", NOW)
    yield opened
    opened.terminate()


async def statuses(connection: Any, chunk_id: int) -> dict[int, int]:
    rows = await connection.fetch("SELECT pos, status FROM outcome WHERE chunk_id = $1", chunk_id)
    assert len({row["pos"] for row in rows}) == len(rows)
    return {row["pos"]: row["status"] for row in rows}


async def test_what_was_claimed_ends_above_its_watermark_and_once_however_often(connection: Any) -> None:
    await make_run(connection, numbers(50), [1], now=NOW)
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    what = [Shut(batch.chunk_id, batch.epoch, 20)]
    for expected in (30, 0):
        async with connection.transaction():
            assert await endings.end_claimed(connection, 1, what, Refusal.CANCELLED, NOW) == expected
    assert await statuses(connection, batch.chunk_id) == dict.fromkeys(batch.ranks(20, 50), Refusal.CANCELLED)
    row = await connection.fetchrow("SELECT state, sent_upto, owner FROM chunk")
    assert tuple(row) == (ChunkState.DONE, 50, None)


async def test_what_somebody_else_has_claimed_meanwhile_is_left_alone(connection: Any) -> None:
    await make_run(connection, numbers(5), [1], now=NOW)
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    async with connection.transaction():
        assert await endings.end_claimed(connection, 1, [Shut(batch.chunk_id, 99, 0)], Refusal.CANCELLED, NOW) == 0
    assert await connection.fetchval("SELECT state FROM chunk") == ChunkState.CLAIMED


async def test_a_flush_writes_the_last_answers_and_the_end_of_a_chunk_or_neither(connection: Any) -> None:
    await make_run(connection, numbers(4), [1], now=NOW)
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    rows = OutcomeRows(1)
    first = batch.ranks(0, 1)[0]
    rows.add_row(batch.chunk_id, first, 1, 1, batch.epoch, 0, us_of(NOW), 5, b"id")
    what = Flush(id=1, at=NOW, outcomes=rows.take(), cancelled=(Shut(batch.chunk_id, batch.epoch, 1),))
    transaction = connection.transaction()
    await transaction.start()
    await queue.flush(connection, 1, what)
    await transaction.rollback()
    assert await statuses(connection, batch.chunk_id) == {}
    await queue.flush(connection, 1, what)
    found = await statuses(connection, batch.chunk_id)
    assert found == {first: 0, **dict.fromkeys(batch.ranks(1, 4), Refusal.CANCELLED)}


async def test_the_copy_of_a_message_in_doubt_stays_in_doubt_and_that_of_a_refused_one_does_not(
    connection: Any,
) -> None:
    run = await make_run(connection, numbers(6), [1], now=NOW, policy=Policy.AT_LEAST_ONCE)
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    rows = OutcomeRows(1)
    for pos in (1, 4):
        rows.add_row(batch.chunk_id, pos, 1, 1, batch.epoch, -1, us_of(NOW), 5, None)
    await queue.flush(connection, 1, Flush(id=1, at=NOW, outcomes=rows.take()))
    later = NOW + timedelta(seconds=1)
    assert await queue.repeat(connection, 1, later, later) == 2
    assert await queue.requeue(connection, 1, batch.chunk_id, batch.epoch, [0, 5], later) == 2
    # And one of the two in doubt goes on in a copy of the copy.
    (copy,) = [
        one
        for one in (await queue.claim(connection, 1, "w", later, 9)).batches
        if one.number(0) == batch.number(1)
    ]  # fmt: skip
    assert await queue.requeue(connection, 1, copy.chunk_id, copy.epoch, [1], later) == 1
    rows = await connection.fetch("SELECT id, n, epoch FROM chunk WHERE repeats IS NOT NULL ORDER BY id")
    await connection.execute("UPDATE chunk SET state = 1 WHERE repeats IS NOT NULL")
    async with connection.transaction():
        shut = [Shut(row["id"], row["epoch"], 0) for row in rows]
        assert await endings.end_claimed(connection, 1, shut, Refusal.CANCELLED, later) == 5
    found = [await statuses(connection, row["id"]) for row in rows]
    assert sorted(found, key=str) == sorted(
        [{0: -1, 1: -1}, {0: Refusal.CANCELLED, 1: Refusal.CANCELLED}, {0: -1}], key=str
    )
    assert run.id
