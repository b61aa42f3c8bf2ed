"""The nouns of what is told of persons: who, what happened, which attributes, and what an order is.

An `Item` is one thing that was told, by a shop, a site, a file or ourselves: attributes, an event, or both (EV-5), or
that two are one (EV-7). Flags, names of events that mean something to us, and what follows from values: money, kinds.
Not here: reading files (gateway.contacts.events), keeping any of it (gateway.store.profiles).
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from _fastpath.eventrows import bucket_of as bucket_of  # of an identity
from _fastpath.eventrows import digest, microseconds

Kind: TypeAlias = Literal["string", "number", "bool", "time", "money", "array", "object", "null"]
Key: TypeAlias = tuple[str, str]
"""An identity: its kind (external_id, email, anonymous_id) and its value."""

CLAMPED, HISTORICAL, LATE, OURS = 1, 2, 4, 8
"""Bits of an event's flags. LATE: older than any trigger looks at when it came (EV-3)."""

FUTURE = timedelta(minutes=5)
"""A clock may be so far ahead of ours; what lies further ahead is clamped to when it was received (EV-2)."""
LATE_AFTER = timedelta(hours=72)
SESSION_TIMEOUT = timedelta(minutes=30)
"""EV-10: so long without an event, and a session has ended."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ORDER_PLACED, ORDER_CANCELLED, REFUNDED = "order_placed", "order_cancelled", "refunded"
ORDER_EVENTS = frozenset((ORDER_PLACED, ORDER_CANCELLED, REFUNDED))
SESSION_ENDED, CLICKED, REPLIED = "session_ended", "clicked", "replied"
COUPON_ISSUED, COUPON_REDEEMED = "coupon_issued", "coupon_redeemed"
LATE_EXCEPTION = "late_exception"
WORKFLOW_ENTERED, WORKFLOW_EXITED, GOAL = "workflow_entered", "workflow_exited", "goal"
OF_CAMPAIGNS = frozenset((WORKFLOW_ENTERED, WORKFLOW_EXITED, GOAL))
"""What campaigns tell of their people: what begins by it has to say whose, so that nothing begins itself (EV-11)."""
UTM = ("utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content")
OUR_SOURCE = "sluice"
# Attributes that have a column of their own; the rest is in `attributes`.
COLUMNS = ("external_id", "phone", "email", "country", "language", "zone")

# ISO 4217 has two decimals but for these.
_DECIMALS = {
    **dict.fromkeys("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF".split(), 0),
    **dict.fromkeys("BHD IQD JOD KWD LYD OMR TND".split(), 3),
}
_AMOUNTS = ("total", "amount", "value", "revenue")
_MOST_MINOR = 10**17


# gc=False, here and below: texts, numbers and what JSON says hold no cycle, and a batch of these costs a fifth of the
# client's time to be looked through (measured 2026-11).
class Who(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The names that a person goes by; at least one is given. phone: E.164 without its plus, 0 = none."""

    external_id: str = ""
    email: str = ""
    anonymous_id: str = ""
    phone: int = 0

    def keys(self) -> list[Key]:
        """The identities among them, the strongest first."""
        found = []
        if self.external_id:
            found.append(("external_id", self.external_id))
        if self.email:
            found.append(("email", self.email))
        if self.anonymous_id:
            found.append(("anonymous_id", self.anonymous_id))
        return found


class Item(Struct, frozen=True, kw_only=True, gc=False):
    """One thing told of a person.

    event_id     theirs, unique within the source; "" = made from what is told (EV-1)
    name         of the event; "" where only attributes are told, or that two are one
    occurred_at  by their clock; None = when it was received (EV-2)
    attributes   value None = taken away (EV-4)
    historical   never starts anything (EV-3)
    absorbs      another who is the same person (EV-7)
    """

    who: Who
    source: str = "api"
    event_id: str = ""
    name: str = ""
    occurred_at: datetime | None = None
    attributes: Mapping[str, Any] = {}
    properties: Mapping[str, Any] = {}
    historical: bool = False
    is_ours: bool = False
    absorbs: Who | None = None


def hash_of(number: int) -> int:
    """The bucket of a number or an id, as `_fastpath.peoplerows.bucket` and the checks of the tables have it."""
    return (number ^ number >> 8 ^ number >> 16 ^ number >> 24) & 255


def fingerprint(item: Item, received_at: datetime, body: bytes) -> bytes:
    """The 16 octets that source and event_id come down to; without an id what is told stands for it (EV-1)."""
    if item.event_id:
        told = f"{item.source}\0{item.event_id}".encode()
    else:
        at = microseconds(item.occurred_at or received_at) // 1000
        told = f"{item.source}\0\0{item.name}\0{at}\0".encode() + body
    return digest(told)


json_of = msgspec.json.Encoder(order="deterministic").encode
"""JSON of a value, the same for the same whatever the order of its fields."""


