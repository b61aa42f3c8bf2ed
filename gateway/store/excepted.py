"""Texts that an exception has met: prevented, or told of too late (EX-3, EX-5). Statements: sql/excepted.sql.

    looked at, left by it      ─► prevented: the text of the step that was due next
    refused by the gate        ─► prevented
    told behind a made text    ─► open ─┬─► prevented: taken out of the queue, or refused by the gate
                                        ├─► late: it had left, and had no end yet
                                        └─► forgotten: it had its end before, or never left

A row is of one text: enrolment and visit; the first exception counts.
Not here: when an exception holds (happenings.py), who finds out what became of a text (automation/excepting.py).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from gateway.person import EPOCH, hash_of
from gateway.store.feeds import FAILED, OF_RECEIPT, name_of_outcome
from gateway.store.postgres import Connection
from gateway.store.queries import query

OPEN, PREVENTED, LATE = 0, 1, 2
# Whether the carrier is asked to take a late one back.
NOT_ASKED, ASKED, CANCELLED, REFUSED = 0, 1, 2, 3

# Before every open one, as `opened` reads them.
FIRST = (EPOCH, 0, 0)


class Hit(Struct, frozen=True):
    """An exception that holds of somebody: the event's name, and when it happened."""

    name: str
    at: datetime


class Made(Struct, frozen=True, kw_only=True):
    """A text that a step has made; outgoing: the id of what it went into."""

    bucket: int
    enrolment: int
    campaign: int
    version: int
    profile: int
    anchor_at: datetime
    step: int
    visit: int
    run: int
    made_at: datetime
    outgoing: int | None = None


class Excepted(Struct, frozen=True, kw_only=True):
    """A text that an exception has met; planned_at: when it was to leave, of an open one when it was made."""

    bucket: int
    enrolment: int
    visit: int
    profile: int
    campaign: str
    name: str
    happened_at: datetime
    told_at: datetime
    planned_at: datetime
    state: int = PREVENTED
    run: int = 0


class Open(Struct, frozen=True, kw_only=True):
    """A text of which it is open what became of it; number: None where nobody is there any more; outgoing: as Made."""

    bucket: int
    enrolment: int
    visit: int
    profile: int
    run: int
    campaign: str
    name: str
    happened_at: datetime
    told_at: datetime
    planned_at: datetime
    found_at: datetime
    number: int | None
    outgoing: int | None = None

    @property
    def key(self) -> tuple[int, int]:
        """What names it: enrolment and visit."""
        return self.enrolment, self.visit


class Late(Struct, frozen=True):
    """One that had left: the message, and whether the carrier is asked to take it back."""

    of: Open
    lane: int
    chunk: int
    pos: int
    cancel: int = NOT_ASKED


class Asked(Struct, frozen=True, kw_only=True):
    """A late one that the carrier is asked to take back."""

    bucket: int
    enrolment: int
    visit: int
    lane: int
    chunk: int
    pos: int


class Told(Struct, frozen=True):
    """What was told of a text: the event's name, the message it is of, when that was, and a status where it has one."""

    name: str
    lane: int
    chunk: int
    pos: int
    at: datetime
    status: int = 0


async def made_lately(connection: Connection, of: Sequence[tuple[int, int, int]], since: datetime) -> list[Made]:
    """Read the texts that campaigns have made for some persons since a moment: (bucket, profile, campaign)."""
    buckets, profiles, campaigns = zip(*of, strict=True) if of else ((), (), ())
    rows = await connection.fetch(query("texts_made_lately"), buckets, profiles, campaigns, since)
    return [Made(**dict(row)) for row in rows]


async def add(connection: Connection, some: Sequence[Excepted], now: datetime) -> None:
    """Note texts; of one that is noted already nothing changes."""
    if some:
        await connection.execute(
            query("add_excepted"), [one.bucket for one in some], now, [one.visit for one in some],
            [one.state for one in some], [one.enrolment for one in some], [one.profile for one in some],
            [one.run for one in some], [one.happened_at for one in some], [one.told_at for one in some],
            [one.planned_at for one in some], [one.campaign for one in some], [one.name for one in some],
        )  # fmt: skip


