"""Settings are refused as a whole, with every problem named: key, expected, found; and no secret is ever shown."""

import os
from pathlib import Path
from typing import get_args

import pytest

from _fastpath.national import LANGUAGE_BY_NAME
from gateway.config import (
    CarrierSettings,
    Language,
    Settings,
    address_of,
    coding_of,
    decode,
    dsn_problem,
    endpoint,
    load,
)
from gateway.errors import ConfigError

SECRET = "hunter2!"


@pytest.fixture
def file(tmp_path):
    """Write a sluice.toml; -> its path."""

    def write(text):
        path = tmp_path / "sluice.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def problems_of(path, environment=None):
    """Load what must be refused; -> {key: (expected, found)}."""
    with pytest.raises(ConfigError) as caught:
        load(path, environment or {})
    assert SECRET not in str(caught.value)
    return {key: (expected, found) for key, expected, found in caught.value.problems}


def acme(lines=""):
    """One carrier, right but for these lines."""
    return f'[carriers.acme]\nhost = "smsc.example"\n{lines}\n'


def test_no_file_is_all_defaults(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load(None, {}) == Settings()


def test_file_of_the_current_folder_is_taken_and_a_variable_names_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sluice.toml").write_text("[worker]\nlease_s = 20")
    Path("other.toml").write_text("[worker]\nlease_s = 40")
    assert load(None, {}).worker.lease_s == 20
    assert load(None, {"SLUICE_CONFIG": "other.toml"}).worker.lease_s == 40


def test_example_file_is_right():
    settings = load(Path(__file__).parents[1] / "examples" / "sluice.toml", {})
    assert list(settings.carriers) == ["acme"]


def test_mark_before_utf8_is_no_fault(file):
    assert load(file(b"\xef\xbb\xbf" + acme().encode()), {}).carriers


def test_every_problem_is_told_at_once(file):
    text = acme('port = 70000\nwindw = 5\nbind = "rx"') + '[worker]\nlease_s = "long"\n[databse]\n[carriers.beta]\n'
    found = problems_of(file(text))
    assert found == {
        "databse": ("a known name (did you mean 'database'?)", "an unknown section"),
        "worker.lease_s": ("a number at least 2, at most 600", "'long'"),
        "carriers.acme.port": ("an integer at least 1, at most 65535", "70000"),
        "carriers.acme.windw": ("a known name (did you mean 'window'?)", "an unknown key"),
        "carriers.acme.bind": ("one of 'trx', 'tx+rx'", "'rx'"),
        "carriers.beta.host": ("a text that is not empty", "nothing"),
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("window = 0", "an integer at least 1"),
        ("window = -1", "an integer at least 1"),
        ("window = 1.0", "an integer"),
        ("window = true", "an integer"),
        ('window = "10"', "an integer"),
        ("window = 99999999999999999999999999999999999999999999999", "an integer"),
        ("window = 0x" + "f" * 5000, "an integer"),
        ("window = 1979-05-27", "an integer"),
        ("connect_timeout_s = nan", "a number above 0"),
        ("connect_timeout_s = inf", "a number above 0"),
        ("connect_timeout_s = -inf", "a number above 0"),
        ("connect_timeout_s = 1e999", "a number above 0"),
        ("connect_timeout_s = 0", "a number above 0"),
        ("inactivity_s = nan", "a number at least 0"),
        ("retry_delay_s = nan", "a number at least 0.001"),
        ("reconnect_longest_s = -1", "a number above 0"),
        ("tps = 10000001", "an integer at least 0, at most 10000000"),
        ("adaptive_start = 0.0", "a number above 0, at most 1"),
        ("throttle_hold_s = 601.0", "a number at least 0.1, at most 600"),
        ('pacing = "even"', "one of 'auto', 'bucket', 'gap'"),
        ("source_ton = 256", "an integer at least 0, at most 255"),
        ('version = "3.5"', "one of '3.3', '3.4', '5.0'"),
        ("version = 3.4", "one of '3.3', '3.4', '5.0'"),
        ("plus = 1", "true or false"),
        ("alphabets = []", "a list of 1 to 3, each one of 'gsm7', 'latin1', 'ucs2'"),
        ('alphabets = ["gsm8"]', "a list of 1 to 3"),
        ('data_coding = "gsm7"', "a section with keys one of"),
        ('weight = "1"', "an integer at least 1, at most 1000"),
    ],
)
def test_value_out_of_range_or_of_another_type_is_named(file, line, expected):
    """Case 24 of the write protocol."""
    found = problems_of(file(acme(line)))
    assert list(found) == [f"carriers.acme.{line.split(' ')[0]}"]
    assert found[f"carriers.acme.{line.split(' ')[0]}"][0].startswith(expected)


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('version = "3.3"', "bind"),
        ('version = "3.3"\nbind = "tx+rx"\nconcatenation = "sar"', "concatenation"),
        ('version = "3.3"\nbind = "tx+rx"\nconcatenation = "payload"', "concatenation"),
        ("reconnect_first_s = 90", "reconnect_first_s"),
        ("retry_delay_s = 61", "retry_delay_s"),
        ("throttle_silence = true", "throttle_silence"),
        ("throttle_silence = true\ntps = 10\nadaptive = false", "throttle_silence"),
        ('alphabets = ["gsm7", "gsm7"]', "alphabets"),
        ('source = "TwelveLetters"', "source"),
        ('source = "Brand{}{}{}"', "source"),
        ('source = "Brand`s"', "source"),
        ('source = "Brand"\nsource_ton = 1', "source"),
        ('source = "4477"\nsource_ton = 1', "source"),
        ('source = "4477009000001234"\nsource_ton = 1', "source"),
        ('source = "+12345"\nsource_ton = 3', "source"),
        ('source = "1"\nsource_ton = 6', "source"),
        ('national = ["turkish"]\nalphabets = ["ucs2"]', "national"),
        ('national = ["turkish"]\nconcatenation = "payload"', "national"),
        ('transliterate = "safe"\nalphabets = ["ucs2"]', "transliterate"),
        ('packed = true\nalphabets = ["latin1", "ucs2"]', "packed"),
        ('version = "3.3"\nbind = "tx+rx"\nmore_messages = true', "more_messages"),
        ('version = "3.3"\nbind = "tx+rx"\nports = "tlv"', "ports"),
        ('version = "3.3"\nbind = "tx+rx"\nclass_coding = "subunit"', "class_coding"),
        ('version = "3.3"\nbind = "tx+rx"\ntlvs = [{ tag = 0x1400, value = "x" }]', "tlvs"),
        ("tlvs = [{ tag = 0x1400 }]", "tlvs[0]"),
        ('tlvs = [{ tag = 1, value = "x" }, { tag = 2, value = "x", field = "y" }]', "tlvs[1]"),
        ('tlvs = [{ tag = 1, type = "int1", value = "256" }]', "tlvs[0].value"),
        ('tlvs = [{ tag = 1, value = "four", max = 3 }]', "tlvs[0].value"),
        ('tlvs = [{ tag = 65536, value = "x" }]', "tlvs[0].tag"),
        ('tlvs = [{ tag = 1, value = "x", length = 3 }]', "tlvs[0].length"),
        ('tlvs = [{ value = "x" }]', "tlvs[0].tag"),
        ("tlvs = [1]", "tlvs[0]"),
        ('national = ["klingon"]', "national"),
        ('validity_zone = "+5:30"', "validity_zone"),
        ('validity_zone = "+12:15"', "validity_zone"),
        ('source = "Café"', "source"),
        ('source = "a\\tb"', "source"),
        ('system_id = "sixteen_letters_"', "system_id"),
        ('system_id = "a\\u0000b"', "system_id"),
        ('service_type = "SIXLTR"', "service_type"),
        (f'password = "{SECRET}{SECRET}"', "password"),
        ('password = "é"', "password"),
        ('password = "a\\u0000"', "password"),
        (f'password = "{"x" * 65}"\nlong_password = true', "password"),
        ('hosts = ["b.example:0"]', "hosts"),
        ('hosts = ["b.example:port"]', "hosts"),
        ('hosts = ["b.example", "smpp://c"]', "hosts"),
        ("recycle_after = 19", "recycle_after"),
        ("inactivity_s = 61\nidle_timeout_s = 60", "inactivity_s"),
        ('outbind_listen = "2776"\noutbind_password = "x"', "outbind_listen"),
        ('outbind_listen = "0.0.0.0:2776"', "outbind_password"),
        ('outbind_password = "x"', "outbind_listen"),
        ('outbind_listen = "[::]:2776"\noutbind_peers = ["here"]', "outbind_peers"),
        ('outbind_listen = "0.0.0.0:2776"\noutbind_password = "x"\ntls = true', "outbind_listen"),
        ('tls_ca_file = "ca.pem"', "tls"),
        ('tls_key_file = "key.pem"\ntls = true', "tls_certificate_file"),
        ('tls_ca_file = "ca.pem"\ntls = true\ntls_verify = false', "tls_verify"),
    ],
)
def test_contradiction_names_the_key_that_must_give_way(file, lines, key):
    assert list(problems_of(file(acme(lines)))) == [f"carriers.acme.{key}"]


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ("message_days = 1", "retention.message_days"),
        ("payload_days = 1", "retention.payload_days"),
        ("message_days = 30\nchunk_days = 31", "retention.chunk_days"),
        ("message_days = 0", "retention.chunk_days"),
        ("chunk_days = 100\nrun_days = 99", "retention.run_days"),
        (
            "message_days = 3\n[carriers.acme]\nhost = 'h'\nreceipt_deadline_s = 259201",
            "carriers.acme.receipt_deadline_s",
        ),
        (
            "message_days = 3\n[carriers.acme]\nhost = 'h'\nquery_sm = true\nquery_after_s = 172801",
            "carriers.acme.query_after_s",
        ),
    ],
)
def test_what_hangs_on_rows_is_not_kept_longer_than_they_are(file, lines, key):
    with pytest.raises(ConfigError) as caught:
        load(file("[retention]\n" + lines), {})
    assert [problem[0] for problem in caught.value.problems] == [key]


