"""Texts that an exception has met, as they are kept."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.store import excepted, postgres
from gateway.store.excepted import FIRST, LATE, OPEN, PREVENTED, Excepted, Late

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


def text(enrolment: int, name: str = "bought", state: int = OPEN) -> Excepted:
    return Excepted(
        bucket=enrolment % 3, enrolment=enrolment, visit=1, profile=enrolment, campaign="c", name=name, happened_at=NOW,
        told_at=NOW, planned_at=NOW + timedelta(minutes=1), state=state, run=3,
    )  # fmt: skip


async def test_first_exception_of_a_text_counts_and_an_open_one_ends_once(connection: Any) -> None:
    await excepted.add(connection, [text(1), text(2), text(3), text(1, "emptied")], NOW)
    await excepted.add(connection, [text(2, "emptied", PREVENTED)], NOW)
    assert await excepted.is_wanted(connection)
    some = await excepted.opened(connection, FIRST, 2)
    assert [(one.enrolment, one.name) for one in some] == [(1, "bought"), (2, "bought")]
    [third] = await excepted.opened(connection, (some[-1].found_at, *some[-1].key), 2)
    await excepted.end(connection, [Late(some[0], 1, 2, 3)])
    await excepted.end(connection, [Late(some[0], 4, 5, 6)])
    await excepted.forget(connection, [some[0], some[1], third])
    rows = await connection.fetch("SELECT enrolment, state, lane, chunk, pos FROM excepted")
    assert [tuple(row) for row in rows] == [(1, LATE, 1, 2, 3)]
    assert not await excepted.is_wanted(connection)
