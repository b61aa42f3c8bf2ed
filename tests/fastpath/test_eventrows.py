"""What persons did, as octets of a COPY."""

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import eventrows

BIG = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
AT = st.integers(-(2**62), 2**62)
ROWS = st.lists(
    st.tuples(
        st.integers(0, 255), st.integers(0, 15), BIG, BIG, AT, TEXT, TEXT, TEXT, st.binary(max_size=40)
    ),
    max_size=20,
)  # fmt: skip


def read(octets: bytes) -> list[list[bytes]]:
    """The values of each row, by the documentation of COPY."""
    assert octets[:19] == b"PGCOPY\n\xff\r\n\x00" + bytes(8)
    at, rows = 19, []
    while (count := int.from_bytes(octets[at : at + 2], "big", signed=True)) != -1:
        at += 2
        row = []
        for _ in range(count):
            size = int.from_bytes(octets[at : at + 4], "big")
            row.append(octets[at + 4 : at + 4 + size])
            at += 4 + size
        rows.append(row)
    assert at + 2 == len(octets)
    return rows


@given(rows=ROWS, received=AT)
def test_rows_are_read_back_as_copy_has_them(rows: list[Any], received: int) -> None:
    offset = 946_684_800_000_000
    wanted = [
        [
            *(value.to_bytes(size, "big", signed=True) for value, size in zip(row[:4], (4, 2, 8, 8), strict=True)),
            *((at - offset).to_bytes(8, "big", signed=True) for at in (row[4], received)),
            *(text.encode() for text in row[5:8]),
            b"\1" + row[8],
        ]
        for row in rows
    ]
    assert read(eventrows.pack(rows, received)) == wanted


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-5, minutes=-30))])))
def test_microseconds_count_from_1970_whatever_the_zone(at: datetime) -> None:
    past = at - datetime(1970, 1, 1, tzinfo=UTC)
    assert eventrows.microseconds(at) == past // timedelta(microseconds=1)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(TypeError, match="naive"):
        eventrows.microseconds(datetime(2026, 1, 1))


GOOD = (1, 0, 2, 3, 4, "api", "e1", "visit", b"{}")


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [
        (0, 2**31, OverflowError),
        (1, 2**15, OverflowError),
        (2, 2**63, OverflowError),
        (3, "3", TypeError),
        (5, None, TypeError),
        (6, 7, TypeError),
        (7, "\ud800", UnicodeEncodeError),
        (8, "{}", TypeError),
    ],
)
def test_what_has_no_room_or_another_type_is_refused(column: int, value: Any, error: type[Exception]) -> None:
    row: Any = (*GOOD[:column], value, *GOOD[column + 1 :])
    with pytest.raises(error):
        eventrows.pack([row], 0)


def test_a_row_has_nine_values() -> None:
    bad: Any = GOOD[:8]
    with pytest.raises(TypeError, match="nine"):
        eventrows.pack([bad], 0)


@given(st.binary(max_size=700), st.integers(1, 64))
def test_a_digest_is_that_of_hashlib(octets: bytes, size: int) -> None:
    assert eventrows.digest(octets, size) == hashlib.blake2b(octets, digest_size=size).digest()


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 255, 256, 257, 1 << 16])
def test_a_digest_is_that_of_hashlib_at_the_borders_of_blocks(length: int) -> None:
    octets = bytes(at * 7 & 255 for at in range(length))
    assert eventrows.digest(octets) == hashlib.blake2b(octets, digest_size=16).digest()


@pytest.mark.parametrize("size", [-1, 0, 65])
def test_a_digest_of_no_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="expected 1 to 64"):
        eventrows.digest(b"", size)


@given(TEXT, st.text(st.characters(codec="utf-8"), max_size=200))
def test_the_bucket_of_an_identity_is_a_hash_of_one_octet(kind: str, value: str) -> None:
    told = f"{kind}\0{value}".encode()
    assert eventrows.bucket_of(kind, value) == hashlib.blake2b(told, digest_size=1).digest()[0]


def test_a_name_that_is_no_text_has_no_bucket() -> None:
    with pytest.raises(UnicodeEncodeError):
        eventrows.bucket_of("email", "\ud800")
