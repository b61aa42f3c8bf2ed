"""One lease per worker: alive as long as its beat moves, dead when it has not moved for a lease on others' own clocks.

    owner     beat ── beat ── beat ─ ✕                      sends nothing from `fence_at` on
              └─ 0.7 lease ─┘   └── 0.7 lease ──┤ fence_at
    observer          sees it ◄─────── lease ───────► fenced, its slots free, its chunks rescued

Each side counts on its own monotonic clock, so no clock of a wall and no clock of another machine decides. The owner
counts from the moment it *sent* its last beat that was carried out, the observer from the moment it had *read* it,
which is later: between the two ends lie 0.3 of a lease at least. An observer that could not look for a while
(Postgres away, itself frozen) counts anew: it does not know what others did meanwhile. A process of this boot whose pid
is gone is dead at once.
Not here: which binds a worker opens (slots.py), what becomes of a dead one's chunks (rescue.py).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

import msgspec

from gateway.dispatch.clock import Clock
from gateway.dispatch.identity import Identity, is_gone
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.rest import Rest
from gateway.errors import LeaseLost, NodeTaken, StoreError
from gateway.store import membership, postgres, runs

log = logging.getLogger(__name__)

# Of the lease: between two beats, for one beat to be answered, and until its owner stops sending.
BEAT_SHARE = 1 / 6
ANSWER_SHARE = 1 / 3
SEND_SHARE = 0.7


class Watch:
    """What one observer has seen of the others' beats, on its own clock.

    lease_s  a beat that has not moved for so long is a dead worker's
    """

    def __init__(self, us: Identity, lease_s: float):
        self._us = us
        self._lease_s = lease_s
        self._seen: dict[str, tuple[int, float]] = {}
        self._missing: dict[str, float] = {}
        self._departed: set[str] = set()
        self._looked_at: float | None = None

    def look(self, workers: Sequence[runs.Worker], asked_at: float, read_at: float) -> list[runs.Worker]:
        """Take in what was read; -> those that are known to be dead.

        asked_at  before the table was read: an age counts up to here, and from `read_at` of the look that saw the beat
        """
        present = {worker.instance for worker in workers}
        self._departed |= self._seen.keys() - present
        if self._looked_at is None or asked_at - self._looked_at > self._lease_s / 2:
            self._seen.clear()
            self._missing.clear()
        self._looked_at = read_at
        self._seen = {instance: seen for instance, seen in self._seen.items() if instance in present}
        self._missing = {instance: since for instance, since in self._missing.items() if instance not in present}
        dead = []
        for worker in workers:
            if worker.instance == self._us.instance:
                continue
            beat, since = self._seen.get(worker.instance, (None, read_at))
            if beat != worker.beat:
                self._seen[worker.instance] = worker.beat, read_at
                since = read_at
            if self.is_gone(worker) or asked_at - since >= self._lease_s:
                dead.append(worker)
        return dead

    def is_gone(self, worker: runs.Worker) -> bool:
        """Whether a worker is a process of this very boot that is not there any more."""
        return is_gone(self._us, worker.host, worker.boot, worker.pid)

    def departed(self, instance: str) -> None:
        """Note that a worker has been fenced."""
        self._seen.pop(instance, None)
        self._departed.add(instance)

    def dead_of(self, owners: Iterable[str], now: float) -> list[str]:
        """Say which owners of chunks are dead.

        An instance never comes back: one that was registered and is not any more is dead. One that nobody has seen
        registered must be missing for a lease, in which its own next beat tells it to stop.
        """
        if self._looked_at is None or now - self._looked_at > self._lease_s / 2:
            return []
        found = []
        for owner in owners:
            if owner == self._us.instance or owner in self._seen:
                continue
            since = self._missing.setdefault(owner, now)
            if owner in self._departed or now - since >= self._lease_s:
                found.append(owner)
        return found


class Membership:
    """The lease of this worker, and its eye on the others.

    serving      names the carriers that it serves and has not drained
    on_hold      called with the moment from which on nothing may leave, after every beat
    on_departed  called when workers are known to be gone
    """

    def __init__(
        self,
        identity: Identity,
        lease_s: float,
        clock: Clock,
        connect: Connect,
        serving: Callable[[], Sequence[str]],
        on_hold: Callable[[float], None],
        on_departed: Callable[[], None],
    ):
        self._us = identity
        self._lease_s = lease_s
        self._answer_s = lease_s * ANSWER_SHARE
        self._clock = clock
        self._serving = serving
        self._on_hold = on_hold
        self._on_departed = on_departed
        self._line = Line(connect)
        self._watch = Watch(identity, lease_s)
        self._told: tuple[str, ...] = ()
        self._rung = Rest()
        self.is_registered = False
        self.workers: list[runs.Worker] = []
        self.hold_until = float("-inf")
        self.last_error = ""

    async def enter(self) -> None:
        """Register; the dead of this boot are fenced first, so that what they left is ours to take at once.

        raises  NodeTaken where a living worker has our place; StoreError
        """
        for worker in await self._look():
            await self._fence(worker, "its process is gone" if self._watch.is_gone(worker) else "silent")
        row = msgspec.structs.replace(self._us.row(self._clock.wall()), carriers=list(self._serving()))
        first: tuple[str, int] | None = None
        since = self._clock.monotonic()
        while True:
            sent_at = self._clock.monotonic()
            connection = await self._line.opened()
            async with postgres.deadline(connection, self._answer_s, "register"):
                if await membership.register(connection, row):
                    self.is_registered = True
                    self._hold(sent_at)
                    break
                holder = await membership.holder(connection, row.node, row.place)
            if holder is not None:
                now = self._clock.monotonic()
                if first is None:
                    first, since = (holder.instance, holder.beat), now
                    log.warning("= node %s, place %d: waiting to see whether its holder lives", row.node, row.place)
                if self._watch.is_gone(holder) or (
                    first == (holder.instance, holder.beat) and sent_at - since >= self._lease_s
                ):
                    await self._fence(holder, "its place is ours")
                    continue
                if first != (holder.instance, holder.beat):
                    raise NodeTaken(
                        f"worker.node: expected a name of its own, found {row.node!r} (place {row.place}) held by a "
                        f"living worker: {holder.instance} on {holder.host}, pid {holder.pid}, since "
                        f"{holder.started_at:%Y-%m-%d %H:%M:%S} UTC; stop that one, or start with another --node"
                    )
            await asyncio.sleep(self._lease_s * BEAT_SHARE / 4)
        await self._look()

    async def run(self) -> None:
        """Beat until cancelled; raises LeaseLost."""
        while True:
            began = self._clock.monotonic()
            pause_s = self._lease_s * BEAT_SHARE
            try:
                await self.step()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.error("! no beat, sending stops %.1f s from now: %s", self.hold_until - began, error)
                self.last_error = str(error)
                await self.close()
                pause_s /= 4
            self._rung.clear()
            await self._rung.wait(max(0.0, pause_s - (self._clock.monotonic() - began)))

    def ring(self) -> None:
        """Beat soon: which carriers are served has changed."""
        self._rung.set()

    async def step(self) -> None:
        """Do one round: beat, look at the others, fence the dead."""
        sent_at = self._clock.monotonic()
        connection = await self._line.opened()
        async with postgres.deadline(connection, self._answer_s, "beat"):
            beat = await membership.beat(connection, self._us.instance, self._clock.wall(), list(self._serving()))
        if beat is None:
            self._on_hold(float("-inf"))
            raise LeaseLost(f"{self._us.instance}: taken for dead by another worker and fenced; sends nothing more")
        self._hold(sent_at)
        for worker in await self._look():
            await self._fence(worker, "its process is gone" if self._watch.is_gone(worker) else "silent")

    async def leave(self) -> None:
        """Take this worker out: its slots are free from then on."""
        self._on_hold(float("-inf"))
        connection = await self._line.opened()
        async with postgres.deadline(connection, self._answer_s, "leave"):
            await membership.leave(connection, self._us.instance)
        self.is_registered = False

    def dead_of(self, owners: Iterable[str]) -> list[str]:
        """Say which owners of chunks are known to be dead."""
        return self._watch.dead_of(owners, self._clock.monotonic())

    def serving(self, carrier: str) -> list[str]:
        """Name the living workers that serve a carrier and have not drained it."""
        return [worker.instance for worker in self.workers if carrier in worker.carriers]

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _hold(self, sent_at: float) -> None:
        self.hold_until = sent_at + SEND_SHARE * self._lease_s
        self._on_hold(self.hold_until)

    async def _look(self) -> list[runs.Worker]:
        asked_at = self._clock.monotonic()
        connection = await self._line.opened()
        async with postgres.deadline(connection, self._answer_s, "look at workers"):
            self.workers = await runs.workers(connection)
        before = set(self._told)
        dead = self._watch.look(self.workers, asked_at, self._clock.monotonic())
        self._told = tuple(worker.instance for worker in self.workers)
        if before - set(self._told):
            self._on_departed()
        return dead

    async def _fence(self, worker: runs.Worker, why: str) -> None:
        connection = await self._line.opened()
        async with postgres.deadline(connection, self._answer_s, "fence"):
            is_ours = await membership.fence(connection, worker.instance, worker.beat)
        if is_ours:
            log.warning("! worker %s is fenced: %s", worker.instance, why)
            self._watch.departed(worker.instance)
            self.workers = [each for each in self.workers if each.instance != worker.instance]
            self._told = tuple(each.instance for each in self.workers)
            self._on_departed()
