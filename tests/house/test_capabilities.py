"""The table of capabilities is whole, tests name rows and rules that there are, and its page is up to date."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drawer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_capabilities", ROOT / "docs" / "draw_capabilities.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_table_has_every_row_once_and_in_order(drawer: ModuleType) -> None:
    rows = [(part, int(number)) for part, _, number in (row.partition(".") for row in drawer.table()["rows"])]
    parts = {"S0": 40, "S1": 36, "S2": 33, "S3": 31, "S4": 81, "X": 5}
    assert rows == [(part, number) for part, count in parts.items() for number in range(1, count + 1)]
    assert list(drawer.table()["parts"]) == list(parts)


def test_every_row_says_what_it_is(drawer: ModuleType) -> None:
    kinds = {"behaviour", "data", "surface", "report", "policy"}
    for row, entry in drawer.table()["rows"].items():
        assert entry["kind"] in kinds, f"tests/capabilities.toml: {row}: expected one of {sorted(kinds)}"
        assert entry.keys() <= {"kind", "says", "needs"} and entry["says"], f"tests/capabilities.toml: {row}"
        assert "|" not in entry["says"], f"tests/capabilities.toml: {row}: a bar would end the cell of its page"


def test_every_row_and_rule_that_a_test_names_is_in_the_table(drawer: ModuleType) -> None:
    table = drawer.table()
    rules = {f"{kind}-{n}" for kind, entry in table["rules"].items() for n in range(1, entry["count"] + 1)}
    known = rules | set(table["rows"])
    unknown = [
        f"{test.path}::{test.name}: {what}"
        for test in drawer.showings()
        for what in sorted((test.marked | test.named) - known)
    ]
    assert unknown == []


def test_a_marker_names_rows_alone(drawer: ModuleType) -> None:
    rows = set(drawer.table()["rows"])
    assert [f"{test.path}::{test.name}" for test in drawer.showings() if test.marked - rows] == []


def test_markers_names_and_docstrings_are_all_read(drawer: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "capabilities.toml").write_text((ROOT / "tests" / "capabilities.toml").read_text())
    (tmp_path / "tests" / "test_x.py").write_text(
        '@pytest.mark.covers("S0.1", "X.2")\n@pytest.mark.slow\ndef test_tp_5_a(): ...\n'
        'class TestIt:\n    async def test_s0_6_and_7_b(self):\n        """GL-4 and S1.2; CP-12345x is none."""\n'
        "def test_x25_is_no_row_and_s_0_1_neither(): ...\n"
    )
    found = {test.name: (set(test.marked), set(test.named)) for test in drawer.showings(tmp_path)}
    assert found == {
        "test_tp_5_a": ({"S0.1", "X.2"}, {"TP-5"}),
        "test_s0_6_and_7_b": (set(), {"S0.6", "S0.7", "GL-4", "S1.2"}),
    }
    page = drawer.draw(tmp_path)
    assert "226 rows: 4 shown, 14 that need" in page
    assert "*needs the HTTP door of webhooks" in next(line for line in page.splitlines() if line.startswith("| S0.1 "))
    assert next(line for line in page.splitlines() if line.startswith("| S0.5 ")).endswith("| **open** |")


def test_page_of_capabilities_is_drawn_from_the_tests(drawer: ModuleType) -> None:
    found = (ROOT / "docs" / "capabilities.md").read_text(encoding="utf-8")
    assert found == drawer.draw(), "docs/capabilities.md: run python docs/draw_capabilities.py"
