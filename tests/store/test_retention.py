"""What is kept for how long: the same counts before and after a roll, and nothing counted twice."""

import asyncio
import random
from array import array
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath import peoplerows
from gateway.message import ChunkState, Policy, ReceiptPolicy
from gateway.store import control, people, postgres, queue, results, retention, runs, traces
from gateway.store.runs import Run
from tests.fixtures import campaign
from tests.fixtures.campaign import numbers

DAY = timedelta(days=1)
# A moment before midnight: what is written around it stands in two days.
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
NOW = MIDNIGHT - timedelta(seconds=30)
LATER = MIDNIGHT + 40 * DAY


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    for day in range(3):
        await runs.ensure_partitions(opened, NOW + day * DAY)
    yield opened
    opened.terminate()


async def write_life(connection: Any, chance: random.Random, lane: int) -> None:
    """Give every position of every chunk of a lane some history: answers, doubt, receipts, contradictions."""
    outcomes, receipts = [], []
    for chunk in await connection.fetch("SELECT id, n FROM chunk WHERE lane = $1 ORDER BY id", lane):
        for pos in range(chunk["n"]):
            at = NOW + timedelta(seconds=chance.uniform(0, 60))
            kind = chance.choice(("plain", "plain", "long", "doubt", "crash", "refused", "rejected", "nothing", "cut"))
            if kind == "nothing":
                continue
            segments = chance.choice((2, 3)) if kind in ("long", "crash") else 1
            if kind == "refused":
                status = chance.choice((-10, -11, -13))
                outcomes.append((lane, chunk["id"], pos, 0, segments if status != -11 else 300, status, at, 0))
                continue
            if kind == "cut":
                # A part is refused for good, and the rest is not sent.
                outcomes += [
                    (lane, chunk["id"], pos, segment, 3, status, at, 900)
                    for segment, status in enumerate(chance.choice(((0, 0x45, -17), (0x45, -17, -17))), 1)
                ]
                continue
            if kind == "crash":
                outcomes.append((lane, chunk["id"], pos, 0, 0, -1, at, 0))
            for segment in range(1, segments + 1):
                at += timedelta(seconds=chance.uniform(0, 20))
                if kind == "doubt":
                    outcomes.append((lane, chunk["id"], pos, segment, segments, -1, at, 0))
                    if chance.random() < 0.5:
                        continue
                if kind == "crash" and chance.random() < 0.2:
                    continue
                status = chance.choice((0x45, 0x0B)) if kind == "rejected" and chance.random() < 0.7 else 0
                rtt_us = chance.randrange(800, 90_000)
                outcomes.append((lane, chunk["id"], pos, segment, segments, status, at, rtt_us))
                for _ in range(chance.choice((0, 1, 1, 1, 2, 3)) if status == 0 else 0):
                    said = chance.choice((1, 2, 2, 2, 2, 3, 4, 5, 7, 8, -1))
                    heard = at + timedelta(seconds=chance.uniform(-2, 86_000))
                    receipts.append((lane, chunk["id"], pos, chance.choice((segment, segment, 0)), heard, said))
    await connection.executemany(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
        "VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8)",
        outcomes,
    )
    await connection.executemany(
        "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state) VALUES ($1, $2, $3, $4, $5, $6)", receipts
    )
    await connection.execute(
        "UPDATE chunk SET state = 2, sent_upto = n, first_claimed_at = $2 WHERE lane = $1", lane, NOW
    )


async def roll_day(connection: Any, lane: int, begin: datetime, now: datetime = LATER) -> int:
    """Roll all of one lane and day."""
    day = retention.Partition(table="outcome", name="", begin=begin)
    ids = [chunk_id for chunk_id, _ in await retention.unrolled(connection, lane, day, -1)]
    return await retention.roll(connection, lane, ids, day, now) if ids else 0


async def drop_all(connection: Any) -> None:
    for partition in await retention.partitions(connection):
        assert await retention.drop(connection, partition)
    await runs.ensure_partitions(connection, LATER)


async def told(connection: Any, run: Run) -> tuple[Any, ...]:
    """All that a report of a run says, times apart."""
    since = run.created_at - DAY
    return (
        sorted(
            (c.lane, c.state, c.messages, c.segments) for c in await results.states(connection, run.id, since, LATER)
        ),
        [(r.lane, r.status, r.messages, r.needed) for r in await results.refusals(connection, run.id, since)],
        await results.late_conflicts(connection, run.id, since),
        [
            (one.lane, one.first_at, one.last_at, one.segments)
            for one in await results.latencies(connection, run.id, since)
        ],
    )


