"""When an account stops pouring messages at an SMSC that takes none (fault 46)."""

from gateway.smpp.breaker import TRIES, Breaker


def test_failures_in_a_row_let_a_few_leave_each_minute_until_one_is_accepted():
    breaker = Breaker(10)
    assert not breaker.look(0.0, 100, 5) and not breaker.look(1.0, 100, 14)
    assert breaker.limits == () and breaker.alarm == ""
    assert breaker.look(2.0, 100, 15)
    (limit,) = breaker.limits
    assert "10 segments in a row" in breaker.alarm
    assert limit.allowance(2.0) == limit.allowance(60.0) == 0 and limit.allowance(64.0) == TRIES
    limit.spend(TRIES, 64.0)
    assert not breaker.look(65.0, 100, 20) and limit.allowance(120.0) == 0 and limit.allowance(126.0) == TRIES
    assert breaker.look(127.0, 101, 24) and breaker.limits == () and breaker.alarm == ""


def test_every_acceptance_begins_the_count_anew():
    breaker = Breaker(10)
    assert not any(breaker.look(float(n), n, 9 * n) for n in range(100))


def test_account_that_is_told_never_goes_on():
    breaker = Breaker(0)
    assert not breaker.look(0.0, 0, 10**9)


def test_change_of_settings_closes_it_and_counts_from_there():
    breaker = Breaker(10)
    assert breaker.look(0.0, 0, 50)
    assert breaker.reset(20) and breaker.limits == ()
    assert not breaker.look(1.0, 0, 69) and breaker.look(2.0, 0, 70)
    assert breaker.reset(0) and not breaker.reset(0)
