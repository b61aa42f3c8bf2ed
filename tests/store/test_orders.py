"""Orders by text as rows: one of each offer, held while they change, due in turn."""

from datetime import timedelta

from msgspec import structs

from gateway.offer import Facts, Offer, Standing
from gateway.person import hash_of
from gateway.product import Product
from gateway.question import Question
from gateway.store import orders, products
from gateway.store.orders import Order
from tests.fixtures.conversations import NOW, NUMBER, world


def order(number: int = NUMBER, url: str = "https://a.example", **how: object) -> Order:
    question = Question(name="q", type="order", text="BUY?", order=Offer(url=url, product="beans", address="home"))
    standing = Standing(state="ordering", quantity=2, price=5, currency="EUR", name="B", asked_at=NOW, at=NOW)
    made = Order(
        number=number, enrolment=1, step="ask", visit=1, conversation=3, campaign="c", question=question,
        standing=standing, due_at=NOW,
    )  # fmt: skip
    return structs.replace(made, **how)


async def test_an_order_is_one_row_of_its_offer_and_is_read_as_it_was_written(dsn: str) -> None:
    async with world(dsn) as w:
        one = order()
        await orders.write(w.connection, one)
        assert await orders.of_number(w.connection, NUMBER) == [one]
        ended = structs.replace(one, due_at=None, tries=2, reference="A-1", said="no")
        ended = structs.replace(ended, standing=structs.replace(one.standing, state="ordered", tried=1))
        await orders.write(w.connection, ended)
        assert await orders.hold_one(w.connection, one.place) == ended
        assert await orders.hold_one(w.connection, (NUMBER, 2, "ask", 1)) is None


async def test_orders_that_are_long_over_are_not_held_and_open_ones_are(dsn: str) -> None:
    async with world(dsn) as w:
        for enrolment, state in enumerate(("confirming", "ordered", "ordering")):
            standing = structs.replace(order().standing, state=state)
            await orders.write(w.connection, order(enrolment=enrolment, standing=standing))
        bucket = hash_of(NUMBER)
        assert len(await orders.hold(w.connection, bucket, [NUMBER], NOW)) == 3
        held = await orders.hold(w.connection, bucket, [NUMBER], NOW + timedelta(days=8))
        assert [one.standing.state for one in held.values()] == ["confirming"]


async def test_a_slow_shop_keeps_no_other_one_waiting(dsn: str) -> None:
    async with world(dsn) as w:
        assert not await orders.is_due(w.connection, NOW)
        for at in range(5):
            await orders.write(w.connection, order(NUMBER + at))
        await orders.write(w.connection, order(NUMBER + 9, "https://b.example", due_at=NOW + timedelta(seconds=1)))
        assert await orders.is_due(w.connection, NOW)
        later = NOW + timedelta(seconds=2)
        due = await orders.due(w.connection, later, 10, 2)
        assert [one.number for one in due] == [NUMBER, NUMBER + 1, NUMBER + 9]
        await orders.put_off(w.connection, due[0], later + timedelta(minutes=1), "busy")
        due = await orders.due(w.connection, later, 10, 2)
        assert [one.number for one in due] == [NUMBER + 1, NUMBER + 2, NUMBER + 9]
        again = await orders.hold_one(w.connection, order().place)
        assert again is not None and (again.tries, again.said) == (1, "busy")


async def test_what_an_offer_hangs_on_is_of_the_feed_and_of_the_person(dsn: str) -> None:
    async with world(dsn) as w:
        await w.knows(home="1 High Street")
        await products.write(w.connection, [Product(id="beans", name="Beans", price=7, currency="EUR", stock=3)], NOW)
        fixed = Offer(url="https://a.example", name={"fr": "Thé", "": "Tea"}, price=9, currency="GBP")
        gone = Offer(url="https://a.example", product="tea")
        places = [(NUMBER, at, "ask", 1) for at in range(3)]
        offers = dict(zip(places, [order().offer, fixed, gone], strict=True))
        found = await orders.facts(w.connection, hash_of(NUMBER), offers, {NUMBER: "fr"})
        assert found == {
            places[0]: Facts(price=7, currency="EUR", name="Beans", stock=3, address="1 High Street"),
            places[1]: Facts(price=9, currency="GBP", name="Thé"),
            places[2]: Facts(price=0, name="tea", stock=0),
        }
