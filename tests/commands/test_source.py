"""`sluice source`: its DSN is sealed, and its list is what it answers."""

import pytest

KEY = "5" * 64


def test_s0_5_a_query_becomes_a_list_and_a_role_that_writes_is_refused(sluice, queue, dsn):
    queue("CREATE TABLE buyers (phone text)")
    text = "SELECT phone FROM buyers"
    refused = sluice("source", "add", "lapsed", "--of", dsn, "--query", text, SLUICE_KEY=KEY)
    assert refused.code == 65 and "superuser: expected a role that can only read" in refused.err
    assert queue("SELECT count(*) FROM source") == [(0,)]
    assert sluice("source", "run", "lapsed", SLUICE_KEY=KEY).code == 65
    assert sluice("source", "remove", "lapsed").code == 65 and sluice("source", "list").out == ""


@pytest.mark.covers("S0.1")
def test_s0_5_running_it_again_adds_and_removes_members(sluice, queue, dsn):
    queue("CREATE TABLE buyers (phone text)")
    queue("INSERT INTO buyers VALUES ('+4915112345671'), ('+4915112345672')")
    queue("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    queue("DROP ROLE IF EXISTS sluice_reader")
    queue("CREATE ROLE sluice_reader LOGIN PASSWORD 'r3ad'")
    queue("GRANT SELECT ON buyers TO sluice_reader")
    try:
        of = "postgresql://sluice_reader:r3ad@" + dsn.split("@", 1)[1]
        added = sluice("source", "add", "lapsed", "--of", of, "--query", "SELECT phone FROM buyers", SLUICE_KEY=KEY)
        assert added.code == 0 and "2 rows by phone" in added.out
        assert "r3ad" not in str(queue("SELECT dsn FROM source")) and "r3ad" not in added.out + added.err
        assert "2 entered, 0 left" in sluice("source", "run", "lapsed", SLUICE_KEY=KEY).out
        queue("DELETE FROM buyers WHERE phone LIKE '%1'")
        assert "0 entered, 1 left" in sluice("source", "run", "lapsed", SLUICE_KEY=KEY).out
        assert queue("SELECT number FROM list_entry") == [(4915112345672,)]
        queue("INSERT INTO buyers VALUES ('nobody')")
        assert "nobody: letters" in sluice("source", "run", "lapsed", SLUICE_KEY=KEY).err
        assert queue("SELECT number FROM list_entry") == [(4915112345672,)]
        assert "lapsed: ran" in sluice("source", "list").out
        assert sluice("source", "remove", "lapsed").code == 0
    finally:
        queue("DROP OWNED BY sluice_reader")
        queue("DROP ROLE sluice_reader")
