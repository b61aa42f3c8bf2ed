"""Cancelled runs between a real Postgres, the simulator and workers: what is certain, what is too late, who obeys.

Case 26 of the write protocol: before intent a cancel is certain, after it the answer is "too late".
"""

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway import app
from gateway.dispatch.cancelling import Acknowledged, Cancelling, Count
from gateway.dispatch.worker import Worker
from gateway.gate import Cap, Gate
from gateway.message import MessageClass, Policy, Refusal
from gateway.simulator.behaviour import Account, Limit, Responses
from gateway.store import cancels, postgres, runs
from gateway.store.runs import Run
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import Engine, engine, only_lane, until


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


def cancelling(e: Engine, lease_s: float = 1.0) -> Cancelling:
    return Cancelling(app.CLOCK, lambda: postgres.connect(e.dsn), 5.0, lease_s, app.identity())


async def cancel(e: Engine, run: Run, patience_s: float = 10.0) -> tuple[Acknowledged, Count]:
    """Cancel a run; -> who obeys, and the count once everything is decided."""
    made = cancelling(e)
    try:
        done = await made.cancel([run.id], "ann@here", "a typo")
        assert await made.settled([run.id], patience_s)
        return done, await made.count(await fresh(e, run))
    finally:
        await made.stop()


async def fresh(e: Engine, run: Run) -> Run:
    found = await runs.run_by_id(e.connection, run.id)
    assert found is not None
    return found


def submitted(workers: list[Worker]) -> int:
    return sum(only_lane(worker).carrier.ledger.submitted for worker in workers)


async def cancelled_rows(e: Engine, run: Run) -> int:
    return int(
        await e.connection.fetchval(
            "SELECT count(*) FROM outcome o JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id "
            "WHERE k.run = $1 AND o.status = $2",
            run.id, Refusal.CANCELLED,
        )
    )  # fmt: skip


async def test_case_26_of_the_write_protocol_what_has_not_left_is_certain_and_the_rest_too_late(
    dsn: str, ledger: Path
) -> None:
    """Case 26 of the write protocol."""
    async with engine(dsn, ledger, responses=Responses(delay_ms=2)) as e:
        e.carrier_settings = {"tps": 500, "adaptive": False, "binds": 2}
        run = await e.run(numbers(5000))
        other = await e.run(numbers(300, 447711000000), name="autumn")
        workers = list(await asyncio.gather(e.start(), e.start()))
        await until(lambda: submitted(workers) > 200, "they send")
        done, count = await cancel(e, run)
        assert set(done.obeyed_by) == {worker.instance for worker in workers} and not done.fenced
        assert count.before > 1000 and count.too_late > 150
        assert (count.before + count.too_late, count.otherwise, count.undecided) == (5000, 0, 0)
        await e.ends(other)
        await e.ends(run)
        states = await e.states(run)
        assert states["refused"] == count.before and states["delivered"] == count.too_late
        assert await cancelled_rows(e, run) == count.before
        (await e.audit(other)).check(doubt_at_most=0, receipts=True)


async def test_nothing_of_a_cancelled_run_begins_after_the_acknowledgement(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=50)) as e:
        e.carrier_settings = {"tps": 1000, "adaptive": False, "window": 100}
        run = await e.run(numbers(4000))
        worker = await e.start()
        await until(lambda: submitted([worker]) > 100, "it sends")
        made = cancelling(e)
        await made.cancel([run.id], "ann@here")
        before = submitted([worker])
        assert await made.settled([run.id], 10.0)
        await e.ends(run)
        assert submitted([worker]) == before
        await made.stop()


async def test_a_worker_that_starts_later_obeys_and_what_the_dead_had_claimed_ends_with_it(
    dsn: str, ledger: Path
) -> None:
    async with engine(dsn, ledger) as e:
        e.worker_settings = {"lease_s": 2.0}
        run = await e.run(numbers(3000))
        # What a worker had that was killed: a claim, the first 40 of it perhaps on their way.
        await e.connection.execute(
            "UPDATE chunk SET state = 1, owner = 'dead', epoch = 1, sent_upto = 40, first_claimed_at = now() "
            "WHERE id = (SELECT min(id) FROM chunk)"
        )
        made = cancelling(e)
        assert await made.cancel([run.id], "ann@here") == Acknowledged()
        count = await made.count(await fresh(e, run))
        assert count.undecided and count.before + count.undecided + 40 == 3000 and count.too_late == 40
        worker = await e.start()
        assert await made.settled([run.id], 30.0)
        assert await made.count(await fresh(e, run)) == Count(before=2960, too_late=40, otherwise=0, undecided=0)
        assert submitted([worker]) == 0 and await e.states(run) == {"uncertain": 40, "refused": 2960}
        await made.stop()


