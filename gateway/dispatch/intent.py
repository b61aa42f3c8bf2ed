"""Intent before octets: moves the watermarks of one lane ahead of what may leave.

    rate, room ─► how far ahead ─► UPDATE chunk SET sent_upto ─► COMMIT ─► batch.commit: these ranks may leave

A statement of a few rows on a connection of its own, so that a long flush does not hold the binds up (whole life:
174 k messages/s became 222 k, 2 cores). How far it runs ahead is what a crash leaves in doubt: `intent_s` of the
current rate, and less where outcomes wait to be settled; with the open windows never more than two such steps. While
Postgres is away no watermark moves, and sending stops by itself.
Not here: outcomes and receipts (settlement.py).
"""

import asyncio
import logging
import math
from collections.abc import Callable

from _fastpath.batch import Batch
from gateway.config import WorkerSettings
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.rest import Rest
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, queue

log = logging.getLogger(__name__)

RETRY_S = 0.25
# Between two steps while a bind waits for one, otherwise, and while nothing is in hand: a claim ends it.
HUNGRY_S = 0.002
CALM_S = 0.01
IDLE_S = 0.25


class Intents:
    """The watermarks of one lane on this worker.

    unsettled  counts outcomes that are known and not committed
    """

    def __init__(
        self,
        carrier: Carrier,
        unsettled: Callable[[], int],
        settings: WorkerSettings,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
    ):
        self._carrier = carrier
        self._unsettled = unsettled
        self._settings = settings
        self._clock = clock
        self._deadline_s = deadline_s
        self._line = Line(connect)
        self._handed_out = 0
        self._planned_at = clock.monotonic()
        self._may_move = True
        self.rate_per_s = 0.0
        self.is_away = False
        # Since when Postgres owes an answer (guards.py); None: it does not.
        self.asked_at: float | None = None
        self.answered_at = -math.inf
        self.last_error = ""
        self.wake = Rest()

    async def run(self) -> None:
        """Move watermarks until cancelled."""
        while True:
            try:
                await self.advance()
                self.is_away = False
                self.last_error = ""
            except StoreError as error:
                if not self.is_away:
                    log.error("! lane %d: no watermark moves, sending stops: %s", self._carrier.lane, error)
                self.is_away = True
                self.asked_at = None
                self.last_error = str(error)
                await self._line.mend(error)
                await asyncio.sleep(RETRY_S)
                continue
            pause = IDLE_S if self._carrier.backlog.is_empty else HUNGRY_S if self.is_hungry else CALM_S
            self.wake.clear()
            await self.wake.wait(pause)

    @property
    def is_hungry(self) -> bool:
        """Tell whether a bind could send more if the watermark were further."""
        return any(bind.link is not None and bind.link.exchange.bound_by == "intent" for bind in self._carrier.binds)

    def drain(self) -> None:
        """Move nothing any more: what is committed may leave, nothing else."""
        self._may_move = False

    async def advance(self) -> int:
        """Move what there is to move, and do not return before it is committed; -> batches moved."""
        carrier = self._carrier
        now = self._clock.monotonic()
        planned = self.plan(now)
        if not planned:
            return 0
        self.asked_at = now
        connection = await self._line.opened()
        async with postgres.deadline(connection, self._deadline_s, f"watermark of lane {carrier.lane}"):
            ours = await queue.advance(
                connection,
                carrier.lane,
                [(batch.chunk_id, batch.epoch, upto) for batch, upto in planned],
            )
        self.asked_at, self.answered_at = None, now
        for batch, upto in planned:
            if batch.chunk_id in ours:
                if not batch.dropped:
                    batch.commit(upto)
            # A batch that was finished meanwhile is closed, and not ours any more for that reason.
            elif not batch.is_finished and not batch.dropped:
                log.error("! lane %d: chunk %d has another owner: no more of it leaves", carrier.lane, batch.chunk_id)
                carrier.backlog.drop(batch.chunk_id)
        carrier.backlog.look_again()
        carrier.pump()
        return len(planned)

    def plan(self, now: float) -> list[tuple[Batch, int]]:
        """How far the watermarks move: `intent_s` of the current rate ahead of what was handed out.

        The rate is not known at the start; then the open windows are the measure, and as every step finds all of it
        used, the plan grows from step to step.
        """
        carrier = self._carrier
        backlog = carrier.backlog
        handed_out = backlog.handed_out
        elapsed = now - self._planned_at
        if elapsed >= CALM_S:
            current = (handed_out - self._handed_out) / elapsed
            # Fast up, slow down: a quiet moment must not starve the next one.
            self.rate_per_s = max(current, self.rate_per_s * 0.5 ** (elapsed / 0.25))
            self._handed_out = handed_out
            self._planned_at = now
        if not self._may_move or not carrier.is_up:
            return []
        open_ = [
            batch
            for batch in backlog.batches()
            if batch.next_rank < batch.n and not batch.dropped and not batch.paused and now < batch.closes_at
        ]
        if all(batch.committed >= batch.n for batch in open_):
            return []
        limit = carrier.flow.rate_per_s
        # Measured over 10 ms a throttle that was at rest seems to allow several times what it does.
        step = int(min(self.rate_per_s, limit or math.inf) * self._settings.intent_s)
        wanted = max(carrier.window_size, step)
        if limit:
            wanted = min(wanted, max(1, int(limit * self._settings.intent_s)) + 1)
        # What a crash leaves in doubt is all that stands below the watermarks without a committed outcome: at most the
        # open windows, one flush of outcomes and one step.
        # Segments with a moment of their own (a recipient's full queue) are in doubt beside that: they hold up nobody.
        waiting = len(backlog.delayed) + len(backlog.urgent_delayed)
        wanted = min(wanted, carrier.window_size + 2 * step - (backlog.in_flight - waiting) - self._unsettled())
        planned = []
        for batch in open_:
            if wanted <= 0:
                break
            ahead = batch.committed - batch.next_rank
            upto = min(batch.n, batch.next_rank + min(wanted, _granted(batch) if batch.limits else wanted))
            if upto > batch.committed:
                planned.append((batch, upto))
                ahead = upto - batch.next_rank
            wanted -= ahead
        return planned

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()


def _granted(batch: Batch) -> int:
    """Say how many of a batch may leave soon: what its purse holds, and one that finds it empty and lets others by."""
    left = [limit.left for limit in batch.limits if limit.left is not None]
    return min(left, default=batch.n) + 1
