"""`sluice profile`: shown, exported, merged and erased: rules EV-7, CN-12 and CN-13."""

import json
import time

KEY = "7" * 64
ADA, BOB = "+447911123456", "+447911123457"


def told(tmp_path, *lines):
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    return path


def of(number, name, **more):
    return {
        "external_id": name, "phone": number, "name": "visit", "occurred_at": "2026-03-01T12:00:00Z",
        "event_id": f"e-{name}", **more,
    }  # fmt: skip


def sends(sluice, tmp_path, number):
    """Send to one, and so what was queued before."""
    csv = tmp_path / "one.csv"
    csv.write_text(f"phone\n{number}\n")
    done = sluice("send", "--contacts", csv, "--text", "Now", "--carrier", "north", "--yes", SLUICE_KEY=KEY)
    assert done.code == 0, done.err


def test_cn_12_everything_of_a_number_is_handed_out_in_one_call_and_erased_for_good(sluice, queue, tmp_path):
    people = told(tmp_path, of(ADA, "ada", attributes={"first_name": "Ada"}), of(BOB, "bob"))
    assert sluice("events", "import", people).code == 0
    grant = ("--brand", "acme", "--wording", "Texts of Acme", "--method", "box ticked")
    assert sluice("consent", "grant", ADA, *grant).code == 0
    assert sluice("list", "add", "vip", ADA, BOB, "--source", "hand").code == 0
    csv = tmp_path / "people.csv"
    csv.write_text(f"phone,first_name\n{ADA},Ada\n{BOB},Bob\n")
    sent = sluice("send", "--contacts", csv, "--text", "Hi {{first_name}}", "--carrier", "north", "--detach", "--yes")
    assert sent.code == 0, sent.err

    shown = sluice("profile", "show", "--external-id", "ada").out
    assert ADA in shown and 'first_name = "Ada"' in shown and "1 x visit" in shown
    document = sluice("profile", "export", "--number", ADA).json
    assert document["persons"][0]["external_id"] == "ada" and document["persons"][0]["events"][0]["name"] == "visit"
    assert document["consent"]["is_whole"] and document["consent"]["rows"][0]["wording"] == "Texts of Acme"
    assert document["messages"][0]["place"]["fields"] == ["Ada"]
    assert {one["list"] for one in document["lists"]} > {"vip"} and document["list_changes"][0]["source"] == "hand"

    assert "SLUICE_KEY: expected" in sluice("profile", "erase", "--number", ADA, "--reason", "letter").err
    done = sluice("profile", "erase", "--number", ADA, "--reason", "letter of 3 March", SLUICE_KEY=KEY)
    assert done.code == 0 and done.out.startswith("1 numbers and 1 persons erased: 1 events, 1 messages"), done.err
    assert queue("SELECT external_id FROM profile") == [("bob",)]
    after = sluice("profile", "export", "--number", ADA).json
    after.pop("made_at"), after.pop("number"), after.pop("consent")
    assert not any(after.values())

    # What was queued ends with its reason, and Bob gets his.
    sends(sluice, tmp_path, BOB)
    statuses = (
        "SELECT p.msisdn[o.pos + 1] < 1::bigint << 62, o.status FROM outcome o JOIN chunk_payload p USING (chunk_id)"
    )
    assert sorted(queue(statuses)) == [(False, -39), (True, 0), (True, 0)]


def test_cn_12_no_door_takes_an_erased_number_in_again_and_each_says_how_many(sluice, queue, tmp_path):
    sluice("migrate")
    sluice("profile", "erase", "--number", ADA, "--reason", "letter", SLUICE_KEY=KEY)
    again = told(tmp_path, of(ADA, "ada"), of(BOB, "bob"))
    csv = tmp_path / "people.csv"
    csv.write_text(f"phone,first_name\n{ADA},Ada\n{BOB},Bob\n")
    consent = tmp_path / "consent.csv"
    consent.write_text(
        f"number,action,brand,at,wording,method\n{ADA},grant,acme,2026-01-01T00:00:00Z,Texts of Acme,box\n"
    )
    doors = {
        ("events", "import", again): "1 of those taken for nothing are of numbers that were erased",
        ("contacts", "import", csv, "--list", "all"): "expected a number that may be kept",
        ("import", csv): "1 of erased numbers were left out",
        ("list", "add", "vip", ADA, BOB): "1 numbers were erased",
        ("consent", "import", consent): "1 numbers were erased",
        ("consent", "ask", ADA, "--brand", "b", "--text", "YES?", "--carrier", "north"): "it was erased",
    }
    for arguments, said in doors.items():
        refused = sluice(*arguments)
        assert "SLUICE_KEY: expected the key that numbers were erased with" in refused.out + refused.err, arguments
        done = sluice(*arguments, SLUICE_KEY=KEY)
        assert said in done.out + done.err, (arguments, done)
    for table in ("profile", "list_entry", "endpoint", "consent"):
        assert queue(f"SELECT count(*) FROM {table} WHERE number = {ADA[1:]}") == [(0,)], table
    assert "erased" in sluice("stop", "--list", "5").out and ADA not in sluice("stop", "--list", "5").out
    assert "none of them is stopped" in sluice("start", ADA, "--reason", "they came back").out


