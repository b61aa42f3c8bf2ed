"""Carries STOPs into the ledger of consent, as one worker for all of them: whoever has the job in Postgres (CN-1).

every 2 s   is the feed ahead of the ledger? ─► take the job ─► the next entries ─► their rows, until it is not
            and every minute: requests that nobody has answered for a day become what they are, a no (CN-4)

A STOP is in force before: the ledger is its proof. Each entry has one row, whoever dies in the middle and whoever else
carries the same at that moment. Where nothing is new, a round is one look at two tables of a row.
Not here: what an entry proves (campaign/consent.py), how it is appended once (store/consents.py).
"""

from collections.abc import Awaitable, Callable
from datetime import datetime

from gateway.automation.job import Every, Job
from gateway.campaign.consent import ANSWER_WITHIN, proof_of_stop, states_at
from gateway.store import consents, postgres

EXPIRE_S = 60.0


class Proofs(Job):
    """The loop of one worker."""

    NAME = "proofs"
    ROUND_S = 2.0
    UNDONE = "no STOP is carried into the ledger"

    def __init__(
        self, wall: Callable[[], datetime], connect: Callable[[], Awaitable[postgres.Connection]], instance: str
    ):
        super().__init__(wall, connect, instance)
        self._expiring = Every(EXPIRE_S)
        self.proven = 0
        self.expired = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether the feed is ahead of the ledger, or a minute has passed."""
        return self._expiring.is_due(now) or await consents.is_behind(connection)

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Carry all that is new; write down what no answer has made of requests, once a minute."""
        found = 1
        while found:
            async with postgres.deadline(connection, self.STEP_S, "prove stops"):
                found = await consents.prove(connection, proof_of_stop, lambda facts: states_at(facts, now))
            self.proven += found
        if self._expiring.is_due(now):
            await self._expire(connection, now)
            self._expiring.done(now)
        return True

    async def _expire(self, connection: postgres.Connection, now: datetime) -> None:
        """Write down of each bucket what a day without an answer has made of requests."""
        for bucket in range(consents.BUCKETS):
            some = [0]
            while some:
                async with postgres.deadline(connection, self.STEP_S, "expire requests"):
                    some = await consents.expire(
                        connection, bucket, now - ANSWER_WITHIN, some[-1], now, lambda facts: states_at(facts, now)
                    )
                self.expired += len(some)
