"""Asks the SMSC, by query_sm, for the state of segments that no final receipt came for.

    lot      accepted between query_after_s ago and a day before that, the end unknown: read at most every 10 s
    heard    just before they are asked for, the next few are looked up once more: no question after a receipt
    ask      over a bind that may submit and has room, from the address that the message was sent from
    answer   message_state, error_code, final_date ─► a receipt of source query; not final: asked again after an hour
    refused  or unanswered: asked again after an hour, and nobody is asked while that is to be remembered of too many

Each question spends the account's throttle, and messages go first. Where a link is lost, what was asked on it is
forgotten, and asked anew. Not here: what a message's state follows from (store/sql/results.sql).
"""

import asyncio
import logging
from collections import deque
from datetime import datetime, timedelta

from _fastpath.throttle import Throttle
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import EncodeError, LocalProtocolError, StoreError
from gateway.routing import address_of
from gateway.smpp import status as statuses
from gateway.smpp import times
from gateway.smpp.bind import Kind
from gateway.smpp.carrier import Carrier
from gateway.smpp.link import Link
from gateway.smpp.session import Expired, Response
from gateway.store import postgres, queue
from gateway.store.queue import Queried, Unheard

log = logging.getLogger(__name__)

STEP_S = 1.0
# A look into the lot reads whole partitions: it is paid for with a twentieth of one connection at the most.
LOOK_S = 10.0
LOOK_SHARE = 0.05
LOT = 10_000
SPAN = timedelta(days=1)
AGAIN = timedelta(hours=1)
MOST_REMEMBERED = 100_000
# Shorter waits are no waits.
TIMER_S = 0.001
LAST_STATE = 9


