"""The SMPP session, for either role, without I/O and without a clock.

One whole PDU in, events out; what is to be sent gathers in `take_output`. Who may send what in which state is TABLE,
and how a state follows another is STEPS: code below only looks things up in them, and docs/states.md is drawn from
them (docs/draw_states.py; tests/smpp/test_session.py holds the two together).

    octets ─► receive(pdu, now) ─► [event, …]          request(), respond() ─► take_output() ─► octets
                     tick(now)  ─► [event, …]          next_at: when to tick

What the session does by itself: answers enquire_link in every state, refuses what the state forbids, answers what
cannot be read, pings a silent peer, carries the unbind handshake through, picks the version. What it leaves to its
owner: whether a bind is welcome, what a message is worth, closing the socket when an event says Closed.

Once bound, submit_sm, deliver_sm and their responses normally pass by compiled rooms and never come here; the owner
then calls `touch` so that the timers know. Third-party peers and tests send them through, and all is handled alike.
Not here: framing (_fastpath/frame.pyx), sockets (link.py), reconnecting (bind.py), pacing and windows (carrier.py).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from _fastpath.faults import MalformedPdu
from gateway.errors import LocalProtocolError, RemoteProtocolError
from gateway.smpp import status as statuses
from gateway.smpp.pdu import CARRIER, STRICT, Pdu, Tlv, Tolerance, encode, header, salvage
from gateway.smpp.spec import (
    BINDS,
    COMMAND_BY_ID,
    COMMAND_BY_NAME,
    HEADER_OCTETS,
    MAX_SEQUENCE,
    RESPONSE_BIT,
    TAG_BY_NAME,
    VERSION_33,
    VERSION_34,
    VERSION_50,
)
from gateway.smpp.timers import Countdown, Deadlines, Timings


class Role(Enum):
    """Which end of the link we are."""

    ESME = "ESME"
    SMSC = "SMSC"

    @property
    def peer(self) -> "Role":
        """The other end."""
        return Role.SMSC if self is Role.ESME else Role.ESME


class State(Enum):
    """Where a session stands (3.4 §2.2; OUTBOUND and UNBOUND: 5.0 §2.3).

    UNBINDING is ours: an unbind is on its way in either direction and not answered yet.
    """

    OPEN = "open"
    OUTBOUND = "outbound"
    BOUND_TX = "bound_tx"
    BOUND_RX = "bound_rx"
    BOUND_TRX = "bound_trx"
    UNBINDING = "unbinding"
    UNBOUND = "unbound"
    CLOSED = "closed"


BOUND = frozenset({State.BOUND_TX, State.BOUND_RX, State.BOUND_TRX})

_EITHER = frozenset({"enquire_link"})
_UP = _EITHER | {"unbind"}
_SUBMITS = frozenset(
    {
        "submit_sm",
        "submit_multi",
        "data_sm",
        "query_sm",
        "cancel_sm",
        "replace_sm",
        "broadcast_sm",
        "query_broadcast_sm",
        "cancel_broadcast_sm",
    }
)
# Requests whose loss with the connection decides nothing.
_HOUSEKEEPING = _UP | BINDS
_DELIVERS = frozenset({"deliver_sm", "data_sm", "alert_notification"})

# The requests each role may send. Responses and generic_nack follow their request and need no row.
# In UNBINDING the peer of the side that asked goes on as in the state before: its last requests are on their way.
TABLE: Mapping[State, Mapping[Role, frozenset[str]]] = {
    State.OPEN: {Role.ESME: _EITHER | BINDS, Role.SMSC: _EITHER | {"outbind"}},
    State.OUTBOUND: {Role.ESME: _EITHER | {"bind_receiver", "bind_transceiver"}, Role.SMSC: _EITHER},
    State.BOUND_TX: {Role.ESME: _UP | _SUBMITS, Role.SMSC: _UP},
    State.BOUND_RX: {Role.ESME: _UP, Role.SMSC: _UP | _DELIVERS},
    State.BOUND_TRX: {Role.ESME: _UP | _SUBMITS, Role.SMSC: _UP | _DELIVERS},
    State.UNBINDING: {Role.ESME: _EITHER, Role.SMSC: _EITHER},
    State.UNBOUND: {Role.ESME: _EITHER, Role.SMSC: _EITHER},
    State.CLOSED: {Role.ESME: frozenset(), Role.SMSC: frozenset()},
}

# The PDU, in whichever direction it belongs, that changes the state; a `_resp` does so with status 0 only, but for
# unbind_resp, which nobody can take back. CLOSED follows from any state when the owner closes or a timer gives up.
STEPS: Mapping[tuple[State, str], State] = {
    (State.OPEN, "outbind"): State.OUTBOUND,
    (State.OPEN, "bind_transmitter_resp"): State.BOUND_TX,
    (State.OPEN, "bind_receiver_resp"): State.BOUND_RX,
    (State.OPEN, "bind_transceiver_resp"): State.BOUND_TRX,
    (State.OUTBOUND, "bind_receiver_resp"): State.BOUND_RX,
    (State.OUTBOUND, "bind_transceiver_resp"): State.BOUND_TRX,
    (State.BOUND_TX, "unbind"): State.UNBINDING,
    (State.BOUND_RX, "unbind"): State.UNBINDING,
    (State.BOUND_TRX, "unbind"): State.UNBINDING,
    (State.UNBINDING, "unbind_resp"): State.UNBOUND,
}


# -- events -----------------------------------------------------------------------------------------------------------


class Sent(Struct, frozen=True):
    """A request of ours, as long as it has no response."""

    command: str
    sequence_number: int
    at: float


class Request(Struct, frozen=True):
    """The peer asks: answer with `respond`, unless the command has no response (outbind, alert_notification)."""

    pdu: Pdu


class Response(Struct, frozen=True):
    """The peer answers one of our requests. With a fault the body is what could be read; the status always is."""

    request: Sent
    pdu: Pdu
    fault: MalformedPdu | None = None


class Unmatched(Struct, frozen=True):
    """A response to nothing: late, doubled, of another command, or a generic_nack with number 0. Count it.

    A generic_nack with number 0 says that the peer lost our framing: drain and reconnect.
    """

    pdu: Pdu


class Unreadable(Struct, frozen=True):
    """A whole PDU that could not be read. `answer` is the status we sent, None where nothing is owed."""

    octets: bytes
    fault: MalformedPdu
    answer: int | None


class Refused(Struct, frozen=True):
    """A request that the state forbids; it is answered already. `answer` is None where it has no response."""

    command: str
    sequence_number: int
    answer: int | None


class Expired(Struct, frozen=True):
    """A request of ours ran out of time: it may or may not have been taken. Its response, if it comes, is Unmatched."""

    request: Sent


class Bound(Struct, frozen=True):
    """The session is bound. `version` is the lower one of the two sides."""

    state: State
    version: int


class Unbound(Struct, frozen=True):
    """The unbind handshake is done, or its timer ran out: send what is left and close the socket."""

    by_peer: bool


class Closed(Struct, frozen=True):
    """The session gave the link up: close the socket."""

    reason: str


Event = Request | Response | Unmatched | Unreadable | Refused | Expired | Bound | Unbound | Closed


def counter(start: int = 1) -> Callable[[], int]:
    """Count sequence numbers from `start`; behind 0x7FFFFFFF comes 1."""
    following = start

    def take() -> int:
        nonlocal following
        number = following
        following = 1 if number >= MAX_SEQUENCE else number + 1
        return number

    return take


class Session:
    """One session on one link.

    role             which end we are
    system_id        the name we give in a bind response
    version          the newest version we speak
    assume_version   what an SMSC speaks that says nothing in its bind response; None: no TLVs are sent to it
    next_sequence    counts our requests; by default from 1
    tolerance        what is forgiven; by default an ESME forgives odd TLVs, an SMSC nothing
    awaits_outbind   an ESME that was connected to: closes when no outbind comes in time
    state            anything but OPEN is for tests and for judging single PDUs
    now              when the TCP connection came up
    """

    def __init__(
        self,
        role: Role,
        *,
        now: float,
        system_id: str = "",
        version: int = VERSION_34,
        assume_version: int | None = None,
        timings: Timings | None = None,
        next_sequence: Callable[[], int] | None = None,
        tolerance: Tolerance | None = None,
        awaits_outbind: bool = False,
        state: State = State.OPEN,
    ):
        self.role = role
        self.system_id = system_id
        self.state = state
        self._own_version = version
        self._assume_version = assume_version
        # Until the peer has named its version, and for ever where it names none: no TLVs.
        self._version = version if state in BOUND else min(version, VERSION_33)
        self._tolerance = tolerance or (CARRIER if role is Role.ESME else STRICT)
        self._timings = timings or Timings()
        self._next_sequence = next_sequence or counter()
        self._output = bytearray()
        self._sent: dict[int, Sent] = {}
        # Requests of the peer that our owner has not answered. A peer may use a number twice, so they are counted.
        self._owed: Counter[tuple[str, int]] = Counter()
        self._binding = False
        self._before_unbind = state
        self._unbind_from: int | None = None
        self._misses = 0
        self._session_init = Countdown(self._timings.session_init)
        self._enquire_link = Countdown(self._timings.enquire_link)
        self._inactivity = Countdown(self._timings.inactivity)
        self._unbind = Countdown(self._timings.unbind)
        self._responses = Deadlines()
        if state in BOUND:
            self._enquire_link.start(now)
            self._inactivity.start(now)
        elif role is Role.SMSC or awaits_outbind:
            self._session_init.start(now)

    # -- what may be asked ------------------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The version spoken: the lower one of the two sides once bound, 0x33 before."""
        return self._version

    @property
    def is_bound(self) -> bool:
        """Tell whether messages may flow."""
        return self.state in BOUND

    @property
    def sends_tlvs(self) -> bool:
        """Tell whether the peer is known to read TLVs."""
        return self._version >= VERSION_34

    @property
    def in_flight(self) -> int:
        """Requests of ours without a response."""
        return len(self._sent)

    def may_send(self, command: str) -> bool:
        """Tell whether we may send this request now. A bind or unbind on its way blocks all but enquire_link."""
        allowed = TABLE[self.state][self.role]
        if self._binding:
            allowed = allowed & _EITHER
        return command in allowed

    def may_receive(self, command: str) -> bool:
        """Tell whether the peer may send this request now. While our unbind is on its way it goes on as before."""
        state = self.state
        if state is State.UNBINDING and self._unbind_from is None:
            state = self._before_unbind
        allowed = TABLE[state][self.role.peer]
        if self._binding:
            allowed = allowed & _EITHER
        return command in allowed

    @property
    def next_at(self) -> float | None:
        """When `tick` has something to do; None for never."""
        timers = (self._session_init, self._enquire_link, self._inactivity, self._unbind, self._responses)
        return min((at for at in (timer.next_at for timer in timers) if at is not None), default=None)

    # -- out --------------------------------------------------------------------------------------------------------

    def take_output(self) -> bytes:
        """Take what is to be written, in order; the next call gives only what came after."""
        octets = bytes(self._output)
        self._output.clear()
        return octets

    def request(
        self,
        command: str | Pdu,
        fields: Mapping[str, Any] | None = None,
        tlvs: Iterable[tuple[int, bytes]] = (),
        *,
        now: float,
    ) -> int:
        """Send a request: a command with its fields, or a Pdu, whose own number is not used.

        ->      its sequence_number; outbind and alert_notification get one too, and no response
        raises  LocalProtocolError when the state forbids it, or for TLVs to a peer that reads none; EncodeError
        """
        if isinstance(command, Pdu):
            fields, tlvs, command = command.fields, command.tlvs, command.command
        if not self.may_send(command):
            raise LocalProtocolError(f"{command}: not allowed to {self.role.value} in state {self.state.value}")
        parameters = tuple(Tlv(tag, value) for tag, value in tlvs)
        if parameters and not self.sends_tlvs:
            raise LocalProtocolError(f"{command}: {len(parameters)} TLVs, but the peer is not known to read any")
        number = self._next_sequence()
        while number in self._sent:
            number = self._next_sequence()
        self._write(Pdu(command=command, sequence_number=number, fields=fields or {}, tlvs=parameters))
        if COMMAND_BY_NAME[command].has_response:
            self._sent[number] = Sent(command, number, now)
            timeout = self._timings.response
            if command == "enquire_link":
                timeout = self._timings.enquire_link_response
            if timeout is not None and command != "unbind":
                self._responses.start(number, now + timeout)
        if command in BINDS:
            self._binding = True
            self._session_init.stop()
        elif command == "unbind":
            self._start_unbind(None, now)
        elif command == "outbind":
            self._step(command)
            self._session_init.start(now)
        if command != "enquire_link":
            self._inactivity.touch(now)
        return number

    def respond(
        self,
        request: Pdu,
        status: int = 0,
        fields: Mapping[str, Any] | None = None,
        tlvs: Iterable[tuple[int, bytes]] = (),
        *,
        now: float,
    ) -> None:
        """Answer a Request. A bind is accepted with status 0: the session is bound when this returns.

        Without fields an error is the header alone, but for deliver_sm and 3.3, which keep their empty message_id.
        A bind response gets system_id and sc_interface_version by itself; TLVs are dropped where the peer reads none.
        raises  LocalProtocolError when this request is not owed an answer (any more); EncodeError
        """
        key = (request.command, request.sequence_number)
        if not self._owed[key]:
            raise LocalProtocolError(f"{request.command} {request.sequence_number}: no answer is owed")
        parameters = tuple(Tlv(tag, value) for tag, value in tlvs)
        is_bind = request.command in BINDS
        version = self._version
        if is_bind:
            version = _lower(self._own_version, request.fields["interface_version"])
            if status == 0:
                fields = {"system_id": self.system_id} if fields is None else fields
                tag = TAG_BY_NAME["sc_interface_version"]
                if not any(tlv.tag == tag for tlv in parameters):
                    parameters = (*parameters, Tlv(tag, bytes((self._own_version,))))
        self._answer(request.command, request.sequence_number, status, fields, parameters, version)
        self._owed[key] -= 1
        if not self._owed[key]:
            del self._owed[key]
        if is_bind:
            self._binding = False
            if status == 0:
                self._bound(request.command + "_resp", version, now)
        if self._unbind_from is not None and not self._owed:
            self._end_unbind()

    def hand_over(self, request: Pdu) -> None:
        """Hear that this Request is answered by another: it is owed here no more, and no unbind waits for it."""
        key = (request.command, request.sequence_number)
        if self._owed[key] > 1:
            self._owed[key] -= 1
        else:
            del self._owed[key]

    def touch(self, now: float) -> None:
        """Restart the timers: the compiled path has seen traffic from the peer."""
        self._misses = 0
        self._enquire_link.touch(now)
        self._inactivity.touch(now)

    # -- in ---------------------------------------------------------------------------------------------------------

    def receive(self, octets: bytes, now: float) -> list[Event]:
        """Take one whole PDU.

        raises  RemoteProtocolError where this is no whole PDU; generic_nack is written and the session is closed
        """
        if self.state is State.CLOSED:
            return []
        if len(octets) < HEADER_OCTETS or header(octets)[0] != len(octets):
            self.lose_framing()
            raise RemoteProtocolError(f"{len(octets)} octets that are no whole PDU", statuses.RINVCMDLEN)
        self._misses = 0
        self._enquire_link.touch(now)
        if header(octets)[1] & RESPONSE_BIT:
            return self._receive_response(octets, now)
        return self._receive_request(octets, now)

    def lose_framing(self) -> Closed:
        """Give the link up: the stream cannot be cut into PDUs any more (3.4 §3.2). The last word is a generic_nack."""
        self._nack(statuses.RINVCMDLEN, 0)
        return self._close("framing lost")

    def lost(self) -> list[Sent]:
        """Hear that the connection ended. The messages returned are undecided: the peer may or may not have them."""
        undecided = [sent for sent in self._sent.values() if sent.command not in _HOUSEKEEPING]
        self._sent.clear()
        self._close("connection lost")
        return undecided

    def tick(self, now: float) -> list[Event]:
        """Do what the timers ask for."""
        events: list[Event] = []
        for number in self._responses.due(now):
            sent = self._sent.pop(number)
            events.append(Expired(sent))
            if sent.command == "enquire_link":
                self._misses += 1
                if self._misses >= self._timings.enquire_link_misses:
                    events.append(self._close(f"{self._misses} enquire_link without an answer"))
            elif sent.command in BINDS:
                events.append(self._close(f"{sent.command} without an answer"))
        if self._session_init.due(now):
            events.append(self._close("no bind in time"))
        elif self._unbind.due(now):
            events.append(self._end_unbind())
        elif self._inactivity.due(now):
            self.request("unbind", now=now)
        elif self._enquire_link.due(now):
            self.request("enquire_link", now=now)
            self._enquire_link.start(now)
        return events

    # -- the peer asks ----------------------------------------------------------------------------------------------

    def _receive_request(self, octets: bytes, now: float) -> list[Event]:
        _, command_id, _, number = header(octets)
        command = COMMAND_BY_ID.get(command_id)
        if command is None:
            fault = MalformedPdu(f"command_id 0x{command_id:08x}: unknown", statuses.RINVCMDID, 4)
            self._nack(statuses.RINVCMDID, number)
            return [Unreadable(octets, fault, statuses.RINVCMDID)]
        # Nothing of a body is looked at before the state allows it, but for a bind, whose faults have their own codes.
        if command.name not in BINDS and not self.may_receive(command.name):
            return [self._refuse(command.name, number, statuses.RINVBNDSTS)]
        pdu, unreadable = salvage(octets, self._tolerance)
        if unreadable is not None:
            answer = None
            if command.has_response:
                answer = unreadable.command_status
                self._answer(command.name, number, answer)
            return [Unreadable(octets, unreadable, answer)]
        if not self.may_receive(command.name):
            is_double = self._binding or self.is_bound
            return [self._refuse(command.name, number, statuses.RALYBND if is_double else statuses.RINVBNDSTS)]
        if command.name == "enquire_link":
            self._answer("enquire_link", number, 0)
            return []
        self._inactivity.touch(now)
        if command.name == "unbind":
            return self._receive_unbind(number, now)
        if command.name in BINDS:
            self._binding = True
        elif command.name == "outbind":
            self._step(command.name)
            self._session_init.start(now)
        if command.has_response:
            self._owed[command.name, number] += 1
        return [Request(pdu)]

    def _receive_unbind(self, number: int, now: float) -> list[Event]:
        if self.state is State.UNBINDING:
            # Both asked at once: each side has the other's word, nothing is left to wait for.
            self._unbind_from = number
            return [self._end_unbind()]
        self._start_unbind(number, now)
        return [] if self._owed else [self._end_unbind()]

    def _refuse(self, command: str, number: int, status: int) -> Refused:
        if not COMMAND_BY_NAME[command].has_response:
            return Refused(command, number, None)
        self._answer(command, number, status)
        return Refused(command, number, status)

    # -- the peer answers -------------------------------------------------------------------------------------------

    def _receive_response(self, octets: bytes, now: float) -> list[Event]:
        pdu, fault = salvage(octets, self._tolerance)
        if fault is not None and not pdu.command:
            # A response to a request that nobody knows: nacking it could start two peers nacking each other.
            return [Unreadable(octets, fault, None)]
        sent = self._sent.get(pdu.sequence_number)
        if sent is None or pdu.command not in (sent.command + "_resp", "generic_nack"):
            return [Unmatched(pdu)]
        del self._sent[pdu.sequence_number]
        self._responses.stop(pdu.sequence_number)
        if sent.command != "enquire_link":
            self._inactivity.touch(now)
        events: list[Event] = [Response(sent, pdu, fault)]
        if sent.command in BINDS:
            self._binding = False
            if pdu.command_status == 0 and pdu.command != "generic_nack":
                peer = pdu.tlv_integer("sc_interface_version") or self._assume_version or VERSION_33
                self._bound(pdu.command, _lower(self._own_version, peer), now)
                events.append(Bound(self.state, self._version))
        elif sent.command == "unbind" and self.state is State.UNBINDING:
            events.append(self._end_unbind())
        return events

    # -- steps ------------------------------------------------------------------------------------------------------

    def _step(self, command: str) -> None:
        self.state = STEPS[self.state, command]

    def _bound(self, command: str, version: int, now: float) -> None:
        self._step(command)
        self._version = version
        self._session_init.stop()
        self._enquire_link.start(now)
        self._inactivity.start(now)

    def _start_unbind(self, unbind_from: int | None, now: float) -> None:
        self._before_unbind = self.state
        self._unbind_from = unbind_from
        self._step("unbind")
        self._inactivity.stop()
        self._unbind.start(now)

    def _end_unbind(self) -> Unbound:
        """Answer the peer's unbind if there is one; ours is answered, or its timer ran out."""
        by_peer = self._unbind_from is not None
        if self._unbind_from is not None:
            self._answer("unbind", self._unbind_from, 0)
            self._unbind_from = None
        self._step("unbind_resp")
        self._owed.clear()
        self._stop_timers()
        return Unbound(by_peer)

    def _close(self, reason: str) -> Closed:
        self.state = State.CLOSED
        self._binding = False
        self._owed.clear()
        self._stop_timers()
        return Closed(reason)

    def _stop_timers(self) -> None:
        for timer in (self._session_init, self._enquire_link, self._inactivity, self._unbind):
            timer.stop()
        self._responses = Deadlines()

    # -- octets -----------------------------------------------------------------------------------------------------

    def _answer(
        self,
        command: str,
        number: int,
        status: int,
        fields: Mapping[str, Any] | None = None,
        tlvs: tuple[Tlv, ...] = (),
        version: int | None = None,
    ) -> None:
        """Write the response to `command`."""
        version = self._version if version is None else version
        name = command + "_resp"
        if version < VERSION_34:
            tlvs = ()
        # 3.4 §4.4.2 and its like: no body when the status is not 0. deliver_sm_resp has one in every carrier's parser.
        keeps_body = status == 0 or fields is not None or bool(tlvs) or command == "deliver_sm"
        if command not in BINDS:
            keeps_body = keeps_body or version < VERSION_34
        self._write(
            Pdu(
                command=name,
                command_status=status,
                sequence_number=number,
                fields=fields or {},
                tlvs=tlvs,
                body_absent=not keeps_body and bool(COMMAND_BY_NAME[name].fields),
            )
        )

    def _nack(self, status: int, number: int) -> None:
        self._write(Pdu(command="generic_nack", command_status=status, sequence_number=number))

    def _write(self, pdu: Pdu) -> None:
        self._output += encode(pdu, Tolerance(password_octets=self._tolerance.password_octets))


def _lower(ours: int, theirs: int) -> int:
    """Pick the version both speak: 0x33, 0x34 or 0x50; what a peer names between or above counts as the one below."""
    version = min(ours, theirs)
    if version >= VERSION_50:
        return VERSION_50
    return VERSION_34 if version >= VERSION_34 else VERSION_33
