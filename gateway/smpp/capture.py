"""What a bind's ring holds, as something to hand on: octets that cross machines, PDUs, and a file that Wireshark reads.

    Ring.slices() ─ tape_of ─► Tape ─ pack ═══ unpack ─► Tape ─► pcap_of ─► classic pcap
                  whole PDUs,                                └─► pdus_of ─► PDUs, each with its moment
                  passwords masked

A tape begins, in each direction of each connection, at the first PDU that is whole in the ring. Masked is what must
not leave the worker: passwords always; with `redacts` texts, and the last digits of numbers. A mask has the octets of
what it hides, so lengths stay true. What cannot be read is masked as a whole.
The file has one TCP stream a connection. Its octets, their order and moments are what crossed the socket; Ethernet, IP
and TCP around them are made up: segments, acknowledgements and a handshake where the ring has the stream's beginning.
Under TLS it holds what went through inside. Not here: keeping octets (_fastpath/ring.pyx), asking for them (dispatch).
"""

import struct
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from _fastpath.ring import Kept
from gateway.smpp.spec import COMMAND_BY_ID, DESTINATION_BY_FLAG, FAILURE, HEADER_OCTETS, Field, Kind

# About what a PDU has, requests and responses mixed.
PDU_OCTETS = 100
# A ring that is full in less keeps nothing that anybody could read; it goes on when it would last so long.
TOO_SHORT_S = 0.02
LONG_ENOUGH_S = 0.05
MASK = 0x2A
HIDDEN_DIGITS = 4
WITH_PASSWORD = frozenset({"bind_receiver", "bind_transmitter", "bind_transceiver", "outbind"})
UDH_INDICATOR = 0x40
# Their values are texts or numbers; every other TLV says how, and not what or to whom.
TEXT_TAGS = frozenset({0x0424, 0x001D, 0x0303})
NUMBER_TAGS = frozenset({0x0381, 0x0202, 0x0203})

# Of a classic pcap: moments in microseconds, Ethernet.
MAGIC = 0xA1B2C3D4
SNAP_OCTETS = 1 << 18
ETHERNET = 1
OUR_MAC, THEIR_MAC = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
SYN, PSH, ACK = 0x02, 0x08, 0x10
TCP_PROTOCOL = 6
# What an Ethernet frame has room for behind both headers.
MSS_BY_VERSION = {4: 1460, 6: 1440}
# Where a socket has no such address (a Unix socket, a simulated network).
NOBODY = ("127.0.0.1", 2775)


def rests(pdus_per_s: float, octets: int, is_resting: bool) -> bool:
    """Tell whether a ring of so many octets should rest at a rate: copying costs 5 % of 5 million messages a second."""
    lasts_s = octets / max(1.0, pdus_per_s * PDU_OCTETS)
    return lasts_s < (LONG_ENOUGH_S if is_resting else TOO_SHORT_S)


class Cut(Struct, frozen=True, kw_only=True, array_like=True):
    """What one read or write brought. at: seconds since 1970; offset: in its direction of its connection, from 0."""

    at: float
    connection: int
    is_out: bool
    offset: int
    octets: bytes


class Ends(Struct, frozen=True, kw_only=True, array_like=True):
    """Between whom a connection is: address and port; since when."""

    local: tuple[str, int]
    peer: tuple[str, int]
    at: float


class Tape(Struct, frozen=True, kw_only=True):
    """All that the ring of one bind held at one moment."""

    bind: str
    ends: dict[int, Ends]
    cuts: list[Cut]


class Crossed(NamedTuple):
    """One PDU; `at`: when its first octet crossed the socket."""

    at: float
    connection: int
    is_out: bool
    octets: bytes


# -- ring -> tape -----------------------------------------------------------------------------------------------------


