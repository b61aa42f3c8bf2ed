"""Short links: minted in batches, looked up in batches, and what was opened of them. TP-6, TP-7. sql/links.sql.

    target (once a campaign) ─► mint: a row (bucket, token) for each message, by COPY ─► its text goes out
    requests of one moment ─► look: one statement ─► add_clicks ─► untold ─► decide ─► told

A link stands in the bucket of its number, which is that of the person, and of the transaction in which the message is
made: a message and its links are there together or not at all.
Not here: tokens and targets (gateway/link.py), who clicked (campaign/clicks.py), who answers (gateway.redirect).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple, TypeAlias

import asyncpg
from msgspec import Struct

from gateway.link import CHANCE_BITS, Link, Target, Verdict, decode, encode, target_of, token_of, url_of
from gateway.person import hash_of
from gateway.store.columns import ints
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

# Two of 2^57 meet once in a hundred million batches, where a bucket has a million links.
TRIES = 3
# Of a list, in one transaction.
ENTRIES_AT_ONCE = 2000
BUCKETS = 256
PAGE_S = 60.0
_COLUMNS = ("bucket", "token", "number", "target", "run", "made_at", "expires_at", "params")

Place: TypeAlias = tuple[int, int]
"""A token as it is kept: bucket and chance."""


class Wanted(NamedTuple):
    """A link that a message needs. params: values of the target's fields, in their order."""

    number: int
    target: int
    run: int
    made_at: datetime
    expires_at: datetime
    params: tuple[str, ...] | None = None


class Linked(Struct, frozen=True, kw_only=True):
    """A link of a document whose target is kept. fields: the values that it takes of each message, in their order."""

    id: int
    fields: tuple[str, ...]
    lifetime: timedelta


class Found(Struct, frozen=True, gc=False):
    """A link that somebody has asked for."""

    bucket: int
    token: int
    number: int
    target: int
    run: int
    made_at: datetime
    expires_at: datetime
    params: tuple[str, ...] = ()


class Click(Struct, frozen=True, kw_only=True, gc=False):
    """Somebody or something opened a link. is_told: nothing more is to be done about it."""

    bucket: int
    id: int
    token: int
    number: int
    target: int
    run: int
    at: datetime
    made_at: datetime
    verdict: int = Verdict.UNDECIDED
    is_told: bool = False
    rule: str = ""
    agent: str = ""
    beacon_at: datetime | None = None
    submitted_at: datetime | None = None


class Decided(Struct, frozen=True, kw_only=True):
    """What was found out about a click."""

    bucket: int
    id: int
    verdict: Verdict
    rule: str
    is_told: bool


class Opened(Struct, frozen=True, kw_only=True):
    """What came of the links of one name of a run.

    clicks, people  by verdict: how often, and of how many numbers
    """

    name: str
    campaign: str
    links: int
    clicks: Mapping[Verdict, int]
    people: Mapping[Verdict, int]


async def keep_target(connection: Connection, target: Target, now: datetime) -> int:
    """Keep where links lead, once; -> its id."""
    body = encode(target)
    digest = hashlib.sha256(body).digest()
    found = await connection.fetchval(query("link_target_of"), digest)
    if found is None:
        await connection.execute(query("add_link_target"), now, digest, body.decode())
        found = await connection.fetchval(query("link_target_of"), digest)
    return int(found)


async def keep_links(
    connection: Connection, named: Mapping[str, Link], *, brand: str, campaign: str, now: datetime
) -> dict[str, Linked]:
    """Keep where all links of a document lead; -> them by name, for `urls`."""
    found = {}
    for name, link in sorted(named.items()):
        target = target_of(link, name, brand=brand, campaign=campaign)
        id_ = await keep_target(connection, target, now)
        found[name] = Linked(id=id_, fields=target.fields, lifetime=link.lifetime)
    return found


async def targets(connection: Connection, ids: Iterable[int]) -> dict[int, Target]:
    """Read where links lead, by ids."""
    rows = await connection.fetch(query("link_targets"), sorted(set(ids)))
    return {row["id"]: decode(row["body"]) for row in rows}


