"""Packs: what each country asks for, held against the table of rules that they were written from, minute by minute."""

import tomllib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib import resources
from typing import Any

import pytest

from _fastpath.alphabet import is_gsm
from gateway.campaign import zones
from gateway.campaign.law import (
    around,
    footer_wanted,
    label_faults,
    label_fields,
    labels,
    pack_of,
    packs,
    packs_of,
    read_packs,
    template_problems,
    version,
    window_of,
)
from gateway.campaign.public_holidays import is_calendar, of_year
from gateway.campaign.quiet_hours import Hours, Rules
from gateway.campaign.zones import Place
from gateway.errors import ConfigError
from gateway.message import MessageClass
from gateway.rules import KEYS, PackCap, weekly

BULK = Rules(class_=MessageClass.BULK)
DAILY_9_20 = ["09:00-20:00"] * 7
US = ["09:00-20:00"] * 6 + ["12:00-20:00"]
NO_SUNDAY = ["09:00-20:00"] * 6 + [""]
# (country, region, zone): legal hours of each weekday, Monday first.
HOURS: dict[tuple[str, str, str], list[str]] = {
    ("", "", "Asia/Dubai"): DAILY_9_20,
    ("US", "NY", "America/New_York"): US,
    ("US", "TX", "America/Chicago"): US,
    ("US", "FL", "America/New_York"): US,
    ("US", "OK", "America/Chicago"): US,
    ("US", "MD", "America/New_York"): US,
    ("US", "WA", "America/Los_Angeles"): US,
    ("US", "CT", "America/New_York"): US,
    ("US", "NJ", "America/New_York"): US,
    ("US", "MA", "America/New_York"): US,
    ("US", "NV", "America/Los_Angeles"): US,
    ("US", "CA", "America/Los_Angeles"): US,
    ("US", "MI", "America/New_York"): US,
    ("US", "MN", "America/Chicago"): US,
    ("US", "NM", "America/Denver"): US,
    ("US", "IL", "America/Chicago"): US,
    ("US", "PA", "America/New_York"): NO_SUNDAY,
    ("US", "MS", "America/Chicago"): NO_SUNDAY,
    ("US", "LA", "America/Chicago"): NO_SUNDAY,
    ("US", "AL", "America/Chicago"): NO_SUNDAY,
    ("US", "RI", "America/New_York"): ["09:00-18:00"] * 5 + ["10:00-17:00"] * 2,
    ("US", "KY", "America/New_York"): ["10:00-20:00"] * 6 + ["12:00-20:00"],
    ("CA", "ON", "America/Toronto"): ["09:00-21:00"] * 5 + ["10:00-18:00"] * 2,
    ("GB", "", "Europe/London"): DAILY_9_20,
    ("FR", "IDF", "Europe/Paris"): ["08:00-20:00"] * 6 + [""],
    ("DE", "", "Europe/Berlin"): NO_SUNDAY,
    ("IT", "", "Europe/Rome"): DAILY_9_20,
    ("ES", "", "Europe/Madrid"): DAILY_9_20,
    ("PT", "", "Europe/Lisbon"): DAILY_9_20,
    ("NL", "", "Europe/Amsterdam"): DAILY_9_20,
    ("PL", "", "Europe/Warsaw"): DAILY_9_20,
    ("RO", "", "Europe/Bucharest"): DAILY_9_20,
    ("IE", "", "Europe/Dublin"): DAILY_9_20,
    ("IN", "", "Asia/Kolkata"): ["10:00-21:00"] * 7,
    ("KR", "", "Asia/Seoul"): ["08:00-21:00"] * 7,
    ("JP", "", "Asia/Tokyo"): ["09:00-21:00"] * 7,
    ("CN", "", "Asia/Shanghai"): DAILY_9_20,
    ("AU", "", "Australia/Sydney"): DAILY_9_20,
    ("NZ", "", "Pacific/Auckland"): DAILY_9_20,
    ("SG", "", "Asia/Singapore"): DAILY_9_20,
    ("BR", "", "America/Sao_Paulo"): DAILY_9_20,
    ("TR", "", "Europe/Istanbul"): DAILY_9_20,
    ("MX", "", "America/Mexico_City"): DAILY_9_20,
}
ORDINARY = date(2026, 6, 15)  # a Monday; no holiday of any pack in this week but 19 June in the US
MINUTE = timedelta(minutes=1)


