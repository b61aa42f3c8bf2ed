"""What came of messages, person by person: touches, to whom orders are owed, which goals were reached.

    person_event ─► touch         a message that was sent to a person: delivered, clicked, replied to, opted out after
    person_order ─► attribution   the message that an order is owed to, and every campaign that had a part in it (GL-4)
    goals        ─► conversion    once for each case (GL-3)

All three of a person are reckoned from the whole of what is known of them, by `refresh`, when anything new was told of
them, in whatever order and however late (GL-9): so a rebuild finds the same (RP-1). A person whose events are no longer
kept ([retention] person_event_days) keeps what was reckoned until something new is told of them.

As campaign/attribution.py has it over lists. Statements: sql/conversions.sql.
Not here: sums over them (reports.py), messages by lane (ledger.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from gateway import predicate
from gateway.goal import PAGE_EVENTS, REDEEMED, Goal
from gateway.happening import like
from gateway.person import EPOCH, GOAL, ORDER_PLACED, major_units
from gateway.predicate import CAMPAIGN_PROPERTY, Predicate
from gateway.store import audiences, causes, happenings
from gateway.store.audiences import Terms
from gateway.store.feeds import Owed, owe
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection, deadline
from gateway.store.queries import query

STEP_S = 120.0
PERSONS_A_STEP = 2000
# A batch is told by one moment and committed up to a minute later (profiles.BATCH_DEADLINE_S), by another host's clock.
OVERLAP = timedelta(minutes=3)
PEOPLE = "people"
# As campaign/attribution.py: tests hold them alike.
CLICK, REPLY, DELIVERY, ANSWER = timedelta(days=5), timedelta(days=5), timedelta(hours=12), timedelta(hours=72)
_FOREVER = datetime(9000, 1, 1, tzinfo=EPOCH.tzinfo)
_ORDER_KEY = (
    "CASE WHEN jsonb_typeof(v.properties -> 'order_id') IN ('string', 'number') AND v.properties ->> 'order_id' <> '' "
    "AND (jsonb_typeof(v.properties -> 'order_id') = 'string' OR v.properties ->> 'order_id' ~ '^-?[0-9]+$') "
    "THEN left('order:' || (v.properties ->> 'order_id'), 200) ELSE 'event:' || v.event_id END"
)
# The codes that an event names, of whatever way shops have to say so.
_CODES = (
    "CROSS JOIN LATERAL (SELECT DISTINCT upper(btrim(CASE jsonb_typeof(e.one) WHEN 'string' THEN e.one #>> '{}' "
    "WHEN 'object' THEN e.one ->> 'code' END)) AS code "
    "FROM unnest(ARRAY['coupon', 'coupon_code', 'discount_code', 'discount_codes', 'coupons', 'code']) AS k (name) "
    "CROSS JOIN LATERAL jsonb_array_elements(CASE jsonb_typeof(v.properties -> k.name) WHEN 'array' "
    "THEN v.properties -> k.name ELSE jsonb_build_array(v.properties -> k.name) END) AS e (one) "
    "WHERE v.properties ? k.name) n"
)


class Aimed(Struct, frozen=True, kw_only=True):
    """A goal of a campaign, and the messages it is for: from `since` on, before `until` (GL-6).

    where  the condition on its event, read
    """

    id: int
    campaign: str
    place: int
    goal: Goal
    since: datetime
    until: datetime | None = None
    where: Predicate | None = None


class House(Struct, frozen=True, kw_only=True):
    """What is the same for all persons while they are reckoned.

    zone       of days
    currency   that revenue is summed in
    with_link  runs whose texts have one; tests: runs that count for nothing (RP-3)
    numbers    of the house; lists: ids of lists of such numbers
    audiences  by name, of those that goals ask for
    campaigns  by id, their names
    tells      whether anybody asks for the goals that persons reach (EV-11)
    """

    zone: str = "UTC"
    currency: str = ""
    with_link: tuple[int, ...] = ()
    tests: tuple[int, ...] = ()
    numbers: tuple[int, ...] = ()
    lists: tuple[int, ...] = ()
    aims: tuple[Aimed, ...] = ()
    audiences: Mapping[str, int] = {}
    campaigns: Mapping[int, str] = {}
    tells: bool = False


# -- goals -------------------------------------------------------------------------------------------------------------


async def goals(connection: Connection) -> list[Aimed]:
    """Read the goals of all campaigns, those that hold for old messages alone too."""
    found = []
    for row in await connection.fetch(query("goals")):
        body = msgspec.json.decode(row["body"])
        found.append(
            Aimed(
                id=row["id"],
                campaign=row["campaign"],
                place=row["place"],
                goal=msgspec.convert(body["goal"], Goal),
                since=row["since"],
                until=row["until"],
                where=predicate.decode(msgspec.json.encode(body["where"])) if body.get("where") else None,
            )
        )
    return found


async def declare(
    connection: Connection,
    campaign: str,
    wanted: Sequence[tuple[Goal, Predicate | None]],
    now: datetime,
    *,
    is_retroactive: bool = False,
) -> int:
    """Let a campaign have these goals, the primary one first; -> how many have changed.

    What is changed holds for messages from now on (GL-6); with is_retroactive for all of them, which are reckoned anew.
    """
    async with deadline(connection, STEP_S, "goals"), connection.transaction():
        held = {one.place: one for one in await goals(connection) if one.campaign == campaign and one.until is None}
        changed = 0
        for place in range(1, max([*held, len(wanted)], default=0) + 1):
            goal, where = wanted[place - 1] if place <= len(wanted) else (None, None)
            before = held.get(place)
            if before is not None and goal == before.goal and where == before.where:
                continue
            changed += 1
            if before is not None:
                await connection.execute(query("end_goal"), before.id, now)
            if goal is not None:
                tree = "null" if where is None else predicate.encode(where)
                body = f'{{"goal": {msgspec.json.encode(goal).decode()}, "where": {tree}}}'
                await connection.execute(query("add_goal"), campaign, place, goal.title, now, body)
        if is_retroactive:
            await connection.execute(query("drop_old_goals"), campaign)
            await connection.execute(query("reach_back"), campaign, EPOCH)
    if is_retroactive:
        for bucket in range(BUCKETS):
            async with deadline(connection, STEP_S, "recompute goals"):
                rows = await connection.fetch(query("touched_by"), bucket, campaign)
                await connection.execute(query("mark_report_due"), bucket, [row["profile"] for row in rows])
    return changed


# -- persons -----------------------------------------------------------------------------------------------------------


async def house(
    connection: Connection, *, zone: str, currency: str, lists: Sequence[str], numbers: Sequence[int]
) -> House:
    """Read what is the same for all persons. currency "": the one in which most have paid."""
    async with deadline(connection, STEP_S, "house"):
        marked = await connection.fetch(query("marked_runs"))
        aims = await goals(connection)
        names = sorted({one.goal.joined or one.goal.left for one in aims} - {""})
        return House(
            zone=zone,
            currency=currency or await connection.fetchval(query("main_currency")) or "",
            with_link=tuple(row["id"] for row in marked if row["has_link"]),
            tests=tuple(row["id"] for row in marked if row["is_test"]),
            numbers=tuple(numbers),
            lists=tuple(row["id"] for row in await connection.fetch(query("lists_named"), list(lists))),
            aims=tuple(aims),
            audiences={row["name"]: row["id"] for row in await connection.fetch(query("audiences_named"), names)},
            campaigns={row["id"]: row["name"] for row in await connection.fetch(query("names_of_campaigns"))},
            tells=await _is_asked_for(connection),
        )


async def told(connection: Connection) -> tuple[datetime, dict[int, set[int]]]:
    """Find of whom something was told since the bucket that is furthest behind was reckoned, all buckets at once.

    ->  since when; bucket -> persons. A bucket that never was reckoned asks for nobody: it takes everybody
    """
    async with deadline(connection, STEP_S, "persons told"):
        rows = await connection.fetch(query("report_upto"), PEOPLE)
        since = min((row["at"] for row in rows if row["at"] > EPOCH), default=_FOREVER) - OVERLAP
        found: dict[int, set[int]] = {}
        for row in await connection.fetch(query("persons_told"), since):
            found.setdefault(row["bucket"], set()).add(row["profile"])
    return since, found


async def refresh(
    connection: Connection, bucket: int, terms: House, now: datetime, news: tuple[datetime, Mapping[int, set[int]]]
) -> int:
    """Reckon the persons of a bucket of whom something was told since the last time; -> how many.

    news  what `told` has found
    """
    async with deadline(connection, STEP_S, "persons to reckon"):
        upto: datetime = await connection.fetchval(query("hold_report_upto"), PEOPLE, bucket, EPOCH)
        if upto == EPOCH:
            found = {row["id"] for row in await connection.fetch(query("persons_of_bucket_all"), bucket)}
        else:
            since = upto - OVERLAP
            found = set(news[1].get(bucket, ()))
            if since < news[0]:
                # Somebody else set it back meanwhile: everybody, rather than too few.
                found = {row["id"] for row in await connection.fetch(query("persons_of_bucket_all"), bucket)}
            if terms.audiences:
                ids = sorted(terms.audiences.values())
                rows = await connection.fetch(query("persons_turned"), bucket, ids, since)
                found |= {row["profile"] for row in rows}
        found |= {row["profile"] for row in await connection.fetch(query("report_due"), bucket)}
        staff: list[int] = []
        if found and (terms.numbers or terms.lists):
            rows = await connection.fetch(query("persons_of_the_house"), bucket, list(terms.numbers), list(terms.lists))
            staff = [row["id"] for row in rows]
    some = sorted(found)
    for start in range(0, len(some), PERSONS_A_STEP):
        ids = some[start : start + PERSONS_A_STEP]
        async with deadline(connection, STEP_S, "reckon persons"), connection.transaction():
            await connection.fetchval(query("hold_report_upto"), PEOPLE, bucket, EPOCH)
            await connection.execute(query("take_report_due"), bucket, ids)
            await reckon(connection, bucket, ids, terms, staff, now=now if terms.tells else None)
    async with deadline(connection, STEP_S, "persons reckoned"):
        await connection.execute(query("note_report_upto"), PEOPLE, bucket, now)
    return len(some)


async def reckon(
    connection: Connection, bucket: int, ids: Sequence[int], terms: House, staff: Sequence[int] = (), *,
    now: datetime | None = None,
) -> None:  # fmt: skip
    """Reckon some persons of a bucket from all that is known of them, within the caller's transaction.

    now  of the goals that are new what is told of their persons is owed from then on; None: nothing is
    """
    of = list(ids)
    await connection.execute("SET LOCAL enable_nestloop = off")
    # By how many persons there are: for a few by index, for a whole bucket otherwise.
    await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
    await connection.execute(query("drop_touches"), bucket, of)
    await connection.execute(query("drop_owed"), bucket, of)
    before = {} if now is None else {_case(row): row for row in await connection.fetch(query("reached"), bucket, of)}
    await connection.execute(query("drop_reached"), bucket, of)
    await connection.execute(
        query("write_touches"), bucket, of, terms.zone, ANSWER, list(terms.with_link), list(terms.tests), list(staff),
        list(terms.campaigns), list(terms.campaigns.values()),
    )  # fmt: skip
    await connection.execute(query("write_owed"), bucket, of, CLICK, REPLY, DELIVERY, terms.currency)
    if terms.aims and (written := _write_reached(bucket, of, terms)) is not None:
        sql, parameters = written
        await connection.execute(sql, *parameters)
    if now is not None:
        new = [row for row in await connection.fetch(query("reached"), bucket, of) if not row["is_excluded"]]
        await _tell_of_goals(connection, bucket, [(row, before.get(_case(row))) for row in new], terms, now)


async def _is_asked_for(connection: Connection) -> bool:
    """Whether a live campaign listens to goals, or a kept audience counts them."""
    if await causes.listened(connection, "event", [GOAL]):
        return True
    return bool(await connection.fetchval(query("is_counted_by_audience"), GOAL))


def _case(row: Any) -> tuple[Any, ...]:
    """Name a conversion (GL-3)."""
    return row["profile"], row["campaign"], row["place"], row["case_id"]


async def _tell_of_goals(
    connection: Connection, bucket: int, some: Sequence[tuple[Any, Any]], terms: House, now: datetime
) -> None:
    """Owe what is told of goals that were reached, or reached once more: (conversion, the same before)."""
    names = {(aim.campaign, aim.place): aim.goal.title for aim in terms.aims if aim.until is None}
    owed = []
    for row, before in some:
        hits, gross = (before["hits"], before["gross"]) if before is not None else (0, 0)
        if row["hits"] <= hits or row["number"] is None or (row["campaign"], row["place"]) not in names:
            continue
        said: dict[str, Any] = {
            CAMPAIGN_PROPERTY: row["campaign"], "goal": names[row["campaign"], row["place"]], "place": row["place"],
            "is_first": not hits, "times": row["hits"],
        }  # fmt: skip
        if terms.currency and row["gross"] > gross:
            amount = float(major_units(row["gross"] - gross, terms.currency))
            said["value"] = {"amount": amount, "currency": terms.currency}
        owed.append(
            Owed(
                bucket=bucket, number=row["number"], at=now if hits else row["at"], name=GOAL,
                told=f"{GOAL}:{row['campaign']}:{row['place']}:{row['case_id']}:{row['hits']}",
                properties=msgspec.json.encode(said).decode(),
            )
        )  # fmt: skip
    await owe(connection, owed)


def _write_reached(bucket: int, ids: Sequence[int], terms: House) -> tuple[str, list[Any]] | None:
    """Write the statement of all goals at once: what goals ask for alike is looked for once."""
    parameters: list[Any] = [bucket, list(ids), terms.currency]
    hits: dict[tuple[Any, ...], str] = {}
    aims: list[tuple[str, int, int, timedelta, str, datetime, datetime]] = []
    for aim in terms.aims:
        goal = aim.goal
        # What is a hit for one campaign alone is one definition for all of them: it names the campaign.
        definition = (goal.kind, getattr(goal, goal.kind), goal.where, goal.url)
        if definition not in hits:
            written = _hits(aim, len(hits), terms, parameters)
            if written is None:
                continue
            hits[definition], parameters = written
        at = list(hits).index(definition)
        aims.append(
            (aim.campaign, aim.place, at, goal.window, goal.starts, aim.since, aim.until or _FOREVER)
        )  # fmt: skip
    if not aims:
        return None
    first = len(parameters)
    parameters += [list(column) for column in zip(*aims, strict=True)]
    kinds = ("text", "smallint", "int", "interval", "text", "timestamptz", "timestamptz")
    given = ", ".join(f"${first + at}::{kind}[]" for at, kind in enumerate(kinds, 1))
    sql = f"""
