"""The job that carries STOPs into the ledger, and lets requests end that nobody has answered."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.automation.proofs import Proofs
from gateway.campaign.consent import request, states_of
from gateway.consent import State, faults_of
from gateway.errors import StoreError
from gateway.store import consents, membership, postgres, runs, stops
from tests.fixtures.engine import until

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NUMBER = 447700900001


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    for name in ("one", "two"):
        worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node=name)
        await membership.register(opened, worker)
    yield opened
    await postgres.close(opened)


async def enter(connection: Any, *numbers: int) -> None:
    await stops.enter(connection, numbers, ["*"] * len(numbers), is_stop=True, at=NOW, source="keyword")


async def test_cn_1_a_stop_is_in_the_ledger_within_seconds_by_itself(
    dsn: str, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Proofs, "ROUND_S", 0.01)
    job = Proofs(lambda: NOW, lambda: postgres.connect(dsn), "one")
    running = asyncio.create_task(job.run())
    try:
        await enter(connection, NUMBER, NUMBER + 1)
        await until(lambda: job.proven == 2, "both are proven")
        await enter(connection, NUMBER)
        await until(lambda: job.proven == 3, "and the third")
        rows = (await consents.rows_of(connection, [NUMBER]))[NUMBER]
        assert [link.fact.action for link in rows.links] == ["revoke", "revoke"]
        assert faults_of(rows.links, rows.head_id, rows.head_hash) == []
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_cn_1_one_worker_of_two_proves_and_the_other_goes_on_when_it_is_gone(dsn: str, connection: Any) -> None:
    jobs = [Proofs(lambda: NOW, lambda: postgres.connect(dsn), name) for name in ("one", "two")]
    try:
        await enter(connection, NUMBER)
        assert await jobs[0].round() and not await jobs[0].round()
        await enter(connection, NUMBER)
        assert not await jobs[1].round()
        await connection.execute("DELETE FROM worker WHERE instance = 'one'")
        assert await jobs[1].round() and jobs[1].proven == 1
        assert len((await consents.rows_of(connection, [NUMBER]))[NUMBER].links) == 2
    finally:
        for job in jobs:
            await job.close()


async def test_cn_1_a_crash_between_the_rows_and_their_mark_proves_nothing_twice(
    dsn: str, connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await enter(connection, *(NUMBER + at for at in range(50)))
    whole, made = consents.append, 0

    async def dies(one: Any, facts: Any, fold: Any) -> int:
        nonlocal made
        made = await whole(one, facts[:20], fold)
        raise StoreError("killed", retryable=True)

    job = Proofs(lambda: NOW, lambda: postgres.connect(dsn), "one")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(consents, "append", dies)
            with pytest.raises(StoreError):
                await job.round()
        await job.close()
        assert made == 20 and await job.round() and job.proven == 50
        assert await connection.fetchval("SELECT count(*) FROM consent") == 50
    finally:
        await job.close()


async def test_cn_4_a_request_without_an_answer_is_a_no_after_a_day_by_time_alone(dsn: str, connection: Any) -> None:
    now = [NOW]
    asked = request(NUMBER, "acme", "promotional", words="YES?", sender="12345", by="ann", now=NOW)
    fresh = request(NUMBER + 1, "acme", "promotional", words="YES?", sender="", by="ann", now=NOW + timedelta(hours=23))
    await consents.append(connection, [asked, fresh], states_of)
    job = Proofs(lambda: now[0], lambda: postgres.connect(dsn), "one")

    async def standing(number: int) -> State:
        return (await consents.states_of(connection, [number]))[number]["acme"].promotional

    try:
        assert await job.round() and job.expired == 0 and await standing(NUMBER) == State.PENDING
        now[0] += timedelta(hours=24)
        assert await job.round() and (await standing(NUMBER), await standing(NUMBER + 1)) == (State.NONE, State.PENDING)
        pages = await connection.fetch("SELECT states FROM consent_page WHERE brand = 'acme' AND numbers <> ''")
        assert sorted(bytes(row["states"])[0] & 3 for row in pages) == [State.NONE, State.PENDING]
        assert (await consents.rows_of(connection, [NUMBER]))[NUMBER].head_id == 1
        now[0] += timedelta(minutes=2)
        assert await job.round() and job.expired == 1
    finally:
        await job.close()
