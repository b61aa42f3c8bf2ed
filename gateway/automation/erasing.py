"""Ends erasures that somebody began and did not end, as one worker for all (CN-12).

every 30 s   is a number in the feed as `erased`? ─► take the job ─► erase the next thousand, until there is none

Nobody writes to them meanwhile: the feed has them first. Who has begun it with `sluice profile erase` and is still at
it, and this, do the same at once and harm nothing.
Not here: what is erased, and in which order (store/erasures.py).
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from gateway.automation.job import Job
from gateway.campaign.consent import proof_of_stop, states_at
from gateway.config import Settings
from gateway.erasure import Key
from gateway.errors import StoreError
from gateway.store import consents, erasures, postgres, runs

# Whoever began it is at it himself for so long.
LEFT = timedelta(minutes=1)


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
        self.erased = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether an erasure was begun a while ago."""
        return bool(await erasures.begun(connection, now - LEFT))

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """End what was begun; where one number cannot be erased, all of it is tried again."""
        if self._key is None:
            raise StoreError("SLUICE_KEY: expected the key that numbers are erased with, found none")
        while True:
            async with postgres.deadline(connection, self.STEP_S, "erasures"):
                numbers = await erasures.begun(connection, now - LEFT)
            if not numbers:
                return True
            await end(connection, self._settings, numbers, self._key, now)
            self.erased += len(numbers)


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
