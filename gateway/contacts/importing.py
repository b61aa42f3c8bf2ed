"""An import of a file: looked at as a whole first, then taken in by batches, each wholly or not at all.

    look   a pass without a word to the database but questions: who is stopped, who has not agreed      the dry run
    pour   the same pass again; batches go to Postgres over a few connections ─► how far all of them are
    agree  where rows tell of consent, once more: into the ledger

All passes are one code, so what the first says is what the second does. A repeat reads from the beginning, since what
is double depends on what was before, and tells what lies behind the last batch that was written; a crash between tells
batches once more, as of the same time, which changes nothing. Where too much would be refused nothing is written.
Not here: what rows come to (persons.py, receipts.py), what is asked and written (gateway.store).
"""

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Protocol

from msgspec import Struct

from gateway.consent import Fact
from gateway.contacts import consenting
from gateway.contacts.mapping import RowReport
from gateway.contacts.persons import Batch
from gateway.erasure import NOBODY, Erased
from gateway.store import eventfiles, imports, months, postgres, profiles

BATCH_ITEMS = 1000
BATCH_S = 120.0
PIECE_FACTS = 50_000
PIECE_S = 600.0


class Pass(Protocol):
    """One reading of a file; its report is whole when the batches have ended."""

    report: RowReport

    def batches(self) -> Iterator[Batch]:
        """Yield what its rows come to."""


class Poured(Struct):
    """What came of an import."""

    told: int = 0
    events: int = 0
    created: int = 0
    merged: int = 0
    disputed: int = 0
    conflicts: int = 0
    known: int = 0
    grants: int = 0
    erased: int = 0
    resumed_at: int = 0


class File(Struct, frozen=True, kw_only=True):
    """Which import it is: a file, and the way it is read."""

    sha256: bytes
    plan: bytes
    kind: str
    name: str


async def look(
    reading: Pass, connection: "postgres.Connection | None", brand: str, progress: Callable[[int], None]
) -> RowReport:
    """Read the file to its end, and ask of its numbers; -> its report.

    connection  None: there is no database to ask
    brand       whose consent is asked for; "": nobody's
    """
    for batch in gathered(reading.batches()):
        progress(len(batch.items))
        numbers = sorted({item.who.phone for item in batch.items if item.who.phone})
        if connection is not None and numbers:
            async with postgres.deadline(connection, BATCH_S, "look"):
                reading.report.suppressed += len(await imports.stopped_among(connection, numbers))
                if brand:
                    agreed = await imports.agreed_among(connection, numbers, brand)
                    agreed.update(fact.number for fact in batch.facts if fact.brand.partition("/")[0] == brand)
                    reading.report.no_consent += len(set(numbers) - agreed)
        await asyncio.sleep(0)
    return reading.report


async def pour(
    reading: Pass,
    file: File,
    connections: list[postgres.Connection],
    begun: imports.Begun,
    clock: Callable[[], datetime],
    progress: Callable[[int], None],
    erased: Erased = NOBODY,
    *,
    fires: bool = False,
) -> Poured:
    """Take in what the file tells behind what was taken before.

    erased  who is left out, and counted
    fires   who enters or leaves watched audiences by it starts something (IM-3)
    raises  StoreError: what was written stays, and a repeat completes it
    """
    done = Poured(resumed_at=begun.line)
    kinds = profiles.Kinds()
    told = _Told(gathered(reading.batches()), begun.line)

    async def fill(connection: postgres.Connection) -> None:
        while (taken := told.next()) is not None:
            place, batch = taken
            if batch.items:
                async with postgres.deadline(connection, BATCH_S, "import"):
                    await _take(connection, batch, done, kinds, clock(), erased, fires=fires)
            upto = told.finished(place, batch.upto)
            async with postgres.deadline(connection, BATCH_S, "import"):
                await imports.went(connection, file.sha256, file.plan, upto, clock())
            progress(len(batch.items))

    tasks = [asyncio.ensure_future(fill(one)) for one in connections]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return done


async def agree(reading: Pass, connection: postgres.Connection, erased: Erased = NOBODY, *, fires: bool = False) -> int:
    """Append the consent that the file tells, and that the ledger has not; -> how much was new.

    By large pieces, since the ledger is written bucket by bucket.
    """
    new = 0
    facts: list[Fact] = []
    for batch in reading.batches():
        gone = erased.among(fact.number for fact in batch.facts)
        facts += [fact for fact in batch.facts if fact.number not in gone]
        if len(facts) >= PIECE_FACTS:
            new, facts = new + await _append(connection, facts, fires=fires), []
    return new + await _append(connection, facts, fires=fires)


async def _append(connection: postgres.Connection, facts: list[Fact], *, fires: bool) -> int:
    async with postgres.deadline(connection, PIECE_S, "consent"):
        return await consenting.append(connection, facts, fires=fires) if facts else 0


async def _take(
    connection: postgres.Connection,
    batch: Batch,
    done: Poured,
    kinds: profiles.Kinds,
    now: datetime,
    erased: Erased,
    *,
    fires: bool,
) -> None:
    gone = erased.among(item.who.phone for item in batch.items)
    items = [item for item in batch.items if item.who.phone not in gone]
    done.erased += len(batch.items) - len(items)
    kinds_of = {number: kind for number, kind in batch.kinds.items() if number not in gone}
    if kinds_of:
        await imports.note_kinds(connection, kinds_of, now)
    if any(item.name for item in items):
        await months.ensure(connection, "person_event", eventfiles.months(items, now))
    found = await profiles.ingest(connection, items, now, random.Random(), kinds, is_alone=True, fires=fires)
    done.told += len(items)
    done.events += found.events
    done.created += found.created
    done.merged += found.merged
    done.disputed += found.disputed
    done.conflicts += found.conflicts
    done.known += found.duplicates


class _Told:
    """The batches of a file, handed out in their order, and how far all that are behind one are written."""

    def __init__(self, batches: Iterator[Batch], behind: int):
        self._batches = batches
        self._behind = behind
        self._place = 0
        self._open: dict[int, int] = {}
        self._done: dict[int, int] = {}
        self._upto = behind

    def next(self) -> tuple[int, Batch] | None:
        for batch in self._batches:
            if batch.upto <= self._behind:
                continue
            kept = [at for at, line in enumerate(batch.lines) if line > self._behind]
            if len(kept) < len(batch.items):
                items = [batch.items[at] for at in kept]
                batch = Batch(items, [batch.lines[at] for at in kept], batch.kinds, batch.upto)
            self._place += 1
            self._open[self._place] = batch.upto
            return self._place, batch
        return None

    def finished(self, place: int, upto: int) -> int:
        """Note that a batch is written; -> the line up to which everything is."""
        self._done[place] = upto
        del self._open[place]
        first = min(self._open, default=self._place + 1)
        for each in sorted(self._done):
            if each < first:
                self._upto = self._done.pop(each)
        return self._upto


def gathered(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Put small batches together; the report counts a block of a few hundred rows at a time."""
    whole = Batch([], [], {}, 0)
    for batch in batches:
        upto = max(whole.upto, batch.upto)
        whole = Batch(
            whole.items + batch.items, whole.lines + batch.lines, whole.kinds | batch.kinds, upto,
            whole.facts + batch.facts,
        )  # fmt: skip
        if len(whole.items) >= BATCH_ITEMS:
            yield whole
            whole = Batch([], [], {}, whole.upto)
    yield whole
