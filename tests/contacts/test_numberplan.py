"""The table of states against phonenumbers, for every calling code and every region."""

import random
from array import array
from collections.abc import Iterator

import phonenumbers
import pytest

from _fastpath import numbertext
from gateway.contacts.numberplan import LINES, NumberPlan

PLAN = NumberPlan()
CODE_OF_LINE = {getattr(phonenumbers.PhoneNumberType, line.upper()): code for code, line in enumerate(LINES, 1)}
DESCS = [line for line in LINES if line != "fixed_line_or_mobile"]


def drawn(calling_code: int, regions: tuple[str, ...], chance: random.Random) -> Iterator[str]:
    """National numbers: the examples of the metadata, and each with digits changed, dropped and added."""
    for region in regions:
        if region == "001":
            metadata = phonenumbers.PhoneMetadata.metadata_for_nongeo_region(calling_code, None)
        else:
            metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
        for name in DESCS:
            desc = getattr(metadata, name)
            if desc is not None and desc.example_number:
                example = desc.example_number
                yield example
                for _ in range(4):
                    keep = chance.randrange(len(example))
                    rest = len(example) - keep + chance.choice((0, 0, 0, 1, -1))
                    yield example[:keep] + "".join(chance.choices("0123456789", k=max(0, rest)))


def judged(cell: str, region: str | None) -> tuple[int, int]:
    """(E.164, code of the line) by phonenumbers; nought, nought when not valid."""
    try:
        number = phonenumbers.parse(cell, region)
    except phonenumbers.NumberParseException:
        return 0, 0
    if not phonenumbers.is_valid_number(number):
        return 0, 0
    return int(phonenumbers.format_number(number, 0)[1:]), CODE_OF_LINE[phonenumbers.number_type(number)]


def scanned(
    cells: list[str], national: int, trunk: str, calling_code: int, forms: int
) -> Iterator[tuple[str, int, int]]:
    numbers, kinds = array("q", bytes(8 * len(cells))), bytearray(len(cells))
    numbertext.scan(cells, PLAN.steps, PLAN.labels, national, -1, forms, len(trunk), calling_code, numbers, kinds)
    return zip(cells, numbers, kinds, strict=True)


def test_after_a_plus_it_never_differs_from_phonenumbers_and_seldom_asks() -> None:
    chance, valid, asked = random.Random(7), 0, 0
    for calling_code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        assert PLAN.graft(str(calling_code))
        cells = [f"+{calling_code}{number}" for number in drawn(calling_code, regions, chance)]
        for cell, number, kind in scanned(cells, -1, "", 0, 0):
            expected = judged(cell, None)
            assert kind == 0 or (number, kind) == expected, cell
            valid += expected[0] != 0
            asked += expected[0] != 0 and kind == 0
    assert valid > 2000 and asked < valid / 50


@pytest.mark.parametrize("regions", [sorted(phonenumbers.SUPPORTED_REGIONS)[n::8] for n in range(8)])
def test_in_a_region_it_never_differs_from_phonenumbers(regions: list[str]) -> None:
    chance = random.Random(8)
    for region in regions:
        metadata = phonenumbers.PhoneMetadata.metadata_for_region(region, None)
        assert metadata is not None
        code, trunk = metadata.country_code or 0, metadata.national_prefix or ""
        cells = []
        for number in drawn(code, (region,), chance):
            cells += [number, trunk + number, f"{code}{number}"]
        for cell, number, kind in scanned(cells, PLAN.region(region), trunk, code, 1):
            assert kind == 0 or (number, kind & 15) == judged(cell, region), (region, cell)


def test_grafting_twice_changes_nothing() -> None:
    PLAN.graft("44")
    states = len(PLAN.labels)
    assert PLAN.graft("447") and len(PLAN.labels) == states


def test_no_calling_code_is_no_graft() -> None:
    assert not PLAN.graft("999") and not PLAN.graft("") and not PLAN.graft("0")


def test_a_pattern_with_lookaround_is_refused_not_misread() -> None:
    from gateway.contacts.numberplan import _parse

    with pytest.raises(ValueError, match="lookaround"):
        _parse("(?!12)34")
