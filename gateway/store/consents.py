"""The consent ledger in Postgres: appended by bucket, a chain for each number, the state beside it. sql/consents.sql.

    append ─► heads made and held, by number ─► rows read ─► behind them the new ones ─► heads, states, COMMIT
    prove  ─► the entries of stop_feed that are not in it yet ─► append

Who holds a number's head is alone with its chain, so any number of writers leave it whole. Each append is one
transaction of one bucket. The feed of STOPs is in force before; the ledger is its proof: a row names its entry, and an
entry that has one is not proven twice, however often a crash makes it be tried.
Not here: what rows mean (campaign/consent.py; `fold` is handed in), the chain (gateway/consent.py), the feed.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.peoplerows import bucket
from gateway.consent import CLASSES, NO_HASH, Fact, Link, Standing, State, chain, microseconds
from gateway.store import admission, watched
from gateway.store.postgres import Connection
from gateway.store.queries import query

# Numbers of one transaction: it holds their heads so long.
MOST_NUMBERS = 1000
MOST_ENTRIES = 5000
BUCKETS = 256

Fold = Callable[[Sequence[Fact]], Mapping[str, Standing]]


class Rows(Struct, frozen=True, kw_only=True):
    """The chain of one number, and what its head says."""

    links: Sequence[Link] = ()
    head_id: int = 0
    head_hash: bytes = NO_HASH


async def append(connection: Connection, facts: Sequence[Fact], fold: Fold, *, is_quiet: bool = False) -> int:
    """Append facts, in their order for each number; -> rows written, those that prove a known entry left out.

    fold    what follows from all facts of a number (campaign.consent.states_at, or states_of)
    raises  StoreError; of several buckets, those before the one that failed stay: it is safe to repeat where every
            fact has an entry
    cost    ten statements for each bucket and thousand numbers
    """
    return len(await append_where(connection, facts, lambda _, __: True, fold, is_quiet=is_quiet))


async def append_where(
    connection: Connection,
    facts: Sequence[Fact],
    is_wanted: Callable[[Sequence[Fact], Fact], bool],
    fold: Fold,
    *,
    is_quiet: bool = False,
) -> list[Fact]:
    """Append those facts that are wanted beside the rows that are there, asked while nobody else appends; -> them.

    is_quiet  whoever comes or goes by it in watched audiences starts nothing (IM-3)
    """
    by_bucket: dict[int, dict[int, list[Fact]]] = {}
    for fact in facts:
        by_bucket.setdefault(bucket(fact.number), {}).setdefault(fact.number, []).append(fact)
    written: list[Fact] = []
    for key, by_number in sorted(by_bucket.items()):
        numbers = sorted(by_number)
        for at in range(0, len(numbers), MOST_NUMBERS):
            some = {number: by_number[number] for number in numbers[at : at + MOST_NUMBERS]}
            written += await _append(connection, key, some, is_wanted, fold, is_quiet=is_quiet)
    return written


async def _append(
    connection: Connection,
    key: int,
    by_number: dict[int, list[Fact]],
    is_wanted: Callable[[Sequence[Fact], Fact], bool],
    fold: Fold,
    *,
    is_quiet: bool,
) -> list[Fact]:
    numbers = list(by_number)
    async with connection.transaction():
        await connection.execute(query("make_consent_heads"), key, numbers, NO_HASH)
        await connection.fetch(query("hold_consent_heads"), key, numbers)
        before = await _rows(connection, key, numbers)
        new: list[Link] = []
        changed: dict[int, list[Fact]] = {}
        for number in numbers:
            old = before[number]
            known = [link.fact for link in old.links]
            proven = {fact.entry for fact in known} - {None}
            fresh = [fact for fact in by_number[number] if fact.entry not in proven and is_wanted(known, fact)]
            new += chain(fresh, old.head_id, old.head_hash)
            if fresh:
                changed[number] = [*known, *fresh]
        if not new:
            return []
        last = {link.fact.number: link for link in new}
        await connection.execute(query("append_consents"), key, _encoded(new))
        await connection.execute(
            query("move_consent_heads"), key, list(last), [link.id for link in last.values()],
            [link.hash for link in last.values()],
        )  # fmt: skip
        await _keep(connection, key, changed, max(link.fact.recorded_at for link in new), fold, is_quiet=is_quiet)
    return [link.fact for link in new]


async def _keep(
    connection: Connection,
    key: int,
    facts: Mapping[int, Sequence[Fact]],
    at: datetime,
    fold: Fold,
    *,
    is_quiet: bool = False,
) -> None:
    """Write what follows from all facts of some numbers of a bucket, and the pages that the gate reads."""
    states = [(number, brand, one) for number, some in facts.items() for brand, one in fold(some).items()]
    await connection.execute(
        query("keep_consent_states"), key, [number for number, _, _ in states], [brand for _, brand, _ in states],
        [one.promotional for _, _, one in states], [one.transactional for _, _, one in states],
        [one.night for _, _, one in states], [one.since for _, _, one in states],
    )  # fmt: skip
    await admission.refresh_consent_pages(connection, [(number, brand) for number, brand, _ in states])
    await watched.mark_numbers(connection, key, list(facts), at, is_quiet=is_quiet)


async def rows_of(connection: Connection, numbers: Sequence[int]) -> dict[int, Rows]:
    """Read the chains of numbers, and their heads."""
    found: dict[int, Rows] = {}
    for key, some in _by_bucket(numbers):
        found |= await _rows(connection, key, some)
    return found


async def states_of(connection: Connection, numbers: Sequence[int]) -> dict[int, dict[str, Standing]]:
    """Read how numbers stand, by brand."""
    found: dict[int, dict[str, Standing]] = {number: {} for number in numbers}
    for key, some in _by_bucket(numbers):
        for row in await connection.fetch(query("consent_states"), key, some):
            promotional, transactional, night = (State(row[name]) for name in CLASSES)
            found[row["number"]][row["brand"]] = Standing(promotional, transactional, night, row["since"])
    return found


async def numbers_of(connection: Connection, key: int, after: int = 0, limit: int = MOST_NUMBERS) -> list[int]:
    """Read which numbers of a bucket have a chain, in their order, behind one of them."""
    return [row["number"] for row in await connection.fetch(query("consent_heads"), key, after, limit)]


async def is_behind(connection: Connection) -> bool:
    """Say whether the feed has entries that the ledger has not."""
    return bool(await connection.fetchval(query("is_ledger_behind")))


async def expire(
    connection: Connection, key: int, before: datetime, after: int, now: datetime, fold: Fold
) -> list[int]:
    """Write anew how some of a bucket stand who were asked before a moment, behind a number; -> who, [] = nobody more.

    Nothing is appended: what no answer means follows from the request and the time alone.
    """
    numbers = [row["number"] for row in await connection.fetch(query("unanswered"), key, before, after, MOST_NUMBERS)]
    if numbers:
        async with connection.transaction():
            await connection.fetch(query("hold_consent_heads"), key, numbers)
            rows = await _rows(connection, key, numbers)
            facts = {number: [link.fact for link in one.links] for number, one in rows.items()}
            await _keep(connection, key, facts, now, fold)
    return numbers


async def prove(
    connection: Connection, fact_of: Callable[[Mapping[str, Any]], Fact], fold: Fold, limit: int = MOST_ENTRIES
) -> int:
    """Carry the next entries of the feed into the ledger; -> how many.

    fact_of  makes a fact of an entry: seq, number, at, is_stop, scope, source, note
    A crash before the last statement makes the entries be tried again, and so do two who do it at once: each entry has
    its row already.
    """
    upto = await connection.fetchval(query("consent_upto"))
    entries = [dict(row) for row in await connection.fetch(query("stops_to_prove"), upto, limit)]
    if entries:
        await append(connection, [fact_of(entry) for entry in entries], fold)
        await connection.execute(query("note_consent_upto"), entries[-1]["seq"])
    return len(entries)


async def _rows(connection: Connection, key: int, numbers: Sequence[int]) -> dict[int, Rows]:
    links: dict[int, list[Link]] = {number: [] for number in numbers}
    for row in await connection.fetch(query("consent_rows"), key, numbers):
        values = dict(row)
        place = {name: values.pop(name) for name in ("id", "previous", "hash")}
        links[values["number"]].append(Link(fact=Fact(class_=values.pop("class"), **values), **place))
    heads = {
        row["number"]: (row["id"], row["hash"])
        for row in await connection.fetch(query("consent_heads_of"), key, numbers)
    }
    found = {}
    for number, some in links.items():
        head_id, head_hash = heads.get(number, (0, NO_HASH))
        found[number] = Rows(links=some, head_id=head_id, head_hash=head_hash)
    return found


def _by_bucket(numbers: Sequence[int]) -> list[tuple[int, list[int]]]:
    found: dict[int, list[int]] = {}
    for number in numbers:
        found.setdefault(bucket(number), []).append(number)
    return sorted(found.items())


def _encoded(links: Sequence[Link]) -> str:
    made = []
    for link in links:
        fact = link.fact
        made.append(
            {
                "number": fact.number, "id": link.id, "brand": fact.brand, "class": fact.class_, "action": fact.action,
                "source": fact.source, "recorded_us": microseconds(fact.recorded_at),
                "effective_us": None if fact.effective_at is None else microseconds(fact.effective_at),
                "method": fact.method, "wording": fact.wording, "wording_version": fact.wording_version,
                "url": fact.url, "ip": fact.ip, "agent": fact.agent, "message_id": fact.message_id,
                "entry": fact.entry, "proof": None if fact.proof is None else fact.proof.hex(),
                "previous": link.previous.hex(), "hash": link.hash.hex(),
            }
        )  # fmt: skip
    return msgspec.json.encode(made).decode()
