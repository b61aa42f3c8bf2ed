"""What follows from the events of a person (EV-9): carried on by each batch, or computed anew from all of them.

    Tally      what a batch adds to one person: times, sessions, clicks, marks, orders
    sessions   how many begin, and which have ended, when events come in any order (EV-10)
    rebuild    the same from the raw events of a bucket; tests hold that both are equal

A session is a row of a person's own events with never more than the timeout between two, broken by a session_ended.
What it adds depends on the neighbours of an event alone: mostly the last event, which stands with the person; for what
comes late they are looked up. A session is *running* while its last event came in time; when the timeout is over, or
with the first event after it, its end is told once.
Not here: who is who (identities.py), the order of the steps (profiles.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.eventrows import microseconds
from gateway.person import (
    CLICKED,
    HISTORICAL,
    LATE,
    ORDER_EVENTS,
    OURS,
    REPLIED,
    SESSION_ENDED,
    SESSION_TIMEOUT,
    UTM,
    Order,
    order_key,
    utm_of,
)
from gateway.store import months
from gateway.store.columns import ints
from gateway.store.identities import Person, order_of, write_orders
from gateway.store.postgres import Connection
from gateway.store.queries import query

Moment = tuple[datetime, bool]
"""When something happened, and whether it ended a session; of two at one time the end is the later."""

PERSONS_A_STEP = 500


class Tally:
    """What a batch adds to one person."""

    __slots__ = (
        "click_at", "first_at", "ids", "last_at", "lives", "orders", "person", "reply_at", "session_at", "sessions",
        "told", "utm_first", "utm_last",
    )  # fmt: skip

    def __init__(self, person: Person):
        self.person = person
        self.ids: list[int] = []
        self.told: list[Moment] = []
        self.lives: list[Moment] = []
        self.first_at: datetime | None = None
        self.last_at: datetime | None = None
        self.sessions = 0
        self.session_at = person.session_at
        self.click_at: datetime | None = None
        self.reply_at: datetime | None = None
        self.utm_first: tuple[int, int, dict[str, Any]] | None = None
        self.utm_last: tuple[int, int, dict[str, Any]] | None = None
        self.orders: list[tuple[str, datetime, int, dict[str, Any], str]] = []

    def add(self, name: str, at: datetime, id_: int, flags: int, properties: Any, event_id: str) -> None:
        """Take one event in."""
        self.ids.append(id_)
        is_end = name == SESSION_ENDED
        if is_end or not flags & OURS:
            self.told.append((at, is_end))
            if is_end or not flags & (HISTORICAL | LATE):
                self.lives.append((at, is_end))
            if not is_end:
                if self.first_at is None or at < self.first_at:
                    self.first_at = at
                if self.last_at is None or at > self.last_at:
                    self.last_at = at
        if name in ORDER_EVENTS:
            self.orders.append((name, at, id_, properties, order_key(properties, event_id)))
        elif name == CLICKED:
            if properties.get("verdict") in (None, "human") and (self.click_at is None or at > self.click_at):
                self.click_at = at
        elif name == REPLIED and (self.reply_at is None or at > self.reply_at):
            self.reply_at = at
        if properties and not properties.keys().isdisjoint(UTM) and (marks := utm_of(properties)):
            mark = (microseconds(at), id_, marks)
            if self.utm_first is None or mark[:2] < self.utm_first[:2]:
                self.utm_first = mark
            if self.utm_last is None or mark[:2] > self.utm_last[:2]:
                self.utm_last = mark

    @property
    def is_marked(self) -> bool:
        """Whether something rare happened."""
        return self.click_at is not None or self.reply_at is not None or self.utm_first is not None


def follow(
    session_at: datetime | None, end_at: datetime | None, lives: Iterable[Moment]
) -> tuple[datetime | None, list[datetime]]:
    """Follow a running session over new moments that came in time; -> its last event now, and the ends to tell.

    end_at  when a session of the person last ended: what lies before it begins none
    """
    ends = []
    for at, is_end in sorted(lives):
        if session_at is not None and at - session_at > SESSION_TIMEOUT:
            end_at = session_at + SESSION_TIMEOUT
            ends.append(end_at)
            session_at = None
        if is_end:
            end_at = at if end_at is None else max(at, end_at)
            if session_at is not None and session_at <= at:
                session_at = None
        elif (end_at is None or at > end_at) and (session_at is None or at > session_at):
            session_at = at
    return session_at, ends


def begun(new: Sequence[Moment], before: Iterable[Moment], after: Iterable[Moment]) -> int:
    """Count how many more sessions there are with some new moments.

    before, after  of what was there, the neighbours of each new one within the timeout (more of them do no harm, as
                   long as the one just before each of `after` is there if it lies within the timeout)
    """
    follow_up = {moment for moment in after if not moment[1]}
    old = sorted({*before, *after})
    both = sorted({*old, *new})
    counted = follow_up | {moment for moment in new if not moment[1]}
    # An event at the very time of one that was there begins nothing, and the one that was there is as it was.
    return _starts(both, counted) - _starts(old, counted)


def _starts(moments: Sequence[Moment], counted: set[Moment]) -> int:
    starts = 1 if moments and moments[0] in counted else 0
    for (earlier, is_end), moment in pairwise(moments):
        if moment in counted and (is_end or moment[0] - earlier > SESSION_TIMEOUT):
            starts += 1
    return starts


async def carry_sessions(connection: Connection, tallies: Iterable[Tally]) -> list[tuple[Tally, datetime]]:
    """Carry the sessions of persons on; -> the ends to be told, which are in the tallies already."""
    active = [one for one in tallies if one.told]
    # Who runs no session but has been here: when the last one ended decides.
    asked = [one.person for one in active if one.session_at is None and not one.person.is_new]
    ends: dict[int, datetime] = {}
    if asked:
        rows = await connection.fetch(query("session_ends"), [one.bucket for one in asked], [one.id for one in asked])
        ends = {row[0]: row[1] for row in rows}
    told = []
    unsure = []
    for one in active:
        person, end_at = one.person, ends.get(one.person.id)
        one.session_at, found = follow(one.session_at, end_at, one.lives)
        for at in found:
            one.told.append((at, True))
            told.append((one, at))
        known = [(person.last_seen_at, False)] if person.last_seen_at is not None else []
        if end_at is not None:
            known.append((end_at, True))
        if not known or min(one.told) >= max(known):
            one.sessions = begun(one.told, known, ())
        else:
            unsure.append(one)
    if unsure:
        await _look_around(connection, unsure)
    return told


async def _look_around(connection: Connection, tallies: Sequence[Tally]) -> None:
    """Count the sessions of those whose events came behind others."""
    asked = [(one.person.bucket, one.person.id, *moment) for one in tallies for moment in sorted(set(one.told))]
    around: dict[int, tuple[list[Moment], list[Moment]]] = {one.person.id: ([], []) for one in tallies}
    rows = await connection.fetch(
        query("session_neighbours"), [one[0] for one in asked], [one[1] for one in asked], [one[2] for one in asked],
        SESSION_TIMEOUT, [one[3] for one in asked], [id_ for one in tallies for id_ in one.ids],
    )  # fmt: skip
    for row in rows:
        before, after = around[row["profile"]]
        if row["before_at"] is not None:
            before.append((row["before_at"], row["before_is_end"]))
        if row["after_at"] is not None:
            after.append((row["after_at"], row["after_is_end"]))
    for one in tallies:
        one.sessions = begun(one.told, *around[one.person.id])


async def go_on(connection: Connection, until: Mapping[Person, int], now: datetime) -> None:
    """Carry running sessions on: person -> their last event, in microseconds."""
    if until:
        order = sorted((one.bucket, one.id, at_us) for one, at_us in until.items())
        await connection.execute(query("go_on"), *map(ints, zip(*order, strict=True)), now)


async def write(connection: Connection, tallies: Sequence[Tally], now: datetime) -> None:
    """Write what a batch adds to persons."""
    touched = [one for one in tallies if one.told]
    if touched:
        await connection.execute(
            query("touch_profiles"), [one.person.bucket for one in touched], [one.person.id for one in touched],
            [one.first_at for one in touched], [one.last_at for one in touched], [one.sessions for one in touched],
            [one.session_at for one in touched], now,
        )  # fmt: skip
    opened = [one for one in touched if one.session_at is not None and one.person.session_at is None]
    if opened:
        await connection.execute(
            query("open_sessions"), [one.person.bucket for one in opened], [one.person.id for one in opened],
            [one.session_at + SESSION_TIMEOUT for one in opened if one.session_at is not None],
        )  # fmt: skip
    marked = [one for one in tallies if one.is_marked]
    if marked:
        await connection.execute(
            query("mark_profiles"), [one.person.bucket for one in marked], [one.person.id for one in marked],
            [one.click_at for one in marked], [one.reply_at for one in marked],
            [_mark(one.utm_first) for one in marked], [_mark(one.utm_last) for one in marked],
        )  # fmt: skip
    bought = [one for one in tallies if one.orders]
    if bought:
        await _write_orders(connection, bought)


def _mark(mark: tuple[int, int, dict[str, Any]] | None) -> str | None:
    return None if mark is None else _json({**mark[2], "at": mark[0], "id": mark[1]})


async def _write_orders(connection: Connection, tallies: Sequence[Tally]) -> None:
    wanted = sorted({(one.person.bucket, one.person.id, told[4]) for one in tallies for told in one.orders})
    buckets, ids, keys = ([one[at] for one in wanted] for at in range(3))
    rows = await connection.fetch(query("orders_told"), buckets, ids, keys)
    orders = {(row["profile"], row["key"]): order_of(row) for row in rows}
    paid = await connection.fetch(
        query("spent_of"), [one.person.bucket for one in tallies], [one.person.id for one in tallies]
    )
    spent = {row[0]: msgspec.json.decode(row[1], type=dict[str, int]) for row in paid}
    more = dict.fromkeys(spent, 0)

    def count(of: int, order: Order, sign: int) -> None:
        more[of] += sign * order.is_counted
        if net := order.net:
            name = order.currency or "XXX"
            spent[of][name] = spent[of].get(name, 0) + sign * net

    changed = {}
    for one in tallies:
        for name, at, id_, properties, key in one.orders:
            of = one.person.id
            order = orders.setdefault((of, key), Order(key=key))
            if (of, key) not in changed:
                count(of, order, -1)
                changed[of, key] = (one.person.bucket, of, order)
            order.told(name, at, id_, properties)
    for _, of, order in changed.values():
        count(of, order, 1)
    await write_orders(connection, list(changed.values()))
    await connection.execute(
        query("write_spent"), [one.person.bucket for one in tallies], [one.person.id for one in tallies],
        [more[one.person.id] for one in tallies],
        [_json({name: net for name, net in spent[one.person.id].items() if net}) for one in tallies],
    )  # fmt: skip


# -- anew --------------------------------------------------------------------------------------------------------------


async def recount(connection: Connection, bucket: int, ids: Sequence[int]) -> None:
    """Compute the aggregates of some persons of a bucket, who are held, from their events and orders."""
    await connection.execute(query("recount"), bucket, list(ids), SESSION_TIMEOUT)


class Rebuilt(Struct, frozen=True):
    """How many persons were counted anew, and from when on: events before it are not kept ([retention]
    person_event_days), and what followed from them is gone with the rebuild. None: there is no month of events."""

    persons: int
    since: datetime | None


async def rebuild(connection: Connection, bucket: int, now: datetime) -> Rebuilt:
    """Compute everything that follows from raw events anew, for the persons of a bucket.

    Some hundred persons a transaction, held meanwhile: batches that concern them wait.
    """
    behind, persons = -1, 0
    kept = await months.months(connection, "person_event")
    since = kept[0].begin if kept else None
    while True:
        async with connection.transaction():
            rows = await connection.fetch(query("persons_of_bucket"), bucket, behind, PERSONS_A_STEP)
            if not rows:
                return Rebuilt(persons, since)
            behind = rows[-1]["id"]
            persons += len(rows)
            ids = [row["id"] for row in rows]
            await connection.execute(query("hold_persons"), ints([bucket] * len(ids)), ints(ids), now, False)
            await connection.execute(query("forget_totals"), bucket, ids)
            await connection.execute(query("count_totals"), bucket, ids)
            await connection.execute(query("forget_person_orders"), bucket, ids)
            orders: dict[tuple[int, str], Order] = {}
            for row in await connection.fetch(query("order_events"), bucket, ids):
                properties = msgspec.json.decode(row["properties"])
                key = order_key(properties, row["event_id"])
                order = orders.setdefault((row["profile"], key), Order(key=key))
                order.told(row["name"], row["occurred_at"], row["id"], properties)
            if orders:
                await write_orders(connection, [(bucket, of, order) for (of, _), order in orders.items()])
            await recount(connection, bucket, ids)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
