"""The queue on a real Postgres: claims race, epochs fence, the crash rule counts, receipts find their segment."""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from _fastpath.batch import Batch, stride_of
from _fastpath.copyrows import OutcomeRows
from _fastpath.ledger import Ledger
from gateway.errors import StoreError
from gateway.message import ChunkState, MessageClass, Policy
from gateway.store import postgres, queue, runs
from gateway.store.inbound import Arrival, Came, Joined
from gateway.store.queries import all_queries
from gateway.store.queue import Claimed, Flush
from gateway.store.runs import Run
from tests.fixtures import campaign
from tests.fixtures.campaign import numbers, states
from tests.fixtures.database import ON_POSTGRES, Database

NOW = datetime.now(UTC)
LATER = NOW + timedelta(seconds=30)
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    await runs.ensure_partitions(opened, NOW)
    yield opened
    opened.terminate()


@pytest.fixture
async def lane(connection: Any) -> int:
    return await runs.lane_of(connection, "acme", NOW)


async def make_run(connection: Any, people: Any, lanes: list[int], **how: Any) -> Run:
    return await campaign.make_run(connection, people, lanes, **{"now": NOW, **how})


def us(at: datetime) -> int:
    return (at - POSTGRES_EPOCH) // timedelta(microseconds=1)


def outcomes(lane: int, rows: list[tuple[Any, ...]], at: datetime = NOW) -> bytes:
    """COPY octets of (chunk_id, pos, segment, segments, status, message_id)."""
    written = OutcomeRows(lane)
    for chunk_id, pos, segment, segments, status, message_id in rows:
        written.add_row(chunk_id, pos, segment, segments, 1, status, us(at), 1000, message_id)
    return written.take()


_flush_ids = iter(range(1, 1 << 30))


def flush_of(**what: Any) -> Flush:
    return Flush(**{"id": next(_flush_ids), "at": NOW, **what})


async def wait_for_receipt(
    connection: Any,
    lane: int,
    message_id: str,
    *,
    state: int = 2,
    number: int | None = None,
    other: int | None = None,
    at: datetime = NOW,
) -> None:
    ledger = Ledger(lane)
    ledger.wall_offset_us = us(at)
    ledger.take_receipt(message_id.encode(), state, None, number, b"", 0.0, other)
    await queue.flush(connection, lane, flush_of(waiting=ledger.waiting.take()))


async def match(connection: Any, lane: int, **how: Any) -> int:
    return sum((await queue.match(connection, lane, NOW - timedelta(hours=1), **how)).values())


async def claim_all(connection: Any, lane: int, owner: str = "w1", *, at: datetime = NOW) -> list[Batch]:
    taken = await queue.claim(connection, lane, owner, at, 1000)
    assert not taken.unread
    return taken.batches


async def claim_one(connection: Any, lane: int, owner: str = "w1", *, at: datetime = NOW) -> Batch:
    (batch,) = (await queue.claim(connection, lane, owner, at, 1)).batches
    return batch


async def chunk(connection: Any, chunk_id: int) -> Any:
    return await connection.fetchrow("SELECT * FROM chunk WHERE id = $1", chunk_id)


async def in_doubt(connection: Any, chunk_id: int) -> set[tuple[int, int]]:
    rows = await connection.fetch("SELECT pos, segment FROM outcome WHERE chunk_id = $1 AND status = -1", chunk_id)
    assert len({tuple(row) for row in rows}) == len(rows)
    return {tuple(row) for row in rows}


# -- claim ------------------------------------------------------------------------------------------------------------


async def test_the_urgent_class_is_claimed_first_then_priority_then_age(connection: Any, lane: int) -> None:
    async def one(name: str, class_: MessageClass, priority: int) -> Run:
        return await make_run(connection, numbers(3), [lane], name=name, class_=class_, priority=priority)

    old = await one("a", MessageClass.BULK, 0)
    young = await one("b", MessageClass.BULK, 0)
    behind = await one("c", MessageClass.BULK, 5)
    code = await one("d", MessageClass.OTP, 9)
    assert [batch.run for batch in await claim_all(connection, lane)] == [code.id, old.id, young.id, behind.id]


async def test_paused_run_country_and_sender_are_not_claimed_and_the_rest_is(connection: Any, lane: int) -> None:
    made = [await make_run(connection, numbers(10, 447700900000 + 100 * at), [lane]) for at in range(4)]
    await connection.execute("UPDATE chunk SET country = 133 WHERE run = $1", made[1].id)
    await connection.execute("UPDATE chunk SET source = 'Brand' WHERE run = $1", made[2].id)
    paused = queue.Paused(runs=(made[0].id,), countries=(133,), senders=("Brand",))
    claimed = await queue.claim(connection, lane, "w", NOW, 64, paused=paused)
    assert {batch.run for batch in claimed.batches} == {made[3].id}
    assert (await queue.claim(connection, lane, "w", NOW, 64, paused=paused)).batches == []
    claimed = await queue.claim(connection, lane, "w", NOW, 64)
    assert {batch.run for batch in claimed.batches} == {run.id for run in made[:3]}


def test_claim_past_pauses_is_the_claim_but_for_what_it_passes() -> None:
    """Two statements must not drift apart: without its own lines the second is the first."""
    plain, past = all_queries()["claim"].sql, all_queries()["claim_unpaused"].sql
    own = r"\n *AND run <> ALL.*"
    assert re.search(own, past) and re.sub(own, "", past) == plain


