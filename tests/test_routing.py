"""Routes: which carrier takes a number, from whom, and why the others do not."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.countries import code_of
from gateway.message import MessageClass
from gateway.routing import (
    Decision,
    RouteCarrier,
    RouteSettings,
    RouteTable,
    RoutingSettings,
    SenderSettings,
    Standing,
    address_of,
    by_weight,
    decide,
    judge,
    laid_out,
    plan,
    read_networks,
    share_of,
    span_of,
)

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)  # a Friday
WEIGHTS = {"acme": 1, "beta": 1, "gamma": 1}
LANES = {"acme": 1, "beta": 2, "gamma": 3}
DOWN = Standing(False, "connection refused")


def through(*carriers: Any, **conditions: Any) -> RouteSettings:
    """A route through carriers, given by name or as (name, fields)."""
    made = [RouteCarrier(carrier=one) if isinstance(one, str) else RouteCarrier(**one) for one in carriers]
    return RouteSettings(carriers=tuple(made), **conditions)


def table(*routes: RouteSettings, **how: Any) -> RouteTable:
    return RouteTable(WEIGHTS, routes, **how)


def ask(number: int, made: RouteTable, **how: Any) -> Decision:
    settled: dict[str, Any] = {"class_": MessageClass.BULK, "sender": "", "at": NOW, "health": {}, **how}
    return decide(number, settled["class_"], settled["sender"], settled["at"], settled["health"], made)


def whys(decision: Decision) -> dict[str, str]:
    """Why, by route and carrier."""
    return {f"{one.route}/{one.carrier}": one.why for one in decision.considered}


def test_longest_prefix_goes_first_whatever_the_order_of_the_file():
    made = table(
        through("acme", name="world"), through("beta", name="uk", prefixes=("44",)),
        through("gamma", name="mobiles", prefixes=("447", "49")),
    )  # fmt: skip
    assert [ask(number, made).carrier for number in (447700900123, 442079460123, 4915112345678, 33612345678)] == [
        "gamma", "beta", "gamma", "acme",
    ]  # fmt: skip
    found = whys(ask(442079460123, made))
    assert found["mobiles/"] == "no prefix of it: 447, 49" and found["world/"] == "less particular than uk"


def test_a_prefix_is_more_particular_than_a_network_and_that_than_a_country_sender_class_and_hours():
    networks = {"4477": "23410"}
    routes = [
        through("acme", name="hours", hours="00:00-24:00", zone="UTC"),
        through("acme", name="class", classes=("bulk",)),
        through("acme", name="sender", senders=("Shop",)),
        through("acme", name="country", countries=("GB",)),
        through("acme", name="network", mccmnc=("23410",)),
        through("acme", name="prefix", prefixes=("4",)),
    ]
    while routes:
        made = table(*routes, networks=networks)
        assert ask(447700900123, made, sender="Shop").route == routes.pop().name


def test_a_whole_network_code_is_more_particular_than_its_country_code():
    made = table(through("acme", mccmnc=("234",)), through("beta", mccmnc=("23410",)), networks={"4477": "23410"})
    assert ask(447700900123, made).carrier == "beta"
    assert ask(447500900123, made).carrier == "" and ask(447700900123, made).network == "23410"


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        # Friday night, local time of London.
        (datetime(2026, 11, 20, 21, 59), False),
        (datetime(2026, 11, 20, 22, 0), True),
        (datetime(2026, 11, 21, 5, 59), True),
        (datetime(2026, 11, 21, 6, 0), False),
        # The morning of Friday belongs to Thursday, and the evening of Saturday to Saturday.
        (datetime(2026, 11, 20, 3, 0), False),
        (datetime(2026, 11, 21, 23, 0), False),
    ],
)
def test_hours_over_midnight_belong_to_the_day_they_begin_on(at, is_open):
    made = table(through("acme", days=("fri",), hours="22:00-06:00", zone="Europe/London"))
    decision = ask(447700900123, made, at=at.replace(tzinfo=ZoneInfo("Europe/London")))
    assert bool(decision.carrier) is is_open
    if not is_open:
        assert "fri 22:00-06:00 of Europe/London" in decision.considered[0].why


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        # London goes to summer time at 01:00 UTC of 2026-03-29: 01:30 there never is, 02:00 is 01:00 UTC.
        (datetime(2026, 3, 29, 0, 59, tzinfo=UTC), False),
        (datetime(2026, 3, 29, 1, 0, tzinfo=UTC), True),
        (datetime(2026, 3, 29, 2, 59, tzinfo=UTC), True),
        (datetime(2026, 3, 29, 3, 0, tzinfo=UTC), False),
        # And back at 01:00 UTC of 2026-10-25: 01:30 is twice, and the span begins after both.
        (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), False),
        (datetime(2026, 10, 25, 1, 30, tzinfo=UTC), False),
        (datetime(2026, 10, 25, 2, 0, tzinfo=UTC), True),
    ],
)
def test_hours_follow_the_clock_on_the_wall_when_it_is_changed(at, is_open):
    made = table(through("acme", hours="02:00-04:00", zone="Europe/London"))
    assert bool(ask(447700900123, made, at=at).carrier) is is_open


def test_priority_goes_before_cost_and_cost_before_the_order_of_the_file():
    made = table(
        through(
            {"carrier": "acme", "priority": 2}, {"carrier": "beta", "cost": 0.02}, {"carrier": "gamma", "cost": 0.01}
        )
    )
    decision = ask(447700900123, made)
    assert (decision.carrier, decision.fallback) == ("gamma", ("beta", "acme"))
    assert whys(decision)["routes[1]/beta"] == "cost 0.02, above 0.01"
    assert whys(decision)["routes[1]/acme"] == "priority 2, after 1"


def test_carriers_equal_in_priority_and_cost_share_by_weight_and_a_number_always_falls_to_one():
    made = table(through({"carrier": "acme", "weight": 3}, {"carrier": "beta", "weight": 1}))
    numbers = range(447700900000, 447700904000)
    shares = Counter(ask(number, made).carrier for number in numbers)
    assert shares["acme"] == pytest.approx(3000, abs=100)
    assert ask(numbers[0], made) == ask(numbers[0], made)


@pytest.mark.parametrize("parts", [2, 3, 4, 7, 10, 100])
@pytest.mark.parametrize("step", [1, 2, 10, 1000])
def test_shares_are_even_for_neighbours_and_for_round_numbers(parts, step):
    counted = Counter(share_of(447700000000 + at * step) % parts for at in range(100 * parts))
    assert len(counted) == parts and max(counted.values()) < 160


def test_who_is_down_is_passed_over_with_its_reason_and_stays_a_fallback():
    made = table(through("acme", {"carrier": "beta", "priority": 2}, {"carrier": "gamma", "priority": 3}))
    decision = ask(447700900123, made, health={"acme": DOWN, "beta": Standing(True)})
    assert (decision.carrier, decision.fallback) == ("beta", ("acme", "gamma"))
    assert whys(decision)["routes[1]/acme"] == "down: connection refused"
    assert "health not known" in whys(ask(447700900123, made))["routes[1]/acme"]


def test_share_of_a_carrier_that_is_down_goes_to_its_equals():
    made = table(through("acme", "beta"))
    assert {ask(number, made, health={"beta": DOWN}).carrier for number in range(447700900000, 447700900050)} == {
        "acme"
    }


def test_where_all_are_down_the_message_waits_for_the_first():
    made = table(through("acme", {"carrier": "beta", "priority": 2}))
    decision = ask(447700900123, made, health={"acme": DOWN, "beta": DOWN})
    assert decision.carrier == "acme" and whys(decision)["routes[1]/acme"].endswith("though down")


def test_next_route_helps_only_where_the_first_falls_through():
    for falls_through, expected in ((True, "beta"), (False, "acme")):
        made = table(
            through("acme", name="uk", countries=("GB",), falls_through=falls_through), through("beta", name="world")
        )
        assert ask(447700900123, made, health={"acme": DOWN}).carrier == expected


def test_number_that_no_route_takes_has_no_carrier_and_every_route_says_why():
    made = table(through("acme", countries=("FR",)), through("beta", classes=("otp",)))
    decision = ask(447700900123, made)
    assert (decision.carrier, decision.fallback) == ("", ())
    assert [one.why for one in decision.considered] == [
        "the country is GB, not FR", "the class is bulk, not otp",
    ]  # fmt: skip
    assert ask(447700900123, made, class_=MessageClass.OTP).carrier == "beta"


def test_without_routes_every_carrier_has_its_weight():
    made = RouteTable({"acme": 3, "beta": 1})
    shares = Counter(ask(number, made).carrier for number in range(447700900000, 447700902000))
    assert not made.has_routes and shares["acme"] == pytest.approx(1500, abs=80)


def test_a_message_is_tried_through_no_more_carriers_than_allowed():
    made = table(through("acme", "beta", "gamma"), routing=RoutingSettings(max_routes=2))
    assert len(ask(447700900123, made).fallback) == 1
    assert ask(447700900123, table(through("acme", "beta"), routing=RoutingSettings(max_routes=1))).fallback == ()


# -- senders ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ("Brand", ("Brand", 5, 0)),
        ("60777", ("60777", 3, 0)),
        ("447700900000", ("447700900000", 1, 1)),
        ("+447700900000", ("447700900000", 1, 1)),
        ("+12345", ("12345", 1, 1)),
        ("4U2", ("4U2", 5, 0)),
        ("12", ("12", 1, 1)),
    ],
)
def test_form_of_a_sender_says_its_ton_and_npi_quirk_27(source, address):
    assert address_of(source) == address


def test_carrier_may_want_another_ton_of_short_codes_and_a_plus_quirk_27():
    assert address_of("60777", short_code_ton=6) == ("60777", 6, 0)
    assert address_of("447700900000", has_plus=True) == ("+447700900000", 1, 1)


def test_sender_is_the_countrys_then_the_default_then_the_carriers_own():
    senders = {
        "GB": SenderSettings(alphanumeric="ShopUK", short_code="60777", prefers="short_code"),
        "default": SenderSettings(alphanumeric="Shop", number="447700900000"),
    }
    made = table(through("acme"), senders=senders)
    assert [ask(number, made).source for number in (447700900123, 33612345678)] == ["60777", "Shop"]
    assert ask(447700900123, made, sender="Other").source == "Other"
    assert ask(447700900123, table(through("acme"))).source == ""


def test_country_that_takes_no_alphanumeric_sender_gets_the_number_even_when_letters_are_asked_for():
    senders = {"default": SenderSettings(alphanumeric="Shop", number="447700900000")}
    made = table(through("acme"), senders=senders)
    for wanted in ("", "Shop"):
        decision = ask(12125550123, made, sender=wanted)
        assert decision.source == "447700900000" and "US takes no alphanumeric sender" in decision.source_why
    assert ask(12125550123, made, sender="18005550100").source == "18005550100"


def test_sender_of_a_country_is_what_a_route_by_sender_is_asked_for():
    senders = {"GB": SenderSettings(alphanumeric="ShopUK")}
    made = table(through("acme"), through("beta", senders=("ShopUK",)), senders=senders)
    assert [ask(number, made).carrier for number in (447700900123, 33612345678)] == ["beta", "acme"]


# -- the plan ---------------------------------------------------------------------------------------------------------

NUMBERS = [
    1, 999, 12125550123, 16045550123, 447700900123, 447700300123, 442079460123, 4477, 33612345678, 4915112345678,
    77011234567, 79161234567, 998901234567, 999999999999999, 100000000000000, 447599999999, 447600000000,
]  # fmt: skip


def test_plan_says_of_every_number_what_the_decision_says():
    made = table(
        through({"carrier": "acme", "weight": 3}, "beta", name="uk", countries=("GB", "JE")),
        through("beta", name="mobiles", prefixes=("447", "4477009")),
        through("gamma", name="net", mccmnc=("23410",)),
        through("gamma", name="us", countries=("US",)),
        senders={"GB": SenderSettings(short_code="60777", prefers="short_code")},
        networks={"4475": "23410", "4420": "23410"},
    )
    for health in ({}, {"beta": DOWN}, {"acme": DOWN, "beta": DOWN}):
        whole = plan(LANES, MessageClass.BULK, "Shop", NOW, health, made)
        for number in [*NUMBERS, *range(442079460000, 442079460200)]:
            decision, cell = ask(number, made, health=health, sender="Shop"), whole.cell_of(number)
            assert cell.lane == LANES.get(decision.carrier, 0), number
            if decision.carrier:
                assert cell.country == code_of(decision.country) and cell.source == decision.source
                assert cell.fallback == tuple(LANES[name] for name in decision.fallback), number


def test_plan_of_weights_alone_is_one_range():
    made = by_weight([7, 8], [30, 10])
    assert (made.bounds, len(made.slots)) == ((0,), 4)
    assert {made.cell_of(number).lane for number in NUMBERS} == {7, 8}


def test_numbers_are_laid_out_so_that_a_prefix_is_a_range():
    assert laid_out(447700900123) == 447700900123000 and laid_out(10**15) == 10**15


# -- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("route", "key"),
    [
        (through(), "carriers"),
        (through("delta"), "carriers[1].carrier"),
        (through("acme", "acme"), "carriers[2].carrier"),
        (through("acme", countries=("UK",)), "countries"),
        (through("acme", prefixes=("+44",)), "prefixes"),
        (through("acme", prefixes=("044",)), "prefixes"),
        (through("acme", prefixes=("",)), "prefixes"),
        (through("acme", prefixes=("447",), countries=("FR",)), "prefixes"),
        (through("acme", mccmnc=("23410",)), "mccmnc"),
        (through("acme", hours="9-17", zone="UTC"), "hours"),
        (through("acme", hours="09:00-09:00", zone="UTC"), "hours"),
        (through("acme", hours="25:00-09:00", zone="UTC"), "hours"),
        (through("acme", hours="09:00-17:00"), "zone"),
        (through("acme", days=("mon",)), "zone"),
        (through("acme", hours="09:00-17:00", zone="Mars/Base"), "zone"),
        (through("acme", zone="UTC"), "zone"),
    ],
)
def test_route_that_cannot_be_meant_is_named(route, key):
    assert key in [found.removeprefix("routes[1].") for found, _, _ in judge([route], {}, RoutingSettings(), WEIGHTS)]


def test_prefix_of_a_shared_calling_code_fits_each_of_its_countries():
    routes = [through("acme", prefixes=("1",), countries=("CA",)), through("acme", prefixes=("7",), countries=("KZ",))]
    assert judge(routes, {}, RoutingSettings(), WEIGHTS) == []


def test_route_that_is_never_taken_is_named_and_one_after_a_route_that_falls_through_is_not():
    twins = [through("acme", countries=("GB", "FR")), through("beta", countries=("FR", "GB"))]
    ((key, expected, _),) = judge(twins, {}, RoutingSettings(), WEIGHTS)
    assert key == "routes[2]" and "routes[1]" in expected
    twins[0] = through("acme", countries=("GB", "FR"), falls_through=True)
    assert judge(twins, {}, RoutingSettings(), WEIGHTS) == []
    ((key, _, found),) = judge([through("acme", name="x"), through("beta", name="x", countries=("FR",))], {},
                               RoutingSettings(), WEIGHTS)  # fmt: skip
    assert key == "routes[2].name" and "routes[1]" in found


@pytest.mark.parametrize(
    ("country", "sender", "key"),
    [
        ("UK", {"alphanumeric": "Shop"}, ""),
        ("GB", {}, ""),
        ("GB", {"alphanumeric": "TwelveLetter"}, "alphanumeric"),
        ("GB", {"alphanumeric": "12345"}, "alphanumeric"),
        ("GB", {"short_code": "12"}, "short_code"),
        ("GB", {"number": "12345"}, "number"),
        ("GB", {"alphanumeric": "Shop", "prefers": "number"}, "prefers"),
        ("US", {"alphanumeric": "Shop"}, "alphanumeric"),
        ("default", {"short_code": "60777"}, "short_code"),
    ],
)
def test_sender_that_cannot_be_meant_is_named(country, sender, key):
    problems = judge([], {country: SenderSettings(**sender)}, RoutingSettings(), WEIGHTS)
    assert [found for found, _, _ in problems] == [f"senders.{country}" + (f".{key}" if key else "")]


def test_hours_are_read_as_minutes():
    assert span_of("22:00-06:30") == (22 * 60, 6 * 60 + 30) and span_of("00:00-24:00") == (0, 24 * 60)


def test_networks_are_read_and_bad_rows_are_named_by_line():
    text = "prefix,mcc,mnc\n4477,234,10\n\n# a note\n+4478;234;015\n4479,23,1\nx,234,10\n4477,234,20\n44,234\n"
    networks, problems = read_networks(text, "n.csv")
    assert networks == {"4477": "23410", "4478": "234015"}
    assert [key for key, _, _ in problems] == ["n.csv:6", "n.csv:7", "n.csv:8", "n.csv:9"]
    assert problems[2][2] == "23420, and 23410 in line 2"
