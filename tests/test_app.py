"""The composition root: what is built is taken down again, in order, whatever happens in between."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from gateway import app
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.errors import StoreError
from gateway.store import runs


def of(dsn="", data_root="", **carriers):
    return Settings(
        database=DatabaseSettings(dsn=dsn, data_root=str(data_root), deadline_s=5),
        carriers={name: CarrierSettings(host="127.0.0.1", port=port) for name, port in carriers.items()},
    )


def test_database_is_there_by_dsn_and_embedded_only_once_it_was_made(tmp_path):
    assert app.has_database(of(dsn="postgresql://u@h/d"))
    assert not app.has_database(of(data_root=tmp_path / "none"))
    (tmp_path / "file").write_text("")
    assert not app.has_database(of(data_root=tmp_path / "file"))
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    assert app.has_database(of(data_root=tmp_path))


async def test_database_is_brought_up_to_date_unless_told_not_to(empty_dsn):
    async with app.open_database(of(empty_dsn), migrates=False) as database, database.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('run')") is None
    async with app.open_database(of(empty_dsn)) as database, database.connection() as connection:
        assert await connection.fetchval("SELECT to_regclass('run')") is not None


async def test_connection_raises_store_errors_alone_and_keeps_to_its_time(dsn):
    async with app.open_database(of(dsn)) as database:
        with pytest.raises(StoreError, match="42601"):
            async with database.connection() as connection:
                await connection.execute("SELEC")
        with pytest.raises(StoreError) as caught:
            async with database.connection(0.05) as connection:
                await connection.execute("SELECT pg_sleep(60)")
        assert caught.value.retryable


async def test_lost_connection_is_opened_anew(dsn):
    async with app.open_database(of(dsn)) as database:
        connections = database.connections()
        with pytest.raises(StoreError):
            async with connections.take(5) as connection:
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        async with connections.take(5) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        await connections.close()


async def test_embedded_server_is_started_again_when_it_has_died(data_root):
    async with app.open_database(of(data_root=data_root)) as database:
        assert database.server is not None and database.cpu_s() >= 0
        before = database.server.pid
        keeper = asyncio.create_task(database.keep_running())
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(20):
            while database.server.pid == before:
                await asyncio.sleep(0.01)
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1
    with pytest.raises(ProcessLookupError):
        os.kill(database.server.pid, 0)


async def test_worker_is_registered_while_it_is_open_and_forgotten_after(dsn, smsc):
    centre = await smsc(anybody=True)
    settings = of(dsn, north=centre.port, south=centre.port)
    async with app.open_database(settings) as database:
        with pytest.raises(RuntimeError, match="in between"):
            async with app.open_worker(settings, database, ["north"]) as worker:
                assert [lane.name for lane in worker.lanes] == ["north"]
                async with database.connection() as connection:
                    assert [each.instance for each in await runs.workers(connection)] == [worker.instance]
                raise RuntimeError("in between")
        async with database.connection() as connection:
            assert await runs.workers(connection) == []


async def test_signals_call_stop_while_the_block_lasts_and_no_longer():
    stop = asyncio.Event()
    before = signal.getsignal(signal.SIGTERM)
    # Whoever runs the tests may run them under nohup, and what is ignored stays so.
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            stop.clear()
            with app.stop_signals(stop.set):
                os.kill(os.getpid(), number)
                async with asyncio.timeout(5):
                    await stop.wait()
    finally:
        signal.signal(signal.SIGHUP, hangup)
    assert signal.getsignal(signal.SIGTERM) == before


async def test_hangup_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        stop = asyncio.Event()
        with app.stop_signals(stop.set):
            os.kill(os.getpid(), signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        assert not stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_program_runs_on_a_loop_of_its_own_and_leaves_no_core():
    code = (
        "import asyncio, resource; from gateway import app\n"
        "async def main(): return type(asyncio.get_running_loop()).__module__\n"
        "print(app.run(main()), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == f"{type(app.new_loop()).__module__} (0, 0)\n"


def test_cpu_of_a_process_that_is_gone_is_nought():
    process = subprocess.Popen(["/bin/sh", "-c", ":"])
    process.wait()
    assert app.process_tree_cpu_s(process.pid) == 0.0
    assert app.process_tree_cpu_s(os.getpid()) > 0.0


def postgres_that_says(state, text):
    """A door that answers whoever knocks with an ErrorResponse."""
    fields = b"".join(kind + value.encode() + b"\0" for kind, value in ((b"S", "FATAL"), (b"C", state), (b"M", text)))

    async def answer(reader, writer):
        length = int.from_bytes(await reader.readexactly(4), "big")
        request = await reader.readexactly(length - 4)
        if request == (80877103).to_bytes(4, "big"):  # SSLRequest: no, and then the start-up itself
            writer.write(b"N")
            length = int.from_bytes(await reader.readexactly(4), "big")
            await reader.readexactly(length - 4)
        writer.write(b"E" + (4 + len(fields) + 1).to_bytes(4, "big") + fields + b"\0")
        await writer.drain()
        writer.close()

    return asyncio.start_server(answer, "127.0.0.1", 0)


@pytest.mark.parametrize("state", ["57P03", "57P01", "53300"])
async def test_server_that_recovers_shuts_down_or_is_full_is_waited_for_and_that_is_said_now_and_then(
    state, monkeypatch
):
    monkeypatch.setattr(app, "WAITING_LOOK_S", 0.005)
    monkeypatch.setattr(app, "WAITING_SAID_S", 0.1)
    said, stop = [], asyncio.Event()

    def tell(line):
        said.append(line)
        if len(said) == 3:
            stop.set()

    async with await postgres_that_says(state, "not now") as door:
        settings = of(f"postgresql://u@127.0.0.1:{door.sockets[0].getsockname()[1]}/x")
        assert not await app.until_it_answers(settings, stop, tell)
    assert len(said) == 3 and all(f"not now ({state}): waiting for it, " in line for line in said)


async def test_server_that_will_not_have_us_is_not_waited_for():
    async with await postgres_that_says("28P01", "wrong password") as door:
        settings = of(f"postgresql://u@127.0.0.1:{door.sockets[0].getsockname()[1]}/x")
        with pytest.raises(StoreError, match="wrong password"):
            await app.until_it_answers(settings, asyncio.Event(), lambda line: pytest.fail(line))


async def test_server_that_answers_is_not_waited_for_nor_one_of_ours(dsn):
    for settings in (of(dsn), of()):
        assert await app.until_it_answers(settings, asyncio.Event(), lambda line: pytest.fail(line))


def test_limits_of_every_control_group_above_the_process_are_read(tmp_path):
    for name, text in {
        "memory.max": "max", "a/memory.max": "300", "a/b/memory.max": "200",
        "memory/memory.limit_in_bytes": "9223372036854771712", "memory/c/memory.limit_in_bytes": "100",
    }.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert app.group_limits("0::/a/b\n", tmp_path) == [200, 300]
    # What a container does not see of its own path is passed over.
    assert app.group_limits("0::/a/elsewhere/deep\n", tmp_path) == [300]
    both = "4:cpu,memory:/c\n1:cpu:/c\n0::/\n"
    assert app.group_limits(both, tmp_path) == [100, 9223372036854771712]


def test_sizes_and_room_are_those_of_the_system(tmp_path):
    resident, space = app.sizes()
    ballast = bytearray(64 << 20)
    ballast[::4096] = b"x" * len(ballast[::4096])
    more, wider = app.sizes()
    assert more - resident > 48 << 20 and wider - space > 48 << 20 and space > resident
    assert app.free_octets(of("postgresql://u@127.0.0.1/x")) is None
    assert app.free_octets(of(data_root=str(tmp_path))) is None, "there is no server yet"
    (tmp_path / "postgres").mkdir()
    room = os.statvfs(tmp_path)
    assert abs(app.free_octets(of(data_root=str(tmp_path))) - room.f_bavail * room.f_frsize) < 1 << 30
