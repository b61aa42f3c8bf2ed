"""What became of messages, by run, day, country and end: kept by the day, so that it stands when single messages go.

    outcome, receipt ─► message_day      (lane, run, day of the sending) ─► messages and segments by state and reason

Reckoned lane by lane, day by day, from the rows of single messages, as the report of a run is (results.sql): so that
the sum over all days of a run is what `sluice status` says of it (RP-1). The last days are reckoned again and again,
since receipts come late (RP-2: 72 hours); an older one when somebody asks for a rebuild, while its messages are kept.
Statements: sql/ledger.sql. Not here: persons (conversions.py), sums (reports.py).
"""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from gateway.person import EPOCH
from gateway.predicate import midnight
from gateway.store import retention
from gateway.store.conversions import House
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

STEP_S = 300.0
LANES = "lanes"
SETTLES = timedelta(hours=72)
# A message that was held or tried again is of the day of its first word, which is looked for so far back.
LOOK_BACK = timedelta(days=2)


async def numbers_of_the_house(connection: Connection, terms: House) -> list[int]:
    """Read the numbers that count for nothing (RP-3)."""
    if not terms.lists:
        return list(terms.numbers)
    async with deadline(connection, STEP_S, "numbers of the house"):
        rows = await connection.fetch(query("numbers_of_lists"), list(range(BUCKETS)), list(terms.lists))
    return sorted({*terms.numbers, *(row["number"] for row in rows)})


async def refresh(
    connection: Connection, lane: int, terms: House, now: datetime, numbers: Sequence[int] = (), *, whole: bool = False
) -> int:
    """Count the days of a lane that may have changed since the last time; -> how many.

    numbers  of the house
    whole    all days of which single messages are kept, and not the last ones alone
    """
    zone = ZoneInfo(terms.zone)
    async with deadline(connection, STEP_S, f"days of lane {lane}"):
        upto: datetime = await connection.fetchval(query("hold_report_upto"), LANES, lane, EPOCH)
        kept = [one.begin for one in await retention.partitions(connection) if one.table == "outcome"]
    begin = kept[0] if kept else now
    if upto != EPOCH:
        begin = begin + LOOK_BACK if whole else max(begin, upto - SETTLES)
    day = begin.astimezone(zone).date()
    if upto != EPOCH and kept and midnight(day, zone) < kept[0]:
        # Of its first hours nothing is kept any more: it stays as it was counted.
        day += timedelta(days=1)
    days: list[date] = []
    while day <= now.astimezone(zone).date():
        days.append(day)
        day += timedelta(days=1)
    for day in days:
        begin, end = midnight(day, zone), midnight(day + timedelta(days=1), zone)
        async with deadline(connection, STEP_S, f"day of lane {lane}"), connection.transaction():
            await connection.fetchval(query("hold_report_upto"), LANES, lane, EPOCH)
            await connection.execute("SET LOCAL enable_nestloop = off")
            await connection.execute("SET LOCAL work_mem = '64MB'")
            await connection.execute(query("drop_message_days"), lane, day, day + timedelta(days=1))
            await connection.execute(
                query("write_message_days"), lane, begin, now, terms.zone, begin - LOOK_BACK, list(terms.tests),
                list(numbers), end,
            )  # fmt: skip
    async with deadline(connection, STEP_S, f"days of lane {lane}"):
        await connection.execute(query("note_report_upto"), LANES, lane, now)
    return len(days)
