"""The table of first appearances, against a dict."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.firstseen import FirstSeen


@given(st.lists(st.lists(st.integers(0, 50) | st.integers(0, 2**62), max_size=40), max_size=8))
def test_it_says_what_a_dict_would_say(blocks: list[list[int]]) -> None:
    seen, oracle, line = FirstSeen(), dict[int, int](), 0
    for block in blocks:
        lines = array("q", range(line + 1, line + 1 + len(block)))
        line += len(block)
        firsts = array("q", bytes(8 * len(block)))
        expected = []
        for number, at in zip(block, lines, strict=True):
            first = oracle.setdefault(number, at) if number else at
            expected.append(0 if first == at else first)
        assert seen.add(array("q", block), lines, firsts) == sum(map(bool, expected))
        assert list(firsts) == expected
    assert len(seen) == len(oracle)


def test_it_grows_past_its_first_size() -> None:
    seen, count = FirstSeen(), 20_000
    numbers, firsts = array("q", range(1, count + 1)), array("q", bytes(8 * count))
    assert seen.add(numbers, numbers, firsts) == 0
    assert seen.add(numbers, array("q", [5] * count), firsts) == count
    assert list(firsts) == list(numbers)


def test_short_columns_are_refused() -> None:
    with pytest.raises(ValueError):
        FirstSeen().add(array("q", [1, 2]), array("q", [1]), array("q", [0, 0]))