def local(day: date, text: str, zone: str) -> datetime:
    hour, minute = map(int, text.split(":"))
    midnight = datetime(day.year, day.month, day.day, tzinfo=zones.zone(zone))
    return (midnight + timedelta(hours=hour, minutes=minute)).astimezone(UTC)


def edges(zone: str, monday: date, spans: list[str]) -> Iterator[tuple[datetime, bool]]:
    """The first and the last legal minute of each weekday, and those one minute outside."""
    for weekday, span in enumerate(spans):
        day = monday + timedelta(days=weekday)
        if not span:
            for hour in range(24):
                yield local(day, f"{hour}:30", zone), False
            continue
        first, last = (local(day, text, zone) for text in span.split("-"))
        yield from ((first - MINUTE, False), (first, True), (last - MINUTE, True), (last, False))


@pytest.mark.parametrize("where", HOURS, ids=lambda where: "-".join(filter(None, where[:2])) or "default")
def test_first_and_last_legal_minute_of_each_weekday_and_one_outside(where: tuple[str, str, str]) -> None:
    country, region, zone = where
    place = Place(zone, country, region)
    hours = Hours(BULK)
    closed = {day for calendar in pack_of(country, region).holidays for day in of_year(calendar, 2026)}
    for moment, is_legal in edges(zone, ORDINARY, HOURS[where]):
        is_off = moment.astimezone(zones.zone(zone)).date() in closed
        assert hours.at((place,), moment).is_open is (is_legal and not is_off), moment


# Weeks in which clocks change, each country's own.
@pytest.mark.parametrize(
    ("where", "monday"),
    [
        (("US", "NY", "America/New_York"), date(2026, 3, 2)),
        (("US", "NY", "America/New_York"), date(2026, 10, 26)),
        (("US", "RI", "America/New_York"), date(2026, 10, 26)),
        (("CA", "ON", "America/Toronto"), date(2026, 3, 2)),
        (("GB", "", "Europe/London"), date(2026, 3, 23)),
        (("GB", "", "Europe/London"), date(2026, 10, 19)),
        (("FR", "IDF", "Europe/Paris"), date(2026, 3, 23)),
        (("DE", "", "Europe/Berlin"), date(2026, 10, 19)),
        (("AU", "", "Australia/Sydney"), date(2026, 3, 30)),
        (("NZ", "", "Pacific/Auckland"), date(2026, 9, 21)),
    ],
)
def test_legal_minutes_are_those_of_the_wall_on_days_when_clocks_change(
    where: tuple[str, str, str], monday: date
) -> None:
    country, region, zone = where
    hours = Hours(BULK)
    for moment, is_legal in edges(zone, monday, HOURS[where]):
        assert hours.at((Place(zone, country, region),), moment).is_open is is_legal, moment


def test_every_pack_that_is_shipped_has_its_hours_in_the_table() -> None:
    assert {country for country, _, _ in HOURS} == set(packs())
    assert {region for country, region, _ in HOURS if country == "US"} >= set(packs()["US"].regions)


@pytest.mark.parametrize("country", sorted(packs()), ids=lambda country: country or "default")
def test_every_value_of_a_pack_has_its_source_and_its_confidence(country: str) -> None:
    for pack in packs_of(country):
        assert {key.partition(".")[0] for key in pack.origins} == set(KEYS)
        assert all(each.src and each.conf in "ABCD" and each.checked for each in pack.origins.values())
        assert pack.version and weekly([pack.promo_window])
        assert all(is_calendar(calendar) for calendar in pack.holidays)


def test_country_without_a_pack_has_the_defaults_and_says_whose_they_are() -> None:
    assert pack_of("ZZ") is packs()[""]
    assert pack_of("GB").origins["zone_mode"].pack == "default"
    assert pack_of("GB").origins["promo_window"].pack == "GB"
    assert pack_of("US", "TX").origins["promo_window"].pack == "US.states.TX"
    assert version() >= "2026-11-21"


