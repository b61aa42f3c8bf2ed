"""Batches: the order of sending is a permutation that can be resumed, and any octets are a claim or a ValueError."""

import gc
import math

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.batch import Batch, read_batches, stride_of
from _fastpath.outbound import Form
from _fastpath.template import Template
from tests.oracle import copyrows as oracle

NUMBERS = st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=12)
CELLS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=8))


@st.composite
def chunks(draw):
    """Keyword arguments of oracle.claim."""
    numbers = draw(NUMBERS)
    columns = draw(st.integers(0, 3))
    params = None
    if columns:
        params = [draw(st.lists(CELLS, min_size=columns, max_size=columns)) for _ in numbers]
    return {
        "chunk_id": draw(st.integers(0, 2**63 - 1)),
        "numbers": numbers,
        "params": params,
        "run": draw(st.integers(0, 2**63 - 1)),
        "epoch": draw(st.integers(0, 2**31 - 1)),
        "sent_upto": draw(st.integers(0, len(numbers))),
        "class_": draw(st.integers(0, 5)),
        "country": draw(st.integers(0, 999)),
    }


@given(claimed=st.lists(chunks(), max_size=4))
def test_claimed_rows_are_read_as_they_were_written(claimed):
    octets = oracle.stream([oracle.claim(**chunk) for chunk in claimed])
    batches = read_batches(octets)
    del octets
    gc.collect()
    for batch, chunk in zip(batches, claimed, strict=True):
        n = len(chunk["numbers"])
        assert (batch.chunk_id, batch.run, batch.epoch) == (chunk["chunk_id"], chunk["run"], chunk["epoch"])
        assert (batch.class_, batch.country) == (chunk["class_"], chunk["country"])
        assert (batch.n, batch.next_rank, batch.committed) == (n, chunk["sent_upto"], chunk["sent_upto"])
        assert [batch.number(pos) for pos in range(n)] == chunk["numbers"]
        assert [batch.values(pos) for pos in range(n)] == (chunk["params"] or [[]] * n)


@given(chunk=chunks())
def test_every_truncation_of_a_claim_is_refused(chunk):
    octets = oracle.stream([oracle.claim(**chunk)])
    for end in range(len(octets)):
        with pytest.raises(ValueError, match="claimed octets"):
            read_batches(octets[:end])


@settings(max_examples=400)
@given(chunk=chunks(), data=st.data())
def test_octets_changed_anywhere_are_a_claim_or_refused(chunk, data):
    octets = bytearray(oracle.stream([oracle.claim(**chunk)]))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(octets) - 1))
        octets[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, octets[at] ^ 1]))
    try:
        batches = read_batches(bytes(octets))
    except ValueError:
        return
    for batch in batches:
        for pos in range(batch.n):
            batch.number(pos)
            try:
                batch.values(pos)
            except UnicodeDecodeError:
                pass


@given(octets=st.binary(max_size=300), signed=st.booleans())
def test_any_octets_are_a_claim_or_refused(octets, signed):
    try:
        read_batches((oracle.SIGNATURE + bytes(8) if signed else b"") + octets)
    except ValueError:
        pass


@pytest.mark.parametrize("n", [0, -1, 2**31 - 1, 2**28])
def test_count_that_cannot_fit_the_row_is_refused_before_anything_is_allocated(n):
    row = oracle.claim(1, [447700900123])
    numbers = bytearray(row[6])
    numbers[4 + 12 : 4 + 16] = n.to_bytes(4, "big", signed=True)
    row[6] = bytes(numbers)
    with pytest.raises(ValueError, match="do not fit the row"):
        read_batches(oracle.stream([row]))


def test_number_that_is_null_and_params_of_another_shape_are_refused():
    row = oracle.claim(1, [447700900123])
    row[6] = oracle.field(oracle.array(20, [1], [None]) + bytes(8))
    with pytest.raises(ValueError, match="NULL"):
        read_batches(oracle.stream([row]))
    with pytest.raises(ValueError, match="params of 2 x 1 for 1 numbers"):
        read_batches(oracle.stream([oracle.claim(1, [44], [["a"], ["b"]])]))
    with pytest.raises(ValueError, match="8 columns"):
        read_batches(oracle.stream([oracle.claim(1, [44])[:5]]))


