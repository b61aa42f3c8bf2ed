"""Keeps one bind up: connect, bind, and after a loss again, with full jitter.

    down ─► connecting ─► binding ─► bound ─► draining ─► down
      ▲          │            │         │
      └─ back-off ◄───────────┴─────────┘     uniform in (0, first · 2^n), at most the longest; a refusal that asks for
                                              a person (wrong password) waits the longest at once
Not here: what is sent (carrier.py), the session's rules (session.py).
"""

import asyncio
import logging
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from _fastpath.exchange import Exchange
from gateway.config import INTERFACE_VERSION, CarrierSettings
from gateway.smpp import session as sessions
from gateway.smpp import status as statuses
from gateway.smpp.link import Link
from gateway.smpp.pdu import CARRIER, Pdu
from gateway.smpp.session import Event, Role, Session, State
from gateway.smpp.status import Disposition
from gateway.smpp.timers import Timings

log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What a bind may do."""

    TX = "bind_transmitter"
    RX = "bind_receiver"
    TRX = "bind_transceiver"


class Phase(StrEnum):
    """Where a bind stands."""

    DOWN = "down"
    CONNECTING = "connecting"
    BINDING = "binding"
    BOUND = "bound"
    DRAINING = "draining"


class Owner(Protocol):
    """What a bind needs of its carrier."""

    def exchange(self) -> Exchange:
        """Make the compiled half of a new link."""

    def on_request(self, link: Link, pdu: Pdu) -> None:
        """Hear a request of the SMSC that is no receipt of the usual form."""

    def on_change(self) -> None:
        """Hear that a bind came up or went down."""

    def turn(self) -> "asyncio.Lock":
        """Give the lock that lets one bind of an account try at a time."""


class Bind:
    """One bind of a carrier.

    clock   monotonic seconds
    chance  draws the jitter
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        settings: CarrierSettings,
        owner: Owner,
        clock: Callable[[], float],
        chance: random.Random,
    ):
        self.name = name
        self.kind = kind
        self.phase = Phase.DOWN
        self.link: Link | None = None
        self.last_error = ""
        self.bound_at = 0.0
        self.binds = 0
        self._settings = settings
        self._owner = owner
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._needs_person = False
        self._answered: asyncio.Future[int] | None = None
        self._lost = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def is_bound(self) -> bool:
        """Tell whether messages may flow."""
        return self.phase is Phase.BOUND

    def backoff_s(self) -> float:
        """Draw the pause before the next try: full jitter over a doubling span."""
        longest = self._settings.reconnect_longest_s
        if self._needs_person:
            return longest * self._chance.uniform(0.5, 1.0)
        span = min(longest, self._settings.reconnect_first_s * 2 ** min(self._failures - 1, 16))
        return self._chance.uniform(0.0, span)

    async def run(self) -> None:
        """Keep the bind up until `stop`."""
        while not self._stopping.is_set():
            try:
                async with self._owner.turn():
                    if not self._stopping.is_set():
                        await self._connect()
                if self.phase is Phase.BOUND:
                    await self._lost.wait()
            except (OSError, TimeoutError) as error:
                self.last_error = str(error) or type(error).__name__
                if isinstance(error, TimeoutError):
                    self.last_error = f"no answer within {self._settings.connect_timeout_s:g} s"
                self._failures += 1
            finally:
                if self.link is not None and not self.link.is_lost:
                    self.link.abort(self.last_error)
                self._go(Phase.DOWN)
            if self._stopping.is_set():
                break
            self._failures = max(self._failures, 1)
            pause = self.backoff_s()
            log.warning("= %s: %s; again in %.2f s", self.name, self.last_error, pause)
            try:
                await asyncio.wait_for(self._stopping.wait(), pause)
            except TimeoutError:
                pass

    async def stop(self) -> None:
        """Unbind after the last response, or after the time allowed, and stay down."""
        self._stopping.set()
        link = self.link
        if link is None or not self.is_bound:
            self._lost.set()
            return
        self._go(Phase.DRAINING)
        link.exchange.may_submit = False
        deadline = self._clock() + self._settings.response_timeout_s
        while link.exchange.window.in_flight and not link.is_lost and self._clock() < deadline:
            await asyncio.sleep(0.005)
        if not link.is_lost:
            try:
                link.request("unbind")
            except Exception as error:  # the session may be closing already
                log.debug("x %s: unbind: %s", self.name, error)
        try:
            await asyncio.wait_for(self._lost.wait(), self._settings.unbind_timeout_s + 1.0)
        except TimeoutError:
            link.abort("no unbind_resp in time")
            self._lost.set()

    # -- the link calls ---------------------------------------------------------------------------------------------

    def on_event(self, link: Link, event: Event) -> None:
        """Act on what the session reports."""
        if isinstance(event, sessions.Response):
            if event.request.command == self.kind.value and self._answered is not None and not self._answered.done():
                self._answered.set_result(event.pdu.command_status)
        elif isinstance(event, sessions.Bound):
            link.exchange.takes_responses = event.state in (State.BOUND_TX, State.BOUND_TRX)
            link.exchange.takes_deliveries = event.state in (State.BOUND_RX, State.BOUND_TRX)
            link.exchange.may_submit = link.exchange.takes_responses
        elif isinstance(event, sessions.Request):
            self._owner.on_request(link, event.pdu)
        elif isinstance(event, sessions.Unmatched):
            # A generic_nack may name a submit_sm of the compiled window.
            if event.pdu.command == "generic_nack":
                known = link.exchange.answer(event.pdu.sequence_number, event.pdu.command_status, self._clock())
                if not known and event.pdu.sequence_number == 0:
                    link.close("generic_nack with sequence_number 0: the SMSC lost our framing")
        elif isinstance(event, sessions.Closed):
            self.last_error = event.reason
        elif isinstance(event, sessions.Unbound):
            self.last_error = "unbound by the SMSC" if event.by_peer else "unbound"

    def on_lost(self, link: Link, reason: str) -> None:
        """Turn what was in flight into uncertain segments and wake the loop."""
        uncertain = link.exchange.lose(self._clock())
        if link is self.link:
            self.last_error = reason or self.last_error
            if uncertain:
                log.warning("! %s: link lost with %d segments unanswered: %s", self.name, uncertain, reason)
            if self._answered is not None and not self._answered.done():
                self._answered.set_exception(ConnectionError(reason))
            self._lost.set()
            self._go(Phase.DOWN)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _go(self, phase: Phase) -> None:
        if phase is not self.phase:
            log.debug("= %s: %s -> %s", self.name, self.phase.value, phase.value)
            self.phase = phase
            self._owner.on_change()

    def _new_link(self) -> Link:
        settings = self._settings
        exchange = self._owner.exchange()
        session = Session(
            Role.ESME,
            now=self._clock(),
            version=INTERFACE_VERSION[settings.version],
            assume_version=INTERFACE_VERSION.get(settings.assume_version),
            timings=Timings(
                session_init=None,
                enquire_link=settings.enquire_link_s,
                inactivity=settings.inactivity_s or None,
                response=settings.bind_timeout_s,
                unbind=settings.unbind_timeout_s,
            ),
            next_sequence=exchange.window.take_number,
            tolerance=CARRIER,
        )
        return Link(session, exchange, self._clock, self)

    async def _connect(self) -> None:
        settings = self._settings
        self._go(Phase.CONNECTING)
        self._lost.clear()
        self.link = link = self._new_link()
        loop = asyncio.get_running_loop()
        await asyncio.wait_for(
            loop.create_connection(lambda: link, settings.host, settings.port), settings.connect_timeout_s
        )
        self._go(Phase.BINDING)
        self._answered = loop.create_future()
        link.request(self.kind.value, self._credentials())
        try:
            status = await asyncio.wait_for(self._answered, settings.bind_timeout_s)
        finally:
            self._answered = None
        if status != 0:
            self.last_error = f"bind refused: {statuses.name(status)} (0x{status:02x})"
            self._failures += 1
            self._needs_person = statuses.of_bind(status) in (Disposition.CONFIG, Disposition.FAIL)
            link.close(self.last_error)
            return
        self._failures = 0
        self._needs_person = False
        self.last_error = ""
        self.bound_at = self._clock()
        self.binds += 1
        self._go(Phase.BOUND)
        link.pump(self._clock())

    def _credentials(self) -> dict[str, Any]:
        settings = self._settings
        return {
            "system_id": settings.system_id,
            "password": settings.password,
            "system_type": settings.system_type,
            "interface_version": INTERFACE_VERSION[settings.version],
            "addr_ton": 0,
            "addr_npi": 0,
            "address_range": settings.address_range,
        }
