"""Erasures that broke off are ended by a worker: rule CN-12."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gateway.automation.erasing import Erasing, prefixes_of
from gateway.config import CarrierSettings, Settings
from gateway.erasure import derived
from gateway.errors import StoreError
from gateway.store import erasures, runs

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER, OTHER = 447700900123, 447700900124
KEY = derived(bytes(32))


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def job(dsn: str, key: Any = KEY, minutes: float = 5) -> Erasing:
    at = NOW + timedelta(minutes=minutes)
    return Erasing(Settings(), lambda: at, lambda: asyncpg.connect(dsn), "w1", key)


async def register(connection: Any) -> None:
    await connection.execute(
        "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node) "
        "VALUES ('w1', 'h', 'b', 1, $1, $1, 'n')",
        NOW,
    )


async def test_cn_12_what_somebody_began_and_did_not_end_is_ended(dsn: str, connection: Any) -> None:
    await register(connection)
    await erasures.enter(connection, [NUMBER], KEY, at=NOW, note="test")
    made = job(dsn)
    try:
        assert await made.round() and made.erased == 1
        assert not await made.round(), "nothing is left"
    finally:
        await made.close()
    assert {row["number"] for row in await connection.fetch("SELECT number FROM stop_feed")} == set(KEY.of([NUMBER]))


async def test_whoever_has_just_begun_is_left_at_it_and_without_the_key_nothing_is_erased(
    dsn: str, connection: Any
) -> None:
    await register(connection)
    await erasures.enter(connection, [NUMBER], KEY, at=NOW, note="test")
    for made, fails in ((job(dsn, minutes=0.5), False), (job(dsn, key=None), True)):
        try:
            if fails:
                with pytest.raises(StoreError, match="SLUICE_KEY"):
                    await made.round()
            else:
                await made.round()
                assert made.erased == 0
        finally:
            await made.close()
    assert await erasures.begun(connection, NOW + timedelta(hours=1)) == [NUMBER]


async def test_cn_12_what_comes_later_does_not_bring_the_number_back(dsn: str, connection: Any) -> None:
    """Receipts lose it at the next look; what its handset writes is heard, and gone an hour later."""
    at = NOW + timedelta(hours=2)
    await runs.ensure_partitions(connection, at)
    lane = await runs.lane_of(connection, "acme", NOW)
    await register(connection)
    await erasures.enter(connection, [NUMBER], KEY, at=NOW, note="test")
    made = job(dsn)
    try:
        assert await made.round()
        for number in (NUMBER, OTHER):
            await connection.execute(
                "INSERT INTO receipt (chunk_id, at, lane, pos, number, segment, state, raw) "
                "VALUES (1, $1, $2, 0, $3, 0, 2, $4)", at, lane, number, str(number).encode(),
            )  # fmt: skip
            for table in ("receipt_waiting", "orphan_receipt"):
                await connection.execute(
                    f"INSERT INTO {table} (lane, at, number, other, state, message_id, raw) "
                    "VALUES ($1, $2, $3, 447700900999, 2, 'x', $4)", lane, at, number, str(number).encode(),
                )  # fmt: skip
            await connection.execute(
                "INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, "
                "is_lossy, pdus) VALUES ($1, $2, $3, $4, '123', 'hi', 1, '{}', 'gsm', false, '{}')",
                lane, number, at, f"+{number}",
            )  # fmt: skip

        async def left(column: str, table: str) -> list[Any]:
            rows = await connection.fetch(f"SELECT {column}, raw FROM {table} ORDER BY number")
            return [(row[0], row[1]) for row in rows]

        kept = (OTHER, str(OTHER).encode())
        for minutes, written in ((121, [NUMBER, OTHER]), (179, [NUMBER, OTHER]), (181, [OTHER])):
            made._wall = lambda minutes=minutes: NOW + timedelta(minutes=minutes)
            assert await made.round()
            assert await left("number", "receipt") == [kept, (None, None)]
            assert await left("number", "receipt_waiting") == [kept, (KEY.of([NUMBER])[0], None)]
            assert await left("number", "orphan_receipt") == [kept]
            rows = await connection.fetch("SELECT id FROM inbound_message ORDER BY id")
            assert [row["id"] for row in rows] == written
        assert not await made.round(), "the next look is a minute later"
    finally:
        await made.close()


def test_national_numbers_are_of_the_country_that_the_carrier_says() -> None:
    carrier = CarrierSettings(host="h", port=2775, system_id="x", inbound_prefix="44")
    settings = Settings(carriers={"acme": carrier})
    assert prefixes_of(settings, {1: "acme", 2: "gone"}) == {1: "44", 2: ""}
