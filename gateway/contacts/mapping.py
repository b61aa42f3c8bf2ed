"""What the columns of a file are, and its rows as values: read by columns, refused by row and column.

    COLUMN=FIELD              a field that we know (external_id, phone, email …), or an attribute of that name, a string
    COLUMN=NAME:KIND          an attribute of a kind (cells.py): points:number, spent:money:EUR, tags:array:;
    COLUMN=phone@GB           numbers of one country; phone@[COLUMN]: of the country that another column names
    COLUMN=-                  left out
    FIELD=VALUE (sets)        the same for every row, as if a column said so

COLUMN is a name of the header, or a position from 1. What is not mapped is taken for what its name says where that is
a field (phone in many languages), else it is an attribute of its own name, a string; or nothing, if that is asked.
A row with any wrong cell is refused as a whole, with every such cell named.
Not here: what a row comes to (persons.py, receipts.py), what is between the octets and a cell (table.py).
"""

import bisect
import functools
import hashlib
import re
import unicodedata
import zoneinfo
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from gateway.consent import CLASSES
from gateway.contacts import cells, numbers
from gateway.contacts.cells import Read, Ways, Wrong
from gateway.contacts.numberplan import LINES
from gateway.contacts.numbers import Forms, Numbers, Verdict
from gateway.contacts.reading import fold, is_number_name
from gateway.contacts.report import Tally, masked, visible
from gateway.contacts.table import ROW_FAULTS, Block, Table
from gateway.errors import ConfigError, FileFault
from gateway.person import is_currency

LONGEST_NAME = 200
# As many attributes as a person may have (store/identities.py).
MOST_TAKEN = 1000
LONGEST_KEY = 500
FAULTS: dict[str, str] = {
    **ROW_FAULTS,
    **cells.FAULTS,
    **numbers.FAULTS,
    "nul": "no NUL characters",
    "header_again": "a row of data, not the header once more",
    "missing": "a value",
    "decimal_zero": "an id as its own system writes it: a spreadsheet has put .0 behind it",
    "email": "an address such as name@domain",
    "country": "two letters of ISO 3166, such as DE",
    "class": "promotional, transactional or night",
    "currency": "a currency of three letters such as EUR",
    "language": "a language such as de or pt-BR",
    "zone": "a zone such as Europe/Berlin",
    "region": "a country of two letters such as GB",
    "nobody": "at least one of external_id, card, email, phone",
    "future": "a time that has been",
    "negative": "an amount of at least 0; what is given back names its receipt in refund_of",
    "conflict": "one receipt of a till and number: another row of it says something else",
}
"""Name of a fault -> what was expected instead."""

_ID_NAMES = {
    "external_id": "external_id externalid customerid customernumber customerno kundennummer kundennr clientid userid "
    "numeroclient codigocliente",
    "email": "email emailaddress mail mailaddress emailadresse courriel correo correoelectronico",
    "country": "country countrycode land",
    "language": "language lang locale sprache",
    "zone": "timezone zone zeitzone",
}
_FIELD_OF = {name: field for field, names in _ID_NAMES.items() for name in [fold(field), *names.split()]}
# What the table mends and notes, and who keeps what it says for years does not take.
_FAULT_OF = {"nul": "nul", "stray_quote": "quotes"}
_SCIENTIFIC = re.compile(r"\d(?:[.,]\d+)?E[+-]?\d+", re.IGNORECASE)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*")


class Column(Struct, frozen=True, kw_only=True):
    """One column that is taken: what it is called in the file, and what it is. index -1: a value for every row."""

    index: int
    name: str
    target: str
    kind: str = "string"
    detail: str = ""
    value: str = ""


class Plan(Struct, frozen=True, kw_only=True):
    """What a file's columns are; `digest` tells two ways to read one file apart."""

    columns: tuple[Column, ...]
    settings: tuple[str, ...]

    @property
    def digest(self) -> bytes:
        """32 octets that are the same for the same plan."""
        return hashlib.sha256(msgspec.json.encode(self)).digest()

    def of(self, target: str) -> Column | None:
        """Find the column of a target."""
        return next((one for one in self.columns if one.target == target), None)


