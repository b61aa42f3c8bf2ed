"""Which table stands where on a cluster, held against the schema; and the calls, made on a stand-in."""

import importlib.resources
import re
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from gateway.errors import StoreError
from gateway.store import placement, postgres, runs
from gateway.store.migrate import migrate, read
from gateway.store.placement import BY_LANE, LOCAL, PLACES, REFERENCE, Found, Place, calls, found_of
from tests.fixtures.pretend_citus import pretend

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DISTRIBUTED = [name for name, place in PLACES.items() if place.kind == "distributed"]


def whole() -> dict[str, Found]:
    """A cluster on which everything stands where it should."""
    groups = {"chunk": 2, "endpoint": 3, "": 1}
    return {name: Found(place, groups[place.group]) for name, place in PLACES.items() if place.kind != "local"}


def made_from(version: int) -> set[str]:
    """The tables that the migrations from a number on make; a partition has its parent's place."""
    files = read(importlib.resources.files("gateway.store").joinpath("migrations"))
    form = re.compile(r"^CREATE (?:UNLOGGED )?TABLE IF NOT EXISTS (\w+)\b(?! PARTITION OF)", re.MULTILINE)
    return {
        found
        for file in files
        if file.version >= version
        for statement in file.statements
        for found in form.findall(statement)
    }


async def fetch(dsn: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


def test_every_table_that_a_migration_makes_has_a_place_and_no_other_has() -> None:
    assert made_from(1) | {"schema_version"} == set(PLACES), "say where it stands: gateway/store/placement.py"


async def test_every_table_of_a_database_has_a_place(dsn: str) -> None:
    rows = await fetch(
        dsn,
        "SELECT relname::text AS name FROM pg_class "
        "WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace",
    )
    assert {row["name"] for row in rows} == set(PLACES)


def test_the_first_table_of_a_group_is_called_first_and_makes_it() -> None:
    made = calls({})
    for group, key in (("chunk", "lane"), ("endpoint", "bucket")):
        assert made.index(f"SELECT create_distributed_table('{group}', '{key}', colocate_with => 'none')") == min(
            number for number, call in enumerate(made) if f"'{key}'" in call
        )
    assert "SELECT create_distributed_table('outcome', 'lane', colocate_with => 'chunk')" in made
    assert "SELECT create_reference_table('carrier')" in made
    assert not [call for call in made for name, place in PLACES.items() if place == LOCAL and f"'{name}'" in call]


def test_what_stands_where_it_should_is_left_alone() -> None:
    assert calls(whole()) == []
    rest = whole()
    del rest["outcome"], rest["carrier"]
    assert calls(rest) == [placement.call_of("carrier"), placement.call_of("outcome")]


@pytest.mark.parametrize(
    ("name", "found", "says"),
    [
        ("receipt_habit", Found(REFERENCE, 1), "expected distributed by lane, found a reference table"),
        ("worker", Found(REFERENCE, 1), "expected a local table, found a reference table"),
        (
            "outcome",
            Found(Place("distributed", "chunk_id"), 2),
            "expected distributed by lane, found distributed by chunk_id",
        ),
        ("outcome", Found(BY_LANE, 7), "expected in the group of chunk, found in another"),
    ],
)
def test_a_table_that_stands_elsewhere_is_named_with_what_to_do_and_not_moved(
    name: str, found: Found, says: str
) -> None:
    with pytest.raises(StoreError, match=re.escape(says)):
        calls({**whole(), name: found})


def test_what_the_cluster_says_is_read_by_its_letters() -> None:
    def row(name: str, method: str, model: str, key: str = "") -> dict[str, object]:
        return {"name": name, "method": method, "model": model, "key": key, "colocation": 4}

    found = found_of([row("a", "h", "s", "lane"), row("b", "n", "t"), row("c", "n", "s")])
    assert found["a"] == Found(Place("distributed", "lane"), 4)
    assert (found["b"].place, found["c"].place) == (REFERENCE, LOCAL)


async def test_a_plain_database_is_refused_and_a_plan_says_that_it_has_no_citus(dsn: str) -> None:
    with pytest.raises(StoreError, match="expected the extension citus in this database, found none"):
        await placement.distribute(dsn)
    assert await placement.missing(dsn) == (False, calls({}))


async def test_everything_is_distributed_once_and_what_broke_off_is_gone_on_with(dsn: str) -> None:
    await pretend(dsn)
    await fetch(dsn, placement.call_of("run"))
    made = await placement.distribute(dsn)
    assert made == [call for call in calls({}) if call != placement.call_of("run")]
    rows = await fetch(dsn, "SELECT logicalrelid::regclass::text AS name FROM pg_dist_partition")
    assert {row["name"] for row in rows} == {name for name, place in PLACES.items() if place.kind != "local"}
    assert await placement.distribute(dsn) == []
    assert await placement.missing(dsn) == (True, [])


async def test_new_partitions_are_distributed_where_their_parent_is_and_nowhere_else(dsn: str) -> None:
    connection = await postgres.connect(dsn)
    try:
        await runs.ensure_partitions(connection, NOW)
        await pretend(dsn)
        assert await runs.ensure_partitions(connection, NOW.replace(year=2027)), (
            "citus is there, and nothing distributed"
        )
        await placement.distribute(dsn)
        made = await runs.ensure_partitions(connection, NOW.replace(year=2028))
    finally:
        connection.terminate()
    assert made
    rows = await fetch(
        dsn,
        "SELECT relname::text AS name, relreplident = 'f' AS is_full, d.logicalrelid IS NOT NULL AS is_distributed "
        "FROM pg_class c LEFT JOIN pg_dist_partition d ON d.logicalrelid = c.oid "
        "WHERE relispartition AND relkind = 'r'",
    )
    assert {row["name"] for row in rows if row["is_distributed"]} == set(made)
    assert {row["name"] for row in rows if row["is_full"]} == set(made), "without it a shard could not move online"


async def test_migrations_wait_where_citus_came_before_the_schema(empty_dsn: str) -> None:
    await pretend(empty_dsn)
    with pytest.raises(StoreError, match="DROP EXTENSION citus in this database, sluice migrate, CREATE EXTENSION"):
        await migrate(empty_dsn)


async def test_a_later_migration_runs_on_distributed_tables_and_moves_what_it_has_to(dsn: str) -> None:
    """0014 on a cluster that was distributed by the files before it: receipt_habit stood on every node."""
    await fetch(dsn, "DELETE FROM schema_version WHERE version >= 14")
    await pretend(dsn)
    await placement.distribute(dsn)
    for later in sorted(made_from(15)):
        await fetch(dsn, f"DELETE FROM pg_dist_partition WHERE logicalrelid = '{later}'::regclass")
        # Views stand on some of them, and are made again with them.
        await fetch(dsn, f"DROP TABLE {later} CASCADE")
    await fetch(dsn, "SELECT undistribute_table('receipt_habit')")
    await fetch(dsn, "SELECT create_reference_table('receipt_habit')")
    with pytest.raises(StoreError, match="receipt_habit: expected distributed by lane, found a reference table"):
        await placement.missing(dsn)
    assert {"0014_placement.sql", "0015_profiles.sql"} <= set(await migrate(dsn))
    assert await placement.missing(dsn) == (True, []), "later files distribute what they make"
