"""Who works on this database, and who may open which bind: the tables worker and bind_slot (sql/membership.sql).

    worker     register ─ beat ─ beat ─ … ─ leave
                            └─ unchanged for a lease, as others see it ─ fence (its slots are free in that moment)
    bind_slot  free ─ taken under the lock of the lane's slots ─ freed by its owner, or by the fence

Not here: who counts as dead, and when (dispatch/membership.py); how slots and rates are divided (dispatch/slots.py).
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.runs import Worker

CHANNEL = "sluice_slots"


class Slot(Struct, frozen=True, kw_only=True):
    """One bind of an account: who has it, how often it changed hands, and what it may send a second."""

    slot: int
    owner: str | None = None
    epoch: int = 0
    share: int = 0


async def register(connection: Connection, worker: Worker) -> bool:
    """Enter a worker; -> False where another one stands at its place of its node."""
    return (
        await connection.fetchval(
            query("register_worker"), worker.instance, worker.host, worker.boot, worker.pid, worker.started_at,
            worker.node, worker.place, list(worker.carriers),
        )
        is not None
    )  # fmt: skip


async def holder(connection: Connection, node: str, place: int) -> Worker | None:
    """Read who stands at a place."""
    row = await connection.fetchrow(query("place_holder"), node, place)
    return None if row is None else Worker(**dict(row))


async def beat(connection: Connection, instance: str, now: datetime, carriers: Sequence[str]) -> int | None:
    """Say that a worker lives, and which carriers it serves; -> its beat, None when it was fenced.

    A worker that did not confirm a STOP is (store/stops.py): its row stays until others see that its beat stands still.
    """
    found = await connection.fetchval(query("beat"), instance, now, list(carriers))
    return None if found is None else int(found)


async def fence(connection: Connection, instance: str, seen_beat: int) -> bool:
    """Take a worker out whose beat has not moved since it was seen, and free its slots; -> whether we did."""
    async with connection.transaction():
        if await connection.fetchval(query("fence_worker"), instance, seen_beat) is None:
            return False
        await connection.execute(query("free_slots_of"), instance)
        await connection.execute(query("tell_slots"))
    return True


async def leave(connection: Connection, instance: str) -> None:
    """Take a worker out that has ended in order, and free its slots."""
    async with connection.transaction():
        await connection.fetchval(query("forget_worker"), instance)
        await connection.execute(query("free_slots_of"), instance)
        await connection.execute(query("tell_slots"))


async def make_slots(connection: Connection, lane: int, binds: int) -> None:
    """Have a row for each bind that an account may have."""
    await connection.execute(query("make_slots"), lane, binds)


async def slots(connection: Connection, lane: int) -> list[Slot]:
    """Read the bind slots of a lane."""
    return [Slot(**dict(row)) for row in await connection.fetch(query("slots"), lane)]


async def change(
    connection: Connection, lane: int, instance: str, decide: Callable[[list[Slot]], Iterable[Slot]]
) -> bool:
    """Change bind slots of a lane; -> False when the one who changes them was fenced.

    decide   is handed the slots, locked, and says which of them become what, in the same turn: nothing is committed yet
    """
    async with connection.transaction():
        # In this order, as the fence takes its locks: the worker, then the slots.
        if await connection.fetchval(query("hold_worker"), instance) is None:
            return False
        locked = [Slot(**dict(row)) for row in await connection.fetch(query("lock_slots"), lane)]
        changed = list(decide(locked))
        if changed:
            await connection.execute(
                query("change_slots"), lane, [one.slot for one in changed], [one.owner for one in changed],
                [one.epoch for one in changed], [one.share for one in changed],
            )  # fmt: skip
            await connection.execute(query("tell_slots"))
    return True


async def listen(connection: Connection, on_change: Callable[[], None]) -> None:
    """Call back whenever bind slots have changed, as long as the connection lives."""

    def heard(_connection: object, _pid: int, _channel: str, _payload: object) -> None:
        on_change()

    await connection.add_listener(CHANNEL, heard)
