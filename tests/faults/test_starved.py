"""A worker with too little of the processor, or of memory; the limits are the kernel's."""

import asyncio
import contextlib
import os
import resource
from pathlib import Path

import pytest

from tests.fixtures import audit as invariants
from tests.fixtures.engine import until
from tests.fixtures.rig import Rig
from tests.fixtures.starved import starved, throttled_s


@pytest.mark.slow
async def test_worker_with_three_hundredths_of_a_processor_is_late_and_loses_no_link(
    tmp_path: Path, data_root: Path
) -> None:
    """Fault 12: links that are alive are not given up for our own lateness, and windows and rate hold."""
    async with Rig(tmp_path, data_root, tps=1000, window=50, lease_s=10.0) as rig:
        run = await rig.enqueue(8000)
        await rig.start("worker")
        await rig.until_taken(1000)
        binds = rig.ledger.read_text().count("\nB,")
        with starved(rig.processes["worker"].pid, 0.03) as group:
            await asyncio.sleep(8.0)
            assert throttled_s(group) > 2.0, "the worker had all that it wanted"
            slow = rig.taken()
            await asyncio.sleep(2.0)
            per_s = (rig.taken() - slow) / 2.0
        assert 0 < per_s < 900, per_s
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=0, receipts=True)
        assert rig.ledger.read_text().count("\nB,") == binds, rig.said("worker")
        invariants.windows_hold(rig.ledger, rig.window)
        invariants.rate_holds([message.at_ns for message in audit.arrived], rig.tps)


@pytest.mark.slow
async def test_worker_at_the_end_of_its_address_space_says_so_stops_in_order_and_loses_nothing(
    tmp_path: Path, data_root: Path
) -> None:
    """Fault 10: RLIMIT_AS just above what it takes; it claims nothing, ends when told, and the next one does it all."""
    async with Rig(tmp_path, data_root, tps=500) as rig:
        run = await rig.enqueue(12_000)
        await rig.start("worker")
        await rig.until_taken(300)
        # The least of several looks: a thread that comes and goes takes a hundred megabytes of it.
        statm, pages = Path(f"/proc/{rig.processes['worker'].pid}/statm"), 1 << 40
        while rig.taken() < 900:
            pages = min(pages, int(statm.read_text().split()[0]))
            await asyncio.sleep(0.02)
        assert await rig.stop_worker() == 0, rig.said("worker")
        # How much the next one takes is not known to a percent: the end comes nearer until it is felt.
        for share in (0.97, 0.98, 0.99):
            rig.limits = {resource.RLIMIT_AS: round(pages * os.sysconf("SC_PAGE_SIZE") / share)}
            await rig.start("worker")
            with contextlib.suppress(AssertionError):
                await until(lambda: "claims nothing, takes no receipts" in rig.said("worker"), "memory is told of", 8.0)
                break
            assert await rig.stop_worker() == 0, rig.said("worker")
        else:
            raise AssertionError(f"memory is not told of: {rig.said('worker')}")
        stands = rig.taken()
        await asyncio.sleep(2.0)
        # What it had claimed before it looked may have left.
        assert rig.taken() - stands < 2000 and rig.is_alive("worker"), rig.said("worker")
        assert await rig.stop_worker() == 0, rig.said("worker")
        rig.limits = {}
        await rig.start("worker")
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=0, receipts=True)
