"""Our account at one operator: all its binds, one throttle, one backlog.

    backlog ──► bind 1 (window) ─┐
            ──► bind 2 (window) ─┼─► throttle of the account, in PDUs a second
            ──► bind 3 (window) ─┘

Whoever has room takes the next position; nobody waits for another bind. When the throttle is what stops us, one timer
wakes all binds at the moment it allows the next PDU. What is measured and how fast the account goes is the flow's.
Not here: measuring and pacing (flow.py, pace.py), claiming and settling (dispatch), reading settings (config).
"""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.backlog import Backlog
from _fastpath.exchange import Exchange
from _fastpath.ledger import Ledger
from _fastpath.limit import Limit
from _fastpath.outstanding import Outstanding
from _fastpath.references import References
from _fastpath.window import Window
from gateway.config import CarrierSettings
from gateway.errors import LocalProtocolError
from gateway.smpp import capture, recycling
from gateway.smpp import session as sessions
from gateway.smpp import status as statuses
from gateway.smpp.bind import Bind, Kind, Phase, new_link
from gateway.smpp.breaker import Breaker
from gateway.smpp.flow import LOOK_S, AccountReport, BindMeter, Flow, verdict
from gateway.smpp.hosts import Hosts
from gateway.smpp.limits import Limits
from gateway.smpp.link import Link, Listener
from gateway.smpp.outbind import Outbinds
from gateway.smpp.pdu import Pdu
from gateway.smpp.receipt import reading_of
from gateway.smpp.turns import Turns
from gateway.smpp.wake import Wake

log = logging.getLogger(__name__)

TICK_S = LOOK_S
# Receipts are missed by the minute: nobody counts them at every tick.
LISTEN_S = 1.0
# A tick that comes so late was not the SMSC's fault: what waits in the sockets is read before anything is judged.
LATE_S = 1.0
# Who stops tries what waits for another try for so long: a part of a message that is begun can follow from nowhere.
RETRIES_S = 2.0
# Time-outs in a row, without any response between them, that make a session count as sick.
SICK_AFTER = 2


class BindReport(Struct, frozen=True, kw_only=True):
    """How one bind stands; `alarm` is what a person should know.

    bound_by         what keeps it from sending faster now
    sent_per_s       PDUs that left in the last whole second; 0 without a session
    p50_ms, p99_ms   from submit to response in that second; None: no response
    throttled_share  of the answers of that second
    verdict          what bounded it in that second, in words
    """

    name: str
    kind: str
    host: str
    phase: str
    in_flight: int
    window: int
    bound_by: str
    last_error: str
    alarm: str
    sent_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    throttled_share: float
    verdict: str


