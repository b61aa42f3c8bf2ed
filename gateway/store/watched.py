"""Who is in the audiences that are watched, kept as persons change and as time passes (SG-4, SG-5). sql/watched.sql.

    begin ─► what each audience means now ─► look_at_due, look_at_changed, by bucket ─► fill, where a meaning is new

Whatever is told of a person marks them in person_changed within its own transaction. Who looks takes the marks away
first, so that whoever changes one of them next waits; then asks each audience of them, and writes who entered, who left
and when time alone may change it again, all in one transaction: a crash leaves it undone, and the mark where it was.
Nobody but the owner of the job looks: each step holds the job's row.

A new meaning is carried through all persons, page by page. Until a page comes to a person the old meaning is what they
are judged by; then once more by the old, and what is left of a difference is `by_edit`, which starts nothing. So an
audience that is watched from now on is entered by all its members by an edit, and one that is watched no more, which
means nobody, is left by all. Who changes their number, and so their bucket, while an audience is carried through it may
have a change of their own called one by edit, or the other way round; who is in is right.
Not here: who looks, and when (gateway.automation.ageing); what a tree asks (audiences.py).
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Struct

from _fastpath.eventrows import microseconds
from gateway import predicate
from gateway.predicate import Everyone, Not, Predicate
from gateway.store import audiences, causes, jobs
from gateway.store.audiences import Terms
from gateway.store.postgres import Connection
from gateway.store.queries import query

JOB = "ageing"
BUCKETS = 256
PERSONS_A_STEP = 500
PERSONS_A_PAGE = 2000
NOBODY: Predicate = Not(Everyone())


class Meaning(Struct, frozen=True, kw_only=True):
    """What an audience asks, others put in their places; version is that of its own text."""

    tree: Predicate
    zone: str
    version: int

    def is_as(self, other: "Meaning | None") -> bool:
        """Whether nobody could tell the two apart."""
        return other is not None and (self.tree, self.zone) == (other.tree, other.zone)


class Watch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far an audience is: its members are judged by `held`, and up to (bucket, profile) by `coming` already."""

    held: Meaning | None = None
    coming: Meaning | None = None
    upto: tuple[int, int] = (0, -1)


class Kept(Struct, frozen=True, kw_only=True):
    """An audience as it stands in the table."""

    id: int
    name: str
    tree: Predicate
    zone: str
    version: int
    is_watched: bool
    watch: Watch | None


class Changes(Struct, kw_only=True):
    """What came of a step."""

    persons: int = 0
    entered: int = 0
    left: int = 0
    by_edit: int = 0

    def add(self, other: "Changes") -> None:
        """Take another's in."""
        self.persons += other.persons
        self.entered += other.entered
        self.left += other.left
        self.by_edit += other.by_edit


class Lost(Exception):
    """Another worker has the job."""


class Watching(Struct, kw_only=True):
    """What one round looks with: who we are, the salt of random buckets, and the audiences by id."""

    instance: str
    salt: str
    watches: dict[int, Watch]

    @property
    def is_filling(self) -> bool:
        """Whether a meaning is still to be carried through somebody."""
        return any(one.coming is not None for one in self.watches.values())


async def set_watched(connection: Connection, name: str, is_watched: bool, now: datetime) -> bool:
    """Have an audience watched, or no more; -> False where there is none of that name."""
    return bool(await connection.execute(query("set_watched"), name, is_watched, now) == "UPDATE 1")


async def members(connection: Connection, audience: int) -> int:
    """Count who is in a watched audience, as of the last look."""
    return int(await connection.fetchval(query("members_in"), audience))


async def kept(connection: Connection) -> list[Kept]:
    """Read every audience."""
    return [
        Kept(
            id=row["id"],
            name=row["name"],
            tree=predicate.decode(row["tree"]),
            zone=row["zone"],
            version=row["version"],
            is_watched=row["is_watched"],
            watch=None if row["watch"] is None else _DECODER.decode(row["watch"]),
        )
        for row in await connection.fetch(query("audiences_to_watch"))
    ]


_DECODER: msgspec.json.Decoder[Watch] = msgspec.json.Decoder(Watch)


async def begin(
    connection: Connection, instance: str, salt: str, whole: Callable[[Kept, Mapping[str, Predicate]], Predicate | None]
) -> Watching:
    """Read what is watched, and note what means something else than its members were judged by.

    whole   puts other audiences in their places; None: it cannot be done, and what was held goes on
    raises  Lost
    """
    async with connection.transaction():
        await _hold(connection, instance)
        found = await kept(connection)
        trees = {one.name: one.tree for one in found}
        watches = {}
        for one in found:
            watch = one.watch or Watch()
            if watch.coming is None:
                tree = whole(one, trees) if one.is_watched else NOBODY
                wanted = Meaning(tree=tree, zone=one.zone, version=one.version) if tree is not None else watch.held
                nothing = watch.held is None and not one.is_watched
                if wanted is not None and not nothing and not wanted.is_as(watch.held):
                    watch = Watch(held=watch.held, coming=wanted)
                    await connection.execute(query("note_watch"), one.id, _json(watch))
            if watch.held is not None or watch.coming is not None:
                watches[one.id] = watch
    return Watching(instance=instance, salt=salt, watches=watches)


