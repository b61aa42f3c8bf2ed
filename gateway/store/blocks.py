"""What carriers answer that suppresses a number: read from outcomes and receipts, counted, entered. sql/blocks.sql.

    answers of a lane since the last look, and a while before ─► (number, kind, message) ─► strikes ─► enough? ─► feed

A message counts once, however often it is read; what is older than the last lifting of its number counts no more. So a
look that a crash has ended is taken again, and says nothing twice.
Not here: what an answer means (gateway.suppression, settings of the carrier), who looks (automation/blocks.py).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from _fastpath.peoplerows import bucket
from gateway.store import stops
from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.suppression import STRIKES, code_of

# Answers are written later than they came: by a flush, or when Postgres was away.
OVERLAP = timedelta(minutes=5)
# What is older says nothing of who has the number now.
COUNTS_FOR = timedelta(days=90)
MOST_ANSWERS = 5000


class Answer(Struct, frozen=True, kw_only=True):
    """A message to a number, and what its carrier has said of it."""

    number: int
    kind: str
    at: datetime
    chunk_id: int
    pos: int
    said: str


async def look(connection: Connection, lane: int, meanings: Mapping[str, str], now: datetime) -> int:
    """Read the answers of a lane since the last look, and suppress by them; -> numbers suppressed.

    meanings  of statuses and codes, as the settings of the carrier have them
    """
    upto = await connection.fetchval(query("block_upto"), lane)
    since = (upto or now) - OVERLAP
    kinds = {code_of(key): kind for key, kind in meanings.items()}
    suppressed = 0
    more = True
    while more:
        answers, more = await _answers(connection, lane, kinds, since, now + timedelta(seconds=1))
        suppressed += await _count(connection, lane, answers, now)
        if answers:
            # A page of one moment alone is passed over to the next: what is read again counts once.
            last = max(one.at for one in answers)
            since = last if last > since else since + timedelta(microseconds=1)
    await connection.execute(query("note_block_upto"), lane, now)
    return suppressed


async def forget(connection: Connection, key: int, now: datetime) -> None:
    """Forget of a bucket what is too old to count."""
    await connection.execute(query("forget_strikes"), key, now - COUNTS_FOR)


async def _answers(
    connection: Connection, lane: int, kinds: Mapping[int | str, str], since: datetime, until: datetime
) -> tuple[list[Answer], bool]:
    """Read a page of answers; -> them, and whether there are more."""
    found: list[Answer] = []
    ends: list[datetime] = []
    statuses = [code for code in kinds if isinstance(code, int)]
    errs = [code for code in kinds if isinstance(code, str)]
    for name, codes, column in (("blocking_outcomes", statuses, "status"), ("blocking_receipts", errs, "err")):
        if not codes:
            continue
        rows = await connection.fetch(query(name), lane, codes, since, until, MOST_ANSWERS)
        if len(rows) == MOST_ANSWERS:
            ends.append(rows[-1]["at"])
        for row in rows:
            if row["number"]:
                said = f"0x{row[column]:X}" if column == "status" else f"err {row[column]}"
                found.append(
                    Answer(
                        number=row["number"], kind=kinds[row[column]], at=row["at"], chunk_id=row["chunk_id"],
                        pos=row["pos"], said=said,
                    )
                )  # fmt: skip
    # Behind the end of a full page nothing of the other may be passed over.
    end = min(ends, default=None)
    return ([one for one in found if end is None or one.at <= end], bool(ends))


async def _count(connection: Connection, lane: int, answers: Sequence[Answer], now: datetime) -> int:
    numbers = sorted({one.number for one in answers})
    if not numbers:
        return 0
    lifted = await stops.lifted_at(connection, numbers)
    counting = [one for one in answers if one.number not in lifted or one.at > lifted[one.number]]
    by_bucket: dict[int, list[Answer]] = {}
    for one in counting:
        by_bucket.setdefault(bucket(one.number), []).append(one)
    counts: dict[tuple[int, str], int] = {}
    for key, some in sorted(by_bucket.items()):
        await connection.execute(
            query("add_strikes"), key, lane, [one.number for one in some], [one.kind for one in some],
            [one.chunk_id for one in some], [one.pos for one in some], [one.at for one in some],
        )  # fmt: skip
        rows = await connection.fetch(query("strikes_of"), key, sorted({one.number for one in some}), now - COUNTS_FOR)
        for row in rows:
            if row["number"] not in lifted or row["at"] > lifted[row["number"]]:
                counts[row["number"], row["kind"]] = counts.get((row["number"], row["kind"]), 0) + 1
    known = await stops.reasons(connection, numbers)
    said = {(one.number, one.kind): one.said for one in counting}
    entered = 0
    by_note: dict[tuple[str, str], list[int]] = {}
    for (number, kind), words in said.items():
        if kind not in known.get(number, {}) and counts.get((number, kind), 0) >= STRIKES.get(kind, 1):
            by_note.setdefault((kind, f"lane {lane}: {words}"), []).append(number)
    for (kind, note), some_numbers in by_note.items():
        await stops.enter(
            connection, some_numbers, [stops.EVERYTHING] * len(some_numbers), is_stop=True, at=now, source=kind,
            note=note,
        )  # fmt: skip
        entered += len(some_numbers)
    return entered
