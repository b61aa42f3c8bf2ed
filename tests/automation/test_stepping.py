"""Campaigns carried out: on a real Postgres and a clock of the test's own."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from gateway.reasons import Reason
from tests.fixtures.shop import NOW, Shop

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003
CART = """
name = "cart"
brand = "acme"
wait = "30m"
message = {text = 'Hi {{ first_name|default("there") }}, {{ cart_id }} waits.'}
[trigger]
on = "event"
event = "cart_updated"
where = "total > 50"
key = "cart_id"
[[goals]]
event = "order_placed"
[[exceptions]]
event = "cart_emptied"
key = "cart_id"
"""


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    made = await Shop.open(dsn)
    yield made
    made.close()


async def test_event_that_fits_brings_a_text_after_the_wait_and_not_before(shop: Shop) -> None:
    await shop.people([ANN, BOB, CAT], {"first_name": "Ann"})
    await shop.apply(CART)
    await shop.tells(ANN, "cart_updated", {"cart_id": "a1", "total": 80})
    await shop.tells(BOB, "cart_updated", {"cart_id": "b1", "total": 20})
    await shop.goes_on(timedelta(minutes=30) - timedelta(milliseconds=1))
    assert await shop.texts() == []
    await shop.goes_on(timedelta(milliseconds=1))
    assert await shop.texts() == [(ANN, "Hi Ann, a1 waits.")]
    assert await shop.standing("cart") == [(ANN, 2, 1, 0)]


async def test_exception_of_the_same_cart_ends_it_and_that_of_another_does_not(shop: Shop) -> None:
    await shop.people([ANN, BOB])
    await shop.apply(CART)
    for number in (ANN, BOB):
        await shop.tells(number, "cart_updated", {"cart_id": "c", "total": 80})
    await shop.goes_on(timedelta(minutes=10))
    await shop.tells(ANN, "cart_emptied", {"cart_id": "c"})
    await shop.tells(BOB, "cart_emptied", {"cart_id": "another"})
    await shop.goes_on(timedelta(minutes=20))
    assert [number for number, _ in await shop.texts()] == [BOB]
    assert (await shop.standing("cart"))[0][2:] == (1, Reason.EXCEPTION)


async def test_goal_ends_it_and_nobody_without_consent_enters(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.people([BOB], consents_=False)
    await shop.apply(CART)
    for number in (ANN, BOB):
        await shop.tells(number, "cart_updated", {"cart_id": "c", "total": 80})
    await shop.goes_on(timedelta(minutes=10))
    await shop.tells(ANN, "order_placed", {"order_id": "1"})
    await shop.goes_on(timedelta(minutes=30))
    assert await shop.texts() == []
    assert [one[2:] for one in await shop.standing("cart")] == [(1, Reason.GOAL_MET), (2, Reason.NO_CONSENT)]


async def test_cause_told_twice_enters_once(shop: Shop) -> None:
    await shop.people([ANN])
    await shop.apply(CART)
    for _ in range(2):
        await shop.tells(ANN, "cart_updated", {"cart_id": "c", "total": 80}, at=NOW, event_id="same")
    await shop.goes_on(timedelta(hours=1))
    assert len(await shop.texts()) == 1
