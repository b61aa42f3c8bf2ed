"""Countries of numbers, held against phonenumbers, and their codes."""

import phonenumbers
import pytest

from gateway.countries import (
    HEAD_DIGITS,
    code_of,
    countries,
    country_by_prefix,
    country_of,
    heads_by_country,
    letters_of,
)

KINDS = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_country_is_the_one_that_phonenumbers_names(region):
    for kind in KINDS:
        example = phonenumbers.example_number_for_type(region, kind)
        if example is not None:
            number = int(phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)[1:])
            assert country_of(number) == phonenumbers.region_code_for_number(example), number


@pytest.mark.parametrize(
    ("number", "country"),
    [
        (447700900123, "GB"),
        (447700300123, "JE"),
        (16045550123, "CA"),
        (12125550123, "US"),
        (77011234567, "KZ"),
        (79161234567, "RU"),
        (80012345678, ""),
        (883510000000, ""),
        (999, ""),
        (1, "US"),
    ],
)
def test_longest_prefix_decides_and_numbers_of_no_country_have_none(number, country):
    assert country_of(number) == country


def test_codes_and_letters_are_one_to_one_and_fit_a_smallint():
    codes = {code_of(country) for country in countries()}
    assert len(codes) == len(countries()) > 200 and 0 not in codes and max(codes) < 1 << 15
    assert {letters_of(code) for code in codes} == countries()
    assert (code_of("GB"), letters_of(226), code_of(""), letters_of(0)) == (226, "GB", 0, "")


@pytest.mark.parametrize("text", ["gb", "G", "GBR", "G1", "ÄÖ"])
def test_what_is_no_country_has_no_code(text):
    with pytest.raises(ValueError, match="two capital letters"):
        code_of(text)
    with pytest.raises(ValueError, match="two letters"):
        letters_of(31)


def test_every_prefix_is_digits_and_belongs_to_one_country():
    assert all(prefix.isdecimal() and len(country) == 2 for prefix, country in country_by_prefix().items())


def test_people_are_counted_by_country_from_the_first_digits_of_their_numbers() -> None:
    numbers = [821012345678, 447400123456, 447911123456, 59059027123, 870776000000, 14155550123, 14165550123]
    heads = {str(number)[:HEAD_DIGITS]: 2 for number in numbers}
    assert heads_by_country(heads) == {"KR": 2, "GB": 2, "GG": 2, "BL": 2, "": 2, "US": 2, "CA": 2}
