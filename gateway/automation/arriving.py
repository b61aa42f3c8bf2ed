"""Takes what was told of persons to campaigns: who enters, who is woken, whose text is too late to be prevented.

    causes ─► candidates ─► facts, set-wise ─► entering.decide (TR-2) ─► enrolments, entered or with a reason
           ─► who waits for such an event is due now · exceptions behind the gate are told (EX-3) · dates that changed

All in the transaction of the step that took the causes. Not here: what happens to who has entered (carrying.py).
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from gateway.automation import telling
from gateway.automation.readying import CURRENT, OPTED_OUT, Readying, consent_of
from gateway.automation.telling import Told
from gateway.automation.ticking import bring_dated, calendar_of
from gateway.campaign import entering
from gateway.campaign.entering import Candidate
from gateway.person import WORKFLOW_ENTERED
from gateway.reasons import Reason
from gateway.store import (
    causes,
    enrolments,
    excepted,
    happenings,
)
from gateway.store.enrolments import New
from gateway.store.excepted import Excepted, Made
from gateway.store.postgres import Connection

# Of a text that was made longer ago no exception is late: it has its end, or nobody will tell it.
LATE_WITHIN = timedelta(days=3)


class Arriving:
    """Who comes to the campaigns of a worker. entered: how many, since it began."""

    def __init__(self, ready: Readying, ids: Callable[[datetime], Iterator[int]]):
        self._ready = ready
        self._ids = ids
        self.entered = 0

    async def enter(self, connection: Connection, told: Sequence[causes.Cause], now: datetime) -> None:
        """Enter those whom causes bring (TR-2), and wake those who wait for one."""
        await self._dates_that_changed(connection, told, now)
        found = entering.candidates([*self._ready.live.values(), *self._ready.queues.values()], told, now)
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
                    Told(WORKFLOW_ENTERED, one.bucket, one.number, one.id, self._ready.names[one.campaign])
                    for one in new
                    if one.id in added and not one.reason
                ]
            places = {one.id: one.bucket for one in known}
            cancelled = {
                (places[id_], id_): int(Reason.CAMPAIGN_ENDED) for one in decided for id_ in one.cancels if id_
            }
            for one in await enrolments.end(connection, cancelled, now):
                said += telling.left([one], self._ready.names[one.campaign], int(Reason.CAMPAIGN_ENDED))
            await self._ready.tell(connection, said, now)
        # Of those who wait, and of any version: their plans may listen to more than the newest one.
        wakes: dict[str, set[int]] = {}
        for (campaign, _), plan in self._ready.plans.items():
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
        for (campaign, _), plan in self._ready.plans.items():
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
            plan = await self._ready.plan(connection, campaign, version)
            anchors: dict[int, dict[int, datetime | None]] = {}
            for one in some:
                anchors.setdefault(one.bucket, {})[one.enrolment] = None
            least, terms = min(one.anchor_at for one in some), self._ready.terms(plan.document, now)
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
        for one in list(self._ready.live.values()) if changed else ():
            calendar = calendar_of(one)
            if calendar is not None and calendar.date is not None:
                house = self._ready.settings.brand(one.plan.document.brand).zone
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
                terms = self._ready.terms(plan.document, now)
                tree = self._ready.expanded(plan.filter)
                fits |= {(campaign, one) for one in await happenings.matching(connection, asked, tree, terms)}
            tree_of_consent = consent_of(plan.document)
            if tree_of_consent is None or not plan.writes:
                agreed |= {(campaign, one) for one in ids}
            else:
                terms = self._ready.terms(plan.document, now)
                agreed |= {
                    (campaign, one) for one in await happenings.matching(connection, asked, tree_of_consent, terms)
                }
        return entering.Facts(fits=frozenset(fits), agreed=frozenset(agreed), numbers=numbers)
