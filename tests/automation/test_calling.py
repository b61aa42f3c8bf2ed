"""Other systems are told over real HTTP: signed, once by its id, again where that fails; nobody waits for others."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from aiohttp import web

from gateway import webhook
from gateway.automation.calling import Calling
from gateway.store import calls
from gateway.webhook import WebhookSettings
from tests.fixtures.shop import Shop, settings_of

ANN, BOB = 447700900001, 447700900002
SECRET = "a secret of the tests"


class Outer:
    """Another system; answers as it is told to, and keeps what it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.gate: asyncio.Event | None = None
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.heard.append((dict(request.headers), await request.read()))
        if self.gate is not None:
            await self.gate.wait()
        return web.Response(status=self.status, headers={"Location": "/elsewhere"})


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[], Awaitable[Outer]]]:
    runners = []

    async def begin() -> Outer:
        outer = Outer()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", outer.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        runners.append(runner)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        outer.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        return outer

    yield begin
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def shop(dsn: str) -> AsyncIterator[Shop]:
    webhooks = WebhookSettings(secret=SECRET, allow_private=True)
    made = await Shop.open(dsn, msgspec.structs.replace(settings_of(dsn), webhooks=webhooks))
    await made.people([ANN, BOB])
    await made.connection.execute("INSERT INTO job (name, owner, epoch) VALUES ('calling', $1, 1)", made.instance)
    yield made
    made.close()


def calling(shop: Shop, wall: Callable[[], datetime] | None = None) -> Calling:
    async def connect() -> object:
        return shop.connection

    return Calling(shop.settings.webhooks, wall or (lambda: shop.now), connect, shop.instance)  # type: ignore[arg-type]


def flow(url: str, name: str = "flow") -> str:
    return f"""
name = "{name}"
brand = "acme"
kind = "workflow"
aim = "a"
[[steps]]
do = "webhook"
name = "crm"
url = "{url}"
on_fail = "sorry"
[[steps]]
do = "send"
text = "told"
next = "exit"
[[steps]]
do = "send"
name = "sorry"
text = "not told"
[trigger]
on = "event"
event = "{name} began"
"""


async def test_wf_10_what_is_told_is_signed_and_names_the_person_the_cause_and_the_step(shop: Shop, serve) -> None:
    outer = await serve()
    await shop.apply(flow(outer.url))
    await shop.tells(ANN, "flow began", {"cart_id": "c1"})
    await shop.goes_on(timedelta(seconds=1))
    await calling(shop).work(shop.connection, shop.now)
    ((headers, body),) = outer.heard
    told = json.loads(body)
    wanted = webhook.headers_of(told["id"], body, SECRET, shop.now)
    assert {name: headers[name] for name in wanted} == wanted
    assert (told["campaign"], told["step"], told["event"]) == ("flow", "crm", {"cart_id": "c1"})
    assert told["person"] == {"phone": f"+{ANN}", "external_id": str(ANN)}
    await shop.goes_on(timedelta(seconds=1))
    assert await shop.texts() == [(ANN, "told")]


async def test_wf_10_a_failure_is_tried_again_with_the_same_id_and_at_last_goes_the_other_way(
    shop: Shop, serve
) -> None:
    outer = await serve()
    outer.status = 503
    await shop.apply(flow(outer.url))
    await shop.tells(ANN, "flow began")
    await shop.goes_on(timedelta(seconds=1))
    job = calling(shop)
    for _ in range(webhook.TRIES):
        await job.work(shop.connection, shop.now)
        assert await shop.texts() == []
        shop.now += timedelta(hours=3)
    await shop.goes_on(shop.now)
    assert await shop.texts() == [(ANN, "not told")]
    assert len(outer.heard) == webhook.TRIES
    assert len({headers["Webhook-Id"] for headers, _ in outer.heard}) == 1
    assert len({headers["Webhook-Timestamp"] for headers, _ in outer.heard}) == webhook.TRIES


async def test_wf_10_no_redirect_is_followed(shop: Shop, serve) -> None:
    outer = await serve()
    outer.status = 307
    await shop.apply(flow(outer.url))
    await shop.tells(ANN, "flow began")
    await shop.goes_on(timedelta(seconds=1))
    await calling(shop).work(shop.connection, shop.now)
    await shop.goes_on(timedelta(seconds=1))
    assert (len(outer.heard), await shop.texts()) == (1, [(ANN, "not told")])


async def test_wf_10_a_system_that_does_not_answer_keeps_nobody_else_waiting(
    shop: Shop, serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook, "TIMEOUT_S", 1.0)
    slow, quick = await serve(), await serve()
    slow.gate = asyncio.Event()
    await shop.apply(flow(slow.url, "slow"))
    await shop.apply(flow(quick.url, "quick"))
    numbers = [447700900100 + at for at in range(20)]
    await shop.people(numbers)
    for number in numbers:
        await shop.tells(number, "slow began")
    await shop.tells(ANN, "quick began")
    await shop.goes_on(timedelta(seconds=1))
    begun = time.monotonic()
    task = asyncio.create_task(calling(shop).work(shop.connection, shop.now))
    while not quick.heard:
        assert time.monotonic() - begun < 10 and not task.done()
        await asyncio.sleep(0.01)
    assert len(slow.heard) <= 8
    await task
    slow.gate.set()
    counts = await shop.connection.fetch("SELECT state, count(*) AS n FROM webhook_call GROUP BY 1")
    assert {row["state"]: row["n"] for row in counts} == {calls.TOLD: 1, calls.WAITING: 20}


async def test_who_has_left_meanwhile_is_told_of_to_nobody(shop: Shop, serve) -> None:
    outer = await serve()
    await shop.apply(flow(outer.url))
    await shop.tells(ANN, "flow began")
    await shop.goes_on(timedelta(seconds=1))
    await shop.connection.execute("DELETE FROM enrolment")
    await calling(shop).work(shop.connection, shop.now)
    assert outer.heard == [] and not await calls.is_wanted(shop.connection)


async def test_another_worker_has_the_job(shop: Shop, serve) -> None:
    outer = await serve()
    await shop.apply(flow(outer.url))
    await shop.tells(ANN, "flow began")
    await shop.goes_on(timedelta(seconds=1))
    await shop.connection.execute("DELETE FROM job WHERE name = 'calling'")
    assert await calling(shop).work(shop.connection, shop.now) is False
    assert outer.heard == []


async def test_a_name_of_this_machine_fails_for_good_where_it_is_not_allowed(shop: Shop, serve) -> None:
    outer = await serve()
    await shop.apply(flow(outer.url.replace("127.0.0.1", "localhost").replace("http://", "https://")))
    await shop.tells(ANN, "flow began")
    await shop.goes_on(timedelta(seconds=1))
    job = calling(shop)
    job._settings = WebhookSettings(secret=SECRET)
    await job.work(shop.connection, shop.now)
    said = await shop.connection.fetchrow("SELECT state, tries, said FROM webhook_call")
    assert said["state"] == calls.FAILED and "private" in said["said"] and outer.heard == []
