"""Orders by text over a real Postgres, and shops over real HTTP: rule IN-10."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway import app
from gateway.automation.ordering import TRIES, Ordering
from gateway.automation.replying import Replying
from gateway.brand import BrandSettings
from gateway.inbox import InboxSettings
from gateway.message import MessageClass
from gateway.offer import Offer, Says
from gateway.person import hash_of
from gateway.product import Product
from gateway.question import Choice, Question
from gateway.simulator.behaviour import Inbound
from gateway.simulator.ledger import read
from gateway.store import conversations, orders, postgres, products, stops
from gateway.store.conversations import Asked
from gateway.webhook import WebhookSettings, headers_of
from tests.fixtures.campaign import numbers
from tests.fixtures.conversations import DESK, NUMBER, World, world
from tests.fixtures.engine import engine, until
from tests.fixtures.shop import Shop, settings_of

SECRET = "a secret of the tests"
HOOKS = WebhookSettings(secret=SECRET, allow_private=True)
BEANS = Product(id="beans", name="Beans", price=1290, currency="EUR", stock=9)


class Till:
    """A shop's system; answers as it is told to, and keeps what it heard. It makes one order of each key."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.raw: list[bytes] = []
        self.statuses: list[int] = []
        self.answer: Any = {"order": "A-17"}
        self.url = ""

    async def post(self, request: web.Request) -> web.Response:
        octets = await request.read()
        self.raw.append(octets)
        self.heard.append((dict(request.headers), json.loads(octets)))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, body=json.dumps(self.answer).encode())

    @property
    def placed(self) -> list[dict[str, Any]]:
        """What was ordered, each key once."""
        return list({headers["Idempotency-Key"]: body for headers, body in self.heard}.values())


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[], Awaitable[Till]]]:
    runners = []

    async def begin() -> Till:
        till = Till()
        outer = web.Application()
        outer.router.add_post("/orders", till.post)
        runner = web.AppRunner(outer)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        till.url = f"http://127.0.0.1:{runner.addresses[0][1]}/orders"
        return till

    yield begin
    for runner in runners:
        await runner.cleanup()


def offered(url: str, within_s: int = 86400, **how: Any) -> Question:
    offer = Offer(url=url, product="beans", **how)
    return Question(name="beans", type="order", text="BUY?", timeout_s=within_s, order=offer)


class Counter:
    """What stands between handsets and a shop: a world, and the job that tells the shop."""

    def __init__(self, w: World):
        self.w = w
        w.settings = msgspec.structs.replace(w.settings, webhooks=HOOKS)

    async def write(self, *texts: str, number: int = NUMBER) -> None:
        for text in texts:
            self.w.after(minutes=1)
            await self.w.writes(text, number)
            await self.w.hears()
            self.w.after(seconds=2)

    async def tells(self) -> Ordering:
        """Tell shops as a worker would, and persons of it."""

        async def connect() -> postgres.Connection:
            return await postgres.connect(self.w.dsn)

        job = Ordering(self.w.settings, lambda: self.w.now, connect, "w1", self.w.chance)
        try:
            await job.round()
            while job.has_more:
                await job.round()
        finally:
            await job.close()
        await self.w.hears()
        return job

    async def state(self, number: int = NUMBER) -> str:
        return (await orders.of_number(self.w.connection, number))[0].standing.state


@pytest.mark.covers("S4.29")
async def test_in_10_buy_price_yes_yes_is_one_order_with_one_key_and_one_confirmation(dsn: str, serve) -> None:
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.asks(offered(till.url), enrolment=7)
        await counter.write("BUY 2", "yes", "YES")
        assert await w.texts() == ["2 x Beans: 25.80 EUR. Reply YES to order or NO to leave it."]
        await counter.tells()
        await counter.write("yes")
        await counter.tells()
        ((headers, body),) = till.heard
        id_ = (await w.conversation()).id
        key = f"{id_}:7.ask.1:1"
        assert headers["Idempotency-Key"] == headers["Webhook-Id"] == body["id"] == key
        at = app.CLOCK.wall().fromtimestamp(int(headers["Webhook-Timestamp"]), tz=w.now.tzinfo)
        assert headers["Webhook-Signature"] == headers_of(key, till.raw[0], SECRET, at)["Webhook-Signature"]
        assert {name: body[name] for name in ("product", "quantity", "price", "total", "currency", "pays")} == {
            "product": "beans", "quantity": 2, "price": 1290, "total": 2580, "currency": "EUR", "pays": "account",
        }  # fmt: skip
        assert body["person"] == {"phone": f"+{NUMBER}"} and body["campaign"] == "survey"
        assert (await w.texts())[1:] == ["Thank you. Your order A-17: 2 x Beans, 25.80 EUR."]
        told = dict(await w.told())
        assert told["text_order_placed"]["order"] == "A-17" and told["text_order_placed"]["is_paid"] is True
        assert (told["answered"]["value"], told["answered"]["question"], told["answered"]["enrolment"]) == (2, "ask", 7)
        assert await w.connection.fetchval("SELECT count(*) FROM open_question") == 0
        assert (await w.conversation()).waits_since is None, "nobody has to read it"


