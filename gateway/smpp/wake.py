"""The one timer of an account: somebody is called when a moment has come.

    set(at) ─► timerfd ─► the loop's reader ─► call      to a twentieth of a millisecond; an exact one to a hundredth
          └──► call_later ────────────────────► call      to the millisecond: another clock, another system

From the moment itself to the call it takes this machine some 50 us. For an exact moment the descriptor is set so much
sooner: half of the calls would come early then, by 10 us or so, and those wait out the rest awake.
A clock that is not the system's own (a test's, a simulation's) has moments that no descriptor knows of.
Not here: which moment that is (flow.py), what is done then (carrier.py).
"""

import asyncio
import contextlib
import time
from collections.abc import Callable

from _fastpath.wakeup import Wakeup

# How much sooner an exact moment is set, at most, and how fast that follows what is seen: the median of it, in the end.
LEAD_MOST_S = 0.0001
LEAD_STEP_S = 0.000001


class Wake:
    """The sooner of the moments that were set is kept; once it has come there is none.

    clock  monotonic seconds, as the moments are
    call   may set the next one; a moment that comes a hair early is one in which nothing may leave yet
    """

    def __init__(self, clock: Callable[[], float], call: Callable[[], None]):
        self._clock = clock
        self._call = call
        self._is_fine = clock is time.monotonic
        self._is_closed = False
        self._wakeup: Wakeup | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._lead_s = 0.0
        self._is_exact = False
        self.at: float | None = None

    def set(self, at: float, now: float, *, exact: bool = False) -> None:
        """Call at a moment, unless a sooner one is set.

        exact  as near to it as can be, for a few microseconds of CPU
        """
        if self._is_closed or (self.at is not None and self.at <= at):
            return
        if self._loop is None:
            self._attach(asyncio.get_running_loop())
        assert self._loop is not None
        self.at = at
        if self._wakeup is not None:
            self._is_exact = exact
            self._wakeup.set(at - self._lead_s if exact else at)
            return
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_later(at - now, self._rung)

    def open(self) -> None:
        """Call again, after `close`."""
        self._is_closed = False

    def close(self) -> None:
        """Call no more, and give the descriptor back."""
        self._is_closed = True
        self.at = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._wakeup is not None:
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._wakeup.fileno())
            self._wakeup.close()
            self._wakeup = None
        self._loop = None

    def _attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if not self._is_fine:
            return
        # No timerfd here, or no descriptor left: coarse timers then.
        with contextlib.suppress(OSError):
            wakeup = Wakeup()
            loop.add_reader(wakeup.fileno(), self._readable)
            self._wakeup = wakeup

    def _readable(self) -> None:
        wakeup, at = self._wakeup, self.at
        # One that was set anew since the loop saw it is not due yet.
        if wakeup is None or at is None or not wakeup.take():
            return
        if self._is_exact:
            is_early = self._clock() < at
            step_s = -LEAD_STEP_S if is_early else LEAD_STEP_S
            self._lead_s = min(LEAD_MOST_S, max(0.0, self._lead_s + step_s))
            wakeup.spin(at)
        self._rung()

    def _rung(self) -> None:
        self._handle = None
        self.at = None
        self._call()
