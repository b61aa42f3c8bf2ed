"""Connections to Postgres on which nothing waits for ever.

asyncpg can wait without end on a frozen server, even in close(): so every wait stands in `deadline`, which terminates
the connection when its time is over. A terminated connection is never used again; whether its last statement was
carried out is unknown, and the caller must be able to repeat it or to find out.

    async with deadline(connection, 5.0):        every statement here, a transaction's end included, shares 5 s
        async with connection.transaction():
            ...

Every error of Postgres leaves `deadline` as a StoreError with the asyncpg error as its cause; a caller that expects
one (a unique violation) catches it inside.

Not here: what is asked (the rooms beside this one), and the server itself (embedded.py).
"""

import asyncio
import contextlib
import os
import re
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import asyncpg

from gateway.config import DSN_FORM
from gateway.errors import StoreError
from gateway.store import standing

# For annotations in other rooms, which import no asyncpg.
Connection: TypeAlias = "asyncpg.Connection[Any]"

# 15 is the oldest that CI of asyncpg and our SQL (MERGE, numeric rounding, NULLS NOT DISTINCT) are held against.
OLDEST_SERVER = 150000
CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 1.0
ALLOW_FSYNC_OFF = "SLUICE_ALLOW_FSYNC_OFF"

# SQLSTATE classes and codes where the same statement may succeed later.
RETRYABLE = (
    "08",  # connection exception
    "40",  # serialization failure, deadlock
    "53",  # too many connections, disk full, out of memory
    "55P03",  # lock not available
    "57",  # cancelled (statement_timeout), shut down, starting up, dropped for idleness
    "58",  # the server's own I/O
    "25P03",  # idle in transaction for too long
)
# Classes of errors that quote rows: cardinality, data, integrity, views with a check, what SQL of ours raises.
QUOTING = ("21", "22", "23", "44", "P0")


def is_retryable(error: BaseException) -> bool:
    """Whether the same work may succeed later, on a new connection.

    source  SQLSTATE classes (PostgreSQL documentation, appendix A); the loss of a worker node also comes as XX000
            with words about a connection (seen with Citus 14)
    """
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(RETRYABLE) or (state == "XX000" and "connection" in str(error))
    # InternalClientError: the server ended the session between two statements of ours, and asyncpg's state machine met
    # the farewell in the wrong state (0.31, pg_terminate_backend on a session at rest).
    # InterfaceError is asyncpg's for a connection that is closed, or busy with another task's statement.
    return isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError) or (
        isinstance(error, asyncpg.InterfaceError) and "clos" in str(error)
    )


def is_elsewhere(error: BaseException) -> bool:
    """Whether a server that is well tells of another node that is not.

    source  08006 is said by a Citus coordinator of a node that it cannot reach (a connection of ours that is lost is
            08003 with asyncpg); the same loss within a transaction comes as XX000 (seen with Citus 14)
    """
    if not isinstance(error, asyncpg.PostgresError):
        return False
    return error.sqlstate == "08006" or (error.sqlstate == "XX000" and "connection" in str(error))


def hide_values(error: BaseException) -> None:
    """Take out of an error what Postgres quotes of rows: it ends in logs, and the tracebacks of what is chained to it.

    A broken constraint quotes the whole row in its detail; a value of the wrong form stands in the text itself.
    """
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(QUOTING):
        error.detail = None
        if error.sqlstate.startswith("22"):
            error.args = tuple(re.sub('".*"', "(not shown)", str(text), flags=re.DOTALL) for text in error.args)


def store_error(error: BaseException) -> StoreError:
    """Say an error of asyncpg in our terms; chain it with `raise store_error(error) from error`."""
    state = getattr(error, "sqlstate", None)
    hide_values(error)
    text = str(error) or type(error).__name__
    return StoreError(
        f"{text} ({state})" if state else text, retryable=is_retryable(error), elsewhere=is_elsewhere(error)
    )


