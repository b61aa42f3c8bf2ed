"""The plain statements by which tests look into tables and change them: one table, conditions joined by AND.

    SELECT * | columns | count(*) | sum(n) … FROM table [WHERE …] [GROUP BY column] [ORDER BY columns]
    UPDATE table SET column = value, … [WHERE …]     DELETE FROM table [WHERE …]
    INSERT INTO table (columns) VALUES (values)      a value: $1, a number, 'text', NULL, an array
    INSERT INTO table (columns) SELECT values FROM table [WHERE …]          also: a column, a column + 1
    SELECT count(*) FROM pg_locks WHERE NOT granted                         statements that wait for another's end

Whatever else a test asks is not known here, and raises.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulation.queries import Result, nameless
from tests.simulation.queries_transfer import read_array
from tests.simulation.tables import LOGS, Shape, Transaction, Values, Waiting, shapes

_AGGREGATES: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": lambda values: sum(values) if values else None,
    "max": lambda values: max(values, default=None),
    "min": lambda values: min(values, default=None),
}
_CONDITION = re.compile(r"(\w+) (=|<>|<=|>=|<|>|IS NOT NULL|IS NULL) ?(.*)$", re.DOTALL)


def _value(text: str, column: str, shape: Shape, args: Sequence[Any]) -> Any:
    text = re.sub(r"::[\w\[\]]+$", "", text.strip())
    if text.startswith("$"):
        return args[int(text[1:]) - 1]
    if made := re.match(r"ARRAY\[(.*)\]$", text):
        return [_value(one, column, shape, args) for one in made[1].split(",")]
    if text.startswith("'"):
        inner, type_ = text[1:-1].replace("''", "'"), shape.columns[column].type
        if not type_.endswith("[]"):
            return inner
        found = read_array(inner)
        return [int(one) for one in found] if type_ != "text[]" else found
    named = {"NULL": None, "true": True, "false": False}
    if text in named:
        return named[text]
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    raise NotImplementedError(f"the value {text!r}: tests/simulation/queries_plain.py")


def _filter(where: str | None, shape: Shape, args: Sequence[Any]) -> Callable[[Values], bool]:
    checks: list[Callable[[Values], bool]] = []
    for one in where.split(" AND ") if where else ():
        found = _CONDITION.match(one.strip())
        if found is None or found[1] not in shape.columns:
            raise NotImplementedError(f"the condition {one!r}: tests/simulation/queries_plain.py")
        column, sign = found[1], found[2]
        wanted = _value(found[3], column, shape, args) if found[3] else None
        checks.append(_check(column, sign, wanted))
    return lambda values: all(check(values) for check in checks)


def _check(column: str, sign: str, wanted: Any) -> Callable[[Values], bool]:
    def compare(values: Values) -> bool:
        value = values[column]
        if sign.startswith("IS"):
            return (value is None) is (sign == "IS NULL")
        if value is None or wanted is None:
            return False
        signs = {
            "=": value == wanted,
            "<>": value != wanted,
        }
        if sign in signs:
            return signs[sign]
        return bool({"<": value < wanted, ">": value > wanted, "<=": value <= wanted, ">=": value >= wanted}[sign])

    return compare


def _rows(tx: Transaction, name: str) -> list[Values]:
    if name in LOGS:
        return [row._asdict() for rows in tx.log(name).of_lane.values() for row in rows]
    return [values for _, values in tx.table(name).rows(tx)]


@nameless(r"SELECT count\(\*\) FROM pg_locks WHERE NOT granted$", "count")
def _waits(tx: Transaction) -> Result:
    return [(tx.tables.waiting,)]


@nameless(
    r"SELECT ((?:(?! FROM ).)+) FROM (\w+)(?: WHERE ((?:(?! ORDER BY | GROUP BY ).)+))?"
    r"(?: GROUP BY (\w+))?(?: ORDER BY ([\w, ]+))?;?$",
    columns_by=lambda what, name, *rest: selected(what, name),
)
def _select(
    tx: Transaction, what: str, name: str, where: str | None, group: str | None, order: str | None, *args: Any
) -> Result:
    shape = shapes()[name]
    check = _filter(where, shape, args)
    found = [row for row in _rows(tx, name) if check(row)]
    if order:
        for column in reversed([one.strip() for one in order.split(",")]):
            found.sort(key=lambda row: row[column.removesuffix(" DESC")], reverse=column.endswith(" DESC"))
    if group or re.match(r"(count|sum|max|min)\(", what):
        sets: dict[Any, list[Values]] = {} if group else {None: found}
        for row in found if group else ():
            sets.setdefault(row[group], []).append(row)
        return [tuple(_aggregate(one, key, rows) for one in _parts(what)) for key, rows in sets.items()]
    return [tuple(row[column] for column in selected(what, name)) for row in found]


def _aggregate(what: str, key: Any, rows: list[Values]) -> Any:
    made = re.match(r"(count|sum|max|min)\((\*|\w+)\)", what)
    if made is None:
        return key
    values = [row if made[2] == "*" else row[made[2]] for row in rows]
    return _AGGREGATES[made[1]]([value for value in values if value is not None])


def _parts(what: str) -> list[str]:
    return [one.strip() for one in what.split(",")]


def selected(what: str, name: str) -> tuple[str, ...]:
    """The columns that a SELECT gives."""
    if what.strip() == "*":
        return tuple(shapes()[name].columns)
    return tuple(re.split(r" AS |\(", one)[-1 if " AS " in one else 0] for one in _parts(what))


@nameless(r"UPDATE (\w+) SET ((?:(?! WHERE ).)+)(?: WHERE (.+))?$", tag="UPDATE")
def _update(tx: Transaction, name: str, sets: str, where: str | None, *args: Any) -> Waiting:
    shape = shapes()[name]
    new = {}
    for one in re.findall(r"(\w+) = (ARRAY\[[^\]]*\][^,]*|'[^']*'[^,]*|[^,]+)", sets):
        new[one[0]] = one[1].strip()
    check = _filter(where, shape, args)

    def changed(values: Values) -> Values:
        return {column: _of_row(text, values, column, shape, args) for column, text in new.items()}

    if name in LOGS:
        log = tx.log(name)
        rows = [row for rows in log.of_lane.values() for row in rows]
        log.clear()
        log.append(row._replace(**changed(row._asdict())) if check(row._asdict()) else row for row in rows)
        return len(rows)
    found = [row for row, _ in tx.table(name).rows(tx)]
    return len((yield from tx.update(found, check, changed)))


@nameless(r"DELETE FROM (\w+)(?: WHERE (.+))?$", tag="DELETE")
def _delete(tx: Transaction, name: str, where: str | None, *args: Any) -> Waiting:
    check = _filter(where, shapes()[name], args)
    if name in LOGS:
        log = tx.log(name)
        rows = [row for rows in log.of_lane.values() for row in rows]
        log.clear()
        log.append(row for row in rows if not check(row._asdict()))
        return len(rows)
    return len((yield from tx.delete([row for row, _ in tx.table(name).rows(tx)], check)))


@nameless(r"INSERT INTO (\w+) \(([\w, ]+)\) VALUES \(([^()]+)\)$", tag="INSERT")
def _insert(tx: Transaction, name: str, columns: str, values: str, *args: Any) -> Waiting:
    shape = shapes()[name]
    row = {
        column: _value(value, column, shape, args)
        for column, value in zip(_parts(columns), _parts(values), strict=True)
    }
    if name in LOGS:
        return tx.append(name, [tx.tables.logs[name].row(**row)])
    yield from tx.insert(name, row)
    return 1


@nameless(r"INSERT INTO (\w+) \(([\w, ]+)\) SELECT ([^()]+) FROM (\w+)(?: WHERE (.+))?$", tag="INSERT")
def _insert_select(
    tx: Transaction, name: str, columns: str, values: str, origin: str, where: str | None, *args: Any
) -> Waiting:
    shape = shapes()[name]
    check = _filter(where, shapes()[origin], args)
    made = []
    for row in _rows(tx, origin):
        if check(row):
            pairs = zip(_parts(columns), _parts(values), strict=True)
            made.append({column: _of_row(text, row, column, shape, args) for column, text in pairs})
    if name in LOGS:
        return tx.append(name, [tx.tables.logs[name].row(**one) for one in made])
    for one in made:
        yield from tx.insert(name, one)
    return len(made)


def _of_row(text: str, row: Values, column: str, shape: Shape, args: Sequence[Any]) -> Any:
    if found := re.fullmatch(r"(\w+) \+ (\$?\d+)", text):
        return row[found[1]] + _value(found[2], column, shape, args)
    return row[text] if text in row else _value(text, column, shape, args)