def body_of(item: Item, properties: bytes) -> bytes:
    """What an item says, the same for the same; properties as `json_of` has them, who needs them once more."""
    at = b"null" if item.occurred_at is None else b"%d" % microseconds(item.occurred_at)
    attributes = json_of(item.attributes) if item.attributes else b"{}"
    return b"[%b,%b,%b,%b,%b]" % (json_of(item.who), json_of(item.name), at, attributes, properties)


def kind_of(value: Any) -> Kind:
    """The type of a value as predicates see it (EV-8): money is {"amount": …, "currency": "EUR"}."""
    if isinstance(value, str):
        return "time" if is_time(value) else "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "money" if value.keys() == {"amount", "currency"} and is_currency(value["currency"]) else "object"
    return "array"


def is_time(text: str) -> bool:
    """Say whether a text is a day or an instant as RFC 3339 writes it."""
    if not (10 <= len(text) <= 35 and text[4:5] == "-" and text[7:8] == "-" and text[:4].isdecimal()):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def is_currency(value: Any) -> bool:
    """Say whether it is three capital letters."""
    return isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha() and value.isupper()


def major_units(minor: int, currency: str) -> Decimal:
    """An amount as people write it."""
    return Decimal(minor).scaleb(-_DECIMALS.get(currency, 2))


def minor_units(amount: Any, currency: str) -> int | None:
    """Money in the smallest unit of its currency, half a unit away from zero; None for what is no amount."""
    if isinstance(amount, bool) or not isinstance(amount, int | float | str):
        return None
    if isinstance(amount, float) and not math.isfinite(amount):
        return None
    try:
        exact = Decimal(str(amount).strip()).scaleb(_DECIMALS.get(currency, 2))
    except InvalidOperation:
        return None
    if not exact.is_finite() or abs(exact) > _MOST_MINOR:
        return None
    return int(exact.quantize(Decimal(1), rounding="ROUND_HALF_UP"))


def money_of(properties: Mapping[str, Any]) -> tuple[int, str] | None:
    """What an order or a refund comes to: total, amount, value or revenue, with currency beside or inside it."""
    for name in _AMOUNTS:
        amount = properties.get(name)
        if amount is None:
            continue
        currency = properties.get("currency", "")
        if isinstance(amount, Mapping):
            currency = amount.get("currency", currency)
            amount = amount.get("amount")
        if not is_currency(currency):
            currency = ""
        minor = minor_units(amount, currency)
        if minor is not None:
            return minor, currency
    return None


def order_key(properties: Mapping[str, Any], event_id: str) -> str:
    """What an order goes by: its id, or that of its event where none is told."""
    order_id = properties.get("order_id")
    if isinstance(order_id, bool) or not isinstance(order_id, str | int) or order_id == "":
        return f"event:{event_id}"
    return f"order:{order_id}"[:200]


def utm_of(properties: Mapping[str, Any]) -> dict[str, str]:
    """The marks of a campaign that an event carries; texts only."""
    return {name: properties[name] for name in UTM if isinstance(properties.get(name), str)}


class Order(Struct, kw_only=True):
    """All that was said of one order; in which order it was said makes no difference."""

    key: str
    placed_at: datetime | None = None
    stated: tuple[datetime, int] | None = None
    amount: int = 0
    currency: str = ""
    refunded: dict[str, int] = {}
    is_cancelled: bool = False
    is_refunded: bool = False

    def told(self, name: str, at: datetime, id_: int, properties: Mapping[str, Any]) -> None:
        """Take one event in."""
        money = money_of(properties)
        if name == ORDER_CANCELLED:
            self.is_cancelled = True
        elif name == REFUNDED:
            if money is None:
                self.is_refunded = True
            else:
                minor, currency = money
                self.refunded[currency] = self.refunded.get(currency, 0) + minor
        else:
            if self.placed_at is None or at < self.placed_at:
                self.placed_at = at
            if self.stated is None or (at, id_) > self.stated:
                self.stated = at, id_
                self.amount, self.currency = money or (0, "")

    def absorb(self, other: "Order") -> None:
        """Take in what was said of the same order elsewhere."""
        if other.placed_at is not None and (self.placed_at is None or other.placed_at < self.placed_at):
            self.placed_at = other.placed_at
        if other.stated is not None and (self.stated is None or other.stated > self.stated):
            self.stated, self.amount, self.currency = other.stated, other.amount, other.currency
        for currency, minor in other.refunded.items():
            self.refunded[currency] = self.refunded.get(currency, 0) + minor
        self.is_cancelled |= other.is_cancelled
        self.is_refunded |= other.is_refunded

    @property
    def back(self) -> int:
        """What was given back of it; a refund without a currency is of the order's own."""
        own = self.refunded.get(self.currency, 0)
        return own if self.currency == "" else own + self.refunded.get("", 0)

    @property
    def is_counted(self) -> bool:
        """Whether it is among the orders of the person (EV-9): placed, neither cancelled nor wholly given back."""
        if self.placed_at is None or self.is_cancelled or self.is_refunded:
            return False
        return not 0 < self.amount <= self.back

    @property
    def net(self) -> int:
        """What it adds to `spent`, in minor units of its currency."""
        return self.amount - self.back if self.is_counted else 0
