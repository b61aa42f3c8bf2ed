"""Numbers, read: of campaigns, the shop, the list, costs and times; and what they are counted from, kept up to date.

    settings ─► terms ─► changed? all is counted anew
    refresh      persons, bucket by bucket (conversions.py) ─► messages, lane by lane (ledger.py) ─► as of now
    rows         of the views report_…, whose columns are named as the formulas are (campaign/formulas.py)

A refresh counts what is new alone; a rebuild counts all of it and finds the same (RP-1). Statements: sql/reports.sql.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import msgspec
from msgspec import Struct

from gateway.reporting import ReportSettings
from gateway.store import conversions, ledger, runs
from gateway.store.conversions import House
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

READ_S = 300.0
# What a view may be narrowed by and put in order; nothing else of a statement is made here.
VIEWS: Mapping[str, tuple[str, ...]] = {
    "report_campaign_day": ("campaign", "day"),
    "report_campaign": ("campaign",),
    "report_run": ("campaign", "run"),
    "report_audience": ("campaign", "audience"),
    "report_variant": ("campaign", "variant"),
    "report_arm": ("campaign", "variant"),
    "report_customer_month": ("month",),
    "report_cohort": ("cohort", "months_later"),
    "report_parts_day": ("day", "carrier", "country", "campaign", "state"),
    "report_refusal_day": ("campaign", "day", "status"),
    "report_messages_week": ("messages",),
    "report_exception": ("campaign", "exception"),
}


class Refreshed(Struct, frozen=True, kw_only=True):
    """How many persons, and days of lanes, were counted; is_whole: all, at first or by new settings."""

    persons: int
    days: int
    is_whole: bool


async def terms_of(connection: Connection, settings: ReportSettings) -> tuple[House, bool]:
    """Read what numbers are counted by; -> it, and whether it is other than that of what is kept."""
    numbers = [int(one.removeprefix("+")) for one in settings.staff_numbers]
    async with deadline(connection, READ_S, "terms of reports"):
        kept = await connection.fetchval(query("report_terms"))
    before = msgspec.json.decode(kept) if kept else {}
    # Which currency most have paid in is asked once: what is summed already is in that one.
    currency = settings.currency or before.get("currency", "")
    house = await conversions.house(
        connection, zone=settings.zone, currency=currency, lists=settings.staff_lists, numbers=numbers
    )
    return house, kept != body_of(settings, house)


def body_of(settings: ReportSettings, house: House) -> str:
    """What is written down of the terms: what all that is kept depends on."""
    told = {
        "zone": house.zone,
        "currency": house.currency,
        "lists": list(house.lists),
        "numbers": list(house.numbers),
    }
    return msgspec.json.encode(told).decode()


async def refresh(connection: Connection, settings: ReportSettings, now: datetime, *, whole: bool = False) -> Refreshed:
    """Count what is new since the last time.

    whole   all that is kept of messages and persons, whether it is new or not
    cost    by what is new; of everything about 15 s for a million messages
    """
    house, is_other = await terms_of(connection, settings)
    if is_other or whole:
        async with deadline(connection, READ_S, "terms of reports"), connection.transaction():
            await connection.execute(query("forget_people_upto"))
            await connection.execute(query("note_report_terms"), now, body_of(settings, house))
    persons = 0
    news = await conversions.told(connection)
    for bucket in range(BUCKETS):
        persons += await conversions.refresh(connection, bucket, house, now, news)
    numbers = await ledger.numbers_of_the_house(connection, house)
    days = 0
    for lane in sorted(await runs.lanes(connection)):
        days += await ledger.refresh(connection, lane, house, now, numbers, whole=whole or is_other)
    return Refreshed(persons=persons, days=days, is_whole=is_other or whole)


async def as_of(connection: Connection) -> datetime | None:
    """Say up to when all persons are counted; None: they never were."""
    async with deadline(connection, READ_S, "report upto"):
        rows = await connection.fetch(query("report_upto"), conversions.PEOPLE)
    return min((row["at"] for row in rows), default=None) if len(rows) == BUCKETS else None


async def rows(
    connection: Connection,
    view: str,
    *,
    campaign: str = "",
    since: date | None = None,
    until: date | None = None,
) -> list[dict[str, Any]]:
    """Read a view, in the order of its first columns: of one campaign, of days both included."""
    keys = VIEWS[view]
    conditions, parameters = [], []
    for column, op, value in (("campaign", "=", campaign or None), ("day", ">=", since), ("day", "<=", until)):
        if column in keys and value is not None:
            parameters.append(value)
            conditions.append(f"{column} {op} ${len(parameters)}::{'text' if column == 'campaign' else 'date'}")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"SELECT * FROM {view}{where} ORDER BY {', '.join(keys)}"
    async with deadline(connection, READ_S, view), connection.transaction(readonly=True):
        await connection.execute("SET LOCAL work_mem = '128MB'")
        await connection.execute("SET LOCAL statement_timeout = '300s'")
        return [dict(row) for row in await connection.fetch(sql, *parameters, timeout=READ_S)]


async def ask(connection: Connection, name: str, *arguments: Any) -> list[dict[str, Any]]:
    """Read by one of the statements of sql/reports.sql."""
    async with deadline(connection, READ_S, name), connection.transaction(readonly=True):
        await connection.execute("SET LOCAL work_mem = '128MB'")
        await connection.execute("SET LOCAL statement_timeout = '300s'")
        return [dict(row) for row in await connection.fetch(query(name), *arguments, timeout=READ_S)]


async def skipped(connection: Connection, run_ids: Sequence[int]) -> dict[int, int]:
    """Count who was in no chunk of some runs, by reason."""
    found = await ask(connection, "report_skipped", list(range(BUCKETS)), list(run_ids))
    return {row["reason"]: row["people"] for row in found}


async def reactivated(connection: Connection, campaign: str, inactive: timedelta, within: timedelta) -> tuple[int, int]:
    """Count whom a campaign reached who had not bought for so long, and of those who have bought within."""
    [row] = await ask(connection, "report_reactivated", campaign, inactive, within)
    return row["asleep"], row["reactivated"]


async def hours(connection: Connection, since: datetime, zone: str) -> list[int]:
    """Count what persons did by the hour of their own clock."""
    visits = [0] * 24
    for row in await ask(connection, "report_hours", since, zone, sorted(available_timezones())):
        visits[row["hour"]] = row["n"]
    return visits
