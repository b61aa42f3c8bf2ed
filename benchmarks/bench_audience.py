"""How long it takes to count an audience, and to freeze it into a list.

    ./dev bench audience [--people N] [--rounds N] [--data FOLDER]

Fills an embedded Postgres of its own, in a temporary folder or in one that is kept, with people (five attributes, a
number each, which one in fifty shares), twice as many events over a year in monthly partitions, and a consent for each
number; then asks, in rounds. A quarter of memory is the server's, and the tables are in it. Prints one JSON object: of
each wall seconds and CPU seconds of all server processes, least, median and most. Beside the freeze, into an empty
table each time, after a checkpoint:

    from_ids     INSERT … SELECT of the same rows from the people, by a table of the ids that were found (the plain one)
    from_rows    INSERT … SELECT of the same rows from a table that holds them as they are
    by_hand      INSERT … SELECT with the same conditions, as one would write it

Not measured: a disk that is slower than memory, an ingest at the same time, a cluster.
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
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from typing import Any

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from gateway.campaign.audience import parse  # noqa: E402
from gateway.store import people, postgres, selection  # noqa: E402
from gateway.store.audiences import Terms  # noqa: E402
from gateway.store.embedded import Embedded  # noqa: E402
from gateway.store.migrate import migrate  # noqa: E402

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TERMS = Terms(now=NOW)
TICKS = os.sysconf("SC_CLK_TCK")
# An attribute, a column, an event count in a window and consent: about a million of five.
FROZEN = (
    "points > 500 and country in ('DE', 'AT', 'GB', 'FR', 'PL', 'IT') and count(visit, 240d) >= 1 "
    "and consent(promotional, shop)"
)
TEXTS = (
    "country = 'DE' and orders.last > 30d",
    "points > 1000",
    "city = 'city7'",
    "count(order_placed, 90d, total > 100) >= 1 and country = 'DE'",
    FROZEN,
)
ATTRIBUTES = "jsonb_build_object('first_name', p.attributes -> 'first_name', 'city', p.attributes -> 'city')"
FROM_IDS = f"""
INSERT INTO list_entry (bucket, list, number, attributes)
SELECT p.bucket, 1::bigint, p.number, {ATTRIBUTES}
FROM bench_id i JOIN profile p ON p.bucket = i.bucket AND p.id = i.id
"""
FROM_ROWS = """
INSERT INTO list_entry (bucket, list, number, attributes) SELECT bucket, list, number, attributes FROM bench_row
"""
BY_HAND = f"""
INSERT INTO list_entry (bucket, list, number, attributes)
SELECT p.bucket, 1::bigint, p.number, {ATTRIBUTES}
FROM profile p
JOIN consent_state c ON c.bucket = p.bucket AND c.number = p.number AND c.brand = 'shop' AND c.promotional = 2
WHERE p.number IS NOT NULL AND (p.attributes ->> 'points')::numeric > 500
  AND p.country IN ('DE', 'AT', 'GB', 'FR', 'PL', 'IT')
  AND EXISTS (SELECT FROM person_event v WHERE v.bucket = p.bucket AND v.profile = p.id AND v.name = 'visit'
                AND v.occurred_at > timestamptz '2026-11-22 00:00Z' - interval '240 days'
                AND v.occurred_at <= timestamptz '2026-11-22 00:00Z')
ON CONFLICT (bucket, list, number) DO NOTHING
"""
WARM = """
SELECT pg_prewarm(c.oid) FROM pg_class c
WHERE c.relkind IN ('r', 'i') AND c.relnamespace = 'public'::regnamespace AND pg_relation_size(c.oid) > 0
"""
PEOPLE = """
INSERT INTO profile (bucket, id, number, orders, created_at, updated_at, last_order_at, external_id, email, country,
                     language, spent, attributes, attribute_at)
