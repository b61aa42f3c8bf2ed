"""Campaigns as rows: versions that never change, and what may become of what."""

from datetime import UTC, datetime

import asyncpg
import pytest

from gateway import document
from gateway.document import Document
from gateway.errors import StoreError
from gateway.store import campaigns

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def of(text: str = "Hi") -> Document:
    found, problems = document.of(
        {"name": "c", "brand": "acme", "message": {"text": text}, "trigger": {"on": "event", "event": "seen"}}
    )
    assert found is not None, problems
    return found


async def test_same_document_is_the_same_version_and_another_one_more(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    found = [await campaigns.apply(connection, of(text), "me", NOW) for text in ("Hi", "Hi", "Ho")]
    assert [(one.version, is_new) for one, is_new in found] == [(1, True), (1, False), (2, True)]
    first = await campaigns.version_of(connection, found[0][0].id, 1)
    assert (first.document, first.applied_by) == (of("Hi"), "me")
    with pytest.raises(StoreError, match="no version 3"):
        await campaigns.version_of(connection, found[0][0].id, 3)
    await connection.close()


@pytest.mark.parametrize(
    ("before", "after", "may"),
    [
        ("draft", "live", True), ("draft", "paused", False), ("live", "paused", True), ("paused", "live", True),
        ("paused", "ended", True), ("ended", "paused", False), ("ended", "live", True),
    ],
)  # fmt: skip
async def test_state_becomes_what_it_may(dsn: str, before: str, after: str, may: bool) -> None:
    connection = await asyncpg.connect(dsn)
    await campaigns.apply(connection, of(), "me", NOW)
    await connection.execute("UPDATE campaign SET state = $1", before)
    async with connection.transaction():
        held = await campaigns.hold(connection, "c")
        if may:
            await campaigns.go(connection, held, after, NOW, 1)
        else:
            with pytest.raises(StoreError, match=f"is {before}: expected one that can become {after}"):
                await campaigns.go(connection, held, after, NOW)
    found = await campaigns.named(connection, "c")
    assert found is not None
    assert found.state == (after if may else before)
    await connection.close()


async def test_campaign_that_is_not_known_is_said_to_be(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    with pytest.raises(StoreError, match="'x' is not known"):
        async with connection.transaction():
            await campaigns.hold(connection, "x")
    await connection.close()
