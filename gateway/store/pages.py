"""Landing pages by name and version, and what was filled in on them. Statements: sql/pages.sql.

A page is never changed: what is applied is its next version, and an entry names the one that was filled in. An entry of
a contest counts once for each number and page, of a survey once for each number and link (S0.21).
Not here: blocks (gateway/page.py), how they look (gateway.redirect), what follows (automation/clicking.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

from gateway.page import Page, decode, encode
from gateway.store.columns import ints
from gateway.store.postgres import Connection
from gateway.store.queries import query

TRIES = 5


class Version(Struct, frozen=True, kw_only=True):
    """A version of a page."""

    version: int
    page: Page
    at: datetime | None = None
    by: str = ""


class Entry(Struct, frozen=True, kw_only=True):
    """What somebody has filled in. scope: 0 = once for the page, else the link's target."""

    bucket: int
    id: int
    number: int
    target: int
    run: int
    at: datetime
    form: str
    page: str
    version: int
    answers: Mapping[str, Any]
    scope: int = 0


async def apply(connection: Connection, page: Page, now: datetime, by: str) -> tuple[int, bool]:
    """Keep a page as its next version, unless it is as it was; -> its version, and whether that is new."""
    body = encode(page).decode()
    for _ in range(TRIES):
        found = await newest(connection, page.name)
        if found is not None and found.page == page:
            return found.version, False
        version = 1 if found is None else found.version + 1
        try:
            await connection.execute(query("add_page"), page.name, version, now, by, body)
        except asyncpg.UniqueViolationError:
            continue
        return version, True
    raise ValueError(f"page {page.name}: others applied it all the time")


async def newest(connection: Connection, name: str) -> Version | None:
    """Read the newest version of a page."""
    row = await connection.fetchrow(query("newest_page"), name)
    return None if row is None else Version(version=row["version"], page=decode(row["body"]))


async def version_of(connection: Connection, name: str, version: int) -> Page | None:
    """Read one version of a page."""
    body = await connection.fetchval(query("page_version"), name, version)
    return None if body is None else decode(body)


async def all_of(connection: Connection) -> list[Version]:
    """Read the newest version of every page."""
    return [
        Version(version=row["version"], page=decode(row["body"]), at=row["at"], by=row["by"])
        for row in await connection.fetch(query("all_pages"))
    ]


async def enter(connection: Connection, entry: Entry) -> bool:
    """Keep what was filled in; -> False: it was there, and stays as it was."""
    return await connection.fetchval(
        query("enter_page"), entry.bucket, entry.id, entry.number, entry.scope, entry.target, entry.run, entry.at,
        entry.form, entry.page, entry.version, msgspec.json.encode(entry.answers).decode(),
    ) is not None  # fmt: skip


async def untold(connection: Connection, limit: int) -> list[Entry]:
    """Read the oldest entries that are not told yet."""
    rows = await connection.fetch(query("untold_entries"), limit)
    return [Entry(**dict(row) | {"answers": msgspec.json.decode(row["answers"])}) for row in rows]


async def told(connection: Connection, entries: Sequence[Entry]) -> None:
    """Note that entries were told."""
    if entries:
        await connection.execute(
            query("tell_entries"), ints(one.bucket for one in entries), ints(one.id for one in entries)
        )


async def count(connection: Connection, name: str) -> dict[str, int]:
    """Count what was filled in on a page, by form."""
    return {row["form"]: row["n"] for row in await connection.fetch(query("count_entries"), name)}
