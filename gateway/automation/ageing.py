"""Keeps who is in the audiences that are watched, as one worker for all of them: whoever has the job in Postgres.

every 5 s   take the job ─► whom time has changed (SG-4) ─► who has changed ─► new meanings (SG-5), some pages

Where nothing is watched a round is a few short statements. What one round may look at is bounded, so that nobody whom
time changes waits for an import of millions to be looked through; what is left makes the next round begin at once.
Not here: how a look is made once, and whole (store/watched.py).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from random import Random

from gateway.automation.job import Job
from gateway.campaign import audience as language
from gateway.errors import AudienceFault
from gateway.predicate import Predicate
from gateway.store import postgres, selection, watched
from gateway.store.watched import Changes, Kept, Lost, Watching

log = logging.getLogger(__name__)

# Of those who have changed in one bucket, and of new meanings, in one round.
STEPS_A_BUCKET = 4
PAGES_A_ROUND = 64


class Ageing(Job):
    """The loop of one worker."""

    NAME = watched.JOB
    ROUND_S = 5.0
    STEP_S = 60.0
    UNDONE = "no audience is looked at"

    def __init__(
        self,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
    ):
        super().__init__(wall, connect, instance)
        self._chance = chance
        self._unreadable: set[tuple[str, int]] = set()
        self.done = Changes()

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Look at everybody who is due by now; what a round may not take is left to the next."""
        try:
            await self._look(connection)
        except Lost:
            return False
        return True

    async def _look(self, connection: postgres.Connection) -> None:
        async with postgres.deadline(connection, self.STEP_S, "audiences"):
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
            async with postgres.deadline(connection, self.STEP_S, "audiences"):
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
        async with postgres.deadline(connection, self.STEP_S, "audiences"):
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
