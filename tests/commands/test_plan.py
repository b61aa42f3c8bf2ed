"""`sluice plan` reckons, and changes nothing."""

import pytest

from gateway.commands.plan import account_of, live
from gateway.config import CarrierSettings


def report(p99_ms, ceiling=None, phases=("bound",)):
    binds = [{"phase": phase, "kind": "bind_transceiver"} for phase in phases]
    return {"carriers": {"north": {"account": {"p99_ms": p99_ms, "ceiling_per_s": ceiling}, "binds": binds}}}


def test_what_workers_report_is_added_up():
    found = live([report(20.0, 40, ("bound", "down")), report(35.0, 50), {"carriers": {}}], "north")
    assert found == {"binds": 2, "rtt_ms": 35.0, "limit": 90}
    assert live([report(None, None, ())], "north") == {} == live([report(1.0)], "south")


def test_what_was_tuned_goes_over_what_is_set():
    tuned = report(35.0)
    tuned["carriers"]["north"]["control"] = {"tuned": {"tps": 300, "window": 50, "max_attempts": 2}}
    known = live([tuned], "north")
    assert known == {"binds": 1, "rtt_ms": 35.0, "tps_set": 300, "window": 50}
    account = account_of(CarrierSettings(host="h", tps=100), known, {})
    assert (account.per_s, account.window) == (300, 50)
    assert account_of(CarrierSettings(host="h", tps=100), {**known, "limit": 90}, {"window": 20}).per_s == 90


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (90, 10, 2, 0.035)),
        ({"tps": 500, "window": 40}, (500, 40, 2, 0.035)),
        ({"rtt_ms": 80.0}, (90, 10, 2, 0.08)),
    ],
)
def test_what_is_given_goes_over_what_is_live_and_that_over_what_is_set(given, expected):
    account = account_of(
        CarrierSettings(host="h", tps=100), {"binds": 2, "rtt_ms": 35.0, "limit": 90}, {"window": None, **given}
    )
    assert (account.per_s, account.window, account.binds, account.rtt_s) == expected


def test_bottleneck_and_reasoning_are_printed_without_a_database(sluice, settings):
    shown = sluice("plan", "--carrier", "north", "--messages", "1000", "--parts", "3", "--tps", "90", "--rtt-ms", "20")
    assert shown.code == 0 and "3,000 PDUs" in shown.out and "90 PDUs/s, rate-bound; 0:00:34" in shown.out
    found = sluice(
        "plan", "--carrier", "north", "--messages", "10", "--window", "1", "--binds", "1", "--tps", "0", "--json"
    )
    assert found.json["bottleneck"] == "window" and found.json["per_s"] == pytest.approx(20.0)
    assert "assumed" in found.err


def test_unknown_carrier_is_named(sluice, settings):
    found = sluice("plan", "--carrier", "atlantis", "--messages", "10")
    assert found.code == 78 and "carriers.atlantis" in found.err


def test_machines_of_a_day_are_reckoned_without_settings(here):
    shown = here("plan", "--messages-per-day", "10000000", "--receipts", "0.5")
    assert shown.code == 0 and "417 segments/s" in shown.out and "one Postgres and a replica" in shown.out
    found = here(
        "plan", "--messages-per-day", "1000000", "--window", "1", "--rtt-ms", "0", "--node-disk-gb", "1", "--json"
    )
    assert found.json["binds"] == 1 and found.json["nodes_by"] == "disk" and found.json["load"]["peak_hours"] == 8


@pytest.mark.parametrize("options", [("--messages-per-day", "5", "--carrier", "north"), ("--messages", "5"), ()])
def test_a_plan_is_of_a_carrier_or_of_machines(here, options):
    assert here("plan", *options).code == 2
