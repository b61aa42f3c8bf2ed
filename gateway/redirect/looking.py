"""Looks tokens up: all that are asked for while one statement is under way go with the next one.

    ask ─► waiting ─┐                      one task, one statement at a time
    ask ─► waiting ─┴► look ─► answers     where links lead is kept in memory: it never changes

Under load a statement answers hundreds, alone it answers one; nobody waits for anything but Postgres.
Not here: what becomes of an answer (door.py).
"""

import asyncio
from collections import OrderedDict

from gateway.errors import StoreError
from gateway.link import Target
from gateway.store import links, postgres
from gateway.store.links import Found, Place

# Tokens of one statement; those beyond are asked for by the next.
MOST_AT_ONCE = 500
MOST_TARGETS = 20_000


class Looking:
    """Tokens in, links out."""

    def __init__(self, connections: postgres.Connections, deadline_s: float):
        self._connections, self._deadline_s = connections, deadline_s
        self._waiting: dict[Place, asyncio.Future[tuple[Found, Target] | None]] = {}
        self._targets: OrderedDict[int, Target] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self.statements = 0

    async def ask(self, place: Place) -> tuple[Found, Target] | None:
        """Find a link and where it leads; None: there is none.

        raises  StoreError
        """
        waiting = self._waiting.get(place)
        if waiting is None:
            waiting = self._waiting[place] = asyncio.get_running_loop().create_future()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        # Who goes away takes nobody's answer along.
        return await asyncio.shield(waiting)

    async def _work(self) -> None:
        while self._waiting:
            places = list(self._waiting)[:MOST_AT_ONCE]
            waiting = {place: self._waiting.pop(place) for place in places}
            try:
                found = await self._look(places)
            except StoreError as error:
                for future in waiting.values():
                    _end(future, error)
            except BaseException:
                for future in waiting.values():
                    future.cancel()
                raise
            else:
                for place, future in waiting.items():
                    if not future.done():
                        future.set_result(found.get(place))

    async def _look(self, places: list[Place]) -> dict[Place, tuple[Found, Target]]:
        async with self._connections.take(self._deadline_s, "links") as connection:
            found = await links.look(connection, places)
            self.statements += 1
            missing = {one.target for one in found.values()} - self._targets.keys()
            if missing:
                self._targets.update(await links.targets(connection, missing))
        told = {place: (one, self._targets[one.target]) for place, one in found.items() if one.target in self._targets}
        while len(self._targets) > MOST_TARGETS:
            self._targets.popitem(last=False)
        return told

    async def close(self) -> None:
        """End the task; whoever waits is told so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()


def _end(future: "asyncio.Future[tuple[Found, Target] | None]", error: StoreError) -> None:
    if not future.done():
        future.set_exception(error)
        # Its asker may be gone.
        future.exception()
