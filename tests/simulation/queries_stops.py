"""The feed of STOPs, its copy, and how far workers have followed it (sql/stops.sql).

The rows that the migration puts into stop_head and suppression_upto are made by the first who writes there.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from tests.simulation.queries import Result, columns_of, model, rows_of, upsert
from tests.simulation.tables import Transaction, Values, Waiting

FIRST = 1


def _seq(tx: Transaction, table: str) -> int:
    row = tx.table(table).get(tx, 1)
    return FIRST if row is None else int(row["seq"])


def _feed(tx: Transaction, after: int = 0) -> list[Values]:
    found = [one for _, one in tx.table("stop_feed").rows(tx) if one["seq"] > after]
    return sorted(found, key=lambda one: one["seq"])


@model("enter_stops", "seq", tag="INSERT")
def enter_stops(
    tx: Transaction,
    count: int,
    numbers: Sequence[int],
    scopes: Sequence[str],
    at: datetime,
    is_stop: bool,
    source: str,
    note: str,
) -> Waiting:
    """Append under the next numbers, and hold the head."""
    head = yield from upsert(tx, "stop_head", {"id": 1, "seq": FIRST + count}, lambda one: {"seq": one["seq"] + count})
    values = {"at": at, "is_stop": is_stop, "source": source, "note": note}
    for place, (number, scope) in enumerate(zip(numbers, scopes, strict=True), head["seq"] - count + 1):
        yield from tx.insert("stop_feed", {**values, "seq": place, "number": number, "scope": scope})
    return [(head["seq"],)]


@model("hold_stop_head", "seq")
def hold_stop_head(tx: Transaction) -> Waiting:
    """Hold the head."""
    head = yield from upsert(tx, "stop_head", {"id": 1, "seq": FIRST}, lambda one: {})
    return [(head["seq"],)]


@model("stop_head", "seq")
def stop_head(tx: Transaction) -> Result:
    """The newest number."""
    return [(_seq(tx, "stop_head"),)]


@model("tell_stops", "pg_notify")
def tell_stops(tx: Transaction, seq: int) -> Result:
    """Wake the senders."""
    tx.tell("sluice_stops", str(seq))
    return [("",)]


@model("stops_after", "seq", "number", "scope", "is_stop", "source")
def stops_after(tx: Transaction, seq: int, limit: int) -> Result:
    """Entries behind the last one seen."""
    return columns_of(_feed(tx, seq)[:limit], "seq", "number", "scope", "is_stop", "source")


_COPIED = ("bigint", "bigint", "boolean", "text")


@model("load_suppression", "seq", "number", "is_stop", "scope", types=_COPIED)
def load_suppression(tx: Transaction) -> Result:
    """Everything that is suppressed."""
    return [(one["since"], one["number"], True, one["scope"]) for _, one in tx.table("suppression").rows(tx)]


@model("load_stops", "seq", "number", "is_stop", "scope", types=_COPIED)
def load_stops(tx: Transaction, seq: int) -> Result:
    """Entries behind a number."""
    return columns_of(_feed(tx, seq), "seq", "number", "is_stop", "scope")


@model("count_suppression", "reltuples")
def count_suppression(tx: Transaction) -> Result:
    """How many rows are suppressed, about."""
    return [(sum(1 for _ in tx.table("suppression").rows(tx)),)]


@model("suppression_upto", "seq")
def suppression_upto(tx: Transaction) -> Result:
    """How far the copy is."""
    return [(_seq(tx, "suppression_upto"),)]


@model("take_suppression_turn", "seq")
def take_suppression_turn(tx: Transaction) -> Waiting:
    """Be the only one who copies, or none."""
    somebodys = tx.table("suppression_upto").indexes[0].get((1,))
    if somebodys is not None and not tx.free_or_ours(somebodys):
        return []
    made, there = yield from tx.insert("suppression_upto", {"id": 1, "seq": FIRST}, on_conflict="keep")
    if made is not None:
        return [(made["seq"],)]
    tx.hold(there)
    return [(_seq(tx, "suppression_upto"),)]


@model("suppress_numbers", tag="INSERT")
def suppress_numbers(
    tx: Transaction, numbers: Sequence[int], scopes: Sequence[str], since: Sequence[int], sources: Sequence[str]
) -> Waiting:
    """Copy what was stopped."""
    count = 0
    for number, scope, seq, source in zip(numbers, scopes, since, sources, strict=True):
        values = {"number": number, "scope": scope, "since": seq, "source": source}
        made, _ = yield from tx.insert("suppression", values, on_conflict="keep")
        count += made is not None
    return count


@model("release_numbers", tag="DELETE")
def release_numbers(tx: Transaction, numbers: Sequence[int], scopes: Sequence[str]) -> Waiting:
    """Drop what was lifted."""
    return len((yield from tx.delete(rows_of(tx, "suppression", zip(numbers, scopes, strict=True)))))


@model("note_suppression", tag="UPDATE")
def note_suppression(tx: Transaction, seq: int) -> Waiting:
    """Note how far the copy is."""
    rows = rows_of(tx, "suppression_upto", [(1,)])
    return len((yield from tx.update(rows, lambda one: True, lambda one: {"seq": seq})))


@model("confirm_stops", "stop_upto", tag="UPDATE")
def confirm_stops(tx: Transaction, instance: str, seq: int) -> Waiting:
    """Say how far this worker is."""
    rows = rows_of(tx, "worker", [(instance,)])
    changed = yield from tx.update(rows, lambda one: True, lambda one: {"stop_upto": seq})
    return [(one["stop_upto"],) for one in changed]


def _workers(tx: Transaction) -> Iterable[Values]:
    return (one for _, one in tx.table("worker").rows(tx))


@model("confirmed_stops", "instance", "upto", "is_fenced", "host", "boot", "pid")
def confirmed_stops(tx: Transaction) -> Result:
    """How far every registered worker is, whether it is fenced, and which process it is."""
    fenced = tx.table("stop_fenced")
    return [
        (
            one["instance"],
            one["stop_upto"] or 0,
            fenced.get(tx, one["instance"]) is not None,
            one["host"],
            one["boot"],
            one["pid"],
        )
        for one in _workers(tx)
    ]


@model("fence_behind", tag="INSERT")
def fence_behind(tx: Transaction, instances: Sequence[str], seq: int) -> Waiting:
    """Let leases end."""
    behind = [one["instance"] for one in _workers(tx) if 0 < (one["stop_upto"] or 0) < seq]
    count = 0
    for instance in behind:
        if instance in instances:
            made, _ = yield from tx.insert("stop_fenced", {"instance": instance}, on_conflict="keep")
            count += made is not None
    return count


@model("forget_fenced", tag="DELETE")
def forget_fenced(tx: Transaction) -> Waiting:
    """Forget fenced workers that are gone."""
    there = {one["instance"] for one in _workers(tx)}
    rows = [row for row, one in tx.table("stop_fenced").rows(tx) if one["instance"] not in there]
    return len((yield from tx.delete(rows)))


_STANDING = ("number", "scope", "seq", "at", "is_stop", "source", "note")


@model("stop_standing", *_STANDING, "is_others")
def stop_standing(tx: Transaction, numbers: Sequence[int], sources: Sequence[str]) -> Result:
    """Of some numbers the newest entry of each scope, and whether one that is none of `sources` stopped it as well."""
    wanted = set(numbers)
    newest: dict[tuple[int, str], Values] = {}
    others: dict[tuple[int, str], bool] = {}
    for one in _feed(tx):
        if one["number"] in wanted:
            key = one["number"], one["scope"]
            newest[key] = one
            others[key] = one["is_stop"] and (others.get(key, False) or one["source"] not in sources)
    return [(*(newest[key][name] for name in _STANDING), others[key]) for key in sorted(newest)]


@model("newest_stops", "seq", "number", "scope", "at", "is_stop", "source", "note")
def newest_stops(tx: Transaction, limit: int) -> Result:
    """The newest entries."""
    newest: list[Values] = _feed(tx)[::-1][:limit]
    return columns_of(newest, "seq", "number", "scope", "at", "is_stop", "source", "note")


@model("stop_reply_run", "id")
def stop_reply_run(tx: Transaction, name: str, template: str, class_: int) -> Result:
    """The run that a carrier's confirmations belong to."""
    wanted: tuple[Any, ...] = (name, template, class_)
    found = [one["id"] for _, one in tx.table("run").rows(tx) if (one["name"], one["template"], one["class"]) == wanted]
    return [(max(found),)] if found else []


@model("erasure_key", "digest")
def erasure_key(tx: Transaction) -> Result:
    """Nobody is erased in a simulated world."""
    return []
