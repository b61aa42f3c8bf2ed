"""What `send` and `demo` share: sending a run to its end under a progress bar, and the report at its end."""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import click
import msgspec
from msgspec import Struct
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from gateway import app, logs
from gateway.campaign.admission import caps_of
from gateway.commands._options import plain, say
from gateway.dispatch.lane import Lane
from gateway.dispatch.worker import Worker
from gateway.errors import StoreError
from gateway.gate import gate_of
from gateway.message import FINAL_RECEIPT_STATES, MessageClass, Refusal
from gateway.reasons import WORDS, word_of
from gateway.smpp import status as statuses
from gateway.store import audit, considered, postgres, results, runs

REFRESH_S = 0.25
PLAIN_S = 2.0
QUERY_S = 10.0
DELIVERED = 2
# What a reason means, for a person.
MEANINGS = {
    "not_encodable": "a character that no alphabet of the carrier has",
    "too_many_parts": "longer than the carrier's max_parts",
    "missing_field": "a field of the text is empty and has no default",
    "expired": "not sent before the run's time was over",
    "empty": "nothing is left of the text",
    "invalid_tlv": "a field that the carrier wants as a TLV is too long for it, or no number",
    "cancelled": "the run was cancelled before they left",
    "no_route": "no route takes this number",
}


