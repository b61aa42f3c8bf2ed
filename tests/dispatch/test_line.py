"""A loop's own connection: one, made ready once, and another one after it was lost."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from gateway.dispatch.line import Connect, Line
from gateway.errors import StoreError
from gateway.store import postgres


def to(dsn: str, opened: list[postgres.Connection]) -> Connect:
    async def connect() -> postgres.Connection:
        opened.append(await postgres.connect(dsn, application_name="line"))
        return opened[-1]

    return connect


def noting(readied: list[postgres.Connection]) -> Callable[[postgres.Connection], Awaitable[None]]:
    async def ready(connection: postgres.Connection) -> None:
        readied.append(connection)

    return ready


async def test_connection_is_opened_when_it_is_asked_for_and_stays_the_same(dsn: str) -> None:
    opened: list[postgres.Connection] = []
    readied: list[postgres.Connection] = []
    line = Line(to(dsn, opened), noting(readied))
    assert opened == []
    assert await line.opened() is await line.opened()
    assert opened == readied and len(opened) == 1
    await line.close()
    await line.close()
    assert opened[0].is_closed()


async def test_connection_that_was_lost_or_cut_is_replaced_by_one_that_is_made_ready_too(dsn: str) -> None:
    opened: list[postgres.Connection] = []
    readied: list[postgres.Connection] = []
    line = Line(to(dsn, opened), noting(readied))
    (await line.opened()).terminate()
    await line.opened()
    line.cut()
    assert await line.opened() is opened[2]
    assert opened == readied and [one.is_closed() for one in opened] == [True, True, False]
    await line.close()


async def test_connection_that_cannot_be_made_ready_is_ended_and_never_handed_out(dsn: str) -> None:
    opened: list[postgres.Connection] = []
    faults: list[BaseException] = [StoreError("no LISTEN"), asyncio.CancelledError()]

    async def ready(connection: postgres.Connection) -> None:
        if faults:
            raise faults.pop(0)

    line = Line(to(dsn, opened), ready)
    with pytest.raises(StoreError, match="no LISTEN"):
        await line.opened()
    with pytest.raises(asyncio.CancelledError):
        await line.opened()
    assert await line.opened() is opened[2]
    assert [one.is_closed() for one in opened] == [True, True, False]
    await line.close()


async def test_error_of_another_node_leaves_the_connection_and_any_other_one_ends_it(dsn: str) -> None:
    opened: list[postgres.Connection] = []
    line = Line(to(dsn, opened))
    connection = await line.opened()
    await line.mend(StoreError("node 2 is away", elsewhere=True))
    assert await line.opened() is connection
    await line.mend(StoreError("syntax error"))
    assert connection.is_closed() and await line.opened() is not connection
    await line.close()
