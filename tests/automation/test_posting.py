"""One call of another system: signed by whoever calls, answered in time, and led nowhere else."""

import pytest
from aiohttp import web
from aiohttp.abc import ResolveResult

from gateway.automation.posting import MOST_OCTETS, PrivateAddress, PublicResolver, client_of, post
from gateway.webhook import WebhookSettings

HERE = WebhookSettings(allow_private=True)


async def test_names_that_lead_into_private_networks_are_refused_when_they_are_looked_up() -> None:
    class Names:
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            addresses = {"inside": ["10.0.0.1"], "both": ["10.0.0.1", "8.8.8.8"]}[host]
            return [ResolveResult(hostname=host, host=one, port=port, family=2, proto=0, flags=0) for one in addresses]

        async def close(self) -> None:
            """Nothing."""

    resolver = PublicResolver(Names())  # type: ignore[arg-type]
    with pytest.raises(PrivateAddress, match="inside leads to private addresses"):
        await resolver.resolve("inside", 443)
    assert [one["host"] for one in await resolver.resolve("both", 443)] == ["8.8.8.8"]


async def test_an_answer_is_read_as_it_is_cut_where_it_is_long_and_no_redirect_is_followed() -> None:
    heard = []

    async def answer(request: web.Request) -> web.StreamResponse:
        heard.append((request.path, await request.read(), request.headers["Webhook-Id"]))
        if request.path == "/moved":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        return web.Response(status=500 if request.path == "/broken" else 200, body=b"x" * (MOST_OCTETS + 5000))

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        root = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with client_of(HERE) as client:
            found = [
                await post(client, HERE, root + path, b"{}", {"Webhook-Id": "a:1"})
                for path in ("/ok", "/broken", "/moved")
            ]
            refused = await post(client, WebhookSettings(), root + "/ok", b"{}", {"Webhook-Id": "a:1"})
        assert [(one.status, len(one.body), one.is_final) for one in found[:2]] == [
            (200, MOST_OCTETS, False), (500, MOST_OCTETS, False)
        ]  # fmt: skip
        assert (found[2].status, found[2].is_final) == (307, True)
        assert refused.is_final and "private" in refused.said and refused.status == 0
        assert [path for path, _, _ in heard] == ["/ok", "/broken", "/moved"]
    finally:
        await runner.cleanup()


async def test_a_system_that_is_not_there_is_an_answer_that_may_change() -> None:
    async with client_of(HERE) as client:
        found = await post(client, HERE, "http://127.0.0.1:1/", b"{}", {})
    assert (found.status, found.is_final) == (0, False) and found.told
