"""The job that drops what is old: thirty days of traffic leave tables that do not grow."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from gateway.config import RetentionSettings
from gateway.dispatch import retention as rooms
from gateway.dispatch.clock import Clock
from gateway.dispatch.retention import Retention, lots
from gateway.errors import StoreError
from gateway.gate import Cap, Gate
from gateway.message import MessageClass, Policy
from gateway.person import Item, Who
from gateway.store import aggregates, jobs, membership, months, people, postgres, profiles, results, retention, runs
from gateway.store.profiles import ingest
from gateway.store.runs import Run
from tests.fixtures import campaign
from tests.fixtures.campaign import numbers
from tests.fixtures.node_away import Nodes

BEGIN = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 30
MESSAGES = 10_000
KEPT = RetentionSettings(
    message_days=5, payload_days=3, chunk_days=8, run_days=12, list_days=6, inbound_days=4, event_days=4, order_days=4
)


class World:
    """A database, its worker's job, and a clock that is moved by hand."""

    def __init__(self, dsn: str, connection: Any, settings: RetentionSettings = KEPT):
        self.dsn, self.connection, self.now = dsn, connection, BEGIN
        self.job = self.worker("first", settings)

    def worker(self, instance: str, settings: RetentionSettings = KEPT) -> Retention:
        """The job's loop on a worker of that name."""
        return Retention(settings, Clock(lambda: 0.0, lambda: self.now), lambda: postgres.connect(self.dsn), instance)

    async def register(self, instance: str) -> None:
        """Enter a worker."""
        one = runs.Worker(
            instance=instance, host="h", boot="", pid=1, started_at=self.now, seen_at=self.now, node=instance
        )
        await membership.register(self.connection, one)

    async def traffic(self, lane: int, messages: int) -> Run:
        """A day's messages as their workers leave them, accepted and delivered; and what else a day brings.

        Each day has a file and people of its own.
        """
        await runs.ensure_partitions(self.connection, self.now)
        first = 447700900000 + (self.now - BEGIN).days * messages
        run = await campaign.make_run(self.connection, numbers(messages, first), [lane], now=self.now)
        await self.connection.execute(
            "UPDATE contact_list SET name = $2, created_at = $3, finished_at = $3 WHERE id = $1",
            run.list, people.name_of_file("day.csv", run.id.to_bytes(8)), self.now,
        )  # fmt: skip
        assert run.list is not None
        await people.upsert_endpoints(self.connection, run.list, self.now)
        await self.connection.execute(
            "UPDATE chunk SET state = 2, sent_upto = n, first_claimed_at = $2 WHERE run = $1", run.id, self.now
        )
        await self.connection.execute(
            "INSERT INTO outcome (lane, chunk_id, pos, segment, segments, epoch, status, at, rtt_us, message_id) "
            "SELECT k.lane, k.id, p, 1, 1, 1, CASE WHEN p % 50 = 0 THEN 11 ELSE 0 END, $2, 900 + p, "
            "md5(k.id || ' ' || p) "
            "FROM chunk k CROSS JOIN LATERAL generate_series(0, k.n - 1) AS p WHERE k.run = $1 ORDER BY k.id",
            run.id, self.now,
        )  # fmt: skip
        await self.connection.execute(
            "INSERT INTO receipt (lane, chunk_id, pos, segment, at, state, number) "
            "SELECT lane, chunk_id, pos, 1, at + interval '3 s', 2, 447700900000 + pos FROM outcome o "
            "WHERE at = $1 AND status = 0",
            self.now,
        )
        await self.connection.execute(
            "INSERT INTO event (lane, id, at, kind, subject, body) SELECT $1, "
            "coalesce((SELECT max(id) FROM event), 0) + i, $2, 'x', 'y', '{}' FROM generate_series(1, 700) AS i",
            lane, self.now,
        )  # fmt: skip
        await self.connection.execute(
            "INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, "
            "is_lossy, pdus) "
            "SELECT $1, (extract(epoch FROM $2::timestamptz) * 1000)::bigint + i, $2, 's', 'd', 'STOP', 1, '{}', "
            "'gsm7', false, '{}' FROM generate_series(1, 700) AS i",
            lane, self.now,
        )  # fmt: skip
        await self.connection.execute(
            "INSERT INTO orphan_receipt (lane, at, state, message_id) "
            "SELECT $1, $2, 2, i FROM generate_series(1, 700) AS i",
            lane, self.now,
        )  # fmt: skip
        return run

    async def octets(self) -> int:
        """What all tables take after a vacuum, as the server's own comes by."""
        await self.connection.execute("VACUUM")
        return int(
            await self.connection.fetchval(
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        )

    async def states(self, run: Run) -> list[tuple[str, int, int]]:
        """What is told of a run."""
        found = await results.states(self.connection, run.id, run.created_at - DAY, self.now)
        return sorted((one.state, one.messages, one.segments) for one in found)


@pytest.fixture
async def world(dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    connection = await postgres.connect(dsn)
    made = World(dsn, connection)
    await made.register("first")
    yield made
    await made.job.close()
    connection.terminate()


async def test_thirty_days_of_traffic_leave_tables_that_do_not_grow(world: World) -> None:
    lane = await runs.lane_of(world.connection, "acme", BEGIN)
    settled, reports = [], {}
    for day in range(DAYS):
        run = await world.traffic(lane, MESSAGES)
        reports[run.id] = run, await world.states(run)
        assert await world.job.round()
        # From the day on at which the longest-kept rows go.
        if day > KEPT.run_days + 1:
            settled.append(await world.octets())
        world.now += DAY
    # What was kept for ever would add 2 MB a day.
    assert len(settled) == 16 and max(settled[8:]) < 1.02 * max(settled[:8]), settled
    assert len(await retention.partitions(world.connection)) < 2 * (KEPT.message_days + 7)
    assert await world.connection.fetchval("SELECT count(*) FROM chunk") <= (KEPT.chunk_days + 3) * 20
    told = 0
    for run, before in reports.values():
        if await runs.run_by_id(world.connection, run.id) is not None:
            assert await world.states(run) == before and sum(messages for _, messages, _ in before) == MESSAGES
            told += 1
    assert KEPT.run_days <= told <= KEPT.run_days + 2
    for table, days in (("list_entry", KEPT.list_days), ("endpoint", KEPT.list_days)):
        kept = await world.connection.fetchval(f"SELECT count(*) FROM {table}")
        assert days * MESSAGES <= kept <= (days + 1) * MESSAGES, table
    assert await world.connection.fetchval("SELECT count(*) FROM contact_list") == told


async def test_one_worker_has_the_job_and_another_goes_on_where_it_died(world: World) -> None:
    lane = await runs.lane_of(world.connection, "acme", BEGIN)
    run = await world.traffic(lane, 3000)
    before = await world.states(run)
    await world.register("second")
    second = world.worker("second")
    try:
        assert await world.job.round() and not await second.round()
        world.now += 7 * DAY
        # The first rolls a part of the day and is gone.
        (day, *_) = [one for one in await retention.partitions(world.connection) if one.begin <= BEGIN < one.end]
        (chunk, *_) = await retention.unrolled(world.connection, lane, day, -1)
        await retention.roll(world.connection, lane, [chunk[0]], day, world.now)
        await membership.leave(world.connection, "first")
        assert await second.round() and second.rolled == 3000 - chunk[1]
        assert f"outcome_{BEGIN:%Y%m%d}" in second.dropped and f"receipt_{BEGIN:%Y%m%d}" in second.dropped
        assert not await world.job.round()
    finally:
        await second.close()
    assert await world.states(run) == before


async def test_lanes_are_cleaned_without_one_whose_node_is_away_and_days_stay_until_they_are_rolled_everywhere(
    world: World,
) -> None:
    lanes = [await runs.lane_of(world.connection, name, BEGIN) for name in ("acme", "beta")]
    await world.traffic(lanes[0], 200)
    await world.traffic(lanes[1], 200)
    nodes = Nodes(lambda: postgres.connect(world.dsn))
    nodes.away.add(lanes[0])
    job = Retention(KEPT, Clock(lambda: 0.0, lambda: world.now), nodes.connect, "first")
    world.now += 9 * DAY
    day = f"outcome_{BEGIN:%Y%m%d}"
    try:
        with pytest.raises(StoreError, match="remote node") as told:
            await job.round()
        assert told.value.elsewhere and job.dropped == []
        assert await world.connection.fetch("SELECT DISTINCT lane FROM chunk_payload") == [(lanes[0],)]
        nodes.away.clear()
        assert await job.round() and job.rolled == 400 and day in job.dropped
        assert await world.connection.fetchval("SELECT count(*) FROM chunk_payload") == 0 and nodes.opened == 1
    finally:
        await job.close()


async def test_who_has_lost_the_job_stops_at_the_next_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lane = await runs.lane_of(world.connection, "acme", BEGIN)
    await world.traffic(lane, 3000)
    world.now += 7 * DAY
    await world.register("second")
    monkeypatch.setattr(rooms, "CHUNKS_A_ROLL", 1)
    roll = retention.roll

    async def roll_and_be_fenced(connection: Any, *of: Any) -> int:
        done = await roll(connection, *of)
        await membership.leave(world.connection, "first")
        assert await jobs.take(world.connection, rooms.JOB, "second") == 2
        return done

    monkeypatch.setattr(retention, "roll", roll_and_be_fenced)
    assert not await world.job.round()
    assert await world.connection.fetchval("SELECT count(*) FROM result") == 1
    assert f"outcome_{BEGIN:%Y%m%d}" not in world.job.dropped


async def test_months_of_contacts_go_when_no_cap_looks_back_to_them_CP_1(world: World) -> None:
    await world.register("first")
    await months.ensure(world.connection, "contact_page", [BEGIN - days * DAY for days in (0, 40, 70, 100, 130)])
    keeps = RetentionSettings(contact_days=10)
    world.job = world.worker("first", keeps)
    assert await world.job.round()
    # Ten days are asked for, and a law may count a month.
    left = [month.begin.month for month in await months.months(world.connection, "contact_page")]
    assert left == [1, 3] and world.job.dropped == ["contact_page_202510", "contact_page_202511", "contact_page_202512"]


async def test_a_cap_of_a_run_keeps_the_contacts_that_it_counts_CP_1(world: World) -> None:
    await world.register("first")
    await months.ensure(world.connection, "contact_page", [BEGIN - days * DAY for days in (0, 40, 70, 100, 130)])
    lane = await runs.lane_of(world.connection, "acme", BEGIN)
    await campaign.make_run(
        world.connection,
        numbers(3),
        [lane],
        now=BEGIN,
        gate=Gate(caps=(Cap(limit=1, per="90d"), Cap(limit=4, per="week"))),
    )
    world.job = world.worker("first", RetentionSettings(contact_days=10))
    assert await world.job.round()
    assert world.job.dropped == ["contact_page_202510", "contact_page_202511"]


async def test_zero_days_keep_everything(world: World) -> None:
    lane = await runs.lane_of(world.connection, "acme", BEGIN)
    await world.traffic(lane, 1000)
    count = "SELECT (SELECT count(*) FROM outcome), (SELECT count(*) FROM chunk_payload), (SELECT count(*) FROM event)"
    before = await world.connection.fetchrow(count)
    for_ever = RetentionSettings(**dict.fromkeys(RetentionSettings.__struct_fields__, 0))
    keeper = world.worker("first", for_ever)
    try:
        world.now += 4000 * DAY
        assert await keeper.round()
        assert keeper.dropped == [] and keeper.forgotten == 0
        assert await world.connection.fetchrow(count) == before
    finally:
        await keeper.close()


def test_lots_are_bounded_by_outcomes_and_by_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rooms, "OUTCOMES_A_ROLL", 100)
    monkeypatch.setattr(rooms, "CHUNKS_A_ROLL", 3)
    assert lots([(1, 60), (2, 40), (3, 1), (4, 1), (5, 1), (6, 1), (7, 500), (8, 1)]) == [
        [1, 2],
        [3, 4, 5],
        [6],
        [7],
        [8],
    ]
    assert lots([]) == []


async def test_ev_9_what_persons_did_goes_by_the_month_and_what_follows_from_it_stays(world: World) -> None:
    await world.register("first")
    connection = world.connection
    await months.ensure(connection, "person_event", [BEGIN, BEGIN - 430 * DAY, BEGIN - 500 * DAY])
    old = [BEGIN - days * DAY for days in (500, 470, 430, 60)]
    items = [Item(who=Who(external_id="ada"), name="visit", event_id=str(at), occurred_at=at) for at in old]
    await ingest(connection, items, BEGIN - 46 * DAY, Random(1))
    await ingest(connection, [Item(who=Who(external_id="bob"), name="visit")], BEGIN, Random(2))
    follows = "SELECT * FROM profile ORDER BY id", "SELECT * FROM event_total ORDER BY profile, name"
    before = [await connection.fetch(sql) for sql in follows]
    assert await world.job.round()
    # What is of 470 days ago stood in no month of its own.
    assert world.job.dropped == ["person_event_202410", "person_event_202412"]
    kept = await connection.fetch("SELECT occurred_at FROM person_event ORDER BY 1")
    assert [BEGIN - row["occurred_at"] for row in kept] == [60 * DAY, timedelta(0)]
    assert [await connection.fetch(sql) for sql in follows] == before
    assert await connection.fetchval("SELECT count(*) FROM event_seen") == 1, "what was told 46 days ago (EV-1)"
    ahead = [month.name for month in await months.months(connection, "person_event")]
    assert ahead == ["person_event_202603", "person_event_202604", "person_event_202605"]
    bucket = await connection.fetchval("SELECT bucket FROM profile WHERE external_id = 'ada'")
    assert await aggregates.rebuild(connection, bucket, BEGIN) == aggregates.Rebuilt(
        1, datetime(2026, 3, 1, tzinfo=UTC)
    )


async def test_who_was_in_a_campaign_is_kept_as_long_as_what_they_did_and_then_goes_TR_3(world: World) -> None:
    """A number that is asked for sooner would change what is reckoned of messages anew (GL-9)."""
    write = (
        "INSERT INTO enrolment (bucket, id, version, state, campaign, profile, endpoint, anchor_id, anchor_at, "
        "entered_at, step_at, ended_at, cause) VALUES (7, $1, 1, 1, 1, 1, $1, 1, $2, $2, $2, $2, 'x')"
    )
    for days in (500, 460, 420, 80):
        at = BEGIN - days * DAY
        await world.connection.execute(write, profiles.least_id(at) + 1, at)
    await world.connection.execute(
        "INSERT INTO campaign_tick (campaign, key, at, state, noted_at) VALUES (1, 'a', $1, 'done', $1), "
        "(1, 'b', $2, 'done', $2)", BEGIN - 500 * DAY, BEGIN - 499 * DAY,
    )  # fmt: skip
    ages = "SELECT ($1 - entered_at) AS age FROM enrolment ORDER BY id"

    async def left() -> list[int]:
        return [row["age"].days for row in await world.connection.fetch(ages, BEGIN)]

    for settings, kept in (
        (RetentionSettings(campaign_days=40, person_event_days=0), [500, 460, 420, 80]),
        (RetentionSettings(campaign_days=0), [500, 460, 420, 80]),
        # 400 days ago is in January of the last year; a month before it a text may have waited in its lane.
        (RetentionSettings(campaign_days=40), [420, 80]),
        (RetentionSettings(campaign_days=40, person_event_days=20), [80]),
    ):
        await world.job.close()
        world.job = world.worker("first", settings)
        assert await world.job.round()
        assert await left() == kept, settings
    assert await world.connection.fetchval("SELECT string_agg(key, ' ') FROM campaign_tick") == "b"


async def test_runs_of_a_step_go_a_month_at_once_behind_the_people_who_were_in_it(world: World) -> None:
    lane = await runs.lane_of(world.connection, "acme", BEGIN)
    # 400 days ago is in January of the last year: their people may have been written to from the December before on.
    made = [BEGIN - days * DAY for days in (500, 440, 420, 20, 10)]
    for at in made:
        run = await runs.add_run(
            world.connection, name="c", template="Hi", fields=(), class_=MessageClass.TRIGGERED, policy=Policy.ONCE,
            lanes=[lane], list_id=None, source="campaign c v1", now=at,
        )  # fmt: skip
        await world.connection.execute("INSERT INTO campaign_run VALUES (1, 1, 0, $1)", run.id)
    for settings, left in (
        (RetentionSettings(campaign_days=0), made),
        (RetentionSettings(run_days=0), made),
        (RetentionSettings(), made[1:]),
        (RetentionSettings(campaign_days=40, person_event_days=40), made[2:]),
        (RetentionSettings(campaign_days=40, person_event_days=40, chunk_days=40, run_days=40), made[3:]),
    ):
        await world.job.close()
        world.job = world.worker("first", settings)
        assert await world.job.round()
        rows = await world.connection.fetch(
            "SELECT created_at, run FROM run LEFT JOIN campaign_run ON run = id ORDER BY id"
        )
        assert [row["created_at"] for row in rows if row["run"]] == [row["created_at"] for row in rows] == left, (
            settings
        )
