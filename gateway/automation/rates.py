"""Steers runs that have a rate, as one worker for all: how fast they go, ramps, budgets, what stops by itself.

    every second, of each such run: what is left ─► its rate · the step of its ramp      TH-1
    now and then: what carriers answered ─► what it has cost ─► what may still be granted      TH-5
                                          ─► a threshold is passed ─► an order: this run stops on this carrier

How often answers are counted follows from what that takes: a twentieth of the time at most. So a budget holds whatever
the interval: nothing is granted that it could not pay for, what is on its way counted as dear as it can be.
Not here: what a purse is and who takes from it (dispatch/rates.py), the sums (campaign/rates.py).
"""

import json
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from gateway.automation.job import Job
from gateway.automation.readying import RUN_LIFE
from gateway.campaign.rates import (
    Spans,
    Tally,
    affordable,
    breached,
    per_s_by_country,
    per_s_of_clicks,
    slower,
    spans_in,
    step_of,
)
from gateway.config import Settings
from gateway.countries import letters_of
from gateway.events import event
from gateway.gate import gate_of
from gateway.message import MessageClass
from gateway.rate import RECEIPT_S
from gateway.store import control, events, postgres, rates, runs
from gateway.store.control import Order
from gateway.store.rates import Planned

log = logging.getLogger(__name__)

LOOK_S = 1.0
# Of the time, what counting answers may take: one in so many.
LOOK_SHARE = 20
# What was granted and is never heard of again: its worker is gone.
FORGOTTEN_S = 30.0
# Clocks of several machines stand apart.
BEFORE = timedelta(hours=1)
BY = "rates"
# Nobody enqueues any more into a run of a step that is older.
CLOSED = RUN_LIFE + timedelta(hours=1)


