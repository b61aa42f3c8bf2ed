"""Who reads what handsets write, and what is answered by itself: `[inboxes.NAME]` of sluice.toml. Rules IN-4 to IN-8.

    [inboxes.support]
    senders = ["12345", "+44 7700 900123"]     # what handsets write to; none: whatever no other inbox has
    brand = "acme"
    zone = "Europe/London"
    hours = {mon-fri = "09:00-17:00"}
    away = {en = "We are back at 9.", fr = "De retour à 9 h."}
    agents = {anna = {languages = ["fr"], capacity = 5}, bert = {}}
    rules = [{words = ["refund"], agents = ["anna"]}, {campaign = "spring*", agents = ["bert"]}]
    answering = {enabled = true, answerer = "faq", knowledge = "faq.toml"}

What comes to a sender of no inbox is kept as a conversation of none, for `sluice inbox` to show; nobody is assigned.
Not here: who is chosen and when (campaign/conversation.py), what an answerer says (answering.py).
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from gateway.keywords import tokens_of
from gateway.question import Name, Texts, text_in
from gateway.routing import Problem
from gateway.rules import ALWAYS, Window, read_window

Seconds = Annotated[int, Meta(ge=0, le=86400 * 31)]
# IN-6: of these nobody but a person speaks.
FORBIDDEN: Mapping[str, tuple[str, ...]] = {
    "consent": (
        "unsubscribe", "opt out", "opt in", "consent", "gdpr", "privacy", "my data", "delete my", "datenschutz",
    ),
    "law": ("lawyer", "solicitor", "attorney", "sue", "court", "legal", "police", "illegal", "anwalt", "avocat"),
    "health": (
        "doctor", "hospital", "medicine", "prescription", "diagnosis", "pain", "allergic", "allergy", "pregnant",
        "symptom", "dose", "arzt", "médecin", "suicide",
    ),
    "payment dispute": (
        "chargeback", "charged twice", "dispute", "fraud", "scam", "unauthorised", "unauthorized", "stolen card",
        "money back", "refund", "overcharged", "betrug",
    ),
}  # fmt: skip
HUMAN = (
    "agent", "human", "person", "operator", "representative", "somebody", "someone", "real person", "call me",
    "mensch", "mitarbeiter", "conseiller", "humain", "persona", "agente", "humano", "operatore", "medewerker",
    "человек", "оператор", "人工", "担当者", "상담원",
)  # fmt: skip
NEGATIVE = (
    "angry", "annoyed", "awful", "terrible", "worst", "useless", "ridiculous", "unacceptable", "disgusting",
    "complaint", "complain", "furious", "wtf", "rubbish", "pathetic", "shit", "fuck", "idiot", "idiots",
    "disappointed", "frustrated",
    "scandale", "nul", "honteux", "unverschämt", "schlecht", "fatal", "ärgerlich", "vergogna", "pésimo", "horrible",
    "ужасно", "péssimo",
)  # fmt: skip


class Agent(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who answers.

    languages  that they speak; none: who names the person's goes first
    capacity   open conversations at once
    hours      by the clock of the inbox, within its own; "" = those of the inbox
    """

    languages: tuple[str, ...] = ()
    capacity: Annotated[int, Meta(ge=0, le=10_000)] = 20
    hours: Any = ""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom a conversation goes to where all that is said of it holds; the first rule that fits.

    words     one of these is in what was written
    language  of the person
    campaign  that was answered to; * for any ending
    audience  a kept audience that is watched, with the person in it
    """

    agents: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)]
    words: tuple[str, ...] = ()
    language: str = ""
    campaign: str = ""
    audience: str = ""


class Answering(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Answers that no person has written (IN-6); off unless somebody turns it on.

    enabled     the switch: off, and no answerer is asked, whatever else stands here
    answerer    which one: faq is ours, others are plug-ins (entry points of sluice.answerers)
    knowledge   a file, from which alone it answers
    floor       an answer less certain than this is not given
    forbidden   more words by topic of which only a person speaks
    human       more words that ask for one
    misses      so many messages without an answer, and a person takes over
    most_amount a message that names more money than this is a person's; 0 = no limit
    disclosure  stands before every answer
    """

    enabled: bool = False
    answerer: str = "faq"
    knowledge: str = ""
    floor: Annotated[float, Meta(ge=0, le=1)] = 0.75
    forbidden: dict[str, tuple[str, ...]] = {}
    human: tuple[str, ...] = ()
    misses: Annotated[int, Meta(ge=1, le=10)] = 2
    most_amount: Annotated[float, Meta(ge=0)] = 100.0
    disclosure: Texts = "Automatic answer:"


class InboxSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One inbox: the sender group of a conversation (IN-1).

    senders         addresses of ours, as an SMSC writes them
    brand           whose; of its gate what is answered later than a day asks
    two_way         off: nobody reads here, and `away` says so
    zone            of hours
    hours           in which somebody is there; "always"
    away            sent outside them, once in away_again_s (IN-5); "" = nothing
    assign          least_busy, or round_robin among those who fit
    return_s        an agent who has not answered by then gives it back to the others; 0 = never
    first_answer_s  the answer to a conversation's first message is due by then, in staffed time; 0 = never
    next_answer_s   to one that follows
    pause_s         after a person's conversation is closed, until what is promotional goes on (IN-7)
    """

    senders: tuple[str, ...] = ()
    brand: str = ""
    two_way: bool = True
    zone: str = "UTC"
    hours: Any = "always"
    away: Texts = ""
    away_again_s: Seconds = 43200
    agents: dict[Name, Agent] = {}
    rules: tuple[Rule, ...] = ()
    assign: Literal["least_busy", "round_robin"] = "least_busy"
    return_s: Seconds = 1800
    first_answer_s: Seconds = 3600
    next_answer_s: Seconds = 3600
    pause_s: Seconds = 86400
    answering: Answering = Answering()


NOBODY = InboxSettings()
"""Of what comes to no inbox."""


def window_of(hours: Any) -> Window:
    """Read hours that were judged before."""
    found = read_window(hours, "hours", [])
    return ALWAYS if found is None else found


def address_of(sender: str) -> str:
    """One form of an address, however it is written: digits without + and 00, names in lower case."""
    plain = "".join(sender.split()).casefold()
    digits = "".join(character for character in plain if character not in "+-().")
    if digits.isascii() and digits.isdecimal():
        return digits.removeprefix("00") or digits
    return plain


def inbox_of(inboxes: Mapping[str, InboxSettings], sender: str) -> str:
    """Name the inbox of what was written to a sender; "" = none. One without senders has what no other has."""
    address, rest = address_of(sender), ""
    for name, inbox in inboxes.items():
        if address in {address_of(one) for one in inbox.senders}:
            return name
        if not inbox.senders:
            rest = rest or name
    return rest


def problems_of(key: str, inbox: InboxSettings, brands: Mapping[str, Any]) -> list[Problem]:
    """Find what the types of its values cannot say: key, expected, found."""
    problems: list[Problem] = []
    if inbox.brand and inbox.brand not in brands:
        problems.append((f"{key}.brand", f"one of {', '.join(sorted(brands)) or 'the brands, of which there are none'}",
                         repr(inbox.brand)))  # fmt: skip
    try:
        ZoneInfo(inbox.zone)
    except (KeyError, ValueError, OSError):
        problems.append((f"{key}.zone", "a zone such as Europe/London", repr(inbox.zone)))
    read_window(inbox.hours, f"{key}.hours", problems)
    for name, agent in inbox.agents.items():
        if agent.hours != "":
            read_window(agent.hours, f"{key}.agents.{name}.hours", problems)
    for at, rule in enumerate(inbox.rules):
        here = f"{key}.rules[{at}]"
        problems += [
            (f"{here}.agents", f"one of {', '.join(inbox.agents) or 'the agents, of whom there are none'}", repr(name))
            for name in rule.agents if name not in inbox.agents
        ]  # fmt: skip
        problems += [(f"{here}.words", "words with a letter or digit in them", repr(word))
                     for word in rule.words if not tokens_of(word)]  # fmt: skip
        if not (rule.words or rule.language or rule.campaign or rule.audience):
            problems.append((here, "words, language, campaign or audience", "none of them"))
    if not inbox.two_way and not text_in(inbox.away, ""):
        problems.append((f"{key}.away", "what is answered where nobody reads (two_way = false)", "nothing"))
    return [*problems, *_answering_problems(f"{key}.answering", inbox.answering)]


def _answering_problems(key: str, answering: Answering) -> list[Problem]:
    if not answering.enabled:
        return []
    problems: list[Problem] = []
    if not answering.knowledge and answering.answerer == "faq":
        problems.append((f"{key}.knowledge", "a file of questions and answers", "nothing"))
    texts = [answering.disclosure] if isinstance(answering.disclosure, str) else list(answering.disclosure.values())
    if not texts or not all(text.strip() for text in texts):
        problems.append((f"{key}.disclosure", "words by which people know that no person has written", "nothing"))
    return problems


def problems_between(inboxes: Mapping[str, InboxSettings]) -> list[Problem]:
    """Find senders that two inboxes claim."""
    problems: list[Problem] = []
    owners: dict[str, str] = {}
    for name, inbox in inboxes.items():
        for address in {address_of(one) for one in inbox.senders} or {""}:
            if owners.setdefault(address, name) != name:
                what = repr(address) if address else "none, as of that one"
                problems.append((f"inboxes.{name}.senders", f"senders that inboxes.{owners[address]} has not", what))
    return problems
