"""From a document to a campaign that people enter, and back: checked as a whole before anything is changed.

    check ─► apply: a version is kept ─► launch: what it listens to is told to it from now on ─► pause, resume, stop

Not here: what is carried out then (stepping.py), the files (gateway/document.py).
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeGuard

import msgspec

from _fastpath.eventrows import microseconds
from gateway import content, webhook
from gateway.automation import staffing, turning
from gateway.automation.composing import PRODUCT, class_of, template_of, written
from gateway.automation.turning import Under, Way
from gateway.brand import BrandSettings, staff_of
from gateway.campaign import attribution, audience, impossible, linter, workflow
from gateway.campaign.audience import Known
from gateway.campaign.workflow import Plan
from gateway.config import Settings
from gateway.document import (
    Ask,
    Branch,
    CreateConversation,
    Document,
    EnterWorkflow,
    IssueCoupon,
    ListAdd,
    ListRemove,
    OnAudience,
    OnCall,
    OnKeyword,
    OnList,
    Send,
    Step,
    Webhook,
    is_to_staff,
)
from gateway.errors import AudienceFault, OrderFault
from gateway.link import problems_of as link_problems
from gateway.message import MessageClass
from gateway.person import hash_of
from gateway.predicate import InSegment, Predicate, walk
from gateway.question import question_of
from gateway.rate import clicks_plan
from gateway.routing import Problem
from gateway.store import (
    audiences,
    audit,
    campaigns,
    cancels,
    causes,
    control,
    conversations,
    conversions,
    coupons,
    experiments,
    people,
    products,
    runs,
    selection,
    templates,
    watched,
)
from gateway.store.campaigns import Campaign
from gateway.store.postgres import Connection
from gateway.template import fields_of, read_template, root_of, sha_of


class Unfit(OrderFault):
    """A document that cannot be carried out here; problems: key, expected, found."""

    def __init__(self, name: str, problems: list[Problem]):
        lines = "; ".join(f"{key}: expected {expected}, found {found}" for key, expected, found in problems)
        super().__init__(f"campaign {name!r}: {lines}")
        self.problems = problems


async def check(
    connection: Connection, settings: Settings, document: Document
) -> tuple[Plan, list[Problem], list[str]]:
    """Judge a document as a whole; -> its plan, what is wrong with it, and what may be a slip.

    A name of an attribute or an event that nobody has told yet is a slip: it may come with the first one.
    """
    plan, problems = workflow.plan_of(document)
    if document.brand not in settings.brands:
        known = f"one of {', '.join(settings.brands)}" if settings.brands else "a brand of the settings, [brands.NAME]"
        problems.append(("brand", known, repr(document.brand)))
    elif document.programme and document.programme not in settings.brand(document.brand).programmes:
        problems.append(("programme", "a programme of the brand", repr(document.programme)))
    if not problems:
        problems += await _of_texts(connection, settings, plan)
        brand = settings.brand(document.brand)
        classes = {class_of(document, step) for _, step in plan.sends()}
        shut = [problem for one in sorted(classes) for problem in impossible.never_open(document, brand, one)]
        problems += shut[:1]
    kept = {name: one.tree for name, one in (await selection.kept(connection)).items()}
    for key, tree in _conditions(plan):
        problems += [
            (key, "an audience that is kept", repr(node.name))
            for node in walk(tree)
            if isinstance(node, InSegment) and node.name not in kept
        ]
    for place, at in enumerate(plan.steps):
        if isinstance(at.step, Ask):
            question_of(at.step, f"steps[{place}].question", problems)
    trigger = document.trigger
    if isinstance(trigger, OnAudience) and trigger.audience not in kept:
        problems.append(("trigger.audience", "an audience that is kept", repr(trigger.audience)))
    if isinstance(trigger, OnList) and await people.find_list(connection, trigger.list) is None:
        problems.append(("trigger.list", "a list that there is", repr(trigger.list)))
    for place, at in enumerate(plan.steps):
        step = at.step
        if isinstance(step, ListAdd | ListRemove) and await people.find_list(connection, step.list) is None:
            problems.append((f"steps[{place}].list", "a list that there is", repr(step.list)))
        problems += await _of_effect(connection, settings, document, step, f"steps[{place}]")
        if isinstance(step, EnterWorkflow):
            problems += await _of_workflow(connection, step.workflow, place)
    problems += await _of_ways(connection, plan)
    names = await selection.known(connection)
    told = Known(attributes=names.attributes, properties=names.properties, lists=names.lists, segments=kept)
    slips = []
    for key, text in _texts(document):
        try:
            audience.parse(text, told)
        except AudienceFault as fault:
            slips.append(f"{key}: {fault}")
    if not problems:
        slips += impossible.too_late(plan) + _of_fields(plan, names)
    for place, goal in enumerate(document.goals):
        name = goal.joined or goal.left
        if name and name not in kept:
            problems.append((f"goals[{place}].{goal.kind}", "an audience that is kept", repr(name)))
        try:
            attribution.where_of(goal)
        except AudienceFault as fault:
            problems.append((f"goals[{place}].where", "a condition on the event's properties", str(fault)))
    if not document.goals and not document.aim:
        slips.append("goals: nothing says what it is for: a goal, or an aim in words (S3.17)")
    return plan, problems, slips


async def _of_effect(
    connection: Connection, settings: Settings, document: Document, step: Step, key: str
) -> list[Problem]:
    """Judge what a step does outside: there has to be a pool, a secret, an inbox."""
    match step:
        case IssueCoupon(pool=name) if await coupons.find(connection, name) is None:
            return [(f"{key}.pool", "a coupon pool that there is (`sluice coupon pool create`)", repr(name))]
        case Webhook(url=url):
            return _of_url(settings, url, key)
        case Ask():
            # What is wrong with a question was said already.
            question = question_of(step, key, [])
            if question is None or question.order is None:
                return []
            found = _of_url(settings, question.order.url, f"{key}.question.order")
            product = question.order.product
            if product and product not in await products.read(connection, [product]):
                found.append(
                    (f"{key}.question.order.product", "a product of the feed (`sluice product`)", repr(product))
                )
            return found
        case CreateConversation() if staffing.inbox_of_brand(settings, document.brand) is None:
            return [(key, f"an inbox of brand {document.brand!r} in the settings, [inboxes.NAME]", "none")]
    return []


async def _of_texts(connection: Connection, settings: Settings, plan: Plan) -> list[Problem]:
    """Judge what steps say: the language of it, and whether there is what it names."""
    document, problems = plan.document, list[Problem]()
    brand = settings.brand(document.brand)
    for name, link in document.links.items():
        problems += link_problems(f"links.{name}", link, ("code",))
    if document.links and not brand.link_domain:
        problems.append((f"brands.{document.brand}.link_domain", "a domain of short links, for the links", "none"))
    for place, step in plan.sends():
        key = "message" if document.kind == "campaign" else f"steps[{place}]"
        variants = document.experiment.variants if document.experiment is not None else ()
        class_ = class_of(document, step)
        others = step.variants.values() if isinstance(step, Send) else ()
        for text in (step.text, *others, *(one.text for one in variants if one.text)):
            found = read_template(msgspec.to_builtins(template_of(document, step, class_, text)), key, problems)
            texts = [] if found is None else found.texts().values()
            names = {field.name for one in texts for field in fields_of(one)}
            recommends = step.recommend if isinstance(step, Send) else ""
            if not recommends and any(root_of(name) == PRODUCT for name in names):
                problems.append((f"{key}.recommend", "what is recommended, since the text names a product", "nothing"))
        pool = step.coupon if isinstance(step, Send) else ""
        if pool and await coupons.find(connection, pool) is None:
            problems.append((f"{key}.coupon", "a pool that there is (`sluice coupon pool create`)", repr(pool)))
        if isinstance(step, Send):
            problems += await _of_staff(connection, brand, document, step, key)
            problems += _of_content(document, step, key)
            problems += _of_clicks(document, step, key)
    return problems


def _of_fields(plan: Plan, names: selection.Known) -> list[str]:
    """Name the fields of texts that nobody has, and those for want of which somebody would get nothing (TP-2)."""
    document, slips = plan.document, []
    told = names.properties or {}
    facts = linter.Facts(
        attributes=None if names.attributes is None else frozenset((*names.attributes, *audiences.COLUMNS)),
        events=frozenset(told[plan.trigger.event]) if plan.trigger and plan.trigger.event in told else None,
    )
    for place, step in plan.sends():
        key = "message" if document.kind == "campaign" else f"steps[{place}]"
        template = template_of(document, step, class_of(document, step))
        slips += [
            f"{key}.{one.key}: {one.at}: {one.words}"
            for one in linter.lint(template, facts)
            if one.code in ("unknown_field", "no_default")
        ]
    return slips


def _of_content(document: Document, step: Send, key: str) -> list[Problem]:
    """Judge what is said of an offer that other channels have, too (XC-2)."""
    named = step.content.otherwise if step.content is not None else ""
    problems = [] if step.content is None else content.problems_of(f"{key}.content", step.content)
    if named and named not in step.variants:
        known = ", ".join(step.variants) or "there are none"
        problems.append((f"{key}.content.otherwise", f"the name of one of {key}.variants ({known})", repr(named)))
    if named and document.experiment is not None:
        problems.append(
            (f"{key}.content.otherwise", "nothing, beside an experiment: its arms say who gets what", repr(named))
        )
    problems += [
        (f"{key}.variants.{name}", "the text that content.otherwise names", "one that nothing names")
        for name in step.variants
        if name != named
    ]
    return problems


def _of_clicks(document: Document, step: Send, key: str) -> list[Problem]:
    """Judge what is said of the site that a text leads to (TH-4)."""
    if not step.clicks:
        return [(f"{key}.clicks", "how many the site bears, beside click_share", "nothing")] if step.click_share else []
    if class_of(document, step) == MessageClass.OTP:
        return [(f"{key}.clicks", "nothing: a code waits for nobody", repr(step.clicks))]
    try:
        clicks_plan(step.clicks)
    except ValueError as error:
        return [(f"{key}.clicks", str(error).removeprefix("expected "), repr(step.clicks))]
    try:
        clicks_plan(step.clicks, step.click_share)
    except ValueError as error:
        return [(f"{key}.click_share", str(error).removeprefix("expected "), repr(step.click_share))]
    return []


async def _of_staff(
    connection: Connection, brand: BrandSettings, document: Document, step: Send, key: str
) -> list[Problem]:
    """Judge what is told to people of ours: numbers that the brand lists and that are known to be ours (S1.6)."""
    if not is_to_staff(step):
        return [(f"{key}.staff", 'nobody, or to = "staff"', repr(step.staff))] if step.staff else []
    problems: list[Problem] = []
    where = f"brands.{document.brand}.staff"
    numbers, unknown = staff_of(brand, step.staff)
    listed = ", ".join(brand.staff) or "which has none"
    problems += [(f"{key}.staff", f"a list of {where} ({listed}), or a number in one", repr(one)) for one in unknown]
    if not numbers and not unknown:
        problems.append((f"{key}.to", f"people of ours in {where}", "none"))
    verified = {one.number for one in await templates.test_numbers(connection)}
    problems += [
        (where, "numbers of ours (`sluice template numbers add`)", f"+{number}")
        for number in numbers
        if number not in verified
    ]
    if step.class_ not in ("", "transactional"):
        problems.append((f"{key}.class", "transactional, or nothing, to people of ours", repr(step.class_)))
    if step.goes_on != "attempted":
        problems.append((f"{key}.goes_on", "attempted, to people of ours", repr(step.goes_on)))
    problems += [
        (f"{key}.{name}", "nothing, to people of ours: it is of the person", repr(value))
        for name in ("coupon", "recommend", "languages", "content", "variants", "clicks")
        if (value := getattr(step, name))
    ]
    if any(f"link.{name}" in step.text for name in document.links):
        problems.append((f"{key}.text", "addresses in full, to people of ours", "a short link"))
    return problems


def _of_url(settings: Settings, url: str, key: str) -> list[Problem]:
    """Judge where something is told: an address of the world, and a secret that signs it."""
    problem = webhook.url_problem(url, settings.webhooks)
    found = [(f"{key}.url", "https, to an address of the world", f"{url!r}: {problem}")] if problem else []
    if not settings.webhooks.secret:
        found.append((key, "webhooks.secret in the settings, which signs what is told", "none"))
    return found


async def _of_workflow(connection: Connection, name: str, place: int) -> list[Problem]:
    """Judge another workflow that a step enters: there, and begun by a call."""
    key = f"steps[{place}].workflow"
    other = await campaigns.named(connection, name)
    if other is None:
        return [(key, "a workflow that is applied", repr(name))]
    document = (await campaigns.version_of(connection, other.id, other.version)).document
    if not isinstance(document.trigger, OnCall):
        return [(key, 'a workflow whose trigger is a call (on = "call")', f"{name!r}, on another trigger")]
    return []


async def _of_ways(connection: Connection, plan: Plan) -> list[Problem]:
    """Judge whether what a workflow enters, or begins by its own coming and going, leads back to it (WF-7, EV-11)."""
    own = plan.document.name
    keys = {step.workflow: f"steps[{at}].workflow" for at, step in enumerate(plan.document.steps) if _enters(step)}
    begins = workflow.sources(plan)
    if not keys and not begins:
        return []
    plans = {own: plan}
    for one in await campaigns.every(connection):
        if one.name != own and one.state != "ended":
            kept = await campaigns.version_of(connection, one.id, one.live_version or one.version)
            plans[one.name] = workflow.plan_of(kept.document)[0]
    after: dict[str, set[str]] = {
        name: {step.workflow for step in of.document.steps if _enters(step)} for name, of in plans.items()
    }
    for name, of in plans.items():
        for source in workflow.sources(of):
            after.setdefault(source, set()).add(name)
    before: dict[str, str] = {}
    left = [own]
    while left:
        here = left.pop(0)
        for there in sorted(after.get(here, ())):
            if there == own:
                way = [own, here]
                while way[-1] != own:
                    way.append(before[way[-1]])
                way.reverse()
                key = keys.get(way[1]) or begins.get(way[-2], "trigger.where")
                return [(key, "workflows that do not lead back to this one", " → ".join(way))]
            if there not in before:
                before[there] = here
                left.append(there)
    return []


def _enters(step: Step) -> TypeGuard[EnterWorkflow]:
    return isinstance(step, EnterWorkflow)


def _conditions(plan: Plan) -> list[tuple[str, Predicate]]:
    found = [("filter", plan.filter)] if plan.filter is not None else []
    return found + [
        (f"steps[{place}].cases[{at}].if", tree)
        for place, placed in enumerate(plan.steps)
        for at, tree in enumerate(placed.trees)
    ]


def _texts(document: Document) -> list[tuple[str, str]]:
    found = [("filter", document.filter)] if document.filter.strip() else []
    for place, step in enumerate(document.steps):
        if isinstance(step, Branch):
            found += [(f"steps[{place}].cases[{at}].if", case.if_) for at, case in enumerate(step.cases) if case.if_]
    return found


async def apply(
    connection: Connection, settings: Settings, document: Document, by: str, now: datetime
) -> tuple[Campaign, bool, list[str]]:
    """Keep a document as the newest version of its campaign; -> how it stands, whether anything is new, and slips.

    raises  Unfit
    """
    _, problems, slips = await check(connection, settings, document)
    if problems:
        raise Unfit(document.name, problems)
    found, is_new = await campaigns.apply(connection, document, by, now)
    return found, is_new, slips


async def launch(
    connection: Connection, settings: Settings, name: str, now: datetime, by: str = "", way: Way | None = None, *,
    recomputes: bool = False, say: Callable[[list[Under]], None] = lambda _: None, untested: bool = False,
    nag: Callable[[list[Problem]], None] = lambda _: None,
) -> Campaign:  # fmt: skip
    """Have people enter the newest version from now on.

    way         what becomes of those who are under way in others (WF-8); None: they go on there, unless a step with
                people on it is gone: then somebody has to say so
    recomputes  what those wait for who are moved is reckoned anew (DL-3)
    say         told who is under way, before anything is done
    untested    though no test was sent of exactly what it says, and its brand wants one (S1.28); it is noted
    nag         told of which texts none was
    raises      Unfit; StoreError: there is none of that name, or people would be moved to where nothing is
    """
    found = await campaigns.named(connection, name)
    if found is None:
        raise OrderFault(f"campaign {name!r} is not known: `sluice campaign apply FILE` keeps one")
    document = (await campaigns.version_of(connection, found.id, found.version)).document
    before = (
        (await campaigns.version_of(connection, found.id, found.live_version)).document if found.live_version else None
    )
    plan, problems, _ = await check(connection, settings, document)
    if plan.ends_at is not None and plan.ends_at <= now:
        problems.append(("ends_at", "a moment that is still to come", document.ends_at))
    if problems:
        raise Unfit(name, problems)
    lacks = await untried(connection, settings, plan)
    is_enforced = settings.brand(document.brand).untested == "enforce"
    if lacks and is_enforced and not untested:
        raise Unfit(name, lacks)
    nag(lacks)
    some = await turning.under_way(connection, found, plan)
    say(some)
    gone = [one for one in some if one.to is None]
    if gone and way in (None, "move"):
        where = ", ".join(f"{one.name} of version {one.version} ({one.people:,} people)" for one in gone)
        raise OrderFault(
            f"campaign {name!r}: steps are gone on which people are: {where}: say --people keep, restart or exit"
        )
    if document.experiment is not None:
        await experiments.apply(connection, document.experiment, campaign=name, at=now, by=by)
    ids = await _ids(connection, plan, now)
    async with connection.transaction():
        held = await campaigns.hold(connection, name)
        await campaigns.go(connection, held, "live", now, found.version)
        if lacks and is_enforced:
            which = ", ".join(key for key, _, _ in lacks)
            await audit.note(
                connection, at=now, by=by, action="untested", about=f"campaign {name}", reason=f"no test of {which}"
            )
        await _hold_queued(connection, name, "live", now, by)
        names: list[tuple[causes.Kind, str]] = [(_KINDS[kind], of) for kind, of in workflow.listens(plan, ids, name)]
        await campaigns.listen(connection, held.id, names)
        await conversations.set_keywords(connection, name, _keywords(settings, document))
        # What was declared by hand stands as long as no document says anything of goals.
        if document.goals or (before is not None and before.goals):
            wanted = [(goal, attribution.where_of(goal)) for goal in document.goals]
            await conversions.declare(connection, name, wanted, now)
        after = await campaigns.named(connection, name)
    await turning.turn(connection, found, some, way or "keep", now, recomputes=recomputes)
    assert after is not None
    return after


async def untried(connection: Connection, settings: Settings, plan: Plan) -> list[Problem]:
    """Name the texts of which no test was sent, word for word (S1.28)."""
    asks = f"a test of exactly this text (`sluice campaign test {plan.document.name} --to NUMBER`)"
    return [
        (key, asks, "none")
        for key, template in written(plan, settings.brand(plan.document.brand))
        if not await templates.was_tested(connection, sha_of(template))
    ]


async def enter(
    connection: Connection, name: str, number: int, properties: Mapping[str, Any], now: datetime, id_: str
) -> bool:
    """Call a campaign for a number; -> whether anybody has it. id_: names the call; told again it is the same one.

    raises  StoreError: there is none of that name, it is not live, or it begins by something else
    """
    found = await campaigns.named(connection, name)
    if found is None or found.state != "live" or found.live_version is None:
        raise OrderFault(f"campaign {name!r}: expected one that is live, found {found.state if found else 'none'}")
    document = (await campaigns.version_of(connection, found.id, found.live_version)).document
    if not isinstance(document.trigger, OnCall):
        raise OrderFault(f'campaign {name!r}: expected one that begins by a call (on = "call"), found another trigger')
    said = msgspec.json.encode(properties).decode()
    return await causes.call(connection, hash_of(number), number, name, microseconds(now), f"call:{id_}", said, now)


def _keywords(settings: Settings, document: Document) -> list[tuple[str, str]]:
    """Name the words that begin a campaign, by the inboxes of its brand; where it has none, whatever is written to."""
    if not isinstance(document.trigger, OnKeyword):
        return []
    inboxes = [name for name, inbox in settings.inboxes.items() if inbox.brand == document.brand] or [""]
    return [(word, inbox) for word in document.trigger.words for inbox in inboxes]


_KINDS: Mapping[str, causes.Kind] = {
    "event": "event", "attribute": "attribute", "entered": "entered", "left": "left", "joined": "joined",
    "parted": "parted", "call": "call",
}  # fmt: skip


async def _ids(connection: Connection, plan: Plan, now: datetime) -> dict[tuple[str, str], int]:
    """Find the audiences that begin a campaign or that goals name, which are watched from now on, or the list."""
    trigger = plan.document.trigger
    names = {goal.joined or goal.left for goal in plan.document.goals if goal.joined or goal.left}
    if isinstance(trigger, OnAudience):
        names.add(trigger.audience)
    for name in sorted(names):
        await watched.set_watched(connection, name, True, now)
    kept = await selection.kept(connection) if names else {}
    ids = {("audience", name): kept[name].id for name in names}
    if isinstance(trigger, OnList):
        found = await people.find_list(connection, trigger.list)
        assert found is not None
        ids["list", trigger.list] = found.id
    return ids


async def cancel_runs(connection: Connection, campaign: int, now: datetime, by: str) -> list[int]:
    """End what is queued of a campaign (TR-9); -> orders, which every worker obeys within a second (X.5)."""
    of = [one.run for one in await campaigns.runs_of(connection, campaign)]
    open_ = [run for run in of if (kept := await runs.run_by_id(connection, run)) and kept.cancelled_at is None]
    if not open_:
        return []
    return await cancels.cancel(connection, open_, at=now, by=by, reason="the campaign has ended")


async def _hold_queued(connection: Connection, name: str, state: str, now: datetime, by: str) -> list[int]:
    """Have what is queued of a campaign stand still with it, or go on; -> orders."""
    if state == "paused":
        return await control.give(
            connection, "pause", "campaign", [name], at=now, by=by, reason="the campaign is paused"
        )
    if name in (await control.state(connection, now)).standing("campaign"):
        return await control.give(connection, "resume", "campaign", [name], at=now, by=by, reason=f"it is {state}")
    return []


async def set_state(connection: Connection, name: str, state: str, now: datetime, by: str = "") -> list[int]:
    """Pause a campaign, let it go on, or end it, and what is queued of it; -> orders that every worker obeys (X.5).

    raises  StoreError: it cannot become that
    """
    async with connection.transaction():
        held = await campaigns.hold(connection, name)
        await campaigns.go(connection, held, state, now)
        ids = await _hold_queued(connection, name, state, now, by)
        if state == "ended":
            await campaigns.listen(connection, held.id, ())
            await conversations.set_keywords(connection, name, ())
    if state == "ended" and held.live_version:
        body = (await campaigns.version_of(connection, held.id, held.live_version)).document
        if body.at_end != "drain":
            ids += await cancel_runs(connection, held.id, now, by)
    return ids
