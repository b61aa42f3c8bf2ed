"""`sluice rehearse`, as a person meets it."""

import json
from pathlib import Path

from click.testing import CliRunner

from gateway.__main__ import main

CONFIG = '[carriers.a]\nhost = "127.0.0.1"\nport = 1\n[brands.acme]\ncountry = "GB"\nzone = "Europe/London"\n'
DOCUMENT = 'name = "c"\nbrand = "acme"\nmessage = {text = "Hi"}\naim = "a"\n[trigger]\non = "event"\nevent = "seen"\n'


def turn(dsn: str, folder: Path, *arguments: str) -> tuple[int, str]:
    config, file = folder / "sluice.toml", folder / "c.toml"
    config.write_text(CONFIG)
    file.write_text(DOCUMENT)
    result = CliRunner().invoke(main, ["rehearse", *arguments, "--dsn", dsn, "--config", str(config)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_a_file_is_rehearsed_over_nobody_and_says_what_it_assumes(dsn: str, tmp_path: Path) -> None:
    code, output = turn(dsn, tmp_path, str(tmp_path / "c.toml"), "--assume", "clicked=0.1", "--days", "2")
    assert code == 0, output
    assert "0 people enter at" in output and "assumed: clicked 0.1" in output
    told = json.loads(turn(dsn, tmp_path, str(tmp_path / "c.toml"), "--json")[1])
    assert (told["people"], told["texts"], told["days"]) == (0, [], 30)


def test_what_cannot_be_rehearsed_says_why(dsn: str, tmp_path: Path) -> None:
    code, output = turn(dsn, tmp_path, "nobody")
    assert code == 65 and "nobody: expected a file, or a campaign" in output
    code, output = turn(dsn, tmp_path, str(tmp_path / "c.toml"), "--assume", "clicked=2")
    assert code == 2 and "a share from 0 to 1" in output
    code, output = turn(dsn, tmp_path, str(tmp_path / "c.toml"), "--audience", "none")
    assert code == 65 and "--audience: expected" in output
