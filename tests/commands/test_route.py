"""`sluice route` prints the decision with reasons, and sends nothing."""

import pytest

ROUTES = """
[[routes]]
name = "uk"
countries = ["GB"]
carriers = [{ carrier = "south" }, { carrier = "north", priority = 2 }]
[[routes]]
name = "codes"
classes = ["otp"]
prefixes = ["447"]
carriers = [{ carrier = "slow" }]
[senders.GB]
short_code = "60777"
"""


@pytest.fixture
def routes(tmp_path, settings):
    """Add routes to the settings."""
    path = tmp_path / "sluice.toml"
    path.write_text(path.read_text() + ROUTES)


def test_decision_is_told_with_the_reasons_of_every_candidate(here, routes):
    result = here("route", "+447700900123")
    assert result.code == 0 and "health" in result.out and "not known, all count as up" in result.err
    lines = [line.strip() for line in result.out.splitlines()]
    assert "carrier   south" in lines and "then      north" in lines
    assert "sender    60777: senders.GB.short_code" in lines
    assert "codes: the class is bulk, not otp" in lines and "uk: north: priority 2, after 1" in lines


def test_class_decides_and_json_holds_the_same(sluice, routes):
    result = sluice("route", "447700900123", "--class", "otp", "--json")
    assert (result.json["carrier"], result.json["route"], result.json["health_is_known"]) == ("slow", "codes", False)
    assert {one["why"] for one in result.json["considered"]} >= {"less particular than codes"}


def test_sender_of_the_carrier_is_named_where_nobody_says_another(here, settings):
    settings(**{name: {"source": "Acme"} for name in ("north", "south", "slow", "busy", "guarded", "nowhere")})
    assert "sender    Acme: the carrier's own" in here("route", "+447700900123").out.splitlines()


def test_number_that_nobody_takes_ends_with_its_own_code(here, routes):
    result = here("route", "+33612345678")
    assert result.code == 1 and "none: no route takes it" in result.out and "the country is FR, not GB" in result.out


@pytest.mark.parametrize("number", ["07700900123", "+", "x", "4477009001234567"])
def test_what_is_no_number_is_refused(here, routes, number):
    assert here("route", number).code == 2


def test_standing_of_carriers_comes_from_the_workers(sluice, start, queue, routes):
    worker = start("run", "--carrier", "north", "--carrier", "nowhere", "--report-every", "0")
    worker.says("running")
    result = sluice("route", "+447700900123", "--json")
    assert result.json["health_is_known"] and result.json["carrier"] == "south"


def test_run_without_a_carrier_goes_by_the_routes(sluice, queue, routes, people):
    file = people("phone\n+447400123401\n+447400123402\n+33612345678\n")
    result = sluice("send", "--contacts", file, "--text", "Hi", "--json")
    assert result.code == 0, result.err[-600:]
    assert (result.json["states"], result.json["reasons"]) == ({"delivered": 2, "refused": 1}, {"no_route": 1})
    assert queue("SELECT DISTINCT c.name FROM chunk k JOIN carrier c USING (lane) WHERE k.country = 226") == [
        ("south",)
    ]


def test_without_routes_a_carrier_must_be_named(here, settings, people):
    result = here("send", "--contacts", people(1), "--text", "x")
    assert result.code == 2 and "--carrier" in result.err and "[[routes]]" in result.err


def test_routes_that_contradict_one_another_are_named_by_check_config(here, routes, tmp_path):
    path = tmp_path / "sluice.toml"
    path.write_text(
        path.read_text() + '[routing]\nmccmnc_file = "n.csv"\n[[routes]]\ncountries = ["GB"]\ncarriers = []'
    )
    result = here("check-config")
    keys = [line.split(": expected")[0] for line in result.err.splitlines()]
    assert result.code == 78 and keys == ["config: routes[3].carriers", "config: routes[3]"]
