"""The statements of an import, one by one."""

from array import array
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from _fastpath import peoplerows
from gateway.errors import StoreError
from gateway.store import people

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


async def octets(list_id: int, numbers: list[int], value: str = "x") -> AsyncIterator[bytes]:
    yield peoplerows.HEADER
    yield peoplerows.pack(array("q", numbers), list_id, [b'"a":'], [[value] * len(numbers)])
    yield peoplerows.TRAILER


async def opened(connection: Any, name: str = "spring") -> people.ContactList:
    return await people.open_list(
        connection, name, source_name="a.csv", source_sha256=b"\x01" * 32, fields=["a"], now=NOW
    )


async def test_a_list_is_opened_once_and_taken_up_again(connection: Any) -> None:
    first = await opened(connection)
    assert await opened(connection) == first and first.state == "loading"
    assert await people.finish_list(connection, first.id, NOW) == 0
    found = await people.find_list(connection, "spring")
    assert found is not None and found.state == "ready"
    assert (await opened(connection)).state == "loading"
    assert await people.find_list(connection, "autumn") is None


async def test_entries_are_copied_once_and_merged_ever_after(connection: Any) -> None:
    spring = await opened(connection)
    assert not await people.has_entries(connection, spring.id)
    await people.copy_entries(connection, octets(spring.id, [44, 45]))
    assert await people.has_entries(connection, spring.id)
    with pytest.raises(StoreError, match="list_entry"):
        await people.copy_entries(connection, octets(spring.id, [46, 45]))
    for _ in range(2):
        await people.merge_entries(connection, octets(spring.id, [45, 46], "y"))
    assert await people.finish_list(connection, spring.id, NOW) == 3
    rows = await connection.fetch("SELECT number, attributes->>'a' FROM list_entry ORDER BY number")
    assert [tuple(row) for row in rows] == [(44, "x"), (45, "y"), (46, "y")]


async def test_endpoints_of_disjoint_buckets_are_the_endpoints_of_all(connection: Any) -> None:
    spring, numbers = await opened(connection), list(range(447911100000, 447911100500))
    await people.copy_entries(connection, octets(spring.id, numbers))
    written = [
        await people.upsert_endpoints(connection, spring.id, NOW, range(at, at + 64)) for at in range(0, 256, 64)
    ]
    assert sum(written) == 500 and all(written)
    assert await people.upsert_endpoints(connection, spring.id, NOW) == 0


async def test_a_bucket_that_is_not_the_numbers_own_is_refused(connection: Any) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(
            "INSERT INTO endpoint (bucket, number, created_at, updated_at) VALUES ($1, 44, $2, $2)",
            peoplerows.bucket(44) + 1,
            NOW,
        )


async def test_the_bucket_of_the_client_is_the_bucket_of_the_check(connection: Any) -> None:
    spring, numbers = await opened(connection), [1, 255, 256, 2**31, 2**40 + 17, 999999999999999]
    await people.copy_entries(connection, octets(spring.id, numbers))
    assert await people.finish_list(connection, spring.id, NOW) == len(numbers)
