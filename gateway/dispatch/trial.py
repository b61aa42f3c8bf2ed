"""Whether a change of settings made an account worse: figures of before against those since.

    look, look, look … ─► the last 10 s ── change ──► 5 s that slide ─► fault: why it is taken back, or nothing

Counters and moments are arguments; nothing is read and nothing is decided about by whom (control.py).
"""

from collections import deque

from msgspec import Struct

from _fastpath.histogram import Histogram
from _fastpath.ledger import Ledger

# What counts as before; how much of what came since, and from when on; after so long a change has stood its trial.
BEFORE_S = 10.0
SINCE_S = 5.0
LEAST_S = 1.0
TRIAL_S = 60.0


class Bounds(Struct, frozen=True, kw_only=True):
    """How much worse is worse.

    throttled_share, throttled_times    of the answers: both must be passed, by so many refusals at least
    error_points                        by so much the share of temporary errors and missing answers may rise
    p99_times, p99_more_ms              both must be passed by the 99th percentile of the response time
    least_answers                       with fewer nothing is judged
    """

    throttled_share: float = 0.01
    throttled_times: float = 3.0
    throttled_least: int = 3
    error_points: float = 0.02
    errors_least: int = 3
    p99_times: float = 3.0
    p99_more_ms: float = 100.0
    least_answers: int = 20


BOUNDS = Bounds()


class Figures(Struct, frozen=True, kw_only=True):
    """What an account heard in a span; p99_ms None: nothing was answered."""

    answered: int = 0
    throttled: int = 0
    temporary: int = 0
    unanswered: int = 0
    p99_ms: float | None = None

    @property
    def throttled_share(self) -> float:
        """Of the answers."""
        return self.throttled / max(1, self.answered)

    @property
    def error_share(self) -> float:
        """Temporary errors and missing answers, of all that should have been answered."""
        return (self.temporary + self.unanswered) / max(1, self.answered + self.unanswered)


def fault(before: Figures, since: Figures, bounds: Bounds = BOUNDS) -> str:
    """Say what became worse; empty: nothing that can be told from so few answers."""
    if since.answered + since.unanswered < bounds.least_answers:
        return ""
    share, was = since.throttled_share, before.throttled_share
    is_many = since.throttled >= bounds.throttled_least
    if is_many and share > bounds.throttled_share and share > bounds.throttled_times * was:
        return f"throttled answers rose from {was:.1%} to {share:.1%}"
    share, was = since.error_share, before.error_share
    if since.temporary + since.unanswered >= bounds.errors_least and share > was + bounds.error_points:
        return f"temporary errors and missing answers rose from {was:.1%} to {share:.1%}"
    if before.p99_ms is not None and since.p99_ms is not None and before.answered >= bounds.least_answers:
        most_ms = max(bounds.p99_times * before.p99_ms, before.p99_ms + bounds.p99_more_ms)
        if since.p99_ms > most_ms:
            return f"the 99th percentile of response times rose from {before.p99_ms:.0f} ms to {since.p99_ms:.0f} ms"
    return ""


class Look(Struct, frozen=True):
    """The counters at one moment."""

    at: float
    answered: int
    throttled: int
    temporary: int
    unanswered: int
    times: Histogram


def between(first: Look, last: Look) -> Figures:
    """What happened between two looks."""
    p99_us = last.times.since(first.times).quantile(0.99)
    return Figures(
        answered=last.answered - first.answered,
        throttled=last.throttled - first.throttled,
        temporary=last.temporary - first.temporary,
        unanswered=last.unanswered - first.unanswered,
        p99_ms=None if p99_us is None else p99_us / 1e3,
    )


class Trial:
    """One account: its figures, and the order that is tried."""

    def __init__(self, bounds: Bounds = BOUNDS):
        self._bounds = bounds
        self._looks: deque[Look] = deque()
        self._began: Look | None = None
        self._before = Figures()
        self.order: int | None = None

    def look(self, now: float, ledger: Ledger) -> None:
        """Take the counters; to be called a few times a second."""
        self._looks.append(
            Look(
                now,
                ledger.responses,
                ledger.throttled,
                ledger.retried,
                ledger.uncertain,
                ledger.submit_to_response.copy(),
            )
        )
        while len(self._looks) > 1 and self._looks[1].at <= now - BEFORE_S:
            self._looks.popleft()

    def begin(self, order: int) -> None:
        """A change took place at the last look."""
        self.order = order
        self._began = self._looks[-1]
        self._before = between(self._looks[0], self._began)

    def end(self) -> None:
        """Judge it no more."""
        self.order = self._began = None

    def fault(self) -> str:
        """Say why the change that is tried should be taken back; empty: it should not, or nothing is tried any more."""
        began, last = self._began, self._looks[-1] if self._looks else None
        # A burst of refusals at the moment of the change says little.
        if began is None or last is None or last.at - began.at < LEAST_S:
            return ""
        if last.at - began.at >= TRIAL_S:
            self.end()
            return ""
        since = max(began.at, last.at - SINCE_S)
        first = next(look for look in self._looks if look.at >= since)
        return fault(self._before, between(first, last), self._bounds)
