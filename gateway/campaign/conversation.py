"""What follows from a message of a handset, as functions of facts: rules IN-1, IN-2, IN-4 to IN-8. Knows no store.

    a message ─► thread: a new conversation, or one that is there (IN-1)
              ─► decide: whose it is, the first that fits (IN-2)
                   1 compliance   STOP, START, HELP and what may be one: heard already (dispatch/optout.py)
                   2 answer       to an open question, or the next word of an order; skip among them
                   3 keyword      of a campaign
                   2 retry        an open question that cannot read it, and may ask once more
                   4 auto         an answer that no person writes, if it may be given (IN-6: `hand_over`)
                   5 people       somebody has to read it: assigned (IN-4), due, and answered outside hours (IN-5)

A retry stands behind keywords: who writes JOIN while a question is open wants to join. Whatever is decided, a number
that may not be written to is not written to. Time is an argument.
Not here: reading answers (answers.py), who says what by itself (gateway/answering.py), the tables.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.campaign.answers import Answer
from gateway.campaign.quiet_hours import instants
from gateway.inbox import FORBIDDEN, HUMAN, NEGATIVE, Agent, Answering, InboxSettings, Rule, window_of
from gateway.keywords import Wish, tokens_of
from gateway.message import MessageClass
from gateway.rules import Window, meet

# A conversation that was closed so long ago is over: what comes then begins another, linked to it (IN-1).
OVER_AFTER = timedelta(days=7)
# A person's answer to what was written so lately is part of the conversation (IN-8).
DIRECT_FOR = timedelta(hours=24)
# How far ahead staffed time is looked for: an inbox that opens on one day a month answers then.
_AHEAD = timedelta(days=60)
State = Literal["open", "snoozed", "closed"]
Kind = Literal["compliance", "answer", "skip", "order", "keyword", "retry", "unreadable", "auto", "people"]


class Heard(Struct, frozen=True, kw_only=True):
    """What is known of one message when it is decided about.

    wish          by the words of every language (gateway/keywords.py)
    was_obeyed    a YES that confirmed a consent or lifted a STOP
    reading       of the newest open question in its time; None: there is none
    is_of_order   an order that is under way can read it
    keyword       of a campaign, as it is written there; "" = none
    may_write     the number has not said STOP, nor is it stopped otherwise
    auto          whether an answerer may be asked: it is on, and no person has taken over
    """

    wish: Wish | None = None
    was_obeyed: bool = False
    reading: Answer | None = None
    is_of_order: bool = False
    keyword: str = ""
    may_write: bool = True
    auto: bool = False


class Decision(Struct, frozen=True, kw_only=True):
    """Whose a message is, by which line of IN-2; needs_people: somebody has to read it."""

    kind: Kind
    line: int
    needs_people: bool = False


def decide(heard: Heard) -> Decision:
    """Say whose a message is: the first of IN-2 that fits. Words of compliance beat everything, always."""
    if heard.wish in ("stop", "start", "help", "doubt") or heard.was_obeyed:
        # What may be a STOP is read by somebody (CN-5).
        return Decision(kind="compliance", line=1, needs_people=heard.wish == "doubt")
    reading = heard.reading
    if reading is not None and reading.kind in ("answer", "skip"):
        return Decision(kind="answer" if reading.kind == "answer" else "skip", line=2)
    if heard.is_of_order and heard.may_write:
        return Decision(kind="order", line=2)
    if heard.keyword:
        return Decision(kind="keyword", line=3)
    if reading is not None and heard.may_write:
        if reading.kind == "retry":
            return Decision(kind="retry", line=2)
        return Decision(kind="unreadable", line=5, needs_people=True)
    if heard.auto and heard.may_write:
        return Decision(kind="auto", line=4)
    return Decision(kind="people", line=5, needs_people=True)


def thread(state: State, closed_at: datetime | None, now: datetime) -> Literal["goes_on", "reopened", "new"]:
    """Say what becomes of the newest conversation of a number and inbox when something comes in (IN-1)."""
    if state == "open":
        return "goes_on"
    if state == "closed" and closed_at is not None and now - closed_at > OVER_AFTER:
        return "new"
    return "reopened"


# IN-4


class Load(Struct, frozen=True, kw_only=True):
    """How an agent stands: open conversations, and when one was assigned last (None: never)."""

    name: str
    open: int = 0
    last_at: datetime | None = None


def assigned(
    inbox: InboxSettings,
    loads: Sequence[Load],
    now: datetime,
    *,
    text: str = "",
    language: str = "",
    campaign: str = "",
    audiences: Iterable[str] = (),
    but: str = "",
) -> str:
    """Choose who answers: by the first rule that fits, then least busy or in turn; "" = nobody is there or has room.

    but   who gave it back; they get it again only where nobody else fits
    """
    wanted = next((rule.agents for rule in inbox.rules if _fits(rule, text, language, campaign, set(audiences))), None)
    names = inbox.agents if wanted is None else [name for name in inbox.agents if name in wanted]
    known = {load.name: load for load in loads}
    free = []
    for place, name in enumerate(names):
        agent, load = inbox.agents[name], known.get(name, Load(name=name))
        if load.open < agent.capacity and is_staffed(inbox, now, name):
            free.append((name == but, _strange(agent, language), load, place))
    if not free:
        return ""
    # Who names the language goes before who does not; nobody at all would be worse.
    least = min(one[:2] for one in free)
    some = [one for one in free if one[:2] == least]
    if inbox.assign == "round_robin":
        return min(some, key=lambda one: (one[2].last_at is not None, one[2].last_at or now, one[3]))[2].name
    return min(some, key=lambda one: (one[2].open, one[2].last_at is not None, one[2].last_at or now, one[3]))[2].name


def _strange(agent: Agent, language: str) -> int:
    """How little of a language somebody speaks: 0 they name it, 1 nobody knows, 2 they name others."""
    if not language or not agent.languages:
        return 1
    return 0 if language.partition("-")[0] in agent.languages else 2


def _fits(rule: Rule, text: str, language: str, campaign: str, audiences: set[str]) -> bool:
    if rule.words and not has_words(text, rule.words):
        return False
    if rule.language and rule.language.partition("-")[0] != language.partition("-")[0]:
        return False
    if rule.campaign and not _is_like(campaign, rule.campaign):
        return False
    return not rule.audience or rule.audience in audiences


def _is_like(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def has_words(text: str, some: Iterable[str]) -> bool:
    """Whether one of some words or phrases stands in a text, as whole words; without spaces, anywhere."""
    tokens = tokens_of(text)
    joined = "".join(tokens)
    for each in some:
        wanted = tokens_of(each)
        if not wanted:
            continue
        if any(tokens[at : at + len(wanted)] == wanted for at in range(len(tokens) - len(wanted) + 1)):
            return True
        if len(wanted) == 1 and _JOINED.search(wanted[0]) and wanted[0] in joined:
            return True
    return False


_JOINED = re.compile("[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def is_staffed(inbox: InboxSettings, now: datetime, agent: str = "") -> bool:
    """Whether somebody is there: of the inbox, or one of its agents."""
    return bool(_spans(inbox, now, now + timedelta(seconds=1), agent))


def due_at(inbox: InboxSettings, since: datetime, seconds: float) -> datetime | None:
    """When staffed time of so many seconds is over; None: it never is due."""
    if not seconds:
        return None
    left = seconds
    for begin, end in _spans(inbox, since, since + _AHEAD):
        # The first span begins with the whole second that we are in.
        begin_s = max(float(begin), since.timestamp())
        if end - begin_s >= left:
            return datetime.fromtimestamp(begin_s + left, since.tzinfo)
        left -= end - begin_s
    return since + _AHEAD


def _spans(inbox: InboxSettings, begin: datetime, end: datetime, agent: str = "") -> list[tuple[int, int]]:
    span = int(begin.timestamp()), int(end.timestamp())
    found = _open(window_of(inbox.hours), inbox.zone, span)
    own = inbox.agents[agent].hours if agent else ""
    return found if own == "" else meet(found, _open(window_of(own), inbox.zone, span))


def _open(window: Window, zone: str, span: tuple[int, int]) -> list[tuple[int, int]]:
    return instants(window, zone, frozenset(), *span)


def is_away_due(inbox: InboxSettings, now: datetime, last_at: datetime | None) -> bool:
    """Whether the answer for closed hours is to be sent: there is one, it is due, and was not sent lately (IN-5)."""
    if not inbox.away or (inbox.two_way and is_staffed(inbox, now)):
        return False
    return last_at is None or now - last_at >= timedelta(seconds=inbox.away_again_s)


# IN-6

# Somebody reads it, and what comes next may be answered by itself again.
NO_ANSWER = "no answer"


def hand_over(answering: Answering, text: str, *, confidence: float | None, misses: int) -> str:
    """Say why a message is for a person and not answered by itself; "" = it may be.

    confidence  of the answer there is; None: there is none
    misses      messages of this conversation in a row, this one included, to which there was none

    For every reason but NO_ANSWER what answers by itself is silent from here on, until a person gives it back.
    """
    if not answering.enabled:
        return "off"
    if has_words(text, (*HUMAN, *answering.human)):
        return "asked for a person"
    for topic, some in {**FORBIDDEN, **answering.forbidden}.items():
        if has_words(text, (*some, *FORBIDDEN.get(topic, ()))):
            return f"about {topic}"
    if is_negative(text):
        return "negative"
    if answering.most_amount and most_amount(text) > answering.most_amount:
        return "amount"
    if confidence is not None and confidence >= answering.floor:
        return ""
    if confidence is not None:
        return "unsure"
    return "misses" if misses >= answering.misses else NO_ANSWER


def is_negative(text: str) -> bool:
    """Whether somebody is cross: their words, or shouting."""
    if has_words(text, NEGATIVE):
        return True
    cased = [character for character in text if character.upper() != character.lower()]
    return "!!!" in text or "?!?" in text or (len(cased) >= _SHOUTED and all(map(str.isupper, cased)))


# Letters of a text that is all capitals: fewer are a code, or an abbreviation.
_SHOUTED = 12
_AMOUNT = re.compile(
    r"(?:[$€£¥₹]|\b(?:usd|eur|gbp|chf|pln|ron|rub|inr|jpy|dollars?|euros?|pounds?)\b)\s*(\d[\d.,]*)"
    r"|(\d[\d.,]*)\s*(?:[$€£¥₹]|(?:usd|eur|gbp|chf|pln|ron|rub|inr|jpy|dollars?|euros?|pounds?|bucks|quid|zł|lei|kr)\b)",
    re.IGNORECASE,
)


def most_amount(text: str) -> float:
    """The most money that a text names; 0 = none."""
    found = 0.0
    for match in _AMOUNT.finditer(text):
        digits = (match[1] or match[2]).rstrip(".,")
        head, mark, tail = digits[:-3], digits[-3:-2], digits[-2:]
        cents = mark in (".", ",") and tail.isdecimal()
        whole = "".join(c for c in (head if cents else digits) if c.isdecimal())
        found = max(found, float(whole or 0) + (int(tail) / 100 if cents else 0))
    return found


# IN-7, IN-8


def paused_until(inbox: InboxSettings, *, has_person: bool, closed_at: datetime | None) -> datetime | None:
    """Until when what is promotional waits for a conversation that a person has taken over; None: it does not.

    While it is open there is no end: datetime.max stands for it (IN-7).
    """
    if not has_person:
        return None
    if closed_at is None:
        return datetime.max
    return closed_at + timedelta(seconds=inbox.pause_s)


class Refused(Struct, frozen=True):
    """Why an agent's answer may not be sent; the words that they read."""

    why: str


def reply_class(standing: Mapping[str, datetime], last_in_at: datetime | None, now: datetime) -> MessageClass | Refused:
    """Say of which class an agent's answer is, or why it may not be sent at all (IN-8).

    standing    reasons for which nothing may be sent, with their moments; {} = none
    last_in_at  when they wrote last
    """
    if standing:
        source, at = min(standing.items(), key=lambda one: (one[1], one[0]))
        return Refused(f"they are not written to: {source}, since {at:%Y-%m-%d %H:%M} UTC")
    if last_in_at is not None and now - last_in_at <= DIRECT_FOR:
        return MessageClass.CONVERSATION
    return MessageClass.TRANSACTIONAL
