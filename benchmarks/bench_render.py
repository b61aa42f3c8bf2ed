"""Texts of an audience before it is sent: how many people a second are read, rendered, composed and counted (TP-8).

    python -m benchmarks.bench_render [--people 200000] [--rounds 5] [--quick]

Fills a list of people with five attributes in an embedded Postgres of its own, and runs the preview of `sluice
template` over it: once with a text of plain fields, which the claim itself composes, and once with one of the full
language, which processes render. Both from Postgres to the last count, and what a person takes of the client's CPU, in
all its processes; the last figure is the full language alone: rows that are in memory, one process.

Not measured: a list that is larger than memory, a run that is sent at the same time.
"""

import argparse
import asyncio
import json
import os
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import figures, machine
from gateway.campaign.rendering import Renderer
from gateway.commands.template import People, reckon
from gateway.config import Settings, load
from gateway.dispatch.route import table_of
from gateway.store import people, postgres, templates
from gateway.store.embedded import Embedded
from gateway.store.migrate import migrate
from gateway.template import Template

NOW = datetime(2026, 11, 22, tzinfo=UTC)
PLAIN = (
    "Acme: Hi {{ first_name | default: 'there' }}, {{ city }} has a new shop. Your {{ points }} points wait. "
    "STOP to 12345"
)
FULL = (
    "Acme: Hi {{ first_name | first_name | default: 'there' }}, {% if points > 500 %}as one of our best you have "
    "{{ points | number }} points{% elsif points > 100 %}you have {{ points }} points{% else %}points wait{% endif %}. "
    "{{ city | default: 'Your town' | capitalize }} has a new shop. STOP to 12345"
)
FLOORS = {"plain": 200_000.0, "full": 50_000.0}
SETTINGS = """
[carriers.north]
host = "127.0.0.1"
port = 2775
system_id = "bench"
"""
FILL = """
INSERT INTO list_entry (bucket, list, number, attributes)
SELECT ((n # (n >> 8) # (n >> 16) # (n >> 24)) & 255)::int, $1::bigint, n,
       jsonb_build_object('first_name', (ARRAY['Anna', 'Bert', 'Chloé', 'Ștefan', 'DORA'])[n % 5 + 1] || ' Mustermann',
                          'city', 'city' || n % 100, 'points', n % 1000, 'vip', n % 7 = 0,
                          'street', 'Street ' || n % 90)
FROM generate_series(447700000000, 447700000000 + $2::bigint - 1) AS n
"""


def _cpu_s() -> float:
    """CPU of this process and of those that it has waited for."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def settings() -> Settings:
    """A carrier that nobody reaches: nothing is sent."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(SETTINGS)
        file.flush()
        return load(Path(file.name), {})


async def measure(people_count: int, rounds: int) -> dict[str, list[float]]:
    """Fill and ask; -> by figure, what each round had."""
    found: dict[str, list[float]] = {}
    config = settings()
    table = table_of(config, ["north"])
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        with Embedded(folder) as server:
            await migrate(server.dsn)
            connection = await postgres.connect(server.dsn)
            try:
                made = await people.open_list(connection, "l", source_name="", source_sha256=b"", fields=[], now=NOW)
                await connection.execute(FILL, made.id, people_count)
                await people.finish_list(connection, made.id, NOW)
                await connection.execute("VACUUM ANALYZE list_entry")

                async def page(connection: postgres.Connection, fields: tuple[str, ...], low: int, high: int) -> bytes:
                    return await templates.page(connection, low, made.id)

                async def longest(connection: postgres.Connection, fields: tuple[str, ...]) -> dict[str, int]:
                    return await templates.longest(connection, made.id, fields)

                # A round of each in turn: a busy second falls on both.
                for _ in range(rounds):
                    for name, text in (("plain", PLAIN), ("full", FULL)):
                        whom = People(count=people_count, by_bucket=True, page=page, longest=longest)
                        spent, began = _cpu_s(), time.perf_counter()
                        reckoning = await reckon(
                            connection, config, table, Template(text=text), whom, "", "", NOW, most=people_count
                        )
                        took = time.perf_counter() - began
                        assert reckoning.people == people_count and not reckoning.refused
                        found.setdefault(name, []).append(people_count / took)
                        found.setdefault(f"{name} CPU", []).append((_cpu_s() - spent) / people_count * 1e6)
            finally:
                await postgres.close(connection)
    rows = [{"first_name": f"ANNA {at}", "city": "köln", "points": at % 1000} for at in range(50_000)]
    renderer = Renderer(Template(text=FULL))
    for _ in range(rounds):
        began = time.perf_counter()
        renderer.render(rows)
        found.setdefault("alone", []).append((time.perf_counter() - began) / len(rows) * 1e6)
    return found


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.people, options.rounds = 40_000, 1
    load = machine.load()
    found = asyncio.run(measure(options.people, options.rounds))
    told = [figures.figure(f"{name} texts", found[name], "people/s", floor=FLOORS[name]) for name in FLOORS]
    told += [
        figures.figure(f"{name} texts, CPU but for Postgres", found[f"{name} CPU"], "us", better=figures.LOWER)
        for name in FLOORS
    ]
    told.append(figures.figure("full language alone, one process", found["alone"], "us", better=figures.LOWER))
    print(json.dumps(figures.result("render", told, {"people": options.people}, quick=options.quick, load=load)))


if __name__ == "__main__":
    main()
