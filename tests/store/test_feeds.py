"""What the gateway tells of persons: rule EV-11."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.message import Refusal
from gateway.person import Item, Who
from gateway.reasons import Reason
from gateway.store import feeds, runs
from gateway.store.profiles import ingest
from tests.fixtures.campaign import make_run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
NUMBERS = [447911123456 + at for at in range(6)]


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def messages(connection: Any, statuses: list[int], at: datetime = NOW) -> tuple[int, int]:
    """A run to NUMBERS, all but the last of whom are persons, with an outcome each; -> lane and chunk."""
    await runs.ensure_partitions(connection, NOW)
    lane = await runs.lane_of(connection, "acme", NOW)
    await make_run(connection, NUMBERS, [lane], now=NOW)
    items = [Item(who=Who(external_id=f"c{one}", phone=one), name="visit") for one in NUMBERS[:-1]]
    await ingest(connection, items, NOW, Random(1))
    chunk, order = await connection.fetchrow("SELECT chunk_id, msisdn FROM chunk_payload")
    for number, status in zip(NUMBERS, statuses, strict=True):
        await connection.execute(
            "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us) "
            "VALUES ($1, $2, $3, 1, 1, 1, $4, $5, 0)", lane, chunk, order.index(number), status, at,
        )  # fmt: skip
    return lane, chunk


async def test_ev_11_every_end_has_its_event_and_only_persons_have_them(connection: Any) -> None:
    statuses = [0, 0x0B, int(Refusal.EXPIRED), int(Reason.NO_CONSENT), int(Refusal.UNCERTAIN), 0]
    lane, chunk = await messages(connection, statuses)
    items, end, more = await feeds.told(connection, lane, "outcomes", NOW - SECOND, NOW + SECOND, "")
    assert {item.who.phone: item.name for item in items} == dict(
        zip(NUMBERS[:4], ("submitted", "failed", "expired", "skipped"), strict=True)
    )
    assert (end, more) == (NOW + SECOND, False)
    assert len({item.event_id for item in items}) == 4 and all(item.is_ours for item in items)
    assert isinstance(items[0].properties["campaign"], str)
    order = await connection.fetchval("SELECT msisdn FROM chunk_payload WHERE chunk_id = $1", chunk)
    for number, state in zip(NUMBERS, (2, 5, 3, 1, 8, 2), strict=True):
        await connection.execute(
            "INSERT INTO receipt (lane, chunk_id, pos, segment, state, at) VALUES ($1, $2, $3, 1, $4, $5)",
            lane, chunk, order.index(number), state, NOW,
        )  # fmt: skip
    items, _, _ = await feeds.told(connection, lane, "receipts", NOW, NOW + SECOND, "")
    assert {item.who.phone: item.name for item in items} == {
        NUMBERS[0]: "delivered", NUMBERS[1]: "failed", NUMBERS[2]: "expired", NUMBERS[4]: "failed"
    }  # fmt: skip


async def test_pages_end_between_two_moments_and_all_of_one_moment_are_told_together(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane, _ = await messages(connection, [0] * 6)
    monkeypatch.setattr(feeds, "ROWS", 2)
    items, end, more = await feeds.told(connection, lane, "outcomes", NOW, NOW + SECOND, "")
    assert (len(items), end, more) == (5, NOW + SECOND, False)
    await connection.execute("UPDATE outcome SET at = $1 WHERE pos IN (0, 1)", NOW - SECOND)
    found = []
    since, more = NOW - 2 * SECOND, True
    while more:
        items, since, more = await feeds.told(connection, lane, "outcomes", since, NOW + SECOND, "")
        found += [item.who.phone for item in items]
    assert sorted(found) == NUMBERS[:5], "each once"


async def test_a_handset_is_known_however_its_smsc_writes_it(connection: Any) -> None:
    lane, _ = await messages(connection, [0] * 6)
    for at, source in enumerate((f"+{NUMBERS[0]}", f"0{str(NUMBERS[1])[2:]}", f"{NUMBERS[5]}", "ACME")):
        await connection.execute(
            "INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, is_lossy, "
            "pdus) VALUES ($1, $2, $3, $4, '123', 'hi', 1, '{}', 'gsm', false, '{}')", lane, at, NOW, source,
        )  # fmt: skip
    items, _, _ = await feeds.told(connection, lane, "replies", NOW, NOW + SECOND, "44")
    assert [(item.who.phone, item.name) for item in items] == [(NUMBERS[0], "replied"), (NUMBERS[1], "replied")]


async def test_a_reply_is_to_what_had_been_sent_when_it_was_written_and_not_to_what_was_sent_until_it_is_read(
    connection: Any,
) -> None:
    lane, _ = await messages(connection, [0] * 6)
    sent = [
        Item(
            who=Who(phone=NUMBERS[0]), name="submitted", event_id=f"submitted:{lane}:{at}:0", source="sluice",
            occurred_at=NOW + at * SECOND, properties={"campaign": name}, is_ours=True,
        )
        for at, name in ((10, "spring"), (30, "cart"))
    ]  # fmt: skip
    await ingest(connection, sent, NOW + 40 * SECOND, Random(1))
    for at in (5, 20, 35):
        await connection.execute(
            "INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, is_lossy, "
            "pdus) VALUES ($1, $2, $3, $4, '123', 'hi', 1, '{}', 'gsm', false, '{}')",
            lane, at, NOW + at * SECOND, f"+{NUMBERS[0]}",
        )  # fmt: skip
    items, _, _ = await feeds.told(connection, lane, "replies", NOW, NOW + 60 * SECOND, "44")
    assert [item.properties.get("campaign") for item in items] == [None, "spring", "cart"]
