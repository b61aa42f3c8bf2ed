"""Keeps one bind up: connect, bind, and after a loss again, with full jitter.

    down ─► connecting ─► binding ─► bound ─► draining ─► down
      ▲          │            │         │         │
      └─ back-off ◄───────────┴─────────┴─────────┘

Back-off is uniform in (0, first · 2^n), at most the longest; n counts attempts that failed and binds that did not last
that span. What else decides the pause:

    another host is well           (0, first): failing over is no back-off
    refused: busy (0x58, 0x14 …)   (0, first · 4) at most
    refused: a person must act     (refused_pause_s / 2, refused_pause_s), with an alarm
    recycled                       none; nor where the SMSC calls, who is the one to be patient

One bind of an account tries at a time (turns.py). A bind that the SMSC makes with an outbind waits for its call.
Draining: what is answered comes in, nothing more leaves; because we stop, or because the session is no good any more.
Not here: what is sent (carrier.py), the session's rules (session.py), which host (hosts.py), TLS (tls.py).
"""

import asyncio
import contextlib
import logging
import random
import ssl
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from _fastpath.exchange import Exchange
from _fastpath.limit import Limit
from _fastpath.ring import Ring
from gateway.config import INTERFACE_VERSION, LONGEST_PASSWORD, CarrierSettings
from gateway.errors import BindRefused, GatewayError, LinkLost, LocalProtocolError, TlsFault
from gateway.logs import Seldom
from gateway.smpp import hosts, tls
from gateway.smpp import session as sessions
from gateway.smpp import status as statuses
from gateway.smpp.hosts import Hosts
from gateway.smpp.link import Link, Listener
from gateway.smpp.outbind import Outbinds
from gateway.smpp.pdu import CARRIER, Pdu
from gateway.smpp.session import Event, Role, Session, State
from gateway.smpp.status import Disposition
from gateway.smpp.timers import Timings
from gateway.smpp.turns import Turns

log = logging.getLogger(__name__)

LONG_PASSWORDS = msgspec.structs.replace(CARRIER, password_octets=LONGEST_PASSWORD + 1)
# Of an SMSC that has no room for the moment: the span doubles twice and no more.
BUSY_SPANS = 4.0
# The loops' timers may ring a millisecond early, and a limit of attempts is hard.
TIMER_S = 0.002


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


# Requests of dispatch's own rooms, which hear what became of them.
ASKED = ("query_sm", "cancel_sm")


class Owner(Protocol):
    """What a bind needs of its carrier."""

    def exchange(self) -> Exchange:
        """Make the compiled half of a new link."""

    def limits_of(self, name: str, host: str) -> tuple[Limit, ...]:
        """Name the limits that a bind hangs under at a host, beside the account's throttle."""

    def on_request(self, link: Link, pdu: Pdu) -> None:
        """Hear a request of the SMSC that is no receipt of the usual form."""

    def on_answer(self, link: Link, event: sessions.Response | sessions.Expired) -> None:
        """Hear the answer to a query_sm or a cancel_sm, or that none came in time."""

    def on_change(self) -> None:
        """Hear that a bind came up or went down."""

    def on_held(self, now: float) -> None:
        """Hear that messages may be waiting for a moment, which no answer of the SMSC will announce."""

    def pump(self) -> None:
        """Let every bind with room send."""

    def turn(self) -> "asyncio.Lock":
        """Give the lock that lets one bind of an account try at a time."""

    @property
    def turns(self) -> Turns:
        """When the account may try."""

    @property
    def hosts(self) -> Hosts:
        """The account's hosts and how well they are."""

    @property
    def is_any_bound(self) -> bool:
        """Tell whether a bind of the account, of whatever kind, is up."""


