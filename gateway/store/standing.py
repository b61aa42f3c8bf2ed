"""Which server is at the other end, and whether it still knows all that was acknowledged to us.

A server writes one history: a system identifier, a timeline, and positions (LSN) on it. A standby that is promoted goes
on with a new timeline, from the position that it had reached:

    timeline 1  ────────────┬───────────●  the highest position of which we know that it was on disk (`known`)
                            │  missing  │
    timeline 2              └──────────────────►  a promoted standby that had come no further

What lies between was acknowledged to us and is gone: messages that have left look as if they had not. Then there is a
*hold*: nothing is claimed and nothing leaves until a person has said `sluice resume --after-failover`. The same when
the server is another one, or an older state of itself (a backup).

The order is a row of the database, so a backup that was taken after it holds it again. Therefore only an order ends a
hold that was not known while all was well: those are remembered beside the position, each by its id and the moment it
bears (behind a backup the ids begin again). An order given while a worker was away is for that worker, too.

The position is read with each beat of a worker, so what was committed since the last beat (0.25 s) and lost with it is
not noticed when nothing older is missing. It outlives the worker in a small file of the data root.
Statements: sql/standing.sql. Not here: what a hold stops (dispatch/guards.py).
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import msgspec
from msgspec import Struct

from gateway.store.queries import query

if TYPE_CHECKING:
    from gateway.store.control import Order
    from gateway.store.postgres import Connection

log = logging.getLogger(__name__)

# Moments kept, to say how many seconds are missing; at most one a second.
MOMENTS = 600
# After a crash the same server may begin again behind a record that was only half on disk.
TORN_OCTETS = 1 << 20
# What orders of resumption are given for; their key is that of the history.
SCOPE = "failover"
# The file is written at most so often, and when the timeline has changed.
KEEP_S = 1.0
# A table holds more dead rows than living ones by far: so many at least, and so many times as many.
MANY_DEAD = 100_000
DEAD_TIMES = 5


class Standing(Struct, frozen=True, kw_only=True):
    """Where a server stands.

    system         its identifier: the same for a cluster and its replicas
    timeline       eight hexadecimal digits; empty on a standby
    lsn            octets of WAL that are on its disk
    missing_grant  the statement by which our role would be let read where a timeline was left; empty: it may
    database       where that statement is to be run
    xid_age        transactions since the oldest one that a row still bears; the server stops at 2,144 million
    """

    system: int
    timeline: str
    lsn: int
    is_standby: bool = False
    version: int = 0
    fsync: str = "on"
    full_page_writes: str = "on"
    synchronous_commit: str = "on"
    missing_grant: str = ""
    database: str = ""
    xid_age: int = 0

    @property
    def key(self) -> str:
        """What an order of resumption names: this history and no other."""
        return f"{self.system}/{self.timeline}"


class Bloated(Struct, frozen=True):
    """A table, and its rows by the server's count."""

    name: str
    dead: int
    live: int


class Moment(Struct, frozen=True, array_like=True):
    """How far a server was at a time of the wall clock."""

    at: datetime
    lsn: int


class Mark(Struct, frozen=True, array_like=True, order=True):
    """Which order of resumption."""

    id: int
    at: datetime


class Known(Struct, frozen=True, kw_only=True):
    """The highest position that was acknowledged, on which history, and how it came there.

    orders  of resumption that were in force by then: they end no hold any more
    """

    system: int
    timeline: str
    lsn: int
    moments: tuple[Moment, ...] = ()
    orders: tuple[Mark, ...] = ()


class Hold(Struct, frozen=True, kw_only=True):
    """Why nothing is sent until a person says so. key: of the history that was found."""

    key: str
    reason: str


async def read(connection: "Connection") -> Standing:
    """Ask a server where it stands; under the caller's deadline."""
    row = await connection.fetchrow(query("standing"))
    return Standing(**dict(row))


async def bloated(connection: "Connection") -> list[Bloated]:
    """Ask a server which tables hold more dead rows than living ones by far; under the caller's deadline."""
    return [Bloated(**dict(row)) for row in await connection.fetch(query("bloated"), MANY_DEAD, DEAD_TIMES)]


