"""The ladder of clues, and the set of places that a number alone means."""

import random
import zoneinfo
from datetime import UTC, datetime, timedelta

import pytest
from phonenumbers.geodata import GEOCODE_DATA
from phonenumbers.tzdata import TIMEZONE_DATA

from gateway.campaign.zones import (
    DEVICE_AGE,
    LOCATION_AGE,
    NOWHERE,
    Clues,
    Place,
    PlaceSets,
    Source,
    everywhere,
    is_zone,
    of_prefix,
    regions_by_area_code,
    version,
    whereabouts,
    zone,
    zones_by_country,
    zones_of_country,
)
from gateway.countries import country_of

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NEW_JERSEY, FLORIDA, LONDON, SYDNEY = 12015550123, 18505550123, 447700900123, 61412345678


@pytest.fixture(scope="module")
def sets() -> PlaceSets:
    return PlaceSets()


def names(places: tuple[Place, ...]) -> set[str]:
    return {place.zone for place in places}


def test_each_rung_of_the_ladder_goes_before_those_below_it_qh_3() -> None:
    full = {
        "stated": "Asia/Tokyo",
        "device": "Europe/Paris",
        "device_at": NOW,
        "location": "Europe/Berlin",
        "location_at": NOW,
        "country": "US",
        "region": "CO",
    }
    rungs = [
        ("stated", Source.STATED, "Asia/Tokyo"),
        ("device", Source.DEVICE, "Europe/Paris"),
        ("location", Source.LOCATION, "Europe/Berlin"),
        ("country", Source.ADDRESS, "America/Denver"),
    ]
    for field, source, name in rungs:
        found = whereabouts(Clues(number=NEW_JERSEY, **full), NOW)  # type: ignore[arg-type]
        assert (found.source, names(found.places)) == (source, {name})
        full[field] = ""
    found = whereabouts(Clues(number=NEW_JERSEY), NOW)
    assert found.source is Source.NUMBER and found.places == (Place("America/New_York", "US", "NJ"),)


@pytest.mark.parametrize(("field", "age"), [("device", DEVICE_AGE), ("location", LOCATION_AGE)])
def test_old_clue_is_passed_over_on_the_day_after_its_last_qh_3(field: str, age: timedelta) -> None:
    def at(seen: datetime) -> Source:
        return whereabouts(
            Clues(number=LONDON, **{field: "Asia/Tokyo", f"{field}_at": seen}),  # type: ignore[arg-type]
            NOW,
        ).source

    assert at(NOW - age) is Source[field.upper()]
    assert at(NOW - age - timedelta(seconds=1)) is Source.NUMBER


@pytest.mark.parametrize(
    "stated", ["Mars/Phobos", "../../etc/passwd", "Europe", "zone.tab", "Europe/London\0", "x" * 300]
)
def test_stated_zone_that_is_none_is_passed_over(stated: str) -> None:
    assert not is_zone(stated)
    assert whereabouts(Clues(number=LONDON, stated=stated), NOW).source is Source.NUMBER


def test_mobile_of_a_country_with_several_zones_means_all_of_them_qh_3() -> None:
    # The library knows Sydney alone for mobile numbers of Australia; people of Perth have the same.
    found = whereabouts(Clues(number=SYDNEY), NOW)
    assert found.source is Source.POSSIBLE
    assert {"Australia/Sydney", "Australia/Perth", "Australia/Adelaide"} <= names(found.places)
    assert found.places[0].zone == "Australia/Sydney"


def test_area_code_over_two_zones_means_both_of_them() -> None:
    assert of_prefix("1850") == (Place("America/New_York", "US", "FL"), Place("America/Chicago", "US", "FL"))


def test_area_code_of_a_mobile_in_brazil_is_trusted() -> None:
    assert names(of_prefix("5511987654321")) == {"America/Sao_Paulo"}
    assert "America/Manaus" in names(of_prefix("5592987654321"))


def test_strict_mode_takes_all_zones_of_the_country_qh_4() -> None:
    found = whereabouts(Clues(number=NEW_JERSEY), NOW, is_strict=True)
    assert names(found.places) == set(zones_by_country()["US"])
    assert found.source is Source.POSSIBLE
    # Only for what is known from the number alone.
    assert whereabouts(Clues(number=NEW_JERSEY, stated="America/Denver"), NOW, is_strict=True).source is Source.STATED


