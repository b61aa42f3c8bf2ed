"""Files of codes as shops write them: what is damaged is told with its line, and the rest is taken."""

import gzip
from pathlib import Path

import pytest

from gateway.contacts.codes import CodeFile
from gateway.errors import FileFault


def read(path: Path, text: str | bytes, column: str = "") -> tuple[list[str], dict[str, list[int]]]:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with CodeFile(str(path), column) as codes:
        found = [code for batch in codes.batches() for code in batch]
        return found, {name: [one.line for one in tally.examples] for name, tally in codes.damage.items()}


def test_damage_is_told_by_name_and_line_and_the_rest_is_taken(tmp_path: Path) -> None:
    text = "Code,Used\nA1,no\n A2 ,no\n,no\nTWO WORDS,no\na1,no\né5,no\n" + "X" * 65 + ",no\nA3,no,no\nA4\n"
    assert read(tmp_path / "codes.csv", text) == (
        ["A1", "A2", "A4"],
        {"empty": [4], "blanks": [5], "duplicate": [6], "characters": [7], "too_long": [8], "too_many_cells": [9]},
    )


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("A1\nA2\n", ""),
        ("code\nA1\nA2\n", ""),
        ("Name;Discount code\r\nSpring;A1\r\nSpring;A2\r\n", ""),
        ("\ufeffGutscheincode\tWert\nA1\t5\nA2\t5\n", ""),
        ("x,y\n1,A1\n2,A2\n", "y"),
        ("x,y\n1,A1\n2,A2\n", "2"),
        ("A1\nA2\n", "1"),
        ('"code"\n"A1"\n"A2"\n', ""),
    ],
)
def test_the_column_of_codes_is_found_with_a_header_and_without(tmp_path: Path, text: str, column: str) -> None:
    assert read(tmp_path / "codes.csv", text, column) == (["A1", "A2"], {})
    assert read(tmp_path / "codes.csv.gz", gzip.compress(text.encode()), column) == (["A1", "A2"], {})


@pytest.mark.parametrize(("text", "column"), [("x,y\nA1,A2\n", ""), ("x,y\nA1,A2\n", "z"), ("A1\n", "z")])
def test_a_file_without_a_column_of_codes_is_refused_with_those_it_has(tmp_path: Path, text: str, column: str) -> None:
    with pytest.raises(FileFault, match="expected .*column"):
        read(tmp_path / "codes.csv", text, column)


def test_a_code_met_again_far_behind_is_a_duplicate_however_it_is_written(tmp_path: Path) -> None:
    text = "\n".join([f"CODE{at}" for at in range(30_000)] + ["code17"])
    found, damage = read(tmp_path / "codes.csv", text)
    assert len(found) == 30_000 and damage == {"duplicate": [30_001]}
