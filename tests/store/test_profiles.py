"""What is told of persons, taken in once: rules EV-1 to EV-9."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.person import CLAMPED, HISTORICAL, LATE, OURS, Item, Who, hash_of
from gateway.store import aggregates, identities, months, profiles, selection
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ADA = Who(external_id="ada")
DERIVED = (
    "id, number, first_seen_at, last_seen_at, session_at, sessions, first_order_at, last_order_at, orders, spent, "
    "last_click_at, last_reply_at, utm_first, utm_last"
)


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def event(name: str, minutes: float = 0, who: Who = ADA, **more: Any) -> Item:
    known = {key: more.pop(key) for key in ("event_id", "source", "historical", "is_ours", "attributes") if key in more}
    return Item(who=who, name=name, occurred_at=NOW + minutes * MINUTE, properties=more, **known)


async def told(connection: Any, *items: Item, now: datetime = NOW, seed: int = 1) -> profiles.Ingested:
    return await ingest(connection, items, now, Random(seed))


async def profile(connection: Any, external_id: str = "ada") -> dict[str, Any]:
    row = await connection.fetchrow(
        "SELECT p.* FROM identity i JOIN profile p ON p.bucket = i.profile_bucket AND p.id = i.profile "
        "WHERE i.kind = 'external_id' AND i.value = $1",
        external_id,
    )
    found = dict(row)
    for name in ("spent", "attributes", "attribute_at"):
        found[name] = json.loads(found[name])
    return found


async def events(connection: Any) -> list[tuple[Any, ...]]:
    rows = await connection.fetch("SELECT name, occurred_at, flags FROM person_event ORDER BY occurred_at, id")
    return [(row["name"], (row["occurred_at"] - NOW) / MINUTE, row["flags"]) for row in rows]


async def everything(connection: Any) -> dict[str, list[Any]]:
    """All that follows from raw events."""
    return {
        "profile": [dict(one) for one in await connection.fetch(f"SELECT {DERIVED} FROM profile ORDER BY id")],
        "event_total": await connection.fetch("SELECT * FROM event_total ORDER BY profile, name"),
        "person_order": await connection.fetch("SELECT * FROM person_order ORDER BY profile, key"),
    }


async def rebuilt(connection: Any) -> dict[str, list[Any]]:
    for bucket in [row[0] for row in await connection.fetch("SELECT DISTINCT bucket FROM profile")]:
        await aggregates.rebuild(connection, bucket, NOW)
    return await everything(connection)


# -- EV-1, EV-2, EV-3 --------------------------------------------------------------------------------------------------


async def test_ev_1_the_second_arrival_of_an_event_has_no_effect_anywhere(connection: Any) -> None:
    first = event("order_placed", event_id="e1", order_id="1", total=10, currency="EUR")
    assert (await told(connection, first)).duplicates == 0
    before = await everything(connection)
    done = await told(connection, first, event("visit", 1, event_id="e2"), first, now=NOW + MINUTE, seed=2)
    assert done.is_duplicate == [True, False, True] and (done.duplicates, done.conflicts) == (2, 0)
    after = await everything(connection)
    assert after["person_order"] == before["person_order"]
    assert [row["count"] for row in after["event_total"]] == [1, 1]


async def test_ev_1_of_two_bodies_of_one_id_the_first_wins_and_the_other_is_counted(connection: Any) -> None:
    await told(connection, event("visit", event_id="e1", page="a"))
    done = await told(connection, event("visit", event_id="e1", page="b"), event("visit", event_id="e1", page="c"))
    assert (done.duplicates, done.conflicts) == (2, 2)
    assert await connection.fetchval("SELECT properties ->> 'page' FROM person_event") == "a"
    other = await told(connection, event("visit", 1, event_id="e1", source="shop"))
    assert other.duplicates == 0, "an id is unique within its source"


async def test_ev_1_a_duplicate_makes_nobody(connection: Any) -> None:
    await told(connection, event("visit", event_id="e1"))
    done = await told(connection, event("visit", event_id="e1", who=Who(external_id="bob")))
    assert (done.duplicates, done.conflicts, done.created) == (1, 1, 0)
    assert await connection.fetchval("SELECT count(*) FROM profile") == 1


async def test_ev_1_without_an_id_the_same_said_twice_is_one(connection: Any) -> None:
    one = event("visit", page="a")
    assert (await told(connection, one, one, event("visit", page="b"), event("visit", 1, page="a"))).duplicates == 1
    assert (await told(connection, one, seed=2)).duplicates == 1


async def test_ev_2_a_clock_ahead_by_more_than_five_minutes_is_clamped_and_flagged(connection: Any) -> None:
    await told(connection, event("a", 5), event("b", 5.1), Item(who=ADA, name="c"))
    assert sorted(await events(connection)) == [("a", 5, 0), ("b", 0, CLAMPED), ("c", 0, 0)]


async def test_ev_3_late_and_historical_events_are_stored_flagged_and_counted(connection: Any) -> None:
    await told(connection, event("visit", -72 * 60 - 1), event("visit", -10, historical=True), event("visit", -1))
    assert [flags for _, _, flags in await events(connection)] == [LATE, HISTORICAL, 0]
    assert await connection.fetchval("SELECT count FROM event_total") == 3


# -- EV-4, EV-5 --------------------------------------------------------------------------------------------------------


def says(minutes: float, who: Who = ADA, **attributes: Any) -> Item:
    return Item(who=who, occurred_at=NOW + minutes * MINUTE, attributes=attributes)


async def test_ev_4_the_later_word_on_each_attribute_stays_in_whatever_order_it_comes(connection: Any) -> None:
    await told(connection, says(-1, tier="gold", shoe=41))
    await told(connection, says(-2, tier="silver", city="Bonn"), now=NOW + MINUTE, seed=2)
    assert (await profile(connection))["attributes"] == {"tier": "gold", "shoe": 41, "city": "Bonn"}
    await told(connection, says(-1, tier="lead"), now=NOW + 2 * MINUTE, seed=3)
    assert (await profile(connection))["attributes"]["tier"] == "lead", "of one time what was received later stays"


async def test_ev_4_what_was_taken_away_does_not_come_back_by_an_older_word(connection: Any) -> None:
    await told(connection, says(-1, tier=None))
    await told(connection, says(-2, tier="gold"), seed=2)
    assert "tier" not in (await profile(connection))["attributes"]
    await told(connection, says(0, tier="gold"), seed=3)
    assert (await profile(connection))["attributes"] == {"tier": "gold"}


async def test_ev_4_country_language_zone_have_columns_and_the_same_rule(connection: Any) -> None:
    await told(connection, says(-1, country="DE", language="de", zone="Europe/Berlin"), says(-2, country="FR"))
    found = await profile(connection)
    assert (found["country"], found["language"], found["zone"], found["attributes"]) == (
        "DE",
        "de",
        "Europe/Berlin",
        {},
    )


async def test_ev_5_attributes_and_event_of_one_item_are_there_together(connection: Any) -> None:
    await told(connection, event("visit", attributes={"tier": "gold"}))
    assert (await profile(connection))["attributes"] == {"tier": "gold"}
    assert await connection.fetchval("SELECT count(*) FROM person_changed") == 1


async def test_kinds_of_attributes_and_properties_are_kept_as_first_seen(connection: Any) -> None:
    price = {"amount": 5, "currency": "EUR"}
    await told(connection, event("visit", page="a", at="2026-01-02", attributes={"n": 1, "yes": True, "price": price}))
    await told(connection, event("visit", 1, page=7, attributes={"n": "x", "gone": None}), seed=2)
    kinds = dict(await connection.fetch("SELECT name, kind FROM attribute_kind"))
    assert kinds == {"n": "number", "yes": "bool", "price": "money"}
    rows = await connection.fetch("SELECT event, name, kind FROM event_property_kind ORDER BY name")
    assert [tuple(row) for row in rows] == [
        ("visit", "", "object"), ("visit", "at", "time"), ("visit", "page", "string"),
    ]  # fmt: skip


async def test_an_event_without_properties_is_a_name_that_audiences_may_ask_for(connection: Any) -> None:
    await told(connection, event("login"))
    assert (await selection.known(connection)).properties == {"login": {}}


# -- EV-9, EV-10 -------------------------------------------------------------------------------------------------------


async def test_ev_9_orders_that_are_cancelled_or_wholly_refunded_leave_the_aggregates(connection: Any) -> None:
    def placed(order: int, minutes: int, total: float) -> Item:
        return event("order_placed", minutes, order_id=order, total=total, currency="EUR")

    await told(connection, placed(1, -30, 10.10), placed(2, -20, 20), placed(3, -10, 30))
    found = await profile(connection)
    assert (found["orders"], found["spent"]) == (3, {"EUR": 6010})
    assert (found["first_order_at"], found["last_order_at"]) == (NOW - 30 * MINUTE, NOW - 10 * MINUTE)
    await told(connection, event("order_cancelled", order_id=3), seed=2)
    await told(connection, event("refunded", order_id=1, amount="10.10", currency="EUR"), seed=3)
    await told(connection, event("refunded", 1, order_id=2, amount=5, currency="EUR"), seed=4)
    found = await profile(connection)
    assert (found["orders"], found["spent"]) == (1, {"EUR": 1500})
    assert found["first_order_at"] == found["last_order_at"] == NOW - 20 * MINUTE
    await told(connection, event("refunded", 2, order_id=2), seed=5)
    found = await profile(connection)
    assert (found["orders"], found["spent"], found["first_order_at"], found["last_order_at"]) == (0, {}, None, None)


async def test_ev_9_a_cancellation_that_comes_before_its_order_counts(connection: Any) -> None:
    await told(connection, event("order_cancelled", order_id="x"))
    await told(connection, event("order_placed", -5, order_id="x", total=3, currency="JPY"), seed=2)
    found = await profile(connection)
    assert (found["orders"], found["spent"], found["last_order_at"]) == (0, {}, None)


async def test_ev_9_an_earlier_event_that_comes_later_moves_the_firsts_and_not_the_lasts(connection: Any) -> None:
    await told(connection, event("visit", -5, utm_source="b"), event("clicked", -5, is_ours=True, verdict="human"))
    await told(connection, event("visit", -500, utm_source="a"), event("clicked", -500, is_ours=True), seed=2)
    await told(
        connection, event("clicked", -1, is_ours=True, verdict="bot"), event("replied", -3, is_ours=True), seed=3
    )
    found = await profile(connection)
    assert (found["first_seen_at"], found["last_seen_at"]) == (NOW - 500 * MINUTE, NOW - 5 * MINUTE)
    assert (found["last_click_at"], found["last_reply_at"]) == (NOW - 5 * MINUTE, NOW - 3 * MINUTE)
    assert [json.loads(found[name])["utm_source"] for name in ("utm_first", "utm_last")] == ["a", "b"]


async def test_ev_10_sessions_are_told_apart_by_half_an_hour_and_by_their_end(connection: Any) -> None:
    await told(connection, event("visit", -300), event("visit", -271), event("visit", -240))
    assert (await profile(connection))["sessions"] == 2
    await told(connection, event("session_ended", -230), event("visit", -225), seed=2)
    assert (await profile(connection))["sessions"] == 3
    await told(connection, event("visit", -255), seed=3)
    assert (await profile(connection))["sessions"] == 3, "the end that was told at -241 stays"
    assert await everything(connection) == await rebuilt(connection)


async def test_ev_10_an_event_after_the_timeout_tells_the_end_of_the_session_before_it_once(connection: Any) -> None:
    await told(connection, event("visit", -100), event("visit", -80))
    await told(connection, event("visit", -10), seed=2)
    await told(connection, event("visit", -5), event("visit", -60), seed=3)
    assert [one for one in await events(connection) if one[0] == "session_ended"] == [("session_ended", -50, OURS)]
    assert (await profile(connection))["session_at"] == NOW - 5 * MINUTE
    assert await everything(connection) == await rebuilt(connection)


async def test_ev_10_what_is_late_or_historical_runs_no_session(connection: Any) -> None:
    await told(connection, event("visit", -10_000), event("visit", -5, historical=True))
    found = await profile(connection)
    assert (found["sessions"], found["session_at"]) == (2, None)
    assert await connection.fetchval("SELECT count(*) FROM session_open") == 0


# -- both at once ------------------------------------------------------------------------------------------------------


async def test_ev_6_batches_of_one_person_at_once_lose_nothing_and_count_nothing_twice(dsn: str) -> None:
    """Every batch is brought four times, by four connections, each in its own order; all join the same persons."""
    connections = [await asyncpg.connect(dsn) for _ in range(4)]
    chance = Random(5)
    batches = []
    for number in range(30):
        batch = []
        for at in range(20):
            name = chance.choice("abcdefgh")
            who = chance.choice(
                [Who(external_id=name), Who(anonymous_id=name), Who(external_id=name, anonymous_id=name)]
            )
            if chance.random() < 0.2:
                who = Who(external_id=name, phone=491510000000 + ord(name))
            batch.append(event("visit", -number - at / 100, who, event_id=f"{number}-{at}"))
        batches.append(batch)

    async def bring(which: int) -> None:
        mine = list(batches)
        Random(which).shuffle(mine)
        for number, batch in enumerate(mine):
            await ingest(connections[which], batch, NOW, Random(which * 1000 + number))

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(bring(which) for which in range(4)))
        one = connections[0]
        assert await one.fetchval("SELECT count(*) FROM person_event WHERE flags & 8 = 0") == 600
        assert await one.fetchval("SELECT sum(count) FROM event_total WHERE name = 'visit'") == 600
        assert await one.fetchval("SELECT count(*) FROM profile WHERE external_id IS NOT NULL") == 8
        assert await everything(one) == await rebuilt(one)
    finally:
        for each in connections:
            await each.close()


NAMES = st.sampled_from(["visit", "visit", "order_placed", "order_cancelled", "refunded", "session_ended", "clicked"])
WHO = st.builds(
    Who,
    external_id=st.sampled_from(["", "", "ada", "bob"]),
    anonymous_id=st.sampled_from(["", "x", "y"]),
    email=st.sampled_from(["", "", "a@b.de"]),
    phone=st.sampled_from([0, 0, 4915100000001, 4915100000002]),
).filter(lambda who: who != Who())


@st.composite
def items(draw: st.DrawFn) -> Item:
    properties = {"order_id": draw(st.sampled_from(["1", "2"])), "currency": draw(st.sampled_from(["EUR", "USD", ""]))}
    if draw(st.booleans()):
        properties["total"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        properties["utm_source"] = draw(st.sampled_from("pq"))
    return Item(
        who=draw(WHO),
        name=draw(NAMES),
        event_id=str(draw(st.integers(0, 60))),
        occurred_at=NOW - draw(st.integers(-2, 40)) * 8 * MINUTE,
        properties=properties,
        historical=draw(st.integers(0, 9)) == 0,
        attributes=draw(st.dictionaries(st.sampled_from("kl"), st.one_of(st.none(), st.integers(0, 3)), max_size=2)),
        absorbs=draw(st.one_of(st.none(), st.none(), st.none(), WHO)),
    )


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=st.lists(st.lists(items(), max_size=8), max_size=6), seed=st.integers(0, 1000))
async def test_ev_9_what_is_carried_on_equals_a_rebuild_whatever_comes(dsn: str, batches: Any, seed: int) -> None:
    """Random order, repeats, joins, moves, cancellations, ends. Not shrunk: an example takes a tenth of a second."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "TRUNCATE profile, identity, person_event, event_seen, event_total, person_order, session_open, "
            "person_changed"
        )
        for number, batch in enumerate(batches):
            await ingest(connection, batch, NOW + number * MINUTE, Random(seed + number))
        carried = await everything(connection)
        assert carried == await rebuilt(connection)
        kept = {item.event_id for batch in batches for item in batch}
        assert await connection.fetchval("SELECT count(*) FROM person_event WHERE flags & 8 = 0") == len(kept)
        stray = await connection.fetchval(
            "SELECT count(*) FROM person_event v LEFT JOIN profile p ON p.bucket = v.bucket AND p.id = v.profile "
            "WHERE p.id IS NULL"
        )
        lost = await connection.fetchval(
            "SELECT count(*) FROM identity i LEFT JOIN profile p ON p.bucket = i.profile_bucket AND p.id = i.profile "
            "WHERE p.id IS NULL"
        )
        assert (stray, lost) == (0, 0)
    finally:
        await connection.close()


