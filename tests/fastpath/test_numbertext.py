"""The scan of number cells; that its table agrees with phonenumbers is tests/contacts/test_numberplan.py."""

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath import numbertext
from gateway.contacts.numberplan import MOBILE, UNBUILT, NumberPlan

PLAN = NumberPlan()
PLAN.graft("44")


def scan(cells: list[str], national: int = -1, forms: int = 0) -> tuple[list[int], list[int]]:
    numbers, kinds = array("q", bytes(8 * len(cells))), bytearray(len(cells))
    left = numbertext.scan(cells, PLAN.steps, PLAN.labels, national, -1, forms, 1, 44, numbers, kinds)
    assert left == sum(kind in (0, UNBUILT) for kind in kinds)
    return list(numbers), list(kinds)


@pytest.mark.parametrize(
    "cell", ["+447911123456", "+44 7911 123456", " +44-7911-123456 ", "+44\u00a07911\u00a0123456", "+44(7911)123456"]
)
def test_clean_forms_become_a_number(cell: str) -> None:
    assert scan([cell]) == ([447911123456], [MOBILE])


@pytest.mark.parametrize(
    "cell",
    ["", "+", "447911123456", "+447911123456.0", "'+447911123456", "++447911123456", "+44 7911 123456x1",
     "-447911123456", "+4479111234567891234567", "4,4791E+11", "٠٧٩١١", "+44791112345\ud800"],
)  # fmt: skip
def test_what_it_is_not_sure_of_is_asked(cell: str) -> None:
    assert scan([cell])[1] == [0]


def test_a_calling_code_not_built_yet_is_said_so() -> None:
    assert scan(["+4915112345678"])[1] == [UNBUILT]


def test_a_national_number_is_read_behind_its_trunk_prefix() -> None:
    numbers, kinds = scan(["07911123456"], PLAN.region("GB"))
    assert (numbers, kinds) == ([447911123456], [MOBILE | 1 << 4])


def test_what_is_no_str_is_asked() -> None:
    assert scan([5, None])[1] == [0, 0]  # type: ignore[list-item]


def test_a_table_that_is_none_is_refused() -> None:
    numbers, kinds = array("q", [0]), bytearray(1)
    with pytest.raises(ValueError):
        numbertext.scan(["1"], array("i", [0] * 9), bytearray(1), -1, -1, 0, 0, 0, numbers, kinds)
    with pytest.raises(ValueError):
        numbertext.scan(["1", "2"], PLAN.steps, PLAN.labels, -1, -1, 0, 0, 0, numbers, kinds)
    with pytest.raises(ValueError):
        numbertext.scan(["1"], PLAN.steps, PLAN.labels, len(PLAN.labels), -1, 0, 0, 0, numbers, kinds)


@given(st.lists(st.text(alphabet="+0123456789 -()\u00a0.,'x\u0660\ud800", max_size=40)), st.integers(0, 2))
def test_any_cells_are_read_or_asked(cells: list[str], forms: int) -> None:
    numbers, kinds = scan(cells, PLAN.region("GB"), forms)
    assert all(0 < number < 10**18 for number, kind in zip(numbers, kinds, strict=True) if kind not in (0, UNBUILT))
