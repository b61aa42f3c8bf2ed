"""Cancelling a run, and knowing that nothing more of it is begun (case 26 of the write protocol).

    cancel ─► the order, COMMIT ─► every worker that lives obeys it? ─► acknowledged ─► what is queued is closed
                                     ├ its process is gone ───────────────┤
                                     └ not within 3 s: fenced, its lease awaited

A worker says in its report which orders it goes by, and one of these is obeyed before it is named there
(control.py). One that has not reported yet reads the orders after its first word, so it finds this one. A fenced worker
sends nothing when its lease is over, and so is awaited no longer. Messages that have begun are too late: their end is
the carrier's. Whoever dies anywhere in here leaves an order that stands, and work that every worker does (failover.py).
Not here: the order and what is closed for it (store/cancels.py).
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import timedelta

from msgspec import Struct

from gateway.dispatch.clock import Clock
from gateway.dispatch.identity import Identity, is_gone
from gateway.dispatch.line import Connect, Line
from gateway.message import Refusal
from gateway.store import cancels, postgres, results, runs, stops

log = logging.getLogger(__name__)

# A worker that does not obey by then is fenced.
OBEYED_S = 3.0
# Between two looks at who obeys.
LOOK_S = 0.01
LONGEST_LOOK_S = 0.1
# States of messages that are ours alone: nothing of them has left.
NOT_SENT = ("refused",)


class Acknowledged(Struct, frozen=True, kw_only=True):
    """An order in force everywhere.

    obeyed_by  workers that live and obey it
    fenced     workers that did not say so, and can send nothing more
    gone       workers that did not say so, whose process has ended
    """

    obeyed_by: tuple[str, ...] = ()
    fenced: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


class Count(Struct, frozen=True, kw_only=True):
    """What became of the messages of a run that was cancelled.

    before     cancelled before they left, which is certain
    too_late   left before, or may have: accepted, rejected, in doubt, or without an answer so far
    otherwise  ended before by a reason of ours: expired, refused by the gate …
    undecided  above the watermark of a chunk that is not closed yet: a worker has it and waits for answers, or is gone
    """

    before: int
    too_late: int
    otherwise: int
    undecided: int


class Cancelling:
    """Cancels runs and acknowledges it; for the command line, and whatever ends a campaign.

    lease_s  after which a fenced worker sends nothing
    us       who this process is: of its own boot it knows who has ended
    """

    def __init__(self, clock: Clock, connect: Connect, deadline_s: float, lease_s: float, us: Identity):
        self._clock = clock
        self._deadline_s = deadline_s
        self._lease_s = lease_s
        self._us = us
        self._line = Line(connect)

    async def cancel(self, run_ids: Sequence[int], by: str, reason: str = "") -> Acknowledged:
        """Cancel runs; when this returns, nothing more of them is begun, and what nobody had claimed is closed.

        raises  StoreError: nothing is known of the order then, and it is safe to repeat
        """
        connection = await self._line.opened()
        try:
            async with postgres.deadline(connection, self._deadline_s, "cancel"):
                ids = await cancels.cancel(connection, run_ids, at=self._clock.wall(), by=by, reason=reason)
            found = await self.acknowledge(ids)
            await self.close(run_ids)
        except BaseException:
            # Its statement may still be at work there.
            self._line.cut()
            raise
        return found

    async def acknowledge(self, ids: Sequence[int]) -> Acknowledged:
        """Wait until no worker can begin a message against these orders; StoreError."""
        began = self._clock.monotonic()
        pause = LOOK_S
        fenced_at: dict[str, float] = {}
        while True:
            connection = await self._line.opened()
            async with postgres.deadline(connection, self._deadline_s, "acknowledge a cancel"):
                workers = await runs.workers(connection)
                fenced = await cancels.fenced(connection)
                now = self._clock.monotonic()
                behind = [one for one in workers if _lacks(one, ids)]
                # Looked at after the row was read: who is gone now has begun nothing since.
                gone = {one.instance for one in behind if is_gone(self._us, one.host, one.boot, one.pid)}
                behind = [one for one in behind if one.instance not in gone]
                late = [one.instance for one in behind if one.instance not in fenced]
                if late and now - began >= OBEYED_S:
                    await cancels.fence(connection, late)
                    log.error("! cancel: fenced, since they did not obey: %s", ", ".join(late))
                for one in behind:
                    if one.instance in fenced:
                        fenced_at.setdefault(one.instance, now)
                waiting = [one for one in behind if now - fenced_at.get(one.instance, now) < self._lease_s]
                if not waiting:
                    if fenced_at:
                        await stops.forget_fenced(connection)
                    break
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK_S, pause * 1.5)
        return Acknowledged(
            obeyed_by=tuple(sorted(one.instance for one in workers if _names(one, ids))),
            fenced=tuple(sorted(fenced_at.keys() - gone)),
            gone=tuple(sorted(gone)),
        )

    async def close(self, run_ids: Sequence[int]) -> int:
        """Close what of some cancelled runs nobody has claimed, on every lane; -> messages. StoreError."""
        connection = await self._line.opened()
        closed = 0
        async with postgres.deadline(connection, self._deadline_s, "lanes"):
            # No worker may have run yet, or for days.
            await runs.ensure_partitions(connection, self._clock.wall())
            lanes = sorted(await runs.lanes(connection))
        for lane in lanes:
            while True:
                async with postgres.deadline(connection, self._deadline_s, f"close on lane {lane}"):
                    found = await cancels.close(connection, lane, run_ids, self._clock.wall())
                if not found:
                    break
                closed += found
        return closed

    async def settled(self, run_ids: Sequence[int], patience_s: float) -> bool:
        """Wait until of each message of cancelled runs is decided whether it has left; -> False: not within that time.

        What a worker had in hand is decided when the answers to what has left are in.
        """
        began, pause = self._clock.monotonic(), LOOK_S
        while True:
            left = 0
            connection = await self._line.opened()
            for run_id in run_ids:
                async with postgres.deadline(connection, self._deadline_s, f"look at run {run_id}"):
                    left += await cancels.open_positions(connection, run_id)
            if not left or self._clock.monotonic() - began >= patience_s:
                return not left
            await asyncio.sleep(pause)
            pause = min(LONGEST_LOOK_S, pause * 1.5)
            await self.close(run_ids)

    async def count(self, run: runs.Run) -> Count:
        """Count what became of a run that is cancelled, as of now; StoreError."""
        connection, since = await self._line.opened(), run.created_at - timedelta(days=1)
        async with postgres.deadline(connection, self._deadline_s, f"count run {run.id}"):
            # First what is open: what is decided meanwhile is counted twice, and not left out.
            undecided = await cancels.open_positions(connection, run.id)
            refused = await results.refusals(connection, run.id, since)
            states = await results.states(connection, run.id, since, self._clock.wall())
        before = sum(one.messages for one in refused if one.status == Refusal.CANCELLED)
        ours = sum(one.messages for one in states if one.state in NOT_SENT)
        return Count(
            before=before,
            too_late=max(0, run.recipients - ours - undecided),
            otherwise=max(0, ours - before),
            undecided=undecided,
        )

    async def stop(self) -> None:
        """Close the connection."""
        await self._line.close()


def _orders_of(worker: runs.Worker) -> set[int] | None:
    """The orders that a worker goes by; None: it has said nothing yet, and reads them after its first word."""
    told = json.loads(worker.report).get("control")
    return None if told is None else set(told.get("orders", ()))


def _lacks(worker: runs.Worker, ids: Sequence[int]) -> bool:
    known = _orders_of(worker)
    return known is not None and not known.issuperset(ids)


def _names(worker: runs.Worker, ids: Sequence[int]) -> bool:
    known = _orders_of(worker)
    return known is not None and known.issuperset(ids)
