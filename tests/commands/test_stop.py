"""`sluice stop`: numbers however they are written, one or many; what is no number is refused with its fault."""

import pytest


def test_number_is_stopped_and_shown_however_it_is_written(sluice, queue):
    sluice("migrate")
    result = sluice("stop", "+44 7700 900123", "--note", "by phone")
    assert result.code == 0 and result.out.startswith("1 stopped, entry 2, in ") and "no worker sends" in result.out
    assert queue("SELECT number, scope, is_stop, source FROM stop_feed") == [(447700900123, "*", True, "command")]
    for written in (["447700900123"], ["00447700900123"], ["07700900123", "--region", "GB"]):
        shown = sluice("stop", "--check", *written)
        assert "+447700900123 everything: stopped since" in shown.out and "by phone" in shown.out, written
    assert sluice("stop", "--check", "+447700900124").out == "+447700900124 never stopped\n"
    assert sluice("stop", "--list", "5").out.count("\n") == 1


def test_many_are_stopped_by_a_file_and_for_one_sender(sluice, queue, people):
    sluice("migrate")
    result = sluice("stop", "--file", people(20), "--sender", "ACME")
    assert result.code == 0 and "20 stopped, entry 21" in result.out
    assert queue("SELECT DISTINCT scope, source, count(*) FROM stop_feed GROUP BY 1, 2") == [
        ("sender:acme", "import", 20)
    ]


def test_running_worker_confirms_and_status_shows_how_far_it_has_followed(sluice, start, queue):
    start("run", "--carrier", "north", "--report-every", "0").says("running")
    result = sluice("stop", "+447700900123")
    assert result.code == 0 and "confirmed by 1 workers" in result.out
    document = sluice("status", "--json").json
    assert document["workers"][0]["stops"]["trouble"] == ""
    assert "stops" in sluice("status").out


@pytest.mark.parametrize(
    "arguments", [[], ["--check"], ["--list", "0"], ["+447700900123", "--list", "3"], ["--check", "--list", "3"]]
)
def test_nothing_or_two_things_asked_for_is_a_usage_error(here, settings, arguments):
    assert here("stop", *arguments).code == 2


def test_what_is_no_number_is_named(here, settings):
    result = here("stop", "+447700900123", "brand")
    assert result.code == 65 and "found brand: letters" in result.err


def test_cn_11_the_reason_of_a_suppression_is_kept_and_a_person_lifts_it(sluice, queue):
    assert sluice("stop", "+447700900123", "--source", "complaint", "--note", "by phone").code == 0
    assert "by complaint" in sluice("stop", "--check", "+447700900123").out
    assert "suppress" in sluice("consent", "proof", "+447700900123").out
    lifted = sluice("start", "+447700900123", "--reason", "asked for it")
    assert "1 may be written to again" in lifted.out
    assert sluice("stop", "+447700900123", "--source", "whim").code == 2
