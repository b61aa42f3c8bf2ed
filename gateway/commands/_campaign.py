"""What `send` and `demo` share: sending a run to its end under a progress bar, and the report at its end."""

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import click
import msgspec
from msgspec import Struct

from gateway import app
from gateway.dispatch.worker import Worker
from gateway.message import Refusal
from gateway.smpp import status as statuses
from gateway.store import results, runs

REFRESH_S = 0.25
PLAIN_S = 2.0


class Progress:
    """One line that is drawn over on a terminal, and written anew every two seconds elsewhere."""

    def __init__(self, total: int, quiet: bool = False):
        self._total = max(1, total)
        self._started = time.monotonic()
        self._quiet = quiet
        self._is_terminal = sys.stderr.isatty() and not quiet
        self._drawn_at = 0.0
        self._last = (self._started, 0)
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        """Begin to draw."""
        if self._is_terminal:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("[bold]{task.percentage:>3.0f}%"),
                BarColumn(bar_width=30),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state standing."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, workers_lanes: Sequence[Any], done: int) -> None:
        """Draw from the counters in memory: what each carrier has sent, how full its window is, what came back."""
        now = time.monotonic()
        if self._quiet or (not self._is_terminal and now - self._drawn_at < PLAIN_S):
            return
        self._drawn_at = now
        before, was = self._last
        sent = sum(lane.carrier.ledger.submitted for lane in workers_lanes)
        rate = (sent - was) / (now - before) if now > before else 0.0
        self._last = (now, sent)
        states = [0] * 12
        throttled = rejected = uncertain = 0
        for lane in workers_lanes:
            counts = lane.carrier.ledger.counts()
            states = [a + b for a, b in zip(states, counts["receipt_states"], strict=True)]
            throttled += counts["throttled"]
            rejected += counts["rejected"] + counts["refused"]
            uncertain += counts["uncertain"]
        windows = " ".join(
            f"{lane.name} {lane.carrier.in_flight}/{lane.carrier.window_size}"
            if lane.carrier.is_up
            else f"{lane.name} down"
            for lane in workers_lanes
        )
        failed = rejected + sum(states[i] for i in (3, 4, 5, 8))
        text = f"{rate:,.0f}/s  window {windows}  sent {sent:,}  delivered {states[2]:,}  failed {failed:,}"
        text += f"  throttled {throttled:,}" if throttled else ""
        text += f"  uncertain {uncertain:,}" if uncertain else ""
        if self._bar is not None:
            self._bar.update(self._task, completed=min(done, self._total), description=text)
        else:
            click.echo(f"{100 * min(done, self._total) // self._total:>3}%  {text}", err=True)

    def note(self, text: str) -> None:
        """Say something beside the bar."""
        if self._bar is not None:
            self._bar.console.print(text)
        elif not self._quiet:
            click.echo(text, err=True)


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

    A carrier that is down is named once with its reason; the campaign waits for it.
    """
    stop = stop or asyncio.Event()
    told: dict[str, str] = {}
    quiet_since = time.monotonic()
    receipts_before = -1
    async with database.connection() as connection:
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
                if not await runs.open_chunks(connection, run.id):
                    receipts = sum(
                        lane.carrier.ledger.receipts_matched + lane.rescue.matched + lane.rescue.adopted
                        for lane in lanes
                    )
                    if receipts != receipts_before:
                        receipts_before, quiet_since = receipts, time.monotonic()
                    is_idle = all(lane.settlement.is_idle for lane in lanes)
                    accepted = sum(lane.carrier.ledger.accepted for lane in lanes)
                    if is_idle and (receipts >= accepted or time.monotonic() - quiet_since >= wait_receipts_s):
                        progress.show(lanes, run.recipients)
                        return True
                try:
                    await asyncio.wait_for(stop.wait(), REFRESH_S)
                except TimeoutError:
                    pass
    return False


def _trouble(lane: Any) -> str:
    """Why a carrier sends nothing; empty when it does, or has not tried yet."""
    if lane.settlement.is_away or lane.intents.is_away:
        return f"Postgres: {lane.settlement.last_error or lane.intents.last_error}"
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
    """What became of a run; the states add up to the recipients."""

    run: int
    name: str
    recipients: int
    states: dict[str, int]
    reasons: dict[str, int]
    segments: int
    rate_per_s: float | None
    lanes: list[LaneReport]


async def report_of(connection: Any, run: runs.Run) -> RunReport:
    """Count a run in Postgres: what is durable, not what memory says."""
    since = run.created_at - timedelta(days=1)
    names = await runs.lanes(connection)
    counted = await results.states(connection, run.id, since)
    latencies = {latency.lane: latency for latency in await results.latencies(connection, run.id, since)}
    states: dict[str, int] = {}
    for count in counted:
        states[count.state] = states.get(count.state, 0) + count.messages
    queued = run.recipients - sum(states.values())
    if queued > 0:
        states["queued"] = queued
    reasons: dict[str, int] = {}
    for refused in await results.refusals(connection, run.id, since):
        reason = reason_of(refused.status)
        reasons[reason] = reasons.get(reason, 0) + refused.messages
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
    )


def reason_of(status: int) -> str:
    """Name what a message was rejected or refused with."""
    if status < 0:
        return Refusal(status).name.lower() if status in set(Refusal) else str(status)
    return f"{statuses.name(status)} (0x{status:02x})"


def _rate(segments: int, first: datetime, last: datetime) -> float | None:
    seconds = (last - first).total_seconds()
    return round(segments / seconds, 1) if seconds > 0.001 else None


def print_report(report: RunReport, as_json: bool) -> None:
    """Print a report for a person, or as one JSON object."""
    if as_json:
        click.echo(msgspec.json.encode(report))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table(title=f"run {report.run}: {report.name}", title_justify="left")
    table.add_column("")
    columns = [*(lane.carrier for lane in report.lanes), "all"]
    for column in columns:
        table.add_column(column, justify="right")
    for state in _in_order({*report.states, *(state for lane in report.lanes for state in lane.states)}):
        table.add_row(
            state,
            *(f"{lane.states.get(state, 0):,}" for lane in report.lanes),
            f"{report.states.get(state, 0):,}",
        )
    table.add_section()
    table.add_row("messages", *(f"{sum(lane.states.values()):,}" for lane in report.lanes), f"{report.recipients:,}")
    table.add_row("segments", *(f"{lane.segments:,}" for lane in report.lanes), f"{report.segments:,}")
    table.add_row(
        "segments a second",
        *(_number(lane.rate_per_s, 0) for lane in report.lanes),
        _number(report.rate_per_s, 0),
    )
    for title, low, high in (
        ("submit → response p50 / p99, ms", "response_p50_ms", "response_p99_ms"),
        ("submit → receipt p50 / p99, ms", "receipt_p50_ms", "receipt_p99_ms"),
    ):
        table.add_row(
            title,
            *(f"{_number(getattr(lane, low), 1)} / {_number(getattr(lane, high), 1)}" for lane in report.lanes),
            "",
        )
    console.print(table)
    for reason, messages in sorted(report.reasons.items(), key=lambda item: -item[1]):
        console.print(f"  {messages:>9,}  {reason}", highlight=False)


_ORDER = ("delivered", "submitted", "undeliverable", "expired", "rejected", "refused", "uncertain", "queued")


def _in_order(states: set[str]) -> list[str]:
    return sorted(states, key=lambda state: _ORDER.index(state) if state in _ORDER else len(_ORDER))


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