class Progress:
    """Three lines that are drawn over on a terminal; one line, written anew every two seconds, elsewhere.

    78%  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╸━━━━━━━━━━━  0:00:07
    31,250/s  sent 78,125 segments  delivered 70,990  failed 2,110
    window  north 200/200  south 31/400
    """

    def __init__(self, total: int, quiet: bool = False):
        self._total = max(1, total)
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._drawn_at = -PLAIN_S
        self._before = (time.monotonic(), 0)
        self._lines = Text(no_wrap=True, overflow="ellipsis")
        self._bar: Bar | None = None
        self._live: Live | None = None

    def __enter__(self) -> "Progress":
        """Begin to draw."""
        if self._console.is_terminal and not self._console.is_dumb_terminal and not self._quiet:
            self._bar = Bar(
                TextColumn("{task.percentage:>3.0f}%"), BarColumn(bar_width=None), TimeElapsedColumn(), expand=True
            )
            self._bar.add_task("", total=self._total)
            self._live = Live(Group(self._bar, self._lines), console=self._console, refresh_per_second=4)
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state standing."""
        if self._live is not None:
            self._live.stop()

    def show(self, lanes: Sequence[Lane], done: int, is_last: bool = False) -> None:
        """Draw from the counters in memory: what each carrier has sent, how full its window is, what came back."""
        now = time.monotonic()
        if self._quiet or (self._live is None and now - self._drawn_at < PLAIN_S and not is_last):
            return
        self._drawn_at = now
        at, was = self._before
        ledgers = [lane.carrier.ledger for lane in lanes]
        sent = sum(ledger.submitted for ledger in ledgers)
        rate = (sent - was) / (now - at) if now > at else 0.0
        self._before = (now, sent)
        counts = [ledger.counts() for ledger in ledgers]
        states = [sum(each) for each in zip(*(count["receipt_states"] for count in counts), strict=True)] or [0] * 12
        failed = sum(count["rejected"] + count["refused"] for count in counts)
        failed += sum(states[state] for state in FINAL_RECEIPT_STATES if state != DELIVERED)
        parts = [f"{rate:,.0f}/s", f"sent {sent:,} segments", f"delivered {states[DELIVERED]:,}", f"failed {failed:,}"]
        for name in ("throttled", "uncertain"):
            if count := sum(each[name] for each in counts):
                parts.append(f"{name} {count:,}")
        windows = [
            f"{lane.name} " + (f"{lane.carrier.in_flight}/{lane.carrier.window_size}" if lane.carrier.is_up else "down")
            for lane in lanes
        ]
        done = min(done, self._total)
        if self._live is None or self._bar is None:
            say(f"{100 * done // self._total:>3}%  {'  '.join(parts)}  window {' '.join(windows)}")
            return
        self._lines.plain = f"{'  '.join(parts)}\nwindow  {'  '.join(windows)}"
        self._bar.update(self._bar.task_ids[0], completed=done)

    def note(self, text: str) -> None:
        """Say something beside the bar."""
        if self._live is not None:
            self._console.print(plain(text))
        elif not self._quiet:
            say(plain(text))


async def send_to_end(
    database: app.Database,
    worker: Worker,
    run: runs.Run,
    *,
    wait_receipts_s: float,
    quiet: bool = False,
    stop: asyncio.Event | None = None,
) -> bool:
    """Wait until every chunk of a run is closed and its receipts are in, or none came for so long; -> whether it ended.

    A carrier that is down, or a Postgres that is away, is named once with its reason; the campaign waits for it.
    """
    stop = stop or asyncio.Event()
    told: dict[str, str] = {}
    quiet_since = time.monotonic()
    receipts_before = -1
    connections = database.connections()
    try:
        with Progress(run.recipients, quiet) as progress:
            while not stop.is_set():
                if worker.failed is not None and worker.failed.done():
                    worker.failed.result()
                lanes = worker.lanes
                progress.show(lanes, sum(lane.carrier.backlog.handed_out for lane in lanes))
                for lane in lanes:
                    trouble = _trouble(lane)
                    if trouble and told.get(lane.name) != trouble:
                        progress.note(f"waiting for {lane.name}: {trouble}")
                    told[lane.name] = trouble
                if await _is_done(connections, run):
                    asking = [lane for lane in lanes if lane.carrier.settings.registered_delivery]
                    receipts = sum(_receipts(lane) for lane in asking)
                    if receipts != receipts_before:
                        receipts_before, quiet_since = receipts, time.monotonic()
                    is_idle = all(lane.settlement.is_idle for lane in lanes)
                    accepted = sum(lane.carrier.ledger.accepted for lane in asking)
                    if is_idle and (receipts >= accepted or time.monotonic() - quiet_since >= wait_receipts_s):
                        progress.show(lanes, run.recipients, is_last=True)
                        return True
                try:
                    await asyncio.wait_for(stop.wait(), REFRESH_S)
                except TimeoutError:
                    pass
    finally:
        await connections.close()
    return False


async def _is_done(connections: postgres.Connections, run: runs.Run) -> bool:
    """Whether no chunk of the run is open; False while Postgres is away, which the carriers' trouble tells."""
    try:
        async with connections.take(QUERY_S, "progress") as connection:
            return not await runs.open_chunks(connection, run.id)
    except StoreError as error:
        if not error.retryable:
            raise
        return False


def _receipts(lane: Lane) -> int:
    return lane.receipts_matched


def _trouble(lane: Lane) -> str:
    """Why a carrier sends nothing; empty when it does, or has not tried yet."""
    if away := lane.settlement.last_error or lane.intents.last_error or lane.dispatcher.last_error:
        return f"Postgres: {away}"
    if lane.carrier.is_up:
        return ""
    return next((bind.last_error for bind in lane.carrier.binds if bind.last_error), "")


class LaneReport(Struct, frozen=True, kw_only=True):
    """One carrier's part of a run."""

    carrier: str
    states: dict[str, int]
    segments: int
    rate_per_s: float | None
    response_p50_ms: float | None
    response_p99_ms: float | None
    receipt_p50_ms: float | None
    receipt_p99_ms: float | None


class RunReport(Struct, frozen=True, kw_only=True):
    """What became of a run; the states add up to the recipients.

    parts_needed  by the longest message that has too many of them; 0: none has
    skipped       people of the audience who are in no chunk, by reason: they are none of the recipients
    bypass        why caps were passed over (CP-6)
    data          by which versions of zones and packs was decided (QH-12)
    cancelled     when and by whom; empty: it was not
    """

    run: int
    name: str
    recipients: int
    states: dict[str, int]
    reasons: dict[str, int]
    segments: int
    rate_per_s: float | None
    lanes: list[LaneReport]
    late_conflicts: int = 0
    parts_needed: int = 0
    skipped: dict[str, int] = {}
    bypass: str = ""
    data: list[str] = []
    cancelled: str = ""