def is_sound(connection: "asyncpg.Connection[Any] | None", error: StoreError) -> bool:
    """Whether a connection may be used again after an error: what failed was another node, and nothing hangs open."""
    return error.elsewhere and connection is not None and not (connection.is_closed() or connection.is_in_transaction())


class Deadline:
    """What `deadline` gives its block."""

    __slots__ = (
        "_cancelling",
        "_connection",
        "_has_cancelled",
        "_is_over",
        "_loop",
        "_seconds",
        "_task",
        "_timer",
        "_what",
    )

    def __init__(self, connection: "asyncpg.Connection[Any]", seconds: float, what: str):
        self._connection, self._seconds, self._what = connection, seconds, what
        self._is_over = self._has_cancelled = False

    async def __aenter__(self) -> None:
        """Set the timer."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._timer: asyncio.Handle = self._loop.call_later(self._seconds, self._expire)

    def _expire(self) -> None:
        # The connection goes first: a ROLLBACK that the cancelled block sends would wait like the statement before it.
        self._is_over = True
        self._connection.terminate()
        # Ends waits that are not the connection's, and those of asyncpg that a terminated connection does not wake (a
        # COPY whose socket is full).
        self._timer = self._loop.call_soon(self._cancel)

    def _cancel(self) -> None:
        self._has_cancelled = True
        self._task.cancel()

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Say what the block ended in."""
        self._timer.cancel()
        if self._has_cancelled and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            error = TimeoutError()
        if error is None or not isinstance(error, Exception):
            return
        if self._task.cancelling() > self._cancelling:
            # A transaction that is cancelled while its connection breaks ends with the connection's error (asyncpg
            # 0.32); the loop that asked would take it for one, go on, and never end.
            raise asyncio.CancelledError from error
        if self._is_over:
            # Whatever it is: asyncpg leaves a COPY on a terminated connection with an AttributeError (0.32).
            raise StoreError(
                f"{self._what}: no answer within {self._seconds:g} s, connection dropped", retryable=True
            ) from error
        if isinstance(error, asyncpg.InternalClientError):
            self._connection.terminate()
            raise store_error(error) from error
        if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError | ConnectionError | TimeoutError):
            raise store_error(error) from error


def deadline(connection: "asyncpg.Connection[Any]", seconds: float, what: str = "postgres") -> Deadline:
    """Give the block `seconds`; then the connection is terminated and the block ends in a StoreError.

    what    named in the error's text
    raises  StoreError, retryable when time is over or Postgres says so; errors that are not the database's pass
    cost    one timer; no task
    """
    return Deadline(connection, seconds, what)