def branches(history: str) -> dict[str, int]:
    """Read a timeline history file: timeline -> the position at which it was left."""
    found = {}
    for line in history.splitlines():
        fields = line.split()
        if len(fields) >= 2 and fields[0].isdecimal() and "/" in fields[1]:
            high, low = fields[1].split("/", 1)
            found[f"{int(fields[0]):08X}"] = (int(high, 16) << 32) | int(low, 16)
    return found


def judge(known: Known, found: Standing, history: str | None) -> str:
    """Say why a server may not know all that was acknowledged; empty: it does.

    history   of the timeline that was found; None: it cannot be read
    """
    if found.system != known.system:
        return (
            f"this is another server: expected the system identifier {known.system}, found {found.system}; "
            f"whether it knows what was acknowledged cannot be known"
        )
    if found.timeline == known.timeline:
        behind = known.lsn - found.lsn
        if behind <= TORN_OCTETS:
            return ""
        return f"the server is an older state of itself, such as a backup: {_missing(known, found.lsn)}"
    where = f"the server has failed over from timeline {known.timeline} to {found.timeline}"
    if history is None:
        why = f" ({found.missing_grant})" if found.missing_grant else ""
        return f"{where}, and where it did cannot be read{why}: what is missing is not known"
    left_at = branches(history).get(known.timeline)
    if left_at is None:
        return f"{where}, which does not come from it: what is missing is not known"
    return "" if left_at >= known.lsn else f"{where}: {_missing(known, left_at)}"


def _missing(known: Known, lsn: int) -> str:
    """How much of history ends behind a position."""
    octets = known.lsn - lsn
    moments = known.moments
    before = [moment.at for moment in moments if moment.lsn <= lsn]
    if not moments:
        span = "for how long is not known"
    elif before:
        span = f"up to {max(0.0, (moments[-1].at - before[-1]).total_seconds()) + 1.0:.0f} s"
    else:
        span = f"more than {(moments[-1].at - moments[0].at).total_seconds():.0f} s"
    return f"{octets:,} octets of what was acknowledged are missing, {span} of history"


