"""Carries orders by text out: hears words for them beside replying.py, and tells shops of them as a job, rule IN-10.

    a text ─► the newest offer that it means something to ─► how that stands now ─► row and words, in one transaction
    ordering ─► POST to the shop, signed, always with the same key ─► its answer ─► the person is told, once

    POST url                                             2xx        ordered: {"order": "A-17", "pay_url": "https://…"}
    Idempotency-Key, Webhook-Id: the order's key         402        ordered, once it is paid at pay_url
    Webhook-Timestamp, Webhook-Signature (webhook.py)    409 410    sold out
                                                         other 4xx, nothing after TRIES: a person of ours sees to it

A crash between the call and its row calls again with the same key, which is one order to a shop that keeps to it. What
confirms is transactional, under the gate of the inbox's brand; what is said on the way is conversation (S4.30).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from random import Random
from typing import Any

import msgspec
from msgspec import Struct, structs

from gateway import webhook
from gateway.automation import posting
from gateway.automation.job import Job
from gateway.automation.posting import Posted
from gateway.campaign import conversation as rules
from gateway.campaign import ordering
from gateway.campaign.ordering import Move
from gateway.config import Settings
from gateway.inbox import NOBODY
from gateway.message import MessageClass
from gateway.offer import OPEN, Facts, Standing, money, written
from gateway.question import ANSWERED, SOURCE, text_in
from gateway.store import conversations, jobs, orders, postgres, profiles
from gateway.store.conversations import SELF, Asked, Body, Conversation, Heard, Held, Kept, Said, Text, Told
from gateway.store.orders import Order, Place

log = logging.getLogger(__name__)

AT_ONCE = posting.AT_ONCE
OF_SHOP = posting.HOST_AT_ONCE
# A person waits for the answer: after a quarter of an hour one of ours gives it.
TRIES = 5
SOLD_OUT = (409, 410)
TO_BE_PAID = 402
PLACED, ADDRESS_TOLD, QUESTION_CLOSED = "text_order_placed", "address_told", "question_closed"
_LONGEST_REFERENCE = 100
_SAID = 200


class Orders(Struct, kw_only=True):
    """What is known of the orders of some numbers, while a transaction holds them; changed: what it writes."""

    known: dict[Place, Order]
    facts: Mapping[Place, Facts]
    changed: dict[Place, Order]

    async def write(self, connection: postgres.Connection) -> None:
        """Write what was changed, in the transaction that holds them."""
        for one in self.changed.values():
            await orders.write(connection, one)


class Meant(Struct, frozen=True, kw_only=True):
    """What a text does to an order; asked: the question that it is, while it is open."""

    order: Order
    move: Move
    asked: Asked | None


async def hold(
    connection: postgres.Connection, bucket: int, held: Held, numbers: Sequence[int], now: datetime
) -> Orders:
    """Read what texts of some numbers may be about; in the caller's transaction, which holds their questions."""
    known = await orders.hold(connection, bucket, numbers, now)
    offers = {
        place_of(asked): asked.question.order
        for some in held.questions.values() for asked in some if asked.question.order is not None
    }  # fmt: skip
    languages = {number: language for number, (language, _) in held.people.items()}
    facts = await orders.facts(connection, bucket, offers, languages) if offers else {}
    return Orders(known=known, facts=facts, changed={})


def place_of(asked: Asked) -> Place:
    """Say where the order of a question stands."""
    return asked.number, asked.enrolment, asked.step, asked.visit


def hear(held: Held, of: Orders, inbox: str, number: int, one: Heard, language: str, now: datetime) -> Meant | None:
    """Find the order that a text does something to: of the open ones the newest, then of those that are over."""
    for asked in held.questions.get(number, ()):
        if asked.question.order is None or asked.inbox not in ("", inbox) or one.at < asked.asked_at:
            continue
        order = of.known.get(place_of(asked)) or _new(asked, now)
        move = ordering.hear(
            order.offer, order.standing, one.text, at=one.at, until=asked.until, now=now,
            facts=of.facts.get(place_of(asked), Facts()), language=language,
        )  # fmt: skip
        if move is not None:
            return Meant(order=order, move=move, asked=asked)
    for order in [each for each in of.known.values() if each.number == number and each.standing.state not in OPEN]:
        move = ordering.hear(
            order.offer, order.standing, one.text, at=one.at, until=one.at, now=now, facts=Facts(), language=language
        )
        if move is not None:
            return Meant(order=order, move=move, asked=None)
    return None


