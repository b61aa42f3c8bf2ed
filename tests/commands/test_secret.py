"""What is sealed at the command line opens in the settings, and is said nowhere."""

import pytest
from click.testing import CliRunner

from gateway import config
from gateway.__main__ import main

KEY = "5a" * 32
pytest.importorskip("cryptography", reason="sealing needs the package cryptography")


def test_sealed_password_is_the_carriers_password(tmp_path):
    sealed = CliRunner().invoke(main, ["secret"], input="c4n4ry\n", env={"SLUICE_KEY": KEY})
    assert sealed.exit_code == 0 and "c4n4ry" not in sealed.output
    path = tmp_path / "sluice.toml"
    path.write_text(f'[carriers.acme]\nhost = "h"\npassword = "{sealed.output.strip()}"\n')
    assert config.load(path, {"SLUICE_KEY": KEY}).carrier("acme").password == "c4n4ry"


def test_without_a_key_it_says_what_a_key_is():
    done = CliRunner().invoke(main, ["secret"], input="c4n4ry\n", env={"SLUICE_KEY": "", "SLUICE_KEY_FILE": ""})
    assert done.exit_code != 0 and "64 hexadecimal digits" in done.output and "c4n4ry" not in done.output
