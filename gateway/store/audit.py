"""Who did what, and why: what is asked for later. Append-only; statements: sql/audit.sql.

Not here: orders of operators (control.py), proofs of consent (consents.py), what became of a message (traces.py).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query

# Who decides may have another clock than who has made the run.
CLOCKS_DIFFER = timedelta(days=1)


class Noted(Struct, frozen=True, kw_only=True):
    """One deed.

    action  bypass, lower; data: by which versions of zones and packs a run is decided about (QH-12)
    about   what it was done to, such as `run 7`
    """

    id: int
    at: datetime
    by: str
    action: str
    about: str
    reason: str


async def note(connection: Connection, *, at: datetime, by: str, action: str, about: str, reason: str) -> None:
    """Write a deed down, in the transaction of the deed."""
    await connection.execute(query("note_audit"), at, by, action, about, reason)


async def note_data(
    connection: Connection, *, at: datetime, by: str, run: int, made_at: datetime, versions: Mapping[str, str]
) -> None:
    """Write down by which data a run is decided about: once for each that there is, whoever decides (QH-12)."""
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    async with connection.transaction():
        await connection.execute(query("lock_run"), run)
        await connection.execute(query("note_data"), at, by, f"run {run}", said, made_at - CLOCKS_DIFFER)


async def data_of(connection: Connection, run: int, made_at: datetime) -> list[Noted]:
    """Read by which data a run was decided about, and since when; [] = nobody has been asked about."""
    rows = await connection.fetch(query("data_of"), made_at - CLOCKS_DIFFER, f"run {run}")
    return [Noted(**dict(row)) for row in rows]


async def noted(connection: Connection, since: datetime, limit: int = 100) -> list[Noted]:
    """Read what was done since, the newest first."""
    return [Noted(**dict(row)) for row in await connection.fetch(query("audit"), since, limit)]
