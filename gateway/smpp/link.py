"""One TCP connection of an ESME: a socket, a session, and the compiled exchange between them.

    socket ─► exchange.received ─► rows of the lane
                   └─ rare PDUs ─► session.receive ─► events ─► listener
    socket ◄─ exchange.send ◄── exchange.fill        session.take_output ─┘

Write back-pressure: what the kernel does not take is handed to the transport, which says when it is through; until then
nothing is composed. TCP_NODELAY always: receipts right behind responses otherwise meet delayed acknowledgements, and
most clients fall to 2,300 messages a second (figures in docs/decisions/0003-the-link.md).
How it ends: `close` lets what is written leave, for `grace_s` at most; `abort` at once; `retire` submits nothing more
and closes behind the last response, `recycle` with an unbind before. An unbind of the SMSC is answered at once, and
what is in flight is waited for as in `retire`. From the first of them on nothing is composed, so nothing more comes
into doubt.
TLS: octets pass through the transport, since a socket's descriptor would speak past the encryption.
Not here: connecting and trying again (bind.py), which bind gets what (carrier.py).
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable
from typing import Any, Protocol, cast

from _fastpath.exchange import Exchange
from _fastpath.ring import Ring
from gateway.errors import GatewayError, RemoteProtocolError
from gateway.smpp import session as sessions
from gateway.smpp.pdu import Pdu
from gateway.smpp.session import Event, Session, State

# About 20 us of work: 32 responses with their receipts, or 220 responses alone. With receipts and a window of 100 this
# makes 750 k messages/s 1.2 M on a loopback where the C client makes 1.0 M; smaller slices cost a write too many.
SLICE_OCTETS = 6 << 10
# Receipts that are not durable yet: past this the socket is not read, and TCP slows the SMSC down.
OWED_HIGH = 50_000
OWED_LOW = 10_000
# The same for an SMSC that sends and does not read: a quarter of a million responses, or an abuse.
OUTBOX_HIGH = 1 << 22
OUTBOX_LOW = 1 << 20
# After the socket was not read for a while, what waits in it is read before a missing answer counts as missing.
HEARING_S = 1.0
# A PDU that has begun ends within it, however its octets drip. On a working link one takes a round trip.
PDU_DEADLINE_S = 10.0
# What stops a bind that only a moment, and no answer, will set going again.
# Later than this behind the decision, what was written counts once more: the throttle forgives four thousandths.
LATE_S = 0.004
HELD = ("rate", "limit", "queue")


class Listener(Protocol):
    """Who wants to know what happens on a link: bind.Bind."""

    def on_event(self, link: "Link", event: Event) -> None:
        """Hear of whatever the compiled path does not settle by itself."""

    def on_held(self, now: float) -> None:
        """Hear that messages may be waiting for a moment, which no answer of the SMSC will announce."""

    def on_retiring(self, link: "Link") -> None:
        """Hear that this connection submits nothing more and closes behind its last response."""

    def on_lost(self, link: "Link", reason: str) -> None:
        """Hear once that the connection is gone."""


class Link(asyncio.BufferedProtocol):
    """A connection in the making, up, or lost.

    clock           monotonic seconds
    grace_s         for the last octets of `close` and the last responses of `retire`
    allowance       submit_sm that the SMSC allows this session; 0 = any number
    most_unreadable PDUs of a session that could not be read, until it is unbound and bound anew; 0 = any number
    user_timeout_s  until TCP gives up octets that the peer does not acknowledge or take; 0 = the system's own
    """

    def __init__(
        self,
        session: Session,
        exchange: Exchange,
        clock: Callable[[], float],
        listener: Listener,
        *,
        grace_s: float = 5.0,
        user_timeout_s: float = 0.0,
        allowance: int = 0,
        most_unreadable: int = 0,
    ):
        self.session = session
        self.exchange = exchange
        self._clock = clock
        self._listener = listener
        self._grace_s = grace_s
        self._user_timeout_s = user_timeout_s
        self._allowance = allowance
        self._most_unreadable = most_unreadable
        self._unbinds = False
        self._transport: asyncio.Transport | None = None
        self._fd = -1
        self._paused = False
        self._handed_over = False
        self._reading = True
        self._rests = False
        self._reads_since = -math.inf
        self._heard_at = clock()
        # Since when octets come that complete no PDU.
        self._drips_since = math.inf
        # PDUs of this session that could not be read.
        self.unreadable = 0
        self._retires_until: float | None = None
        self._last_call: asyncio.TimerHandle | None = None
        self.is_ending = False
        self.is_lost = False
        self.reason = ""
        # What the transport said when it broke, if it did.
        self.fault: Exception | None = None
        # submit_sm of this session; counted where there is an allowance.
        self.submitted = 0

    # -- the transport calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; the caller sends the bind."""
        # uvloop's transports are of no common class.
        self._transport = cast(asyncio.Transport, transport)
        # With 0 asyncio's TLS would pause us at every write and resume at the next one: never, since we wait for it.
        self._transport.set_write_buffer_limits(high=0 if transport.get_extra_info("sslcontext") is None else 1, low=0)
        endpoint: Any = transport.get_extra_info("socket")
        if endpoint is not None:
            with contextlib.suppress(OSError):  # a Unix socket has no such option
                endpoint.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._user_timeout_s and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
                    endpoint.setsockopt(
                        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(min(self._user_timeout_s, 86400) * 1000)
                    )
            if transport.get_extra_info("sslcontext") is None:
                self._fd = endpoint.fileno()
        self._open_ring()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Let the transport read straight into the exchange."""
        # asyncio's own loop asks for len(), which an Exchange has not; a view costs 0.1 us a read.
        return memoryview(self.exchange)

    def buffer_updated(self, nbytes: int) -> None:
        """Take one read; answer it in the same turn."""
        exchange = self.exchange
        now = self._clock()
        # A long read is answered by turns, so that the SMSC works on one slice while we read the next.
        while exchange.received(nbytes, now, SLICE_OCTETS):
            self._pump(now)
            nbytes = 0
        if exchange.received_at < now:
            self._drips_since = min(self._drips_since, now)
        else:
            self._drips_since = math.inf
        if exchange.rare or exchange.lost_framing or exchange.wants_rebind:
            self._take_rare(now)
        self._pump(now)
        if exchange.bound_by in HELD:
            self._listener.on_held(now)
        if exchange.owed_waiting > OWED_HIGH or exchange.out_waiting > OUTBOX_HIGH:
            self._stop_reading()

    def eof_received(self) -> bool:
        """Close: SMPP has no half-open state, and who has gone takes no last octets."""
        self.abort("connection closed by the SMSC")
        return False

    def pause_writing(self) -> None:
        """Stop composing: the kernel's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on where we stopped."""
        self._paused = False
        self._handed_over = False
        self.pump(self._clock())
        self._resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the listener, once."""
        if self.is_lost:
            return
        self.is_lost = self.is_ending = True
        self._fd = -1
        if self._last_call is not None:
            self._last_call.cancel()
        self.session.lost()
        self.fault = exc
        if not self.reason:
            self.reason = str(exc) if exc is not None else "connection closed by the SMSC"
        self._listener.on_lost(self, self.reason)

    # -- the owner calls --------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Tell whether there is a connection, however near its end."""
        return self._transport is not None and not self.is_lost

    @property
    def peer(self) -> tuple[str, int] | None:
        """Who is at the other end: address and port; None when that is not known (any more)."""
        name: Any = self._transport.get_extra_info("peername") if self._transport is not None else None
        return (name[0], name[1]) if isinstance(name, tuple) else None

    def hears(self, now: float) -> bool:
        """Tell whether silence means something: the socket has been read for a while without a pause of ours."""
        return self._reading and now - self._reads_since >= HEARING_S

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
        self._write_session()
        if not self.session.is_bound:
            self.exchange.may_submit = False
            if self.session.state is State.UNBOUND and not self.is_ending and self._retires_until is None:
                # The last answer that an unbind of the SMSC waited for.
                self._on_event(sessions.Unbound(by_peer=True))

    def hand_to(self, listener: Listener) -> None:
        """Belong to another from now on."""
        self._listener = listener

    def keep_in(self, ring: Ring | None) -> None:
        """Keep the octets of this connection, from now on, in a bind's ring; under TLS as they are inside of it."""
        self.exchange.ring = ring
        if self.is_connected:
            self._open_ring()

    def owe(self, pdu: Pdu) -> None:
        """Answer a deliver_sm of the session with the receipts of the compiled path, by `acknowledge`."""
        self.session.hand_over(pdu)
        self.exchange.owe_response(pdu.sequence_number)

    def acknowledge(self, upto: int) -> None:
        """Answer the receipts up to a mark: they are durable now."""
        if self.is_ending:
            return
        self.exchange.acknowledge(upto)
        if self.exchange.out_waiting:
            self._write(self._clock())
        self._resume_reading()

    def rest(self, rests: bool) -> None:
        """Read nothing more while there are receipts that wait for their answer: memory is short; or go on."""
        if rests != self._rests:
            self._rests = rests
            if not rests:
                self._resume_reading()
        if rests and self.exchange.owed_waiting:
            self._stop_reading()

    def tick(self, now: float) -> None:
        """Let the session's timers run; the compiled path's traffic counts as a sign of life."""
        if self.is_ending:
            return
        if self.exchange.received_at > self._heard_at:
            self._heard_at = self.exchange.received_at
            self.session.touch(self._heard_at)
        if self._retires_until is not None and (now >= self._retires_until or not self._awaits()):
            if not self._unbinds or not self.session.may_send("unbind"):
                self.close(self.reason)
                return
            # Its own timer ends it where no answer comes.
            self._retires_until = None
            self.request("unbind")
        if not self.hears(now):
            return
        if now - self._drips_since >= PDU_DEADLINE_S:
            self.close(f"a PDU did not end within {PDU_DEADLINE_S:g} s")
            return
        for event in self.session.tick(now):
            self._on_event(event)
        self.flush_session()

    def retire(self, reason: str) -> None:
        """Submit nothing more; close behind the last response, or after `grace_s`. `tick` carries it out."""
        self._retire(reason, self._grace_s)

    def recycle(self, reason: str, patience_s: float) -> None:
        """Submit nothing more; unbind and close behind the last response and the last receipt's answer."""
        if self._retires_until is None and not self.is_ending:
            self._unbinds = True
            self._retire(reason, patience_s)

    def close(self, reason: str) -> None:
        """End the connection; what is written already leaves first, for `grace_s` at most."""
        transport = self._transport
        if self.is_ending or transport is None:
            return
        self._end(reason)
        if self.exchange.out_waiting:
            transport.write(self.exchange.take_output(self._clock()))
        transport.close()
        if transport.get_write_buffer_size():
            # A peer that does not read would hold us for ever.
            self._last_call = asyncio.get_running_loop().call_later(self._grace_s, transport.abort)

    def abort(self, reason: str) -> None:
        """End the connection now."""
        if self._transport is not None and not self.is_lost:
            self._end(reason)
            self._transport.abort()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _retire(self, reason: str, patience_s: float) -> None:
        if self._retires_until is None and not self.is_ending:
            self._retires_until = self._clock() + patience_s
            self.reason = self.reason or reason
            self.exchange.may_submit = False
            self._listener.on_retiring(self)

    def _awaits(self) -> bool:
        """Tell whether something begun on this session may still end well."""
        return self.exchange.window.in_flight > 0 or (self._unbinds and self.exchange.owed_waiting > 0)

    def _pump(self, now: float) -> None:
        """Compose and write; count where the SMSC does."""
        exchange = self.exchange
        throttle = exchange.throttle
        before: int = exchange.ledger.submitted
        self._compose(now)
        if throttle.per_s and exchange.ledger.submitted > before:
            left_at = self._clock()
            if left_at - now > LATE_S:
                # Kept from the processor between deciding and writing: counted where it left as well.
                throttle.spend(exchange.ledger.submitted - before, left_at)
        if not self._allowance:
            return
        self.submitted += exchange.ledger.submitted - before
        # One turn composes no more than the window holds, so the count never passes the allowance.
        if self.submitted + exchange.window.size > self._allowance:
            exchange.may_submit = False

    def _compose(self, now: float) -> None:
        """Compose and write; on a plain socket straight into it, by turns."""
        if self.is_ending or self._paused:
            return
        if self._fd >= 0 and not self._handed_over:
            try:
                left = self.exchange.pump(self._fd, now)
            except OSError as error:
                self.abort(f"write: {error.strerror or error}")
                return
            if left:
                self._write(now)
            return
        self.exchange.fill(now)
        if self.exchange.out_waiting:
            self._write(now)

    def _write(self, now: float) -> None:
        exchange = self.exchange
        transport = self._transport
        if transport is None or self.is_ending or self._paused:
            return
        if self._handed_over:
            if transport.get_write_buffer_size():
                return
            self._handed_over = False
        if self._fd >= 0:
            try:
                if not exchange.send(self._fd, now):
                    return
            except OSError as error:
                self.abort(f"write: {error.strerror or error}")
                return
        self._handed_over = True
        transport.write(exchange.take_output(now))
        if not transport.get_write_buffer_size():
            self._handed_over = False

    def _write_session(self) -> None:
        octets = self.session.take_output()
        if octets and not self.is_ending:
            self.exchange.append(octets)
            self._write(self._clock())

    def _open_ring(self) -> None:
        ring, transport = self.exchange.ring, self._transport
        if ring is not None and transport is not None:
            local, peer = (transport.get_extra_info(name) for name in ("sockname", "peername"))
            ring.open(local, peer, self._clock())

    def _end(self, reason: str) -> None:
        """Compose nothing more: from here on it would only come into doubt. The descriptor may soon be another's."""
        self.reason = self.reason or reason
        self.is_ending = True
        self.exchange.may_submit = False
        self._fd = -1

    def _stop_reading(self) -> None:
        if self._reading and not self.is_ending and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        exchange = self.exchange
        if self._reading or self.is_ending or self._transport is None:
            return
        if self._rests and exchange.owed_waiting:
            return
        if exchange.owed_waiting < OWED_LOW and exchange.out_waiting < OUTBOX_LOW:
            self._reading = True
            self._reads_since = self._clock()
            self._drips_since = math.inf
            self._transport.resume_reading()

    def _take_rare(self, now: float) -> None:
        for octets in self.exchange.take_rare():
            try:
                events = self.session.receive(octets, now)
            except RemoteProtocolError as error:
                self._write_session()
                self.close(str(error))
                break
            for event in events:
                self._on_event(event)
        if self.exchange.lost_framing and self.session.state is not State.CLOSED:
            self.session.lose_framing()
            self._on_event(sessions.Closed(f"framing lost: {_seen(self.exchange.lost_octets)}"))
        if self.exchange.wants_rebind:
            self.retire("the SMSC says that this session may not submit")
        self.flush_session()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, sessions.Closed):
            self._write_session()
            self.close(event.reason)
        elif isinstance(event, sessions.Unbound):
            self._write_session()
            if event.by_peer and self._awaits():
                self.retire("unbound by the SMSC")
            else:
                self.close("unbound by the SMSC" if event.by_peer else "unbound")
        elif isinstance(event, sessions.Unreadable):
            self.unreadable += 1
            if self.unreadable == self._most_unreadable:
                self.recycle(f"{self.unreadable} PDUs could not be read, the last: {event.fault.what}", self._grace_s)
        try:
            self._listener.on_event(self, event)
        except GatewayError as error:
            self.close(str(error))


def _seen(octets: bytes) -> str:
    """Say what a peer sent in place of a PDU: a wrong port is found by it."""
    for word in (b"HTTP/", b"SSH-", b"220 ", b"\x15\x03", b"\x16\x03"):
        if octets.startswith(word):
            return (
                f"the peer speaks {'TLS' if word[1] == 3 else word.decode().strip(' /-').replace('220', 'SMTP or FTP')}"
            )
    return f"command_length {int.from_bytes(octets[:4], 'big')} in {octets!r}"
