"""Whether one person belongs to an audience: the meaning of every node, slow and plain.

There are two answers, yes and no; nothing is unknown. A comparison with what is missing is no, `!=` and `not in` too;
`not` is the real one, so `not city = 'Berlin'` is yes for somebody without a city, and `city != 'Berlin'` is no. null
is a value like others, equal to itself alone. What is of another type than the value that it is compared with is no
either way, and is counted as a mismatch.

Used for single persons (triggers, explanations), and as what store/audiences.py, which asks for all people at once, is
held against. Not here: the text (audience.py).
"""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, assert_never
from zoneinfo import ZoneInfo

from msgspec import Struct

from gateway import predicate
from gateway.consent import reach_of
from gateway.predicate import (
    CAMPAIGN_PROPERTY,
    HUMAN,
    MESSAGE_EVENTS,
    MISSING,
    SENT_EVENT,
    VERDICT_PROPERTY,
    And,
    Attribute,
    Bucket,
    Compare,
    Consent,
    Count,
    Duration,
    Everyone,
    Field,
    InList,
    InSegment,
    Message,
    Moment,
    Money,
    Near,
    Not,
    Op,
    Operand,
    Or,
    Predicate,
    Rfm,
    Selected,
    Value,
    Window,
)

EARTH_KM = 6371.0088


class Event(Struct, frozen=True, kw_only=True):
    """Something that a person did; of two at one instant the one with the greater id is the later."""

    name: str
    occurred_at: datetime
    id: int = 0
    properties: Mapping[str, Any] = {}


class Person(Struct, frozen=True, kw_only=True):
    """What is known of one person; a name of `fields` that is not there is missing.

    fields    by the names of predicate.FIELDS, but spent: currency -> minor units, and no aov
    utm       "first", "last" -> name -> value
    consents  (brand, scope) granted; brands: those, and programmes, of which anything was said
    rfm       r, f, m, group
    """

    number: int | None = None
    fields: Mapping[str, Any] = {}
    utm: Mapping[str, Mapping[str, Any]] = {}
    spent: Mapping[str, int] = {}
    attributes: Mapping[str, Any] = {}
    events: Sequence[Event] = ()
    lists: frozenset[str] = frozenset()
    consents: frozenset[tuple[str, str]] = frozenset()
    brands: frozenset[str] = frozenset()
    rfm: Mapping[str, Any] | None = None


class Terms(Struct, kw_only=True):
    """What is the same for all people. mismatches: how often types did not fit, counted here."""

    now: datetime
    zone: ZoneInfo = ZoneInfo("UTC")
    salt: str = ""
    mismatches: int = 0


def matches(tree: Predicate, person: Person, terms: Terms) -> bool:
    """Say whether a person belongs to an audience whose other audiences are put in (audience.expand)."""
    match tree:
        case Everyone():
            return True
        case And():
            return all([matches(one, person, terms) for one in tree.of])
        case Or():
            return any([matches(one, person, terms) for one in tree.of])
        case Not():
            return not matches(tree.of, person, terms)
        case InList():
            return person.number is not None and tree.name in person.lists
        case Consent():
            said = [name for name in reach_of(tree.brand) if name in person.brands]
            return person.number is not None and bool(said) and (said[-1], tree.scope) in person.consents
        case Message():
            return _was_messaged(tree, person, terms)
        case Near():
            return _is_near(tree, person)
        case Compare():
            return _compares(tree, looked_up(tree.what, person, terms), terms)
        case InSegment():
            raise ValueError(f"in_segment({tree.name!r}): expected its conditions in its place, found its name")
    assert_never(tree)


def looked_up(what: Operand, person: Person, terms: Terms) -> Any:
    """Find the value that is compared; MISSING where there is none."""
    match what:
        case Attribute():
            return predicate.at_path(person.attributes, what.path)
        case Field():
            return _field(what.name, person)
        case Count():
            return len(_events(what.event, what.window, what.where, person, terms))
        case Selected():
            found = _events(what.event, what.window, what.where, person, terms)
            if not found:
                return MISSING
            chosen = found[0] if what.which == "first" else found[-1]
            return predicate.at_path(chosen.properties, what.path) if what.path else chosen.occurred_at
        case Bucket():
            return MISSING if person.number is None else predicate.random_bucket(person.number, terms.salt)
        case Rfm():
            return MISSING if person.rfm is None else person.rfm[what.part]
    assert_never(what)


