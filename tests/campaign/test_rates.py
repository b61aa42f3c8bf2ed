"""How fast a run goes now, and when it will be over: by simulated seconds, whatever the delays of who asks."""

import heapq
import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.campaign.rates import (
    Credit,
    Forecast,
    Step,
    Tally,
    Way,
    affordable,
    breached,
    forecast,
    grant,
    open_s,
    per_s_by_country,
    per_s_of,
    per_s_of_clicks,
    slower,
    spans_in,
    step_of,
)
from gateway.gate import Gate
from gateway.message import MessageClass
from gateway.rate import RatePlan, Threshold, read_threshold

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)


def sent_by_second(
    plan: RatePlan, total: int, seconds: float, spans: Any = None, *, workers: int = 1, seed: int = 1, away: Any = ()
) -> list[int]:
    """Let workers take each quarter of a second, more or less, and somebody steer each second."""
    chance, now, left = random.Random(seed), 0.0, total
    credit = Credit(per_s=per_s_of(plan, total, total, 0.0, None, spans), credit=0.0, at=None, granted=0)
    takes = [chance.random() * 0.25 for _ in range(workers)]
    steers, started = 0.0, None
    found = [0] * (int(seconds) + 1)
    while now < seconds and left:
        now = min(*takes, steers) if takes else steers
        if now == steers:
            ends = None if started is None else started + plan.over_s
            credit = Credit(
                per_s=per_s_of(plan, total, left, now, ends, spans), credit=credit.credit, at=credit.at,
                granted=credit.granted,
            )  # fmt: skip
            steers += 1.0
            continue
        at = takes.index(now)
        takes[at] += 0.25 * chance.uniform(0.9, 1.3)
        is_open = spans is None or any(a <= now < b for a, b in spans)
        if not is_open or any(a <= now < b for a, b in away):
            continue
        n, credit = grant(credit, min(left, max(1, int(credit.per_s * 0.35) + 1)), NOW + timedelta(seconds=now))
        started = now if started is None and n else started
        left -= n
        found[min(int(now), int(seconds))] += n
    return found


@given(st.integers(1, 5), st.integers(0, 99))
def test_th_1_minute_for_6000_messages_takes_a_minute_and_each_second_has_a_hundred(workers: int, seed: int) -> None:
    found = sent_by_second(RatePlan(over_s=60), 6000, 90, workers=workers, seed=seed)
    assert sum(found) == 6000
    last = max(second for second, n in enumerate(found) if n)
    assert 54 <= last <= 66
    # A quarter of a second's messages are granted together, and may fall on either side of a second's end.
    assert all(70 <= n <= 130 for n in found[1:55]), found
    assert all(80 <= sum(found[i : i + 4]) / 4 <= 120 for i in range(1, 52))


def test_th_1_fractions_of_a_message_a_second_add_up() -> None:
    found = sent_by_second(RatePlan(per_s=5000 / 3600), 10_000, 3600, workers=3)
    assert sum(found) == pytest.approx(5000, rel=0.01) and max(found) <= 4


def test_th_1_what_falls_behind_is_caught_up_within_the_time() -> None:
    found = sent_by_second(RatePlan(over_s=100), 5000, 200, away=((30, 50),))
    last = max(second for second, n in enumerate(found) if n)
    assert sum(found) == 5000 and 90 <= last <= 110
    assert sum(found[30:50]) == 0 and max(found[50:99]) <= 100


def test_th_1_only_what_is_open_of_the_hours_counts() -> None:
    spans = [(0.0, 40.0), (80.0, 400.0)]
    found = sent_by_second(RatePlan(over_s=100), 6000, 200, spans)
    assert sum(found) == 6000 and max(second for second, n in enumerate(found) if n) <= 110
    assert 90 <= sum(found[5:35]) / 30 <= 110 and sum(found[41:80]) == 0
    assert open_s(spans, 0, 100) == 60 and open_s(None, 0, 100) == 100 and open_s(spans, 100, 0) == 0


