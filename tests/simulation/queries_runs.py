"""Lanes, runs and their people, workers (sql/runs.sql), and the tests' own way to enter a list of people."""

import bisect
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from _fastpath import gate, peoplerows
from gateway.store.runs import APART
from tests.simulation.queries import Result, columns_of, model, nameless, rows_of
from tests.simulation.queries_queue import CLAIMED, DONE, MOVED, READY, next_repeat_id
from tests.simulation.tables import Transaction, Values, Waiting

RUN_COLUMNS = (
    "id", "name", "template", "fields", "class", "priority", "policy", "lanes", "list", "source", "recipients",
    "not_before", "expires_at", "created_at", "enqueued_at", "encoding", "receipt_policy", "gate",
    "cancelled_at", "cancelled_by", "is_test",
)  # fmt: skip
_MASK = 0xFFFFFFFF


def jsonb(text: str) -> str:
    """Write JSON as Postgres does a jsonb: keys by length, then by octets; a space behind : and ,."""

    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
            return {key: ordered(value[key]) for key in keys}
        return [ordered(one) for one in value] if isinstance(value, list) else value

    return json.dumps(ordered(json.loads(text)), ensure_ascii=False)


def _rotate(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _MASK


def hash_of(number: int) -> int:
    """hashint8 of Postgres (common/hashfn.c: hash_bytes_uint32), as a signed number of 32 bits."""
    low, high = number & _MASK, (number >> 32) & _MASK
    k = low ^ (high if number >= 0 else ~high & _MASK)
    a = b = c = (0x9E3779B9 + 4 + 3923095) & _MASK
    a = (a + k) & _MASK
    c = ((c ^ b) - _rotate(b, 14)) & _MASK
    a = ((a ^ c) - _rotate(c, 11)) & _MASK
    b = ((b ^ a) - _rotate(a, 25)) & _MASK
    c = ((c ^ b) - _rotate(b, 16)) & _MASK
    a = ((a ^ c) - _rotate(c, 4)) & _MASK
    b = ((b ^ a) - _rotate(a, 14)) & _MASK
    c = ((c ^ b) - _rotate(b, 24)) & _MASK
    return c - (1 << 32) if c >= 1 << 31 else c


def _cell(number: int, plan: tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[int]]) -> int:
    """The cell of a plan that a number falls into."""
    bounds, firsts, counts, slots = plan
    once = number % 1_000_003 * 48271 % 2147483647
    range_ = bisect.bisect_right(bounds, number * 10 ** max(0, 15 - len(str(number)))) - 1
    return slots[firsts[range_] + (((once ^ (once >> 13)) * 69621 % 2147483647) >> 8) % counts[range_]]


def _entries(tx: Transaction, list_id: int) -> list[Values]:
    return [one for _, one in tx.table("list_entry").group(tx, ("list",), list_id)]


# -- lists, as tests make them -----------------------------------------------------------------------------------------


@nameless(r"INSERT INTO contact_list \(name, source_name, source_sha256, fields, state, entries", "id", tag="INSERT")
def _make_list(tx: Transaction, name: str, entries: int) -> Waiting:
    values = {"source_name": "test", "source_sha256": b"", "fields": [], "state": "ready"}
    # Nothing reads when it was made.
    made, _ = yield from tx.insert("contact_list", {**values, "name": name, "entries": entries, "created_at": ""})
    return [(made["id"],)]


@nameless(r"INSERT INTO list_entry \(bucket, list, number, attributes\)", tag="INSERT")
def _enter_people(
    tx: Transaction, list_id: int, buckets: Sequence[int], numbers: Sequence[int], attributes: Sequence[str]
) -> Waiting:
    for bucket, number, one in zip(buckets, numbers, attributes, strict=True):
        values = {"bucket": bucket, "list": list_id, "number": number, "attributes": one}
        yield from tx.insert("list_entry", values)
    return len(numbers)


# -- lanes and runs ----------------------------------------------------------------------------------------------------