async def report_of(connection: postgres.Connection, run: runs.Run) -> RunReport:
    """Count a run in Postgres: what is durable, not what memory says."""
    since = run.created_at - timedelta(days=1)
    names = await runs.lanes(connection)
    counted = await results.states(connection, run.id, since, datetime.now(UTC))
    latencies = {latency.lane: latency for latency in await results.latencies(connection, run.id, since)}
    states: dict[str, int] = {}
    for count in counted:
        states[count.state] = states.get(count.state, 0) + count.messages
    queued = run.recipients - sum(states.values())
    if queued > 0:
        states["queued"] = queued
    reasons: dict[str, int] = {}
    needed = 0
    gate = gate_of(run.gate)
    caps = [] if gate is None else [cap.words for cap in caps_of(gate, MessageClass(run.class_))]
    for refused in await results.refusals(connection, run.id, since):
        reason = reason_of(refused.status, caps)
        reasons[reason] = reasons.get(reason, 0) + refused.messages
        needed = max(needed, refused.needed)
    lanes = []
    for lane in run.lanes:
        of_lane = [count for count in counted if count.lane == lane]
        latency = latencies.get(lane)
        lanes.append(
            LaneReport(
                carrier=names.get(lane, str(lane)),
                states={count.state: count.messages for count in of_lane},
                segments=sum(count.segments for count in of_lane),
                rate_per_s=_rate(latency.segments, latency.first_at, latency.last_at) if latency else None,
                response_p50_ms=latency.response_p50_ms if latency else None,
                response_p99_ms=latency.response_p99_ms if latency else None,
                receipt_p50_ms=latency.receipt_p50_ms if latency else None,
                receipt_p99_ms=latency.receipt_p99_ms if latency else None,
            )
        )
    rate = None
    if latencies:
        first = min(latency.first_at for latency in latencies.values())
        last = max(latency.last_at for latency in latencies.values())
        rate = _rate(sum(latency.segments for latency in latencies.values()), first, last)
    return RunReport(
        run=run.id,
        name=run.name,
        recipients=run.recipients,
        states=states,
        reasons=reasons,
        segments=sum(count.segments for count in counted),
        rate_per_s=rate,
        lanes=lanes,
        late_conflicts=await results.late_conflicts(connection, run.id, since),
        parts_needed=needed,
        skipped=await _skipped(connection, run.id),
        bypass="" if gate is None else gate.bypass,
        data=[] if gate is None else [one.reason for one in await audit.data_of(connection, run.id, run.created_at)],
        cancelled=cancelled_of(run),
    )


def cancelled_of(run: runs.Run) -> str:
    """When a run was cancelled and by whom, in words; empty: it was not."""
    return "" if run.cancelled_at is None else f"{run.cancelled_at:%Y-%m-%d %H:%M:%S} UTC by {run.cancelled_by}"


async def _skipped(connection: postgres.Connection, run_id: int) -> dict[str, int]:
    """Count who is in no chunk, by the word for it: what a template has said stands there as it said it."""
    found: dict[str, int] = {}
    words = await considered.words_of_skipped(connection, run_id)
    for reason, number in (await considered.skipped(connection, run_id)).items():
        found.update(words.get(reason) or {word_of(reason): number})
    return found


def reason_of(status: int, caps: Sequence[str] = ()) -> str:
    """Name what a message was rejected or refused with. caps: of its run, as they are written."""
    if status < 0:
        if status in set(Refusal):
            return Refusal(status).name.lower()
        word = word_of(status, caps)
        return str(status) if word.startswith("unknown") and status not in WORDS else word
    return f"{statuses.name(status)} (0x{status:02x})"


