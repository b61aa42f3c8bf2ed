"""What filters of a template do to a value, and how a value from outside becomes one (TP-1, TP-4).

    clean      what anybody may have typed: no control character, one line, not endless; of a name no link either
    filter_of  the filters of templatetext.FILTERS, by name, for the language and the zone that a text is rendered in

A filter that cannot do anything with what it is given raises ValueError: the person is skipped, and told why.
Not here: `default`, which the language itself knows.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from _fastpath.alphabet import decode, is_gsm
from _fastpath.segment import first_graphemes
from _fastpath.transliteration import transliterate
from gateway.person import major_units, minor_units

# TP-4: of a name, and of anything else that is not a list.
NAME_GRAPHEMES = 40
MOST_CHARACTERS = 1600
# What stands invisibly in a text and turns or hides the rest of it; joiners of emoji and of letters stay.
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_FOLDED = re.compile("[\\s\x0b\x0c\x1c-\x1f\x85\u2028\u2029]*[\t\n\r\x0b\x0c\x85\u2028\u2029][\\s\x85\u2028\u2029]*")
_SCHEME = re.compile(r"\w[\w+.-]*:/+|\w+:(?=\S)|//+")
# A dot that a handset would make a link of; one behind which a single letter stands is an initial's.
_DOT = re.compile(
    r"(?<=\w)[.\u3002\uff0e\uff61](?=\w\w)|(?<=www)[.\u3002\uff0e\uff61]|(?<=[\w-])@(?=\w)", re.IGNORECASE
)
_TITLES = frozenset(
    "mr mrs ms miss mx dr prof sir lady lord rev fr hr herr frau dipl ing mag mme mlle m monsieur madame sr sra srta "
    "don doña dott dott.ssa sig sig.ra dhr mevr".split()
)
_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$"}
# How a language writes numbers: thousands, decimals; and a day.
_ENGLISH = (",", ".", "%d/%m/%Y")
_WRITING: Mapping[str, tuple[str, str, str]] = {
    "en": _ENGLISH, "en-us": (",", ".", "%m/%d/%Y"), "de": (".", ",", "%d.%m.%Y"), "de-ch": ("'", ".", "%d.%m.%Y"),
    "fr": (" ", ",", "%d/%m/%Y"), "es": (".", ",", "%d/%m/%Y"), "it": (".", ",", "%d/%m/%Y"),
    "pt": (".", ",", "%d/%m/%Y"), "nl": (".", ",", "%d-%m-%Y"), "pl": (" ", ",", "%d.%m.%Y"),
    "sv": (" ", ",", "%Y-%m-%d"), "da": (".", ",", "%d.%m.%Y"), "nb": (" ", ",", "%d.%m.%Y"),
    "fi": (" ", ",", "%d.%m.%Y"), "cs": (" ", ",", "%d.%m.%Y"), "sk": (" ", ",", "%d.%m.%Y"),
    "hu": (" ", ",", "%Y.%m.%d."), "ro": (".", ",", "%d.%m.%Y"), "tr": (".", ",", "%d.%m.%Y"),
    "ru": (" ", ",", "%d.%m.%Y"), "uk": (" ", ",", "%d.%m.%Y"), "el": (".", ",", "%d/%m/%Y"),
    "ja": (",", ".", "%Y/%m/%d"), "ko": (",", ".", "%Y.%m.%d"), "zh": (",", ".", "%Y/%m/%d"),
}  # fmt: skip


def clean(value: str, *, is_name: bool = False) -> str:
    """Make data of what anybody may have typed (TP-4); "" where nothing of it is left.

    cost  0.3 us for what is clean already
    """
    if not value.isprintable():
        value = _FOLDED.sub(" ", unicodedata.normalize("NFC", value))
        value = _INVISIBLE.sub("", _CONTROL.sub("", value))
    value = value.strip()
    if not is_name:
        return (
            value
            if len(value) <= MOST_CHARACTERS
            else first_graphemes(value, MOST_CHARACTERS)[:MOST_CHARACTERS].strip()
        )
    if ":" in value or "//" in value:
        value = " ".join(_SCHEME.sub(" ", value).split())
    if not value.isalpha():
        value = _DOT.sub(" ", value)
    # A cluster has no end that somebody could not make longer.
    if len(value) > NAME_GRAPHEMES:
        value = first_graphemes(value, NAME_GRAPHEMES)[: NAME_GRAPHEMES * 8]
    return value.strip()


def number_of(value: Any) -> int | float | None:
    """Read a number as attributes hold it, a text of digits among them; None for what is none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping) and "amount" in value:
        return number_of(value["amount"])
    try:
        found = float(str(value).strip())
    except ValueError:
        return None
    if not -1e15 < found < 1e15:
        return None
    return int(found) if found.is_integer() else found


