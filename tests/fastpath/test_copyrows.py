"""Rows: the octets are of Postgres' format, a real Postgres takes them, and they read back equal."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import copyrows
from _fastpath.copyrows import OUTCOME_COLUMNS, RECEIPT_COLUMNS, WAITING_COLUMNS, OutcomeRows, ReceiptRows, WaitingRows
from _fastpath.ledger import Ledger
from gateway.store import runs
from tests.oracle import copyrows as oracle

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
NOW_US = (NOW - EPOCH) // timedelta(microseconds=1)

I16, I32, I64 = (st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (16, 32, 64))
WIDTHS = (4, 8, 4, 2, 2, 4, 4, 8, 4)


def ascii_of(octets: bytes) -> bytes:
    """What becomes of an id: printable ASCII stays, the rest is a question mark."""
    return bytes(octet if 0x20 <= octet < 0x7F else 0x3F for octet in octets)


@given(
    lane=I32,
    written=st.lists(
        st.tuples(I64, I32, I16, I16, I32, I32, I64, I32, st.none() | st.binary(max_size=300)), max_size=20
    ),
)
def test_outcomes_are_rows_of_the_format(lane, written):
    rows = OutcomeRows(lane)
    for row in written:
        rows.add_row(*row)
    assert len(rows) == rows.count == len(written)
    octets = rows.octets
    stream = rows.take()
    assert len(stream) == octets
    found = oracle.rows(stream)
    assert [[*map(oracle.integer, row[:-1])] for row in found] == [[lane, *row[:-1]] for row in written]
    assert [row[-1] for row in found] == [None if row[-1] is None else ascii_of(row[-1]) for row in written]
    assert all(tuple(map(len, row[:-1])) == WIDTHS for row in found)


@pytest.mark.parametrize("size", [7, 8, 9, 13, 16, 17])
def test_one_octet_of_an_id_that_is_no_plain_ascii_becomes_a_question_mark_wherever_it_stands(size):
    ids = [b"A" * at + bytes((odd,)) + b"z" * (size - at - 1) for at in range(size) for odd in range(256)]
    rows = OutcomeRows(1)
    for one in ids:
        rows.add_row(1, 2, 1, 1, 1, 0, 0, 0, one)
    assert [row[-1] for row in oracle.rows(rows.take())] == [ascii_of(one) for one in ids]


def test_rows_taken_are_gone_and_those_that_come_later_belong_to_the_next_stream():
    rows = OutcomeRows(1)
    assert oracle.rows(rows.take()) == []
    rows.add_row(1, 2, 1, 1, 1, 0, 0, 0, b"a")
    first = rows.take()
    assert (rows.count, oracle.rows(rows.take())) == (0, [])
    rows.add_row(2, 2, 1, 1, 1, 0, 0, 0, b"b")
    assert oracle.rows(first)[0][-1] == b"a"
    assert oracle.rows(rows.take())[0][-1] == b"b"


def test_buffer_grows_with_its_rows_whatever_their_length():
    rows = OutcomeRows(1)
    for length in (0, 1, 65535, 200_000, 3):
        rows.add_row(1, length, 1, 1, 1, 0, 0, 0, b"x" * length)
    for _ in range(5000):
        rows.add_row(1, 3, 1, 1, 1, 0, 0, 0, b"xyz")
    found = oracle.rows(rows.take())
    assert [len(row[-1]) for row in found] == [0, 1, 65535, 200_000, 3] + [3] * 5000


def receipts_of(written) -> Ledger:
    """A ledger with a receipt each: (message_id, state, err, number, raw, whether its segment is known)."""
    ledger = Ledger(7)
    ledger.wall_offset_us = NOW_US
    for number, (message_id, state, err, to, raw, is_known) in enumerate(written):
        if is_known:
            ledger.recall.add(message_id, 2**40 + number, number, 3)
        ledger.take_receipt(message_id, state, err, to, raw, 0.0)
    return ledger


RECEIPTS = st.tuples(
    st.binary(min_size=1, max_size=255),
    st.integers(-1, 9),
    st.none() | st.binary(max_size=20),
    st.none() | st.integers(0, 10**18),
    st.binary(max_size=300),
    st.booleans(),
)


@given(written=st.lists(RECEIPTS, max_size=12, unique_by=lambda receipt: receipt[0]))
def test_receipts_are_rows_of_the_format_known_or_waiting(written):
    ledger = receipts_of(written)
    known = oracle.rows(ledger.receipts.take())
    waiting = oracle.rows(ledger.waiting.take())
    number = oracle.integer

    def tail(receipt):
        message_id, state, err, to, raw, _ = receipt
        return [ascii_of(message_id), state, None if err is None else ascii_of(err), None, to, raw]

    def read(fields):
        message_id, state, err, done_at, to, raw = fields
        return [message_id, number(state), err, done_at, None if to is None else number(to), raw]

    expected = [(at, receipt) for at, receipt in enumerate(written) if receipt[-1]]
    assert [[*map(number, row[:5])] for row in known] == [[7, 2**40 + at, at, 3, NOW_US] for at, _ in expected]
    assert [read(row[5:]) for row in known] == [tail(receipt) for _, receipt in expected]
    assert [[*map(number, row[:2])] for row in waiting] == [[7, NOW_US] for receipt in written if not receipt[-1]]
    assert [read(row[2:8]) for row in waiting] == [tail(receipt) for receipt in written if not receipt[-1]]
    assert (ledger.receipts_matched, ledger.receipts_waiting) == (len(known), len(waiting))


async def stored(connection, table, columns, stream):
    async def source():
        yield stream

    await connection.copy_to_table(table, source=source(), columns=list(columns), format="binary")
    order = "pos" if "pos" in columns else "message_id"
    return [tuple(row) for row in await connection.fetch(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}")]


@pytest.fixture
async def connection(dsn):
    opened = await asyncpg.connect(dsn)
    await runs.ensure_partitions(opened, NOW)
    yield opened
    await opened.close()


async def test_postgres_takes_outcomes_and_gives_them_back(connection):
    rows = OutcomeRows(3)
    written = [
        (2**62, 0, 1, 1, 1, 0, NOW_US, 1500, b"abc-1"),
        (0, 1, 255, 255, 2**31 - 1, 0x7FFFFFFF, NOW_US + 1, 2**31 - 1, None),
        (1, 2, 0, 0, 0, -14, NOW_US - 1, 0, b""),
        (1, 3, 1, 2, 1, -1, NOW_US, 0, b"\x00\xff\xc3 '\"\\"),
    ]
    for row in written:
        rows.add_row(*row)
    found = await stored(connection, "outcome", OUTCOME_COLUMNS, rows.take())
    assert found == [
        (
            3,
            *row[:6],
            EPOCH + timedelta(microseconds=row[6]),
            row[7],
            None if row[8] is None else ascii_of(row[8]).decode(),
        )
        for row in written
    ]


async def test_postgres_takes_receipts_and_gives_them_back(connection):
    raw = bytes(range(256))
    ledger = receipts_of(
        [
            (b"a", 2, b"000", 447700900123, raw, True),
            (b"b" * 255, -1, None, None, b"", True),
            (b"\x00\xff", 9, b"\xe9", 0, b"\x00", True),
            (b"c", 5, b"", 10**18, raw, False),
            (b"d", 0, None, None, b"", False),
        ]
    )
    known = await stored(connection, "receipt", RECEIPT_COLUMNS, ledger.receipts.take())
    assert known == [
        (7, 2**40, 0, 3, NOW, "a", 2, "000", None, 447700900123, raw),
        (7, 2**40 + 1, 1, 3, NOW, "b" * 255, -1, None, None, None, b""),
        (7, 2**40 + 2, 2, 3, NOW, "??", 9, "?", None, 0, b"\x00"),
    ]
    waiting = await stored(connection, "receipt_waiting", WAITING_COLUMNS, ledger.waiting.take())
    assert waiting == [
        (7, NOW, "c", 5, "", None, 10**18, raw, None, "c", None, "12"),
        (7, NOW, "d", 0, None, None, None, b"", None, "d", None, "13"),
    ]


@pytest.mark.parametrize(
    ("message_id", "id_key", "as_hex", "as_decimal"),
    [
        (b"0000000016", b"16", b"10", b"22"),
        (b"00B8bE19", b"b8be19", None, b"12107289"),
        (b"9308878062554710043", b"9308878062554710043", b"812fc7470000001b", None),
        (b"812FC7470000001B", b"812fc7470000001b", None, b"9308878062554710043"),
        (b"18446744073709551615", b"18446744073709551615", b"ffffffffffffffff", None),
        (b"18446744073709551616", b"18446744073709551616", None, None),
        (b"99999999999999999999999", b"99999999999999999999999", None, None),
        (b"000", b"", None, None),
        (b"7", b"7", b"7", b"7"),
        (b"6ba7b810-9DAD-11d1-80b4-00c04fd430c8", b"6ba7b810-9dad-11d1-80b4-00c04fd430c8", None, None),
        (b"\x00\xffA", b"??a", None, None),
    ],
)
def test_a_waiting_receipt_carries_the_forms_its_id_may_have_in_the_response(message_id, id_key, as_hex, as_decimal):
    ledger = Ledger(7)
    ledger.take_receipt(message_id, 2, None, 447700900123, b"", 0.0, 12345)
    (row,) = oracle.rows(ledger.waiting.take())
    assert (oracle.integer(row[6]), oracle.integer(row[8])) == (447700900123, 12345)
    assert row[9:] == [id_key, as_hex, as_decimal]


async def test_postgres_takes_a_stream_without_rows(connection):
    for table, columns, rows in (
        ("outcome", OUTCOME_COLUMNS, OutcomeRows(1)),
        ("receipt", RECEIPT_COLUMNS, ReceiptRows(1)),
        ("receipt_waiting", WAITING_COLUMNS, WaitingRows(1)),
    ):
        assert await stored(connection, table, columns, rows.take()) == []


def test_signature_is_that_of_the_manual():
    assert copyrows.SIGNATURE == oracle.SIGNATURE + bytes(8)
