"""Audiences kept by name, counted, listed, and frozen into lists that a run is made of.

    keep ─► find, kept ─► compile (audiences.py) ─► estimate ─► count, members, freeze

A frozen list is the snapshot of SG-6: each number once, however many people share it and whatever audiences they are in
(TH-9). Not here: what a tree may say (campaign/audience.py), the statements of trees (audiences.py).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from gateway import predicate
from gateway.errors import OrderFault
from gateway.predicate import Predicate
from gateway.store import audiences, people
from gateway.store.audiences import Compiled, Terms
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection, deadline
from gateway.store.shares import Buckets, Opener, in_shares

# What lists that an audience was frozen into say of their source begins so.
FROZEN = "audience as of "
STATEMENT_DEADLINE_S = 10.0
SET_DEADLINE_S = 600.0
# What the planner reckons a look through all of some hundred million people and their events to cost; beyond, a person
# has to ask for less (SG-12). Five million with twice as many events are about 400,000.
MOST_COST = 50_000_000.0
# From here on a second connection is worth its opening: some hundred thousand people, half a second.
WORTH_SHARING = 30_000.0
# Hashes that the caches of a core have room for: with 128 MB sums of events and joins of millions took a third more
# CPU, though nothing of them was written to disk. The planner takes a comparison of JSON for one that hardly anybody
# passes, and would look up a million people one by one (2.3 times as long as by hash). Both measured 2026-11.
SET_WISE = ("SET LOCAL work_mem = '4MB'", "SET LOCAL enable_nestloop = off")

_KEEP = """
INSERT INTO audience (name, text, tree, zone, created_at, updated_at)
VALUES ($1::text, $2::text, $3::text::jsonb, $4::text, $5::timestamptz, $5::timestamptz)
ON CONFLICT (name) DO UPDATE
SET text = excluded.text, tree = excluded.tree, zone = excluded.zone, updated_at = excluded.updated_at,
    version = audience.version
              + CASE WHEN (audience.tree, audience.zone) = (excluded.tree, excluded.zone) THEN 0 ELSE 1 END
RETURNING id, name, text, tree::text AS tree, zone, version, is_watched
"""
_KEPT = "SELECT id, name, text, tree::text AS tree, zone, version, is_watched FROM audience ORDER BY name"
_FORGET = "DELETE FROM audience WHERE name = $1::text AND NOT is_watched AND watch IS NULL"
_ATTRIBUTES = "SELECT name, kind FROM attribute_kind"
_PROPERTIES = "SELECT event, name, kind FROM event_property_kind"
# What a freeze that was cut off has left is no list yet.
_LISTS = "SELECT name FROM contact_list WHERE NOT (state = 'loading' AND starts_with(source_name, $1::text))"
_MAKE_SALT = "INSERT INTO audience_salt (id, salt) VALUES (1, $1::text) ON CONFLICT (id) DO NOTHING"
# Numbers that several people have.
_SHARED = (
    "SELECT bucket, number FROM profile WHERE bucket BETWEEN 0 AND 255 AND number IS NOT NULL "
    "GROUP BY bucket, number HAVING count(*) > 1 LIMIT $1::bigint"
)
_EMPTY = "DELETE FROM list_entry WHERE list = $1::bigint AND bucket BETWEEN 0 AND 255"
_SALT = "SELECT salt FROM audience_salt WHERE id = 1"

# So many shared numbers are looked up one by one; of more everybody is looked at once more.
MOST_SHARED = 50_000


class Audience(Struct, frozen=True, kw_only=True):
    """An audience that has a name; version rises when its meaning changes. is_watched: who is in it is kept."""

    id: int
    name: str
    text: str
    tree: Predicate
    zone: str
    version: int
    is_watched: bool


class Known(Struct, frozen=True, kw_only=True):
    """The names in use, for checks: attributes and properties of events with their types, lists."""

    attributes: Mapping[str, str]
    properties: Mapping[str, Mapping[str, str]]
    lists: frozenset[str]


class Counted(Struct, frozen=True, kw_only=True):
    """How many people an audience has, how many of them have a number, and how many numbers those are, where asked."""

    people: int
    with_number: int
    numbers: int | None = None


def _audience(row: Mapping[str, Any]) -> Audience:
    values = dict(row)
    return Audience(tree=predicate.decode(values.pop("tree")), **values)


async def keep(connection: Connection, name: str, text: str, tree: Predicate, zone: str, now: datetime) -> Audience:
    """Keep an audience by its name, or change the one that has it."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "keep audience"):
        row = await connection.fetchrow(_KEEP, name, text, predicate.encode(tree), zone, now)
    if row is None:
        raise OrderFault(f"audience {name!r}: not kept")
    return _audience(row)


