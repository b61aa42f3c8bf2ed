"""How far files of events are taken in."""

from datetime import UTC, datetime, timedelta

import asyncpg

from gateway.person import Item, Who
from gateway.store import eventfiles
from gateway.store.eventfiles import Upto

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


async def test_a_file_goes_on_where_it_was_and_is_another_as_of_another_source(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        assert await eventfiles.upto(connection, b"a" * 32, "shop") == Upto()
        for lines in (5, 9):
            await eventfiles.went(connection, b"a" * 32, "shop", lines, lines * 100, NOW)
        assert await eventfiles.upto(connection, b"a" * 32, "shop") == Upto(9, 900)
        assert await eventfiles.upto(connection, b"a" * 32, "site") == Upto()
    finally:
        await connection.close()


def test_months_are_those_of_events_of_the_last_years_and_the_present_one() -> None:
    def event(days: float, name: str = "visit") -> Item:
        return Item(who=Who(phone=44), name=name, occurred_at=NOW - timedelta(days=days))

    found = eventfiles.months([event(0), event(20), event(5000), event(-40), event(60, name="")], NOW)
    assert {(at.year, at.month) for at in found} == {(2026, 3), (2026, 2)}


def test_ev_3_history_is_marked_so() -> None:
    assert eventfiles.as_history(Item(who=Who(phone=44), name="visit")).historical
