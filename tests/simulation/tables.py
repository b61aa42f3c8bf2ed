"""Tables in memory, with what a queue in Postgres leans on: row locks, unique keys that wait, READ COMMITTED.

A row has one committed version and at most one of the transaction that holds it; nobody else sees that one.

    Row   old     what everybody sees          None: nobody yet
          new     what its holder sees         KEPT: held, not changed; None: taken away
          holder  the transaction              None: free

A statement runs at one instant and so sees one state; it gives the loop back only where it has to wait for another
transaction, by `yield`ing that one, and looks at the row anew afterwards, as Postgres does (EvalPlanQual).
Columns, defaults and keys are read from the migrations. What is only ever appended (outcomes, receipts) is a Log.
Not here: sessions, latency and faults (postgres.py); what statements do (queries*.py).
"""

import collections
import functools
import importlib.resources
import operator
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from gateway.store.statements import bare, split

Values = dict[str, Any]
# What a statement yields: the transaction it waits for.
Waiting = Generator["Transaction", None, Any]

KEPT: Any = object()
POSTGRES_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
LOGS = ("outcome", "receipt")
# By what rows are looked for, beside their keys.
GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "chunk": (("lane", "state"), ("run",), ("lane",)),
    "chunk_payload": (("run",),),
    "receipt_waiting": (("lane",),),
    "repeated": (("lane", "chunk_id"),),
    "transfer": (("lane",),),
    "inbound_part": (("lane",),),
    "inbound_seen": (("lane",),),
    "inbound_message": (("lane",),),
    "event": (("lane",),),
    "flush": (("lane",),),
    "list_entry": (("list",),),
    "contact_page": (("bucket", "page"),),
}
# What a migration has written into its tables.
WRITTEN: dict[str, list[Values]] = {"bucket_gate": [{"bucket": bucket} for bucket in range(256)]}
CHECKS: dict[str, Callable[[Values], bool]] = {
    "chunk": lambda row: 0 <= row["sent_upto"] <= row["n"],
}


class Column:
    """A column as its migration declares it."""

    def __init__(self, name: str, type_: str, rest: str):
        self.name = name
        self.type = type_
        self.is_identity = "IDENTITY" in rest
        self.is_required = "NOT NULL" in rest
        default = re.search(r"DEFAULT\s+('[^']*'|\w+)", rest)
        self.default = _literal(default[1], type_) if default and not self.is_identity else None


def _literal(text: str, type_: str) -> Any:
    if text.startswith("'"):
        inner = text[1:-1]
        return [] if type_.endswith("[]") else inner
    return {"true": True, "false": False, "NULL": None}[text] if not text.lstrip("-").isdigit() else int(text)


class Shape:
    """What a table is: its columns in order, its primary key, its other unique keys."""

    def __init__(self, name: str):
        self.name = name
        self.columns: dict[str, Column] = {}
        self.key: tuple[str, ...] = ()
        self.unique: list[tuple[str, ...]] = []


@functools.cache
def shapes() -> dict[str, Shape]:
    """Read every table out of the migrations."""
    found: dict[str, Shape] = {}
    folder = importlib.resources.files("gateway.store").joinpath("migrations")
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not file.name.endswith(".sql"):
            continue
        for statement in split(file.read_text(encoding="utf-8")):
            _declare(found, re.sub(r"--[^\n]*", "", bare(statement)))
    return found


