"""One worker process: a dispatcher, a settlement and a rescue for each carrier, on one event loop.

    start   register ─► partitions ─► lanes ─► take over from the dead ─► binds up ─► claim
    stop    claim no more ─► drain the windows, unbind ─► settle the last rows ─► give back what did not leave
"""

import asyncio
import contextlib
import logging
import os
import random
import secrets
import socket
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from gateway.config import CarrierSettings, Settings
from gateway.dispatch.clock import Clock
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.intake import Intake, first_id_of
from gateway.dispatch.rescue import Rescue
from gateway.dispatch.settlement import Settlement
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, runs

log = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
PARTITIONS_S = 3600.0
# A worker of another host that was not seen for so long is dead; one of this host is asked for by its pid.
SILENT = timedelta(seconds=60)


class Lane(Struct, frozen=True):
    """All that serves one carrier on this worker."""

    name: str
    carrier: Carrier
    intake: Intake
    settlement: Settlement
    dispatcher: Dispatcher
    rescue: Rescue


def boot_id() -> str:
    """Name this boot of this machine: a pid means the same process only within it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def is_dead(worker: runs.Worker, host: str, boot: str, now: Any) -> bool:
    """Whether a registered worker is known to be gone."""
    if worker.host != host:
        return bool(now - worker.seen_at > SILENT)
    if worker.boot != boot:
        return True
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


class Worker:
    """A worker for some carriers of the settings.

    dsn       of the database, migrated
    carriers  names; None = all of the settings
    """

    def __init__(
        self,
        settings: Settings,
        dsn: str,
        clock: Clock,
        chance: random.Random,
        carriers: Iterable[str] | None = None,
    ):
        self._settings = settings
        self._dsn = dsn
        self._clock = clock
        self._chance = chance
        names = list(settings.carriers) if carriers is None else list(carriers)
        self._carriers: Mapping[str, CarrierSettings] = {name: settings.carrier(name) for name in names}
        self.instance = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.lanes: list[Lane] = []
        self._connection: asyncpg.Connection[Any] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._loops: list[asyncio.Task[None]] = []
        self.failed: asyncio.Future[None] | None = None

    async def connect(self) -> "asyncpg.Connection[Any]":
        """Open a connection with this worker's settings."""
        return await postgres.connect(
            self._dsn,
            application_name=f"sluice {self.instance}"[:63],
            statement_timeout_s=self._settings.database.deadline_s,
            allow_fsync_off=self._settings.database.allow_data_loss,
        )

    async def start(self) -> None:
        """Come up; the binds connect in the background."""
        deadline_s = self._settings.database.deadline_s
        self.failed = asyncio.get_running_loop().create_future()
        self._connection = connection = await self.connect()
        now = self._clock.wall()
        host, boot = socket.gethostname(), boot_id()
        async with postgres.deadline(connection, deadline_s, "start"):
            await runs.ensure_partitions(connection, now)
            dead = [w.instance for w in await runs.workers(connection) if is_dead(w, host, boot, now)]
            lanes = {name: await runs.lane_of(connection, name, now) for name in self._carriers}
            await runs.register(
                connection,
                runs.Worker(instance=self.instance, host=host, boot=boot, pid=os.getpid(), started_at=now, seen_at=now),
            )
        first_id = first_id_of(now)
        for name, settings in self._carriers.items():
            lane = self._lane(name, settings, lanes[name], first_id)
            self.lanes.append(lane)
            # What a dead worker left is taken over before anything is claimed, so that the report of a restart is whole.
            await lane.rescue.step(True, dead)
        async with postgres.deadline(connection, deadline_s, "start"):
            for instance in dead:
                await runs.forget(connection, instance)
        for lane in self.lanes:
            lane.carrier.start()
            self._loops += [
                self._guarded(lane.dispatcher.run(), f"claim {lane.name}"),
                self._guarded(lane.rescue.run(), f"rescue {lane.name}"),
            ]
            self._tasks.append(self._guarded(lane.settlement.run(), f"settle {lane.name}"))
        self._tasks.append(self._guarded(self._heartbeat(), "heartbeat"))

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
        )
        intake = Intake(carrier.ledger, self._clock, first_id)
        holder.append(intake)
        carrier.ledger.wall_offset_us = self._clock.offset_us()
        settlement = Settlement(carrier, intake, worker, self._clock, self.connect, deadline_s, first_id)
        dispatcher = Dispatcher(carrier, settlement, worker, self._clock, self.connect, deadline_s, self.instance)
        rescue = Rescue(carrier, worker, self._clock, self.connect, deadline_s)
        return Lane(name, carrier, intake, settlement, dispatcher, rescue)

    def report(self) -> str:
        """How every carrier stands, as JSON: what `sluice status` shows of this worker."""
        carriers = {}
        for lane in self.lanes:
            away = f"Postgres: {lane.settlement.last_error}" if lane.settlement.is_away else lane.dispatcher.last_error
            carriers[lane.name] = {
                "up": lane.carrier.is_up,
                "rate_per_s": round(lane.settlement.rate_per_s, 1),
                "claimed": lane.carrier.backlog.unsent,
                "in_flight": lane.carrier.in_flight,
                "window": lane.carrier.window_size,
                "held_chunks": lane.dispatcher.held,
                "trouble": away,
                "binds": [msgspec.structs.asdict(bind) for bind in lane.carrier.reports()],
            }
        return msgspec.json.encode({"carriers": carriers}).decode()

    async def stop(self, drain_s: float = 30.0) -> None:
        """Stop in order; a clean stop leaves nothing in doubt.

        drain_s  for responses, and for segments that wait for another try
        """
        for task in self._loops:
            task.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        try:
            await asyncio.wait_for(asyncio.gather(*(lane.carrier.stop() for lane in self.lanes)), drain_s)
        except TimeoutError:
            log.error("! the carriers did not come down within %g s", drain_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(StoreError, TimeoutError):
            async with asyncio.timeout(drain_s):
                for lane in self.lanes:
                    await lane.settlement.settle()
                    await lane.dispatcher.release()
        for lane in self.lanes:
            await lane.settlement.close()
            await lane.dispatcher.close()
            await lane.rescue.close()
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                if self._connection.is_closed():
                    self._connection = await self.connect()
                async with postgres.deadline(self._connection, 2.0, "stop"):
                    await runs.forget(self._connection, self.instance)
            await postgres.close(self._connection)

    def _guarded(self, loop: Any, name: str) -> "asyncio.Task[None]":
        """Run a loop; if it breaks, the worker has failed and says so: the shell ends it."""

        async def run() -> None:
            try:
                await loop
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.exception("! %s broke", name)
                if self.failed is not None and not self.failed.done():
                    self.failed.set_exception(error)

        return asyncio.create_task(run(), name=name)

    async def _heartbeat(self) -> None:
        deadline_s = self._settings.database.deadline_s
        partitions_at = self._clock.monotonic() + PARTITIONS_S
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await self.connect()
                now = self._clock.wall()
                async with postgres.deadline(self._connection, deadline_s, "heartbeat"):
                    await runs.seen(self._connection, self.instance, now, self.report())
                    if self._clock.monotonic() >= partitions_at:
                        await runs.ensure_partitions(self._connection, now)
                        partitions_at = self._clock.monotonic() + PARTITIONS_S
            except StoreError as error:
                log.warning("! heartbeat: %s", error)
