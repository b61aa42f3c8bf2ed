"""A change on trial, in virtual time: what counts as worse, against which figures, and for how long."""

import pytest

from _fastpath.ledger import Ledger
from gateway.dispatch.trial import TRIAL_S, Bounds, Figures, Trial, fault

CALM = Figures(answered=1000, p99_ms=20.0)


@pytest.mark.parametrize(
    ("before", "since", "said"),
    [
        (CALM, Figures(answered=500, throttled=4, p99_ms=20.0), ""),
        (CALM, Figures(answered=500, throttled=6, p99_ms=20.0), "throttled"),
        (Figures(answered=1000, throttled=20), Figures(answered=500, throttled=29), ""),
        (Figures(answered=1000, throttled=20), Figures(answered=500, throttled=31), "throttled"),
        (CALM, Figures(answered=500, temporary=9, p99_ms=20.0), ""),
        (CALM, Figures(answered=500, temporary=11, p99_ms=20.0), "temporary errors"),
        (Figures(answered=1000, temporary=100), Figures(answered=500, temporary=55), ""),
        (CALM, Figures(answered=480, unanswered=20, p99_ms=20.0), "missing answers"),
        (CALM, Figures(answered=500, p99_ms=119.0), ""),
        (CALM, Figures(answered=500, p99_ms=121.0), "response times"),
        (Figures(answered=1000, p99_ms=200.0), Figures(answered=500, p99_ms=599.0), ""),
        (Figures(answered=1000, p99_ms=200.0), Figures(answered=500, p99_ms=601.0), "response times"),
        (Figures(answered=5, p99_ms=1.0), Figures(answered=500, p99_ms=900.0), ""),
        (CALM, Figures(answered=19, throttled=19), ""),
        (CALM, Figures(answered=0, unanswered=20), "missing answers"),
        (Figures(), Figures(answered=100, throttled=2), ""),
        (Figures(), Figures(answered=100, throttled=3), "throttled"),
    ],
)
def test_what_counts_as_worse(before: Figures, since: Figures, said: str) -> None:
    found = fault(before, since)
    assert said in found if said else found == ""


def test_bounds_are_data() -> None:
    since = Figures(answered=500, throttled=6)
    assert fault(CALM, since) and not fault(CALM, since, Bounds(throttled_share=0.02))


class Account:
    """A trial, the ledger it looks at, and a clock that goes in quarters of a second."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ledger = Ledger(1)
        self.trial = Trial()
        self.trial.look(self.now, self.ledger)

    def passes(self, seconds: float, per_s: int, throttled_per_s: int = 0, ms: float = 10.0) -> float | None:
        """Let time pass; -> seconds until a fault, None without one."""
        for step in range(round(seconds * 4)):
            self.now += 0.25
            self.ledger.responses += per_s // 4
            self.ledger.throttled += throttled_per_s // 4
            for _ in range(per_s // 4):
                self.ledger.submit_to_response.add(ms * 1e3)
            self.trial.look(self.now, self.ledger)
            if self.trial.fault():
                return (step + 1) / 4
        return None


def test_limit_set_half_over_what_the_carrier_bears_is_seen_within_two_seconds() -> None:
    account = Account()
    account.passes(20, 100)
    account.trial.begin(7)
    found = account.passes(10, 150, 50)
    assert found is not None and found <= 2.0
    assert account.trial.order == 7


def test_burst_of_refusals_at_the_moment_of_the_change_is_no_fault() -> None:
    account = Account()
    account.passes(20, 100)
    account.trial.begin(7)
    assert account.passes(0.25, 200, 12) is None and account.passes(20, 400) is None


def test_nothing_is_judged_but_a_change() -> None:
    account = Account()
    assert account.passes(20, 100, 40) is None


def test_trouble_of_before_is_no_fault_of_the_change() -> None:
    account = Account()
    account.passes(20, 100, 8)
    account.trial.begin(7)
    assert account.passes(30, 100, 8) is None


def test_trouble_that_begins_late_in_the_trial_is_seen_though_its_mean_is_small() -> None:
    account = Account()
    account.passes(20, 400)
    account.trial.begin(7)
    assert account.passes(50, 400) is None
    found = account.passes(8, 400, 12)
    assert found is not None and found < 5.0


def test_change_has_stood_its_trial_after_a_minute() -> None:
    account = Account()
    account.passes(10, 100)
    account.trial.begin(7)
    assert account.passes(TRIAL_S, 100) is None and account.trial.order is None
    assert account.passes(10, 100, 50) is None


def test_slow_answers_are_a_fault_though_none_is_refused() -> None:
    account = Account()
    account.passes(10, 200, ms=20)
    account.trial.begin(7)
    assert account.passes(5, 200, ms=200) is not None
