"""The watcher of the wire counts what leaves once, when it is whole, whatever comes in whatever order."""

import asyncio
import json
import struct
import sys
from pathlib import Path

import pytest

from tests.faults.wire import Stream, Wire
from tests.fixtures import audit
from tests.fixtures.engine import until
from tests.fixtures.rig import ROOT


def pdu(command: int, octets: int = 0) -> bytes:
    """A PDU with a body of so many octets."""
    return struct.pack(">IIII", 16 + octets, command, 0, 1) + bytes(octets)


def packet(sequence: int, octets: bytes, flags: int = 0x10, port: int = 2775) -> bytes:
    """An IPv4 packet with a TCP segment."""
    tcp = struct.pack(">HHIIBBHHH", 40000, port, sequence, 0, 5 << 4, flags, 0, 0, 0) + octets
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, b"\x7f\0\0\1", b"\x7f\0\0\1") + tcp


def test_submit_sm_counts_when_its_last_octet_leaves_and_nothing_else_counts() -> None:
    stream = Stream(100)
    octets = pdu(4, 10) + pdu(21) + pdu(4, 30)
    assert stream.add(100, octets[:50]) == 1
    assert stream.add(150, octets[50:-1]) == 0
    assert stream.add(100 + len(octets) - 1, octets[-1:]) == 1


def test_segments_that_are_repeated_or_overtaken_count_once() -> None:
    stream, octets = Stream(0xFFFFFFF0), pdu(4, 10) * 3
    assert stream.add((0xFFFFFFF0 + 52) & 0xFFFFFFFF, octets[52:]) == 0
    assert stream.missing == 52
    assert stream.add(0xFFFFFFF0, octets[:26]) == 1
    assert stream.add(0xFFFFFFF0, octets[:52]) == 2
    assert stream.add(0xFFFFFFF0, octets) == 0 and stream.missing == 0


def test_connections_are_told_apart_and_what_was_not_seen_is_said() -> None:
    said: list[str] = []
    wire = Wire(2775, said.append)
    wire.segment(1, packet(9, b"", flags=0x02))
    wire.segment(2, packet(10, pdu(4)))
    wire.segment(3, packet(500, pdu(4), port=80))
    wire.segment(4, packet(30, pdu(4)))
    wire.segment(5, packet(46, b"", flags=0x11))
    assert said == ["S,2,40000,1\n"]
    wire.segment(6, packet(46, b"x", flags=0x11))
    assert said[1:] == ["L,6,40000,4\n"]


def test_second_that_was_written_too_full_is_seen_and_so_is_what_was_not_watched(tmp_path: Path) -> None:
    ledger = tmp_path / "wire.csv"
    ledger.write_text("S,0,1,5\nS,999999999,2,5\nS,1000000000,1,5\n")
    assert audit.written_rate_holds(ledger, 10) == 10
    with pytest.raises(AssertionError, match="10 messages were written in one second, 9 allowed"):
        audit.written_rate_holds(ledger, 9)
    ledger.write_text("S,0,1,5\nL,5,1,40\n")
    with pytest.raises(AssertionError, match="40 octets were never seen"):
        audit.written_rate_holds(ledger, 10)


async def test_kernel_stamps_what_leaves_for_a_port_while_nobody_reads_it(tmp_path: Path) -> None:
    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()

    server = await asyncio.start_server(taken, "127.0.0.1", 0)
    port, ledger = server.sockets[0].getsockname()[1], tmp_path / "wire.csv"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.wire", "--port", str(port), "--ledger", str(ledger), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = json.loads(await asyncio.wait_for(process.stdout.readline(), 30.0))
        if "error" in said:
            pytest.skip(said["error"])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(pdu(4, 10) + pdu(4, 100) + pdu(21))
        await until(lambda: ledger.exists() and ledger.read_text().count("\n") == 1, "the segment is seen")
        kind, at, _, count = ledger.read_text().strip().split(",")
        assert (kind, count) == ("S", "2") and int(at) > 10**18
        writer.close()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        server.close()
