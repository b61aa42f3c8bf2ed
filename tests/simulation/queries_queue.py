"""Chunks on their way: claimed, advanced, settled, given back, rescued, repeated (sql/queue.sql)."""

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from tests.simulation.queries import Result, columns_of, model, rows_of
from tests.simulation.tables import Transaction, Values, Waiting

READY, CLAIMED, DONE, HELD, MOVED = 0, 1, 2, 3, 5
BY_STATE = ("lane", "state")


@model("claim", "id", "epoch", "source", tag="UPDATE")
def claim(
    tx: Transaction,
    lane: int,
    owner: str,
    now: datetime,
    limit: int,
    last_class: int,
    runs: Sequence[int] = (),
    countries: Sequence[int] = (),
    senders: Sequence[str] = (),
) -> Result:
    """Take the next chunks, past those that others hold."""
    ready = [
        ((one["class"], one["priority"], one["id"]), row)
        for row, one in tx.table("chunk").group(tx, BY_STATE, lane, READY)
        if one["not_before"] <= now
        and one["class"] <= last_class
        and one["run"] not in runs
        and one["country"] not in countries
        and one["source"] not in senders
        and tx.free_or_ours(row)
    ]
    ready.sort(key=lambda one: one[0])
    taken = []
    for _, row in ready[:limit]:
        before = tx.sees(row)
        assert before is not None
        tx.hold(row)
        values = {
            **before,
            "state": CLAIMED,
            "owner": owner,
            "epoch": before["epoch"] + 1,
            "first_claimed_at": before["first_claimed_at"] or now,
        }
        tx.write(row, values)
        taken.append(values)
    return columns_of(taken, "id", "epoch", "source")


model("claim_unpaused", "id", "epoch", "source", tag="UPDATE")(claim)


@model(
    "claimed_payload",
    types=("bigint", "bigint", "int", "int", "smallint", "smallint", "bigint[]", "text[]"),
)
def claimed_payload(tx: Transaction, lane: int, ids: Sequence[int]) -> Result:
    """Read claimed chunks, the most urgent first."""
    rows = []
    for chunk_id in dict.fromkeys(ids):
        chunk = tx.table("chunk").get(tx, lane, chunk_id)
        payload = tx.table("chunk_payload").get(tx, lane, chunk_id)
        if chunk is not None and payload is not None:
            rows.append((chunk, payload))
    rows.sort(key=lambda one: (one[0]["class"], one[0]["priority"], one[0]["id"]))
    return [
        (k["id"], k["run"], k["epoch"], k["sent_upto"], k["class"], k["country"], p["msisdn"], p["params"])
        for k, p in rows
    ]


def _ours(epochs: dict[int, Any], values: Values) -> bool:
    """Whether a chunk is claimed at one of the epochs that are named for it."""
    return values["state"] == CLAIMED and values["epoch"] in epochs[values["id"]]


def _change_claimed(
    tx: Transaction, lane: int, ids: Sequence[int], epochs: Sequence[int], new: Callable[[Values], Values]
) -> Waiting:
    known: dict[int, set[int]] = {}
    for chunk_id, epoch in zip(ids, epochs, strict=True):
        known.setdefault(chunk_id, set()).add(epoch)
    rows = rows_of(tx, "chunk", ((lane, chunk_id) for chunk_id in known))
    changed = yield from tx.update(rows, functools.partial(_ours, known), new)
    return columns_of(changed, "id")


@model("advance", "id", tag="UPDATE")
def advance(tx: Transaction, lane: int, ids: Sequence[int], epochs: Sequence[int], upto: Sequence[int]) -> Waiting:
    """Move watermarks forward."""
    marks: dict[tuple[int, int], int] = {}
    for chunk_id, epoch, mark in zip(ids, epochs, upto, strict=True):
        marks[chunk_id, epoch] = max(mark, marks.get((chunk_id, epoch), 0))

    def new(values: Values) -> Values:
        mark = max(values["sent_upto"], marks[values["id"], values["epoch"]])
        return {"sent_upto": mark}

    return (yield from _change_claimed(tx, lane, ids, epochs, new))


