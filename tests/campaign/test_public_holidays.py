"""Days of rest, for years ahead (QH-11)."""

from datetime import date

import pytest

from gateway.campaign.public_holidays import days_off, is_calendar, of_year, version


@pytest.mark.parametrize(
    ("year", "easter_monday", "ascension"),
    # From the table of Easter dates of the US Naval Observatory.
    [(2026, (4, 6), (5, 14)), (2027, (3, 29), (5, 6)), (2030, (4, 22), (5, 30)), (2035, (3, 26), (5, 3))],
)
def test_feasts_of_france_that_follow_easter_are_known_years_ahead(
    year: int, easter_monday: tuple[int, int], ascension: tuple[int, int]
) -> None:
    found = of_year("FR", year)
    assert {date(year, *easter_monday), date(year, *ascension), date(year, 7, 14), date(year, 11, 11)} <= found
    assert len(found) == 11


def test_alsace_and_moselle_rest_two_days_more() -> None:
    more = {date(2026, 4, 3), date(2026, 12, 26)}
    assert of_year("FR-57", 2026) - of_year("FR", 2026) == more == of_year("FR-6AE", 2026) - of_year("FR", 2026)


def test_days_off_of_several_calendars_and_years_are_joined() -> None:
    found = days_off(["FR", "US"], date(2026, 12, 25), date(2027, 1, 1))
    assert found == {date(2026, 12, 25), date(2027, 1, 1)}


def test_part_that_a_country_does_not_know_has_the_days_of_the_country() -> None:
    assert of_year("FR-IDF", 2026) == of_year("FR", 2026)
    assert of_year("ZZ", 2026) == frozenset()
    assert is_calendar("FR-57") and not is_calendar("FR-IDF") and not is_calendar("ZZ")


def test_version_of_the_data_is_said_qh_12() -> None:
    assert version()[0].isdigit()
