"""The ring keeps the last octets of a bind, in order, with where each stands in its stream, and nothing more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.backlog import Backlog
from _fastpath.exchange import Exchange
from _fastpath.ledger import Ledger
from _fastpath.ring import Ring
from _fastpath.throttle import Throttle
from _fastpath.window import Window
from gateway.smpp import status as statuses

PING = bytes.fromhex("00000010 00000015 00000000 00000001".replace(" ", ""))


def numbered(first, n):
    return bytes((first + i) % 251 for i in range(n))


def opened(octets=1024):
    ring = Ring(octets)
    ring.open(("10.0.0.1", 4000), ("10.0.0.2", 2775), 1.0)
    return ring


def an_exchange():
    return Exchange(Window(10), Throttle(0), Backlog(), Ledger(1, 1024), statuses.table({}))


@given(
    room=st.sampled_from([1024, 1500, 4096]),
    sizes=st.lists(st.tuples(st.booleans(), st.integers(1, 3000)), max_size=60),
)
def test_the_last_octets_of_both_ways_are_kept_in_the_order_they_crossed(room, sizes):
    ring = opened(room)
    crossed, offsets, whole = [], {True: 0, False: 0}, b""
    for at, (is_out, n) in enumerate(sizes):
        octets = numbered(len(whole), n)
        (ring.keep_written if is_out else ring.keep_read)(octets, float(at + 1))
        crossed.append((float(at + 1), is_out, offsets[is_out], octets))
        offsets[is_out] += n
        whole += octets
    kept = ring.slices()
    # As many slices as were not pushed out by number or by octets; the oldest may have lost its beginning.
    assert b"".join(one.octets for one in kept) == whole[len(whole) - sum(len(one.octets) for one in kept) :]
    assert sum(len(one.octets) for one in kept) == min(room, len(whole), sum(n for _, n in sizes[-(room // 64) :]))
    for one, (at, is_out, offset, octets) in zip(reversed(kept), reversed(crossed), strict=False):
        gone = len(octets) - len(one.octets)
        assert (one.at, one.is_out, one.offset, one.octets) == (at, is_out, offset + gone, octets[gone:])


def test_slices_are_pushed_out_by_their_number_where_each_is_small():
    ring = opened(1024)
    for n in range(100):
        ring.keep_read(bytes([n]), n + 1.0)
    assert [one.octets[0] for one in ring.slices()] == list(range(84, 100))


def test_first_whole_pdu_behind_what_is_overwritten_is_known():
    ring = opened(1024)
    ring.keep_read(bytes(900), 1.0, skip=700)
    ring.keep_read(bytes(500), 2.0, skip=20)
    first, second = ring.slices()
    # 376 of the first are gone, so 324 of the PDU that began before them are left.
    assert (len(first.octets), first.skip, second.skip) == (524, 324, 20)
    ring.keep_read(bytes(400), 3.0)
    assert [(len(one.octets), one.skip) for one in ring.slices()] == [(124, -1), (500, 20), (400, 0)]


def test_written_slice_begins_a_pdu_only_where_all_before_it_was_taken():
    ring = opened()
    ring.keep_written(b"abc", 1.0)
    ring.keep_written(b"de", 2.0, waiting=1)
    ring.keep_written(b"f", 3.0)
    ring.keep_written(b"g", 4.0)
    assert [one.skip for one in ring.slices()] == [0, 0, -1, 0]


def test_ring_outlives_connections_and_forgets_those_of_which_nothing_is_left():
    ring = opened()
    ring.keep_written(bytes(100), 1.0)
    ring.open("second", None, 2.0)
    ring.keep_written(bytes(100), 2.0)
    assert [(one.connection, one.offset) for one in ring.slices()] == [(1, 0), (2, 0)]
    assert ring.connections() == {1: (("10.0.0.1", 4000), ("10.0.0.2", 2775), 1.0), 2: ("second", None, 2.0)}
    ring.keep_read(bytes(1024), 3.0)
    assert list(ring.connections()) == [2]
    ring.open("third", None, 4.0)
    assert list(ring.connections()) == [2, 3]


def test_moment_that_is_not_given_is_that_of_what_came_before():
    ring = opened()
    ring.keep_read(b"a", 7.0)
    ring.keep_written(b"b", 0.0)
    assert [one.at for one in ring.slices()] == [7.0, 7.0]


@pytest.mark.parametrize("octets", [-1, 0, 1023, (1 << 28) + 1])
def test_size_out_of_bounds_is_refused(octets):
    with pytest.raises(ValueError, match="expected 1024 to 268435456"):
        Ring(octets)


@given(sizes=st.lists(st.integers(1, 40), max_size=30))
def test_exchange_keeps_every_read_with_the_place_of_its_first_pdu(sizes):
    exchange, ring = an_exchange(), opened(4096)
    exchange.ring = ring
    stream, at = PING * 30, 0
    for n in sizes:
        exchange.feed(stream[at : at + n], 1.0)
        at += n
    kept = ring.slices()
    assert b"".join(one.octets for one in kept) == stream[:at]
    for one in kept:
        # A PDU of which not even the length has come keeps its secret until the next read.
        rest = -one.offset % len(PING)
        begun = one.offset % len(PING)
        expected = -1 if begun and begun + len(one.octets) < 4 else rest
        assert one.skip == expected


def test_exchange_keeps_what_it_hands_out_and_nothing_without_a_ring():
    exchange = an_exchange()
    exchange.append(PING)
    assert exchange.take_output(1.0) == PING
    exchange.ring = ring = opened()
    exchange.append(PING * 2)
    exchange.take_output(5.0)
    exchange.ring = None
    exchange.append(PING)
    exchange.take_output(6.0)
    assert [(one.at, one.is_out, one.offset, one.octets) for one in ring.slices()] == [(5.0, True, 0, PING * 2)]
