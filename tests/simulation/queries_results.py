"""What became of a run (sql/results.sql)."""

from datetime import datetime, timedelta
from typing import Any

from tests.simulation.queries import Result, model
from tests.simulation.queries_queue import is_repeated
from tests.simulation.queries_receipts import FINAL
from tests.simulation.tables import Transaction

STATES = (
    "delivered", "submitted", "uncertain", "no_receipt", "unknown", "expired", "undeliverable", "rejected", "rejected",
    "refused",
)  # fmt: skip
# Of a segment: accepted, rejected, refused, in doubt.
ACCEPTED, REJECTED, REFUSED, DOUBTED = range(4)


def _chunks(tx: Transaction, run_id: int) -> list[tuple[int, int]]:
    return sorted((one["lane"], one["id"]) for _, one in tx.table("chunk").group(tx, ("run",), run_id))


# Of a part that was not sent, for another one of its message was rejected.
ABANDONED = -17
# Behind the last place in STATES: of a message nothing but that is known.
NOTHING = len(STATES)


def _answer(status: int) -> int:
    return (
        ACCEPTED
        if status == 0
        else REJECTED
        if status > 0 or status == ABANDONED
        else REFUSED
        if status < -1
        else DOUBTED
    )


class _Segment:
    """What is known of one segment."""

    def __init__(self) -> None:
        self.segments = 0
        self.answer = DOUBTED
        self.is_abandoned = True
        self.accepted_at: datetime | None = None


def _known(tx: Transaction, lane: int, chunk_id: int, since: datetime) -> dict[int, dict[int, _Segment]]:
    """By position and segment; doubt about a whole position goes when each of its segments has its answer."""
    found: dict[int, dict[int, _Segment]] = {}
    for one in tx.log("outcome").of_chunk.get((lane, chunk_id), ()):
        if one.at < since:
            continue
        segment = found.setdefault(one.pos, {}).setdefault(one.segment, _Segment())
        segment.segments = max(segment.segments, one.segments)
        segment.answer = min(segment.answer, _answer(one.status))
        segment.is_abandoned = segment.is_abandoned and one.status == ABANDONED
        if one.status == 0 and (segment.accepted_at is None or one.at < segment.accepted_at):
            segment.accepted_at = one.at
    for segments in found.values():
        if 0 in segments and segments[0].answer == DOUBTED:
            answered = [one for number, one in segments.items() if number > 0 and one.answer < DOUBTED]
            if answered and len(answered) >= max(one.segments for one in answered):
                del segments[0]
    return found


def _received(tx: Transaction, lane: int, chunk_id: int, since: datetime, habit: Any) -> dict[tuple[int, int], int]:
    """The state that counts, by position and segment."""
    best: dict[tuple[int, int], tuple[Any, int]] = {}
    delivered_wins = habit is not None and habit["delivered_wins"]
    unknown_is_final = habit is not None and habit["unknown_is_final"]
    for one in tx.log("receipt").of_chunk.get((lane, chunk_id), ()):
        if one.at < since:
            continue
        is_final = one.state in FINAL or (one.state == 7 and unknown_is_final)
        rank = not (one.state == 2 and delivered_wins), not is_final, one.at
        before = best.get((one.pos, one.segment))
        if before is None or rank < before[0]:
            best[one.pos, one.segment] = rank, one.state
    return {key: state for key, (_, state) in best.items()}


def _judge(segment: _Segment, state: int | None, habit: Any, now: datetime) -> int | None:
    """The place in STATES; None: it says nothing of its message."""
    if segment.is_abandoned:
        return None
    if state == 2:
        return 0
    if state == 7 and habit is not None and habit["unknown_is_final"]:
        return 4
    if state == 3:
        return 5
    if state in (4, 5, 9):
        return 6
    if state == 8:
        return 7
    deadline_s = None if habit is None else habit["deadline_s"]
    if segment.answer == ACCEPTED and deadline_s is not None and segment.accepted_at is not None:
        if segment.accepted_at + timedelta(seconds=deadline_s) <= now:
            return 3
    if state is not None or segment.answer == ACCEPTED:
        return 1
    return {DOUBTED: 2, REJECTED: 8}.get(segment.answer, 9)


def _message(policy: str, judged: list[tuple[int, int | None]]) -> tuple[int, bool]:
    """The place in STATES of a message, of what its segments say; whether it was begun and then rejected."""
    known = [worst for _, worst in judged if worst is not None]
    if not known:
        return (NOTHING if policy in ("all", "any") else 8), False
    open_ = [worst for worst in known if worst in (1, 2)]
    is_begun = policy in ("all", "worst") and any(worst not in (2, 8, 9) for worst in known)
    if policy == "all":
        worst = max(open_ or known)
    elif policy == "any":
        worst = 0 if min(known) == 0 else max(open_) if open_ else min(known)
    elif policy == "last":
        last = max(judged, key=lambda one: one[0])[1]
        worst = 8 if last is None else last
    else:
        worst = max(known)
    return worst, worst == 8 and is_begun


