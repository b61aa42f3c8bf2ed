"""./dev simulate --bugs: mistakes that a colleague could make, each made in a copy of the tree, and looked for.

    bugs/NN-name.patch ─► a copy of the tree with the mistake ─► worlds from seed 1 on ─► the invariant that sees it
                                                                                      └─► or nothing, within the limit

A patch is a unified diff behind a head of two lines:

    what: the watermark moves in memory before Postgres has answered
    seen by: A2

A hunk is found by its lines, not by their numbers: code that moves keeps its mistakes alive, code that changes lets the
patch fail. A mistake in a statement is made in the .sql and in its model. One in a .pyx has that room compiled anew,
which counts for nothing. Found means: an invariant of the head is broken in a world that is whole without the mistake.
bugs/found.toml keeps what was found, by which seed and in how many CPU seconds (--keep writes it); what stands there
and is not found any more ends the command with 1.
"""

import argparse
import json
import logging
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from msgspec import Struct

from tests.simulation import world

ROOT = Path(__file__).resolve().parents[2]
BUGS = Path(__file__).parent / "bugs"
FOUND = BUGS / "found.toml"
LIMIT_S = 120.0
# Small worlds: what a mistake needs is a rare pair of faults, not a long queue.
MESSAGES = 1200
# A world may take this much longer than the limit until it is cut off.
LAST_WORLD_S = 60
COPIED = ("gateway", "_fastpath", "tests/simulation", "setup.py", "pyproject.toml")
_one_at_a_time = threading.Lock()
_kind = re.compile(r"seed \d+ at \S+ s: ([^:]+): ")


class Bug(Struct, frozen=True):
    """A mistake: its name, what it is, the invariants that see it, and its diff."""

    name: str
    what: str
    seen_by: tuple[str, ...]
    diff: str

    @property
    def paths(self) -> list[str]:
        """The files it is in."""
        return re.findall(r"^\+\+\+ b/(\S+)", self.diff, re.MULTILINE)


class Hunted(Struct, frozen=True):
    """What a hunt came to: the seed that found it (None: none), by which invariants, how many worlds it took."""

    name: str
    seed: int | None
    kinds: tuple[str, ...]
    worlds: int
    cpu_s: float
    told: str = ""


def read(path: Path) -> Bug:
    """Read a patch; raises ValueError where its head is not as it must be."""
    head, at, diff = path.read_text().partition("--- a/")
    found = re.fullmatch(r"what: (.+)\nseen by: (.+)\n", head)
    if found is None or not at:
        raise ValueError(f"{path.name}: expected a line `what: …`, a line `seen by: …` and a diff, found {head!r}")
    return Bug(path.stem, found[1], tuple(found[2].split(", ")), at + diff)


def bugs(names: Sequence[str] = ()) -> list[Bug]:
    """Read all of them, or those whose file begins with one of these names."""
    found = [read(path) for path in sorted(BUGS.glob("*.patch")) if not names or path.stem.startswith(tuple(names))]
    for name in names:
        if not any(bug.name.startswith(name) for bug in found):
            raise ValueError(f"bugs: expected the beginning of a name in {BUGS}, found {name!r}")
    return found


def changed(bug: Bug, root: Path) -> dict[str, str]:
    """Make the mistake; -> each file as it is with it. raises ValueError where a hunk is not found exactly once."""
    result: dict[str, str] = {}
    path = ""
    for piece in re.split(r"^(?=--- a/|@@ )", bug.diff, flags=re.MULTILINE):
        if piece.startswith("--- a/"):
            path = piece.split("+++ b/", 1)[1].split("\n", 1)[0].strip()
            result[path] = (root / path).read_text()
        elif piece.startswith("@@ "):
            lines = piece.splitlines(keepends=True)[1:]
            old = "".join(line[1:] for line in lines if line[0] in " -")
            new = "".join(line[1:] for line in lines if line[0] in " +")
            if (count := result[path].count(old)) != 1:
                raise ValueError(f"{bug.name}: {path}: expected these lines once, found them {count} times:\n{old}")
            result[path] = result[path].replace(old, new)
    return result


def copy(bug: Bug | None, root: Path, into: Path) -> None:
    """Copy the tree as far as worlds need it, make the mistake, and compile what it is in."""
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, into / name, ignore=shutil.ignore_patterns("*.c", "__pycache__", "test_*"))
        else:
            shutil.copy(root / name, into / name)
    if bug is None:
        return
    for path, text in changed(bug, root).items():
        (into / path).write_text(text)
    if rooms := [Path(path).stem for path in bug.paths if path.endswith(".pyx")]:
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=into, check=True, capture_output=True,
            env=os.environ | {"FASTPATH_ONLY": ",".join(rooms), "FASTPATH_FORCE": "1", "CFLAGS": "-O1"},
        )  # fmt: skip


