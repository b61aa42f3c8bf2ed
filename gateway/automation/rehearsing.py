"""A workflow carried out over real people in virtual time: what would be sent to whom, when, in how many parts, WF-11.

    who would enter ─► advance, as stepping.py calls it, with facts of a rehearsal ─► texts ─► windows ─► counts

Everybody enters at one moment. Branches are asked of people as they are now. Nobody does anything unless it is assumed:
`clicked=0.1` has a tenth of those whom a text reached do so within a day of it, the same ones in each rehearsal. Codes
and links are of their lengths. Nothing is written, reserved or told.
Not here: caps, and what others send meanwhile: the gate asks for them when it is so.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from _fastpath.alphabet import measure
from gateway.automation.composing import Person, class_of, reason_of, template_of
from gateway.automation.stepping import consent_of, persons_of, standing_of
from gateway.brand import BrandSettings, staff_of, with_footer
from gateway.campaign import audience, quiet_hours, workflow, zones
from gateway.campaign.delays import Clocks, due_at
from gateway.campaign.quiet_hours import Hours, Layer, Rules
from gateway.campaign.rendering import Renderer
from gateway.campaign.workflow import Facts, Plan, Standing
from gateway.config import Settings
from gateway.countries import country_of
from gateway.delay import Delay
from gateway.document import Ask, Branch, GoalCheck, Send, WaitFor, is_to_staff
from gateway.message import MessageClass
from gateway.person import hash_of
from gateway.predicate import RANDOM_BUCKETS, Everyone, Predicate, random_bucket
from gateway.reasons import Reason, word_of
from gateway.rules import read_window
from gateway.store import happenings, selection
from gateway.store.audiences import Terms
from gateway.store.enrolments import Enrolment
from gateway.store.postgres import Connection

MOST_STEPS = 2000
LINK, CODE = "go.example/AbCdEfGhIjK", "XXXXXXXX"


class Text(Struct, frozen=True, kw_only=True):
    """One text of one person; at: when it would leave; local: by their clock; held: windows that it waited for.

    number  who would get it: the person, or somebody of ours who is told of them
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
    assumed: Mapping[str, float], salt: str, limit: int,
) -> Rehearsal:  # fmt: skip
    """Carry a plan out over at most `limit` people of an audience, or of its own filter, who enter at a moment."""
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
    scene = _Scene(settings, plan, brand, begin, begin + timedelta(days=days), assumed, salt)
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
        entering = []
        for id_, number in people:
            reason = "segment_left" if id_ not in fits else "no_consent" if id_ not in agreed else ""
            if reason:
                found.refused[reason] += 1
            else:
                entering.append(_enrolment(id_, number, begin))
        persons = await persons_of(connection, entering, brand.zone) if entering else {}
        for one in entering:
            way = {
                place: next((at for at, ids_ in enumerate(each) if one.id in ids_), len(each))
                for place, each in ways.items()
            }
            scene.carry_out(one, persons[one.id], way, found)
    found.texts.sort(key=lambda one: (one.at, one.number))
    return found


def _enrolment(id_: int, number: int, begin: datetime) -> Enrolment:
    return Enrolment(
        bucket=hash_of(number), id=id_, campaign=0, version=0, step=0, visits=0, profile=id_, number=number,
        anchor_id=0, until_at=None, anchor_at=begin, entered_at=begin, step_at=begin, cause="", context={},
    )  # fmt: skip


