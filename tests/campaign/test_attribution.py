"""To which message an order is owed, and who has reached a goal, by hand: GL-2 to GL-5, GL-9."""

from datetime import UTC, datetime, timedelta

import pytest

from gateway.campaign.attribution import CLICK, DELIVERY, Aim, Bought, Hit, Touch, owed, reached, start_of, where_of
from gateway.errors import AudienceFault
from gateway.goal import Goal
from gateway.store import conversions

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LEAST = timedelta(microseconds=1)
ORDER = Bought(key="1", placed_at=NOW, gross=100, back=30, codes=("TEN",))


def touch(at: int, campaign: str, ago: timedelta, case: int = 0, **more: object) -> Touch:
    return Touch(at=at, campaign=campaign, case=case or at, submitted_at=NOW - ago, **more)  # type: ignore[arg-type]


def test_rules_go_from_coupon_to_click_to_reply_to_delivery_GL_4() -> None:
    sent = touch(0, "a", 30 * DAY, codes=(("TEN", None),))
    clicked = touch(1, "b", 4 * DAY, clicks=(NOW - 4 * DAY,))
    replied = touch(2, "c", DAY, replies=(NOW - DAY,))
    arrived = touch(3, "d", DAY / 4, delivered_at=NOW - DAY / 4)
    every = [sent, clicked, replied, arrived]
    for left, rule in ((0, "coupon"), (1, "click"), (2, "reply"), (3, "delivery")):
        found = owed(ORDER, every[left:])
        assert found is not None and (found.touch, found.rule) == (left, rule)
        assert found.influenced == tuple("abcd"[left:]), "all had a part, one is owed"
    assert owed(ORDER, []) is None and ORDER.net == 70


def test_the_latest_wins_within_a_rule_and_windows_look_back_to_less_than_their_length() -> None:
    first, second = touch(0, "a", 3 * DAY, clicks=(NOW - LEAST,)), touch(1, "b", 2 * DAY, clicks=(NOW - DAY,))
    found = owed(ORDER, [first, second])
    assert found is not None and found.campaign == "a", "the click is what counts, and not the sending"
    assert owed(ORDER, [touch(0, "a", 9 * DAY, clicks=(NOW - CLICK,))]) is None
    assert owed(ORDER, [touch(0, "a", 9 * DAY, clicks=(NOW - CLICK + LEAST,))]) is not None
    assert owed(ORDER, [touch(0, "a", 9 * DAY, clicks=(NOW + LEAST,))]) is None
    assert owed(ORDER, [touch(0, "a", DAY, delivered_at=NOW - DELIVERY)]) is None


def test_a_code_counts_outside_of_windows_until_it_expires_GL_4() -> None:
    assert owed(ORDER, [touch(0, "a", 80 * DAY, codes=(("TEN", NOW),))]) is not None
    assert owed(ORDER, [touch(0, "a", 80 * DAY, codes=(("TEN", NOW - LEAST),))]) is None
    assert owed(ORDER, [touch(0, "a", 80 * DAY, codes=(("OTHER", None),))]) is None


def test_a_case_converts_once_and_repeats_are_counted_GL_3() -> None:
    aim = Aim(campaign="a", place=1, within=3 * DAY)
    touches = [
        touch(0, "a", 2 * DAY, case=5),
        touch(1, "a", DAY, case=5),
        touch(2, "a", DAY, case=6),
        touch(3, "b", DAY),
    ]
    hits = [Hit(at=NOW - DAY * 1.5), Hit(at=NOW), Hit(at=NOW + 9 * DAY)]
    found = reached(aim, touches, hits)
    assert [(one.case, one.touch, one.at, one.hits) for one in found] == [(5, 0, NOW - DAY * 1.5, 2), (6, 2, NOW, 1)]


def test_a_window_begins_with_its_start_and_ends_before_its_end_GL_9() -> None:
    aim = Aim(campaign="a", place=1, within=DAY)
    sent = touch(0, "a", DAY)
    assert [len(reached(aim, [sent], [Hit(at=at)])) for at in (NOW - DAY - LEAST, NOW - DAY, NOW - LEAST, NOW)] == [
        0,
        1,
        1,
        0,
    ]


def test_a_window_starts_with_the_message_its_first_click_or_the_entering_GL_2() -> None:
    sent = touch(0, "a", DAY, clicks=(NOW, NOW - DAY / 2), entered_at=NOW - 2 * DAY)
    starts = [
        start_of(Aim(campaign="a", place=1, within=DAY, starts=one), sent)
        for one in ("submitted", "clicked", "entered")
    ]  # type: ignore[arg-type]
    assert starts == [NOW - DAY, NOW - DAY / 2, NOW - 2 * DAY]
    assert start_of(Aim(campaign="a", place=1, within=DAY, starts="clicked"), touch(0, "a", DAY)) is None


def test_conditions_on_events_are_in_the_language_of_audiences() -> None:
    assert where_of(Goal(event="order_placed")) is None
    assert where_of(Goal(event='odd "name"', where="total > 50 and city = 'Wien'")) is not None
    with pytest.raises(AudienceFault, match="expected"):
        where_of(Goal(event="order_placed", where="total >"))


def test_statements_reckon_with_the_same_lengths() -> None:
    from gateway.campaign import attribution

    assert (conversions.CLICK, conversions.REPLY) == (attribution.CLICK, attribution.REPLY)
    assert (conversions.DELIVERY, conversions.ANSWER) == (attribution.DELIVERY, attribution.ANSWER)