def _rate(segments: int, first: datetime, last: datetime) -> float | None:
    seconds = (last - first).total_seconds()
    return round(segments / seconds, 1) if seconds > 0.001 else None


def print_report(report: RunReport, as_json: bool) -> None:
    """Print a report for a person, or as one JSON object; behind all that was said before it."""
    if (sink := logs.current()) is not None:
        sink.flush()
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    # Through a pipe a line is as long as it is.
    width = Console().width if sys.stdout is not None and sys.stdout.isatty() else 10_000
    click.echo(report_as_text(report, width))


def report_as_text(report: RunReport, width: int) -> str:
    """Lay a report out: a column for each carrier, in as many tables as the width asks for."""
    states = _in_order({*report.states, *(state for lane in report.lanes for state in lane.states)})
    titles = [
        "", *states, "messages", "segments", "segments/s", "response ms, p50 / p99", "receipt ms, p50 / p99",
    ]  # fmt: skip
    columns = [
        [
            lane.carrier,
            # What is queued is known for the whole run alone.
            *("" if state == "queued" else f"{lane.states.get(state, 0):,}" for state in states),
            f"{sum(lane.states.values()):,}",
            f"{lane.segments:,}",
            _number(lane.rate_per_s, 0),
            f"{_number(lane.response_p50_ms, 1)} / {_number(lane.response_p99_ms, 1)}",
            f"{_number(lane.receipt_p50_ms, 1)} / {_number(lane.receipt_p99_ms, 1)}",
        ]
        for lane in report.lanes
    ]
    total = ["all", *(f"{report.states.get(state, 0):,}" for state in states), f"{report.recipients:,}"]
    columns.append([*total, f"{report.segments:,}", _number(report.rate_per_s, 0), "", ""])
    out = ["", f"run {report.run}: {plain(report.name)}"]
    if report.cancelled:
        out.append(f"cancelled at {plain(report.cancelled)}")
    first = max(map(len, titles))
    while columns:
        widths = [max(map(len, column)) for column in columns]
        fitting = 1
        while fitting < len(columns) and first + sum(each + 3 for each in widths[: fitting + 1]) <= width:
            fitting += 1
        out.append("")
        for row, title in enumerate(titles):
            cells = [f"{column[row]:>{widths[at]}}" for at, column in enumerate(columns[:fitting])]
            if not "".join(cells).strip():
                continue
            out.append(f"{title:<{first}}   {'   '.join(cells)}".rstrip())
        columns = columns[fitting:]
    if report.reasons:
        out += ["", "rejected and refused"]
        for reason, messages in sorted(report.reasons.items(), key=lambda item: -item[1]):
            meaning = MEANINGS.get(reason)
            if reason == "too_many_parts" and report.parts_needed:
                meaning = f"{meaning}; the longest needs {report.parts_needed}"
            out.append(f"{messages:>9,}  {reason}" + (f": {meaning}" if meaning else ""))
    if report.skipped:
        out += ["", "of the audience and not queued"]
        out += [f"{people:>9,}  {reason}" for reason, people in sorted(report.skipped.items(), key=lambda one: -one[1])]
    if report.bypass:
        out += ["", f"caps that are no law were passed over: {plain(report.bypass)}"]
    if report.data:
        out += ["", *(f"decided by {each}" for each in report.data)]
    if report.late_conflicts:
        out += ["", f"{report.late_conflicts:,} segments of which the carrier told two different ends"]
    return "\n".join(out)


_ORDER = (
    "delivered",
    "submitted",
    "no_receipt",
    "partial",
    "unknown",
    "undeliverable",
    "expired",
    "rejected",
    "refused",
    "uncertain",
    "queued",
)


def _in_order(states: set[str]) -> list[str]:
    return sorted(states, key=lambda state: _ORDER.index(state) if state in _ORDER else len(_ORDER))


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
