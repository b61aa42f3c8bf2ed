"""Bounds for each address: what is asked for too often is turned away, and memory has an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redirect import bounds
from gateway.redirect.bounds import MOST_TOKENS, Openers, Rates, network_of


def test_an_address_has_so_many_requests_a_minute_and_saves_up_no_more() -> None:
    rates = Rates(60)
    assert [rates.take("192.0.2.1", 0.0) for _ in range(61)] == [True] * 60 + [False]
    assert rates.take("192.0.2.2", 0.0)
    assert rates.take("192.0.2.1", 1.0) and not rates.take("192.0.2.1", 1.0)
    assert sum(rates.take("192.0.2.1", 10_000.0) for _ in range(100)) == 60


def test_what_costs_more_is_charged_even_where_there_is_less_left() -> None:
    rates = Rates(60)
    rates.charge("192.0.2.1", 0.0, 59)
    assert rates.take("192.0.2.1", 0.0) and not rates.take("192.0.2.1", 0.0)
    rates.charge("192.0.2.1", 0.0, 500)
    assert not rates.take("192.0.2.1", 0.5) and rates.take("192.0.2.1", 1.5)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 9)), max_size=200))
def test_no_minute_ever_has_more_than_twice_what_a_minute_may(steps: list[tuple[float, int]]) -> None:
    rates, now, taken = Rates(30), 0.0, []
    for wait, cost in steps:
        now += wait
        if rates.take("a", now, cost):
            taken.append((now, cost))
    for begin, _ in taken:
        assert sum(cost for at, cost in taken if begin <= at < begin + 60) <= 60


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    rates = Rates(60)
    assert all(rates.take("a", 100.0) for _ in range(60))
    assert not rates.take("a", 50.0)


def test_one_subscriber_of_ipv6_is_one_address_however_many_they_have() -> None:
    assert network_of("2001:db8:1:2::5") == network_of("2001:db8:1:2:ffff::9") == "2001:db8:1:2::"
    assert network_of("2001:db8:1:3::5") != network_of("2001:db8:1:2::5")
    assert network_of("::ffff:192.0.2.7") == "192.0.2.7" == network_of("192.0.2.7")
    assert network_of("") == "" and network_of("a:b:what") == "a:b:what" and network_of("fe80::1%eth0") == "fe80::"


def test_who_was_not_seen_for_longest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_ADDRESSES", 3)
    rates, openers = Rates(60), Openers()
    for n in range(5):
        rates.take(f"192.0.2.{n}", float(n))
        openers.opens(f"192.0.2.{n}", "x", "t", float(n))
    assert len(rates) == len(openers) == 3
    assert openers.opens("192.0.2.4", "x", "u", 5.0) == 2 and openers.opens("192.0.2.0", "x", "u", 5.0) == 1


def test_different_links_of_one_agent_are_counted_within_a_minute_and_each_once() -> None:
    openers = Openers()
    assert [openers.opens("192.0.2.1", "x", token, float(at)) for at, token in enumerate("aabcb")] == [1, 1, 2, 3, 3]
    assert openers.opens("192.0.2.1", "y", "a", 5.0) == 1
    # a and c are older than a minute by then, b is not.
    assert openers.opens("192.0.2.1", "x", "d", 63.5) == 2
    assert max(openers.opens("192.0.2.1", "x", str(n), 70.0) for n in range(MOST_TOKENS + 50)) == MOST_TOKENS
