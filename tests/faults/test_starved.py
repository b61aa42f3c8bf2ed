"""A worker with too little of the processor, or of memory; the limits are the kernel's."""

import asyncio
from pathlib import Path

import pytest

from tests.fixtures import audit as invariants
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
