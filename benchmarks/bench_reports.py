"""How long reports take over a shop: 100,000 customers and 400 days by default, made up in Postgres.

    .venv/bin/python -m benchmarks.bench_reports [--customers 100000] [--days 400]

Measures a rebuild of all persons, a refresh of nothing new, and the reading of each view. It does not measure how
events come in (bench_ingest.py), nor messages by lane.
"""

import argparse
import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from gateway.reporting import ReportSettings
from gateway.store import months, postgres, reports
from gateway.store.embedded import Embedded
from gateway.store.migrate import migrate

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FIRST = 447700000000
BUCKET = "((n # (n >> 8) # (n >> 16) # (n >> 24)) & 255)::int"


async def make(connection: Any, customers: int, days: int) -> dict[str, int]:
    """Write the shop: a customer has 20 messages of 40 campaigns, some click one in ten, and an order every 50 days."""
    await months.ensure(connection, "person_event", [NOW - timedelta(days=back) for back in range(0, days + 31, 20)])
    await connection.execute("SET synchronous_commit = off")
    await connection.execute(
        f"INSERT INTO profile (bucket, id, number, created_at, updated_at, last_order_at, spent) "
        f"SELECT {BUCKET}, n, n, $3, $3, $3, "
        "'{\"EUR\": 1}' FROM generate_series($1::bigint, $1::bigint + $2::bigint - 1) AS n",
        FIRST,
        customers,
        NOW,
    )
    # One draw each, the same in every run: a hash of person and number.
    draw = "(hashint8(n * 1000 + k) & 2147483647)::float8 / 2147483647"
    sent = f"$2::timestamptz - (({draw}) * $3::int) * interval '1 day'"
    people = "generate_series($1::bigint, $1::bigint + $4::bigint - 1) AS n"
    message = "jsonb_build_object('campaign', 'c' || ((n * 7 + k * 13) % 40), 'run', (n * 7 + k * 13) % 40)"
    for name, after, every in (("submitted", "0 s", 1), ("delivered", "5 s", 1), ("clicked", "1 h", 10)):
        await connection.execute(
            "INSERT INTO person_event (bucket, flags, profile, id, occurred_at, received_at, source, event_id, "
            "name, properties) "
            f"SELECT {BUCKET}, 8, n, n * 1000 + k, at, at, 'sluice', '{name}:1:' || k || ':' || (n - $1::bigint), "
            f"'{name}', {message} "
            f"FROM (SELECT n, k, {sent} + interval '{after}' AS at FROM {people}, generate_series(1, 20) AS k "
            f"WHERE (n + k) % {every} = 0) s",
            FIRST,
            NOW,
            days,
            customers,
            timeout=900,
        )
    await connection.execute(
        "INSERT INTO person_order (bucket, profile, key, amount, placed_at, stated_at, stated_id, currency, "
        "is_counted) "
        f"SELECT {BUCKET}, n, 'order:' || n || '.' || k, 1000 + (hashint8(n + k) & 4095), at, at, k, 'EUR', true "
        f"FROM (SELECT n, k, {sent} + interval '2 h' AS at FROM {people}, generate_series(1, 8) AS k) s",
        FIRST,
        NOW,
        days,
        customers,
        timeout=900,
    )
    await connection.execute("INSERT INTO carrier (lane, name, created_at) VALUES (1, 'acme', $1)", NOW)
    await connection.execute("VACUUM ANALYZE", timeout=900)
    return {
        name: await connection.fetchval(f"SELECT count(*) FROM {name}")
        for name in ("profile", "person_event", "person_order")
    }


async def measure(dsn: str, customers: int, days: int) -> dict[str, Any]:
    """Make the shop, reckon it and read it; -> seconds by what was done."""
    connection = await postgres.connect(dsn, statement_timeout_s=900, allow_fsync_off=True)
    took: dict[str, Any] = {"rows": await make(connection, customers, days)}
    for what, whole in (("rebuild_s", True), ("refresh_s", False)):
        begun = time.perf_counter()
        await reports.refresh(connection, ReportSettings(), NOW + timedelta(days=1), whole=whole)
        took[what] = round(time.perf_counter() - begun, 2)
    await connection.execute("VACUUM ANALYZE touch, attribution, conversion")
    for view in reports.VIEWS:
        begun = time.perf_counter()
        found = await reports.rows(connection, view)
        took[f"{view}_s"] = round(time.perf_counter() - begun, 2)
        took.setdefault("lines", {})[view] = len(found)
    for name, arguments in (
        ("report_lives", (NOW, 2.0)),
        ("report_year", (NOW, "EUR")),
        ("report_reactivated", ("c1", timedelta(days=90), timedelta(days=90))),
        ("report_timing", ("", NOW.date() - timedelta(days=days), NOW.date())),
    ):
        begun = time.perf_counter()
        await reports.ask(connection, name, *arguments)
        took[f"{name}_s"] = round(time.perf_counter() - begun, 2)
    await postgres.close(connection)
    return took


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--customers", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=400)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder,
        Embedded(folder, {"fsync": "off", "shared_buffers": "256MB", "max_wal_size": "4GB"}) as server,
    ):
        asyncio.run(migrate(server.dsn))
        print(json.dumps(asyncio.run(measure(server.dsn, given.customers, given.days)), indent=1))


if __name__ == "__main__":
    main()
