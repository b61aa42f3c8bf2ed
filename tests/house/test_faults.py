"""The tables of faults and cases are whole, name tests that exist, and their page is up to date."""

import ast
import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.faults.torture import FAULTS

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "tests" / "faults"
TORTURE = "tests/faults/torture.py"
# "Case 14 of …", "Cases 2 and 10 of …", "cases 2, 21 and 30 of …": the numbers behind the word.
_CASES = re.compile(r"\bcases?\s+((?:\d+(?:\s*,\s*|\s+and\s+)?)+)\s*of the write protocol", re.IGNORECASE)


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((TABLES / name).read_text(encoding="utf-8"))


def functions(path: str) -> dict[str, str]:
    """Map each function at the top of a file to its docstring."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return {node.name: ast.get_docstring(node) or "" for node in found}


def entries() -> list[tuple[str, dict[str, Any]]]:
    cases = table("cases.toml")
    return (
        [(f"fault {one['number']}", one) for one in table("faults.toml")["fault"]]
        + [(f"case {one['number']}", one) for one in cases["case"]]
        + [(f"rule {one['rule']}", one) for one in cases["parts"]]
    )


def test_every_fault_and_every_case_is_there_once() -> None:
    assert [fault["number"] for fault in table("faults.toml")["fault"]] == list(range(1, 91))
    assert [case["number"] for case in table("cases.toml")["case"]] == list(range(1, 34))
    rules = [rule["rule"] for rule in table("cases.toml")["parts"]]
    assert len(set(rules)) == len(rules) == 7


def test_every_test_that_is_named_exists() -> None:
    missing = []
    for what, entry in entries():
        for test in entry.get("tests", ()):
            path, name = test.split("::")
            there = name in FAULTS if path == TORTURE else name in functions(path) and name.startswith("test_")
            if not there:
                missing.append(f"{what}: {test}")
    assert missing == []


def test_what_is_not_held_by_a_test_says_why_and_nothing_else_does() -> None:
    wrong = [what for what, entry in entries() if bool(entry.get("tests")) == bool(entry.get("why"))]
    assert wrong == []
    hows = {fault["number"]: fault["how"] for fault in table("faults.toml")["fault"]}
    assert set(hows.values()) <= {"real", "simulated", "not yet"}
    without = {fault["number"] for fault in table("faults.toml")["fault"] if not fault.get("tests")}
    assert without == {number for number, how in hows.items() if how == "not yet"}


def test_every_fault_of_torture_is_in_the_table_under_its_numbers() -> None:
    by_name: dict[str, set[int]] = {}
    for fault in table("faults.toml")["fault"]:
        if "torture" in fault:
            by_name.setdefault(fault["torture"], set()).add(fault["number"])
    assert by_name.keys() <= FAULTS.keys()
    numbered = {name: set(fault.numbers) for name, fault in FAULTS.items()}
    assert {name: numbers - numbered[name] for name, numbers in by_name.items() if numbers - numbered[name]} == {}


@pytest.mark.parametrize("case", table("cases.toml")["case"], ids=lambda case: f"case-{case['number']}")
def test_each_test_of_a_case_says_the_number_of_its_case(case: dict[str, Any]) -> None:
    for test in case.get("tests", ()):
        path, name = test.split("::")
        said = {int(number) for found in _CASES.findall(functions(path)[name]) for number in re.findall(r"\d+", found)}
        assert case["number"] in said, f"{test} does not say that it is of case {case['number']}"


def test_page_of_faults_is_drawn_from_the_tables() -> None:
    spec = importlib.util.spec_from_file_location("draw_faults", ROOT / "docs" / "draw_faults.py")
    assert spec is not None and spec.loader is not None
    drawer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(drawer)
    found = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert found == drawer.draw(), "docs/faults.md: run python docs/draw_faults.py"
