"""Everybody through the same sink in one run: our client pool, smpplib, smpp34, aiosmpplib, and Kannel.

    python -m benchmarks.peers [--rounds N] [--quick] [--only NAME …]

One bind, window 100, the same 100 characters, without and with receipts; in turn, the client on the first core, the
sink on the last. Prints one result: submits/s and CPU in microseconds a message of each, and how many times as fast
ours is in the same round. A peer that is not installed, or fails, is named in `details`, and stops nothing.

Libraries run as shipped (peer_clients.py says what that means); Kannel is a whole gateway, and its figure is how fast
it drains what it accepted (kannel.py). Ours writes outcome rows besides; none of the others records anything.
Each gets as many messages as it sends in about a second: aiosmpplib's correlator searches all that it remembers, and
the rate it reaches falls with every message it has sent, so its figure holds for the number given, and no more.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
from functools import partial
from typing import Any

from benchmarks import figures, kannel, machine
from benchmarks.limit import programs

WINDOW = 100
ROUNDS = 3
TIMEOUT_S = 60.0
# Messages a round without and with receipts.
MESSAGES = {
    "ours": (1_000_000, 700_000),
    "smpplib": (20_000, 4_000),
    "smpp34": (40_000, 8_000),
    "aiosmpplib": (3_000, 3_000),
    "kannel": (20_000, 5_000),
}
LIBRARIES = ("smpplib", "smpp34", "aiosmpplib")


def run_library(name: str, port: int, messages: int, receipts: bool) -> dict[str, Any]:
    """One run of one library in a process of its own; -> its object."""
    command = [sys.executable, "-m", "benchmarks.peer_clients", name, "--port", str(port), "--messages", str(messages)]
    command += ["--window", str(WINDOW), *(["--receipts"] if receipts else [])]
    return programs.ask(command, machine.client_core(), TIMEOUT_S)


def run_ours(port: int, messages: int, receipts: bool) -> dict[str, Any]:
    """One run of the client pool."""
    return programs.run_pool(port, messages, WINDOW, receipts=receipts, core=machine.client_core())


def missing(names: list[str]) -> dict[str, str]:
    """Which of these cannot run here, each with what to do about it."""
    found = {
        name: f"{name} is not installed (./dev setup peers)"
        for name in LIBRARIES
        if name in names and importlib.util.find_spec(name) is None
    }
    if "kannel" in names and kannel.executables() is None:
        found["kannel"] = "bearerbox and smsbox are not installed (Debian: apt-get install kannel)"
    return found


def attempt(name: str, port: int, receipts: bool, scale: float, failed: dict[str, str]) -> dict[str, Any] | None:
    """One run of one of them; a failure is entered in `failed`, and None returned."""
    n = max(WINDOW, int(MESSAGES[name][receipts] * scale))
    try:
        if name == "ours":
            return run_ours(port, n, receipts)
        if name == "kannel":
            return kannel.measure(n, WINDOW, receipts)
        return run_library(name, port, n, receipts)
    except (RuntimeError, OSError, TimeoutError, subprocess.TimeoutExpired) as error:
        what = f"{name}{' with receipts' if receipts else ''}"
        print(f"{what}: {error}", file=sys.stderr)
        failed[what] = str(error)
        return None


def measure(rounds: int, scale: float, names: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Run everybody; -> (figures, details)."""
    found: list[dict[str, Any]] = []
    skipped = missing(names)
    for reason in skipped.values():
        print(f"skipped: {reason}", file=sys.stderr)
    details: dict[str, Any] = {"window": WINDOW, "skipped": skipped, "failed": {}}
    running = [name for name in names if name not in skipped]
    for receipts in (False, True):
        suffix = " with receipts" if receipts else ""
        with programs.sink(receipts=True, core=machine.sink_core()) as sink:
            taken = figures.interleaved(
                rounds,
                [(name, partial(attempt, name, sink.port, receipts, scale, details["failed"])) for name in running],
            )
        details[f"rounds{suffix}"] = taken
        for name in running:
            done = [one for one in taken[name] if one]
            if not done:
                continue
            found.append(figures.figure(f"{name}{suffix}", [one["rate"] for one in done], "submits/s"))
            found.append(
                figures.figure(
                    f"{name} CPU{suffix}",
                    [one["cpu_us_per_message"] for one in done],
                    "us/message",
                    better=figures.LOWER,
                )
            )
            if name != "ours" and "ours" in running:
                times = [
                    mine["rate"] / theirs["rate"]
                    for mine, theirs in zip(taken["ours"], taken[name], strict=True)
                    if mine and theirs
                ]
                if times:
                    found.append(
                        figures.figure(
                            f"ours, times {name}{suffix}", times, "ratio", against=f"{name} in the same round"
                        )
                    )
    return found, details


def main() -> None:
    parser = argparse.ArgumentParser(description="Send through everybody's client, ours included.")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--quick", action="store_true", help="one round, a quarter of the messages")
    parser.add_argument("--scale", type=float, help="share of the usual number of messages")
    parser.add_argument("--only", nargs="+", choices=tuple(MESSAGES), default=list(MESSAGES))
    options = parser.parse_args()
    load = machine.load()
    scale = options.scale or (0.25 if options.quick else 1.0)
    found, details = measure(options.rounds or (1 if options.quick else ROUNDS), scale, options.only)
    print(json.dumps(figures.result("peers", found, details, quick=options.quick, load=load)))


if __name__ == "__main__":
    main()
