"""How far files are taken in, and what a dry run asks of numbers. Statements: sql/imports.sql.

A file and the way it is read are one import: told again it goes on where it was, and does nothing where it is done.
What a batch says is written before how far it went: a crash between tells it once more, as of the same time, in vain.
Not here: reading files (gateway.contacts), what batches come to (profiles.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg
from msgspec import Struct

from gateway.consent import State, reach_of
from gateway.errors import StoreError
from gateway.person import hash_of
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

STATEMENT_DEADLINE_S = 30.0


class Begun(Struct, frozen=True, kw_only=True):
    """An import: how far it is, and as of when it tells."""

    line: int
    as_of: datetime
    is_done: bool


async def begin(
    connection: Connection, sha256: bytes, plan: bytes, kind: str, name: str, as_of: datetime, now: datetime
) -> Begun:
    """Begin an import, or take it up again; it is this connection's alone for as long as it lives.

    raises  StoreError, retryable: another import of the file is running
    """
    key = int.from_bytes(sha256[:8], "big", signed=True)
    async with deadline(connection, STATEMENT_DEADLINE_S, "begin import"):
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1::bigint)", key):
            raise StoreError(f"{name}: another import of it is running", retryable=True)
        row = await connection.fetchrow(query("open_import"), sha256, plan, kind, name, as_of, now)
    assert row is not None
    return Begun(line=row["line"], as_of=row["as_of"], is_done=row["finished_at"] is not None)


async def went(connection: Connection, sha256: bytes, plan: bytes, line: int, now: datetime) -> None:
    """Write down how far an import went."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "import"):
        await connection.execute(query("import_went"), sha256, plan, line, now)


async def finish(connection: Connection, sha256: bytes, plan: bytes, now: datetime) -> None:
    """Write down that all of it is taken."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "finish import"):
        await connection.execute(query("finish_import"), sha256, plan, now)


async def note_kinds(connection: Connection, kinds: Mapping[int, str], now: datetime) -> None:
    """Keep what kinds of line numbers are."""
    order = sorted((hash_of(number), number, kind) for number, kind in kinds.items())
    async with deadline(connection, STATEMENT_DEADLINE_S, "types of line"):
        await connection.execute(
            query("note_lines_of_numbers"), [one[0] for one in order], [one[1] for one in order],
            [one[2] for one in order], now,
        )  # fmt: skip


async def agreed_among(connection: Connection, numbers: Sequence[int], brand: str) -> set[int]:
    """Say which of some numbers have agreed to promotional messages of a brand or a programme."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "consent of numbers"):
        rows: list[asyncpg.Record] = await connection.fetch(
            query("agreed_among"), [hash_of(number) for number in numbers], numbers, reach_of(brand), int(State.GRANTED)
        )
    return {row[0] for row in rows}


async def stopped_among(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Say which of some numbers nobody may write to."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "stopped numbers"):
        rows: list[asyncpg.Record] = await connection.fetch(query("stopped_among"), numbers)
    return {row[0] for row in rows}
