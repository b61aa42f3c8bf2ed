"""Tells the ends of sessions, as one worker for all of them: whoever has the job in Postgres (EV-10).

every 20 s   take the job ─► bucket by bucket: whose session has been quiet for the timeout ─► session_ended

A round where nobody has a profile is a look into each bucket. A worker that dies leaves nothing half done.
Not here: what an end is, and how it is told once (store/sessions.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from random import Random

from gateway.errors import StoreError
from gateway.store import postgres, sessions
from gateway.store.identities import Again

log = logging.getLogger(__name__)

ROUND_S = 20.0
STEP_S = 30.0


class Sessions:
    """The loop of one worker; all but one of them find that another has the job."""

    def __init__(
        self,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
    ):
        self._wall = wall
        self._connect = connect
        self._instance = instance
        self._chance = chance
        self._connection: postgres.Connection | None = None
        self.last_error = ""
        self.ended = 0

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
                        log.warning("! no session is ended: %s", error)
                    self.last_error = str(error)
                    await self.close()
        finally:
            await self.close()

    async def round(self) -> bool:
        """Tell all ends that are due by now; -> False where another worker has the job.

        raises  StoreError
        """
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        async with postgres.deadline(connection, STEP_S, "job"):
            if not await sessions.take_job(connection, self._instance):
                return False
        for bucket in range(sessions.BUCKETS):
            more = True
            while more:
                # Whoever takes the job from us meanwhile tells nothing twice: persons are held.
                async with postgres.deadline(connection, STEP_S, "sessions"):
                    try:
                        ended, more = await sessions.end_due(connection, bucket, self._wall(), self._chance)
                    except Again:
                        # Somebody moved while we looked; whoever is left is found in the next round.
                        ended, more = 0, False
                self.ended += ended
        return True

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(self._connection)
            self._connection = None
