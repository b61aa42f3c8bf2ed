"""`sluice run --workers N` as processes: each at its place, begun again when it died, rolled under load."""

import asyncio
import os
import signal
import sys
import time

import pytest

from gateway.commands._workers import LONGEST_S, STEADY_S, Workers, pause_s
from tests.commands.test_run import enqueue

PATIENCE_S = 25.0
TWO = {"binds": 2, "tps": 200}


def until(condition, what):
    ends_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < ends_at, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.02)


def test_pause_doubles_to_its_longest_and_begins_anew_behind_a_steady_life():
    pauses, before_s = [], 0.0
    for _ in range(8):
        before_s = pause_s(0.1, before_s)
        pauses.append(before_s)
    assert pauses == [1, 2, 4, 8, 16, LONGEST_S, LONGEST_S, LONGEST_S]
    assert pause_s(STEADY_S, LONGEST_S) == 1


async def kept(code, count=1):
    """Workers that are small programs; -> them, their two events and the task that keeps them."""
    stop, roll = asyncio.Event(), asyncio.Event()
    workers = Workers(count, lambda place: [sys.executable, "-c", code, str(place)], dict(os.environ))
    return workers, stop, roll, asyncio.create_task(workers.run(stop, roll))


async def test_a_worker_whose_settings_are_wrong_ends_all_of_them():
    code = "import sys, time; place = int(sys.argv[1]); time.sleep(0 if place else 60); sys.exit(78)"
    *_, running = await kept(code, 2)
    assert await asyncio.wait_for(running, 20) == 78


async def test_a_roll_ends_at_a_worker_that_does_not_come_up(monkeypatch, capfd):
    monkeypatch.setattr("gateway.commands._workers.UP_S", 0.5)
    workers, stop, roll, running = await kept("import time; time.sleep(60)", 2)
    async with asyncio.timeout(20):
        while len(workers._processes) < 2:
            await asyncio.sleep(0.01)
        before = {place: process.pid for place, process in workers._processes.items()}
        roll.set()
        said = ""
        while "the roll ends here" not in said:
            await asyncio.sleep(0.02)
            said += capfd.readouterr().err
        after = {place: process.pid for place, process in workers._processes.items()}
        assert after[0] != before[0] and after[1] == before[1] and "worker 0 is not up" in said
        stop.set()
        assert await running == 0


def workers_of(queue):
    return {row[1]: row for row in queue("SELECT instance, place, pid FROM worker ORDER BY place")}


def test_a_roll_under_load_leaves_nothing_in_doubt(sluice, start, settings, queue, people):
    """Case 30, fault 16 without a change of schema."""
    settings(north=TWO)
    enqueue(sluice, people, 9000, "north")
    keeper = start("run", "--carrier", "north", "--workers", "2", "--node", "one", "--report-every", "0")
    owners = "SELECT count(DISTINCT owner) FROM bind_slot WHERE owner IS NOT NULL"
    until(lambda: queue(owners) == [(2,)], "both have a bind")
    before = workers_of(queue)
    assert sorted(before) == [0, 1]
    keeper.process.send_signal(signal.SIGUSR1)
    keeper.says("rolled 2 workers")
    after = workers_of(queue)
    assert sorted(after) == [0, 1] and not {row[2] for row in before.values()} & {row[2] for row in after.values()}
    rolled = sluice("status", "--json").json["runs"][0]["states"]
    assert rolled.get("uncertain", 0) == 0 and rolled.get("queued", 0) > 0, f"it was rolled under load: {rolled}"
    assert keeper.ends().code == 0
    assert queue("SELECT count(*) FROM worker") == [(0,)]
    assert queue("SELECT count(*) FROM bind_slot WHERE owner IS NOT NULL") == [(0,)]


def test_a_dead_worker_is_begun_again_at_its_place(start, settings, queue):
    """Fault 14."""
    settings(north=TWO)
    keeper = start("run", "--carrier", "north", "--workers", "2", "--report-every", "0")
    until(lambda: len(workers_of(queue)) == 2, "both are there")
    before = workers_of(queue)
    os.kill(before[1][2], signal.SIGKILL)
    keeper.says("worker 1 ended with -9; again in 1 s")
    until(lambda: workers_of(queue).get(1, before[1])[2] != before[1][2], "it is begun again")
    assert workers_of(queue)[0] == before[0], "the other one goes on"
    assert keeper.ends().code == 0


def test_second_node_of_one_name_is_refused(start, settings):
    """Fault 15, and case 31 of the write protocol."""
    first = start("run", "--carrier", "north", "--node", "same", "--report-every", "0")
    first.says("running")
    second = start("run", "--carrier", "north", "--node", "same")
    refused = second.finishes()
    assert refused.code == 1
    assert "found 'same' (place 0) held by a living worker" in refused.err and f"pid {first.process.pid}" in refused.err
    assert first.ends().code == 0


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal here")
def test_workers_stop_when_nobody_keeps_them_any_more(start, settings, queue):
    keeper = start("run", "--carrier", "north", "--workers", "2", "--report-every", "0")
    until(lambda: len(workers_of(queue)) == 2, "both are there")
    pids = [row[2] for row in workers_of(queue).values()]
    keeper.process.kill()
    until(lambda: all(is_gone(pid) for pid in pids), "both have stopped")


def is_gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
