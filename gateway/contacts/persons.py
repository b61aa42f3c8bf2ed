"""Rows of a file as persons: names they go by, and attributes.

    external_id  email  phone  card        who it is; a card of a till is a name of its own (`card:` before it)
    country  language  zone                what has a column of its own
    consent …                              what they have agreed to (consenting.py)
    at                                     when the row was true: the latest of all sources wins (EV-4)
    anything else                          an attribute

A person who stands in the file twice is taken once, the first row; where rows have a time (`at`) each is told and the
latest wins. Two customers may share a number: that is told, and both are taken. Nothing here is an event, so nothing is
started by it (IM-3).
Not here: what ingest makes of it (gateway.store.profiles).
"""

from array import array
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from _fastpath.firstseen import FirstSeen
from gateway.consent import Fact
from gateway.contacts import consenting
from gateway.contacts.mapping import Reader, Rows
from gateway.person import FUTURE, Item, Who

FIELDS = {
    "external_id": "key", "email": "email", "phone": "phone", "card": "key", "country": "country",
    "language": "language", "zone": "zone", "at": "instant", **consenting.FIELDS,
}  # fmt: skip
"""Target -> kind, of what a column may be besides an attribute."""
CARD = "card:"
_WHO = ("external_id", "card", "email", "phone")
_HASHED = (1 << 63) - 1


class Batch(Struct):
    """What some rows come to. lines: of each item. kinds: number -> type of line. upto: the last line that was read.
    facts: consent that they tell."""

    items: list[Item]
    lines: list[int]
    kinds: dict[int, str]
    upto: int
    facts: list[Fact] = []


def named(external_id: Any, card: Any, email: Any, phone: Any) -> Who | None:
    """The names of a row; None where it has none."""
    if not (external_id or card or email or phone):
        return None
    return Who(
        external_id=external_id or "", email=email or "", phone=phone or 0, anonymous_id=CARD + card if card else ""
    )


class Persons:
    """One pass over a file of persons.

    source  whose word it is
    at      what is told is as of then, where the file does not say
    now     nothing is of later
    """

    def __init__(self, reader: Reader, source: str, at: datetime, now: datetime):
        targets = {one.target for one in reader.plan.columns}
        self._reader = reader
        self.report = reader.report
        self._source = source
        self._at = at
        self._latest = now + FUTURE
        self._has_time = "at" in targets
        self._attributes = [one.target for one in reader.plan.columns if one.target not in (*_WHO, "at")]
        self._attributes = [name for name in self._attributes if name not in consenting.FIELDS]
        self._consents = consenting.Consents(reader, now)
        self._seen = FirstSeen()
        self._phones = FirstSeen()
        self._names = {one.target: one.name for one in reader.plan.columns}

    def batches(self) -> Iterator[Batch]:
        """Yield the persons of the file, block by block; the report is whole when this ends.

        cost  about 8 us a row of six columns
        """
        for rows in self._reader.rows():
            yield self._batch(rows)

    def _batch(self, rows: Rows) -> Batch:
        count = len(rows.lines)
        empty = [None] * count
        external, cards, emails, phones, times = (
            rows.values.get(name, empty) for name in ("external_id", "card", "email", "phone", "at")
        )
        attributes = [(name, rows.values[name]) for name in self._attributes]
        report, source = self.report, self._source
        firsts = self._firsts(rows, external, cards, emails, phones)
        items: list[Item] = []
        lines: list[int] = []
        kinds: dict[int, str] = {}
        facts: list[Fact] = []
        for at in range(count):
            line = rows.lines[at]
            if firsts[at]:
                report.duplicates += 1
                if len(report.first_of) < 3:
                    report.first_of.append((line, firsts[at]))
                if not self._has_time:
                    continue
            who = named(external[at], cards[at], emails[at], phones[at])
            if who is None:
                report.refuse(line, [("", "nobody", "")])
                continue
            when = times[at] or self._at
            if when > self._latest:
                report.refuse(line, [(self._names["at"], "future", when.isoformat())])
                continue
            told: dict[str, Any] = {name: column[at] for name, column in attributes if column[at] is not None}
            items.append(Item(who=who, source=source, occurred_at=when, attributes=told, historical=True))
            lines.append(line)
            if who.phone:
                kind = kinds[who.phone] = rows.kinds[who.phone]
                report.lines[kind] = report.lines.get(kind, 0) + 1
                if self._consents.is_told and (fact := self._consents.fact(rows, at, who.phone)) is not None:
                    facts.append(fact)
        report.taken += len(items)
        return Batch(items, lines, kinds, rows.upto, facts)

    def _firsts(
        self, rows: Rows, external: list[Any], cards: list[Any], emails: list[Any], phones: list[Any]
    ) -> "array[int]":
        """Of each row the line that has its strongest name already, 0 = none has."""
        lines = array("q", rows.lines)
        names = array("q", bytes(8 * len(lines)))
        for at, (one, two, three, four) in enumerate(zip(external, cards, emails, phones, strict=True)):
            # 63 bits of a keyed hash: of a million names two are taken for one once in ten million files.
            name = one or two or three or four
            if name is not None:
                names[at] = (hash((one and "id" or two and "card" or "", name)) & _HASHED) or 1
        firsts = array("q", bytes(8 * len(lines)))
        self._seen.add(names, lines, firsts)
        numbers = array("q", [number or 0 for number in phones])
        shared = array("q", bytes(8 * len(lines)))
        if self._phones.add(numbers, lines, shared):
            for at, first in enumerate(shared):
                if first and not firsts[at]:
                    said = "the number of another person of the file, too"
                    self.report.note(rows.lines[at], self._names["phone"], "shared_number", said, f"+{numbers[at]}")
        return firsts
