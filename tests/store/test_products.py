"""Who is recommended what, whose supply runs out, who waits for what is back, and which shop is near."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import asyncpg
import pytest

from gateway.person import Item, Who, hash_of
from gateway.product import Kind, Product, Shop
from gateway.store import products
from gateway.store.profiles import ingest

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
SEEDS = count(100)
# Of one bucket: a batch of the engine is of one.
PEOPLE = [number for number in range(447700900000, 447700902000) if hash_of(number) == hash_of(447700900000)][:4]
BUCKET = hash_of(PEOPLE[0])
FEED = [
    Product(id="cap", name="Cap", category="hats", price=1000, currency="GBP", related=("scarf", "gone")),
    Product(id="hat", name="Hat", category="hats", price=2000, currency="GBP"),
    Product(id="top", name="Top hat", category="hats", price=5000, currency="GBP"),
    Product(id="old", name="Old hat", category="hats", price=3000, currency="GBP", stock=0),
    Product(id="yen", name="Hat of Kyoto", category="hats", price=1500, currency="JPY"),
    Product(id="scarf", name="Scarf", category="scarves", price=1500, currency="GBP", new_since=NOW - DAY),
    Product(id="beret", name="Beret", category="hats", price=900, currency="GBP", new_since=NOW - 5 * DAY),
    Product(id="soon", name="Soon", category="hats", new_since=NOW + DAY),
    Product(id="coffee", name="Coffee", category="food", price=700, currency="GBP", supply_days=30),
]


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(dsn)
    await products.write(opened, FEED, NOW)
    yield opened
    await opened.close()


async def order(connection: Any, person: int, items: Sequence[Any], at: datetime, key: str = "items") -> None:
    lines = [{"product_id": one, "quantity": 1} if isinstance(one, str) else one for one in items]
    told = Item(who=Who(phone=person), name="order_placed", occurred_at=at, properties={"total": 5, key: lines})
    await ingest(connection, [told], NOW, Random(next(SEEDS)))


async def ids(connection: Any) -> list[int]:
    """The persons, in the order of PEOPLE; whoever is none is made."""
    await ingest(connection, [Item(who=Who(phone=one), name="visit") for one in PEOPLE], NOW, Random(5))
    rows = await connection.fetch("SELECT number, id FROM profile")
    found = {row["number"]: row["id"] for row in rows}
    return [found[one] for one in PEOPLE]


async def names(connection: Any, kind: Kind) -> list[str | None]:
    found = await products.recommend(connection, BUCKET, await ids(connection), kind, NOW)
    return [one.id if one else None for one in found]


async def pair(connection: Any) -> None:
    counted: Counter[tuple[str, str]] = Counter()
    for bucket in range(products.BUCKETS):
        counted.update(await products.pairs(connection, bucket, NOW))
    await products.write_pairs(connection, counted)


@pytest.mark.covers("S1.33", "S4.3", "S4.6")
async def test_s1_33_what_goes_with_the_last_order_is_recommended_and_never_what_was_just_bought(
    connection: Any,
) -> None:
    first, second, third, _ = PEOPLE
    for at in range(3):
        await order(connection, third, ["hat", "coffee"], NOW - (20 + at) * DAY)
    await order(connection, third, ["hat", "top"], NOW - 9 * DAY, key="line_items")
    await order(connection, first, ["coffee"], NOW - 3 * DAY)
    await order(connection, first, [{"sku": "hat", "quantity": "2"}, 7, {"quantity": 1}], NOW - 2 * DAY)
    await order(connection, second, ["cap", "not-of-the-feed"], NOW - 2 * DAY)
    await pair(connection)
    # Coffee was bought with a hat oftenest, and the first person had both; the third had all that goes with one.
    assert await names(connection, "together") == ["top", None, None, None]
    assert await names(connection, "rules") == [None, "scarf", None, None]
    # Of hats those that were bought most; one of no stock is none.
    assert await names(connection, "category") == ["cap", "hat", "cap", None]
    assert await names(connection, "best") == ["top", "scarf", "cap", None]


@pytest.mark.covers("S4.7")
async def test_s4_7_the_better_version_is_the_next_dearer_one_of_its_category_and_currency(connection: Any) -> None:
    for person, bought in zip(PEOPLE, ("cap", "hat", "top"), strict=False):
        await order(connection, person, [bought], NOW - DAY)
    assert await names(connection, "upsell") == ["hat", "top", None, None]


@pytest.mark.covers("S1.16")
async def test_s1_16_new_arrivals_are_of_the_category_that_somebody_bought_or_else_the_newest(connection: Any) -> None:
    await order(connection, PEOPLE[0], ["cap"], NOW - DAY)
    await order(connection, PEOPLE[1], ["scarf"], NOW - DAY)
    assert await names(connection, "new") == ["beret", "beret", "scarf", "scarf"]


async def test_pairs_are_those_of_one_order_counted_by_orders(connection: Any) -> None:
    await order(connection, PEOPLE[0], ["cap", "hat", "cap"], NOW - DAY)
    await order(connection, PEOPLE[1], ["cap", "hat"], NOW - 2 * DAY)
    await order(connection, PEOPLE[2], ["cap"], NOW - 3 * DAY)
    await order(connection, PEOPLE[2], ["hat", "cap"], NOW - 400 * DAY)
    for _ in range(2):
        await pair(connection)
    rows = await connection.fetch("SELECT product, other, orders FROM product_pair ORDER BY product")
    assert [tuple(row) for row in rows] == [("cap", "hat", 2), ("hat", "cap", 2)]
    assert await connection.fetchval("SELECT bought FROM product WHERE id = 'cap'") == 3


@pytest.mark.covers("S4.8")
async def test_s4_8_a_supply_runs_out_after_its_days_times_the_quantity_unless_it_was_bought_again(
    connection: Any,
) -> None:
    await order(connection, PEOPLE[0], ["coffee"], NOW - 30 * DAY)
    await order(connection, PEOPLE[1], [{"product_id": "coffee", "quantity": 2}], NOW - 60 * DAY)
    await order(connection, PEOPLE[2], ["coffee"], NOW - 30 * DAY)
    await order(connection, PEOPLE[2], ["coffee"], NOW - 3 * DAY, key="products")
    await order(connection, PEOPLE[3], [{"product_id": "coffee", "quantity": 2}], NOW - 30 * DAY)
    found = await products.due(connection, BUCKET, NOW - DAY, NOW)
    assert sorted(item.who.phone for item in found) == PEOPLE[:2]
    assert {item.occurred_at for item in found} == {NOW}
    assert found[0].properties == {"product": "coffee", "name": "Coffee", "url": ""}
    assert await products.due(connection, BUCKET, NOW, NOW + DAY) == []


@pytest.mark.covers("S4.17")
async def test_s4_17_who_asked_for_what_is_back_is_told_once_a_product_and_nobody_else(connection: Any) -> None:
    def asks(person: int, product: str, at: datetime) -> Item:
        name = "stock_alert_requested"
        return Item(who=Who(phone=person), name=name, occurred_at=at, properties={"product_id": product})

    asked = [asks(PEOPLE[0], "old", NOW - at * DAY) for at in (1, 2)]
    asked += [asks(PEOPLE[1], "cap", NOW - DAY), asks(PEOPLE[2], "old", NOW + DAY), asks(PEOPLE[3], "old", NOW - DAY)]
    await ingest(connection, asked, NOW + 2 * DAY, Random(1))
    # A feed that has it again, and one that had it before.
    back = [Product(id="old", name="Old hat", stock=3), Product(id="hat", name="Hat", stock=3)]
    await products.write(connection, back, NOW)
    found = await products.restocked(connection, NOW - DAY, NOW)
    assert [one["id"] for one in found] == ["old"]
    items = await products.waiting(connection, BUCKET, found[0])
    assert sorted(item.who.phone for item in items) == [PEOPLE[0], PEOPLE[3]]
    await ingest(connection, items, NOW, Random(2))
    assert await products.waiting(connection, BUCKET, found[0]) == []
    # It goes and comes once more: only who asked since then is told.
    assert await products.restock(connection, "old", NOW + 2 * DAY)
    later = await products.restocked(connection, NOW, NOW + 3 * DAY)
    assert [item.who.phone for item in await products.waiting(connection, BUCKET, later[0])] == [PEOPLE[2]]
    assert not await products.restock(connection, "nothing", NOW)


@pytest.mark.covers("S0.17")
async def test_s0_17_the_shop_is_the_nearest_and_the_default_where_no_place_is_known(connection: Any) -> None:
    await ids(connection)
    people = await ids(connection)
    assert await products.nearest(connection, BUCKET, people) == [None] * 4
    places = ({"lat": 53.79, "lon": -1.54}, {"lat": "51.5", "lon": "-0.1"}, {"lat": 200, "lon": "east"})
    told = [Item(who=Who(phone=one), attributes={"location": at}) for one, at in zip(PEOPLE, places, strict=False)]
    await ingest(connection, told, NOW, Random(7))
    shops = [
        Shop(id="leeds", name="Leeds", lat=53.8, lon=-1.55),
        Shop(id="london", name="London", lat=51.51, lon=-0.13),
        Shop(id="york", name="York", lat=53.96, lon=-1.08, is_default=True),
    ]
    await products.write_shops(connection, shops)
    found = await products.nearest(connection, BUCKET, people)
    assert [one.id if one else None for one in found] == ["leeds", "london", "york", "york"]
