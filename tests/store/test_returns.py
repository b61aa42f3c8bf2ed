"""Which messages went nowhere, from rows written by hand, and whose reservation that takes back (CP-2)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath import gate as compiled
from gateway.gate import Gate
from gateway.message import MessageClass, Policy, Refusal
from gateway.reasons import Reason
from gateway.store import postgres, queue, results, returns, runs
from gateway.store.migrate import migrate
from gateway.store.runs import Run
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.pages import contacts_of, note_contacts

pytestmark = pytest.mark.database
NOW = datetime.now(UTC)
SECOND = timedelta(seconds=1)
DELIVERED, EXPIRED, UNDELIVERABLE, ACCEPTED, UNKNOWN, REJECTED = 2, 3, 5, 6, 7, 8
BEGIN = returns.Upto(outcomes=NOW - timedelta(hours=1), receipts=NOW - timedelta(hours=1))


class Story:
    """A run of 20 people who all have their reservation, on one lane, and the rows that a worker would have written."""

    def __init__(self, connection: Any, run: Run, lane: int, chunk_id: int, msisdn: list[int]):
        self.connection, self.run, self.lane, self.chunk_id, self.msisdn = connection, run, lane, chunk_id, msisdn

    async def outcome(self, pos: int, status: int, segment: int = 1, segments: int = 1, at: datetime = NOW) -> None:
        await self.connection.execute(
            "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id) "
            "VALUES ($1, $2, $3, $4, $5, 1, $6, $7, 1500, NULL)",
            self.lane, self.chunk_id, pos, segment, segments, status, at,
        )  # fmt: skip

    async def receipt(self, pos: int, state: int, segment: int = 1, at: datetime = NOW) -> None:
        await self.connection.execute(
            "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state) VALUES ($1, $2, $3, $4, $5, $6)",
            self.lane, self.chunk_id, pos, segment, at, state,
        )  # fmt: skip

    async def give_back(self, since: returns.Upto = BEGIN, at_once: int = 100) -> list[int]:
        """Give back all that can be; -> positions whose places are free now."""
        more = True
        while more:
            found, since, more = await returns.nowhere(self.connection, self.lane, since, NOW, at_once)
            for run, messages in found.items():
                await returns.give_back(self.connection, run, messages, BEGIN.outcomes)
            step = timedelta(microseconds=1)
            since = returns.Upto(outcomes=since.outcomes + step, receipts=since.receipts + step)
        free = await contacts_of(self.connection, self.run.id, compiled.RETURNED)
        assert len(free) == len(set(free)), "a place is given back once"
        return sorted(self.msisdn.index(number) for number in free)


async def story_of(connection: Any, **how: Any) -> Story:
    await runs.ensure_partitions(connection, NOW)
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await make_run(connection, numbers(20), [lane], now=NOW - timedelta(minutes=5), **how)
    await note_contacts(connection, numbers(20), NOW - SECOND, run=run.id)
    row = await connection.fetchrow("SELECT chunk_id, msisdn FROM chunk_payload WHERE run = $1", run.id)
    return Story(connection, run, lane, row["chunk_id"], row["msisdn"])


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def story(connection: Any) -> Story:
    return await story_of(connection, gate=Gate(needs="none"))


@pytest.mark.parametrize(
    ("status", "is_free"),
    [(0, False), (0x0B, True), (0x58, True), (Refusal.UNCERTAIN, False), (Refusal.EXPIRED, True),
     (Refusal.SUPPRESSED, True), (Refusal.NOT_ENCODABLE, True), (Refusal.MISSING_FIELD, True)],
)  # fmt: skip
async def test_a_message_of_which_nothing_was_accepted_gives_its_place_back_CP_2(
    story: Story, status: int, is_free: bool
) -> None:
    await story.outcome(3, status)
    assert await story.give_back() == ([3] if is_free else [])


async def test_what_the_gate_itself_refused_was_reserved_by_nobody_and_is_not_looked_for(story: Story) -> None:
    await story.outcome(3, Reason.NO_CONSENT, 0, 0)
    await story.outcome(4, -100, 0, 0)
    assert await story.give_back() == []


async def test_a_message_in_parts_keeps_its_place_until_the_last_of_them_has_failed(story: Story) -> None:
    await story.outcome(1, 0x0B, 1, 3)
    assert await story.give_back() == []
    await story.outcome(1, Refusal.ABANDONED, 2, 3)
    assert await story.give_back() == []
    await story.outcome(1, Refusal.ABANDONED, 3, 3)
    await story.outcome(2, 0x0B, 1, 2)
    await story.outcome(2, 0, 2, 2)
    await story.outcome(5, Refusal.TOO_MANY_PARTS, 0, 300)
    assert await story.give_back() == [1, 5]


async def test_doubt_keeps_the_place_until_an_answer_settles_it(story: Story) -> None:
    await story.outcome(1, Refusal.UNCERTAIN, 0, 0)
    await story.outcome(2, Refusal.UNCERTAIN)
    await story.outcome(3, Refusal.UNCERTAIN, 1, 2)
    await story.outcome(3, 0x0B, 2, 2)
    assert await story.give_back() == []
    await story.outcome(1, 0x0B)
    await story.outcome(2, 0)
    assert await story.give_back() == [1]


@pytest.mark.parametrize(
    ("states", "is_free"),
    [([DELIVERED], False), ([UNDELIVERABLE], True), ([EXPIRED], True), ([REJECTED], True), ([ACCEPTED], False),
     ([UNKNOWN], False), ([ACCEPTED, UNDELIVERABLE], True), ([DELIVERED, UNDELIVERABLE], False),
     ([UNDELIVERABLE, DELIVERED], True)],
)  # fmt: skip
async def test_a_receipt_of_a_failure_gives_the_place_back_the_first_end_counts_CP_2(
    story: Story, states: list[int], is_free: bool
) -> None:
    await story.outcome(6, 0)
    for at, state in enumerate(states):
        await story.receipt(6, state, at=NOW + at * SECOND / 1000)
    assert await story.give_back() == ([6] if is_free else [])


async def test_of_two_parts_one_that_was_delivered_keeps_the_place(story: Story) -> None:
    for pos in (1, 2):
        await story.outcome(pos, 0, 1, 2)
        await story.outcome(pos, 0, 2, 2)
        await story.receipt(pos, UNDELIVERABLE, 1)
    await story.receipt(1, DELIVERED, 2)
    assert await story.give_back() == []
    await story.receipt(2, UNDELIVERABLE, 2)
    assert await story.give_back() == [2]


async def test_a_failure_that_is_told_after_72_hours_changes_nothing_CP_2(story: Story) -> None:
    await results_days(story.connection)
    long_ago = NOW - timedelta(hours=72)
    await note_contacts(story.connection, story.msisdn[:2], long_ago - SECOND, run=story.run.id)
    for pos, accepted_at in ((0, long_ago), (1, long_ago - SECOND)):
        await story.outcome(pos, 0, at=accepted_at)
        await story.receipt(pos, UNDELIVERABLE)
    found, _, _ = await returns.nowhere(story.connection, story.lane, BEGIN, NOW)
    assert found[story.run.id].numbers == story.msisdn[0].to_bytes(8)


async def results_days(connection: Any) -> None:
    """Partitions of some days that are over."""
    for day in range(2, 6):
        await runs.ensure_partitions(connection, NOW - timedelta(days=day))
    assert await results.states(connection, 0, NOW - timedelta(days=6), NOW) == []


async def test_a_message_that_went_on_in_another_chunk_keeps_its_place(story: Story) -> None:
    await story.outcome(3, 0x0B)
    await story.connection.execute(
        "INSERT INTO repeated (lane, chunk_id, pos, by_chunk, at) VALUES ($1, $2, 3, 77, $3)",
        story.lane, story.chunk_id, NOW,
    )  # fmt: skip
    assert await story.give_back() == []


async def test_a_run_that_asks_no_gate_gives_nothing_back(connection: Any) -> None:
    story = await story_of(connection)
    assert not await returns.asks_anybody(connection)
    await story.outcome(3, 0x0B)
    assert await story.give_back() == []


async def test_a_run_without_a_list_keeps_its_places_for_a_number_may_have_several_messages(connection: Any) -> None:
    await runs.ensure_partitions(connection, NOW)
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await runs.add_run(
        connection, name="api", template="x", fields=[], class_=MessageClass.TRIGGERED, policy=Policy.ONCE,
        lanes=[lane], list_id=None, source=None, now=NOW, gate=Gate(needs="none"),
    )  # fmt: skip
    chunk_id = await runs.enqueue_few(connection, run, lane, [447700900001], None, NOW)
    story = Story(connection, run, lane, chunk_id, [447700900001])
    await story.outcome(0, 0x0B)
    assert await story.give_back() == []


async def test_many_failures_of_one_moment_are_taken_together_and_all_of_them_are_found(story: Story) -> None:
    for pos in range(20):
        await story.outcome(pos, 0x0B, at=NOW + (pos // 8) * SECOND / 1000)
    assert await story.give_back(at_once=3) == list(range(20))


async def test_whoever_is_killed_between_the_two_sides_returns_nothing_twice(story: Story) -> None:
    await story.outcome(3, 0x0B)
    for _ in range(3):
        assert await story.give_back() == [3]


async def test_a_reservation_behind_the_failure_is_of_another_message_and_stays(story: Story) -> None:
    await story.outcome(3, 0x0B)
    assert await story.give_back() == [3]
    await note_contacts(story.connection, [story.msisdn[3]], NOW + timedelta(minutes=1), run=story.run.id)
    assert await story.give_back() == [3]


async def test_how_far_a_lane_was_looked_through_is_never_taken_back(story: Story) -> None:
    first = await returns.upto(story.connection, story.lane, NOW)
    assert first == returns.Upto(outcomes=NOW - returns.PERMANENT, receipts=NOW - returns.PERMANENT)
    later = returns.Upto(outcomes=NOW, receipts=NOW - SECOND)
    await returns.note(story.connection, story.lane, returns.Upto(outcomes=NOW + SECOND, receipts=NOW - SECOND), NOW)
    await returns.note(story.connection, story.lane, first, NOW)
    assert await returns.upto(story.connection, story.lane, NOW) == later


async def test_the_failures_of_a_lane_are_found_by_their_index(story: Story) -> None:
    """A day of a hundred million outcomes is not read for the few that failed."""
    await story.connection.execute("SET enable_seqscan = off")
    plan = await story.connection.fetch(
        "EXPLAIN SELECT at FROM outcome WHERE lane = $1::int AND at >= $2::timestamptz "
        "AND (status > 0 OR (status < -1 AND status > -30)) ORDER BY at OFFSET 5 LIMIT 1".replace("$1", "1").replace(
            "$2", f"'{NOW.isoformat()}'"
        )
    )
    assert any("lane_at_idx" in row[0] or "outcome_failed" in row[0] for row in plan), [row[0] for row in plan]


async def test_two_that_return_at_once_do_no_harm(dsn: str, story: Story) -> None:
    await story.outcome(3, 0x0B)
    found, _, _ = await returns.nowhere(story.connection, story.lane, BEGIN, NOW)
    other = await postgres.connect(dsn)
    messages = found[story.run.id]
    await asyncio.gather(
        *(returns.give_back(one, story.run.id, messages, BEGIN.outcomes) for one in (story.connection, other))
    )
    assert set(await contacts_of(other, story.run.id, compiled.RETURNED)) == {story.msisdn[3]}
    await other.close()


async def test_what_expired_with_the_carrier_and_is_wanted_still_is_queued_once_more_and_keeps_its_place_QH_6(
    connection: Any,
) -> None:
    story = await story_of(connection, gate=Gate(needs="none"), lifetime=timedelta(hours=1))
    for pos in range(5):
        await story.outcome(pos, 0)
        await story.receipt(pos, (EXPIRED, EXPIRED, DELIVERED, UNDELIVERABLE, ACCEPTED)[pos])
    # Of a long message every part must have expired.
    for segment in (1, 2):
        await story.outcome(5, 0, segment, 2)
        await story.outcome(6, 0, segment, 2)
        await story.receipt(5, EXPIRED, segment)
    await story.receipt(6, EXPIRED, 1)
    assert await returns.again(connection, story.lane, BEGIN.receipts, NOW, at_once=2) == 3
    assert await returns.again(connection, story.lane, BEGIN.receipts, NOW) == 0
    copies = await connection.fetch("SELECT id, n, state FROM chunk WHERE repeats = $1 ORDER BY id", story.chunk_id)
    assert sum(copy["n"] for copy in copies) == 3 and {copy["state"] for copy in copies} == {0}
    # Who goes on keeps his place; who could not be reached gives it back.
    assert await story.give_back() == [3]
    # Once: what expires a second time has its end.
    copied = Story(connection, story.run, story.lane, copies[0]["id"], [])
    for pos in range(copies[0]["n"]):
        await copied.outcome(pos, 0)
        await copied.receipt(pos, EXPIRED)
    assert await returns.again(connection, story.lane, BEGIN.receipts, NOW) == 0


@pytest.mark.parametrize("how", ["over", "transactional", "ungated"])
async def test_what_expired_and_nobody_wants_any_more_has_its_end_QH_6(connection: Any, how: str) -> None:
    story = await story_of(
        connection,
        gate=None if how == "ungated" else Gate(needs="none"),
        lifetime=timedelta(minutes=4) if how == "over" else None,
        class_=MessageClass.TRANSACTIONAL if how == "transactional" else MessageClass.BULK,
    )
    await story.outcome(0, 0)
    await story.receipt(0, EXPIRED)
    assert await returns.again(connection, story.lane, BEGIN.receipts, NOW) == 0


async def test_a_message_that_waited_for_its_window_before_the_carrier_had_it_may_be_tried_again_QH_6(
    connection: Any,
) -> None:
    """Its chunk is a copy too, but of what had never left."""
    story = await story_of(connection, gate=Gate(needs="none"))
    async with connection.transaction():
        copy, _ = await queue.copy_positions(connection, story.lane, story.chunk_id, [0, 1], NOW)
    waited = Story(connection, story.run, story.lane, copy, [])
    await waited.outcome(1, 0)
    await waited.receipt(1, EXPIRED)
    assert await returns.again(connection, story.lane, BEGIN.receipts, NOW) == 1
