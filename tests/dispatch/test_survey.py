"""What a template comes to: the form of each number's carrier, what forces UCS-2, what stands for codes and links."""

from datetime import UTC, datetime

import pytest

from _fastpath.batch import Batch
from _fastpath.template import Template as Compiled
from gateway.config import CarrierSettings
from gateway.dispatch.compose import form_of
from gateway.dispatch.survey import Forms, Reckoner, batches_of, character_of, parts_of, text_of, with_placeholders
from gateway.gate import Around
from gateway.message import Encoding, MessageClass
from gateway.routing import RouteCarrier, RouteSettings, RouteTable, RoutingSettings
from gateway.template import Coupon, Template
from tests.dispatch.test_rendering import page

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
GB, KR, DE = 447700900123, 821012345678, 4915112345678
NORTH = CarrierSettings(host="h", port=1, system_id="a", max_parts=4)
SOUTH = CarrierSettings(host="h", port=1, system_id="b", alphabets=("ucs2",), max_parts=4)
ROUTES = (
    RouteSettings(countries=("GB", "KR"), carriers=(RouteCarrier(carrier="north"),)),
    RouteSettings(countries=("DE",), carriers=(RouteCarrier(carrier="south"),)),
)
TABLE = RouteTable({"north": 1, "south": 1}, ROUTES, {}, RoutingSettings())


def forms(text="{{ text }}", **more):
    carriers = {"north": NORTH, "south": SOUTH}
    return Forms(carriers, TABLE, text=text, fields=("text",), class_=MessageClass.BULK, sender="", at=NOW, **more)


def test_TP_8_each_message_is_measured_by_the_carrier_of_its_country():
    reckoner = Reckoner(forms(price=lambda carrier, country: {"north": 0.1, "south": 0.5}.get(carrier)))
    reckoner.add_texts([GB, DE, 33612345678], ["a" * 100] * 3, {"render_missing:x": [1, 2], "too_long": [3]})
    found = reckoner.reckoning()
    assert found.messages == {1: 1, 2: 1} and found.parts == 3 and found.people == 6
    assert found.refused == {"render_missing:x": 2, "too_long": 1, "no_route": 1}
    assert {(one.country, one.parts, one.cost) for one in found.countries} >= {("GB", 1, 0.1), ("DE", 2, 1.0)}
    assert found.cost == 1.1
    assert (found.worst.number, found.worst.parts, found.worst.alphabet, found.worst.units) == (DE, 2, "ucs2", 100)
    assert found.worst.text == "a" * 100


def test_TP_8_the_label_of_a_country_is_in_what_is_measured():
    labels = {"KR": Around(prefix="(광고) ", suffix=" 080")}
    reckoner = Reckoner(forms(labels=labels))
    reckoner.add_texts([GB, KR], ["a" * 70] * 2, {})
    found = reckoner.reckoning()
    assert found.messages == {1: 1, 2: 1} and found.worst.text == "(광고) " + "a" * 70 + " 080"
    assert {one.character for one in found.characters} == {"광", "고"}


def test_TP_10_what_has_more_parts_than_it_may_is_too_long():
    reckoner = Reckoner(forms(encoding=Encoding(max_parts=2)))
    reckoner.add_texts([GB], ["a" * 400], {})
    assert reckoner.reckoning().refused == {"too_long": 1} and reckoner.reckoning().worst.parts == 3
    assert reckoner.reckoning().cost == 0


def test_a_cost_that_nobody_has_said_is_none():
    reckoner = Reckoner(forms())
    reckoner.add_texts([GB], ["a"], {})
    assert reckoner.reckoning().cost is None


def test_TP_9_a_sign_may_be_replaced_and_a_letter_if_somebody_says_so():
    assert (character_of("“", 3).replacement, character_of("“", 3).is_letter) == ('"', False)
    assert (character_of("ș", 3).replacement, character_of("ș", 3).is_letter) == ("s", True)
    assert (character_of("漢", 3).replacement, character_of("漢", 3).is_letter) == (None, False)


def test_TP_4_values_of_a_page_are_those_that_rendering_would_print():
    rows = [(GB, {"first_name": "a\nwww.x.com", "n": 3.0}), (DE, {"first_name": " ", "n": {"x": 1}, "more": True})]
    (batch,) = batches_of(page(rows), ("first_name", "n", "more"), ("first_name",))
    assert [batch.number(at) for at in range(2)] == [GB, DE]
    assert [batch.values(at) for at in range(2)] == [["a www x com", "3", None], [None, None, "true"]]
    assert [batch.n for batch in batches_of(page([(GB, {})] * 1500), ())] == [1000, 500]


def test_TP_8_what_is_made_for_each_person_has_its_length_before():
    template = Template(
        text="x", links={"a": "https://long.example/" + "a" * 90}, link_length=20, coupon=Coupon(length=12)
    )
    found = with_placeholders(template)
    assert (len(found.links["a"]), found.coupon.code) == (20, "X" * 12)
    fixed = Template(text="x", coupon=Coupon(code="ALL"))
    assert with_placeholders(fixed) == fixed


def test_parts_and_texts_of_one_message():
    form = form_of("Hi {{ a }}", NORTH)
    assert [parts_of(form, ["x" * n]) for n in (1, 200, 2000)] == [1, 2, 14]
    assert text_of(Compiled("Hi {{ a }}"), ["é"]) == "Hi é" and text_of(Compiled("Hi {{ a }}"), [None]) == ""


def test_a_number_that_nobody_takes_has_no_form():
    assert forms().form_of_number(33612345678) is None
    assert forms().form_of_number(GB) is not None
    with pytest.raises(ValueError, match="has 1 fields"):
        Reckoner(forms()).add(Batch.of(1, [GB]))
