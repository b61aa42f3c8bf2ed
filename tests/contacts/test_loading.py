"""Imports into a real Postgres: whole, repeated, broken off and completed."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.contacts import loading
from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import Reading
from gateway.contacts.table import Table
from gateway.errors import StoreError
from gateway.store import people

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 3, tzinfo=UTC)


def file_of(tmp_path: Path, rows: int, name: str = "Ann") -> Path:
    path = tmp_path / "people.csv"
    path.write_text("phone,name,city\n" + "".join(f"+4479111{n:05d},{name} {n},\n" for n in range(rows)))
    return path


async def load(path: Path, dsn: str, now: datetime = NOW, connections: int = 2) -> loading.Loaded:
    with Table(str(path)) as table:
        return await loading.load(Reading(table, Numbers()), dsn, "spring", now=now, connections=connections)


async def fetch(dsn: str, statement: str, *arguments: Any) -> list[Any]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(statement, *arguments)]
    finally:
        await connection.close()


async def people_of(dsn: str) -> tuple[list[Any], list[Any]]:
    """Entries, endpoints."""
    return (
        await fetch(dsn, "SELECT number, attributes FROM list_entry ORDER BY number"),
        await fetch(dsn, "SELECT number, attributes, created_at, updated_at FROM endpoint ORDER BY number"),
    )


@pytest.mark.parametrize("connections", [1, 3])
async def test_a_file_becomes_a_list_and_its_people_endpoints(tmp_path: Path, dsn: str, connections: int) -> None:
    loaded = await load(file_of(tmp_path, 5000), dsn, connections=connections)
    entries, endpoints = await people_of(dsn)
    assert (loaded.entries, loaded.endpoints_written, loaded.was_known) == (5000, 5000, False)
    assert entries[17] == (447911100017, '{"name": "Ann 17"}')
    assert endpoints[17] == (447911100017, '{"name": "Ann 17"}', NOW, NOW)
    found = await fetch(dsn, "SELECT name, source_name, fields, state, entries, finished_at FROM contact_list")
    assert found == [("spring", "people.csv", ["name", "city"], "ready", 5000, NOW)]


async def test_the_same_file_again_changes_nothing(tmp_path: Path, dsn: str) -> None:
    path = file_of(tmp_path, 300)
    await load(path, dsn)
    before = await people_of(dsn)
    loaded = await load(path, dsn, LATER)
    assert (loaded.entries, loaded.endpoints_written, loaded.was_known) == (300, 0, True)
    assert await people_of(dsn) == before


async def test_a_changed_file_adds_and_lays_its_values_over_the_old(tmp_path: Path, dsn: str) -> None:
    await load(file_of(tmp_path, 2), dsn)
    path = tmp_path / "people.csv"
    path.write_text("phone,city\n+447911100001,Rome\n+447911100002,Bonn\n")
    loaded = await load(path, dsn, LATER)
    entries, endpoints = await people_of(dsn)
    assert (loaded.entries, loaded.endpoints_written) == (3, 2)
    assert [json.loads(row[1]) for row in entries] == [{"name": "Ann 0"}, {"city": "Rome"}, {"city": "Bonn"}]
    assert json.loads(endpoints[1][1]) == {"name": "Ann 1", "city": "Rome"}
    assert endpoints[1][2:] == (NOW, LATER)


async def test_an_import_broken_off_leaves_the_list_loading_and_a_repeat_completes_it(
    tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(tmp_path, 4000)
    whole, pieces = people.copy_entries, 0

    async def breaks_at_the_second(connection: Any, rows: AsyncIterator[bytes]) -> None:
        nonlocal pieces
        pieces += 1
        if pieces == 2:
            raise StoreError("gone", retryable=True)
        await whole(connection, rows)

    monkeypatch.setattr(loading, "PIECE_BLOCKS", 1)
    monkeypatch.setattr(people, "copy_entries", breaks_at_the_second)
    with pytest.raises(StoreError, match="gone"):
        await load(path, dsn, connections=1)
    assert await fetch(dsn, "SELECT state FROM contact_list") == [("loading",)]
    assert 0 < (await fetch(dsn, "SELECT count(*) FROM list_entry"))[0][0] < 4000
    loaded = await load(path, dsn, LATER)
    assert (loaded.entries, loaded.endpoints_written, loaded.was_known) == (4000, 4000, True)
    assert await fetch(dsn, "SELECT state FROM contact_list") == [("ready",)]


async def test_two_imports_of_one_list_do_not_run_at_once(tmp_path: Path, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await people.lock_list(connection, "spring")
        with pytest.raises(StoreError, match="another import") as caught:
            await load(file_of(tmp_path, 1), dsn)
        assert caught.value.retryable
    finally:
        await connection.close()


async def test_hostile_values_and_names_arrive_as_they_are(tmp_path: Path, dsn: str) -> None:
    value, name = "a\"b\\ \x01 é \U0001f600 '; DROP TABLE endpoint", 'x"y\\'
    path = tmp_path / "people.csv"
    path.write_text(
        f'phone,ключ,"{name.replace(chr(34), chr(34) * 2)}"\n+447911123456,"{value.replace(chr(34), chr(34) * 2)}",1\n'
    )
    await load(path, dsn)
    assert json.loads((await people_of(dsn))[0][0][1]) == {"ключ": value, "x_y": "1"}


async def test_a_file_of_faults_alone_makes_an_empty_list(tmp_path: Path, dsn: str) -> None:
    path = tmp_path / "people.csv"
    path.write_text("phone\nx\n")
    assert (await load(path, dsn)).entries == 0
