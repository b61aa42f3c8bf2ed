"""What the gate asks Postgres, and what it tells: pages of consent, pages of contacts, chunks that wait.

    hold_buckets ─► consent, contacts, why_suppressed ─► (the gate decides) ─► reserve ─► COMMIT      people's side
    put_off, put_aside                                                                                  the lane's side

Everything of the first line is one transaction on the people's tables: who races for the same people waits for its
COMMIT, and sees what it has reserved (CP-3). Octets go from Postgres to _fastpath.gate and back: nobody is a row here.
Statements: sql/admission.sql. Not here: who decides (campaign.admission), consent itself (consents.py).
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, TypeAlias

from _fastpath.gate import CONTACT_COLUMNS, page
from _fastpath.peoplerows import bucket
from gateway.errors import StoreError
from gateway.store import control, queue
from gateway.store.postgres import Connection
from gateway.store.queries import query

Kind = Literal["brand", "tag", "zone"]
# Buckets, first pages and last ones: of Questions.spans.
Spans: TypeAlias = tuple[Sequence[int], Sequence[int], Sequence[int]]
LAST_TAG = 62


async def hold_buckets(connection: Connection, buckets: Iterable[int]) -> None:
    """Let nobody else decide about people of some buckets until this transaction ends."""
    await connection.fetch(query("hold_buckets"), sorted(set(buckets)))


async def gates(connection: Connection, asked: Iterable[int]) -> dict[int, str]:
    """Read what some runs ask of everybody, as JSON of a Gate: a limit that is lowered holds from the next claim on."""
    rows = await connection.fetch(query("gates"), sorted(set(asked)))
    return {row["id"]: row["gate"] for row in rows}


async def consent(connection: Connection, spans: Spans, brand: str) -> bytes:
    """Read the consent of everybody in some pages; -> octets for Questions.read_consent."""
    return await connection.fetchval(query("consent_pages"), *spans, brand) or b""


async def contacts(connection: Connection, spans: Spans, since: datetime, until: datetime) -> bytes:
    """Read who of some pages was written to since, or is to be until; -> octets for Questions.read_contacts."""
    return await connection.fetchval(query("contact_pages"), *spans, since, until) or b""


async def pending(connection: Connection, asked: Iterable[int], now: datetime) -> set[int]:
    """Say which of some runs still have something to send, and may: they are queued, not over, and not paused."""
    standing = (await control.state(connection, now)).standing("campaign")
    paused = set(await control.runs_of(connection, list(standing)))
    found = set()
    for run_id in sorted(set(asked) - paused):
        run = await connection.fetchrow(query("run_by_id"), run_id)
        if run is None or run["enqueued_at"] is None or run["cancelled_at"] is not None:
            continue
        if run["expires_at"] is not None and run["expires_at"] <= now:
            continue
        if await connection.fetchval(query("open_chunks"), run_id):
            found.add(run_id)
    return found


async def why_suppressed(connection: Connection, numbers: Sequence[int], scopes: Sequence[str]) -> dict[int, str]:
    """Read what has suppressed numbers; -> source by number; what the copy of the feed lacks yet is left out."""
    rows = await connection.fetch(query("why_suppressed"), numbers, scopes)
    return {row["number"]: row["source"] for row in rows}


async def reserve(connection: Connection, octets: bytes) -> None:
    """Write contact rows: octets of gate.CONTACT_COLUMNS."""
    await connection.copy_to_table("contact_page", source=_once(octets), columns=CONTACT_COLUMNS, format="binary")


async def refresh_consent_pages(connection: Connection, changed: Iterable[tuple[int, str]]) -> None:
    """Write the pages of (number, brand) anew from consent_state: in the transaction that has changed it, behind that.

    cost  a statement for all; some tenths of a millisecond a page
    """
    places = sorted({(bucket(number), page(number), brand) for number, brand in changed})
    if places:
        buckets, pages, brands = zip(*places, strict=True)
        await connection.execute(query("open_consent_pages"), buckets, pages, brands)
        await connection.execute(query("fill_consent_pages"), buckets, pages, brands)


async def id_of(connection: Connection, kind: Kind, name: str) -> int:
    """Find the small number of a name, or give it one.

    raises  StoreError: there is none left
    """
    for _ in range(20):
        found = await connection.fetchval(query("name_id"), kind, name)
        if found is not None:
            return int(found)
        await connection.execute(query(f"add_{kind}"), name)
    raise StoreError(f"{kind} {name!r}: no number could be given")


async def known_id(connection: Connection, kind: Kind, name: str) -> int | None:
    """Find the small number of a name; None: it has none, so nothing was ever noted of it."""
    found = await connection.fetchval(query("name_id"), kind, name)
    return None if found is None else int(found)


async def zone_names(connection: Connection) -> Mapping[int, str]:
    """Name the zones that pages carry."""
    return {row["id"]: row["name"] for row in await connection.fetch(query("zone_names"))}


async def put_off(connection: Connection, lane: int, chunks: Sequence[tuple[int, int, int, datetime]]) -> int:
    """Give chunks back until their moment, (chunk id, epoch, what really left, moment); -> how many were still ours."""
    ids, epochs, upto, until = zip(*chunks, strict=True)
    return len(await connection.fetch(query("put_off"), lane, ids, epochs, upto, until))


async def put_aside(
    connection: Connection,
    lane: int,
    chunk_id: int,
    epoch: int,
    waiting: Mapping[datetime, Sequence[int]],
    now: datetime,
) -> bool:
    """Let some positions of a claimed chunk wait in chunks of their own, by moment; -> False: it is not ours any more.

    Committed before the batch is handed out: a position that waits leaves nothing behind when its rank is passed.
    """
    async with connection.transaction():
        if not await connection.fetchval(query("own_chunk"), lane, chunk_id, epoch):
            return False
        for until, positions in sorted(waiting.items()):
            copy, found = await queue.copy_positions(connection, lane, chunk_id, positions, now)
            if found:
                await connection.execute(query("wait_chunk"), lane, copy, until)
    return True


async def set_aside(connection: Connection, lane: int, chunk_ids: Sequence[int]) -> dict[int, set[int]]:
    """Read which positions of chunks go on in others since an earlier claim, by chunk."""
    rows = await connection.fetch(query("set_aside"), lane, chunk_ids)
    return {row["chunk_id"]: set(row["positions"]) for row in rows}


async def acts(connection: Connection, lane: int, chunk_ids: Sequence[int]) -> dict[int, int]:
    """Say what reserves for the messages of chunks of a run that may write to a number more than once, by chunk.

    Each of its messages has a place of its own, by the chunk that it was made in: a copy has that of its origin, in
    whichever lane. A chunk of a run stands far above all numbers of runs, so the two are never one.

    cost  nothing for chunks that are no copies; a statement a step back
    """
    places = {chunk_id: (lane, chunk_id) for chunk_id in chunk_ids}
    asked = {place for place in places.values() if _is_copy(place[1])}
    while asked:
        origins: dict[tuple[int, int], tuple[int, int]] = {}
        for of_lane in sorted({of_lane for of_lane, _ in asked}):
            ids = sorted(id_ for other, id_ in asked if other == of_lane)
            for row in await connection.fetch(query("origins"), of_lane, ids):
                before = of_lane if row["from_lane"] is None else row["from_lane"]
                origins[of_lane, row["id"]] = before, row["repeats"]
        places = {chunk_id: origins.get(place, place) for chunk_id, place in places.items()}
        asked = {place for place in origins.values() if _is_copy(place[1])}
    return {chunk_id: _act(*place) for chunk_id, place in places.items()}


def _is_copy(chunk_id: int) -> bool:
    return chunk_id & ((1 << queue.CHUNK_BITS) - 1) >= queue.FIRST_REPEAT


def _act(lane: int, chunk_id: int) -> int:
    # Ids of chunks are each lane's own; those of the next centuries leave five bits.
    return (lane & 31) << 58 ^ chunk_id


async def _once(octets: bytes) -> AsyncIterator[bytes]:
    yield octets
