"""When a message may leave: windows of local time as instants, for one place and for all that are possible.

    window × zone × holidays ─► instants of a few weeks   [begin, end) in seconds of UTC, exact
         law ∩ brand ∩ campaign ∩ step ∩ person                                                  QH-1
              ∩ over every place that a recipient may be in                                      QH-4
                   ─► is it open · when does it close · when does it open again

The clock on the wall decides: an instant is inside when the local time it shows is. A window ends at the first instant
that shows its end, so what had closed before the clocks went back stays closed when they show the hour again; a time
that does not exist is the first instant after the gap (DL-5). Half-open to the second: 09:00:00 is in, 20:00:00 is out.

Everything is computed for a block of weeks at once and kept; a question is then a bisection, some microseconds.
Not here: where a recipient is (zones.py), what the law says (law.py), who else may say no (admission.py).
"""

import bisect
from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import Struct

from gateway.campaign import law, public_holidays, zones
from gateway.campaign.zones import Place, Places, PlaceSets
from gateway.message import MessageClass
from gateway.rules import Window, joined, meet, weekly

Instants = list[tuple[int, int]]
"""Sorted [begin, end) in seconds of UTC."""

WEEK_S = 7 * 86400
# From the begin of a block's week: far enough back for a window that has begun, far enough ahead for the next one
# behind a week of holidays.
BEFORE_S, AHEAD_S = 3 * 86400, 5 * WEEK_S
# "Empty for the next 24 h": then the most populous place decides, and it is said (QH-4).
GUESS_S = 86400
NEVER = 1 << 62
"""No such instant within the block: a window that stays open, or one that does not open."""
LEAST_LEFT_S = 300
RELEASE_SPREAD_S = 1800


def offsets(name: str, begin: int, end: int) -> list[tuple[int, int, int]]:
    """Return (from, to, offset in seconds) of a zone over [begin, end), exact to the second."""
    if name == "UTC":
        return [(begin, end, 0)]
    return list(_offsets(name, begin, end))


@lru_cache(maxsize=4096)
def _offsets(name: str, begin: int, end: int) -> "Pieces":
    zone = zones.zone(name)

    def offset(at: int) -> int:
        found = datetime.fromtimestamp(at, zone).utcoffset()
        assert found is not None
        return round(found.total_seconds())

    cuts, at, now = [begin], begin, offset(begin)
    pieces: list[tuple[int, int, int]] = []
    while at < end:
        # No zone changes its clock twice in a day.
        later = min(at + 86400, end)
        then = offset(later)
        if then != now:
            low, high = at, later
            while high - low > 1:
                middle = (low + high) // 2
                if offset(middle) == now:
                    low = middle
                else:
                    high = middle
            pieces.append((cuts[-1], high, now))
            cuts.append(high)
            now = then
        at = later
    if cuts[-1] < end:
        pieces.append((cuts[-1], end, now))
    return tuple(pieces)


def instants(window: Window, name: str, days_off: frozenset[date], begin: int, end: int) -> Instants:
    """Return when a window is open by the clock of a zone, within [begin, end).

    days_off  on which the window's own holidays hold, where it has any
    """
    return _instants(window, _pieces(name, begin, end), days_off, begin, end)


Pieces = tuple[tuple[int, int, int], ...]


def _pieces(name: str, begin: int, end: int) -> Pieces:
    return tuple(offsets(name, begin - 2 * 86400, end + 2 * 86400))


def _instants(window: Window, pieces: Pieces, days_off: frozenset[date], begin: int, end: int) -> Instants:
    found: Instants = []
    first = datetime.fromtimestamp(begin, UTC).date() - timedelta(days=3)
    last = datetime.fromtimestamp(end, UTC).date() + timedelta(days=2)
    for ordinal in range(first.toordinal(), last.toordinal() + 1):
        day = date.fromordinal(ordinal)
        spans = window.days[day.weekday()]
        if window.holidays is not None and day in days_off:
            spans = window.holidays
        midnight = (ordinal - _EPOCH) * 86400
        for opens, closes in spans:
            local_begin, local_end = midnight + opens * 60, midnight + closes * 60
            for since, until, offset in pieces:
                wall_begin, wall_end = since + offset, until + offset
                low, high = max(local_begin, wall_begin), min(local_end, wall_end)
                if low < high:
                    found.append((low - offset, high - offset))
                if wall_begin <= local_end < wall_end:
                    break  # the end has been shown: what a clock set back shows again is over
    return meet(joined(found), [(begin, end)])


