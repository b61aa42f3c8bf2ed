"""Asks the SMSC, by cancel_sm, to take messages back that it has not delivered yet (EX-3).

    asked for (store/unsends.py) ─► taken by one worker ─► its parts without an end ─► cancel_sm each, over any bind
        ─► all of them answered with 0: taken back ─ else: not, with the first status ─ no part: nothing to ask for

Best effort: what is delivered meanwhile is refused, and nothing is counted as prevented for it. What the message came
to is said by its receipt, where the SMSC tells one. Each request spends the account's throttle. Where a link or a
worker is lost, it is begun with anew after a minute; a part that was taken back already is refused then, at most.
Not here: whose messages (automation/excepting.py, commands/cancel.py).
"""

import asyncio
import logging
from collections import deque
from datetime import timedelta

from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import EncodeError, LocalProtocolError, StoreError
from gateway.routing import address_of
from gateway.smpp.bind import Kind
from gateway.smpp.carrier import Carrier
from gateway.smpp.link import Link
from gateway.smpp.session import Expired, Response
from gateway.store import postgres, unsends
from gateway.store.queue import Unheard
from gateway.store.unsends import End, Message

log = logging.getLogger(__name__)

STEP_S = 1.0
A_STEP = 50
AGAIN = timedelta(minutes=1)
FORGET_S = 3600.0


class Unsending:
    """The loop of one lane on this worker."""

    def __init__(self, carrier: Carrier, clock: Clock, connect: Connect, deadline_s: float):
        self._carrier = carrier
        self._clock = clock
        self._deadline_s = deadline_s
        self._line = Line(connect)
        self._lot: deque[Unheard] = deque()
        self._in_flight: dict[tuple[Link, int], Unheard] = {}
        # Of messages that are under way: how many parts have no answer yet, and the first status that is not 0.
        self._left: dict[Message, int] = {}
        self._faults: dict[Message, int] = {}
        self._ends: list[End] = []
        self._forget_at = 0.0
        self.last_error = ""
        self.asked = 0
        carrier.hears_cancel = self.on_answer

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.step()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! lane %d: nothing is taken back: %s", self._carrier.lane, error)
                self.last_error = str(error)
                await self._line.mend(error)
            await asyncio.sleep(STEP_S)

    async def step(self) -> None:
        """Write what was answered, and ask for the next few."""
        for lost in [asked for asked in self._in_flight if asked[0].is_lost]:
            self._give_up(_message_of(self._in_flight.pop(lost)))
        connection, lane, now = await self._line.opened(), self._carrier.lane, self._clock.wall()
        async with postgres.deadline(connection, self._deadline_s, f"messages of lane {lane} to be taken back"):
            ends = list(self._ends)
            await unsends.end(connection, lane, ends, now)
            del self._ends[: len(ends)]
            if self._clock.monotonic() >= self._forget_at:
                await unsends.forget(connection, lane, now - unsends.LIVES)
                self._forget_at = self._clock.monotonic() + FORGET_S
            if not self._lot and self._link() is not None:
                some = [one for one in await unsends.take(connection, lane, now, now - AGAIN, A_STEP)]
                some = [one for one in some if one not in self._left]
                found = await unsends.parts(connection, lane, some, now - unsends.LIVES) if some else []
                for part in found:
                    self._left[_message_of(part)] = self._left.get(_message_of(part), 0) + 1
                nothing = [one for one in some if one not in self._left]
                self._ends += [End(one, unsends.NOT_TAKEN_BACK, unsends.NOTHING) for one in nothing]
                self._lot.extend(found)
        while self._lot and (link := self._link()) is not None:
            if not self._carrier.throttle.allowance(self._clock.monotonic()) or not self._ask(link, self._lot[0]):
                break
            self._lot.popleft()

    def on_answer(self, link: Link, event: Response | Expired) -> None:
        """Take what the SMSC says; it is written in the next step."""
        part = self._in_flight.pop((link, event.request.sequence_number), None)
        if part is not None:
            self._answered(part, event.pdu.command_status if isinstance(event, Response) else unsends.NO_ANSWER)

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    # -- inside -----------------------------------------------------------------------------------------------------

    def _answered(self, part: Unheard, status: int) -> None:
        message = _message_of(part)
        if message not in self._left:
            return
        if status:
            self._faults.setdefault(message, status)
        self._left[message] -= 1
        if not self._left[message]:
            del self._left[message]
            fault = self._faults.pop(message, 0)
            state = unsends.NOT_TAKEN_BACK if fault else unsends.TAKEN_BACK
            self._ends.append(End(message, state, fault))

    def _give_up(self, message: Message) -> None:
        """Forget a message of which a part was asked for on a link that is lost: it is begun with anew."""
        self._left.pop(message, None)
        self._faults.pop(message, None)
        self._lot = deque(one for one in self._lot if _message_of(one) != message)

    def _link(self) -> Link | None:
        """Choose a bind that may ask and has room."""
        for bind in self._carrier.binds:
            link = bind.link
            if bind.is_bound and link is not None and bind.kind is not Kind.RX and link.session.may_send("cancel_sm"):
                window = link.exchange.window
                if window.size - window.in_flight - link.session.in_flight > 0:
                    return link
        return None

    def _ask(self, link: Link, part: Unheard) -> bool:
        """Send the request; -> False where the session does not let it through any more."""
        settings = self._carrier.settings
        source = settings.source, settings.source_ton, settings.source_npi
        if part.source:
            source = address_of(part.source, short_code_ton=settings.short_code_ton, has_plus=settings.sender_plus)
        address, ton, npi = source
        # The id names it: SMPP 3.4 §4.9.1 leaves service_type and the destination empty then.
        fields = {
            "service_type": "", "message_id": part.message_id, "source_addr_ton": ton, "source_addr_npi": npi,
            "source_addr": address, "dest_addr_ton": 0, "dest_addr_npi": 0, "destination_addr": "",
        }  # fmt: skip
        try:
            number = link.request("cancel_sm", fields)
        except LocalProtocolError:
            return False
        except EncodeError:
            self._answered(part, unsends.NOTHING)
            return True
        self._carrier.throttle.spend(1, self._clock.monotonic())
        self.asked += 1
        self._in_flight[link, number] = part
        return True


def _message_of(part: Unheard) -> Message:
    return part.chunk_id, part.pos
