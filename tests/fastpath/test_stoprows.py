"""COPY octets into suppression sets: however they are cut, the sets are those of plain Python."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.numbers import NumberSet
from _fastpath.stoprows import StopReader

SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"
Row = tuple[int, int, bool, str]


def row_of(seq: int, number: int, is_stop: bool, scope: str) -> bytes:
    name = scope.encode()
    return struct.pack(f">hiqiqi?i{len(name)}s", 4, 8, seq, 8, number, 1, is_stop, len(name), name)


def copy_of(rows: list[Row]) -> bytes:
    return SIGNATURE + b"".join(row_of(*row) for row in rows) + TRAILER


def oracle(rows: list[Row]) -> dict[str, set[int]]:
    sets: dict[str, set[int]] = {}
    for _, number, is_stop, scope in rows:
        (set.add if is_stop else set.discard)(sets.setdefault(scope, set()), number)
    return sets


SCOPES = st.sampled_from(["*", "sender:acme", "sender:12345", "sender:bäckerei"])
ROWS = st.lists(st.tuples(st.integers(1, 10**6), st.integers(447700900000, 447700900020), st.booleans(), SCOPES))


@settings(max_examples=200, deadline=None)
@given(rows=ROWS, cuts=st.lists(st.integers(1, 60), min_size=1))
def test_any_cut_of_the_octets_makes_the_same_sets(rows: list[Row], cuts: list[int]) -> None:
    sets: dict[str, NumberSet] = {}
    reader = StopReader(sets)
    octets, at, turn = copy_of(rows), 0, 0
    while at < len(octets):
        reader.feed(octets[at : at + cuts[turn % len(cuts)]])
        at += cuts[turn % len(cuts)]
        turn += 1
    expected = oracle(rows)
    assert reader.is_ended and reader.rows == len(rows)
    assert reader.upto == max([seq for seq, *_ in rows], default=0)
    assert sets.keys() == expected.keys()
    for scope, numbers in expected.items():
        assert len(sets[scope]) == len(numbers) and all(number in sets[scope] for number in numbers)


def test_sets_that_are_there_are_changed_in_place() -> None:
    numbers = NumberSet([447700900001])
    StopReader({"*": numbers}).feed(copy_of([(1, 447700900001, False, "*"), (2, 447700900002, True, "*")]))
    assert 447700900001 not in numbers and 447700900002 in numbers


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"x" * 19, "signature"),
        (SIGNATURE + b"\x00\x03", "expected 4 columns, got 3"),
        (SIGNATURE + row_of(1, 2, True, "*").replace(b"\x00\x00\x00\x08", b"\x00\x00\x00\x04", 1), "of 8, 8 and 1"),
        (SIGNATURE + row_of(1, 2, True, ""), "expected a scope"),
        (SIGNATURE + row_of(1, 2, True, "*")[:-5] + b"\xff\xff\xff\xff*", "expected a scope"),
        (SIGNATURE + row_of(1, 0, True, "*"), "positive"),
    ],
)
def test_octets_of_another_form_are_refused(octets: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        StopReader({}).feed(octets)
