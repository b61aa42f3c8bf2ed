"""Orders that people make by text: how each stands, and of which shops are to be told. Statements: sql/orders.sql.

    a text ─► hold: orders of its number, and what they hang on ─► (campaign/ordering.py) ─► write
    due ─► the shop is told (automation/ordering.py) ─► hold_one ─► write, with what is said of it ─► COMMIT

A row is an offer to a number: its key is the question's, so that it is one order at the most whatever is written twice.
Whoever changes a row holds it. Not here: what a text does to an order, what the shop is told.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from gateway.offer import BUY_AFTER, STATES, Facts, Offer, Standing
from gateway.person import hash_of
from gateway.question import Question, text_in
from gateway.store import products
from gateway.store.postgres import Connection
from gateway.store.queries import query

Place: TypeAlias = tuple[int, int, str, int]
"""What an order is known by: number, enrolment, step, visit."""


class Order(Struct, frozen=True, kw_only=True):
    """An offer to a number, and what came of it.

    enrolment, step, visit  the question that it is
    due_at     when the shop is told; None: it has been, or is not to be
    reference  the shop's name of it; said: why it said no
    """

    number: int
    enrolment: int
    step: str
    visit: int
    conversation: int
    campaign: str
    question: Question
    standing: Standing
    due_at: datetime | None = None
    tries: int = 0
    reference: str = ""
    said: str = ""

    @property
    def bucket(self) -> int:
        """Where it stands."""
        return hash_of(self.number)

    @property
    def place(self) -> Place:
        """What it is known by."""
        return self.number, self.enrolment, self.step, self.visit

    @property
    def offer(self) -> Offer:
        """What is offered."""
        assert self.question.order is not None
        return self.question.order


async def hold(connection: Connection, bucket: int, numbers: Sequence[int], now: datetime) -> dict[Place, Order]:
    """Read the orders of numbers that a text may be about, the newest first, in the caller's transaction."""
    rows = await connection.fetch(query("hold_orders"), bucket, sorted(set(numbers)), now - BUY_AFTER)
    return {one.place: one for one in map(_order, rows)}


async def hold_one(connection: Connection, place: Place) -> Order | None:
    """Read one order and let nobody else change it; in the caller's transaction."""
    row = await connection.fetchrow(query("hold_order"), hash_of(place[0]), *place)
    return None if row is None else _order(row)


async def write(connection: Connection, one: Order) -> None:
    """Write an order as it is, in the transaction of what follows from it."""
    of = one.standing
    await connection.execute(
        query("write_order"), one.bucket, *one.place, one.conversation, one.campaign,
        msgspec.json.encode(one.question).decode(), STATES.index(of.state), of.nonce, of.quantity, of.price,
        of.currency, of.name, of.address, of.asked_at, of.tried, of.at, one.due_at, one.tries, one.reference, one.said,
    )  # fmt: skip


async def facts(
    connection: Connection, bucket: int, offers: Mapping[Place, Offer], languages: Mapping[int, str]
) -> dict[Place, Facts]:
    """Say what offers to some numbers hang on now: prices, stock, where people live."""
    known = await products.read(connection, sorted({offer.product for offer in offers.values() if offer.product}))
    names = sorted({offer.address for offer in offers.values() if offer.address})
    said = await attributes(connection, bucket, [place[0] for place in offers], names) if names else {}
    found = {}
    for place, offer in offers.items():
        number = place[0]
        product = known.get(offer.product)
        price, currency = offer.price, offer.currency
        if price is None and product is not None:
            price, currency = product.price, product.currency
        name = text_in(offer.name, languages.get(number, "")) or ("" if product is None else product.name)
        found[place] = Facts(
            # What the feed does not have any more is sold out.
            stock=(0 if product is None else product.stock) if offer.product else None,
            price=price if price is not None or product is not None else 0,
            currency=currency, name=name or offer.product,
            address=said.get(number, {}).get(offer.address, "") if offer.address else "",
        )  # fmt: skip
    return found


async def attributes(
    connection: Connection, bucket: int, numbers: Sequence[int], names: Sequence[str]
) -> dict[int, dict[str, str]]:
    """Read attributes of the eldest person of each number, as text."""
    rows = await connection.fetch(query("attributes_of_numbers"), bucket, sorted(set(numbers)), list(names))
    return {row["number"]: msgspec.json.decode(row["attributes"], type=dict[str, str]) for row in rows}


async def of_number(connection: Connection, number: int) -> list[Order]:
    """Read the orders of a number, the newest first."""
    return [_order(row) for row in await connection.fetch(query("orders_of_number"), hash_of(number), number)]


# Shops


async def is_due(connection: Connection, now: datetime) -> bool:
    """Say whether a shop is to be told by now."""
    return bool(await connection.fetchval(query("is_order_due"), now))


async def due(connection: Connection, now: datetime, limit: int, of_shop: int) -> list[Order]:
    """Read orders of which shops are to be told by now, the oldest first, so many of one shop at the most."""
    return [_order(row) for row in await connection.fetch(query("orders_due"), now, limit, of_shop)]


async def put_off(connection: Connection, one: Order, until: datetime, said: str) -> None:
    """Tell the shop once more, later."""
    await connection.execute(query("put_off_order"), one.bucket, *one.place, until, said)


def _order(row: Any) -> Order:
    names = ("number", "enrolment", "step", "visit", "conversation", "campaign", "due_at", "tries", "reference", "said")
    of = ("nonce", "quantity", "price", "currency", "name", "address", "asked_at", "tried", "at")
    return Order(
        **{name: row[name] for name in names},
        question=msgspec.json.decode(row["question"], type=Question),
        standing=Standing(state=STATES[row["state"]], **{name: row[name] for name in of}),
    )
