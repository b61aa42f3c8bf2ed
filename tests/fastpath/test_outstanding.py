"""How many messages to one number wait for their answer, against a Counter."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.outstanding import Outstanding


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(1, 300)), max_size=600))
def test_counts_are_those_of_a_counter(steps):
    outstanding, model = Outstanding(1), Counter()
    for enters, number in steps:
        number += 447_700_900_000
        if enters:
            outstanding.enter(number)
            model[number] += 1
        else:
            outstanding.leave(number)
            model[number] = max(0, model[number] - 1)
        assert outstanding.count(number) == model[number]
    for number, count in model.items():
        assert outstanding.count(number) == count


def test_numbers_nobody_waits_for_take_no_room_for_ever():
    outstanding = Outstanding(1)
    outstanding.enter(7)
    for number in range(1, 200_000):
        outstanding.enter(number + 10)
        outstanding.leave(number + 10)
    assert (outstanding.count(7), outstanding.count(11)) == (1, 0)


def test_limit_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Outstanding(0)
