"""Frames: any chunking gives the same PDUs; a length that cannot be ends the stream and nothing else does."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.faults import LostFraming
from _fastpath.frame import Frames

VECTORS = json.loads((Path(__file__).parents[1] / "golden/vectors/stream.json").read_text("utf-8"))


def framed(body: bytes) -> bytes:
    return (len(body) + 16).to_bytes(4, "big") + bytes(12) + body


def chunks_of(octets: bytes, sizes: list[int]) -> list[bytes]:
    chunks, start = [], 0
    for size in sizes:
        chunks.append(octets[start : start + size])
        start += size
    return [*chunks, octets[start:]]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_golden_streams_are_cut_as_written(vector):
    frames = Frames()
    pdus = []
    for chunk in vector["chunks"]:
        pdus += frames.feed(bytes.fromhex(chunk))
    assert [pdu.hex() for pdu in pdus] == vector["pdus"]
    assert frames.rest.hex() == vector["leftover"]
    assert (frames.lost is not None) == vector["fatal"]


@given(
    bodies=st.lists(st.binary(max_size=40), max_size=8),
    tail=st.binary(max_size=3),
    sizes=st.lists(st.integers(0, 50), max_size=60),
)
def test_any_chunking_gives_the_same_pdus(bodies, tail, sizes):
    octets = b"".join(map(framed, bodies)) + tail
    frames = Frames()
    pdus = [pdu for chunk in chunks_of(octets, sizes) for pdu in frames.feed(chunk)]
    assert pdus == [framed(body) for body in bodies]
    assert frames.rest == tail
    assert frames.lost is None


@given(octets=st.binary(max_size=200), sizes=st.lists(st.integers(1, 20), max_size=40))
def test_any_octets_are_cut_alike_whole_or_in_pieces(octets, sizes):
    whole, pieces = Frames(cap=64), Frames(cap=64)
    expected = whole.feed(octets)
    found = []
    for chunk in chunks_of(octets, sizes):
        if pieces.lost is None:
            found += pieces.feed(chunk)
    assert found == expected
    assert pieces.rest == whole.rest
    assert (pieces.lost is None) == (whole.lost is None)


@pytest.mark.parametrize("length", [*range(16), 66561, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_length_that_cannot_be_is_seen_from_four_octets(length):
    frames = Frames()
    assert frames.feed(length.to_bytes(4, "big")) == []
    assert isinstance(frames.lost, LostFraming)
    assert frames.rest == b""


def test_pdus_before_the_fault_are_given_out_and_the_next_feed_raises():
    frames = Frames()
    assert frames.feed(framed(b"") + b"\0\0\0\4") == [framed(b"")]
    with pytest.raises(LostFraming, match="command_length 4, expected 16 to 66560"):
        frames.feed(b"\0")


def test_pdu_at_the_cap_passes_and_one_octet_more_does_not():
    assert Frames(cap=20).feed(framed(b"1234")) == [framed(b"1234")]
    frames = Frames(cap=20)
    assert frames.feed(framed(b"12345")) == []
    assert frames.lost is not None


def test_views_and_bytearrays_are_taken_like_bytes():
    for form in (bytes, bytearray, memoryview):
        assert Frames().feed(form(framed(b"x"))) == [framed(b"x")]


@pytest.mark.parametrize("cap", [-1, 0, 15, 1 << 31])
def test_cap_under_a_header_or_over_31_bits_is_refused(cap):
    with pytest.raises(ValueError, match="cap"):
        Frames(cap=cap)
