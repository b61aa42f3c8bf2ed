"""The feed of STOPs: entered by whoever hears one, followed by every sender. Statements: sql/stops.sql.

    enter ─► row of stop_head held ─► stop_feed + NOTIFY ─► COMMIT       from here on it is in force
                                          │
                     senders: after(last seen) by the NOTIFY, and by a poll ─► their sets ─► confirm(instance, seq)
                     copy: suppression, on every node, for joins and for the start of a worker

Numbers of the feed are without gaps in the order of the COMMITs: who remembers the last one misses none. A scope is '*'
(everything), 'promotional', or 'sender:NAME', the name as a handset shows it: words folded, numbers as digits.
All of it stands on the coordinator, over a connection to it. Not here: who may still send (dispatch/stops.py).
"""

import enum
import itertools
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from _fastpath.numbers import NumberSet
from _fastpath.stoprows import StopReader
from gateway.message import MessageClass
from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.suppression import BY_START

CHANNEL = "sluice_stops"
EVERYTHING = "*"
# Of a doubt (CN-5): only what is promotional stops.
PROMOTIONAL = "promotional"
DOUBT = "doubt"
# An ordinary answer within it lifts a doubt; who is silent so long has opted out of what is promotional.
DOUBT_FOR = timedelta(hours=24)
# What comes sooner belongs to the message that is doubted: nobody has read our question yet.
ANSWER_AFTER = timedelta(minutes=1)
# Entries of one transaction: it holds the head so long, about 0.1 s.
MOST_ENTRIES = 10_000
# What handsets ask for themselves.
KEYWORD = "keyword"
# A STOP that comes again within it is confirmed no second time (CN-8).
SILENT_FOR = timedelta(hours=24)


class Heard(enum.IntEnum):
    """What a word of a handset was beside those before it.

    REPEATED  said again, and within a day of the last; nothing to lift
    NEW       it changes how the number stands
    AGAIN     said again, a day or more after the last
    """

    REPEATED = 0
    NEW = 1
    AGAIN = 2


class Entry(Struct, frozen=True):
    """One row of the feed, as a sender follows it."""

    seq: int
    number: int
    scope: str
    is_stop: bool
    source: str = ""


class Follower(Struct, frozen=True, kw_only=True):
    """A registered worker, as an acknowledgement looks at it: how far it has followed, and which process it is.

    upto       0 = it loads its sets, and sends nothing
    is_fenced  whether its lease ends, since it did not confirm
    """

    instance: str
    upto: int
    is_fenced: bool = False
    host: str = ""
    boot: str = ""
    pid: int = 0


class Standing(Struct, frozen=True, kw_only=True):
    """The newest entry of a number and scope.

    is_others  a reason that no START lifts has stopped it as well, since it was last lifted
    """

    number: int
    scope: str
    seq: int
    at: datetime
    is_stop: bool
    source: str
    note: str
    is_others: bool = False


def scope_of(sender: str) -> str:
    """The scope of one sender, the same for every way to write it; EVERYTHING where none is said."""
    name = " ".join(sender.split()).casefold()
    digits = re.sub(r"[\s().+-]", "", name)
    if digits.isascii() and digits.isdecimal():
        name = digits.removeprefix("00") or digits
    return f"sender:{name}" if name else EVERYTHING


def scopes_of(class_: int, sender: str) -> tuple[str, ...]:
    """The scopes that stop a message of a class that STOP reaches, from a sender."""
    scopes = dict.fromkeys((EVERYTHING, scope_of(sender)))
    return (*scopes, PROMOTIONAL) if class_ in (MessageClass.TRIGGERED, MessageClass.BULK) else tuple(scopes)


async def enter(
    connection: Connection,
    numbers: Sequence[int],
    scopes: Sequence[str],
    *,
    is_stop: bool,
    at: datetime,
    source: str,
    note: str = "",
) -> int:
    """Append one entry for each number, at most MOST_ENTRIES, in a transaction; -> the last number of the feed.

    cost  about 1 ms, and 10 us an entry
    """
    if not 0 < len(numbers) <= MOST_ENTRIES or len(scopes) != len(numbers):
        raise ValueError(f"stops: expected 1 to {MOST_ENTRIES} numbers with a scope each, got {len(numbers)}")
    async with connection.transaction():
        seq = await connection.fetchval(
            query("enter_stops"), len(numbers), list(numbers), list(scopes), at, is_stop, source, note
        )
        await connection.execute(query("tell_stops"), seq)
    return int(seq)


