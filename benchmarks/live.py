"""Limits as a whole gateway meets them: embedded Postgres, a worker, a simulator process that enforces, sockets.

What is told here was written down by the simulator: when each submit_sm arrived, and what it was answered. A second is
any sliding one. Not here: the same in virtual time, at more distances and with other models (carriers.py).
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _fastpath.batch import Batch
from _fastpath.outbound import Form
from _fastpath.template import Template
from gateway import app
from gateway.commands._life import FIELDS, TEXT, make_people, simulator
from gateway.config import CarrierSettings, DatabaseSettings, Settings
from gateway.message import MessageClass, Policy
from gateway.simulator import ledger
from gateway.smpp.carrier import Carrier
from gateway.store import runs

THROTTLED = 0x58
# Of an SMSC that measures gaps, as a share of the gap: what it forgives.
GAP_SLACK = 0.05
FIRST_NUMBER = 447_700_900_000


def fullest_second(arrived_s: Sequence[float]) -> int:
    """How many arrived in the fullest sliding second."""
    first, most = 0, 0
    for last, at in enumerate(arrived_s):
        while arrived_s[first] <= at - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def between(messages: Sequence[ledger.Message], from_s: float, to_s: float) -> tuple[float, float, float]:
    """Arrived a second, accepted a second, throttled share of what arrived; seconds count from the first arrival."""
    began = messages[0].at_ns
    some = [message for message in messages if from_s <= (message.at_ns - began) / 1e9 < to_s]
    span = to_s - from_s
    accepted = sum(message.status == 0 for message in some)
    throttled = sum(message.status == THROTTLED for message in some)
    return len(some) / span, accepted / span, throttled / max(1, len(some))


async def _run(
    limit: int, delay_ms: float, seconds: float, carrier: dict[str, Any], halfway: Callable[[Carrier], None] | None
) -> tuple[list[ledger.Message], dict[str, Any]]:
    """Send for so long; -> what arrived, and how the account stood in the end."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-", ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o755)
        path = Path(folder, "arrived")
        async with simulator(
            "--port", "0", "--receipts", "never", "--limit", "sliding", "--tps", str(limit),
            "--delay-ms", str(delay_ms), "--ledger", str(path),
        ) as (_, first):  # fmt: skip
            settings = Settings(
                database=DatabaseSettings(data_root=folder, deadline_s=60.0),
                carriers={
                    "bench": CarrierSettings(
                        host="127.0.0.1", port=first["port"], system_id="bench", password="bench", **carrier
                    )
                },
            )
            async with app.open_database(settings) as database:
                wall = app.CLOCK.wall
                messages = int(2 * limit * seconds)
                async with database.connection() as connection, app.open_worker(settings, database) as worker:
                    list_id = await make_people(connection, messages)
                    lane = await runs.lane_of(connection, "bench", wall())
                    run = await runs.add_run(
                        connection, name="bench", template=TEXT, fields=FIELDS, class_=MessageClass.BULK,
                        policy=Policy.ONCE, lanes=[lane], list_id=list_id, source=None, now=wall(),
                    )  # fmt: skip
                    await runs.materialise(connection, run, [1], messages, wall())
                    account = worker.lanes[0].carrier
                    async with asyncio.timeout(30):
                        while not account.ledger.submitted:
                            await asyncio.sleep(0.01)
                    await asyncio.sleep(seconds / 2)
                    if halfway is not None:
                        halfway(account)
                    await asyncio.sleep(seconds / 2)
                    report = account.account()
                    counts = account.ledger.counts()
        arrived = ledger.read(path)
    return arrived, {
        "rate_per_s": report.rate_per_s, "window": report.window, "p99_ms": report.p99_ms,
        "reasons": list(report.reasons), "uncertain": counts["uncertain"], "refused": counts["throttled"],
    }  # fmt: skip


async def hidden(limit: int, seconds: float) -> dict[str, Any]:
    """An account that is told twice the limit there is, 20 ms away; -> what it reached from the 20th second on."""
    arrived, account = await _run(limit, 20.0, seconds, {"tps": 2 * limit, "window": 100, "binds": 2}, None)
    sent, accepted, throttled = between(arrived, 20.0, seconds - 0.5)
    return {
        "limit": limit, "sent": sent / limit, "accepted": accepted / limit, "throttled": throttled,
        "throttled_whole": between(arrived, 0.0, seconds)[2], **account,
    }  # fmt: skip


async def known(limit: int, seconds: float) -> dict[str, Any]:
    """Four binds on a limit they know; one link is cut halfway, and comes back; -> its use, and the fullest second."""

    def cut(carrier: Carrier) -> None:
        # At a few in flight the first bind with room sends nearly all: it is the one to lose.
        links = [bind.link for bind in carrier.binds if bind.link is not None]
        max(links, key=lambda link: link.exchange.submitted).abort("cut by the benchmark")

    arrived, account = await _run(limit, 20.0, seconds, {"tps": limit, "window": 50, "binds": 4}, cut)
    at = [message.at_ns / 1e9 for message in arrived]
    return {
        "limit": limit, "used": between(arrived, 8.0, seconds - 0.5)[0] / limit,
        "used_around_the_cut": between(arrived, seconds / 2 - 1.0, seconds / 2 + 4.0)[0] / limit,
        "fullest_second": fullest_second(at), "links": len({message.link for message in arrived}), **account,
    }  # fmt: skip


async def even(tps: int, seconds: float) -> dict[str, Any]:
    """Even pacing at an SMSC that refuses what comes too soon, without Postgres; -> what left, refused, CPU."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        wanted = Path(folder, "smsc.toml")
        wanted.write_text(
            f'[[carrier]]\nanybody = true\nlimit.model = "gap"\nlimit.gap_slack = {GAP_SLACK}\n'
            f'responses.delay_ms = 5\nreceipts.when = "never"\n[[carrier.account]]\ntps = {tps}\n',
            encoding="ascii",
        )
        async with simulator("--config", str(wanted)) as (_, first):
            settings = CarrierSettings(
                host="127.0.0.1", port=first["port"], system_id="bench", tps=tps, window=100, adaptive=False,
                pacing="gap",
            )  # fmt: skip
            carrier = Carrier(
                "bench", settings, 1, clock=time.monotonic, chance=random.Random(1), on_request=lambda link, pdu: None,
            )  # fmt: skip
            messages = int(tps * (seconds + 2))
            batch = Batch.of(1, [FIRST_NUMBER + i for i in range(messages)])
            batch.dress(Form(Template("Your parcel is on its way"), source="Brand", registered_delivery=0))
            batch.commit(messages)
            carrier.backlog.add(batch)
            carrier.start()
            try:
                async with asyncio.timeout(10):
                    while carrier.ledger.submitted < tps // 2:
                        await asyncio.sleep(0.01)
                ours = carrier.ledger
                sent, refused, at, cpu = ours.submitted, ours.throttled, time.monotonic(), time.process_time()
                await asyncio.sleep(seconds)
                sent, refused, cpu = ours.submitted - sent, ours.throttled - refused, time.process_time() - cpu
                elapsed = time.monotonic() - at
            finally:
                carrier.backlog.drop(1)
                await carrier.stop()
    return {
        "tps": tps, "sent": sent / elapsed / tps, "accepted": (sent - refused) / elapsed / tps, "refused": refused,
        "cpu_ms_per_1000": cpu * 1e6 / sent,
    }  # fmt: skip
