"""What operators order, carried out on this worker: pauses, drains, tuned settings, and changes that are taken back.

    NOTIFY, or 250 ms ─► read the state whole ─► dispatchers: what is cancelled is begun no more
                                              ─► carriers: paused, drained, tuned
                                              ─► dispatchers: what is not claimed; batches in hand: held
                         look at the counters ─► a tuned setting made it worse ─► an order of rollback

So every worker obeys within a second, and a new one before it claims anything. While the orders cannot be read, what
was read last holds. Not here: the orders themselves (store/control.py), what is worse (trial.py).
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway import config
from gateway.config import CarrierSettings
from gateway.countries import code_of
from gateway.dispatch.clock import Clock
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.rest import Rest
from gateway.dispatch.trial import Trial
from gateway.errors import ConfigError, StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import control, postgres
from gateway.store.control import State
from gateway.store.queue import NOTHING_PAUSED, Paused

log = logging.getLogger(__name__)

POLL_S = 0.25
# Somebody who looks says so again before this is over.
WATCH_S = 5.0
# Orders that could not be read for so long are told of.
STALE_S = 2.0


class Steered(Struct, kw_only=True):
    """One carrier of this worker, and how it stands by the orders.

    settings   as they were at the start
    overlay    what is tuned
    halted     why the guards let nothing leave; empty: they do
    stopping   the drain that is under way
    newest     of the orders that tuned it
    """

    name: str
    settings: CarrierSettings
    carrier: Carrier
    dispatcher: Dispatcher
    trial: Trial
    overlay: Mapping[str, Any] = {}
    trouble: str = ""
    halted: str = ""
    is_paused: bool = False
    stopping: asyncio.Task[None] | None = None
    newest: int = 0


def parts_of(state: State, carrier: str) -> list[str]:
    """Name the campaigns that stand still on one carrier alone: orders for `spring@acme`."""
    keys = (key.rpartition("@") for key in state.standing("campaign"))
    return [campaign for campaign, _, name in keys if campaign and name == carrier]


class Control:
    """The loop of one worker.

    by  who takes a change back, as the order names it
    """

    def __init__(self, clock: Clock, connect: Connect, deadline_s: float, by: str):
        self._clock = clock
        self._deadline_s = deadline_s
        self._by = by
        self._steered: list[Steered] = []
        self._line = Line(connect, self._listen)
        self._rung = Rest()
        self._read_at = clock.monotonic()
        self._watched_until = 0.0
        self._is_leaving = False
        self.state = State()
        self.last_error = ""

    def steer(self, name: str, carrier: Carrier, dispatcher: Dispatcher) -> None:
        """Take a carrier under the orders; before `start`."""
        self._steered.append(
            Steered(name=name, settings=carrier.settings, carrier=carrier, dispatcher=dispatcher, trial=Trial())
        )

    @property
    def drained(self) -> list[str]:
        """The carriers that are drained by order, on whichever worker."""
        return [key for key, order in self.state.standing("carrier").items() if order.action == "drain"]

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks at the reports."""
        return self._clock.monotonic() < self._watched_until

    @property
    def trouble(self) -> str:
        """Why what holds may not be what is ordered; empty: it is."""
        stale_s = self._clock.monotonic() - self._read_at
        if stale_s <= STALE_S:
            return ""
        return f"orders were not read for {stale_s:.0f} s, the last ones hold: {self.last_error or 'no answer yet'}"

    async def start(self) -> None:
        """Obey what is in force already, before anything is claimed; StoreError."""
        await self.step()
        for one in self._steered:
            # Tried by those who were there when it was ordered.
            one.trial.end()

    async def run(self) -> None:
        """Obey until cancelled."""
        while True:
            await self._rung.wait(POLL_S)
            self._rung.clear()
            try:
                await self.step()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! orders cannot be read, the last ones hold: %s", error)
                self.last_error = str(error)
                await self.close()
                await asyncio.sleep(POLL_S)

    async def step(self) -> None:
        """Do one round."""
        connection = await self._line.opened()
        async with postgres.deadline(connection, self._deadline_s, "read orders"):
            state = await control.state(connection, self._clock.wall())
            # In one turn: whoever reads that we know an order of this state finds it obeyed.
            for one in self._steered:
                one.dispatcher.cancel(state.cancelled)
            self.state = state
            unclaimed = await self._barred(connection, state)
            held = await self._barred(connection, state.undrained) if state.undrained != state else unclaimed
        self._read_at = now = self._clock.monotonic()
        for one in self._steered:
            one.trial.look(now, one.carrier.ledger)
            self._stand(one)
            await self._bar(connection, one, unclaimed[one.name], held[one.name])
            if not self._is_leaving:
                self._tune(one)
                await self._judge(connection, one)

    async def _listen(self, connection: postgres.Connection) -> None:
        async with postgres.deadline(connection, self._deadline_s, "listen to orders"):
            await control.listen(connection, self._heard)

    def _heard(self, what: str) -> None:
        if what == control.WATCH:
            self._watched_until = self._clock.monotonic() + WATCH_S
        else:
            self._rung.set()

    def _stand(self, one: Steered) -> None:
        """Pause, drain, or let go on."""
        order = self.state.standing("carrier").get(one.name)
        action = order.action if order is not None else "resume"
        is_paused = action == "pause"
        if one.is_paused != is_paused:
            one.is_paused = is_paused
            log.warning("= %s: %s", one.name, "paused by order" if is_paused else "goes on")
            self._let_go(one)
        if self._is_leaving:
            return
        if action == "drain":
            # What nobody has begun is for others, as long as it lasts.
            one.dispatcher.gives_back = True
            if one.stopping is None and not one.carrier.is_stopped:
                log.warning("= %s: drains by order", one.name)
                one.stopping = asyncio.create_task(one.carrier.stop(), name=f"drain {one.name}")
        elif one.stopping is not None and one.stopping.done():
            one.stopping = None
            one.dispatcher.gives_back = False
            log.warning("= %s: binds again", one.name)
            one.carrier.start()

    def halt(self, name: str, why: str) -> None:
        """Have nothing of a carrier leave for a reason of the guards, beside any order; empty: let it go on."""
        for one in self._steered:
            if one.name == name and one.halted != why:
                one.halted = why
                self._let_go(one)

    def _let_go(self, one: Steered) -> None:
        """Have leave what neither an order nor the guards keep."""
        backlog = one.carrier.backlog
        keeps = one.is_paused or bool(one.halted)
        if backlog.paused != keeps:
            backlog.paused = keeps
            one.carrier.pump()

    async def _barred(self, connection: postgres.Connection, state: State) -> dict[str, Paused]:
        """By carrier: the campaigns, countries and senders that stand still there."""
        runs = await control.runs_of(connection, list(state.standing("campaign")))
        countries = tuple(code_of(letters) for letters in state.standing("country"))
        found: dict[str, Paused] = {}
        for one in self._steered:
            parts = await control.runs_of(connection, parts_of(state, one.name))
            senders = tuple(state.standing("sender"))
            if one.carrier.settings.source in senders:
                senders = (*senders, "")
            found[one.name] = Paused(runs=(*runs, *parts), countries=countries, senders=senders)
        return found

    async def _bar(self, connection: postgres.Connection, one: Steered, unclaimed: Paused, paused: Paused) -> None:
        """Have what stands still not claimed, and hold what of the paused is claimed; of the drained that leaves."""
        if not unclaimed and not one.dispatcher.paused:
            return
        one.dispatcher.paused = unclaimed or NOTHING_PAUSED
        batches = one.carrier.backlog.batches()
        held: set[int] = set()
        if paused and batches:
            async with postgres.deadline(connection, self._deadline_s, f"hold on lane {one.carrier.lane}"):
                held = await control.held_chunks(
                    connection, one.carrier.lane, [batch.chunk_id for batch in batches],
                    paused.runs, paused.countries, paused.senders,
                )  # fmt: skip
        changed = [batch for batch in batches if batch.paused != (batch.chunk_id in held)]
        for batch in changed:
            batch.paused = not batch.paused
        if changed:
            one.carrier.backlog.look_again()
            one.carrier.pump()

    def _tune(self, one: Steered) -> None:
        """Lay what is tuned over the settings, and begin the trial of what is new."""
        tuned = [each for each in self.state.tuned if each.carrier == one.name]
        newest = max((each.id for each in tuned), default=0)
        if newest == one.newest:
            return
        one.newest = newest
        one.overlay = self.state.overlay(one.name)
        try:
            settings = config.tuned(one.name, one.settings, one.overlay)
        except ConfigError as error:
            one.trouble = "; ".join(
                f"{key}: expected {expected}, found {found}" for key, expected, found in error.problems
            )
            log.error("! %s: what is tuned does not fit the settings: %s", one.name, one.trouble)
            return
        one.trouble = ""
        one.carrier.tune(settings)
        log.warning("= %s: tuned: %s", one.name, ", ".join(f"{k} = {v}" for k, v in one.overlay.items()) or "nothing")
        latest = [each for each in tuned if each.id == newest]
        if latest[0].action == "tune" and not latest[0].is_kept:
            one.trial.begin(newest)
        else:
            one.trial.end()

    async def _judge(self, connection: postgres.Connection, one: Steered) -> None:
        """Take back what made it worse."""
        why = one.trial.fault()
        if not why or one.trial.order is None:
            return
        async with postgres.deadline(connection, self._deadline_s, f"roll back on {one.name}"):
            made = await control.roll_back(connection, one.trial.order, at=self._clock.wall(), by=self._by, reason=why)
        one.trial.end()
        if made is not None:
            log.error("! %s: what was tuned is taken back: %s", one.name, why)
        self._rung.set()

    def report(self, name: str) -> dict[str, Any]:
        """How a carrier stands by the orders."""
        for one in self._steered:
            if one.name == name:
                stands = "paused" if one.is_paused else "halted" if one.halted else ""
                if one.carrier.is_stopped:
                    stands = "draining" if one.stopping is not None and not one.stopping.done() else "drained"
                return {"stands": stands, "halted": one.halted, "tuned": dict(one.overlay), "trouble": one.trouble}
        return {}

    async def stop(self) -> None:
        """Wait for drains that are under way; the worker stops. Who pauses or cancels meanwhile is obeyed still."""
        self._is_leaving = True
        drains = [one.stopping for one in self._steered if one.stopping is not None]
        await asyncio.gather(*drains, return_exceptions=True)

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()
