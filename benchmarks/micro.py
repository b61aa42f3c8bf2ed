"""The bench_*.py of the compiled rooms under pytest-benchmark, as a result.

    python -m benchmarks.micro [--quick] [-k EXPRESSION]

Each figure is the median of pytest-benchmark's rounds in nanoseconds a message (or a call, where a call is one thing);
min and max are the quartiles: the slowest of a hundred thousand rounds says when the kernel looked in, no more.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import figures, machine

FILES = ("bench_encode.py", "bench_segment.py", "bench_inbound.py", "bench_window.py", "bench_queue.py")


def run_pytest(quick: bool, chosen: str) -> dict[str, Any]:
    """Run them; -> pytest-benchmark's own object. SystemExit with what it said when one of them fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "micro.json"
        command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += [f"--benchmark-json={path}", *(["-k", chosen] if chosen else [])]
        if quick:
            command += ["--benchmark-max-time=0.05", "--benchmark-min-rounds=1", "--benchmark-warmup=off"]
        command += [str(Path("benchmarks") / name) for name in FILES]
        # Inside a test run, that run's own words would reach this one, and turn the clock off under pytest-xdist.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, env=environment)
        if done.returncode or not path.exists():
            raise SystemExit(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def figure_of(one: dict[str, Any]) -> dict[str, Any]:
    """The figure of one of pytest-benchmark's."""
    stats = one["stats"]
    ns = 1e9 / one["extra_info"].get("messages", 1)
    unit = "ns/message" if "messages" in one["extra_info"] else "ns/call"
    name = f"{Path(one['fullname'].split('::')[0]).stem}: {one['name'].removeprefix('test_').replace('_', ' ')}"
    made = figures.figure(name, [stats["q1"] * ns, stats["median"] * ns, stats["q3"] * ns], unit, better=figures.LOWER)
    made["rounds"] = stats["rounds"]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description="Run the micro-benchmarks of the compiled rooms.")
    parser.add_argument("--quick", action="store_true", help="as short as pytest-benchmark can")
    parser.add_argument("-k", dest="chosen", default="", help="as pytest's -k")
    options = parser.parse_args()
    load = machine.load()
    measured = run_pytest(options.quick, options.chosen)
    found = [figure_of(one) for one in measured["benchmarks"]]
    details = {"pytest_benchmark": measured["version"]}
    print(json.dumps(figures.result("micro", found, details, quick=options.quick, load=load)))


if __name__ == "__main__":
    main()