class _Scene:
    """What is the same for all who are carried through."""

    def __init__(
        self, settings: Settings, plan: Plan, brand: BrandSettings, begin: datetime, end: datetime,
        assumed: Mapping[str, float], salt: str,
    ):  # fmt: skip
        self._settings, self._plan, self._brand = settings, plan, brand
        self._begin, self._end, self._assumed, self._salt = begin, end, assumed, salt
        document = plan.document
        self._renderers: dict[int, Renderer] = {}
        self._hours: dict[MessageClass, Hours] = {}
        for place, step in plan.sends():
            class_ = class_of(document, step)
            template = template_of(document, step, class_)
            self._renderers[place] = Renderer(template, brand=document.brand, zone=brand.zone, now=begin)
            if class_ not in self._hours:
                layers = [
                    Layer(name=name, window=window, zone=brand.zone if name in brand.own_clock else "")
                    for name, words in (*brand.windows.items(), ("campaign", document.hours))
                    if words is not None and (window := read_window(words, name, [])) is not None
                ]
                self._hours[class_] = Hours(
                    Rules(class_=class_, layers=tuple(layers), to_hard_limit=brand.to_hard_limit)
                )

    def carry_out(self, one: Enrolment, person: Person, ways: Mapping[int, int], found: Rehearsal) -> None:
        """Carry one person through, until they leave or the days are over."""
        plan, standing, now = self._plan, standing_of(one), self._begin
        done: dict[str, datetime] = {}

        def due(delay: Delay, _: Standing, at: datetime) -> datetime | None:
            return due_at(delay, at, Clocks(person.zone, self._brand.zone), person.values)

        for _ in range(MOST_STEPS):
            facts, text = self._facts(one, standing, person, ways, done, now)
            out = workflow.advance(plan, standing, facts, now, self._salt, due)
            if text is not None and out.done == workflow.DONE:
                self._send(one, standing.step, person, text, now, done, found)
            elif out.done is not None and out.done < 0 and out.reason is None:
                found.skipped[word_of(out.done)] += 1
            if out.reason is not None:
                found.ends[word_of(out.reason) or "came to the end"] += 1
                return
            standing = msgspec.structs.replace(
                standing, step=out.place, visits=out.visits, step_at=out.step_at, until_at=out.until_at
            )
            now = self._next(standing, done, now)
            if now > self._end:
                break
        found.ends["under way"] += 1

    def _facts(
        self, one: Enrolment, standing: Standing, person: Person, ways: Mapping[int, int], done: dict[str, datetime],
        now: datetime,
    ) -> tuple[Facts, str | None]:  # fmt: skip
        plan, facts = self._plan, Facts()
        happened = {event for event, at in done.items() if at <= now}
        facts.barred = {one.id} if any(each.event in happened for each in plan.exceptions) else ()
        facts.met = {one.id} if plan.exit_goal is not None and happened & {*plan.exit_goal.names} else ()
        if not standing.visits or standing.step >= len(plan.steps):
            return facts, None
        at = plan.steps[standing.step]
        match at.step:
            case Branch():
                facts.way = {one.id: ways[standing.step]}
            case GoalCheck():
                facts.way = {one.id: 0} if happened & {*plan.goals[0].names} else {}
            case WaitFor() if at.sought is not None and at.sought.event in happened:
                facts.happened = {one.id: done[at.sought.event]}
            case Send() | Ask():
                bars = any(each.event in happened for each in (*plan.bars, *at.exceptions))
                facts.skipped = {one.id} if bars else ()
                values = {**person.values, "coupon": {"code": CODE, "url": f"https://{LINK}"}}
                values["link"] = {name: LINK for name in plan.document.links}
                text, why = self._renderers[standing.step].render_one(values)
                if text is None:
                    facts.failed = {one.id: reason_of(why) or int(Reason.ABORT)}
                    return facts, None
                return facts, with_footer(text, self._brand, class_of(plan.document, at.step))
        return facts, None

    def _next(self, standing: Standing, done: Mapping[str, datetime], now: datetime) -> datetime:
        """Say when somebody is looked at again: when their step is due, or what they wait for has happened."""
        if standing.until_at is None or standing.until_at <= now:
            return now
        at = self._plan.steps[standing.step] if standing.step < len(self._plan.steps) else None
        events = {name for one in (*self._plan.exceptions, *self._plan.goals) for name in one.names}
        if at is not None and at.sought is not None:
            events.add(at.sought.event)
        return min([standing.until_at, *(one for event, one in done.items() if event in events and one > now)])

    def _send(
        self, one: Enrolment, place: int, person: Person, text: str, now: datetime, done: dict[str, datetime],
        found: Rehearsal,
    ) -> None:  # fmt: skip
        assert one.number is not None
        step = self._plan.steps[place].step
        assert isinstance(step, Send | Ask)
        parts = parts_of(text)
        if isinstance(step, Send) and is_to_staff(step):
            for number in staff_of(self._brand, step.staff)[0]:
                found.texts.append(
                    Text(
                        profile=one.profile, number=number, step=step.name or f"steps[{place}]", at=now, text=text,
                        local=f"{now.astimezone(ZoneInfo(self._brand.zone)):%Y-%m-%d %H:%M %Z}", parts=parts,
                        cost=parts * (self._settings.costs.of("", country_of(number)) or 0.0), held=0,
                    )
                )  # fmt: skip
            return
        hours = self._hours[class_of(self._plan.document, step)]
        where = zones.whereabouts(zones.Clues(number=one.number, stated=person.told_zone, country=person.country), now)
        moment, held = int(now.timestamp()), 0
        for _ in range(20):
            verdict = quiet_hours.judged(hours.at(where.places, moment), moment, outside=self._brand.outside)
            if verdict.act != "hold":
                break
            moment, held = verdict.until, held + 1
        if verdict.act != "send":
            found.skipped[verdict.reason] += 1
            return
        at = datetime.fromtimestamp(moment, now.tzinfo)
        price = self._settings.costs.of("", person.country or country_of(one.number)) or 0.0
        found.texts.append(
            Text(
                profile=one.profile, number=one.number, step=step.name or f"steps[{place}]", at=at, text=text,
                local=f"{at.astimezone(ZoneInfo(person.zone)):%Y-%m-%d %H:%M %Z}", parts=parts, cost=parts * price,
                held=held,
            )
        )  # fmt: skip
        for event in ("submitted", "delivered"):
            done.setdefault(event, at)
        for event, share in self._assumed.items():
            drawn = random_bucket(one.number, f"{self._salt}:rehearsal:{event}")
            if event not in done and drawn < share * RANDOM_BUCKETS:
                done[event] = at + timedelta(seconds=86_400 * drawn / (share * RANDOM_BUCKETS))


def parts_of(text: str) -> int:
    """Say in how many parts a text goes: of septets where they write it, else of UCS-2."""
    try:
        length, alone, each = measure(text, "gsm7"), 160, 153
    except ValueError:
        length, alone, each = len(text.encode("utf-16-be")) // 2, 70, 67
    return 1 if length <= alone else -(-length // each)
