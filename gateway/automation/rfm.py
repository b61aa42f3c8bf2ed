"""Scores those who buy, every night, as one worker for all of them: whoever has the job in Postgres (SG-9).

every minute   is the newest version of before last night, or not done? ─► take the job ─► begin one ─► bucket by bucket

Where nobody has bought anything a version of nobody is made each night. A worker that dies leaves a version that the
next one goes on with. Whose scores change is looked at by watched audiences as after any change.
Not here: what a score is (gateway.rfm), how a bucket is scored once (store/rfm.py).
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

from gateway.automation.job import Job
from gateway.rfm import RfmSettings, due_since
from gateway.store import postgres, rfm


class Rfm(Job):
    """The loop of one worker."""

    NAME = "rfm"
    ROUND_S = 60.0
    UNDONE = "who buys is not scored"

    def __init__(
        self,
        settings: RfmSettings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self.changed = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether the scores are of before last night, or not everybody's."""
        one = await rfm.newest(connection)
        return one is None or one.done_at is None or one.at < due_since(self._settings, now)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Score everybody, as of now or as of when a version was begun."""
        one = await rfm.newest(connection)
        if one is None or one.at < due_since(self._settings, now):
            one = await rfm.begin(connection, self._settings, now)
        more = one.done_at is None
        while more:
            changed, more = await rfm.step(connection, one.version, self._wall())
            self.changed += changed
        return True
