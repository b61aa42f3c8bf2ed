"""Codes: who holds which, and what became of it (TP-5). Statements: sql/coupons.sql.

    free ─► reserved ─► issued ─► redeemed | expired | void
      ▲         │ by a key, such as that of a step: asked again it has the same code
      └─────────┘ only if its message was certainly not sent

A code is one person's: whoever takes free ones passes over those that others are taking, a generator makes each once,
and of all pools no two have the same code, however it is written. A code whose message left us is free never again.
All of it stands on the coordinator: a pool is one for all buckets, and reserving is a transaction of its own.
Not here: when codes are issued, released and end (automation/offers.py), what an offer is (gateway/coupon.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import asyncpg
import msgspec
from msgspec import Struct

from gateway.coupon import Coupon, State, code_number
from gateway.errors import OrderFault
from gateway.person import COUPON_REDEEMED, ORDER_PLACED
from gateway.store.columns import ints, texts
from gateway.store.postgres import Connection
from gateway.store.queries import query

TRIES = 20
BUCKETS = 256
A_PAGE = 1000
# Rows of outcomes that are followed at once.
ROWS = 1000
SECRET_OCTETS = 32
# Events of persons that name codes.
REDEEMING = frozenset((ORDER_PLACED, COUPON_REDEEMED))
Verdict = Literal["redeemed", "again", "used", "expired", "unsent", "void", "unknown"]


class Pool(Struct, frozen=True, kw_only=True):
    """An offer as it is kept. next: of a generator; total, longest: of imported codes; alerted: per cent left then."""

    id: int
    name: str
    coupon: Coupon
    secret: bytes
    next: int
    total: int
    longest: int
    alerted: int
    created_at: datetime


class Code(Struct, frozen=True, kw_only=True):
    """A code that somebody holds; url applies it, "" = none."""

    code: str
    url: str


class Added(Struct, kw_only=True):
    """What came of codes that were put into a pool: those that it had already, and another has."""

    added: int = 0
    known: int = 0
    others: int = 0


class Ended(Struct, frozen=True, kw_only=True):
    """What came of a message with a code. status as in `outcome`; is_unsent: certainly no octet of it ever left."""

    pool: int
    key: str
    at: datetime
    status: int
    is_unsent: bool
    run: int
    lane: int
    chunk_id: int
    pos: int


class Held(Struct, frozen=True, kw_only=True):
    """A code by the key that it was reserved for."""

    id: int
    pool: int
    key: str
    code: str
    number: int | None
    state: int
    issued_at: datetime | None


class Redemption(Struct, frozen=True, kw_only=True):
    """Whether a code was taken for an order.

    again    for this order, before              used     for another
    expired  it came too late                    unsent   nobody has it yet
    id, number  of the code, and who holds it; 0, None: all have it
    """

    verdict: Verdict
    code: str
    order_key: str
    pool: str = ""
    id: int = 0
    number: int | None = None
    run: int | None = None
    expires_at: datetime | None = None


class Told(Struct, frozen=True, kw_only=True):
    """An order that names codes, as it was told."""

    bucket: int
    id: int
    at: datetime
    name: str
    order_key: str
    codes: list[str]


# -- pools -------------------------------------------------------------------------------------------------------------


async def create(connection: Connection, name: str, coupon: Coupon, secret: bytes, now: datetime) -> Pool:
    """Make a pool, or let one say what its offer says now; what its codes are made of stays as it was.

    secret  of SECRET_OCTETS, for a pool that is made
    raises  StoreError: its codes would be others than they are, or its static code is somebody's
    """
    async with connection.transaction():
        before = await find(connection, name)
        if before is not None:
            for field in ("kind", "code", "alphabet", "length", "prefix"):
                was, found = getattr(before.coupon, field), getattr(coupon, field)
                if was != found:
                    raise OrderFault(f"coupon pool {name!r}: {field}: expected {was!r} as it was made, found {found!r}")
        if coupon.kind == "static":
            owners = await connection.fetch(query("static_codes"), [coupon.code.upper()])
            others = [row["name"] for row in owners if row["name"] != name]
            if others or await connection.fetch(query("codes_of_others"), texts([coupon.code.upper()])):
                whose = f"pool {others[0]!r} has it" if others else "a code of a pool"
                raise OrderFault(
                    f"coupon pool {name!r}: expected a code that is nobody's, found {coupon.code!r}: {whose}"
                )
        await connection.fetchval(query("write_pool"), name, _json(coupon), secret, now)
        made = await find(connection, name)
    assert made is not None
    return made


async def find(connection: Connection, name: str) -> Pool | None:
    """Read a pool by its name."""
    found = await pools(connection, name)
    return found[0] if found else None


async def pools(connection: Connection, name: str = "") -> list[Pool]:
    """Read all pools, or the one of a name."""
    return [
        Pool(coupon=msgspec.json.decode(row["body"], type=Coupon), **{key: row[key] for key in _POOL})
        for row in await connection.fetch(query("pools"), name)
    ]


_POOL = ("id", "name", "secret", "next", "total", "longest", "alerted", "created_at")


async def add(connection: Connection, pool: Pool, codes: Sequence[str]) -> Added:
    """Put codes into a pool, in one transaction; those that are somebody's stay as they are.

    raises  StoreError: it is no pool of imported codes
    """
    if pool.coupon.kind != "pool":
        raise OrderFault(f"coupon pool {pool.name!r}: expected one of imported codes, found a {pool.coupon.kind}")
    async with connection.transaction():
        folded = {code.upper(): code for code in codes}
        owners = await connection.fetch(query("codes_of_others"), texts(folded))
        statics = {row["id"] for row in await connection.fetch(query("static_codes"), list(folded))}
        taken = {row["code"] for row in owners}
        if statics:
            taken |= {one.coupon.code.upper() for one in await pools(connection) if one.id in statics}
        # In one order, so that two files with the same codes do not wait for each other.
        new = [folded[code] for code in sorted(folded.keys() - taken)]
        added = [row["code"] for row in await connection.fetch(query("add_codes"), pool.id, texts(new))]
        if added:
            await connection.execute(query("note_codes"), pool.id, len(added), max(map(len, added)))
    known = sum(row["pool"] == pool.id for row in owners) + len(new) - len(added)
    return Added(added=len(added), known=known, others=len(folded) - len(added) - known)


async def shortfall(connection: Connection, pool: Pool, people: int) -> int:
    """Say how many of so many people there is no code for: asked before a launch (S1.23)."""
    if pool.coupon.kind == "static":
        return 0
    if pool.coupon.kind == "generator":
        return max(0, people - max(0, pool.coupon.codes - pool.next))
    return max(0, people - int(await connection.fetchval(query("free_codes"), pool.id, people)))


async def is_wanted(connection: Connection) -> bool:
    """Say whether there is any offer, or an order that names a code."""
    return bool(await connection.fetchval(query("has_pools"))) or bool(await told(connection, 1))


async def left(connection: Connection, pool: Pool, shares: Sequence[int]) -> tuple[int, int]:
    """Say below which share of a pool, in per cent, the free ones of imported codes are; -> it, and how many those are.

    shares  ascending; 100: not even below the largest, and then no more are counted than that
    """
    if pool.coupon.kind != "pool" or not pool.total:
        return 100, 0
    most = pool.total * shares[-1] // 100
    free = int(await connection.fetchval(query("free_codes"), pool.id, most + 1))
    return next((share for share in shares if free * 100 <= pool.total * share), 100), free


async def note_alerted(connection: Connection, pool: Pool, percent: int) -> None:
    """Remember at which share left somebody was told."""
    await connection.execute(query("note_alerted"), pool.id, percent)


# -- reserving ---------------------------------------------------------------------------------------------------------


async def reserve(
    connection: Connection, pool: Pool, asked: Sequence[tuple[str, int]], now: datetime
) -> list[Code | None]:
    """Give each of some people a code, keyed so that asking again gives the same; begins and ends its own transactions.

    asked   (key, number) of each, some hundreds; a key is one person's, such as enrolment, step and visit
    ->      in their order; None: the pool is empty, or the offer is over: hold them, and ask again
    raises  StoreError, retryable
    cost    about 25 µs a code of Postgres in batches of 500
    """
    coupon = pool.coupon
    if coupon.kind == "static":
        one = None if coupon.is_over(now) else Code(code=coupon.code, url=coupon.url_of(coupon.code))
        return [one] * len(asked)
    numbers = {key: number for key, number in reversed(asked)}
    # Sorted: two who ask for the same keys meet in one order.
    keys = sorted(numbers)
    for _ in range(TRIES):
        try:
            async with connection.transaction():
                found, is_done = await _reserve(connection, pool, keys, numbers, now)
        except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
            # Somebody else reserves for the same keys.
            continue
        if is_done:
            break
    else:
        raise OrderFault(f"coupon pool {pool.name!r}: others took the same keys {TRIES} times in a row", retryable=True)
    return [
        Code(code=code, url=coupon.url_of(code)) if (code := found.get(key)) is not None else None for key, _ in asked
    ]


async def _reserve(
    connection: Connection, pool: Pool, keys: Sequence[str], numbers: Mapping[str, int], now: datetime
) -> tuple[dict[str, str], bool]:
    """Find the codes of keys, and take or make those that are missing; -> key -> code, and whether that is all."""
    await connection.execute(query("take_by_index"))
    found = {row[0]: row[1] for row in await connection.fetch(query("reserved_codes"), pool.id, texts(keys))}
    left = [key for key in keys if key not in found]
    is_done = True
    if left and not pool.coupon.is_over(now):
        codes = await _make(connection, pool, len(left)) if pool.coupon.kind == "generator" else []
        told = texts(left[: len(codes)] if codes else left)
        whose = ints(numbers[key] for key in left[: len(codes) or len(left)])
        if codes:
            rows = await connection.fetch(query("make_codes"), pool.id, texts(codes), told, whose, now)
            # One that another pool has was left out, and the next one takes its place.
            is_done = len(rows) == len(codes)
        elif pool.coupon.kind == "pool":
            rows = await connection.fetch(query("take_codes"), pool.id, told, whose, now, len(left))
        else:
            rows = []
        found |= {row[0]: row[1] for row in rows}
    return found, is_done


async def _make(connection: Connection, pool: Pool, count: int) -> list[str]:
    """Make the next codes of a generator, fewer where there are no more."""
    end = int(await connection.fetchval(query("take_numbers"), pool.id, count))
    some = range(end - count, min(end, pool.coupon.codes))
    made = [code_number(pool.coupon, pool.secret, number) for number in some]
    statics = await connection.fetch(query("static_codes"), [code.upper() for code in made])
    if statics:
        taken = {one.coupon.code.upper() for one in await pools(connection) if one.coupon.kind == "static"}
        made = [code for code in made if code.upper() not in taken]
    return made


async def release(connection: Connection, held: Iterable[Held], pools_by_id: Mapping[int, Pool]) -> None:
    """Give codes back that were reserved, and whose message was certainly not sent; within the caller's transaction."""
    ids: dict[bool, list[int]] = {False: [], True: []}
    for one in held:
        ids[pools_by_id[one.pool].coupon.kind == "generator"].append(one.id)
    if ids[False]:
        await connection.execute(query("release_coupons"), ids[False])
    if ids[True]:
        await connection.execute(query("unmake_coupons"), ids[True])


