"""`sluice status` looks, and changes nothing."""

import asyncio
import json
import os
import re
import time

import asyncpg
import pytest

from tests.commands.conftest import PATIENCE_S


def test_without_a_database_it_says_so_and_makes_none(sluice, settings, tmp_path):
    result = sluice("status", "--json")
    assert result.code == 0 and result.json == {
        "workers": [],
        "queues": [],
        "orders": [],
        "rates": [],
        "campaigns": [],
        "runs": [],
    }
    assert "no database in" in result.err
    assert not (tmp_path / "home").exists()
    assert "nothing was sent from here" in sluice("status").err


def test_without_tables_it_says_so_and_makes_none(sluice, settings, empty_dsn):
    result = sluice("status", "--dsn", empty_dsn)
    assert result.code == 0 and "no tables yet" in result.err and "none: nothing is sent" in result.out
    assert sluice("migrate", "--dsn", empty_dsn, "--pending").out.startswith("0001_")


def test_schema_of_an_older_program_is_not_brought_forward(sluice, queue):
    queue("DELETE FROM schema_version WHERE version > 1")
    result = sluice("status")
    assert result.code == 75 and "0002_" in result.err and "sluice migrate" in result.err
    assert queue("SELECT max(version) FROM schema_version") == [(1,)]


def test_worker_that_is_gone_is_told_from_one_that_runs(sluice, start, queue):
    queue(
        "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node) VALUES "
        "('old-1', 'elsewhere', '', 1, now() - interval '1 day', now() - interval '1 hour', 'old')"
    )
    worker = start("run", "--carrier", "north", "--report-every", "0")
    instance = worker.says("running").split()[1].rstrip(":")
    # A worker of another machine that does not beat for a lease is fenced by who looks on, whatever a clock says.
    ends_at = time.monotonic() + 25
    while [each["instance"] for each in sluice("status", "--json").json["workers"]] != [instance]:
        assert time.monotonic() < ends_at
    worker.process.kill()
    worker.process.wait()
    found = sluice("status", "--json").json["workers"]
    assert [(each["instance"], each["alive"]) for each in found] == [(instance, False)]
    shown = sluice("status").out
    assert "gone" in shown and "none: nothing is sent" in shown


def test_one_run_is_shown_by_its_number(sluice, queue, people):
    for text in ("one", "two"):
        sluice("send", "--contacts", people(2), "--text", text, "--carrier", "north", "--detach")
    numbers = [number for (number,) in queue("SELECT id FROM run ORDER BY id")]
    document = sluice("status", "--run", str(numbers[0]), "--json").json
    assert [run["run"] for run in document["runs"]] == numbers[:1]
    assert document["queues"] == [
        {"carrier": "north", "class": "bulk", "chunks": 2, "messages": 4, "oldest": document["queues"][0]["oldest"]}
    ]
    assert len(sluice("status", "--runs", "1", "--json").json["runs"]) == 1
    assert sluice("status", "--runs", "0", "--json").json["runs"] == []
    shown = sluice("status").out
    assert f"run {numbers[1]}" in shown and "4 messages in 2 chunks" in shown
    json.dumps(document)


@pytest.mark.parametrize("number", ["5", "999999999999999999"])
def test_unknown_run_is_an_error(sluice, queue, number):
    result = sluice("status", "--run", number)
    assert result.code == 1 and result.err == f"Error: run {number}: not known\n"


@pytest.mark.parametrize("options", [("--run", "0"), ("--run", "9" * 30), ("--run", "x"), ("--runs", "-1")])
def test_number_that_cannot_be_one_is_a_usage_error(here, settings, options):
    assert here("status", *options).code == 2


def test_grant_that_a_failover_will_need_is_told_at_the_start_and_as_advice(
    sluice, start, queue, eventually, empty_dsn, environment, settings
):
    """Fault 77: whoever is not told of it learns of it by a hold."""
    role = f"plain_{os.getpid()}"

    async def as_superuser(*statements):
        connection = await asyncpg.connect(empty_dsn)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(as_superuser(f"CREATE ROLE {role} LOGIN", f"GRANT ALL ON SCHEMA public TO {role}"))
    try:
        environment["SLUICE_DSN"] = re.sub(r"//[^@]*@", f"//{role}@", empty_dsn)
        sluice("migrate")
        statement = f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {role}"
        worker = start("run", "--report-every", "0")
        assert statement in worker.says("each would be a hold")
        until = time.monotonic() + PATIENCE_S
        while statement not in (shown := sluice("status").out):
            assert time.monotonic() < until, shown
        assert "  advice: our role may not read" in shown and "alarm:" not in shown
        worker.cut_off()
    finally:
        asyncio.run(as_superuser(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}"))


def test_what_waits_of_campaigns_is_said_of_each(sluice, queue):
    queue("INSERT INTO campaign (name, state, created_at, changed_at) VALUES ('cart', 'live', now(), now())")
    queue(
        "INSERT INTO enrolment (bucket, id, version, campaign, profile, endpoint, anchor_id, anchor_at, entered_at, "
        "step_at, due_at, cause) SELECT 7, k, 1, c.id, k, k, 1, now(), now(), now(), '2026-03-01 12:00+00', 'x' "
        "FROM campaign c, generate_series(1, 1200) k"
    )
    assert "campaign    cart: 1,200 people due, the first since 2026-03-01 12:00:00\n" in sluice("status").out
    (found,) = sluice("status", "--json").json["campaigns"]
    assert (found["campaign"], found["what"], found["waiting"]) == ("cart", "people", 1200)