def plan(
    table: Table,
    maps: Sequence[str],
    sets: Sequence[str],
    *,
    fields: Mapping[str, str],
    takes_rest: bool,
    ways: Ways,
    settings: Sequence[str] = (),
) -> Plan:
    """Find out what the columns of a table are.

    fields      target -> kind, of those that we know
    takes_rest  what is not mapped is an attribute of its name
    settings    what else the meaning of the cells hangs on
    raises      FileFault `columns`: a map names what is not there, or one thing twice
    """
    chosen: dict[int, Column] = {}
    left_out: set[int] = set()
    for each in maps:
        asked, mark, told = each.rpartition("=")
        if not mark or not asked or not told:
            raise FileFault("columns", f"--map {each!r}: expected COLUMN=FIELD, such as Handy=phone")
        index = _find(table, asked)
        if index in chosen or index in left_out:
            raise FileFault("columns", f"--map {each!r}: expected each column once")
        if told == "-":
            left_out.add(index)
        else:
            chosen[index] = _column(index, _name(table, index), told, fields, each)
    for index, name in enumerate(table.fields):
        if index in chosen or index in left_out:
            continue
        target = "" if not table.has_header else "phone" if is_number_name(name) else _FIELD_OF.get(fold(name), "")
        if not target:
            target = name if name in fields else ""
        if target in fields and not any(one.target == target for one in chosen.values()):
            chosen[index] = _column(index, _name(table, index), target, fields, name)
        elif takes_rest:
            if target in fields and target != name:
                target = ""
            chosen[index] = _column(index, _name(table, index), _spared(name, fields), fields, name)
    columns = [chosen[index] for index in sorted(chosen)]
    for each in sets:
        told, mark, value = each.partition("=")
        if not mark or not told:
            raise FileFault("columns", f"--set {each!r}: expected FIELD=VALUE, such as country=DE")
        column = _column(-1, told, told, fields, each)
        columns.append(msgspec.structs.replace(column, value=value))
    if len(columns) > MOST_TAKEN:
        found = f"expected at most {MOST_TAKEN:,} columns that are taken, found {len(columns):,}"
        raise FileFault("columns", f"{found}; say --only-mapped, or --map COLUMN=- of those to leave out")
    targets = [one.target for one in columns]
    for target in targets:
        if targets.count(target) > 1:
            names = ", ".join(one.name for one in columns if one.target == target)
            raise FileFault("columns", f"{target}: expected one column, found {names}; say which by --map")
    for name in table.header:
        if name and table.header.count(name) > 1 and any(each.rpartition("=")[0] == name for each in maps):
            raise FileFault("columns", f"{name!r}: expected one column of the name, found several; say its position")
    return Plan(columns=tuple(columns), settings=(*settings, ways.decimal, ways.dates, str(ways.zone or "")))


def _name(table: Table, index: int) -> str:
    """What a column is called in the file, where that is one column's alone."""
    name = table.header[index] if table.has_header else ""
    return name if name and table.header.count(name) == 1 else table.fields[index]


def _spared(name: str, fields: Mapping[str, str]) -> str:
    """The name of an attribute, other than the fields'."""
    return f"{name}_" if name in fields else name


def _find(table: Table, asked: str) -> int:
    names = [*table.header, *table.fields] if table.has_header else table.fields
    if asked in names:
        return names.index(asked) % len(table.fields)
    folded = [index for index, name in enumerate(table.fields) if fold(name) == fold(asked) != ""]
    if len(folded) == 1:
        return folded[0]
    if asked.isascii() and asked.isdigit() and 1 <= int(asked) <= len(table.fields):
        return int(asked) - 1
    raise FileFault("columns", f"{asked!r}: expected one of {', '.join(table.fields)}")


def _column(index: int, name: str, told: str, fields: Mapping[str, str], where: str) -> Column:
    if told.startswith("phone@") and "phone" in fields:
        return Column(index=index, name=name, target="phone", kind="phone", detail=told[6:])
    target, _, rest = told.partition(":")
    target = unicodedata.normalize("NFC", target.strip())
    if target in fields:
        if rest:
            raise FileFault("columns", f"{where!r}: expected {target} without a kind")
        return Column(index=index, name=name, target=target, kind=fields[target])
    if not target or len(target) > LONGEST_NAME or "." in target:
        raise FileFault("columns", f"{where!r}: expected one of {', '.join(fields)}, or the name of an attribute")
    kind, _, detail = (rest or "string").partition(":")
    return Column(index=index, name=name, target=target, kind=kind, detail=detail)


