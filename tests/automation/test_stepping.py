"""Campaigns carried out: on a real Postgres and a clock of the test's own."""

import itertools
import random
from datetime import timedelta

from gateway.message import Refusal
from gateway.product import Product
from gateway.reasons import Reason
from gateway.store import products
from tests.fixtures.shop import CART, NOW, Shop, settings_of

ANN, BOB, CAT = 447700900001, 447700900002, 447700900003


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


def test_rows_that_are_made_in_one_millisecond_have_ids_of_their_own(dsn: str) -> None:
    """Batches of one moment began at chance, and met: the campaign was paused for it."""

    class Never(random.Random):
        """A chance that is always the same."""

        def getrandbits(self, k: int) -> int:
            return 5

    stepping = Shop.__new__(Shop)
    stepping.settings, stepping.now, stepping.chance, stepping.instance = settings_of(dsn), NOW, Never(), "w"
    made = stepping.new_stepping()
    some = [list(itertools.islice(made._ids(NOW), 1000)) for _ in range(3)]
    assert len({one for ids in some for one in ids}) == 3000
    assert next(made._ids(NOW + timedelta(seconds=1))) > some[-1][-1]


RECOMMENDED = """
name = "more"
brand = "acme"
message = {text = 'Try {{ product.name }}, {{ product.price|default("cheap") }}', recommend = "rules"}
aim = "to sell"
[trigger]
on = "event"
event = "seen"
"""


async def test_text_that_recommends_names_what_each_is_recommended_and_who_has_nothing_gets_none(shop: Shop) -> None:
    """By the shop's own rules: what goes with what was bought (S1.33)."""
    feed = [
        Product(id="shoes", name="Trail shoes", related=("socks",)),
        Product(id="socks", name="Wool socks", price=1500, currency="EUR"),
        Product(id="hat", name="Red hat", related=("scarf",)),
        Product(id="scarf", name="Scarf", stock=0),
    ]
    await products.write(shop.connection, feed, NOW)
    await shop.people([ANN, BOB, CAT])
    for number, bought in ((ANN, "shoes"), (BOB, "hat")):
        order = {"order_id": str(number), "total": 9, "currency": "EUR"}
        order |= {"items": [{"product_id": bought, "quantity": 1}]}
        await shop.tells(number, "order_placed", order)
    await shop.apply(RECOMMENDED)
    for number in (ANN, BOB, CAT):
        await shop.tells(number, "seen")
    await shop.goes_on()
    assert await shop.texts() == [(ANN, "Try Wool socks, 15.00 EUR")]
    rows = await shop.connection.fetch("SELECT outcome FROM step_run ORDER BY outcome")
    assert [row["outcome"] for row in rows] == [Refusal.MISSING_FIELD, Refusal.MISSING_FIELD, 0]
