"""`sluice list` as a person meets it (SG-7)."""

from pathlib import Path

from click.testing import CliRunner

from gateway.__main__ import main


def run(dsn: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["list", *arguments, "--dsn", dsn])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_sg_7_numbers_come_and_go_by_a_source_that_is_shown(dsn: str, tmp_path: Path) -> None:
    assert run(dsn, "add", "vip", "+447700900123", "--source", "till") == (0, "1 added to 'vip', 0 were in it\n")
    (tmp_path / "numbers.csv").write_text("phone\n+447700900123\n+447700900124\nnobody\n")
    code, output = run(dsn, "add", "vip", "--file", str(tmp_path / "numbers.csv"))
    assert code == 1 and "1 added to 'vip', 1 were in it" in output and "1 rows have no number" in output
    told = run(dsn, "remove", "vip", "07700 900123", "--region", "GB", "--source", "wish")
    assert told == (0, "1 removed from 'vip', 0 were not in it\n")
    code, output = run(dsn, "show", "vip")
    assert code == 0 and "list 'vip': 1 numbers, ready, from by hand" in output and "1 out by wish" in output
    code, output = run(dsn, "show", "vip", "+447700900123")
    assert code == 0 and output.startswith("+447700900123 is not in 'vip'\n")
    assert [line.split("UTC ")[1] for line in output.splitlines()[1:]] == ["in by till", "out by wish"]


def test_what_cannot_be_a_list_or_a_number_is_refused(dsn: str) -> None:
    assert run(dsn, "remove", "nothing", "+447700900123")[0] == 65
    assert run(dsn, "show", "nothing")[0] == 65
    assert run(dsn, "add", "vip")[0] == 65
    assert run(dsn, "add", "vip", "nobody")[0] == 65
    assert run(dsn, "add", "a.csv@0123456789abcdef", "+447700900123")[0] == 65
