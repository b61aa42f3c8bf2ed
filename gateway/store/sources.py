"""A query of somebody else's Postgres whose answer is a list: asked by a role that can only read, applied as a whole.

    ask    role looked at ─► read-only transaction, statement_timeout ─► rows, one more than may be is refused   SG-11
    apply  rows staged ─► who entered, who left (list_change) ─► list_entry ─► COMMIT                            SG-7

A role that could write anything, anywhere in that database, or become one that can, is refused: a read-only transaction
alone ends with the first function that opens a connection. The key is the column external_id or phone; the others are
the entry's attributes. A key that comes twice is refused, but where an ORDER BY says which is the last.
Not here: what a number is (gateway.contacts), how the DSN is sealed (gateway.secret).
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from gateway.errors import SourceFault
from gateway.person import bucket_of, hash_of
from gateway.store import people
from gateway.store.columns import ints, texts
from gateway.store.postgres import Connection, close, connect, deadline
from gateway.store.queries import query

PAGE = 5000
STATEMENT_S = 30.0
APPLY_S = 600.0
_WRITES = "INSERT, UPDATE, DELETE, TRUNCATE"
_DANGEROUS = ("pg_write_all_data", "pg_write_server_files", "pg_read_server_files", "pg_execute_server_program")
# Every role that the one of the connection is, or may become by SET ROLE.
_ROLES = "SELECT oid, rolname, rolsuper FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER')"
_TABLES = f"""
WITH role AS MATERIALIZED ({_ROLES})
SELECT DISTINCT n.nspname || '.' || c.relname AS name
FROM role r CROSS JOIN pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND CASE WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f')
           THEN has_table_privilege(r.oid, c.oid, '{_WRITES}')
                OR has_any_column_privilege(r.oid, c.oid, 'INSERT, UPDATE')
           WHEN c.relkind = 'S' THEN has_sequence_privilege(r.oid, c.oid, 'USAGE, UPDATE') ELSE false END
