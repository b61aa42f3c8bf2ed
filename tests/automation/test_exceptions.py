"""Trigger, exception and gate in any order (EX-6): nobody is written to whose exception was committed before the gate.

A world is a cart of a person: it is told to be left, and perhaps to be bought, each at a turn drawn by a seed, by a
clock that need not agree with the order in which we hear of it.
    turn    tell what worlds tell now │ carry campaigns on │ ask the gate │ tell while the gate is asked
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from msgspec import Struct

from gateway.dispatch import admission
from gateway.person import Item, Who
from gateway.store import months, postgres, profiles
from tests.fixtures.keeper import Keeper
from tests.fixtures.shop import NOW

FIRST = 447700900001
CARTS = 8
TURNS = 24
TURN = timedelta(minutes=5)
CART = """
name = "cart"
brand = "acme"
class = "transactional"
wait = "15m"
message = {text = "Cart {{ cart }} waits."}
aim = "a"
expires = "48h"
[trigger]
on = "event"
event = "cart_left"
key = "cart"
[[exceptions]]
event = "bought"
key = "cart"
"""


class World(Struct):
    """A cart: when we hear that it was left and bought, as turns, and when that was; bought_turn None: never."""

    number: int
    cart: str
    left_turn: int
    left_at: datetime
    bought_turn: int | None
    bought_at: datetime
    passed_turn: int | None = None
    passes: int = 0

    @property
    def is_excepted(self) -> bool:
        """Whether it counts (EX-1): strictly later, or at the same instant and told later."""
        if self.bought_turn is None or self.bought_at < self.left_at:
            return False
        return self.bought_at > self.left_at or self.bought_turn > self.left_turn


def worlds_of(seed: int, people: int) -> list[World]:
    chance = random.Random(seed)
    found = []
    for number in range(FIRST, FIRST + people):
        for cart in range(CARTS):
            left = chance.randrange(2, TURNS - 8)
            bought = left + chance.choice((-2, -1, 1, 2, 3, 4, 5, 6, 7))
            left_at = NOW + left * TURN - timedelta(seconds=chance.choice((0, 0, 1, 400)))
            at = NOW + bought * TURN
            bought_at = chance.choice((at, at, at, left_at, left_at + timedelta(microseconds=1), left_at - TURN))
            found.append(
                World(
                    number=number, cart=str(cart), left_turn=left, left_at=left_at,
                    bought_turn=bought if chance.random() < 0.8 else None, bought_at=min(bought_at, at),
                )
            )  # fmt: skip
    return found


async def play(keeper: Keeper, dsn: str, worlds: Sequence[World], seed: int) -> None:
    """Carry out all turns; note on each world at which of them the gate let its text pass."""
    shop, chance = keeper.shop, random.Random(seed)
    await shop.people(sorted({one.number for one in worlds}))
    await shop.apply(CART)
    teller = await postgres.connect(dsn)
    by_cart = {(one.number, one.cart): one for one in worlds}

    async def tell(turn: int) -> None:
        told = [(one, "cart_left", one.left_at) for one in worlds if one.left_turn == turn]
        told += [(one, "bought", one.bought_at) for one in worlds if one.bought_turn == turn]
        chance.shuffle(told)
        items = [
            Item(
                who=Who(phone=one.number), name=name, properties={"cart": one.cart}, occurred_at=at,
                event_id=f"{name} {one.number} {one.cart}",
            )
            for one, name, at in told
        ]  # fmt: skip
        await profiles.ingest(teller, items, shop.now, shop.chance)

    async def gate(turn: int) -> None:
        for one in await keeper.claims(1024):
            [row] = await shop.connection.fetch("SELECT key FROM enrolment WHERE id = $1", one.enrolment)
            world = by_cart[one.number, row["key"]]
            world.passed_turn, world.passes = turn, world.passes + 1

    for turn in range(TURNS + 5):
        shop.now = NOW + turn * TURN
        acts = chance.choice(("tsg", "tgs", "sgt", "st", "ts", "gt", "tg", "c", "sc"))
        for act in acts if turn < TURNS else "sg":
            shop.now += timedelta(milliseconds=1)
            if act == "t":
                await tell(turn)
            elif act == "s":
                await shop.goes_on()
            elif act == "g":
                await gate(2 * turn + (acts.find("t") < acts.find("g")))
            else:
                # At the same time: whichever comes first.
                await asyncio.gather(tell(turn), gate(2 * turn))
    await postgres.close(teller)


def wrong(worlds: Sequence[World]) -> list[World]:
    """Name the worlds that were written to though what forestalls it was committed before the gate was asked."""
    return [
        one
        for one in worlds
        if one.passed_turn is not None and one.is_excepted and 2 * (one.bought_turn or 0) < one.passed_turn
    ]


async def test_in_10_000_interleavings_no_text_leaves_behind_its_exception_EX_6(keeper: Keeper, dsn: str) -> None:
    await months.ensure(keeper.shop.connection, "person_event", [NOW])
    worlds = worlds_of(1, 10_000 // CARTS)
    await play(keeper, dsn, worlds, 1)
    assert wrong(worlds) == []
    # Nobody is forgotten, and nothing of it is empty.
    assert [one for one in worlds if not one.is_excepted and one.passes != 1] == []
    assert [one for one in worlds if one.passes > 1] == []
    excepted = [one for one in worlds if one.is_excepted]
    late = sum(one.passes for one in excepted)
    assert len(worlds) == 10_000 and late > 500 and len(excepted) - late > 2000


async def test_gate_that_does_not_ask_for_exceptions_is_found_out_EX_6(
    keeper: Keeper, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: the same worlds with a gate that trusts what was decided before."""
    refused = admission.happenings.refused

    async def trusts(connection, enrolled, exceptions, *rest, **more):  # type: ignore[no-untyped-def]
        return await refused(connection, enrolled, (), *rest, **more)

    monkeypatch.setattr(admission.happenings, "refused", trusts)
    worlds = worlds_of(2, 40)
    await play(keeper, dsn, worlds, 2)
    assert wrong(worlds)
