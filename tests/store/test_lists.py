"""Static lists by hand: in and out, each change kept once with its reason (SG-7)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from gateway.person import Item, Who
from gateway.store import lists, people, postgres
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ADA, BOB = 447_700_900_001, 447_700_900_002


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


@pytest.fixture
async def vip(connection: Any) -> int:
    made = await people.open_list(connection, "vip", source_name="", source_sha256=b"", fields=[], now=NOW)
    await people.finish_list(connection, made.id, NOW)
    return made.id


async def test_sg_7_what_is_told_twice_changes_a_list_once_and_the_reason_is_kept(connection: Any, vip: int) -> None:
    assert await lists.add(connection, vip, [ADA, BOB, ADA], "till", NOW, Random(1)) == 2
    assert await lists.add(connection, vip, [ADA], "another", NOW, Random(2)) == 0
    assert await lists.remove(connection, vip, [ADA], "complaint", NOW, Random(3)) == 1
    assert await lists.remove(connection, vip, [ADA], "complaint", NOW, Random(4)) == 0
    found = [(one.is_in, one.source) for one in await lists.changes(connection, vip, ADA)]
    assert found == [(True, "till"), (False, "complaint")]
    assert not await lists.has(connection, vip, ADA) and await lists.has(connection, vip, BOB)
    assert [(one.source, one.is_in, one.n) for one in await lists.sources(connection, vip)] == [
        ("complaint", False, 1),
        ("till", True, 2),
    ]
    listed = await people.find_list(connection, "vip")
    assert listed is not None and (listed.entries, listed.state) == (1, "ready")


async def test_whoever_has_a_number_that_comes_into_a_list_is_looked_at_again(connection: Any, vip: int) -> None:
    await ingest(connection, [Item(who=Who(external_id="ada", phone=ADA), name="visit")], NOW, Random(1))
    await connection.execute("DELETE FROM person_changed")
    await lists.add(connection, vip, [ADA, BOB], "till", NOW, Random(1))
    assert await connection.fetchval("SELECT count(*) FROM person_changed") == 1
    # A number without a person is an endpoint all the same.
    assert await connection.fetchval("SELECT count(*) FROM endpoint") == 2