@given(
    per_s=st.floats(0.01, 5000), goes_to=st.none() | st.integers(0, 3000),
    takes=st.lists(st.tuples(st.floats(-5, 20), st.integers(0, 4000)), max_size=30),
)  # fmt: skip
def test_th_1_no_more_is_granted_than_time_has_earned(per_s: float, goes_to: int | None, takes: Any) -> None:
    credit = Credit(per_s=per_s, credit=0.0, at=None, granted=0, goes_to=goes_to)
    now = latest = NOW
    total = 0
    for gap, wanted in takes:
        now += timedelta(seconds=gap)
        n, credit = grant(credit, wanted, now)
        total += n
        assert 0 <= n <= wanted and credit.granted == total
        assert goes_to is None or total <= goes_to
        latest = max(latest, now)
    steps = [max(0.0, gap) for gap, _ in takes[1:]]
    assert total <= 1 + max(1.0, per_s) + per_s * sum(steps) + 1e-3


def test_th_1_run_without_a_rate_is_granted_all_that_is_wanted() -> None:
    n, credit = grant(Credit(per_s=0.0, credit=0.0, at=None, granted=5, goes_to=100), 500, NOW)
    assert (n, credit.granted) == (95, 100)
    assert grant(credit, 5, NOW)[0] == 0


RAMP = RatePlan(ramp=(0.01, 0.1, 1.0), hold_s=60)


def test_th_1_ramp_holds_at_each_step() -> None:
    assert step_of(RAMP, 1000, 0, 0, None, NOW, False, False) == Step(0, 10, None)
    assert step_of(RAMP, 1000, 10, 0, None, NOW, False, False) == Step(0, 10, NOW)
    later = NOW + timedelta(seconds=60)
    assert step_of(RAMP, 1000, 10, 0, NOW, later - timedelta(seconds=1), False, False) == Step(0, 10, NOW)
    assert step_of(RAMP, 1000, 10, 0, NOW, later, False, False) == Step(1, 100, None)
    assert step_of(RAMP, 1000, 10, 0, NOW, NOW, True, False) == Step(1, 100, None)
    # Nothing is raised while a carrier of it stands still.
    assert step_of(RAMP, 1000, 10, 0, NOW, later, True, True) == Step(0, 10, NOW)
    assert step_of(RAMP, 1000, 100, 1, NOW, later, False, False) == Step(2, None, None)
    asking = RatePlan(ramp=(0.5, 1.0), hold_s=0)
    assert step_of(asking, 10, 5, 0, NOW, NOW + timedelta(days=9), False, False) == Step(0, 5, NOW)
    # Of few people each step has one more than the one before.
    assert step_of(RAMP, 3, 1, 1, None, NOW, False, False) == Step(1, 2, None)


@pytest.mark.parametrize(
    ("words", "tally", "is_breached"),
    [
        ("failure 20% of 50", Tally(taken=40, refused=10, failed=10), True),
        ("failure 20% of 50", Tally(taken=41, refused=9, failed=9), False),
        ("failure 20% of 51", Tally(taken=40, refused=10, failed=10), False),
        ("failure 20% of 50", Tally(taken=50, refused=0, failed=10), True),
        ("throttle 10% of 100", Tally(answers=100, throttled=10), True),
        ("no_receipt 30% of 10", Tally(taken=50, old=10, receipts=7), True),
        ("no_receipt 30% of 10", Tally(taken=50, old=10, receipts=8), False),
        ("opt_out 2% of 100", Tally(taken=100, opt_outs=2), True),
        ("opt_out 2% of 100", Tally(taken=100, opt_outs=1), False),
    ],
)
def test_th_5_threshold_is_a_share_of_at_least_so_many(words: str, tally: Tally, is_breached: bool) -> None:
    found = breached(read_threshold(words), tally)
    assert bool(found) is is_breached
    assert not found or "the threshold is" in found


