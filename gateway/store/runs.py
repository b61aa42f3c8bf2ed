"""Carriers' lanes, runs of campaigns, the workers that serve them, and the partitions of time.

Statements: sql/runs.sql. Not here: chunks on their way (queue.py), people (people.py).
"""

import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import msgspec
from msgspec import Struct

from gateway.errors import OrderFault, StoreError
from gateway.gate import Gate, gate_of
from gateway.message import Encoding, MessageClass, Refusal
from gateway.routing import Plan, by_weight
from gateway.store import audit, placement, rivals
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.queue import CHANNEL, CHUNK_BITS, FIRST_REPEAT

CHUNK_POSITIONS = 1000
# Which chunk of a cell somebody is in: any; or, for the gate, which reads people by pages (_fastpath.gate), that of his
# page and the pages next to it. Chunks with the same bucket are not claimed one behind the other, or other workers
# would wait for it: a prime moves them apart, and their count is no multiple of it.
BY_HASH = "h % ($9::int[])[cell + 1]"
APART = 69623
BY_PAGE = (
    "((((bucket::bigint << 24) + ((once >> 8 & 255) << 16) + (h & 65535)) * ($9::int[])[cell + 1] >> 32) "
    f"* {APART} % ($9::int[])[cell + 1])::int"
)
# Of a larger list than this some people are counted.
SAMPLE = 20_000
_EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
PARTITIONED = ("outcome", "receipt")
PARTITION_DAYS_AHEAD = 3
# Shards in turn and not side by side; a plain server knows no such setting and keeps it as one of nobody's.
SEQUENTIAL = "SET LOCAL citus.multi_shard_modify_mode = 'sequential'"


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
    # JSON of gateway.message.Encoding; who composes reads it.
    encoding: str = "{}"
    receipt_policy: str = "worst"
    # JSON of gateway.gate.Gate; None: the gate is not asked.
    gate: str | None = None
    # Nothing more of it leaves since (store/cancels.py).
    cancelled_at: datetime | None = None
    cancelled_by: str | None = None
    # Sent to test numbers, and counted nowhere (TP-13).
    is_test: bool = False


class Worker(Struct, frozen=True, kw_only=True):
    """A worker process as it registered.

    node, place  the process of a place within a node
    carriers     served and not drained
    beat         moved by itself alone
    """

    instance: str
    host: str
    boot: str
    pid: int
    started_at: datetime
    seen_at: datetime
    node: str = ""
    place: int = 0
    carriers: Sequence[str] = ()
    beat: int = 0
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
    encoding: Encoding | None = None,
    receipt_policy: str = "worst",
    gate: Gate | None = None,
    is_test: bool = False,
) -> Run:
    """Create a run. Its id is the millisecond it was made in, or the next one free."""
    run_id = int((now - _EPOCH) / timedelta(milliseconds=1))
    for _ in range(1000):
        async with connection.transaction():
            made = await connection.fetchval(
                query("add_run"), run_id, name, template, list(fields), class_, priority, policy, list(lanes), list_id,
                source, not_before or now, expires_at, now, msgspec.json.encode(encoding or Encoding()).decode(),
                receipt_policy, None if gate is None else msgspec.json.encode(gate).decode(), is_test,
            )  # fmt: skip
            if made is not None and gate is not None and gate.bypass:
                await audit.note(
                    connection, at=now, by=gate.bypass_by, action="bypass", about=f"run {run_id}", reason=gate.bypass
                )
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


