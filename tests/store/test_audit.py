"""What is written down of who did what."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.store import audit, postgres
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
