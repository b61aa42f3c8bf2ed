"""One whole life, measured: enqueue to matched receipt, all durable, with a simulator process of its own.

With the gate on, everybody has consent, a zone where it is noon, and four messages behind him in the last week.
"""

import asyncio
import contextlib
import json
import os
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway import app
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.errors import GatewayError
from gateway.gate import Cap, Gate
from gateway.message import MessageClass, Policy
from gateway.store import admission, postgres, results, runs

TEXT = 'Hi {{ first_name|default("there") }}, your order {{ order }} has left our depot and arrives on Friday.'
FIELDS = ("first_name", "order")
EARLIER_SENDS = 4
PAGE = "(number % 1000003 * 48271 % 2147483647 >> 8 & 255)::int"


@contextlib.asynccontextmanager
async def simulator(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Start `sluice simulate` as a process; -> it and its first line. raises GatewayError."""
    # In a session of its own: a Ctrl-C at our terminal is ours, and the windows drain before the other side ends.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        "simulate",
        "--json",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        if not line:
            raise GatewayError("the simulator did not start")
        yield process, json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.communicate(), 10)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def make_people(connection: postgres.Connection, messages: int) -> int:
    """Make a list of so many people inside Postgres: not part of what is measured; -> its id.

    A database may see many lives: each has a list of its own.
    """
    list_id: int = await connection.fetchval(
        "INSERT INTO contact_list (name, source_name, source_sha256, fields, state, entries, created_at) "
        "VALUES ('bench ' || $3::text, 'bench', '', $1, 'ready', $2, now()) RETURNING id",
        list(FIELDS),
        messages,
        secrets.token_hex(8),
    )
    await connection.execute(
        "INSERT INTO list_entry (bucket, list, number, attributes) "
        "SELECT ((n # (n >> 8) # (n >> 16) # (n >> 24)) & 255)::int, $1::bigint, n, "
        "jsonb_build_object('first_name', (ARRAY['Katarina', 'Ann', 'Mohammed', 'Zoé', 'Li'])[1 + n % 5], "
        "'order', n::text) "
        "FROM generate_series(447700000000, 447700000000 + $2::bigint - 1) AS n",
        list_id,
        messages,
        timeout=600,
    )
    await connection.execute("ANALYZE list_entry")
    return list_id


def gate_of(list_id: int) -> Gate:
    """What the gate is asked: consent, a cap of a week that five messages do not meet, and hours.

    A brand of its own for each list: lives that were before count for nothing.
    """
    cap = Cap(limit=EARLIER_SENDS + 1, per="7d")
    return Gate(brand=f"bench {list_id}", caps=(cap,), windows={"brand": "08:00-20:00"}, gap_s=0)


async def make_past(connection: postgres.Connection, list_id: int, now: datetime) -> None:
    """Give the people of a list consent, and what they were sent in the last week, as the gate reads it.

    Everybody says that it is noon where he is: a bench has to have something to send at any hour.
    """
    ahead = (12 - now.astimezone(UTC).hour + 11) % 24 - 11
    zone = await admission.id_of(connection, "zone", f"Etc/GMT{-ahead:+d}")
    name = gate_of(list_id).brand
    brand = await admission.id_of(connection, "brand", name)
    await connection.execute(
        "INSERT INTO consent_page (bucket, page, brand, numbers, states, zones) "
        f"SELECT bucket, {PAGE}, $2::text, string_agg(int8send(number), '' ORDER BY number), "
        "string_agg('\\x02'::bytea, ''), string_agg(substr(int4send($3::int), 3), '') "
        "FROM list_entry WHERE list = $1::bigint GROUP BY 1, 2",
        list_id, name, zone, timeout=600,
    )  # fmt: skip
    for back in range(EARLIER_SENDS, 0, -1):
        await connection.execute(
            "INSERT INTO contact_page (bucket, page, at, run, sender, kind, class, brand, priority, tags, numbers) "
            f"SELECT bucket, {PAGE}, $2::timestamptz, $3::bigint, 0, 1, $4::smallint, $5::smallint, 0, 0, "
            "string_agg(int8send(number), '' ORDER BY number) "
            "FROM list_entry WHERE list = $1::bigint GROUP BY 1, 2",
            list_id, now - timedelta(hours=36 * back), back, int(MessageClass.BULK), brand, timeout=600,
        )  # fmt: skip
    for table in ("consent_page", "contact_page"):
        await connection.execute(f"VACUUM ANALYZE {table}")


async def run_life(
    messages: int, binds: int, window: int, receipts: bool, dsn: str, tps: int, timeout_s: float, is_gated: bool = False
) -> dict[str, Any]:
    """Measure one life; -> the result object.

    is_gated  the gate is asked about everybody: consent, a cap, hours
    """
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        async with simulator("--port", "0", "--receipts", "requested" if receipts else "never") as (process, first):
            settings = Settings(
                database=DatabaseSettings(dsn=dsn, data_root=folder, deadline_s=60.0),
                carriers={
                    "bench": CarrierSettings(
                        host="127.0.0.1",
                        port=first["port"],
                        system_id="bench",
                        password="bench",
                        binds=binds,
                        window=window,
                        tps=tps,
                        adaptive=False,
                        registered_delivery=1 if receipts else 0,
                    )
                },
            )
            async with app.open_database(settings) as database:
                return await _measure(settings, database, process.pid, messages, receipts, timeout_s, is_gated)


async def _measure(
    settings: Settings,
    database: app.Database,
    simulator_pid: int,
    messages: int,
    receipts: bool,
    timeout_s: float,
    is_gated: bool,
) -> dict[str, Any]:
    wall = app.CLOCK.wall
    async with database.connection() as connection:
        list_id = await make_people(connection, messages)
        lane = await runs.lane_of(connection, "bench", wall())
        if is_gated:
            await make_past(connection, list_id, wall())
        await connection.execute("CHECKPOINT")
    cpu_postgres = database.cpu_s()
    cpu_simulator = app.process_tree_cpu_s(simulator_pid)
    cpu_worker = time.process_time()
    since = wall()
    started = time.monotonic()
    async with database.connection(timeout_s + 60) as connection, app.open_worker(settings, database) as worker:
        ledger = worker.lanes[0].carrier.ledger
        run = await runs.add_run(
            connection, name="bench", template=TEXT, fields=FIELDS, class_=MessageClass.BULK, policy=Policy.ONCE,
            lanes=[lane], list_id=list_id, source=None, now=wall(), gate=gate_of(list_id) if is_gated else None,
        )  # fmt: skip
        enqueued = await runs.materialise(connection, run, [1], messages, wall())
        enqueue_s = time.monotonic() - started
        lane_of_run = worker.lanes[0]
        ended = False
        deadline = started + timeout_s
        while not ended and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
            if worker.failed is not None and worker.failed.done():
                worker.failed.result()
            if ledger.accepted + ledger.rejected + ledger.refused + ledger.uncertain < enqueued:
                continue
            if receipts and ledger.receipts_matched + lane_of_run.rescue.matched < ledger.accepted:
                continue
            # Everything is known here; the life ends when all of it is committed and every chunk is closed.
            ended = lane_of_run.settlement.is_idle and not await runs.open_chunks(connection, run.id)
        elapsed = time.monotonic() - started
        cpu_worker = time.process_time() - cpu_worker
        cpu_simulator = app.process_tree_cpu_s(simulator_pid) - cpu_simulator
        if cpu_postgres is not None:
            cpu_postgres = (database.cpu_s() or 0.0) - cpu_postgres
        counts = ledger.counts()
        states = await results.states(connection, run.id, since, app.CLOCK.wall())
        # The clock has stopped: does Postgres hold what memory says?
        if receipts and await results.unreceipted(connection, run.id, since):
            ended = False
        settled = worker.lanes[0].settlement
        quantiles = {
            "p50_ms": _ms(ledger.submit_to_response.quantile(0.5)),
            "p99_ms": _ms(ledger.submit_to_response.quantile(0.99)),
            "receipt_p50_ms": _ms(ledger.submit_to_receipt.quantile(0.5)),
            "receipt_p99_ms": _ms(ledger.submit_to_receipt.quantile(0.99)),
        }
    total = cpu_worker + cpu_simulator + (cpu_postgres or 0.0)
    return {
        "bench": "life",
        "messages": messages,
        "gate": is_gated,
        "binds": settings.carriers["bench"].binds,
        "window": settings.carriers["bench"].window,
        "seconds": round(elapsed, 3),
        "enqueue_seconds": round(enqueue_s, 3),
        "rate": round(messages / elapsed, 1),
        "cpu_us_per_message": round(total / messages * 1e6, 3),
        "cpu_us_worker": round(cpu_worker / messages * 1e6, 3),
        "cpu_us_postgres": None if cpu_postgres is None else round(cpu_postgres / messages * 1e6, 3),
        "cpu_us_simulator": round(cpu_simulator / messages * 1e6, 3),
        "rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "responses": counts["responses"],
        "receipts": counts["receipts_matched"] + counts["receipts_waiting"],
        "receipts_matched_at_once": counts["receipts_matched"],
        "errors": counts["rejected"] + counts["refused"] + counts["uncertain"],
        "flushes": settled.flushes,
        "admitted": lane_of_run.dispatcher.admission.admitted,
        **quantiles,
        "states": {count.state: count.messages for count in states},
        "complete": ended,
    }


def _ms(us: float | None) -> float | None:
    return None if us is None else round(us / 1000, 3)