async def test_months_are_made_as_they_are_needed_and_the_rest_is_kept_too(connection: Any) -> None:
    assert await months.ensure(connection, "person_event", [NOW, NOW - 40 * 24 * 60 * MINUTE]) == [
        "person_event_202601", "person_event_202603",
    ]  # fmt: skip
    await told(connection, event("visit"), event("visit", -28 * 24 * 60))
    rows = await connection.fetch("SELECT tableoid::regclass::text AS name FROM person_event ORDER BY 1")
    assert [row["name"] for row in rows] == ["person_event_202603", "person_event_rest"]
    assert await months.ensure(connection, "person_event", [NOW - 28 * 24 * 60 * MINUTE]) == [], "it stands in the rest"


STATE = {
    "profile": f"SELECT bucket, {DERIVED}, external_id, email, attributes FROM profile ORDER BY id",
    "identity": "SELECT kind, value, profile_bucket, profile FROM identity ORDER BY kind, value",
    "person_event": "SELECT bucket, profile, id, name, occurred_at, received_at, flags, source, event_id, properties "
    "FROM person_event ORDER BY id",
    "event_total": "SELECT * FROM event_total ORDER BY profile, name",
    "person_order": "SELECT * FROM person_order ORDER BY profile, key",
    "session_open": "SELECT * FROM session_open ORDER BY profile",
    "person_changed": "SELECT bucket, profile FROM person_changed ORDER BY profile",
}


