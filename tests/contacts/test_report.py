"""What a dry run prints."""

import json
from pathlib import Path

import pytest

from gateway.contacts.numbers import Numbers
from gateway.contacts.reading import Reading
from gateway.contacts.report import Report, masked
from gateway.contacts.table import Table

TEXT = 'phone,name\n+447911123456,Ann\n+44 7911 12,"\x1b[31mred"\n"4,477E+11",x\n+447911123456,y\n'


def report_of(tmp_path: Path, **options: bool) -> Report:
    path = tmp_path / "people\x1b.csv"
    path.write_text(TEXT)
    with Table(str(path)) as table:
        return Reading(table, Numbers(), **options).run()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("+447911123456", "+•••••••••456"),
        ("07911 123-456", "••••• •••-456"),
        ("4,47701E+11", "4,47701E+11"),
        ("12", "12"),
    ],
)
def test_a_number_is_covered_but_can_be_found(cell: str, shown: str) -> None:
    assert masked(cell) == shown


def test_text_names_lines_causes_and_what_was_expected(tmp_path: Path) -> None:
    text = report_of(tmp_path).as_text()
    assert "line 3: +•• •••• ••" not in text and "line 3: +•• ••• " not in text
    assert "too_short: 1  (expected more digits)" in text
    assert "line 4: 4,477E+11" in text
    assert "line 5: the number of line 2" in text
    assert "447911123456" not in text


def test_numbers_are_shown_by_option(tmp_path: Path) -> None:
    assert "line 3: +44 7911 12\n" in report_of(tmp_path, shows_numbers=True).as_text()


def test_no_escape_sequence_of_the_file_reaches_the_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in report_of(tmp_path).as_text()


def test_json_holds_what_the_text_holds(tmp_path: Path) -> None:
    report = report_of(tmp_path)
    found = json.loads(json.dumps(report.as_json()))
    assert (found["rows"], found["sent"], found["refused"], found["duplicates"]) == (4, 1, 2, 1)
    assert found["duplicate_examples"] == [{"line": 5, "first": 2}]
    assert found["faults"]["scientific"]["examples"] == [{"line": 4, "found": "4,477E+11"}]
    assert "shows_numbers" not in found


def test_only_the_first_examples_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("phone\n" + "x\n" * 1000 + "+447911123456\n")
    with Table(str(path)) as table:
        report = Reading(table, Numbers()).run()
    assert report.faults["letters"].count == 1000 and len(report.faults["letters"].examples) == 3
