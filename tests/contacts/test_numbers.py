"""Number cells as customers' spreadsheets hold them."""

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.numbers import FAULTS, REPAIRS, Forms, Numbers
from gateway.errors import ConfigError

GB_MOBILE = 447911123456
NOWHERE, GB, US, DE = Numbers(), Numbers("GB"), Numbers("us"), Numbers("DE")

TAKEN = [
    (NOWHERE, "+447911123456", GB_MOBILE, ()),
    (NOWHERE, "+44 (0)7911 123-456", GB_MOBILE, ()),
    (NOWHERE, "00447911123456", GB_MOBILE, ("double_zero",)),
    (NOWHERE, "447911123456", GB_MOBILE, ("plus_added",)),
    (NOWHERE, "447911123456.0", GB_MOBILE, ("decimal_zero", "plus_added")),
    (NOWHERE, "+44 7911 123456.0", GB_MOBILE, ("decimal_zero",)),
    (NOWHERE, "'+447911123456", GB_MOBILE, ("text_mark",)),
    (NOWHERE, '="+447911123456"', GB_MOBILE, ("formula",)),
    (NOWHERE, "447,911,123,456", GB_MOBILE, ("grouping", "plus_added")),
    (NOWHERE, "tel: +447911123456", GB_MOBILE, ("label",)),
    (NOWHERE, "\u200e+44\u00a07911\u202f123456\ufeff", GB_MOBILE, ("invisible",)),
    (NOWHERE, "+٤٤٧٩١١١٢٣٤٥٦", GB_MOBILE, ("digits",)),
    (NOWHERE, "＋４４７９１１１２３４５６", GB_MOBILE, ("digits",)),
    (GB, "07911 123456", GB_MOBILE, ()),
    (GB, "7911123456", GB_MOBILE, ("zero_added",)),
    (GB, "7911123456.0", GB_MOBILE, ("decimal_zero", "zero_added")),
    (GB, "447911123456", GB_MOBILE, ()),
    (GB, "+4915112345678", 4915112345678, ()),
    (GB, "004915112345678", 4915112345678, ()),
    (GB, "4915112345678", 4915112345678, ("plus_added",)),
    (US, "(212) 555-1234", 12125551234, ()),
    (US, "1-212-555-1234", 12125551234, ()),
    (US, "212.555.1234", 12125551234, ()),
    (US, "011 44 7911 123456", GB_MOBILE, ()),
    (US, "0044 7911 123456", GB_MOBILE, ("double_zero",)),
    (DE, "030/1234567", 49301234567, ()),
    (Numbers("IT"), "06 69812345", 390669812345, ()),
    (Numbers("FR"), "06.12.34.56.00", 33612345600, ()),
    (Numbers("DE", forms="international"), "447911123456", GB_MOBILE, ("plus_added",)),
    (Numbers("US", forms="national"), "4755551234", 14755551234, ()),
    (Numbers(possible=True), "+447700900123", 447700900123, ()),
]
REFUSED = [
    (NOWHERE, "", "empty"),
    (NOWHERE, " \u200b\u00a0", "empty"),
    (NOWHERE, "4,47701E+11", "scientific"),
    (NOWHERE, "4.47911E+11", "scientific"),
    (NOWHERE, "447911123456.5", "fraction"),
    (NOWHERE, "07911123456", "needs_region"),
    (NOWHERE, "2025550123", "needs_region"),
    (US, "4755551234", "ambiguous"),
    (DE, "447911123456", "ambiguous"),
    (NOWHERE, "+44 7911 123456; +44 7911 123457", "several"),
    (NOWHERE, "+447911123456/+447911123457", "several"),
    (NOWHERE, "+49 30 1234567/68", "several"),
    (NOWHERE, "07911123456 or 07911123457", "several"),
    (NOWHERE, "+442071838750 x12", "extension"),
    (NOWHERE, "+442071838750;ext=12", "extension"),
    (NOWHERE, "+1-800-FLOWERS", "letters"),
    (NOWHERE, "O7911123456", "letters"),
    (NOWHERE, "n/a", "letters"),
    (NOWHERE, "#REF!", "letters"),
    (NOWHERE, "*100#", "not_a_number"),
    (NOWHERE, "-447911123456", "not_a_number"),
    (NOWHERE, "()", "not_a_number"),
    (NOWHERE, "+44 7911 1", "too_short"),
    (NOWHERE, "12", "too_short"),
    (NOWHERE, "+4479111234567", "too_long"),
    (NOWHERE, "+447911123456447911123456", "too_long"),
    (NOWHERE, "+999123456789", "unknown_calling_code"),
    (NOWHERE, "+447700900123", "not_in_use"),
    (Numbers(mobile=True), "+442071838750", "not_mobile"),
]


