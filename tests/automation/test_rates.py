"""Runs that have a rate, between a real Postgres and the simulator: how evenly they go out, and what stops them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway import app
from gateway.automation.rates import Rating
from gateway.campaign.rates import per_s_of
from gateway.dispatch.worker import Worker
from gateway.rate import CostSettings, RatePlan, Threshold
from gateway.simulator.behaviour import Responses
from gateway.store import control, postgres, rates, runs
from gateway.store.runs import Run
from tests.fixtures.campaign import make_list, numbers
from tests.fixtures.engine import Engine, engine, only_lane, until


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


async def planned(e: Engine, plan: RatePlan, people: int, **how: Any) -> Run:
    """Enqueue a run with a rate; its plan is there before its chunks."""
    now = datetime.now(UTC)
    list_id = await make_list(e.connection, numbers(people), f"planned {now.timestamp()}")
    run = await runs.add_run(
        e.connection, name="spring", template="Hello", fields=(), class_=5, policy="once", lanes=[await e.lane()],
        list_id=list_id, source=None, now=now, **how,
    )  # fmt: skip
    goes_to = 0 if plan.ramp or plan.budget else None
    await rates.add(e.connection, run.id, plan, people, per_s_of(plan, people, people, 0, None), goes_to)
    await runs.materialise(e.connection, run, [1], people, now)
    found = await runs.run_by_id(e.connection, run.id)
    assert found is not None
    return found


@contextlib.asynccontextmanager
async def steered(e: Engine, worker: Worker, costs: CostSettings | None = None) -> AsyncIterator[Rating]:
    """Have a job of this worker steer, until the end."""
    settings = msgspec.structs.replace(e.settings(), costs=costs or CostSettings())
    job = Rating(settings, app.CLOCK.wall, lambda: postgres.connect(e.dsn), worker.instance, app.CLOCK.monotonic)
    job.ROUND_S = 0.2  # type: ignore[misc]
    task = asyncio.create_task(job.run())
    try:
        yield job
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def by_second(e: Engine, run: Run) -> list[int]:
    """Count what left in each second, from the first message on."""
    rows = await e.connection.fetch(
        "SELECT o.at - make_interval(secs => o.rtt_us / 1e6) AS at FROM outcome o JOIN chunk k USING (lane) "
        "WHERE k.id = o.chunk_id AND k.run = $1 AND o.status = 0 AND o.segment = 1 ORDER BY 1", run.id,
    )  # fmt: skip
    first = rows[0]["at"]
    counted = Counter(int((row["at"] - first).total_seconds()) for row in rows)
    return [counted[second] for second in range(max(counted) + 1)]


def submitted(workers: list[Worker]) -> int:
    return sum(only_lane(worker).carrier.ledger.submitted for worker in workers)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
async def test_th_1_run_spread_over_its_time_takes_that_time_and_goes_evenly(
    dsn: str, ledger: Path, workers: int
) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        e.carrier_settings = {"tps": 1000, "adaptive": False, "binds": 2}
        run = await planned(e, RatePlan(over_s=12), 1200)
        first = await e.start()
        async with steered(e, first):
            for _ in range(workers - 1):
                await e.start()
            await e.ends(run)
        seconds = await by_second(e, run)
        assert sum(seconds) == 1200
        assert 11 <= len(seconds) <= 14, seconds
        assert all(80 <= n <= 120 for n in seconds[1:10]), seconds
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)


@pytest.mark.slow
async def test_th_1_rate_of_a_run_holds_and_leaves_room_for_others(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        e.carrier_settings = {"tps": 500, "adaptive": False}
        slow = await planned(e, RatePlan(per_s=40.0), 3000)
        worker = await e.start()
        await until(lambda: submitted([worker]) > 20, "it sends")
        other = await e.run(numbers(1500, 447800000000), name="summer", priority=9)
        async with asyncio.timeout(15):
            while await runs.open_chunks(e.connection, other.id):
                await asyncio.sleep(0.05)
        await until(lambda: submitted([worker]) > 1800, "it goes on")
        seconds = await by_second(e, slow)
        assert len(seconds) >= 4 and all(32 <= n <= 48 for n in seconds[1:-1]), seconds


@pytest.mark.slow
async def test_th_1_ramp_holds_until_its_time_is_over_or_somebody_says_go(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        run = await planned(e, RatePlan(ramp=(0.01, 0.1, 1.0), hold_s=2), 1000)
        worker = await e.start()
        async with steered(e, worker):
            await until(lambda: submitted([worker]) == 10, "the first step")
            await e.ends(run)
        seconds = await by_second(e, run)
        assert seconds[0] == 10 and sum(seconds[:4]) <= 110 and sum(seconds) == 1000
        asking = await planned(e, RatePlan(ramp=(0.05, 1.0), hold_s=0), 200)
        async with steered(e, worker):
            await until(lambda: submitted([worker]) == 1010, "the first step")

            async def holds() -> bool:
                found = await rates.of_run(e.connection, asking.id)
                return found is not None and found.held_since is not None

            await until(holds, "it holds")
            assert submitted([worker]) == 1010
            assert await rates.tell(e.connection, [asking.id]) == [asking.id]
            await e.ends(asking)


@pytest.mark.slow
@pytest.mark.covers("S4.50")
async def test_th_5_budget_is_never_passed_and_the_run_stops_with_its_reason(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        costs = CostSettings(currency="EUR", countries={"*": 0.05})
        run = await planned(e, RatePlan(budget=10.0, currency="EUR"), 1000)
        worker = await e.start()
        async with steered(e, worker, costs):

            async def stops() -> bool:
                state = await control.state(e.connection, datetime.now(UTC))
                return str(run.id) in state.standing("campaign")

            await until(stops, "it stops")
            assert sum(await by_second(e, run)) == 200
            order = (await control.state(e.connection, datetime.now(UTC))).standing("campaign")[str(run.id)]
            assert (order.by, order.reason) == ("rates", "budget: 10.00 of 10 EUR are spent")
            told = await e.connection.fetch("SELECT subject, body FROM event WHERE kind = 'run.stopped'")
            assert [row["subject"] for row in told] == ["spring"]


@pytest.mark.slow
async def test_th_5_carrier_that_fails_stops_for_this_run_alone_and_goes_on_when_told(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1, errors={"0x0B": 0.5})) as e:
        e.carrier_settings = {"tps": 200, "adaptive": False}
        plan = RatePlan(per_s=100.0, thresholds=(Threshold(kind="failure", share=0.2, least=50),))
        run = await planned(e, plan, 3000)
        worker = await e.start()
        async with steered(e, worker):
            key = f"{run.id}@acme"

            async def stops() -> bool:
                return key in (await control.state(e.connection, datetime.now(UTC))).standing("campaign")

            await until(stops, "it stops")
            sent = submitted([worker])
            await until(lambda: key in str(worker.control.state), "it is obeyed", 2.0)
            other = await e.run(numbers(100, 447800000000), name="summer", priority=9)
            async with asyncio.timeout(10):
                while await runs.open_chunks(e.connection, other.id):
                    await asyncio.sleep(0.05)
            assert submitted([worker]) - sent < 100 + 150
            reason = (await control.state(e.connection, datetime.now(UTC))).standing("campaign")[key].reason
            assert "messages failed" in reason and "the threshold is 20%" in reason
            at = datetime.now(UTC) + timedelta(milliseconds=1)
            await control.give(e.connection, "resume", "campaign", [key], at=at, by="ann", reason="")
            # It is judged by what comes now.
            await until(lambda: submitted([worker]) > sent + 130, "it goes on")
            await until(stops, "it fails again")


async def test_th_4_run_is_as_slow_as_the_site_bears_and_no_slower_than_it_must(dsn: str, ledger: Path) -> None:
    """Of nobody it is known yet: a tenth of them, at 60 clicks a minute, are ten a second. Then many come at once."""
    async with engine(dsn, ledger) as e:
        run = await planned(e, RatePlan(clicks_per_min=60), 5000)
        job = Rating(e.settings(), app.CLOCK.wall, lambda: postgres.connect(e.dsn), "w1", app.CLOCK.monotonic)
        await job.work(e.connection, datetime.now(UTC))
        found = await rates.of_run(e.connection, run.id)
        assert found is not None and found.per_s == pytest.approx(10.0)
        await e.connection.execute(
            "INSERT INTO click (bucket, id, token, number, target, run, at, made_at) "
            "SELECT i & 255, i, i, i, 1, $1, now(), now() FROM generate_series(1, 90) i", run.id,
        )  # fmt: skip
        job._looks_at.clear()
        await job.work(e.connection, datetime.now(UTC))
        found = await rates.of_run(e.connection, run.id)
        assert found is not None and found.per_s == pytest.approx(1 / 1.0 * 2 / 3)
