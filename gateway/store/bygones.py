"""What campaigns leave behind, and what of it stays: what is over goes, unless somebody could enter once more for it.

    enrolment that ended long ago ─► gone, with its steps and what exceptions did to its texts
        of a silence (TR-6)                                 stays for ever without what its cause said: the same last
                                                            order brings nobody twice, however long they buy nothing
        that was in it, and enters once, or once for a key  stays so, too (TR-4)
        that was in it, and enters once in a period         stays until the period is over
    occurrence of a calendar    gone, but for the newest: the next one is reckoned from it (TR-7)
    order by text               gone when it is over; arm of a number: when its experiment is over
    cause                       gone when nobody has decided about it for so long
    run of a step and day       gone, but for the newest of the step: what was counted of it is counted there

Nothing that is under way goes, nor an occurrence, an order or an arm that is still asked for. An event is known again
for as long as [retention] seen_days says, so the enrolment of one is needed no longer than that (TR-3). Ids of
enrolments begin with the moment they were made: the old ones are found without an index of their own.
Each call is a small transaction of one bucket and may be repeated. Statements: sql/bygones.sql.
Not here: when that is, and how long is long ago (dispatch/retention.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.document import again_of, seconds_of
from gateway.offer import OPEN, STATES
from gateway.store import campaigns, profiles
from gateway.store.enrolments import REFUSED
from gateway.store.postgres import Connection
from gateway.store.queries import query

# Ids of a bucket that are looked at in one step, and rows of the rest that go in one.
LOOKED_AT = 2000
ROWS_A_STEP = 500
RUNS_A_ROUND = 10_000
_OF_RUNS = ("fold_touches", "fold_owed", "fold_reached", "fold_clicks")
# States of an order in which nothing more comes of it by itself.
_OVER = tuple(place for place, state in enumerate(STATES) if state not in OPEN and state != "ordering")


class Rules(Struct, frozen=True, kw_only=True):
    """What campaigns still need of those who were in them, as they are entered by their live and their newest version.

    kept     campaigns that somebody enters once, or once for a key
    periods  campaigns that somebody enters once in a period, and how long the longest of it is
    """

    kept: tuple[int, ...] = ()
    periods: tuple[tuple[int, timedelta], ...] = ()


class Looked(Struct, frozen=True, kw_only=True):
    """What a step has looked at: how far it came, None = to the end; and rows that are gone or have become less."""

    behind: int | None
    rows: int


async def rules(connection: Connection) -> Rules:
    """Read what campaigns need of those who were in them."""
    kept: list[int] = []
    periods: dict[int, timedelta] = {}
    for one in await campaigns.every(connection):
        for version in {one.version, one.live_version or one.version}:
            document = (await campaigns.version_of(connection, one.id, version)).document
            again = again_of(document)
            if again in ("once", "per_key"):
                kept.append(one.id)
            elif again == "period":
                period = timedelta(seconds=seconds_of(document.entry.period))
                periods[one.id] = max(periods.get(one.id, period), period)
    return Rules(kept=tuple(kept), periods=tuple(periods.items()))


async def forget_enrolments(
    connection: Connection, bucket: int, behind: int, before: datetime, now: datetime, of: Rules
) -> Looked:
    """Look through some enrolments of a bucket, behind an id, and drop what ended before a moment and is not needed.

    cost  reads the rows that stay once more each time: as many as people who were in campaigns of a silence, or once
    """
    async with connection.transaction():
        rows = await connection.fetch(
            query("old_enrolments"), bucket, behind, profiles.least_id(before), before, LOOKED_AT, of.kept,
            [campaign for campaign, _ in of.periods], [now - period for _, period in of.periods], REFUSED,
        )  # fmt: skip
        gone = [row["id"] for row in rows if row["is_over"] and not row["is_needed"]]
        less = [row["id"] for row in rows if row["is_over"] and row["is_needed"]]
        changed = 0
        if gone:
            changed += _rows(await connection.execute(query("drop_old_enrolments"), bucket, gone))
        if less:
            changed += _rows(await connection.execute(query("empty_enrolments"), bucket, less))
        if gone or less:
            changed += _rows(await connection.execute(query("drop_old_step_runs"), bucket, gone + less))
            changed += _rows(await connection.execute(query("drop_old_excepted"), bucket, gone + less))
    return Looked(behind=rows[-1]["id"] if len(rows) == LOOKED_AT else None, rows=changed)


async def forget_ticks(connection: Connection, before: datetime) -> int:
    """Drop occurrences of before a moment, but for the newest of each campaign; -> how many."""
    return _rows(await connection.execute(query("forget_ticks"), before))


async def forget_text_orders(connection: Connection, bucket: int, before: datetime) -> int:
    """Drop some orders by text of a bucket that were over before a moment; -> how many."""
    return _rows(await connection.execute(query("forget_text_orders"), bucket, before, _OVER, ROWS_A_STEP))


async def forget_causes(connection: Connection, bucket: int, before: datetime) -> int:
    """Drop some causes of a bucket that were told before a moment, and that nobody has decided about; -> how many."""
    return _rows(await connection.execute(query("forget_causes"), bucket, before, ROWS_A_STEP))


async def old_experiments(connection: Connection, before: datetime) -> list[int]:
    """Name the experiments that were over before a moment."""
    return [row["id"] for row in await connection.fetch(query("old_experiments"), before)]


async def forget_arms(connection: Connection, bucket: int, experiments: Sequence[int], before: datetime) -> int:
    """Drop some arms that numbers of a bucket got before a moment, of experiments that are over; -> how many."""
    return _rows(await connection.execute(query("forget_arms"), bucket, experiments, before, ROWS_A_STEP))


async def old_step_runs(connection: Connection, lanes: Sequence[int], before: datetime) -> dict[int, int]:
    """Find runs of steps, each of a day, that were made before a moment and of which nothing is queued or kept.

    ->    by run, the newest of its step, which stays; some of them, where there are very many
    cost  reads the runs of all campaigns; a statement a lane
    """
    rows = await connection.fetch(query("old_step_runs"), before, 0, RUNS_A_ROUND)
    newest = {row["run"]: row["newest"] for row in rows}
    ids = set(newest)
    for lane in lanes:
        ids -= {row["run"] for row in await connection.fetch(query("runs_with_chunks"), lane, sorted(ids))}
    if ids:
        ids -= {row["run"] for row in await connection.fetch(query("runs_with_texts"), sorted(ids))}
    return {run: newest[run] for run in sorted(ids)}


async def fold_lane(connection: Connection, lane: int, newest: Mapping[int, int]) -> int:
    """Count what was counted of runs on a lane as of the newest of their steps; -> rows. Once more changes nothing."""
    async with connection.transaction():
        await connection.execute(query("fold_message_days"), lane, list(newest), list(newest.values()))
        await connection.execute(query("drop_counters"), lane, list(newest))
        return _rows(await connection.execute(query("drop_folded_days"), lane, list(newest)))


async def fold_bucket(connection: Connection, bucket: int, newest: Mapping[int, int]) -> int:
    """Have what is known of people of a bucket by run be of the newest of the step; -> rows.

    cost  reads what reports have of the bucket
    """
    async with connection.transaction():
        return sum(
            [
                _rows(await connection.execute(query(name), bucket, list(newest), list(newest.values())))
                for name in _OF_RUNS
            ]
        )


async def drop_step_runs(connection: Connection, runs: Sequence[int]) -> int:
    """Drop runs that all lanes and buckets were folded of; -> how many."""
    async with connection.transaction():
        await connection.execute(query("drop_campaign_runs"), runs)
        await connection.execute(query("drop_rate_plans"), runs)
        return _rows(await connection.execute(query("drop_runs"), runs))


def _rows(tag: str) -> int:
    return int(tag.rsplit(" ", 1)[1])
