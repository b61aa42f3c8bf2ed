"""`sluice contacts` as a person meets it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.__main__ import main


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["contacts", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "people.csv").write_text("phone;name\n07911123456;Ann\n+447911123457;Bob\n")
    return str(tmp_path / "people.csv")


def test_a_clean_file_checks_with_nought(path: str) -> None:
    code, output = run("check", path, "--region", "GB", "--field", "name")
    assert code == 0 and "would send  2" in output


def test_a_fault_or_a_missing_field_checks_with_one(path: str) -> None:
    assert run("check", path)[0] == 1
    assert run("check", path, "--region", "GB", "--field", "city")[0] == 1


def test_check_prints_one_json_object(path: str) -> None:
    found = json.loads(run("check", path, "--json")[1])
    assert (found["sent"], found["faults"]["needs_region"]["count"]) == (1, 1)


def test_a_file_that_cannot_be_read_checks_with_two_and_no_traceback(tmp_path: Path) -> None:
    code, output = run("check", str(tmp_path), "--json")
    assert code == 2 and json.loads(output)["fault"] == "not_a_file"
    assert run("check", str(tmp_path / "none"))[0] == 2


def test_a_wrong_region_is_said_in_words(path: str) -> None:
    code, output = run("check", path, "--region", "UK")
    assert code == 2 and "expected a country" in output


def test_an_import_prints_the_report_and_the_list(path: str, dsn: str) -> None:
    code, output = run("import", path, "--list", "spring", "--dsn", dsn, "--region", "GB", "--json")
    found = json.loads(output)
    assert (code, found["entries"], found["endpoints_written"], found["report"]["sent"]) == (0, 2, 2, 2)
    code, output = run("import", path, "--list", "spring", "--dsn", dsn, "--region", "GB")
    assert code == 0 and "'spring': 2 people, 0 new or changed" in output


def test_a_database_that_is_away_ends_with_three(path: str) -> None:
    assert run("import", path, "--list", "spring", "--dsn", "postgresql://x@127.0.0.1:1/x")[0] == 3
