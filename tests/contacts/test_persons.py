"""Rows as persons: once each, as of their time, history."""

from pathlib import Path

import pytest

from tests.fixtures.files import NOW, Pass

A, B = "+4915112345671", "+4915112345672"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.csv"


def test_im_3_rows_of_a_file_are_history_and_no_events(path: Path) -> None:
    found = Pass(path, f"phone,city\n{A},Bonn\n")
    assert found.items[0].historical and not found.items[0].name and found.items[0].occurred_at == NOW


def test_a_person_twice_is_taken_once_and_the_first_row_is_named(path: Path) -> None:
    found = Pass(path, f"external_id,phone\n1,{A}\n1,{B}\n2,{A}\n")
    assert [item.who.phone for item in found.items] == [int(A[1:]), int(A[1:])]
    assert found.report.duplicates == 1 and found.report.first_of == [(3, 2)]
    assert ("phone", "shared_number") in found.report.notes
    assert Pass(path, f"phone\n{A}\n{A}\n").report.duplicates == 1


def test_ev_4_rows_with_a_time_are_all_told_as_of_it(path: Path) -> None:
    text = "external_id,at,city\n1,2026-01-02T00:00:00Z,Ulm\n1,2026-01-01T00:00:00Z,Bonn\n2,2027-01-01T00:00:00Z,x\n"
    found = Pass(path, text)
    assert [str(item.occurred_at)[:10] for item in found.items] == ["2026-01-02", "2026-01-01"]
    assert found.report.duplicates == 1 and found.faults == {("at", "future"): [4]}


def test_who_has_no_name_is_refused_and_a_card_is_a_name_of_its_own(path: Path) -> None:
    found = Pass(path, "card,city\n77,Bonn\n,Ulm\n")
    assert found.items[0].who.anonymous_id == "card:77" and found.faults == {("", "nobody"): [3]}


def test_kinds_of_line_are_of_the_numbers_that_are_taken(path: Path) -> None:
    found = Pass(path, f"phone,n\n{A},1\n+493012345678,2\n{B},x\n", "n=n:number")
    assert found.batches[0].kinds == {4915112345671: "mobile", 493012345678: "fixed_line"}
    assert found.report.lines == {"mobile": 1, "fixed_line": 1}
