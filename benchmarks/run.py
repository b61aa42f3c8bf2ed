"""`./dev bench`: run benchmarks, show each figure beside what it should be, compare with the stored ones, store.

    ./dev bench [limit | encode | peers | life | gate | import | ingest | links | render | carriers | micro | all …]
                [--quick] [--no-write] [--results DIR]
    ./dev bench audience [--people N] [--rounds N] [--data FOLDER]
    ./dev bench replay [--customers N] [--days N] [--seed N] [--lift [--runs N]]
    ./dev bench steps|trigger [--people N] [--seconds S] [--data FOLDER]

    limit   the client pool beside the C client            against_limit.py
    encode  text to submit_sm beside three libraries       against_codecs.py
    peers   everybody's client, and Kannel                 peers.py
    life    whole lives in Postgres                        end_to_end.py
    gate    the gate at the claim, by itself               gate.py
    import  a customer's file into Postgres                importing.py
    ingest  events of persons into Postgres                bench_ingest.py
    links   short links made and answered                  bench_links.py
    render  texts of people before they are sent           bench_render.py
    carriers  hidden limits, dying binds, late answers     carriers.py
    micro   the compiled rooms one by one                  the other bench_*.py
    audience  five million people counted and frozen       bench_audience.py; by itself, stores nothing
    steps   a million people under way in campaigns        bench_steps.py; by itself, stores nothing
    trigger  events that are texts                         the same
    replay  a shop whose truth is known, and its reports   replay/; likewise, and fails where a report is wrong

A quick run takes few rounds of few messages and is shown, never stored. The exit code says whether everything could be
measured, not whether it was fast: no figure fails a run.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:
    # Started by its path: what is beside this file is imported as benchmarks.x, by that name alone.
    sys.path[0] = str(ROOT)

from benchmarks import compare, figures  # noqa: E402

MODULES = {
    "limit": "against_limit",
    "encode": "against_codecs",
    "peers": "peers",
    "life": "end_to_end",
    "gate": "gate",
    "import": "importing",
    "ingest": "bench_ingest",
    "links": "bench_links",
    "render": "bench_render",
    "carriers": "carriers",
    "micro": "micro",
}


def run(name: str, quick: bool) -> dict[str, Any] | None:
    """Run one benchmark in a process of its own; -> its result, or None when it could not be measured."""
    command = [sys.executable, "-m", f"benchmarks.{MODULES[name]}", *(["--quick"] if quick else [])]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=dict(os.environ, PYTHONPATH=str(ROOT))
    )
    last = done.stdout.strip().splitlines()[-1:]
    if done.returncode or not last or not last[0].startswith("{"):
        print(f"{name}: not measured (exit {done.returncode})", file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(last[0])
    return result


def show(result: dict[str, Any], folder: Path) -> None:
    """Print a result: its machine, its table, its comparison with the stored one."""
    where, load = result["machine"], result["load"]
    print(
        f"== {result['bench']}: {where['cpu']}, {where['cores']} cores; "
        f"load {load['before']} before, {load['after']} after"
    )
    print(figures.table(result["figures"]))
    for name, reason in result["details"].get("skipped", {}).items():
        print(f"skipped {name}: {reason}")
    stored = folder / f"{result['bench']}.json"
    if stored.exists():
        print("\n".join(compare.lines(compare.read(stored), result)))
    print(flush=True)


def main() -> int:
    if sys.argv[1:2] == ["audience"]:
        # Fills a database of 15 GB first: only when it is asked for, with arguments of its own.
        return subprocess.call([sys.executable, "-m", "benchmarks.bench_audience", *sys.argv[2:]], cwd=ROOT)
    if sys.argv[1:2] in (["steps"], ["trigger"]):
        more = ["--trigger"] if sys.argv[1] == "trigger" else []
        return subprocess.call([sys.executable, "-m", "benchmarks.bench_steps", *more, *sys.argv[2:]], cwd=ROOT)
    if sys.argv[1:2] == ["replay"]:
        return subprocess.call([sys.executable, "-m", "benchmarks.replay", *sys.argv[2:]], cwd=ROOT)
    parser = argparse.ArgumentParser(prog="./dev bench", description="Run benchmarks beside what they should reach.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(MODULES)}, all (the default)")
    parser.add_argument("--quick", action="store_true", help="few rounds of few messages; stores nothing")
    parser.add_argument("--no-write", action="store_true", help="store nothing")
    parser.add_argument("--results", type=Path, default=figures.RESULTS, help="where results are kept")
    options = parser.parse_args()
    # N=encode is how other verbs of ./dev are given a value.
    names = [name.removeprefix("N=") for name in options.names] or ["all"]
    unknown = [name for name in names if name not in MODULES and name != "all"]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(MODULES)}, all")
    missed = 0
    for name in MODULES if "all" in names else dict.fromkeys(names):
        result = run(name, options.quick)
        if result is None:
            missed += 1
            continue
        show(result, options.results)
        if not options.quick and not options.no_write:
            figures.write(options.results, result)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
