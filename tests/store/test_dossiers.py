"""Everything of a number in one call: rule CN-12."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from gateway.person import Who, hash_of
from gateway.store import dossiers
from tests.store.test_erasures import LANE, NUMBER, OTHER, begin, erase, populate


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def test_cn_12_the_dossier_has_what_every_table_knows_and_nothing_of_others(connection: Any) -> None:
    run = await populate(connection)
    found = await dossiers.dossier(connection, NUMBER, {LANE: "44"})
    (person,) = found["persons"]
    assert person["external_id"] == "c-Ada" and person["attributes"] == {"first_name": "Ada"}
    assert [event["name"] for event in person["events"]] == ["visit", "order_placed"]
    assert {row["kind"]: row["value"] for row in person["identities"]} == {
        "external_id": "c-Ada", "email": "ada@example.org"
    }  # fmt: skip
    assert person["orders"][0]["amount"] == 500 and person["rfm"][0]["named"] == "lost" and person["audiences"]
    assert found["endpoint"][0]["number"] == NUMBER
    assert [one["list"] for one in found["lists"]] == ["vip"] == [one["list"] for one in found["list_changes"]]
    assert [one["source"] for one in found["stops"]] == ["keyword"]
    assert [one["run"] for one in found["contacts"]] == [run, run]
    assert [one["params"] for one in found["links"]] == [["Ada"]] and found["clicks"][0]["agent"] == "Ada's phone"
    assert found["page_entries"][0]["answers"] == {"why": "Ada"}
    assert found["skipped"] == [{"run": run, "status": -30}]
    assert [one["source"] for one in found["replies"]] == ["+447700900123", "07700900123"]
    (message,) = found["messages"]
    assert message["place"]["fields"] == ["Ada", "Bonn"] and message["receipts"][0]["number"] == NUMBER
    assert "Bob" not in str(found) and str(OTHER) not in str(found)
    await begin(connection, NUMBER)
    await erase(connection, NUMBER)
    assert not any((await dossiers.dossier(connection, NUMBER, {LANE: "44"})).values())


async def test_somebody_is_found_by_any_of_their_names_and_nobody_by_another(connection: Any) -> None:
    await populate(connection)
    ada = await dossiers.who(connection, Who(phone=NUMBER))
    assert ada == await dossiers.who(connection, Who(email="ada@example.org"))
    assert (
        ada
        == await dossiers.who(connection, Who(external_id="c-Ada"))
        == await dossiers.who(connection, Who(), ada[0][1])
    )
    assert ada[0][0] == hash_of(NUMBER) and ada[0][2] == NUMBER
    assert await dossiers.who(connection, Who(email="nobody@example.org")) == []
    assert await dossiers.who(connection, Who(), 5) == []