class Carrier:
    """All binds of one account.

    on_request   called with (link, pdu) for requests that are no receipt of the usual form
    references   of concatenated messages, one for all carriers that may send from the same source
    at_once      answer receipts in the turn that reads them, without waiting for a flush (benchmarks alone)
    has_all      hold every bind of the account, and its whole rate: there is no other worker. Otherwise nothing runs
                 and nothing leaves until `take_place` and `take_share`
    """

    def __init__(
        self,
        name: str,
        settings: CarrierSettings,
        lane: int,
        *,
        clock: Callable[[], float],
        chance: random.Random,
        on_request: Callable[[Link, Pdu], None],
        recall_ids: int = 1 << 18,
        at_once: bool = False,
        references: References | None = None,
        has_all: bool = True,
    ):
        self.name = name
        self.settings = settings
        self.lane = lane
        self.backlog = Backlog()
        self.ledger = Ledger(lane, recall_ids, reading_of(settings))
        self.ledger.recall.set_rule(settings.receipt_ids, fixed=True)
        self.flow = Flow(settings, self.backlog, self.ledger, clock())
        self.throttle = self.flow.throttle
        self.references = References() if references is None else references
        self._dispositions = statuses.table(statuses.overrides(settings.statuses))
        self._network_dispositions = statuses.network_overrides(settings.network_errors)
        most = settings.destination_outstanding
        self._outstanding = Outstanding(most) if most else None
        self._clock = clock
        self._on_request = on_request
        # Who sends query_sm and cancel_sm is told what became of them (dispatch/query.py, unsending.py).
        self.hears_answer: Callable[[Link, sessions.Response | sessions.Expired], None] | None = None
        self.hears_cancel: Callable[[Link, sessions.Response | sessions.Expired], None] | None = None
        self._at_once = at_once
        self._turn = asyncio.Lock()
        self.turns = Turns(settings.reconnect_first_s)
        self.hosts = Hosts(settings.addresses, settings.host_policy, settings.reconnect_longest_s)
        self._outbinds = Outbinds(name, settings, self._awaiting_outbind, clock) if settings.outbind_listen else None
        self._gate = recycling.Gate()
        self._silence = recycling.Silence()
        self._breaker = Breaker(settings.breaker_after)
        self._expired = 0
        self._listens_at = -math.inf
        self._receiver_at = 0.0
        self._lacks_receiver = False
        self._hold_until = math.inf
        # What of the account's tps is ours, and of how many; None: all of it.
        self.share: tuple[int, int] | None = None if has_all else (0, 1)
        self.is_stopped = False
        self._retries_until = math.inf
        self._wake = Wake(clock, self.pump)
        self._tasks: list[asyncio.Task[None]] = []
        self._is_running = False
        self._running: dict[int, list[asyncio.Task[None]]] = {}
        self.changed = asyncio.Event()
        self._first = 0
        self._seen: dict[str, tuple[int, float]] = {}
        kinds = (Kind.TRX,) if settings.bind == "trx" else (Kind.TX, Kind.RX)
        self._binds = [
            Bind(
                f"{name}#{place + 1}{'' if kind is Kind.TRX else kind.name.lower()}",
                kind,
                settings,
                self,
                clock,
                chance,
                place,
                None if kind is Kind.TX else self._outbinds,
            )
            for place in range(settings.binds)
            for kind in kinds
        ]
        self._meters = {bind.name: BindMeter() for bind in self._binds}
        # Those of the places that we hold; all else looks at them alone.
        self.binds = list(self._binds) if has_all else []
        self._apply_hold()
        # A transceiver is its own receiver, and an SMSC that calls us does so when it has something.
        self._needs_receiver = settings.needs_receiver and settings.bind == "tx+rx" and self._outbinds is None

    # -- what a bind needs ------------------------------------------------------------------------------------------

    def exchange(self) -> Exchange:
        """Make the compiled half of a new link, on the account's throttle and backlog."""
        exchange = Exchange(
            Window(self.flow.window),
            self.throttle,
            self.backlog,
            self.ledger,
            self._dispositions,
            references=self.references,
            outstanding=self._outstanding,
        )
        exchange.judge_network_errors(self._network_dispositions)
        self._set_attempts(exchange)
        exchange.answers_at_once = self._at_once
        return exchange

    def _set_attempts(self, exchange: Exchange) -> None:
        """Say how often and how soon a message is tried again."""
        exchange.throttle_pause_s = self.settings.throttle_pause_s
        exchange.retry_delay_s = self.settings.retry_delay_s
        exchange.retry_longest_s = max(self.settings.retry_longest_s, self.settings.retry_delay_s)
        exchange.max_attempts = self.settings.max_attempts
        exchange.queue_full_delay_s = self.settings.queue_full_delay_s
        exchange.queue_full_attempts = self.settings.queue_full_attempts

    @property
    def limits(self) -> Limits:
        """The tree of limits of the account."""
        return self.flow.limits

    def limits_of(self, name: str, host: str) -> tuple[Limit, ...]:
        """Name the limits that a bind hangs under at a host, beside the account's throttle."""
        return (*self.limits.of_bind(name, host), *self._breaker.limits)

    def on_request(self, link: Link, pdu: Pdu) -> None:
        """Pass on what the SMSC asks."""
        self._on_request(link, pdu)

    def on_answer(self, link: Link, event: sessions.Response | sessions.Expired) -> None:
        """Pass on what became of a query_sm or a cancel_sm."""
        hears = self.hears_cancel if event.request.command == "cancel_sm" else self.hears_answer
        if hears is not None:
            hears(link, event)

    def on_change(self) -> None:
        """Wake who waits for a bind to come or go."""
        if all(bind.is_bound for bind in self.binds):
            self.turns.calm()
        self.changed.set()

    def on_held(self, now: float) -> None:
        """Be there when the throttle, or a pause after a refusal, ends."""
        self._sleep_until_allowed(now)

    def turn(self) -> asyncio.Lock:
        """One bind of the account tries at a time."""
        return self._turn

    def _awaiting_outbind(self, listener: Listener) -> Link:
        """Make the end of a connection that the SMSC has made."""
        return new_link(self.settings, self.exchange(), self._clock, listener, awaits_outbind=True)

    # -- state ------------------------------------------------------------------------------------------------------

    @property
    def is_held(self) -> bool:
        """Tell whether nothing new is begun, for want of a receiver or of a share of the account's rate."""
        return self._lacks_receiver or self.lacks_share

    @property
    def lacks_share(self) -> bool:
        """Tell whether no part of the account's rate is ours."""
        return self.share is not None and self.share[0] == 0

    @property
    def places(self) -> list[int]:
        """The places whose binds are ours, from 0."""
        return sorted({bind.place for bind in self.binds})

    @property
    def is_up(self) -> bool:
        """Tell whether a bind that may submit is bound, and nothing keeps it from beginning something new."""
        return (
            not self.is_held
            and not self.is_stopped
            and self._clock() < self._hold_until
            and any(bind.is_bound and bind.kind is not Kind.RX for bind in self.binds)
        )

    @property
    def is_any_bound(self) -> bool:
        """Tell whether a bind, of whatever kind, is bound."""
        return any(bind.is_bound for bind in self.binds)

    @property
    def outbind_port(self) -> int:
        """Where the SMSC calls us; 0: nowhere."""
        return self._outbinds.port if self._outbinds is not None else 0

    @property
    def alarm(self) -> str:
        """What a person should know of the account as a whole; empty: nothing."""
        if self._lacks_receiver:
            return f"no receiver bound for {self._clock() - self._receiver_at:.0f} s: submits nothing (needs_receiver)"
        if self._outbinds is not None and self._outbinds.last_error:
            return self._outbinds.last_error
        return self._breaker.alarm or self._silence.alarm

    @property
    def window_size(self) -> int:
        """Requests that may be unanswered over all binds that submit."""
        return self.flow.window_ceiling * sum(bind.kind is not Kind.RX for bind in self.binds)

    @property
    def in_flight(self) -> int:
        """Requests unanswered now, over all binds."""
        return sum(bind.link.exchange.window.in_flight for bind in self.binds if bind.link is not None)

    def reports(self) -> list[BindReport]:
        """Tell how each bind stands."""
        return [self._report(bind, self._meters[bind.name]) for bind in self.binds]

    def _report(self, bind: Bind, meter: BindMeter) -> BindReport:
        link, figures, pace = bind.link, meter.figures, self.flow.pace
        return BindReport(
            name=bind.name,
            kind=bind.kind.value,
            host=bind.host,
            phase=bind.phase.value,
            in_flight=link.exchange.window.in_flight if link else 0,
            window=link.exchange.window.size if link else self.flow.window,
            bound_by=link.exchange.bound_by if link and bind.is_bound else "carrier",
            last_error=bind.last_error,
            alarm=bind.alarm or self.alarm,
            sent_per_s=figures.sent_per_s,
            p50_ms=figures.p50_ms,
            p99_ms=figures.p99_ms,
            throttled_share=figures.throttled_share,
            verdict=""
            if bind.kind is Kind.RX
            else self._broken
            or verdict(
                is_up=bind.is_bound and not self.is_held,
                has_queue=bool(self.backlog.unsent),
                bound_by=figures.bound_by,
                throttled_share=figures.throttled_share,
                is_soft=pace is not None and pace.is_soft,
                is_adaptive=pace is not None,
            ),
        )

    def account(self) -> AccountReport:
        """Tell how fast the account goes, what bounds it, and why."""
        report = self.flow.report(self._clock(), self.is_up, bool(self.backlog.unsent))
        return msgspec.structs.replace(report, verdict=self._broken) if self._broken else report

    @property
    def _broken(self) -> str:
        """The verdict while the SMSC takes nothing; empty: it does, or another reason comes first."""
        return f"carrier-bound: it {self._breaker.alarm}" if self._breaker.alarm and self.is_up else ""

    def change_limits(self, *, tps: int, window: int) -> None:
        """Take other limits at once, without a restart: PDUs a second (0: none) and the ceiling of a bind's window."""
        now = self._clock()
        self.flow.change(tps, window, now, self._submitting())
        self.pump()

    def tune(self, settings: CarrierSettings) -> None:
        """Take other values of the settings of config.LIVE at once; all others must be those that it runs with."""
        self.settings = settings
        for bind in self.binds:
            if bind.link is not None:
                self._set_attempts(bind.link.exchange)
        # What was set wrongly may be right now.
        if self._breaker.reset(settings.breaker_after):
            self._hang()
        self._apply_share()
        self.pump()

    def take_share(self, share: int, of: int) -> None:
        """Take a part of the account's tps for ours, at once; 0 of it: nothing leaves. `of` is the whole."""
        if self.share == (share, of):
            return
        self.share = share, of
        self._apply_share()
        self._apply_hold()
        for bind in self.binds:
            bind.hold(self.is_held)
        self.pump()

    def renew_limits(self) -> None:
        """Count minutes and days from nothing, for who knows better to say what was sent; while we hold no bind."""
        self.flow.limits = Limits(self.settings)
        self._apply_share()

    def hold_until(self, at: float) -> None:
        """Let nothing leave at or after this moment: the end of our lease."""
        is_later = at > self._hold_until
        self._hold_until = at
        self._apply_hold()
        if is_later and self.binds:
            self.pump()

    def _apply_hold(self) -> None:
        self.backlog.fence_at = -math.inf if self.lacks_share else self._hold_until

    def _apply_share(self) -> None:
        """Have the flow run with our part of the tps that the settings say."""
        settings = self.settings
        if self.share is not None and settings.tps:
            share, of = self.share
            # Tuned since it was divided: the same part of less, and no more of more until it is divided anew.
            tps = share * settings.tps // of if settings.tps < of else share
            settings = msgspec.structs.replace(settings, tps=max(1, tps))
        self.flow.tune(settings, self._clock(), self._submitting())

    def _submitting(self) -> list[Exchange]:
        """The compiled halves of the binds that may submit now."""
        return [
            bind.link.exchange
            for bind in self.binds
            if bind.is_bound and bind.link is not None and bind.kind is not Kind.RX
        ]

    # -- running ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to keep every bind up; again after `stop`, too."""
        self.is_stopped = False
        self._is_running = True
        self._wake.open()
        self._tasks = [self._watched(self._tick(), f"timers {self.name}")]
        self._receiver_at = self._clock()
        for place in self.places:
            self._run_place(place)

    def take_place(self, place: int) -> None:
        """Hold the binds of a place of the account, from 0; ValueError: the settings have no such place."""
        if not 0 <= place < self.settings.binds:
            raise ValueError(f"{self.name}: expected place 0 to {self.settings.binds - 1}, got {place}")
        if place in self.places:
            return
        if not self.binds:
            self._receiver_at = self._clock()
        self.binds = [bind for bind in self._binds if bind in self.binds or bind.place == place]
        if self._is_running:
            self._run_place(place)

    async def leave_place(self, place: int) -> None:
        """Finish what the binds of a place have begun, unbind them, and hold them no more.

        What waits to be tried again is for the other binds; behind the last of them it is tried as in `stop`.
        """
        leaving = [bind for bind in self.binds if bind.place == place]
        is_last = len(leaving) == len(self.binds)
        try:
            if self._is_running:
                self._retries_until = self._clock() + RETRIES_S
                for bind in leaving:
                    bind.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.settings.response_timeout_s):
                        while self._is_draining() if is_last else any(map(_is_busy, leaving)):
                            await asyncio.sleep(0.005)
                await asyncio.gather(*(bind.stop() for bind in leaving))
        finally:
            tasks = self._running.pop(place, [])
            for task in tasks:
                task.cancel()
            for bind in leaving:
                if bind.link is not None:
                    bind.link.abort("its slot was given up")
            await asyncio.gather(*tasks, return_exceptions=True)
            self.binds = [bind for bind in self.binds if bind.place != place]
            if not self.binds and self._outbinds is not None:
                self._outbinds.abort()

    def _run_place(self, place: int) -> None:
        tasks = []
        for bind in self.binds:
            if bind.place == place:
                bind.revive()
                bind.hold(self.is_held)
                tasks.append(self._watched(bind.run(), f"bind {bind.name}"))
        self._running[place] = tasks
        if self._outbinds is not None and not any(task.get_name().startswith("outbind") for task in self._tasks):
            self._tasks.append(self._watched(self._outbinds.serve(), f"outbind {self.name}"))

    def _watched(self, loop: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(loop, name=name)
        task.add_done_callback(_tell_if_broken)
        return task

    async def stop(self) -> None:
        """Finish what is begun, unbind after the last response, and end; nothing is in doubt when all is answered.

        What waits to be tried again soon is tried once more; what still waits then goes back to the queue.
        """
        self.is_stopped = True
        self._retries_until = self._clock() + RETRIES_S
        try:
            for bind in self.binds:
                bind.drain()
            self.pump()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.response_timeout_s):
                    while self._is_draining():
                        await asyncio.sleep(0.005)
            await asyncio.gather(*(bind.stop() for bind in self.binds))
        finally:
            self._is_running = False
            tasks = [*self._tasks, *(task for of in self._running.values() for task in of)]
            self._running.clear()
            for task in tasks:
                task.cancel()
            self._wake.close()
            for bind in self.binds:
                if bind.link is not None:
                    bind.link.abort("stopped")
            if self._outbinds is not None:
                self._outbinds.abort()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _is_draining(self) -> bool:
        """Tell whether the outcome of something begun may still come before the time for it is over."""
        if not any(bind.is_bound or bind.phase is Phase.DRAINING for bind in self.binds):
            return False
        if self.in_flight or not self.backlog.in_flight:
            return self.in_flight > 0
        again_at = self.backlog.again_at()
        return again_at is None or again_at < self._retries_until

    def pump(self) -> None:
        """Let every bind with room send: something new may leave."""
        now = self._clock()
        if not self.binds:
            return
        # By turns, or at a low rate the first bind would carry everything.
        self._first = (self._first + 1) % len(self.binds)
        for bind in self.binds[self._first :] + self.binds[: self._first]:
            if bind.is_bound and bind.link is not None:
                bind.link.pump(now)
        self._sleep_until_allowed(now)

    def owed_marks(self) -> list[tuple[Link, int]]:
        """The receipts each link has taken so far: to be read before a flush takes the rows."""
        return [(bind.link, bind.link.exchange.owed_upto) for bind in self.binds if bind.link is not None]

    def _sleep_until_allowed(self, now: float) -> None:
        """Set the one timer for the moment when the throttle, or a pause after a refusal, ends."""
        at = self.flow.wake_at(now, self._submitting())
        if at is not None:
            self._wake.set(at, now, exact=self.flow.has_gap)

    async def _tick(self) -> None:
        now = self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            before, now = now, self._clock()
            if now - before < LATE_S:
                for bind in self.binds:
                    if bind.link is not None and bind.link.is_connected:
                        self._look_after(bind, bind.link, now)
                if self._outbinds is not None:
                    self._outbinds.tick(now)
                self._mind_receivers(now)
                self._mind_refusals(now)
                self._recycle(now)
                if self.flow.look(now, self._submitting()):
                    self._ask_links()
                self._measure_binds(now)
            self.pump()

    def _measure_binds(self, now: float) -> None:
        """Keep the figures of each bind's last second."""
        for bind in self.binds:
            meter = self._meters[bind.name]
            link = bind.link if bind.is_bound and bind.kind is not Kind.RX else None
            meter.look(now, link.exchange if link is not None else None)

    def _ask_links(self) -> None:
        """Ask for a sign of life where answers stay away."""
        for bind in self.binds:
            if bind.is_bound and bind.link is not None and not bind.link.session.in_flight:
                with contextlib.suppress(LocalProtocolError):  # it is being unbound
                    bind.link.request("enquire_link")

    def _look_after(self, bind: Bind, link: Link, now: float) -> None:
        """Take out what is not answered in time, and run the timers of a session."""
        if link.exchange.takes_responses and link.hears(now):
            expired = link.exchange.expire(now - self.settings.response_timeout_s, now)
            if expired:
                self.flow.lost(expired)
                self._expired += expired
                log.warning("! %s: %d submit_sm without an answer", bind.name, expired)
            if link.exchange.silent_expiries >= SICK_AFTER:
                link.abort("no responses any more")
        self._mind_ring(bind, link, now)
        link.tick(now)

    def _mind_ring(self, bind: Bind, link: Link, now: float) -> None:
        """Keep octets only while they would stay long enough to be read: see capture.rests."""
        exchange, seen = link.exchange, self._seen.get(bind.name)
        pdus = exchange.submitted + exchange.responses
        self._seen[bind.name] = pdus, now
        if bind.ring is None or seen is None or now <= seen[1]:
            return
        is_resting = exchange.ring is None
        if capture.rests((pdus - seen[0]) / (now - seen[1]), self.settings.pcap_octets, is_resting) != is_resting:
            # Only between two PDUs: a stream that begins in the middle of one cannot be read.
            if is_resting and exchange.out_waiting:
                return
            link.keep_in(bind.ring if is_resting else None)

    def _mind_receivers(self, now: float) -> None:
        """Begin nothing new while nobody has been there for its receipts."""
        if not self._needs_receiver:
            return
        if any(bind.is_bound and bind.kind is Kind.RX for bind in self.binds):
            self._receiver_at = now
        lacks_receiver = bool(self.binds) and now - self._receiver_at > self.settings.receiver_grace_s
        if lacks_receiver != self._lacks_receiver:
            self._lacks_receiver = lacks_receiver
            for bind in self.binds:
                bind.hold(self.is_held)
            if lacks_receiver:
                log.error("! %s: alarm: %s", self.name, self.alarm)
            else:
                log.info("= %s: a receiver is bound: submits again", self.name)

    def _mind_refusals(self, now: float) -> None:
        """Hold all but a few messages back from an SMSC that takes none."""
        ledger = self.ledger
        failed = ledger.responses - ledger.accepted - ledger.throttled + self._expired
        if self._breaker.look(now, ledger.accepted, failed):
            self._hang()
            if self._breaker.alarm:
                log.error("! %s: alarm: %s", self.name, self._breaker.alarm)
            else:
                log.warning("= %s: a message was accepted: all are sent again", self.name)

    def _hang(self) -> None:
        """Have the sessions that live hang under the limits that are in force now."""
        for bind in self._binds:
            if bind.link is not None:
                bind.link.exchange.hang_under(self.limits_of(bind.name, bind.host))

    def _recycle(self, now: float) -> None:
        """Drain and bind anew who has sent its share, and who may be half-dead: one bind of the account at a time."""
        settings = self.settings
        for bind in self.binds:
            if bind.is_bound:
                self._gate.leave(bind.name)
        if settings.recycle_after:
            submitters = [bind for bind in self.binds if bind.kind is not Kind.RX]
            for place, bind in enumerate(submitters):
                due = recycling.quota(settings.recycle_after, settings.window, place, len(submitters))
                if bind.is_bound and bind.link is not None and bind.link.submitted >= due:
                    self._recycle_one(bind, f"{bind.link.submitted} messages on this session", now)
        if now < self._listens_at:
            return
        self._listens_at = now + LISTEN_S
        ledger = self.ledger
        delays = ledger.submit_to_receipt
        median_us = delays.quantile(0.5)
        after_s = recycling.half_dead_after_s(
            settings.half_dead_s, delays.total, None if median_us is None else median_us / 1e6
        )
        receipts = ledger.receipts_matched + ledger.receipts_waiting
        if settings.registered_delivery and self._silence.look(now, ledger.accepted, receipts, after_s):
            log.error("! %s: alarm: %s", self.name, self._silence.alarm)
            receivers = [bind for bind in self.binds if bind.is_bound and bind.kind is not Kind.TX]
            if receivers:
                self._recycle_one(min(receivers, key=lambda bind: bind.bound_at), self._silence.alarm, now)

    def _recycle_one(self, bind: Bind, reason: str, now: float) -> None:
        if self._gate.enter(bind.name, now):
            bind.recycle(reason)


def _is_busy(bind: Bind) -> bool:
    """Tell whether an answer may still come on a bind that drains."""
    return bind.link is not None and bind.is_bound and bind.link.exchange.window.in_flight > 0


def _tell_if_broken(task: "asyncio.Task[None]") -> None:
    """Log what must not happen: without this task a bind would stay down and nobody would know why."""
    if not task.cancelled() and task.exception() is not None:
        log.error("! %s broke", task.get_name(), exc_info=task.exception())
