"""What a run asks of everybody, made into numbers: rules and windows for the compiled gate.

    Gate (gateway/gate.py) + packs of law ─► RunRules ─┬─ rules(now, expires) ─► _fastpath.gate.Rules
                                                        └─ windows(now, keys)  ─► _fastpath.gate.Windows

Both are made once for a few thousand people: what is asked of one of them is asked in C (_fastpath/gate.pyx, where the
checks and their order stand). A claim, a preview and `sluice explain` go this way alike.
Not here: facts about people (store/admission.py), instants of windows (quiet_hours.py), where a number is (zones.py).
"""

import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any

import msgspec

from _fastpath import gate as compiled
from gateway.campaign import law
from gateway.campaign.quiet_hours import NEVER, Hours, Layer, Occurrence, instant_of, occurrences
from gateway.campaign.quiet_hours import Reason as WindowReason
from gateway.campaign.quiet_hours import Rules as HourRules
from gateway.campaign.zones import Places, PlaceSets, in_zone, is_zone, zone
from gateway.gate import CLASS_BY_NAME, PERIODS, Cap, Gate, Local, announces, rank_of
from gateway.message import MessageClass
from gateway.predicate import Predicate
from gateway.rules import PackCap, read_window

_US = 1_000_000
_HOUR_US = 3600 * _US
_DAY_US = 24 * _HOUR_US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEEDS = {"none": 0, "promotional": 1, "transactional": 2}
# What is pressed by a person's own act waits for no window and counts for nothing (QH-10, CP-2).
EXEMPT = (MessageClass.OTP, MessageClass.COMPLIANCE, MessageClass.CONVERSATION)
TRIGGERED_HOLD_S = 86400
ENDLESS_US = 2**63 - 2
NO_MOMENT_US = 2**63 - 1


def micros(at: datetime) -> int:
    """Microseconds since 1970 of a moment."""
    return (at - _EPOCH) // timedelta(microseconds=1)


def moment_of(us: int) -> datetime:
    """Return the moment of microseconds since 1970; the latest one there is for those past it."""
    return _EPOCH + timedelta(microseconds=min(us, _LATEST_US))


_LATEST_US = micros(datetime(9999, 1, 1, tzinfo=UTC))


def sender_key(sender: str) -> int:
    """Fold the name of a sender into 31 bits, never 0: what contact pages carry of it."""
    return zlib.crc32(sender.encode()) & 0x7FFFFFFF or 1


def as_cap(cap: PackCap) -> Cap:
    """Turn a cap of law into one of ours: of the brand, promotional messages."""
    kind, _, length = cap.per.partition("_")
    return Cap(limit=cap.n, per=length if kind == "rolling" else length)


def caps_of(gate: Gate, class_: MessageClass) -> list[Cap]:
    """Return the caps of a gate that hold for a class, in the order of their statuses (reasons.FIRST_CAP)."""
    mine = {name for name, value in CLASS_BY_NAME.items() if value == class_}
    return [cap for cap in gate.caps if mine & set(cap.classes)]


def tree_of(value: Any, key: str) -> Predicate | None:
    """Read a tree of a gate; ValueError where it is none."""
    if value is None:
        return None
    try:
        found: Predicate = msgspec.convert(value, Predicate)
    except msgspec.ValidationError as error:
        raise ValueError(f"gate.{key}: {error}") from error
    return found