async def times(connection: Any, run: Run) -> list[float]:
    """Its percentiles."""
    found = []
    for one in await results.latencies(connection, run.id, run.created_at - DAY):
        assert one.receipt_p50_ms is not None and one.receipt_p99_ms is not None
        found += [one.response_p50_ms, one.response_p99_ms, one.receipt_p50_ms, one.receipt_p99_ms]
    return found


@pytest.mark.parametrize("receipt_policy", list(ReceiptPolicy))
async def test_a_report_reads_the_same_before_and_after_its_rows_are_rolled_and_dropped(
    connection: Any, receipt_policy: ReceiptPolicy
) -> None:
    chance = random.Random(f"retention {receipt_policy}")
    lanes = [await runs.lane_of(connection, name, NOW) for name in ("acme", "other")]
    run = await campaign.make_run(connection, numbers(1500), lanes, now=NOW)
    await connection.execute("UPDATE run SET receipt_policy = $1", receipt_policy)
    await queue.keep_receipt_habit(
        connection,
        lanes[0],
        delivered_wins=True,
        unknown_is_final=True,
        deadline_s=3600.0 if chance.random() < 0.5 else None,
    )
    for lane in lanes:
        await write_life(connection, chance, lane)
    chunk_id = await connection.fetchval("SELECT min(id) FROM chunk WHERE lane = $1", lanes[0])
    await connection.execute(
        "INSERT INTO repeated (lane, chunk_id, pos, by_chunk, at) "
        "SELECT $1, $2, p, 7, $3 FROM generate_series(3, 60) AS p",
        lanes[0], chunk_id, NOW,
    )  # fmt: skip
    before, times_before = await told(connection, run), await times(connection, run)
    assert before[2] > 0 and len(before[0]) > 8 and len(before[1]) >= 6
    rolled = 0
    for begin in (MIDNIGHT - DAY, MIDNIGHT):
        for lane in lanes:
            rolled += await roll_day(connection, lane, begin)
            # In the middle: some of it rolled, some not, nothing dropped.
            assert await told(connection, run) == before
    assert rolled == await connection.fetchval("SELECT count(DISTINCT (lane, chunk_id, pos)) FROM outcome")
    await drop_all(connection)
    assert await told(connection, run) == before
    assert await times(connection, run) == pytest.approx(times_before, rel=0.01)


