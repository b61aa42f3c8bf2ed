"""Postgres and the simulated one, side by side: the same steps of two clients, every answer and every table alike.

$SLUICE_SHARED_STEPS says how many steps are taken, 1200 in an ordinary run (12 s):

    SLUICE_SHARED_STEPS=100000 python -m pytest -q tests/simulation/test_shared.py
"""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from _fastpath.copyrows import OutcomeRows
from _fastpath.ledger import Ledger
from gateway.errors import StoreError
from gateway.message import MessageClass, Policy
from gateway.store import cancels, postgres, queue, results, runs, transfer
from gateway.store.endings import Shut
from gateway.store.queue import Flush
from tests.simulation.copyoctets import us_of
from tests.simulation.postgres import SimPostgres

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
STEPS = int(os.environ.get("SLUICE_SHARED_STEPS", "1200"))
STEPS_OF_ONE = 40
TABLES = (
    "chunk", "chunk_payload", "outcome", "receipt", "receipt_waiting", "orphan_receipt", "repeated", "transfer",
    "flush", "receipt_habit",
)  # fmt: skip
# In every spelling that may be taken for another.
IDS = (b"a1", b"A1", b"00a1", b"10", b"16", b"0a", b"255", b"FF", b"a-long-id-of-letters", None)
RULES = ("auto", "verbatim", "loose", "hex", "decimal")