@model("lane_of", "lane")
def lane_of(tx: Transaction, name: str) -> Result:
    """Find the lane of a carrier."""
    return [(one["lane"],) for _, one in tx.table("carrier").rows(tx) if one["name"] == name]


@model("add_lane", tag="INSERT")
def add_lane(tx: Transaction, name: str, now: datetime) -> Waiting:
    """Give a carrier the next lane."""
    lane = max((one["lane"] for _, one in tx.table("carrier").rows(tx)), default=0) + 1
    made, _ = yield from tx.insert("carrier", {"lane": lane, "name": name, "created_at": now}, on_conflict="keep")
    return int(made is not None)


@model("lanes", "lane", "name")
def lanes(tx: Transaction) -> Result:
    """Name every lane."""
    return sorted((one["lane"], one["name"]) for _, one in tx.table("carrier").rows(tx))


@model("add_run", "id", tag="INSERT")
def add_run(tx: Transaction, run_id: int, *rest: Any) -> Waiting:
    """Create a run, unless its id is taken."""
    names = (
        "name", "template", "fields", "class", "priority", "policy", "lanes", "list", "source", "not_before",
        "expires_at", "created_at", "encoding", "receipt_policy", "gate", "is_test",
    )  # fmt: skip
    values = {"id": run_id, **dict(zip(names, rest, strict=True))}
    values["encoding"] = jsonb(values["encoding"])
    values["gate"] = None if values["gate"] is None else jsonb(values["gate"])
    made, _ = yield from tx.insert("run", values, on_conflict="keep")
    return [] if made is None else [(run_id,)]


@model("run_by_id", *RUN_COLUMNS)
def run_by_id(tx: Transaction, run_id: int) -> Result:
    """Read one run."""
    run = tx.table("run").get(tx, run_id)
    return [] if run is None else columns_of([run], *RUN_COLUMNS)


def _newest(tx: Transaction) -> list[Values]:
    return sorted((one for _, one in tx.table("run").rows(tx)), key=lambda one: one["id"], reverse=True)


@model("recent_runs", *RUN_COLUMNS)
def recent_runs(tx: Transaction, limit: int) -> Result:
    """Read the newest runs."""
    return columns_of(_newest(tx)[:limit], *RUN_COLUMNS)


@model("same_run", *RUN_COLUMNS)
def same_run(tx: Transaction, list_id: int, template: str) -> Result:
    """Find the newest run of the same text to the same list."""
    found = [
        one
        for one in _newest(tx)
        if one["list"] == list_id and one["template"] == template and one["enqueued_at"] is not None
    ]
    return columns_of(found[:1], *RUN_COLUMNS)


@model("paused_runs", "id")
def paused_runs(tx: Transaction, names: Sequence[str], ids: Sequence[int]) -> Result:
    """Find the runs of campaigns."""
    return [(one["id"],) for _, one in tx.table("run").rows(tx) if one["name"] in names or one["id"] in ids]


@model("lock_run", "enqueued_at", "recipients", "cancelled_at", "cancelled_by")
def lock_run(tx: Transaction, run_id: int) -> Waiting:
    """Hold a run while its people are enqueued."""
    held = yield from tx.lock(rows_of(tx, "run", [(run_id,)]))
    return columns_of([tx.sees(row) for row in held], "enqueued_at", "recipients", "cancelled_at", "cancelled_by")


@model("sample_cells", "cell", "people")
def sample_cells(tx: Transaction, list_id: int, buckets: Sequence[int], *plan: Sequence[int]) -> Result:
    """Count the people of some buckets by their cell."""
    counted: dict[int, int] = {}
    wanted = set(buckets)
    for one in _entries(tx, list_id):
        if one["bucket"] in wanted:
            cell = _cell(one["number"], plan)  # type: ignore[arg-type]
            counted[cell] = counted.get(cell, 0) + 1
    return list(counted.items())


