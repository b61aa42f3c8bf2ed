"""Which carrier takes a number, and from whom the message is: routes, senders, and the decision with its reasons.

    number ─► place (country, network, prefixes)  ─┐
    class, sender, time of day                    ─┼─► routes that fit, the most particular first
    who is up                                     ─┘     └─► their carriers by priority, cost, share ─► lane, fallback

Of the routes that fit, the one with the longest prefix goes first, then a network, a country, a sender, a class, a
time, and at last the order of the file. Within a route: the lowest priority number, then the lowest cost; carriers
equal in both share by weight, a number always falling to the same one. Who is down is passed over; where all are down
the message waits for the first.

`decide` is a function of its arguments: `sluice route` prints what it returns, and `plan` asks it once for every range
of numbers that is treated alike, so that a whole list is routed inside Postgres by the same rules.
Not here: files and workers' reports (dispatch/route.py), cutting a list into chunks (store/runs.py).
"""

import bisect
import math
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.countries import code_of, countries, country_by_prefix, country_of
from gateway.message import MessageClass

Problem = tuple[str, str, str]
Texts = Annotated[tuple[str, ...], Meta(min_length=0, max_length=1000)]
ClassName = Literal["otp", "compliance", "conversation", "transactional", "triggered", "bulk"]
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SenderKind = Literal["alphanumeric", "short_code", "number"]

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DEFAULT = "default"
# E.164: no number is longer. Every number is laid out on so many digits, and a prefix is a range of them.
NUMBER_DIGITS = 15
MOST_ALPHANUMERIC = 11
SHORT_CODE_DIGITS = range(3, 9)


