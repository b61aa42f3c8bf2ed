"""Who holds which code: one is never two people's, whoever reserves at once and whoever is killed (invariant 10)."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.coupon import Coupon, State
from gateway.errors import StoreError
from gateway.store import coupons, postgres
from gateway.store.coupons import Ended, Pool
from gateway.store.queries import query
from tests.fixtures.campaign import make_list

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBER = 447700900000
SECRET = b"s" * 32
POOL = Coupon(kind="pool", life="48h", url="https://shop.example/discount/{code}")
GENERATOR = Coupon(kind="generator", life="48h", length=8)

RESERVER = """
import asyncio, os, signal, sys
from random import Random
import asyncpg
from tests.store.test_coupons import NOW, NUMBER
from gateway.store import coupons

class Dying(asyncpg.Connection):
    left = int(sys.argv[3])
    async def fetch(self, *a, **k):
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        found = await super().fetch(*a, **k)
        Dying.left -= 1
        if Dying.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

async def main():
    connection = await asyncpg.connect(sys.argv[1], connection_class=Dying)
    pool = await coupons.find(connection, sys.argv[2])
    for start in range(0, 60, 20):
        await coupons.reserve(connection, pool, [(f"k{at}", NUMBER + at) for at in range(start, start + 20)], NOW)

asyncio.run(main())
"""


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def pool_of(connection: Any, codes: int, coupon: Coupon = POOL, name: str = "spring") -> Pool:
    made = await coupons.create(connection, name, coupon, SECRET, NOW)
    if coupon.kind == "pool":
        await coupons.add(connection, made, [f"{name}-{at:06}" for at in range(codes)])
    found = await coupons.find(connection, name)
    assert found is not None
    return found


def asks(first: int, count: int) -> list[tuple[str, int]]:
    return [(f"k{at}", NUMBER + at) for at in range(first, first + count)]


async def holders(connection: Any) -> Counter[str]:
    """How many keys each code is reserved for; of the table alone."""
    return Counter(
        row["code"].upper() for row in await connection.fetch("SELECT code FROM coupon WHERE key IS NOT NULL")
    )


@pytest.mark.covers("S1.19")
@pytest.mark.parametrize("coupon", [POOL, GENERATOR], ids=["pool", "generator"])
async def test_tp_5_the_same_key_has_the_same_code_and_another_key_another(connection: Any, coupon: Coupon) -> None:
    pool = await pool_of(connection, 10, coupon)
    first = await coupons.reserve(connection, pool, asks(0, 4), NOW)
    again = await coupons.reserve(connection, pool, asks(2, 4), NOW + HOUR)
    assert first[2:] == again[:2] and None not in (*first, *again)
    codes = [one.code for one in (*first, *again[2:]) if one]
    assert len(set(codes)) == 6
    twice = await coupons.reserve(connection, pool, [("k9", NUMBER), ("k9", NUMBER)], NOW)
    assert twice[0] == twice[1] is not None


async def test_a_static_code_is_everybodys_and_writes_no_row_a_person(connection: Any) -> None:
    pool = await pool_of(connection, 0, Coupon(kind="static", code="SPRING", url="https://shop.example/{code}"))
    one, two = await coupons.reserve(connection, pool, asks(0, 2), NOW)
    assert one == two == coupons.Code(code="SPRING", url="https://shop.example/SPRING")
    assert await connection.fetchval("SELECT count(*) FROM coupon") == 0


async def test_tp_5_an_empty_pool_gives_none_until_codes_come_and_the_launch_knows_how_many_are_missing(
    connection: Any,
) -> None:
    pool = await pool_of(connection, 3)
    assert await coupons.shortfall(connection, pool, 5) == 2 and await coupons.shortfall(connection, pool, 3) == 0
    found = await coupons.reserve(connection, pool, asks(0, 5), NOW)
    assert sum(one is None for one in found) == 2
    assert await coupons.shortfall(connection, pool, 5) == 5
    await coupons.add(connection, pool, ["later-1", "later-2"])
    later = await coupons.reserve(connection, pool, asks(0, 5), NOW)
    assert None not in later and [one for one in found if one] == [
        new for one, new in zip(found, later, strict=True) if one
    ]


async def test_an_offer_that_is_over_gives_no_code_but_to_whom_it_gave_one(connection: Any) -> None:
    pool = await pool_of(connection, 3, Coupon(kind="pool", until="2026-03-01T13:00:00Z"))
    before = await coupons.reserve(connection, pool, asks(0, 1), NOW)
    assert await coupons.reserve(connection, pool, asks(0, 2), NOW + HOUR) == [*before, None]


async def test_a_code_of_one_pool_is_in_no_other_however_it_is_written(connection: Any) -> None:
    pool, other = await pool_of(connection, 0), await pool_of(connection, 0, name="other")
    await coupons.create(connection, "all", Coupon(kind="static", code="ALL"), SECRET, NOW)
    done = await coupons.add(connection, pool, ["A1", "a1", "B2"])
    assert (done.added, done.known, done.others) == (2, 0, 0)
    done = await coupons.add(connection, other, ["a1", "C3", "all"])
    assert (done.added, done.known, done.others) == (1, 0, 2)
    done = await coupons.add(connection, pool, ["b2", "D4"])
    assert (done.added, done.known, done.others) == (1, 1, 0)
    with pytest.raises(StoreError, match="expected a code that is nobody's, found 'a1': a code of a pool"):
        await coupons.create(connection, "taken", Coupon(kind="static", code="a1"), SECRET, NOW)
    with pytest.raises(StoreError, match="found 'all': pool 'all' has it"):
        await coupons.create(connection, "taken", Coupon(kind="static", code="all"), SECRET, NOW)


async def test_a_generator_leaves_out_what_another_pool_has(connection: Any) -> None:
    pool = await pool_of(connection, 0, GENERATOR)
    taken = [coupons.code_number(GENERATOR, SECRET, at) for at in (0, 2)]
    await coupons.add(connection, await pool_of(connection, 0, name="theirs"), [one.lower() for one in taken])
    found = [one.code for one in await coupons.reserve(connection, pool, asks(0, 5), NOW) if one]
    assert len(set(found)) == 5 and not set(found) & set(taken)


async def test_a_generator_that_has_made_all_its_codes_holds(connection: Any) -> None:
    pool = await pool_of(connection, 0, GENERATOR)
    await connection.execute("UPDATE coupon_pool SET next = $1", GENERATOR.codes - 2)
    found = await coupons.reserve(connection, pool, asks(0, 5), NOW)
    assert sum(one is None for one in found) == 3
    assert await coupons.reserve(connection, pool, asks(5, 1), NOW) == [None]
    after = await coupons.find(connection, pool.name)
    assert after is not None and await coupons.shortfall(connection, after, 7) == 7


async def test_a_pool_may_change_what_it_says_and_not_what_its_codes_are(connection: Any) -> None:
    await pool_of(connection, 1)
    longer = await coupons.create(connection, "spring", Coupon(kind="pool", life="7d"), b"t" * 32, NOW)
    assert longer.coupon.life == "7d" and longer.secret == SECRET
    with pytest.raises(StoreError, match="kind: expected 'pool' as it was made, found 'generator'"):
        await coupons.create(connection, "spring", GENERATOR, SECRET, NOW)


@pytest.mark.parametrize("coupon", [POOL, GENERATOR], ids=["pool", "generator"])
async def test_invariant_10_of_64_who_reserve_at_once_no_two_people_have_one_code(
    connection: Any, dsn: str, coupon: Coupon
) -> None:
    pool = await pool_of(connection, 700, coupon)
    opened = await asyncio.gather(*(asyncpg.connect(dsn) for _ in range(64)))
    told: dict[str, set[str]] = {}

    async def reserve(one: Any, seed: int) -> None:
        # Keys overlap: a step that another worker takes over is asked for again while the first still asks.
        for start in random_starts(Random(seed)):
            asked = asks(start, 20)
            Random(seed).shuffle(asked)
            for (key, _), code in zip(asked, await coupons.reserve(one, pool, asked, NOW), strict=True):
                if code is not None:
                    told.setdefault(key, set()).add(code.code)

    def random_starts(own: Random) -> list[int]:
        return [own.randrange(0, 600) for _ in range(3)]

    try:
        async with asyncio.timeout(120):
            await asyncio.gather(*(reserve(one, at) for at, one in enumerate(opened)))
    finally:
        for one in opened:
            one.terminate()
    assert len(told) > 500 and all(len(codes) == 1 for codes in told.values())
    assert len({code for codes in told.values() for code in codes}) == len(told)
    assert set((await holders(connection)).values()) == {1}


@pytest.mark.parametrize("dies_at", [1, 2, 3, 4, 5, 6, 7, 9, 11, 13])
@pytest.mark.parametrize("coupon", [POOL, GENERATOR], ids=["pool", "generator"])
async def test_invariant_10_a_reserver_that_is_killed_leaves_each_key_one_code_or_none(
    connection: Any, dsn: str, coupon: Coupon, dies_at: int
) -> None:
    pool = await pool_of(connection, 80, coupon)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", RESERVER, dsn, pool.name, str(dies_at))
    async with asyncio.timeout(60):
        assert await process.wait() in (-9, 0)
    async with asyncio.timeout(30):
        # The server ends what the dead one had begun when it finds the connection gone.
        before = {
            row["key"]: row["code"] for row in await connection.fetch("SELECT key, code FROM coupon WHERE key <> ''")
        }
        found = await coupons.reserve(connection, pool, asks(0, 60), NOW)
    codes = {key: one.code for (key, _), one in zip(asks(0, 60), found, strict=True) if one}
    assert len(set(codes.values())) == 60 and before.items() <= codes.items()
    assert set((await holders(connection)).values()) == {1}


def ended(pool: Pool, key: str, status: int, at: datetime = NOW, *, is_unsent: bool = False) -> Ended:
    return Ended(pool=pool.id, key=key, at=at, status=status, is_unsent=is_unsent, run=7, lane=1, chunk_id=2, pos=3)


async def settle(connection: Any, pool: Pool, end: Ended) -> None:
    """What the job does with one end, without its events."""
    async with connection.transaction():
        held = [(one, end) for one in await coupons.hold(connection, [(pool.id, end.key)])]
        by_id = {pool.id: pool}
        if end.status == 0:
            await coupons.issue(connection, held, by_id)
        elif end.status > 0:
            await coupons.begin_life(connection, held, by_id)
        elif end.is_unsent:
            await coupons.release(connection, [one for one, _ in held if one.state == State.RESERVED], by_id)


async def state_of(connection: Any, key: str) -> int | None:
    found: int | None = await connection.fetchval("SELECT state FROM coupon WHERE key = $1", key)
    return found


async def test_tp_5_a_code_is_free_again_only_if_its_message_was_certainly_not_sent(connection: Any) -> None:
    pool = await pool_of(connection, 3)
    await coupons.reserve(connection, pool, asks(0, 3), NOW)
    await settle(connection, pool, ended(pool, "k0", -30, is_unsent=True))
    await settle(connection, pool, ended(pool, "k1", -30))
    await settle(connection, pool, ended(pool, "k2", 0x0B))
    assert [await state_of(connection, f"k{at}") for at in range(3)] == [None, State.RESERVED, State.RESERVED]
    # What the SMSC has rejected left us: its time runs, and even a refusal that is told later frees it no more.
    await settle(connection, pool, ended(pool, "k2", -30, is_unsent=True))
    assert await state_of(connection, "k2") == State.RESERVED
    assert await coupons.expire(connection, NOW + 48 * HOUR, 10) == 1
    assert await coupons.shortfall(connection, pool, 3) == 2


async def test_a_code_that_was_made_and_not_sent_is_never_made_again(connection: Any) -> None:
    pool = await pool_of(connection, 0, GENERATOR)
    one = (await coupons.reserve(connection, pool, asks(0, 1), NOW))[0]
    assert await coupons.give_back(connection, pool, ["k0", "unknown"]) == 1
    assert await coupons.give_back(connection, pool, ["k0"]) == 0
    assert one not in await coupons.reserve(connection, pool, asks(0, 50), NOW)


@pytest.mark.covers("S0.15", "S1.12")
async def test_tp_5_a_code_is_redeemed_once_within_its_life_and_refused_when_that_is_over(connection: Any) -> None:
    pool = await pool_of(connection, 4)
    codes = [one.code for one in await coupons.reserve(connection, pool, asks(0, 3), NOW) if one]
    for at in range(3):
        await settle(connection, pool, ended(pool, f"k{at}", 0, NOW))
    good = await coupons.redeem(connection, codes[0].lower(), "o1", NOW + 47 * HOUR)
    assert (good.verdict, good.number, good.run, good.expires_at) == ("redeemed", NUMBER, 7, NOW + 48 * HOUR)
    assert (await coupons.redeem(connection, codes[0], "o1", NOW + 49 * HOUR)).verdict == "again"
    assert (await coupons.redeem(connection, codes[0], "o2", NOW)).verdict == "used"
    assert (await coupons.redeem(connection, codes[1], "o3", NOW + 48 * HOUR)).verdict == "expired"
    assert await coupons.expire(connection, NOW + 48 * HOUR, 10) == 2
    # The order was placed in time, and we were told late (GL-9).
    assert (await coupons.redeem(connection, codes[2], "o4", NOW + 47 * HOUR)).verdict == "redeemed"
    assert (await coupons.redeem(connection, codes[1], "o5", NOW + 50 * HOUR)).verdict == "expired"
    free = await connection.fetchval("SELECT code FROM coupon WHERE state = 0")
    assert (await coupons.redeem(connection, free, "o6", NOW)).verdict == "unsent"
    assert (await coupons.redeem(connection, "nobodys", "o7", NOW)).verdict == "unknown"
    assert await coupons.void(connection, codes[1]) == "expired" and await coupons.void(connection, "x") == "unknown"
    assert (await coupons.redeem(connection, codes[1], "o8", NOW)).verdict == "void"
    assert await coupons.void(connection, codes[0]) == "redeemed"
    assert await coupons.states(connection, pool) == {"free": 1, "redeemed": 2, "void": 1}


async def test_a_static_code_is_taken_once_an_order_until_its_offer_is_over(connection: Any) -> None:
    pool = await pool_of(connection, 0, Coupon(kind="static", code="SPRING", until="2026-03-02"))
    said = [(await coupons.redeem(connection, "spring", order, NOW)).verdict for order in ("o1", "o2", "o1")]
    assert said == ["redeemed", "redeemed", "again"] and await coupons.states(connection, pool) == {"redeemed": 2}
    assert (await coupons.redeem(connection, "SPRING", "o3", NOW + 12 * HOUR)).verdict == "expired"


async def test_a_code_that_is_taken_out_of_use_leaves_its_key_another(connection: Any) -> None:
    pool = await pool_of(connection, 3)
    one = (await coupons.reserve(connection, pool, asks(0, 1), NOW))[0]
    assert one is not None and await coupons.void(connection, one.code) == "reserved"
    other = (await coupons.reserve(connection, pool, asks(0, 1), NOW))[0]
    assert other is not None and other != one
    assert await coupons.void_free(connection, pool) == 1


async def test_cn_12_codes_of_somebody_who_is_erased_are_nobodys_and_not_given_away(connection: Any) -> None:
    pool = await pool_of(connection, 2)
    await coupons.reserve(connection, pool, [(coupons.list_key(3, NUMBER), NUMBER), ("k", NUMBER + 1)], NOW)
    await connection.execute(query("erase_coupons"), [NUMBER])
    rows = await connection.fetch("SELECT state, key, number FROM coupon ORDER BY id")
    assert [row["number"] for row in rows if row["state"] == State.VOID] == [None]
    assert not any(str(NUMBER) in row["key"] for row in rows)
    assert await coupons.shortfall(connection, pool, 1) == 1


async def test_everybody_of_a_list_has_a_code_and_telling_it_again_changes_nothing(connection: Any) -> None:
    pool = await pool_of(connection, 5)
    people = {NUMBER + at: {"name": f"n{at}"} for at in range(7)}
    list_id = await make_list(connection, people)
    assert await coupons.assign(connection, pool, list_id, "code", NOW) == (5, 2)
    before = await entries(connection, list_id)
    assert sum("code" in one for one in before.values()) == 5 and all("name" in one for one in before.values())
    await coupons.add(connection, pool, ["m1", "m2", "m3"])
    assert await coupons.assign(connection, pool, list_id, "code", NOW) == (2, 0)
    after = await entries(connection, list_id)
    assert len({one["code"] for one in after.values()}) == 7
    assert all(after[number]["code"] == one["code"] for number, one in before.items() if "code" in one)
    # A file that is brought in once more takes the field away: everybody gets their own again.
    await connection.execute("UPDATE list_entry SET attributes = attributes - 'code'")
    assert await coupons.assign(connection, pool, list_id, "code", NOW) == (7, 0)
    assert await entries(connection, list_id) == after
    assert await connection.fetchval("SELECT fields FROM contact_list WHERE id = $1", list_id) == ["code"]
    with pytest.raises(StoreError, match="expected a field without codes, found 'code' of another pool"):
        await coupons.assign(connection, await pool_of(connection, 9, name="other"), list_id, "code", NOW)


async def entries(connection: Any, list_id: int) -> dict[int, dict[str, Any]]:
    rows = await connection.fetch("SELECT number, attributes FROM list_entry WHERE list = $1", list_id)
    return {row["number"]: msgspec.json.decode(row["attributes"]) for row in rows}


class Life(RuleBasedStateMachine):
    """Codes reserved, sent, refused, redeemed and ended in any order, beside a model of a few lines."""

    connection: Any
    pool: Pool
    call: Callable[[Awaitable[Any]], Any]

    def __init__(self) -> None:
        super().__init__()
        self.call(self.connection.execute("DELETE FROM coupon"))
        self.call(coupons.add(self.connection, self.pool, [f"c{at}" for at in range(8)]))
        self.told: dict[str, str] = {}  # key -> code, as long as it was not given back
        self.out: dict[str, str] = {}  # code -> the key it left us with
        self.orders: dict[str, str] = {}

    keys = st.sampled_from([f"k{at}" for at in range(12)])

    @rule(key=keys)
    def reserve(self, key: str) -> None:
        found = self.call(coupons.reserve(self.connection, self.pool, [(key, NUMBER + int(key[1:]))], NOW))[0]
        if key in self.told:
            assert found is not None and found.code == self.told[key]
        elif found is not None:
            assert found.code not in self.told.values() and found.code not in self.out
            self.told[key] = found.code
        else:
            assert len(set(self.told.values()) | set(self.out)) == 8

    @rule(key=keys, status=st.sampled_from([0, 0x0B, -13, -30]), is_unsent=st.booleans())
    def end(self, key: str, status: int, is_unsent: bool) -> None:
        code = self.told.get(key)
        self.call(settle(self.connection, self.pool, ended(self.pool, key, status, is_unsent=is_unsent and status < 0)))
        if code is None:
            return
        if status >= 0:
            self.out[code] = key
        elif is_unsent and code not in self.out and code not in self.orders:
            del self.told[key]

    @rule(key=keys, order=st.sampled_from(["o1", "o2"]))
    def redeem(self, key: str, order: str) -> None:
        code = self.told.get(key)
        if code is None:
            return
        verdict = self.call(coupons.redeem(self.connection, code, order, NOW)).verdict
        before = self.orders.setdefault(code, order)
        assert verdict in (("redeemed", "again") if before == order else ("used",)) or verdict == "expired"

    @invariant()
    def nobody_shares_a_code(self) -> None:
        rows = self.call(self.connection.fetch("SELECT key, code, state FROM coupon WHERE key IS NOT NULL"))
        assert {row["key"]: row["code"] for row in rows} == self.told
        assert all(row["state"] != State.FREE for row in rows)
        assert all(self.told.get(key) == code for code, key in self.out.items())


@pytest.mark.slow
def test_invariant_10_holds_in_any_order_of_reserving_sending_refusing_and_redeeming(dsn: str) -> None:
    loop = asyncio.new_event_loop()
    try:
        opened = loop.run_until_complete(postgres.connect(dsn))
        Life.connection, Life.call = opened, staticmethod(loop.run_until_complete)
        Life.pool = loop.run_until_complete(pool_of(opened, 0))
        run_state_machine_as_test(
            Life, settings=settings(max_examples=30, stateful_step_count=25, deadline=None,
                                    suppress_health_check=list(HealthCheck)),
        )  # fmt: skip
        loop.run_until_complete(postgres.close(opened))
    finally:
        loop.close()
