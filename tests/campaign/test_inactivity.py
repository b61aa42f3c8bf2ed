"""From how many days on somebody is inactive: capabilities S0.11 to S0.13."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign.inactivity import Silence, by_rhythm, percentile, rhythm_of, share_within

HISTOGRAMS = st.dictionaries(st.integers(0, 1000), st.integers(1, 50), min_size=1)


def test_s0_11_daily_sending_proposes_about_90_days_and_monthly_six_to_twelve_months() -> None:
    assert by_rhythm(1) == (90, 90) and by_rhythm(30) == (180, 365)
    least, most = by_rhythm(7)
    assert 90 < least < most < 365 and (least, most) == (134, 201)
    assert by_rhythm(0.1) == by_rhythm(1)


def test_s0_11_the_rhythm_is_the_mean_gap_of_days_of_sending() -> None:
    assert rhythm_of([0, 7, 7, 14, 21]) == 7 and rhythm_of([3, 0, 30]) == 15
    assert rhythm_of([]) is None and rhythm_of([5, 5]) is None


def test_s0_12_a_percentile_is_the_least_gap_that_so_many_are_no_longer_than() -> None:
    gaps = {10: 50, 28: 25, 60: 15, 90: 9, 400: 1}
    assert [percentile(gaps, one) for one in (1, 50, 51, 75, 90, 91, 99, 100)] == [10, 10, 28, 28, 60, 90, 90, 400]
    assert share_within(gaps, 28) == 0.75 and share_within(gaps, 9) == 0
    with pytest.raises(ValueError, match="found none"):
        percentile({}, 50)


@given(HISTOGRAMS, st.integers(1, 100))
def test_a_percentile_is_that_of_the_written_out_list(gaps: dict[int, int], percent: int) -> None:
    written = sorted(gap for gap, count in gaps.items() for _ in range(count))
    found = percentile(gaps, percent)
    assert 100 * sum(one <= found for one in written) >= percent * len(written)
    assert all(100 * sum(one <= less for one in written) < percent * len(written) for less in gaps if less < found)


def test_s0_13_who_is_silent_for_just_so_long_is_inactive_and_who_never_was_there_is_too() -> None:
    silence = Silence(days={0: 5, 29: 3, 30: 2, 400: 1}, never=4)
    assert silence.people == 15
    assert [silence.inactive(days) for days in (29, 30, 31, 401)] == [10, 7, 5, 4]