async def test_a_chunk_is_not_claimed_before_its_time_nor_twice(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(10), [lane], now=NOW + timedelta(hours=1))
    assert await claim_all(connection, lane) == []
    assert len(await claim_all(connection, lane, at=NOW + timedelta(hours=2))) == 1
    assert await claim_all(connection, lane, "w2", at=NOW + timedelta(hours=2)) == []


@ON_POSTGRES
@pytest.mark.slow
async def test_claims_and_watermarks_stay_quick_beside_a_million_dead_rows_that_nobody_vacuums(
    connection: Any, lane: int
) -> None:
    """Fault 75: the rows of chunks that are done stand before the living ones in every index that a claim reads."""
    await connection.execute("ALTER TABLE chunk SET (autovacuum_enabled = false)")
    for place in range(4):
        first = 1 + place * 100_000
        await connection.execute(
            "INSERT INTO chunk (lane, id, run, n, class, priority, not_before, first_claimed_at) "
            "SELECT $1, $2 + g, 1, 1000, $3, 0, $4, NULL FROM generate_series(0, 99999) AS g",
            lane, first, MessageClass.BULK, NOW,
        )  # fmt: skip
        await connection.execute("UPDATE chunk SET state = 1, owner = 'w0' WHERE id BETWEEN $1 AND $1 + 99999", first)
        await connection.execute("UPDATE chunk SET state = 2 WHERE id BETWEEN $1 AND $1 + 99999", first)
        await connection.execute("DELETE FROM chunk WHERE id BETWEEN $1 AND $1 + 99999", first)
    await make_run(connection, numbers(100_000), [lane])
    spent = []
    for _ in range(100):
        began = time.perf_counter()
        (batch,) = (await queue.claim(connection, lane, "w1", NOW, 1)).batches
        spent.append(time.perf_counter() - began)
        began = time.perf_counter()
        assert await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, 10)])
        spent.append(time.perf_counter() - began)
    assert sorted(spent)[197] < 0.05, f"{sorted(spent)[-5:]}"
    print(
        f"p50 {sorted(spent)[100] * 1e3:.1f} ms, p99 {sorted(spent)[197] * 1e3:.1f} ms, most {max(spent) * 1e3:.1f} ms"
    )


async def test_racing_claimers_get_each_chunk_once(database: Database, connection: Any, lane: int) -> None:
    run = await make_run(connection, numbers(40_000), [lane])
    total = await connection.fetchval("SELECT count(*) FROM chunk")

    async def claimer(name: str) -> list[tuple[int, int]]:
        own = await database.connect()
        got = []
        while batches := (await queue.claim(own, lane, name, NOW, 3)).batches:
            got += [(batch.chunk_id, batch.n) for batch in batches]
        own.terminate()
        return got

    # SKIP LOCKED may pass over what another is just taking and find the rest empty: nobody may wait for it.
    first = [pair for some in await asyncio.gather(*(claimer(f"w{i}") for i in range(6))) for pair in some]
    rest = [(batch.chunk_id, batch.n) for batch in await claim_all(connection, lane)]
    assert len(first) + len(rest) == len(set(first + rest)) == total
    assert sum(n for _, n in first + rest) == run.recipients == 40_000


async def test_a_claim_of_another_lane_takes_nothing_of_this_one(connection: Any, lane: int) -> None:
    other = await runs.lane_of(connection, "other", NOW)
    await make_run(connection, numbers(10), [lane])
    assert await claim_all(connection, other) == []


async def test_what_cannot_be_read_does_not_keep_the_others_from_leaving(connection: Any, lane: int) -> None:
    """Case 22 of the write protocol."""
    await make_run(connection, numbers(3000), [lane])
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM chunk ORDER BY id")]
    await connection.execute("UPDATE chunk_payload SET msisdn = ARRAY[1, NULL]::bigint[] WHERE chunk_id = $1", ids[0])
    await connection.execute("DELETE FROM chunk_payload WHERE chunk_id = $1", ids[1])
    taken: Claimed = await queue.claim(connection, lane, "w1", NOW, 10)
    assert [batch.chunk_id for batch in taken.batches] == ids[2:]
    assert {(chunk_id, epoch) for chunk_id, epoch, _ in taken.unread} == {(ids[0], 1), (ids[1], 1)}
    await queue.hold(connection, lane, [(chunk_id, epoch) for chunk_id, epoch, _ in taken.unread])
    assert (await chunk(connection, ids[0]))["state"] == ChunkState.HELD
    assert await claim_all(connection, lane) == []


async def test_a_claim_without_an_answer_is_given_back_by_its_owner_alone(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(3000), [lane])
    lost, kept = (await queue.claim(connection, lane, "w1", NOW, 2)).batches
    assert await queue.disown(connection, lane, "w2", []) == 0
    assert await queue.disown(connection, lane, "w1", [kept.chunk_id]) == 1
    assert (await chunk(connection, lost.chunk_id))["state"] == ChunkState.READY
    assert (await chunk(connection, kept.chunk_id))["state"] == ChunkState.CLAIMED


# -- advance, finish, release, hold -----------------------------------------------------------------------------------


