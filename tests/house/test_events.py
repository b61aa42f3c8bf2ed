"""Every event that is written stands in the catalogue, and every one that stands there is written somewhere."""

import ast
from pathlib import Path

from gateway.events import KINDS

ROOT = Path(__file__).parents[2]


def emitted() -> set[str]:
    """The kinds that `event(…)` is called with, written out; a call without a literal is told of as it stands."""
    found = set()
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "event":
                kind = node.args[0]
                found.add(kind.value if isinstance(kind, ast.Constant) else f"{path.name}: {ast.unparse(kind)}")
    return found


def test_catalogue_holds_what_is_emitted_and_nothing_else() -> None:
    assert emitted() == set(KINDS)
