"""The project needs nothing outside itself: no path of one machine, no folder beside the clone, no registry's host."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
# In pieces, so that this file does not find itself.
ELSEWHERE = re.compile(
    "|".join(
        [
            r"\.\./" + "shared",
            r"(?<![\w.~/-])/" + r"(?:work|root)/",
            r"(?<![\w.~/-])/" + r"(?:home|Users)/(?!\w*\$|\{|<|NAME|USER)\w+",
            r"/tmp/" + "bash_",
            "py" + r"pi\.org",
            "python" + r"hosted\.org",
            "npm" + r"js\.org",
        ]
    )
)


def tracked() -> list[Path]:
    """What git has, or every file where there is no git: a tarball, or a clone that belongs to somebody else."""
    asked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if asked.returncode == 0 and asked.stdout:
        return [ROOT / name for name in asked.stdout.decode().split("\0") if name]
    hidden = {".git", ".venv", ".sluice", "build", "__pycache__"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not hidden & set(path.relative_to(ROOT).parts)]


def test_no_file_names_a_place_outside_the_project() -> None:
    found = []
    for path in tracked():
        if not path.is_file():  # removed, and not yet committed so
            continue
        octets = path.read_bytes()
        if b"\0" in octets[:8192]:
            continue
        for number, line in enumerate(octets.decode("utf-8", "replace").splitlines(), 1):
            if ELSEWHERE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    assert found == []


def test_no_link_leads_out_of_the_project() -> None:
    links = [path for path in tracked() if path.is_symlink()]
    assert [str(path) for path in links if not path.resolve().is_relative_to(ROOT)] == []