@model("finish", "id", tag="UPDATE")
def finish(tx: Transaction, lane: int, ids: Sequence[int], epochs: Sequence[int]) -> Waiting:
    """Close chunks of which every segment has its outcome."""
    return (
        yield from _change_claimed(
            tx, lane, ids, epochs, lambda one: {"state": DONE, "sent_upto": one["n"], "owner": None}
        )
    )


@model("release", "id", tag="UPDATE")
def release(tx: Transaction, lane: int, ids: Sequence[int], epochs: Sequence[int], upto: Sequence[int]) -> Waiting:
    """Give chunks back."""
    left = {(chunk_id, epoch): mark for chunk_id, epoch, mark in zip(ids, epochs, upto, strict=True)}

    def new(one: Values) -> Values:
        mark = left[one["id"], one["epoch"]]
        return {"state": DONE if mark >= one["n"] else READY, "sent_upto": mark, "owner": None}

    return (yield from _change_claimed(tx, lane, ids, epochs, new))


@model("hold_chunks", "id", tag="UPDATE")
def hold_chunks(tx: Transaction, lane: int, ids: Sequence[int], epochs: Sequence[int]) -> Waiting:
    """Set chunks aside."""
    return (yield from _change_claimed(tx, lane, ids, epochs, lambda one: {"state": HELD, "owner": None}))


def _given_back(one: Values) -> Values:
    return {"state": DONE if one["sent_upto"] >= one["n"] else READY, "owner": None}


@model("disown", "id", tag="UPDATE")
def disown(tx: Transaction, lane: int, owner: str, in_hand: Sequence[int]) -> Waiting:
    """Give back what a claim took whose answer was lost."""

    def check(one: Values) -> bool:
        return one["state"] == CLAIMED and one["owner"] == owner and one["id"] not in in_hand

    rows = [row for row, _ in tx.table("chunk").group(tx, BY_STATE, lane, CLAIMED)]
    return columns_of((yield from tx.update(rows, check, _given_back)), "id")


@model("own_chunk", "id")
def own_chunk(tx: Transaction, lane: int, chunk_id: int, epoch: int) -> Waiting:
    """Hold a claimed chunk that is still ours."""
    held = yield from tx.lock(rows_of(tx, "chunk", [(lane, chunk_id)]), functools.partial(_ours, {chunk_id: {epoch}}))
    return [(chunk_id,) for _ in held]


@model("note_flush", tag="INSERT")
def note_flush(tx: Transaction, lane: int, flush_id: int, at: datetime) -> Waiting:
    """Say that a flush is committed; waits for the transaction that says so, too."""
    yield from tx.insert("flush", {"lane": lane, "id": flush_id, "at": at})
    return 1


@model("flush_known", "exists")
def flush_known(tx: Transaction, lane: int, flush_id: int) -> Result:
    """Whether a flush was committed."""
    return [(tx.table("flush").get(tx, lane, flush_id) is not None,)]


@model("forget_flushes", tag="DELETE")
def forget_flushes(tx: Transaction, lane: int, before: datetime) -> Waiting:
    """Drop old notes."""
    # Some thousands, of which few are old.
    rows = [row for row in tx.table("flush").groups[("lane",)].get((lane,), ()) if row.old and row.old["at"] < before]
    return len((yield from tx.delete(rows)))


# -- dead workers, doubt, repeats --------------------------------------------------------------------------------------


@model("claim_owners", "owner")
def claim_owners(tx: Transaction, lane: int) -> Result:
    """Name who has claimed chunks."""
    owners = {one["owner"] for _, one in tx.table("chunk").group(tx, BY_STATE, lane, CLAIMED)}
    return [(owner,) for owner in sorted(owners - {None})]


