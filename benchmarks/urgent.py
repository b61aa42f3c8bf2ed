"""A code behind a million: how long an otp message waits while bulk fills the queue of a slow carrier.

The whole gateway: embedded Postgres, a worker, a simulator process that enforces the same limit. Bulk is enqueued once;
then every tenth of a second a code, as a chunk of its own (store.runs.enqueue_few). Queue time is from before the
transaction that enqueues it to its octets (outcome.at - rtt_us): it holds the commit, the claim and the watermark, too.
"""

import asyncio
import os
import random
import tempfile
from datetime import timedelta
from typing import Any

from gateway import app
from gateway.commands._life import FIELDS, TEXT, make_people, simulator
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.message import MessageClass, Policy
from gateway.store import runs

FIRST_CODE = 447_911_000_000


async def codes_behind_bulk(bulk: int, codes: int, tps: int) -> dict[str, Any]:
    """Measure it; -> p50, p99 and the longest queue time in ms, and what bulk got meanwhile."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        async with simulator("--port", "0", "--receipts", "requested", "--tps", str(tps)) as (_, first):
            carrier = CarrierSettings(
                host="127.0.0.1", port=first["port"], system_id="bench", password="bench", window=20, tps=tps,
                adaptive=False,
            )  # fmt: skip
            settings = Settings(
                database=DatabaseSettings(data_root=folder, deadline_s=60.0), carriers={"bench": carrier}
            )
            async with app.open_database(settings) as database:
                return await _measure(settings, database, bulk, codes)


async def _measure(settings: Settings, database: app.Database, bulk: int, codes: int) -> dict[str, Any]:
    wall = app.CLOCK.wall
    chance = random.Random(7)
    async with database.connection() as connection, app.open_worker(settings, database) as worker:
        list_id = await make_people(connection, bulk)
        lane = await runs.lane_of(connection, "bench", wall())
        since = wall() - timedelta(minutes=1)

        async def add_run(
            name: str, template: str, fields: tuple[str, ...], class_: MessageClass, people: int | None
        ) -> Any:
            return await runs.add_run(
                connection, name=name, template=template, fields=fields, class_=class_, policy=Policy.ONCE,
                lanes=[lane], list_id=people, source=None, now=wall(),
            )  # fmt: skip

        campaign = await add_run("bulk", TEXT, FIELDS, MessageClass.BULK, list_id)
        await runs.materialise(connection, campaign, [1], bulk, wall())
        standing = await add_run("codes", "{{ code }} is your code", ("code",), MessageClass.OTP, None)
        ledger = worker.lanes[0].carrier.ledger
        while ledger.accepted < settings.carriers["bench"].tps:
            await asyncio.sleep(0.01)
        enqueued: dict[int, float] = {}
        bulk_before, began = ledger.accepted, app.CLOCK.monotonic()
        for n in range(codes):
            at = wall()
            chunk = await runs.enqueue_few(
                connection, standing, lane, [FIRST_CODE + n], [[f"{chance.randrange(10**6):06d}"]], at
            )
            enqueued[chunk] = at.timestamp()
            await asyncio.sleep(chance.uniform(0.05, 0.15))
        elapsed = app.CLOCK.monotonic() - began
        sent: dict[int, float] = {}
        async with asyncio.timeout(30):
            while len(sent) < codes:
                rows = await connection.fetch(
                    "SELECT o.chunk_id, extract(epoch FROM o.at)::float8 - o.rtt_us / 1e6 AS at FROM outcome o "
                    "JOIN chunk k ON k.lane = o.lane AND k.id = o.chunk_id "
                    "WHERE k.run = $1 AND o.status = 0 AND o.at >= $2",
                    standing.id,
                    since,
                )
                sent = {row["chunk_id"]: row["at"] for row in rows}
                await asyncio.sleep(0.05)
        accepted = ledger.accepted - bulk_before
    waits = sorted((sent[chunk] - at) * 1000 for chunk, at in enqueued.items())
    return {
        "bulk": bulk,
        "codes": codes,
        "tps": settings.carriers["bench"].tps,
        "p50_ms": round(waits[len(waits) // 2], 2),
        "p99_ms": round(waits[min(len(waits) - 1, len(waits) * 99 // 100)], 2),
        "longest_ms": round(waits[-1], 2),
        "rate": round(accepted / elapsed, 1),
        "codes_sent_once": len(sent) == codes,
    }
