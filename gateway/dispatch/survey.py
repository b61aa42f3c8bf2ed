"""What a template comes to over the people it is for, before anything of it is sent (TP-8).

    people ─► texts or values ─► batches ─► Survey, each by the form of the carrier that takes its country ─► Reckoning

The texts are those of the claim, with label, footer, links and codes in their whole length: where a code or a link is
made for each person only when it is sent, something of the same length stands for it.
Not here: reading people (store/considered.py, store/templates.py), how it is shown (commands/template.py).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from _fastpath.alphabet import decode
from _fastpath.batch import Batch
from _fastpath.outbound import Form, explain
from _fastpath.survey import Survey
from _fastpath.template import Template as Compiled
from _fastpath.transliteration import transliterate
from gateway import reasons
from gateway.campaign.filters import NAME_GRAPHEMES, Filters
from gateway.campaign.rendering import printed
from gateway.config import CarrierSettings
from gateway.countries import country_of
from gateway.dispatch.compose import PLAIN, form_of
from gateway.dispatch.rendering import read_rows
from gateway.gate import Around
from gateway.message import Encoding, MessageClass, Refusal
from gateway.routing import RouteTable, decide
from gateway.template import Template

BATCH = 1000
# What is data as it stands, of whatever it is: words of letters and digits.
_PLAIN = re.compile(r"[A-Za-z0-9]+(?: [A-Za-z0-9]+){0,20}").fullmatch
_MOST_CHARACTERS_SHOWN = 50


class Character(Struct, frozen=True, kw_only=True):
    """A character that GSM 03.38 lacks.

    people       whose whole message is UCS-2 for it
    replacement  what could stand for it; None: nothing can. is_letter: another letter, so that somebody has to say yes
    """

    character: str
    people: int
    replacement: str | None
    is_letter: bool


class Country(Struct, frozen=True, kw_only=True):
    """People of a country, the parts of their messages, and what those cost; None: nobody has said."""

    country: str
    people: int
    parts: int
    cost: float | None


class Worst(Struct, frozen=True, kw_only=True):
    """The longest message of all. parts: it would take; units: septets or UTF-16 units, where it may be sent."""

    number: int
    text: str
    parts: int
    alphabet: str | None
    units: int | None


class Reckoning(Struct, frozen=True, kw_only=True):
    """What a template comes to.

    people     that were looked at; share: of all, 1.0 = everybody
    messages   by how many parts they have; refused: by the word for it, what has no text among it
    alphabets  messages by theirs; transliterated: those in which something stands for what GSM lacks
    longest    characters of the longest value of each field, among all people
    most       parts of a message that had all of those; None where everybody was looked at
    """

    people: int
    share: float
    messages: Mapping[int, int]
    refused: Mapping[str, int]
    alphabets: Mapping[str, int]
    transliterated: int
    characters: Sequence[Character]
    countries: Sequence[Country]
    worst: Worst | None
    longest: Mapping[str, int] = {}
    most: int | None = None

    @property
    def parts(self) -> int:
        """All parts of all messages."""
        return sum(parts * messages for parts, messages in self.messages.items())

    @property
    def cost(self) -> float | None:
        """What all of them cost; None where some country has no cost."""
        known = [one.cost for one in self.countries if one.parts]
        return sum(cost for cost in known if cost is not None) if all(cost is not None for cost in known) else None


class Forms:
    """Picks the form that a number's message is written in: once for its first eight digits.

    text    as the claim composes it; fields: columns of the batches
    labels  what stands around it, by country
    price   of a part, by carrier and country; None: not known
    """

    def __init__(
        self,
        carriers: Mapping[str, CarrierSettings],
        table: RouteTable,
        *,
        text: str,
        fields: Sequence[str],
        class_: MessageClass,
        sender: str,
        at: datetime,
        encoding: Encoding = PLAIN,
        labels: Mapping[str, Around] | None = None,
        price: Callable[[str, str], float | None] = lambda carrier, country: None,
    ):
        self._carriers, self._table = carriers, table
        self._text, self._fields, self._encoding = text, fields, encoding
        self._class, self._sender, self._at = class_, sender, at
        self._labels = labels or {}
        self._price = price
        self._forms: dict[tuple[str, str, str], Form] = {}
        # Carrier of a country, for its cost: of several the one that was met first.
        self.carriers: dict[str, str] = {}

    def pick(self, head: int) -> tuple[Form, str] | None:
        """Pick for numbers that begin so; None: nobody takes them."""
        # A route asks for beginnings; what stands behind them is the same for all.
        number = int(str(head).ljust(12, "0")) if head >= 10_000_000 else head
        country = country_of(number)
        decision = decide(number, self._class, self._sender, self._at, {}, self._table)
        if not decision.carrier:
            return None
        self.carriers.setdefault(country, decision.carrier)
        label = country if country in self._labels else ""
        key = decision.carrier, decision.source, label
        if key not in self._forms:
            self._forms[key] = form_of(
                self._text,
                # What is sent beside the text changes none of its parts, and has no column here.
                msgspec.structs.replace(self._carriers[decision.carrier], tlvs=()),
                self._fields,
                self._encoding,
                decision.source,
                label=self._labels.get(label),
            )
        return self._forms[key], country

    def form_of_number(self, number: int) -> Form | None:
        """The form of a number."""
        while number >= 100_000_000:
            number //= 10
        found = self.pick(number)
        return None if found is None else found[0]

    def cost_of(self, country: str, parts: int) -> float | None:
        """What so many parts cost."""
        price = self._price(self.carriers.get(country, ""), country)
        return None if price is None else round(price * parts, 6)


class Reckoner:
    """Adds people up."""

    def __init__(self, forms: Forms):
        self._forms = forms
        self._survey = Survey(forms.pick)
        self._skipped: dict[str, int] = {}

    def add_texts(self, numbers: Sequence[int], texts: Sequence[str], skipped: Mapping[str, Sequence[int]]) -> None:
        """Add a page that was rendered (dispatch/rendering.py)."""
        for at in range(0, len(numbers), BATCH):
            rows = [[text] for text in texts[at : at + BATCH]]
            self._survey.add(Batch.of(1, numbers[at : at + BATCH], rows))
        for reason, some in skipped.items():
            self._skipped[reason] = self._skipped.get(reason, 0) + len(some)

    def add(self, batch: Batch) -> None:
        """Add people whose values the claim itself puts into the text."""
        self._survey.add(batch)

    def reckoning(
        self, share: float = 1.0, longest: Mapping[str, int] | None = None, most: int | None = None
    ) -> Reckoning:
        """What was added comes to."""
        counts = self._survey.counts()
        refused = dict(self._skipped)
        for reason, number in counts["refused"].items():
            refused[reason if isinstance(reason, str) else _word(reason)] = number
        characters = sorted(counts["forcing"].items(), key=lambda one: (-one[1], one[0]))[:_MOST_CHARACTERS_SHOWN]
        return Reckoning(
            people=counts["people"] + sum(self._skipped.values()),
            share=share,
            messages=counts["parts"],
            refused=refused,
            alphabets=counts["alphabets"],
            transliterated=counts["transliterated"],
            characters=[character_of(character, people) for character, people in characters],
            countries=[
                Country(country=country, people=people, parts=parts, cost=self._forms.cost_of(country, parts))
                for country, (people, parts) in sorted(counts["countries"].items(), key=lambda one: -one[1][0])
            ],
            worst=self._worst(),
            longest=longest or {},
            most=most,
        )

    def _worst(self) -> Worst | None:
        if self._survey.worst is None:
            return None
        number, values, parts, octets, alphabet = self._survey.worst
        form = self._forms.form_of_number(number)
        assert form is not None
        text = text_of(form.template, values)
        units = None if octets is None else octets // (2 if alphabet == "ucs2" else 1)
        return Worst(number=number, text=text, parts=parts, alphabet=alphabet, units=units)


def text_of(template: Compiled, values: Sequence[str | None]) -> str:
    """Write the text of a message, whatever its alphabet."""
    try:
        return decode(template.encode(list(values), "ucs2"), "ucs2")
    except (KeyError, ValueError):
        return ""


def _word(reason: int) -> str:
    return "too_long" if reason == Refusal.TOO_MANY_PARTS else reasons.word_of(reason)


def character_of(character: str, people: int) -> Character:
    """Say what could stand for a character that GSM lacks: a sign by itself, a letter if somebody says so (TP-9)."""
    safe = transliterate(character, "safe")
    lossy = safe if safe is not None else transliterate(character, "lossy")
    return Character(
        character=character,
        people=people,
        replacement=None if lossy is None else decode(lossy[0], "gsm7"),
        is_letter=safe is None and lossy is not None,
    )


def batches_of(octets: bytes, fields: Sequence[str], names: Sequence[str] = ()) -> Iterator[Batch]:
    """Cut a page of people into batches with the values of some fields, cleaned as rendering would clean them.

    names  those of the fields that are names of people
    cost   about 3 us a person with three fields
    """
    filters = Filters()
    # What is asked for alone is made of the octets, by place: twice as fast as a table of everything.
    known = msgspec.defstruct(
        "Known",
        [(f"value_{at}", Any, None) for at in range(len(fields))],
        rename={f"value_{at}": field for at, field in enumerate(fields)},
        gc=False,
    )
    read, parts = msgspec.json.Decoder(known).decode, msgspec.structs.astuple
    named = [field in names for field in fields]
    rows = read_rows(octets)
    for at in range(0, len(rows), BATCH):
        some = rows[at : at + BATCH]
        values = []
        for _, body in some:
            row: list[str | None] = []
            for value, is_name in zip(parts(read(body)), named, strict=True):
                kind = value.__class__
                if kind is str and value.isascii() and _PLAIN(value) and (not is_name or len(value) <= NAME_GRAPHEMES):
                    row.append(value)
                elif kind is int:
                    row.append(str(value))
                else:
                    row.append(None if value is None else printed(value, is_name=is_name, filters=filters))
            values.append(row)
        yield Batch.of(1, [number for number, _ in some], values if fields else None)


def with_code(template: Template) -> Template:
    """Put a code of the right length where there is none before it is sent; nobody has it."""
    coupon = template.coupon
    if coupon is None or coupon.code:
        return template
    return msgspec.structs.replace(template, coupon=msgspec.structs.replace(coupon, code="X" * coupon.length))


def with_placeholders(template: Template) -> Template:
    """Put something of the right length where a code or a link is made for each person only when it is sent (TP-8)."""
    links = {name: "https://" + "x" * max(0, template.link_length - 8) for name in template.links}
    coupon = with_code(template).coupon
    if coupon is not None and coupon.url and "code" not in coupon.url:
        coupon = msgspec.structs.replace(coupon, url="https://" + "x" * max(0, template.link_length - 8))
    return msgspec.structs.replace(template, links=links, coupon=coupon)


def parts_of(form: Form, values: Sequence[str | None]) -> int:
    """How many parts one message has, too many of them among it."""
    found = explain(form, values)
    return int(found["segments"] or found["needed"] or 0)
