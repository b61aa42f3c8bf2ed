"""Settles one lane: every few milliseconds one transaction with outcomes, receipts, watermarks and finished chunks.

    ledger.take() ─► COPY ─┐
    intents ─► sent_upto ──┼─► COMMIT ─► batch.commit(upto): may leave      (intent before octets)
    finished chunks ───────┘         └─► receipts are answered              (durable before the answer)

A flush is taken before the first await. While Postgres is away it is kept and tried again, on a new connection; a COMMIT
without an answer is looked up by its id. Meanwhile no watermark moves, so at most what is committed already still leaves:
we stop rather than guess.
Not here: claiming (dispatcher.py), what waits for its match (rescue.py).
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import asyncpg

from _fastpath.batch import Batch
from gateway.config import WorkerSettings
from gateway.dispatch.clock import Clock
from gateway.dispatch.intake import Intake
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.smpp.link import Link
from gateway.store import postgres, queue

log = logging.getLogger(__name__)

# A flush that finds no connection is tried again after so long.
RETRY_S = 0.25
# No flush follows another sooner, however hungry the binds are: below it a transaction costs more than what it settles.
SHORTEST_S = 0.002


class Settlement:
    """The flushes of one lane on this worker.

    flush_ids  gives numbers that no flush of this lane ever had
    """

    def __init__(
        self,
        carrier: Carrier,
        intake: Intake,
        settings: WorkerSettings,
        clock: Clock,
        connect: "Callable[[], Any]",
        deadline_s: float,
        first_flush_id: int,
    ):
        self._carrier = carrier
        self._intake = intake
        self._settings = settings
        self._clock = clock
        self._connect = connect
        self._deadline_s = deadline_s
        self._flush_ids = itertools.count(first_flush_id)
        self._connection: asyncpg.Connection[Any] | None = None
        self._handed_out = 0
        self._planned_at = clock.monotonic()
        self._renewed_at = clock.monotonic()
        self.rate_per_s = 0.0
        self.flushes = 0
        self._settling = False
        self.is_away = False
        self.last_error = ""
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            settled = await self.settle()
            hungry = any(
                bind.link is not None and bind.link.exchange.bound_by == "intent" for bind in self._carrier.binds
            )
            pause = SHORTEST_S if settled and hungry else self._settings.flush_interval_s
            self.wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    if pause > SHORTEST_S:
                        await self.wake.wait()
                    else:
                        await asyncio.sleep(pause)

    @property
    def is_idle(self) -> bool:
        """Tell whether all that is known is committed."""
        ledger = self._carrier.ledger
        return not (self._settling or ledger.outcomes.count or ledger.receipts.count or ledger.waiting.count)

    async def settle(self) -> bool:
        """Write what there is to write, and do not return before it is durable; -> whether there was anything."""
        carrier = self._carrier
        ledger = carrier.ledger
        clock = self._clock
        now = clock.monotonic()
        intents = self._intents(now)
        finished: list[Batch] = carrier.backlog.take_finished()
        # From here to the first await nothing may come between: the rows, and the receipts they hold, are one whole.
        ledger.wall_offset_us = clock.offset_us()
        marks = carrier.owed_marks()
        messages = self._intake.take()
        outcomes = ledger.outcomes.take() if ledger.outcomes.count else None
        receipts = ledger.receipts.take() if ledger.receipts.count else None
        waiting = ledger.waiting.take() if ledger.waiting.count else None
        renewing = self._renewals(now) if now - self._renewed_at > self._settings.lease_s / 3 else []
        if not (intents or finished or messages or outcomes or receipts or waiting or renewing):
            return False
        wall = clock.wall()
        what = queue.Flush(
            id=next(self._flush_ids),
            at=wall,
            lease_until=wall + timedelta(seconds=self._settings.lease_s),
            outcomes=outcomes,
            receipts=receipts,
            waiting=waiting,
            inbound=tuple(message for message, _, _ in messages),
            watermarks=tuple((batch.chunk_id, batch.epoch, upto) for batch, upto in (*intents, *renewing)),
            finished=tuple((batch.chunk_id, batch.epoch) for batch in finished if not batch.dropped),
        )
        self._settling = True
        ours = await self._commit(what)
        self._settling = False
        self.flushes += 1
        for batch, upto in intents:
            if batch.chunk_id in ours:
                if not batch.dropped:
                    batch.commit(upto)
            else:
                log.error("! lane %d: chunk %d has another owner now; nothing more of it leaves", carrier.lane, batch.chunk_id)
                carrier.backlog.drop(batch.chunk_id)
        if renewing:
            self._renewed_at = now
            for batch, _ in renewing:
                if batch.chunk_id not in ours:
                    carrier.backlog.drop(batch.chunk_id)
        for link, upto in marks:
            link.acknowledge(upto)
        for _, link, pdu in messages:
            _answer(link, pdu, clock.monotonic())
        carrier.pump()
        return True

    def _intents(self, now: float) -> list[tuple[Batch, int]]:
        """Plan how far the watermarks move: `intent_s` of the current rate ahead of what was handed out.

        The rate is not known at the start; then the open windows are the measure, and as every flush finds all of it
        used, the plan grows from flush to flush.
        """
        backlog = self._carrier.backlog
        handed_out = backlog.handed_out
        elapsed = now - self._planned_at
        if elapsed > 0:
            current = (handed_out - self._handed_out) / elapsed
            # Fast up, slow down: a quiet moment must not starve the next one.
            self.rate_per_s = max(current, self.rate_per_s * 0.5 ** (elapsed / 0.25))
        self._handed_out = handed_out
        self._planned_at = now
        wanted = max(self._carrier.window_size, int(self.rate_per_s * self._settings.intent_s))
        if self._carrier.settings.tps:
            wanted = min(wanted, max(1, int(self._carrier.settings.tps * self._settings.intent_s)) + 1)
        if not self._carrier.is_up:
            return []
        planned = []
        for batch in backlog.batches():
            if wanted <= 0:
                break
            if batch.dropped or batch.next_rank >= batch.n:
                continue
            ahead = batch.committed - batch.next_rank
            upto = min(batch.n, batch.next_rank + wanted)
            if upto > batch.committed:
                planned.append((batch, upto))
                ahead = upto - batch.next_rank
            wanted -= ahead
        return planned

    def _renewals(self, now: float) -> list[tuple[Batch, int]]:
        return [(batch, batch.committed) for batch in self._carrier.backlog.batches() if not batch.dropped]

    async def _commit(self, what: queue.Flush) -> set[int]:
        """Commit a flush, however long Postgres is away."""
        lane = self._carrier.lane
        in_doubt = False
        while True:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                async with postgres.deadline(self._connection, self._deadline_s, f"flush of lane {lane}"):
                    if in_doubt and await queue.flush_known(self._connection, lane, what.id):
                        # It was carried out. Which chunks are still ours is told by moving nothing.
                        what = queue.Flush(id=next(self._flush_ids), at=what.at, lease_until=what.lease_until, watermarks=what.watermarks)
                        in_doubt = False
                    ours = await queue.flush(self._connection, lane, what)
                if self.is_away:
                    log.warning("= lane %d: Postgres is back", lane)
                self.is_away = False
                self.last_error = ""
                return ours
            except StoreError as error:
                in_doubt = True
                if not self.is_away:
                    log.error("! lane %d: cannot settle, sending stops: %s", lane, error)
                self.is_away = True
                self.last_error = str(error)
                if self._connection is not None:
                    self._connection.terminate()
                    self._connection = None
                await asyncio.sleep(RETRY_S)

    async def close(self) -> None:
        """Close the connection; what was taken has been settled."""
        if self._connection is not None:
            await postgres.close(self._connection)


def _answer(link: Link, pdu: Any, now: float) -> None:
    """Answer a request that is durable now, if its link still stands."""
    if not link.is_lost:
        with contextlib.suppress(Exception):  # the session may be closing: then the SMSC sends it again
            link.session.respond(pdu, now=now)
            link.flush_session()