def hunt(bug: Bug, limit_s: float, messages: int, root: Path = ROOT) -> Hunted:
    """Look for one mistake, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bug-") as place:
        copy(bug, root, Path(place))
        return search(bug.name, bug.seen_by, limit_s, messages, Path(place))


def search(name: str, seen_by: Iterable[str], limit_s: float, messages: int, tree: Path) -> Hunted:
    """Run worlds of a tree until one breaks one of these invariants; raises ValueError where the process breaks."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.simulation.hunt", ",".join(seen_by), str(limit_s), str(messages)],
        cwd=tree, env=os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(tree)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if ended.returncode:
        raise ValueError(f"{name}: the worlds ended with {ended.returncode}: {ended.stderr[-2000:]}")
    found = json.loads(ended.stdout.splitlines()[-1])
    return Hunted(name, found["seed"], tuple(found["kinds"]), found["worlds"], found["cpu_s"], found["told"])


def kinds_of(violations: Iterable[str]) -> list[str]:
    """The invariants that were broken."""
    return sorted({found[1] for found in map(_kind.match, violations) if found})


def seek(seen_by: Sequence[str], limit_s: float, messages: int) -> dict[str, object]:
    """Run worlds of this very tree from seed 1 on until one breaks one of these invariants, or the limit is passed."""
    seed = 0
    while time.process_time() < limit_s:
        seed += 1
        result = world.run_seed(seed, messages=messages)
        kinds = kinds_of(result.violations)
        if any(kind in seen_by for kind in kinds):
            cpu_s = round(time.process_time(), 1)
            return {"seed": seed, "kinds": kinds, "worlds": seed, "cpu_s": cpu_s, "told": result.violations[0]}
        if kinds:
            print(f"seed {seed} broke {', '.join(kinds)}: {result.violations[0]}", file=sys.stderr)
    return {"seed": None, "kinds": [], "worlds": seed, "cpu_s": round(time.process_time(), 1), "told": ""}


def known() -> dict[str, dict[str, object]]:
    """What was found before: name -> its figures."""
    return dict(tomllib.loads(FOUND.read_text())["found"]) if FOUND.exists() else {}


def keep(hunted: Iterable[Hunted]) -> None:
    """Write down what was found, beside what was found before."""
    where = f"{platform.machine()}, {os.cpu_count()} cores"
    lines = ["# Written by ./dev simulate --bugs --keep: the seed that found it, and what that took.\n"]
    figures = known()
    for one in hunted:
        if one.seed is not None:
            figures[one.name] = {
                "by": ", ".join(one.kinds),
                "seed": one.seed,
                "cpu_s": one.cpu_s,
                "machine": where,
                "date": f"{date.today()}",
            }
    for name, row in sorted(figures.items()):
        lines.append(f"\n[found.{name}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in row.items()))
    FOUND.write_text("".join(lines))


def _judged(one: Hunted, messages: int) -> Hunted:
    """Tell of a hunt as it ends; raises ValueError where the world that it found is broken without the mistake, too."""
    with _one_at_a_time:
        whole = world.run_seed(one.seed, messages=messages) if one.seed is not None else None
    if whole is not None and whole.violations:
        raise ValueError(f"{one.name}: seed {one.seed} is broken without the mistake, too: {whole.violations[0]}")
    word = f"found by {', '.join(one.kinds)}, seed {one.seed}" if one.seed is not None else "NOT FOUND"
    print(f"{one.name:<44} {word:<28} {one.worlds:>4} worlds {one.cpu_s:>6.1f} CPU s", flush=True)
    return one


def sweep(names: Sequence[str], limit_s: float, messages: int, jobs: int, keeps: bool) -> int:
    """Look for all of them, or for some; -> the exit code."""
    before = known()
    with ThreadPoolExecutor(jobs) as pool:
        hunts = list(pool.map(lambda bug: _judged(hunt(bug, limit_s, messages), messages), bugs(names)))
    found = [one for one in hunts if one.seed is not None]
    if found:
        median = statistics.median([one.cpu_s if one.seed is not None else limit_s for one in hunts])
        print(f"{len(found)} of {len(hunts)} found, median {median:.1f} CPU s")
    if keeps:
        keep(found)
    lost = [one.name for one in hunts if one.seed is None and one.name in before]
    if lost:
        print(f"found before and not now: {', '.join(lost)}")
    return 1 if lost else 0


def main(arguments: Sequence[str]) -> int:
    """Be the process of one hunt: say what was found as the last line, in JSON."""
    parser = argparse.ArgumentParser(description="the process of one hunt")
    parser.add_argument("seen_by")
    parser.add_argument("limit_s", type=float)
    parser.add_argument("messages", type=int)
    chosen = parser.parse_args(arguments)
    logging.disable(logging.CRITICAL)
    most = int(chosen.limit_s) + LAST_WORLD_S
    resource.setrlimit(resource.RLIMIT_CPU, (most, most))
    print(json.dumps(seek(chosen.seen_by.split(","), chosen.limit_s, chosen.messages)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
