"""What became of a run, from rows written by hand."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.store import queue, results, runs
from gateway.store.runs import Run
from tests.fixtures import campaign
from tests.fixtures.campaign import numbers
from tests.fixtures.database import Database

NOW = datetime.now(UTC)
SINCE = NOW - timedelta(hours=1)
DELIVERED, EXPIRED, DELETED, UNDELIVERABLE, ACCEPTED, UNKNOWN, REJECTED = 2, 3, 4, 5, 6, 7, 8


class Story:
    """One run on one lane, and the rows that a worker would have written of it."""

    def __init__(self, connection: Any, run: Run, lane: int, chunk_id: int):
        self.connection, self.run, self.lane, self.chunk_id = connection, run, lane, chunk_id
        self._at = NOW

    def _next(self) -> datetime:
        self._at += timedelta(milliseconds=1)
        return self._at

    async def outcome(self, pos: int, status: int, segment: int = 1, segments: int = 1, chunk_id: int = 0) -> None:
        await self.connection.execute(
            "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id) "
            "VALUES ($1, $2, $3, $4, $5, 1, $6, $7, 1500, NULL)",
            self.lane, chunk_id or self.chunk_id, pos, segment, segments, status, self._next(),
        )  # fmt: skip

    async def receipt(self, pos: int, state: int, segment: int = 1) -> None:
        await self.connection.execute(
            "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state) VALUES ($1, $2, $3, $4, $5, $6)",
            self.lane, self.chunk_id, pos, segment, self._next(), state,
        )  # fmt: skip

    async def states(self) -> dict[str, int]:
        return await campaign.states(self.connection, self.run)


@pytest.fixture
async def story(database: Database) -> AsyncIterator[Story]:
    connection = await database.connect()
    await runs.ensure_partitions(connection, NOW)
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await campaign.make_run(connection, numbers(20), [lane], now=NOW)
    yield Story(connection, run, lane, await connection.fetchval("SELECT id FROM chunk"))
    connection.terminate()


@pytest.mark.parametrize(
    ("status", "receipts", "state"),
    [
        (0, [], "submitted"),
        (0, [DELIVERED], "delivered"),
        (0, [ACCEPTED], "submitted"),
        (0, [1, DELIVERED], "delivered"),
        (0, [EXPIRED], "expired"),
        (0, [DELETED], "undeliverable"),
        (0, [UNDELIVERABLE], "undeliverable"),
        (0, [REJECTED], "rejected"),
        (0, [UNKNOWN], "submitted"),
        (0, [UNKNOWN, DELIVERED], "delivered"),
        (0, [-1], "submitted"),
        (0x0B, [], "rejected"),
        (-1, [], "uncertain"),
        (-4, [], "refused"),
        # Of final states the first stands, whatever comes later; duplicates change nothing.
        (0, [DELIVERED, DELIVERED, DELIVERED], "delivered"),
        (0, [DELIVERED, EXPIRED], "delivered"),
        (0, [EXPIRED, DELIVERED], "expired"),
        (0, [DELIVERED, 1], "delivered"),
    ],
)
async def test_state_of_a_message_of_one_segment(story: Story, status: int, receipts: list[int], state: str) -> None:
    await story.outcome(3, status, segment=0 if status < -1 else 1, segments=0 if status < -1 else 1)
    for one in receipts:
        await story.receipt(3, one)
    assert await story.states() == {state: 1}


@pytest.mark.parametrize(
    ("answers", "receipts", "state"),
    [
        ([0, 0, 0], {1: 2, 2: 2, 3: 2}, "delivered"),
        ([0, 0, 0], {1: 2, 2: 2}, "submitted"),
        ([0, 0, 0], {1: 2, 2: 2, 3: 5}, "undeliverable"),
        ([0, 0, -1], {1: 2, 2: 2}, "uncertain"),
        ([0, 0x45, 0], {1: 2, 3: 2}, "partial"),
        ([0, -1, 0x45], {}, "partial"),
        ([0x45, 0x45, 0x45], {}, "rejected"),
    ],
)
async def test_state_of_a_long_message_is_the_worst_of_its_segments(
    story: Story, answers: list[int], receipts: dict[int, int], state: str
) -> None:
    for segment, status in enumerate(answers, 1):
        await story.outcome(0, status, segment, 3)
    for segment, one in receipts.items():
        await story.receipt(0, one, segment)
    assert await story.states() == {state: 1}
    (count,) = await results.states(story.connection, story.run.id, SINCE, NOW)
    assert count.segments == 3


async def test_a_late_answer_overrules_doubt_about_a_segment(story: Story) -> None:
    await story.outcome(0, -1)
    await story.outcome(0, 0)
    await story.outcome(1, -1)
    await story.outcome(1, 0x45)
    assert await story.states() == {"submitted": 1, "rejected": 1}


async def test_answers_overrule_doubt_about_a_whole_message_when_all_its_segments_have_one(story: Story) -> None:
    for pos in (0, 1):
        await story.outcome(pos, -1, 0, 0)
    for segment in (1, 2, 3):
        await story.outcome(0, 0, segment, 3)
        await story.receipt(0, DELIVERED, segment)
    for segment in (1, 3):
        await story.outcome(1, 0, segment, 3)
    assert await story.states() == {"delivered": 1, "uncertain": 1}


async def test_a_receipt_adopted_for_a_whole_message_counts_for_it(story: Story) -> None:
    await story.outcome(0, -1, 0, 0)
    await story.outcome(0, 0, 0, 0)
    await story.receipt(0, DELIVERED, 0)
    assert await story.states() == {"delivered": 1}


async def test_what_is_sent_again_counts_where_it_was_sent_again(story: Story) -> None:
    await story.outcome(0, 0)
    await story.outcome(1, -1)
    await story.connection.execute("UPDATE run SET policy = 'at_least_once'")
    assert await queue.repeat(story.connection, story.lane, NOW + timedelta(minutes=1), NOW) == 1
    assert await story.states() == {"submitted": 1}
    copy = await story.connection.fetchval("SELECT id FROM chunk WHERE repeats IS NOT NULL")
    await story.outcome(0, 0, chunk_id=copy)
    # A receipt of the first try after all changes nothing that the second has not said.
    await story.receipt(1, DELIVERED)
    assert await story.states() == {"submitted": 2}


async def test_other_runs_are_not_counted(story: Story) -> None:
    other = await campaign.make_run(story.connection, numbers(5), [story.lane], now=NOW)
    chunk_id = await story.connection.fetchval("SELECT id FROM chunk WHERE run = $1", other.id)
    await story.outcome(0, 0)
    await story.outcome(0, 0x45, chunk_id=chunk_id)
    assert await story.states() == {"submitted": 1}
    assert await results.refusals(story.connection, story.run.id, SINCE) == []


async def test_reasons_are_counted_in_messages(story: Story) -> None:
    for segment in (1, 2):
        await story.outcome(0, 0x45, segment, 2)
    await story.outcome(1, 0x45)
    await story.outcome(2, -3, 0, 0)
    await story.outcome(3, 0)
    await story.outcome(4, -1)
    counted = {one.status: one.messages for one in await results.refusals(story.connection, story.run.id, SINCE)}
    assert counted == {0x45: 2, -3: 1}


async def test_message_with_too_many_parts_tells_how_many_it_needs_and_has_no_segments(story: Story) -> None:
    await story.outcome(0, -11, 0, 12)
    await story.outcome(1, -11, 0, 14)
    await story.outcome(2, 0, 1, 2)
    await story.outcome(2, 0, 2, 2)
    (refused,) = await results.refusals(story.connection, story.run.id, SINCE)
    assert (refused.status, refused.messages, refused.needed) == (-11, 2, 14)
    counted = await results.states(story.connection, story.run.id, SINCE, NOW)
    assert {one.state: (one.messages, one.segments) for one in counted} == {"refused": (2, 0), "submitted": (1, 2)}


@pytest.mark.parametrize(
    ("answers", "state", "segments"), [((0x45, -17, -17), "rejected", 1), ((0, 0x45, -17), "partial", 2)]
)
async def test_parts_that_were_not_sent_for_a_brother_s_sake_say_nothing_of_their_message(
    story: Story, answers: tuple[int, ...], state: str, segments: int
) -> None:
    for segment, status in enumerate(answers, 1):
        await story.outcome(0, status, segment, 3)
    (count,) = await results.states(story.connection, story.run.id, SINCE, NOW)
    assert (count.state, count.messages, count.segments) == (state, 1, segments)
    (refused,) = await results.refusals(story.connection, story.run.id, SINCE)
    assert (refused.status, refused.messages) == (0x45, 1)


async def test_latencies_and_missing_receipts_are_those_of_accepted_segments(story: Story) -> None:
    assert await results.latencies(story.connection, story.run.id, SINCE) == []
    for pos in range(4):
        await story.outcome(pos, 0 if pos < 3 else 0x45)
    await story.receipt(0, DELIVERED)
    (latency,) = await results.latencies(story.connection, story.run.id, SINCE)
    assert (latency.lane, latency.segments, latency.response_p50_ms) == (story.lane, 3, 1.5)
    assert latency.receipt_p50_ms is not None and latency.receipt_p50_ms > 1.5
    assert await results.unreceipted(story.connection, story.run.id, SINCE) == 2


# ------------------------------------------------------------------------------------------ deadlines, policies, habits


async def habit(story: Story, **how: Any) -> None:
    settings = {"delivered_wins": False, "unknown_is_final": False, "deadline_s": None}
    await queue.keep_receipt_habit(story.connection, story.lane, **(settings | how))


async def test_what_is_withheld_is_no_receipt_from_the_deadline_on_and_nothing_else_is(story: Story) -> None:
    await habit(story, deadline_s=60.0)
    for pos in range(5):
        await story.outcome(pos, 0)
    await story.outcome(5, -1)
    await story.outcome(6, 0x0B)
    await story.receipt(0, DELIVERED)
    await story.receipt(1, UNDELIVERABLE)
    await story.receipt(2, 1)
    first = NOW + timedelta(seconds=60)
    rest = {"delivered": 1, "undeliverable": 1, "uncertain": 1, "rejected": 1}
    assert await campaign.states(story.connection, story.run, first) == {"submitted": 3, **rest}
    # Positions 2 to 4 were accepted at 3, 4 and 5 ms.
    at_the_fourth = first + timedelta(milliseconds=4)
    assert await campaign.states(story.connection, story.run, at_the_fourth) == {
        "no_receipt": 2,
        "submitted": 1,
        **rest,
    }
    late = first + timedelta(days=1)
    assert await campaign.states(story.connection, story.run, late) == {"no_receipt": 3, **rest}
    # It is no end: a receipt that comes weeks late still counts.
    await story.receipt(3, DELIVERED)
    assert (await campaign.states(story.connection, story.run, late))["delivered"] == 2


async def test_a_delivery_wins_over_an_earlier_end_only_where_the_carrier_is_so(story: Story) -> None:
    """Quirk 33: contradicting receipts; the first end stands, the other is counted; case 8 of the write protocol."""
    await story.outcome(0, 0)
    for state in (EXPIRED, EXPIRED, DELIVERED):
        await story.receipt(0, state)
    await story.outcome(1, 0)
    await story.receipt(1, EXPIRED)
    assert await story.states() == {"expired": 2}
    assert await results.late_conflicts(story.connection, story.run.id, SINCE) == 1
    await habit(story, delivered_wins=True)
    assert await story.states() == {"delivered": 1, "expired": 1}


async def test_unknown_ends_a_message_only_where_the_carrier_is_so(story: Story) -> None:
    """Quirk 39."""
    for pos, states in enumerate([[UNKNOWN], [UNKNOWN, DELIVERED], [-1], [ACCEPTED], [0]]):
        await story.outcome(pos, 0)
        for state in states:
            await story.receipt(pos, state)
    assert await story.states() == {"submitted": 4, "delivered": 1}
    await habit(story, unknown_is_final=True)
    assert await story.states() == {"submitted": 3, "unknown": 2}


@pytest.mark.parametrize(
    ("policy", "receipts", "state"),
    [
        # Receipts by segment in their order of coming: part 1 only after part 3, one of them twice.
        ("worst", [(3, 2), (3, 2), (1, 2)], "submitted"),
        ("worst", [(3, 5)], "undeliverable"),
        ("worst", [(3, 2), (2, 2), (1, 2)], "delivered"),
        ("all", [(3, 5)], "submitted"),
        ("all", [(3, 5), (1, 2), (2, 2)], "undeliverable"),
        ("all", [(3, 2), (1, 2), (2, 2)], "delivered"),
        ("any", [(3, 5), (1, 5)], "submitted"),
        ("any", [(3, 5), (1, 2)], "delivered"),
        ("any", [(3, 5), (1, 5), (2, 3)], "expired"),
        ("last", [(1, 5), (2, 5)], "submitted"),
        ("last", [(3, 2), (1, 5), (2, 5)], "delivered"),
        ("last", [(1, 2), (2, 2), (3, 3)], "expired"),
    ],
)
async def test_state_of_a_long_message_follows_the_run_s_policy(
    story: Story, policy: str, receipts: list[tuple[int, int]], state: str
) -> None:
    await story.connection.execute("UPDATE run SET receipt_policy = $1", policy)
    for segment in (1, 2, 3):
        await story.outcome(0, 0, segment, 3)
    for segment, one in receipts:
        await story.receipt(0, one, segment)
    assert await story.states() == {state: 1}


async def test_a_run_keeps_its_receipt_policy(story: Story) -> None:
    made = await runs.add_run(
        story.connection, name="r", template="x", fields=[], class_=5, policy="once", lanes=[story.lane], list_id=None,
        source=None, now=NOW, receipt_policy="any",
    )  # fmt: skip
    assert (made.receipt_policy, story.run.receipt_policy) == ("any", "worst")
