"""README, CI and the lock files say what ./dev does."""

import importlib.machinery
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import click
import pytest

from gateway.__main__ import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("dev", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader("dev", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_readme_has_the_two_commands_and_a_line_for_every_verb(dev: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "./dev demo" in text and "./dev test" in text
    assert [verb for verb in dev.VERBS if f"`./dev {verb}" not in text] == []


def test_readme_has_a_line_for_every_command() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = " ".join(re.findall(r"^\| (`sluice .*?`) \|", text, re.MULTILINE))
    named = {word for found in re.findall(r"sluice ([a-z|\\-]+)", lines) for word in re.split(r"[|\\]+", found)}
    assert [name for name in main.list_commands(click.Context(main)) if name not in named] == []


def test_ci_does_what_the_readme_says() -> None:
    commands = [line for line in (ROOT / ".ci/run").read_text().splitlines() if line.startswith("./dev")]
    assert commands == ["./dev check", "./dev test"]


def test_launcher_lists_each_verb_in_a_line() -> None:
    shown = subprocess.run([sys.executable, ROOT / "dev"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in shown.splitlines() if re.match(r"  \w", line)]
    assert len(lines) >= 10
    assert all(len(line) <= 120 for line in lines)


def test_unknown_verb_is_refused_with_those_there_are() -> None:
    done = subprocess.run([sys.executable, ROOT / "dev", "tset"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no verb 'tset'" in done.stderr and "test" in done.stderr


def pins(name: str) -> dict[str, str]:
    """Map each package to its block of a lock file."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text()):
        if match := re.match(r"([a-z0-9.-]+)==", block):
            found[match[1]] = block
    return found


def test_every_dependency_is_locked_with_its_hashes(dev: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    needed = {
        "run": project["project"]["dependencies"] + groups["build"],
        "dev": groups["dev"],
        "peers": groups["peers"],
    }
    before: set[str] = set()
    for kind, lock in dev.LOCKS.items():
        locked = pins(lock)
        names = {re.split(r"[<>=!~;\[ ]", one)[0].lower().replace("_", "-") for one in needed[kind]}
        assert names <= set(locked), f"{lock} is old: ./dev lock"
        assert before <= set(locked), f"{lock} must hold what the list before it holds"
        assert [name for name, block in locked.items() if "--hash=sha256:" not in block] == []
        before = set(locked)
    assert "ziglang" in pins("requirements-compiler.lock")


def test_lists_agree_on_every_version(dev: ModuleType) -> None:
    first = {name: block.split(" ")[0] for name, block in pins(dev.LOCKS["run"]).items()}
    for kind in ("dev", "peers"):
        later = {name: block.split(" ")[0] for name, block in pins(dev.LOCKS[kind]).items()}
        assert {name: later[name] for name in first} == first


def test_stamp_changes_with_every_source_of_the_compiled_rooms(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "HERE", str(tmp_path))
    (tmp_path / "_fastpath").mkdir()
    seen = set()
    for name in ("_fastpath/a.pyx", "_fastpath/a.pxd", "_fastpath/a.h", "setup.py", "pyproject.toml"):
        seen.add(str(dev.facts("run")))
        (tmp_path / name).write_text("x")
    seen.add(str(dev.facts("run")))
    assert len(seen) == 6


def test_interpreter_that_is_too_old_or_cannot_compile_is_refused_in_a_sentence(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHON", raising=False)
    monkeypatch.setattr(dev, "probe", lambda python: ((3, 10), "cpython", True))
    with pytest.raises(dev.Refusal, match=r"Python 3\.11 or newer"):
        dev.choose_python()
    monkeypatch.setattr(dev, "probe", lambda python: ((3, 12), "cpython", False))
    with pytest.raises(dev.Refusal, match=r"has no Python\.h"):
        dev.choose_python()
