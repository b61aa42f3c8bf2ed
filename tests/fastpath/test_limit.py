"""A limit of the carrier's tree: hard in every sliding second, minute and day, in PDUs or in messages."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.limit import Limit


@given(
    per_minute=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(1, 20)), max_size=60),
    start=st.floats(0.0, 1e6),
)
def test_no_sliding_minute_holds_more_than_its_limit(per_minute, steps, start):
    limit = Limit("sender X", per_minute=per_minute)
    now, sent = start, []
    for gap, wanted in steps:
        now += gap
        n = min(wanted, limit.allowance(now))
        limit.spend(n, now)
        sent += [now] * n
        assert sum(at > now - 60.0 for at in sent) <= per_minute
        # What is held back is no more than the width of a bucket costs.
        if limit.allowance(now) == 0:
            assert sum(at > now - 61.001 for at in sent) >= per_minute


@given(
    per_day=st.integers(1, 30),
    steps=st.lists(st.tuples(st.floats(0.0, 40_000.0), st.integers(1, 20)), max_size=40),
)
def test_no_sliding_day_holds_more_than_its_limit(per_day, steps):
    limit = Limit("brand", per_day=per_day)
    now, sent = 1e6, []
    for gap, wanted in steps:
        now += gap
        n = min(wanted, limit.allowance(now))
        limit.spend(n, now)
        sent += [now] * n
        assert sum(at > now - 86400.0 for at in sent) <= per_day


@given(
    per_minute=st.integers(1, 20),
    n=st.integers(1, 30),
    steps=st.lists(st.tuples(st.floats(0.0, 20.0), st.integers(1, 9)), max_size=30),
)
def test_moment_that_is_named_ready_has_room_and_a_bucket_before_it_has_none(per_minute, n, steps):
    limit = Limit("sender X", per_minute=per_minute)
    now = 500.0
    for gap, wanted in steps:
        now += gap
        limit.spend(min(wanted, limit.allowance(now)), now)
    at = limit.ready_at(now, n)
    assert at >= now
    if at > now:
        assert limit.allowance(now) < min(n, per_minute)
    assert limit.allowance(at) >= min(n, per_minute)


def test_seconds_minutes_and_days_all_bind():
    limit = Limit("account", per_s=10, per_minute=15, per_day=20, burst_s=1.0)
    limit.allowance(0.0)
    assert limit.allowance(100.0) == 10
    limit.spend(10, 100.0)
    assert limit.allowance(102.0) == 5
    limit.spend(5, 102.0)
    assert (limit.allowance(104.0), limit.ready_at(104.0)) == (0, 161.0)
    assert limit.used(104.0) == (15, 15)
    assert limit.allowance(165.0) == 5
    limit.spend(5, 165.0)
    assert limit.allowance(3600.0) == 0


def test_what_was_written_before_a_restart_counts():
    limit = Limit("brand", per_minute=10, per_day=100)
    limit.recall(7, 95.0)
    limit.recall(90, 100.0 - 3600.0)
    limit.recall(50, 100.0 - 90_000.0)
    assert limit.used(100.0)[0] == 7
    assert limit.allowance(100.0) == 3


def test_day_of_the_calendar_begins_anew():
    limit = Limit("brand", per_day=5)
    limit.spend(5, 1000.0)
    assert limit.allowance(2000.0) == 0
    limit.clear_day()
    assert limit.allowance(2000.0) == 5


def test_limit_without_figures_lets_everything_pass():
    limit = Limit("nobody")
    assert (limit.per_s, limit.per_minute, limit.per_day) == (0, 0, 0)
    assert limit.allowance(1.0) == 2**31 - 1
    assert limit.ready_at(1.0, 100) == 1.0


@pytest.mark.parametrize("figures", [{"per_minute": -1}, {"per_day": -1}, {"per_s": -1}, {"per_s": 20_000_000}])
def test_figures_that_make_no_limit_are_refused(figures):
    with pytest.raises(ValueError, match="expected"):
        Limit("x", **figures)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.floats(0.0, 9e5)), max_size=40))
def test_th_1_purse_holds_what_was_granted_and_never_gives_more(steps):
    purse = Limit("run 1", per_message=True)
    purse.grant(0)
    now, granted, spent = 1.0, 0, 0
    assert purse.allowance(now) == purse.left == 0 and purse.per_day == 0
    for more, wanted, gap in steps:
        now += gap
        purse.grant(more)
        granted += more
        n = min(wanted, purse.allowance(now))
        purse.spend(n, now)
        spent += n
        purse.clear_day()
        assert purse.left == purse.allowance(now) == granted - spent >= 0


def test_th_1_empty_purse_is_asked_again_soon_and_its_rate_is_kept():
    purse = Limit("run 1", per_message=True)
    purse.grant(0, 100)
    assert purse.ready_at(5.0) == 5.02
    purse.grant(1000, 100)
    assert purse.ready_at(5.0) == 5.0
    sent, now = 0, 5.0
    while now < 6.0:
        n = purse.allowance(now)
        purse.spend(n, now)
        sent, now = sent + n, now + 0.001
    assert 90 <= sent <= 100 and purse.left == 1000 - sent


def test_purse_is_no_limit_of_days():
    with pytest.raises(ValueError, match="expected a purse"):
        Limit("sender X", per_day=5).grant(1)
    with pytest.raises(ValueError, match="at least 0"):
        Limit("run 1").grant(-1)
