"""COPY rows of people, against json and struct."""

import json
import struct
import unicodedata
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import peoplerows

NUMBERS = st.integers(1, 10**15)


def rows_of(octets: bytes) -> list[tuple[int, int, int, dict[str, str]]]:
    """(bucket, list, number, attributes) of each row, read by the book."""
    found, at = [], 0
    while at < len(octets):
        fields, a, bucket, b, list_id, c, number, size, version = struct.unpack_from(">hiiiqiqib", octets, at)
        assert (fields, a, b, c, version) == (4, 4, 8, 8, 1)
        text = octets[at + 39 : at + 38 + size]
        found.append((bucket, list_id, number, json.loads(text)))
        at += 38 + size
    assert at == len(octets)
    return found


def pack(numbers: list[int], values: list[str]) -> bytes:
    return peoplerows.pack(array("q", numbers), 7, [b'"name":'], [values])


@given(st.lists(st.tuples(NUMBERS, st.text())))
def test_any_text_comes_back_from_json_in_nfc(people: list[tuple[int, str]]) -> None:
    numbers, values = [n for n, _ in people], [v for _, v in people]
    for (bucket, list_id, number, attributes), n, value in zip(
        rows_of(pack(numbers, values)), numbers, values, strict=True
    ):
        assert (list_id, number) == (7, n)
        assert bucket == (n ^ n >> 8 ^ n >> 16 ^ n >> 24) & 255 == peoplerows.bucket(n)
        expected = unicodedata.normalize("NFC", value.replace("\0", ""))
        if value.isspace() or not value.strip(" \0" + "".join(map(chr, range(1, 33)))):
            assert attributes == {}
        else:
            assert attributes == {"name": expected}


def test_a_quote_a_backslash_and_a_control_character_are_escaped() -> None:
    octets = pack([1], ['a"b\\c\x01\n\x7f'])
    assert b'{"name":"a\\"b\\\\c\\u0001\\u000a\\u007f"}' in octets


def test_an_empty_or_blank_cell_is_absent() -> None:
    octets = peoplerows.pack(array("q", [5]), 1, [b'"a":', b'"b":', b'"c":'], [[""], [" \t"], ["x "]])
    assert rows_of(octets)[0][3] == {"c": "x "}


def test_a_decomposed_letter_is_composed() -> None:
    assert rows_of(pack([1], ["Jose\u0301"]))[0][3] == {"name": "José"}


def test_a_lone_surrogate_becomes_a_replacement_character() -> None:
    assert rows_of(pack([1], ["é\ud800x"]))[0][3] == {"name": "é\ufffdx"}


def test_a_number_of_nought_leaves_its_row_out() -> None:
    assert [row[2] for row in rows_of(pack([0, 3, 0], ["a", "b", "c"]))] == [3]


def test_a_file_of_the_number_alone_has_empty_attributes() -> None:
    assert rows_of(peoplerows.pack(array("q", [9]), 2, [], [])) == [(9, 2, 9, {})]


def test_wrong_shapes_and_types_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 1 numbers"):
        pack([1], ["a", "b"])
    with pytest.raises(ValueError, match="1 keys for 0 columns"):
        peoplerows.pack(array("q", [1]), 1, [b'"a":'], [])
    with pytest.raises(TypeError, match="expected str, got int"):
        pack([1], [5])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="expected bytes, got str"):
        peoplerows.pack(array("q", [1]), 1, ["a"], [["x"]])  # type: ignore[list-item]


@given(st.lists(st.lists(NUMBERS, max_size=20), max_size=5))
def test_key_order_is_by_bucket_then_number_and_loses_nothing(blocks: list[list[int]]) -> None:
    packed = [pack(block, [str(n) for n in block]) for block in blocks]
    found = rows_of(peoplerows.in_key_order(packed))
    numbers = [n for block in blocks for n in block]
    assert [row[:3] for row in found] == sorted((peoplerows.bucket(n), 7, n) for n in numbers)
    assert all(row[3] == {"name": str(row[2])} for row in found)


@given(st.lists(st.binary(max_size=200), max_size=3))
def test_any_octets_are_put_in_order_or_refused(packed: list[bytes]) -> None:
    try:
        assert len(peoplerows.in_key_order(packed)) == sum(map(len, packed))
    except ValueError:
        pass


def test_every_cut_of_a_row_is_refused() -> None:
    row = pack([44], ["x"])
    for size in range(1, len(row)):
        with pytest.raises(ValueError):
            peoplerows.in_key_order([row[:size]])
