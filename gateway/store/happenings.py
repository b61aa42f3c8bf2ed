"""Whether something has happened to enrolled persons since their cause, or since their step: one statement for some
hundred of them, whatever its conditions are.

It is asked three times: when somebody is looked at, when a text is due, and by the gate just before a message leaves,
whose answer counts (EX-2). Only what a human did is a click (GL-5).
Not here: what conditions mean (audiences.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.happening import URL_PROPERTY, Sought, like
from gateway.message import Refusal
from gateway.person import CLICKED, hash_of
from gateway.predicate import HUMAN, VERDICT_PROPERTY
from gateway.reasons import Reason
from gateway.store import audiences
from gateway.store.audiences import Terms
from gateway.store.columns import ints
from gateway.store.excepted import Hit
from gateway.store.postgres import Connection
from gateway.store.queries import query

_NAMED = (
    "unnest($1::text::int[], $2::text::bigint[]) AS k (bucket, id) "
    "JOIN profile p ON p.bucket = k.bucket AND p.id = k.id"
)


async def happened(
    connection: Connection,
    of: Mapping[int, Mapping[int, datetime | None]],
    sought: Sought,
    least: datetime,
    terms: Terms,
) -> dict[int, datetime]:
    """Find to which of some enrolments something has happened, and when first.

    The cause itself is not what has happened since; of two events of one instant the one told later is (EX-1).

    of     by bucket, ids and since when it counts; None: since their cause
    least  nothing before it is looked at: of the earliest of them
    cost   a look into the index for each
    """
    if sought.audience:
        return await _turned(connection, of, sought)
    one = len(of) == 1
    parameters: list[Any] = [
        next(iter(of)) if one else [bucket for bucket, ids in of.items() for _ in ids],
        [id_ for ids in of.values() for id_ in ids],
        [since for ids in of.values() for since in ids.values()],
        least,
        list(sought.names) if sought.also else sought.event,
    ]
    parts = [
        "v.bucket = e.bucket",
        "v.profile = e.profile",
        "v.name = ANY($5::text[])" if sought.also else "v.name = $5::text",
        "v.occurred_at >= $4::timestamptz",
        "v.occurred_at >= coalesce(k.since, e.anchor_at)",
        "(v.occurred_at > e.anchor_at OR v.id > e.anchor_id)",
    ]
    if sought.event == CLICKED:
        parts.append(f"v.properties ->> '{VERDICT_PROPERTY}' = '{HUMAN}'")
    if sought.key:
        # As gateway.happening.value_at has it: both as text.
        parameters.append(sought.key.split("."))
        parts.append(f"v.properties #>> ${len(parameters)}::text[] = e.context #>> ${len(parameters)}::text[]")
    if sought.url:
        parameters.append(like(sought.url))
        parts.append(is_at_url(sought.url, len(parameters)))
    if sought.where is not None:
        condition, parameters = audiences.of_event(sought.where, terms, parameters)
        parts.append(condition)
    rows = await connection.fetch(
        f"SELECT e.id, f.at FROM {_keys(one)} CROSS JOIN LATERAL "
        f"(SELECT min(v.occurred_at) AS at FROM person_event v WHERE {' AND '.join(parts)}) f WHERE f.at IS NOT NULL",
        *parameters,
    )
    return {row["id"]: row["at"] for row in rows}


async def _turned(
    connection: Connection, of: Mapping[int, Mapping[int, datetime | None]], sought: Sought
) -> dict[int, datetime]:
    """Find who of some enrolments is in a watched audience now, or came to be out of it, and since when.

    Whoever was so before the cause is so now: what is to be reached is reached (GL-7).
    """
    audience = await connection.fetch(query("audiences_named"), [sought.audience])
    if not audience:
        return {}
    one = len(of) == 1
    rows = await connection.fetch(
        f"SELECT e.id, c.at FROM {_keys(one)} CROSS JOIN LATERAL (SELECT v.at, v.is_in FROM audience_change v "
        "WHERE v.bucket = e.bucket AND v.audience = $4::bigint AND v.profile = e.profile "
        "ORDER BY v.seq DESC LIMIT 1) c WHERE c.is_in = $5::boolean",
        next(iter(of)) if one else [bucket for bucket, ids in of.items() for _ in ids],
        [id_ for ids in of.values() for id_ in ids],
        [since for ids in of.values() for since in ids.values()],
        audience[0]["id"],
        sought.is_in,
    )
    return {row["id"]: row["at"] for row in rows}


def _keys(of_one: bool) -> str:
    """Name the enrolments that are asked for, of one bucket or of several."""
    if of_one:
        return (
            "unnest($2::bigint[], $3::timestamptz[]) AS k (id, since) "
            "JOIN enrolment e ON e.bucket = $1::int AND e.id = k.id"
        )
    return (
        "unnest($1::int[], $2::bigint[], $3::timestamptz[]) AS k (bucket, id, since) "
        "JOIN enrolment e ON e.bucket = k.bucket AND e.id = k.id"
    )


def is_at_url(url: str, parameter: int) -> str:
    """Write that an event's address (v) fits a pattern, whose LIKE is a parameter: as gateway.happening.is_at."""
    bare = f"v.properties ->> '{URL_PROPERTY}'"
    for letter in "#?":
        if letter not in url:
            bare = f"split_part({bare}, '{letter}', 1)"
    return f"regexp_replace({bare}, '/$', '') LIKE ${parameter}::text"


