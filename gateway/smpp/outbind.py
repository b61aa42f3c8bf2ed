"""The door for an SMSC that calls us: outbind, and then a bind of ours on the very connection it made.

    SMSC ── TCP ──► accept ─ peer allowed? ─► outbind in time, name and password right? ─► a bind that waits
    SMSC ◄─ bind_receiver or bind_transceiver ──────────────────────────────────────────────┘

Who is not allowed is hung up on without a word. Who calls while every bind is up waits for one as long as a bind may
take, and is hung up on then.
Names and passwords are compared in constant time; a network that fails them again and again is hung up on, for longer
each time (attempts.py), and a person is told. Before its outbind is right a caller may send PDUs of 1 KiB, no more.
One listener an account; a port that is taken is tried again.
Not here: binding and everything behind it (bind.py), the session's rules (session.py).
"""

import asyncio
import contextlib
import hmac
import ipaddress
import logging
import socket
from collections import deque
from collections.abc import Callable

from gateway.config import CarrierSettings
from gateway.logs import Seldom
from gateway.smpp import session as sessions
from gateway.smpp.attempts import ALARM_AT, Attempts, network_of
from gateway.smpp.link import Link, Listener
from gateway.smpp.session import Event

log = logging.getLogger(__name__)

# Connections that have not said their outbind; more than an account ever needs, fewer than would hurt.
MOST_CALLERS = 32
# Octets of a PDU of somebody who has not said his outbind; an outbind has 60.
STRANGER_OCTETS = 1024
# Before a port that was taken, or a socket that broke, is tried again.
AGAIN_S = 5.0


class Outbinds:
    """The listener of one account.

    make_link  makes the ESME's end of an accepted connection, which waits for an outbind
    clock      monotonic seconds
    """

    def __init__(
        self,
        name: str,
        settings: CarrierSettings,
        make_link: Callable[[Listener], Link],
        clock: Callable[[], float],
    ):
        self.name = name
        self.last_error = ""
        self.port = 0
        self._settings = settings
        self._make_link = make_link
        self._clock = clock
        self._attempts = Attempts()
        self._tells = Seldom()
        self._cap_by_link: dict[Link, int] = {}
        self._callers: dict[Link, None] = {}
        self._called: deque[Link] = deque()
        self._waiting: deque[asyncio.Future[Link]] = deque()
        self._networks = [ipaddress.ip_network(peer, strict=False) for peer in settings.outbind_peers]

    async def call(self) -> Link:
        """Wait for the next SMSC that has said a right outbind; the link is the caller's then."""
        if self._called:
            link = self._called.popleft()
            del self._callers[link]
            return link
        waiting: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            return await waiting
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)

    async def serve(self) -> None:
        """Listen until cancelled."""
        host, port = self._settings.outbind_address
        while True:
            try:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                with socket.create_server((host, port), family=family) as listening:
                    listening.setblocking(False)
                    self.port = listening.getsockname()[1]
                    self.last_error = ""
                    await self._accept(listening)
            except OSError as error:
                self.last_error = f"outbind_listen {self._settings.outbind_listen}: {error.strerror or error}"
                log.warning("! %s: %s; again in %g s", self.name, self.last_error, AGAIN_S)
            await asyncio.sleep(AGAIN_S)

    def tick(self, now: float) -> None:
        """Let the timers of those run who have not said their outbind."""
        for link in list(self._callers):
            link.tick(now)

    def abort(self) -> None:
        """Hang up on everybody who has no bind."""
        for link in list(self._callers):
            link.abort("stopped")

    # -- the links call ---------------------------------------------------------------------------------------------

    def on_event(self, link: Link, event: Event) -> None:
        """Judge an outbind."""
        if not isinstance(event, sessions.Request) or event.pdu.command != "outbind":
            return
        settings = self._settings
        named = _same(event.pdu.fields["system_id"], settings.outbind_system_id) or not settings.outbind_system_id
        if not _same(event.pdu.fields["password"], settings.outbind_password) or not named:
            self._refuse(link)
            return
        if link.peer is not None:
            self._attempts.succeeded(network_of(link.peer[0]))
        link.exchange.cap = self._cap_by_link.pop(link)
        self.last_error = ""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                del self._callers[link]
                waiting.set_result(link)
                return
        # Its session gives it up when no bind follows in time.
        self._called.append(link)

    def on_held(self, now: float) -> None:
        """Hear nothing: who is not bound submits nothing."""

    def on_retiring(self, link: Link) -> None:
        """Hear nothing: who is not bound submits nothing."""

    def on_lost(self, link: Link, reason: str) -> None:
        """Forget one."""
        self._cap_by_link.pop(link, None)
        if link in self._callers:
            del self._callers[link]
            with contextlib.suppress(ValueError):  # it had not said its outbind
                self._called.remove(link)
            log.debug("x %s: caller lost: %s", self.name, reason)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _refuse(self, link: Link) -> None:
        """Hang up on a wrong name or password, and remember who it was. What was said is told to nobody."""
        network = network_of(link.peer[0]) if link.peer is not None else "?"
        count = self._attempts.failed(network, self._clock())
        log.warning("! %s: outbind of %s with a wrong system_id or password, %d so far", self.name, network, count)
        if count >= ALARM_AT:
            self.last_error = f"outbind_listen: {count} outbinds of {network} with a wrong system_id or password"
        link.abort("outbind refused")

    def _why_not(self, address: str) -> str:
        """Say why this peer is hung up on; "" when he is heard."""
        if not self._is_allowed(address):
            return "not in outbind_peers"
        if len(self._callers) >= MOST_CALLERS:
            return "too many wait"
        if self._attempts.wait_s(network_of(address), self._clock()) > 0.0:
            return "too many wrong passwords"
        return ""

    def _is_allowed(self, address: str) -> bool:
        if not self._networks:
            return True
        peer = ipaddress.ip_address(address.partition("%")[0])
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer in network for network in self._networks)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, peer = await loop.sock_accept(listening)
            if why := self._why_not(peer[0]):
                if times := self._tells.passes(self._clock()):
                    said = f" ({times} connections)" if times > 1 else ""
                    log.warning("! %s: connection of %s not taken: %s%s", self.name, peer[0], why, said)
                connection.close()
                continue
            link = self._make_link(self)
            self._callers[link] = None
            self._cap_by_link[link] = link.exchange.cap
            link.exchange.cap = STRANGER_OCTETS
            try:
                await loop.connect_accepted_socket(lambda link=link: link, connection)  # type: ignore[misc]
            except OSError:  # gone before it was here; the next one is waited for
                self._callers.pop(link, None)
                self._cap_by_link.pop(link, None)


def _same(said: str, wanted: str) -> bool:
    return hmac.compare_digest(said.encode("latin-1", "replace"), wanted.encode("latin-1", "replace"))
