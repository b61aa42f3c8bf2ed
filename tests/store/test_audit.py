"""What is written down of who did what."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from gateway.message import MessageClass, Policy
from gateway.store import audit, postgres, runs
from gateway.store.migrate import migrate

pytestmark = pytest.mark.database
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


async def test_the_newest_of_a_time_is_read_first_and_what_is_older_not_at_all(dsn: str) -> None:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    for at in range(4):
        await audit.note(
            connection, at=NOW + timedelta(hours=at), by="ann@desk", action="bypass", about=f"run {at}", reason="recall"
        )
    found = await audit.noted(connection, NOW + timedelta(hours=1), 2)
    assert [(one.about, one.by, one.reason) for one in found] == [
        ("run 3", "ann@desk", "recall"), ("run 2", "ann@desk", "recall"),
    ]  # fmt: skip
    await connection.close()


async def test_by_which_data_a_run_is_decided_about_is_written_once_by_whoever_is_first_QH_12(dsn: str) -> None:
    await migrate(dsn)
    connections = [await postgres.connect(dsn) for _ in range(8)]
    run = await runs.add_run(
        connections[0], name="x", template="x", fields=(), class_=MessageClass.BULK, policy=Policy.ONCE, lanes=[1],
        list_id=None, source=None, now=NOW,
    )  # fmt: skip

    async def note(connection: postgres.Connection, by: str, packs: str, minute: int) -> None:
        await audit.note_data(
            connection, at=NOW + timedelta(minutes=minute), by=by, run=run.id, made_at=NOW,
            versions={"tzdata": "2026b", "packs": packs},
        )  # fmt: skip

    await asyncio.gather(*(note(one, f"worker {at}", "1", 0) for at, one in enumerate(connections)))
    # A worker with newer packs, and one that has the old ones still.
    await note(connections[0], "new", "2", 5)
    await note(connections[1], "old", "1", 6)
    found = await audit.data_of(connections[0], run.id, NOW)
    assert [(one.reason, one.at) for one in found] == [
        ("tzdata 2026b, packs 1", NOW), ("tzdata 2026b, packs 2", NOW + timedelta(minutes=5)),
    ]  # fmt: skip
    assert found[1].by == "new" and await audit.data_of(connections[0], run.id + 1, NOW) == []
    # It is no deed of anybody.
    assert await audit.noted(connections[0], NOW) == []
    for one in connections:
        await one.close()
