"""Who is considered for a run: in its list, or in run_skipped with a reason; who of a claim is asked for once more.

    everybody in the audience ─┬─ no number, that of another, no consent ─► run_skipped, a row a bucket and reason
                               └─ the rest, each number once ─► the run's list (SG-6) ─► chunks ─► the gate
    numbers of a claim ─► left: no longer in the audience     excepted: what must not have happened has

A preview counts by the same statement, so that it is what a run of that instant would find (SG-10). The sum over all
reasons and the list is the audience. What is suppressed goes to the gate whatever its consent, which tells why (CN-11).

Not here: what a tree may say (campaign/audience.py), the statements of trees (audiences.py), the decision
(_fastpath.gate).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from gateway.countries import HEAD_DIGITS
from gateway.gate import Gate
from gateway.predicate import Predicate
from gateway.reasons import Reason
from gateway.store import audiences, selection
from gateway.store.audiences import GRANTED, Compiled, Terms, nearest
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection, deadline
from gateway.store.selection import SET_DEADLINE_S, SET_WISE, STATEMENT_DEADLINE_S
from gateway.store.shares import Buckets, Opener, in_shares
from gateway.store.stops import EVERYTHING

_REVOKED, _PENDING = 3, 1
# Why consent keeps a number out of a run's list (_why).
_WITHOUT = (Reason.PENDING_CONSENT, Reason.NO_CONSENT)
_BUCKET = "((n # (n >> 8) # (n >> 16) # (n >> 24)) & 255)::int"
_SKIPPED_ONE = (
    "SELECT reason, people, numbers FROM run_skipped WHERE bucket = $1::int AND run = $2::bigint ORDER BY reason DESC"
)
# The key begins with the bucket: each is looked into, and not all rows of all runs.
_TAKE_SKIPPED_AWAY = "DELETE FROM run_skipped WHERE run = $1::bigint AND bucket BETWEEN 0 AND 255"
_SUMS = (
    "SELECT reason, sum(people)::bigint AS people FROM run_skipped "
    "WHERE bucket = ANY($1::int[]) AND run = $2::bigint GROUP BY reason"
)

_WORDS = (
    "SELECT s.reason, w.key AS word, sum(w.value::bigint)::bigint AS people "
    "FROM run_skipped s CROSS JOIN LATERAL jsonb_each_text(s.words) AS w "
    "WHERE s.bucket = ANY($1::int[]) AND s.run = $2::bigint GROUP BY 1, 2"
)


class Found(Struct, frozen=True, kw_only=True):
    """How many people an audience has: by reason those who are in no chunk; and the numbers that go to the gate."""

    skipped: dict[int, int]
    numbers: int

    @property
    def people(self) -> int:
        """All of them."""
        return self.numbers + sum(self.skipped.values())


def _why(compiled: Compiled, gate: Gate, buckets: Buckets | None = None) -> tuple[Compiled, str]:
    """Say of each number why its consent keeps it out of a run's list; NULL: it does not.

    Who has taken his consent back goes on to the gate: that may have been a STOP, a complaint, an erasure.
    """
    if gate.needs == "none":
        return compiled, "NULL::int"
    names = gate.consents_of
    given = [f"given_{at}" for at in range(len(names))]
    parameters = [*compiled.parameters, EVERYTHING, *names]
    first = len(parameters) - len(names)
    joins = compiled.joins + f" LEFT JOIN suppression ended ON ended.number = p.number AND ended.scope = ${first}::text"
    for at, one in enumerate(given, first + 1):
        within = "" if buckets is None else f" AND {one}.bucket BETWEEN {buckets[0]:d} AND {buckets[1]:d}"
        joins += (
            f" LEFT JOIN consent_state {one} ON {one}.bucket = p.bucket AND {one}.number = p.number "
            f"AND {one}.brand = ${at}::text{within}"
        )
    promotional, transactional = (f"coalesce({nearest(given, name)}, 0)" for name in ("promotional", "transactional"))
    state = promotional
    if gate.needs == "transactional":
        # As the gate has it: a promotional consent holds too, and of two words that are none the one that says more.
        state = (
            f"CASE WHEN {promotional} = {GRANTED} THEN {GRANTED} "
            f"WHEN {transactional} <> 0 THEN {transactional} ELSE {promotional} END"
        )
    why = (
        f"CASE WHEN ended.number IS NOT NULL OR ({state}) IN ({GRANTED}, {_REVOKED}) THEN NULL "
        f"WHEN ({state}) = {_PENDING} THEN {int(Reason.PENDING_CONSENT)} ELSE {int(Reason.NO_CONSENT)} END"
    )
    return msgspec.structs.replace(compiled, joins=joins, parameters=parameters), why


def _reasons(compiled: Compiled, why: str) -> str:
    """Write the rows of (bucket, number, reason, people), reason NULL: to be asked at the gate."""
    grouped = f"{compiled.select(f'p.bucket, p.number, {why} AS why, count(*) AS people')} GROUP BY 1, 2, 3"
    return (
        "SELECT g.bucket, g.number, r.reason, r.people "
        f"FROM ({grouped}) g CROSS JOIN LATERAL (VALUES "
        f"(CASE WHEN g.number IS NULL THEN {int(Reason.NO_NUMBER)} ELSE g.why END, "
        "CASE WHEN g.number IS NULL THEN g.people ELSE 1 END), "
        f"({int(Reason.DUPLICATE_ENDPOINT)}, CASE WHEN g.number IS NULL THEN 0 ELSE g.people - 1 END)"
        ") AS r (reason, people) WHERE r.people > 0"
    )


async def count(connection: Connection, tree: Predicate, terms: Terms, gate: Gate) -> Found:
    """Count who a run of this instant would consider.

    People are counted by reason, by all processes that Postgres has for it; then those who share a number with another,
    who are few, are counted off (selection.count).

    raises  StoreError: the planner finds it too dear (SG-12)
    cost    one look through all people, and one through the index of numbers
    """
    await selection.estimate(connection, tree, terms)
    compiled, why = _why(audiences.compile(tree, terms), gate)
    # A sum each, and not one by reason: what the planner takes for many groups it counts in one process.
    left_out = ", ".join(
        f"count(*) FILTER (WHERE p.number IS NOT NULL AND ({why}) = {int(reason)}) AS reason_{at}"
        for at, reason in enumerate(_WITHOUT)
    )
    sql = compiled.select(f"count(*) AS people, count(p.number) AS with_number, {left_out}")
    # One snapshot, or a number that comes to be shared meanwhile is taken off without having been counted twice.
    async with (
        deadline(connection, SET_DEADLINE_S, "count considered"),
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        for setting in SET_WISE:
            await connection.execute(setting)
        # All rows, though there is one: as in selection.count.
        [row] = await connection.fetch(sql, *compiled.parameters, timeout=SET_DEADLINE_S)
        # Why a number is left out is asked of the number alone: of all who share it the same.
        surplus = await selection.surplus_of(connection, tree, terms, lambda one: _why(one, gate))
    skipped = {int(reason): row[f"reason_{at}"] - surplus[reason] for at, reason in enumerate(_WITHOUT)}
    numbers = row["with_number"] - surplus.total() - sum(skipped.values())
    skipped[int(Reason.NO_NUMBER)] = row["people"] - row["with_number"]
    skipped[int(Reason.DUPLICATE_ENDPOINT)] = surplus.total()
    return Found(skipped={reason: people for reason, people in skipped.items() if people}, numbers=numbers)


async def numbers(connection: Connection, tree: Predicate, terms: Terms, gate: Gate) -> bytes:
    """Read whom a run of this instant would ask the gate about; -> octets for Questions.of_numbers."""
    compiled, why = _why(audiences.compile(tree, terms), gate)
    sql = compiled.select("DISTINCT p.bucket, p.number", f"p.number IS NOT NULL AND ({why}) IS NULL AND ")
    async with deadline(connection, SET_DEADLINE_S, "numbers considered"), connection.transaction():
        for setting in SET_WISE:
            await connection.execute(setting)
        return await _copied(connection, f"SELECT number FROM ({sql}) found", *compiled.parameters)


async def values(
    connection: Connection, tree: Predicate, terms: Terms, gate: Gate, fields: Sequence[str], buckets: Buckets
) -> bytes:
    """Read whom a run of this instant would ask the gate about within some buckets, and what a template needs of them.

    ->    octets of a COPY of number and attributes, as those of a list (store/templates.py: page)
    cost  one look through all people, and a sort of those who belong
    """
    attributes, parameters = selection.attributes_of(fields, 1)
    asked = selection.buckets_or_all(buckets)
    compiled, why = _why(audiences.compile(tree, terms, parameters=parameters, buckets=asked), gate, asked)
    sql = compiled.select(
        f"DISTINCT ON (p.bucket, p.number) p.number, {attributes} AS attributes",
        f"p.number IS NOT NULL AND ({why}) IS NULL AND ",
    )
    async with deadline(connection, SET_DEADLINE_S, "values considered"), connection.transaction():
        for setting in SET_WISE:
            await connection.execute(setting)
        return await _copied(connection, f"{sql} ORDER BY p.bucket, p.number, p.id", *compiled.parameters)


async def longest(connection: Connection, tree: Predicate, terms: Terms, fields: Sequence[str]) -> dict[str, int]:
    """Measure the longest value of each field among all people of an audience, in characters."""
    attributes, parameters = selection.attributes_of(fields, 1)
    compiled = audiences.compile(tree, terms, parameters=parameters)
    sql = compiled.select(f"p.number, {attributes} AS attributes", "p.number IS NOT NULL AND ")
    sums = ", ".join(f"max(length(attributes ->> ${at}::text))" for at in range(1, 1 + len(fields)))
    if not fields:
        return {}
    async with deadline(connection, SET_DEADLINE_S, "longest values"), connection.transaction():
        for setting in SET_WISE:
            await connection.execute(setting)
        row = await connection.fetchrow(
            f"SELECT {sums} FROM ({sql} OFFSET 0) found", *compiled.parameters, timeout=SET_DEADLINE_S
        )
    return {field: found or 0 for field, found in zip(fields, row or (), strict=True)}


async def heads(connection: Connection, tree: Predicate, terms: Terms, gate: Gate) -> dict[str, int]:
    """Count whom a run of this instant would ask the gate about, by the first digits of their numbers.

    cost  one look through all people
    """
    compiled, why = _why(audiences.compile(tree, terms), gate)
    sql = compiled.select("DISTINCT p.bucket, p.number", f"p.number IS NOT NULL AND ({why}) IS NULL AND ")
    sql = f"SELECT left(number::text, {HEAD_DIGITS}) AS head, count(*)::bigint AS people FROM ({sql}) found GROUP BY 1"
    async with deadline(connection, SET_DEADLINE_S, "countries of an audience"), connection.transaction():
        for setting in SET_WISE:
            await connection.execute(setting)
        rows = await connection.fetch(sql, *compiled.parameters, timeout=SET_DEADLINE_S)
    return {row["head"]: row["people"] for row in rows}


async def numbers_of_list(connection: Connection, list_id: int) -> bytes:
    """Read the numbers of a list; -> octets for Questions.of_numbers."""
    sql = "SELECT number FROM list_entry WHERE bucket = ANY($1::int[]) AND list = $2::bigint"
    async with deadline(connection, SET_DEADLINE_S, "numbers of a list"):
        return await _copied(connection, sql, list(range(BUCKETS)), list_id)


async def freeze(
    connection: Connection,
    tree: Predicate,
    terms: Terms,
    gate: Gate,
    run: int,
    list_id: int,
    fields: Sequence[str],
    *,
    beside: Opener | None = None,
) -> int:
    """Write the numbers that a run is for into its list, each once, and everybody else into run_skipped.

    fields  the attributes that its template needs; of people who share a number those of the oldest
    beside  opens one more connection, so that two processes share a large audience
    ->      how many numbers
    raises  StoreError as `count` does
    cost    looks through all people twice, in a transaction, or two: a kill may leave one of them, to a list and a run
            that nobody else has
    """
    if await selection.estimate(connection, tree, terms) < selection.WORTH_SHARING:
        beside = None

    # One snapshot for both, or somebody who changes between them is in neither, or in both.
    async def write(one: Connection, buckets: Buckets) -> int:
        asked = selection.buckets_or_all(buckets)
        compiled, why = _why(audiences.compile(tree, terms, parameters=[run], buckets=asked), gate, asked)
        skipped = (
            "INSERT INTO run_skipped (bucket, run, reason, people, numbers) "
            "SELECT bucket, $1::bigint, reason, sum(people)::int, "
            "coalesce(string_agg(int8send(number), ''::bytea ORDER BY number), ''::bytea) "
            f"FROM ({_reasons(compiled, why)}) found WHERE reason IS NOT NULL GROUP BY bucket, reason"
        )
        await selection.write_set(one, skipped, *compiled.parameters)

        def kept(listed: Compiled) -> tuple[Compiled, str]:
            listed, same_why = _why(listed, gate, asked)
            return listed, f"({same_why}) IS NULL AND "

        sql, parameters = selection.entries(tree, terms, list_id, fields, buckets, kept)
        return await selection.write_set(one, sql, *parameters)

    async def take_away(one: Connection) -> None:
        await selection.empty(one, list_id)
        async with deadline(one, SET_DEADLINE_S, "take skipped away"):
            await one.execute(_TAKE_SKIPPED_AWAY, run, timeout=SET_DEADLINE_S)

    return await in_shares(connection, beside, 2 * SET_DEADLINE_S, "freeze audience", write, take_away)


async def left(connection: Connection, numbers_text: str, tree: Predicate, terms: Terms) -> bytes:
    """Find which of some numbers belong to nobody in an audience any more; -> octets for Questions.read_refusals."""
    compiled, matching = _of_numbers(numbers_text, tree, terms)
    sql = f"SELECT n AS number FROM unnest($1::text::bigint[]) AS n EXCEPT SELECT number FROM ({matching}) matching"
    return await _refused(connection, sql, Reason.AUDIENCE_LEFT, compiled)


async def excepted(connection: Connection, numbers_text: str, tree: Predicate, terms: Terms) -> bytes:
    """Find to which of some numbers has happened what must not; -> octets for Questions.read_refusals."""
    compiled, matching = _of_numbers(numbers_text, tree, terms)
    return await _refused(connection, f"SELECT DISTINCT number FROM ({matching}) matching", Reason.EXCEPTION, compiled)


async def _refused(connection: Connection, numbers_sql: str, reason: Reason, compiled: Compiled) -> bytes:
    """Read numbers with a reason as one value: a statement that stays prepared, which a COPY with arguments is not."""
    sql = (
        f"SELECT string_agg(record_send(ROW (number, ({int(reason)})::smallint)), ''::bytea) FROM ({numbers_sql}) found"
    )
    return await connection.fetchval(sql, *compiled.parameters) or b""


def _of_numbers(numbers_text: str, tree: Predicate, terms: Terms) -> tuple[Compiled, str]:
    """Write who of some numbers matches a tree. A person lives in the bucket of the number."""
    compiled = audiences.compile(tree, terms, parameters=[numbers_text], by_person=True)
    asked = f"(p.bucket, p.number) IN (SELECT {_BUCKET}, n FROM unnest($1::text::bigint[]) AS n) AND "
    return compiled, compiled.select("p.number", asked)


async def skipped(connection: Connection, run: int) -> dict[int, int]:
    """Count who is in no chunk of a run, by reason."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "skipped of run"):
        return {row["reason"]: row["people"] for row in await connection.fetch(_SUMS, range(BUCKETS), run)}


