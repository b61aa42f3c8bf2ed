"""Connections that come and go by the thousand, to the SMSC and to Postgres: nothing grows, and nobody storms."""

import asyncio
import contextlib
import gc
import logging
import os
import socket
import time
from pathlib import Path

import pytest

from gateway.simulator.smsc import Smsc
from gateway.smpp.carrier import Carrier
from gateway.store import postgres
from tests.fixtures.carriers import all_bound
from tests.fixtures.engine import until
from tests.fixtures.rig import Rig

BINDS = 50
# 10,000 reconnects are 200; the first few fill caches.
FLAPS, FIRST = 40 * int(os.environ.get("SLUICE_FAULT_ROUNDS", "1")), 10


def used() -> tuple[int, int, int]:
    """Open files, tasks, and objects that are alive."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), len(gc.get_objects())


async def flap(carrier: Carrier, centre: Smsc) -> None:
    """Every connection ends at once, and every bind comes up again."""
    again = centre.totals()["binds"] + BINDS
    for bind in carrier.binds:
        assert bind.link is not None
        end = socket.socket(fileno=os.dup(bind.link._transport.get_extra_info("socket").fileno()))
        end.shutdown(socket.SHUT_RDWR)
        end.close()
    await until(lambda: centre.totals()["binds"] >= again, "every bind was lost and has come again")
    await all_bound(carrier)


@pytest.mark.slow
async def test_binds_that_flap_leave_no_file_no_task_and_no_object_behind(esme, smsc, caplog):
    """Fault 40: two thousand reconnects of fifty binds, one at a time and not closer than the first pause."""
    # pytest keeps every record of the log.
    caplog.set_level(logging.CRITICAL, logger="gateway")
    centre = await smsc()
    carrier = esme(centre.port, binds=BINDS, reconnect_first_s=0.001, reconnect_longest_s=0.002)
    await all_bound(carrier)
    for _ in range(FIRST):
        await flap(carrier, centre)
    before, binds, began = used(), centre.totals()["binds"], time.monotonic()
    for _ in range(FLAPS):
        await flap(carrier, centre)
    tried = centre.totals()["binds"] - binds
    assert tried >= FLAPS * BINDS
    # Turns keep a millisecond between two attempts, however many binds want one.
    assert time.monotonic() - began >= tried * 0.001
    files, tasks, objects = (now - then for now, then in zip(used(), before, strict=True))
    assert files <= 2 and tasks <= 2 and objects <= tried // 20, (files, tasks, objects)


@pytest.mark.slow
async def test_server_without_a_connection_left_is_not_stormed_and_nothing_is_lost(
    tmp_path: Path, data_root: Path
) -> None:
    """Fault 72: the workers' connections are gone and somebody else has taken every place, for four seconds."""
    async with Rig(tmp_path, data_root, tps=500, lease_s=10.0, settings={"max_connections": "40"}) as rig:
        run = await rig.enqueue(3000)
        await rig.start("worker")
        await rig.until_taken(500)
        others = [await rig.connect()]
        log = data_root / "postgres" / "server.log"

        def refused() -> int:
            return log.read_text(errors="replace").count("too many clients")

        async with rig.frozen("worker"):
            await others[0].execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
            with contextlib.suppress(postgres.StoreError):
                async with asyncio.timeout(30.0):
                    while True:
                        others.append(await rig.connect())
        before, said = refused(), rig.log_size("worker")
        await asyncio.sleep(4.0)
        tries_per_s = (refused() - before) / 4.0
        lines = (tmp_path / "worker.log").read_bytes()[said:].decode(errors="replace").splitlines()
        stands = rig.taken()
        for one in others:
            one.terminate()
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=0, receipts=True)
        assert stands < 3000 and 0 < tries_per_s < 150, (stands, tries_per_s)
        assert len(lines) < 40, lines