async def give_back(connection: Connection, pool: Pool, keys: Sequence[str]) -> int:
    """Give back what keys hold whose message was never handed to a queue; -> how many."""
    async with connection.transaction():
        found = [one for one in await hold(connection, [(pool.id, key) for key in keys]) if one.state == State.RESERVED]
        await release(connection, found, {pool.id: pool})
    return len(found)


# -- a list of people --------------------------------------------------------------------------------------------------


async def assign(connection: Connection, pool: Pool, list_id: int, field: str, now: datetime) -> tuple[int, int]:
    """Give everybody of a list a code, in a field of theirs; -> how many have got one now, and how many none.

    Whoever has a value there keeps it. Telling it again completes it, with the same codes.
    raises  StoreError: the field holds codes of another pool; retryable ones
    """
    for row in await connection.fetch(query("coupon_lists"), list_id):
        if row["field"] == field and row["pool"] != pool.id:
            raise OrderFault(
                f"coupon pool {pool.name!r}: expected a field without codes, found {field!r} of another pool"
            )
    # Before anybody has one: what is sent to the list is followed from here on.
    await connection.execute(query("note_list_coupons"), list_id, pool.id, field, now)
    await connection.execute(query("add_list_field"), list_id, field)
    given = lacking = 0
    for bucket in range(BUCKETS):
        behind = -1
        while True:
            rows = await connection.fetch(query("entries_without"), bucket, list_id, field, behind, A_PAGE)
            if not rows:
                break
            numbers = [row["number"] for row in rows]
            behind = numbers[-1]
            codes = await reserve(connection, pool, [(list_key(list_id, one), one) for one in numbers], now)
            have = [(number, code.code) for number, code in zip(numbers, codes, strict=True) if code is not None]
            if have:
                await connection.execute(
                    query("write_entry_codes"), bucket, list_id, field, ints(one for one, _ in have),
                    texts(one for _, one in have),
                )  # fmt: skip
            given += len(have)
            lacking += len(numbers) - len(have)
    return given, lacking


