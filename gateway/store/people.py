"""People in Postgres: endpoints, contact lists and their entries.

What it is: the statements of an import, each safe to repeat. What it is not: a reader of files (gateway.contacts), nor
the order of the steps, which is

    open_list ─► copy_entries (an empty list) or merge_entries (any other), by pieces ─► upsert_endpoints ─► finish_list

A piece is one transaction. A crash leaves the list `loading` with some pieces in it; the repeat merges what is there.
Every wait stands in `deadline`; every error leaves as StoreError.
"""

import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg

from gateway.errors import OrderFault
from gateway.store.postgres import deadline

Connection: TypeAlias = "asyncpg.Connection[Any]"
STATEMENT_DEADLINE_S = 10.0
PIECE_DEADLINE_S = 60.0
"""One piece is some ten thousand rows: less than a second where all is well."""
SET_DEADLINE_S = 600.0
ROWS_PER_UPSERT = 500_000
# Of a number, by a fixed hash (_fastpath.peoplerows.bucket).
BUCKETS = 256
# Names of lists that are a file's own: `sluice send` makes one for each file, and retention empties it.
LIST_OF_FILE = "@[0-9a-f]{16}$"
_COLUMNS = ("bucket", "list", "number", "attributes")

# The row of contact_list by its unique name: created once, taken again by every repeat. Index: contact_list_name_key.
_OPEN = """
INSERT INTO contact_list (name, source_name, source_sha256, fields, state, created_at)
VALUES ($1::text, $2::text, $3::bytea, $4::text[], 'loading', $5::timestamptz)
ON CONFLICT (name) DO UPDATE
SET source_name = excluded.source_name, source_sha256 = excluded.source_sha256, fields = excluded.fields,
    state = 'loading', finished_at = NULL
RETURNING id, name, source_name, source_sha256, fields, state, entries
"""
# One list by its name. Index: contact_list_name_key.
_FIND = """
SELECT id, name, source_name, source_sha256, fields, state, entries FROM contact_list WHERE name = $1::text
"""
# Whether a list has any entry. Index: list_entry_pkey, one look into each bucket.
_ANY_ENTRY = """
SELECT EXISTS (SELECT FROM list_entry WHERE list = $1::bigint AND bucket BETWEEN 0 AND 255)
"""
_INCOMING = """
CREATE TEMPORARY TABLE IF NOT EXISTS incoming_entry
    (bucket int NOT NULL, list bigint NOT NULL, number bigint NOT NULL, attributes jsonb NOT NULL) ON COMMIT DELETE ROWS
"""
# New entries, and those whose attributes have changed. Index: list_entry_pkey, as the arbiter.
_MERGE = """
INSERT INTO list_entry (bucket, list, number, attributes)
SELECT bucket, list, number, attributes FROM incoming_entry
ON CONFLICT (bucket, list, number) DO UPDATE SET attributes = excluded.attributes
WHERE list_entry.attributes IS DISTINCT FROM excluded.attributes
"""
# The people of a list become endpoints; what the list says of them is laid over what was known. A person known with the
# same attributes is not written again. Index: endpoint_pkey, as the arbiter. Bucket = bucket: it stays on the shard.
_UPSERT = """
INSERT INTO endpoint (bucket, number, attributes, created_at, updated_at)
SELECT e.bucket, e.number, e.attributes, $2::timestamptz, $2::timestamptz
FROM list_entry e WHERE e.list = $1::bigint AND e.bucket >= $3::int AND e.bucket < $4::int
ORDER BY e.bucket, e.number
ON CONFLICT (bucket, number) DO UPDATE
SET attributes = endpoint.attributes || excluded.attributes, updated_at = excluded.updated_at
WHERE endpoint.attributes IS DISTINCT FROM endpoint.attributes || excluded.attributes
"""
_COUNT = "SELECT count(*) FROM list_entry WHERE list = $1::bigint"
_FINISH = """
UPDATE contact_list SET state = 'ready', entries = $2::bigint, finished_at = $3::timestamptz WHERE id = $1::bigint
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactList:
    """A named list of people; `state` is loading or ready, `entries` counted when it was last finished."""

    id: int
    name: str
    source_name: str
    source_sha256: bytes
    fields: list[str]
    state: str
    entries: int


def name_of_file(file_name: str, digest: bytes) -> str:
    """Name the list of a file; the same content makes the same name."""
    return f"{file_name}@{digest.hex()[:16]}"


def is_of_file(name: str) -> bool:
    """Whether a list is a file's own, by its name."""
    return re.search(LIST_OF_FILE, name) is not None