async def refused_at_gate(
    connection: Connection, run: int, campaign: str, hits: Mapping[tuple[int, int, int], Hit], now: datetime
) -> None:
    """Note texts that the gate refuses for an exception: number, enrolment and visit."""
    if hits:
        await connection.execute(
            query("prevented_at_gate"), [hash_of(number) for number, _, _ in hits], now, run, campaign,
            [enrolment for _, enrolment, _ in hits], [visit for _, _, visit in hits],
            [hit.at for hit in hits.values()], [hit.name for hit in hits.values()],
        )  # fmt: skip


async def prevented(connection: Connection, some: Sequence[tuple[int, int, int, datetime]]) -> None:
    """Say of open ones that they were taken out of the queue: bucket, enrolment, visit, and when it was to leave."""
    if some:
        buckets, enrolments, visits, planned = zip(*some, strict=True)
        await connection.execute(query("prevented_in_queue"), buckets, enrolments, visits, planned)


async def is_wanted(connection: Connection) -> bool:
    """Say whether it is open what became of any text."""
    return bool(await connection.fetchval(query("has_excepted")))


async def opened(connection: Connection, behind: tuple[datetime, int, int], limit: int) -> list[Open]:
    """Read open ones behind (found_at, enrolment, visit), the oldest first."""
    return [Open(**dict(row)) for row in await connection.fetch(query("open_excepted"), *behind, limit)]


async def told_of(
    connection: Connection, some: Sequence[Open], since: Sequence[datetime]
) -> dict[tuple[int, int], list[Told]]:
    """Read what was told of texts, each since a moment, by their keys."""
    rows = await connection.fetch(
        query("ends_of_texts"), [one.bucket for one in some], [one.profile for one in some],
        [one.enrolment for one in some], [one.visit for one in some], [one.run for one in some], since,
    )  # fmt: skip
    found: dict[tuple[int, int], list[Told]] = {}
    for row in rows:
        # As store/feeds.py names what it tells.
        _, lane, chunk, pos = row["event_id"].split(":")
        told = Told(row["name"], int(lane), int(chunk), int(pos), row["occurred_at"], row["status"] or 0)
        found.setdefault((row["enrolment"], row["visit"]), []).append(told)
    return found


async def fed_upto(connection: Connection) -> dict[int, datetime]:
    """Say of lanes up to when all that came of their messages was told; one that is not among them was never read."""
    return {row["lane"]: row["upto"] for row in await connection.fetch(query("fed_lanes_upto"))}


async def lately(connection: Connection, lane: int, places: Collection[tuple[int, int]], since: datetime) -> list[Told]:
    """Read what came of messages of a lane, (chunk, place), since a moment, the oldest first: as it will be told.

    cost  reads the outcomes and receipts of the lane since then
    """
    chunks, positions = [chunk for chunk, _ in places], [pos for _, pos in places]
    rows = await connection.fetch(query("ends_lately"), lane, chunks, positions, since)
    return [
        Told(
            OF_RECEIPT.get(row["status"], FAILED) if row["is_receipt"] else name_of_outcome(row["status"]),
            lane, row["chunk_id"], row["pos"], row["at"], 0 if row["is_receipt"] else row["status"],
        )
        for row in rows
    ]  # fmt: skip


async def end(connection: Connection, some: Sequence[Late]) -> None:
    """Say of open ones that they had left."""
    if some:
        await connection.execute(
            query("end_excepted"), [one.of.bucket for one in some], [one.of.enrolment for one in some],
            [one.of.visit for one in some], [one.lane for one in some], [one.chunk for one in some],
            [one.pos for one in some], [one.cancel for one in some],
        )  # fmt: skip


async def asked(connection: Connection, limit: int) -> list[Asked]:
    """Read late ones that the carrier is asked to take back."""
    return [Asked(**dict(row)) for row in await connection.fetch(query("asked_excepted"), limit)]


async def answer(connection: Connection, some: Mapping[Asked, int]) -> None:
    """Write what the carrier said of late ones: CANCELLED or REFUSED."""
    if some:
        await connection.execute(
            query("answer_excepted"), [one.bucket for one in some], [one.enrolment for one in some],
            [one.visit for one in some], list(some.values()),
        )  # fmt: skip


async def forget(connection: Connection, some: Sequence[Open]) -> None:
    """Forget open ones: nothing came too late."""
    if some:
        await connection.execute(
            query("forget_excepted"), [one.bucket for one in some], [one.enrolment for one in some],
            [one.visit for one in some],
        )  # fmt: skip
