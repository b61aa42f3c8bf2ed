"""The ten rules of the adaptive throttle, each fed with the signals it is about; then all of them in virtual time."""

from typing import Any

import pytest

from benchmarks import carriers
from gateway.config import CarrierSettings
from gateway.smpp.pace import Decision, Pace, Signals

LOOK_S = 0.05


class Account:
    """A pace, its clock, and the decisions so far; what is not said is as in a second of clean, rate-bound sending."""

    def __init__(self, **settings: Any):
        self.now = 100.0
        self.pace = Pace(CarrierSettings(host="nowhere", **{"tps": 1000, "window": 200, **settings}), self.now)
        self.decisions: list[Decision] = []

    def signals(self, **given: Any) -> Signals:
        rate = self.pace.rate
        refused = given.get("throttled", 0) + given.get("temporary", 0)
        clean = {
            "sent": rate, "answered": rate, "ok": rate - refused, "p50_s": 0.05, "p99_s": 0.06, "rate_held": 1.0
        }  # fmt: skip
        return Signals(**{**clean, **given})

    def feed(self, **given: Any) -> Decision | None:
        self.now += LOOK_S
        decision = self.pace.feed(self.now, self.signals(**given))
        if decision is not None:
            self.decisions.append(decision)
        return decision

    def run(self, seconds: float, **given: Any) -> int:
        """Feed the same for a while; -> the rate then."""
        for _ in range(round(seconds / LOOK_S)):
            self.feed(**given)
        return self.pace.rate

    def climb(self, to: int) -> None:
        """Run cleanly up to a rate, and half a minute more."""
        for _ in range(400):
            if self.run(1.0) >= to:
                break
        assert self.pace.rate >= to
        self.run(30.0)


def cut(account: Account, **given: Any) -> int:
    """Refuse until the rate is cut; -> the rate then."""
    before = account.pace.rate
    for _ in range(100):
        account.feed(**given)
        if account.pace.last_cut is not None and account.pace.rate < before:
            return account.pace.rate
    raise AssertionError("it was never cut")


# -- rule 1 -----------------------------------------------------------------------------------------------------------


def test_rule_1_congestion_state_of_100_cuts_and_90_lowers_and_the_optimum_band_is_kept():
    account = Account()
    account.climb(1000)
    kept = account.run(5.0, congestion=80)
    assert kept == 1000
    lowered = account.run(3.0, congestion=92)
    assert 900 < lowered < 1000
    assert account.run(2.0, congestion=100) <= 0.85 * lowered
    assert "congestion_state 100" in account.pace.last_cut.cause


def test_rule_1_no_raise_while_the_carrier_is_in_its_optimum_band():
    account = Account()
    assert account.run(10.0, congestion=75) == 200
    assert account.run(10.0, congestion=20) == 1000


@pytest.mark.parametrize("status", ["throttled", "temporary"])
def test_quirk_16_a_limit_shown_as_throttled_or_as_a_temporary_error_lowers_the_rate(status):
    account = Account()
    account.climb(1000)
    assert cut(account, **{status: 300}) <= 0.85 * 700


