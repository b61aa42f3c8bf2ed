"""What has happened that a live campaign listens to: told with it, decided once, and gone. sql/enrolments.sql.

    whoever tells of a person ─► told, within the same transaction ─► `cause` ─► automation/stepping.py takes it away in
                                                                               the transaction that decides (TR-3)

A launch that was committed before an event was told hears of it; what was told before does not begin anything (SG-5).
Not here: what campaigns make of it (campaign/entering.py).
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.store.columns import ints
from gateway.store.postgres import Connection
from gateway.store.queries import query

CHANNEL = "sluice_cause"
Kind = Literal["event", "entered", "left", "joined", "parted", "call", "tick", "attribute"]


class Cause(Struct, frozen=True, kw_only=True):
    """Something that happened to a person.

    name        of the event; of an audience or a list its id; of a call the campaign
    told        names it for ever: a campaign enters a person for it once
    properties  what was said of it, as JSON
    """

    bucket: int
    profile: int
    id: int
    kind: Kind
    name: str
    told: str
    occurred_at: datetime
    received_at: datetime
    flags: int = 0
    properties: str = "{}"

    @property
    def said(self) -> dict[str, object]:
        """Its properties."""
        found: dict[str, object] = msgspec.json.decode(self.properties)
        return found


class Telling(Struct, frozen=True):
    """A cause before it is written; gc and rows of many are no matter here."""

    bucket: int
    flags: int
    profile: int
    id: int
    at_us: int
    name: str
    told: str
    properties: str = "{}"


async def listened(connection: Connection, kind: Kind, names: Iterable[str]) -> set[str]:
    """Say of which of some things a campaign has to be told."""
    return {row["name"] for row in await connection.fetch(query("listened_among"), kind, sorted(set(names)))}


async def tell(connection: Connection, kind: Kind, causes: Sequence[Telling], now: datetime) -> None:
    """Write causes, all of one kind, in the transaction of what they tell; whoever decides hears of its COMMIT."""
    if not causes:
        return
    await connection.execute(
        query("add_causes"), now, kind, ints(one.bucket for one in causes), ints(one.flags for one in causes),
        ints(one.profile for one in causes), ints(one.id for one in causes), ints(one.at_us for one in causes),
        [one.name for one in causes], [one.told for one in causes], [one.properties for one in causes],
    )  # fmt: skip
    await connection.execute(query("tell_stepping"), CHANNEL)


async def tell_of_numbers(
    connection: Connection, bucket: int, list_id: int, ids: Sequence[int], numbers: Sequence[int], now: datetime,
    *, is_in: bool,
) -> None:  # fmt: skip
    """Tell that numbers of a bucket came onto a list, or left it, where a campaign listens."""
    kind: Kind = "joined" if is_in else "parted"
    if numbers and await listened(connection, kind, [str(list_id)]):
        await connection.execute(
            query("add_causes_of_numbers"), bucket, now, kind, str(list_id), list(ids), list(numbers)
        )
        await connection.execute(query("tell_stepping"), CHANNEL)


async def call(
    connection: Connection, bucket: int, number: int, campaign: str, id_: int, told: str, properties: str, now: datetime
) -> bool:
    """Tell a campaign that it is called for a number; -> whether anybody has it. told: names the call for ever."""
    async with connection.transaction():
        profile = await connection.fetchval(
            query("add_call_of_number"), bucket, number, now, campaign, id_, told, properties
        )
        await connection.execute(query("tell_stepping"), CHANNEL)
    return profile is not None


async def listen(connection: Connection, heard: Callable[[], None]) -> None:
    """Call `heard` when a cause was told, as long as the connection lives."""

    def on_notification(*_: object) -> None:
        heard()

    await connection.add_listener(CHANNEL, on_notification)


async def take(connection: Connection, of: Sequence[int], limit: int) -> list[Cause]:
    """Take causes of buckets away, so many of each, in the order in which they count (EV-6); within a transaction.

    of  one bucket alone where they stand on several servers
    """
    if len(of) == 1:
        rows = await connection.fetch(query("take_causes"), of[0], limit)
    else:
        rows = await connection.fetch(query("take_causes_of_many"), of, limit)
    return sorted((Cause(**dict(row)) for row in rows), key=lambda one: (one.profile, one.occurred_at, one.id))
