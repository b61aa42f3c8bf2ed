"""Byte streams between the hosts of a SimLoop: as TCP has them, and as TCP breaks.

    write ─► send buffer (bounded by pause_writing) ─► pieces of random size, each with its latency ─► inbox ─► protocol
                        in order, always; at most `capacity` octets between the two buffers

What may be done to a connection, in either direction: cut it behind an octet, reset, close or stall it, let it drip,
or let its peer vanish without a word. To an address: refuse, accept and say nothing, be slow. A host that crashes loses
what it had not handed to the system; what the system has goes on its way, and then the peer hears of the end. One that
loses its power says nothing.

Not here: when any of it happens (world.py), TLS, names.
"""

import asyncio
import contextvars
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.simulation.loop import Host, SimLoop, current_host

READ_OCTETS = 1 << 16
TO_SERVER, TO_CLIENT = 0, 1


class Road:
    """What an address is like.

    latency_s  least and most, one way
    whole      how often octets travel as they were written; else in pieces
    capacity   octets under way and unread, each way
    """

    def __init__(self, latency_s: tuple[float, float] = (0.0002, 0.002), whole: float = 0.8, capacity: int = 1 << 16):
        self.latency_s, self.whole, self.capacity = latency_s, whole, capacity
        self.slower = 1.0
        self.is_refusing = False
        self.is_mute = False


class Socket:
    """The one thing a protocol asks a listening socket."""

    def __init__(self, name: tuple[str, int]):
        self._name = name

    def getsockname(self) -> tuple[str, int]:
        """Where it listens."""
        return self._name


class Server:
    """Somebody who listens."""

    def __init__(self, network: "Network", address: tuple[str, int], factory: Callable[[], Any]):
        self.network, self.address, self.factory = network, address, factory
        self.context = contextvars.copy_context()
        self.host = current_host()
        self.sockets = (Socket(address),)

    def close(self) -> None:
        """Listen no more."""
        if self.network.servers.get(self.address) is self:
            del self.network.servers[self.address]

    async def wait_closed(self) -> None:
        """Nothing to wait for."""