class RunRules:
    """Rules and windows of one run, from one sender.

    brand_id  0 = nobody's; tags: bit by name, every tag that the gate names among them
    places    sets of places by number; its law is of these
    """

    def __init__(
        self,
        gate: Gate,
        *,
        run: int,
        class_: MessageClass,
        priority: int,
        sender: str,
        brand_id: int,
        tags: Mapping[str, int],
        places: PlaceSets,
    ):
        self.gate = gate
        self._run, self._class, self._rank = run, class_, rank_of(priority, gate.value)
        self._sender, self._brand_id, self._tags, self._places = sender_key(sender), brand_id, tags, places
        self._due_by_set: dict[tuple[int, bool], int] = {}
        self._set_by_zone: dict[tuple[int, str], int] = {}
        self.is_exempt = class_ in EXEMPT
        self.is_promotional = class_ in law.PROMOTIONAL
        self.caps = caps_of(gate, class_)
        self._legal_from = len(self.caps)
        laws = () if class_ not in law.PROMOTIONAL else _legal_caps()
        self.caps += [as_cap(cap) for cap in laws]
        self._place_by_law = {cap: self._legal_from + at for at, cap in enumerate(laws)}
        self.audience, self.exception = tree_of(gate.audience, "audience"), tree_of(gate.exception, "exception")
        self.days_zone = zone(gate.days_zone)
        problems: list[tuple[str, str, str]] = []
        layers = []
        for name, value in gate.windows.items():
            window = read_window(value, f"windows.{name}", problems)
            if window is not None:
                layers.append(Layer(name=name, window=window, zone=gate.zones.get(name, "")))
        if problems:
            raise ValueError(
                "; ".join(f"{key}: expected {expected}, found {found}" for key, expected, found in problems)
            )
        self._hours = {
            has_night: Hours(
                HourRules(
                    class_=class_, layers=tuple(layers), has_night_consent=has_night, to_hard_limit=gate.to_hard_limit
                ),
                places,
            )
            for has_night in (False, True)
        }

    @property
    def cap_words(self) -> list[str]:
        """Every cap as people write it, in the order of their places."""
        return [cap.words + (" by law" if at >= self._legal_from else "") for at, cap in enumerate(self.caps)]

    def rules(self, now: datetime, expires_at: datetime | None = None, *, run: int | None = None) -> compiled.Rules:
        """Return what is asked at an instant. run: whose; None: of its own."""
        gate, now_us = self.gate, micros(now)
        ends_us = ENDLESS_US if expires_at is None else micros(expires_at)
        hold_s = gate.hold_s or (TRIGGERED_HOLD_S if self._class == MessageClass.TRIGGERED else 0)
        hold_us = min(ends_us, now_us + hold_s * _US) if hold_s else ends_us
        return compiled.Rules(
            run=self._run if run is None else run,
            class_=self._class,
            brand=self._brand_id,
            priority=self._rank,
            sender=self._sender,
            tags=sum({1 << self._tags[tag] for tag in gate.tags}),
            needs=0 if self.is_exempt else NEEDS[gate.needs],
            caps=[self._cap(cap, at) for at, cap in enumerate(self.caps)],
            gap_us=0 if self.is_exempt else gate.gap_s * _US,
            defer_until_us=min(ends_us, now_us + gate.defer_s * _US) if gate.on_cap == "defer" else 0,
            hold_until_us=hold_us if gate.outside == "hold" else 0,
            min_left_us=gate.least_left_s * _US,
            spread_us=gate.spread_s * _US,
            arbitration_us=gate.arbitration_s * _US,
            has_bypass=bool(gate.bypass),
            has_windows=not self.is_exempt,
            announces=announces(self._class, self._rank, gate),
        )

    def _cap(self, cap: Cap, at: int) -> tuple[int, int, int, int, int, int, int, bool]:
        span = PERIODS.index(cap.per) + 1 if cap.per in PERIODS else 0
        return (
            cap.limit,
            span,
            cap.hours * _HOUR_US,
            sum(1 << CLASS_BY_NAME[name] for name in cap.classes),
            # Names that have no number yet share a bit.
            sum({1 << self._tags[tag] for tag in cap.tags}),
            -1 if cap.scope == "endpoint" else self._brand_id,
            self._sender if cap.scope == "sender" else 0,
            at >= self._legal_from,
        )

    def windows(
        self, now: datetime, keys: Iterable[tuple[int, int, bool]], zone_names: Mapping[int, str]
    ) -> compiled.Windows:
        """Return what is open at an instant, for every (key, zone, has_night) that questions have.

        zone_names  of the zones that pages carry
        """
        asked = [
            (key, zone_id, has_night, self._set_of(key, zone_names.get(zone_id, "")))
            for key, zone_id, has_night in keys
        ]
        now_us = micros(now)
        table = compiled.Windows(now_us)
        seconds, rest = divmod(now_us, _US)
        tables = {
            has_night: self._hours[has_night].table_at(
                seconds, {set_ for *_, night, set_ in asked if night == has_night}
            )
            for has_night in {night for _, _, night, _ in asked}
        }
        for key, zone_id, has_night, set_ in asked:
            found = tables[has_night]
            opens, closes = found.opens_at[set_], found.closes_at[set_]
            places = self._places[set_]
            table.enter(
                key,
                zone_id,
                has_night,
                min(closes * _US, ENDLESS_US) if found.is_open[set_] else None,
                None if opens >= NEVER else opens * _US,
                spans=_spans(places[0].zone, now),
                is_guess=bool(found.is_guess[set_]),
                caps=self._caps_in(set_),
                due_us=self._due_us(set_, has_night),
            )
        return table

    def occurrences(
        self, people: Mapping[tuple[int, int, bool], int], zone_names: Mapping[int, str]
    ) -> list[Occurrence]:
        """Lay a run at local time out over its zones (QH-8); people by (key, zone, has_night)."""
        local = self.gate.local
        if local is None:
            return []
        found: list[Occurrence] = []
        for has_night in (False, True):
            by_places: dict[Places, int] = {}
            for (key, zone_id, night), number in people.items():
                if night == has_night:
                    places = self._places[self._set_of(key, zone_names.get(zone_id, ""))]
                    by_places[places] = by_places.get(places, 0) + number
            found += self._occurrences(local, by_places, has_night)
        return found

    def _occurrences(self, local: Local, people: Mapping[Places, int], has_night: bool) -> list[Occurrence]:
        since = datetime.fromtimestamp(local.since, UTC)
        at = time(*divmod(local.minute, 60))
        return occurrences(date.fromisoformat(local.day), at, people, since, self._hours[has_night], local.passed)

    def _due_us(self, set_: int, has_night: bool) -> int:
        """When somebody in a set of places is due, 0 = at once."""
        local = self.gate.local
        if local is None:
            return 0
        known = self._due_by_set.get((set_, has_night))
        if known is None:
            (one,) = self._occurrences(local, {self._places[set_]: 1}, has_night)
            known = self._due_by_set[set_, has_night] = NO_MOMENT_US if one.at is None else micros(one.at)
        return known

    def why(self, key: int, zone_name: str, has_night: bool, now: datetime) -> list[WindowReason]:
        """Return each window that has a say for a key and a stated zone, its rule, and whether it is open."""
        return self._hours[has_night].why(self._places[self._set_of(key, zone_name)], now)

    def zone_of(self, key: int, zone_name: str) -> str:
        """Name the first zone that somebody may be in."""
        return self._places[self._set_of(key, zone_name)][0].zone

    def _set_of(self, key: int, name: str) -> int:
        """The set of places of whoever has stated a zone; that of the number where it is no zone."""
        if not is_zone(name):
            return key
        known = self._set_by_zone.get((key, name))
        if known is None:
            known = self._set_by_zone[key, name] = self._places.intern(in_zone(name, self._places[key]))
        return known

    def _caps_in(self, set_: int) -> int:
        """A bit each cap that holds in a set of places: ours everywhere, a law where it may be in force."""
        held = (1 << self._legal_from) - 1
        if self._place_by_law:
            for place in self._places[set_]:
                for pack in law.packs_of(place.country, place.region):
                    for cap in pack.legal_max:
                        held |= 1 << self._place_by_law[cap]
        return held


