"""Resources at their end: a log that nobody reads, no descriptor left, and a worker that dies, freezes or starts badly.

The processes and the disks are real, and the limits are the kernel's. Not here: Postgres that freezes or dies
(test_stopping.py).
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store.embedded import Embedded
from tests.fixtures.engine import doubt_bound, until
from tests.fixtures.rig import Rig

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


@contextlib.contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """A file system of its own, mounted for the length of the block."""
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("a small file system is mounted by root alone")
    folder.mkdir(mode=0o755)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=755", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Leave no octet free; -> what to remove."""
    filler = disk / "filler"
    with open(filler, "wb") as file:
        space = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, space.f_bfree * space.f_frsize)
    return filler


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
                filler = fill(tables if disk == "of the tables" else wal)
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
                filler.unlink()
                audit = await rig.audit_when_over(run, patience_s=60.0)
            audit.check(doubt_at_most=0, receipts=True)