async def test_in_10_who_cannot_be_charged_pays_behind_a_link_and_no_card_is_asked_for(dsn: str, serve) -> None:
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        question = offered(till.url, payment="card_on_file", pay_url="https://pay.acme.example/{{ order }}")
        for at, (attributes, answer) in enumerate(
            [({}, {"order": "A-1"}), ({}, {"order": "A-2", "pay_url": "https://p.example/x"}),
             ({}, {"order": "A-3", "pay_url": "http://p.example/x"}), ({"card_on_file": True}, {"order": "A-4"})]
        ):  # fmt: skip
            number, till.answer = NUMBER + at, answer
            await w.knows(number, **attributes)
            await w.asks(question, number)
            await counter.write("BUY", "4111 1111 1111 1111", "yes", number=number)
            await counter.tells()
            said = await w.texts(number)
            assert "card numbers" in said[1] and len(said) == 3
            link = ["https://pay.acme.example/A-1", "https://p.example/x", "https://pay.acme.example/A-3", ""][at]
            assert said[2].endswith(link if link else "12.90 EUR.") and answer["order"] in said[2]
        assert [body["pays"] for body in till.placed] == ["link", "link", "link", "account"]
        assert all("4111" not in octets.decode() for octets in till.raw)


async def test_in_10_an_address_that_is_told_is_an_attribute_and_is_checked_by_the_person(dsn: str, serve) -> None:
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.knows()
        await w.asks(offered(till.url, address="address"))
        await counter.write("buy", "4 Low Road, York")
        assert await w.texts() == [
            "Where shall we send it? Reply with street, number and town.",
            "1 x Beans: 12.90 EUR, to 4 Low Road, York. Reply YES to order or NO to leave it.",
        ]
        row = "SELECT attributes ->> 'address' FROM profile WHERE number = $1"
        assert await w.connection.fetchval(row, NUMBER) == "4 Low Road, York"
        await counter.write("yes")
        await counter.tells()
        assert till.placed[0]["address"] == "4 Low Road, York"
        await w.asks(offered(till.url, address="address"), visit=2)
        await counter.write("buy 3")
        said = await w.texts()
        assert "3 x Beans: 38.70 EUR, to 4 Low Road, York. Reply YES to order or NO to leave it." in said


@pytest.mark.parametrize(
    ("statuses", "state", "said", "calls"),
    [
        ([500, 503, 200], "ordered", "Thank you.", 3),
        ([409], "sold_out", "Sorry, Beans is sold out.", 1),
        ([402], "ordered", "Thank you.", 1),
        ([422], "failed", "Sorry, your order could not be placed.", 1),
        ([500] * TRIES, "failed", "Sorry, your order could not be placed.", TRIES),
    ],
)
async def test_in_10_what_the_shop_answers_is_told_and_a_no_is_somebody_s_to_see_to(
    dsn: str, serve, statuses: list[int], state: str, said: str, calls: int
) -> None:
    till = await serve()
    till.statuses = list(statuses)
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.knows()
        await w.asks(offered(till.url))
        await counter.write("buy", "yes")
        for _ in range(TRIES):
            await counter.tells()
            w.after(hours=1)
        assert (await counter.state(), len(till.heard)) == (state, calls)
        assert len({headers["Idempotency-Key"] for headers, _ in till.heard}) == 1
        texts = await w.texts()
        assert len(texts) == 2 and texts[1].startswith(said)
        assert ((await w.conversation()).waits_since is not None) is (state == "failed")
        closed = [p["why"] for name, p in await w.told() if name == "question_closed"]
        assert closed == ([] if state == "ordered" else [state])


async def test_in_10_an_offer_that_nobody_took_is_over_and_says_so_once(dsn: str, serve) -> None:
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.knows()
        await w.asks(offered(till.url, within_s=3600))
        w.after(hours=2)
        await w.hears()
        assert [(name, p["why"]) for name, p in await w.told()] == [("question_closed", "timeout")]
        await counter.write("BUY", "BUY")
        await counter.tells()
        assert await w.texts() == ["Sorry, this offer is over. Nothing was ordered."]
        assert till.heard == [] and (await w.conversation()).waits_since is not None, "the second is read by somebody"