async def test_watermark_moves_only_for_the_epoch_that_owns_the_chunk(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(100), [lane])
    first = await claim_one(connection, lane)
    mark = (first.chunk_id, first.epoch, 10)
    assert await queue.advance(connection, lane, [mark]) == {first.chunk_id}
    assert await queue.rescue(connection, lane, ["w1"], NOW) == (1, 10)
    second = await claim_one(connection, lane, "w2")
    assert second.epoch == first.epoch + 2 and second.next_rank == 10
    assert await queue.advance(connection, lane, [(first.chunk_id, first.epoch, 90)]) == set()
    assert (await chunk(connection, first.chunk_id))["sent_upto"] == 10
    await queue.flush(connection, lane, flush_of(finished=((first.chunk_id, first.epoch),)))
    await queue.release(connection, lane, [(first.chunk_id, first.epoch, 0)])
    await queue.hold(connection, lane, [(first.chunk_id, first.epoch)])
    row = await chunk(connection, first.chunk_id)
    assert (row["state"], row["owner"], row["sent_upto"]) == (ChunkState.CLAIMED, "w2", 10)


async def test_of_two_marks_for_one_chunk_the_higher_counts_in_any_order(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(100), [lane])
    batch = await claim_one(connection, lane)
    for low, high in ((10, 20), (40, 30)):
        marks = tuple((batch.chunk_id, batch.epoch, upto) for upto in (low, high))
        await queue.advance(connection, lane, marks)
        assert (await chunk(connection, batch.chunk_id))["sent_upto"] == max(low, high)


async def test_a_watermark_never_goes_back(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(100), [lane])
    batch = await claim_one(connection, lane)
    for upto in (50, 20):
        await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, upto)])
    assert (await chunk(connection, batch.chunk_id))["sent_upto"] == 50


async def test_released_chunk_goes_on_exactly_where_it_stopped(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(100), [lane])
    batch = await claim_one(connection, lane)
    await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, 60)])
    await queue.release(connection, lane, [(batch.chunk_id, batch.epoch, 41)])
    again = await claim_one(connection, lane, "w2")
    assert again.next_rank == 41
    assert again.ranks(41, 100) == batch.ranks(41, 100)
    await queue.release(connection, lane, [(again.chunk_id, again.epoch, 100)])
    assert (await chunk(connection, batch.chunk_id))["state"] == ChunkState.DONE


async def test_finished_chunk_is_done_and_owned_by_nobody(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(100), [lane])
    batch = await claim_one(connection, lane)
    await queue.flush(connection, lane, flush_of(finished=((batch.chunk_id, batch.epoch),)))
    row = await chunk(connection, batch.chunk_id)
    assert (row["state"], row["sent_upto"], row["owner"]) == (ChunkState.DONE, 100, None)


# -- flush ------------------------------------------------------------------------------------------------------------


async def test_a_flush_is_written_once_whatever_is_repeated(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(10), [lane])
    batch = await claim_one(connection, lane)
    message = Arrival(
        id=7,
        at=NOW,
        command="deliver_sm",
        source="44",
        destination="1",
        esm_class=0,
        data_coding=0,
        octets=b"",
        pdu=b"",
        fingerprint=b"f",
    )
    once = flush_of(
        outcomes=outcomes(lane, [(batch.chunk_id, 0, 1, 1, 0, b"id")]),
        inbound=Came(
            at=NOW,
            join=lambda parts, now: Joined([], []),
            dedupe=timedelta(seconds=600),
            parts_timeout=timedelta(days=1),
            arrivals=(message,),
        ),
    )
    assert not await queue.flush_known(connection, lane, once.id)
    await queue.flush(connection, lane, once)
    assert await queue.flush_known(connection, lane, once.id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await queue.flush(connection, lane, once)
    for table in ("outcome", "inbound", "flush"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 1
    await queue.forget_flushes(connection, lane, NOW + timedelta(seconds=1))
    assert not await queue.flush_known(connection, lane, once.id)


async def test_repeat_of_a_flush_waits_for_the_transaction_before_it(
    database: Database, connection: Any, lane: int
) -> None:
    """A worker whose COMMIT is still under way on the server it was cut off from must not be told that it is not."""
    once = flush_of(outcomes=outcomes(lane, [(1, 0, 1, 1, 0, b"id")]))
    before = await database.connect()
    transaction = before.transaction()
    await transaction.start()
    await queue.flush(before, lane, once)
    repeat = asyncio.create_task(queue.flush(connection, lane, once))
    while not await database.waits():
        await asyncio.sleep(0)
    assert not repeat.done()
    await transaction.commit()
    with pytest.raises(asyncpg.UniqueViolationError):
        await repeat
    assert await connection.fetchval("SELECT count(*) FROM outcome") == 1
    before.terminate()


async def test_a_broken_row_leaves_nothing_of_its_flush(connection: Any, lane: int) -> None:
    far = NOW + timedelta(days=3000)
    broken = flush_of(outcomes=outcomes(lane, [(1, 0, 1, 1, 0, b"id")], at=far))
    with pytest.raises(StoreError, match="partition"):
        async with postgres.deadline(connection, 5.0):
            await queue.flush(connection, lane, broken)
    assert not await queue.flush_known(connection, lane, broken.id)


# -- rescue: the crash rule -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7, 997, 1000, 1024])
async def test_order_of_sending_in_the_compiled_room_is_that_of_the_statement(
    connection: Any, lane: int, n: int
) -> None:
    await make_run(connection, numbers(n), [lane])
    for batch in await claim_all(connection, lane):
        upto = batch.n // 2 + 1
        await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, upto)])
        assert await queue.rescue(connection, lane, ["w1"], NOW) == (1, upto)
        assert await in_doubt(connection, batch.chunk_id) == {(pos, 0) for pos in batch.ranks(0, upto)}
        assert sorted(batch.ranks(0, batch.n)) == list(range(batch.n))
        assert batch.stride == stride_of(batch.n)