def test_france_is_closed_on_its_holidays_and_in_alsace_and_moselle_on_two_more_qh_11() -> None:
    hours = Hours(BULK)

    def is_open(day: date, region: str) -> bool:
        return hours.at((Place("Europe/Paris", "FR", region),), local(day, "12:00", "Europe/Paris")).is_open

    for year in (2026, 2027):
        for day in of_year("FR", year):
            assert not is_open(day, "IDF") and not is_open(day, "57")
    good_friday, boxing_day = date(2026, 4, 3), date(2026, 12, 26)
    assert is_open(good_friday, "IDF") and is_open(boxing_day, "IDF")
    for region in ("57", "67", "68", "GES", "6AE", ""):  # where it is not known, it may be there
        assert not is_open(good_friday, region) and not is_open(boxing_day, region)


@pytest.mark.parametrize("region", ["AL", "PA"])
def test_alabama_and_pennsylvania_are_closed_on_holidays_qh_11(region: str) -> None:
    hours = Hours(BULK)
    zone = "America/Chicago" if region == "AL" else "America/New_York"
    for day in (date(2026, 7, 3), date(2026, 11, 26), date(2026, 12, 25)):
        place = Place(zone, "US", region)
        assert not hours.at((place,), local(day, "12:00", zone)).is_open
        assert hours.at((place._replace(region="NY"),), local(day, "12:00", zone)).is_open


def test_transactional_text_goes_at_any_hour_in_every_country() -> None:
    for country in packs():
        window = window_of(pack_of(country), MessageClass.TRANSACTIONAL)
        assert window is not None and weekly([window]) == [(0, 7 * 1440)]


def test_brand_that_asks_for_it_may_use_the_hard_limit_of_france_and_no_more() -> None:
    place = (Place("Europe/Paris", "FR", "IDF"),)
    evening = local(date(2026, 6, 15), "21:59", "Europe/Paris")
    wide = Hours(Rules(class_=MessageClass.BULK, to_hard_limit=True))
    assert wide.at(place, evening).is_open and not Hours(BULK).at(place, evening).is_open
    assert not wide.at(place, evening + MINUTE).is_open
    assert not wide.at(place, local(date(2026, 7, 14), "12:00", "Europe/Paris")).is_open
    # No hard limit in the pack: its own window stays.
    assert not wide.at((Place("Europe/Berlin", "DE", ""),), local(date(2026, 6, 15), "20:00", "Europe/Berlin")).is_open


def test_night_in_korea_needs_a_consent_of_its_own() -> None:
    place = (Place("Asia/Seoul", "KR", ""),)
    with_night = Hours(Rules(class_=MessageClass.BULK, has_night_consent=True))
    for text in ("21:00", "23:59", "00:00", "03:30", "07:59"):
        moment = local(date(2026, 6, 17), text, "Asia/Seoul")
        assert with_night.at(place, moment).is_open and not Hours(BULK).at(place, moment).is_open
    for text in ("08:00", "20:59"):
        assert Hours(BULK).at(place, local(date(2026, 6, 17), text, "Asia/Seoul")).is_open
    # A consent for the night is worth nothing where the law knows none.
    berlin = local(date(2026, 6, 17), "22:00", "Europe/Berlin")
    assert not with_night.at((Place("Europe/Berlin", "DE", ""),), berlin).is_open


# Labels and footers.


KOREA = around(pack_of("KR"), {"optout_080": "080-123-4567"})


def test_label_of_korea_stands_at_begin_and_end_and_is_counted() -> None:
    text = KOREA.put("아크메: 오늘만 20% 할인")
    assert text == "(광고) 아크메: 오늘만 20% 할인 무료수신거부 080-123-4567"
    assert label_fields(pack_of("KR")) == ("optout_080",)
    # What is measured is the labelled text: 52 letters of GSM become more than 70 of UCS-2's one part.
    plain = "Acme: 20% off today only, see acme.example/sale now!"
    assert is_gsm(plain) and not is_gsm(KOREA.put(plain))
    assert len(KOREA.put(plain)) > 70 > len(plain)


