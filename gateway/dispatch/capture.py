"""Answers who asks for the wire: what this worker's binds keep goes to Postgres, and from there to whoever asked.

    capture_request ── NOTIFY ─► rings of the binds ─► tapes ─► capture

One copy of each ring on the loop; the rest, masking above all, beside it.
Not here: what is kept (_fastpath/ring.pyx), what a tape is (smpp/capture.py), files (commands/pcap.py).
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from _fastpath.ring import Kept
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import StoreError
from gateway.smpp import capture
from gateway.smpp.carrier import Carrier
from gateway.store import captures, events, postgres

log = logging.getLogger(__name__)

# A NOTIFY may be lost, and a connection with it.
LOOK_S = 2.0
AGAIN_S = 1.0
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Captures:
    """The door of one worker for those who want to see the wire; it has a connection of its own."""

    def __init__(
        self,
        carriers: Sequence[Carrier],
        clock: Clock,
        connect: Connect,
        deadline_s: float,
        instance: str,
    ):
        self._carriers = carriers
        self._clock = clock
        self._deadline_s = deadline_s
        self._instance = instance
        self._line = Line(connect, self._hang)
        self._bell: events.Bell | None = None
        self.last_error = ""

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            try:
                await self._answer()
            except StoreError as error:
                if not self.last_error:
                    log.warning("! capture: %s", error)
                self.last_error = str(error)
                await self.close()
                await asyncio.sleep(AGAIN_S)

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    async def _hang(self, connection: postgres.Connection) -> None:
        self._bell = events.Bell(connection, captures.CHANNEL)
        async with postgres.deadline(connection, self._deadline_s, "capture"):
            await self._bell.hang()

    async def _answer(self) -> None:
        """Answer until the connection is lost; StoreError."""
        connection = await self._line.opened()
        assert self._bell is not None
        while True:
            async with postgres.deadline(connection, self._deadline_s, "capture"):
                for request in await captures.asked(connection, self._instance, self._clock.wall()):
                    await captures.answer(connection, request, await self._tapes(request), self._instance)
            self.last_error = ""
            await self._bell.wait(LOOK_S)

    async def _tapes(self, request: captures.Request) -> list[captures.Answer]:
        """Take what the binds keep that somebody wants to see."""
        offset_s = (self._clock.wall() - _UNIX_EPOCH).total_seconds() - self._clock.monotonic()
        found = []
        for carrier in self._carriers:
            for bind in carrier.binds if carrier.name == request.carrier else ():
                if bind.ring is None or request.place not in (None, bind.place + 1):
                    continue
                # Both of one moment: what follows runs beside the loop, which writes on.
                kept, connections = bind.ring.slices(), bind.ring.connections()
                octets = await asyncio.to_thread(_packed, bind.name, kept, connections, offset_s, request.redacts)
                found.append(captures.Answer(instance=self._instance, bind=bind.name, octets=octets))
        return found


def _packed(bind: str, kept: list[Kept], connections: dict[int, Any], offset_s: float, redacts: bool) -> bytes:
    return capture.pack(capture.tape_of(bind, kept, connections, offset_s, redacts=redacts))