async def matching(connection: Connection, of: Sequence[tuple[int, int]], tree: Any, terms: Terms) -> set[int]:
    """Find which of some persons, (bucket, id), match a tree, others put in their places, as of now; -> their ids."""
    pairs = [ints(bucket for bucket, _ in of), ints(id_ for _, id_ in of)]
    compiled = audiences.compile(tree, terms, parameters=pairs, by_person=True)
    sql = compiled.select("p.id", of=_NAMED)
    return {row["id"] for row in await connection.fetch(sql, *compiled.parameters)}


async def refused(
    connection: Connection,
    enrolled: Mapping[int, tuple[int, int]],
    exceptions: Sequence[Sought],
    goal: Sought | None,
    least: datetime,
    made_since: datetime,
    terms: Terms,
    hits: dict[int, Hit] | None = None,
) -> dict[int, int]:
    """Say of some numbers, each with enrolment and visit, which must not be written to any more, and why (EX-2, GL-7).

    An enrolment lives with the number of its person: one that is not there is of somebody who has another number now,
    or none. A text that was made before `made_since` is too old (TH-6).

    hits  by number, which exception it was: put in (EX-5)
    """
    of: dict[int, dict[int, datetime | None]] = {}
    for number, (id_, _) in enrolled.items():
        of.setdefault(hash_of(number), {})[id_] = None
    rows = await connection.fetch(
        query("enrolments_at_gate"), [hash_of(number) for number in enrolled],
        [id_ for id_, _ in enrolled.values()], [visit for _, visit in enrolled.values()],
    )  # fmt: skip
    standing = {row["id"]: row for row in rows}
    reasons = {}
    for number, (id_, _) in enrolled.items():
        row = standing.get(id_)
        if row is None or row["number"] != number:
            reasons[id_] = int(Reason.NO_NUMBER)
        elif row["made_at"] is not None and row["made_at"] < made_since:
            reasons[id_] = int(Refusal.EXPIRED)
        else:
            reasons[id_] = row["reason"]
    by_id: dict[int, Hit] = {}
    for sought in exceptions:
        found = await happened(connection, of, sought, least, terms)
        reasons |= dict.fromkeys(found, int(Reason.EXCEPTION))
        by_id = {id_: Hit(sought.event, at) for id_, at in found.items()} | by_id
    if goal is not None:
        found = await happened(connection, of, goal, least, terms)
        reasons |= {id_: int(Reason.GOAL_MET) for id_ in found if reasons.get(id_) != Reason.EXCEPTION}
    if hits is not None:
        hits |= {number: by_id[id_] for number, (id_, _) in enrolled.items() if id_ in by_id}
    return {number: reasons[id_] for number, (id_, _) in enrolled.items() if reasons[id_]}