def new_link(
    settings: CarrierSettings,
    exchange: Exchange,
    clock: Callable[[], float],
    listener: Listener,
    *,
    awaits_outbind: bool = False,
) -> Link:
    """Make our end of a connection, with the timers that the settings ask for."""
    # An SMSC hangs up on the idle: half its patience leaves room for a ping that is lost (3.4 §2.9).
    enquire_link_s = min(settings.enquire_link_s, settings.idle_timeout_s / 2 or settings.enquire_link_s)
    session = Session(
        Role.ESME,
        now=clock(),
        version=INTERFACE_VERSION[settings.version],
        assume_version=INTERFACE_VERSION.get(settings.assume_version),
        timings=Timings(
            session_init=settings.bind_timeout_s if awaits_outbind else None,
            enquire_link=enquire_link_s,
            inactivity=settings.inactivity_s or None,
            # The answer to the bind has a limit of its own, which says so better.
            response=max(settings.response_timeout_s, settings.bind_timeout_s + 1.0),
            enquire_link_response=min(10.0, enquire_link_s),
            unbind=settings.unbind_timeout_s,
        ),
        next_sequence=exchange.window.take_number,
        tolerance=LONG_PASSWORDS if settings.long_password else CARRIER,
        awaits_outbind=awaits_outbind,
    )
    return Link(
        session,
        exchange,
        clock,
        listener,
        grace_s=settings.unbind_timeout_s,
        # An SMSC that takes no octets for so long has not answered them either.
        user_timeout_s=max(20.0, settings.response_timeout_s),
        allowance=settings.recycle_after,
        most_unreadable=settings.unreadable_most,
    )


