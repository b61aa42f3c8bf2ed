"""Brands: what is refused at the start, and the gate that follows from one."""

from typing import Any

import msgspec
import pytest

from gateway.brand import CAPS, BrandSettings, gate_of_brand, problems_of, staff_of, with_footer
from gateway.config import decode
from gateway.message import MessageClass
from gateway.routing import Problem


def judged(**values: Any) -> list[Problem]:
    problems: list[Problem] = []
    decode({"brands": {"acme": values}}, "", problems)
    return problems


@pytest.mark.covers("S1.29", "S4.40")
def test_a_brand_has_the_caps_of_CP_1_unless_it_says_others() -> None:
    gate = gate_of_brand("acme", BrandSettings(), MessageClass.BULK)
    assert [cap.words for cap in gate.caps] == ["1 per day", "4 per 7d", "1 per 7d tagged exclusive"]
    assert (gate.gap_s, gate.on_cap, gate.outside, len(CAPS)) == (600, "skip", "hold", 3)
    assert gate_of_brand("acme", BrandSettings(caps=()), MessageClass.BULK).caps == ()


@pytest.mark.parametrize(
    ("class_", "needs"),
    [
        (MessageClass.OTP, "none"),
        (MessageClass.CONVERSATION, "none"),
        (MessageClass.TRANSACTIONAL, "transactional"),
        (MessageClass.TRIGGERED, "promotional"),
        (MessageClass.BULK, "promotional"),
    ],
)
def test_the_class_says_which_consent_is_needed_CN_2(class_: MessageClass, needs: str) -> None:
    assert gate_of_brand("acme", BrandSettings(), class_).needs == needs


def test_windows_are_by_the_clock_of_the_recipient_or_of_the_house_QH_1() -> None:
    brand = BrandSettings(
        windows={"shop": "09:00-18:00", "phones": "10:00-17:00"}, own_clock=("phones",), zone="Asia/Tokyo"
    )
    gate = gate_of_brand("acme", brand, MessageClass.BULK, programme="club", tags=["exclusive", "exclusive"])
    assert (gate.windows, gate.zones) == (brand.windows, {"phones": "Asia/Tokyo"})
    assert (gate.consent_of, gate.tags, gate.days_zone) == ("acme/club", ("exclusive",), "Asia/Tokyo")


@pytest.mark.parametrize(
    ("values", "key", "expected"),
    [
        ({"zone": "Mars/Base"}, "brands.acme.zone", "a zone such as Europe/London"),
        ({"country": "XX"}, "brands.acme.country", "a country of two letters"),
        ({"windows": {"shop": "09:00-09:00"}}, "brands.acme.windows.shop", "a span such as 09:00-20:00"),
        ({"windows": {"a": "09:00-10:00", "b": "11:00-12:00"}}, "brands.acme.windows", "open together"),
        ({"windows": {"phones": "always"}, "own_clock": ["phone"]}, "brands.acme.own_clock", "did you mean 'phones'"),
        ({"caps": ["often"]}, "brands.acme.caps[0]", "a cap such as"),
        ({"caps": ["1 per 3y"]}, "brands.acme.caps[0].per", "day, week, month or a length"),
        ({"caps": 3}, "brands.acme.caps", "a list"),
        ({"on_cap": "wait"}, "brands.acme.on_cap", "one of 'skip', 'defer'"),
        ({"gap": 5}, "brands.acme.gap", "did you mean 'gap_s'"),
        ({"programmes": ["no/slash"]}, "brands.acme.programmes", "a list"),
    ],
)
def test_what_is_wrong_with_a_brand_is_refused_at_the_start_by_its_key(
    values: dict[str, Any], key: str, expected: str
) -> None:
    found = judged(**values)
    assert [one[0] for one in found] == [key] and expected in found[0][1]


def test_every_problem_of_a_brand_is_told_at_once_and_a_good_one_has_none() -> None:
    assert len(judged(zone="x", country="y", caps=["z"], gap_s=-1)) == 4
    assert judged(zone="Europe/London", country="GB", windows={"shop": {"mon-sat": ["09:00-19:00"]}}) == []


@pytest.mark.covers("S4.33")
def test_promotional_texts_end_with_the_footer_once() -> None:
    brand = BrandSettings(footer="STOP to 12345")
    assert with_footer("Sale!", brand, MessageClass.BULK) == "Sale!\nSTOP to 12345"
    assert with_footer("Sale! STOP to 12345", brand, MessageClass.BULK) == "Sale! STOP to 12345"
    assert with_footer("Your order is here", brand, MessageClass.TRANSACTIONAL) == "Your order is here"


@pytest.mark.parametrize("word", ["", "{{ name }}", "two\nlines", "x" * 61])
def test_word_of_a_label_that_could_be_a_field_of_the_text_is_refused(word: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"label": {"optout_080": word}}, BrandSettings)


def test_country_that_is_none_is_no_international_one() -> None:
    found = problems_of("brands.acme", BrandSettings(international=("IN", "India")))
    assert [(key, what) for key, _, what in found] == [("brands.acme.international", "'India'")]


def test_brand_may_ask_for_all_hours_that_the_law_allows() -> None:
    assert gate_of_brand("acme", BrandSettings(to_hard_limit=True), MessageClass.BULK).to_hard_limit
    assert not gate_of_brand("acme", BrandSettings(), MessageClass.BULK).to_hard_limit


def test_people_of_ours_are_found_by_their_lists_or_their_numbers_S1_6() -> None:
    brand = BrandSettings(staff={"kitchen": ("+447700900111",), "all": ("+447700900112", "+447700900111")})
    assert staff_of(brand, ()) == ([447700900111, 447700900112], [])
    assert staff_of(brand, ("+447700900112", "kitchen")) == ([447700900112, 447700900111], [])
    assert staff_of(brand, ("+447700900113", "bar")) == ([], ["+447700900113", "bar"])
    assert [key for key, _, _ in judged(staff={"kitchen": ["07700 900111"]})] == ["brands.acme.staff.kitchen"]
