"""Who is who: rule EV-7."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.person import Item, Who, hash_of
from gateway.store import identities
from gateway.store.placement import PLACES
from gateway.store.profiles import Ingested, ingest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NUMBER = 4915100000001


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


class Teller:
    """Tells things, each a minute after the one before."""

    def __init__(self, connection: Any):
        self.connection = connection
        self.minute = 0

    async def __call__(self, *whos: Who, absorbs: Who | None = None, **attributes: Any) -> Ingested:
        self.minute += 1
        now = NOW + self.minute * MINUTE
        items = [
            Item(
                who=who,
                name="" if attributes else "visit",
                event_id=f"{self.minute}-{at}",
                occurred_at=now,
                attributes=attributes,
                absorbs=absorbs,
            )
            for at, who in enumerate(whos)
        ]
        return await ingest(self.connection, items, now, Random(self.minute))

    async def persons(self) -> list[tuple[Any, ...]]:
        """(external_id, number, visits) of each, the eldest first; all that is theirs stands where they do."""
        rows = await self.connection.fetch(
            "SELECT p.external_id, p.number, coalesce(t.count, 0) AS visits FROM profile p "
            "LEFT JOIN event_total t ON t.bucket = p.bucket AND t.profile = p.id AND t.name = 'visit' ORDER BY p.id"
        )
        for table in ("person_event", "event_total", "person_order", "session_open", "person_changed"):
            assert not await self.connection.fetchval(
                f"SELECT count(*) FROM {table} x WHERE NOT EXISTS "
                "(SELECT FROM profile p WHERE p.bucket = x.bucket AND p.id = x.profile)"
            ), table
        return [tuple(row) for row in rows]


@pytest.fixture
def tell(connection: Any) -> Teller:
    return Teller(connection)


async def test_ev_7_a_login_makes_one_of_the_visitor_and_the_customer(tell: Teller) -> None:
    await tell(Who(anonymous_id="x"), Who(anonymous_id="x"))
    await tell(Who(external_id="ada"))
    done = await tell(Who(external_id="ada", anonymous_id="x"))
    assert done.merged == 1 and await tell.persons() == [("ada", None, 4)]
    await tell(Who(anonymous_id="x"))
    assert await tell.persons() == [("ada", None, 5)]


async def test_ev_7_a_login_within_one_batch_is_the_same(tell: Teller) -> None:
    done = await tell(Who(anonymous_id="x"), Who(external_id="ada", anonymous_id="x"), Who(anonymous_id="x"))
    assert (done.created, done.merged) == (1, 0) and await tell.persons() == [("ada", None, 3)]


async def test_ev_7_a_shared_device_is_whose_who_logged_in_last_and_joins_nobody(tell: Teller) -> None:
    await tell(Who(external_id="ada", anonymous_id="x"))
    await tell(Who(external_id="bob", anonymous_id="x"))
    await tell(Who(anonymous_id="x"))
    assert await tell.persons() == [("ada", None, 1), ("bob", None, 2)]
    await tell(
        Who(external_id="ada", anonymous_id="y"), Who(external_id="bob", anonymous_id="y"), Who(anonymous_id="y")
    )
    assert await tell.persons() == [("ada", None, 2), ("bob", None, 4)]


async def test_ev_7_an_address_of_two_customers_stays_with_the_first(tell: Teller) -> None:
    await tell(Who(external_id="ada", email="a@b.de"))
    assert (await tell(Who(external_id="bob", email="a@b.de"))).disputed == 1
    await tell(Who(email="a@b.de"))
    assert await tell.persons() == [("ada", None, 2), ("bob", None, 1)]


@pytest.mark.covers("S3.12")
async def test_ev_7_two_customers_become_one_only_when_it_is_said(tell: Teller) -> None:
    await tell(Who(external_id="ada"), Who(external_id="bob"))
    await tell(Who(external_id="ada"), absorbs=Who(external_id="bob"))
    assert await tell.persons() == [("ada", None, 3)]
    await tell(Who(external_id="bob"))
    assert await tell.persons() == [("ada", None, 4)], "the old name goes on"


async def test_ev_7_several_persons_may_share_a_number(tell: Teller) -> None:
    await tell(Who(external_id="ada", phone=NUMBER), Who(external_id="bob", phone=NUMBER), Who(phone=NUMBER))
    assert await tell.persons() == [("ada", NUMBER, 2), ("bob", NUMBER, 1)], (
        "what names the number alone is the eldest's"
    )
    assert await tell.connection.fetchval("SELECT count(*) FROM endpoint") == 1


async def test_ev_7_who_is_known_by_a_number_alone_becomes_the_first_who_logs_in_with_it(tell: Teller) -> None:
    await tell(Who(phone=NUMBER), Who(phone=NUMBER))
    assert await tell.persons() == [(None, NUMBER, 2)]
    await tell(Who(external_id="ada", phone=NUMBER))
    assert await tell.persons() == [("ada", NUMBER, 3)]
    await tell(Who(anonymous_id="x", phone=NUMBER))
    assert await tell.persons() == [("ada", NUMBER, 3), (None, NUMBER, 1)], "a number that is typed in proves nothing"


async def test_a_number_that_is_gained_changed_or_lost_moves_all_that_is_theirs(tell: Teller) -> None:
    await tell(Who(external_id="ada"))
    for number in (NUMBER, NUMBER + 1):
        await tell(Who(external_id="ada", phone=number))
        row = await tell.connection.fetchrow("SELECT bucket, number FROM profile")
        assert tuple(row) == (hash_of(number), number)
    assert await tell.persons() == [("ada", NUMBER + 1, 3)]
    await tell(Who(external_id="ada"), phone=None)
    row = await tell.connection.fetchrow("SELECT bucket, id, number FROM profile")
    assert (row["bucket"], row["number"]) == (hash_of(row["id"]), None)
    await tell(Who(external_id="ada"))
    assert await tell.persons() == [("ada", None, 4)]


async def test_ev_4_an_older_number_does_not_come_back(tell: Teller) -> None:
    await tell(Who(external_id="ada", phone=NUMBER))
    old = Item(who=Who(external_id="ada", phone=NUMBER + 1), occurred_at=NOW - MINUTE, attributes={"a": 1})
    await ingest(tell.connection, [old], NOW + MINUTE, Random(9))
    assert await tell.persons() == [("ada", NUMBER, 1)]


async def test_ev_7_attributes_of_two_that_become_one_are_each_the_later(tell: Teller) -> None:
    await tell(Who(anonymous_id="x"), tier="gold", city="Bonn", country="DE")
    await tell(Who(external_id="ada"), tier="lead")
    await tell(Who(anonymous_id="x"), city="Köln")
    await tell(Who(external_id="ada", anonymous_id="x"))
    row = await tell.connection.fetchrow("SELECT attributes, country FROM profile")
    assert (json.loads(row["attributes"]), row["country"]) == ({"tier": "lead", "city": "Köln"}, "DE")


async def test_ev_7_an_order_told_of_both_is_one_when_they_are_one(tell: Teller) -> None:
    def order(who: Who, name: str, order_id: str) -> Item:
        properties = {"order_id": order_id, "total": 5, "currency": "EUR"}
        return Item(who=who, name=name, event_id=f"{name}{order_id}{who}", properties=properties)

    x, ada = Who(anonymous_id="x"), Who(external_id="ada")
    told = [order(x, "order_placed", "1"), order(x, "order_placed", "2"), order(ada, "order_cancelled", "1")]
    await ingest(tell.connection, told, NOW, Random(1))
    await tell(Who(external_id="ada", anonymous_id="x"))
    row = await tell.connection.fetchrow("SELECT orders, spent FROM profile")
    assert tuple(row) == (1, '{"EUR": 500}')


async def test_every_table_of_persons_is_moved_with_them(connection: Any) -> None:
    rows = await connection.fetch(
        "SELECT table_name::text AS name FROM information_schema.columns WHERE column_name = 'profile' "
        "AND table_schema = 'public'"
    )
    of_persons = {row["name"] for row in rows} & set(PLACES)
    # audience_change is append-only: what was, of whoever it was.
    assert of_persons - {"identity", "audience_change"} == set(identities.MOVED), "say how: gateway/store/identities.py"
