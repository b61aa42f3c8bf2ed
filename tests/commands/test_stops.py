"""What stop and start share: numbers of files and of the command line, and entries as a person reads them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.commands._options import Refused
from gateway.commands._stops import numbers_in, numbers_of, shown
from gateway.store.stops import Standing

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_numbers_are_read_in_every_form_and_each_is_taken_once() -> None:
    assert numbers_of(["+44 7700 900123", "447700900123", "0044 7700 900124"], None) == [447700900123, 447700900124]
    assert numbers_of(["07700 900123"], "GB") == [447700900123]


def test_every_wrong_number_is_named() -> None:
    with pytest.raises(Refused, match="found brand: letters; 12: "):
        numbers_of(["+447700900123", "brand", "12"], None)


def test_file_of_numbers_is_read_with_what_cannot_be_taken_counted(tmp_path: Path) -> None:
    path = tmp_path / "stops.csv"
    path.write_text("name,phone\nann,+447700900123\nbob,\neve,+447700900124\nann again,+447700900123\n")
    assert numbers_in(path, None) == ([447700900123, 447700900124], 1)


def test_entry_is_shown_with_who_and_why_and_no_escapes_of_a_stranger() -> None:
    one = Standing(
        number=447700900123, scope="sender:acme", seq=7, at=AT, is_stop=True, source="command", note="by\x1b phone"
    )
    assert (
        shown(one) == "+447700900123 sender acme: stopped since 2026-03-01 12:00:00 UTC by command (7): by\\x1b phone"
    )
