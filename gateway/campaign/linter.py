"""What is said of a text before it is sent: what is wrong, what is risky, what could be better (TP-11).

    Template, brand, facts ─► lint ─► findings: code, severity, key and place, words

An error is refused at launch, a warning asks for somebody's word, a hint is advice. A rule is a function of one text;
`RULES` is the list of their codes, of which each finding has one.
Not here: what makes a template unreadable (templatetext.py) or a document (template.py), how long texts come out
(dispatch/survey.py), what a country's law asks for (law.py).
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Literal

from msgspec import Struct

from gateway import templatetext
from gateway.template import Template, fields_of, root_of
from gateway.templatetext import Literal as Words
from gateway.templatetext import Piece, Place, TemplateFault, place_of

Severity = Literal["error", "warning", "hint"]

RULES: Mapping[str, tuple[Severity, str]] = {
    "not_readable": ("error", "TP-1"),
    "unknown_field": ("error", "TP-2"),
    "discount_in_transactional": ("error", "section 0"),
    "deadline_not_true": ("error", "S1.23"),
    "banned_word": ("error", "TP-11"),
    "no_default": ("warning", "S1.18"),
    "no_brand_prefix": ("warning", "S1.21"),
    "code_only_in_url": ("warning", "S1.24"),
    "no_opt_out": ("warning", "S1.25"),
    "opt_out_only_by_link": ("warning", "S4.43"),
    "inferred_printed": ("warning", "S4.41"),
    "observed_printed": ("hint", "S4.41"),
    "deadline_unknown": ("warning", "S1.23"),
    "not_tested": ("warning", "S1.28"),
    "public_shortener": ("warning", "TP-6"),
    "link_without_https": ("warning", "TP-11"),
    "shouting": ("warning", "TP-11"),
    "no_currency": ("warning", "TP-11"),
    "double_spaces": ("warning", "TP-11"),
    "brand_not_alike": ("warning", "S4.48"),
    "no_urgency": ("hint", "S1.23"),
    "no_name": ("hint", "S1.22"),
    "hard_to_read": ("hint", "S4.43"),
    "long": ("hint", "S4.49"),
}
"""Codes, with how much they weigh and which rule asks for them."""

_DISCOUNT = re.compile(
    r"\b(?:sale|discounts?|coupons?|vouchers?|promo(?:tion|s)?|% off|deals?|special offer|free shipping|rabatt\w*|"
    r"gutschein\w*|angebote?|sonderangebot\w*|soldes?|promotions?|remises?|réductions?|rebajas?|descuentos?|ofertas?|"
    r"sconti?|saldi|offert[ae]|korting\w*|promoc\w*|zniżk\w*|desconto\w*|скидк\w*|indirim\w*)\b|\d\s?% ?(?:off|rabatt|"
    r"de réduction|de descuento|di sconto|korting)|-\d{1,2} ?%",
    re.IGNORECASE,
)
_OPT_OUT = re.compile(
    r"\b(?:stop|stopp|unsubscribe|opt[ -]?out|abmelden|abbestellen|désabonn\w*|arrêt|baja|parar|cancella\w*|"
    r"afmelden|wypisz|sair|dezabon\w*|стоп|отписаться|ret|iptal)\b|退订|退訂|取消|停止|配信停止|수신거부|無料|무료",
    re.IGNORECASE,
)
_NO_WORD_WAY = re.compile(
    r"\b(?:unsubscribe|opt[ -]?out|abmelden|désabonn\w*|baja)\b\W{0,4}(?:here|at|via|hier|ici|aquí)?\W{0,3}"
    r"(?:https?://|\{\{|www\.)",
    re.IGNORECASE,
)
_DEADLINE = re.compile(
    r"\b(?P<n>\d{1,3})\s?(?P<unit>h|hrs?|hours?|std|stunden?|heures?|horas?|ore|uur|days?|d|tagen?|tage|jours?|d[ií]as?|"
    r"giorni|dagen|weeks?|wochen?|semaines?|semanas?|min|mins|minutes?|minuten)\b",
    re.IGNORECASE,
)
_DATED = re.compile(
    r"\b(?:until|till|ends?|expires?|by|valid|only|last|bis|endet|nur|gültig|jusqu\w*|valable|hasta|válido|fino|valido|"
    r"tot|geldig)\b\W+(?:\w+\W+){0,2}(?:tonight|today|tomorrow|midnight|sunday|monday|tuesday|wednesday|thursday|friday|"
    r"saturday|heute|morgen|mitternacht|sonntag|montag|dienstag|mittwoch|donnerstag|freitag|samstag|ce soir|demain|"
    r"dimanche|hoy|mañana|domingo|oggi|domani|\d{1,2}[./]\d{1,2})",
    re.IGNORECASE,
)
_URGENT = re.compile(
    r"\b(?:now|today|tonight|hurry|last chance|only|ends|expires|jetzt|heute|nur noch|letzte|maintenant|dernier\w*|"
    r"ahora|hoy|últim\w*|ora|oggi|nu|vandaag)\b",
    re.IGNORECASE,
)
_UNIT_S = {
    "m": 60,
    "h": 3600,
    "s": 3600,
    "o": 3600,
    "u": 3600,
    "d": 86400,
    "t": 86400,
    "j": 86400,
    "g": 86400,
    "w": 604800,
}
_URL = re.compile(r"\bhttps?://[^\s{}]+|(?<![@\w.-])(?:www\.)?[a-z0-9-]{2,}\.(?:com|net|org|io|co|ly|gl|me|de|fr|uk|es|it|nl|eu|shop|"
                  r"app|info|biz|link|page|to|cc)(?:/[^\s{}]*)?(?![\w.@])", re.IGNORECASE)  # fmt: skip
_SHORTENERS = frozenset(
    "bit.ly tinyurl.com goo.gl t.co ow.ly is.gd buff.ly rebrand.ly cutt.ly rb.gy tiny.cc shorturl.at t.ly bl.ink "
    "s.id".split()
)
_PRICE = re.compile(
    r"(?<![\w.,/:%+-])(?P<before>[€£$¥₹]|(?:EUR|USD|GBP|CHF|PLN|RON|SEK|NOK|DKK|CZK|HUF|TRY|INR|JPY|kr|zł|lei|Fr\.?)\s?)?"
    r"\d{1,6}[.,]\d{2}(?!\d)(?![.,/:]\d)(?P<after>\s?(?:[€£$¥₹]|EUR|USD|GBP|CHF|PLN|RON|SEK|NOK|DKK|CZK|HUF|TRY|INR|JPY|"
    r"kr|zł|lei|Ft|%))?(?!\w*[-:/]\d)",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W\d_]{2,}")
_KEYWORDS = frozenset(("STOP", "HELP", "START", "YES", "INFO", "SMS", "VIP", "OTP", "FREE", "OFF", "UK", "USA", "EU"))
_VOWELS = re.compile(r"[aeiouyäöüàâéèêëïîôûùæœáíóúąęа-яё]+", re.IGNORECASE)
# Flesch's formula; below, a text is for those who read for a living.
EASY = 50.0


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is to be said. key: of the text in its document, "text" or "languages.de"."""

    code: str
    severity: Severity
    key: str
    at: Place
    words: str


