"""The throttle against a list of moments: hard in every sliding second, and not much below it."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.throttle import Throttle
from tests.oracle.throttle import most_in_a_second

RATES = st.one_of(st.integers(1, 30), st.integers(1, 2000))
# Gaps of a sender: none, a few microseconds, a few milliseconds, just about a second, longer.
GAPS = st.one_of(
    st.just(0.0), st.floats(0, 1e-4), st.floats(0, 0.01), st.floats(0.9, 1.1), st.sampled_from([1.0, 0.001, 1.001, 3.0])
)
STARTS = st.sampled_from([0.0, 0.9999999, 1.0, 123.4567, 86400.0, 1.0e6, 5.0e6])


@settings(max_examples=300)
@given(
    rate=RATES,
    burst_s=st.sampled_from([0.0, 0.05, 1.0]),
    start=STARTS,
    gaps=st.lists(GAPS, max_size=120),
    greed=st.data(),
)
def test_no_sliding_second_holds_more_than_the_rate_whenever_it_is_asked(rate, burst_s, start, gaps, greed):
    throttle = Throttle(rate, burst_s)
    now, sent = start, []
    for gap in gaps:
        now += gap
        allowed = throttle.allowance(now)
        assert 0 <= allowed <= rate
        n = greed.draw(st.integers(0, allowed)) if greed.draw(st.booleans()) else allowed
        throttle.spend(n, now)
        sent += [now] * n
    assert most_in_a_second(sent) <= rate


@pytest.mark.parametrize("rate", [1, 2, 3, 7, 10, 99, 100, 333, 1000, 2500])
@pytest.mark.parametrize("burst_s", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("start", [0.0, 777.7777777, 4.0e6])
def test_who_asks_whenever_it_is_ready_gets_98_percent_of_the_rate(rate, burst_s, start):
    throttle = Throttle(rate, burst_s)
    seconds = 20 if rate < 100 else 5
    now, sent = start, []
    while now < start + seconds:
        n = throttle.allowance(now)
        throttle.spend(n, now)
        sent += [now] * n
        now = throttle.ready_at(now)
    assert most_in_a_second(sent) <= rate
    # The first token is there from the start, so the last part of a second may be missing.
    assert len(sent) >= math.floor(0.98 * rate * seconds)


@settings(max_examples=300)
@given(rate=st.integers(1, 10_000_000), start=STARTS, spends=st.lists(st.tuples(GAPS, st.integers(0, 50)), max_size=30))
def test_moment_that_is_named_ready_is_ready_and_no_earlier_one_is(rate, start, spends):
    throttle = Throttle(rate)
    now = start
    for gap, n in spends:
        now += gap
        throttle.spend(min(n, throttle.allowance(now)), now)
        at = throttle.ready_at(now)
        assert at >= now
        if at > now:
            assert throttle.allowance(now) == 0
            assert throttle.allowance(at) >= 1
            now = at


def test_without_a_limit_everything_may_leave():
    throttle = Throttle()
    throttle.spend(10**6, 1.0)
    assert throttle.allowance(1.0) == 2**31 - 1
    assert throttle.ready_at(1.0) == 1.0


@pytest.mark.parametrize("before", [0, 50, 1000])
def test_what_was_sent_in_the_last_second_counts_after_a_change(before):
    throttle = Throttle(before, 1.0)
    throttle.allowance(9.0)
    n = min(20, throttle.allowance(10.0))
    throttle.spend(n, 10.0)
    throttle.change(20, 1.0)
    assert n == 20
    assert throttle.allowance(10.9) == 0
    assert throttle.ready_at(10.9) >= 11.0
    assert throttle.allowance(11.006) > 0


@given(
    changes=st.lists(st.tuples(st.integers(1, 50), st.lists(st.floats(0, 0.3), max_size=20)), min_size=1, max_size=8)
)
def test_no_second_holds_more_than_the_highest_rate_of_it_through_any_changes(changes):
    throttle = Throttle(changes[0][0])
    now, sent = 100.0, []
    for rate, gaps in changes:
        throttle.change(rate)
        for gap in gaps:
            now += gap
            n = throttle.allowance(now)
            # A second that ends here holds no more than the rate that is in force here.
            if n:
                assert sum(moment > now - 1.0 for moment in sent) + n <= rate
            throttle.spend(n, now)
            sent += [now] * n


def test_idle_throttle_saves_up_no_more_than_its_burst():
    throttle = Throttle(100, 0.05)
    throttle.allowance(1.0)
    assert throttle.allowance(1000.0) == 5


def test_clock_that_stands_or_steps_back_gives_nothing_away():
    throttle = Throttle(10, 1.0)
    throttle.allowance(4.0)
    throttle.spend(throttle.allowance(5.0), 5.0)
    assert throttle.allowance(5.0) == 0
    assert throttle.allowance(3.0) == 0
    throttle.spend(1, 3.0)
    assert throttle.allowance(5.5) == 0


@pytest.mark.parametrize(
    ("rate", "burst_s"), [(-1, 0.05), (10_000_001, 0.05), (1, -0.1), (1, 1.1), (1, math.nan), (1, math.inf)]
)
def test_rate_or_burst_outside_its_bounds_is_refused(rate, burst_s):
    """Case 24 of the write protocol."""
    with pytest.raises(ValueError, match="throttle: expected"):
        Throttle(rate, burst_s)
    throttle = Throttle(5)
    with pytest.raises(ValueError, match="throttle: expected"):
        throttle.change(rate, burst_s)
    assert throttle.per_s == 5


@given(
    rate=st.integers(1, 500),
    steps=st.lists(st.floats(0.0, 0.05), min_size=1, max_size=200),
)
def test_gap_pacing_keeps_the_gap_between_any_two(rate, steps):
    throttle = Throttle(rate, gap=True)
    now, sent = 50.0, []
    for step in steps:
        now += step
        n = throttle.allowance(now)
        assert n <= 1
        if n:
            throttle.spend(n, now)
            sent.append(now)
        at = throttle.ready_at(now)
        if n:
            assert throttle.allowance(at) == 1
    assert all(later - sooner >= 1 / rate - 1e-9 for sooner, later in zip(sent, sent[1:], strict=False))


def test_gap_comes_and_goes_with_a_change():
    throttle = Throttle(100)
    throttle.allowance(1.0)
    assert (throttle.has_gap, throttle.allowance(2.0)) == (False, 5)
    throttle.change(100, gap=True)
    assert (throttle.has_gap, throttle.allowance(2.0)) == (True, 1)
    throttle.spend(1, 2.0)
    assert (throttle.allowance(2.009), throttle.allowance(2.0101)) == (0, 1)
    throttle.change(100)
    assert throttle.allowance(2.5) > 1
