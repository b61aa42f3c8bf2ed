"""Kill -9 of the worker, of Postgres and of the simulator at seeded moments of a run; afterwards the ledgers agree.

SLUICE_FAULT_ROUNDS=100 runs each kind so often, each round with a seed of its own; a failure names its seed.
"""

import os
import random
from pathlib import Path

import pytest

from gateway.message import Policy
from tests.fixtures.engine import doubt_bound
from tests.fixtures.rig import PARTS, Rig

ROUNDS = int(os.environ.get("SLUICE_FAULT_ROUNDS", "1"))
MESSAGES = 3000
# Of each kind and policy: a dozen of each kind.
KILLS = 6


async def killed(folder: Path, data_root: Path, parts: tuple[str, ...], policy: Policy, seed: int, kills: int) -> None:
    """One run with kills in its middle."""
    chance = random.Random(seed)
    async with Rig(folder, data_root, window=50, tps=2000) as rig:
        run = await rig.enqueue(MESSAGES, policy)
        await rig.start("worker")
        moments = sorted(chance.sample(range(1, MESSAGES * 9 // 10), kills))
        for moment in moments:
            await rig.until_taken(moment)
            part = chance.choice(parts)
            await rig.kill(part)
            await rig.start(part)
        audit = await rig.audit_when_over(run)
        try:
            # A kill of Postgres alone leaves nothing in doubt; but what is in flight when links break is.
            bound = sum(0 if part == "postgres" else doubt_bound(rig.window, rig.tps) for part in rig.kills)
            audit.check(doubt_at_most=bound)
        except AssertionError as error:
            raise AssertionError(
                f"seed {seed}, kills {list(zip(rig.kills, moments, strict=True))}: {error}\n{rig.said('worker')}"
            ) from None


@pytest.mark.slow
@pytest.mark.parametrize("policy", [Policy.ONCE, Policy.AT_LEAST_ONCE])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_after_kills_of_one_process_the_ledgers_agree(
    tmp_path: Path, data_root: Path, part: str, policy: Policy, round_: int
) -> None:
    await killed(tmp_path, data_root, (part,), policy, round_ * 100 + PARTS.index(part), KILLS)


@pytest.mark.slow
@pytest.mark.parametrize("policy", [Policy.ONCE, Policy.AT_LEAST_ONCE])
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_after_kills_of_any_process_the_ledgers_agree(
    tmp_path: Path, data_root: Path, policy: Policy, round_: int
) -> None:
    await killed(tmp_path, data_root, PARTS, policy, 7000 + round_, KILLS)


@pytest.mark.slow
async def test_a_worker_that_is_told_to_stop_leaves_nothing_in_doubt(tmp_path: Path, data_root: Path) -> None:
    async with Rig(tmp_path, data_root) as rig:
        run = await rig.enqueue(MESSAGES)
        for moment in (500, 1200, 2000):
            await rig.start("worker")
            await rig.until_taken(moment)
            assert await rig.stop_worker() == 0, rig.said("worker")
        await rig.start("worker")
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=0, receipts=True)
        assert audit.states == {"delivered": MESSAGES}, audit.states