def _field(name: str, person: Person) -> Any:
    if name == "number":
        return MISSING if person.number is None else f"+{person.number}"
    if name.startswith("utm."):
        _, which, key = name.split(".")
        return person.utm.get(which, {}).get(key, MISSING)
    if name == "spent":
        return _Spent(person.spent, 1)
    if name == "aov":
        # What orders of one currency come to on average is not known of those who paid in two.
        orders = person.fields.get("orders", 0)
        return _Spent(person.spent, orders) if orders and len(person.spent) == 1 else MISSING
    return person.fields.get(name, MISSING)


class _Spent(Struct, frozen=True):
    """Minor units by currency, for so many orders."""

    by_currency: Mapping[str, int]
    orders: int


def _events(name: str, window: Window, where: Predicate | None, person: Person, terms: Terms) -> list[Event]:
    """The events that count, the earliest first."""
    found = [
        event
        for event in person.events
        if event.name == name
        and _is_within(window, event.occurred_at, terms)
        and (where is None or matches(where, Person(attributes=event.properties), terms))
    ]
    return sorted(found, key=lambda event: (event.occurred_at, event.id))


def _is_within(window: Window, at: datetime, terms: Terms) -> bool:
    if window.rolling is not None:
        return predicate.boundary(terms.now, window.rolling, terms.zone) < at <= terms.now
    if window.since is not None and window.until is not None:
        return _instant(window.since) <= at < _instant(window.until)
    return True


def _instant(moment: Moment) -> datetime:
    found = predicate.time_in(moment.at)
    assert found is not None, moment.at
    return found


def _was_messaged(tree: Message, person: Person, terms: Terms) -> bool:
    found = _events(MESSAGE_EVENTS[tree.kind], tree.window, None, person, terms)
    if tree.kind == "clicked":
        found = [event for event in found if event.properties.get(VERDICT_PROPERTY) == HUMAN]
    campaign = tree.campaign
    if tree.is_last:
        sent = _events(SENT_EVENT, Window(), None, person, terms)
        last = sent[-1].properties.get(CAMPAIGN_PROPERTY) if sent else None
        if not isinstance(last, str):
            return False
        campaign = last
        return any(event.properties.get(CAMPAIGN_PROPERTY) == campaign for event in found)
    return any(not campaign or event.properties.get(CAMPAIGN_PROPERTY) == campaign for event in found)


def _is_near(tree: Near, person: Person) -> bool:
    place = predicate.at_path(person.attributes, tree.path)
    lat, lon = predicate.at_path(place, ("lat",)), predicate.at_path(place, ("lon",))
    if not (_is_number(lat) and _is_number(lon)) or abs(lat) > 90 or abs(lon) > 180:
        return False
    return distance_km(tree.lat, tree.lon, float(lat), float(lon)) <= tree.km


