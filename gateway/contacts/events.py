"""A file of events, JSON by lines: each line becomes an Item, or a refusal that names line, field, expected and found.

    {"event_id": "7f", "name": "order_placed", "occurred_at": "2026-03-01T12:00:00Z", "external_id": "ada",
     "phone": "+4915112345678", "properties": {"order_id": "1", "total": 19.9, "currency": "EUR"}}

A line tells an event (`name`), attributes (`attributes`, null takes one away), both, or that somebody is also another
(`absorbs`: {"external_id": …}). Words of Segment are understood too: messageId, event, timestamp, userId, anonymousId,
traits. An event says when it happened, with its zone: history without a clock would count as of today.
The file is read once, in pieces; a line longer than LINE_OCTETS is refused without being held.
Not here: taking items in (gateway.store.profiles), where a repeat begins (gateway.commands.events).
"""

import json
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

from gateway.person import EPOCH, Item, Who

LINE_OCTETS = 1 << 20
DEEPEST = 32
LONGEST_NAME = 200
LONGEST_KEY = 500
_FIELDS = {
    "messageId": "event_id", "id": "event_id", "event": "name", "timestamp": "occurred_at", "time": "occurred_at",
    "userId": "external_id", "user_id": "external_id", "anonymousId": "anonymous_id", "traits": "attributes",
}  # fmt: skip
_KNOWN = frozenset(
    "event_id name occurred_at external_id email anonymous_id phone attributes properties historical source absorbs "
    "type".split()
)
_WHO = ("external_id", "email", "anonymous_id", "phone")


class Refusal(Struct, frozen=True):
    """What is wrong with a line; `field` is "" where it is the line itself."""

    line: int
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        where = f"line {self.line}" + (f", {self.field}" if self.field else "")
        return f"{where}: expected {self.expected}, found {self.found}"


class _Wrong(Exception):
    def __init__(self, field: str, expected: str, found: Any):
        super().__init__(field)
        self.field, self.expected = field, expected
        self.found = found if isinstance(found, str) and field == "" else _shown(found)


class Line(Struct, frozen=True):
    """One line of the file: what it tells, and where the next one begins."""

    number: int
    end: int
    told: Item | Refusal


def read_events(file: BinaryIO, source: str, *, at: int = 0, number: int = 0) -> Iterator[Line]:
    """Read the lines behind an offset; empty ones are passed over.

    at, number  the end and the number of the last line that was taken before
    cost        one line in memory
    """
    file.seek(at)
    while octets := file.readline(LINE_OCTETS + 1):
        number += 1
        size = len(octets)
        at += size
        if size > LINE_OCTETS:
            while octets and not octets.endswith(b"\n"):
                octets = file.readline(LINE_OCTETS)
                size += len(octets)
                at += len(octets)
            yield Line(number, at, Refusal(number, "", f"at most {LINE_OCTETS:,} octets", f"{size:,}"))
            continue
        if number == 1:
            octets = octets.removeprefix(b"\xef\xbb\xbf")
        if not octets.strip():
            continue
        try:
            yield Line(number, at, item_of(octets, source))
        except _Wrong as error:
            yield Line(number, at, Refusal(number, error.field, error.expected, error.found))


def item_of(octets: bytes, source: str) -> Item:
    """Read what one line tells; raises _Wrong."""
    try:
        text = octets.decode()
    except UnicodeDecodeError as error:
        raise _Wrong("", "UTF-8", f"octet 0x{octets[error.start]:02x} at {error.start + 1}") from None
    try:
        line = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        if (field := _no_number(text)) is not None:
            raise _Wrong(*field) from None
        raise _Wrong("", "one JSON object", str(error)) from None
    if not isinstance(line, dict):
        raise _Wrong("", "a JSON object", _shown(line))
    told: dict[str, Any] = {}
    for name, value in line.items():
        own = _FIELDS.get(name, name)
        if own not in _KNOWN:
            raise _Wrong(name[:60], f"one of {', '.join(sorted(_KNOWN))}", value)
        if value is not None:
            told[own] = value
    attributes = dict(_object(told, "attributes"))
    for name in ("email", "phone"):
        # Where they stand among the attributes they name the person all the same; null takes them away.
        if attributes.get(name) is not None:
            told.setdefault(name, attributes.pop(name))
    properties = _object(told, "properties")
    _look_into(attributes, "attributes", 1)
    _look_into(properties, "properties", 1)
    name = _text(told, "name", LONGEST_NAME)
    absorbs = _object(told, "absorbs")
    if not (name or attributes or absorbs or "email" in told or "phone" in told):
        raise _Wrong("name", "an event, attributes or absorbs", line.get("name"))
    at = _instant(told.get("occurred_at"))
    if at is None:
        raise _Wrong("occurred_at", "when it happened, with its zone, as 2026-03-01T12:00:00Z", None)
    _check_columns(attributes)
    return Item(
        who=_who(told, ""),
        source=_text(told, "source", LONGEST_NAME) or source,
        event_id=_text(told, "event_id", LONGEST_KEY),
        name=name,
        occurred_at=at,
        attributes=attributes,
        properties=properties,
        historical=_flag(told, "historical"),
        absorbs=_who(absorbs, "absorbs.") if absorbs else None,
    )


