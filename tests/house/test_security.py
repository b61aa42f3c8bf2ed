"""What the source may not hold, how extensions are built, which packages are let in; docs/security.md is true.

Numbers are the items of docs/security.md.
"""

import ast
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "yaml", "telnetlib"}
FORBIDDEN_CALLS = {"eval", "exec", "tempfile.mktemp", "os.system", "os.popen", "yaml.load", "pickle.loads"}
TABLE = ROOT / "docs/security.md"


def modules() -> list[Path]:
    return sorted((ROOT / "gateway").rglob("*.py"))


def wrong_in(tree: ast.AST) -> list[str]:
    """What item 58 forbids, with its line."""
    found = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        found += [f"{node.lineno}: import {name}" for name in names if name in FORBIDDEN_MODULES]
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in FORBIDDEN_CALLS:
                found.append(f"{node.lineno}: {ast.unparse(node.func)}")
            if any(word.arg == "shell" and ast.unparse(word.value) != "False" for word in node.keywords):
                found.append(f"{node.lineno}: shell=")
            if any(word.arg == "verify" and ast.unparse(word.value) == "False" for word in node.keywords):
                found.append(f"{node.lineno}: verify=False")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_item_58_no_module_unpickles_evaluates_or_calls_a_shell(path):
    assert wrong_in(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from marshal import loads",
        "eval('1')",
        "subprocess.run('ls', shell=True)",
        "tempfile.mktemp()",
    ],
)
def test_item_58_the_lint_sees_what_it_forbids(line):
    assert wrong_in(ast.parse(line))


@pytest.mark.parametrize("name", ["smpp/outbind.py", "smpp/session.py", "smpp/link.py", "smpp/tls.py", "config.py"])
def test_item_58_no_assert_guards_what_strangers_send(name):
    tree = ast.parse((ROOT / "gateway" / name).read_text(encoding="utf-8"))
    assert [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)] == []


# -- how the extensions are built -------------------------------------------------------------------------------------


def program_headers(path: Path) -> dict[int, int]:
    """ELF: type of each program header -> its flags."""
    octets = path.read_bytes()
    start, size, count = (
        struct.unpack_from("<Q", octets, 32)[0],
        *struct.unpack_from("<HH", octets, 54),
    )
    return {
        struct.unpack_from("<I", octets, start + size * n)[0]: struct.unpack_from("<I", octets, start + size * n + 4)[0]
        for n in range(count)
    }


def extensions() -> list[Path]:
    return sorted((ROOT / "_fastpath").glob("*.so"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ELF is what Linux has")
def test_item_55_extensions_have_no_stack_to_execute_and_tables_that_are_read_only():
    stack, read_only, executable = 0x6474E551, 0x6474E552, 1
    for path in extensions():
        headers = program_headers(path)
        assert headers.get(stack, executable) & executable == 0, f"{path.name}: an executable stack"
        assert read_only in headers, f"{path.name}: no relro"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ELF is what Linux has")
@pytest.mark.parametrize("room", ["exchange", "inbound", "outbound", "template", "segment"])
def test_item_55_rooms_that_read_strangers_and_write_to_them_guard_their_stack(room):
    (path,) = (ROOT / "_fastpath").glob(f"{room}.*.so")
    assert b"__stack_chk_fail" in path.read_bytes()


@pytest.mark.skipif(shutil.which("readelf") is None, reason="readelf (binutils) is needed")
def test_item_55_extensions_are_bound_at_once():
    for path in extensions():
        dynamic = subprocess.run(["readelf", "-dW", path], capture_output=True, text=True, check=True).stdout
        assert re.search(r"FLAGS.*NOW", dynamic), f"{path.name}: not linked with -z now"


# -- packages ---------------------------------------------------------------------------------------------------------


def locked(name: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / name).read_text(), flags=re.M))


def test_item_56_every_package_that_runs_is_reviewed_with_licence_and_reason():
    rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in (ROOT / "docs/dependencies.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    assert [row for row in rows if len(row) != 3 or not all(row)] == []
    assert {row[0].strip("`") for row in rows} == locked("requirements.lock")


def test_item_56_bill_of_materials_lists_what_is_locked_with_hash_and_licence():
    done = subprocess.run([sys.executable, ROOT / "dev", "sbom"], capture_output=True, text=True, check=True)
    bill = json.loads(done.stdout)
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bill["serialNumber"])
    components = bill["components"]
    assert {component["name"] for component in components} == locked("requirements.lock")
    for component in components:
        assert component["type"] == "library" and component["scope"] == "required"
        assert component["purl"] == component["bom-ref"] == f"pkg:pypi/{component['name']}@{component['version']}"
        assert component["hashes"] and component["licenses"][0]["license"]["name"]
        assert all(
            each["alg"] == "SHA-256" and re.fullmatch("[0-9a-f]{64}", each["content"]) for each in component["hashes"]
        )
    (own,) = bill["dependencies"]
    assert own["ref"] == bill["metadata"]["component"]["bom-ref"]
    assert sorted(own["dependsOn"]) == sorted(component["purl"] for component in components)
    again = subprocess.run([sys.executable, ROOT / "dev", "sbom"], capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout


# -- the table --------------------------------------------------------------------------------------------------------


def items() -> dict[int, list[str]]:
    lines = [[cell.strip() for cell in line.strip("| \n").split("|")] for line in TABLE.read_text().splitlines()]
    return {int(cells[0]): cells for cells in lines if cells[0].isdigit()}


def test_table_has_all_sixty_items_and_each_says_how_it_stands():
    assert list(items()) == list(range(1, 61))
    words = ("done", "partly", "not yet", "not applicable")
    assert [n for n, cells in items().items() if len(cells) != 4 or not cells[2].startswith(words)] == []
    assert [
        n for n, cells in items().items() if cells[2].startswith(("done", "partly")) and "`test" not in cells[3]
    ] == []


def test_table_names_tests_that_exist():
    missing = []
    for path, name in re.findall(r"`(tests/[\w/]+\.py)(?:: ?(\w+))?`", TABLE.read_text()):
        file = ROOT / path
        if not file.exists() or (name and f"def {name}" not in file.read_text(encoding="utf-8")):
            missing.append(f"{path}: {name}")
    assert missing == []