@st.composite
def stream_items(draw: st.DrawFn) -> Item:
    """What known persons do, a few minutes apart, and now and then something that says more."""
    if draw(st.integers(0, 4)) == 0:
        return draw(items())
    return Item(
        who=draw(
            st.sampled_from(
                [ADA, ADA, Who(external_id="bob"), Who(anonymous_id="x"), Who(external_id="ada", anonymous_id="x"),
                 Who(phone=4915100000001), Who(email="a@b.de")]
            )
        ),
        name=draw(st.sampled_from(["visit", "visit", "visit", "order_placed", "clicked"])),
        event_id=str(draw(st.integers(0, 200))),
        occurred_at=NOW + draw(st.integers(-20, 60)) * MINUTE,
        properties=draw(st.sampled_from([{}, {"page": "a"}, {"utm_source": "p"}, {"total": 3, "currency": "EUR"}])),
    )  # fmt: skip


@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(batches=st.lists(st.lists(stream_items(), max_size=10), min_size=2, max_size=6), seed=st.integers(0, 1000))
async def test_ev_9_the_short_ways_of_known_persons_and_running_sessions_end_where_the_long_ones_do(
    dsn: str, batches: Any, seed: int
) -> None:
    """The same batches twice: as they are, and with everybody planned and everybody's sessions followed."""
    connection = await asyncpg.connect(dsn)
    ends = []
    try:
        for is_long in (False, True):
            await connection.execute(f"TRUNCATE {', '.join(STATE)}, event_seen, endpoint")
            with pytest.MonkeyPatch.context() as patch:
                if is_long:
                    patch.setattr(identities, "sure", lambda items, looked: [None] * len(items))
                    patch.setattr(identities.Person, "session_us", None)
                for number, batch in enumerate(batches):
                    now = NOW + number * 25 * MINUTE
                    await ingest(connection, batch, now, Random(seed * 100 + number))
            ends.append({name: await connection.fetch(text) for name, text in STATE.items()})
        assert [dict(one) for one in ends[0]["profile"]] == [dict(one) for one in ends[1]["profile"]]
        assert ends[0] == ends[1]
        assert await everything(connection) == await rebuilt(connection)
    finally:
        await connection.close()