class RouteCarrier(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One carrier of a route.

    priority  lower goes first
    cost      of a message, in any currency as long as it is one; lower goes first among equal priorities
    weight    share among those equal in both
    """

    carrier: str
    priority: Annotated[int, Meta(ge=1, le=1000)] = 1
    cost: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1


class RouteSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who takes which messages; what is not said fits everything, and all that is said must fit.

    prefixes       first digits of the number, without +
    mccmnc         networks of routing.mccmnc_file, as 23410; 234 is every network of it
    senders        as the message will be from
    days, hours    "22:00-06:00", local time of `zone`; a span over midnight belongs to the day it begins on. They are
                   asked when a run is enqueued, for the moment it begins
    falls_through  after its own carriers come those of the next route that fits
    """

    name: str = ""
    countries: Texts = ()
    prefixes: Texts = ()
    mccmnc: Texts = ()
    senders: Texts = ()
    classes: Annotated[tuple[ClassName, ...], Meta(min_length=0, max_length=6)] = ()
    days: Annotated[tuple[Day, ...], Meta(min_length=0, max_length=7)] = ()
    hours: str = ""
    zone: str = ""
    falls_through: bool = False
    carriers: tuple[RouteCarrier, ...] = ()


class SenderSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From whom messages to a country are; TON and NPI follow from the form (`address_of`).

    prefers  which of those given is taken first
    """

    alphanumeric: str = ""
    short_code: str = ""
    number: str = ""
    prefers: SenderKind = "alphanumeric"


class RoutingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What holds for all routes.

    mccmnc_file   CSV of prefix, mcc, mnc, from the settings' own folder on
    max_routes    carriers that one message is tried through, the first included
    numeric_only  countries whose operators refuse or rewrite alphanumeric senders
    """

    mccmnc_file: str = ""
    max_routes: Annotated[int, Meta(ge=1, le=16)] = 3
    numeric_only: Texts = ("CA", "CN", "KR", "PR", "US")


class Standing(Struct, frozen=True):
    """How a carrier stands: up, not up and why, or nobody knows (None), which counts as up."""

    is_up: bool | None = None
    why: str = ""


class Considered(Struct, frozen=True, kw_only=True):
    """One route, or one carrier of it, and why it was chosen or not."""

    route: str
    carrier: str
    is_chosen: bool
    why: str


class Decision(Struct, frozen=True, kw_only=True):
    """What was decided for one number.

    carrier   empty when no route fits
    fallback  where the message goes when that carrier fails it, in this order
    source    from whom; empty: the carrier's own
    shares    carriers equal in priority and cost, with their weights; `carrier` is one of them
    """

    number: int
    country: str
    network: str
    route: str
    carrier: str
    fallback: tuple[str, ...]
    source: str
    source_why: str
    shares: tuple[tuple[str, int], ...]
    considered: tuple[Considered, ...]


class Place(Struct, frozen=True):
    """Where a number lives: its country, its network, and how many of its digits each route's prefixes cover."""

    country: str
    network: str
    covered: tuple[int, ...]


class Cell(Struct, frozen=True):
    """What chunks are alike in. lane 0: nobody takes these numbers."""

    lane: int
    country: int
    source: str
    fallback: tuple[int, ...]


class Plan(Struct, frozen=True):
    """A routing of all numbers, for the database: number ─► range ─► one of the range's slots by share ─► cell.

    bounds         lowest number of each range, laid out on NUMBER_DIGITS digits; the first is 0
    firsts, counts slots of each range
    slots          index of a cell, from 0
    """

    bounds: tuple[int, ...]
    firsts: tuple[int, ...]
    counts: tuple[int, ...]
    slots: tuple[int, ...]
    cells: tuple[Cell, ...]

    def cell_of(self, number: int) -> Cell:
        """Find a number's cell, as the statement does."""
        at = bisect.bisect_right(self.bounds, laid_out(number)) - 1
        return self.cells[self.slots[self.firsts[at] + share_of(number) % self.counts[at]]]


class RouteTable:
    """The routes and senders, made ready for decisions; nothing of it changes.

    weights   carrier -> its share, of all there are; without routes they share everything
    networks  prefix -> mccmnc
    """

    def __init__(
        self,
        weights: Mapping[str, int],
        routes: Sequence[RouteSettings] = (),
        senders: Mapping[str, SenderSettings] | None = None,
        routing: RoutingSettings | None = None,
        networks: Mapping[str, str] | None = None,
    ):
        every = RouteSettings(
            name="every carrier by weight",
            carriers=tuple(RouteCarrier(carrier=name, weight=weight) for name, weight in weights.items()),
        )
        self.has_routes = bool(routes)
        self.routes = tuple(routes) or (every,)
        self.senders = dict(senders or {})
        self.routing = routing or RoutingSettings()
        self.networks = dict(networks or {}) if any(route.mccmnc for route in self.routes) else {}
        self._longest_network = max(map(len, self.networks), default=0)
        self._hours = tuple(_Hours(route) if route.hours or route.days else None for route in self.routes)

    @property
    def carriers(self) -> tuple[str, ...]:
        """Every carrier that a route names, in their order."""
        return tuple(dict.fromkeys(one.carrier for route in self.routes for one in route.carriers))

    def place_of(self, digits: str) -> Place:
        """Where a number lives that begins with these digits."""
        network = ""
        for length in range(min(self._longest_network, len(digits)), 0, -1):
            if network := self.networks.get(digits[:length], ""):
                break
        covered = tuple(
            max((len(prefix) for prefix in route.prefixes if digits.startswith(prefix)), default=0)
            for route in self.routes
        )
        return Place(country_of(int(digits)), network, covered)

    def bounds(self) -> list[int]:
        """The numbers at which a place may begin or end."""
        found = {0}
        prefixes: set[str] = {prefix for route in self.routes for prefix in route.prefixes}
        for prefix in prefixes.union(country_by_prefix(), self.networks):
            scale = 10 ** (NUMBER_DIGITS - len(prefix))
            found.update((int(prefix) * scale, (int(prefix) + 1) * scale))
        return sorted(found)

    def name_of(self, at: int) -> str:
        """A route's name, or its place in the file."""
        return self.routes[at].name or f"routes[{at + 1}]"

    def is_open(self, at: int, moment: datetime) -> bool:
        """Whether a route's hours hold at a moment."""
        hours = self._hours[at]
        return hours is None or hours.hold(moment)


class _Hours:
    """A span of local time on some days."""

    def __init__(self, route: RouteSettings):
        self._begin, self._end = span_of(route.hours) if route.hours else (0, 24 * 60)
        self._days = {DAYS.index(day) for day in route.days} or set(range(7))
        self._zone = zoneinfo.ZoneInfo(route.zone)

    def hold(self, moment: datetime) -> bool:
        local = moment.astimezone(self._zone)
        minute, today = local.hour * 60 + local.minute, local.weekday()
        if self._begin < self._end:
            return today in self._days and self._begin <= minute < self._end
        # Over midnight: the evening of its own day, or the morning after it.
        return (minute >= self._begin and today in self._days) or (minute < self._end and (today - 1) % 7 in self._days)


def share_of(number: int) -> int:
    """A number's place among shares: the same on every machine and in Postgres (sql/runs.sql: materialise_payload)."""
    # Two steps of Lehmer's generator, within a bigint of Postgres; after one alone neighbours fall into a pattern.
    once = number % 1_000_003 * 48_271 % 2_147_483_647
    return (once ^ (once >> 13)) * 69_621 % 2_147_483_647 >> 8


def laid_out(number: int) -> int:
    """Lay a number out on NUMBER_DIGITS digits, so that all numbers of one prefix are one range."""
    return number * int(10 ** max(0, NUMBER_DIGITS - len(str(number))))


def span_of(hours: str) -> tuple[int, int]:
    """Read "22:00-06:00" as minutes of the day; 24:00 may end a span.

    raises  ValueError on anything else, and when it is empty
    """
    begin, _, end = hours.partition("-")
    first, last = minute_of(begin), minute_of(end)
    if first == last or first == 24 * 60:
        raise ValueError(f"an empty span {hours!r}")
    return first, last


def minute_of(text: str) -> int:
    """Read a time such as 22:00 as a minute of the day; 24:00 is its end.

    raises  ValueError on anything else
    """
    hour, colon, minute = text.strip().partition(":")
    if not (colon and len(hour) == len(minute) == 2 and (hour + minute).isdecimal() and (hour + minute).isascii()):
        raise ValueError(f"{text!r} is no time as 22:00")
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > 24 * 60:
        raise ValueError(f"{text!r} is no time of a day")
    return found


def kind_of(source: str) -> SenderKind:
    """Say which form a sender has: letters, a short code, or a long number; `+` makes a number of any length long."""
    digits = source.removeprefix("+")
    if not (digits.isascii() and digits.isdecimal()):
        return "alphanumeric"
    return "short_code" if digits is source and len(digits) in SHORT_CODE_DIGITS else "number"


def address_of(source: str, *, short_code_ton: int = 3, has_plus: bool = False) -> tuple[str, int, int]:
    """Return a sender as an address: text, TON, NPI.

    5/0 letters, 3/0 short code (some carriers want 0/0 or 6/0), 1/1 long number, with or without its +
    """
    kind = kind_of(source)
    if kind == "alphanumeric":
        return source, 5, 0
    if kind == "short_code":
        return source, short_code_ton, 0
    return ("+" if has_plus else "") + source.removeprefix("+"), 1, 1


def sender_for(country: str, wanted: str, table: RouteTable) -> tuple[str, str]:
    """From whom a message to a country is, and why; empty: the carrier's own sender."""
    takes_letters = country not in table.routing.numeric_only
    if wanted and (takes_letters or kind_of(wanted) != "alphanumeric"):
        return wanted, "asked for"
    refused = f"{country} takes no alphanumeric sender" if not takes_letters else ""
    for key in (country, DEFAULT):
        entry = table.senders.get(key)
        if entry is None:
            continue
        kinds: list[SenderKind] = [entry.prefers, "alphanumeric", "short_code", "number"]
        for kind in kinds:
            text: str = getattr(entry, kind)
            if text and (takes_letters or kind != "alphanumeric"):
                return text, f"senders.{key}.{kind}" + (f", since {refused}" if refused else "")
    return "", f"the carrier's own{', though ' + refused if refused else ''}"


def decide(
    number: int,
    class_: MessageClass,
    sender: str,
    at: datetime,
    health: Mapping[str, Standing],
    table: RouteTable,
) -> Decision:
    """Decide which carrier takes a message, and say of every candidate why or why not.

    sender  asked for by whoever sends; empty: by the table's senders
    health  by carrier; who is not in it counts as up
    """
    return _decide(number, table.place_of(str(number)), class_, sender, at, health, table)


def _decide(
    number: int,
    place: Place,
    class_: MessageClass,
    sender: str,
    at: datetime,
    health: Mapping[str, Standing],
    table: RouteTable,
) -> Decision:
    source, source_why = sender_for(place.country, sender, table)
    considered: list[Considered] = []
    fitting: list[tuple[tuple[int, ...], int]] = []
    for index, route in enumerate(table.routes):
        covered = place.covered[index]
        why = _misfit(route, place, covered, class_, source)
        if not why and not table.is_open(index, at):
            why = f"closed at {at:%Y-%m-%d %H:%M %Z}: {' '.join((*route.days, route.hours)).strip()} of {route.zone}"
        if why:
            considered.append(Considered(route=table.name_of(index), carrier="", is_chosen=False, why=why))
            continue
        network = max((len(one) for one in route.mccmnc if place.network.startswith(one)), default=0)
        says = (route.countries, route.senders, route.classes, route.hours or route.days)
        fitting.append(((-covered, -network, *(not one for one in says), index), index))
    fitting.sort()
    tried: list[tuple[str, RouteCarrier]] = []
    for rank, (_, index) in enumerate(fitting):
        name = table.name_of(index)
        if rank and not table.routes[fitting[rank - 1][1]].falls_through:
            why = f"less particular than {table.name_of(fitting[rank - 1][1])}"
            considered += [
                Considered(route=table.name_of(left), carrier="", is_chosen=False, why=why)
                for _, left in fitting[rank:]
            ]
            break
        known = {one.carrier for _, one in tried}
        carriers = sorted(table.routes[index].carriers, key=lambda one: (one.priority, one.cost))
        tried += [(name, one) for one in carriers if one.carrier not in known]
    return _choose(number, place, source, source_why, tried, considered, health, table)


def _misfit(route: RouteSettings, place: Place, covered: int, class_: MessageClass, source: str) -> str:
    """Why a route does not fit; empty when it does."""
    if route.prefixes and not covered:
        return f"no prefix of it: {_some(route.prefixes)}"
    if route.countries and place.country not in route.countries:
        return f"the country is {place.country or 'not known'}, not {_some(route.countries)}"
    if route.mccmnc and not any(place.network.startswith(one) for one in route.mccmnc):
        return f"the network is {place.network or 'not known'}, not {_some(route.mccmnc)}"
    if route.classes and class_.name.lower() not in route.classes:
        return f"the class is {class_.name.lower()}, not {_some(route.classes)}"
    if route.senders and source not in route.senders:
        return f"the sender is {source or 'the carrier’s own'}, not {_some(route.senders)}"
    return ""


def _choose(
    number: int,
    place: Place,
    source: str,
    source_why: str,
    tried: list[tuple[str, RouteCarrier]],
    considered: list[Considered],
    health: Mapping[str, Standing],
    table: RouteTable,
) -> Decision:
    """Pick among the carriers of the routes that fit, which are in their order."""
    is_up = {one.carrier: health.get(one.carrier, Standing()).is_up is not False for _, one in tried}
    # Where all are down the message waits for the first.
    first = next((at for at, (_, one) in enumerate(tried) if is_up[one.carrier]), 0)
    group: list[RouteCarrier] = []
    route, chosen = "", ""
    if tried:
        route, best = tried[first]
        group = [
            one
            for name, one in tried
            if name == route
            and (one.priority, one.cost) == (best.priority, best.cost)
            and (is_up[one.carrier] or not any(is_up.values()))
        ]
        total = sum(one.weight for one in group)
        slot = share_of(number) % total
        for one in group:
            chosen = one.carrier
            slot -= one.weight
            if slot < 0:
                break
    for name, one in tried:
        standing = health.get(one.carrier, Standing())
        share = f"share {one.weight} of {sum(each.weight for each in group)}"
        if one.carrier == chosen:
            why = f"priority {one.priority}, cost {one.cost:g}"
            why += f", {share}" if len(group) > 1 else ""
            why += "" if standing.is_up else ", health not known" if standing.is_up is None else ", though down"
        elif not is_up[one.carrier]:
            why = f"down{': ' + standing.why if standing.why else ''}"
        elif one in group:
            why = f"{share}: this number falls to {chosen}"
        elif name != route:
            why = f"after the carriers of {route}"
        elif one.priority != best.priority:
            why = f"priority {one.priority}, after {best.priority}"
        else:
            why = f"cost {one.cost:g}, above {best.cost:g}"
        considered.append(Considered(route=name, carrier=one.carrier, is_chosen=one.carrier == chosen, why=why))
    return Decision(
        number=number,
        country=place.country,
        network=place.network,
        route=route,
        carrier=chosen,
        fallback=_after(chosen, tried, table.routing.max_routes),
        source=source,
        source_why=source_why,
        shares=tuple((one.carrier, one.weight) for one in group),
        considered=tuple(considered),
    )


def _after(chosen: str, tried: list[tuple[str, RouteCarrier]], max_routes: int) -> tuple[str, ...]:
    """Where a message goes after the carrier that was chosen."""
    return tuple(one.carrier for _, one in tried if one.carrier != chosen)[: max_routes - 1]


def _some(texts: Iterable[str]) -> str:
    shown = list(texts)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def plan(
    lanes: Mapping[str, int],
    class_: MessageClass,
    sender: str,
    at: datetime,
    health: Mapping[str, Standing],
    table: RouteTable,
) -> Plan:
    """Decide for all numbers at once.

    lanes  of every carrier of the table
    cost   a decision for each range that differs, about 20 us; a few hundred ranges, and as many as the networks have
    """
    decided: dict[Place, tuple[int, ...]] = {}
    made: dict[Cell, int] = {}
    bounds: list[int] = []
    of_range: list[tuple[int, ...]] = []
    for bound in table.bounds():
        place = table.place_of(str(bound).zfill(NUMBER_DIGITS) if bound else "0")
        if place not in decided:
            decision = _decide(bound, place, class_, sender, at, health, table)
            decided[place] = _slots(decision, lanes, table, made)
        if not of_range or of_range[-1] != decided[place]:
            bounds.append(bound)
            of_range.append(decided[place])
    slots: list[int] = []
    first_by_slots: dict[tuple[int, ...], int] = {}
    for each in of_range:
        if each not in first_by_slots:
            first_by_slots[each] = len(slots)
            slots += each
    return Plan(
        tuple(bounds),
        tuple(first_by_slots[each] for each in of_range),
        tuple(map(len, of_range)),
        tuple(slots),
        tuple(made),
    )


def _slots(decision: Decision, lanes: Mapping[str, int], table: RouteTable, made: dict[Cell, int]) -> tuple[int, ...]:
    """The cells of one decision, each as often as it weighs; new ones are entered in `made`."""
    country = code_of(decision.country)
    if not decision.carrier:
        return (made.setdefault(Cell(0, country, "", ()), len(made)),)
    # Every carrier that was tried, in the order of trying.
    order = [one.carrier for one in decision.considered if one.carrier]
    found: list[int] = []
    for carrier, weight in decision.shares:
        # `decide` names the fallback of the carrier that it chose; another of the shares has it in its place.
        others = [one for one in order if one != carrier][: table.routing.max_routes - 1]
        cell = Cell(lanes[carrier], country, decision.source, tuple(lanes[one] for one in others))
        found += [made.setdefault(cell, len(made))] * weight
    return tuple(found)


def by_weight(lanes: Sequence[int], weights: Sequence[int]) -> Plan:
    """Share all numbers by weight, wherever they live."""
    divisor = math.gcd(*weights)
    slots = tuple(at for at, weight in enumerate(weights) for _ in range(weight // divisor))
    return Plan((0,), (0,), (len(slots),), slots, tuple(Cell(lane, 0, "", ()) for lane in lanes))


def judge(
    routes: Sequence[RouteSettings],
    senders: Mapping[str, SenderSettings],
    routing: RoutingSettings,
    carriers: Iterable[str],
) -> list[Problem]:
    """What the types of the settings cannot say: (key, expected, found) of every contradiction."""
    problems: list[Problem] = []
    known = set(carriers)
    seen: dict[RouteSettings, int] = {}
    names: dict[str, int] = {}
    for at, route in enumerate(routes):
        key = f"routes[{at + 1}]"
        problems += _route_problems(key, route, known, bool(routing.mccmnc_file))
        if route.name and names.setdefault(route.name, at) != at:
            problems.append((f"{key}.name", "a name of its own", f"{route.name!r}, as routes[{names[route.name] + 1}]"))
        conditions = RouteSettings(
            countries=tuple(sorted(route.countries)), prefixes=tuple(sorted(route.prefixes)),
            mccmnc=tuple(sorted(route.mccmnc)), senders=tuple(sorted(route.senders)),
            classes=tuple(sorted(route.classes)), days=tuple(sorted(route.days)), hours=route.hours, zone=route.zone,
        )  # fmt: skip
        before = seen.setdefault(conditions, at)
        if before != at and not routes[before].falls_through:
            problems.append((key, f"conditions that differ from routes[{before + 1}]", "the same: it is never taken"))
    for country in routing.numeric_only:
        if country not in countries():
            problems.append(("routing.numeric_only", "countries of two letters such as GB", repr(country)))
    for country, sender in senders.items():
        problems += _sender_problems(f"senders.{country}", country, sender, routing)
    return problems


def _route_problems(key: str, route: RouteSettings, known: set[str], has_networks: bool) -> list[Problem]:
    problems: list[Problem] = []
    if not route.carriers:
        problems.append((f"{key}.carriers", "at least one carrier", "none"))
    named: set[str] = set()
    for at, one in enumerate(route.carriers):
        where = f"{key}.carriers[{at + 1}].carrier"
        if one.carrier and one.carrier not in known:
            problems.append((where, f"one of {_some(sorted(known)) or 'the [carriers.NAME] sections'}", one.carrier))
        if one.carrier in named:
            problems.append((where, "each carrier once", one.carrier))
        named.add(one.carrier)
    for country in route.countries:
        if country not in countries():
            problems.append((f"{key}.countries", "countries of two letters such as GB", repr(country)))
    for prefix in route.prefixes:
        if not (prefix.isascii() and prefix.isdecimal() and len(prefix) <= NUMBER_DIGITS and prefix[0] != "0"):
            problems.append((f"{key}.prefixes", "digits without + or leading zero", repr(prefix)))
        elif route.countries and not _may_be_in(prefix, route.countries):
            found = f"{prefix} is of {country_of(int(prefix)) or 'no country'}"
            problems.append((f"{key}.prefixes", f"a prefix of {_some(route.countries)}", found))
    for network in route.mccmnc:
        if not (network.isascii() and network.isdecimal() and len(network) in (3, 5, 6)):
            problems.append((f"{key}.mccmnc", "an MCC (234), or MCC and MNC (23410)", repr(network)))
    if route.mccmnc and not has_networks:
        problems.append((f"{key}.mccmnc", "routing.mccmnc_file, which says whose numbers are whose", "none"))
    try:
        if route.hours:
            span_of(route.hours)
    except ValueError as error:
        problems.append((f"{key}.hours", "a span such as 22:00-06:00", str(error)))
    if (route.hours or route.days) and not route.zone:
        problems.append((f"{key}.zone", "a time zone such as Europe/London, as there are hours or days", "none"))
    if route.zone and route.zone not in zoneinfo.available_timezones():
        problems.append((f"{key}.zone", "a time zone such as Europe/London", repr(route.zone)))
    if route.zone and not (route.hours or route.days):
        problems.append((f"{key}.zone", "hours or days beside it", "neither"))
    return problems


def _may_be_in(prefix: str, wanted: Iterable[str]) -> bool:
    """Whether numbers of a prefix may be in one of the countries: it is in one, or some of its numbers are."""
    inside = {country for one, country in country_by_prefix().items() if one.startswith(prefix)}
    return bool(inside.union({country_of(int(prefix))}).intersection(wanted))


def _sender_problems(key: str, country: str, sender: SenderSettings, routing: RoutingSettings) -> list[Problem]:
    problems: list[Problem] = []
    if country != DEFAULT and country not in countries():
        problems.append((key, "a country of two letters such as GB, or default", repr(country)))
    letters = sender.alphanumeric
    fits = len(letters) <= MOST_ALPHANUMERIC and letters.isascii() and letters.isprintable()
    if letters and not (fits and kind_of(letters) == "alphanumeric"):
        problems.append(
            (
                f"{key}.alphanumeric",
                f"at most {MOST_ALPHANUMERIC} printable ASCII characters, not all digits",
                repr(letters),
            )
        )
    code = sender.short_code
    if code and kind_of(code) != "short_code":
        problems.append((f"{key}.short_code", "3 to 8 digits", repr(code)))
    if code and country == DEFAULT:
        problems.append((f"{key}.short_code", "short codes by country, since each is of one", repr(code)))
    digits = sender.number.removeprefix("+")
    if digits and not (digits.isascii() and digits.isdecimal() and 7 <= len(digits) <= NUMBER_DIGITS):
        problems.append((f"{key}.number", "7 to 15 digits, with or without +", repr(sender.number)))
    if not (letters or code or digits):
        problems.append((key, "alphanumeric, short_code or number", "none of them"))
    elif not getattr(sender, sender.prefers) and sender.prefers != "alphanumeric":
        problems.append((f"{key}.prefers", "one that is given", sender.prefers))
    if country in routing.numeric_only and letters and not (code or digits):
        expected = f"number or short_code, as {country} is in routing.numeric_only"
        problems.append((f"{key}.alphanumeric", expected, f"{letters!r} alone"))
    return problems


def read_networks(text: str, source: str) -> tuple[dict[str, str], list[Problem]]:
    """Read lines of prefix, mcc, mnc; -> prefix → mccmnc, and what is wrong, by line.

    The first line may name the columns; empty lines and those that begin with # are passed over.
    """
    networks: dict[str, str] = {}
    problems: list[Problem] = []
    lines: dict[str, int] = {}
    for at, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip().strip('"') for cell in line.replace(";", ",").split(",")]
        if not line.strip() or line.startswith("#") or (at == 1 and cells[:1] == ["prefix"]):
            continue
        where = f"{source}:{at}"
        if len(cells) != 3:
            problems.append((where, "prefix,mcc,mnc", f"{len(cells)} cells"))
            continue
        prefix, mcc, mnc = cells[0].removeprefix("+"), cells[1], cells[2]
        is_right = all(cell.isascii() and cell.isdecimal() for cell in (prefix, mcc, mnc))
        if not (is_right and 1 <= len(prefix) <= NUMBER_DIGITS and prefix[0] != "0"):
            problems.append((where, "a prefix, an MCC and an MNC of digits", ",".join(cells)[:60]))
        elif len(mcc) != 3 or len(mnc) not in (2, 3):
            problems.append((where, "an MCC of 3 digits and an MNC of 2 or 3", f"{mcc},{mnc}"))
        elif networks.get(prefix, mcc + mnc) != mcc + mnc:
            problems.append((where, f"{prefix} once", f"{mcc + mnc}, and {networks[prefix]} in line {lines[prefix]}"))
        else:
            networks[prefix], lines[prefix] = mcc + mnc, at
    return networks, problems
