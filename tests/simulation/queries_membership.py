"""Workers and bind slots (sql/membership.sql)."""

from collections.abc import Sequence
from datetime import datetime

from tests.simulation.queries import Result, columns_of, model, rows_of
from tests.simulation.tables import Row, Transaction, Values, Waiting

WORKER = ("instance", "host", "boot", "pid", "started_at", "seen_at", "node", "place", "carriers", "beat", "report")
SLOT = ("slot", "owner", "epoch", "share")


@model("register_worker", "instance", tag="INSERT")
def register_worker(
    tx: Transaction,
    instance: str,
    host: str,
    boot: str,
    pid: int,
    now: datetime,
    node: str,
    place: int,
    carriers: Sequence[str],
) -> Waiting:
    """Enter a process, unless somebody stands at its place."""
    values = {"instance": instance, "host": host, "boot": boot, "pid": pid, "started_at": now, "seen_at": now}
    values |= {"node": node, "place": place, "carriers": list(carriers)}
    made, _ = yield from tx.insert("worker", values, on_conflict="keep")
    return [] if made is None else [(instance,)]


@model("place_holder", *WORKER)
def place_holder(tx: Transaction, node: str, place: int) -> Result:
    """Read who stands at a place."""
    found = [one for _, one in tx.table("worker").rows(tx) if (one["node"], one["place"]) == (node, place)]
    return columns_of(found, *WORKER)


@model("beat", "beat", tag="UPDATE")
def beat(tx: Transaction, instance: str, now: datetime, carriers: Sequence[str]) -> Waiting:
    """Say that a process is alive."""

    def new(before: Values) -> Values:
        return {"beat": before["beat"] + 1, "seen_at": now, "carriers": list(carriers)}

    if tx.table("stop_fenced").get(tx, instance) is not None:
        return []
    changed = yield from tx.update(rows_of(tx, "worker", [(instance,)]), lambda one: True, new)
    return columns_of(changed, "beat")


@model("hold_worker", "instance")
def hold_worker(tx: Transaction, instance: str) -> Waiting:
    """Keep a process from being fenced; here its beat waits as well, for as long as the transaction takes."""
    held = yield from tx.lock(rows_of(tx, "worker", [(instance,)]))
    return [(instance,) for _ in held]


@model("fence_worker", "instance", tag="DELETE")
def fence_worker(tx: Transaction, instance: str, seen: int) -> Waiting:
    """Take out a process whose beat is the one that was seen."""
    gone = yield from tx.delete(rows_of(tx, "worker", [(instance,)]), lambda one: one["beat"] == seen)
    return [(instance,) for _ in gone]


@model("forget_worker", "instance", tag="DELETE")
def forget_worker(tx: Transaction, instance: str) -> Waiting:
    """Take a process out."""
    gone = yield from tx.delete(rows_of(tx, "worker", [(instance,)]))
    return [(instance,) for _ in gone]


@model("workers", *WORKER)
def workers(tx: Transaction) -> Result:
    """List the processes known."""
    found = sorted((one for _, one in tx.table("worker").rows(tx)), key=lambda one: one["started_at"])
    return columns_of(found, *WORKER)


def _of_lane(tx: Transaction, lane: int) -> list[Row]:
    found = [(one["slot"], row) for row, one in tx.table("bind_slot").rows(tx) if one["lane"] == lane]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


@model("free_slots_of", tag="UPDATE")
def free_slots_of(tx: Transaction, instance: str) -> Waiting:
    """Free the slots of a process that is gone."""
    rows = [(one["lane"], one["slot"], row) for row, one in tx.table("bind_slot").rows(tx) if one["owner"] == instance]
    changed = yield from tx.update(
        [row for *_, row in sorted(rows, key=lambda each: each[:2])],
        lambda one: one["owner"] == instance,
        lambda one: {"owner": None, "epoch": one["epoch"] + 1, "share": 0},
    )
    return len(changed)


@model("make_slots", tag="INSERT")
def make_slots(tx: Transaction, lane: int, binds: int) -> Waiting:
    """Have a row for each bind."""
    count = 0
    for slot in range(1, binds + 1):
        made, _ = yield from tx.insert("bind_slot", {"lane": lane, "slot": slot}, on_conflict="keep")
        count += made is not None
    return count


@model("slots", *SLOT)
def slots(tx: Transaction, lane: int) -> Result:
    """Read the slots of a lane."""
    return columns_of([one for row in _of_lane(tx, lane) if (one := tx.sees(row)) is not None], *SLOT)


@model("lock_slots", *SLOT)
def lock_slots(tx: Transaction, lane: int) -> Waiting:
    """Read the slots of a lane, locked."""
    held = yield from tx.lock(_of_lane(tx, lane))
    return columns_of([one for row in held if (one := tx.sees(row)) is not None], *SLOT)


@model("change_slots", tag="UPDATE")
def change_slots(
    tx: Transaction,
    lane: int,
    numbers: Sequence[int],
    owners: Sequence[str | None],
    epochs: Sequence[int],
    shares: Sequence[int],
) -> Waiting:
    """Write slots that are locked."""
    after = {
        slot: {"owner": owner, "epoch": epoch, "share": share}
        for slot, owner, epoch, share in zip(numbers, owners, epochs, shares, strict=True)
    }
    rows = rows_of(tx, "bind_slot", ((lane, slot) for slot in after))
    changed = yield from tx.update(rows, lambda one: True, lambda one: after[one["slot"]])
    return len(changed)


@model("tell_slots", "pg_notify")
def tell_slots(tx: Transaction) -> Result:
    """Tell everybody that slots have changed."""
    tx.tell("sluice_slots", "")
    return [("",)]
