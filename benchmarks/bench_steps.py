"""Steps of campaigns: how many who are due are carried on a second, how late, and how long an event takes to a text.

    ./dev bench steps [--people N] [--per-s R] [--seconds S] [--data FOLDER] [--quick]
    ./dev bench trigger [--events-per-s R] [--seconds S] [--people N] [--quick]

steps    So many persons wait in two workflows, half for a text, half for a branch that lets them out. First all that is
         due at one moment is carried out (`drained`), then as many fall due each second as --per-s says (`evenly`).
         Lateness is from the moment that somebody is due to the COMMIT of the step (track_commit_timestamp), all of the
         look included: buckets found, facts, texts into their lanes. The job runs here, Postgres beside it.
trigger  A real worker and a simulator; so many events a second are told (profiles.ingest, 10 ms a batch), each begins a
         campaign of one text without a wait, through the gate. From before the call that tells it until the simulator
         has read the submit_sm, by its ledger.

Texts are transactional: they wait for no window, whatever the hour. Before they are written the gate is asked.

Not measured: carriers (steps), receipts, a Postgres elsewhere. Prints one JSON object.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gateway import app, document
from gateway.automation import launching
from gateway.automation.stepping import Stepping
from gateway.brand import BrandSettings
from gateway.commands._life import PAGE, simulator
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.dispatch.beforehand import Beforehand
from gateway.dispatch.route import plan_of, table_of
from gateway.person import Item, Who
from gateway.simulator.ledger import read as ledger_of
from gateway.store import months, postgres, profiles
from gateway.store.embedded import Embedded
from gateway.store.migrate import migrate
from gateway.store.postgres import Connection

TEXTED = """
kind = "workflow"
name = "texted"
brand = "bench"
class = "transactional"
steps = [
    {do = "wait", for = "1h"},
    {do = "send", text = 'Hi {{ first_name|default("there") }}, what you looked at waits for you.'},
]
[trigger]
on = "event"
event = "looked"
"""
BRANCHED = """
kind = "workflow"
name = "branched"
brand = "bench"
steps = [
    {do = "wait", for = "1h"},
    {do = "branch", cases = [{if = "orders > 2", then = "exit"}], otherwise = "exit"},
]
[trigger]
on = "event"
event = "looked_again"
"""
AT_ONCE = """
name = "at-once"
brand = "bench"
class = "transactional"
message = {text = "Thank you for {{ order }}."}
[trigger]
on = "event"
event = "order_told"
"""
FIRST = 447_000_000_000
BUCKET = "((n # (n >> 8) # (n >> 16) # (n >> 24)) & 255)::int"
PEOPLE = f"""
INSERT INTO profile (bucket, id, number, orders, created_at, updated_at, external_id, country, attributes)
SELECT {BUCKET}, i, n, i % 5, $2::timestamptz, $2::timestamptz, 'c' || i, 'GB',
       jsonb_build_object('first_name', 'Name' || i % 1000)
FROM (SELECT i, {FIRST} + i * 7 AS n FROM generate_series(1, $1::bigint) i) x
"""
CONSENTS = f"""
INSERT INTO consent_state (bucket, promotional, transactional, night, number, since, brand)
SELECT {BUCKET}, 2, 2, 0, n, $2::timestamptz, 'bench'
FROM (SELECT {FIRST} + i * 7 AS n FROM generate_series(1, $1::bigint) i) x
"""
# As the gate reads it; nobody has told a zone.
CONSENT_PAGES = f"""
INSERT INTO consent_page (bucket, page, brand, numbers, states, zones)
SELECT bucket, {PAGE}, 'bench', string_agg(int8send(number), '' ORDER BY number), string_agg('\\x0a'::bytea, ''), ''
FROM consent_state GROUP BY 1, 2
"""
# The place of somebody says when they are due: what falls due in a second is of all buckets.
WAITING = f"""
INSERT INTO enrolment (bucket, version, step, state, visits, id, campaign, profile, endpoint, number, anchor_id, due_at,
                       until_at, anchor_at, entered_at, step_at, cause, context)