def distance_km(lat: float, lon: float, to_lat: float, to_lon: float) -> float:
    """Measure along a great circle of a round earth; some 0.5 % off."""
    a, b = math.radians(lat), math.radians(to_lat)
    half = math.sin((b - a) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(math.radians(to_lon - lon) / 2) ** 2
    return 2 * EARTH_KM * math.asin(min(1.0, math.sqrt(half)))


# -- values ------------------------------------------------------------------------------------------------------------


def _compares(compare: Compare, value: Any, terms: Terms) -> bool:
    op = compare.op
    if op == "not_exists":
        return value is MISSING
    if value is MISSING:
        return False
    if op == "exists":
        return True
    if compare.each:
        if not isinstance(value, list):
            terms.mismatches += 1
            return False
        found = [_holds(compare, one, terms) for one in value]
        return {"any": any(found), "all": all(found), "none": not any(found)}[compare.each]
    return _holds(compare, value, terms)


def _holds(compare: Compare, value: Any, terms: Terms) -> bool:
    op = compare.op
    if op == "in":
        return any([_is_so(value, "=", to, compare.ci, terms) for to in compare.among])
    if op == "not_in":
        return all([_is_so(value, "!=", to, compare.ci, terms) for to in compare.among])
    return _is_so(value, op, compare.to, compare.ci, terms)


def _is_so(value: Any, op: Op, to: Value, ci: bool, terms: Terms) -> bool:
    """Compare one value with one of an audience."""
    if to is None:
        return (value is None) == (op == "=")
    if value is None:
        return op == "!="
    sides = _sides(value, op, to, ci, terms)
    if sides is None:
        terms.mismatches += 1
        return False
    left, right = sides
    match op:
        case "=":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "<" | "before":
            return bool(left < right)
        case "<=":
            return bool(left <= right)
        case ">":
            return bool(left > right)
        case ">=" | "after":
            return bool(left >= right)
        case "contains":
            return right in left
        case "starts_with":
            return bool(left.startswith(right))
        case "matches":
            return _is_like(left, right)
        case "within":
            return bool(right < left <= terms.now)
        case "within_next":
            return bool(terms.now < left <= right)
    raise ValueError(f"{op}: expected an operator of values")


def _sides(value: Any, op: Op, to: Value, ci: bool, terms: Terms) -> tuple[Any, Any] | None:
    """Bring both sides to one type; None: they have none in common."""
    if op == "contains" and isinstance(value, list):
        return [True for one in value if _is_so(one, "=", to, ci, Terms(now=terms.now))], True
    if isinstance(to, str):
        if isinstance(value, str):
            return _text(value, ci), _text(to, ci)
        number = predicate.number_in(to)
        if _is_number(value) and number is not None and op not in ("contains", "starts_with", "matches"):
            return _decimal(value), number
        return None
    if isinstance(to, bool):
        return (value, to) if isinstance(value, bool) and op in ("=", "!=") else None
    if isinstance(to, int | float):
        if op == "contains":
            return None
        found = _decimal(value) if _is_number(value) else predicate.number_in(value) if isinstance(value, str) else None
        return None if found is None else (found, _decimal(to))
    if isinstance(to, Money):
        return _money_sides(value, to)
    at = value if isinstance(value, datetime) else predicate.time_in(value) if isinstance(value, str) else None
    if at is None:
        return None
    if isinstance(to, Moment):
        return at, _instant(to)
    assert isinstance(to, Duration)
    return _aged(at, op, to, terms)


def _aged(at: datetime, op: Op, to: Duration, terms: Terms) -> tuple[Any, Any]:
    """Compare with how long ago it was: `> 30d` is 30 days ago or longer, and `< 30d` the rest (SG-3)."""
    if op == "within_next":
        ahead = predicate.midnights(terms.now, 0, to.days + 1, terms.zone)[-1] if to.calendar else None
        if ahead is None:
            return at, terms.now + timedelta(seconds=to.seconds)
        return at, ahead - timedelta(microseconds=1)
    edge = predicate.boundary(terms.now, to, terms.zone)
    if op == "within":
        return at, edge
    is_older = at <= edge
    # As ages: 1 is older than the 0 it is compared with, and -1 is not.
    return (1, 0) if is_older else (-1, 0)


def _money_sides(value: Any, to: Money) -> tuple[Any, Any] | None:
    if isinstance(value, _Spent):
        if to.currency not in value.by_currency:
            return None
        return Decimal(value.by_currency[to.currency]), predicate.minor_units(to) * value.orders
    if not isinstance(value, dict) or value.get("currency") != to.currency:
        return None
    amount: Any = value.get("amount")
    found = _decimal(amount) if _is_number(amount) else predicate.number_in(amount) if isinstance(amount, str) else None
    return None if found is None else (found, Decimal(to.amount))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _decimal(value: int | float) -> Decimal:
    return Decimal(repr(value))


def _text(text: str, ci: bool) -> str:
    text = predicate.composed(text)
    return predicate.folded(text) if ci else text


def _is_like(text: str, pattern: str) -> bool:
    """Match a whole text: * is any letters or none, ? is one. Never slower than their product."""
    at = here = 0
    star, mark = -1, 0
    while at < len(text):
        if here < len(pattern) and pattern[here] == "*":
            star, mark = here, at
            here += 1
        elif here < len(pattern) and pattern[here] in ("?", text[at]):
            at += 1
            here += 1
        elif star >= 0:
            here = star + 1
            mark += 1
            at = mark
        else:
            return False
    return all(letter == "*" for letter in pattern[here:])