def test_everything_may_be_kept_for_ever(file):
    names = (
        "message_days",
        "payload_days",
        "chunk_days",
        "run_days",
        "inbound_days",
        "event_days",
        "order_days",
        "contact_days",
    )
    kept = load(file("[retention]\n" + "".join(f"{name} = 0\n" for name in names)), {}).retention
    assert [getattr(kept, name) for name in names] == [0] * len(names)


def test_contradiction_is_told_beside_wrong_values_but_not_built_on_one(file):
    lines = 'version = "3.3"\nwindow = 0\nconcatenation = "sar"\nbind = "both"'
    assert set(problems_of(file(acme(lines)))) == {
        f"carriers.acme.{key}" for key in ("window", "concatenation", "bind")
    }
    lines = f'long_password = "yes"\npassword = "{"x" * 20}"'
    assert set(problems_of(file(acme(lines)))) == {"carriers.acme.long_password"}


@pytest.mark.parametrize(
    "host", ["", "smsc.example:2775", "smpp://smsc.example", f"user:{SECRET}@smsc", "a b", "a\\nb"]
)
def test_host_is_a_host_and_nothing_else(file, host):
    assert list(problems_of(file(f'[carriers.acme]\nhost = "{host}"'))) == ["carriers.acme.host"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("b.example", ("b.example", 2775)),
        ("b.example:3550", ("b.example", 3550)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("::1", ("::1", 2775)),
        ("[::1]", ("::1", 2775)),
        ("[::1]:3550", ("::1", 3550)),
        ("", None),
        (":2775", None),
        ("b.example:", None),
        ("b.example:-1", None),
        ("b.example:65536", None),
        ("b.example:²", None),
        ("[::1]x", None),
        ("[::1", None),
        ("user@b.example", None),
        ("b example", None),
    ],
)
def test_address_is_a_host_with_or_without_a_port(text, address):
    assert address_of(text, 2775) == address