def _who(told: Mapping[str, Any], prefix: str) -> Who:
    email = _text(told, "email", LONGEST_KEY, prefix).strip().lower()
    if email and ("@" not in email or " " in email):
        raise _Wrong(f"{prefix}email", "an address as name@domain", email)
    who = Who(
        external_id=_text(told, "external_id", LONGEST_KEY, prefix),
        email=email,
        anonymous_id=_text(told, "anonymous_id", LONGEST_KEY, prefix),
        phone=_phone(told.get("phone"), f"{prefix}phone"),
    )
    if who == Who():
        raise _Wrong(f"{prefix}external_id", f"at least one of {', '.join(_WHO)}", None)
    return who


def _phone(value: Any, field: str) -> int:
    if value is None:
        return 0
    digits = value[1:] if isinstance(value, str) and value.startswith("+") else ""
    if not (7 <= len(digits) <= 15 and digits.isascii() and digits.isdecimal() and digits[0] != "0"):
        raise _Wrong(field, "a number in E.164 with its plus, as +4915112345678", value)
    return int(digits)


def _text(told: Mapping[str, Any], field: str, longest: int, prefix: str = "") -> str:
    value = told.get(field, "")
    if isinstance(value, int) and not isinstance(value, bool) and field.endswith("_id"):
        value = str(value)
    if not isinstance(value, str) or len(value) > longest or "\0" in value:
        raise _Wrong(f"{prefix}{field}", f"a text of at most {longest} characters without U+0000", value)
    return unicodedata.normalize("NFC", value)


def _object(told: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = told.get(field, {})
    if not isinstance(value, dict):
        raise _Wrong(field, "an object", value)
    return value


def _flag(told: Mapping[str, Any], field: str) -> bool:
    value = told.get(field, False)
    if not isinstance(value, bool):
        raise _Wrong(field, "true or false", value)
    return value


def _instant(value: Any) -> datetime | None:
    if value is None:
        return None
    at = None
    if isinstance(value, str):
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            at = None
    if at is None or at.tzinfo is None:
        raise _Wrong("occurred_at", "when it happened, with its zone, as 2026-03-01T12:00:00Z", value)
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise _Wrong("occurred_at", "a time from 1970 on", value) from None
    if at < EPOCH:
        raise _Wrong("occurred_at", "a time from 1970 on", value)
    return at


def _check_columns(attributes: Mapping[str, Any]) -> None:
    """Attributes that have a column of their own are texts of a form."""
    country = attributes.get("country")
    if country is not None and not (
        isinstance(country, str) and len(country) == 2 and country.isascii() and country.isalpha() and country.isupper()
    ):
        raise _Wrong("attributes.country", "two capital letters of ISO 3166, as DE", country)
    for name in ("language", "zone"):
        value = attributes.get(name)
        if value is not None and not (isinstance(value, str) and 0 < len(value) <= 64):
            raise _Wrong(f"attributes.{name}", "a text of at most 64 characters", value)
    if "external_id" in attributes:
        raise _Wrong("attributes.external_id", "external_id beside the attributes", attributes["external_id"])


def _look_into(value: Any, field: str, depth: int) -> None:
    """Refuse what no column of Postgres takes, wherever it stands."""
    if depth > DEEPEST:
        raise _Wrong(field[:120], f"at most {DEEPEST} levels", "more")
    if isinstance(value, dict):
        for name, inner in value.items():
            if len(name) > LONGEST_NAME or "\0" in name:
                raise _Wrong(field, f"names of at most {LONGEST_NAME} characters without U+0000", name)
            if type(inner) is str:
                if "\0" in inner:
                    raise _Wrong(f"{field}.{name}", "a text without U+0000", inner)
            elif isinstance(inner, dict | list):
                _look_into(inner, f"{field}.{name}", depth + 1)
    else:
        for at, inner in enumerate(value):
            if isinstance(inner, str) and "\0" in inner:
                raise _Wrong(f"{field}[{at}]", "a text without U+0000", inner)
            if isinstance(inner, dict | list):
                _look_into(inner, f"{field}[{at}]", depth + 1)


class _Constant(str):
    """A word that JSON has not: NaN, Infinity or -Infinity."""


def _no_number(text: str) -> tuple[str, str, str] | None:
    """Find where a line has NaN or Infinity, if that is what is wrong with it."""
    try:
        waits = [("", json.loads(text, parse_constant=_Constant))]
    except (ValueError, RecursionError):
        return None
    while waits:
        field, value = waits.pop()
        if isinstance(value, _Constant):
            return field or "line", "a finite number", str(value)
        if isinstance(value, dict):
            waits += [(f"{field}.{name}" if field else name, inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waits += [(f"{field}[{at}]", inner) for at, inner in enumerate(value)]
    return None


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
