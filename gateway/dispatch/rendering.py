"""Pages of people become pages of texts: what a process that renders ahead of the claim is given, and gives back.

    octets of a COPY (number, attributes jsonb) ─► rows ─► Renderer ─┬─► octets of a COPY into list_entry: {"text": …}
                                                                     └─► who gets nothing, by reason

A list of texts is a list as any other, so that chunks are made of it as of any other, by the template whose only field
is the text. A process is made ready once by `begin`; without one, `Pages` does the same in this one.
Not here: starting processes (commands/_rendering.py), reading and writing lists (store/templates.py).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.copyrows import SIGNATURE
from gateway.campaign.rendering import ABORTED, MISSING, TOO_LONG, Renderer
from gateway.errors import StoreError
from gateway.message import Refusal
from gateway.reasons import Reason
from gateway.template import Template
from gateway.template import sha_of as sha_of

TEXT = "text"
"""The one field of what was rendered."""
_END = b"\xff\xff"
_SHA_CHARACTERS = 16


class Context(Struct, frozen=True, kw_only=True):
    """What a template is rendered with beside its rows (campaign/rendering.py).

    minted  links of which everybody has one of their own, in the list
    """

    template: Template
    minted: tuple[str, ...] = ()
    brand: str = ""
    zone: str = "UTC"
    now: datetime | None = None

    def renderer(self) -> Renderer:
        """Make the template ready."""
        return Renderer(self.template, brand=self.brand, zone=self.zone, now=self.now)


class Texts(Struct, frozen=True, kw_only=True):
    """A page that was rendered: texts beside their numbers, and who gets none, by reason."""

    numbers: list[int]
    texts: list[str]
    skipped: dict[str, list[int]]


class Entries(Struct, frozen=True, kw_only=True):
    """The same as octets of a COPY into list_entry; people: how many there are in them."""

    octets: bytes
    people: int
    skipped: dict[str, list[int]]


class Pages:
    """Renders page by page."""

    def __init__(self, context: Context):
        self._renderer = context.renderer()
        self._json = msgspec.json.Decoder(dict[str, Any])

    def texts(self, octets: bytes) -> Texts:
        """Render a page. raises StoreError: the octets are none."""
        numbers, texts, skipped = self._render(read_rows(octets))
        return Texts(numbers=[number for number, _ in numbers], texts=texts, skipped=skipped)

    def entries(self, octets: bytes, bucket: int, list_id: int, keep: Sequence[str] = ()) -> Entries:
        """Render a page into a list. keep: attributes that stand beside the text, as they are."""
        rows, texts, skipped = self._render(read_rows(octets))
        head = (4).to_bytes(2) + (4).to_bytes(4) + bucket.to_bytes(4) + (8).to_bytes(4) + list_id.to_bytes(8)
        head += (8).to_bytes(4)
        made = [SIGNATURE]
        for (number, attributes), text in zip(rows, texts, strict=True):
            values = {TEXT: text}
            if keep:
                known = self._json.decode(attributes)
                values.update({name: known[name] for name in keep if known.get(name) is not None})
            body = b"\x01" + msgspec.json.encode(values)
            made.append(b"%b%b%b%b" % (head, number.to_bytes(8), len(body).to_bytes(4), body))
        made.append(_END)
        return Entries(octets=b"".join(made), people=len(rows), skipped=skipped)

    def _render(self, rows: list[tuple[int, bytes]]) -> tuple[list[tuple[int, bytes]], list[str], dict[str, list[int]]]:
        decode, render = self._json.decode, self._renderer.render_one
        texts: list[str] = []
        skipped: dict[str, list[int]] = {}
        taken = []
        for row in rows:
            text, reason = render(decode(row[1]))
            # The characters that no text of Postgres holds.
            if text is not None:
                texts.append(text.replace("\0", ""))
                taken.append(row)
            else:
                skipped.setdefault(reason, []).append(row[0])
        return taken, texts, skipped


def read_rows(octets: bytes) -> list[tuple[int, bytes]]:
    """Read number and attributes, as JSON, of each row of a binary COPY.

    raises  StoreError: it is none of two columns
    cost    0.7 us a row
    """
    if octets[: len(SIGNATURE)] != SIGNATURE:
        raise StoreError("page of people: expected the signature of COPY, found other octets")
    found = []
    at, end = len(SIGNATURE), len(octets)
    number_of = int.from_bytes
    while octets[at : at + 2] != _END:
        if octets[at : at + 6] != b"\x00\x02\x00\x00\x00\x08" or at + 18 > end:
            raise StoreError(f"page of people: expected a row of a number and its attributes at octet {at}")
        size = number_of(octets[at + 14 : at + 18])
        if octets[at + 18] != 1 or at + 18 + size > end:
            raise StoreError(f"page of people: expected attributes as JSON at octet {at + 18}")
        found.append((number_of(octets[at + 6 : at + 14]), octets[at + 19 : at + 18 + size]))
        at += 18 + size
    return found


def status_of(reason: str) -> int:
    """Return the number of a reason of the closed list (gateway/reasons.py) that rendering has given."""
    if reason == TOO_LONG:
        return Refusal.TOO_MANY_PARTS
    if reason == f"{ABORTED}:empty":
        return Refusal.EMPTY
    return Refusal.MISSING_FIELD if reason.startswith(MISSING) else Reason.ABORT


def dressed(template: Template) -> str:
    """Write the template that the claim composes of what was rendered: the text, and which version it is of."""
    return f"{{# {sha_of(template).hex()[:_SHA_CHARACTERS]} #}}{{{{ {TEXT} }}}}"


# Of a process that renders ----------------------------------------------------------------------------------------

_pages: Pages | None = None


def begin(body: bytes) -> None:
    """Make this process ready: a Context as JSON."""
    global _pages
    _pages = Pages(msgspec.json.decode(body, type=Context))


def work_texts(octets: bytes) -> Texts:
    """Render a page here."""
    assert _pages is not None
    return _pages.texts(octets)


def work_entries(octets: bytes, bucket: int, list_id: int, keep: Sequence[str]) -> Entries:
    """Render a page here into a list."""
    assert _pages is not None
    return _pages.entries(octets, bucket, list_id, keep)
