"""Orders of operators, and what somebody wants to see of the wire (sql/control.sql, sql/captures.sql)."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.simulation.queries import Result, columns_of, model
from tests.simulation.queries_queue import CLAIMED, READY
from tests.simulation.queries_runs import jsonb
from tests.simulation.tables import Transaction, Values, Waiting

STANDING = ("pause", "resume", "drain")
TUNING = ("tune", "rollback", "reset")


def _orders(tx: Transaction) -> list[Values]:
    return sorted((one for _, one in tx.table("control").rows(tx)), key=lambda one: one["id"], reverse=True)


@model("add_order", "id", tag="INSERT")
def add_order(
    tx: Transaction,
    at: datetime,
    by: str,
    action: str,
    scope: str,
    key: str,
    value: str,
    until: datetime | None,
    reason: str,
    is_kept: bool,
) -> Waiting:
    """Append an order."""
    values = {"at": at, "by": by, "action": action, "scope": scope, "key": key, "value": jsonb(value)}
    made, _ = yield from tx.insert("control", {**values, "until": until, "reason": reason, "is_kept": is_kept})
    return [(made["id"],)]


@model("tell_control", "pg_notify")
def tell_control(tx: Transaction, what: str) -> Result:
    """Wake who obeys orders."""
    tx.tell("sluice_control", what)
    return [("",)]


@model("orders_in_force", "id", "at", "by", "action", "scope", "key", "until", "reason")
def orders_in_force(tx: Transaction, now: datetime) -> Result:
    """Of each scope and key the newest order that has not ended."""
    newest: dict[tuple[str, str], Values] = {}
    for one in _orders(tx):
        if one["action"] in STANDING and (one["until"] is None or one["until"] > now):
            newest.setdefault((one["scope"], one["key"]), one)
    found = [newest[key] for key in sorted(newest)]
    return columns_of(found, "id", "at", "by", "action", "scope", "key", "until", "reason")


@model("settings_in_force", "id", "at", "by", "action", "carrier", "setting", "value", "reason", "is_kept")
def settings_in_force(tx: Transaction) -> Result:
    """Of each carrier and setting the newest order that names it."""
    newest: dict[tuple[str, str], tuple[Any, ...]] = {}
    for one in _orders(tx):
        if one["scope"] == "carrier" and one["action"] in TUNING:
            for setting, value in json.loads(one["value"]).items():
                row = (one["id"], one["at"], one["by"], one["action"], one["key"], setting, jsonb(json.dumps(value)))
                newest.setdefault((one["key"], setting), (*row, one["reason"], one["is_kept"]))
    return [newest[key] for key in sorted(newest)]


@model("roll_back", "id", tag="INSERT")
def roll_back(tx: Transaction, order: int, at: datetime, by: str, reason: str) -> Waiting:
    """Take an order of tune back."""
    tuned = tx.table("control").get(tx, order)
    if tuned is None or tuned["action"] != "tune":
        return []
    settings = json.loads(tuned["value"])
    others = [
        (one["id"], json.loads(one["value"]))
        for one in _orders(tx)
        if one["scope"] == "carrier" and one["key"] == tuned["key"] and one["action"] in TUNING
    ]
    if any(number > order and value.keys() & settings.keys() for number, value in others):
        return []
    back = {
        name: next((value[name] for number, value in others if number < order and name in value), None)
        for name in settings
    }
    values = {"at": at, "by": by, "action": "rollback", "scope": tuned["scope"], "key": tuned["key"]}
    values |= {"value": jsonb(json.dumps(back)), "reason": reason, "undoes": order}
    made, _ = yield from tx.insert("control", values, on_conflict="keep")
    return [] if made is None else [(made["id"],)]


@model("sender_waits", "waits")
def sender_waits(tx: Transaction, sender: str) -> Result:
    """Whether a message of a sender waits or is on its way."""
    chunks = (one for _, one in tx.table("chunk").rows(tx))
    return [(any(one["source"] == sender and one["state"] in (READY, CLAIMED) for one in chunks),)]


@model("held_chunks", "id")
def held_chunks(
    tx: Transaction,
    lane: int,
    ids: Sequence[int],
    runs: Sequence[int],
    countries: Sequence[int],
    senders: Sequence[str],
) -> Result:
    """Which chunks belong to what is paused."""
    found = (tx.table("chunk").get(tx, lane, chunk_id) for chunk_id in dict.fromkeys(ids))
    return [
        (one["id"],)
        for one in found
        if one is not None and (one["run"] in runs or one["country"] in countries or one["source"] in senders)
    ]


# -- captures ----------------------------------------------------------------------------------------------------------


@model("add_capture_request", tag="INSERT")
def add_capture_request(tx: Transaction, *columns: Any) -> Waiting:
    """Ask the workers of a carrier."""
    yield from tx.insert(
        "capture_request", dict(zip(("id", "carrier", "place", "redacts", "at"), columns, strict=True))
    )
    return 1


@model("notify_capture", "pg_notify")
def notify_capture(tx: Transaction) -> Result:
    """Wake who answers."""
    tx.tell("sluice_capture", "")
    return [("",)]


@model("open_capture_requests", "id", "carrier", "place", "redacts")
def open_capture_requests(tx: Transaction, instance: str, since: datetime) -> Result:
    """List what this worker has not answered."""
    found = [
        one
        for _, one in tx.table("capture_request").rows(tx)
        if one["at"] >= since and tx.table("capture").get(tx, one["id"], instance, "") is None
    ]
    return columns_of(sorted(found, key=lambda one: one["at"]), "id", "carrier", "place", "redacts")


@model("add_capture", tag="INSERT")
def add_capture(tx: Transaction, request: Any, instance: str, bind: str, octets: bytes) -> Waiting:
    """Write down what one bind keeps."""
    if tx.table("capture_request").get(tx, request) is None:
        return 0
    values = {"request": request, "instance": instance, "bind": bind, "octets": octets}
    made, _ = yield from tx.insert("capture", values, on_conflict="keep")
    return int(made is not None)


def _captures(tx: Transaction, request: Any) -> list[Values]:
    found = [one for _, one in tx.table("capture").rows(tx) if one["request"] == request]
    return sorted(found, key=lambda one: (one["instance"], one["bind"]))


@model("captures_done", "instance")
def captures_done(tx: Transaction, request: Any) -> Result:
    """Name the workers that have answered."""
    return columns_of([one for one in _captures(tx, request) if not one["bind"]], "instance")


@model("captures", "instance", "bind", "octets")
def captures(tx: Transaction, request: Any) -> Result:
    """Read what the binds keep."""
    return columns_of([one for one in _captures(tx, request) if one["bind"]], "instance", "bind", "octets")


@model("drop_captures", tag="DELETE")
def drop_captures(tx: Transaction, request: Any, before: datetime) -> Waiting:
    """Take away the answers to a request, and stale ones."""
    stale = {one["id"] for _, one in tx.table("capture_request").rows(tx) if one["at"] < before} | {request}
    rows = [row for row, one in tx.table("capture").rows(tx) if one["request"] in stale]
    return len((yield from tx.delete(rows)))


@model("drop_capture_requests", tag="DELETE")
def drop_capture_requests(tx: Transaction, request: Any, before: datetime) -> Waiting:
    """Take away a request, and stale ones."""
    rows = [row for row, one in tx.table("capture_request").rows(tx) if one["id"] == request or one["at"] < before]
    return len((yield from tx.delete(rows)))
