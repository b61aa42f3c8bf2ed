"""Looks at experiments as one worker for all of them: stops an arm that drives people away, decides what is due.

every minute   is there one that runs or is held? ─► take the job ─► sum its arms ─► guard (AB-8) ─► decide (AB-5)

What is found is written under the row of the experiment, held, if nobody has changed it since it was read: a person's
word goes before the rule's. Each change is an event. An experiment whose sums take long is looked at so much less often
that looking takes a twentieth of the time.
Not here: what sums say (campaign/experiments.py), where they come from (store/experiments.py).
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from gateway.automation.job import Job
from gateway.campaign import experiments as rules
from gateway.campaign.experiments import Decision, Stop
from gateway.events import Event, event
from gateway.store import events, experiments, postgres
from gateway.store.experiments import Counted, Kept

log = logging.getLogger(__name__)

# Of the table of events: an experiment is of no lane.
NO_LANE = 0
BY = "sluice"
# A look is followed by so many times as long without one.
REST = 19


class Deciding(Job):
    """The loop of one worker."""

    NAME = "deciding"
    ROUND_S = 60.0
    UNDONE = "no experiment is decided, and no arm is stopped"

    def __init__(
        self, wall: Callable[[], datetime], connect: Callable[[], Awaitable[postgres.Connection]], instance: str
    ):
        super().__init__(wall, connect, instance)
        # By experiment: when its last look ended, and until when it rests.
        self._rests: dict[int, tuple[datetime, datetime]] = {}
        self.stopped = 0
        self.decided = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether there is an experiment that runs, or waits for a person."""
        return await experiments.any_open(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Look at each whose rest is over."""
        for kept in await experiments.all_of(connection):
            if kept.state in ("running", "held") and not self._rests_at(kept, now):
                began = self._wall()
                await self._look(connection, kept, began)
                ended = self._wall()
                self._rests[kept.id] = ended, ended + max(timedelta(), REST * (ended - began))
        return True

    def _rests_at(self, kept: Kept, now: datetime) -> bool:
        # A clock that went back rests nobody.
        since, until = self._rests.get(kept.id, (now, now))
        return since <= now < until

    async def _look(self, connection: postgres.Connection, kept: Kept, now: datetime) -> None:
        counted = await experiments.arms(connection, kept, now)
        if counted.first_at is None:
            return
        # Integrals take tens of milliseconds, and the loop is that of a worker that sends.
        stops, decision = await asyncio.to_thread(judge, kept, counted, (now - counted.first_at).total_seconds())
        if not stops and decision is None:
            return
        async with postgres.deadline(connection, self.STEP_S, f"job {self.NAME}"), connection.transaction():
            # Somebody else may have had his word meanwhile; and the next round looks again.
            if await experiments.hold(connection, kept.name) != kept:
                return
            if stops:
                await experiments.stop_arms(connection, kept, [stop.arm for stop in stops])
            if decision is not None:
                await experiments.settle(
                    connection, kept, decision.state, decision.winner, at=now, by=BY, why=decision.why
                )
            await events.take_turn(connection, NO_LANE)
            await events.append(connection, NO_LANE, _told(kept, stops, decision, now))
        names = kept.body.names()
        for stop in stops:
            log.warning("! experiment %s: an arm is stopped: %s", kept.name, stop.said(names))
        if decision is not None:
            log.warning("= experiment %s: %s", kept.name, said(kept, decision))
            self.decided += 1
        self.stopped += len(stops)


def judge(kept: Kept, counted: Counted, elapsed_s: float) -> tuple[list[Stop], Decision | None]:
    """Say which arms are to be stopped, and what is decided so long after the first assignment."""
    stops = rules.guard(counted.arms, kept.stopped)
    if kept.state != "running" or elapsed_s < rules.due_after_s(kept.body):
        return stops, None
    stopped = (*kept.stopped, *(stop.arm for stop in stops))
    return stops, rules.decide(kept.body, rules.verdict(kept.body, counted.arms, counted.splits, stopped), elapsed_s)


def said(kept: Kept, decision: Decision) -> str:
    """Say what became of an experiment."""
    if decision.state == "held":
        return f"waits for a person: {decision.why}"
    winner = "nobody" if decision.winner is None else kept.body.names()[decision.winner]
    return f"{winner} has won, {decision.why}"


def _told(kept: Kept, stops: Sequence[Stop], decision: Decision | None, now: datetime) -> list[Event]:
    names = kept.body.names()
    told = [
        event(
            "experiment.arm_stopped", now, kept.name, arm=names[stop.arm], what=stop.what, events=stop.events,
            ratio=stop.ratio if math.isfinite(stop.ratio) else None, p=stop.p,
        ) for stop in stops
    ]  # fmt: skip
    if decision is not None and decision.state == "held":
        told.append(event("experiment.held", now, kept.name, why=decision.why))
    elif decision is not None:
        told.append(_decided(kept, decision.winner, now, BY, decision.why))
    return told


def _decided(kept: Kept, winner: int | None, now: datetime, by: str, why: str) -> Event:
    name = None if winner is None else kept.body.names()[winner]
    return event("experiment.decided", now, kept.name, winner=name, by=by, why=why)


async def declare(
    connection: postgres.Connection, name: str, winner: str, *, at: datetime, by: str, why: str
) -> Kept | str:
    """Let a person decide; -> what it was before, or why they may not, in words."""
    async with postgres.deadline(connection, experiments.STEP_S, "experiment"), connection.transaction():
        kept = await experiments.hold(connection, name)
        if kept is None:
            return f"experiment {name!r}: expected one that was applied"
        if problem := rules.may_win(kept.body, kept.standing, winner):
            return problem
        arm = kept.body.arm_named(winner)
        await experiments.settle(connection, kept, "decided", arm, at=at, by=by, why=why)
        await events.take_turn(connection, NO_LANE)
        await events.append(connection, NO_LANE, [_decided(kept, arm, at, by, why)])
    return kept


async def end(connection: postgres.Connection, name: str, *, at: datetime, by: str, why: str) -> Kept | str:
    """Let a person end an experiment without a winner: nobody gets anything more by it; -> as `declare`."""
    async with postgres.deadline(connection, experiments.STEP_S, "experiment"), connection.transaction():
        kept = await experiments.hold(connection, name)
        if kept is None:
            return f"experiment {name!r}: expected one that was applied"
        if kept.state == "stopped":
            return f"{kept.name}: expected one that was not stopped yet"
        await experiments.settle(connection, kept, "stopped", None, at=at, by=by, why=why)
        await events.take_turn(connection, NO_LANE)
        await events.append(connection, NO_LANE, [event("experiment.stopped", at, kept.name, by=by, why=why)])
    return kept