async def test_order_that_nobody_closed_anything_for_is_carried_out_by_the_workers(dsn: str, ledger: Path) -> None:
    """Whoever cancels is killed behind the COMMIT of the order."""
    async with engine(dsn, ledger) as e:
        run = await e.run(numbers(3000), not_before=datetime(2999, 1, 1, tzinfo=UTC))
        await e.connection.execute("UPDATE chunk SET state = 3 WHERE id = (SELECT min(id) FROM chunk)")
        await cancels.cancel(e.connection, [run.id], at=app.CLOCK.wall(), by="ann@here")
        await e.start()
        await e.ends(run)
        assert await cancelled_rows(e, run) == 3000


async def test_what_waits_for_another_try_is_cancelled_and_nothing_of_another_run_is_touched(
    dsn: str, ledger: Path
) -> None:
    busy = {"responses": Responses(errors={"RMSGQFUL": 1.0})}
    async with engine(dsn, ledger, **busy) as e:
        e.carrier_settings = {"retry_delay_s": 300.0, "queue_full_delay_s": 300.0, "max_attempts": 5}
        run = await e.run(numbers(20))
        other = await e.run(numbers(20, 447711000000), name="autumn")
        worker = await e.start()
        backlog = only_lane(worker).carrier.backlog
        await until(lambda: len(backlog.delayed) == 40, "everything waits for another try")
        done, count = await cancel(e, run)
        assert done.obeyed_by and count == Count(before=20, too_late=0, otherwise=0, undecided=0)
        await until(lambda: len(backlog.delayed) == 20, "the other run's wait on")
        assert not await cancelled_rows(e, other) and len(backlog.batches()) == 1


async def test_places_under_caps_of_what_was_not_sent_are_given_back_CP_2(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, account=(Account(tps=20),), limit=Limit(model="second", status="RTHROTTLED")) as e:
        e.carrier_settings = {"tps": 20, "adaptive": False}
        # Of a class that may be sent at any hour of the day on which this runs.
        gate = Gate(needs="none", caps=(Cap(limit=9, per="48h", classes=("transactional",)),), gap_s=0)
        run = await e.run(numbers(600), gate=gate, class_=MessageClass.TRANSACTIONAL)
        worker = await e.start()
        await until(lambda: submitted([worker]) > 5, "it sends")
        _, count = await cancel(e, run)

        async def is_returned() -> bool:
            rows = await e.connection.fetch(
                "SELECT kind, sum(length(numbers) / 8)::int AS people FROM contact_page WHERE run = $1 GROUP BY kind",
                run.id,
            )  # fmt: skip
            found = {row["kind"]: row["people"] for row in rows}
            return found.get(1, 0) - found.get(2, 0) == count.too_late

        assert count.before > 300
        await until(is_returned, "what was reserved and not sent is free again", 20.0)


async def test_worker_that_does_not_obey_is_fenced_and_the_cancel_waits_for_the_end_of_its_lease(
    dsn: str, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.dispatch.cancelling.OBEYED_S", 0.3)
    async with engine(dsn, ledger) as e:
        run = await e.run(numbers(10))
        # Of another host: nothing is known of it but that it says nothing.
        await e.connection.execute(
            "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node, report) "
            "VALUES ('frozen', 'elsewhere', 'b', 1, now(), now(), 'n', '{\"control\": {\"orders\": []}}')"
        )
        began = app.CLOCK.monotonic()
        made = cancelling(e, lease_s=0.5)
        done = await made.cancel([run.id], "ann@here")
        assert done.fenced == ("frozen",) and app.CLOCK.monotonic() - began >= 0.8
        assert await cancels.fenced(e.connection) == {"frozen"}
        await made.stop()


@pytest.mark.parametrize("seed", range(6))
async def test_case_26_a_run_cancelled_at_any_moment_is_counted_to_the_message(
    dsn: str, ledger: Path, seed: int
) -> None:
    """With a worker that stops meanwhile, another that begins, and a carrier that refuses now and then."""
    chance = random.Random(seed)
    responses = Responses(delay_ms=chance.choice((0, 2, 20)), errors={"RMSGQFUL": 0.05, "RINVDSTADR": 0.02})
    async with engine(dsn, ledger, responses=responses) as e:
        e.carrier_settings = {
            "tps": 2000,
            "adaptive": False,
            "binds": 2,
            "retry_delay_s": 0.1,
            "queue_full_delay_s": 0.1,
        }
        run = await e.run(numbers(3000), policy=chance.choice((Policy.ONCE, Policy.AT_LEAST_ONCE)))
        first = await e.start()
        await asyncio.sleep(chance.uniform(0.0, 0.8))
        made = cancelling(e)
        moves = [made.cancel([run.id], "ann@here")]
        if chance.random() < 0.5:
            moves.append(e.stop(first))
        await asyncio.gather(*moves)
        begun = submitted(e.workers)
        if not e.workers:
            await e.start()
        assert await made.settled([run.id], 20.0)
        await e.ends(run, receipts=False)
        count = await made.count(await fresh(e, run))
        await made.stop()
        assert first not in e.workers or submitted(e.workers) == begun
        assert (count.before + count.too_late + count.otherwise, count.undecided) == (3000, 0)
        assert count.before == await cancelled_rows(e, run)
        # What is told to have not left was never taken by the carrier, and the other way round (A4).
        (await e.audit(run)).check(doubt_at_most=0)
