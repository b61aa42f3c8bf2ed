"""Conversations, questions that wait, and what is owed because of them. Statements: sql/conversations.sql.

    a message ─► hold: conversations, questions of its number ─► (decided: automation/replying.py) ─► keep
                                                       conversations, what was said, questions, what is owed ─► COMMIT
    owed ─► Text: enqueue on its lane, once by its id     ─► done
            Told: events of the person, once by event_id
            Alert: an event of the lane, for whoever acts on it
            Sought: an answerer is asked, and what it says is kept as above

Everything that a message changes is one transaction of one bucket; what it makes others do is owed in it, and done
behind it: a crash between repeats what is owed, and the lane, or the ingest, takes nothing twice. A message is in a
conversation once by its key. Whoever changes a conversation holds its row.
Not here: what is decided (campaign/conversation.py), who asks and answers (automation/replying.py).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from gateway.events import Event, event
from gateway.message import MessageClass, Policy
from gateway.person import hash_of
from gateway.question import Question
from gateway.store import events, runs, stops
from gateway.store.columns import ints
from gateway.store.postgres import Connection
from gateway.store.queries import query
from gateway.store.runs import Run

OPEN, SNOOZED, CLOSED = 0, 1, 2
IN, PERSON, SELF, NOTE = 0, 1, 2, 3
TEMPLATE, FIELD = "{{ text }}", "text"
# What was taken by a lane is offered again within it at the most.
SENT_FOR = timedelta(days=7)
LISTED = 10_000


class Conversation(Struct, kw_only=True):
    """One conversation as it stands; changed in place and written by `keep`."""

    bucket: int
    id: int
    number: int
    inbox: str
    brand: str
    sender: str
    lane: int
    opened_at: datetime
    state: int = OPEN
    last_in_at: datetime | None = None
    last_out_at: datetime | None = None
    closed_at: datetime | None = None
    snoozed_until: datetime | None = None
    assigned_to: str = ""
    assigned_at: datetime | None = None
    return_at: datetime | None = None
    waits_since: datetime | None = None
    answer_due: datetime | None = None
    late_at: datetime | None = None
    first_answer_at: datetime | None = None
    away_at: datetime | None = None
    misses: int = 0
    is_handed_over: bool = False
    has_person: bool = False
    campaign: str = ""
    language: str = ""
    before: int | None = None

    def answered(self, at: datetime, *, by_person: bool) -> None:
        """Note that somebody, or we by ourselves, have answered: nobody waits any more."""
        self.last_out_at = at
        self.waits_since = self.answer_due = self.return_at = self.late_at = None
        self.first_answer_at = self.first_answer_at or at
        self.has_person = self.has_person or by_person


class Said(Struct, frozen=True, kw_only=True):
    """One thing that was said; key: known by it once."""

    key: str
    number: int
    conversation: int
    at: datetime
    direction: int
    text: str
    by: str = ""
    campaign: str = ""


class Asked(Struct, frozen=True, kw_only=True):
    """A question that waits for its answer.

    enrolment, step, visit  who asks it: the answer names them
    """

    number: int
    enrolment: int
    step: str
    visit: int
    question: Question
    asked_at: datetime
    until: datetime
    inbox: str = ""
    campaign: str = ""
    tried: int = 0


class Text(Struct, frozen=True, kw_only=True, tag="text"):
    """A text to be sent, from the sender that was written to, where its number may be written to."""

    inbox: str
    lane: int
    sender: str
    text: str
    class_: int = MessageClass.CONVERSATION


class Told(Struct, frozen=True, kw_only=True, tag="told"):
    """An event of the person. makes: nobody is known by that number, and somebody should be."""

    event_id: str
    name: str
    at: datetime
    source: str
    properties: dict[str, Any]
    attributes: dict[str, Any] = {}
    makes: bool = False


class Alert(Struct, frozen=True, kw_only=True, tag="alert"):
    """An event of a lane (gateway/events.py)."""

    lane: int
    kind: str
    at: datetime
    body: dict[str, Any]


class Sought(Struct, frozen=True, kw_only=True, tag="sought"):
    """A message that an answerer is to be asked about."""

    conversation: int
    key: str
    text: str
    language: str = ""


Body: TypeAlias = Text | Told | Alert | Sought


class Owed(Struct, frozen=True, kw_only=True):
    """Something to be done."""

    bucket: int
    id: int
    number: int
    tries: int
    body: Body


class Heard(Struct, frozen=True, kw_only=True):
    """A message of a handset, from its event."""

    event: int
    lane: int
    id: int
    at: datetime
    source: str
    destination: str
    text: str

    @property
    def key(self) -> str:
        """What it is known by in conversations."""
        return f"in:{self.lane}:{self.id}"


class Kept(Struct, kw_only=True):
    """What one transaction of a bucket writes."""

    conversations: dict[int, Conversation] = {}
    said: list[Said] = []
    tried: list[Asked] = []
    closed: list[Asked] = []
    owed: list[tuple[int, int, Body]] = []


class Held(Struct, frozen=True, kw_only=True):
    """What is known of some numbers of a bucket, and is held until the transaction ends.

    conversations  the newest of each number and inbox
    questions      those of each number, the newest first
    people         (language, country) by number, of those who are known
    campaigns      what each was sent last; audiences: which of those that rules name they are in
    """

    conversations: dict[tuple[int, str], Conversation]
    questions: dict[int, list[Asked]]
    people: dict[int, tuple[str, str]]
    campaigns: dict[int, str]
    audiences: dict[int, set[str]]


# Reading what came


async def news(connection: Connection) -> dict[int, tuple[int, int]]:
    """Say of each lane with something new behind which event it was read, and up to which there are any."""
    newest = {row["lane"]: row["last_id"] for row in await connection.fetch(query("newest_events"))}
    upto = {row["lane"]: row["event"] for row in await connection.fetch(query("replied_upto"))}
    found = {}
    for lane, last in sorted(newest.items()):
        if lane not in upto:
            begin = await connection.fetchval(query("replying_begin"))
            upto[lane] = int(await connection.fetchval(query("last_event_before"), lane, begin))
        if last > upto[lane]:
            found[lane] = upto[lane], last
    return found


async def heard(connection: Connection, lane: int, since: int, upto: int) -> list[Heard]:
    """Read what handsets wrote on a lane, by their events."""
    found = []
    for row in await connection.fetch(query("inbound_between"), lane, since, upto):
        body = msgspec.json.decode(row["body"], type=dict[str, Any])
        found.append(
            Heard(
                event=row["id"], lane=lane, id=body["message"], at=row["at"], source=row["subject"],
                destination=body["destination"], text=body["text"],
            )
        )  # fmt: skip
    return found


async def obeyed(connection: Connection, lane: int, since: int, upto: int) -> set[int]:
    """Name the messages whose YES or START was obeyed, by events of a span."""
    return {row["message"] for row in await connection.fetch(query("obeyed_between"), lane, since, upto)}


async def note(connection: Connection, lane: int, event: int) -> None:
    """Note how far a lane was read."""
    await connection.execute(query("note_replied"), lane, event)


async def mask(connection: Connection, one: Heard, text: str) -> None:
    """Write a message anew wherever it is kept as it came, in a transaction of its lane (IN-10)."""
    async with connection.transaction():
        pdus = await connection.fetchval(query("mask_message"), one.lane, one.id, text)
        if pdus:
            await connection.execute(query("mask_pdus"), one.lane, list(pdus))
        await connection.execute(query("mask_event"), one.lane, one.event, text)


# One bucket


async def unknown(connection: Connection, bucket: int, some: Sequence[tuple[int, Heard]]) -> list[tuple[int, Heard]]:
    """Leave out what is in a conversation already: (number, message)."""
    rows = await connection.fetch(
        query("known_messages"), bucket, sorted({number for number, _ in some}), [one.key for _, one in some]
    )
    known = {(row["number"], row["key"]) for row in rows}
    return [(number, one) for number, one in some if (number, one.key) not in known]


async def is_said(connection: Connection, bucket: int, number: int, key: str) -> bool:
    """Say whether something was said already, by its key."""
    return bool(await connection.fetch(query("known_messages"), bucket, [number], [key]))


async def audience_ids(connection: Connection, names: Iterable[str]) -> dict[int, str]:
    """Find the watched audiences that rules name."""
    rows = await connection.fetch(query("ids_of_audiences"), sorted(set(names)))
    return {row["id"]: row["name"] for row in rows}


async def hold(
    connection: Connection, bucket: int, numbers: Sequence[int], audiences: Mapping[int, str] | None = None
) -> Held:
    """Read all that a message of some numbers may change, and let nobody else change it; in the caller's transaction.

    audiences  that rules name, by id
    """
    some = sorted(set(numbers))
    conversations = [_conversation(row) for row in await connection.fetch(query("hold_conversations"), bucket, some)]
    questions: dict[int, list[Asked]] = {}
    for row in await connection.fetch(query("hold_questions"), bucket, some):
        questions.setdefault(row["number"], []).append(_asked(row))
    people = await connection.fetch(query("languages_of_numbers"), bucket, some)
    campaigns = await connection.fetch(query("campaigns_last_sent"), bucket, some) if people else []
    members: dict[int, set[str]] = {}
    if audiences and people:
        for row in await connection.fetch(query("memberships_of_numbers"), bucket, some, list(audiences)):
            members.setdefault(row["number"], set()).add(audiences[row["audience"]])
    return Held(
        conversations={(one.number, one.inbox): one for one in conversations},
        questions=questions,
        people={row["number"]: (row["language"] or "", row["country"] or "") for row in people},
        campaigns={row["number"]: row["campaign"] or "" for row in campaigns},
        audiences=members,
    )


async def hold_one(connection: Connection, bucket: int, id_: int) -> Conversation | None:
    """Read one conversation and let nobody else change it; in the caller's transaction."""
    row = await connection.fetchrow(query("hold_conversation"), bucket, id_)
    return None if row is None else _conversation(row)


