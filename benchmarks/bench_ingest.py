"""Events of persons into Postgres, aggregates kept: how many a second, in batches of many callers (store/gathering.py).

    python -m benchmarks.bench_ingest [--dsn DSN] [--events 120000] [--batch 500] [--callers 16] [--persons 20000]
                                      [--connections 2] [--rounds 5] [--history 0] [--quick]

Without a DSN it starts a server of its own, with fsync on. An event in fifty is an order; persons are known by an
external_id, and events come in their order. Each caller tells a batch and waits for its COMMIT before the next one;
--callers 1 tells what a batch costs that nobody shares. --history gives one person so many events before.
Measured: from Items to the COMMIT, all of the client's work included but the decoding of JSON. Tells each round's rate,
what the server's and the client's CPU took of an event, and how many cores both together kept busy. One round more,
which counts for nothing else, is looked at 100 times a second: which share of the time connections waited for one
another's persons, for the disk, and for the client.
"""

import argparse
import asyncio
import contextlib
import gc
import json
import os
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import figures, machine
from gateway import app
from gateway.person import Item, Who
from gateway.store import postgres
from gateway.store.embedded import Embedded
from gateway.store.gathering import Gathering
from gateway.store.migrate import migrate

FLOOR_PER_S = 30_000
CPU_AIM_US = 45
QUICK = {"events": 20000, "rounds": 2}
LOOK_S = 0.01
WAITS = """
SELECT count(*) AS all, count(*) FILTER (WHERE wait_event_type = 'Lock') AS persons,
       count(*) FILTER (WHERE wait_event_type IN ('IO', 'LWLock')) AS disk,
       count(*) FILTER (WHERE wait_event_type = 'Client') AS client
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def items(count: int, persons: int, first: int, chance: Random, *, busy: bool) -> list[Item]:
    """Some events of persons, in the last minutes."""
    made = []
    for at in range(first, first + count):
        who = Who(external_id=f"c{chance.randrange(persons)}")
        when = NOW + timedelta(milliseconds=at)
        if busy and at % 100 == 0:
            who = Who(external_id="busy")
        if chance.random() < 0.02:
            properties = {"order_id": at, "total": 19.9, "currency": "EUR"}
            made.append(Item(who=who, event_id=str(at), name="order_placed", occurred_at=when, properties=properties))
        else:
            properties = {"page": f"/p/{at % 97}", "seconds": at % 60}
            made.append(Item(who=who, event_id=str(at), name="visit", occurred_at=when, properties=properties))
    return made


def server_cpu_s(pid: int) -> float:
    """CPU of the server and all that it has started, those that have ended too."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(") ")[2].split()
            if int(stat.parent.name) == pid:
                ticks += sum(map(int, fields[11:15]))
            elif int(fields[1]) == pid:
                ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


async def waits(dsn: str) -> dict[str, float]:
    """Look at what connections wait for until cancelled; -> the share of their time, by what it is."""
    connection = await postgres.connect(dsn)
    seen = dict.fromkeys(("all", "persons", "disk", "client"), 0)
    try:
        while True:
            row = await connection.fetchrow(WAITS)
            for name in seen:
                seen[name] += row[name]
            await asyncio.sleep(LOOK_S)
    except asyncio.CancelledError:
        return {name: round(count / max(seen["all"], 1), 3) for name, count in seen.items() if name != "all"}
    finally:
        await postgres.close(connection)


