"""Numbers are counted every few minutes by one worker of all."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from gateway.automation import counting
from gateway.automation.counting import Counting
from gateway.person import Item, Who
from gateway.reporting import ReportSettings
from gateway.store import postgres
from gateway.store.profiles import ingest
from gateway.store.reports import Refreshed

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


class Wall:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.mark.parametrize("interval_s", [0, 60])
async def test_what_is_new_is_counted_when_the_pause_is_over_and_never_without_one(dsn: str, interval_s: int) -> None:
    wall = Wall()
    job = Counting(ReportSettings(interval_s=interval_s), wall, lambda: postgres.connect(dsn), "w1")
    connection = await postgres.connect(dsn)
    await connection.execute(
        "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node) "
        "VALUES ('w1', 'h', 'b', 1, $1, $1, 'w1')",
        NOW,
    )
    sent = Item(
        who=Who(phone=447700900100), name="submitted", occurred_at=NOW, event_id="submitted:1:1:0", source="sluice",
        properties={"campaign": "spring", "run": 1}, is_ours=True,
    )  # fmt: skip
    await ingest(connection, [sent], NOW, random.Random(1))
    try:
        assert not await job.round()
        wall.now += 59 * SECOND
        assert not await job.round()
        wall.now += SECOND
        assert await job.round() == (interval_s > 0)
        assert job.counted == (1 if interval_s else 0)
        assert await connection.fetchval("SELECT count(*) FROM touch") == (1 if interval_s else 0)
        assert not await job.round()
    finally:
        await job.close()
        await postgres.close(connection)


async def test_a_clock_that_goes_back_does_not_stop_the_counting(dsn: str) -> None:
    wall = Wall()
    job = Counting(ReportSettings(), wall, lambda: postgres.connect(dsn), "w1")
    wall.now -= timedelta(days=400)
    assert job.is_due(wall.now)


async def test_a_count_that_took_long_is_followed_by_a_pause_of_twenty_times_as_long(dsn: str, monkeypatch) -> None:
    wall = Wall()
    job = Counting(ReportSettings(interval_s=60), wall, lambda: postgres.connect(dsn), "w1")
    connection = await postgres.connect(dsn)
    begun = iter((0.0, 30.0))

    class Loop:
        def time(self) -> float:
            return next(begun)

    async def refresh(*_) -> Refreshed:
        return Refreshed(persons=0, days=0, is_whole=False)

    monkeypatch.setattr(counting.asyncio, "get_running_loop", Loop)
    monkeypatch.setattr(counting.reports, "refresh", refresh)
    assert await job.work(connection, NOW)
    monkeypatch.undo()
    assert not job.is_due(NOW + 599 * SECOND) and job.is_due(NOW + 600 * SECOND)
    await postgres.close(connection)
