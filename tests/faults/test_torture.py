"""Short versions of ./dev torture: a few faults on two workers, then every invariant; and a disk that is full."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import torture
from tests.faults.torture import FAULTS, Tally, planned
from tests.fixtures.disk import kept_full, small_disk
from tests.fixtures.engine import doubt_bound, until
from tests.fixtures.rig import FAKETIME, Rig

ALL = {"A1", "A2", "A3", "A4", "A5", "R1", "O1", "T1", "T2", "P1", "L1"}


@pytest.mark.slow
async def test_faults_of_processes_and_networks_one_after_another_break_no_invariant(data_root: Path) -> None:
    """Faults 1, 22, 23, 36, 38 and 64; parts of messages leave in order all the while."""
    names = [
        "worker_kill",
        "cut_in_response",
        "responses_reversed",
        "cut_in_submit",
        "length_corrupted",
        "database_cut",
    ]
    tally = Tally()
    plan = [[FAULTS[name]] for name in names]
    await torture.round_(data_root, plan, random.Random(11), tally, messages=4000)
    assert tally.faults == dict.fromkeys(names, 1)
    assert tally.checks.keys() >= ALL | {"E1"}
    assert tally.intents_compared and tally.parts_compared


@pytest.mark.slow
async def test_faults_in_pairs_break_no_invariant(data_root: Path) -> None:
    """Faults 14 with 65, 8 with 28, 7 with 21: a pair hits two different things at once."""
    pairs = [("worker_kill", "postgres_immediate"), ("worker_freeze", "latency"), ("worker_crash_loop", "cut")]
    tally = Tally()
    plan = [[FAULTS[name] for name in pair] for pair in pairs]
    await torture.round_(data_root, plan, random.Random(12), tally, messages=4000)
    assert tally.rounds == 1 and tally.checks.keys() >= ALL


@pytest.mark.slow
@pytest.mark.skipif(not FAKETIME.exists(), reason=f"{FAKETIME} is not there (Debian: libfaketime)")
async def test_jumps_of_the_wall_clock_change_no_rate_and_lose_nothing(data_root: Path) -> None:
    """Case 15 of the write protocol, fault 82: pacing, timers and leases do not look at the wall clock."""
    tally = Tally()
    plan = [[FAULTS["wall_clock_jumps"]]] * 2
    await torture.round_(data_root, plan, random.Random(13), tally, messages=3000)
    assert tally.doubted == 0 and tally.checks.keys() >= ALL


@pytest.mark.skipif(not FAKETIME.exists(), reason=f"{FAKETIME} is not there (Debian: libfaketime)")
def test_clock_of_a_process_jumps_by_the_file_and_its_monotonic_clock_does_not(tmp_path: Path) -> None:
    offset = tmp_path / "offset"
    offset.write_text("+172800\n")
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time(), time.monotonic())"],
        capture_output=True, text=True, check=True,
        env=os.environ | {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(offset),
                          "FAKETIME_DONT_FAKE_MONOTONIC": "1"},
    )  # fmt: skip
    wall, monotonic = map(float, told.stdout.split())
    assert 172700 < wall - time.time() < 172900 and abs(monotonic - time.monotonic()) < 60


@pytest.mark.slow
async def test_full_disk_stops_the_sending_loudly_and_all_goes_on_when_there_is_room(
    tmp_path: Path, data_root: Path
) -> None:
    """Case 12 of the write protocol, fault 67: a statement that fails and a server that stops are both its shapes."""
    settings = {"shared_buffers": "32MB", "min_wal_size": "32MB", "max_wal_size": "64MB"}
    with small_disk(data_root / "small", 160) as disk:
        async with Rig(tmp_path, disk, tps=500, settings=settings) as rig:
            run = await rig.enqueue(3000)
            await rig.start("worker")
            await rig.until_taken(500)
            async with kept_full(disk):
                before = rig.log_size("worker")

                def is_told() -> bool:
                    """By the statement that failed, or by a server that has stopped; not by one that is slow."""
                    said = (tmp_path / "worker.log").read_bytes()[before:].decode(errors="replace")
                    lines = [line for line in said.splitlines() if "connect: " in line and "no answer" not in line]
                    return "No space left" in said or bool(lines)

                await until(is_told, f"told of it: {rig.said('worker')}", 20.0)
                # For as long as three flushes of the largest size and the watermark may go on: then nothing leaves.
                bound = doubt_bound(rig.window, rig.tps)
                stands = rig.taken()
                await torture.for_a_while(1.5)
                settled = rig.taken()
                assert settled - stands <= bound, f"{settled - stands} left though nothing could be written down"
                await torture.for_a_while(0.5)
                assert rig.taken() == settled, "something left though nothing could be written down"
            await rig.start("postgres")
            audit = await rig.audit_when_over(run)
            audit.check(doubt_at_most=0, receipts=True)


def test_plan_follows_from_the_seed() -> None:
    chosen = list(FAULTS.values())
    first, again, other = (
        [[one.name for one in group] for group in planned(chosen, random.Random(seed), 20, pairs=True)]
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert all(FAULTS[a].hits != FAULTS[b].hits for a, b in first)


def test_faults_that_do_not_go_together_make_no_pairs() -> None:
    with pytest.raises(SystemExit, match="no two of these"):
        planned([FAULTS["cut"], FAULTS["drip"]], random.Random(1), 1, pairs=True)