async def mint(connection: Connection, bucket: int, wanted: Sequence[Wanted], chance: Random) -> list[str]:
    """Make a link for each that is wanted, all of numbers of one bucket; -> their tokens, in the same order.

    chance  that nobody can guess (random.SystemRandom)
    cost    benchmarks/bench_links.py; within the caller's transaction, or one of its own
    """
    return await _mint(connection, [bucket] * len(wanted), wanted, chance)


async def _mint(
    connection: Connection, buckets: Sequence[int], wanted: Sequence[Wanted], chance: Random
) -> list[str]:  # fmt: skip
    for tried in range(1, TRIES + 1):
        drawn = [chance.getrandbits(CHANCE_BITS) for _ in wanted]
        try:
            async with connection.transaction():
                await connection.copy_records_to_table(
                    "link",
                    columns=_COLUMNS,
                    records=[(at, token, *one) for at, token, one in zip(buckets, drawn, wanted, strict=True)],
                )
        except asyncpg.UniqueViolationError:
            if tried == TRIES:
                raise
        else:
            break
    return [token_of(at, one) for at, one in zip(buckets, drawn, strict=True)]


async def urls(
    connection: Connection,
    domain: str,
    linked: Mapping[str, Linked],
    people: Sequence[tuple[int, Mapping[str, str]]],
    *,
    run: int,
    now: datetime,
    chance: Random,
) -> list[dict[str, str]]:
    """Make every link of a text for each of some people, (number, values); -> their addresses, by name.

    One COPY for all of them, within the transaction that makes their messages.
    """
    wanted = [
        Wanted(number, one.id, run, now, now + one.lifetime, tuple(values.get(name, "") for name in one.fields) or None)
        for number, values in people
        for one in linked.values()
    ]
    buckets = [hash_of(one.number) for one in wanted]
    tokens = iter(await _mint(connection, buckets, wanted, chance) if wanted else ())
    return [{name: url_of(domain, next(tokens)) for name in linked} for _ in people]


async def mint_all(connection: Connection, wanted: Sequence[Wanted], chance: Random) -> list[str]:
    """Make links for numbers of any buckets, a transaction for each bucket; -> their tokens, in the same order."""
    by_bucket: dict[int, list[int]] = {}
    for at, one in enumerate(wanted):
        by_bucket.setdefault(hash_of(one.number), []).append(at)
    tokens = [""] * len(wanted)
    for bucket, places in sorted(by_bucket.items()):
        made = await mint(connection, bucket, [wanted[at] for at in places], chance)
        for at, token in zip(places, made, strict=True):
            tokens[at] = token
    return tokens


async def mint_list(
    connection: Connection,
    list_id: int,
    field: str,
    domain: str,
    target: int,
    fields: Sequence[str],
    *,
    run: int,
    now: datetime,
    expires_at: datetime,
    chance: Random,
    renews: bool = False,
) -> int:
    """Give every number of a list a link, as the value `field` of its entry; -> how many had none.

    fields  values of the entries that the target takes, in its order
    renews  whoever has a link gets another one: of a list that several runs are of
    Each page is a transaction with its links: what broke off goes on where it was, and nobody has two.
    """
    made = 0
    for bucket in range(BUCKETS):
        behind = 0
        while True:
            async with deadline(connection, PAGE_S, "links of a list"), connection.transaction():
                rows = await connection.fetch(
                    query("unlinked_entries"), bucket, list_id, behind, field, ENTRIES_AT_ONCE, list(fields), renews
                )
                if rows:
                    wanted = [
                        Wanted(row["number"], target, run, now, expires_at, tuple(row["params"]) or None)
                        for row in rows
                    ]
                    tokens = await mint(connection, bucket, wanted, chance)
                    urls = [url_of(domain, token) for token in tokens]
                    numbers = [one.number for one in wanted]
                    await connection.execute(query("link_entries"), bucket, list_id, field, numbers, urls)
            made += len(rows)
            if len(rows) < ENTRIES_AT_ONCE:
                break
            behind = rows[-1]["number"]
    return made


