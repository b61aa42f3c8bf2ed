"""The job that tells the ends of sessions: one worker does it for all (EV-10)."""

from datetime import UTC, datetime, timedelta
from random import Random

from gateway.automation.sessions import Sessions
from gateway.person import Item, Who
from gateway.store import membership, postgres, runs
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def test_ev_10_one_worker_of_two_tells_the_ends_and_the_other_takes_over_when_it_is_gone(dsn: str) -> None:
    connection = await postgres.connect(dsn)
    now = [NOW]
    jobs = [Sessions(lambda: now[0], lambda: postgres.connect(dsn), name, Random(1)) for name in ("one", "two")]
    try:
        for name in ("one", "two"):
            worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node=name)
            await membership.register(connection, worker)
        await ingest(connection, [Item(who=Who(external_id="ada"), name="visit")], NOW, Random(1))
        assert await jobs[0].round() and not await jobs[1].round()
        now[0] += timedelta(minutes=31)
        assert await jobs[0].round() and (jobs[0].ended, jobs[1].ended) == (1, 0)
        await ingest(connection, [Item(who=Who(external_id="ada"), name="visit")], now[0], Random(2))
        await connection.execute("DELETE FROM worker WHERE instance = 'one'")
        now[0] += timedelta(minutes=31)
        assert await jobs[1].round() and jobs[1].ended == 1
    finally:
        for job in jobs:
            await job.close()
        await postgres.close(connection)
