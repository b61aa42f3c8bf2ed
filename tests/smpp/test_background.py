"""Refusals that say nothing of the rate are told from those that do by what a rate a tenth lower has."""

import random

import pytest

from gateway.smpp.background import KEPT_S, Background


def seconds(background: Background, count: int, rate: int, refused: int, now: float = 0.0) -> float:
    """Take in so many seconds at a rate; -> the moment behind them."""
    for _ in range(count):
        now += 1.0
        background.add(now, rate, rate, refused)
    return now


def test_nothing_is_borne_where_no_lower_rate_was_seen():
    background = Background()
    now = seconds(background, 20, 1000, 10)
    assert background.share(now, 1000) == 0.0 and not background.bears(now, 1000, 1000, 1)


def test_share_of_a_rate_is_what_was_refused_a_tenth_below_it():
    background = Background()
    now = seconds(background, 10, 500, 5)
    now = seconds(background, 10, 1000, 400, now)
    assert background.share(now, 1000) == pytest.approx(0.01)
    assert background.share(now, 540) == 0.0


@pytest.mark.parametrize("rate", [50, 200, 1000])
def test_chance_is_borne_in_nearly_every_second_and_a_limit_is_not(rate):
    background, chance = Background(), random.Random(7)
    now = 0.0
    for _ in range(60):
        now += 1.0
        background.add(now, rate // 2, rate // 2, sum(chance.random() < 0.02 for _ in range(rate // 2)))
    borne = sum(background.bears(now, rate, rate, sum(chance.random() < 0.02 for _ in range(rate))) for _ in range(500))
    assert borne >= 490
    assert not background.bears(now, rate, rate, rate // 6)


def test_blamed_rate_is_acquitted_once_when_as_many_are_refused_below_it():
    background = Background()
    now = seconds(background, 5, 1000, 20)
    background.blame(now, 1000, 0.02)
    assert background.is_open(now, 850) and not background.acquits(now)
    assert background.bears(now, 850, 850, 17) and not background.bears(now, 850, 850, 200)
    now = seconds(background, 2, 850, 17, now)
    assert not background.is_open(now, 850)
    assert background.acquits(now) and not background.acquits(now)


def test_rate_stays_blamed_when_few_are_refused_below_it_and_those_few_are_known():
    background = Background()
    background.blame(0.0, 1000, 0.3)
    now = seconds(background, 10, 700, 2)
    assert not background.acquits(now) and background.share(now, 1000) == pytest.approx(2 / 700)


def test_clean_seconds_of_before_do_not_hide_refusals_that_began_since():
    background = Background()
    now = seconds(background, 200, 500, 0)
    background.blame(now, 1000, 0.02)
    now = seconds(background, 3, 850, 17, now)
    assert background.share(now, 1000) == pytest.approx(0.02) and background.acquits(now)


def test_more_than_a_quarter_is_borne_at_no_rate():
    background = Background()
    background.blame(0.0, 1000, 0.3)
    now = seconds(background, 10, 500, 150)
    assert background.share(now, 1000) == 0.0 and not background.acquits(now)
    assert not background.bears(now, 500, 500, 150)


def test_hair_that_each_second_bears_is_told_by_ten_of_them():
    background = Background()
    now = seconds(background, 60, 50, 1)
    now = seconds(background, 2, 100, 4, now)
    assert background.bears(now, 100, 100, 4) and not background.lasts(now, 100)
    now = seconds(background, 9, 100, 5, now)
    assert background.bears(now, 100, 100, 5) and background.lasts(now, 100)


def test_what_is_older_than_five_minutes_is_forgotten():
    background = Background()
    now = seconds(background, 10, 500, 5)
    assert background.share(now + KEPT_S - 20.0, 1000) > 0.0
    assert background.share(now + KEPT_S, 1000) == 0.0