async def kept(connection: Connection) -> dict[str, Audience]:
    """Read every audience, by its name."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "audiences"):
        rows = await connection.fetch(_KEPT)
    return {row["name"]: _audience(row) for row in rows}


async def forget(connection: Connection, name: str) -> bool:
    """Drop an audience; -> whether there was one that nobody's membership is kept of any more."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "forget audience"):
        return bool(await connection.execute(_FORGET, name) == "DELETE 1")


async def known(connection: Connection) -> Known:
    """Read the names that audiences may use."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "names in use"):
        attributes = {row["name"]: row["kind"] for row in await connection.fetch(_ATTRIBUTES)}
        properties: dict[str, dict[str, str]] = {}
        for row in await connection.fetch(_PROPERTIES):
            of_event = properties.setdefault(row["event"], {})
            if row["name"]:
                of_event[row["name"]] = row["kind"]
        lists = frozenset(row["name"] for row in await connection.fetch(_LISTS, FROZEN))
    return Known(attributes=attributes, properties=properties, lists=lists)


async def salt(connection: Connection, fresh: str) -> str:
    """Read what random buckets are drawn with. fresh: taken where there is none yet, and then for ever (SG-8)."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "salt of buckets"):
        await connection.execute(_MAKE_SALT, fresh)
        return str(await connection.fetchval(_SALT))


async def estimate(connection: Connection, tree: Predicate, terms: Terms) -> float:
    """Ask the planner what it costs to look for everybody, in its own unit.

    raises  StoreError: it is more than anybody should wait for (SG-12); nothing was looked for
    """
    compiled = audiences.compile(tree, terms)
    async with deadline(connection, STATEMENT_DEADLINE_S, "estimate"):
        plan = await connection.fetchval(
            f"EXPLAIN (FORMAT JSON) {compiled.select('p.bucket, p.number')}", *compiled.parameters
        )
    cost = float(msgspec.json.decode(plan)[0]["Plan"]["Total Cost"])
    if cost > MOST_COST:
        raise OrderFault(
            f"audience: expected one that the planner reckons below {MOST_COST:,.0f}, found {cost:,.0f}: "
            "ask for fewer events, or of a shorter time"
        )
    return cost


