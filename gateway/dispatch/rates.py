"""What this worker may send of runs that have a rate: a purse for each, filled a few times a second.

    every 250 ms: what is in hand of such runs ─► hold their rows ─► what time has earned ─► purses ─► binds are pumped

A purse is a limit under which the batches of a run hang on every carrier of this worker (_fastpath/limit.pyx). The row
is one for all workers, so that whoever has something in hand may send it, and all together no more than the rate.
While Postgres is away nothing is granted, and nothing of these runs leaves.
Not here: the rate itself (automation/rates.py), how credit is counted (campaign/rates.py).
"""

import asyncio
import logging
import math

from _fastpath.backlog import Backlog
from _fastpath.limit import Limit
from gateway.campaign.rates import Credit, grant
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, rates

log = logging.getLogger(__name__)

TAKE_S = 0.25
# In a purse for so long: the next grant is there before it is empty, and who dies takes little with him.
AHEAD_S = 0.35
# What is granted for a quarter of a second leaves evenly over it, a little faster than it comes.
FASTER = 1.1
# Of a run without a rate, which has a ramp or a budget: at least so many, and what left since the last grant thrice.
LEAST = 200
# In hand on a carrier for so long: more of the run is not claimed there, since others could send it.
IN_HAND_S = 1.0


class Rates:
    """The loop of one worker."""

    def __init__(self, clock: Clock, connect: Connect, deadline_s: float):
        self._clock = clock
        self._line = Line(connect)
        self._deadline_s = deadline_s
        self._carriers: list[Carrier] = []
        self._purses: dict[int, Limit] = {}
        self._per_s: dict[int, float] = {}
        self._left: dict[int, int] = {}
        self._wake = asyncio.Event()
        self.last_error = ""

    def serve(self, carrier: Carrier) -> None:
        """Pump this carrier when there is more to send."""
        self._carriers.append(carrier)

    async def purse_of(self, connection: postgres.Connection, run: int) -> Limit | None:
        """Return the purse of a run that has a rate, or None; under a deadline of the caller. StoreError."""
        if run not in self._purses:
            planned = await rates.of_run(connection, run)
            if planned is None:
                return None
            purse = self._purses[run] = Limit(f"run {run}", per_message=True)
            purse.grant(0)
            self._per_s[run] = planned.per_s
        self._wake.set()
        return self._purses[run]

    def in_hand(self, backlog: Backlog) -> dict[int, int]:
        """Count what waits in a backlog of runs that have a rate."""
        found: dict[int, int] = {}
        for batch in backlog.batches() if self._purses else ():
            if batch.run in self._purses and not batch.dropped:
                found[batch.run] = found.get(batch.run, 0) + batch.n - batch.next_rank
        return found

    def full(self, in_hand: dict[int, int]) -> tuple[int, ...]:
        """Name the runs of which enough is in hand."""
        return tuple(run for run, n in in_hand.items() if self._is_enough(run, n))

    def _is_enough(self, run: int, n: int) -> bool:
        per_s = self._per_s[run]
        return n > max(1.0, per_s * IN_HAND_S) if per_s > 0 else not self._purses[run].left

    async def run(self) -> None:
        """Take until cancelled."""
        while True:
            if not self._purses:
                await self._wake.wait()
            try:
                await self.take()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! nothing is granted of runs that have a rate: %s", error)
                self.last_error = str(error)
                await self._line.mend(error)
            await asyncio.sleep(TAKE_S)

    async def take(self) -> None:
        """Take what may leave until the next time. StoreError."""
        waiting: dict[int, int] = {}
        for carrier in self._carriers:
            for run, n in self.in_hand(carrier.backlog).items():
                waiting[run] = waiting.get(run, 0) + n
        wanted = {run: n for run in waiting if (n := self._wanted(run, waiting[run])) > 0}
        if not wanted:
            return
        connection, now = await self._line.opened(), self._clock.wall()
        granted: dict[int, int] = {}
        async with postgres.deadline(connection, self._deadline_s, "take of rates"):
            async with connection.transaction():
                after: list[tuple[int, Credit]] = []
                for held in await rates.hold(connection, list(wanted)):
                    before = Credit(
                        per_s=held.per_s, credit=held.credit, at=held.credit_at, granted=held.granted,
                        goes_to=held.goes_to,
                    )  # fmt: skip
                    granted[held.run], credit = grant(before, wanted[held.run], now)
                    self._per_s[held.run] = held.per_s
                    after.append((held.run, credit))
                await rates.note(
                    connection, [run for run, _ in after], [one.credit for _, one in after],
                    [one.granted for _, one in after], now,
                )  # fmt: skip
        for run, n in granted.items():
            per_s = self._per_s[run]
            self._purses[run].grant(n, max(1, math.ceil(per_s * FASTER)) if per_s > 0 else 0)
            self._left[run] = self._purses[run].left or 0
        if any(granted.values()):
            for carrier in self._carriers:
                carrier.pump()

    def _wanted(self, run: int, waiting: int) -> int:
        left, per_s = self._purses[run].left or 0, self._per_s[run]
        ahead = max(1, math.ceil(per_s * AHEAD_S)) if per_s > 0 else max(LEAST, 3 * (self._left.get(run, 0) - left))
        return min(waiting, ahead) - left

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()
