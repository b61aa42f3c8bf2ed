"""What the calendar begins, as causes: set-wise, some buckets at a time, and once for everybody whoever repeats it.

    an occurrence ─► everybody who matches ─► cause, named by the occurrence          schedules
                  ─► who has bought nothing for so long ─► cause, named by the last order     silences (TR-6)
    a look ahead  ─► whose date comes within it ─► cause, named by the date           dates (TR-10)

A cause that was had before enters nobody (TR-3), so an occurrence that was broken off is carried out once more.
Statements: sql/ticks.sql, and those of trees. Not here: when that is (campaign/delays.py, automation/ticking.py).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

from msgspec import Struct

from gateway.predicate import Everyone, Predicate
from gateway.store import audiences
from gateway.store.audiences import Terms
from gateway.store.postgres import Connection
from gateway.store.queries import query

_ZONE = "coalesce(p.zone, (SELECT h.zone FROM endpoint h WHERE h.bucket = p.bucket AND h.number = p.number))"

Buckets: TypeAlias = tuple[int, int]
"""First and last, both included."""


class Tick(Struct, frozen=True, kw_only=True):
    """An occurrence as it was noted."""

    key: str
    at: datetime
    state: str
    people: int


class Dated(Struct, frozen=True, kw_only=True):
    """A person and a date of theirs, as it is written; zone "": nobody told."""

    bucket: int
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
    connection: Connection, buckets: Buckets, name: str, key: str, at: datetime, now: datetime, tree: Predicate | None,
    terms: Terms, zones: Sequence[str] | None, house: str,
) -> int:  # fmt: skip
    """Bring everybody of some buckets to a campaign who matches; -> how many."""
    parameters: list[Any] = [name, f"tick:{key}", at, now]
    where = _where(parameters, zones, house)
    compiled = audiences.compile(tree or Everyone(), terms, parameters=parameters, buckets=buckets)
    chosen = compiled.select("p.bucket, p.id, 0, $3::timestamptz, $4::timestamptz, 'tick', $1::text, $2::text", where)
    return await _tell(connection, chosen, compiled.parameters)


async def silent(
    connection: Connection, buckets: Buckets, campaign: int, name: str, at: datetime, now: datetime, until: datetime,
    since: datetime | None, tree: Predicate | None, terms: Terms, zones: Sequence[str] | None, house: str,
) -> int:  # fmt: skip
    """Bring those of some buckets to a campaign whose last order lies in (since, until]; -> how many.

    Once for each last order (S1.5): who was brought for it before is left out, or each day would bring all of them.
    """
    parameters: list[Any] = [name, at, now, until, campaign]
    where = _where(parameters, zones, house)
    if since is not None:
        parameters.append(since)
        where += f"p.last_order_at > ${len(parameters)}::timestamptz AND "
    told = "'silence:' || (extract(epoch FROM p.last_order_at) * 1000000)::bigint"
    compiled = audiences.compile(tree or Everyone(), terms, parameters=parameters, buckets=buckets)
    chosen = compiled.select(
        f"p.bucket, p.id, 0, $2::timestamptz, $3::timestamptz, 'tick', $1::text, {told}",
        f"p.last_order_at <= $4::timestamptz AND p.orders >= 1 AND {where}"
        "NOT EXISTS (SELECT FROM enrolment x WHERE x.bucket = p.bucket AND x.endpoint = coalesce(p.number, -p.id) "
        f"AND x.campaign = $5::bigint AND x.cause = {told}) AND ",
    )
    return await _tell(connection, chosen, compiled.parameters)


async def dated(
    connection: Connection, buckets: Buckets, path: Sequence[str], days: Sequence[str], yearly: bool,
    profiles: Sequence[int] | None = None,
) -> list[Dated]:  # fmt: skip
    """Find those of some buckets whose date may be on one of some days; of some persons alone where they are named.

    days  YYYY-MM-DD, or MM-DD where it comes each year; what is written otherwise than so is no date
    """
    value = "p.attributes #>> $3::text[]"
    part = f"right(left({value}, 10), 5)" if yearly else f"left({value}, 10)"
    parameters: list[Any] = [*buckets, list(path), list(days)]
    named = ""
    if profiles is not None:
        parameters.append(list(profiles))
        named = "p.id = ANY($5::bigint[]) AND "
    rows = await connection.fetch(
        f"SELECT p.bucket, p.id, coalesce({_ZONE}, '') AS zone, {value} AS value FROM profile p "
        f"WHERE p.bucket BETWEEN $1::int AND $2::int AND {named}{part} = ANY($4::text[])",
        *parameters,
    )
    return [Dated(bucket=row["bucket"], profile=row["id"], zone=row["zone"], value=row["value"]) for row in rows]


async def bring(connection: Connection, name: str, of: Sequence[tuple[int, int, str, datetime]], now: datetime) -> int:
    """Bring persons to a campaign: (bucket, profile, what names the cause, when it is); -> how many."""
    if not of:
        return 0
    chosen = (
        "SELECT k.bucket, k.profile, 0, k.at, least(k.at, $2::timestamptz), 'tick', $1::text, k.told "
        "FROM unnest($3::int[], $4::bigint[], $5::text[], $6::timestamptz[]) AS k (bucket, profile, told, at)"
    )
    return await _tell(connection, chosen, [name, now, *map(list, zip(*of, strict=True))])


async def _tell(connection: Connection, chosen: str, parameters: Sequence[Any]) -> int:
    tag = await connection.execute(
        f"INSERT INTO cause (bucket, profile, id, occurred_at, received_at, kind, name, told) {chosen}", *parameters
    )
    return int(tag.rsplit(" ", 1)[1])