def tape_of(
    bind: str, kept: Sequence[Kept], connections: Mapping[int, Any], offset_s: float, *, redacts: bool = False
) -> Tape:
    """Take what a ring held: slices() and connections() of one moment.

    offset_s  seconds since 1970 at zero of the ring's clock
    """
    slices: list[tuple[Kept, int]] = []
    streams: dict[tuple[int, bool], bytearray] = {}
    for one in kept:
        key = (one.connection, one.is_out)
        stream = streams.get(key)
        cut = 0
        if stream is None:
            if not 0 <= one.skip < len(one.octets):
                continue
            cut = one.skip
            stream = streams[key] = bytearray()
        stream += one.octets[cut:]
        slices.append((one, cut))
    for stream in streams.values():
        mask(stream, redacts)
    taken = dict.fromkeys(streams, 0)
    cuts = []
    for one, cut in slices:
        key = (one.connection, one.is_out)
        begin = taken[key]
        taken[key] = end = begin + len(one.octets) - cut
        cuts.append(
            Cut(
                at=one.at + offset_s,
                connection=one.connection,
                is_out=one.is_out,
                offset=one.offset + cut,
                octets=bytes(streams[key][begin:end]),
            )
        )
    ends = {
        number: Ends(local=_end(local, number), peer=_end(peer, 0), at=at + offset_s)
        for number, (local, peer, at) in connections.items()
    }
    return Tape(bind=bind, ends=ends, cuts=cuts)


def _end(name: Any, number: int) -> tuple[str, int]:
    """Read what a socket calls one of its ends; where it is no address, one that tells the connections apart."""
    if isinstance(name, tuple | list) and len(name) >= 2 and isinstance(name[1], int):
        try:
            return str(ip_address(str(name[0]).partition("%")[0])), name[1]
        except ValueError:
            pass
    return NOBODY[0], 49152 + number % 16384 if number else NOBODY[1]


def pack(tape: Tape) -> bytes:
    """Make a tape fit for another machine."""
    return msgspec.msgpack.encode(tape)


