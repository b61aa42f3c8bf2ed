"""What did not end by itself: receipts that wait for their segment, chunks of dead workers, segments in doubt.

every match_interval   match    waiting receipts of the last minute ─► segments that have got their message_id
every 10 s             match    all that wait; then adopt: one receipt, one segment in doubt, the same number
                       rescue   chunks whose lease is over ─► in doubt below the watermark, ready above it
                       repeat   in doubt longer than the evidence period, policy at_least_once ─► a chunk anew
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from gateway.config import WorkerSettings
from gateway.dispatch.clock import Clock
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, queue

log = logging.getLogger(__name__)

RECENT = timedelta(seconds=60)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# The ordinary match goes first.
ADOPTS_AFTER = timedelta(seconds=2)
SLOW_S = 10.0
# A receipt that came before its response is looked for so long, while the response is on its way to Postgres.
AFTERWARDS_S = 5.0
# Postgres was away: whose lease ran out meanwhile renews it first, before anybody takes what is his.
GRACE_S = 5.0


class Rescue:
    """The slow loop of one lane on this worker."""

    def __init__(
        self,
        carrier: Carrier,
        settings: WorkerSettings,
        clock: Clock,
        connect: Callable[[], Awaitable[postgres.Connection]],
        deadline_s: float,
        instance: str,
    ):
        self._carrier = carrier
        self._settings = settings
        self._clock = clock
        self._connect = connect
        self._deadline_s = deadline_s
        self._instance = instance
        self._connection: postgres.Connection | None = None
        self._seen_waiting = 0
        self._looks_until = clock.monotonic() + AFTERWARDS_S
        self.last_error = ""
        self.matched = 0
        self.adopted = 0
        self.rescued = 0
        self.doubted = 0
        self.repeated = 0

    async def run(self) -> None:
        """Work until cancelled."""
        slow_at = self._clock.monotonic() + GRACE_S
        slow_s = min(SLOW_S, max(0.5, self._settings.evidence_s / 4))
        while True:
            try:
                is_slow = self._clock.monotonic() >= slow_at
                await self.step(is_slow)
                if is_slow:
                    slow_at = self._clock.monotonic() + slow_s
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! lane %d: no rescue, no match: %s", self._carrier.lane, error)
                self.last_error = str(error)
                await self.close()
                slow_at = self._clock.monotonic() + max(GRACE_S, slow_s)
            await asyncio.sleep(self._settings.match_interval_s)

    async def take_over(self, dead: Sequence[str]) -> None:
        """Take over from instances known to be dead, whatever their leases say."""
        # A lease that is over today may be one that Postgres was away for: the loop looks at those.
        await self._step(True, dead, leases=False)

    async def step(self, is_slow: bool) -> None:
        """Do one round; -> nothing, the counters tell."""
        now = self._clock.monotonic()
        waiting = self._carrier.ledger.receipts_waiting
        if waiting != self._seen_waiting:
            self._seen_waiting = waiting
            self._looks_until = now + AFTERWARDS_S
        if is_slow or now < self._looks_until:
            await self._step(is_slow)

    async def _step(self, is_slow: bool, dead: Sequence[str] = (), *, leases: bool = True) -> None:
        lane = self._carrier.lane
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        now = self._clock.wall()
        async with postgres.deadline(connection, self._deadline_s, f"match of lane {lane}"):
            if is_slow:
                over_at = now if leases else LONG_AGO
                chunks, doubted = await queue.rescue(connection, lane, over_at, dead, now, rescuer=self._instance)
                self.rescued += chunks
                self.doubted += doubted
                if chunks:
                    log.warning("! lane %d: %d chunks of dead workers, %d segments in doubt", lane, chunks, doubted)
            if await queue.any_waiting(connection, lane):
                self.matched += await queue.match(connection, lane, LONG_AGO if is_slow else now - RECENT)
                if is_slow:
                    slack = timedelta(seconds=self._settings.lease_s + self._carrier.settings.response_timeout_s + 5)
                    self.adopted += await queue.adopt(connection, lane, now - ADOPTS_AFTER, slack)
            if is_slow:
                evidence = timedelta(seconds=self._settings.evidence_s)
                self.repeated += await queue.repeat(connection, lane, now - evidence, now)
                await queue.forget_flushes(connection, lane, now - timedelta(minutes=10))

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(self._connection)
            self._connection = None
