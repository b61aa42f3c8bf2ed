"""What Prometheus reads: every figure of a worker, made from its counters when somebody asks and never per message.

    counters in C ─ families() ─► text ─► GET /metrics on [worker] metrics_listen

Durations are exported at powers of two of a microsecond, where the compiled histograms have borders, so that their
counts are exact. What no counter holds (how full a window is, what holds a bind back) is looked at ten times a second.
What waits in Postgres is asked for at most every 5 s, and only while somebody reads.
Not here: what the figures mean for alarms (examples/prometheus/alerts.yml, smpp).
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from _fastpath.histogram import Histogram
from gateway import logs
from gateway.config import endpoint
from gateway.dispatch.lane import Lane
from gateway.dispatch.stops import Feed
from gateway.dispatch.worker import Worker
from gateway.errors import ConfigError, StoreError
from gateway.message import RECEIPT_STATES, MessageClass
from gateway.smpp import status as statuses
from gateway.smpp.bind import Phase
from gateway.store.enrolments import Lag

log = logging.getLogger(__name__)

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily

LOOK_S = 0.1
QUEUE_AGE_S = 5.0
REQUEST_OCTETS = 8192
REQUEST_S = 5.0
# 2**n microseconds: 0.26 ms to 67 s for answers; 1 ms to 12.7 days for receipts.
RESPONSE_POWERS = (8, 26)
RECEIPT_POWERS = (10, 40)
WINDOW_SHARES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
LENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
BOUNDS = ("window", "rate", "limit", "queue", "intent", "lease", "feed", "carrier")
GUARDS = ("hold", "disk", "memory", "clock", "history", "transactions")
TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Metric(Struct, frozen=True):
    """One row of the catalogue; `name` as it is asked for, without the `_total` or `_bucket` that Prometheus adds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ("carrier",)

    def family(self) -> Family:
        """Make it empty."""
        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}
        made: Family = kinds[self.kind](self.name, self.help, labels=self.labels)
        return made

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which Prometheus keeps it."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (f"{self.name}_total",) if self.kind == "counter" else (self.name,)


