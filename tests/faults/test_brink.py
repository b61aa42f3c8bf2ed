"""Resources at their end: a log that nobody reads, no descriptor left, and a worker that dies, freezes or starts badly.

The processes and the disks are real, and the limits are the kernel's. Not here: Postgres that freezes or dies
(test_stopping.py).
"""

import asyncio
import contextlib
import fcntl
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store.embedded import Embedded
from tests.fixtures import audit as invariants
from tests.fixtures.disk import kept_full, small_disk
from tests.fixtures.engine import doubt_bound, until
from tests.fixtures.postgres import FAST
from tests.fixtures.rig import ROOT, Rig

LOGS = ("a pipe that nobody reads", "a disk that is full")


@pytest.mark.slow
@pytest.mark.parametrize("log", LOGS)
async def test_worker_whose_log_goes_nowhere_sends_everything_and_ends_when_told(
    log: str, tmp_path: Path, data_root: Path
) -> None:
    """Fault 18."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        async with Rig(tmp_path, data_root, tps=1000) as rig:
            rig.stderr, rig.report_every_s = (writing if log == LOGS[0] else full), 0.005
            run = await rig.enqueue(2000)
            await rig.start("worker")
            await rig.until_taken(2000)
            (await rig.audit_when_over(run)).check(doubt_at_most=0, receipts=True)
            assert await rig.stop_worker() == 0
        if log == LOGS[0]:
            os.set_blocking(reading, False)
            said = os.read(reading, 1 << 16)
            # A line is written whole or not at all.
            assert 3900 < len(said) <= 4096 and said.startswith(b"running "), "the pipe was full all the time"
    finally:
        for descriptor in (reading, writing, full):
            os.close(descriptor)


@contextlib.asynccontextmanager
async def kept_running(server: Embedded) -> AsyncIterator[None]:
    """Start the server again whenever it has died, as whoever watches over services does."""

    async def keep() -> None:
        while True:
            with contextlib.suppress(StoreError):
                await asyncio.to_thread(server.ensure_running)
            await asyncio.sleep(0.25)

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


SHAPES = {"of the tables": "could not extend file", "of the log of transactions": "PANIC"}


@pytest.mark.slow
@pytest.mark.parametrize("disk", SHAPES)
async def test_disk_that_is_full_stops_the_sending_and_it_goes_on_by_itself_when_there_is_room(
    disk: str, tmp_path: Path, data_root: Path
) -> None:
    """Case 12 of the write protocol, fault 67: a statement that fails, and a server that panics."""
    settings = {"shared_buffers": "32MB", "min_wal_size": "32MB", "max_wal_size": "64MB"}
    with small_disk(data_root / "tables", 130) as tables, small_disk(data_root / "log", 100) as wal:
        with Embedded(tables, settings):
            pass
        usual = tables / "postgres" / "data" / "pg_wal"
        shutil.copytree(usual, wal / "pg_wal")
        for path in (wal / "pg_wal", *(wal / "pg_wal").rglob("*")):
            shutil.chown(path, usual.owner(), usual.group())
        (wal / "pg_wal").chmod(0o700)
        shutil.rmtree(usual)
        usual.symlink_to(wal / "pg_wal")
        server_log = tables / "postgres" / "server.log"
        async with Rig(tmp_path, tables, tps=500, settings=settings) as rig:
            run = await rig.enqueue(4000)
            await rig.start("worker")
            await rig.until_taken(500)
            async with kept_running(rig.server):
                full = contextlib.AsyncExitStack()
                await full.enter_async_context(kept_full(tables if disk == "of the tables" else wal))
                said = rig.log_size("worker")

                async def is_shown() -> bool:
                    if disk != "of the tables":
                        # The segments that are there already would last for a while.
                        with contextlib.suppress(StoreError, OSError):
                            connection = await rig.connect()
                            try:
                                await connection.execute(
                                    "SELECT pg_logical_emit_message(true, 'x', repeat('y', 99999))"
                                )
                                await connection.execute("SELECT pg_switch_wal()")
                            except Exception as error:
                                assert "wal" in str(error).lower() or "closed" in str(error).lower(), error
                            finally:
                                connection.terminate()
                    return SHAPES[disk] in server_log.read_text(errors="replace")

                await until(is_shown, f"{SHAPES[disk]}: {rig.said('worker')}", 30.0, every_s=0.05)
                await until(lambda: rig.log_size("worker") > said, "the worker tells of it", 10.0)
                stands = rig.taken()
                await asyncio.sleep(1.5)
                settled = rig.taken()
                assert settled - stands <= doubt_bound(rig.window, rig.tps), "much left that could not be written down"
                await asyncio.sleep(0.5)
                assert rig.taken() == settled, "something left though nothing could be written down"
                assert rig.is_alive("worker")
                await full.aclose()
                audit = await rig.audit_when_over(run, patience_s=60.0)
            audit.check(doubt_at_most=0, receipts=True)


def free_port() -> int:
    """A port that nobody has now."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def cpu_s(pid: int) -> float:
    """Seconds of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
async def test_worker_without_descriptors_keeps_its_binds_and_neither_spins_nor_floods_the_log(
    tmp_path: Path, data_root: Path
) -> None:
    """Fault 11: everybody knocks, each link of one carrier breaks, and nothing can be opened."""
    outbind, metrics = free_port(), free_port()
    async with Rig(tmp_path, data_root, tps=100, proxies=True) as rig:
        assert rig.smpp_net is not None
        rig.more_config = {
            "worker": f'metrics_listen = "127.0.0.1:{metrics}"\n',
            "carriers.caller": f'host = "127.0.0.1"\nport = {rig.port}\nsystem_id = "test"\nbind = "tx+rx"\n'
            f'outbind_listen = "127.0.0.1:{outbind}"\noutbind_peers = ["127.0.0.1"]\n'
            f"reconnect_first_s = 0.05\nreconnect_longest_s = 0.05\n",
        }
        run = await rig.enqueue(2000)
        await rig.start("worker")
        await rig.until_taken(100)
        pid = rig.processes["worker"].pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # As if all of them were taken. Below what is open already, libuv's spare descriptor would be of no use to it.
        most = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
        taken = rig.taken()
        knocking = []
        for port in (outbind, metrics):
            for _ in range(20):
                with contextlib.suppress(OSError):
                    door = socket.create_connection(("127.0.0.1", port), 1.0)
                    knocking.append(door)
        used, said = cpu_s(pid), rig.log_size("worker")
        await rig.until_taken(taken + 200)
        began = time.monotonic()
        assert rig.is_alive("worker")
        await rig.smpp_net.order("cut")
        await asyncio.sleep(3.0)
        # Some of it is the traffic of two seconds before the cut.
        assert cpu_s(pid) - used < 0.5 * (time.monotonic() - began + 2.0), "it spins"
        lines = (tmp_path / "worker.log").read_bytes()[said:].decode(errors="replace").splitlines()
        assert any("Too many open files" in line for line in lines), lines
        assert len(lines) <= 3 * 6, lines
        stands = rig.taken()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        for door in knocking:
            door.close()
        await rig.until_taken(stands + 100)
        (await rig.audit_when_over(run)).check(doubt_at_most=rig.window, receipts=False)


@pytest.mark.slow
async def test_worker_that_dies_soon_after_each_start_sends_nothing_twice_and_keeps_the_rate(
    tmp_path: Path, data_root: Path
) -> None:
    """Fault 7: ten kills, none later than 0.3 s behind a start."""
    chance = random.Random(7)
    async with Rig(tmp_path, data_root, tps=300, window=20) as rig:
        run = await rig.enqueue(2500)
        for _ in range(10):
            await rig.start("worker")
            await rig.until_running("worker")
            await asyncio.sleep(chance.uniform(0.0, 0.3))
            await rig.kill("worker")
        await rig.start("worker")
        audit = await rig.audit_when_over(run)
        # Twice is what check() refuses for this policy; no kill may leave more behind than another.
        audit.check(doubt_at_most=10 * doubt_bound(rig.window, rig.tps))
        most = max(audit.doubt_by_owner().values(), default=0)
        assert most <= doubt_bound(rig.window, rig.tps), audit.doubt_by_owner()
        invariants.rate_holds([message.at_ns for message in audit.arrived], rig.tps)


@pytest.mark.slow
async def test_worker_that_was_frozen_for_three_seconds_wakes_without_a_burst(tmp_path: Path, data_root: Path) -> None:
    """Case 16 of the write protocol, fault 8: the lease is longer than the freeze, and the rate holds on waking."""
    async with Rig(tmp_path, data_root, tps=300, window=50, lease_s=30.0) as rig:
        run = await rig.enqueue(1800)
        await rig.start("worker")
        await rig.until_taken(600)
        async with rig.frozen("worker"):
            await asyncio.sleep(3.0)
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=rig.window)
        invariants.rate_holds([message.at_ns for message in audit.arrived], rig.tps)


def run_in(data_root: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """`sluice run` with a carrier and an embedded server, to its end."""
    config = data_root.parent / "sluice.toml"
    config.write_text('[carriers.acme]\nhost = "127.0.0.1"\nport = 1\nsystem_id = "test"\n')
    environment = os.environ | {"SLUICE_HOME": str(data_root)} | changed
    return subprocess.run(
        [sys.executable, "-m", "gateway", "run", "--config", str(config)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("is_made", [False, True], ids=["nothing there yet", "a cluster there already"])
def test_data_root_that_is_read_only_is_one_sentence_and_an_exit_code(is_made: bool, data_root: Path) -> None:
    """Fault 19."""
    with small_disk(data_root / "disk", 130) as disk:
        if is_made:
            with Embedded(disk, FAST):
                pass
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ended = run_in(disk)
    assert ended.returncode == 75
    (line,) = ended.stderr.splitlines()
    assert line.startswith("postgres: ") and "read-only" in line.lower() and str(disk) in line


@pytest.mark.slow
async def test_worker_needs_no_home_and_no_place_for_temporary_files(tmp_path: Path, data_root: Path) -> None:
    """Fault 19."""
    config = tmp_path / "sluice.toml"
    config.write_text('[carriers.acme]\nhost = "127.0.0.1"\nport = 1\nsystem_id = "test"\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "run", "--config", str(config), cwd=ROOT, stderr=asyncio.subprocess.PIPE,
        env={"SLUICE_HOME": str(data_root), "TMPDIR": "/nonexistent", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = await asyncio.wait_for(process.stderr.readline(), 60.0)
        assert line.startswith(b"running "), line
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60.0)
        assert process.returncode == 0
    finally:
        if process.returncode is None:
            process.kill()
