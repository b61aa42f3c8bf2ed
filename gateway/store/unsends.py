"""Messages that the carrier is asked to take back: asked for by whoever, done by the lane's workers. sql/unsends.sql.

    add ─► take: one worker has it, another one after a minute ─► parts ─► end: taken back, or not ─► states

Not here: who asks the SMSC (dispatch/unsending.py), who wants it (automation/excepting.py, commands/cancel.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.queue import CHUNK_BITS, Unheard

# Messages live no longer than that at an SMSC.
LIVES = timedelta(days=7)
OPEN, TAKEN_BACK, NOT_TAKEN_BACK = 0, 1, 2
# In place of a command_status: no answer came in time; there was nothing to ask for.
NO_ANSWER, NOTHING = -1, -2
Message = tuple[int, int]
"""A message of a lane: its chunk and place."""


class End(Struct, frozen=True):
    """What came of one; status: of the first part that was not taken back."""

    of: Message
    state: int
    status: int = 0


async def add(connection: Connection, lane: int, some: Sequence[Message], now: datetime) -> None:
    """Ask for messages to be taken back; once more changes nothing."""
    if some:
        await connection.execute(query("add_unsends"), lane, now, *_columns(some))


async def add_run(connection: Connection, lane: int, run_id: int, now: datetime, since: datetime) -> None:
    """Ask for what of a run has left on a lane since a moment, and has no end yet, to be taken back."""
    first = run_id << CHUNK_BITS
    await connection.execute(query("add_unsends_of_run"), lane, now, first, first + (1 << CHUNK_BITS), since)


async def counts(connection: Connection, lane: int, run_id: int) -> dict[int, int]:
    """Count what came of messages of a run on a lane, by state."""
    first = run_id << CHUNK_BITS
    rows = await connection.fetch(query("unsends_of_run"), lane, first, first + (1 << CHUNK_BITS))
    return {row["state"]: row["messages"] for row in rows}


async def take(connection: Connection, lane: int, now: datetime, begun_before: datetime, limit: int) -> list[Message]:
    """Take some that nobody has begun with since a moment."""
    rows = await connection.fetch(query("take_unsends"), lane, now, begun_before, limit)
    return [(row["chunk_id"], row["pos"]) for row in rows]


async def parts(connection: Connection, lane: int, some: Sequence[Message], since: datetime) -> list[Unheard]:
    """Read the parts of messages that were accepted since a moment and of which no end is known."""
    rows = await connection.fetch(query("parts_to_unsend"), lane, *_columns(some), since)
    return [Unheard(**dict(row)) for row in rows]


async def end(connection: Connection, lane: int, ends: Sequence[End], now: datetime) -> None:
    """Write what came of messages."""
    if ends:
        await connection.execute(
            query("end_unsends"), lane, now, *_columns([one.of for one in ends]), [one.state for one in ends],
            [one.status for one in ends],
        )  # fmt: skip


async def states(connection: Connection, lane: int, some: Sequence[Message]) -> dict[Message, int]:
    """Read what came of messages."""
    rows = await connection.fetch(query("unsends_of"), lane, *_columns(some))
    return {(row["chunk_id"], row["pos"]): row["state"] for row in rows}


async def forget(connection: Connection, lane: int, before: datetime) -> None:
    """Forget what was asked for before a moment."""
    await connection.execute(query("forget_unsends"), lane, before)


def _columns(some: Sequence[Message]) -> tuple[list[int], list[int]]:
    return [chunk for chunk, _ in some], [pos for _, pos in some]