async def test_a_known_person_who_goes_on_is_neither_planned_nor_followed(connection: Any) -> None:
    await told(connection, event("visit"))
    with pytest.MonkeyPatch.context() as patch:
        for room, name in ((identities, "resolve"), (aggregates, "carry_sessions")):
            patch.setattr(room, name, None)
        await told(connection, event("visit", 5, page="a"), event("visit", 20, page="b"), now=NOW + 20 * MINUTE, seed=2)
    found = await profile(connection)
    assert (found["sessions"], found["session_at"], found["last_seen_at"]) == (1, *[NOW + 20 * MINUTE] * 2)
    assert await everything(connection) == await rebuilt(connection)


async def test_only_items_that_say_more_of_their_person_are_planned(connection: Any) -> None:
    bob, eve = Who(external_id="bob"), Who(external_id="eve", anonymous_id="phone")
    await told(connection, event("visit"), event("visit", who=bob), event("visit", who=eve))
    planned: list[Item] = []
    resolve = identities.resolve

    async def noted(connection: Any, items: Any, *more: Any) -> Any:
        planned.extend(items)
        return await resolve(connection, items, *more)

    login = event("visit", 4, Who(external_id="bob", anonymous_id="laptop"))
    new = event("visit", 2, Who(external_id="new"))
    says_more = event("visit", 3, attributes={"tier": "gold"})
    of_bob = event("visit", 5, bob)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identities, "resolve", noted)
        done = await told(
            connection, event("visit", 1), new, says_more, login, of_bob, event("visit", 6, eve), now=NOW + 9 * MINUTE
        )
    assert planned == [new, says_more, login, of_bob]
    assert (done.events, done.created, done.persons) == (6, 1, 4)
    assert await everything(connection) == await rebuilt(connection)