SELECT (n # (n >> 8) # (n >> 16) # (n >> 24)) & 255, i, n, o, t, t,
       CASE WHEN o > 0 THEN t - a % 700 * (b % 1000) / 1000 * interval '1 day' END,
       'c' || i, 'u' || i || '@example.com',
       (ARRAY['DE', 'AT', 'GB', 'FR', 'PL', 'IT', 'ES', 'US', 'BR', 'IN'])[a % 10 + 1], 'en',
       jsonb_build_object('EUR', o * (b % 20000)),
       jsonb_build_object('city', 'city' || b % 50, 'points', a % 5000, 'vip', b % 20 = 0,
                          'tags', jsonb_build_array('a' || a % 7, 'b' || b % 9), 'first_name', 'Name' || a % 1000),
       '{"city": [1790000000000000, 1790000000000000], "points": [1790000000000000, 1790000000000000]}'
FROM (SELECT i, 447000000000 + (i - (i % 100 = 0)::int) * 7 AS n,
             hashint8(i) & 2147483647 AS a, hashint8(i + 77777777777) & 2147483647 AS b,
             (hashint8(i + 5) & 7) % 6 AS o, $2::timestamptz AS t FROM generate_series(1, $1::bigint) i) x
"""
EVENTS = """
INSERT INTO person_event (bucket, profile, id, source, event_id, name, occurred_at, received_at, properties)
SELECT (n # (n >> 8) # (n >> 16) # (n >> 24)) & 255, i, k, 'shop', 'e' || k,
       (ARRAY['order_placed', 'visit', 'visit', 'email_opened', 'page_viewed'])[a % 5 + 1], at, at,
       jsonb_build_object('total', (a % 30000)::numeric / 100, 'category', 'cat' || a % 12)
FROM (SELECT k, k / 2 + 1 AS i, 447000000000 + (k / 2 + 1 - ((k / 2 + 1) % 100 = 0)::int) * 7 AS n,
             hashint8(k * 3) & 2147483647 AS a,
             $2::timestamptz - (hashint8(k * 5 + 77777777777) & 2147483647) % 31536000 * interval '1 s' AS at
      FROM generate_series(0, 2 * $1::bigint - 1) k) x
"""

# Of ten nine have granted.
CONSENTS = """
INSERT INTO consent_state (bucket, promotional, transactional, night, number, since, brand)
SELECT bucket, CASE WHEN (hashint8(id + 31) & 2147483647) % 10 > 0 THEN 2 ELSE 3 END, 0, 0, number, $2::timestamptz,
       'shop'
FROM profile WHERE id <= $1::bigint AND id % 100 <> 0
"""


def server_seconds(pids: list[int]) -> float:
    """CPU of some processes, and of their children that have ended."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            total += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:15]))
    return total / TICKS


async def fill(dsn: str, count: int) -> None:
    """Write the people down."""
    connection = await postgres.connect(dsn, statement_timeout_s=3600, allow_fsync_off=True)
    for month in range(-13, 1):
        begin, end = (divmod(2026 * 12 + 10 + month + more, 12) for more in (0, 1))
        await connection.execute(
            f"CREATE TABLE person_event_{begin[0]}{begin[1] + 1:02d} PARTITION OF person_event FOR VALUES FROM "
            f"('{begin[0]}-{begin[1] + 1:02d}-01') TO ('{end[0]}-{end[1] + 1:02d}-01')"
        )
    for statement in (PEOPLE, EVENTS, CONSENTS):
        await connection.execute(statement, count, NOW, timeout=3600)
    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
    await connection.execute("CREATE TABLE bench_filled AS SELECT $1::bigint AS people", count)
    for table in ("profile", "person_event", "consent_state"):
        await connection.execute(f"VACUUM (ANALYZE) {table}", timeout=3600)
    await postgres.close(connection)


async def filled(dsn: str) -> int:
    """Say how many people were written down here before."""
    connection = await postgres.connect(dsn, allow_fsync_off=True)
    found = await connection.fetchval("SELECT to_regclass('bench_filled') IS NOT NULL")
    count = await connection.fetchval("SELECT people FROM bench_filled") if found else 0
    await postgres.close(connection)
    return int(count)


class Bench:
    """Two connections and what was measured on them."""

    def __init__(self, first: postgres.Connection, second: postgres.Connection, postmaster: int):
        self._first, self._second = first, second
        self._pids = [postmaster, first.get_server_pid(), second.get_server_pid()]
        self._found: dict[tuple[str, str], list[tuple[float, float, str]]] = {}

    async def timed(self, what: str, text: str, work: Awaitable[Any]) -> None:
        """Do it and note what it took."""
        before, begun = server_seconds(self._pids), time.perf_counter()
        result = await work
        wall = time.perf_counter() - begun
        self._found.setdefault((what, text), []).append((wall, server_seconds(self._pids) - before, str(result)))

    async def count(self) -> None:
        """Count each audience."""
        for text in TEXTS:
            await self.timed("count", text, selection.count(self._first, parse(text), TERMS))

    async def _empty(self) -> None:
        await self._first.execute("TRUNCATE list_entry")
        await self._first.execute("CHECKPOINT")

    async def freeze(self, name: str) -> None:
        """Freeze the audience that has all of it, on both connections."""

        @contextlib.asynccontextmanager
        async def beside() -> AsyncIterator[postgres.Connection]:
            yield self._second

        made = await people.open_list(self._first, name, source_name="bench", source_sha256=b"", fields=[], now=NOW)
        await self._empty()
        await self.timed(
            "freeze",
            FROZEN,
            selection.freeze(self._first, parse(FROZEN), TERMS, made.id, ["first_name", "city"], beside=beside),
        )

    async def keep_frozen(self) -> None:
        """Keep what was frozen as rows and as ids, for those who insert the same."""
        await self._first.execute("DROP TABLE IF EXISTS bench_row, bench_id")
        await self._first.execute("CREATE TABLE bench_row AS TABLE list_entry", timeout=3600)
        await self._first.execute(
            "CREATE TABLE bench_id AS SELECT p.bucket, min(p.id) AS id FROM profile p "
            "JOIN bench_row r ON r.bucket = p.bucket AND r.number = p.number GROUP BY p.bucket, p.number",
            timeout=3600,
        )
        await self._first.execute("ANALYZE bench_row, bench_id")

    async def insert(self, what: str, sql: str) -> None:
        """Insert the same rows in another way, with the settings that a freeze has."""

        async def inserted() -> Any:
            async with self._first.transaction():
                for setting in selection.SET_WISE:
                    await self._first.execute(setting)
                return await self._first.execute(sql, timeout=3600)

        await self._empty()
        await self.timed(what, FROZEN, inserted())

    def rows(self) -> list[dict[str, Any]]:
        """Sum up: least, median and most of each."""
        return [
            {
                "what": what,
                "text": text,
                "wall_s": _spread([one[0] for one in found]),
                "cpu_s": _spread([one[1] for one in found]),
                "found": found[-1][2],
            }
            for (what, text), found in self._found.items()
        ]

    def against(self, what: str) -> float:
        """Divide the median of another way by that of the freeze: 1 is as quick, more is quicker."""
        of = {key[0]: statistics.median(one[0] for one in found) for key, found in self._found.items()}
        return of[what] / of["freeze"]


def _spread(values: list[float]) -> list[float]:
    return [round(one, 2) for one in (min(values), statistics.median(values), max(values))]


async def measure(dsn: str, postmaster: int, rounds: int) -> dict[str, Any]:
    """Ask in rounds."""
    first, second = [await postgres.connect(dsn, statement_timeout_s=3600, allow_fsync_off=True) for _ in range(2)]
    await first.execute(WARM, timeout=3600)
    bench = Bench(first, second, postmaster)
    for at in range(rounds):
        await bench.count()
        await bench.freeze(f"frozen {time.time_ns()}")
        if not at:
            await bench.keep_frozen()
        for what, sql in (("from_ids", FROM_IDS), ("from_rows", FROM_ROWS), ("by_hand", BY_HAND)):
            await bench.insert(what, sql)
    await first.execute("TRUNCATE list_entry")
    for one in (first, second):
        await postgres.close(one)
    ratios = {what: round(bench.against(what), 2) for what in ("from_ids", "from_rows", "by_hand")}
    return {"freeze_rate_against": ratios, "rows": bench.rows()}


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", help="a folder that is filled once and kept, 15 GB of it for five million")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.data or stack.enter_context(tempfile.TemporaryDirectory())
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        settings = {
            "max_wal_size": "8GB",
            "maintenance_work_mem": "512MB",
            "shared_buffers": f"{memory // 4 >> 20}MB",
        }
        server = stack.enter_context(Embedded(folder, settings))
        asyncio.run(migrate(server.dsn))
        count = asyncio.run(filled(server.dsn))
        if count not in (0, arguments.people):
            sys.exit(f"{folder}: expected {arguments.people} people, found {count}")
        if not count:
            asyncio.run(fill(server.dsn, arguments.people))
        found = asyncio.run(measure(server.dsn, server.pid, arguments.rounds))
    print(json.dumps({"people": arguments.people, "load": os.getloadavg(), **found}, indent=1))


if __name__ == "__main__":
    main()
