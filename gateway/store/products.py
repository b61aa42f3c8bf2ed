"""Products, what goes with them, and who is to be told of one. Statements: sql/products.sql.

    recommend     what somebody bought ─► what goes with that, by a kind ─► the best that they never bought
    pair          of a year's orders: what is bought with what, and how often; once a night, bucket by bucket
    due, waiting  whose supply runs out (S4.8), who waits for what is back (S4.17): told as events of theirs
    nearest       the shop next to where somebody is, or the default (S0.17)

A recommendation is never of what somebody bought before, of what has no stock, or of what is not in the feed (S1.33).
Not here: reading feeds (gateway.contacts.feeds), when it is done (automation/shop.py).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from gateway.person import OUR_SOURCE, Item, Who
from gateway.product import REPLENISH, RESTOCKED, Kind, Product, Shop
from gateway.store.postgres import Connection
from gateway.store.queries import query

BUCKETS = 256
# Of a category, before what somebody has is taken away.
MOST_LIKE = 50
NEW_FOR = timedelta(days=60)
PAIRED = timedelta(days=365)
PAIRS_A_PRODUCT = 20
WAITED = timedelta(days=400)
A_STEP = 5000
EARTH_KM = 6371.0088
_CANDIDATES: Mapping[str, tuple[str, bool]] = {
    "rules": ("going_by_rules", False),
    "together": ("going_together", False),
    "category": ("going_by_category", True),
    "upsell": ("going_dearer", True),
}
BEST: tuple[Kind, ...] = ("rules", "together", "category")


async def write(connection: Connection, products: Sequence[Product], now: datetime) -> None:
    """Write products of a feed, each id once; one that had no stock and has some now is back."""
    await connection.execute(
        query("write_products"), [one.id for one in products], [one.name for one in products],
        [one.category for one in products], [one.price for one in products], [one.currency for one in products],
        [one.url for one in products], [one.supply_days for one in products],
        [" ".join(one.related) for one in products], [one.stock for one in products],
        [one.new_since for one in products], now,
    )  # fmt: skip


async def restock(connection: Connection, product: str, now: datetime) -> bool:
    """Say that a product is to be had again; -> False: there is no such product."""
    return await connection.fetchval(query("restock_product"), product, now) is not None


async def read(connection: Connection, ids: Sequence[str]) -> dict[str, Product]:
    """Read products by their ids; what is none is missing."""
    rows = await connection.fetch(query("products"), list(ids))
    return {row["id"]: Product(**{**dict(row), "related": tuple(row["related"])}) for row in rows}


async def has_any(connection: Connection) -> bool:
    """Say whether there is a feed."""
    return bool(await connection.fetchval(query("has_products")))


# -- recommendations ---------------------------------------------------------------------------------------------------


async def recommend(
    connection: Connection, bucket: int, profiles: Sequence[int], kind: Kind, now: datetime
) -> list[Product | None]:
    """Recommend a product to each of some hundred persons of a bucket; None: there is none.

    cost  three statements, whatever the number of persons
    """
    had: dict[int, set[str]] = {one: set() for one in profiles}
    last: dict[int, list[str]] = {one: [] for one in profiles}
    for row in await connection.fetch(query("bought_by"), bucket, list(profiles), now):
        had[row["profile"]].add(row["product"])
        if row["is_last"]:
            last[row["profile"]].append(row["product"])
    found: dict[int, str] = {}
    if kind == "new":
        found = await _new(connection, had, last, now)
    else:
        for one in BEST if kind == "best" else (kind,):
            left = {profile: of for profile, of in last.items() if of and profile not in found}
            if left:
                found |= await _going(connection, one, left, had)
    known = await read(connection, sorted(set(found.values())))
    return [known.get(found.get(profile, "")) for profile in profiles]


async def _going(
    connection: Connection, kind: Kind, last: Mapping[int, Sequence[str]], had: Mapping[int, set[str]]
) -> dict[int, str]:
    """Choose what goes with the last order of each: of what goes with several lines of it the scores are added."""
    name, is_limited = _CANDIDATES[kind]
    asked = sorted({product for of in last.values() for product in of})
    rows = await connection.fetch(query(name), asked, *([MOST_LIKE] if is_limited else []))
    going: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        going.setdefault(row["of"], []).append((row["other"], row["score"]))
    found = {}
    for profile, products in last.items():
        scores: dict[str, float] = {}
        for product in products:
            for other, score in going.get(product, ()):
                if other in had[profile]:
                    continue
                if kind == "together":
                    scores[other] = scores.get(other, 0.0) + score
                else:
                    scores[other] = min(score, scores.get(other, score))
        if scores:
            found[profile] = min(scores, key=lambda other: (scores[other], other))
    return found


async def _new(
    connection: Connection, had: Mapping[int, set[str]], last: Mapping[int, Sequence[str]], now: datetime
) -> dict[int, str]:
    """Choose the newest product for each, of a category that they bought last where there is one (S1.16)."""
    rows = [tuple(row) for row in await connection.fetch(query("newest_products"), now - NEW_FOR, now, 10 * MOST_LIKE)]
    bought = await read(connection, sorted({product for of in last.values() for product in of})) if rows else {}
    found = {}
    for profile, of in last.items():
        liked = {bought[product].category for product in of if product in bought} - {""}
        fresh = [row for row in rows if row[0] not in had[profile]]
        if fresh:
            found[profile] = next((id_ for id_, category in fresh if category in liked), fresh[0][0])
    return found


async def pairs(connection: Connection, bucket: int, now: datetime) -> Counter[tuple[str, str]]:
    """Count of a bucket what was bought in one order with what; beside itself: how often at all."""
    rows = await connection.fetch(query("pairs_of_bucket"), bucket, now - PAIRED, now)
    return Counter({(row["product"], row["other"]): row["orders"] for row in rows})


async def write_pairs(connection: Connection, counted: Counter[tuple[str, str]]) -> int:
    """Write what is bought together, the most frequent of each product; -> how many pairs. One transaction."""
    by_product: dict[str, list[tuple[int, str]]] = {}
    for (product, other), orders in counted.items():
        if product != other:
            by_product.setdefault(product, []).append((-orders, other))
    rows = [
        (product, other, -orders)
        for product, others in sorted(by_product.items())
        for orders, other in sorted(others)[:PAIRS_A_PRODUCT]
    ]
    bought = sorted((product, orders) for (product, other), orders in counted.items() if product == other)
    async with connection.transaction():
        await connection.execute(query("clear_pairs"))
        for start in range(0, len(rows), A_STEP):
            await connection.execute(query("write_pairs"), *map(list, zip(*rows[start : start + A_STEP], strict=True)))
        for start in range(0, len(bought), A_STEP):
            some = bought[start : start + A_STEP]
            await connection.execute(query("write_bought"), *map(list, zip(*some, strict=True)))
    return len(rows)


# -- who is to be told -------------------------------------------------------------------------------------------------


async def due(connection: Connection, bucket: int, since: datetime, until: datetime) -> list[Item]:
    """Find whose supply of a product runs out between two moments, as events of theirs (S4.8)."""
    rows = await connection.fetch(query("replenishments_due"), bucket, since, until)
    return [
        Item(
            who=who, source=OUR_SOURCE, event_id=f"{REPLENISH}:{row['id']}:{row['product']}", name=REPLENISH,
            occurred_at=row["due_at"], is_ours=True,
            properties={"product": row["product"], "name": row["name"], "url": row["url"]},
        )
        for row in rows if (who := _who(row)) is not None
    ]  # fmt: skip


async def restocked(connection: Connection, since: datetime, until: datetime) -> list[Mapping[str, Any]]:
    """Read what came back: id, name, url, restocked_at."""
    return [dict(row) for row in await connection.fetch(query("restocked"), since, until)]


async def waiting(connection: Connection, bucket: int, product: Mapping[str, Any]) -> list[Item]:
    """Find who waits for a product that is back, as events of theirs: one a person and product (S4.17)."""
    at = product["restocked_at"]
    rows = await connection.fetch(query("waiting_for"), bucket, product["id"], at - WAITED, at)
    return [
        Item(
            who=who, source=OUR_SOURCE, event_id=f"{RESTOCKED}:{row['id']}:{product['id']}", name=RESTOCKED,
            occurred_at=at, is_ours=True,
            properties={"product": product["id"], "name": product["name"], "url": product["url"]},
        )
        for row in rows if (who := _who(row)) is not None
    ]  # fmt: skip


def _who(row: Mapping[str, Any]) -> Who | None:
    """A name of a person that is theirs alone, or their number; None: a device nobody can write to."""
    if row["external_id"]:
        return Who(external_id=row["external_id"])
    if row["email"]:
        return Who(email=row["email"])
    return Who(phone=row["number"]) if row["number"] else None


# -- shops -------------------------------------------------------------------------------------------------------------


async def write_shops(connection: Connection, shops: Sequence[Shop]) -> None:
    """Write shops, each id once."""
    await connection.execute(
        query("write_shops"), [one.id for one in shops], [one.name for one in shops], [one.lat for one in shops],
        [one.lon for one in shops], [one.address for one in shops], [one.url for one in shops],
        [one.is_default for one in shops],
    )  # fmt: skip


async def nearest(connection: Connection, bucket: int, profiles: Sequence[int]) -> list[Shop | None]:
    """Name the shop next to each of some persons of a bucket, by their attribute `location` (lat, lon).

    The default where no place is known; None: there is no default, or no shop.
    """
    shops = [Shop(**dict(row)) for row in await connection.fetch(query("shops"))]
    default = next((one for one in shops if one.is_default), None)
    places = {}
    for row in await connection.fetch(query("places_of"), bucket, list(profiles)):
        place = _degrees(row["lat"], 90.0), _degrees(row["lon"], 180.0)
        if place[0] is not None and place[1] is not None:
            places[row["id"]] = place[0], place[1]
    return [
        min(shops, key=lambda shop: (_far(place, shop), shop.id)) if shops and place is not None else default
        for place in map(places.get, profiles)
    ]


def _degrees(text: str | None, most: float) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if abs(found) <= most else None


def _far(place: tuple[float, float], shop: Shop) -> float:
    """Kilometres over the sphere (haversine)."""
    lat, lon, to_lat, to_lon = map(math.radians, (*place, shop.lat, shop.lon))
    half = math.sin((to_lat - lat) / 2) ** 2 + math.cos(lat) * math.cos(to_lat) * math.sin((to_lon - lon) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))
