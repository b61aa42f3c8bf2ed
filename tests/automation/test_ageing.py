"""Who is in watched audiences, kept by one worker for all: as persons change, as time passes, as meanings change."""

import contextlib
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from gateway.automation import ageing
from gateway.automation.ageing import Ageing
from gateway.campaign.audience import parse
from gateway.campaign.consent import states_of
from gateway.consent import Fact
from gateway.errors import StoreError
from gateway.person import Item, Who
from gateway.store import consents, jobs, lists, membership, people, postgres, runs, selection, watched
from gateway.store.profiles import ingest
from tests.fixtures.watching import changes, meant, members

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)


class World:
    """A database, a clock, and the job of one worker."""

    def __init__(self, dsn: str, connection: Any):
        self.dsn = dsn
        self.connection = connection
        self.now = NOW
        self.job = self.worker("one")
        self._seed = 0

    def worker(self, name: str) -> Ageing:
        """Make the job of another worker."""
        return Ageing(lambda: self.now, lambda: postgres.connect(self.dsn), name, random.Random(1))

    async def register(self, name: str) -> None:
        """Let a worker stand among those that live."""
        worker = runs.Worker(instance=name, host="h", boot="", pid=1, started_at=NOW, seen_at=NOW, node=name)
        await membership.register(self.connection, worker)

    async def keep(self, name: str, text: str, zone: str = "UTC") -> None:
        """Keep an audience, and have it watched."""
        await selection.keep(self.connection, name, text, parse(text), zone, self.now)
        await watched.set_watched(self.connection, name, True, self.now)

    async def told(self, *items: Item) -> None:
        """Tell of persons."""
        self._seed += 1
        await ingest(self.connection, items, self.now, random.Random(self._seed))

    async def looked(self) -> None:
        """Let the job work until nothing is left."""
        while True:
            assert await self.job.round()
            if not self.job.has_more:
                return


@pytest.fixture
async def world(dsn: str) -> AsyncIterator[World]:
    connection = await postgres.connect(dsn)
    found = World(dsn, connection)
    await found.register("one")
    yield found
    await found.job.close()
    await postgres.close(connection)


def visit(who: str, **more: Any) -> Item:
    return Item(who=Who(external_id=who), name="visit", **more)


def order(who: str, key: str, **more: Any) -> Item:
    return Item(
        who=Who(external_id=who),
        name="order_placed",
        properties={"order_id": key, "total": 10, "currency": "EUR"},
        **more,
    )


async def test_sg_4_time_alone_lets_somebody_enter_and_the_next_order_lets_them_leave(world: World) -> None:
    await world.told(order("ada", "1"))
    await world.keep("sleepers", "orders.last > 30d")
    await world.looked()
    world.now += 30 * DAY - timedelta(microseconds=1)
    await world.looked()
    assert await changes(world.connection, "sleepers") == []
    world.now += timedelta(microseconds=1)
    await world.looked()
    [(ada, seq, is_in, by_edit)] = await changes(world.connection, "sleepers")
    assert (seq, is_in, by_edit) == (1, True, False)
    await world.looked()
    await world.told(order("ada", "2"))
    await world.looked()
    assert await changes(world.connection, "sleepers") == [(ada, 1, True, False), (ada, 2, False, False)]


async def test_sg_4_a_round_is_begun_often_enough_that_nobody_is_a_minute_late() -> None:
    assert Ageing.ROUND_S <= 10


async def test_sg_5_an_edit_changes_who_is_in_and_starts_nothing(world: World) -> None:
    await world.told(visit("ada"), visit("bob"), order("bob", "1"))
    await world.keep("all", "sessions >= 1")
    await world.looked()
    assert [(is_in, by_edit) for _, _, is_in, by_edit in await changes(world.connection, "all")] == [(True, True)] * 2
    # In one round an edit, and a person who would have entered by what was asked before.
    await world.keep("all", "orders >= 1")
    await world.told(visit("eve"))
    await world.looked()
    by_person: dict[int, list[tuple[bool, bool]]] = {}
    for person, _, is_in, by_edit in await changes(world.connection, "all"):
        by_person.setdefault(person, []).append((is_in, by_edit))
    assert sorted(by_person.values()) == [
        [(True, False), (False, True)],
        [(True, True)],
        [(True, True), (False, True)],
    ]
    assert await members(world.connection, "all") == await meant(world.connection, "all", world.now)


