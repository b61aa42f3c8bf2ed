"""The memory of message_ids against a dict in order of remembering."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.recall import Recall

IDS = st.one_of(
    st.binary(min_size=1, max_size=12),
    st.binary(min_size=60, max_size=255),
    st.integers(0, 300).map(lambda n: b"%d" % n),
)


@settings(max_examples=150)
@given(capacity=st.integers(1, 200), ids=st.lists(IDS, max_size=600), asks=st.data())
def test_last_ids_are_known_as_many_as_the_capacity_says(capacity, ids, asks):
    recall = Recall(capacity)
    latest: dict[bytes, tuple[int, int, int]] = {}
    for number, message_id in enumerate(ids):
        where = (number * 2**32 + 7, number, number % 255 + 1)
        recall.add(message_id, *where, sent_at=number / 10)
        latest.pop(message_id, None)
        latest[message_id] = where
        if asks.draw(st.integers(0, 15)) == 0:
            assert recall.get(message_id) == where
    for message_id in list(latest)[-capacity:]:
        assert recall.get(message_id) == latest[message_id]
    # An older one is known as it was last remembered, or not at all; never as another's.
    for message_id in list(latest)[:-capacity]:
        assert recall.get(message_id) in (None, latest[message_id])


@given(ids=st.sets(IDS, max_size=50), strange=st.sets(IDS, max_size=50))
def test_id_that_was_never_remembered_is_not_known(ids, strange):
    recall = Recall(100)
    for message_id in ids:
        recall.add(message_id, 1, 2)
    assert [recall.get(message_id) for message_id in strange - ids] == [None] * len(strange - ids)


@pytest.mark.parametrize("capacity", [1, 15, 16, 17, 63, 64, 1000, 40_000])
def test_both_generations_are_known_and_those_before_them_forgotten(capacity):
    recall = Recall(capacity)
    n = 3 * capacity + 100
    for number in range(n):
        recall.add(b"%x" % number, number, 0)
    known = [recall.get(b"%x" % number) is not None for number in range(n)]
    assert all(known[-capacity:])
    # Two tables, and the ring in front of them.
    assert not any(known[: n - 2 * capacity - 16])
    assert recall.kept <= capacity


def test_table_grows_while_everything_in_it_stays_known():
    recall = Recall(1 << 17)
    for number in range(100_000):
        recall.add(b"id-%d" % number, number, number, number % 255 + 1)
    assert all(recall.get(b"id-%d" % number) == (number, number, number % 255 + 1) for number in range(0, 100_000, 97))


def test_ids_that_differ_in_one_octet_or_in_length_are_different():
    recall = Recall(10_000)
    ids = {bytes(length) for length in range(1, 256)}
    ids |= {bytes(at) + b"\x01" + bytes(20 - at) for at in range(21)}
    where = {message_id: (number, 0, 1) for number, message_id in enumerate(sorted(ids))}
    for message_id, (chunk, pos, segment) in where.items():
        recall.add(message_id, chunk, pos, segment)
    assert {message_id: recall.get(message_id) for message_id in ids} == where


@pytest.mark.parametrize("capacity", [0, -5, (1 << 24) + 1])
def test_capacity_outside_its_bounds_is_refused(capacity):
    with pytest.raises(ValueError, match="recall: expected"):
        Recall(capacity)


def test_id_is_octets():
    with pytest.raises(TypeError):
        Recall().add(None, 1, 1)
    with pytest.raises(TypeError):
        Recall().get("a")
