"""Who is who: persons found by the names they go by, made where nobody has them, and joined where two are one (EV-7).

    names of a batch ─► persons who have them ─► held ─► planned in memory ─► joined, made, named, moved

An identity names one person; a number may be that of several, and then what names nothing else is the oldest's. Two
persons become one when they are said to be (`absorbs`), or on a login: one item names both, and at most one of them has
an external_id. A device (anonymous_id) that another person logs in on is that person's from then on; an e-mail address
stays with who had it. Whoever is known by a number alone becomes the first person who logs in with it.

A person stands in the bucket of their number, or of their id: a number that is gained, changed or lost moves all that
is theirs (`move`), and so does becoming another (`join`).
Not here: what they did (profiles.py), what follows from it (aggregates.py).
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from zlib import crc32

import msgspec

from _fastpath.eventrows import microseconds
from gateway.person import COLUMNS, FUTURE, Item, Key, Order, Who, bucket_of, hash_of
from gateway.store.columns import ints, texts
from gateway.store.postgres import Connection
from gateway.store.queries import query

# Tables of persons, keyed by bucket and profile: what moves their rows ("": nothing does), and what drops them.
# If you add a table with a column `profile`, add it here.
MOVED = {
    "person_event": ("move_person_events", "drop_person_events"),
    "event_total": ("move_totals", "drop_totals"),
    "person_order": ("move_orders", "drop_orders"),
    "session_open": ("move_session", "drop_session"),
    "person_changed": ("move_changed", "drop_changed"),
    # So that who moves enters nothing a second time; the history of an audience stays as it was.
    "audience_member": ("move_memberships", "drop_memberships"),
    "rfm": ("move_rfm", "drop_rfm"),
    "cause": ("move_causes", "drop_causes"),
    "enrolment": ("move_enrolments_of", "drop_enrolments"),
    "step_run": ("move_step_runs", "drop_step_runs"),
    "excepted": ("move_excepted", "drop_excepted"),
    # Reckoned anew of the person who they are now, by the note that moves.
    "touch": ("", "drop_touch"),
    "attribution": ("", "drop_attribution"),
    "conversion": ("", "drop_conversion"),
    "report_due": ("move_report_due", "drop_report_due"),
}
# Rows with an id of their own, which stay where they are when two persons of one bucket become one.
RENAMED = {"enrolment": "rename_enrolments", "step_run": "rename_step_runs", "excepted": "rename_excepted"}
MOST_ATTRIBUTES = 1000
_NEVER = (0, 0, None)
Place: TypeAlias = tuple[int, int]
NextId: TypeAlias = Callable[[int], int]
"""Names a new person, who has a number or 0."""
"""Where a person stands: bucket and id."""
# Of advisory locks, which are the coordinator's on a cluster: batches are told there.
TURNS = 728165
# So many that two batches of 20 new names each seldom wait for each other, so few that all have room at once
# in the table of locks (64 a connection).
TURNS_OF_NAMES = 2048


class Again(Exception):
    """Somebody else was faster: the batch is begun anew."""


class Person:
    """A person as a batch knows them; `into` is who they have become."""

    __slots__ = (
        "bucket", "email", "external_id", "id", "into", "is_new", "keys", "last_seen_at", "number", "session_at",
        "writes",
    )  # fmt: skip

    def __init__(self, bucket: int, id_: int):
        self.bucket = bucket
        self.id = id_
        self.number: int | None = None
        self.external_id: str | None = None
        self.email: str | None = None
        self.last_seen_at: datetime | None = None
        self.session_at: datetime | None = None
        self.is_new = False
        self.into: Person | None = None
        self.keys: list[Key] = []
        # attribute -> (occurred, received, value); the columns by their names.
        self.writes: dict[str, tuple[int, int, Any]] = {}

    @property
    def session_us(self) -> int | None:
        """The last event of their running session in microseconds; None where another event of theirs came later."""
        at = self.session_at
        return None if at is None or at != self.last_seen_at else microseconds(at)

    @property
    def root(self) -> "Person":
        """Who they are now."""
        found = self
        while found.into is not None:
            found = found.into
        return found


class Resolved:
    """The persons of a batch, item by item, and what became of others on the way."""

    def __init__(self) -> None:
        self.persons: list[Person] = []
        self.created = 0
        self.merged = 0
        self.conflicts = 0


class Looked:
    """Where those stand whom the names of a batch name; nobody is held.

    by_number  the eldest first
    has_keys   whether identities are among the names, of whomever
    """

    __slots__ = ("by_key", "by_number", "has_keys")

    def __init__(self) -> None:
        self.has_keys = False
        self.by_key: dict[Key, Place] = {}
        self.by_number: dict[int, list[Place]] = {}


class Found:
    """Whom the names of a batch name: all of them held, and read.

    persons    by their ids
    by_number  the eldest first
    named      ids of those who have an identity, as far as it matters
    is_quiet   what changes of them starts nothing
    """

    def __init__(self) -> None:
        self.persons: dict[int, Person] = {}
        self.by_key: dict[Key, Person] = {}
        self.by_number: dict[int, list[Person]] = {}
        self.named: set[int] = set()
        self.is_quiet = False


class _Plan:
    """Who is who, as far as a batch says: in memory, before anything is written."""

    def __init__(self, found: Found, now: datetime, next_id: NextId):
        self.now = now
        self.next_id = next_id
        self.by_key = found.by_key
        self.by_number = found.by_number
        self.named = found.named
        self.stored = set(found.by_key)
        self.repointed: dict[Key, Person] = {}
        self.joins: list[tuple[Person, Person]] = []
        self.made: list[Person] = []
        self.conflicts = 0

    def person_of(self, who: Who) -> Person:
        """Find or make the person of some names, and join those that are one by it."""
        keys = who.keys()
        found = [self.by_key[key].root if key in self.by_key else None for key in keys]
        known = [person for person in found if person is not None]
        if who.external_id and found[0] is None:
            # A customer whom nobody has heard of is none of those who have another external_id.
            known = [person for person in known if not person.external_id]
        if known:
            person = known[0]
        elif who.phone and (same := self._of_number(who.phone, keys)) is not None:
            person = same
        else:
            person = Person(-1, self.next_id(who.phone))
            person.is_new = True
            self.made.append(person)
            if who.phone:
                self.by_number.setdefault(who.phone, []).append(person)
        for key, other in zip(keys, found, strict=True):
            person = self._name(person.root, key, None if other is None else other.root)
        if who.phone and keys:
            for other in self.by_number.get(who.phone, ()):
                if (
                    other.root is not person
                    and self._is_number_alone(other.root)
                    and person.number in (None, who.phone)
                ):
                    person = self.join(person, other.root)
        return person

    def _of_number(self, number: int, keys: Sequence[Key]) -> Person | None:
        """Who has a number, the oldest; of those known by it alone where other names are given too."""
        for person in self.by_number.get(number, ()):
            root = person.root
            if number in (root.number, root.writes.get("phone", _NEVER)[2]) and (
                not keys or self._is_number_alone(root)
            ):
                return root
        return None

    def _is_number_alone(self, person: Person) -> bool:
        return not (person.external_id or person.email or person.keys) and person.id not in self.named

    def _name(self, person: Person, key: Key, other: Person | None) -> Person:
        """Let a key name a person, who may be somebody else already; -> who they are then."""
        kind, value = key
        if other is None:
            self.by_key[key] = person
            person.keys.append(key)
        elif other is not person:
            if not (person.external_id and other.external_id):
                person = self.join(person, other)
            elif kind == "anonymous_id":
                self.by_key[key] = person
                if key in self.stored:
                    self.repointed[key] = person
                else:
                    person.keys.append(key)
            else:
                self.conflicts += 1
        if kind == "external_id" and person.external_id is None:
            person.external_id = value
            person.writes["external_id"] = (0, 0, value)
        return person

    def join(self, one: Person, other: Person) -> Person:
        """Make one of two; -> who stays: who is written already, then who has an external_id, then the elder."""
        stays, goes = sorted((one, other), key=lambda each: (each.is_new, not each.external_id, each.id))
        goes.into = stays
        for name, write in goes.writes.items():
            if name != "external_id" or not stays.external_id:
                _put(stays, name, write)
        stays.external_id = stays.external_id or goes.external_id
        stays.keys += goes.keys
        if goes.is_new:
            self.made.remove(goes)
            stays.number = stays.number or goes.number
        else:
            self.joins.append((stays, goes))
        return stays


def _put(person: Person, name: str, write: tuple[int, int, Any]) -> None:
    """Take one attribute in, unless a later one is there (EV-4)."""
    before = person.writes.get(name)
    if before is None or write[:2] >= before[:2]:
        person.writes[name] = write


async def resolve(
    connection: Connection, items: Sequence[Item], found: Found, now: datetime, next_id: NextId
) -> Resolved:
    """Make and join the persons of some items, and write their attributes; within the caller's transaction.

    found   of all their names; changed
    raises  Again: another batch made one of them meanwhile
    """
    plan = _Plan(found, now, next_id)
    done = Resolved()
    received = microseconds(now)
    for item in items:
        person = plan.person_of(item.who)
        if item.absorbs is not None:
            other = plan.person_of(item.absorbs).root
            if other is not person.root:
                person = plan.join(person.root, other)
        _take_attributes(person.root, item, now, received)
        if item.who.phone and person.root not in (same := plan.by_number.setdefault(item.who.phone, [])):
            same.append(person.root)
        done.persons.append(person)
    # Who was joined later in the batch is the other one from its beginning.
    done.persons = [person.root for person in done.persons]
    done.created, done.merged, done.conflicts = len(plan.made), len(plan.joins), plan.conflicts
    for stays, goes in plan.joins:
        await join(connection, stays.root, goes, now)
    persons = {person.id: person for person in done.persons}
    await _write(connection, plan, persons, now, is_quiet=found.is_quiet)
    return done


async def look(connection: Connection, items: Sequence[Item], *, takes_turns: bool = True) -> Looked:
    """Find whom the names of a batch name, before anybody is held.

    takes_turns  who else makes persons of the same names waits, instead of finding out and beginning anew
    """
    names = [item.who for item in items]
    names += [item.absorbs for item in items if item.absorbs is not None]
    keys = sorted({key for who in names for key in who.keys()})
    numbers = sorted({who.phone for who in names if who.phone})
    looked = await _owners(connection, keys, numbers)
    nobodys = keys[:0] if len(looked.by_key) == len(keys) else [key for key in keys if key not in looked.by_key]
    if len(looked.by_number) < len(numbers):
        nobodys += [("phone", str(one)) for one in numbers if one not in looked.by_number]
    if nobodys and takes_turns:
        # Who makes persons of names that others make some of too would begin anew again and again: they take turns, and
        # from the first try on: who is behind would find those faster who make more persons without a turn.
        turns = sorted({crc32("\0".join(key).encode()) % TURNS_OF_NAMES for key in nobodys})
        await connection.execute(query("take_turn_of_names"), TURNS, turns)
        looked = await _owners(connection, keys, numbers)
    return looked


def sure(items: Sequence[Item], looked: Looked) -> list[Place | None]:
    """Say of each item whose it is, where the batch changes nothing of that; attributes make no difference.

    All that such an item names is one person's, or one number's eldest, and no item that says more of who is who
    concerns any of those: what was planned of the others would come to the same person here.
    """
    by_key, by_number = looked.by_key, looked.by_number
    places: list[Place | None] = []
    others = []
    for at, item in enumerate(items):
        who = item.who
        if item.absorbs is not None or "phone" in item.attributes:
            place = None
        elif who.phone:
            owners = by_number.get(who.phone)
            place = owners[0] if owners and not who.keys() else None
        else:
            keys = who.keys()
            place = by_key.get(keys[0])
            if len(keys) > 1 and any(by_key.get(key) != place for key in keys):
                place = None
        if place is None:
            others.append(at)
        places.append(place)
    concerned: set[int] = set()
    while others:
        for at in others:
            for whom in (items[at].who, items[at].absorbs):
                if whom is not None:
                    concerned.update(by_key[key][1] for key in whom.keys() if key in by_key)
                    concerned.update(one[1] for one in by_number.get(whom.phone, ()))
        # Of a number all who have it matter: who is its eldest may change.
        others = [
            at
            for at, place in enumerate(places)
            if place is not None
            and (
                place[1] in concerned
                or (items[at].who.phone and any(one[1] in concerned for one in by_number[items[at].who.phone]))
            )
        ]
        for at in others:
            places[at] = None
    return places


async def held(connection: Connection, looked: Looked, now: datetime, *, is_quiet: bool = False) -> Found:
    """Hold whom names name, in their order, until the transaction ends, and read them.

    is_quiet  what is about to change of them starts nothing
    raises  Again: one of them has become another meanwhile, or moved
    """
    found = Found()
    places = {id_: bucket for bucket, id_ in looked.by_key.values()}
    for owners in looked.by_number.values():
        places.update((id_, bucket) for bucket, id_ in owners)
    found.is_quiet = is_quiet
    persons = found.persons = await hold(connection, places, now, is_quiet=is_quiet)
    found.by_key = {key: persons[place[1]] for key, place in looked.by_key.items()}
    for number, owners in looked.by_number.items():
        found.by_number[number] = [persons[id_] for _, id_ in owners]
        if any(one.number != number for one in found.by_number[number]):
            raise Again
    if looked.has_keys:
        alone = [one.id for one in persons.values() if one.number and not (one.external_id or one.email)]
        if alone:
            found.named = {row[0] for row in await connection.fetch(query("named_profiles"), alone)}
    return found


async def persons_of(
    connection: Connection,
    items: Sequence[Item],
    places: Sequence[Place | None],
    found: Found,
    now: datetime,
    next_id: NextId,
) -> Resolved:
    """Find, make and join the persons of a batch, item by item, and write their attributes.

    Mostly all are known (`sure`); those items that say more are planned, in their order.

    places  as `sure` has them
    found   of all their names; changed
    raises  Again: another batch was faster
    """
    persons = found.persons
    known: list[Person | None] = []
    planned = []
    for item, place in zip(items, places, strict=True):
        person = None
        if place is not None and not item.attributes:
            person, who = persons[place[1]], item.who
            if (who.email and who.email != person.email) or (who.external_id and not person.external_id):
                person = None
        known.append(person)
        if person is None:
            planned.append(item)
    if not planned:
        done = Resolved()
        done.persons = [person for person in known if person is not None]
        return done
    done = await resolve(connection, planned, found, now, next_id)
    resolved = iter(done.persons)
    done.persons = [next(resolved) if person is None else person for person in known]
    return done


async def _owners(connection: Connection, keys: Sequence[Key], numbers: Sequence[int]) -> Looked:
    looked = Looked()
    looked.has_keys = bool(keys)
    if keys:
        kinds, values = zip(*keys, strict=True)
        for at, bucket, id_ in await connection.fetch(
            query("identities_of"),
            ints([bucket_of(*key) for key in keys]),
            texts(kinds),
            texts(values),
            ints(range(len(keys))),
        ):
            looked.by_key[keys[at]] = bucket, id_
    if numbers:
        for bucket, id_, number in await connection.fetch(
            query("profiles_of_numbers"), ints(map(hash_of, numbers)), ints(numbers)
        ):
            looked.by_number.setdefault(number, []).append((bucket, id_))
    return looked


async def hold(
    connection: Connection, places: dict[int, int], now: datetime, *, is_quiet: bool = False
) -> dict[int, Person]:
    """Hold persons (id -> bucket) until the transaction ends, and read them.

    is_quiet  what is about to change of them starts nothing
    raises  Again: one of them has become another, or moved
    """
    if not places:
        return {}
    order = sorted((bucket, id_) for id_, bucket in places.items())
    buckets, ids = map(ints, zip(*order, strict=True))
    await connection.execute(query("hold_persons"), buckets, ids, now, is_quiet)
    found = {}
    for bucket, id_, number, external_id, email, last_seen_at, session_at in await connection.fetch(
        query("profiles_held"), buckets, ids
    ):
        person = found[id_] = Person(bucket, id_)
        person.number, person.external_id, person.email = number, external_id, email
        person.last_seen_at, person.session_at = last_seen_at, session_at
    if len(found) < len(places):
        raise Again
    return found


def _take_attributes(person: Person, item: Item, now: datetime, received: int) -> None:
    who = item.who
    if not (item.attributes or (who.phone and who.phone != person.number) or (who.email and who.email != person.email)):
        return
    at = item.occurred_at
    occurred = received if at is None or at > now + FUTURE else microseconds(at)
    for name, value in item.attributes.items():
        _put(person, name, (occurred, received, value))
    if who.phone:
        _put(person, "phone", (occurred, received, who.phone))
        if person.is_new and person.number is None:
            person.number = who.phone
    if who.email:
        _put(person, "email", (occurred, received, who.email))


# -- writing -----------------------------------------------------------------------------------------------------------


async def _write(
    connection: Connection, plan: _Plan, persons: dict[int, Person], now: datetime, *, is_quiet: bool = False
) -> None:
    """Write new persons, attributes, names and numbers, in this order."""
    changed = [one for one in persons.values() if one.writes and not one.is_new]
    states: dict[int, dict[str, Any]] = {one.id: {} for one in plan.made}
    if changed:
        rows = await connection.fetch(
            query("attributes_of"), [one.bucket for one in changed], [one.id for one in changed]
        )
        states |= {row["id"]: dict(row) for row in rows}
    moves = []
    for person in (*plan.made, *changed):
        state = states[person.id]
        number = _settle(person, state)
        if person.is_new:
            person.number = number
            person.bucket = hash_of(number or person.id)
        elif number != person.number:
            moves.append((person, number))
    new_numbers = {one.number for one in plan.made if one.number} | {number for _, number in moves if number}
    if new_numbers:
        await _hold_numbers(connection, plan, sorted(new_numbers), now)
    if plan.made:
        made = sorted(plan.made, key=lambda one: (one.bucket, one.id))
        await connection.execute(
            query("hold_persons"), ints(one.bucket for one in made), ints(one.id for one in made), now, is_quiet
        )
        of = [states[one.id] for one in made]
        await connection.execute(
            query("add_profiles"), [one.bucket for one in made], [one.id for one in made], [one.number for one in made],
            *([one[name] for one in of] for name in ("external_id", "email", "country", "language", "zone")),
            [one["attributes"] for one in of], [one["attribute_at"] for one in of], now,
        )  # fmt: skip
    if changed:
        of = [states[one.id] for one in changed]
        await connection.execute(
            query("write_attributes"), [one.bucket for one in changed], [one.id for one in changed],
            *([one[name] for one in of] for name in ("external_id", "email", "country", "language", "zone")),
            [one["attributes"] for one in of], [one["attribute_at"] for one in of], now,
        )  # fmt: skip
    await _write_names(connection, plan, persons)
    for person, number in moves:
        await move(connection, person, number, now)


def _settle(person: Person, state: dict[str, Any]) -> int | None:
    """Lay what was told over what is known, attribute by attribute (EV-4); -> the number."""
    attributes = msgspec.json.decode(state.get("attributes") or "{}")
    stamps = msgspec.json.decode(state.get("attribute_at") or "{}")
    columns = {name: state.get(name) for name in COLUMNS if name != "phone"}
    columns["phone"] = state.get("number")
    for name, (occurred, received, value) in person.writes.items():
        if name == "external_id":
            columns[name] = columns[name] or value
            continue
        if [occurred, received] < stamps.get(name, [0, 0]):
            continue
        if name not in stamps and len(stamps) >= MOST_ATTRIBUTES:
            continue
        stamps[name] = [occurred, received]
        if name in columns:
            columns[name] = value
        elif value is None:
            attributes.pop(name, None)
        else:
            attributes[name] = value
    person.email = columns["email"]
    number = columns.pop("phone")
    state.update(columns, attributes=_json(attributes), attribute_at=_json(stamps))
    return number


async def _hold_numbers(connection: Connection, plan: _Plan, numbers: Sequence[int], now: datetime) -> None:
    """Make endpoints of numbers that somebody gains, one batch at a time: of a number alone nobody is made twice."""
    buckets = [hash_of(one) for one in numbers]
    await connection.execute(query("hold_numbers"), buckets, numbers, now)
    alone = sorted({one.number for one in plan.made if one.number and not one.keys})
    if alone:
        owners = await connection.fetch(query("profiles_of_numbers"), ints(map(hash_of, alone)), ints(alone))
        for _, profile, number in owners:
            if profile not in {one.id for one in plan.by_number.get(number, ())}:
                raise Again


async def _write_names(connection: Connection, plan: _Plan, persons: dict[int, Person]) -> None:
    new = {key: person for person in persons.values() for key in person.keys if plan.by_key[key].root is person}
    for told, name in ((new, "add_identities"), (plan.repointed, "point_identities")):
        names = sorted((bucket_of(*key), *key, person.root.id, person.root) for key, person in told.items())
        if names:
            tag = await connection.execute(
                query(name), [one[0] for one in names], [one[1] for one in names], [one[2] for one in names],
                [one[4].bucket for one in names], [one[3] for one in names],
            )  # fmt: skip
            if int(tag.rsplit(" ", 1)[1]) < len(names):
                raise Again


# -- one person becomes another, or stands elsewhere ------------------------------------------------------------------


async def move(connection: Connection, person: Person, number: int | None, now: datetime) -> None:
    """Give a person, who is held, another number or none, and put all that is theirs where it belongs."""
    bucket = hash_of(number or person.id)
    if bucket == person.bucket:
        await connection.execute(query("number_profile"), bucket, person.id, number)
        await connection.execute(query("number_enrolments"), bucket, person.id, number)
    else:
        await connection.execute(query("move_profile"), bucket, person.bucket, person.id, number)
        await connection.execute(query("drop_profile"), person.bucket, person.id)
        await connection.execute(query("hand_identities"), bucket, person.id, person.id)
        await _hand_over(connection, (bucket, person.id), (person.bucket, person.id))
        person.bucket = bucket
    person.number = number


async def join(connection: Connection, stays: Person, goes: Person, now: datetime) -> None:
    """Make one of two persons, both held: what the one did, has and goes by is the other's, who is counted anew.

    cost  each event of the one that goes is written once more
    """
    # aggregates imports nothing of this module; the cycle would be of names only.
    from gateway.store.aggregates import recount

    rows = await connection.fetch(query("attributes_of"), [stays.bucket, goes.bucket], [stays.id, goes.id])
    of = {row["id"]: dict(row) for row in rows}
    # What was known of the one is told of the other with its own times.
    stamps = msgspec.json.decode(of[goes.id]["attribute_at"])
    theirs = msgspec.json.decode(of[goes.id]["attributes"])
    values = {**theirs, **{name: of[goes.id][name] for name in ("email", "country", "language", "zone")}}
    values["phone"] = of[goes.id]["number"]
    for name, (occurred, received) in stamps.items():
        _put(stays, name, (occurred, received, values.get(name)))
    if goes.external_id and not stays.external_id:
        stays.external_id = goes.external_id
    if goes.external_id:
        stays.writes.setdefault("external_id", (0, 0, goes.external_id))
    keys = [
        row["key"]
        for row in await connection.fetch(query("keys_of_both"), stays.bucket, stays.id, goes.bucket, goes.id)
    ]
    places = [stays.bucket, goes.bucket] * len(keys), [stays.id, goes.id] * len(keys)
    both = await connection.fetch(query("orders_told"), *places, [key for key in keys for _ in (stays, goes)])
    orders: dict[str, Order] = {}
    for row in both:
        order = order_of(row)
        if order.key in orders:
            orders[order.key].absorb(order)
        else:
            orders[order.key] = order
    if orders:
        await write_orders(connection, [(stays.bucket, stays.id, one) for one in orders.values()])
    await _hand_over(connection, (stays.bucket, stays.id), (goes.bucket, goes.id))
    await connection.execute(query("hand_identities"), stays.bucket, stays.id, goes.id)
    await connection.execute(query("drop_profile"), goes.bucket, goes.id)
    await recount(connection, stays.bucket, [stays.id])
    rows = await connection.fetch(query("profiles_held"), ints([stays.bucket]), ints([stays.id]))
    stays.last_seen_at, stays.session_at = rows[0]["last_seen_at"], rows[0]["session_at"]


async def merge(connection: Connection, one: tuple[int, int], other: tuple[int, int], now: datetime) -> Person:
    """Make one of two persons, (bucket, id) each, whatever they go by: somebody has said so; -> who stays (EV-7).

    One transaction. raises  Again: one of them has moved, or become another
    """
    async with connection.transaction():
        found = await hold(connection, {one[1]: one[0], other[1]: other[0]}, now)
        # Nobody is made: no id is asked for.
        plan = _Plan(Found(), now, lambda number: 0)
        plan.join(found[one[1]], found[other[1]])
        for stays, goes in plan.joins:
            await join(connection, stays, goes, now)
            await _write(connection, plan, {stays.id: stays}, now)
            return stays
    raise ValueError(f"merge: expected two persons, got {one[1]} twice")


async def _hand_over(connection: Connection, to: tuple[int, int], of: tuple[int, int]) -> None:
    for table, (moved, dropped) in MOVED.items():
        if to[0] == of[0] and table in RENAMED:
            await connection.execute(query(RENAMED[table]), *to, of[1])
        if moved:
            await connection.execute(query(moved), *to, *of)
        await connection.execute(query(dropped), *of)


def order_of(row: Any) -> Order:
    """Read an order as it stands in the table."""
    stated = None if row["stated_at"] is None else (row["stated_at"], row["stated_id"])
    return Order(
        key=row["key"],
        placed_at=row["placed_at"],
        stated=stated,
        amount=row["amount"],
        currency=row["currency"],
        refunded=msgspec.json.decode(row["refunded"], type=dict[str, int]),
        is_cancelled=row["is_cancelled"],
        is_refunded=row["is_refunded"],
    )


async def write_orders(connection: Connection, orders: Sequence[tuple[int, int, Order]]) -> None:
    """Write orders of persons: (bucket, profile, order)."""
    of = [one[2] for one in orders]
    await connection.execute(
        query("write_orders"), [one[0] for one in orders], [one[1] for one in orders], [one.key for one in of],
        [one.placed_at for one in of], [one.stated[0] if one.stated else None for one in of],
        [one.stated[1] if one.stated else None for one in of], [one.amount for one in of], [one.currency for one in of],
        [_json(one.refunded) for one in of], [one.is_cancelled for one in of], [one.is_refunded for one in of],
        [one.is_counted for one in of],
    )  # fmt: skip


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
