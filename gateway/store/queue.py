"""The queue: claim, advance, settle, release, rescue, match — always in batches, one lane a statement.

    chunk READY ─ claim ─► CLAIMED ─ settle (finish) ─► DONE
                    ▲          │
                    └─ release ┤  (given back: above the watermark nothing was sent)
                    └─ rescue ─┘  (owner dead: below the watermark and without an outcome = in doubt)

What was claimed leaves as the octets of a COPY; what is settled comes as such. Every call belongs to one connection and
stands under the caller's deadline. Statements: sql/queue.sql.
Not here: runs and carriers (runs.py), counting (results.py), what handsets write (inbound.py).
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from _fastpath.batch import Batch, read_batches, stride_of
from _fastpath.copyrows import OUTCOME_COLUMNS, RECEIPT_COLUMNS, WAITING_COLUMNS
from _fastpath.recall import RULES
from gateway.message import Refusal
from gateway.store import endings, inbound
from gateway.store.endings import Shut
from gateway.store.inbound import Came
from gateway.store.postgres import Connection
from gateway.store.queries import query

# Chunks of a run have 20 bits; repeats stand in the upper half of them.
CHUNK_BITS = 20
# Tells dispatchers of a lane (the payload) that a chunk of a strict class is there.
CHANNEL = "sluice_queue"
FIRST_REPEAT = 1 << (CHUNK_BITS - 1)
# Who claimed a chunk first and who rescues it may be two machines.
CLOCKS_APART = timedelta(days=1)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
# Carriers keep a message for 72 hours at the most, as a rule, and tell of its end within a day.
ADOPTION_WINDOW = timedelta(days=4)


class Flush(Struct, frozen=True, kw_only=True):
    """What one transaction settles for one lane.

    id          unique in the lane: a repeat of a flush that was carried out fails on it, so nothing is written twice
    outcomes    octets of a binary COPY, as receipts and waiting; None = nothing
    finished    (chunk id, epoch)
    cancelled   chunks of cancelled runs that end before all of them has left
    returned    (chunk id, epoch, positions that really left) that go back to the queue
    """

    id: int
    at: datetime
    outcomes: bytes | None = None
    receipts: bytes | None = None
    waiting: bytes | None = None
    inbound: Came | None = None
    finished: tuple[tuple[int, int], ...] = ()
    cancelled: tuple[Shut, ...] = ()
    returned: tuple[tuple[int, int, int], ...] = ()


class Unheard(Struct, frozen=True, kw_only=True):
    """An accepted segment of which no end is known.

    at      when it was accepted
    source  from whom (chunk.source); empty: the carrier's own
    """

    at: datetime
    chunk_id: int
    pos: int
    segment: int
    message_id: str
    source: str

    @property
    def key(self) -> tuple[int, int, int]:
        """Which segment it is, in its lane."""
        return self.chunk_id, self.pos, self.segment


class Queried(Struct, frozen=True, kw_only=True):
    """What the SMSC has said of a segment when it was asked, and when."""

    of: Unheard
    at: datetime
    state: int
    err: str
    done_at: datetime | None


class Paused(Struct, frozen=True, kw_only=True):
    """What is not to be claimed.

    senders  as chunk.source names them: empty stands for the carrier's own
    """

    runs: tuple[int, ...] = ()
    countries: tuple[int, ...] = ()
    senders: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.runs or self.countries or self.senders)


NOTHING_PAUSED = Paused()


class Claimed(Struct, frozen=True, kw_only=True):
    """What a claim took.

    batches   the most urgent first
    sources   by chunk id: from whom, where that is not the carrier's own sender
    unread    (chunk id, epoch, why) of chunks that cannot be read: to be held
    """

    batches: list[Batch]
    sources: Mapping[int, str] = {}
    unread: tuple[tuple[int, int, str], ...] = ()


async def claim(
    connection: Connection,
    lane: int,
    owner: str,
    now: datetime,
    limit: int,
    last_class: int = 5,
    paused: Paused = NOTHING_PAUSED,
) -> Claimed:
    """Take up to `limit` chunks of a lane. One that cannot be read does not keep the others from leaving.

    last_class  of this class or a more urgent one
    cost  two statements, about 1 ms and 10 us a chunk of 1000; no Python object a recipient
    """
    if paused:
        barred = paused.runs, paused.countries, paused.senders
        rows = await connection.fetch(query("claim_unpaused"), lane, owner, now, limit, last_class, *barred)
    else:
        rows = await connection.fetch(query("claim"), lane, owner, now, limit, last_class)
    if not rows:
        return Claimed(batches=[])
    epochs = {row["id"]: row["epoch"] for row in rows}
    unread: dict[int, str] = {}
    try:
        batches = read_batches(await _payload(connection, lane, list(epochs)))
    except ValueError:
        batches = []
        for chunk_id in sorted(epochs):
            try:
                batches += read_batches(await _payload(connection, lane, [chunk_id]))
            except ValueError as error:
                unread[chunk_id] = str(error)
    for chunk_id in epochs.keys() - {batch.chunk_id for batch in batches} - unread.keys():
        unread[chunk_id] = "its payload is not there"
    sources = {row["id"]: row["source"] for row in rows if row["source"]}
    return Claimed(
        batches=batches,
        sources=sources,
        unread=tuple((chunk_id, epochs[chunk_id], why) for chunk_id, why in unread.items()),
    )


async def _payload(connection: Connection, lane: int, chunk_ids: list[int]) -> bytes:
    pieces: list[bytes] = []

    async def take(octets: bytes) -> None:
        pieces.append(octets)

    await connection.copy_from_query(query("claimed_payload"), lane, chunk_ids, output=take, format="binary")
    return b"".join(pieces)


async def disown(connection: Connection, lane: int, owner: str, in_hand: Sequence[int]) -> int:
    """Give back what a claim took whose answer was lost; -> chunks. Only the owner itself may say so.

    in_hand  the chunks that it does have
    """
    return len(await connection.fetch(query("disown"), lane, owner, list(in_hand)))


async def flush(connection: Connection, lane: int, what: Flush) -> None:
    """Settle in one transaction: all of it is durable when this returns."""
    async with connection.transaction():
        await connection.execute(query("note_flush"), lane, what.id, what.at)
        if what.cancelled:
            await endings.end_claimed(connection, lane, what.cancelled, Refusal.CANCELLED, what.at)
        for table, columns, octets in (
            ("outcome", OUTCOME_COLUMNS, what.outcomes),
            ("receipt", RECEIPT_COLUMNS, what.receipts),
            ("receipt_waiting", WAITING_COLUMNS, what.waiting),
        ):
            if octets is not None:
                await connection.copy_to_table(table, source=_once(octets), columns=columns, format="binary")
        if what.finished:
            ids, epochs = zip(*what.finished, strict=True)
            await connection.execute(query("finish"), lane, ids, epochs)
        await release(connection, lane, what.returned)
        if what.inbound is not None:
            # Last, since one worker at a time does it: the turn ends with the COMMIT.
            await inbound.keep(connection, lane, what.inbound)


async def advance(connection: Connection, lane: int, marks: Sequence[tuple[int, int, int]]) -> set[int]:
    """Move watermarks, (chunk id, epoch, sent_upto); -> the chunks that are still ours.

    Repeatable: a watermark never goes back. A chunk missing in the answer has another owner, or is closed.
    """
    ids, epochs, upto = zip(*marks, strict=True)
    rows = await connection.fetch(query("advance"), lane, ids, epochs, upto)
    return {row["id"] for row in rows}


async def flush_known(connection: Connection, lane: int, flush_id: int) -> bool:
    """Find out whether a flush was committed."""
    return bool(await connection.fetchval(query("flush_known"), lane, flush_id))


async def release(connection: Connection, lane: int, chunks: Sequence[tuple[int, int, int]]) -> None:
    """Give chunks back: (id, epoch, positions that really left). A clean stop leaves nothing in doubt."""
    if chunks:
        ids, epochs, upto = zip(*chunks, strict=True)
        await connection.execute(query("release"), lane, ids, epochs, upto)


async def hold(connection: Connection, lane: int, chunks: Sequence[tuple[int, int]]) -> None:
    """Set claimed chunks aside until a person looks at them."""
    if chunks:
        ids, epochs = zip(*chunks, strict=True)
        await connection.execute(query("hold_chunks"), lane, ids, epochs)


async def claim_owners(connection: Connection, lane: int) -> list[str]:
    """Name who has claimed chunks of a lane."""
    return [row["owner"] for row in await connection.fetch(query("claim_owners"), lane)]


async def rescue(connection: Connection, lane: int, dead: Sequence[str], now: datetime) -> tuple[int, int]:
    """Take chunks from owners that are dead; -> (chunks, segments put in doubt).

    dead     instances known to be gone, who send nothing any more
    cost     one look at the outcomes of the chunks taken, however many they are
    """
    async with connection.transaction():
        chunks = await connection.fetch(query("abandoned_chunks"), lane, list(dead))
        if not chunks:
            return 0, 0
        doubted = 0
        begun = [chunk for chunk in chunks if chunk["sent_upto"]]
        if begun:
            since = min(chunk["first_claimed_at"] or now for chunk in begun) - CLOCKS_APART
            tag = await connection.execute(
                query("doubt"), lane, [c["id"] for c in begun], [stride_of(c["n"]) for c in begun],
                [c["n"] for c in begun], [c["sent_upto"] for c in begun], [c["epoch"] for c in begun], now, since,
            )  # fmt: skip
            doubted = int(tag.rsplit(" ", 1)[1])
        await connection.execute(query("requeue"), lane, [chunk["id"] for chunk in chunks])
    return len(chunks), doubted


class Sent(Struct, frozen=True):
    """What left a lane in one second or minute."""

    source: str
    campaign: str
    country: int
    at: datetime
    pdus: int
    messages: int


async def sent_since(connection: Connection, lane: int, since: datetime, now: datetime) -> list[Sent]:
    """Count what left a lane between two moments, by sender, campaign and country; reads those outcomes whole."""
    rows = await connection.fetch(query("sent_since"), lane, since, now, now - timedelta(seconds=61))
    return [
        Sent(row["source"], row["campaign"], row["country"], row["moment"], row["pdus"], row["messages"])
        for row in rows
    ]


async def listen(connection: Connection, lane: int, on_urgent: Callable[[], None]) -> None:
    """Call back whenever something urgent is enqueued on a lane, as long as the connection lives."""

    def heard(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        if payload == str(lane):
            on_urgent()

    await connection.add_listener(CHANNEL, heard)


async def match(
    connection: Connection,
    lane: int,
    since: datetime,
    until: datetime = LATEST,
    *,
    rule: str = "auto",
    every: bool = True,
    fixed: bool = False,
) -> dict[str, int]:
    """Move waiting receipts that came in a span of time to the segments they name; -> how many by each rule.

    rule   of _fastpath.recall.RULES, that is believed by itself; every: try the others too; fixed: no other counts
    cost   a look into the index of outcomes for each form of an id, in each partition
    """
    rows = await connection.fetch(query("match"), lane, since, until, RULES.index(rule), every and not fixed, fixed)
    return {RULES[row["rule"]]: row["receipts"] for row in rows}


async def adopt(
    connection: Connection,
    lane: int,
    waited_since: datetime,
    slack: timedelta,
    window: timedelta = ADOPTION_WINDOW,
    nameless_since: datetime | None = None,
) -> int:
    """Give waiting receipts to segments in doubt where the evidence is unambiguous; -> how many.

    waited_since  only receipts that have waited since then: the ordinary match goes first
    slack         a receipt may be so much older than the moment the segment fell into doubt (the time-out, the lease)
    window        and so much younger
    nameless_since   segments accepted since then without a message_id may be meant, too; None = there are none
    """
    tag = await connection.execute(query("adopt"), lane, waited_since, slack, window, nameless_since)
    return int(tag.rsplit(" ", 1)[1])


async def contested(connection: Connection, lane: int, waited_since: datetime) -> int:
    """Count waiting receipts that name the number of a segment in doubt and were not adopted."""
    return int(await connection.fetchval(query("adoption_contested"), lane, waited_since))


async def orphan(connection: Connection, lane: int, before: datetime, limit: int = 10_000) -> int:
    """Set aside receipts that have waited since before then; -> how many, of one time or about `limit`."""
    tag = await connection.execute(query("orphan"), lane, before, limit)
    return int(tag.rsplit(" ", 1)[1])


async def unheard(
    connection: Connection,
    lane: int,
    since: datetime,
    until: datetime,
    limit: int,
    *,
    behind: Unheard | None,
    asked_since: datetime,
    unknown_is_final: bool,
) -> list[Unheard]:
    """Read accepted segments of a span of time of which no end is known, the oldest first.

    behind       the last one of the call before; None = from the start
    asked_since  one whose state the SMSC has told on a question since then is left out
    cost         reads the partitions of outcomes and receipts since then
    """
    at, key = (behind.at, behind.key) if behind is not None else (since, (0, 0, 0))
    rows = await connection.fetch(
        query("unheard"), lane, max(since, at), until, at, *key, limit, asked_since, unknown_is_final
    )
    return [Unheard(**dict(row)) for row in rows]


async def heard(
    connection: Connection, lane: int, segments: Sequence[Unheard], *, asked_since: datetime, unknown_is_final: bool
) -> set[tuple[int, int, int]]:
    """Say of which of these segments the end is known by now, or was asked for since then; -> their keys."""
    since = min(one.at for one in segments)
    keys = [list(column) for column in zip(*(one.key for one in segments), strict=True)]
    rows = await connection.fetch(query("heard"), lane, *keys, since, asked_since, unknown_is_final)
    return {(row["chunk_id"], row["pos"], row["segment"]) for row in rows}


async def add_queried(connection: Connection, lane: int, told: Sequence[Queried]) -> None:
    """Write what the SMSC has said of segments when it was asked, as receipts of the source query."""
    await connection.execute(
        query("add_queried"), lane, [one.of.chunk_id for one in told], [one.at for one in told],
        [one.of.pos for one in told], [one.done_at for one in told], [one.of.segment for one in told],
        [one.state for one in told], [one.of.message_id for one in told], [one.err for one in told],
    )  # fmt: skip


async def receipt_rule(connection: Connection, lane: int) -> str:
    """Read which rule of message_ids was learnt for a lane: a name of _fastpath.recall.RULES, auto = none yet."""
    return str(await connection.fetchval(query("receipt_rule"), lane) or "auto")


async def learn_receipt_rule(
    connection: Connection, lane: int, rule: str, now: datetime, instead_of: str = "auto"
) -> bool:
    """Keep the rule that was learnt in place of another; -> False where a third one stands by now."""
    return await connection.fetchval(query("learn_receipt_rule"), lane, rule, now, instead_of) is not None


async def keep_receipt_habit(
    connection: Connection, lane: int, *, delivered_wins: bool, unknown_is_final: bool, deadline_s: float | None
) -> None:
    """Keep what reports have to know of a carrier's settings (sql/results.sql)."""
    await connection.execute(query("keep_receipt_habit"), lane, delivered_wins, unknown_is_final, deadline_s)


