"""A job of automation: one worker of all does it, round by round, as long as it lives.

    run ─► every ROUND_S: a connection ─► is there anything to do? ─► take the job ─► work ─► and again
                          └─ Postgres away: told once, the connection closed, the next round begins anew

All but one worker find that another has the job; when that one is gone, the next to ask goes on. What a round leaves
half done at a crash the next one does again: a job's steps are transactions that change nothing the second time.
Not here: what is done (the rooms beside this one), how a job changes hands (store/jobs.py).
"""

import abc
import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import ClassVar

from gateway.errors import StoreError
from gateway.store import jobs, postgres

log = logging.getLogger(__name__)


class Job(abc.ABC):
    """The loop of one worker.

    wall      the time; of day, since what is due is due by the calendar
    connect   makes a connection of the job's own
    instance  the worker, as it is registered
    """

    NAME: ClassVar[str]  # in the table `job`
    ROUND_S: ClassVar[float]
    STEP_S: ClassVar[float] = 30.0  # of one transaction
    UNDONE: ClassVar[str]  # what does not happen while it cannot work, as a person would say it

    def __init__(
        self, wall: Callable[[], datetime], connect: Callable[[], Awaitable[postgres.Connection]], instance: str
    ):
        self._wall = wall
        self._connect = connect
        self._instance = instance
        self._connection: postgres.Connection | None = None
        self.last_error = ""
        # There is more than a round may take: the next one begins at once.
        self.has_more = False

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await asyncio.sleep(0.0 if self.has_more else self.ROUND_S)
                try:
                    await self.round()
                    self.last_error = ""
                except StoreError as error:
                    if not self.last_error:
                        log.warning("! %s: %s", self.UNDONE, error)
                    self.last_error = str(error)
                    self.has_more = False
                    await self.close()
        finally:
            await self.close()

    async def round(self) -> bool:
        """Do all that is due; -> False where another worker has the job, or nothing was due.

        raises  StoreError
        """
        self.has_more = False
        now = self._wall()
        if not self.is_due(now):
            return False
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        async with postgres.deadline(connection, self.STEP_S, f"job {self.NAME}"):
            if not await self.is_wanted(connection, now):
                return False
            if await jobs.take(connection, self.NAME, self._instance) is None:
                return False
        return await self.work(connection, now)

    def is_due(self, now: datetime) -> bool:
        """Say whether a round may have anything to do; asked before there is a connection."""
        return True

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether it has, by a look that costs less than taking the job."""
        return True

    @abc.abstractmethod
    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Do it; each wait stands under a deadline of its own. -> False: another worker has taken the job meanwhile."""

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(self._connection)
            self._connection = None


class Every:
    """What a job does less often than it looks, by the wall's clock: due at first, and when that clock goes back."""

    def __init__(self, interval_s: float):
        self._interval_s = interval_s
        self._done_at: datetime | None = None

    def is_due(self, now: datetime) -> bool:
        """Say whether the interval has passed since it was done."""
        return self._done_at is None or not 0 <= (now - self._done_at).total_seconds() < self._interval_s

    def done(self, now: datetime) -> None:
        """Note that it was done."""
        self._done_at = now
