"""What becomes of codes when their messages end, and when orders name them (TP-5, GL-4, S0.15)."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest

from gateway.automation.offers import Offers
from gateway.coupon import Coupon, State
from gateway.message import MessageClass, Policy, Refusal
from gateway.person import Item, Who
from gateway.reasons import Reason
from gateway.store import coupons, membership, runs
from gateway.store.coupons import Pool
from gateway.store.profiles import ingest
from tests.fixtures.campaign import make_run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBERS = [447911123456 + at for at in range(8)]
POOL = Coupon(kind="pool", life="48h")

ROUND = """
import asyncio, os, signal, sys
import asyncpg
from tests.automation.test_offers import job

class Dying(asyncpg.Connection):
    left = int(sys.argv[2])
    async def execute(self, *a, **k):
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().execute(*a, **k)

async def main():
    made = job(sys.argv[1], class_=Dying)
    await made.round()
    await made.close()

asyncio.run(main())
"""


def job(dsn: str, hours: float = 1, class_: Any = asyncpg.Connection) -> Offers:
    at = NOW + hours * HOUR
    return Offers(lambda: at, lambda: asyncpg.connect(dsn, connection_class=class_), "w1", Random(1))


class World:
    """A database with a pool, an open run whose messages carry keys, and persons with the first numbers."""

    def __init__(self, connection: Any, dsn: str):
        self.connection, self.dsn = connection, dsn
        self.pool: Pool
        self.run: runs.Run
        self.lane = 0

    async def set_up(self) -> None:
        """Make it."""
        worker = runs.Worker(instance="w1", host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node="n")
        await membership.register(self.connection, worker)
        await runs.ensure_partitions(self.connection, NOW)
        self.lane = await runs.lane_of(self.connection, "acme", NOW)
        made = await coupons.create(self.connection, "spring", POOL, b"s" * 32, NOW)
        await coupons.add(self.connection, made, [f"SPRING-{at}" for at in range(100)])
        found = await coupons.find(self.connection, "spring")
        assert found is not None
        self.pool = found
        self.run = await runs.add_run(
            self.connection, name="winback", template="{text}", fields=("text", "key"), class_=MessageClass.TRIGGERED,
            policy=Policy.ONCE, lanes=[self.lane], list_id=None, source=None, now=NOW,
        )  # fmt: skip
        await coupons.carry(self.connection, self.run.id, self.pool, 2)
        items = [Item(who=Who(external_id=f"c{one}", phone=one), name="visit") for one in NUMBERS[:-1]]
        await ingest(self.connection, items, NOW, Random(1))

    async def send(self, numbers: Sequence[int] = NUMBERS, visit: int = 1) -> int:
        """Reserve a code for each, and queue their messages; -> the chunk."""
        asked = [(f"e{number}:{visit}", number) for number in numbers]
        found = await coupons.reserve(self.connection, self.pool, asked, NOW)
        params = [[f"Take {one.code}" if one else "", key] for one, (key, _) in zip(found, asked, strict=True)]
        return await runs.enqueue_few(self.connection, self.run, self.lane, numbers, params, NOW)

    async def ends(self, chunk: int, pos: int, status: int, segment: int = 1, segments: int = 1) -> None:
        """What came of a message."""
        await self.connection.execute(
            "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
            "VALUES ($1, $2, $3, $4, $5, 1, $6, $7, 0)",
            self.lane, chunk, pos, segment, segments, int(status), NOW + timedelta(minutes=1),
        )  # fmt: skip

    async def orders(self, *codes: Any, order: str = "o1", at: datetime = NOW + HOUR, who: int = 0) -> None:
        """An order that names codes."""
        item = Item(
            who=Who(external_id=f"c{NUMBERS[who]}"), name="order_placed", occurred_at=at,
            properties={"order_id": order, "total": 5, "discount_codes": list(codes)},
        )  # fmt: skip
        await ingest(self.connection, [item], at, Random(2))

    async def round(self, hours: float = 1) -> Offers:
        """One round of the job."""
        made = job(self.dsn, hours)
        try:
            await made.round()
        finally:
            await made.close()
        return made

    async def states(self) -> dict[int, int]:
        """Number -> state of its code; whoever has none is missing."""
        rows = await self.connection.fetch("SELECT number, state FROM coupon WHERE number IS NOT NULL")
        return {row["number"]: row["state"] for row in rows}

    async def told(self, name: str) -> list[tuple[int, dict[str, Any]]]:
        """Events of ours of a name, with whose they are."""
        rows = await self.connection.fetch(
            "SELECT p.number, v.properties FROM person_event v JOIN profile p ON p.id = v.profile "
            "WHERE v.name = $1 AND v.flags & 8 > 0 ORDER BY p.number", name,
        )  # fmt: skip
        return [(row["number"], msgspec.json.decode(row["properties"])) for row in rows]


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    connection = await asyncpg.connect(dsn)
    made = World(connection, dsn)
    await made.set_up()
    yield made
    await connection.close()


@pytest.mark.covers("S1.12", "S1.19")
async def test_tp_5_a_code_is_issued_when_its_message_is_sent_and_lives_48_hours_from_then(world: World) -> None:
    chunk = await world.send()
    for pos in (0, 1, 7):
        await world.ends(chunk, pos, 0)
    done = await world.round()
    issued = {NUMBERS[at]: State.ISSUED for at in (0, 1, 7)}
    assert done.issued == 3 and await world.states() == {one: State.RESERVED for one in NUMBERS} | issued
    row = await world.connection.fetchrow("SELECT * FROM coupon WHERE number = $1", NUMBERS[0])
    assert row["expires_at"] - row["issued_at"] == 48 * HOUR and (row["run"], row["pos"]) == (world.run.id, 0)
    # Who is no person has no events.
    events = await world.told("coupon_issued")
    assert [number for number, _ in events] == NUMBERS[:2]
    assert events[0][1] == {
        "pool": "spring", "code": row["code"], "campaign": "winback", "run": world.run.id,
        "expires_at": "2026-03-03T12:01:00Z",
    }  # fmt: skip
    # Told again, and swept again, it changes nothing.
    assert (await world.round(1.2)).issued == 0 and len(await world.told("coupon_issued")) == 2


async def test_tp_5_only_what_certainly_was_not_sent_is_given_back(world: World) -> None:
    chunk = await world.send()
    await world.ends(chunk, 0, Reason.NO_CONSENT, 0, 0)
    await world.ends(chunk, 1, Refusal.EXPIRED, 0, 0)
    await world.ends(chunk, 2, Refusal.UNCERTAIN)
    # A part was taken, the other too late; a part of many, of which others may be on their way.
    await world.ends(chunk, 3, 0, 2, 2)
    await world.ends(chunk, 3, Refusal.EXPIRED, 1, 2)
    await world.ends(chunk, 4, Refusal.EXPIRED, 1, 3)
    # In doubt before, and refused when it was looked at again.
    await world.ends(chunk, 5, Refusal.UNCERTAIN)
    await world.ends(chunk, 5, Reason.STOP, 0, 0)
    # The SMSC has rejected it.
    await world.ends(chunk, 6, 0x0B)
    # It went on in another chunk.
    await world.connection.execute(
        "INSERT INTO repeated (lane, chunk_id, pos, by_chunk, at) VALUES ($1, $2, 7, 9, $3)", world.lane, chunk, NOW
    )
    await world.ends(chunk, 7, Reason.STOP, 0, 0)
    done = await world.round()
    assert done.released == 2
    assert await world.states() == dict.fromkeys(NUMBERS[2:], State.RESERVED)
    # Whom the gate has refused may come back, with a code that is theirs anew; what was given back is given away.
    await world.send(NUMBERS[:1], visit=2)
    assert (await world.round(1.2)).released == 0, "the refusal of before is no other key's"
    # Of what was rejected the time runs.
    assert (await world.round(50)).expired == 1


async def test_a_refusal_in_a_chunk_of_repeats_gives_nothing_back(world: World) -> None:
    chunk = await world.send()
    await world.connection.execute("UPDATE chunk SET repeats = 5 WHERE id = $1", chunk)
    await world.ends(chunk, 0, Reason.STOP, 0, 0)
    assert (await world.round()).released == 0 and len(await world.states()) == 8


@pytest.mark.covers("S0.15", "S1.13")
async def test_gl_4_an_order_that_names_a_code_redeems_it_once_and_whose_message_it_was_is_told(world: World) -> None:
    chunk = await world.send()
    for pos in range(4):
        await world.ends(chunk, pos, 0)
    await world.round()
    codes = dict(await world.connection.fetch("SELECT number, code FROM coupon WHERE number IS NOT NULL"))
    # A friend of whom it was sent to orders with it, and names it in small letters.
    await world.orders({"code": codes[NUMBERS[0]].lower(), "amount": "5"}, "UNKNOWN", who=3)
    await world.orders(codes[NUMBERS[1]], order="o2", at=NOW + 49 * HOUR)
    await world.orders(codes[NUMBERS[0]], order="o3", who=2, at=NOW + 2 * HOUR)
    done = await world.round()
    assert done.redeemed == 1
    assert await world.states() == dict.fromkeys(NUMBERS, State.RESERVED) | {
        NUMBERS[0]: State.REDEEMED, **dict.fromkeys(NUMBERS[1:4], State.ISSUED)
    }  # fmt: skip
    assert await world.told("coupon_redeemed") == [
        (NUMBERS[0], {"pool": "spring", "code": codes[NUMBERS[0]], "order": "order:o1", "campaign": "winback",
                      "run": world.run.id})
    ]  # fmt: skip
    assert await world.connection.fetchval("SELECT count(*) FROM coupon_told") == 0
    # The shop tells it again, with another event.
    await world.orders(codes[NUMBERS[0]], at=NOW + 2 * HOUR)
    assert (await world.round(1.2)).redeemed == 0 and len(await world.told("coupon_redeemed")) == 1


async def test_a_redemption_that_the_shop_tells_itself_has_no_second_event(world: World) -> None:
    chunk = await world.send()
    await world.ends(chunk, 0, 0)
    await world.round()
    code = await world.connection.fetchval("SELECT code FROM coupon WHERE number = $1", NUMBERS[0])
    item = Item(
        who=Who(phone=NUMBERS[0]), name="coupon_redeemed", occurred_at=NOW + HOUR,
        properties={"coupon": code, "order_id": 7},
    )  # fmt: skip
    await ingest(world.connection, [item], NOW + HOUR, Random(3))
    assert (await world.round()).redeemed == 1 and await world.told("coupon_redeemed") == []


async def test_a_code_that_was_redeemed_before_its_sending_was_told_keeps_both(world: World) -> None:
    chunk = await world.send()
    code = await world.connection.fetchval("SELECT code FROM coupon WHERE number = $1", NUMBERS[0])
    await world.orders(code)
    await world.round()
    await world.ends(chunk, 0, 0)
    await world.round(1.2)
    row = await world.connection.fetchrow("SELECT state, issued_at, run FROM coupon WHERE code = $1", code)
    assert (row["state"], row["run"]) == (State.REDEEMED, world.run.id) and row["issued_at"] is not None


async def test_codes_of_a_list_are_issued_by_any_run_over_it_and_stay_their_peoples_own(world: World) -> None:
    people = {number: {"name": "n"} for number in NUMBERS[:4]}
    run = await make_run(world.connection, people, [world.lane], name="blast", now=NOW)
    assert run.list is not None
    assert await coupons.assign(world.connection, world.pool, run.list, "code", NOW) == (4, 0)
    chunk, order = await world.connection.fetchrow("SELECT chunk_id, msisdn FROM chunk_payload WHERE run = $1", run.id)
    await world.ends(chunk, 0, 0)
    await world.ends(chunk, 1, Reason.NO_CONSENT, 0, 0)
    done = await world.round()
    assert (done.issued, done.released) == (1, 0)
    assert (await world.states())[order[0]] == State.ISSUED
    assert [number for number, _ in await world.told("coupon_issued")] == [order[0]]


async def test_tp_5_a_pool_that_runs_dry_is_told_of_at_ten_and_at_two_per_cent_once_each(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    async def told(upto: int, hours: float) -> list[tuple[str, int]]:
        # Of one hundred codes so many are given away.
        asked = [(f"x{at}", NUMBERS[0]) for at in range(upto)]
        await coupons.reserve(world.connection, world.pool, asked, NOW)
        for _ in range(2):
            await world.round(hours)
        rows = await world.connection.fetch("SELECT subject, body ->> 'percent' AS p FROM event ORDER BY id")
        return [(row["subject"], int(row["p"])) for row in rows]

    with caplog.at_level(logging.WARNING):
        assert await told(89, 1) == []
        assert await told(90, 2) == [("spring", 10)]
        assert await told(97, 3) == [("spring", 10)]
        assert await told(98, 4) == [("spring", 10), ("spring", 2)]
    assert [record.getMessage() for record in caplog.records if "spring" in record.getMessage()] == [
        "! coupon pool spring: 10 codes are left of 100, 10 % or less",
        "! coupon pool spring: 2 codes are left of 100, 2 % or less",
    ]
    # New codes, and it begins anew.
    await coupons.add(world.connection, world.pool, [f"NEW-{at}" for at in range(100)])
    assert len(await told(185, 5)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("statement", range(1, 22, 2))
async def test_a_worker_that_is_killed_at_any_statement_loses_no_code_and_tells_nothing_twice(
    world: World, statement: int
) -> None:
    chunk = await world.send()
    for pos in range(4):
        await world.ends(chunk, pos, 0)
    await world.ends(chunk, 4, Reason.NO_CONSENT, 0, 0)
    code = await world.connection.fetchval("SELECT code FROM coupon WHERE number = $1", NUMBERS[0])
    await world.orders(code)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", ROUND, world.dsn, str(statement))
    async with asyncio.timeout(60):
        assert await process.wait() in (-9, 0)
    await world.round(1.2)
    assert await world.states() == {
        **dict.fromkeys(NUMBERS[1:4], State.ISSUED), **dict.fromkeys(NUMBERS[5:], State.RESERVED),
        NUMBERS[0]: State.REDEEMED,
    }  # fmt: skip
    assert [number for number, _ in await world.told("coupon_issued")] == NUMBERS[:4]
    assert [number for number, _ in await world.told("coupon_redeemed")] == NUMBERS[:1]


async def test_nothing_is_done_where_there_is_no_offer(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    made = job(dsn)
    try:
        assert not await made.round()
        assert await connection.fetchval("SELECT count(*) FROM job") == 0
    finally:
        await made.close()
        await connection.close()
