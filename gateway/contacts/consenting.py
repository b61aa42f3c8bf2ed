"""Consent that a file tells of its persons: facts for the ledger, or why a person may not be written to (CN-2, CN-3).

    consent                     yes or no; without the column who has a `consent.at` has agreed
    consent.brand  .class       to whom and for what; class is promotional where nothing is said
    consent.at                  when: without it nobody has agreed
    consent.wording  .method    the words that were shown, and how it was given; kept as the proof
    consent.wording_version  .url  .ip  .agent

A row whose consent lacks something is a person all the same, who may not be written to; that is counted by column. An
import lifts no opt-out. Facts that the ledger has already are not told again, so a repeat changes nothing.
Not here: what facts mean (gateway.campaign.consent), how they are kept (gateway.store.consents).
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from gateway.campaign.consent import problems, states_of
from gateway.consent import Fact
from gateway.contacts.mapping import Reader, Rows
from gateway.contacts.report import Tally
from gateway.person import EPOCH
from gateway.store import consents, postgres

FIELDS = {
    "consent": "bool", "consent.brand": "key", "consent.class": "class", "consent.at": "instant",
    "consent.wording": "string", "consent.wording_version": "string", "consent.method": "string",
    "consent.url": "string", "consent.ip": "string", "consent.agent": "string",
}  # fmt: skip
"""Target -> kind."""
_TOLD = {"brand": "consent.brand", "class": "consent.class", "effective_at": "consent.at"}


class Consents:
    """Reads what rows say of consent; the report counts who may not be written to, and why."""

    def __init__(self, reader: Reader, now: datetime):
        self._report = reader.report
        self._names = {one.target: one.name for one in reader.plan.columns if one.target in FIELDS}
        self._now = now
        self.is_told = bool(self._names.keys() - {"consent.brand", "consent.class"})
        """Whether the file says anything of it."""

    def fact(self, rows: Rows, at: int, number: int) -> Fact | None:
        """The grant of a row, None where it has none."""
        told = {name: rows.values[name][at] for name in self._names}
        is_given = told.get("consent")
        if is_given is None and "consent" not in self._names:
            is_given = told.get("consent.at") is not None
        if not is_given:
            self._refuse(rows.lines[at], "consent", "nothing is said, or no", "")
            return None
        when: datetime | None = told.get("consent.at")
        fact = Fact(
            number=number, brand=told.get("consent.brand") or "", class_=told.get("consent.class") or "promotional",
            action="grant", source="import", recorded_at=self._now, effective_at=when,
            method=told.get("consent.method") or "", wording=told.get("consent.wording") or "",
            wording_version=told.get("consent.wording_version") or "", url=told.get("consent.url") or "",
            ip=told.get("consent.ip") or "", agent=told.get("consent.agent") or "",
        )  # fmt: skip
        found = problems(fact)
        for field, expected, what in found:
            self._refuse(rows.lines[at], _TOLD.get(field, f"consent.{field}"), f"expected {expected}", what)
        if found:
            return None
        self._report.grants += 1
        return fact

    def _refuse(self, line: int, target: str, said: str, found: str) -> None:
        column = self._names.get(target, target)
        key = (column, "no_consent")
        self._report.notes.setdefault(key, Tally(said)).add(line, found)


async def append(connection: postgres.Connection, facts: Sequence[Fact], *, fires: bool = False) -> int:
    """Append facts that the ledger has not yet; -> how many were new."""
    known: set[Fact] = set()
    rows = await consents.rows_of(connection, sorted({fact.number for fact in facts}))
    for one in rows.values():
        known.update(_undated(link.fact) for link in one.links)
    new = [fact for fact in facts if _undated(fact) not in known]
    return await consents.append(connection, new, states_of, is_quiet=not fires) if new else 0


def _undated(fact: Fact) -> Fact:
    return msgspec.structs.replace(fact, recorded_at=EPOCH)
