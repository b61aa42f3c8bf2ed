"""What did not end by itself: receipts that wait for their segment, chunks of dead workers, segments in doubt.

every match_interval   match    waiting receipts of the last minute ─► segments that have got their message_id
every 10 s             match    those of the last ten minutes; each 5 minutes of the last day; each hour, at the start
                                and when the rule of ids was learnt, all: strangers' receipts cost less and less
                       adopt    one receipt, one segment in doubt, the same number
                       learn    the rule by which ids of receipts are those of responses is kept for the next start
                       rescue   chunks of dead workers ─► in doubt below the watermark, ready above it
                       orphan   receipts that have waited for days are set aside
                       repeat   in doubt longer than the evidence period, policy at_least_once ─► a chunk anew
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from gateway.config import WorkerSettings
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import StoreError
from gateway.events import event
from gateway.smpp.carrier import Carrier
from gateway.smpp.receipt import zone_s
from gateway.store import events, postgres, queue

log = logging.getLogger(__name__)

RECENT = timedelta(seconds=60)
# How far back a slow round looks, by how long ago one looked so far. A response that comes late comes soon, as a rule.
SPANS = (
    (timedelta(hours=1), None),
    (timedelta(minutes=5), timedelta(days=1)),
    (timedelta(0), timedelta(minutes=10)),
)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# The ordinary match goes first.
ADOPTS_AFTER = timedelta(seconds=2)
SLOW_S = 10.0
# A round was made at the start; the first one after it.
FIRST_S = 5.0
# A receipt that came before its response is looked for so long, while the response is on its way to Postgres.
AFTERWARDS_S = 5.0
# From submit to doubt, beside the time that a response has: the lease of the dead, and until somebody has looked.
DOUBTED_AFTER_S = 35.0


class Rescue:
    """The slow loop of one lane on this worker.

    dead_of  says which owners of chunks are known to be dead
    """

    def __init__(
        self,
        carrier: Carrier,
        settings: WorkerSettings,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
        dead_of: Callable[[Sequence[str]], list[str]],
    ):
        self._carrier = carrier
        self._settings = settings
        self._clock = clock
        self._deadline_s = deadline_s
        self._dead_of = dead_of
        self._hurries = False
        self._line = Line(connect)
        self._seen_waiting = 0
        self._looks_until = clock.monotonic() + AFTERWARDS_S
        self._looked_at: dict[timedelta, datetime] = {}
        self._strays_told = 0
        self.rule_kept = ""
        self.last_error = ""
        self.matched = 0
        self.adopted = 0
        self.contested = 0
        self.orphaned = 0
        self.rescued = 0
        self.doubted = 0
        self.repeated = 0

    async def run(self) -> None:
        """Work until cancelled."""
        slow_at = self._clock.monotonic() + FIRST_S
        slow_s = min(SLOW_S, max(0.5, self._settings.evidence_s / 4))
        while True:
            try:
                is_slow = self._clock.monotonic() >= slow_at
                await self.step(is_slow)
                if is_slow:
                    slow_at = self._clock.monotonic() + slow_s
                self.last_error = ""
            except StoreError as error:
                if not self.last_error:
                    log.warning("! lane %d: no rescue, no match: %s", self._carrier.lane, error)
                self.last_error = str(error)
                await self._line.mend(error)
                slow_at = self._clock.monotonic() + slow_s
            await asyncio.sleep(self._settings.match_interval_s)

    async def take_over(self) -> None:
        """Take over from the dead before anything is claimed; learn how the lane's receipts are."""
        await self._step(True)

    def hurry(self) -> None:
        """Look for chunks of the dead at the next round: somebody has gone."""
        self._hurries = True

    async def step(self, is_slow: bool) -> None:
        """Do one round; -> nothing, the counters tell."""
        now = self._clock.monotonic()
        waiting = self._carrier.ledger.receipts_waiting
        if waiting != self._seen_waiting:
            self._seen_waiting = waiting
            self._looks_until = now + AFTERWARDS_S
        if is_slow or self._hurries or now < self._looks_until:
            await self._step(is_slow)

    async def _step(self, is_slow: bool) -> None:
        lane = self._carrier.lane
        connection = await self._line.opened()
        now = self._clock.wall()
        async with postgres.deadline(connection, self._deadline_s, f"match of lane {lane}"):
            if is_slow or self._hurries:
                await self._rescue(connection, now)
            if is_slow:
                await self._learn(connection, now)
            if await queue.any_waiting(connection, lane):
                await self._match(connection, is_slow, now)
            if is_slow:
                evidence = timedelta(seconds=self._settings.evidence_s)
                self.repeated += await queue.repeat(connection, lane, now - evidence, now)
                await queue.forget_flushes(connection, lane, now - timedelta(minutes=10))

    async def _rescue(self, connection: postgres.Connection, now: datetime) -> None:
        """Take the chunks of the dead."""
        lane, hurries, self._hurries = self._carrier.lane, self._hurries, False
        try:
            dead = self._dead_of(await queue.claim_owners(connection, lane))
            chunks, doubted = await queue.rescue(connection, lane, dead, now) if dead else (0, 0)
        except BaseException:
            self._hurries = hurries
            raise
        self.rescued += chunks
        self.doubted += doubted
        if chunks:
            log.warning("! lane %d: %d chunks of dead workers, %d segments in doubt", lane, chunks, doubted)

    async def _match(self, connection: postgres.Connection, is_slow: bool, now: datetime) -> None:
        lane, recall = self._carrier.lane, self._carrier.ledger.recall
        settings = self._carrier.settings
        since = self.look_back(now) if is_slow else now - RECENT
        found = await queue.match(
            connection, lane, since, rule=recall.rule, every=is_slow, fixed=settings.receipt_ids != "auto"
        )
        for rule, receipts in found.items():
            recall.note(rule, receipts)
            self.matched += receipts
        if is_slow:
            slack = timedelta(seconds=DOUBTED_AFTER_S + settings.response_timeout_s)
            # Outcomes have no index by what they lack: they are read only where the SMSC is known to leave ids out.
            nameless_since = max(since, now - queue.ADOPTION_WINDOW) - slack if self._carrier.ledger.nameless else None
            self.adopted += await queue.adopt(
                connection, lane, now - ADOPTS_AFTER, slack, nameless_since=nameless_since
            )
            if since < now - timedelta(hours=1):
                self.contested = await queue.contested(connection, lane, now - ADOPTS_AFTER)
                over_at = now - timedelta(days=settings.receipt_waiting_days)
                while moved := await queue.orphan(connection, lane, over_at):
                    self.orphaned += moved

    def look_back(self, now: datetime) -> datetime:
        """Since when the receipts of this slow round came."""
        for pause, span in SPANS:
            looked_at = self._looked_at.get(pause)
            # A look that lies ahead was before the clock of the wall went back.
            if looked_at is None or looked_at > now or now - looked_at >= pause:
                for shorter, _ in SPANS:
                    if shorter <= pause:
                        self._looked_at[shorter] = now
                return LONG_AGO if span is None else now - span
        raise AssertionError("the last pause is none")

    async def _learn(self, connection: postgres.Connection, now: datetime) -> None:
        """Keep the rule of ids that was learnt, or take the one that another worker, or the one before, has learnt."""
        carrier = self._carrier
        recall, settings, lane = carrier.ledger.recall, carrier.settings, carrier.lane
        carrier.ledger.reading.zone_s = zone_s(settings.receipt_zone, now)
        if not self.rule_kept:
            await queue.keep_receipt_habit(
                connection,
                lane,
                delivered_wins=settings.receipt_delivered_wins,
                unknown_is_final=settings.receipt_unknown_is_final,
                deadline_s=settings.receipt_deadline_s or None,
            )
            self.rule_kept = "auto"
        if settings.receipt_ids != "auto":
            return
        if recall.rule == "auto":
            recall.set_rule(await queue.receipt_rule(connection, lane))
            self.rule_kept = recall.rule
        elif self.rule_kept != recall.rule:
            await self._keep_rule(connection, recall.rule, now)
            # Receipts that nothing was sure of may be clear now.
            self._looked_at.clear()
        if recall.strays > self._strays_told:
            log.warning(
                "! lane %d: %d receipts match by another rule than %s: %s",
                lane, recall.strays - self._strays_told, recall.rule, recall.matches,
            )  # fmt: skip
            self._strays_told = recall.strays

    async def _keep_rule(self, connection: postgres.Connection, rule: str, now: datetime) -> None:
        """Keep the rule that was learnt, and tell who listens where it takes the place of another."""
        carrier, before = self._carrier, self.rule_kept
        async with connection.transaction():
            is_first = await queue.learn_receipt_rule(connection, carrier.lane, rule, now, before)
            if before != "auto" and is_first:
                changed = event("receipts.rule_changed", now, carrier.name, before=before, now=rule)
                await events.take_turn(connection, carrier.lane)
                await events.append(connection, carrier.lane, [changed])
        self.rule_kept = rule
        if before == "auto":
            log.info("= lane %d: its receipts' ids are those of its responses by the rule %s", carrier.lane, rule)
        else:
            log.error(
                "! %s: alarm: the rule of its receipts' ids has changed from %s to %s", carrier.name, before, rule
            )

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()