def test_cn_12_a_number_that_came_past_every_door_is_not_sent_to(sluice, queue, tmp_path):
    sluice("migrate")
    sluice("profile", "erase", "--number", ADA, "--reason", "letter", SLUICE_KEY=KEY)
    csv = tmp_path / "people.csv"
    csv.write_text(f"phone\n{BOB}\n")
    sluice("send", "--contacts", csv, "--text", "Hi", "--carrier", "north", "--detach", "--yes", SLUICE_KEY=KEY)
    queue(f"UPDATE chunk_payload SET msisdn = ARRAY[{ADA[1:]}] RETURNING 1")
    sends(sluice, tmp_path, BOB)
    assert sorted(queue("SELECT status FROM outcome")) == [(-16,), (0,)]


def test_ev_7_two_persons_are_one_when_somebody_says_so(sluice, queue, tmp_path):
    sluice("events", "import", told(tmp_path, of(ADA, "ada"), of(BOB, "bob")))
    ids = [str(row[0]) for row in queue("SELECT id FROM profile ORDER BY external_id")]
    done = sluice("profile", "merge", *ids)
    assert done.code == 0 and f"person {min(ids, key=int)}" in done.out, done.err
    assert queue("SELECT count(*), count(DISTINCT profile) FROM person_event") == [(2, 1)]
    assert queue("SELECT kind, value FROM identity ORDER BY value") == [("external_id", "ada"), ("external_id", "bob")]
    assert sluice("profile", "merge", *ids).code == 65
    assert queue("SELECT count(*), sum(count) FROM profile p JOIN event_total t ON t.profile = p.id") == [(1, 2)]


def test_a_person_without_a_number_is_shown_and_erased_by_name_without_a_key(sluice, queue, tmp_path):
    line = {"anonymous_id": "d1", "external_id": "x", "name": "visit", "occurred_at": "2026-03-01T12:00:00Z"}
    sluice("events", "import", told(tmp_path, line))
    assert "no number" in sluice("profile", "show", "--external-id", "x").out
    assert sluice("profile", "export", "--external-id", "x").json["persons"][0]["identities"][0]["value"] == "d1"
    done = sluice("profile", "erase", "--external-id", "x", "--reason", "letter")
    assert done.code == 0 and "0 numbers and 1 persons erased" in done.out, done.err
    assert queue("SELECT count(*) FROM identity") == [(0,)]
    assert sluice("profile", "show", "--external-id", "x").code == 65


def test_who_is_meant_and_why_have_to_be_said(here, settings):
    assert here("profile", "show").code == 2
    assert here("profile", "show", "--number", ADA, "--id", "5").code == 2
    assert here("profile", "erase", "--reason", "x").code == 2
    assert here("profile", "erase", "--number", ADA).code == 2
    assert here("profile", "merge", "5", "5").code == 2


def test_ev_11_who_received_a_campaign_is_found_by_the_text_of_an_audience(sluice, start, queue, tmp_path):
    assert sluice("events", "import", told(tmp_path, of(ADA, "ada"), of(BOB, "bob"))).code == 0
    csv = tmp_path / "people.csv"
    csv.write_text(f"phone\n{ADA}\n")
    sent = sluice(
        "send", "--contacts", csv, "--text", "Hi", "--carrier", "north", "--name", "spring", "--detach", "--yes"
    )
    assert sent.code == 0, sent.err
    running = start("run", "--carrier", "north", "--report-every", "0")
    until = time.monotonic() + 25
    while not queue("SELECT 1 FROM person_event WHERE name = 'delivered'"):
        assert time.monotonic() < until, "nothing was told of a delivery"
    assert running.ends().code == 0
    for text, number in {
        "received('spring')": ADA, "received(last_campaign)": ADA, "count(submitted) = 0": BOB,
        "received('spring') and not clicked(last_campaign) and not replied(any)": ADA, "not received(any)": BOB,
    }.items():  # fmt: skip
        found = sluice("audience", "members", text, "--allow-unknown")
        assert number in found.out and len(found.out.strip().splitlines()) == 1, (text, found)
