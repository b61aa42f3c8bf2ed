"""The gate, asked by who writes to nobody: how many of an audience may be written to now, and each check of one number.

    audience ─► numbers ─► Questions ─► learn, judge ─► counts by reason        Preview: read alone, nothing is reserved
    run and number ──────► Questions ─► learn, explain ─► every check and its facts        Chain
    numbers, a moment to come, and what would have left by then ─► Questions ─► verdicts        Foresight

What answers is what answers at a claim (admission.learn, _fastpath.gate): so a preview is what a run of that instant
finds, to the last message (SG-10). Not here: how it is shown (commands/audience.py, commands/explain.py).
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.gate import RESERVED, SEND, Questions, Zones, contacts
from _fastpath.numbers import NumberSet
from gateway import reasons
from gateway.campaign.admission import RunRules, micros, moment_of, place_sets
from gateway.campaign.quiet_hours import Occurrence
from gateway.campaign.quiet_hours import Reason as WindowReason
from gateway.dispatch.admission import learn, learn_consent, learn_talks
from gateway.dispatch.stops import REACHED
from gateway.gate import Cap, Gate
from gateway.inbox import InboxSettings
from gateway.message import MessageClass
from gateway.predicate import Predicate
from gateway.store import admission, brands, considered, stops
from gateway.store.audiences import Terms
from gateway.store.people import BUCKETS
from gateway.store.postgres import Connection, deadline
from gateway.store.runs import Run

# Numbers of one round: what is known of them is held in memory.
ROUND = 1 << 16
ASK_S = 60.0
# Of a binary COPY of one number: the header, a row, the end.
_HEADER, _ROW, _END = 19, 14, b"\xff\xff"
# Names that nothing was ever noted of: a number that no brand has, and the bit that no tag has.
UNKNOWN_BRAND, UNKNOWN_TAG = 32767, 63
# Runs that there are not, since no other has such a number: what is asked about, and what has left of it.
ASKED, LEFT = 1 << 62, (1 << 62) + 1


class Preview(Struct, frozen=True, kw_only=True):
    """What a run of this instant would come to.

    skipped   people who would be in no chunk, by reason
    verdicts  numbers by what the gate says: 0 send, 1 hold, below 0 the reason
    caps      as they are written, in the order of their reasons
    """

    people: int
    numbers: int
    skipped: dict[int, int]
    verdicts: dict[int, int]
    caps: Sequence[str]

    @property
    def reachable(self) -> int:
        """Who would be written to at once."""
        return self.verdicts.get(SEND, 0)

    @property
    def by_word(self) -> dict[str, int]:
        """Everybody else, by the word for it; of those who wait `outside_window(held)` and caps are one."""
        found: dict[str, int] = {}
        for verdict, number in [*self.skipped.items(), *self.verdicts.items()]:
            if verdict != SEND:
                word = "held" if verdict > 0 else reasons.word_of(verdict, self.caps)
                found[word] = found.get(word, 0) + number
        return dict(sorted(found.items()))

    def lines(self) -> list[tuple[str, int]]:
        """(what, how many), for a person."""
        without = self.skipped.get(reasons.Reason.NO_NUMBER, 0)
        return [
            ("people match", self.people),
            ("have a number", self.people - without),
            *self.by_word.items(),
            ("reachable now", self.reachable),
        ]

    def as_json(self) -> dict[str, Any]:
        """The same for a program."""
        without = self.skipped.get(reasons.Reason.NO_NUMBER, 0)
        return {
            "matched": self.people, "has_number": self.people - without, "reachable": self.reachable,
            "reasons": self.by_word,
        }  # fmt: skip


class Chain(Struct, frozen=True, kw_only=True):
    """What is known of a number, and what each check says of it, to the end.

    facts    as Questions.explain gives them, and `zone_name`
    checks   (name, verdict, until): 0 it passes, 1 it waits, below 0 the reason
    windows  those that have a say; zone: whose clock is shown
    """

    facts: dict[str, Any]
    checks: list[tuple[str, int, datetime | None]]
    caps: list[tuple[str, int, int]]
    windows: list[WindowReason]
    zone: str

    @property
    def verdict(self) -> tuple[int, datetime | None]:
        """What the gate would say: the first check that does not pass."""
        return next(((verdict, until) for _, verdict, until in self.checks if verdict), (SEND, None))


async def preview(
    connection: Connection, tree: Predicate, terms: Terms, gate: Gate, *, class_: MessageClass, sender: str = "",
    inboxes: Mapping[str, InboxSettings] = MappingProxyType({}),
) -> Preview:  # fmt: skip
    """Count what a run over an audience would come to at terms.now; nothing is written.

    tree    of the audience, with others in their places
    raises  StoreError
    cost    two looks through all people, and the gate's for each number
    """
    # Who was chosen by the tree just now need not be asked for it again.
    rules_of = await rules_for(
        connection, msgspec.structs.replace(gate, audience=None), run=0, class_=class_, priority=0, sender=sender
    )
    rules = rules_of.rules(terms.now)
    places = place_sets()
    zones = Zones(places.starts, places.ids)
    verdicts: dict[int, int] = {}
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        found = await considered.count(connection, tree, terms, gate)
        octets = await considered.numbers(connection, tree, terms, gate)
        suppressed = await suppressed_of(connection, class_, sender)
        names = await admission.zone_names(connection)
        for piece in _rounds(octets):
            questions = Questions.of_numbers(piece, zones)
            await learn(connection, questions, rules_of, rules, terms.now, terms.now, sender, suppressed)
            if rules_of.is_promotional:
                await learn_talks(connection, questions, inboxes, terms.now)
            questions.judge(rules, rules_of.windows(terms.now, questions.keys(), names))
            for verdict, number in questions.verdicts().items():
                verdicts[verdict] = verdicts.get(verdict, 0) + number
    return Preview(
        people=found.people, numbers=found.numbers, skipped=found.skipped, verdicts=verdicts, caps=rules_of.cap_words
    )


async def by_zone(
    connection: Connection, octets: bytes, gate: Gate, class_: MessageClass, now: datetime
) -> list[Occurrence]:
    """Lay a run at local time out over the zones of some numbers, octets of a COPY: when, and how many (QH-8)."""
    rules_of = await rules_for(connection, gate, run=0, class_=class_, priority=0, sender="")
    places = place_sets()
    zones = Zones(places.starts, places.ids)
    names = await admission.zone_names(connection)
    found: dict[tuple[int, int, bool], int] = {}
    for piece in _rounds(octets):
        questions = Questions.of_numbers(piece, zones)
        await learn_consent(connection, questions, gate)
        questions.keys()
        for key, people in questions.key_counts().items():
            found[key] = found.get(key, 0) + people
    summed: dict[tuple[str, datetime | None, str, bool], Occurrence] = {}
    for one in rules_of.occurrences(found, names):
        same = (one.zone, one.at, one.outcome, one.is_quiet)
        before = summed.get(same)
        summed[same] = one if before is None else one._replace(people=one.people + before.people)
    return sorted(summed.values(), key=lambda one: (one.at or now, one.zone))


async def silent(
    connection: Connection, brand: str, days: int, now: datetime, *, programme: str = "", sender: str = ""
) -> AsyncIterator[list[int]]:
    """Find who may be written to by a brand, and was sent nothing by it for so long (CP-9); bucket by bucket.

    The gate says so: who has agreed, has said no STOP, and would not meet a cap of one message in so many days.
    cost  as a preview
    """
    cap = Cap(limit=1, per=f"{days}d", classes=("transactional", "triggered", "bulk"))
    gate = Gate(brand=brand, programme=programme, needs="promotional", caps=(cap,), gap_s=0)
    # A transactional message, for which no law has hours: when it may go is not asked here.
    class_ = MessageClass.TRANSACTIONAL
    rules_of = await rules_for(connection, gate, run=0, class_=class_, priority=0, sender=sender)
    rules = rules_of.rules(now)
    places = place_sets()
    zones = Zones(places.starts, places.ids)
    suppressed = await suppressed_of(connection, MessageClass.BULK, sender)
    names = await admission.zone_names(connection)
    for bucket in range(BUCKETS):
        numbers = await brands.granted(connection, bucket, gate.consents_of)
        if not numbers:
            continue
        questions = Questions.of_numbers(as_asked(*numbers), zones)
        await learn(connection, questions, rules_of, rules, now, now, sender, suppressed)
        questions.judge(rules, rules_of.windows(now, questions.keys(), names))
        yield [number for number in numbers if questions.verdict(number)[0] == SEND]


async def chain(
    connection: Connection, run: Run, gate: Gate, number: int, now: datetime, sender: str = "",
    inboxes: Mapping[str, InboxSettings] = MappingProxyType({}),
) -> Chain:  # fmt: skip
    """Ask every check of the gate about one number of a run, as of a moment; nothing is written."""
    class_ = MessageClass(run.class_)
    rules_of = await rules_for(connection, gate, run=run.id, class_=class_, priority=run.priority, sender=sender)
    rules = rules_of.rules(now, run.expires_at)
    places = place_sets()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        questions = Questions.of_numbers(as_asked(number), Zones(places.starts, places.ids))
        suppressed = await suppressed_of(connection, class_, sender)
        names = await admission.zone_names(connection)
        await learn(connection, questions, rules_of, rules, now, run.created_at, sender, suppressed)
        if rules_of.is_promotional:
            await learn_talks(connection, questions, inboxes, now)
    facts, checks = questions.explain(number, rules, rules_of.windows(now, questions.keys(), names))
    key, zone_name = facts["key"], names.get(_int(facts["zone"]), "")
    has_night = facts["night"] == 2
    counts = facts["counts"]
    assert isinstance(key, int) and isinstance(counts, list)
    limits = zip(rules_of.cap_words, counts, [cap.limit for cap in rules_of.caps], strict=True)
    return Chain(
        facts={**facts, "zone_name": zone_name},
        checks=[(name, verdict, None if us is None else moment_of(us)) for name, verdict, us in checks],
        caps=[(words, had, limit) for words, had, limit in limits],
        windows=rules_of.why(key, zone_name, has_night, now) if rules.has_windows else [],
        zone=rules_of.zone_of(key, zone_name),
    )


class Foresight:
    """The gate of a run that there is not yet, asked at moments that have not come; nothing is written.

    Each message counts against the next, of whichever run, as those of an open run do (store.admission.acts).
    """

    def __init__(
        self, connection: Connection, gate: Gate, *, class_: MessageClass, priority: int, sender: str,
        inboxes: Mapping[str, InboxSettings] = MappingProxyType({}),
    ):  # fmt: skip
        self._connection, self._class, self._priority, self._sender = connection, class_, priority, sender
        self._inboxes = inboxes
        # Who is asked for has been chosen by the tree just now.
        self._gate = msgspec.structs.replace(gate, audience=None)
        self._rules: dict[int, RunRules] = {}
        self._suppressed: list[NumberSet] | None = None
        self._names: Mapping[int, str] = {}
        self._places = place_sets()

    async def _rules_of(self, run: int) -> RunRules:
        if run not in self._rules:
            async with deadline(self._connection, ASK_S, "rules of a gate"):
                self._rules[run] = await rules_for(
                    self._connection, self._gate, run=run, class_=self._class, priority=self._priority,
                    sender=self._sender,
                )  # fmt: skip
        return self._rules[run]

    async def ask(self, asked: Mapping[int, Sequence[bytes]], at: datetime) -> dict[int, tuple[int, datetime | None]]:
        """Ask about numbers, each with what of it would have `left` by then; -> verdict, and until when it waits."""
        connection, rules_of = self._connection, await self._rules_of(ASKED)
        if self._suppressed is None:
            async with deadline(connection, ASK_S, "who has said STOP"):
                self._suppressed = await suppressed_of(connection, self._class, self._sender)
                self._names = await admission.zone_names(connection)
        rules = rules_of.rules(at)
        zones = Zones(self._places.starts, self._places.ids)
        found: dict[int, tuple[int, datetime | None]] = {}
        for some in _batched(asked, ROUND):
            questions = Questions.of_numbers(as_asked(*some), zones)
            async with deadline(connection, ASK_S, "what the gate asks"):
                await learn(connection, questions, rules_of, rules, at, at, self._sender, self._suppressed)
                if rules_of.is_promotional:
                    await learn_talks(connection, questions, self._inboxes, at)
            if left := b"".join(one for number in some for one in asked[number]):
                questions.read_contacts(left)
            questions.judge(rules, rules_of.windows(at, questions.keys(), self._names))
            for number in some:
                verdict, until = questions.verdict(number)
                found[number] = verdict, moment_of(until) if verdict > SEND else None
        return found

    async def left(self, number: int, at: datetime) -> bytes:
        """Write down that a message has left, for `ask` of what comes behind it."""
        rules = (await self._rules_of(LEFT)).rules(at)
        return as_records(contacts((number,), rules, RESERVED, micros(at)))

    async def word(self, verdict: int) -> str:
        """Name why a message does not leave."""
        return reasons.word_of(verdict, (await self._rules_of(ASKED)).cap_words)


async def rules_for(
    connection: Connection, gate: Gate, *, run: int, class_: MessageClass, priority: int, sender: str
) -> RunRules:
    """Make the rules of a run without giving any name a number."""
    brand_id, tags = await ids_for(connection, gate)
    return RunRules(
        gate,
        run=run,
        class_=class_,
        priority=priority,
        sender=sender,
        brand_id=brand_id,
        tags=tags,
        places=place_sets(),
    )


async def ids_for(connection: Connection, gate: Gate) -> tuple[int, dict[str, int]]:
    """Find the small numbers of a gate's brand and of all its tags, of which some may have none yet."""
    brand_id = (await admission.known_id(connection, "brand", gate.brand) or UNKNOWN_BRAND) if gate.brand else 0
    tags = {}
    for name in sorted({*gate.tags, *(tag for cap in gate.caps for tag in cap.tags)}):
        known = await admission.known_id(connection, "tag", name)
        tags[name] = UNKNOWN_TAG if known is None else known
    return brand_id, tags


