"""What did not end by itself: receipts that wait for their segment, chunks of dead workers, segments in doubt.

    every match_interval   match    waiting receipts of the last minute ─► segments that have got their message_id
    every 10 s             match    all that wait; then adopt: one receipt, one segment in doubt, the same number
                           rescue   chunks whose lease is over ─► in doubt below the watermark, ready above it
                           repeat   in doubt longer than the evidence period, policy at_least_once ─► a chunk of their own
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from gateway.config import WorkerSettings
from gateway.dispatch.clock import Clock
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, queue

log = logging.getLogger(__name__)

RECENT = timedelta(seconds=60)
SLOW_S = 10.0
# Outcomes of a chunk in doubt are looked for so far back.
OUTCOMES_BACK = timedelta(days=3)


class Rescue:
    """The slow loop of one lane on this worker."""

    def __init__(
        self, carrier: Carrier, settings: WorkerSettings, clock: Clock, connect: "Callable[[], Any]", deadline_s: float
    ):
        self._carrier = carrier
        self._settings = settings
        self._clock = clock
        self._connect = connect
        self._deadline_s = deadline_s
        self._connection: asyncpg.Connection[Any] | None = None
        self._seen_waiting = -1
        self.matched = 0
        self.adopted = 0
        self.doubted = 0
        self.repeated = 0

    async def run(self, dead: Sequence[str] = ()) -> None:
        """Work until cancelled; first of all take over from instances known to be dead."""
        slow_at = self._clock.monotonic()
        slow_s = min(SLOW_S, max(0.5, self._settings.evidence_s / 4))
        while True:
            try:
                is_slow = self._clock.monotonic() >= slow_at
                await self.step(is_slow, dead)
                if is_slow:
                    dead = ()
                    slow_at = self._clock.monotonic() + slow_s
            except StoreError as error:
                log.warning("! lane %d: %s", self._carrier.lane, error)
                await self.close()
            await asyncio.sleep(self._settings.match_interval_s)

    async def step(self, is_slow: bool, dead: Sequence[str] = ()) -> None:
        """Do one round; -> nothing, the counters tell."""
        carrier = self._carrier
        lane = carrier.lane
        if not is_slow and carrier.ledger.receipts_waiting == self._seen_waiting and not self.matched_lately:
            return
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        now = self._clock.wall()
        waiting = carrier.ledger.receipts_waiting
        async with postgres.deadline(connection, self._deadline_s, f"match of lane {lane}"):
            if is_slow:
                _, doubted = await queue.rescue(connection, lane, now, dead, now - OUTCOMES_BACK)
                self.doubted += doubted
                if doubted:
                    log.warning("! lane %d: %d segments in doubt from a worker that is gone", lane, doubted)
            self._lately = 0
            if await queue.any_waiting(connection, lane):
                self._lately = await queue.match(connection, lane, now - (timedelta(days=3650) if is_slow else RECENT))
                self.matched += self._lately
                if is_slow:
                    slack = timedelta(seconds=self._settings.lease_s + carrier.settings.response_timeout_s + 5)
                    self.adopted += await queue.adopt(connection, lane, now - timedelta(seconds=2), slack)
            if is_slow:
                evidence = timedelta(seconds=self._settings.evidence_s)
                self.repeated += await queue.repeat(connection, lane, now - evidence, now)
                await queue.forget_flushes(connection, lane, now - timedelta(minutes=10))
        self._seen_waiting = waiting

    _lately = 0

    @property
    def matched_lately(self) -> bool:
        """Tell whether the last round found any: then the next may, too."""
        return self._lately > 0

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(self._connection)
            self._connection = None