@given(
    budget=st.floats(1, 100), cost=st.floats(0.001, 2), parts=st.integers(1, 4),
    looks=st.lists(st.integers(0, 50), min_size=1, max_size=60), seed=st.integers(0, 9),
)  # fmt: skip
def test_th_5_budget_is_never_passed_whatever_is_on_its_way(
    budget: float, cost: float, parts: int, looks: list[int], seed: int
) -> None:
    chance = random.Random(seed)
    granted = settled = 0
    spent = 0.0
    for most in [*looks, *[50] * 200]:
        goes_to = affordable(budget, spent, granted, settled, parts * cost)
        granted = max(granted, min(goes_to, granted + most))
        answered = chance.randint(0, granted - settled) if granted > settled else 0
        settled += answered
        spent += sum(chance.randint(1, parts) * cost for _ in range(answered))
        assert spent + (granted - settled) * parts * cost <= budget + 1e-6
    assert affordable(budget, spent, granted, settled, 0.0) > granted


def test_th_2_forecast_is_bound_by_the_narrowest() -> None:
    assert forecast(RatePlan(), [Way(1000, 100.0, 0)], 50.0) == Forecast(60.0, 0)
    assert forecast(RatePlan(), [Way(1000, 100.0, 500), Way(200, 10.0, 0)], 0.0) == Forecast(20.0, 0)
    assert forecast(RatePlan(per_s=10.0), [Way(1000, 100.0, 0)], 0.0) == Forecast(100.0, 0)
    assert forecast(RatePlan(over_s=3600), [Way(1000, 100.0, 0)], 0.0) == Forecast(3600.0, 0)
    assert forecast(RatePlan(ramp=(0.1, 1.0), hold_s=60), [Way(100, 0.0, 0)], 0.0) == Forecast(60.0, 0)
    assert forecast(RatePlan(), [Way(1000, 100.0, 0)], 0.0, most_open=0.5) == Forecast(5.0, 0)
    # By night nothing leaves.
    assert forecast(RatePlan(), [Way(1000, 100.0, 0)], 0.0, [(0.0, 4.0), (50.0, 90.0)]) == Forecast(56.0, 0)
    assert forecast(RatePlan(), [Way(1000, 100.0, 0)], 0.0, [(0.0, 4.0)]) == Forecast(None, 0)


@pytest.mark.covers("S0.16")
def test_th_2_shortfall_is_who_is_not_reached_before_the_offer_ends() -> None:
    assert forecast(RatePlan(), [Way(1000, 100.0, 0)], 0.0, None, 10.0).shortfall == 0
    assert forecast(RatePlan(), [Way(1000, 100.0, 0)], 0.0, None, 4.0).shortfall == 600
    assert forecast(RatePlan(), [Way(1000, 100.0, 300)], 0.0, None, 4.0).shortfall == 900
    assert forecast(RatePlan(per_s=50.0), [Way(1000, 100.0, 0)], 0.0, None, 4.0).shortfall == 800
    assert forecast(RatePlan(over_s=100), [Way(1000, 0.0, 0)], 0.0, None, 50.0).shortfall == 500
    assert forecast(RatePlan(), [Way(1000, 100.0, 0)], 0.0, [(6.0, 90.0)], 10.0).shortfall == 600
    assert forecast(RatePlan(ramp=(0.1, 1.0), hold_s=9), [Way(1000, 100.0, 0)], 0.0, None, 8.0).shortfall == 1000


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.floats(0.5, 100), st.integers(0, 100)), min_size=1, max_size=3),
    st.floats(1, 300),
)
def test_th_2_there_is_a_shortfall_exactly_when_it_ends_too_late(ways: Any, expires: float) -> None:
    found = forecast(RatePlan(), [Way(*way) for way in ways], 0.0, None, expires)
    assert found.ends_at is not None
    if found.ends_at <= expires:
        assert found.shortfall == 0
    elif found.ends_at > expires + 1 and sum(way[0] for way in ways):
        assert found.shortfall >= 0
    total = sum(way[0] for way in ways)
    assert found.shortfall <= total


def test_threshold_is_written_as_it_is_read() -> None:
    threshold = Threshold(kind="failure", share=0.2, least=50)
    assert read_threshold(threshold.words) == threshold


