"""Short links: how many are made a second, and how many are answered by one process on one core.

    python -m benchmarks.bench_links [--links 200000] [--requests 60000] [--connections 64] [--rounds 3] [--quick]

It starts a server of its own, with fsync on. Made: links in batches of a thousand, one bucket and one COMMIT each, from
a wanted row to its token. Answered: a process of `sluice links serve` that has one core, asked over so many
connections that are kept, each waiting for its answer; Postgres and who asks have the others. Each request asks for
another link, so each is looked up, and each is a click that is written down. Told beside the rate: what a request took
of the CPU of the door and of Postgres, and how long answers took.
"""

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import Any

from benchmarks import figures, machine
from benchmarks.bench_ingest import server_cpu_s
from gateway import app
from gateway.link import Link, target_of
from gateway.store import links, postgres
from gateway.store.embedded import Embedded
from gateway.store.links import Wanted
from gateway.store.migrate import migrate

MINT_FLOOR_PER_S = 100_000
ANSWER_FLOOR_PER_S = 3_000
BATCH = 1000
QUICK = {"links": 20_000, "requests": 5_000, "rounds": 1}
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = "[links]\nrequests_per_minute = 1000000\ntokens_per_minute = 100000\n"
AGENT = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"


async def mint(dsn: str, count: int) -> tuple[float, list[str]]:
    """Make links; -> how many a second, and their tokens."""
    connection = await postgres.connect(dsn)
    link = Link(url="https://shop.acme.example/sale?c={code}")
    target = await links.keep_target(connection, target_of(link, "offer", campaign="spring"), NOW)
    chance, tokens = SystemRandom(), []
    until = datetime.now(UTC) + timedelta(days=30)
    # All numbers of a batch are of one bucket, as those of a page of people are.
    batches = [
        [Wanted(447_000_000_000 + (first + n) * 4, target, 7, NOW, until, (f"A{n}",)) for n in range(BATCH)]
        for first in range(0, count, BATCH)
    ]
    began = time.perf_counter()
    for at, batch in enumerate(batches):
        tokens += await links.mint(connection, at % 256, batch, chance)
    took = time.perf_counter() - began
    await postgres.close(connection)
    return len(tokens) / took, tokens


async def ask(address: str, tokens: list[str], connections: int) -> tuple[float, list[float]]:
    """Follow every link once; -> how many a second, and how long each answer took."""
    host, _, port = address.rpartition(":")
    waiting = iter(tokens)
    took: list[float] = []

    async def visit(number: int) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        rest = (
            f" HTTP/1.1\r\nhost: go.acme.example\r\nuser-agent: {AGENT}\r\naccept: text/html\r\n"
            f"x-forwarded-for: 10.{number >> 8}.{number & 255}.1\r\n\r\n"
        ).encode()
        for token in waiting:
            begun = time.perf_counter()
            writer.write(b"GET /" + token.encode() + rest)
            head = await reader.readuntil(b"\r\n\r\n")
            took.append(time.perf_counter() - begun)
            if not head.startswith(b"HTTP/1.1 302"):
                raise RuntimeError(f"expected 302, found {head[:80]!r}")
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(visit(number) for number in range(connections)))
    return len(took) / (time.perf_counter() - began), took


def cpu_s(pid: int) -> float:
    """CPU that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


async def measure(dsn: str, folder: Path, arguments: argparse.Namespace, pid: int) -> dict[str, list[float]]:
    """Run the rounds."""
    await migrate(dsn)
    names = ("made", "maker", "making", "answered", "door", "postgres", "p50", "p99")
    found: dict[str, list[float]] = {name: [] for name in names}
    (folder / "sluice.toml").write_text(SETTINGS)
    cores = sorted(os.sched_getaffinity(0))
    words = [sys.executable, "-m", "gateway", "links", "serve", "--listen", "127.0.0.1:0", "--dsn", dsn]
    door = subprocess.Popen(
        words, cwd=folder, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, cores[:1])
    )
    assert door.stderr is not None
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[1:])
    try:
        said = re.search(r"http://(\S+)", await asyncio.to_thread(door.stderr.readline))
        assert said is not None
        for _ in range(arguments.rounds):
            before, of_server = time.process_time(), server_cpu_s(pid)
            rate, tokens = await mint(dsn, arguments.links)
            found["made"].append(rate)
            found["maker"].append((time.process_time() - before) / len(tokens) * 1e6)
            found["making"].append((server_cpu_s(pid) - of_server) / len(tokens) * 1e6)
            before, of_server = cpu_s(door.pid), server_cpu_s(pid)
            rate, took = await ask(said[1], tokens[: arguments.requests], arguments.connections)
            found["answered"].append(rate)
            found["door"].append((cpu_s(door.pid) - before) / len(took) * 1e6)
            found["postgres"].append((server_cpu_s(pid) - of_server) / len(took) * 1e6)
            took.sort()
            found["p50"].append(took[len(took) // 2] * 1e3)
            found["p99"].append(took[len(took) * 99 // 100] * 1e3)
    finally:
        door.terminate()
        door.communicate()
    connection = await postgres.connect(dsn)
    kept = await connection.fetchval("SELECT count(*) FROM click")
    await postgres.close(connection)
    if kept != arguments.rounds * min(arguments.requests, arguments.links):
        raise RuntimeError(f"expected every click to be written down, found {kept:,}")
    return found


def main() -> int:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description="Make and answer short links.")
    parser.add_argument("--links", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=60_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK)
    load = machine.load()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-links-") as folder:
        os.chmod(folder, 0o711)
        with Embedded(folder, {"max_wal_size": "2GB"}) as server:
            found = app.run(measure(server.dsn, Path(folder), arguments, server.pid))
    told: list[Any] = [
        figures.figure("links made a second", found["made"], "/s", floor=MINT_FLOOR_PER_S),
        figures.figure("CPU of who makes one", found["maker"], "us", better=figures.LOWER),
        figures.figure("CPU of Postgres, a link", found["making"], "us", better=figures.LOWER),
        figures.figure("links answered a second, one core", found["answered"], "/s", floor=ANSWER_FLOOR_PER_S),
        figures.figure("CPU of the door, a request", found["door"], "us", better=figures.LOWER),
        figures.figure("CPU of Postgres, a request", found["postgres"], "us", better=figures.LOWER),
        figures.figure("answer, p50", found["p50"], "ms", better=figures.LOWER),
        figures.figure("answer, p99", found["p99"], "ms", better=figures.LOWER),
    ]
    details = {"connections": arguments.connections, "requests": arguments.requests, "batch": BATCH}
    print(json.dumps(figures.result("links", told, details, quick=arguments.quick, load=load)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
