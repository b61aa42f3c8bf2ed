"""Settles one lane: every few milliseconds one transaction with outcomes, receipts and finished chunks.

    ledger.take() ─► COPY ─┐
    chunks that are over ──┴─► COMMIT ─► receipts are answered              (durable before the answer)

A chunk is over when it is finished, ends as cancelled, or goes back to the queue: in the flush that holds the last
answers of what has left of it, and not before.

A flush is taken before the first await, and stays in hand until it is known to be committed: through the loss of
connections, and through a cancelled task. A COMMIT without an answer is looked up by its id; a repeat of one that was
carried out fails on that id, so nothing is written twice.

    in hand ── flush ──► committed ─────────────► concluded
       ▲         │ no answer                          ▲
       │         ▼                                    │
       └─ no ─ known? ─ yes ──────────────────────────┘

Not here: watermarks (intent.py), claiming (dispatcher.py), what waits for its match (rescue.py).
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Collection

from msgspec import Struct

from _fastpath.batch import Batch
from gateway.config import WorkerSettings
from gateway.dispatch.clock import Clock
from gateway.dispatch.intake import Intake, Taken
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.rest import Rest
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.smpp.link import Link
from gateway.store import postgres, queue, runs
from gateway.store.endings import Shut

log = logging.getLogger(__name__)

# A flush that finds no connection is tried again after so long.
RETRY_S = 0.25
# No flush follows another sooner: below it a transaction costs more than what it settles.
SHORTEST_S = 0.002


class InHand(Struct, kw_only=True):
    """A flush that was taken and is not known to be committed, and what is to be done when it is.

    owed      (link, mark): its receipts up to there are in this flush
    outcomes  how many it holds
    in_doubt  it was tried, and no answer came
    """

    flush: queue.Flush
    owed: list[tuple[Link, int]]
    requests: Taken
    outcomes: int
    in_doubt: bool = False


class Settlement:
    """The flushes of one lane on this worker.

    first_flush_id  from there on no flush of this lane ever had a number
    """

    def __init__(
        self,
        carrier: Carrier,
        intake: Intake,
        settings: WorkerSettings,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
        first_flush_id: int,
    ):
        self._carrier = carrier
        self._intake = intake
        self._settings = settings
        self._clock = clock
        self._deadline_s = deadline_s
        self._flush_ids = itertools.count(first_flush_id)
        self._line = Line(connect)
        self._in_hand: InHand | None = None
        self._turn = asyncio.Lock()
        self._is_stopping = False
        # Runs of which nothing more is begun (dispatcher.py): their chunks end with what was flushed before.
        self.cancelled: Collection[int] = ()
        # What the dispatcher lets go back; it is ours, and in here, until that is committed.
        self.returning: list[tuple[int, int, int]] = []
        self.flushes = 0
        self.is_away = False
        # Since when Postgres owes an answer (guards.py); None: it does not.
        self.asked_at: float | None = None
        self.answered_at = -math.inf
        self.last_error = ""
        self.wake = Rest()

    async def run(self) -> None:
        """Flush until `stop`, or until cancelled."""
        while not self._is_stopping:
            started = self._clock.monotonic()
            await self.settle()
            # The interval is from start to start: a flush that took longer is followed at once.
            pause = max(SHORTEST_S, self._settings.flush_interval_s - (self._clock.monotonic() - started))
            self.wake.clear()
            if self._is_stopping:
                break
            await self.wake.wait(pause)

    def stop(self) -> None:
        """End `run` behind the flush in hand."""
        self._is_stopping = True
        self.wake.set()

    @property
    def unsettled(self) -> int:
        """Outcomes that are known and not committed."""
        return int(self._carrier.ledger.outcomes.count) + (self._in_hand.outcomes if self._in_hand else 0)

    @property
    def is_idle(self) -> bool:
        """Tell whether all that is known is committed."""
        ledger = self._carrier.ledger
        is_written = not (self._in_hand or ledger.outcomes.count or ledger.receipts.count or ledger.waiting.count)
        return is_written and not self.returning

    async def settle(self) -> bool:
        """Write what there is to write, and do not return before it is durable; -> whether there was anything.

        Cancelled, it leaves the flush in hand to the next call.
        """
        async with self._turn:
            if self._in_hand is None:
                self._in_hand = self._take()
            if self._in_hand is None:
                return False
            await self._commit(self._in_hand)
            concluded, self._in_hand = self._in_hand, None
            self._conclude(concluded)
            return True

    def _take(self) -> InHand | None:
        """Take everything that is to be settled. No await in here: rows and the receipts they hold are one whole."""
        carrier, ledger, clock = self._carrier, self._carrier.ledger, self._clock
        finished: list[Batch] = carrier.backlog.take_finished()
        ledger.wall_offset_us = clock.offset_us()
        owed = carrier.owed_marks()
        requests = self._intake.take()
        count = ledger.outcomes.count
        outcomes = ledger.outcomes.take() if ledger.outcomes.count else None
        receipts = ledger.receipts.take() if ledger.receipts.count else None
        waiting = ledger.waiting.take() if ledger.waiting.count else None
        if not (finished or requests or outcomes or receipts or waiting or self.returning):
            return None
        return InHand(
            flush=queue.Flush(
                id=next(self._flush_ids),
                at=clock.wall(),
                outcomes=outcomes,
                receipts=receipts,
                waiting=waiting,
                inbound=requests.came,
                finished=tuple((batch.chunk_id, batch.epoch) for batch in finished if not batch.dropped),
                cancelled=tuple(
                    Shut(batch.chunk_id, batch.epoch, batch.next_rank)
                    for batch in finished
                    if batch.dropped and batch.run in self.cancelled
                ),
                returned=tuple(self.returning),
            ),
            owed=owed,
            requests=requests,
            outcomes=count,
        )

    def _conclude(self, done: InHand) -> None:
        """Answer what is durable."""
        self.flushes += 1
        # What was added meanwhile stands behind.
        del self.returning[: len(done.flush.returned)]
        for link, upto in done.owed:
            link.acknowledge(upto)
        self._intake.answer(done.requests)
        self._carrier.pump()

    async def _commit(self, what: InHand) -> None:
        """Commit a flush, however long Postgres is away."""
        lane = self._carrier.lane
        heals = False
        self.asked_at = self._clock.monotonic()
        while True:
            try:
                connection = await self._line.opened()
                async with postgres.deadline(connection, self._deadline_s, f"flush of lane {lane}"):
                    if heals:
                        # What was refused for good may have been refused for a day without its partition.
                        await runs.ensure_partitions(connection, self._clock.wall())
                    if not (what.in_doubt and await queue.flush_known(connection, lane, what.flush.id)):
                        what.in_doubt = True
                        await queue.flush(connection, lane, what.flush)
                if self.is_away:
                    log.warning("= lane %d: Postgres is back", lane)
                self.is_away = False
                self.asked_at, self.answered_at = None, self._clock.monotonic()
                self.last_error = ""
                return
            except StoreError as error:
                heals = not error.retryable
                if not self.is_away:
                    log.error("! lane %d: cannot settle, sending stops: %s", lane, error)
                self.is_away = True
                self.last_error = str(error)
                if not self._line.is_sound(error):
                    self._line.cut()
                await asyncio.sleep(RETRY_S)
            except BaseException:
                # Cancelled in the middle of a statement: the connection is good for nothing.
                self._line.cut()
                raise

    async def close(self) -> None:
        """Close the connection; what was taken has been settled."""
        await self._line.close()