class End(asyncio.Transport):
    """One end of a connection, as its protocol sees it."""

    def __init__(self, connection: "Connection", side: int, context: contextvars.Context, host: Host | None):
        super().__init__()
        self.connection, self.side, self.context, self.host = connection, side, context, host
        self.loop = connection.network.loop
        self.protocol: Any = None
        self.peer: End
        self.is_lost = False
        self._is_closing = False
        self._is_paused = False
        self._is_reading = True
        self._reads = False
        self._high, self._low = 65536, 16384
        self._buffer = bytearray()
        self.inbox: deque[bytes] = deque()
        self.inbox_octets = 0
        self._hears_end = False

    # -- what a protocol calls --------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Tell the addresses; there is no socket, so nobody writes past this transport."""
        if name == "peername":
            return self.connection.address if self.side == TO_SERVER else ("10.0.0.1", self.connection.number)
        if name == "sockname":
            return ("10.0.0.1", self.connection.number) if self.side == TO_SERVER else self.connection.address
        return default

    def set_protocol(self, protocol: Any) -> None:
        """Speak to another."""
        self.protocol = protocol

    def get_protocol(self) -> Any:
        """Tell to whom it speaks."""
        return self.protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Say when to pause and when to resume."""
        self._high = 65536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Octets that the system has not taken."""
        return len(self._buffer)

    def is_closing(self) -> bool:
        """Tell whether it is closing or lost."""
        return self._is_closing

    def is_reading(self) -> bool:
        """Tell whether octets are handed on."""
        return self._is_reading and not self._is_closing

    def pause_reading(self) -> None:
        """Leave octets in the system."""
        self._is_reading = False

    def resume_reading(self) -> None:
        """Hand them on again."""
        self._is_reading = True
        self._read_soon()

    def write(self, data: Any) -> None:
        """Send."""
        if self._is_closing or not data:
            return
        octets = bytes(data)
        tap = self.connection.network.on_write
        if tap is not None:
            tap(self.connection, self.side, octets)
        self._buffer += octets
        self._drain()
        if len(self._buffer) > self._high and not self._is_paused:
            self._is_paused = True
            self.protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        """Send many."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Say no: SMPP has no half-open state."""
        return False

    def close(self) -> None:
        """End behind what is written."""
        if not self._is_closing:
            self._is_closing = True
            if not self._buffer:
                self._end()

    def abort(self) -> None:
        """End now; what the system has taken still leaves."""
        self._is_closing = True
        self._buffer.clear()
        self._end()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _end(self, error: Exception | None = None) -> None:
        if self.is_lost:
            return
        self.is_lost = self._is_closing = True
        self.connection.ended(self.side, self.inbox_octets > 0)
        self.loop.call_soon(self._tell, error, context=self.context)

    def _tell(self, error: Exception | None) -> None:
        self.over()
        # Nobody has taken it from the system's hands.
        if self.protocol is not None:
            self.protocol.connection_lost(error)

    def over(self) -> None:
        """Tell who watches that the end that made the connection has heard of its end, or is gone itself."""
        if self.side == TO_SERVER and self.connection.network.on_end is not None:
            self.connection.network.on_end(self.connection)

    def _drain(self) -> None:
        """Hand to the system what it takes."""
        if self._buffer:
            self.connection.take(self.side, self._buffer)

    def drained(self) -> None:
        """The system has room again."""
        if self.is_lost:
            return
        self._drain()
        if self._is_paused and len(self._buffer) <= self._low:
            self._is_paused = False
            self.protocol.resume_writing()
        if self._is_closing and not self._buffer:
            self._end()

    def arrive(self, octets: bytes) -> None:
        """Octets are here, in the system's buffer."""
        self.inbox.append(octets)
        self.inbox_octets += len(octets)
        self._read_soon()

    def hear_end(self) -> None:
        """The peer has closed: told behind the last octet."""
        self._hears_end = True
        self._read_soon()

    def hear_reset(self, error: Exception) -> None:
        """The connection broke; what was not read is lost."""
        if not self.is_lost:
            self.inbox.clear()
            self.is_lost = self._is_closing = True
            self._buffer.clear()
            self.connection.network.forget(self.connection)
            self.loop.call_soon(self._tell, error, context=self.context).is_read = True

    def _read_soon(self) -> None:
        if not self._reads and self._is_reading and not self.is_lost and (self.inbox or self._hears_end):
            self._reads = True
            self.loop.call_soon(self._read, context=self.context).is_read = True

    def _read(self) -> None:
        self._reads = False
        if self.is_lost or self._is_closing or not self._is_reading:
            return
        if self.inbox:
            protocol = self.protocol
            if isinstance(protocol, asyncio.BufferedProtocol):
                view = memoryview(protocol.get_buffer(-1))
                room, n = len(view), 0
                while self.inbox and n < room:
                    piece = self.inbox.popleft()
                    if len(piece) > room - n:
                        self.inbox.appendleft(piece[room - n :])
                        piece = piece[: room - n]
                    view[n : n + len(piece)] = piece
                    n += len(piece)
                    self.connection.tell_read(1 - self.side, piece)
                view.release()
                self.inbox_octets -= n
                self.connection.was_read(self.side, n)
                protocol.buffer_updated(n)
            else:
                octets = b"".join(self.inbox)
                self.inbox.clear()
                self.inbox_octets = 0
                self.connection.was_read(self.side, len(octets))
                self.connection.tell_read(1 - self.side, octets)
                protocol.data_received(octets)
            self._read_soon()
        elif self._hears_end:
            self._hears_end = False
            if not self.protocol.eof_received():
                self.close()


