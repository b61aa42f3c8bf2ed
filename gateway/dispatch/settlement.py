"""Settles one lane: every few milliseconds one transaction with outcomes, receipts, watermarks and finished chunks.

    ledger.take() ─► COPY ─┐
    intents ─► sent_upto ──┼─► COMMIT ─► batch.commit(upto): may leave      (intent before octets)
    finished chunks ───────┘         └─► receipts are answered              (durable before the answer)

A flush is taken before the first await, and stays in hand until it is known to be committed: through the loss of
connections, and through a cancelled task. A COMMIT without an answer is looked up by its id; a repeat of one that was
carried out fails on that id, so nothing is written twice. Meanwhile no watermark moves, so at most what is committed
already still leaves: we stop rather than guess.

    in hand ── flush ──► committed ─────────────► concluded
       ▲         │ no answer                          ▲
       │         ▼                                    │
       └─ no ─ known? ─ yes ─► ask which chunks are ours still

Not here: claiming (dispatcher.py), what waits for its match (rescue.py).
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
from msgspec import Struct

from _fastpath.batch import Batch
from gateway.config import WorkerSettings
from gateway.dispatch.clock import Clock
from gateway.dispatch.intake import Intake, Taken
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.smpp.link import Link
from gateway.smpp.pdu import Pdu
from gateway.store import postgres, queue, runs

log = logging.getLogger(__name__)

# A flush that finds no connection is tried again after so long.
RETRY_S = 0.25
# No flush follows another sooner, however hungry the binds are: below it a transaction costs more than what it settles.
SHORTEST_S = 0.002


class InHand(Struct, kw_only=True):
    """A flush that was taken and is not known to be committed, and what is to be done when it is.

    intents   (batch, watermark): moves with this flush
    owed      (link, mark): its receipts up to there are in this flush
    in_doubt  it was tried, and no answer came
    """

    flush: queue.Flush
    intents: list[tuple[Batch, int]]
    renewed: list[Batch]
    owed: list[tuple[Link, int]]
    requests: Taken
    renewed_at: float | None
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
        connect: Callable[[], Awaitable[postgres.Connection]],
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
        self._connection: postgres.Connection | None = None
        self._in_hand: InHand | None = None
        self._turn = asyncio.Lock()
        self._handed_out = 0
        self._planned_at = clock.monotonic()
        self._renewed_at = clock.monotonic()
        self._may_intend = True
        self._is_stopping = False
        self.rate_per_s = 0.0
        self.flushes = 0
        self.is_away = False
        self.last_error = ""
        self.wake = asyncio.Event()

    async def run(self) -> None:
        """Flush until `stop`, or until cancelled."""
        while not self._is_stopping:
            settled = await self.settle()
            hungry = any(
                bind.link is not None and bind.link.exchange.bound_by == "intent" for bind in self._carrier.binds
            )
            pause = SHORTEST_S if settled and hungry else self._settings.flush_interval_s
            self.wake.clear()
            if self._is_stopping:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    if pause > SHORTEST_S:
                        await self.wake.wait()
                    else:
                        await asyncio.sleep(pause)

    def drain(self) -> None:
        """Move no watermark any more: what is committed may leave, nothing else."""
        self._may_intend = False

    def stop(self) -> None:
        """End `run` behind the flush in hand."""
        self._is_stopping = True
        self.wake.set()

    @property
    def is_idle(self) -> bool:
        """Tell whether all that is known is committed."""
        ledger = self._carrier.ledger
        return not (self._in_hand or ledger.outcomes.count or ledger.receipts.count or ledger.waiting.count)

    async def settle(self) -> bool:
        """Write what there is to write, and do not return before it is durable; -> whether there was anything.

        Cancelled, it leaves the flush in hand to the next call.
        """
        async with self._turn:
            if self._in_hand is None:
                self._in_hand = self._take()
            if self._in_hand is None:
                return False
            ours = await self._commit(self._in_hand)
            concluded, self._in_hand = self._in_hand, None
            self._conclude(concluded, ours)
            return True

    def _take(self) -> InHand | None:
        """Take everything that is to be settled. No await in here: rows and the receipts they hold are one whole."""
        carrier, ledger, clock = self._carrier, self._carrier.ledger, self._clock
        now = clock.monotonic()
        intents = self._intents(now)
        finished: list[Batch] = carrier.backlog.take_finished()
        ledger.wall_offset_us = clock.offset_us()
        owed = carrier.owed_marks()
        requests = self._intake.take()
        outcomes = ledger.outcomes.take() if ledger.outcomes.count else None
        receipts = ledger.receipts.take() if ledger.receipts.count else None
        waiting = ledger.waiting.take() if ledger.waiting.count else None
        renews = now - self._renewed_at > self._settings.lease_s / 3
        renewed = [batch for batch in carrier.backlog.batches() if not batch.dropped] if renews else []
        if not (intents or finished or requests or outcomes or receipts or waiting or renewed):
            return None
        # One mark a chunk: what is renewed and moves at once has the higher one.
        marks = {batch: batch.committed for batch in renewed} | dict(intents)
        wall = clock.wall()
        return InHand(
            flush=queue.Flush(
                id=next(self._flush_ids),
                at=wall,
                lease_until=wall + timedelta(seconds=self._settings.lease_s),
                outcomes=outcomes,
                receipts=receipts,
                waiting=waiting,
                inbound=tuple(requests.messages),
                watermarks=tuple((batch.chunk_id, batch.epoch, upto) for batch, upto in marks.items()),
                finished=tuple((batch.chunk_id, batch.epoch) for batch in finished if not batch.dropped),
            ),
            intents=intents,
            renewed=renewed,
            owed=owed,
            requests=requests,
            renewed_at=now if renews else None,
        )

    def _conclude(self, done: InHand, ours: set[int]) -> None:
        """Let leave what the new watermarks cover, answer what is durable, and drop what has another owner."""
        carrier = self._carrier
        self.flushes += 1
        for batch in {batch: None for batch in (*(batch for batch, _ in done.intents), *done.renewed)}:
            if batch.chunk_id not in ours and not batch.dropped:
                log.error("! lane %d: chunk %d has another owner: no more of it leaves", carrier.lane, batch.chunk_id)
                carrier.backlog.drop(batch.chunk_id)
        for batch, upto in done.intents:
            if not batch.dropped:
                batch.commit(upto)
        if done.renewed_at is not None:
            self._renewed_at = done.renewed_at
        for link, upto in done.owed:
            link.acknowledge(upto)
        for link, pdu in done.requests.unanswered:
            _answer(link, pdu, self._clock.monotonic())
        carrier.pump()

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
        if not self._carrier.is_up or not self._may_intend:
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

    async def _commit(self, what: InHand) -> set[int]:
        """Commit a flush, however long Postgres is away; -> the chunks of its watermarks that are ours still."""
        lane = self._carrier.lane
        heals = False
        while True:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self._connect()
                connection = self._connection
                async with postgres.deadline(connection, self._deadline_s, f"flush of lane {lane}"):
                    if heals:
                        # What was refused for good may have been refused for a day without its partition.
                        await runs.ensure_partitions(connection, self._clock.wall())
                    if what.in_doubt and await queue.flush_known(connection, lane, what.flush.id):
                        # It was carried out. Which chunks are still ours is told by moving nothing.
                        what.flush = queue.Flush(
                            id=next(self._flush_ids),
                            at=what.flush.at,
                            lease_until=what.flush.lease_until,
                            watermarks=what.flush.watermarks,
                        )
                        what.in_doubt = False
                    ours = await self._write(connection, what)
                if self.is_away:
                    log.warning("= lane %d: Postgres is back", lane)
                self.is_away = False
                self.last_error = ""
                return ours
            except StoreError as error:
                heals = not error.retryable
                if not self.is_away:
                    log.error("! lane %d: cannot settle, sending stops: %s", lane, error)
                self.is_away = True
                self.last_error = str(error)
                self._disconnect()
                await asyncio.sleep(RETRY_S)
            except BaseException:
                # Cancelled in the middle of a statement: the connection is good for nothing.
                self._disconnect()
                raise

    async def _write(self, connection: postgres.Connection, what: InHand) -> set[int]:
        flush = what.flush
        rows = flush.outcomes or flush.receipts or flush.waiting or flush.inbound
        if not (rows or flush.watermarks or flush.finished):
            return set()
        # The lease counts from this try, not from the first one.
        lease_until = self._clock.wall() + timedelta(seconds=self._settings.lease_s)
        what.in_doubt = True
        return await queue.flush(
            connection, self._carrier.lane, msgspec.structs.replace(flush, lease_until=lease_until)
        )

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def close(self) -> None:
        """Close the connection; what was taken has been settled."""
        if self._connection is not None:
            await postgres.close(self._connection)


def _answer(link: Link, pdu: Pdu, now: float) -> None:
    """Answer a request that is durable now, if its link still stands."""
    if not link.is_lost:
        with contextlib.suppress(Exception):  # the session may be closing: then the SMSC sends it again
            link.session.respond(pdu, now=now)
            link.flush_session()
