"""Static lists by hand: a number comes into one, or goes out of it, for a reason that is kept (SG-7). sql/lists.sql.

What changes is appended to list_change, in the transaction that changes it: once, however often it is told. Whoever has
the number is looked at again by the audiences that are watched. A file that is imported is its own reason, and writes
no row for each of its numbers.
Not here: imports (people.py), in_list (audiences.py).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import count
from random import Random

from msgspec import Struct

from gateway.person import hash_of
from gateway.store import causes, watched
from gateway.store.postgres import Connection
from gateway.store.profiles import first_id
from gateway.store.queries import query


class Change(Struct, frozen=True, kw_only=True):
    """A number came into a list, or went out of it."""

    number: int
    at: datetime
    is_in: bool
    source: str


class Source(Struct, frozen=True, kw_only=True):
    """How many numbers came by a source, or went by it, and when the last one did."""

    source: str
    is_in: bool
    n: int
    at: datetime


async def add(
    connection: Connection, list_id: int, numbers: Iterable[int], source: str, now: datetime, chance: Random
) -> int:
    """Put numbers into a list; -> how many were not in it. One transaction a bucket; telling it again completes it."""
    return await _change(connection, list_id, numbers, source, now, chance, is_in=True)


async def remove(
    connection: Connection, list_id: int, numbers: Iterable[int], source: str, now: datetime, chance: Random
) -> int:
    """Take numbers out of a list; -> how many were in it. One transaction a bucket; telling it again completes it."""
    return await _change(connection, list_id, numbers, source, now, chance, is_in=False)


async def _change(
    connection: Connection,
    list_id: int,
    numbers: Iterable[int],
    source: str,
    now: datetime,
    chance: Random,
    *,
    is_in: bool,
) -> int:
    by_bucket: dict[int, list[int]] = {}
    for number in sorted(set(numbers)):
        by_bucket.setdefault(hash_of(number), []).append(number)
    ids = count(first_id(now, chance))
    changed = 0
    for bucket, some in sorted(by_bucket.items()):
        async with connection.transaction():
            # Whoever takes in what is told of these persons has them first, and their numbers then: so do we.
            await watched.mark_numbers(connection, bucket, some, now)
            if is_in:
                await connection.execute(query("add_list_endpoints"), bucket, some, now)
            rows = await connection.fetch(
                query("add_list_entries" if is_in else "remove_list_entries"), bucket, list_id, some
            )
            found = sorted(row["number"] for row in rows)
            made = [next(ids) for _ in found]
            await connection.execute(query("add_list_changes"), bucket, list_id, now, is_in, source, made, found)
            await causes.tell_of_numbers(connection, bucket, list_id, made, found, now, is_in=is_in)
        changed += len(found)
    entries = await connection.fetchval(query("count_list_entries"), list_id)
    await connection.execute(query("note_list_entries"), list_id, entries)
    return changed


async def has(connection: Connection, list_id: int, number: int) -> bool:
    """Say whether a number is in a list."""
    return bool(await connection.fetchval(query("is_listed"), hash_of(number), list_id, number))


async def changes(connection: Connection, list_id: int, number: int) -> list[Change]:
    """Read how a number came into a list and went out of it, in its order; what an import did is not among it."""
    rows = await connection.fetch(query("list_changes_of"), hash_of(number), list_id, number)
    return [Change(**dict(row)) for row in rows]


async def sources(connection: Connection, list_id: int) -> Sequence[Source]:
    """Count by source who came into a list, and who went out of it."""
    return [Source(**dict(row)) for row in await connection.fetch(query("list_sources"), list_id)]
