"""The rows of one message: its place in the queue, what came of it, what was said of it (sql/traces.sql)."""

from datetime import datetime

import asyncpg
from msgspec import Struct

from _fastpath.batch import stride_of
from gateway.store.postgres import Connection
from gateway.store.queries import query


class Place(Struct, frozen=True, kw_only=True):
    """A position of a chunk, as the queue has it. `number` is None once the payload is gone."""

    lane: int
    chunk_id: int
    pos: int
    run: int
    n: int
    class_: int
    state: int
    epoch: int
    sent_upto: int
    not_before: datetime
    first_claimed_at: datetime | None
    owner: str | None
    repeats: int | None
    source: str
    from_lane: int | None
    transfer: int | None
    number: int | None
    fields: list[str | None]


class Outcome(Struct, frozen=True, kw_only=True):
    """One row of outcome: an answer, or a reason of ours."""

    at: datetime
    epoch: int
    segment: int
    segments: int
    status: int
    rtt_us: int
    message_id: str | None


class Heard(Struct, frozen=True, kw_only=True):
    """One receipt. `raw`: its text's octets as they came."""

    at: datetime
    segment: int
    state: int
    err: str | None
    done_at: datetime | None
    number: int | None
    message_id: str | None
    raw: bytes | None


class Moved(Struct, frozen=True, kw_only=True):
    """A message's way from one lane to another, and why: failed here, or this lane was closed."""

    lane: int
    to_lane: int
    chunk_id: int
    why: str
    at: datetime
    arrived_at: datetime | None


class Story(Struct, frozen=True, kw_only=True):
    """All that Postgres knows of one message. `repeats`: (chunk, when)."""

    place: Place
    outcomes: list[Outcome]
    receipts: list[Heard]
    waiting: list[Heard]
    repeats: list[tuple[int, datetime]]
    moves: list[Moved] = []


async def by_message_id(connection: Connection, lane: int, message_id: str) -> list[tuple[int, int]]:
    """Find the positions that a carrier gave this id: (chunk, position)."""
    return [(row[0], row[1]) for row in await connection.fetch(query("trace_message_id"), lane, message_id)]


async def by_number(connection: Connection, lane: int, run: int, number: int) -> list[tuple[int, int]]:
    """Find a number in a run: (chunk, position)."""
    return [(row[0], row[1]) for row in await connection.fetch(query("trace_number"), lane, run, number)]


async def story(connection: Connection, lane: int, chunk_id: int, pos: int) -> Story | None:
    """Read all about one position; None when there is no such place."""
    row = await connection.fetchrow(query("trace_chunk"), lane, chunk_id, pos)
    if row is None:
        return None
    values = dict(row)
    outcomes = [Outcome(**dict(each)) for each in await connection.fetch(query("trace_outcomes"), lane, chunk_id, pos)]
    ids = sorted({each.message_id for each in outcomes if each.message_id})
    repeats = await connection.fetch(query("trace_repeats"), lane, chunk_id, pos)
    n = row["n"]
    rank = next(at for at in range(n) if (at * stride_of(n) + chunk_id % n) % n == pos)
    moves = await connection.fetch(
        query("trace_transfers"), lane, chunk_id, pos, rank, row["from_lane"], row["transfer"]
    )
    return Story(
        place=Place(class_=values.pop("class"), **values),
        outcomes=outcomes,
        receipts=_heard(await connection.fetch(query("trace_receipts"), lane, chunk_id, pos)),
        waiting=_heard(await connection.fetch(query("trace_waiting"), lane, ids)) if ids else [],
        repeats=[(each["by_chunk"], each["at"]) for each in repeats],
        moves=[Moved(**dict(each)) for each in moves],
    )


def _heard(rows: list[asyncpg.Record]) -> list[Heard]:
    return [Heard(**dict(row)) for row in rows]
