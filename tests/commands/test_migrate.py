"""`sluice migrate` on a database by DSN, by settings, and on the embedded one."""

import asyncio

import pytest

from gateway.store.placement import calls
from tests.fixtures.pretend_citus import pretend


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


def test_plan_of_a_distribution_prints_the_calls_and_changes_nothing(sluice, dsn):
    found = sluice("migrate", "--dsn", dsn, "--distributed", "--plan")
    assert (found.code, found.out.splitlines()) == (0, [f"{call};" for call in calls({})])
    assert found.err == "the extension citus is not in this database: nothing could be called yet\n"


def test_tables_are_distributed_once_where_citus_is_and_refused_where_it_is_not(sluice, dsn):
    refused = sluice("migrate", "--dsn", dsn, "--distributed")
    assert (refused.code, refused.out) == (75, "") and "expected the extension citus" in refused.err
    asyncio.run(pretend(dsn))
    assert sluice("migrate", "--dsn", dsn, "--distributed").out.splitlines() == [f"{call};" for call in calls({})]
    again = sluice("migrate", "--dsn", dsn, "--distributed")
    assert (again.code, again.out, again.err) == (0, "", "nothing to distribute\n")


@pytest.mark.parametrize("options", [("--plan",), ("--distributed", "--pending")])
def test_options_that_do_not_go_together_are_refused(sluice, options):
    assert sluice("migrate", *options).code == 2