async def test_below_the_watermark_and_without_outcome_is_in_doubt_above_it_was_never_sent(
    connection: Any, lane: int
) -> None:
    run = await make_run(connection, numbers(20), [lane])
    batch = await claim_one(connection, lane)
    sent = batch.ranks(0, 8)
    answered, refused, silent = sent[:3], sent[3:5], sent[5:]
    rows = [(batch.chunk_id, pos, 1, 1, 0, b"id%d" % pos) for pos in answered]
    rows += [(batch.chunk_id, pos, 0, 0, -3, None) for pos in refused]
    await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, 8)])
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows)))
    assert await queue.rescue(connection, lane, ["w1"], NOW) == (1, 3)
    assert await in_doubt(connection, batch.chunk_id) == {(pos, 0) for pos in silent}
    again = await claim_one(connection, lane, "w2")
    assert again.next_rank == 8
    assert await states(connection, run) == {"submitted": 3, "refused": 2, "uncertain": 3}


async def test_of_a_long_message_only_the_segments_without_answer_are_in_doubt(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(5), [lane])
    batch = await claim_one(connection, lane)
    whole, part, none = batch.ranks(0, 3)
    rows = [(batch.chunk_id, whole, s, 3, 0, b"w%d" % s) for s in (1, 2, 3)]
    rows += [(batch.chunk_id, part, 2, 3, 0, b"p")]
    await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, 3)])
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows)))
    assert await queue.rescue(connection, lane, ["w1"], NOW) == (1, 3)
    assert await in_doubt(connection, batch.chunk_id) == {(part, 1), (part, 3), (none, 0)}
    # What is in doubt once stays so once.
    second = await claim_one(connection, lane, "w2")
    assert await queue.rescue(connection, lane, ["w2"], NOW) == (1, 0)
    assert len(await in_doubt(connection, second.chunk_id)) == 3


async def test_only_chunks_of_owners_that_are_known_to_be_dead_are_taken(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(5), [lane])
    batch = await claim_one(connection, lane)
    assert await queue.claim_owners(connection, lane) == ["w1"]
    assert await queue.rescue(connection, lane, ["somebody else"], NOW) == (0, 0)
    assert await queue.rescue(connection, lane, ["w1"], NOW) == (1, 0)
    assert await queue.claim_owners(connection, lane) == []
    assert (await chunk(connection, batch.chunk_id))["state"] == ChunkState.READY


async def test_outcomes_as_old_as_the_first_claim_are_still_seen(connection: Any, lane: int) -> None:
    """A chunk that was begun before a carrier was down for a week must not be doubted for what was done then."""
    past = NOW - timedelta(days=7)
    await runs.ensure_partitions(connection, past)
    await make_run(connection, numbers(10), [lane], now=past)
    batch = await claim_one(connection, lane, at=past)
    done = batch.ranks(0, 4)
    rows = [(batch.chunk_id, pos, 1, 1, 0, b"id%d" % pos) for pos in done]
    await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, 4)])
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows, at=past)))
    await queue.release(connection, lane, [(batch.chunk_id, batch.epoch, 4)])
    again = await claim_one(connection, lane, "w2")
    await queue.advance(connection, lane, [(again.chunk_id, again.epoch, 6)])
    assert await queue.rescue(connection, lane, ["w2"], NOW) == (1, 2)
    assert await in_doubt(connection, batch.chunk_id) == {(pos, 0) for pos in batch.ranks(4, 6)}


async def test_two_rescuers_doubt_once(database: Database, connection: Any, lane: int) -> None:
    await make_run(connection, numbers(5000), [lane])
    for batch in await claim_all(connection, lane):
        await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, batch.n)])
    others = [await database.connect() for _ in range(4)]
    found = await asyncio.gather(*(queue.rescue(other, lane, ["w1"], NOW) for other in others))
    assert sum(doubted for _, doubted in found) == 5000
    assert await connection.fetchval("SELECT count(*) FROM outcome") == 5000
    for other in others:
        other.terminate()


# -- match and adopt --------------------------------------------------------------------------------------------------


async def accepted(connection: Any, lane: int, *message_ids: bytes, count: int = 10) -> Batch:
    """A chunk whose first positions were accepted with these ids."""
    await make_run(connection, numbers(count), [lane])
    batch = await claim_one(connection, lane)
    rows = [(batch.chunk_id, pos, 1, 1, 0, message_id) for pos, message_id in enumerate(message_ids)]
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows)))
    return batch


async def test_an_early_receipt_waits_for_its_response_and_a_strange_one_stays(connection: Any, lane: int) -> None:
    await wait_for_receipt(connection, lane, "a1")
    await wait_for_receipt(connection, lane, "not ours")
    assert await match(connection, lane) == 0
    batch = await accepted(connection, lane, b"a0", b"a1")
    assert await match(connection, lane) == 1
    assert await match(connection, lane) == 0
    assert [tuple(row) for row in await connection.fetch("SELECT chunk_id, pos, segment, state FROM receipt")] == [
        (batch.chunk_id, 1, 1, 2)
    ]
    assert [row[0] for row in await connection.fetch("SELECT message_id FROM receipt_waiting")] == ["not ours"]
    assert await queue.any_waiting(connection, lane)


