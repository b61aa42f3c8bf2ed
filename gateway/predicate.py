"""Who belongs to an audience, as a tree: what is asked of a person, and nothing of how it is found out.

    {"is": "and", "of": [
        {"is": "compare", "what": {"is": "field", "name": "orders.last"}, "op": ">",
         "to": {"is": "duration", "n": 30, "unit": "d"}},
        {"is": "not", "of": {"is": "message", "kind": "clicked", "campaign": "", "is_last": true}}]}

is the text `orders.last > 30d and not clicked(last_campaign)`. Each node is one tagged Struct; JSON goes in and out by
`decode` and `encode`. A tree that was decoded is well-formed and not yet sensible: campaign/audience.py checks it, by
reading its text.

Also here, since the rules in Python and the statements for Postgres must agree on it to the letter: what a number in a
string is, what a time in a string is, how letters are folded, which numbers a random bucket is made of.
Not here: the text (campaign/audience.py), the statements (store/audiences.py).
"""

import functools
import hashlib
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta, Struct, structs

Unit = Literal["s", "min", "h", "d", "w", "mo", "y"]
# A month is 30 days and a year 365, in seconds: "30 days ago" is elapsed time (SG-3).
SECONDS: Mapping[str, int] = {
    "s": 1,
    "min": 60,
    "h": 3600,
    "d": 86_400,
    "w": 604_800,
    "mo": 2_592_000,
    "y": 31_536_000,
}
# Longer ago than any text message: `now` minus it is still a year of four digits.
LONGEST_S = 100 * SECONDS["y"]
RANDOM_BUCKETS = 10_000
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Path = Annotated[tuple[Name, ...], Meta(min_length=1, max_length=8)]

# -- values ------------------------------------------------------------------------------------------------------------


class Duration(Struct, frozen=True, tag_field="is", tag="duration", omit_defaults=True, forbid_unknown_fields=True):
    """So long; of the calendar it is counted in midnights of the audience's zone, in days and weeks alone."""

    n: Annotated[int, Meta(ge=0, le=LONGEST_S)]
    unit: Unit
    calendar: bool = False

    @property
    def seconds(self) -> int:
        """As elapsed time."""
        return self.n * SECONDS[self.unit]

    @property
    def days(self) -> int:
        """As midnights."""
        return self.seconds // SECONDS["d"]


class Moment(Struct, frozen=True, tag_field="is", tag="time", forbid_unknown_fields=True):
    """An instant as it was written; a date alone is its midnight in UTC."""

    at: Annotated[str, Meta(max_length=40)]


class Money(Struct, frozen=True, tag_field="is", tag="money", forbid_unknown_fields=True):
    """An amount in a currency, in its major unit and as it was written."""

    amount: Annotated[str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,6})?$")]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")]


Value: TypeAlias = str | int | float | bool | None | Duration | Moment | Money

# -- what is looked at -------------------------------------------------------------------------------------------------


class Attribute(Struct, frozen=True, tag_field="is", tag="attr", forbid_unknown_fields=True):
    """What customers' systems said of a person; a longer path goes into objects."""

    path: Path


class Field(Struct, frozen=True, tag_field="is", tag="field", forbid_unknown_fields=True):
    """What is kept of every person by the names of FIELDS, `utm.first.NAME` and `utm.last.NAME`."""

    name: Name


class Window(Struct, frozen=True, tag_field="is", tag="window", omit_defaults=True, forbid_unknown_fields=True):
    """Which events count: the last `rolling`, or since (with) until (without); neither: all of them."""

    rolling: Duration | None = None
    since: Moment | None = None
    until: Moment | None = None


class Count(Struct, frozen=True, tag_field="is", tag="count", omit_defaults=True, forbid_unknown_fields=True):
    """How many events of a name there are."""

    event: Name
    window: Window = Window()
    where: "Predicate | None" = None


