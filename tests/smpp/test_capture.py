"""A ring becomes a tape without passwords, and a tape a file whose TCP streams hold what crossed the socket."""

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.ring import Kept, Ring
from gateway.smpp import capture
from gateway.smpp.pdu import ANYTHING, Pdu, Tlv, decode, encode
from tests.oracle import pcap as oracle

OURS, THEIRS = ("192.0.2.1", 40001), ("198.51.100.7", 2775)
OFFSET_S = 1_700_000_000.0


def bind(password="s3cret", sequence=1):
    fields = {"system_id": "acme", "password": password, "interface_version": 0x34}
    return encode(Pdu(command="bind_transceiver", sequence_number=sequence, fields=fields))


def submit(text=b"Hello", number="447700900123", sequence=2, esm_class=0, tlvs=()):
    fields = {"source_addr": "12345", "destination_addr": number, "short_message": text, "esm_class": esm_class}
    return encode(Pdu(command="submit_sm", sequence_number=sequence, fields=fields, tlvs=tlvs), ANYTHING)


def deliver(text=b"Yes", sequence=9, tlvs=()):
    fields = {"source_addr": "447700900123", "destination_addr": "12345", "short_message": text}
    return encode(Pdu(command="deliver_sm", sequence_number=sequence, fields=fields, tlvs=tlvs), ANYTHING)


def answer(sequence, message_id="m1"):
    return encode(Pdu(command="submit_sm_resp", sequence_number=sequence, fields={"message_id": message_id}))


def a_ring(octets=1 << 16, local=OURS, peer=THEIRS):
    ring = Ring(octets)
    ring.open(local, peer, 1.0)
    return ring


def taped(ring, **how):
    return capture.tape_of("acme#1", ring.slices(), ring.connections(), OFFSET_S, **how)


def talked():
    ring = a_ring()
    ring.keep_written(bind(), 1.5)
    ring.keep_read(encode(Pdu(command="bind_transceiver_resp", sequence_number=1, fields={"system_id": "smsc"})), 2.0)
    ring.keep_written(submit() + submit(b"Again", sequence=3), 3.0)
    both = answer(2) + answer(3, "m2") + deliver()
    ring.keep_read(both[:30], 3.1)
    ring.keep_read(both[30:], 3.2, skip=10)
    return ring


def test_file_has_one_tcp_stream_a_way_with_lengths_checksums_and_numbers_that_are_right():
    tape = taped(talked())
    segments = oracle.segments(capture.pcap_of(tape))
    said = oracle.streams(segments)
    assert list(said) == [(OURS, THEIRS), (THEIRS, OURS)]
    assert said[OURS, THEIRS] == bind("*" * 6) + submit() + submit(b"Again", sequence=3)
    assert said[THEIRS, OURS].endswith(answer(2) + answer(3, "m2") + deliver())
    # A handshake, then what crossed, each at its moment.
    assert [one.flags for one in segments[:3]] == [0x02, 0x12, 0x10]
    assert [one.at - OFFSET_S for one in segments] == pytest.approx([1, 1, 1, 1.5, 2, 3, 3.1, 3.2], abs=1e-5)


@given(
    reads=st.lists(st.tuples(st.booleans(), st.integers(1, 9000)), min_size=1, max_size=30),
    version=st.sampled_from([4, 6]),
)
def test_streams_have_no_hole_and_begin_with_a_whole_pdu_whatever_is_overwritten(reads, version):
    ends = (OURS, THEIRS) if version == 4 else (("2001:db8::1", 40001, 0, 0), ("2001:db8::7", 2775, 0, 0))
    ring = a_ring(8192, *ends)
    ways = {True: submit(b"x" * 140), False: deliver(b"y" * 100)}
    sent = {True: b"", False: b""}
    stream = {way: pdu * 2000 for way, pdu in ways.items()}
    for at, (is_out, n) in enumerate(reads):
        begin = len(sent[is_out])
        octets = stream[is_out][begin : begin + n]
        rest = -begin % len(ways[is_out])
        if is_out:
            ring.keep_written(octets, at + 2.0, -(begin + n) % len(ways[True]))
        else:
            ring.keep_read(octets, at + 2.0, rest)
        sent[is_out] += octets
    tape = taped(ring)
    said = oracle.streams(oracle.segments(capture.pcap_of(tape)))
    for (source, _), octets in said.items():
        way = source == ends[0][:2]
        assert sent[way].endswith(octets)
        assert (len(sent[way]) - len(octets)) % len(ways[way]) == 0 or not octets
    assert {one.octets for one in capture.pdus_of(tape)} <= set(ways.values())


def test_password_of_a_bind_is_masked_by_as_many_stars_and_nothing_else_is():
    tape = taped(talked())
    first = capture.pdus_of(tape)[0].octets
    assert first == bind("*" * 6)
    assert b"s3cret" not in capture.pack(tape)


@pytest.mark.parametrize("n", range(16, len(bind()) + 1))
def test_password_of_a_bind_that_was_cut_anywhere_is_masked(n):
    ring = a_ring()
    ring.keep_written(bind()[:n], 1.0, len(bind()) - n)
    (cut,) = taped(ring).cuts
    assert b"s3" not in cut.octets and len(cut.octets) == n
    ring.keep_written(bind()[n:], 2.0)
    assert b"".join(cut.octets for cut in taped(ring).cuts) == bind("*" * 6)


