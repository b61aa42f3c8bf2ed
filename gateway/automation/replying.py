"""Hears what handsets write behind the words of compliance, as one worker for all: rules IN-1 to IN-6, IN-9.

every second   the events of each lane since we looked ─► by bucket: whose it is (IN-2) ─► kept, owed
               what is owed ─► texts to their lanes, events to their persons, an answerer asked ─► done
every 5 s      questions whose time is over; answers that are late, agents who do not answer, sleep that ends

A message is in a conversation once, by its lane and id, and what follows from it is written in the same transaction:
whoever is killed, the next round goes on. What is owed is done once by its id.
STOP, START, HELP and a YES that was obeyed were heard in the flush that kept them (dispatch/optout.py); here they are
in the conversation, for people to read, and nothing follows from them.
Not here: what people of ours do (staffing.py), how answers are read, who answers by itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from random import Random
from zoneinfo import ZoneInfo

import msgspec

from gateway.automation import ordering
from gateway.automation.erasing import prefixes_of
from gateway.automation.job import Every, Job
from gateway.automation.ordering import Meant, Orders
from gateway.brand import gate_of_brand
from gateway.campaign import conversation as rules
from gateway.campaign.answering import Answerer, Asking, Suggestion
from gateway.campaign.answers import Answer, answer
from gateway.campaign.conversation import Decision, Load
from gateway.cards import masked
from gateway.config import Settings
from gateway.countries import country_of
from gateway.errors import StoreError
from gateway.gate import Gate
from gateway.inbox import NOBODY, InboxSettings, inbox_of
from gateway.keywords import Wish, number_of, tokens_of, words
from gateway.message import MessageClass
from gateway.offer import OPEN as OPEN_ORDER
from gateway.person import OUR_SOURCE, Item, Who, hash_of
from gateway.question import ANSWERED, SOURCE, is_right, json_value, text_in
from gateway.store import conversations, feeds, months, postgres, profiles, runs
from gateway.store.conversations import (
    CLOSED,
    IN,
    NOTE,
    OPEN,
    SELF,
    SNOOZED,
    Alert,
    Asked,
    Body,
    Conversation,
    Heard,
    Held,
    Kept,
    Owed,
    Said,
    Sought,
    Text,
    Told,
)

log = logging.getLogger(__name__)

# Events of a lane that are looked at together, and what is owed that is done together.
PAGE = 1000
OWED_A_ROUND = 500
LOOK_S = 5.0
FORGET_S = 3600.0
# A flush writes what a handset's word came to behind the messages of that flush, which are so many at the most.
BEHIND = 20_000
# An answerer that takes longer has no answer.
ANSWER_S = 20.0
# What cannot be done is tried again so soon, and so often.
AGAIN = timedelta(seconds=30)
TRIES = 10
OPENED, REOPENED, HANDED_OVER = "conversation_opened", "conversation_reopened", "conversation_handed_over"
QUESTION_CLOSED, KEYWORD, LATE = "question_closed", "keyword", "conversation_late"


class Replying(Job):
    """The loop of one worker. answerers: by inbox, those that are turned on."""

    NAME = "replying"
    ROUND_S = 1.0
    STEP_S = 60.0
    UNDONE = "what handsets write is answered by nobody"

    def __init__(
        self,
        settings: Settings,
        wall: Callable[[], datetime],
        connect: Callable[[], Awaitable[postgres.Connection]],
        instance: str,
        chance: Random,
        answerers: Mapping[str, Answerer] | None = None,
    ):
        super().__init__(wall, connect, instance)
        self._settings = settings
        self._chance = chance
        self._answerers = answerers or {}
        self._words = words(settings.keywords.stop, settings.keywords.start)
        self._kinds = profiles.Kinds()
        self._looking, self._forgetting = Every(LOOK_S), Every(FORGET_S)
        self._runs: dict[tuple[str, int, int], runs.Run] = {}
        self._ids = count()
        self._loads: dict[tuple[str, str], tuple[int, datetime | None]] = {}
        self._triggers: dict[tuple[tuple[str, ...], str], list[tuple[str, str]]] = {}
        self._audiences: dict[int, str] = {}
        self.heard = 0
        self.done = 0

    async def is_wanted(self, connection: postgres.Connection, now: datetime) -> bool:
        """Say whether something came, is owed, or is to be looked at."""
        if self._looking.is_due(now) or await conversations.is_owed(connection, now):
            return True
        return bool(await conversations.news(connection))

    async def work(self, connection: postgres.Connection, now: datetime) -> bool:
        """Hear what came, look at what time does, and do what is owed."""
        self._ids = count(profiles.first_id(now, self._chance))
        async with postgres.deadline(connection, self.STEP_S, "what handsets wrote"):
            news = await conversations.news(connection)
            is_looking = self._looking.is_due(now)
            if news or is_looking:
                await self._learn(connection)
            prefixes = prefixes_of(self._settings, await runs.lanes(connection)) if news else {}
        for lane, (since, last) in news.items():
            upto = min(last, since + PAGE)
            async with postgres.deadline(connection, self.STEP_S, f"what handsets wrote on lane {lane}"):
                some = await conversations.heard(connection, lane, since, upto)
                if some:
                    await self._hear(connection, lane, some, prefixes.get(lane, ""), now)
                # Behind the COMMIT of what was heard: a crash between hears it again, in vain.
                await conversations.note(connection, lane, upto)
            self.has_more = self.has_more or upto < last
        # Before time is looked at: what may be answered by itself is nobody's yet.
        await self._do_owed(connection, now)
        if is_looking:
            await self._look(connection, now)
            self._looking.done(now)
        if self._forgetting.is_due(now):
            for lane in prefixes_of(self._settings, await self._lanes(connection)):
                async with postgres.deadline(connection, self.STEP_S, "what lanes took"):
                    await conversations.forget_sent(connection, lane, now)
            self._forgetting.done(now)
        return True

    async def _lanes(self, connection: postgres.Connection) -> dict[int, str]:
        async with postgres.deadline(connection, self.STEP_S, "lanes"):
            return await runs.lanes(connection)

    async def _learn(self, connection: postgres.Connection) -> None:
        """Read what decisions hang on beside the message: words of campaigns, how busy agents are, audiences."""
        self._triggers = {}
        for word, inbox, campaign in await conversations.keywords(connection):
            self._triggers.setdefault((tokens_of(word), inbox), []).append((word, campaign))
        inboxes = self._settings.inboxes.values()
        self._loads = await conversations.loads(connection) if any(one.agents for one in inboxes) else {}
        named = {rule.audience for one in inboxes for rule in one.rules if rule.audience}
        self._audiences = await conversations.audience_ids(connection, named) if named else {}

    # What came

    async def _hear(
        self, connection: postgres.Connection, lane: int, some: Sequence[Heard], prefix: str, now: datetime
    ) -> None:
        numbered: list[tuple[int, Heard]] = []
        for one in some:
            number = number_of(one.source, prefix)
            if number is None:
                continue
            if (text := masked(one.text)) != one.text:
                await conversations.mask(connection, one, text)
                one = msgspec.structs.replace(one, text=text)
            numbered.append((number, one))
        wishes = {one.id: self._words.wish(one.text, number) for number, one in numbered}
        obeyed: set[int] = set()
        if "yes" in wishes.values():
            last = some[-1].event
            obeyed = await conversations.obeyed(connection, lane, some[0].event, last + BEHIND)
        stopped: dict[tuple[int, str], bool] = {}
        for sender in {one.destination for _, one in numbered}:
            numbers = [number for number, one in numbered if one.destination == sender]
            found = await conversations.stopped(connection, numbers, sender)
            stopped |= {(number, sender): number in found for number in numbers}
        by_bucket: dict[int, list[tuple[int, Heard]]] = {}
        for number, one in numbered:
            by_bucket.setdefault(hash_of(number), []).append((number, one))
        for bucket, of in sorted(by_bucket.items()):
            async with connection.transaction():
                fresh = await conversations.unknown(connection, bucket, of)
                if not fresh:
                    continue
                some_numbers = [number for number, _ in fresh]
                held = await conversations.hold(connection, bucket, some_numbers, self._audiences)
                orders = await ordering.hold(connection, bucket, held, some_numbers, now)
                kept = Kept()
                for number, one in fresh:
                    may = not stopped[number, one.destination]
                    self._take(held, orders, kept, bucket, number, one, wishes[one.id], one.id in obeyed, may, now)
                await conversations.keep(connection, bucket, kept, now)
                await orders.write(connection)
            self.heard += len(fresh)

    def _take(
        self, held: Held, orders: Orders, kept: Kept, bucket: int, number: int, one: Heard, wish: Wish | None,
        was_obeyed: bool, may_write: bool, now: datetime,
    ) -> None:  # fmt: skip
        """Decide about one message, and note what follows from it."""
        name = inbox_of(self._settings.inboxes, one.destination)
        inbox = self._settings.inboxes.get(name, NOBODY)
        conversation = self._thread(held, kept, bucket, number, one, name, inbox)
        language, country = held.people.get(number, ("", ""))
        asked, reading = self._read(held, number, name, inbox, one, language, country or country_of(number))
        triggers = self._keyword(one.text, name)
        meant = ordering.hear(held, orders, name, number, one, language or conversation.language, now)
        if meant is not None and meant.asked is not None and asked is not None and meant.move.is_sure:
            if meant.asked.asked_at > asked.asked_at:
                # The newest that can read it has it.
                asked = reading = None
        auto = name in self._answerers and not (conversation.is_handed_over or conversation.has_person)
        decision = rules.decide(
            rules.Heard(
                wish=wish, was_obeyed=was_obeyed, reading=reading, keyword=triggers[0][0] if triggers else "",
                is_of_order=meant is not None and (meant.move.is_sure or not triggers),
                may_write=may_write, auto=auto and inbox.answering.enabled,
            )
        )  # fmt: skip
        kept.said.append(
            Said(key=one.key, number=number, conversation=conversation.id, at=one.at, direction=IN, text=one.text,
                 campaign=_campaign_of(decision, asked, meant) or conversation.campaign)
        )  # fmt: skip
        conversation.last_in_at = max(one.at, conversation.last_in_at or one.at)
        conversation.sender, conversation.lane = one.destination, one.lane
        conversation.language = language or conversation.language
        if decision.kind == "order" and meant is not None:
            self._order(held, orders, kept, conversation, meant, one, now)
        else:
            self._follow(held, kept, conversation, inbox, decision, one, asked, reading, triggers, now)
        is_lost = decision.kind == "order" and meant is not None and meant.move.needs_people
        if decision.needs_people or decision.kind == "auto" or is_lost:
            self._wait(kept, conversation, inbox, one.text, one.at, now, held.audiences.get(number, ()), may_write,
                       assigns=decision.kind != "auto")  # fmt: skip

    def _thread(
        self, held: Held, kept: Kept, bucket: int, number: int, one: Heard, name: str, inbox: InboxSettings
    ) -> Conversation:
        """Find the conversation of a message, or begin one (IN-1)."""
        known = held.conversations.get((number, name))
        states = {OPEN: "open", SNOOZED: "snoozed", CLOSED: "closed"}
        verdict = "new" if known is None else rules.thread(states[known.state], known.closed_at, one.at)  # type: ignore[arg-type]
        if known is None or verdict == "new":
            conversation = Conversation(
                bucket=bucket, id=next(self._ids), number=number, inbox=name, brand=inbox.brand, sender=one.destination,
                lane=one.lane, opened_at=one.at, campaign=held.campaigns.get(number, ""),
                before=None if known is None else known.id,
            )  # fmt: skip
            held.conversations[number, name] = conversation
            self._tell(kept, conversation, OPENED, f"{OPENED}:{one.key}", one.at)
        else:
            conversation = known
            if verdict == "reopened":
                # Whom a person has answered is a person's again, until what is promotional goes on (IN-7).
                until = rules.paused_until(inbox, has_person=known.has_person, closed_at=known.closed_at)
                if known.closed_at is not None and until is not None and until <= one.at:
                    known.has_person = False
                conversation.state, conversation.closed_at, conversation.snoozed_until = OPEN, None, None
                conversation.campaign = held.campaigns.get(number, "") or conversation.campaign
                self._tell(kept, conversation, REOPENED, f"{REOPENED}:{one.key}", one.at)
        kept.conversations[conversation.id] = conversation
        return conversation

    def _read(
        self, held: Held, number: int, name: str, inbox: InboxSettings, one: Heard, language: str, country: str
    ) -> tuple[Asked | None, Answer | None]:
        """Read a message as the answer to the newest question that is open for it."""
        for asked in held.questions.get(number, ()):
            if asked.question.order is not None:
                continue
            if asked.inbox in ("", name) and asked.asked_at <= one.at < asked.until:
                today = one.at.astimezone(ZoneInfo(inbox.zone)).date()
                found = answer(
                    asked.question, one.text, tried=asked.tried, today=today, language=language, country=country
                )
                return asked, found
        return None, None

    def _keyword(self, text: str, name: str) -> list[tuple[str, str]]:
        """Find whose keyword a message is, alone or among courtesies: (word, campaign)."""
        tokens = tokens_of(text)
        plain = tuple(token for token in tokens if token not in self._words.polite)
        for form in dict.fromkeys((tokens, plain)):
            found = [*self._triggers.get((form, name), ()), *(self._triggers.get((form, ""), ()) if name else ())]
            if form and found:
                return found
        return []

    def _follow(
        self, held: Held, kept: Kept, conversation: Conversation, inbox: InboxSettings, decision: Decision, one: Heard,
        asked: Asked | None, reading: Answer | None, triggers: Sequence[tuple[str, str]], now: datetime,
    ) -> None:  # fmt: skip
        """Note what follows from a decision, but for who reads it."""
        number = conversation.number
        if asked is not None and reading is not None and decision.kind in ("answer", "skip", "unreadable"):
            held.questions[number].remove(asked)
            kept.closed.append(asked)
            if decision.kind == "answer":
                self._tell_answer(kept, asked, reading, one)
            else:
                why = "skipped" if decision.kind == "skip" else "unreadable"
                self._tell_closed(kept, asked, why, one.key, one.at)
        elif asked is not None and decision.kind == "retry":
            at = held.questions[number].index(asked)
            held.questions[number][at] = msgspec.structs.replace(asked, tried=asked.tried + 1)
            kept.tried.append(asked)
            texts = asked.question.retry or asked.question.text
            text = text_in(texts, conversation.language)
            self._say(kept, conversation, text, now, by="question", answers=False)
        elif decision.kind == "keyword":
            # One event, whichever campaigns have the word: each of them looks for it.
            said = {"word": triggers[0][0].casefold(), "sender": one.destination, "text": one.text}
            self._tell(kept, conversation, KEYWORD, f"{KEYWORD}:{one.key}", one.at, makes=True, **said)
        elif decision.kind == "auto":
            sought = Sought(conversation=conversation.id, key=one.key, text=one.text, language=conversation.language)
            kept.owed.append((next(self._ids), number, sought))

    def _order(
        self, held: Held, orders: Orders, kept: Kept, conversation: Conversation, meant: Meant, one: Heard,
        now: datetime,
    ) -> None:  # fmt: skip
        """Note what a text does to an order, and what is said of it (IN-10)."""
        order = ordering.moved(orders, meant, conversation.id, now)
        move, asked = meant.move, meant.asked
        if asked is not None and order.standing.state not in OPEN_ORDER:
            held.questions[conversation.number].remove(asked)
            kept.closed.append(asked)
            if order.standing.state != "ordering":
                self._tell_closed(kept, asked, order.standing.state, one.key, one.at)
        if move.told:
            body = Told(
                event_id=f"{ordering.ADDRESS_TOLD}:{one.key}", name=ordering.ADDRESS_TOLD, at=one.at, source=SOURCE,
                properties={"conversation": conversation.id}, attributes={order.offer.address: move.told}, makes=True,
            )  # fmt: skip
            kept.owed.append((next(self._ids), conversation.number, body))
        if move.say:
            text = ordering.said_of(order, move.say, conversation.language, {"stock": str(move.stock)})
            self._say(kept, conversation, text, now, by="order", answers=False)

    # Who reads it

    def _wait(
        self, kept: Kept, conversation: Conversation, inbox: InboxSettings, text: str, at: datetime, now: datetime,
        audiences: Iterable[str], may_write: bool, *, assigns: bool = True,
    ) -> None:  # fmt: skip
        """Let a message wait for somebody of ours: due, assigned, and answered where nobody is there (IN-4, IN-5)."""
        if rules.is_away_due(inbox, now, conversation.away_at) and may_write and assigns:
            conversation.away_at = now
            self._say(kept, conversation, text_in(inbox.away, conversation.language), now, by="away", answers=False)
        if not inbox.two_way:
            return
        if conversation.waits_since is None:
            conversation.waits_since = at
            seconds = inbox.next_answer_s if conversation.first_answer_at is not None else inbox.first_answer_s
            conversation.answer_due = rules.due_at(inbox, at, seconds)
        if assigns:
            self._assign(conversation, inbox, now, text=text, audiences=audiences)

    def _assign(
        self, conversation: Conversation, inbox: InboxSettings, now: datetime, *, text: str = "",
        audiences: Iterable[str] = (), but: str = "",
    ) -> None:  # fmt: skip
        """Give a conversation to somebody, unless it is somebody's; how busy they are counts from here on."""
        if not inbox.agents:
            return
        if not conversation.assigned_to:
            loads = [
                Load(name=agent, open=open_, last_at=last)
                for (name, agent), (open_, last) in self._loads.items() if name == conversation.inbox
            ]  # fmt: skip
            agent = rules.assigned(
                inbox, loads, now, text=text, language=conversation.language, campaign=conversation.campaign,
                audiences=audiences, but=but,
            )  # fmt: skip
            if not agent:
                return
            conversation.assigned_to, conversation.assigned_at = agent, now
            open_, _ = self._loads.get((conversation.inbox, agent), (0, None))
            self._loads[conversation.inbox, agent] = open_ + 1, now
            conversation.return_at = None
        if conversation.return_at is None and conversation.waits_since is not None:
            conversation.return_at = rules.due_at(inbox, now, inbox.return_s)

    # What time does

    async def _look(self, connection: postgres.Connection, now: datetime) -> None:
        async with postgres.deadline(connection, self.STEP_S, "questions"):
            over = await conversations.questions_over(connection, now, OWED_A_ROUND)
        for asked in over:
            bucket = hash_of(asked.number)
            async with postgres.deadline(connection, self.STEP_S, "questions"), connection.transaction():
                if await conversations.close_question(connection, bucket, asked):
                    if asked.question.order is not None:
                        await ordering.expire(connection, asked, now)
                    kept = Kept()
                    self._tell_closed(kept, asked, "timeout", f"{asked.number}", asked.until)
                    await conversations.owe(connection, bucket, kept.owed, now)
                    self.has_more = True
        staffed = [name for name, inbox in self._settings.inboxes.items() if inbox.agents and inbox.two_way
                   and rules.is_staffed(inbox, now)]  # fmt: skip
        async with postgres.deadline(connection, self.STEP_S, "conversations"):
            places = await conversations.to_look_at(connection, now, staffed, OWED_A_ROUND)
        for bucket, id_ in places:
            async with postgres.deadline(connection, self.STEP_S, "conversations"), connection.transaction():
                conversation = await conversations.hold_one(connection, bucket, id_)
                if conversation is not None:
                    kept = Kept(conversations={id_: conversation})
                    self._pass_time(kept, conversation, now)
                    await conversations.keep(connection, bucket, kept, now)
                    self.has_more = self.has_more or bool(kept.owed)

    def _pass_time(self, kept: Kept, conversation: Conversation, now: datetime) -> None:
        """Wake it, say that its answer is late, give it back to the others, or to somebody at last."""
        inbox = self._settings.inboxes.get(conversation.inbox, NOBODY)
        if conversation.state == SNOOZED and conversation.snoozed_until is not None:
            if conversation.snoozed_until <= now:
                conversation.state, conversation.snoozed_until = OPEN, None
                conversation.waits_since = conversation.waits_since or now
                conversation.answer_due = rules.due_at(inbox, now, inbox.next_answer_s)
        if conversation.state != OPEN or conversation.waits_since is None:
            return
        if conversation.answer_due is not None and conversation.answer_due <= now and conversation.late_at is None:
            conversation.late_at = now
            is_first = conversation.first_answer_at is None
            log.warning(
                "! conversation %d of inbox %r waits since %s: its answer was due", conversation.id,
                conversation.inbox, conversation.waits_since.isoformat(timespec="seconds"),
            )  # fmt: skip
            body = {
                "conversation": conversation.id, "inbox": conversation.inbox, "assigned_to": conversation.assigned_to,
                "is_first": is_first,
            }  # fmt: skip
            told = Alert(lane=conversation.lane, kind="conversation.late", at=now, body=body)
            kept.owed.append((next(self._ids), conversation.number, told))
            self._tell(kept, conversation, LATE, f"{LATE}:{conversation.id}:{conversation.waits_since.timestamp():.6f}",
                       now)  # fmt: skip
        if conversation.return_at is not None and conversation.return_at <= now:
            agent = conversation.assigned_to
            conversation.assigned_to, conversation.assigned_at, conversation.return_at = "", None, None
            open_, last = self._loads.get((conversation.inbox, agent), (1, None))
            self._loads[conversation.inbox, agent] = max(0, open_ - 1), last
            self._assign(conversation, inbox, now, but=agent)
        elif not conversation.assigned_to:
            self._assign(conversation, inbox, now)

    # What is owed

    async def _do_owed(self, connection: postgres.Connection, now: datetime) -> None:
        async with postgres.deadline(connection, self.STEP_S, "what is owed"):
            some = await conversations.owed(connection, now, OWED_A_ROUND)
        self.has_more = self.has_more or len(some) == OWED_A_ROUND
        await self._tell_persons(connection, [one for one in some if isinstance(one.body, Told)], now)
        for one in some:
            if isinstance(one.body, Told):
                continue
            try:
                if isinstance(one.body, Text):
                    await self._send(connection, one, one.body, now)
                elif isinstance(one.body, Alert):
                    async with postgres.deadline(connection, self.STEP_S, "an event"):
                        await conversations.alert(connection, one, one.body, str(one.number), now)
                        await conversations.done(connection, one.bucket, [one.id])
                elif isinstance(one.body, Sought):
                    await self._seek(connection, one, one.body, now)
            except (StoreError, ValueError) as error:
                if isinstance(error, StoreError) and error.retryable:
                    raise
                await self._put_off(connection, one, error, now)
            self.done += 1

    async def _put_off(self, connection: postgres.Connection, one: Owed, error: Exception, now: datetime) -> None:
        kind = type(one.body).__name__
        async with postgres.deadline(connection, self.STEP_S, "what is owed"):
            if one.tries + 1 >= TRIES:
                log.error("! conversation: a %s is given up after %d tries: %s", kind, TRIES, error)
                await conversations.done(connection, one.bucket, [one.id])
            else:
                log.warning("! conversation: a %s is tried again: %s", kind, error)
                await conversations.put_off(connection, one.bucket, [one.id], now + AGAIN)

    async def _tell_persons(self, connection: postgres.Connection, some: Sequence[Owed], now: datetime) -> None:
        if not some:
            return
        async with postgres.deadline(connection, self.STEP_S, "tell persons"):
            await months.ensure(connection, "person_event", [now])
            known = await feeds.known(connection, [one.number for one in some])
            items = [
                Item(
                    who=Who(phone=one.number), source=told.source, event_id=told.event_id, name=told.name,
                    occurred_at=told.at, properties=told.properties, attributes=told.attributes, is_ours=True,
                )
                for one in some
                if isinstance(told := one.body, Told) and (told.makes or one.number in known)
            ]  # fmt: skip
            if items:
                await profiles.ingest(connection, items, now, self._chance, self._kinds)
            by_bucket: dict[int, list[int]] = {}
            for one in some:
                by_bucket.setdefault(one.bucket, []).append(one.id)
            # Behind the COMMIT of what was told: a crash between tells it again, in vain (EV-1).
            for bucket, ids in sorted(by_bucket.items()):
                await conversations.done(connection, bucket, ids)
        self.done += len(some)

    async def _send(self, connection: postgres.Connection, one: Owed, text: Text, now: datetime) -> None:
        """Hand a text to its lane, unless its number has been stopped since it was owed (IN-8)."""
        async with postgres.deadline(connection, self.STEP_S, f"answer on lane {text.lane}"):
            if await conversations.stopped(connection, [one.number], text.sender):
                async with connection.transaction():
                    await conversations.done(connection, one.bucket, [one.id])
                    await self._note_unsent(connection, one, text, now)
                return
            run = await self._run_of(connection, text, now)
            try:
                await conversations.send(connection, run, one, text, now)
            except StoreError:
                # It has as many chunks as a run may have: the next try begins another.
                self._runs.pop((text.inbox, text.class_, text.lane), None)
                raise
            # Behind the COMMIT of the lane, which takes it once.
            await conversations.done(connection, one.bucket, [one.id])

    async def _note_unsent(self, connection: postgres.Connection, one: Owed, text: Text, now: datetime) -> None:
        for conversation in await conversations.of_number(connection, one.number):
            if conversation.inbox == text.inbox:
                note = Said(
                    key=f"unsent:{one.id}", number=one.number, conversation=conversation.id, at=now, direction=NOTE,
                    text="not sent: they have been stopped meanwhile", by="sluice",
                )  # fmt: skip
                await conversations.keep(connection, one.bucket, Kept(said=[note]), now)
                return

    async def _run_of(self, connection: postgres.Connection, text: Text, now: datetime) -> runs.Run:
        key = (text.inbox, text.class_, text.lane)
        run = self._runs.get(key)
        if run is None:
            gate = gate_of_inbox(self._settings, text.inbox, MessageClass(text.class_))
            run = self._runs[key] = await conversations.run_of(
                connection, text.inbox, text.class_, text.lane, gate, now
            )
        return run

    # Answers that no person writes

    async def _seek(self, connection: postgres.Connection, one: Owed, sought: Sought, now: datetime) -> None:
        async with postgres.deadline(connection, self.STEP_S, "conversations"):
            seen = await conversations.of_number(connection, one.number)
        name = next((each.inbox for each in seen if each.id == sought.conversation), "")
        inbox = self._settings.inboxes.get(name, NOBODY)
        # What a person has to answer is not shown to it at all.
        why = rules.hand_over(inbox.answering, sought.text, confidence=1.0, misses=0)
        found = None if why else await self._suggested(name, sought)
        async with postgres.deadline(connection, self.STEP_S, "an answer"), connection.transaction():
            if not await conversations.done(connection, one.bucket, [one.id]):
                return
            conversation = await conversations.hold_one(connection, one.bucket, sought.conversation)
            if conversation is None or conversation.waits_since is None or conversation.has_person:
                return
            kept = Kept(conversations={conversation.id: conversation})
            confidence = None if found is None else found.confidence
            why = why or rules.hand_over(
                inbox.answering, sought.text, confidence=confidence, misses=conversation.misses + 1
            )
            if not why and found is not None and not conversation.is_handed_over:
                conversation.misses = 0
                text = f"{text_in(inbox.answering.disclosure, sought.language)} {found.text}"
                self._say(kept, conversation, text, now, by=inbox.answering.answerer)
            else:
                conversation.misses += confidence is None
                if why != rules.NO_ANSWER and not conversation.is_handed_over:
                    self._hand_over(kept, conversation, why, sought.key, now)
                self._wait(kept, conversation, inbox, sought.text, now, now, (), True)
            await conversations.keep(connection, one.bucket, kept, now)
        # What it owes now is done at once.
        self.has_more = self.has_more or bool(kept.owed)

    async def _suggested(self, name: str, sought: Sought) -> Suggestion | None:
        answerer = self._answerers.get(name)
        if answerer is None:
            return None
        try:
            async with asyncio.timeout(ANSWER_S):
                return await answerer.suggest(Asking(text=sought.text, language=sought.language))
        except Exception as error:  # a plug-in: whatever is wrong with it, a person answers
            log.error("! answerer of inbox %r: %s: %s", name, type(error).__name__, error)
            return None

    def _hand_over(self, kept: Kept, conversation: Conversation, why: str, key: str, now: datetime) -> None:
        """Give a conversation to people: what answers by itself is silent until they give it back (IN-6)."""
        conversation.is_handed_over = True
        self._tell(kept, conversation, HANDED_OVER, f"{HANDED_OVER}:{key}", now, why=why)
        body = {"conversation": conversation.id, "inbox": conversation.inbox, "why": why}
        told = Alert(lane=conversation.lane, kind="conversation.handed_over", at=now, body=body)
        kept.owed.append((next(self._ids), conversation.number, told))

    # Words

    def _say(
        self, kept: Kept, conversation: Conversation, text: str, now: datetime, *, by: str, answers: bool = True
    ) -> None:
        """Owe a text of ours, and note it as said; answers: nobody waits for an answer any more."""
        id_ = next(self._ids)
        body: Body = Text(inbox=conversation.inbox, lane=conversation.lane, sender=conversation.sender, text=text)
        kept.owed.append((id_, conversation.number, body))
        kept.said.append(
            Said(key=f"out:{id_}", number=conversation.number, conversation=conversation.id, at=now, direction=SELF,
                 text=text, by=by)
        )  # fmt: skip
        conversation.last_out_at = now
        if answers:
            conversation.answered(now, by_person=False)

    def _tell(
        self, kept: Kept, conversation: Conversation, name: str, event_id: str, at: datetime, *, makes: bool = False,
        **properties: object,
    ) -> None:  # fmt: skip
        told = {"conversation": conversation.id, "inbox": conversation.inbox}
        if conversation.campaign:
            told["campaign"] = conversation.campaign
        body = Told(
            event_id=event_id, name=name, at=at, source=OUR_SOURCE, properties={**told, **properties}, makes=makes
        )
        kept.owed.append((next(self._ids), conversation.number, body))

    def _tell_answer(self, kept: Kept, asked: Asked, reading: Answer, one: Heard) -> None:
        value = json_value(reading.value)
        properties = {**_of(asked), "value": value, "type": asked.question.type}
        if (right := is_right(asked.question, reading.value)) is not None:
            properties["is_right"] = right
        body = Told(
            event_id=f"{ANSWERED}:{one.key}", name=ANSWERED, at=one.at, source=SOURCE, properties=properties,
            attributes={asked.question.save_as: value} if asked.question.save_as else {}, makes=True,
        )  # fmt: skip
        kept.owed.append((next(self._ids), asked.number, body))

    def _tell_closed(self, kept: Kept, asked: Asked, why: str, key: str, at: datetime) -> None:
        event_id = f"{QUESTION_CLOSED}:{asked.enrolment}:{asked.step}:{asked.visit}:{key}"
        body = Told(
            event_id=event_id, name=QUESTION_CLOSED, at=at, source=OUR_SOURCE, properties={**_of(asked), "why": why}
        )
        kept.owed.append((next(self._ids), asked.number, body))


def _campaign_of(decision: Decision, asked: Asked | None, meant: Meant | None) -> str:
    """Name the campaign that a message answers; "" = none by itself."""
    if decision.kind == "order" and meant is not None:
        return meant.order.campaign
    return asked.campaign if asked is not None and decision.line == 2 else ""


def _of(asked: Asked) -> dict[str, object]:
    """What an event says of the question that it is about."""
    return {
        "question": asked.question.name, "campaign": asked.campaign, "enrolment": asked.enrolment, "step": asked.step,
        "visit": asked.visit,
    }  # fmt: skip


def gate_of_inbox(settings: Settings, name: str, class_: MessageClass) -> Gate | None:
    """What the gate asks of an inbox's answers: within a day nothing (IN-8), later what its brand asks."""
    brand = settings.inboxes[name].brand if name in settings.inboxes else ""
    if class_ <= MessageClass.CONVERSATION or not brand:
        return None
    return gate_of_brand(brand, settings.brand(brand), class_)
