"""Landing pages: a document of blocks, without a script, in the style of a brand (S0.25 to S0.27). And their words.

    kind = "page"
    name = "spring"
    title = "Spring at Acme"
    [[blocks]]
    kind = "heading"
    text = "A question before you go"
    [[blocks]]
    kind = "form"
    name = "survey"
    button = "Send"
    fields = [{kind = "choice", name = "size", label = "Your size?", options = ["S", "M"], attribute = "size"}]

{name} in a text is a value of each message's link, such as {code}. Nothing of a document reaches a browser but as text.
Not here: how it looks (gateway.redirect), keeping it (store/pages.py).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

from gateway.link import LONGEST_URL, Link
from gateway.link import Problem as Problem
from gateway.link import problems_of as link_problems

MOST_BLOCKS = 60
# A page has to be here in a moment, on a bad connection (S0.25).
MOST_OCTETS = 50_000
# WCAG 2.2, 1.4.3: of a text and what is behind it.
LEAST_CONTRAST = 4.5
MOST_ANSWER = 1000

_WORD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_VALUE = re.compile(r"\{([a-z][a-z0-9_]{0,39})\}")
_EMAIL = re.compile(r"[^@\s<>\"]{1,64}@[^@\s<>\"]{1,190}\.[^@\s<>\".]{2,63}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")

Text = Annotated[str, Meta(min_length=1, max_length=4000)]
Label = Annotated[str, Meta(min_length=1, max_length=300)]
Word = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Color = Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}$")]
Address = Annotated[str, Meta(max_length=LONGEST_URL)]
Language = Annotated[str, Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]


class Theme(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[brands.NAME.theme]: how pages of a brand look.

    title       who speaks, above every page; by default the brand's name
    language    of pages that say none, and of the words that are ours
    on_accent   the text on a button
    logo        https; its alternative is the title
    imprint     a line below every page, such as who is responsible
    """

    title: Annotated[str, Meta(max_length=80)] = ""
    language: Language = "en"
    background: Color = "#ffffff"
    text: Color = "#1a1a1a"
    accent: Color = "#0b57d0"
    on_accent: Color = "#ffffff"
    font: Literal["system", "sans", "serif"] = "system"
    logo: Address = ""
    imprint: Annotated[str, Meta(max_length=500)] = ""


class Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A part of a page."""


class Heading(Part, frozen=True, kw_only=True, tag="heading"):
    """A heading; the first of a page is its own."""

    text: Label


class Words(Part, frozen=True, kw_only=True, tag="text"):
    """Paragraphs, an empty line between them."""

    text: Text


class Image(Part, frozen=True, kw_only=True, tag="image"):
    """A picture. alt: what it shows, for who does not see it; "" where it only adorns. Pixels keep its room."""

    url: Address
    alt: Annotated[str, Meta(max_length=300)]
    width: Annotated[int, Meta(ge=1, le=4000)]
    height: Annotated[int, Meta(ge=1, le=4000)]


class Button(Part, frozen=True, kw_only=True, tag="button"):
    """A link that looks like a button."""

    text: Label
    url: Address


class Coupon(Part, frozen=True, kw_only=True, tag="coupon"):
    """A code to be shown or typed, such as {code}, and what it is good for."""

    code: Label
    text: Annotated[str, Meta(max_length=1000)] = ""


class Asked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Something to be filled in.

    attribute  of the person, that the answer becomes: declared by themselves (S0.18)
    """

    name: Word
    label: Label
    required: bool = False
    attribute: Annotated[str, Meta(pattern=r"^([A-Za-z][A-Za-z0-9_.-]{0,63})?$")] = ""


class TextField(Asked, frozen=True, kw_only=True, tag="text"):
    """A line, or several."""

    most: Annotated[int, Meta(ge=1, le=MOST_ANSWER)] = 200
    lines: Annotated[int, Meta(ge=1, le=10)] = 1


class EmailField(Asked, frozen=True, kw_only=True, tag="email"):
    """An address of e-mail."""


class ChoiceField(Asked, frozen=True, kw_only=True, tag="choice"):
    """One of several, or some of them."""

    options: Annotated[tuple[Label, ...], Meta(min_length=2, max_length=30)]
    several: bool = False