def list_key(list_id: int, number: int) -> str:
    """The key of the code of somebody in a list."""
    return f"list:{list_id}:{number}"


# -- what becomes of them ----------------------------------------------------------------------------------------------


async def carry(connection: Connection, run: int, pool: Pool, field: int) -> None:
    """Say that messages of a run carry codes of a pool: in which column of their values, from 1, the keys stand.

    A column that the template does not name is sent to nobody.
    """
    if pool.coupon.kind != "static":
        await connection.execute(query("carry_coupons"), run, pool.id, field)


async def forget_runs(connection: Connection) -> None:
    """Follow runs no more that are gone."""
    await connection.execute(query("drop_carried"))


async def carrying(connection: Connection) -> dict[tuple[int, int], tuple[int, int | None]]:
    """Read which runs carry codes: (run, pool) -> column of the keys, and the list it is over; lists are looked up."""
    await connection.execute(query("carry_lists"))
    rows = await connection.fetch(query("carrying"))
    return {(row["run"], row["pool"]): (row["field"], row["list"]) for row in rows}


async def ended(
    connection: Connection,
    lane: int,
    since: datetime,
    until: datetime,
    carried: Mapping[tuple[int, int], tuple[int, int | None]],
) -> tuple[list[Ended], datetime, bool]:
    """Read what came of messages with codes on a lane; -> it, up to when that is, and whether there is more behind."""
    asked = sorted({(run, field) for (run, _), (field, _) in carried.items()})
    pools_of: dict[tuple[int, int], list[tuple[int, int | None]]] = {}
    for (run, pool), (field, list_id) in carried.items():
        pools_of.setdefault((run, field), []).append((pool, list_id))
    limit = ROWS
    while True:
        rows = await connection.fetch(
            query("coupon_outcomes"), lane, since, until, ints(one for one, _ in asked), ints(one for _, one in asked),
            limit,
        )  # fmt: skip
        has_more = len(rows) == limit
        end: datetime = rows[-1]["at"] if has_more else until
        if not has_more or rows[0]["at"] < end:
            break
        # All of one moment are read together.
        limit *= 2
    found = []
    for row in rows:
        if row["at"] >= end:
            continue
        for pool, list_id in pools_of[row["run"], row["field"]]:
            # Of a list a code is the person's own, whatever comes of one message: another run may send it again.
            key = row["key"] if row["field"] else list_key(list_id or 0, row["number"])
            if key:
                found.append(
                    Ended(
                        pool=pool,
                        key=key,
                        at=row["at"],
                        status=row["status"],
                        run=row["run"],
                        lane=lane,
                        is_unsent=row["is_unsent"] and row["field"] > 0,
                        chunk_id=row["chunk_id"],
                        pos=row["pos"],
                    )  # fmt: skip
                )
    return found, end, has_more


