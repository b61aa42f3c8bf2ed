"""What an offer may say, when its codes end, and codes that are made: each once (TP-5)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.coupon import (
    ALPHABET,
    Coupon,
    Discount,
    code_number,
    code_of,
    codes_told,
    problems_of,
    sample_of,
    span_of,
)

SENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = b"s" * 32


def wrong(**parts: Any) -> list[str]:
    return [key for key, _, _ in problems_of("coupons.x", msgspec.convert(parts, Coupon))]


@pytest.mark.covers("S1.12")
def test_tp_5_a_code_ends_48_hours_after_its_sending_and_no_later_than_the_offer() -> None:
    coupon = Coupon(kind="pool", discount=Discount(free_shipping=True), life="48h")
    assert problems_of("x", coupon) == [] and coupon.expires_at(SENT) == SENT + timedelta(hours=48)
    end = msgspec.structs.replace(coupon, until="2026-03-02T12:00:00Z")
    assert end.expires_at(SENT) == SENT + timedelta(hours=24)
    assert not end.is_over(SENT) and end.is_over(SENT + timedelta(hours=24))
    assert Coupon(kind="pool").expires_at(SENT) is None


@pytest.mark.covers("S1.14", "S1.15")
def test_a_discount_is_a_share_an_amount_above_a_minimum_or_the_carriage_and_nothing_else() -> None:
    assert Discount(percent=20).words == "20 %"
    assert Discount(fixed="10.00", currency="GBP", minimum="50.00").words == "10.00 GBP over 50.00"
    assert Discount(free_shipping=True, minimum="20", currency="EUR").words == "free shipping over 20 EUR"
    assert wrong(kind="pool", discount={"percent": 20}) == []
    assert wrong(kind="pool", discount={"fixed": "10.00", "currency": "GBP", "minimum": "50.00"}) == []
    assert wrong(kind="pool", discount={}) == ["coupons.x.discount"]
    assert wrong(kind="pool", discount={"percent": 20, "free_shipping": True}) == ["coupons.x.discount"]
    assert wrong(kind="pool", discount={"fixed": "10"}) == ["coupons.x.discount.currency"]
    assert wrong(kind="pool", discount={"fixed": "0", "currency": "GBP"}) == ["coupons.x.discount.fixed"]
    assert wrong(kind="pool", discount={"fixed": "10", "currency": "GBP", "minimum": "5"}) == [
        "coupons.x.discount.minimum"
    ]


@pytest.mark.parametrize(
    ("parts", "key"),
    [
        ({"kind": "static"}, "code"),
        ({"kind": "static", "code": "TWO WORDS"}, "code"),
        ({"kind": "static", "code": "SPRING", "life": "48h"}, "life"),
        ({"kind": "pool", "code": "SPRING"}, "code"),
        ({"kind": "pool", "prefix": "A-"}, "prefix"),
        ({"kind": "pool", "life": "two days"}, "life"),
        ({"kind": "pool", "life": "0h"}, "life"),
        ({"kind": "pool", "until": "tomorrow"}, "until"),
        ({"kind": "pool", "until": "2026-02-29"}, "until"),
        ({"kind": "pool", "url": "http://shop.example/{code}"}, "url"),
        ({"kind": "pool", "url": "https://shop.example/"}, "url"),
        ({"kind": "pool", "url": "https://{code}.example/"}, "url"),
        ({"kind": "pool", "url": "https://["}, "url"),
        ({"kind": "generator", "alphabet": "Aa"}, "alphabet"),
        ({"kind": "generator", "alphabet": "AB-"}, "alphabet"),
        ({"kind": "generator", "length": 4}, "length"),
        ({"kind": "generator", "length": 40}, "length"),
        ({"kind": "generator", "prefix": "A B"}, "prefix"),
    ],
)
def test_an_offer_that_cannot_be_is_refused_with_its_place(parts: dict[str, Any], key: str) -> None:
    assert wrong(**parts) == [f"coupons.x.{key}"]


@pytest.mark.covers("S1.20")
def test_the_url_of_an_offer_carries_the_code_however_it_is_written() -> None:
    coupon = Coupon(kind="static", code="A/B&C", url="https://shop.example/discount/{code}?redirect=/")
    assert problems_of("x", coupon) == []
    assert coupon.url_of(coupon.code) == "https://shop.example/discount/A%2FB%26C?redirect=/"


@given(st.integers(0, 2**40), st.integers(5, 9), st.sampled_from([ALPHABET, "0123456789", "ABC"]))
def test_codes_of_neighbouring_numbers_are_all_others_and_of_the_form_that_was_asked_for(
    first: int, length: int, alphabet: str
) -> None:
    coupon = Coupon(kind="generator", alphabet=alphabet, length=length, prefix="GO-")
    some = [one % coupon.codes for one in range(first, first + min(50, coupon.codes))]
    made = [code_number(coupon, SECRET, one) for one in some]
    assert len(set(made)) == len(set(some))
    assert all(one.startswith("GO-") and len(one) == 3 + length and set(one[3:]) <= set(alphabet) for one in made)


def test_the_generator_goes_through_every_code_once() -> None:
    coupon = Coupon(kind="generator", alphabet="012", length=6)
    made = {code_number(coupon, SECRET, one) for one in range(coupon.codes)}
    assert len(made) == coupon.codes == 3**6
    assert code_number(coupon, SECRET, 1) != code_number(coupon, b"t" * 32, 1)
    with pytest.raises(ValueError, match="expected 0 to 728, found 729"):
        code_number(coupon, SECRET, 729)


def test_codes_of_an_order_are_found_however_a_shop_lists_them() -> None:
    assert codes_told({"coupon": " SPRING "}) == ["SPRING"]
    assert codes_told({"discount_codes": [{"code": "A1", "amount": "5"}, {"code": "B2"}, "A1"]}) == ["A1", "B2"]
    assert codes_told({"coupon": None, "discount_codes": [{"code": 5}, {}, "with blank", ""]}) == []
    assert codes_told({"total": 5}) == []


def test_a_code_has_no_blanks_inside_and_those_around_it_are_not_its_own() -> None:
    assert code_of(" A-1\t") == "A-1"
    assert [code_of(text) for text in ("", "A 1", "é", "A\x001", "x" * 65)] == [None] * 5


def test_a_sample_is_as_long_as_a_code_and_is_nobodys() -> None:
    assert len(sample_of(Coupon(kind="generator", length=9, prefix="GO-"), 0)) == 12
    assert len(sample_of(Coupon(kind="pool"), 14)) == 14 and sample_of(Coupon(kind="static", code="GO"), 0) == "GO"


def test_a_length_of_time_is_read_and_ten_years_are_the_longest() -> None:
    assert span_of("90min") == timedelta(minutes=90) and span_of("2w") == timedelta(days=14)
    for text in ("9999w", "48", "-1h", "1.5h", "48H"):
        with pytest.raises(ValueError, match="expected a length"):
            span_of(text)
