"""Events of persons into Postgres, aggregates kept: how many a second, in batches, over a few connections.

    python -m benchmarks.bench_ingest [--dsn DSN] [--events 60000] [--batch 500] [--persons 20000] [--connections 3]
                                      [--rounds 3] [--history 0]

Without a DSN it starts a server of its own, with fsync on. An event in fifty is an order; persons are known by an
external_id, and events come in their order. --history gives one person so many events before.
Measured: from Items to the COMMIT, all of the client's work included but the decoding of JSON. Prints each round's rate
and what the server's and the client's CPU took of an event.
"""

import argparse
import asyncio
import contextlib
import json
import os
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from gateway.person import Item, Who
from gateway.store import months, postgres, profiles
from gateway.store.embedded import Embedded
from gateway.store.migrate import migrate

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


async def measure(dsn: str, arguments: argparse.Namespace, pid: int) -> list[dict[str, float]]:
    """Run the rounds."""
    await migrate(dsn)
    connections = [await postgres.connect(dsn) for _ in range(arguments.connections)]
    chance = Random(1)
    now = NOW + timedelta(hours=1)
    await months.ensure(connections[0], "person_event", [NOW])
    kinds = profiles.Kinds()
    # One round ahead, so that all persons are known.
    size = arguments.events
    found = []
    for number in range(arguments.rounds + 1):
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
        batches = [told[at : at + arguments.batch] for at in range(0, len(told), arguments.batch)]
        if number == 0:
            await asyncio.gather(*(bring(one, batches, kinds, now, chance) for one in connections))
            continue
        begun = time.perf_counter()
        server, client = server_cpu_s(pid), sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        await asyncio.gather(*(bring(one, batches, kinds, now, chance) for one in connections))
        took = time.perf_counter() - begun
        figures = {
            "events_per_s": round(size / took),
            "server_us": round((server_cpu_s(pid) - server) / size * 1e6, 1),
            "client_us": round((sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - client) / size * 1e6, 1),
        }
        print(json.dumps(figures), flush=True)
        found.append(figures)
    counted = await connections[0].fetchval(
        "SELECT sum(count) FROM event_total WHERE name IN ('visit', 'order_placed')"
    )
    assert counted == size * (arguments.rounds + 1) + arguments.persons + arguments.history, counted
    for one in connections:
        await postgres.close(one)
    return found


async def bring(
    connection: postgres.Connection, batches: list[list[Item]], kinds: profiles.Kinds, now: datetime, chance: Random
) -> None:
    """Take one batch after the other until none is left."""
    while batches:
        batch = batches.pop(0)
        await profiles.ingest(connection, batch, now, chance, kinds)


def main() -> None:
    """Parse, start a server where none is named, measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dsn")
    for name, value in (("events", 60000), ("batch", 500), ("persons", 20000), ("connections", 3), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--history", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.dsn:
        asyncio.run(measure(arguments.dsn, arguments, 0))
        return
    with tempfile.TemporaryDirectory(prefix="sluice-ingest-") as folder:
        os.chmod(folder, 0o711)
        with Embedded(folder, {"shared_buffers": "512MB", "max_wal_size": "4GB"}) as server:
            asyncio.run(measure(server.dsn, arguments, server.pid))


if __name__ == "__main__":
    main()