@dataclass(slots=True)
class RowReport:
    """What a pass over the rows found; a row is taken, double, of nobody, or refused."""

    shows: bool = False
    covered: dict[str, str] = field(default_factory=dict)
    """Columns whose cells are shown by their form alone, unless `shows`: what they hold, phone or email."""
    rows: int = 0
    taken: int = 0
    duplicates: int = 0
    refused: int = 0
    suppressed: int = 0
    no_consent: int = 0
    nobodys: int = 0
    grants: int = 0
    faults: dict[tuple[str, str], Tally] = field(default_factory=dict)
    """(column, fault) -> how often, what was expected, and the first places."""
    notes: dict[tuple[str, str], Tally] = field(default_factory=dict)
    first_of: list[tuple[int, int]] = field(default_factory=list)
    """(line, line of the first) of some duplicates."""
    lines: dict[str, int] = field(default_factory=dict)
    """Type of line (mobile, fixed_line …) -> numbers taken."""

    def refuse(self, line: int, faults: Sequence[tuple[str, str, str]]) -> None:
        """Count a row that is refused: (column, fault, cell)."""
        self.refused += 1
        for column, fault, found in faults:
            self._add(self.faults, column, fault, FAULTS[fault], line, found)

    def note(self, line: int, column: str, name: str, said: str, found: str) -> None:
        """Count what was seen in a row that is taken all the same."""
        self._add(self.notes, column, name, said, line, found)

    def _add(self, to: dict[tuple[str, str], Tally], column: str, name: str, said: str, line: int, found: str) -> None:
        what = "" if self.shows else self.covered.get(column, "phone" if not column else "")
        if what == "phone":
            found = masked(found)
        elif what == "email":
            found = re.sub(r"(?<=.)[^@](?=[^@]*@)", "•", found)
        to.setdefault((column, name), Tally(said)).add(line, found)

    @property
    def ambiguous(self) -> int:
        """Cells that could be read in several ways, and so in none."""
        return sum(one.count for (_, fault), one in self.faults.items() if "ambiguous" in fault or fault == "no_zone")

    def as_json(self) -> dict[str, Any]:
        """Return the report as what json.dumps takes."""

        def told(tallies: Mapping[tuple[str, str], Tally]) -> list[dict[str, Any]]:
            return [
                {
                    "column": column, "name": name, "count": one.count, "expected": one.expected,
                    "examples": [{"line": each.line, "found": each.found} for each in one.examples],
                } for (column, name), one in tallies.items()
            ]  # fmt: skip

        return {
            "rows": self.rows, "taken": self.taken, "duplicates": self.duplicates, "refused": self.refused,
            "ambiguous": self.ambiguous, "suppressed": self.suppressed, "no_consent": self.no_consent,
            "nobodys": self.nobodys, "grants": self.grants, "lines": self.lines, "faults": told(self.faults),
            "notes": told(self.notes),
            "first_of": [{"line": line, "first": first} for line, first in self.first_of],
        }  # fmt: skip

    def as_text(self) -> str:
        """Return the report as lines for a terminal."""
        out = [f"rows        {self.rows:,}", f"taken       {self.taken:,}"]
        if self.lines:
            out.append("            " + ", ".join(f"{count:,} {line}" for line, count in sorted(self.lines.items())))
        out.append(f"duplicates  {self.duplicates:,}")
        out += [f"            line {line}: the same as line {first}" for line, first in self.first_of]
        out.append(f"refused     {self.refused:,}" + (f", {self.ambiguous:,} cells ambiguous" * bool(self.ambiguous)))
        if self.nobodys:
            out.append(f"of nobody   {self.nobodys:,}, passed over")
        for title, tallies, before in (("", self.faults, "expected "), ("seen", self.notes, "")):
            if title and tallies:
                out.append(title)
            for (column, name), tally in sorted(tallies.items(), key=lambda item: -item[1].count):
                where = f"{visible(column)}: " if column else ""
                out.append(f"    {where}{name}: {tally.count:,}  ({before}{tally.expected})")
                out += [f"        line {each.line}: {visible(each.found)}" for each in tally.examples]
        return "\n".join(out)


