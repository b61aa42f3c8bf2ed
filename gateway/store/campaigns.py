"""Campaigns as rows: versions that never change, how each stands, and the runs that its texts go into.

    apply ─► draft ─► launch ─► live ⇄ paused ─► ended            a version of its own each time its document changes

States are drawn in docs/campaigns.md. Statements: sql/campaigns.sql. Not here: whether a document makes sense
(campaign/workflow.py), what happens to people (enrolments.py).
"""

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from msgspec import Struct

from gateway import document
from gateway.document import Document
from gateway.errors import OrderFault
from gateway.store.causes import Kind
from gateway.store.postgres import Connection
from gateway.store.queries import query

# What may become of what (docs/campaigns.md).
NEXT = {
    "draft": ("live",),
    "live": ("paused", "ended", "live"),
    "paused": ("live", "ended"),
    "ended": ("live",),
}


class Campaign(Struct, frozen=True, kw_only=True):
    """How a campaign stands.

    version       the newest that was applied; live_version: the one that people enter, 0 = none yet
    """

    id: int
    name: str
    state: str
    version: int
    live_version: int
    created_at: datetime
    changed_at: datetime
    launched_at: datetime | None


class Version(Struct, frozen=True, kw_only=True):
    """A version of a campaign as it was applied."""

    document: Document
    sha256: bytes
    applied_by: str
    applied_at: datetime


class StepRun(Struct, frozen=True):
    """A run that the texts of a step go into."""

    version: int
    step: int
    run: int


async def apply(connection: Connection, wanted: Document, by: str, now: datetime) -> tuple[Campaign, bool]:
    """Keep a document as the newest version of its campaign; -> how it stands, and whether anything is new.

    The same document applied once more changes nothing.
    """
    body = document.encode(wanted)
    digest = sha256(body).digest()
    async with connection.transaction():
        await connection.execute(query("hold_campaigns"))
        before = await named(connection, wanted.name)
        if before is None:
            id_ = int(await connection.fetchval(query("add_campaign"), wanted.name, now))
            version = 1
        else:
            last = await version_of(connection, before.id, before.version)
            if last.sha256 == digest:
                return before, False
            id_, version = before.id, before.version + 1
            await connection.execute(query("set_campaign_version"), id_, version, now)
        await connection.execute(query("add_campaign_version"), id_, version, body.decode(), digest, by, now)
        found = await named(connection, wanted.name)
    assert found is not None
    return found, True


async def named(connection: Connection, name: str) -> Campaign | None:
    """Find a campaign."""
    row = await connection.fetchrow(query("campaign_named"), name)
    return None if row is None else Campaign(**dict(row))


async def every(connection: Connection) -> list[Campaign]:
    """Read how all campaigns stand."""
    return [Campaign(**dict(row)) for row in await connection.fetch(query("all_campaigns"))]


async def version_of(connection: Connection, campaign: int, version: int) -> Version:
    """Read a version. raises StoreError: there is none."""
    row = await connection.fetchrow(query("campaign_body"), campaign, version)
    if row is None:
        raise OrderFault(f"campaign {campaign}: it has no version {version}")
    return Version(
        document=document.decode(row["body"]), sha256=row["sha256"], applied_by=row["applied_by"],
        applied_at=row["applied_at"],
    )  # fmt: skip


async def go(connection: Connection, campaign: Campaign, state: str, now: datetime, version: int | None = None) -> None:
    """Have a campaign stand otherwise; within a transaction that holds it.

    version  that people enter from now on
    raises   StoreError: that cannot come of how it stands
    """
    if state not in NEXT[campaign.state]:
        raise OrderFault(f"campaign {campaign.name!r} is {campaign.state}: expected one that can become {state}")
    await connection.execute(query("set_campaign_state"), campaign.id, state, version, now)


async def listen(connection: Connection, campaign: int, names: Sequence[tuple[Kind, str]]) -> None:
    """Have a campaign told of these things and of no others."""
    await connection.execute(query("clear_listened"), campaign)
    if names:
        await connection.execute(
            query("add_listened"), campaign, [kind for kind, _ in names], [name for _, name in names]
        )


async def hold(connection: Connection, name: str) -> Campaign:
    """Let nobody else change campaigns until our transaction ends. raises StoreError: there is none of that name."""
    await connection.execute(query("hold_campaigns"))
    found = await named(connection, name)
    if found is None:
        raise OrderFault(f"campaign {name!r} is not known: `sluice campaign apply FILE` keeps one")
    return found


async def add_run(connection: Connection, campaign: int, version: int, step: int, run: int) -> None:
    """Note the run that a step's texts go into from now on."""
    await connection.execute(query("add_campaign_run"), campaign, version, step, run)


async def runs_of(connection: Connection, campaign: int) -> list[StepRun]:
    """Read the runs of a campaign, of each step the newest last."""
    rows = await connection.fetch(query("campaign_runs"), campaign)
    return [StepRun(row["version"], row["step"], row["run"]) for row in rows]
