"""Cancelled runs (sql/cancels.sql)."""

from collections.abc import Sequence
from datetime import datetime

from tests.simulation.queries import Result, columns_of, model, rows_of
from tests.simulation.queries_queue import CLAIMED, DONE, HELD, READY
from tests.simulation.queries_transfer import ENDING, lock_ending
from tests.simulation.tables import Transaction, Values, Waiting


@model("mark_cancelled", "cancelled_at", "cancelled_by", tag="UPDATE")
def mark_cancelled(tx: Transaction, run_id: int, at: datetime, by: str) -> Waiting:
    """Note on a run that it is cancelled."""

    def new(one: Values) -> Values:
        return {"cancelled_at": one["cancelled_at"] or at, "cancelled_by": one["cancelled_by"] or by}

    changed = yield from tx.update(rows_of(tx, "run", [(run_id,)]), lambda one: True, new)
    return columns_of(changed, "cancelled_at", "cancelled_by")


@model("cancels_since", "id", "run")
def cancels_since(tx: Transaction, since: datetime) -> Result:
    """Read the orders that cancel a run."""
    return sorted(
        (one["id"], int(one["key"]))
        for _, one in tx.table("control").rows(tx)
        if one["action"] == "cancel" and one["at"] >= since
    )


@model("cancelled_chunks", *ENDING)
def cancelled_chunks(tx: Transaction, lane: int, runs: Sequence[int], limit: int) -> Result:
    """Lock the chunks of some runs that nobody has claimed."""
    over = [
        (one, row)
        for run in runs
        for row, one in tx.table("chunk").group(tx, ("run",), run)
        if one["lane"] == lane and one["state"] in (READY, HELD) and tx.free_or_ours(row)
    ]
    return columns_of(lock_ending(tx, over, limit), *ENDING)


@model("end_claimed", "id", "n", "epoch", "repeats", tag="UPDATE")
def end_claimed(tx: Transaction, lane: int, ids: Sequence[int], epochs: Sequence[int]) -> Waiting:
    """Close chunks that we have claimed."""
    ours = dict(zip(ids, epochs, strict=True))
    rows = rows_of(tx, "chunk", ((lane, chunk_id) for chunk_id in ours))
    changed = yield from tx.update(
        rows,
        lambda one: one["state"] == CLAIMED and one["epoch"] == ours[one["id"]],
        lambda one: {"state": DONE, "sent_upto": one["n"], "owner": None},
    )
    return columns_of(changed, "id", "n", "epoch", "repeats")


@model("open_of_run", "open")
def open_of_run(tx: Transaction, run_id: int) -> Result:
    """Count what of a run may still leave."""
    chunks = [one for _, one in tx.table("chunk").group(tx, ("run",), run_id)]
    total = sum(one["n"] - one["sent_upto"] for one in chunks if one["state"] in (READY, CLAIMED, HELD))
    known = {(one["lane"], one["id"]): one for one in chunks}
    for _, one in tx.table("transfer").rows(tx):
        chunk = known.get((one["lane"], one["chunk_id"]))
        if chunk is not None and one["arrived_at"] is None:
            total += chunk["n"] - one["from_rank"] if one["positions"] is None else len(one["positions"])
    return [(total,)]


@model("fence_workers", tag="INSERT")
def fence_workers(tx: Transaction, instances: Sequence[str]) -> Waiting:
    """Let the leases of workers end."""
    count = 0
    for instance in [one["instance"] for _, one in tx.table("worker").rows(tx) if one["instance"] in instances]:
        made, _ = yield from tx.insert("stop_fenced", {"instance": instance}, on_conflict="keep")
        count += made is not None
    return count


@model("fenced_workers", "instance")
def fenced_workers(tx: Transaction) -> Result:
    """Name the workers whose lease ends."""
    return [(one["instance"],) for _, one in tx.table("stop_fenced").rows(tx)]
