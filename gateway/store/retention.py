"""What is kept for how long: days of outcomes are rolled into results and dropped, and what is old goes with them.

    a day of outcomes   roll ─► result (a final state for each position, an octet each), counter (sums by run)
                        then the day's partition is dropped, and the receipts' one a day later
    chunk               with its payload, result, repeats and transfers, when nothing of it is left in those partitions
    run                 with its counters, when it has no chunk
    list of a file      its entries when its runs are done, with people whom no list holds; its row with its last run
    inbound, inbound_message, event, orphan_receipt, receipt_waiting, control      by their time

Each call is a small transaction on one lane and may be repeated; a roll locks its chunks, so that nothing is counted
twice whoever does it. Partitions are dropped under a short lock_timeout: a lock that is waited for would stop those who
append. Statements: sql/retention.sql.
Not here: who does it, and when (dispatch/retention.py); making partitions (runs.py).
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum

import asyncpg
from msgspec import Struct

from gateway.gate import PERIODS, hours_of
from gateway.store import watched
from gateway.store.months import Month
from gateway.store.people import LIST_OF_FILE
from gateway.store.postgres import Connection
from gateway.store.queries import query

# Steps of a logarithmic scale for times: 64 for each factor of e, so that the middle of a step is within 0.8 %.
STEPS_AN_E = 64
CHUNKS_A_LIST = 20_000
ROWS_A_STEP = 500
LISTS_A_ROUND = 100
# A reader of the partition lets us have it in a moment or at the next try; whoever appends waits behind us as long.
DROP_LOCK_TIMEOUT_MS = 100
# Citus hands SET LOCAL on to its nodes only where it is told to; a plain server ignores the name.
PROPAGATE = "SET LOCAL citus.propagate_set_commands = 'local'"
DAY = timedelta(days=1)
MONTH = 33 * DAY


class What(IntEnum):
    """What a row of `counter` counts."""

    STATE = 0
    STATUS = 1
    RESPONSE = 2
    RECEIPT = 3
    CONFLICT = 4
    ACCEPTED = 5


class Partition(Struct, frozen=True, kw_only=True):
    """A day of outcomes or receipts, from midnight UTC."""

    table: str
    name: str
    begin: datetime

    @property
    def end(self) -> datetime:
        """The next midnight."""
        return self.begin + DAY


async def partitions(connection: Connection) -> list[Partition]:
    """List the partitions of outcomes and receipts, the oldest first."""
    found = []
    for row in await connection.fetch(query("day_partitions")):
        table, name = row["parent"], row["partition"]
        day = name.removeprefix(f"{table}_")
        # One that a person attached by another name is his.
        if len(day) == 8 and day.isdecimal():
            begin = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
            found.append(Partition(table=table, name=name, begin=begin))
    return sorted(found, key=lambda one: (one.begin, one.table))


async def unrolled(connection: Connection, lane: int, day: Partition, behind: int) -> list[tuple[int, int]]:
    """List (chunk, outcomes) of a lane, behind one, of a day that are in no result yet; at most CHUNKS_A_LIST.

    cost  reads the day's partition once
    """
    rows = await connection.fetch(query("unrolled_chunks"), lane, day.begin, day.end, behind, CHUNKS_A_LIST)
    return [(row["chunk_id"], row["outcomes"]) for row in rows]


async def roll(connection: Connection, lane: int, chunk_ids: Sequence[int], day: Partition, now: datetime) -> int:
    """Roll the positions of some chunks whose first outcome came on a day or before; -> how many.

    cost  about 11 us of Postgres a message, in one transaction: ask for 50 chunks of 1000 at once
    """
    async with connection.transaction():
        await connection.execute(PROPAGATE)
        # A WITH has no statistics: a nested loop over two of them is their product, and a merge by chunk alone took
        # 10 s for 50,000 positions where a hash of chunk and position takes 0.1.
        await connection.execute("SET LOCAL enable_nestloop = off")
        await connection.execute("SET LOCAL enable_mergejoin = off")
        await connection.execute("SET LOCAL work_mem = '64MB'")
        await connection.execute(query("hold_for_roll"), lane, list(chunk_ids))
        rolled = await connection.fetchval(
            query("roll"), lane, list(chunk_ids), now, day.end, min(chunk_ids), max(chunk_ids), day.begin - DAY,
            day.begin,
        )  # fmt: skip
    return int(rolled)


async def cap_reach(connection: Connection) -> timedelta:
    """Say how far back the caps of all runs look; never less than a month of a calendar, which a law may."""
    rows = await connection.fetch(query("cap_periods"))
    hours = [hours_of(row["per"]) for row in rows if row["per"] not in PERIODS]
    return max([MONTH, *(timedelta(hours=one) for one in hours)])


async def drop(connection: Connection, partition: Partition | Month) -> bool:
    """Drop a partition; -> False when somebody reads it: try again later."""
    try:
        async with connection.transaction():
            await connection.execute(PROPAGATE)
            await connection.execute(f"SET LOCAL lock_timeout = {DROP_LOCK_TIMEOUT_MS}")
            # The name is of digits behind one of our own tables (partitions); DDL takes no parameters.
            await connection.execute(f"DROP TABLE IF EXISTS {partition.name}")
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def forget_payload(connection: Connection, lane: int, before: datetime) -> int:
    """Drop the payload of some closed chunks that were begun before a moment; -> how many."""
    return _rows(await connection.execute(query("forget_payload"), lane, before, ROWS_A_STEP))


async def forget_chunks(connection: Connection, lane: int, before: datetime, rolled_before: datetime) -> int:
    """Drop some chunks begun before a moment, and all that hangs on them; -> how many.

    rolled_before  outcomes of before then are rolled and gone
    """
    async with connection.transaction():
        rows = await connection.fetch(query("old_chunks"), lane, before, rolled_before, ROWS_A_STEP)
        ids = [row["id"] for row in rows]
        if ids:
            for name in ("drop_payloads", "drop_results", "drop_repeated", "drop_transfers", "drop_chunks"):
                await connection.execute(query(name), lane, ids)
    return len(ids)


async def forget_runs(connection: Connection, lanes: Sequence[int], before: datetime) -> int:
    """Drop the runs over lists that were enqueued before a moment and have no chunk left; -> how many.

    Lane by lane, and the runs last: a crash between leaves runs without counters, and the next call finds them.
    """
    dropped, behind = 0, 0
    while True:
        rows = await connection.fetch(query("old_runs"), before, behind, ROWS_A_STEP)
        ids = {row["id"] for row in rows}
        if not ids:
            return dropped
        behind = max(ids)
        for lane in lanes:
            ids -= {row["run"] for row in await connection.fetch(query("runs_with_chunks"), lane, sorted(ids))}
        for lane in lanes if ids else ():
            await connection.execute(query("drop_counters"), lane, sorted(ids))
        dropped += _rows(await connection.execute(query("drop_runs"), sorted(ids)))


async def old_lists(connection: Connection, lanes: Sequence[int], before: datetime) -> list[int]:
    """Find lists of files that were read last before a moment and whose runs have nothing open on any lane."""
    found = {row["id"] for row in await connection.fetch(query("old_lists"), before, LIST_OF_FILE, LISTS_A_ROUND)}
    list_by_run = {row["id"]: row["list"] for row in await connection.fetch(query("runs_of_lists"), sorted(found))}
    for lane in lanes if list_by_run else ():
        rows = await connection.fetch(query("open_runs"), lane, sorted(list_by_run))
        found -= {list_by_run[row["run"]] for row in rows}
    return sorted(found)


async def begin_emptying(connection: Connection, list_ids: Sequence[int], before: datetime) -> None:
    """Take lists for being emptied; one that was read again meanwhile is not."""
    await connection.execute(query("begin_emptying"), list(list_ids), before)


async def empty_bucket(connection: Connection, list_ids: Sequence[int], bucket: int, before: datetime) -> int:
    """Drop one bucket's entries of lists, and the people that nothing else holds; -> rows.

    before  people who changed since then stay
    cost    reads the bucket's entries of all lists
    """
    async with connection.transaction():
        ours = [row["id"] for row in await connection.fetch(query("hold_emptying"), list(list_ids))]
        entries = [row["number"] for row in await connection.fetch(query("drop_entries"), bucket, ours)] if ours else []
        if not entries:
            return 0
        await watched.mark_numbers(connection, bucket, entries, before)
        # Two statements: the second one sees what those have committed who had a person before we locked him.
        held = [row["number"] for row in await connection.fetch(query("hold_endpoints"), bucket, entries, before)]
        return len(entries) + _rows(await connection.execute(query("drop_endpoints"), bucket, held))


async def end_emptying(connection: Connection, list_ids: Sequence[int]) -> None:
    """Call lists empty, behind the last bucket."""
    await connection.execute(query("end_emptying"), list(list_ids))


async def drop_lists(connection: Connection) -> int:
    """Drop the rows of empty lists of files that no run names any more; -> how many."""
    return _rows(await connection.execute(query("drop_lists")))


async def forget_inbound(connection: Connection, lane: int, before: datetime) -> int:
    """Drop some of what handsets sent before a moment, as it came and as it was read; -> rows."""
    rows = _rows(await connection.execute(query("forget_inbound"), lane, before, ROWS_A_STEP))
    return rows + _rows(await connection.execute(query("forget_messages"), lane, before, ROWS_A_STEP))


async def forget_events(connection: Connection, lane: int, before: datetime) -> int:
    """Drop some events of before a moment; -> how many."""
    return _rows(await connection.execute(query("forget_events"), lane, before, ROWS_A_STEP))


async def forget_receipts(connection: Connection, lane: int, before: datetime) -> int:
    """Drop some receipts of before a moment that found no message, or wait for one that is gone; -> how many."""
    rows = _rows(await connection.execute(query("forget_orphans"), lane, before, ROWS_A_STEP))
    return rows + _rows(await connection.execute(query("forget_waiting"), lane, before, ROWS_A_STEP))


async def forget_person_events(connection: Connection, bucket: int, before: datetime) -> int:
    """Drop some of what persons of a bucket did before a moment, and what follows from it not; -> how many."""
    return _rows(await connection.execute(query("forget_person_events"), bucket, before, ROWS_A_STEP))


async def forget_seen(connection: Connection, bucket: int, before: datetime) -> int:
    """Forget of a bucket some of what was told before a moment: told again, it would be taken again; -> how many."""
    return _rows(await connection.execute(query("forget_seen_events"), bucket, before, ROWS_A_STEP))


async def forget_orders(connection: Connection, before: datetime) -> int:
    """Drop orders of before a moment that are no longer in force and that no order in force needs; -> how many."""
    return _rows(await connection.execute(query("forget_orders"), before))


def _rows(tag: str) -> int:
    return int(tag.rsplit(" ", 1)[1])