def test_state_follows_the_clock_and_the_law_follows_the_country() -> None:
    def places(**clues: str) -> tuple[Place, ...]:
        return whereabouts(Clues(number=NEW_JERSEY, **clues), NOW).places  # type: ignore[arg-type]

    assert places(stated="America/New_York") == (Place("America/New_York", "US", "NJ"),)
    # Detroit's clock shows what New York's shows.
    assert places(stated="America/Detroit") == (Place("America/Detroit", "US", "NJ"),)
    assert places(stated="America/Denver") == (Place("America/Denver", "US", ""),)
    assert places(stated="Europe/Paris") == (Place("Europe/Paris", "US", ""), Place("Europe/Paris", "FR", ""))
    assert places(stated="Europe/Paris", country="FR", region="57") == (Place("Europe/Paris", "FR", "57"),)


def test_address_in_a_state_has_the_zones_of_its_area_codes() -> None:
    assert zones_of_country("US", "TX") == ("America/Chicago", "America/Denver")
    assert zones_of_country("US", "CA") == ("America/Los_Angeles",)
    assert zones_of_country("GB", "ENG") == ("Europe/London",)


def test_number_of_no_country_is_nowhere() -> None:
    assert of_prefix("881612345678") == (Place(NOWHERE, "", ""),)


def test_most_populous_zone_of_every_country_stands_first() -> None:
    first = {country: zones[0] for country, zones in zones_by_country().items()}
    expected = {
        "AU": "Australia/Sydney", "BR": "America/Sao_Paulo", "CA": "America/Toronto", "CD": "Africa/Kinshasa",
        "CL": "America/Santiago", "CN": "Asia/Shanghai", "ES": "Europe/Madrid", "FR": "Europe/Paris",
        "ID": "Asia/Jakarta", "KZ": "Asia/Almaty", "MX": "America/Mexico_City", "NZ": "Pacific/Auckland",
        "PT": "Europe/Lisbon", "RU": "Europe/Moscow", "UA": "Europe/Kyiv", "US": "America/New_York",
        "UZ": "Asia/Tashkent",
    }  # fmt: skip
    assert {country: first[country] for country in expected} == expected


def test_sorted_table_says_of_each_number_what_its_prefix_says(sets: PlaceSets) -> None:
    assert list(sets.starts) == sorted(set(sets.starts)) and sets.starts[0] == 0
    chance = random.Random(7)
    prefixes = [prefix for prefix in TIMEZONE_DATA if prefix not in ("999",)]
    for _ in range(3000):
        digits = chance.choice(prefixes)
        digits += "".join(chance.choice("0123456789") for _ in range(max(0, 11 - len(digits))))
        assert sets[sets.of_number(int(digits))] == of_prefix(digits), digits


def test_sets_are_interned_and_keep_their_numbers(sets: PlaceSets) -> None:
    known = sets.of_person(NEW_JERSEY, "America/Denver")
    assert sets[known] == (Place("America/Denver", "US", ""),)
    assert sets.of_person(NEW_JERSEY, "America/Denver") == known == sets.intern(sets[known])
    assert sets.of_person(NEW_JERSEY, "Mars/Phobos") == sets.of_number(NEW_JERSEY)


def test_table_of_a_strict_country_widens_its_numbers_alone() -> None:
    strict = PlaceSets(strict_countries=["US"])
    assert strict[strict.of_number(NEW_JERSEY)] == everywhere(of_prefix("1201"))
    assert names(strict[strict.of_number(LONDON)]) == {"Europe/London"}


def test_states_of_area_codes_are_those_of_the_number_library() -> None:
    by_name = {"New Jersey": "NJ", "Texas": "TX", "Florida": "FL", "Kentucky": "KY", "Rhode Island": "RI",
               "Alabama": "AL", "Louisiana": "LA", "Mississippi": "MS", "Ontario": "ON", "Quebec": "QC",
               "California": "CA", "Oklahoma": "OK", "Maryland": "MD", "Pennsylvania": "PA"}  # fmt: skip
    wrong = {
        prefix: place["en"]
        for prefix, place in GEOCODE_DATA.items()
        if len(prefix) == 4 and prefix[0] == "1" and place.get("en") in by_name
        and by_name[place["en"]] not in {region for _, region in regions_by_area_code().get(prefix[1:], ())}
    }  # fmt: skip
    assert wrong == {}
    assert all(country_of(int(f"1{code}")) == of for code, places in regions_by_area_code().items() for of, _ in places)


def test_every_zone_of_the_pinned_data_is_read_and_its_version_known_qh_12() -> None:
    assert version()[:2] == "20"
    for name in zoneinfo.available_timezones() - {"localtime", "Factory"}:
        if not name.startswith(("posix/", "right/")) and "posixrules" not in name:
            assert not is_zone(name) or zone(name).key == name
    assert all(is_zone(name) for each in zones_by_country().values() for name in each)
