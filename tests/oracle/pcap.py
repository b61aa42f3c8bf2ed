"""A reader of classic pcap files over Ethernet, IPv4 or IPv6, and TCP, by their specifications; refuses what is wrong.

libpcap's pcap-savefile(5) · RFC 791 (IPv4) · RFC 8200 (IPv6) · RFC 9293 (TCP) · RFC 1071 (checksum)
"""

import ipaddress
import struct
from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """One TCP segment of a file."""

    at: float
    source: tuple[str, int]
    target: tuple[str, int]
    number: int
    acknowledged: int
    flags: int
    payload: bytes


def ones_sum(octets: bytes) -> int:
    """The sum of RFC 1071, word by word."""
    total = 0
    for i in range(0, len(octets), 2):
        total += (octets[i] << 8) + (octets[i + 1] if i + 1 < len(octets) else 0)
        total = (total & 0xFFFF) + (total >> 16)
    return total


def segments(octets: bytes) -> list[Segment]:
    """Every segment, its lengths and checksums held against the specifications."""
    magic, major, minor, _, _, snap, link = struct.unpack("!IHHiIII", octets[:24])
    assert (magic, major, minor, link) == (0xA1B2C3D4, 2, 4, 1)
    found, at = [], 24
    while at < len(octets):
        seconds, micros, kept, whole = struct.unpack("!IIII", octets[at : at + 16])
        assert kept == whole <= snap and micros < 1_000_000
        frame = octets[at + 16 : at + 16 + kept]
        assert len(frame) == kept <= 1514
        found.append(segment(seconds + micros / 1e6, frame))
        at += 16 + kept
    return found


def segment(at: float, frame: bytes) -> Segment:
    """One frame."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00":
        assert packet[0] == 0x45 and packet[9] == 6
        assert struct.unpack("!H", packet[2:4])[0] == len(packet)
        assert ones_sum(packet[:20]) == 0xFFFF
        source, target, tcp = packet[12:16], packet[16:20], packet[20:]
    else:
        assert kind == b"\x86\xdd" and packet[0] >> 4 == 6 and packet[6] == 6
        assert struct.unpack("!H", packet[4:6])[0] == len(packet) - 40
        source, target, tcp = packet[8:24], packet[24:40], packet[40:]
    assert ones_sum(source + target + struct.pack("!IHH", len(tcp), 0, 6) + tcp) == 0xFFFF
    source_port, target_port, number, acknowledged, offset, flags = struct.unpack("!HHIIBB", tcp[:14])
    assert offset == 5 << 4
    return Segment(
        at,
        (str(ipaddress.ip_address(source)), source_port),
        (str(ipaddress.ip_address(target)), target_port),
        number,
        acknowledged,
        flags,
        tcp[20:],
    )


def streams(found: list[Segment]) -> dict[tuple[tuple[str, int], tuple[str, int]], bytes]:
    """Octets by (source, target), every segment right behind the one before, every acknowledgement of what was sent."""
    said: dict[tuple[tuple[str, int], tuple[str, int]], bytes] = {}
    following: dict[tuple[tuple[str, int], tuple[str, int]], int] = {}
    for one in found:
        way, back = (one.source, one.target), (one.target, one.source)
        is_first = one.flags & 0x02
        if way in following and not is_first:
            assert one.number == following[way]
        if one.flags & 0x10 and back in following:
            assert one.acknowledged == following[back]
        following[way] = (one.number + len(one.payload) + (1 if is_first else 0)) & 0xFFFFFFFF
        said[way] = said.get(way, b"") + one.payload
    return said
