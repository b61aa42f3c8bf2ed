"""Writes down who opened links, in batches, behind the answers: a person waits for no disk.

    add ─► buffer ─► every 100 ms: one statement ─► COMMIT
                     └─ Postgres away: kept, and tried again; the oldest go when there are too many

A process that is killed loses what it has answered within the last 200 ms: a click is a figure, and a redirect that
waits for a COMMIT is a person who waits. What a person fills in is no figure: that is committed first (door.py).
Not here: verdicts (campaign/clicks.py), what follows from them (automation/clicking.py).
"""

import asyncio
import logging
from datetime import datetime

from gateway.errors import StoreError
from gateway.store import links, postgres
from gateway.store.links import Click, Place

log = logging.getLogger(__name__)

EVERY_S = 0.1
MOST_AT_ONCE = 2000
MOST_KEPT = 200_000


class Recording:
    """The loop that writes, until cancelled, and what waits for it."""

    def __init__(self, connections: postgres.Connections, deadline_s: float):
        self._connections, self._deadline_s = connections, deadline_s
        self._clicks: list[Click] = []
        self._beacons: dict[Place, datetime] = {}
        self._failed = ""
        self.written = self.lost = 0

    @property
    def waiting(self) -> int:
        """How many are not written yet."""
        return len(self._clicks) + len(self._beacons)

    def add(self, click: Click) -> None:
        """Take a click."""
        self._clicks.append(click)
        if len(self._clicks) > MOST_KEPT:
            del self._clicks[:MOST_AT_ONCE]
            self.lost += MOST_AT_ONCE

    def beacon(self, place: Place, at: datetime) -> None:
        """Take that a page has fetched its picture; its click is written before."""
        if len(self._beacons) < MOST_KEPT:
            self._beacons.setdefault(place, at)

    async def run(self) -> None:
        """Write until cancelled, and then what is left, if Postgres takes it."""
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                await self.flush()
        finally:
            await self.flush()

    async def flush(self) -> bool:
        """Write what waits; -> False: Postgres is away, and it is kept."""
        while self.waiting:
            clicks, self._clicks = self._clicks[:MOST_AT_ONCE], self._clicks[MOST_AT_ONCE:]
            beacons = {} if self._clicks else self._beacons
            if beacons:
                self._beacons = {}
            try:
                async with self._connections.take(self._deadline_s, "clicks") as connection:
                    await links.add_clicks(connection, clicks)
                    await links.note_beacons(connection, beacons)
            except StoreError as error:
                # Both may be there already: told again they change nothing.
                self._clicks[:0] = clicks
                self._beacons = beacons | self._beacons
                if not self._failed:
                    log.warning("! clicks are kept in memory: %s", error)
                self._failed = str(error)
                return False
            except asyncio.CancelledError:
                self._clicks[:0] = clicks
                self._beacons = beacons | self._beacons
                raise
            self.written += len(clicks)
            self._failed = ""
        return True
