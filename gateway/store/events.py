"""The table of events: appended to in the transaction of what they tell, read by number. Statements: sql/events.sql.

    writer                                 reader
    take_turn ─► … ─► append ─► COMMIT     after(last number seen) ─► …
                          └─ NOTIFY ─────► Bell.wait, which also looks by itself after a while

A writer holds the lane's row of event_number from its first number to its COMMIT, so no number becomes visible before
a lower one. NOTIFY reaches listeners on the same server alone, and is lost with a connection: it only shortens a wait.
Not here: which kinds there are (gateway/events.py), what anybody does about them.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from gateway.events import Event
from gateway.store.postgres import Connection
from gateway.store.queries import query

CHANNEL = "sluice_event"


class Numbered(Struct, frozen=True, kw_only=True):
    """An event as it stands in the table."""

    id: int
    at: datetime
    kind: str
    subject: str
    body: dict[str, Any]


async def take_turn(connection: Connection, lane: int) -> None:
    """Let no other write events of this lane before our transaction ends, and see all that was written before."""
    await connection.execute(query("take_turn"), lane)


async def append(connection: Connection, lane: int, events: Sequence[Event]) -> None:
    """Write events, in their order, in the caller's transaction; listeners are woken by its COMMIT."""
    if events:
        await connection.execute(
            query("add_events"), lane, [one.at for one in events], [one.kind for one in events],
            [_storable(one.subject) for one in events], [msgspec.json.encode(one.body).decode() for one in events],
            len(events),
        )  # fmt: skip
        await connection.execute(query("notify_events"), lane)


async def after(connection: Connection, lane: int, last_id: int, limit: int = 1000) -> list[Numbered]:
    """Read up to `limit` events of a lane behind the one of that number, in their order."""
    rows = await connection.fetch(query("events_after"), lane, last_id, limit)
    return [
        Numbered(
            id=row["id"],
            at=row["at"],
            kind=row["kind"],
            subject=row["subject"],
            body=msgspec.json.decode(row["body"], type=dict[str, Any]),
        )
        for row in rows
    ]


async def last(connection: Connection, lane: int) -> int:
    """Find the number of a lane's newest event; 0 if there is none."""
    return int(await connection.fetchval(query("last_event"), lane))


class Bell:
    """Rings when somebody has written events, or whatever else a channel tells of; one connection's LISTEN."""

    def __init__(self, connection: Connection, channel: str = CHANNEL):
        self._connection = connection
        self._channel = channel
        self._rung = asyncio.Event()

    async def hang(self) -> None:
        """Begin to listen; what is written before that is the caller's to look for."""
        await self._connection.add_listener(self._channel, self.ring)

    def ring(self, *_: Any) -> None:
        """End the wait, or the next one."""
        self._rung.set()

    async def wait(self, longest_s: float) -> None:
        """Wait for a ring since the last call, `longest_s` at most: then it is time to look anyway."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._rung.wait()
        self._rung.clear()


def _storable(text: str) -> str:
    """Text of a stranger without the one character that Postgres has not."""
    return text.replace("\0", "\ufffd")
