"""Work on all people, divided by their buckets among connections that see the same instant.

A statement that writes is carried out by one process of Postgres. Each connection takes a share of the buckets, with a
process of its own:

    first   BEGIN ── export snapshot ───── its buckets ──┐                      ┌─ COMMIT   it is all there
    others       BEGIN ── same snapshot ── their buckets ┴─ all have ended ─ COMMIT each

Between two COMMITs a part of it can be seen, and a kill there leaves that part: whoever divides work has something else
that says when it is whole (a list is `loading`), and takes away what is left of it. What fails is taken away at once.

Not here: what is written (selection.py, considered.py). A cluster divides a statement by itself, and has no snapshot
for all nodes: there one connection does all.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import asyncpg

from gateway.errors import StoreError
from gateway.store.people import BUCKETS
from gateway.store.placement import HAS_CITUS
from gateway.store.postgres import Connection, deadline

Opener: TypeAlias = Callable[[], AbstractAsyncContextManager[Connection]]
# First and last, both included.
Buckets: TypeAlias = tuple[int, int]
SHARES = 2


def divided(shares: int) -> list[Buckets]:
    """Divide the buckets evenly."""
    return [(at * BUCKETS // shares, (at + 1) * BUCKETS // shares - 1) for at in range(shares)]


async def in_shares(
    connection: Connection,
    beside: Opener | None,
    seconds: float,
    what: str,
    work: Callable[[Connection, Buckets], Awaitable[int]],
    take_away: Callable[[Connection], Awaitable[object]],
) -> int:
    """Do work on all buckets, all of it or nothing; -> the sum of what the shares have counted.

    beside     opens one more connection; None: all on the first, in one transaction
    work       within a transaction of REPEATABLE READ; statements of its own alone
    take_away  what work has written, whichever share wrote it; asked for when a share is committed and another is not
    raises     StoreError; after it, unless no connection is left to take it away on, nothing is there
    """
    async with contextlib.AsyncExitStack() as stack:
        connections = [connection]
        if beside is not None and not await _is_cluster(connection):
            connections += [await stack.enter_async_context(beside()) for _ in range(SHARES - 1)]
        for one in connections:
            await stack.enter_async_context(deadline(one, seconds, what))
        return await _carry_out(connections, work, take_away)


async def _is_cluster(connection: Connection) -> bool:
    async with deadline(connection, 10.0, "is it a cluster"):
        return bool(await connection.fetchval(HAS_CITUS))


async def _carry_out(
    connections: Sequence[Connection],
    work: Callable[[Connection, Buckets], Awaitable[int]],
    take_away: Callable[[Connection], Awaitable[object]],
) -> int:
    transactions = [one.transaction(isolation="repeatable_read") for one in connections]
    is_committed = [False] * len(connections)
    try:
        await transactions[0].start()
        snapshot = await connections[0].fetchval("SELECT pg_export_snapshot()") if len(connections) > 1 else ""
        for one, transaction in list(zip(connections, transactions, strict=True))[1:]:
            await transaction.start()
            await one.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        counts = await _all(
            [work(one, buckets) for one, buckets in zip(connections, divided(len(connections)), strict=True)]
        )
        # Whether a COMMIT that is not answered was carried out is not known: it counts as one from its beginning.
        for at in reversed(range(len(connections))):
            is_committed[at] = True
            await transactions[at].commit()
    except BaseException:
        for one, transaction, has_ended in zip(connections, transactions, is_committed, strict=True):
            if not has_ended and one.is_in_transaction():
                # What broke it is told; a connection that is gone has rolled back already.
                with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                    await transaction.rollback()
        if len(connections) > 1 and any(is_committed):
            await _take_away(connections, take_away)
        raise
    return sum(counts)


async def _all(coroutines: Sequence[Awaitable[int]]) -> list[int]:
    """Wait for all of them; when one fails the others are broken off first."""
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _take_away(connections: Sequence[Connection], take_away: Callable[[Connection], Awaitable[object]]) -> None:
    for one in connections:
        if not (one.is_closed() or one.is_in_transaction()):
            with contextlib.suppress(StoreError):
                await take_away(one)
                return