def _declare(found: dict[str, Shape], sql: str) -> None:
    if made := re.match(r"CREATE (?:UNLOGGED )?TABLE IF NOT EXISTS (\w+) \(", sql):
        shape = found.setdefault(made[1], Shape(made[1]))
        depth, parts, part = 0, [], ""
        for character in sql[made.end() :]:
            depth += (character == "(") - (character == ")")
            if depth < 0:
                break
            if character == "," and not depth:
                parts.append(part)
                part = ""
            else:
                part += character
        for line in (" ".join(one.split()) for one in (*parts, part)):
            if line.startswith("CONSTRAINT"):
                if key := re.search(r"(PRIMARY KEY|UNIQUE)[A-Z ]*\(([^)]*)\)", line):
                    names = tuple(name.strip() for name in key[2].split(","))
                    if key[1] == "UNIQUE":
                        shape.unique.append(names)
                    else:
                        shape.key = names
            else:
                _add_column(shape, line)
    elif changed := re.match(r"ALTER TABLE (\w+) ", sql):
        for column in re.findall(r"ADD COLUMN (?:IF NOT EXISTS )?(.+?)(?:,\s*ADD|$)", " ".join(sql.split())):
            _add_column(found[changed[1]], column)
        for column in re.findall(r"DROP COLUMN (?:IF EXISTS )?(\w+)", sql):
            found[changed[1]].columns.pop(column, None)
    elif index := re.match(r"CREATE UNIQUE INDEX IF NOT EXISTS \w+ ON (\w+) \(([^)]*)\)", sql):
        found[index[1]].unique.append(tuple(name.strip() for name in index[2].split(",")))
    elif dropped := re.match(r"DROP TABLE (?:IF EXISTS )?(\w+)", sql):
        found.pop(dropped[1], None)


def _add_column(shape: Shape, line: str) -> None:
    name, rest = line.split(" ", 1)
    type_ = re.match(r"double precision|\w+(?:\[\])?", rest)
    assert type_ is not None, line
    shape.columns[name] = Column(name, type_[0], rest[type_.end() :])


def key_of(columns: tuple[str, ...]) -> Callable[[Values], tuple[Any, ...]]:
    """Make what takes a row's values of some columns out of it."""
    if len(columns) == 1:
        name = columns[0]
        return lambda values: (values[name],)
    return operator.itemgetter(*columns)


class Row:
    """One row; see above."""

    __slots__ = ("holder", "new", "old", "table")

    def __init__(self, table: "Table"):
        self.table = table
        self.old: Values | None = None
        self.new: Any = KEPT
        self.holder: Transaction | None = None


class Table:
    """Rows by their keys and by what GROUPS says."""

    def __init__(self, shape: Shape):
        self.name = shape.name
        self.shape = shape
        self.defaults = {name: column.default for name, column in shape.columns.items()}
        self.required = [name for name, column in shape.columns.items() if column.is_required]
        self.identity = next((name for name, column in shape.columns.items() if column.is_identity), None)
        self.next_identity = 1
        self.check = CHECKS.get(shape.name)
        self.keys = [columns for columns in (shape.key, *shape.unique) if columns]
        self.indexes: list[dict[tuple[Any, ...], Row]] = [{} for _ in self.keys]
        self.groups: dict[tuple[str, ...], dict[tuple[Any, ...], dict[Row, None]]] = {
            columns: {} for columns in GROUPS.get(shape.name, ())
        }
        # Where a version of a row stands in its groups.
        self._places = [(groups, key_of(columns)) for columns, groups in self.groups.items()]
        self._place_by = {columns: key_of(columns) for columns in self.groups}
        self.all: dict[Row, None] = {}

    def row(self, tx: "Transaction", *key: Any) -> Row | None:
        """Find by primary key what this transaction sees."""
        row = self.indexes[0].get(key)
        return row if row is not None and tx.sees(row) is not None else None

    def get(self, tx: "Transaction", *key: Any) -> Values | None:
        """Find the values by primary key."""
        row = self.indexes[0].get(key)
        return None if row is None else tx.sees(row)

    def group(self, tx: "Transaction", columns: tuple[str, ...], *key: Any) -> Iterator[tuple[Row, Values]]:
        """All rows of a group that this transaction sees, in the order in which they came into it."""
        place = self._place_by[columns]
        for row in list(self.groups[columns].get(key, ())):
            values = row.new if row.holder is tx and row.new is not KEPT else row.old
            if values is not None and place(values) == key:
                yield row, values

    def rows(self, tx: "Transaction") -> Iterator[tuple[Row, Values]]:
        """All rows that this transaction sees."""
        for row in list(self.all):
            values = tx.sees(row)
            if values is not None:
                yield row, values

    def enter(self, row: Row, values: Values) -> None:
        """Let a version be found in its groups."""
        for groups, place in self._places:
            groups.setdefault(place(values), {})[row] = None

    def leave(self, row: Row, values: Values, kept: Values | None) -> None:
        """Let a version be found no more, unless the one that is kept stands in the same group."""
        for groups, place in self._places:
            key = place(values)
            if kept is not None and key == place(kept):
                continue
            if (group := groups.get(key)) is not None:
                group.pop(row, None)
                if not group:
                    del groups[key]

    def settle(self, values: Values) -> None:
        """Let a row stand there, committed, without any statement."""
        row = Row(self)
        row.old = {**self.defaults, **values}
        self.all[row] = None
        for columns, index in zip(self.keys, self.indexes, strict=True):
            index[tuple(row.old[name] for name in columns)] = row
        self.enter(row, row.old)

    def forget(self, row: Row, values: Values) -> None:
        """Take a row out for good."""
        self.leave(row, values, None)
        for columns, index in zip(self.keys, self.indexes, strict=True):
            key = tuple(values[name] for name in columns)
            if index.get(key) is row:
                del index[key]
        self.all.pop(row, None)

    def judge(self, values: Values) -> None:
        """Raise what the constraints of the table say."""
        for name in self.required:
            if values[name] is None:
                raise asyncpg.NotNullViolationError(
                    f'null value in column "{name}" of relation "{self.name}" violates not-null constraint'
                )
        if self.check is not None and not self.check(values):
            raise asyncpg.CheckViolationError(f'new row for relation "{self.name}" violates check constraint')