async def look(connection: Connection, keys: Sequence[tuple[int, str]]) -> list[Held]:
    """Read the codes of keys (pool, key)."""
    rows = await connection.fetch(query("held_coupons"), ints(one for one, _ in keys), texts(one for _, one in keys))
    return [Held(**dict(row)) for row in rows]


async def hold(connection: Connection, keys: Sequence[tuple[int, str]]) -> list[Held]:
    """Hold the codes of keys (pool, key) until the caller's transaction ends."""
    rows = await connection.fetch(query("hold_coupons"), ints(one for one, _ in keys), texts(one for _, one in keys))
    return [Held(**dict(row)) for row in rows]


async def issue(connection: Connection, sent: Sequence[tuple[Held, Ended]], pools_by_id: Mapping[int, Pool]) -> None:
    """Write down codes that were sent; a second time changes nothing. Their ends are counted from the sending."""
    if sent:
        ends = [pools_by_id[one.pool].coupon.expires_at(end.at) for one, end in sent]
        await connection.execute(
            query("issue_coupons"), [one.id for one, _ in sent], [end.at for _, end in sent], ends,
            [end.run for _, end in sent], [end.lane for _, end in sent], [end.chunk_id for _, end in sent],
            [end.pos for _, end in sent],
        )  # fmt: skip


