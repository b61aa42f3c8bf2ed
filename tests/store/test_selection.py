"""Audiences by name, counted, and frozen into lists."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from gateway.campaign.audience import parse
from gateway.campaign.evaluation import Person
from gateway.errors import StoreError
from gateway.store import people, postgres, selection
from gateway.store.audiences import Terms
from tests.fixtures.audiences import NOW, write_people

TERMS = Terms(now=NOW)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def keep(connection: Any, name: str, text: str, zone: str = "UTC") -> selection.Audience:
    return await selection.keep(connection, name, text, parse(text), zone, NOW)


async def test_an_audience_is_kept_by_its_name_and_its_version_rises_with_its_meaning(connection: Any) -> None:
    first = await keep(connection, "sleepers", "orders.last > 30d")
    assert (first.version, first.tree) == (1, parse("orders.last > 30d"))
    assert (await keep(connection, "sleepers", "orders.last > 30 days")).version == 1
    assert (await keep(connection, "sleepers", "orders.last > 60d")).version == 2
    changed = await keep(connection, "sleepers", "orders.last > 60d", "Europe/Berlin")
    assert (changed.id, changed.version) == (first.id, 3)
    assert await selection.kept(connection) == {"sleepers": changed}
    assert await selection.forget(connection, "sleepers") and not await selection.forget(connection, "sleepers")


async def test_a_salt_is_made_once_and_for_ever(connection: Any) -> None:
    """SG-8."""
    assert await selection.salt(connection, "first") == "first"
    assert await selection.salt(connection, "second") == "first"


async def test_names_in_use_are_read(connection: Any) -> None:
    await connection.execute("INSERT INTO attribute_kind VALUES ('city', 'string', $1)", NOW)
    await connection.execute("INSERT INTO event_property_kind VALUES ('visit', 'page', 'string', $1)", NOW)
    await write_people(connection, [])
    found = await selection.known(connection)
    assert found.attributes == {"city": "string"} and found.properties == {"visit": {"page": "string"}}
    assert "vip" in found.lists


@pytest.mark.parametrize("most_shared", [selection.MOST_SHARED, 1])
async def test_people_and_their_numbers_are_counted_apart(
    connection: Any, monkeypatch: pytest.MonkeyPatch, most_shared: int
) -> None:
    monkeypatch.setattr(selection, "MOST_SHARED", most_shared)
    crowd = [Person(number=447700900001), Person(number=447700900001), Person(), Person(number=447700900002)]
    await write_people(connection, [_named(one, f"p{at}") for at, one in enumerate(crowd)])
    found = await selection.count(connection, parse("name starts_with 'p'"), TERMS, by_number=True)
    assert found == selection.Counted(people=4, with_number=3, numbers=2)
    assert await selection.count(connection, parse("name = 'x'"), TERMS) == selection.Counted(people=0, with_number=0)
    # Of numbers that several have it matters how many of those are in it.
    other = [Person(number=447700900001 + at % 3) for at in range(9)]
    await write_people(connection, [_named(one, f"q{at}") for at, one in enumerate(other)], first_id=5)
    for text, people_in, numbers in (
        ("name starts_with 'p'", 4, 2),
        ("name in ('p1', 'q1', 'q2')", 3, 3),
        ("name in ('p0', 'q0', 'q3', 'p3')", 4, 2),
        ("not name exists", 0, 0),
        ("everyone", 13, 3),
    ):
        found = await selection.count(connection, parse(text), TERMS, by_number=True)
        assert (found.people, found.numbers) == (people_in, numbers), text
    await connection.execute("DELETE FROM profile WHERE id > 4")
    assert len(await selection.members(connection, parse("everyone"), TERMS, 3)) == 3
    assert await selection.members(connection, parse("name = 'p3'"), TERMS, 3) == [(4, 447700900002)]


async def test_a_number_is_frozen_once_with_the_fields_of_the_oldest_who_has_it(connection: Any) -> None:
    """TH-9, SG-6."""
    crowd = [Person(number=447700900001), Person(number=447700900001), Person(), Person(number=447700900002)]
    await write_people(connection, [_named(one, f"p{at}") for at, one in enumerate(crowd)])
    made = await people.open_list(
        connection, "frozen", source_name="audience", source_sha256=b"", fields=["name"], now=NOW
    )
    assert await selection.freeze(connection, parse("everyone"), TERMS, made.id, ["name", "city"]) == 2
    # Somebody who is in a second audience too, or in the first one once more, is not written again.
    assert await selection.freeze(connection, parse("name = 'p1' or name = 'p3'"), TERMS, made.id) == 0
    rows = await connection.fetch(
        "SELECT number, attributes::text AS a FROM list_entry WHERE list = $1 ORDER BY number", made.id
    )
    assert [tuple(row) for row in rows] == [(447700900001, '{"name": "p0"}'), (447700900002, '{"name": "p3"}')]
    # Frozen: who changes later stays in it.
    await connection.execute("UPDATE profile SET attributes = '{}'")
    assert await people.finish_list(connection, made.id, NOW) == 2


async def test_what_would_take_too_long_is_refused_before_it_begins(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-12."""
    assert 0 < await selection.estimate(connection, parse("orders.last > 30d"), TERMS) < selection.MOST_COST
    monkeypatch.setattr(selection, "MOST_COST", 0.001)
    for asked in (selection.count, lambda *what: selection.freeze(*what, 1)):
        with pytest.raises(StoreError, match=r"the planner reckons below 0, found \d"):
            await asked(connection, parse("count(visit, 30d) > 1"), TERMS)  # type: ignore[operator]


async def test_time_is_the_one_that_is_handed_in(connection: Any) -> None:
    await write_people(connection, [Person(fields={"orders.last": NOW})])
    for days, people_then in ((29, 0), (30, 1)):
        terms = Terms(now=NOW + timedelta(days=days))
        assert (await selection.count(connection, parse("orders.last > 30d"), terms)).people == people_then


def _named(person: Person, name: str) -> Person:
    return Person(number=person.number, attributes={"name": name})