class Filters:
    """The filters of one language and zone.

    language  a text is in; zone: of the clock that dates are told by
    """

    def __init__(self, language: str = "", zone: str = "UTC"):
        name = language.lower()
        self._thousands, self._point, self._day = _WRITING.get(name) or _WRITING.get(name.split("-")[0]) or _ENGLISH
        self._zone: tzinfo = UTC
        self.turn_to(zone, "UTC")
        self.by_name: dict[str, Callable[..., Any]] = {
            "capitalize": lambda value: _text(value).capitalize(),
            "upcase": lambda value: _text(value).upper(),
            "downcase": lambda value: _text(value).lower(),
            "truncate": truncate,
            "truncatewords": truncatewords,
            "date": self.date,
            "number": self.number,
            "money": self.money,
            "pluralize": pluralize,
            "first_name": first_name,
            "url_encode": lambda value: quote(_text(value), safe=""),
            "gsm": gsm,
        }

    def turn_to(self, zone: str, otherwise: str) -> None:
        """Tell dates by the clock of a zone; by that of another where there is no such zone."""
        self._zone = _zone_of(zone) or _zone_of(otherwise) or UTC

    def date(self, value: Any, form: str = "", zone: str = "") -> str:
        """Write a day or an instant by a clock; form as strftime has it, alone it may be the zone."""
        if not zone and ("/" in form and "%" not in form or form == "UTC"):
            form, zone = "", form
        try:
            found: date = datetime.fromisoformat(_text(value))
        except ValueError:
            raise ValueError(
                f"date: expected a time such as 2026-01-31T18:00:00Z, found {_text(value)[:40]!r}"
            ) from None
        if len(_text(value)) > 10 and isinstance(found, datetime):
            clock = _zone_of(zone) if zone else self._zone
            if clock is None:
                raise ValueError(f"date: expected a zone such as Europe/Berlin, found {zone!r}")
            found = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(clock)
        return found.strftime(form or self._day)

    def number(self, value: Any, digits: int | None = None) -> str:
        """Write a number as the language does; digits behind the point, by default as many as it has, 2 at most."""
        return self._grouped(_decimal(value, "number"), digits)

    def _grouped(self, found: Decimal, digits: int | None) -> str:
        if digits is None:
            rounded = found.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP).normalize()
            digits = max(0, -int(rounded.as_tuple().exponent))
        digits = min(max(int(digits), 0), 10)
        text = f"{found.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP):,f}"
        return text.replace(",", "\0").replace(".", self._point).replace("\0", self._thousands)

    def money(self, value: Any, currency: str = "") -> str:
        """Write an amount: of an attribute that is money, or of a number with its currency."""
        if isinstance(value, Mapping):
            currency = str(value.get("currency", "")) or currency
            value = value.get("amount")
        found = _decimal(value, "money")
        currency = currency.upper()
        if not currency:
            raise ValueError("money: expected a currency such as money('EUR'), found none")
        minor = minor_units(str(found), currency)
        if minor is None:
            raise ValueError(f"money: expected an amount, found {str(value)[:40]!r}")
        amount = major_units(abs(minor), currency)
        text, sign = self._grouped(amount, -int(amount.as_tuple().exponent)), "-" if minor < 0 else ""
        symbol = _SYMBOLS.get(currency)
        if symbol is not None and self._point == ".":
            return f"{sign}{symbol}{text}"
        return f"{sign}{text} {symbol or currency}"


@functools.lru_cache(maxsize=1024)
def _zone_of(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | Mapping):
        raise ValueError("expected a text or a number, found a list or a table")
    return str(value)


def _decimal(value: Any, name: str) -> Decimal:
    if isinstance(value, Mapping):
        value = value.get("amount")
    try:
        found = Decimal(_text(value).strip())
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or abs(found) >= Decimal(10) ** 15:
        raise ValueError(f"{name}: expected a number, found {_text(value)[:40]!r}")
    return found


def truncate(value: Any, most: int = 50, end: str = "...") -> str:
    """Cut behind so many graphemes, `end` among them (TP-1)."""
    text, most = _text(value), max(0, int(most))
    if len(text) <= most or first_graphemes(text, most) == text:
        return text
    kept = most - _graphemes(end)
    return first_graphemes(text, kept).rstrip() + end if kept > 0 else first_graphemes(text, most)


def _graphemes(text: str) -> int:
    found = 0
    while text:
        text = text[len(first_graphemes(text, 1)) :]
        found += 1
    return found


def truncatewords(value: Any, most: int = 15, end: str = "...") -> str:
    """Cut behind so many words, one at least."""
    words = _text(value).split()
    most = max(1, int(most))
    return " ".join(words) if len(words) <= most else " ".join(words[:most]) + end


def pluralize(value: Any, one: str, many: str | None = None) -> str:
    """Say the word for one, or for another number of them; without the second, the first and an s."""
    number = number_of(value)
    if number is None:
        raise ValueError(f"pluralize: expected a number, found {_text(value)[:40]!r}")
    return one if abs(number) == 1 else (one + "s" if many is None else many)


def first_name(value: Any) -> str:
    """Say the name that somebody is called by: `Dr. ANNA-MARIA SCHMIDT` and `Schmidt, Anna-Maria` are Anna-Maria."""
    text = _text(value).strip()
    last, comma, first = text.partition(",")
    words = (first if comma and first.strip() else last).split()
    while len(words) > 1 and words[0].rstrip(".").lower() in _TITLES:
        words = words[1:]
    found = words[0] if words else ""
    if found.rstrip(".").lower() in _TITLES and found.endswith("."):
        return ""
    if len(found) > 1 and (found.isupper() or found.islower()):
        found = re.sub(r"[^\W_]+", lambda word: word[0].capitalize(), found)
    return found


def gsm(value: Any) -> str:
    """Write a text in the letters of GSM 03.38: what it lacks and nothing may stand for is left out."""
    text = _text(value)
    if is_gsm(text):
        return text
    whole = transliterate(text, "lossy")
    if whole is not None:
        return decode(whole[0], "gsm7")
    found = (transliterate(one, "lossy") for one in text)
    return "".join(decode(one[0], "gsm7") for one in found if one is not None).strip()
