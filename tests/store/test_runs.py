"""Lanes, runs, chunks and the partitions of time."""

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath.gate import page
from _fastpath.peoplerows import bucket
from gateway import routing
from gateway.errors import StoreError
from gateway.gate import Gate
from gateway.message import MessageClass, Policy, Refusal
from gateway.store import membership, queue, results, runs
from gateway.store.queue import CHUNK_BITS, FIRST_REPEAT
from tests.fixtures.campaign import make_list, make_run, numbers, states
from tests.fixtures.database import ON_POSTGRES, Database

NOW = datetime.now(UTC)
# What breaks arrays written as text, and templates.
STRANGE = [
    "{", "}", "{}", "{a,b}", "a,b", '"', '""', "\\", "\\\\", '\\"', "NULL", "null", "", " ", "'", "''", "$1", "%s",
    "{{ x }}", "Zoë", "東京", "🎉👨‍👩‍👧", "e\u0301", "\u200f", "\x01", "\n", "\r\n", "\t", "x" * 5000,
]  # fmt: skip


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    yield opened
    opened.terminate()


async def on_lane(connection: Any, lane: int) -> Counter[int]:
    """How often each number stands in the chunks of a lane."""
    batches = (await queue.claim(connection, lane, "w", datetime.now(UTC), 10_000)).batches
    return Counter(batch.number(pos) for batch in batches for pos in range(batch.n))


async def test_a_carrier_keeps_its_lane_and_racing_first_askers_agree(database: Database, connection: Any) -> None:
    others = [await database.connect() for _ in range(6)]
    names = [f"carrier {number % 3}" for number in range(6)]
    found = await asyncio.gather(*(runs.lane_of(other, name, NOW) for other, name in zip(others, names, strict=True)))
    assert found[:3] == found[3:] and len(set(found)) == 3
    assert await runs.lanes(connection) == dict(zip(found[:3], names[:3], strict=True))
    assert await runs.lane_of(connection, "carrier 1", NOW) == found[1]
    for other in others:
        other.terminate()