async def materialise(
    connection: Connection, run: Run, weights: Sequence[int], people: int, now: datetime, plan: Plan | None = None
) -> int:
    """Enqueue the people of a run's list in chunks of about 1000; -> people enqueued.

    weights  how often each lane of run.lanes counts, where there is no plan
    people   about how many there are: decides how closely the cells of the plan are counted
    plan     who takes which numbers (routing.plan); chunks are alike in all that its cells say
    cost     about 0.4 us of Postgres a person and 0.3 a field; one transaction, so a crash leaves all or nothing

    A run with a gate has people of neighbouring pages in a chunk, so that the gate reads few rows for it; if it goes
    before others, it tells of its people first.
    """
    if run.list is None:
        raise StoreError(f"run {run.id}: it has no list")
    await _announce(connection, run.id, now)
    if plan is None:
        gate = gate_of(run.gate)
        if gate is not None and gate.labels:
            raise StoreError(f"run {run.id}: it has labels of countries: expected a plan, which parts them, found none")
        plan = by_weight(run.lanes, weights)
    ranges = plan.bounds, plan.firsts, plan.counts, plan.slots
    first_id = run.id << CHUNK_BITS
    is_taken = [bool(cell.lane) for cell in plan.cells]
    if not all(is_taken):
        # No worker may have run yet, and who is taken by nobody has an outcome from the start.
        await ensure_partitions(connection, now)
    async with connection.transaction():
        # Many lanes at once, and then `run`, which is on every node: Citus takes both in one transaction only so.
        await connection.execute(SEQUENTIAL)
        # Whoever enqueues it once more waits here, and finds it done; his plan may be another.
        before = await connection.fetchrow(query("lock_run"), run.id)
        if before is None:
            raise OrderFault(f"run {run.id} is not known")
        _refuse_cancelled(run.id, before)
        if before["enqueued_at"] is not None:
            return int(before["recipients"])
        chunks = await _chunks_of_cells(connection, run.list, people, plan)
        if run.gate is not None:
            chunks = [count + (count % APART == 0) for count in chunks]
        firsts = [0, *itertools.accumulate(chunks)][:-1]
        lanes = [cell.lane or run.lanes[0] for cell in plan.cells]
        sql = query("materialise_payload")
        if run.gate is not None:
            sql = sql.replace(BY_HASH, BY_PAGE)
        if run.fields:
            names = ", ".join(f"attributes ->> ${number}::text" for number in range(11, 11 + len(run.fields)))
            sql = sql.replace("ARRAY[]::text[]", f"ARRAY[{names}]")
        else:
            sql = sql.replace("array_agg(params)", "NULL::text[]").replace("attributes, ", "")
        await connection.execute(sql, run.id, first_id, run.list, *ranges, firsts, chunks, lanes, *run.fields)
        await connection.execute(
            query("materialise_chunks"), run.id, run.class_, run.priority, run.not_before, first_id, firsts,
            [cell.country for cell in plan.cells], [cell.source for cell in plan.cells],
            ["{" + ",".join(map(str, cell.fallback)) + "}" for cell in plan.cells], is_taken,
        )  # fmt: skip
        if not all(is_taken):
            await connection.execute(query("refuse_unrouted"), run.id, Refusal.NO_ROUTE, now)
        total = int(await connection.fetchval(query("count_positions"), run.id))
        await connection.execute(query("close_enqueue"), run.id, total, now)
        await _tell_if_urgent(connection, run, sorted({cell.lane for cell in plan.cells if cell.lane}))
    return total


async def _announce(connection: Connection, run_id: int, now: datetime) -> None:
    """Tell whom a run means to write to, if it goes before others: apart, for it is the people's side (CP-4)."""
    known = await connection.fetchrow(query("run_by_id"), run_id)
    if known is not None and known["enqueued_at"] is None:
        await rivals.announce(connection, known, now)


