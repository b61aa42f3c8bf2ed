"""A whole reading: which column, what is taken, what the report says."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import Reading
from gateway.contacts.report import Report
from gateway.contacts.table import Table
from gateway.errors import FileFault


def reading_of(tmp_path: Path, text: str, numbers: Numbers | None = None, **options: object) -> Reading:
    path = tmp_path / "people.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return Reading(Table(str(path)), numbers or Numbers(), **options)  # type: ignore[arg-type]


def report_of(tmp_path: Path, text: str, numbers: Numbers | None = None, **options: object) -> Report:
    reading = reading_of(tmp_path, text, numbers, **options)
    with reading.table:
        return reading.run()


@pytest.mark.parametrize(
    "header",
    ["phone", "Mobile", "MSISDN", "number", "Phone Number", "Telefon", "Handynummer", "Teléfono", "Número de teléfono",
     "Numéro de téléphone", "телефон", "手机号", "Cep Telefonu", "Numer telefonu"],
)  # fmt: skip
def test_the_number_column_is_known_by_its_name_in_many_languages(tmp_path: Path, header: str) -> None:
    report = report_of(tmp_path, f"name,{header}\nAnn,+447911123456\n")
    assert (report.number_column_reason, report.sent) == ("by its name", 1)


def test_the_number_column_is_known_by_its_contents(tmp_path: Path) -> None:
    report = report_of(tmp_path, "a,b\nAnn,+447911123456\nBob,\n")
    assert (report.number_column, report.number_column_reason) == ("b", "by its contents")


@pytest.mark.parametrize("text", ["phone,mobile\n+447911123456,+447911123457\n", "a,b\n+447911123456,+447911123457\n",
                                  "name,city\nAnn,Rome\n"])  # fmt: skip
def test_we_ask_for_the_number_column_instead_of_choosing(tmp_path: Path, text: str) -> None:
    with pytest.raises(FileFault, match="--number-column") as caught:
        reading_of(tmp_path, text)
    assert caught.value.fault == "number_column"


@pytest.mark.parametrize("asked", ["mobile", "Mobile", "2"])
def test_an_asked_column_is_taken(tmp_path: Path, asked: str) -> None:
    report = report_of(tmp_path, "phone,mobile\n1,+447911123457\n", number_column=asked)
    assert (report.number_column, report.sent) == ("mobile", 1)


def test_an_asked_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="expected one of phone, name"):
        reading_of(tmp_path, "phone,name\n+447911123456,x\n", number_column="cell")


def test_the_first_of_a_number_wins_whatever_its_form(tmp_path: Path) -> None:
    text = "phone,name\n+447911123456,Ann\n00447911123456,Bob\n+44 7911 123456,Cy\n+447911123457,Di\n"
    reading = reading_of(tmp_path, text)
    taken = [
        (number, name)
        for batch in reading.batches(12)
        for number, name in zip(batch.numbers, batch.columns[0], strict=True)
        if number
    ]
    assert taken == [(447911123456, "Ann"), (447911123457, "Di")]
    assert reading.report.duplicate_examples == [(3, 2), (4, 2)]


def test_the_report_counts_every_row_once(tmp_path: Path) -> None:
    text = "phone,name\n+447911123456,a\n+447911123456,b\n,x\n4.4E+11,\n+1,x,y\n,\n\n+442071838750\n"
    report = report_of(tmp_path, text)
    assert (report.rows, report.sent, report.refused, report.duplicates) == (6, 2, 3, 1)
    assert {name: tally.count for name, tally in report.faults.items()} == {
        "empty": 1,
        "scientific": 1,
        "too_many_cells": 1,
    }
    assert report.lines == {"mobile": 1, "fixed_line": 1}
    assert {name: tally.count for name, tally in report.row_notes.items()} == {
        "not_mobile": 1,
        "short_row": 1,
        "blank_line": 2,
    }


def test_landlines_are_refused_by_option(tmp_path: Path) -> None:
    report = report_of(tmp_path, "phone\n+442071838750\n+447911123456\n", Numbers(mobile=True))
    assert (report.sent, report.faults["not_mobile"].count) == (1, 1)


def test_fields_of_the_template_are_held_against_the_header(tmp_path: Path) -> None:
    text = "phone,First Name\n+447911123456,\n+447911123457, \n+447911123458,Ann\n,\n"
    report = report_of(tmp_path, text, template_fields=["First_Name", "first_name", "city"])
    uses = [(use.name, use.is_missing, use.empty, use.near) for use in report.template]
    assert uses == [("First_Name", False, 2, ""), ("first_name", True, 0, "First_Name"), ("city", True, 0, "")]
    assert report.missing_fields == ["first_name", "city"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.text(alphabet='+4791123456 ,"é\r\n', max_size=30), max_size=20), st.sampled_from([1, 30, 1 << 16]))
def test_the_counts_add_up_for_any_rows(tmp_path: Path, rows: list[str], characters: int) -> None:
    reading = reading_of(tmp_path, "phone,name\n" + "\n".join(rows))
    with reading.table:
        taken = sum(sum(map(bool, batch.numbers)) for batch in reading.batches(characters))
    report = reading.report
    assert report.rows == report.sent + report.refused + report.duplicates
    assert report.sent == taken == sum(report.lines.values())
    assert report.refused == sum(tally.count for tally in report.faults.values())