class Log:
    """Rows that are only appended, partitioned by day; looked for by lane and chunk, and by what OF says."""

    def __init__(self, shape: Shape):
        self.name = shape.name
        self.shape = shape
        self.type: Any = collections.namedtuple(shape.name, list(shape.columns))  # type: ignore[misc]
        self.defaults = tuple(column.default for column in shape.columns.values())
        self.clear()
        self.days: set[int] = set()

    def clear(self) -> None:
        """Forget every row."""
        self.of_chunk: dict[tuple[int, int], list[Any]] = {}
        self.of_lane: dict[int, list[Any]] = {}
        # Of outcomes: in doubt, rejected, accepted by the bare form of their id, accepted without one; of receipts:
        # undeliverable.
        self.in_doubt: dict[int, list[Any]] = {}
        self.rejected: dict[int, list[Any]] = {}
        self.nameless: dict[int, list[Any]] = {}
        self.of_id: dict[tuple[int, str], list[Any]] = {}
        self.undeliverable: dict[int, list[Any]] = {}

    def row(self, **values: Any) -> Any:
        """Make a row; what is not named has its default."""
        row = dict(zip(self.shape.columns, self.defaults, strict=True))
        row.update(values)
        return self.type(**row)

    def judge(self, rows: Sequence[Any]) -> None:
        """Raise where the partition of a row is missing."""
        day = None
        for row in rows:
            if row.at.date() != day:
                day = row.at.date()
                if day.toordinal() not in self.days:
                    raise asyncpg.CheckViolationError(f'no partition of relation "{self.name}" found for row')

    def append(self, rows: Iterable[Any]) -> None:
        """Make rows visible to everybody."""
        is_outcome = self.name == "outcome"
        for row in rows:
            lane = row.lane
            self.of_chunk.setdefault((lane, row.chunk_id), []).append(row)
            self.of_lane.setdefault(lane, []).append(row)
            if is_outcome:
                if row.status == 0:
                    if row.message_id is None:
                        self.nameless.setdefault(lane, []).append(row)
                    else:
                        self.of_id.setdefault((lane, bare_id(row.message_id)), []).append(row)
                elif row.status == -1:
                    self.in_doubt.setdefault(lane, []).append(row)
                elif row.status > 0:
                    self.rejected.setdefault(lane, []).append(row)
            elif row.state in (5, 8):
                self.undeliverable.setdefault(lane, []).append(row)


def bare_id(message_id: str) -> str:
    """Say a message_id as Postgres does in ltrim(lower(message_id COLLATE "C"), '0')."""
    return message_id.encode().lower().decode().lstrip("0")


