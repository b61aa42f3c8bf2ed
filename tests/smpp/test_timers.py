"""Timers without a clock: due at the deadline, restarted by touch, off with None."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.smpp.timers import Countdown, Deadlines


def test_countdown_is_due_at_its_deadline_and_not_before():
    timer = Countdown(10.0)
    assert not timer.due(1e9)
    timer.start(5.0)
    assert timer.next_at == 15.0
    assert not timer.due(14.999)
    assert timer.due(15.0)


def test_touch_restarts_a_running_countdown_only():
    timer = Countdown(10.0)
    timer.touch(1.0)
    assert timer.next_at is None
    timer.start(1.0)
    timer.touch(4.0)
    assert timer.next_at == 14.0
    timer.stop()
    timer.touch(5.0)
    assert timer.next_at is None


def test_countdown_without_interval_is_never_due():
    timer = Countdown(None)
    timer.start(0.0)
    assert timer.next_at is None
    assert not timer.due(1e9)


@given(
    st.lists(
        st.tuples(st.sampled_from(["start", "stop", "due"]), st.integers(0, 9), st.floats(0, 100)),
        max_size=200,
    )
)
def test_deadlines_behave_like_a_dictionary(steps):
    deadlines = Deadlines()
    expected: dict[int, float] = {}
    for verb, number, at in steps:
        if verb == "start":
            deadlines.start(number, at)
            expected[number] = at
        elif verb == "stop":
            deadlines.stop(number)
            expected.pop(number, None)
        else:
            found = deadlines.due(at)
            assert sorted(found) == sorted(each for each, limit in expected.items() if limit <= at)
            for each in found:
                del expected[each]
        assert len(deadlines) == len(expected)
        assert deadlines.next_at == min(expected.values(), default=None)


def test_deadlines_that_are_always_stopped_in_time_keep_no_husks():
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.start(number, number + 30.0)
        deadlines.stop(number)
    assert len(deadlines._heap) < 200
