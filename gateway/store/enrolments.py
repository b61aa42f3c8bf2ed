"""Who is under way in a campaign: entered once for each cause, looked at when due, moved step by step.

    add ─► due (held) ─► move, with what the step did (step_run) and what is to be sent (outgoing): one transaction,
                         one bucket ─► take_outgoing: into a lane, once, whoever dies between

An enrolment lives in the bucket of its person, and moves with them (identities.py).
Statements: sql/enrolments.sql. Not here: what a step means (campaign/workflow.py), who looks (automation/stepping.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.reasons import Reason
from gateway.store import campaigns
from gateway.store.columns import ints
from gateway.store.postgres import Connection
from gateway.store.queries import query

UNDER_WAY, ENDED, REFUSED = 0, 1, 2


class New(Struct, frozen=True, kw_only=True):
    """A person to be entered, or noted as refused, with the reason (gateway.reasons)."""

    bucket: int
    id: int
    campaign: int
    version: int
    profile: int
    number: int | None
    cause: str
    key: str
    anchor_id: int
    anchor_at: datetime
    context: str
    reason: int = 0


class Known(Struct, frozen=True, kw_only=True):
    """What decides whether a person may enter once more."""

    bucket: int
    id: int
    campaign: int
    profile: int
    state: int
    entered_at: datetime
    key: str
    cause: str


class Enrolment(Struct, frozen=True, kw_only=True):
    """Somebody who is due.

    visits    steps that were reached so far: names the visit of the one they are at
    anchor    when the cause happened, and the id of its event
    until_at  when the step itself is due; they may be looked at before
    step_at   when the step was reached
    """

    bucket: int
    id: int
    campaign: int
    version: int
    step: int
    visits: int
    profile: int
    number: int | None
    anchor_id: int
    until_at: datetime | None
    anchor_at: datetime
    entered_at: datetime
    step_at: datetime
    cause: str
    context: dict[str, object]


class Move(Struct, frozen=True, kw_only=True):
    """Where an enrolment is from now on; state ENDED has no due_at."""

    bucket: int
    id: int
    step: int
    visits: int
    step_at: datetime
    state: int = UNDER_WAY
    reason: int = 0
    due_at: datetime | None = None
    until_at: datetime | None = None


class Done(Struct, frozen=True, kw_only=True):
    """What was done of a step; outgoing: the id of what its text went into."""

    bucket: int
    enrolment: int
    profile: int
    campaign: int
    step: int
    visit: int
    outcome: int
    run: int | None = None
    outgoing: int | None = None


class Outgoing(Struct, frozen=True, kw_only=True):
    """Texts of one run that go one way: numbers, and a row of field values for each.

    bucket  of any of them: it says where they wait
    """

    bucket: int
    lane: int
    country: int
    id: int
    run: int
    source: str
    fallback: Sequence[int]
    numbers: Sequence[int]
    params: Sequence[Sequence[str | None]]


class Ended(Struct, frozen=True, kw_only=True):
    """Somebody who has left."""

    bucket: int
    id: int
    campaign: int
    number: int | None


class Count(Struct, frozen=True, kw_only=True):
    """How many are, or were, somewhere in a campaign. next_at: when the first of them goes on, or is looked at."""

    version: int
    step: int
    state: int
    reason: int
    people: int
    next_at: datetime | None = None


class Lag(Struct, frozen=True, kw_only=True):
    """What of a campaign waits to be carried out, and since when at the longest.

    what  people who are due, causes nobody has decided about, texts on their way into a lane
    """

    campaign: str
    what: Literal["people", "causes", "texts"]
    waiting: int
    since: datetime


async def buckets(
    connection: Connection, first: int, last: int, now: datetime, paused: Sequence[int] = ()
) -> list[tuple[int, int]]:
    """Say in which buckets there is something to do, and how much."""
    rows = await connection.fetch(query("buckets_to_step"), first, last, now, list(paused))
    return [(row["bucket"], row["n"]) for row in rows]


async def known(connection: Connection, of: Sequence[tuple[int, int]], campaigns: Sequence[int]) -> list[Known]:
    """Read who of some persons, (bucket, id), is or was in some campaigns."""
    rows = await connection.fetch(query("enrolments_of"), *_pairs(of), campaigns)
    return [Known(**dict(row)) for row in rows]


async def numbers(connection: Connection, of: Sequence[tuple[int, int]]) -> dict[int, int | None]:
    """Read the numbers of persons, (bucket, id), by their ids; who is not there any more is not among them."""
    return dict(await connection.fetch(query("numbers_of_profiles"), *_pairs(of)))


async def add(connection: Connection, new: Sequence[New], now: datetime) -> set[int]:
    """Enter persons; -> the ids of those who had not entered for that cause before."""
    rows = await connection.fetch(
        query("add_enrolments"), [one.bucket for one in new], now, [one.version for one in new],
        [REFUSED if one.reason else UNDER_WAY for one in new], [one.reason for one in new], [one.id for one in new],
        [one.campaign for one in new], [one.profile for one in new], [one.number for one in new],
        [one.anchor_id for one in new], [one.anchor_at for one in new], [one.cause for one in new],
        [one.key for one in new], [one.context for one in new],
    )  # fmt: skip
    return {row["id"] for row in rows}


async def end(connection: Connection, ended: Mapping[tuple[int, int], int], now: datetime) -> list[Ended]:
    """End some, (bucket, id), by their reason; -> those who were under way."""
    if not ended:
        return []
    rows = await connection.fetch(
        query("end_enrolments"), [bucket for bucket, _ in ended], now, [id_ for _, id_ in ended],
        list(ended.values()),
    )  # fmt: skip
    return [Ended(**dict(row)) for row in rows]


async def wake(connection: Connection, of: Sequence[tuple[int, int, int]], now: datetime) -> None:
    """Have those looked at now who are under way: (bucket, profile, campaign)."""
    if of:
        buckets_, profiles, campaigns = zip(*of, strict=True)
        await connection.execute(query("wake_enrolments"), buckets_, now, profiles, campaigns)


async def due(
    connection: Connection, of: Sequence[int], now: datetime, limit: int, paused: Sequence[int]
) -> list[Enrolment]:
    """Take some who are due in buckets, so many of each, and hold them until our transaction ends.

    of  one bucket alone where they stand on several servers
    """
    if len(of) == 1:
        rows = await connection.fetch(query("due_enrolments"), of[0], now, limit, paused)
    else:
        rows = await connection.fetch(query("due_enrolments_of_many"), of, now, limit, paused)
    decode = msgspec.json.decode
    return [
        Enrolment(
            bucket=bucket, id=id_, campaign=campaign, version=version, step=step, visits=visits, profile=profile,
            number=number, anchor_id=anchor_id, until_at=until_at, anchor_at=anchor_at, entered_at=entered_at,
            step_at=step_at, cause=cause, context=decode(context),
        )
        for (
            bucket, id_, campaign, version, step, visits, profile, number, anchor_id, until_at, anchor_at, entered_at,
            step_at, cause, context,
        ) in rows
    ]  # fmt: skip


async def move(connection: Connection, moves: Sequence[Move], now: datetime) -> None:
    """Write where some are now."""
    if moves:
        await connection.execute(
            query("move_enrolments"), ints(one.bucket for one in moves), now, ints(one.id for one in moves),
            ints(one.step for one in moves), ints(one.visits for one in moves), ints(one.state for one in moves),
            ints(one.reason for one in moves), [one.due_at for one in moves], [one.until_at for one in moves],
            [one.step_at for one in moves],
        )  # fmt: skip


async def say(connection: Connection, bucket: int, contexts: Mapping[int, Mapping[str, object]]) -> None:
    """Add to what texts of some enrolments may name."""
    if contexts:
        told = [msgspec.json.encode(one).decode() for one in contexts.values()]
        await connection.execute(query("write_contexts"), bucket, list(contexts), told)


async def note(connection: Connection, done: Sequence[Done], now: datetime) -> None:
    """Note what was done of steps."""
    if done:
        await connection.execute(
            query("add_step_runs"), ints(one.bucket for one in done), now, ints(one.step for one in done),
            ints(one.outcome for one in done), ints(one.visit for one in done), ints(one.enrolment for one in done),
            ints(one.profile for one in done), ints(one.campaign for one in done), ints(one.run or 0 for one in done),
            ints(one.outgoing or 0 for one in done),
        )  # fmt: skip
    # Nothing is told of whoever is held out: reports would not look at them (AB-6).
    held_out = sorted({(one.bucket, one.profile) for one in done if one.outcome == Reason.CONTROL_GROUP})
    for bucket, some in groupby(held_out, key=itemgetter(0)):
        await connection.execute(query("mark_report_due"), bucket, [profile for _, profile in some])


async def virtual_sends(
    connection: Connection, of: Sequence[tuple[int, int]], campaign: int
) -> dict[int, list[datetime]]:
    """Read when a campaign would have written to persons who are held out, (bucket, profile); by profile (AB-6)."""
    found: dict[int, list[datetime]] = {}
    for profile, at in await connection.fetch(query("virtual_sends"), *_pairs(of), campaign):
        found.setdefault(profile, []).append(at)
    return found


async def put_out(connection: Connection, texts: Sequence[Outgoing], now: datetime) -> None:
    """Keep texts for their lanes, with the step that has made them."""
    await connection.executemany(
        query("add_outgoing"),
        [
            (
                one.bucket, one.lane, one.country, one.id, one.run, now, one.source, list(one.fallback),
                list(one.numbers), [list(row) for row in one.params],
            )
            for one in texts
        ],
    )  # fmt: skip


async def waiting(connection: Connection, first: int, last: int, limit: int) -> list[Outgoing]:
    """Read texts that wait for their lanes, the oldest first."""
    return [Outgoing(**dict(row)) for row in await connection.fetch(query("outgoing_rows"), first, last, limit)]


async def take_outgoing(
    connection: Connection, lane: int, of: Sequence[tuple[int, int]], now: datetime
) -> set[tuple[int, int]]:
    """Say that a lane takes texts, (bucket, id), within the transaction that queues them; -> those it had not taken."""
    rows = await connection.fetch(
        query("take_outgoing"), lane, now, [bucket for bucket, _ in of], [id_ for _, id_ in of]
    )
    return {(row["bucket"], row["id"]) for row in rows}


async def drop_outgoing(connection: Connection, lane: int, of: Sequence[tuple[int, int]]) -> None:
    """Take away what a lane has committed to have; then the lane forgets it: never the other way round."""
    buckets_, ids = [bucket for bucket, _ in of], [id_ for _, id_ in of]
    await connection.execute(query("drop_outgoing"), buckets_, ids)
    await connection.execute(query("forget_taken"), lane, buckets_, ids)


async def forget_old(connection: Connection, lane: int, before: datetime) -> int:
    """Forget what a lane took long ago, where it waits nowhere any more: somebody died between; -> how many."""
    rows = await connection.fetch(query("old_taken"), lane, before)
    by_bucket: dict[int, list[int]] = {}
    for row in rows:
        by_bucket.setdefault(row["bucket"], []).append(row["id"])
    gone: list[tuple[int, int]] = []
    for bucket, ids in sorted(by_bucket.items()):
        still = {row["id"] for row in await connection.fetch(query("outgoing_among"), bucket, ids)}
        gone += [(bucket, id_) for id_ in ids if id_ not in still]
    if gone:
        await connection.execute(query("forget_taken"), lane, [bucket for bucket, _ in gone], [id_ for _, id_ in gone])
    return len(gone)


async def any_under_way(connection: Connection, campaign: int) -> bool:
    """Say whether anybody is under way in a campaign."""
    return bool(await connection.fetchval(query("any_under_way"), campaign))


async def end_campaign(
    connection: Connection, bucket: int, campaign: int, reason: int, now: datetime, limit: int
) -> list[Ended]:
    """End some of those who are under way in a campaign, of a bucket; -> who they are."""
    rows = await connection.fetch(query("end_campaign_enrolments"), bucket, campaign, reason, now, limit)
    return [Ended(**dict(row)) for row in rows]


async def turn(
    connection: Connection, bucket: int, campaign: int, version: int, step: int, to: tuple[int, int], now: datetime,
    limit: int, *, recomputes: bool = False, restarts: bool = False,
) -> int:  # fmt: skip
    """Have some of those who are at a step of a version go on elsewhere (WF-8); -> how many.

    to          version and step
    recomputes  what they wait for is reckoned anew (DL-3); restarts: as if they entered now
    """
    rows = await connection.fetch(
        query("turn_enrolments"), bucket, campaign, version, *to, recomputes, restarts, now, step, limit
    )
    return len(rows)


async def end_at_step(
    connection: Connection, bucket: int, campaign: int, version: int, step: int, reason: int, now: datetime, limit: int
) -> list[Ended]:
    """End some of those who are at a step of a version; -> who they are."""
    rows = await connection.fetch(query("end_step_enrolments"), bucket, campaign, version, step, reason, now, limit)
    return [Ended(**dict(row)) for row in rows]


def _pairs(of: Sequence[tuple[int, int]]) -> tuple[str, str]:
    return ints(bucket for bucket, _ in of), ints(id_ for _, id_ in of)


async def counts(connection: Connection, campaign: int) -> list[Count]:
    """Count who is, and was, in a campaign."""
    return [Count(**dict(row)) for row in await connection.fetch(query("enrolment_counts"), campaign)]


async def lags(connection: Connection, now: datetime) -> list[Lag]:
    """Say what of campaigns should have been carried out by now and was not; nobody is due in one that is paused."""
    known = {one.id: one for one in await campaigns.every(connection)}
    if not known:
        return []
    found: list[Lag] = []
    for row in await connection.fetch(query("due_by_campaign"), now):
        of = known.get(row["campaign"])
        if of is not None and of.state != "paused":
            found.append(Lag(campaign=of.name, what="people", waiting=row["waiting"], since=row["since"]))
    told: dict[str, list[tuple[int, datetime]]] = {}
    for row in await connection.fetch(query("causes_by_name")):
        heard = await connection.fetch(query("listening"), row["kind"], row["name"])
        # Calls and what the calendar brings name their campaign.
        names = [known[each["campaign"]].name for each in heard if each["campaign"] in known] or [row["name"]]
        for name in names if heard or row["kind"] in ("call", "tick") else ():
            told.setdefault(name, []).append((row["waiting"], row["since"]))
    for name, some in told.items():
        waiting, since = sum(count for count, _ in some), min(at for _, at in some)
        found.append(Lag(campaign=name, what="causes", waiting=waiting, since=since))
    for row in await connection.fetch(query("outgoing_by_name")):
        found.append(Lag(campaign=row["name"], what="texts", waiting=row["waiting"], since=row["since"]))
    return sorted(found, key=lambda one: (one.campaign, one.what))