def test_host_comes_before_hosts_and_each_counts_once(file):
    lines = 'port = 3550\nhosts = ["b.example", "smsc.example", "b.example:3550", "c.example:1"]'
    carrier = load(file(f'[carriers.acme]\nhost = "smsc.example"\n{lines}'), {}).carrier("acme")
    assert carrier.addresses == (("smsc.example", 3550), ("b.example", 3550), ("c.example", 1))


@pytest.mark.parametrize("host", ["smsc.example", "10.0.0.1", "::1", "fe80::1%eth0", "localhost"])
def test_host_by_name_or_by_either_kind_of_address(file, host):
    assert load(file(f'[carriers.acme]\nhost = "{host}"'), {}).carrier("acme").host == host


@pytest.mark.parametrize(
    "text",
    [
        acme(f'pasword = "{SECRET}"'),
        acme(f'password = ["{SECRET}"]'),
        acme(f'password = {{x = "{SECRET}"}}'),
        acme(f'port = {{password = "{SECRET}"}}'),
        acme(f'alphabets = [["{SECRET}"]]'),
        f'database = "postgresql://u:{SECRET}@h/d"',
        f'carriers = "{SECRET}"',
        f'[carriers]\nacme = "{SECRET}"',
        f'[database]\ndsn = ["postgresql://u:{SECRET}@h/d"]',
        f'[database]\ndsn = "postgresql://u:{SECRET}/x@h/d"',
        f'[database]\ndsn = "host=h password={SECRET}"',
        acme(f'password = "{SECRET}'),
        acme(f"password = {SECRET}"),
    ],
)
def test_secret_is_not_shown_wherever_it_stands(file, text):
    assert problems_of(file(text))


@pytest.mark.parametrize(
    ("dsn", "is_right"),
    [
        ("postgresql://u@h/d", True),
        ("postgres://u:p%2Fw@h:5432/d?sslmode=require", True),
        ("postgresql://sluice@/sluice?host=/run/pg&port=5432", True),
        ("postgresql://u@[::1]:5432,h2:5433/d", True),
        ("postgresql://", True),
        ("host=h dbname=d", False),
        ("mysql://u@h/d", False),
        ("postgresql://u:a/b@h/d", False),
        ("postgresql://u:a#b@h/d", False),
        ("postgresql://u:a?b@h/d", False),
        ("postgresql://u@h:0/d", False),
        ("postgresql://u@h:99999/d", False),
        ("postgresql://u@h:port/d", False),
        ("postgresql://u@[::1/d", False),
        ("postgresql:/u@h/d", False),
    ],
)
def test_form_of_a_dsn_is_judged_before_anybody_connects(dsn, is_right):
    assert (dsn_problem("dsn", dsn) is None) == is_right


