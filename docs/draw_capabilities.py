"""Draw docs/capabilities.md from tests/capabilities.toml and the tests: python docs/draw_capabilities.py.

A test shows a row or a rule that its marker covers, its name or its docstring names:

    @pytest.mark.covers("S1.13")                    rows
    def test_tp_5_a_code_is_issued_when …           a rule; s0_13_ or S1_18_ would be a row
        \"\"\"GL-4, S0.15: …\"\"\"                        both
"""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "capabilities.md"
TABLE = Path("tests") / "capabilities.toml"
# More tests than these are counted: a page is read, and every name can be found by `grep`.
SHOWN = 4

_HEAD = """# What Sluice can do, and which test shows it

Drawn by `docs/draw_capabilities.py` from `tests/capabilities.toml` and from what tests say that they show; do not edit.
A row that is not whole without a page or a door of HTTP says so beside the tests of what is there without it.
"""
_ROW_IN_NAME = re.compile(r"(?:^|_)([sS]\d|[xX])_(\d+)(?:_and_(\d+))?(?=_|$)")
_ROW_IN_TEXT = re.compile(r"\b(S\d|X)\.(\d+)\b")


@dataclass(frozen=True, slots=True)
class Showing:
    """One test, and the rows and rules it names: markers apart, since those have to be right."""

    path: str
    name: str
    marked: frozenset[str]
    named: frozenset[str]


def table(root: Path = ROOT) -> dict[str, Any]:
    """Return the rows and the kinds of rules."""
    return tomllib.loads((root / TABLE).read_text(encoding="utf-8"))


@cache
def showings(root: Path = ROOT) -> tuple[Showing, ...]:
    """Return every test that names anything, in the order of files and lines."""
    return tuple(_showings(root))


def _showings(root: Path) -> Iterator[Showing]:
    kinds = "|".join(table(root)["rules"])
    # `in` is a word, too: a rule of conversations stands in front, or in capitals.
    in_name = re.compile(rf"(?:^|_)(?!(?<!^test_)in_)({kinds})_(\d+)(?=_|$)", re.IGNORECASE)
    in_text = re.compile(rf"\b({kinds})-(\d+)\b")
    for path in sorted((root / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.name.startswith("test_"):
                continue
            said = ast.get_docstring(node) or ""
            named = {f"{kind.upper()}-{number}" for kind, number in in_name.findall(node.name)}
            named |= {f"{kind}-{number}" for kind, number in in_text.findall(said)}
            for part, *numbers in _ROW_IN_NAME.findall(node.name):
                named |= {f"{part.upper()}.{number}" for number in numbers if number}
            named |= {f"{part}.{number}" for part, number in _ROW_IN_TEXT.findall(said)}
            marked = frozenset(_marked(node))
            if marked or named:
                yield Showing(str(path.relative_to(root)), node.name, marked, frozenset(named))


def _marked(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.covers":
            for argument in decorator.args:
                yield ast.literal_eval(argument)


def draw(root: Path = ROOT) -> str:
    """Return the page as it should stand."""
    whole = table(root)
    tests: dict[str, list[Showing]] = {}
    for showing in showings(root):
        for what in showing.marked | showing.named:
            tests.setdefault(what, []).append(showing)
    rows: dict[str, dict[str, str]] = whole["rows"]
    open_now = [row for row, entry in rows.items() if row not in tests and "needs" not in entry]
    waiting = [row for row, entry in rows.items() if "needs" in entry]
    shown = len(rows) - len(open_now) - len(waiting)
    lines = [
        _HEAD,
        f"{len(rows)} rows: {shown} shown, {len(waiting)} that need a page or a door, {len(open_now)} open.",
    ]
    if open_now:
        lines += ["", f"Open: {', '.join(open_now)}."]
    for part, title in whole["parts"].items():
        lines += ["", f"## {part} · {title}", "", "| row | kind | what | shown by |", "|---|---|---|---|"]
        for row, entry in rows.items():
            if row.partition(".")[0] == part:
                lines.append(f"| {row} | {entry['kind']} | {entry['says']} | {_by(tests.get(row, []), entry)} |")
    lines += ["", "## Rules", "", "How many tests name each; `grep` finds them by its number.", ""]
    lines += ["| rules | of | tests of each | named by none |", "|---|---|---|---|"]
    for kind, entry in whole["rules"].items():
        counts = {number: len(tests.get(f"{kind}-{number}", [])) for number in range(1, entry["count"] + 1)}
        each = ", ".join(f"{number}: {count}" for number, count in counts.items() if count)
        none = ", ".join(f"{kind}-{number}" for number, count in counts.items() if not count)
        lines.append(f"| {kind} | {entry['of']} | {each} | {none} |")
    return "\n".join(lines) + "\n"


def _by(tests: list[Showing], entry: dict[str, str]) -> str:
    """Name the tests of a row, those that are marked first; and what it waits for."""
    ordered = sorted(tests, key=lambda test: not test.marked)
    said = [f"[{_sentence(test.name)}](../{test.path})" for test in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        said.append(f"and {len(ordered) - SHOWN} more")
    if "needs" in entry:
        said.append(f"*needs {entry['needs']}*")
    return "<br>".join(said) or "**open**"


def _sentence(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(draw(), encoding="utf-8")
