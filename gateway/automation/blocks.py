"""Mirrors what carriers say of numbers, and lets time lift it, as one worker for all (CN-7, CN-11).

every 5 s      the answers of each lane whose carrier has a `suppress` ─► enough of them ─► the feed of STOPs
every hour     who was suppressed by time alone so long ago ─► lifted, unless there is another reason

Not here: which answers mean what (settings of the carrier), how they are counted (store/blocks.py).
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from gateway.automation.job import Every, Job
from gateway.config import Settings
from gateway.store import blocks, postgres, runs, stops
from gateway.suppression import BY_TIME

LIFT_S = 3600.0
BUCKETS = 256
A_STEP = 1000


class Blocks(Job):
    """The loop of one worker."""

    NAME = "blocks"
    ROUND_S = 5.0
    UNDONE = "what carriers say of numbers is not followed"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
    ):
        super().__init__(wall, connect, instance)
        self._meanings = {name: carrier.suppress for name, carrier in settings.carriers.items() if carrier.suppress}
        self._days = settings.retention.invalid_days
        self._lifting = Every(LIFT_S)
        self.suppressed = 0
        self.lifted = 0

    def is_due(self, now: datetime) -> bool:
        """Say whether a carrier's answers mean anything, or an hour has passed."""
        return bool(self._meanings) or self._lifting.is_due(now)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Read the answers of each lane; lift what time lifts, once an hour."""
        for name, meanings in self._meanings.items():
            async with postgres.deadline(connection, self.STEP_S, f"answers of {name}"):
                lane = await runs.lane_of(connection, name, now)
                self.suppressed += await blocks.look(connection, lane, meanings, now)
        if self._lifting.is_due(now):
            await self._lift(connection, now)
            self._lifting.done(now)
        return True

    async def _lift(self, connection: postgres.Connection, now: datetime) -> None:
        """Lift whose every reason is over by time, and forget what counts no more."""
        before = now - timedelta(days=self._days)

        def is_over(source: str, at: datetime) -> bool:
            return source in BY_TIME and at < before

        for source in BY_TIME if self._days else ():
            some = [0]
            while some:
                async with postgres.deadline(connection, self.STEP_S, "lift"):
                    some = await stops.old(connection, source, some[-1], before, A_STEP)
                    note = f"{self._days} days have passed"
                    self.lifted += len(await stops.lift(connection, some, is_over, at=now, note=note)) if some else 0
        for bucket in range(BUCKETS):
            async with postgres.deadline(connection, self.STEP_S, "strikes"):
                await blocks.forget(connection, bucket, now)
