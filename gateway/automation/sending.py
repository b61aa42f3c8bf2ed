"""Brings texts that steps have made into the queue of their lanes: each once, whoever dies between the two.

    outgoing (people's side, with the step) ─► outgoing_taken + chunk, one transaction of the lane ─► outgoing is gone
                                                                                                  ─► taken is forgotten

What goes the same way, of one run to one country from one sender, is one chunk; two texts to one number are not.
Not here: which way it goes, decided with the step (carrying.py).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from gateway.store import enrolments, postgres, runs, unwanted
from gateway.store.enrolments import Outgoing
from gateway.store.postgres import Connection

A_ROUND = 2000
OLD = timedelta(hours=1)
# A text that was made longer ago has its end, or nobody will tell it: no exception is late of it, none takes it out.
LATE_WITHIN = timedelta(days=3)


async def move(
    connection: Connection, first: int, last: int, now: datetime, cancelled: set[int] | None = None
) -> tuple[int, bool]:
    """Queue texts of some buckets; -> how many, and whether there may be more.

    cancelled  runs that nothing is queued into any more are put in: their texts are taken away
    """
    rows = await enrolments.waiting(connection, first, last, A_ROUND)
    ways: dict[tuple[int, int, int, str, tuple[int, ...]], list[Outgoing]] = {}
    for row in rows:
        ways.setdefault((row.lane, row.run, row.country, row.source, tuple(row.fallback)), []).append(row)
    moved = 0
    for (lane, run_id, _, _, _), some in ways.items():
        run = await runs.run_by_id(connection, run_id)
        if run is not None and run.cancelled_at is not None:
            await enrolments.drop_outgoing(connection, lane, [(one.bucket, one.id) for one in some])
            if cancelled is not None:
                cancelled.add(run_id)
        elif run is not None:
            for part in _chunks(some):
                moved += await _queue(connection, run, lane, part, now)
    return moved, len(rows) == A_ROUND


async def _queue(connection: Connection, run: runs.Run, lane: int, some: Sequence[Outgoing], now: datetime) -> int:
    of = [(one.bucket, one.id) for one in some]
    moved = 0
    async with connection.transaction():
        fresh = await enrolments.take_outgoing(connection, lane, of, now)
        new = [one for one in some if (one.bucket, one.id) in fresh]
        numbers = [number for one in new for number in one.numbers]
        if numbers:
            params = [row for one in new for row in one.params]
            chunk_id = await runs.enqueue_few(
                connection, run, lane, numbers, params, now, country=some[0].country, source=some[0].source,
                fallback=some[0].fallback,
            )  # fmt: skip
            await unwanted.keep_place(connection, lane, [one.id for one in new], chunk_id, now)
            moved = len(numbers)
    # Behind the COMMIT: whoever dies before it leaves what the next one finds to be taken.
    await enrolments.drop_outgoing(connection, lane, of)
    return moved


async def forget(connection: Connection, lanes: Sequence[int], now: datetime) -> None:
    """Forget what was left by who died between, and where texts are that wait nowhere any more."""
    async with postgres.deadline(connection, 30.0, "texts that are in their lanes"):
        for lane in lanes:
            await enrolments.forget_old(connection, lane, now - OLD)
            await unwanted.forget_places(connection, lane, now - OLD, now - LATE_WITHIN)


def _chunks(some: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Part texts into chunks in which no number is twice: the gate asks, and keeps places, by the number (EX-2)."""
    found: list[tuple[list[Outgoing], set[int]]] = []
    for one in some:
        place = next(
            (
                part
                for part in found
                if len(part[1]) + len(one.numbers) <= runs.CHUNK_POSITIONS and part[1].isdisjoint(one.numbers)
            ),
            None,
        )
        if place is None:
            place = ([], set())
            found.append(place)
        place[0].append(one)
        place[1].update(one.numbers)
    return [part for part, _ in found]
