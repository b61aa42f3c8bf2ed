"""Who is recycled: half-dead sessions by the silence of their receipts, others by their count, one at a time."""

import math

import pytest

from gateway.smpp.recycling import ACCEPTED, FLOOR_S, GATE_S, MEASURED, Gate, Silence, half_dead_after_s, quota


@pytest.mark.parametrize(
    ("setting_s", "receipts", "median_s", "after_s"),
    [
        (5.0, 0, None, 5.0),
        (5.0, 1000, 100.0, 5.0),
        (0.0, 0, None, math.inf),
        (0.0, MEASURED - 1, 4.0, math.inf),
        (0.0, MEASURED, 4.0, FLOOR_S),
        (0.0, 10_000, 30.0, 300.0),
    ],
)
def test_silence_that_counts_is_the_setting_or_ten_usual_delays_once_they_are_known(
    setting_s, receipts, median_s, after_s
):
    assert half_dead_after_s(setting_s, receipts, median_s) == after_s


def test_messages_without_a_receipt_for_too_long_are_an_alarm_once_a_period():
    silence = Silence()
    assert [silence.look(now, 100, 0, 10.0) for now in (0.0, 9.9, 10.0, 10.1, 19.9, 20.0)] == [
        False,
        False,
        True,
        False,
        False,
        True,
    ]
    assert silence.alarm == "half-dead: 100 messages accepted and no receipt for 20 s"


def test_one_receipt_ends_the_alarm_and_begins_the_count_anew():
    silence = Silence()
    silence.look(0.0, 100, 0, 10.0)
    assert silence.look(10.0, 100, 0, 10.0) and silence.alarm
    assert not silence.look(11.0, 100, 1, 10.0) and not silence.alarm
    assert not silence.look(100.0, 100, 1, 10.0)  # nothing was accepted since
    assert not silence.look(100.0, 150, 1, 10.0)  # the wait begins with the first message
    assert silence.look(110.0, 150, 1, 10.0)


def test_few_messages_are_no_evidence():
    silence = Silence()
    silence.look(0.0, ACCEPTED - 1, 0, 10.0)
    assert not silence.look(1000.0, ACCEPTED - 1, 0, 10.0)
    assert silence.look(1000.0, ACCEPTED, 0, 10.0)


def test_account_that_sends_nothing_is_never_half_dead():
    silence = Silence()
    assert not any(silence.look(float(now), 0, 0, 1.0) for now in range(100))


def test_nothing_happens_while_nothing_is_measured():
    silence = Silence()
    assert not any(silence.look(float(now), 1000, 0, math.inf) for now in range(100))


def test_sessions_of_evenly_loaded_binds_are_not_due_together():
    due = [quota(1024, 10, place, 4) for place in range(4)]
    assert due == [1014, 886, 758, 630]


@pytest.mark.parametrize("window", [1, 10, 500])
@pytest.mark.parametrize("submitters", [1, 2, 16])
def test_session_is_due_before_it_could_pass_what_the_smsc_allows(window, submitters):
    assert all(1 <= quota(1000, window, place, submitters) <= 1000 - window for place in range(submitters))


def test_one_bind_of_an_account_is_recycled_at_a_time():
    gate = Gate()
    assert gate.enter("#1", 0.0) and gate.enter("#1", 1.0)
    assert not gate.enter("#2", 1.0)
    gate.leave("#2")
    assert not gate.enter("#2", 2.0)
    gate.leave("#1")
    assert gate.enter("#2", 3.0)


def test_bind_that_does_not_come_up_again_blocks_the_others_for_a_while_only():
    gate = Gate()
    gate.enter("#1", 0.0)
    assert not gate.enter("#2", GATE_S - 0.1)
    assert gate.enter("#2", GATE_S)
