"""Who fails is heard less and less; nobody fills memory."""

import pytest

from gateway.smpp.attempts import FREE, LONGEST_S, MOST, Attempts, network_of


def test_first_failures_cost_nothing_and_each_one_behind_them_doubles_the_wait():
    attempts, waits = Attempts(), []
    for _ in range(FREE + 3):
        attempts.failed("n", 100.0)
        waits.append(attempts.wait_s("n", 100.0))
    assert waits == [0.0, 0.0, 1.0, 2.0, 4.0, 8.0]
    assert attempts.wait_s("n", 107.5) == 0.5 and attempts.wait_s("n", 108.0) == 0.0
    assert attempts.wait_s("another", 100.0) == 0.0


def test_wait_is_never_longer_than_an_hour_and_a_hundred_thousand_tries_reach_few_comparisons():
    attempts, now, heard = Attempts(), 0.0, 0
    for _ in range(100_000):
        if attempts.wait_s("n", now) == 0.0:
            attempts.failed("n", now)
            heard += 1
        assert attempts.wait_s("n", now) <= LONGEST_S + 1e-6
        now += 0.1
    assert heard <= 20


def test_success_forgets():
    attempts = Attempts()
    for _ in range(9):
        attempts.failed("n", 0.0)
    attempts.succeeded("n")
    assert attempts.wait_s("n", 0.0) == 0.0 and len(attempts) == 0


def test_more_networks_than_are_remembered_forget_the_oldest():
    attempts = Attempts()
    for n in range(MOST + 10):
        attempts.failed(str(n), float(n))
    assert len(attempts) == MOST


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8::77", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("socket", "socket"),
    ],
)
def test_network_of_an_address(address, network):
    assert network_of(address) == network
