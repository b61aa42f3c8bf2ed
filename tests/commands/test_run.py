"""`sluice run` as a process: it serves, reports, drains and leaves."""

import pytest

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


def test_worker_says_that_the_database_is_away(sluice, settings):
    result = sluice("run", "--dsn", "postgresql://u:dsn-s3cret@127.0.0.1:1/x")
    assert result.code == 75 and result.err.startswith("postgres: connect")
