"""The rows of one message are found by any of its names, by indexes and not by reading everything."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath.batch import Batch
from gateway.store import postgres, queries, runs, traces
from tests.fixtures.campaign import make_run, numbers

NOW = datetime.now(UTC)


@pytest.fixture
async def connection(dsn: str) -> Any:
    connection = await postgres.connect(dsn)
    await runs.ensure_partitions(connection, NOW)
    yield connection
    connection.terminate()


@pytest.fixture
async def lane(connection: Any) -> int:
    return await runs.lane_of(connection, "acme", NOW)


async def add_outcome(connection: Any, lane: int, chunk_id: int, pos: int, status: int, message_id: str | None) -> None:
    await connection.execute(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id) "
        "VALUES ($1, $2, $3, 1, 1, 1, $4, $5, 1500, $6)",
        lane, chunk_id, pos, status, NOW + timedelta(milliseconds=status), message_id,
    )  # fmt: skip


async def test_message_is_found_by_its_id_its_number_and_its_place(connection: Any, lane: int) -> None:
    people = {number: {"name": f"P{number % 100}"} for number in numbers(20)}
    run = await make_run(connection, people, [lane], template="Hi {{ name }}", fields=("name",), now=NOW)
    chunk_id = await connection.fetchval("SELECT id FROM chunk")
    wanted = await connection.fetchval("SELECT msisdn[6] FROM chunk_payload")
    await add_outcome(connection, lane, chunk_id, 5, 0, "00ABc")
    await add_outcome(connection, lane, chunk_id, 4, 0, "0abc")
    assert await traces.by_message_id(connection, lane, "00ABc") == [(chunk_id, 5)]
    assert await traces.by_message_id(connection, lane + 1, "00ABc") == []
    assert await traces.by_number(connection, lane, run.id, wanted) == [(chunk_id, 5)]
    assert await traces.by_number(connection, lane, run.id + 1, wanted) == []
    story = await traces.story(connection, lane, chunk_id, 5)
    assert story is not None
    assert (story.place.number, story.place.fields, story.place.run) == (wanted, [f"P{wanted % 100}"], run.id)
    assert [outcome.message_id for outcome in story.outcomes] == ["00ABc"]


@pytest.mark.parametrize("pos", [-1, 20])
async def test_place_that_is_none_has_no_story(connection: Any, lane: int, pos: int) -> None:
    await make_run(connection, numbers(20), [lane], now=NOW)
    chunk_id = await connection.fetchval("SELECT id FROM chunk")
    assert await traces.story(connection, lane, chunk_id, pos) is None
    assert await traces.story(connection, lane, chunk_id + 1, 0) is None


async def test_story_holds_every_answer_every_receipt_and_every_repeat_in_order(connection: Any, lane: int) -> None:
    await make_run(connection, numbers(20), [lane], now=NOW)
    chunk_id = await connection.fetchval("SELECT id FROM chunk")
    await add_outcome(connection, lane, chunk_id, 3, 0x58, None)
    await add_outcome(connection, lane, chunk_id, 3, 0, "m-1")
    for text, at in ((b"second", 2), (b"first", 1)):
        await connection.execute(
            "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state, raw) VALUES ($1, $2, 3, 1, $3, 2, $4)",
            lane, chunk_id, NOW + timedelta(seconds=at), text,
        )  # fmt: skip
    await connection.execute(
        "INSERT INTO receipt_waiting (lane, at, state, message_id, raw) VALUES ($1, $2, 5, 'm-1', 'early'), "
        "($1, $2, 5, 'm-2', 'another')",
        lane, NOW,
    )  # fmt: skip
    await connection.execute("INSERT INTO repeated VALUES ($1, $2, 3, 77, $3)", lane, chunk_id, NOW)
    story = await traces.story(connection, lane, chunk_id, 3)
    assert story is not None
    assert [outcome.status for outcome in story.outcomes] == [0, 0x58]
    assert [heard.raw for heard in story.receipts] == [b"first", b"second"]
    assert [heard.raw for heard in story.waiting] == [b"early"]
    assert story.repeats == [(77, NOW)]


async def test_no_statement_of_a_trace_reads_outcomes_or_receipts_from_end_to_end(connection: Any, lane: int) -> None:
    await connection.execute(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id) "
        "SELECT $1::int, n / 1000, n % 1000, 1, 1, 1, 0, $2, 1500, 'id' || n FROM generate_series(1, 60000) AS n",
        lane, NOW,
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state, raw) "
        "SELECT $1::int, n / 1000, n % 1000, 1, $2, 2, 'id:1 stat:DELIVRD' FROM generate_series(1, 60000) AS n",
        lane, NOW,
    )  # fmt: skip
    for table in ("outcome", "receipt"):
        await connection.execute(f"VACUUM ANALYZE {table}")
    for name, arguments in (
        ("trace_message_id", (lane, "id777")),
        ("trace_outcomes", (lane, 30, 5)),
        ("trace_receipts", (lane, 30, 5)),
    ):
        rows = await connection.fetch(f"EXPLAIN {queries.query(name)}", *arguments)
        plan = "\n".join(row[0] for row in rows)
        day = f"_{NOW:%Y%m%d}"
        assert "Index" in plan, plan
        assert f"Seq Scan on outcome{day}" not in plan and f"Seq Scan on receipt{day}" not in plan, plan
    assert await traces.by_message_id(connection, lane, "id777") == [(0, 777)]


async def test_story_tells_where_a_message_went_and_where_it_came_from(connection: Any, lane: int) -> None:
    other = await runs.lane_of(connection, "other", NOW)
    run = await make_run(connection, numbers(3), [lane], now=NOW)
    chunk_id = await connection.fetchval("SELECT id FROM chunk WHERE run = $1", run.id)
    add = (
        "INSERT INTO transfer (lane, chunk_id, to_lane, fallback, positions, from_rank, why, at) "
        "VALUES ($1, $2, $3, '{}', $4, $5, $6, $7) RETURNING id"
    )
    await connection.execute(add, lane, chunk_id, other, [1], 0, "failed", NOW)
    brought = await connection.fetchval(add, other, 99, lane, [0], 0, "closed", NOW - timedelta(hours=1))
    await connection.execute("UPDATE chunk SET from_lane = $1, transfer = $2 WHERE id = $3", other, brought, chunk_id)
    came, went = (await traces.story(connection, lane, chunk_id, 1)).moves  # type: ignore[union-attr]
    assert (came.lane, came.to_lane, came.chunk_id, came.why, came.arrived_at) == (other, lane, 99, "closed", None)
    assert (went.lane, went.to_lane, went.chunk_id, went.why) == (lane, other, chunk_id, "failed")
    (only,) = (await traces.story(connection, lane, chunk_id, 0)).moves  # type: ignore[union-attr]
    assert only == came


async def test_what_stood_above_the_watermark_of_a_closed_lane_went_and_the_rest_stayed(
    connection: Any, lane: int
) -> None:
    run = await make_run(connection, numbers(7), [lane], now=NOW)
    chunk_id = await connection.fetchval("SELECT id FROM chunk WHERE run = $1", run.id)
    await connection.execute(
        "INSERT INTO transfer (lane, chunk_id, to_lane, fallback, from_rank, why, at) "
        "VALUES ($1, $2, 9, '{}', 3, 'closed', $3)",
        lane, chunk_id, NOW,
    )  # fmt: skip
    order = Batch(chunk_id, 7, 0).ranks(0, 7)
    moved = [pos for pos in range(7) if (await traces.story(connection, lane, chunk_id, pos)).moves]  # type: ignore[union-attr]
    assert moved == sorted(order[3:])
