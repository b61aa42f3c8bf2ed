"""STOP: entered once, known to every sender, and acknowledged only when no sender can write to that number any more.

    stop ─► feed, COMMIT ─► every registered worker has confirmed it? ─► acknowledged
                                ├ its process is gone: it writes nothing ────┤
                                └ not within 2 s: fenced, its lease awaited ─┘
    Feed (a worker's own)   NOTIFY, or 200 ms ─► entries behind the last ─► sets of numbers ─► confirmed
                                                                          └► promotional_until = sent + 1 s

What is proven, by class:
  triggered, bulk  A set is asked as each message leaves. A worker may begin one until 1 s after it *sent* the last poll
                   that was answered. A poll answered before the COMMIT was sent before it; one answered after it has
                   brought the entry. So 1 s after the COMMIT nothing leaves, whoever is frozen, cut off or behind.
  transactional    A set is asked likewise, but these go on where the feed is stale. Here a worker that does not confirm
                   is fenced: no beat of its lease is taken any more, and the acknowledgement waits until the lease is
                   over, for it sends nothing without one. A process of our boot whose pid is gone is not awaited.
  otp, compliance, conversation
                   go on: asked for by the person a moment ago, the confirmation itself, an answer to what they wrote.
Octets that were handed to the socket before are out; of a message of several parts that was begun the rest follows.
Not here: the feed (store/stops.py), keywords of handsets (optout.py), what a set costs (_fastpath/numbers.pyx).
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

from msgspec import Struct

from _fastpath.backlog import Backlog
from _fastpath.batch import Batch
from _fastpath.numbers import NumberSet
from gateway.dispatch.clock import Clock
from gateway.dispatch.identity import Identity, is_gone
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.rest import Rest
from gateway.erasure import Erased, Key, is_number
from gateway.errors import StoreError
from gateway.message import MessageClass
from gateway.store import postgres, stops
from gateway.store.stops import EVERYTHING, MOST_ENTRIES, PROMOTIONAL, scopes_of

log = logging.getLogger(__name__)

# Whom a STOP reaches.
REACHED = (MessageClass.TRANSACTIONAL, MessageClass.TRIGGERED, MessageClass.BULK)
POLL_S = 0.2
# So long after it was sent, an answered poll lets promotional messages begin.
FRESH_S = 1.0
# A poll without an answer for so long is given up, and tried on a new connection.
POLL_DEADLINE_S = 2.0
# A worker that has not confirmed by then is fenced; between two looks at who has.
CONFIRM_S = 2.0
LOOK_S = 0.01
LONGEST_LOOK_S = 0.1
# Between two rounds of copying the feed into `suppression`.
COPY_S = 5.0
# The whole of it is read at the start, however large it is.
LOAD_S = 300.0


class Acknowledged(Struct, frozen=True, kw_only=True):
    """A STOP in force everywhere.

    seq           its number in the feed, the last one's of several
    confirmed_by  workers whose sets hold it
    fenced        workers that did not say so, and can send nothing more
    gone          workers that did not say so, whose process has ended
    """

    seq: int
    confirmed_by: tuple[str, ...] = ()
    fenced: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class Stops:
    """Enters STOPs and acknowledges them; for workers, the command line and whatever calls us.

    lease_s  after which a fenced worker sends nothing
    us       who this process is: of its own boot it knows who has ended
    """

    def __init__(self, clock: Clock, connect: Connect, deadline_s: float, lease_s: float, us: Identity):
        self._clock = clock
        self._connect = connect
        self._deadline_s = deadline_s
        self._lease_s = lease_s
        self._us = us
        # By use: what waits for who confirms must not hold up who enters.
        self._lines: dict[str, tuple[Line, asyncio.Lock]] = {}
        self._looking = asyncio.Lock()
        self._newest = Acknowledged(seq=0)
        self._entered = 0
        self.entered = 0

    async def stop(
        self, numbers: Sequence[int], scope: str = EVERYTHING, source: str = "api", note: str = ""
    ) -> Acknowledged:
        """Write to numbers no more; when this returns, nobody does.

        scope   EVERYTHING, or stops.scope_of(sender)
        raises  StoreError: nothing is known of what was entered then, and it is safe to repeat
        """
        return await self.acknowledge(await self.enter(numbers, scope, True, source, note))

    async def start(self, numbers: Sequence[int], scope: str, source: str, note: str) -> int:
        """Lift what stands in a scope, by somebody who may; -> its number in the feed. Senders follow in a moment."""
        return await self.enter(numbers, scope, False, source, note)

    async def enter(self, numbers: Sequence[int], scope: str, is_stop: bool, source: str, note: str) -> int:
        """Enter for each number, 10,000 a transaction; -> the last number in the feed. It is in force from there."""
        if not numbers:
            raise ValueError("stops: expected at least one number")
        seq = 0
        for at in range(0, len(numbers), MOST_ENTRIES):
            piece = numbers[at : at + MOST_ENTRIES]
            async with self._lent("enter") as connection:
                seq = await stops.enter(
                    connection, piece, [scope] * len(piece), is_stop=is_stop, at=self._clock.wall(), source=source,
                    note=note,
                )  # fmt: skip
            self.entered += len(piece)
        self._entered = max(self._entered, seq)
        return seq

    async def hear(self, heard: Sequence[tuple[int, str, bool]], note: str = "") -> tuple[int, list[stops.Heard]]:
        """Enter what handsets ask for, (number, scope, is_stop); -> the last number, and of each what it was."""
        async with self._lent("enter") as connection:
            seq, news = await stops.enter_heard(connection, heard, at=self._clock.wall(), note=note)
        self.entered += len(heard)
        self._entered = max(self._entered, seq)
        return seq, news

    async def doubt(self, numbers: Sequence[int], note: str = "") -> tuple[int, set[int]]:
        """Stop what is promotional for some numbers; -> the last number, and who was not stopped yet."""
        async with self._lent("enter") as connection:
            seq, new = await stops.enter_doubts(connection, numbers, at=self._clock.wall(), note=note)
        self.entered += len(new)
        self._entered = max(self._entered, seq)
        return seq, new

    async def is_in_doubt(self, number: int) -> bool:
        """Say whether a number was asked what it means, and may still answer."""
        async with self._lent("enter") as connection:
            return await stops.in_doubt_since(connection, number, self._clock.wall()) is not None

    async def lift_doubt(self, number: int, note: str = "") -> bool:
        """Lift a doubt that may still be answered; -> whether there was one."""
        async with self._lent("enter") as connection:
            return await stops.lift_doubt(connection, number, at=self._clock.wall(), note=note)

    async def head(self) -> int:
        """Find the number of the newest entry."""
        async with self._lent("enter") as connection:
            return await stops.head(connection)

    async def acknowledge(self, seq: int) -> Acknowledged:
        """Wait until no worker can write to those who were entered up to a number.

        Who waits meanwhile is served together. raises StoreError
        """
        async with self._looking:
            if self._newest.seq < seq:
                self._newest = await self._barrier(max(seq, self._entered))
            return self._newest

    async def _barrier(self, seq: int) -> Acknowledged:
        began = self._clock.monotonic()
        pause = LOOK_S
        fenced_at: dict[str, float] = {}
        while True:
            async with self._lent("acknowledge") as connection:
                following = await stops.confirmed(connection)
                now = self._clock.monotonic()
                behind = [one for one in following if 0 < one.upto < seq]
                # Looked at after the row was read: who is gone now has begun nothing since.
                gone = {one.instance for one in behind if is_gone(self._us, one.host, one.boot, one.pid)}
                behind = [one for one in behind if one.instance not in gone]
                late = [one.instance for one in behind if not one.is_fenced]
                if late and now - began >= CONFIRM_S:
                    await stops.fence(connection, late, seq)
                    log.error("! stop %d: fenced, since they did not confirm it: %s", seq, ", ".join(late))
                for one in behind:
                    if one.is_fenced:
                        fenced_at.setdefault(one.instance, now)
                # One whose row is gone has ended in order, or others have seen its beat stand still for a lease.
                waiting = [one for one in behind if now - fenced_at.get(one.instance, now) < self._lease_s]
                if not waiting:
                    if fenced_at:
                        await stops.forget_fenced(connection)
                    break
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK_S, pause * 1.5)
        return Acknowledged(
            seq=seq,
            confirmed_by=tuple(sorted(one.instance for one in following if one.upto >= seq)),
            fenced=tuple(sorted(fenced_at.keys() - gone)),
            gone=tuple(sorted(gone)),
        )

    async def copy(self) -> int:
        """Carry what is new into `suppression`, one transaction after the other; -> entries."""
        copied = 0
        async with self._lent("copy") as connection:
            while found := await stops.copy(connection):
                copied += found
        return copied

    @contextlib.asynccontextmanager
    async def _lent(self, use: str) -> AsyncIterator[postgres.Connection]:
        """Lend the connection of one use to one after the other, each under the deadline."""
        if use not in self._lines:
            self._lines[use] = Line(self._connect), asyncio.Lock()
        line, turn = self._lines[use]
        async with turn:
            connection = await line.opened()
            try:
                async with postgres.deadline(connection, self._deadline_s, f"{use} stops"):
                    yield connection
            except BaseException:
                # Its statement may still be at work there.
                line.cut()
                raise

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(line.close() for line, _ in self._lines.values()))


class Feed:
    """What one worker knows of STOPs: the sets that its batches ask, and how fresh they are.

    confirms  whether it is registered and says how far it has followed
    key       that numbers are erased with; None: those of a batch are not asked for it
    """

    def __init__(self, clock: Clock, connect: Connect, deadline_s: float, instance: str, key: Key | None = None):
        self._clock = clock
        self._deadline_s = deadline_s
        self._instance = instance
        self._line = Line(connect, self._listen)
        self._backlogs: list[Backlog] = []
        self._rung = Rest()
        self._confirmed = -1
        self._read_at = -1e9
        self._is_stale = False
        self._sets: dict[str, NumberSet] = {EVERYTHING: NumberSet(), PROMOTIONAL: NumberSet()}
        self._key = key
        self._knows_erased = False
        self.upto = 0
        self.last_error = ""

    def serve(self, backlog: Backlog) -> None:
        """Let promotional messages of a lane begin only while the feed is fresh."""
        self._backlogs.append(backlog)
        backlog.promotional_until = self._read_at + FRESH_S

    def suppressed(self, class_: int, sender: str) -> tuple[NumberSet, ...]:
        """The sets that a batch of this class and sender asks. They are alive: what is entered later is in them."""
        if class_ not in REACHED:
            return ()
        return tuple(self._sets.setdefault(scope, NumberSet()) for scope in scopes_of(class_, sender))

    def is_paused(self, number: int) -> bool:
        """Whether a number gets nothing promotional because of a doubt; it may be lifted since."""
        return number in self._sets[PROMOTIONAL]

    def find_erased(self, batch: Batch) -> None:
        """Stop those of a claimed batch who were erased: the sets know them by a keyed hash alone (CN-12).

        cost  nothing where nobody ever was; else about 20 ns a number
        """
        if self._knows_erased and self._key is not None:
            everything = self._sets[EVERYTHING]
            for number in self._key.pseudonyms.among(batch, everything):
                everything.add(number)

    @property
    def age_s(self) -> float:
        """How long ago the last poll that was answered was sent."""
        return self._clock.monotonic() - self._read_at

    @property
    def numbers(self) -> int:
        """Numbers in all sets."""
        return sum(len(numbers) for numbers in self._sets.values())

    @property
    def trouble(self) -> str:
        """Why promotional messages stand still; empty: they do not."""
        if self.age_s < FRESH_S:
            return ""
        return (
            f"stops were not read for {self.age_s:.0f} s, promotional messages wait: {self.last_error or 'no answer'}"
        )

    def report(self) -> dict[str, Any]:
        """How it stands."""
        return {
            "upto": self.upto,
            "numbers": self.numbers,
            "age_s": round(min(self.age_s, 1e9), 3),
            "trouble": self.trouble,
        }

    async def load(self) -> None:
        """Read all of it, before anything may be sent, and after this worker is registered; StoreError.

        An acknowledgement does not wait for a worker that has confirmed nothing yet. So the first word is said, and the
        feed is read once more: every STOP that was acknowledged without us is in it.
        """
        connection = await self._line.opened()
        async with postgres.deadline(connection, max(LOAD_S, self._deadline_s), "load stops"):
            self.upto = await stops.load(connection, self._sets)
            self._learn(await stops.erasure_key(connection))
        await self.step()
        await self.step()

    def _learn(self, digest: bytes | None) -> None:
        """Ask for the erased from now on, where somebody was."""
        if digest is not None:
            try:
                Erased(digest, self._key)
                self._knows_erased = True
            except StoreError as error:
                log.error("! this worker does not know who was erased: %s", error)

    async def run(self) -> None:
        """Follow until cancelled: by the bell, and on a beat that does not drift."""
        next_at = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if next_at <= now:
                # Rung before, the beat stays where it is: many bells put it off no further.
                next_at = max(now, next_at + POLL_S)
            await self._rung.wait(max(0.0, next_at - now))
            self._rung.clear()
            try:
                await self.step()
                self.last_error = ""
            except StoreError as error:
                self.last_error = str(error)
                await self.close()
            self._tell()

    async def step(self) -> None:
        """Follow the feed to its end, and say so."""
        connection = await self._line.opened()
        is_behind = True
        while is_behind:
            sent_at = self._clock.monotonic()
            async with postgres.deadline(connection, min(POLL_DEADLINE_S, self._deadline_s), "read stops"):
                entries = await stops.after(connection, self.upto)
            for entry in entries:
                numbers = self._sets.get(entry.scope)
                if numbers is None:
                    numbers = self._sets[entry.scope] = NumberSet()
                if entry.is_stop:
                    numbers.add(entry.number)
                else:
                    numbers.discard(entry.number)
                self.upto = entry.seq
                if not (is_number(entry.number) or self._knows_erased):
                    async with postgres.deadline(connection, min(POLL_DEADLINE_S, self._deadline_s), "read stops"):
                        self._learn(await stops.erasure_key(connection))
            is_behind = len(entries) == MOST_ENTRIES
        self._read_at = sent_at
        for backlog in self._backlogs:
            backlog.promotional_until = sent_at + FRESH_S
        if self._confirmed != self.upto:
            async with postgres.deadline(connection, min(POLL_DEADLINE_S, self._deadline_s), "confirm stops"):
                if await stops.confirm(connection, self._instance, self.upto):
                    self._confirmed = self.upto

    async def _listen(self, connection: postgres.Connection) -> None:
        async with postgres.deadline(connection, self._deadline_s, "listen to stops"):
            await stops.listen(connection, self._rung.set)

    def _tell(self) -> None:
        """Log when promotional messages stop by themselves, and when they go on."""
        is_stale = self.age_s >= FRESH_S
        if is_stale and not self._is_stale:
            log.error("! %s", self.trouble)
        elif self._is_stale and not is_stale:
            log.warning("= stops are read again, promotional messages go on")
        self._is_stale = is_stale

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()


async def keep_copy(feed_stops: Stops) -> None:
    """Copy the feed into `suppression` until cancelled, whichever worker comes first."""
    while True:
        with contextlib.suppress(StoreError):
            await feed_stops.copy()
        await asyncio.sleep(COPY_S)