async def test_runs_of_one_millisecond_get_ids_of_their_own(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    made = [await make_run(connection, numbers(1), [lane], now=NOW) for _ in range(3)]
    assert len({run.id for run in made}) == 3
    assert await runs.run_by_id(connection, made[0].id) == made[0]
    assert await runs.run_by_id(connection, 1) is None
    assert [run.id for run in await runs.recent_runs(connection, 2)] == [made[2].id, made[1].id]
    last = await runs.same_run(connection, made[1].list or 0, "Hello")
    assert last is not None and last.id == made[1].id
    assert await runs.same_run(connection, made[1].list or 0, "Good-bye") is None
    with pytest.raises(StoreError, match="has no list"):
        run = await runs.add_run(
            connection, name="x", template="x", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE, lanes=[lane],
            list_id=None, source=None, now=NOW,
        )  # fmt: skip
        await runs.materialise(connection, run, [1], 1, NOW)


async def test_a_run_with_a_gate_has_people_of_neighbouring_pages_in_a_chunk_and_chunks_lie_apart(
    connection: Any,
) -> None:
    """The gate reads a row a page, and holds buckets: those of neighbours in the queue would be the same."""
    people = [*numbers(30_000), *numbers(3_000, 14155550100)]
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await make_run(connection, people, [lane], now=NOW, gate=Gate())
    batches = (await queue.claim(connection, lane, "w", datetime.now(UTC), 10_000)).batches
    assert sorted(batch.number(pos) for batch in batches for pos in range(batch.n)) == people[30_000:] + people[:30_000]
    assert run.recipients == 33_000 and 30 <= len(batches) <= 36 and all(700 < batch.n < 1400 for batch in batches)
    spans = []
    for batch in sorted(batches, key=lambda one: one.chunk_id):
        places = sorted(bucket(batch.number(pos)) << 8 | page(batch.number(pos)) for pos in range(batch.n))
        assert places[-1] - places[0] <= 2 * 65536 // len(batches)
        spans.append((places[0], places[-1]))
    in_order = sorted(spans)
    assert all(first <= last <= then for (first, last), (then, _) in itertools.pairwise(in_order))
    assert spans != in_order


@pytest.mark.parametrize("people", [1, 2, 999, 1000, 1001, 12_345])
async def test_everybody_is_in_exactly_one_chunk(connection: Any, people: int) -> None:
    lanes = [await runs.lane_of(connection, name, NOW) for name in ("a", "b")]
    run = await make_run(connection, numbers(people), lanes)
    assert run.recipients == people and run.enqueued_at is not None
    assert await on_lane(connection, lanes[0]) + await on_lane(connection, lanes[1]) == Counter(numbers(people))


async def test_chunks_hold_about_a_thousand_whatever_the_weights(connection: Any) -> None:
    lanes = [await runs.lane_of(connection, name, NOW) for name in ("a", "b", "c")]
    await make_run(connection, numbers(40_000), lanes, weights=[1, 1, 6])
    by_lane = {
        row["lane"]: row
        for row in await connection.fetch("SELECT lane, sum(n) AS people, max(n) AS largest FROM chunk GROUP BY lane")
    }
    shares = [by_lane[lane]["people"] / 40_000 for lane in lanes]
    assert [round(share, 1) for share in shares] == [0.1, 0.1, 0.8] or shares == pytest.approx(
        [1 / 8, 1 / 8, 6 / 8], abs=0.02
    )
    # Groups are made by a hash: a thousand, and five standard deviations of chance.
    assert max(row["largest"] for row in by_lane.values()) < 1160


async def test_ids_of_chunks_leave_room_for_repeats(connection: Any) -> None:
    lane = await runs.lane_of(connection, "a", NOW)
    run = await make_run(connection, numbers(5000), [lane])
    ids = [row["id"] for row in await connection.fetch("SELECT id FROM chunk")]
    assert {chunk_id >> CHUNK_BITS for chunk_id in ids} == {run.id}
    assert all(chunk_id & ((1 << CHUNK_BITS) - 1) < FIRST_REPEAT for chunk_id in ids)


async def test_materialising_again_or_at_once_adds_nothing(database: Database, connection: Any) -> None:
    lane = await runs.lane_of(connection, "a", NOW)
    list_id = await make_list(connection, numbers(3000))
    run = await runs.add_run(
        connection, name="x", template="x", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE, lanes=[lane],
        list_id=list_id, source=None, now=NOW,
    )  # fmt: skip
    others = [await database.connect() for _ in range(3)]
    made = await asyncio.gather(*(runs.materialise(other, run, [1], 3000, NOW) for other in others))
    assert made == [3000, 3000, 3000]
    assert await runs.materialise(connection, run, [1], 3000, NOW) == 3000
    assert await on_lane(connection, lane) == Counter(numbers(3000))
    for other in others:
        other.terminate()


async def test_an_empty_list_is_a_run_of_nobody(connection: Any) -> None:
    lane = await runs.lane_of(connection, "a", NOW)
    run = await make_run(connection, [], [lane])
    assert run.recipients == 0 and await runs.open_chunks(connection, run.id) == 0


async def test_values_of_fields_arrive_as_they_are_and_absent_ones_as_nothing(connection: Any) -> None:
    lane = await runs.lane_of(connection, "a", NOW)
    people: dict[int, dict[str, Any]] = {}
    for at, number in enumerate(numbers(4 * len(STRANGE))):
        people[number] = {"text": STRANGE[at % len(STRANGE)], "n": at}
        if at % 3 == 0:
            people[number]["rare"] = "yes"
        if at % 5 == 0:
            people[number]["nothing"] = None
    await make_run(connection, people, [lane], fields=("text", "rare", "nothing", 'a "strange" name, {}', "n"))
    (batch,) = (await queue.claim(connection, lane, "w", datetime.now(UTC), 10)).batches
    assert batch.columns == 5
    for pos in range(batch.n):
        values = people[batch.number(pos)]
        assert batch.values(pos) == [values["text"], values.get("rare"), None, None, str(values["n"])]


async def test_states_of_chunks_are_counted_by_lane(connection: Any) -> None:
    lane = await runs.lane_of(connection, "a", NOW)
    run = await make_run(connection, numbers(3000), [lane])
    total = await runs.open_chunks(connection, run.id)
    await queue.claim(connection, lane, "w", datetime.now(UTC), 1)
    by_state = {row["state"]: row for row in await results.chunk_states(connection, run.id)}
    assert by_state[0]["chunks"] == total - 1 and by_state[1]["chunks"] == 1
    assert sum(row["unsent"] for row in by_state.values()) == 3000
    (waiting,) = await results.queue_by_lane(connection)
    assert (waiting["lane"], waiting["class"], waiting["chunks"]) == (lane, MessageClass.BULK, total - 1)


# -- partitions -------------------------------------------------------------------------------------------------------


async def test_partitions_stand_from_yesterday_to_three_days_ahead_and_are_made_once(connection: Any) -> None:
    made = await runs.ensure_partitions(connection, NOW)
    assert len(made) == 2 * 5 and await runs.ensure_partitions(connection, NOW) == []
    assert await runs.ensure_partitions(connection, NOW + timedelta(days=1)) == [
        f"{table}_{NOW + timedelta(days=4):%Y%m%d}" for table in ("outcome", "receipt")
    ]
    for days in (-1, 0, 3):
        await connection.execute(
            "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
            "VALUES (1, 1, 1, 1, 1, 1, 0, $1, 0)",
            NOW + timedelta(days=days),
        )


async def test_racing_makers_of_partitions_all_succeed(database: Database, connection: Any) -> None:
    others = [await database.connect() for _ in range(5)]
    made = await asyncio.gather(*(runs.ensure_partitions(other, NOW) for other in others))
    assert sum(map(len, made)) == 10
    for other in others:
        other.terminate()


@ON_POSTGRES
async def test_a_partition_has_the_indexes_of_its_table(connection: Any) -> None:
    await runs.ensure_partitions(connection, NOW)
    indexes = await connection.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = $1", f"outcome_{NOW:%Y%m%d}")
    assert len(indexes) == 6 and sum("brin" in row["indexdef"] for row in indexes) == 2


# -- workers ----------------------------------------------------------------------------------------------------------


async def test_workers_are_known_from_their_start_to_their_end(connection: Any) -> None:
    worker = runs.Worker(instance="i", host="h", boot="b", pid=1, started_at=NOW, seen_at=NOW, node="n", carriers=["a"])
    await membership.register(connection, worker)
    assert await runs.workers(connection) == [worker]
    later = NOW + timedelta(seconds=2)
    await runs.seen(connection, "i", later, '{"carriers": {}}')
    (seen,) = await runs.workers(connection)
    assert (seen.seen_at, seen.report) == (later, '{"carriers": {}}')
    await membership.leave(connection, "i")
    assert await runs.workers(connection) == []


# -- routes -----------------------------------------------------------------------------------------------------------


def routed(lanes: dict[str, int], *, senders: Any = None) -> routing.Plan:
    """Two carriers share Britain, one has the rest of Europe; nobody takes the others."""
    routes = [
        routing.RouteSettings(countries=("GB",), carriers=(
            routing.RouteCarrier(carrier="a", weight=3), routing.RouteCarrier(carrier="b"),
        )),
        routing.RouteSettings(prefixes=("3", "49"), carriers=(
            routing.RouteCarrier(carrier="c"), routing.RouteCarrier(carrier="a", priority=2),
        )),
    ]  # fmt: skip
    table = routing.RouteTable(dict.fromkeys(lanes, 1), routes, senders)
    return routing.plan(lanes, MessageClass.BULK, "", NOW, {}, table)


async def enqueue(connection: Any, people: list[int], plan: routing.Plan, lanes: dict[str, int]) -> runs.Run:
    list_id = await make_list(connection, people, "routed")
    run = await runs.add_run(
        connection, name="x", template="x", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE,
        lanes=list(lanes.values()), list_id=list_id, source=None, now=NOW,
    )  # fmt: skip
    assert await runs.materialise(connection, run, [], len(people), NOW, plan) == len(people)
    return run


PEOPLE = [
    *numbers(4000), *numbers(700, 33_612_000_000), *numbers(300, 4_915_112_000_000), *numbers(50, 12_125_550_000), 7,
    44, 998_901_234_567_890, 447_700_300_123, 4_477_009_001,
]  # fmt: skip


async def test_statement_puts_every_number_where_the_plan_says(connection: Any) -> None:
    """Numbers of all lengths: the arithmetic of Postgres and of Python is the same."""
    lanes = {name: await runs.lane_of(connection, name, NOW) for name in "abc"}
    senders = {"GB": routing.SenderSettings(short_code="60777", prefers="short_code")}
    plan = routed(lanes, senders=senders)
    await runs.ensure_partitions(connection, NOW)
    await enqueue(connection, PEOPLE, plan, lanes)
    packed = await connection.fetch("SELECT lane, chunk_id, msisdn FROM chunk_payload")
    numbers_of = {(row["lane"], row["chunk_id"]): row["msisdn"] for row in packed}
    chunks = await connection.fetch("SELECT lane, id, country, source, fallback, state FROM chunk")
    rows = [{**dict(row), "msisdn": numbers_of[row["lane"], row["id"]]} for row in chunks]
    seen = 0
    for row in rows:
        for number in row["msisdn"]:
            cell = plan.cell_of(number)
            expected = (cell.lane or lanes["a"], cell.country, cell.source, list(cell.fallback), 0 if cell.lane else 2)
            assert (row["lane"], row["country"], row["source"], row["fallback"], row["state"]) == expected, number
            seen += 1
    assert seen == len(PEOPLE) and max(len(row["msisdn"]) for row in rows) < 1200
    britain = Counter(row["lane"] for row in rows for _ in row["msisdn"] if row["source"] == "60777")
    assert britain[lanes["a"]] == pytest.approx(3000, abs=100)


async def test_people_whom_no_route_takes_are_refused_with_that_reason_and_are_not_queued(connection: Any) -> None:
    lanes = {name: await runs.lane_of(connection, name, NOW) for name in "abc"}
    await runs.ensure_partitions(connection, NOW)
    run = await enqueue(connection, [*numbers(10), *numbers(5, 12_125_550_000)], routed(lanes), lanes)
    assert await states(connection, run) == {"refused": 5}
    (refused,) = await results.refusals(connection, run.id, NOW - timedelta(days=1))
    assert (refused.status, refused.messages) == (Refusal.NO_ROUTE, 5)
    assert await connection.fetchval("SELECT sum(n) FROM chunk WHERE state = 0") == 10


async def test_a_run_enqueued_once_more_by_another_plan_adds_nothing(connection: Any) -> None:
    lanes = {name: await runs.lane_of(connection, name, NOW) for name in "abc"}
    run = await enqueue(connection, list(numbers(100)), routed(lanes), lanes)
    assert await runs.materialise(connection, run, [], 100, NOW, routing.by_weight([lanes["c"]], [1])) == 100
    assert await on_lane(connection, lanes["c"]) == Counter()


async def test_chunks_of_a_large_list_are_counted_by_a_sample(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "SAMPLE", 2000)
    lanes = {name: await runs.lane_of(connection, name, NOW) for name in "abc"}
    await enqueue(connection, list(numbers(30_000)), routed(lanes), lanes)
    sizes = [row["n"] for row in await connection.fetch("SELECT n FROM chunk")]
    assert sum(sizes) == 30_000 and 20 <= len(sizes) <= 40 and max(sizes) < 1600


async def test_a_few_people_are_added_to_a_run_that_stays_open_and_claimed_by_their_class(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    bulk = await make_run(connection, numbers(2000), [lane])
    run = await runs.add_run(
        connection, name="codes", template="{{ code }}", fields=["code"], class_=MessageClass.OTP, policy=Policy.ONCE,
        lanes=[lane], list_id=None, source=None, now=NOW,
    )  # fmt: skip
    added = [await runs.enqueue_few(connection, run, lane, [44 + n], [[f"{n}"]], NOW, country=7) for n in range(3)]
    assert added == [(run.id << CHUNK_BITS) + n for n in range(3)]
    assert (await runs.run_by_id(connection, run.id)).recipients == 3
    claimed = (await queue.claim(connection, lane, "w", datetime.now(UTC), 64, MessageClass.TRANSACTIONAL)).batches
    assert [(batch.chunk_id, batch.class_, batch.country, batch.values(0)) for batch in claimed] == [
        (chunk, MessageClass.OTP, 7, [f"{n}"]) for n, chunk in enumerate(added)
    ]
    assert {batch.run for batch in (await queue.claim(connection, lane, "w", datetime.now(UTC), 64)).batches} == {
        bulk.id
    }


async def test_dispatchers_hear_of_urgent_chunks_and_of_no_others(database: Database, connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    heard: asyncio.Queue[int] = asyncio.Queue()
    listener = await database.connect()
    await queue.listen(listener, lane, lambda: heard.put_nowait(lane))
    await queue.listen(listener, lane + 1, lambda: heard.put_nowait(lane + 1))
    await make_run(connection, numbers(10), [lane])
    await make_run(connection, numbers(10), [lane], class_=MessageClass.OTP)
    async with asyncio.timeout(10):
        assert await heard.get() == lane
    assert heard.empty()
    await listener.close()


@pytest.mark.parametrize(("people", "params"), [([], None), ([44], []), ([44, 45], [["1"]])])
async def test_few_people_need_a_row_of_values_each(connection: Any, people: list[int], params: Any) -> None:
    run = await make_run(connection, numbers(1), [await runs.lane_of(connection, "acme", NOW)])
    with pytest.raises(ValueError, match="a row of values for each"):
        await runs.enqueue_few(connection, run, 1, people, params, NOW)
