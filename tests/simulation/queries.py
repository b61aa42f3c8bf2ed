"""What the named statements do, as functions of the same names on tables in memory: the register.

    @model("advance", "id", tag="UPDATE")                the name, the columns of what it returns, its tag
    def advance(tx, lane, ids, epochs, upto): ...

A function takes the transaction and the statement's parameters. It returns rows (tuples, in the order of the columns),
or how many rows it has written; as a generator it yields the transaction whose end it has to wait for.
Every statement that a worker runs has one, in the file that is named as the statement's (queries_queue.py for
sql/queue.sql); postgres.py imports a new file. test_shared.py holds them against Postgres.
"""

import dataclasses
import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gateway.store.queries import all_queries
from tests.simulation.tables import LOGS, Row, Transaction, Values, Waiting, day_of

Result = list[tuple[Any, ...]] | int


@dataclasses.dataclass(frozen=True)
class Model:
    """What stands for a statement. types: of the columns, where they leave as octets of a COPY."""

    name: str
    run: Callable[..., Any]
    columns: tuple[str, ...] = ()
    tag: str = "SELECT"
    types: tuple[str, ...] = ()


MODELS: dict[str, Model] = {}
# Statements that have no name, by a pattern.
NAMELESS: list[tuple[re.Pattern[str], Callable[..., Any], Any, str]] = []


def model(name: str, *columns: str, tag: str = "SELECT", types: tuple[str, ...] = ()) -> Callable[[Any], Any]:
    """Enter the function that stands for the statement of a name."""

    def enter(run: Callable[..., Any]) -> Callable[..., Any]:
        assert name not in MODELS, name
        MODELS[name] = Model(name, run, columns, tag, types)
        return run

    return enter


def nameless(
    pattern: str, *columns: str, tag: str = "SELECT", columns_by: Callable[..., tuple[str, ...]] | None = None
) -> Callable[[Any], Any]:
    """Enter the function for statements that match; it is handed the groups of the match before the parameters.

    columns_by  says from the groups what the columns are, where they depend on them
    """

    def enter(run: Callable[..., Any]) -> Callable[..., Any]:
        NAMELESS.append((re.compile(pattern, re.DOTALL), run, columns_by or columns, tag))
        return run

    return enter


@functools.cache
def _names() -> dict[str, str]:
    return {one.sql: one.name for one in all_queries().values()}


@functools.lru_cache(maxsize=1024)
def model_of(sql: str) -> Model:
    """Find what stands for a statement.

    raises  NotImplementedError with its name, or its text when it has none
    """
    name = _names().get(sql)
    if name is None:
        # runs.materialise writes the fields of a run into this one.
        head = all_queries()["materialise_payload"].sql[:200]
        name = "materialise_payload" if sql[:200] == head else None
    if name is not None:
        if name not in MODELS:
            raise NotImplementedError(f"no model of the statement {name!r}: tests/simulation/queries*.py")
        return MODELS[name]
    for pattern, run, columns, tag in NAMELESS:
        if found := pattern.match(sql):
            named = columns(*found.groups()) if callable(columns) else columns
            return Model(sql, functools.partial(_after_groups, run, found.groups()), named, tag)
    raise NotImplementedError(f"no model of the statement {sql!r}: tests/simulation/queries*.py")


def _after_groups(run: Callable[..., Any], groups: tuple[str, ...], tx: Transaction, *args: Any) -> Any:
    return run(tx, *groups, *args)


def rows_of(tx: Transaction, name: str, keys: Iterable[tuple[Any, ...]]) -> list[Row]:
    """Find rows by their primary keys, those that are there."""
    found = (tx.table(name).row(tx, *key) for key in keys)
    return [row for row in found if row is not None]


def columns_of(values: Sequence[Values], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(one[name] for name in names) for one in values]


def upsert(tx: Transaction, name: str, values: Values, new: Callable[[Values], Values | None]) -> Waiting:
    """INSERT … ON CONFLICT DO UPDATE: `new` says what of the row in its way changes, None = nothing.

    ->  the values that stand there now, None where nothing was changed
    """
    while True:
        made, there = yield from tx.insert(name, values, on_conflict="keep")
        if made is not None:
            return made
        if held := (yield from tx.lock([there])):
            before = tx.sees(held[0])
            changed = new(before)
            if changed is None:
                return None
            tx.write(there, {**before, **changed})
            return tx.sees(there)


# -- statements without a name -----------------------------------------------------------------------------------------


@nameless(r"SELECT EXISTS \(SELECT FROM pg_extension WHERE extname = 'citus'\)", "exists")
def _has_citus(tx: Transaction) -> Result:
    return [(False,)]


@nameless(r"SELECT to_regclass\(\$1\)", "to_regclass")
def _regclass(tx: Transaction, name: str) -> Result:
    found = re.fullmatch(r"(\w+)_(\d{8})", name)
    if found and found[1] in LOGS:
        log, day = tx.tables.logs[found[1]], day_of(found[2])
        return [(name if day in log.days or (log, day) in tx.days else None,)]
    return [(name if name in tx.tables.tables or name in LOGS else None,)]


@nameless(r"SELECT pg_advisory_xact_lock\(728164, hashtext\(\$1\)\)", "pg_advisory_xact_lock")
def _lock_partitions(tx: Transaction, table: str) -> Waiting:
    yield from tx.lock_advisory("partitions", table)
    return [("",)]


@nameless(r"CREATE TABLE (\w+)_(\d{8}) \(LIKE \w+ INCLUDING ALL\)", tag="CREATE TABLE")
def _create_partition(tx: Transaction, log: str, day: str) -> Result:
    return 0


@nameless(r"ALTER TABLE (\w+) ATTACH PARTITION \w+_(\d{8}) FOR VALUES", tag="ALTER TABLE")
def _attach_partition(tx: Transaction, log: str, day: str) -> Result:
    tx.days.append((tx.tables.logs[log], day_of(day)))
    return 0


@nameless(r"SET LOCAL citus\.", tag="SET")
def _set_of_citus(tx: Transaction) -> Result:
    return 0


@nameless(r"SELECT version\(\)|SELECT 1$", "version")
def _version(tx: Transaction) -> Result:
    return [(1,)]
