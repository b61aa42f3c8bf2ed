"""A query of another Postgres as a list: by a role that can only read, as a whole, who came and went (SG-11, SG-7)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from gateway.errors import SourceFault
from gateway.person import Item, Who
from gateway.store import people, profiles, sources
from gateway.store.sources import Source, has_order

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)


@pytest.fixture
async def admin(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(dsn)
    yield connection
    await connection.close()


@pytest.fixture
async def reader(dsn: str, admin: asyncpg.Connection) -> AsyncIterator[str]:
    """The DSN of a role that can read one table of a shop, and do nothing else."""
    name = f"reader_{Random().getrandbits(48):x}"
    await admin.execute(
        f"CREATE TABLE till (id int, phone text, days int); INSERT INTO till VALUES (1, '+491', 40), (2, '+492', 50); "
        f"REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE {name} LOGIN PASSWORD 'x'; "
        f"GRANT SELECT ON till TO {name}"
    )
    parts = urlsplit(dsn)
    yield urlunsplit(parts._replace(netloc=f"{name}:x@{parts.netloc.rpartition('@')[2]}"))
    await admin.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


async def fault(dsn: str, text: str, **more: int) -> str:
    with pytest.raises(SourceFault) as error:
        await sources.ask(dsn, text, **{"most_rows": 10, "timeout_s": 5, **more})
    return error.value.fault


async def test_sg_11_a_role_that_can_only_read_is_asked(reader: str) -> None:
    found = await sources.ask(reader, "SELECT phone, days FROM till ORDER BY id", most_rows=10, timeout_s=5)
    assert (found.key, dict(found.rows)) == ("phone", {"+491": {"days": 40}, "+492": {"days": 50}})


async def test_sg_11_a_role_that_could_write_anything_is_refused(
    dsn: str, reader: str, admin: asyncpg.Connection
) -> None:
    name = urlsplit(reader).username
    assert await fault(dsn, "SELECT phone FROM till") == "superuser"
    for grant, expected in (
        ("INSERT ON till", "can_write"), ("UPDATE (days) ON till", "can_write"),
        ("CREATE ON SCHEMA public", "can_create"),
    ):  # fmt: skip
        await admin.execute(f"GRANT {grant} TO {name}")
        assert await fault(reader, "SELECT phone FROM till") == expected, grant
        await admin.execute(f"REVOKE {grant} FROM {name}")
    other = f"{name}_writer"
    await admin.execute(f"CREATE ROLE {other}; GRANT DELETE ON till TO {other}; GRANT {other} TO {name}")
    # It may become one that can, by SET ROLE, whatever it inherits.
    await admin.execute(f"ALTER ROLE {name} NOINHERIT")
    assert await fault(reader, "SELECT phone FROM till") == "can_write"
    await admin.execute(f"DROP OWNED BY {other}; DROP ROLE {other}")
    await sources.ask(reader, "SELECT phone FROM till", most_rows=10, timeout_s=5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT phone FROM nowhere", "not_a_query"), ("SELEKT", "syntax"), ("SELECT days FROM till", "no_key"),
        ("SELECT phone, id AS external_id FROM till", "no_key"),
        ("SELECT phone, id AS n, days AS n FROM till", "no_key"),
        ("SELECT 1 AS phone; SELECT 2 AS phone", "syntax"), ("DELETE FROM till RETURNING phone", "writes"),
        ("CREATE TEMPORARY TABLE x AS SELECT 1", "no_key"), ("SELECT NULL::text AS phone", "no_value"),
        ("SELECT 'x' AS phone FROM generate_series(1, 3)", "duplicate_key"),
        ("SELECT g::text AS phone FROM generate_series(1, 11) g", "too_many_rows"),
        ("SELECT 'x' AS phone, 1 / 0 AS n", "not_a_query"),
    ],
)  # fmt: skip
async def test_sg_11_what_is_no_answer_is_refused_by_name(reader: str, text: str, expected: str) -> None:
    assert await fault(reader, text) == expected


async def test_sg_11_a_query_that_takes_too_long_is_ended(reader: str) -> None:
    assert await fault(reader, "SELECT 'x' AS phone FROM pg_sleep(30)", timeout_s=1) == "too_slow"


async def test_sg_11_of_keys_that_come_twice_the_order_says_which_is_last(reader: str) -> None:
    text = "SELECT 'x' AS phone, g AS n FROM generate_series(1, 3) g ORDER BY g"
    assert (await sources.ask(reader, text, most_rows=10, timeout_s=5)).rows == {"x": {"n": 3}}
    assert has_order("SELECT 1 order\n by 1") and has_order("(SELECT 1) ORDER BY 1")
    for inner in ("SELECT (SELECT 1 ORDER BY 1)", "SELECT 'order by'", "SELECT 1 -- order by", 'SELECT "order by"'):
        assert not has_order(inner)


async def test_sg_7_a_run_lets_the_list_be_the_answer_and_says_who_came_and_went(admin: asyncpg.Connection) -> None:
    made = await people.open_list(admin, "lapsed", source_name="sql", source_sha256=b"", fields=[], now=NOW)
    source = Source(
        name="lapsed", dsn="sealed", query="SELECT 1", region="", most_rows=9, timeout_s=9, list=made.id, at=NOW
    )
    assert await sources.add(admin, source) and not await sources.add(admin, source)
    first = await sources.apply(admin, source, {491: {"days": 40}, 492: {}}, NOW, 1)
    assert (first.rows, first.entered, first.left) == (2, 2, 0)
    second = await sources.apply(admin, source, {492: {"days": 1}, 493: {}}, NOW, 2)
    assert (second.entered, second.left) == (1, 1)
    assert [tuple(row) for row in await admin.fetch(
        "SELECT id, number, is_in, source FROM list_change ORDER BY id, number"
    )] == [
        (1, 491, True, "sql:lapsed"), (1, 492, True, "sql:lapsed"), (2, 491, False, "sql:lapsed"),
        (2, 493, True, "sql:lapsed"),
    ]  # fmt: skip
    rows = await admin.fetch("SELECT number, attributes FROM list_entry ORDER BY number")
    assert [tuple(row) for row in rows] == [(492, '{"days": 1}'), (493, "{}")]
    assert await admin.fetchval("SELECT entries FROM contact_list") == 2
    again = await sources.apply(admin, source, {492: {"days": 1}, 493: {}}, NOW, 3)
    assert (again.entered, again.left) == (0, 0)
    assert [one.name for one in await sources.all_of(admin)] == ["lapsed"]
    assert await sources.drop(admin, "lapsed") and not await sources.drop(admin, "lapsed")


async def test_customers_are_found_by_their_external_id(admin: asyncpg.Connection) -> None:
    items = [
        Item(who=Who(external_id="a", phone=4915112345671), attributes={"n": 1}),
        Item(who=Who(external_id="b"), attributes={"n": 1}),
    ]
    await profiles.ingest(admin, items, NOW, Random(1))
    assert await sources.numbers_of(admin, ["a", "b", "c"]) == {"a": 4915112345671}
