"""The feed of STOPs on a real Postgres: gapless in the order of commits, and the same set by every way to it."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from _fastpath.numbers import NumberSet
from gateway.message import MessageClass
from gateway.store import stops
from gateway.store.queries import query
from gateway.store.stops import EVERYTHING, KEYWORD, PROMOTIONAL, scope_of
from tests.fixtures.database import ON_POSTGRES, Database

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
FIRST = 447700900000


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Any]:
    made = await database.connect()
    yield made
    made.terminate()


async def enter(connection: Any, *numbers: int, scope: str = EVERYTHING, is_stop: bool = True, **how: Any) -> int:
    how = {"at": AT, "source": "api", **how}
    return await stops.enter(connection, numbers, [scope] * len(numbers), is_stop=is_stop, **how)


async def loaded(connection: Any) -> tuple[int, dict[str, NumberSet]]:
    sets: dict[str, NumberSet] = {}
    return await stops.load(connection, sets), sets


@pytest.mark.parametrize(
    ("sender", "scope"),
    [
        ("ACME", "sender:acme"),
        (" Acme  Shop ", "sender:acme shop"),
        ("+44 7700-900.000", "sender:447700900000"),
        ("00447700900000", "sender:447700900000"),
        ("12345", "sender:12345"),
        ("Straße", "sender:strasse"),
        ("", "*"),
    ],
)
def test_sender_has_one_scope_however_it_is_written(sender: str, scope: str) -> None:
    assert scope_of(sender) == scope


async def test_numbers_of_the_feed_have_no_gaps_and_become_visible_in_order(
    database: Database, connection: Any
) -> None:
    others = [await database.connect() for _ in range(6)]
    seen: list[int] = []
    is_over = asyncio.Event()

    async def follow() -> None:
        while not (is_over.is_set() and len(seen) >= 300):
            upto = seen[-1] if seen else 1
            seen.extend(entry.seq for entry in await stops.after(connection, upto))

    async def write(other: Any, at: int) -> None:
        for turn in range(25):
            numbers = [FIRST + at * 100 + turn * 2, FIRST + at * 100 + turn * 2 + 1]
            if turn % 5 == 4:
                # One that is taken back leaves no gap.
                with pytest.raises(RuntimeError):
                    async with other.transaction():
                        await stops.enter(other, numbers, ["*", "*"], is_stop=True, at=AT, source="api")
                        raise RuntimeError
            await enter(other, *numbers)

    follower = asyncio.create_task(follow())
    await asyncio.gather(*(write(other, at) for at, other in enumerate(others)))
    is_over.set()
    await asyncio.wait_for(follower, 10)
    assert seen == list(range(2, 302)) and await stops.head(connection) == 301
    for other in others:
        other.terminate()


async def test_what_is_entered_is_told_of_by_the_commit(database: Database, connection: Any) -> None:
    heard = asyncio.Event()
    await stops.listen(connection, heard.set)
    other = await database.connect()
    async with other.transaction():
        await enter(other, FIRST)
        assert await stops.after(connection, 1) == [] and not heard.is_set()
    await asyncio.wait_for(heard.wait(), 5)
    assert [entry.number for entry in await stops.after(connection, 1)] == [FIRST]
    other.terminate()


@pytest.mark.parametrize("numbers", [0, stops.MOST_ENTRIES + 1])
async def test_nothing_and_more_than_a_transaction_takes_are_refused(connection: Any, numbers: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 10000 numbers"):
        await enter(connection, *range(FIRST, FIRST + numbers))


async def test_sets_are_those_of_the_feed_wherever_the_copy_stands(connection: Any) -> None:
    chance = random.Random(7)
    expected: dict[str, set[int]] = {EVERYTHING: set()}
    for turn in range(120):
        scope = chance.choice([EVERYTHING, "sender:acme", "sender:12345"])
        numbers = [FIRST + chance.randrange(30) for _ in range(chance.randrange(1, 4))]
        is_stop = chance.random() < 0.6
        await enter(connection, *numbers, scope=scope, is_stop=is_stop)
        (set.update if is_stop else set.difference_update)(expected.setdefault(scope, set()), numbers)
        if turn % 11 == 0:
            await stops.copy(connection, limit=chance.randrange(1, 12))
        if turn % 10 == 0:
            upto, sets = await loaded(connection)
            assert upto == await stops.head(connection)
            assert {scope: set(made) for scope, made in expected.items() if made} == {
                scope: {n for n in range(FIRST, FIRST + 30) if n in made} for scope, made in sets.items() if len(made)
            }
    while await stops.copy(connection):
        pass
    assert await stops.copy(connection) == 0
    # The copy is whole: a worker that loads it reads nothing of the feed.
    assert await connection.fetchval(query("suppression_upto")) == await stops.head(connection)
    rows = await connection.fetch(query("load_suppression"))
    assert {(row["number"], row["scope"]) for row in rows} == {(n, s) for s, some in expected.items() for n in some}


async def test_two_who_copy_at_once_do_it_once(database: Database, connection: Any) -> None:
    other = await database.connect()
    await enter(connection, FIRST)
    async with other.transaction():
        assert await other.fetchval(query("take_suppression_turn")) == 1
        assert await stops.copy(connection) == 0
    assert await stops.copy(connection) == 1
    other.terminate()


async def test_empty_feed_is_followed_up_to_one(connection: Any) -> None:
    upto, sets = await loaded(connection)
    assert upto == 1 == await stops.head(connection) and len(sets[EVERYTHING]) == 0


async def test_start_of_a_handset_lifts_what_handsets_have_stopped_and_nothing_else(connection: Any) -> None:
    heard = stops.enter_heard
    three = [(FIRST, "*", True), (FIRST, "sender:acme", True), (FIRST + 1, "*", True)]
    assert await heard(connection, three, at=AT) == (4, [True, True, True])
    await enter(connection, FIRST + 1, source="command", note="a complaint")
    assert (await heard(connection, [(FIRST + 1, "*", True)], at=AT))[1] == [False]
    assert (await heard(connection, [(FIRST, "*", False), (FIRST + 1, "*", False)], at=AT))[1] == [True, False]
    _, sets = await loaded(connection)
    assert FIRST not in sets["*"] and FIRST not in sets["sender:acme"] and FIRST + 1 in sets["*"]
    assert (await heard(connection, [(FIRST, "*", False), (FIRST, "*", True)], at=AT))[1] == [False, True]
    newest = await stops.newest(connection, 1)
    assert [(one.number, one.is_stop, one.source) for one in newest] == [(FIRST, True, KEYWORD)]
    # What somebody else has stopped may be lifted by somebody else, and is the handset's own from then on.
    await enter(connection, FIRST + 1, is_stop=False, source="command")
    await heard(connection, [(FIRST + 1, "*", True)], at=AT)
    assert (await heard(connection, [(FIRST + 1, "*", False)], at=AT))[1] == [True]


async def test_storm_of_handsets_is_entered_in_a_few_statements_in_the_order_in_which_it_came(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(name: str) -> str:
        asked.append(name)
        return query(name)

    monkeypatch.setattr(stops, "query", counted)
    storm = [(FIRST + place, "*", True) for place in range(500)]
    # One at a time, each would cost a way to Postgres and back, and the flush that waits for them has a deadline.
    assert await stops.enter_heard(connection, storm, at=AT) == (501, [True] * 500)
    assert len(asked) == 4
    changes = [(FIRST, "*", False), (FIRST + 1, "*", False), (FIRST, "*", True)]
    assert await stops.enter_heard(connection, changes, at=AT) == (504, [True, True, True])
    _, sets = await loaded(connection)
    assert FIRST in sets["*"] and FIRST + 1 not in sets["*"] and len(sets["*"]) == 499


async def test_cn_5_a_doubt_stops_what_is_promotional_and_an_ordinary_answer_within_a_day_lifts_it(
    connection: Any,
) -> None:
    async def scopes() -> dict[str, bool]:
        return {one.scope: one.is_stop for one in await stops.standing(connection, [FIRST])}

    _, new = await stops.enter_doubts(connection, [FIRST, FIRST], at=AT)
    assert new == {FIRST} and await scopes() == {PROMOTIONAL: True}
    assert await stops.enter_doubts(connection, [FIRST], at=AT + timedelta(hours=1)) == (2, set())
    # What comes at once belongs to the doubted message, and who is silent for a day has opted out.
    assert not await stops.lift_doubt(connection, FIRST, at=AT + timedelta(seconds=59))
    assert not await stops.lift_doubt(connection, FIRST, at=AT + timedelta(hours=24))
    assert await stops.lift_doubt(connection, FIRST, at=AT + timedelta(hours=23))
    assert await scopes() == {PROMOTIONAL: False}
    assert not await stops.lift_doubt(connection, FIRST, at=AT + timedelta(hours=23))


async def test_cn_5_a_doubt_of_yesterday_is_lifted_by_a_start_and_is_none_for_who_has_a_stop(connection: Any) -> None:
    await stops.enter_doubts(connection, [FIRST], at=AT)
    _, (news,) = await stops.enter_heard(connection, [(FIRST, EVERYTHING, False)], at=AT + timedelta(days=3))
    assert news == stops.Heard.NEW
    assert [one.is_stop for one in await stops.standing(connection, [FIRST])] == [False]
    await enter(connection, FIRST)
    assert (await stops.enter_doubts(connection, [FIRST], at=AT + timedelta(days=4)))[1] == set()


async def test_cn_5_the_sets_of_a_worker_hold_a_doubt_whatever_they_are_made_of(connection: Any) -> None:
    await stops.enter_doubts(connection, [FIRST], at=AT)
    for _ in range(2):
        _, sets = await loaded(connection)
        assert FIRST in sets[PROMOTIONAL] and FIRST not in sets[EVERYTHING]
        await stops.copy(connection)


@pytest.mark.parametrize(
    ("class_", "scopes"),
    [
        (MessageClass.BULK, (EVERYTHING, "sender:acme", PROMOTIONAL)),
        (MessageClass.TRIGGERED, (EVERYTHING, "sender:acme", PROMOTIONAL)),
        (MessageClass.TRANSACTIONAL, (EVERYTHING, "sender:acme")),
    ],
)
def test_cn_5_what_is_promotional_asks_one_set_more(class_: MessageClass, scopes: tuple[str, ...]) -> None:
    assert stops.scopes_of(class_, "ACME") == scopes


@ON_POSTGRES
async def test_feed_takes_no_number_and_no_scope_that_is_none(connection: Any) -> None:
    for number, scope in ((0, "*"), (FIRST, "brand"), (FIRST, "sender:")):
        with pytest.raises(asyncpg.CheckViolationError):
            await enter(connection, number, scope=scope)
    assert await stops.head(connection) == 1


async def test_cn_8_a_stop_that_is_repeated_within_a_day_is_silent_and_later_it_is_not(connection: Any) -> None:
    entry = [(FIRST, "*", True)]
    new, repeated, again = stops.Heard.NEW, stops.Heard.REPEATED, stops.Heard.AGAIN
    for hours, expected in ((0, new), (1, repeated), (24, repeated), (48, again)):
        _, news = await stops.enter_heard(connection, entry, at=AT + timedelta(hours=hours))
        assert news == [expected], hours
