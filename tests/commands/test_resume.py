"""`sluice resume`: what stands still goes on, and nothing else is resumed."""

import time

import pytest

from gateway.dispatch.clock import SANE_S
from tests.fixtures.rig import FAKETIME


def test_only_what_stands_still_goes_on(sluice, queue):
    sluice("migrate")
    refused = sluice("resume", "country", "DE")
    assert refused.code == 1
    assert refused.err == "country 'DE': expected what is paused or drained, which is nothing\n"
    sluice("pause", "country", "FR")
    assert "which is FR" in sluice("resume", "country", "DE").err
    result = sluice("resume", "country", "fr", "--reason", "checked")
    assert result.code == 0 and result.out.startswith("country FR: goes on since")
    assert "which is nothing" in sluice("resume", "country", "FR").err
    assert sluice("status", "--json").json["orders"] == []


def test_every_carrier_that_stands_goes_on_at_once(sluice, queue):
    sluice("migrate")
    sluice("pause", "carrier", "north")
    sluice("drain", "carrier", "south")
    result = sluice("resume", "carrier", "all")
    assert [line.split(":")[0] for line in result.out.splitlines()] == ["carrier north", "carrier south"]
    assert "which is nothing" in sluice("resume", "carrier", "all").err


@pytest.mark.skipif(not FAKETIME.exists(), reason=f"{FAKETIME} is not there (Debian: libfaketime)")
def test_clock_that_jumped_is_believed_again_by_order_and_what_is_due_by_it_leaves(
    sluice, start, queue, eventually, people, environment, tmp_path
):
    """Fault 82: an hour forward starts no campaign of half an hour later, until a person says that it is so late."""
    offset = tmp_path / "offset"
    offset.write_text("+0\n")
    truly = dict(environment)
    environment |= {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
    }
    start("run")
    eventually("SELECT coalesce(bool_or(report::jsonb ? 'guards'), false) FROM worker")
    environment.clear()
    environment |= truly
    # Nobody doubts: there is nothing to say.
    early = sluice("resume", "--clock")
    assert early.code == 1 and early.err == "expected a worker that distrusts its clock, found none among 1\n"
    sluice("pause", "carrier", "north")
    assert sluice("send", "--contacts", people(5), "--text", "Hi", "--carrier", "north", "--detach").code == 0
    queue("UPDATE chunk SET not_before = now() + interval '30 minutes'")
    sluice("resume", "carrier", "north")
    offset.write_text("+3600\n")
    eventually("SELECT coalesce(bool_or(report::jsonb #> '{guards,alarms}' ? 'clock'), false) FROM worker")
    jumped_at = time.monotonic()
    assert "alarm: clock_distrust: the wall clock has jumped forward by 3600 s" in sluice("status").out
    assert queue("SELECT count(*) FROM outcome") == [(0,)]
    result = sluice("resume", "--clock", "--reason", "ntp is right")
    assert result.code == 0 and result.out.startswith("clock: goes on: clock_distrust: ")
    assert "obeyed by 1 worker" in result.err
    eventually("SELECT count(*) = 5 FROM outcome")
    assert time.monotonic() - jumped_at < SANE_S - 5.0, "a minute in step would have ended it without the order"
    eventually("SELECT bool_and(report::jsonb #> '{guards,alarms}' = '{}') FROM worker")
