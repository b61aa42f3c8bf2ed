"""What steps tell other systems, until it is told: asked for by campaigns, called by one worker (WF-10). sql/calls.sql.

    ask ─► due ─► (called: automation/calling.py) ─► end: told, failed, or once more later ─► wake: the step goes on

A call is named by enrolment and visit, and asked for once. What ended is kept as long as its step may still ask for it.
Not here: how somebody is called, what the answer means (gateway/webhook.py).
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.webhook import host_of

WAITING, TOLD, FAILED = 0, 1, 2
# A campaign that is paused asks for what came of it when it goes on.
KEPT = timedelta(days=90)

Key = tuple[int, int]
"""An enrolment and its visit."""


class Call(Struct, frozen=True, kw_only=True):
    """Something to be told; tries: that were made."""

    enrolment: int
    visit: int
    bucket: int
    tries: int
    host: str
    url: str
    step: str

    @property
    def key(self) -> Key:
        """What names it."""
        return self.enrolment, self.visit


class Of(Struct, frozen=True, kw_only=True):
    """What is told of somebody: how they came to be where they are."""

    id: int
    campaign: int
    version: int
    number: int | None
    cause: str
    key: str
    anchor_at: datetime
    context: dict[str, object]
    external_id: str | None
    email: str | None


class End(Struct, frozen=True, kw_only=True):
    """What came of a try; due_at: of the next one."""

    call: Call
    state: int
    tries: int
    status: int
    said: str = ""
    due_at: datetime | None = None


async def ask(connection: Connection, key: Key, bucket: int, url: str, step: str, now: datetime) -> None:
    """Have a system told; asked again, nothing."""
    await connection.execute(query("ask_call"), *key, bucket, now, host_of(url), url, step)


async def states(connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
    """Say how far calls are: WAITING, TOLD or FAILED; those that nobody has asked for are not among them."""
    rows = await connection.fetch(query("calls_of"), [one for one, _ in keys], [visit for _, visit in keys])
    return {(row["enrolment"], row["visit"]): row["state"] for row in rows}


async def is_wanted(connection: Connection) -> bool:
    """Say whether anything is to be called, whenever."""
    return bool(await connection.fetchval(query("has_calls")))


async def due(connection: Connection, now: datetime, of_host: int) -> list[Call]:
    """Read what is to be called by now: at most so many of each host, the oldest first."""
    return [Call(**dict(row)) for row in await connection.fetch(query("due_calls"), now, of_host)]


async def told_of(connection: Connection, bucket: int, ids: Sequence[int]) -> dict[int, Of]:
    """Read what is told of enrolments of a bucket; who is not under way any more is not among them."""
    rows = await connection.fetch(query("called"), bucket, list(ids))
    return {row["id"]: Of(**{**dict(row), "context": msgspec.json.decode(row["context"])}) for row in rows}


async def end(connection: Connection, ends: Sequence[End], now: datetime) -> None:
    """Write down what came of calls, then have those looked at whose call has ended.

    In this order, each a transaction of its own: a crash between leaves them to their next look.
    """
    if ends:
        await connection.execute(
            query("end_calls"), now, [one.call.enrolment for one in ends], [one.call.visit for one in ends],
            [one.state for one in ends], [one.tries for one in ends], [one.status for one in ends],
            [one.due_at for one in ends], [one.said for one in ends],
        )  # fmt: skip
    by_bucket: dict[int, list[int]] = {}
    for one in ends:
        if one.state != WAITING:
            by_bucket.setdefault(one.call.bucket, []).append(one.call.enrolment)
    for bucket, ids in sorted(by_bucket.items()):
        await connection.execute(query("wake_enrolments_by_id"), bucket, now, ids)


async def drop(connection: Connection, keys: Iterable[Key]) -> None:
    """Take calls away that are nobody's any more."""
    some = list(keys)
    if some:
        await connection.execute(query("drop_calls"), [one for one, _ in some], [visit for _, visit in some])


async def forget(connection: Connection, now: datetime) -> None:
    """Forget what ended long ago."""
    await connection.execute(query("forget_calls"), now - KEPT)