async def look_at_due(connection: Connection, watching: Watching, bucket: int, now: datetime) -> tuple[Changes, bool]:
    """Look at some of a bucket whom time alone may have changed; -> what came of it, whether there may be more.

    raises  Lost
    """
    ids = list(watching.watches)
    due = [row["profile"] for row in await connection.fetch(query("due_members"), bucket, now, ids, PERSONS_A_STEP)]
    if not due:
        return Changes(), False

    async def take() -> dict[int, bool]:
        await connection.execute(query("mark_persons"), bucket, due, now)
        return _taken(await connection.fetch(query("take_page"), bucket, due))

    return await _step(connection, watching, bucket, take, now), len(due) == PERSONS_A_STEP


async def look_at_changed(
    connection: Connection, watching: Watching, bucket: int, now: datetime
) -> tuple[Changes, bool]:
    """Look at some of a bucket who have changed; -> what came of it, whether there may be more.

    raises  Lost
    """

    async def take() -> dict[int, bool]:
        return _taken(await connection.fetch(query("take_changed"), bucket, PERSONS_A_STEP))

    done = await _step(connection, watching, bucket, take, now)
    return done, done.persons == PERSONS_A_STEP


async def fill(connection: Connection, watching: Watching, now: datetime) -> Changes:
    """Carry new meanings through the next page of persons, those that are least far; the last page ends it.

    raises  Lost
    """
    least = min(one.upto for one in watching.watches.values() if one.coming is not None)
    some = {id_: one for id_, one in watching.watches.items() if one.coming is not None and one.upto == least}
    bucket, behind = least
    moved: dict[int, Watch | None] = {}

    async def take() -> dict[int, bool]:
        rows = await connection.fetch(query("hold_page"), bucket, behind, now, PERSONS_A_PAGE)
        ids = sorted(row["profile"] for row in rows)
        taken = _taken(await connection.fetch(query("take_page"), bucket, ids))
        upto = (bucket, ids[-1]) if len(ids) == PERSONS_A_PAGE else (bucket + 1, -1)
        for id_, watch in some.items():
            if upto[0] < BUCKETS:
                moved[id_] = msgspec.structs.replace(watch, upto=upto)
                await connection.execute(query("note_watch"), id_, _json(moved[id_]))
                continue
            assert watch.coming is not None
            ended = None if watch.coming.tree == NOBODY else Watch(held=watch.coming)
            moved[id_] = ended
            told = None if ended is None else _json(ended)
            await connection.execute(query("note_watched"), id_, told, watch.coming.version, now)
        return taken

    done = await _step(connection, watching, bucket, take, now, fills=set(some))
    for id_, watch in moved.items():
        if watch is None:
            del watching.watches[id_]
        else:
            watching.watches[id_] = watch
    return done


async def mark_numbers(
    connection: Connection, bucket: int, numbers: Iterable[int], now: datetime, *, is_quiet: bool = False
) -> None:
    """Have those of a bucket looked at who have one of some numbers; within the transaction that changes something."""
    await connection.execute(query("mark_numbers"), bucket, sorted(numbers), now, is_quiet)


async def mark_list(connection: Connection, list_id: int, now: datetime, *, is_quiet: bool = False) -> None:
    """Have everybody looked at whose number is in a list, where anything is watched; one transaction a bucket."""
    if await connection.fetchval(query("is_anything_watched")):
        for bucket in range(BUCKETS):
            await connection.execute(query("mark_list"), bucket, list_id, now, is_quiet)


async def _hold(connection: Connection, instance: str) -> None:
    if not await jobs.hold(connection, JOB, instance):
        raise Lost(f"{JOB}: another worker has it")


async def _step(
    connection: Connection,
    watching: Watching,
    bucket: int,
    take: Callable[[], Awaitable[dict[int, bool]]],
    now: datetime,
    fills: Iterable[int] = (),
) -> Changes:
    """Take some persons of a bucket and ask each audience of them. fills: those that are carried into them now."""
    async with connection.transaction():
        await connection.execute(query("look_by_index"))
        await _hold(connection, watching.instance)
        taken = await take()
        ids, quiet = list(taken), {id_ for id_, is_quiet in taken.items() if is_quiet}
        done = Changes(persons=len(ids))
        if not ids:
            return done
        there = {row["id"] for row in await connection.fetch(query("persons_there"), bucket, ids)}
        if gone := [one for one in ids if one not in there]:
            await connection.execute(query("drop_members"), bucket, list(watching.watches), gone)
        for id_, watch in watching.watches.items():
            for meaning, by_edit, some in _asked(watch, bucket, sorted(there), is_now=id_ in fills):
                terms = Terms(now=now, zone=ZoneInfo(meaning.zone), salt=watching.salt)
                done.add(await _look(connection, bucket, id_, some, meaning, terms, quiet, by_edit=by_edit))
    return done


