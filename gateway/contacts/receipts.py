"""Receipts of a till as orders of persons (IM-9): who bought in a shop has bought.

    external_id  card  phone  email      whose it is; a receipt of nobody is passed over and counted
    till  receipt                        together they name it: told again, in whatever file, it is the same order
    at  total  currency                  when and for how much; a currency for all rows: --set currency=EUR
    refund_of                            the receipt, of the same till, that this one gives `total` of back
    anything else                        a property of the order

An order of a till has the id TILL/RECEIPT. Rows of history: they count in everything and start nothing (IM-3).
Not here: lines of a receipt (one row is one receipt), what orders come to (gateway.store.aggregates).
"""

from array import array
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from _fastpath.firstseen import FirstSeen
from gateway.contacts.mapping import Reader, Rows
from gateway.contacts.persons import Batch, named
from gateway.errors import FileFault
from gateway.person import FUTURE, ORDER_PLACED, REFUNDED, Item

FIELDS = {
    "external_id": "key", "card": "key", "phone": "phone", "email": "email", "till": "key", "receipt": "key",
    "at": "instant", "total": "amount", "currency": "currency", "refund_of": "key",
}  # fmt: skip
"""Target -> kind."""
_NEEDED = ("receipt", "at", "total", "currency")
_HASHED = (1 << 63) - 1


class Receipts:
    """One pass over a file of receipts.

    source  whose receipts they are: ids of tills are theirs
    now     nothing is of later
    raises  FileFault: a column that every receipt needs is missing
    """

    def __init__(self, reader: Reader, source: str, now: datetime):
        self.report = reader.report
        self._reader = reader
        self._source = source
        self._latest = now + FUTURE
        columns = reader.plan.columns
        self._names = {one.target: one.name for one in columns}
        for target in _NEEDED:
            if target not in self._names:
                raise FileFault("columns", f"{target}: expected a column of receipts for it, found none; say --map")
        self._properties = [one.target for one in columns if one.target not in FIELDS]
        self._seen = FirstSeen()
        self._said = FirstSeen()

    def batches(self) -> Iterator[Batch]:
        """Yield the orders of the file, block by block; the report is whole when this ends."""
        for rows in self._reader.rows():
            yield self._batch(rows)

    def _batch(self, rows: Rows) -> Batch:
        report, count = self.report, len(rows.lines)
        told = {name: rows.values.get(name) or [None] * count for name in FIELDS}
        properties = [(name, rows.values[name]) for name in self._properties]
        items: list[Item] = []
        lines: list[int] = []
        kinds: dict[int, str] = {}
        firsts, is_same = self._firsts(rows, told)
        for at in range(count):
            line = rows.lines[at]
            row = {name: column[at] for name, column in told.items()}
            if firsts[at] and is_same[at]:
                report.duplicates += 1
                if len(report.first_of) < 3:
                    report.first_of.append((line, firsts[at]))
                continue
            wrong = [(self._names[name], "missing", "") for name in _NEEDED if row[name] is None]
            if firsts[at]:
                wrong.append((self._names["receipt"], "conflict", f"{row['receipt']}, as line {firsts[at]}"))
            if row["at"] is not None and row["at"] > self._latest:
                wrong.append((self._names["at"], "future", row["at"].isoformat()))
            if row["total"] is not None and row["total"] < 0 and not row["refund_of"]:
                wrong.append((self._names["total"], "negative", str(row["total"])))
            if wrong:
                report.refuse(line, wrong)
                continue
            who = named(row["external_id"], row["card"], row["email"], row["phone"])
            if who is None:
                report.nobodys += 1
                continue
            more: dict[str, Any] = {name: column[at] for name, column in properties if column[at] is not None}
            till, of = row["till"] or "", row["refund_of"]
            more |= {"order_id": order_id(till, of or row["receipt"]), "total": abs(row["total"])}
            more |= {"currency": row["currency"], "till": till, "receipt": row["receipt"]}
            items.append(
                Item(
                    who=who, source=self._source, event_id=order_id(till, row["receipt"]), occurred_at=row["at"],
                    name=REFUNDED if of else ORDER_PLACED, properties=more, historical=True,
                )
            )  # fmt: skip
            lines.append(line)
            if who.phone:
                kinds[who.phone] = rows.kinds[who.phone]
        report.taken += len(items)
        return Batch(items, lines, kinds, rows.upto)

    def _firsts(self, rows: Rows, told: dict[str, list[Any]]) -> tuple["array[int]", list[bool]]:
        """Of each row the line that has its receipt already, 0 = none, and whether it said the same there."""
        lines = array("q", rows.lines)
        keys = array("q", bytes(8 * len(lines)))
        whole = array("q", bytes(8 * len(lines)))
        for at, row in enumerate(zip(*told.values(), strict=True)):
            values = dict(zip(told, row, strict=True))
            if values["receipt"] is not None:
                keys[at] = (hash((values["till"], values["receipt"])) & _HASHED) or 1
                whole[at] = (hash(row) & _HASHED) or 1
        firsts, said = array("q", bytes(8 * len(lines))), array("q", bytes(8 * len(lines)))
        self._seen.add(keys, lines, firsts)
        self._said.add(whole, lines, said)
        return firsts, [bool(one) for one in said]


def order_id(till: str, receipt: str) -> str:
    """The id of the order of a receipt; a stroke of a till's name is not that between the two."""
    return f"{till.replace('%', '%25').replace('/', '%2F')}/{receipt}" if till else receipt
