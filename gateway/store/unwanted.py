"""Texts that are taken out of the queue since they are not wanted any more: the first line of EX-2. sql/unwanted.sql.

    people's side    add ─► waiting ────────────────────────────────────► forget
    the lane's side      keep_place ─► locate ─► is its chunk claimed? ─► out: an outcome with the reason
                                                  yes: the gate decides, which asks for everything again

A chunk of which nothing more is wanted is closed; out of another one messages go into a copy that is closed at once:
whoever counts, claims or moves chunks meets nothing that was not there before. Each half may be done again.
Not here: what is not wanted (automation/withdrawing.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
from msgspec import Struct

from _fastpath.batch import stride_of
from gateway.store import admission, endings, queue
from gateway.store.endings import Ending
from gateway.store.postgres import Connection
from gateway.store.queries import query

# Chunks of one transaction: others may wait for them.
CHUNKS_A_STEP = 50
# Two who copy out of one run may take the same id.
ID_TRIES = 5


class Unwanted(Struct, frozen=True, kw_only=True):
    """A text that is to be taken out; outgoing: the row that it was in; reason: a value of outcome.status."""

    bucket: int
    enrolment: int
    visit: int
    outgoing: int
    reason: int

    @property
    def key(self) -> str:
        """As chunks of campaigns name it."""
        return key_of(self.enrolment, self.visit)


class Place(Struct, frozen=True):
    """Where a text stands in a lane, and to which number it goes."""

    chunk: int
    pos: int
    number: int


class Out(Struct, frozen=True, kw_only=True):
    """A text that was taken out; not_before: when it might have left; was_claimed: the gate had decided about it."""

    of: Unwanted
    place: Place
    not_before: datetime
    was_claimed: bool


def key_of(enrolment: int, visit: int) -> str:
    """Name a text as chunks of campaigns do, in their last column."""
    return f"{enrolment}:{visit}"


async def add(connection: Connection, some: Sequence[Unwanted], now: datetime) -> None:
    """Note texts, in the transaction of what they are not wanted for; one that is noted already stays as it is."""
    if some:
        await connection.execute(
            query("add_unwanted"), [one.bucket for one in some], now, [one.visit for one in some],
            [one.reason for one in some], [one.enrolment for one in some], [one.outgoing for one in some],
        )  # fmt: skip


async def add_of(connection: Connection, ended: Mapping[tuple[int, int], int], since: datetime, now: datetime) -> None:
    """Note what enrolments, (bucket, id), have made since a moment that ended by a reason: whoever left wants none."""
    if ended:
        await connection.execute(
            query("add_unwanted_of_enrolments"), [bucket for bucket, _ in ended], now, [id_ for _, id_ in ended],
            list(ended.values()), since,
        )  # fmt: skip


async def waiting(connection: Connection, first: int, last: int, limit: int) -> tuple[list[Unwanted], set[int]]:
    """Read texts of some buckets that are to be taken out; -> those, and which of `outgoing` are in no lane yet.

    In this order: what is in no lane then is left for the next time, and what is in one is found there.
    """
    some = [Unwanted(**dict(row)) for row in await connection.fetch(query("unwanted_texts"), first, last, limit)]
    if not some:
        return [], set()
    rows = await connection.fetch(query("outgoing_still"), first, last, sorted({one.outgoing for one in some}))
    return some, {row["id"] for row in rows}


async def forget(connection: Connection, some: Sequence[Unwanted]) -> None:
    """Forget texts that are out, or too late for it."""
    if some:
        await connection.execute(
            query("drop_unwanted"), [one.bucket for one in some], [one.enrolment for one in some],
            [one.visit for one in some],
        )  # fmt: skip


async def keep_place(connection: Connection, lane: int, ids: Sequence[int], chunk_id: int, now: datetime) -> None:
    """Note into which chunk a lane has put what it took of `outgoing`, in the transaction that does."""
    await connection.execute(query("add_outgoing_places"), lane, chunk_id, now, list(ids))


async def forget_places(connection: Connection, lane: int, closed_before: datetime, before: datetime) -> None:
    """Forget of a lane what was put into chunks that are closed before a moment, and whatever is older than another."""
    await connection.execute(query("forget_outgoing_places"), lane, closed_before, before)


async def locate(connection: Connection, lane: int, of: Mapping[str, int]) -> dict[str, Place]:
    """Find where texts stand on a lane by now, by their keys; what went on to another lane is not among them.

    of    keys, each with what of `outgoing` it was in
    cost  a look into an index for each; the values of the chunks that they are in are read
    """
    rows = await connection.fetch(query("outgoing_places"), lane, sorted(set(of.values())))
    chunks = {row["chunk_id"] for row in rows}
    found: dict[str, Place] = {}
    looked = set(of)
    while chunks and looked:
        rows = await connection.fetch(query("positions_of_texts"), lane, sorted(chunks), sorted(looked))
        found |= {row["key"]: Place(row["chunk_id"], row["pos"], row["number"]) for row in rows}
        asked = [found[key] for key in looked if key in found]
        rows = await connection.fetch(query("gone_on"), lane, [one.chunk for one in asked], [one.pos for one in asked])
        copies = {(row["chunk_id"], row["pos"]): row["copy"] for row in rows}
        looked = {key for key in looked if key in found and (found[key].chunk, found[key].pos) in copies}
        chunks = {copy for copy in copies.values() if copy is not None}
        for key in looked:
            del found[key]
    return found


async def take_out(connection: Connection, lane: int, some: Sequence[Unwanted], now: datetime) -> list[Out]:
    """Take texts out of chunks of a lane that nobody has claimed; -> those that are out now.

    What was out before, or is in no such chunk, is not among them.
    """
    by_key = {one.key: one for one in some}
    by_chunk: dict[int, dict[int, tuple[Unwanted, Place]]] = {}
    for key, place in (await locate(connection, lane, {one.key: one.outgoing for one in some})).items():
        by_chunk.setdefault(place.chunk, {})[place.pos] = by_key[key], place
    found: list[Out] = []
    chunks = sorted(by_chunk)
    for first in range(0, len(chunks), CHUNKS_A_STEP):
        ids = chunks[first : first + CHUNKS_A_STEP]
        for tries_left in reversed(range(ID_TRIES)):
            try:
                async with connection.transaction():
                    found += await _out_of(connection, lane, {id_: by_chunk[id_] for id_ in ids}, now)
                break
            except asyncpg.UniqueViolationError:
                # Another copied out of the same run at once.
                if not tries_left:
                    raise
    return found


async def _out_of(
    connection: Connection, lane: int, by_chunk: Mapping[int, Mapping[int, tuple[Unwanted, Place]]], now: datetime
) -> list[Out]:
    rows = await connection.fetch(query("hold_unclaimed"), lane, sorted(by_chunk))
    gone = await admission.set_aside(connection, lane, [row["id"] for row in rows]) if rows else {}
    found: list[Out] = []
    ended: dict[int, list[Ending]] = {}
    for row in rows:
        ahead = {_pos_at(row, rank) for rank in range(row["sent_upto"], row["n"])}
        left = ahead - gone.get(row["id"], set())
        wanted = {pos: one for pos, one in by_chunk[row["id"]].items() if pos in left}
        by_reason: dict[int, list[int]] = {}
        for pos, (one, _) in sorted(wanted.items()):
            by_reason.setdefault(one.reason, []).append(pos)
        for reason, positions in by_reason.items():
            if len(positions) == len(ahead):
                ended.setdefault(reason, []).append(Ending.of(row))
                continue
            copy, fresh = await queue.copy_positions(connection, lane, row["id"], positions, now)
            ended.setdefault(reason, []).append(
                Ending(id=copy, n=len(fresh), upto=0, epoch=0, repeats=row["id"])
            )  # fmt: skip
        found += [
            Out(
                of=one, place=place, not_before=row["not_before"],
                was_claimed=row["first_claimed_at"] is not None or row["repeats"] is not None,
            )
            for one, place in wanted.values()
        ]  # fmt: skip
    for reason, some in ended.items():
        await endings.end_positions(connection, lane, some, reason, now)
        await connection.execute(query("close_ended"), lane, [one.id for one in some])
    return found


def _pos_at(row: Mapping[str, Any], rank: int) -> int:
    """Say which place of a chunk is sent at a rank."""
    return int((rank * stride_of(row["n"]) + row["id"] % row["n"]) % row["n"])