@model("message_states", "lane", "state", "messages", "segments")
def message_states(tx: Transaction, run_id: int, since: datetime, now: datetime) -> Result:
    """Count a run's messages by state and lane."""
    run = tx.table("run").get(tx, run_id)
    counted: dict[tuple[int, int, bool], list[int]] = {}
    for lane, chunk_id in _chunks(tx, run_id):
        habit = tx.table("receipt_habit").get(tx, lane)
        received = _received(tx, lane, chunk_id, since, habit)
        for pos, segments in _known(tx, lane, chunk_id, since).items():
            if run is None or is_repeated(tx, lane, chunk_id, pos):
                continue
            judged: list[tuple[int, int | None]] = []
            for number, one in segments.items():
                # A receipt of the whole position stands for each of its segments, beside that one's own.
                states = [received[pos, of] for of in sorted({number, 0}) if (pos, of) in received] or [None]
                judged += [(number, _judge(one, state, habit, now)) for state in states]
            count = counted.setdefault((lane, *_message(run["receipt_policy"], judged)), [0, 0])
            count[0] += 1
            count[1] += sum(worst is not None and worst < 9 for _, worst in judged)
    names = [*STATES, None]
    return [(key[0], "partial" if key[2] else names[key[1]], *counted[key]) for key in sorted(counted)]


@model("late_conflicts", "count")
def late_conflicts(tx: Transaction, run_id: int, since: datetime) -> Result:
    """Count segments of which two different ends were told."""
    total = 0
    for key in _chunks(tx, run_id):
        ends: dict[tuple[int, int], set[int]] = {}
        for one in tx.log("receipt").of_chunk.get(key, ()):
            if one.at >= since and one.state in FINAL:
                ends.setdefault((one.pos, one.segment), set()).add(one.state)
        total += sum(len(states) > 1 for states in ends.values())
    return [(total,)]


@model("refusals", "lane", "status", "messages", "needed")
def refusals(tx: Transaction, run_id: int, since: datetime) -> Result:
    """Count what messages were rejected or refused with."""
    counted: dict[tuple[int, int], tuple[set[tuple[int, int]], list[int]]] = {}
    for lane, chunk_id in _chunks(tx, run_id):
        for one in tx.log("outcome").of_chunk.get((lane, chunk_id), ()):
            if one.status in (0, -1, ABANDONED) or one.at < since or is_repeated(tx, lane, chunk_id, one.pos):
                continue
            messages, needed = counted.setdefault((lane, one.status), (set(), [0]))
            messages.add((chunk_id, one.pos))
            if one.status == -11:
                needed.append(one.segments)
    return [(*key, len(counted[key][0]), max(counted[key][1])) for key in sorted(counted)]


@model("unreceipted", "count")
def unreceipted(tx: Transaction, run_id: int, since: datetime) -> Result:
    """Count accepted segments without a receipt."""
    total = 0
    for key in _chunks(tx, run_id):
        heard = {(one.pos, one.segment) for one in tx.log("receipt").of_chunk.get(key, ()) if one.at >= since}
        total += sum(
            one.status == 0 and one.at >= since and (one.pos, one.segment) not in heard
            for one in tx.log("outcome").of_chunk.get(key, ())
        )
    return [(total,)]


def _percentile(values: list[Any], percent: int) -> Any:
    """percentile_disc: the first value at or above that share of them."""
    values = sorted(values)
    return values[max(0, -(-len(values) * percent // 100) - 1)] if values else None


@model(
    "latencies", "lane", "response_p50_us", "response_p99_us", "receipt_p50_us", "receipt_p99_us", "first_at",
    "last_at", "segments",
)  # fmt: skip
def latencies(tx: Transaction, run_id: int, since: datetime) -> Result:
    """Median and 99th percentile of submit to response and to the first receipt, in microseconds."""
    by_lane: dict[int, list[tuple[Any, datetime | None]]] = {}
    for key in _chunks(tx, run_id):
        first: dict[tuple[int, int], datetime] = {}
        for one in tx.log("receipt").of_chunk.get(key, ()):
            if one.at >= since:
                first[one.pos, one.segment] = min(one.at, first.get((one.pos, one.segment), one.at))
        for one in tx.log("outcome").of_chunk.get(key, ()):
            if one.status == 0 and one.rtt_us > 0 and one.at >= since:
                by_lane.setdefault(one.lane, []).append((one, first.get((one.pos, one.segment))))
    found = []
    for lane, pairs in sorted(by_lane.items()):
        responses = [one.rtt_us for one, _ in pairs]
        receipts = [(at - one.at) / timedelta(microseconds=1) + one.rtt_us for one, at in pairs if at is not None]
        measured = [_percentile(values, percent) for values in (responses, receipts) for percent in (50, 99)]
        begun = min(one.at - timedelta(microseconds=one.rtt_us) for one, _ in pairs)
        found.append((lane, *measured, begun, max(one.at for one, _ in pairs), len(pairs)))
    return found