def test_variable_goes_over_the_file(file):
    environment = {
        "SLUICE__CARRIERS__ACME__WINDOW": "50",
        "SLUICE__CARRIERS__ACME__ALPHABETS": '["ucs2"]',
        "SLUICE__CARRIERS__ACME__DATA_CODING__GSM7": "1",
        "SLUICE__CARRIERS__ACME__PLUS": "true",
        "SLUICE__CARRIERS__BETA__HOST": "beta.example",
        "SLUICE__WORKER__LEASE_S": "20",
        "SLUICE_HOME": "/elsewhere",
        "OTHER": "x",
    }
    settings = load(file(acme("window = 10")), environment)
    carrier = settings.carrier("acme")
    assert (carrier.window, carrier.alphabets, carrier.data_coding, carrier.plus) == (50, ("ucs2",), {"gsm7": 1}, True)
    assert settings.carrier("beta").host == "beta.example" and settings.worker.lease_s == 20


@pytest.mark.parametrize(
    "value", ["12345678", "00123456", "1e5", "true", "0x1F", "1_000", "'q'", "[1]", "", "nan", "a=1"]
)
def test_password_in_a_variable_is_taken_as_it_stands(file, value):
    carrier = load(file(acme()), {"SLUICE__CARRIERS__ACME__PASSWORD": value}).carrier("acme")
    assert carrier.password == value


def test_other_texts_and_choices_in_variables_are_taken_as_they_stand(file):
    environment = {"SLUICE__CARRIERS__ACME__VERSION": "5.0", "SLUICE__CARRIERS__ACME__SYSTEM_ID": "007"}
    carrier = load(file(acme()), environment).carrier("acme")
    assert (carrier.version, carrier.system_id) == ("5.0", "007")


@pytest.mark.parametrize("name", ["acme-uk", "acme.uk", "Acme_UK", "ACME-uk"])
def test_variable_finds_a_name_with_dashes_dots_and_capitals(file, name):
    settings = load(file(f'[carriers."{name}"]\nhost = "h"'), {"SLUICE__CARRIERS__ACME_UK__PASSWORD": "x"})
    assert settings.carrier(name).password == "x" and len(settings.carriers) == 1


def test_variable_finds_a_name_with_two_underscores(file):
    text = '[carriers.a]\nhost = "h"\n[carriers.a__b]\nhost = "h"'
    settings = load(file(text), {"SLUICE__CARRIERS__A__B__WINDOW": "7", "SLUICE__CARRIERS__A__WINDOW": "8"})
    assert (settings.carrier("a__b").window, settings.carrier("a").window) == (7, 8)


def test_variable_that_fits_two_carriers_is_refused(file):
    text = '[carriers."a.b"]\nhost = "h"\n[carriers.a-b]\nhost = "h"'
    found = problems_of(file(text), {"SLUICE__CARRIERS__A_B__WINDOW": "7"})
    assert found["SLUICE__CARRIERS__A_B__WINDOW"] == ("a variable that fits one carrier", "it fits a-b and a.b")


@pytest.mark.parametrize(
    "variable", ["SLUICE__", "SLUICE__WORKER", "SLUICE____X", "SLUICE__WORKER__", "SLUICE__A____B"]
)
def test_variable_that_names_no_setting_is_refused(file, variable):
    assert variable in problems_of(file(""), {variable: "1"})


def test_wrong_value_of_a_variable_names_the_variable(file):
    found = problems_of(file(acme()), {"SLUICE__CARRIERS__ACME__WINDOW": "many", "SLUICE__WORKER__LEESE_S": "1"})
    assert found["carriers.acme.window"][1] == "'many' in SLUICE__CARRIERS__ACME__WINDOW"
    assert found["worker.leese_s"] == (
        "a known name (did you mean 'lease_s'?)",
        "an unknown key in SLUICE__WORKER__LEESE_S",
    )


def test_variable_below_what_is_no_section_is_refused(file):
    assert "SLUICE__WORKER__LEASE_S" in problems_of(file("worker = 5"), {"SLUICE__WORKER__LEASE_S": "5"})


def test_value_with_a_line_end_brings_no_second_key(file):
    found = problems_of(file(acme()), {"SLUICE__CARRIERS__ACME__WINDOW": "5\nport = 1"})
    assert list(found) == ["carriers.acme.window"]


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (b"carriers = [", "TOML"),
        (b'[worker]\nlease_s = "caf\xe9"', "TOML in UTF-8"),
        (b"x = " + b"1" * 5000, "TOML"),
        (b"x = " + b"[" * 100_000, "TOML"),
        (b"\x00\x01", "TOML"),
        (b"[worker]\n[worker]", "TOML"),
    ],
)
def test_file_that_is_no_toml_is_named(file, octets, expected):
    path = file(octets)
    assert problems_of(path)[str(path)][0] == expected


