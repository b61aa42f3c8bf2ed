"""Carries campaigns and workflows out: who enters, who is due, what is done for them, as one worker for all of them.

    cause ─► who enters (campaign/entering.py) ─► enrolment                 one transaction of one bucket or several:
    due   ─► what is so of them, set-wise ─► advance (campaign/workflow.py) ─► step_run, outgoing    all of it or none
    outgoing ─► lanes (sending.py)

Buckets with little to do share a transaction: what each costs, whatever is in it, would be paid 256 times a look.
Several hands, each a connection of its own, take what is to be done side by side: Postgres works for one of them while
we do for another.

A step whose effect is outside of the bucket is reached in one transaction, done behind its COMMIT, named by enrolment
and visit so that doing it once more changes nothing, and left in the next: a crash repeats it, never its effect (WF-2).
Whoever tells a cause wakes us; without that we look ten times a second as long as any campaign is live.
Not here: the gate, which asks everything again (dispatch/admission.py).
"""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from random import Random
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from gateway import content, predicate
from gateway.automation import launching, sending, telling
from gateway.automation.composing import HELD, Composer, Person, Recipient, class_of
from gateway.automation.effects import Effects, Need
from gateway.automation.job import Every, Job
from gateway.automation.staffing import paused
from gateway.automation.telling import Told
from gateway.automation.ticking import Act, Ticking, bring_dated, calendar_of
from gateway.brand import PROMOTIONAL, gate_of_brand, staff_of
from gateway.campaign import audience, entering, law, workflow, zones
from gateway.campaign.delays import Clocks, due_at, occurrence_of
from gateway.campaign.entering import Candidate, Live
from gateway.campaign.workflow import Outcome, Plan, Standing
from gateway.config import Settings
from gateway.delay import After, Delay, read_date
from gateway.document import (
    Ask,
    Branch,
    CreateConversation,
    Document,
    EnterWorkflow,
    GoalCheck,
    IssueCoupon,
    ListAdd,
    ListRemove,
    OnAudience,
    OnDate,
    OnList,
    Send,
    SetAttribute,
    Subscribe,
    Unsubscribe,
    WaitFor,
    Webhook,
    is_to_staff,
    seconds_of,
)
from gateway.errors import StoreError
from gateway.events import event
from gateway.experiment import CONTROL, allocation_of, arm_to_send, in_global_control
from gateway.gate import Gate
from gateway.gate import gate_of as gate_read
from gateway.happening import Sought
from gateway.message import MessageClass, Refusal
from gateway.person import WORKFLOW_ENTERED, WORKFLOW_EXITED
from gateway.predicate import Consent, Or, Predicate
from gateway.question import question_of
from gateway.reasons import Reason
from gateway.routing import Plan as RoutePlan
from gateway.store import (
    calls,
    campaigns,
    causes,
    conversations,
    coupons,
    enrolments,
    events,
    excepted,
    experiments,
    happenings,
    jobs,
    people,
    placement,
    postgres,
    profiles,
    runs,
    selection,
)
from gateway.store.audiences import Terms
from gateway.store.columns import ints
from gateway.store.conversations import Asked
from gateway.store.coupons import Code
from gateway.store.enrolments import ENDED, UNDER_WAY, Done, Ended, Enrolment, Move, New, Outgoing
from gateway.store.excepted import Excepted, Hit, Made
from gateway.store.postgres import Connection
from gateway.store.queries import query

log = logging.getLogger(__name__)

BUCKETS = 256
CAUSES_A_STEP = 500
DUE_A_STEP = 1000
# Buckets share a transaction while there is no more than so much to do in them together.
A_GROUP = 1000
# Connections beside the one of the job.
MORE_HANDS = 2
# Steps of one person in one transaction; what is left goes on in the next.
HOPS = 20
IDLE_S = 0.1
# How campaigns, audiences and routes stand is read so often.
LOOK_S = 0.5
FORGET_S = 600.0
CALENDAR_S = 1.0
# Whether somebody is left in a campaign that drains.
DRAIN_S = 60.0
# Of one transaction: a statement for each bucket alone cost 256 of them an occurrence, whoever it brought.
CALENDAR_BUCKETS = 64
# Of an event; and of no lane.
MOST_WHY = 500
NO_LANE = 0
# All buckets of one occurrence, of millions of people.
PATIENCE_S = 600.0
# A run of a step is open for so long; the next one takes what comes then.
# Whoever talks with a person of ours is looked at so often, until that is over.
HELD_LOOK = timedelta(minutes=15)
RUN_LIFE = timedelta(days=1)
# Of a text that was made longer ago no exception is late: it has its end, or nobody will tell it.
LATE_WITHIN = timedelta(days=3)

# Begins a loop that goes on as long as anybody is found.
NOBODY = Ended(bucket=0, id=0, campaign=0, number=None)
OPTED_OUT = Sought(event="opted_out")

CURRENT: ContextVar[int] = ContextVar("campaign")
"""Whose people are looked at now, by each of the hands."""
Key: TypeAlias = tuple[int, int]
"""A version of a campaign: its id and the version."""
Route: TypeAlias = Callable[[Mapping[str, int], MessageClass, str, datetime, Sequence[runs.Worker]], RoutePlan]


