"""How fast an account may go: the rate, the window and the pacing that its carrier bears, found from its answers.

    Signals of the last second ─► Pace.feed ─► Decision: rate, window of a bind, pacing, hold, silence

    slow start ×1.5 ─► search ─► steady ── every 30 to 60 s ─► probe +2 %, +4 %, +8 % … while clean ─┐
         ▲               ▲         ▲                                                                │
     reconnect           └─ hold ◄─┴─ cut to 0.85 × accepted ◄── throttled, congested ◄─────────────┘

`clean` is the highest rate that a whole second was sent at without a refusal, `high` the lowest that was refused since;
the search halves what lies between them. `ceiling` is what the carrier was last seen to accept while it refused: up to
0.97 of it the way back is a slow start, above it only a probe goes. A raise is judged as soon as its answers come and
all else by whole seconds: a second in which some are refused is the measure of what a carrier accepts.
A cut is a question too: refusals that are as many at a rate a tenth lower say nothing of the rate (background.py). They
are borne from then on, the rate goes back up by half a second, and only what exceeds them speaks against it.

    floor      a PDU a second; among refusals by chance, a quarter of the answers at most, at least 0.95 of a limit
               that is set is sent from the 60th second on, 0.9 of one below 200
    recovery   a limit that falls is followed within 15 s, one that is lifted within 90 s, for the next probe must be
               due; among refusals by chance within 120 s (tests/smpp/test_pace.py, docs/decisions/0009)

Not here: counting (flow.py), the limit itself (throttle.pyx), what a status means (status.py).
"""

import math
from collections import deque

from msgspec import Struct

from gateway.config import CarrierSettings
from gateway.smpp.background import ENOUGH, Background

# What an account without a configured limit starts from, PDUs a second, and where its search ends.
UNKNOWN_START_PER_S = 20
HIGHEST_PER_S = 10_000_000
SLOW_START = 1.5
PROBE_STEP = 1.02
SEARCH_STEP = 1.05
STEP_MOST = 1.25
CUT = 0.85
SETTLE = 0.97
# A share of refused answers that a healthy account may show; below it a refusal is only sent again.
REFUSED_SHARE = 0.01
# Answers 0x08 and 0x45 in a second that are taken for a limit; once in so long, since they may have other causes.
TEMPORARY_SHARE = 0.05
TEMPORARY_AGAIN_S = 30.0
PROBE_LONGEST_S = 60.0
# Single refusals at a settled rate within so long mean that it is a hair too high.
DRIPS, DRIPS_S = 3, 10.0
# Lowered again so soon, it is for the same refusals.
AGAIN_S = 30.0
# Where some are refused anyway, so many more than twice as many are those that came too soon.
GAPS_SHARE = 0.05
# A carrier that was found to count is not taken for one that measures gaps for so long.
COUNTS_S = 600.0
# Nor is one whose refusals went on under even pacing, for so long.
NO_GAP_S = 60.0
# So many refusals in a second under even pacing are no chance.
PLENTY = 20
# congestion_state (SMPP 5.0 §4.8.4.18): 70 to 89 is the optimum, 90 and above nearly congested.
OPTIMUM, NEARLY, CONGESTED = 70, 90, 100
# A window larger than Little's by so much, so that one slow answer does not stop a bind.
MARGIN = 1.3
# Quicker than this a change of the response time is noise of the machine, not the carrier.
NOISE_S = 0.02
BASE_S = 60.0
FAR_S = 60.0
SOFT_S = 30.0


class Signals(Struct, frozen=True, kw_only=True):
    """What an account heard and did in the last `span_s`, about a second.

    sent                    PDUs written
    answered                responses of any status
    ok                      of them accepted
    throttled               refused for speed; 0x14 too, where so many recipients' queues are full that it is the
                            account's own (rule 5: the exchange tells it by the spread, and delays single recipients)
    temporary               refused with 0x08 or 0x45
    timeouts                given up without an answer since the last feed
    p50_s, p99_s            from submit to response; None: no response
    window_full, rate_held  shares of the looks at which a bind's window, or the throttle, was what stopped it
    is_full                 every bind's window is full now
    congestion              the last congestion_state; None: never one
    binds                   that submit now
    """

    span_s: float = 1.0
    sent: int = 0
    answered: int = 0
    ok: int = 0
    throttled: int = 0
    temporary: int = 0
    timeouts: int = 0
    p50_s: float | None = None
    p99_s: float | None = None
    window_full: float = 0.0
    rate_held: float = 0.0
    is_full: bool = False
    congestion: int | None = None
    binds: int = 1


