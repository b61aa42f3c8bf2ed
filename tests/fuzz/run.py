"""Fuzz one target: python -m tests.fuzz.run TARGET. `./dev fuzz` runs this for each, under the sanitizers.

With atheris the inputs follow coverage: of Python code by its own tracing, of compiled rooms by tests/fuzz/coverage.c,
which the launcher preloads. Without it they are the seeds, made strange by chance (mutation.py).

    FUZZ_SECONDS   how long; 1 without it
    FUZZ_SEED      chance begins here; a find of the second kind is had again by it
    FUZZ_CORPUS    folder that keeps what reached something new; the committed corpus is read always
    FUZZ_ENGINE    atheris or mutation; atheris where it is installed
    FUZZ_KEEP      1: look for nothing, and write into the committed corpus what of the folder reaches something else
"""

import contextlib
import ctypes
import importlib
import importlib.util
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz import mutation

CORPUS = Path(__file__).with_name("corpus")
LONGEST_INPUT = 4096
LONGEST_KEPT = 1024
LOOPS = {
    "loop_stream": lambda: mutation.pdus() + committed("inbound"),
    "loop_receipt": lambda: mutation.receipts() + committed("receipts"),
    "loop_text": lambda: [text.encode() for text in ("Hi €[]~ ", "æøåÄÖ" * 40, "中文\U0001f468", "a" * 170)],
}


def committed(name: str) -> list[bytes]:
    """The inputs kept for a target, each a line of hexadecimal digits."""
    path = CORPUS / f"{name}.hex"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def by_mutation(name: str, seconds: float, seed: int) -> int:
    """Run strange inputs until the time is over; -> how many."""
    from tests.fuzz.targets import TARGETS

    run, seeds = TARGETS[name]
    good = seeds() + committed(name)
    ends, number = time.monotonic() + seconds, 0
    # The clock is looked at now and then: an input takes less time than that.
    while number % 64 or time.monotonic() < ends:
        octets = mutation.mutated(chance := random.Random(seed + number), chance.choice(good), good)
        try:
            run(octets)
        except BaseException:
            print(f"{name}: broken by FUZZ_SEED={seed + number}, octets {octets.hex()}", flush=True)
            raise
        number += 1
    return number


def by_coverage(name: str, seconds: float, seed: int, folder: Path) -> None:
    """Let atheris look for inputs that reach something new; it ends the process."""
    import atheris

    with atheris.instrument_imports(include=["gateway.smpp", "gateway.contacts", "gateway.config"]):
        from tests.fuzz.targets import TARGETS
    with contextlib.suppress(AttributeError):  # no coverage.c is preloaded: only Python code guides
        begin = ctypes.CDLL(None).sluice_coverage_begin
        core = ctypes.CDLL(importlib.import_module("atheris.core_with_libfuzzer").__file__)
        if not begin(ctypes.c_void_p(core._handle)):
            print("coverage.c: libFuzzer lacks what is needed: only Python code guides", flush=True)
    run, seeds = TARGETS[name]
    for octets in seeds():  # tables that are loaded once take longer than any input may
        run(octets)
    folder.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(seeds() + committed(name)):
        (folder / f"seed-{number}").write_bytes(octets)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={LONGEST_INPUT}", f"-seed={seed % (1 << 31)}"]
    options += ["-print_final_stats=1", "-verbosity=1", "-rss_limit_mb=4096", "-timeout=20"]
    options += [f"-artifact_prefix={folder.parent}/crash-{name}-", str(folder)]
    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


def keep(name: str, folder: Path) -> int:
    """Choose the shortest inputs that together reach all that the folder's reach, line by line and branch by branch.

    ->  how many; each is a line of the committed corpus. Without coverage.c only lines of Python code count.
    """
    from tests.fuzz.targets import TARGETS

    run, seeds = TARGETS[name]
    counters = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        counters.sluice_coverage_of_input.restype = ctypes.c_size_t
    places = (ctypes.c_uint32 * (1 << 16))()
    lines: set[tuple[str, int]] = set()

    def trace(frame: Any, event: str, _: object) -> Any:
        if "/gateway/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines.add((frame.f_code.co_filename, frame.f_lineno))
        return trace

    def reached(octets: bytes) -> set[Any]:
        lines.clear()
        hit = 0
        if hasattr(counters, "sluice_coverage_of_input"):
            counters.sluice_coverage_of_input(None)
        sys.settrace(trace)
        try:
            run(octets)
        finally:
            sys.settrace(None)
        if hasattr(counters, "sluice_coverage_of_input"):
            hit = counters.sluice_coverage_of_input(places)
        return lines | set(places[:hit])

    for octets in seeds() * 2:  # what happens once in a process belongs to no input
        reached(octets)
    seen: set[Any] = set().union(*map(reached, seeds()))
    found = [path.read_bytes() for path in folder.iterdir()] if folder.is_dir() else []
    kept = []
    for octets in sorted(set(found + committed(name)), key=lambda octets: (len(octets), octets)):
        if not octets or len(octets) > LONGEST_KEPT:
            continue
        if new := reached(octets) - seen:
            seen |= new
            kept.append(octets)
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{name}.hex").write_text("".join(octets.hex() + "\n" for octets in kept))
    return len(kept)


def names() -> list[str]:
    """Every target; those of loop.pyx where it is compiled."""
    from tests.fuzz.targets import TARGETS

    return [*TARGETS, *(LOOPS if importlib.util.find_spec("fuzzloop") else {})]


def in_loop(name: str, seconds: float, seed: int) -> int:
    """Run strange inputs without Python between them; -> how many."""
    import fuzzloop

    good = LOOPS[name]()
    ends, number = time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        number += fuzzloop.run(name.removeprefix("loop_"), good, 500_000, seed + number)
    return number


def main(name: str) -> None:
    """Fuzz and say how often."""
    # A find must not fill the disk with texts.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seconds = float(os.environ.get("FUZZ_SECONDS", "1"))
    seed = int(os.environ.get("FUZZ_SEED", str(time.time_ns() % 1_000_000_000)))
    engine = os.environ.get("FUZZ_ENGINE", "atheris") if name not in LOOPS else ""
    folder = Path(os.environ.get("FUZZ_CORPUS", f"build/fuzz/corpus/{name}"))
    if os.environ.get("FUZZ_KEEP") == "1":
        if name not in LOOPS:
            print(f"{name}: {keep(name, folder)} inputs kept")
        return
    if engine == "atheris":
        try:
            by_coverage(name, seconds, seed, folder)
            return
        except ModuleNotFoundError as error:
            if error.name != "atheris":
                raise
    began = time.monotonic()
    ran = in_loop(name, seconds, seed) if name in LOOPS else by_mutation(name, seconds, seed)
    print(f"{name}: {ran} executions, {ran / (time.monotonic() - began):.0f}/s, from seed {seed}")


if __name__ == "__main__":
    main(sys.argv[1])
