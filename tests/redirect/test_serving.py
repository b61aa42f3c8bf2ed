"""HTTP for the door: bound to its address, quiet about itself, ended in order."""

import asyncio
import socket

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from gateway.redirect.serving import serve
from tests.fixtures.visitor import Visitor


async def who(request: Request) -> PlainTextResponse:
    return PlainTextResponse(request.client.host if request.client else "")


APP = Starlette(routes=[Route("/", who)])


async def test_the_address_before_a_trusted_proxy_is_whose_request_it_is() -> None:
    async with serve(APP, "127.0.0.1", 0, ["127.0.0.1"]) as address:
        assert (await Visitor(address, address="192.0.2.7").get("/")).text == "192.0.2.7"
        # The last one that is no proxy of ours: what stands before it anybody can have written.
        assert (await Visitor(address, address="10.9.9.9, 192.0.2.8").get("/")).text == "192.0.2.8"
        answer = await Visitor(address).get("/")
        assert "server" not in answer.headers
    async with serve(APP, "127.0.0.1", 0, []) as address:
        assert (await Visitor(address, address="192.0.2.7").get("/")).text == "127.0.0.1"


async def test_an_address_that_is_taken_is_said_so_and_one_that_is_left_is_free_again() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError):
            async with serve(APP, "127.0.0.1", port, []):
                raise AssertionError("it was taken")
    for _ in range(2):
        async with serve(APP, "127.0.0.1", port, []) as address:
            assert address == f"127.0.0.1:{port}"
            assert (await Visitor(address).get("/")).status == 200


async def test_what_is_no_http_ends_its_connection_and_nothing_else() -> None:
    async with serve(APP, "127.0.0.1", 0, []) as address:
        host, _, port = address.rpartition(":")
        for octets in (b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\xff" * 100_000 + b"\r\n\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(octets)
            async with asyncio.timeout(10):
                try:
                    assert b"200" not in (await reader.read())[:12]
                except ConnectionError:
                    pass
            writer.close()
        assert (await Visitor(address).get("/")).status == 200