class Facts(Struct, frozen=True, kw_only=True):
    """What a template is judged by beside itself.

    brand       as its messages name it
    footer      what each text ends with
    attributes  that somebody has; None: nobody knows
    events      properties that the trigger's event has; None: nobody knows
    sources     of attributes: declared by the person, observed, or inferred
    banned      words that a route does not take, by the route
    was_tested  whether this version was sent as a test; None: nobody asks
    """

    brand: str = ""
    footer: str = ""
    attributes: Collection[str] | None = None
    events: Collection[str] | None = None
    sources: Mapping[str, str] = {}
    banned: Mapping[str, Sequence[str]] = {}
    was_tested: bool | None = None


class Text(Struct, frozen=True, kw_only=True):
    """One text of a template as the rules see it.

    shown   the text with a field as {{ }}: what a person reads, places as in `text`
    pieces  what it is made of
    """

    key: str
    text: str
    shown: str
    pieces: Sequence[Piece]
    template: Template
    facts: Facts


Rule = Callable[[Text], Iterator[tuple[str, int | Place, str]]]


def lint(template: Template, facts: Facts | None = None) -> list[Finding]:
    """Judge every text of a template; the gravest first, then as they stand."""
    facts = facts or Facts()
    found: list[Finding] = []
    for key, text in template.texts().items():
        try:
            pieces = templatetext.parse(text)
        except TemplateFault as error:
            for place, expected, what in error.faults:
                found.append(_finding("not_readable", key, place, f"expected {expected}, found {what}"))
            continue
        one = Text(key=key, text=text, shown=_shown(text), pieces=pieces, template=template, facts=facts)
        for rule in _RULES:
            for code, at, words in rule(one):
                place = at if isinstance(at, Place) else place_of(text, at)
                found.append(_finding(code, key, place, words))
    if facts.was_tested is False:
        found.append(_finding("not_tested", "text", Place(1, 1), "this version was never sent as a test"))
    weight = ("error", "warning", "hint")
    return sorted(found, key=lambda one: (weight.index(one.severity), one.key != "text", one.key, one.at))


