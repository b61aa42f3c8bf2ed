"""Ends erasures that somebody began and did not end, and takes away what came since, as one worker for all (CN-12).

every 30 s   is a number in the feed as `erased`? ─► take the job ─► erase the next thousand, until there is none
every minute was anybody ever erased? ─► what came on each lane since the last look: receipts of who was erased lose
             their number; who of them wrote, is erased anew an hour later, with what was made of it

Nobody writes to them meanwhile: the feed has them first. Who has begun it with `sluice profile erase` and is still at
it, and this, do the same at once and harm nothing.
Not here: what is erased, and in which order (store/erasures.py).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta

from gateway.automation.job import Every, Job
from gateway.campaign.consent import proof_of_stop, states_at
from gateway.config import Settings
from gateway.erasure import Erased, Key
from gateway.errors import StoreError
from gateway.keywords import number_of
from gateway.store import consents, erasures, feeds, postgres, runs, stops

# Whoever began it is at it himself for so long.
LEFT = timedelta(minutes=1)
# Between two looks at what came since; it is committed up to so long after it came.
LATE_S = 60.0
OVERLAP = timedelta(minutes=10)
# Whoever writes is heard, and may be answered, before that is forgotten.
HEARD = timedelta(hours=1)
# Of person_feed: how far that is. What came before the first look goes with [retention]; of one look, and at most.
KIND = "erased"
FIRST = timedelta(days=1)
SPAN = timedelta(hours=1)


class Erasing(Job):
    """The loop of one worker. key: None, and nothing can be erased here."""

    NAME = "erasing"
    ROUND_S = 30.0
    STEP_S = 60.0
    UNDONE = "no erasure is ended"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        key: Key | None,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._key = key
        self._look = Every(LATE_S)
        self.erased = 0
        self.late = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether an erasure was begun a while ago, or it is time to look at what came since."""
        if await erasures.begun(connection, now - LEFT):
            return True
        return self._looks(now) and await stops.erasure_key(connection) is not None

    def _looks(self, now: datetime) -> bool:
        """Without the key nobody knows of whom something came; that is said where numbers are taken in."""
        return self._key is not None and self._look.is_due(now)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """End what was begun; where one number cannot be erased, all of it is tried again."""
        if self._key is None:
            raise StoreError("SLUICE_KEY: expected the key that numbers are erased with, found none")
        while True:
            async with postgres.deadline(connection, self.STEP_S, "erasures"):
                numbers = await erasures.begun(connection, now - LEFT)
            if not numbers:
                break
            await end(connection, self._settings, numbers, self._key, now)
            self.erased += len(numbers)
        if self._looks(now):
            await self._forget_late(connection, self._key, now)
            self._look.done(now)
        return True

    async def _forget_late(self, connection: postgres.Connection, key: Key, now: datetime) -> None:
        """Take away what came since the last look of who was erased, lane by lane; what is taken is noted behind it."""
        async with postgres.deadline(connection, self.STEP_S, "who was erased"):
            erased = await erasures.door(connection, key)
            lanes = prefixes_of(self._settings, await runs.lanes(connection)) if erased else {}
        for lane, prefix in sorted(lanes.items()):
            async with postgres.deadline(connection, self.STEP_S, f"what came late on lane {lane}"):
                done = await feeds.upto(connection, lane, KIND, now - FIRST)
            while done < now:
                since, done = done - OVERLAP, min(now, done + SPAN)
                async with postgres.deadline(connection, self.STEP_S, f"what came late on lane {lane}"):
                    self.late += await erasures.erase_late(connection, lane, erased, key, since, done)
                    written = await erasures.sources_of_handsets(connection, lane, since - HEARD, done - HEARD)
                heard = heard_of(erased, written, prefix)
                for start in range(0, len(heard), erasures.MOST_NUMBERS):
                    await end(connection, self._settings, heard[start : start + erasures.MOST_NUMBERS], key, now)
                async with postgres.deadline(connection, self.STEP_S, f"what came late on lane {lane}"):
                    await feeds.note(connection, lane, KIND, done)


def heard_of(erased: Erased, written: Iterable[str], prefix: str) -> list[int]:
    """Say whose handsets wrote who were erased. written: as the SMSC wrote them; prefix: of national numbers."""
    return sorted(erased.among({number for one in written if (number := number_of(one, prefix)) is not None}))


async def end(
    connection: postgres.Connection, settings: Settings, numbers: list[int], key: Key, now: datetime
) -> erasures.Done:
    """End the erasure of numbers that are in the feed already, at most erasures.MOST_NUMBERS; -> what went."""
    found = 1
    while found:
        # What the feed says of them is in the ledger before their chains go: nothing writes of them behind that.
        async with postgres.deadline(connection, Erasing.STEP_S, "prove stops"):
            found = await consents.prove(connection, proof_of_stop, lambda facts: states_at(facts, now))
    async with postgres.deadline(connection, Erasing.STEP_S, "lanes"):
        lanes = await runs.lanes(connection)
    return await erasures.erase(
        connection, numbers, key, prefixes_of(settings, lanes), now, lambda facts: states_at(facts, now)
    )


def prefixes_of(settings: Settings, lanes: Mapping[int, str]) -> dict[int, str]:
    """Say of each lane of which country the national numbers of its handsets are; "" where none come."""
    return {
        lane: settings.carriers[name].inbound_prefix if name in settings.carriers else ""
        for lane, name in lanes.items()
    }