async def test_claim_of_a_real_postgres_is_read(dsn):
    params = [["Zoë", None], ["", "€5 \U0001f600"], [None, "x" * 300]]
    octets = bytearray()

    async def take(block):
        octets.extend(block)

    connection = await asyncpg.connect(dsn)
    try:
        await connection.copy_from_query(
            "SELECT $1::bigint, 7::bigint, 3, 1, 0::smallint, 826::smallint, $2::bigint[], $3::text[]"
            " UNION ALL SELECT 10, 8::bigint, 1, 0, 5::smallint, 0::smallint, ARRAY[1::bigint], NULL"
            " UNION ALL SELECT 11, 8::bigint, 1, 0, 5::smallint, 0::smallint, ARRAY[1::bigint], '{}'",
            9, [447700900123, 1, 2**63 - 1], params, output=take, format="binary",
        )  # fmt: skip
    finally:
        await connection.close()
    first, second, third = read_batches(bytes(octets))
    assert (first.chunk_id, first.run, first.epoch, first.next_rank, first.columns) == (9, 7, 3, 1, 2)
    assert (first.class_, first.country, second.class_) == (0, 826, 5)
    assert [first.number(pos) for pos in range(3)] == [447700900123, 1, 2**63 - 1]
    assert [first.values(pos) for pos in range(3)] == params
    assert second.values(0) == third.values(0) == []


def test_order_of_sending_is_a_permutation_for_every_size():
    for n in range(1, 2001):
        assert math.gcd(stride_of(n), n) == 1
        batch = Batch(n * 7919, n, 0)
        assert sorted(batch.ranks(0, n)) == list(range(n))


@pytest.mark.parametrize("n", [3, 10, 100, 999, 1000, 1024])
def test_neighbours_in_the_list_are_no_neighbours_in_the_order(n):
    order = Batch(5, n, 0).ranks(0, n)
    # A run of numbers one behind the other looks like number scanning.
    apart = [abs(right - left) for left, right in zip(order, order[1:], strict=False)]
    assert min(apart) >= (1 if n == 3 else n // 4)


@given(chunk_id=st.integers(0, 2**63 - 1), n=st.integers(1, 1000), data=st.data())
def test_order_of_sending_is_that_of_the_statement_that_reads_a_watermark(chunk_id, n, data):
    upto = data.draw(st.integers(0, n))
    order = [(rank * stride_of(n) + chunk_id % n) % n for rank in range(n)]
    batch = Batch(chunk_id, n, 0, sent_upto=upto)
    assert batch.ranks(0, n) == order
    assert batch.ranks(upto, n) == order[upto:]
    assert batch.ranks(-5, n + 5) == order


def test_batch_of_python_values_is_the_same_as_a_claimed_one():
    batch = Batch.of(3, [44, 45], [["a", None], ["ü", ""]], run=5, epoch=6, sent_upto=1)
    assert (batch.chunk_id, batch.run, batch.epoch, batch.next_rank, batch.columns) == (3, 5, 6, 1, 2)
    assert [batch.values(0), batch.values(1)] == [["a", None], ["ü", ""]]
    assert not batch.is_handed_out and not batch.is_finished
    assert Batch.of(3, [44]).values(0) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((1, []), "n >= 1"),
        ((-1, [1]), "chunk_id >= 0"),
        ((1, [1, 2], [["a"]]), "2 rows"),
        ((1, [1, 2], [["a"], ["a", "b"]]), "1 values in each row"),
    ],
)
def test_values_that_make_no_batch_are_refused(arguments, error):
    with pytest.raises(ValueError, match=error):
        Batch.of(*arguments)


@pytest.mark.parametrize("shape", [(1, 0, 0), (1, 1, -1), (1, 2**31 - 1, 2), (1, 2**16, 2**16), (-1, 1, 1)])
def test_shape_that_cannot_be_is_refused_before_anything_is_allocated(shape):
    with pytest.raises(ValueError, match="batch: expected"):
        Batch(*shape)


def test_batch_that_nobody_filled_is_empty_and_safe():
    batch = Batch(1, 3, 2)
    assert [batch.values(pos) for pos in range(3)] == [["", ""]] * 3
    for pos in (-1, 3, 2**31 - 1):
        with pytest.raises(IndexError):
            batch.number(pos)
        with pytest.raises(IndexError):
            batch.values(pos)


def test_watermark_only_rises_and_never_past_the_end():
    batch = Batch.of(1, [1, 2, 3])
    batch.commit(2)
    for upto in (1, -1, 4):
        with pytest.raises(ValueError, match="expected 2 to 3"):
            batch.commit(upto)
    batch.commit(3)
    assert batch.committed == 3


def test_batch_is_dressed_in_a_form_whose_fields_it_has():
    batch = Batch.of(1, [1], [["a"]])
    with pytest.raises(ValueError, match="2 fields, the chunk 1 columns"):
        batch.dress(Form(Template("{{ a }} {{ b }}")))
    for strange in (None, "form", Template("x")):
        with pytest.raises(TypeError, match="expected a Form"):
            batch.dress(strange)
    assert batch.form is None
    form = Form(Template("{{ a }}"))
    batch.dress(form, 5.0)
    assert (batch.form, batch.expires_at) == (form, 5.0)


@pytest.mark.parametrize("strange", [None, bytearray(30), "PGCOPY", 5])
def test_claim_is_bytes(strange):
    with pytest.raises(TypeError):
        read_batches(strange)
