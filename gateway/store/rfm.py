"""The scores of those who buy, reckoned set-wise, one version after another (SG-9). sql/rfm.sql.

    begin ─► the least value of each score, of all buyers at one instant ─► a version
    step  ─► the next bucket: who scores otherwise than before is held, marked as changed and written ─► …

A version is what all are scored by, whoever goes on with it: who steps holds its row, so that of two nobody does a
bucket twice, and a crash leaves a bucket undone. A newer one takes the place of one that is under way. Rows whose
scores are as they were are not written: `rfm.version` is that of the last change.
Not here: what a score means (gateway.rfm), when it is reckoned (gateway.automation.rfm).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from gateway.rfm import RfmSettings, Scale, groups_of
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

BUCKETS = 256
# All people and all their orders are read three times.
LIMITS_S = 600
STEP_S = 60.0


class Version(Struct, frozen=True, kw_only=True):
    """Scores as of an instant; those of buckets below `upto` are written, all of them since `done_at`."""

    version: int
    at: datetime
    currency: str
    buyers: int
    scale: Scale
    upto: int
    done_at: datetime | None


def _version(row: Mapping[str, Any] | None) -> Version | None:
    if row is None:
        return None
    values = dict(row)
    return Version(scale=msgspec.json.decode(values.pop("limits"), type=Scale), **values)


async def newest(connection: Connection) -> Version | None:
    """Read the newest version; None: there is none yet."""
    async with deadline(connection, STEP_S, "rfm"):
        return _version(await connection.fetchrow(query("newest_rfm")))


async def begin(connection: Connection, settings: RfmSettings, now: datetime) -> Version:
    """Find by what people are scored as of now, and begin a version; nobody has its scores yet. One transaction.

    cost  docs/audiences.md: three looks through all who bought, and through their orders of so many days
    """
    since = now - timedelta(days=settings.days)
    async with deadline(connection, LIMITS_S + 10, "rfm"), connection.transaction():
        await connection.execute(query("look_at_all"), LIMITS_S)
        last = _version(await connection.fetchrow(query("hold_newest_rfm")))
        currency = settings.currency or await connection.fetchval(query("currency_of_most")) or ""
        recent = await connection.fetchrow(query("least_recencies"), now)
        often = await connection.fetchrow(query("least_frequencies"), now, since)
        paid = await connection.fetchrow(query("least_moneys"), now, since, currency)
        scale = Scale(
            days=settings.days,
            hold=settings.hold,
            groups=groups_of(settings.groups),
            r=_least(recent),
            f=_least(often),
            m=_least(paid),
        )
        made = Version(
            version=1 if last is None else last.version + 1, at=now, currency=currency, buyers=recent["buyers"] or 0,
            scale=scale, upto=0, done_at=None,
        )  # fmt: skip
        told = msgspec.json.encode(scale).decode()
        await connection.execute(query("add_rfm_version"), made.version, now, currency, made.buyers, told)
    return made


def _least(row: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(row[name] for name in ("two", "three", "four", "five") if row[name] is not None)


async def step(connection: Connection, version: int, now: datetime) -> tuple[int, bool]:
    """Score the next bucket of a version; -> how many have other scores than before, and whether there is more to do.

    There is none where a newer version has begun. One transaction.
    """
    async with deadline(connection, STEP_S, "rfm"), connection.transaction():
        await connection.execute(query("look_at_bucket"))
        one = _version(await connection.fetchrow(query("hold_newest_rfm")))
        if one is None or one.version != version or one.done_at is not None:
            return 0, False
        scale = one.scale
        terms = (
            one.upto, one.at, one.at - timedelta(days=scale.days), one.currency, scale.r, scale.f, scale.m, scale.hold,
            scale.groups,
        )  # fmt: skip
        held = [row["profile"] for row in await connection.fetch(query("mark_rescored"), *terms)]
        if held:
            await connection.execute(query("write_rescored"), *terms, held, version)
            await connection.execute(query("drop_unscored"), one.upto, held)
        is_last = one.upto + 1 == BUCKETS
        await connection.execute(query("note_rfm_version"), version, one.upto + 1, now if is_last else None)
    return len(held), not is_last


async def groups(connection: Connection) -> dict[str, int]:
    """Count who is in each group, as of the last look."""
    async with deadline(connection, STEP_S, "rfm"):
        return {row["named"]: row["people"] for row in await connection.fetch(query("rfm_groups"))}
