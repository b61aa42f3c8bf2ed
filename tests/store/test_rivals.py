"""Which runs announce whom they mean to write to: what a gate makes of it is in tests/dispatch/test_admission.py."""

from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from _fastpath.gate import DUE
from gateway.gate import Gate
from gateway.message import MessageClass, Policy
from gateway.store import postgres, rivals, runs
from tests.fixtures.campaign import make_run
from tests.fixtures.pages import contacts_of

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
PEOPLE = [447700900000 + at for at in range(150)]


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def made(connection: Any, priority: int, *, class_: MessageClass = MessageClass.BULK, **more: Any) -> runs.Run:
    lanes = [await runs.lane_of(connection, name, NOW) for name in ("acme", "other")]
    gate = Gate(needs="none", gap_s=0)
    return await make_run(
        connection, PEOPLE, lanes, now=NOW, gate=gate, priority=priority, class_=class_, policy=Policy.ONCE, **more
    )


async def row_of(connection: Any, run: runs.Run) -> Mapping[str, Any]:
    found: Mapping[str, Any] = await connection.fetchrow("SELECT *, gate::text AS gate FROM run WHERE id = $1", run.id)
    return found


async def due(connection: Any, run: runs.Run) -> list[int]:
    return await contacts_of(connection, run.id, DUE)


async def test_cp_4_the_people_of_all_lanes_are_due_of_a_run_that_another_goes_behind(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rivals, "CHUNKS", 1)
    first = await made(connection, 1)
    assert await due(connection, first) == []
    assert len({row["lane"] for row in await connection.fetch("SELECT lane FROM chunk")}) == 2
    await made(connection, 2)
    assert await due(connection, first) == PEOPLE
    await made(connection, 3)
    assert await due(connection, first) == PEOPLE


async def test_cp_4_what_is_over_or_counts_for_nothing_goes_before_nobody(connection: Any) -> None:
    over = await made(connection, 1)
    await connection.execute("UPDATE chunk SET state = 2 WHERE run = $1", over.id)
    expired = await made(connection, 1)
    await connection.execute("UPDATE run SET expires_at = $2 WHERE id = $1", expired.id, NOW)
    codes = await made(connection, 1, class_=MessageClass.OTP)
    behind = await made(connection, 2)
    for one in (over, expired, codes, behind):
        assert await due(connection, one) == []
    assert not await rivals.announce(connection, await row_of(connection, codes), NOW + timedelta(seconds=1))


async def test_cp_4_a_run_that_is_about_to_be_enqueued_is_told_that_another_goes_behind_it(connection: Any) -> None:
    """Of two that are enqueued at once neither may overlook the other."""
    coming = await made(connection, 1)
    await connection.execute("UPDATE run SET enqueued_at = NULL WHERE id = $1", coming.id)
    await connection.execute("DELETE FROM chunk WHERE run = $1", coming.id)
    await made(connection, 2)
    assert await due(connection, coming) == []
    assert await rivals.announce(connection, await row_of(connection, coming), NOW)
    assert await due(connection, coming) == PEOPLE
