"""Messages that leave a lane for another, and those whose time is over (sql/transfer.sql)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tests.simulation.queries import Result, columns_of, model, rows_of
from tests.simulation.queries_queue import BY_STATE, DONE, MOVED, READY, at_positions, is_repeated
from tests.simulation.queries_receipts import FINAL
from tests.simulation.queries_results import ABANDONED
from tests.simulation.tables import Row, Transaction, Values, Waiting


def _target(fallback: Sequence[int], up: Sequence[int]) -> tuple[int, list[int]] | None:
    """The first lane of a fallback that is up, and what comes behind it."""
    for place, lane in enumerate(fallback):
        if lane in up:
            return lane, list(fallback[place + 1 :])
    return None


@model("close_lane", "id", tag="INSERT")
def close_lane(tx: Transaction, lane: int, now: datetime, up: Sequence[int], limit: int) -> Waiting:
    """Take due chunks of a lane that another may have."""
    due = []
    for row, one in tx.table("chunk").group(tx, BY_STATE, lane, READY):
        target = _target(one["fallback"], up)
        if one["not_before"] <= now and target is not None and tx.free_or_ours(row):
            due.append(((one["class"], one["priority"], one["id"]), row, target))
    due.sort(key=lambda one: one[0])
    made = []
    for _, row, (to_lane, fallback) in due[:limit]:
        one = tx.sees(row)
        assert one is not None
        tx.hold(row)
        tx.write(row, {**one, "state": MOVED})
        added, _ = yield from tx.insert(
            "transfer",
            {
                "lane": lane, "chunk_id": one["id"], "to_lane": to_lane, "fallback": fallback,
                "from_rank": one["sent_upto"], "why": "closed", "at": now,
            },
        )  # fmt: skip
        made.append((added["id"],))
    return made


def _has_failed(tx: Transaction, lane: int, chunk_id: int, pos: int) -> bool:
    """Whether every segment has its answer, none was delivered, none is in doubt or waits for its receipt."""
    answers: dict[int, list[Any]] = {}
    for one in tx.log("outcome").of_chunk.get((lane, chunk_id), ()):
        if one.pos == pos:
            answers.setdefault(one.segment, []).append(one)
    if not answers or len(answers) < max(one.segments for ones in answers.values() for one in ones):
        return False
    finals: dict[int, Any] = {}
    for one in tx.log("receipt").of_chunk.get((lane, chunk_id), ()):
        if one.pos == pos and one.state in FINAL:
            before = finals.get(one.segment)
            finals[one.segment] = one if before is None or one.at < before.at else before
    for segment, ones in answers.items():
        # A part that was not sent for a brother's sake counts as he does.
        statuses = [1 if one.status == ABANDONED else one.status for one in ones]
        if any(status < -1 for status in statuses):
            return False
        if 0 in statuses:
            final = finals.get(segment)
            if final is None or final.state == 2:
                return False
        elif not any(status > 0 for status in statuses) or -1 in statuses:
            return False
    return True


@model("failed_positions", "chunk_id", "pos", "to_lane", "fallback")
def failed_positions(
    tx: Transaction,
    lane: int,
    since: datetime,
    statuses: Sequence[int],
    errors: Sequence[str],
    undelivered: bool,
    now: datetime,
    up: Sequence[int],
    limit: int,
) -> Result:
    """Find the messages of a lane that failed so that another lane may try."""
    hints = {
        (one.chunk_id, one.pos)
        for one in tx.log("outcome").rejected.get(lane, ())
        if one.at >= since and one.status in statuses
    }
    hints |= {
        (one.chunk_id, one.pos)
        for one in tx.log("receipt").undeliverable.get(lane, ())
        if one.at >= since and (undelivered or one.err in errors)
    }
    found = []
    for chunk_id, pos in hints:
        chunk = tx.table("chunk").get(tx, lane, chunk_id)
        run = None if chunk is None else tx.table("run").get(tx, chunk["run"])
        if chunk is None or run is None or run["cancelled_at"] is not None:
            continue
        if run["expires_at"] is not None and run["expires_at"] <= now:
            continue
        target = _target(chunk["fallback"], up)
        if target is not None and not is_repeated(tx, lane, chunk_id, pos) and _has_failed(tx, lane, chunk_id, pos):
            found.append((chunk_id, pos, *target))
    return sorted(found, key=lambda one: (one[0], one[2], one[1]))[:limit]


@model("add_transfer", "id", tag="INSERT")
def add_transfer(
    tx: Transaction, lane: int, chunk_id: int, to_lane: int, fallback: Sequence[int], now: datetime
) -> Waiting:
    """Enter a transfer of some positions of a chunk."""
    made, _ = yield from tx.insert(
        "transfer",
        {
            "lane": lane, "chunk_id": chunk_id, "to_lane": to_lane, "fallback": list(fallback), "positions": [],
            "from_rank": 0, "why": "failed", "at": now,
        },
    )  # fmt: skip
    return [(made["id"],)]


@model("fill_transfer", tag="UPDATE")
def fill_transfer(tx: Transaction, lane: int, transfer: int, positions: Sequence[int]) -> Waiting:
    """Say which positions a transfer carries."""

    def new(one: Values) -> Values:
        return {"positions": list(positions), "arrived_at": None if positions else one["at"]}

    return len((yield from tx.update(rows_of(tx, "transfer", [(lane, transfer)]), lambda one: True, new)))


@model("open_transfers", "id", "chunk_id", "to_lane", "fallback", "positions", "from_rank", "n", "run")
def open_transfers(tx: Transaction, lane: int, limit: int) -> Result:
    """List what has left a lane and was not seen to arrive."""
    found = []
    for _, one in tx.table("transfer").group(tx, ("lane",), lane):
        chunk = tx.table("chunk").get(tx, lane, one["chunk_id"])
        if one["arrived_at"] is None and chunk is not None:
            found.append({**one, "n": chunk["n"], "run": chunk["run"]})
    found.sort(key=lambda one: one["id"])
    return columns_of(found[:limit], "id", "chunk_id", "to_lane", "fallback", "positions", "from_rank", "n", "run")


def array_text(values: Any) -> str:
    """Write an array as Postgres does; every text in quotes, which it reads as well."""
    if values is None:
        return "NULL"
    if isinstance(values, str):
        return '"' + values.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "{" + ",".join(array_text(one) for one in values) + "}"


def read_array(text: str | None) -> Any:
    """Read an array of texts as Postgres does."""
    if text is None:
        return None
    stack: list[list[Any]] = [[]]
    at = 0
    while at < len(text):
        if text[at] == "{":
            stack.append([])
        elif text[at] == "}":
            done = stack.pop()
            stack[-1].append(done)
        elif text[at] == '"':
            value = ""
            at += 1
            while text[at] != '"':
                at += text[at] == "\\"
                value += text[at]
                at += 1
            stack[-1].append(value)
        elif text[at] != ",":
            end = at
            while text[end] not in ",}":
                end += 1
            stack[-1].append(None if text[at:end] == "NULL" else text[at:end])
            at = end - 1
        at += 1
    return stack[0][0]


@model("transfer_payload", "numbers", "params")
def transfer_payload(tx: Transaction, lane: int, chunk_id: int, positions: Sequence[int]) -> Result:
    """Read the numbers and values of some positions of a chunk."""
    payload = tx.table("chunk_payload").get(tx, lane, chunk_id)
    if payload is None:
        return []
    numbers, params = at_positions(payload, positions)
    return [(numbers, None if params is None else array_text(params))]


@model("transfer_origin", "run", "class", "priority", "not_before", "country", "source")
def transfer_origin(tx: Transaction, lane: int, chunk_id: int) -> Result:
    """Read what a transferred chunk keeps."""
    chunk = tx.table("chunk").get(tx, lane, chunk_id)
    names = ("run", "class", "priority", "not_before", "country", "source")
    return [] if chunk is None else columns_of([chunk], *names)


@model("transfer_arrived", "id")
def transfer_arrived(tx: Transaction, lane: int, from_lane: int, transfer: int) -> Result:
    """Find the chunk that a transfer has become."""
    table = tx.table("chunk")
    row = table.indexes[table.keys.index(("lane", "from_lane", "transfer"))].get((lane, from_lane, transfer))
    chunk = None if row is None else tx.sees(row)
    return [] if chunk is None else [(chunk["id"],)]


@model("transfer_chunk_payload", tag="INSERT")
def transfer_chunk_payload(
    tx: Transaction, lane: int, chunk_id: int, run: int, numbers: Sequence[int], params: str | None
) -> Waiting:
    """Write the payload of a transferred chunk."""
    values = {"lane": lane, "chunk_id": chunk_id, "run": run, "msisdn": list(numbers), "params": read_array(params)}
    yield from tx.insert("chunk_payload", values)
    return 1


@model("transfer_chunk", tag="INSERT")
def transfer_chunk(tx: Transaction, *columns: Any) -> Waiting:
    """Queue a transferred chunk."""
    names = (
        "lane", "id", "run", "n", "class", "priority", "not_before", "country", "source", "fallback", "repeats",
        "from_lane", "transfer",
    )  # fmt: skip
    yield from tx.insert("chunk", dict(zip(names, columns, strict=True)))
    return 1


@model("close_transfer", tag="UPDATE")
def close_transfer(tx: Transaction, lane: int, transfer: int, now: datetime) -> Waiting:
    """Note that a transfer has arrived."""
    rows = rows_of(tx, "transfer", [(lane, transfer)])
    return len((yield from tx.update(rows, lambda one: True, lambda one: {"arrived_at": now})))


ENDING = ("id", "n", "sent_upto", "epoch", "repeats")


def lock_ending(tx: Transaction, over: list[tuple[Values, Row]], limit: int) -> list[Values]:
    """Lock the first of some chunks that end, by their ids."""
    over.sort(key=lambda pair: pair[0]["id"])
    for _, row in over[:limit]:
        tx.hold(row)
    return [one for one, _ in over[:limit]]


@model("expired_chunks", *ENDING, "is_cancelled")
def expired_chunks(tx: Transaction, lane: int, now: datetime, limit: int) -> Result:
    """Lock queued chunks whose run is over, or cancelled."""
    over = []
    for row, one in tx.table("chunk").group(tx, BY_STATE, lane, READY):
        run = tx.table("run").get(tx, one["run"])
        if run is None or not tx.free_or_ours(row):
            continue
        is_cancelled = run["cancelled_at"] is not None
        if is_cancelled or (run["expires_at"] is not None and run["expires_at"] <= now):
            over.append(({**one, "is_cancelled": is_cancelled}, row))
    return columns_of(lock_ending(tx, over, limit), *ENDING, "is_cancelled")


@model("origins_of_copies", "copy", "copy_pos", "chunk_id", "pos", "is_doubted")
def origins_of_copies(tx: Transaction, lane: int, ids: Sequence[int]) -> Result:
    """Where the messages of copies stood before, and whether they are in doubt there."""
    found = []
    for chunk_id in dict.fromkeys(ids):
        chunk = tx.table("chunk").get(tx, lane, chunk_id)
        if chunk is None or chunk["repeats"] is None or chunk["from_lane"] is not None:
            continue
        went_on = sorted(
            one["pos"]
            for _, one in tx.table("repeated").group(tx, ("lane", "chunk_id"), lane, chunk["repeats"])
            if one["by_chunk"] == chunk_id
        )
        doubted = {one.pos for one in tx.log("outcome").of_chunk.get((lane, chunk["repeats"]), ()) if one.status == -1}
        found += [(chunk_id, place, chunk["repeats"], pos, pos in doubted) for place, pos in enumerate(went_on)]
    return found


@model("end_positions", tag="INSERT")
def end_positions(
    tx: Transaction,
    lane: int,
    ids: Sequence[int],
    strides: Sequence[int],
    counts: Sequence[int],
    marks: Sequence[int],
    epochs: Sequence[int],
    now: datetime,
    status: int,
    doubted_ids: Sequence[int],
    doubted_positions: Sequence[int],
) -> Result:
    """Write down with a reason what stands above the watermarks."""
    log = tx.tables.logs["outcome"]
    doubted = set(zip(doubted_ids, doubted_positions, strict=True))
    rows = []
    for chunk_id, stride, n, upto, epoch in zip(ids, strides, counts, marks, epochs, strict=True):
        for rank in range(upto, n):
            pos = (rank * stride + chunk_id % n) % n
            rows.append(
                log.row(
                    lane=lane,
                    chunk_id=chunk_id,
                    pos=pos,
                    segment=0,
                    segments=0,
                    epoch=epoch,
                    status=-1 if (chunk_id, pos) in doubted else int(status),
                    at=now,
                    rtt_us=0,
                )  # fmt: skip
            )
    return tx.append("outcome", rows)


@model("close_ended", tag="UPDATE")
def close_ended(tx: Transaction, lane: int, ids: Sequence[int]) -> Waiting:
    """Close chunks of which nothing is left to send."""
    rows = rows_of(tx, "chunk", ((lane, chunk_id) for chunk_id in ids))
    changed = yield from tx.update(rows, lambda one: True, lambda one: {"state": DONE, "sent_upto": one["n"]})
    return len(changed)