def _finding(code: str, key: str, at: Place, words: str) -> Finding:
    return Finding(code=code, severity=RULES[code][0], key=key, at=at, words=words)


def ease(text: str) -> float:
    """How easily a text is read: 100 = by a child, 0 = with a degree (Flesch), links and fields left out."""
    plain = _URL.sub(" ", re.sub(r"\{[{%#].*?[}%#]\}", " x ", text, flags=re.S))
    words = re.findall(r"[^\W\d_]+", plain)
    if not words:
        return 100.0
    sentences = max(1, len([one for one in re.split(r"[.!?…]+(?:\s|$)|\n", plain) if _WORD.search(one)]))
    syllables = sum(max(1, len(_VOWELS.findall(word))) for word in words)
    return max(0.0, min(100.0, 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)))


def _shown(text: str) -> str:
    """Blank out what is between braces, so that words of the language are no words of the text; places stay."""
    return re.sub(
        r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", lambda found: "\ue000" + "\ue001" * (len(found[0]) - 1), text, flags=re.S
    )


# Rules --------------------------------------------------------------------------------------------------------------


def _unknown(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    for field in fields_of(one.text):
        root, name = root_of(field.name), field.name
        known = one.facts.attributes if root == "" else one.facts.events if root == "event" else None
        first = (name if root == "" else name.partition(".")[2]).partition(".")[0]
        if known is None or first in known or name in known or name in ("language", "zone", "country", "email"):
            continue
        close = difflib.get_close_matches(first, known, 1)
        meant = f" (did you mean {close[0]}?)" if close else ""
        of = "nobody has an attribute" if root == "" else "the event has no property"
        yield "unknown_field", field.at, f"{of} {first!r}{meant}"


def _no_default(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    for field in fields_of(one.text):
        if field.required and root_of(field.name) == "" and field.name not in one.template.defaults:
            yield "no_default", field.at, f"who has no {field.name} gets nothing: give it a default"


def _discount(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    if one.template.is_promotional:
        return
    for found in _DISCOUNT.finditer(one.shown):
        yield (
            "discount_in_transactional",
            found.start(),
            f"{found[0]!r} advertises, and the class is {one.template.class_}",
        )
    for field in fields_of(one.text):
        if root_of(field.name) == "coupon":
            yield "discount_in_transactional", field.at, f"a code advertises, and the class is {one.template.class_}"


def _prefix(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    brand = one.facts.brand
    start = one.text.lstrip()
    begins = re.match(r"\{\{-?\s*brand\.name|\{sitename\}", start, re.IGNORECASE)
    if not begins and not (brand and start.lower().startswith(brand.lower())):
        wanted = brand or "{{ brand.name }}"
        yield "no_brand_prefix", 0, f"begin with {wanted}, so that everybody sees at once who writes"
    if brand:
        for found in re.finditer(rf"\b{re.escape(brand)}\b", one.shown, re.IGNORECASE):
            if found[0] != brand:
                yield "brand_not_alike", found.start(), f"the name is written {brand!r}, here {found[0]!r}"


def _name(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    if one.template.is_promotional and not any("name" in f.name and root_of(f.name) == "" for f in fields_of(one.text)):
        yield "no_name", 0, "call the person by name: {{ first_name | default: 'there' }}"


def _deadline(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    coupon = one.template.coupon
    names = [field.name for field in fields_of(one.text)]
    has_code = any(root_of(name) == "coupon" for name in names)
    is_true = "coupon.expires_at" in names
    stated = list(_DEADLINE.finditer(one.shown))
    for found in stated:
        seconds = int(found["n"]) * _seconds_of(found["unit"])
        if has_code and coupon is not None and coupon.life_s and seconds != coupon.life_s:
            yield "deadline_not_true", found.start(), f"the text says {found[0]!r}, and the code lives {coupon.life}"
        elif has_code and (coupon is None or not coupon.life_s):
            yield (
                "deadline_unknown",
                found.start(),
                f"the text says {found[0]!r}, and nobody knows how long the code lives",
            )
    dated = _DATED.search(one.shown)
    if dated is not None and has_code and not is_true:
        yield (
            "deadline_unknown", dated.start(),
            f"{_bare(dated[0])!r} is true on one day alone: say {{{{ coupon.expires_at | date }}}}, which always is",
        )  # fmt: skip
    if one.template.is_promotional and has_code and not (stated or dated or is_true or _URGENT.search(one.shown)):
        yield "no_urgency", 0, "say until when the code is good"


def _seconds_of(unit: str) -> int:
    unit = unit.lower()
    if unit.startswith("min"):
        return 60
    if unit.startswith(("sem",)):
        return 604800
    return _UNIT_S.get(unit[0], 3600)


def _code(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    fields = {field.name: field for field in fields_of(one.text)}
    coupon = one.template.coupon
    if "coupon.url" in fields and "coupon.code" not in fields:
        if coupon is None or not coupon.code or coupon.code not in one.shown:
            words = "who buys on another device has no code: write {{ coupon.code }} too"
            yield "code_only_in_url", fields["coupon.url"].at, words


def _opt_out(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    if not one.template.is_promotional:
        return
    whole = f"{one.shown}\n{one.facts.footer}"
    if not _OPT_OUT.search(whole):
        yield "no_opt_out", len(one.text), "say the way out, such as STOP to 12345, or give the brand a footer"
    elif _NO_WORD_WAY.search(f"{one.text}\n{one.facts.footer}") and not re.search(r"\bstop\b", whole, re.IGNORECASE):
        yield "opt_out_only_by_link", 0, "the way out must not be a link alone: take an answer such as STOP too"


def _links(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    for found in _URL.finditer(one.shown):
        url = found[0].rstrip(".,!?)")
        if not url.lower().startswith("https://"):
            yield "link_without_https", found.start(), f"{url!r} does not begin with https://"
        host = re.sub(r"^https?://|^www\.", "", url.lower()).partition("/")[0]
        if host in _SHORTENERS:
            yield "public_shortener", found.start(), f"carriers block {host}: take a domain of the brand"
    if one.key == "text":
        for name, url in one.template.links.items():
            if not url.lower().startswith("https://"):
                yield "link_without_https", 0, f"links.{name}: {url[:60]!r} does not begin with https://"


def _manners(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    loud = [word for word in _WORD.finditer(one.shown) if len(word[0]) > 2 and word[0].isupper()]
    loud = [word for word in loud if word[0] not in _KEYWORDS and word[0] != one.facts.brand]
    words = [word for word in _WORD.findall(one.shown) if word not in _KEYWORDS and word != one.facts.brand]
    for before, after in zip(loud, loud[1:], strict=False):
        if not one.shown[before.end() : after.start()].strip(" ,!-"):
            yield "shouting", before.start(), f"{before[0]} {after[0]} is shouted"
            break
    else:
        if len(words) > 3 and sum(len(word) for word in words if word.isupper()) * 2 > sum(map(len, words)):
            yield "shouting", 0, "more than half of it is capital letters"
    if (many := re.search(r"!{2,}|\?{2,}|(?:![^!]{1,60}){3,}", one.shown)) is not None:
        yield "shouting", many.start(), "one ! is enough"
    for found in re.finditer(r"(?<=\S)[  ]{2,}(?=\S)", one.shown):
        yield "double_spaces", found.start(), "two spaces: each is a character that is paid for"
    for found in _PRICE.finditer(one.shown):
        if not found["before"] and not found["after"]:
            yield "no_currency", found.start(), f"{found[0]} of which currency?"


def _banned(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    for route, words in one.facts.banned.items():
        for word in words:
            for found in re.finditer(rf"(?<!\w){re.escape(word)}(?!\w)", one.shown, re.IGNORECASE):
                yield "banned_word", found.start(), f"{found[0]!r} is not taken by {route}"


def _told(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    for field in fields_of(one.text):
        if not field.is_printed or root_of(field.name):
            continue
        source = "inferred" if field.name in one.template.inferred else one.facts.sources.get(field.name, "")
        if source == "inferred":
            words = f"{field.name} was worked out and not told: who reads it may wonder how"
            yield "inferred_printed", field.at, words
        elif source == "observed":
            yield "observed_printed", field.at, f"{field.name} was seen and not told: is it welcome here?"


def _plainness(one: Text) -> Iterator[tuple[str, int | Place, str]]:
    score = ease(one.text)
    if len(_WORD.findall(one.shown)) >= 5 and score < EASY:
        yield (
            "hard_to_read",
            0,
            f"it reads as {score:.0f} of 100; {EASY:.0f} is plain: shorter words, shorter sentences",
        )
    least = sum(len(piece.text) for piece in one.pieces if isinstance(piece, Words)) + len(one.facts.footer)
    if least > 160:
        yield "long", 0, f"{least} characters without its fields: each part beyond 160 is paid for"


def _bare(text: str) -> str:
    return text.replace("\ue000", "…").replace("\ue001", "")


_RULES: Sequence[Rule] = (
    _unknown, _no_default, _discount, _prefix, _name, _deadline, _code, _opt_out, _links, _manners, _banned, _told,
    _plainness,
)  # fmt: skip
