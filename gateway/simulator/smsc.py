"""An SMSC on real sockets: as many carriers as the settings name, one port each, on one event loop.

    socket ─► Link.buffer_updated ─► Centre.turn ─► (binds, rare requests: Session) ─► Centre's output ─► socket
                     timer ─► Centre.advance ──────────────────────────────────────────────┘

This is a shell: it reads the clock, owns sockets and the ledger's file, and decides who may bind. What a message meets
is decided in _fastpath/centre.pyx by the settings of behaviour.py; what a session allows, in gateway.smpp.session.

Octets are written to the socket directly while the kernel takes them, so that the ledger knows what left; only when it
does not, one piece goes to the transport, whose resume_writing says when to go on. A link whose output stands above
HIGH_WATER is not read from until it has drained.
"""

import asyncio
import contextlib
import math
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

from msgspec import Struct

from _fastpath.centre import Centre
from _fastpath.faults import LostFraming
from gateway.simulator import behaviour
from gateway.simulator.behaviour import VERSIONS, Carrier, Settings, status_value
from gateway.simulator.ledger import Ledger, Lines
from gateway.smpp import session as smpp
from gateway.smpp import times
from gateway.smpp.pdu import Pdu, Tolerance, salvage
from gateway.smpp.session import Role, Session
from gateway.smpp.timers import Timings

READ_OCTETS = 1 << 18
HIGH_WATER = 1 << 20
PIECE_OCTETS = 1 << 16

_UNBIND = 0x00000006
_SUBMIT_MULTI = 0x00000021
_DATA_SM = 0x00000103
_RESPONSE = 0x80000000
_MODE_BY_BIND = {"bind_transmitter": "tx", "bind_receiver": "rx", "bind_transceiver": "trx"}


class Ticks(Struct, frozen=True):
    """The two clocks of a simulator, in nanoseconds: monotonic from anywhere, wall since 1970."""

    monotonic: Callable[[], int] = time.monotonic_ns
    wall: Callable[[], int] = time.time_ns