# The dashboard and the alerts are held to this table by a test.
CATALOGUE: tuple[Metric, ...] = (
    Metric("sluice_submits", "counter", "submit_sm written to the SMSC"),
    Metric("sluice_responses", "counter", "Responses to submit_sm"),
    Metric("sluice_accepted", "counter", "Segments that the SMSC took"),
    Metric("sluice_throttled", "counter", "Responses that asked us to slow down"),
    Metric("sluice_retried", "counter", "Segments to be tried again after a temporary error"),
    Metric("sluice_rejected", "counter", "Segments that ended with an error"),
    Metric("sluice_refused", "counter", "Messages that we did not send: expired, too long, not encodable"),
    Metric("sluice_suppressed", "counter", "Messages of these that were for somebody who has said STOP"),
    Metric("sluice_stops_heard", "counter", "STOPs of handsets"),
    Metric("sluice_stops_age_seconds", "gauge", "Since STOPs were read; from 1 s on promotional messages wait", ()),
    Metric("sluice_stops_numbers", "gauge", "Numbers that have said STOP, those of single senders too", ()),
    Metric("sluice_uncertain", "counter", "Segments whose octets left and whose answer never came"),
    Metric("sluice_errors", "counter", "Responses that were no acceptance, by command_status", ("carrier", "status")),
    Metric("sluice_unknown_responses", "counter", "Responses to no request of ours, or long after its time"),
    Metric("sluice_transliterated", "counter", "Messages in which characters were replaced to save parts"),
    Metric("sluice_segments_saved", "counter", "Parts that this saved"),
    Metric("sluice_octets_in", "counter", "Octets read"),
    Metric("sluice_octets_out", "counter", "Octets written"),
    Metric("sluice_receipts", "counter", "Receipts, by what they say", ("carrier", "state")),
    Metric("sluice_receipts_matched", "counter", "Receipts whose segment was found, at once or later"),
    Metric("sluice_receipts_parked", "counter", "Receipts that came before their response, or for a forgotten id"),
    Metric("sluice_receipt_rule_strays", "counter", "Receipts whose id is not by the rule learnt for the account"),
    Metric("sluice_receipt_rule_changes", "counter", "How often another rule of ids was learnt in place of one"),
    Metric("sluice_receipt_median_seconds", "gauge", "Median from submit_sm to receipt, of those matched at once"),
    Metric("sluice_nameless", "counter", "Segments accepted without a message_id"),
    Metric("sluice_response_seconds", "histogram", "From submit_sm to its response"),
    Metric("sluice_receipt_seconds", "histogram", "From submit_sm to its receipt, of those matched at once"),
    Metric("sluice_parts", "histogram", "Segments of a message"),
    Metric("sluice_window_use", "histogram", "Share of the window in use, looked at each 0.1 s", ("carrier", "bind")),
    Metric("sluice_bound_by_seconds", "counter", "Time in which this held the bind back", ("carrier", "bind", "by")),
    Metric("sluice_bind_up", "gauge", "1 while bound", ("carrier", "bind")),
    Metric("sluice_bind_phase", "gauge", "1 for the phase the bind is in", ("carrier", "bind", "phase")),
    Metric("sluice_bind_alarm", "gauge", "1 while a person should look at the bind", ("carrier", "bind")),
    Metric("sluice_binds_made", "counter", "Successful binds", ("carrier", "bind")),
    Metric("sluice_in_flight", "gauge", "Requests unanswered", ("carrier", "bind")),
    Metric("sluice_window", "gauge", "Requests that may be unanswered", ("carrier", "bind")),
    Metric("sluice_carrier_up", "gauge", "1 while a bind that may submit is bound"),
    Metric("sluice_carrier_alarm", "gauge", "1 while a person should look at the account: half-dead, no receiver"),
    Metric("sluice_carrier_paused", "gauge", "1 while the account is paused by order"),
    Metric("sluice_rate_per_second", "gauge", "Segments a second, as the watermarks reckon with it"),
    Metric("sluice_limit_per_second", "gauge", "PDUs a second allowed; 0 = no limit"),
    Metric("sluice_backlog", "gauge", "Messages claimed and not begun"),
    Metric("sluice_held_chunks", "gauge", "Chunks that wait for a person"),
    Metric("sluice_queue_messages", "gauge", "Messages that wait in Postgres", ("carrier", "class")),
    Metric("sluice_queue_age_seconds", "gauge", "How long the oldest chunk of the queue is due", ("carrier", "class")),
    Metric("sluice_campaign_waiting", "gauge", "Of a campaign, people due, causes, texts", ("campaign", "what")),
    Metric("sluice_campaign_age_seconds", "gauge", "How long the oldest of it waits", ("campaign", "what")),
    Metric("sluice_guard", "gauge", "1 while a guard stops something: hold, disk, memory, clock, history", ("guard",)),
    Metric("sluice_resident_bytes", "gauge", "Memory of the worker that is resident", ()),
    Metric("sluice_clock_jumps", "counter", "Jumps of the wall clock by more than 5 s", ()),
    Metric("sluice_log_dropped", "counter", "Lines of the log that nobody read, or that the disk had no room for", ()),
    Metric("sluice_postgres_trouble", "gauge", "1 while Postgres does not answer this carrier's loops"),
)  # fmt: skip
METRIC_BY_NAME = {metric.name: metric for metric in CATALOGUE}


class Watch:
    """What has no counter, looked at ten times a second: by bind, how full its window is and what holds it back."""

    def __init__(self) -> None:
        self.window_counts: dict[tuple[str, str], list[int]] = {}
        self.window_sums: dict[tuple[str, str], float] = {}
        self.bound_s: dict[tuple[str, str, str], float] = {}

    def look(self, lanes: Iterable[Lane], seconds: float) -> None:
        """Look once; the last look was so long ago."""
        for lane in lanes:
            for bind in lane.carrier.reports():
                key = (lane.name, bind.name)
                use = bind.in_flight / bind.window if bind.window else 0.0
                counts = self.window_counts.setdefault(key, [0] * (len(WINDOW_SHARES) + 1))
                counts[sum(use > share for share in WINDOW_SHARES)] += 1
                self.window_sums[key] = self.window_sums.get(key, 0.0) + use
                by = (*key, bind.bound_by)
                self.bound_s[by] = self.bound_s.get(by, 0.0) + seconds


class Queued(Struct, frozen=True):
    """What waits in Postgres: (carrier, class) -> messages, and seconds that the oldest is due.

    campaigns  (campaign, what) -> how much, and seconds that the oldest waits
    """

    messages: dict[tuple[str, str], int] = {}
    age_s: dict[tuple[str, str], float] = {}
    campaigns: dict[tuple[str, str], tuple[int, float]] = {}


