"""Carries persons through the steps of their campaigns, some hundred at a time.

    due enrolments ─► by campaign, version and step ─► what is so of them, set-wise, and what the gate says (asking.py)
    ─► workflow.advance, one by one
    ─► moves, step_run, outgoing texts, questions    in the transaction of the step, all of it or none
    ─► Need                                          what is to be done outside of the bucket: behind its COMMIT

A step whose effect is outside is reached in one transaction, done behind its COMMIT, named by enrolment and visit so
that doing it once more changes nothing, and left in the next: a crash repeats it, never its effect (WF-2).
Whom the gate lets wait stays at the step, and there is no text, code or link until it lets them pass (TP-3).
Not here: what becomes of a text (sending.py), the gate (dispatch/admission.py).
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

import msgspec

from gateway import content, predicate
from gateway.automation import asking
from gateway.automation.asking import Gate, Left
from gateway.automation.composing import HELD, Person, Recipient, class_of
from gateway.automation.effects import Effects, Need
from gateway.automation.readying import CURRENT, OPTED_OUT, STEP_S, Readying, Sending, consent_of
from gateway.automation.staffing import paused
from gateway.automation.telling import Told
from gateway.automation.withdrawing import Withdrawing
from gateway.brand import PROMOTIONAL, staff_of
from gateway.campaign import workflow, zones
from gateway.campaign.delays import Clocks, due_at, occurrence_of
from gateway.campaign.workflow import Outcome, Plan, Standing
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
    OnDate,
    Send,
    SetAttribute,
    Subscribe,
    Unsubscribe,
    WaitFor,
    Webhook,
    is_to_staff,
)
from gateway.experiment import CONTROL, allocation_of, arm_to_send, in_global_control
from gateway.happening import Sought
from gateway.message import MessageClass, Refusal
from gateway.person import WORKFLOW_EXITED
from gateway.predicate import Predicate
from gateway.question import question_of
from gateway.reasons import Reason
from gateway.store import (
    calls,
    conversations,
    coupons,
    enrolments,
    excepted,
    experiments,
    happenings,
    postgres,
    profiles,
)
from gateway.store.columns import ints
from gateway.store.conversations import Asked
from gateway.store.coupons import Code
from gateway.store.enrolments import ENDED, UNDER_WAY, Done, Enrolment, Move, Outgoing
from gateway.store.excepted import Excepted, Hit
from gateway.store.postgres import Connection
from gateway.store.queries import query

log = logging.getLogger(__name__)

# Steps of one person in one transaction; what is left goes on in the next.
HOPS = 20
# Whoever talks with a person of ours is looked at so often, until that is over.
TALK_LOOK = timedelta(minutes=15)


class Carrying:
    """What steps do. stepped: how many, since it began."""

    def __init__(
        self, ready: Readying, withdrawing: Withdrawing, ids: Callable[[datetime], Iterator[int]], chance: Random,
        secret: Random, gate: Gate,
    ):  # fmt: skip
        self._ready = ready
        self._withdrawing = withdrawing
        self._gate = gate
        self._ids = ids
        self._doing = Effects(ready.settings, chance, profiles.Kinds())
        # Effects that are done, by enrolment and visit: 0, or the reason why one came to nothing.
        self._effects: dict[tuple[int, int], int] = {}
        self._codes: dict[tuple[int, int], Code] = {}
        # Those that a text has not taken yet, with the step they were reserved for.
        self._reserved: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._arms: dict[tuple[int, int], int] = {}
        # Who has had an offer elsewhere, with the text that they get in its place.
        self._elsewhere: dict[tuple[int, int], str] = {}
        # Of links, which nobody may guess.
        self._secret = secret
        self.stepped = 0

    async def carry_on(self, connection: Connection, due: Sequence[Enrolment], now: datetime) -> list[Need]:
        """Carry on who is due, step by step; -> whose step has an effect that is to be done outside."""
        at: dict[int, tuple[Enrolment, Standing]] = {one.id: (one, standing_of(one)) for one in due}
        ended: dict[int, Outcome] = {}
        waits: dict[int, Outcome] = {}
        needs: list[Need] = []
        done: list[Done] = []
        prevented: list[Excepted] = []
        texts: dict[tuple[int, int, int], list[tuple[Enrolment, Standing]]] = {}
        lately: dict[int, Left] = {}
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
                plan = await self._ready.plan(connection, campaign, version)
                some = [at[id_] for id_ in ids]
                facts, later = await self._look_at(
                    connection, plan, place, some, is_there, lately.setdefault(campaign, {}), now
                )
                if later:
                    needs += [Need(plan, place, one, standing.visits) for one, standing in some if one.id in later]
                due_of = await self._waits_of(connection, plan, some)
                for one, standing in some:
                    if one.id in later:
                        waits[one.id] = Outcome(
                            place=standing.step, visits=standing.visits, step_at=standing.step_at, until_at=now
                        )
                        continue
                    self._effects.pop((one.id, standing.visits), None)
                    outcome = workflow.advance(plan, standing, facts, now, self._ready.salt, due_of)
                    self.stepped += 1
                    if outcome.done == Reason.EXCEPTION:
                        prevented += prevented_of(plan, one, standing, facts, now, due_of)
                    if outcome.done is not None and place < len(plan.steps):
                        step = plan.steps[place].step
                        is_send = isinstance(step, Send | Ask) and outcome.done == workflow.DONE
                        if is_send and outcome.reason in (None, workflow.DONE):
                            texts.setdefault((campaign, version, place), []).append((one, standing))
                        to_person = is_send and not is_to_staff(step)
                        run = self._ready.sends[campaign, version, place].run.id if to_person else None
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
        missing, put = await self._put_out(connection, texts, now)
        await self._ask(connection, texts, missing, now)
        done = [
            msgspec.structs.replace(one, outcome=missing[one.enrolment, one.visit], run=None)
            if (one.enrolment, one.visit) in missing
            else one
            if one.run is None
            else msgspec.structs.replace(one, outgoing=put.get((one.enrolment, one.visit)))
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
        # Behind what was done: whoever leaves here may have been written to a moment before.
        await self._withdrawing.leave(
            connection, {(at[id_][0].bucket, id_): out.reason for id_, out in ended.items() if out.reason}, now
        )
        await excepted.add(connection, prevented, now)
        leaving = [
            Told(WORKFLOW_EXITED, one.bucket, one.number, id_, self._ready.names[one.campaign], ended[id_].reason or 0)
            for id_, (one, _) in at.items()
            if id_ in ended
        ]
        await self._ready.tell(connection, leaving, now)
        return needs

    async def _look_at(
        self, connection: Connection, plan: Plan, place: int, some: Sequence[tuple[Enrolment, Standing]],
        is_there: bool, lately: Left, now: datetime,
    ) -> tuple[workflow.Facts, set[int]]:  # fmt: skip
        """Find what is so of some persons at one step; -> it, and those whose effect is still to be done.

        lately  texts of the campaign that persons get in this transaction
        """
        facts = workflow.Facts()
        terms = self._ready.terms(plan.document, now)
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
            found = await happenings.matching(connection, persons, self._ready.expanded(tree), terms)
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
                sending_ = self._ready.sends.get((first.campaign, first.version, place))
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
                    await self._ask_gate(connection, plan, step, sending_, some, facts, lately, now)
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
            plan = await self._ready.plan(connection, campaign, version)
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

    async def _ask_gate(
        self, connection: Connection, plan: Plan, step: Send | Ask, sending_: Sending,
        some: Sequence[tuple[Enrolment, Standing]], facts: workflow.Facts, lately: Left, now: datetime,
    ) -> None:  # fmt: skip
        """Draw arms, and ask the gate about all who would be written to, and all who are held out alike (AB-6).

        Who waits, waits at the step. Whom it refuses and who is not held out gets a text nevertheless: the claim asks
        once more, and says why it does not leave.
        """
        asked = [pair for pair in some if _would_get(pair, facts)]
        out, tested = await self._draw(connection, plan, step, asked, facts, now)
        facts.talks = await self._talks(connection, plan, step, [one for one, _ in asked], now)
        to_ask = [one for one, standing in asked if _would_get((one, standing), facts)]
        verdicts = await asking.ask(self._gate, connection, sending_, self._ready.senders, to_ask, out, lately, now)
        facts.waits = {id_: until for id_, (_, until) in verdicts.items() if until is not None}
        for one, standing in asked:
            if one.id in facts.waits or one.id in facts.talks:
                # Drawn and asked for anew when they are looked at again.
                self._arms.pop((one.id, standing.visits), None)
                self._elsewhere.pop((one.id, standing.visits), None)
        refused = {id_: verdict or int(Reason.CONTROL_GROUP) for id_, (verdict, _) in verdicts.items() if id_ in out}
        refused = {id_: reason for id_, reason in refused.items() if id_ not in facts.waits}
        facts.failed = dict(facts.failed) | refused
        kept = self._ready.experiments.get(plan.document.experiment.name) if plan.document.experiment else None
        reached: dict[int, set[int]] = {}
        for one in to_ask:
            if one.id in tested and not verdicts[one.id][0] and one.number is not None:
                reached.setdefault(one.bucket, set()).add(one.number)
        for bucket, numbers in sorted(reached.items()):
            assert kept is not None
            await experiments.reach(connection, kept.id, bucket, sorted(numbers), at=now)

    async def _talks(
        self, connection: Connection, plan: Plan, step: Send | Ask, some: Sequence[Enrolment], now: datetime
    ) -> dict[int, datetime]:
        """Say whose text waits for a person of ours who answers them, and when they are looked at again (IN-7)."""
        if class_of(plan.document, step) not in PROMOTIONAL or not some:
            return {}
        numbers = [one.number or 0 for one in some]
        untils = await paused(connection, self._ready.settings, numbers, now)
        # While it is open nobody knows until when.
        return {one.id: min(at, now + TALK_LOOK) for one, at in zip(some, untils, strict=True) if at is not None}

    async def _draw(
        self, connection: Connection, plan: Plan, step: Send | Ask, asked: Sequence[tuple[Enrolment, Standing]],
        facts: workflow.Facts, now: datetime,
    ) -> tuple[set[int], set[int]]:  # fmt: skip
        """Draw who gets which text of an experiment, who is held out, and who waits for a winner (AB-1, AB-5, AB-6).

        ->  who is held out, and all who are in the experiment
        """
        failed, held = dict(facts.failed), set(facts.held)
        out: set[int] = set()
        tested: set[int] = set()
        percent = self._ready.settings.brand(plan.document.brand).control
        class_ = class_of(plan.document, step)
        if percent:
            out = {one.id for one, _ in asked if in_global_control(one.number or 0, self._ready.salt, percent, class_)}
            asked = [pair for pair in asked if pair[0].id not in out]
        kept = self._ready.experiments.get(plan.document.experiment.name) if plan.document.experiment else None
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
                elif arm is None:
                    failed[one.id] = int(Reason.CAMPAIGN_ENDED)
                elif arm == CONTROL:
                    out.add(one.id)
                else:
                    self._arms[one.id, standing.visits] = arm
                if one.number in arms and one.id not in held and one.id not in failed:
                    tested.add(one.id)
        facts.failed, facts.held = failed, held
        return out, tested

    def _unprepared(self, some: Sequence[tuple[Enrolment, Standing]], facts: workflow.Facts) -> set[int]:
        """Say for whom a code is still to be reserved; who gets no text needs none."""
        asked = [pair for pair in some if _would_get(pair, facts) and pair[0].id not in facts.waits]
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
        workspace = self._ready.settings.brand(plan.document.brand).zone
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
        workspace = self._ready.settings.brand(plan.document.brand).zone
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
    ) -> tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]]:  # fmt: skip
        """Keep the texts that steps send, on their ways.

        -> (enrolment, visit) of those that cannot be: the reason; and of the others: what they went into
        """
        missing: dict[tuple[int, int], int] = {}
        put: dict[tuple[int, int], int] = {}
        ids = self._ids(now)
        for key, some in texts.items():
            CURRENT.set(key[0])
            sends, plan = self._ready.sends[key], self._ready.plans[key[0], key[1]]
            composer = sends.composer
            workspace = self._ready.settings.brand(plan.document.brand).zone
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
            ways: dict[tuple[Any, int], tuple[int, list[int], list[list[str | None]]]] = {}
            texts_to: Counter[int] = Counter()
            under_way: set[tuple[int, int]] = set()
            for one, row, reason in zip(recipients, rows, reasons, strict=True):
                cell = sends.route.cell_of(one.number)
                if reason or not cell.lane:
                    missing[one.enrolment, one.visit] = reason or int(Refusal.NO_ROUTE)
                else:
                    self._reserved.pop((one.enrolment, one.visit), None)
                    under_way.add((one.enrolment, one.visit))
                    way = cell, texts_to[one.number]
                    if way not in ways:
                        ways[way] = next(ids), [], []
                    put[one.enrolment, one.visit], numbers, params = ways[way]
                    texts_to[one.number] += 1
                    numbers.append(one.number)
                    params.append(row)
            # Of several people of ours one is enough.
            missing = {key: reason for key, reason in missing.items() if key not in under_way}
            await enrolments.put_out(
                connection,
                [
                    Outgoing(
                        bucket=some[0][0].bucket, lane=cell.lane, country=cell.country, id=id_, run=sends.run.id,
                        source=cell.source, fallback=cell.fallback, numbers=numbers, params=params,
                    )
                    for (cell, _), (id_, numbers, params) in ways.items()
                ],
                now,
            )  # fmt: skip
        return missing, put

    def _recipients(
        self, document: Document, step: Send | Ask, some: Sequence[tuple[Enrolment, Standing]]
    ) -> list[Recipient]:
        """Say who is written to of some persons: they, or those of ours whom the brand lists today."""
        if isinstance(step, Send) and is_to_staff(step):
            numbers, _ = staff_of(self._ready.settings.brand(document.brand), step.staff)
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

    async def give_back(self, connection: Connection, looked_at: set[int], waiting: set[int]) -> None:
        """Give back codes that were reserved for texts which were not sent after all: certainly not (TP-5)."""
        left: dict[tuple[int, int, int], list[str]] = {}
        for of in [of for of in self._codes if of[0] in looked_at and of[0] not in waiting]:
            del self._codes[of]
            if (step := self._reserved.pop(of, None)) is not None:
                left.setdefault(step, []).append(f"{of[0]}:{of[1]}")
        for step, keys in left.items():
            pool = self._ready.sends[step].composer.pool
            if pool is not None:
                async with postgres.deadline(connection, STEP_S, "codes of no text"):
                    await coupons.give_back(connection, pool, keys)

    async def prepare(self, connection: Connection, needs: Sequence[Need], now: datetime) -> None:
        """Reserve codes for texts, before there are any: the same for the same visit, whoever dies between."""
        by_step: dict[tuple[int, int, int], list[Need]] = {}
        for one in needs:
            by_step.setdefault((one.enrolment.campaign, one.enrolment.version, one.place), []).append(one)
        for key, some in by_step.items():
            if key not in self._ready.sends:
                await self._open_earlier(connection, some[0], now)
                continue
            recipients = [recipient_of(one.enrolment, one.visits) for one in some]
            async with postgres.deadline(connection, STEP_S, "codes of a text"):
                found = await self._ready.sends[key].composer.reserve(connection, recipients, now)
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
        async with self._ready.opening, postgres.deadline(connection, STEP_S, "run of a step"):
            if (campaign, version, need.place) not in self._ready.sends:
                await self._ready.open(connection, campaign, version, need.place, step, need.plan, now)

    async def effect(self, connection: Connection, need: Need, now: datetime) -> None:
        """Do what a step does outside of the bucket; once more it changes nothing."""

        def lane_of(number: int) -> int:
            way = self._ready.route(self._ready.lanes, MessageClass.CONVERSATION, "", now, self._ready.living)
            return way.cell_of(number).lane or min(self._ready.lanes.values(), default=0)

        async with postgres.deadline(connection, STEP_S, "effect of a step"):
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


def _would_get(pair: tuple[Enrolment, Standing], facts: workflow.Facts) -> bool:
    """Whether a text goes to somebody who is at a step that sends, as far as is known."""
    one, standing = pair
    is_here = not any(one.id in known for known in (facts.barred, facts.met, facts.lost, facts.held, facts.talks))
    return is_here and workflow.may_send(standing, facts)


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
