"""One worker process: a dispatcher, a settlement and a rescue for each carrier, and one failover, on one event loop.

    start   partitions ─► register, beat ─► lanes ─► take over from the dead ─► slots ─► binds up ─► claim
    stop    claim no more ─► drain the windows, unbind ─► settle the last rows ─► give back what did not leave ─► leave

Not here: what each of them does (the rooms beside this one), signals and settings (app.py).
"""

import asyncio
import contextlib
import logging
import math
import random
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any

from _fastpath.references import References
from gateway.config import CarrierSettings, Settings
from gateway.dispatch.admission import Admission
from gateway.dispatch.capture import Captures
from gateway.dispatch.clock import Clock
from gateway.dispatch.control import Control
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.failover import Failover
from gateway.dispatch.guards import Guards, Surroundings
from gateway.dispatch.identity import Identity
from gateway.dispatch.intake import Intake, first_id_of
from gateway.dispatch.intent import Intents
from gateway.dispatch.lane import Lane
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.membership import Membership
from gateway.dispatch.optout import OptOuts
from gateway.dispatch.query import Queries
from gateway.dispatch.rates import Rates
from gateway.dispatch.report import Report
from gateway.dispatch.rescue import Rescue
from gateway.dispatch.retention import Retention
from gateway.dispatch.returns import Returning
from gateway.dispatch.settlement import Settlement
from gateway.dispatch.slots import Slots
from gateway.dispatch.stops import Feed, Stops, keep_copy
from gateway.dispatch.unsending import Unsending
from gateway.errors import LeaseLost, StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, runs

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
WATCHED_S = 1.0
LOOK_S = 0.25
PARTITIONS_S = 3600.0
# For answers and for segments that wait for another try, when a worker stops; and for Postgres after that.
DRAIN_S = 30.0
LEAVE_S = 2.0