@model("materialise_payload", tag="INSERT")
def materialise_payload(
    tx: Transaction,
    run_id: int,
    first_id: int,
    list_id: int,
    bounds: Sequence[int],
    firsts: Sequence[int],
    counts: Sequence[int],
    slots: Sequence[int],
    first_chunks: Sequence[int],
    chunks: Sequence[int],
    lanes: Sequence[int],
    *fields: str,
) -> Waiting:
    """Pack the people of a list into chunks."""
    packed: dict[int, tuple[list[int], list[list[Any]]]] = {}
    (run,) = rows_of(tx, "run", [(run_id,)])
    has_gate = tx.sees(run)["gate"] is not None
    for one in _entries(tx, list_id):
        number = one["number"]
        cell = _cell(number, (bounds, firsts, counts, slots))
        h = hash_of(number) & 2147483647
        if has_gate:
            h = (
                ((peoplerows.bucket(number) << 24) + (gate.page(number) << 16) + (h & 65535)) * chunks[cell] >> 32
            ) * APART
        chunk = first_chunks[cell] + h % chunks[cell]
        numbers, params = packed.setdefault(chunk, ([], []))
        numbers.append(number)
        if fields:
            values = json.loads(one["attributes"])
            params.append([_as_text(values.get(name)) for name in fields])
    made = 0
    for chunk, (numbers, params) in packed.items():
        lane = lanes[bisect.bisect_right(first_chunks, chunk) - 1]
        values = {"lane": lane, "chunk_id": first_id + chunk, "run": run_id, "msisdn": numbers}
        added, _ = yield from tx.insert(
            "chunk_payload", {**values, "params": params if fields else None}, on_conflict="keep"
        )
        made += added is not None
    return made


def _as_text(value: Any) -> str | None:
    """What ->> makes of a value."""
    if value is None or isinstance(value, str):
        return value
    return jsonb(json.dumps(value))


@model("materialise_chunks", tag="INSERT")
def materialise_chunks(
    tx: Transaction,
    run_id: int,
    class_: int,
    priority: int,
    not_before: datetime,
    first_id: int,
    first_chunks: Sequence[int],
    countries: Sequence[int],
    sources: Sequence[str],
    fallbacks: Sequence[str],
    is_taken: Sequence[bool],
) -> Waiting:
    """Queue the chunks of a run."""
    made = 0
    for _, one in list(tx.table("chunk_payload").group(tx, ("run",), run_id)):
        cell = bisect.bisect_right(first_chunks, one["chunk_id"] - first_id) - 1
        n = len(one["msisdn"])
        values = {
            "lane": one["lane"], "id": one["chunk_id"], "run": run_id, "n": n, "class": int(class_),
            "priority": priority, "not_before": not_before, "country": countries[cell], "source": sources[cell],
            "fallback": [int(lane) for lane in fallbacks[cell].strip("{}").split(",") if lane],
            "state": READY if is_taken[cell] else DONE, "sent_upto": 0 if is_taken[cell] else n,
        }  # fmt: skip
        added, _ = yield from tx.insert("chunk", values, on_conflict="keep")
        made += added is not None
    return made


@model("refuse_unrouted", tag="INSERT")
def refuse_unrouted(tx: Transaction, run_id: int, status: int, now: datetime) -> Result:
    """Write down the people whom no carrier takes."""
    log = tx.tables.logs["outcome"]
    rows = [
        log.row(
            lane=one["lane"], chunk_id=one["id"], pos=pos, segment=0, segments=0, epoch=0, status=int(status), at=now,
            rtt_us=0,
        )
        for _, one in _chunks(tx, run_id)
        if one["state"] == DONE
        for pos in range(one["n"])
    ]  # fmt: skip
    return tx.append("outcome", rows)


def _chunks(tx: Transaction, run_id: int) -> Any:
    return tx.table("chunk").group(tx, ("run",), run_id)


@model("tell_urgent", "pg_notify")
def tell_urgent(tx: Transaction, channel: str, lanes_: Sequence[int]) -> Result:
    """Wake the dispatchers of some lanes."""
    for lane in lanes_:
        tx.tell(channel, str(lane))
    return [("",) for _ in lanes_]