async def test_receipts_of_a_process_before_this_one_find_their_segments(connection: Any, lane: int) -> None:
    batch = await accepted(connection, lane, b"a0", b"a1", b"a2")
    assert await queue.rescue(connection, lane, ["w1"], NOW) == (1, 0)
    for message_id, state in (("a0", 1), ("a0", 2), ("a2", 5)):
        await wait_for_receipt(connection, lane, message_id, state=state)
    assert await match(connection, lane) == 3
    found = {tuple(row) for row in await connection.fetch("SELECT chunk_id, pos, state FROM receipt")}
    assert found == {(batch.chunk_id, 0, 1), (batch.chunk_id, 0, 2), (batch.chunk_id, 2, 5)}


async def test_of_two_segments_with_one_message_id_the_newest_gets_the_receipt_once(connection: Any, lane: int) -> None:
    """Case 6 of the write protocol."""
    old = await accepted(connection, lane, b"same")
    await make_run(connection, numbers(3), [lane])
    young = await claim_one(connection, lane)
    rows = outcomes(lane, [(young.chunk_id, 2, 1, 1, 0, b"same")], at=NOW + timedelta(seconds=1))
    await queue.flush(connection, lane, flush_of(outcomes=rows))
    await wait_for_receipt(connection, lane, "same")
    assert await match(connection, lane) == 1
    assert old.chunk_id != young.chunk_id
    assert [tuple(row) for row in await connection.fetch("SELECT chunk_id, pos FROM receipt")] == [(young.chunk_id, 2)]
    assert not await queue.any_waiting(connection, lane)


async def test_a_receipt_of_another_lane_is_not_taken(connection: Any, lane: int) -> None:
    other = await runs.lane_of(connection, "other", NOW)
    await accepted(connection, lane, b"a0")
    await wait_for_receipt(connection, other, "a0")
    assert await match(connection, lane) == 0
    assert await match(connection, other) == 0


async def doubted(connection: Any, lane: int, people: Any, policy: Policy = Policy.ONCE, **how: Any) -> Batch:
    """A chunk of which all was sent and nothing answered."""
    await make_run(connection, people, [lane], policy=policy, **how)
    batch = await claim_one(connection, lane)
    await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, batch.n)])
    await queue.rescue(connection, lane, ["w1"], NOW)
    return batch


SLACK = timedelta(seconds=60)


async def test_the_one_receipt_for_the_one_number_in_doubt_is_adopted_and_those_after_it_match(
    connection: Any, lane: int
) -> None:
    run_of = await doubted(connection, lane, numbers(3))
    number = run_of.number(1)
    await wait_for_receipt(connection, lane, "x1", state=1, number=number)
    assert await queue.adopt(connection, lane, NOW, SLACK) == 1
    await wait_for_receipt(connection, lane, "x1", state=2, number=number)
    assert await match(connection, lane) == 1
    run = await runs.run_by_id(connection, run_of.run)
    assert run is not None
    assert await states(connection, run) == {"delivered": 1, "uncertain": 2}


async def test_a_receipt_is_not_adopted_where_the_evidence_is_not_alone(connection: Any, lane: int) -> None:
    first = await doubted(connection, lane, numbers(5))
    contested, twice, old, fresh, none = (first.number(pos) for pos in range(5))
    await doubted(connection, lane, [contested])
    await wait_for_receipt(connection, lane, "a", number=contested)
    # Two messages to one number: which of them was ours? The second has not waited long enough to be counted alone.
    await wait_for_receipt(connection, lane, "b", number=twice)
    await wait_for_receipt(connection, lane, "c", number=twice, at=NOW + timedelta(seconds=10))
    await wait_for_receipt(connection, lane, "d", number=old, at=NOW - timedelta(hours=1))
    await wait_for_receipt(connection, lane, "e", number=fresh, at=NOW + timedelta(seconds=10))
    await wait_for_receipt(connection, lane, "f", number=None)
    assert await queue.adopt(connection, lane, NOW, SLACK) == 0
    assert none and await connection.fetchval("SELECT count(*) FROM receipt_waiting") == 6


async def test_a_segment_whose_answer_came_late_adopts_nothing(connection: Any, lane: int) -> None:
    batch = await doubted(connection, lane, numbers(1))
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, [(batch.chunk_id, 0, 1, 1, 0, b"late")])))
    await wait_for_receipt(connection, lane, "strange", number=batch.number(0))
    assert await queue.adopt(connection, lane, NOW, SLACK) == 0


async def test_quirk_8_a_segment_accepted_without_an_id_adopts_the_one_receipt_for_its_number(
    connection: Any, lane: int
) -> None:
    await make_run(connection, numbers(4), [lane])
    batch = await claim_one(connection, lane)
    one, twice, two_told, old = (batch.number(pos) for pos in range(4))
    rows = [(batch.chunk_id, pos, 1, 1, 0, None) for pos in range(4)]
    rows.append((batch.chunk_id, 1, 2, 2, 0, None))
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows)))
    await wait_for_receipt(connection, lane, "a", state=1, number=one)
    await wait_for_receipt(connection, lane, "b", number=twice)
    await wait_for_receipt(connection, lane, "c", number=two_told)
    await wait_for_receipt(connection, lane, "d", number=two_told)
    await wait_for_receipt(connection, lane, "e", number=old, at=NOW - timedelta(hours=1))
    assert await queue.adopt(connection, lane, NOW, SLACK) == 0
    assert await queue.adopt(connection, lane, NOW, SLACK, nameless_since=NOW + timedelta(seconds=1)) == 0
    assert await queue.adopt(connection, lane, NOW, SLACK, nameless_since=NOW - SLACK) == 1
    # It has an id now: its next receipt is matched by it, and no other is adopted for it.
    await wait_for_receipt(connection, lane, "a", state=2, number=one)
    await wait_for_receipt(connection, lane, "f", number=one)
    assert await match(connection, lane) == 1
    assert await queue.adopt(connection, lane, NOW, SLACK, nameless_since=NOW - SLACK) == 0
    found = await connection.fetch("SELECT pos, state, source FROM receipt ORDER BY state")
    assert [tuple(row) for row in found] == [(0, 1, "adopted"), (0, 2, None)]