async def count(connection: Connection, tree: Predicate, terms: Terms, *, by_number: bool = False) -> Counted:
    """Count everybody.

    People are counted one by one, by all processes that Postgres has for it: a sum by number would be a row a person in
    the memory of one of them. What is too much by then are numbers that several of them share, who are few.

    raises  StoreError as `estimate` does
    cost    a scan of all people, and of the events that are asked for; by_number: one of the index of numbers too
            (benchmarks/bench_audience.py)
    """
    await estimate(connection, tree, terms)
    compiled = audiences.compile(tree, terms)
    sql = compiled.select("count(*) AS people, count(p.number) AS with_number")
    # One snapshot, or a number that comes to be shared meanwhile is taken off without having been counted twice.
    async with (
        deadline(connection, SET_DEADLINE_S, "count audience"),
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        for setting in SET_WISE:
            await connection.execute(setting)
        # All rows, though there is one: fetchrow asks for the first, and where so many are asked for Postgres starts no
        # other processes.
        [row] = await connection.fetch(sql, *compiled.parameters, timeout=SET_DEADLINE_S)
        numbers: int | None = row["with_number"] if by_number else None
        if numbers is not None and numbers > 1:
            numbers -= (await surplus_of(connection, tree, terms)).total()
    return Counted(people=row["people"], with_number=row["with_number"], numbers=numbers)


async def surplus_of(
    connection: Connection,
    tree: Predicate,
    terms: Terms,
    parted: Callable[[Compiled], tuple[Compiled, str]] = lambda compiled: (compiled, "NULL::int"),
) -> Counter[int | None]:
    """Count those of an audience who have a number that another one of it has: all but one of each number.

    parted  adds what a number is counted by, the same for all who share it
    In a transaction with SET_WISE, which it leaves so.
    """
    # In the order of the index: what is next to each other is compared, and nothing kept.
    await connection.execute("SET LOCAL enable_hashagg = off")
    shared = await connection.fetch(_SHARED, MOST_SHARED + 1, timeout=SET_DEADLINE_S)
    await connection.execute("SET LOCAL enable_hashagg = on")
    if not shared:
        return Counter()
    if len(shared) > MOST_SHARED:
        compiled, part = parted(audiences.compile(tree, terms))
        asked = "p.number IS NOT NULL AND "
    else:
        await connection.execute("SET LOCAL enable_nestloop = on")
        given = [[row["bucket"] for row in shared], [row["number"] for row in shared]]
        compiled, part = parted(audiences.compile(tree, terms, parameters=given, by_person=True))
        asked = (
            "(p.bucket, p.number) IN (SELECT u.bucket, u.number "
            "FROM unnest($1::int[], $2::bigint[]) AS u (bucket, number)) AND "
        )
    each = f"{compiled.select(f'p.bucket, p.number, {part} AS part, count(*) AS n', asked)} GROUP BY 1, 2, 3"
    rows = await connection.fetch(
        f"SELECT part, sum(n - 1)::bigint AS surplus FROM ({each}) found WHERE n > 1 GROUP BY part",
        *compiled.parameters,
        timeout=SET_DEADLINE_S,
    )
    await connection.execute("SET LOCAL enable_nestloop = off")
    return Counter({row["part"]: row["surplus"] for row in rows})


async def members(connection: Connection, tree: Predicate, terms: Terms, limit: int) -> list[tuple[int, int | None]]:
    """Name some people of an audience: profile and number."""
    compiled = audiences.compile(tree, terms, parameters=[limit])
    async with deadline(connection, SET_DEADLINE_S, "members of audience"):
        rows = await connection.fetch(f"{compiled.select('p.id, p.number')} LIMIT $1::bigint", *compiled.parameters)
    return [(row["id"], row["number"]) for row in rows]


async def freeze(
    connection: Connection,
    tree: Predicate,
    terms: Terms,
    list_id: int,
    fields: Sequence[str] | None = None,
    *,
    beside: Opener | None = None,
) -> int:
    """Write the numbers of an audience into a list, each once; -> how many were new there.

    fields  the attributes that a template needs; None: all. Of people who share a number those of the oldest
    beside  opens one more connection, so that two processes share a large audience; taken for an empty list alone
    raises  StoreError as `estimate` does
    cost    a transaction, or two of which a kill may leave one: the list has to be `loading` until this has ended, and
            is emptied (`empty`) before it is frozen once more
    """
    cost = await estimate(connection, tree, terms)
    if cost < WORTH_SHARING or (beside is not None and await people.has_entries(connection, list_id)):
        beside = None

    async def write(one: Connection, buckets: Buckets) -> int:
        sql, parameters = entries(tree, terms, list_id, fields, buckets)
        return await write_set(one, sql, *parameters)

    return await in_shares(
        connection, beside, SET_DEADLINE_S, "freeze audience", write, lambda one: empty(one, list_id)
    )


def entries(
    tree: Predicate,
    terms: Terms,
    list_id: int,
    fields: Sequence[str] | None,
    buckets: Buckets,
    narrow: Callable[[Compiled], tuple[Compiled, str]] = lambda compiled: (compiled, ""),
) -> tuple[str, list[Any]]:
    """Write the statement that puts the numbers of some buckets into a list; -> it and its parameters.

    narrow  adds conditions, which end in AND
    """
    parameters: list[Any] = [list_id]
    attributes = "p.attributes"
    if fields is not None:
        attributes, more_parameters = attributes_of(fields, 2)
        parameters += more_parameters
    compiled, more = narrow(audiences.compile(tree, terms, parameters=parameters, buckets=buckets_or_all(buckets)))
    # In the order of the key: neighbours are written side by side, and which of two wins is always the same.
    chosen = compiled.select(f"p.bucket, $1::bigint, p.number, {attributes}", f"p.number IS NOT NULL AND {more}")
    return (
        f"INSERT INTO list_entry (bucket, list, number, attributes) {chosen} "
        "ORDER BY p.bucket, p.number, p.id ON CONFLICT (bucket, list, number) DO NOTHING",
        compiled.parameters,
    )


def attributes_of(fields: Sequence[str], first: int) -> tuple[str, list[Any]]:
    """Write the object of what a template needs of a person; -> it and its parameters, from $first on.

    A name is that of an attribute, or a way into one with dots, or of what every person has: language, orders …
    """
    pairs = []
    for at, field in enumerate(fields, first):
        value = f"p.attributes -> ${at}::text"
        if "." in field:
            value = f"coalesce({value}, p.attributes #> string_to_array(${at}::text, '.'))"
        if field in audiences.COLUMNS:
            value = f"coalesce({value}, to_jsonb({audiences.COLUMNS[field]}))"
        pairs.append(f"${at}::text, {value}")
    return f"jsonb_strip_nulls(jsonb_build_object({', '.join(pairs)}))", list(fields)


def buckets_or_all(buckets: Buckets) -> Buckets | None:
    """Say nothing of buckets where all are meant."""
    return None if buckets == (0, BUCKETS - 1) else buckets


async def write_set(connection: Connection, sql: str, *parameters: Any) -> int:
    """Carry a statement out for all people that it is for; -> rows."""
    async with deadline(connection, SET_DEADLINE_S, "freeze audience"):
        for setting in SET_WISE:
            await connection.execute(setting)
        tag = await connection.execute(sql, *parameters, timeout=SET_DEADLINE_S)
    return int(tag.rsplit(" ", 1)[1])


async def empty(connection: Connection, list_id: int) -> None:
    """Take everything out of a list that was never ready."""
    async with deadline(connection, SET_DEADLINE_S, "empty list"):
        await connection.execute(_EMPTY, list_id, timeout=SET_DEADLINE_S)
