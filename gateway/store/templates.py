"""Templates in Postgres: versions and their tests, numbers that tests may go to, and lists that become texts.

    list of people ─► page, a bucket each ─► (rendered) ─► write_page: entries of another list, and run_skipped
    run ─► redress: it is of that list and of the text alone

Statements: sql/templates.sql. Not here: rendering (dispatch/rendering.py), runs themselves (runs.py).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from gateway.errors import OrderFault
from gateway.store import people
from gateway.store.people import PIECE_DEADLINE_S, SET_DEADLINE_S, STATEMENT_DEADLINE_S
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

# What rendering would change of a value (campaign/filters.py: clean), so that a list without it may be composed as it
# is: an empty one, blanks at an end, what is no scalar, what is not seen, what is too long.
_UNCLEAN = (
    r"^$|^[\s{\[]|\s$|[\u0001-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
_LINK = r"[:@./\u3002\uff0e\uff61]"
_LONGEST, _LONGEST_NAME = 1600, 40


class TestNumber(Struct, frozen=True, kw_only=True):
    """A number that tests may be sent to, and by whose word."""

    number: int
    added_by: str
    added_at: datetime


async def page(connection: Connection, bucket: int, list_id: int) -> bytes:
    """Read the people of a list within a bucket; -> octets for dispatch.rendering."""
    pieces: list[bytes] = []

    async def take(octets: bytes) -> None:
        pieces.append(octets)

    # A COPY has no parameters: asyncpg would ask Postgres twice how to write these two numbers, 0.8 ms a page.
    sql = query("template_page").replace("$1", str(int(bucket))).replace("$2", str(int(list_id)))
    async with deadline(connection, PIECE_DEADLINE_S, "page of people"):
        await connection.copy_from_query(sql, output=take, format="binary")
    return b"".join(pieces)


async def write_page(
    connection: Connection,
    bucket: int,
    run: int,
    entries: bytes,
    skipped: Mapping[int, Mapping[str, Sequence[int]]],
) -> None:
    """Write what became of a page: entries of a list, and who gets nothing, by reason and its words.

    In one transaction; nobody stands there before.
    """

    async def rows() -> AsyncIterator[bytes]:
        yield entries

    async with deadline(connection, PIECE_DEADLINE_S, "page of texts"), connection.transaction():
        await people.copy_entries(connection, rows())
        for reason, by_word in sorted(skipped.items()):
            numbers = sorted(number for some in by_word.values() for number in some)
            words = {word: len(some) for word, some in by_word.items()}
            octets = b"".join(number.to_bytes(8) for number in numbers)
            await connection.execute(
                query("note_skipped"), bucket, run, reason, len(numbers), octets, msgspec.json.encode(words).decode()
            )


async def is_clean(connection: Connection, list_id: int, fields: Sequence[str], names: Sequence[str] = ()) -> bool:
    """Say whether the values of a list are data as they stand, so that nothing need be done to them (TP-4).

    names  those of the fields that are names of people
    cost   one look through the list, to the first value that is not; 0.5 us a value
    """
    conditions, parameters = [], [list_id, _UNCLEAN, _LINK]
    for at, field in enumerate(fields, 4):
        value = f"attributes ->> ${at}::text"
        longest = _LONGEST_NAME if field in names else _LONGEST
        conditions.append(f"({value}) ~ $2::text OR length({value}) > {longest}")
        if field in names:
            conditions.append(f"({value}) ~ $3::text")
        parameters.append(field)
    if not conditions:
        return True
    sql = (
        "SELECT NOT EXISTS (SELECT FROM list_entry WHERE list = $1::bigint AND bucket BETWEEN 0 AND 255 "
        f"AND $2::text IS NOT NULL AND $3::text IS NOT NULL AND ({' OR '.join(conditions)}))"
    )
    async with deadline(connection, SET_DEADLINE_S, "values of a list"):
        return bool(await connection.fetchval(sql, *parameters, timeout=SET_DEADLINE_S))


async def longest(connection: Connection, list_id: int, fields: Sequence[str]) -> dict[str, int]:
    """Measure the longest value of each field among all people of a list, in characters."""
    if not fields:
        return {}
    sums = ", ".join(f"max(length(attributes ->> ${at}::text))" for at in range(2, 2 + len(fields)))
    sql = f"SELECT {sums} FROM list_entry WHERE list = $1::bigint AND bucket BETWEEN 0 AND 255"
    async with deadline(connection, SET_DEADLINE_S, "longest values"):
        row = await connection.fetchrow(sql, list_id, *fields, timeout=SET_DEADLINE_S)
    return {field: found or 0 for field, found in zip(fields, row or (), strict=True)}


async def redress(connection: Connection, run: int, template: str, fields: Sequence[str], list_id: int) -> None:
    """Give a run that is not enqueued yet another text and list. raises StoreError: it is."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "redress run"):
        done = await connection.fetchval(query("redress_run"), run, template, list(fields), list_id)
    if done is None:
        raise OrderFault(f"run {run}: expected one that is not enqueued, found none")


async def note(connection: Connection, sha256: bytes, body: bytes, now: datetime) -> None:
    """Keep a version of a template, as JSON."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "note template"):
        await connection.execute(query("note_template"), sha256, body.decode(), now)


async def note_tested(connection: Connection, sha256: bytes, run: int, now: datetime) -> None:
    """Note that a version was sent as a test (TP-13)."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "note test"):
        await connection.execute(query("note_tested"), sha256, now, run)


async def was_tested(connection: Connection, sha256: bytes) -> bool:
    """Say whether a version was sent as a test; one that nobody knows was not."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "was template tested"):
        return bool(await connection.fetchval(query("was_tested"), sha256))


async def add_test_number(connection: Connection, number: int, by: str, now: datetime) -> bool:
    """Let tests be sent to a number; -> whether they were not before."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "add test number"):
        return await connection.fetchval(query("add_test_number"), number, by, now) is not None


async def remove_test_number(connection: Connection, number: int) -> bool:
    """Send no tests to a number any more; -> whether they were."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "remove test number"):
        return await connection.fetchval(query("remove_test_number"), number) is not None


async def test_numbers(connection: Connection) -> list[TestNumber]:
    """List the numbers that tests may be sent to."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "test numbers"):
        return [TestNumber(**dict(row)) for row in await connection.fetch(query("test_numbers"))]