def test_file_that_cannot_be_read_is_named(tmp_path):
    assert problems_of(tmp_path / "none.toml")[str(tmp_path / "none.toml")][0] == "a readable file"
    assert problems_of(tmp_path)[str(tmp_path)] == ("a readable file", "is a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_that_may_not_be_read_is_named(file):
    path = file("")
    path.chmod(0)
    assert problems_of(path)[str(path)] == ("a readable file", "permission denied")


def test_key_of_a_stranger_does_not_reach_the_terminal_as_it_stands(file):
    found = problems_of(file('"\\u001b[31m" = 1\n[carriers."a b"]\nhost = "h"'))
    assert set(found) == {"\\x1b[31m", "carriers.a b"}


def test_data_root_is_beside_the_file(file, monkeypatch):
    monkeypatch.delenv("SLUICE_HOME", raising=False)
    path = file('[database]\ndata_root = "data"')
    assert load(path, {}).data_root == path.parent / "data"
    assert load(file(""), {}).data_root == path.parent / ".sluice"
    monkeypatch.setenv("SLUICE_HOME", "/srv/sluice")
    assert load(file(""), {}).data_root == Path("/srv/sluice")
    assert load(file('[database]\ndata_root = "/data"'), {}).data_root == Path("/data")


@pytest.mark.parametrize("folder", ["~no-such-user/x", "a\\u0000b"])
def test_data_root_that_is_no_folder_is_named(file, folder):
    assert list(problems_of(file(f'[database]\ndata_root = "{folder}"'))) == ["database.data_root"]


def test_unknown_carrier_is_answered_with_those_there_are():
    settings = Settings(carriers={"north": CarrierSettings(host="h"), "south": CarrierSettings(host="h")})
    for name, expected in (("nort", "did you mean 'north'?"), ("xyz", "one of north, south")):
        with pytest.raises(ConfigError, match="no such section") as caught:
            settings.carrier(name)
        assert expected in str(caught.value)
    with pytest.raises(ConfigError, match="at least one"):
        Settings().carrier("acme")


@pytest.mark.parametrize(
    ("line", "entry", "expected", "seen"),
    [
        ("data_coding = {gsm7 = 300, ucs2 = 8}", "data_coding.gsm7", "an integer at least 0, at most 255", "300"),
        ("data_coding = {gsm = 0}", "data_coding.gsm", "one of 'gsm7', 'latin1', 'ucs2'", "'gsm'"),
        ('statuses = {RSYSERR = "wait"}', "statuses.RSYSERR", "one of 'ok', 'throttle', 'retry', ", "'wait'"),
    ],
)
def test_wrong_entry_of_a_table_is_named_by_its_own_path(file, line, entry, expected, seen):
    found = problems_of(file(acme(line)))
    assert list(found) == [f"carriers.acme.{entry}"]
    assert found[f"carriers.acme.{entry}"][0].startswith(expected) and found[f"carriers.acme.{entry}"][1] == seen


# -- profiles ---------------------------------------------------------------------------------------------------------


def test_carrier_goes_over_its_profile_and_a_variable_over_both(file):
    text = """
[profiles.group]
inherits = "strict-3.4"
window = 20
binds = 4
tps = 100
[carriers.acme]
profile = "group"
host = "smsc.example"
binds = 2
"""
    settings = load(file(text), {"SLUICE__CARRIERS__ACME__TPS": "30"})
    acme = settings.carriers["acme"]
    assert (acme.assume_version, acme.window, acme.binds, acme.tps) == ("3.4", 20, 2, 30)
    origins = settings.origins["acme"]
    assert [origins.get(key, "default") for key in ("assume_version", "window", "binds", "tps", "plus")] == [
        "profile strict-3.4", "profile group", "carrier", "variable SLUICE__CARRIERS__ACME__TPS", "default",
    ]  # fmt: skip
    assert settings.lineages["acme"] == ("strict-3.4", "group")


def test_variable_sets_a_profile_too(file):
    text = '[profiles."a-b"]\nwindow = 1\n[carriers.acme]\nhost = "h"\nprofile = "a-b"'
    settings = load(file(text), {"SLUICE__PROFILES__A_B__WINDOW": "7", "SLUICE__PROFILES__A_B__SOURCE": "123"})
    assert (settings.carriers["acme"].window, settings.carriers["acme"].source) == (7, "123")


def test_tables_of_a_profile_and_its_carrier_are_laid_over_one_another_by_entry(file):
    text = """
[profiles.p]
data_coding = { gsm7 = 1, ucs2 = 8 }
statuses = { RSYSERR = "throttle" }
[carriers.acme]
profile = "p"
host = "h"
data_coding = { gsm7 = 0 }
"""
    settings = load(file(text), {"SLUICE__CARRIERS__ACME__STATUSES__0X401": "throttle"})
    acme = settings.carriers["acme"]
    assert acme.data_coding == {"gsm7": 0, "ucs2": 8}
    assert acme.statuses == {"RSYSERR": "throttle", "0x401": "throttle"}
    origins = settings.origins["acme"]
    assert (origins["data_coding.gsm7"], origins["data_coding.ucs2"]) == ("carrier", "profile p")
    assert origins["statuses.0x401"] == "variable SLUICE__CARRIERS__ACME__STATUSES__0X401"


@pytest.mark.parametrize(
    ("text", "key", "expected", "seen"),
    [
        ('[profiles.a]\ninherits = "strict"', "a.inherits", "did you mean 'strict-3.4'?", "'strict'"),
        ('[profiles.a]\ninherits = "a"', "a.inherits", "do not inherit themselves", "a → a"),
        (
            '[profiles.a]\ninherits = ["c"]\n[profiles.b]\ninherits = "a"\n[profiles.c]\ninherits = "b"',
            "a.inherits", "do not inherit themselves", "a → c → b → a",
        ),
        ("[profiles.a]\ninherits = 3", "a.inherits", "a list of names", "3"),
        ("[profiles.a]\ninherits = [3]", "a.inherits", "a list of names", "[3]"),
        ("[profiles.a]\nabout = 3", "a.about", "a text", "3"),
        ("[profiles.a]\nwindw = 5", "a.windw", "did you mean 'window'?", "an unknown key"),
        ("[profiles.a]\nwindow = 0", "a.window", "an integer at least 1", "0"),
        ('[profiles.a]\nhost = "h"', "a.host", "settings that carriers can share", "a carrier alone"),
        ('[profiles.a]\npassword = "hunter2!"', "a.password", "settings that carriers can share", "a carrier alone"),
        ('[profiles.a]\noutbind_password = "hunter2!"', "a.outbind_password", "carriers can share", "a carrier alone"),
        ('[profiles.a]\nprofile = "b"', "a.profile", "settings that carriers can share", "a carrier alone"),
        ('[profiles."strict-3.4"]\nwindow = 5', "strict-3.4", "a name that no profile of ours has", "'strict-3.4'"),
        ('[profiles."a b"]\nwindow = 5', "a b", "a name of 1 to 64", "'a b'"),
        ("[profiles]\na = 5", "a", "a section [profiles.a]", "an integer"),
    ],
)  # fmt: skip
def test_wrong_profile_is_named_once(file, text, key, expected, seen):
    users = '\n[carriers.x]\nhost = "h"\nprofile = "a"\n[carriers.y]\nhost = "h"\nprofile = "a"\n'
    found = problems_of(file(text + (users if "[profiles.a]" in text else "")))
    assert list(found) == [f"profiles.{key}"]
    assert expected in found[f"profiles.{key}"][0] and seen in found[f"profiles.{key}"][1]


def test_profiles_that_are_no_sections_are_named(file):
    assert problems_of(file("profiles = 5"))["profiles"] == ("sections [profiles.NAME]", "an integer")


def test_carrier_of_an_unknown_profile_is_told_which_there_are(file):
    found = problems_of(file(acme('profile = "hex"')))
    assert list(found) == ["carriers.acme.profile"] and found["carriers.acme.profile"][1] == "'hex'"
    assert problems_of(file(acme("profile = 5")))["carriers.acme.profile"] == ("a text", "5")


def test_contradiction_says_where_each_side_comes_from(file):
    text = '[profiles.p]\ninherits = "relaxed-3.3"\nbind = "trx"\n' + acme('profile = "p"\nconcatenation = "sar"')
    found = problems_of(file(text))
    assert found["carriers.acme.bind"] == (
        '"tx+rx", since SMPP 3.3 has no transceiver',
        "'trx' (bind = 'trx' of profile p, version = '3.3' of profile relaxed-3.3)",
    )
    assert found["carriers.acme.concatenation"][1] == (
        "'sar' (concatenation = 'sar' of carrier, version = '3.3' of profile relaxed-3.3)"
    )


def test_contradiction_of_binds_and_tls_says_where_each_side_comes_from_too(file):
    text = "[profiles.p]\nwindow = 20\n" + acme('profile = "p"\nrecycle_after = 30\ntls_ca_file = "ca.pem"')
    found = problems_of(file(text))
    assert found["carriers.acme.recycle_after"][1] == "30 (recycle_after = 30 of carrier, window = 20 of profile p)"
    assert found["carriers.acme.tls"][1] == "False"


def test_profile_that_contradicts_itself_is_told_though_no_carrier_has_it_yet(file):
    both = '[profiles.base]\nversion = "3.3"\n[profiles.p]\ninherits = "base"\nconcatenation = "sar"\n'
    found = problems_of(file(both))
    assert list(found) == ["profiles.p.concatenation"]
    assert found["profiles.p.concatenation"][1] == (
        "'sar' (concatenation = 'sar' of profile p, version = '3.3' of profile base)"
    )
    used = problems_of(file(both + acme('profile = "p"\nbind = "tx+rx"')))
    assert list(used) == ["carriers.acme.concatenation"], "told once, where it is in force"


@pytest.mark.parametrize(
    "text",
    [
        '[profiles.p]\nversion = "3.3"',
        "[profiles.p]\nrecycle_after = 15",
        '[profiles.p]\noutbind_listen = "0.0.0.0:2776"',
        '[profiles.p]\ntls_ca_file = "ca.pem"',
        '[profiles.p]\nsource = "12345"',
        '[profiles.p]\nversion = "3.3"\nbind = "trx"\n' + acme('profile = "p"\nbind = "tx+rx"'),
    ],
)
def test_profile_is_not_judged_by_what_its_carriers_may_still_say(file, text):
    load(file(text), {})


def test_contradiction_with_a_profile_never_shows_a_password(file):
    found = problems_of(file(acme('profile = "strict-3.4"\npassword = "hunter2!hunter2!"')))
    assert found["carriers.acme.password"][1].startswith("16 characters (not shown) (password = (not shown) of carrier")


def test_nothing_is_judged_that_hangs_on_a_wrong_setting_of_a_profile(file):
    text = '[profiles.p]\nbind = "both"\n' + acme('profile = "p"\nversion = "3.3"\nconcatenation = "udh8"')
    assert list(problems_of(file(text))) == ["profiles.p.bind"]


def test_codings_of_handsets_are_numbers_in_either_notation(file):
    carrier = load(file(acme('inbound_data_coding = { 0 = "latin1", 0xF1 = "gsm7-packed" }')), {}).carrier("acme")
    assert [coding_of(coding) for coding in carrier.inbound_data_coding] == [0, 0xF1]


@pytest.mark.parametrize("keys", ['256 = "gsm7"', 'gsm = "gsm7"', '-1 = "gsm7"', '8 = "ucs2", 0x08 = "ucs2le"'])
def test_coding_of_handsets_that_is_none_or_stands_twice_is_named(file, keys):
    found = problems_of(file(acme(f"inbound_data_coding = {{ {keys} }}")))
    assert found["carriers.acme.inbound_data_coding"][0] == "each data_coding once, 0 to 255 or 0x00 to 0xFF"


def test_alphabet_of_handsets_that_is_none_is_named(file):
    found = problems_of(file(acme('inbound_data_coding = { 0 = "gsm" }')))
    assert "'gsm7-packed'" in found["carriers.acme.inbound_data_coding.0"][0]


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("9464", "an address and a port"),
        (":9464", "an address and a port"),
        ("::1:9464", "an address and a port"),
        ("127.0.0.1:", "an address and a port"),
        ("127.0.0.1:x", "an address and a port"),
        ("127.0.0.1:0", "a port from 1 to 65535"),
        ("127.0.0.1:65536", "a port from 1 to 65535"),
        ("127.0.0.1:" + "9" * 5000, "a port from 1 to 65535"),
    ],
)
def test_place_for_metrics_that_is_none_is_named(file, listen, expected):
    found = problems_of(file(f'[worker]\nmetrics_listen = "{listen}"'))
    assert list(found) == ["worker.metrics_listen"] and found["worker.metrics_listen"][0].startswith(expected)


