"""What handsets ask for by keyword, between the flush that keeps their message and the answer to it. One lane's.

    message is whole ─► a keyword? ─► entered in the feed ─► the flush commits ─► acknowledged ─► deliver_sm_resp
      (in the flush)        │ no                                                      └─► confirmation, once
                            └─► answered with the others

A message that may be a STOP (a doubt, CN-5) pauses what is promotional, and its handset is asked once what it means: by
STOP or START it says so, by an ordinary message within a day it lifts the pause, and silence leaves it as it is. While
the question is open a YES says nothing: nobody knows to what (CN-6).
A HELP is answered, by whoever it is asked, stopped or not, and enters nothing. A YES to somebody whom a workflow or a
text order has asked something is the answer to that (automation/replying.py); else it confirms a request that waits
for one (requests.py), is a START where there is a STOP to lift, and an ordinary answer elsewhere.
It is entered before the flush commits: a crash between the two brings the message again, and enters it twice, which
says the same. The other way round it would be kept and never obeyed. While Postgres is away there is no answer, so it
comes again. Only the answers to STOPs wait; others of the same link go on.
Not here: which words (gateway/keywords.py), the barrier (stops.py).
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from gateway.config import CarrierSettings, KeywordSettings
from gateway.dispatch import requests
from gateway.dispatch.clock import Clock
from gateway.dispatch.line import Connect, Line
from gateway.dispatch.stops import Stops
from gateway.errors import StoreError
from gateway.events import Event, event
from gateway.keywords import Wish, meaning, number_of, words
from gateway.message import MessageClass, Policy, literal
from gateway.store import conversations, postgres, runs, stops
from gateway.store.inbound import Message

log = logging.getLogger(__name__)

RETRY_S = 0.25


# Two machines that ask each other for help would never end.
HELP_AGAIN_S = 60.0
MOST_HELPED = 10_000


class Reply(Struct, frozen=True):
    """An answer that is owed: to whom, from the number that was written to, what it says, and to which word."""

    number: int
    sender: str
    text: str
    wish: str = "stop"


class OptOuts:
    """The keywords that come on one lane.

    asks_consent  a YES may answer a request, or a question
    is_paused     whether a number may be in doubt, as the worker knows it: only such are looked up
    """

    def __init__(
        self,
        name: str,
        lane: int,
        settings: CarrierSettings,
        keywords: KeywordSettings,
        stops_: Stops,
        clock: Clock,
        connect: Connect,
        deadline_s: float,
        asks_consent: bool = True,
        is_paused: Callable[[int], bool] = lambda _: False,
    ):
        self._is_paused = is_paused
        self._pauses = keywords.doubt == "pause"
        self._asks_consent = asks_consent
        self._name = name
        self._lane = lane
        self._settings = settings
        self._words = words(keywords.stop, keywords.start)
        self._has_senders = keywords.scope == "sender"
        self._stops = stops_
        self._clock = clock
        self._deadline_s = deadline_s
        self._line = Line(connect)
        self._ledger = Line(connect)
        self._confirming = asyncio.Lock()
        self._reply_runs: dict[str, runs.Run] = {}
        self._helped_at: dict[int, float] = {}
        # Of the flush in hand: it may be tried again. Event by message, seq by PDU, confirmations.
        self._heard: dict[int, Event | None] = {}
        self._seqs: dict[int, int] = {}
        self._replies: list[Reply] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.stopped = 0
        self.confirmed = 0

    def is_stop(self, text: str, source: str) -> bool:
        """Whether a message is to be answered only when its STOP is in force."""
        number = number_of(source, self._settings.inbound_prefix)
        return number is not None and self._words.wish(text, number) == "stop"

    async def hear(self, messages: Sequence[Message]) -> list[Event]:
        """Enter what messages ask for; -> the events of it, for the flush that keeps them. StoreError."""
        asked: list[tuple[Message, int, str, Wish]] = []
        for message in messages:
            if message.id in self._heard:
                continue
            number = number_of(message.source, self._settings.inbound_prefix)
            wish = self._words.wish(message.text, number or 0)
            if wish == "doubt" and not self._pauses:
                wish = None
            if wish is not None and number is None:
                log.warning("! %s: message %d asks to %s, its sender is no number", self._name, message.id, wish)
            is_open = number is not None and self._is_paused(number) and wish in (None, "yes")
            if is_open and number is not None and await self._stops.is_in_doubt(number):
                self._heard[message.id] = None
                if wish is None and await self._stops.lift_doubt(number, note=f"{self._name} {message.id}"):
                    self._heard[message.id] = event(
                        "doubt.lifted", message.at, message.source, message=message.id, number=number
                    )
            elif wish is None or wish == "help" or number is None:
                self._heard[message.id] = None
                if wish == "help" and number is not None:
                    self._help(number, message.destination)
            elif wish == "doubt":
                self._heard[message.id] = await self._doubt(message, number)
            elif wish == "yes" and self._asks_consent and await self._is_asked(message, number):
                self._heard[message.id] = None
            elif wish == "yes" and self._asks_consent and (brands := await self._confirmed(message, number)):
                self._heard[message.id] = event(
                    "consent.confirmed", message.at, message.source, message=message.id, number=number, brands=brands
                )
            else:
                scope = stops.scope_of(message.destination) if self._has_senders else stops.EVERYTHING
                asked.append((message, number, scope, wish))
        if asked:
            heard = [(number, scope, wish == "stop") for _, number, scope, wish in asked]
            seq, news = await self._stops.hear(heard, note=f"{self._name} {asked[0][0].id}")
            for (message, number, scope, wish), news_ in zip(asked, news, strict=True):
                is_new = news_ == stops.Heard.NEW
                means = meaning(wish, is_stopped=is_new, is_pending=False)
                self._heard[message.id] = (
                    None if means is None else told(message, number, scope, wish == "stop", is_new)
                )
                if wish == "stop":
                    self.stopped += 1
                    self._seqs.update(dict.fromkeys(message.pdus, seq))
                    if news_ and self._settings.stop_reply:
                        self._replies.append(Reply(number, message.destination, self._settings.stop_reply))
        events = (self._heard[message.id] for message in messages)
        return [one for one in events if one is not None]

    async def _doubt(self, message: Message, number: int) -> Event:
        """Pause what is promotional, and owe a question to who is not stopped already. StoreError."""
        _, new = await self._stops.doubt([number], note=f"{self._name} {message.id}")
        text = self._settings.doubt_reply
        for end in range(1, len(str(number)) + 1):
            text = self._settings.doubt_replies.get(str(number)[:end], text)
        if new and text:
            self._replies.append(Reply(number, message.destination, text, "doubt"))
        return event(
            "doubt.received", message.at, message.source, message=message.id, number=number, is_new=number in new
        )

    async def _is_asked(self, message: Message, number: int) -> bool:
        """Say whether a question was open for a number when it wrote (CN-6). StoreError."""
        connection = await self._ledger.opened()
        try:
            async with postgres.deadline(connection, self._deadline_s, f"open questions on lane {self._lane}"):
                return await conversations.is_asked(connection, number, message.at)
        except BaseException:
            # Its statement may still be at work there.
            self._ledger.cut()
            raise

    async def _confirmed(self, message: Message, number: int) -> list[str]:
        """Take a YES to a request for consent; -> the brands it is meant for. StoreError."""
        connection, now = await self._ledger.opened(), self._clock.wall()
        try:
            async with postgres.deadline(connection, self._deadline_s, f"confirm consent on lane {self._lane}"):
                brands = await requests.confirm(connection, number, message.destination, message.text, message.id, now)
        except BaseException:
            # Its statement may still be at work there.
            self._ledger.cut()
            raise
        self.confirmed += len(brands)
        return brands

    def _help(self, number: int, destination: str) -> None:
        """Owe an answer to a HELP, unless the same number had one a moment ago."""
        now = self._clock.monotonic()
        if not self._settings.help_reply or now - self._helped_at.get(number, -HELP_AGAIN_S) < HELP_AGAIN_S:
            return
        if len(self._helped_at) >= MOST_HELPED:
            self._helped_at.clear()
        self._helped_at[number] = now
        self._replies.append(Reply(number, destination, self._settings.help_reply, "help"))

    def conclude(
        self, stopping: Collection[int], arrived: Collection[int], answer: Callable[[Collection[int]], None]
    ) -> set[int]:
        """Take up what the flush has kept, now that it is durable; -> the PDUs whose answers wait.

        stopping  PDUs that read as a STOP by themselves: one that is a repeat waits as well
        arrived   PDUs of this flush
        answer    called with them when their STOP is in force
        """
        waiting = {pdu for pdu in arrived if pdu in self._seqs} | set(stopping)
        seqs = [self._seqs.get(pdu) for pdu in waiting]
        replies, newest = self._replies, max(self._seqs.values(), default=0)
        self._heard, self._seqs, self._replies = {}, {}, []
        if waiting or replies:
            seq = None if None in seqs else newest
            task = asyncio.create_task(self._acknowledge(seq, waiting, answer, replies), name=f"stop {self._name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return waiting

    async def _acknowledge(
        self, seq: int | None, waiting: Collection[int], answer: Callable[[Collection[int]], None], replies: list[Reply]
    ) -> None:
        trouble = ""
        while True:
            try:
                await self._stops.acknowledge(await self._stops.head() if seq is None else seq)
                break
            except StoreError as error:
                if not trouble:
                    log.error("! %s: a STOP waits for its acknowledgement: %s", self._name, error)
                trouble = str(error)
                await asyncio.sleep(RETRY_S)
        answer(waiting)
        for reply in replies:
            # Once at the most: after an error nobody knows whether it is queued.
            try:
                async with self._confirming:
                    await self._confirm(reply)
            except (StoreError, ValueError) as error:
                log.error("! %s: a %s was heard, its handset has no answer: %s", self._name, reply.wish, error)

    async def _confirm(self, reply: Reply) -> None:
        """Queue the confirmation; its class passes every set."""
        connection, now = await self._line.opened(), self._clock.wall()
        async with postgres.deadline(connection, self._deadline_s, f"confirm a stop on lane {self._lane}"):
            run = self._reply_runs.get(reply.text)
            if run is None:
                name, template = f"{reply.wish} reply {self._name}", literal(reply.text)
                known = await stops.reply_run(connection, name, template, MessageClass.COMPLIANCE)
                found = None if known is None else await runs.run_by_id(connection, known)
                run = self._reply_runs[reply.text] = found or await runs.add_run(
                    connection, name=name, template=template, fields=(), class_=MessageClass.COMPLIANCE,
                    policy=Policy.ONCE, lanes=[self._lane], list_id=None, source=None, now=now,
                )  # fmt: skip
            try:
                await runs.enqueue_few(connection, run, self._lane, [reply.number], None, now, source=reply.sender)
            except StoreError:
                # It has as many chunks as a run may have: the next confirmation begins another.
                del self._reply_runs[reply.text]
                raise

    async def close(self) -> None:
        """Leave what is not acknowledged: it is not answered, so it comes again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._line.close()
        await self._ledger.close()


def told(message: Message, number: int, scope: str, is_stop: bool, is_new: bool) -> Event:
    """Tell what a handset has asked for."""
    body = {"message": message.id, "number": number, "scope": scope, "is_new": is_new}
    if is_stop:
        return event("stop.received", message.at, message.source, **body)
    return event("start.received", message.at, message.source, **body)
