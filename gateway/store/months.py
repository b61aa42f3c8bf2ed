"""Partitions of a month, of tables of people: person_event and contact_page.

    TABLE_202603   from the first of March 2026, UTC, to the first of April
    TABLE_rest     what is of a month that was not made; a month of which something stands there already stays there

Made apart and attached, which blocks nobody (CREATE TABLE … PARTITION OF waits for every reader).
Not here: days of outcomes and receipts (runs.py, retention.py).
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

import asyncpg
from msgspec import Struct

from gateway.store import placement
from gateway.store.postgres import Connection
from gateway.store.queries import query

Table = Literal["person_event", "contact_page"]


class Month(Struct, frozen=True, kw_only=True):
    """A partition, from the first of its month."""

    name: str
    begin: datetime

    @property
    def end(self) -> datetime:
        """The first of the next one."""
        return next_month(self.begin)


def month_of(at: datetime) -> datetime:
    """Return the first of the month, UTC, that a moment is in."""
    at = at.astimezone(UTC)
    return datetime(at.year, at.month, 1, tzinfo=UTC)


def next_month(begin: datetime) -> datetime:
    """Return the first of the next month."""
    return datetime(begin.year + begin.month // 12, begin.month % 12 + 1, 1, tzinfo=UTC)


def ahead(now: datetime, months: int) -> list[datetime]:
    """Return the first of this month and of so many that follow."""
    found = [month_of(now)]
    for _ in range(months):
        found.append(next_month(found[-1]))
    return found


async def ensure(connection: Connection, table: Table, moments: Iterable[datetime]) -> list[str]:
    """Make the partitions of the months that some moments are in, where they are missing; -> their names."""
    made = []
    for begin in sorted({month_of(at) for at in moments}):
        name = f"{table}_{begin:%Y%m}"
        if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
            continue
        is_distributed = await placement.is_distributed(connection, table)
        try:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock(728164, hashtext($1))", table)
                if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
                    continue
                # The names are ours, of letters and digits; DDL takes no parameters.
                assert re.fullmatch(r"[a-z_]+_\d{6}", name)
                await connection.execute("SET LOCAL lock_timeout = '2s'")
                await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
                if is_distributed:
                    # Without a primary key its shards could not be moved while they are written to.
                    await connection.execute(f"ALTER TABLE {name} REPLICA IDENTITY FULL")
                    await connection.execute(
                        "SELECT create_distributed_table($1::regclass, 'bucket', colocate_with => 'endpoint')", name
                    )
                await connection.execute(
                    f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{begin:%Y-%m-%d}') "
                    f"TO ('{next_month(begin):%Y-%m-%d}')"
                )
            made.append(name)
        except (asyncpg.DuplicateTableError, asyncpg.CheckViolationError, asyncpg.LockNotAvailableError):
            continue
    return made


async def months(connection: Connection, table: Table) -> list[Month]:
    """List the months that a table has, the oldest first."""
    found = []
    for row in await connection.fetch(query("month_partitions"), table):
        digits = row["partition"].removeprefix(f"{table}_")
        # One that a person attached by another name is his.
        if len(digits) == 6 and digits.isdecimal():
            begin = datetime(int(digits[:4]), int(digits[4:]), 1, tzinfo=UTC)
            found.append(Month(name=row["partition"], begin=begin))
    return sorted(found, key=lambda one: one.begin)
