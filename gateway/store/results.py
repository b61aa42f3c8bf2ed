"""What became of a run: counts by state, reasons, latencies. Statements: sql/results.sql.

Rows of single messages go after a time; what they said is in counters then (retention.py), and counted with the rest.
"""

import contextlib
import math
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.retention import STEPS_AN_E, What


class StateCount(Struct, frozen=True, kw_only=True):
    """Messages of one state on one lane."""

    lane: int
    state: str
    messages: int
    segments: int


class Refused(Struct, frozen=True, kw_only=True):
    """Messages rejected (status above 0) or refused (below) on one lane; of those too long, what the longest needs."""

    lane: int
    status: int
    messages: int
    needed: int = 0


class Latency(Struct, frozen=True, kw_only=True):
    """Percentiles of one lane, in milliseconds; None without receipts."""

    lane: int
    response_p50_ms: float
    response_p99_ms: float
    receipt_p50_ms: float | None
    receipt_p99_ms: float | None
    first_at: datetime
    last_at: datetime
    segments: int


@contextlib.asynccontextmanager
async def _sets(connection: Connection) -> AsyncIterator[None]:
    """Plan for sets: partitions of today have no statistics yet, and a nested loop over 20,000 rows that were estimated
    as one ran into the statement's time-out."""
    async with connection.transaction(readonly=True):
        await connection.execute("SET LOCAL enable_nestloop = off")
        await connection.execute("SET LOCAL work_mem = '64MB'")
        yield


async def states(connection: Connection, run_id: int, since: datetime, now: datetime) -> list[StateCount]:
    """Count by state as of `now`; those still queued are the run's recipients less the sum of these."""
    counted: dict[tuple[int, str], StateCount] = {}
    async with _sets(connection):
        rows = await connection.fetch(query("message_states"), run_id, since, now)
    for row in rows:
        key = row["lane"], row["state"]
        before = counted.get(key)
        counted[key] = StateCount(
            lane=row["lane"],
            state=row["state"],
            messages=row["messages"] + (before.messages if before else 0),
            segments=row["segments"] + (before.segments if before else 0),
        )
    return list(counted.values())


async def late_conflicts(connection: Connection, run_id: int, since: datetime) -> int:
    """Count segments of which the carrier told two different ends; the first stands, unless a delivery wins there."""
    async with _sets(connection):
        return int(await connection.fetchval(query("late_conflicts"), run_id, since))


async def refusals(connection: Connection, run_id: int, since: datetime) -> list[Refused]:
    """Count what messages were rejected or refused with."""
    async with _sets(connection):
        return [Refused(**dict(row)) for row in await connection.fetch(query("refusals"), run_id, since)]


async def latencies(connection: Connection, run_id: int, since: datetime) -> list[Latency]:
    """Percentiles by lane; to within 1 % once messages of the run are rolled into counters."""
    async with _sets(connection):
        if await connection.fetchval(query("is_rolled"), run_id):
            return _counted(await connection.fetch(query("latency_counts"), run_id, since))
        rows = await connection.fetch(query("latencies"), run_id, since)
    return [
        Latency(
            lane=row["lane"],
            response_p50_ms=row["response_p50_us"] / 1000,
            response_p99_ms=row["response_p99_us"] / 1000,
            receipt_p50_ms=None if row["receipt_p50_us"] is None else float(row["receipt_p50_us"]) / 1000,
            receipt_p99_ms=None if row["receipt_p99_us"] is None else float(row["receipt_p99_us"]) / 1000,
            first_at=row["first_at"],
            last_at=row["last_at"],
            segments=row["segments"],
        )
        for row in rows
    ]


def _counted(rows: list[Any]) -> list[Latency]:
    """Percentiles out of counts by time, the lowest times of a lane first."""
    times: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row in rows:
        times.setdefault((row["lane"], row["what"]), []).append((row["key"], row["segments"]))
    found = []
    for row in rows:
        lane = row["lane"]
        responses, receipts = times.get((lane, What.RESPONSE), []), times.get((lane, What.RECEIPT), [])
        if row["what"] == What.ACCEPTED and responses:
            p50, p99 = _quantile_ms(responses, 0.5), _quantile_ms(responses, 0.99)
            found.append(
                Latency(
                    lane=lane,
                    response_p50_ms=p50,
                    response_p99_ms=p99,
                    receipt_p50_ms=_quantile_ms(receipts, 0.5) if receipts else None,
                    receipt_p99_ms=_quantile_ms(receipts, 0.99) if receipts else None,
                    first_at=row["first_at"],
                    last_at=row["last_at"],
                    segments=row["segments"],
                )
            )
    return found


def _quantile_ms(counts: list[tuple[int, int]], share: float) -> float:
    """The time, in the middle of its step, at which `share` of the segments have had theirs."""
    left = share * sum(count for _, count in counts)
    at = 0
    while (left := left - counts[at][1]) > 0 and at + 1 < len(counts):
        at += 1
    step = counts[at][0]
    return round(math.exp((step + 0.5) / STEPS_AN_E) / 1000, 3)


async def unreceipted(connection: Connection, run_id: int, since: datetime) -> int:
    """Count accepted segments that no receipt has come for yet."""
    async with _sets(connection):
        return int(await connection.fetchval(query("unreceipted"), run_id, since))


async def chunk_states(connection: Connection, run_id: int) -> list[dict[str, Any]]:
    """Count chunks and positions by lane and state."""
    return [dict(row) for row in await connection.fetch(query("chunk_states"), run_id)]


async def queue_by_lane(connection: Connection) -> list[dict[str, Any]]:
    """Show what waits on each lane, by class."""
    return [dict(row) for row in await connection.fetch(query("queue_by_lane"))]