class History:
    """What one worker knows of the history of its database.

    wall  the wall clock
    file  where it outlives the worker; None: nowhere
    """

    def __init__(self, wall: Callable[[], datetime], file: Path | None = None):
        self._wall = wall
        self._file = file
        self._kept: Known | None = None
        self._kept_at: datetime | None = None
        self.known = _recall(file)
        self.found: Standing | None = None
        self.hold: Hold | None = None
        # Called at once when there is a new hold, before the connection that showed it is used.
        self.on_hold: Callable[[], None] = lambda: None
        self.trouble = ""
        self._has_advised = False

    @property
    def advice(self) -> str:
        """What an operator had better do before a failover; empty: nothing."""
        found = self.found
        if found is None or not found.missing_grant:
            return ""
        return (
            f"our role may not read where a failover left the history of this server, so each would be a hold: let a "
            f"superuser run, in the database {found.database}: {found.missing_grant}"
        )

    async def look(self, connection: "Connection", found: Standing) -> None:
        """Compare a server just connected to with what is known; under the caller's deadline."""
        history: str | None = None
        if self.known is not None and not found.is_standby and found.timeline != self.known.timeline:
            history = await _history(connection, found.timeline)
        self.judge(found, history)

    def judge(self, found: Standing, history: str | None) -> None:
        """Hold, or go on from there."""
        if found.is_standby:
            return
        self.found = found
        reason = judge(self.known, found, history) if self.known is not None else ""
        if not reason:
            if self.hold is not None and self.hold.key == found.key:
                return
            if self.hold is not None:
                log.warning("= the server that was left is back: the hold ends")
            self.hold = None
            self._learn(found)
            return
        is_new = self.hold is None or self.hold.key != found.key
        self.hold = Hold(key=found.key, reason=reason)
        if is_new:
            log.error("! recovery hold: %s; nothing is sent until `sluice resume --after-failover`", reason)
            self.on_hold()

    async def beat(self, connection: "Connection") -> None:
        """Learn how far the server is now; a hold stays as it is. Under the caller's deadline."""
        found = await read(connection)
        self.found = found
        if self.advice and not self._has_advised:
            self._has_advised = True
            log.warning("= %s", self.advice)
        if self.hold is None:
            self._learn(found)

    def ends_by(self, orders: "Iterable[Order]") -> bool:
        """Whether a person has accepted the history of the hold, by an order that no backup can have brought."""
        known, hold = self.known, self.hold
        old = frozenset(known.orders) if known is not None else frozenset()
        return hold is not None and any(
            one.scope == SCOPE and one.key == hold.key and Mark(one.id, one.at) not in old for one in orders
        )

    def heed(self, orders: "Iterable[Order]") -> None:
        """Obey the orders in force: one of them may end the hold; without a hold they are remembered."""
        if self.ends_by(orders):
            self._accept()
        if self.hold is None:
            self.remember(orders)

    def remember(self, orders: "Iterable[Order]") -> None:
        """Let orders end no hold from now on."""
        known = self.known
        found = {Mark(one.id, one.at) for one in orders if one.scope == SCOPE}
        if known is not None and not found <= set(known.orders):
            self.known = msgspec.structs.replace(known, orders=tuple(sorted({*known.orders, *found})))

    def _accept(self) -> None:
        """Go on with the history that was found."""
        if self.hold is not None and self.known is not None and self.found is not None:
            log.warning("= recovery hold ends by order: %s", self.hold.reason)
            self.hold = None
            self._begin(self.found, self.known.orders)

    def _learn(self, found: Standing) -> None:
        known = self.known
        if known is None or (known.system, known.timeline) != (found.system, found.timeline):
            self._begin(found, known.orders if known is not None else ())
            return
        moments = known.moments
        now = self._wall()
        if not moments or (now - moments[-1].at).total_seconds() >= 1.0:
            moments = (*moments, Moment(now, found.lsn))[-MOMENTS:]
        self.known = msgspec.structs.replace(known, lsn=max(known.lsn, found.lsn), moments=moments)

    def _begin(self, found: Standing, orders: tuple[Mark, ...]) -> None:
        """Know no more than what was found, and which orders were obeyed before."""
        self.known = Known(
            system=found.system, timeline=found.timeline, lsn=found.lsn, moments=(Moment(self._wall(), found.lsn),),
            orders=orders,
        )  # fmt: skip

    async def keep(self) -> None:
        """Write the file where there is something new; beside the loop, for a disk may be slow."""
        known, now = self.known, self._wall()
        if self._file is None or known is None or self.hold is not None:
            return
        kept = self._kept
        is_same = kept is not None and (kept.system, kept.timeline) == (known.system, known.timeline)
        is_same = is_same and kept is not None and kept.orders == known.orders
        if is_same and kept is not None and kept.lsn == known.lsn:
            return
        if is_same and self._kept_at is not None and abs((now - self._kept_at).total_seconds()) < KEEP_S:
            return
        self._kept, self._kept_at = known, now
        try:
            await asyncio.to_thread(_write, self._file, msgspec.json.encode(known))
            self.trouble = ""
        except OSError as error:
            if not self.trouble:
                log.warning("! %s: %s: a failover while no worker runs will not be noticed", self._file, error.strerror)
            self.trouble = f"{self._file}: {error.strerror}"


async def _history(connection: "Connection", timeline: str) -> str | None:
    """Read a history file of the server; None where our role may not, or there is none."""
    try:
        return str(await connection.fetchval(query("timeline_history"), timeline))
    except asyncpg.PostgresError:
        return None


def _recall(file: Path | None) -> Known | None:
    if file is None:
        return None
    try:
        return msgspec.json.decode(file.read_bytes(), type=Known)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        log.warning("! %s: %s: what was acknowledged before is not known", file, error)
        return None


def _write(file: Path, octets: bytes) -> None:
    """Replace the file whole. It may be one of several workers': each writes what it knows, and the last one counts."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        new.write_bytes(octets)
        os.replace(new, file)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