@lru_cache(maxsize=1)
def place_sets() -> PlaceSets:
    """Every set of places that a number may mean, made once a process: where the law is strict, its whole country."""
    return PlaceSets(strict_countries=[country for country, pack in law.packs().items() if pack.zone_mode == "strict"])


@lru_cache(maxsize=1)
def _legal_caps() -> tuple[PackCap, ...]:
    """Every cap that some law has, once."""
    packs = [part for pack in law.packs().values() for part in (pack, *pack.regions.values())]
    return tuple(dict.fromkeys(cap for pack in packs for cap in pack.legal_max))


def _spans(name: str, now: datetime) -> list[tuple[int, int]]:
    """Begin and end of the day, the week from Monday and the month that it is in a zone."""
    return _spans_of(name or "UTC", now.astimezone(zone(name or "UTC")).date())


@lru_cache(maxsize=4096)
def _spans_of(name: str, today: date) -> list[tuple[int, int]]:
    monday = today - timedelta(days=today.weekday())
    first = today.replace(day=1)
    next_month = (first + timedelta(days=32)).replace(day=1)
    ends = ((today, today + timedelta(days=1)), (monday, monday + timedelta(days=7)), (first, next_month))
    return [(micros(instant_of(begin, 0, name)), micros(instant_of(end, 0, name))) for begin, end in ends]