class Connection:
    """A connection: two ends, and for each direction what is under way and what is wrong with it."""

    def __init__(self, network: "Network", number: int, address: tuple[str, int], road: Road):
        self.network, self.number, self.address, self.road = network, number, address, road
        self.ends: list[End] = []
        # By direction, TO_SERVER and TO_CLIENT: octets under way or unread, and when the last piece arrives.
        self.under_way = [0, 0]
        self.last_ns = [0, 0]
        self.sent = [0, 0]
        self.cut_at: list[int | None] = [None, None]
        self.is_black = False
        self.is_stalled = [False, False]
        self.drips = [False, False]
        self._held: list[list[Callable[[], None]]] = [[], []]

    def take(self, side: int, buffer: bytearray) -> None:
        """Take octets from a sender's buffer, as many as there is room for, and send them on their way."""
        room = self.road.capacity - self.under_way[side]
        if room <= 0:
            return
        octets = bytes(buffer[:room])
        del buffer[:room]
        self.under_way[side] += len(octets)
        cut_at, self.sent[side] = self.cut_at[side], self.sent[side] + len(octets)
        is_cut = cut_at is not None and self.sent[side] >= cut_at
        if is_cut and cut_at is not None:
            octets = octets[: max(0, len(octets) - (self.sent[side] - cut_at))]
        chance, road = self.network.chance, self.road
        at = 0
        while at < len(octets):
            if self.drips[side]:
                size = 1 + int(chance.random() * 3)
            elif at == 0 and chance.random() < road.whole:
                size = len(octets)
            else:
                size = 1 + int(chance.random() * len(octets))
            piece = octets[at : at + size]
            at += size
            delay_s = self.network.delay_s(road) if not self.drips[side] else 0.05 + 0.1 * chance.random()
            self._later(side, delay_s, self._deliver, side, piece)
        if is_cut:
            self.cut_at = [None, None]
            self._later(side, self.network.delay_s(road), self.reset, "cut")

    def _later(self, side: int, delay_s: float, call: Callable[..., None], *args: Any) -> None:
        """Call in the order of the direction, behind everything before."""
        loop = self.network.loop
        when_ns = loop.now_ns + int(delay_s * 1e9)
        if when_ns < self.last_ns[side]:
            when_ns = self.last_ns[side]
        # Of one direction two pieces may arrive at once, and then in order; behind a drip each waits for the other.
        if self.drips[side]:
            when_ns = max(when_ns, self.last_ns[side] + int(delay_s * 1e9))
        self.last_ns[side] = when_ns
        loop.at_ns(when_ns, self._pass, side, call, args, context=self.network.context)

    def _pass(self, side: int, call: Callable[..., None], args: tuple[Any, ...]) -> None:
        if self.is_black:
            return
        if self.is_stalled[side] or self._held[side]:
            self._held[side].append(lambda: call(*args))
            return
        call(*args)

    def release(self) -> None:
        """Let everything through that was held up."""
        for side in (TO_SERVER, TO_CLIENT):
            self.is_stalled[side] = False
            self.drips[side] = False
            held, self._held[side] = self._held[side], []
            for call in held:
                call()

    def _deliver(self, side: int, piece: bytes) -> None:
        end = self.ends[1 - side]
        if end.is_lost or end.is_closing() or (end.host is not None and end.host.is_dead):
            self.under_way[side] = 0
            return
        self.network.delivered += len(piece)
        end.arrive(piece)

    def tell_read(self, side: int, octets: bytes) -> None:
        """Tell who watches what an end takes: what a reset finds unread never was there for it."""
        if self.network.on_read is not None:
            self.network.on_read(self, side, octets)

    def was_read(self, side: int, n: int) -> None:
        """An end has read so many octets: the other may send more."""
        other = self.ends[1 - side]
        self.under_way[1 - side] -= n
        if other.get_write_buffer_size() and not other.is_lost and not self.is_black:
            self.network.loop.call_soon(other.drained, context=other.context)

    def ended(self, side: int, unread: bool) -> None:
        """One end is closed by its owner: the other hears of it behind the last octet, or of a reset."""
        self.network.forget(self)
        peer = self.ends[1 - side]
        if unread:
            self._later(side, self.network.delay_s(self.road), peer.hear_reset, ConnectionResetError("reset by peer"))
        else:
            self._later(side, self.network.delay_s(self.road), peer.hear_end)

    # -- what may be done to it -------------------------------------------------------------------------------------

    def reset(self, why: str) -> None:
        """Break it for both, now; what is under way is lost."""
        self.is_black = True
        self.network.forget(self)
        for end in self.ends:
            end.hear_reset(ConnectionResetError(why))

    def finish(self) -> None:
        """Close it for both behind what is under way, as a proxy does that is stopped."""
        for side in (TO_SERVER, TO_CLIENT):
            self._later(side, 0.0, self.ends[1 - side].hear_end)

    def vanish(self) -> None:
        """Lose every octet from now on, both ways, and tell nobody; TCP gives up half a minute after."""
        self.is_black = True
        loop = self.network.loop
        for end in self.ends:
            loop.at_ns(
                loop.now_ns + 40_000_000_000,
                end.hear_reset,
                TimeoutError("timed out"),
                context=self.network.context,
            )