# -- repeat -----------------------------------------------------------------------------------------------------------

EVIL = ['{"a": 1}', "a,b", 'quo"te', "back\\slash", "{}", "NULL", "", " ", "Zoë 🎉", "line\nbreak", None]


async def test_what_is_in_doubt_is_repeated_once_with_its_own_numbers_and_values(connection: Any, lane: int) -> None:
    people = {number: {"x": EVIL[number % len(EVIL)], "y": str(number)} for number in numbers(40)}
    people = {n: {k: v for k, v in values.items() if v is not None} for n, values in people.items()}
    batch = await doubted(
        connection, lane, people, Policy.AT_LEAST_ONCE, template="{{ x|default('-') }} {{ y }}", fields=("x", "y")
    )
    answered = [3, 17]
    rows = [(batch.chunk_id, pos, 1, 1, 0, b"late%d" % pos) for pos in answered]
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows)))
    assert await queue.repeat(connection, lane, NOW - timedelta(seconds=1), NOW) == 0
    assert await queue.repeat(connection, lane, NOW, NOW) == 38
    assert await queue.repeat(connection, lane, NOW, NOW) == 0
    copy = await claim_one(connection, lane, "w2")
    row = await chunk(connection, copy.chunk_id)
    assert (copy.n, row["repeats"], copy.run) == (38, batch.chunk_id, batch.run)
    sent = {batch.number(pos): batch.values(pos) for pos in range(40) if pos not in answered}
    assert {copy.number(pos): copy.values(pos) for pos in range(38)} == sent
    run = await runs.run_by_id(connection, batch.run)
    assert run is not None
    await queue.advance(connection, lane, [(copy.chunk_id, copy.epoch, 38)])
    await queue.rescue(connection, lane, ["w2"], NOW)
    counted = await states(connection, run)
    assert counted == {"submitted": 2, "uncertain": 38} and sum(counted.values()) == run.recipients
    # A repeat that is in doubt itself is repeated, too: at least once.
    assert await queue.repeat(connection, lane, NOW, NOW) == 38


async def test_a_chunk_without_fields_is_repeated(connection: Any, lane: int) -> None:
    batch = await doubted(connection, lane, numbers(5), Policy.AT_LEAST_ONCE)
    assert await queue.repeat(connection, lane, NOW, NOW) == 5
    copy = await claim_one(connection, lane, "w2")
    assert sorted(copy.number(pos) for pos in range(5)) == sorted(batch.number(pos) for pos in range(5))
    assert copy.columns == 0


@pytest.mark.parametrize("policy", [Policy.ONCE, Policy.ASK])
async def test_other_policies_never_send_again(connection: Any, lane: int, policy: Policy) -> None:
    await doubted(connection, lane, numbers(5), policy)
    assert await queue.repeat(connection, lane, NOW + timedelta(days=1), NOW) == 0


async def test_an_expired_run_is_not_repeated(connection: Any, lane: int) -> None:
    await doubted(connection, lane, numbers(5), Policy.AT_LEAST_ONCE, lifetime=timedelta(minutes=1))
    assert await queue.repeat(connection, lane, NOW, NOW + timedelta(minutes=2)) == 0
    assert await queue.repeat(connection, lane, NOW, NOW) == 5


async def test_what_waited_goes_back_to_the_queue_once_from_its_sender_and_only_from_its_owner(
    connection: Any, lane: int
) -> None:
    run = await make_run(connection, numbers(10), [lane])
    await connection.execute("UPDATE chunk SET source = 'ACME', country = 7, fallback = '{5}' WHERE run = $1", run.id)
    batch = await claim_one(connection, lane)
    assert await queue.requeue(connection, lane, batch.chunk_id, batch.epoch + 1, [2, 5], NOW) == 0
    assert await queue.requeue(connection, lane, batch.chunk_id, batch.epoch, [2, 5], NOW) == 2
    assert await queue.requeue(connection, lane, batch.chunk_id, batch.epoch, [2, 5], NOW) == 0
    copy = await claim_one(connection, lane, "w2")
    row = await chunk(connection, copy.chunk_id)
    assert {copy.number(0), copy.number(1)} == {batch.number(2), batch.number(5)}
    assert (row["source"], row["country"], row["fallback"], row["repeats"]) == ("ACME", 7, [5], batch.chunk_id)
    fresh = await runs.run_by_id(connection, run.id)
    assert fresh is not None and fresh.recipients == 10


