"""`sluice run` as a process: it serves, reports, drains and leaves."""

import pytest

from gateway.store.embedded import Embedded
from tests.fixtures.postgres import FAST

TEXT = "hello"


def enqueue(sluice, people, n, *carriers):
    options = [word for name in carriers for word in ("--carrier", name)]
    assert sluice("send", "--contacts", people(n), "--text", TEXT, *options, "--detach").code == 0


def test_signal_drains_the_window_and_leaves_nothing_in_doubt(sluice, start, queue, people):
    enqueue(sluice, people, 90, "slow")
    worker = start("run", "--carrier", "slow", "--report-every", "0.02")
    # Ten answers are out at any time, 150 ms each.
    worker.says("window 10/10")
    stopped = worker.ends()
    assert stopped.code == 0 and "stopping: draining the windows" in stopped.err
    states = sluice("status", "--json").json["runs"][0]["states"]
    assert states.get("uncertain", 0) == 0 and sum(states.values()) == 90 and states["queued"] > 0
    assert queue("SELECT count(*) FROM worker") == [(0,)]


def test_worker_serves_every_carrier_of_the_settings_and_says_how_they_stand(sluice, start, queue, people):
    enqueue(sluice, people, 60, "north", "south")
    worker = start("run", "--report-every", "0.05")
    assert worker.says("running").endswith(": north, south, slow, busy, guarded, nowhere\n")
    assert "nowhere: down" in worker.says("nowhere:")
    while sluice("status", "--json").json["runs"][0]["states"] != {"delivered": 60}:
        assert worker.process.poll() is None
    assert worker.ends().code == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--carrier", "est"), "carriers.est: expected one of"),
        (("--config", "/nonexistent.toml"), "a readable file"),
        (("--config", "empty.toml"), "at least one [carriers.NAME] section"),
    ],
)
def test_worker_does_not_start_on_wrong_settings(here, settings, tmp_path, options, expected):
    (tmp_path / "empty.toml").write_text("")
    result = here("run", *options)
    assert result.code == 78 and expected in result.err
    assert not (tmp_path / "home").exists()


def test_worker_waits_for_a_database_that_is_away_and_ends_when_it_stays_away(sluice, settings, tmp_path):
    with open(tmp_path / "sluice.toml", "a") as file:
        file.write("[database]\nstart_patience_s = 0.5\n")
    result = sluice("run", "--dsn", "postgresql://u:dsn-s3cret@127.0.0.1:1/x")
    waiting, end = result.err.splitlines()
    assert waiting.startswith("postgres: connect") and "waiting for it, 0 s more" in waiting
    assert result.code == 75 and end.startswith("postgres: connect")


def test_worker_that_waits_for_a_database_ends_in_order_when_told(start, settings):
    worker = start("run", "--dsn", "postgresql://u:dsn-s3cret@127.0.0.1:1/x")
    worker.says("waiting for it, 60 s more")
    assert worker.ends().code == 0


def test_worker_that_was_started_before_its_database_serves_once_it_is_there(start, settings, data_root):
    with Embedded(data_root, FAST) as server:
        dsn = server.dsn
    worker = start("run", "--dsn", dsn)
    worker.says("waiting for it")
    with Embedded(data_root, FAST):
        worker.says("running")
        assert worker.ends().code == 0
