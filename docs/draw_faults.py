"""Draw docs/faults.md from tests/faults/faults.toml and cases.toml: python docs/draw_faults.py."""

import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "faults.md"

_HEAD = """# The 90 faults and the 33 cases

Drawn by `docs/draw_faults.py` from `tests/faults/faults.toml` and `tests/faults/cases.toml`; do not edit. `real` means
processes, sockets and a Postgres, or the compiled rooms on the octets that such a fault leaves; `simulated` means
virtual time; `not yet` says why. A name of `torture.py` is drawn by `./dev torture`, and by no test of its own.
"""


def draw(root: Path = ROOT) -> str:
    """Return the page as it should stand."""
    faults = tomllib.loads((root / "tests/faults/faults.toml").read_text(encoding="utf-8"))["fault"]
    cases = tomllib.loads((root / "tests/faults/cases.toml").read_text(encoding="utf-8"))
    how = Counter(fault["how"] for fault in faults)
    lines = [_HEAD, "## Faults", "", ", ".join(f"{count} {word}" for word, count in how.most_common()) + ".", ""]
    lines += ["| # | fault | how | held by | `./dev torture` |", "|---|---|---|---|---|"]
    for fault in faults:
        held = "<br>".join(_link(test) for test in fault.get("tests", ())) or fault["why"]
        drawn = f"`{fault['torture']}`" if "torture" in fault else ""
        lines.append(f"| {fault['number']} | {fault['title']} | {fault['how']} | {held} | {drawn} |")
    lines += ["", "## Cases of the write protocol", "", "| # | case | held by |", "|---|---|---|"]
    for case in cases["case"]:
        lines.append(f"| {case['number']} | {case['title']} | {_held(case)} |")
    lines += ["", "## Messages in parts", "", "| rule | held by |", "|---|---|"]
    lines += [f"| {rule['title']} | {_held(rule)} |" for rule in cases["parts"]]
    return "\n".join(lines) + "\n"


def _held(entry: dict[str, object]) -> str:
    tests = entry.get("tests", [])
    assert isinstance(tests, list)
    return "<br>".join(_link(test) for test in tests) or f"not yet: {entry['why']}"


def _link(test: str) -> str:
    path, name = test.split("::")
    return f"[{name.removeprefix('test_').replace('_', ' ')}](../{path})"


if __name__ == "__main__":
    PAGE.write_text(draw(), encoding="utf-8")
