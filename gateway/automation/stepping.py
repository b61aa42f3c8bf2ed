"""Carries campaigns and workflows out: one worker for all of them, one look after the other.

    look      ─► how campaigns stand (readying.py) · what the calendar brings (ticking.py)
    cause     ─► who enters (arriving.py) ─► enrolment                            one transaction of one bucket or
    due       ─► what their steps do (carrying.py) ─► step_run, outgoing          several: all of it or none
    outgoing  ─► lanes (sending.py) ─► out again, what is not wanted any more (withdrawing.py)

Buckets with little to do share a transaction: what each costs, whatever is in it, would be paid 256 times a look.
Several hands, each a connection of its own, take what is to be done side by side: Postgres works for one of them while
we do for another.

Whoever tells a cause wakes us; without that we look ten times a second as long as any campaign is live.
Not here: the gate, which is asked before there is a text (asking.py) and asks everything again at the claim
(dispatch/admission.py).
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import datetime
from random import Random
from typing import Any

from gateway.automation import sending
from gateway.automation.arriving import Arriving
from gateway.automation.asking import Gate
from gateway.automation.carrying import Carrying
from gateway.automation.effects import Need
from gateway.automation.job import Every, Job
from gateway.automation.readying import (
    BUCKETS,
    CURRENT,
    DUE_A_STEP,
    Readying,
    Route,
    is_over,
)
from gateway.automation.ticking import Act, Ticking
from gateway.automation.withdrawing import Withdrawing
from gateway.config import Settings
from gateway.document import (
    Ask,
    Send,
)
from gateway.errors import StoreError
from gateway.store import (
    campaigns,
    causes,
    enrolments,
    jobs,
    postgres,
    profiles,
)
from gateway.store.postgres import Connection
from gateway.store.queries import query

CAUSES_A_STEP = 500
# Buckets share a transaction while there is no more than so much to do in them together.
A_GROUP = 1000
# Connections beside the one of the job.
MORE_HANDS = 2
IDLE_S = 0.1
# How campaigns, audiences and routes stand is read so often.
LOOK_S = 0.5
FORGET_S = 600.0
CALENDAR_S = 1.0
# Of one transaction: a statement for each bucket alone cost 256 of them an occurrence, whoever it brought.
CALENDAR_BUCKETS = 64
# All buckets of one occurrence, of millions of people.
PATIENCE_S = 600.0


class Lost(Exception):
    """Another worker has the job."""


class Stepping(Job):
    """The loop of one worker."""

    NAME = "step"
    ROUND_S = 1.0
    STEP_S = 60.0
    UNDONE = "no campaign goes on"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
        route: Route,
        secret: Random,
        gate: Gate,
    ):
        super().__init__(wall, connect, instance)
        self._chance = chance
        self._heard = asyncio.Event()
        self._listening: Connection | None = None
        self._hands: list[Connection] = []
        self._looking = Every(LOOK_S)
        self._forgetting = Every(FORGET_S)
        self._calendar = Every(CALENDAR_S)
        self._ticking = Ticking()
        self._last_id = 0
        self._ready = Readying(settings, chance, route)
        self._withdrawing = Withdrawing(self._ready)
        self._arriving = Arriving(self._ready, self._withdrawing, self._ids)
        self._carrying = Carrying(self._ready, self._withdrawing, self._ids, chance, secret, gate)
        self.sent = 0

    @property
    def entered(self) -> int:
        """How many have entered anything."""
        return self._arriving.entered

    @property
    def stepped(self) -> int:
        """How many steps were made."""
        return self._carrying.stepped

    async def is_wanted(self, connection: Connection, now: datetime) -> bool:
        """Say whether any campaign has been launched."""
        async with postgres.deadline(connection, self.STEP_S, "campaigns"):
            return any(one.live_version for one in await campaigns.every(connection))

    async def work(self, connection: Connection, now: datetime) -> bool:
        """Go on until another worker has the job."""
        try:
            if self._listening is not connection:
                await causes.listen(connection, self._heard.set)
                self._listening = connection
            await self.step(connection)
        except Lost:
            return False
        # At once again, or when somebody calls: the loop of jobs would sleep too long.
        while not self.has_more:
            try:
                await asyncio.wait_for(self._heard.wait(), IDLE_S)
            except TimeoutError:
                pass
            self._heard.clear()
            try:
                if not await self.step(connection) and not self._ready.live and not self._ready.paused:
                    return True
            except Lost:
                return False
        return True

    # -- one look ------------------------------------------------------------------------------------------------------

    async def _look(self, connection: Connection, now: datetime) -> None:
        """See how campaigns stand, while the job is ours."""
        async with postgres.deadline(connection, self.STEP_S, "campaigns"):
            if not await jobs.hold(connection, self.NAME, self._instance):
                raise Lost
        await self._ready.look(connection, now)

    async def step(self, connection: Connection) -> bool:
        """Do what there is to do by now; -> whether there was anything."""
        now = self._wall()
        is_look = self._looking.is_due(now)
        if is_look:
            await self._look(connection, now)
            self._looking.done(now)
        if not self._ready.live and not self._ready.paused:
            return False
        if self._calendar.is_due(now):
            await self._tick(connection, now)
            self._calendar.done(now)
        async with postgres.deadline(connection, self.STEP_S, "who is due"):
            found = await enrolments.buckets(connection, 0, BUCKETS - 1, now, self._ready.paused)
        groups = groups_of(found, 1 if self._ready.is_spread else A_GROUP)
        if len(groups) == 1:
            await self._carry_out(connection, iter(groups))
        elif groups:
            todo = iter(groups)
            await self._together(self._carry_out(one, todo) for one in (connection, *await self._more_hands()))
        async with postgres.deadline(connection, self.STEP_S, "texts for lanes"):
            cancelled: set[int] = set()
            moved, more = await sending.move(connection, 0, BUCKETS - 1, self._wall(), cancelled)
        # What comes after a cancel goes into another run.
        self._ready.sends = {key: one for key, one in self._ready.sends.items() if one.run.id not in cancelled}
        self.sent += moved
        # Behind the moving: what is to be taken out is in its lane, or nowhere yet. Others may note something, too.
        if found or is_look:
            more = await self._withdrawing.withdraw(connection, self._wall()) or more
        if self._forgetting.is_due(now):
            await sending.forget(connection, sorted(self._ready.lanes.values()), now)
            self._forgetting.done(now)
        if more:
            self._heard.set()
        return bool(found or moved)

    async def _carry_out(self, connection: Connection, todo: Iterator[Sequence[int]]) -> None:
        """Take groups of buckets, as one of several hands, until none is left."""
        for buckets in todo:
            more = True
            while more:
                CURRENT.set(0)
                try:
                    async with postgres.deadline(connection, self.STEP_S, "steps of campaigns"):
                        more = await self._group(connection, buckets)
                except (Lost, asyncio.CancelledError):
                    raise
                except Exception as error:  # of one campaign; the others go on
                    campaign = CURRENT.get()
                    if not campaign or (isinstance(error, StoreError) and error.retryable):
                        raise
                    await self._ready.stop(connection, campaign, error, self._wall())

    async def _group(self, connection: Connection, buckets: Sequence[int]) -> bool:
        """Decide about the causes of buckets, and carry on who is due there; -> whether there may be more."""
        now = self._wall()
        needs: list[Need] = []
        async with connection.transaction():
            if not await jobs.hold(connection, self.NAME, self._instance):
                raise Lost
            await connection.execute(query("look_by_index"))
            told = await causes.take(connection, buckets, CAUSES_A_STEP)
            if told:
                await self._arriving.enter(connection, told, now)
            due = await enrolments.due(connection, buckets, now, DUE_A_STEP, self._ready.paused)
            if due:
                needs = await self._carrying.carry_on(connection, due, now)
        await self._carrying.give_back(connection, {one.id for one in due}, {one.enrolment.id for one in needs})
        await self._carrying.prepare(connection, [one for one in needs if isinstance(one.step, Send | Ask)], now)
        for one in needs:
            if not isinstance(one.step, Send | Ask):
                await self._carrying.effect(connection, one, now)
        return bool(needs) or len(told) >= CAUSES_A_STEP or len(due) >= DUE_A_STEP

    async def _more_hands(self) -> Sequence[Connection]:
        """Connect as often as we have hands, beside the job's own; a connection that has ended is made anew."""
        if self._connection is None:
            # Turned by hand: nobody would close them.
            return ()
        self._hands = [one for one in self._hands if not one.is_closed()]
        while len(self._hands) < MORE_HANDS:
            self._hands.append(await self._connect())
        return self._hands

    async def _together(self, hands: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Wait for all hands, whatever comes of one: none goes on behind our back."""
        for result in await asyncio.gather(*hands, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def close(self) -> None:
        """Close the connections."""
        hands, self._hands = self._hands, []
        for one in hands:
            with contextlib.suppress(StoreError):
                await postgres.close(one)
        await super().close()

    def _ids(self, now: datetime) -> Iterator[int]:
        """Name rows: none twice of this process, however many are made in a millisecond, and by chance of no other."""
        begin = profiles.first_id(now, self._chance)
        while True:
            self._last_id = max(self._last_id + 1, begin)
            yield self._last_id

    async def _tick(self, connection: Connection, now: datetime) -> None:
        """Bring those whom the calendar brings."""

        async def all_buckets(act: Act) -> int:
            brought, span = 0, 1 if self._ready.is_spread else CALENDAR_BUCKETS
            for first in range(0, BUCKETS, span):
                async with (
                    postgres.deadline(connection, self.STEP_S, "calendar of campaigns"),
                    connection.transaction(),
                ):
                    if not await jobs.hold(connection, self.NAME, self._instance):
                        raise Lost
                    brought += await act(connection, (first, first + span - 1))
            return brought

        for one in list(self._ready.live.values()):
            if is_over(one.plan, now):
                continue
            document = one.plan.document
            house = self._ready.settings.brand(document.brand).zone
            async with postgres.deadline(connection, PATIENCE_S, "calendar of campaigns"):
                await self._ticking.tick(
                    connection, one, self._ready.launched[one.id], house, self._ready.terms(document, now),
                    self._ready.expanded, all_buckets,
                )  # fmt: skip


def groups_of(found: Sequence[tuple[int, int]], most: int) -> list[list[int]]:
    """Put buckets together that have no more than so much to do in common: (bucket, how much)."""
    groups: list[list[int]] = []
    size = most
    for bucket, much in found:
        if size + much > most:
            groups.append([])
            size = 0
        groups[-1].append(bucket)
        size += much
    return groups