async def keep(connection: Connection, bucket: int, kept: Kept, now: datetime) -> None:
    """Write what follows from messages, in the caller's transaction, which holds its conversations."""
    some = list(kept.conversations.values())
    if some:
        columns = [[getattr(one, name) for one in some] for name in Conversation.__struct_fields__]
        by_name = dict(zip(Conversation.__struct_fields__, columns, strict=True))
        await connection.execute(query("write_conversations"), bucket, *(by_name[name] for name in _WRITTEN))
    if kept.said:
        of = kept.said
        await connection.execute(
            query("add_conversation_messages"), bucket, [one.number for one in of], [one.key for one in of],
            [one.conversation for one in of], [one.at for one in of], [one.direction for one in of],
            [storable(one.text) for one in of], [one.by for one in of], [one.campaign for one in of],
        )  # fmt: skip
    for asked in kept.tried:
        await connection.execute(query("try_question"), bucket, asked.number, asked.enrolment, asked.step, asked.visit)
    for asked in kept.closed:
        await close_question(connection, bucket, asked)
    await owe(connection, bucket, kept.owed, now)


async def owe(connection: Connection, bucket: int, owed_: Sequence[tuple[int, int, Body]], due_at: datetime) -> None:
    """Write down what is to be done: (id, number, what)."""
    if owed_:
        await connection.execute(
            query("owe"), bucket, [one[0] for one in owed_], [one[1] for one in owed_],
            [msgspec.json.encode(one[2]).decode() for one in owed_], due_at,
        )  # fmt: skip


