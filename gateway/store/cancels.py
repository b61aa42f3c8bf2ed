"""Cancelling a run: an order that never ends, and what is closed for it. Statements: sql/cancels.sql.

    cancel ─► note on the run + order + NOTIFY, COMMIT ─┬─► nobody enqueues people of it any more (runs.py)
                                                        ├─► workers shut what they have in hand (dispatch/control.py)
                                                        └─► what nobody has claimed is closed, lane by lane: `close`

A message above its chunk's watermark never left: it ends as CANCELLED, which is certain. One below it has left, or may
have: its end is the carrier's. Every step may be done again, by whoever finds it undone.
Not here: when everybody obeys (dispatch/cancelling.py), what a worker has claimed (dispatch/dispatcher.py).
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from gateway.errors import OrderFault
from gateway.message import Refusal
from gateway.store import control, endings
from gateway.store.endings import Ending, Shut
from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.transfer import CHUNKS_A_STEP


async def cancel(
    connection: Connection, run_ids: Sequence[int], *, at: datetime, by: str, reason: str = ""
) -> list[int]:
    """Cancel runs, in one transaction; -> the orders, which every worker that lives is to obey (dispatch.cancelling).

    Once more: the run keeps when it was cancelled and by whom, and the order is given again.
    Waits for who enqueues people of one of them.
    raises  StoreError: a run is not known; nothing was cancelled
    """
    async with connection.transaction():
        for run_id in sorted(set(run_ids)):
            if await connection.fetchrow(query("mark_cancelled"), run_id, at, by) is None:
                raise OrderFault(f"run {run_id} is not known; nothing was cancelled")
        return await control.give(
            connection, "cancel", "campaign", [str(run_id) for run_id in sorted(set(run_ids))], at=at, by=by,
            reason=reason,
        )  # fmt: skip


async def close(connection: Connection, lane: int, run_ids: Collection[int], now: datetime) -> int:
    """Close chunks of cancelled runs on a lane that nobody has claimed, some at a time; -> messages; 0: none is left.

    run_ids  runs that are cancelled
    """
    if not run_ids:
        return 0
    async with connection.transaction():
        rows = await connection.fetch(query("cancelled_chunks"), lane, sorted(run_ids), CHUNKS_A_STEP)
        ended = await endings.end_positions(connection, lane, [Ending.of(row) for row in rows], Refusal.CANCELLED, now)
        await connection.execute(query("close_ended"), lane, [row["id"] for row in rows])
    return ended


async def end(connection: Connection, lane: int, chunks: Sequence[Shut], now: datetime) -> int:
    """Close chunks of cancelled runs that the caller has claimed and not begun; -> messages. Repeatable."""
    async with connection.transaction():
        return await endings.end_claimed(connection, lane, chunks, Refusal.CANCELLED, now)


async def open_positions(connection: Connection, run_id: int) -> int:
    """Count the messages of a run of which is not decided whether they leave: above the watermarks of open chunks."""
    return int(await connection.fetchval(query("open_of_run"), run_id))


async def fence(connection: Connection, instances: Sequence[str]) -> None:
    """Let the leases of workers end that do not obey."""
    await connection.execute(query("fence_workers"), list(instances))


async def fenced(connection: Connection) -> set[str]:
    """Name the workers whose lease ends."""
    return {row["instance"] for row in await connection.fetch(query("fenced_workers"))}
