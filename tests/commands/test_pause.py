"""`sluice pause`: by carrier, campaign, country and sender; what does not exist is an error with what does."""

import pytest


def test_pause_is_obeyed_by_the_worker_that_runs_and_its_reason_is_shown(sluice, start, queue):
    start("run", "--carrier", "north", "--report-every", "0").says("running")
    result = sluice("pause", "carrier", "north", "--for", "10m", "--reason", "asked by the\x1b carrier")
    assert result.code == 0 and result.err == "obeyed by 1 worker\n"
    assert result.out.startswith("carrier north: paused since ") and "until" in result.out
    assert result.out.endswith(": asked by the\\x1b carrier\n")
    ((action, scope, key, reason, minutes),) = queue(
        "SELECT action, scope, key, reason, extract(epoch FROM until - at)::int / 60 FROM control"
    )
    assert (action, scope, key, reason, minutes) == ("pause", "carrier", "north", "asked by the\x1b carrier", 10)
    document = sluice("status", "--json").json
    assert document["orders"][0]["reason"] == reason
    assert document["workers"][0]["carriers"]["north"]["control"]["stands"] == "paused"
    shown = sluice("status").out
    assert "carrier north: paused since" in shown and "asked by the\\x1b carrier" in shown


@pytest.mark.covers("X.5")
def test_campaign_country_and_sender_are_named_as_people_name_them(sluice, queue, people):
    sluice("send", "--contacts", people(3), "--text", "hello", "--carrier", "north", "--name", "spring", "--detach")
    ((run,),) = queue("SELECT id FROM run")
    for scope, key in (("campaign", "spring"), ("campaign", str(run)), ("country", "de"), ("sender", "Sluice")):
        result = sluice("pause", scope, key)
        assert result.code == 0, result.err
        assert "no worker runs" in result.err
    assert queue("SELECT scope, key FROM control ORDER BY id") == [
        ("campaign", "spring"), ("campaign", str(run)), ("country", "DE"), ("sender", "Sluice"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "key", "said"),
    [
        ("carrier", "est", "carrier 'est': expected one of busy, guarded, north, nowhere, slow, south"),
        ("campaign", "winter", "campaign 'winter': expected the name of a campaign or the number of a run"),
        ("country", "XX", "country 'XX': expected the two letters of a country, such as DE"),
        ("sender", "Nobody", "sender 'Nobody': no message of it waits, and no settings name it"),
    ],
)
def test_what_does_not_exist_is_not_paused(sluice, queue, scope, key, said):
    sluice("migrate")
    result = sluice("pause", scope, key)
    assert result.code == 1 and result.err.startswith(said)
    assert queue("SELECT count(*) FROM control") == [(0,)]


def test_every_carrier_at_once_needs_a_second_word(sluice, queue):
    sluice("migrate")
    refused = sluice("pause", "carrier", "all")
    assert refused.code == 2 and "--yes" in refused.err
    assert sluice("pause", "carrier", "all", "--yes").code == 0
    assert queue("SELECT count(*) FROM control WHERE action = 'pause'") == [(6,)]


@pytest.mark.parametrize("length", ["10", "0s", "-5m", "1w", "9999999s", "٣m"])
def test_time_without_a_unit_or_of_no_length_is_a_usage_error(here, settings, length):
    assert here("pause", "carrier", "north", "--for", length).code == 2


def test_without_a_database_there_is_nothing_to_order(sluice, settings, tmp_path):
    result = sluice("pause", "carrier", "north")
    assert result.code == 75 and "no database in" in result.err
    assert not (tmp_path / "home").exists()
