"""A document as it is carried out: steps in a row, and where somebody who is looked at goes next.

    Document ─► plan_of ─► Plan: steps with places in it, conditions as trees, what has to be heard of
    Standing + Facts ─► advance ─► Outcome: where they are now, and what has to be done for it

A campaign is a wait and a send; `sequence` is a wait that an event forestalls; a send that goes on when it is delivered
is a send and a wait for that. `advance` asks nothing and does nothing: a rehearsal calls it with facts of its own
(WF-11), automation/carrying.py with those of Postgres.
Not here: who may enter (entering.py), how a document is written (gateway/document.py).
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct, structs

from gateway import predicate
from gateway.campaign import audience
from gateway.campaign.audience import ANYTHING, Known
from gateway.delay import Delay, read_date, read_delay, read_schedule
from gateway.document import (
    Ask,
    Branch,
    Document,
    EnterWorkflow,
    Except,
    Exit,
    GoalCheck,
    OnAudience,
    OnCall,
    OnDate,
    OnEvent,
    OnKeyword,
    OnList,
    OnMessage,
    OnPlace,
    OnSchedule,
    OnSequence,
    Send,
    Split,
    Step,
    Subscribe,
    Wait,
    WaitFor,
    is_to_staff,
    seconds_of,
)
from gateway.errors import AudienceFault
from gateway.experiment import problems_of
from gateway.goal import PAGE_EVENTS, Goal
from gateway.happening import Happening, Sought
from gateway.message import Refusal
from gateway.person import COUPON_REDEEMED, OF_CAMPAIGNS
from gateway.predicate import (
    CAMPAIGN_PROPERTY,
    COMPLIANCE,
    WISH_PROPERTY,
    And,
    Attribute,
    Compare,
    Everyone,
    Or,
    Predicate,
    random_bucket,
)
from gateway.reasons import Reason
from gateway.routing import Problem
from gateway.rules import read_window

KEYWORD_EVENT = "keyword"
CLICKED, REPLIED, SUBMITTED, ANSWERED = "clicked", "replied", "submitted", "answered"
# Steps that one person may make in a day (WF-7).
MOST_VISITS_A_DAY = 100
# A send that goes on when its message has come to something waits so long for it.
OUTCOME_WITHIN = "1d"
# Whoever is held for want of a code is looked at again so soon.
HELD_S = 60.0
DONE = 0


class At(Struct, frozen=True, kw_only=True):
    """A step in its place.

    trees    of a branch, in the order of its cases
    sought   of a wait for something; exceptions: of a send, beside those of the plan
    then, otherwise, next  places to go to
    ways     of a split or a branch: weight (0 for a branch) and place
    """

    step: Step
    next: int
    delay: Delay | None = None
    then: int = 0
    otherwise: int = 0
    trees: tuple[Predicate, ...] = ()
    ways: tuple[tuple[int, int], ...] = ()
    sought: Sought | None = None
    exceptions: tuple[Sought, ...] = ()


class Plan(Struct, frozen=True, kw_only=True):
    """A document, ready to be carried out.

    filter      whom it is for, others not put in yet
    exceptions  what must not have happened since the cause: of the workflow, who leaves by it
    bars        the same of single steps that say so: a text is not sent, the person goes on
    shared      those of its exceptions that are exceptions of whatever has a tag, each with it (EX-4)
    goals       of each whether who has met it leaves
    """

    document: Document
    steps: tuple[At, ...]
    filter: Predicate | None
    trigger: Sought | None
    exceptions: tuple[Sought, ...]
    bars: tuple[Sought, ...]
    goals: tuple[Sought, ...]
    starts_at: datetime | None
    ends_at: datetime | None
    shared: tuple[tuple[str, Sought], ...] = ()

    @property
    def exit_goal(self) -> Sought | None:
        """What makes somebody leave, since it is what it was for (GL-7)."""
        return self.goals[0] if self.goals and self.document.goals[0].exits else None

    @property
    def events(self) -> set[str]:
        """Names of events that anything here looks for."""
        found = {name for one in (*self.exceptions, *self.bars, *self.goals) for name in one.names}
        for at in self.steps:
            found |= {one.event for one in (*at.exceptions, *([at.sought] if at.sought else ()))}
        return found | ({self.trigger.event} if self.trigger else set())

    @property
    def excepts(self) -> set[str]:
        """Names of events that are exceptions of anything here."""
        return {one.event for one in (*self.exceptions, *self.bars)} | {
            one.event for at in self.steps for one in at.exceptions
        }

    def excepting(self, place: int) -> tuple[Sought, ...]:
        """Name what must not have happened when a text of a step leaves."""
        return (*self.exceptions, *self.bars, *(self.steps[place].exceptions if place < len(self.steps) else ()))

    def leads_to_a_text(self, place: int) -> bool:
        """Say whether somebody at a step may come to one that sends, or is at one."""
        seen: set[int] = set()
        ahead = [place]
        while ahead:
            here = ahead.pop()
            if here in seen or here >= len(self.steps):
                continue
            seen.add(here)
            if isinstance(self.steps[here].step, Send | Ask):
                return True
            ahead += places_after(self.steps[here])
        return False

    def sends(self) -> list[tuple[int, Send | Ask]]:
        """Name the steps that send, with their places."""
        return [(place, at.step) for place, at in enumerate(self.steps) if isinstance(at.step, Send | Ask)]

    @property
    def writes(self) -> bool:
        """Whether anything is sent to the person, who needs a number and a consent for it then."""
        return any(not is_to_staff(step) for _, step in self.sends())

    @property
    def wakes(self) -> set[str]:
        """Names of events for which somebody who waits has to be looked at."""
        return self.events - ({self.trigger.event} if self.trigger and not self._is_awaited() else set())

    def _is_awaited(self) -> bool:
        assert self.trigger is not None
        name = self.trigger.event
        others = [*self.exceptions, *self.bars, *self.goals]
        others += [one for at in self.steps for one in (*at.exceptions, *([at.sought] if at.sought else ()))]
        return any(name in one.names for one in others)


class Standing(Struct, frozen=True, kw_only=True):
    """Where somebody is: as store.enrolments.Enrolment, of which a rehearsal has none."""

    id: int
    step: int
    visits: int
    number: int | None
    anchor_at: datetime
    entered_at: datetime
    step_at: datetime
    until_at: datetime | None


class Facts(Struct, kw_only=True):
    """What is so of some persons at one place, as of now; of whom nothing is said it is not so.

    barred     something has happened that ends it for them (EX), by the plan; or that this step is not for
    met        they have done what it was for
    out        they do not match the filter any more
    happened   when what a step waits for happened
    way        which of a branch's cases holds first
    lost       nobody may or can write to them any more, and why (WF-9)
    gone       their cause is none any more: a date that has changed (TR-10)
    held       what they need is not there yet, or not done: looked at again in a minute (TP-5, WF-10)
    talks      when who talks with a person of ours is looked at again (IN-7)
    waits      until when the gate lets wait who would be written to (TP-3)
    failed     an effect of theirs came to nothing: the reason
    """

    gone: Collection[int] = ()
    lost: Mapping[int, int] = {}
    barred: Collection[int] = ()
    skipped: Collection[int] = ()
    met: Collection[int] = ()
    out: Collection[int] = ()
    happened: Mapping[int, datetime] = {}
    way: Mapping[int, int] = {}
    failed: Mapping[int, int] = {}
    held: Collection[int] = ()
    talks: Mapping[int, datetime] = {}
    waits: Mapping[int, datetime] = {}


class Outcome(Struct, frozen=True, kw_only=True):
    """Where somebody goes.

    place     the step that they are at now; state by `reason`: None = under way, else they have left
    until_at  when that step is due, or ends
    is_due    it can be looked at at once
    done      outcome of the step that was left, for `step_run`; None: it was not left
    """

    place: int
    visits: int
    step_at: datetime
    until_at: datetime | None = None
    reason: int | None = None
    done: int | None = None

    def is_due(self, now: datetime) -> bool:
        """Whether it can be looked at at once."""
        return self.reason is None and (self.until_at is None or self.until_at <= now)


Due = Callable[[Delay, Standing, datetime], datetime | None]
"""When a wait of somebody is over that began at a moment; None: what it goes by is not known."""


def reach(plan: Plan, place: int, one: Standing, at: datetime, due: Due) -> datetime | None:
    """Say until when a step that is reached waits; None: for nothing, or for what is not known."""
    if place >= len(plan.steps):
        return None
    placed = plan.steps[place]
    if placed.delay is not None:
        return due(placed.delay, one, at)
    if isinstance(placed.step, WaitFor):
        return at + timedelta(seconds=seconds_of(placed.step.within))
    return None


def advance(plan: Plan, one: Standing, facts: Facts, now: datetime, salt: str, due: Due) -> Outcome:
    """Say where somebody goes who is looked at. Of a step with an effect it is done already: facts.failed."""
    if not one.visits:
        if one.step_at > now:
            # A cause that is still to come: a date.
            return Outcome(place=one.step, visits=0, step_at=one.step_at, until_at=one.step_at)
        if one.id in facts.gone:
            return _left(one, Reason.MISSED)
        # Nothing was reached yet: the first step is, when the cause happened.
        entered = structs.replace(one, visits=1)
        if one.id in facts.barred or one.id in facts.met:
            return advance(plan, entered, facts, now, salt, due)
        until = reach(plan, 0, one, one.step_at, due)
        return _arrived(plan, entered, 0, one.step_at, until, done=None)
    if one.id in facts.barred:
        return _left(one, Reason.EXCEPTION)
    if one.id in facts.met:
        return _left(one, Reason.GOAL_MET)
    if one.id in facts.lost:
        return _left(one, facts.lost[one.id])
    if one.step >= len(plan.steps):
        return _left(one, DONE)
    days = 1 + (now - one.entered_at).days
    if one.visits > MOST_VISITS_A_DAY * days:
        return _left(one, Reason.LOOP_GUARD)
    at = plan.steps[one.step]
    step = at.step
    if one.until_at is None and isinstance(step, Wait | WaitFor):
        # Reckoned anew, since they were brought here by hand (DL-3).
        one = structs.replace(one, until_at=reach(plan, one.step, one, one.step_at, due))
    match step:
        case Wait():
            if one.until_at is None or at.delay is None:
                return _left(one, Reason.MISSED)
            if one.until_at > now:
                return _stays(one)
            if now - one.until_at > timedelta(seconds=at.delay.max_lateness_s):
                return _left(one, Reason.LATE)
            return _go(plan, one, at.next, one.until_at, DONE, due)
        case WaitFor():
            assert one.until_at is not None
            happened = facts.happened.get(one.id)
            if happened is not None and happened <= one.until_at:
                return _go(plan, one, at.then, max(happened, one.step_at), 1, due)
            if one.until_at > now:
                return _stays(one)
            return _go(plan, one, at.otherwise, one.until_at, 2, due)
        case Branch() | GoalCheck():
            way = facts.way.get(one.id, len(at.ways))
            place = at.ways[way][1] if way < len(at.ways) else at.otherwise
            return _go(plan, one, place, one.step_at, way + 1, due)
        case Split():
            way = way_of(
                at, one.number if one.number is not None else one.id, f"{salt}:{plan.document.name}:{one.step}"
            )
            return _go(plan, one, at.ways[way][1], one.step_at, way + 1, due)
        case Exit():
            return _left(one, DONE)
        case Send() | Ask():
            failed = _why_not(one, facts, needs_number=not is_to_staff(step))
            if failed is None and (one.id in facts.held or one.id in facts.talks):
                # Due when there is what it needs: what it waits for the gate counts from there.
                held = structs.replace(_held(one, now), step_at=now)
                return structs.replace(held, until_at=facts.talks.get(one.id, held.until_at))
            until = facts.waits.get(one.id) if failed is None else None
            if until is not None:
                due_at = max(one.step_at, one.entered_at)
                if until - due_at < timedelta(seconds=expires_s(plan.document, step)):
                    return Outcome(place=one.step, visits=one.visits, step_at=one.step_at, until_at=until)
                failed = int(Refusal.EXPIRED)
            if failed is not None:
                return _go(plan, one, at.otherwise, now, failed, due)
            return _go(plan, one, at.next, now, DONE, due)
        case _:
            if one.id in facts.held:
                return _held(one, now)
            failed = facts.failed.get(one.id)
            return _go(plan, one, at.next if failed is None else at.otherwise, now, failed or DONE, due)


def expires_s(document: Document, step: Send | Ask) -> int:
    """Say how long after it was due a text may leave (TH-6)."""
    return seconds_of((step.expires if isinstance(step, Send) else None) or document.expires)


def may_send(one: Standing, facts: Facts) -> bool:
    """Whether a text goes to somebody, as far as is known before the gate."""
    return _why_not(one, facts) is None


def _why_not(one: Standing, facts: Facts, *, needs_number: bool = True) -> int | None:
    if one.number is None and needs_number:
        return int(Reason.NO_NUMBER)
    if one.id in facts.out:
        return int(Reason.AUDIENCE_LEFT)
    if one.id in facts.skipped:
        return int(Reason.EXCEPTION)
    return facts.failed.get(one.id)


def way_of(at: At, unit: int, salt: str) -> int:
    """Draw a way of a split: the same for the same number; other weights move only those at the borders (AB-1)."""
    weights = [weight for weight, _ in at.ways]
    drawn = random_bucket(unit, salt) * sum(weights)
    upto = 0
    for way, weight in enumerate(weights):
        upto += weight * predicate.RANDOM_BUCKETS
        if drawn < upto:
            return way
    return len(weights) - 1


def _go(plan: Plan, one: Standing, place: int, at: datetime, done: int, due: Due) -> Outcome:
    return _arrived(plan, one, place, at, reach(plan, place, one, at, due), done=done, visited=True)


def _arrived(
    plan: Plan, one: Standing, place: int, at: datetime, until: datetime | None, *, done: int | None,
    visited: bool = False,
) -> Outcome:  # fmt: skip
    visits = one.visits + visited
    if place >= len(plan.steps):
        return Outcome(place=place, visits=visits, step_at=at, reason=DONE, done=done)
    return Outcome(place=place, visits=visits, step_at=at, until_at=until, done=done)


def _stays(one: Standing) -> Outcome:
    return Outcome(place=one.step, visits=one.visits, step_at=one.step_at, until_at=one.until_at)


def _held(one: Standing, now: datetime) -> Outcome:
    return Outcome(place=one.step, visits=one.visits, step_at=one.step_at, until_at=now + timedelta(seconds=HELD_S))


def _left(one: Standing, reason: int) -> Outcome:
    return Outcome(place=one.step, visits=one.visits, step_at=one.step_at, reason=int(reason), done=int(reason))


def same_places(before: Plan, after: Plan) -> dict[int, int | None]:
    """Say where people of a version go on in another: at the step of the same name, or at the same one; None: nowhere.

    What a step brings with it, such as the wait of a question, has its name and its place behind it.
    """
    named: dict[tuple[str, int], int] = {}
    for place, (name, number) in enumerate(_names(after)):
        if name:
            named[name, number] = place
    found: dict[int, int | None] = {len(before.steps): len(after.steps)}
    for place, (name, number) in enumerate(_names(before)):
        if name:
            found[place] = named.get((name, number))
        else:
            is_same = place < len(after.steps) and type(after.steps[place].step) is type(before.steps[place].step)
            found[place] = place if is_same and not _names(after)[place][0] else None
    return found


def _names(plan: Plan) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    before: Step | None = None
    for at in plan.steps:
        brings = isinstance(before, Ask) or (isinstance(before, Send) and before.goes_on != "attempted")
        found.append((before.name, 1) if before is not None and brings else (at.step.name, 0))
        before = at.step
    return found


# -- a plan from a document --------------------------------------------------------------------------------------------


class _Reading:
    """A document while it is read: its problems, and the names of its steps."""

    def __init__(self, document: Document, known: Known):
        self.document = document
        self.known = known
        self.problems: list[Problem] = []
        self.places: dict[str, int] = {}

    def tree(self, text: str, key: str) -> Predicate | None:
        """Read a condition on a person; None: there is none, or it is wrong."""
        if not text.strip():
            return None
        try:
            return audience.parse(text, self.known)
        except AudienceFault as fault:
            self.problems.append((key, "a condition", str(fault)))
            return None

    def sought(self, one: Happening, key: str) -> Sought:
        """Read an event that is looked for; its conditions are of its properties."""
        tree = None
        if one.where.strip():
            properties = None if self.known.properties is None else self.known.properties.get(one.event, {})
            try:
                tree = audience.parse(one.where, Known(attributes=properties))
                self._check_of_event(tree, f"{key}.where")
            except AudienceFault as fault:
                self.problems.append((f"{key}.where", "conditions on properties of the event", str(fault)))
        return Sought(event=one.event, where=tree, key=one.key, url=one.url)

    def _check_of_event(self, tree: Predicate, key: str) -> None:
        for node in predicate.walk(tree):
            if isinstance(node, predicate.And | predicate.Or | predicate.Not | Everyone):
                continue
            if not (isinstance(node, Compare) and isinstance(node.what, Attribute)):
                self.problems.append((key, "properties of the event alone", audience.write(node)))

    def goal(self, one: Goal, key: str) -> Sought:
        """Say what has happened when a goal is met."""
        ours = Compare(Attribute((CAMPAIGN_PROPERTY,)), "=", self.document.name)
        match one.kind:
            case "url":
                return Sought(event=PAGE_EVENTS[0], also=PAGE_EVENTS[1:], url=one.url)
            case "joined" | "left":
                return Sought(audience=one.joined or one.left, is_in=one.kind == "joined")
            case "reply":
                asks = Compare(Attribute((WISH_PROPERTY,)), "in", among=COMPLIANCE)
                return Sought(event=REPLIED, where=And((ours, predicate.Not(asks))))
            case "redeemed":
                return Sought(event=COUPON_REDEEMED, where=ours)
        return self.sought(Happening(event=one.event, where=one.where, url=one.url), key)

    def place(self, name: str, here: int, key: str) -> int:
        """Find where a name leads; "" = to the step behind."""
        if not name:
            return here + 1
        if name == "exit":
            return len(self.steps)
        if name not in self.places:
            self.problems.append(
                (key, f"a step's name, or exit: one of {', '.join(self.places) or 'none'}", repr(name))
            )
            return here + 1
        return self.places[name]

    steps: Sequence[Step] = ()


def plan_of(document: Document, known: Known = ANYTHING) -> tuple[Plan, list[Problem]]:
    """Make a plan of a document; -> it, and everything that is wrong with it: key, expected, found."""
    reading = _Reading(document, known)
    problems = reading.problems
    exceptions = list(document.exceptions)
    steps, keys = _laid_out(document, problems, exceptions)
    reading.steps = steps
    for place, step in enumerate(steps):
        if step.name:
            if step.name in reading.places or step.name == "exit":
                problems.append((f"{keys[place]}.name", "a name that no other step has", repr(step.name)))
            reading.places[step.name] = place
    placed = tuple(_placed(reading, place, step, keys[place]) for place, step in enumerate(steps))
    filter_ = reading.tree(document.filter, "filter")
    starts, ends = (_moment(getattr(document, name), name, problems) for name in ("starts_at", "ends_at"))
    if starts and ends and ends <= starts:
        problems.append(("ends_at", f"a moment after starts_at, {document.starts_at}", document.ends_at))
    if document.hours is not None:
        read_window(document.hours, "hours", problems)
    sought = [
        (one.scope, reading.sought(one.happening, f"exceptions[{at}]")) for at, one in enumerate(exceptions)
    ]  # fmt: skip
    goals = tuple(reading.goal(one, f"goals[{at}]") for at, one in enumerate(document.goals))
    if document.experiment is not None:
        problems += problems_of("experiment", document.experiment)
        if sum(isinstance(step, Send) and not is_to_staff(step) for step in steps) != 1:
            problems.append(("experiment", "one step that sends, whose text varies", "none, or several"))
    _check_loops(placed, keys, problems)
    for at, one in enumerate(document.exceptions):
        if one.scope == "tag" and one.tag not in document.tags:
            known_tags = f"one of its tags: {', '.join(document.tags) or 'it has none'}"
            problems.append((f"exceptions[{at}].tag", known_tags, repr(one.tag)))
        elif one.scope != "tag" and one.tag:
            problems.append((f"exceptions[{at}].tag", 'nothing, or scope = "tag"', repr(one.tag)))
    trigger = _trigger(reading)
    asked = [("trigger.where", trigger), *((f"goals[{at}].where", one) for at, one in enumerate(goals))]
    problems += [
        (key, f"{CAMPAIGN_PROPERTY} = 'NAME': whose, since nothing begins itself", f"any campaign's {one.event}")
        for key, one in asked
        if one is not None and one.event in OF_CAMPAIGNS and campaigns_in(one.where) is None
    ]
    return (
        Plan(
            document=document, steps=placed, filter=filter_, trigger=trigger, goals=goals, starts_at=starts,
            exceptions=tuple(one for scope, one in sought if scope != "step"), ends_at=ends,
            bars=tuple(one for scope, one in sought if scope == "step"), shared=_shared(document, exceptions, sought),
        ),
        problems,
    )  # fmt: skip


def _shared(
    document: Document, exceptions: Sequence[Except], sought: Sequence[tuple[str, Sought]]
) -> tuple[tuple[str, Sought], ...]:
    pairs = zip(exceptions, sought, strict=True)
    return tuple((one.tag, found) for one, (scope, found) in pairs if scope == "tag" and one.tag in document.tags)


def with_shared(plan: Plan, shared: Iterable[tuple[str, Sought]]) -> Plan:
    """Add exceptions of others that are those of whatever has a tag (EX-4)."""
    known = list(plan.exceptions)
    for tag, sought in shared:
        if tag in plan.document.tags and sought not in known:
            known.append(sought)
    return plan if len(known) == len(plan.exceptions) else structs.replace(plan, exceptions=tuple(known))


def _laid_out(document: Document, problems: list[Problem], exceptions: list[Except]) -> tuple[list[Step], list[str]]:
    """Lay the steps out, those that nobody wrote among them; -> them, and the key of what each stands for."""
    steps: list[Step] = []
    keys: list[str] = []
    if document.kind == "campaign":
        if document.steps:
            problems.append(("steps", 'message and wait, or kind = "workflow"', f"{len(document.steps)} steps"))
        if document.message is None:
            problems.append(("message", "what is sent", "nothing"))
        if document.wait is not None:
            steps.append(Wait(for_=document.wait))
            keys.append("wait")
        if document.message is not None:
            message = document.message
            steps.append(
                Send(
                    text=message.text, languages=message.languages, coupon=message.coupon,
                    recommend=message.recommend, to=message.to, staff=message.staff,
                    content=message.content, variants=message.variants, clicks=message.clicks,
                    click_share=message.click_share,
                )
            )  # fmt: skip
            keys.append("message")
    else:
        if not document.steps:
            problems.append(("steps", "one step at least", "none"))
        for name in ("wait", "message"):
            if getattr(document, name) is not None:
                problems.append((name, "a step, in a workflow", name))
        steps, keys = list(document.steps), [f"steps[{at}]" for at in range(len(document.steps))]
    trigger = document.trigger
    if isinstance(trigger, OnSequence):
        steps.insert(0, Wait(for_=trigger.within))
        keys.insert(0, "trigger")
        unless = trigger.unless
        exceptions.append(Except(event=unless.event, where=unless.where, key=unless.key, url=unless.url))
    elif isinstance(trigger, OnMessage) and trigger.outcome == "nothing":
        steps.insert(0, Wait(for_=trigger.within))
        keys.insert(0, "trigger")
        of_it = f"{CAMPAIGN_PROPERTY} = '{trigger.campaign}'"
        exceptions += [Except(event=CLICKED, where=of_it), Except(event=REPLIED, where=of_it)]
    for at in range(len(steps) - 1, -1, -1):
        step = steps[at]
        if isinstance(step, Send) and step.goes_on != "attempted":
            awaited = WaitFor(
                event=step.goes_on, where=f"{CAMPAIGN_PROPERTY} = '{document.name}'", within=OUTCOME_WITHIN,
                then=step.next, otherwise=step.otherwise,
            )  # fmt: skip
            steps[at] = structs.replace(step, next="")
            steps.insert(at + 1, awaited)
            keys.insert(at + 1, keys[at])
        elif isinstance(step, Ask):
            awaited = WaitFor(
                event=ANSWERED, where=f"question = '{step.name}'", within=step.within, then=step.then or step.next,
                otherwise=step.otherwise,
            )  # fmt: skip
            if not step.name:
                problems.append((f"{keys[at]}.name", "a name, by which its answer is known", "nothing"))
            steps[at] = structs.replace(step, next="")
            steps.insert(at + 1, awaited)
            keys.insert(at + 1, keys[at])
    return steps, keys


def _placed(reading: _Reading, here: int, step: Step, key: str) -> At:
    next_ = reading.place(step.next, here, f"{key}.next")
    match step:
        case Wait():
            where = key if key in ("wait", "trigger") else f"{key}.for"
            return At(step=step, next=next_, delay=read_delay(step.for_, where, reading.problems))
        case WaitFor():
            sought = reading.sought(Happening(event=step.event, where=step.where, key=step.key, url=step.url), key)
            then = reading.place(step.then or step.next, here, f"{key}.then")
            return At(
                step=step, next=next_, sought=sought, then=then,
                otherwise=reading.place(step.otherwise, here, f"{key}.otherwise"),
            )  # fmt: skip
        case Branch():
            trees = tuple(
                reading.tree(case.if_, f"{key}.cases[{at}].if") or Everyone() for at, case in enumerate(step.cases)
            )
            ways = tuple(
                (0, reading.place(case.then, here, f"{key}.cases[{at}].then")) for at, case in enumerate(step.cases)
            )
            return At(
                step=step, next=next_, trees=trees, ways=ways,
                otherwise=reading.place(step.otherwise, here, f"{key}.otherwise"),
            )  # fmt: skip
        case Split():
            if not sum(way.weight for way in step.ways):
                reading.problems.append((f"{key}.ways", "a weight above 0", "none"))
            ways = tuple(
                (way.weight, reading.place(way.then, here, f"{key}.ways[{at}].then"))
                for at, way in enumerate(step.ways)
            )
            return At(step=step, next=next_, ways=ways)
        case GoalCheck():
            if not reading.document.goals:
                reading.problems.append((key, "a goal of the document", "none"))
            return At(
                step=step, next=next_, ways=((0, reading.place(step.then, here, f"{key}.then")),),
                otherwise=reading.place(step.otherwise, here, f"{key}.otherwise"),
            )  # fmt: skip
        case Send():
            bars = tuple(reading.sought(one, f"{key}.exceptions[{at}]") for at, one in enumerate(step.exceptions))
            return At(
                step=step, next=next_, exceptions=bars,
                otherwise=reading.place(step.otherwise or step.next, here, f"{key}.otherwise"),
            )  # fmt: skip
        case EnterWorkflow() if step.workflow == reading.document.name:
            reading.problems.append((f"{key}.workflow", "another workflow", repr(step.workflow)))
        case Subscribe():
            return At(
                step=step, next=next_, sought=_yes_to(reading, step, key),
                otherwise=reading.place(step.otherwise or step.next, here, f"{key}.otherwise"),
            )  # fmt: skip
    otherwise = getattr(step, "on_fail", "") or step.next
    return At(step=step, next=next_, otherwise=reading.place(otherwise, here, f"{key}.on_fail"))


def _yes_to(reading: _Reading, step: Subscribe, key: str) -> Sought:
    """Say which answer is a proof of consent: yes, to a question of this workflow."""
    asked = next((one for one in reading.steps if isinstance(one, Ask) and one.name == step.answer), None)
    if asked is None or asked.question.get("type") != "yes_no":
        found = "no such step" if asked is None else f"a question of type {asked.question.get('type')!r}"
        expected = "a step that asks a question of type yes_no: a consent needs its proof (CN-2)"
        reading.problems.append((f"{key}.answer", expected, f"{step.answer!r}, {found}"))
    document = reading.document.name
    said = (("question", step.answer), (CAMPAIGN_PROPERTY, document))
    trees = tuple(Compare(Attribute((name,)), "=", value) for name, value in said)
    return Sought(event=ANSWERED, where=And((*trees, Compare(Attribute(("value",)), "=", True))))


def _trigger(reading: _Reading) -> Sought | None:
    """Say which event begins it; None: what begins it is none."""
    trigger = reading.document.trigger
    match trigger:
        case OnEvent():
            return reading.sought(Happening(event=trigger.event, where=trigger.where, url=trigger.url), "trigger")
        case OnSequence():
            return reading.sought(Happening(event=trigger.event, where=trigger.where), "trigger")
        case OnMessage():
            event = SUBMITTED if trigger.outcome == "nothing" else trigger.outcome
            return Sought(event=event, where=_equals(CAMPAIGN_PROPERTY, [trigger.campaign]))
        case OnKeyword():
            return Sought(event=KEYWORD_EVENT, where=_equals("word", [word.casefold() for word in trigger.words]))
        case OnPlace():
            if not trigger.km and len(trigger.polygon) < 3:
                reading.problems.append(("trigger", "km, or a polygon of three points at least", "neither"))
            return Sought(event=trigger.event)
        case OnDate():
            read_date(trigger.date, "trigger.date", reading.problems)
        case OnSchedule():
            read_schedule(trigger.schedule, "trigger.schedule", reading.problems)
    return None


def _equals(name: str, values: Sequence[str]) -> Predicate:
    each = tuple(Compare(Attribute((name,)), "=", value) for value in values)
    return each[0] if len(each) == 1 else Or(each)


def conditions(plan: Plan) -> list[Predicate]:
    """Name the conditions on persons that a plan asks."""
    return [*([plan.filter] if plan.filter is not None else ()), *(tree for at in plan.steps for tree in at.trees)]


def sources(plan: Plan) -> dict[str, str]:
    """Name the campaigns whose entering, leaving or goals begin this one or are a goal of it, with its key for each."""
    found: dict[str, str] = {}
    asked = [("trigger.where", plan.trigger), *((f"goals[{at}].where", one) for at, one in enumerate(plan.goals))]
    for key, one in asked:
        if one is not None and one.event in OF_CAMPAIGNS:
            found |= dict.fromkeys(campaigns_in(one.where) or (), key)
    return found


def campaigns_in(tree: Predicate | None) -> set[str] | None:
    """Say of which campaigns a condition on an event may hold; None: it does not say."""
    match tree:
        case Compare(what=Attribute(path=(name,)), op="=" | "in", ci=False) if name == CAMPAIGN_PROPERTY:
            return {str(one) for one in (tree.among if tree.op == "in" else (tree.to,))}
        case And():
            return next((found for one in tree.of if (found := campaigns_in(one)) is not None), None)
        case Or():
            each = [campaigns_in(one) for one in tree.of]
            return None if None in each else {name for one in each for name in one or ()}
    return None


def listens(plan: Plan, ids: Mapping[tuple[str, str], int], name: str) -> list[tuple[str, str]]:
    """Name what a live campaign has to be told of: kind and name.

    ids  of audiences and lists: ("audience", name) -> its id
    """
    # Whoever waits and opts out leaves at once (WF-9).
    events = plan.events | ({"opted_out"} if plan.writes else set())
    found = [("event", event) for event in sorted(events)]
    found += [(change, str(ids["audience", name])) for change, name in turns(plan)]
    trigger = plan.document.trigger
    if isinstance(trigger, OnAudience):
        found.append((trigger.change, str(ids["audience", trigger.audience])))
    elif isinstance(trigger, OnList):
        found.append(("joined" if trigger.change == "entered" else "parted", str(ids["list", trigger.list])))
    elif isinstance(trigger, OnCall):
        found.append(("call", name))
    elif isinstance(trigger, OnDate):
        date = read_date(trigger.date, "", [])
        if date is not None:
            found.append(("attribute", date.attribute.split(".")[0]))
    return found


def turns(plan: Plan) -> list[tuple[str, str]]:
    """Name the turns of audiences by which people leave: entered or left, and the audience."""
    goal = plan.exit_goal
    return [("entered" if goal.is_in else "left", goal.audience)] if goal is not None and goal.audience else []


def _moment(text: str, key: str, problems: list[Problem]) -> datetime | None:
    if not text:
        return None
    found = predicate.time_in(text)
    if found is None:
        problems.append((key, "a time such as 2026-12-01T09:00:00+01:00", repr(text)))
        return None
    return found.astimezone(UTC)


def _check_loops(steps: Sequence[At], keys: Sequence[str], problems: list[Problem]) -> None:
    """Find steps that lead back to themselves without anything to wait for: they would run until the guard (WF-7)."""
    instant = [not isinstance(at.step, Wait | WaitFor) for at in steps]
    state = [0] * len(steps)

    def visit(place: int, path: list[int]) -> None:
        if place >= len(steps) or not instant[place] or state[place] == 2:
            return
        if state[place] == 1:
            loop = [keys[one] for one in path[path.index(place) :]]
            problems.append((keys[place], "a wait somewhere in a loop", " → ".join([*loop, keys[place]])))
            return
        state[place] = 1
        for after in places_after(steps[place]):
            visit(after, [*path, place])
        state[place] = 2

    for place in range(len(steps)):
        visit(place, [])


def places_after(at: At) -> Iterable[int]:
    """Name where a step may lead."""
    match at.step:
        case Exit():
            return ()
        case WaitFor():
            return (at.then, at.otherwise)
        case Branch() | GoalCheck():
            return (*(place for _, place in at.ways), at.otherwise)
        case Split():
            return tuple(place for weight, place in at.ways if weight)
        case Wait():
            return (at.next,)
    return (at.next, at.otherwise)