class Network:
    """All addresses and all connections.

    on_write, on_read  (connection, direction, octets): what an end writes, and what the other takes
    on_end             (connection): who made it has heard that it is over, or is gone
    """

    def __init__(self, loop: SimLoop, chance: random.Random):
        self.loop, self.chance = loop, chance
        self.context = contextvars.Context()
        self.servers: dict[tuple[str, int], Server] = {}
        self.roads: dict[tuple[str, int], Road] = {}
        self.connections: dict[int, Connection] = {}
        self.on_write: Callable[[Connection, int, bytes], None] | None = None
        self.on_read: Callable[[Connection, int, bytes], None] | None = None
        self.on_end: Callable[[Connection], None] | None = None
        self.delivered = 0
        self._numbers = 0
        loop.network = self

    def road(self, address: tuple[str, int]) -> Road:
        """What an address is like; made with the first question."""
        return self.roads.setdefault(address, Road())

    def delay_s(self, road: Road) -> float:
        """Draw how long octets are under way."""
        low, high = road.latency_s
        return (low + (high - low) * self.chance.random()) * road.slower

    def create_server(self, factory: Callable[[], Any], host: str, port: int) -> Server:
        """Listen."""
        address = (host, port or 40_000 + len(self.servers))
        if address in self.servers:
            raise OSError(98, f"address already in use: {address}")
        server = self.servers[address] = Server(self, address, factory)
        return server

    async def create_connection(
        self, factory: Callable[[], Any], host: str, port: int, *, ssl: Any = None
    ) -> tuple[End, Any]:
        """Connect; a server hears of it a moment after.

        raises  ConnectionRefusedError
        """
        assert ssl is None, "there is no TLS in the simulated network"
        address = (host, port)
        road = self.road(address)
        await asyncio.sleep(2 * self.delay_s(road))
        server = self.servers.get(address)
        if road.is_refusing or server is None or (server.host is not None and server.host.is_dead):
            raise ConnectionRefusedError(111, f"connection refused: {host}:{port}")
        self._numbers += 1
        connection = self.connections[self._numbers] = Connection(self, self._numbers, address, road)
        client = End(connection, TO_SERVER, contextvars.copy_context(), current_host())
        served = End(connection, TO_CLIENT, server.context.copy(), server.host)
        connection.ends += [client, served]
        client.protocol = factory()
        if road.is_mute:
            # Accepted by the system, and nobody takes it from there.
            connection.is_black = True
        else:
            self.loop.call_soon(self._accept, server, served, context=served.context)
        client.protocol.connection_made(client)
        return client, client.protocol

    def _accept(self, server: Server, end: End) -> None:
        end.protocol = server.factory()
        end.protocol.connection_made(end)
        end._read_soon()

    def forget(self, connection: Connection) -> None:
        """Count it among the living no more."""
        self.connections.pop(connection.number, None)

    def crashed(self, host: Host, *, is_silent: bool) -> None:
        """A host is gone: its peers hear of it, or where its power went they do not."""
        for connection in list(self.connections.values()):
            for side, end in enumerate(connection.ends):
                if end.host is host:
                    end.over()
                    end.is_lost = True
                    if is_silent:
                        connection.vanish()
                    else:
                        connection.ended(side, bool(end.inbox) or self.chance.random() < 0.5)
        for address, server in list(self.servers.items()):
            if server.host is host:
                del self.servers[address]
