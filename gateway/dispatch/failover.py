"""Messages that wait for what will not come: their carrier is down, it failed them, or their time is over.

    every second    down for failover_after_s, or closed    chunks that are due ─► the next of their lanes that is up
                    failed, and another may try             messages ─► the next of their lanes that is up
                    left a lane and not seen to arrive      carried to its end, whoever began it
                    over, or cancelled                      closed as that, whether the carrier is up or not

One loop a worker, over every carrier of the settings: also those that no worker serves. Two workers that do the same at
once take different chunks, and a message moves once (store/transfer.py).
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from gateway.config import CarrierSettings, Settings
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.route import health_of
from gateway.errors import StoreError
from gateway.smpp import status as statuses
from gateway.store import cancels, postgres, runs, transfer

log = logging.getLogger(__name__)

STEP_S = 1.0
# Steps of transfer.py in one round, so that no lane keeps the others waiting.
MOST_STEPS = 16
# What failed is looked for so far back: at first, and later, when its last segment may have come after the others.
FIRST_LOOK = timedelta(days=1)
LOOK = timedelta(minutes=10)


def rerouted_statuses(carrier: CarrierSettings) -> list[int]:
    """The command_status that send a message to its next route."""
    table = statuses.table(statuses.overrides(carrier.statuses))
    return [value for value, word in enumerate(table) if word == statuses.REROUTE]


class Failover:
    """The loop of one worker.

    give_back  told the name of a carrier that is down, so that what this worker has claimed of it is queued again
    closed     carriers that somebody has closed: nothing waits for them
    cancelled  runs that were cancelled lately: of older ones only what was queued again since is closed
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        connect: Connect,
        give_back: Callable[[str], None],
        closed: Callable[[], Collection[str]] = tuple,
        cancelled: Callable[[], Collection[int]] = tuple,
    ):
        self._settings = settings
        self._clock = clock
        self._give_back = give_back
        self._closed = closed
        self._cancelled = cancelled
        self._line = Line(connect)
        self._down_since: dict[str, float] = {}
        self._looked: set[str] = set()
        self._rerouted = {name: rerouted_statuses(carrier) for name, carrier in settings.carriers.items()}
        self.last_error = ""
        self.moved_chunks = 0
        self.rerouted = 0
        self.expired = 0

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.step()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! no failover, no expiry: %s", error)
                self.last_error = str(error)
                await self._line.mend(error)
            await asyncio.sleep(STEP_S)

    async def step(self) -> None:
        """Do one round; the counters tell.

        raises  StoreError; behind all lanes that could be served where it is of lanes alone
        """
        connection, deadline_s = await self._line.opened(), self._settings.database.deadline_s
        async with postgres.deadline(connection, deadline_s, "failover"):
            # Who is known to be gone has no row.
            health = health_of(await runs.workers(connection))
            lanes = {name: lane for lane, name in (await runs.lanes(connection)).items()}
        is_up = {name for name, standing in health.items() if standing.is_up}
        # A carrier of another worker's settings may take what is ours: its lane is what counts.
        up = {lane for name, lane in lanes.items() if name in is_up and name not in self._closed()}
        now_s = self._clock.monotonic()
        missed: StoreError | None = None
        for name, carrier in self._settings.carriers.items():
            if name in is_up:
                self._down_since.pop(name, None)
            else:
                self._down_since.setdefault(name, now_s)
            if name in lanes:
                try:
                    async with postgres.deadline(connection, deadline_s, f"failover of {name}"):
                        await self._step(connection, name, carrier, lanes[name], up - {lanes[name]}, now_s)
                except StoreError as error:
                    if not postgres.is_sound(connection, error):
                        raise
                    # The node of this lane, or of one that it moves to, is away: the other lanes go on.
                    missed = missed or error
        if missed is not None:
            raise missed

    async def _step(
        self,
        connection: postgres.Connection,
        name: str,
        carrier: CarrierSettings,
        lane: int,
        up: Collection[int],
        now_s: float,
    ) -> None:
        now = self._clock.wall()
        for close in (self._expire, self._close_cancelled):
            for _ in range(MOST_STEPS):
                if not await close(connection, lane, now):
                    break
        since = self._down_since.get(name)
        if name in self._closed() or (since is not None and now_s - since >= carrier.failover_after_s):
            self._give_back(name)
            for _ in range(MOST_STEPS):
                left = await transfer.leave_closed(connection, lane, up, now)
                if left:
                    log.warning("= %s: %d chunks go another way", name, left)
                    self.moved_chunks += left
                    await transfer.carry(connection, lane, now)
                if left < transfer.CHUNKS_A_STEP:
                    break
        since_at = now - (LOOK if name in self._looked else FIRST_LOOK)
        failed = await transfer.leave_failed(
            connection, lane, up, statuses=self._rerouted[name], errors=carrier.reroute_errors,
            undelivered=carrier.reroute_undelivered, since=since_at, now=now,
        )  # fmt: skip
        self.rerouted += failed
        if failed < transfer.MESSAGES_A_STEP:
            self._looked.add(name)
        await transfer.carry(connection, lane, now)

    async def _expire(self, connection: postgres.Connection, lane: int, now: datetime) -> int:
        ended = await transfer.expire(connection, lane, now)
        self.expired += ended
        return ended

    async def _close_cancelled(self, connection: postgres.Connection, lane: int, now: datetime) -> int:
        return await cancels.close(connection, lane, self._cancelled(), now)

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()
