"""Cancelled runs in Postgres: what is closed, what can be enqueued no more, and what is never begun again (case 26)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath.copyrows import OutcomeRows
from gateway.errors import StoreError
from gateway.message import ChunkState, MessageClass, Policy, Refusal
from gateway.store import admission, cancels, control, queue, runs, transfer
from gateway.store.queue import Flush
from gateway.store.runs import Run
from tests.fixtures.campaign import make_list, make_run, numbers
from tests.fixtures.database import ON_POSTGRES, Database
from tests.simulation.copyoctets import us_of

# test_shared.py holds the models of the statements against them.
pytestmark = ON_POSTGRES

NOW = datetime.now(UTC)
LATER = NOW + timedelta(seconds=30)
REROUTE = 0x45


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    await runs.ensure_partitions(opened, NOW)
    for name in "ab":
        await runs.lane_of(opened, name, NOW)
    yield opened
    opened.terminate()


async def cancel(connection: Any, run: Run, by: str = "ann@here") -> int:
    (order,) = await cancels.cancel(connection, [run.id], at=NOW, by=by)
    return order


async def cancelled(connection: Any) -> int:
    return int(await connection.fetchval("SELECT count(*) FROM outcome WHERE status = $1", Refusal.CANCELLED))


async def test_what_nobody_has_claimed_is_closed_whether_it_is_due_or_held_and_other_runs_stay(connection: Any) -> None:
    run = await make_run(connection, numbers(2500), [1], now=NOW)
    await make_run(connection, numbers(10, 447711000000), [1], now=NOW, name="other")
    await connection.execute("UPDATE chunk SET state = 3 WHERE id = (SELECT min(id) FROM chunk WHERE run = $1)", run.id)
    await connection.execute(
        "UPDATE chunk SET not_before = $2 WHERE id = (SELECT max(id) FROM chunk WHERE run = $1)", run.id,
        NOW + timedelta(days=3),
    )  # fmt: skip
    assert await cancels.open_positions(connection, run.id) == 2500
    await cancel(connection, run)
    assert await cancels.close(connection, 1, [run.id], NOW) == 2500
    assert await cancels.close(connection, 1, [run.id], NOW) == 0
    assert await cancelled(connection) == 2500 and await cancels.open_positions(connection, run.id) == 0
    assert {row["state"] for row in await connection.fetch("SELECT state FROM chunk WHERE run = $1", run.id)} == {2}
    assert await connection.fetchval("SELECT count(*) FROM chunk WHERE run <> $1 AND state = 0", run.id) == 1


async def test_what_was_claimed_and_comes_back_is_closed_by_whoever_looks_for_what_is_over(connection: Any) -> None:
    run = await make_run(connection, numbers(50), [1], now=NOW)
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    await cancel(connection, run)
    assert await transfer.expire(connection, 1, NOW) == 0
    assert await cancels.open_positions(connection, run.id) == 50
    await queue.release(connection, 1, [(batch.chunk_id, batch.epoch, 20)])
    assert await transfer.expire(connection, 1, NOW) == 30
    assert await cancelled(connection) == 30


async def test_a_dead_workers_chunk_ends_in_doubt_below_its_watermark_and_cancelled_above_it(connection: Any) -> None:
    run = await make_run(connection, numbers(50), [1], now=NOW)
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    await queue.advance(connection, 1, [(batch.chunk_id, batch.epoch, 15)])
    await cancel(connection, run)
    assert await queue.rescue(connection, 1, ["w"], NOW) == (1, 15)
    assert await transfer.expire(connection, 1, NOW) == 35
    counted = await connection.fetch("SELECT status, count(*)::int AS n FROM outcome GROUP BY status ORDER BY status")
    assert [tuple(row) for row in counted] == [(Refusal.CANCELLED, 35), (Refusal.UNCERTAIN, 15)]


async def test_nobody_is_enqueued_into_a_cancelled_run_and_the_refusal_says_since_when_and_by_whom(
    connection: Any,
) -> None:
    run = await runs.add_run(
        connection, name="codes", template="x", fields=(), class_=MessageClass.OTP, policy=Policy.ONCE, lanes=[1],
        list_id=None, source=None, now=NOW,
    )  # fmt: skip
    await runs.enqueue_few(connection, run, 1, [447700900000], None, NOW)
    await cancel(connection, run)
    with pytest.raises(StoreError, match=rf"run {run.id}: cancelled at {NOW:%Y-%m-%d %H:%M:%S} UTC by ann@here; nob"):
        await runs.enqueue_few(connection, run, 1, [447700900001], None, NOW)
    assert await connection.fetchval("SELECT count(*) FROM chunk") == 1


async def test_a_run_that_is_cancelled_before_it_is_enqueued_never_is(connection: Any) -> None:
    list_id = await make_list(connection, numbers(10))
    run = await runs.add_run(
        connection, name="x", template="x", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE, lanes=[1],
        list_id=list_id, source=None, now=NOW,
    )  # fmt: skip
    await cancel(connection, run)
    with pytest.raises(StoreError, match="cancelled at"):
        await runs.materialise(connection, run, [1], 10, NOW)
    assert await connection.fetchval("SELECT count(*) FROM chunk") == 0


async def test_a_cancel_waits_for_who_enqueues_and_finds_all_of_it(database: Database, connection: Any) -> None:
    run = await runs.add_run(
        connection, name="codes", template="x", fields=(), class_=MessageClass.OTP, policy=Policy.ONCE, lanes=[1],
        list_id=None, source=None, now=NOW,
    )  # fmt: skip
    other = await database.connect()
    transaction = other.transaction()
    await transaction.start()
    await runs.enqueue_few(other, run, 1, [447700900000], None, NOW)
    waiting = asyncio.create_task(cancel(connection, run))
    watching = await database.connect()
    async with asyncio.timeout(10):
        while not await watching.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    await transaction.commit()
    await waiting
    assert await cancels.close(connection, 1, [run.id], NOW) == 1
    other.terminate()
    watching.terminate()


async def test_order_of_a_cancel_is_in_force_for_a_day_and_named_by_who_reads_the_state(connection: Any) -> None:
    run = await make_run(connection, numbers(1), [1], now=NOW)
    order = await cancel(connection, run)
    state = await control.state(connection, NOW + timedelta(hours=23))
    assert state.cancelled == {run.id} and order in state.ids and not state.standing("campaign")
    assert not (await control.state(connection, NOW + timedelta(hours=25))).cancelled


async def test_cancelled_twice_it_keeps_the_first_moment_and_gives_the_order_again(connection: Any) -> None:
    run = await make_run(connection, numbers(1), [1], now=NOW)
    first = await cancel(connection, run)
    (second,) = await cancels.cancel(connection, [run.id], at=LATER, by="bob@there")
    found = await runs.run_by_id(connection, run.id)
    assert found is not None and (found.cancelled_at, found.cancelled_by) == (NOW, "ann@here") and second > first


async def test_a_run_that_is_not_known_is_an_error_and_none_of_the_others_is_cancelled(connection: Any) -> None:
    run = await make_run(connection, numbers(1), [1], now=NOW)
    with pytest.raises(StoreError, match="run 999999999999999 is not known; nothing was cancelled"):
        await cancels.cancel(connection, [run.id, 999999999999999], at=NOW, by="ann@here")
    found = await runs.run_by_id(connection, run.id)
    assert found is not None and found.cancelled_at is None
    assert await connection.fetchval("SELECT count(*) FROM control") == 0


async def test_nothing_in_doubt_is_sent_again_and_nothing_that_failed_goes_another_way(connection: Any) -> None:
    run = await make_run(connection, numbers(4), [1], now=NOW, policy=Policy.AT_LEAST_ONCE)
    await connection.execute("UPDATE chunk SET fallback = '{2}'")
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    rows = OutcomeRows(1)
    for pos, status in enumerate((-1, REROUTE)):
        rows.add_row(batch.chunk_id, pos, 1, 1, batch.epoch, status, us_of(NOW), 5, None)
    await queue.flush(connection, 1, Flush(id=1, at=NOW, outcomes=rows.take()))
    await cancel(connection, run)
    assert await queue.repeat(connection, 1, LATER, LATER) == 0
    how: dict[str, Any] = {"statuses": [REROUTE], "errors": [], "undelivered": False, "since": NOW - timedelta(hours=1)}
    assert await transfer.leave_failed(connection, 1, [2], now=LATER, **how) == 0


async def test_what_is_on_its_way_to_another_lane_is_open_until_it_has_arrived_and_ends_there(connection: Any) -> None:
    run = await make_run(connection, numbers(20), [1], now=NOW)
    await connection.execute("UPDATE chunk SET fallback = '{2}'")
    assert await transfer.leave_closed(connection, 1, [2], NOW + timedelta(seconds=1)) == 1
    await cancel(connection, run)
    assert await cancels.close(connection, 1, [run.id], NOW) == 0
    assert await cancels.open_positions(connection, run.id) == 20
    await transfer.carry(connection, 1, LATER)
    assert await cancels.open_positions(connection, run.id) == 20
    assert await cancels.close(connection, 2, [run.id], LATER) == 20
    assert await cancelled(connection) == 20 and await cancels.open_positions(connection, run.id) == 0


async def test_a_cancelled_run_keeps_no_place_from_others_CP_4(connection: Any) -> None:
    run = await make_run(connection, numbers(20), [1], now=NOW)
    assert await admission.pending(connection, [run.id], LATER) == {run.id}
    await cancel(connection, run)
    assert await admission.pending(connection, [run.id], LATER) == set()


async def test_what_was_claimed_and_not_begun_is_closed_by_who_claimed_it(connection: Any) -> None:
    run = await make_run(connection, numbers(20), [1], now=NOW)
    await cancel(connection, run)
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    what = [cancels.Shut(batch.chunk_id, batch.epoch, batch.next_rank)]
    assert await cancels.end(connection, 1, what, NOW) == 20
    assert await cancels.end(connection, 1, what, NOW) == 0
    assert await connection.fetchval("SELECT state FROM chunk") == ChunkState.DONE


async def test_lease_of_a_worker_that_does_not_obey_ends(connection: Any) -> None:
    await connection.execute(
        "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node) "
        "VALUES ('w1', 'h', 'b', 1, $1, $1, 'n')",
        NOW,
    )
    await cancels.fence(connection, ["w1", "nobody"])
    assert await cancels.fenced(connection) == {"w1"}
