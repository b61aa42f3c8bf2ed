"""`sluice cancel`: what is certain and what is too late, told when nobody can begin anything any more (case 26)."""

import pytest


@pytest.fixture
def sent(sluice, queue, people):
    """Queue a run for 30 people; -> its number."""
    result = sluice(
        "send", "--contacts", people(30), "--text", "hello", "--carrier", "north", "--name", "spring", "--detach"
    )
    assert result.code == 0, result.err
    return queue("SELECT max(id) FROM run")[0][0]


def test_cancelled_run_is_closed_without_a_worker_and_everybody_is_told_since_when_and_by_whom(sluice, queue, sent):
    result = sluice("cancel", str(sent), "--by", "ann\x1b", "--reason", "a typo")
    assert result.code == 0 and "no worker sends: those that start obey" in result.err
    assert result.out.startswith(f"run {sent} (spring): cancelled at ")
    assert result.out.endswith("UTC by ann\\x1b: 30 before they left, 0 too late\n")
    assert queue("SELECT DISTINCT status FROM outcome") == [(-18,)]
    assert queue("SELECT action, key, by, reason FROM control") == [("cancel", str(sent), "ann\x1b", "a typo")]
    status = sluice("status", "--run", str(sent)).out
    assert "cancelled at " in status and "30  cancelled: the run was cancelled before they left" in status
    assert sluice("status", "--run", str(sent), "--json").json["runs"][0]["cancelled"].endswith("by ann\x1b")
    told = sluice("trace", "--run", str(sent), "+447911123400")
    assert "cancelled" in told.out and "ann\\x1b" in told.out and "CANCELLED" in told.out.upper()
    explained = sluice("explain", "--number", "+447911123400", "--campaign", "spring", "--json").json
    assert explained["happened"][0]["outcomes"][0]["reason"] == "campaign_ended:cancelled"
    assert explained["now"]["checks"][0]["reason"] == "campaign_ended:cancelled"


def test_cancel_is_obeyed_by_the_worker_that_runs_and_can_be_said_again(sluice, start, queue, sent):
    start("run", "--carrier", "south", "--report-every", "0").says("running")
    for _ in range(2):
        told = sluice("cancel", "spring", "--json").json
        assert len(told["obeyed_by"]) == 1 and not told["fenced"]
        assert [(one["run"], one["before"], one["undecided"]) for one in told["runs"]] == [(sent, 30, 0)]
    assert queue("SELECT count(*) FROM control WHERE action = 'cancel'") == [(2,)]


def test_name_of_several_runs_has_to_be_meant(sluice, queue, sent, people):
    sluice(
        "send",
        "--contacts",
        people(5, "more.csv"),
        "--text",
        "hi",
        "--carrier",
        "north",
        "--name",
        "spring",
        "--detach",
    )
    refused = sluice("cancel", "spring")
    assert refused.code == 1 and "expected the number of a run, or --all: 2 runs have that name" in refused.err
    assert queue("SELECT count(*) FROM control") == [(0,)]
    assert sluice("cancel", "spring", "--all").code == 0
    assert queue("SELECT count(*) FROM run WHERE cancelled_at IS NULL") == [(0,)]


def test_run_that_is_not_known_is_an_error_with_what_there_is(sluice, sent):
    result = sluice("cancel", "winter")
    assert result.code == 1
    assert result.err.startswith("run 'winter': expected the number of a run or the name of a campaign, the newest are")
    assert f"'spring' ({sent})" in result.err


def test_without_a_database_there_is_nothing_to_cancel(sluice, settings, tmp_path):
    result = sluice("cancel", "1")
    assert result.code == 75 and "no database in" in result.err
    assert not (tmp_path / "home").exists()


def test_from_carrier_has_what_left_taken_back_where_a_carrier_does_that(
    sluice, start, queue, eventually, settings, people
):
    refused = sluice("cancel", "spring", "--from-carrier")
    assert refused.code == 1 and "expected a carrier with cancel_sm = true, found none" in refused.err
    settings(south={"cancel_sm": True, "registered_delivery": 0})
    sluice("send", "--contacts", people(5), "--text", "x", "--carrier", "south", "--name", "spring", "--detach")
    worker = start("run", "--carrier", "south", "--report-every", "0")
    worker.says("running")
    eventually("SELECT count(*) = 5 FROM outcome WHERE status = 0")
    [told] = sluice("cancel", "spring", "--from-carrier", "--json").json["runs"]
    assert (told["before"], told["too_late"], told["no_word_yet"]) == (0, 5, 0)
    assert told["taken_back"] + told["not_taken_back"] == 5
    assert dict(queue("SELECT state, count(*) FROM unsend GROUP BY 1")) == {
        state: n for state, n in ((1, told["taken_back"]), (2, told["not_taken_back"])) if n
    }
