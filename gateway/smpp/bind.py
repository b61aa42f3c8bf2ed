"""Keeps one bind up: connect, bind, and after a loss again, with full jitter.

    down ─► connecting ─► binding ─► bound ─► draining ─► down
      ▲          │            │         │         │
      └─ back-off ◄───────────┴─────────┴─────────┘

Back-off is uniform in (0, first · 2^n), at most the longest; n counts attempts that failed and binds that did not last
that span. A refusal that asks for a person (wrong password) waits half the longest to the longest at once.
One bind of an account tries at a time, and after a failure none of them tries for `first`: accounts get locked out.
Draining: what is answered comes in, nothing more leaves; because we stop, or because the session is no good any more.
Not here: what is sent (carrier.py), the session's rules (session.py).
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

from _fastpath.exchange import Exchange
from gateway.config import INTERFACE_VERSION, CarrierSettings
from gateway.errors import BindRefused, GatewayError, LinkLost, LocalProtocolError
from gateway.smpp import session as sessions
from gateway.smpp import status as statuses
from gateway.smpp.link import Link
from gateway.smpp.pdu import CARRIER, Pdu
from gateway.smpp.session import Event, Role, Session, State
from gateway.smpp.status import Disposition
from gateway.smpp.timers import Timings

log = logging.getLogger(__name__)

NEEDS_TLVS = ("sar", "payload")


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

    def on_held(self, now: float) -> None:
        """Hear that messages may be waiting for a moment, which no answer of the SMSC will announce."""

    def pump(self) -> None:
        """Let every bind with room send."""

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
        self._overrides = statuses.overrides(settings.statuses)
        self._owner = owner
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._needs_person = False
        self._answered: asyncio.Future[int] | None = None
        self._lost = asyncio.Event()
        self._stopping = asyncio.Event()
        self._is_draining = False

    @property
    def is_bound(self) -> bool:
        """Tell whether messages may flow."""
        return self.phase is Phase.BOUND

    def span_s(self) -> float:
        """The longest pause that the failures so far have earned."""
        return min(
            self._settings.reconnect_longest_s,
            self._settings.reconnect_first_s * 2.0 ** min(max(self._failures - 1, 0), 16),
        )

    def backoff_s(self) -> float:
        """Draw the pause before the next try: full jitter over a doubling span."""
        if self._needs_person:
            return self._settings.reconnect_longest_s * self._chance.uniform(0.5, 1.0)
        return self._chance.uniform(0.0, self.span_s())

    async def run(self) -> None:
        """Keep the bind up until `stop`."""
        while not self._stopping.is_set():
            async with self._owner.turn():
                if not self._stopping.is_set() and not await self._try():
                    self._failures += 1
                    await self._pause(self._settings.reconnect_first_s)
            if self.link is not None and self.phase in (Phase.BOUND, Phase.DRAINING):
                await self._lost.wait()
                stood_s = self._clock() - self.bound_at
                self._failures = 1 if stood_s >= self.span_s() else self._failures + 1
            if self._stopping.is_set():
                break
            pause_s = self.backoff_s()
            log.warning("= %s: %s; again in %.2f s", self.name, self.last_error, pause_s)
            await self._pause(pause_s)

    def drain(self) -> None:
        """Begin nothing new: finish messages that are begun, try again what waits for it."""
        self._is_draining = True
        if self.link is not None:
            self.link.exchange.draining = True

    async def stop(self) -> None:
        """Unbind and stay down: `drain` first, and wait for what is unanswered. No attempt on its way is waited for."""
        self._stopping.set()
        link = self.link
        if link is None or not link.is_connected or self.phase not in (Phase.BOUND, Phase.DRAINING):
            return
        self._go(Phase.DRAINING)
        with contextlib.suppress(LocalProtocolError):  # one of the two sides has begun to unbind already
            link.request("unbind")
        try:
            async with asyncio.timeout(self._settings.unbind_timeout_s):
                await self._lost.wait()
        except TimeoutError:
            link.abort("no unbind_resp in time")
            await self._lost.wait()

    # -- the link calls ---------------------------------------------------------------------------------------------

    def on_event(self, link: Link, event: Event) -> None:
        """Act on what the session reports."""
        if isinstance(event, sessions.Response):
            if event.request.command == self.kind.value and self._answered is not None and not self._answered.done():
                self._answered.set_result(event.pdu.command_status)
        elif isinstance(event, sessions.Bound):
            link.exchange.takes_responses = event.state in (State.BOUND_TX, State.BOUND_TRX)
            link.exchange.takes_deliveries = event.state in (State.BOUND_RX, State.BOUND_TRX)
            link.exchange.may_submit = link.exchange.takes_responses and not self._lacks_tlvs(link)
            link.exchange.draining = self._is_draining
        elif isinstance(event, sessions.Request):
            self._owner.on_request(link, event.pdu)
        elif isinstance(event, sessions.Unmatched):
            # A generic_nack may name a submit_sm of the compiled window.
            if event.pdu.command == "generic_nack":
                known = link.exchange.answer(event.pdu.sequence_number, event.pdu.command_status, self._clock())
                if not known and event.pdu.sequence_number == 0:
                    link.retire("generic_nack with sequence_number 0: the SMSC lost our framing")
        elif isinstance(event, sessions.Closed):
            self.last_error = event.reason
        elif isinstance(event, sessions.Unbound):
            self.last_error = "unbound by the SMSC" if event.by_peer else "unbound"

    def on_held(self, now: float) -> None:
        """Pass on."""
        self._owner.on_held(now)

    def on_retiring(self, link: Link) -> None:
        """Be no bind to send on any more."""
        if link is self.link and self.phase is Phase.BOUND:
            self._go(Phase.DRAINING)

    def on_lost(self, link: Link, reason: str) -> None:
        """Turn what was in flight into uncertain segments and wake the loop."""
        uncertain = link.exchange.lose(self._clock())
        if link is self.link:
            self.last_error = reason or self.last_error
            if uncertain:
                log.warning("! %s: link lost with %d segments unanswered: %s", self.name, uncertain, reason)
            if self._answered is not None and not self._answered.done():
                self._answered.set_exception(LinkLost(reason))
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
                # The answer to the bind has a limit of its own, which says so better.
                response=max(settings.response_timeout_s, settings.bind_timeout_s + 1.0),
                enquire_link_response=min(10.0, settings.enquire_link_s),
                unbind=settings.unbind_timeout_s,
            ),
            next_sequence=exchange.window.take_number,
            tolerance=CARRIER,
        )
        return Link(
            session,
            exchange,
            self._clock,
            self,
            grace_s=settings.unbind_timeout_s,
            # An SMSC that takes no octets for so long has not answered them either.
            user_timeout_s=max(20.0, settings.response_timeout_s),
        )

    async def _pause(self, seconds: float) -> None:
        """Wait, or until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _try(self) -> bool:
        """Make one attempt; -> whether it is bound. Why not is in `last_error`, and no connection is left."""
        is_up = False
        try:
            is_up = await self._connect()
        except (OSError, GatewayError, ValueError) as error:  # ValueError: a host name that no resolver takes
            self.last_error = str(error) or type(error).__name__
        finally:
            if not is_up:
                if self.link is not None:
                    self.link.abort(self.last_error)
                self._go(Phase.DOWN)
        return is_up

    async def _connect(self) -> bool:
        settings = self._settings
        self._go(Phase.CONNECTING)
        self._lost.clear()
        self.link = link = self._new_link()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(settings.connect_timeout_s) as limit:
                await loop.create_connection(lambda: link, settings.host, settings.port)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise LinkLost(f"no connection within {settings.connect_timeout_s:g} s") from error
        if not link.is_connected:
            raise LinkLost(link.reason)
        self._go(Phase.BINDING)
        self._answered = loop.create_future()
        try:
            async with asyncio.timeout(settings.bind_timeout_s):
                link.request(self.kind.value, self._credentials())
                status = await self._answered
        except TimeoutError as error:
            raise LinkLost(f"no answer to {self.kind.value} within {settings.bind_timeout_s:g} s") from error
        finally:
            self._answered = None
        self._needs_person = statuses.of_bind(status, self._overrides) in (Disposition.CONFIG, Disposition.FAIL)
        if status != 0:
            raise BindRefused(settings.system_id, status, statuses.name(status))
        if not link.session.is_bound:
            raise LinkLost(link.reason or "the session ended with the answer to the bind")
        if self.kind is not Kind.RX and self._lacks_tlvs(link):
            self._needs_person = True
            raise LinkLost(
                f"concatenation {settings.concatenation!r} needs TLVs, and the SMSC names no version that has them: "
                'choose udh16, or say assume_version = "3.4"'
            )
        self.last_error = ""
        self.bound_at = self._clock()
        self.binds += 1
        self._go(Phase.BOUND)
        self._owner.pump()
        return True

    def _lacks_tlvs(self, link: Link) -> bool:
        """Tell whether long texts would reach this peer without what joins them: it is not known to read TLVs."""
        return self._settings.concatenation in NEEDS_TLVS and not link.session.sends_tlvs

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