class Rating(Job):
    """The loop of one worker.

    ticks  monotonic seconds
    """

    NAME = "rates"
    ROUND_S = 1.0
    UNDONE = "runs that have a rate go on as they went"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        ticks: Callable[[], float],
    ):
        super().__init__(wall, connect, instance)
        self._costs = settings.costs
        self._ticks = ticks
        self._looks_at: dict[int, float] = {}
        self._settled: dict[int, int] = {}
        self._dearest: dict[int, float] = {}
        self._seen: dict[int, tuple[int, int, float]] = {}
        # Messages a second that the site bears which a run leads to (TH-4).
        self._clicks: dict[int, float] = {}
        self._reports: dict[str, tuple[int, int]] = {}
        self.stopped = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether there is a run with a rate."""
        return bool(await rates.live(connection))

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Steer each run."""
        async with postgres.deadline(connection, self.STEP_S, "runs with a rate"):
            planned = await rates.live(connection)
            names = await runs.lanes(connection)
            orders = {
                each.key: each for each in (await control.state(connection, now)).orders if each.scope == "campaign"
            }
        for one in planned:
            async with postgres.deadline(connection, self.STEP_S, f"rate of run {one.run}"):
                await self._steer(connection, one, names, orders, now)
        live = {one.run for one in planned}
        kept: dict[int, Any]
        for kept in (self._looks_at, self._settled, self._dearest, self._seen, self._clicks):
            for run in kept.keys() - live:
                kept.pop(run)
        return True

    async def _steer(
        self,
        connection: postgres.Connection,
        one: Planned,
        names: dict[int, str],
        orders: dict[str, Order],
        now: datetime,
    ) -> None:
        run = await runs.run_by_id(connection, one.run)
        if run is None or run.enqueued_at is None:
            return
        by_country: Counter[str] = Counter()
        for lane in names:
            found = await rates.left(connection, lane, one.run)
            by_country.update({letters_of(country): n for country, n in found.items()})
        waiting = sum(by_country.values())
        skipped, spent, looked_at = one.skipped, one.spent, one.looked_at
        began = self._ticks()
        if one.plan.budget or one.plan.thresholds or one.plan.over_s or one.plan.clicks_per_min:
            if began >= self._looks_at.get(one.run, 0.0):
                skipped, spent = await self._look(connection, one, run, names, orders, now)
                looked_at = now
                self._looks_at[one.run] = began + max(LOOK_S, LOOK_SHARE * (self._ticks() - began))
        # What is above the watermarks has not left; they run ahead of it, so that what was granted says more.
        left = max(run.recipients - one.granted - skipped, waiting)
        ends_at = None if one.started_at is None else one.started_at.timestamp() + one.plan.over_s
        at = now.timestamp()
        gate, class_ = gate_of(run.gate), MessageClass(run.class_)

        def spans_of(country: str) -> Spans | None:
            return None if gate is None else spans_in(gate, class_, country, at, max(at + 1, ends_at or at))

        per_s = per_s_by_country(one.plan, run.recipients, left, by_country, at, ends_at, spans_of)
        per_s = slower(per_s, self._clicks.get(one.run, per_s_of_clicks(one.plan)))
        named = (run.name, str(run.id))
        stands = any(each.stops and (key in named or key.rpartition("@")[0] in named) for key, each in orders.items())
        step = step_of(one.plan, run.recipients, one.granted, one.stage, one.held_since, now, one.is_told, stands)
        if step.held_since is not None and one.held_since is None:
            log.warning("= run %d: holds at %g%% of its ramp", one.run, one.plan.ramp[step.stage] * 100)
        goes_to = step.goes_to
        if one.plan.budget:
            dearest = self._dearest.get(one.run, 0.0)
            paid = affordable(one.plan.budget, spent, one.granted, self._known(one, began), dearest)
            goes_to = paid if goes_to is None else min(goes_to, paid)
            if waiting and one.plan.budget - spent < dearest:
                why = f"budget: {spent:.2f} of {one.plan.budget:g} {one.plan.currency} are spent"
                await self._stop(connection, run, min(run.lanes), "", why, orders, now)
        await rates.steer(
            connection, one.run, per_s=per_s, goes_to=goes_to, stage=step.stage, held_since=step.held_since,
            skipped=skipped, spent=spent, now=looked_at or now, is_over=not by_country and not _is_open(run, now),
        )  # fmt: skip

    def _known(self, one: Planned, at: float) -> int:
        """Count the messages of which it is known what they cost, and those of which nobody will ever tell."""
        settled = self._settled.get(one.run, 0)
        seen = (one.granted, settled, at)
        if self._seen.get(one.run, seen)[:2] != seen[:2]:
            self._seen[one.run] = seen
        return one.granted if at - self._seen.setdefault(one.run, seen)[2] > FORGOTTEN_S else settled

    async def _look(
        self, connection: postgres.Connection, one: Planned, run: runs.Run, names: dict[int, str],
        orders: dict[str, Order], now: datetime,
    ) -> tuple[int, float]:  # fmt: skip
        """Count what carriers answered, and stop those that pass a threshold; -> skipped, spent."""
        since, old_before = run.created_at - BEFORE, now - timedelta(seconds=RECEIPT_S)
        kinds = {threshold.kind for threshold in one.plan.thresholds}
        throttled = await self._throttled(connection) if "throttle" in kinds else {}
        skipped = settled = taken = 0
        spent, longest = 0.0, one.plan.parts
        for lane, name in names.items():
            answers = await rates.answers(connection, lane, one.run, since, old_before)
            if not answers:
                continue
            for each in answers:
                skipped += each.skipped
                settled += each.taken + each.refused
                taken += each.taken
                longest = max(longest, each.longest)
                spent += each.parts * (self._costs.of(name, letters_of(each.country)) or 0.0)
            if not kinds:
                continue
            # What was before somebody let it go on does not stop it again.
            resumed = [orders[key].at for key in (f"{run.id}@{name}", f"{run.name}@{name}") if key in orders]
            begin = max([since, *resumed])
            if resumed:
                answers = await rates.answers(connection, lane, one.run, begin, old_before)
            failed, receipts = await rates.receipts(connection, lane, one.run, begin)
            refused = sum(each.refused for each in answers)
            answered, throttles = throttled.get(name, (0, 0))
            stops = await rates.stops(connection, max(begin, one.started_at or begin)) if "opt_out" in kinds else []
            tally = Tally(
                taken=sum(each.taken for each in answers), refused=refused, failed=refused + failed,
                old=sum(each.old for each in answers), receipts=receipts, answers=answered, throttled=throttles,
                opt_outs=await rates.written(connection, lane, one.run, stops),
            )  # fmt: skip
            for threshold in one.plan.thresholds:
                if why := breached(threshold, tally):
                    await self._stop(connection, run, lane, name, why, orders, now)
        if one.plan.clicks_per_min:
            clicks, last_minute = await rates.clicks(connection, one.run, now)
            self._clicks[one.run] = per_s_of_clicks(one.plan, taken, clicks, last_minute)
        self._settled[one.run] = settled
        self._dearest[one.run] = longest * max((self._costs.dearest(name) for name in names.values()), default=0.0)
        return skipped, spent

    async def _throttled(self, connection: postgres.Connection) -> dict[str, tuple[int, int]]:
        """Count answers, and those that ask for less, by carrier since the last look, out of what workers report."""
        found: dict[str, tuple[int, int]] = {}
        for worker in await runs.workers(connection):
            for name, told in json.loads(worker.report).get("carriers", {}).items():
                key = f"{worker.instance} {name}"
                answers = told.get("answers", {})
                now = (int(answers.get("all", 0)), int(answers.get("throttled", 0)))
                before = self._reports.get(key, now)
                self._reports[key] = now
                known = found.get(name, (0, 0))
                found[name] = known[0] + now[0] - before[0], known[1] + now[1] - before[1]
        return found

    async def _stop(
        self, connection: postgres.Connection, run: runs.Run, lane: int, carrier: str, why: str,
        orders: dict[str, Order], now: datetime,
    ) -> None:  # fmt: skip
        """Order that a run stops, on one carrier or on all, and tell of it; it goes on when somebody says so."""
        key = f"{run.id}@{carrier}" if carrier else str(run.id)
        if key in orders and orders[key].stops:
            return
        async with connection.transaction():
            await control.give(connection, "pause", "campaign", [key], at=now, by=BY, reason=why)
            told = event("run.stopped", now, run.name, run=run.id, carrier=carrier, reason=why)
            await events.append(connection, lane, [told])
        orders[key] = Order(id=0, at=now, by=BY, action="pause", scope="campaign", key=key, until=None, reason=why)
        self.stopped += 1
        log.error("! run %d%s stops: %s", run.id, f" on {carrier}" if carrier else "", why)


def _is_open(run: runs.Run, now: datetime) -> bool:
    """Say whether more people may come into a run: into one without a list, of a step of a campaign, for a day."""
    return run.list is None and run.cancelled_at is None and now < run.created_at + CLOSED