@model("abandoned_chunks", "id", "n", "epoch", "sent_upto", "first_claimed_at")
def abandoned_chunks(tx: Transaction, lane: int, dead: Sequence[str]) -> Result:
    """Lock the chunks whose owner is dead, past those that others hold."""
    found = []
    for row, one in tx.table("chunk").group(tx, BY_STATE, lane, CLAIMED):
        if one["owner"] in dead and tx.free_or_ours(row):
            found.append((one, row))
    found.sort(key=lambda pair: pair[0]["id"])
    for _, row in found:
        tx.hold(row)
    return columns_of([one for one, _ in found], "id", "n", "epoch", "sent_upto", "first_claimed_at")


@model("doubt", tag="INSERT")
def doubt(
    tx: Transaction,
    lane: int,
    ids: Sequence[int],
    strides: Sequence[int],
    counts: Sequence[int],
    marks: Sequence[int],
    epochs: Sequence[int],
    now: datetime,
    since: datetime,
) -> Result:
    """The crash rule."""
    log = tx.log("outcome")
    made = []
    for chunk_id, stride, n, upto, epoch in zip(ids, strides, counts, marks, epochs, strict=True):
        known: dict[int, set[int]] = {}
        segments: dict[int, int] = {}
        for row in log.of_chunk.get((lane, chunk_id), ()):
            if row.at >= since:
                known.setdefault(row.pos, set()).add(row.segment)
                segments[row.pos] = max(segments.get(row.pos, 0), row.segments)
        doubted = {"lane": lane, "chunk_id": chunk_id, "epoch": epoch, "status": -1, "at": now, "rtt_us": 0}
        for rank in range(upto):
            pos = (rank * stride + chunk_id % n) % n
            if pos not in known and not is_repeated(tx, lane, chunk_id, pos):
                made.append(log.row(pos=pos, segment=0, segments=0, **doubted))
        for pos, most in segments.items():
            if most > 1 and 0 not in known[pos] and not is_repeated(tx, lane, chunk_id, pos):
                made += [
                    log.row(pos=pos, segment=segment, segments=most, **doubted)
                    for segment in range(1, most + 1)
                    if segment not in known[pos]
                ]
    return tx.append("outcome", made)


@model("requeue", tag="UPDATE")
def requeue(tx: Transaction, lane: int, ids: Sequence[int]) -> Waiting:
    """Put rescued chunks back."""
    rows = rows_of(tx, "chunk", ((lane, chunk_id) for chunk_id in dict.fromkeys(ids)))
    return len(
        (yield from tx.update(rows, lambda one: True, lambda one: {**_given_back(one), "epoch": one["epoch"] + 1}))
    )


def is_repeated(tx: Transaction, lane: int, chunk_id: int, pos: int) -> bool:
    """Whether a position was sent once more, or went to another lane."""
    return tx.table("repeated").get(tx, lane, chunk_id, pos) is not None


def has_late_answer(tx: Transaction, doubted: Any) -> bool:
    """Whether what was in doubt has its answer."""
    answers = tx.log("outcome").of_chunk[doubted.lane, doubted.chunk_id]
    return any(
        one.pos == doubted.pos and one.status != -1 and (doubted.segment == 0 or one.segment == doubted.segment)
        for one in answers
    )


@model("repeatable", "chunk_id", "pos")
def repeatable(tx: Transaction, lane: int, before: datetime, now: datetime) -> Result:
    """Positions in doubt that may be sent twice."""
    found = set()
    for one in tx.log("outcome").in_doubt.get(lane, ()):
        if one.at > before or (one.chunk_id, one.pos) in found:
            continue
        chunk = tx.table("chunk").get(tx, lane, one.chunk_id)
        run = None if chunk is None else tx.table("run").get(tx, chunk["run"])
        if run is None or run["policy"] != "at_least_once" or run["cancelled_at"] is not None:
            continue
        if run["expires_at"] is not None and run["expires_at"] <= now:
            continue
        if not is_repeated(tx, lane, one.chunk_id, one.pos) and not has_late_answer(tx, one):
            found.add((one.chunk_id, one.pos))
    return sorted(found)