def test_th_1_each_country_goes_at_the_rate_of_what_is_open_there() -> None:
    plan = RatePlan(over_s=100)
    spans: dict[str, Any] = {"GB": [(0.0, 50.0)], "DE": [(60.0, 90.0)], "FR": None}

    def rate(now: float, **waiting: int) -> float:
        return per_s_by_country(plan, 1000, sum(waiting.values()), waiting, now, 100.0, spans.__getitem__)

    assert rate(0.0, GB=500) == pytest.approx(10.0)
    assert rate(0.0, GB=500, DE=500) == pytest.approx(10.0)
    assert rate(60.0, DE=300) == pytest.approx(10.0)
    assert rate(0.0, GB=500, FR=500) == pytest.approx(15.0)
    # Where it is shut everywhere the gate holds what is granted.
    assert rate(55.0, DE=500) == pytest.approx(10.0)
    assert per_s_by_country(RatePlan(per_s=7.0), 9, 9, {"GB": 9}, 0.0, None, spans.__getitem__) == 7.0


def test_th_1_what_is_open_in_a_country_is_by_its_own_clock() -> None:
    gate = Gate(windows={"campaign": "09:00-20:00", "shop": "10:00-18:00"}, zones={"shop": "Europe/London"})
    begin = datetime(2026, 3, 2, tzinfo=UTC).timestamp()

    def hours(country: str) -> list[tuple[float, float]]:
        found = spans_in(gate, MessageClass.BULK, country, begin, begin + 86_400)
        return [((first - begin) / 3600, (last - begin) / 3600) for first, last in found]

    assert hours("GB") == [(10.0, 18.0)]
    # 09:00 to 20:00 in Tokyo are midnight to 11:00 in London.
    assert hours("JP") == [(10.0, 11.0)]


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_th_4_clicks_stay_under_what_the_site_bears_whatever_share_was_stated(share: float) -> None:
    """That share is opened, one after 60 s on average; a tenth was stated, 600 a minute are borne."""
    plan, chance = RatePlan(clicks_per_min=600), random.Random(1)
    sent = carry = 0.0
    due: list[float] = []
    minutes: list[int] = []
    last_minute = clicks = 0
    for second in range(1800):
        carry += per_s_of_clicks(plan, int(sent), clicks, last_minute)
        leaving, carry = int(carry), carry % 1
        for _ in range(leaving):
            sent += 1
            if chance.random() < share:
                heapq.heappush(due, second + chance.expovariate(1 / 60))
        while due and due[0] <= second:
            minutes.append(int(heapq.heappop(due)))
            clicks += 1
        last_minute = sum(at > second - 60 for at in minutes[-1200:])
    by_minute = Counter(at // 60 for at in minutes)
    assert max(by_minute[minute] for minute in range(5, 30)) <= 600 * 1.15
    assert sum(by_minute[minute] for minute in range(10, 30)) >= 600 * 20 * 0.8


def test_th_4_slower_of_two_rates_decides_and_the_forecast_knows_it() -> None:
    assert (slower(0.0, 5.0), slower(5.0, 0.0), slower(5.0, 3.0), slower(0.0, 0.0)) == (5.0, 5.0, 3.0, 0.0)
    assert per_s_of_clicks(RatePlan(per_s=9.0)) == 0.0
    plan = RatePlan(clicks_per_min=60, click_share=0.5)
    assert per_s_of_clicks(plan) == 2.0 and not plan.is_asap
    assert forecast(plan, [Way(100, 0.0, 0)], 0.0) == Forecast(50.0, 0)
    assert forecast(plan, [Way(100, 0.0, 0)], 0.0, None, 20.0).shortfall == 60
    assert forecast(msgspec.structs.replace(plan, over_s=200), [Way(100, 0.0, 0)], 0.0, None, 20.0).shortfall == 90
    # Nobody opens anything, and a minute that brought three times as many.
    assert per_s_of_clicks(plan, 900, 0, 0) == pytest.approx(20.0)
    assert per_s_of_clicks(plan, 0, 0, 180) == pytest.approx(2.0 / 3)