class Sending(Struct, kw_only=True):
    """Where the texts of a step go: its open run, what they say, the way of each number, and what its gate excepts."""

    run: runs.Run
    composer: Composer
    route: RoutePlan
    exceptions: tuple[Sought, ...]


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
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._chance = chance
        self._route = route
        self._heard = asyncio.Event()
        self._listening: Connection | None = None
        self._hands: list[Connection] = []
        self._opening = asyncio.Lock()
        # Over several servers: buckets of one transaction are those of one shard.
        self._is_spread = False
        self._looking = Every(LOOK_S)
        self._forgetting = Every(FORGET_S)
        self._calendar = Every(CALENDAR_S)
        self._draining = Every(DRAIN_S)
        self._ticking = Ticking()
        self._launched: dict[int, datetime] = {}
        self._plans: dict[Key, Plan] = {}
        # As they are written, without the exceptions of others; and those that whatever has a tag shares, by campaign.
        self._own: dict[Key, Plan] = {}
        self._shared: dict[int, tuple[tuple[str, Sought], ...]] = {}
        self._live: dict[int, Live] = {}
        self._paused: list[int] = []
        # Those of them that people are entered into, to go on with them (WF-9); and those whose people have left.
        self._queues: dict[int, Live] = {}
        self._ended: set[int] = set()
        self._names: dict[int, str] = {}
        self._trees: dict[str, Predicate] = {}
        # What of entering and leaving is asked for by conditions on persons (EV-11).
        self._counted: set[str] = set()
        self._sends: dict[tuple[int, int, int], Sending] = {}
        self._routes: dict[tuple[MessageClass, str], RoutePlan] = {}
        self._salt = ""
        self._lanes: dict[str, int] = {}
        self._living: Sequence[runs.Worker] = ()
        self._doing = Effects(settings, chance, profiles.Kinds())
        # Effects that are done, by enrolment and visit: 0, or the reason why one came to nothing.
        self._effects: dict[tuple[int, int], int] = {}
        self._codes: dict[tuple[int, int], Code] = {}
        # Those that a text has not taken yet, with the step they were reserved for.
        self._reserved: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._arms: dict[tuple[int, int], int] = {}
        # Who has had an offer elsewhere, with the text that they get in its place.
        self._elsewhere: dict[tuple[int, int], str] = {}
        self._experiments: dict[str, experiments.Kept] = {}
        # Of links, which nobody may guess.
        self._secret = secret
        self._last_id = 0
        self.entered = 0
        self.stepped = 0
        self.sent = 0

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
                if not await self.step(connection) and not self._live and not self._paused:
                    return True
            except Lost:
                return False
        return True

    # -- one look ------------------------------------------------------------------------------------------------------

    async def step(self, connection: Connection) -> bool:
        """Do what there is to do by now; -> whether there was anything."""
        now = self._wall()
        if self._looking.is_due(now):
            await self._look(connection, now)
            self._looking.done(now)
        if not self._live and not self._paused:
            return False
        if self._calendar.is_due(now):
            await self._tick(connection, now)
            self._calendar.done(now)
        async with postgres.deadline(connection, self.STEP_S, "who is due"):
            found = await enrolments.buckets(connection, 0, BUCKETS - 1, now, self._paused)
        groups = groups_of(found, 1 if self._is_spread else A_GROUP)
        if len(groups) == 1:
            await self._carry_out(connection, iter(groups))
        elif groups:
            todo = iter(groups)
            await self._together(self._carry_out(one, todo) for one in (connection, *await self._more_hands()))
        async with postgres.deadline(connection, self.STEP_S, "texts for lanes"):
            cancelled: set[int] = set()
            moved, more = await sending.move(connection, 0, BUCKETS - 1, self._wall(), cancelled)
        # What comes after a cancel goes into another run.
        self._sends = {key: one for key, one in self._sends.items() if one.run.id not in cancelled}
        self.sent += moved
        if self._forgetting.is_due(now):
            await sending.forget(connection, sorted(self._lanes.values()), now)
            self._forgetting.done(now)
        if more:
            self._heard.set()
        return bool(found or moved)

    async def _stop_campaign(self, connection: Connection, campaign: int, error: Exception) -> None:
        """Pause a campaign that cannot be carried out, and tell: the others would wait behind it for ever."""
        name, now = self._names[campaign], self._wall()
        log.error("! campaign %s is paused, it cannot be carried out: %s", name, error, exc_info=error)
        async with postgres.deadline(connection, self.STEP_S, "campaigns"), connection.transaction():
            held = await campaigns.hold(connection, name)
            if held.state == "live":
                await campaigns.go(connection, held, "paused", now)
                told = event("campaign.paused", now, name, why=str(error)[:MOST_WHY])
                await events.take_turn(connection, NO_LANE)
                await events.append(connection, NO_LANE, [told])
        self._live.pop(campaign, None)
        self._paused.append(campaign)

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
                    await self._stop_campaign(connection, campaign, error)

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
            brought, span = 0, 1 if self._is_spread else CALENDAR_BUCKETS
            for first in range(0, BUCKETS, span):
                async with (
                    postgres.deadline(connection, self.STEP_S, "calendar of campaigns"),
                    connection.transaction(),
                ):
                    if not await jobs.hold(connection, self.NAME, self._instance):
                        raise Lost
                    brought += await act(connection, (first, first + span - 1))
            return brought

        for one in list(self._live.values()):
            if _is_over(one.plan, now):
                continue
            document = one.plan.document
            house = self._settings.brand(document.brand).zone
            async with postgres.deadline(connection, PATIENCE_S, "calendar of campaigns"):
                await self._ticking.tick(
                    connection, one, self._launched[one.id], house, self._terms(document, now), self._expanded,
                    all_buckets,
                )  # fmt: skip

    async def _look(self, connection: Connection, now: datetime) -> None:
        """Read how campaigns, audiences and carriers stand."""
        async with postgres.deadline(connection, self.STEP_S, "campaigns"):
            if not await jobs.hold(connection, self.NAME, self._instance):
                raise Lost
            if not self._salt:
                self._is_spread = await placement.is_spread(connection)
                self._salt = await selection.salt(connection, f"{self._chance.getrandbits(128):032x}")
            self._routes = {}
            self._trees = {name: one.tree for name, one in (await selection.kept(connection)).items()}
            self._living = [one for one in await runs.workers(connection)]
            self._lanes = {name: await runs.lane_of(connection, name, now) for name in self._settings.carriers}
            live: dict[int, Live] = {}
            queues: dict[int, Live] = {}
            paused = []
            every = await campaigns.every(connection)
            await self._share(connection, every)
            for one in every:
                self._names[one.id] = one.name
                if one.state != "ended":
                    self._ended.discard(one.id)
                try:
                    if one.live_version and (found := await self._stands(connection, one, now)) is not None:
                        (queues if one.state == "paused" else live)[one.id] = found
                    if one.state == "paused":
                        paused.append(one.id)
                except Exception as error:  # of one campaign; the others go on
                    if isinstance(error, StoreError) and error.retryable:
                        raise
                    await self._stop_campaign(connection, one.id, error)
                    paused.append(one.id)
            if self._draining.is_due(now):
                self._draining.done(now)
            self._live, self._paused, self._queues = live, paused, queues
            conditions = [tree for plan in self._plans.values() for tree in workflow.conditions(plan)]
            self._counted = telling.counted([*self._trees.values(), *conditions])

    async def _stands(self, connection: Connection, one: campaigns.Campaign, now: datetime) -> Live | None:
        """Make ready what a campaign needs; -> it, if people may enter it."""
        plan = await self._plan(connection, one.id, one.live_version)
        is_over = _is_over(plan, now)
        if is_over and plan.document.at_end == "drain":
            is_left = one.state == "live" and self._draining.is_due(now)
            is_over = is_left and not await enrolments.any_under_way(connection, one.id)
        if one.state == "ended" or (one.state == "live" and is_over):
            await self._end(connection, one, now)
        queues = one.state == "paused" and plan.document.paused_entries == "queue"
        if is_over or not (one.state == "live" or queues):
            return None
        self._launched[one.id] = one.launched_at or now
        if plan.document.experiment is not None:
            kept = await experiments.named(connection, plan.document.experiment.name)
            if kept is not None:
                self._experiments[kept.body.name] = kept
        for place, step in () if queues else plan.sends():
            await self._open(connection, one.id, one.live_version, place, step, plan, now)
        subject = await subject_of(connection, plan)
        return Live(id=one.id, version=one.live_version, plan=plan, subject=subject, since=one.launched_at)

    async def _plan(self, connection: Connection, campaign: int, version: int) -> Plan:
        key = (campaign, version)
        if key not in self._plans:
            await self._read(connection, key)
        return self._plans[key]

    async def _read(self, connection: Connection, key: Key) -> None:
        found = await campaigns.version_of(connection, *key)
        plan, problems = workflow.plan_of(found.document)
        for problem in problems:
            log.error("! campaign %s: %s: expected %s, found %s", found.document.name, *problem)
        self._own[key] = plan
        self._plans[key] = self._with_shared(key, plan)

    def _with_shared(self, key: Key, plan: Plan) -> Plan:
        of_others = (pair for campaign, pairs in self._shared.items() if campaign != key[0] for pair in pairs)
        return workflow.with_shared(plan, of_others)

    async def _share(self, connection: Connection, every: Sequence[campaigns.Campaign]) -> None:
        """Find the exceptions that whatever has a tag shares, as campaigns stand now (EX-4)."""
        shared = {}
        for one in every:
            if not one.live_version or one.state == "ended":
                continue
            try:
                await self._plan(connection, one.id, one.live_version)
            except Exception as error:  # of one campaign, which is stopped for it as it is made ready
                if isinstance(error, StoreError) and error.retryable:
                    raise
                continue
            if pairs := self._own[one.id, one.live_version].shared:
                shared[one.id] = pairs
        if shared != self._shared:
            self._shared = shared
            self._plans = {key: self._with_shared(key, plan) for key, plan in self._own.items()}

    async def _end(self, connection: Connection, one: campaigns.Campaign, now: datetime) -> None:
        """Let nobody of an ended campaign go on (TR-9). One that drains stays: nobody enters, who is in it goes on."""
        if one.id in self._ended:
            return
        async with connection.transaction():
            held = await campaigns.hold(connection, one.name)
            if held.state != "ended":
                await campaigns.go(connection, held, "ended", now)
                await campaigns.listen(connection, one.id, ())
                await conversations.set_keywords(connection, one.name, ())
        if (await self._plan(connection, one.id, one.live_version)).document.at_end != "drain":
            await launching.cancel_runs(connection, one.id, now, f"campaign {one.name}")
        self._sends = {key: each for key, each in self._sends.items() if key[0] != one.id}
        for bucket in range(BUCKETS):
            ended = [NOBODY]
            while ended:
                async with connection.transaction():
                    ended = await enrolments.end_campaign(
                        connection, bucket, one.id, int(Reason.CAMPAIGN_ENDED), now, DUE_A_STEP
                    )
                    await self._tell(connection, telling.left(ended, one.name, int(Reason.CAMPAIGN_ENDED)), now)
        self._ended.add(one.id)

    async def _open(
        self, connection: Connection, campaign: int, version: int, place: int, step: Send | Ask, plan: Plan,
        now: datetime,
    ) -> None:  # fmt: skip
        """Have an open run for the texts of a step, and the ways of its numbers as carriers stand now."""
        key = (campaign, version, place)
        known = self._sends.get(key)
        if known is None:
            of_step = [
                one for one in await campaigns.runs_of(connection, campaign) if (one.version, one.step) == key[1:]
            ]
            run = await runs.run_by_id(connection, of_step[-1].run) if of_step else None
        else:
            run = known.run
        document = plan.document
        class_ = class_of(document, step)
        composer = known.composer if known else Composer(plan, step, self._settings.brand(document.brand), class_)
        await composer.open(connection, now)
        # Others may share exceptions with it, or do so no more: its gate asks for those that its run was made with.
        exceptions = plan.excepting(place)
        gate = gate_read(run.gate) if known is None and run is not None else None
        asked = known.exceptions if known is not None else () if gate is None else gate.exceptions
        if run is None or asked != exceptions or run.cancelled_at is not None or now - run.created_at >= RUN_LIFE:
            run = await self._new_run(connection, campaign, version, place, step, plan, composer, class_, now)
        way = (class_, sender_of(document, step))
        if way not in self._routes:
            self._routes[way] = self._route(self._lanes, *way, now, self._living)
        route = self._routes[way]
        if known is not None and known.run is run:
            known.route = route
        else:
            self._sends[key] = Sending(run=run, composer=composer, route=route, exceptions=exceptions)

    async def _new_run(
        self, connection: Connection, campaign: int, version: int, place: int, step: Send | Ask, plan: Plan,
        composer: Composer, class_: MessageClass, now: datetime,
    ) -> runs.Run:  # fmt: skip
        document = plan.document
        async with connection.transaction():
            run = await runs.add_run(
                connection, name=document.name, template=composer.text,
                fields=composer.fields,
                class_=class_, policy=document.policy, lanes=sorted(self._lanes.values()), list_id=None,
                source=f"campaign {document.name} v{version}", now=now, priority=document.priority,
                gate=None
                if is_to_staff(step)
                else gate_of(self._settings, document, step, plan, self._expanded, campaign, place),
                # In nobody's caps, history and figures (RP-3): it is told of the person, and not to them.
                is_test=is_to_staff(step),
            )  # fmt: skip
            await campaigns.add_run(connection, campaign, version, place, run.id)
            if composer.pool is not None:
                await coupons.carry(connection, run.id, composer.pool, len(composer.fields))
        return run

    async def _tell(self, connection: Connection, some: Sequence[Told], now: datetime) -> None:
        """Say who has entered or left, where anybody asks for it (EV-11)."""
        if some:
            await telling.tell(connection, some, now, self._counted)

    def _expanded(self, tree: Predicate) -> Predicate:
        return audience.expand(tree, self._trees)

    # -- some buckets --------------------------------------------------------------------------------------------------

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
                await self._enter(connection, told, now)
            due = await enrolments.due(connection, buckets, now, DUE_A_STEP, self._paused)
            if due:
                needs = await self._carry_on(connection, due, now)
        await self._give_back(connection, {one.id for one in due}, {one.enrolment.id for one in needs})
        await self._prepare(connection, [one for one in needs if isinstance(one.step, Send | Ask)], now)
        for one in needs:
            if not isinstance(one.step, Send | Ask):
                await self._effect(connection, one, now)
        return bool(needs) or len(told) >= CAUSES_A_STEP or len(due) >= DUE_A_STEP

    async def _enter(self, connection: Connection, told: Sequence[causes.Cause], now: datetime) -> None:
        """Enter those whom causes bring (TR-2), and wake those who wait for one."""
        await self._dates_that_changed(connection, told, now)
        found = entering.candidates([*self._live.values(), *self._queues.values()], told, now)
        bucket_of = {cause.profile: cause.bucket for cause in told}
        if found:
            ids = self._ids(now)
            persons = sorted({(bucket_of[one.profile], one.profile) for one in found})
            known = await enrolments.known(connection, persons, sorted({one.campaign.id for one in found}))
            decided = entering.decide(found, known, await self._facts(connection, found, persons, now), now)
            new = [
                New(
                    bucket=bucket_of[one.candidate.profile], id=next(ids), campaign=one.candidate.campaign.id,
                    version=one.candidate.campaign.version, profile=one.candidate.profile, number=one.number,
                    cause=one.candidate.cause, key=one.candidate.key, anchor_id=one.candidate.anchor_id,
                    anchor_at=one.candidate.anchor_at, context=one.candidate.context, reason=one.reason,
                )
                for one in decided
            ]  # fmt: skip
            said: list[Told] = []
            if new:
                added = await enrolments.add(connection, new, now)
                self.entered += len(added)
                said = [
                    Told(WORKFLOW_ENTERED, one.bucket, one.number, one.id, self._names[one.campaign])
                    for one in new
                    if one.id in added and not one.reason
                ]
            places = {one.id: one.bucket for one in known}
            cancelled = {
                (places[id_], id_): int(Reason.CAMPAIGN_ENDED) for one in decided for id_ in one.cancels if id_
            }
            for one in await enrolments.end(connection, cancelled, now):
                said += telling.left([one], self._names[one.campaign], int(Reason.CAMPAIGN_ENDED))
            await self._tell(connection, said, now)
        # Of those who wait, and of any version: their plans may listen to more than the newest one.
        wakes: dict[str, set[int]] = {}
        for (campaign, _), plan in self._plans.items():
            for name in (*plan.wakes, OPTED_OUT.event):
                wakes.setdefault(name, set()).add(campaign)
        of = {
            (cause.bucket, cause.profile, campaign)
            for cause in told
            if cause.kind == "event"
            for campaign in wakes.get(cause.name, ())
        }
        await enrolments.wake(connection, sorted(of), now)
        await self._excepted(connection, told, now)

    async def _excepted(self, connection: Connection, told: Sequence[causes.Cause], now: datetime) -> None:
        """Note texts that were made before an exception of theirs was told (EX-3): excepting.py finds out the rest."""
        campaigns_of: dict[str, set[int]] = {}
        for (campaign, _), plan in self._plans.items():
            for name in plan.excepts:
                campaigns_of.setdefault(name, set()).add(campaign)
        heard = {
            (cause.bucket, cause.profile, campaign): cause.received_at
            for cause in told
            if cause.kind == "event"
            for campaign in campaigns_of.get(cause.name, ())
        }
        if not heard:
            return
        by_step: dict[tuple[int, int, int], list[Made]] = {}
        for one in await excepted.made_lately(connection, sorted(heard), now - LATE_WITHIN):
            by_step.setdefault((one.campaign, one.version, one.step), []).append(one)
        found: list[Excepted] = []
        for (campaign, version, place), some in by_step.items():
            CURRENT.set(campaign)
            plan = await self._plan(connection, campaign, version)
            anchors: dict[int, dict[int, datetime | None]] = {}
            for one in some:
                anchors.setdefault(one.bucket, {})[one.enrolment] = None
            least, terms = min(one.anchor_at for one in some), self._terms(plan.document, now)
            for sought in plan.excepting(place):
                hits = await happenings.happened(connection, anchors, sought, least, terms)
                found += [
                    Excepted(
                        bucket=one.bucket, enrolment=one.enrolment, visit=one.visit, profile=one.profile,
                        campaign=plan.document.name, name=sought.event, happened_at=hits[one.enrolment],
                        told_at=heard[one.bucket, one.profile, campaign], planned_at=one.made_at, state=excepted.OPEN,
                        run=one.run,
                    )
                    for one in some if one.enrolment in hits
                ]  # fmt: skip
        await excepted.add(connection, found, now)

    async def _dates_that_changed(self, connection: Connection, told: Sequence[causes.Cause], now: datetime) -> None:
        """Bring those whose date has changed and comes soon (TR-10)."""
        changed: dict[str, dict[int, set[int]]] = {}
        for cause in told:
            if cause.kind == "attribute":
                changed.setdefault(cause.name, {}).setdefault(cause.bucket, set()).add(cause.profile)
        for one in list(self._live.values()) if changed else ():
            calendar = calendar_of(one)
            if calendar is not None and calendar.date is not None:
                house = self._settings.brand(one.plan.document.brand).zone
                for bucket, ids in changed.get(calendar.date.attribute.split(".")[0], {}).items():
                    await bring_dated(connection, one, calendar.date, (bucket, bucket), house, now, sorted(ids))

    async def _facts(
        self, connection: Connection, found: Sequence[Candidate], persons: Sequence[tuple[int, int]], now: datetime
    ) -> entering.Facts:
        numbers = await enrolments.numbers(connection, persons)
        fits: set[tuple[int, int]] = set()
        agreed: set[tuple[int, int]] = set()
        by_campaign: dict[int, list[Candidate]] = {}
        for one in found:
            by_campaign.setdefault(one.campaign.id, []).append(one)
        for campaign, some in by_campaign.items():
            CURRENT.set(campaign)
            plan = some[0].campaign.plan
            ids = {one.profile for one in some}
            asked = [one for one in persons if one[1] in ids]
            if plan.filter is not None:
                terms = self._terms(plan.document, now)
                tree = self._expanded(plan.filter)
                fits |= {(campaign, one) for one in await happenings.matching(connection, asked, tree, terms)}
            tree_of_consent = consent_of(plan.document)
            if tree_of_consent is None or not plan.writes:
                agreed |= {(campaign, one) for one in ids}
            else:
                terms = self._terms(plan.document, now)
                agreed |= {
                    (campaign, one) for one in await happenings.matching(connection, asked, tree_of_consent, terms)
                }
        return entering.Facts(fits=frozenset(fits), agreed=frozenset(agreed), numbers=numbers)

    def _terms(self, document: Document, now: datetime) -> Terms:
        return Terms(now=now, zone=ZoneInfo(self._settings.brand(document.brand).zone), salt=self._salt)

    async def _carry_on(self, connection: Connection, due: Sequence[Enrolment], now: datetime) -> list[Need]:
        """Carry on who is due, step by step; -> whose step has an effect that is to be done outside."""
        at: dict[int, tuple[Enrolment, Standing]] = {one.id: (one, standing_of(one)) for one in due}
        ended: dict[int, Outcome] = {}
        waits: dict[int, Outcome] = {}
        needs: list[Need] = []
        done: list[Done] = []
        prevented: list[Excepted] = []
        texts: dict[tuple[int, int, int], list[tuple[Enrolment, Standing]]] = {}
        ready = set(at)
        for _ in range(HOPS):
            if not ready:
                break
            groups: dict[tuple[int, int, int, bool], list[int]] = {}
            for id_ in sorted(ready):
                one, standing = at[id_]
                groups.setdefault((one.campaign, one.version, standing.step, standing.visits > 0), []).append(id_)
            ready = set()
            for (campaign, version, place, is_there), ids in groups.items():
                CURRENT.set(campaign)
                plan = await self._plan(connection, campaign, version)
                some = [at[id_] for id_ in ids]
                facts, later = await self._look_at(connection, plan, place, some, is_there, now)
                if later:
                    needs += [Need(plan, place, one, standing.visits) for one, standing in some if one.id in later]
                due_of = await self._waits_of(connection, plan, some)
                held = await self._held(connection, plan, place, some, is_there, now)
                for one, standing in some:
                    if one.id in later:
                        waits[one.id] = Outcome(
                            place=standing.step, visits=standing.visits, step_at=standing.step_at, until_at=now
                        )
                        continue
                    self._effects.pop((one.id, standing.visits), None)
                    outcome = workflow.advance(plan, standing, facts, now, self._salt, due_of)
                    self.stepped += 1
                    if outcome.done == Reason.EXCEPTION:
                        prevented += prevented_of(plan, one, standing, facts, now, due_of)
                    if outcome.done is not None and place < len(plan.steps):
                        step = plan.steps[place].step
                        is_send = isinstance(step, Send | Ask) and outcome.done == workflow.DONE
                        if is_send and one.id in held and outcome.reason in (None, workflow.DONE):
                            waits[one.id] = Outcome(
                                place=standing.step, visits=standing.visits, step_at=standing.step_at,
                                until_at=held[one.id],
                            )  # fmt: skip
                            continue
                        if is_send and outcome.reason in (None, workflow.DONE):
                            texts.setdefault((campaign, version, place), []).append((one, standing))
                        to_person = is_send and not is_to_staff(step)
                        run = self._sends[campaign, version, place].run.id if to_person else None
                        done.append(
                            Done(
                                bucket=one.bucket, enrolment=one.id,
                                profile=one.profile, campaign=campaign, step=place, visit=standing.visits,
                                outcome=outcome.done, run=run,
                            )
                        )  # fmt: skip
                    if outcome.reason is not None:
                        ended[one.id] = outcome
                        continue
                    at[one.id] = one, msgspec.structs.replace(
                        standing, step=outcome.place, visits=outcome.visits, step_at=outcome.step_at,
                        until_at=outcome.until_at,
                    )  # fmt: skip
                    waits[one.id] = outcome
                    moved = (outcome.place, outcome.visits) != (standing.step, standing.visits)
                    if outcome.is_due(now) and moved:
                        ready.add(one.id)
        missing = await self._put_out(connection, texts, now)
        await self._ask(connection, texts, missing, now)
        done = [
            msgspec.structs.replace(one, outcome=missing[one.enrolment, one.visit], run=None)
            if (one.enrolment, one.visit) in missing
            else one
            for one in done
        ]
        moves = [
            Move(
                bucket=at[id_][0].bucket, id=id_, step=out.place, visits=out.visits, step_at=out.step_at, state=ENDED,
                reason=out.reason or 0,
            )
            for id_, out in ended.items()
        ]  # fmt: skip
        moves += [
            Move(
                bucket=at[id_][0].bucket, id=id_, step=out.place, visits=out.visits, step_at=out.step_at,
                state=UNDER_WAY, due_at=out.until_at or now, until_at=out.until_at,
            )
            for id_, out in waits.items() if id_ not in ended
        ]  # fmt: skip
        await enrolments.move(connection, moves, now)
        await enrolments.note(connection, done, now)
        await excepted.add(connection, prevented, now)
        leaving = [
            Told(WORKFLOW_EXITED, one.bucket, one.number, id_, self._names[one.campaign], ended[id_].reason or 0)
            for id_, (one, _) in at.items()
            if id_ in ended
        ]
        await self._tell(connection, leaving, now)
        return needs

    async def _look_at(
        self, connection: Connection, plan: Plan, place: int, some: Sequence[tuple[Enrolment, Standing]],
        is_there: bool, now: datetime,
    ) -> tuple[workflow.Facts, set[int]]:  # fmt: skip
        """Find what is so of some persons at one step; -> it, and those whose effect is still to be done."""
        facts = workflow.Facts()
        terms = self._terms(plan.document, now)
        anchors: dict[int, dict[int, datetime | None]] = {}
        for one, _ in some:
            anchors.setdefault(one.bucket, {})[one.id] = one.anchor_at
        least = min(one.anchor_at for one, _ in some)

        async def since_cause(*sought: Sought) -> dict[int, Hit]:
            found: dict[int, Hit] = {}
            for one in sought:
                hits = await happenings.happened(connection, anchors, one, least, terms)
                found = {id_: Hit(one.event, at) for id_, at in hits.items()} | found
            return found

        async def fitting(asked: Sequence[tuple[Enrolment, Standing]], tree: Predicate) -> set[int]:
            persons = sorted({(one.bucket, one.profile) for one, _ in asked})
            found = await happenings.matching(connection, persons, self._expanded(tree), terms)
            return {one.id for one, _ in asked if one.profile in found}

        if not is_there:
            facts.gone = await self._gone(connection, plan, some, now)
        facts.barred = await since_cause(*plan.exceptions)
        if consent_of(plan.document) is not None and plan.writes:
            facts.lost = await self._lost(some, since_cause, fitting, consent_of(plan.document))
        if plan.exit_goal is not None:
            facts.met = await since_cause(plan.exit_goal)
        if not is_there or place >= len(plan.steps):
            return facts, set()
        at = plan.steps[place]
        match at.step:
            case WaitFor():
                assert at.sought is not None
                reached: dict[int, dict[int, datetime | None]] = {}
                for one, standing in some:
                    reached.setdefault(one.bucket, {})[one.id] = standing.step_at
                begin = min(standing.step_at for _, standing in some)
                facts.happened = await happenings.happened(connection, reached, at.sought, begin, terms)
            case Send() | Ask() as step:
                first = some[0][0]
                sending_ = self._sends.get((first.campaign, first.version, place))
                if sending_ is None:
                    # Of an earlier version: opened behind our COMMIT, or one that was rolled back would stay known.
                    return facts, {one.id for one, _ in some}
                facts.skipped = await since_cause(*plan.bars, *at.exceptions)
                if plan.filter is not None:
                    facts.out = {one.id for one, _ in some} - await fitting(some, plan.filter)
                offer = step.content if isinstance(step, Send) else None
                if offer is not None:
                    had = await fitting(some, content.told_elsewhere(offer))
                    for one, standing in some:
                        self._elsewhere.pop((one.id, standing.visits), None)
                    if offer.otherwise:
                        self._elsewhere |= {(one.id, at_.visits): offer.otherwise for one, at_ in some if one.id in had}
                    else:
                        facts.failed = dict(facts.failed) | dict.fromkeys(had, int(Reason.EXCEPTION))
                if not is_to_staff(step):
                    await self._draw(connection, plan, step, some, facts, now)
                if sending_.composer.pool is not None:
                    return facts, self._unprepared(some, facts)
            case Branch():
                way: dict[int, int] = {}
                left = list(some)
                for number, tree in enumerate(at.trees):
                    found = await fitting(left, tree) if left else set()
                    way |= dict.fromkeys(found, number)
                    left = [pair for pair in left if pair[0].id not in found]
                facts.way = way
            case GoalCheck():
                facts.way = dict.fromkeys(await since_cause(plan.goals[0]), 0)
            case Webhook():
                visits = {(one.id, standing.visits): one.id for one, standing in some}
                states = await calls.states(connection, list(visits))
                facts.held = {visits[key] for key, state in states.items() if state == calls.WAITING}
                facts.failed = {visits[key]: int(Reason.ABORT) for key, at_ in states.items() if at_ == calls.FAILED}
                return facts, {id_ for key, id_ in visits.items() if key not in states}
            case Subscribe() | IssueCoupon() | CreateConversation() | SetAttribute() | ListAdd() | ListRemove() \
                    | Unsubscribe() | EnterWorkflow():  # fmt: skip
                visits = {(one.id, standing.visits): one.id for one, standing in some}
                made = {id_: self._effects[key] for key, id_ in visits.items() if key in self._effects}
                facts.held = {id_ for id_, reason in made.items() if reason == HELD}
                facts.failed = {id_: reason for id_, reason in made.items() if reason not in (0, HELD)}
                if at.sought is not None:
                    # Nobody has subscribed who has not said so.
                    unsaid = set(visits.values()) - made.keys() - (await since_cause(at.sought)).keys()
                    facts.failed |= dict.fromkeys(unsaid, int(Reason.NO_CONSENT))
                return facts, set(visits.values()) - made.keys() - facts.failed.keys()
        return facts, set()

    async def _lost(
        self, some: Sequence[tuple[Enrolment, Standing]], since_cause: Callable[..., Awaitable[Mapping[int, Hit]]],
        fitting: Callable[..., Awaitable[set[int]]], consent: Predicate | None,
    ) -> dict[int, int]:  # fmt: skip
        """Say who cannot be written to any more, and why: they have opted out since, or their number is lost (WF-9)."""
        lost = {one.id: int(Reason.NO_NUMBER) for one, standing in some if one.number is None and standing.visits}
        opted_out = await since_cause(OPTED_OUT)
        if opted_out:
            asked = [pair for pair in some if pair[0].id in opted_out]
            # Whoever has come back meanwhile goes on.
            lost |= dict.fromkeys(opted_out.keys() - await fitting(asked, consent), int(Reason.STOP))
        return lost

    async def _held(
        self,
        connection: Connection,
        plan: Plan,
        place: int,
        some: Sequence[tuple[Enrolment, Standing]],
        is_there: bool,
        now: datetime,
    ) -> dict[int, datetime]:
        """Say whose text waits for a person of ours who answers them, and until when at most (IN-7)."""
        step = plan.steps[place].step if is_there and place < len(plan.steps) else None
        if not isinstance(step, Send | Ask) or class_of(plan.document, step) not in PROMOTIONAL:
            return {}
        with_number = [(one.id, one.number) for one, _ in some if one.number is not None]
        numbers = [number for _, number in with_number]
        untils = await paused(connection, self._settings, numbers, now) if numbers else []
        # While it is open nobody knows until when.
        return {
            id_: min(until, now + HELD_LOOK)
            for (id_, _), until in zip(with_number, untils, strict=True)
            if until is not None
        }

    async def _ask(
        self,
        connection: Connection,
        texts: Mapping[tuple[int, int, int], list[tuple[Enrolment, Standing]]],
        missing: Container[tuple[int, int]],
        now: datetime,
    ) -> None:
        """Let the questions that are sent wait for their answers (IN-9)."""
        asked: dict[int, list[Asked]] = {}
        for (campaign, version, place), some in texts.items():
            plan = await self._plan(connection, campaign, version)
            step = plan.steps[place].step
            question = question_of(step, "question", []) if isinstance(step, Ask) else None
            if question is None:
                continue
            until = now + timedelta(seconds=question.timeout_s)
            for one, standing in some:
                if one.number is not None and (one.id, standing.visits) not in missing:
                    asked.setdefault(one.bucket, []).append(
                        Asked(
                            number=one.number, enrolment=one.id, step=question.name, visit=standing.visits,
                            question=question, asked_at=now, until=until, campaign=plan.document.name,
                        )
                    )  # fmt: skip
        for bucket, of_bucket in sorted(asked.items()):
            await conversations.ask(connection, bucket, of_bucket)

    async def _draw(
        self, connection: Connection, plan: Plan, step: Send | Ask,
        some: Sequence[tuple[Enrolment, Standing]], facts: workflow.Facts, now: datetime,
    ) -> None:  # fmt: skip
        """Draw who gets which text of an experiment, who is held out, and who waits for a winner (AB-1, AB-5, AB-6).

        Whoever is held out came as far as the others who get a text: that is their virtual send.
        """
        asked = [
            (one, standing)
            for one, standing in some
            if workflow.may_send(standing, facts) and one.id not in facts.barred and one.id not in facts.met
        ]
        failed, held = dict(facts.failed), set(facts.held)
        percent = self._settings.brand(plan.document.brand).control
        class_ = class_of(plan.document, step)
        if percent:
            out = {one.id for one, _ in asked if in_global_control(one.number or 0, self._salt, percent, class_)}
            failed |= dict.fromkeys(out, int(Reason.CONTROL_GROUP))
            asked = [pair for pair in asked if pair[0].id not in out]
        kept = self._experiments.get(plan.document.experiment.name) if plan.document.experiment else None
        if kept is not None and asked:
            allocation = allocation_of(kept.body)
            numbers: dict[int, set[int]] = {}
            for one, _ in asked:
                if one.number is not None:
                    numbers.setdefault(one.bucket, set()).add(one.number)
            arms: dict[int, int] = {}
            for bucket, some_numbers in sorted(numbers.items()):
                arms |= await experiments.assign_by_hash(connection, kept, bucket, sorted(some_numbers), at=now)
            for one, standing in asked:
                assert one.number is not None
                arm = arm_to_send(allocation, kept.standing, one.number, arms.get(one.number))
                if arm is None and kept.state in ("running", "held"):
                    held.add(one.id)
                elif arm is None or arm == CONTROL:
                    failed[one.id] = int(Reason.CAMPAIGN_ENDED if arm is None else Reason.CONTROL_GROUP)
                else:
                    self._arms[one.id, standing.visits] = arm
            reached: dict[int, set[int]] = {}
            for one, _ in asked:
                if one.number in arms and one.id not in held:
                    reached.setdefault(one.bucket, set()).add(one.number)
            for bucket, some_numbers in sorted(reached.items()):
                await experiments.reach(connection, kept.id, bucket, sorted(some_numbers), at=now)
        facts.failed, facts.held = failed, held

    def _unprepared(self, some: Sequence[tuple[Enrolment, Standing]], facts: workflow.Facts) -> set[int]:
        """Say for whom a code is still to be reserved; who gets no text needs none."""
        asked = [one for one in some if workflow.may_send(one[1], facts)]
        asked = [one for one in asked if one[0].id not in facts.barred and one[0].id not in facts.met]
        keys = {(one.id, standing.visits): one.id for one, standing in asked}
        facts.held = {*facts.held, *(id_ for key, id_ in keys.items() if self._effects.get(key) == HELD)}
        for key in [key for key in keys if self._effects.get(key) == HELD]:
            # Asked for anew when they are looked at again.
            del self._effects[key]
            keys.pop(key)
        return {id_ for key, id_ in keys.items() if key not in self._effects}

    async def _gone(
        self, connection: Connection, plan: Plan, some: Sequence[tuple[Enrolment, Standing]], now: datetime
    ) -> set[int]:
        """Find whose date is another by now than the one that brought them (TR-10)."""
        if not isinstance(plan.document.trigger, OnDate):
            return set()
        date = read_date(plan.document.trigger.date, "", [])
        due = [one for one, standing in some if standing.step_at <= now]
        if date is None or not due:
            return set()
        workspace = self._settings.brand(plan.document.brand).zone
        known = await persons_of(connection, due, workspace)
        found = set()
        for one in due:
            value = predicate.at_path(known[one.id].attributes, tuple(date.attribute.split(".")))
            at = occurrence_of(date, value, Clocks(known[one.id].told_zone or workspace, workspace), one.anchor_at)
            if at is None or f"date:{at.key}" != one.cause:
                found.add(one.id)
        return found

    async def _waits_of(
        self, connection: Connection, plan: Plan, some: Sequence[tuple[Enrolment, Standing]]
    ) -> workflow.Due:
        """Say how long waits of some persons are: by their own clocks, and what is known of them."""
        workspace = self._settings.brand(plan.document.brand).zone
        if all(at.delay is None or (isinstance(at.delay, After) and at.delay.supply is None) for at in plan.steps):
            return lambda delay, one, at: due_at(delay, at, Clocks(workspace, workspace), {})
        known = await persons_of(connection, [one for one, _ in some], workspace)

        def due(delay: Delay, one: Standing, at: datetime) -> datetime | None:
            of = known[one.id]
            return due_at(delay, at, Clocks(of.zone, workspace), of.values)

        return due

    async def _put_out(
        self, connection: Connection, texts: Mapping[tuple[int, int, int], Sequence[tuple[Enrolment, Standing]]],
        now: datetime,
    ) -> dict[tuple[int, int], int]:  # fmt: skip
        """Keep the texts that steps send, on their ways; -> (enrolment, visit) of those that cannot be: the reason."""
        missing: dict[tuple[int, int], int] = {}
        ids = self._ids(now)
        for key, some in texts.items():
            CURRENT.set(key[0])
            sends, plan = self._sends[key], self._plans[key[0], key[1]]
            composer = sends.composer
            workspace = self._settings.brand(plan.document.brand).zone
            persons: dict[int, Person] = {}
            if composer.needs_persons:
                persons = await persons_of(connection, [one for one, _ in some], workspace)
                await composer.recommend(
                    connection, [(one.bucket, one.id, one.profile) for one, _ in some], persons, now
                )
            step = plan.steps[key[2]].step
            assert isinstance(step, Send | Ask)
            recipients = self._recipients(plan.document, step, some)
            codes = {(one.enrolment, one.visit): self._codes.get((one.enrolment, one.visit)) for one in recipients}
            rows, reasons = await composer.rows(connection, sends.run.id, recipients, persons, codes, now, self._secret)
            missing |= {(one.id, standing.visits): int(Reason.NO_NUMBER) for one, standing in some if not recipients}
            # Two texts to one number go apart, as the gate wants them (sending.py).
            ways: dict[tuple[Any, int], tuple[list[int], list[list[str | None]]]] = {}
            texts_to: Counter[int] = Counter()
            under_way: set[tuple[int, int]] = set()
            for one, row, reason in zip(recipients, rows, reasons, strict=True):
                cell = sends.route.cell_of(one.number)
                if reason or not cell.lane:
                    missing[one.enrolment, one.visit] = reason or int(Refusal.NO_ROUTE)
                else:
                    self._reserved.pop((one.enrolment, one.visit), None)
                    under_way.add((one.enrolment, one.visit))
                    numbers, params = ways.setdefault((cell, texts_to[one.number]), ([], []))
                    texts_to[one.number] += 1
                    numbers.append(one.number)
                    params.append(row)
            # Of several people of ours one is enough.
            missing = {key: reason for key, reason in missing.items() if key not in under_way}
            await enrolments.put_out(
                connection,
                [
                    Outgoing(
                        bucket=some[0][0].bucket, lane=cell.lane, country=cell.country, id=next(ids), run=sends.run.id,
                        source=cell.source, fallback=cell.fallback, numbers=numbers, params=params,
                    )
                    for (cell, _), (numbers, params) in ways.items()
                ],
                now,
            )  # fmt: skip
        return missing

    def _recipients(
        self, document: Document, step: Send | Ask, some: Sequence[tuple[Enrolment, Standing]]
    ) -> list[Recipient]:
        """Say who is written to of some persons: they, or those of ours whom the brand lists today."""
        if isinstance(step, Send) and is_to_staff(step):
            numbers, _ = staff_of(self._settings.brand(document.brand), step.staff)
            return [
                Recipient(enrolment=one.id, visit=standing.visits, number=number)
                for one, standing in some
                for number in numbers
            ]
        return [
            recipient_of(one, standing.visits, self._arms.pop(key, 0), self._elsewhere.pop(key, ""))
            for one, standing in some
            for key in [(one.id, standing.visits)]
        ]

    # -- effects outside of the bucket ---------------------------------------------------------------------------------

    async def _give_back(self, connection: Connection, looked_at: set[int], waiting: set[int]) -> None:
        """Give back codes that were reserved for texts which were not sent after all: certainly not (TP-5)."""
        left: dict[tuple[int, int, int], list[str]] = {}
        for of in [of for of in self._codes if of[0] in looked_at and of[0] not in waiting]:
            del self._codes[of]
            if (step := self._reserved.pop(of, None)) is not None:
                left.setdefault(step, []).append(f"{of[0]}:{of[1]}")
        for step, keys in left.items():
            pool = self._sends[step].composer.pool
            if pool is not None:
                async with postgres.deadline(connection, self.STEP_S, "codes of no text"):
                    await coupons.give_back(connection, pool, keys)

    async def _prepare(self, connection: Connection, needs: Sequence[Need], now: datetime) -> None:
        """Reserve codes for texts, before there are any: the same for the same visit, whoever dies between."""
        by_step: dict[tuple[int, int, int], list[Need]] = {}
        for one in needs:
            by_step.setdefault((one.enrolment.campaign, one.enrolment.version, one.place), []).append(one)
        for key, some in by_step.items():
            if key not in self._sends:
                await self._open_earlier(connection, some[0], now)
                continue
            recipients = [recipient_of(one.enrolment, one.visits) for one in some]
            async with postgres.deadline(connection, self.STEP_S, "codes of a text"):
                found = await self._sends[key].composer.reserve(connection, recipients, now)
            for of, code in found.items():
                if code is not None:
                    self._codes[of] = code
                    self._reserved[of] = key
                self._effects[of] = HELD if code is None else 0
            if None in found.values():
                log.warning("! campaign %s: a pool of codes is empty, texts wait for it", some[0].plan.document.name)

    async def _open_earlier(self, connection: Connection, need: Need, now: datetime) -> None:
        """Have an open run for the texts of a version that is not the newest one; one hand at a time."""
        campaign, version, step = need.enrolment.campaign, need.enrolment.version, need.step
        assert isinstance(step, Send | Ask)
        async with self._opening, postgres.deadline(connection, self.STEP_S, "run of a step"):
            if (campaign, version, need.place) not in self._sends:
                await self._open(connection, campaign, version, need.place, step, need.plan, now)

    async def _effect(self, connection: Connection, need: Need, now: datetime) -> None:
        """Do what a step does outside of the bucket; once more it changes nothing."""

        def lane_of(number: int) -> int:
            way = self._route(self._lanes, MessageClass.CONVERSATION, "", now, self._living)
            return way.cell_of(number).lane or min(self._lanes.values(), default=0)

        async with postgres.deadline(connection, self.STEP_S, "effect of a step"):
            reason = await self._doing.do(connection, need.enrolment.bucket, need, lane_of, now)
        if reason == HELD:
            log.warning("! campaign %s: a pool of codes is empty, steps wait for it", need.plan.document.name)
        self._effects[need.enrolment.id, need.visits] = reason