class World:
    """One of the two databases, with its two clients, as one example sees it: two lanes of its own.

    Steps choose by the numbers they are given, out of what both worlds know alike.
    """

    def __init__(self, clients: list[Any], lanes: list[int]):
        self.clients = clients
        self.lanes = lanes
        self.lane = lanes[0]
        self.at = 0
        self.runs: list[runs.Run] = []
        self.chunks: list[tuple[int, int, int]] = []
        self.flushes = 0

    @property
    def now(self) -> datetime:
        """The moment of a step; the next one is later."""
        return NOW + timedelta(milliseconds=self.at)

    def chunk(self, number: int) -> tuple[int, int, int]:
        """A chunk that was claimed once: id, epoch of then, positions."""
        return self.chunks[number % len(self.chunks)] if self.chunks else (number, 1, 3)

    # -- steps: each takes the client and a few numbers, and returns what can be compared ------------------------------

    async def enqueue(self, client: Any, a: int, b: int, c: int) -> Any:
        """A few people, their numbers few enough to meet again."""
        policy = (Policy.ONCE, Policy.AT_LEAST_ONCE, Policy.ASK)[a % 3]
        run = await runs.add_run(
            client, name=f"run {b % 2}", template="Hello", fields=["name"] if c % 2 else [], class_=MessageClass(b % 6),
            policy=policy, lanes=self.lanes, list_id=None, source=None, now=self.now, priority=c % 3,
            expires_at=self.now + timedelta(milliseconds=200) if a % 5 == 0 else None,
        )  # fmt: skip
        people = [447700900000 + (a * 7 + place) % 11 for place in range(1 + b % 5)]
        params = [[None if place % 3 else 'x"y\\{}'] for place in range(len(people))] if c % 2 else None
        return await runs.enqueue_few(
            client, run, self.lane, people, params, self.now, country=c % 2, fallback=self.lanes[1:] if c % 3 else ()
        )

    async def claim(self, client: Any, a: int, b: int, c: int) -> Any:
        """Some chunks."""
        paused = queue.Paused(countries=(1,)) if c % 4 == 0 else queue.NOTHING_PAUSED
        found = await queue.claim(client, self.lane, f"w{a % 2}", self.now, 1 + b % 3, 5 - a % 3, paused)
        self.chunks += [(batch.chunk_id, batch.epoch, batch.n) for batch in found.batches]
        return [
            (
                batch.chunk_id,
                batch.run,
                batch.epoch,
                batch.committed,
                batch.n,
                [batch.number(at) for at in range(batch.n)],
            )
            for batch in found.batches
        ], found.unread

    async def claim_beside_another(self, client: Any, a: int, b: int, c: int) -> Any:
        """Both at once: the second passes over what the first holds; which one stays is left to the numbers."""
        other = self.clients[1 - self.clients.index(client)]
        transaction = client.transaction()
        await transaction.start()
        try:
            first = await self.claim(client, a, b, c)
            second = await self.claim(other, a + 1, b, c)
        finally:
            await (transaction.commit() if c % 2 else transaction.rollback())
        return first, second

    async def advance(self, client: Any, a: int, b: int, c: int) -> Any:
        """A watermark, at times of an epoch that is over."""
        chunk_id, epoch, n = self.chunk(a)
        marks = [(chunk_id, epoch - (c % 4 == 0), b % (n + 1)), (chunk_id, epoch, c % (n + 1))]
        return await queue.advance(client, self.lane, marks[: 1 + c % 2])

    async def flush(self, client: Any, a: int, b: int, c: int) -> Any:
        """Outcomes, receipts that wait, a chunk that is finished; at times the same once more, or no COMMIT."""
        if c % 7:
            self.flushes += 1
        chunk_id, epoch, n = self.chunk(a)
        outcomes, ledger = OutcomeRows(self.lane), Ledger(self.lane)
        for place in range(1 + b % 3):
            status = (0, 0, 0, -1, 0x45, -17)[(b + place) % 6]
            segments = 1 + c % 2
            message_id = IDS[(a + b + place) % len(IDS)] if status == 0 else None
            at = us_of(self.now) + place
            outcomes.add_row(
                chunk_id, (a + place) % n, 1 + place % segments, segments, epoch, status, at, 5, message_id
            )
        ledger.wall_offset_us = us_of(self.now)
        for place in range(c % 3):
            message_id = IDS[(a + c + place) % (len(IDS) - 1)]
            number = None if b % 4 == 0 else 447700900000 + (a + place) % 11
            ledger.take_receipt(message_id, (2, 5, 1, 7)[(b + place) % 4], None, number, b"", place / 1e6, None)
        what = Flush(
            id=self.flushes, at=self.now, outcomes=outcomes.take(),
            waiting=ledger.waiting.take() if ledger.waiting.count else None,
            finished=((chunk_id, epoch),) if c % 5 == 0 else (),
        )  # fmt: skip
        if b % 5 == 0:
            transaction = client.transaction()
            await transaction.start()
            try:
                await queue.flush(client, self.lane, what)
            finally:
                await transaction.rollback()
        else:
            await queue.flush(client, self.lane, what)
        return await queue.flush_known(client, self.lane, self.flushes)

    async def release(self, client: Any, a: int, b: int, c: int) -> Any:
        """Give back, set aside, disown, queue anew."""
        chunk_id, epoch, n = self.chunk(a)
        if c % 4 == 0:
            return await queue.disown(client, self.lane, f"w{a % 2}", [chunk_id] if b % 2 else [])
        if c % 4 == 1:
            return await queue.hold(client, self.lane, [(chunk_id, epoch)]) if b % 3 == 0 else None
        if c % 4 == 2:
            return await queue.requeue(client, self.lane, chunk_id, epoch, [b % n], self.now)
        return await queue.release(client, self.lane, [(chunk_id, epoch, b % (n + 1))])

    async def rescue(self, client: Any, a: int, b: int, c: int) -> Any:
        """Chunks of the dead."""
        dead = [f"w{a % 2}"] if b % 2 else []
        owners = await queue.claim_owners(client, self.lane) if c % 2 else []
        return sorted(owners), await queue.rescue(client, self.lane, dead, self.now)

    async def match(self, client: Any, a: int, b: int, c: int) -> Any:
        """Receipts that wait."""
        rule, since = RULES[a % 5], NOW - timedelta(hours=1)
        found = await queue.match(client, self.lane, since, rule=rule, every=b % 2 == 0, fixed=c % 5 == 0)
        return found, await queue.any_waiting(client, self.lane)

    async def adopt(self, client: Any, a: int, b: int, c: int) -> Any:
        """Receipts for what is in doubt; those that nobody wants."""
        slack = timedelta(milliseconds=50 + a)
        contested = await queue.contested(client, self.lane, self.now)
        nameless = NOW if b % 2 else None
        adopted = await queue.adopt(client, self.lane, self.now, slack, nameless_since=nameless)
        orphaned = await queue.orphan(client, self.lane, self.now - timedelta(milliseconds=40), 1) if c % 3 == 0 else 0
        return contested, adopted, orphaned

    async def repeat(self, client: Any, a: int, b: int, c: int) -> Any:
        """What is in doubt, once more."""
        return await queue.repeat(client, self.lane, self.now - timedelta(milliseconds=a % 20), self.now)

    async def move(self, client: Any, a: int, b: int, c: int) -> Any:
        """To the other lane, or to an end."""
        if a % 3 == 0:
            left = await transfer.leave_closed(client, self.lane, self.lanes[1:], self.now)
        elif a % 3 == 1:
            how = {"statuses": [0x45], "errors": [], "undelivered": b % 2 == 0}
            left = await transfer.leave_failed(client, self.lane, self.lanes[1:], since=NOW, now=self.now, **how)  # type: ignore[arg-type]
        else:
            return await transfer.expire(client, self.lane, self.now)
        return left, await transfer.carry(client, self.lane, self.now) if c % 2 else 0

    async def cancel(self, client: Any, a: int, b: int, c: int) -> Any:
        """A run, by one of its chunks; what is closed for it; who is enqueued behind it."""
        chunk_id, epoch, n = self.chunk(a)
        run_id = chunk_id >> queue.CHUNK_BITS
        if b % 4 == 0:
            return len(await cancels.cancel(client, [run_id], at=self.now, by=f"op{c % 2}"))
        found = await runs.run_by_id(client, run_id)
        if found is None or found.cancelled_at is None:
            return None
        if b % 4 == 1:
            return await cancels.close(client, self.lane, [run_id], self.now)
        if b % 4 == 2:
            return await cancels.end(client, self.lane, [Shut(chunk_id, epoch, c % (n + 1))], self.now)
        if c % 3 == 0:
            return await runs.enqueue_few(client, found, self.lane, [447700900000], None, self.now)
        return await cancels.open_positions(client, run_id)

    async def learn(self, client: Any, a: int, b: int, c: int) -> Any:
        """How a lane's receipts are."""
        if c % 2:
            await queue.keep_receipt_habit(
                client, self.lane, delivered_wins=bool(a % 2), unknown_is_final=bool(b % 2), deadline_s=0.01 * (b % 3)
            )
        return await queue.learn_receipt_rule(client, self.lane, RULES[a % 5], self.now, RULES[b % 5])

    async def look(self, client: Any, a: int, b: int, c: int) -> Any:
        """What is known of runs and segments."""
        found: list[Any] = [
            await queue.unheard(
                client, self.lane, NOW, self.now, 1 + a % 9, behind=None, asked_since=NOW, unknown_is_final=b % 2 == 0
            )
        ]
        since = NOW - timedelta(days=1)
        for run in await runs.recent_runs(client, 3):
            found.append((await results.states(client, run.id, since, self.now), run))
            found.append(await results.refusals(client, run.id, since))
            found.append((await results.late_conflicts(client, run.id, since), await runs.open_chunks(client, run.id)))
            found.append(await results.unreceipted(client, run.id, since))
        sent = await queue.sent_since(client, self.lane, since, self.now)
        return found, sorted(map(repr, sent))

    async def tables(self) -> dict[str, list[str]]:
        """All that stands in the tables, of these lanes."""
        found = {}
        for table in TABLES:
            rows = []
            for lane in self.lanes:
                rows += await self.clients[0].fetch(f"SELECT * FROM {table} WHERE lane = $1", lane)
            found[table] = sorted(_said(table, dict(row)) for row in rows)
        return found