async def ask(connection: Connection, bucket: int, asked: Sequence[Asked]) -> None:
    """Let questions wait for their answers, in the transaction of the step that sends them; asked again, nothing."""
    await connection.execute(
        query("ask_questions"), bucket, [one.number for one in asked], [one.enrolment for one in asked],
        [one.step for one in asked], [one.visit for one in asked], [one.inbox for one in asked],
        [one.asked_at for one in asked], [one.until for one in asked], [one.campaign for one in asked],
        [msgspec.json.encode(one.question).decode() for one in asked],
    )  # fmt: skip


async def is_asked(connection: Connection, number: int, at: datetime) -> bool:
    """Say whether a question was open for a number at a moment, of somebody who is still under way."""
    return bool(await connection.fetchval(query("has_question"), hash_of(number), number, at))


async def close_question(connection: Connection, bucket: int, asked: Asked) -> bool:
    """Let a question wait no more; -> whether it did."""
    found = await connection.fetchval(
        query("close_question"), bucket, asked.number, asked.enrolment, asked.step, asked.visit
    )
    return found is not None


async def questions_over(connection: Connection, now: datetime, limit: int) -> list[Asked]:
    """Read questions that were not answered in time."""
    return [_asked(row) for row in await connection.fetch(query("questions_over"), now, limit)]


# What is owed


async def is_owed(connection: Connection, now: datetime) -> bool:
    """Say whether anything is to be done by now."""
    return bool(await connection.fetchval(query("is_owed"), now))


async def owed(connection: Connection, now: datetime, limit: int) -> list[Owed]:
    """Read what is to be done by now, the oldest first."""
    return [
        Owed(
            bucket=row["bucket"], id=row["id"], number=row["number"], tries=row["tries"],
            body=msgspec.json.decode(row["body"], type=Body),
        )
        for row in await connection.fetch(query("owed"), now, limit)
    ]  # fmt: skip


