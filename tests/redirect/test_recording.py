"""Clicks are written down in batches behind the answers; a database that is away loses none of them at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.redirect import recording
from gateway.redirect.recording import Recording
from gateway.store import links, postgres
from gateway.store.links import Click

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def click(id_: int) -> Click:
    return Click(bucket=3, id=id_, token=9, number=447_700_900_001, target=1, run=1, at=NOW, made_at=NOW)


@pytest.fixture
async def kept(dsn: str) -> AsyncIterator[Recording]:
    connections = postgres.Connections(dsn, size=1)
    yield Recording(connections, 5.0)
    await connections.close()


async def count(dsn: str) -> int:
    connection = await postgres.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM click"))
    finally:
        await postgres.close(connection)


async def test_clicks_are_written_within_a_moment_and_what_is_left_when_it_is_ended(dsn: str, kept: Recording) -> None:
    task = asyncio.create_task(kept.run())
    for id_ in range(5):
        kept.add(click(id_))
    async with asyncio.timeout(10):
        while kept.written < 5:
            await asyncio.sleep(0.01)
    kept.add(click(5))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await count(dsn) == 6 and kept.waiting == 0


async def test_what_postgres_did_not_take_is_kept_and_written_once(
    dsn: str, kept: Recording, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = links.note_beacons

    async def away(*given: Any) -> None:
        await real(*given)
        raise StoreError("away", retryable=True)

    kept.add(click(1))
    kept.beacon((3, 9), NOW + timedelta(seconds=1))
    with monkeypatch.context() as patched:
        # Both statements were carried out, and nobody was told so.
        patched.setattr(links, "note_beacons", away)
        assert not await kept.flush() and not await kept.flush()
    assert len(caplog.records) == 1
    assert await kept.flush() and kept.waiting == 0
    assert await count(dsn) == 1


async def test_memory_has_an_end_and_the_oldest_go_first(
    dsn: str, kept: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MOST_KEPT", 20)
    monkeypatch.setattr(recording, "MOST_AT_ONCE", 10)
    for id_ in range(25):
        kept.add(click(id_))
    assert (kept.waiting, kept.lost) == (15, 10)
    assert await kept.flush() and await count(dsn) == 15
