"""Erasure: all that is known of a number and its persons goes; that it was erased stays, by a keyed hash (CN-12).

    enter    the number and its pseudonym into the feed of STOPs ─► in force on every node, and the erasure has begun
    erase    queue, answers and replies by lane ─► persons, lists, consent and contacts by bucket ─► the entries of the
             feed stand under the pseudonym: the number is nowhere any more, and the erasure has ended

Each step may be repeated, and finds less. Whoever is killed between two leaves an entry of source `erased` with a
number in it: by that anybody finds what is left to be done (`begun`), in the order above.

Of the ledger of consent one row is left, under the pseudonym, in a chain of its own: how many rows there were, and the
hash of the last one, by which a proof that somebody holds is known to be of this chain.
Statements: sql/erasures.sql. Not here: the key and the hash (gateway/erasure.py), who asks before taking numbers in.
"""

import array
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from _fastpath.gate import page
from gateway.consent import EVERYTHING, Fact, Standing
from gateway.erasure import NOBODY, SOURCE, Erased, Key
from gateway.errors import StoreError
from gateway.person import hash_of
from gateway.store import admission, consents, identities, postgres, stops
from gateway.store.identities import MOVED, Again
from gateway.store.postgres import Connection
from gateway.store.queries import query

STEP_S = 60.0
# Numbers of one pass over the queue, and chunks of one step of it.
MOST_NUMBERS = 1000
CHUNKS_A_STEP = 500
ERASED_A_PAGE = 100_000
TRIES = 5
METHOD = "erasure"
OF_CONVERSATIONS = (
    "erase_conversations",
    "erase_conversation_messages",
    "erase_questions",
    "erase_owed",
    "erase_owed_of_persons",
    "erase_orders",
)

Fold = Callable[[Sequence[Fact]], Mapping[str, Standing]]


