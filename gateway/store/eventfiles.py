"""How far files of events are taken in: a repeat of an import goes on there, and one of a whole file does nothing.

Written after each batch, not with it: a crash between tells a batch once more, which changes nothing (profiles.py).
Not here: reading files (gateway.contacts.events).
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from gateway.person import FUTURE, Item
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

STATEMENT_DEADLINE_S = 10.0
# Older months, and those that are to come, are kept together: a few lines of a file are no reason for a partition.
OLDEST = timedelta(days=3 * 365)


class Upto(Struct, frozen=True):
    """How many lines and octets of a file are taken."""

    lines: int = 0
    octets: int = 0


async def upto(connection: Connection, sha256: bytes, source: str) -> Upto:
    """Read how far a file is taken in as of a source."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "event file"):
        row = await connection.fetchrow(query("event_file_upto"), sha256, source)
    return Upto() if row is None else Upto(row["lines"], row["octets"])


async def went(connection: Connection, sha256: bytes, source: str, lines: int, octets: int, now: datetime) -> None:
    """Write down how far a file is taken in."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "event file"):
        await connection.execute(query("event_file_went"), sha256, source, lines, octets, now)


def as_history(item: Item) -> Item:
    """The same, told of the past: it never starts anything (EV-3)."""
    return msgspec.structs.replace(item, historical=True)


def months(items: Iterable[Item], now: datetime) -> set[datetime]:
    """The first days of the months whose partitions some items need."""
    times = {one.occurred_at or now for one in items if one.name}
    near = (at for at in times if now - OLDEST <= at <= now + FUTURE)
    return {at.replace(day=1, hour=0, minute=0, second=0, microsecond=0) for at in near} | {now}