async def look(connection: Connection, places: Iterable[Place]) -> dict[Place, Found]:
    """Find links by their tokens; those that nobody has made are left out."""
    some = sorted(set(places))
    rows = await connection.fetch(query("links_of"), ints(one for one, _ in some), ints(one for _, one in some))
    found = {}
    for bucket, token, number, target, run, made_at, expires_at, params in rows:
        found[bucket, token] = Found(bucket, token, number, target, run, made_at, expires_at, tuple(params or ()))
    return found


async def forget(connection: Connection, bucket: int, before: datetime) -> int:
    """Take away links of a bucket that were over before a moment; -> how many. Their clicks stay."""
    tag = await connection.execute(query("forget_links"), bucket, before)
    return int(tag.rsplit(" ", 1)[1])


async def add_clicks(connection: Connection, clicks: Sequence[Click]) -> None:
    """Append who opened links; telling it again changes nothing."""
    if clicks:
        await connection.execute(
            query("add_clicks"), ints(one.bucket for one in clicks), ints(int(one.verdict) for one in clicks),
            [one.is_told for one in clicks], ints(one.id for one in clicks), ints(one.token for one in clicks),
            ints(one.number for one in clicks), ints(one.target for one in clicks), ints(one.run for one in clicks),
            [one.at for one in clicks], [one.made_at for one in clicks], [one.rule for one in clicks],
            [one.agent for one in clicks],
        )  # fmt: skip


async def note_beacons(connection: Connection, beacons: Mapping[Place, datetime]) -> None:
    """Note that pages have fetched their picture."""
    if beacons:
        some = sorted(beacons.items())
        await connection.execute(
            query("note_beacons"), ints(one[0] for one, _ in some), ints(one[1] for one, _ in some),
            [at for _, at in some],
        )  # fmt: skip


async def has_untold(connection: Connection) -> bool:
    """Say whether anything was opened or filled in about which something is to be done."""
    return bool(await connection.fetchval(query("has_untold")))


async def untold(connection: Connection, limit: int) -> list[Click]:
    """Read the oldest clicks about which something is to be done."""
    rows = await connection.fetch(query("untold_clicks"), limit)
    return [Click(**dict(row)) for row in rows]


async def decide(connection: Connection, decided: Sequence[Decided]) -> None:
    """Write verdicts down."""
    if decided:
        await connection.execute(
            query("decide_clicks"), ints(one.bucket for one in decided), ints(one.id for one in decided),
            ints(int(one.verdict) for one in decided), [one.rule for one in decided],
            [one.is_told for one in decided],
        )  # fmt: skip


async def opened(connection: Connection, run: int) -> list[Opened]:
    """Count who opened the links of a run, by link: humans, those who may be, and bots, each apart (TP-7)."""
    made = {row["target"]: row["links"] for row in await connection.fetch(query("links_of_run"), run)}
    clicks: dict[int, dict[Verdict, int]] = {}
    people: dict[int, dict[Verdict, int]] = {}
    for row in await connection.fetch(query("clicks_of_run"), run):
        clicks.setdefault(row["target"], {})[Verdict(row["verdict"])] = row["clicks"]
        people.setdefault(row["target"], {})[Verdict(row["verdict"])] = row["people"]
    known = await targets(connection, {*made, *clicks})
    return [
        Opened(
            name=target.name, campaign=target.campaign, links=made.get(id_, 0), clicks=clicks.get(id_, {}),
            people=people.get(id_, {}),
        )
        for id_, target in sorted(known.items())
    ]  # fmt: skip


async def clicks_of(connection: Connection, number: int, limit: int = 1000) -> list[dict[str, Any]]:
    """Read what was opened of a number's links, the newest first."""
    rows = await connection.fetch(query("clicks_of_number"), hash_of(number), number, limit)
    return [dict(row) for row in rows]
