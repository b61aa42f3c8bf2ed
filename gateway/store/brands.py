"""Limits of a brand that are lowered while its runs go on (CP-8), and who has agreed to it. Statements: sql/brands.sql.

    settings of the brand ─► each run that may still send: its gate, with the lower limits ─► from its next claim on

Not here: what a brand is (gateway/brand.py), how a gate is asked (admission.py).
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from gateway.gate import Cap, gate_of, tightened
from gateway.store import audit
from gateway.store.postgres import Connection
from gateway.store.queries import query


class Lowered(Struct, frozen=True, kw_only=True):
    """What was changed of a run, in words; nothing: its limits are as low already."""

    run: int
    name: str
    changes: list[str]


async def lower(
    connection: Connection, brand: str, caps: Sequence[Cap], gap_s: int, *, now: datetime, by: str
) -> list[Lowered]:
    """Lower the limits of every run of a brand that may still send, in one transaction; -> them all.

    raises  ValueError: a gate cannot be read
    """
    found = []
    async with connection.transaction():
        for row in await connection.fetch(query("gates_of_brand"), brand, now):
            before = gate_of(row["gate"])
            assert before is not None
            gate, changes = tightened(before, caps, gap_s)
            if changes:
                await connection.execute(query("write_gate"), row["id"], msgspec.json.encode(gate).decode())
                await audit.note(
                    connection, at=now, by=by, action="lower", about=f"run {row['id']}", reason="; ".join(changes)
                )
            found.append(Lowered(run=row["id"], name=row["name"], changes=changes))
    return found


async def granted(connection: Connection, bucket: int, consents_of: Sequence[str]) -> list[int]:
    """Read who of a bucket has granted one of some, a brand or its programme, promotional texts."""
    return await connection.fetchval(query("granted"), bucket, consents_of) or []
