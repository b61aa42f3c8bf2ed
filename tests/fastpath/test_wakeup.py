"""A descriptor that becomes readable at a moment of the monotonic clock."""

import os
import select
import time

import pytest

from _fastpath.wakeup import Wakeup

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="timerfd is Linux's")
PATIENCE_S = 10.0


@pytest.fixture
def wakeup():
    made = Wakeup()
    yield made
    made.close()


def rings(wakeup: Wakeup, patience_s: float = PATIENCE_S) -> bool:
    """Wait for the descriptor; -> whether it became readable."""
    return bool(select.select([wakeup.fileno()], [], [], patience_s)[0])


def test_it_becomes_readable_at_the_moment_and_not_before(wakeup):
    for after_s in (0.0005, 0.0021, 0.0207):
        at = time.monotonic() + after_s
        wakeup.set(at)
        assert rings(wakeup)
        assert time.monotonic() >= at
        assert wakeup.take() and not wakeup.take()


def test_moment_that_is_past_is_now(wakeup):
    wakeup.set(time.monotonic() - 5.0)
    assert rings(wakeup)
    wakeup.set(1e-12)
    assert rings(wakeup)


def test_later_set_stands_in_place_of_the_one_before(wakeup):
    wakeup.set(time.monotonic() - 1.0)
    assert rings(wakeup)
    wakeup.set(time.monotonic() + 3600.0)
    assert not rings(wakeup, 0.0) and not wakeup.take()
    wakeup.set(time.monotonic() + 0.001)
    assert rings(wakeup)


def test_one_that_was_taken_back_does_not_ring(wakeup):
    wakeup.set(time.monotonic() - 1.0)
    assert rings(wakeup)
    wakeup.cancel()
    assert not rings(wakeup, 0.0) and not wakeup.take()


@pytest.mark.parametrize("at", [0.0, -1.0, 1e13, float("inf"), float("nan")])
def test_what_is_no_moment_is_refused(wakeup, at):
    with pytest.raises(ValueError, match="wakeup: expected a moment above 0 and up to 1e"):
        wakeup.set(at)
    assert not wakeup.take()


def test_rest_of_a_wait_is_spent_awake_only_where_it_is_short(wakeup):
    at = time.monotonic() + 0.0001
    assert wakeup.spin(at) and time.monotonic() >= at
    assert wakeup.spin(at)
    assert not wakeup.spin(time.monotonic() + 3600.0)


def test_closed_one_gave_its_descriptor_back_and_says_so(wakeup):
    number = wakeup.fileno()
    wakeup.close()
    wakeup.close()
    with pytest.raises(OSError):
        os.fstat(number)
    for call in (wakeup.fileno, wakeup.take, wakeup.cancel, lambda: wakeup.set(1.0)):
        with pytest.raises(ValueError, match="wakeup: expected an open one, got one that was closed"):
            call()


def test_one_that_nobody_holds_gives_its_descriptor_back():
    numbers = set()
    for _ in range(100):
        numbers.add(Wakeup().fileno())
    assert len(numbers) == 1
