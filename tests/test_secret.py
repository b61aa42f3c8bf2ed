"""Secrets come from where they are kept, and no fault, repr or traceback says one (X1)."""

import traceback

import pytest

from gateway import config, secret
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.errors import ConfigError

KEY = bytes(range(32))
CANARY = "c4n4ry"


def load(tmp_path, text, **environment):
    path = tmp_path / "sluice.toml"
    path.write_text(f'[carriers.acme]\nhost = "h"\n{text}\n')
    return config.load(path, environment).carrier("acme")


def test_password_stands_in_a_file_of_its_own(tmp_path):
    (tmp_path / "acme.password").write_text(f"{CANARY}\n")
    (tmp_path / "acme.password").chmod(0o600)
    assert load(tmp_path, 'password_file = "acme.password"').password == CANARY


def test_file_that_everybody_may_read_is_refused(tmp_path):
    (tmp_path / "acme.password").write_text(CANARY)
    (tmp_path / "acme.password").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod o-r") as caught:
        load(tmp_path, 'password_file = "acme.password"')
    assert CANARY not in str(caught.value)


def test_password_stands_in_a_variable(tmp_path):
    assert load(tmp_path, 'password_env = "ACME"', ACME=CANARY).password == CANARY
    with pytest.raises(ConfigError, match=r"carriers\.acme\.password_env: expected a variable that is set"):
        load(tmp_path, 'password_env = "ACME"')


def test_two_places_for_one_password_are_one_too_many(tmp_path):
    with pytest.raises(ConfigError, match="password and password_env") as caught:
        load(tmp_path, f'password = "{CANARY}"\npassword_env = "ACME"', ACME="x")
    assert CANARY not in str(caught.value)


def test_sealed_password_opens_with_its_key_alone_and_any_change_is_seen(tmp_path):
    pytest.importorskip("cryptography", reason="sealing needs the package cryptography")
    sealed = secret.seal(CANARY, KEY, bytes(12))
    assert load(tmp_path, f'outbind_listen = "127.0.0.1:1"\noutbind_password = "{sealed}"', SLUICE_KEY=KEY.hex())
    for wrong, key in ((sealed, bytes(32)), (sealed[:-2] + "AA", KEY), (sealed[:30], KEY), (secret.PREFIX + "?", KEY)):
        with pytest.raises(ConfigError, match="what it does not open") as caught:
            load(tmp_path, f'password = "{wrong}"', SLUICE_KEY=key.hex())
        said = "".join(traceback.format_exception(caught.value))
        assert CANARY not in said and wrong not in str(caught.value) and key.hex() not in said


def test_sealed_password_without_a_key_says_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match="SLUICE_KEY: expected 64 hexadecimal digits"):
        load(tmp_path, f'password = "{secret.PREFIX}AAAA"')


def test_no_setting_prints_its_secrets():
    carrier = CarrierSettings(host="h", system_id="me", password=CANARY, outbind_password=CANARY)
    settings = Settings(carriers={"acme": carrier}, database=DatabaseSettings(dsn=f"postgresql://u:{CANARY}@h/d"))
    for shown in (repr(carrier), str(settings), f"{settings}"):
        assert CANARY not in shown
    assert "system_id='me'" in repr(carrier) and "password='(not shown)'" in repr(carrier)
