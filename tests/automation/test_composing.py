"""What a step says: plain texts are left to the claim, others are rendered; every reason has its number."""

from datetime import UTC, datetime

import pytest

from gateway import document
from gateway.automation.composing import ENROLMENT_FIELD, Composer, Recipient, reason_of, text_of, told_of_code
from gateway.brand import BrandSettings
from gateway.campaign import workflow
from gateway.coupon import Coupon
from gateway.message import MessageClass, Refusal
from gateway.reasons import Reason
from gateway.store.coupons import Code, Pool


def composer(text: str, **brand: str) -> Composer:
    found, problems = document.of(
        {
            "name": "c", "brand": "acme", "message": {"text": text}, "trigger": {"on": "event", "event": "seen"},
            "links": {"shop": {"url": "https://a.example/"}},
        }
    )  # fmt: skip
    assert found is not None, problems
    plan, _ = workflow.plan_of(found)
    [(_, step)] = plan.sends()
    return Composer(plan, step, BrandSettings(**brand), MessageClass.TRIGGERED)


@pytest.mark.parametrize(
    ("text", "is_plain", "fields"),
    [
        ("Hi", True, ()),
        ("Hi {{ name }}", True, ("name",)),
        ('Hi {{ name|default("you") }}', True, ("name",)),
        ("Hi {{ name|upcase }}", False, ("text",)),
        ("Hi {{ link.shop }}", False, ("text",)),
        ("{% if vip %}Hi{% endif %}", False, ("text",)),
    ],
)
def test_text_of_fields_alone_is_left_to_the_claim(text: str, is_plain: bool, fields: tuple[str, ...]) -> None:
    made = composer(text)
    assert (made.is_plain, made.fields) == (is_plain, (*fields, ENROLMENT_FIELD))


def test_footer_stands_behind_what_is_rendered_too() -> None:
    assert composer("Hi", footer="STOP to 1").text == "Hi\nSTOP to 1"
    assert composer("{{ a|upcase }}", footer="STOP to 1").text == "{{ text }}\nSTOP to 1"


def test_recipient_is_named_by_enrolment_and_visit() -> None:
    assert Recipient(enrolment=7, visit=2, number=4477).key == "7:2"


def test_values_are_written_as_they_stand() -> None:
    values = {"a": "x", "b": 3, "c": None, "event": {"n": True, "l": [1]}}
    assert [text_of(values, name) for name in ("a", "b", "c", "d", "event.n", "event.l", "event.x")] == [
        "x", "3", None, None, "true", "[1]", None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("", 0), ("render_missing:name", Refusal.MISSING_FIELD), ("abort:why", Reason.ABORT),
        ("too_long", Refusal.TOO_MANY_PARTS),
    ],
)  # fmt: skip
def test_reason_has_its_number(word: str, reason: int) -> None:
    assert reason_of(word) == reason


def test_texts_know_until_when_a_code_is_good_where_it_ends_S1_23() -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    code = Code(code="NOW", url="")

    def pool(**terms: str) -> Pool:
        return Pool(
            id=1, name="p", coupon=Coupon(kind="static", code="NOW", **terms), secret=b"", next=0, total=0,
            longest=3, alerted=100, created_at=now,
        )  # fmt: skip

    assert told_of_code(code, pool(), now) == {"code": "NOW", "url": ""} == told_of_code(code, None, now)
    for terms, expected in (
        ({"life": "48h"}, "2026-03-04T12:00:00+00:00"),
        ({"life": "48h", "until": "2026-03-03T22:59:59Z"}, "2026-03-03T22:59:59+00:00"),
    ):
        assert told_of_code(code, pool(**terms), now)["expires_at"] == expected
