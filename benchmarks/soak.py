"""A gateway under a steady load for a long time: what grows that should not is told at the end.

    ./dev soak [--minutes 60] [--rate 20000] [--workers 1]

Embedded Postgres with fsync, a simulator process that answers each message with a receipt, and `sluice run`, all as
processes of their own. Each few seconds: resident memory and descriptors of the worker, sizes of the tables, messages
done. Judged is the last third against the first one behind the warm-up; what is append-only (outcomes, receipts,
chunks, payload) grows by its messages until its day is dropped (docs/retention.md), and is told in octets a message.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway import app
from gateway.commands._life import FIELDS, TEXT, make_people, simulator
from gateway.config import DatabaseSettings, Settings
from gateway.message import MessageClass, Policy
from gateway.store import runs

SAMPLE_S = 5.0
# Of the time: memory of buffers and caches that a start fills.
WARM_UP = 0.2
# A run is enqueued as soon as less than that is left to send.
AHEAD_S = 20.0
APPENDED = ("outcome", "receipt", "chunk", "chunk_payload", "list_entry")
GROWTH, SLACK_MB, SLACK_FDS, SLACK_OCTETS = 1.05, 8.0, 2, 1 << 20

_CONFIG = """
[database]
dsn = "{dsn}"
[carriers.soak]
host = "127.0.0.1"
port = {port}
system_id = "soak"
password = "soak"
window = 500
binds = {binds}
tps = {tps}
adaptive = false
"""

_SIZES = """
SELECT coalesce((SELECT i.inhparent::regclass::text FROM pg_inherits i WHERE i.inhrelid = c.oid), c.relname) AS name,
       sum(pg_total_relation_size(c.oid))::bigint AS octets
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = 'public' GROUP BY 1
"""


def children(pid: int) -> Iterator[int]:
    """A process and all its descendants (Linux)."""
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from children(int(child))


def memory_mb(pids: list[int]) -> float:
    """Resident megabytes of processes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids) / 1e6


def descriptors(pids: list[int]) -> int:
    """Open descriptors of processes."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)


async def look(connection: Any, worker: int, since: float) -> dict[str, Any]:
    """One sample."""
    pids = list(children(worker))
    done = await connection.fetchval("SELECT coalesce(sum(sent_upto), 0)::bigint FROM chunk")
    left = await connection.fetchval("SELECT coalesce(sum(n - sent_upto), 0)::bigint FROM chunk WHERE state < 2")
    sizes = {row["name"]: row["octets"] for row in await connection.fetch(_SIZES)}
    return {
        "at_s": round(time.monotonic() - since, 1),
        "done": done,
        "left": left,
        "memory_mb": round(memory_mb(pids), 1),
        "descriptors": descriptors(pids),
        "tables": sizes,
    }


def judge(samples: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """Figures of a soak, and what grew that should not; ValueError when it was too short to tell."""
    end_s = samples[-1]["at_s"]
    warm = [one for one in samples if one["at_s"] >= end_s * WARM_UP]
    third = len(warm) // 3
    if third < 2:
        raise ValueError(f"soak: expected at least 6 samples behind the warm-up, got {len(warm)}")
    first, last = warm[:third], warm[-third:]
    figures: dict[str, Any] = {
        "seconds": end_s,
        "messages": samples[-1]["done"],
        "rate_per_s": round((warm[-1]["done"] - warm[0]["done"]) / (warm[-1]["at_s"] - warm[0]["at_s"])),
    }
    grown = []
    for name, slack in (("memory_mb", SLACK_MB), ("descriptors", SLACK_FDS)):
        before, after = (statistics.median(one[name] for one in part) for part in (first, last))
        figures[name] = [before, after]
        if after > before * GROWTH + slack:
            grown.append(f"{name}: {before:g} -> {after:g}")
    messages = warm[-1]["done"] - warm[0]["done"]
    figures["octets_a_message"] = {
        name: round((warm[-1]["tables"].get(name, 0) - warm[0]["tables"].get(name, 0)) / max(1, messages), 1)
        for name in APPENDED
    }
    for name in sorted(samples[-1]["tables"]):
        if name in APPENDED:
            continue
        before, after = (max(one["tables"].get(name, 0) for one in part) for part in (first, last))
        if after > before * GROWTH + SLACK_OCTETS:
            grown.append(f"table {name}: {before:,} -> {after:,} octets")
    return figures, grown


async def soak(seconds: float, rate: int, workers: int, sample_s: float = SAMPLE_S) -> list[dict[str, Any]]:
    """Run; -> the samples."""
    with tempfile.TemporaryDirectory(prefix="sluice-soak-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        async with simulator("--port", "0", "--delay-ms", "5", "--receipt-delay-ms", "50") as (_, first):
            settings = Settings(database=DatabaseSettings(data_root=folder, deadline_s=60.0))
            async with app.open_database(settings) as database, database.connection(seconds + 600.0) as connection:
                config = Path(folder, "sluice.toml")
                # A bind for each: a worker without a slot would only look on.
                config.write_text(_CONFIG.format(dsn=database.dsn, port=first["port"], tps=rate, binds=workers))
                people = int(rate * AHEAD_S)
                list_id = await make_people(connection, people)
                lane = await runs.lane_of(connection, "soak", app.CLOCK.wall())
                await runs.ensure_partitions(connection, app.CLOCK.wall())
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "gateway", "run", "--config", str(config), "--report-every", "0",
                    *(("--workers", str(workers)) if workers > 1 else ()), stdout=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
                try:
                    began = time.monotonic()
                    samples: list[dict[str, Any]] = []
                    while time.monotonic() - began < seconds:
                        if process.returncode is not None:
                            raise RuntimeError(f"the worker has ended with {process.returncode}")
                        samples.append(await look(connection, process.pid, began))
                        if samples[-1]["left"] < rate * AHEAD_S:
                            run = await runs.add_run(
                                connection, name="soak", template=TEXT, fields=FIELDS, class_=MessageClass.BULK,
                                policy=Policy.ONCE, lanes=[lane], list_id=list_id, source=None, now=app.CLOCK.wall(),
                            )  # fmt: skip
                            await runs.materialise(connection, run, [lane], people, app.CLOCK.wall())
                        await asyncio.sleep(sample_s)
                    return samples
                finally:
                    if process.returncode is None:
                        process.terminate()
                        await asyncio.wait_for(process.wait(), 60)


def main(arguments: list[str]) -> int:
    """Soak, and say what grew; -> 1 when something did, or the rate was not held."""
    parser = argparse.ArgumentParser(prog="./dev soak", description="Run a steady load, and say what grew.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=int, default=20_000, help="messages a second")
    parser.add_argument("--workers", type=int, default=1)
    chosen = parser.parse_args(arguments)
    seconds = chosen.minutes * 60
    samples = asyncio.run(soak(seconds, chosen.rate, chosen.workers, min(SAMPLE_S, seconds / 20)))
    figures, grown = judge(samples)
    if figures["rate_per_s"] < 0.95 * chosen.rate:
        grown.append(f"rate: {figures['rate_per_s']:,}/s of {chosen.rate:,}")
    print(json.dumps(figures | {"grown": grown}, indent=1))
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