@model("note_repeated", "pos", tag="INSERT")
def note_repeated(
    tx: Transaction, lane: int, chunk_id: int, positions: Sequence[int], by_chunk: int, at: datetime
) -> Waiting:
    """Remember which positions are sent again; -> those that were not known."""
    fresh = []
    for pos in positions:
        values = {"lane": lane, "chunk_id": chunk_id, "pos": pos, "by_chunk": by_chunk, "at": at}
        made, _ = yield from tx.insert("repeated", values, on_conflict="keep")
        if made is not None:
            fresh.append((pos,))
    return fresh


model("note_moved", "pos", tag="INSERT")(note_repeated)


def at_positions(payload: Values, positions: Sequence[int]) -> tuple[list[Any] | None, list[Any] | None]:
    """Numbers and values of some positions of a payload; array_agg of nothing is null."""
    if not positions:
        return None, None
    numbers = payload["msisdn"]
    params = payload["params"]
    taken = None if params is None else [list(params[pos]) if 0 <= pos < len(params) else [] for pos in positions]
    return [numbers[pos] if 0 <= pos < len(numbers) else None for pos in positions], taken


@model("repeat_payload", tag="INSERT")
def repeat_payload(tx: Transaction, lane: int, chunk_id: int, positions: Sequence[int], copy: int) -> Waiting:
    """Copy the payload of some positions."""
    payload = tx.table("chunk_payload").get(tx, lane, chunk_id)
    if payload is None:
        return 0
    numbers, params = at_positions(payload, sorted(positions))
    values = {"lane": lane, "chunk_id": copy, "run": payload["run"], "msisdn": numbers, "params": params}
    yield from tx.insert("chunk_payload", values)
    return 1


@model("repeat_chunk", tag="INSERT")
def repeat_chunk(tx: Transaction, lane: int, chunk_id: int, copy: int, n: int) -> Waiting:
    """Queue the copy."""
    origin = tx.table("chunk").get(tx, lane, chunk_id)
    if origin is None:
        return 0
    kept = {
        name: origin[name]
        for name in ("lane", "run", "class", "priority", "not_before", "country", "source", "fallback")
    }
    yield from tx.insert("chunk", {**kept, "id": copy, "n": n, "repeats": origin["id"]})
    return 1


@model("next_repeat_id", "greatest")
def next_repeat_id(tx: Transaction, lane: int, first: int, end: int, least: int = 0) -> Result:
    """Find a free chunk id for repeats."""
    ids = [one["id"] for _, one in tx.table("chunk").group(tx, ("lane",), lane) if first <= one["id"] < end]
    return [(max(max(ids, default=least) + 1, first),)]


@model("sent_since", "source", "campaign", "country", "moment", "pdus", "messages")
def sent_since(tx: Transaction, lane: int, since: datetime, until: datetime, last_minute: datetime) -> Result:
    """Count what left a lane, by sender, campaign, country and second or minute."""
    counted: dict[tuple[Any, ...], list[int]] = {}
    for one in tx.log("outcome").of_lane.get(lane, ()):
        if not since <= one.at < until or one.status < -1:
            continue
        chunk = tx.table("chunk").get(tx, lane, one.chunk_id)
        run = None if chunk is None else tx.table("run").get(tx, chunk["run"])
        if chunk is None or run is None:
            continue
        moment = one.at.replace(microsecond=0) if one.at >= last_minute else one.at.replace(second=0, microsecond=0)
        count = counted.setdefault((chunk["source"], run["name"], chunk["country"], moment), [0, 0])
        count[0] += 1
        count[1] += one.segment <= 1
    return [(*key, *count) for key, count in counted.items()]