SELECT {BUCKET}, 1, 0, 0, 1, i, CASE WHEN i % 2 = 0 THEN $2::bigint ELSE $3::bigint END, i, n, n, i, due, due,
       $4::timestamptz - interval '1 hour', $4::timestamptz - interval '1 hour', $4::timestamptz - interval '1 hour',
       'event:shop:' || i, '{{"product": "p17"}}'
FROM (SELECT i, {FIRST} + i * 7 AS n, $4::timestamptz + i * $5::float8 * interval '1 s' AS due
      FROM generate_series(1, $1::bigint) i) x
"""
SETTINGS = {
    "track_commit_timestamp": "on", "shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "15min",
}  # fmt: skip
QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("longest", 1.0))


def settings_of(folder: str, port: int) -> Settings:
    """One carrier, one brand that writes at any hour."""
    return Settings(
        database=DatabaseSettings(data_root=folder, deadline_s=60.0),
        carriers={
            "bench": CarrierSettings(
                host="127.0.0.1", port=port, system_id="bench", password="bench", window=1000, adaptive=False
            )
        },
        brands={"bench": BrandSettings(country="GB", zone="Europe/London", caps=(), gap_s=0)},
    )


async def fill(connection: Connection, people: int, now: datetime) -> None:
    """Write people down who have consented, set-wise."""
    for statement in (PEOPLE, CONSENTS):
        await connection.execute(statement, people, now - timedelta(days=1), timeout=3600)
    await connection.execute(CONSENT_PAGES, timeout=3600)
    for table in ("profile", "consent_state", "consent_page"):
        await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=3600)


async def launch(connection: Connection, settings: Settings, text: str) -> int:
    """Have a campaign live; -> its id."""
    found, problems = document.read(text.encode())
    if found is None:
        raise SystemExit(f"a document of the benchmark: {problems}")
    await launching.apply(connection, settings, found, "bench", app.CLOCK.wall())
    return (await launching.launch(connection, settings, found.name, app.CLOCK.wall())).id


def stepping_of(settings: Settings, dsn: str) -> Stepping:
    """The job, as a worker has it, without the worker."""
    table = table_of(settings)

    async def connect() -> Connection:
        return await postgres.connect(dsn)

    return Stepping(
        settings, app.CLOCK.wall, connect, "bench", random.Random(1),
        lambda lanes, class_, sender, at, living: plan_of(table, lanes, class_, sender, at, living), random.Random(2),
        Beforehand(lambda class_, sender: ()),
    )  # fmt: skip


async def wait(connection: Connection, ids: Sequence[int], people: int, since: datetime, apart_s: float) -> None:
    """Have so many wait, the first one due `apart_s` after a moment, and each of the others so much later."""
    await connection.execute("TRUNCATE enrolment, step_run, outgoing, outgoing_taken, chunk, chunk_payload")
    await connection.execute(WAITING, people, *ids, since, apart_s, timeout=3600)
    for table in ("enrolment", "step_run"):
        await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=3600)
    await connection.execute("CHECKPOINT")


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """The middle and the ends of them, in ms."""
    ordered = sorted(values)
    return {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * at))] * 1000, 1) for name, at in QUANTILES}


async def carried(
    stepping: Stepping, connection: Connection, looking: Connection, until: datetime, server: int
) -> dict[str, Any]:
    """Carry on who is due until a moment has come and nobody is; -> what it took."""
    before, cpu, began = app.process_tree_cpu_s(server), time.process_time(), time.monotonic()
    stepped = stepping.stepped
    looks = 0
    while True:
        did = await stepping.step(connection)
        looks += 1
        if not did:
            if app.CLOCK.wall() > until:
                break
            await asyncio.sleep(0.02)
    took = time.monotonic() - began
    postgres_s, cpu = app.process_tree_cpu_s(server) - before, time.process_time() - cpu
    found = await looking.fetchrow("SELECT count(*) AS n, count(*) FILTER (WHERE outcome <> 0) AS odd FROM step_run")
    ended = await looking.fetchval("SELECT count(*) FROM enrolment WHERE state = 1")
    texts = await looking.fetchval("SELECT coalesce(sum(n), 0) FROM chunk")
    return {
        "people": ended, "steps": found["n"], "advanced": stepping.stepped - stepped, "texts": int(texts),
        "looks": looks, "seconds": round(took, 2), "people_per_s": round(ended / took),
        "steps_per_s": round(found["n"] / took), "cpu_us_a_person_here": round(cpu / ended * 1e6, 1),
        "cpu_us_a_person_postgres": round(postgres_s / ended * 1e6, 1),
    }  # fmt: skip


async def measure_steps(folder: str, people: int, per_s: int, seconds: float, drained: int) -> dict[str, Any]:
    """Fill a server, and measure both."""
    with Embedded(folder, SETTINGS) as server:
        await migrate(server.dsn)
        settings = settings_of(folder, 1)
        looking = await postgres.connect(server.dsn, statement_timeout_s=3600)
        if not await looking.fetchval("SELECT count(*) FROM (SELECT FROM profile LIMIT 1) x"):
            await fill(looking, people, app.CLOCK.wall())
        ids = [await launch(looking, settings, text) for text in (TEXTED, BRANCHED)]
        await looking.execute(
            "INSERT INTO worker (instance, host, boot, pid, started_at, seen_at, node, report) "
            "VALUES ('bench', 'h', 'b', 1, now(), now(), 'bench', $1) ON CONFLICT DO NOTHING",
            '{"carriers": {"bench": {"up": true, "binds": []}}}',
        )
        await looking.execute(
            "INSERT INTO job (name, owner, epoch) VALUES ('step', 'bench', 1) "
            "ON CONFLICT (name) DO UPDATE SET owner = 'bench'"
        )
        found: dict[str, Any] = {"waiting": people}
        stepping = stepping_of(settings, server.dsn)
        connection = stepping._connection = await postgres.connect(server.dsn)
        if drained:
            # Of all that wait so many are due, and the others in an hour.
            await wait(looking, ids, people, app.CLOCK.wall() + timedelta(hours=1), 0.0)
            await looking.execute(
                "UPDATE enrolment SET due_at = $2, until_at = $2 WHERE id <= $1", drained, app.CLOCK.wall(),
                timeout=600,
            )  # fmt: skip
            await looking.execute("VACUUM (ANALYZE) enrolment", timeout=600)
            found["drained"] = await carried(stepping, connection, looking, app.CLOCK.wall(), server.pid)
            show("drained", found["drained"])
        if per_s:
            begin = app.CLOCK.wall() + timedelta(seconds=45)
            await wait(looking, ids, people, begin, 1 / per_s)
            while app.CLOCK.wall() < begin:
                await stepping.step(connection)
                await asyncio.sleep(0.1)
            task = asyncio.create_task(
                carried_for(stepping, connection, looking, begin + timedelta(seconds=seconds), server.pid)
            )
            found["evenly"] = await task
            rows = await looking.fetch(
                "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - $1::timestamptz)::float8 - id * $2::float8 "
                "AS late FROM enrolment WHERE state = 1 AND id <= $3::bigint",
                begin, 1 / per_s, int(per_s * seconds),
            )  # fmt: skip
            found["evenly"]["lateness_ms"] = quantiles([row["late"] for row in rows])
            found["evenly"]["looked_at"] = len(rows)
            show("evenly", found["evenly"])
        await stepping.close()
        await postgres.close(looking)
        return found


async def carried_for(
    stepping: Stepping, connection: Connection, looking: Connection, until: datetime, server: int
) -> dict[str, Any]:
    """Carry on until a moment, whatever is left."""
    before, cpu, began = app.process_tree_cpu_s(server), time.process_time(), time.monotonic()
    while app.CLOCK.wall() < until:
        if not await stepping.step(connection):
            await asyncio.sleep(0.02)
    took = time.monotonic() - began
    postgres_s, cpu = app.process_tree_cpu_s(server) - before, time.process_time() - cpu
    ended = await looking.fetchval("SELECT count(*) FROM enrolment WHERE state = 1")
    steps = await looking.fetchval("SELECT count(*) FROM step_run")
    return {
        "people": ended, "steps": steps, "seconds": round(took, 2), "people_per_s": round(ended / took),
        "steps_per_s": round(steps / took), "cpu_us_a_person_here": round(cpu / ended * 1e6, 1),
        "cpu_us_a_person_postgres": round(postgres_s / ended * 1e6, 1),
    }  # fmt: skip


def show(name: str, found: dict[str, Any]) -> None:
    """Say it while the rest goes on."""
    print(f"{name}: {found}; load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


async def measure_trigger(folder: str, people: int, per_s: int, seconds: float) -> dict[str, Any]:
    """Tell events to a worker, and read in the simulator's ledger when their texts came: by the machine's one clock."""
    ledger = Path(folder) / "ledger.jsonl"
    with Embedded(folder, SETTINGS) as server:
        await migrate(server.dsn)
        async with simulator("--port", "0", "--receipts", "never", "--ledger", str(ledger), "--ledger-text") as (_, up):
            settings = settings_of(folder, up["port"])
            telling = await postgres.connect(server.dsn, statement_timeout_s=3600)
            await fill(telling, people, app.CLOCK.wall())
            await launch(telling, settings, AT_ONCE)
            async with app.open_worker(settings, app.Database(server.dsn, None, settings)):
                told = await tell(telling, people, per_s, seconds)
                until = time.monotonic() + 60
                while count_lines(ledger) < len(told) and time.monotonic() < until:
                    await asyncio.sleep(0.2)
            await postgres.close(telling)
        found: dict[str, float] = {}
        for message in ledger_of(ledger):
            name = bytes.fromhex(message.content).decode().removeprefix("Thank you for ").rstrip(".")
            found.setdefault(name, message.at_ns / 1e9)
        late = [found[name] - at for name, at in told.items() if name in found]
        return {"events": len(told), "texts": len(found), "ms": quantiles(late)}


def count_lines(path: Path) -> int:
    """Count the texts so far."""
    return path.read_bytes().count(b"\nS,") if path.exists() else 0


async def tell(connection: Connection, people: int, per_s: int, seconds: float) -> dict[str, float]:
    """Tell events evenly; -> when each was told."""
    told: dict[str, float] = {}
    chance, kinds = random.Random(3), profiles.Kinds()
    await months.ensure(connection, "person_event", [app.CLOCK.wall()])
    await asyncio.sleep(3)
    began, n = time.monotonic(), 0
    while n < per_s * seconds:
        await asyncio.sleep(0.01)
        upto = min(int((time.monotonic() - began) * per_s), int(per_s * seconds))
        now = app.CLOCK.wall()
        items = []
        for at in range(n, upto):
            number = FIRST + (1 + at % people) * 7
            told[f"o{at}"] = time.monotonic()
            items.append(
                Item(
                    who=Who(phone=number), event_id=f"o{at}", name="order_told", occurred_at=now,
                    properties={"order": f"o{at}"},
                )
            )  # fmt: skip
        n = upto
        if items:
            await profiles.ingest(connection, items, now, chance, kinds)
    print(f"told {n} in {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure steps of campaigns.")
    parser.add_argument("--trigger", action="store_true", help="from the event to the text")
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--drained", type=int, default=300_000, help="due at one moment; 0: none")
    parser.add_argument("--per-s", type=int, default=20_000, help="fall due each second; 0: none")
    parser.add_argument("--events-per-s", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--data", default="", help="a folder that is kept")
    parser.add_argument("--quick", action="store_true", help="fewer people, and shorter")
    options = parser.parse_args()
    if options.quick:
        options.people, options.drained, options.per_s, options.seconds = 100_000, 50_000, 5_000, 10.0
    with contextlib.ExitStack() as stack:
        folder = options.data or stack.enter_context(
            tempfile.TemporaryDirectory(prefix="sluice-bench-", ignore_cleanup_errors=True)
        )
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        if options.trigger:
            found = app.run(measure_trigger(folder, 100_000, options.events_per_s, options.seconds))
        else:
            found = app.run(measure_steps(folder, options.people, options.per_s, options.seconds, options.drained))
    print(json.dumps({**found, "load": os.getloadavg()}))


if __name__ == "__main__":
    main()