def moved(of: Orders, meant: Meant, conversation: int, now: datetime) -> Order:
    """Note where an order stands now; -> it."""
    is_ordered = meant.move.standing.state == "ordering" and meant.order.standing.state != "ordering"
    order = structs.replace(
        meant.order, standing=meant.move.standing, conversation=conversation,
        due_at=now if is_ordered else meant.order.due_at,
    )  # fmt: skip
    of.known[order.place] = of.changed[order.place] = order
    return order


async def expire(connection: postgres.Connection, asked: Asked, now: datetime) -> None:
    """Let an offer be over that was not taken in its time, in the transaction that closes its question."""
    order = await orders.hold_one(connection, place_of(asked)) or _new(asked, now)
    if order.standing.state in OPEN:
        await orders.write(connection, structs.replace(order, standing=ordering.expire(order.standing, now).standing))


def said_of(order: Order, say: str, language: str, more: Mapping[str, str]) -> str:
    """Write what is said of an order."""
    says, of = order.offer.says, order.standing
    if say == "price" and of.address and order.offer.address:
        say = "price_to"
    values = {
        "quantity": str(of.quantity), "name": of.name, "address": of.address, "most": str(order.offer.most),
        "price": money(of.price, of.currency), "total": money(of.price * of.quantity, of.currency), **more,
    }  # fmt: skip
    return written(text_in(getattr(says, say), language), values)


def _new(asked: Asked, now: datetime) -> Order:
    return Order(
        number=asked.number, enrolment=asked.enrolment, step=asked.step, visit=asked.visit, conversation=0,
        campaign=asked.campaign, question=asked.question, standing=Standing(at=now),
    )  # fmt: skip