async def waits_for_a_person(looker: Any, pid: int) -> None:
    """Return once a connection waits for a person that another holds."""
    async with asyncio.timeout(20):
        while not await looker.fetchval(
            "SELECT wait_event_type = 'Lock' AND query LIKE '%person_changed%' FROM pg_stat_activity WHERE pid = $1",
            pid,
        ):
            await asyncio.sleep(0)


@pytest.mark.parametrize("moves", [False, True])
async def test_ev_6_events_are_written_before_their_person_is_waited_for_and_anew_where_the_person_moved(
    dsn: str, connection: Any, moves: bool
) -> None:
    await told(connection, event("visit"))
    other, looker = await asyncpg.connect(dsn), await asyncpg.connect(dsn)
    try:
        before = await profile(connection)
        held = other.transaction()
        await held.start()
        person = (await identities.hold(other, {before["id"]: before["bucket"]}, NOW))[before["id"]]
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        bringing = asyncio.create_task(told(connection, event("visit", 5), seed=2))
        await waits_for_a_person(looker, pid)
        assert await looker.fetchval(
            "SELECT count(*) FROM pg_locks WHERE pid = $1 AND relation = 'person_event_rest'::regclass "
            "AND mode = 'RowExclusiveLock'",
            pid,
        ), "written already"
        if moves:
            await identities.move(other, person, 4915100000003, NOW)
        await held.commit()
        async with asyncio.timeout(20):
            assert (await bringing).events == 1
        rows = await connection.fetch("SELECT DISTINCT bucket FROM person_event")
        assert [row[0] for row in rows] == [(await profile(connection))["bucket"]]
        assert (rows[0][0] != before["bucket"]) is moves
        assert await connection.fetchval("SELECT count(*) FROM person_event") == 2
        assert await everything(connection) == await rebuilt(connection)
    finally:
        await other.close()
        await looker.close()


