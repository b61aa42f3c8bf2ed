"""`sluice check-config` says every problem and starts nothing."""


def test_right_settings_are_counted(here, settings, tmp_path):
    result = here("check-config")
    assert (result.code, result.out) == (0, "sluice.toml: 6 carriers, nothing wrong\n")
    assert here("check-config", str(tmp_path / "sluice.toml")).code == 0
    assert not (tmp_path / "home").exists()


def test_no_settings_at_all_are_right(here):
    assert here("check-config").out == "defaults: no carriers, nothing wrong\n"


def test_every_problem_has_its_line(here, tmp_path):
    (tmp_path / "bad.toml").write_text(
        '[carriers.a]\nport = 0\npassword = "wr0ng-pw-too-long"\n[carriers.b]\nhost = "h"\nx = 1'
    )
    result = here("check-config", "bad.toml")
    assert result.code == 78
    assert [line.split(": expected")[0] for line in result.err.splitlines()] == [
        "config: carriers.a.port",
        "config: carriers.a.host",
        "config: carriers.a.password",
        "config: carriers.b.x",
    ]


def test_what_does_not_fit_a_submit_sm_is_a_problem_of_its_carrier(here, settings):
    settings(north={"source_ton": 1, "source": "Brand"})
    result = here("check-config")
    assert result.code == 78 and result.err.startswith("config: carriers.north")


def test_file_of_tls_that_cannot_be_used_is_a_problem_before_anything_runs(here, tmp_path):
    (tmp_path / "no.toml").write_text('[carriers.a]\nhost = "h"\ntls = true\ntls_ca_file = "ca.pem"\n')
    result = here("check-config", "no.toml")
    assert result.code == 78 and result.err == (
        "config: carriers.a.tls: expected files that TLS can use, "
        "found tls_ca_file ca.pem: expected certificates in PEM, found: no such file or directory\n"
    )


def test_status_that_is_none_is_a_problem_of_its_carrier(here, tmp_path):
    (tmp_path / "bad.toml").write_text('[carriers.a]\nhost = "h"\nstatuses = { RSYSERROR = "retry", 0x58 = "retry" }')
    result = here("check-config", "bad.toml")
    assert result.code == 78
    assert result.err == (
        "config: carriers.a.statuses.RSYSERROR: expected a number such as 0x401, or a name such as RSYSERR, "
        "found 'RSYSERROR'\n"
    )


def test_status_of_a_refusal_that_is_none_is_a_problem_too(here, tmp_path):
    (tmp_path / "bad.toml").write_text('[carriers.a]\nhost = "h"\nbind_statuses = { RBINDFAILED = "busy" }')
    result = here("check-config", "bad.toml")
    assert result.code == 78 and result.err.startswith("config: carriers.a.bind_statuses.RBINDFAILED: expected")
