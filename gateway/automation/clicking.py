"""Decides who opened links, and tells persons what they have opened and filled in: rules TP-7, GL-5, EV-11.

every 2 s   take the job ─► clicks nobody has decided about ─► a verdict, or not yet ─► COMMIT
                         ─► those of humans ─► clicked, page_opened ─► noted as told
                         ─► forms ─► their event with the attributes that they declare, consents ─► noted as told
once a day  links that have been over for a while are forgotten; what was opened of them stays

Only of humans is anything told (GL-5): what bots and unsure ones have opened stands in the table `click`, for reports,
and is no event of anybody, so nothing can be started, reached or kept alive by it. What is told again after a crash is
found to be so (EV-1). Not here: the rules (campaign/clicks.py), answering requests (gateway.redirect).
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from gateway.automation.job import Every, Job
from gateway.campaign import clicks as rules
from gateway.campaign.consent import problems, states_at
from gateway.consent import Fact
from gateway.link import Target, Verdict
from gateway.page import ConsentField, Form, Page, declared, is_of_age
from gateway.person import CLICKED, OUR_SOURCE, Item, Who
from gateway.predicate import CAMPAIGN_PROPERTY, HUMAN, VERDICT_PROPERTY
from gateway.store import consents, feeds, links, pages, postgres, profiles, stops
from gateway.store.links import Click, Decided
from gateway.store.pages import Entry

log = logging.getLogger(__name__)

AT_ONCE = 1000
PAGE_OPENED = "page_opened"
# Of what was filled in: the person's own doing, unlike what we note of our messages.
PAGE_SOURCE = "page"
DAY_S = 86400.0
# So long after its end a link still says that it is over; then it was never there.
KEPT_FOR = timedelta(days=90)
BUCKETS = 256


class Clicking(Job):
    """The loop of one worker."""

    NAME = "clicks"
    ROUND_S = 2.0
    STEP_S = 60.0
    UNDONE = "nobody is told what they have opened"

    def __init__(
        self,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
    ):
        super().__init__(wall, connect, instance)
        self._chance = chance
        self._kinds = profiles.Kinds()
        self._targets: dict[int, Target] = {}
        self._forgetting = Every(DAY_S)
        self.told = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether anything waits, or it is time to forget."""
        return self._forgetting.is_due(now) or await links.has_untold(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Decide and tell what can be told by now."""
        async with postgres.deadline(connection, self.STEP_S, "clicks"):
            some = await links.untold(connection, AT_ONCE)
            await self._learn(connection, some)
            some = await self._decide(connection, some, now)
        async with postgres.deadline(connection, self.STEP_S, "clicks"):
            await self._tell(connection, [one for one in some if one.verdict == Verdict.HUMAN], now)
        async with postgres.deadline(connection, self.STEP_S, "page entries"):
            entries = await pages.untold(connection, AT_ONCE)
            await self._tell_entries(connection, entries, now)
        self.has_more = len(some) == AT_ONCE or len(entries) == AT_ONCE
        if self._forgetting.is_due(now):
            for bucket in range(BUCKETS):
                async with postgres.deadline(connection, self.STEP_S, "forget links"):
                    await links.forget(connection, bucket, now - KEPT_FOR)
            self._forgetting.done(now)
        return True

    async def _learn(self, connection: postgres.Connection, some: Sequence[Click | Entry]) -> None:
        missing = {one.target for one in some} - self._targets.keys()
        if missing:
            self._targets.update(await links.targets(connection, missing))

    async def _decide(self, connection: postgres.Connection, some: Sequence[Click], now: datetime) -> list[Click]:
        """Write down what can be said by now; -> the clicks that are decided."""
        known = await feeds.known(connection, [one.number for one in some])
        found: list[Click] = []
        decided: list[Decided] = []
        for one in some:
            if one.verdict != Verdict.UNDECIDED:
                found.append(one)
                continue
            target = self._targets.get(one.target)
            ruling = rules.decide(
                one.agent, at=one.at, made_at=one.made_at, submitted_at=one.submitted_at,
                has_page=target is not None and target.kind == "page", beacon_at=one.beacon_at, now=now,
            )  # fmt: skip
            if ruling is None:
                continue
            is_told = ruling.verdict != Verdict.HUMAN or one.number not in known
            decided.append(
                Decided(bucket=one.bucket, id=one.id, verdict=ruling.verdict, rule=ruling.rule, is_told=is_told)
            )
            if not is_told:
                found.append(_ruled(one, ruling))
        await links.decide(connection, decided)
        return found

    async def _tell(self, connection: postgres.Connection, humans: Sequence[Click], now: datetime) -> None:
        if not humans:
            return
        items = [item for one in humans for item in self._items(one)]
        done = await profiles.ingest(connection, items, now, self._chance, self._kinds)
        self.told += done.events
        await links.decide(
            connection,
            [Decided(bucket=one.bucket, id=one.id, verdict=Verdict.HUMAN, rule=one.rule, is_told=True)
             for one in humans],
        )  # fmt: skip

    def _items(self, one: Click) -> list[Item]:
        target = self._targets.get(one.target)
        who, about = Who(phone=one.number), _about(target, one.run)
        told = about | {VERDICT_PROPERTY: HUMAN, "rule": one.rule}
        items = [
            Item(
                who=who, source=OUR_SOURCE, event_id=f"clicked:{one.bucket}:{one.id}", name=CLICKED,
                occurred_at=one.at, properties=told, is_ours=True,
            )
        ]  # fmt: skip
        if target is not None and target.kind == "page":
            items.append(
                Item(
                    who=who, source=OUR_SOURCE, event_id=f"page_opened:{one.bucket}:{one.id}", name=PAGE_OPENED,
                    occurred_at=one.at, properties=about | {"page": target.page}, is_ours=True,
                )
            )  # fmt: skip
        return items

    async def _tell_entries(self, connection: postgres.Connection, entries: Sequence[Entry], now: datetime) -> None:
        await self._learn(connection, entries)
        known: dict[tuple[str, int], Page | None] = {}
        items: list[Item] = []
        facts: list[Fact] = []
        too_young: set[int] = set()
        for one in entries:
            key = (one.page, one.version)
            if key not in known:
                known[key] = await pages.version_of(connection, *key)
            page = known[key]
            form = None if page is None else page.forms.get(one.form)
            if page is None or form is None:
                log.warning("! page %s %d: an entry of its form %s is not told: it is gone", *key, one.form)
                continue
            items.append(_item_of(one, form, self._targets.get(one.target)))
            of_age = is_of_age(form, one.answers, one.at.date())
            if of_age:
                facts += _facts_of(one, page, form, now)
            elif of_age is False:
                too_young.add(one.number)
        if items:
            done = await profiles.ingest(connection, items, now, self._chance, self._kinds)
            self.told += done.events
        if facts:
            await consents.append_where(
                connection, facts, lambda old, fact: all(_said(one) != _said(fact) for one in old),
                lambda known: states_at(known, now),
            )  # fmt: skip
        if too_young:
            # What a crash has left between is entered once: whom it was entered for is passed over.
            standing = await stops.standing(connection, sorted(too_young))
            known_of = {one.number for one in standing if one.is_stop and one.source == "age"}
            if new := sorted(too_young - known_of):
                scopes = [stops.PROMOTIONAL] * len(new)
                await stops.enter(connection, new, scopes, is_stop=True, at=now, source="age", note="said on a page")
        await pages.told(connection, entries)


def _ruled(one: Click, ruling: rules.Ruling) -> Click:
    return Click(
        bucket=one.bucket, id=one.id, token=one.token, number=one.number, target=one.target, run=one.run, at=one.at,
        made_at=one.made_at, verdict=ruling.verdict, rule=ruling.rule, agent=one.agent,
    )  # fmt: skip


def _about(target: Target | None, run: int) -> dict[str, Any]:
    if target is None:
        return {"run": run}
    return {CAMPAIGN_PROPERTY: target.campaign, "run": run, "link": target.name}


def _item_of(one: Entry, form: Form, target: Target | None) -> Item:
    """The event of what was filled in: its answers, and which of them the person has declared of themselves (S0.18)."""
    attributes = declared(form, one.answers)
    properties = dict(one.answers) | _about(target, one.run)
    properties |= {"page": one.page, "form": one.form, "is_contest": form.contest, "declared": sorted(attributes)}
    return Item(
        who=Who(phone=one.number), source=PAGE_SOURCE, event_id=f"page:{one.bucket}:{one.id}", name=form.event,
        occurred_at=one.at, attributes=attributes, properties=properties,
    )  # fmt: skip


def _facts_of(one: Entry, page: Page, form: Form, now: datetime) -> list[Fact]:
    """The grants of boxes that were ticked, with the very words beside them (CN-1, CN-3).

    The link went to this number alone: who has it in hand has shown that the number is theirs.
    """
    found = []
    for field in form.fields:
        if not isinstance(field, ConsentField) or one.answers.get(field.name) is not True:
            continue
        fact = Fact(
            number=one.number, brand=f"{page.brand}/{field.programme}" if field.programme else page.brand,
            class_="promotional", action="grant", source="form", recorded_at=now, effective_at=min(one.at, now),
            method="box ticked on a page, opened by the link of a message to this number", wording=field.label,
            wording_version=f"{page.name} {one.version}", url=f"page:{page.name}#{form.name}.{field.name}",
        )  # fmt: skip
        wrong = problems(fact)
        if wrong:
            log.warning("! page %s: a consent is not taken: %s: expected %s, found %s", page.name, *wrong[0])
        else:
            found.append(fact)
    return found


def _said(fact: Fact) -> tuple[object, ...]:
    return (fact.source, fact.brand, fact.effective_at, fact.wording, fact.url)
