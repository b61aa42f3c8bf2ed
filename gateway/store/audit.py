"""Who did what, and why: what is asked for later. Append-only; statements: sql/audit.sql.

Not here: orders of operators (control.py), proofs of consent (consents.py), what became of a message (traces.py).
"""

from datetime import datetime

from msgspec import Struct

from gateway.store.postgres import Connection
from gateway.store.queries import query


class Noted(Struct, frozen=True, kw_only=True):
    """One deed.

    action  bypass, lower
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


async def noted(connection: Connection, since: datetime, limit: int = 100) -> list[Noted]:
    """Read what was done since, the newest first."""
    return [Noted(**dict(row)) for row in await connection.fetch(query("audit"), since, limit)]
