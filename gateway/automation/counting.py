"""Counts what reports show, every few minutes, as one worker for all of them: whoever has the job in Postgres (RP-1).

every [reports] interval_s   take the job ─► persons of whom something was told, bucket by bucket ─► days of lanes

What it takes of the time is a twentieth at most: after a count that took long the next one waits as much longer.
Whoever asks for a report counts what is new by the same statements; two who do so at once find the same. What a
worker that dies leaves half counted is counted by the next one.
Not here: what is counted (store/reports.py).
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from gateway.automation.job import Job
from gateway.reporting import ReportSettings
from gateway.store import postgres, reports

SHARE = 20


class Counting(Job):
    """The loop of one worker."""

    NAME = "count"
    ROUND_S = 5.0
    UNDONE = "numbers of reports are not counted"

    def __init__(
        self,
        settings: ReportSettings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._since = wall()
        self._pause = timedelta(seconds=settings.interval_s)
        self.counted = 0

    def is_due(self, now: datetime) -> bool:
        """Say whether the pause is over; a clock that goes back makes it so."""
        return self._settings.interval_s > 0 and not timedelta(0) <= now - self._since < self._pause

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Count what is new."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        done = await reports.refresh(connection, self._settings, now)
        self.counted += done.persons
        self._since = now
        self._pause = timedelta(seconds=max(self._settings.interval_s, SHARE * (loop.time() - begun)))
        return True
