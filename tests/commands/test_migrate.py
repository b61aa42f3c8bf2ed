"""`sluice migrate` on a database by DSN, by settings, and on the embedded one."""

import pytest


def test_schema_is_brought_forward_once(sluice, empty_dsn):
    assert sluice("migrate", "--dsn", empty_dsn, "--pending").out.startswith("0001_")
    first = sluice("migrate", "--dsn", empty_dsn)
    assert first.code == 0 and first.out.startswith("0001_")
    again = sluice("migrate", "--dsn", empty_dsn)
    assert (again.code, again.out, again.err) == (0, "", "nothing to apply\n")


def test_database_of_the_settings_is_meant(sluice, empty_dsn, tmp_path):
    (tmp_path / "sluice.toml").write_text(f'[database]\ndsn = "{empty_dsn}"\n')
    assert sluice("migrate").out.startswith("0001_")


def test_embedded_database_is_made(sluice, data_root):
    assert sluice("migrate", "--data-root", str(data_root)).out.startswith("0001_")
    assert sluice("migrate", "--data-root", str(data_root), "--pending").out == ""


@pytest.mark.parametrize(
    ("dsn", "code"), [("postgresql://u:dsn-s3cret@127.0.0.1:1/x", 75), ("postgresql://u:dsn-s3cret/x@h/x", 78)]
)
def test_database_that_is_away_or_misspelt_is_said_plainly(here, dsn, code):
    result = here("migrate", "--dsn", dsn)
    assert result.code == code and len(result.err.splitlines()) == 1
