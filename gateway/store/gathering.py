"""Batches of many callers, taken in together: those that wait while others are written share the next transaction.

    take ─► waiting ─┬─ nobody is writing: at once, alone                     each caller hears of the COMMIT
                     └─ up to CONNECTIONS write: all that waited, in their order, at most MOST items a transaction

A batch of 500 events costs Postgres 40 µs an event, one of 2,000 29 µs (measured 2026-11): most statements of a batch
cost the same whatever is in it, and so does the fsync. Nobody waits for others to come.
Not here: what taking in is (profiles.py), who tells (doors and commands).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random
from typing import TypeAlias

from gateway.errors import StoreError
from gateway.person import Item
from gateway.store import eventfiles, months, profiles
from gateway.store.postgres import Connections

MOST = 2000
GROUP_S = 60.0
COUNTS = ("events", "duplicates", "conflicts", "persons", "created", "merged", "disputed")
Waiting: TypeAlias = tuple[Sequence[Item], "asyncio.Future[list[bool]]"]
"""A batch, and where its caller hears of it."""


class Gathering:
    """Takes items in over a few connections.

    connections  of its own; as many groups are written at once as there are
    """

    def __init__(self, connections: Connections, wall: Callable[[], datetime], chance: Random):
        self._connections = connections
        self._wall = wall
        self._chance = chance
        self._kinds = profiles.Kinds()
        # Year and month of partitions that are there, or were not to be made.
        self._months: set[tuple[int, int]] = set()
        self._waiting: deque[Waiting] = deque()
        self._writing: set[asyncio.Task[None]] = set()
        self.groups = 0
        self.taken = profiles.Ingested()

    async def take(self, items: Sequence[Item]) -> list[bool]:
        """Take a batch in; -> of each item whether it was taken before.

        It is durable when this returns. Who is cancelled meanwhile does not know.
        raises  StoreError: retryable, as `profiles.ingest` does; not retryable: this batch cannot be taken
        """
        heard: asyncio.Future[list[bool]] = asyncio.get_running_loop().create_future()
        self._waiting.append((items, heard))
        if len(self._writing) < self._connections.size:
            task = asyncio.create_task(self._write())
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)
        return await heard

    async def close(self) -> None:
        """Wait for all that is being written; take nothing after this."""
        while self._writing:
            await asyncio.gather(*self._writing, return_exceptions=True)

    async def _write(self) -> None:
        """Write groups until nothing waits."""
        while self._waiting:
            group = [self._waiting.popleft()]
            size = len(group[0][0])
            while self._waiting and size + len(self._waiting[0][0]) <= MOST:
                group.append(self._waiting.popleft())
                size += len(group[-1][0])
            try:
                await self._write_group(group)
            except asyncio.CancelledError:
                for _, heard in group:
                    heard.cancel()
                raise
            except Exception as error:
                for _, heard in group:
                    if not heard.done():
                        heard.set_exception(error)

    async def _write_group(self, group: Sequence[Waiting]) -> None:
        items = [item for batch, _ in group for item in batch]
        try:
            found = await self._ingest(items)
        except StoreError as error:
            if error.retryable or len(group) == 1:
                raise
            # One of them is at fault, and no reason to refuse the others.
            for one in group:
                try:
                    await self._write_group([one])
                except StoreError as own:
                    if not one[1].done():
                        one[1].set_exception(own)
            return
        self.groups += 1
        for name in COUNTS:
            setattr(self.taken, name, getattr(self.taken, name) + getattr(found, name))
        at = 0
        for batch, heard in group:
            if not heard.done():
                heard.set_result(found.is_duplicate[at : at + len(batch)])
            at += len(batch)

    async def _ingest(self, items: Sequence[Item]) -> profiles.Ingested:
        now = self._wall()
        async with self._connections.take(GROUP_S, "events") as connection:
            new = {(at.year, at.month) for one in items if (at := one.occurred_at or now)} - self._months
            if new:
                await months.ensure(connection, "person_event", eventfiles.months(items, now))
                self._months |= new
            return await profiles.ingest(connection, items, now, self._chance, self._kinds)