class Done(Struct, kw_only=True):
    """What went: persons, names in lists, positions of chunks, what handsets wrote, rows of consent."""

    persons: int = 0
    events: int = 0
    entries: int = 0
    messages: int = 0
    replies: int = 0
    consents: int = 0

    def add(self, other: "Done") -> None:
        """Add what another pass has found."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


async def door(connection: Connection, key: Key | None) -> Erased:
    """Read who was erased, for somebody who takes numbers in.

    raises  StoreError: somebody was, and the key is missing or another
    """
    named = await stops.erasure_key(connection)
    if named is None:
        return NOBODY
    made = Erased(named, key)
    found: list[int] = []
    while rows := await connection.fetch(query("erased"), found[-1] if found else 0, ERASED_A_PAGE):
        found += [row["number"] for row in rows]
    return Erased(named, key, found) if found else made


async def begun(connection: Connection, before: datetime) -> list[int]:
    """Name numbers whose erasure has begun before a moment and has not ended, at most MOST_NUMBERS."""
    return [row["number"] for row in await connection.fetch(query("erasing"), before, MOST_NUMBERS)]


async def enter(connection: Connection, numbers: Sequence[int], key: Key, *, at: datetime, note: str) -> int:
    """Begin to erase numbers: nobody writes to them from here on; -> the last number of the feed.

    raises  StoreError: another key was used before
    """
    await connection.execute(query("set_erasure_key"), key.digest, at)
    Erased(await stops.erasure_key(connection), key)
    seq = 0
    for start in range(0, len(numbers), stops.MOST_ENTRIES // 2):
        some = numbers[start : start + stops.MOST_ENTRIES // 2]
        # Their pseudonyms behind them: what the ledger proves is these.
        both = [*some, *key.of(some)]
        seq = await stops.enter(
            connection, both, [stops.EVERYTHING] * len(both), is_stop=True, at=at, source=SOURCE, note=note
        )
    return seq


async def erase(
    connection: Connection,
    numbers: Sequence[int],
    key: Key,
    prefixes: Mapping[int, str],
    now: datetime,
    fold: Fold,
) -> Done:
    """Erase some numbers, at most MOST_NUMBERS, that `enter` has entered and whose STOP is acknowledged.

    prefixes  the lanes, each with the country that its carrier's national numbers are of ("": it writes none)
    fold      what follows from the facts of consent (campaign.consent.states_at)
    raises    StoreError; it may be repeated by whoever comes
    cost      the payload of every chunk is read once: about 0.1 s for a million messages
    """
    done = Done()
    for lane, prefix in sorted(prefixes.items()):
        done.add(await _erase_lane(connection, lane, prefix, numbers, key))
    by_bucket: dict[int, list[int]] = {}
    for number in numbers:
        by_bucket.setdefault(hash_of(number), []).append(number)
    async with postgres.deadline(connection, STEP_S, "lists"):
        lists = [row["id"] for row in await connection.fetch(query("all_lists"))]
    for bucket, some in sorted(by_bucket.items()):
        async with postgres.deadline(connection, STEP_S, "erase consent"):
            await _prove(connection, some, key, now, fold)
        done.add(await _erase_bucket(connection, bucket, some, key, lists, now))
    # Whoever took the number in while we were at it has it gone now.
    for bucket, some in sorted(by_bucket.items()):
        done.add(await _erase_bucket(connection, bucket, some, key, lists, now))
    async with postgres.deadline(connection, STEP_S, "erase codes"):
        await connection.execute(query("erase_coupons"), list(numbers))
    async with postgres.deadline(connection, STEP_S, "erase stops"), connection.transaction():
        await connection.fetchval(query("hold_suppression_upto"))
        await connection.execute(query("erase_feed"), list(numbers), key.of(numbers))
        await connection.execute(query("erase_suppression"), list(numbers))
    return done


async def erase_late(
    connection: Connection, lane: int, erased: Erased, key: Key, since: datetime, until: datetime
) -> int:
    """Take the numbers of who was erased out of receipts that came on a lane in a span of time; -> how many numbers.

    cost  reads the receipts of that time; about 20 ns of ours each
    """
    told = array.array("q", await connection.fetchval(query("numbers_of_receipts"), lane, since, until) or b"")
    if sys.byteorder == "little":
        told.byteswap()
    found = sorted({told[at] for at in erased.places(told)})
    if found:
        async with connection.transaction():
            await connection.execute(query("erase_late_receipts"), lane, since, until, found)
            await connection.execute(query("erase_waiting"), lane, found, key.of(found))
            await connection.execute(query("erase_orphans"), lane, found)
    return len(found)


async def sources_of_handsets(connection: Connection, lane: int, since: datetime, until: datetime) -> list[str]:
    """Read who wrote on a lane in a span of time, as the SMSC wrote them."""
    return [row["source"] for row in await connection.fetch(query("sources_of_handsets"), lane, since, until)]


async def erase_persons(connection: Connection, places: Mapping[int, int], now: datetime) -> Done:
    """Erase persons (id -> bucket) whose number is to stay, or who have none."""
    done = Done()
    for id_, bucket in sorted(places.items()):
        async with postgres.deadline(connection, STEP_S, "erase"), connection.transaction():
            done.add(await _erase_persons(connection, bucket, [id_], now))
    return done


async def _erase_lane(connection: Connection, lane: int, prefix: str, numbers: Sequence[int], key: Key) -> Done:
    done = Done()
    pseudonyms = key.of(numbers)
    behind = -1
    while True:
        async with postgres.deadline(connection, STEP_S, f"erase on lane {lane}"):
            upto = await connection.fetchval(query("payload_page"), lane, behind, CHUNKS_A_STEP)
            if upto is None:
                break
            found = await connection.fetch(query("payload_places"), lane, behind, upto, list(numbers))
            if found:
                chunk_ids = [row["chunk_id"] for row in found]
                async with connection.transaction():
                    # Their receipts first: by the payload they are found again.
                    await connection.execute(
                        query("erase_receipts"), lane, chunk_ids, [row["pos"] for row in found], min(chunk_ids),
                        max(chunk_ids),
                    )  # fmt: skip
                    await connection.execute(
                        query("erase_payload"), lane, sorted(set(chunk_ids)), list(numbers), pseudonyms
                    )
                done.messages += len(found)
            behind = upto
    written = [form for number in numbers for form in forms_of(number, prefix)]
    async with postgres.deadline(connection, STEP_S, f"erase on lane {lane}"), connection.transaction():
        await connection.execute(query("erase_waiting"), lane, list(numbers), pseudonyms)
        await connection.execute(query("erase_orphans"), lane, list(numbers))
        await connection.execute(query("erase_parts"), lane, written)
        await connection.execute(query("erase_heard"), lane, written)
        await connection.execute(query("erase_inbound"), lane, written)
        done.replies += _rows(await connection.execute(query("erase_messages"), lane, written))
    return done


def forms_of(number: int, prefix: str) -> list[str]:
    """How an SMSC may write a number, digits alone (keywords.number_of reads them)."""
    text = str(number)
    found = [text, f"00{text}"]
    if prefix and text.startswith(prefix):
        found.append("0" + text.removeprefix(prefix))
    return found


async def _prove(connection: Connection, numbers: Sequence[int], key: Key, now: datetime, fold: Fold) -> None:
    """Write of each chain that is there what is left of it, once."""
    rows = await consents.rows_of(connection, numbers)
    facts = [
        Fact(
            number=key.pseudonyms.of(number), brand=EVERYTHING, class_="all", action="suppress", source="erased",
            recorded_at=now, effective_at=now, method=METHOD,
            wording=f"{one.head_id} rows were erased, the last one was {one.head_hash.hex()}",
        )
        for number, one in sorted(rows.items()) if one.head_id
    ]  # fmt: skip

    def is_new(known: Sequence[Fact], fact: Fact) -> bool:
        return all(one.wording != fact.wording for one in known if one.method == METHOD)

    await consents.append_where(connection, facts, is_new, fold)


async def _erase_bucket(
    connection: Connection, bucket: int, numbers: Sequence[int], key: Key, lists: Sequence[int], now: datetime
) -> Done:
    done = Done()
    told = list(numbers)
    octets = [number.to_bytes(8, "big") for number in told]
    pages = sorted({page(number) for number in told})
    for tried in range(TRIES):
        try:
            async with postgres.deadline(connection, STEP_S, "erase"), connection.transaction():
                rows = await connection.fetch(query("persons_of_numbers"), bucket, told)
                if rows:
                    done = await _erase_persons(connection, bucket, [row["id"] for row in rows], now)
                emptied = await connection.fetch(query("erase_entries"), bucket, told, list(lists))
                done.entries = len(emptied)
                await connection.execute(query("erase_list_changes"), bucket, told, list(lists))
                await connection.execute(query("erase_strikes"), bucket, told)
                await connection.execute(query("erase_assignments"), bucket, told)
                for opened in ("erase_links", "erase_clicks", "erase_page_entries"):
                    await connection.execute(query(opened), bucket, told)
                for name in OF_CONVERSATIONS:
                    await connection.execute(query(name), bucket, told)
                await connection.execute(query("erase_contacts"), bucket, pages, octets)
                await connection.execute(query("drop_empty_contacts"), bucket, pages)
                pseudonyms = [one.to_bytes(8, "big") for one in key.of(told)]
                await connection.execute(query("erase_skipped"), bucket, octets, pseudonyms)
                await connection.fetch(query("hold_consent_heads"), bucket, told)
                done.consents = _rows(await connection.execute(query("erase_consents"), bucket, told))
                await connection.execute(query("erase_consent_heads"), bucket, told)
                states = await connection.fetch(query("erase_consent_states"), bucket, told)
                await connection.execute(query("erase_endpoints"), bucket, told)
                await admission.refresh_consent_pages(connection, [(row["number"], row["brand"]) for row in states])
            break
        except Again:
            if tried == TRIES - 1:
                raise StoreError("erase: others changed the same persons all the time", retryable=True) from None
    for list_id in sorted({row["list"] for row in emptied}):
        async with postgres.deadline(connection, STEP_S, "count a list"):
            entries = await connection.fetchval(query("count_list_entries"), list_id)
            await connection.execute(query("note_list_entries"), list_id, entries)
    return done


async def _erase_persons(connection: Connection, bucket: int, ids: Sequence[int], now: datetime) -> Done:
    """Drop persons of a bucket, with all that is theirs; within the caller's transaction. raises Again."""
    await identities.hold(connection, dict.fromkeys(ids, bucket), now)
    done = Done(persons=len(ids))
    for table in (*MOVED, "audience_change"):
        tag = await connection.execute(query(f"erase_{table}"), bucket, list(ids))
        if table == "person_event":
            done.events = _rows(tag)
    await connection.execute(query("erase_identities"), list(ids))
    await connection.execute(query("erase_profiles"), bucket, list(ids))
    return done


def _rows(tag: str) -> int:
    return int(tag.rsplit(" ", 1)[1])