async def enqueue_few(
    connection: Connection,
    run: Run,
    lane: int,
    numbers: Sequence[int],
    params: Sequence[Sequence[str | None]] | None,
    now: datetime,
    *,
    country: int = 0,
    source: str = "",
    fallback: Sequence[int] = (),
) -> int:
    """Add a few people to a run that stays open, codes for example, as one chunk; -> its id.

    params  a row of field values for each number, in the order of run.fields; None without fields
    raises  StoreError when the run is cancelled or has no chunk id left; ValueError for rows that do not fit
    cost    one transaction of five statements, about 2 ms; the dispatchers of urgent classes hear of it with its commit
    """
    if not numbers or (params is not None and len(params) != len(numbers)):
        raise ValueError(f"expected a row of values for each of {len(numbers)} numbers, at least one")
    first = run.id << CHUNK_BITS
    async with connection.transaction():
        # One at a time, or two would take the same id.
        known = await connection.fetchrow(query("lock_run"), run.id)
        if known is None:
            raise OrderFault(f"run {run.id} is not known")
        _refuse_cancelled(run.id, known)
        chunk_id = int(await connection.fetchval(query("next_chunk_id"), lane, first, first + FIRST_REPEAT))
        if chunk_id >= first + FIRST_REPEAT:
            raise StoreError(f"run {run.id}: it has {FIRST_REPEAT} chunks already")
        await connection.execute(query("add_payload"), lane, chunk_id, run.id, list(numbers), params)
        await connection.execute(
            query("add_chunk"), lane, chunk_id, run.id, len(numbers), run.class_, run.priority, run.not_before, country,
            source, list(fallback),
        )  # fmt: skip
        await connection.execute(query("add_recipients"), run.id, len(numbers), now)
        await _tell_if_urgent(connection, run, [lane])
    return chunk_id


def _refuse_cancelled(run_id: int, known: asyncpg.Record) -> None:
    """Enqueue nobody of a run that is cancelled: whoever cancels it waits for us, or we find it so."""
    if known["cancelled_at"] is not None:
        at = known["cancelled_at"]
        raise OrderFault(
            f"run {run_id}: cancelled at {at:%Y-%m-%d %H:%M:%S} UTC by {known['cancelled_by']}; nobody was enqueued"
        )


async def _tell_if_urgent(connection: Connection, run: Run, lanes: Sequence[int]) -> None:
    if run.class_ <= MessageClass.TRANSACTIONAL:
        await connection.execute(query("tell_urgent"), CHANNEL, lanes)


async def _chunks_of_cells(connection: Connection, list_id: int, people: int, plan: Plan) -> list[int]:
    """How many chunks each cell of a plan gets, at least one; large lists are judged by a sample of their buckets."""
    wanted = min(BUCKETS, max(4, -(-BUCKETS * SAMPLE // max(1, people))))
    buckets = [BUCKETS * at // wanted for at in range(wanted)]
    rows = await connection.fetch(
        query("sample_cells"), list_id, buckets, plan.bounds, plan.firsts, plan.counts, plan.slots
    )
    found = {row["cell"]: row["people"] * BUCKETS / wanted for row in rows}
    chunks = [max(1, round(found.get(cell, 0) / CHUNK_POSITIONS)) for cell in range(len(plan.cells))]
    if sum(chunks) > FIRST_REPEAT:
        # Chunks of a run have so many ids; larger ones take as many people.
        factor = (FIRST_REPEAT - len(chunks)) / sum(chunks)
        chunks = [max(1, int(count * factor)) for count in chunks]
    return chunks


async def open_chunks(connection: Connection, run_id: int) -> int:
    """Count the chunks of a run that are not done."""
    return int(await connection.fetchval(query("open_chunks"), run_id))


async def ensure_partitions(connection: Connection, now: datetime) -> list[str]:
    """Make the day partitions around `now` that are missing; -> their names.

    Made apart and attached, which blocks nobody (CREATE TABLE … PARTITION OF waits for every reader).
    """
    made = []
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    is_distributed = await placement.is_distributed(connection, PARTITIONED[0])
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
                        # Without a primary key its shards could not be moved while they are written to.
                        await connection.execute(f"ALTER TABLE {name} REPLICA IDENTITY FULL")
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


async def seen(connection: Connection, instance: str, now: datetime, report: str) -> None:
    """Say that a worker is alive; report: JSON of how its carriers stand (Worker.report of dispatch)."""
    await connection.execute(query("worker_seen"), instance, now, report)


async def workers(connection: Connection) -> list[Worker]:
    """List the workers known."""
    return [Worker(**dict(row)) for row in await connection.fetch(query("workers"))]
