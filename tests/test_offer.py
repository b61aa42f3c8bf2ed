"""What a person may order by text, as documents say it."""

import msgspec
import pytest

from gateway.offer import Offer, Says, money, problems_of, written
from gateway.question import Question
from gateway.question import problems_of as question_problems

GOOD = Offer(url="https://shop.example/orders", product="beans")


@pytest.mark.parametrize(
    ("offer", "where"),
    [
        (Offer(url="https://s.example"), "order.name order.price order.currency"),
        (Offer(url="https://s.example", product="a", price=1), "order.currency"),
        (Offer(url="https://s.example", product="a", currency="EUR"), "order.currency"),
        (msgspec.structs.replace(GOOD, payment="card"), "order.pay_url"),
        (msgspec.structs.replace(GOOD, pay_url="http://pay.example"), "order.pay_url"),
        (msgspec.structs.replace(GOOD, words=("KUPIE", "!")), "order.words[1]"),
        (msgspec.structs.replace(GOOD, says=Says(price="{{ ordre }}")), "order.says.price"),
        (msgspec.structs.replace(GOOD, says=Says(price={"fr": "{{ order }}"})), "order.says.price.fr"),
        (msgspec.structs.replace(GOOD, says=Says(expired=" ")), "order.says.expired"),
        (GOOD, ""),
    ],
)
def test_what_is_wrong_with_an_offer_is_named_by_its_place(offer: Offer, where: str) -> None:
    assert " ".join(key for key, _, _ in problems_of("order", offer)) == where


def test_a_question_of_this_type_has_an_offer_and_no_other_has() -> None:
    without = Question(name="q", type="order", text="Buy?")
    assert [key for key, _, _ in question_problems("q", without)] == ["q.order"]
    other = Question(name="q", type="text", text="Buy?", order=GOOD)
    assert [key for key, _, _ in question_problems("q", other)] == ["q.order"]
    assert question_problems("q", msgspec.structs.replace(without, order=GOOD)) == []


def test_a_text_is_written_with_its_values_and_what_has_none_is_nothing() -> None:
    assert written("{{ quantity }} x {{name}}{{ url }}", {"quantity": "2", "name": "{{ order }}"}) == "2 x {{ order }}"
    assert (money(1290, "EUR"), money(1290, "JPY"), money(5, "GBP")) == ("12.90 EUR", "1290 JPY", "0.05 GBP")