async def test_an_edit_of_an_audience_that_others_ask_for_is_an_edit_of_theirs(world: World) -> None:
    await world.told(visit("ada"))
    await selection.keep(world.connection, "inner", "sessions >= 1", parse("sessions >= 1"), "UTC", NOW)
    await world.keep("outer", "in_segment('inner')")
    await world.looked()
    assert len(await members(world.connection, "outer")) == 1
    await selection.keep(world.connection, "inner", "sessions >= 2", parse("sessions >= 2"), "UTC", NOW)
    await world.looked()
    assert await members(world.connection, "outer") == set()
    assert [by_edit for *_, by_edit in await changes(world.connection, "outer")] == [True, True]


async def test_an_audience_that_is_watched_no_more_is_left_by_all_and_can_be_forgotten_then(world: World) -> None:
    await world.told(visit("ada"), visit("bob"))
    await world.keep("all", "sessions >= 1 or last_seen > 3d")
    await world.looked()
    await watched.set_watched(world.connection, "all", False, NOW)
    assert not await selection.forget(world.connection, "all")
    await world.looked()
    assert await members(world.connection, "all") == set()
    assert await world.connection.fetchval("SELECT count(*) FROM audience_member WHERE next_change_at IS NOT NULL") == 0
    # Watched once more: entries have numbers that none had before.
    await watched.set_watched(world.connection, "all", True, NOW)
    await world.looked()
    assert [seq for _, seq, *_ in await changes(world.connection, "all")] == [1, 2, 3, 1, 2, 3]
    await watched.set_watched(world.connection, "all", False, NOW)
    await world.looked()
    assert await selection.forget(world.connection, "all")
    assert not await watched.set_watched(world.connection, "all", True, NOW)


async def test_of_two_workers_one_looks_and_the_other_goes_on_where_it_was_when_it_is_gone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "PERSONS_A_PAGE", 2)
    monkeypatch.setattr(ageing, "PAGES_A_ROUND", 100)
    await world.told(*(visit(f"p{at}") for at in range(40)))
    await world.keep("all", "sessions >= 1")
    other = world.worker("two")
    await world.register("two")
    try:
        assert await world.job.round() and world.job.has_more
        assert not await other.round()
        await world.connection.execute("DELETE FROM worker WHERE instance = 'one'")
        while await other.round() and other.has_more:
            pass
        assert not await world.job.round()
        assert len(await members(world.connection, "all")) == 40
        assert len(await changes(world.connection, "all")) == 40
    finally:
        await other.close()


async def test_who_has_lost_the_job_within_a_round_changes_nothing(world: World) -> None:
    await world.told(visit("ada"))
    await world.keep("all", "sessions >= 1")
    await jobs.take(world.connection, watched.JOB, "one")
    salt = await selection.salt(world.connection, "salt")
    watching = await watched.begin(world.connection, "one", salt, lambda kept, _: kept.tree)
    await world.connection.execute("DELETE FROM worker WHERE instance = 'one'")
    await world.register("two")
    assert await jobs.take(world.connection, watched.JOB, "two")
    for look in (watched.look_at_changed(world.connection, watching, 0, NOW),
                 watched.fill(world.connection, watching, NOW)):  # fmt: skip
        with pytest.raises(watched.Lost):
            await look
    assert await changes(world.connection, "all") == []


async def test_a_connection_that_is_lost_ends_a_round_at_most_and_the_next_one_goes_on(world: World) -> None:
    await world.told(visit("ada"))
    await world.keep("all", "sessions >= 1")
    assert await world.job.round()
    await world.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
        "AND datname = current_database()"
    )
    # Whether the loss was heard of before the round or within it: what is left is one error, and a new connection.
    with contextlib.suppress(StoreError):
        await world.job.round()
    await world.looked()
    assert len(await members(world.connection, "all")) == 1