async def suppressed_of(connection: Connection, class_: MessageClass, sender: str) -> list[NumberSet]:
    """Read who has said STOP to a sender or to all: the sets that a worker has (dispatch/stops.py)."""
    if class_ not in REACHED:
        return []
    sets: dict[str, NumberSet] = {}
    await stops.load(connection, sets)
    return [sets[scope] for scope in stops.scopes_of(class_, sender) if scope in sets]


def _rounds(octets: bytes) -> Iterator[bytes]:
    """Cut a COPY of numbers into such of at most ROUND."""
    rows = octets[_HEADER : -len(_END)]
    for at in range(0, len(rows), _ROW * ROUND):
        yield octets[:_HEADER] + rows[at : at + _ROW * ROUND] + _END


def _batched(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """Cut numbers into lists of at most so many."""
    left = iter(numbers)
    while some := list(islice(left, size)):
        yield some


def as_asked(*numbers: int) -> bytes:
    """Write numbers as a COPY."""
    rows = (b"\x00\x01" + (8).to_bytes(4) + number.to_bytes(8) for number in numbers)
    return b"PGCOPY\n\xff\r\n\x00" + bytes(8) + b"".join(rows) + _END


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def as_records(octets: bytes) -> bytes:
    """Write rows of a binary COPY as record_send has them: counts of four octets, and a type before each value."""
    out, at = [], _HEADER
    while octets[at : at + 2] != _END:
        columns = int.from_bytes(octets[at : at + 2])
        at += 2
        out.append(columns.to_bytes(4))
        for _ in range(columns):
            end = at + 4 + int.from_bytes(octets[at : at + 4])
            out += [bytes(4), octets[at:end]]
            at = end
    return b"".join(out)
