"""Which host a bind tries: by preference, by health, and back again."""

import pytest

from gateway.smpp.hosts import Hosts, text_of

A, B, C = ("a.example", 2775), ("b.example", 2775), ("c.example", 3550)


def hosts(*addresses, policy="order", half_life_s=60.0):
    return Hosts(addresses or (A, B, C), policy, half_life_s)


def test_order_prefers_the_first_host_for_every_bind():
    assert [hosts().choose(place, 0.0) for place in range(4)] == [A, A, A, A]


def test_spread_begins_with_another_host_for_each_bind():
    assert [hosts(policy="spread").choose(place, 0.0) for place in range(4)] == [A, B, C, A]


def test_spread_hands_the_binds_of_a_dead_host_to_the_next_one():
    made = hosts(policy="spread")
    made.failed(B, 0.0)
    assert [made.choose(place, 1.0) for place in range(3)] == [A, C, C]


def test_failed_host_is_passed_over_and_preferred_again_after_a_half_life():
    made = hosts()
    made.failed(A, 0.0)
    assert made.choose(0, 59.9) == B and made.choose(0, 60.1) == A


def test_many_failures_take_longer_to_forget():
    made = hosts(A, B)
    for _ in range(8):
        made.failed(A, 0.0)
    assert made.choose(0, 200.0) == B and made.choose(0, 240.1) == A


def test_host_whose_troubles_are_the_oldest_is_tried_when_none_is_well():
    made = hosts(A, B)
    tried = []
    for now in range(4):
        tried.append(made.choose(0, float(now)))
        made.failed(tried[-1], float(now))
    assert tried == [A, B, A, B]


def test_bind_that_lasted_makes_its_host_well_at_once():
    made = hosts()
    for _ in range(20):
        made.failed(A, 0.0)
    made.stood(A)
    assert made.is_well(A, 0.0) and made.choose(0, 0.0) == A


def test_health_is_per_host_and_port():
    made = hosts(A, ("a.example", 2776))
    made.failed(A, 0.0)
    assert made.choose(0, 0.0) == ("a.example", 2776)


def test_clock_that_is_asked_late_does_not_make_a_failure_worse():
    made = hosts()
    made.failed(A, 100.0)
    assert made.score(A, 90.0) == 1.0


@pytest.mark.parametrize(("address", "text"), [(A, "a.example:2775"), (("::1", 2775), "[::1]:2775")])
def test_address_is_written_as_people_do(address, text):
    assert text_of(address) == text
