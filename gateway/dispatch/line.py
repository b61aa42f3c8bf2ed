"""A loop's own connection to Postgres: opened when it is asked for, made ready, and anew after it was lost.

    opened ─► connect ─► ready (LISTEN, SET) ─► the same one, as long as it lives ─► close, or lost ─► connect …

One loop, one connection: a statement that waits holds up nobody else's.
Not here: what an error means (store/postgres.py), what is asked (the rooms beside this one).
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from gateway.errors import StoreError
from gateway.store import postgres

Connect: TypeAlias = Callable[[], Awaitable[postgres.Connection]]


class Line:
    """The connection of one loop.

    connect  opens a connection; raises StoreError
    ready    makes a new one ready before anything else is asked on it; raises StoreError, and it is ended then
    """

    def __init__(self, connect: Connect, ready: Callable[[postgres.Connection], Awaitable[None]] | None = None):
        self._connect = connect
        self._ready = ready
        self._connection: postgres.Connection | None = None

    async def opened(self) -> postgres.Connection:
        """Return the connection, opened and made ready if need be; StoreError."""
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await self._connect()
            if self._ready is not None:
                try:
                    await self._ready(connection)
                except BaseException:
                    connection.terminate()
                    raise
            self._connection = connection
        return connection

    def is_sound(self, error: StoreError) -> bool:
        """Whether the connection may be used again after an error."""
        return postgres.is_sound(self._connection, error)

    async def mend(self, error: StoreError) -> None:
        """Close the connection unless it is sound after an error."""
        if not self.is_sound(error):
            await self.close()

    def cut(self) -> None:
        """End the connection where it stands: what was asked on it is given up."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection; what Postgres says to that changes nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(connection)
