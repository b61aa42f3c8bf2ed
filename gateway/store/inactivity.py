"""What is known of silences, as histograms of whole days: between purchases, since the last sign. sql/inactivity.sql.

A purchase is a day (UTC) on which a person placed an order that counts: two orders of one day are one.
Not here: what follows from them (campaign/inactivity.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.message import MessageClass
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

SET_S = 600
SIGNS = ("order", "seen", "message", "any")
"""order: placed. seen: anything they did. message: they clicked one of ours, or replied. any: the last of all three."""


class Repeated(Struct, frozen=True, kw_only=True):
    """Of purchases at least so many days old, how many there are, and how many another followed within as many days."""

    days: int
    purchases: int
    followed: int


async def gaps(connection: Connection, now: datetime) -> dict[int, int]:
    """Count the days from one purchase of a person to the next. cost: all orders, once."""
    async with deadline(connection, SET_S + 10, "gaps"), connection.transaction():
        await connection.execute(query("look_at_all"), SET_S)
        return {row["days"]: row["n"] for row in await connection.fetch(query("purchase_gaps"), now)}


async def repeats(connection: Connection, now: datetime, days: Sequence[int]) -> list[Repeated]:
    """Count who came back in time. cost: all orders, once for each number of days."""
    async with deadline(connection, SET_S + 10, "repeats"), connection.transaction():
        await connection.execute(query("look_at_all"), SET_S)
        rows = await connection.fetch(query("purchase_repeats"), now, sorted(days))
    return [Repeated(**dict(row)) for row in rows]


async def silences(connection: Connection, now: datetime) -> dict[str, dict[int | None, int]]:
    """Count people by how many whole days ago their last sign of each kind was; None: never. cost: all people, once."""
    async with deadline(connection, SET_S + 10, "silences"), connection.transaction():
        await connection.execute(query("look_at_all"), SET_S)
        rows = await connection.fetch(query("silences"), now)
    found: dict[str, dict[int | None, int]] = {sign: {} for sign in SIGNS}
    for row in rows:
        found[row["sign"]][row["days"]] = row["people"]
    return found


async def sent_on(connection: Connection, now: datetime, days: int) -> list[int]:
    """Name the days, counted back from now, on which bulk runs began within some days."""
    async with deadline(connection, SET_S + 10, "runs"):
        since = now - timedelta(days=days)
        rows = await connection.fetch(query("bulk_days"), now, since, int(MessageClass.BULK))
    return [row["days"] for row in rows]
