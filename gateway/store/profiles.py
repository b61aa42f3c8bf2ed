"""What is told of persons, taken in: once, whoever tells it, in whatever order (EV-1 to EV-9). sql/profiles.sql.

    ingest     what was not taken before ─► who it is (identities.py) ─► attributes ─► events ─► what follows from them
                                                                                     (aggregates.py) ─► COMMIT

One batch is one transaction: after a crash it is there as a whole or not at all, and telling it once more changes
nothing. Two batches that concern the same persons go one after the other, the persons held in their order; a batch that
finds somebody made meanwhile begins anew. A person with a million events costs no more than one with three.
Not here: reading files (gateway.contacts.events), who acts on it (person_changed says who has changed).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from itertools import count
from random import Random
from typing import Any

import asyncpg
import msgspec
from asyncpg.pgproto.pgproto import UUID  # of the compiled half: made of octets in a tenth of what uuid's takes
from msgspec import Struct

from gateway.errors import StoreError
from gateway.person import (
    CLAMPED,
    FUTURE,
    HISTORICAL,
    LATE,
    LATE_AFTER,
    OUR_SOURCE,
    OURS,
    SESSION_ENDED,
    Item,
    body_of,
    fingerprint,
    kind_of,
)
from gateway.store import aggregates, identities
from gateway.store.aggregates import Tally
from gateway.store.identities import Again
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

BATCH_DEADLINE_S = 60.0
TRIES = 20
# Ids count milliseconds from here on, and 4 million within each.
FIRST_MS = 1_577_836_800_000  # 2020
ID_BITS = 22
# Whoever invents names without end fills no table with them.
MOST_KINDS = 20_000


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

    async def learn(self, connection: Connection, items: Iterable[Item], now: datetime) -> None:
        """Keep the kinds of what is new among the items, in a transaction of its own."""
        if self._known is None:
            rows = await connection.fetch(query("property_kinds"))
            self._known = {(row["event"], row["name"]) for row in rows}
            # An attribute stands beside them as one of an event without a name.
            self._known |= {("", row["name"]) for row in await connection.fetch(query("attribute_kinds"))}
        known = self._known
        new: dict[tuple[str, str], str] = {}
        for item in items:
            for name in item.attributes:
                if ("", name) not in known and item.attributes[name] is not None:
                    new.setdefault(("", name), kind_of(item.attributes[name]))
            for name in item.properties:
                if (item.name, name) not in known and item.properties[name] is not None:
                    new.setdefault((item.name, name), kind_of(item.properties[name]))
        if not new or len(known) + len(new) > MOST_KINDS:
            return
        attributes = sorted((name, kind) for (event, name), kind in new.items() if not event)
        properties = sorted((*key, kind) for key, kind in new.items() if key[0])
        if attributes:
            await connection.execute(query("add_attribute_kinds"), *map(list, zip(*attributes, strict=True)), now)
        if properties:
            await connection.execute(query("add_property_kinds"), *map(list, zip(*properties, strict=True)), now)
        known |= new.keys()


async def ingest(
    connection: Connection,
    items: Sequence[Item],
    now: datetime,
    chance: Random,
    kinds: Kinds | None = None,
    *,
    is_alone: bool = False,
) -> Ingested:
    """Take in a batch of a few hundred to a few thousand items, in their order; begins and ends its own transaction.

    kinds     kept by who calls often
    is_alone  nobody else is likely to make the same persons now: it takes turns only if somebody did
    raises    StoreError, retryable: nothing of the batch is there, or all of it (tell it once more to find out)
    cost      benchmarks/bench_ingest.py
    """
    async with deadline(connection, BATCH_DEADLINE_S, "ingest"):
        await (kinds or Kinds()).learn(connection, items, now)
        for tried in range(TRIES):
            try:
                async with connection.transaction():
                    await connection.execute(query("look_by_index"))
                    return await _ingest(connection, items, now, chance, takes_turns=tried > 0 or not is_alone)
            except (Again, asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
                continue
    raise StoreError(f"ingest: others took the same persons {TRIES} times in a row", retryable=True)


async def _ingest(
    connection: Connection, items: Sequence[Item], now: datetime, chance: Random, *, takes_turns: bool
) -> Ingested:
    done = Ingested()
    fresh = await _fresh(connection, items, now, done)
    if not fresh:
        return done
    ids = count(first_id(now, chance))
    resolved = await identities.resolve(connection, fresh, now, ids.__next__, takes_turns=takes_turns)
    done.created, done.merged, done.disputed = resolved.created, resolved.merged, resolved.conflicts
    tallies: dict[int, Tally] = {}
    totals: dict[tuple[int, int, str], list[Any]] = {}
    events: list[tuple[Any, ...]] = []
    for item, person in zip(fresh, resolved.persons, strict=True):
        tally = tallies.get(person.id)
        if tally is None:
            tally = tallies[person.id] = Tally(person)
        if not item.name:
            continue
        at, flags = clocked(item, now)
        id_ = next(ids)
        tally.add(item.name, at, id_, flags, item.properties, item.event_id or str(id_))
        properties = msgspec.json.encode(item.properties).decode() if item.properties else "{}"
        events.append(
            (person.bucket, flags, person.id, id_, at, item.source, item.event_id or str(id_), item.name, properties)
        )
        _count(totals, person.bucket, person.id, item.name, at)
    for tally, at in await aggregates.carry_sessions(connection, tallies.values()):
        person = tally.person
        events.append(session_end(person.bucket, person.id, next(ids), at))
        _count(totals, person.bucket, person.id, SESSION_ENDED, at)
    done.persons = len(tallies)
    done.events = len(events)
    if events:
        await add_events(connection, events, totals, now)
        await aggregates.write(connection, list(tallies.values()), now)
    return done


async def _fresh(connection: Connection, items: Sequence[Item], now: datetime, done: Ingested) -> list[Item]:
    """Leave out what was taken before; what is told without an event and without an id may be told again."""
    done.is_duplicate = [False] * len(items)
    prints: dict[bytes, tuple[bytes, int]] = {}
    for at, item in enumerate(items):
        if not (item.name or item.event_id):
            continue
        told = body_of(item)
        print_, body = fingerprint(item, now, told), blake2b(told, digest_size=16).digest()
        if print_ in prints:
            done.is_duplicate[at] = True
            done.conflicts += prints[print_][0] != body
        else:
            prints[print_] = (body, at)
    if prints:
        order = sorted(prints)
        rows = await connection.fetch(
            query("see_events"), [one[0] for one in order], [UUID(one) for one in order],
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
    return [item for item, is_old in zip(items, done.is_duplicate, strict=True) if not is_old]


def first_id(now: datetime, chance: Random) -> int:
    """The first of some ids that are made now: later ones are greater, and two who make them differ by chance."""
    return max(0, int(now.timestamp() * 1000) - FIRST_MS) << ID_BITS | chance.getrandbits(ID_BITS - 1)


def clocked(item: Item, now: datetime) -> tuple[datetime, int]:
    """When an event happened, as we take it, and its flags (EV-2, EV-3)."""
    flags = (HISTORICAL if item.historical else 0) | (OURS if item.is_ours else 0)
    at = item.occurred_at
    if at is None:
        return now, flags
    if at > now + FUTURE:
        return now, flags | CLAMPED
    return at, flags | LATE if now - at > LATE_AFTER else flags


def session_end(bucket: int, profile: int, id_: int, at: datetime) -> tuple[Any, ...]:
    """The row of an end of a session that we tell (EV-10)."""
    return (bucket, OURS, profile, id_, at, OUR_SOURCE, f"session:{profile}:{at.timestamp():.6f}", SESSION_ENDED, "{}")


def _count(totals: dict[tuple[int, int, str], list[Any]], bucket: int, profile: int, name: str, at: datetime) -> None:
    total = totals.get((bucket, profile, name))
    if total is None:
        totals[bucket, profile, name] = [1, at, at]
    else:
        total[0] += 1
        if at < total[1]:
            total[1] = at
        elif at > total[2]:
            total[2] = at


async def add_events(
    connection: Connection,
    events: Sequence[tuple[Any, ...]],
    totals: dict[tuple[int, int, str], list[Any]],
    now: datetime,
) -> None:
    """Append rows of events and count them, for persons who are held."""
    columns = [list(column) for column in zip(*events, strict=True)]
    await connection.execute(query("add_person_events"), *columns[:5], now, *columns[5:])
    keys = list(totals)
    counts = list(totals.values())
    await connection.execute(
        query("add_totals"), [one[0] for one in keys], [one[1] for one in keys], [one[2] for one in keys],
        [one[0] for one in counts], [one[1] for one in counts], [one[2] for one in counts],
    )  # fmt: skip
