"""All that serves one carrier, and how it ends."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.message import ChunkState
from gateway.simulator.behaviour import Receipts, Responses
from tests.fixtures.campaign import numbers
from tests.fixtures.engine import engine, only_lane, until


async def test_drain_lets_what_was_begun_end_and_begins_nothing(dsn: str, tmp_path: Path) -> None:
    async with engine(dsn, tmp_path / "ledger.csv", responses=Responses(delay_ms=50)) as e:
        e.carrier_settings = {"tps": 200, "adaptive_start": 1.0}
        run = await e.run(numbers(2000))
        lane = only_lane(await e.start())
        await until(lambda: lane.carrier.ledger.accepted > 20, "it sends")
        await lane.drain(10.0)
        ledger = lane.carrier.ledger
        assert not lane.carrier.is_any_bound and lane.carrier.in_flight == 0
        assert ledger.submitted == ledger.accepted < 2000 and ledger.uncertain == 0
        assert run.recipients == 2000


async def test_links_that_do_not_come_down_in_time_are_cut_and_what_they_owe_is_in_doubt(
    dsn: str, tmp_path: Path
) -> None:
    async with engine(dsn, tmp_path / "ledger.csv", responses=Responses(delay_ms=60_000)) as e:
        await e.run(numbers(50))
        lane = only_lane(await e.start())
        await until(lambda: lane.carrier.in_flight > 0, "it sends")
        open_then = lane.carrier.in_flight
        await lane.drain(0.2)
        assert lane.carrier.ledger.uncertain == open_then and not lane.carrier.is_any_bound


async def test_what_did_not_leave_is_given_back_when_postgres_is_there_again(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 9 of the write protocol, while a worker is asked to end."""
    async with engine(dsn, tmp_path / "ledger.csv", responses=Responses(delay_ms=20)) as e:
        e.carrier_settings = {"tps": 200}
        await e.run(numbers(2000))
        worker = await e.start()
        lane = only_lane(worker)
        await until(lambda: lane.carrier.ledger.accepted > 20, "it sends")
        refusals = []

        async def away() -> Any:
            if len(refusals) < 2:
                refusals.append("refused")
                raise StoreError("expected Postgres, found nobody", retryable=True)
            return await worker.connect()

        lane.dispatcher._line.cut()
        monkeypatch.setattr(lane.dispatcher._line, "_connect", away)
        await e.stop(worker)
        assert len(refusals) == 2
        states = await e.connection.fetch("SELECT state FROM chunk")
        assert ChunkState.CLAIMED not in {row["state"] for row in states}
        assert await e.connection.fetchval("SELECT count(*) FROM outcome WHERE status = -1") == 0


async def test_a_stop_does_not_wait_for_postgres_longer_than_it_was_given(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(dsn, tmp_path / "ledger.csv", responses=Responses(delay_ms=20)) as e:
        e.carrier_settings = {"tps": 200}
        await e.run(numbers(2000))
        worker = await e.start()
        lane = only_lane(worker)
        await until(lambda: lane.carrier.ledger.accepted > 20, "it sends")

        async def away() -> Any:
            raise StoreError("expected Postgres, found nobody", retryable=True)

        lane.dispatcher._line.cut()
        monkeypatch.setattr(lane.dispatcher._line, "_connect", away)
        async with asyncio.timeout(10.0):
            await e.stop(worker, 1.0)
        # Its chunks are another's to rescue.
        states = await e.connection.fetch("SELECT state FROM chunk")
        assert ChunkState.CLAIMED in {row["state"] for row in states}


async def test_receipts_matched_in_memory_and_in_postgres_are_counted_together(dsn: str, tmp_path: Path) -> None:
    receipts = Receipts(early_share=0.5, early_ms=5, delay_ms=1)
    async with engine(dsn, tmp_path / "ledger.csv", receipts=receipts) as e:
        run = await e.run(numbers(300))
        lane = only_lane(await e.start())
        await e.ends(run)
        await until(lambda: lane.receipts_matched == 300, "every receipt has its segment")
        assert lane.receipts_matched == lane.carrier.ledger.receipts_matched + lane.rescue.matched
