"""The gateway's own events of persons, end to end and exactly once: rule EV-11."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.automation.feeding import Feeding, name_of_stop
from gateway.config import Settings
from gateway.store import stops
from tests.store.test_feeds import NOW, NUMBERS, messages

ROUNDS = """
import asyncio, os, signal, sys
import asyncpg
from tests.automation.test_feeding import feeding

class Dying(asyncpg.Connection):
    left = int(sys.argv[2])
    async def execute(self, *a, **k):
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().execute(*a, **k)

async def main():
    made = feeding(sys.argv[1], Dying)
    await made.round()
    await made.close()

asyncio.run(main())
"""


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    await opened.execute(
        "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node) "
        "VALUES ('w1', 'h', 'b', 1, $1, $1, 'n')", NOW,
    )  # fmt: skip
    yield opened
    await opened.close()


def feeding(dsn: str, class_: Any = asyncpg.Connection, seconds: float = 10) -> Feeding:
    at = NOW + timedelta(seconds=seconds)
    return Feeding(Settings(), lambda: at, lambda: asyncpg.connect(dsn, connection_class=class_), "w1", Random(1))


async def told(connection: Any) -> Counter[tuple[int, str]]:
    rows = await connection.fetch(
        "SELECT p.number, v.name FROM person_event v JOIN profile p ON p.id = v.profile WHERE v.flags & 8 > 0"
    )
    return Counter((row["number"], row["name"]) for row in rows)


async def world(connection: Any) -> None:
    """Messages, receipts, a reply and STOPs."""
    lane, chunk = await messages(connection, [0] * 6)
    order = await connection.fetchval("SELECT msisdn FROM chunk_payload")
    await connection.execute(
        "INSERT INTO receipt (lane, chunk_id, pos, segment, state, at) VALUES ($1, $2, $3, 1, 2, $4)",
        lane, chunk, order.index(NUMBERS[0]), NOW + timedelta(seconds=1),
    )  # fmt: skip
    await connection.execute(
        "INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, is_lossy, "
        "pdus) VALUES ($1, 1, $2, $3, '123', 'hi', 1, '{}', 'gsm', false, '{}')",
        lane, NOW + timedelta(seconds=2), f"+{NUMBERS[0]}",
    )  # fmt: skip
    for number, source, is_stop in (
        (NUMBERS[1], "keyword", True), (NUMBERS[1], "keyword", False), (NUMBERS[2], "invalid", True)
    ):  # fmt: skip
        await stops.enter(connection, [number], ["*"], is_stop=is_stop, at=NOW, source=source)


ALL = Counter(
    {
        **{(number, "submitted"): 1 for number in NUMBERS[:5]},
        (NUMBERS[0], "delivered"): 1,
        (NUMBERS[0], "replied"): 1,
        (NUMBERS[1], "opted_out"): 1,
        (NUMBERS[1], "opted_in"): 1,
    }
)


async def test_ev_11_what_happened_is_told_once_however_often_it_is_read(dsn: str, connection: Any) -> None:
    await world(connection)
    for seconds in (10, 12, 3000):
        made = feeding(dsn, seconds=seconds)
        try:
            assert await made.round()
        finally:
            await made.close()
        assert await told(connection) == ALL
    campaign = "SELECT properties ->> 'campaign' FROM person_event WHERE name = $1"
    sent = await connection.fetchval(campaign, "submitted")
    assert sent and await connection.fetchval(campaign, "replied") == sent, "a reply is to what was sent last"
    assert await connection.fetchval("SELECT last_reply_at FROM profile WHERE number = $1", NUMBERS[0]) is not None
    assert await connection.fetchval("SELECT max(sessions) FROM profile") == 1, "ours are no visits (EV-10)"


async def test_stop_is_told_within_a_second_and_lanes_are_read_less_often(dsn: str, connection: Any) -> None:
    """EX-2: what stands in the queue for whoever has said it leaves as soon as it is told."""
    await world(connection)
    made = feeding(dsn)
    moments = [NOW + timedelta(seconds=10), NOW + timedelta(seconds=11), NOW + timedelta(seconds=15)]
    made._wall = lambda: moments[0]
    try:
        assert made.ROUND_S <= 1.0 and await made.round()
        await stops.enter(connection, [NUMBERS[2]], ["*"], is_stop=True, at=NOW, source="keyword")
        await connection.execute("UPDATE outcome SET at = $1 WHERE status = 0", moments[0])
        await connection.execute("DELETE FROM person_event WHERE name = 'submitted'")
        await connection.execute("DELETE FROM event_seen")
        moments.pop(0)
        assert await made.round()
        found = await told(connection)
        assert found[NUMBERS[2], "opted_out"] == 1 and found[NUMBERS[0], "submitted"] == 0
        moments.pop(0)
        assert await made.round()
        assert (await told(connection))[NUMBERS[0], "submitted"] == 1
    finally:
        await made.close()


@pytest.mark.slow
@pytest.mark.parametrize("statement", [3, 9, 15, 18, 24, 30, 36])
async def test_ev_11_a_worker_that_is_killed_at_any_statement_tells_nothing_twice_and_loses_nothing(
    dsn: str, connection: Any, statement: int
) -> None:
    await world(connection)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ROUNDS, dsn, str(statement))
    async with asyncio.timeout(60):
        assert await process.wait() in (-9, 0)
    assert await told(connection) <= ALL
    made = feeding(dsn)
    try:
        assert await made.round()
    finally:
        await made.close()
    assert await told(connection) == ALL
    totals = "SELECT count(*), sum(count) FROM event_total WHERE name = 'submitted'"
    assert tuple(await connection.fetchrow(totals)) == (5, 5)


async def test_nothing_is_read_where_nobody_with_a_number_is_known(dsn: str, connection: Any) -> None:
    made = feeding(dsn)
    try:
        assert not await made.round()
    finally:
        await made.close()
    assert await connection.fetchval("SELECT count(*) FROM job") == 0


def test_only_a_persons_own_word_is_an_opt_out() -> None:
    def entry(source: str, is_stop: bool) -> dict[str, Any]:
        return {"seq": 1, "number": 1, "at": NOW, "is_stop": is_stop, "scope": "*", "source": source, "note": ""}

    assert [name_of_stop(entry(one, True)) for one in ("keyword", "command", "invalid", "erased", "sunset")] == [
        "opted_out", "opted_out", "", "", ""
    ]  # fmt: skip
    assert [name_of_stop(entry(one, False)) for one in ("keyword", "invalid")] == ["opted_in", ""]
