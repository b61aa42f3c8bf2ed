"""Every room has a name, a stub if it is compiled, and a test of the same name."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMELESS = {
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "core",
    "base",
    "manager",
    "service",
    "models",
    "types",
    "misc",
}
# Modules without a test module of their own, each with its reason. A line may go; a new one needs a better reason
# than these, and the number below goes up with it in the same commit, where a reader sees it.
WITHOUT_TEST = {
    "gateway/errors.py": "names only; every raise of them is tested where it stands",
    "_fastpath/faults.py": "names only; every raise of them is tested where it stands",
    "_fastpath/tables/generate_alphabets.py": "run by test_alphabet.py, which holds its header against the tables",
    "_fastpath/tables/generate_transliteration.py": "run by test_transliteration.py, which holds its header likewise",
    "_fastpath/tables/generate_graphemes.py": "run by test_segment.py, which holds its header against regex's data",
}
MOST_WITHOUT_TEST = 5


def modules() -> list[Path]:
    """Every module of ours but the __init__ files, which hold no logic."""
    found = [path for package in ("gateway", "_fastpath") for path in (ROOT / package).rglob("*.py")]
    found += (ROOT / "_fastpath").glob("*.pyx")
    return sorted(path.relative_to(ROOT) for path in found if path.name != "__init__.py")


def test_of(module: Path) -> Path:
    """Where its test must be: gateway/smpp/link.py -> tests/smpp/test_link.py, _fastpath/x.pyx -> tests/fastpath/…."""
    room = Path("fastpath") if module.parts[0] == "_fastpath" else Path(*module.parts[1:-1])
    return Path("tests") / room / f"test_{module.stem.strip('_')}.py"


# pytest would take the helper for a test.
test_of.__test__ = False  # type: ignore[attr-defined]


def test_no_room_is_named_for_nothing() -> None:
    named = [path for top in ("gateway", "_fastpath", "benchmarks", "tests") for path in (ROOT / top).rglob("*.py*")]
    assert [str(path.relative_to(ROOT)) for path in named if {path.stem, path.parent.name} & NAMELESS] == []


def test_every_compiled_room_has_a_stub() -> None:
    rooms = sorted((ROOT / "_fastpath").glob("*.pyx"))
    assert [path.name for path in rooms if not path.with_suffix(".pyi").exists()] == []
    stubs = sorted((ROOT / "_fastpath").glob("*.pyi"))
    has_source = {path.stem for path in rooms} | {path.stem for path in (ROOT / "_fastpath").glob("*.py")}
    assert [path.name for path in stubs if path.stem not in has_source] == []


def test_every_module_has_its_test_module() -> None:
    missing = [
        f"{module.as_posix()}: expected {test_of(module).as_posix()}"
        for module in modules()
        if module.as_posix() not in WITHOUT_TEST and not (ROOT / test_of(module)).exists()
    ]
    assert missing == []


def test_list_of_modules_without_a_test_does_not_grow_and_holds_nothing_that_is_gone() -> None:
    assert len(WITHOUT_TEST) <= MOST_WITHOUT_TEST
    assert all(reason for reason in WITHOUT_TEST.values())
    known = {module.as_posix() for module in modules()}
    assert [name for name in WITHOUT_TEST if name not in known or (ROOT / test_of(Path(name))).exists()] == []


def test_every_package_says_what_it_is() -> None:
    packages = [path for top in ("gateway", "_fastpath") for path in (ROOT / top).rglob("__init__.py")]
    assert [str(path) for path in packages if not path.read_text(encoding="utf-8").lstrip().startswith('"""')] == []