async def test_racing_repeats_send_each_position_once(database: Database, connection: Any, lane: int) -> None:
    await doubted(connection, lane, numbers(500), Policy.AT_LEAST_ONCE)
    others = [await database.connect() for _ in range(4)]
    found = await asyncio.gather(*(queue.repeat(other, lane, NOW, NOW) for other in others), return_exceptions=True)
    # Who chose the same id for the copy loses all of it, and finds nothing to do the next time.
    assert all(isinstance(one, int | asyncpg.UniqueViolationError) for one in found)
    assert sum(one for one in found if isinstance(one, int)) == 500
    assert await connection.fetchval("SELECT sum(n) FROM chunk WHERE repeats IS NOT NULL") == 500
    for other in others:
        other.terminate()


# -- the shape of the statements --------------------------------------------------------------------------------------


@ON_POSTGRES
async def test_every_statement_is_understood_by_the_server(connection: Any) -> None:
    for name, one in all_queries().items():
        prepared = await connection.prepare(one.sql)
        assert prepared.get_parameters() is not None, name


async def test_claims_of_a_random_life_never_give_a_position_twice(connection: Any, lane: int) -> None:
    """Claim, move on, release, lose, rescue at random: what is handed out is each position once, or in doubt."""
    chance = random.Random(7)
    await make_run(connection, numbers(300), [lane])
    handed: dict[int, int] = {}
    for step in range(60):
        owner = f"w{step}"
        batches = (await queue.claim(connection, lane, owner, NOW, 1)).batches
        if not batches:
            break
        batch = batches[0]
        upto = min(batch.n, batch.next_rank + chance.randint(1, 20))
        await queue.advance(connection, lane, [(batch.chunk_id, batch.epoch, upto)])
        sent = batch.ranks(batch.next_rank, chance.randint(batch.next_rank, upto))
        for pos in sent:
            handed[pos] = handed.get(pos, 0) + 1
        rows = [(batch.chunk_id, pos, 1, 1, 0, b"%d" % pos) for pos in sent]
        if rows:
            await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows)))
        if chance.random() < 0.5:
            await queue.release(connection, lane, [(batch.chunk_id, batch.epoch, batch.next_rank + len(sent))])
        else:
            await queue.rescue(connection, lane, [owner], NOW)
    doubts = {pos for pos, _ in await in_doubt(connection, batch.chunk_id)}
    assert set(handed.values()) == {1}
    assert doubts.isdisjoint(handed) and doubts | set(handed) == set(range(300))


async def test_a_claim_takes_no_more_than_it_asks_for_before_the_planner_knows_the_table(
    connection: Any, lane: int
) -> None:
    """Without statistics a join runs its inner side once a row, and each run of a LIMIT finds other rows."""
    await make_run(connection, numbers(5000), [lane])
    await connection.execute("SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_hashagg = off")
    assert len((await queue.claim(connection, lane, "w1", NOW, 2)).batches) == 2
    assert await connection.fetchval("SELECT count(*) FROM chunk WHERE state = 1") == 2


# -- ids in other forms, and receipts nobody claims -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "response", "receipt"),
    [
        ("verbatim", b"SAR-2347-2-1", "SAR-2347-2-1"),
        ("loose", b"00B8BE19x", "b8be19X"),
        ("hex", b"812FC7470000001B", "9308878062554710043"),
        ("decimal", b"870928761", "33E95179"),
    ],
)
async def test_an_early_receipt_finds_its_segment_in_whichever_form_it_spells_the_id(
    connection: Any, lane: int, rule: str, response: bytes, receipt: str
) -> None:
    """Receipt forms 16 to 19, as the compiled path does it (tests/fastpath/test_recall.py)."""
    batch = await accepted(connection, lane, response)
    since = NOW - timedelta(hours=1)
    await wait_for_receipt(connection, lane, receipt, number=999_999_999_999)
    if rule != "verbatim":
        assert await queue.match(connection, lane, since) == {}
        await wait_for_receipt(connection, lane, receipt, number=12345, other=batch.number(0) % 10**10)
    assert await queue.match(connection, lane, since) == {rule: 1}
    assert await queue.match(connection, lane, since, rule=rule, fixed=True) == (
        {rule: 1} if rule != "verbatim" else {}
    )


async def test_an_id_of_two_messages_goes_to_the_one_it_names_or_waits(connection: Any, lane: int) -> None:
    batch = await accepted(connection, lane, b"16", b"10")
    since = NOW - timedelta(hours=1)
    await wait_for_receipt(connection, lane, "16", number=123456789012)
    await wait_for_receipt(connection, lane, "16")
    assert await queue.match(connection, lane, since) == {}
    await wait_for_receipt(connection, lane, "16", number=batch.number(1))
    await wait_for_receipt(connection, lane, "16", number=batch.number(0))
    assert await queue.match(connection, lane, since) == {"hex": 1, "verbatim": 1}
    found = await connection.fetch("SELECT pos, number FROM receipt ORDER BY pos")
    assert [tuple(row) for row in found] == [(0, batch.number(0)), (1, batch.number(1))]
    # What is learnt is believed by itself.
    assert await queue.match(connection, lane, since, rule="hex") == {"hex": 2}


async def test_a_fast_round_looks_by_the_learnt_rule_alone(connection: Any, lane: int) -> None:
    batch = await accepted(connection, lane, b"33e95179")
    await wait_for_receipt(connection, lane, "870928761", number=batch.number(0))
    since = NOW - timedelta(hours=1)
    assert await queue.match(connection, lane, since, rule="verbatim", every=False) == {}
    assert await queue.match(connection, lane, since, rule="verbatim") == {"hex": 1}