async def measure(dsn: str, arguments: argparse.Namespace, pid: int) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Run the rounds; -> what each took, and the shares of waiting."""
    await migrate(dsn)
    connections = postgres.Connections(dsn, size=arguments.connections)
    chance = Random(1)
    gathering = Gathering(connections, lambda: NOW + timedelta(hours=1), chance)
    # One round ahead, so that all persons are known.
    size = arguments.events
    found: list[dict[str, float]] = []
    waited: dict[str, float] = {}
    for number in range(arguments.rounds + 2):
        told = items(size, arguments.persons, number * size, chance, busy=bool(arguments.history))
        if number == 0:
            past = NOW - timedelta(minutes=1)
            told[:0] = [
                Item(who=Who(external_id=f"c{at}"), event_id=f"p{at}", name="visit", occurred_at=past)
                for at in range(arguments.persons)
            ]
        if number == 0 and arguments.history:
            past = NOW - timedelta(days=1)
            told += [
                Item(
                    who=Who(external_id="busy"),
                    event_id=f"h{at}",
                    name="visit",
                    occurred_at=past + timedelta(milliseconds=at),
                )
                for at in range(arguments.history)
            ]
        # No caller keeps so many, for the collector to look through again and again.
        gc.collect()
        gc.freeze()
        batches = [told[at : at + arguments.batch] for at in range(0, len(told), arguments.batch)]
        if number == 0:
            await asyncio.gather(*(bring(gathering, batches) for _ in range(arguments.callers)))
            continue
        looking = None
        if number > arguments.rounds:
            looking = asyncio.create_task(waits(dsn))
        begun = time.perf_counter()
        server, client = server_cpu_s(pid), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        await asyncio.gather(*(bring(gathering, batches) for _ in range(arguments.callers)))
        took = time.perf_counter() - begun
        if looking is not None:
            looking.cancel()
            waited = await looking
            continue
        server_s = server_cpu_s(pid) - server
        client_s = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - client
        one_round = {
            "events_per_s": round(size / took),
            "server_us": round(server_s / size * 1e6, 1),
            "client_us": round(client_s / size * 1e6, 1),
            "cores": round((server_s + client_s) / took, 2),
        }
        print(json.dumps(one_round), file=sys.stderr, flush=True)
        found.append(one_round)
    async with connections.take(60) as one:
        counted = await one.fetchval("SELECT sum(count) FROM event_total WHERE name IN ('visit', 'order_placed')")
    assert counted == size * (arguments.rounds + 2) + arguments.persons + arguments.history, counted
    await gathering.close()
    await connections.close()
    return found, waited


async def bring(gathering: Gathering, batches: list[list[Item]]) -> None:
    """Tell one batch after the other until none is left."""
    while batches:
        await gathering.take(batches.pop(0))


def figures_of(rounds: list[dict[str, float]]) -> list[dict[str, Any]]:
    """What was measured, as figures."""
    both = [{**one, "both_us": one["server_us"] + one["client_us"]} for one in rounds]
    rate = figures.figure("events taken in", [one["events_per_s"] for one in both], "/s", floor=FLOOR_PER_S)
    taken = [rate]
    for key, name, aim in (
        ("both_us", "CPU", CPU_AIM_US), ("server_us", "CPU, Postgres", None), ("client_us", "CPU, client", None),
    ):  # fmt: skip
        taken.append(figures.figure(name, [one[key] for one in both], "us/event", better=figures.LOWER, aim=aim))
    taken.append(figures.figure("cores kept busy", [one["cores"] for one in both], "cores"))
    return taken


def main() -> None:
    """Parse, start a server where none is named, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn")
    sizes = {"events": 120000, "batch": 500, "callers": 16, "persons": 20000, "connections": 2}
    for name, value in {**sizes, "rounds": 5}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--history", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="two rounds of 20,000 events")
    arguments = parser.parse_args()
    if arguments.quick:
        vars(arguments).update(QUICK)
    load = machine.load()
    if arguments.dsn:
        rounds, waited = app.run(measure(arguments.dsn, arguments, 0))
    else:
        with tempfile.TemporaryDirectory(prefix="sluice-ingest-") as folder:
            os.chmod(folder, 0o711)
            with Embedded(folder, {"shared_buffers": "512MB", "max_wal_size": "4GB"}) as server:
                rounds, waited = app.run(measure(server.dsn, arguments, server.pid))
    sizes = {name: getattr(arguments, name) for name in (*sizes, "history")}
    details = {**sizes, "runs": rounds, "waits": waited}
    result = figures.result("ingest", figures_of(rounds), details, quick=arguments.quick, load=load)
    print(f"shares of the connections' time that waited: {waited}", file=sys.stderr)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