def test_place_for_metrics_is_an_address_and_a_port(file):
    assert endpoint("[::1]:9464") == ("::1", 9464)
    assert load(file('[worker]\nmetrics_listen = "127.0.0.1:9464"'), {}).worker.metrics_listen == "127.0.0.1:9464"


def test_quirk_27_senders_of_every_type_that_carriers_take_are_right(file):
    for number, (source, ton) in enumerate(
        [
            ("Brand", 5),
            ("Elevenchars", 5),
            ("12345", 3),
            ("447700900000", 1),
            ("+447700900000", 1),
            ("12345", 0),
            ("", 1),
        ]
    ):
        settings = load(file(acme(f'source = "{source}"\nsource_ton = {ton}')), {})
        assert settings.carriers["acme"].source == source, number


def test_parameters_of_a_carrier_are_a_list_of_sections(file):
    lines = """
    [[carriers.acme.tlvs]]
    tag = 0x1400
    name = "customer reference"
    value = "ref-1"
    [[carriers.acme.tlvs]]
    tag = 0x1401
    type = "octets"
    field = "template_id"
    required = true
    max = 19
    """
    first, second = load(file(acme(lines)), {}).carriers["acme"].tlvs
    assert (first.tag, first.type, first.value, second.field, second.required, second.max) == (
        0x1400, "cstring", "ref-1", "template_id", True, 19,
    )  # fmt: skip