async def connect(
    dsn: str,
    *,
    application_name: str = "sluice",
    statement_timeout_s: float = STATEMENT_TIMEOUT_S,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    allow_fsync_off: bool = False,
    settings: dict[str, str] | None = None,
    history: standing.History | None = None,
) -> "asyncpg.Connection[Any]":
    """Open one connection, fit for the hot path and for Citus.

    statement_timeout_s  the server's own bound on a statement; stay above it with your deadlines: one that waits
                         for another node of a cluster is ended by it, and by nothing else that leaves the connection
    settings             more start-up parameters, such as lock_timeout
    history              is shown which server it is, before the connection is used
    raises               StoreError: cannot connect, or a standby (both retryable), a server older than 15, or one with
                         fsync=off or full_page_writes=off, which loses acknowledged messages in a crash
                         (allow_fsync_off or $SLUICE_ALLOW_FSYNC_OFF=1: tests)
    """
    timeout_ms = max(1, round(statement_timeout_s * 1000))
    parameters = {
        "application_name": application_name,
        # Else asyncpg's look-up of a type costs 0.35 s and more on a Citus node; a plain server ignores it.
        "citus.override_table_visibility": "off",
        "jit": "off",
        "statement_timeout": str(timeout_ms),
        # A worker frozen inside a transaction would hold its row locks; then its epoch is long over.
        "idle_in_transaction_session_timeout": str(2 * timeout_ms),
        "TimeZone": "UTC",
        **(settings or {}),
    }
    try:
        async with asyncio.timeout(connect_timeout_s):
            connection = await asyncpg.connect(dsn, timeout=connect_timeout_s, server_settings=parameters)
    except TimeoutError as error:
        raise StoreError(f"connect: no answer within {connect_timeout_s:g} s", retryable=True) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise StoreError(f"connect: {store_error(error)}", retryable=is_retryable(error)) from error
    except (ValueError, OverflowError) as error:
        # asyncpg's words quote the part that it could not read, and a `/` in a password makes that part the password.
        raise StoreError(f"connect: the DSN is wrong: expected {DSN_FORM}") from error
    try:
        async with deadline(connection, connect_timeout_s, "connect"):
            found = await standing.read(connection)
            if history is not None:
                await history.look(connection, found)
        if found.version < OLDEST_SERVER:
            raise StoreError(f"expected Postgres 15 or newer, found {found.version // 10000}")
        if found.is_standby:
            raise StoreError("connect: expected a primary, found a standby, which takes no writes", retryable=True)
        allowed = allow_fsync_off or os.environ.get(ALLOW_FSYNC_OFF) == "1"
        for name, value in (("fsync", found.fsync), ("full_page_writes", found.full_page_writes)):
            if value == "off" and not allowed:
                raise StoreError(
                    f"the server runs with {name}=off: acknowledged messages would be lost in a crash "
                    f"(allow it for tests with {ALLOW_FSYNC_OFF}=1)"
                )
    except BaseException:
        connection.terminate()
        raise
    return connection


async def close(connection: "asyncpg.Connection[Any]", seconds: float = CLOSE_TIMEOUT_S) -> None:
    """Close in order, or terminate after `seconds`; never raises what the server did."""
    if connection.is_closed():
        return
    try:
        async with deadline(connection, seconds, "close"):
            await connection.close()
    except StoreError:
        connection.terminate()


class Connections:
    """A few connections to one DSN, opened when asked for, used again, dropped when broken.

    asyncpg's own pool resets a connection with a statement on release and waits without end in close().
    Keyword arguments but `size` are those of connect().
    """

    def __init__(self, dsn: str, size: int = 4, **options: Any):
        self.dsn = dsn
        self.size = size
        self._options = options
        self._room = asyncio.Semaphore(size)
        self._idle: list[asyncpg.Connection[Any]] = []
        self._taken: set[asyncpg.Connection[Any]] = set()
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def take(self, seconds: float, what: str = "postgres") -> AsyncIterator["asyncpg.Connection[Any]"]:
        """Lend a connection for at most `seconds`, the wait for a free one not counted.

        A block that leaves a transaction open, or is cancelled, costs the connection.
        raises  StoreError
        """
        async with self._room:
            if self._is_closed:
                raise StoreError("the connections are closed")
            connection = None
            while self._idle and connection is None:
                connection = self._idle.pop()
                if connection.is_closed():
                    connection = None
            if connection is None:
                connection = await connect(self.dsn, **self._options)
            self._taken.add(connection)
            try:
                async with deadline(connection, seconds, what):
                    yield connection
            except asyncio.CancelledError:
                connection.terminate()  # the cancelled statement may still be at work there
                raise
            finally:
                self._taken.discard(connection)
                if not connection.is_closed():
                    if self._is_closed or connection.is_in_transaction():
                        connection.terminate()
                    else:
                        self._idle.append(connection)

    async def close(self, seconds: float = CLOSE_TIMEOUT_S) -> None:
        """Close the idle ones in order and terminate those that are lent."""
        self._is_closed = True
        for connection in self._taken:
            connection.terminate()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(close(connection, seconds) for connection in idle))
