"""What the calendar begins, as causes: set-wise, a bucket at a time, and once for everybody whoever repeats it.

    an occurrence ─► everybody who matches ─► cause, named by the occurrence          schedules
                  ─► who has bought nothing for so long ─► cause, named by the last order     silences (TR-6)
    a look ahead  ─► whose date comes within it ─► cause, named by the date           dates (TR-10)

A cause that was had before enters nobody (TR-3), so an occurrence that was broken off is carried out once more.
Statements: sql/ticks.sql, and those of trees. Not here: when that is (campaign/delays.py, automation/ticking.py).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from gateway.predicate import Everyone, Predicate
from gateway.store import audiences
from gateway.store.audiences import Terms
from gateway.store.postgres import Connection
from gateway.store.queries import query

_ZONE = "coalesce(p.zone, (SELECT h.zone FROM endpoint h WHERE h.bucket = $1::int AND h.number = p.number))"


class Tick(Struct, frozen=True, kw_only=True):
    """An occurrence as it was noted."""

    key: str
    at: datetime
    state: str
    people: int


class Dated(Struct, frozen=True, kw_only=True):
    """A person and a date of theirs, as it is written; zone "": nobody told."""

    profile: int
    zone: str
    value: Any


async def last(connection: Connection, campaign: int) -> datetime | None:
    """Read when the last occurrence was that is done with."""
    found: datetime | None = await connection.fetchval(query("last_tick"), campaign)
    return found


async def note(
    connection: Connection, campaign: int, key: str, at: datetime, state: str, people: int, now: datetime
) -> None:
    """Note that an occurrence is done with."""
    await connection.execute(query("note_tick"), campaign, key, at, state, people, now)


async def newest(connection: Connection, campaign: int, limit: int = 10) -> list[Tick]:
    """Read the newest occurrences."""
    return [Tick(**dict(row)) for row in await connection.fetch(query("ticks_of"), campaign, limit)]


def _where(parameters: list[Any], zones: Sequence[str] | None, house: str) -> str:
    """Write who goes by one of some clocks; who told none goes by that of the house. None: by whichever."""
    if zones is None:
        return ""
    parameters.append(list(zones))
    name = f"${len(parameters)}::text[]"
    return f"({_ZONE} = ANY({name}){f' OR {_ZONE} IS NULL' if house in zones else ''}) AND "


async def everybody(
    connection: Connection, bucket: int, name: str, key: str, at: datetime, now: datetime, tree: Predicate | None,
    terms: Terms, zones: Sequence[str] | None, house: str,
) -> int:  # fmt: skip
    """Bring everybody of a bucket to a campaign who matches; -> how many."""
    parameters: list[Any] = [bucket, name, f"tick:{key}", at, now]
    where = _where(parameters, zones, house)
    compiled = audiences.compile(tree or Everyone(), terms, parameters=parameters)
    chosen = compiled.select(
        "p.bucket, p.id, 0, $4::timestamptz, $5::timestamptz, 'tick', $2::text, $3::text",
        f"p.bucket = $1::int AND {where}",
    )
    return await _tell(connection, chosen, compiled.parameters)


async def silent(
    connection: Connection, bucket: int, campaign: int, name: str, at: datetime, now: datetime, until: datetime,
    since: datetime | None, tree: Predicate | None, terms: Terms, zones: Sequence[str] | None, house: str,
) -> int:  # fmt: skip
    """Bring those of a bucket to a campaign whose last order lies in (since, until]; -> how many.

    Once for each last order (S1.5): who was brought for it before is left out, or each day would bring all of them.
    """
    parameters: list[Any] = [bucket, name, at, now, until, campaign]
    where = _where(parameters, zones, house)
    if since is not None:
        parameters.append(since)
        where += f"p.last_order_at > ${len(parameters)}::timestamptz AND "
    told = "'silence:' || (extract(epoch FROM p.last_order_at) * 1000000)::bigint"
    compiled = audiences.compile(tree or Everyone(), terms, parameters=parameters)
    chosen = compiled.select(
        f"p.bucket, p.id, 0, $3::timestamptz, $4::timestamptz, 'tick', $2::text, {told}",
        f"p.bucket = $1::int AND p.last_order_at <= $5::timestamptz AND p.orders >= 1 AND {where}"
        "NOT EXISTS (SELECT FROM enrolment x WHERE x.bucket = $1::int AND x.endpoint = coalesce(p.number, -p.id) "
        f"AND x.campaign = $6::bigint AND x.cause = {told}) AND ",
    )
    return await _tell(connection, chosen, compiled.parameters)


async def dated(
    connection: Connection, bucket: int, path: Sequence[str], days: Sequence[str], yearly: bool,
    profiles: Sequence[int] | None = None,
) -> list[Dated]:  # fmt: skip
    """Find those of a bucket whose date may be on one of some days; of some persons alone where they are named.

    days  YYYY-MM-DD, or MM-DD where it comes each year; what is written otherwise than so is no date
    """
    value = "p.attributes #>> $2::text[]"
    part = f"right(left({value}, 10), 5)" if yearly else f"left({value}, 10)"
    parameters: list[Any] = [bucket, list(path), list(days)]
    named = ""
    if profiles is not None:
        parameters.append(list(profiles))
        named = "p.id = ANY($4::bigint[]) AND "
    rows = await connection.fetch(
        f"SELECT p.id, coalesce({_ZONE}, '') AS zone, {value} AS value FROM profile p "
        f"WHERE p.bucket = $1::int AND {named}{part} = ANY($3::text[])",
        *parameters,
    )
    return [Dated(profile=row["id"], zone=row["zone"], value=row["value"]) for row in rows]


async def bring(
    connection: Connection, bucket: int, name: str, of: Sequence[tuple[int, str, datetime]], now: datetime
) -> int:
    """Bring persons of a bucket to a campaign: (profile, what names the cause, when it is); -> how many."""
    if not of:
        return 0
    chosen = (
        "SELECT $1::int, k.profile, 0, k.at, least(k.at, $3::timestamptz), 'tick', $2::text, k.told "
        "FROM unnest($4::bigint[], $5::text[], $6::timestamptz[]) AS k (profile, told, at)"
    )
    profiles, told, at = ([one[place] for one in of] for place in range(3))
    return await _tell(connection, chosen, [bucket, name, now, profiles, told, at])


async def _tell(connection: Connection, chosen: str, parameters: Sequence[Any]) -> int:
    tag = await connection.execute(
        f"INSERT INTO cause (bucket, profile, id, occurred_at, received_at, kind, name, told) {chosen}", *parameters
    )
    return int(tag.rsplit(" ", 1)[1])