async def test_an_audience_that_can_no_more_be_put_together_stays_as_it_was_and_that_is_said_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.told(visit("ada"))
    await world.keep("all", "sessions >= 1")
    await world.looked()
    await world.keep("all", "in_segment('nobody has it')")
    await world.looked()
    await world.looked()
    assert len(await members(world.connection, "all")) == 1
    assert caplog.text.count("stays as it was") == 1


# -- any history -------------------------------------------------------------------------------------------------------

TEXTS = (
    "orders.last > 3d",
    "orders.last < 2d calendar",
    "count(visit, 3d) >= 2",
    "count(visit, 2d calendar) < 2 and sessions >= 1",
    "not did(visit, 5d)",
    "consent(promotional, acme) and in_list('vip')",
    "in_segment('a0') or city = 'Berlin'",
    "last(visit) > 1d and not orders.last < 6d",
    "last_seen within 36h",
    "first(visit, 4d, page = 'a') > 12h",
    "due within next 2d",
    "rfm.r >= 4",
)
ZONES = ("UTC", "Europe/Berlin", "America/Havana")
NUMBERS = [447_700_900_000 + at for at in range(6)]


async def happens(world: World, chance: random.Random, vip: int) -> None:
    """Let one thing happen."""
    name = f"p{chance.randrange(8)}"
    what = chance.randrange(10)
    at = world.now - timedelta(hours=chance.choice((0, 0, 1, 30, 80)))
    if what <= 2:
        await world.told(visit(name, occurred_at=at) if chance.random() < 0.5 else visit(name))
    elif what == 3:
        await world.told(order(name, str(chance.randrange(1000)), occurred_at=at))
    elif what == 4:
        due = (world.now + timedelta(hours=chance.randrange(-20, 90))).isoformat()
        await world.told(
            Item(
                who=Who(external_id=name),
                attributes={"city": chance.choice(("Berlin", "Wien", None)), "due": due},
                event_id=str(chance.random()),
            )
        )
    elif what == 5:
        # A number gained or changed: a person moves.
        await world.told(
            Item(who=Who(external_id=name, phone=chance.choice(NUMBERS)), event_id=str(chance.random()), name="visit")
        )
    elif what == 6:
        # A device, and then who it was: two become one.
        device = f"d{chance.randrange(3)}"
        await world.told(Item(who=Who(anonymous_id=device), name="visit"))
        await world.told(Item(who=Who(external_id=name, anonymous_id=device), name="visit", occurred_at=at))
    elif what == 7:
        number = chance.choice(NUMBERS)
        action = chance.choice(("grant", "revoke"))
        fact = Fact(
            number=number, brand="acme", class_="promotional", action=action, source="api", recorded_at=world.now,
            effective_at=world.now, method="form",
        )  # fmt: skip
        await consents.append(world.connection, [fact], states_of)
    elif what == 8:
        number = chance.choice(NUMBERS)
        put = lists.add if chance.random() < 0.6 else lists.remove
        await put(world.connection, vip, [number], "test", world.now, random.Random(chance.random()))
    else:
        which = chance.randrange(len(TEXTS))
        text = chance.choice(TEXTS) if which else "sessions >= 1"
        await world.keep(f"a{which}", text, chance.choice(ZONES))


