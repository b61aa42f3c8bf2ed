"""Scores of those who buy, set-wise, against a plain reckoning of each: rule SG-9."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gateway.person import Item, Who, hash_of
from gateway.rfm import RfmSettings, groups_of
from gateway.store import rfm
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 28, 12, tzinfo=UTC)
DAY = timedelta(days=1)
EUR = RfmSettings(currency="EUR")


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


def scores_of(values: Mapping[int, int]) -> dict[int, int]:
    """Score by percentile rank, the obvious way: everybody is compared with everybody who differs."""
    ordered = sorted(values.values())
    count = len(ordered)
    places: dict[int, list[int]] = {}
    for place, value in enumerate(ordered):
        places.setdefault(value, []).append(place)
    return {one: 1 + 5 * (2 * places[value][0] + len(places[value])) // (2 * count) for one, value in values.items()}


async def add_buyers(connection: Any, orders: Mapping[int, Sequence[tuple[datetime, int, str, int]]]) -> None:
    """Write persons with orders: when, how much, currency, given back."""
    persons, bought = [], []
    for id_, some in orders.items():
        last = max((at for at, *_ in some), default=None)
        persons.append((hash_of(id_), id_, len(some), last, NOW))
        for at, amount, currency, refunded in some:
            back = {currency: refunded} if refunded else {}
            bought.append(
                (hash_of(id_), id_, f"{id_}:{len(bought)}", at, amount, currency, str(back).replace("'", '"'))
            )
    await connection.executemany(
        "INSERT INTO profile (bucket, id, orders, last_order_at, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $5)",
        persons,
    )
    await connection.executemany(
        "INSERT INTO person_order (bucket, profile, key, placed_at, amount, currency, refunded, is_counted) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, true)",
        bought,
    )


async def score_all(connection: Any, settings: RfmSettings = EUR, now: datetime = NOW) -> int:
    made = await rfm.begin(connection, settings, now)
    changed, more = 0, True
    while more:
        some, more = await rfm.step(connection, made.version, now)
        changed += some
    return changed


async def found_of(connection: Any) -> dict[int, tuple[int, int, int, str]]:
    rows = await connection.fetch("SELECT profile, r, f, m, named FROM rfm")
    return {row["profile"]: (row["r"], row["f"], row["m"], row["named"]) for row in rows}


async def test_sg_9_ten_thousand_persons_have_the_scores_that_a_plain_reckoning_gives(connection: Any) -> None:
    chance = random.Random(9)
    orders: dict[int, list[tuple[datetime, int, str, int]]] = {}
    for id_ in range(1, 10_001):
        some = []
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3, 9))):
            # Many of them at the same day and amount, some at the border of the year, some in another currency.
            days = chance.choice((0, 364, 365, 366, *(chance.randrange(800) for _ in range(6))))
            amount = chance.choice((0, 1000, 1999, chance.randrange(50_000)))
            back = chance.choice((0, 0, 0, amount // 2))
            at = NOW - days * DAY + timedelta(microseconds=chance.choice((-1, 0, 1)) if days else 0)
            some.append((at, amount, chance.choice(("EUR", "EUR", "EUR", "USD", "")), back))
        orders[id_] = some
    await add_buyers(connection, orders)
    await score_all(connection)
    buyers = {id_: some for id_, some in orders.items() if some}
    counted = {id_: [one for one in some if NOW - 365 * DAY < one[0]] for id_, some in buyers.items()}
    r = scores_of({id_: -((NOW - max(one[0] for one in some)) // DAY) for id_, some in buyers.items()})
    f = scores_of({id_: len(some) for id_, some in counted.items()})
    m = scores_of({id_: sum(a - b for _, a, c, b in some if c == "EUR") for id_, some in counted.items()})
    names = groups_of(EUR.groups)
    wanted = {id_: (r[id_], f[id_], m[id_], names[25 * (r[id_] - 1) + 5 * (f[id_] - 1) + m[id_] - 1]) for id_ in buyers}
    assert await found_of(connection) == wanted
    sizes = await rfm.groups(connection)
    assert sum(sizes.values()) == len(buyers) and len(sizes) >= 6
    # Nobody has changed: nobody is written.
    assert await score_all(connection) == 0


async def test_sg_9_who_is_alike_has_the_same_score_and_if_all_are_it_is_three(connection: Any) -> None:
    await add_buyers(connection, {id_: [(NOW - DAY, 100, "EUR", 0)] for id_ in range(1, 8)})
    await score_all(connection)
    assert {one[:3] for one in (await found_of(connection)).values()} == {(3, 3, 3)}


async def test_sg_9_the_currency_is_that_in_which_most_have_paid(connection: Any) -> None:
    def order(who: str, currency: str, total: int) -> Item:
        told = {"order_id": f"{who}{currency}", "total": total, "currency": currency}
        return Item(who=Who(external_id=who), name="order_placed", occurred_at=NOW - DAY, properties=told)

    items = [order("a", "USD", 5), order("b", "USD", 6), order("b", "EUR", 100), order("c", "EUR", 7)]
    await ingest(connection, [*items, order("c", "USD", 1)], NOW, random.Random(1))
    made = await rfm.begin(connection, RfmSettings(), NOW)
    assert (made.currency, made.buyers, made.scale.m) == ("USD", 3, (500, 500, 600, 600))


async def test_nobody_who_buys_is_nobody_to_score(connection: Any) -> None:
    assert await score_all(connection, RfmSettings()) == 0
    made = await rfm.newest(connection)
    assert made is not None and (made.buyers, made.scale.m, made.currency) == (0, (), "") and made.done_at == NOW


async def test_sg_9_a_score_that_has_to_hold_changes_with_the_second_run(connection: Any) -> None:
    held = RfmSettings(currency="EUR", hold=True)
    await add_buyers(connection, {id_: [(NOW - id_ * DAY, 100, "EUR", 0)] for id_ in range(1, 6)})
    await score_all(connection, held)
    before = await found_of(connection)
    assert [before[id_][0] for id_ in range(1, 6)] == [5, 4, 3, 2, 1]

    async def order_now(id_: int, at: datetime) -> None:
        await connection.execute("UPDATE profile SET last_order_at = $2 WHERE id = $1", id_, at)

    # Five was the last and is the first: noticed, not taken; then taken by all whom it moves.
    await order_now(5, NOW + DAY)
    await score_all(connection, held, NOW + DAY)
    assert await found_of(connection) == before
    await score_all(connection, held, NOW + 2 * DAY)
    after = await found_of(connection)
    assert [after[id_][0] for id_ in range(1, 6)] == [4, 3, 2, 1, 5] and {one[1:3] for one in after.values()} == {
        (3, 3)
    }
    # What is found once and not again changes nothing, and neither does what differs each time.
    await order_now(1, NOW + 3 * DAY)
    await score_all(connection, held, NOW + 3 * DAY)
    await order_now(1, NOW - DAY)
    await score_all(connection, held, NOW + 4 * DAY)
    assert await found_of(connection) == after
    assert await connection.fetchval("SELECT count(*) FROM rfm WHERE held <> 0") == 0


async def test_who_buys_no_more_loses_the_scores_and_who_is_scored_anew_is_looked_at(connection: Any) -> None:
    await add_buyers(connection, {id_: [(NOW - id_ * DAY, 100, "EUR", 0)] for id_ in range(1, 6)})
    await score_all(connection)
    assert await connection.fetchval("SELECT count(*) FROM person_changed") == 5
    await connection.execute("DELETE FROM person_changed")
    # All orders of three are cancelled: four and five go up, one and two may stay.
    await connection.execute("UPDATE profile SET last_order_at = NULL, orders = 0 WHERE id = 3")
    await connection.execute("UPDATE person_order SET is_counted = false WHERE profile = 3")
    await score_all(connection)
    found = await found_of(connection)
    assert {id_: one[0] for id_, one in found.items()} == {1: 5, 2: 4, 4: 2, 5: 1}
    marked = {row["profile"] for row in await connection.fetch("SELECT profile FROM person_changed")}
    assert 3 in marked and marked == {3}


async def test_a_version_goes_on_where_it_broke_off_and_a_newer_one_takes_its_place(connection: Any) -> None:
    await add_buyers(connection, {id_: [(NOW - id_ * DAY, 100, "EUR", 0)] for id_ in range(1, 256)})
    one = await rfm.begin(connection, EUR, NOW)
    for _ in range(100):
        assert (await rfm.step(connection, one.version, NOW))[1]
    two = await rfm.begin(connection, EUR, NOW + DAY)
    assert await rfm.step(connection, one.version, NOW) == (0, False)
    assert await rfm.newest(connection) == two
    more = True
    while more:
        more = (await rfm.step(connection, two.version, NOW + DAY))[1]
    assert len(await found_of(connection)) == 255
    assert await rfm.step(connection, two.version, NOW) == (0, False)


async def test_two_who_score_at_once_do_each_bucket_once(dsn: str, connection: Any) -> None:
    await add_buyers(connection, {id_: [(NOW - id_ * DAY, 100, "EUR", 0)] for id_ in range(1, 1001)})
    made = await rfm.begin(connection, EUR, NOW)
    other = await asyncpg.connect(dsn)

    async def work(opened: Any) -> int:
        changed, more = 0, True
        while more:
            some, more = await rfm.step(opened, made.version, NOW)
            changed += some
        return changed

    try:
        assert sum(await asyncio.gather(work(connection), work(other))) == 1000
    finally:
        await other.close()