def test_settings_that_send_tlvs_are_named():
    plain = CarrierSettings(host="h")
    assert plain.needs_tlvs == ""
    carrier = CarrierSettings(host="h", concatenation="sar", more_messages=True)
    assert carrier.needs_tlvs == "concatenation 'sar', more_messages"


def test_languages_are_those_of_the_tables():
    assert set(get_args(Language)) == set(LANGUAGE_BY_NAME)


def test_routes_and_senders_are_read_and_each_fault_of_them_has_its_path(file):
    settings = load(
        file(
            acme()
            + '[[routes]]\ncountries = ["GB"]\ncarriers = [{ carrier = "acme", cost = 0.5 }]\n'
            + '[senders.default]\nalphanumeric = "Shop"\n[routing]\nmax_routes = 2\n'
        ),
        {},
    )
    (route,) = settings.routes
    assert route.carriers[0].cost == 0.5 and settings.senders["default"].alphanumeric == "Shop"
    assert settings.routing.max_routes == 2
    found = problems_of(
        file(
            acme()
            + '[[routes]]\nclass = ["otp"]\ncarriers = [{ carrier = "acme", priority = 0 }]\n[senders.GB]\nx = 1\n'
        )
    )
    assert set(found) == {"routes[1].class", "routes[1].carriers[1].priority", "senders.GB.x"}
    assert "routes[1].carriers[1].carrier" in problems_of(file(acme() + '[[routes]]\ncarriers = [{ carrier = "b" }]'))
    assert "routes" in problems_of(file(acme() + "[routes]\nx = 1"))
    assert "carriers.acme.reroute_errors" in problems_of(
        file(acme('reroute_errors = ["050"]\nreroute_undelivered = true'))
    )


