"""Documents: what is read is what was written, and what is wrong is said with its place, all of it."""

import pytest

from gateway import document
from gateway.document import Document, OnEvent

LEAST = """
name = "x"
brand = "acme"
message = {text = "Hi"}
[trigger]
on = "event"
event = "seen"
"""


def of(text: str) -> Document:
    found, problems = document.read(text.encode())
    assert found is not None, problems
    return found


def wrong(text: str) -> list[tuple[str, str, str]]:
    found, problems = document.read(text.encode())
    assert found is None
    return problems


def test_document_that_was_written_is_read_as_it_was() -> None:
    made = of(LEAST + '[[goals]]\nevent = "order_placed"\n[entry]\nagain = "once"\n')
    assert made.trigger == OnEvent(event="seen")
    assert document.decode(document.encode(made)) == made
    assert document.encode(made) == document.encode(document.decode(document.encode(made)))


def test_json_is_read_as_toml_is() -> None:
    told = b'{"name": "x", "brand": "acme", "message": {"text": "Hi"}, "trigger": {"on": "event", "event": "seen"}}'
    assert document.read(told, is_json=True)[0] == of(LEAST)


def test_everything_that_is_wrong_is_said_at_once_and_where() -> None:
    text = LEAST.replace('event = "seen"', 'evnt = "seen"').replace('brand = "acme"', "brand = 3")
    text += '[[steps]]\ndo = "wait"\nfor = "1d"\n[[steps]]\ndo = "fly"\n[[goals]]\nevent = "a"\nwithin = "soon"\n'
    places = {key for key, _, _ in wrong(text)}
    assert {"trigger.evnt", "steps[1].do", "goals[0].within", "brand"} <= places


@pytest.mark.parametrize(
    ("octets", "expected"), [(b"\xff", "UTF-8"), (b"name = ", "TOML"), (b"[[trigger]]\non = 1", "`object`")]
)
def test_what_is_no_document_at_all_is_said_to_be_none(octets: bytes, expected: str) -> None:
    found, problems = document.read(octets)
    assert found is None
    assert expected in [problem[1] for problem in problems]


@pytest.mark.parametrize(("span", "seconds"), [("90s", 90), ("30m", 1800), ("50h", 180_000), ("7d", 604_800)])
def test_span_is_seconds(span: str, seconds: int) -> None:
    assert document.seconds_of(span) == seconds


def test_a_name_that_is_not_there_is_met_with_those_that_are() -> None:
    text = b"""name = "x"
brand = "acme"
begins = "2026-01-01"
mesage = {text = "Hi"}
[trigger]
on = "event"
event = "looked"
wher = "total > 5"
"""
    _, problems = document.read(text)
    expected = {key: what for key, what, _ in problems}
    assert "(message?)" in expected["mesage"] and "where" in expected["trigger.wher"]
    assert "starts_at" in expected["begins"]
