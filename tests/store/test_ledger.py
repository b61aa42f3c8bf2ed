"""Messages by day and end, against the report of their run: RP-1, RP-2, RP-3, S0.38, S4.64, and invariant 12."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.store import ledger, postgres, results, runs
from gateway.store.conversions import House
from tests.fixtures import campaign

# Midday, so that an hour before and after is the same day, in London too.
NOW = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
DAY = timedelta(days=1)
STATES = (
    "delivered",
    "submitted",
    "uncertain",
    "no_receipt",
    "unknown",
    "expired",
    "undeliverable",
    "rejected",
    "rejected",
    "refused",
    "partial",
)
OUTCOMES = (0, 0, 0, 0, -1, -4, -11, -30, 0x0B, 0x58)
RECEIPTS = (2, 2, 3, 5, 6, 8)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    for back in range(7):
        await runs.ensure_partitions(opened, NOW - back * DAY)
    yield opened
    await postgres.close(opened)


async def tell(connection: Any, lane: int, chunk: int, n: int, chance: random.Random, at: datetime) -> None:
    """Let everything become of the messages of a chunk, in one part or two, with answers and receipts in any order."""
    for pos in range(n):
        segments = chance.choice((1, 1, 2))
        moment = at + timedelta(seconds=chance.randrange(3600))
        for segment in range(1, segments + 1):
            for _ in range(chance.choice((1, 1, 2))):
                await connection.execute(
                    "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
                    "VALUES ($1, $2, $3, $4, $5, 1, $6, $7, 1500)",
                    lane,
                    chunk,
                    pos,
                    segment,
                    segments,
                    chance.choice(OUTCOMES),
                    moment,
                )
            for _ in range(chance.choice((0, 1, 1, 2))):
                await connection.execute(
                    "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state) VALUES ($1, $2, $3, $4, $5, $6)",
                    lane,
                    chunk,
                    pos,
                    segment,
                    moment + timedelta(seconds=chance.randrange(90)),
                    chance.choice(RECEIPTS),
                )


@pytest.mark.covers("S0.38", "S4.64")
async def test_the_sum_over_all_days_of_a_run_is_the_report_of_the_run_RP_1(connection: Any) -> None:
    """Invariant 12: reports and the ledger say the same, of messages and of parts."""
    chance = random.Random(7)
    lane = await runs.lane_of(connection, "acme", NOW)
    made = [
        await campaign.make_run(
            connection,
            campaign.numbers(60, 447700900000 + 100 * number),
            [lane],
            name=name,
            now=NOW - 3 * DAY + timedelta(milliseconds=number),
        )
        for number, name in enumerate(("spring", "cart"))
    ]
    chunks = await connection.fetch("SELECT id, n, run FROM chunk ORDER BY id")
    for number, row in enumerate(chunks):
        await tell(connection, lane, row["id"], row["n"], chance, NOW - (number % 3) * DAY - timedelta(hours=1))
    await ledger.refresh(connection, lane, House(), NOW)
    for run in made:
        kept: Counter[str] = Counter()
        for row in await connection.fetch(
            "SELECT state, sum(messages)::int AS n FROM message_day WHERE run = $1 GROUP BY 1", run.id
        ):
            kept[STATES[row["state"]]] += row["n"]
        told: Counter[str] = Counter()
        for one in await results.states(connection, run.id, NOW - 9 * DAY, NOW):
            told[one.state] += one.messages
        assert kept == told and sum(kept.values()) == 60
        accepted = await connection.fetchval(
            "SELECT count(DISTINCT (o.chunk_id, o.pos, o.segment)) FROM outcome o JOIN chunk k ON k.id = o.chunk_id "
            "WHERE k.run = $1 AND o.status = 0",
            run.id,
        )
        assert (
            await connection.fetchval("SELECT sum(segments)::int FROM message_day WHERE run = $1", run.id) == accepted
        )
    before = await connection.fetch("SELECT * FROM message_day ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9")
    await ledger.refresh(connection, lane, House(), NOW)
    assert await connection.fetch("SELECT * FROM message_day ORDER BY 1, 2, 3, 4, 5, 6, 7, 8, 9") == before


async def test_a_late_receipt_amends_the_day_of_the_sending_RP_2(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    await campaign.make_run(connection, campaign.numbers(1), [lane], now=NOW - 2 * DAY)
    chunk = await connection.fetchval("SELECT id FROM chunk")
    await connection.execute(
        "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
        "VALUES ($1, $2, 0, 1, 1, 1, 0, $3, 1)",
        lane,
        chunk,
        NOW - 2 * DAY,
    )
    await ledger.refresh(connection, lane, House(), NOW - DAY)
    assert await connection.fetchval("SELECT state FROM message_day") == 1
    await connection.execute(
        "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state) VALUES ($1, $2, 0, 1, $3, 2)", lane, chunk, NOW
    )
    await ledger.refresh(connection, lane, House(), NOW)
    row = await connection.fetchrow("SELECT state, day, messages FROM message_day")
    assert tuple(row) == (0, (NOW - 2 * DAY).date(), 1)


async def test_days_are_those_of_the_house_and_numbers_of_it_count_apart_RP_3(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    run = await campaign.make_run(connection, campaign.numbers(3), [lane], now=NOW - 2 * DAY)
    for row in await connection.fetch("SELECT k.id, p.msisdn FROM chunk k JOIN chunk_payload p ON p.chunk_id = k.id"):
        for pos, number in enumerate(row["msisdn"]):
            await connection.execute(
                "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
                "VALUES ($1, $2, $3, 1, 1, 1, 0, $4, 1)",
                lane,
                row["id"],
                pos,
                NOW.replace(hour=20) - DAY + (number - 447700900000) * timedelta(hours=2),
            )
    house = House(zone="Europe/Vienna", numbers=(447700900001,))
    await ledger.refresh(connection, lane, house, NOW, await ledger.numbers_of_the_house(connection, house))
    rows = await connection.fetch("SELECT day, is_excluded, messages FROM message_day ORDER BY 1, 2")
    yesterday = (NOW - DAY).date()
    # At 20:00, 22:00 and 24:00 UTC; in Vienna the last two, or with summer time too, are of the next day.
    offset = NOW.astimezone(ZoneInfo("Europe/Vienna")).utcoffset()
    assert offset is not None
    expected = [(yesterday, False, 1)]
    second = NOW.replace(hour=22) - DAY + offset
    expected.append((second.date(), True, 1))
    expected.append((NOW.date(), False, 1))
    assert [tuple(row) for row in rows] == sorted(expected) and run.recipients == 3


async def test_what_was_counted_of_days_whose_messages_are_dropped_stays(connection: Any) -> None:
    lane = await runs.lane_of(connection, "acme", NOW)
    await campaign.make_run(connection, campaign.numbers(2), [lane], now=NOW - 6 * DAY)
    chunk = await connection.fetchval("SELECT id FROM chunk LIMIT 1")
    for pos, back in ((0, 6), (1, 1)):
        await connection.execute(
            "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
            "VALUES ($1, $2, $3, 1, 1, 1, 0, $4, 1)",
            lane,
            chunk,
            pos,
            NOW - back * DAY,
        )
    await ledger.refresh(connection, lane, House(), NOW)
    days = [row["day"] for row in await connection.fetch("SELECT day FROM message_day ORDER BY day")]
    assert days == [(NOW - 6 * DAY).date(), (NOW - DAY).date()]
    name = f"outcome_{NOW - 6 * DAY:%Y%m%d}"
    await connection.execute(f"DROP TABLE {name}")
    await ledger.refresh(connection, lane, House(), NOW, whole=True)
    assert [row["day"] for row in await connection.fetch("SELECT day FROM message_day ORDER BY day")] == days
