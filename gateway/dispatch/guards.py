"""We stop rather than guess: one loop that looks at what sending rests upon, and stops what may not go on.

    Postgres owes an answer for 0.8 s, or gave an error   nothing leaves            until it answers (per carrier)
    recovery hold (store/standing.py)                     nothing leaves, no claim  until a person says so
    the disk of the embedded server is nearly full        no claim                  until there is room
    memory (memory.py)                                    fewer claims, none        until it is given back
    the wall clock has jumped (clock.py)                  no promotional start      for a minute, or a person says so
    the server's transactions are half used up            nothing: it is told       until it is vacuumed
    a table has stayed full of dead rows                  nothing: it is told       until it is vacuumed

What is stopped is not undone: batches stay in hand, links stay bound, receipts wait unanswered. Everything goes on by
itself when its reason has gone; a hold by an order alone, and a distrusted clock by one too. Each reason is told in the
report, in the metrics and in one log line.
Not here: how sizes and clocks are read (arguments), limits of traffic (smpp), orders of operators (control.py).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from msgspec import Struct

from gateway.dispatch.clock import Clock, Watch
from gateway.dispatch.control import Control
from gateway.dispatch.dispatcher import Dispatcher
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.memory import Ladder, Limits, Stage
from gateway.erasure import Key
from gateway.errors import StoreError
from gateway.smpp.carrier import Carrier
from gateway.store import postgres, standing
from gateway.store.standing import Bloated, History

log = logging.getLogger(__name__)

LOOK_S = 0.05
# Sending stops within a second of the last answer: this, a look, and the statement that was asked last.
SILENCE_S = 0.8
BEAT_S = 0.25
SLOW_S = 1.0
# A server that vacuums at all stays below 200 million or a little more; it takes nothing any more at 2,144 million.
OLD_TRANSACTIONS = 1_000_000_000
# A vacuum comes within a minute of the rows' death, and may take a few: for longer something holds it up.
BLOAT_EVERY_S = 60.0
BLOATED_S = 600.0


class Surroundings(Struct, kw_only=True):
    """What a worker is told of the machine and of its past; by default nothing bounds it.

    sizes         octets resident, octets of address space
    free_octets   on the file system of a server of ours; None: it is not ours
    min_free      of them, below which nothing new is claimed
    history       None: no other server is ever expected
    asks_consent  people are asked for their consent, and questions, here: a YES of a handset may be the answer
    erasure       the key of erased numbers; None: it is not known here
    """

    sizes: Callable[[], tuple[int, int]] = lambda: (0, 0)
    memory: Limits = Limits()
    free_octets: Callable[[], int | None] = lambda: None
    min_free: int = 0
    history: History | None = None
    asks_consent: bool = True
    erasure: Key | None = None


class Asker(Protocol):
    """A loop that asks Postgres.

    asked_at     since when an answer is owed; None: none is
    answered_at  the last answer
    is_away      the last one was an error
    """

    asked_at: float | None
    answered_at: float
    is_away: bool


class Guarded(Struct):
    """One carrier under guard. silent: why nothing of it may leave, of Postgres."""

    name: str
    carrier: Carrier
    dispatcher: Dispatcher
    askers: tuple[Asker, ...]
    silent: bool = False


class Guards:
    """The guards of one worker."""

    def __init__(
        self,
        control: Control,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
        surroundings: Surroundings,
    ):
        self._control = control
        self._clock = clock
        self._deadline_s = deadline_s
        self._around = surroundings
        self._guarded: list[Guarded] = []
        self._line = Line(connect)
        self._clock_orders: frozenset[int] = frozenset()
        self.memory = Ladder(surroundings.memory)
        self.watch = Watch(clock)
        self.disk = ""
        self.transactions = ""
        self._bloat_at = clock.monotonic()
        self._bloated_since: dict[str, float] = {}
        # Tables that have been full of dead rows for long, in sentences.
        self.bloat: list[str] = []
        # The beat is an asker, too: it knows of a silence where nothing else asks.
        self.asked_at: float | None = None
        self.answered_at = clock.monotonic()
        self.is_away = False
        self.last_error = ""
        if surroundings.history is not None:
            surroundings.history.on_hold = self._begin_hold

    def guard(self, name: str, carrier: Carrier, dispatcher: Dispatcher, *askers: Asker) -> None:
        """Take a carrier under guard; before `run`."""
        dispatcher.watch = self.watch
        self._guarded.append(Guarded(name, carrier, dispatcher, askers))
        self._apply()

    @property
    def hold(self) -> str:
        """Why there is a recovery hold; empty: there is none."""
        history = self._around.history
        return history.hold.reason if history is not None and history.hold is not None else ""

    # -- looking ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look until cancelled; `beat` is a loop of its own, so that it holds up no look."""
        slow_at = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            if now >= slow_at:
                slow_at = now + SLOW_S
                self.look()
            self.look_at_postgres(now)
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Look at memory, disk and clock; once a second."""
        if self.memory.look(*self._around.sizes()):
            log.warning("! %s", self.memory.trouble or "memory: there is enough again")
        free = self._around.free_octets()
        disk = ""
        if free is not None and free < self._around.min_free:
            disk = (
                f"disk: {free >> 20:,} MB are free where Postgres is, at least {self._around.min_free >> 20:,} are to "
                f"be (database.min_free_mb): nothing new is claimed"
            )
        if bool(disk) != bool(self.disk):
            log.warning("! %s", disk or "disk: there is room again")
        self.disk = disk
        if self.watch.look():
            self._clock_orders = self._clock_orders_in_force()
            log.error("! %s", self.watch.trouble)
        elif self.watch.distrusts and self._clock_orders_in_force() - self._clock_orders:
            self.watch.trust()
            log.warning("= the wall clock is believed again, by order")
        history = self._around.history
        if history is not None:
            history.heed(self._control.state.orders)
        self._look_at_transactions()
        self._apply()

    def _look_at_transactions(self) -> None:
        """Tell of a server that nobody vacuums, long before it stops by itself."""
        history = self._around.history
        found = history.found if history is not None else None
        text = ""
        if found is not None and found.xid_age >= OLD_TRANSACTIONS:
            text = (
                f"transactions: the oldest that Postgres still keeps is {found.xid_age // 1_000_000:,} million old, "
                f"and at 2,144 million it takes no more: end what holds the vacuum up (a transaction, a prepared one "
                f"or a replication slot that is open for long), then VACUUM (FREEZE)"
            )
        if bool(text) != bool(self.transactions):
            log.warning("! %s", text or "transactions: the vacuum is through, none is old any more")
        self.transactions = text

    def look_at_bloat(self, now: float, found: Iterable[Bloated]) -> None:
        """Tell of tables that nobody vacuums: claims and looks read past their dead rows, and the disk fills."""
        since = self._bloated_since
        told, self.bloat, self._bloated_since = len(self.bloat), [], {}
        for one in found:
            began = self._bloated_since[one.name] = since.get(one.name, now)
            if now - began >= BLOATED_S:
                self.bloat.append(
                    f"bloat: {one.name} has held far more dead rows than living ones for {(now - began) / 60:.0f} min, "
                    f"now {one.dead:,} beside {one.live:,}: see what holds the vacuum up (autovacuum, a transaction, a "
                    f"prepared one or a replication slot that is open for long), then VACUUM {one.name}"
                )
        if len(self.bloat) > told:
            log.warning("! %s", self.bloat[-1])

    def look_at_postgres(self, now: float) -> None:
        """Stop what Postgres owes an answer for too long."""
        unheard = _owes(self, now)
        for one in self._guarded:
            # A lane that has answers is not stopped by the beat's want of one, such as of a connection.
            silent = any(_owes(asker, now) for asker in one.askers) or (
                unheard and all(now - asker.answered_at > SILENCE_S for asker in one.askers)
            )
            if silent != one.silent:
                one.silent = silent
                log.warning(
                    "! %s: %s", one.name,
                    "Postgres does not answer: nothing leaves" if silent else "Postgres answers: sending goes on",
                )  # fmt: skip
                self._apply()

    def _clock_orders_in_force(self) -> frozenset[int]:
        return frozenset(order.id for order in self._control.state.orders if order.scope == "clock")

    # -- obeying ----------------------------------------------------------------------------------------------------

    def _begin_hold(self) -> None:
        """Stop at once. What was read last is of the server that was left: none of it ends the hold."""
        if self._around.history is not None:
            self._around.history.remember(self._control.state.orders)
        self._apply()

    def _apply(self) -> None:
        """Have the carriers obey what was found last."""
        hold, stage = self.hold, self.memory.stage
        barred = hold or self.disk or (self.memory.trouble if stage is Stage.REFUSE else "")
        for one in self._guarded:
            one.dispatcher.barred = barred
            one.dispatcher.is_short = stage is Stage.SHRINK
            self._control.halt(one.name, hold or ("Postgres does not answer" if one.silent else ""))
            for bind in one.carrier.binds:
                if bind.link is not None:
                    bind.link.rest(stage is Stage.REFUSE)

    # -- the history of the server ----------------------------------------------------------------------------------

    async def beat(self) -> None:
        """Learn how far the server is, four times a second, until cancelled."""
        history = self._around.history
        while history is not None:
            await asyncio.sleep(BEAT_S)
            self.asked_at = self._clock.monotonic()
            try:
                connection = await self._line.opened()
                async with postgres.deadline(connection, self._deadline_s, "beat"):
                    await history.beat(connection)
                    if self.asked_at >= self._bloat_at:
                        self._bloat_at = self.asked_at + BLOAT_EVERY_S
                        self.look_at_bloat(self.asked_at, await standing.bloated(connection))
                self.asked_at, self.answered_at = None, self._clock.monotonic()
                self.is_away = False
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! beat: %s", error)
                self.last_error = str(error)
                self.is_away = True
                await self.close()
            await history.keep()

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    # -- telling ----------------------------------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """What stands in the worker's report: why something is stopped, and what had better be done, in sentences."""
        history = self._around.history
        found = {
            "hold": self.hold,
            "disk": self.disk,
            "memory": self.memory.trouble,
            "clock": self.watch.trouble,
            "history": history.trouble if history is not None else "",
            "transactions": self.transactions,
        }
        return {
            "alarms": {name: text for name, text in found.items() if text},
            "advice": ([history.advice] if history is not None and history.advice else []) + self.bloat,
            "resident": self.memory.resident,
            "clock_jumps": self.watch.jumps,
        }


def _owes(asker: Asker, now: float) -> bool:
    """Whether Postgres does not answer one that asks."""
    return asker.is_away or (asker.asked_at is not None and now - asker.asked_at > SILENCE_S)
