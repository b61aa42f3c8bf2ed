"""What is told of persons, taken in: once, whoever tells it, in whatever order (EV-1 to EV-9). sql/profiles.sql.

    ingest     what was not taken before ─► who it is (identities.py) ─► attributes ─► events ─► what follows from them
                                                                                     (aggregates.py) ─► COMMIT

One batch is one transaction: after a crash it is there as a whole or not at all, and telling it once more changes
nothing. Two batches that concern the same persons go one after the other, the persons held in their order; a batch that
finds somebody made meanwhile begins anew. A person with a million events costs no more than one with three.
Not here: reading files (gateway.contacts.events), who acts on it (person_changed says who has changed).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import TypeAlias

import asyncpg
from asyncpg.pgproto.pgproto import UUID  # of the compiled half: made of octets in a tenth of what uuid's takes
from msgspec import Struct

from _fastpath import eventrows
from _fastpath.eventrows import digest, microseconds
from gateway.coupon import codes_told
from gateway.errors import StoreError
from gateway.person import (
    CLAMPED,
    CLICKED,
    COUPON_REDEEMED,
    EPOCH,
    FUTURE,
    HISTORICAL,
    LATE,
    LATE_AFTER,
    ORDER_EVENTS,
    OUR_SOURCE,
    OURS,
    REPLIED,
    SESSION_ENDED,
    SESSION_TIMEOUT,
    UTM,
    Item,
    body_of,
    fingerprint,
    hash_of,
    json_of,
    kind_of,
    order_key,
)
from gateway.store import aggregates, causes, coupons, identities
from gateway.store.aggregates import Tally
from gateway.store.columns import ints, texts
from gateway.store.identities import Again, NextId, Person
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

BATCH_DEADLINE_S = 60.0
TRIES = 20
# Ids count milliseconds from here on, and 4 million within each.
FIRST_MS = 1_577_836_800_000  # 2020
ID_BITS = 22
# Whoever invents names without end fills no table with them.
MOST_KINDS = 20_000
FUTURE_US, LATE_AFTER_US, SESSION_TIMEOUT_US = (
    one // timedelta(microseconds=1) for one in (FUTURE, LATE_AFTER, SESSION_TIMEOUT)
)
# Of these follows more than that a person was here.
LOUD = ORDER_EVENTS | {SESSION_ENDED, CLICKED, REPLIED, COUPON_REDEEMED}

Row: TypeAlias = tuple[int, int, int, int, int, str, str, str, bytes]
"""An event: bucket, flags, profile, id, when in microseconds, source, event_id, name, properties as JSON."""
Totals: TypeAlias = dict[tuple[int, int, str], list[int]]
"""(bucket, profile, name) -> how many, and the first and the last in microseconds."""


class Ingested(Struct, kw_only=True):
    """What came of a batch. `is_duplicate` says of each item whether it was taken before; conflicts of those said
    something else then (EV-1), disputed names were another person's and stayed so (EV-7)."""

    events: int = 0
    duplicates: int = 0
    conflicts: int = 0
    persons: int = 0
    created: int = 0
    merged: int = 0
    disputed: int = 0
    is_duplicate: list[bool] = []


class Kinds:
    """What attributes and properties are called, of one database; asked for once and kept."""

    def __init__(self) -> None:
        self._known: set[tuple[str, str]] | None = None
        # Events with all their properties, of which nothing is new.
        self._shapes: set[tuple[str, ...]] = set()

    async def learn(self, connection: Connection, items: Iterable[Item], now: datetime) -> None:
        """Keep the kinds of what is new among the items, in a transaction of its own."""
        if self._known is None:
            rows = await connection.fetch(query("property_kinds"))
            self._known = {(row["event"], row["name"]) for row in rows}
            # An attribute stands beside them as one of an event without a name.
            self._known |= {("", row["name"]) for row in await connection.fetch(query("attribute_kinds"))}
        known = self._known
        new: dict[tuple[str, str], str] = {}
        shapes = []
        for item in items:
            shape = (item.name, *item.properties)
            if not item.attributes and shape in self._shapes:
                continue
            if None not in item.properties.values():
                shapes.append(shape)
            for name in item.attributes:
                if ("", name) not in known and item.attributes[name] is not None:
                    new.setdefault(("", name), kind_of(item.attributes[name]))
            if item.name and (item.name, "") not in known:
                # So that an event that has no properties is known by its name.
                new.setdefault((item.name, ""), "object")
            for name in item.properties:
                if (item.name, name) not in known and item.properties[name] is not None:
                    new.setdefault((item.name, name), kind_of(item.properties[name]))
        if len(known) + len(new) > MOST_KINDS:
            return
        attributes = sorted((name, kind) for (event, name), kind in new.items() if not event)
        properties = sorted((*key, kind) for key, kind in new.items() if key[0])
        if attributes:
            await connection.execute(query("add_attribute_kinds"), *map(list, zip(*attributes, strict=True)), now)
        if properties:
            await connection.execute(query("add_property_kinds"), *map(list, zip(*properties, strict=True)), now)
        known |= new.keys()
        if len(self._shapes) + len(shapes) <= MOST_KINDS:
            self._shapes.update(shapes)