def _said(table: str, row: dict[str, Any]) -> str:
    """A row in words, without the numbers of transfers: one statement makes several, in any order."""
    if table == "transfer":
        del row["id"]
    elif table == "chunk":
        row["transfer"] = row["transfer"] is not None
    elif table == "repeated" and row["by_chunk"] < 1 << queue.CHUNK_BITS:
        del row["by_chunk"]
    return str(sorted((key, str(value)) for key, value in row.items()))


KINDS = (
    "enqueue", "enqueue", "claim", "claim", "claim", "claim_beside_another", "advance", "flush", "flush", "flush",
    "flush", "release", "rescue", "match", "adopt", "repeat", "move", "cancel", "cancel",
    "learn", "look",
)  # fmt: skip
STEP = st.tuples(st.sampled_from(KINDS), st.integers(0, 1), st.integers(0, 59), st.integers(0, 59), st.integers(0, 59))


async def _answer(step: Callable[..., Awaitable[Any]], client: Any, numbers: tuple[int, ...]) -> Any:
    """What a step gives: errors by their class, for the words are Postgres' own."""
    try:
        async with postgres.deadline(client, 20.0):
            return await step(client, *numbers)
    except StoreError as error:
        return type(error.__cause__).__name__, error.retryable


async def _compare(pair: list[list[Any]], example: int, steps: list[Any]) -> None:
    worlds = []
    for clients in pair:
        lanes = [await runs.lane_of(clients[0], f"{example} {side}", NOW) for side in "ab"]
        worlds.append(World(clients, lanes))
    for kind, client, *numbers in steps:
        answers = []
        for world in worlds:
            world.at += 10
            answers.append(await _answer(getattr(world, kind), world.clients[client], tuple(numbers)))
        assert answers[0] == answers[1], (kind, numbers)
    one, other = [await world.tables() for world in worlds]
    for table in TABLES:
        assert set(one[table]) ^ set(other[table]) == set(), table
        assert one[table] == other[table], table


@pytest.mark.database
def test_both_answer_alike_whatever_is_asked_of_them(dsn: str) -> None:
    """Two at once, lost commits, epochs that are over, ids in any spelling: nothing tells the two apart."""
    loop = asyncio.new_event_loop()
    simulated = SimPostgres(random.Random(0))
    try:
        real = [loop.run_until_complete(postgres.connect(dsn)) for _ in range(2)]
        pretended = [loop.run_until_complete(simulated.connect()) for _ in range(2)]
        for clients in (real, pretended):
            loop.run_until_complete(runs.ensure_partitions(clients[0], NOW))
        examples = iter(range(1 << 30))

        @settings(
            max_examples=max(1, STEPS // STEPS_OF_ONE), deadline=None, derandomize=STEPS == 1200,
            suppress_health_check=list(HealthCheck), phases=(Phase.generate,), database=None,
        )  # fmt: skip
        @given(st.lists(STEP, min_size=STEPS_OF_ONE, max_size=STEPS_OF_ONE))
        def compare(steps: list[Any]) -> None:
            loop.run_until_complete(_compare([real, pretended], next(examples), steps))

        compare()
        for one in real:
            one.terminate()
        loop.run_until_complete(asyncio.sleep(0))
    finally:
        loop.close()
