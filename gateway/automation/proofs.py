"""Carries STOPs into the ledger of consent, as one worker for all of them: whoever has the job in Postgres (CN-1).

every 2 s   is the feed ahead of the ledger? ─► take the job ─► the next entries ─► their rows, until it is not
            and every minute: requests that nobody has answered for a day become what they are, a no (CN-4)

A STOP is in force before: the ledger is its proof. Each entry has one row, whoever dies in the middle and whoever else
carries the same at that moment. Where nothing is new, a round is one look at two tables of a row.
Not here: what an entry proves (campaign/consent.py), how it is appended once (store/consents.py).
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

from gateway.campaign.consent import ANSWER_WITHIN, proof_of_stop, states_at
from gateway.errors import StoreError
from gateway.store import consents, postgres

log = logging.getLogger(__name__)

ROUND_S = 2.0
EXPIRE_S = 60.0
STEP_S = 30.0


class Proofs:
    """The loop of one worker; all but one of them find that another has the job."""

    def __init__(
        self, wall: Callable[[], datetime], connect: Callable[[], Awaitable[postgres.Connection]], instance: str
    ):
        self._wall = wall
        self._connect = connect
        self._instance = instance
        self._connection: postgres.Connection | None = None
        self._expired_at: datetime | None = None
        self.last_error = ""
        self.proven = 0
        self.expired = 0

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            while True:
                await asyncio.sleep(ROUND_S)
                try:
                    await self.round()
                    self.last_error = ""
                except StoreError as error:
                    if not self.last_error:
                        log.warning("! no STOP is carried into the ledger: %s", error)
                    self.last_error = str(error)
                    await self.close()
        finally:
            await self.close()

    async def round(self) -> bool:
        """Carry all that is new; -> False where another worker has the job, or there was nothing to do.

        raises  StoreError
        """
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._connect()
        connection, now = self._connection, self._wall()
        is_due = self._expired_at is None or not 0 <= (now - self._expired_at).total_seconds() < EXPIRE_S
        async with postgres.deadline(connection, STEP_S, "job"):
            is_behind = await consents.is_behind(connection)
            if not (is_behind or is_due) or not await consents.take_job(connection, self._instance):
                return False
        found = 1
        while is_behind and found:
            async with postgres.deadline(connection, STEP_S, "prove stops"):
                found = await consents.prove(connection, proof_of_stop, lambda facts: states_at(facts, now))
            self.proven += found
        if is_due:
            await self._expire(connection, now)
            self._expired_at = now
        return True

    async def _expire(self, connection: postgres.Connection, now: datetime) -> None:
        """Write down of each bucket what a day without an answer has made of requests."""
        for bucket in range(consents.BUCKETS):
            some = [0]
            while some:
                async with postgres.deadline(connection, STEP_S, "expire requests"):
                    some = await consents.expire(
                        connection, bucket, now - ANSWER_WITHIN, some[-1], now, lambda facts: states_at(facts, now)
                    )
                self.expired += len(some)

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with contextlib.suppress(StoreError):
                await postgres.close(self._connection)
            self._connection = None
