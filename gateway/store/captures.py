"""Requests for what the binds keep of the wire, and the workers' answers. Statements: sql/captures.sql.

    who asks                              every worker
    ask ── NOTIFY ──────────────────────► asked ─► answer, a row a bind
    done, answers ◄───────────── NOTIFY ───────────┘
    drop

By way of Postgres it works wherever the worker is: another process, container or machine.
Not here: what the octets are (gateway.smpp.capture), who waits how long.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query

CHANNEL = "sluice_capture"
# Nobody waits so long; what a command left that was killed goes with the next one.
STALE = timedelta(minutes=2)


class Request(Struct, frozen=True, kw_only=True):
    """What somebody wants to see. place: of the bind in its account, from 1; None: all."""

    id: UUID
    carrier: str
    place: int | None
    redacts: bool


class Answer(Struct, frozen=True, kw_only=True):
    """What one bind of a worker keeps, packed."""

    instance: str
    bind: str
    octets: bytes


async def ask(connection: Connection, request: Request, now: datetime) -> None:
    """Write a request down and wake the workers; what is stale goes."""
    async with connection.transaction():
        await drop(connection, request.id, now)
        await connection.execute(
            query("add_capture_request"), request.id, request.carrier, request.place, request.redacts, now
        )
        await connection.execute(query("notify_capture"))


async def asked(connection: Connection, instance: str, now: datetime) -> list[Request]:
    """List what a worker has not answered yet."""
    rows = await connection.fetch(query("open_capture_requests"), instance, now - STALE)
    return [Request(**dict(row)) for row in rows]


async def answer(connection: Connection, request: Request, answers: Iterable[Answer], instance: str) -> None:
    """Write down all that a worker has to say, at once."""
    async with connection.transaction():
        for one in answers:
            await connection.execute(query("add_capture"), request.id, one.instance, one.bind, one.octets)
        await connection.execute(query("add_capture"), request.id, instance, "", b"")
        await connection.execute(query("notify_capture"))


async def done(connection: Connection, request: Request) -> set[str]:
    """Name the workers that have answered."""
    return {row["instance"] for row in await connection.fetch(query("captures_done"), request.id)}


async def answers(connection: Connection, request: Request) -> list[Answer]:
    """Read what they answered."""
    return [Answer(**dict(row)) for row in await connection.fetch(query("captures"), request.id)]


async def drop(connection: Connection, request_id: UUID, now: datetime) -> None:
    """Take a request away with its answers, and whatever is stale."""
    await connection.execute(query("drop_captures"), request_id, now - STALE)
    await connection.execute(query("drop_capture_requests"), request_id, now - STALE)
