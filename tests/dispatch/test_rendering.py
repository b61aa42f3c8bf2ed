"""Pages of people become pages of texts; the same in a process of its own as here."""

import json
import struct
from datetime import UTC, datetime

import msgspec
import pytest

from _fastpath.copyrows import SIGNATURE
from _fastpath.template import Template as Compiled
from gateway.dispatch import rendering
from gateway.dispatch.rendering import Context, Pages, dressed, read_rows, sha_of, status_of
from gateway.errors import StoreError
from gateway.message import Refusal
from gateway.reasons import Reason, word_of
from gateway.template import Template

CONTEXT = Context(
    template=Template(text="Hi {{ a }}{% if b %}!{% endif %}"), brand="x", now=datetime(2026, 1, 1, tzinfo=UTC)
)


def page(rows):
    made = [SIGNATURE]
    for number, attributes in rows:
        body = b"\x01" + json.dumps(attributes).encode()
        made.append(struct.pack(">HIqI", 2, 8, number, len(body)) + body)
    return b"".join(made) + b"\xff\xff"


PEOPLE = page([(44, {"a": "x", "b": True}), (45, {"b": 1}), (46, {"a": "é", "keep": "k"})])


def test_a_page_becomes_texts_beside_their_numbers_and_reasons_of_the_others():
    found = Pages(CONTEXT).texts(PEOPLE)
    assert (found.numbers, found.texts) == ([44, 46], ["Hi x!", "Hi é"])
    assert found.skipped == {"render_missing:a": [45]}
    assert Pages(CONTEXT).texts(page([])).numbers == []


def test_a_page_becomes_entries_of_a_list():
    found = Pages(CONTEXT).entries(PEOPLE, 7, 9, ("keep", "b"))
    assert (found.people, found.skipped) == (2, {"render_missing:a": [45]})
    rows, at = [], len(SIGNATURE)
    while found.octets[at : at + 2] != b"\xff\xff":
        columns, _, bucket, _, list_id, _, number, size = struct.unpack_from(">HIiIqIqI", found.octets, at)
        assert columns == 4
        at += struct.calcsize(">HIiIqIqI")
        assert found.octets[at] == 1
        rows.append((bucket, list_id, number, json.loads(found.octets[at + 1 : at + size])))
        at += size
    assert rows == [(7, 9, 44, {"text": "Hi x!", "b": True}), (7, 9, 46, {"text": "Hi é", "keep": "k"})]


def test_a_process_that_was_made_ready_does_the_same():
    rendering.begin(msgspec.json.encode(CONTEXT))
    assert rendering.work_texts(PEOPLE) == Pages(CONTEXT).texts(PEOPLE)
    assert rendering.work_entries(PEOPLE, 7, 9, ()) == Pages(CONTEXT).entries(PEOPLE, 7, 9)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"x" * 30,
        SIGNATURE,
        SIGNATURE + b"\x00\x03",
        PEOPLE[:-4],
        SIGNATURE + struct.pack(">HIqI", 2, 8, 1, 9) + b"\x02",
    ],
)
def test_octets_that_are_no_page_are_refused(octets):
    with pytest.raises(StoreError, match="page of people: expected"):
        read_rows(octets)


def test_reasons_are_those_of_the_closed_list():
    found = {reason: status_of(reason) for reason in ("render_missing:a", "abort:x", "abort:empty", "too_long")}
    assert found == {
        "render_missing:a": Refusal.MISSING_FIELD, "abort:x": Reason.ABORT, "abort:empty": Refusal.EMPTY,
        "too_long": Refusal.TOO_MANY_PARTS,
    }  # fmt: skip
    assert all(reason.startswith(word_of(status)) for reason, status in found.items())


def test_what_is_rendered_is_composed_by_a_template_that_names_its_version():
    template = CONTEXT.template
    assert Compiled(dressed(template)).fields == ("text",) and sha_of(template).hex()[:16] in dressed(template)
    assert Compiled(dressed(template)).encode(["a {{ b }}"], "latin1") == b"a {{ b }}"
    other = msgspec.structs.replace(template, text="Hi {{ a }}{% if c %}!{% endif %}")
    assert sha_of(other) != sha_of(template) and sha_of(template) == sha_of(msgspec.structs.replace(template))