async def done(connection: Connection, bucket: int, ids: Sequence[int]) -> set[int]:
    """Take away what was done; -> what was still there."""
    return {row["id"] for row in await connection.fetch(query("done_owed"), bucket, list(ids))}


async def put_off(connection: Connection, bucket: int, ids: Sequence[int], until: datetime) -> None:
    """Try something once more, later."""
    await connection.execute(query("put_off_owed"), bucket, list(ids), until)


async def send(connection: Connection, run: Run, one: Owed, text: Text, now: datetime) -> bool:
    """Enqueue a text on its lane, once whoever asks how often; -> False: the lane has it already."""
    async with connection.transaction():
        if await connection.fetchval(query("take_sent"), text.lane, one.id, now) is None:
            return False
        await runs.enqueue_few(
            connection, run, text.lane, [one.number], [[storable(text.text)]], now, source=text.sender
        )
    return True


async def alert(connection: Connection, one: Owed, told: Alert, subject: str, now: datetime) -> bool:
    """Write an event of a lane, once; -> False: it is there."""
    async with connection.transaction():
        await events.take_turn(connection, told.lane)
        if await connection.fetchval(query("take_sent"), told.lane, one.id, now) is None:
            return False
        await events.append(connection, told.lane, [_alert(told, subject)])
    return True


def _alert(told: Alert, subject: str) -> Event:
    if told.kind == "conversation.late":
        return event("conversation.late", told.at, subject, **told.body)
    return event("conversation.handed_over", told.at, subject, **told.body)


async def forget_sent(connection: Connection, lane: int, now: datetime) -> None:
    """Forget what a lane has taken long ago."""
    await connection.execute(query("forget_sent"), lane, now - SENT_FOR)


async def run_of(connection: Connection, inbox: str, class_: int, lane: int, gate: Any, now: datetime) -> Run:
    """Find the open run of an inbox's answers of a class, or make one."""
    name = f"conversation {inbox}".strip()
    known = await stops.reply_run(connection, name, TEMPLATE, class_)
    found = None if known is None else await runs.run_by_id(connection, known)
    return found or await runs.add_run(
        connection, name=name, template=TEMPLATE, fields=[FIELD], class_=class_, policy=Policy.ONCE, lanes=[lane],
        list_id=None, source=None, now=now, gate=gate,
    )  # fmt: skip


async def stopped(connection: Connection, numbers: Sequence[int], sender: str = "") -> dict[int, dict[str, datetime]]:
    """Say of those who may not be written to at all why: the source and moment of each reason (IN-8).

    A pause of what is promotional is none: an answer is no advertisement.
    """
    scopes = {stops.EVERYTHING, stops.scope_of(sender)}
    found: dict[int, dict[str, datetime]] = {}
    for one in await stops.standing(connection, sorted(set(numbers))):
        if one.is_stop and one.scope in scopes:
            found.setdefault(one.number, {})[one.source] = one.at
    return found


# People of ours


async def loads(connection: Connection) -> dict[tuple[str, str], tuple[int, datetime | None]]:
    """Count open conversations, and say when the last was assigned, by inbox and agent."""
    rows = await connection.fetch(query("loads_of_agents"))
    return {(row["inbox"], row["agent"]): (row["open"], row["last_at"]) for row in rows}


async def to_look_at(
    connection: Connection, now: datetime, inboxes: Sequence[str], limit: int
) -> list[tuple[int, int]]:
    """Name conversations (bucket, id) of which something is due; inboxes: those that have agents."""
    rows = await connection.fetch(query("conversations_to_look_at"), now, list(inboxes), limit)
    return [(row["bucket"], row["id"]) for row in rows]


async def listed(
    connection: Connection, states: Iterable[int], *, inbox: str = "", agent: str = "", waiting: bool = False,
    limit: int = LISTED,
) -> list[Conversation]:  # fmt: skip
    """List conversations of all numbers, those that wait the longest first."""
    rows = await connection.fetch(query("conversations_listed"), list(states), inbox, agent, waiting, limit)
    return [_conversation(row) for row in rows]


async def of_number(connection: Connection, number: int) -> list[Conversation]:
    """Read the conversations of a number, the newest first."""
    rows = await connection.fetch(query("conversations_of_number"), hash_of(number), number)
    return [_conversation(row) for row in rows]


async def place_of(connection: Connection, id_: int) -> tuple[int, int] | None:
    """Find the bucket and the number of a conversation; None: there is none."""
    row = await connection.fetchrow(query("conversation_place"), id_, list(range(256)))
    return None if row is None else (row["bucket"], row["number"])


