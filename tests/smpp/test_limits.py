"""The tree of limits of an account: who hangs under which, and what outlives a process."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.config import CarrierSettings, LimitSettings
from gateway.countries import code_of
from gateway.smpp.limits import Limits, Spent


def limits_of(**settings) -> Limits:
    return Limits(CarrierSettings(host="nowhere", **settings))


def names(limits) -> list[str]:
    return [limit.name for limit in limits]


def test_account_of_a_rate_alone_hangs_under_its_throttle_and_nothing_else():
    assert limits_of(tps=100).of_bind("acme#1", "a:2775") == ()
    assert limits_of(tps=100).of_batch("Sluice", "spring", 0) == ()


def test_bind_hangs_under_itself_its_host_and_its_account_the_smallest_first():
    limits = limits_of(bind_tps=10, host_tps=25, per_minute=1000)
    first, second = limits.of_bind("acme#1", "a:2775"), limits.of_bind("acme#2", "a:2775")
    assert names(first) == ["bind acme#1", "host a:2775", "account"]
    assert first[1:] == second[1:] and first[0] is not second[0]
    assert limits.of_bind("acme#1", "b:2775")[1].name == "host b:2775"


def test_session_that_comes_back_hangs_under_what_its_bind_has_spent():
    limits = limits_of(bind_tps=10)
    [before], [after] = limits.of_bind("acme#1", "a:2775"), limits.of_bind("acme#1", "a:2775")
    assert before is after


def test_messages_a_second_are_counted_by_the_account_in_place_of_the_throttle():
    [account] = limits_of(tps=30, tps_unit="message").of_bind("acme#1", "a:2775")
    assert (account.per_s, account.per_message) == (30, True)


def test_chunk_hangs_under_its_sender_its_campaign_and_its_country():
    limits = limits_of(
        sender_limits={"Sluice": LimitSettings(per_day=2000)},
        campaign_limits={"*": LimitSettings(tps=5, unit="message")},
        country_limits={"DE": LimitSettings(per_minute=60)},
    )
    found = limits.of_batch("Sluice", "spring", code_of("DE"))
    assert names(found) == ["sender Sluice", "campaign spring", "country DE"]
    assert found == limits.of_batch("Sluice", "spring", code_of("DE"))
    assert names(limits.of_batch("Other", "autumn", code_of("FR"))) == ["campaign autumn"]
    assert names(limits.of_batch("Other", "autumn", 0)) == ["campaign autumn"]


def test_what_left_before_the_process_began_counts_by_its_unit():
    limits = limits_of(
        per_day=100,
        sender_limits={"Sluice": LimitSettings(per_minute=50)},
        campaign_limits={"spring": LimitSettings(per_day=50, unit="message")},
    )
    assert limits.has_spans
    limits.recall([Spent(sender="Sluice", campaign="spring", country=0, at=990.0, pdus=30, messages=10)])
    assert limits.used(1000.0) == {"account": (0, 30), "sender Sluice": (30, 0), "campaign spring": (0, 10)}


@pytest.mark.parametrize("settings", [{}, {"tps": 5}, {"sender_limits": {"*": LimitSettings(tps=1)}}])
def test_rates_alone_need_no_memory_of_before(settings):
    assert not limits_of(**settings).has_spans


def test_day_of_the_calendar_ends_at_midnight_of_its_zone():
    limits = limits_of(per_day=10, day_zone="US/Pacific")
    evening = datetime(2026, 3, 1, 7, 59, tzinfo=UTC)
    limits.roll(evening)
    limits.account.spend(10, 100.0)
    limits.roll(evening + timedelta(seconds=30))
    assert limits.account.allowance(130.0) == 0
    limits.roll(evening + timedelta(minutes=1))
    assert limits.account.allowance(160.0) == 10
    began = limits.day_began(evening)
    assert began is not None and began.astimezone(UTC) == datetime(2026, 2, 28, 8, tzinfo=UTC)
    assert limits_of(per_day=10).day_began(evening) is None
