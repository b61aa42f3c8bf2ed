"""Orders of operators: written by a person, obeyed by every worker. Statements: sql/control.sql.

    give ─► row + NOTIFY ─► COMMIT ─► workers read the whole state: by the NOTIFY, and every quarter of a second anyway

A scope and key are in the state of their newest order that has not ended; before the first one nothing is ordered. What
is tuned holds setting by setting. The state is read whole, not from the last id on: ids do not become visible in order.
Not here: what an order does (dispatch/control.py), which settings may be tuned (config.py).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query

CHANNEL = "sluice_control"
# What is told on it: an order was given, or somebody looks at the reports.
ORDER, WATCH = "order", "watch"
# A cancel is read for so long: clocks of operators and workers are not so far apart, and no worker that is cut off from
# Postgres for so long has anything in hand. Who starts later finds it in the row of the run.
KEPT = timedelta(days=1)


class Order(Struct, frozen=True, kw_only=True):
    """One order in force: pause, resume or drain."""

    id: int
    at: datetime
    by: str
    action: str
    scope: str
    key: str
    until: datetime | None
    reason: str

    @property
    def stops(self) -> bool:
        """Whether something stands still by it."""
        return self.action != "resume"


class Tuned(Struct, frozen=True, kw_only=True):
    """One setting of a carrier as an order left it; value None: as the settings say."""

    id: int
    at: datetime
    by: str
    action: str
    carrier: str
    setting: str
    value: Any
    reason: str
    is_kept: bool


class Cancel(Struct, frozen=True):
    """An order that cancels a run. It never ends."""

    id: int
    run: int


class State(Struct, frozen=True):
    """All that is in force; of the cancels those of the last day, since an older one is in the row of its run."""

    orders: tuple[Order, ...] = ()
    tuned: tuple[Tuned, ...] = ()
    cancels: tuple[Cancel, ...] = ()

    @property
    def ids(self) -> frozenset[int]:
        """The orders that it is made of."""
        ids = [one.id for one in self.orders] + [one.id for one in self.tuned]
        return frozenset(ids + [one.id for one in self.cancels])

    @property
    def cancelled(self) -> frozenset[int]:
        """The runs that were cancelled lately."""
        return frozenset(one.run for one in self.cancels)

    def standing(self, scope: str) -> dict[str, Order]:
        """What stands still, by key."""
        return {one.key: one for one in self.orders if one.scope == scope and one.stops}

    @property
    def undrained(self) -> "State":
        """The same without its drains: what of it holds batches that are claimed already."""
        return State(tuple(one for one in self.orders if one.action != "drain"), self.tuned, self.cancels)

    def overlay(self, carrier: str) -> dict[str, Any]:
        """The tuned settings of a carrier that go over its own."""
        return {one.setting: one.value for one in self.tuned if one.carrier == carrier and one.value is not None}


async def give(
    connection: Connection,
    action: str,
    scope: str,
    keys: Sequence[str],
    *,
    at: datetime,
    by: str,
    until: datetime | None = None,
    reason: str = "",
    value: Mapping[str, Any] | None = None,
    is_kept: bool = False,
) -> list[int]:
    """Append an order for each key, in one transaction; -> their ids."""
    text = msgspec.json.encode(value or {}).decode()
    ids = []
    async with connection.transaction():
        for key in keys:
            order = query("add_order")
            ids.append(int(await connection.fetchval(order, at, by, action, scope, key, text, until, reason, is_kept)))
        await connection.execute(query("tell_control"), ORDER)
    return ids


async def roll_back(connection: Connection, order: int, *, at: datetime, by: str, reason: str) -> int | None:
    """Take back an order of tune; -> the id of the rollback, None when it is not in force any more."""
    async with connection.transaction():
        made = await connection.fetchval(query("roll_back"), order, at, by, reason)
        if made is not None:
            await connection.execute(query("tell_control"), ORDER)
    return None if made is None else int(made)


async def state(connection: Connection, now: datetime) -> State:
    """Read all that is in force."""
    orders = [Order(**dict(row)) for row in await connection.fetch(query("orders_in_force"), now)]
    tuned = []
    for row in await connection.fetch(query("settings_in_force")):
        values = dict(row)
        tuned.append(Tuned(value=msgspec.json.decode(values.pop("value")), **values))
    cancels = [Cancel(row["id"], row["run"]) for row in await connection.fetch(query("cancels_since"), now - KEPT)]
    return State(tuple(orders), tuple(tuned), tuple(cancels))


async def watch(connection: Connection) -> None:
    """Ask every worker to report more often for a while."""
    await connection.execute(query("tell_control"), WATCH)


async def listen(connection: Connection, heard: Callable[[str], None]) -> None:
    """Call `heard` with what is told, ORDER or WATCH, as long as the connection lives."""

    def on_notification(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard(str(payload))

    await connection.add_listener(CHANNEL, on_notification)


async def runs_of(connection: Connection, campaigns: Sequence[str]) -> list[int]:
    """Find the runs of campaigns, each named by its name or by the number of a run."""
    if not campaigns:
        return []
    numbers = [int(one) for one in campaigns if one.isascii() and one.isdecimal() and int(one) < 1 << 63]
    return sorted(row["id"] for row in await connection.fetch(query("paused_runs"), list(campaigns), numbers))


async def held_chunks(
    connection: Connection,
    lane: int,
    chunk_ids: Sequence[int],
    runs: Sequence[int],
    countries: Sequence[int],
    senders: Sequence[str],
) -> set[int]:
    """Say which of some chunks of a lane belong to what is paused; senders as chunk.source names them."""
    rows = await connection.fetch(query("held_chunks"), lane, chunk_ids, runs, countries, senders)
    return {row["id"] for row in rows}


async def sender_waits(connection: Connection, sender: str) -> bool:
    """Say whether a message of a sender waits or is on its way."""
    return bool(await connection.fetchval(query("sender_waits"), sender))
