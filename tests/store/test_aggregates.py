"""Sessions counted from the neighbours of what is new alone; the rest is held in test_profiles.py."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.person import SESSION_TIMEOUT
from gateway.store.aggregates import Moment, begun, follow

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MOMENTS = st.lists(st.tuples(st.integers(0, 40).map(lambda step: NOW + step * timedelta(minutes=9)), st.booleans()))


def sessions(moments: list[Moment]) -> int:
    """By the book: who begins one."""
    order = sorted(set(moments))
    return sum(
        not is_end and (at == 0 or order[at - 1][1] or when - order[at - 1][0] > SESSION_TIMEOUT)
        for at, (when, is_end) in enumerate(order)
    )


@given(MOMENTS, MOMENTS)
def test_ev_10_what_a_moment_adds_follows_from_its_neighbours(old: list[Moment], new: list[Moment]) -> None:
    before = [max((one for one in old if one <= moment), default=None) for moment in new]
    after = [min((one for one in old if one > moment), default=None) for moment in new]
    near = [[one for one in side if one is not None] for side in (before, after)]
    assert begun(new, *near) == sessions(old + new) - sessions(old)


@given(MOMENTS, st.integers(0, 10))
def test_ev_10_a_running_session_is_the_last_event_behind_the_last_end(moments: list[Moment], cut: int) -> None:
    first, rest = sorted(moments)[:cut], sorted(moments)[cut:]
    session_at, ends = follow(None, None, first)
    last_end = max([at for at, is_end in first if is_end] + ends, default=None)
    session_at, more = follow(session_at, last_end, rest)
    lives = [at for at, is_end in moments if not is_end]
    gone = [at for at, is_end in moments if is_end] + ends + more
    last = max(lives, default=None)
    assert session_at == (last if last is not None and (not gone or last > max(gone)) else None)
    assert len(set(ends + more)) == len(ends + more)