async def said(connection: Connection, one: Conversation, *, since: datetime | None = None) -> list[Said]:
    """Read what was said in a conversation, and what campaigns sent meanwhile and before, in its order (IN-1).

    since  of messages of campaigns: from when on; None: a week before it was opened
    """
    rows = await connection.fetch(query("conversation_said"), one.bucket, one.id)
    found = [Said(number=one.number, conversation=one.id, **dict(row)) for row in rows]
    since = one.opened_at - timedelta(days=7) if since is None else since
    for row in await connection.fetch(query("campaigns_sent_to"), one.bucket, one.number, since, LISTED):
        if one.closed_at is not None and row["at"] > one.closed_at:
            continue
        text = await _text_of(connection, row["event_id"])
        if text is not None:
            found.append(
                Said(key=row["event_id"], number=one.number, conversation=one.id, at=row["at"], direction=SELF,
                     text=text, campaign=row["campaign"] or "")
            )  # fmt: skip
    return sorted(found, key=lambda each: (each.at, each.key))


async def _text_of(connection: Connection, event_id: str) -> str | None:
    """What a message says, by the id of its event; None where it is an answer of a conversation; "" = it is gone."""
    _, lane, chunk, pos = event_id.split(":")
    row = await connection.fetchrow(query("text_of_position"), int(lane), int(chunk), int(pos))
    if row is None:
        return ""
    if row["class"] == MessageClass.CONVERSATION:
        return None
    params = (row["params"] or [[]])[0]
    return filled(row["template"], dict(zip(row["fields"], params, strict=False)))


def filled(template: str, values: Mapping[str, str | None]) -> str:
    """Write the plain fields of a template out; what is more than a field stays as it is written."""
    text = template
    for name, value in values.items():
        for form in (f"{{{{ {name} }}}}", f"{{{{{name}}}}}"):
            text = text.replace(form, value or "")
    return text


async def with_persons(connection: Connection, numbers: Sequence[int]) -> dict[int, list[tuple[str, datetime | None]]]:
    """Say of which numbers a person of ours has taken over: inbox, and when that was closed (None: it is open)."""
    found: dict[int, list[tuple[str, datetime | None]]] = {}
    asked = sorted(set(numbers))
    for row in await connection.fetch(query("with_persons"), ints(hash_of(one) for one in asked), ints(asked)):
        found.setdefault(row["number"], []).append((row["inbox"], row["closed_at"]))
    return found


async def talking(
    connection: Connection, buckets: Sequence[int], since: datetime
) -> dict[int, list[tuple[str, datetime | None]]]:
    """Say as `with_persons` of all numbers of some buckets, but for what was closed before a moment.

    cost  by how many talk with people of ours, however many numbers there are
    """
    found: dict[int, list[tuple[str, datetime | None]]] = {}
    for row in await connection.fetch(query("persons_talk"), sorted(set(buckets)), since):
        found.setdefault(row["number"], []).append((row["inbox"], row["closed_at"]))
    return found


# Words of campaigns


async def keywords(connection: Connection) -> list[tuple[str, str, str]]:
    """Read the words of all campaigns: (word, inbox, campaign)."""
    return [tuple(row) for row in await connection.fetch(query("keyword_triggers"))]


async def set_keywords(connection: Connection, campaign: str, words: Sequence[tuple[str, str]]) -> None:
    """Give a campaign its words, (word, inbox or ""), instead of those it had; none: it has ended."""
    async with connection.transaction():
        await connection.execute(query("drop_keywords"), campaign)
        if words:
            await connection.execute(
                query("add_keywords"), [word for word, _ in words], [inbox for _, inbox in words], campaign
            )


def storable(text: str) -> str:
    """Text of a stranger without the one character that Postgres has not."""
    return text.replace("\0", "\ufffd")


_WRITTEN = (
    "id", "number", "inbox", "brand", "sender", "lane", "state", "opened_at", "last_in_at", "last_out_at", "closed_at",
    "snoozed_until", "assigned_to", "assigned_at", "return_at", "waits_since", "answer_due", "late_at",
    "first_answer_at", "away_at", "misses", "is_handed_over", "has_person", "campaign", "language", "before",
)  # fmt: skip


def _conversation(row: Any) -> Conversation:
    return Conversation(**dict(row))


def _asked(row: Any) -> Asked:
    values = {name: row[name] for name in ("number", "enrolment", "step", "visit", "inbox", "until", "campaign")}
    given = dict(row)
    question = msgspec.json.decode(row["question"], type=Question)
    return Asked(question=question, asked_at=given.get("asked_at", row["until"]), tried=given.get("tried", 0), **values)