async def test_in_10_stock_that_is_gone_between_price_and_yes_is_not_ordered(dsn: str, serve) -> None:
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.asks(offered(till.url))
        await counter.write("buy 3")
        await products.write(w.connection, [msgspec.structs.replace(BEANS, stock=2)], w.now)
        await counter.write("yes")
        assert (await w.texts())[-1] == "Only 2 left. Reply BUY and how many."
        await counter.write("buy 2")
        await products.write(w.connection, [msgspec.structs.replace(BEANS, stock=0)], w.now)
        await counter.write("yes")
        await counter.tells()
        assert (await w.texts())[-1].startswith("Sorry, Beans is sold out") and till.heard == []


async def test_in_2_an_order_is_the_answer_to_its_offer_and_other_words_are_others(dsn: str, serve) -> None:
    """The newest that can read it has it; STOP beats all, and who has said it orders nothing."""
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.knows()
        await conversations.set_keywords(w.connection, "club", [("JOIN", "")])
        await w.asks(offered(till.url), enrolment=1)
        w.after(seconds=1)
        choices = (Choice(value="s", labels="small"), Choice(value="l", labels="large"))
        await w.asks(Question(name="size", type="choice", text="Small or large?", choices=choices), enrolment=2)
        await counter.write("buy", "JOIN", "large", "yes")
        names = [name for name, _ in await w.told()]
        assert names.count("keyword") == 1 and names.count("answered") == 1 and await counter.state() == "ordering"
        await w.asks(offered(till.url), enrolment=3)
        await stops.enter(w.connection, [NUMBER], ["*"], is_stop=True, at=w.now, source="keyword")
        said = await w.texts()
        await counter.write("buy", "yes")
        assert await w.texts() == said
        await counter.tells()
        assert len(till.placed) == 1, "what was confirmed before the STOP is ordered, once"
        assert await w.texts() == said, "and nothing is written"


async def test_in_10_what_is_asked_in_another_language_is_said_in_it(dsn: str, serve) -> None:
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.knows(language="fr")
        says = Says(price={"en": "YES?", "fr": "{{ quantity }} {{ name }} : {{ total }}. OUI ?"})
        await w.asks(offered(till.url, name={"fr": "cafés"}, says=says))
        await counter.write("je commande deux", "oui")
        assert await w.texts() == ["2 cafés : 25.80 EUR. OUI ?"] and await counter.state() == "ordering"


async def test_in_10_an_order_that_was_told_and_not_written_is_told_again_with_the_same_key(dsn: str, serve) -> None:
    """A worker that dies between the call and its row: the shop hears it twice, and makes one order of it."""
    till = await serve()
    async with world(dsn) as w:
        await products.write(w.connection, [BEANS], w.now)
        counter = Counter(w)
        await w.asks(offered(till.url))
        await counter.write("buy", "yes")
        (before,) = await orders.due(w.connection, w.now, 10, 10)
        await counter.tells()
        await orders.write(w.connection, before)
        await counter.tells()
        assert len(till.heard) == 2 and len(till.placed) == 1
        told = [name for name, _ in await w.told()]
        assert told.count("text_order_placed") == told.count("answered") == 1


FLOW = """
name = "coffee"
kind = "workflow"
brand = "acme"
[trigger]
on = "event"
event = "ran_out"
[[steps]]
do = "ask"
name = "beans"
text = "Acme: your beans again? Reply BUY, or BUY 2."
within = "2d"
then = "feedback"
otherwise = "exit"
[steps.question]
type = "order"
[steps.question.order]
product = "beans"
url = "{url}"
[[steps]]
do = "ask"
name = "feedback"
class = "conversation"
text = "How was ordering by text? 1 to 5"
within = "1d"
attribute = "ordering_score"
[steps.question]
type = "number"
least = 1
most = 5
"""


