"""The gate at the claim: between the chunks that were claimed and the backlog that hands them out.

    claimed batches of a run ─► Questions ─┬─ hold buckets, read pages        one transaction on the people's tables
                                           ├─ judge, in C
                                           └─ reserve, COMMIT
        ─► verdicts ride on the batches ─► who waits is put off, or aside, on the lane's side

What was reserved and did not go after all gives its place back later (returns.py); what waits meets the gate again when
it is claimed again, and so does the rest of a batch whose window closed while it stood in the backlog.
Not here: the decision itself (campaign.admission, _fastpath.gate).
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from msgspec import Struct

from _fastpath.batch import Batch
from _fastpath.gate import Questions, Rules, Zones
from _fastpath.numbers import NumberSet
from gateway import predicate, reasons
from gateway.campaign.admission import RunRules, micros, moment_of, place_sets
from gateway.campaign.conversation import paused_until
from gateway.campaign.quiet_hours import versions
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.errors import StoreError
from gateway.gate import Gate, gate_of
from gateway.inbox import NOBODY, InboxSettings
from gateway.message import MessageClass, Policy
from gateway.store import admission, audit, considered, conversations, excepted, happenings, postgres, queue
from gateway.store.audiences import Terms
from gateway.store.excepted import Hit
from gateway.store.runs import Run
from gateway.store.stops import EVERYTHING, PROMOTIONAL, scope_of

# Rules of so many runs and senders are kept.
KEPT = 1024
# How far ahead a run may be due that takes a place from this one (gate.arbitration_s is at most a day).
AHEAD = timedelta(days=1)
# Before every event there is.
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
# Whom a person of ours talks with is asked for again so often, until that is over.
TALK_LOOK = timedelta(minutes=15)
CHUNK_MASK = (1 << queue.CHUNK_BITS) - 1


class Waiting(Struct, frozen=True):
    """What of a batch may not go yet: all that is left of it until a moment, or some positions, by moment."""

    until: datetime | None
    positions: Mapping[datetime, Sequence[int]]


class Asked(Struct, frozen=True):
    """Batches of one run to one sender, claimed and not handed out.

    acts   by chunk, what reserves in place of the run: of a run without a list (store.admission.acts)
    """

    batches: Sequence[Batch]
    run: Run
    sender: str
    acts: Mapping[int, int] | None = None


class Admission:
    """The gate of one lane."""

    def __init__(
        self, connect: Connect, clock: Clock, deadline_s: float, instance: str = "",
        inboxes: Mapping[str, InboxSettings] = MappingProxyType({}),
    ):  # fmt: skip
        self._instance = instance
        self._inboxes = inboxes
        self._line = Line(connect)
        self._clock = clock
        self._deadline_s = deadline_s
        # Where numbers are: 40 ms to make, and only where somebody asks the gate.
        self._zones: Zones | None = None
        self._zone_names: dict[int, str] = {}
        # By run and sender, with the gate that they were made of.
        self._rules: dict[tuple[int, str], tuple[str, RunRules]] = {}
        self.admitted = 0
        self.held = 0
        self.refused = 0

    async def admit(
        self, asked: Sequence[Asked], aside: Mapping[int, Collection[int]] = MappingProxyType({})
    ) -> list[dict[Batch, Waiting] | ValueError]:
        """Decide about the batches of some runs; -> of each what waits, or why it cannot pass the gate.

        Their verdicts are on the batches when this returns. All are decided in one transaction, one behind the other:
        what the first has reserved the next one sees.

        aside   by chunk, the positions that wait in another chunk since an earlier claim
        raises  StoreError: nothing was decided, or it is not known whether it was: to be asked again either way
        """
        if self._zones is None:
            places = place_sets()
            self._zones = Zones(places.starts, places.ids)
        all_questions = [Questions(one.batches, self._zones, aside, one.acts) for one in asked]
        connection = await self._line.opened()
        runs = ", ".join(str(one.run.id) for one in asked)
        try:
            async with postgres.deadline(connection, self._deadline_s, f"gate of run {runs}"):
                failed, moments = await self._decide_all(connection, asked, all_questions)
        except BaseException as error:
            if not isinstance(error, StoreError) or not self._line.is_sound(error):
                self._line.cut()
            raise
        found: list[dict[Batch, Waiting] | ValueError] = []
        for at, questions in enumerate(all_questions):
            if at in failed:
                found.append(failed[at])
                continue
            self.admitted += questions.admitted
            self.held += questions.held
            self.refused += questions.refused
            found.append(_waiting(questions.apply(moments.get(at, 0.0))))
        return found

    async def _decide_all(
        self, connection: postgres.Connection, asked: Sequence[Asked], all_questions: Sequence[Questions]
    ) -> tuple[dict[int, ValueError], dict[int, float]]:
        """Decide about each that has somebody to ask about.

        ->  what is wrong with some, and the monotonic moments at which the others were judged, by place
        """
        failed: dict[int, ValueError] = {}
        moments: dict[int, float] = {}
        rules_by_place: dict[int, RunRules] = {}
        # Not those of their making: a brand may have lowered a limit since (CP-8).
        gates = await admission.gates(connection, (one.run.id for one in asked))
        for at, (one, questions) in enumerate(zip(asked, all_questions, strict=True)):
            try:
                if len(questions):
                    rules_by_place[at] = await self._rules_of(connection, one.run, gates.get(one.run.id), one.sender)
            except ValueError as error:
                failed[at] = error
        if not rules_by_place:
            return failed, moments
        buckets = {bucket for at in rules_by_place for bucket in all_questions[at].spans()[0]}
        async with connection.transaction():
            await admission.hold_buckets(connection, buckets)
            for at, rules_of in rules_by_place.items():
                try:
                    moments[at] = await self._decide(connection, all_questions[at], rules_of, asked[at])
                except ValueError as error:
                    failed[at] = error
        return failed, moments

    async def _decide(
        self, connection: postgres.Connection, questions: Questions, rules_of: RunRules, asked: Asked
    ) -> float:
        """Decide about one; -> the moment it is for: a window closes no later because Postgres took its time."""
        now, at, run = self._clock.wall(), self._clock.monotonic(), asked.run
        rules = rules_of.rules(now, run.expires_at)
        suppressed = asked.batches[0].suppressed
        await learn(connection, questions, rules_of, rules, now, run.created_at, asked.sender, suppressed)
        if rules_of.is_promotional:
            await learn_talks(connection, questions, self._inboxes, now)
        if rules_of.gate.campaign:
            await learn_enrolled(connection, questions, asked.batches, rules_of, run, now)
        keys = questions.keys()
        if any(zone and zone not in self._zone_names for _, zone, _ in keys):
            self._zone_names = dict(await admission.zone_names(connection))
        questions.judge(rules, rules_of.windows(now, keys, self._zone_names))
        if not rules_of.is_exempt:
            told = [questions.reservations(rules)]
            if keeps_nothing(run, questions.batches):
                told += [questions.withdrawals(rules), questions.announcements(rules)]
            for octets in told:
                if octets:
                    await admission.reserve(connection, octets)
        return at

    async def _rules_of(self, connection: postgres.Connection, run: Run, text: str | None, sender: str) -> RunRules:
        gate = gate_of(text)
        if text is None or gate is None:
            raise ValueError(f"run {run.id}: expected a gate, found none")
        before, known = self._rules.get((run.id, sender), ("", None))
        if known is None:
            # Before the first decision, so that none is without it; another sender's are by the same data.
            await audit.note_data(
                connection, at=self._clock.wall(), by=self._instance, run=run.id, made_at=run.created_at,
                versions=versions(),
            )  # fmt: skip
        if known is None or text != before:
            brand_id = await admission.id_of(connection, "brand", gate.brand) if gate.brand else 0
            names = {*gate.tags, *(tag for cap in gate.caps for tag in cap.tags)}
            tags = {name: await admission.id_of(connection, "tag", name) for name in sorted(names)}
            known = RunRules(
                gate,
                run=run.id,
                class_=MessageClass(run.class_),
                priority=run.priority,
                sender=sender,
                brand_id=brand_id,
                tags=tags,
                places=place_sets(),
            )
            if len(self._rules) >= KEPT:
                del self._rules[next(iter(self._rules))]
            self._rules[run.id, sender] = text, known
        return known

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()


async def learn(
    connection: postgres.Connection,
    questions: Questions,
    rules_of: RunRules,
    rules: Rules,
    now: datetime,
    since: datetime,
    sender: str,
    suppressed: Sequence[NumberSet],
) -> None:
    """Read what is known of everybody who is asked for: a claim, a preview and `sluice explain` read it alike.

    since       when the run was made: what must not have happened counts from there
    suppressed  sets of those who have said STOP to this sender or to all
    """
    if stopped := questions.among(suppressed):
        sources = await admission.why_suppressed(connection, stopped, [EVERYTHING, scope_of(sender), PROMOTIONAL])
        questions.refuse({number: reasons.of_source(sources.get(number, "")) for number in stopped})
    if rules_of.audience is not None or rules_of.exception is not None:
        numbers = questions.numbers_text()
        terms = Terms(now=now, zone=rules_of.days_zone, salt=await considered.salt(connection))
        if rules_of.audience is not None:
            questions.read_refusals(await considered.left(connection, numbers, rules_of.audience, terms))
        if rules_of.exception is not None:
            tree = predicate.since(rules_of.exception, since)
            questions.read_refusals(await considered.excepted(connection, numbers, tree, terms))
    spans = questions.spans()
    if rules.needs:
        await learn_consent(connection, questions, rules_of.gate)
    if not rules_of.is_exempt:
        far = now - timedelta(microseconds=rules.reach_us)
        questions.read_contacts(await admission.contacts(connection, spans, far, now + AHEAD))
        if rivals := questions.rivals(rules, micros(now)):
            questions.forget(rivals - await admission.pending(connection, rivals, now))


async def learn_enrolled(
    connection: postgres.Connection, questions: Questions, batches: Sequence[Batch], rules_of: RunRules, run: Run,
    now: datetime,
) -> None:  # fmt: skip
    """Ask of people of a campaign whether they are still under way: what was committed before this counts (EX-2).

    Their chunks name the enrolment of each in the last column. What an exception prevents is noted (EX-5).
    """
    enrolled = {batch.number(pos): _enrolment_of(batch, pos) for batch in batches for pos in range(batch.n)}
    gate = rules_of.gate
    terms = Terms(now=now, zone=rules_of.days_zone, salt=await considered.salt(connection))
    made_since = now - timedelta(seconds=gate.expires_s) if gate.expires_s else LONG_AGO
    hits: dict[int, Hit] = {}
    refused = await happenings.refused(
        connection, enrolled, gate.exceptions, gate.goal, LONG_AGO, made_since, terms, hits
    )
    if refused:
        questions.refuse(refused)
    if hits:
        told = {(number, *enrolled[number]): hit for number, hit in hits.items()}
        await excepted.refused_at_gate(connection, run.id, run.name, told, now)


async def learn_talks(
    connection: postgres.Connection, questions: Questions, inboxes: Mapping[str, InboxSettings], now: datetime
) -> None:
    """Let wait whom a person of ours answers, and for a while behind that: what is promotional alone (IN-7)."""
    longest = max(one.pause_s for one in (NOBODY, *inboxes.values()))
    buckets = questions.spans()[0]
    talks = await conversations.talking(connection, buckets, now - timedelta(seconds=longest)) if buckets else {}
    moments = {}
    for number, some in talks.items():
        ends = [
            end
            for name, closed_at in some
            if (end := paused_until(inboxes.get(name, NOBODY), has_person=True, closed_at=closed_at)) is not None
        ]
        # As long as it is open nobody knows until when; those who wait are looked at together.
        again = now + TALK_LOOK
        if any(end == datetime.max for end in ends):
            moments[number] = micros(again)
        elif (last := max(ends, default=now)) > now:
            moments[number] = micros(max(last, again))
    questions.put_off(moments)


async def learn_consent(connection: postgres.Connection, questions: Questions, gate: Gate) -> None:
    """Read consent and zones: what is said of a programme holds, and where nothing is, what is said of its brand."""
    spans = questions.spans()
    for name in gate.consents_of:
        questions.read_consent(await admission.consent(connection, spans, name))


def _enrolment_of(batch: Batch, pos: int) -> tuple[int, int]:
    """Read whose a message is: enrolment and visit."""
    enrolment, _, visit = (batch.values(pos)[-1] or "0:0").partition(":")
    return int(enrolment), int(visit or 0)


def keeps_nothing(run: Run, batches: Sequence[Batch]) -> bool:
    """Whether what is held or refused of these batches has no other message of the run that keeps the place.

    A copy may be of a message in doubt.
    """
    return run.policy == Policy.ONCE or all(batch.chunk_id & CHUNK_MASK < queue.FIRST_REPEAT for batch in batches)


async def asked_of(
    connection: postgres.Connection, lane: int, batches: Sequence[Batch], run: Run, sender: str
) -> list[Asked]:
    """Say what is asked about batches of a run: of a run without a list each message counts against the next (CP-1)."""
    if run.list is not None:
        return [Asked(batches, run, sender)]
    acts = await admission.acts(connection, lane, [batch.chunk_id for batch in batches])
    return [Asked(some, run, sender, acts) for some in apart(batches)]


def apart(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Part batches into such that no number is in two of: they are asked for one behind the other.

    cost  a set entry a message: of runs without a list, whose chunks hold a few people
    """
    found: list[tuple[set[int], list[Batch]]] = []
    for batch in batches:
        numbers = {batch.number(pos) for pos in range(batch.n)}
        place = next((one for one in found if one[0].isdisjoint(numbers)), None)
        if place is None:
            place = (set(), [])
            found.append(place)
        place[0].update(numbers)
        place[1].append(batch)
    return [some for _, some in found]


def _waiting(holds: Mapping[Batch, Mapping[int, Sequence[int]]]) -> dict[Batch, Waiting]:
    """Say what waits: a batch of which nobody may be written to now goes back whole, with one of its moments."""
    found = {}
    for batch, by_moment in holds.items():
        moments = sorted(by_moment)
        if sum(map(len, by_moment.values())) == batch.n - batch.next_rank:
            found[batch] = Waiting(moment_of(moments[batch.chunk_id % len(moments)]), {})
        else:
            found[batch] = Waiting(None, {moment_of(at): by_moment[at] for at in moments})
    return found