class Link(asyncio.BufferedProtocol):
    """One TCP connection of an ESME."""

    def __init__(self, site: "Site"):
        self._site = site
        self._buffer = bytearray(READ_OCTETS)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._transport: asyncio.Transport | None = None
        self._socket = -1
        self._in_transport = 0
        self._reads = True
        self._ends = False
        self._tick: asyncio.TimerHandle | None = None
        self._held: list[bytes] = []
        self.number = 0
        self.account = -1

    # -- what asyncio calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start a session in the SMSC's role."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        # A network without sockets takes its octets from the transport alone.
        raw = transport.get_extra_info("socket")
        if raw is not None:
            self._socket = raw.fileno()
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = self._site.centre.open()
        centre, number = self._site.centre, self.number
        self.session = Session(
            Role.SMSC,
            now=self._site.now_ns() / 1e9,
            system_id=self._site.carrier.system_id,
            version=VERSIONS[self._site.carrier.version],
            timings=self._site.timings,
            next_sequence=lambda: centre.next_sequence(number),
            tolerance=self._site.tolerance,
        )
        self._site.links[number] = self
        self._site.counts["links"] += 1
        self._arm()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Give what is free of the read buffer; it is never full, since one PDU takes a quarter of it at most."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Answer what came."""
        now_ns = self._site.now_ns()
        start, end = 0, self._filled + nbytes
        centre = self._site.centre
        has_taken = False
        try:
            while not self._ends:
                before = start
                start = centre.turn(self.number, self._buffer, start, end, now_ns)
                has_taken = has_taken or start - before > len(centre.other or b"")
                if centre.other is None:
                    break
                self._take(centre.other, now_ns)
        except LostFraming:
            self.session.lose_framing()
            self._site.counts["framing_lost"] += 1
            self._speak()
            self._end()
        if start:
            self._buffer[: end - start] = self._view[start:end]
        self._filled = end - start
        if self._ends:
            self._filled = 0
        # What the session was handed restarts its timers by itself; an enquire_link does not restart all of them.
        if has_taken:
            self.session.touch(now_ns / 1e9)
        if centre.is_cut(self.number):
            self._cut(now_ns)
        self._site.settle(now_ns)

    def eof_received(self) -> bool:
        """Let the transport close: who stops sending gets no more."""
        return False

    def pause_writing(self) -> None:
        """Nothing to do: the transport is given one piece at a time."""

    def resume_writing(self) -> None:
        """The kernel has taken the piece."""
        if self._in_transport:
            now_ns = self._site.now_ns()
            taken, self._in_transport = self._in_transport, 0
            self._site.centre.handed(self.number, taken, now_ns)
            self.flush(now_ns)
            self._site.settle(now_ns)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the link; what it owed goes to others of the account."""
        now_ns = self._site.now_ns()
        self._ends = True
        if self._tick:
            self._tick.cancel()
        self.session.lost()
        self._site.gone(self, now_ns, type(exc).__name__ if exc else "closed")

    # -- in ---------------------------------------------------------------------------------------------------------

    def _take(self, octets: bytes, now_ns: int) -> None:
        """Handle one PDU that the compiled room does not know, or that the link's state does not let it have."""
        command = int.from_bytes(octets[4:8], "big")
        if self._held:
            self._held.append(octets)
            return
        if command == _UNBIND and self.session.is_bound and self._site.centre.unanswered(self.number):
            # What is outstanding is answered first (SMPP 5.0 §2.4); what is never answered is not waited for.
            self._held.append(octets)
            self._site.centre.unbind(self.number)
            asyncio.get_running_loop().call_later(self._site.longest_answer_s, self._release)
            return
        if command in (_DATA_SM, _SUBMIT_MULTI) and self.session.may_receive(
            "data_sm" if command == _DATA_SM else "submit_multi"
        ):
            pdu, fault = salvage(octets, self._site.tolerance)
            # Of lists none is kept here: a submit_multi to lists alone is refused below.
            if fault is None and _destinations(pdu):
                self._accept(pdu, now_ns)
                return
        now = now_ns / 1e9
        for event in self.session.receive(octets, now):
            self._site.counts[type(event).__name__.lower()] += 1
            if isinstance(event, smpp.Request):
                self._answer(event.pdu, now, now_ns)
            elif isinstance(event, smpp.Unbound | smpp.Closed):
                self._end()
        self._speak()

    def _release(self) -> None:
        held, self._held = self._held, []
        if held and not self._ends:
            now_ns = self._site.now_ns()
            for octets in held:
                if not self._ends:
                    # Whatever is unanswered now stays so.
                    for event in self.session.receive(octets, now_ns / 1e9):
                        if isinstance(event, smpp.Unbound | smpp.Closed):
                            self._end()
            self._speak()
            self._site.settle(now_ns)

    def _accept(self, pdu: Pdu, now_ns: int) -> None:
        """Take the message of a data_sm, or of a submit_multi with its many destinations."""
        fields = pdu.fields
        message_id: bytes | None = None
        command = pdu.command_id | _RESPONSE
        destinations = _destinations(pdu)
        for destination in destinations:
            status, given = self._site.centre.accept(
                self.number,
                pdu.sequence_number,
                command,
                _address(fields, "source_addr", "source_addr"),
                _address(destination, "dest_addr", "destination_addr"),
                fields["esm_class"],
                fields["registered_delivery"],
                fields["data_coding"],
                pdu.message,
                now_ns,
                message_id,
            )
            if status:
                return
            message_id, command = given, 0

    def _answer(self, request: Pdu, now: float, now_ns: int) -> None:
        """Answer a request that the session let through."""
        centre = self._site.centre
        command, fields = request.command, request.fields
        if command in _MODE_BY_BIND:
            self._bind(request, now, now_ns)
            return
        if command in ("query_sm", "cancel_sm", "replace_sm"):
            message_id = fields["message_id"].encode("latin-1")
            source = fields["source_addr"].encode("latin-1")
            state = centre.state_of(message_id, now_ns, source)
            if state is None:
                self.session.respond(request, status_value("RINVMSGID"), now=now)
            elif command == "query_sm":
                answer = {
                    "message_id": fields["message_id"],
                    "final_date": _final_date(state[1]) if state[1] else "",
                    "message_state": state[0],
                    "error_code": 0,
                }
                self.session.respond(request, 0, answer, now=now)
            elif command == "cancel_sm":
                done = centre.cancel(message_id, now_ns, source)
                self.session.respond(request, 0 if done else status_value("RCANCELFAIL"), now=now)
            else:
                # Nothing to replace: the message's octets are not kept.
                self.session.respond(request, 0 if state[0] == 1 else status_value("RREPLACEFAIL"), now=now)
            return
        unknown = "RINVDLNAME" if command == "submit_multi" else "RINVCMDID"
        self.session.respond(request, status_value(unknown), now=now)

    def _bind(self, request: Pdu, now: float, now_ns: int) -> None:
        mode = _MODE_BY_BIND[request.command]
        account, status = self._site.admit(request, mode)
        self.session.respond(request, status, now=now)
        self._speak()
        self._site.counts["binds_refused" if status else "binds"] += 1
        if status == 0:
            self.account = account
            self._site.bound(self, account, mode, now_ns)

    # -- out --------------------------------------------------------------------------------------------------------

    def _speak(self) -> None:
        octets = self.session.take_output()
        if octets:
            self._site.centre.write(self.number, octets)

    def flush(self, now_ns: int) -> None:
        """Write what there is; stop reading while the peer does not take it."""
        centre = self._site.centre
        if self._transport is None or self._transport.is_closing():
            return
        view = None if self._in_transport else centre.pending(self.number)
        if view is not None and self._socket < 0:
            view.release()
            self._push(now_ns)
        elif view is not None:
            taken = 0
            try:
                taken = os.write(self._socket, view)
            except BlockingIOError:
                pass
            except OSError:
                view.release()
                self._transport.abort()
                return
            view.release()
            if centre.handed(self.number, taken, now_ns):
                self._push(now_ns)
        left = centre.backlog(self.number)
        if self._ends and not left and not self._in_transport:
            self._transport.close()
        elif self._reads and left > HIGH_WATER:
            self._reads = False
            self._site.counts["stops_reading"] += 1
            self._transport.pause_reading()
        elif not self._reads and left < HIGH_WATER // 4:
            self._reads = True
            self._transport.resume_reading()

    def _push(self, now_ns: int) -> None:
        """Give the transport one piece to wait with."""
        view = self._site.centre.pending(self.number)
        if view is None or self._transport is None:
            return
        piece = bytes(view[:PIECE_OCTETS])
        view.release()
        self._in_transport = len(piece)
        self._transport.write(piece)
        if self._transport.get_write_buffer_size() == 0:
            self._in_transport = 0
            if self._site.centre.handed(self.number, len(piece), now_ns):
                asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self.number in self._site.links:
            now_ns = self._site.now_ns()
            self.flush(now_ns)
            self._site.settle(now_ns)

    def _end(self) -> None:
        """Close the socket as soon as the last octet has left."""
        self._ends = True
        if self.session.is_bound or self.account >= 0:
            self._site.centre.unbind(self.number)

    def _cut(self, now_ns: int) -> None:
        """Break the connection, as the behaviour has decided."""
        if self._site.carrier.drops.answers_first:
            self._site.save(now_ns)
            self.flush(now_ns)
        self._ends = True
        if self._transport:
            self._transport.abort()

    def settled(self) -> None:
        """Hear that all that could be written is written: a held unbind may be due."""
        if self._held and not self._site.centre.unanswered(self.number):
            self._release()

    # -- timers -----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        at = self.session.next_at
        if at is not None and not self._ends:
            wait = max(at - self._site.now_ns() / 1e9, 0.0)
            self._tick = asyncio.get_running_loop().call_later(wait + 0.001, self._ticked)

    def _ticked(self) -> None:
        now_ns = self._site.now_ns()
        for event in self.session.tick(now_ns / 1e9):
            if isinstance(event, smpp.Unbound | smpp.Closed):
                self._site.counts["timed_out"] += 1
                self._end()
        self._speak()
        if self._ends:
            self.flush(now_ns)
        self._site.settle(now_ns)
        self._arm()

    def shut(self) -> None:
        """Drop the connection at once."""
        if self._transport:
            self._transport.abort()