class Selected(Struct, frozen=True, tag_field="is", tag="selected", omit_defaults=True, forbid_unknown_fields=True):
    """A property of the first or last event that matches; without a path the time of it."""

    which: Literal["first", "last"]
    event: Name
    window: Window = Window()
    where: "Predicate | None" = None
    path: Annotated[tuple[Name, ...], Meta(max_length=8)] = ()


class Bucket(Struct, frozen=True, tag_field="is", tag="bucket", forbid_unknown_fields=True):
    """The random bucket of the person's number, 0 to 9999, for life (SG-8)."""


class Rfm(Struct, frozen=True, tag_field="is", tag="rfm", forbid_unknown_fields=True):
    """A score of recency, frequency or money, 1 to 5, or the group that they make (SG-9)."""

    part: Literal["r", "f", "m", "group"]


Operand: TypeAlias = Attribute | Field | Count | Selected | Bucket | Rfm

# -- what is asked -----------------------------------------------------------------------------------------------------

Op = Literal[
    "=", "!=", "<", "<=", ">", ">=", "in", "not_in", "contains", "starts_with", "matches", "exists", "not_exists",
    "within", "within_next", "before", "after",
]  # fmt: skip


class Everyone(Struct, frozen=True, tag_field="is", tag="everyone", forbid_unknown_fields=True):
    """No question."""


class And(Struct, frozen=True, tag_field="is", tag="and", forbid_unknown_fields=True):
    """All of them."""

    of: Annotated[tuple["Predicate", ...], Meta(min_length=2)]


class Or(Struct, frozen=True, tag_field="is", tag="or", forbid_unknown_fields=True):
    """One of them at least."""

    of: Annotated[tuple["Predicate", ...], Meta(min_length=2)]


class Not(Struct, frozen=True, tag_field="is", tag="not", forbid_unknown_fields=True):
    """Everybody whom it does not match, those of whom nothing is known too."""

    of: "Predicate"


class Compare(Struct, frozen=True, tag_field="is", tag="compare", omit_defaults=True, forbid_unknown_fields=True):
    """What is looked at, against a value, or several of them (in, not_in). each: the elements of an array."""

    what: Operand
    op: Op
    to: Value = None
    among: tuple[Value, ...] = ()
    ci: bool = False
    each: Literal["", "any", "all", "none"] = ""


class InList(Struct, frozen=True, tag_field="is", tag="list", forbid_unknown_fields=True):
    """Whether the person's number is in a static list."""

    name: Name


class InSegment(Struct, frozen=True, tag_field="is", tag="segment", forbid_unknown_fields=True):
    """Whether another audience matches."""

    name: Name


class Consent(Struct, frozen=True, tag_field="is", tag="consent", omit_defaults=True, forbid_unknown_fields=True):
    """Whether the person's number has granted it to a brand."""

    scope: Literal["promotional", "transactional", "night"]
    brand: Annotated[str, Meta(max_length=200)] = ""


class Message(Struct, frozen=True, tag_field="is", tag="message", omit_defaults=True, forbid_unknown_fields=True):
    """Whether messages of ours were received, clicked by a human, or replied to.

    campaign  its name; "" of any; with is_last that of the newest message sent to the person
    """

    kind: Literal["received", "clicked", "replied"]
    campaign: Annotated[str, Meta(max_length=200)] = ""
    is_last: bool = False
    window: Window = Window()


class Near(Struct, frozen=True, tag_field="is", tag="geo", omit_defaults=True, forbid_unknown_fields=True):
    """Whether the attribute, an object of lat and lon, lies within so many kilometres."""

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]
    km: Annotated[float, Meta(gt=0, le=20_100)]
    path: Path = ("location",)


Predicate: TypeAlias = Everyone | And | Or | Not | Compare | InList | InSegment | Consent | Message | Near

