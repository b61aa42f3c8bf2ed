"""Finds out what became of texts that were made before an exception of theirs was told (EX-3).

    open ─► submitted? ─ no ──► failed, expired or skipped: forgotten (the gate has noted what it prevented)
                 │ yes          otherwise it waits
                 ├─► its end came before the exception: forgotten
                 └─► all receipts up to the exception are told, and no end among them: late ─► told of the person

Where the carrier takes messages back (cancel_sm of its settings) it is asked to, and what it says is kept with it: late
is late, whatever came of that.

What left was seen off by the gate, whose snapshot had no exception: so whatever was told before the end was too late.
What messages came to is read of what persons were told (feeding.py), lane by lane and a moment behind.
Not here: who notes open ones (arriving.py), what the gate prevents (dispatch/admission.py).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

import msgspec

from gateway.automation.feeding import OVERLAP
from gateway.automation.job import Job
from gateway.config import Settings
from gateway.person import LATE_EXCEPTION, OUR_SOURCE, Item, Who
from gateway.predicate import CAMPAIGN_PROPERTY, SENT_EVENT
from gateway.store import excepted, months, postgres, profiles, runs, unsends
from gateway.store.excepted import ASKED, Late, Open, Told
from gateway.store.feeds import ENROLMENT_PROPERTY

A_PAGE = 1000
# Nobody tells any more what became of it.
GIVEN_UP = timedelta(days=3)
# Clocks of hosts are no further apart.
APART = timedelta(seconds=5)


class Excepting(Job):
    """The loop of one worker."""

    NAME = "except"
    ROUND_S = 5.0
    STEP_S = 60.0
    UNDONE = "nobody finds out which exceptions came too late"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._chance = chance
        self._kinds = profiles.Kinds()
        self.late = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether it is open what became of any text."""
        return await excepted.is_wanted(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Look at all that are open."""
        async with postgres.deadline(connection, self.STEP_S, "texts that exceptions met"):
            await months.ensure(connection, "person_event", [now])
            behind = excepted.FIRST
            while some := await excepted.opened(connection, behind, A_PAGE):
                behind = (some[-1].found_at, *some[-1].key)
                await self._page(connection, some, now)
            await self._hear_carriers(connection)
        return True

    async def _hear_carriers(self, connection: postgres.Connection) -> None:
        """Write what carriers said of texts that they were to take back."""
        some = await excepted.asked(connection, A_PAGE)
        answers: dict[excepted.Asked, int] = {}
        for lane in sorted({one.lane for one in some}):
            of_lane = [one for one in some if one.lane == lane]
            states = await unsends.states(connection, lane, [(one.chunk, one.pos) for one in of_lane])
            for one in of_lane:
                state = states.get((one.chunk, one.pos), unsends.NOT_TAKEN_BACK)
                if state != unsends.OPEN:
                    taken = state == unsends.TAKEN_BACK
                    answers[one] = excepted.CANCELLED if taken else excepted.REFUSED
        await excepted.answer(connection, answers)

    def _cancels(self, carrier: str) -> bool:
        settings = self._settings.carriers.get(carrier)
        return settings is not None and settings.cancel_sm

    async def _page(self, connection: postgres.Connection, some: Sequence[Open], now: datetime) -> None:
        # Read first: what is told after it is not missed, but judged in the next round.
        upto = await excepted.fed_upto(connection)
        told = await excepted.told_of(connection, some, [one.planned_at - APART for one in some])
        late, over = judge(some, told, upto, now)
        if late:
            # By stable ids: who dies behind it tells it once more in vain.
            items = [item_of(one) for one in late if one.of.number is not None]
            await profiles.ingest(connection, items, now, self._chance, self._kinds)
            lanes = await runs.lanes(connection)
            cancels = {lane for lane, name in lanes.items() if self._cancels(name)}
            late = [msgspec.structs.replace(one, cancel=ASKED) if one.lane in cancels else one for one in late]
            for lane in sorted(cancels):
                asked = [(one.chunk, one.pos) for one in late if one.lane == lane]
                await unsends.add(connection, lane, asked, now)
            await excepted.end(connection, late)
        await excepted.forget(connection, over)
        self.late += len(late)


def judge(
    some: Sequence[Open], told: Mapping[tuple[int, int], Sequence[Told]], upto: Mapping[int, datetime], now: datetime
) -> tuple[list[Late], list[Open]]:
    """Say which exceptions came too late, and of which texts there is nothing more to find out.

    told  of each text, the oldest first
    upto  by lane, until when all receipts were told
    """
    late: list[Late] = []
    over: list[Open] = []
    for one in some:
        events = told.get(one.key, ())
        left = next((event for event in events if event.name == SENT_EVENT), None)
        if left is None:
            if events or now - one.found_at > GIVEN_UP:
                over.append(one)
            continue
        place = (left.lane, left.chunk, left.pos)
        ends = [event.at for event in events if event is not left and (event.lane, event.chunk, event.pos) == place]
        if ends and min(ends) <= one.told_at:
            over.append(one)
        elif ends or upto.get(left.lane, one.told_at) >= one.told_at + OVERLAP or now - one.found_at > GIVEN_UP:
            late.append(Late(one, *place))
    return late, over


def item_of(one: Late) -> Item:
    """Write what is told of a person."""
    of = one.of
    return Item(
        who=Who(phone=of.number or 0), source=OUR_SOURCE, event_id=f"{LATE_EXCEPTION}:{of.enrolment}:{of.visit}",
        name=LATE_EXCEPTION, occurred_at=of.told_at, is_ours=True,
        properties={
            CAMPAIGN_PROPERTY: of.campaign, "run": of.run, ENROLMENT_PROPERTY: of.enrolment, "exception": of.name,
        },
    )  # fmt: skip
