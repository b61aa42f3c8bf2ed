"""Chunks that end before all of them has left: what stands above the watermark is written down, with the reason.

    0 ──────────── upto ─────────────────── n       ranks, in the order of sending
    │ left, or may  │ never left: an outcome each │

Always in the transaction that closes the chunk, so that a message is either still to be sent or has its end.
Statements: sql/transfer.sql, sql/cancels.sql. Not here: which chunks end (transfer.py, cancels.py, queue.py).
"""

from collections.abc import Sequence
from datetime import datetime

import asyncpg
from msgspec import Struct

from _fastpath.batch import stride_of
from gateway.message import Refusal
from gateway.store.postgres import Connection
from gateway.store.queries import query


class Ending(Struct, frozen=True, kw_only=True):
    """A chunk that ends here.

    upto     what stands below is known, or in doubt, already
    repeats  the chunk that it was copied of; None: of none
    """

    id: int
    n: int
    upto: int
    epoch: int
    repeats: int | None

    @classmethod
    def of(cls, row: asyncpg.Record) -> "Ending":
        """Of a row of a chunk that nobody has claimed."""
        return cls(id=row["id"], n=row["n"], upto=row["sent_upto"], epoch=row["epoch"], repeats=row["repeats"])


class Shut(Struct, frozen=True):
    """A claimed chunk of which nothing is in flight and nothing more leaves: only ranks below `upto` have left."""

    chunk_id: int
    epoch: int
    upto: int


async def end_positions(connection: Connection, lane: int, chunks: Sequence[Ending], status: int, now: datetime) -> int:
    """Write down with a reason what stands above the watermarks of chunks; -> messages. In the caller's transaction.

    status  of outcome: a Refusal, or a reason of the gate

    The copy of a message that is in doubt stays in doubt: it may have been sent before.
    """
    if not chunks:
        return 0
    doubted = await _doubted(connection, lane, [one.id for one in chunks if one.repeats is not None])
    tag = await connection.execute(
        query("end_positions"), lane, [one.id for one in chunks], [stride_of(one.n) for one in chunks],
        [one.n for one in chunks], [one.upto for one in chunks], [one.epoch for one in chunks], now, status,
        [chunk_id for chunk_id, _ in doubted], [pos for _, pos in doubted],
    )  # fmt: skip
    return int(tag.rsplit(" ", 1)[1])


async def end_claimed(connection: Connection, lane: int, chunks: Sequence[Shut], status: Refusal, now: datetime) -> int:
    """Close chunks that the caller has claimed; -> messages. In the caller's transaction.

    One that is not the caller's any more is left alone, as is what a COMMIT without an answer has closed.
    """
    upto = {(one.chunk_id, one.epoch): one.upto for one in chunks}
    if not upto:
        return 0
    ids, epochs = zip(*upto, strict=True)
    ours = [
        Ending(id=row["id"], n=row["n"], upto=upto[row["id"], row["epoch"]], epoch=row["epoch"], repeats=row["repeats"])
        for row in await connection.fetch(query("end_claimed"), lane, ids, epochs)
    ]
    return await end_positions(connection, lane, ours, status, now)


async def _doubted(connection: Connection, lane: int, copies: Sequence[int]) -> list[tuple[int, int]]:
    """Find the positions of copies of which an earlier try is in doubt: of a copy of a copy, any that was before."""
    doubted: set[tuple[int, int]] = set()
    # Where the messages of the copies stood, step by step back; at first they stand in the copies themselves.
    begun: dict[tuple[int, int], tuple[int, int]] | None = None
    while copies:
        before: dict[tuple[int, int], tuple[int, int]] = {}
        for row in await connection.fetch(query("origins_of_copies"), lane, copies):
            at = row["copy"], row["copy_pos"]
            copy = at if begun is None else begun.get(at)
            if copy is not None and row["is_doubted"]:
                doubted.add(copy)
            elif copy is not None:
                before[row["chunk_id"], row["pos"]] = copy
        begun, copies = before, sorted({chunk_id for chunk_id, _ in before})
    return sorted(doubted)