def families(
    lanes: Iterable[Lane],
    watch: Watch,
    queued: Queued,
    guards: Mapping[str, Any] | None = None,
    feed: Feed | None = None,
    log_dropped: int = 0,
) -> list[Family]:
    """Read every counter; on the loop, about 1 ms a carrier with four binds (10 of them: 12 ms, two busy cores)."""
    made = {metric.name: metric.family() for metric in CATALOGUE}

    def put(name: str, labels: Iterable[str], value: float) -> None:
        family = made[f"sluice_{name}"]
        assert not isinstance(family, HistogramMetricFamily)
        family.add_metric(list(labels), value)

    def put_histogram(name: str, labels: Iterable[str], buckets: list[tuple[str, float]], total: float) -> None:
        family = made[f"sluice_{name}"]
        assert isinstance(family, HistogramMetricFamily)
        family.add_metric(list(labels), buckets, total)

    for lane in lanes:
        carrier, ledger, name = lane.carrier, lane.carrier.ledger, (lane.name,)
        counts = ledger.counts()
        for metric, counter in (
            ("submits", "submitted"), ("responses", "responses"), ("accepted", "accepted"), ("throttled", "throttled"),
            ("retried", "retried"), ("rejected", "rejected"), ("refused", "refused"), ("uncertain", "uncertain"),
            ("unknown_responses", "unknown_responses"), ("octets_in", "octets_in"), ("octets_out", "octets_out"),
            ("receipts_parked", "receipts_waiting"), ("transliterated", "transliterated"),
            ("segments_saved", "segments_saved"), ("receipt_rule_strays", "receipt_rule_strays"),
            ("nameless", "nameless"),
        ):  # fmt: skip
            put(metric, name, counts[counter])
        put("suppressed", name, ledger.suppressed)
        put("stops_heard", name, lane.opt_outs.stopped)
        put("receipt_rule_changes", name, ledger.recall.changes)
        median_us = ledger.submit_to_receipt.quantile(0.5)
        if median_us is not None:
            put("receipt_median_seconds", name, median_us / 1e6)
        put("receipts_matched", name, lane.receipts_matched)
        for value, count in ledger.refusals().items():
            put("errors", (*name, statuses.name(value) if value < statuses.TABLE_OCTETS else "above the table"), count)
        for state, count in enumerate(counts["receipt_states"]):
            if count:
                put("receipts", (*name, RECEIPT_STATES.get(state, "other")), count)
        put_histogram("response_seconds", name, *_durations(ledger.submit_to_response, RESPONSE_POWERS))
        put_histogram("receipt_seconds", name, *_durations(ledger.submit_to_receipt, RECEIPT_POWERS))
        lengths = ledger.messages_by_segments()
        put_histogram(
            "parts",
            name,
            [(f"{most:g}", sum(n for parts, n in lengths.items() if parts <= most)) for most in (*LENGTHS, math.inf)]
            if lengths
            else [("+Inf", 0)],
            sum(parts * n for parts, n in lengths.items()),
        )
        put("carrier_up", name, carrier.is_up)
        put("carrier_alarm", name, bool(carrier.alarm))
        put("carrier_paused", name, carrier.backlog.paused)
        put("rate_per_second", name, lane.intents.rate_per_s)
        put("limit_per_second", name, carrier.settings.tps)
        put("backlog", name, carrier.backlog.unsent)
        put("held_chunks", name, lane.dispatcher.held)
        trouble = lane.settlement.last_error or lane.intents.last_error or lane.dispatcher.last_error
        put("postgres_trouble", name, bool(trouble))
        for bind, report in zip(carrier.binds, carrier.reports(), strict=True):
            labels = (*name, bind.name)
            put("bind_up", labels, bind.is_bound)
            for phase in Phase:
                put("bind_phase", (*labels, phase.value), phase is bind.phase)
            put("bind_alarm", labels, bool(report.alarm))
            put("binds_made", labels, bind.binds)
            put("in_flight", labels, report.in_flight)
            put("window", labels, report.window)
    if feed is not None:
        put("stops_age_seconds", (), feed.age_s)
        put("stops_numbers", (), feed.numbers)
    for key, shares in watch.window_counts.items():
        running, buckets = 0, []
        for share, count in zip((*WINDOW_SHARES, math.inf), shares, strict=True):
            running += count
            buckets.append((_edge(share), float(running)))
        put_histogram("window_use", key, buckets, watch.window_sums[key])
    for by, seconds in watch.bound_s.items():
        put("bound_by_seconds", by, seconds)
    put("log_dropped", (), log_dropped)
    if guards is not None:
        for guard in GUARDS:
            put("guard", (guard,), guard in guards["alarms"])
        put("resident_bytes", (), guards["resident"])
        put("clock_jumps", (), guards["clock_jumps"])
    for waiting, count in queued.messages.items():
        put("queue_messages", waiting, count)
        put("queue_age_seconds", waiting, queued.age_s[waiting])
    for of, (count, age_s) in queued.campaigns.items():
        put("campaign_waiting", of, count)
        put("campaign_age_seconds", of, age_s)
    return list(made.values())


def _edge(value: float) -> str:
    return "+Inf" if math.isinf(value) else f"{value:.9g}"


