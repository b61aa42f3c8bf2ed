"""Connections on which nothing waits for ever."""

import asyncio
import os
import signal
import traceback
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from gateway.errors import StoreError
from gateway.store import postgres
from gateway.store.embedded import Embedded
from gateway.store.postgres import Connections, close, connect, deadline
from tests.fixtures.postgres import FAST

# Far above what an answer needs, far below what a test run can wait: a hang shows as this running out.
HANG_S = 20.0


@pytest.fixture
async def connection(empty_dsn: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    opened = await connect(empty_dsn)
    yield opened
    opened.terminate()


async def test_session_has_the_settings_that_the_hot_path_counts_on(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    expected = {
        "citus.override_table_visibility": "off",
        "jit": "off",
        "statement_timeout": "30s",
        "idle_in_transaction_session_timeout": "1min",
        "TimeZone": "UTC",
        "application_name": "sluice",
    }
    for name, value in expected.items():
        assert await connection.fetchval("SELECT current_setting($1)", name) == value


async def test_statement_over_the_deadline_costs_the_connection(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    with pytest.raises(StoreError, match=r"claim: no answer within 0\.05 s") as caught:
        async with asyncio.timeout(HANG_S), deadline(connection, 0.05, "claim"), connection.transaction():
            await connection.execute("SELECT pg_sleep(60)")
    assert caught.value.retryable
    assert connection.is_closed()


async def test_wait_for_something_else_is_under_the_deadline_too(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    with pytest.raises(StoreError, match="no answer"):
        async with asyncio.timeout(HANG_S), deadline(connection, 0.05):
            await asyncio.Event().wait()


async def test_frozen_backend_does_not_hold_a_statement_a_copy_or_a_close(server: object, empty_dsn: str) -> None:
    if not getattr(server, "pid", 0):
        pytest.skip("SLUICE_TEST_DSN: the backend of a foreign server is not ours to stop")
    for what in ("statement", "transaction", "copy", "close"):
        opened = await connect(empty_dsn)
        await opened.execute("CREATE TABLE IF NOT EXISTS t (a text)")
        backend = opened.get_server_pid()
        os.kill(backend, signal.SIGSTOP)
        try:
            async with asyncio.timeout(HANG_S):
                if what == "close":
                    await close(opened, 0.1)
                else:
                    with pytest.raises(StoreError, match="no answer") as caught:
                        await freeze(opened, what)
                    assert caught.value.retryable
            assert opened.is_closed()
        finally:
            os.kill(backend, signal.SIGCONT)


async def freeze(opened: "asyncpg.Connection[asyncpg.Record]", what: str) -> None:
    """Do something whose answer will not come."""
    async with deadline(opened, 0.1):
        if what == "transaction":
            async with opened.transaction():
                await opened.execute("SELECT 1")
        elif what == "copy":
            # More than the socket takes: asyncpg waits for room to write, not for an answer.
            lines = b"x" * 1000 + b"\n"

            async def source() -> AsyncIterator[bytes]:
                for _ in range(64):
                    yield lines * 1000

            await opened.copy_to_table("t", source=source(), format="text")
        else:
            await opened.fetch("SELECT 1")


async def test_frozen_postmaster_does_not_hold_connect(data_root: Path) -> None:
    with Embedded(data_root, FAST) as embedded:
        os.kill(embedded.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(HANG_S):
                with pytest.raises(StoreError, match=r"connect: no answer within 0\.2 s") as caught:
                    await connect(embedded.dsn, connect_timeout_s=0.2)
            assert caught.value.retryable
        finally:
            os.kill(embedded.pid, signal.SIGCONT)


async def test_server_that_does_not_sync_is_refused_unless_allowed(
    server: object, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 13 of the write protocol."""
    if not getattr(server, "pid", 0):
        pytest.skip("SLUICE_TEST_DSN: a foreign server may sync")
    monkeypatch.delenv(postgres.ALLOW_FSYNC_OFF)
    with pytest.raises(StoreError, match="fsync=off") as caught:
        await connect(empty_dsn)
    assert not caught.value.retryable
    allowed = await connect(empty_dsn, allow_fsync_off=True)
    await close(allowed)


async def test_server_that_is_away_is_worth_a_retry_and_a_wrong_dsn_is_not(empty_dsn: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError) as away:
        await connect(f"postgresql://sluice@/x?host={tmp_path}")
    assert away.value.retryable
    with pytest.raises(StoreError) as refused:
        await connect("http://example.invalid/")
    assert not refused.value.retryable


async def test_error_of_the_database_comes_as_a_store_error_with_its_cause(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    with pytest.raises(StoreError, match="42P01") as caught:
        async with deadline(connection, HANG_S):
            await connection.execute("SELECT * FROM nowhere")
    assert isinstance(caught.value.__cause__, asyncpg.UndefinedTableError)
    assert not caught.value.retryable
    with pytest.raises(StoreError, match="57014") as cancelled:
        async with deadline(connection, HANG_S):
            await connection.execute("SET statement_timeout = 10")
            await connection.execute("SELECT pg_sleep(60)")
    assert cancelled.value.retryable


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO person VALUES ('c4n4ry')",
        "INSERT INTO person VALUES ('a'), ('a')",
        "SELECT 'c4n4ry'::int",
        "DO $$BEGIN RAISE EXCEPTION 'no' USING DETAIL = 'c4n4ry'; END$$",
    ],
)
async def test_values_of_rows_stand_neither_in_an_error_nor_in_what_is_chained_to_it(
    connection: "asyncpg.Connection[asyncpg.Record]", statement: str
) -> None:
    await connection.execute("CREATE TEMP TABLE person (text text UNIQUE CHECK (text <> 'c4n4ry'))")
    with pytest.raises(StoreError) as caught:
        async with deadline(connection, 5.0):
            await connection.execute(statement)
    said = "".join(traceback.format_exception(caught.value))
    assert "DETAIL" not in said and "c4n4ry" not in said.replace(statement, "")


async def test_cancelled_in_a_transaction_whose_connection_breaks_is_cancelled_and_no_error(empty_dsn: str) -> None:
    """Fault 20: the rollback that fails must not take the place of the cancellation, or a loop never ends."""
    connection = await connect(empty_dsn)
    began = asyncio.Event()

    async def work() -> None:
        async with deadline(connection, 10.0), connection.transaction():
            began.set()
            await asyncio.sleep(10.0)

    task = asyncio.create_task(work())
    await began.wait()
    connection.terminate()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_error_of_the_caller_passes_the_deadline_untouched(
    connection: "asyncpg.Connection[asyncpg.Record]",
) -> None:
    with pytest.raises(FileNotFoundError):
        async with deadline(connection, HANG_S):
            raise FileNotFoundError("theirs")
    with pytest.raises(asyncio.CancelledError):
        async with deadline(connection, HANG_S):
            raise asyncio.CancelledError
    assert not connection.is_closed()


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (asyncpg.DeadlockDetectedError("x"), True),
        (asyncpg.SerializationError("x"), True),
        (asyncpg.TooManyConnectionsError("x"), True),
        (asyncpg.DiskFullError("x"), True),
        (asyncpg.LockNotAvailableError("x"), True),
        (asyncpg.AdminShutdownError("x"), True),
        (asyncpg.CannotConnectNowError("x"), True),
        (asyncpg.ConnectionDoesNotExistError("x"), True),
        (asyncpg.InternalServerError("failure on connection marked as essential"), True),
        (asyncpg.InternalServerError("x"), False),
        (asyncpg.UniqueViolationError("x"), False),
        (asyncpg.UndefinedTableError("x"), False),
        (asyncpg.InvalidPasswordError("x"), False),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InterfaceError("another operation is in progress"), False),
        (ConnectionRefusedError("x"), True),
        (TimeoutError("x"), True),
        (ValueError("x"), False),
    ],
)
def test_error_is_worth_a_retry_when_the_same_work_may_succeed_later(error: Exception, retryable: bool) -> None:
    assert postgres.is_retryable(error) is retryable


@pytest.mark.parametrize(
    ("error", "elsewhere"),
    [
        (asyncpg.ConnectionFailureError("connection to the remote node n2:5432 failed"), True),
        (asyncpg.InternalServerError("failure on connection marked as essential: n2:5432"), True),
        (asyncpg.InternalServerError("cache lookup failed"), False),
        (asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"), False),
        (asyncpg.AdminShutdownError("x"), False),
        (asyncpg.UniqueViolationError("x"), False),
        (asyncpg.InterfaceError("connection is closed"), False),
        (ConnectionResetError("x"), False),
    ],
)
async def test_a_node_that_is_away_costs_its_lane_and_not_the_connection(
    empty_dsn: str, error: Exception, elsewhere: bool
) -> None:
    """Rule 45 of writing for Citus: the server that was asked is well, and says that another is not."""
    told = postgres.store_error(error)
    assert told.elsewhere is elsewhere and (told.retryable or not elsewhere)
    opened = await postgres.connect(empty_dsn)
    assert postgres.is_sound(opened, told) is elsewhere
    await opened.execute("BEGIN")
    assert not postgres.is_sound(opened, told), "a transaction hangs open"
    opened.terminate()
    assert not postgres.is_sound(opened, told) and not postgres.is_sound(None, told)


async def test_connections_are_used_again_and_never_more_than_their_size(empty_dsn: str) -> None:
    connections = Connections(empty_dsn, size=2)
    pids = set()
    inside = 0

    async def use() -> None:
        nonlocal inside
        async with connections.take(HANG_S) as opened:
            inside += 1
            assert inside <= 2
            pids.add(await opened.fetchval("SELECT pg_backend_pid()"))
            inside -= 1

    await asyncio.gather(*(use() for _ in range(10)))
    assert len(pids) == 2
    await connections.close()
    with pytest.raises(StoreError, match="closed"):
        await use()


async def test_broken_or_cancelled_connection_is_replaced(empty_dsn: str) -> None:
    connections = Connections(empty_dsn, size=1)
    async with connections.take(HANG_S) as opened:
        first = await opened.fetchval("SELECT pg_backend_pid()")
        await opened.execute("BEGIN")
    async with connections.take(HANG_S) as opened:
        second = await opened.fetchval("SELECT pg_backend_pid()")
    asked = asyncio.Event()

    async def hold() -> None:
        async with connections.take(HANG_S) as opened:
            asked.set()
            await opened.execute("SELECT pg_sleep(60)")

    task = asyncio.create_task(hold())
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with connections.take(HANG_S) as opened:
        third = await opened.fetchval("SELECT pg_backend_pid()")
    assert len({first, second, third}) == 3
    with pytest.raises(StoreError):
        async with connections.take(0.05) as opened:
            await opened.execute("SELECT pg_sleep(60)")
    async with connections.take(HANG_S) as opened:
        assert await opened.fetchval("SELECT 1") == 1
    await connections.close()