async def test_a_message_over_midnight_is_rolled_once_and_whole(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await campaign.make_run(connection, numbers(3), [lane], now=NOW)
    chunk_id = await connection.fetchval("SELECT id FROM chunk")
    await connection.executemany(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
        "VALUES ($1, $2, 0, $3, 2, 1, 0, $4, 900)",
        [(lane, chunk_id, 1, MIDNIGHT - timedelta(milliseconds=1)), (lane, chunk_id, 2, MIDNIGHT)],
    )
    before = await told(connection, run)
    assert before[0] == [(lane, "submitted", 1, 2)]
    assert await roll_day(connection, lane, MIDNIGHT - DAY) == 1
    (first, *_) = await retention.partitions(connection)
    assert first.begin < MIDNIGHT and await retention.drop(connection, first)
    assert await told(connection, run) == before
    assert await roll_day(connection, lane, MIDNIGHT) == 0
    assert await told(connection, run) == before


async def test_two_who_roll_the_same_chunks_count_them_once(dsn: str, connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await campaign.make_run(connection, numbers(800), [lane], now=NOW)
    await write_life(connection, random.Random(3), lane)
    before = await told(connection, run)
    others = [await postgres.connect(dsn) for _ in range(3)]
    try:
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM chunk")]
        day = retention.Partition(table="outcome", name="", begin=MIDNIGHT - DAY)
        await asyncio.gather(*(retention.roll(other, lane, ids, day, LATER) for other in others))
    finally:
        for other in others:
            other.terminate()
    assert await told(connection, run) == before


async def test_positions_that_are_rolled_are_not_in_doubt_when_their_chunk_is_rescued(connection: Any) -> None:
    """A chunk that stays open longer than its outcomes are kept: nothing of it is sent twice."""
    lane = await runs.lane_of(connection, "acme", NOW)
    await campaign.make_run(connection, numbers(10), [lane], now=NOW, policy=Policy.AT_LEAST_ONCE)
    chunk_id = await connection.fetchval("SELECT id FROM chunk")
    await connection.execute(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
        "SELECT $1, $2, p, 1, 1, 1, 0, $3, 900 FROM generate_series(0, 9) AS p WHERE p <> 4",
        lane, chunk_id, NOW,
    )  # fmt: skip
    await connection.execute(
        "UPDATE chunk SET state = 1, owner = 'gone', epoch = 1, sent_upto = n, first_claimed_at = $1",
        NOW,
    )
    assert await roll_day(connection, lane, MIDNIGHT - DAY) == 9
    await drop_all(connection)
    chunks, doubted = await queue.rescue(connection, lane, ["gone"], LATER)
    assert (chunks, doubted) == (1, 1)
    assert await connection.fetchval("SELECT pos FROM outcome") == 4


async def test_a_receipt_that_comes_after_its_message_was_rolled_changes_nothing(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await campaign.make_run(connection, numbers(2), [lane], now=NOW)
    chunk_id = await connection.fetchval("SELECT id FROM chunk")
    await connection.execute(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id) "
        "VALUES ($1, $2, 0, 1, 1, 1, 0, $3, 900, 'late')",
        lane, chunk_id, NOW,
    )  # fmt: skip
    await roll_day(connection, lane, MIDNIGHT - DAY)
    await drop_all(connection)
    await connection.execute(
        "INSERT INTO receipt_waiting (lane, at, state, message_id, id_key) VALUES ($1, $2, 2, 'late', 'late')",
        lane,
        LATER,
    )
    assert await queue.match(connection, lane, LATER - DAY) == {}
    await connection.execute(
        "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state) VALUES ($1, $2, 0, 1, $3, 2)",
        lane,
        chunk_id,
        LATER,
    )
    assert (await told(connection, run))[0] == [(lane, "submitted", 1, 1)]
    # It is an orphan after its days, and gone after those of messages.
    assert await queue.orphan(connection, lane, LATER + 7 * DAY) == 1
    assert await retention.forget_receipts(connection, lane, LATER + 30 * DAY) == 1


async def test_a_partition_that_is_read_is_dropped_another_time(dsn: str, connection: Any) -> None:
    (day, *_) = await retention.partitions(connection)
    reader = await postgres.connect(dsn)
    try:
        async with reader.transaction():
            await reader.fetch(f"SELECT FROM {day.table}")
            assert not await retention.drop(connection, day)
        assert await retention.drop(connection, day)
    finally:
        reader.terminate()


async def test_chunks_go_when_nothing_of_them_is_left_in_the_rows_of_messages(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await campaign.make_run(connection, numbers(2000), [lane], now=NOW)
    await write_life(connection, random.Random(4), lane)
    open_one = await connection.fetchval("SELECT max(id) FROM chunk")
    await connection.execute("UPDATE chunk SET state = 3 WHERE id = $1", open_one)
    assert await retention.forget_chunks(connection, lane, LATER, LATER) == 0
    for begin in (MIDNIGHT - DAY, MIDNIGHT):
        await roll_day(connection, lane, begin)
    await drop_all(connection)
    before = await told(connection, run)
    chunks = await connection.fetchval("SELECT count(*) FROM chunk")
    # Positions of which nothing ever came are there: the last roll has to be old.
    assert await retention.forget_chunks(connection, lane, LATER, LATER) == 0
    assert await retention.forget_chunks(connection, lane, LATER, LATER + DAY) == chunks - 1
    left = "SELECT (SELECT count(*) FROM chunk), (SELECT count(*) FROM chunk_payload), (SELECT count(*) FROM result)"
    assert tuple(await connection.fetchrow(left)) == (1, 1, 1)
    assert await told(connection, run) == before
    assert await retention.forget_runs(connection, [lane], LATER) == 0
    await connection.execute("UPDATE chunk SET state = 4")
    assert await retention.forget_chunks(connection, lane, LATER, LATER + DAY) == 1
    assert await retention.forget_runs(connection, [lane], LATER) == 1
    assert not await connection.fetchval("SELECT count(*) FROM counter")


async def test_payload_goes_from_closed_chunks_alone(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    await campaign.make_run(connection, numbers(2500), [lane], now=NOW)
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM chunk ORDER BY id")]
    await connection.execute("UPDATE chunk SET state = 2 WHERE id = $1", ids[0])
    await connection.execute("UPDATE chunk SET state = 5 WHERE id = $1", ids[1])
    await connection.execute(
        "INSERT INTO transfer (lane, chunk_id, to_lane, fallback, from_rank, why, at) "
        "VALUES ($1, $2, 9, '{}', 0, 'closed', $3)",
        lane, ids[1], NOW,
    )  # fmt: skip
    assert await retention.forget_payload(connection, lane, NOW) == 0
    assert await retention.forget_payload(connection, lane, LATER) == 1
    await connection.execute("UPDATE transfer SET arrived_at = $1", NOW)
    assert await retention.forget_payload(connection, lane, LATER) == 1
    story = await traces.story(connection, lane, ids[0], 0)
    assert story is not None and story.place.number is None


async def test_what_handsets_wrote_goes_but_parts_that_wait(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    await connection.execute(
        "INSERT INTO inbound (lane, id, at, command, source, destination, esm_class, data_coding, octets, pdu) "
        "SELECT $1, i, $2::timestamptz + i * interval '1 day', 'deliver_sm', 's', 'd', 0, 0, '', '' "
        "FROM generate_series(0, 3) AS i",
        lane, NOW,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO inbound_part (lane, id, at, source, destination, kind, reference, total, number) "
        "VALUES ($1, 1, $2, 's', 'd', 8, 1, 2, 1)", lane, NOW,
    )  # fmt: skip
    assert await retention.forget_inbound(connection, lane, NOW + 3 * DAY) == 2
    assert [row["id"] for row in await connection.fetch("SELECT id FROM inbound ORDER BY id")] == [1, 3]


async def test_orders_in_force_stay_however_old_they_are(connection: Any) -> None:
    async def order(action: str, key: str, days: int, **more: Any) -> None:
        await connection.execute(
            "INSERT INTO control (at, by, action, scope, key, value, until) "
            "VALUES ($1, 'x', $2, 'carrier', $3, $4::text::jsonb, $5)",
            NOW + days * DAY, action, key, more.get("value", "{}"), more.get("until"),
        )  # fmt: skip

    await order("pause", "a", 0)
    await order("resume", "a", 1)
    await order("pause", "b", 0)
    await order("pause", "c", 0, until=NOW + DAY)
    await order("tune", "d", 0, value='{"tps": 1, "window": 2}')
    await order("tune", "d", 1, value='{"tps": 3}')
    await order("tune", "d", 2, value='{"tps": 4}')
    now = LATER
    before = await control.state(connection, now)
    assert await retention.forget_orders(connection, LATER) == 3
    after = await control.state(connection, now)
    assert (after.orders, after.tuned) == (before.orders, before.tuned)


# -- lists of files ----------------------------------------------------------------------------------------------


async def list_of(connection: Any, name: str, people_: range, at: datetime = NOW) -> int:
    """An import as it ends: entries and their endpoints."""
    found = await people.open_list(connection, name, source_name="a.csv", source_sha256=b"", fields=[], now=at)
    await people.merge_entries(connection, _octets(found.id, people_))
    await people.upsert_endpoints(connection, found.id, at)
    await people.finish_list(connection, found.id, at)
    return found.id


async def _octets(list_id: int, people_: range) -> AsyncIterator[bytes]:
    yield peoplerows.HEADER
    yield peoplerows.pack(array("q", people_), list_id, [], [])
    yield peoplerows.TRAILER


def file_name(nth: int) -> str:
    return people.name_of_file("spring.csv", nth.to_bytes(8))


async def run_over(connection: Any, list_id: int, lane: int, state: ChunkState, *, enqueued: bool = True) -> Run:
    run = await runs.add_run(
        connection, name="r", template="t", fields=(), class_=5, policy="once", lanes=[lane], list_id=list_id,
        source=None, now=NOW,
    )  # fmt: skip
    if enqueued:
        await runs.materialise(connection, run, [1], 10, NOW)
        await connection.execute("UPDATE chunk SET state = $2 WHERE run = $1", run.id, state)
    return run


async def empty(connection: Any, lanes: list[int], before: datetime) -> list[int]:
    old = await retention.old_lists(connection, lanes, before)
    await retention.begin_emptying(connection, old, before)
    for bucket in range(people.BUCKETS):
        await retention.empty_bucket(connection, old, bucket, before)
    await retention.end_emptying(connection, old)
    return old


async def numbers_of(connection: Any, table: str) -> set[int]:
    return {row["number"] for row in await connection.fetch(f"SELECT DISTINCT number FROM {table}")}


async def test_list_of_a_file_is_emptied_when_its_runs_are_done_and_one_of_a_name_never(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    # Whole chunks, claimed ones, a run that is not enqueued, a file that nobody sent, one that was read today, a name.
    done, going, new, unsent = [await list_of(connection, file_name(n), numbers(10, 10 * n + 1000)) for n in range(4)]
    await list_of(connection, file_name(4), numbers(10, 1040), LATER)
    await list_of(connection, "customers", numbers(10, 1050))
    await run_over(connection, done, lane, ChunkState.DONE)
    await run_over(connection, going, lane, ChunkState.CLAIMED)
    await run_over(connection, new, lane, ChunkState.DONE, enqueued=False)
    assert await empty(connection, [lane], LATER - DAY) == [done, unsent]
    left = {*numbers(20, 1010), *numbers(20, 1040)}
    assert await numbers_of(connection, "list_entry") == left == await numbers_of(connection, "endpoint")
    assert await empty(connection, [lane], LATER - DAY) == [], "an empty list is not emptied again"
    await connection.execute("UPDATE chunk SET state = 2")
    assert await empty(connection, [lane], LATER - DAY) == [going]


async def test_row_of_a_list_stays_with_its_runs_so_that_the_same_file_is_the_same_list(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    sent, unsent = [await list_of(connection, file_name(n), numbers(10)) for n in range(2)]
    run = await run_over(connection, sent, lane, ChunkState.DONE)
    await empty(connection, [lane], LATER)
    assert await retention.drop_lists(connection) == 1 and await people.find_list(connection, file_name(1)) is None
    assert await list_of(connection, file_name(0), numbers(10), LATER) == sent != unsent
    same = await runs.same_run(connection, sent, "t")
    assert same is not None and same.id == run.id
    assert len(await numbers_of(connection, "list_entry")) == 10 and await retention.drop_lists(connection) == 0


async def test_person_of_another_list_of_a_profile_and_one_who_has_changed_since_stay(connection: Any) -> None:
    await list_of(connection, file_name(0), numbers(10, 1000))
    await list_of(connection, "customers", numbers(3, 1000))
    await connection.execute("UPDATE endpoint SET updated_at = $1 WHERE number = 1009", LATER)
    await connection.execute(
        "INSERT INTO profile (bucket, id, number, created_at, updated_at) "
        "SELECT bucket, 1, number, created_at, created_at FROM endpoint WHERE number = 1008"
    )
    await empty(connection, [], LATER - DAY)
    assert await numbers_of(connection, "list_entry") == set(numbers(3, 1000))
    assert await numbers_of(connection, "endpoint") == {1000, 1001, 1002, 1008, 1009}


async def test_list_that_is_read_again_while_it_is_emptied_is_whole_afterwards(connection: Any) -> None:
    one = await list_of(connection, file_name(0), numbers(2000))
    old = await retention.old_lists(connection, [], LATER)
    await retention.begin_emptying(connection, old, LATER)
    for bucket in range(128):
        await retention.empty_bucket(connection, old, bucket, LATER)
    assert 0 < len(await numbers_of(connection, "list_entry")) < 2000
    assert await list_of(connection, file_name(0), numbers(2000), LATER) == one
    for bucket in range(128, 256):
        assert await retention.empty_bucket(connection, old, bucket, LATER) == 0
    await retention.end_emptying(connection, old)
    assert len(await numbers_of(connection, "list_entry")) == 2000 == len(await numbers_of(connection, "endpoint"))
    found = await people.find_list(connection, file_name(0))
    assert found is not None and found.state == "ready" and found.entries == 2000


async def test_list_that_a_crash_left_half_empty_is_emptied_by_the_next_round(connection: Any) -> None:
    await list_of(connection, file_name(0), numbers(500))
    old = await retention.old_lists(connection, [], LATER)
    await retention.begin_emptying(connection, old, LATER)
    await retention.empty_bucket(connection, old, 0, LATER)
    assert await retention.drop_lists(connection) == 0, "something is left in it"
    assert await empty(connection, [], LATER) == old
    assert await numbers_of(connection, "list_entry") == set() == await numbers_of(connection, "endpoint")


async def test_person_whom_an_import_counts_on_meanwhile_stays_or_comes_again(dsn: str, connection: Any) -> None:
    """The import has committed an entry, and finds the person there, just before he would go."""
    await list_of(connection, file_name(0), range(1, 2))
    bucket = await connection.fetchval("SELECT bucket FROM endpoint")
    other = await postgres.connect(dsn)
    found = await people.open_list(other, "new", source_name="", source_sha256=b"", fields=[], now=LATER)
    await people.merge_entries(other, _octets(found.id, range(1, 2)))
    turn = other.transaction()
    await turn.start()
    await people.upsert_endpoints(other, found.id, LATER)
    old = await retention.old_lists(connection, [], LATER)
    await retention.begin_emptying(connection, old, LATER)
    emptying = asyncio.create_task(retention.empty_bucket(connection, old, bucket, LATER))
    watcher = await postgres.connect(dsn)
    async with asyncio.timeout(10):
        while not emptying.done() and not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    await turn.commit()
    assert await emptying == 1
    assert await numbers_of(connection, "endpoint") == {1} == await numbers_of(connection, "list_entry")
    for one in (other, watcher):
        one.terminate()
