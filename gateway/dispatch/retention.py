"""Drops what is old, as one worker for all of them: whoever has the job in Postgres.

every 10 min   take the job ─► roll each day of outcomes that is over ─► drop its partitions
               ─► forget payload, chunks, runs, lists of files, what handsets wrote, events, receipts without a
                  message, orders, months of contacts and of what persons did
               ─► once a day, bucket by bucket: what was taken of persons, who was in campaigns, runs of their steps
               ─► make months of what persons will do

Each step is one small transaction of one lane; between two of them it rests as long as the step took, so that it takes
at most half of one connection. A worker that dies in the middle leaves nothing half done: the next one begins with what
is left. Not here: what is dropped, and how (store/retention.py, store/bygones.py).
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta

from gateway.config import RetentionSettings
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import StoreError
from gateway.store import bygones, jobs, months, people, postgres, retention, runs

log = logging.getLogger(__name__)

JOB = "retention"
FIRST_S = 60.0
ROUND_S = 600.0
# A day's partition is read whole to see what is in it.
STEP_S = 120.0
# Of one step: a chunk of 1000 messages in one part and with receipts is as much work as 1000 outcomes.
OUTCOMES_A_ROLL = 50_000
CHUNKS_A_ROLL = 2_000
MONTHS_AHEAD = 2
# Between two looks through the buckets of what was told of persons.
BUCKETS_S = 86_400.0
# A text may wait in its lane when its enrolment has ended; what came of it is reckoned with both.
WAITS = timedelta(days=31)


class Lost(Exception):
    """Another worker has the job."""


class Retention:
    """The loop of one worker; all but one of them find that another has the job."""

    def __init__(
        self,
        settings: RetentionSettings,
        clock: Clock,
        connect: Connect,
        instance: str,
    ):
        self._settings = settings
        self._clock = clock
        self._instance = instance
        self._line = Line(connect, self._make_ready)
        self._epoch = 0
        self._missed: StoreError | None = None
        self._buckets_at = clock.monotonic()
        self.last_error = ""
        self.rolled = 0
        self.dropped: list[str] = []
        self.forgotten = 0

    async def run(self) -> None:
        """Work until cancelled."""
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.round()
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! nothing old is dropped: %s", error)
                self.last_error = str(error)
                await self._line.mend(error)
            await asyncio.sleep(ROUND_S)

    async def round(self) -> bool:
        """Drop all that is old by now; -> False where another worker has the job.

        raises  StoreError; behind all lanes that could be served where it is of lanes alone
        """
        connection, now = await self._line.opened(), self._clock.wall()
        self._epoch = 0
        self._missed = None
        try:
            await self._keep_job(connection)
            async with postgres.deadline(connection, STEP_S, "retention"):
                lanes = sorted(await runs.lanes(connection))
            if self._settings.message_days:
                await self._roll(connection, lanes, now)
            await self._forget(connection, lanes, now)
            if self._settings.contact_days:
                await self._drop_contacts(connection, now)
            await self._keep_person_events(connection, lanes, now)
        except Lost:
            return False
        return True

    @contextlib.contextmanager
    def _without_node(self, connection: postgres.Connection) -> Iterator[None]:
        """Leave a lane out whose node is away: the round goes on with the others, and says so at its end."""
        try:
            yield
        except StoreError as error:
            if not postgres.is_sound(connection, error):
                raise
            self._missed = self._missed or error

    async def _make_ready(self, connection: postgres.Connection) -> None:
        # The server's limit of other connections is for statements of milliseconds.
        async with postgres.deadline(connection, STEP_S, "retention"):
            await connection.execute(f"SET statement_timeout = '{STEP_S:g}s'")

    async def _keep_job(self, connection: postgres.Connection) -> None:
        """See that the job is ours, and is still so since the round began."""
        async with postgres.deadline(connection, STEP_S, "job"):
            epoch = await jobs.take(connection, JOB, self._instance)
        if epoch is None or self._epoch not in (0, epoch):
            raise Lost
        self._epoch = epoch

    async def _rest(self, connection: postgres.Connection, begun: float) -> None:
        """Leave the server to others for as long as a step took; then look whether the job is still ours."""
        await asyncio.sleep(self._clock.monotonic() - begun)
        await self._keep_job(connection)

    async def _roll(self, connection: postgres.Connection, lanes: Iterable[int], now: datetime) -> None:
        """Roll the days that are over into results and drop them, the oldest first."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        horizon = midnight - timedelta(days=self._settings.message_days)
        async with postgres.deadline(connection, STEP_S, "partitions"):
            old = [one for one in await retention.partitions(connection) if one.end <= horizon]
        for day in old:
            if day.table == "outcome":
                for lane in lanes:
                    with self._without_node(connection):
                        await self._roll_day(connection, lane, day, now)
                # What could not be rolled everywhere stays, and a day goes from every node at once.
                if self._missed is not None or not await self._drop(connection, day):
                    # A later day is not rolled without what an earlier one has.
                    return
        for day in old:
            # Over midnight a receipt may be a little older than its outcome.
            if day.table == "receipt" and day.end + retention.DAY <= horizon:
                await self._drop(connection, day)

    async def _drop_contacts(self, connection: postgres.Connection, now: datetime) -> None:
        """Drop the months of contacts that no cap looks back to."""
        async with postgres.deadline(connection, STEP_S, "contacts"):
            kept = max(timedelta(days=self._settings.contact_days), await retention.cap_reach(connection))
            found = await months.months(connection, "contact_page")
        for month in found:
            if month.end <= now - kept and not await self._drop(connection, month):
                return

    async def _keep_person_events(self, connection: postgres.Connection, lanes: list[int], now: datetime) -> None:
        """Make the months ahead, drop those that are over, and forget what was taken long ago (EV-1)."""
        kept = self._settings
        async with postgres.deadline(connection, STEP_S, "months"):
            await months.ensure(connection, "person_event", months.ahead(now, MONTHS_AHEAD))
            found = await months.months(connection, "person_event") if kept.person_event_days else []
        for month in found:
            if month.end <= self._before(now, kept.person_event_days) and not await self._drop(connection, month):
                break
        if self._clock.monotonic() < self._buckets_at:
            return
        self._buckets_at = self._clock.monotonic() + BUCKETS_S
        for bucket in range(people.BUCKETS):
            if kept.person_event_days:
                # Of a month that was never made.
                before = months.month_of(self._before(now, kept.person_event_days))
                while await self._step(connection, retention.forget_person_events(connection, bucket, before)):
                    pass
            while kept.seen_days and await self._step(
                connection, retention.forget_seen(connection, bucket, self._before(now, kept.seen_days))
            ):
                pass
        if kept.campaign_days and kept.person_event_days:
            await self._forget_campaigns(connection, now)
            if kept.run_days:
                await self._forget_step_runs(connection, lanes, now)

    async def _forget_campaigns(self, connection: postgres.Connection, now: datetime) -> None:
        """Forget who was in campaigns, and what hangs on it, when the months of what they did are gone."""
        before = self._over(now)
        async with postgres.deadline(connection, STEP_S, "campaigns"):
            rules = await bygones.rules(connection)
            over = await bygones.old_experiments(connection, before)
        await self._step(connection, bygones.forget_ticks(connection, before))
        for bucket in range(people.BUCKETS):
            of_a_bucket = [
                functools.partial(bygones.forget_text_orders, connection, bucket, before),
                functools.partial(bygones.forget_causes, connection, bucket, before),
            ]
            if over:
                of_a_bucket.append(functools.partial(bygones.forget_arms, connection, bucket, over, before))
            for forget in of_a_bucket:
                while await self._step(connection, forget()):
                    pass
            behind: int | None = 0
            while behind is not None:
                begun = self._clock.monotonic()
                async with postgres.deadline(connection, STEP_S, "retention"):
                    looked = await bygones.forget_enrolments(connection, bucket, behind, before, now, rules)
                self.forgotten += looked.rows
                behind = looked.behind
                if looked.rows or behind is not None:
                    await self._rest(connection, begun)

    def _over(self, now: datetime) -> datetime:
        """Say what is long ago of campaigns: behind all that is reckoned anew when something is told of a person."""
        kept = self._settings
        days = max(kept.campaign_days, kept.person_event_days, kept.seen_days)
        return months.month_of(self._before(now, days)) - WAITS

    async def _forget_step_runs(self, connection: postgres.Connection, lanes: list[int], now: datetime) -> None:
        """Forget the runs of steps, one a day, but for the newest of each: a month of them at once."""
        before = min(self._over(now), months.month_of(self._before(now, self._settings.run_days)))
        async with postgres.deadline(connection, STEP_S, "runs of steps"):
            newest = await bygones.old_step_runs(connection, lanes, before)
        if not newest:
            return
        for lane in lanes:
            await self._step(connection, bygones.fold_lane(connection, lane, newest))
        for bucket in range(people.BUCKETS):
            await self._step(connection, bygones.fold_bucket(connection, bucket, newest))
        await self._step(connection, bygones.drop_step_runs(connection, list(newest)))

    async def _drop(self, connection: postgres.Connection, day: retention.Partition | months.Month) -> bool:
        begun = self._clock.monotonic()
        async with postgres.deadline(connection, STEP_S, f"drop of {day.name}"):
            is_dropped = await retention.drop(connection, day)
        if is_dropped:
            self.dropped.append(day.name)
            log.info("= dropped %s", day.name)
        else:
            log.info("= %s is being read: it is dropped in a later round", day.name)
        await self._rest(connection, begun)
        return is_dropped

    async def _roll_day(
        self, connection: postgres.Connection, lane: int, day: retention.Partition, now: datetime
    ) -> None:
        behind = -1
        while True:
            begun = self._clock.monotonic()
            async with postgres.deadline(connection, STEP_S, f"roll of lane {lane}"):
                found = await retention.unrolled(connection, lane, day, behind)
            if not found:
                return
            await self._rest(connection, begun)
            for chunk_ids in lots(found):
                begun = self._clock.monotonic()
                async with postgres.deadline(connection, STEP_S, f"roll of lane {lane}"):
                    self.rolled += await retention.roll(connection, lane, chunk_ids, day, now)
                await self._rest(connection, begun)
            behind = found[-1][0]

    async def _forget(self, connection: postgres.Connection, lanes: list[int], now: datetime) -> None:
        kept, messages = self._settings, self._before(now, self._settings.message_days)
        of_a_lane: list[tuple[int, Callable[[int, datetime], Awaitable[int]]]] = [
            (kept.payload_days, functools.partial(retention.forget_payload, connection)),
            (kept.chunk_days, functools.partial(retention.forget_chunks, connection, rolled_before=messages)),
            (kept.inbound_days, functools.partial(retention.forget_inbound, connection)),
            (kept.event_days, functools.partial(retention.forget_events, connection)),
            (kept.message_days, functools.partial(retention.forget_receipts, connection)),
        ]
        for lane in lanes:
            with self._without_node(connection):
                for days, forget in of_a_lane:
                    while days and await self._step(connection, forget(lane, self._before(now, days))):
                        pass
        if self._missed is not None:
            # Whether a run has chunks left is not known of every lane.
            raise self._missed
        if kept.run_days:
            await self._step(connection, retention.forget_runs(connection, lanes, self._before(now, kept.run_days)))
        if kept.list_days:
            await self._empty_lists(connection, lanes, self._before(now, kept.list_days))
        if kept.order_days:
            await self._step(connection, retention.forget_orders(connection, self._before(now, kept.order_days)))

    async def _empty_lists(self, connection: postgres.Connection, lanes: list[int], before: datetime) -> None:
        """Empty the lists of files that are over, a bucket a step; one that a crash left half empty is found again."""
        async with postgres.deadline(connection, STEP_S, "lists"):
            old = await retention.old_lists(connection, lanes, before)
            await retention.begin_emptying(connection, old, before)
        for bucket in range(people.BUCKETS) if old else ():
            await self._step(connection, retention.empty_bucket(connection, old, bucket, before))
        async with postgres.deadline(connection, STEP_S, "lists"):
            await retention.end_emptying(connection, old)
        await self._step(connection, retention.drop_lists(connection))

    def _before(self, now: datetime, days: int) -> datetime:
        return now - timedelta(days=days)

    async def _step(self, connection: postgres.Connection, work: Awaitable[int]) -> int:
        """Do one small thing and rest; -> rows."""
        begun = self._clock.monotonic()
        async with postgres.deadline(connection, STEP_S, "retention"):
            rows = await work
        self.forgotten += rows
        if rows:
            await self._rest(connection, begun)
        return rows

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()


def lots(found: list[tuple[int, int]]) -> list[list[int]]:
    """Divide (chunk, outcomes) into lots that are rolled at once."""
    made: list[list[int]] = []
    room = 0
    for chunk_id, outcomes in found:
        if not made or outcomes > room or len(made[-1]) == CHUNKS_A_ROLL:
            made.append([])
            room = OUTCOMES_A_ROLL
        made[-1].append(chunk_id)
        room -= outcomes
    return made
