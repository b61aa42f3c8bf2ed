"""Messages that go from lane to lane: each is in exactly one, wherever it is interrupted."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gateway import routing
from gateway.errors import StoreError
from gateway.message import ChunkState, MessageClass, Policy, Refusal
from gateway.store import queue, results, runs, transfer
from gateway.store.runs import Run
from tests.fixtures.campaign import make_list, numbers, states
from tests.fixtures.database import Database

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(hours=1)
LATER = NOW + timedelta(seconds=30)
REROUTE = 0x45


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    opened = await database.connect()
    await runs.ensure_partitions(opened, NOW)
    for name in "abc":
        await runs.lane_of(opened, name, NOW)
    yield opened
    opened.terminate()


async def make_run(connection: Any, people: Any, fallback: tuple[int, ...] = (2, 3), **how: Any) -> Run:
    """Queue people on lane 1."""
    list_id = await make_list(connection, people, f"list {datetime.now(UTC)}")
    run = await runs.add_run(
        connection, name="x", template="x", fields=how.pop("fields", ()), class_=MessageClass.BULK, policy=Policy.ONCE,
        lanes=[1, 2, 3], list_id=list_id, source=None, now=NOW, **how,
    )  # fmt: skip
    plan = routing.Plan((0,), (0,), (1,), (0,), (routing.Cell(1, 226, "Shop", fallback),))
    await runs.materialise(connection, run, [], len(people), NOW, plan)
    found = await runs.run_by_id(connection, run.id)
    assert found is not None
    return found


async def queued(connection: Any) -> dict[int, Counter[int]]:
    """Numbers that may be sent, by lane."""
    found: dict[int, Counter[int]] = {}
    for lane in (1, 2, 3):
        batches = (await queue.claim(connection, lane, "w", NOW, 1000)).batches
        if batches:
            found[lane] = Counter(
                batch.number(pos) for batch in batches for pos in batch.ranks(batch.next_rank, batch.n)
            )
    return found


async def answer(connection: Any, pos: int, status: int, segment: int = 1, segments: int = 1, lane: int = 1) -> None:
    """Write the outcome of a segment of the only chunk of a lane."""
    await connection.execute(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
        "SELECT $1, id, $2, $3, $4, 1, $5, $6, 1 FROM chunk WHERE lane = $1",
        lane, pos, segment, segments, status, NOW,
    )  # fmt: skip


async def receipt(connection: Any, pos: int, state: int, err: str = "", segment: int = 1, lane: int = 1) -> None:
    await connection.execute(
        "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state, err) "
        "SELECT $1, id, $2, $3, $4, $5, $6 FROM chunk WHERE lane = $1",
        lane, pos, segment, NOW, state, err,
    )  # fmt: skip


async def leave(connection: Any, lane: int = 1, up: tuple[int, ...] = (2, 3), **how: Any) -> int:
    """Take what failed out of a lane."""
    asked: dict[str, Any] = {"statuses": [REROUTE], "errors": ["050"], "undelivered": False, **how}
    return await transfer.leave_failed(connection, lane, up, since=SINCE, now=NOW, **asked)


async def sent(connection: Any) -> None:
    """Say that all of lane 1 has left and has its answers."""
    await connection.execute("UPDATE chunk SET state = 2, sent_upto = n WHERE lane = 1")


# -- a lane is closed -------------------------------------------------------------------------------------------------


async def test_chunks_of_a_closed_lane_go_to_the_first_of_their_fallback_that_is_up(connection: Any) -> None:
    run = await make_run(connection, numbers(2500))
    assert await transfer.leave_closed(connection, 1, (), NOW) == 0
    assert await transfer.leave_closed(connection, 1, (3,), NOW) > 1
    await transfer.carry(connection, 1, NOW)
    rows = await connection.fetch("SELECT country, source, fallback, class FROM chunk WHERE lane = 3")
    assert {(*row[:2], tuple(row[2]), row[3]) for row in rows} == {(226, "Shop", (), MessageClass.BULK)}
    assert await queued(connection) == {3: Counter(numbers(2500))}
    assert {row["state"]: row["unsent"] for row in await results.chunk_states(connection, run.id)} == {
        ChunkState.MOVED: 0, ChunkState.CLAIMED: 2500,
    }  # fmt: skip


async def test_what_stands_below_the_watermark_stays_and_the_rest_goes(connection: Any) -> None:
    await make_run(connection, numbers(100))
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    await queue.release(connection, 1, [(batch.chunk_id, batch.epoch, 40)])
    await transfer.leave_closed(connection, 1, (2,), NOW)
    await transfer.carry(connection, 1, NOW)
    went = {batch.number(pos) for pos in batch.ranks(40, 100)}
    assert await queued(connection) == {2: Counter(went)} and len(went) == 60


async def test_chunks_that_are_claimed_not_due_or_without_another_way_stay(connection: Any) -> None:
    await make_run(connection, numbers(10), fallback=())
    await make_run(connection, numbers(10), not_before=NOW + timedelta(hours=1))
    await make_run(connection, numbers(10))
    await connection.execute("UPDATE chunk SET state = 1 WHERE fallback <> '{}' AND not_before <= $1", NOW)
    assert await transfer.leave_closed(connection, 1, (2, 3), NOW) == 0


async def test_values_of_fields_arrive_as_they_were(connection: Any) -> None:
    people = {number: {"a": '{"\\,}' if number % 2 else None, "b": str(number)} for number in numbers(50)}
    await make_run(connection, people, fields=("a", "b"))
    await transfer.leave_closed(connection, 1, (2,), NOW)
    await transfer.carry(connection, 1, NOW)
    (batch,) = (await queue.claim(connection, 2, "w", NOW, 1)).batches
    for pos in range(batch.n):
        assert batch.values(pos) == list(people[batch.number(pos)].values())


# -- interrupted ------------------------------------------------------------------------------------------------------


class Killed(Exception):
    """The process has ended here."""


class Mortal:
    """A connection whose process is killed before its statement number `at`; what was not committed is gone."""

    def __init__(self, connection: Any, at: int):
        self._connection, self._left = connection, at

    def __getattr__(self, name: str) -> Any:
        made = getattr(self._connection, name)
        if name not in ("execute", "fetch", "fetchrow", "fetchval"):
            return made

        async def call(*arguments: Any) -> Any:
            if self._left == 0:
                raise Killed
            self._left -= 1
            return await made(*arguments)

        return call


@pytest.mark.parametrize("way", ["closed", "failed"])
async def test_killed_before_any_statement_and_repeated_every_message_is_in_one_lane(connection: Any, way: str) -> None:
    async def step(through: Any) -> None:
        if way == "closed":
            await transfer.leave_closed(through, 1, (2, 3), NOW)
        else:
            await leave(through)
        await transfer.carry(through, 1, NOW)

    kills = 0
    for at in range(40):
        run = await make_run(connection, numbers(20))
        if way == "failed":
            await sent(connection)
            for pos in range(20):
                await answer(connection, pos, REROUTE)
        try:
            await step(Mortal(connection, at))
        except Killed:
            kills += 1
        before = await queued(connection)
        assert sum(map(len, before.values())) in (0, 20), at
        await connection.execute("UPDATE chunk SET state = 0, owner = NULL WHERE state = 1")
        for _ in range(2):
            await step(connection)
        assert await queued(connection) == {2: Counter(numbers(20))}, at
        assert await states(connection, run) == {}
        assert await connection.fetchval("SELECT count(*) FROM transfer WHERE arrived_at IS NULL") == 0
        for table in ("chunk", "chunk_payload", "transfer", "repeated", "outcome"):
            await connection.execute(f"DELETE FROM {table}")
        if kills <= at:
            break
    assert kills >= 7 and kills == at, "the last round ran to its end"


async def test_two_who_carry_at_once_deliver_once(database: Database, connection: Any) -> None:
    await make_run(connection, numbers(3000))
    await transfer.leave_closed(connection, 1, (2,), NOW)
    others = [await database.connect() for _ in range(4)]
    await asyncio.gather(*(transfer.carry(other, 1, NOW) for other in others))
    assert await queued(connection) == {2: Counter(numbers(3000))}
    for other in others:
        other.terminate()


async def test_transfer_of_a_chunk_that_is_gone_is_an_error_that_names_it(connection: Any) -> None:
    await make_run(connection, numbers(10))
    await transfer.leave_closed(connection, 1, (2,), NOW)
    await connection.execute("DELETE FROM chunk_payload")
    with pytest.raises(StoreError, match="expected chunk .* with its payload"):
        await transfer.carry(connection, 1, NOW)


async def test_a_transfer_has_one_chunk_in_its_lane(connection: Any) -> None:
    await make_run(connection, numbers(10))
    await transfer.leave_closed(connection, 1, (2,), NOW)
    await transfer.carry(connection, 1, NOW)
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(
            "INSERT INTO chunk (lane, id, run, n, class, priority, not_before, from_lane, transfer) "
            "SELECT lane, id + 1, run, n, class, priority, not_before, from_lane, transfer FROM chunk WHERE lane = 2"
        )


# -- messages that failed ---------------------------------------------------------------------------------------------


async def test_failed_messages_go_on_and_count_where_they_went(connection: Any) -> None:
    run = await make_run(connection, numbers(6))
    await sent(connection)
    for pos, status in enumerate((REROUTE, 0, 0, 0x0B, 0, 0)):
        await answer(connection, pos, status)
    await receipt(connection, 1, 5, "050")
    await receipt(connection, 2, 5, "001")
    await receipt(connection, 4, 2)
    assert await leave(connection) == 2 and await leave(connection) == 0
    await transfer.carry(connection, 1, NOW)
    assert await states(connection, run) == {
        "undeliverable": 1, "rejected": 1, "delivered": 1, "submitted": 1,
    }  # fmt: skip
    reasons = {refused.status: refused.messages for refused in await results.refusals(connection, run.id, SINCE)}
    assert reasons == {0x0B: 1}
    await answer(connection, 0, 0, lane=2)
    await receipt(connection, 0, 2, lane=2)
    assert (await states(connection, run))["delivered"] == 2


@pytest.mark.parametrize(
    ("answers", "receipts", "goes"),
    [
        ([(REROUTE, 1), (REROUTE, 2)], [], True),
        ([(0, 1), (REROUTE, 2)], [], False),
        ([(0, 1), (REROUTE, 2)], [(1, 2)], False),
        ([(0, 1), (REROUTE, 2)], [(1, 5)], True),
        ([(0, 1), (0, 2)], [(1, 5), (2, 2)], False),
        ([(0, 1), (0, 2)], [(1, 5), (2, 5)], True),
        ([(REROUTE, 1)], [], False),
        ([(REROUTE, 1), (-1, 2)], [], False),
        ([(REROUTE, 1), (-1, 0)], [], False),
    ],
)
async def test_a_long_message_goes_on_only_when_every_segment_has_failed(
    connection: Any, answers: list[tuple[int, int]], receipts: list[tuple[int, int]], goes: bool
) -> None:
    await make_run(connection, numbers(1))
    await sent(connection)
    for status, segment in answers:
        await answer(connection, 0, status, segment, 2 if segment else 0)
    for segment, state in receipts:
        await receipt(connection, 0, state, "050", segment)
    assert await leave(connection) == int(goes)


async def test_the_first_final_receipt_stands_for_going_on_too(connection: Any) -> None:
    await make_run(connection, numbers(2))
    await sent(connection)
    for pos, words in enumerate(((2, 5), (5, 2))):
        await answer(connection, pos, 0)
        for at, state in enumerate(words):
            await receipt(connection, pos, state, "050")
            await connection.execute(
                "UPDATE receipt SET at = at + $1 WHERE pos = $2 AND state = $3", timedelta(seconds=at), pos, state
            )
    assert await leave(connection) == 1
    assert await connection.fetchval("SELECT pos FROM repeated") == 1


async def test_messages_whose_time_is_over_or_that_have_no_route_left_stay_where_they_failed(connection: Any) -> None:
    await make_run(connection, numbers(1), fallback=())
    await sent(connection)
    await answer(connection, 0, REROUTE)
    assert await leave(connection) == 0
    await connection.execute("UPDATE chunk SET fallback = '{2}'")
    await connection.execute("UPDATE run SET expires_at = $1", NOW)
    assert await leave(connection) == 0
    await connection.execute("UPDATE run SET expires_at = $1", LATER)
    assert await leave(connection, up=()) == 0 and await leave(connection, up=(3,)) == 0
    assert await leave(connection, statuses=[], errors=[]) == 0
    assert await leave(connection) == 1


async def test_any_receipt_that_says_undeliverable_is_enough_where_that_is_wanted(connection: Any) -> None:
    await make_run(connection, numbers(1))
    await sent(connection)
    await answer(connection, 0, 0)
    await receipt(connection, 0, 5, "777")
    assert await leave(connection) == 0 and await leave(connection, undelivered=True) == 1


async def test_a_message_goes_from_lane_to_lane_until_its_routes_are_used_up(connection: Any) -> None:
    run = await make_run(connection, numbers(1))
    await sent(connection)
    for lane in (1, 2):
        await answer(connection, 0, REROUTE, lane=lane)
        assert await leave(connection, lane) == 1
        await transfer.carry(connection, lane, NOW)
    await answer(connection, 0, REROUTE, lane=3)
    assert await leave(connection, 3) == 0
    assert await states(connection, run) == {"rejected": 1}


# -- time is over -----------------------------------------------------------------------------------------------------


async def test_queued_messages_whose_run_is_over_are_closed_as_expired(connection: Any) -> None:
    run = await make_run(connection, numbers(100), expires_at=LATER)
    other = await make_run(connection, numbers(10))
    (batch,) = (await queue.claim(connection, 1, "w", NOW, 1)).batches
    await queue.release(connection, 1, [(batch.chunk_id, batch.epoch, 30)])
    assert await transfer.expire(connection, 1, LATER - timedelta(seconds=1)) == 0
    assert await transfer.expire(connection, 1, LATER) == 70
    assert await transfer.expire(connection, 1, LATER) == 0
    rows = await connection.fetch("SELECT pos, status, segment FROM outcome WHERE lane = 1")
    assert {row["pos"] for row in rows} == set(batch.ranks(30, 100)) and len(rows) == 70
    assert {(row["status"], row["segment"]) for row in rows} == {(Refusal.EXPIRED, 0)}
    assert await runs.open_chunks(connection, run.id) == 0 and await runs.open_chunks(connection, other.id) == 1