# Each name, and the type of what it holds.
FIELDS: Mapping[str, str] = {
    "aov": "money",
    "country": "string",
    "created": "time",
    "email": "string",
    "external_id": "string",
    "first_seen": "time",
    "language": "string",
    "last_click": "time",
    "last_reply": "time",
    "last_seen": "time",
    "number": "string",
    "orders": "number",
    "orders.first": "time",
    "orders.last": "time",
    "sessions": "number",
    "spent": "money",
    "zone": "string",
}
UTM_FIELD = re.compile(r"utm\.(first|last)\.[A-Za-z_][A-Za-z0-9_]*")
# What the gateway itself notes of a message (EV-11), by the kind that is asked for.
MESSAGE_EVENTS: Mapping[str, str] = {"received": "delivered", "clicked": "clicked", "replied": "replied"}
SENT_EVENT = "submitted"
CAMPAIGN_PROPERTY = "campaign"
# Of a reply that is no answer to anything (RP): what it asks for.
WISH_PROPERTY = "wish"
COMPLIANCE = ("stop", "start", "help")
# Of a click: human, bot or unsure; only the first is somebody's doing (GL-5).
VERDICT_PROPERTY = "verdict"
HUMAN = "human"


def decode(octets: bytes | str) -> Predicate:
    """Read a tree of JSON. raises msgspec.ValidationError with the path, what was expected and what was found."""
    return _DECODER.decode(octets)


def encode(tree: Predicate) -> str:
    """Write a tree as JSON."""
    return msgspec.json.encode(tree).decode()


_DECODER: msgspec.json.Decoder[Predicate] = msgspec.json.Decoder(Predicate)

# -- what both sides read alike ----------------------------------------------------------------------------------------

# A number in a string: as JSON writes one, without an exponent. Within it no two spellings have one sign more.
NUMBER_FORM = r"^-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,50})?$"
_NUMBER = re.compile(NUMBER_FORM[:-1] + r"\Z")
# A date, or a date with a time and its offset from UTC, that exists: what passes is taken by every calendar.
TIME_FORM = (
    r"^((1[6-9]|2[0-9])[0-9]{2}-((01|03|05|07|08|10|12)-(0[1-9]|[12][0-9]|3[01])|(04|06|09|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-8]))|((1[6-9]|2[0-9])(0[48]|[2468][048]|[13579][26])|(16|20|24|28)00)-02-29)"
    r"(T([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9]))?$"
)
_TIME = re.compile(TIME_FORM[:-1] + r"\Z")
_DATE_OCTETS = 10


def number_in(text: str) -> Decimal | None:
    """Read a number in a string strictly; None: it is none."""
    return Decimal(text) if _NUMBER.match(text) else None


def time_in(text: str) -> datetime | None:
    """Read a time in a string strictly; None: it is none. A date is its midnight in UTC."""
    if not _TIME.match(text):
        return None
    if len(text) == _DATE_OCTETS:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    if "." in text:
        # 3.10 takes three or six digits of a fraction alone.
        head, tail = text.split(".")
        digits = re.match("[0-9]+", tail)
        assert digits is not None
        text = f"{head}.{digits[0]:0<6}{tail[digits.end() :]}"
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)


def composed(text: str) -> str:
    """Write letters and their marks as one where there is such a letter (NFC): two spellings of a word are one."""
    return unicodedata.normalize("NFC", text)


def needs_composing(text: str) -> bool:
    """Whether another spelling could become this text when composed: of plain ASCII three characters alone."""
    return not text.isascii() or not _COMPOSED_TO_ASCII.isdisjoint(text)


# KELVIN SIGN, GREEK QUESTION MARK and GREEK VARIA become these.
_COMPOSED_TO_ASCII = frozenset("K;`")


def folded(text: str) -> str:
    """Take away upper and lower case, letter by letter: ß stays ß, and no letter becomes two."""
    return text.translate(_folds())


def folds_to(text: str) -> tuple[str, str]:
    """Name the letters that fold to one of a folded text, and to which; two strings of one length.

    Translated by them, a text equals, holds or begins with the folded one exactly when its folded self does.
    """
    wanted = set(text)
    pairs = [(chr(code), into) for code, into in _folds().items() if into in wanted]
    return "".join(one for one, _ in pairs), "".join(into for _, into in pairs)