async def persons_of(connection: Connection, some: Sequence[Enrolment], workspace: str) -> dict[int, Person]:
    """Read what is known of persons for texts and waits, by enrolment."""
    persons = sorted({(one.bucket, one.profile) for one in some})
    rows = await connection.fetch(
        query("persons_of_texts"), ints(bucket for bucket, _ in persons), ints(id_ for _, id_ in persons)
    )
    by_profile = {row["id"]: row for row in rows}
    found = {}
    for one in some:
        row = by_profile.get(one.profile)
        values: dict[str, Any] = dict(one.context)
        zone = country = ""
        attributes: dict[str, Any] = {}
        if row is not None:
            values |= {name: row[name] for name in ("external_id", "email", "language", "country") if row[name]}
            attributes = msgspec.json.decode(row["attributes"])
            values |= attributes
            zone, country = row["zone"] or "", row["country"] or ""
        values["event"] = one.context
        if isinstance(one.context.get("coupon"), dict):
            # Of a step before, whatever anybody calls so.
            values["coupon"] = one.context["coupon"]
        told_zone = zone
        if not zone and one.number is not None:
            clues = zones.Clues(number=one.number, country=country)
            zone = zones.whereabouts(clues, one.entered_at).places[0].zone
        # By whose clock texts tell times.
        values["zone"] = zone or workspace
        found[one.id] = Person(
            zone=zone or workspace, told_zone=told_zone, country=country, attributes=attributes, values=values
        )  # fmt: skip
    return found


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


