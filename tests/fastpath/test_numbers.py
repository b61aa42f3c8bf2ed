"""The set of numbers against Python's own."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from _fastpath.numbers import NumberSet

# Neighbours, as a file of customers has them; far ones; and the ends.
NUMBERS = st.one_of(
    st.integers(1, 60), st.integers(447700900000, 447700900200), st.integers(1, 2**63 - 1), st.just(2**63 - 1)
)


class AgainstASet(RuleBasedStateMachine):
    """Any calls in any order: both say the same."""

    @initialize(numbers=st.lists(NUMBERS, max_size=200))
    def begin(self, numbers):
        self.numbers = NumberSet(numbers)
        self.oracle = set(numbers)

    @rule(number=NUMBERS)
    def add(self, number):
        assert self.numbers.add(number) == (number not in self.oracle)
        self.oracle.add(number)

    @rule(number=NUMBERS)
    def discard(self, number):
        assert self.numbers.discard(number) == (number in self.oracle)
        self.oracle.discard(number)

    @rule(data=st.data())
    def discard_a_member(self, data):
        if self.oracle:
            number = data.draw(st.sampled_from(sorted(self.oracle)))
            assert self.numbers.discard(number)
            self.oracle.discard(number)

    @rule(number=NUMBERS)
    def ask(self, number):
        assert (number in self.numbers) == (number in self.oracle)

    @invariant()
    def every_member_is_found(self):
        assert len(self.numbers) == self.numbers.count == len(self.oracle)
        assert all(number in self.numbers for number in self.oracle)


TestAgainstASet = AgainstASet.TestCase
TestAgainstASet.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_set_grows_and_shrinks_by_hundreds_of_thousands():
    numbers = NumberSet()
    many = range(447700000000, 447700200000)
    assert all(numbers.add(number) for number in many)
    assert len(numbers) == 200_000
    assert all(numbers.discard(number) for number in many[::2])
    assert not any(number in numbers for number in many[::2])
    assert all(number in numbers for number in many[1::2])


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
def test_what_is_no_number_is_refused_and_never_a_member(number):
    numbers = NumberSet([1])
    with pytest.raises(ValueError, match="positive"):
        numbers.add(number)
    assert number not in numbers
    assert not numbers.discard(number)


@given(number=st.integers(2**63, 2**70))
def test_number_of_more_than_64_bits_is_refused(number):
    with pytest.raises(OverflowError):
        NumberSet().add(number)


def test_room_made_beforehand_changes_nothing_but_the_room():
    numbers = NumberSet([5, 7])
    numbers.reserve(100_000)
    numbers.reserve(10)
    assert 5 in numbers and 7 in numbers and 6 not in numbers and len(numbers) == 2
    assert all(numbers.add(number) for number in range(1000, 101_000))
    assert len(numbers) == 100_002


@pytest.mark.parametrize("room", [-1, 2**41])
def test_room_that_no_machine_has_is_refused(room):
    with pytest.raises(ValueError, match="reserve: expected 0 to"):
        NumberSet().reserve(room)