@pytest.mark.parametrize("seed", range(3))
async def test_after_any_history_whoever_is_in_is_who_is_meant_at_the_instant_of_the_look(
    world: World, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SG-1, SG-4: no instant, no order of things and no size of a step leaves anybody out or in."""
    chance = random.Random(seed)
    monkeypatch.setattr(watched, "PERSONS_A_PAGE", chance.choice((1, 3, 2000)))
    monkeypatch.setattr(watched, "PERSONS_A_STEP", chance.choice((1, 2, 500)))
    listed = await people.open_list(
        world.connection, "vip", source_name="", source_sha256=b"", fields=[], now=world.now
    )
    await people.finish_list(world.connection, listed.id, world.now)
    for at, text in enumerate(TEXTS):
        await world.keep(f"a{at}", text if at else "sessions >= 1", chance.choice(ZONES))
    turns = 0
    for _ in range(15):
        for _ in range(chance.randrange(6)):
            await happens(world, chance, listed.id)
        world.now += timedelta(seconds=chance.choice((0, 1, 3600, 40_000, 86_400, 300_000)))
        await world.looked()
        for name in [f"a{at}" for at in range(len(TEXTS))]:
            expected = await meant(world.connection, name, world.now)
            assert await members(world.connection, name) == expected, (name, world.now)
            turns += len(expected)
    assert turns
    for name in [f"a{at}" for at in range(len(TEXTS))]:
        told: dict[int, list[bool]] = {}
        for person, _, is_in, _ in await changes(world.connection, name):
            told.setdefault(person, []).append(is_in)
        # Who is in enters no second time, and who left is not left again (of who became another, nothing is asked).
        assert all(a != b for one in told.values() for a, b in pairwise(one)), (name, told)


async def test_im_3_what_an_import_tells_lets_nobody_enter_as_if_they_had_done_something(world: World) -> None:
    await world.keep("buyers", "orders >= 1")
    await world.looked()
    await world.told(order("ada", "1", historical=True))
    # One of two of one batch is of history.
    await world.told(order("bob", "2", historical=True), order("cid", "3"))
    # Told as history first and then as something that happens, or the other way round, before anybody looks.
    await world.told(order("dan", "4", historical=True))
    await world.told(order("dan", "5"))
    await world.told(visit("eve"))
    await world.told(order("eve", "6", historical=True))
    await world.looked()
    found = await causes(world.connection, "buyers")
    assert found == {"ada": True, "bob": True, "cid": False, "dan": False, "eve": False}


async def test_im_3_an_import_that_is_to_start_something_does(world: World) -> None:
    await world.keep("buyers", "orders >= 1")
    await world.looked()
    for who, fires in (("ada", True), ("bob", False)):
        items = [order(who, who, historical=fires)]
        await ingest(world.connection, items, world.now, random.Random(who), fires=fires)
    await world.looked()
    assert await causes(world.connection, "buyers") == {"ada": False, "bob": True}


async def test_im_3_time_lets_people_enter_as_ever_while_an_import_changes_them(world: World) -> None:
    await world.told(order("ada", "1"), order("bob", "2"))
    await world.keep("sleepers", "orders.last > 30d")
    await world.keep("vienna", "city = 'Wien'")
    await world.looked()
    world.now += 30 * DAY
    told = Item(who=Who(external_id="ada"), attributes={"city": "Wien"}, historical=True)
    await world.told(told)
    await world.looked()
    assert await causes(world.connection, "sleepers") == {"ada": False, "bob": False}
    assert await causes(world.connection, "vienna") == {"ada": True}


async def test_im_3_who_moves_by_an_import_keeps_what_they_had_done_before(world: World) -> None:
    await world.keep("buyers", "orders >= 1")
    await world.looked()
    await world.told(order("ada", "1"))
    moved = Item(who=Who(external_id="ada", phone=4915112345678), historical=True)
    await world.told(moved)
    await world.told(Item(who=Who(external_id="bob"), historical=True))
    await world.told(order("bob", "2", historical=True))
    await world.told(Item(who=Who(external_id="bob", phone=4915112345679), historical=True))
    await world.looked()
    assert await causes(world.connection, "buyers") == {"ada": False, "bob": True}


async def causes(connection: Any, audience: str) -> dict[str, bool]:
    """Whether each entered by an import; the newest of each person."""
    rows = await connection.fetch(
        "SELECT p.external_id, c.by_import FROM audience_change c JOIN audience a ON a.id = c.audience "
        "JOIN profile p ON p.id = c.profile WHERE a.name = $1 AND c.is_in AND NOT c.by_edit ORDER BY p.external_id",
        audience,
    )
    return {row["external_id"]: row["by_import"] for row in rows}
