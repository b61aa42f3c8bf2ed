"""What follows from what is told of persons."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import peoplerows
from gateway.person import (
    Item,
    Order,
    Who,
    body_of,
    bucket_of,
    fingerprint,
    hash_of,
    json_of,
    kind_of,
    microseconds,
    minor_units,
    money_of,
    order_key,
    utm_of,
)

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.integers(0, 2**63 - 1))
def test_the_hash_of_a_number_is_that_of_the_compiled_room_and_of_the_tables(number: int) -> None:
    assert hash_of(number) == peoplerows.bucket(number)


def test_identities_of_one_value_and_two_kinds_are_two() -> None:
    assert bucket_of("email", "a@b.de") == bucket_of("email", "a@b.de") < 256
    assert len({bucket_of("email", str(value)) for value in range(5000)}) == 256


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x", "string"),
        ("", "string"),
        ("2026-01-02", "time"),
        ("2026-01-02T03:04:05Z", "time"),
        ("2026-13-02", "string"),
        ("2026-01-02 is a day", "string"),
        (1, "number"),
        (1.5, "number"),
        (True, "bool"),
        (None, "null"),
        ([1], "array"),
        ({"a": 1}, "object"),
        ({"amount": 1, "currency": "EUR"}, "money"),
        ({"amount": 1, "currency": "eur"}, "object"),
    ],
)
def test_ev_8_the_kind_of_a_value(value: object, kind: str) -> None:
    assert kind_of(value) == kind


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        (12.5, "EUR", 1250),
        (0.29, "EUR", 29),
        ("1e2", "EUR", 10000),
        (" 7.005 ", "EUR", 701),
        (500, "JPY", 500),
        (1.2345, "KWD", 1235),
        ("NaN", "EUR", None),
        (float("inf"), "EUR", None),
        ("1e400", "EUR", None),
        ("ten", "EUR", None),
        (True, "EUR", None),
        (None, "EUR", None),
    ],
)
def test_money_is_counted_in_the_smallest_unit_of_its_currency(
    amount: object, currency: str, minor: int | None
) -> None:
    assert minor_units(amount, currency) == minor


def test_money_stands_beside_its_currency_or_holds_it() -> None:
    assert money_of({"total": 5, "currency": "EUR"}) == (500, "EUR")
    assert money_of({"amount": {"amount": "5.00", "currency": "USD"}}) == (500, "USD")
    assert money_of({"total": 5}) == (500, "") and money_of({"total": 5, "currency": 7}) == (500, "")
    assert money_of({"total": "much", "value": 2, "currency": "EUR"}) == (200, "EUR") and money_of({}) is None


def test_ev_1_an_event_without_an_id_is_known_by_what_it_says_and_to_the_millisecond() -> None:
    def print_of(**more: object) -> bytes:
        item = Item(**{"who": Who(external_id="a"), "name": "visit", "occurred_at": NOW, **more})
        return fingerprint(item, NOW, body_of(item, json_of(item.properties)))

    first = print_of(properties={"a": 1, "b": 2})
    assert print_of(properties={"b": 2, "a": 1}) == first and len(first) == 16
    assert len({first, print_of(), print_of(name="x"), print_of(source="shop"), print_of(who=Who(phone=44))}) == 5
    assert print_of(event_id="1") == print_of(event_id="1", name="x") != print_of(event_id="1", source="shop")


def test_an_order_without_an_id_goes_by_its_event() -> None:
    assert (order_key({"order_id": 7}, "e"), order_key({"order_id": "7"}, "e")) == ("order:7", "order:7")
    assert {order_key({"order_id": value}, "e") for value in (None, "", True, [1])} == {"event:e"}


def test_marks_of_campaigns_are_texts() -> None:
    assert utm_of({"utm_source": "a", "utm_medium": 7, "page": "x"}) == {"utm_source": "a"}


TOLD = st.tuples(
    st.sampled_from(["order_placed", "order_cancelled", "refunded"]),
    st.integers(0, 5),
    st.fixed_dictionaries({}, optional={"total": st.integers(0, 4), "currency": st.sampled_from(["EUR", "USD"])}),
)


@given(st.lists(TOLD, max_size=6), st.randoms(use_true_random=False), st.integers(0, 6))
def test_ev_9_an_order_is_what_was_said_of_it_in_whatever_order_and_whoever_heard_it(told, chance, cut) -> None:
    events = [(name, NOW.replace(minute=at), id_, properties) for id_, (name, at, properties) in enumerate(told)]
    straight = Order(key="1")
    for event in events:
        straight.told(*event)
    chance.shuffle(events)
    one, other = Order(key="1", refunded={}), Order(key="1", refunded={})
    for at, event in enumerate(events):
        (one if at < cut else other).told(*event)
    one.absorb(other)
    assert one == straight and one.net == (one.amount - one.back if one.is_counted else 0)


def test_microseconds_are_whole() -> None:
    assert microseconds(datetime(2026, 3, 1, 12, 0, 0, 123457, tzinfo=UTC)) % 10**6 == 123457
