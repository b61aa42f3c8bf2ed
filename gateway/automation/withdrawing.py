"""Takes texts out of the queue that are not wanted any more, at once: the first line of EX-2; the gate is the second.

    an exception, the goal, a STOP is told ─► texts that were made lately ─► is it so? ─┬─► unwanted (store/unwanted.py)
    an enrolment ends before its end ─► its texts ──────────────────────────────────────╯   in one transaction
    unwanted ─► lane by lane: out of chunks that nobody has claimed ─► prevented ─► unwanted is gone

Whoever dies between two of these leaves what the next look does again: what is out is found to be out. Of exceptions it
is open until then what became of the text (EX-3): excepting.py finds that out where it was too late for this.
Not here: who leaves for it (carrying.py), what the gate asks (dispatch/admission.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from _fastpath.eventrows import microseconds
from gateway.automation.job import Every
from gateway.automation.readying import BUCKETS, CURRENT, OPTED_OUT, STEP_S, Key, Readying, consent_of
from gateway.automation.sending import LATE_WITHIN
from gateway.campaign.workflow import Plan
from gateway.happening import Sought
from gateway.reasons import Reason
from gateway.store import admission, causes, excepted, happenings, postgres, returns, runs, unwanted
from gateway.store.excepted import Excepted, Made
from gateway.store.postgres import Connection
from gateway.store.returns import Nowhere
from gateway.store.unwanted import Out, Unwanted

A_ROUND = 1000
PARTITIONS_S = 3600.0


class Withdrawing:
    """What a worker takes out of the queue."""

    def __init__(self, ready: Readying):
        self._ready = ready
        self._partitions = Every(PARTITIONS_S)
        # By kind and name of causes the campaigns, and what that was made of.
        self._listening: Mapping[tuple[str, str], set[int]] = {}
        self._plans: Mapping[Key, Plan] = {}
        self._audiences: Mapping[str, int] = {}
        self._count = 0

    async def hear(self, connection: Connection, told: Sequence[causes.Cause], now: datetime) -> None:
        """Note texts that were made before that was told for which they are not wanted, in the caller's transaction."""
        listening = self._listens()
        heard: dict[tuple[int, int, int], datetime] = {}
        named: dict[int, set[tuple[str, str]]] = {}
        for cause in told:
            what = (cause.kind, cause.name)
            for campaign in listening.get(what, ()):
                heard[cause.bucket, cause.profile, campaign] = cause.received_at
                named.setdefault(campaign, set()).add(what)
        if not heard:
            return
        by_step: dict[tuple[int, int, int], list[Made]] = {}
        for one in await excepted.made_lately(connection, sorted(heard), now - LATE_WITHIN):
            by_step.setdefault((one.campaign, one.version, one.step), []).append(one)
        met: list[Excepted] = []
        found: list[Unwanted] = []
        for (campaign, version, place), some in by_step.items():
            CURRENT.set(campaign)
            plan = await self._ready.plan(connection, campaign, version)
            for sought, reason in self._against(plan, place):
                if self._names(sought).isdisjoint(named[campaign]):
                    continue
                hits = await self._happened(connection, plan, some, sought, now)
                if reason == Reason.STOP:
                    hits = await self._without_consent(connection, plan, some, hits, now)
                hit = [one for one in some if one.enrolment in hits]
                found += [
                    Unwanted(
                        bucket=one.bucket, enrolment=one.enrolment, visit=one.visit, outgoing=one.outgoing,
                        reason=int(reason),
                    )
                    for one in hit if one.outgoing is not None
                ]  # fmt: skip
                if reason == Reason.EXCEPTION:
                    met += [
                        Excepted(
                            bucket=one.bucket, enrolment=one.enrolment, visit=one.visit, profile=one.profile,
                            campaign=plan.document.name, name=sought.event, happened_at=hits[one.enrolment],
                            told_at=heard[one.bucket, one.profile, campaign], planned_at=one.made_at,
                            state=excepted.OPEN, run=one.run,
                        )
                        for one in hit
                    ]  # fmt: skip
        await excepted.add(connection, met, now)
        await unwanted.add(connection, found, now)

    async def leave(self, connection: Connection, ended: Mapping[tuple[int, int], int], now: datetime) -> None:
        """Note what enrolments, (bucket, id), have made that ended by a reason, in the caller's transaction."""
        await unwanted.add_of(connection, ended, now - LATE_WITHIN, now)

    async def withdraw(self, connection: Connection, now: datetime) -> bool:
        """Take out what is noted and still in the queue; -> whether there may be more."""
        async with postgres.deadline(connection, STEP_S, "texts that are not wanted any more"):
            some, in_no_lane = await unwanted.waiting(connection, 0, BUCKETS - 1, A_ROUND)
            asked = [one for one in some if one.outgoing not in in_no_lane]
            if not asked:
                return False
            if self._partitions.is_due(now):
                # No worker may have run yet that has made them.
                await runs.ensure_partitions(connection, now)
                self._partitions.done(now)
        for lane in sorted(self._ready.lanes.values()):
            async with postgres.deadline(connection, STEP_S, f"texts that lane {lane} is to let go"):
                out = await unwanted.take_out(connection, lane, asked, now)
                await self._give_back(connection, lane, [one for one in out if one.was_claimed], now)
                await excepted.prevented(
                    connection,
                    [
                        (one.of.bucket, one.of.enrolment, one.of.visit, max(one.not_before, now))
                        for one in out
                        if one.of.reason == Reason.EXCEPTION
                    ],
                )
        async with postgres.deadline(connection, STEP_S, "texts that are not wanted any more"):
            await unwanted.forget(connection, asked)
        return len(some) == A_ROUND

    # -- inside --------------------------------------------------------------------------------------------------------

    def _listens(self) -> Mapping[tuple[str, str], set[int]]:
        """Say for which causes which campaigns may not want a text any more; of any version that people are in."""
        plans, audiences = self._ready.plans, self._ready.audiences
        if self._plans is plans and self._count == len(plans) and self._audiences == audiences:
            return self._listening
        found: dict[tuple[str, str], set[int]] = {}
        for (campaign, _), plan in plans.items():
            for place, _ in plan.sends():
                for sought, _ in self._against(plan, place):
                    for what in self._names(sought):
                        found.setdefault(what, set()).add(campaign)
        self._plans, self._count, self._audiences, self._listening = plans, len(plans), audiences, found
        return found

    @staticmethod
    def _against(plan: Plan, place: int) -> list[tuple[Sought, Reason]]:
        """Name what a text of a step is not wanted for, as its gate does, and the reason."""
        found = [(one, Reason.EXCEPTION) for one in plan.excepting(place)]
        if plan.exit_goal is not None:
            found.append((plan.exit_goal, Reason.GOAL_MET))
        if plan.writes and consent_of(plan.document) is not None:
            found.append((OPTED_OUT, Reason.STOP))
        return found

    def _names(self, sought: Sought) -> set[tuple[str, str]]:
        """Name the causes, by kind and name, that may be what is looked for."""
        if not sought.audience:
            return {("event", name) for name in sought.names}
        kind = "entered" if sought.is_in else "left"
        return {(kind, str(self._ready.audiences.get(sought.audience, 0)))}

    async def _happened(
        self, connection: Connection, plan: Plan, some: Sequence[Made], sought: Sought, now: datetime
    ) -> dict[int, datetime]:
        anchors: dict[int, dict[int, datetime | None]] = {}
        for one in some:
            anchors.setdefault(one.bucket, {})[one.enrolment] = None
        least = min(one.anchor_at for one in some)
        return await happenings.happened(connection, anchors, sought, least, self._ready.terms(plan.document, now))

    async def _without_consent(
        self, connection: Connection, plan: Plan, some: Sequence[Made], hits: Mapping[int, datetime], now: datetime
    ) -> dict[int, datetime]:
        """Leave out whoever has come back meanwhile (WF-9)."""
        tree = consent_of(plan.document)
        persons = sorted({(one.bucket, one.profile) for one in some if one.enrolment in hits})
        if tree is None or not persons:
            return {}
        fit = await happenings.matching(connection, persons, tree, self._ready.terms(plan.document, now))
        return {one.enrolment: hits[one.enrolment] for one in some if one.enrolment in hits and one.profile not in fit}

    async def _give_back(self, connection: Connection, lane: int, out: Sequence[Out], now: datetime) -> None:
        """Give places back that the gate has reserved at an earlier claim (CP-2), where there is one.

        Whoever dies before it leaves them reserved: a limit is reached one text too early then, never too late.
        """
        if not out:
            return
        acts = await admission.acts(connection, lane, sorted({one.place.chunk for one in out}))
        failed_at = microseconds(now).to_bytes(8, "big")
        numbers: dict[int, bytes] = {}
        for one in out:
            act = acts[one.place.chunk]
            numbers[act] = numbers.get(act, b"") + one.place.number.to_bytes(8, "big")
        for act, some in numbers.items():
            await returns.give_back(connection, act, Nowhere(numbers=some, failed_at=failed_at * (len(some) // 8)), now)