class Ordering(Job):
    """The loop of one worker."""

    NAME = "ordering"
    ROUND_S = 0.5
    UNDONE = "shops are not told of orders by text"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._chance = chance
        self._ids = count()
        self.told = self.failed = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether a shop is to be told."""
        return await orders.is_due(connection, now)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Tell shops of what is due by now, some at a time, and each person what came of it."""
        self._ids = count(profiles.first_id(now, self._chance))
        async with postgres.deadline(connection, self.STEP_S, "orders by text"):
            async with connection.transaction():
                if not await jobs.hold(connection, self.NAME, self._instance):
                    return False
            due = await orders.due(connection, now, AT_ONCE, OF_SHOP)
            phones = {one.place: await self._attributes(connection, one) for one in due}
        async with posting.client_of(self._settings.webhooks) as client:
            calls = [
                posting.post(client, self._settings.webhooks, one.offer.url, *self._told(one, phones[one.place], now))
                for one in due
            ]
            for one, posted in zip(due, await asyncio.gather(*calls), strict=True):
                async with postgres.deadline(connection, self.STEP_S, "an order by text"):
                    await self._end(connection, one, posted, self._wall(), phones[one.place])
        self.has_more = bool(due)
        return True

    async def _attributes(self, connection: postgres.Connection, one: Order) -> dict[str, str]:
        if not one.offer.payment:
            return {}
        found = await orders.attributes(connection, one.bucket, [one.number], [one.offer.payment])
        return found.get(one.number, {})

    def _told(self, one: Order, known: Mapping[str, str], now: datetime) -> tuple[bytes, dict[str, str]]:
        """Write what a shop is told, and sign it."""
        of = one.standing
        key = ordering.key_of(one.conversation, one.enrolment, one.step, one.visit, of.nonce)
        body = msgspec.json.encode(
            {
                "id": key, "type": "text.order", "campaign": one.campaign, "offer": one.step,
                "person": {"phone": f"+{one.number}"}, "product": one.offer.product, "name": of.name,
                "quantity": of.quantity, "price": of.price, "total": of.price * of.quantity, "currency": of.currency,
                "address": of.address, "pays": "link" if _has_to_pay(one, known) else "account",
                "confirmed_at": of.at,
            }
        )  # fmt: skip
        headers = webhook.headers_of(key, body, self._settings.webhooks.secret, now)
        return body, {**headers, "Idempotency-Key": key}

    async def _end(
        self, connection: postgres.Connection, one: Order, posted: Posted, now: datetime, known: Mapping[str, str]
    ) -> None:
        """Write what a shop answered, once, and owe the person the word of it."""
        is_placed = 200 <= posted.status < 300 or posted.status == TO_BE_PAID
        is_over = posted.is_final or posted.status in SOLD_OUT or one.tries + 1 >= TRIES
        if not is_placed and not is_over:
            again = webhook.again_at(one.tries + 1, now, one.enrolment)
            await orders.put_off(connection, one, again or now, posted.told)
            return
        async with connection.transaction():
            conversation = await conversations.hold_one(connection, one.bucket, one.conversation)
            order = await orders.hold_one(connection, one.place)
            if order is None or order.standing.state != "ordering":
                return
            say, more = "failed", {}
            if is_placed:
                reference, url = _answer(posted.body)
                if not url and (posted.status == TO_BE_PAID or _has_to_pay(order, known)):
                    url = written(order.offer.pay_url, {"order": reference})
                say, more = "pay" if url else "ordered", {"order": reference, "url": url}
                standing = structs.replace(order.standing, state="ordered", at=now)
                order = structs.replace(order, standing=standing, reference=reference)
            else:
                state: Any = "sold_out" if posted.status in SOLD_OUT else "failed"
                say = state
                order = structs.replace(
                    order, standing=structs.replace(order.standing, state=state, at=now), said=posted.told
                )
                log.warning("! order of %r: %s %s", one.campaign, posted.status or "", order.said)
            await orders.write(connection, structs.replace(order, due_at=None, tries=one.tries + 1))
            if conversation is None:
                return
            kept = Kept(conversations={conversation.id: conversation})
            self._say(kept, conversation, said_of(order, say, conversation.language, more), now)
            self._tell(kept, conversation, order, say, now)
            if order.standing.state == "failed" and conversation.waits_since is None:
                inbox = self._settings.inboxes.get(conversation.inbox, NOBODY)
                conversation.waits_since = now
                conversation.answer_due = rules.due_at(inbox, now, inbox.next_answer_s)
            await conversations.keep(connection, one.bucket, kept, now)
        self.told += is_placed
        self.failed += not is_placed

    def _say(self, kept: Kept, conversation: Conversation, text: str, now: datetime) -> None:
        id_ = next(self._ids)
        body: Body = Text(
            inbox=conversation.inbox, lane=conversation.lane, sender=conversation.sender, text=text,
            class_=MessageClass.TRANSACTIONAL,
        )  # fmt: skip
        kept.owed.append((id_, conversation.number, body))
        kept.said.append(
            Said(key=f"out:{id_}", number=conversation.number, conversation=conversation.id, at=now, direction=SELF,
                 text=text, by="order")
        )  # fmt: skip
        conversation.last_out_at = now

    def _tell(self, kept: Kept, conversation: Conversation, order: Order, say: str, now: datetime) -> None:
        """Tell the person's workflows: an order is the answer to its question."""
        of = order.standing
        key = ordering.key_of(order.conversation, order.enrolment, order.step, order.visit, of.nonce)
        about: dict[str, Any] = {
            "question": order.step, "campaign": order.campaign, "enrolment": order.enrolment, "step": order.step,
            "visit": order.visit, "conversation": conversation.id, "inbox": conversation.inbox,
        }  # fmt: skip
        if of.state != "ordered":
            self._owe(kept, order, QUESTION_CLOSED, key, SOURCE, now, {**about, "why": of.state})
            return
        placed = {
            "order": order.reference, "product": order.offer.product, "quantity": of.quantity,
            "total": of.price * of.quantity, "currency": of.currency, "is_paid": say != "pay",
        }  # fmt: skip
        self._owe(kept, order, PLACED, key, SOURCE, now, {**about, **placed})
        self._owe(kept, order, ANSWERED, key, SOURCE, now, {**about, "value": of.quantity, "type": "order"})

    def _owe(
        self, kept: Kept, order: Order, name: str, key: str, source: str, now: datetime, properties: dict[str, Any]
    ) -> None:
        told = Told(
            event_id=f"{name}:{key}",
            name=name,
            at=now,
            source=source,
            properties=properties,
            makes=name != QUESTION_CLOSED,
        )
        kept.owed.append((next(self._ids), order.number, told))


def _has_to_pay(one: Order, known: Mapping[str, str]) -> bool:
    """Whether the shop cannot charge somebody, as far as is known of them."""
    return bool(one.offer.payment) and known.get(one.offer.payment, "").lower() in ("", "false", "0", "no")


def _answer(body: bytes) -> tuple[str, str]:
    """Read what a shop calls an order, and where it is paid; what is no JSON, or no https, says neither."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", ""
    if not isinstance(found, dict):
        return "", ""
    reference = found.get("order", "")
    reference = str(reference) if isinstance(reference, str | int) and not isinstance(reference, bool) else ""
    url = found.get("pay_url")
    is_url = isinstance(url, str) and url.startswith("https://") and len(url) <= _SAID and url.isprintable()
    return _clean(reference)[:_LONGEST_REFERENCE], str(url) if is_url and " " not in str(url) else ""


def _clean(text: str) -> str:
    return "".join(letter for letter in text if letter.isprintable())
