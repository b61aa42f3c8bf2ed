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
from gateway.store import erasures

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER = 447700900123
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
                assert not await made.round()
        finally:
            await made.close()
    assert await erasures.begun(connection, NOW + timedelta(hours=1)) == [NUMBER]


def test_national_numbers_are_of_the_country_that_the_carrier_says() -> None:
    carrier = CarrierSettings(host="h", port=2775, system_id="x", inbound_prefix="44")
    settings = Settings(carriers={"acme": carrier})
    assert prefixes_of(settings, {1: "acme", 2: "gone"}) == {1: "44", 2: ""}