@pytest.mark.covers("S4.29", "S4.30")
async def test_in_10_one_flow_asks_as_promotion_confirms_as_transaction_and_hears_feedback_as_conversation(
    dsn: str, serve
) -> None:
    till = await serve()
    settings = msgspec.structs.replace(settings_of(dsn), webhooks=HOOKS, inboxes={"shop": InboxSettings(brand="acme")})
    shop = await Shop.open(dsn, settings)
    try:
        async with world(dsn) as w:
            w.settings, w.now = settings, shop.now
            counter = Counter(w)
            await products.write(w.connection, [BEANS], w.now)
            await shop.people([NUMBER])
            await shop.apply(FLOW.replace("{url}", till.url))
            await shop.tells(NUMBER, "ran_out")
            await shop.goes_on(timedelta(seconds=1))
            w.now = shop.now
            await counter.write("BUY 2", "yes", "yes")
            await counter.tells()
            await shop.goes_on(w.now + timedelta(seconds=5))
            w.now = shop.now
            await counter.write("5")
            rows = await w.connection.fetch(
                "SELECT k.class, r.template, p.params[1][1] AS text FROM chunk_payload p "
                "JOIN chunk k ON k.id = p.chunk_id JOIN run r ON r.id = k.run ORDER BY k.id"
            )  # fmt: skip
            said = [(row["class"], row["text"] if row["template"] == "{{ text }}" else row["template"]) for row in rows]
            assert sorted((class_, text.split()[0]) for class_, text in said) == [
                (MessageClass.CONVERSATION, "2"), (MessageClass.CONVERSATION, "How"),
                (MessageClass.TRANSACTIONAL, "Thank"), (MessageClass.TRIGGERED, "Acme:"),
            ]  # fmt: skip
            row = "SELECT attributes ->> 'ordering_score' FROM profile WHERE number = $1"
            assert await w.connection.fetchval(row, NUMBER) == "5" and len(till.heard) == 1
    finally:
        shop.close()


@pytest.mark.covers("S4.29")
async def test_in_10_handsets_of_the_simulator_order_by_text_and_the_shop_hears_each_once(
    dsn: str, tmp_path: Path, serve
) -> None:
    """End to end: a real worker, Postgres, SMSC and shop. An offer out, BUY, the price out, YES twice, one POST."""
    till = await serve()
    ledger = tmp_path / "ledger.csv"
    inbound = Inbound(reply_share=1.0, reply_delay_ms=20, texts=("BUY 2", "yes", "yes"))
    async with engine(dsn, ledger, inbound=inbound) as e:
        await products.write(e.connection, [msgspec.structs.replace(BEANS, stock=1000)], app.CLOCK.wall())
        people = numbers(40)
        now = app.CLOCK.wall()
        for number in people:
            asked = Asked(number=number, enrolment=1, step="s", visit=1, question=offered(till.url), asked_at=now,
                          until=now + timedelta(hours=1), campaign="coffee")  # fmt: skip
            async with e.connection.transaction():
                await conversations.ask(e.connection, hash_of(number), [asked])
        run = await e.run(people)
        worker = await e.start()
        settings = msgspec.structs.replace(e.settings(), webhooks=HOOKS)
        jobs = [
            Replying(settings, app.CLOCK.wall, worker.connect, worker.instance, Random(1)),
            Ordering(settings, app.CLOCK.wall, worker.connect, worker.instance, Random(2)),
        ]
        for job in jobs:
            job.ROUND_S = 0.05  # type: ignore[misc]
        running = [asyncio.create_task(job.run()) for job in jobs]
        try:
            await e.ends(run, receipts=False)

            async def is_settled() -> bool:
                """Every conversation came to its end: ordered and confirmed, or given up by who wrote otherwise."""
                opened = "SELECT count(*) FROM text_order WHERE state IN (1, 2, 3)"
                states = await e.connection.fetchval(opened)
                owed = await e.connection.fetchval("SELECT count(*) FROM conversation_owed")
                return states == 0 and owed == 0 and len(till.placed) > 0

            await until(is_settled, "orders are placed and confirmed")
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        await e.stop(worker)
        placed = await e.connection.fetch("SELECT number FROM text_order WHERE state = 4")
        assert len(placed) == len(till.placed) == len(till.heard) > 0, "one POST an order, however often YES was said"
        assert all(body["quantity"] == 2 for body in till.placed)
        confirmed = await e.connection.fetchval(
            "SELECT count(*) FROM chunk_payload p JOIN chunk k ON k.id = p.chunk_id WHERE k.class = $1",
            MessageClass.TRANSACTIONAL,
        )
        assert confirmed == len(placed) and len(read(ledger)) > len(people)


async def test_a_brand_s_gate_is_asked_of_what_confirms_an_order(dsn: str) -> None:
    from gateway.automation.replying import gate_of_inbox

    settings = msgspec.structs.replace(
        settings_of(dsn), inboxes={"desk": DESK, "shop": InboxSettings(brand="acme")}, brands={"acme": BrandSettings()}
    )
    assert gate_of_inbox(settings, "desk", MessageClass.TRANSACTIONAL) is None
    assert gate_of_inbox(settings, "shop", MessageClass.TRANSACTIONAL) is not None
