"""Partitions of a month: made ahead, found again, and never of what stands in the rest already."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from gateway.store import months, postgres
from gateway.store.migrate import migrate
from tests.fixtures.pages import note_contacts

pytestmark = pytest.mark.database
NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    await migrate(dsn)
    connection = await postgres.connect(dsn)
    yield connection
    await connection.close()


def test_a_month_is_of_utc_and_january_follows_december() -> None:
    late = datetime(2026, 12, 31, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    assert months.month_of(late) == datetime(2027, 1, 1, tzinfo=UTC)
    assert [one.month for one in months.ahead(NOW, 2)] == [12, 1, 2]


@pytest.mark.parametrize("table", ["person_event", "contact_page"])
async def test_months_are_made_once_and_listed_in_their_order(connection: Any, table: months.Table) -> None:
    assert await months.ensure(connection, table, months.ahead(NOW, 1)) == [f"{table}_202612", f"{table}_202701"]
    assert await months.ensure(connection, table, months.ahead(NOW, 1)) == []
    found = await months.months(connection, table)
    assert [(one.name, one.end.month) for one in found] == [(f"{table}_202612", 1), (f"{table}_202701", 2)]


async def test_contacts_stand_in_their_month_and_none_in_the_rest(connection: Any) -> None:
    await months.ensure(connection, "contact_page", [NOW])
    await note_contacts(connection, [447700900001], NOW)
    rows = await connection.fetch("SELECT tableoid::regclass::text AS name FROM contact_page")
    assert [row["name"] for row in rows] == ["contact_page_202612"]


async def test_a_month_of_which_something_stands_in_the_rest_stays_there(connection: Any) -> None:
    await note_contacts(connection, [447700900001], NOW)
    assert await months.ensure(connection, "contact_page", [NOW]) == []
    assert await connection.fetchval("SELECT count(*) FROM contact_page") == 1
