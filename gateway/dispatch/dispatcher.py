"""The loop of one lane: claim, admit, compose, submit.

    room in the backlog ─► claim chunks ─► dress with their run's form ─► backlog ─► binds take what window, throttle
                                                                                    and watermark allow
Claim only what can leave soon: the wait stands before the claim, in Postgres, where other workers can take it.
Codes and other urgent classes are claimed past a full backlog, as soon as Postgres tells of them, and overtake there.
Not here: octets (_fastpath), settling (settlement.py), dead workers' chunks and waiting receipts (rescue.py).
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct, structs

from _fastpath.batch import Batch
from _fastpath.limit import Limit
from _fastpath.outbound import Form
from gateway.config import WorkerSettings
from gateway.dispatch.admission import Admission, Asked, asked_of
from gateway.dispatch.clock import Clock, Watch
from gateway.dispatch.compose import country_of_batch, encoding_of, form_of
from gateway.dispatch.intent import Intents
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.rates import Rates
from gateway.dispatch.rest import Rest
from gateway.dispatch.stops import Feed
from gateway.errors import EncodeError, StoreError
from gateway.gate import Around, Gate, gate_of
from gateway.message import MessageClass, Refusal
from gateway.smpp.carrier import Carrier
from gateway.smpp.limits import Spent
from gateway.store import admission, cancels, postgres, queue, runs
from gateway.store.endings import Shut
from gateway.store.runs import Run

log = logging.getLogger(__name__)

# Traffic kept claimed, in seconds of the current rate; and at most so many chunks by one statement.
AHEAD_S = 0.25
MOST_CHUNKS = 64
# Urgent chunks taken past a full backlog, by one statement.
URGENT_CHUNKS = 8
LAST_URGENT = MessageClass.TRANSACTIONAL
# Between two looks at an empty queue, and for urgent chunks nobody told of; while there is enough ahead; after a find.
IDLE_S = 0.1
BUSY_S = 0.01
SOON_S = 0.001
# What could not be queued again is tried again so much later, where that is not by itself over soon.
REQUEUE_S = 1.0
# Runs of which the form is kept.
FORMS = 1024
# Promotional messages of a gate wait so long, and so on, while nobody knows what time of day it is.
DOUBTED_S = 5.0


class Dress(Struct, frozen=True):
    """What the batches of a run wear on this carrier: their form, and the monotonic moment it ends.

    gate   what it asks of everybody; None = nothing
    purse  what it may send; None: as fast as it goes
    """

    form: Form
    ends_at: float
    run: Run
    gate: Gate | None
    purse: Limit | None = None


class Dispatcher:
    """Claims for one lane on this worker."""

    def __init__(
        self,
        carrier: Carrier,
        intents: Intents,
        settings: WorkerSettings,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
        instance: str,
        feed: Feed,
        admission: Admission,
        rates: Rates,
    ):
        self.admission = admission
        self._rates = rates
        self._carrier = carrier
        self._intents = intents
        self._feed = feed
        self._settings = settings
        self._clock = clock
        self._deadline_s = deadline_s
        self._instance = instance
        self._line = Line(connect, self._listen)
        self._lost_claim = False
        # By run, sender and, where the law puts a label around the text, country.
        self._forms: dict[tuple[int, str, str], Dress | EncodeError] = {}
        self._wake = Rest()
        self._urgent_at = 0.0
        self._is_new = True
        # (chunk, epoch, positions that left) of which nothing more leaves from here: the flush that writes their last
        # answers gives them back, or nobody would look for those answers if we died before it (settlement.py).
        self.returning: list[tuple[int, int, int]] = []
        # Of each batch: positions of which nothing was accepted, and the segments of them all.
        self._requeued: dict[Batch, tuple[list[int], int]] = {}
        # Those of them that could not go back, and when that is tried again.
        self._requeue_at: dict[Batch, float] = {}
        self.gives_back = False
        # Runs that were cancelled: nothing of them is begun any more. It only grows, by a number each.
        self.cancelled: set[int] = set()
        # Chunks of them that we had in hand: the next flush ends them, and until then they are ours.
        self._ending: set[int] = set()
        # What operators have paused (control.py); a paused carrier claims nothing either.
        self.paused = queue.NOTHING_PAUSED
        # What the guards say (guards.py): why nothing is claimed; only what is used up is replaced; which clock holds.
        self.barred = ""
        self.is_short = False
        self.watch: Watch | None = None
        self.claimed = 0
        self.held = 0
        self.last_error = ""
        # What of ours cannot go back to the queue, as long as that is so.
        self.unreturned = ""

    async def run(self) -> None:
        """Claim until cancelled."""
        while True:
            found = 0
            try:
                wanted, last_class = self._wanted()
                self._carrier.limits.roll(self._clock.wall())
                if self.gives_back and not self._carrier.is_up:
                    await self.give_back()
                elif self._requeued:
                    await self._requeue()
                self.gives_back = self.gives_back and not self._carrier.is_up
                if self._carrier.backlog.closed(self._clock.monotonic()):
                    await self._shut()
                if wanted:
                    self._wake.clear()
                    if self.watch is not None and self.watch.distrusts and last_class > LAST_URGENT:
                        # Those that wait for nothing go by another clock, so they are asked for apart.
                        found = await self.claim(min(wanted, URGENT_CHUNKS), LAST_URGENT)
                    found += await self.claim(wanted, last_class)
            except StoreError as error:
                if not self.last_error:
                    log.error("! lane %d: cannot claim: %s", self._carrier.lane, error)
                self.last_error = str(error)
                await self._line.mend(error)
            else:
                self.last_error = ""
            await self._wake.wait(SOON_S if found else IDLE_S if wanted else BUSY_S)

    def _wanted(self) -> tuple[int, int]:
        """Chunks to claim now, and of which classes.

        None while the carrier is down or paused, for what is claimed cannot be taken by others.
        """
        carrier, backlog = self._carrier, self._carrier.backlog
        if not carrier.is_up or self._intents.is_away or backlog.paused or self.barred:
            # Who waits for an event that is set never gives the loop back.
            self._wake.clear()
            return 0, 0
        ahead = 1 if self.is_short else max(carrier.window_size * 2, int(self._intents.rate_per_s * AHEAD_S))
        # What waits for its rate keeps nobody else's messages from being claimed.
        missing = ahead - backlog.unsent + sum(self._rates.in_hand(backlog).values())
        now = self._clock.monotonic()
        # A quarter of it at once: statements, and what the gate asks for each claim, are spread over more messages.
        if missing > ahead // 4:
            self._urgent_at = now + IDLE_S
            return min(MOST_CHUNKS, -(-missing // runs.CHUNK_POSITIONS)), MessageClass.BULK
        if (self._wake.is_set() or now >= self._urgent_at) and backlog.unsent_of(LAST_URGENT) < ahead:
            self._urgent_at = now + IDLE_S
            return URGENT_CHUNKS, LAST_URGENT
        # What was told of is looked for when there is room again.
        self._wake.clear()
        return 0, 0

    async def claim(self, limit: int, last_class: int = MessageClass.BULK) -> int:
        """Claim up to `limit` chunks and hand them to the binds; -> how many were claimed."""
        carrier = self._carrier
        connection = await self._line.opened()
        if self._is_new and not await self._recall(connection):
            return 0
        now = self._clock.wall()
        async with postgres.deadline(connection, self._deadline_s, f"claim on lane {carrier.lane}"):
            if self._lost_claim:
                await self._disown(connection)
            # Until the payload is here, what is claimed is in nobody's hands.
            self._lost_claim = True
            claimed = await queue.claim(
                connection,
                carrier.lane,
                self._instance,
                self.watch.due(strict=last_class <= LAST_URGENT) if self.watch is not None else now,
                limit,
                last_class,
                self._not_to_claim(),
            )
            unfit = []
            over = []
            gated: dict[tuple[int, str], tuple[Dress, list[Batch]]] = {}
            for chunk_id, epoch, why in claimed.unread:
                log.error("! lane %d: chunk %d is held: %s", carrier.lane, chunk_id, why)
                unfit.append((chunk_id, epoch))
            for batch in claimed.batches:
                source = claimed.sources.get(batch.chunk_id, "")
                dressed = await self._form_of(connection, batch, source)
                if batch.run in self.cancelled:
                    self._ending.discard(batch.chunk_id)
                    over.append(batch)
                    continue
                if isinstance(dressed, EncodeError):
                    unfit.append((batch.chunk_id, batch.epoch))
                    continue
                sender = source or carrier.settings.source
                limits = carrier.limits.of_batch(sender, dressed.run.name, batch.country)
                if dressed.purse is not None:
                    limits = (*limits, dressed.purse)
                suppressed = self._feed.suppressed(batch.class_, sender)
                if suppressed:
                    self._feed.find_erased(batch)
                try:
                    batch.dress(dressed.form, self._ends_of(dressed), limits, suppressed)
                except ValueError as error:
                    log.error("! lane %d: chunk %d is held: %s", carrier.lane, batch.chunk_id, error)
                    unfit.append((batch.chunk_id, batch.epoch))
                    continue
                if dressed.gate is None:
                    carrier.backlog.add(batch)
                else:
                    gated.setdefault((batch.run, sender), (dressed, []))[1].append(batch)
            if gated:
                unfit += await self._admit(connection, gated, over)
            if over:
                await cancels.end(connection, carrier.lane, [_shut(batch) for batch in over], self._clock.wall())
            if unfit:
                self.held += len(unfit)
                await queue.hold(connection, carrier.lane, unfit)
            self._lost_claim = False
        if claimed.batches:
            self.claimed += len(claimed.batches)
            self._intents.wake.set()
        return len(claimed.batches)

    def _not_to_claim(self) -> queue.Paused:
        """What operators have paused, and the runs of which enough waits here for its rate."""
        full = self._rates.full(self._rates.in_hand(self._carrier.backlog))
        return structs.replace(self.paused, runs=(*self.paused.runs, *full)) if full else self.paused

    async def _listen(self, connection: postgres.Connection) -> None:
        lane = self._carrier.lane
        async with postgres.deadline(connection, self._deadline_s, f"listen on lane {lane}"):
            await queue.listen(connection, lane, self._wake.set)

    async def _admit(
        self,
        connection: postgres.Connection,
        gated: Mapping[tuple[int, str], tuple[Dress, list[Batch]]],
        over: list[Batch],
    ) -> list[tuple[int, int]]:
        """Ask the gate about the batches of some runs; those that may go are handed to the binds; -> those to be held.

        over  takes in those whose run is cancelled meanwhile
        What waits is committed to wait before the batch is handed out.
        """
        carrier = self._carrier
        # A first claim finds nothing of an earlier one.
        old = [batch.chunk_id for _, batches in gated.values() for batch in batches if batch.epoch > 1]
        aside = await admission.set_aside(connection, carrier.lane, old) if old else {}
        asked: list[Asked] = []
        for (_, sender), (dressed, batches) in gated.items():
            if dressed.gate is not None:
                asked += await asked_of(connection, carrier.lane, batches, dressed.run, sender)
        unfit: list[tuple[int, int]] = []
        put_off: list[tuple[int, int, int, datetime]] = []
        if self.watch is not None and self.watch.doubts:
            until = self.watch.due(strict=False) + timedelta(seconds=DOUBTED_S)
            doubted = [batch for one in asked if one.run.class_ > LAST_URGENT for batch in one.batches]
            put_off += [(batch.chunk_id, batch.epoch, batch.next_rank, until) for batch in doubted]
            asked = [one for one in asked if one.run.class_ <= LAST_URGENT]
        for one, waiting in zip(asked, await self.admission.admit(asked, aside), strict=True):
            if isinstance(waiting, ValueError):
                log.error("! lane %d: run %d cannot pass the gate, it is held: %s", carrier.lane, one.run.id, waiting)
                unfit += [(batch.chunk_id, batch.epoch) for batch in one.batches]
                continue
            for batch in one.batches:
                held = waiting.get(batch)
                if held is not None and held.until is not None:
                    put_off.append((batch.chunk_id, batch.epoch, batch.next_rank, held.until))
                    continue
                if held is not None and not await admission.put_aside(
                    connection, carrier.lane, batch.chunk_id, batch.epoch, held.positions, self._clock.wall()
                ):
                    continue
                if batch.run in self.cancelled:
                    over.append(batch)
                else:
                    carrier.backlog.add(batch)
        if put_off:
            await admission.put_off(connection, carrier.lane, put_off)
        return unfit

    def cancel(self, runs: Collection[int]) -> None:
        """Begin nothing more of some runs; when this returns, only messages that have begun go on.

        What is in hand of them ends as cancelled, a batch as soon as the answers to what has left are in.
        """
        if self.cancelled.issuperset(runs):
            return
        self.cancelled.update(runs)
        for batch in self._carrier.backlog.batches():
            if batch.run in self.cancelled:
                batch.shut()
        self._carrier.backlog.look_again()

    async def _shut(self) -> None:
        """Take back what was in hand when its window closed: claimed again, it meets the gate again (QH-6).

        What is cancelled ends instead; both in the flush that writes the last answers down (settlement.py).
        """
        carrier = self._carrier
        closed = carrier.backlog.closed(self._clock.monotonic())
        if any(batch.in_flight for batch in closed) and carrier.backlog.again_at() is not None:
            self._take_waiting(carrier.backlog.take_waiting_of(set(closed)))
            await self._requeue()
        for batch in closed:
            if not batch.in_flight and not batch.is_finished:
                if batch.run in self.cancelled:
                    self._ending.add(batch.chunk_id)
                else:
                    self.returning.append((batch.chunk_id, batch.epoch, batch.next_rank))
                carrier.backlog.drop(batch.chunk_id)

    async def _disown(self, connection: postgres.Connection) -> None:
        in_hand = [batch.chunk_id for batch in self._carrier.backlog.batches() if not batch.dropped]
        in_hand += [chunk_id for chunk_id, _, _ in self.returning]
        in_hand += self._ending
        if given_back := await queue.disown(connection, self._carrier.lane, self._instance, in_hand):
            log.warning("= lane %d: %d chunks of a claim without an answer go back", self._carrier.lane, given_back)

    def begin_anew(self) -> None:
        """Forget what the limits of minutes and days have counted: another worker has sent meanwhile."""
        self._is_new = True
        self._carrier.renew_limits()

    async def _recall(self, connection: postgres.Connection) -> bool:
        """Count under the limits of minutes and days what left before we had the account; -> False: not known yet.

        What a dead worker has sent counts when it is in doubt, that of a living one when it has given its chunks back.
        """
        limits = self._carrier.limits
        if limits.has_spans:
            wall, now = self._clock.wall(), self._clock.monotonic()
            since = limits.day_began(wall) or wall - timedelta(days=1)
            async with postgres.deadline(connection, self._deadline_s, f"limits of lane {self._carrier.lane}"):
                if set(await queue.claim_owners(connection, self._carrier.lane)) - {self._instance}:
                    return False
                sent = await queue.sent_since(connection, self._carrier.lane, since, wall)
            limits.recall(
                Spent(
                    sender=one.source or self._carrier.settings.source,
                    campaign=one.campaign,
                    country=one.country,
                    at=now - (wall - one.at).total_seconds(),
                    pdus=one.pdus,
                    messages=one.messages,
                )
                for one in sent
            )
        self._is_new = False
        return True

    async def _form_of(self, connection: postgres.Connection, batch: Batch, source: str) -> "Dress | EncodeError":
        """What a batch's run is sent in from a sender of this carrier; a run never changes."""
        known = self._forms.get((batch.run, source, ""))
        if known is None:
            known = await self._dressed(connection, batch.run, source)
            self._keep((batch.run, source, ""), known)
        if isinstance(known, EncodeError) or known.gate is None or not known.gate.labels:
            return known
        return self._labelled(known, known.gate, batch, source)

    def _ends_of(self, dressed: "Dress") -> float:
        """Say when a batch that is claimed now is too late: its run's end, or that of its texts' lives (TH-6)."""
        life_s = dressed.gate.expires_s if dressed.gate is not None else 0
        return min(dressed.ends_at, self._clock.monotonic() + life_s) if life_s else dressed.ends_at

    async def _dressed(self, connection: postgres.Connection, run_id: int, source: str) -> "Dress | EncodeError":
        run = await runs.run_by_id(connection, run_id)
        if run is not None and run.cancelled_at is not None:
            self.cancel((run_id,))
        try:
            if run is None:
                raise EncodeError(f"run {run_id} is not known")
            ends = float("inf")
            if run.expires_at is not None:
                ends = self._clock.monotonic() + (run.expires_at - self._clock.wall()).total_seconds()
            gate = gate_of(run.gate)
            purse = await self._rates.purse_of(connection, run_id)
            return Dress(self._compiled(run, gate, source), ends, run, gate, purse)
        except (EncodeError, ValueError) as error:
            log.error("! lane %d: run %d cannot be composed, it is held: %s", self._carrier.lane, run_id, error)
            return error if isinstance(error, EncodeError) else EncodeError(str(error))

    def _labelled(self, plain: Dress, gate: Gate, batch: Batch, source: str) -> "Dress | EncodeError":
        """What a batch wears whose run has labels: a chunk is alike in country, so its text is one (law.py)."""
        try:
            country = country_of_batch(batch, gate.labels)
        except EncodeError as error:
            log.error("! lane %d: chunk %d is held: %s", self._carrier.lane, batch.chunk_id, error)
            return error
        if not country:
            return plain
        known = self._forms.get((batch.run, source, country))
        if known is None:
            try:
                known = Dress(
                    self._compiled(plain.run, gate, source, gate.labels[country]),
                    plain.ends_at,
                    plain.run,
                    gate,
                    plain.purse,
                )
            except EncodeError as error:
                held = f"run {batch.run} cannot be composed for {country}, it is held: {error}"
                log.error("! lane %d: %s", self._carrier.lane, held)
                known = error
            self._keep((batch.run, source, country), known)
        return known

    def _compiled(self, run: Run, gate: Gate | None, source: str, label: Around | None = None) -> Form:
        return form_of(
            run.template, self._carrier.settings, run.fields, encoding_of(run.encoding), source,
            has_windows=gate is not None, label=label,
        )  # fmt: skip

    def _keep(self, key: tuple[int, str, str], known: "Dress | EncodeError") -> None:
        if len(self._forms) >= FORMS:
            del self._forms[next(iter(self._forms))]
        self._forms[key] = known

    async def give_back(self) -> None:
        """Give back what was claimed and did not leave while the carrier is down, so that another lane may have it.

        First nothing more of it can leave from here, then what came of it is written, then others may take it. What
        cannot be queued again keeps nothing else here.
        """
        carrier = self._carrier
        if not carrier.is_up and not carrier.in_flight:
            self._take_waiting(carrier.backlog.take_waiting())
        await self._requeue()
        for batch in carrier.backlog.batches():
            if not (batch.dropped or batch.in_flight or batch.is_finished):
                self.returning.append((batch.chunk_id, batch.epoch, batch.next_rank))
                carrier.backlog.drop(batch.chunk_id)

    def _take_waiting(self, found: Sequence[tuple[Batch, int, int, int, int]]) -> None:
        """Take over what waited for another try of which nobody here will make one.

        A message of which nothing was accepted goes back to the queue, or ends where its run is cancelled. Of one that
        is partly out the rest cannot follow from elsewhere: its parts end with what the SMSC said to them last.
        """
        backlog, ledger, now = self._carrier.backlog, self._carrier.ledger, self._clock.monotonic()
        waiting: dict[tuple[Batch, int], list[tuple[int, int, int]]] = {}
        for batch, pos, segment, segments, status in found:
            waiting.setdefault((batch, pos), []).append((segment, segments, status))
        for (batch, pos), parts in waiting.items():
            whole = parts[0][1]
            count = sum(1 if segment else segments for segment, segments, _ in parts)
            if count == whole and not batch.dropped and batch.run in self.cancelled:
                ledger.give_up(batch, pos, 0, 0, Refusal.CANCELLED, now)
                backlog.let_go(batch, count)
                continue
            if count == whole and not batch.dropped:
                positions, before = self._requeued.setdefault(batch, ([], 0))
                positions.append(pos)
                self._requeued[batch] = positions, before + count
                continue
            for segment, segments, status in parts:
                if not batch.dropped:
                    ledger.give_up(batch, pos, segment, segments, status or Refusal.ABANDONED, now)
                backlog.let_go(batch, 1 if segment else segments)

    async def _requeue(self) -> bool:
        """Commit what goes back to the queue; only then are the batches it was in finished with.

        What cannot go back stays ours, under our lease, and is tried again; all else goes. It is in doubt if we die.
        ->      whether all that may soon go back has gone
        raises  StoreError: there is no connection
        """
        lane, is_done = self._carrier.lane, True
        for batch, (positions, segments) in list(self._requeued.items()):
            now = self._clock.monotonic()
            if self._requeue_at.get(batch, now) > now:
                continue
            connection = await self._line.opened()
            try:
                async with postgres.deadline(connection, self._deadline_s, f"requeue on lane {lane}"):
                    await queue.requeue(connection, lane, batch.chunk_id, batch.epoch, positions, self._clock.wall())
            except StoreError as error:
                self.unreturned = f"chunk {batch.chunk_id}: {len(positions)} of its messages stay ours: {error}"
                if batch not in self._requeue_at:
                    log.error("! lane %d: cannot queue again: %s", lane, self.unreturned)
                self._requeue_at[batch] = now + (IDLE_S if error.retryable else REQUEUE_S)
                is_done = is_done and not error.retryable
                await self._line.mend(error)
                continue
            del self._requeued[batch]
            self._requeue_at.pop(batch, None)
            self._carrier.backlog.let_go(batch, segments)
        if not self._requeue_at:
            self.unreturned = ""
        return is_done

    async def end_waiting(self) -> bool:
        """Settle what waits for another try: for a clean stop, after the binds are down and before the last flush.

        -> whether another call is of no use
        """
        self._take_waiting(self._carrier.backlog.take_waiting())
        self._requeue_at = dict.fromkeys(self._requeue_at, 0.0)
        return await self._requeue()

    async def release(self) -> None:
        """Give back what was claimed and did not leave: for a clean stop, behind the last flush."""
        carrier = self._carrier
        left = [
            (batch.chunk_id, batch.epoch, batch.next_rank)
            for batch in carrier.backlog.batches()
            if not batch.dropped and not batch.in_flight
        ]
        if not left and not self._lost_claim:
            return
        connection = await self._line.opened()
        async with postgres.deadline(connection, self._deadline_s, "release"):
            await queue.release(connection, carrier.lane, left)
            if self._lost_claim:
                await self._disown(connection)
                self._lost_claim = False

    async def mend(self, error: StoreError) -> None:
        """Close the connection unless it is sound after an error of `end_waiting` or `release`."""
        await self._line.mend(error)

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(self._line.close(), self.admission.close())


def _shut(batch: Batch) -> Shut:
    return Shut(batch.chunk_id, batch.epoch, batch.next_rank)