class Tables:
    """A database."""

    def __init__(self) -> None:
        self.tables = {name: Table(shape) for name, shape in shapes().items() if name not in LOGS}
        self.logs = {name: Log(shapes()[name]) for name in LOGS}
        self.locks: dict[tuple[Any, ...], Transaction] = {}
        for name, written in WRITTEN.items():
            for values in written:
                self.tables[name].settle(values)
        self.committed = 0
        # Statements that wait for another transaction's end.
        self.waiting = 0

    def add_days(self, first: datetime, days: int) -> None:
        """Make partitions of both logs, without any statement."""
        for log in self.logs.values():
            log.days.update(range(first.date().toordinal(), first.date().toordinal() + days))


class Transaction:
    """What one transaction has changed, holds and will tell; ended by `end`."""

    def __init__(self, tables: Tables, on_end: Callable[["Transaction"], None] | None = None):
        self.tables = tables
        self.changes: list[tuple[Row, Any]] = []
        self.held: dict[Row, None] = {}
        self.appended: list[tuple[Log, list[Any]]] = []
        self.told: dict[tuple[str, str], None] = {}
        self.days: list[tuple[Log, int]] = []
        self.savepoints: dict[str, tuple[int, int]] = {}
        self.is_over = False
        self.waits_for: Transaction | None = None
        self.on_end = on_end

    def table(self, name: str) -> Table:
        """A table by its name."""
        return self.tables.tables[name]

    def log(self, name: str) -> Log:
        """What is only appended to, by its name; a transaction cannot read what it has appended itself."""
        if any(log.name == name for log, _ in self.appended):
            raise NotImplementedError(f"{name}: read by the transaction that has appended to it")
        return self.tables.logs[name]

    def sees(self, row: Row) -> Values | None:
        """What a row is for this transaction; None: not there."""
        if row.holder is self and row.new is not KEPT:
            return row.new  # type: ignore[no-any-return]
        return row.old

    @property
    def has_written(self) -> int:
        """How much it has written so far."""
        return len(self.changes) + len(self.appended)

    def hold(self, row: Row) -> None:
        """Take a free row."""
        assert row.holder is None or row.holder is self
        row.holder = self
        self.held[row] = None

    def free_or_ours(self, row: Row) -> bool:
        """Whether nobody else holds a row."""
        return row.holder is None or row.holder is self

    def lock(self, rows: Iterable[Row], check: Callable[[Values], Any] = lambda values: True) -> Waiting:
        """Hold those rows that pass `check`, now and after the wait for whoever holds them; -> them, in this order."""
        taken = []
        for row in rows:
            values = self.sees(row)
            while values is not None and check(values):
                if self.free_or_ours(row):
                    self.hold(row)
                    taken.append(row)
                    break
                assert row.holder is not None
                yield row.holder
                values = self.sees(row)
        return taken

    def write(self, row: Row, values: Values | None) -> None:
        """Give a held row other values; None takes it away."""
        self.changes.append((row, row.new))
        if values is not None:
            row.table.judge(values)
            row.table.enter(row, values)
        row.new = values

    def update(self, rows: Iterable[Row], check: Callable[[Values], Any], new: Callable[[Values], Values]) -> Waiting:
        """Change the rows that pass; -> their new values."""
        held = yield from self.lock(rows, check)
        changed = []
        for row in held:
            before = self.sees(row)
            assert before is not None
            values = {**before, **new(before)}
            self.write(row, values)
            changed.append(values)
        return changed

    def delete(self, rows: Iterable[Row], check: Callable[[Values], Any] = lambda values: True) -> Waiting:
        """Take away the rows that pass; -> what they were."""
        held = yield from self.lock(rows, check)
        gone = [self.sees(row) for row in held]
        for row in held:
            self.write(row, None)
        return gone

    def insert(self, name: str, values: Values, *, on_conflict: str = "raise") -> Waiting:
        """Add a row; -> (its values, None), or (None, the row in its way) where `on_conflict` is "keep".

        Waits for a transaction that has written, or taken away, the same key, and then looks again.
        """
        table = self.table(name)
        full = {**table.defaults, **values}
        if len(full) != len(table.defaults):
            raise AssertionError(f"{name}: no such columns: {sorted(full.keys() - table.defaults.keys())}")
        if table.identity is not None and full[table.identity] is None:
            full[table.identity] = table.next_identity
            table.next_identity += 1
        table.judge(full)
        while True:
            row = None
            for columns, index in zip(table.keys, table.indexes, strict=True):
                key = tuple(full[column] for column in columns)
                if None in key:
                    continue
                there = index.get(key)
                if there is None:
                    continue
                if not self.free_or_ours(there) and (there.old is None or there.new is None):
                    assert there.holder is not None
                    yield there.holder
                    break
                if self.sees(there) is not None:
                    if on_conflict == "keep":
                        return None, there
                    raise asyncpg.UniqueViolationError(
                        f"duplicate key value violates unique constraint: {name} ({', '.join(columns)}) = {key}"
                    )
                row = there
            else:
                break
        if row is None:
            row = Row(table)
            table.all[row] = None
            for columns, index in zip(table.keys, table.indexes, strict=True):
                key = tuple(full[column] for column in columns)
                if None not in key:
                    index[key] = row
        self.hold(row)
        self.write(row, full)
        return full, None

    def append(self, name: str, rows: list[Any]) -> int:
        """Append to a log; -> how many."""
        if rows:
            log = self.tables.logs[name]
            log.judge(rows)
            self.appended.append((log, rows))
        return len(rows)

    def tell(self, channel: str, payload: str) -> None:
        """Notify, once the transaction is committed; the same twice is told once."""
        self.told[channel, payload] = None

    def lock_advisory(self, *key: Any) -> Waiting:
        """Hold a lock that has no row, until the end."""
        while (holder := self.tables.locks.get(key)) not in (None, self):
            assert holder is not None
            yield holder
        self.tables.locks[key] = self

    def begin_savepoint(self, name: str) -> None:
        """Remember how much was done."""
        self.savepoints[name] = len(self.changes), len(self.appended)

    def back_to(self, name: str) -> None:
        """Undo what was done since; rows stay held, where Postgres would let some of them go."""
        changes, appended = self.savepoints[name]
        self._undo(changes)
        del self.appended[appended:]

    def _undo(self, upto: int) -> None:
        while len(self.changes) > upto:
            row, before = self.changes.pop()
            after, row.new = row.new, before
            if isinstance(after, dict):
                kept = self.sees(row)
                if kept is None:
                    row.table.forget(row, after)
                elif row.old is not after:
                    row.table.leave(row, after, kept)
                    row.table.enter(row, kept)

    def end(self, *, commits: bool) -> None:
        """Commit or roll back, and let go."""
        assert not self.is_over
        self.is_over = True
        if commits:
            for row, before in self.changes:
                if isinstance(before, dict):
                    row.table.leave(row, before, row.new if row.new is not KEPT else row.old)
            for row in self.held:
                if row.new is KEPT:
                    continue
                old = row.old
                if row.new is None:
                    if old is not None:
                        row.table.forget(row, old)
                elif old is not None:
                    row.table.leave(row, old, row.new)
                row.old = row.new
            for log, rows in self.appended:
                log.append(rows)
            for log, day in self.days:
                log.days.add(day)
            self.tables.committed += 1
        else:
            self._undo(0)
        for row in self.held:
            row.holder = None
            row.new = KEPT
        for key in [key for key, holder in self.tables.locks.items() if holder is self]:
            del self.tables.locks[key]
        if self.on_end is not None:
            self.on_end(self)

    def is_in_a_circle(self) -> bool:
        """Whether whom it waits for waits, in the end, for itself."""
        other = self.waits_for
        for _ in range(1000):
            if other is None:
                return False
            if other is self:
                return True
            other = other.waits_for
        return False


def day_of(text: str) -> int:
    """The ordinal of a day that is written as in names of partitions, 20260131."""
    return datetime.strptime(text, "%Y%m%d").date().toordinal()


def at_us(microseconds: int) -> datetime:
    """The moment that Postgres writes as so many microseconds since 2000."""
    return POSTGRES_EPOCH + timedelta(microseconds=microseconds)