async def issue_now(connection: Connection, pool: Pool, key: str, now: datetime) -> datetime | None:
    """Write down that a key has its code from now on, whichever message names it; -> when it ends, None: never."""
    ends_at = pool.coupon.expires_at(now)
    async with connection.transaction():
        held = [one.id for one in await hold(connection, [(pool.id, key)]) if one.issued_at is None]
        nothing = [None] * len(held)
        await connection.execute(
            query("issue_coupons"), held, [now] * len(held), [ends_at] * len(held), nothing, nothing, nothing, nothing
        )
    return ends_at


async def begin_life(
    connection: Connection, tried: Sequence[tuple[Held, Ended]], pools_by_id: Mapping[int, Pool]
) -> None:
    """Let codes end whose message left us and was not taken: they are free never again."""
    ends = [(one.id, at) for one, end in tried if (at := pools_by_id[one.pool].coupon.expires_at(end.at)) is not None]
    if ends:
        await connection.execute(query("begin_life"), [one for one, _ in ends], [at for _, at in ends])


async def expire(connection: Connection, now: datetime, most: int) -> int:
    """Let codes end whose time is over; -> how many, at most so many."""
    return int((await connection.execute(query("expire_coupons"), now, most)).rsplit(" ", 1)[1])


async def redeem(connection: Connection, code: str, order_key: str, at: datetime) -> Redemption:
    """Take a code for an order, once; the check of S0.15: one that has expired is refused.

    at  when the order was placed, of which late news is no matter
    """
    async with connection.transaction():
        row = await connection.fetchrow(query("hold_coupon"), code)
        if row is None:
            return await _redeem_static(connection, code, order_key, at)
        verdict = _verdict_of(row, order_key, at)
        if verdict == "redeemed":
            await connection.execute(query("redeem_coupon"), row["id"], at, order_key)
    return Redemption(
        verdict=verdict, code=row["code"], order_key=order_key, pool=row["name"], id=row["id"], number=row["number"],
        run=row["run"], expires_at=row["expires_at"],
    )  # fmt: skip