class ConsentField(Asked, frozen=True, kw_only=True, tag="consent"):
    """A box that nobody has ticked yet. Its label is the wording that is written into the ledger of consent (CN-3)."""

    programme: Annotated[str, Meta(max_length=64)] = ""


class BirthdayField(Asked, frozen=True, kw_only=True, tag="birthday"):
    """A day of birth. Who is younger than `least` years grants nothing by it, and gets nothing that advertises."""

    least: Annotated[int, Meta(ge=1, le=30)] = 16


Field: TypeAlias = TextField | EmailField | ChoiceField | ConsentField | BirthdayField


class Form(Part, frozen=True, kw_only=True, tag="form"):
    """Something to be sent: a survey, or an entry to a contest, which counts once for each person (S0.21).

    event   what sending it is called
    thanks  what is shown then
    """

    name: Word
    fields: Annotated[tuple[Field, ...], Meta(min_length=1, max_length=20)]
    button: Annotated[str, Meta(min_length=1, max_length=60)]
    thanks: Text
    contest: bool = False
    event: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}$")] = "page_submitted"


Block: TypeAlias = Heading | Words | Image | Button | Coupon | Form


class Page(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A landing page. language: by default that of the brand's theme."""

    kind: Literal["page"]
    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
    title: Label
    blocks: Annotated[tuple[Block, ...], Meta(min_length=1, max_length=MOST_BLOCKS)]
    brand: Annotated[str, Meta(max_length=64)] = ""
    language: Annotated[str, Meta(pattern=r"^([a-z]{2,3}(-[A-Za-z0-9]{2,8})*)?$")] = ""

    @property
    def forms(self) -> dict[str, Form]:
        """What may be sent from it, by name."""
        return {block.name: block for block in self.blocks if isinstance(block, Form)}

    @property
    def values(self) -> tuple[str, ...]:
        """The values of each message's link that its texts have."""
        return tuple(dict.fromkeys(name for text in _texts(self) for name in _VALUE.findall(text)))


def filled(text: str, values: Mapping[str, str]) -> str:
    """Put the values of a link into a text; what it has no value of is left out."""
    return _VALUE.sub(lambda match: values.get(match[1], ""), text) if "{" in text else text


def page_of(document: Mapping[str, Any]) -> tuple[Page | None, list[Problem]]:
    """Read a document; -> the page, or every problem of it: key, expected, found."""
    try:
        page = msgspec.convert(document, Page)
    except msgspec.ValidationError as error:
        return None, [_problem_of(error, document)]
    problems = problems_of(page)
    return (None if problems else page), problems


def _problem_of(error: msgspec.ValidationError, document: Mapping[str, Any]) -> Problem:
    words, _, place = str(error).partition(" - at `$")
    key = place.rstrip("`").lstrip(".")
    expected, _, found = words.partition(", got ")
    expected = expected.removeprefix("Expected ").removeprefix("Object ")
    if not found:
        value: Any = document
        for step in re.findall(r"[\w-]+", key):
            try:
                value = value[int(step)] if isinstance(value, list | tuple) else value[step]
            except (KeyError, IndexError, ValueError, TypeError):
                value = None
        found = repr(value)[:80] if not isinstance(value, Mapping | list) else "something else"
    return key or "page", expected, found


def problems_of(page: Page) -> list[Problem]:
    """Find what the types of its values cannot say: key, expected, found."""
    problems: list[Problem] = []
    names: set[str] = set()
    if not isinstance(page.blocks[0], Heading) and not any(isinstance(block, Heading) for block in page.blocks):
        problems.append(("blocks", "a heading, by which a page is found by who does not see it", "none"))
    for at, block in enumerate(page.blocks):
        key = f"blocks[{at}]"
        if isinstance(block, Button | Image):
            problems += [
                (f"{key}.url", expected, found) for _, expected, found in link_problems(key, Link(url=block.url))
            ]
        if isinstance(block, Image) and _VALUE.search(block.url):
            problems.append((f"{key}.url", "the same picture for everybody", repr(block.url)))
        if isinstance(block, Form):
            if block.name in names:
                problems.append((f"{key}.name", "a name that no other form of the page has", repr(block.name)))
            names.add(block.name)
            fields: set[str] = set()
            for number, field in enumerate(block.fields):
                if field.name in fields or field.name == "form":
                    place = f"{key}.fields[{number}].name"
                    problems.append((place, "a name that no other field of the form has", repr(field.name)))
                fields.add(field.name)
                if isinstance(field, ChoiceField) and len(set(field.options)) < len(field.options):
                    problems.append((f"{key}.fields[{number}].options", "each option once", "one twice"))
                if isinstance(field, ConsentField) and not page.brand:
                    problems.append(("brand", "the brand that a consent is given to", "none"))
    return problems


def theme_problems(key: str, theme: Theme) -> list[Problem]:
    """Find what of a theme cannot be read by everybody: key, expected, found."""
    problems: list[Problem] = []
    for front, back in (("text", "background"), ("on_accent", "accent"), ("accent", "background")):
        found = contrast(getattr(theme, front), getattr(theme, back))
        # A button is not read but seen: WCAG 1.4.11.
        least = LEAST_CONTRAST if front != "accent" else 3.0
        if found < least:
            problems.append((f"{key}.{front}", f"a contrast to {back} of at least {least:g}", f"{found:.2f}"))
    if theme.logo:
        problems += [
            (f"{key}.logo", expected, found) for _, expected, found in link_problems(key, Link(url=theme.logo))
        ]
    return problems


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21 (WCAG 2.2)."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _texts(page: Page) -> Iterable[str]:
    yield page.title
    for block in page.blocks:
        for name in ("text", "code", "url", "thanks"):
            told = getattr(block, name, "")
            if isinstance(told, str):
                yield told


def answers_of(form: Form, told: Sequence[tuple[str, str]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read what was filled in; -> answers by field, and what is wrong by field: required, long, option, email, date.

    What the form does not ask for is passed over; control characters are taken out.
    """
    by_name: dict[str, list[str]] = {}
    for name, value in told:
        by_name.setdefault(name, []).append(_CONTROL.sub("", value.replace("\r\n", "\n")).strip())
    answers: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in form.fields:
        values = [value for value in by_name.get(field.name, []) if value]
        if isinstance(field, ConsentField):
            answers[field.name] = bool(values)
        elif isinstance(field, ChoiceField) and field.several:
            answers[field.name] = [option for option in field.options if option in values]
            if set(values) - set(field.options):
                wrong[field.name] = "option"
        elif values:
            answers[field.name] = values[0]
            if isinstance(field, ChoiceField) and values[0] not in field.options:
                wrong[field.name] = "option"
            elif isinstance(field, EmailField) and not _EMAIL.fullmatch(values[0]):
                wrong[field.name] = "email"
            elif isinstance(field, TextField) and len(values[0]) > field.most:
                wrong[field.name] = "long"
            elif isinstance(field, BirthdayField) and _day(values[0]) is None:
                wrong[field.name] = "date"
        if field.required and not answers.get(field.name):
            wrong[field.name] = "required"
    return answers, wrong


def is_of_age(form: Form, answers: Mapping[str, Any], at: date) -> bool | None:
    """Say whether somebody is as old as the form asks on a day (S4.42); None: it asks, and they did not say.

    Born on 29 February, one is a year older on 1 March.
    """
    found: bool | None = True
    for field in form.fields:
        if not isinstance(field, BirthdayField):
            continue
        born = _day(answers.get(field.name) or "")
        if born is None:
            found = None
        elif at.year - born.year - ((at.month, at.day) < (born.month, born.day)) < field.least:
            return False
    return found


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except ValueError:
        return None


def declared(form: Form, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that a person has declared by answers; what was left empty says nothing."""
    return {
        field.attribute: answers[field.name]
        for field in form.fields
        if field.attribute and answers.get(field.name) not in (None, "", [])
    }


encode = msgspec.json.Encoder(order="deterministic").encode
decode = msgspec.json.Decoder(Page).decode
