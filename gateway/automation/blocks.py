"""Mirrors what carriers say of numbers, and lets time lift it, as one worker for all (CN-7, CN-11).

every 5 s      the answers of each lane whose carrier has a `suppress` ─► enough of them ─► the feed of STOPs
every hour     who was suppressed by time alone so long ago ─► lifted, unless there is another reason

Not here: which answers mean what (settings of the carrier), how they are counted (store/blocks.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from gateway.config import Settings
from gateway.errors import StoreError
from gateway.store import blocks, postgres, runs, stops
from gateway.suppression import BY_TIME

log = logging.getLogger(__name__)

ROUND_S = 5.0
LIFT_S = 3600.0
STEP_S = 30.0
BUCKETS = 256
A_STEP = 1000


class Blocks:
    """The loop of one worker; all but one of them find that another has the job."""

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
    ):
        self._meanings = {name: carrier.suppress for name, carrier in settings.carriers.items() if carrier.suppress}
        self._days = settings.retention.invalid_days
        self._wall = wall
        self._connect = connect
        self._instance = instance
        self._connection: postgres.Connection | None = None
        self._lifted_at: datetime | None = None
        self.last_error = ""
        self.suppressed = 0
        self.lifted = 0

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await asyncio.sleep(ROUND_S)
                try:
                    await self.round()
                    self.last_error = ""
                except StoreError as error:
                    if not self.last_error:
                        log.warning("! what carriers say of numbers is not followed: %s", error)
                    self.last_error = str(error)
                    await self.close()
        finally:
            await self.close()

    async def round(self) -> bool:
        """Do all that is due; -> False where another worker has the job, or nothing was due.

        raises  StoreError
        """
        now = self._wall()
        is_due = self._lifted_at is None or not 0 <= (now - self._lifted_at).total_seconds() < LIFT_S
        if not (self._meanings or is_due):
            return False
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        async with postgres.deadline(connection, STEP_S, "job"):
            if not await blocks.take_job(connection, self._instance):
                return False
        for name, meanings in self._meanings.items():
            async with postgres.deadline(connection, STEP_S, f"answers of {name}"):
                lane = await runs.lane_of(connection, name, now)
                self.suppressed += await blocks.look(connection, lane, meanings, now)
        if is_due:
            await self._lift(connection, now)
            self._lifted_at = now
        return True

    async def _lift(self, connection: postgres.Connection, now: datetime) -> None:
        """Lift whose every reason is over by time, and forget what counts no more."""
        before = now - timedelta(days=self._days)

        def is_over(source: str, at: datetime) -> bool:
            return source in BY_TIME and at < before

        for source in BY_TIME if self._days else ():
            some = [0]
            while some:
                async with postgres.deadline(connection, STEP_S, "lift"):
                    some = await stops.old(connection, source, some[-1], before, A_STEP)
                    note = f"{self._days} days have passed"
                    self.lifted += len(await stops.lift(connection, some, is_over, at=now, note=note)) if some else 0
        for bucket in range(BUCKETS):
            async with postgres.deadline(connection, STEP_S, "strikes"):
                await blocks.forget(connection, bucket, now)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(self._connection)
            self._connection = None