def unpack(octets: bytes) -> Tape:
    """Take a tape that another machine packed; raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(octets, type=Tape)


# -- masking ----------------------------------------------------------------------------------------------------------


def mask(stream: bytearray, redacts: bool) -> None:
    """Mask, in place, what must not be seen in a stream that begins with a PDU."""
    at = 0
    while at < len(stream):
        length = int.from_bytes(stream[at : at + 4], "big")
        command = COMMAND_BY_ID.get(int.from_bytes(stream[at + 4 : at + 8], "big"))
        end = at + length
        if length < HEADER_OCTETS or len(stream) - at < HEADER_OCTETS:
            # No PDU, or the first octets of one, in which nothing secret stands: nobody knows what is what behind them.
            if redacts:
                _fill(stream, at, len(stream))
            return
        if redacts or (command is not None and command.name in WITH_PASSWORD):
            fields = () if command is None else command.fields
            _Masker(stream, at + HEADER_OCTETS, min(end, len(stream)), redacts).pdu(fields, end <= len(stream))
        at = end


def _fill(stream: bytearray, begin: int, end: int) -> None:
    stream[begin:end] = bytes((MASK,)) * (end - begin)


class _Masker:
    """A walk over the body of one PDU, by the tables of spec.py."""

    def __init__(self, stream: bytearray, begin: int, end: int, redacts: bool):
        self._stream, self._at, self._end, self._redacts = stream, begin, end, redacts
        self._has_header = False

    def pdu(self, fields: Sequence[Field], is_whole: bool) -> None:
        """Mask the fields, then the TLVs; from where it cannot be read on, everything."""
        try:
            if not fields or not is_whole:
                raise ValueError
            for field in fields:
                if self._at >= self._end:
                    return  # a response with an error has no body
                self._field(field)
            while self._redacts and self._end - self._at >= 4:
                tag = int.from_bytes(self._stream[self._at : self._at + 2], "big")
                begin = self._at + 4
                self._at = begin
                self._pass(int.from_bytes(self._stream[begin - 2 : begin], "big"))
                if tag in TEXT_TAGS:
                    _fill(self._stream, begin, self._at)
                elif tag in NUMBER_TAGS:
                    self._hide_digits(begin, self._at)
        except ValueError:
            _fill(self._stream, self._at, self._end)

    def _pass(self, octets: int) -> None:
        if self._at + octets > self._end:
            raise ValueError
        self._at += octets

    def _byte(self) -> int:
        self._pass(1)
        return self._stream[self._at - 1]

    def _field(self, field: Field) -> None:
        if field.kind is Kind.INTEGER:
            self._pass(field.octets)
            if field.name == "esm_class":
                self._has_header = bool(self._stream[self._at - 1] & UDH_INDICATOR)
        elif field.kind in (Kind.TEXT, Kind.TIME):
            begin = self._at
            end = self._stream.find(0, begin, self._end)
            if end < 0:
                raise ValueError
            self._at = end + 1
            if field.name == "password":
                _fill(self._stream, begin, end)
            elif self._redacts and "addr" in field.name:
                self._hide_digits(begin, end)
        elif field.kind is Kind.MESSAGE:
            length = self._byte()
            begin = self._at
            self._pass(length)
            if self._redacts:
                # The header stays: without it nobody sees which parts belong together.
                if self._has_header and length:
                    begin = min(begin + 1 + self._stream[begin], self._at)
                _fill(self._stream, begin, self._at)
        else:
            for _ in range(self._byte()):
                table: Sequence[Field] = FAILURE
                if field.kind is Kind.DESTINATIONS:
                    flag = self._byte()
                    if flag not in DESTINATION_BY_FLAG:
                        raise ValueError
                    table = DESTINATION_BY_FLAG[flag]
                for each in table:
                    self._field(each)

    def _hide_digits(self, begin: int, end: int) -> None:
        _fill(self._stream, max(begin, end - HIDDEN_DIGITS), end)


# -- tape -> PDUs -----------------------------------------------------------------------------------------------------


def pdus_of(tape: Tape) -> list[Crossed]:
    """Find the whole PDUs of a tape, in the order in which their first octets crossed the socket."""
    streams: dict[tuple[int, bool], bytearray] = {}
    begins: dict[tuple[int, bool], list[tuple[int, float]]] = {}
    for cut in tape.cuts:
        key = (cut.connection, cut.is_out)
        stream = streams.setdefault(key, bytearray())
        begins.setdefault(key, []).append((len(stream), cut.at))
        stream += cut.octets
    found: list[Crossed] = []
    for key, stream in streams.items():
        moments = begins[key]
        at = place = 0
        while len(stream) - at >= HEADER_OCTETS:
            length = int.from_bytes(stream[at : at + 4], "big")
            if length < HEADER_OCTETS or at + length > len(stream):
                break
            while place + 1 < len(moments) and moments[place + 1][0] <= at:
                place += 1
            found.append(Crossed(moments[place][1], *key, bytes(stream[at : at + length])))
            at += length
    # Sorting is stable: of one moment what came first stays first.
    return sorted(found, key=lambda one: one.at)


# -- tape -> pcap -----------------------------------------------------------------------------------------------------


def pcap_of(tape: Tape) -> bytes:
    """Write a tape as a classic pcap file."""
    out = bytearray(struct.pack("!IHHiIII", MAGIC, 2, 4, 0, 0, SNAP_OCTETS, ETHERNET))
    talks: dict[int, _Talk] = {}
    for cut in tape.cuts:
        talk = talks.get(cut.connection)
        if talk is None:
            ends = tape.ends.get(cut.connection) or Ends(local=_end(None, cut.connection), peer=NOBODY, at=cut.at)
            talk = talks[cut.connection] = _Talk(ends)
            talk.begin(out, _first(tape, cut.connection, True), _first(tape, cut.connection, False))
        talk.say(out, cut)
    return bytes(out)


def _first(tape: Tape, connection: int, is_out: bool) -> int | None:
    """Where a stream begins on a tape; None where nothing of it is there."""
    return next((cut.offset for cut in tape.cuts if (cut.connection, cut.is_out) == (connection, is_out)), None)


class _Talk:
    """One TCP connection in the making. Both streams have their SYN at number 0, so octet n has number n + 1."""

    def __init__(self, ends: Ends):
        local, peer = ip_address(ends.local[0]), ip_address(ends.peer[0])
        if local.version != peer.version:
            local, peer = (IPv6Address(f"::ffff:{each}") if each.version == 4 else each for each in (local, peer))
        self._at = ends.at
        self._version = local.version
        self._mss = MSS_BY_VERSION[self._version]
        self._hosts: dict[bool, tuple[IPv4Address | IPv6Address, int]] = {
            True: (local, ends.local[1]),
            False: (peer, ends.peer[1]),
        }
        # The number of the next octet, by direction.
        self._next = {True: 0, False: 0}
        self._frames = 0

    def begin(self, out: bytearray, first_out: int | None, first_in: int | None) -> None:
        """Shake hands, unless a stream is there without its beginning."""
        if not first_out and not first_in:
            self._frame(out, self._at, True, SYN, b"")
            self._next[True] = 1
            self._frame(out, self._at, False, SYN | ACK, b"")
            self._next[False] = 1
            self._frame(out, self._at, True, ACK, b"")
        self._next = {True: ((first_out or 0) + 1) & 0xFFFFFFFF, False: ((first_in or 0) + 1) & 0xFFFFFFFF}

    def say(self, out: bytearray, cut: Cut) -> None:
        """Write the segments of one cut; the last one says that it is the last."""
        self._next[cut.is_out] = (cut.offset + 1) & 0xFFFFFFFF
        for begin in range(0, len(cut.octets), self._mss):
            payload = cut.octets[begin : begin + self._mss]
            flags = ACK | (PSH if begin + self._mss >= len(cut.octets) else 0)
            self._frame(out, cut.at, cut.is_out, flags, payload)
            self._next[cut.is_out] = (self._next[cut.is_out] + len(payload)) & 0xFFFFFFFF

    def _frame(self, out: bytearray, at: float, is_out: bool, flags: int, payload: bytes) -> None:
        (source, source_port), (target, target_port) = self._hosts[is_out], self._hosts[not is_out]
        acknowledged = self._next[not is_out] if flags & ACK else 0
        ports = struct.pack("!HHII", source_port, target_port, self._next[is_out], acknowledged)
        tcp = ports + struct.pack("!BBHHH", 5 << 4, flags, 0xFFFF, 0, 0)
        pseudo = source.packed + target.packed + struct.pack("!IHH", len(tcp) + len(payload), 0, TCP_PROTOCOL)
        tcp = tcp[:16] + struct.pack("!H", checksum(pseudo + tcp + payload)) + tcp[18:]
        octets = len(tcp) + len(payload)
        if self._version == 4:
            kind = b"\x08\x00"
            ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + octets, self._frames & 0xFFFF, 0x4000, 64, TCP_PROTOCOL, 0)
            ip += source.packed + target.packed
            ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        else:
            kind = b"\x86\xdd"
            ip = struct.pack("!IHBB", 6 << 28, octets, TCP_PROTOCOL, 64) + source.packed + target.packed
        self._frames += 1
        macs = (THEIR_MAC + OUR_MAC) if is_out else (OUR_MAC + THEIR_MAC)
        frame = macs + kind + ip + tcp + payload
        microseconds = int(at * 1e6)
        out += struct.pack("!IIII", microseconds // 1_000_000, microseconds % 1_000_000, len(frame), len(frame))
        out += frame


def checksum(octets: bytes) -> int:
    """Add up as the Internet does (RFC 1071): the complement of the sum of 16-bit words in ones' complement."""
    if len(octets) % 2:
        octets += b"\0"
    # A sum in ones' complement is a remainder modulo 0xFFFF, of which Python's long numbers are quick.
    return 0xFFFF - (int.from_bytes(octets, "big") % 0xFFFF or 0xFFFF)
