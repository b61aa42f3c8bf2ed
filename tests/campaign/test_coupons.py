"""The end that a text gives is that of its codes (S1.23)."""

import pytest

from gateway.campaign.coupons import deadline_problems, has_deadline, told_spans
from gateway.coupon import Coupon

DAY = Coupon(kind="pool", life="24h")
TWO_DAYS = Coupon(kind="pool", life="48h")
CHRISTMAS = Coupon(kind="static", code="XMAS", until="2026-12-25T00:00:00Z")


@pytest.mark.covers("S1.23")
def test_a_text_that_says_48_hours_of_a_code_that_lives_24_is_an_error() -> None:
    assert deadline_problems("text", "20 % off, only 48 hours: {coupon}", DAY) == [
        ("text", "the life of its codes, 24h", "'48 hours'")
    ]
    assert deadline_problems("text", "20 % off, only 48 hours: {coupon}", TWO_DAYS) == []
    assert deadline_problems("text", "20 % off, only 2 days: {coupon}", TWO_DAYS) == []
    assert len(deadline_problems("text", "48h only", Coupon(kind="pool"))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Noch 48 Stunden!", "Encore 48 heures", "Solo 48 horas", "Solo 48 ore", "48-hour sale: 48-hours", "48 uur",
        "48시간만", "48時間限定", "nur 2 Tage", "2 días", "2 giorni", "2일만", "2日間", "48h", "48 h", "48hrs.",
    ],
)  # fmt: skip
def test_s1_23_lengths_of_time_are_read_in_many_languages(text: str) -> None:
    assert told_spans(text) and deadline_problems("text", text, TWO_DAYS) == []
    assert deadline_problems("text", text, DAY) != []


@pytest.mark.parametrize(
    "text",
    ["Delivery within 3 days", "versandt in 2 Tagen", "Size 48 Hugo", "10 dresses", "v2.5 hours", "1,5 h of fun"],
)
def test_what_is_no_end_of_an_offer_is_not_taken_for_one(text: str) -> None:
    assert told_spans(text) == [] and deadline_problems("text", text, DAY) == []


@pytest.mark.covers("S1.23")
@pytest.mark.parametrize(
    ("text", "is_true"),
    [
        ("until 24.12.", True), ("bis 24.12.2026", True), ("until 12/24", True), ("until 12/24/26", True),
        ("until 2026-12-24", True), ("until 25.12.2026", True), ("until 31.12.", False), ("until 24.12.2027", False),
    ],
)  # fmt: skip
def test_a_date_in_a_text_is_the_end_of_its_offer(text: str, is_true: bool) -> None:
    assert (deadline_problems("text", text, CHRISTMAS) == []) is is_true
    # Where codes end by their own sending no date is the end of all.
    assert deadline_problems("text", text, DAY) == []


def test_s1_23_a_text_without_an_end_is_known() -> None:
    assert not has_deadline("20 % off with {coupon}")
    for text in ("48 hours", "until 24.12.", "until {{ coupon.expires | date }}"):
        assert has_deadline(text)