def _asked(watch: Watch, bucket: int, ids: list[int], *, is_now: bool) -> list[tuple[Meaning, bool, list[int]]]:
    """What persons are judged by, in its order."""
    if watch.coming is None:
        return [(watch.held, False, ids)] if watch.held is not None else []
    found = []
    if judged := [one for one in ids if (bucket, one) <= watch.upto]:
        found.append((watch.coming, False, judged))
    if others := [one for one in ids if (bucket, one) > watch.upto]:
        if watch.held is not None:
            found.append((watch.held, False, others))
        if is_now:
            found.append((watch.coming, True, others))
    return found


async def _look(
    connection: Connection,
    bucket: int,
    audience: int,
    ids: list[int],
    meaning: Meaning,
    terms: Terms,
    quiet: Collection[int],
    *,
    by_edit: bool,
) -> Changes:
    """Ask one audience of some persons, and write what is otherwise than it was."""
    given = [bucket, ids, audience]
    compiled = audiences.compile(meaning.tree, terms, parameters=given, by_person=True, with_changes=True)
    sql = f"""
SELECT f.profile, f.is_in, f.next_change_at, f.seq, f.was_in, f.since, f.was_next FROM (
    SELECT p.id AS profile, ({compiled.condition}) IS TRUE AS is_in, {compiled.next_change} AS next_change_at,
           coalesce(m.seq, 0) AS seq, coalesce(m.is_in, false) AS was_in, m.since, m.next_change_at AS was_next
    FROM profile p{compiled.joins}
    LEFT JOIN audience_member m ON m.bucket = $1::int AND m.audience = $3::bigint AND m.profile = p.id
    WHERE p.bucket = $1::int AND p.id = ANY($2::bigint[])) f
WHERE f.is_in <> f.was_in OR f.next_change_at IS DISTINCT FROM f.was_next"""
    rows = await connection.fetch(sql, *compiled.parameters)
    if not rows:
        return Changes()
    turned = [row for row in rows if row["is_in"] != row["was_in"]]
    if turned:
        await connection.execute(
            query("add_changes"), bucket, audience, terms.now, meaning.version, by_edit,
            [row["profile"] for row in turned], [row["seq"] + 1 for row in turned], [row["is_in"] for row in turned],
            # What was to change by time alone is no import's doing, whatever came beside it.
            [
                not by_edit and row["profile"] in quiet and (row["was_next"] is None or row["was_next"] > terms.now)
                for row in turned
            ],
        )  # fmt: skip
    if turned and not by_edit:
        await _tell_campaigns(connection, bucket, audience, turned, quiet, terms.now)
    await connection.execute(
        query("write_members"), bucket, audience, [row["profile"] for row in rows],
        [row["seq"] + (row["is_in"] != row["was_in"]) for row in rows],
        [terms.now if row["is_in"] != row["was_in"] else row["since"] or terms.now for row in rows],
        [row["next_change_at"] for row in rows], [row["is_in"] for row in rows],
    )  # fmt: skip
    entered = sum(row["is_in"] for row in turned)
    return Changes(entered=entered, left=len(turned) - entered, by_edit=len(turned) if by_edit else 0)


async def _tell_campaigns(
    connection: Connection, bucket: int, audience: int, turned: Iterable[Mapping[str, Any]], quiet: Collection[int],
    now: datetime,
) -> None:  # fmt: skip
    """Tell campaigns who entered and who left, but for what an import or history did (IM-3, EV-3)."""
    kinds: tuple[tuple[causes.Kind, bool], ...] = (("entered", True), ("left", False))
    for kind, is_in in kinds:
        some = [
            row for row in turned
            if row["is_in"] is is_in
            and not (row["profile"] in quiet and (row["was_next"] is None or row["was_next"] > now))
        ]  # fmt: skip
        if some and await causes.listened(connection, kind, [str(audience)]):
            told = [
                causes.Telling(
                    bucket, 0, row["profile"], row["seq"] + 1, microseconds(now), str(audience),
                    f"{kind}:{audience}:{row['profile']}:{row['seq'] + 1}",
                )
                for row in some
            ]  # fmt: skip
            await causes.tell(connection, kind, told, now)


def _taken(rows: Iterable[Mapping[str, Any]]) -> dict[int, bool]:
    return {row["profile"]: row["is_quiet"] for row in rows}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
