"""Files of events: what each line tells, and what is refused by line, field, expected and found."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.events import LINE_OCTETS, Refusal, read_events
from gateway.person import Item, Who

AT = "2026-03-01T12:00:00+01:00"


def read(*lines: bytes | dict[str, Any]) -> list[Item | Refusal]:
    octets = b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines)
    return [line.told for line in read_events(io.BytesIO(octets), "shop")]


def line(**more: Any) -> dict[str, Any]:
    return {"name": "visit", "occurred_at": AT, "external_id": "ada", **more}


def test_a_line_tells_an_event_attributes_or_both() -> None:
    [found] = read(
        line(event_id=7, phone="+4915112345678", email=" A@b.de ", properties={"a": [1]}, attributes={"t": None})
    )
    assert found == Item(
        who=Who(external_id="ada", phone=4915112345678, email="a@b.de"), source="shop", event_id="7", name="visit",
        occurred_at=datetime(2026, 3, 1, 11, tzinfo=UTC), properties={"a": [1]}, attributes={"t": None},
    )  # fmt: skip


def test_im_5_words_of_segment_are_understood() -> None:
    words = {
        "type": "track",
        "messageId": "1",
        "event": "visit",
        "timestamp": AT,
        "userId": "ada",
        "traits": {"email": "a@b.de"},
    }
    [found] = read(words)
    assert isinstance(found, Item)
    assert (found.who, found.event_id, found.name) == (Who(external_id="ada", email="a@b.de"), "1", "visit")


def test_empty_lines_and_a_mark_of_unicode_are_passed_over_and_a_last_line_needs_no_end() -> None:
    assert len(read(b"\xef\xbb\xbf" + json.dumps(line()).encode(), b"", b"  \r", line())) == 2


@pytest.mark.parametrize(
    ("told", "field", "expected", "found"),
    [
        (line(occurred_at=None), "occurred_at", "with its zone", "nothing"),
        (line(occurred_at="2026-03-01T12:00:00"), "occurred_at", "with its zone", "'2026-03-01T12:00:00'"),
        (line(occurred_at="yesterday"), "occurred_at", "with its zone", "'yesterday'"),
        (line(occurred_at=1), "occurred_at", "with its zone", "1"),
        (line(occurred_at="1969-12-31T00:00:00Z"), "occurred_at", "from 1970 on", "'1969-12-31T00:00:00Z'"),
        (line(external_id=None), "external_id", "at least one of", "nothing"),
        (line(external_id="x" * 501), "external_id", "at most 500", "'xxx"),
        (line(external_id="a\0"), "external_id", "without U+0000", "'a"),
        (line(phone="0151 12345678"), "phone", "E.164 with its plus", "'0151 12345678'"),
        (line(phone=4915112345678), "phone", "E.164 with its plus", "4915112345678"),
        (line(email="nobody"), "email", "name@domain", "'nobody'"),
        (line(name=None), "name", "an event, attributes or absorbs", "nothing"),
        (line(name=7), "name", "a text", "7"),
        (line(properties=[1]), "properties", "an object", "[1]"),
        (line(properties={"a": {"b": ["\0"]}}), "properties.a.b[0]", "without U+0000", "'\\x00'"),
        (line(attributes={"country": "Germany"}), "attributes.country", "two capital letters", "'Germany'"),
        (line(historical="yes"), "historical", "true or false", "'yes'"),
        (line(colour="red"), "colour", "one of", "'red'"),
        (b'{"name": "visit", "properties": {"total": NaN}}', "properties.total", "a finite number", "NaN"),
        (b'{"name": "visit", "properties": {"a": [1, -Infinity]}}', "properties.a[1]", "a finite number", "-Infinity"),
        (b'{"name": "visit", ', "", "one JSON object", "truncated"),
        (b'{"name": "\xff"}', "", "UTF-8", "octet 0xff at 11"),
        (b"[1]", "", "a JSON object", "[1]"),
        (b'{"properties": ' + b'{"a":' * 50 + b"1" + b"}" * 51, "properties", "at most 32 levels", "more"),
        (b"[" * 100_000, "", "one JSON object", ""),
    ],
)
def test_a_refusal_names_line_field_expected_and_found(told: Any, field: str, expected: str, found: str) -> None:
    before, refused, after = read(line(), told, line())
    assert isinstance(before, Item) and isinstance(after, Item) and isinstance(refused, Refusal)
    assert refused.line == 2 and refused.field.startswith(field) and str(refused).startswith("line 2")
    assert expected in refused.expected and found in refused.found


def test_a_line_of_ten_megabytes_is_refused_and_the_next_one_is_read() -> None:
    refused, after = read(b'{"a": "' + b"x" * 10_000_000 + b'"}', line())
    assert isinstance(refused, Refusal) and (refused.expected, refused.found) == (
        f"at most {LINE_OCTETS:,} octets",
        "10,000,010",
    )
    assert isinstance(after, Item)


def test_reading_goes_on_behind_any_line() -> None:
    octets = io.BytesIO(b"\n".join(json.dumps(line(event_id=number)).encode() for number in range(5)))
    lines = list(read_events(octets, "shop"))
    for one in lines:
        assert list(read_events(octets, "shop", at=one.end, number=one.number)) == lines[one.number :]


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_octets_become_items_or_refusals(lines: list[bytes]) -> None:
    assert all(isinstance(one, Item | Refusal) for one in read(*lines))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = st.sampled_from(
    "name occurred_at external_id email phone attributes properties absorbs event_id historical".split()
)


@given(st.dictionaries(NAMES, JSON | st.just(AT), max_size=6))
def test_any_values_become_items_or_refusals(told: dict[str, Any]) -> None:
    [found] = read(json.dumps(told).encode())
    assert isinstance(found, Item | Refusal)
