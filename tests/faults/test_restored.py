"""A backup takes the place of the server while a worker runs: nothing leaves until a person has said so."""

import asyncio
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.engine import until
from tests.fixtures.rig import ROOT, Rig


def copy(source: Path, target: Path) -> None:
    """Copy a cluster that does not run, owners and modes included."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def resume(rig: Rig, what: str) -> "subprocess.CompletedProcess[str]":
    """`sluice resume` with the worker's settings."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", "resume", what, "--config", str(rig.folder / "worker.toml")],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@pytest.mark.slow
async def test_each_backup_that_is_restored_sends_nothing_until_a_person_has_said_so(
    tmp_path: Path, data_root: Path
) -> None:
    """Fault 78: what was acknowledged since the backup is gone, and messages of that time look as if they had not left.

    What the operator accepts with the order is that some of them leave again. The second backup holds the order that
    accepted the first one, and its server writes on the same timeline.
    """
    data, backup = data_root / "postgres" / "data", data_root / "backup"
    async with Rig(tmp_path, data_root, tps=500, lease_s=5.0) as rig:
        await rig.enqueue(12000)
        await rig.start("worker")

        async def is_told() -> bool:
            told = await asyncio.to_thread(resume, rig, "--after-failover")
            return told.returncode == 0 and told.stdout.startswith("failover: goes on: ")

        async def orders() -> int:
            connection = await rig.connect()
            try:
                return int(await connection.fetchval("SELECT count(*) FROM control WHERE scope = 'failover'"))
            finally:
                connection.terminate()

        await rig.until_taken(200)
        for time in range(2):
            await rig._end_postgres(signal.SIGINT)
            await asyncio.to_thread(copy, data, backup)
            await rig.start("postgres")
            await rig.until_taken(rig.taken() + 1800)
            early = await asyncio.to_thread(resume, rig, "--after-failover")
            assert early.returncode == 1 and "is in a recovery hold, found none among 1" in early.stderr, early.stderr
            await rig.kill("postgres")
            await asyncio.to_thread(copy, backup, data)
            await rig.start("postgres")

            def is_held(times: int = time + 1) -> bool:
                log = (tmp_path / "worker.log").read_text(errors="replace")
                return log.count("! recovery hold: the server is an older state") == times

            await until(is_held, "a hold", 30.0)
            assert await orders() == time, "the backup holds the orders before it"
            stands = rig.taken()
            await asyncio.sleep(3.0)
            assert rig.taken() == stands, "something left though history is missing"
            # The order is taken once a worker has reported its hold.
            await until(is_told, "the order is taken", 30.0, every_s=0.5)
            await rig.until_taken(stands + 200)