class Rows(Struct):
    """Rows of a block that may be taken: values by target, None = nothing is said. kinds: number -> type of line."""

    lines: list[int]
    values: dict[str, list[Any]]
    kinds: dict[int, str]
    upto: int
    """The line that the last row of the block begins in, whether it was taken or not."""


class Reader:
    """Reads the rows of a table by a plan; the report counts what is refused.

    raises  FileFault: a kind, a region or a value for every row that is none
    """

    def __init__(
        self, table: Table, plan: Plan, report: RowReport, *, ways: Ways, region: str = "",
        forms: Forms = "mixed", possible: bool = False,
    ):  # fmt: skip
        self.plan = plan
        self.report = report
        self._table = table
        self._ways = ways
        self._region = region
        self._forms = forms
        self._possible = possible
        self._numbers: dict[str, Numbers] = {}
        self._readers: list[tuple[Column, Read | None]] = []
        self._constants: dict[str, Any] = {}
        self._region_at = -1
        report.covered |= {one.name: one.target for one in plan.columns if one.target in ("phone", "email")}
        for column in plan.columns:
            read = None if column.kind == "phone" else self._reader(column)
            if column.kind == "phone":
                self._prepare_phone(column)
            if column.index >= 0:
                self._readers.append((column, read))
                continue
            if read is None:
                raise FileFault("columns", f"{column.target}: expected a column, not one value for every row")
            values, faults = cells.column([column.value], read)
            if faults or values[0] is None:
                name = faults.get(0, "missing")
                raise FileFault("columns", f"{column.target}={column.value}: expected {FAULTS[name]}")
            self._constants[column.target] = values[0]

    def _reader(self, column: Column) -> Read:
        own: dict[str, Callable[[str], Any]] = {
            "key": key, "email": email, "country": country, "language": language, "zone": zone,
            "instant": lambda cell: cells.instant(cell, self._ways),
            "amount": lambda cell: cells.number(cell, self._ways), "currency": currency,
            "class": consent_class,
        }  # fmt: skip
        try:
            return own.get(column.kind) or cells.reader(column.kind, column.detail, self._ways)
        except ValueError as error:
            raise FileFault("columns", f"{column.name}: {error}") from None

    def _prepare_phone(self, column: Column) -> None:
        named = re.fullmatch(r"\[(.+)\]", column.detail)
        if named is not None:
            self._region_at = _find(self._table, named[1])
        else:
            self._of_region(column.detail or self._region)

    def _of_region(self, region: str) -> Numbers:
        found = self._numbers.get(region)
        if found is None:
            try:
                found = Numbers(region or None, forms=self._forms, possible=self._possible)
            except ConfigError as error:
                key, expected, what = error.problems[0]
                raise FileFault("columns", f"{key}: expected {expected}, found {what}") from None
            self._numbers[region] = found
        return found

    def rows(self) -> Iterator[Rows]:
        """Yield the rows of the table, block by block; memory does not grow with the file."""
        for block in self._table.blocks():
            yield self._judge(block)

    def _judge(self, block: Block) -> Rows:
        report = self.report
        upto = max([*block.lines[-1:], *(row.line for row in block.faults)], default=0)
        wrong: dict[int, list[tuple[str, str, str]]] = {}
        report.rows += len(block.lines) + len(block.faults)
        for row in block.faults:
            report.refuse(row.line, [("", row.name, row.found)])
        for row in block.notes:
            fault = _FAULT_OF.get(row.name)
            if fault and (at := bisect.bisect_right(block.lines, row.line) - 1) >= 0:
                wrong.setdefault(at, []).append(("", fault, row.found))
        count = len(block.lines)
        if self._table.has_header and count:
            self._find_headers(block, wrong)
        values: dict[str, list[Any]] = {}
        kinds: dict[int, str] = {}
        for column, read in self._readers:
            given = block.columns[column.index]
            if read is None:
                values[column.target], faults = self._phones(column, block, kinds)
            else:
                values[column.target], faults = cells.column(given, read)
            for at, fault in faults.items():
                wrong.setdefault(at, []).append((column.name, fault, given[at]))
        for target, value in self._constants.items():
            values[target] = [value] * count
        lines: list[int] = block.lines.tolist()
        if wrong:
            for at, found in sorted(wrong.items()):
                report.refuse(lines[at], found)
            kept = [at for at in range(count) if at not in wrong]
            lines = [lines[at] for at in kept]
            values = {target: [column[at] for at in kept] for target, column in values.items()}
        return Rows(lines, values, kinds, upto)

    def _find_headers(self, block: Block, wrong: dict[int, list[tuple[str, str, str]]]) -> None:
        """The header once more among the rows, as where files were put behind one another."""
        header = self._table.header
        first = block.columns[0]
        at = -1
        while True:
            try:
                at = first.index(header[0], at + 1)
            except ValueError:
                return
            if all(column[at].strip() == name for column, name in zip(block.columns, header, strict=True)):
                wrong.setdefault(at, []).append(("", "header_again", header[0]))

    def _phones(self, column: Column, block: Block, kinds: dict[int, str]) -> tuple[list[Any], dict[int, str]]:
        """Read the numbers of a block; empty cells say nothing."""
        given = list(block.columns[column.index])
        if self._region_at < 0:
            groups: dict[str, list[int]] = {column.detail or self._region: list(range(len(given)))}
        else:
            groups = {}
            for at, cell in enumerate(block.columns[self._region_at]):
                groups.setdefault(cell.strip().upper(), []).append(at)
        values: list[Any] = [None] * len(given)
        faults: dict[int, str] = {}
        for region, places in groups.items():
            try:
                judge = self._of_region(region)
            except FileFault:
                faults.update((at, "region") for at in places if given[at].strip())
                continue
            found, types, verdicts = judge.column([given[at] for at in places])
            self._take(places, found, types, verdicts, (values, faults, kinds))
            mended = {at: verdict.repairs for at, verdict in verdicts.items() if verdict.number}
            for kind in set(types):
                if kind and (repairs := judge.repairs_of(kind)):
                    mended |= {at: repairs for at, each in enumerate(types) if each == kind}
            for at, repairs in mended.items():
                for name in repairs:
                    line, cell = block.lines[places[at]], given[places[at]]
                    self.report.note(line, column.name, name, numbers.REPAIRS[name], cell)
        return values, faults

    @staticmethod
    def _take(
        places: Sequence[int],
        found: "array[int]",
        types: bytearray,
        verdicts: Mapping[int, Verdict],
        into: tuple[list[Any], dict[int, str], dict[int, str]],
    ) -> None:
        values, faults, kinds = into
        for at, number in enumerate(found):
            if number:
                values[places[at]] = number
                kinds[number] = verdicts[at].line if at in verdicts else LINES[(types[at] & 15) - 1]
            elif verdicts[at].fault != "empty":
                faults[places[at]] = verdicts[at].fault


