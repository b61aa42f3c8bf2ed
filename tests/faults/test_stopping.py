"""We stop rather than guess: Postgres frozen at every station, its disk full, and afterwards the ledgers agree.

The servers, their backends and the disks are real; only processes that the test has started are stopped or frozen.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.behaviour import Responses
from gateway.store import postgres
from gateway.store.embedded import Embedded
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, only_lane, until
from tests.fixtures.postgres import FAST


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a server and every process of it; those who come anew find nobody either."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    os.kill(pid, signal.SIGSTOP)
    stopped = [pid, *(int(one) for one in children.read_text().split())]
    for one in stopped[1:]:
        os.kill(one, signal.SIGSTOP)
    try:
        yield
    finally:
        for one in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGCONT)


async def submits_end(e: Engine, seconds: float) -> float:
    """Watch the simulator's ledger; -> after how long its last submit was written, looked at each 5 ms."""
    began = last_at = time.monotonic()
    size = os.stat(e.ledger).st_size
    seen = e.ledger.read_bytes().count(b"\nS,")
    while time.monotonic() - began < seconds:
        await asyncio.sleep(0.005)
        now = os.stat(e.ledger).st_size
        if now != size:
            size = now
            count = e.ledger.read_bytes().count(b"\nS,")
            if count != seen:
                seen, last_at = count, time.monotonic()
    return last_at - began


STATIONS = {
    "queue full of messages, limited by rate": ({"tps": 500}, Responses(delay_ms=5)),
    "window alone bounds it, answers take 0.2 s": ({"window": 50}, Responses(delay_ms=200)),
    "as fast as it goes": ({}, Responses()),
}


@pytest.mark.slow
@pytest.mark.parametrize("station", STATIONS)
async def test_frozen_postgres_stops_sending_within_a_second_and_it_goes_on_by_itself(
    station: str, data_root: Path, tmp_path: Path
) -> None:
    """Faults 70 and 71, case 9."""
    carrier, responses = STATIONS[station]
    with Embedded(data_root, FAST) as server:
        async with engine(server.dsn, tmp_path / "ledger.csv", responses=responses) as e:
            e.carrier_settings, e.deadline_s = carrier, 1.5
            run = await e.run(numbers(100_000 if not carrier else 4000))
            worker = await e.start()
            lane = only_lane(worker)
            await until(lambda: lane.carrier.ledger.accepted > 200, "some are accepted")
            with frozen(server.pid):
                assert await submits_end(e, 4.0) <= 1.0
                assert lane.carrier.is_up, "the bind lives"
                assert "Postgres" in worker.report() and worker.control.report("acme")["stands"] == "halted"
            await e.ends(run, patience_s=60.0)
            (await e.audit(run)).check(doubt_at_most=0, receipts=True)


@pytest.mark.slow
@pytest.mark.parametrize("when", ["at rest", "in mid-run"])
async def test_worker_ends_in_bounded_time_while_postgres_is_frozen(when: str, data_root: Path, tmp_path: Path) -> None:
    """Fault 70: no hang in a close, a release or the end of a worker; what is left is rescued by the next one."""
    with Embedded(data_root, FAST) as server:
        async with engine(server.dsn, tmp_path / "ledger.csv", responses=Responses(delay_ms=5)) as e:
            e.deadline_s = 0.5
            run = await e.run(numbers(3000))
            worker = await e.start()
            lane = only_lane(worker)
            await until(lambda: lane.carrier.ledger.accepted > 200, "some are accepted")
            if when == "at rest":
                await e.ends(run)
            with frozen(server.pid):
                async with asyncio.timeout(20.0):
                    await e.stop(worker, drain_s=1.0)
            assert not [
                task for task in asyncio.all_tasks() if task.get_name() in ("guards", "history", "beat", "settle acme")
            ]
            # It could not leave: the next one takes it for dead when its lease is over.
            await e.connection.execute("UPDATE worker SET pid = 4194305")
            await e.start()
            await e.ends(run, receipts=False)
            audit = await e.audit(run)
            audit.check(doubt_at_most=len(audit.doubted))


@pytest.mark.slow
@pytest.mark.parametrize("blow", ["one backend", "all backends", "immediate restart", "kill -9"])
async def test_postgres_that_is_cut_off_in_mid_run_costs_nothing(blow: str, data_root: Path, tmp_path: Path) -> None:
    """Faults 63, 64 and 65, case 10: fsync is on, and what was acknowledged is there."""
    with Embedded(data_root) as server:
        async with engine(server.dsn, tmp_path / "ledger.csv", responses=Responses(delay_ms=2)) as e:
            e.carrier_settings = {"tps": 1000}
            run = await e.run(numbers(2500))
            worker = await e.start()
            lane = only_lane(worker)
            await until(lambda: lane.carrier.ledger.accepted > 500, "some are accepted")
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            backends = [int(one) for one in children if b"sluice " in Path(f"/proc/{one}/cmdline").read_bytes()]
            assert backends
            if blow == "one backend":
                os.kill(backends[-1], signal.SIGTERM)
            elif blow == "all backends":
                for one in backends:
                    os.kill(one, signal.SIGTERM)
            elif blow == "immediate restart":
                os.kill(server.pid, signal.SIGQUIT)
            else:
                os.kill(server.pid, signal.SIGKILL)
            if blow in ("immediate restart", "kill -9"):
                await asyncio.to_thread(os.waitpid, server.pid, 0)
                await asyncio.to_thread(server.ensure_running)
            e.connection.terminate()
            e.connection = await postgres.connect(server.dsn)
            await e.ends(run, patience_s=60.0)
            (await e.audit(run)).check(doubt_at_most=0, receipts=True)
