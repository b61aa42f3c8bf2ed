"""Disks of Postgres that lose power, fail to sync, or take half a second for it; the server and the disk are real."""

import asyncio
import contextlib
import os
import random
import time
from pathlib import Path

import pytest

from gateway.errors import StoreError
from gateway.store import postgres
from gateway.store.embedded import Embedded
from tests.fixtures.disk import PowerDisk, Syncs, end_at_once
from tests.fixtures.engine import until
from tests.fixtures.rig import Rig

ROUNDS = int(os.environ.get("SLUICE_FAULT_ROUNDS", "1"))
CUTS = 5
SMALL = {"shared_buffers": "32MB", "min_wal_size": "32MB", "max_wal_size": "128MB"}


def cluster(data_root: Path, settings: dict[str, str]) -> Path:
    """Make a cluster; -> its data."""
    with Embedded(data_root, settings):
        pass
    return (data_root / "postgres" / "data").resolve()


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_power_cuts_of_postgres_lose_nothing_that_was_acknowledged(
    round_: int, tmp_path: Path, data_root: Path
) -> None:
    """Fault 66: what was not synced is gone, and the worker on the machine beside finds all that it was told."""
    chance = random.Random(66 + round_)
    with PowerDisk.under(cluster(data_root, SMALL)) as disk:
        async with Rig(tmp_path, data_root, tps=1000, settings=SMALL) as rig:
            run = await rig.enqueue(4000)
            await rig.start("worker")
            for moment in sorted(chance.sample(range(1, 3600), CUTS)):
                await rig.until_taken(moment)
                disk.cut_power()
                await rig.end_postgres_at_once()
                await asyncio.to_thread(disk.give_power)
                await rig.start("postgres")
            audit = await rig.audit_when_over(run)
            audit.check(doubt_at_most=0, receipts=True)
            audit.intents_are_older(rig.wall_less_monotonic_ns)


@pytest.mark.slow
@pytest.mark.parametrize("fsync", ["on", "off"])
async def test_power_cut_takes_what_was_not_synced_and_nothing_else(fsync: str, data_root: Path) -> None:
    """Fault 66 and case 13: without fsync the same cut loses what was acknowledged, or the disk would prove nothing."""
    settings = SMALL | {"fsync": fsync}
    with PowerDisk.under(cluster(data_root, settings)) as disk:
        server = Embedded(data_root, settings)
        with server:
            connection = await postgres.connect(server.dsn, allow_fsync_off=True)
            await connection.execute("CREATE TABLE t (n int)")
            for number in range(20):
                await connection.execute("INSERT INTO t VALUES ($1)", number)
            disk.cut_power()
            end_at_once(server.pid)
            connection.terminate()
            await asyncio.to_thread(disk.give_power)
            found = 0
            try:
                await asyncio.to_thread(server.ensure_running)
                connection = await postgres.connect(server.dsn, allow_fsync_off=True)
                found = await connection.fetchval("SELECT count(*) FROM t")
                await postgres.close(connection)
            except (StoreError, postgres.asyncpg.UndefinedTableError):
                assert fsync == "off"
        assert (found == 20) == (fsync == "on")


@pytest.fixture
def syncs(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Syncs:
    """Between the server of data_root and its disk."""
    with Embedded(data_root, SMALL) as server:
        binary = Path(f"/proc/{server.pid}/exe").resolve()
    made = Syncs.of(binary, data_root / "syncs")
    monkeypatch.setenv("SLUICE_PG_BIN", str(made.bin))
    return made


FILES = {"of the log of transactions": "pg_wal", "of a table": "base/"}


@pytest.mark.slow
@pytest.mark.parametrize("which", FILES)
async def test_fsync_that_fails_once_ends_the_server_and_loses_nothing(
    which: str, tmp_path: Path, data_root: Path, syncs: Syncs
) -> None:
    """Fault 68: the server panics rather than believe the second try, comes back by itself, and nothing is in doubt."""
    async with Rig(tmp_path, data_root, tps=500, settings=SMALL) as rig:
        run = await rig.enqueue(2000)
        await rig.start("worker")
        await rig.until_taken(300)
        syncs.fail_once(FILES[which])
        # Tables are synced by a checkpoint alone. It, or the connection itself, may be what the panic ends.
        with contextlib.suppress(StoreError, postgres.asyncpg.PostgresError, ConnectionError):
            connection = await rig.connect()
            try:
                await connection.execute("CHECKPOINT")
            finally:
                connection.terminate()
        await until(syncs.has_failed, "an fsync has failed", 30.0)
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=0, receipts=True)
        said = (data_root / "postgres" / "server.log").read_text(errors="replace")
        assert "PANIC" in said and "Input/output error" in said


@pytest.mark.slow
async def test_disk_that_takes_half_a_second_to_sync_slows_the_sending_and_loses_nothing(
    tmp_path: Path, data_root: Path, syncs: Syncs
) -> None:
    """Fault 69: the rate falls and comes back, nothing is in doubt, and the log is not flooded meanwhile."""
    async with Rig(tmp_path, data_root, tps=500, settings=SMALL) as rig:
        run = await rig.enqueue(4000)
        await rig.start("worker")
        await rig.until_taken(500)
        before = rig.log_size("worker")
        syncs.delay(500)
        began, taken = time.monotonic(), rig.taken()
        await asyncio.sleep(6.0)
        slow_per_s = (rig.taken() - taken) / (time.monotonic() - began)
        syncs.work()
        lines = (tmp_path / "worker.log").read_bytes()[before:].decode(errors="replace").splitlines()
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=0, receipts=True)
        assert 0 < slow_per_s < 450, slow_per_s
        assert len(lines) <= 12, lines