def _lock_key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(b"contact_list:" + name.encode()).digest()[:8], "big", signed=True)


async def lock_list(connection: Connection, name: str) -> None:
    """Hold the import of a list for as long as this connection lives; it must be one to the coordinator.

    raises  StoreError, retryable, while another import of the list runs
    """
    async with deadline(connection, STATEMENT_DEADLINE_S, "lock list"):
        granted = await connection.fetchval("SELECT pg_try_advisory_lock($1::bigint)", _lock_key(name))
    if not granted:
        raise OrderFault(f"list {name!r}: another import of it is running", retryable=True)


async def open_list(
    connection: Connection,
    name: str,
    *,
    source_name: str,
    source_sha256: bytes,
    fields: list[str],
    now: datetime,
) -> ContactList:
    """Create the list, or take the one of that name up again; either way it is `loading` now."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "open list"):
        row = await connection.fetchrow(_OPEN, name, source_name, source_sha256, fields, now)
    if row is None:
        raise OrderFault(f"list {name!r}: not created")
    return ContactList(**dict(row))


async def find_list(connection: Connection, name: str) -> ContactList | None:
    """Return the list of that name, None when there is none."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "find list"):
        row = await connection.fetchrow(_FIND, name)
    return None if row is None else ContactList(**dict(row))


async def has_entries(connection: Connection, list_id: int) -> bool:
    """Say whether anything was written into the list before."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "look into list"):
        return bool(await connection.fetchval(_ANY_ENTRY, list_id))


async def copy_entries(connection: Connection, rows: AsyncIterator[bytes]) -> None:
    """Append one piece of entries, none of which is in its list: the fast way into an empty list.

    rows    octets of a binary COPY: peoplerows.HEADER, packed rows in any cut, peoplerows.TRAILER
    raises  StoreError: retryable, or an entry was there already
    cost    about 1.5 µs of Postgres a row with 60 octets of attributes
    """
    async with deadline(connection, PIECE_DEADLINE_S, "copy entries"):
        await connection.copy_to_table("list_entry", source=rows, columns=_COLUMNS, format="binary")


async def merge_entries(connection: Connection, rows: AsyncIterator[bytes]) -> None:
    """Write one piece of entries into a list that may hold some of them: the last attributes stay.

    rows    as in copy_entries; no number twice in a piece
    raises  StoreError
    cost    about 2.5 times copy_entries
    """
    async with deadline(connection, PIECE_DEADLINE_S, "merge entries"):
        await connection.execute(_INCOMING)
        async with connection.transaction():
            await connection.copy_to_table("incoming_entry", source=rows, columns=_COLUMNS, format="binary")
            await connection.execute(_MERGE)


async def upsert_endpoints(connection: Connection, list_id: int, now: datetime, buckets: range = range(BUCKETS)) -> int:
    """Make endpoints of the people of a list, those of some buckets; return how many were new or changed.

    buckets  a range with step 1 within 0..256; disjoint ranges may run on several connections at once
    cost     about 2.5 µs of Postgres a person who is new
    """
    async with deadline(connection, SET_DEADLINE_S, "upsert endpoints"):
        tag = await connection.execute(_UPSERT, list_id, now, buckets.start, buckets.stop, timeout=SET_DEADLINE_S)
    return int(tag.rsplit(" ", 1)[1])


async def finish_list(connection: Connection, list_id: int, now: datetime) -> int:
    """Count the entries and call the list ready; return the count."""
    async with deadline(connection, SET_DEADLINE_S, "finish list"):
        entries = int(await connection.fetchval(_COUNT, list_id))
        await connection.execute(_FINISH, list_id, entries, now)
    return entries
