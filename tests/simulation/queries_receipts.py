"""Receipts that find their segment, are adopted, asked for, or set aside (sql/queue.sql)."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.queries import Result, model, upsert
from tests.simulation.queries_queue import has_late_answer, is_repeated
from tests.simulation.tables import Row, Transaction, Values, Waiting

FINAL = (2, 3, 4, 5, 8, 9)
_RECEIPT_FROM_WAITING = ("at", "lane", "number", "done_at", "state", "message_id", "err", "raw")


def _waiting(tx: Transaction, lane: int) -> list[tuple[Row, Values]]:
    return list(tx.table("receipt_waiting").group(tx, ("lane",), lane))


def _known(values: Values) -> tuple[str, int, int]:
    """What a waiting receipt is matched by."""
    number, other = values["number"], values["other"]
    return values["message_id"], -1 if number is None else number, -1 if other is None else other


class _Hit:
    """A segment that a receipt may be of."""

    def __init__(self, rule: int, outcome: Any):
        self.rule = rule
        self.outcome = outcome
        self.is_his = False

    @property
    def segment(self) -> tuple[int, int, int]:
        return self.outcome.chunk_id, self.outcome.pos, self.outcome.segment


def _hits(tx: Transaction, asked: Values, learnt: int, every: bool) -> list[_Hit]:
    found: dict[tuple[int, str], _Hit] = {}
    for rule, key in ((2, asked["id_key"]), (3, asked["as_hex"]), (4, asked["as_decimal"])):
        if key is None or not (learnt == 0 or every or rule == max(learnt, 2)):
            continue
        if not (rule == 2 or rule == learnt or key != asked["id_key"]):
            continue
        newest = sorted(tx.log("outcome").of_id.get((asked["lane"], key), ()), key=lambda one: one.at, reverse=True)
        for outcome in newest[:8]:
            is_verbatim = rule == 2 and outcome.message_id == asked["message_id"]
            # Of one spelling the newest alone.
            found.setdefault((rule, outcome.message_id), _Hit(1 if is_verbatim else rule, outcome))
    return list(found.values())


def _is_tail(number: int, sent_to: int | None) -> bool:
    if number < 1_000_000 or sent_to is None:
        return False
    tail = 10**9 if number >= 10**8 else 10**8 if number >= 10**7 else 10**7
    return number % tail == sent_to % tail


def _judge(tx: Transaction, lane: int, known: tuple[str, int, int], hits: list[_Hit], learnt: int, fixed: bool) -> None:
    message_id, number, other = known
    by_rule: dict[int, int] = {}
    for hit in hits:
        by_rule[hit.rule] = by_rule.get(hit.rule, 0) + 1

    def is_believed(hit: _Hit) -> bool:
        is_learnt = hit.rule == learnt or (learnt == 2 and hit.rule == 1)
        return is_learnt and (hit.rule == 1 or by_rule[hit.rule] == 1)

    is_settled = any(is_believed(hit) for hit in hits)
    is_digits = re.fullmatch("[0-9]+", message_id) is not None
    for hit in hits:
        if is_settled:
            hit.is_his = is_believed(hit)
            continue
        if fixed:
            continue
        sent_to = None
        if max(number, other) >= 1_000_000:
            payload = tx.table("chunk_payload").get(tx, lane, hit.outcome.chunk_id)
            if payload is not None and hit.outcome.pos < len(payload["msisdn"]):
                sent_to = payload["msisdn"][hit.outcome.pos]
        if _is_tail(number, sent_to) or _is_tail(other, sent_to):
            hit.is_his = True
        elif learnt > 0:
            continue
        elif hit.rule == 1 and len(hits) == by_rule[1]:
            hit.is_his = not is_digits or sent_to is None
        else:
            hit.is_his = hit.rule == 2 and len(hits) == 1 and len(message_id) >= 16 and not is_digits
    if any(hit.is_his and hit.rule == 1 for hit in hits):
        for hit in hits:
            hit.is_his = hit.is_his and hit.rule != 2
    mine = {hit.segment for hit in hits if hit.is_his}
    if len(mine) > 1 and not is_settled:
        for hit in hits:
            hit.is_his = False


@model("match", "rule", "receipts")
def match(
    tx: Transaction, lane: int, since: datetime, until: datetime, learnt: int, every: bool, fixed: bool
) -> Waiting:
    """Move waiting receipts to the segments they name."""
    waiting: dict[tuple[str, int, int], list[tuple[Row, Values]]] = {}
    for row, one in _waiting(tx, lane):
        if since <= one["at"] < until:
            waiting.setdefault(_known(one), []).append((row, one))
    counted: dict[int, int] = {}
    for known, rows in waiting.items():
        hits = _hits(tx, rows[0][1], learnt, every)
        if not hits:
            continue
        _judge(tx, lane, known, hits, learnt, fixed)
        his = sorted((hit for hit in hits if hit.is_his), key=lambda hit: hit.rule)
        if not his:
            continue
        gone = yield from tx.delete([row for row, _ in rows])
        chunk_id, pos, segment = his[0].segment
        log = tx.tables.logs["receipt"]
        place = {"chunk_id": chunk_id, "pos": pos, "segment": segment}
        tx.append("receipt", [log.row(**place, **{name: one[name] for name in _RECEIPT_FROM_WAITING}) for one in gone])
        counted[his[0].rule] = counted.get(his[0].rule, 0) + len(gone)
    return [(rule, count) for rule, count in counted.items() if count]


def _tail(number: int | None) -> int | None:
    return None if number is None else number % 10**9


def _doubts(tx: Transaction, lane: int, nameless_since: datetime | None, *, unless_repeated: bool) -> Iterator[Any]:
    """Segments in doubt, each with the tail of its number; those without a payload have none and are left out."""
    log = tx.log("outcome")
    for one in log.in_doubt.get(lane, ()):
        if unless_repeated and is_repeated(tx, lane, one.chunk_id, one.pos):
            continue
        if not has_late_answer(tx, one):
            yield one
    if nameless_since is None:
        return
    for one in log.nameless.get(lane, ()):
        brothers = log.of_chunk[lane, one.chunk_id]
        if one.at >= nameless_since and not any(
            other.pos == one.pos and other.segment == one.segment and other.message_id is not None for other in brothers
        ):
            yield one


def _with_tails(tx: Transaction, lane: int, doubts: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    for one in doubts:
        payload = tx.table("chunk_payload").get(tx, lane, one.chunk_id)
        if payload is not None and one.pos < len(payload["msisdn"]) and payload["msisdn"][one.pos] is not None:
            yield payload["msisdn"][one.pos] % 10**9, one


@model("adopt", tag="INSERT")
def adopt(
    tx: Transaction,
    lane: int,
    waited_since: datetime,
    slack: timedelta,
    window: timedelta,
    nameless_since: datetime | None,
) -> Waiting:
    """Give a waiting receipt to the one segment in doubt that went to its number."""
    by_tail: dict[int, list[Any]] = {}
    for tail, one in _with_tails(tx, lane, _doubts(tx, lane, nameless_since, unless_repeated=True)):
        by_tail.setdefault(tail, []).append(one)
    doubted = {
        tail: [min(getattr(one, name) for one in ones) for name in ("segments", "epoch", "at")] + [ones[0]]
        for tail, ones in by_tail.items()
        if len({(one.chunk_id, one.pos, one.segment) for one in ones}) == 1
    }
    waiting = _waiting(tx, lane)
    heard: dict[int, list[Values]] = {}
    for _, one in waiting:
        for number in (one["number"], one["other"]):
            if number is not None and number >= 10**8:
                heard.setdefault(number % 10**9, []).append(one)
    ids = {
        tail: ones[0]["message_id"]
        for tail, ones in heard.items()
        if len({one["message_id"] for one in ones}) == 1 and min(one["at"] for one in ones) <= waited_since
    }
    taken: list[tuple[Row, int]] = []
    for row, one in waiting:
        for tail in (_tail(one["number"]), _tail(one["other"])):
            if tail is None or tail not in doubted or ids.get(tail) != one["message_id"]:
                continue
            at = doubted[tail][2]
            if at - slack < one["at"] < at + window:
                taken.append((row, tail))
                break
    outcomes, receipts = tx.tables.logs["outcome"], tx.tables.logs["receipt"]
    accepted: dict[tuple[Any, ...], list[Any]] = {}
    made = []
    for row, tail in taken:
        for one in (yield from tx.delete([row])):
            segments, epoch, _, of = doubted[tail]
            place = {"chunk_id": of.chunk_id, "pos": of.pos, "segment": of.segment}
            told = {name: one[name] for name in _RECEIPT_FROM_WAITING}
            made.append(receipts.row(**place, **told, source="adopted"))
            accepted.setdefault((*place.values(), one["message_id"]), []).append((segments, epoch, one["at"]))
    rows = []
    for (chunk_id, pos, segment, message_id), ones in accepted.items():
        rows.append(
            outcomes.row(
                lane=lane, chunk_id=chunk_id, pos=pos, segment=segment, segments=min(one[0] for one in ones),
                epoch=min(one[1] for one in ones), status=0, at=min(one[2] for one in ones), rtt_us=0,
                message_id=message_id,
            )
        )  # fmt: skip
    tx.append("outcome", rows)
    return tx.append("receipt", made)


@model("adoption_contested", "count")
def adoption_contested(tx: Transaction, lane: int, waited_since: datetime) -> Result:
    """Count the waiting receipts that might settle a segment in doubt."""
    tails = {tail for tail, _ in _with_tails(tx, lane, _doubts(tx, lane, None, unless_repeated=False))}
    return [
        (
            sum(
                one["at"] <= waited_since and (_tail(one["number"]) in tails or _tail(one["other"]) in tails)
                for _, one in _waiting(tx, lane)
            ),
        )
    ]


@model("orphan", tag="INSERT")
def orphan(tx: Transaction, lane: int, before: datetime, limit: int) -> Waiting:
    """Set aside what has waited for too long."""
    old = sorted((one["at"] for _, one in _waiting(tx, lane) if one["at"] < before))
    last = old[limit] if limit < len(old) else before
    rows = [row for row, one in _waiting(tx, lane) if one["at"] < before and one["at"] <= last]
    gone = yield from tx.delete(rows)
    columns = tx.table("orphan_receipt").shape.columns
    for one in gone:
        yield from tx.insert("orphan_receipt", {name: one[name] for name in columns})
    return len(gone)


def _is_heard(
    tx: Transaction, lane: int, key: tuple[int, int, int], since: datetime, asked: datetime, unknown_is_final: bool
) -> bool:
    chunk_id, pos, segment = key
    return any(
        one.pos == pos
        and one.segment in (segment, 0)
        and one.at >= since - timedelta(hours=1)
        and (one.state in FINAL or (one.state == 7 and unknown_is_final) or (one.source == "query" and one.at >= asked))
        for one in tx.log("receipt").of_chunk.get((lane, chunk_id), ())
    )


@model("unheard", "at", "chunk_id", "pos", "segment", "message_id", "source")
def unheard(
    tx: Transaction,
    lane: int,
    since: datetime,
    until: datetime,
    behind_at: datetime,
    behind_chunk: int,
    behind_pos: int,
    behind_segment: int,
    limit: int,
    asked_since: datetime,
    unknown_is_final: bool,
) -> Result:
    """Accepted segments of which no end is known."""
    behind = behind_at, behind_chunk, behind_pos, behind_segment
    found = []
    for one in tx.log("outcome").of_lane.get(lane, ()):
        place = one.at, one.chunk_id, one.pos, one.segment
        if one.status != 0 or one.message_id is None or not since <= one.at < until or place <= behind:
            continue
        chunk = tx.table("chunk").get(tx, lane, one.chunk_id)
        if chunk is None or _is_heard(tx, lane, place[1:], since, asked_since, unknown_is_final):
            continue
        found.append((*place, one.message_id, chunk["source"]))
    return sorted(found, key=lambda row: row[:4])[:limit]


@model("heard", "chunk_id", "pos", "segment")
def heard(
    tx: Transaction,
    lane: int,
    ids: Sequence[int],
    positions: Sequence[int],
    segments: Sequence[int],
    since: datetime,
    asked_since: datetime,
    unknown_is_final: bool,
) -> Result:
    """Which segments need not be asked for any more."""
    keys = dict.fromkeys(zip(ids, positions, segments, strict=True))
    return [key for key in keys if _is_heard(tx, lane, key, since, asked_since, unknown_is_final)]


@model("add_queried", tag="INSERT")
def add_queried(tx: Transaction, lane: int, *columns: Sequence[Any]) -> Result:
    """Write what the SMSC has said when it was asked."""
    names = ("chunk_id", "at", "pos", "done_at", "segment", "state", "message_id", "err")
    log = tx.tables.logs["receipt"]
    rows = [dict(zip(names, one, strict=True)) for one in zip(*columns, strict=True)]
    return tx.append("receipt", [log.row(**one, lane=lane, source="query") for one in rows])


@model("receipt_rule", "id_rule")
def receipt_rule(tx: Transaction, lane: int) -> Result:
    """Which rule of ids was learnt."""
    habit = tx.table("receipt_habit").get(tx, lane)
    return [] if habit is None else [(habit["id_rule"],)]


@model("learn_receipt_rule", "id_rule", tag="INSERT")
def learn_receipt_rule(tx: Transaction, lane: int, rule: str, now: datetime, instead_of: str) -> Waiting:
    """Keep the rule that was learnt."""
    new = {"id_rule": rule, "learnt_at": now}
    made = yield from upsert(
        tx, "receipt_habit", {"lane": lane, **new}, lambda one: new if one["id_rule"] in ("auto", instead_of) else None
    )
    return [] if made is None else [(rule,)]


@model("keep_receipt_habit", tag="INSERT")
def keep_receipt_habit(
    tx: Transaction, lane: int, delivered_wins: bool, unknown_is_final: bool, deadline_s: float | None
) -> Waiting:
    """Keep what reports have to know."""
    new = {"delivered_wins": delivered_wins, "unknown_is_final": unknown_is_final, "deadline_s": deadline_s}
    yield from upsert(tx, "receipt_habit", {"lane": lane, **new}, lambda one: new)
    return 1


@model("waiting_exist", "exists")
def waiting_exist(tx: Transaction, lane: int) -> Result:
    """Whether any receipt of a lane waits."""
    return [(bool(_waiting(tx, lane)),)]