async def ingest(
    connection: Connection,
    items: Sequence[Item],
    now: datetime,
    chance: Random,
    kinds: Kinds | None = None,
    *,
    is_alone: bool = False,
    fires: bool | None = None,
) -> Ingested:
    """Take in a batch of a few hundred to a few thousand items, in their order; begins and ends its own transaction.

    kinds     kept by who calls often
    is_alone  nobody else is likely to make the same persons now: it takes turns only if somebody did
    fires     who enters or leaves watched audiences by it starts something; None: unless it is of history (EV-3)
    raises    StoreError, retryable: nothing of the batch is there, or all of it (tell it once more to find out)
    cost      benchmarks/bench_ingest.py
    """
    async with deadline(connection, BATCH_DEADLINE_S, "ingest"):
        await (kinds or Kinds()).learn(connection, items, now)
        for tried in range(TRIES):
            try:
                async with connection.transaction():
                    await connection.execute(query("look_by_index"))
                    return await _ingest(
                        connection, items, now, chance, fires, takes_turns=tried > 0 or not is_alone,
                        is_early=tried == 0,
                    )  # fmt: skip
            except (Again, asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                continue
    raise StoreError(f"ingest: others took the same persons {TRIES} times in a row", retryable=True)


async def _ingest(
    connection: Connection,
    items: Sequence[Item],
    now: datetime,
    chance: Random,
    fires: bool | None,
    *,
    takes_turns: bool,
    is_early: bool,
) -> Ingested:
    done = Ingested()
    fresh = await _fresh(connection, items, now, done)
    if not fresh:
        return done
    told = [one[0] for one in fresh]
    # Each event has an id by its place, whenever it is written.
    event_ids = first_id(now, chance)
    looked = await identities.look(connection, told, takes_turns=takes_turns)
    places = identities.sure(told, looked)
    now_us = microseconds(now)
    rows: list[Row | None] = [None] * len(fresh)
    if is_early:
        # Before the persons are held: who wants the same ones waits the shorter. Where one has become another meanwhile
        # nothing of this stays.
        for at, place in enumerate(places):
            if place is not None and told[at].name:
                rows[at] = _row(*place, event_ids + at, *fresh[at], now_us)
        await _copy(connection, [row for row in rows if row is not None], now_us)
    is_quiet = not fires if fires is not None else any(item.historical for item in told)
    found = await identities.held(connection, looked, now, is_quiet=is_quiet)
    resolved = await identities.persons_of(connection, told, places, found, now, person_ids(now, chance))
    if is_quiet and fires is None:
        some = zip(resolved.persons, told, strict=True)
        live = {(one.bucket, one.id) for one, item in some if not item.historical}
        if live:
            of = sorted(live)
            await connection.execute(query("wake_persons"), ints(one for one, _ in of), ints(one for _, one in of))
    done.created, done.merged, done.disputed = resolved.created, resolved.merged, resolved.conflicts
    done.persons = len(set(resolved.persons))
    await _tell_attributes(connection, told, resolved.persons, event_ids, now)
    totals: Totals = {}
    late: list[Row] = []
    # Of whom nothing but their session is carried on, and until when; and of whom all has to be looked at.
    quiet: dict[Person, int] = {}
    loud: dict[Person, Tally] = {}
    for at, person in enumerate(resolved.persons):
        item, properties = fresh[at]
        name = item.name
        if not name:
            continue
        row = rows[at]
        if row is None:
            row = rows[at] = _row(person.bucket, person.id, event_ids + at, item, properties, now_us)
            late.append(row)
        flags, at_us = row[1], row[4]
        done.events += 1
        _count(totals, person.bucket, person.id, name, at_us)
        if person in loud:
            continue
        session_us = person.session_us
        if (
            flags
            or name in LOUD
            or session_us is None
            or not session_us <= at_us <= session_us + SESSION_TIMEOUT_US
            or not item.properties.keys().isdisjoint(UTM)
        ):
            loud[person] = Tally(person)
        elif at_us > quiet.get(person, session_us):
            quiet[person] = at_us
    if loud:
        await _tell_coupons(connection, rows, told)
        tallies: dict[Person, Tally] = {}
        for row, person, item in zip(rows, resolved.persons, told, strict=True):
            tally = loud.get(person)
            if tally is not None and row is not None:
                # In the order of their first events, whatever made them loud.
                tallies[person] = tally
                quiet.pop(person, None)
                when = now if item.occurred_at is None or row[1] & CLAMPED else item.occurred_at
                tally.add(row[7], when, row[3], row[1], item.properties, row[6])
        loud = tallies
        id_ = event_ids + len(items)
        for tally, end in await aggregates.carry_sessions(connection, loud.values()):
            person = tally.person
            late.append(session_end(person.bucket, person.id, id_, end))
            _count(totals, person.bucket, person.id, SESSION_ENDED, microseconds(end))
            done.events += 1
            id_ += 1
    await _copy(connection, late, now_us)
    if totals:
        await _add_totals(connection, totals)
        await aggregates.go_on(connection, quiet, now)
        await aggregates.write(connection, list(loud.values()), now)
    return done


async def _tell_coupons(connection: Connection, rows: Sequence[Row | None], told: Sequence[Item]) -> None:
    """Write down which codes the shop says were used: who redeems them finds them there."""
    found = []
    for row, item in zip(rows, told, strict=True):
        if (
            row is not None
            and item.name in coupons.REDEEMING
            and not item.is_ours
            and (codes := codes_told(item.properties))
        ):
            found.append((row[0], row[3], row[4], item.name, order_key(item.properties, row[6]), codes))
    if found:
        await coupons.tell(connection, found)


def _row(bucket: int, profile: int, id_: int, item: Item, properties: bytes, now_us: int) -> Row:
    at_us, flags = clocked(item, now_us)
    return (bucket, flags, profile, id_, at_us, item.source, item.event_id or str(id_), item.name, properties)


async def _fresh(
    connection: Connection, items: Sequence[Item], now: datetime, done: Ingested
) -> list[tuple[Item, bytes]]:
    """Leave out what was taken before; what is told without an event and without an id may be told again.

    ->  the others, each with its properties as JSON
    """
    done.is_duplicate = [False] * len(items)
    prints: dict[bytes, tuple[bytes, int]] = {}
    told = []
    for at, item in enumerate(items):
        properties = json_of(item.properties) if item.properties else b"{}"
        told.append((item, properties))
        if not (item.name or item.event_id):
            continue
        said = body_of(item, properties)
        print_, body = fingerprint(item, now, said), digest(said)
        if print_ in prints:
            done.is_duplicate[at] = True
            done.conflicts += prints[print_][0] != body
        else:
            prints[print_] = (body, at)
    if prints:
        order = sorted(prints)
        rows = await connection.fetch(
            query("see_events"), ints(one[0] for one in order), list(map(UUID, order)),
            [UUID(prints[one][0]) for one in order], now,
        )  # fmt: skip
        if len(rows) < len(order):
            new = {row[0].bytes for row in rows}
            old = [one for one in order if one not in new]
            for one in old:
                done.is_duplicate[prints[one][1]] = True
            done.conflicts += await connection.fetchval(
                query("seen_otherwise"), [one[0] for one in old], [UUID(one) for one in old],
                [UUID(prints[one][0]) for one in old],
            )  # fmt: skip
    done.duplicates = sum(done.is_duplicate)
    if not done.duplicates:
        return told
    return [one for one, is_old in zip(told, done.is_duplicate, strict=True) if not is_old]


def first_id(now: datetime, chance: Random) -> int:
    """The first of some ids that are made now: later ones are greater, and two who make them differ by chance."""
    return max(0, int(now.timestamp() * 1000) - FIRST_MS) << ID_BITS | chance.getrandbits(ID_BITS - 1)


def person_ids(now: datetime, chance: Random) -> NextId:
    """Name new persons by their numbers, so that the bucket of the id is that of the person (`hash_of`).

    Two callers who draw the same id make the same row then, which Postgres refuses to one of them, who begins anew:
    two persons of one id in two buckets would be taken for one another by whoever knows them by their id.
    """
    at = max(0, int(now.timestamp() * 1000) - FIRST_MS) << ID_BITS | chance.getrandbits(ID_BITS - 9) << 8

    def next_id(number: int) -> int:
        nonlocal at
        at += 256
        return at ^ (hash_of(at) ^ hash_of(number)) if number else at

    return next_id


def least_id(at: datetime) -> int:
    """The id that none is below which was made from a moment on."""
    return max(0, int(at.timestamp() * 1000) - FIRST_MS) << ID_BITS


def clocked(item: Item, now_us: int) -> tuple[int, int]:
    """When an event happened, as we take it, and its flags (EV-2, EV-3)."""
    flags = (HISTORICAL if item.historical else 0) | (OURS if item.is_ours else 0)
    if item.occurred_at is None:
        return now_us, flags
    at_us = microseconds(item.occurred_at)
    if at_us > now_us + FUTURE_US:
        return now_us, flags | CLAMPED
    return at_us, flags | LATE if now_us - at_us > LATE_AFTER_US else flags


def session_end(bucket: int, profile: int, id_: int, at: datetime) -> Row:
    """The row of an end of a session that we tell (EV-10)."""
    told = f"session:{profile}:{at.timestamp():.6f}"
    return (bucket, OURS, profile, id_, microseconds(at), OUR_SOURCE, told, SESSION_ENDED, b"{}")


def _count(totals: Totals, bucket: int, profile: int, name: str, at_us: int) -> None:
    total = totals.get((bucket, profile, name))
    if total is None:
        totals[bucket, profile, name] = [1, at_us, at_us]
    else:
        total[0] += 1
        if at_us < total[1]:
            total[1] = at_us
        elif at_us > total[2]:
            total[2] = at_us


async def add_events(connection: Connection, rows: list[Row], totals: Totals, now: datetime) -> None:
    """Append rows of events and count them, for persons who are held."""
    await _copy(connection, rows, microseconds(now))
    await _add_totals(connection, totals)


async def _copy(connection: Connection, rows: list[Row], now_us: int) -> None:
    if rows:
        await _tell_campaigns(connection, rows, now_us)
        # Neighbours in the tables are written as such. A view: of bytes asyncpg thinks that they name a file.
        octets = memoryview(eventrows.pack(sorted(rows), now_us))
        await connection.copy_to_table("person_event", source=octets, columns=eventrows.COLUMNS, format="binary")


async def _tell_campaigns(connection: Connection, rows: list[Row], now_us: int) -> None:
    """Tell campaigns what they listen to; history starts nothing (EV-3)."""
    live = [row for row in rows if not row[1] & HISTORICAL]
    wanted = await causes.listened(connection, "event", (row[7] for row in live)) if live else set()
    if wanted:
        told = [
            causes.Telling(bucket, flags, profile, id_, at_us, name, f"{source}:{event_id}", properties.decode())
            for bucket, flags, profile, id_, at_us, source, event_id, name, properties in live
            if name in wanted
        ]
        await causes.tell(connection, "event", told, EPOCH + timedelta(microseconds=now_us))


async def _tell_attributes(
    connection: Connection, told: Sequence[Item], persons: Sequence[Person], first: int, now: datetime
) -> None:
    """Tell campaigns of dates that somebody has said, or said anew (TR-10)."""
    names = {name for item in told for name in item.attributes}
    wanted = await causes.listened(connection, "attribute", names) if names else set()
    now_us = microseconds(now)
    found = [
        causes.Telling(person.bucket, 0, person.id, first + at, now_us, name, f"attribute:{name}:{first + at}")
        for at, (item, person) in enumerate(zip(told, persons, strict=True))
        for name in item.attributes
        if name in wanted
    ]
    await causes.tell(connection, "attribute", found, now)


async def _add_totals(connection: Connection, totals: Totals) -> None:
    order = sorted(totals)
    buckets, ids, names = zip(*order, strict=True)
    counted = zip(*[totals[key] for key in order], strict=True)
    await connection.execute(query("add_totals"), ints(buckets), ints(ids), texts(names), *map(ints, counted))
