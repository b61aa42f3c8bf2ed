"""Gives places back, as one worker for all of them: messages that passed the gate and went nowhere (CP-2).

every 2 s    take the job ─► lane by lane: what expired with the carrier and is wanted still goes back to the queue,
             once (QH-6) ─► what failed since we looked ─► of whose message nothing went ─► their
             reservations are returned, the people's side ─► how far we looked, the lane's side
every 10 min the last hour once more: what was committed late, or by a host whose clock is behind
every hour   months of contact pages ahead

A place is free again in seconds; a message in doubt keeps its. A worker that dies leaves nothing half done: the next
one does the last piece again, which changes nothing.
Not here: what went nowhere, and how it is returned (store/returns.py); what the gate itself withdraws (admission.py).
"""

import asyncio
import logging
from datetime import datetime, timedelta

from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import StoreError
from gateway.store import jobs, months, postgres, returns, runs

log = logging.getLogger(__name__)

JOB = "returns"
ROUND_S = 2.0
STEP_S = 30.0
SWEEP_S = 600.0
MONTHS_S = 3600.0
MONTHS_AHEAD = 2
# Outcomes are told by their moment and committed a flush later.
OVERLAP = timedelta(seconds=5)
SWEPT = timedelta(hours=1)
_NEXT = timedelta(microseconds=1)


class Returning:
    """The loop of one worker; all but one of them find that another has the job."""

    def __init__(self, clock: Clock, connect: Connect, instance: str):
        self._clock = clock
        self._instance = instance
        self._line = Line(connect)
        self._sweep_at = self._months_at = clock.monotonic()
        self.last_error = ""
        self.returned = 0
        self.queued = 0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.round()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! no place is given back: %s", error)
                self.last_error = str(error)
                await self._line.mend(error)
            await asyncio.sleep(ROUND_S)

    async def round(self) -> bool:
        """Give back what can be by now; -> False where another worker has the job.

        raises  StoreError; behind all lanes that could be served where it is of lanes alone
        """
        connection, now = await self._line.opened(), self._clock.wall()
        async with postgres.deadline(connection, STEP_S, "job"):
            if await jobs.take(connection, JOB, self._instance) is None:
                return False
            if self._clock.monotonic() >= self._months_at:
                await months.ensure(connection, "contact_page", months.ahead(now, MONTHS_AHEAD))
                self._months_at = self._clock.monotonic() + MONTHS_S
            if not await returns.asks_anybody(connection):
                return True
            lanes = sorted(await runs.lanes(connection))
        back = OVERLAP
        if self._clock.monotonic() >= self._sweep_at:
            back, self._sweep_at = SWEPT, self._clock.monotonic() + SWEEP_S
        missed: StoreError | None = None
        for lane in lanes:
            try:
                await self._lane(connection, lane, now, back)
            except StoreError as error:
                if not postgres.is_sound(connection, error):
                    raise
                # Its node is away: the others are served.
                missed = missed or error
        if missed is not None:
            raise missed
        return True

    async def _lane(self, connection: postgres.Connection, lane: int, now: datetime, back: timedelta) -> None:
        async with postgres.deadline(connection, STEP_S, f"returns of lane {lane}"):
            begun = await returns.upto(connection, lane, now)
        since = returns.Upto(outcomes=begun.outcomes - back, receipts=begun.receipts - back)
        # First, for what goes on keeps its place.
        async with postgres.deadline(connection, STEP_S, f"what expired on lane {lane}"):
            self.queued += await returns.again(connection, lane, since.receipts, now)
        has_more = True
        while has_more:
            async with postgres.deadline(connection, STEP_S, f"returns of lane {lane}"):
                found, done, has_more = await returns.nowhere(connection, lane, since, now)
            first = min(since.outcomes, since.receipts)
            for run, messages in found.items():
                async with postgres.deadline(connection, STEP_S, f"returns of run {run}"):
                    self.returned += await returns.give_back(connection, run, messages, first)
            # Only behind the people's COMMIT: whoever goes on from here need not look at these again.
            async with postgres.deadline(connection, STEP_S, f"returns of lane {lane}"):
                await returns.note(connection, lane, done, now)
            since = returns.Upto(outcomes=done.outcomes + _NEXT, receipts=done.receipts + _NEXT)

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()