WITH aims AS (
    SELECT * FROM unnest({given}) AS a (campaign, place, definition, length, starts, since, until)
), touches AS MATERIALIZED (
    SELECT t.*, row_number() OVER (PARTITION BY t.profile ORDER BY t.submitted_at, t.lane, t.chunk, t.pos) AS nth
    FROM touch t WHERE t.bucket = $1::int AND t.profile = ANY($2::bigint[])
), begun AS (
    SELECT t.profile, t.nth, a.campaign, a.place, a.definition, a.length,
           CASE WHEN t.enrolment <> 0 THEN t.enrolment ELSE t.run END AS case_id,
           CASE a.starts WHEN 'clicked' THEN t.clicks[1] WHEN 'entered' THEN t.entered_at
                         ELSE t.submitted_at END AS start
    FROM touches t JOIN aims a ON a.campaign = t.campaign AND t.submitted_at >= a.since AND t.submitted_at < a.until
), hits AS MATERIALIZED (
    {" UNION ALL ".join(hits.values())}
), found AS (
    SELECT b.profile, b.nth, b.campaign, b.place, b.case_id, h.ref, h.at, h.order_key
    FROM begun b JOIN hits h ON h.profile = b.profile AND h.definition = b.definition
     AND h.at >= b.start AND h.at < b.start + b.length AND (h.campaign IS NULL OR h.campaign = b.campaign)
), firsts AS (
    SELECT DISTINCT ON (profile, campaign, place, case_id) profile, campaign, place, case_id, nth, at
    FROM found ORDER BY profile, campaign, place, case_id, at, nth DESC
), counted AS (
    SELECT d.profile, d.campaign, d.place, d.case_id, count(*) AS hits,
           coalesce(sum(o.amount) FILTER (WHERE d.nth_of_order = 1), 0)::bigint AS gross,
           coalesce(sum(CASE WHEN o.is_counted THEN o.amount - coalesce((o.refunded ->> o.currency)::bigint, 0)
                - CASE WHEN o.currency = '' THEN 0 ELSE coalesce((o.refunded ->> '')::bigint, 0) END ELSE 0 END)
               FILTER (WHERE d.nth_of_order = 1), 0)::bigint AS net
    FROM (
        SELECT f.*, CASE WHEN order_key IS NOT NULL THEN row_number() OVER (
                   PARTITION BY profile, campaign, place, case_id, order_key ORDER BY at, ref) END AS nth_of_order
        FROM (SELECT DISTINCT profile, campaign, place, case_id, ref, at, order_key FROM found) f) d
    LEFT JOIN person_order o ON o.bucket = $1::int AND o.profile = d.profile AND o.key = d.order_key
     AND o.currency = $3::text
    GROUP BY d.profile, d.campaign, d.place, d.case_id
)
INSERT INTO conversion (bucket, profile, campaign, case_id, place, lane, chunk, pos, run, variant, day,
                        submitted_at, at, hits, gross, net, is_excluded)