def prevented_of(
    plan: Plan, one: Enrolment, standing: Standing, facts: workflow.Facts, now: datetime, due: workflow.Due
) -> list[Excepted]:  # fmt: skip
    """Say which text an exception has prevented: the one that somebody would have come to next (EX-5), if any."""
    hits = facts.barred if one.id in facts.barred else facts.skipped
    place = standing.step if standing.visits else 0
    if not isinstance(hits, Mapping) or one.id not in hits or not plan.leads_to_a_text(place):
        return []
    until = standing.until_at if standing.visits else workflow.reach(plan, 0, standing, standing.step_at, due)
    hit: Hit = hits[one.id]
    return [
        Excepted(
            bucket=one.bucket, enrolment=one.id, visit=max(1, standing.visits), profile=one.profile,
            campaign=plan.document.name, name=hit.name, happened_at=hit.at, told_at=hit.at,
            planned_at=max(until or now, now),
        )
    ]  # fmt: skip


def standing_of(one: Enrolment) -> Standing:
    """Say where somebody is, as the plan asks."""
    return Standing(
        id=one.id, step=one.step, visits=one.visits, number=one.number, anchor_at=one.anchor_at,
        entered_at=one.entered_at, step_at=one.step_at, until_at=one.until_at,
    )  # fmt: skip


