"""Kill -9 of the worker, of Postgres and of the simulator at seeded moments of a run; afterwards the ledgers agree.

Each round has a run of each policy side by side, so that every kill hits both. SLUICE_FAULT_ROUNDS=100 runs each kind
so often, each round with a seed of its own; a failure names its seed. Two workers and more kinds: test_torture.py.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from gateway import app
from gateway.dispatch.cancelling import Cancelling
from gateway.dispatch.stops import CONFIRM_S, Stops
from gateway.store import postgres, runs
from tests.faults.torture import POLICIES
from tests.fixtures.campaign import FIRST_NUMBER
from tests.fixtures.engine import doubt_bound
from tests.fixtures.rig import PARTS, Rig

ROUNDS = int(os.environ.get("SLUICE_FAULT_ROUNDS", "1"))
MESSAGES = 3000
# Of each kind: they hit both policies.
KILLS = 6


async def killed(folder: Path, data_root: Path, parts: tuple[str, ...], seed: int, kills: int) -> None:
    """A run of each policy with kills in their middle."""
    chance = random.Random(seed)
    async with Rig(folder, data_root, window=50, tps=2000) as rig:
        made = [await rig.enqueue(MESSAGES // 2, policy) for policy in POLICIES]
        await rig.start("worker")
        moments = sorted(chance.sample(range(1, MESSAGES * 9 // 10), kills))
        for moment in moments:
            await rig.until_taken(moment)
            part = chance.choice(parts)
            await rig.kill(part)
            await rig.start(part)
        audit = await rig.audit_when_over(*made)
        try:
            # A kill of Postgres alone leaves nothing in doubt; but what is in flight when links break is.
            bound = sum(0 if part == "postgres" else doubt_bound(rig.window, rig.tps) for part in rig.kills)
            audit.check(doubt_at_most=bound)
            audit.intents_are_older(rig.wall_less_monotonic_ns)
        except AssertionError as error:
            raise AssertionError(
                f"seed {seed}, kills {list(zip(rig.kills, moments, strict=True))}: {error}\n{rig.said('worker')}"
            ) from None


@pytest.mark.covers("X.1")
@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_after_kills_of_one_process_the_ledgers_agree(
    tmp_path: Path, data_root: Path, part: str, round_: int
) -> None:
    """Cases 2 and 10 of the write protocol."""
    await killed(tmp_path, data_root, (part,), round_ * 100 + PARTS.index(part), KILLS)


@pytest.mark.covers("X.1")
@pytest.mark.slow
@pytest.mark.parametrize("round_", range(ROUNDS))
async def test_after_kills_of_any_process_the_ledgers_agree(tmp_path: Path, data_root: Path, round_: int) -> None:
    """Cases 2 and 10 of the write protocol, mixed."""
    await killed(tmp_path, data_root, PARTS, 7000 + round_, KILLS)


@pytest.mark.slow
async def test_behind_a_kill_of_the_only_worker_the_next_stop_waits_for_no_lease(
    tmp_path: Path, data_root: Path
) -> None:
    """S1, with a lease of 30 s: what was killed on this host is known to be gone, and its successor knows the STOPs."""
    async with Rig(tmp_path, data_root, tps=500, lease_s=30.0) as rig:
        run = await rig.enqueue(2000)
        await rig.start("worker")
        await rig.until_taken(300)
        instance = rig.instance("worker")
        await rig.kill("worker")

        async def connect() -> Any:
            return await postgres.connect(rig.server.dsn)

        entry = Stops(app.CLOCK, connect, 5.0, rig.lease_s, app.identity())
        acknowledged = {}
        try:
            for number in range(FIRST_NUMBER + 500, FIRST_NUMBER + 600):
                began = time.monotonic()
                done = await entry.stop([number])
                acknowledged[number] = time.monotonic_ns()
                assert (done.gone, done.fenced) == ((instance,), ())
                assert time.monotonic() - began < CONFIRM_S
        finally:
            await entry.close()
        await rig.start("worker")
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=doubt_bound(rig.window, rig.tps))
        audit.nothing_after_stop(acknowledged)


@pytest.mark.slow
async def test_a_worker_that_is_told_to_stop_leaves_nothing_in_doubt(tmp_path: Path, data_root: Path) -> None:
    """Case 30 of the write protocol: a stop in order, three times in one run, leaves 0 in doubt."""
    async with Rig(tmp_path, data_root) as rig:
        run = await rig.enqueue(3000)
        for moment in (500, 1200, 2000):
            await rig.start("worker")
            await rig.until_taken(moment)
            assert await rig.stop_worker() == 0, rig.said("worker")
        await rig.start("worker")
        audit = await rig.audit_when_over(run)
        audit.check(doubt_at_most=0, receipts=True)
        assert audit.states == {"delivered": 3000}, audit.states


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(2 * ROUNDS))
async def test_case_26_nothing_of_a_cancelled_run_begins_after_the_acknowledgement_whoever_is_killed(
    tmp_path: Path, data_root: Path, round_: int
) -> None:
    """Case 26 of the write protocol: the worker killed before or behind it, the carrier takes nothing more."""
    chance = random.Random(2600 + round_)
    async with Rig(tmp_path, data_root, tps=1000, lease_s=3.0) as rig:
        run = await rig.enqueue(3000)
        await rig.start("worker")
        await rig.until_taken(chance.randrange(1, 1500))
        if is_dead := chance.random() < 0.7:
            await rig.kill("worker")
        made = Cancelling(app.CLOCK, rig.connect, 10.0, 3.0, app.identity())
        await made.cancel([run.id], "ann@here")
        # What a socket was given before is on its way still; what is unanswered a bind has in its window.
        at = rig.taken()
        if is_dead or chance.random() < 0.5:
            if not is_dead:
                await rig.kill("worker")
            await rig.start("worker")
        assert await made.settled([run.id], 30.0), rig.said("worker")
        audit = await rig.audit(run)
        assert rig.taken() - at <= rig.window
        audit.check(doubt_at_most=doubt_bound(rig.window, rig.tps))
        connection = await rig.connect()
        found = await runs.run_by_id(connection, run.id)
        assert found is not None
        count = await made.count(found)
        assert count.before and (count.before + count.too_late + count.otherwise, count.undecided) == (3000, 0)
        await made.stop()
        connection.terminate()