@pytest.mark.parametrize(("numbers", "cell", "expected", "repairs"), TAKEN)
def test_a_number_is_taken_and_its_repairs_are_named(
    numbers: Numbers, cell: str, expected: int, repairs: tuple[str, ...]
) -> None:
    verdict = numbers.read(cell)
    assert (verdict.number, verdict.fault, verdict.repairs) == (expected, "", repairs)


@pytest.mark.parametrize(("numbers", "cell", "fault"), REFUSED)
def test_a_fault_is_named(numbers: Numbers, cell: str, fault: str) -> None:
    verdict = numbers.read(cell)
    assert (verdict.number, verdict.fault) == (0, fault)
    assert FAULTS[fault]


@pytest.mark.parametrize(
    "numbers", [NOWHERE, GB, US, DE, Numbers("GB", forms="national"), Numbers(forms="international")]
)
def test_a_column_says_what_each_cell_alone_says(numbers: Numbers) -> None:
    cells = [case[1] for case in (*TAKEN, *REFUSED)] * 2
    found, kinds, verdicts = numbers.column(cells)
    for index, cell in enumerate(cells):
        slow = numbers.read(cell)
        assert found[index] == slow.number, cell
        if index in verdicts:
            assert verdicts[index] == slow, cell
        else:
            assert kinds[index] and numbers.repairs_of(kinds[index]) == slow.repairs, cell


def test_digits_that_two_countries_read_are_ambiguous_without_a_region() -> None:
    # +65 8123 4567 of Singapore; 658 123-4567 of Jamaica.
    assert NOWHERE.read("6581234567").fault == "ambiguous"


@given(st.text())
def test_any_text_gets_a_number_or_a_fault_with_a_name(cell: str) -> None:
    for numbers in (NOWHERE, GB):
        verdict = numbers.read(cell)
        assert bool(verdict.number) != bool(verdict.fault)
        assert not verdict.fault or verdict.fault in FAULTS
        assert all(repair in REPAIRS for repair in verdict.repairs)


@given(st.lists(st.from_regex(r"[+'=]?[\d ().,/\-]{0,22}[x;]?\d{0,4}", fullmatch=True), max_size=6))
def test_any_cells_of_digits_are_read_alike_fast_and_slowly(cells: list[str]) -> None:
    for numbers in (NOWHERE, GB, US):
        found, _, _ = numbers.column(cells)
        assert list(found) == [numbers.read(cell).number for cell in cells]


@given(st.integers(10**6, 10**14))
def test_what_is_taken_after_a_plus_is_valid_to_phonenumbers(digits: int) -> None:
    found, _, _ = NOWHERE.column([f"+{digits}"])
    try:
        number = phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException:
        assert found[0] == 0
    else:
        assert (found[0] != 0) == phonenumbers.is_valid_number(number)


@pytest.mark.parametrize(("region", "forms"), [("XX", "mixed"), ("", "mixed"), (None, "national"), (None, "some")])
def test_a_wrong_setting_is_refused(region: str | None, forms: Forms) -> None:
    with pytest.raises(ConfigError, match="expected"):
        Numbers(region, forms=forms)
