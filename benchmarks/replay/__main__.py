"""Whether reports say what is true: a shop whose behaviour is known, played through the product in virtual time.

    ./dev bench replay [--customers 100000] [--days 400] [--seed 1]
    ./dev bench replay --lift [--customers 2000] [--runs 200] [--seed 1]

Exits 1 where a figure of a report is another than the true one, and where the true lift lies in the reported interval
in less than 93 % of the runs. Postgres is its own, in a temporary folder.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.replay import engine, lift
from benchmarks.replay.world import World
from gateway import app
from gateway.store import postgres
from gateway.store.embedded import Embedded
from gateway.store.migrate import migrate

SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "jit": "off",
}


# Of the runs, whose true lift has to lie in the interval.
LEAST_COVERED = 0.93


@contextlib.contextmanager
def database() -> Iterator[str]:
    """Give a database of our own that has its schema."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        # The server's user passes through.
        os.chmod(folder, 0o711)
        with Embedded(folder, SETTINGS) as server:
            asyncio.run(migrate(server.dsn))
            yield server.dsn


def say(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)


def lifts(customers: int, times: int, seed: int) -> int:
    """Run experiments and say how often the interval holds the truth; -> the exit code."""
    begun = time.perf_counter()
    with database() as dsn:
        found = app.run(lift.measure(dsn, customers, times, seed, say))
    bad = 0
    for name, covered, widths, truths in (
        ("conversions", [one.is_covered for one in found], [one.high - one.low for one in found],
         [one.true for one in found]),
        ("revenue", [one.is_revenue_covered for one in found],
         [(one.high_revenue - one.low_revenue) / 100 for one in found], [one.true_revenue / 100 for one in found]),
    ):  # fmt: skip
        share = sum(covered) / len(covered)
        bad += share < LEAST_COVERED
        print(
            f"lift of {name}: true in {sum(covered)} of {len(covered)} intervals ({share:.1%}, at least "
            f"{LEAST_COVERED:.0%}); true {statistics.mean(truths):.1f}, interval {statistics.mean(widths):.1f} wide, "
            "on the average"
        )
    print(f"{customers:,} customers, {times} runs, seed {seed}: {time.perf_counter() - begun:.0f} s")
    return 1 if bad else 0


def replay(customers: int, days: int, seed: int) -> int:
    """Play a shop and print every figure beside the truth; -> the exit code."""
    begun = time.perf_counter()
    world = World(customers, days, seed)
    with database() as dsn:
        played = app.run(engine.play(dsn, world, seed, say))
    width = max(len(one.name) for one in played.figures)
    for one in played.figures:
        print(f"{'   ' if one.is_equal else '!! '}{one.name:<{width}}  {_said(one.true):>24}  {_said(one.told):>24}")
    print(
        f"{customers:,} customers, {days} days, seed {seed}: {len(played.figures)} figures, {len(played.wrong)} wrong; "
        + ", ".join(f"{count:,} {what}" for what, count in played.counts.items())
        + f"; {time.perf_counter() - begun:.0f} s ("
        + ", ".join(f"{what} {seconds:.0f}" for what, seconds in sorted(played.took.items(), key=lambda one: -one[1]))
        + ")"
    )
    return 1 if played.wrong else 0


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return " / ".join(_said(one) for one in value)
    return f"{value:.6g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    """Read what is asked, and do it."""
    parser = argparse.ArgumentParser(prog="./dev bench replay", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--customers", type=int, default=0, help="100000; with --lift 2000")
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lift", action="store_true", help="how often the reported interval holds the true lift")
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    # Nothing of it is to outlive the run.
    os.environ[postgres.ALLOW_FSYNC_OFF] = "1"
    if given.lift:
        return lifts(given.customers or 2000, given.runs, given.seed)
    return replay(given.customers or 100_000, given.days, given.seed)


if __name__ == "__main__":
    sys.exit(main())
