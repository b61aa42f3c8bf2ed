"""One TCP connection of an ESME: a socket, a session, and the compiled exchange between them.

    socket ─► exchange.received ─► rows of the lane
                   └─ rare PDUs ─► session.receive ─► events ─► listener
    socket ◄─ exchange.send ◄── exchange.fill        session.take_output ─┘

Write back-pressure: what the kernel does not take is handed to the transport, which says when it is through; until then
nothing is composed. TCP_NODELAY always: receipts right behind responses otherwise meet delayed acknowledgements, and most
clients fall to 2,300 messages a second (figures in docs/decisions/0003-the-link.md).
Not here: connecting and trying again (bind.py), which bind gets what (carrier.py).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, Protocol, cast

from _fastpath.exchange import Exchange
from gateway.errors import GatewayError, RemoteProtocolError
from gateway.smpp import session as sessions
from gateway.smpp.session import Event, Session, State

# Receipts that are not durable yet: past this the socket is not read, and TCP slows the SMSC down.
OWED_HIGH = 50_000
OWED_LOW = 10_000


class Listener(Protocol):
    """Who wants to know what happens on a link: bind.Bind."""

    def on_event(self, link: "Link", event: Event) -> None:
        """Hear of whatever the compiled path does not settle by itself."""

    def on_lost(self, link: "Link", reason: str) -> None:
        """Hear once that the connection is gone."""


class Link(asyncio.BufferedProtocol):
    """A connection in the making, up, or lost.

    clock  monotonic seconds
    """

    def __init__(self, session: Session, exchange: Exchange, clock: Callable[[], float], listener: Listener):
        self.session = session
        self.exchange = exchange
        self._clock = clock
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._paused = False
        self._handed_over = False
        self._reading = True
        self._heard_at = clock()
        self._octets_seen = 0
        self.is_lost = False
        self.reason = ""

    # -- the transport calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; the caller sends the bind."""
        # uvloop's transports are of no common class.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        endpoint: Any = transport.get_extra_info("socket")
        if endpoint is not None:
            with contextlib.suppress(OSError):  # a Unix socket has no such option
                endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if transport.get_extra_info("sslcontext") is None:
                self._fd = endpoint.fileno()

    def get_buffer(self, sizehint: int) -> Exchange:  # type: ignore[override]
        """Let the transport read straight into the exchange."""
        return self.exchange

    def buffer_updated(self, nbytes: int) -> None:
        """Take one read; answer it in the same turn."""
        exchange = self.exchange
        now = self._clock()
        exchange.received(nbytes, now)
        if exchange.rare or exchange.lost_framing or exchange.wants_rebind:
            self._take_rare(now)
        self._pump(now)
        if exchange.owed_waiting > OWED_HIGH:
            self._stop_reading()

    def eof_received(self) -> bool:
        """Close: SMPP has no half-open state."""
        return False

    def pause_writing(self) -> None:
        """Stop composing: the kernel's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on where we stopped."""
        self._paused = False
        self._handed_over = False
        self.pump(self._clock())

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the listener, once."""
        if self.is_lost:
            return
        self.is_lost = True
        self._fd = -1
        self.session.lost()
        if not self.reason:
            self.reason = str(exc) if exc is not None else "connection closed by the SMSC"
        self._listener.on_lost(self, self.reason)

    # -- the owner calls --------------------------------------------------------------------------------------------

    def pump(self, now: float) -> int:
        """Compose and write what may leave now; -> submit_sm composed."""
        before: int = self.exchange.ledger.submitted
        self._pump(now)
        return self.exchange.ledger.submitted - before

    def request(self, command: str, fields: dict[str, Any] | None = None) -> int:
        """Send a request of the session (bind, unbind, query_sm …); -> its sequence_number."""
        number = self.session.request(command, fields, now=self._clock())
        self.flush_session()
        return number

    def flush_session(self) -> None:
        """Write what the session has to say, behind what is in the outbox."""
        octets = self.session.take_output()
        if octets and not self.is_lost:
            self.exchange.append(octets)
            self._write()

    def acknowledge(self, upto: int) -> None:
        """Answer the receipts up to a mark: they are durable now."""
        if self.is_lost:
            return
        self.exchange.acknowledge(upto)
        if self.exchange.out_waiting:
            self._write()
        if not self._reading and self.exchange.owed_waiting < OWED_LOW and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()

    def tick(self, now: float) -> None:
        """Let the session's timers run; the compiled path's traffic counts as a sign of life."""
        if self.is_lost:
            return
        if self.exchange.received_at > self._heard_at:
            self._heard_at = self.exchange.received_at
            self.session.touch(self._heard_at)
        for event in self.session.tick(now):
            self._on_event(event)
        self.flush_session()

    def close(self, reason: str) -> None:
        """End the connection; what is in the transport's buffer is still written."""
        if not self.reason:
            self.reason = reason
        if self._transport is not None and not self.is_lost:
            self._transport.close()

    def abort(self, reason: str) -> None:
        """End the connection now."""
        if not self.reason:
            self.reason = reason
        if self._transport is not None and not self.is_lost:
            self._transport.abort()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _pump(self, now: float) -> None:
        """Compose and write; on a plain socket straight into it, by turns."""
        if self.is_lost or self._paused:
            return
        if self._fd >= 0 and not self._handed_over:
            try:
                left = self.exchange.pump(self._fd, now)
            except OSError as error:
                self.abort(f"write: {error.strerror or error}")
                return
            if left:
                self._write()
            return
        self.exchange.fill(now)
        if self.exchange.out_waiting:
            self._write()

    def _write(self) -> None:
        exchange = self.exchange
        transport = self._transport
        if transport is None or self.is_lost or self._paused:
            return
        if self._handed_over:
            if transport.get_write_buffer_size():
                return
            self._handed_over = False
        if self._fd >= 0:
            try:
                if not exchange.send(self._fd):
                    return
            except OSError as error:
                self.abort(f"write: {error.strerror or error}")
                return
        self._handed_over = True
        transport.write(exchange.take_output())
        if not transport.get_write_buffer_size():
            self._handed_over = False

    def _stop_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _take_rare(self, now: float) -> None:
        for octets in self.exchange.take_rare():
            try:
                events = self.session.receive(octets, now)
            except RemoteProtocolError as error:
                self.reason = str(error)
                break
            for event in events:
                self._on_event(event)
        if self.exchange.lost_framing and self.session.state is not State.CLOSED:
            self._on_event(self.session.lose_framing())
        if self.exchange.wants_rebind:
            self.reason = self.reason or "the SMSC says that this session may not submit"
            self._on_event(sessions.Closed(self.reason))
        self.flush_session()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, sessions.Closed | sessions.Unbound):
            self.exchange.may_submit = False
            self.flush_session()
            self.close(event.reason if isinstance(event, sessions.Closed) else "unbound")
        try:
            self._listener.on_event(self, event)
        except GatewayError as error:
            self.close(str(error))