def test_password_of_an_outbind_is_masked():
    ring = a_ring()
    fields = {"system_id": "smsc", "password": "0utbnd"}
    ring.keep_read(encode(Pdu(command="outbind", sequence_number=1, fields=fields)), 1.0)
    (found,) = capture.pdus_of(taped(ring))
    assert decode(found.octets).fields == {"system_id": "smsc", "password": "******"}


def test_redacted_tape_hides_texts_and_last_digits_and_keeps_lengths_and_headers():
    ring = a_ring()
    header = bytes.fromhex("050003070201")
    payload = (Tlv(0x0424, b"secret payload"), Tlv(0x0381, b"\x01\x01\x01447700900999"), Tlv(0x020A, b"\x12\x34"))
    ring.keep_written(submit(header + b"secret", esm_class=0x40) + submit(b"", tlvs=payload), 1.0)
    ring.keep_read(deliver(b"id:77 stat:DELIVRD"), 2.0)
    plain, tape = taped(ring), taped(ring, redacts=True)
    assert [len(cut.octets) for cut in plain.cuts] == [len(cut.octets) for cut in tape.cuts]
    one, two, three = [decode(found.octets, ANYTHING) for found in capture.pdus_of(tape)]
    assert one.fields["short_message"] == header + b"******"
    assert (one.fields["source_addr"], one.fields["destination_addr"]) == ("1****", "44770090****")
    assert [tlv.value for tlv in two.tlvs] == [b"*" * 14, b"\x01\x01\x0144770090****", b"\x12\x34"]
    assert three.fields["short_message"] == b"*" * 18


def test_redacted_tape_hides_the_whole_of_what_cannot_be_read():
    ring = a_ring()
    broken = bytearray(submit(b"secret"))
    broken[-7] = 200  # sm_length past the end
    ring.keep_written(bytes(broken), 1.0)
    unknown = bytes.fromhex("0000001a000009990000000000000005") + b"447700secr"
    ring.keep_read(unknown, 2.0)
    ring.keep_read(b"HTTP/1.1 400 Bad Request 447700900123", 3.0)
    plain, tape = taped(ring), taped(ring, redacts=True)
    assert [cut.octets for cut in plain.cuts] == [bytes(broken), unknown, b"HTTP/1.1 400 Bad Request 447700900123"]
    assert not [cut for cut in tape.cuts if b"secr" in cut.octets or b"0123" in cut.octets]


def test_tape_survives_the_way_to_another_machine():
    tape = taped(talked())
    assert capture.unpack(capture.pack(tape)) == tape


def test_each_connection_is_a_stream_of_its_own_even_without_addresses():
    ring = Ring(4096)
    for at, local in enumerate(("", None, ("not an address", 5))):
        ring.open(local, None, at + 1.0)
        ring.keep_written(submit(), at + 1.5)
    said = oracle.streams(oracle.segments(capture.pcap_of(taped(ring))))
    assert len([way for way in said if way[1] == ("127.0.0.1", 2775)]) == 3
    assert [octets for octets in said.values() if octets] == [submit()] * 3


def test_stream_whose_beginning_is_gone_has_no_handshake_and_goes_on_at_its_number():
    ring = a_ring(1024)
    for n in range(40):
        ring.keep_written(submit(sequence=n + 1), float(n + 2))
    segments = oracle.segments(capture.pcap_of(taped(ring)))
    assert not [one for one in segments if one.flags & 0x02]
    assert (segments[0].number - 1) % len(submit()) == 0 and segments[0].number > 1


def test_octets_of_which_no_pdu_is_known_to_begin_are_left_out():
    kept = [
        Kept(1.0, 1, True, 50, -1, b"abc"),
        Kept(2.0, 1, True, 53, 3, b"abc"),
        Kept(3.0, 1, True, 56, 1, b"x" + submit()),
    ]
    tape = capture.tape_of("acme#1", kept, {1: (OURS, THEIRS, 0.0)}, 0.0)
    assert [(cut.offset, cut.octets) for cut in tape.cuts] == [(57, submit())]


@given(st.binary(min_size=1, max_size=200))
def test_checksum_makes_the_sum_of_the_internet_come_out(octets):
    even = octets + bytes(len(octets) % 2)
    assert oracle.ones_sum(even + capture.checksum(octets).to_bytes(2, "big")) in (0xFFFF, 0)


def test_checksum_is_that_of_the_example_in_rfc_1071():
    # §3: the sum is ddf2.
    assert capture.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


@pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed: Wireshark's own reading is not tried"
)
def test_wireshark_finds_the_pdus(tmp_path):
    path = tmp_path / "acme.pcap"
    path.write_bytes(capture.pcap_of(taped(talked())))
    asked = ["tshark", "-r", path, "-d", "tcp.port==2775,smpp", "-o", "tcp.check_checksum:TRUE", "-T", "fields"]
    shown = subprocess.run(
        [*asked, "-e", "smpp.command_id", "-e", "tcp.checksum.status"], capture_output=True, text=True, check=True
    ).stdout
    for command_id in ("0x00000009", "0x80000009", "0x00000004", "0x80000004", "0x00000005"):
        assert command_id in shown


def test_ring_rests_where_it_would_last_a_moment_and_goes_on_when_it_would_last_longer():
    octets = 1 << 18
    assert not capture.rests(0.0, octets, False)
    assert not capture.rests(100_000, octets, False)
    assert capture.rests(200_000, octets, False)
    # Between the two it stays as it is: nothing flutters.
    assert capture.rests(100_000, octets, True)
    assert not capture.rests(10_000, octets, True)
