"""The composition root: what it opens it closes, in order, and a worker that cannot start leaves nothing."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from gateway import app
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.errors import StoreError
from gateway.store import postgres, runs
from tests.fixtures.engine import until


def settings_of(dsn: str = "", data_root: str = "") -> Settings:
    """One carrier that nobody listens for."""
    return Settings(
        database=DatabaseSettings(dsn=dsn, data_root=data_root),
        carriers={"acme": CarrierSettings(host="127.0.0.1", port=1)},
    )


def test_a_program_runs_on_its_own_loop_and_gives_its_result() -> None:
    async def program() -> int:
        await asyncio.sleep(0)
        return 7

    assert app.run(program()) == 7


async def test_a_given_dsn_is_used_and_no_server_is_started(empty_dsn: str) -> None:
    async with app.open_database(settings_of(empty_dsn)) as database:
        assert database.server is None and database.cpu_s() is None
        async with database.connection() as connection:
            assert await runs.lanes(connection) == {}
        await asyncio.wait_for(database.keep_running(), 5.0)


async def test_embedded_server_lives_as_long_as_the_block_and_comes_back_from_a_kill(data_root: Path) -> None:
    async with app.open_database(settings_of(data_root=str(data_root))) as database:
        assert database.server is not None
        assert (database.cpu_s() or 0) >= 0
        keeper = asyncio.create_task(database.keep_running())
        before = database.server.pid
        os.kill(before, signal.SIGKILL)

        async def is_back() -> bool:
            try:
                connection = await postgres.connect(database.dsn)
            except StoreError:
                return False
            connection.terminate()
            return database.server is not None and database.server.pid != before

        await until(is_back, "the server is back")
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        pid = database.server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_worker_is_registered_while_its_block_lasts(dsn: str) -> None:
    settings = settings_of(dsn)
    async with app.open_database(settings) as database, database.connection() as connection:
        async with app.open_worker(settings, database) as worker:
            assert [one.instance for one in await runs.workers(connection)] == [worker.instance]
        assert await runs.workers(connection) == []


async def test_a_worker_that_cannot_start_leaves_no_task_behind(empty_dsn: str) -> None:
    settings = settings_of(empty_dsn)
    async with app.open_database(settings) as database, database.connection() as connection:
        await connection.execute("DROP TABLE worker")
        before = asyncio.all_tasks()
        with pytest.raises(StoreError, match="worker"):
            async with app.open_worker(settings, database):
                pass
        assert asyncio.all_tasks() == before


async def test_signals_call_stop_while_the_block_lasts() -> None:
    stopped = asyncio.Event()
    with app.stop_signals(stopped.set):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopped.wait(), 5.0)
    assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)


def test_cpu_of_this_process_is_counted_and_that_of_none_is_nothing() -> None:
    assert app.process_tree_cpu_s(os.getpid()) > 0
    assert app.process_tree_cpu_s(4194305) == 0
