"""Tells of persons what the gateway itself knows: their messages, replies and STOPs, as events (EV-11).

every 1 s    take the job ─► the feed of STOPs since we looked ─► ingest ─► how far we looked
             ─► what campaigns owe (telling.py)
every 5 s    before that, lane by lane: outcomes, receipts, replies likewise
every 10 min the last hour once more: what was committed late, or by a host whose clock is behind

Off where nobody with a number is known. What is told again is found to be so (EV-1): a worker that dies in the middle
leaves nothing half done, and nothing is told twice. Not here: what is told (store/feeds.py).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from gateway.automation.erasing import prefixes_of
from gateway.automation.job import Every, Job
from gateway.campaign.consent import proof_of_stop
from gateway.config import Settings
from gateway.keywords import words
from gateway.store import feeds, months, postgres, profiles, runs

# Outcomes are told by their moment and committed a flush later.
OVERLAP = timedelta(seconds=5)
SWEPT = timedelta(hours=1)
SWEEP_S = 600.0
LANES_S = 5.0
# A lane that was never read begins so far back.
BEGIN = timedelta(days=1)
FIRST_SPAN = timedelta(seconds=1)
LEAST_SPAN = timedelta(milliseconds=1)


class Feeding(Job):
    """The loop of one worker."""

    NAME = "feed"
    ROUND_S = 1.0
    STEP_S = 60.0
    UNDONE = "nothing is told of persons' messages"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._chance = chance
        self._kinds = profiles.Kinds()
        self._words = words(settings.keywords.stop, settings.keywords.start)
        self._sweeping = Every(SWEEP_S)
        self._sweeping.done(wall())
        self._reading = Every(LANES_S)
        self.told = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether anybody with a number is known."""
        return await feeds.is_wanted(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Tell what came since the last look."""
        async with postgres.deadline(connection, self.STEP_S, "months of events"):
            await months.ensure(connection, "person_event", [now])
        if self._reading.is_due(now):
            await self._lanes(connection, now)
            self._reading.done(now)
        more = True
        while more:
            async with postgres.deadline(connection, self.STEP_S, "feed of stops"):
                items, seq, more = await feeds.stops(connection, name_of_stop, 0)
                await self._tell(connection, items, now)
                await feeds.note_stops(connection, seq)
        await self._pay(connection, now)
        return True

    async def _lanes(self, connection: postgres.Connection, now: datetime) -> None:
        """Tell what lanes know."""
        async with postgres.deadline(connection, self.STEP_S, "lanes"):
            prefixes = prefixes_of(self._settings, await runs.lanes(connection))
        back = SWEPT if self._sweeping.is_due(now) else OVERLAP
        # Replies are to what was sent: that is told first, of every lane.
        for kind in feeds.KINDS:
            for lane, prefix in sorted(prefixes.items()):
                await self._lane(connection, lane, kind, prefix, now, back)
        if back == SWEPT:
            self._sweeping.done(now)

    async def _pay(self, connection: postgres.Connection, now: datetime) -> None:
        """Tell what was decided of persons, and owed with it."""
        more = True
        while more:
            begun = asyncio.get_running_loop().time()
            async with postgres.deadline(connection, self.STEP_S, "what is owed of persons"):
                some = await feeds.owed(connection)
                if some:
                    await self._tell(connection, await feeds.items_of(connection, some), now)
                    # Behind the COMMIT of what was told: a crash between tells it again, in vain.
                    await feeds.paid(connection, some)
            more = len(some) == feeds.ROWS
            if more:
                await asyncio.sleep(asyncio.get_running_loop().time() - begun)

    async def _lane(
        self, connection: postgres.Connection, lane: int, kind: str, prefix: str, now: datetime, back: timedelta
    ) -> None:
        async with postgres.deadline(connection, self.STEP_S, f"feed of lane {lane}"):
            since = await feeds.upto(connection, lane, kind, now - BEGIN) - back
        # What lies in a span is sorted for each page of it: it is short where there is much in it.
        span = FIRST_SPAN
        while since < now:
            begun = asyncio.get_running_loop().time()
            async with postgres.deadline(connection, self.STEP_S, f"feed of lane {lane}"):
                until = min(now, since + span)
                items, since, more = await feeds.told(connection, lane, kind, since, until, prefix, self._words.wish)
                await self._tell(connection, items, now)
                # Behind the COMMIT of what was told: a crash between tells it again, in vain.
                await feeds.note(connection, lane, kind, since)
            span = max(LEAST_SPAN, span / 2) if more else span * 2
            if items:
                # Messages go first: of a worker's time it takes half at most.
                await asyncio.sleep(asyncio.get_running_loop().time() - begun)

    async def _tell(self, connection: postgres.Connection, items: list[Any], now: datetime) -> None:
        if items:
            done = await profiles.ingest(connection, items, now, self._chance, self._kinds)
            self.told += done.events


def name_of_stop(entry: Mapping[str, Any]) -> str:
    """Name what an entry of the feed is to its person: their own word, and not what was found out about the number."""
    action = proof_of_stop(entry).action
    if action == "revoke":
        return "opted_out"
    return "opted_in" if action == "release" and entry["source"] in ("keyword", "command", "agent", "api") else ""
