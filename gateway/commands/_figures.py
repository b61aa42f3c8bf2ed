"""Figures as tables: for people, as CSV, as JSON; each share with what it is a share of.

    Table ─► lines_of     aligned columns; a share of a few with the interval that it may be by chance (RP-4)
          ─► csv_of       numbers as they are, a share as 0.1234
          ─► document_of  what --json prints

A spreadsheet takes a cell that begins with = + - @ for a formula: a text that does stands behind a '.
Not here: what a figure means (campaign/formulas.py), charts (_plots.py), where the rows come from (report.py).
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any, Literal

from msgspec import Struct

from gateway.campaign import formulas
from gateway.campaign.formulas import FEW, Formula, wilson
from gateway.commands._options import plain
from gateway.person import major_units

Kind = Literal["text", "count", "share", "money", "days", "seconds", "number"]
NOTHING = "–"
_PARTS = re.compile(r" ([+-]) ")


class Column(Struct, frozen=True, kw_only=True):
    """One column. money: in units of the smallest coin; formula: of a share, by which its interval is known."""

    name: str
    title: str
    kind: Kind = "count"
    formula: Formula | None = None


class Table(Struct, frozen=True, kw_only=True):
    """Rows by the names of columns; notes stand below."""

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    currency: str = ""


def column_of(formula: Formula) -> Column:
    """The column of a formula."""
    kind: Kind = "share" if formula.unit == "share" else "money" if formula.unit == "money" else "number"
    return Column(name=formula.name, title=formula.title, kind=kind, formula=formula)


def value_of(expression: str, row: Mapping[str, Any]) -> float:
    """What a numerator or denominator comes to: a column, or one less another."""
    first, *rest = _PARTS.split(expression)
    total = float(row.get(first) or 0)
    for sign, name in zip(rest[::2], rest[1::2], strict=True):
        total += (1 if sign == "+" else -1) * float(row.get(name) or 0)
    return total


def shown(column: Column, row: Mapping[str, Any], currency: str = "") -> str:
    """A cell, for a person."""
    value = row.get(column.name)
    if value is None:
        return NOTHING
    if column.kind == "text":
        return plain(value.isoformat() if isinstance(value, date | datetime) else str(value))
    if column.kind == "share":
        return share_of(float(value), column.formula, row)
    if column.kind == "money":
        return money(float(value), currency)
    if column.kind == "count":
        return f"{round(value):,}"
    if column.kind == "seconds":
        return (
            f"{value:,.2f} s" if value < 120 else f"{value / 60:,.1f} min" if value < 7200 else f"{value / 3600:,.1f} h"
        )
    return f"{value:,.1f} d" if column.kind == "days" else f"{value:,.2f}"


def share_of(value: float, formula: Formula | None, row: Mapping[str, Any]) -> str:
    """A share; of a few, what it may be by chance instead of a figure that looks sure."""
    if formula is None:
        return f"{value:.1%}"
    total = value_of(formula.denominator, row)
    interval = wilson(round(value_of(formula.numerator, row)), round(total))
    mark = "~" if formula.is_estimate else ""
    if interval is None or total >= FEW or not 0 <= value <= 1:
        return f"{mark}{value:.1%}"
    return f"{mark}{100 * interval[0]:.0f}–{100 * interval[1]:.0f} % of {total:,.0f}"


def money(minor: float, currency: str) -> str:
    """An amount of the smallest coin as people write it."""
    return f"{major_units(round(minor), currency):,} {currency}".rstrip()


def lines_of(table: Table) -> list[str]:
    """A table for people, aligned; what is text to the left, what is a number to the right."""
    cells = [[shown(column, row, table.currency) for column in table.columns] for row in table.rows]
    widths = [
        max([len(column.title), *(len(row[at]) for row in cells)]) for at, column in enumerate(table.columns)
    ]  # fmt: skip

    def line(texts: Sequence[str]) -> str:
        parts = [
            text.ljust(width) if column.kind == "text" else text.rjust(width)
            for text, width, column in zip(texts, widths, table.columns, strict=True)
        ]
        return "  ".join(parts).rstrip()

    body = [line([column.title for column in table.columns]), *map(line, cells)] if cells else ["nothing yet"]
    return [table.title, *(f"  {one}" for one in body), *(f"  {note}" for note in table.notes)]


def csv_of(table: Table) -> str:
    """A table as CSV (RFC 4180): the names of the columns, then numbers as they are."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([column.name for column in table.columns])
    for row in table.rows:
        writer.writerow([_cell(row.get(column.name)) for column in table.columns])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(round(value, 6))
    text = value.isoformat() if isinstance(value, date | datetime) else str(value)
    if isinstance(value, str) and text[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + text
    return text


def document_of(tables: Sequence[Table]) -> dict[str, Any]:
    """What `--json` prints: by table its rows; of each share its formula."""
    told: dict[str, Any] = {}
    for table in tables:
        told[table.name] = {
            "rows": [{column.name: _plain(row.get(column.name)) for column in table.columns} for row in table.rows],
            "notes": list(table.notes),
            "currency": table.currency,
            "formulas": {
                column.name: {
                    "numerator": column.formula.numerator,
                    "denominator": column.formula.denominator,
                    "is_estimate": column.formula.is_estimate,
                }
                for column in table.columns
                if column.formula is not None
            },
        }
    return told


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value


def with_formulas(names: Sequence[str], about: formulas.About = "campaign") -> list[Column]:
    """Columns of formulas by their names."""
    known = formulas.of(about)
    return [column_of(known[name]) for name in names]
