"""Tells the ends of sessions, as one worker for all of them: whoever has the job in Postgres (EV-10).

every 20 s   take the job ─► bucket by bucket: whose session has been quiet for the timeout ─► session_ended

A round where nobody has a profile is a look into each bucket. A worker that dies leaves nothing half done.
Not here: what an end is, and how it is told once (store/sessions.py).
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from random import Random

from gateway.automation.job import Job
from gateway.store import postgres, sessions
from gateway.store.identities import Again


class Sessions(Job):
    """The loop of one worker."""

    NAME = "sessions"
    ROUND_S = 20.0
    UNDONE = "no session is ended"

    def __init__(
        self,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
    ):
        super().__init__(wall, connect, instance)
        self._chance = chance
        self.ended = 0

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Tell all ends that are due by now."""
        for bucket in range(sessions.BUCKETS):
            more = True
            while more:
                # Whoever takes the job from us meanwhile tells nothing twice: persons are held.
                async with postgres.deadline(connection, self.STEP_S, "sessions"):
                    try:
                        ended, more = await sessions.end_due(connection, bucket, self._wall(), self._chance)
                    except Again:
                        # Somebody moved while we looked; whoever is left is found in the next round.
                        ended, more = 0, False
                self.ended += ended
        return True