async def enter_heard(
    connection: Connection, heard: Sequence[tuple[int, str, bool]], *, at: datetime, note: str = ""
) -> tuple[int, list[Heard]]:
    """Append what handsets ask for, (number, scope, is_stop); -> the last number, and of each what it was.

    A STOP is always entered. A START lifts, scope by scope, what handsets themselves have stopped, and what only says
    that nobody is there (gateway.suppression).
    cost  four statements, however many there are, and one more where STOPs and STARTs take turns
    """
    numbers = sorted({number for number, _, _ in heard})
    news: list[Heard] = []
    entries: list[tuple[int, str, bool]] = []
    async with connection.transaction():
        seq = int(await connection.fetchval(query("hold_stop_head")))
        rows = [Standing(**dict(row)) for row in await connection.fetch(query("stop_standing"), numbers, BY_START)]
        standing = {(row.number, row.scope): row for row in rows}
        for number, scope, is_stop in heard:
            known = standing.get((number, scope))
            if is_stop:
                scopes = [scope]
                if known is None or not known.is_stop:
                    news.append(Heard.NEW)
                else:
                    news.append(Heard.AGAIN if at - known.at >= SILENT_FOR else Heard.REPEATED)
            else:
                scopes = [
                    row.scope for key, row in standing.items() if key[0] == number and row.is_stop and not row.is_others
                ]
                news.append(Heard.NEW if scopes else Heard.REPEATED)
            for each in scopes:
                entries.append((number, each, is_stop))
                was = standing.get((number, each))
                standing[number, each] = Standing(
                    number=number, scope=each, seq=seq + len(entries), at=at, is_stop=is_stop, source=KEYWORD,
                    note=note, is_others=was is not None and was.is_stop and was.is_others,
                )  # fmt: skip
        # Together: one at a time, a storm of STOPs would outlast its deadline, be tried again, and never end.
        for is_stop, some in itertools.groupby(entries, key=lambda entry: entry[2]):
            numbers, scopes = [], []
            for number, scope, _ in some:
                numbers.append(number)
                scopes.append(scope)
            seq = int(
                await connection.fetchval(
                    query("enter_stops"), len(numbers), numbers, scopes, at, is_stop, KEYWORD, note
                )
            )
        await connection.execute(query("tell_stops"), seq)
    return seq, news


async def enter_doubts(
    connection: Connection, numbers: Sequence[int], *, at: datetime, note: str = ""
) -> tuple[int, set[int]]:
    """Stop what is promotional for who seems to have had enough; -> the last number, and who was not stopped yet."""
    async with connection.transaction():
        seq = int(await connection.fetchval(query("hold_stop_head")))
        stopped = {one.number for one in await standing(connection, numbers) if one.is_stop and _is_wide(one.scope)}
        new = sorted(set(numbers) - stopped)
        if new:
            seq = await enter(connection, new, [PROMOTIONAL] * len(new), is_stop=True, at=at, source=DOUBT, note=note)
    return seq, set(new)


async def lift_doubt(connection: Connection, number: int, *, at: datetime, note: str = "") -> bool:
    """Lift a doubt that an ordinary message may answer; -> whether there was one."""
    async with connection.transaction():
        await connection.fetchval(query("hold_stop_head"))
        since = await in_doubt_since(connection, number, at)
        if since is None or at - since < ANSWER_AFTER:
            return False
        await enter(connection, [number], [PROMOTIONAL], is_stop=False, at=at, source=DOUBT, note=note)
    return True


async def in_doubt_since(connection: Connection, number: int, at: datetime) -> datetime | None:
    """Say since when a number is asked what it means; None: it is not, or may answer no more."""
    for one in await standing(connection, [number]):
        if one.scope == PROMOTIONAL and one.is_stop and one.source == DOUBT and at - one.at < DOUBT_FOR:
            return one.at
    return None


def _is_wide(scope: str) -> bool:
    return scope in (EVERYTHING, PROMOTIONAL)


async def after(connection: Connection, seq: int, limit: int = MOST_ENTRIES) -> list[Entry]:
    """Read the entries behind the last one seen, in their order."""
    rows = await connection.fetch(query("stops_after"), seq, limit)
    return [Entry(row["seq"], row["number"], row["scope"], row["is_stop"], row["source"]) for row in rows]


