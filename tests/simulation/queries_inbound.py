"""What handsets write, and events (sql/inbound.sql, sql/events.sql)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.simulation.queries import Result, columns_of, model, rows_of, upsert
from tests.simulation.queries_runs import jsonb
from tests.simulation.queries_transfer import read_array
from tests.simulation.tables import Transaction, Values, Waiting

_CAME = (
    "id", "at", "command", "source", "destination", "esm_class", "data_coding", "octets", "pdu", "fingerprint",
    "is_named", "kind", "reference", "total", "number",
)  # fmt: skip
_INBOUND = ("id", "at", "command", "source", "destination", "esm_class", "data_coding", "octets", "pdu")
_PART = ("id", "at", "source", "destination", "kind", "reference", "total", "number")
_MESSAGE = (
    "id", "at", "source", "destination", "text", "parts", "missing", "alphabet", "is_lossy", "pdus",
)  # fmt: skip


@model("forget_answered", tag="DELETE")
def forget_answered(tx: Transaction, lane: int, fingerprints: Sequence[bytes]) -> Waiting:
    """Drop what the SMSC has our answer to."""
    rows = rows_of(tx, "inbound_seen", ((lane, one) for one in fingerprints))
    return len((yield from tx.delete(rows, lambda one: not one["is_named"])))


@model("keep_inbound", "id", tag="INSERT")
def keep_inbound(tx: Transaction, lane: int, *columns: Any) -> Waiting:
    """Keep what came, each PDU once."""
    *came, known_since = columns
    arrivals = [dict(zip(_CAME, one, strict=True)) for one in zip(*came, strict=True)]
    first: dict[bytes, Values] = {}
    for one in sorted(arrivals, key=lambda one: one["id"]):
        first.setdefault(one["fingerprint"], one)
    fresh = set()
    for one in sorted(first.values(), key=lambda one: one["fingerprint"]):
        seen = {name: one[name] for name in ("fingerprint", "id", "at", "is_named")}
        new = {"id": one["id"], "at": one["at"]}
        made = yield from upsert(
            tx, "inbound_seen", {"lane": lane, **seen}, lambda old, new=new: new if old["at"] < known_since else None
        )
        if made is not None:
            fresh.add(one["id"])
    for one in arrivals:
        if one["id"] in fresh:
            if one["total"] > 1:
                yield from tx.insert("inbound_part", {"lane": lane, **{name: one[name] for name in _PART}})
            yield from tx.insert("inbound", {"lane": lane, **{name: one[name] for name in _INBOUND}})
    return [(one["id"],) for one in arrivals if one["id"] in fresh]


@model("parts_beside", *_PART, "esm_class", "data_coding", "octets")
def parts_beside(tx: Transaction, lane: int, ids: Sequence[int]) -> Result:
    """Read every waiting part of the messages that some parts belong to."""
    brothers = ("source", "destination", "kind", "reference", "total")
    parts = tx.table("inbound_part")
    named = [one for chunk in ids if (one := parts.get(tx, lane, chunk)) is not None]
    keys = {tuple(one[name] for name in brothers) for one in named}
    found = []
    for _, one in parts.group(tx, ("lane",), lane):
        pdu = tx.table("inbound").get(tx, lane, one["id"])
        if pdu is not None and tuple(one[name] for name in brothers) in keys:
            found.append({**one, **{name: pdu[name] for name in ("esm_class", "data_coding", "octets")}})
    found.sort(key=lambda one: (one["at"], one["id"]))
    return columns_of(found, *_PART, "esm_class", "data_coding", "octets")


@model("parts_overdue", "id")
def parts_overdue(tx: Transaction, lane: int, before: datetime) -> Result:
    """Name the parts that still wait."""
    found = [one for _, one in tx.table("inbound_part").group(tx, ("lane",), lane) if one["at"] < before]
    return columns_of(sorted(found, key=lambda one: one["at"])[:1000], "id")


@model("add_messages", tag="INSERT")
def add_messages(tx: Transaction, lane: int, *columns: Any) -> Waiting:
    """Write messages down and let go of their parts."""
    *came, done = columns
    yield from tx.delete(rows_of(tx, "inbound_part", ((lane, one) for one in dict.fromkeys(done))))
    messages = [dict(zip(_MESSAGE, one, strict=True)) for one in zip(*came, strict=True)]
    for one in messages:
        for name in ("missing", "pdus"):
            one[name] = [int(number) for number in read_array(one[name])]
        yield from tx.insert("inbound_message", {"lane": lane, **one})
    return len(messages)


@model("forget_seen", tag="DELETE")
def forget_seen(tx: Transaction, lane: int, before: datetime) -> Waiting:
    """Drop what came so long ago that it does not come again."""
    rows = [row for row, one in tx.table("inbound_seen").group(tx, ("lane",), lane) if one["at"] < before]
    return len((yield from tx.delete(rows, lambda one: one["at"] < before)))


@model("newest_messages", *_MESSAGE)
def newest_messages(tx: Transaction, lane: int, limit: int) -> Result:
    """Read the newest messages of a lane."""
    found = [one for _, one in tx.table("inbound_message").group(tx, ("lane",), lane)]
    found.sort(key=lambda one: (one["at"], one["id"]), reverse=True)
    return columns_of(found[:limit], *_MESSAGE)


# -- events ------------------------------------------------------------------------------------------------------------


@model("take_turn", tag="INSERT")
def take_turn(tx: Transaction, lane: int) -> Waiting:
    """Hold the lane's place in the row of those who write events."""
    yield from upsert(tx, "event_number", {"lane": lane, "last_id": 0}, lambda one: {})
    return 1


@model("add_events", tag="INSERT")
def add_events(tx: Transaction, lane: int, *columns: Any) -> Waiting:
    """Append events under the next numbers of their lane."""
    *came, count = columns
    turn = yield from upsert(
        tx, "event_number", {"lane": lane, "last_id": count}, lambda one: {"last_id": one["last_id"] + count}
    )
    rows = list(zip(*came, strict=True))
    for place, (at, kind, subject, body) in enumerate(rows, 1):
        values = {"lane": lane, "id": turn["last_id"] - count + place, "at": at, "kind": kind, "subject": subject}
        yield from tx.insert("event", {**values, "body": jsonb(body)})
    return len(rows)


@model("notify_events", "pg_notify")
def notify_events(tx: Transaction, lane: int) -> Result:
    """Wake who listens for events."""
    tx.tell("sluice_event", str(lane))
    return [("",)]


@model("events_after", "id", "at", "kind", "subject", "body")
def events_after(tx: Transaction, lane: int, last_id: int, limit: int) -> Result:
    """Read the events behind the last one seen."""
    found = [one for _, one in tx.table("event").group(tx, ("lane",), lane) if one["id"] > last_id]
    found.sort(key=lambda one: one["id"])
    return columns_of(found[:limit], "id", "at", "kind", "subject", "body")


@model("last_event", "coalesce")
def last_event(tx: Transaction, lane: int) -> Result:
    """Find the number of the newest event."""
    turn = tx.table("event_number").get(tx, lane)
    return [(0 if turn is None else turn["last_id"],)]