class Site:
    """One carrier: its compiled centre, its port, its links.

    ledger  is given whole lines, each before what it tells of has left
    """

    def __init__(
        self, carrier: Carrier, settings: Settings, ledger: Lines | None, first_id: int, ticks: Ticks | None = None
    ):
        ticks = ticks or Ticks()
        self.carrier = carrier
        self.now_ns = ticks.monotonic
        self.counts: Counter[str] = Counter()
        self.links: dict[int, Link] = {}
        self.port = 0
        self._ledger = ledger
        self._server: asyncio.Server | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settling = False
        self._bound: Counter[int] = Counter()
        self._refusals = [list(map(status_value, account.bind_refusals)) for account in carrier.account]
        self._steps: list[asyncio.TimerHandle] = []
        now_ns = self.now_ns()
        self.centre = Centre(
            now_ns,
            seed=settings.seed ^ hash_name(carrier.name),
            first_id=first_id,
            epoch_ns=ticks.wall() - now_ns + carrier.zone_min * 60_000_000_000,
            **behaviour.centre_arguments(carrier, settings),
        )
        self.centre.note(f"E,{now_ns},{first_id},{quote(carrier.name)}".encode())
        timers = carrier.timers
        self.timings = Timings(
            session_init=timers.session_init_s or None,
            enquire_link=timers.enquire_link_s or None,
            inactivity=timers.inactivity_s or None,
        )
        longest = max((len(account.password or "") for account in carrier.account), default=0)
        self.tolerance = Tolerance(stray_nul=True, password_octets=max(9, longest + 1))
        responses = carrier.responses
        self.longest_answer_s = min((responses.delay_ms + responses.jitter_ms + responses.late_ms) / 1e3 + 0.1, 5.0)

    async def open(self) -> None:
        """Listen. raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), self.carrier.host, self.carrier.port, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]
        for after_s, tps in self.carrier.limit.steps:
            self._steps.append(loop.call_later(after_s, self.set_tps, tps))
        self.settle(self.now_ns())

    def set_tps(self, tps: int) -> None:
        """Give every account this limit from now on."""
        for account in range(len(self.carrier.account)):
            self.centre.set_tps(account, tps, self.carrier.limit.gap_slack)

    async def close(self) -> None:
        """Stop listening, drop the links, write the rest of the ledger."""
        if self._server:
            self._server.close()
        for handle in [*self._steps, *([self._alarm] if self._alarm else [])]:
            handle.cancel()
        self._alarm = None
        for link in list(self.links.values()):
            link.shut()
        while self.links:
            await asyncio.sleep(0)
        self.save(self.now_ns())

    # -- binds ------------------------------------------------------------------------------------------------------

    def admit(self, request: Pdu, mode: str) -> tuple[int, int]:
        """Decide on a bind: (place of the account, command_status)."""
        carrier, fields = self.carrier, request.fields
        if mode == "trx" and carrier.version == "3.3":
            return -1, status_value("RINVCMDID")
        names = [account.system_id for account in carrier.account]
        known = fields["system_id"] in names
        if not known and not carrier.anybody:
            return -1, status_value("RINVSYSID")
        place = names.index(fields["system_id"]) if known else 0
        account = carrier.account[place]
        if known and account.password is not None and account.password != fields["password"]:
            return -1, status_value("RINVPASWD")
        refusals = self._refusals[place]
        if refusals:
            return -1, refusals[0] if account.refuse_always and len(refusals) == 1 else refusals.pop(0)
        if mode not in account.binds:
            return -1, status_value("RBINDFAIL")
        if account.max_binds and self._bound[place] >= account.max_binds:
            return -1, status_value("RALYBND")
        return place, 0

    def bound(self, link: Link, account: int, mode: str, now_ns: int) -> None:
        """Hand the link's messages to the compiled room."""
        self._bound[account] += 1
        name = quote(self.carrier.account[account].system_id)
        self.centre.note(f"B,{now_ns},{link.number},{name},{mode},{link.session.version:#x}".encode())
        self.centre.bind(link.number, account, mode != "rx", mode != "tx", link.session.version, now_ns)

    def gone(self, link: Link, now_ns: int, reason: str) -> None:
        """Forget a link."""
        if self.links.pop(link.number, None) is None:
            return
        if link.account >= 0:
            self._bound[link.account] -= 1
        self.centre.note(f"X,{now_ns},{link.number},{reason}".encode())
        self.centre.close(link.number, now_ns)
        self.settle(now_ns)

    # -- output and time --------------------------------------------------------------------------------------------

    def save(self, now_ns: int, *, must_last: bool = True) -> None:
        """Write the ledger's lines so far."""
        if self._ledger is not None:
            octets = self.centre.take_ledger()
            if octets:
                self._ledger.write(octets, must_last=must_last)

    def settle(self, now_ns: int) -> None:
        """Write the ledger, then what all links have to say, and set the alarm for what is planned."""
        if self._settling:
            return
        self._settling = True
        try:
            while numbers := self.centre.dirty():
                self.save(now_ns)
                for number in numbers:
                    link = self.links.get(number)
                    if link is not None:
                        link.flush(now_ns)
                        link.settled()
        finally:
            self._settling = False
        # The lines about what left: nobody waits for them.
        self.save(now_ns, must_last=False)
        due_ns = self.centre.next_due()
        if due_ns >= 0 and (self._alarm is None or due_ns < self._alarm_ns):
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm_ns = due_ns
            # Loops count milliseconds, and an alarm that is early would be set again at once.
            wait_ms = math.ceil(max(due_ns - now_ns, 0) / 1e6)
            if self._loop is None:
                # Asked once: CPython before 3.12 makes a system call of it.
                self._loop = asyncio.get_running_loop()
            self._alarm = self._loop.call_later(wait_ms / 1e3, self._alarmed)

    def _alarmed(self) -> None:
        self._alarm = None
        now_ns = self.now_ns()
        self.centre.advance(now_ns)
        self.settle(now_ns)

    def totals(self) -> dict[str, Any]:
        """Everything counted so far."""
        waiting, unroutable = self.centre.waiting()
        return {
            "carrier": self.carrier.name,
            "port": self.port,
            **self.centre.totals(),
            "waiting": waiting,
            "waiting_for_receiver": unroutable,
            **{f"session_{name}" if name in _EVENTS else name: n for name, n in sorted(self.counts.items())},
        }


