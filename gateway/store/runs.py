"""Carriers' lanes, runs of campaigns, the workers that serve them, and the partitions of time.

Statements: sql/runs.sql. Not here: chunks on their way (queue.py), people (people.py).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
from msgspec import Struct

from gateway.errors import StoreError
from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.queue import CHUNK_BITS, FIRST_REPEAT

CHUNK_POSITIONS = 1000
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
PARTITIONED = ("outcome", "receipt")
PARTITION_DAYS_AHEAD = 3


class Run(Struct, frozen=True, kw_only=True):
    """One execution of a campaign."""

    id: int
    name: str
    template: str
    fields: list[str]
    class_: int
    priority: int
    policy: str
    lanes: list[int]
    list: int | None
    source: str | None
    recipients: int
    not_before: datetime
    expires_at: datetime | None
    created_at: datetime
    enqueued_at: datetime | None


class Worker(Struct, frozen=True, kw_only=True):
    """A worker process as it registered."""

    instance: str
    host: str
    boot: str
    pid: int
    started_at: datetime
    seen_at: datetime
    report: str = "{}"


def _run(row: asyncpg.Record) -> Run:
    values = dict(row)
    return Run(class_=values.pop("class"), **values)


async def lane_of(connection: Connection, carrier: str, now: datetime) -> int:
    """Find the lane of a carrier, or give it one. Lane ids have no meaning."""
    for _ in range(20):
        lane = await connection.fetchval(query("lane_of"), carrier)
        if lane is not None:
            return int(lane)
        await connection.execute(query("add_lane"), carrier, now)
    raise StoreError(f"carrier {carrier!r}: no lane could be made")


async def lanes(connection: Connection) -> dict[int, str]:
    """Name every lane."""
    return {row["lane"]: row["name"] for row in await connection.fetch(query("lanes"))}


async def add_run(
    connection: Connection,
    *,
    name: str,
    template: str,
    fields: Sequence[str],
    class_: int,
    policy: str,
    lanes: Sequence[int],
    list_id: int | None,
    source: str | None,
    now: datetime,
    priority: int = 0,
    not_before: datetime | None = None,
    expires_at: datetime | None = None,
) -> Run:
    """Create a run. Its id is the millisecond it was made in, or the next one free."""
    run_id = int((now - _EPOCH) / timedelta(milliseconds=1))
    for _ in range(1000):
        made = await connection.fetchval(
            query("add_run"), run_id, name, template, list(fields), class_, priority, policy, list(lanes), list_id,
            source, not_before or now, expires_at, now,
        )  # fmt: skip
        if made is not None:
            found = await run_by_id(connection, run_id)
            assert found is not None
            return found
        run_id += 1
    raise StoreError("run: no id is free")


async def run_by_id(connection: Connection, run_id: int) -> Run | None:
    """Read a run."""
    row = await connection.fetchrow(query("run_by_id"), run_id)
    return None if row is None else _run(row)


async def recent_runs(connection: Connection, limit: int = 10) -> list[Run]:
    """Read the newest runs."""
    return [_run(row) for row in await connection.fetch(query("recent_runs"), limit)]


async def same_run(connection: Connection, list_id: int, template: str) -> Run | None:
    """Find the newest run of the same text to the same list."""
    row = await connection.fetchrow(query("same_run"), list_id, template)
    return None if row is None else _run(row)


async def materialise(connection: Connection, run: Run, weights: Sequence[int], people: int, now: datetime) -> int:
    """Enqueue the people of a run's list in chunks of about 1000; -> people enqueued.

    weights  how often each lane of run.lanes counts
    people   about how many there are: decides the number of chunks
    cost     about 0.5 us of Postgres a person and 0.3 a field; one transaction, so a crash leaves all or nothing
    """
    if run.list is None:
        raise StoreError(f"run {run.id}: it has no list")
    spread = [lane for lane, weight in zip(run.lanes, weights, strict=True) for _ in range(weight)]
    # The lane with most people has chunks of a thousand, the others smaller ones.
    groups = max(1, min(FIRST_REPEAT, round(people * max(weights) / sum(weights) / CHUNK_POSITIONS)))
    sql = query("materialise_payload")
    if run.fields:
        names = ", ".join(f"attributes ->> ${number}::text" for number in range(6, 6 + len(run.fields)))
        sql = sql.replace("ARRAY[]::text[]", f"ARRAY[{names}]")
    else:
        sql = sql.replace("array_agg(params)", "NULL")
    async with connection.transaction():
        await connection.execute(sql, run.id, run.id << CHUNK_BITS, groups, spread, run.list, *run.fields)
        await connection.execute(query("materialise_chunks"), run.id, run.class_, run.priority, run.not_before)
        total = int(await connection.fetchval(query("count_positions"), run.id))
        await connection.execute(query("close_enqueue"), run.id, total, now)
    return total


async def open_chunks(connection: Connection, run_id: int) -> int:
    """Count the chunks of a run that are not done."""
    return int(await connection.fetchval(query("open_chunks"), run_id))


async def ensure_partitions(connection: Connection, now: datetime) -> list[str]:
    """Make the day partitions around `now` that are missing; -> their names.

    Made apart and attached, which blocks nobody (CREATE TABLE … PARTITION OF waits for every reader).
    """
    made = []
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    is_distributed = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')")
    for day in range(-1, PARTITION_DAYS_AHEAD + 1):
        begin = today + timedelta(days=day)
        for table in PARTITIONED:
            name = f"{table}_{begin:%Y%m%d}"
            if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
                continue
            end = begin + timedelta(days=1)
            try:
                async with connection.transaction():
                    await connection.execute("SELECT pg_advisory_xact_lock(728164, hashtext($1))", table)
                    if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
                        continue
                    # The names are ours, of letters and digits; DDL takes no parameters.
                    assert re.fullmatch(r"[a-z_]+_\d{8}", name)
                    await connection.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
                    if is_distributed:
                        await connection.execute(
                            "SELECT create_distributed_table($1::regclass, 'lane', colocate_with => 'chunk')", name
                        )
                    await connection.execute(
                        f"ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ('{begin:%Y-%m-%d}') "
                        f"TO ('{end:%Y-%m-%d}')"
                    )
                made.append(name)
            except asyncpg.DuplicateTableError:
                continue
    return made


async def register(connection: Connection, worker: Worker) -> None:
    """Enter a worker process."""
    await connection.execute(
        query("register_worker"), worker.instance, worker.host, worker.boot, worker.pid, worker.started_at
    )


async def seen(connection: Connection, instance: str, now: datetime, report: str) -> None:
    """Say that a worker is alive; report: JSON of how its carriers stand (Worker.report of dispatch)."""
    await connection.execute(query("worker_seen"), instance, now, report)


async def forget(connection: Connection, instance: str) -> None:
    """Take a worker out."""
    await connection.execute(query("forget_worker"), instance)


async def workers(connection: Connection) -> list[Worker]:
    """List the workers known."""
    return [Worker(**dict(row)) for row in await connection.fetch(query("workers"))]
