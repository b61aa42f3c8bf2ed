"""Tells persons of what they buy again and of what is back, and counts what is bought together, as one worker for all.

every 60 s   products that are back ─► who waited for one is told, once a person and product (S4.17)
every hour   whose supply of a product ran out since the last look ─► told (S4.8)
every day    what was bought in one order with what, of a year ─► recommendations (S1.33)

Told as events of persons, with ids of their own: a worker that dies in the middle loses none and doubles none. Off
where there is no feed of products. Not here: who is recommended what (store/products.py), what is sent (workflows).
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from random import Random

from gateway.automation.job import Every, Job
from gateway.person import Item
from gateway.store import feeds, months, postgres, products, profiles

HOUR_S = 3600.0
DAY_S = 86400.0
# Of person_feed: how far was looked. What stood still for longer is told no more: it is late then (DL-2).
BACK, DUE = "restocked", "replenish"
LONGEST = timedelta(days=2)
# So far before the last look once more: what was committed late, or by a host whose clock is behind.
OVERLAP = timedelta(minutes=10)


class Shop(Job):
    """The loop of one worker."""

    NAME = "shop"
    ROUND_S = 60.0
    STEP_S = 60.0
    UNDONE = "nobody is told of products"

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
        self._due, self._pairing = Every(HOUR_S), Every(DAY_S)
        self.told = self.pairs = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether there is a feed of products."""
        return await products.has_any(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Tell what came since the last look."""
        async with postgres.deadline(connection, self.STEP_S, "products that are back"):
            await months.ensure(connection, "person_event", [now])
            since = max(await feeds.upto(connection, feeds.NO_LANE, BACK, now - LONGEST), now - LONGEST)
            back = await products.restocked(connection, since - OVERLAP, now)
        for product in back:
            for bucket in range(products.BUCKETS):
                async with postgres.deadline(connection, self.STEP_S, f"who waits, bucket {bucket}"):
                    await self._tell(connection, await products.waiting(connection, bucket, product), now)
        async with postgres.deadline(connection, self.STEP_S, "products that are back"):
            await feeds.note(connection, feeds.NO_LANE, BACK, now)
        if self._due.is_due(now):
            await self._replenish(connection, now)
            self._due.done(now)
        if self._pairing.is_due(now):
            counted: Counter[tuple[str, str]] = Counter()
            for bucket in range(products.BUCKETS):
                async with postgres.deadline(connection, self.STEP_S, f"pairs of bucket {bucket}"):
                    counted.update(await products.pairs(connection, bucket, now))
            async with postgres.deadline(connection, self.STEP_S, "pairs"):
                self.pairs = await products.write_pairs(connection, counted)
            self._pairing.done(now)
        return True

    async def _replenish(self, connection: postgres.Connection, now: datetime) -> None:
        async with postgres.deadline(connection, self.STEP_S, "supplies"):
            since = max(await feeds.upto(connection, feeds.NO_LANE, DUE, now - timedelta(hours=1)), now - LONGEST)
        for bucket in range(products.BUCKETS):
            async with postgres.deadline(connection, self.STEP_S, f"supplies of bucket {bucket}"):
                await self._tell(connection, await products.due(connection, bucket, since - OVERLAP, now), now)
        async with postgres.deadline(connection, self.STEP_S, "supplies"):
            # Behind the COMMIT of what was told: a crash between tells it again, in vain.
            await feeds.note(connection, feeds.NO_LANE, DUE, now)

    async def _tell(self, connection: postgres.Connection, items: list[Item], now: datetime) -> None:
        if items:
            done = await profiles.ingest(connection, items, now, self._chance, self._kinds)
            self.told += done.events
