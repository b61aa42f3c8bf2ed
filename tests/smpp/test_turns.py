"""When an account may try: never in a hurry once there is trouble."""

from gateway.smpp.turns import Turns


def test_binds_come_up_right_behind_one_another_while_all_is_well():
    turns = Turns(1.0)
    for n in range(10):
        assert turns.wait_s(n / 100) == 0.0
        turns.tried(n / 100)


def test_attempts_are_a_gap_apart_from_the_first_trouble_on():
    turns, now, tried = Turns(1.0), 0.0, []
    turns.tried(now)
    turns.troubled()
    for _ in range(5):
        now += 0.01 + turns.wait_s(now + 0.01)
        turns.tried(now)
        tried.append(now)
    assert [round(at, 6) for at in tried] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_trouble_long_after_the_last_attempt_costs_no_wait():
    turns = Turns(1.0)
    turns.tried(0.0)
    turns.troubled()
    assert turns.wait_s(50.0) == 0.0


def test_all_binds_up_is_the_end_of_the_trouble():
    turns = Turns(1.0)
    turns.tried(0.0)
    turns.troubled()
    turns.shut(100.0)
    turns.calm()
    assert turns.wait_s(0.1) == 0.0


def test_account_that_is_shut_tries_nothing_before_the_moment():
    turns = Turns(1.0)
    turns.shut(300.0)
    turns.shut(200.0)
    assert turns.wait_s(100.0) == 200.0 and turns.wait_s(300.0) == 0.0
