"""The window against a dict: never over its size, no request lost or found twice, numbers used again only when free."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from _fastpath.window import Window
from tests.oracle.window import LAST, Request
from tests.oracle.window import Window as Oracle

SIZES = st.integers(1, 40)


class AgainstTheDict(RuleBasedStateMachine):
    """Any calls in any order: both say the same."""

    def __init__(self) -> None:
        super().__init__()
        first = LAST - 90
        self.window = Window(5, first)
        self.oracle = Oracle(5, first)
        self.now = 0.0
        self.given: list[int] = []

    @rule(step=st.floats(0, 2))
    def time_goes_on(self, step):
        self.now += step

    @precondition(lambda self: self.oracle.in_flight < self.oracle.size)
    @rule()
    def a_request_leaves(self):
        pos = len(self.given)
        sequence = self.window.open(pos, self.now)
        assert 1 <= sequence <= LAST
        assert sequence not in self.oracle.requests
        self.oracle.requests[sequence] = Request(pos, self.now)
        self.given.append(sequence)

    @precondition(lambda self: self.oracle.in_flight >= self.oracle.size)
    @rule()
    def a_request_too_many_is_refused(self):
        with pytest.raises(ValueError, match="window full"):
            self.window.open(0, self.now)

    @precondition(lambda self: self.given)
    @rule(data=st.data())
    def a_response_comes(self, data):
        sequence = data.draw(st.sampled_from(self.given))
        assert self.window.close(sequence) == self.oracle.close(sequence)

    @rule(sequence=st.integers(0, 0xFFFFFFFF))
    def a_response_comes_to_any_number(self, sequence):
        assert self.window.close(sequence) == self.oracle.close(sequence)

    @rule(age=st.floats(0, 3))
    def timers_fire(self, age):
        assert self.window.expire(self.now - age) == self.oracle.expire(self.now - age)

    @rule(size=SIZES)
    def the_size_changes(self, size):
        self.window.resize(size)
        self.oracle.size = size

    @rule()
    def the_session_takes_a_number(self):
        assert self.window.take_number() not in self.oracle.requests

    @invariant()
    def both_count_alike(self):
        assert self.window.in_flight == self.oracle.in_flight
        assert self.window.room == max(0, self.oracle.size - self.oracle.in_flight)


TestAgainstTheDict = AgainstTheDict.TestCase
TestAgainstTheDict.settings = settings(max_examples=200, stateful_step_count=80, deadline=None)


def test_behind_the_last_number_comes_one():
    window = Window(10, LAST - 1)
    assert [window.open(0, 0.0) for _ in range(4)] == [LAST - 1, LAST, 1, 2]


def test_number_that_a_tombstone_holds_is_skipped_after_the_wrap():
    """Case 20 of the write protocol."""
    window = Window(1, LAST)
    assert window.open(7, 0.0) == LAST
    assert window.expire(1.0) == [7]
    # Round once, by the numbers of the smallest array: each lap passes the place of the tombstone.
    numbers = []
    for _ in range(200):
        numbers.append(window.open(0, 1.0))
        window.close(numbers[-1])
    assert LAST not in numbers and 0 not in numbers
    assert window.close(LAST) == (7, True)


@given(size=SIZES, laps=st.integers(1, 30))
def test_tombstones_never_stall_the_window_however_many_they_are(size, laps):
    window = Window(size)
    given = []
    for lap in range(laps):
        for i in range(size):
            given.append((window.open(lap * size + i, float(lap)), lap * size + i))
        assert window.room == 0
        assert len(window.expire(lap + 0.5)) == size
        assert window.room == size
    assert len({sequence for sequence, _ in given}) == len(given)
    for sequence, pos in given:
        assert window.close(sequence) == (pos, True)
        assert window.close(sequence) is None


def test_smaller_window_lets_those_in_flight_end_before_it_has_room():
    window = Window(4)
    numbers = [window.open(i, 0.0) for i in range(4)]
    window.resize(2)
    assert window.room == 0
    window.close(numbers[0])
    window.close(numbers[1])
    assert (window.room, window.in_flight) == (0, 2)
    window.close(numbers[2])
    assert window.room == 1


def test_larger_window_keeps_its_requests():
    window = Window(3)
    numbers = [window.open(i, 0.0) for i in range(3)]
    window.resize(65536)
    numbers += [window.open(i, 0.0) for i in range(3, 65536)]
    assert window.room == 0
    assert [window.close(sequence) for sequence in numbers] == [(pos, False) for pos in range(65536)]


@pytest.mark.parametrize("size", [0, -1, 65537, 2**31 - 1])
def test_size_outside_its_bounds_is_refused_and_changes_nothing(size):
    with pytest.raises(ValueError, match="1 to 65536"):
        Window(size)
    window = Window(3)
    with pytest.raises(ValueError, match="1 to 65536"):
        window.resize(size)
    assert window.size == 3


@pytest.mark.parametrize("first", [0, LAST + 1, 0xFFFFFFFF])
def test_first_number_outside_the_standard_is_refused(first):
    with pytest.raises(ValueError, match="sequence_number"):
        Window(1, first)
