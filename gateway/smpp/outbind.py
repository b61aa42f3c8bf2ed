"""The door for an SMSC that calls us: outbind, and then a bind of ours on the very connection it made.

    SMSC ── TCP ──► accept ─ peer allowed? ─► outbind in time, name and password right? ─► a bind that waits
    SMSC ◄─ bind_receiver or bind_transceiver ──────────────────────────────────────────────┘

Who is not allowed is hung up on without a word. Who calls while every bind is up waits for one as long as a bind may
take, and is hung up on then.
Names and passwords are compared in constant time. One listener an account; a port that is taken is tried again.
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
from gateway.smpp import session as sessions
from gateway.smpp.link import Link, Listener
from gateway.smpp.session import Event

log = logging.getLogger(__name__)

# Connections that have not said their outbind; more than an account ever needs, fewer than would hurt.
MOST_CALLERS = 32
# Before a port that was taken, or a socket that broke, is tried again.
AGAIN_S = 5.0


class Outbinds:
    """The listener of one account.

    make_link  makes the ESME's end of an accepted connection, which waits for an outbind
    """

    def __init__(self, name: str, settings: CarrierSettings, make_link: Callable[[Listener], Link]):
        self.name = name
        self.last_error = ""
        self.port = 0
        self._settings = settings
        self._make_link = make_link
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
            log.warning("! %s: outbind with a wrong system_id or password", self.name)
            link.abort("outbind refused")
            return
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
        if link in self._callers:
            del self._callers[link]
            with contextlib.suppress(ValueError):  # it had not said its outbind
                self._called.remove(link)
            log.debug("x %s: caller lost: %s", self.name, reason)

    # -- inside -----------------------------------------------------------------------------------------------------

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
            if not self._is_allowed(peer[0]) or len(self._callers) >= MOST_CALLERS:
                why = "too many wait" if len(self._callers) >= MOST_CALLERS else "not in outbind_peers"
                log.warning("! %s: connection of %s not taken: %s", self.name, peer[0], why)
                connection.close()
                continue
            link = self._make_link(self)
            self._callers[link] = None
            try:
                await loop.connect_accepted_socket(lambda link=link: link, connection)  # type: ignore[misc]
            except OSError:  # gone before it was here; the next one is waited for
                self._callers.pop(link, None)


def _same(said: str, wanted: str) -> bool:
    return hmac.compare_digest(said.encode("latin-1", "replace"), wanted.encode("latin-1", "replace"))
