"""An import as two passes: how far it is, and what a repeat tells."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from gateway.contacts import importing, mapping, persons
from gateway.contacts.cells import Ways
from gateway.contacts.importing import File, gathered
from gateway.contacts.mapping import Reader, RowReport
from gateway.contacts.persons import Batch, Persons
from gateway.contacts.table import Table
from gateway.errors import StoreError
from gateway.person import Item, Who
from gateway.store import imports
from tests.fixtures.files import NOW

FILE = File(sha256=b"a" * 32, plan=b"p" * 32, kind="people", name="people.csv")


def batch(first: int, count: int) -> Batch:
    items = [Item(who=Who(external_id=str(line)), occurred_at=NOW) for line in range(first, first + count)]
    return Batch(items, list(range(first, first + count)), {}, first + count - 1)


class Told:
    """A reading that tells some batches, and breaks off where asked."""

    def __init__(self, batches: list[Batch], breaks_after: int | None = None):
        self.report = RowReport()
        self._batches = batches
        self._breaks_after = breaks_after

    def batches(self) -> Iterator[Batch]:
        for at, one in enumerate(self._batches):
            if at == self._breaks_after:
                raise StoreError("cut off", retryable=True)
            yield one


def test_small_batches_are_put_together_and_the_last_line_is_kept() -> None:
    found = list(gathered(iter([batch(2, 700), batch(702, 700), Batch([], [], {}, 1500), Batch([], [], {}, 0)])))
    assert [(len(one.items), one.upto) for one in found] == [(1400, 1401), (0, 1500)]


async def test_im_1_an_import_that_broke_off_goes_on_behind_the_last_line_that_was_written(dsn: str) -> None:
    connections = [await asyncpg.connect(dsn) for _ in range(2)]
    batches = [batch(2 + 1000 * at, 1000) for at in range(4)]

    async def once(breaks_after: int | None, now: datetime) -> importing.Poured:
        begun = await imports.begin(connections[0], FILE.sha256, FILE.plan, "people", "x", now, now)
        assert begun.as_of == NOW
        return await importing.pour(
            Told(batches, breaks_after), FILE, connections, begun, lambda: now, lambda rows: None
        )

    try:
        with pytest.raises(StoreError, match="cut off"):
            await once(3, NOW)
        # Who waits for the end of a cancelled statement is a connection again.
        for connection in connections:
            assert await connection.fetchval("SELECT 1") == 1
        done = await once(None, NOW + timedelta(hours=1))
        assert done.resumed_at in (0, 1001, 2001, 3001)
        assert done.told == 4000 - max(0, done.resumed_at - 1)
        assert await connections[0].fetchval("SELECT count(*) FROM profile") == 4000
        assert (await once(None, NOW)).told == 0
    finally:
        for connection in connections:
            await connection.close()


async def test_a_look_writes_nothing_and_says_who_is_stopped_or_has_not_agreed(dsn: str, tmp_path: Path) -> None:
    connection = await asyncpg.connect(dsn)
    path = tmp_path / "people.csv"
    path.write_text("phone\n+4915112345671\n+4915112345672\n")
    try:
        await connection.execute(
            "INSERT INTO stop_feed (seq, number, at, is_stop, scope, source) "
            "VALUES (2, 4915112345671, now(), true, '*', 'x')"
        )
        with Table(str(path)) as table:
            plan = mapping.plan(table, (), (), fields=persons.FIELDS, takes_rest=True, ways=Ways())
            reading = Persons(Reader(table, plan, RowReport(), ways=Ways()), "file", NOW, datetime.now(UTC))
            report = await importing.look(reading, connection, "acme", lambda rows: None)
        assert (report.taken, report.suppressed, report.no_consent) == (2, 1, 2)
        assert await connection.fetchval("SELECT count(*) FROM profile") == 0
    finally:
        await connection.close()
