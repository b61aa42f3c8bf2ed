"""`sluice inbound` shows what handsets wrote, and goes on with what comes."""

import json

import pytest

ADD = """
WITH m AS (
    INSERT INTO inbound_message (lane, id, at, source, destination, text, parts, missing, alphabet, is_lossy, pdus)
    VALUES ({lane}, {id}, timestamptz '2026-01-02 03:04:00+00' + {id} * interval '1 second', '447700900000', '12345',
            {text}, {parts}, '{missing}', 'gsm7', {lossy}, '{{{id}}}')
    RETURNING *
), n AS (
    INSERT INTO event_number (lane, last_id) VALUES ({lane}, 1)
    ON CONFLICT (lane) DO UPDATE SET last_id = event_number.last_id + 1 RETURNING last_id
), e AS (
    INSERT INTO event (lane, id, at, kind, subject, body)
    SELECT m.lane, n.last_id, m.at, 'inbound.received', m.source, jsonb_build_object(
        'message', m.id, 'destination', m.destination, 'text', m.text, 'parts', m.parts, 'missing', m.missing,
        'alphabet', m.alphabet, 'is_lossy', m.is_lossy) FROM m, n
)
SELECT pg_notify('sluice_event', '{lane}')
"""


@pytest.fixture
def wrote(queue):
    """Let a handset have written something."""
    for lane, name in ((1, "north"), (2, "south")):
        queue(f"INSERT INTO carrier (lane, name, created_at) VALUES ({lane}, '{name}', now()) RETURNING lane")

    def write(text, *, id, lane=1, parts=1, missing="{}", lossy=False):
        quoted = "E'" + "".join(f"\\U{ord(char):08x}" for char in text) + "'"
        queue(ADD.format(lane=lane, id=id, text=quoted, parts=parts, missing=missing, lossy=lossy))

    return write


def test_messages_are_shown_the_oldest_first_with_what_is_wrong_with_them(sluice, wrote):
    wrote("Yes", id=2)
    wrote("one three", id=1, lane=2, parts=3, missing="{2}", lossy=True)
    lines = sluice("inbound").out.splitlines()
    assert lines == [
        "2026-01-02 03:04:01  south  447700900000 > 12345  one three  "
        "(parts 2 of 3 never came; not all of it could be read)",
        "2026-01-02 03:04:02  north  447700900000 > 12345  Yes",
    ]
    assert sluice("inbound", "--limit", "1").out.splitlines() == lines[1:]
    assert sluice("inbound", "--carrier", "south").out.splitlines() == lines[:1]


def test_what_a_stranger_wrote_does_nothing_to_a_terminal(sluice, wrote):
    wrote("a\nb\x1b[2Jc", id=1)
    (line,) = sluice("inbound").out.splitlines()
    assert line.endswith("a b\\x1b[2Jc")


def test_json_has_the_fields_of_the_event(sluice, wrote):
    wrote("Кто это?", id=7)
    found = sluice("inbound", "--json").json
    assert found == {
        "carrier": "north", "at": "2026-01-02T03:04:07+00:00", "source": "447700900000", "message": 7,
        "destination": "12345", "text": "Кто это?", "parts": 1, "missing": [], "alphabet": "gsm7", "is_lossy": False,
    }  # fmt: skip


def test_follow_goes_on_with_what_comes_and_shows_nothing_twice(start, wrote):
    wrote("before", id=1)
    running = start("inbound", "--follow", "--json")
    running.says("following")
    wrote("after", id=2)
    wrote("elsewhere", id=3, lane=2)
    # Printed as it comes: the reader waits for the lines, and not for the end.
    shown = [json.loads(running.process.stdout.readline()) for _ in range(3)]
    assert [one["text"] for one in shown] == ["before", "after", "elsewhere"]
    finished = running.ends()
    assert finished.code == 0 and finished.out == ""


def test_carrier_that_never_was_is_named_with_those_there_are(sluice, wrote):
    found = sluice("inbound", "--carrier", "est")
    assert found.code == 78 and "--carrier: expected one of north, south, found 'est'" in found.err


def test_without_a_database_it_says_so_and_makes_none(sluice, settings, tmp_path):
    found = sluice("inbound")
    assert found.code == 0 and "nothing has come" in found.err and not (tmp_path / "home").exists()


def test_schema_of_an_older_program_is_not_brought_forward(sluice, queue):
    queue("DELETE FROM schema_version WHERE version = 4 RETURNING version")
    found = sluice("inbound")
    assert found.code == 75 and "0004_inbound.sql" in found.err