SELECT $1::int, f.profile, f.campaign, f.case_id, f.place, t.lane, t.chunk, t.pos, t.run, t.variant, t.day,
       t.submitted_at, f.at, c.hits, c.gross, c.net, t.is_excluded
FROM firsts f JOIN touches t ON t.profile = f.profile AND t.nth = f.nth
JOIN counted c ON c.profile = f.profile AND c.campaign = f.campaign AND c.place = f.place AND c.case_id = f.case_id
"""
    return sql, parameters


def _hits(aim: Aimed, number: int, terms: House, parameters: list[Any]) -> tuple[str, list[Any]] | None:
    """Write what a goal asks for as rows of (definition, profile, ref, at, campaign, order_key); None: nothing is."""
    goal = aim.goal
    events = "FROM person_event v WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[])"
    if goal.kind == "event":
        key = _ORDER_KEY if goal.event == ORDER_PLACED else "NULL::text"
        parameters = [*parameters, goal.event]
        condition = f"v.name = ${len(parameters)}::text"
        if aim.where is not None:
            asked, parameters = audiences.of_event(aim.where, Terms(now=_FOREVER), parameters)
            condition += f" AND {asked}"
        if goal.url:
            parameters = [*parameters, like(goal.url)]
            condition += f" AND {happenings.is_at_url(goal.url, len(parameters))}"
        what, where = f"v.id, v.occurred_at, NULL::text, {key}", f"{events} AND {condition}"
    elif goal.kind == "url":
        names, pattern = len(parameters) + 1, len(parameters) + 2
        parameters = [*parameters, list(PAGE_EVENTS), like(goal.url)]
        what = "v.id, v.occurred_at, NULL::text, NULL::text"
        where = f"{events} AND v.name = ANY(${names}::text[]) AND {happenings.is_at_url(goal.url, pattern)}"
    elif goal.kind in ("joined", "left"):
        audience = terms.audiences.get(goal.joined or goal.left)
        if audience is None:
            return None
        parameters = [*parameters, audience, goal.kind == "joined"]
        # By an edit nobody comes or goes: the audience has changed.
        what, where = (
            "v.seq::bigint, v.at, NULL::text, NULL::text",
            (
                "FROM audience_change v WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[]) AND NOT v.by_edit "
                f"AND v.audience = ${len(parameters) - 1}::bigint AND v.is_in = ${len(parameters)}::boolean"
            ),
        )
    elif goal.kind == "reply":
        what = "(extract(epoch FROM r.at) * 1000000)::bigint, r.at, v.campaign, NULL::text"
        where = "FROM touches v CROSS JOIN LATERAL unnest(v.replies) AS r (at) WHERE v.replies <> '{}'"
    else:
        parameters = [*parameters, [ORDER_PLACED, REDEEMED]]
        what = "hashtextextended(u.code, 0), min(v.occurred_at), u.campaign, NULL::text"
        where = (
            f"FROM person_event v {_CODES} JOIN (SELECT DISTINCT t.profile, t.campaign, c.code FROM touches t "
            "CROSS JOIN LATERAL unnest(t.codes) AS c (code)) u ON u.profile = v.profile AND u.code = n.code "
            "WHERE v.bucket = $1::int AND v.profile = ANY($2::bigint[]) "
            f"AND v.name = ANY(${len(parameters)}::text[]) GROUP BY v.profile, u.campaign, u.code"
        )
    sql = f"SELECT {number}, v.profile, {what} {where}"
    return f"SELECT * FROM ({sql}) AS h{number} (definition, profile, ref, at, campaign, order_key)", parameters