class Worker:
    """A worker for some carriers of the settings.

    identity  who it is
    connect   opens a connection to the migrated database; raises StoreError
    carriers  names; None = all of the settings
    surroundings  the machine and the past; None: nothing bounds it
    """

    def __init__(
        self,
        settings: Settings,
        identity: Identity,
        connect: Connect,
        clock: Clock,
        chance: random.Random,
        carriers: Iterable[str] | None = None,
        surroundings: Surroundings | None = None,
    ):
        self._settings = settings
        self._identity = identity
        self.connect = connect
        self._clock = clock
        # One for all carriers: a handset knows the source, not the way a part came.
        self._references = References()
        self._chance = chance
        names = list(settings.carriers) if carriers is None else list(carriers)
        self._carriers: Mapping[str, CarrierSettings] = {name: settings.carrier(name) for name in names}
        self.instance = identity.instance
        self.lanes: list[Lane] = []
        self.control = Control(clock, self.connect, settings.database.deadline_s, self.instance)
        deadline_s = settings.database.deadline_s
        around = surroundings or Surroundings()
        self.guards = Guards(self.control, clock, connect, deadline_s, around)
        self._asks_consent = around.asks_consent
        self.feed = Feed(clock, self.connect, deadline_s, self.instance, around.erasure)
        self.stops = Stops(clock, self.connect, deadline_s, settings.worker.lease_s, identity)
        self.rates = Rates(clock, self.connect, deadline_s)
        self.failover = Failover(
            settings, clock, self.connect, self._give_back, lambda: self.control.drained, self._cancelled
        )
        self.retention = Retention(settings.retention, clock, self.connect, self.instance)
        self.returning = Returning(clock, self.connect, self.instance)
        self.membership = Membership(
            identity, settings.worker.lease_s, clock, connect, self._serving, self._hold, self._departed
        )
        self.slots = Slots(
            self.instance, clock, connect, settings.database.deadline_s, self.membership.serving, self._gain,
            self._give_back,
        )  # fmt: skip
        self._report = Report(self.lanes, self.control, self.guards, self.slots, self.feed)
        self._line = Line(connect)
        self._captures: Captures | None = None
        self._is_leaving = False
        self._beating: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loops: list[asyncio.Task[None]] = []
        self._settling: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Come up; the binds connect in the background.

        raises  StoreError; nothing is left behind then
        """
        try:
            await self._start()
        except BaseException:
            await self.stop(LEAVE_S)
            raise

    async def _start(self) -> None:
        deadline_s = self._settings.database.deadline_s
        self.failed = asyncio.get_running_loop().create_future()
        connection, now = await self._line.opened(), self._clock.wall()
        async with postgres.deadline(connection, deadline_s, "start"):
            await runs.ensure_partitions(connection, now)
            lanes = {name: await runs.lane_of(connection, name, now) for name in self._carriers}
        await self.membership.enter()
        self._beating = self._guarded(self.membership.run(), "beat")
        await self.feed.load()
        self._tasks.append(self._guarded(self.feed.run(), "stops"))
        self._loops.append(self._guarded(keep_copy(self.stops), "copy of stops"))
        first_id = first_id_of(self.instance)
        for name, settings in self._carriers.items():
            lane = self._lane(name, settings, lanes[name], first_id)
            lane.carrier.hold_until(self.membership.hold_until)
            self.lanes.append(lane)
            # What the dead left is taken over before anything is claimed: the report of a restart is whole.
            try:
                await lane.rescue.take_over()
            except StoreError as error:
                if not error.elsewhere:
                    raise
                # Its node is away: nothing of it can be claimed either, and the other lanes need not wait.
                log.error("! lane %d: what the dead left is taken over later: %s", lane.carrier.lane, error)
            self.slots.divide(name, lane.carrier)
        for lane in self.lanes:
            self.control.steer(lane.name, lane.carrier, lane.dispatcher)
            self.guards.guard(lane.name, lane.carrier, lane.dispatcher, lane.intents, lane.settlement)
        # First a word: who gives an order that it does not name waits for us, and any before it is read now.
        async with postgres.deadline(connection, deadline_s, "first word"):
            await runs.seen(connection, self.instance, self._clock.wall(), self.report())
        await self.control.start()
        for lane in self.lanes:
            if lane.name not in self.control.drained:
                lane.carrier.start()
            self._loops += [
                self._guarded(lane.dispatcher.run(), f"claim {lane.name}"),
                self._guarded(lane.rescue.run(), f"rescue {lane.name}"),
            ]
            if lane.queries is not None:
                self._loops.append(self._guarded(lane.queries.run(), f"query {lane.name}"))
            if lane.unsending is not None:
                self._loops.append(self._guarded(lane.unsending.run(), f"unsend {lane.name}"))
            self._settling.append(self._guarded(lane.settlement.run(), f"settle {lane.name}"))
            self._tasks.append(self._guarded(lane.intents.run(), f"intent {lane.name}"))
        await self.slots.start()
        self._loops.append(self._guarded(self.slots.run(), "slots"))
        self._loops.append(self._guarded(self.rates.run(), "rates"))
        self._loops.append(self._guarded(self.failover.run(), "failover"))
        self._tasks.append(self._guarded(self.control.run(), "control"))
        self._loops.append(self._guarded(self.retention.run(), "retention"))
        self._loops.append(self._guarded(self.returning.run(), "returns"))
        self._tasks.append(self._guarded(self._heartbeat(), "heartbeat"))
        self._tasks.append(self._guarded(self.guards.run(), "guards"))
        self._tasks.append(self._guarded(self.guards.beat(), "history"))
        carriers = [lane.carrier for lane in self.lanes]
        self._captures = Captures(carriers, self._clock, self.connect, deadline_s, self.instance)
        self._tasks.append(self._guarded(self._captures.run(), "capture"))

    def _serving(self) -> list[str]:
        """Name the carriers that this worker serves and that nobody has drained."""
        return [] if self._is_leaving else [name for name in self._carriers if name not in self.control.drained]

    def _cancelled(self) -> frozenset[int]:
        """The runs that were cancelled lately."""
        return self.control.state.cancelled

    def _hold(self, until: float) -> None:
        """Let nothing leave at or after a moment: the end of our lease."""
        for lane in self.lanes:
            lane.carrier.hold_until(until)

    def _departed(self) -> None:
        """Hear that workers are gone: what they had is taken over, and their binds are free."""
        for lane in self.lanes:
            lane.rescue.hurry()
        self.slots.ring()

    def _gain(self, name: str) -> None:
        """Hear that a carrier becomes ours to serve, which somebody else may have served before."""
        for lane in self.lanes:
            if lane.name == name:
                lane.dispatcher.begin_anew()

    def _give_back(self, name: str) -> None:
        """Have the dispatcher of a carrier that is down give back what it holds, if the carrier is one of ours."""
        for lane in self.lanes:
            if lane.name == name:
                lane.dispatcher.gives_back = True

    def _lane(self, name: str, settings: CarrierSettings, lane: int, first_id: int) -> Lane:
        worker, deadline_s = self._settings.worker, self._settings.database.deadline_s
        holder: list[Intake] = []
        carrier = Carrier(
            name,
            settings,
            lane,
            clock=self._clock.monotonic,
            chance=self._chance,
            on_request=lambda link, pdu: holder[0].on_request(link, pdu),
            recall_ids=worker.recall_ids,
            references=self._references,
            has_all=False,
        )
        self.feed.serve(carrier.backlog)
        opt_outs = OptOuts(
            name, lane, settings, self._settings.keywords, self.stops, self._clock, self.connect, deadline_s,
            self._asks_consent, self.feed.is_paused,
        )  # fmt: skip
        intake = Intake(carrier.ledger, self._clock, first_id, settings, opt_outs)
        holder.append(intake)
        carrier.ledger.wall_offset_us = self._clock.offset_us()
        settlement = Settlement(carrier, intake, worker, self._clock, self.connect, deadline_s, first_id)
        intents = Intents(carrier, lambda: settlement.unsettled, worker, self._clock, self.connect, deadline_s)
        admission = Admission(self.connect, self._clock, deadline_s, self.instance, self._settings.inboxes)
        dispatcher = Dispatcher(
            carrier, intents, worker, self._clock, self.connect, deadline_s, self.instance, self.feed, admission,
            self.rates,
        )  # fmt: skip
        self.rates.serve(carrier)
        settlement.cancelled, settlement.returning = dispatcher.cancelled, dispatcher.returning
        rescue = Rescue(carrier, worker, self._clock, self.connect, deadline_s, self.membership.dead_of)
        queries = Queries(carrier, self._clock, self.connect, deadline_s) if settings.query_sm else None
        unsending = Unsending(carrier, self._clock, self.connect, deadline_s) if settings.cancel_sm else None
        return Lane(name, carrier, intake, opt_outs, settlement, intents, dispatcher, rescue, queries, unsending)

    @property
    def is_up(self) -> bool:
        """Tell whether every carrier of which binds are ours can send, or stands still by order."""
        return all(lane.is_up for lane in self.lanes)

    def report(self) -> str:
        """How this worker stands, as JSON: what `sluice status` and `sluice top` show of it."""
        return self._report.text()

    async def stop(self, drain_s: float = DRAIN_S) -> None:
        """Stop in order; a clean stop leaves nothing in doubt.

        drain_s  for responses, and for segments that wait for another try; what is unanswered then is in doubt.
                 Once more so long for Postgres, where it is away: what was not given back then is in doubt too
        """
        self._hear_failure()
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        # From here on others take what we leave; our own lease goes on until the end.
        self._is_leaving = True
        self.membership.ring()
        await self.control.stop()
        await self.slots.stop()
        await asyncio.gather(*(lane.drain(drain_s) for lane in self.lanes))
        for lane in self.lanes:
            lane.settlement.stop()
        # The flush in hand may end; it keeps its rows if it does not, and the last one tries once more.
        if self._settling:
            await asyncio.wait(self._settling, timeout=LEAVE_S)
        for task in (*self._settling, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._settling, *self._tasks, return_exceptions=True)
        # Together: of several lanes one may be on a node that is away.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                await asyncio.gather(*(lane.end() for lane in self.lanes))
        # Together: each takes a second where Postgres does not answer.
        closes = [
            self.rates.close(),
            self.failover.close(),
            self.retention.close(),
            self.returning.close(),
            self.control.close(),
        ]
        closes += [self.guards.close(), self.slots.close(), self.feed.close(), self.stops.close()]
        closes += [lane.close() for lane in self.lanes]
        if self._captures is not None:
            closes.append(self._captures.close())
        await asyncio.gather(*closes)
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.gather(self._beating, return_exceptions=True)
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                if self.membership.is_registered:
                    # A statement that was cut leaves nothing to be told on its connection.
                    await self.membership.close()
                    await self.membership.leave()
        await self.membership.close()
        await self._line.close()
        # It may have been fenced while it waited for Postgres.
        self._hear_failure()

    def _hear_failure(self) -> None:
        """Ask what broke, which was logged when it did, so that nobody warns that it was never asked."""
        if self.failed is not None and self.failed.done():
            self.failed.exception()

    def _guarded(self, loop: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run a loop; if it breaks, the worker has failed and says so: the shell ends it."""

        async def run() -> None:
            try:
                await loop
            except asyncio.CancelledError:
                raise
            except Exception as error:
                if isinstance(error, LeaseLost):
                    log.error("! %s", error)
                else:
                    log.exception("! %s broke", name)
                if self.failed is not None and not self.failed.done():
                    self.failed.set_exception(error)

        return asyncio.create_task(run(), name=name)

    async def _heartbeat(self) -> None:
        """Report every 2 s, every second while somebody looks, and soon after a bind has come or gone."""
        deadline_s = self._settings.database.deadline_s
        partitions_at = self._clock.monotonic() + PARTITIONS_S
        told: tuple[Any, ...] | None = None
        beat_at = -math.inf
        while True:
            now_s = self._clock.monotonic()
            standing = self._report.gist()
            if standing != told or now_s - beat_at >= (WATCHED_S if self.control.is_watched else HEARTBEAT_S):
                beat_at = now_s
                try:
                    connection, now = await self._line.opened(), self._clock.wall()
                    async with postgres.deadline(connection, deadline_s, "heartbeat"):
                        await runs.seen(connection, self.instance, now, self.report())
                        if now_s >= partitions_at:
                            await runs.ensure_partitions(connection, now)
                            partitions_at = now_s + PARTITIONS_S
                    told = standing
                except StoreError as error:
                    log.warning("! heartbeat: %s", error)
                    told = standing  # the next try is at the next beat
            await asyncio.sleep(LOOK_S)
