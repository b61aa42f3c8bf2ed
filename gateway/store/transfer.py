"""Messages that leave a lane for another, and those whose run is over, or cancelled, while they are queued.

Two lanes never share a transaction, and yet each message is in exactly one of them:

    lane it leaves      positions taken out + a row of `transfer`      one transaction: from here on it is the other's
    lane it goes to     payload + READY chunk that names the transfer  one transaction; a unique key lets it in once
    lane it leaves      arrived_at                                     so that nobody asks again

A crash between them leaves a transfer without arrived_at, which `carry` brings to its end, by whatever worker and
however often. Nothing can be sent by both lanes: it is out of the first before it is in the second.

Two ways out: `leave_closed` closes whole chunks (what stands below the watermark stays with its lane), `leave_failed`
takes single messages that failed. Statements: sql/transfer.sql. Not here: when and where to (dispatch/failover.py).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import asyncpg

from _fastpath.batch import stride_of
from gateway.errors import StoreError
from gateway.message import Refusal
from gateway.store import admission, endings
from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.queue import CHUNK_BITS, FIRST_REPEAT

# Chunks and messages of one step: some ten milliseconds of a connection that nobody waits for.
CHUNKS_A_STEP = 64
MESSAGES_A_STEP = 5000
ID_TRIES = 20


async def leave_closed(connection: Connection, lane: int, up: Collection[int], now: datetime) -> int:
    """Take due chunks out of a lane, each for the first lane of its fallback that is in `up`; -> chunks."""
    if not up:
        return 0
    return len(await connection.fetch(query("close_lane"), lane, now, sorted(up), CHUNKS_A_STEP))


async def leave_failed(
    connection: Connection,
    lane: int,
    up: Collection[int],
    *,
    statuses: Sequence[int],
    errors: Sequence[str],
    undelivered: bool,
    since: datetime,
    now: datetime,
) -> int:
    """Take messages out of a lane that failed there in a way that another lane may mend; -> messages.

    statuses     of the responses
    errors       err of a receipt that says undeliverable; `undelivered`: any
    """
    if not up or not (statuses or errors or undelivered):
        return 0
    rows = await connection.fetch(
        query("failed_positions"), lane, since, list(statuses), list(errors), undelivered, now, sorted(up),
        MESSAGES_A_STEP,
    )  # fmt: skip
    found: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    for row in rows:
        found.setdefault((row["chunk_id"], row["to_lane"]), (row["fallback"], []))[1].append(row["pos"])
    total = 0
    for (chunk_id, to_lane), (fallback, positions) in found.items():
        async with connection.transaction():
            transfer = await connection.fetchval(query("add_transfer"), lane, chunk_id, to_lane, fallback, now)
            noted = await connection.fetch(query("note_moved"), lane, chunk_id, positions, transfer, now)
            fresh = sorted(row["pos"] for row in noted)
            await connection.execute(query("fill_transfer"), lane, transfer, fresh)
        total += len(fresh)
    return total


async def carry(connection: Connection, lane: int, now: datetime) -> int:
    """Bring what has left a lane into the lanes it goes to; -> transfers that arrived. Repeatable."""
    rows = await connection.fetch(query("open_transfers"), lane, CHUNKS_A_STEP)
    for row in rows:
        positions = row["positions"]
        if positions is None:
            n, stride = row["n"], stride_of(row["n"])
            positions = [(rank * stride + row["chunk_id"] % n) % n for rank in range(row["from_rank"], n)]
            # What waits in a copy leaves from there, and what was taken out never: a closed chunk gets no more of them.
            gone = (await admission.set_aside(connection, lane, [row["chunk_id"]])).get(row["chunk_id"], set())
            positions = [pos for pos in positions if pos not in gone]
        if positions:
            await _arrive(connection, lane, row, positions)
        await connection.execute(query("close_transfer"), lane, row["id"], now)
    return len(rows)


async def _arrive(connection: Connection, lane: int, row: asyncpg.Record, positions: list[int]) -> None:
    """Queue the copy in its lane, unless it is there."""
    chunk_id, to_lane = row["chunk_id"], row["to_lane"]
    first = (row["run"] << CHUNK_BITS) + FIRST_REPEAT
    for _ in range(ID_TRIES):
        if await connection.fetchval(query("transfer_arrived"), to_lane, lane, row["id"]) is not None:
            return
        origin = await connection.fetchrow(query("transfer_origin"), lane, chunk_id)
        payload = await connection.fetchrow(query("transfer_payload"), lane, chunk_id, positions)
        if origin is None or payload is None:
            raise StoreError(
                f"transfer {row['id']} of lane {lane}: expected chunk {chunk_id} with its payload, found none"
            )
        try:
            async with connection.transaction():
                copy = await connection.fetchval(query("next_repeat_id"), to_lane, first, first + FIRST_REPEAT)
                await connection.execute(
                    query("transfer_chunk_payload"), to_lane, copy, row["run"], payload["numbers"], payload["params"]
                )
                await connection.execute(
                    query("transfer_chunk"), to_lane, copy, row["run"], len(positions), origin["class"],
                    origin["priority"], origin["not_before"], origin["country"], origin["source"], row["fallback"],
                    chunk_id, lane, row["id"],
                )  # fmt: skip
            return
        except asyncpg.UniqueViolationError:
            # Another carried it at once, or took the id: look again.
            continue
    raise StoreError(f"transfer {row['id']} of lane {lane}: no chunk id is free in lane {to_lane}", retryable=True)


async def expire(connection: Connection, lane: int, now: datetime) -> int:
    """Close queued chunks whose run is over, their messages as expired or as cancelled; -> messages."""
    async with connection.transaction():
        chunks = await connection.fetch(query("expired_chunks"), lane, now, CHUNKS_A_STEP)
        if not chunks:
            return 0
        ended = 0
        for is_cancelled, status in ((False, Refusal.EXPIRED), (True, Refusal.CANCELLED)):
            of_kind = [endings.Ending.of(row) for row in chunks if row["is_cancelled"] == is_cancelled]
            ended += await endings.end_positions(connection, lane, of_kind, status, now)
        await connection.execute(query("close_ended"), lane, [c["id"] for c in chunks])
    return ended