async def test_ev_9_a_late_event_finds_no_neighbour_in_what_came_with_it(connection: Any) -> None:
    await told(connection, event("visit", -5))
    done = await told(connection, event("visit", -100), event("visit", -90), event("visit", -50), seed=2)
    assert (done.events, (await profile(connection))["sessions"]) == (3, 3)
    assert await everything(connection) == await rebuilt(connection)


async def test_an_event_of_any_year_is_counted_at_its_very_microsecond(connection: Any) -> None:
    old = [datetime(year, 2, 4, 5, 6, 7, 123457, tzinfo=UTC) for year in (1, 1600, 1969, 2026)]
    await told(connection, *(Item(who=ADA, name="visit", occurred_at=at, properties={"y": at.year}) for at in old))
    rows = await connection.fetch("SELECT occurred_at FROM person_event ORDER BY occurred_at")
    assert [row["occurred_at"] for row in rows] == old
    assert tuple(await connection.fetchrow("SELECT first_at, last_at FROM event_total")) == (old[0], old[3])


def test_two_callers_who_draw_the_same_id_draw_it_for_the_same_bucket() -> None:
    """Else two persons would have one id, and be one to whoever knows them by it alone."""
    drawn: dict[int, int] = {}
    chance = Random(1)
    repeats = 0
    for caller in range(40):
        next_id = profiles.person_ids(NOW, chance)
        before = 0
        for at in range(500):
            number = 447700900000 + caller * 500 + at
            id_ = next_id(number)
            assert hash_of(id_) == hash_of(number) and id_ > before
            repeats += id_ in drawn
            assert drawn.setdefault(id_, hash_of(number)) == hash_of(number)
            before = id_
        # Of whom there is no number yet, the id says where they stand.
        assert next_id(0) > before
    assert repeats
    first = profiles.first_id(NOW, Random(1)) >> profiles.ID_BITS
    assert {id_ >> profiles.ID_BITS for id_ in drawn} == {first}
