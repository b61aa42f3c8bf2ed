"""Cells of a file as values: what is certain is read, what is not is named."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts import cells
from gateway.contacts.cells import FAULTS, KINDS, Ways, Wrong

BERLIN = Ways(zone=ZoneInfo("Europe/Berlin"))


def fault_of(read: Any, *given: Any) -> str:
    with pytest.raises(Wrong) as error:
        read(*given)
    return error.value.fault


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("12", 12), ("-3", -3), ("12.5", 12.5), ("12,50", 12.5), ("1.234,50", 1234.5), ("1,234.50", 1234.5),
        ("1.234.567", 1234567), ("1'234'567.5", 1234567.5), ("1 234,5", 1234.5), ("0.125", 0.125),
        ("1234.567", 1234.567),
    ],
)  # fmt: skip
def test_a_number_that_can_be_read_in_one_way_is_read(cell: str, value: float) -> None:
    assert cells.number(cell, Ways()) == value


def test_a_separator_before_three_digits_is_ambiguous_until_it_is_said_what_it_is() -> None:
    assert fault_of(cells.number, "1.234", Ways()) == fault_of(cells.number, "1,234", Ways()) == "ambiguous_number"
    assert cells.number("1.234", Ways(decimal=",")) == 1234 and cells.number("1.234", Ways(decimal=".")) == 1.234
    assert fault_of(cells.number, "1,5", Ways(decimal=".")) == "number"


@pytest.mark.parametrize("cell", ["NaN", "nan", "Infinity", "-inf", "1e5", "12 %", "1,2,3.4.5", "9" * 40, "--3", "."])
def test_what_is_no_number_is_refused(cell: str) -> None:
    assert fault_of(cells.number, cell, Ways()) == "number"


def test_what_a_spreadsheet_left_is_named_and_what_only_looks_so_is_kept() -> None:
    assert fault_of(cells.text, "#REF!") == fault_of(cells.text, "#n/a") == "spreadsheet_error"
    for cell in ("=1+2", "=HYPERLINK(A1)", "@SUM(A1:A9)", "+cmd|' /C calc'!A0", "=cmd|' /C calc'!A0"):
        assert fault_of(cells.text, cell) == "formula"
    for cell in ("@ada", "-50 % (sale)", "+49", "#1 fan", "- none -"):
        assert cells.text(cell) == cell
    assert cells.text('="0815"') == "0815"
    assert cells.text("e\u0301") == "\u00e9"
    assert fault_of(cells.text, "M\ufffdller") == "bad_octets"


def test_a_day_of_two_readings_is_ambiguous_until_its_order_is_said() -> None:
    assert fault_of(cells.told_time, "01/02/2026", Ways()) == "ambiguous_date"
    assert cells.told_time("01/02/2026", Ways(dates="dmy")) == "2026-02-01"
    assert cells.told_time("01/02/2026", Ways(dates="mdy")) == "2026-01-02"
    assert cells.told_time("31.12.2026", Ways()) == "2026-12-31" == cells.told_time("2026-12-31", Ways())
    assert fault_of(cells.told_time, "03.04.05", Ways(dates="dmy")) == "ambiguous_date"
    assert fault_of(cells.told_time, "2026-02-30", Ways()) == "time"


def test_a_time_without_offset_needs_a_zone_and_one_that_was_twice_stays_unread() -> None:
    assert cells.told_time("2026-03-01T12:00:00+01:00", Ways()) == "2026-03-01T11:00:00Z"
    assert cells.told_time("2026-03-01 12:00 -0230", Ways()) == "2026-03-01T14:30:00Z"
    assert fault_of(cells.told_time, "2026-03-01 12:00", Ways()) == "no_zone"
    assert cells.told_time("01.07.2026 12:00", Ways(dates="dmy", zone=BERLIN.zone)) == "2026-07-01T10:00:00Z"
    assert fault_of(cells.told_time, "2026-10-25 02:30", BERLIN) == "time_change"
    assert fault_of(cells.told_time, "2026-03-29 02:30", BERLIN) == "time_change"
    assert cells.instant("2026-07-01", BERLIN) == datetime(2026, 6, 30, 22, tzinfo=UTC)
    assert fault_of(cells.instant, "2026-07-01", Ways()) == "no_zone"


def test_money_names_its_currency_and_takes_no_other() -> None:
    read = cells.reader("money", "EUR", Ways())
    assert read("12,50 €") == read("€12.50") == read("EUR 12.5") == {"amount": 12.5, "currency": "EUR"}
    assert fault_of(read, "$12.50") == "amount"
    for wrong in (("money", "Euro"), ("array", "--"), ("number", "x"), ("colour", "")):
        with pytest.raises(ValueError, match="expected"):
            cells.reader(*wrong, Ways())


def test_arrays_and_truth_are_read_as_they_are_written() -> None:
    assert cells.reader("array", "", Ways())("a| b||c") == ["a", "b", "c"]
    assert cells.reader("array", ";", Ways())("a;b") == ["a", "b"]
    assert cells.truth("Ja") is True and cells.truth("no") is False
    assert fault_of(cells.truth, "perhaps") == "bool"


@given(st.text(max_size=40), st.sampled_from(KINDS), st.sampled_from(["", ".", ","]), st.sampled_from(["", "dmy"]))
def test_any_text_is_a_value_or_a_fault_with_a_name(cell: str, kind: str, decimal: Any, dates: Any) -> None:
    read = cells.reader(kind, "EUR" if kind == "money" else "", Ways(decimal=decimal, dates=dates, zone=BERLIN.zone))
    values, faults = cells.column([cell], read)
    assert len(values) == 1 and set(faults.values()) <= set(FAULTS)