@pytest.mark.parametrize(
    ("lines", "key"),
    [
        ('receipt_zone = "Mars/Olympus"', "receipt_zone"),
        ('receipt_zone = "+15:00"', "receipt_zone"),
        ('receipt_states = { FAILED = "gone" }', "receipt_states"),
        ('receipt_states = { FAILED = "rejected", failed = "expired" }', "receipt_states"),
        ('receipt_ids = "octal"', "receipt_ids"),
        ('receipt_recognised_by = "luck"', "receipt_recognised_by"),
        ('receipt_prefers = "both"', "receipt_prefers"),
        ("receipt_waiting_days = 0", "receipt_waiting_days"),
        ("receipt_deadline_s = 60.0\nregistered_delivery = 0", "receipt_deadline_s"),
        ("query_sm = true\nquery_after_s = 60.0\nregistered_delivery = 0", "query_sm"),
        ("query_sm = true", "query_after_s"),
        ("query_after_s = 60.0", "query_after_s"),
        ("query_sm = true\nquery_after_s = 60.0\nquery_per_s = 0", "query_per_s"),
        ("query_sm = true\nreceipt_deadline_s = 60.0\nquery_per_s = 1001", "query_per_s"),
    ],
)
def test_settings_of_receipts_that_cannot_be_are_named(tmp_path: Path, lines: str, key: str) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text(f'[carriers.acme]\nhost = "h"\n{lines}\n')
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert [problem[0].partition(".FAILED")[0] for problem in raised.value.problems] == [f"carriers.acme.{key}"]


def test_limits_of_senders_campaigns_and_countries_are_read_and_judged():
    document = {
        "carriers": {
            "acme": {
                "host": "a.example",
                "per_minute": 1200,
                "sender_limits": {"Sluice": {"per_day": 2000}},
                "campaign_limits": {"*": {"tps": 5, "unit": "message"}},
                "country_limits": {"DE": {"per_minute": 60}, "Germany": {"tps": 1}},
                "day_zone": "Mars/Olympus",
                "tps_unit": "message",
                "adaptive": True,
            }
        }
    }
    problems: list = []
    carrier = decode(document, "", problems).carriers["acme"]
    assert carrier.sender_limits["Sluice"].per_day == 2000
    assert carrier.campaign_limits["*"].unit == "message"
    assert {key.removeprefix("carriers.acme.") for key, _, _ in problems} == {
        "country_limits.Germany",
        "day_zone",
        "adaptive",
    }


@pytest.mark.parametrize("octets", [-1, 1, 1023, (1 << 28) + 1])
def test_capture_keeps_nothing_or_enough_to_hold_a_pdu(tmp_path: Path, octets: int) -> None:
    path = tmp_path / "sluice.toml"
    path.write_text(f'[carriers.acme]\nhost = "h"\npcap_octets = {octets}\n')
    with pytest.raises(ConfigError) as raised:
        load(path, {})
    assert [problem[0] for problem in raised.value.problems] == ["carriers.acme.pcap_octets"]
    for allowed in (0, 1024):
        path.write_text(f'[carriers.acme]\nhost = "h"\npcap_octets = {allowed}\n')
        assert load(path, {}).carriers["acme"].pcap_octets == allowed
