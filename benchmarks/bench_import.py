"""How fast a file of customers becomes a list in Postgres.

    python benchmarks/bench_import.py [--rows N] [--damage SHARE] [--dsn DSN] [--seed N] [--connections N]

Writes a seeded file (six columns, UTF-8, numbers of nine countries in two forms, a share of them damaged or double),
reads it once without Postgres, then imports it twice under one name, and prints one JSON object.
Not measured: a database that already holds many people, a disk other than this one, a network between the two.
Without --dsn an embedded Postgres of its own runs in a temporary folder, with its ordinary settings (fsync on).
"""

import argparse
import asyncio
import json
import os
import platform
import random
import resource
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gateway.contacts.loading import load  # noqa: E402
from gateway.contacts.numbers import Numbers  # noqa: E402
from gateway.contacts.reading import Reading  # noqa: E402
from gateway.contacts.table import Table  # noqa: E402
from gateway.store.embedded import Embedded  # noqa: E402
from gateway.store.migrate import migrate  # noqa: E402

# Calling code and the beginnings of mobile ranges; the rest of the number is drawn.
RANGES = (
    ("44", ("74", "75", "78"), 10),
    ("49", ("151", "170", "176"), 11),
    ("33", ("61", "62", "75"), 9),
    ("34", ("61", "65", "69"), 9),
    ("39", ("340", "347", "328"), 10),
    ("1", ("2123", "3034", "4156"), 10),
    ("48", ("501", "601", "790"), 9),
    ("55", ("119", "219", "319"), 11),
    ("91", ("98", "97", "99"), 10),
)
NAMES = ("Ann", "José", "Łukasz", "Müller", "O'Brien", "Zoë", "Иван", "Mary Jane", 'Bob "B" Ray', "Nguyễn")
CITIES = ("London", "São Paulo", "Köln", "Paris, 5e", "Madrid", "", "Kraków", "Mumbai")


def write_file(path: str, rows: int, damage: float, seed: int) -> None:
    """Write the file; the same arguments give the same octets."""
    chance = random.Random(seed)
    last = "+447400000000"
    with open(path, "w", encoding="utf-8", newline="") as file:
        file.write("first_name,phone,city,points,last_order,code\r\n")
        for row in range(rows):
            code, beginnings, length = RANGES[row % len(RANGES)]
            start = chance.choice(beginnings)
            rest = f"{chance.randrange(10 ** (length - len(start))):0{length - len(start)}d}"
            number = f"+{code}{start}{rest}"
            if row % 5 == 0:
                number = f"+{code} {start}-{rest[:3]} {rest[3:]}"
            if chance.random() < damage:
                number = chance.choice(
                    (f'"4,{start}01E+11"', number + ".0", number[:-4], "", last, "'" + number, number + "/12", "n/a")
                )
            last = number
            name, city = NAMES[chance.randrange(len(NAMES))].replace('"', '""'), CITIES[chance.randrange(len(CITIES))]
            file.write(
                f'"{name}",{number},"{city}",{chance.randrange(5000)},2026-{row % 12 + 1:02d}-{row % 28 + 1:02d},'
                f"C{row:08d}\r\n"
            )


def reading_of(path: str) -> Reading:
    return Reading(Table(path), Numbers())


def own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def server_cpu_s(dsn: str) -> float:
    """CPU of all Postgres processes on this machine that belong to the server: from /proc, by the postmaster's pid."""
    import asyncpg

    connection = await asyncpg.connect(dsn)
    try:
        return _tree_cpu_s(await connection.fetchval("SELECT pg_backend_pid()"))
    finally:
        await connection.close()


_POSTMASTER: list[int] = []


def _tree_cpu_s(backend: int) -> float:
    ticks = os.sysconf("SC_CLK_TCK")
    if not _POSTMASTER:
        try:
            stat = Path(f"/proc/{backend}/stat").read_text()
        except OSError:
            return float("nan")
        _POSTMASTER.append(int(stat.rsplit(")", 1)[1].split()[1]))
    total = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(entry.name) == _POSTMASTER[0]:
                # The last two are the ended children, which the postmaster has waited for.
                total += sum(int(field) for field in fields[11:15])
            elif int(fields[1]) == _POSTMASTER[0]:
                total += int(fields[11]) + int(fields[12])
    return total / ticks


def measure(path: str, dsn: str, rows: int, connections: int) -> dict[str, object]:
    started, cpu = time.perf_counter(), own_cpu_s()
    with (reading := reading_of(path)).table:
        report = reading.run()
    parse_s, parse_cpu_s = time.perf_counter() - started, own_cpu_s() - cpu
    found: dict[str, object] = {
        "rows": rows,
        "octets": os.path.getsize(path),
        "sent": report.sent,
        "refused": report.refused,
        "duplicates": report.duplicates,
        "parsed_rows_per_s": round(rows / parse_s),
        "parse_cpu_us_per_row": round(parse_cpu_s / rows * 1e6, 2),
    }
    for name in ("import", "repeat"):
        server = asyncio.run(server_cpu_s(dsn))
        started, cpu = time.perf_counter(), own_cpu_s()
        with (reading := reading_of(path)).table:
            loaded = asyncio.run(load(reading, dsn, "bench", now=datetime.now(UTC), connections=connections))
        seconds, cpu = time.perf_counter() - started, own_cpu_s() - cpu
        server = asyncio.run(server_cpu_s(dsn)) - server
        found[f"{name}_rows_per_s"] = round(rows / seconds)
        found[f"{name}_reader_cpu_us_per_row"] = round(cpu / rows * 1e6, 2)
        found[f"{name}_postgres_cpu_us_per_row"] = round(server / rows * 1e6, 2)
        found[f"{name}_endpoints_written"] = loaded.endpoints_written
        if loaded.entries != report.sent:
            raise SystemExit(f"{name}: {loaded.entries} entries, the dry run said {report.sent}")
    found["rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--damage", type=float, default=0.03)
    parser.add_argument("--dsn")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--connections", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # The embedded server may run under another account than ours.
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "people.csv")
        write_file(path, options.rows, options.damage, options.seed)
        if options.dsn:
            asyncio.run(migrate(options.dsn))
            found = measure(path, options.dsn, options.rows, options.connections)
        else:
            with Embedded(Path(folder) / "data") as server:
                asyncio.run(migrate(server.dsn))
                found = measure(path, server.dsn, options.rows, options.connections)
    found |= {
        "seed": options.seed,
        "damage": options.damage,
        "connections": options.connections,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
