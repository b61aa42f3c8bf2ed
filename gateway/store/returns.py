"""Places that are given back: messages that passed the gate and of which nothing went after all (CP-2).

    expired_messages                        the lane's side: what is wanted still goes back to the queue, once (QH-6)

    failed_until ─► went_nowhere            the lane's side: numbers by run, and when they failed
    contacts_of_run ─► returned contacts    the people's side: each at the moment of the reservation it takes back
    note_returned                           the lane's side: how far was looked

Three transactions, none of them of both sides. Whoever is killed between two does the last piece once more, and what
was taken back already is found to be so: a repeat writes nothing. Statements: sql/returns.sql.
Not here: who does it, and when (dispatch/returns.py); what counts as an end (sql/states.sql).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from _fastpath.gate import Returns
from gateway.store import admission, queue
from gateway.store.postgres import Connection
from gateway.store.queries import query

# A failure that is told so long after the carrier took the message changes nothing any more (CP-2).
PERMANENT = timedelta(hours=72)
# All answers to a message that failed now are younger, and so is its reservation.
ANSWERS = timedelta(days=4)
RESERVATIONS = timedelta(days=8)
# Reservations and failures may be told by two hosts.
LEEWAY_US = 5_000_000
AT_ONCE = 5000
# Behind everything.
END = timedelta(days=1)


class Upto(Struct, frozen=True, kw_only=True):
    """How far the failures of a lane were looked through."""

    outcomes: datetime
    receipts: datetime


class Nowhere(Struct, frozen=True, kw_only=True):
    """Messages of an act of which nothing went: numbers and microseconds of failure, 8 octets each."""

    numbers: bytes
    failed_at: bytes


async def asks_anybody(connection: Connection) -> bool:
    """Say whether any run asks the gate."""
    return bool(await connection.fetchval(query("asks_anybody")))


async def upto(connection: Connection, lane: int, now: datetime) -> Upto:
    """Read how far a lane was looked through; one that never was begins with what may still count."""
    row = await connection.fetchrow(query("returned_upto"), lane)
    if row is None:
        return Upto(outcomes=now - PERMANENT, receipts=now - PERMANENT)
    return Upto(outcomes=row["outcomes"], receipts=row["receipts"])


async def note(connection: Connection, lane: int, done: Upto, now: datetime) -> None:
    """Note how far a lane was looked through; what a host tells whose clock is ahead counts as now."""
    await connection.execute(query("note_returned"), lane, min(done.outcomes, now), min(done.receipts, now))


async def nowhere(
    connection: Connection, lane: int, since: Upto, now: datetime, at_once: int = AT_ONCE
) -> tuple[Mapping[int, Nowhere], Upto, bool]:
    """Find the messages of a lane that went nowhere, of the failures since a moment.

    -> by what has reserved for them, run or message (admission.acts); how far that is; whether there is more behind
    cost  by index; some 20 us a failure, since all answers to its message are read
    """
    row = await connection.fetchrow(query("failed_until"), lane, since.outcomes, since.receipts, at_once)
    assert row is not None
    # All that failed at one moment are taken together: a moment is begun once.
    done = Upto(outcomes=row["outcomes"] or now + END, receipts=row["receipts"] or now + END)
    first = min(since.outcomes, since.receipts)
    rows = await connection.fetch(
        query("went_nowhere"), lane, since.outcomes, done.outcomes, since.receipts, done.receipts, first - ANSWERS,
        PERMANENT,
    )  # fmt: skip
    acts = await admission.acts(connection, lane, [one["own"] for one in rows if one["own"] is not None])
    found: dict[int, Nowhere] = {}
    for one in rows:
        act = one["run"] if one["own"] is None else acts[one["own"]]
        before = found.get(act, Nowhere(numbers=b"", failed_at=b""))
        found[act] = Nowhere(numbers=before.numbers + one["numbers"], failed_at=before.failed_at + one["failed_at"])
    has_more = row["outcomes"] is not None or row["receipts"] is not None
    return found, Upto(outcomes=row["outcomes"] or now, receipts=row["receipts"] or now), has_more


async def again(connection: Connection, lane: int, since: datetime, now: datetime, at_once: int = AT_ONCE) -> int:
    """Queue messages once more whose time with the carrier was over, so that the next opening may have them (QH-6).

    Each once: its chunk remembers it, and its place stays its own. -> how many of those told of since a moment.

    cost  by index, as nowhere; a transaction a chunk
    """
    total = 0
    while True:
        rows = await connection.fetch(query("expired_messages"), lane, since, now, at_once, since - ANSWERS)
        positions: dict[int, list[int]] = {}
        for row in rows:
            positions.setdefault(row["chunk_id"], []).append(row["pos"])
        queued = 0
        for chunk_id, found in positions.items():
            async with connection.transaction():
                queued += len((await queue.copy_positions(connection, lane, chunk_id, found, now))[1])
        total += queued
        if len(rows) < at_once or not queued:
            return total


async def give_back(connection: Connection, act: int, messages: Nowhere, since: datetime) -> int:
    """Take back the reservations of messages that went nowhere; -> how many. Once more changes nothing.

    act    what has reserved
    since  a moment before which none of them failed
    """
    returns = Returns(act, messages.numbers, messages.failed_at, LEEWAY_US)
    buckets, pages = returns.places()
    returns.read_contacts(
        await connection.fetchval(query("contacts_of_run"), buckets, pages, act, since - RESERVATIONS) or b""
    )
    octets, people = returns.rows_returned()
    if people:
        await admission.reserve(connection, octets)
    return people
