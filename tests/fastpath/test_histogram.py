"""The histogram against the sorted list of what it counted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.histogram import Histogram

TEN_DAYS_US = 10 * 86400 * 1e6
DURATIONS = st.lists(
    st.one_of(st.floats(0, 100), st.floats(0, 1e6), st.floats(0, TEN_DAYS_US)), min_size=1, max_size=200
)


@given(durations=DURATIONS, q=st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0])))
def test_quantile_is_within_a_sixteenth_of_the_value_at_its_rank(durations, q):
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    exact = sorted(durations)[int(q * (len(durations) - 1))]
    # Whole microseconds below 32, where a bucket is one of them.
    assert histogram.quantile(q) == pytest.approx(exact, rel=1 / 16, abs=1.0)


@given(left=DURATIONS, right=DURATIONS)
def test_merged_counts_are_those_of_one_histogram(left, right):
    one, other, both = Histogram(), Histogram(), Histogram()
    for duration in left:
        one.add(duration)
        both.add(duration)
    for duration in right:
        other.add(duration)
        both.add(duration)
    one.merge(other)
    assert one.total == both.total == len(left) + len(right)
    assert [one.quantile(q / 20) for q in range(21)] == [both.quantile(q / 20) for q in range(21)]


@pytest.mark.parametrize("strange", [-1.0, -math.inf, math.nan, 0.0, -0.0])
def test_what_is_no_duration_counts_as_none(strange):
    histogram = Histogram()
    histogram.add(strange)
    assert (histogram.total, histogram.quantile(0.5)) == (1, 0.0)


@pytest.mark.parametrize("long", [1e15, 1e18, 2.0**63, 2.0**64, 1e300, math.inf])
def test_longer_than_thirty_years_counts_as_thirty_years(long):
    histogram = Histogram()
    histogram.add(long)
    assert histogram.quantile(1.0) == pytest.approx(1e15, rel=1 / 16)


def test_every_bucket_joins_the_next():
    values = []
    for exponent in range(45):
        for sixteenth in range(16, 32):
            histogram = Histogram()
            histogram.add(sixteenth * 2.0**exponent)
            values.append(histogram.quantile(0.5))
    assert values == sorted(set(values))


def test_nothing_counted_has_no_quantile():
    histogram = Histogram()
    assert histogram.quantile(0.5) is None
    histogram.add(5)
    histogram.clear()
    assert (histogram.total, histogram.quantile(0.5)) == (0, None)


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_quantile_outside_0_to_1_is_refused(q):
    with pytest.raises(ValueError, match="expected 0 to 1"):
        Histogram().quantile(q)


def test_only_a_histogram_is_merged():
    with pytest.raises(TypeError):
        Histogram().merge(None)


@given(durations=DURATIONS)
def test_counts_below_powers_of_two_are_exact_and_their_sum_nearly(durations):
    histogram = Histogram()
    for duration in durations:
        histogram.add(duration)
    assert histogram.below_powers(4, 40) == [sum(d < 2**e for d in durations) for e in range(4, 41)]
    assert histogram.sum_us == pytest.approx(sum(durations), rel=1 / 30, abs=len(durations))


@pytest.mark.parametrize(("first", "last"), [(3, 10), (10, 9), (4, 60)])
def test_powers_that_are_no_borders_are_refused(first, last):
    with pytest.raises(ValueError, match="expected 4 <= first"):
        Histogram().below_powers(first, last)


def test_what_was_counted_since_a_copy_stands_alone():
    histogram = Histogram()
    for us in (10, 10, 5000):
        histogram.add(us)
    before = histogram.copy()
    histogram.add(900_000)
    lately = histogram.since(before)
    assert (before.total, histogram.total, lately.total) == (3, 4, 1)
    assert lately.quantile(0.0) == pytest.approx(900_000, rel=0.0625)
    assert before.quantile(0.0) == 10.0


def test_copy_of_another_time_is_refused():
    later = Histogram()
    later.add(1)
    with pytest.raises(ValueError, match="0 counted, fewer than the 1 of the copy"):
        Histogram().since(later)
