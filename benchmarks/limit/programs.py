"""The two C programs of this folder: built when they are older than their source, started, asked, stopped.

    sink     the SMSC every client is measured against       client    the ESME the client pool is held against

Built by CC, or the first of cc, gcc and clang, into bin/ beside this file (git-ignored), with -O3 and no more.
Not here: what is measured with them (against_limit.py, peers.py).
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import pinned

HERE = Path(__file__).parent
BIN = HERE / "bin"
NAMES = ("sink", "client")
# Room for a machine that is busy; an answer that takes longer is a fault.
STOP_TIMEOUT_S = 10


class NoCompiler(RuntimeError):
    """No C compiler: nothing that needs the sink can be measured."""


def compiler() -> list[str]:
    """The words that begin a compiler's command line; NoCompiler where there is none."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    # What ./dev falls back on for the compiled rooms.
    if (zig := HERE.parents[1] / "build" / "zig-cc").exists():
        return [str(zig)]
    raise NoCompiler("no C compiler: CC is not set, and there is no cc, gcc or clang on PATH")


def build() -> None:
    """Compile what is missing or older than its sources. NoCompiler; CalledProcessError when the compiler refuses."""
    BIN.mkdir(exist_ok=True)
    newest_header = (HERE / "wire.h").stat().st_mtime
    for name in NAMES:
        program, source = BIN / name, HERE / f"{name}.c"
        if program.exists() and program.stat().st_mtime >= max(source.stat().st_mtime, newest_header):
            continue
        # Beside it first: another run may be using the old one, or building the same.
        with tempfile.TemporaryDirectory(dir=BIN) as folder:
            made = Path(folder) / name
            subprocess.run([*compiler(), "-O3", "-o", str(made), str(source)], check=True)
            made.replace(program)


# As the pool has it (gateway/smpp/link.py): a limit that does not overlap with the SMSC's work is none.
SLICE_OCTETS = 6 << 10


class Sink:
    """A running sink: its port, and once stopped what it counted."""

    def __init__(self, port: int):
        self.port = port
        self.counted: dict[str, Any] = {}


@contextlib.contextmanager
def sink(receipts: bool = False, core: int | None = None, port: int = 0) -> Iterator[Sink]:
    """Run a sink, on a free port if none is named; pinned to a core, if one is named.

    receipts    send one to every message that asks for it
    """
    build()
    process = subprocess.Popen(
        [str(BIN / "sink"), "-p", str(port), *(["-r"] if receipts else [])],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=pinned(core),
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the sink ended with {process.wait(STOP_TIMEOUT_S)} before it listened")
        running = Sink(json.loads(line)["port"])
        yield running
        process.terminate()
        running.counted = json.loads(process.communicate(timeout=STOP_TIMEOUT_S)[0])
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def ask(command: list[str], core: int | None = None, timeout_s: float = 300.0) -> dict[str, Any]:
    """Run a command whose last line of output is one JSON object; -> it.

    raises  RuntimeError with the end of what it said when it fails or says no such thing
    """
    root = HERE.parents[1]
    environment = dict(os.environ, PYTHONPATH=str(root))
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, preexec_fn=pinned(core), cwd=root, env=environment
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        said = (done.stderr + done.stdout).strip()[-600:]
        # Results are kept: where this clone stands on this machine is nobody's business.
        what = f"{shlex.join(command[:5])} … ended with {done.returncode}: {said}".replace(str(root), ".")
        raise RuntimeError(what)
    answer: dict[str, Any] = json.loads(lines[-1])
    return answer


def run_client(
    port: int,
    messages: int,
    window: int,
    *,
    receipts: bool = False,
    one_by_one: bool = False,
    slice_octets: int = 0,
    core: int | None = None,
) -> dict[str, Any]:
    """Run the C client against a port; -> its object (see client.c)."""
    build()
    words = ["-p", str(port), "-n", str(messages), "-w", str(window), "-x", str(slice_octets)]
    return ask([str(BIN / "client"), *words, *(["-r"] if receipts else []), *(["-s"] if one_by_one else [])], core)


def run_fastest_client(port: int, messages: int, window: int, **options: Any) -> dict[str, Any]:
    """Run the C client whole and in slices; -> the object of the faster one. Which it is depends on the window."""
    ways = [run_client(port, messages, window, slice_octets=octets, **options) for octets in (0, SLICE_OCTETS)]
    return max(ways, key=lambda way: float(way["rate"]))


def run_pool(
    port: int, messages: int, window: int, *, receipts: bool = False, core: int | None = None
) -> dict[str, Any]:
    """Run our own client pool, one bind, as `sluice bench client` does; -> its object."""
    command = [sys.executable, "-m", "gateway", "bench", "client", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--binds", "1", "--window", str(window), "--messages", str(messages), "--json"]
    return ask(command + (["--receipts"] if receipts else []), core)