_EPOCH = date(1970, 1, 1).toordinal()


def instant_of(day: date, minute: int, name: str) -> datetime:
    """Return the instant of a local time: the first of two, the first after a gap (DL-5).

    minute  of the day, 0 to 1440
    """
    return first_instant(datetime.combine(day, time()) + timedelta(minutes=minute), name)


def first_instant(wall: datetime, name: str) -> datetime:
    """Return the first instant at which a clock shows this, or, where it never does, the first after the gap (DL-5).

    wall    without a zone
    raises  OverflowError at the ends of the calendar
    """
    zone = zones.zone(name)
    found = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
        return found
    local, part = divmod((wall - _EPOCH_WALL) // _MICROSECOND, 1_000_000)
    for since, until, offset in offsets(name, local - 2 * 86400, local + 2 * 86400):
        if local - offset < until:
            return max(_instant(since), _instant(local - offset).replace(microsecond=part))
    raise AssertionError("an offset over two days")


def _instant(second: int) -> datetime:
    return _EPOCH_WALL.replace(tzinfo=UTC) + timedelta(seconds=second)


_EPOCH_WALL = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


# What is asked of a message.


class Layer(Struct, frozen=True, kw_only=True):
    """One window that must be open.

    name  brand, campaign, step, person: for whoever asks why
    zone  whose clock it is by; empty: the recipient's. The workspace's for a shop's own hours (S1.9)
    """

    name: str
    window: Window
    zone: str = ""


class Rules(Struct, frozen=True, kw_only=True):
    """What decides when messages of one kind may leave. Layers only narrow what the law leaves (QH-1).

    has_night_consent  of these recipients
    to_hard_limit      the brand asks for all that the law allows, where a pack's own window is narrower
    """

    class_: MessageClass
    layers: tuple[Layer, ...] = ()
    has_night_consent: bool = False
    to_hard_limit: bool = False


class Answer(NamedTuple):
    """What holds at an instant, in seconds of UTC.

    closes_at  end of the window that is open; now where it is shut
    opens_at   the next opening: of a shut window, or the one after this
    is_guess   no instant of the next day suits all places that are possible: the most populous decides (zone_guess)
    """

    is_open: bool
    closes_at: int
    opens_at: int
    is_guess: bool


class Reason(NamedTuple):
    """One window of one place, for whoever asks why."""

    place: Place
    layer: str
    rule: str
    window: Window
    zone: str
    is_open: bool
    is_day_off: bool


class Table(Struct):
    """Answers for sets of places, indexed by the set; valid in [at, until). Sets that were not asked for hold zeros."""

    at: int
    until: int
    is_known: bytearray
    is_open: bytearray
    is_guess: bytearray
    closes_at: "array[int]"
    opens_at: "array[int]"


class Hours:
    """The openings of messages of one kind, kept for the block of weeks that was asked for last."""

    def __init__(self, rules: Rules, sets: PlaceSets | None = None):
        self.rules = rules
        self._sets = sets
        self._begin = 0
        self._of_law: dict[object, Instants] = {}
        self._of_place: dict[Place, Instants] = {}
        self._of_places: dict[Places, tuple[Instants, Instants]] = {}
        self._table: Table | None = None

    def at(self, places: Places, now: datetime | int) -> Answer:
        """Say whether messages may leave to who may be in any of these places."""
        moment = _seconds(now)
        every, guess = self._instants(places, moment)
        answer = self._answer(every, moment)
        is_lost = len(places) == 1 and places[0].zone == zones.NOWHERE
        if guess is every or (answer.is_open or answer.opens_at - moment <= GUESS_S):
            return answer._replace(is_guess=is_lost)
        guessed = self._answer(guess, moment)
        if guessed.is_open or guessed.opens_at - moment <= GUESS_S:
            return guessed._replace(is_guess=True)
        # The most populous place is shut as long: a Sunday, a holiday. Nothing is to be guessed yet.
        return answer if answer.opens_at < NEVER else guessed._replace(is_guess=True)

    def table_at(self, now: datetime | int, ids: Iterable[int]) -> Table:
        """Say it for sets of places by their numbers; the table of the last call, with what it lacks, while it holds.

        cost  five microseconds a set; its first question in a week about a millisecond
        """
        if self._sets is None:
            raise ValueError("Hours: expected sets of places, found none")
        moment = _seconds(now)
        table = self._table
        if table is None or not table.at <= moment < table.until or len(table.is_open) < len(self._sets):
            n = len(self._sets)
            table = self._table = Table(
                at=moment, until=_week_of(moment) + WEEK_S, is_known=bytearray(n), is_open=bytearray(n),
                is_guess=bytearray(n), closes_at=array("q", bytes(8 * n)), opens_at=array("q", bytes(8 * n)),
            )  # fmt: skip
        for id_ in ids:
            if table.is_known[id_]:
                continue
            places = self._sets[id_]
            answer = self.at(places, moment)
            table.is_known[id_] = 1
            table.is_open[id_], table.is_guess[id_] = answer.is_open, answer.is_guess
            table.closes_at[id_], table.opens_at[id_] = answer.closes_at, answer.opens_at
            table.until = min(table.until, self._changes_at(places, answer, moment))
        return table

    def openings(self, places: Places, begin: datetime | int, end: datetime | int) -> Instants:
        """Return every opening within [begin, end), at most five weeks: what a rate plan spreads over (TH-1)."""
        first, last = _seconds(begin), _seconds(end)
        return meet(self._instants(places, first)[0], [(first, last)])

    def why(self, places: Places, now: datetime | int) -> list[Reason]:
        """Return each window that has a say, with its rule and whether it is open."""
        moment = _seconds(now)
        found: list[Reason] = []
        for place in places:
            for layer, rule, window, zone, calendars in self._windows(place):
                local = datetime.fromtimestamp(moment, zones.zone(zone)).date()
                is_open = self._answer(self._window(window, zone, calendars, moment), moment).is_open
                is_off = window.holidays is not None and local in _days_off(calendars, local, local)
                found.append(Reason(place, layer, rule, window, zone, is_open, is_off))
        return found

    def _windows(self, place: Place) -> Iterable[tuple[str, str, Window, str, tuple[str, ...]]]:
        """Every (layer, rule, window, zone, calendars) of a place; the same law only once."""
        seen: set[tuple[Window, tuple[str, ...]]] = set()
        for pack in law.packs_of(place.country, place.region):
            if pack.region and not zones.has_clock(place.country, pack.region, place.zone):
                continue
            window = law.window_of(
                pack,
                self.rules.class_,
                has_night_consent=self.rules.has_night_consent,
                to_hard_limit=self.rules.to_hard_limit,
            )
            if window is not None and (window, pack.holidays) not in seen:
                seen.add((window, pack.holidays))
                named = f"law of {'-'.join(filter(None, (pack.country, pack.region))) or 'any country'}"
                yield named, "QH-1 QH-11", window, place.zone, pack.holidays
        if self.rules.class_ not in law.PROMOTIONAL:
            return
        calendars = (f"{place.country}-{place.region}" if place.region else place.country,) if place.country else ()
        for layer in self.rules.layers:
            yield layer.name, "QH-1", layer.window, layer.zone or place.zone, calendars

    def _window(self, window: Window, zone: str, calendars: tuple[str, ...], moment: int) -> Instants:
        begin = self._block(moment)
        # Zones whose clocks show the same are one.
        pieces = _pieces(zone, begin - BEFORE_S, begin + AHEAD_S)
        key = (window, pieces, calendars if window.holidays is not None else ())
        known = self._of_law.get(key)
        if known is None:
            first, last = (datetime.fromtimestamp(at, UTC).date() for at in (begin - BEFORE_S, begin + AHEAD_S))
            days = frozenset[date]()
            if window.holidays is not None:
                days = _days_off(calendars, first - timedelta(days=4), last + timedelta(days=4))
            known = self._of_law[key] = _instants(window, pieces, days, begin - BEFORE_S, begin + AHEAD_S)
        return known

    def _block(self, moment: int) -> int:
        """Return the begin of the week; forget all that was known of another one."""
        begin = _week_of(moment)
        if begin != self._begin:
            self._begin = begin
            for kept in (self._of_law, self._of_place, self._of_places):
                kept.clear()
        return begin

    def _place(self, place: Place, moment: int) -> Instants:
        begin = self._block(moment)
        known = self._of_place.get(place)
        if known is None:
            known = [(begin - BEFORE_S, begin + AHEAD_S)]
            for _, _, window, zone, calendars in self._windows(place):
                known = meet(known, self._window(window, zone, calendars, moment))
            self._of_place[place] = known
        return known

    def _instants(self, places: Places, moment: int) -> tuple[Instants, Instants]:
        """(when it is open everywhere, when in the most populous place); the same object where there is no doubt."""
        self._block(moment)
        known = self._of_places.get(places)
        if known is None:
            first = self._place(places[0], moment)
            every = first
            for place in places[1:]:
                other = self._place(place, moment)
                every = every if other is every or other == every else meet(every, other)
            known = self._of_places[places] = (every, first)
        return known

    def _answer(self, found: Instants, moment: int) -> Answer:
        end_of_block = self._begin + AHEAD_S
        i = bisect.bisect_right(found, (moment, NEVER)) - 1
        if i >= 0 and found[i][1] > moment:
            closes = found[i][1] if found[i][1] < end_of_block else NEVER
            return Answer(True, closes, found[i + 1][0] if i + 1 < len(found) else NEVER, False)
        return Answer(False, moment, found[i + 1][0] if i + 1 < len(found) else NEVER, False)

    def _changes_at(self, places: Places, answer: Answer, moment: int) -> int:
        """When the answer may become another one: a border of a window, or what the next 24 hours hold."""
        edges = [answer.closes_at if answer.is_open else answer.opens_at]
        every, guess = self._instants(places, moment)
        if guess is not every:
            for found in (every, guess):
                i = bisect.bisect_right(found, (moment, NEVER))
                for begin, end in found[max(0, i - 1) : i + 2]:
                    edges += [begin, end, begin - GUESS_S]
        return min((edge for edge in edges if edge > moment), default=NEVER)


def _days_off(calendars: tuple[str, ...], first: date, last: date) -> frozenset[date]:
    return public_holidays.days_off(calendars, first, last)


def _seconds(now: datetime | int) -> int:
    """Whole seconds: what is half-open to the second is so to the microsecond too."""
    return now if isinstance(now, int) else int(now.timestamp() // 1)


def _week_of(moment: int) -> int:
    return moment - moment % WEEK_S


def never_open(windows: Mapping[str, Window]) -> str | None:
    """Say that windows leave no time of a week to send in, an error at configuration; None where they leave some.

    windows  by their names, the law's among them
    """
    if _leaves(windows.values()):
        return None
    names = list(windows)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            if not _leaves((windows[one], windows[other])):
                return f"{one} and {other} have less than {LEAST_LEFT_S // 60} minutes in common"
    return f"{', '.join(names)} have less than {LEAST_LEFT_S // 60} minutes in common"


def _leaves(windows: Iterable[Window]) -> bool:
    # In its last minutes a window sends nothing (QH-6): one that is no longer never does.
    return any(end - begin >= LEAST_LEFT_S // 60 for begin, end in weekly(windows))


# What follows for one message.


class Verdict(NamedTuple):
    """until: when a held message is looked at again, in seconds of UTC."""

    act: Literal["send", "hold", "skip", "expire"]
    until: int = 0
    reason: str = ""


def judged(
    answer: Answer,
    now: int,
    *,
    outside: Literal["hold", "skip"] = "hold",
    expires_at: int = NEVER,
    gives_up_at: int = NEVER,
    least_left_s: int = LEAST_LEFT_S,
) -> Verdict:
    """Say what becomes of a message (QH-5, QH-6).

    expires_at    after which the message is worth nothing
    gives_up_at   end of the campaign for bulk, begin and max_hold for what was triggered
    least_left_s  with less of the window left it waits for the next one, as the handset would get it too late
    """
    if expires_at <= now:
        return Verdict("expire", reason="expired")
    if answer.is_open and answer.closes_at - now >= least_left_s:
        return Verdict("send")
    if outside == "skip":
        return Verdict("skip", reason="outside_window")
    if answer.opens_at >= min(expires_at, gives_up_at):
        return Verdict("expire", reason="window_expired")
    return Verdict("hold", answer.opens_at, "outside_window")


def validity_s(answer: Answer, now: int, expires_at: int = NEVER) -> int | None:
    """Return how long the SMSC may try: never beyond the window (QH-6); None: as long as it likes."""
    ends = min(expires_at, answer.closes_at if answer.is_open else now)
    return None if ends >= NEVER else max(0, ends - now)


def released_at(
    number: int, opens_at: int, closes_at: int, spread_s: int = RELEASE_SPREAD_S, least_left_s: int = LEAST_LEFT_S
) -> int:
    """Return when a held message goes: spread over the first minutes of the window by a hash of its number (QH-7).

    closes_at  of that window: nothing is spread into its last minutes
    """
    room = min(spread_s, closes_at - opens_at - least_left_s)
    if room <= 0:
        return opens_at
    # Fibonacci hashing, upper half: neighbours are far apart, and C has it in one multiplication.
    mixed = (number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 32
    return opens_at + mixed * room // (1 << 32)


class Occurrence(NamedTuple):
    """One zone's share of a bulk message at local time (QH-8).

    at        when it is due, None where it is skipped
    outcome   on_time, next_day, now, skip
    is_quiet  its own windows are shut then: the gate will hold it
    """

    places: Places
    zone: str
    people: int
    at: datetime | None
    outcome: Literal["on_time", "next_day", "now", "skip"]
    is_quiet: bool


def occurrences(
    day: date,
    at: time,
    people_by_places: Mapping[Places, int],
    now: datetime,
    hours: Hours,
    passed: Literal["next_day", "now_if_open", "skip"] = "next_day",
) -> list[Occurrence]:
    """Lay a message at a local time out over its zones, by the clock of the most populous place of each set (QH-8)."""
    found: list[Occurrence] = []
    minute = at.hour * 60 + at.minute
    for places, people in people_by_places.items():
        name = places[0].zone
        due = instant_of(day, minute, name)
        outcome: Literal["on_time", "next_day", "now", "skip"] = "on_time"
        when: datetime | None = due
        if due < now:
            if passed == "next_day":
                later = day
                while due < now:
                    later += timedelta(days=1)
                    due = instant_of(later, minute, name)
                outcome, when = "next_day", due
            elif passed == "now_if_open" and hours.at(places, now).is_open:
                outcome, when = "now", now
            else:
                outcome, when = "skip", None
        quiet = when is not None and not hours.at(places, when).is_open
        found.append(Occurrence(places, name, people, when, outcome, quiet))
    return sorted(found, key=lambda each: (each.at or now, each.zone))


class LocalTime(NamedTuple):
    """What a clock shows somewhere when the shop's shows its own time (S1.10)."""

    zone: str
    shows: datetime
    people: int
    is_quiet: bool


def local_times(at: datetime, people_by_places: Mapping[Places, int], hours: Hours) -> list[LocalTime]:
    """Say what the shop's time means for customers elsewhere, and how many it would reach at quiet hours (S1.10)."""
    found = [
        LocalTime(places[0].zone, at.astimezone(zones.zone(places[0].zone)), people, not hours.at(places, at).is_open)
        for places, people in people_by_places.items()
    ]
    return sorted(found, key=lambda each: (-each.people, each.zone))


def versions() -> dict[str, str]:
    """Say which data decides: recorded with each decision (QH-12)."""
    import phonenumbers

    return {
        "tzdata": zones.version(),
        "packs": law.version(),
        "holidays": public_holidays.version(),
        "numbers": str(phonenumbers.__version__),
    }


def shortfall(people: int, per_s: float, openings: Sequence[tuple[int, int]], begin: int, ends_at: int) -> int:
    """Return how many of a flash sale would not leave before its offer ends: 0 where all do (S0.16, TH-2).

    per_s     what the route carries
    openings  of the places they are in (Hours.openings)
    """
    seconds = sum(end - first for first, end in meet(list(openings), [(begin, ends_at)]))
    return max(0, people - int(seconds * per_s))