ORDER BY 1 LIMIT 5
"""
_SCHEMAS = f"""
WITH role AS MATERIALIZED ({_ROLES})
SELECT DISTINCT 'schema ' || n.nspname AS name FROM role r CROSS JOIN pg_namespace n
WHERE n.nspname NOT LIKE 'pg\\_%' AND has_schema_privilege(r.oid, n.oid, 'CREATE')
UNION ALL
SELECT DISTINCT 'database ' || current_database() FROM role r
WHERE has_database_privilege(r.oid, current_database(), 'CREATE')
LIMIT 5
"""


class Source(Struct, frozen=True, kw_only=True):
    """A source as it is kept; dsn is sealed."""

    name: str
    dsn: str
    query: str
    region: str
    most_rows: int
    timeout_s: int
    list: int
    at: datetime
    ran_at: datetime | None = None


class Answer(Struct, frozen=True):
    """What a query answers: which column is the key, and a row for each key."""

    key: str
    rows: Mapping[str, Mapping[str, Any]]


class Applied(Struct, frozen=True):
    """What a run has changed."""

    rows: int
    entered: int
    left: int


async def ask(dsn: str, text: str, *, most_rows: int, timeout_s: int) -> Answer:
    """Ask a query under a role that can only read.

    raises  SourceFault: superuser, can_write, can_create, syntax, not_a_query, no_key, no_value, duplicate_key,
            too_many_rows, too_slow, writes; StoreError: the server is not there
    """
    connection = await connect(dsn, application_name="sluice source", statement_timeout_s=timeout_s)
    try:
        async with deadline(connection, timeout_s + STATEMENT_S, "source"):
            await check_role(connection)
            try:
                async with connection.transaction(readonly=True, isolation="repeatable_read"):
                    return await _ask(connection, text, most_rows)
            except asyncpg.QueryCanceledError:
                raise SourceFault("too_slow", f"expected an answer within {timeout_s} s") from None
            except (asyncpg.ReadOnlySQLTransactionError, asyncpg.InsufficientPrivilegeError) as error:
                raise SourceFault(
                    "writes", f"expected a query that only reads, found that it may not: {error}"
                ) from None
            except asyncpg.PostgresSyntaxError as error:
                raise SourceFault("syntax", f"expected one query: {error}") from None
            except (asyncpg.DataError, asyncpg.SyntaxOrAccessError, asyncpg.PostgresError) as error:
                raise SourceFault("not_a_query", f"expected one query: {error}") from None
    finally:
        await close(connection)


async def check_role(connection: Connection) -> None:
    """Refuse a role that can write, or become one that can; SourceFault says what it could."""
    roles = await connection.fetch(_ROLES)
    if wrong := [row["rolname"] for row in roles if row["rolsuper"] or row["rolname"] in _DANGEROUS]:
        raise SourceFault("superuser", f"expected a role that can only read, found one that is {', '.join(wrong)}")
    if rows := await connection.fetch(_TABLES):
        names = ", ".join(row["name"] for row in rows)
        raise SourceFault("can_write", f"expected a role with SELECT only, found one that can write to {names}")
    if rows := await connection.fetch(_SCHEMAS):
        names = ", ".join(row["name"] for row in rows)
        raise SourceFault("can_create", f"expected a role with SELECT only, found one that can create in {names}")


async def _ask(connection: Connection, text: str, most_rows: int) -> Answer:
    prepared = await connection.prepare(text)
    names = [one.name for one in prepared.get_attributes()]
    keys = [name for name in names if name in ("external_id", "phone")]
    if len(keys) != 1:
        found = ", ".join(names) or "a statement without columns"
        raise SourceFault("no_key", f"expected one column external_id or phone, found {found}")
    if len(set(names)) < len(names):
        raise SourceFault("no_key", f"expected each column once, found {', '.join(names)}")
    is_ordered = has_order(text)
    found_rows: dict[str, Mapping[str, Any]] = {}
    count = 0
    cursor = await prepared.cursor()
    while rows := await cursor.fetch(PAGE):
        for row in rows:
            count += 1
            if count > most_rows:
                raise SourceFault("too_many_rows", f"expected at most {most_rows:,} rows")
            told = dict(row)
            value = told.pop(keys[0])
            if value is None or not str(value).strip():
                raise SourceFault("no_value", f"row {count}, {keys[0]}: expected a value, found none")
            name = str(value).strip()
            if name in found_rows and not is_ordered:
                raise SourceFault(
                    "duplicate_key",
                    f"row {count}, {keys[0]}: expected each once, or an ORDER BY that says which is last, found {name}",
                )
            found_rows[name] = {column: _told(each) for column, each in told.items() if each is not None}
    return Answer(keys[0], found_rows)


def _told(value: Any) -> Any:
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and value.is_finite() else str(value)
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, UUID | str):
        return str(value).replace("\0", "")
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    return str(value)


def has_order(text: str) -> bool:
    """Say whether the query itself is ordered: by words outside of brackets, texts, names and remarks."""
    bare = re.sub(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$", " ", text, flags=re.DOTALL)
    depth, outer = 0, []
    for char in bare:
        depth += (char == "(") - (char == ")")
        if depth == 0:
            outer.append(char)
    return re.search(r"\border\s+by\b", "".join(outer), re.IGNORECASE) is not None


async def numbers_of(connection: Connection, external_ids: Sequence[str]) -> dict[str, int]:
    """Find the numbers of customers; who is unknown, or has none, is left out."""
    found: dict[str, int] = {}
    for at in range(0, len(external_ids), PAGE):
        some = list(external_ids[at : at + PAGE])
        async with deadline(connection, STATEMENT_S, "customers"):
            rows = await connection.fetch(
                query("identities_of"),
                ints([bucket_of("external_id", one) for one in some]),
                texts(["external_id"] * len(some)),
                texts(some),
                ints(range(len(some))),
            )
            places = {row["profile"]: some[row["at"]] for row in rows}
            held = await connection.fetch(
                query("profiles_held"),
                ints([row["profile_bucket"] for row in rows]),
                ints([row["profile"] for row in rows]),
            )
        found.update((places[row["id"]], row["number"]) for row in held if row["number"] is not None)
    return found


async def apply(
    connection: Connection, source: Source, rows: Mapping[int, Mapping[str, Any]], now: datetime, id_: int
) -> Applied:
    """Let the source's list be these numbers, wholly or not at all; who came and who went is written down.

    raises  SourceFault `running`: somebody else applies it now
    """
    async with deadline(connection, APPLY_S, "source"), connection.transaction():
        if await connection.fetchval(query("hold_source"), source.name) is None:
            raise SourceFault("running", f"{source.name}: another run of it is at work")
        await connection.execute(query("clear_source_rows"), source.list)
        await connection.copy_records_to_table(
            "source_row",
            records=[
                (hash_of(number), source.list, number, msgspec.json.encode(told).decode())
                for number, told in rows.items()
            ],
            columns=("bucket", "list", "number", "attributes"),
        )
        said = f"sql:{source.name}"
        entered = await connection.execute(query("source_entered"), source.list, id_, now, said)
        left = await connection.execute(query("source_left"), source.list, id_, now, said)
        await connection.execute(query("drop_left"), source.list)
        await connection.execute(query("take_source_rows"), source.list)
        await connection.execute(query("clear_source_rows"), source.list)
        await connection.execute(query("source_ran"), source.name, now)
    await people.finish_list(connection, source.list, now)
    return Applied(len(rows), int(entered.rsplit(" ", 1)[1]), int(left.rsplit(" ", 1)[1]))


async def add(connection: Connection, source: Source) -> bool:
    """Keep a source; False: there is one of that name."""
    async with deadline(connection, STATEMENT_S, "source"):
        return await connection.fetchval(
            query("add_source"), source.name, source.dsn, source.query, source.region, source.most_rows,
            source.timeout_s, source.list, source.at,
        ) is not None  # fmt: skip


async def all_of(connection: Connection) -> list[Source]:
    """Read the sources."""
    async with deadline(connection, STATEMENT_S, "sources"):
        return [Source(**dict(row)) for row in await connection.fetch(query("sources"))]


async def drop(connection: Connection, name: str) -> bool:
    """Forget a source; False: there is none of that name."""
    async with deadline(connection, STATEMENT_S, "source"):
        return await connection.fetchval(query("drop_source"), name) is not None