async def test_receipts_that_waited_for_days_are_set_aside_and_the_others_stay(connection: Any, lane: int) -> None:
    for age in range(5):
        await wait_for_receipt(connection, lane, f"stranger {age}", at=NOW - timedelta(days=age), other=7)
    before = NOW - timedelta(days=2, hours=12)
    assert await queue.orphan(connection, lane, before, 1) == 2
    assert await queue.orphan(connection, lane, before) == 0
    rows = await connection.fetch("SELECT message_id, other FROM orphan_receipt ORDER BY at")
    assert [tuple(row) for row in rows] == [("stranger 4", 7), ("stranger 3", 7)]
    assert await connection.fetchval("SELECT count(*) FROM receipt_waiting") == 3


async def test_the_first_rule_that_is_learnt_stays(connection: Any, lane: int) -> None:
    assert await queue.receipt_rule(connection, lane) == "auto"
    await queue.keep_receipt_habit(connection, lane, delivered_wins=True, unknown_is_final=False, deadline_s=None)
    for rule in ("hex", "loose"):
        await queue.learn_receipt_rule(connection, lane, rule, NOW)
    await queue.keep_receipt_habit(connection, lane, delivered_wins=False, unknown_is_final=False, deadline_s=1.0)
    assert await queue.receipt_rule(connection, lane) == "hex"


async def test_receipts_that_several_segments_in_doubt_might_claim_are_counted(connection: Any, lane: int) -> None:
    first = await doubted(connection, lane, numbers(2))
    await doubted(connection, lane, [first.number(0)])
    await wait_for_receipt(connection, lane, "a", number=first.number(0))
    assert await queue.adopt(connection, lane, NOW, SLACK) == 0
    assert await queue.contested(connection, lane, NOW) == 1
    await wait_for_receipt(connection, lane, "b", number=5, other=first.number(1) % 10**10)
    assert await queue.adopt(connection, lane, NOW, SLACK) == 1


# -- queries ----------------------------------------------------------------------------------------------------------


async def unheard_of(connection: Any, lane: int, **how: Any) -> list[tuple[int, int]]:
    how = {"behind": None, "asked_since": NOW - timedelta(hours=1), "unknown_is_final": False, **how}
    since, until, limit = how.pop("since", NOW - timedelta(hours=1)), how.pop("until", LATER), how.pop("limit", 100)
    found = await queue.unheard(connection, lane, since, until, limit, **how)
    return [(one.pos, one.segment) for one in found]


async def test_unheard_are_accepted_segments_with_an_id_of_that_time_and_lane_whose_end_is_unknown(
    connection: Any, lane: int
) -> None:
    await make_run(connection, numbers(100), [lane])
    batch = await claim_one(connection, lane)
    rows = [(batch.chunk_id, 0, 1, 2, 0, b"a"), (batch.chunk_id, 0, 2, 2, 0, b"b"), (batch.chunk_id, 1, 1, 1, 0, b"c")]
    rows += [
        (batch.chunk_id, 2, 1, 1, 0, None),
        (batch.chunk_id, 3, 1, 1, 11, None),
        (batch.chunk_id, 4, 1, 1, -1, None),
    ]
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, rows)))
    assert await unheard_of(connection, lane) == [(0, 1), (0, 2), (1, 1)]
    assert await unheard_of(connection, lane, until=NOW) == []
    assert await unheard_of(connection, lane, since=NOW + timedelta(seconds=1)) == []
    assert await unheard_of(connection, lane + 1) == []
    assert await unheard_of(connection, lane, limit=2) == [(0, 1), (0, 2)]
    first, *_ = await queue.unheard(
        connection, lane, NOW - timedelta(hours=1), LATER, 1,
        behind=None, asked_since=NOW, unknown_is_final=False,
    )  # fmt: skip
    assert first.message_id == "a" and await unheard_of(connection, lane, behind=first) == [(0, 2), (1, 1)]


@pytest.mark.parametrize(
    ("state", "source", "unknown_is_final", "is_asked"),
    [
        (1, None, False, True),
        (2, None, False, False),
        (5, "query", False, False),
        (7, None, False, True),
        (7, None, True, False),
        (1, "query", False, False),
    ],
)
async def test_a_segment_is_asked_for_until_its_end_is_known_and_again_an_hour_after_an_answer_that_is_none(
    connection: Any, lane: int, state: int, source: str | None, unknown_is_final: bool, is_asked: bool
) -> None:
    await make_run(connection, numbers(100), [lane])
    batch = await claim_one(connection, lane)
    await queue.flush(connection, lane, flush_of(outcomes=outcomes(lane, [(batch.chunk_id, 0, 1, 1, 0, b"a")])))
    how = {"asked_since": NOW - timedelta(hours=1), "unknown_is_final": unknown_is_final}
    (one,) = await queue.unheard(connection, lane, NOW - timedelta(hours=1), LATER, 9, behind=None, **how)
    assert await queue.heard(connection, lane, [one], **how) == set()
    told = queue.Queried(of=one, at=NOW, state=state, err="000", done_at=NOW)
    await queue.add_queried(connection, lane, [told])
    await connection.execute("UPDATE receipt SET source = $1", source)
    assert await unheard_of(connection, lane, **how) == ([(0, 1)] if is_asked else [])
    assert await queue.heard(connection, lane, [one], **how) == (set() if is_asked else {one.key})
    if source == "query" and state == 1:
        how["asked_since"] = NOW + timedelta(seconds=1)
        assert await unheard_of(connection, lane, **how) == [(0, 1)]
        assert await queue.heard(connection, lane, [one], **how) == set()