def key(cell: str) -> str:
    """Read an id: a text that no spreadsheet has reckoned with."""
    if _SCIENTIFIC.fullmatch(cell) is not None:
        raise Wrong("scientific")
    if cell.endswith(".0") and cell[:-2].isdecimal():
        raise Wrong("decimal_zero")
    found = cells.text(cell)
    if len(found) > LONGEST_KEY:
        raise Wrong("too_long")
    return found


def email(cell: str) -> str:
    """Read an address of e-mail, in small letters."""
    found = cells.text(cell).lower()
    name, mark, domain = found.rpartition("@")
    if not mark or not name or "." not in domain.strip(".") or "@" in name or re.search(r"[\s,;<>]", found):
        raise Wrong("email")
    if len(found) > LONGEST_KEY:
        raise Wrong("too_long")
    return found


def country(cell: str) -> str:
    """Read the two letters of a country."""
    if len(cell) != 2 or not cell.isascii() or not cell.isalpha():
        raise Wrong("country")
    return cell.upper()


def currency(cell: str) -> str:
    """Read a currency."""
    found = cell.upper()
    if not is_currency(found):
        raise Wrong("currency")
    return found


def consent_class(cell: str) -> str:
    """Read what consent is for."""
    found = cell.casefold()
    if found not in CLASSES:
        raise Wrong("class")
    return found


def language(cell: str) -> str:
    """Read a language."""
    if _LANGUAGE.fullmatch(cell) is None or len(cell) > 64:
        raise Wrong("language")
    return cell.replace("_", "-")


def zone(cell: str) -> str:
    """Read a zone."""
    if cell not in _zones():
        raise Wrong("zone")
    return cell


@functools.cache
def _zones() -> Collection[str]:
    return zoneinfo.available_timezones()
