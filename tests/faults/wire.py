"""What leaves for a port, and when: stamped by the kernel as it is written, whoever reads it when.

    python -m tests.faults.wire --port 2775 --ledger wire.csv

A simulator, or a proxy, stamps what it reads when it is let run: on a busy machine that is later than it was written,
and by more for one octet than for the next. A packet socket has each segment as the loopback device sends it, with
the time of that moment. The first line said is {"watching": port}, or {"error": why}: only root may, on Linux.

    S,at_ns,connection,count       so many submit_sm whose last octet is in this segment; CLOCK_REALTIME of the kernel
    L,at_ns,connection,octets      so many octets were never seen: what is counted from here on is too little

Not here: what must hold (tests/fixtures/audit.py: written_rate_holds).
"""

import argparse
import ctypes
import json
import socket
import struct
import sys
from collections.abc import Callable

SUBMIT_SM = 4
HEADER_OCTETS = 16
SNAP_OCTETS = 1 << 17
ROOM_OCTETS = 64 << 20
FIN, SYN, RST = 1, 2, 4
# linux/if_ether.h, asm-generic/socket.h, linux/filter.h; Python names none of them.
ETH_P_ALL, SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_ATTACH_FILTER = 3, 33, 35, 26
ETHERNET_OCTETS = 14


class Stream:
    """One way of one connection: its PDUs, from segments in any order that are repeated at will."""

    def __init__(self, first: int):
        self.next = first
        self.waiting: dict[int, bytes] = {}
        self.rest = b""
        self.skip = 0

    def add(self, sequence: int, octets: bytes) -> int:
        """Take a segment; -> submit_sm that are whole by it."""
        behind = (self.next - sequence) & 0xFFFFFFFF
        if behind < 1 << 31:
            octets = octets[behind:]
        else:
            self.waiting[sequence] = octets
            return 0
        found = self._take(octets) if octets else 0
        while self.next in self.waiting:
            found += self._take(self.waiting.pop(self.next))
        return found

    @property
    def missing(self) -> int:
        """Octets that later ones stand behind and that were never seen."""
        return min(((first - self.next) & 0xFFFFFFFF for first in self.waiting), default=0)

    def _take(self, octets: bytes) -> int:
        self.next = (self.next + len(octets)) & 0xFFFFFFFF
        self.rest += octets
        found = at = 0
        while len(self.rest) - at >= HEADER_OCTETS:
            length, command = struct.unpack_from(">II", self.rest, at)
            if length < HEADER_OCTETS:
                # No framing any more; who sends such a thing is not one of ours.
                at = len(self.rest)
                break
            if len(self.rest) - at < length:
                break
            found += command == SUBMIT_SM
            at += length
        self.rest = self.rest[at:]
        return found


class Wire:
    """All connections to a port. `say` takes a line of the ledger."""

    def __init__(self, port: int, say: Callable[[str], object]):
        self.port, self._say = port, say
        self._streams: dict[tuple[bytes, int], Stream] = {}

    def segment(self, at_ns: int, packet: bytes) -> None:
        """Take an IPv4 packet."""
        ip = (packet[0] & 0x0F) * 4
        total = int.from_bytes(packet[2:4], "big")
        source, to, sequence = struct.unpack_from(">HHI", packet, ip)
        if to != self.port:
            return
        start, flags = ip + (packet[ip + 12] >> 4) * 4, packet[ip + 13]
        key = packet[12:16], source
        if flags & SYN:
            self._streams[key] = Stream((sequence + 1) & 0xFFFFFFFF)
        stream = self._streams.get(key)
        # Segments that the device is to cut are longer than their header can say.
        octets = packet[start : total if total > start else None]
        if stream is None or not octets or flags & SYN:
            return
        count = stream.add(sequence, octets)
        if count:
            self._say(f"S,{at_ns},{source},{count}\n")
        if flags & (FIN | RST) and stream.missing:
            self._say(f"L,{at_ns},{source},{stream.missing}\n")


def listen(port: int) -> socket.socket:
    """Open a packet socket for what the loopback device sends to a port; OSError where one may not."""
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM_OCTETS)
    found.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    # Outgoing (each packet is seen a second time as it comes in), IPv4, TCP, to the port.
    program = [
        (0x28, 0, 0, 0xFFFFF004), (0x15, 0, 8, 4),
        (0x28, 0, 0, 12), (0x15, 0, 6, 0x0800),
        (0x30, 0, 0, 23), (0x15, 0, 4, 6),
        (0xB1, 0, 0, 14),
        (0x48, 0, 0, 16), (0x15, 0, 1, port),
        (0x06, 0, 0, SNAP_OCTETS), (0x06, 0, 0, 0),
    ]  # fmt: skip
    code = b"".join(struct.pack("HBBI", *each) for each in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    found.setsockopt(
        socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(buffer))
    )  # fmt: skip
    found.bind(("lo", ETH_P_ALL))
    return found


def watch(port: int, ledger: str) -> None:
    """Write the ledger until killed; each line is handed to the kernel at once."""
    try:
        heard = listen(port)
    except (OSError, AttributeError) as error:
        print(json.dumps({"error": f"no packet socket: {error}"}), flush=True)
        return
    with open(ledger, "a", buffering=1) as file:
        wire = Wire(port, file.write)
        print(json.dumps({"watching": port}), flush=True)
        while True:
            packet, extras, _, _ = heard.recvmsg(SNAP_OCTETS, 256)
            for level, kind, data in extras:
                if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                    seconds, ns = struct.unpack("ll", data[:16])
                    wire.segment(seconds * 10**9 + ns, packet[ETHERNET_OCTETS:])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="stamp what leaves for a port as it is written")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ledger", required=True)
    options = parser.parse_args()
    try:
        watch(options.port, options.ledger)
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