@functools.cache
def _folds() -> dict[int, str]:
    """Every letter that folds to another single one: to its full folding or lower case, whichever is one letter."""
    found = {}
    for code in range(sys.maxunicode + 1):
        if 0xD800 <= code < 0xE000:
            continue
        letter = chr(code)
        for into in (letter.casefold(), letter.lower()):
            if len(into) == 1:
                if into != letter:
                    found[code] = into
                break
    return found


def minor_units(money: Money) -> Decimal:
    """Say an amount in the smallest unit of its currency."""
    return Decimal(money.amount).scaleb(MINOR_DIGITS.get(money.currency, 2))


# ISO 4217: the currencies whose smallest unit is not a hundredth.
MINOR_DIGITS: Mapping[str, int] = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
    **dict.fromkeys("CLF UYW".split(), 4),
}


def random_bucket(number: int, salt: str) -> int:
    """Draw the bucket of a number, 0 to 9999, the same for life (SG-8)."""
    digest = hashlib.md5(f"{salt}:{number}".encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big") % RANDOM_BUCKETS


def boundary(now: datetime, back: Duration, zone: ZoneInfo) -> datetime:
    """Find the instant after which something is newer than `back`: what happened at it is that long ago already.

    Of the calendar it is the last instant of a day: at the midnight after it the next day begins.
    """
    if not back.calendar:
        return now - timedelta(seconds=back.seconds)
    return midnight(now.astimezone(zone).date() - timedelta(days=back.days - 1), zone) - timedelta(microseconds=1)


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """Find the first instant of a day in a zone; where clocks skip midnight the day begins when they do."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def midnights(now: datetime, days: int, ahead: int, zone: ZoneInfo) -> list[datetime]:
    """Name the midnights of a zone from `days` before today until `ahead` after it, in their order."""
    today = now.astimezone(zone).date()
    return [midnight(today + timedelta(days=at), zone) for at in range(-days, ahead + 1)]


def events_of(tree: Predicate) -> list[Count | Selected | Message]:
    """Name what of a tree is asked of events, in its order."""
    found: list[Count | Selected | Message] = []
    for node in walk(tree):
        if isinstance(node, Message):
            found.append(node)
        elif isinstance(node, Compare) and isinstance(node.what, Count | Selected):
            found.append(node.what)
    return found


def since(tree: Predicate, at: datetime) -> Predicate:
    """Ask a tree of what happens from a moment on: its events of all time are those since then."""
    window = Window(since=Moment(at.isoformat()), until=_FOREVER)
    if isinstance(tree, And):
        return And(tuple(since(one, at) for one in tree.of))
    if isinstance(tree, Or):
        return Or(tuple(since(one, at) for one in tree.of))
    if isinstance(tree, Not):
        return Not(since(tree.of, at))
    if isinstance(tree, Message) and tree.window == Window():
        return structs.replace(tree, window=window)
    if isinstance(tree, Compare) and isinstance(tree.what, Count | Selected) and tree.what.window == Window():
        return structs.replace(tree, what=structs.replace(tree.what, window=window))
    return tree


_FOREVER = Moment("2999-12-31")


def walk(tree: Predicate) -> Iterable[Predicate]:
    """Name each node of a tree, those about a person; what is asked of an event's properties is part of its node."""
    yield tree
    if isinstance(tree, And | Or):
        for one in tree.of:
            yield from walk(one)
    elif isinstance(tree, Not):
        yield from walk(tree.of)


def at_path(value: Any, path: tuple[str, ...]) -> Any:
    """Follow a path into objects; MISSING where it leads nowhere."""
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return MISSING
        value = value[name]
    return value


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


# Of what is nowhere said; null is a value, and so is "".
MISSING: Any = _Missing()
