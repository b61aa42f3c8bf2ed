"""A network that does what it is told: a process between a worker and its SMSC, or between a worker and Postgres.

    python -m tests.faults.proxy --listen 127.0.0.1:0 --to 127.0.0.1:2775 --ledger net.csv [--smpp]

An address is HOST:PORT, or the path of a Unix socket. The first line said is {"listening": address}. Orders are read
from standard input, one JSON object a line; each is answered by one line. `way` is "up" (from the worker), "down" (to
it) or left out for both.

    {"do": "cut"}                              RST to both sides of every connection
    {"do": "cut_at", "octets": k, "way": w}    hand on k more octets, then end the connection that said the last of them
    {"do": "delay", "ms": n, "way": w}         octets come n ms later
    {"do": "stall", "way": w}                  take octets and hand none on: a black hole that acknowledges
    {"do": "deaf", "way": w}                   take none any more: TCP's window closes
    {"do": "half_open"}                        forget the connections there are without a word to either side
    {"do": "drip", "octets_per_s": n, "way": w}
    {"do": "refuse"} {"do": "hang_up"} {"do": "mute"}   new connections: none; closed at once; taken and never answered
    {"do": "flow"}                             heal all of the above but what was cut
    {"do": "truncate", "octets": k, "way": w}           leave k octets out of the next PDU            (--smpp from here)
    {"do": "corrupt", "value": n, "way": w}             write n over the command_length of the next PDU
    {"do": "insert", "hex": octets, "way": w}           hand these octets on before the next PDU
    {"do": "duplicate", "command": c, "count": n, "way": w}   hand the next n PDUs of a command on twice
    {"do": "reorder", "command": c, "count": n, "way": w}     hand the next n PDUs of a command on in reverse
    {"do": "counts"}                           connections so far, open now, octets each way

The ledger has a line an event, comma separated; times are those of CLOCK_MONOTONIC:

    C,at_ns,connection                         taken, and the other side reached
    N,at_ns,connection,way,octets              handed on
    F,at_ns,connection,what                    a fault done to this connection; 0: an order, as it came
    X,at_ns,connection                         gone

Not here: when what happens (torture.py), and what must hold afterwards (tests/fixtures/audit.py).
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
import time
from typing import Any, TextIO

CHUNK_OCTETS = 1 << 16
HEADER_OCTETS = 16
LONGEST_PDU_OCTETS = 1 << 20
WAYS = ("up", "down")


class Way:
    """What is ordered for one direction."""

    def __init__(self) -> None:
        self.flows, self.hears = asyncio.Event(), asyncio.Event()
        self.cut_at: int | None = None
        self.orders: list[dict[str, Any]] = []
        self.octets = 0
        self.heal()

    def heal(self) -> None:
        """Hand on again, at once and whole."""
        self.delay_s = 0.0
        self.drip = 0
        self.flows.set()
        self.hears.set()


class Link:
    """One connection: two sockets and two pumps."""

    def __init__(self, number: int, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]):
        self.number, self.writers = number, writers
        self.is_forgotten = False

    def reset(self) -> None:
        """RST to both sides."""
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def end(self) -> None:
        """FIN to both sides, behind what was written."""
        for writer in self.writers:
            with contextlib.suppress(OSError):
                writer.close()


class Net:
    """The door, its connections and its orders."""

    def __init__(self, to: str, ledger: TextIO, *, smpp: bool):
        self.to, self.ledger, self.smpp = to, ledger, smpp
        self.ways = {way: Way() for way in WAYS}
        self.links: set[Link] = set()
        self.count = 0
        self.greeting = "welcome"
        self._pumps: set[asyncio.Task[None]] = set()

    def note(self, kind: str, link: int, *more: object) -> None:
        """Write a line into the ledger."""
        self.ledger.write(",".join(str(one) for one in (kind, time.monotonic_ns(), link, *more)) + "\n")
        if kind != "N":
            self.ledger.flush()

    def order(self, order: dict[str, Any]) -> dict[str, Any]:
        """Carry an order out; -> the answer."""
        do = order["do"]
        if do == "counts":
            counts = {way: state.octets for way, state in self.ways.items()}
            return {"connections": self.count, "open": len(self.links), **counts}
        self.note("F", 0, do)
        ways = [self.ways[order["way"]]] if "way" in order else list(self.ways.values())
        if do == "cut":
            for link in list(self.links):
                self.note("F", link.number, do)
                link.reset()
        elif do == "half_open":
            for link in self.links:
                self.note("F", link.number, do)
                link.is_forgotten = True
        elif do in ("refuse", "hang_up", "mute"):
            self.greeting = do
        elif do == "flow":
            self.greeting = "welcome"
            for way in ways:
                way.heal()
        for way in ways:
            if do == "cut_at":
                way.cut_at = int(order["octets"])
            elif do == "delay":
                way.delay_s = order["ms"] / 1000
            elif do == "drip":
                way.drip = int(order["octets_per_s"])
            elif do == "stall":
                way.flows.clear()
            elif do == "deaf":
                way.hears.clear()
            elif do in ("truncate", "corrupt", "insert", "duplicate", "reorder"):
                if not self.smpp:
                    return {"error": f"{do}: knows PDUs only with --smpp"}
                way.orders.append({"count": 1, **order, "held": []})
        return {"done": do}

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, as the greeting says."""
        if self.greeting in ("refuse", "hang_up"):
            writer.transport.abort()
            return
        try:
            there_reader, there_writer = await connect(self.to)
        except OSError:
            writer.transport.abort()
            return
        self.count += 1
        link = Link(self.count, (writer, there_writer))
        link.is_forgotten = self.greeting == "mute"
        self.links.add(link)
        self.note("C", link.number)
        pumps = [
            asyncio.create_task(self._pump(link, "up", reader, there_writer)),
            asyncio.create_task(self._pump(link, "down", there_reader, writer)),
        ]
        self._pumps.update(pumps)
        await asyncio.wait(pumps)
        self._pumps.difference_update(pumps)
        self.links.discard(link)
        self.note("X", link.number)

    async def _pump(self, link: Link, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way, rest = self.ways[name], b""
        with contextlib.suppress(OSError):
            while True:
                await way.hears.wait()
                octets = await reader.read(CHUNK_OCTETS)
                if not octets:
                    break
                await way.flows.wait()
                if way.delay_s:
                    await asyncio.sleep(way.delay_s)
                if link.is_forgotten:
                    continue
                if self.smpp:
                    octets, rest = whole(rest + octets)
                    if way.orders:
                        octets = self._bend(link, way, octets)
                if way.cut_at is not None and len(octets) >= way.cut_at:
                    octets, way.cut_at = octets[: way.cut_at], None
                    self._hand_on(link, name, writer, octets)
                    self.note("F", link.number, "cut_at")
                    break
                if way.cut_at is not None:
                    way.cut_at -= len(octets)
                while way.drip and octets:
                    self._hand_on(link, name, writer, octets[:1])
                    octets = octets[1:]
                    await asyncio.sleep(1 / max(1, way.drip))
                self._hand_on(link, name, writer, octets)
                await writer.drain()
        # Forgotten ones say nothing, not even farewell: the other side finds out by itself.
        if not link.is_forgotten:
            link.end()

    def _hand_on(self, link: Link, name: str, writer: asyncio.StreamWriter, octets: bytes) -> None:
        if octets:
            self.note("N", link.number, name, len(octets))
            self.ways[name].octets += len(octets)
            writer.write(octets)

    def _bend(self, link: Link, way: Way, octets: bytes) -> bytes:
        """Carry out what is ordered for the next PDUs of a way."""
        out, at = bytearray(), 0
        while at < len(octets):
            length, command = struct.unpack_from(">II", octets, at)
            pdu = octets[at : at + length]
            at += length
            order = next((one for one in way.orders if one.get("command", command) == command), None)
            if order is None:
                out += pdu
                continue
            do = order["do"]
            order["count"] -= 1
            if do == "truncate":
                left = max(HEADER_OCTETS // 2, length - int(order["octets"]))
                out += pdu[:left]
            elif do == "corrupt":
                out += struct.pack(">I", int(order["value"])) + pdu[4:]
            elif do == "insert":
                out += bytes.fromhex(order["hex"]) + pdu
            elif do == "duplicate":
                out += pdu + pdu
            else:
                order["held"].append(pdu)
                if not order["count"]:
                    out += b"".join(reversed(order["held"]))
            if not order["count"]:
                way.orders.remove(order)
                self.note("F", link.number, do)
        # Nothing is held back for a PDU that may never come: who waits for its answer would not send another.
        for order in way.orders:
            out += b"".join(reversed(order["held"]))
            order["held"] = []
        return bytes(out)

    async def close(self) -> None:
        """End everything."""
        for link in list(self.links):
            link.reset()
        for pump in list(self._pumps):
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


def whole(octets: bytes) -> tuple[bytes, bytes]:
    """Split a stream behind its last whole PDU; what cannot be framed counts as whole."""
    at = 0
    while len(octets) - at >= 4:
        (length,) = struct.unpack_from(">I", octets, at)
        if not HEADER_OCTETS <= length <= LONGEST_PDU_OCTETS:
            return octets, b""
        if len(octets) - at < length:
            break
        at += length
    return octets[:at], octets[at:]


async def connect(to: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Reach HOST:PORT or the path of a Unix socket."""
    if to.startswith("/"):
        return await asyncio.open_unix_connection(to)
    host, port = to.rsplit(":", 1)
    return await asyncio.open_connection(host, int(port))


async def serve(listen: str, to: str, ledger: TextIO, *, smpp: bool) -> None:
    """Listen and obey until standard input ends."""
    net = Net(to, ledger, smpp=smpp)
    if listen.startswith("/"):
        server: asyncio.Server = await asyncio.start_unix_server(net.connected, listen)
        os.chmod(listen, 0o777)
        print(json.dumps({"listening": listen}), flush=True)
    else:
        host, port = listen.rsplit(":", 1)
        server = await asyncio.start_server(net.connected, host, int(port))
        print(json.dumps({"listening": "{}:{}".format(*server.sockets[0].getsockname()[:2])}), flush=True)
    orders = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while line := await orders.readline():
        try:
            answer = net.order(json.loads(line))
        except (KeyError, ValueError, TypeError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    server.close()
    await net.close()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="a network that does what it is told")
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--to", required=True)
    parser.add_argument("--ledger", required=True)
    parser.add_argument("--smpp", action="store_true")
    options = parser.parse_args()
    with open(options.ledger, "a") as ledger, contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.listen, options.to, ledger, smpp=options.smpp))


if __name__ == "__main__":
    main()