async def words_of_skipped(connection: Connection, run: int) -> dict[int, dict[str, int]]:
    """Count who is in no chunk of a run for a reason that has words of its own: by reason, by them."""
    found: dict[int, dict[str, int]] = {}
    async with deadline(connection, STATEMENT_DEADLINE_S, "words of skipped"):
        for row in await connection.fetch(_WORDS, range(BUCKETS), run):
            found.setdefault(row["reason"], {})[row["word"]] = row["people"]
    return found


async def why_skipped(connection: Connection, bucket: int, run: int, number: int) -> list[int]:
    """Find why a number is in no chunk of a run, or not once more; -> reasons."""
    octets = number.to_bytes(8)
    async with deadline(connection, STATEMENT_DEADLINE_S, "why skipped"):
        rows = await connection.fetch(_SKIPPED_ONE, bucket, run)
    return [row["reason"] for row in rows if octets in _each(row["numbers"])]


def _each(numbers: bytes) -> list[bytes]:
    return [numbers[at : at + 8] for at in range(0, len(numbers), 8)]


async def _copied(connection: Connection, sql: str, *values: Any) -> bytes:
    pieces: list[bytes] = []

    async def take(octets: bytes) -> None:
        pieces.append(octets)

    await connection.copy_from_query(sql, *values, output=take, format="binary")
    return b"".join(pieces)


async def salt(connection: Connection) -> str:
    """Read what random buckets are drawn with; "" where nobody has asked for one yet."""
    async with deadline(connection, STATEMENT_DEADLINE_S, "salt of buckets"):
        return str(await connection.fetchval("SELECT salt FROM audience_salt WHERE id = 1") or "")
