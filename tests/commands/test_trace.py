"""`sluice trace` tells the story of one message, found by any of its names."""

import pytest


@pytest.fixture
def sent(sluice, queue, people):
    """Send to three people through north; -> (fetch, run)."""
    name = people("phone,first_name\n+447911123400,Zoé\n+447911123401,Bob\n+447911123402,Eve\n")
    result = sluice("send", "--contacts", name, "--text", "Hi {{ first_name }}!" + "x" * 180, "--carrier", "north")
    assert result.code == 0, result.err
    [(run,)] = queue("SELECT id FROM run")
    return queue, run


def test_message_is_told_of_by_its_id_its_number_and_its_place(sent, here):
    queue, run = sent
    [(message_id, chunk, pos)] = queue("SELECT message_id, chunk_id, pos FROM outcome WHERE segment = 2 LIMIT 1")
    by_id = here("trace", message_id, "--json").json["messages"]
    by_place = here("trace", f"{run}/{chunk}:{pos}", "--json").json["messages"]
    by_number = here("trace", f"+{by_id[0]['number']}", "--run", str(run), "--json").json["messages"]
    assert by_id == by_place == by_number and len(by_id) == 1
    told = by_id[0]
    assert told["carrier"] == "north" and told["message"] == f"{run}/{chunk}:{pos}"
    assert told["chunk"]["may_have_left"] and told["chunk"]["state"] == "done"
    assert [(each["segment"], each["segments"], each["status"]) for each in told["outcomes"]] == [(1, 2, 0), (2, 2, 0)]
    assert [each["state"] for each in told["receipts"]] == ["delivered", "delivered"]
    assert "stat:DELIVRD" in told["receipts"][0]["text"]
    first, second = told["octets"]["pdus"]
    assert first["command"] == second["command"] == "submit_sm"
    assert first["fields"]["destination_addr"] == str(told["number"])
    gsm = told["fields"]["first_name"].replace("é", "\x05")
    assert f"Hi {gsm}!x".encode().hex() in first["hex"]
    assert "anew" in told["octets"]["note"]


def test_story_is_printed_for_a_person(sent, here):
    queue, run = sent
    [(chunk, pos)] = queue("SELECT chunk_id, pos FROM outcome LIMIT 1")
    lines = here("trace", f"{run}/{chunk}:{pos}").out.splitlines()
    titles = [line[:12].strip() for line in lines]
    assert [title for title in titles if title] == [
        "message", "run", "text", "route", "decision", "chunk", "watermark", "submit_sm", "octets", "submit_sm",
        "octets", "outcome", "outcome", "receipt", "receipt",
    ]  # fmt: skip
    assert "ESME_ROK (0x00), success" in lines[titles.index("outcome")]


def test_octets_of_a_message_are_from_its_sender_and_of_its_kind_though_no_worker_has_them(here, queue, people):
    name = people("phone\n+447911123400\n")
    wish = ("--contacts", name, "--carrier", "north", "--detach")
    for text, options, expected in (
        ("Hi", ("--sender", "Shop", "--flash"), {"source_addr": "Shop", "source_addr_ton": 5, "data_coding": 0x10}),
        ("00ff", ("--sender", "12345", "--binary"), {"source_addr": "12345", "source_addr_ton": 3, "data_coding": 4}),
    ):
        assert here("send", *wish, "--text", text, *options).code == 0
        [(run, chunk)] = queue("SELECT run, id FROM chunk ORDER BY run DESC LIMIT 1")
        (told,) = here("trace", f"{run}/{chunk}:0", "--json").json["messages"]
        (pdu,) = told["octets"]["pdus"]
        assert {key: pdu["fields"][key] for key in expected} == expected
    assert pdu["fields"]["short_message"] == "00ff"


@pytest.mark.parametrize("message", ["nothing", "1/2:3", "+447911123400"])
def test_what_is_not_known_is_said(sent, here, message):
    result = here("trace", message)
    assert (result.code, result.out) == (1, "") and f"{message}: not known" in result.err


def test_without_a_database_nothing_is_known_and_none_is_made(here, settings, tmp_path):
    assert here("trace", "x").code == 1
    assert not (tmp_path / "home").exists()


def test_unknown_carrier_is_named(here, settings):
    assert here("trace", "x", "--carrier", "nort").code == 78


def test_story_tells_what_crossed_the_wire_while_a_worker_has_it_temporary_refusals_too(
    serving, sluice, here, queue, eventually, people, settings
):
    settings(busy={"retry_delay_s": 0.001, "retry_longest_s": 0.002, "max_attempts": 100})
    serving("busy")
    name = people("phone\n+447911123400\n+447911123401\n")
    result = sluice("send", "--contacts", name, "--text", "Hello" + "x" * 180, "--carrier", "busy")
    assert result.code == 0, result.err
    [(run,)] = queue("SELECT id FROM run")
    eventually("SELECT count(*) = 4 FROM receipt")
    refusals = 0
    for chunk, pos in queue("SELECT chunk_id, pos FROM outcome WHERE segment = 1"):
        (told,) = here("trace", f"{run}/{chunk}:{pos}", "--json").json["messages"]
        wire = told["wire"]
        submits = [each for each in wire if each["command"] == "submit_sm"]
        answers = [each for each in wire if each["command"] == "submit_sm_resp"]
        assert {each["message_id"] for each in answers if each["message_id"]} == {
            each["message_id"] for each in told["outcomes"]
        }
        refused = [each for each in answers if "RSYSERR" in each["status"]]
        assert len(submits) == len(answers) == 2 + len(refused)
        assert all(str(told["number"]).encode().hex() in each["hex"] for each in submits)
        assert len([each for each in wire if each["command"] == "deliver_sm"]) == 2
        assert [each["at"] for each in wire] == sorted(each["at"] for each in wire)
        assert told["decision"]["as_of"] == "now" and told["decision"]["carrier"]
        assert told["moves"] == []
        refusals += len(refused)
    assert refusals > 0
    shown = here("trace", f"{run}/{chunk}:{pos}").out
    assert "as of now it would go by" in shown and " < submit_sm_resp " in shown