async def load(connection: Connection, sets: dict[str, NumberSet]) -> int:
    """Fill sets from the copy and the feed behind it; -> the last number of the feed in them.

    The copy may go on meanwhile: what it has taken from the feed is applied once more, in order, and ends the same.
    cost  about 0.4 us a number, of which Postgres takes the most; no Python object a number
    """
    upto = int(await connection.fetchval(query("suppression_upto")))
    expected = int(await connection.fetchval(query("count_suppression")))
    sets.setdefault(EVERYTHING, NumberSet()).reserve(expected + expected // 4)
    for name, arguments in (("load_suppression", ()), ("load_stops", (upto,))):
        reader = StopReader(sets)

        async def take(octets: bytes, reader: StopReader = reader) -> None:
            reader.feed(bytes(octets))

        await connection.copy_from_query(query(name), *arguments, output=take, format="binary")
    return max(upto, reader.upto)


async def head(connection: Connection) -> int:
    """Find the number of the newest entry; 0 if there is none."""
    return int(await connection.fetchval(query("stop_head")))


async def confirm(connection: Connection, instance: str, seq: int) -> bool:
    """Say how far a worker has followed; -> whether it is registered."""
    return await connection.fetchval(query("confirm_stops"), instance, seq) is not None


async def confirmed(connection: Connection) -> list[Follower]:
    """Show how far every registered worker has followed."""
    return [Follower(**dict(row)) for row in await connection.fetch(query("confirmed_stops"))]


async def fence(connection: Connection, instances: Sequence[str], seq: int) -> None:
    """Let the leases of workers end that have not confirmed a number."""
    await connection.execute(query("fence_behind"), list(instances), seq)


async def forget_fenced(connection: Connection) -> None:
    """Forget fenced workers that are gone."""
    await connection.execute(query("forget_fenced"))


async def copy(connection: Connection, limit: int = MOST_ENTRIES) -> int:
    """Carry the next entries into `suppression`, in a transaction; -> how many, 0 also while somebody else does it."""
    async with connection.transaction():
        upto = await connection.fetchval(query("take_suppression_turn"))
        if upto is None:
            return 0
        entries = await after(connection, upto, limit)
        if not entries:
            return 0
        last = {(entry.number, entry.scope): entry for entry in entries}
        stopped = [entry for entry in last.values() if entry.is_stop]
        lifted = [key for key, entry in last.items() if not entry.is_stop]
        if stopped:
            await connection.execute(
                query("suppress_numbers"), [entry.number for entry in stopped], [entry.scope for entry in stopped],
                [entry.seq for entry in stopped], [entry.source for entry in stopped],
            )  # fmt: skip
        if lifted:
            await connection.execute(
                query("release_numbers"), [number for number, _ in lifted], [scope for _, scope in lifted]
            )
        await connection.execute(query("note_suppression"), entries[-1].seq)
    return len(entries)


async def standing(connection: Connection, numbers: Sequence[int]) -> list[Standing]:
    """Read how numbers stand: the newest entry of each scope."""
    rows = await connection.fetch(query("stop_standing"), list(numbers), BY_START)
    return [Standing(**dict(row)) for row in rows]


async def reasons(connection: Connection, numbers: Sequence[int]) -> dict[int, dict[str, datetime]]:
    """Read why numbers are stopped everywhere: when by each source, newest; those who are not are left out."""
    found: dict[int, dict[str, datetime]] = {}
    for row in await connection.fetch(query("stop_reasons"), list(numbers)):
        found.setdefault(row["number"], {})[row["source"]] = row["at"]
    return found


async def lifted_at(connection: Connection, numbers: Sequence[int]) -> dict[int, datetime]:
    """Read when numbers were last lifted everywhere; who never was is left out."""
    return {row["number"]: row["at"] for row in await connection.fetch(query("last_lifted"), list(numbers))}


async def lift(
    connection: Connection, numbers: Sequence[int], may: Callable[[str, datetime], bool], *, at: datetime, note: str
) -> list[int]:
    """Lift those of whom every reason, by source and moment, may be lifted; -> them.

    The entry has the source of a reason, so that the ledger takes it for no word of the person or of anybody else.
    """
    wanted = list(dict.fromkeys(numbers))
    if not await reasons(connection, wanted):
        return []
    async with connection.transaction():
        await connection.fetchval(query("hold_stop_head"))
        by_source: dict[str, list[int]] = {}
        for number, found in (await reasons(connection, wanted)).items():
            if all(may(source, when) for source, when in found.items()):
                by_source.setdefault(min(found), []).append(number)
        for source, some in by_source.items():
            await enter(connection, some, [EVERYTHING] * len(some), is_stop=False, at=at, source=source, note=note)
    return [number for some in by_source.values() for number in some]


async def old(connection: Connection, source: str, after: int, before: datetime, limit: int) -> list[int]:
    """Name who was suppressed for a reason before a moment, in their order, behind a number."""
    return [row["number"] for row in await connection.fetch(query("old_suppressions"), source, after, before, limit)]


async def newest(connection: Connection, limit: int) -> list[Standing]:
    """Read the newest entries, the newest first."""
    return [Standing(**dict(row)) for row in await connection.fetch(query("newest_stops"), limit)]


async def erasure_key(connection: Connection) -> bytes | None:
    """Read the digest of the key that numbers are erased with (gateway.erasure); None: nobody ever was."""
    found: bytes | None = await connection.fetchval(query("erasure_key"))
    return found


async def listen(connection: Connection, heard: Callable[[], None]) -> None:
    """Call `heard` when something was entered, as long as the connection lives."""

    def on_notification(*_: object) -> None:
        heard()

    await connection.add_listener(CHANNEL, on_notification)


async def reply_run(connection: Connection, name: str, template: str, class_: int) -> int | None:
    """Find the newest run of a carrier's confirmations; None if there is none."""
    found = await connection.fetchval(query("stop_reply_run"), name, template, class_)
    return None if found is None else int(found)
