"""The network does what it is told, and its ledger says so."""

import asyncio
import contextlib
import io
import struct
import time
from collections.abc import AsyncIterator

import pytest

from tests.faults.proxy import Net, whole
from tests.fixtures.engine import until

SUBMIT_SM = 4


def pdu(number: int, command: int = SUBMIT_SM) -> bytes:
    return struct.pack(">IIII", 20, command, 0, number) + b"body"


class Ends:
    """Somebody who echoes, the net before him, and one connection through it."""

    def __init__(self, net: Net, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ledger: io.StringIO):
        self.net, self.reader, self.writer, self.ledger = net, reader, writer, ledger

    async def echoed(self, octets: bytes) -> bytes:
        """Send and read as much."""
        self.writer.write(octets)
        return await asyncio.wait_for(self.reader.readexactly(len(octets)), 10)

    async def ends(self) -> bytes:
        """What is read until the connection ends."""
        got = b""
        with contextlib.suppress(ConnectionError):
            while octets := await asyncio.wait_for(self.reader.read(1000), 10):
                got += octets
        return got


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while octets := await reader.read(1000):
                writer.write(octets)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    ledger = io.StringIO()
    net = Net(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", ledger, smpp=True)
    door = await asyncio.start_server(net.connected, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", door.sockets[0].getsockname()[1])
    yield Ends(net, reader, writer, ledger)
    writer.close()
    door.close()
    await net.close()
    server.close()


async def test_whole_pdus_pass_unchanged_and_are_counted(ends: Ends) -> None:
    assert await ends.echoed(pdu(1) + pdu(2)) == pdu(1) + pdu(2)
    assert ends.net.order({"do": "counts"}) == {"connections": 1, "open": 1, "up": 40, "down": 40}
    assert ",1,up,40" in ends.ledger.getvalue() and ",1,down,40" in ends.ledger.getvalue()


async def test_cut_ends_every_connection_at_once(ends: Ends) -> None:
    await ends.echoed(pdu(1))
    ends.net.order({"do": "cut"})
    assert await ends.ends() == b""
    await until(lambda: not ends.net.links, "the connection is forgotten")
    assert "F," in ends.ledger.getvalue() and "X," in ends.ledger.getvalue()


@pytest.mark.parametrize("octets", [0, 1, 19, 20, 21, 39])
async def test_cut_at_an_octet_hands_on_exactly_those_before_it(ends: Ends, octets: int) -> None:
    await ends.echoed(pdu(1))
    ends.net.order({"do": "cut_at", "way": "down", "octets": octets})
    ends.writer.write(pdu(2) + pdu(3))
    assert await ends.ends() == (pdu(2) + pdu(3))[:octets]


async def test_stalled_octets_are_taken_and_come_when_it_flows(ends: Ends) -> None:
    ends.net.order({"do": "stall", "way": "up"})
    ends.writer.write(pdu(1))
    await ends.writer.drain()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ends.reader.read(1), 0.05)
    ends.net.order({"do": "flow"})
    assert await asyncio.wait_for(ends.reader.readexactly(20), 10) == pdu(1)


async def test_half_open_connection_says_nothing_ever_again(ends: Ends) -> None:
    await ends.echoed(pdu(1))
    ends.net.order({"do": "half_open"})
    ends.writer.write(pdu(2))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(ends.reader.read(1), 0.1)


async def test_delay_and_drip_take_their_time(ends: Ends) -> None:
    began = time.monotonic()
    ends.net.order({"do": "delay", "way": "up", "ms": 60})
    ends.net.order({"do": "drip", "way": "down", "octets_per_s": 200})
    assert await ends.echoed(pdu(1)) == pdu(1)
    assert time.monotonic() - began >= 0.06 + 19 / 200


@pytest.mark.parametrize("greeting", ["refuse", "hang_up"])
async def test_new_connections_are_sent_away_until_it_flows(ends: Ends, greeting: str) -> None:
    host, port = ends.writer.get_extra_info("peername")
    ends.net.order({"do": greeting})
    reader, writer = await asyncio.open_connection(host, port)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(1), 10) == b""
    writer.close()
    ends.net.order({"do": "flow"})
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(pdu(1))
    assert await asyncio.wait_for(reader.readexactly(20), 10) == pdu(1)
    writer.close()


async def test_pdus_come_twice_in_reverse_short_or_with_another_length(ends: Ends) -> None:
    ends.net.order({"do": "duplicate", "way": "up", "command": SUBMIT_SM, "count": 1})
    ends.writer.write(pdu(1) + pdu(2))
    assert await asyncio.wait_for(ends.reader.readexactly(60), 10) == pdu(1) * 2 + pdu(2)
    ends.net.order({"do": "reorder", "way": "up", "command": SUBMIT_SM, "count": 2})
    ends.writer.write(pdu(1) + pdu(2) + pdu(3))
    assert await asyncio.wait_for(ends.reader.readexactly(60), 10) == pdu(2) + pdu(1) + pdu(3)
    ends.net.order({"do": "truncate", "way": "down", "octets": 5})
    ends.writer.write(pdu(1) + pdu(2))
    assert await asyncio.wait_for(ends.reader.readexactly(35), 10) == pdu(1)[:15] + pdu(2)
    ends.net.order({"do": "insert", "way": "down", "hex": "0d0a"})
    ends.writer.write(pdu(1))
    assert await asyncio.wait_for(ends.reader.readexactly(22), 10) == b"\r\n" + pdu(1)
    ends.net.order({"do": "corrupt", "way": "down", "value": 15})
    ends.writer.write(pdu(1))
    assert await asyncio.wait_for(ends.reader.readexactly(20), 10) == struct.pack(">I", 15) + pdu(1)[4:]


async def test_order_of_a_command_leaves_the_others_alone(ends: Ends) -> None:
    ends.net.order({"do": "duplicate", "way": "up", "command": 0x80000004, "count": 1})
    assert await ends.echoed(pdu(1)) == pdu(1)


def test_stream_is_split_behind_its_last_whole_pdu() -> None:
    assert whole(pdu(1) + pdu(2)[:7]) == (pdu(1), pdu(2)[:7])
    assert whole(b"\0\0") == (b"", b"\0\0")
    # What cannot be framed is handed on: to find that out is the receiver's part.
    assert whole(b"HTTP/1.1") == (b"HTTP/1.1", b"")
