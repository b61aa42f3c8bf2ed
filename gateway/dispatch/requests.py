"""Double opt-in (CN-4): asks people by one text whether they want to hear from a brand, and takes their YES.

    ask      may they be asked? ─► a row `pending` each, COMMIT ─► one text each, class compliance
    confirm  a YES of the handset within a day ─► a row `confirm`, with both proofs: what was asked, what it wrote

Whether somebody may be asked is decided while nobody else writes of them: two who ask at once ask once. The row is
first: a crash behind it loses the text, and nobody is ever asked twice. No answer is a no by time alone (campaign/
consent.py). Not here: keywords (gateway/keywords.py), what packs of countries say (campaign/law.py).
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from gateway.campaign import law, zones
from gateway.campaign.consent import answered, confirmed, may_ask, request, states_at
from gateway.campaign.quiet_hours import Hours, Rules
from gateway.consent import Class, Fact, Source
from gateway.message import MessageClass, Policy, literal
from gateway.rules import Pack
from gateway.store import consents, postgres, runs, stops
from gateway.suppression import BY_GRANT

# Of one chunk.
MOST_ASKED = 1000


class Asked(Struct, frozen=True, kw_only=True):
    """Who was asked, and why others were not."""

    numbers: Sequence[int]
    refused: Mapping[int, str]


class Question(Struct, frozen=True, kw_only=True):
    """What is asked, and by whom.

    words   of the text, which name the brand and the answer
    sender  that the text comes from, and that is answered to
    by      who has it asked, for the ledger
    """

    brand: str
    class_: Class
    words: str
    lane: int
    carrier: str
    sender: str = ""
    by: str = ""
    source: Source = "agent"


def pack_of(number: int) -> Pack:
    """What the country of a number asks for."""
    return law.pack_of(zones.of_prefix(str(number))[0].country)


async def ask(
    connection: postgres.Connection, numbers: Sequence[int], what: Question, now: datetime, *, keeps_hours: bool
) -> Asked:
    """Ask some numbers, at most MOST_ASKED, for their consent.

    keeps_hours  of nobody who is asked at night: they have not just done something themselves
    raises       StoreError; who was asked before that is in the ledger, and repeating asks nobody twice
    """
    standing = await stops.standing(connection, numbers)
    refused = {one.number: f"has a STOP by {one.source}" for one in standing if one.is_stop}
    is_open = _doors(now) if keeps_hours else lambda _: True
    for number in numbers:
        if number not in refused and not is_open(number):
            refused[number] = "it is outside the hours of their country: ask again later"

    def is_wanted(known: Sequence[Fact], fact: Fact) -> bool:
        is_once = pack_of(fact.number).optin.ask_once
        return may_ask(known, what.brand, now, what.class_, is_once=is_once)

    facts = [
        request(
            number, what.brand, what.class_, words=what.words, sender=what.sender, by=what.by, now=now,
            source=what.source,
        )
        for number in dict.fromkeys(numbers) if number not in refused
    ]  # fmt: skip
    written = await consents.append_where(connection, facts, is_wanted, lambda known: states_at(known, now))
    asked = [fact.number for fact in written]
    told = set(asked)
    refused |= {fact.number: "has said yes or no, or was asked lately" for fact in facts if fact.number not in told}
    if asked:
        run = await _run(connection, what, now)
        await runs.enqueue_few(connection, run, what.lane, asked, None, now, source=what.sender)
    return Asked(numbers=asked, refused=refused)


async def confirm(
    connection: postgres.Connection, number: int, destination: str, text: str, message_id: int, now: datetime
) -> list[str]:
    """Take a YES of a handset; -> the brands that it confirms, [] = nobody waits for one.

    destination  that it was written to
    A message that comes again confirms nothing more: what was confirmed waits no longer.
    """
    known = [link.fact for link in (await consents.rows_of(connection, [number]))[number].links]
    brands = answered(known, now, destination)
    facts = confirmed(known, now, message_id, text, brands) if brands else []
    if not facts:
        return []

    def is_wanted(rows: Sequence[Fact], fact: Fact) -> bool:
        again = confirmed(rows, now, message_id, text, [fact.brand])
        return any(one.class_ == fact.class_ for one in again)

    written = await consents.append_where(connection, facts, is_wanted, lambda rows: states_at(rows, now))
    if written:
        await stops.lift(connection, [number], lambda source, _: source in BY_GRANT, at=now, note="a new grant")
    return sorted({fact.brand for fact in written})


def _doors(now: datetime) -> Callable[[int], bool]:
    """Whether promotional messages may go to a number now, by the law of its country."""
    hours = Hours(Rules(class_=MessageClass.BULK))

    def is_open(number: int) -> bool:
        where = zones.whereabouts(zones.Clues(number=number), now, is_strict=pack_of(number).zone_mode == "strict")
        return bool(hours.at(where.places, now).is_open)

    return is_open


async def _run(connection: postgres.Connection, what: Question, now: datetime) -> runs.Run:
    name, template = f"request {what.brand} {what.carrier}", literal(what.words)
    known = await stops.reply_run(connection, name, template, MessageClass.COMPLIANCE)
    found = None if known is None else await runs.run_by_id(connection, known)
    return found or await runs.add_run(
        connection, name=name, template=template, fields=(), class_=MessageClass.COMPLIANCE, policy=Policy.ONCE,
        lanes=[what.lane], list_id=None, source=None, now=now,
    )  # fmt: skip
