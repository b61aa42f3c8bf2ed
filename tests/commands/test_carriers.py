"""`sluice carriers` says what is in force for a carrier, and why; never a secret."""

FILE = """
[profiles.group]
inherits = ["strict-3.4", "tx-rx-pair"]
about = "All of Acme."
window = 20
statuses = { RSYSERR = "throttle" }
[carriers.acme]
profile = "group"
host = "smsc.example"
password = "r1ght-pw"
statuses = { 0x401 = "retry" }
[carriers.plain]
host = "h"
"""


def test_carriers_and_profiles_are_listed(here, tmp_path):
    (tmp_path / "sluice.toml").write_text(FILE)
    lines = here("carriers").out.splitlines()
    assert lines[0] == "carrier  acme: smsc.example:2775, profiles group ← tx-rx-pair ← strict-3.4"
    assert lines[1] == "carrier  plain: h:2775, no profile"
    assert lines[2] == "profile  group (inherits strict-3.4, tx-rx-pair): All of Acme."
    assert any(line.startswith("profile  smpp-5.0 (inherits strict-3.4): SMPP 5.0") for line in lines)


def test_profiles_are_listed_without_any_settings(here):
    assert here("carriers").out.startswith("profile  strict-3.4: ")


def test_every_setting_is_explained_by_where_it_comes_from(here, tmp_path, environment):
    (tmp_path / "sluice.toml").write_text(FILE)
    environment["SLUICE__CARRIERS__ACME__TPS"] = "7"
    result = here("carriers", "explain", "acme", "--json")
    assert result.json["profiles"] == ["strict-3.4", "tx-rx-pair", "group"]
    settings = result.json["settings"]
    assert settings["window"] == {"value": 20, "from": "profile group"}
    assert settings["bind"] == {"value": "tx+rx", "from": "profile tx-rx-pair"}
    assert settings["tps"] == {"value": 7, "from": "variable SLUICE__CARRIERS__ACME__TPS"}
    assert settings["host"] == {"value": "smsc.example", "from": "carrier"}
    assert settings["max_parts"]["from"] == "default"
    assert settings["statuses.RSYSERR"] == {"value": "throttle", "from": "profile group"}
    assert settings["statuses.0x401"] == {"value": "retry", "from": "carrier"}
    assert settings["password"] == {"value": "(not shown)", "from": "carrier"}


def test_what_follows_from_other_settings_is_explained_as_it_is_in_force(here, tmp_path):
    (tmp_path / "sluice.toml").write_text(FILE.replace('host = "h"', 'host = "h"\ntps = 30'))
    explained = {name: here("carriers", "explain", name, "--json").json["settings"] for name in ("acme", "plain")}
    whence = "default: where tps is set, and counts PDUs"
    assert explained["plain"]["adaptive"] == {"value": True, "from": whence}
    assert explained["acme"]["adaptive"] == {"value": False, "from": whence}


def test_explanation_is_a_line_for_each_setting(here, tmp_path):
    (tmp_path / "sluice.toml").write_text(FILE)
    lines = here("carriers", "explain", "acme").out.splitlines()
    assert lines[0] == "carrier acme, profiles group ← tx-rx-pair ← strict-3.4"
    assert ["window", "20", "profile group"] in [line.split(None, 2) for line in lines]
    assert ["max_attempts", "3", "default"] in [line.split(None, 2) for line in lines]
    assert here("carriers", "--config", "sluice.toml", "explain", "acme").out.splitlines() == lines


def test_unknown_carrier_is_answered_with_those_there_are(here, tmp_path):
    (tmp_path / "sluice.toml").write_text(FILE)
    result = here("carriers", "explain", "acm")
    assert result.code == 78 and "did you mean 'acme'?" in result.err