@model("next_chunk_id", "greatest")
def next_chunk_id(tx: Transaction, lane: int, first: int, end: int) -> Result:
    """Find the first free chunk id of a run."""
    return next_repeat_id(tx, lane, first, end, -1)


@model("add_payload", tag="INSERT")
def add_payload(tx: Transaction, lane: int, chunk_id: int, run_id: int, numbers: Any, params: Any) -> Waiting:
    """Enqueue the numbers and values of a few people."""
    values = {"lane": lane, "chunk_id": chunk_id, "run": run_id, "msisdn": list(numbers), "params": params}
    yield from tx.insert("chunk_payload", values)
    return 1


@model("add_chunk", tag="INSERT")
def add_chunk(tx: Transaction, *columns: Any) -> Waiting:
    """Queue the chunk of a few people."""
    names = ("lane", "id", "run", "n", "class", "priority", "not_before", "country", "source", "fallback")
    yield from tx.insert("chunk", dict(zip(names, columns, strict=True)))
    return 1


@model("add_recipients", tag="UPDATE")
def add_recipients(tx: Transaction, run_id: int, people: int, now: datetime) -> Waiting:
    """Note that a run has so many people more."""
    changed = yield from tx.update(
        rows_of(tx, "run", [(run_id,)]),
        lambda one: True,
        lambda one: {"recipients": one["recipients"] + people, "enqueued_at": one["enqueued_at"] or now},
    )
    return len(changed)


@model("close_enqueue", tag="UPDATE")
def close_enqueue(tx: Transaction, run_id: int, people: int, now: datetime) -> Waiting:
    """Note how many people a run has."""
    new = {"recipients": people, "enqueued_at": now}
    return len((yield from tx.update(rows_of(tx, "run", [(run_id,)]), lambda one: True, lambda one: new)))


@model("count_positions", "positions")
def count_positions(tx: Transaction, run_id: int) -> Result:
    """Count the people in the chunks of a run."""
    return [(sum(one["n"] for _, one in _chunks(tx, run_id) if one["repeats"] is None),)]


@model("chunk_states", "lane", "state", "chunks", "positions", "unsent", "not_before")
def chunk_states(tx: Transaction, run_id: int) -> Result:
    """Count a run's chunks and positions by state."""
    counted: dict[tuple[int, int], list[Any]] = {}
    for _, one in _chunks(tx, run_id):
        count = counted.setdefault((one["lane"], one["state"]), [0, 0, 0, one["not_before"]])
        count[0] += 1
        count[1] += one["n"]
        count[2] += 0 if one["state"] == MOVED else one["n"] - one["sent_upto"]
        count[3] = min(count[3], one["not_before"])
    return [(*key, *counted[key]) for key in sorted(counted)]


@model("open_chunks", "chunks")
def open_chunks(tx: Transaction, run_id: int) -> Result:
    """Count what a run still has to do."""
    return [(sum(one["state"] in (READY, CLAIMED) for _, one in _chunks(tx, run_id)),)]


@model("queue_by_lane", "lane", "class", "chunks", "positions", "oldest")
def queue_by_lane(tx: Transaction) -> Result:
    """Show how much waits on each lane."""
    counted: dict[tuple[int, int], list[Any]] = {}
    for _, one in tx.table("chunk").rows(tx):
        if one["state"] == READY:
            count = counted.setdefault((one["lane"], one["class"]), [0, 0, one["not_before"]])
            count[0] += 1
            count[1] += one["n"] - one["sent_upto"]
            count[2] = min(count[2], one["not_before"])
    return [(*key, *counted[key]) for key in sorted(counted)]


# -- workers -----------------------------------------------------------------------------------------------------------


@model("worker_seen", tag="UPDATE")
def worker_seen(tx: Transaction, instance: str, now: datetime, report: str) -> Waiting:
    """Say that a process is alive."""
    new = {"seen_at": now, "report": jsonb(report)}
    return len((yield from tx.update(rows_of(tx, "worker", [(instance,)]), lambda one: True, lambda one: new)))