def _verdict_of(row: Mapping[str, Any], order_key: str, at: datetime) -> Verdict:
    state = State(row["state"])
    if state == State.REDEEMED:
        return "again" if row["order_key"] == order_key else "used"
    if state == State.VOID:
        return "void"
    if state == State.FREE:
        return "unsent"
    # While the news of its sending is on the way it is as good as sent; an order of before its end may be told late.
    coupon = msgspec.json.decode(row["body"], type=Coupon)
    is_late = coupon.is_over(at) or (row["expires_at"] is not None and row["expires_at"] <= at)
    return "expired" if is_late else "redeemed"


async def _redeem_static(connection: Connection, code: str, order_key: str, at: datetime) -> Redemption:
    rows = await connection.fetch(query("static_codes"), [code.upper()])
    if not rows:
        return Redemption(verdict="unknown", code=code, order_key=order_key)
    pool = await find(connection, rows[0]["name"])
    assert pool is not None
    verdict: Verdict = "expired"
    if not pool.coupon.is_over(at):
        is_new = await connection.fetchval(query("use_static"), pool.id, order_key, at) is not None
        verdict = "redeemed" if is_new else "again"
    return Redemption(
        verdict=verdict, code=pool.coupon.code, order_key=order_key, pool=pool.name, expires_at=pool.coupon.ends_at
    )


async def void(connection: Connection, code: str) -> str:
    """Take a code out of use; -> what it was before; redeemed stays redeemed, "unknown": there is none."""
    async with connection.transaction():
        row = await connection.fetchrow(query("hold_coupon"), code)
        if row is None:
            return "unknown"
        state = State(row["state"])
        if state not in (State.REDEEMED, State.VOID):
            await connection.execute(query("void_coupon"), row["id"])
    return state.name.lower()


async def void_free(connection: Connection, pool: Pool) -> int:
    """Take all free codes of a pool out of use; -> how many."""
    return int((await connection.execute(query("void_free"), pool.id)).rsplit(" ", 1)[1])


async def states(connection: Connection, pool: Pool) -> dict[str, int]:
    """Count the codes of a pool by what became of them; of a static one the orders that used it."""
    if pool.coupon.kind == "static":
        return {"redeemed": int(await connection.fetchval(query("static_uses"), pool.id))}
    rows = await connection.fetch(query("coupon_states"), pool.id)
    return {State(row["state"]).name.lower(): row["n"] for row in rows}


# -- orders that name codes --------------------------------------------------------------------------------------------


async def tell(connection: Connection, orders: Sequence[tuple[int, int, int, str, str, Sequence[str]]]) -> None:
    """Write down orders that name codes, in the transaction that takes them in.

    orders  bucket, id and microseconds of the event, its name, the key of the order, the codes
    """
    await connection.execute(
        query("add_coupons_told"), ints(one[0] for one in orders), ints(one[1] for one in orders),
        ints(one[2] for one in orders), texts(one[3] for one in orders), texts(one[4] for one in orders),
        texts(" ".join(one[5]) for one in orders),
    )  # fmt: skip


async def told(connection: Connection, most: int) -> list[Told]:
    """Read orders that name codes and were not looked at."""
    return [Told(**dict(row)) for row in await connection.fetch(query("coupons_told"), most)]


async def forget_told(connection: Connection, orders: Iterable[Told]) -> None:
    """Take away what was looked at."""
    by_bucket: dict[int, list[int]] = {}
    for one in orders:
        by_bucket.setdefault(one.bucket, []).append(one.id)
    for bucket, ids in sorted(by_bucket.items()):
        await connection.execute(query("drop_coupons_told"), bucket, ids)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
