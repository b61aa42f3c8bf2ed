"""Plans of runs are kept as they were said, and what is said of one does not reach another."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.rate import RatePlan, read_threshold
from gateway.store import postgres, rates

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
PLAN = RatePlan(over_s=60, ramp=(0.1, 1.0), thresholds=(read_threshold("failure 20% of 100"),))


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def test_th_1_plan_is_read_as_it_was_kept_and_the_first_one_stands(connection: Any) -> None:
    await rates.add(connection, 5, PLAN, 100, 2.0, 7)
    await rates.add(connection, 5, RatePlan(), 9, 9.0, None)
    found = await rates.of_run(connection, 5)
    assert found is not None and (found.plan, found.total, found.per_s, found.goes_to) == (PLAN, 100, 2.0, 7)
    assert await rates.of_run(connection, 6) is None
    assert [one.run for one in await rates.live(connection)] == [5]


async def test_th_1_ramp_that_holds_is_told_once_and_a_run_that_is_over_is_not_live(connection: Any) -> None:
    async def steer(run: int, **how: Any) -> None:
        said = {
            "per_s": 1.0, "goes_to": 5, "stage": 0, "held_since": None, "skipped": 0, "spent": 0.0, "now": NOW,
            "is_over": False,
        } | how  # fmt: skip
        await rates.steer(connection, run, **said)

    for run in (5, 6):
        await rates.add(connection, run, PLAN, 100, 2.0, 7)
    assert await rates.tell(connection, [5, 6]) == []
    await steer(5, held_since=NOW)
    assert await rates.tell(connection, [5, 6]) == [5]
    await steer(5, held_since=NOW)
    found = await rates.of_run(connection, 5)
    assert found is not None and found.is_told
    await steer(5, stage=1)
    found = await rates.of_run(connection, 5)
    assert found is not None and not found.is_told and found.stage == 1
    await steer(6, is_over=True)
    assert [one.run for one in await rates.live(connection)] == [5]


async def test_th_4_how_often_a_run_was_opened_is_counted_and_no_other(connection: Any) -> None:
    for at, (run, seconds) in enumerate(((5, 10), (5, 59), (5, 61), (6, 10))):
        await connection.execute(
            "INSERT INTO click (bucket, id, token, number, target, run, at, made_at) "
            "VALUES ($1::int, $1::int, 1, 1, 1, $2, $3, $3)",
            at, run, NOW - timedelta(seconds=seconds),
        )  # fmt: skip
    assert await rates.clicks(connection, 5, NOW) == (3, 2)
    assert await rates.clicks(connection, 7, NOW) == (0, 0)
