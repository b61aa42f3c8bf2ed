"""What the gateway itself knows of persons, read to be told as events of theirs: rule EV-11. Statements: sql/feeds.sql.

    outcome          accepted ─► submitted; rejected ─► failed; refused by the gate ─► skipped; too late ─► expired
    receipt          ─► delivered, failed, expired
    inbound_message  ─► replied, to the campaign that the person was sent last
    stop_feed        the person's own word ─► opted_out, opted_in
    person_owed      what others have decided, with it: workflow_entered, workflow_exited, goal

Of numbers that have a person alone. An event has the id of what it tells, so that telling it again changes nothing
(EV-1): how far was read is noted behind the COMMIT of what was told, and a crash between repeats it in vain.
Not here: who reads, and when (automation/feeding.py); taking in (store/profiles.py).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from gateway.keywords import number_of
from gateway.message import Refusal
from gateway.person import EPOCH, OUR_SOURCE, REPLIED, Item, Who, hash_of
from gateway.predicate import CAMPAIGN_PROPERTY, COMPLIANCE, SENT_EVENT, WISH_PROPERTY
from gateway.store.columns import ints
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection
from gateway.store.queries import query

ROWS = 500
# The first of the gate's reasons, and the last ones of the path itself above it.
FIRST_REASON = -30
OF_RECEIPT = {2: "delivered", 3: "expired"}
FAILED = "failed"
# Of person_feed: the feed of STOPs is of no lane, and counts by number.
NO_LANE = 0
STOPS = "stops"
KINDS = ("outcomes", "receipts", "replies")
# Of a message of a campaign: whose it is, and which text of an experiment.
ENROLMENT_PROPERTY, VARIANT_PROPERTY = "enrolment", "variant"


class Owed(Struct, frozen=True, kw_only=True):
    """What is still to be told of whoever has a number; told: names it for good; properties: as JSON."""

    bucket: int
    number: int
    at: datetime
    name: str
    told: str
    properties: str


async def is_wanted(connection: Connection) -> bool:
    """Say whether there is anybody to tell of."""
    return bool(await connection.fetchval(query("has_people")))


async def upto(connection: Connection, lane: int, kind: str, begin: datetime) -> datetime:
    """Read how far a lane was read; one that never was begins at a moment."""
    found: datetime | None = await connection.fetchval(query("fed_upto"), lane, kind)
    return begin if found is None else found


async def note(connection: Connection, lane: int, kind: str, at: datetime) -> None:
    """Note how far a lane was read."""
    await connection.execute(query("note_fed"), lane, kind, at)


async def told(
    connection: Connection,
    lane: int,
    kind: str,
    since: datetime,
    until: datetime,
    prefix: str,
    wish_of: Callable[[str, int], str | None] = lambda text, number: None,
) -> tuple[list[Item], datetime, bool]:
    """Read what is to be told of a lane; -> items, up to when that is, and whether there is more behind.

    prefix   of the country that national numbers of its handsets are of
    wish_of  what a text asks for (keywords.Words.wish): a reply that is a STOP, a START or a HELP says so
    """
    limit = ROWS
    while True:
        rows = await connection.fetch(query(f"fed_{kind}"), lane, since, until, limit)
        has_more = len(rows) == limit
        end: datetime = rows[-1]["at"] if has_more else until
        if not has_more or rows[0]["at"] < end:
            break
        # All of one moment are told together.
        limit *= 2
    rows = [row for row in rows if row["at"] < end]
    if kind == "replies":
        made = [(number_of(row["source"], prefix), row) for row in rows]
        some = [(number, row) for number, row in made if number]
        return await _replies(connection, lane, some, wish_of), end, has_more
    found = await known(connection, [row["number"] for row in rows if row["number"]])
    rows = [row for row in rows if row["number"] in found]
    cases = await _cases(connection, lane, [row for row in rows if row["is_enrolled"]])
    name_of = name_of_outcome if kind == "outcomes" else lambda state: OF_RECEIPT.get(state, FAILED)
    return [_of_message(name_of(row["status"]), lane, row, cases) for row in rows], end, has_more


async def _cases(
    connection: Connection, lane: int, rows: Sequence[Mapping[str, Any]]
) -> dict[tuple[int, int], dict[str, Any]]:
    """Read of messages of campaigns, by (chunk, place), whose enrolment each is of, and which variant it is (GL-3)."""
    if not rows:
        return {}
    some = await connection.fetch(
        query("fed_enrolments"), lane, [row["chunk_id"] for row in rows], [row["pos"] for row in rows]
    )
    return {
        (row["chunk_id"], row["pos"]): {ENROLMENT_PROPERTY: int(row["key"].partition(":")[0])}
        | ({VARIANT_PROPERTY: row["variant"]} if row["variant"] else {})
        for row in some
        if row["key"]
    }


def name_of_outcome(status: int) -> str:
    """Name what an outcome is to its person."""
    if status == 0:
        return SENT_EVENT
    if status == Refusal.EXPIRED:
        return "expired"
    return "skipped" if status <= FIRST_REASON or status == Refusal.SUPPRESSED else FAILED


def _of_message(
    name: str, lane: int, row: Mapping[str, Any], cases: Mapping[tuple[int, int], Mapping[str, Any]]
) -> Item:
    properties = {CAMPAIGN_PROPERTY: row["campaign"], "run": row["run"]}
    properties |= cases.get((row["chunk_id"], row["pos"]), {})
    if name in (FAILED, "skipped"):
        properties["status"] = row["status"]
    return Item(
        who=Who(phone=row["number"]), source=OUR_SOURCE, event_id=f"{name}:{lane}:{row['chunk_id']}:{row['pos']}",
        name=name, occurred_at=row["at"], properties=properties, is_ours=True,
    )  # fmt: skip


async def _replies(
    connection: Connection, lane: int, rows: Sequence[tuple[int, Any]], wish_of: Callable[[str, int], str | None]
) -> list[Item]:
    found = await known(connection, [number for number, _ in rows])
    rows = [(number, row) for number, row in rows if number in found]
    numbers = [number for number, _ in rows]
    # By the time of the reply, not of this reading: what was sent since is not what they answer to.
    last = await connection.fetch(
        query("last_sent"), ints(map(hash_of, numbers)), ints(numbers), [row["at"] for _, row in rows]
    )
    sent = {row["place"]: row["campaign"] for row in last}
    return [
        Item(
            who=Who(phone=number), source=OUR_SOURCE, event_id=f"{REPLIED}:{lane}:{row['id']}", name=REPLIED,
            occurred_at=row["at"], is_ours=True,
            properties=({CAMPAIGN_PROPERTY: sent[place]} if sent.get(place) else {})
            | ({WISH_PROPERTY: wish} if (wish := wish_of(row["text"], number)) in COMPLIANCE else {}),
        )
        for place, (number, row) in enumerate(rows, 1)
    ]  # fmt: skip


async def stops(
    connection: Connection, name_of: Callable[[Mapping[str, Any]], str], begin: int
) -> tuple[list[Item], int, bool]:
    """Read the next entries of the feed of STOPs; -> items, the last number read, and whether there may be more.

    name_of  an entry's event, "" = it is none
    begin    behind which it is read where it never was
    """
    at: datetime | None = await connection.fetchval(query("fed_upto"), NO_LANE, STOPS)
    since = begin if at is None else (at - EPOCH) // timedelta(microseconds=1)
    rows = await connection.fetch(query("fed_stops"), since, ROWS)
    found = await known(connection, [row["number"] for row in rows])
    items = [
        Item(
            who=Who(phone=row["number"]), source=OUR_SOURCE, event_id=f"stop:{row['seq']}", name=name_of(dict(row)),
            occurred_at=row["at"], is_ours=True, properties={"scope": row["scope"], "source": row["source"]},
        )
        for row in rows if row["number"] in found and name_of(dict(row))
    ]  # fmt: skip
    return items, rows[-1]["seq"] if rows else since, len(rows) == ROWS


async def note_stops(connection: Connection, seq: int) -> None:
    """Note how far the feed was read: its numbers as microseconds, since the table has a time."""
    await note(connection, NO_LANE, STOPS, EPOCH + timedelta(microseconds=seq))


async def known(connection: Connection, numbers: Sequence[int]) -> set[int]:
    """Say which of some numbers have a person."""
    some = sorted(set(numbers))
    if not some:
        return set()
    rows = await connection.fetch(query("profiles_of_numbers"), ints(map(hash_of, some)), ints(some))
    return {row[2] for row in rows}


async def owe(connection: Connection, some: Sequence[Owed]) -> None:
    """Write down what is to be told of persons, in the transaction of what it tells."""
    if some:
        await connection.execute(
            query("owe_of_persons"), [one.bucket for one in some], [one.number for one in some],
            [one.at for one in some], [one.name for one in some], [one.told for one in some],
            [one.properties for one in some],
        )  # fmt: skip


async def owed(connection: Connection) -> list[Owed]:
    """Read what is to be told of persons, the oldest first; as many as ROWS: there may be more."""
    rows = await connection.fetch(query("owed_of_persons"), 0, BUCKETS - 1, ROWS)
    return [Owed(**dict(row)) for row in rows]


async def items_of(connection: Connection, some: Sequence[Owed]) -> list[Item]:
    """Make of what is owed what is told, of those numbers that still have a person."""
    found = await known(connection, [one.number for one in some])
    return [
        Item(
            who=Who(phone=one.number), source=OUR_SOURCE, event_id=one.told, name=one.name, occurred_at=one.at,
            properties=msgspec.json.decode(one.properties), is_ours=True,
        )
        for one in some if one.number in found
    ]  # fmt: skip


async def paid(connection: Connection, some: Sequence[Owed]) -> None:
    """Take away what was told."""
    await connection.execute(query("paid_of_persons"), [one.bucket for one in some], [one.told for one in some])