def test_label_of_china_is_the_signature_and_the_way_out() -> None:
    assert around(pack_of("CN"), {"brand": "顶点"}).put("今天八折") == "【顶点】今天八折 退订回T"


@pytest.mark.parametrize("country", ["KR", "CN"])
def test_label_is_put_once(country: str) -> None:
    label = around(pack_of(country), {"brand": "Acme", "optout_080": "080-123-4567"})
    once = label.put("text")
    assert once != "text" and label.put(once) == once


def test_label_that_is_written_without_its_blanks_is_not_put_a_second_time() -> None:
    assert KOREA.put("(광고)아크메 무료수신거부 080-123-4567") == "(광고)아크메 무료수신거부 080-123-4567"


@pytest.mark.parametrize("values", [{}, {"optout_080": ""}, {"brand": "Acme"}])
def test_label_with_a_field_that_is_not_given_puts_nothing_and_names_it(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="optout_080"):
        around(pack_of("KR"), values).put("text")


def test_only_countries_whose_law_wants_a_label_have_one() -> None:
    assert set(labels({})) == {"CN", "KR"} and label_fields(pack_of("GB")) == ()
    assert around(pack_of("GB"), {}).put("text") == "text"


@pytest.mark.parametrize("variant", ["[광고]", "(광 고)", "(광/고)", "( 광고 )", "（광고）", "<광.고>", "할인 (광고)"])
def test_variant_of_the_label_is_found(variant: str) -> None:
    assert label_faults(f"{variant} 아크메", pack_of("KR"))


@pytest.mark.parametrize("text", ["(광고) 아크메", "아크메 광고 회사", "광고", "(공고) 아크메"])
def test_right_label_and_ordinary_words_are_no_variant(text: str) -> None:
    assert label_faults(text, pack_of("KR")) == []


@pytest.mark.parametrize(
    ("country", "wanted"),
    [
        *((one, "each") for one in ("FR", "GB", "JP", "AU")),
        ("US", "some"),
        ("ZZ", "some"),
        ("KR", "none"),
        ("CN", "none"),
    ],
)
def test_way_out_stands_in_every_text_where_the_pack_says_so_and_its_label_does_not(country: str, wanted: str) -> None:
    assert footer_wanted(pack_of(country)) == wanted


# Templates, requests, caps.


def test_template_in_india_must_carry_what_is_registered() -> None:
    given = {"pe_id": "1", "header": "ACMEIN"}
    assert [key for key, _, _ in template_problems(pack_of("IN"), given)] == ["template_id"]
    assert template_problems(pack_of("IN"), {**given, "template_id": "2"}) == []
    assert template_problems(pack_of("GB"), {}) == []


@pytest.mark.parametrize("state", ["FL", "OK", "MD", "NJ"])
def test_fourth_text_in_24_hours_is_over_the_legal_cap_of_four_states(state: str) -> None:
    assert pack_of("US", state).legal_max == (PackCap(n=3, per="rolling_24h"),)
    assert pack_of("US", "NY").legal_max == ()


def test_double_opt_in_and_a_request_that_is_not_repeated_are_data() -> None:
    assert pack_of("DE").optin.double and not pack_of("GB").optin.double
    assert pack_of("CN").optin.ask_once and not pack_of("DE").optin.ask_once


def test_region_that_says_another_label_than_its_country_is_refused() -> None:
    source = tomllib.loads((resources.files("gateway.campaign") / "packs" / "default.toml").read_text("utf-8"))
    leaf = {"v": "AD", "src": "somebody", "conf": "C"}
    with pytest.raises(ConfigError) as caught:
        read_packs({"default": source, "XX": {"states": {"A": {"label": {"prefix": leaf}}}}})
    assert [key for key, _, _ in caught.value.problems] == ["XX.states.A.label"]


def test_wrong_leaf_of_a_pack_is_refused_with_file_key_and_what_was_found() -> None:
    documents: dict[str, Any] = {"default": {}, "XX": {"promo_window": {"v": {"mon": "9-20"}, "src": "x", "conf": "A"}}}
    with pytest.raises(ConfigError) as caught:
        read_packs(documents)
    assert any(key.startswith("default.") for key, _, _ in caught.value.problems)
