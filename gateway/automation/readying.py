"""How campaigns stand, read twice a second: plans, who may enter, and what the texts of their steps need.

    campaigns, versions ─► Plan       of each version that anybody is in, with the exceptions that tags share (EX-4)
    steps that send ─► Sending        an open run, what it says, the ways of its numbers as carriers stand now

One campaign that cannot be carried out is paused, and told of: the others go on. Not here: who enters (arriving.py),
what steps do (carrying.py).
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime, timedelta
from random import Random
from typing import TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from gateway import content
from gateway.automation import launching, telling
from gateway.automation.composing import Composer, class_of
from gateway.automation.job import Every
from gateway.automation.telling import Told
from gateway.brand import gate_of_brand
from gateway.campaign import audience, law, workflow
from gateway.campaign.entering import Live
from gateway.campaign.rates import per_s_of_clicks
from gateway.campaign.workflow import Plan
from gateway.config import Settings
from gateway.document import (
    Ask,
    Document,
    OnAudience,
    OnList,
    Send,
    is_to_staff,
)
from gateway.errors import StoreError
from gateway.events import event
from gateway.gate import Gate
from gateway.gate import gate_of as gate_read
from gateway.happening import Sought
from gateway.message import MessageClass
from gateway.predicate import Consent, Or, Predicate
from gateway.rate import clicks_plan
from gateway.reasons import Reason
from gateway.routing import Plan as RoutePlan
from gateway.store import (
    campaigns,
    conversations,
    coupons,
    enrolments,
    events,
    experiments,
    people,
    placement,
    postgres,
    rates,
    runs,
    selection,
)
from gateway.store.audiences import Terms
from gateway.store.enrolments import Ended
from gateway.store.postgres import Connection

log = logging.getLogger(__name__)

BUCKETS = 256
DUE_A_STEP = 1000
# Whether somebody is left in a campaign that drains.
DRAIN_S = 60.0
# Of an event; and of no lane.
MOST_WHY = 500
NO_LANE = 0
# A run of a step is open for so long; the next one takes what comes then.
RUN_LIFE = timedelta(days=1)
STEP_S = 60.0
# Begins a loop that goes on as long as anybody is found.
NOBODY = Ended(bucket=0, id=0, campaign=0, number=None)
OPTED_OUT = Sought(event="opted_out")

Key: TypeAlias = tuple[int, int]
"""A version of a campaign: its id and the version."""
Route: TypeAlias = Callable[[Mapping[str, int], MessageClass, str, datetime, Sequence[runs.Worker]], RoutePlan]
CURRENT: ContextVar[int] = ContextVar("campaign")
"""Whose people are looked at now, by each of the hands."""


class Sending(Struct, kw_only=True):
    """Where the texts of a step go: its open run, what they say, the way of each number, and what its gate excepts."""

    run: runs.Run
    composer: Composer
    route: RoutePlan
    exceptions: tuple[Sought, ...]


class Readying:
    """What one worker knows of all campaigns.

    live, queues, paused  those that people enter, that keep who is brought for later (WF-9), and that stand still
    sends                 by campaign, version and place
    """

    def __init__(self, settings: Settings, chance: Random, route: Route):
        self.settings = settings
        self.route = route
        self._chance = chance
        self.opening = asyncio.Lock()
        # Over several servers: buckets of one transaction are those of one shard.
        self.is_spread = False
        self._draining = Every(DRAIN_S)
        self.launched: dict[int, datetime] = {}
        self.plans: dict[Key, Plan] = {}
        # As they are written, without the exceptions of others; and those that whatever has a tag shares, by campaign.
        self._own: dict[Key, Plan] = {}
        self._shared: dict[int, tuple[tuple[str, Sought], ...]] = {}
        self.live: dict[int, Live] = {}
        self.paused: list[int] = []
        # Those of them that people are entered into, to go on with them (WF-9); and those whose people have left.
        self.queues: dict[int, Live] = {}
        self._ended: set[int] = set()
        self.names: dict[int, str] = {}
        self.trees: dict[str, Predicate] = {}
        self.audiences: dict[str, int] = {}
        # What of entering and leaving is asked for by conditions on persons (EV-11).
        self.counted: set[str] = set()
        self.sends: dict[tuple[int, int, int], Sending] = {}
        self._routes: dict[tuple[MessageClass, str], RoutePlan] = {}
        self.salt = ""
        self.lanes: dict[str, int] = {}
        # Of each lane, where a way names none.
        self.senders: dict[int, str] = {}
        self.living: Sequence[runs.Worker] = ()
        self.experiments: dict[str, experiments.Kept] = {}

    async def look(self, connection: Connection, now: datetime) -> None:
        """Read how campaigns, audiences and carriers stand."""
        async with postgres.deadline(connection, STEP_S, "campaigns"):
            if not self.salt:
                self.is_spread = await placement.is_spread(connection)
                self.salt = await selection.salt(connection, f"{self._chance.getrandbits(128):032x}")
            self._routes = {}
            kept = await selection.kept(connection)
            self.trees = {name: one.tree for name, one in kept.items()}
            self.audiences = {name: one.id for name, one in kept.items()}
            self.living = [one for one in await runs.workers(connection)]
            self.lanes = {name: await runs.lane_of(connection, name, now) for name in self.settings.carriers}
            self.senders = {lane: self.settings.carriers[name].source for name, lane in self.lanes.items()}
            live: dict[int, Live] = {}
            queues: dict[int, Live] = {}
            paused = []
            every = await campaigns.every(connection)
            await self._share(connection, every)
            for one in every:
                self.names[one.id] = one.name
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
                    await self.stop(connection, one.id, error, now)
                    paused.append(one.id)
            if self._draining.is_due(now):
                self._draining.done(now)
            self.live, self.paused, self.queues = live, paused, queues
            conditions = [tree for plan in self.plans.values() for tree in workflow.conditions(plan)]
            self.counted = telling.counted([*self.trees.values(), *conditions])

    async def _share(self, connection: Connection, every: Sequence[campaigns.Campaign]) -> None:
        """Find the exceptions that whatever has a tag shares, as campaigns stand now (EX-4)."""
        shared = {}
        for one in every:
            if not one.live_version or one.state == "ended":
                continue
            try:
                await self.plan(connection, one.id, one.live_version)
            except Exception as error:  # of one campaign, which is stopped for it as it is made ready
                if isinstance(error, StoreError) and error.retryable:
                    raise
                continue
            if pairs := self._own[one.id, one.live_version].shared:
                shared[one.id] = pairs
        if shared != self._shared:
            self._shared = shared
            self.plans = {key: self._with_shared(key, plan) for key, plan in self._own.items()}

    async def _stands(self, connection: Connection, one: campaigns.Campaign, now: datetime) -> Live | None:
        """Make ready what a campaign needs; -> it, if people may enter it."""
        plan = await self.plan(connection, one.id, one.live_version)
        has_ended = is_over(plan, now)
        if has_ended and plan.document.at_end == "drain":
            is_asked = one.state == "live" and self._draining.is_due(now)
            has_ended = is_asked and not await enrolments.any_under_way(connection, one.id)
        if one.state == "ended" or (one.state == "live" and has_ended):
            await self._end(connection, one, now)
        queues = one.state == "paused" and plan.document.paused_entries == "queue"
        if has_ended or not (one.state == "live" or queues):
            return None
        self.launched[one.id] = one.launched_at or now
        if plan.document.experiment is not None:
            kept = await experiments.named(connection, plan.document.experiment.name)
            if kept is not None:
                self.experiments[kept.body.name] = kept
        for place, step in () if queues else plan.sends():
            await self.open(connection, one.id, one.live_version, place, step, plan, now)
        subject = await subject_of(connection, plan)
        return Live(id=one.id, version=one.live_version, plan=plan, subject=subject, since=one.launched_at)

    async def plan(self, connection: Connection, campaign: int, version: int) -> Plan:
        """Read the plan of a version, once."""
        key = (campaign, version)
        if key not in self.plans:
            await self._read(connection, key)
        return self.plans[key]

    async def _read(self, connection: Connection, key: Key) -> None:
        found = await campaigns.version_of(connection, *key)
        plan, problems = workflow.plan_of(found.document)
        for problem in problems:
            log.error("! campaign %s: %s: expected %s, found %s", found.document.name, *problem)
        self._own[key] = plan
        self.plans[key] = self._with_shared(key, plan)

    def _with_shared(self, key: Key, plan: Plan) -> Plan:
        of_others = (pair for campaign, pairs in self._shared.items() if campaign != key[0] for pair in pairs)
        return workflow.with_shared(plan, of_others)

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
        if (await self.plan(connection, one.id, one.live_version)).document.at_end != "drain":
            await launching.cancel_runs(connection, one.id, now, f"campaign {one.name}")
        self.sends = {key: each for key, each in self.sends.items() if key[0] != one.id}
        for bucket in range(BUCKETS):
            ended = [NOBODY]
            while ended:
                async with connection.transaction():
                    ended = await enrolments.end_campaign(
                        connection, bucket, one.id, int(Reason.CAMPAIGN_ENDED), now, DUE_A_STEP
                    )
                    await self.tell(connection, telling.left(ended, one.name, int(Reason.CAMPAIGN_ENDED)), now)
        self._ended.add(one.id)

    async def open(
        self, connection: Connection, campaign: int, version: int, place: int, step: Send | Ask, plan: Plan,
        now: datetime,
    ) -> None:  # fmt: skip
        """Have an open run for the texts of a step, and the ways of its numbers as carriers stand now."""
        key = (campaign, version, place)
        known = self.sends.get(key)
        if known is None:
            of_step = [
                one for one in await campaigns.runs_of(connection, campaign) if (one.version, one.step) == key[1:]
            ]
            run = await runs.run_by_id(connection, of_step[-1].run) if of_step else None
        else:
            run = known.run
        document = plan.document
        class_ = class_of(document, step)
        composer = known.composer if known else Composer(plan, step, self.settings.brand(document.brand), class_)
        await composer.open(connection, now)
        # Others may share exceptions with it, or do so no more: its gate asks for those that its run was made with.
        exceptions = plan.excepting(place)
        gate = gate_read(run.gate) if known is None and run is not None else None
        asked = known.exceptions if known is not None else () if gate is None else gate.exceptions
        if run is None or asked != exceptions or run.cancelled_at is not None or now - run.created_at >= RUN_LIFE:
            run = await self._new_run(connection, campaign, version, place, step, plan, composer, class_, now)
        way = (class_, sender_of(document, step))
        if way not in self._routes:
            self._routes[way] = self.route(self.lanes, *way, now, self.living)
        route = self._routes[way]
        if known is not None and known.run is run:
            known.route = route
        else:
            self.sends[key] = Sending(run=run, composer=composer, route=route, exceptions=exceptions)

    async def _new_run(
        self, connection: Connection, campaign: int, version: int, place: int, step: Send | Ask, plan: Plan,
        composer: Composer, class_: MessageClass, now: datetime,
    ) -> runs.Run:  # fmt: skip
        document = plan.document
        async with connection.transaction():
            run = await runs.add_run(
                connection, name=document.name, template=composer.text,
                fields=composer.fields,
                class_=class_, policy=document.policy, lanes=sorted(self.lanes.values()), list_id=None,
                source=f"campaign {document.name} v{version}", now=now, priority=document.priority,
                gate=None
                if is_to_staff(step)
                else gate_of(self.settings, document, step, plan, self.expanded, campaign, place),
                # In nobody's caps, history and figures (RP-3): it is told of the person, and not to them.
                is_test=is_to_staff(step),
            )  # fmt: skip
            await campaigns.add_run(connection, campaign, version, place, run.id)
            pace = clicks_plan(step.clicks, step.click_share) if isinstance(step, Send) else None
            if pace is not None:
                # Nobody knows how many people it will have.
                await rates.add(connection, run.id, pace, 0, per_s_of_clicks(pace), None)
            if composer.pool is not None:
                await coupons.carry(connection, run.id, composer.pool, len(composer.fields))
        return run

    async def stop(self, connection: Connection, campaign: int, error: Exception, now: datetime) -> None:
        """Pause a campaign that cannot be carried out, and tell: the others would wait behind it for ever."""
        name = self.names[campaign]
        log.error("! campaign %s is paused, it cannot be carried out: %s", name, error, exc_info=error)
        async with postgres.deadline(connection, STEP_S, "campaigns"), connection.transaction():
            held = await campaigns.hold(connection, name)
            if held.state == "live":
                await campaigns.go(connection, held, "paused", now)
                told = event("campaign.paused", now, name, why=str(error)[:MOST_WHY])
                await events.take_turn(connection, NO_LANE)
                await events.append(connection, NO_LANE, [told])
        self.live.pop(campaign, None)
        self.paused.append(campaign)

    async def tell(self, connection: Connection, some: Sequence[Told], now: datetime) -> None:
        """Say who has entered or left, where anybody asks for it (EV-11)."""
        if some:
            await telling.tell(connection, some, now, self.counted)

    def expanded(self, tree: Predicate) -> Predicate:
        """Put the audiences in that a condition names, as they stand."""
        return audience.expand(tree, self.trees)

    def terms(self, document: Document, now: datetime) -> Terms:
        """Say what a condition of a document is asked with."""
        return Terms(now=now, zone=ZoneInfo(self.settings.brand(document.brand).zone), salt=self.salt)


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
    return msgspec.structs.replace(
        gate, caps=caps, windows=windows, campaign=campaign,
        exceptions=plan.excepting(place), goal=goal,
        expires_s=workflow.expires_s(document, step),
    )  # fmt: skip


def is_over(plan: Plan, now: datetime) -> bool:
    """Say whether a campaign has come to its own end."""
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
