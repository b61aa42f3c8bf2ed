"""What people of ours do in a conversation: answer, assign, snooze, close, note, give it back. Rules IN-4, IN-7, IN-8.

    reply ─► may they be written to? (IN-8) ─► Refused: why, and nothing is changed
                                            └► owed as a text, noted as said ─► sent by the job (replying.py)

Each is one transaction that holds the conversation. The first answer of a person takes it over: what answers by itself
is silent, and what is promotional waits until a day behind its end (`paused`, for whoever automates). Taking over,
closing and giving back are told as events of the person.
Not here: which words (commands/inbox.py), sending.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import count
from random import Random
from typing import Any

from gateway.campaign import conversation as rules
from gateway.campaign.conversation import Refused
from gateway.cards import has_card
from gateway.config import Settings
from gateway.errors import OrderFault
from gateway.inbox import NOBODY
from gateway.person import OUR_SOURCE, hash_of
from gateway.store import conversations, profiles
from gateway.store.conversations import (
    CLOSED,
    NOTE,
    OPEN,
    PERSON,
    SNOOZED,
    Conversation,
    Kept,
    Said,
    Text,
    Told,
)
from gateway.store.postgres import Connection

TAKEN_OVER, CONVERSATION_CLOSED = "conversation_taken_over", "conversation_closed"
CONVERSATION_OPENED = "conversation_opened"


class Desk:
    """One person of ours at work. by: who that is; an agent of an inbox, or anybody at the command line."""

    def __init__(self, connection: Connection, settings: Settings, by: str, now: datetime, chance: Random):
        self._connection = connection
        self._settings = settings
        self._by = by
        self._now = now
        self._ids = count(profiles.first_id(now, chance))

    async def reply(self, id_: int, text: str) -> Refused | Conversation:
        """Answer; what may not be sent is refused, with the reason.

        raises  StoreError: there is no such conversation
        """
        if not text.strip():
            return Refused("there is nothing to send: expected a text")
        if has_card(text):
            return Refused("the text has the number of a payment card in it, which is never sent")
        bucket = await self._bucket(id_)
        async with self._connection.transaction():
            one = await self._held(bucket, id_)
            standing = await conversations.stopped(self._connection, [one.number], one.sender)
            class_ = rules.reply_class(standing.get(one.number, {}), one.last_in_at, self._now)
            if isinstance(class_, Refused):
                return class_
            kept = Kept(conversations={one.id: one})
            owed = next(self._ids)
            body = Text(inbox=one.inbox, lane=one.lane, sender=one.sender, text=text, class_=int(class_))
            kept.owed.append((owed, one.number, body))
            kept.said.append(self._said(one, f"out:{owed}", PERSON, text))
            if not one.has_person or one.state == CLOSED:
                self._tell(kept, one, TAKEN_OVER)
            one.answered(self._now, by_person=True)
            one.state, one.closed_at, one.snoozed_until = OPEN, None, None
            if not one.assigned_to and self._by in self._agents(one):
                one.assigned_to, one.assigned_at = self._by, self._now
            await conversations.keep(self._connection, bucket, kept, self._now)
        return one

    async def assign(self, id_: int, agent: str) -> Refused | Conversation:
        """Give a conversation to an agent, or to nobody ("")."""
        bucket = await self._bucket(id_)
        async with self._connection.transaction():
            one = await self._held(bucket, id_)
            if agent and agent not in self._agents(one):
                known = ", ".join(self._agents(one)) or "nobody"
                return Refused(f"{agent!r} is no agent of inbox {one.inbox!r}: expected one of {known}")
            one.assigned_to, one.assigned_at = agent, self._now if agent else None
            inbox = self._settings.inboxes.get(one.inbox, NOBODY)
            waits = agent and one.waits_since is not None
            one.return_at = rules.due_at(inbox, self._now, inbox.return_s) if waits else None
            await self._keep(bucket, Kept(conversations={one.id: one}))
        return one

    async def close(self, id_: int) -> Conversation:
        """End it; a message of theirs opens it again (IN-1)."""
        bucket = await self._bucket(id_)
        async with self._connection.transaction():
            one = await self._held(bucket, id_)
            kept = Kept(conversations={one.id: one})
            if one.state != CLOSED:
                self._tell(kept, one, CONVERSATION_CLOSED)
                one.closed_at = self._now
            one.state, one.snoozed_until = CLOSED, None
            one.waits_since = one.answer_due = one.return_at = one.late_at = None
            # What comes next may be answered by itself, and by anybody.
            one.is_handed_over, one.misses, one.assigned_to, one.assigned_at = False, 0, "", None
            await self._keep(bucket, kept)
        return one

    async def snooze(self, id_: int, until: datetime) -> Conversation:
        """Let it sleep until a moment, or until they write."""
        bucket = await self._bucket(id_)
        async with self._connection.transaction():
            one = await self._held(bucket, id_)
            one.state, one.snoozed_until, one.return_at = SNOOZED, until, None
            await self._keep(bucket, Kept(conversations={one.id: one}))
        return one

    async def give_back(self, id_: int) -> Conversation:
        """Let what answers by itself answer again (IN-6); what is promotional goes on (IN-7)."""
        bucket = await self._bucket(id_)
        async with self._connection.transaction():
            one = await self._held(bucket, id_)
            one.is_handed_over, one.has_person, one.misses = False, False, 0
            one.assigned_to, one.assigned_at, one.return_at = "", None, None
            await self._keep(bucket, Kept(conversations={one.id: one}))
        return one

    async def note(self, id_: int, text: str) -> Conversation:
        """Write something down that nobody is sent."""
        bucket = await self._bucket(id_)
        async with self._connection.transaction():
            one = await self._held(bucket, id_)
            await self._keep(bucket, Kept(said=[self._said(one, f"note:{next(self._ids)}", NOTE, text)]))
        return one

    async def _bucket(self, id_: int) -> int:
        place = await conversations.place_of(self._connection, id_)
        if place is None:
            raise OrderFault(f"conversation {id_}: expected one that there is, found none")
        return place[0]

    async def _held(self, bucket: int, id_: int) -> Conversation:
        one = await conversations.hold_one(self._connection, bucket, id_)
        if one is None:
            raise OrderFault(f"conversation {id_}: it is gone")
        return one

    async def _keep(self, bucket: int, kept: Kept) -> None:
        await conversations.keep(self._connection, bucket, kept, self._now)

    def _agents(self, one: Conversation) -> Mapping[str, Any]:
        return self._settings.inboxes.get(one.inbox, NOBODY).agents

    def _said(self, one: Conversation, key: str, direction: int, text: str) -> Said:
        return Said(
            key=key, number=one.number, conversation=one.id, at=self._now, direction=direction, text=text, by=self._by
        )

    def _tell(self, kept: Kept, one: Conversation, name: str) -> None:
        id_ = next(self._ids)
        properties = {"conversation": one.id, "inbox": one.inbox, "by": self._by}
        if one.campaign:
            properties["campaign"] = one.campaign
        told = Told(event_id=f"{name}:{id_}", name=name, at=self._now, source=OUR_SOURCE, properties=properties)
        kept.owed.append((id_, one.number, told))


def inbox_of_brand(settings: Settings, brand: str) -> str | None:
    """Name the first inbox of a brand; None: it has none."""
    return next((name for name, inbox in settings.inboxes.items() if inbox.brand == brand), None)


async def open_by_step(
    connection: Connection, settings: Settings, name: str, number: int, *, key: str, note: str, campaign: str,
    sender: str, lane: int, now: datetime, chance: Random,
) -> None:  # fmt: skip
    """Give people a conversation to see to, as a campaign asks: one that goes on, or a new one; once by its key.

    name          of the inbox; sender, lane: from where a new one is answered
    """
    bucket, inbox = hash_of(number), settings.inboxes.get(name, NOBODY)
    ids = count(profiles.first_id(now, chance))
    async with connection.transaction():
        held = await conversations.hold(connection, bucket, [number])
        if await conversations.is_said(connection, bucket, number, key):
            return
        one = held.conversations.get((number, name))
        kept = Kept()
        states: dict[int, rules.State] = {OPEN: "open", SNOOZED: "snoozed", CLOSED: "closed"}
        if one is None or rules.thread(states[one.state], one.closed_at, now) == "new":
            one = Conversation(
                bucket=bucket, id=next(ids), number=number, inbox=name, brand=inbox.brand, sender=sender, lane=lane,
                opened_at=now, before=None if one is None else one.id, language=held.people.get(number, ("", ""))[0],
            )  # fmt: skip
            told = {"conversation": one.id, "inbox": name, "campaign": campaign}
            body = Told(
                event_id=f"{CONVERSATION_OPENED}:{key}", name=CONVERSATION_OPENED, at=now, source=OUR_SOURCE,
                properties=told,
            )  # fmt: skip
            kept.owed.append((next(ids), number, body))
        one.state, one.closed_at, one.snoozed_until, one.campaign = OPEN, None, None, campaign
        if one.waits_since is None:
            one.waits_since = now
            one.answer_due = rules.due_at(inbox, now, inbox.first_answer_s)
        kept.conversations[one.id] = one
        said = Said(
            key=key, number=number, conversation=one.id, at=now, direction=NOTE, text=note or f"campaign {campaign}",
            by=f"campaign {campaign}", campaign=campaign,
        )  # fmt: skip
        kept.said.append(said)
        await conversations.keep(connection, bucket, kept, now)


async def paused(
    connection: Connection, settings: Settings, numbers: Sequence[int], now: datetime
) -> list[datetime | None]:
    """Say of numbers until when what is promotional waits for a person of ours; None: it does not (IN-7).

    ->    in the order given; datetime.max: until a conversation is closed, which nobody knows
    cost  one statement
    """
    found = await conversations.with_persons(connection, numbers)
    made: list[datetime | None] = []
    for number in numbers:
        ends = [
            end
            for name, closed_at in found.get(number, ())
            if (end := rules.paused_until(settings.inboxes.get(name, NOBODY), has_person=True, closed_at=closed_at))
        ]
        last = max((end.replace(tzinfo=now.tzinfo) if end == datetime.max else end for end in ends), default=None)
        made.append(last if last is not None and last > now else None)
    return made
