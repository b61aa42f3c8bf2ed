"""What an account's binds share besides the socket: measuring, pacing, and when to be woken.

    every look ─► Meter: counters of the last second ─► Pace ─► throttle, windows, backlog
    after every pump ─► wake_at: the moment when the throttle, or a pause after a refusal, ends

The same object serves the carrier on its event loop and a simulation in virtual time: it reads no clock and sets no
timer. Not here: what the rate should be (pace.py), sockets and binds (carrier.py).
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence

from msgspec import Struct

from _fastpath.backlog import Backlog
from _fastpath.exchange import Exchange
from _fastpath.histogram import Histogram
from _fastpath.ledger import Ledger
from _fastpath.throttle import Throttle
from gateway.config import CarrierSettings
from gateway.smpp import status as statuses
from gateway.smpp.limits import Limits
from gateway.smpp.pace import Decision, Pace, Signals

# Sooner than this nobody is woken: above 1000 a second the throttle hands out several PDUs at once. Even pacing is
# woken for each PDU, down to what a turn of the loop takes.
SHORTEST_S = 0.001
SHORTEST_GAP_S = 0.0001
LOOK_S = 0.05
SPAN_S = 1.0
# How far back the response times of an account may reach beyond the last second that only a report tells of.
REPORT_TIMES_S = 0.5
BURST_S = 0.05
SUBMIT_FAILED = 0x45


class AccountReport(Struct, frozen=True, kw_only=True):
    """How an account stands, for people.

    rate_per_s       allowed now, 0: no limit; sent_per_s is what left in the last second
    limit_per_s      set by the operator, 0: none; ceiling_per_s is what the carrier was found to bear, None: not found
    window           of a bind, now
    p50_ms, p99_ms   from submit to response in the last second; None: no response
    throttled_share  of the answers of the last second
    bound_by         shares of the last second: window, rate, limit, queue, intent, lease, feed, carrier
    verdict          the same in words
    reasons          of an adaptive account: rate, ceiling, last cut and cause, what would raise it
    """

    rate_per_s: int
    sent_per_s: float
    limit_per_s: int
    ceiling_per_s: int | None
    window: int
    pacing: str
    p50_ms: float | None
    p99_ms: float | None
    throttled_share: float
    bound_by: dict[str, float]
    verdict: str
    reasons: tuple[str, ...]


def verdict(
    *,
    is_up: bool,
    has_queue: bool,
    bound_by: Mapping[str, float],
    throttled_share: float,
    is_soft: bool = False,
    is_adaptive: bool = False,
) -> str:
    """Say in words what keeps an account from sending faster, and what an operator could do about it."""
    if not is_up:
        return "carrier-bound: no bind that may submit is up"
    if is_soft:
        return "carrier-bound: it delays its answers; more tps or window would only wait there"
    if throttled_share > 0.01:
        done = "the rate is being lowered" if is_adaptive else "lower tps, or set adaptive = true"
        return f"carrier-bound: {throttled_share:.1%} of the answers say throttled; {done}"
    word = max(bound_by, key=lambda word: bound_by[word], default="queue")
    if word == "window":
        return "window-bound: answers come too slowly for this window; a larger window or another bind would help"
    if word == "rate":
        return "rate-bound: it sends what the limit allows"
    if word == "limit":
        return "rate-bound: a sender, campaign or country has used its limit; others would go"
    if word == "intent":
        return "queue-bound: waits for Postgres to move the watermark"
    if word == "lease":
        return "lease-bound: Postgres has not heard of this worker for too long, its binds may be another's"
    if word == "feed":
        return "stop-bound: who has said STOP is not heard of, promotional messages wait"
    if word == "carrier":
        return "carrier-bound: the SMSC reads more slowly than we write"
    return "queue-bound: the next chunk is being claimed" if has_queue else "idle: nothing is queued"


class Look(Struct, frozen=True):
    """The counters at one moment, and what stopped each bind that submits; response times may be of an earlier look."""

    at: float
    sent: int
    answered: int
    ok: int
    throttled: int
    temporary: int
    bound_by: tuple[str, ...]
    response_times: Histogram


class Meter:
    """The looks of the last second of one account.

    times_s  how often response times are copied, 8 kB each: 0 at every look, else they span so much more than a second
    """

    def __init__(self, ledger: Ledger, times_s: float = 0.0):
        self._ledger = ledger
        self._looks: deque[Look] = deque()
        self._times_s = times_s
        self._times_at = -math.inf

    def look(self, now: float, exchanges: Sequence[Exchange]) -> None:
        """Take the counters, unless that was done a moment ago."""
        looks = self._looks
        if looks and now - looks[-1].at < LOOK_S * 0.8:
            return
        ledger = self._ledger
        refusals = ledger.refusals()
        if looks and now - self._times_at < self._times_s:
            times = looks[-1].response_times
        else:
            times = ledger.submit_to_response.copy()
            self._times_at = now
        looks.append(
            Look(
                now,
                ledger.submitted,
                ledger.responses,
                ledger.accepted,
                ledger.throttled,
                refusals.get(statuses.RSYSERR, 0) + refusals.get(SUBMIT_FAILED, 0),
                tuple(exchange.bound_by for exchange in exchanges),
                times,
            )
        )
        while len(looks) > 2 and looks[1].at <= now - SPAN_S:
            looks.popleft()

    def signals(self, exchanges: Sequence[Exchange], timeouts: int = 0) -> Signals | None:
        """What the looks say; None while there is but one."""
        if len(self._looks) < 2:
            return None
        first, last = self._looks[0], self._looks[-1]
        times = self._ledger.submit_to_response.since(first.response_times)
        p50, p99 = times.quantile(0.5), times.quantile(0.99)
        shares = self.shares()
        return Signals(
            span_s=last.at - first.at,
            sent=last.sent - first.sent,
            answered=last.answered - first.answered,
            ok=last.ok - first.ok,
            throttled=last.throttled - first.throttled,
            temporary=last.temporary - first.temporary,
            timeouts=timeouts,
            p50_s=None if p50 is None else p50 / 1e6,
            p99_s=None if p99 is None else p99 / 1e6,
            window_full=shares.get("window", 0.0),
            rate_held=shares.get("rate", 0.0),
            is_full=bool(exchanges) and all(exchange.window.room == 0 for exchange in exchanges),
            # Told in responses alone: without one in the last second nothing is known.
            congestion=self._ledger.congestion if self._ledger.congestion >= 0 and times.total else None,
            binds=max(1, len(exchanges)),
        )

    def shares(self) -> dict[str, float]:
        """What stopped the binds, by share of the looks: window, rate, queue, intent, carrier."""
        words = [word for look in self._looks for word in look.bound_by]
        return {word: words.count(word) / len(words) for word in sorted(set(words))}


class BindFigures(Struct, frozen=True, kw_only=True):
    """What one bind did in a second; response times are None without a response, bound_by is shares of the looks."""

    sent_per_s: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    throttled_share: float = 0.0
    bound_by: dict[str, float] = {}


class BindMeter:
    """The last whole second of one bind; a new session begins anew.

    Reports are read ten times a second (metrics.Watch), so a second's figures are made once, by the look that ends it.
    """

    def __init__(self) -> None:
        self._exchange: Exchange | None = None
        self._words: list[str] = []
        self.figures = BindFigures()

    def look(self, now: float, exchange: Exchange | None) -> None:
        """Look at the session that submits now; None: there is none."""
        if exchange is None:
            self._exchange = None
            self.figures = BindFigures()
            return
        if exchange is not self._exchange:
            self._begin(now, exchange)
            self.figures = BindFigures()
        self._words.append(exchange.bound_by)
        span_s = now - self._since
        if span_s < SPAN_S:
            return
        times = exchange.response_us.since(self._times)
        p50, p99 = times.quantile(0.5), times.quantile(0.99)
        words = self._words
        self.figures = BindFigures(
            sent_per_s=(exchange.submitted - self._submitted) / span_s,
            p50_ms=None if p50 is None else p50 / 1e3,
            p99_ms=None if p99 is None else p99 / 1e3,
            throttled_share=(exchange.throttled - self._throttled) / max(1, exchange.responses - self._responses),
            bound_by={word: words.count(word) / len(words) for word in sorted(set(words))},
        )
        self._begin(now, exchange)

    def _begin(self, now: float, exchange: Exchange) -> None:
        self._exchange = exchange
        self._since = now
        self._submitted, self._responses = exchange.submitted, exchange.responses
        self._throttled = exchange.throttled
        self._times = exchange.response_us.copy()
        self._words = []


class Flow:
    """The shared half of an account's sending.

    settings   of the carrier; its tps and window may be changed while running (`change`)
    """

    def __init__(self, settings: CarrierSettings, backlog: Backlog, ledger: Ledger, now: float):
        self.settings = settings
        self.backlog = backlog
        self.ledger = ledger
        self.tps = settings.tps
        self.window_ceiling = settings.window
        self.has_gap = settings.pacing == "gap"
        self.pace = Pace(settings, now) if settings.is_adaptive else None
        self.limits = Limits(settings)
        rate = self.pace.rate if self.pace else self._pdus_per_s(settings.tps)
        self.throttle = Throttle(rate, BURST_S, self.has_gap)
        self.meter = Meter(ledger) if self.pace else Meter(ledger, REPORT_TIMES_S)
        self._latest: Signals | None = None
        self._exchanges: Sequence[Exchange] = ()
        self._timeouts = 0
        self._had_binds = False
        self._silence_until = now

    def _pdus_per_s(self, tps: int) -> int:
        """What of the account's limit the throttle holds: messages a second are another limit's."""
        return 0 if self.settings.tps_unit == "message" else tps

    @property
    def rate_per_s(self) -> int:
        """PDUs a second allowed now; 0: no limit."""
        return self.pace.rate if self.pace else self.tps

    @property
    def window(self) -> int:
        """Unanswered requests a bind may have now."""
        return self.pace.window if self.pace else self.window_ceiling

    @property
    def latest(self) -> Signals | None:
        """What the last second says; None while there was but one look. Nobody else asks where nothing is paced."""
        return self._latest if self.pace else self.meter.signals(self._exchanges)

    def lost(self, timeouts: int) -> None:
        """Hear of submit_sm that were given up without an answer."""
        self._timeouts += timeouts

    def look(self, now: float, exchanges: Sequence[Exchange]) -> bool:
        """Measure, and pace; to be called every `LOOK_S` or so with the exchanges that submit.

        ->  whether every link should be asked for a sign of life
        """
        self.meter.look(now, exchanges)
        pace = self.pace
        if pace is not None and exchanges and not self._had_binds:
            self._apply(pace.restart(now), now, exchanges)
        self._had_binds = bool(exchanges)
        timeouts, self._timeouts = self._timeouts, 0
        if pace is None:
            self._exchanges = exchanges
            return False
        self._latest = self.meter.signals(exchanges, timeouts)
        if self._latest is None or not exchanges:
            return False
        decision = pace.feed(now, self._latest)
        if decision is None:
            return False
        self._apply(decision, now, exchanges)
        return decision.asks_link

    def change(self, tps: int, window: int, now: float, exchanges: Sequence[Exchange]) -> None:
        """Take other limits at once; an adaptive rate goes on from where it is. ValueError outside tps and window."""
        self.tps, self.window_ceiling = tps, window
        if self.pace is not None:
            self._apply(self.pace.change(tps, window, now), now, exchanges)
            return
        if self.settings.tps_unit == "message":
            self.limits.account.throttle.change(tps)
        self.throttle.change(self._pdus_per_s(tps), BURST_S, self.has_gap)
        for exchange in exchanges:
            exchange.window.resize(window)

    def tune(self, settings: CarrierSettings, now: float, exchanges: Sequence[Exchange]) -> None:
        """Take other settings of config.LIVE at once. An account that becomes adaptive begins with a slow start."""
        before, self.settings = self.settings, settings
        if settings.is_adaptive != (self.pace is not None):
            self.pace = Pace(settings, now) if settings.is_adaptive else None
            self._silence_until = now
            # A fixed rate is bucket or gap by the settings, not by what the adaptive one had found.
            self.burst_s = 0.0 if settings.pacing == "gap" else BURST_S
        elif self.pace is not None:
            self.pace.tune(settings)
            if (settings.tps, settings.window) == (before.tps, before.window):
                return
        self.change(settings.tps, settings.window, now, exchanges)

    def _apply(self, decision: Decision, now: float, exchanges: Sequence[Exchange]) -> None:
        if now >= self._silence_until or decision.silence_until:
            self.has_gap = decision.pacing == "gap"
            self.throttle.change(decision.rate_per_s, BURST_S, self.has_gap)
        for exchange in exchanges:
            if exchange.window.size != decision.window:
                exchange.window.resize(decision.window)
        if decision.hold_until:
            self.backlog.hold(decision.hold_until)
        if decision.silence_until:
            # What the silence would have let through counts as sent: the throttle itself waits for its end.
            self._silence_until = decision.silence_until
            self.throttle.allowance(now)
            self.throttle.spend(max(1, round((decision.silence_until - now) * decision.rate_per_s)), now)

    def report(self, now: float, is_up: bool, has_queue: bool) -> AccountReport:
        """Tell how the account stands."""
        signals = self.latest or Signals()
        share = signals.throttled / max(1, signals.answered)
        bound_by = self.meter.shares()
        pace = self.pace
        return AccountReport(
            rate_per_s=self.rate_per_s,
            sent_per_s=signals.sent / signals.span_s,
            limit_per_s=self.tps,
            ceiling_per_s=pace.ceiling if pace else None,
            window=self.window,
            pacing="gap" if self.has_gap else "bucket",
            p50_ms=None if signals.p50_s is None else signals.p50_s * 1e3,
            p99_ms=None if signals.p99_s is None else signals.p99_s * 1e3,
            throttled_share=share,
            bound_by=bound_by,
            verdict=verdict(
                is_up=is_up,
                has_queue=has_queue,
                bound_by=bound_by,
                throttled_share=share,
                is_soft=pace is not None and pace.is_soft,
                is_adaptive=pace is not None,
            ),
            reasons=pace.reasons(now) if pace else (),
        )

    def wake_at(self, now: float, exchanges: Sequence[Exchange]) -> float | None:
        """The moment at which something may leave that may not now; None: an answer or the queue will tell."""
        moments = []
        if not exchanges:
            return None
        moments += [exchange.ready_at(now) for exchange in exchanges if exchange.bound_by == "rate"]
        again_at = self.backlog.again_at()
        # One that is due already waits for the window or the throttle, and those are woken by themselves.
        if again_at is not None and again_at > now:
            moments.append(again_at)
        shortest_s = SHORTEST_GAP_S if self.has_gap else SHORTEST_S
        return max(min(moments), now + shortest_s) if moments else None
