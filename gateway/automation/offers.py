"""What becomes of codes: issued, given back, redeemed, ended, as one worker for all (TP-5).

every 5 s    lane by lane: messages with codes that were sent ─► issued, their life begins; refused before an octet of
             them left ─► given back; rejected by the SMSC ─► nobody else's any more, and ending
             orders that name codes ─► redeemed, once; codes whose time is over ─► expired
every 60 s   a pool of which 10 % are left, or 2 % ─► a warning and an event, once each
every 10 min the last hour once more: what was committed late

What is told again changes nothing, so a worker that dies in the middle leaves nothing half done. Of a person it is told
before it is written down (`coupon_issued`, `coupon_redeemed`), with an id of its own: neither is lost nor doubled.
Off where there is no pool. Not here: who gets a code (store/coupons.py), what an offer is (gateway/coupon.py).
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any

from gateway.automation.job import Every, Job
from gateway.coupon import State
from gateway.events import event
from gateway.person import COUPON_ISSUED, COUPON_REDEEMED, OUR_SOURCE, Item, Who
from gateway.predicate import CAMPAIGN_PROPERTY
from gateway.store import coupons, events, feeds, months, postgres, profiles, runs
from gateway.store.coupons import Ended, Held, Pool, Redemption

log = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=5)
SWEPT = timedelta(hours=1)
SWEEP_S = 600.0
LOOK_S = 60.0
# A lane that was never read begins so far back.
BEGIN = timedelta(days=1)
SPAN = timedelta(minutes=5)
A_STEP = 5000
ORDERS = 200
# Of person_feed: how far outcomes of a lane were followed.
KIND = "coupons"
LOW = (2, 10)
SUCCESS = 0


class Offers(Job):
    """The loop of one worker."""

    NAME = "offers"
    ROUND_S = 5.0
    STEP_S = 60.0
    UNDONE = "codes are neither issued nor redeemed"

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
        self._sweeping, self._looking = Every(SWEEP_S), Every(LOOK_S)
        self.issued = self.released = self.redeemed = self.expired = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether there is any offer, or an order that names a code."""
        return await coupons.is_wanted(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Do what came since the last look."""
        async with postgres.deadline(connection, self.STEP_S, "offers"):
            pools = {one.id: one for one in await coupons.pools(connection)}
            lanes = await runs.lanes(connection)
            carried = await coupons.carrying(connection)
            await months.ensure(connection, "person_event", [now])
        campaigns: dict[int, str] = {}
        back = SWEPT if self._sweeping.is_due(now) else OVERLAP
        for lane in sorted(lanes) if carried else ():
            await self._lane(connection, lane, carried, pools, campaigns, now, back)
        if back == SWEPT:
            async with postgres.deadline(connection, self.STEP_S, "runs of offers"):
                await coupons.forget_runs(connection)
            self._sweeping.done(now)
        await self._redeem(connection, campaigns, now)
        ended = A_STEP
        while ended == A_STEP:
            async with postgres.deadline(connection, self.STEP_S, "ends of codes"):
                ended = await coupons.expire(connection, now, A_STEP)
                self.expired += ended
        if self._looking.is_due(now):
            for pool in pools.values():
                async with postgres.deadline(connection, self.STEP_S, f"what is left of {pool.name}"):
                    await self._look(connection, pool, min(lanes, default=None), now)
            self._looking.done(now)
        return True

    async def _lane(
        self,
        connection: postgres.Connection,
        lane: int,
        carried: dict[tuple[int, int], tuple[int, int | None]],
        pools: dict[int, Pool],
        campaigns: dict[int, str],
        now: datetime,
        back: timedelta,
    ) -> None:
        async with postgres.deadline(connection, self.STEP_S, f"codes of lane {lane}"):
            since = await feeds.upto(connection, lane, KIND, now - BEGIN) - back
        while since < now:
            async with postgres.deadline(connection, self.STEP_S, f"codes of lane {lane}"):
                until = min(now, since + SPAN)
                ended, since, _ = await coupons.ended(connection, lane, since, until, carried)
                await self._settle(connection, ended, pools, campaigns, now)
                # Behind the COMMIT of what was done: a crash between does it again, in vain.
                await feeds.note(connection, lane, KIND, since)

    async def _settle(
        self,
        connection: postgres.Connection,
        ended: Sequence[Ended],
        pools: dict[int, Pool],
        campaigns: dict[int, str],
        now: datetime,
    ) -> None:
        # Of a key what says most: sent before rejected before refused.
        by_key: dict[tuple[int, str], Ended] = {}
        for one in ended:
            before = by_key.get((one.pool, one.key))
            if before is None or _weight(one) > _weight(before):
                by_key[one.pool, one.key] = one
        if not by_key:
            return
        held = [(one, by_key[one.pool, one.key]) for one in await coupons.look(connection, sorted(by_key))]
        sent = [(one, end) for one, end in held if end.status == SUCCESS and one.issued_at is None]
        sent = [(one, end) for one, end in sent if one.state in (State.RESERVED, State.REDEEMED)]
        await self._name(connection, {end.run for _, end in sent}, campaigns)
        await self._tell(connection, [_issued(one, end, pools[one.pool], campaigns) for one, end in sent], now)
        async with connection.transaction():
            # In their order, and as they are now: an order may have come meanwhile.
            held = [(one, by_key[one.pool, one.key]) for one in await coupons.hold(connection, sorted(by_key))]
            sent = [(one, end) for one, end in held if end.status == SUCCESS and one.issued_at is None]
            waiting = [(one, end) for one, end in held if one.state == State.RESERVED and end.status != SUCCESS]
            freed = [one for one, end in waiting if end.is_unsent]
            await coupons.issue(connection, sent, pools)
            await coupons.begin_life(connection, [(one, end) for one, end in waiting if end.status > SUCCESS], pools)
            await coupons.release(connection, freed, pools)
        self.issued += len(sent)
        self.released += len(freed)

    async def _redeem(self, connection: postgres.Connection, campaigns: dict[int, str], now: datetime) -> None:
        while True:
            async with postgres.deadline(connection, self.STEP_S, "orders with codes"):
                orders = await coupons.told(connection, ORDERS)
                done = []
                for order in orders:
                    for code in order.codes:
                        one = await coupons.redeem(connection, code, order.order_key, order.at)
                        if one.verdict in ("redeemed", "again"):
                            self.redeemed += one.verdict == "redeemed"
                            # Where the shop told it so itself its event is there already.
                            if order.name != COUPON_REDEEMED:
                                done.append((one, order.at))
                await self._name(connection, {one.run for one, _ in done if one.run}, campaigns)
                await self._tell(
                    connection, [redeemed_event(one, at, campaigns) for one, at in done if one.number], now
                )
                await coupons.forget_told(connection, orders)
            if len(orders) < ORDERS:
                break

    async def _name(self, connection: postgres.Connection, asked: set[int], campaigns: dict[int, str]) -> None:
        for run in sorted(asked - campaigns.keys()):
            found = await runs.run_by_id(connection, run)
            campaigns[run] = "" if found is None else found.name

    async def _tell(self, connection: postgres.Connection, items: list[Item], now: datetime) -> None:
        known = await feeds.known(connection, [item.who.phone for item in items])
        items = [item for item in items if item.who.phone in known]
        if items:
            await profiles.ingest(connection, items, now, self._chance, self._kinds)

    async def _look(self, connection: postgres.Connection, pool: Pool, lane: int | None, now: datetime) -> None:
        percent, left = await coupons.left(connection, pool, LOW)
        if percent >= pool.alerted:
            return
        log.warning("! coupon pool %s: %d codes are left of %d, %d %% or less", pool.name, left, pool.total, percent)
        if lane is not None:
            async with connection.transaction():
                await events.take_turn(connection, lane)
                low = event("coupons.low", now, pool.name, left=left, total=pool.total, percent=percent)
                await events.append(connection, lane, [low])
        await coupons.note_alerted(connection, pool, percent)


def _weight(one: Ended) -> int:
    return 2 if one.status == SUCCESS else 1 if one.status > SUCCESS else 0 if one.is_unsent else -1


def _issued(one: Held, end: Ended, pool: Pool, campaigns: dict[int, str]) -> Item:
    expires_at = pool.coupon.expires_at(end.at)
    properties: dict[str, Any] = {
        "pool": pool.name, "code": one.code, CAMPAIGN_PROPERTY: campaigns[end.run], "run": end.run,
    }  # fmt: skip
    if expires_at is not None:
        properties["expires_at"] = f"{expires_at:%Y-%m-%dT%H:%M:%SZ}"
    return Item(
        who=Who(phone=one.number or 0), source=OUR_SOURCE, event_id=f"{COUPON_ISSUED}:{one.id}", name=COUPON_ISSUED,
        occurred_at=end.at, properties=properties, is_ours=True,
    )  # fmt: skip


def redeemed_event(one: Redemption, at: datetime, campaigns: dict[int, str]) -> Item:
    """Tell whoever holds a code that it was redeemed: what their message brought about (GL-4)."""
    properties: dict[str, Any] = {"pool": one.pool, "code": one.code, "order": one.order_key}
    if one.run:
        properties |= {CAMPAIGN_PROPERTY: campaigns.get(one.run, ""), "run": one.run}
    return Item(
        who=Who(phone=one.number or 0), source=OUR_SOURCE, event_id=f"{COUPON_REDEEMED}:{one.id}",
        name=COUPON_REDEEMED, occurred_at=at, properties=properties, is_ours=True,
    )  # fmt: skip