_EVENTS = {"request", "response", "unmatched", "unreadable", "refused", "expired", "bound", "unbound", "closed"}


class Smsc:
    """All carriers of the settings.

    async with Smsc(settings) as smsc:
        smsc.port          of the first carrier
        smsc.ports         by the carriers' names

    raises  ConfigError on settings that are wrong; OSError where a port or the ledger cannot be opened
    """

    def __init__(self, settings: Settings | None = None):
        self.settings = behaviour.checked(settings or Settings())
        self.sites: list[Site] = []
        self._ledgers: list[Ledger] = []
        self._started_cpu_s = 0.0
        self._started = 0.0

    @property
    def port(self) -> int:
        """The port of the first carrier."""
        return self.sites[0].port

    @property
    def ports(self) -> dict[str, int]:
        """The ports by the carriers' names; of two with one name the later."""
        return {site.carrier.name: site.port for site in self.sites}

    async def start(self) -> None:
        """Listen on every port."""
        self._started_cpu_s, self._started = cpu_s(), time.monotonic()
        try:
            for carrier in self.settings.carrier:
                ledger = None
                first_id = carrier.first_id
                if self.settings.ledger is not None:
                    ledger = Ledger(self._ledger_path(carrier), sync=self.settings.ledger_sync)
                    self._ledgers.append(ledger)
                    first_id = first_id or ledger.next_id()
                site = Site(carrier, self.settings, ledger, first_id or 0x10000000)
                self.sites.append(site)
                await site.open()
        except BaseException:
            await self.stop()
            raise

    def _ledger_path(self, carrier: Carrier) -> str:
        """One file a carrier: the name as it stands for one, with the carrier's name in it for several."""
        path = cast(str, self.settings.ledger)
        if len(self.settings.carrier) == 1:
            return path
        stem, suffix = os.path.splitext(path)
        return f"{stem}-{quote(carrier.name, safe='')}{suffix}"

    async def stop(self) -> None:
        """Drop all links and close the files."""
        for site in self.sites:
            await site.close()
        for ledger in self._ledgers:
            ledger.close()
        self._ledgers.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def last_ns(self) -> int:
        """When a message last arrived, monotonic; 0 before the first."""
        return max((site.centre.totals()["last_ns"] for site in self.sites), default=0)

    @property
    def links(self) -> int:
        """Open connections of all carriers."""
        return sum(len(site.links) for site in self.sites)

    def totals(self) -> dict[str, Any]:
        """The sums over all carriers, each carrier's own, and what the process used since the start."""
        carriers = [site.totals() for site in self.sites]
        sums: Counter[str] = Counter()
        for one in carriers:
            for name, value in one.items():
                if isinstance(value, int) and name not in {"port", "last_id", "first_ns", "last_ns"}:
                    sums[name] = max(sums[name], value) if name.startswith("peak_") else sums[name] + value
        span_s = max((one["last_ns"] for one in carriers), default=0) / 1e9
        firsts = [one["first_ns"] for one in carriers if one["first_ns"]]
        span_s -= min(firsts) / 1e9 if firsts else span_s
        used_s = cpu_s() - self._started_cpu_s
        submits = sums["submits"]
        return {
            **sums,
            "wall_s": round(time.monotonic() - self._started, 6),
            "busy_s": round(span_s, 6),
            "rate": round(submits / span_s, 1) if span_s > 0 else 0.0,
            "cpu_s": round(used_s, 6),
            "cpu_us_per_message": round(used_s / submits * 1e6, 4) if submits else 0.0,
            "rss_mb": round(_rss_octets() / 1e6, 1),
            "carriers": carriers,
        }


def cpu_s() -> float:
    """CPU seconds of this process, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def hash_name(name: str) -> int:
    """Tell two carriers with one seed apart: the FNV-1a of the name, which is the same in every process."""
    value = 0xCBF29CE484222325
    for octet in name.encode():
        value = (value ^ octet) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def _rss_octets() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def _final_date(unix_s: int) -> str:
    return times.absolute(datetime.fromtimestamp(unix_s, UTC))


def _address(fields: Any, prefix: str, name: str) -> tuple[int, int, bytes]:
    return fields[f"{prefix}_ton"], fields[f"{prefix}_npi"], fields[name].encode("latin-1")


def _destinations(pdu: Pdu) -> list[Any]:
    """Mappings with the destination's address; lists are left out."""
    if pdu.command == "submit_multi":
        return [entry for entry in pdu.fields["dest_address"] if "destination_addr" in entry]
    return [pdu.fields]