class Bind:
    """One bind of a carrier.

    clock     monotonic seconds
    chance    draws the jitter
    place     of the bind, or of its pair, in the account, from 0: decides where it begins to look for a host
    outbinds  where the SMSC calls; None: we call
    """

    def __init__(
        self,
        name: str,
        kind: Kind,
        settings: CarrierSettings,
        owner: Owner,
        clock: Callable[[], float],
        chance: random.Random,
        place: int = 0,
        outbinds: Outbinds | None = None,
    ):
        self.name = name
        self.kind = kind
        self.phase = Phase.DOWN
        self.link: Link | None = None
        self.last_error = ""
        self.alarm = ""
        self.address = settings.addresses[0]
        self.bound_at = 0.0
        self.binds = 0
        # Outlives the connections: what was said before the last loss is what one wants to see.
        self.ring = Ring(settings.pcap_octets) if settings.pcap_octets else None
        self._settings = settings
        self._owner = owner
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._tells = Seldom()
        self.place = place
        self._outbinds = outbinds
        self._called: Link | None = None
        self._refusals = statuses.overrides(settings.statuses) | statuses.refusals(settings.bind_statuses)
        self._refusal: Disposition | None = None
        self._needs_person = False
        self._is_recycled = False
        self._is_held = False
        self._answered: asyncio.Future[int] | None = None
        self._lost = asyncio.Event()
        self._stopping = asyncio.Event()
        self._is_draining = False

    @property
    def is_bound(self) -> bool:
        """Tell whether messages may flow."""
        return self.phase is Phase.BOUND

    @property
    def host(self) -> str:
        """Where it is bound, or was tried last: host:port; what the limits of a host hang on."""
        return hosts.text_of(self.address)

    def span_s(self) -> float:
        """The longest pause that the failures so far have earned."""
        return min(
            self._settings.reconnect_longest_s,
            self._settings.reconnect_first_s * 2.0 ** min(max(self._failures - 1, 0), 16),
        )

    def backoff_s(self) -> float:
        """Draw the pause before the next try: full jitter over a doubling span, but for what the head names."""
        span_s = self.span_s()
        if self._is_recycled or (self._outbinds is not None and self._refusal is not Disposition.CONFIG):
            return 0.0
        if self._refusal is Disposition.CONFIG or (self._needs_person and not self._fails_over()):
            return self._settings.refused_pause_s * self._chance.uniform(0.5, 1.0)
        if self._fails_over():
            span_s = self._settings.reconnect_first_s
        elif self._refusal is Disposition.RETRY:
            span_s = min(span_s, self._settings.reconnect_first_s * BUSY_SPANS)
        return self._chance.uniform(0.0, span_s)

    def _fails_over(self) -> bool:
        """Tell whether the next try goes to another host, which is well."""
        if self._outbinds is not None:
            return False
        now = self._clock()
        following = self._owner.hosts.choose(self.place, now)
        return following != self.address and self._owner.hosts.is_well(following, now)

    async def run(self) -> None:
        """Keep the bind up until `stop`."""
        owner = self._owner
        while await self._is_wanted():
            async with owner.turn():
                if wait_s := owner.turns.wait_s(self._clock()):
                    await self._pause(wait_s + TIMER_S)
                if not self._stopping.is_set():
                    owner.turns.tried(self._clock())
                    self._is_recycled = False
                    if not await self._try():
                        self._failures += 1
                        owner.turns.troubled()
                        if self._refusal is Disposition.CONFIG and not owner.is_any_bound:
                            owner.turns.shut(self._clock() + self._settings.refused_pause_s / 2)
            if self.link is not None and self.phase in (Phase.BOUND, Phase.DRAINING):
                await self._lost.wait()
                self._judge_the_end()
                self._tells = Seldom()  # that it was lost is always said
            if self._stopping.is_set():
                break
            pause_s = self.backoff_s()
            level = logging.INFO if self._is_recycled else logging.WARNING
            if not (times := self._tells.passes(self._clock())):
                level = logging.DEBUG
            times_said = f" ({times} times)" if times > 1 else ""
            log.log(
                level, "= %s at %s: %s%s; again in %.2f s", self.name, self.host, self.last_error, times_said, pause_s
            )
            await self._pause(pause_s)

    def _judge_the_end(self) -> None:
        """Count a bind that is over: as a failure of the host where it did not last."""
        if self._is_recycled:
            return
        self._owner.turns.troubled()
        if self._clock() - self.bound_at >= self.span_s():
            self._failures = 1
            self._owner.hosts.stood(self.address)
        else:
            self._failures += 1
            self._owner.hosts.failed(self.address, self._clock())

    async def _is_wanted(self) -> bool:
        """Wait for the call of the SMSC, where it is the one who connects; -> False when we are to stop."""
        if self._outbinds is None or self._stopping.is_set():
            return not self._stopping.is_set()
        call = asyncio.create_task(self._outbinds.call())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((call, stopping), return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                self._called = call.result()
                if self._stopping.is_set():
                    self._called.abort("stopped")
            return not self._stopping.is_set()
        finally:
            call.cancel()
            stopping.cancel()

    def hold(self, is_held: bool) -> None:
        """Begin nothing new until told otherwise; messages that are begun are finished."""
        self._is_held = is_held
        if self.link is not None:
            self.link.exchange.draining = self._is_draining or is_held

    def recycle(self, reason: str) -> None:
        """Drain, unbind, and bind again at once: nothing is lost, and nothing comes into doubt that is answered."""
        if self.is_bound and self.link is not None:
            self._is_recycled = True
            log.info("= %s at %s: recycled: %s", self.name, self.host, reason)
            self.link.recycle(reason, self._settings.response_timeout_s)

    def drain(self) -> None:
        """Begin nothing new: finish messages that are begun, try again what waits for it."""
        self._is_draining = True
        if self.link is not None:
            self.link.exchange.draining = True

    def revive(self) -> None:
        """Forget `drain` and `stop`: `run` is begun anew."""
        self._is_draining = False
        self._stopping.clear()
        self._failures = 0

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
            elif event.request.command in ASKED:
                self._owner.on_answer(link, event)
        elif isinstance(event, sessions.Expired):
            if event.request.command in ASKED:
                self._owner.on_answer(link, event)
        elif isinstance(event, sessions.Bound):
            link.exchange.takes_responses = event.state in (State.BOUND_TX, State.BOUND_TRX)
            link.exchange.takes_deliveries = event.state in (State.BOUND_RX, State.BOUND_TRX)
            link.exchange.may_submit = link.exchange.takes_responses and not self._lacks_tlvs(link)
            link.exchange.hang_under(self._owner.limits_of(self.name, self.host))
            link.exchange.draining = self._is_draining or self._is_held
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
                self._answered.set_exception(self._cause(link, reason))
            self._lost.set()
            self._go(Phase.DOWN)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _go(self, phase: Phase) -> None:
        if phase is not self.phase:
            log.debug("= %s: %s -> %s", self.name, self.phase.value, phase.value)
            self.phase = phase
            self._owner.on_change()

    async def _pause(self, seconds: float) -> None:
        """Wait, or until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _try(self) -> bool:
        """Make one attempt; -> whether it is bound. Why not is in `last_error`, and no connection is left."""
        is_up = False
        self._refusal = None
        self._needs_person = False
        try:
            is_up = await self._connect()
        except (OSError, GatewayError, ValueError) as error:  # ValueError: a host name that no resolver takes
            self._failed(error)
        finally:
            if not is_up:
                if self.link is not None:
                    self.link.abort(self.last_error)
                self._go(Phase.DOWN)
        return is_up

    def _failed(self, error: Exception) -> None:
        """Note why an attempt failed, who is to answer for it, and whether a person must know."""
        self.last_error = str(error) or type(error).__name__
        if isinstance(error, TlsFault):
            self._needs_person = error.needs_person
        # What the SMSC says of the account is no fault of the host that says it.
        if self._refusal in (None, Disposition.RETRY):
            self._owner.hosts.failed(self.address, self._clock())
        if self._needs_person and self.alarm != self.last_error:
            self.alarm = self.last_error
            log.error("! %s at %s: alarm: %s", self.name, self.host, self.alarm)

    def _cause(self, link: Link, reason: str) -> Exception:
        """Say why a link was lost, with what a person can do where TLS was the reason."""
        if isinstance(link.fault, ssl.SSLError):
            return tls.explain(link.fault, self._settings, self.address[0])
        return LinkLost(reason)

    async def _open(self) -> Link:
        """Connect to the host that is next, or take the connection that the SMSC made; -> the link, up."""
        settings = self._settings
        if self._outbinds is not None:
            link, self._called = self._called, None
            if link is None or not link.is_connected:
                raise LinkLost("the SMSC hung up behind its outbind")
            self.link = link
            self.address = link.peer or self.address
            link.hand_to(self)
            link.keep_in(self.ring)
            return link
        host, port = self.address = self._owner.hosts.choose(self.place, self._clock())
        context = tls.context_of(settings) if settings.tls else None
        self.link = link = new_link(settings, self._owner.exchange(), self._clock, self)
        link.keep_in(self.ring)
        secured: dict[str, Any] = {}
        if context is not None:
            secured = {
                "ssl": context,
                "server_hostname": tls.server_name(settings, host),
                "ssl_handshake_timeout": settings.connect_timeout_s,
                # A peer that does not say goodbye in TLS would else hold the connection for 30 s.
                "ssl_shutdown_timeout": settings.unbind_timeout_s,
            }
        try:
            async with asyncio.timeout(settings.connect_timeout_s) as limit:
                await asyncio.get_running_loop().create_connection(lambda: link, host, port, **secured)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise LinkLost(f"no connection within {settings.connect_timeout_s:g} s") from error
        except (ssl.SSLError, ConnectionResetError, ConnectionAbortedError) as error:
            if context is None:
                raise
            raise tls.explain(error, settings, host) from error
        if not link.is_connected:
            raise self._cause(link, link.reason)
        return link

    async def _connect(self) -> bool:
        settings = self._settings
        self._go(Phase.CONNECTING)
        self._lost.clear()
        link = await self._open()
        self._go(Phase.BINDING)
        self._answered = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(settings.bind_timeout_s):
                link.request(self.kind.value, self._credentials())
                status = await self._answered
        except TimeoutError as error:
            raise LinkLost(f"no answer to {self.kind.value} within {settings.bind_timeout_s:g} s") from error
        finally:
            self._answered = None
        if status != 0:
            self._refusal = statuses.of_refusal(status, self._refusals)
            self._needs_person = self._refusal is Disposition.CONFIG
            raise BindRefused(settings.system_id, status, statuses.name(status))
        if not link.session.is_bound:
            raise LinkLost(link.reason or "the session ended with the answer to the bind")
        if self.kind is not Kind.RX and self._lacks_tlvs(link):
            self._refusal = Disposition.CONFIG
            self._needs_person = True
            raise LinkLost(
                f"{settings.needs_tlvs} needs TLVs, and the SMSC names no version that has them: "
                'do without, or say assume_version = "3.4"'
            )
        self.last_error = ""
        self.alarm = ""
        self.bound_at = self._clock()
        self.binds += 1
        self._go(Phase.BOUND)
        self._owner.pump()
        return True

    def _lacks_tlvs(self, link: Link) -> bool:
        """Tell whether messages carry TLVs that this peer is not known to read: parts would reach it unjoined."""
        return bool(self._settings.needs_tlvs) and not link.session.sends_tlvs

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