def recipient_of(one: Enrolment, visits: int, arm: int = 0, variant: str = "") -> Recipient:
    """Say who is written to at a visit."""
    assert one.number is not None
    return Recipient(enrolment=one.id, visit=visits, number=one.number, arm=arm, variant=variant)


def sender_of(document: Document, step: Send | Ask) -> str:
    """Say from whom the messages of a step are; "" = as [senders] says."""
    return (step.sender if isinstance(step, Send) else "") or document.sender


def consent_of(document: Document) -> Predicate | None:
    """Write whose consent somebody has to have given to enter; None: nobody's."""
    class_ = MessageClass[document.class_.upper()]
    brand = f"{document.brand}/{document.programme}" if document.programme else document.brand
    promotional = Consent("promotional", brand)
    if class_ in (MessageClass.TRIGGERED, MessageClass.BULK):
        return promotional
    return Or((promotional, Consent("transactional", brand))) if class_ == MessageClass.TRANSACTIONAL else None


def gate_of(
    settings: Settings, document: Document, step: Send | Ask, plan: Plan, expanded: Callable[[Predicate], Predicate],
    campaign: int, place: int,
) -> Gate:  # fmt: skip
    """Say what the gate asks of everybody to whom a step writes."""
    brand, class_ = settings.brand(document.brand), class_of(document, step)
    elsewhere = content.excepting(None, step.content if isinstance(step, Send) else None)
    gate = gate_of_brand(
        document.brand, brand, class_, programme=document.programme,
        tags=(*document.tags, *(step.tags if isinstance(step, Send) else ())), value=document.value,
        audience=None if plan.filter is None else msgspec.to_builtins(expanded(plan.filter)),
        exception=None if elsewhere is None else msgspec.to_builtins(elsewhere),
        labels=law.labels(brand.label) if class_ in law.PROMOTIONAL else {},
    )  # fmt: skip
    caps = (*gate.caps, *document.caps)
    windows = dict(gate.windows) | ({"campaign": document.hours} if document.hours is not None else {})
    goal = plan.exit_goal
    expires = (step.expires if isinstance(step, Send) else None) or document.expires
    return msgspec.structs.replace(
        gate, caps=caps, windows=windows, campaign=campaign,
        exceptions=plan.excepting(place), goal=goal,
        expires_s=seconds_of(expires),
    )  # fmt: skip


def _is_over(plan: Plan, now: datetime) -> bool:
    return plan.ends_at is not None and now >= plan.ends_at


async def subject_of(connection: Connection, plan: Plan) -> str:
    """Find the id of the audience or the list whose coming and going begins a campaign; "" where it is neither."""
    trigger = plan.document.trigger
    if isinstance(trigger, OnAudience):
        found = (await selection.kept(connection)).get(trigger.audience)
        return "" if found is None else str(found.id)
    if isinstance(trigger, OnList):
        of = await people.find_list(connection, trigger.list)
        return "" if of is None else str(of.id)
    return ""
