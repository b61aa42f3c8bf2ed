"""`sluice tune`: what may change while a carrier runs, what it was, and where it comes from."""

import pytest

from gateway.commands.tune import value_of


def test_change_is_obeyed_shown_with_where_it_comes_from_and_reset(sluice, start, queue, settings):
    settings(north={"tps": 100})
    start("run", "--carrier", "north", "--report-every", "0").says("running")
    before = sluice("tune", "north", "--json").json["settings"]
    assert before["tps"] == {"value": 100, "from": "settings: carrier"}
    assert before["window"] == {"value": 10, "from": "default"}
    result = sluice("tune", "north", "tps=500", "adaptive=off", "retry_delay_s=2", "--reason", "new contract")
    assert result.code == 0 and result.err == "obeyed by 1 worker\n"
    assert len(result.out.splitlines()) == 3 and "tps = 500   order 1 by " in result.out
    after = sluice("tune", "north", "--json").json
    assert after["order"] is None and after["settings"]["adaptive"]["value"] is False
    assert after["settings"]["tps"]["from"].endswith("UTC: new contract")
    (worker,) = sluice("status", "--json").json["workers"]
    assert worker["carriers"]["north"]["control"]["tuned"] == {"tps": 500, "adaptive": False, "retry_delay_s": 2}
    assert "tuned: adaptive = false, retry_delay_s = 2, tps = 500" in sluice("status").out
    assert sluice("tune", "north", "--reset").code == 0
    assert sluice("tune", "north", "--json").json["settings"] == before
    assert "nothing is tuned" in sluice("tune", "north", "--reset").err


def test_rollback_is_told_with_its_reason(sluice, queue):
    sluice("migrate")
    sluice("tune", "north", "tps=500")
    queue(
        "INSERT INTO control (at, by, action, scope, key, value, reason, undoes) VALUES "
        "(now(), 'worker', 'rollback', 'carrier', 'north', '{\"tps\": null}', 'throttled rose', 1)"
    )
    shown = sluice("tune", "north").out
    assert "tps = 0   default (rollback 2" in shown and "throttled rose" in shown


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("window=0",), "carriers.north.window: expected an integer"),
        (("tps=fast",), "carriers.north.tps: expected an integer"),
        (("tps=5.5",), "carriers.north.tps: expected an integer"),
        (("host=example.com",), "a setting whose change needs a restart"),
        (("tsp=5",), "did you mean 'tps'"),
        (("tps=0", "throttle_silence=on", "adaptive=off"), "throttle_silence"),
    ],
)
def test_what_the_settings_refuse_is_refused_without_a_database(here, settings, changes, said):
    result = here("tune", "north", *changes)
    assert result.code == 78 and said in result.err


@pytest.mark.parametrize(
    "arguments", [("tps",), ("=5",), ("tps=1", "tps=2"), ("--reset", "tps=1"), ("--reset", "--keep")]
)
def test_form_that_is_none_is_a_usage_error(here, settings, arguments):
    assert here("tune", "north", *arguments).code == 2


def test_values_are_read_as_they_are_written_in_a_terminal():
    assert [value_of(text) for text in ("5", "0.5", "on", "OFF", "true", "1e3", "fast", "")] == [
        5, 0.5, True, False, True, 1000.0, "fast", "",
    ]  # fmt: skip
