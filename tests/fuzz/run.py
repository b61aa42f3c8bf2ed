"""Fuzz one target: python -m tests.fuzz.run TARGET. `./dev fuzz` runs this for each, under the sanitizers.

With atheris the inputs follow coverage: of Python code by its own tracing, of compiled rooms by tests/fuzz/coverage.c,
which the launcher preloads. Without it they are the seeds, made strange by chance (mutation.py).

    FUZZ_SECONDS   how long; 1 without it
    FUZZ_SEED      chance begins here; a find of the second kind is had again by it
    FUZZ_CORPUS    folder that keeps what reached something new; the committed corpus is read always
    FUZZ_ENGINE    atheris or mutation; atheris where it is installed
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

from tests.fuzz import mutation

CORPUS = Path(__file__).with_name("corpus")
LONGEST_INPUT = 4096
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
    folder.mkdir(parents=True, exist_ok=True)
    for number, octets in enumerate(seeds() + committed(name)):
        (folder / f"seed-{number}").write_bytes(octets)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-max_len={LONGEST_INPUT}", f"-seed={seed % (1 << 31)}"]
    options += ["-print_final_stats=1", "-verbosity=1", "-rss_limit_mb=4096", "-timeout=20"]
    options += [f"-artifact_prefix={folder.parent}/crash-{name}-", str(folder)]
    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


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
    if engine == "atheris":
        try:
            by_coverage(name, seconds, seed, Path(os.environ.get("FUZZ_CORPUS", f"build/fuzz/corpus/{name}")))
            return
        except ModuleNotFoundError as error:
            if error.name != "atheris":
                raise
    began = time.monotonic()
    ran = in_loop(name, seconds, seed) if name in LOOPS else by_mutation(name, seconds, seed)
    print(f"{name}: {ran} executions, {ran / (time.monotonic() - began):.0f}/s, from seed {seed}")


if __name__ == "__main__":
    main(sys.argv[1])
