"""How fast runs go, kept: what was said, what time has earned, what was granted to workers. Statements: sql/rates.sql.

    add ─► plan of a run ─► worker: hold the row, take what time has earned ─► job: rate, ramp and budget anew

One row is the purse of a run for all workers, so that however many there are, no more leaves than was granted: who dies
takes with him what he was granted for a third of a second.
Not here: how much is earned (campaign/rates.py), who takes (dispatch/rates.py), who steers (automation/rates.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from gateway.rate import RatePlan, plan_of
from gateway.store.postgres import Connection
from gateway.store.queries import query


class Planned(Struct, frozen=True, kw_only=True):
    """The plan of a run, and how far it is; the columns of rate_plan."""

    run: int
    plan: RatePlan
    total: int
    per_s: float
    credit: float
    credit_at: datetime | None
    granted: int
    goes_to: int | None
    stage: int
    held_since: datetime | None
    is_told: bool
    started_at: datetime | None
    skipped: int
    spent: float
    looked_at: datetime | None
    is_over: bool


class Held(Struct, frozen=True, kw_only=True):
    """The credit of a run, held."""

    run: int
    per_s: float
    credit: float
    credit_at: datetime | None
    granted: int
    goes_to: int | None


class Answered(Struct, frozen=True, kw_only=True):
    """What a carrier answered to the messages of a run to one country."""

    country: int
    taken: int
    refused: int
    skipped: int
    old: int
    parts: int
    longest: int


async def add(connection: Connection, run: int, plan: RatePlan, total: int, per_s: float, goes_to: int | None) -> None:
    """Keep the plan of a run, before it is enqueued: whoever claims of it finds it."""
    await connection.execute(query("add_rate_plan"), run, msgspec.json.encode(plan).decode(), total, per_s, goes_to)


async def of_run(connection: Connection, run: int) -> Planned | None:
    """Read the plan of a run; None: it has none."""
    row = await connection.fetchrow(query("rate_plan_of"), run)
    return None if row is None else Planned(**{**dict(row), "plan": plan_of(row["plan"])})


async def live(connection: Connection) -> list[Planned]:
    """Read the plans of all runs that are not over."""
    rows = await connection.fetch(query("live_rate_plans"))
    return [Planned(**{**dict(row), "plan": plan_of(row["plan"])}) for row in rows]


async def hold(connection: Connection, runs: Sequence[int]) -> list[Held]:
    """Hold the credit of some runs until the transaction ends."""
    return [Held(**dict(row)) for row in await connection.fetch(query("lock_rate_plans"), sorted(runs))]


async def note(
    connection: Connection, runs: Sequence[int], credits: Sequence[float], granted: Sequence[int], now: datetime
) -> None:
    """Note what was granted of runs that are held."""
    await connection.execute(query("grant_rates"), list(runs), list(credits), list(granted), now)


async def steer(
    connection: Connection, run: int, *, per_s: float, goes_to: int | None, stage: int, held_since: datetime | None,
    skipped: int, spent: float, now: datetime, is_over: bool,
) -> None:  # fmt: skip
    """Say how a run goes on."""
    await connection.execute(
        query("steer_rate"), run, per_s, goes_to, stage, held_since, skipped, spent, now, is_over
    )  # fmt: skip


async def tell(connection: Connection, runs: Sequence[int]) -> list[int]:
    """Say that ramps go on where they hold; -> the runs of those that held."""
    return [row["run"] for row in await connection.fetch(query("tell_rate"), list(runs))]


async def left(connection: Connection, lane: int, run: int) -> dict[int, int]:
    """Count what of a run waits on a lane: messages above the watermarks of open chunks, by country."""
    rows = await connection.fetch(query("left_of_run"), lane, run)
    return {row["country"]: int(row["messages"]) for row in rows}


async def answers(connection: Connection, lane: int, run: int, since: datetime, old_before: datetime) -> list[Answered]:
    """Count what a carrier answered to the messages of a run."""
    return [
        Answered(**dict(row)) for row in await connection.fetch(query("tally_outcomes"), lane, run, since, old_before)
    ]


async def receipts(connection: Connection, lane: int, run: int, since: datetime) -> tuple[int, int]:
    """Count what a carrier reported of the messages of a run; -> failures, messages with a receipt."""
    row = await connection.fetchrow(query("tally_receipts"), lane, run, since)
    return int(row["failed"]), int(row["receipts"])


async def clicks(connection: Connection, run: int, now: datetime) -> tuple[int, int]:
    """Count how often links of a run were opened, by whomever; -> ever, and in the last minute."""
    row = await connection.fetchrow(query("clicks_of_rate"), run, now - timedelta(minutes=1))
    return int(row["clicks"]), int(row["last_minute"])


async def stops(connection: Connection, since: datetime) -> list[int]:
    """Read who has said STOP since a moment."""
    return [row["number"] for row in await connection.fetch(query("stops_since"), since)]


async def written(connection: Connection, lane: int, run: int, numbers: Sequence[int]) -> int:
    """Count the numbers among these that a run wrote to on a lane."""
    return int(await connection.fetchval(query("written_of_run"), lane, run, list(numbers))) if numbers else 0
