"""Whole lives in Postgres, several times: enqueue, claim, submit, response, receipt, matched, durable.

    python -m benchmarks.end_to_end [--rounds N] [--messages N] [--binds N] [--window N] [--quick] [--dsn DSN]

Runs `sluice bench life --receipts` in a process of its own each time (its own simulator, and its own embedded Postgres
unless --dsn names one), with nothing pinned: Postgres, worker and simulator share the cores as the kernel has it.
Prints one result: messages/s from the first INSERT of the chunks to the last matched receipt, CPU a message in all and
of each, the worker's memory. A run that is not `complete` counts in `details` and not in a figure.
Each life is followed by one that asks the gate about everybody; the ratio of the two is taken within the round.
Not measured: more than one carrier, a Postgres on another machine or with much in it already.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks import figures, machine
from benchmarks.limit import programs

MESSAGES = 1_000_000
ROUNDS = 5
TIMEOUT_S = 600.0
# key of a life's object -> name, unit, better, floor, aim
WANTED = (
    ("rate", "whole life", "messages/s", figures.HIGHER, 100_000.0, 200_000.0),
    ("cpu_us_per_message", "CPU, all processes", "us/message", figures.LOWER, 15.0, 8.0),
    ("cpu_us_postgres", "CPU, Postgres", "us/message", figures.LOWER, None, None),
    ("cpu_us_worker", "CPU, worker", "us/message", figures.LOWER, None, None),
    ("cpu_us_simulator", "CPU, simulator", "us/message", figures.LOWER, None, None),
    ("rss_mb", "memory of the worker", "MB", figures.LOWER, 150.0, None),
    ("enqueue_seconds", "enqueue, of the whole", "s", figures.LOWER, None, None),
    ("p99_ms", "submit to response, p99", "ms", figures.LOWER, None, None),
    ("receipt_p99_ms", "submit to receipt, p99", "ms", figures.LOWER, None, None),
)
# key -> name of the ratio of a life with the gate on to the one before it, better, floor, aim
GATE_ON = (
    ("rate", "gate on / off, messages/s", figures.HIGHER, 0.7, 0.85),
    ("cpu_us_postgres", "gate on / off, CPU of Postgres", figures.LOWER, None, None),
    ("cpu_us_worker", "gate on / off, CPU of the worker", figures.LOWER, None, None),
)


def run_life(messages: int, binds: int, window: int, dsn: str, is_gated: bool = False) -> dict[str, Any]:
    """One life; -> its object."""
    command = [sys.executable, "-m", "gateway", "bench", "life", "--messages", str(messages), "--receipts", "--json"]
    command += ["--binds", str(binds), "--window", str(window), *(["--dsn", dsn] if dsn else [])]
    command += ["--gate"] if is_gated else []
    return programs.ask(command, None, TIMEOUT_S)


def measure(
    rounds: int, messages: int, binds: int, window: int, dsn: str
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run so many lives, without the gate and with it; -> (figures, details)."""
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    failed: list[str] = []
    for _ in range(rounds):
        try:
            off = run_life(messages, binds, window, dsn)
            pairs.append((off, run_life(messages, binds, window, dsn, is_gated=True)))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"life: {error}", file=sys.stderr)
            failed.append(str(error))
    found = []
    for key, name, unit, better, floor, aim in WANTED:
        values = [off[key] for off, _ in pairs if off["complete"] and off.get(key) is not None]
        if values:
            found.append(figures.figure(name, values, unit, better=better, floor=floor, aim=aim))
    for key, name, better, floor, aim in GATE_ON:
        ratios = [on[key] / off[key] for off, on in pairs if off["complete"] and on["complete"] and off.get(key)]
        if ratios:
            found.append(figures.figure(name, ratios, "", better=better, floor=floor, aim=aim, against="the gate off"))
    details = {"messages": messages, "binds": binds, "window": window, "failed": failed}
    return found, details | {"runs": [off for off, _ in pairs], "gated": [on for _, on in pairs]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Run whole lives in Postgres, several times.")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--binds", type=int, default=1)
    parser.add_argument("--window", type=int, default=1000)
    parser.add_argument("--dsn", default="", help="a Postgres of yours; without it each life starts one")
    parser.add_argument("--quick", action="store_true", help="one life of 100,000")
    options = parser.parse_args()
    load = machine.load()
    messages = options.messages or (100_000 if options.quick else MESSAGES)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    found, details = measure(rounds, messages, options.binds, options.window, options.dsn)
    print(json.dumps(figures.result("life", found, details, quick=options.quick, load=load)))
    if not found:
        sys.exit("no life was complete")


if __name__ == "__main__":
    main()
