"""Who buys is scored every night, by one worker for all, and watched audiences hear of it: rule SG-9."""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway.automation.ageing import Ageing
from gateway.automation.rfm import Rfm
from gateway.campaign.audience import parse
from gateway.person import Item, Who
from gateway.rfm import RfmSettings
from gateway.store import membership, postgres, rfm, runs, selection, watched
from gateway.store.profiles import ingest
from tests.fixtures.watching import changes

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class World:
    """A database, a clock, and jobs of workers."""

    def __init__(self, dsn: str, connection: Any):
        self.dsn = dsn
        self.connection = connection
        self.now = NOW

    def worker(self, name: str) -> Rfm:
        return Rfm(RfmSettings(), lambda: self.now, lambda: postgres.connect(self.dsn), name)

    async def order(self, who: str, days_ago: int) -> None:
        at = self.now - days_ago * DAY
        told = {"order_id": f"{who} {at}", "total": 10, "currency": "EUR"}
        item = Item(who=Who(external_id=who), name="order_placed", occurred_at=at, properties=told)
        await ingest(self.connection, [item], self.now, random.Random(f"{who} {at}"))


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    connection = await postgres.connect(dsn)
    for name in ("one", "two"):
        worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node=name)
        await membership.register(connection, worker)
    yield World(dsn, connection)
    await postgres.close(connection)


async def test_sg_9_people_are_scored_once_a_night_and_by_one_worker(world: World) -> None:
    await world.order("ada", 1)
    one, two = world.worker("one"), world.worker("two")
    try:
        assert await one.round() and one.changed == 1
        assert not await one.round() and not await two.round()
        world.now = datetime(2026, 3, 29, 2, 59, tzinfo=UTC)
        assert not await one.round()
        world.now += timedelta(minutes=1)
        assert not (await two.round()) and await one.round()
        made = await rfm.newest(world.connection)
        assert made is not None and (made.version, made.at, made.done_at) == (2, world.now, world.now)
    finally:
        await one.close()
        await two.close()


async def test_who_comes_after_a_worker_that_died_goes_on_with_its_version(world: World) -> None:
    await world.order("ada", 1)
    begun = await rfm.begin(world.connection, RfmSettings(), NOW)
    await rfm.step(world.connection, begun.version, NOW)
    one = world.worker("one")
    try:
        assert await one.round() and one.changed == 1
    finally:
        await one.close()
    made = await rfm.newest(world.connection)
    assert made is not None and made.version == begun.version and made.done_at is not None


async def test_sg_4_a_score_that_changes_at_night_lets_people_enter_a_watched_audience(world: World) -> None:
    for who, days_ago in (("ada", 1), ("bob", 20), ("cid", 40), ("dan", 60), ("eve", 80)):
        await world.order(who, days_ago)
    text = "rfm('lost') or rfm.r <= 1"
    await selection.keep(world.connection, "gone", text, parse(text), "UTC", world.now)
    await watched.set_watched(world.connection, "gone", True, world.now)
    looks = Ageing(lambda: world.now, lambda: postgres.connect(world.dsn), "one", random.Random(1))
    scoring = world.worker("one")

    async def looked() -> None:
        more = True
        while more:
            assert await looks.round()
            more = looks.has_more

    try:
        await looked()
        assert await changes(world.connection, "gone") == []
        assert await scoring.round()
        await looked()
        [(eve, _, is_in, by_edit)] = await changes(world.connection, "gone")
        assert is_in and not by_edit
        world.now += DAY
        await world.order("eve", 0)
        assert await scoring.round()
        await looked()
        told = await changes(world.connection, "gone")
        assert (eve, 2, False, False) in told and len(told) == 3
    finally:
        await looks.close()
        await scoring.close()
