"""Finds out what became of texts that were made before an exception of theirs was told (EX-3).

    open ─► submitted? ─ no ──► taken out for it (withdrawing.py): prevented; failed, expired or skipped: forgotten (the
                 │ yes          gate has noted what it prevented); otherwise it waits
                 ├─► its end came before the exception: forgotten
                 └─► a second behind the exception no end is known: late ─► told of the person

Where the carrier takes messages back (cancel_sm of its settings) it is asked to, and what it says is kept with it: late
is late, whatever came of that.

What left was seen off by the gate, whose snapshot had no exception: so whatever was told before the end was too late.
What messages came to is read of what persons were told (feeding.py), and of the lanes what was not told yet: some
seconds of them. A receipt that was here before the exception and is known later than a second is not waited for.
Not here: who notes open ones (arriving.py), what the gate prevents (dispatch/admission.py).
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

import msgspec

from gateway.automation.feeding import OVERLAP
from gateway.automation.job import Every, Job
from gateway.config import Settings
from gateway.person import LATE_EXCEPTION, OUR_SOURCE, Item, Who
from gateway.predicate import CAMPAIGN_PROPERTY, SENT_EVENT
from gateway.reasons import Reason
from gateway.store import excepted, months, postgres, profiles, runs, unsends, unwanted
from gateway.store.excepted import ASKED, Late, Open, Told
from gateway.store.feeds import ENROLMENT_PROPERTY

A_PAGE = 1000
# Nobody tells any more what became of it.
GIVEN_UP = timedelta(days=3)
# Clocks of hosts are no further apart.
APART = timedelta(seconds=5)
# What the carrier has said is written and matched by then.
SETTLES = timedelta(seconds=1)
# What is open for longer, behind a limit of its account for example, is looked at less often.
RECENT = timedelta(minutes=1)
EVERYTHING_S = 5.0


class Excepting(Job):
    """The loop of one worker."""

    NAME = "except"
    ROUND_S = 0.5
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
        self._everything = Every(EVERYTHING_S)
        self.late = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether it is open what became of any text."""
        return await excepted.is_wanted(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Look at all that are open."""
        async with postgres.deadline(connection, self.STEP_S, "texts that exceptions met"):
            await months.ensure(connection, "person_event", [now])
            behind: tuple[datetime, int, int] = (now - RECENT, 0, 0)
            if self._everything.is_due(now):
                behind = excepted.FIRST
                self._everything.done(now)
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
        # Read first: what is told after it is read of the lanes.
        upto = await excepted.fed_upto(connection)
        told = await excepted.told_of(connection, some, [one.planned_at - APART for one in some])
        lanes = await runs.lanes(connection)
        for lane in sorted(lanes):
            since = upto.get(lane, min(one.planned_at for one in some)) - OVERLAP
            for key, events in (await _lately(connection, lane, some, told, since)).items():
                told[key] = sorted([*told.get(key, ()), *events], key=lambda one: one.at)
        late, over, prevented = judge(some, told, now)
        if late:
            # By stable ids: who dies behind it tells it once more in vain.
            items = [item_of(one) for one in late if one.of.number is not None]
            await profiles.ingest(connection, items, now, self._chance, self._kinds)
            cancels = {lane for lane, name in lanes.items() if self._cancels(name)}
            late = [msgspec.structs.replace(one, cancel=ASKED) if one.lane in cancels else one for one in late]
            for lane in sorted(cancels):
                asked = [(one.chunk, one.pos) for one in late if one.lane == lane]
                await unsends.add(connection, lane, asked, now)
            await excepted.end(connection, late)
        await excepted.forget(connection, over)
        await excepted.prevented(connection, [(one.bucket, one.enrolment, one.visit, now) for one in prevented])
        self.late += len(late)


async def _lately(
    connection: postgres.Connection, lane: int, some: Sequence[Open], told: Mapping[tuple[int, int], Sequence[Told]],
    since: datetime,
) -> dict[tuple[int, int], list[Told]]:  # fmt: skip
    """Read of a lane what came of texts since a moment: of those that are known to have left, and of whoever waited."""
    places: dict[tuple[int, int], tuple[int, int]] = {}
    untold: dict[str, tuple[int, int]] = {}
    asked: dict[str, int] = {}
    for one in some:
        left = next((event for event in told.get(one.key, ()) if event.name == SENT_EVENT), None)
        if left is not None and left.lane == lane:
            places[one.key] = left.chunk, left.pos
        elif one.key not in told and one.outgoing is not None:
            name = unwanted.key_of(*one.key)
            untold[name], asked[name] = one.key, one.outgoing
    if asked:
        found = await unwanted.locate(connection, lane, asked)
        places |= {untold[name]: (place.chunk, place.pos) for name, place in found.items()}
    if not places:
        return {}
    of = {place: key for key, place in places.items()}
    events: dict[tuple[int, int], list[Told]] = {}
    for event in await excepted.lately(connection, lane, of, since):
        events.setdefault(of[event.chunk, event.pos], []).append(event)
    return events


def judge(
    some: Sequence[Open], told: Mapping[tuple[int, int], Sequence[Told]], now: datetime
) -> tuple[list[Late], list[Open], list[Open]]:
    """Say which exceptions came too late, of which texts there is nothing more to find out, and which were taken out.

    told  of each text, the oldest first
    """
    late: list[Late] = []
    over: list[Open] = []
    prevented: list[Open] = []
    for one in some:
        events = told.get(one.key, ())
        left = next((event for event in events if event.name == SENT_EVENT), None)
        if left is None and any(event.status == Reason.EXCEPTION for event in events):
            prevented.append(one)
            continue
        if left is None:
            if events or now - one.found_at > GIVEN_UP:
                over.append(one)
            continue
        place = (left.lane, left.chunk, left.pos)
        ends = [event.at for event in events if event is not left and (event.lane, event.chunk, event.pos) == place]
        if ends and min(ends) <= one.told_at:
            over.append(one)
        elif ends or now >= one.told_at + SETTLES:
            late.append(Late(one, *place))
    return late, over, prevented


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
