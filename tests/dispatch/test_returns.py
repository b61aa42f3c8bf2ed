"""Places that are free again: a worker between the simulator and a real Postgres, and the job of one for all (CP-2)."""

import contextlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from _fastpath import gate as compiled
from gateway.dispatch.clock import Clock
from gateway.dispatch.returns import MONTHS_AHEAD, Returning
from gateway.errors import StoreError
from gateway.gate import Cap, Gate
from gateway.message import MessageClass
from gateway.simulator import behaviour
from gateway.store import membership, months, postgres, returns, runs
from gateway.store.migrate import migrate
from tests.fixtures.campaign import make_run, numbers
from tests.fixtures.engine import engine, until
from tests.fixtures.pages import contacts_of, note_contacts

pytestmark = pytest.mark.database
CAPPED = Gate(needs="none", caps=(Cap(limit=1, per="48h", classes=("transactional",)),), gap_s=0)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


async def register(connection: Any, *names: str) -> None:
    for name in names:
        now = datetime.now(UTC)
        worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=now, seen_at=now, node=name)
        await membership.register(connection, worker)


async def test_a_place_is_free_again_in_seconds_when_the_smsc_refuses_and_another_campaign_takes_it_CP_2(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger, responses=behaviour.Responses(errors={"ESME_RINVDSTADR": 1.0})) as e:
        people = numbers(50)
        run = await e.run(people, gate=CAPPED, class_=MessageClass.TRANSACTIONAL)
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"rejected": 50}

        async def is_free() -> bool:
            return await contacts_of(e.connection, run.id, compiled.RETURNED) == list(people)

        await until(is_free, "every place is given back", 10.0)


async def test_who_was_reached_keeps_his_place_CP_2(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        run = await e.run(numbers(30), gate=CAPPED, class_=MessageClass.TRANSACTIONAL)
        worker = await e.start()
        await e.ends(run)
        assert await worker.returning.round()
        other = await e.run(numbers(30), gate=CAPPED, class_=MessageClass.TRANSACTIONAL, name="other")
        await e.ends(other)
        assert await e.states(other) == {"refused": 30}
        assert await contacts_of(e.connection, run.id, compiled.RETURNED) == []


async def test_one_worker_of_two_gives_back_and_the_other_takes_over_when_it_is_gone(dsn: str) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    now = datetime.now(UTC)
    clock = Clock(monotonic=lambda: now.timestamp(), wall=lambda: now)
    jobs = [Returning(clock, lambda: postgres.connect(dsn), name) for name in ("one", "two")]
    try:
        await register(connection, "one", "two")
        assert await jobs[0].round()
        await runs.ensure_partitions(connection, now)
        lane = await runs.lane_of(connection, "acme", now)
        run = await make_run(connection, numbers(3), [lane], now=now - timedelta(minutes=1), gate=CAPPED)
        await note_contacts(connection, numbers(3), now - timedelta(seconds=9), run=run.id)
        chunk_id = await connection.fetchval("SELECT id FROM chunk")

        async def fail(pos: int) -> None:
            await connection.execute(
                "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
                "VALUES ($1, $2, $3, 1, 1, 1, 11, $4, 9)",
                lane, chunk_id, pos, now - timedelta(seconds=1),
            )  # fmt: skip

        await fail(0)
        assert await jobs[0].round() and not await jobs[1].round()
        assert (jobs[0].returned, jobs[1].returned) == (1, 0)
        await fail(1)
        await connection.execute("DELETE FROM worker WHERE instance = 'one'")
        assert await jobs[1].round() and jobs[1].returned == 1
        # It is known how far the lane was looked through, and what was committed late is found in the overlap.
        assert (await returns.upto(connection, lane, now)).outcomes == now
        found = [month.begin for month in await months.months(connection, "contact_page")]
        assert found == months.ahead(now, MONTHS_AHEAD)
    finally:
        for job in jobs:
            await job.close()
        await connection.close()


async def test_a_server_that_is_away_ends_the_round_and_the_next_one_has_a_new_connection(dsn: str) -> None:
    await migrate(dsn)
    made = []

    async def connect() -> postgres.Connection:
        made.append(await postgres.connect(dsn))
        return made[-1]

    now = datetime.now(UTC)
    job = Returning(Clock(monotonic=lambda: 1.0, wall=lambda: now), connect, "one")
    other = await postgres.connect(dsn)
    try:
        await register(other, "one")
        assert await job.round()
        await other.execute("SELECT pg_terminate_backend($1)", made[0].get_server_pid())
        # It finds out at its first statement, or before that.
        with contextlib.suppress(StoreError):
            await job.round()
        assert await job.round() and len(made) == 2
    finally:
        await job.close()
        await postgres.close(other)


async def test_of_an_open_run_the_message_that_was_refused_gives_its_place_back_and_no_other_CP_2(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger, responses=behaviour.Responses(errors={"ESME_RINVDSTADR": 1.0})) as e:
        now = datetime.now(UTC)
        lane = await e.lane()
        gate = Gate(needs="none", caps=(Cap(limit=2, per="48h", classes=("transactional",)),), gap_s=0)
        run = await runs.add_run(
            e.connection, name="open", template="Hi", fields=(), class_=MessageClass.TRANSACTIONAL, policy="once",
            lanes=[lane], list_id=None, source=None, now=now, gate=gate,
        )  # fmt: skip
        await note_contacts(e.connection, numbers(5), now - timedelta(hours=1), run=(lane << 58) ^ 77, class_=3)
        chunk = await runs.enqueue_few(e.connection, run, lane, numbers(5), None, now)
        await e.start()
        act = (lane << 58) ^ chunk

        async def is_free() -> bool:
            return await contacts_of(e.connection, act, compiled.RETURNED) == list(numbers(5))

        await until(is_free, "every place is given back", 10.0)
        assert await contacts_of(e.connection, (lane << 58) ^ 77, compiled.RETURNED) == []


# Countries without a law of their own here, by what their clocks are ahead of UTC.
ELSEWHERE = {0: 233241000000, 3: 254712000000, 7: 66812000000, 12: 6797000000, -5: 51912000000, -10: 68987000000}


def by_day(count: int, now: datetime) -> range:
    """Numbers of somewhere where it is neither early nor late: everywhere the day is eleven hours long."""
    first = min(ELSEWHERE, key=lambda hours: abs((now + timedelta(hours=hours)).hour - 14))
    return numbers(count, ELSEWHERE[first])


async def test_what_expires_at_the_carrier_is_tried_once_more_and_then_has_its_end_QH_6(dsn: str, ledger: Path) -> None:
    receipts = behaviour.Receipts(states={"EXPIRED:027": 1.0}, when="always")
    async with engine(dsn, ledger, receipts=receipts) as e:
        people = by_day(20, datetime.now(UTC))
        run = await e.run(people, gate=Gate(needs="none", gap_s=0), class_=MessageClass.BULK)
        await e.start()

        async def is_tried_twice() -> bool:
            return len((await e.audit(run)).taken) == 40 and (await e.states(run)) == {"expired": 20}

        await until(is_tried_twice, "each was tried twice, and expired")
        sent = Counter(int(one.destination) for one in (await e.audit(run)).taken)
        assert sent == dict.fromkeys(people, 2)
        # Not a third time, whoever looks.
        lane, now = await e.lane(), datetime.now(UTC)
        assert await returns.again(e.connection, lane, now - timedelta(hours=1), now + timedelta(minutes=1)) == 0
