"""What a run asks, made into numbers: consent by class, windows by zone, caps by law."""

from datetime import UTC, datetime, timedelta

import pytest

from _fastpath.batch import Batch
from _fastpath.gate import Questions, Zones
from gateway.campaign.admission import RunRules, micros, moment_of, place_sets, sender_key
from gateway.gate import Cap, Gate
from gateway.message import MessageClass
from tests.fastpath.test_gate import consent_rows, contact, contact_rows

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
LONDON, NEW_YORK, MIAMI, SEOUL = 447700900001, 12125550100, 13055550100, 821012345678


def rules_of(gate: Gate, class_: MessageClass = MessageClass.BULK, **how: object) -> RunRules:
    values = {"run": 1, "priority": 0, "sender": "ACME", "brand_id": 1, "tags": {}} | how
    return RunRules(gate, class_=class_, places=place_sets(), **values)


def asked(rules: RunRules, numbers, now=NOON, consent=None, contacts=(), zone_names=None, expires_at=None):
    """(verdict, moment of a hold) by number."""
    places = place_sets()
    questions = Questions([Batch.of(1, list(numbers))], Zones(places.starts, places.ids))
    questions.read_consent(consent_rows(consent or {}))
    questions.read_contacts(contact_rows(*contacts))
    questions.judge(rules.rules(now, expires_at), rules.windows(now, questions.keys(), zone_names or {}))
    found = {number: questions.verdict(number) for number in numbers}
    return {number: (verdict, moment_of(us) if verdict == 1 else None) for number, (verdict, us) in found.items()}


def test_each_number_is_judged_by_its_own_clock_QH_3():
    found = asked(rules_of(Gate(needs="none", spread_s=0)), [LONDON, NEW_YORK])
    assert found[LONDON] == (0, None)
    assert found[NEW_YORK] == (1, datetime(2026, 3, 2, 14, tzinfo=UTC))


def test_a_stated_zone_is_believed_before_the_number_QH_3():
    consent = {NEW_YORK: (2, 5)}
    found = asked(rules_of(Gate(spread_s=0)), [NEW_YORK], consent=consent, zone_names={5: "Europe/Berlin"})
    assert found[NEW_YORK][0] == 0
    # A name that is no zone changes nothing.
    found = asked(rules_of(Gate(spread_s=0)), [NEW_YORK], consent=consent, zone_names={5: "Mars/Olympus"})
    assert found[NEW_YORK][0] == 1


def test_a_window_of_the_brand_by_its_own_clock_narrows_the_law_QH_1():
    gate = Gate(needs="none", spread_s=0, windows={"brand": "13:00-15:00"}, zones={"brand": "Europe/Madrid"})
    assert asked(rules_of(gate), [LONDON])[LONDON][0] == 0
    late = asked(rules_of(gate), [LONDON], now=NOON + timedelta(hours=2))[LONDON]
    assert late == (1, datetime(2026, 3, 3, 12, tzinfo=UTC))


def test_who_has_granted_the_night_is_written_to_in_korea_by_night():
    night = datetime(2026, 3, 2, 13, tzinfo=UTC)  # 22:00 in Seoul
    for state, verdict in ((0b100010, 0), (0b000010, 1)):
        found = asked(rules_of(Gate(spread_s=0)), [SEOUL], now=night, consent={SEOUL: (state, 0)})
        assert found[SEOUL][0] == verdict


def test_three_texts_a_day_are_the_law_in_florida_and_nowhere_else_even_for_a_bypass_CP_7():
    afternoon = datetime(2026, 3, 2, 18, tzinfo=UTC)
    gate = Gate(needs="none", bypass="the shop burns", gap_s=0)
    for number, verdict in ((MIAMI, -50), (NEW_YORK, 0)):
        had = [contact(number, at_us=micros(afternoon) - at * 3_600_000_000, run=10 + at) for at in (1, 2, 3)]
        assert asked(rules_of(gate), [number], now=afternoon, contacts=had)[number][0] == verdict


@pytest.mark.covers("S3.26", "S4.39")
def test_a_calendar_day_is_the_recipients_CP_1():
    """23:30 UTC was yesterday in London and is today in Berlin's terms; 19:00 New York time is not midnight there."""
    gate = Gate(needs="none", caps=(Cap(limit=1, per="day"),), gap_s=0)
    had = micros(datetime(2026, 3, 1, 23, 30, tzinfo=UTC))
    contacts = [contact(LONDON, at_us=had), contact(4915112345678, at_us=had)]
    found = asked(rules_of(gate), [LONDON, 4915112345678], contacts=contacts)
    assert found[LONDON][0] == 0 and found[4915112345678][0] == -100


@pytest.mark.covers("S4.40", "S3.27")
def test_a_cap_counts_the_classes_and_tags_that_it_names_and_limits_those_classes_CP_2():
    gate = Gate(needs="none", gap_s=0, caps=(Cap(limit=1, per="7d", tags=("exclusive",)),), tags=("exclusive",))
    rules = rules_of(gate, tags={"exclusive": 3})
    had = contact(LONDON, at_us=micros(NOON) - 3_600_000_000)
    assert asked(rules, [LONDON], contacts=[had])[LONDON][0] == 0
    assert asked(rules, [LONDON], contacts=[had | {"tags": 8}])[LONDON][0] == -100
    transactional = rules_of(gate, MessageClass.TRANSACTIONAL, tags={"exclusive": 3})
    assert asked(transactional, [LONDON], contacts=[had | {"tags": 8}])[LONDON][0] == 0


def test_a_cap_that_is_waited_for_is_waited_for_until_it_has_room_CP_5():
    gate = Gate(needs="none", gap_s=0, on_cap="defer", defer_s=3 * 86400, caps=(Cap(limit=1, per="2d"),))
    had = contact(LONDON, at_us=micros(NOON) - 3_600_000_000)
    assert asked(rules_of(gate), [LONDON], contacts=[had])[LONDON] == (1, NOON + timedelta(hours=47))
    ends = NOON + timedelta(hours=40)
    assert asked(rules_of(gate), [LONDON], contacts=[had], expires_at=ends)[LONDON][0] == -100


def test_a_triggered_message_waits_a_day_at_most_and_a_bulk_one_as_long_as_its_run_QH_5():
    night = datetime(2026, 3, 7, 23, tzinfo=UTC)  # a Saturday: in France the next opening is on Monday
    french = 33612345678
    for class_, verdict in ((MessageClass.TRIGGERED, -46), (MessageClass.BULK, 1)):
        assert asked(rules_of(Gate(needs="none", spread_s=0), class_), [french], now=night)[french][0] == verdict


def test_a_window_that_cannot_be_read_is_told_with_its_place():
    with pytest.raises(ValueError, match=r"windows\.step\.mun: expected days"):
        rules_of(Gate(windows={"step": {"mun": ["09:00-12:00"]}}))


def test_a_sender_is_never_nobody():
    assert sender_key("ACME") == sender_key("ACME") != sender_key("acme") and sender_key("") > 0
