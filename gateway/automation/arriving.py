"""Takes what was told of persons to campaigns: who enters, who is woken, whose text is not wanted any more.

    causes ─► candidates ─► facts, set-wise ─► entering.decide (TR-2) ─► enrolments, entered or with a reason
           ─► who waits for such an event is due now · texts that are not wanted any more (EX-2) · dates that changed

All in the transaction of the step that took the causes. Not here: what happens to who has entered (carrying.py).
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from gateway.automation import telling
from gateway.automation.readying import CURRENT, OPTED_OUT, Readying, consent_of
from gateway.automation.telling import Told
from gateway.automation.ticking import bring_dated, calendar_of
from gateway.automation.withdrawing import Withdrawing
from gateway.campaign import entering, workflow
from gateway.campaign.entering import Candidate
from gateway.person import WORKFLOW_ENTERED
from gateway.reasons import Reason
from gateway.store import (
    causes,
    enrolments,
    happenings,
)
from gateway.store.enrolments import New
from gateway.store.postgres import Connection


class Arriving:
    """Who comes to the campaigns of a worker. entered: how many, since it began."""

    def __init__(self, ready: Readying, withdrawing: Withdrawing, ids: Callable[[datetime], Iterator[int]]):
        self._ready = ready
        self._withdrawing = withdrawing
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
            left = await enrolments.end(connection, cancelled, now)
            for one in left:
                said += telling.left([one], self._ready.names[one.campaign], int(Reason.CAMPAIGN_ENDED))
            await self._withdrawing.leave(
                connection, {(one.bucket, one.id): int(Reason.CAMPAIGN_ENDED) for one in left}, now
            )
            await self._ready.tell(connection, said, now)
        # Of those who wait, and of any version: their plans may listen to more than the newest one.
        wakes: dict[tuple[str, str], set[int]] = {}
        for (campaign, _), plan in self._ready.plans.items():
            for name in (*plan.wakes, OPTED_OUT.event):
                wakes.setdefault(("event", name), set()).add(campaign)
            for change, audience in workflow.turns(plan):
                wakes.setdefault((change, str(self._ready.audiences.get(audience, 0))), set()).add(campaign)
        of = {
            (cause.bucket, cause.profile, campaign)
            for cause in told
            for campaign in wakes.get((cause.kind, cause.name), ())
        }
        await enrolments.wake(connection, sorted(of), now)
        await self._withdrawing.hear(connection, told, now)

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