async def any_waiting(connection: Connection, lane: int) -> bool:
    """Say whether any receipt of a lane waits."""
    return bool(await connection.fetchval(query("waiting_exist"), lane))


async def repeat(connection: Connection, lane: int, doubted_before: datetime, now: datetime) -> int:
    """Queue what is in doubt since before that moment once more, for runs of policy at_least_once; -> positions.

    Each position is repeated once: its chunk remembers it, and the copy is a chunk of its own with `repeats` set.
    """
    rows = await connection.fetch(query("repeatable"), lane, doubted_before, now)
    positions: dict[int, list[int]] = {}
    for row in rows:
        positions.setdefault(row["chunk_id"], []).append(row["pos"])
    total = 0
    for chunk_id, found in positions.items():
        async with connection.transaction():
            total += len((await copy_positions(connection, lane, chunk_id, found, now))[1])
    return total


async def requeue(
    connection: Connection, lane: int, chunk_id: int, epoch: int, positions: Sequence[int], now: datetime
) -> int:
    """Queue positions of a claimed chunk of ours anew, of which nothing was accepted; -> how many; 0: it is not ours.

    For who stops, or has no bind any more, while they wait for another try.
    """
    async with connection.transaction():
        if not await connection.fetchval(query("own_chunk"), lane, chunk_id, epoch):
            return 0
        return len((await copy_positions(connection, lane, chunk_id, positions, now))[1])


async def copy_positions(
    connection: Connection, lane: int, chunk_id: int, positions: Sequence[int], now: datetime
) -> tuple[int, list[int]]:
    """Make a chunk of some positions of another; -> its id, and those in it: what was copied before is left out."""
    first = (chunk_id >> CHUNK_BITS << CHUNK_BITS) + FIRST_REPEAT
    copy: int = await connection.fetchval(query("next_repeat_id"), lane, first, first + FIRST_REPEAT)
    noted = await connection.fetch(query("note_repeated"), lane, chunk_id, positions, copy, now)
    fresh = [row["pos"] for row in noted]
    if fresh:
        await connection.execute(query("repeat_payload"), lane, chunk_id, fresh, copy)
        await connection.execute(query("repeat_chunk"), lane, chunk_id, copy, len(fresh))
    return copy, fresh


async def forget_flushes(connection: Connection, lane: int, before: datetime) -> None:
    """Drop the notes of flushes older than that."""
    await connection.execute(query("forget_flushes"), lane, before)


async def _once(octets: bytes) -> AsyncIterator[bytes]:
    yield octets
