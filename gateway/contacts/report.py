"""What a dry run found: for a person, as plain text, or for a program, as JSON.

What it is: counts by name with the first examples, and what was assumed about the file. What it is not: a log of all
rows; its size does not grow with the file.

A number cell is personal data: an example shows the line, and of the cell its form with all but the last three digits
covered (`+•• •••• •••456`), enough to find it in the file; `shows_numbers` shows it whole. A cell damaged so that
nobody can be found by it (4,47701E+11) is always shown.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from gateway.contacts.numbers import FAULTS, REPAIRS
from gateway.contacts.table import ROW_FAULTS

EXAMPLES = 3
"""Examples kept of each name."""

NOTES: dict[str, str] = {
    "short_row": "cells are missing at the end: taken for empty",
    "stray_quote": "a quote where none may be: kept as it stands",
    "blank_line": "skipped",
    "nul": "NUL characters taken out",
    "bad_octets": "octets that are no character of the encoding: shown as U+FFFD",
    "not_mobile": "valid, but perhaps not a mobile (landline, freephone, ...): refuse them by --mobile-only",
}


def masked(cell: str) -> str:
    """Return the cell with all digits but the last three covered, if it holds enough of them to find a person."""
    digits = sum(map(str.isdigit, cell))
    if digits < 7 or "e" in cell.lower():
        return cell
    shown: list[str] = []
    for char in cell:
        digits -= char.isdigit()
        shown.append("•" if char.isdigit() and digits >= 3 else char)
    return "".join(shown)


@dataclass(frozen=True, slots=True)
class Example:
    """One place in the file: the line, the cell or row as found (already masked)."""

    line: int
    found: str


@dataclass(slots=True)
class Tally:
    """How often something with a name was met, what it means, and the first places."""

    expected: str
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def add(self, line: int, found: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(Example(line, found if len(found) <= 60 else found[:57] + "..."))


@dataclass(slots=True)
class FieldUse:
    """A field of the template: whether the file has it, and in how many rows that would be sent it is empty."""

    name: str
    is_missing: bool
    empty: int = 0
    near: str = ""
    """A column whose name differs in case or blanks only."""


@dataclass(slots=True)
class Report:
    """The dry run of one file; `rows` = `sent` + `refused` + `duplicates`."""

    path: str
    octets: int
    sha256: str
    encoding: str
    encoding_reason: str
    delimiter: str
    delimiter_reason: str
    has_header: bool
    header: list[str]
    fields: list[str]
    number_column: str
    number_column_reason: str
    region: str | None
    notes: list[str]
    rows: int = 0
    sent: int = 0
    refused: int = 0
    duplicates: int = 0
    duplicate_examples: list[tuple[int, int]] = field(default_factory=list)
    """(line, line of the first)."""
    faults: dict[str, Tally] = field(default_factory=dict)
    repairs: dict[str, Tally] = field(default_factory=dict)
    row_notes: dict[str, Tally] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    """Type of line (mobile, fixed_line, ...) -> numbers that would be sent to."""
    template: list[FieldUse] = field(default_factory=list)
    shows_numbers: bool = False

    def fault(self, line: int, name: str, found: str) -> None:
        """Count a row that is refused."""
        self.refused += 1
        expected = FAULTS.get(name) or ROW_FAULTS.get(name, "")
        self.faults.setdefault(name, Tally(expected)).add(line, self._shown(found))

    def repair(self, line: int, names: Iterable[str], found: str) -> None:
        """Count what was mended in a row that would be sent."""
        for name in names:
            self.repairs.setdefault(name, Tally(REPAIRS[name])).add(line, self._shown(found))

    def note(self, line: int, name: str, found: str) -> None:
        """Count what was seen in a row and does not refuse it."""
        self.row_notes.setdefault(name, Tally(NOTES[name])).add(line, self._shown(found))

    def duplicate(self, line: int, first: int) -> None:
        """Count a number met before: the first row wins."""
        self.duplicates += 1
        if len(self.duplicate_examples) < EXAMPLES:
            self.duplicate_examples.append((line, first))

    def _shown(self, found: str) -> str:
        return found if self.shows_numbers else masked(found)

    @property
    def missing_fields(self) -> list[str]:
        """Fields of the template that the file has not."""
        return [use.name for use in self.template if use.is_missing]

    def as_json(self) -> dict[str, Any]:
        """Return the report as what json.dumps takes."""
        found = asdict(self)
        del found["shows_numbers"]
        found["duplicate_examples"] = [{"line": line, "first": first} for line, first in self.duplicate_examples]
        return found

    def as_text(self) -> str:
        """Return the report as lines for a terminal."""
        names = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
        out = [
            f"file        {visible(self.path)}, {self.octets:,} octets",
            f"encoding    {self.encoding} ({self.encoding_reason})",
            f"delimiter   {names.get(self.delimiter, repr(self.delimiter))} ({self.delimiter_reason})",
            f"columns     {visible(', '.join(self.fields))}",
            f"numbers in  {visible(self.number_column)} ({self.number_column_reason}); "
            + (f"default region {self.region}" if self.region else "no default region"),
        ]
        out += [f"note        {visible(note)}" for note in self.notes]
        out += ["", f"rows        {self.rows:,}", f"would send  {self.sent:,}"]
        if self.lines:
            out.append("            " + ", ".join(f"{count:,} {line}" for line, count in sorted(self.lines.items())))
        out.append(f"refused     {self.refused:,}")
        out += self._tallies(self.faults, "expected ")
        out.append(f"duplicates  {self.duplicates:,}")
        out += [f"            line {line}: the number of line {first}" for line, first in self.duplicate_examples]
        if self.repairs:
            out += ["mended", *self._tallies(self.repairs, "")]
        if self.row_notes:
            out += ["seen", *self._tallies(self.row_notes, "")]
        if self.template:
            out.append("template")
            for use in self.template:
                near = f"; the file has {visible(use.near)}" if use.near else ""
                state = f"is missing in the file{near}" if use.is_missing else f"empty in {use.empty:,} rows"
                out.append(f"    {use.name}: {state}")
        return "\n".join(out) + "\n"

    @staticmethod
    def _tallies(tallies: dict[str, Tally], before: str) -> list[str]:
        out: list[str] = []
        for name, tally in sorted(tallies.items(), key=lambda item: -item[1].count):
            out.append(f"    {name}: {tally.count:,}  ({before}{tally.expected})")
            out += [f"        line {example.line}: {visible(example.found)}" for example in tally.examples]
        return out


def visible(text: str) -> str:
    """Return text of a stranger so that a terminal only shows it: no control characters, no escapes."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
