"""Keeps who is in the audiences that are watched, as one worker for all of them: whoever has the job in Postgres.

every 5 s   take the job ─► whom time has changed (SG-4) ─► who has changed ─► new meanings (SG-5), some pages

Where nothing is watched a round is a few short statements. What one round may look at is bounded, so that nobody whom
time changes waits for an import of millions to be looked through; what is left makes the next round begin at once.
Not here: how a look is made once, and whole (store/watched.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from random import Random

from gateway.campaign import audience as language
from gateway.errors import AudienceFault, StoreError
from gateway.predicate import Predicate
from gateway.store import postgres, selection, watched
from gateway.store.watched import Changes, Kept, Lost, Watching

log = logging.getLogger(__name__)

ROUND_S = 5.0
STEP_S = 60.0
# Of those who have changed in one bucket, and of new meanings, in one round.
STEPS_A_BUCKET = 4
PAGES_A_ROUND = 64


class Ageing:
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
        self._unreadable: set[tuple[str, int]] = set()
        self.last_error = ""
        self.done = Changes()
        self.has_more = False

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await asyncio.sleep(0.0 if self.has_more else ROUND_S)
                try:
                    await self.round()
                    self.last_error = ""
                except StoreError as error:
                    if not self.last_error:
                        log.warning("! no audience is looked at: %s", error)
                    self.last_error = str(error)
                    self.has_more = False
                    await self.close()
        finally:
            await self.close()

    async def round(self) -> bool:
        """Look at everybody who is due by now; -> False where another worker has the job. has_more: begin again.

        raises  StoreError
        """
        self.has_more = False
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection = self._connection
        async with postgres.deadline(connection, STEP_S, "job"):
            if not await watched.take_job(connection, self._instance):
                return False
        try:
            await self._look(connection)
        except Lost:
            return False
        return True

    async def _look(self, connection: postgres.Connection) -> None:
        async with postgres.deadline(connection, STEP_S, "audiences"):
            salt = await selection.salt(connection, f"{self._chance.getrandbits(128):032x}")
            watching = await watched.begin(connection, self._instance, salt, self._whole)
        if not watching.watches:
            return
        for bucket in range(watched.BUCKETS):
            more = True
            while more:
                more = await self._step(connection, watching, bucket, watched.look_at_due)
        for bucket in range(watched.BUCKETS):
            more, steps = True, 0
            while more and steps < STEPS_A_BUCKET:
                more = await self._step(connection, watching, bucket, watched.look_at_changed)
                steps += 1
            self.has_more = self.has_more or more
        pages = 0
        while watching.is_filling and pages < PAGES_A_ROUND:
            async with postgres.deadline(connection, STEP_S, "audiences"):
                self.done.add(await watched.fill(connection, watching, self._wall()))
            pages += 1
        self.has_more = self.has_more or watching.is_filling

    async def _step(
        self,
        connection: postgres.Connection,
        watching: Watching,
        bucket: int,
        look: Callable[[postgres.Connection, Watching, int, datetime], Awaitable[tuple[Changes, bool]]],
    ) -> bool:
        async with postgres.deadline(connection, STEP_S, "audiences"):
            changes, more = await look(connection, watching, bucket, self._wall())
        self.done.add(changes)
        return more

    def _whole(self, kept: Kept, trees: Mapping[str, Predicate]) -> Predicate | None:
        try:
            return language.expand(kept.tree, trees)
        except AudienceFault as fault:
            if (kept.name, kept.version) not in self._unreadable:
                self._unreadable.add((kept.name, kept.version))
                log.warning("! audience %r stays as it was: %s", kept.name, fault)
            return None

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(self._connection)
            self._connection = None
