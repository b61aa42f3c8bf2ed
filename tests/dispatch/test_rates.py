"""Purses of one worker: filled from Postgres by what is in hand, and empty while that is away."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway import app
from gateway.dispatch.rates import Rates
from gateway.errors import StoreError
from gateway.rate import RatePlan
from gateway.store import postgres, rates

RUN = 77


class Hand:
    """What a carrier has in hand, as far as purses ask for it."""

    def __init__(self, batches: list[Any]):
        self.backlog, self.pumped = self, 0
        self._batches = batches

    def batches(self) -> list[Any]:
        return self._batches

    def pump(self) -> None:
        self.pumped += 1


class Part:
    """A batch of a run."""

    def __init__(self, run: int, n: int):
        self.run, self.n, self.next_rank, self.dropped = run, n, 0, False


@pytest.fixture
async def connection(dsn: str) -> AsyncIterator[Any]:
    opened = await postgres.connect(dsn)
    yield opened
    await postgres.close(opened)


async def ready(connection: Any, dsn: str, plan: RatePlan, per_s: float, goes_to: int | None = None) -> Rates:
    await rates.add(connection, RUN, plan, 1000, per_s, goes_to)
    return Rates(app.CLOCK, lambda: postgres.connect(dsn), 5.0)


async def test_th_1_purse_is_filled_by_what_is_in_hand_and_no_further(connection: Any, dsn: str) -> None:
    mine = await ready(connection, dsn, RatePlan(), 0.0, goes_to=30)
    hand = Hand([Part(RUN, 20), Part(99, 500)])
    mine.serve(hand)  # type: ignore[arg-type]
    assert await mine.purse_of(connection, 99) is None
    purse = await mine.purse_of(connection, RUN)
    assert purse is not None and purse.left == 0
    await mine.take()
    assert (purse.left, hand.pumped) == (20, 1)
    await mine.take()
    assert purse.left == 20
    purse.spend(20, 1.0)
    await mine.take()
    # Thirty in all, however much is in hand.
    assert purse.left == 10
    found = await rates.of_run(connection, RUN)
    assert found is not None and found.granted == 30 and found.started_at is not None
    assert mine.full({RUN: 5}) == () and mine.in_hand(hand) == {RUN: 20}  # type: ignore[arg-type]
    await mine.close()


async def test_th_1_two_workers_share_what_time_has_earned(connection: Any, dsn: str) -> None:
    one = await ready(connection, dsn, RatePlan(per_s=1000.0), 1000.0)
    other = Rates(app.CLOCK, lambda: postgres.connect(dsn), 5.0)
    began = datetime.now(UTC)
    purses = []
    for each in (one, other):
        each.serve(Hand([Part(RUN, 5000)]))  # type: ignore[arg-type]
        purse = await each.purse_of(connection, RUN)
        assert purse is not None
        purses.append(purse)
    for _ in range(5):
        await one.take()
        await other.take()
    elapsed = (datetime.now(UTC) - began).total_seconds()
    granted = sum(purse.left or 0 for purse in purses)
    assert 1 <= granted <= 1 + 1000 * elapsed
    assert one.full({RUN: 1001}) == (RUN,) and one.full({RUN: 999}) == ()
    await one.close()
    await other.close()


async def test_nothing_is_granted_while_postgres_is_away(connection: Any, dsn: str) -> None:
    async def away() -> Any:
        raise StoreError("away", retryable=True)

    await rates.add(connection, RUN, RatePlan(per_s=5.0), 1000, 5.0, None)
    mine = Rates(app.CLOCK, away, 5.0)
    mine.serve(Hand([Part(RUN, 10)]))  # type: ignore[arg-type]
    purse = await mine.purse_of(connection, RUN)
    with pytest.raises(StoreError):
        await mine.take()
    assert purse is not None and purse.left == 0
