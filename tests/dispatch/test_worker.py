"""One worker and its life: a run to its end, a clean stop, a carrier that is down, Postgres away."""

import asyncio
import os
import signal
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.message import ChunkState, Policy
from gateway.simulator.behaviour import Account, Receipts, Responses
from gateway.store import runs
from gateway.store.embedded import Embedded
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import WINDOW, doubt_bound, engine, only_lane, until
from tests.fixtures.postgres import FAST

NOW = datetime.now(UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    return tmp_path / "ledger.csv"


async def chunk_states(connection: Any) -> set[int]:
    return {row["state"] for row in await connection.fetch("SELECT state FROM chunk")}


async def test_a_run_ends_with_every_message_in_one_state_and_the_ledgers_agree(dsn: str, ledger: Path) -> None:
    receipts = Receipts(
        states={"DELIVRD": 0.8, "UNDELIV:050": 0.1, "EXPIRED": 0.1}, early_share=0.2, early_ms=5, delay_ms=1,
        duplicate_share=0.1,
    )  # fmt: skip
    responses = Responses(delay_ms=1, jitter_ms=3, errors={"RINVDSTADR": 0.05, "RMSGQFUL": 0.05})
    async with engine(dsn, ledger, responses=responses, receipts=receipts) as e:
        e.carrier_settings = {
            "binds": 2, "retry_delay_s": 0.01, "max_attempts": 20, "queue_full_delay_s": 0.05,
            "queue_full_attempts": 20,
        }  # fmt: skip
        run = await e.run(numbers(3000))
        await e.start()
        await e.ends(run)
        audit = await e.audit(run)
        audit.check(doubt_at_most=0, receipts=True)
        assert set(audit.states) == {"delivered", "undeliverable", "expired", "rejected"}


async def test_a_long_text_with_fields_reaches_everybody_in_segments(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        people = {number: {"name": "Zoë 🎉" * (number % 12)} for number in numbers(500)}
        run = await e.run(people, template="Hi {{ name }}!" + "x" * 150, fields=("name",))
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 500}
        segments = await e.connection.fetchval("SELECT count(*) FROM outcome")
        assert segments > 1500 and segments == await e.connection.fetchval("SELECT count(*) FROM receipt")


async def test_a_clean_stop_leaves_nothing_in_doubt_and_another_worker_ends_it(dsn: str, ledger: Path) -> None:
    """In the middle of long messages, with a carrier that is slow and refuses for speed."""
    slow = Responses(delay_ms=20, jitter_ms=20)
    async with engine(dsn, ledger, account=(Account(tps=1500),), responses=slow) as e:
        e.carrier_settings = {"throttle_pause_s": 0.05}
        run = await e.run(numbers(3000), template="x" * 400)
        first = await e.start()
        await until(lambda: only_lane(first).carrier.ledger.accepted > 300, "some are accepted")
        await e.stop(first)
        assert await e.connection.fetchval("SELECT count(*) FROM outcome WHERE status = -1") == 0
        assert ChunkState.CLAIMED not in await chunk_states(e.connection)
        assert await runs.workers(e.connection) == []
        sent = await e.connection.fetchval("SELECT sum(sent_upto) FROM chunk")
        known = await e.connection.fetchval("SELECT count(DISTINCT (chunk_id, pos)) FROM outcome")
        assert sent == known < 3000, f"watermarks say {sent} positions have left, outcomes {known}"
        await e.start()
        await e.ends(run)
        assert await e.states(run) == {"delivered": 3000}
        assert len({row["message_id"] for row in await e.connection.fetch("SELECT message_id FROM outcome")}) == 9000


async def test_a_carrier_that_is_down_keeps_its_messages_in_the_queue_and_says_why(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            e.port = nobody.getsockname()[1]
        run = await e.run(numbers(100))
        worker = await e.start()
        bind = only_lane(worker).carrier.binds[0]
        await until(lambda: bool(bind.last_error), "the bind has failed")
        assert '"up":false' in worker.report().replace(" ", "") and bind.last_error in worker.report()
        assert await chunk_states(e.connection) == {ChunkState.READY}
        await e.stop(worker)
        e.port = e.smsc.port
        await e.start()
        await e.ends(run)


async def test_a_carrier_that_refuses_the_bind_says_why(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, account=(Account(system_id="test", password="other"),)) as e:
        await e.run(numbers(10))
        worker = await e.start()
        await until(lambda: "RINVPASWD" in worker.report(), "the refusal is told")
        assert await chunk_states(e.connection) == {ChunkState.READY}


async def test_connections_that_are_terminated_in_mid_run_cost_nothing(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, account=(Account(tps=3000),)) as e:
        e.carrier_settings = {"tps": 2000}
        run = await e.run(numbers(3000))
        worker = await e.start()
        for share in (300, 900, 1500, 2100):
            await until(lambda share=share: only_lane(worker).carrier.ledger.accepted > share, f"{share} accepted")
            await e.connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await e.ends(run)
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)


async def test_frozen_postgres_stops_sending_within_the_watermark_and_loses_nothing(
    data_root: Path, ledger: Path
) -> None:
    """Case 9 of the write protocol."""
    with Embedded(data_root, FAST) as server:
        await freeze_and_thaw(server, ledger)


async def freeze_and_thaw(server: Embedded, ledger: Path) -> None:
    async with engine(server.dsn, ledger) as e:
        e.carrier_settings = {"tps": 2000}
        e.deadline_s = 0.3
        run = await e.run(numbers(4000))
        worker = await e.start()
        lane = only_lane(worker)
        await until(lambda: lane.carrier.ledger.accepted > 500, "some are accepted")
        frozen = [
            row["pid"]
            for row in await e.connection.fetch(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        ]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        # Those who come anew find the same: nobody is let in.
        os.kill(server.pid, signal.SIGSTOP)
        try:
            await until(lambda: lane.settlement.is_away, "the settlement knows that Postgres is away")
            await until(lambda: not lane.carrier.in_flight, "what had left is answered")
            committed = await e.connection.fetchval("SELECT sum(sent_upto) FROM chunk")
            assert len([m for m in (await e.audit(run)).taken]) <= committed < 4000
            before = lane.carrier.ledger.submitted
            assert "Postgres" in worker.report()
        finally:
            os.kill(server.pid, signal.SIGCONT)
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        await e.ends(run)
        assert lane.carrier.ledger.submitted > before
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)


async def test_two_workers_of_one_carrier_share_a_run_and_send_nothing_twice(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger, responses=Responses(delay_ms=1)) as e:
        e.carrier_settings = {"binds": 2}
        await asyncio.gather(e.start(), e.start())
        await until(lambda: all(only_lane(worker).carrier.is_up for worker in e.workers), "both have a bind")
        run = await e.run(numbers(8000))
        await e.ends(run)
        (await e.audit(run)).check(doubt_at_most=0, receipts=True)
        assert all(only_lane(worker).dispatcher.claimed for worker in e.workers)


async def test_a_worker_that_stops_cold_is_followed_by_the_crash_rule(dsn: str, ledger: Path) -> None:
    for policy in (Policy.ONCE, Policy.AT_LEAST_ONCE):
        async with engine(dsn, ledger.with_suffix(f".{policy}"), responses=Responses(delay_ms=10)) as e:
            e.carrier_settings = {"tps": 2000}
            run = await e.run(numbers(2000), policy=policy)
            worker = await e.start()
            lane = only_lane(worker)
            await until(lambda lane=lane: lane.carrier.ledger.accepted > 200, "some are accepted")
            # As a kill does it: nothing is written any more, nobody is told, and nobody beats.
            assert worker._beating is not None
            for task in (worker._beating, *worker._tasks, *worker._loops, *worker._settling):
                task.cancel()
            for task in asyncio.all_tasks():
                if task.get_name().split(" ")[0] in ("bind", "timers"):
                    task.cancel()
            e.workers.remove(worker)
            for bind in lane.carrier.binds:
                if bind.link is not None:
                    bind.link.abort("killed")
            await e.connection.execute("UPDATE worker SET pid = 4194305")
            await e.start()
            await e.ends(run)
            audit = await e.audit(run)
            audit.check(doubt_at_most=doubt_bound(WINDOW, 2000))
            assert audit.doubted, "the worker was cut in the middle and nothing is in doubt"


async def test_start_that_fails_half_way_leaves_nothing_behind(dsn: str, ledger: Path) -> None:
    async with engine(dsn, ledger) as e:
        before = {task.get_name() for task in asyncio.all_tasks()}
        await e.lane()
        await e.connection.execute("ALTER TABLE chunk RENAME TO chunk_gone")
        with pytest.raises(StoreError, match="chunk"):
            await e.start()
        assert {task.get_name() for task in asyncio.all_tasks()} == before
        assert await runs.workers(e.connection) == []
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

        async def is_alone() -> bool:
            return not await e.connection.fetchval(others)

        await until(is_alone, "every connection is closed")
