"""Little's law, by the examples that carriers and gateways publish."""

import math

import pytest

from gateway.smpp.capacity import Account, binds_for, most_per_s, plan, window_for


@pytest.mark.parametrize(
    ("per_s", "rtt_s", "window"), [(30, 0.08, 4), (100, 0.25, 33), (1000, 0.04, 52), (1, 0.001, 1)]
)
def test_window_is_rate_times_response_time_and_a_margin(per_s, rtt_s, window):
    assert window_for(per_s, rtt_s) == window


@pytest.mark.parametrize(
    ("window", "binds", "rtt_s", "per_s"),
    [(10, 5, 0.2, 250), (1, 1, 0.05, 20), (10, 1, 0.05, 200), (255, 1, 0.2, 1275)],
)
def test_windows_let_so_many_through(window, binds, rtt_s, per_s):
    assert most_per_s(window, binds, rtt_s) == pytest.approx(per_s)


def test_usual_window_needs_more_binds_where_the_carrier_is_far():
    assert binds_for(100, 0.25, 20) == 2 and binds_for(100, 0.25, 10) == 4 and binds_for(100, 0.25, 33) == 1


def account(**given):
    return Account(**{"per_s": 100, "window": 10, "binds": 1, "rtt_s": 0.05, **given})


@pytest.mark.parametrize(
    ("given", "bottleneck", "per_s"),
    [
        ({}, "rate", 100),
        ({"rtt_s": 0.25}, "window", 40),
        ({"engine_per_s": 30.0}, "engine", 30),
        ({"per_s": 0}, "window", 200),
    ],
)
def test_least_of_all_ceilings_is_the_bottleneck(given, bottleneck, per_s):
    found = plan(account(**given), 1000)
    assert (found.bottleneck, found.per_s) == (bottleneck, pytest.approx(per_s))


def test_finish_time_counts_parts():
    found = plan(account(per_s=90), 1000, 3.0)
    assert found.pdus == 3000 and found.seconds == pytest.approx(33.33, abs=0.01)


def test_reasons_say_what_would_help():
    found = plan(account(rtt_s=0.25), 10_000)
    assert found.window == 33 and found.binds == 4 and found.in_doubt == 10 and found.timeout_s == 10.0
    said = "\n".join(found.reasons)
    assert "1 × window 10 / 250 ms = 40/s" in said and "raise it, or take 4 binds" in said
    assert plan(account(rtt_s=3.0), 1).timeout_s == 15.0


def test_without_limit_and_response_time_nothing_bounds():
    found = plan(account(per_s=0, rtt_s=0.0), 10)
    assert math.isinf(found.per_s) and found.seconds == 0.0 and found.window is None


@pytest.mark.parametrize(("messages", "parts", "given"), [(-1, 1.0, {}), (1, 0.5, {}), (1, 1.0, {"window": 0})])
def test_figures_that_no_account_has_are_refused(messages, parts, given):
    with pytest.raises(ValueError, match="expected"):
        plan(account(**given), messages, parts)