def test_quirk_16_temporary_errors_that_do_not_go_with_the_rate_do_not_starve_the_account():
    account = Account()
    account.climb(1000)
    cut(account, temporary=300)
    after = account.pace.rate
    assert account.run(20.0, temporary=after // 3) == after


# -- rule 2 -----------------------------------------------------------------------------------------------------------


def test_rule_2_starts_at_a_fifth_and_grows_by_half_in_each_clean_second_up_to_the_limit():
    account = Account()
    rates = [account.pace.rate]
    for _ in range(12):
        rates.append(account.run(1.0))
    grown = sorted(set(rates))
    assert grown[0] == 200 and grown[-1] == 1000
    assert all(later <= 1.5 * earlier + 1 for earlier, later in zip(grown, grown[1:], strict=False))
    assert rates[3] < 1000 <= rates[6]


@pytest.mark.parametrize("why", [{"rate_held": 0.0, "sent": 20}, {"window_full": 1.0, "sent": 100, "rate_held": 0.0}])
def test_rule_2_never_raises_when_queue_or_window_is_what_bounds(why):
    account = Account()
    assert account.run(20.0, **why) == 200


def test_rule_2_an_account_without_a_limit_starts_low_and_goes_on_growing():
    account = Account(tps=0, adaptive=True)
    assert account.pace.rate == 20
    assert account.run(20.0) > 5000


# -- rule 3 -----------------------------------------------------------------------------------------------------------


def test_rule_3_throttled_answers_cut_to_085_of_what_was_accepted_and_hold():
    account = Account()
    account.climb(1000)
    after = cut(account, throttled=400, ok=600)
    assert after == 510 and account.pace.ceiling == 600
    decision = account.decisions[-1]
    assert decision.hold_until == pytest.approx(account.now + 2.0)
    assert account.run(1.9) == 510
    assert account.run(20.0) >= 0.97 * 600


def test_rule_3_one_event_alone_changes_nothing():
    account = Account()
    account.climb(1000)
    assert account.run(1.0, throttled=1) == 1000 and account.pace.last_cut is None


def test_rule_3_events_below_a_hundredth_of_the_answers_cut_nothing():
    account = Account()
    account.climb(1000)
    account.run(3.0, throttled=9)
    assert account.pace.rate == 1000


def test_rule_3_a_cut_that_did_not_help_is_halved_and_never_ends_at_nothing():
    account = Account()
    account.climb(1000)
    first = cut(account, throttled=500, ok=500)
    second = cut(account, throttled=first // 2, ok=first - first // 2)
    assert second <= first // 2
    assert account.run(120.0, throttled=5, ok=0, answered=5) == 1


def test_rule_3_above_the_ceiling_goes_only_a_probe_after_half_a_minute_and_after_a_failure_a_minute():
    account = Account(pacing="bucket")
    account.climb(1000)
    cut(account, throttled=400, ok=600)
    # The search behind a cut ends at a rate that is refused.
    found = None
    for _ in range(1200):
        rate = account.pace.rate
        account.feed(**({"throttled": 20, "ok": rate - 20} if rate > 610 else {}))
        if not account.pace._is_searching:
            found = account.now
            break
    assert found is not None and 580 <= account.pace.rate <= 610
    settled = account.pace.rate
    waited = account.pace._probe_at
    while account.now < waited - 0.1:
        account.feed()
        assert account.pace.rate == settled
    assert waited - found >= 29.0
    while account.pace.rate == settled:
        account.feed()
    assert account.pace.rate <= 1.03 * settled
    while account.pace.rate <= 610:
        account.feed()
    account.run(0.2, throttled=20, ok=590)
    assert account.pace.rate < 610 and account.pace._probe_at - account.now > 50.0


def test_rule_3_refusals_that_are_as_many_at_the_lower_rate_are_borne_and_the_rate_comes_back():
    account = Account()
    account.climb(1000)
    cut(account, throttled=20, ok=980)
    for _ in range(400):
        few = max(1, account.pace.rate // 50)
        account.feed(throttled=few)
    assert account.pace.rate == 1000
    said = account.pace.reasons(account.now)
    assert any("refuse for speed at lower rates too" in reason for reason in said), said


def test_rule_3_single_refusals_that_do_not_cease_on_the_way_down_are_borne():
    account = Account(pacing="bucket")
    account.climb(1000)
    lowest = 1000
    for number in range(20 * 300):
        account.feed(throttled=int(number % 40 < 20))
        lowest = min(lowest, account.pace.rate)
    assert lowest < 950 and account.pace.rate == 1000


def test_rule_3_refusals_beyond_those_of_a_lower_rate_cut_as_ever():
    account = Account()
    account.climb(1000)
    cut(account, throttled=20, ok=980)
    for _ in range(400):
        account.feed(throttled=account.pace.rate // 50)
    assert cut(account, throttled=320, ok=680) <= 0.85 * 680


# -- rule 4 -----------------------------------------------------------------------------------------------------------


def test_rule_4_refused_segments_wait_for_the_end_of_the_hold():
    account = Account(throttle_hold_s=7.0)
    account.climb(1000)
    cut(account, throttled=300)
    assert account.decisions[-1].hold_until == pytest.approx(account.now + 7.0)


def test_rule_4_silence_where_the_carrier_demands_it():
    account = Account(throttle_hold_s=60.0, throttle_silence=True)
    account.climb(1000)
    cut(account, throttled=300)
    assert account.decisions[-1].silence_until == pytest.approx(account.now + 60.0)
    assert any("silent for 60 s more" in reason for reason in account.pace.reasons(account.now))


# -- rule 6 -----------------------------------------------------------------------------------------------------------


def test_rule_6_slow_answers_without_an_error_hold_the_rate_and_shrink_the_window_to_what_is_needed():
    account = Account(window=200)
    account.climb(1000)
    slow = {"sent": 500, "answered": 500, "p50_s": 0.4, "p99_s": 0.4, "window_full": 1.0, "rate_held": 0.0}
    account.run(40.0, is_full=True, **slow)
    assert account.pace.rate == 1000 and account.pace.is_soft
    assert account.pace.window == pytest.approx(500 * 0.05 * 1.3, abs=1)
    sizes = [decision.window for decision in account.decisions if decision.window < 200]
    assert all(later >= 0.79 * earlier for earlier, later in zip(sizes, sizes[1:], strict=False))


def test_rule_6_a_way_that_is_longer_is_not_taken_for_a_limiter():
    account = Account(window=200)
    account.climb(1000)
    for _ in range(600):
        served = account.pace.window / 0.4
        bound = served < account.pace.rate
        account.feed(
            sent=int(min(served, 1000)), answered=int(min(served, 1000)), ok=int(min(served, 1000)), p50_s=0.4,
            p99_s=0.4, window_full=float(bound), rate_held=float(not bound), is_full=bound,
        )  # fmt: skip
    assert not account.pace.is_soft and account.pace.window == 200


# -- rule 7 -----------------------------------------------------------------------------------------------------------


def test_rule_7_timeouts_halve_the_window_and_ask_the_link():
    account = Account()
    account.climb(1000)
    before = account.pace.window
    decision = account.feed(timeouts=3)
    assert decision.asks_link and decision.window == before // 2
    assert account.feed() is None


# -- rule 8 -----------------------------------------------------------------------------------------------------------


def test_rule_8_a_reconnect_begins_with_a_slow_start_and_keeps_the_ceiling():
    account = Account()
    account.climb(1000)
    cut(account, throttled=400, ok=600)
    account.run(10.0)
    assert account.pace.restart(account.now).rate_per_s == 200
    assert account.run(1.5) <= 301
    assert 582 <= account.run(10.0) <= 600


# -- rule 9 -----------------------------------------------------------------------------------------------------------


def test_rule_9_refused_while_few_were_sent_switches_to_gap_pacing_and_cuts_nothing():
    account = Account()
    account.climb(1000)
    decision = account.feed(sent=30, answered=30, ok=28, throttled=2, rate_held=0.1)
    assert decision.pacing == "gap" and account.pace.rate == 1000 and account.pace.last_cut is None
    account.run(10.0)
    assert account.pace.pacing == "gap"


def test_rule_9_a_carrier_that_counts_is_told_by_even_pacing_not_helping():
    account = Account()
    account.climb(1000)
    cut(account, throttled=400, ok=600)
    assert account.pace.pacing == "bucket" and account.pace.ceiling == 600


@pytest.mark.parametrize("pacing", ["bucket", "gap"])
def test_rule_9_pacing_that_is_set_stays(pacing):
    account = Account(pacing=pacing)
    account.climb(1000)
    account.run(1.0, sent=30, answered=30, ok=28, throttled=2)
    assert account.pace.pacing == pacing


def test_rule_9_even_pacing_that_does_not_help_is_given_up():
    account = Account()
    account.climb(1000)
    account.feed(sent=700, answered=700, ok=699, throttled=1, rate_held=0.1)
    assert account.pace.pacing == "gap"
    for number in range(20 * 300):
        account.feed(throttled=int(number % 40 < 20))
        if account.pace.pacing == "bucket":
            return
    raise AssertionError("it goes on pacing evenly")


# -- rule 10 ----------------------------------------------------------------------------------------------------------


def test_rule_10_reasons_give_rate_ceiling_last_cut_with_its_cause_and_what_would_raise_it():
    account = Account()
    assert "rate 200/s (slow start)" in account.pace.reasons(account.now)[0]
    account.climb(1000)
    assert "only a higher tps would raise it" in account.pace.reasons(account.now)
    cut(account, throttled=400, ok=600)
    account.run(1.0)
    said = account.pace.reasons(account.now)
    assert said[0].startswith("rate 510/s (cut)")
    assert said[1].startswith("ceiling 600/s")
    assert said[2] == "cut from 1000/s to 510/s 1 s ago: 400 of 1000 answers in a second were refused for speed"
    assert said[3].startswith("held for 1.0 s more")


# -- an operator's hand -----------------------------------------------------------------------------------------------


def test_lower_limit_of_an_operator_holds_at_once_and_a_higher_one_is_searched_for():
    account = Account()
    account.climb(1000)
    assert account.pace.change(400, 50, account.now).rate_per_s == 400 and account.pace.window <= 50
    assert account.run(10.0) == 400
    account.pace.change(800, 100, account.now)
    assert account.pace.rate == 400
    assert account.run(60.0) == 800


def test_whoever_had_a_share_of_nothing_begins_with_the_start_of_what_it_gets():
    """A worker that takes over from a dead one; of a carrier that has refused before, it goes by what it knows."""
    account = Account()
    for _ in range(2):
        account.pace.change(1, 100, account.now)
        account.run(3.0)
        assert account.pace.change(1000, 100, account.now).rate_per_s == 200
        assert account.pace.reasons(account.now)[0] == "rate 200/s (slow start), pacing by bucket, window 10 a bind"
    account.climb(1000)
    cut(account, throttled=400, ok=600)
    account.pace.change(1, 100, account.now)
    assert account.pace.change(1000, 100, account.now).rate_per_s == 1


# -- all of it, in virtual time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", carriers.MODELS)
def test_hidden_limit_is_found_kept_and_followed_in_virtual_time(model):
    found = carriers.hidden_limit(model, 50.0, quick=True)
    assert min(found["steady"]) >= 0.95 and found["throttled_steady"] <= 0.005, found
    assert found["down_s"] <= 15.0 and found["up_s"] <= 90.0 and found["longest_gap_s"] <= 2.0, found
    assert (found["lost"], found["sent_twice"], found["uncertain"]) == (0, 0, 0)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("tps", "share"), [(1000, 0.01), (200, 0.002), (200, 0.01), (200, 0.05), (50, 0.01)])
def test_refusals_by_chance_leave_95_hundredths_of_the_ceiling_or_90_of_a_low_one(tps, share, seed):
    found = carriers.by_chance(tps, share, seed)
    assert found["sent"][0] >= (0.95 if tps >= 200 else 0.9), found
    assert found["refused"][0] == pytest.approx(share, abs=0.01), "the refusals that were ordered came"


@pytest.mark.parametrize("model", ["sliding", "second"])
def test_hard_limit_at_60_hundredths_is_used_followed_to_its_half_and_left_when_it_is_lifted(model):
    found = carriers.by_chance(1000, 0.0, 1, model, 600)
    assert min(found["sent"]) >= 0.95 and max(found["refused"]) <= 0.005 and found["up_s"] <= 60.0, found


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("model", ["sliding", "second"])
def test_hard_limit_is_found_and_followed_among_refusals_by_chance(model, seed):
    found = carriers.by_chance(1000, 0.01, seed, model, 600)
    assert min(found["sent"]) >= 0.9 and max(found["refused"]) <= 0.02 and found["up_s"] <= 120.0, found


@pytest.mark.parametrize("seed", [1, 3])
def test_few_refusals_by_chance_do_not_rule_even_pacing_out_for_a_carrier_that_measures_gaps(seed):
    """It is tried again a minute later; at first it got half of what the carrier takes."""
    settings = CarrierSettings(host="nowhere", tps=500, window=200, binds=2)
    course = carriers.Course(
        settings, model="gap", tps=500, rtt_ms=50.0, errors=((carriers.RTHROTTLED, 0.01),), seed=seed
    )
    course.run(240.0)
    accepted, throttled, _ = course.between(120.0, 240.0)
    assert accepted >= 0.9 * 500 and throttled <= 0.02


def test_window_follows_a_response_time_that_grows_twentyfold_and_the_rate_stays():
    """Case 18 of the write protocol."""
    found = carriers.far(quick=True)
    assert found["window_near"] < 50 and found["window_far"] >= 100
    assert found["rate_near"] >= 475 and found["rate_far"] >= 475


def test_known_limit_is_used_and_kept_in_every_second_while_one_of_four_binds_dies():
    found = carriers.known_limit()
    assert min(found["used"]) >= 0.99 and found["fullest_second"] <= 100 and found["throttled"] == 0