class Queries:
    """The loop of one lane on this worker."""

    def __init__(
        self,
        carrier: Carrier,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
    ):
        settings = carrier.settings
        self._carrier = carrier
        self._clock = clock
        self._deadline_s = deadline_s
        self._line = Line(connect)
        self._after = timedelta(seconds=settings.query_after_s or settings.receipt_deadline_s)
        self._throttle = Throttle(settings.query_per_s)
        self._lot: deque[Unheard] = deque()
        self._behind: Unheard | None = None
        self._look_at = 0.0
        self._in_flight: dict[tuple[Link, int], Unheard] = {}
        # Asked, and nothing written of it: not again before that moment. The oldest first.
        self._not_before: dict[tuple[int, int, int], float] = {}
        self._told: list[Queried] = []
        self.last_error = ""
        self.asked = 0
        self.answered = 0
        self.refused = 0
        carrier.hears_answer = self.on_answer

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            until = self._clock.monotonic() + STEP_S
            try:
                await self.step(until)
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! lane %d: no queries: %s", self._carrier.lane, error)
                self.last_error = str(error)
                await self._line.mend(error)
            await asyncio.sleep(max(TIMER_S, until - self._clock.monotonic()))

    async def step(self, until: float) -> None:
        """Write what was answered, and ask for the next few until then."""
        await self._write()
        for lost in [asked for asked in self._in_flight if asked[0].is_lost]:
            self._not_before.pop(self._in_flight.pop(lost).key, None)
        await self._look()
        if not self._lot or self._link() is None:
            return
        few = [self._lot.popleft() for _ in range(min(len(self._lot), self._carrier.settings.query_per_s))]
        try:
            known = await self._heard(few)
        except StoreError:
            self._lot.extendleft(reversed(few))
            raise
        few = [one for one in few if one.key not in known]
        while few:
            link = await self._room(until)
            if link is None or not self._ask(link, few[0]):
                break
            del few[0]
        self._lot.extendleft(reversed(few))

    def on_answer(self, link: Link, event: Response | Expired) -> None:
        """Take what the SMSC says; it is written in the next step."""
        one = self._in_flight.pop((link, event.request.sequence_number), None)
        if one is None:
            return
        fault = "no answer in time"
        if isinstance(event, Response):
            pdu = event.pdu
            state = pdu.fields.get("message_state", -1)
            if pdu.command == "query_sm_resp" and not pdu.command_status and not event.fault and state <= LAST_STATE:
                done_at = _date(pdu.fields["final_date"])
                err = f"{pdu.fields['error_code']:03d}"
                self._told.append(Queried(of=one, at=self._clock.wall(), state=state, err=err, done_at=done_at))
                return
            fault = statuses.name(pdu.command_status) if pdu.command_status else "a body that cannot be read"
        self._refuse(one, fault)

    def report(self) -> dict[str, int]:
        """What was asked since the start, and what came of it."""
        return {"asked": self.asked, "answered": self.answered, "refused": self.refused}

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()

    # -- inside -----------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Append what was answered; it is kept where Postgres is away."""
        told = list(self._told)
        if not told:
            return
        connection, lane = await self._line.opened(), self._carrier.lane
        async with postgres.deadline(connection, self._deadline_s, f"answers to queries of lane {lane}"):
            await queue.add_queried(connection, lane, told)
        del self._told[: len(told)]
        self.answered += len(told)
        for one in told:
            self._not_before.pop(one.of.key, None)

    async def _look(self) -> None:
        """Read the next lot when the last one is asked for; from the start again behind the last one."""
        now = self._clock.monotonic()
        for key, at in list(self._not_before.items()):
            if at > now:
                break
            del self._not_before[key]
        if self._lot or now < self._look_at or len(self._not_before) >= MOST_REMEMBERED:
            return
        connection, lane, wall = await self._line.opened(), self._carrier.lane, self._clock.wall()
        # Where it takes too long, it is not begun again at once.
        self._look_at = now + self._deadline_s / LOOK_SHARE
        async with postgres.deadline(connection, self._deadline_s, f"queries of lane {lane}"):
            found = await queue.unheard(
                connection, lane, wall - self._after - SPAN, wall - self._after, LOT, behind=self._behind,
                asked_since=wall - AGAIN, unknown_is_final=self._carrier.settings.receipt_unknown_is_final,
            )  # fmt: skip
        self._behind = found[-1] if len(found) == LOT else None
        after = self._clock.monotonic()
        self._look_at = after + max(LOOK_S, (after - now) / LOOK_SHARE)
        self._lot.extend(one for one in found if one.key not in self._not_before)

    async def _heard(self, few: list[Unheard]) -> set[tuple[int, int, int]]:
        connection, lane = await self._line.opened(), self._carrier.lane
        async with postgres.deadline(connection, self._deadline_s, f"queries of lane {lane}"):
            return await queue.heard(
                connection, lane, few, asked_since=self._clock.wall() - AGAIN,
                unknown_is_final=self._carrier.settings.receipt_unknown_is_final,
            )  # fmt: skip

    def _link(self) -> Link | None:
        """Choose the bind that has most room and may ask."""
        found, most = None, 0
        for bind in self._carrier.binds:
            link = bind.link
            if bind.is_bound and link is not None and bind.kind is not Kind.RX and link.session.may_send("query_sm"):
                window = link.exchange.window
                room = window.size - window.in_flight - link.session.in_flight
                if room > most:
                    found, most = link, room
        return found

    async def _room(self, until: float) -> Link | None:
        """Wait until a question may leave; -> over which link, None where it may not until then."""
        account = self._carrier.throttle
        while (link := self._link()) is not None:
            now = self._clock.monotonic()
            if self._throttle.allowance(now) and account.allowance(now):
                return link
            at = max(self._throttle.ready_at(now), account.ready_at(now))
            if at >= until:
                return None
            await asyncio.sleep(max(TIMER_S, at - now))
        return None

    def _ask(self, link: Link, one: Unheard) -> bool:
        """Send the question; -> False where the session does not let it through any more."""
        settings, now = self._carrier.settings, self._clock.monotonic()
        source = settings.source, settings.source_ton, settings.source_npi
        if one.source:
            source = address_of(one.source, short_code_ton=settings.short_code_ton, has_plus=settings.sender_plus)
        address, ton, npi = source
        fields = {
            "message_id": one.message_id,
            "source_addr_ton": ton,
            "source_addr_npi": npi,
            "source_addr": address,
        }
        try:
            number = link.request("query_sm", fields)
        except LocalProtocolError:
            return False
        except EncodeError as error:
            self._refuse(one, str(error))
            return True
        self._throttle.spend(1, now)
        self._carrier.throttle.spend(1, now)
        self.asked += 1
        self._in_flight[link, number] = one
        self._remember(one)
        return True

    def _refuse(self, one: Unheard, why: str) -> None:
        self.refused += 1
        self._remember(one)
        if self.refused == 1:
            log.warning("! %s: query_sm of %s: %s", self._carrier.name, one.message_id, why)

    def _remember(self, one: Unheard) -> None:
        self._not_before.pop(one.key, None)
        self._not_before[one.key] = self._clock.monotonic() + AGAIN.total_seconds()


def _date(text: str) -> datetime | None:
    """Read a final_date; one that is none says nothing."""
    try:
        found = times.parse(text, may_be_relative=False)
    except ValueError:
        return None
    return found if isinstance(found, datetime) else None