class Decision(Struct, frozen=True, kw_only=True):
    """What holds from now on; times are monotonic seconds.

    window         unanswered requests a bind
    pacing         bucket: a twentieth of a second may leave at once. gap: never two PDUs closer than 1 / rate
    hold_until     refused segments are not tried again before; 0: as it is
    silence_until  nothing at all leaves before; 0: as it is
    asks_link      send an enquire_link on every bind now
    """

    rate_per_s: int
    window: int
    pacing: str
    hold_until: float = 0.0
    silence_until: float = 0.0
    asks_link: bool = False


class Cut(Struct, frozen=True, kw_only=True):
    """One reduction of the rate, and why."""

    at: float
    before: int
    after: int
    cause: str


class Pace:
    """The adaptive rate of one account.

    settings   tps is the ceiling nobody passes, 0: none is known; window the ceiling of a bind's window
    now        monotonic seconds
    """

    def __init__(self, settings: CarrierSettings, now: float):
        self._settings = settings
        self._set_cap(settings.tps)
        self.window_ceiling = settings.window
        self.window = min(settings.window, max(settings.window_floor, 1))
        self.pacing = "gap" if settings.pacing == "gap" else "bucket"
        self.ceiling: int | None = None
        self.last_cut: Cut | None = None
        self.is_soft = False
        self._probe_s = settings.probe_interval_s
        self._gap_since, self._gap_share = -math.inf, 0.0
        self._counts_until = -math.inf
        self._temporary_cut_at = -math.inf
        # (moment, p50) of the last minute: what a response takes while nothing holds it up is the least of them.
        self._bases: deque[tuple[float, float]] = deque()
        self._window_at = now
        self._shrinks_from: float | None = None
        self._far_until = -math.inf
        self._soft_until = -math.inf
        self._background = Background()
        # The rate of the last look, since when it holds, and when a second of it was counted last.
        self._held, self._held_since, self._counted_at = 0, now, now
        self._lowered_at = self._cut_at = -math.inf
        self._begin(now)

    def _set_cap(self, tps: int) -> None:
        self.cap = tps or HIGHEST_PER_S

    def _start(self, tps: int) -> int:
        """Say what is begun with where nothing is known but a limit."""
        start = self._settings.adaptive_start * tps if tps else UNKNOWN_START_PER_S
        return max(1, min(self.cap, math.ceil(start)))

    def _begin(self, now: float) -> None:
        self.rate = self._start(self._settings.tps)
        self.clean = 0
        self.high: int | None = None
        self._step = SLOW_START
        self._is_searching = True
        self._probe_at = now + self._probe_s
        self._raised_at = now
        self._guard_until = now
        self._hold_until = now
        self._silence_until = now
        self._refused_since: float | None = None
        self._drips: deque[float] = deque()
        self._why = "slow start"

    # -- what the owner tells ---------------------------------------------------------------------------------------

    def restart(self, now: float) -> Decision:
        """Begin anew: no bind stood, and one has come back. What is known of the ceiling is kept."""
        self._begin(now)
        if self.ceiling is not None:
            self._is_searching = False
        return self._decision()

    def change(self, tps: int, window: int, now: float) -> Decision:
        """Take other limits, of an operator or a share; a higher one is gone to by a search, a lower one holds at once.

        What the old one kept below what the new one is begun with is begun with it: whoever takes over from a dead
        worker had a share of nothing before, and would need half a minute from there.
        """
        before = self.cap
        self._set_cap(tps)
        self.window_ceiling = window
        self.window = min(self.window, window)
        self.rate = min(self.rate, self.cap)
        if self.clean:
            self.clean = min(self.clean, self.cap)
        self._step = PROBE_STEP
        self._is_searching = True
        self.high = None
        self._raised_at = now
        self._why = "limits were changed"
        if before < self._start(tps) and self.ceiling is None:
            self.rate, self._step, self._why = self._start(tps), SLOW_START, "slow start"
        return self._decision()

    def tune(self, settings: CarrierSettings) -> None:
        """Take other settings but tps and window, which are changed by `change`; they count from the next feed on."""
        self._settings = settings

    def feed(self, now: float, signals: Signals) -> Decision | None:
        """Judge the last second; -> what changes, None when nothing does. To be called every 50 ms or so."""
        before = self.rate, self.window, self.pacing
        hold_until, silence_until = self._hold_until, self._silence_until
        self._size_window(now, signals)
        self._count(now, signals)
        if not self._judge(now, signals):
            self._raise(now, signals)
        if before == (self.rate, self.window, self.pacing) and hold_until == self._hold_until and not signals.timeouts:
            return None
        return self._decision(
            hold_until=self._hold_until if self._hold_until != hold_until else 0.0,
            silence_until=self._silence_until if self._silence_until != silence_until else 0.0,
            asks_link=signals.timeouts > 0,
        )

    def _decision(self, hold_until: float = 0.0, silence_until: float = 0.0, asks_link: bool = False) -> Decision:
        return Decision(
            rate_per_s=self.rate, window=self.window, pacing=self.pacing,
            hold_until=hold_until, silence_until=silence_until, asks_link=asks_link,
        )  # fmt: skip

    @property
    def settled(self) -> int:
        """The rate to come back to after a cut."""
        ceiling = self.cap if self.ceiling is None else self.ceiling
        return max(1, min(self.cap, max(int(SETTLE * ceiling), self.clean)))

    def reasons(self, now: float) -> tuple[str, ...]:
        """Say where the rate stands, the ceiling, the last cut and its cause, and what would raise it."""
        said = [f"rate {self.rate}/s ({self._why}), pacing by {self.pacing}, window {self.window} a bind"]
        if self.ceiling is None:
            said.append(
                "no ceiling found below the limit that is set" if self._settings.tps else "no ceiling found yet"
            )
        else:
            said.append(f"ceiling {self.ceiling}/s: what the carrier accepted while it refused more")
        background = self._background.share(now, self.rate)
        if background:
            said.append(f"{background:.1%} of the answers refuse for speed at lower rates too: that lowers nothing")
        if self.last_cut is not None:
            cut = self.last_cut
            said.append(f"cut from {cut.before}/s to {cut.after}/s {now - cut.at:.0f} s ago: {cut.cause}")
        if now < self._silence_until:
            said.append(f"silent for {self._silence_until - now:.0f} s more, as the carrier demands")
        elif self.rate >= self.cap:
            said.append("only a higher tps would raise it")
        elif self.is_soft:
            said.append("rises when responses take their usual time again")
        elif now < self._hold_until:
            said.append(f"held for {self._hold_until - now:.1f} s more")
        elif self._is_searching or self.rate < self.settled:
            said.append("rises after each second without a refusal in which the rate is what bounds it")
        else:
            said.append(f"the next probe is in {max(0.0, self._probe_at - now):.0f} s, if the rate is what bounds it")
        return tuple(said)

    # -- down -------------------------------------------------------------------------------------------------------

    def _judge(self, now: float, signals: Signals) -> bool:
        """Look for refusals; -> whether there are any that speak against a raise."""
        refused = signals.throttled
        congestion = signals.congestion or 0
        if not refused:
            self._refused_since = None
        if now < self._guard_until:
            return True
        if congestion >= CONGESTED:
            self._cut(now, signals, f"congestion_state {congestion}")
            return True
        if congestion >= NEARLY:
            self._lower(now, f"congestion_state {congestion}")
            return True
        share = refused / max(1, signals.answered)
        background = self._background
        if refused and background.bears(now, self.rate, signals.answered, refused):
            # They say nothing of this rate; how many they are where it is lower is still being counted.
            if background.is_open(now, self.rate):
                return True
            if now == self._counted_at and background.lasts(now, self.rate):
                self.high = self.rate
                self._lower(now, "for ten seconds more were refused than at a lower rate")
                return True
            refused = 0
        if refused:
            self._refused_since = now if self._refused_since is None else self._refused_since
            is_trial = self._is_trial(now)
            is_many = refused >= 2 and share > REFUSED_SHARE
            if self._learn_gap(now, signals, is_many):
                return True
            if is_many:
                cause = f"{refused} of {signals.answered} answers in a second were refused for speed"
                # A raise has its answer at once; otherwise a whole second of refusals measures what is accepted.
                if is_trial or now - self._refused_since >= 1.0:
                    self._background.blame(now, min(self.rate, round(signals.ok / signals.span_s)), share)
                    self._cut(now, signals, cause, is_trial)
            elif is_trial:
                self._take_back(now)
            else:
                self._drip(now, signals)
            return True
        temporary = signals.temporary
        if (
            temporary >= 3
            and temporary > TEMPORARY_SHARE * signals.answered
            and now - self._temporary_cut_at > TEMPORARY_AGAIN_S
        ):
            self._temporary_cut_at = now
            self._cut(now, signals, f"{temporary} of {signals.answered} answers in a second were temporary errors")
            return True
        return congestion >= OPTIMUM or temporary > TEMPORARY_SHARE * signals.answered

    def _count(self, now: float, signals: Signals) -> None:
        """Keep each whole second that was sent at one rate, and see whether that was blamed wrongly."""
        if self.rate != self._held:
            self._held, self._held_since = self.rate, now
        if now - max(self._held_since + self._rtt_s, self._counted_at) < signals.span_s:
            return
        self._counted_at = now
        background = self._background
        background.add(now, self.rate, signals.answered, signals.throttled)
        if self.pacing == "gap" and self._settings.pacing == "auto":
            answered, refused = background.below(now, self.rate, self._gap_since + 1.0 + self._rtt_s)
            if refused >= ENOUGH and refused >= self._gap_share / 4 * answered:
                # Even pacing has not helped, so it was not that.
                self.pacing = "bucket"
                self._counts_until = now + NO_GAP_S
        if now >= self._guard_until and background.acquits(now):
            self.ceiling = self.high = None
            self.clean = self.rate
            self._step = SLOW_START
            self._is_searching = True
            self._probe_s = self._settings.probe_interval_s
            self._lowered_at = -math.inf
            self._drips.clear()
            self._why = "as many are refused at a lower rate"

    def _is_trial(self, now: float) -> bool:
        """Whether the rate is one that was raised just now and never held for a second."""
        return 0 < self.clean < self.rate and now - self._raised_at < 2.0 + self._rtt_s

    @property
    def _rtt_s(self) -> float:
        return min((base for _, base in self._bases), default=0.0) if self.p99_s is None else self.p99_s

    p99_s: float | None = None

    def _cut(self, now: float, signals: Signals, cause: str, is_trial: bool = False) -> None:
        """Go to 0.85 of what was accepted, hold there, and remember."""
        failed = self.rate
        accepted = max(1, round(signals.ok / signals.span_s))
        after = int(CUT * min(accepted, failed))
        if is_trial:
            self.ceiling = min(failed, max(accepted, self.clean))
        else:
            if now - self._cut_at < self._settings.throttle_hold_s + 3.0:
                after = min(after, failed // 2)
            self.ceiling = min(failed, accepted)
            self.clean = 0
            self._step = SEARCH_STEP
        self.high = failed
        self._cut_at = now
        self._fail_probe(now)
        self._is_searching = True
        self.rate = max(1, after)
        self.last_cut = Cut(at=now, before=failed, after=self.rate, cause=cause)
        self._why = "cut"
        self._hold_until = now + self._settings.throttle_hold_s
        if self._settings.throttle_silence:
            self._silence_until = self._hold_until
        # What left before the cut is answered, and a second passes, before the new rate is judged.
        self._guard_until = max(now + self._rtt_s + 1.0, self._silence_until)
        self._refused_since = None

    def _take_back(self, now: float) -> None:
        """A raise met one refusal: it was too much, and nothing more."""
        self.high = self.rate
        self.rate = max(1, min(self.rate - 1, self.clean))
        self._why = "a raise was refused"
        self._fail_probe(now)
        self._guard_until = now + self._rtt_s + 1.0
        self._raised_at = self._guard_until

    def _fail_probe(self, now: float) -> None:
        """The next probe comes later."""
        if not self._is_searching:
            return
        self._probe_s = min(PROBE_LONGEST_S, self._probe_s * 2.0) if self._why == "probe" else self._probe_s
        self._probe_at = now + self._probe_s

    def _drip(self, now: float, signals: Signals) -> None:
        """Single refusals cut nothing; when they keep coming, the rate is a hair too high."""
        if self._drips and now - self._drips[-1] < 1.0:
            return
        self._drips.append(now)
        while now - self._drips[0] > DRIPS_S:
            self._drips.popleft()
        if len(self._drips) >= DRIPS:
            self._drips.clear()
            self.high = self.rate
            # Where timers are coarse less than the rate is sent: below what was sent is what counts.
            self.rate = min(self.rate, int(signals.sent / signals.span_s) + 1)
            # One after the other is one question: whether they cease on the way to a rate that is a tenth lower.
            is_again, self._lowered_at = now - self._lowered_at < AGAIN_S, now
            if not is_again:
                self._background.blame(now, self.rate, DRIPS / max(DRIPS, DRIPS_S * signals.answered))
            self._lower(now, "single refusals kept coming")

    def _lower(self, now: float, cause: str) -> None:
        """Two hundredths less."""
        before = self.rate
        self.rate = max(1, min(self.rate - 1, int(self.rate / PROBE_STEP)))
        self.clean = min(self.clean, self.rate)
        if self.ceiling is None or self.ceiling > before:
            self.ceiling = before
        self.last_cut = Cut(at=now, before=before, after=self.rate, cause=cause)
        self._why = "lowered"
        self._is_searching = False
        self._guard_until = now + self._rtt_s + 1.0

    def _learn_gap(self, now: float, signals: Signals, is_many: bool) -> bool:
        """Tell a carrier that measures gaps from one that counts; -> whether even pacing is tried first.

        Refused at a rate that was clean before, or with far fewer sent than that: two of them came too close. If even
        pacing does not halve what is refused, the carrier counts, and counts fewer than it did.
        """
        if self._settings.pacing != "auto":
            return False
        if self.pacing == "gap":
            helps = signals.throttled < self._gap_share / 2 * signals.answered
            if is_many and not helps and now - self._gap_since < 3.0 + self._rtt_s:
                self.pacing = "bucket"
                # A handful may be chance, and the handful for which even pacing was tried was, too.
                self._counts_until = now + (COUNTS_S if signals.throttled >= PLENTY else NO_GAP_S)
            return False
        share, background = signals.throttled / max(1, signals.answered), self._background.share(now, self.rate)
        if background and share < 2.0 * background + GAPS_SHARE:
            return False
        is_idle = signals.sent <= 0.7 * (self.clean or self.rate) * signals.span_s
        if now < self._counts_until or not (is_idle or 0 < self.rate <= self.clean):
            return False
        self.pacing = "gap"
        self._why = "the carrier may refuse what comes too soon after the one before"
        self._gap_since, self._gap_share = now, share
        self._guard_until = now + self._rtt_s + 1.0
        return True

    # -- up ---------------------------------------------------------------------------------------------------------

    def _raise(self, now: float, signals: Signals) -> None:
        """Raise after a clean second in which the rate was what bounded us; once a second at most."""
        since = max(self._raised_at, self._hold_until - 1.0)
        if now < self._hold_until or now < since + 1.0 + self._rtt_s:
            return
        is_bound = signals.rate_held >= 0.5 and signals.sent >= 0.8 * self.rate * signals.span_s
        # One PDU a second is never seen to be bound by it within a second.
        if not is_bound and not (self.rate < 4 and signals.rate_held > 0.0):
            return
        if signals.window_full > 0.5 or self.is_soft or self._is_slow(signals):
            return
        self.clean = max(self.clean, self.rate)
        if self.rate >= self.cap:
            self._why = "the limit that is set"
            return
        settled = self.settled
        if self.ceiling is not None and self.rate < settled:
            self._go(now, min(settled, int(self.rate * SLOW_START) + 1), "on the way back")
            return
        if not self._is_searching:
            if now < self._probe_at:
                return
            self._is_searching = True
            self._step = PROBE_STEP
            self.high = None
            self._why = "probe"
        target = max(self.rate + 1, int(self.rate * self._step))
        if self.high is not None:
            target = max(self.rate + 1, min(target, int(math.sqrt(self.rate * self.high))))
            if self.high - self.rate <= max(1.0, 0.03 * self.rate) or target >= self.high:
                self._is_searching = False
                self._probe_at = now + self._probe_s
                self._why = "settled"
                return
        elif self.ceiling is not None and self.rate > self.ceiling * 1.05:
            # The limit has moved up: what was known of it is no measure any more.
            self.ceiling = None
            self._probe_s = self._settings.probe_interval_s
        if self._step < SLOW_START:
            self._step = min(STEP_MOST, self._step * self._step)
        self._go(now, target, self._why if self._why in ("probe", "slow start") else "searching")

    def _go(self, now: float, rate: int, why: str) -> None:
        self.rate = min(self.cap, rate)
        self._raised_at = now
        self._why = why

    # -- the window -------------------------------------------------------------------------------------------------

    def _base_s(self) -> float | None:
        return min((base for _, base in self._bases), default=None)

    def _is_slow(self, signals: Signals) -> bool:
        """Whether responses take more than twice what they took while nothing held them up."""
        base = self._base_s()
        return base is not None and signals.p99_s is not None and signals.p99_s > 2.0 * base + NOISE_S

    def _size_window(self, now: float, signals: Signals) -> None:
        """Little's law between floor and ceiling: in flight = rate × response time."""
        if signals.p50_s is not None:
            self.p99_s = signals.p99_s
            # While a carrier holds answers up, they say nothing of what they would take without.
            if self.is_soft:
                self._bases = deque((now, took) for _, took in self._bases)
            elif not self._bases or now - self._bases[-1][0] >= 1.0 or signals.p50_s < self._bases[-1][1]:
                self._bases.append((now, signals.p50_s))
            while now - self._bases[0][0] > BASE_S:
                self._bases.popleft()
        ceiling, floor = self.window_ceiling, min(self._settings.window_floor, self.window_ceiling)
        if signals.timeouts:
            self.window = max(1, self.window // 2)
            self._window_at = now + 5.0
            return
        base, p99 = self._base_s(), signals.p99_s
        if base is None or p99 is None:
            # Nothing is answered: that may be the distance, which a wider window bridges.
            if signals.is_full and now >= self._window_at and not self.is_soft:
                self.window = min(ceiling, 2 * self.window)
            return
        sent = signals.sent / signals.span_s
        is_slow = self._is_slow(signals) and not signals.throttled
        is_bound = signals.window_full > 0.5 and sent < 0.9 * self.rate
        if is_slow and is_bound and now >= self._far_until and self.window > floor:
            self._try_less(now, signals, base, floor)
            return
        self._shrinks_from = None if not is_slow else self._shrinks_from
        self.is_soft = self.is_soft and is_slow
        if now < self._window_at:
            return
        want = max(floor, min(ceiling, math.ceil(self.rate * SLOW_START * p99 * MARGIN / max(1, signals.binds))))
        if self.is_soft or now < self._soft_until:
            # It was the carrier that was slow: back in small steps.
            if signals.is_full and not is_slow and now - self._window_at >= 1.0:
                self._window_at = now
                self.window = min(ceiling, self.window + max(1, self.window // 10))
        elif signals.is_full and not is_slow and sent < 0.9 * self.rate:
            self.window = min(ceiling, max(2 * self.window, want))
        elif want > self.window:
            # Slow, and fewer answers than requests: what a wider window takes would only wait at the SMSC.
            if not is_slow or signals.answered >= 0.95 * signals.sent:
                self.window = want
        elif want < 0.7 * self.window and now - self._window_at >= 1.0:
            self._window_at = now
            self.window = max(want, int(0.8 * self.window))

    def _try_less(self, now: float, signals: Signals, base: float, floor: int) -> None:
        """Slow without an error: the carrier delays, or it is far. Only then does a smaller window cost rate."""
        if now - self._window_at < 1.0 + min(2.0, self._rtt_s):
            return
        self._window_at = now
        answered = signals.answered / signals.span_s
        if self._shrinks_from is None:
            self._shrinks_from = answered
        elif answered < 0.9 * self._shrinks_from:
            # Far, then: this is what a response takes from now on.
            self._far_until = now + FAR_S
            self._shrinks_from = None
            self.is_soft = False
            self._bases.clear()
            self.window = self.window_ceiling
            return
        else:
            self.is_soft = True
            self._soft_until = now + SOFT_S
            self._why = "responses take more than twice their usual time"
        target = max(floor, math.ceil(answered * base * MARGIN / max(1, signals.binds)))
        # Never by so much that what is in flight has to be waited for longer than half a second.
        drained = int(answered / max(1, signals.binds) / 2)
        self.window = max(target, self.window - max(1, min(drained, self.window // 5)))