def _durations(histogram: Histogram, powers: tuple[int, int]) -> tuple[list[tuple[str, float]], float]:
    """Buckets and sum, in seconds."""
    edges = [2.0**power / 1e6 for power in range(powers[0], powers[1] + 1)]
    counts = histogram.below_powers(*powers)
    buckets = [(_edge(edge), float(count)) for edge, count in zip(edges, counts, strict=True)]
    return [*buckets, ("+Inf", float(histogram.total))], histogram.sum_us / 1e6


class _Made(Collector):
    """Families that are made already, as generate_latest wants them."""

    def __init__(self, made: list[Family]):
        self._made = made

    def collect(self) -> Iterable[Any]:
        return self._made


class Metrics:
    """The door: one look at a time, however many ask.

    clock      monotonic seconds
    queued     asks Postgres what waits; raises StoreError
    guards     what they report; None: nobody guards
    feed       of STOPs
    """

    def __init__(
        self,
        lanes: Callable[[], Iterable[Lane]],
        clock: Callable[[], float],
        queued: Callable[[], Awaitable[Queued]],
        guards: Callable[[], Mapping[str, Any] | None] = lambda: None,
        feed: Feed | None = None,
    ):
        self._lanes, self._clock, self._ask = lanes, clock, queued
        self._guards, self._feed = guards, feed
        self._queued = Queued()
        self._asked_at = -math.inf
        self._turn = asyncio.Lock()
        self.watch = Watch()

    async def text(self) -> bytes:
        """Make the text of one scrape. The figures are of one moment; they are put into words beside the loop."""
        async with self._turn:
            now = self._clock()
            if now - self._asked_at >= QUEUE_AGE_S:
                self._asked_at = now
                # Postgres away is told by sluice_postgres_trouble; the queue is then unknown, not empty.
                self._queued = Queued()
                with contextlib.suppress(StoreError, TimeoutError):
                    self._queued = await self._ask()
            made = families(self._lanes(), self.watch, self._queued, self._guards(), self._feed, logs.dropped())
            return await asyncio.to_thread(generate_latest, _Made(made))

    async def run(self) -> None:
        """Look ten times a second until cancelled."""
        before = self._clock()
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._clock()
            self.watch.look(self._lanes(), now - before)
            before = now

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection: one request, one answer."""
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                verb, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
                path = rest.split(" ")[0].partition("?")[0]
                body, word, kind = b"", "200 OK", TEXT
                if path != "/metrics":
                    word, kind, body = "404 Not Found", "text/plain", b"/metrics is all there is\n"
                elif verb not in ("GET", "HEAD"):
                    word, kind, body = "405 Method Not Allowed", "text/plain", b"GET\n"
                else:
                    body = await self.text()
                writer.write(
                    f"HTTP/1.1 {word}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n"
                    "connection: close\r\n\r\n".encode()
                    + (b"" if verb == "HEAD" else body)
                )
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who asks so slowly, so much or goes away, is no concern of the sending
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def serve(
    listen: str, worker: Worker, clock: Callable[[], float], queued: Callable[[], Awaitable[Queued]]
) -> AsyncIterator[str]:
    """Serve while the block lasts, on any free port if it is 0; -> the address taken.

    raises  ConfigError when the address cannot be had
    """
    host, port = endpoint(listen, lowest=0)
    metrics = Metrics(lambda: worker.lanes, clock, queued, worker.guards.report, worker.feed)
    try:
        server = await asyncio.start_server(metrics.answer, host, port, limit=REQUEST_OCTETS)
    except OSError as error:
        found = f"{listen}: {error.strerror or error}"
        raise ConfigError([("worker.metrics_listen", "an address of this machine that is free", found)]) from error
    looking = asyncio.create_task(metrics.run(), name="metrics")
    try:
        yield "{}:{}".format(*server.sockets[0].getsockname()[:2])
    finally:
        looking.cancel()
        server.close()
        await asyncio.gather(looking, return_exceptions=True)


def queued_of(rows: Iterable[dict[str, Any]], names: dict[int, str], now: datetime, lags: Iterable[Lag] = ()) -> Queued:
    """Put what `results.queue_by_lane` and `enrolments.lags` say into figures."""
    messages: dict[tuple[str, str], int] = {}
    age_s: dict[tuple[str, str], float] = {}
    for row in rows:
        key = (names.get(row["lane"], str(row["lane"])), MessageClass(row["class"]).name.lower())
        messages[key] = int(row["positions"])
        age_s[key] = max(0.0, (now - row["oldest"]).total_seconds())
    campaigns: dict[tuple[str, str], tuple[int, float]] = {
        (one.campaign, one.what): (one.waiting, max(0.0, (now - one.since).total_seconds())) for one in lags
    }
    return Queued(messages, age_s, campaigns)
