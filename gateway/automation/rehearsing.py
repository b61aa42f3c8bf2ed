"""A workflow carried out over real people in virtual time: what would be sent to whom, when, in how many parts, WF-11.

    who would enter ─► facts of a rehearsal ─► arms, texts ─► the gate ─► advance, as carrying.py calls it ─► counts
         ▲                                                        │ wait until             │
         └─────────────── all who are due at the next moment, together ◄───────────────────┘

Everybody enters at one moment. Branches are asked of people as they are now. Nobody does anything unless it is assumed:
`clicked=0.1` has a tenth of those whom a text reached do so within a day of it, the same ones in each rehearsal. Codes
and links are of their lengths. The gate itself says what may leave when: windows, caps and gaps, of what has left for
real and of what would have by then; what others send meanwhile nobody knows. Nothing is written, reserved or told.
Not here: how the gate is asked (dispatch/preview.py: Foresight).
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from _fastpath.alphabet import measure
from gateway.automation.carrying import persons_of, standing_of
from gateway.automation.composing import Person, class_of, reason_of, template_of
from gateway.automation.readying import consent_of, gate_of, sender_of
from gateway.brand import BrandSettings, staff_of, with_footer
from gateway.campaign import audience, workflow
from gateway.campaign.delays import Clocks, due_at
from gateway.campaign.rendering import Renderer
from gateway.campaign.workflow import Facts, Plan, Standing
from gateway.config import Settings
from gateway.content import told_elsewhere
from gateway.countries import country_of
from gateway.delay import Delay
from gateway.document import Ask, Branch, GoalCheck, Send, WaitFor, is_to_staff
from gateway.experiment import CONTROL, Allocation, allocation_of, arm_to_send, in_global_control
from gateway.experiment import Standing as Trial
from gateway.gate import Gate
from gateway.message import MessageClass, Refusal
from gateway.person import hash_of
from gateway.predicate import RANDOM_BUCKETS, Everyone, Predicate, random_bucket
from gateway.reasons import Reason, word_of
from gateway.store import experiments, happenings, selection
from gateway.store.audiences import Terms
from gateway.store.enrolments import Enrolment
from gateway.store.postgres import Connection

MOST_STEPS = 2000
# A text that has waited so often for the gate is held to wait for ever.
MOST_WAITS = 200
LINK, CODE = "go.example/AbCdEfGhIjK", "XXXXXXXX"


class Foresight(Protocol):
    """The gate of a step, as dispatch.preview.Foresight has it."""

    async def ask(
        self, asked: Mapping[int, Sequence[bytes]], at: datetime
    ) -> Mapping[int, tuple[int, datetime | None]]: ...
    async def left(self, number: int, at: datetime) -> bytes: ...
    async def word(self, verdict: int) -> str: ...


Foresee: TypeAlias = Callable[[Gate, MessageClass, int, str], Foresight]
"""Makes one of a gate, class, priority and sender."""


class Text(Struct, frozen=True, kw_only=True):
    """One text of one person; at: when it would leave; local: by their clock; held: how often it waited for the gate.

    number   who would get it: the person, or somebody of ours who is told of them
    variant  of the experiment; "" = there is none
    """

    profile: int
    number: int
    step: str
    at: datetime
    local: str
    text: str
    parts: int
    cost: float
    held: int
    variant: str = ""


class Rehearsal(Struct, kw_only=True):
    """What would happen.

    people   who were looked at; ends: of those who enter how they leave, by reason; skipped: texts that are not sent
    """

    people: int = 0
    refused: Counter[str] = msgspec.field(default_factory=Counter)
    ends: Counter[str] = msgspec.field(default_factory=Counter)
    skipped: Counter[str] = msgspec.field(default_factory=Counter)
    texts: list[Text] = []


async def rehearse(
    connection: Connection, settings: Settings, plan: Plan, tree: Predicate | None, begin: datetime, days: int,
    assumed: Mapping[str, float], salt: str, limit: int, foresee: Foresee,
) -> Rehearsal:  # fmt: skip
    """Carry a plan out over at most `limit` people of an audience, or of its own filter, who enter at a moment.

    cost  a look at the gate for each moment at which anybody is written to, whoever they are
    """
    document = plan.document
    brand = settings.brand(document.brand)
    terms = Terms(now=begin, zone=ZoneInfo(brand.zone), salt=salt)
    trees = {name: one.tree for name, one in (await selection.kept(connection)).items()}

    def whole(one: Predicate) -> Predicate:
        return audience.expand(one, trees)

    found = Rehearsal()
    some = await selection.members(connection, whole(tree or plan.filter or Everyone()), terms, limit)
    found.people = len(some)
    by_bucket: dict[int, list[tuple[int, int]]] = {}
    for id_, number in some:
        if number is None:
            found.refused["no_number"] += 1
        else:
            by_bucket.setdefault(hash_of(number), []).append((id_, number))
    scene = _Scene(settings, plan, brand, begin, begin + timedelta(days=days), assumed, salt, whole, foresee)
    trial = await experiments.named(connection, document.experiment.name) if document.experiment else None
    if trial is not None:
        scene.trial = trial.standing
    for bucket, people in sorted(by_bucket.items()):
        ids = [id_ for id_, _ in people]

        async def fitting(one: Predicate, bucket: int = bucket, ids: Sequence[int] = ids) -> set[int]:
            return await happenings.matching(connection, [(bucket, id_) for id_ in ids], whole(one), terms)

        consent = consent_of(document) if plan.writes else None
        fits = set(ids) if plan.filter is None else await fitting(plan.filter)
        agreed = set(ids) if consent is None else await fitting(consent)
        ways = {
            place: [await fitting(one) for one in at.trees]
            for place, at in enumerate(plan.steps)
            if isinstance(at.step, Branch)
        }
        # Of an offer: the first way is that of who had it elsewhere (XC-2).
        ways |= {
            place: [await fitting(told_elsewhere(step.content))]
            for place, step in plan.sends()
            if isinstance(step, Send) and step.content is not None
        }
        entering = []
        for id_, number in people:
            reason = "segment_left" if id_ not in fits else "no_consent" if id_ not in agreed else ""
            if reason:
                found.refused[reason] += 1
            else:
                entering.append(_enrolment(id_, number, begin))
        persons = await persons_of(connection, entering, brand.zone) if entering else {}
        if trial is not None:
            numbers = sorted({one.number for one in entering if one.number is not None})
            scene.arms |= await experiments.arms_of(connection, trial.id, bucket, numbers)
        for one in entering:
            way = {
                place: next((at for at, ids_ in enumerate(each) if one.id in ids_), len(each))
                for place, each in ways.items()
            }
            scene.enter(one, persons[one.id], way)
    await scene.go_on(found)
    found.texts.sort(key=lambda one: (one.at, one.number))
    return found


def _enrolment(id_: int, number: int, begin: datetime) -> Enrolment:
    return Enrolment(
        bucket=hash_of(number), id=id_, campaign=0, version=0, step=0, visits=0, profile=id_, number=number,
        anchor_id=0, until_at=None, anchor_at=begin, entered_at=begin, step_at=begin, cause="", context={},
    )  # fmt: skip


class _Going(Struct, kw_only=True):
    """Somebody who is under way.

    done    what has happened, or will: when
    left    texts that have left, or would have of whoever is held out: step, when
    held    how often the gate let them wait at this step
    next_at when they are looked at again; None: they have left, or the gate is asked about them
    """

    one: Enrolment
    person: Person
    ways: Mapping[int, int]
    standing: Standing
    done: dict[str, datetime] = {}
    left: list[tuple[int, datetime]] = []
    looks: int = 0
    held: int = 0
    next_at: datetime | None

    @property
    def number(self) -> int:
        assert self.one.number is not None
        return self.one.number


class _Waiting(Struct, kw_only=True):
    """Somebody whom a step would write to, about whom the gate is asked.

    facts    what is so of them, but for what the gate says
    text     None: they are held out (AB-6)
    """

    of: _Going
    facts: Facts
    place: int
    text: str | None
    variant: str


class _Scene:
    """What is the same for all who are carried through, and who of them is due when."""

    def __init__(
        self, settings: Settings, plan: Plan, brand: BrandSettings, begin: datetime, end: datetime,
        assumed: Mapping[str, float], salt: str, whole: Callable[[Predicate], Predicate], foresee: Foresee,
    ):  # fmt: skip
        self._settings, self._plan, self._brand = settings, plan, brand
        self._begin, self._end, self._assumed, self._salt = begin, end, assumed, salt
        document = plan.document
        self.trial = Trial()
        # By number, of those who have one already.
        self.arms: dict[int, int] = {}
        experiment = document.experiment
        self._allocation: Allocation | None = None if experiment is None else allocation_of(experiment)
        self._renderers: dict[tuple[int, int], Renderer] = {}
        # Of whoever had the offer elsewhere.
        self._others: dict[int, Renderer] = {}
        self._gates: dict[int, Foresight] = {}
        for place, step in plan.sends():
            class_ = class_of(document, step)
            gate = gate_of(settings, document, step, plan, whole, 0, place)
            self._gates[place] = foresee(gate, class_, document.priority, sender_of(document, step))
            offer = step.content if isinstance(step, Send) else None
            if isinstance(step, Send) and offer is not None and offer.otherwise:
                other = template_of(document, step, class_, step.variants[offer.otherwise])
                self._others[place] = Renderer(other, brand=document.brand, zone=brand.zone, now=begin)
            for arm, text in enumerate(("", *(one.text for one in experiment.variants))) if experiment else ((0, ""),):
                template = template_of(document, step, class_, text)
                self._renderers[place, arm] = Renderer(template, brand=document.brand, zone=brand.zone, now=begin)
        self._agenda: dict[datetime, list[_Going]] = {}
        self._moments: list[datetime] = []

    def _at(self, at: datetime) -> list[_Going]:
        if at not in self._agenda:
            self._agenda[at] = []
            heapq.heappush(self._moments, at)
        return self._agenda[at]

    def enter(self, one: Enrolment, person: Person, ways: Mapping[int, int]) -> None:
        """Bring somebody to the beginning."""
        going = _Going(one=one, person=person, ways=ways, standing=standing_of(one), next_at=self._begin)
        self._at(self._begin).append(going)

    async def go_on(self, found: Rehearsal) -> None:
        """Let everything happen, moment by moment, until the days are over."""
        while self._moments:
            now = heapq.heappop(self._moments)
            people = self._agenda.pop(now)
            if now > self._end:
                for one in people:
                    if one.next_at == now:
                        one.next_at = None
                        found.ends["under way"] += 1
                        if one.held:
                            found.skipped["still held"] += 1
                continue
            texts = []
            for one in people:
                # Somebody who was looked at sooner has another moment.
                if one.next_at == now:
                    texts += self._look(one, now, found)
            if texts:
                await self._ask(texts, now, found)

    def _look(self, going: _Going, now: datetime, found: Rehearsal) -> list[_Waiting]:
        """Carry somebody on as far as they come at a moment; -> their text, if they come to one."""
        while going.next_at is not None and going.next_at <= now and going.looks < MOST_STEPS:
            going.looks += 1
            facts, said = self._facts(going, now)
            if facts.held:
                # Nobody decides in a rehearsal.
                found.ends["waits for a winner"] += 1
                going.next_at = None
                return []
            if said is not None:
                going.next_at = None
                return [_Waiting(of=going, facts=facts, place=going.standing.step, text=said[0], variant=said[1])]
            self._advance(going, facts, now, found)
        if going.next_at is not None:
            self._look_later(going)
        return []

    def _advance(self, going: _Going, facts: Facts, now: datetime, found: Rehearsal, why: str = "") -> int | None:
        """Let somebody go where they go; -> what was done of the step that they left. why: in the gate's words."""
        standing = going.standing

        def due(delay: Delay, _: Standing, at: datetime) -> datetime | None:
            return due_at(delay, at, Clocks(going.person.zone, self._brand.zone), going.person.values)

        out = workflow.advance(self._plan, standing, facts, now, self._salt, due)
        if out.done is not None:
            going.held = 0
            if out.done < 0 and not out.reason:
                found.skipped[why or word_of(out.done)] += 1
        if out.reason is not None:
            found.ends[word_of(out.reason) or "came to the end"] += 1
            going.next_at = None
            return out.done
        going.standing = msgspec.structs.replace(
            standing, step=out.place, visits=out.visits, step_at=out.step_at, until_at=out.until_at
        )
        going.next_at = self._next(going, now)
        return out.done

    def _look_later(self, going: _Going) -> None:
        """Note when somebody is looked at again."""
        assert going.next_at is not None
        if going.looks >= MOST_STEPS:
            going.next_at = max(going.next_at, self._end + timedelta(seconds=1))
        self._at(going.next_at).append(going)

    def _facts(self, going: _Going, now: datetime) -> tuple[Facts, tuple[str | None, str] | None]:
        """Say what is so of somebody, and the text and the variant that they would get; no text: they are held out."""
        plan, facts, one, standing = self._plan, Facts(), going.one, going.standing
        happened = {event for event, at in going.done.items() if at <= now}
        facts.barred = {one.id} if any(each.event in happened for each in plan.exceptions) else ()
        facts.met = {one.id} if plan.exit_goal is not None and happened & {*plan.exit_goal.names} else ()
        if not standing.visits or standing.step >= len(plan.steps):
            return facts, None
        at = plan.steps[standing.step]
        match at.step:
            case Branch():
                facts.way = {one.id: going.ways[standing.step]}
            case GoalCheck():
                facts.way = {one.id: 0} if happened & {*plan.goals[0].names} else {}
            case WaitFor() if at.sought is not None and at.sought.event in happened:
                facts.happened = {one.id: going.done[at.sought.event]}
            case Send() | Ask() as step:
                bars = any(each.event in happened for each in (*plan.bars, *at.exceptions))
                facts.skipped = {one.id} if bars else ()
                has_it = going.ways.get(standing.step) == 0
                if has_it and standing.step not in self._others:
                    facts.failed = {one.id: int(Reason.EXCEPTION)}
                if facts.barred or facts.met or not workflow.may_send(standing, facts):
                    return facts, None
                arm = self._draw(going.number, class_of(plan.document, step))
                if arm is None:
                    facts.held = {one.id}
                    return facts, None
                if arm == Reason.CONTROL_GROUP:
                    return facts, (None, "")
                if arm < 0:
                    facts.failed = {one.id: arm}
                    return facts, None
                values = {
                    **going.person.values,
                    "coupon": self._code(now),
                    "link": dict.fromkeys(plan.document.links, LINK),
                }
                renderer = self._others[standing.step] if has_it else self._renderers[standing.step, arm]
                text, why = renderer.render_one(values)
                if text is None:
                    facts.failed = {one.id: reason_of(why) or int(Reason.ABORT)}
                    return facts, None
                names = plan.document.experiment.names() if plan.document.experiment else ("",)
                return facts, (with_footer(text, self._brand, class_of(plan.document, step)), names[arm])
        return facts, None

    def _code(self, now: datetime) -> dict[str, str]:
        return {"code": CODE, "url": f"https://{LINK}", "expires_at": (now + timedelta(days=2)).isoformat()}

    def _draw(self, number: int, class_: MessageClass) -> int | None:
        """Say which arm somebody gets, as carrying.py draws it; None: whoever wins; below 0: why they get nothing."""
        if self._brand.control and in_global_control(number, self._salt, self._brand.control, class_):
            return int(Reason.CONTROL_GROUP)
        if self._allocation is None:
            return 0
        arm = arm_to_send(self._allocation, self.trial, number, self.arms.get(number))
        if arm is None and self.trial.state in ("running", "held"):
            return None
        if arm is None or arm == CONTROL:
            return int(Reason.CAMPAIGN_ENDED if arm is None else Reason.CONTROL_GROUP)
        return arm

    def _next(self, going: _Going, now: datetime) -> datetime:
        """Say when somebody is looked at again: when their step is due, or what they wait for has happened."""
        standing = going.standing
        if standing.until_at is None or standing.until_at <= now:
            return now
        at = self._plan.steps[standing.step] if standing.step < len(self._plan.steps) else None
        events = {name for one in (*self._plan.exceptions, *self._plan.goals) for name in one.names}
        if at is not None and at.sought is not None:
            events.add(at.sought.event)
        return min([standing.until_at, *(one for event, one in going.done.items() if event in events and one > now)])

    async def _ask(self, texts: Iterable[_Waiting], now: datetime, found: Rehearsal) -> None:
        """Ask the gate about all who are written to at a moment: they go on, or wait at their step."""
        by_place: dict[int, list[_Waiting]] = {}
        for one in texts:
            step = self._plan.steps[one.place].step
            if isinstance(step, Send) and is_to_staff(step):
                if one.text is not None:
                    self._tell_staff(one.of, one.text, step, now, found)
                self._go_on(one, 0, "", now, found)
            else:
                by_place.setdefault(one.place, []).append(one)
        for place, some in sorted(by_place.items()):
            gate = self._gates[place]
            while some:
                # Of two who share a number one goes behind the other.
                turn = {one.of.number: one for one in reversed(some)}
                before = {
                    number: [await self._gates[at].left(number, when) for at, when in one.of.left]
                    for number, one in turn.items()
                }
                verdicts = await gate.ask(before, now)
                for number, one in turn.items():
                    verdict, until = verdicts[number]
                    if until is not None:
                        self._wait(one, until, now, found)
                        continue
                    if not verdict:
                        one.of.left.append((place, now))
                        self._note(one, now, found)
                    self._go_on(one, verdict, await gate.word(verdict), now, found)
                some = [one for one in some if turn[one.of.number] is not one]

    def _wait(self, one: _Waiting, until: datetime, now: datetime, found: Rehearsal) -> None:
        """Let somebody wait at their step, as long as the text is worth anything (TH-6)."""
        going, facts = one.of, one.facts
        before = going.standing
        facts.waits = {going.one.id: until}
        if going.held >= MOST_WAITS:
            facts.failed = {going.one.id: int(Refusal.EXPIRED)}
        held = going.held + (before.until_at is None or before.until_at <= now)
        if self._advance(going, facts, now, found) is None:
            going.held = held
        if going.next_at is not None:
            self._look_later(going)

    def _go_on(self, one: _Waiting, verdict: int, word: str, now: datetime, found: Rehearsal) -> None:
        """Let somebody leave a step that the gate has spoken about: who is held out goes its other way (AB-6)."""
        if one.text is None:
            one.facts.failed = {one.of.one.id: verdict or int(Reason.CONTROL_GROUP)}
        elif verdict:
            found.skipped[word] += 1
        self._advance(one.of, one.facts, now, found, word)
        if one.of.next_at is not None:
            self._look_later(one.of)

    def _note(self, one: _Waiting, now: datetime, found: Rehearsal) -> None:
        """Note a text that has left, and what comes of it."""
        going, step = one.of, self._plan.steps[one.place].step
        assert isinstance(step, Send | Ask)
        if one.text is None:
            return
        person, parts = going.person, parts_of(one.text)
        price = self._settings.costs.of("", person.country or country_of(going.number)) or 0.0
        found.texts.append(
            Text(
                profile=going.one.profile, number=going.number, step=step.name or f"steps[{one.place}]", at=now,
                local=f"{now.astimezone(ZoneInfo(person.zone)):%Y-%m-%d %H:%M %Z}", text=one.text, parts=parts,
                cost=parts * price, held=going.held, variant=one.variant,
            )
        )  # fmt: skip
        for event in ("submitted", "delivered"):
            going.done.setdefault(event, now)
        for event, share in self._assumed.items():
            drawn = random_bucket(going.number, f"{self._salt}:rehearsal:{event}")
            if event not in going.done and drawn < share * RANDOM_BUCKETS:
                going.done[event] = now + timedelta(seconds=86_400 * drawn / (share * RANDOM_BUCKETS))

    def _tell_staff(self, going: _Going, text: str, step: Send, now: datetime, found: Rehearsal) -> None:
        """Note a text to people of ours, who neither click nor buy."""
        parts = parts_of(text)
        for number in staff_of(self._brand, step.staff)[0]:
            found.texts.append(
                Text(
                    profile=going.one.profile, number=number, step=step.name or f"steps[{going.standing.step}]", at=now,
                    local=f"{now.astimezone(ZoneInfo(self._brand.zone)):%Y-%m-%d %H:%M %Z}", text=text, parts=parts,
                    cost=parts * (self._settings.costs.of("", country_of(number)) or 0.0), held=0,
                )
            )  # fmt: skip


def parts_of(text: str) -> int:
    """Say in how many parts a text goes: of septets where they write it, else of UCS-2."""
    try:
        length, alone, each = measure(text, "gsm7"), 160, 153
    except ValueError:
        length, alone, each = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if length <= alone else -(-length // each)
