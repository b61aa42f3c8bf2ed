"""Where a recipient may be: the ladder of clues (QH-3), and for a number alone the set of all places it may mean.

    what is known ─► stated zone │ device │ location │ address │ number's area code │ number's country
                                                                          ─► places (zone, country, region)

A set of places is interned: a small number stands for it, and a sorted table of numbers laid out on 15 digits says
which one a number means, so that a compiled loop finds it by bisection. One place is the usual case; with several a
message may leave when it may leave in each (quiet_hours.py). The most populous place stands first.
The zones are those of the pinned package tzdata, not of the machine: all nodes decide alike, and the version is known.
Not here: when a place is open (quiet_hours.py), what its law says (law.py).
"""

import bisect
import functools
import tomllib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from importlib import resources
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec import Struct

from gateway.countries import country_by_prefix, country_of
from gateway.routing import NUMBER_DIGITS, laid_out

DEVICE_AGE = timedelta(days=180)
LOCATION_AGE = timedelta(days=90)
# Where a number of no country (satellites, networks of the world) is taken to be; always a guess.
NOWHERE = "Etc/UTC"
# Zones by the people in them, where the table of the zones has another order.
_POPULOUS = {
    "AU": ("Australia/Sydney", "Australia/Melbourne", "Australia/Brisbane", "Australia/Perth", "Australia/Adelaide"),
    "BR": ("America/Sao_Paulo", "America/Bahia", "America/Fortaleza", "America/Recife", "America/Manaus"),
    "CA": ("America/Toronto", "America/Vancouver", "America/Edmonton", "America/Winnipeg", "America/Halifax"),
    "FM": ("Pacific/Pohnpei",),
    "RU": ("Europe/Moscow", "Asia/Yekaterinburg", "Asia/Novosibirsk", "Asia/Krasnoyarsk"),
    "US": ("America/New_York", "America/Chicago", "America/Los_Angeles", "America/Denver", "America/Phoenix"),
    "UZ": ("Asia/Tashkent",),
}
# Where the table has zones that no number of the country is used in, or that nobody's clock there shows.
_SOLE = {"CN": ("Asia/Shanghai",), "UA": ("Europe/Kyiv",)}
# Beside +1: countries whose mobile numbers begin with the code of an area.
_BY_AREA = {"BR": 4, "MX": 5}


class Source(IntEnum):
    """How a place is known; a lower one is surer (QH-3)."""

    STATED = 1
    DEVICE = 2
    LOCATION = 3
    ADDRESS = 4
    NUMBER = 5
    POSSIBLE = 6


class Place(NamedTuple):
    """A clock and a law. An empty region: any of the country's."""

    zone: str
    country: str
    region: str = ""


Places = tuple[Place, ...]


class Clues(Struct, frozen=True, kw_only=True):
    """What is known of a recipient; empty or None where nothing is.

    number    E.164
    stated    zone the person or the profile says
    device    zone of the device or browser, and when it was seen
    location  zone of the last human click or visit, and when
    country   of the postal address, two letters
    region    of it, as ISO 3166-2 has it without the country
    """

    number: int
    stated: str = ""
    device: str = ""
    device_at: datetime | None = None
    location: str = ""
    location_at: datetime | None = None
    country: str = ""
    region: str = ""


class Whereabouts(Struct, frozen=True):
    """Where a recipient may be, and how that is known."""

    places: Places
    source: Source


@functools.cache
def zone(name: str) -> ZoneInfo:
    """Return a zone of the pinned data.

    raises  ValueError where there is none of that name
    """
    parts = name.split("/")
    if not name or not all(part and part.replace("-", "_").replace("+", "_").isidentifier() for part in parts):
        raise ValueError(f"zone: expected a name such as Europe/London, found {name!r}")
    try:
        with resources.files("tzdata").joinpath("zoneinfo", *parts).open("rb") as file:
            return ZoneInfo.from_file(file, key=name)
    except (OSError, ValueError):
        raise ValueError(f"zone: expected a name such as Europe/London, found {name!r}") from None


def is_zone(name: str) -> bool:
    """Say whether there is a zone of that name."""
    try:
        zone(name)
    except ValueError:
        return False
    return True


def version() -> str:
    """Say which data the zones are (QH-12)."""
    import tzdata

    return str(tzdata.IANA_VERSION)


@functools.cache
def _clock(name: str) -> tuple[timedelta | None, ...]:
    """Return what tells clocks apart: the offsets of three years by the month. Tables name one zone for all alike."""
    return tuple(
        datetime(year, month, 15, tzinfo=zone(name)).utcoffset()
        for year in (2025, 2026, 2027)
        for month in range(1, 13)
    )


@functools.cache
def zones_by_country() -> Mapping[str, tuple[str, ...]]:
    """Map each country to its zones, the most populous first."""
    found: dict[str, list[str]] = {}
    for line in resources.files("tzdata").joinpath("zoneinfo", "zone.tab").read_text("ascii").splitlines():
        if line and not line.startswith("#"):
            country, _, name = line.split("\t")[:3]
            found.setdefault(country, []).append(name)
    return {country: _SOLE.get(country) or _by_people(country, names) for country, names in found.items()}


def _by_people(country: str, names: Iterable[str]) -> tuple[str, ...]:
    names = list(names)
    first = [name for name in _POPULOUS.get(country, ()) if name in names]
    return (*first, *(name for name in names if name not in first))


@functools.cache
def _countries_by_zone() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for country, names in zones_by_country().items():
        for name in names:
            found.setdefault(name, set()).add(country)
    return {name: frozenset(countries) for name, countries in found.items()}


@functools.cache
def regions_by_area_code() -> Mapping[str, tuple[tuple[str, str], ...]]:
    """Map the area codes of +1 to the states and provinces, as (country, region), that they are for."""
    document = tomllib.loads(resources.files("gateway.campaign").joinpath("area_codes.toml").read_text("utf-8"))
    found: dict[str, list[tuple[str, str]]] = {}
    for country, regions in document.items():
        for region, codes in regions.items():
            for code in codes.split():
                found.setdefault(code, []).append((country, region))
    return {code: tuple(places) for code, places in found.items()}


@functools.cache
def _zones_by_prefix() -> Mapping[str, frozenset[str]]:
    """Map area codes to the zones that any number behind them is in: those of +1, and of _BY_AREA."""
    from phonenumbers.tzdata import TIMEZONE_DATA  # late: 10 ms, and only numbers ask for it

    found: dict[str, frozenset[str]] = {}
    for begin, length in (("1", 4), *((p, n) for p, c in country_by_prefix().items() if (n := _BY_AREA.get(c, 0)))):
        inside = {prefix: names for prefix, names in TIMEZONE_DATA.items() if prefix.startswith(begin)}
        within: dict[str, set[str]] = {}
        for prefix, zones_ in inside.items():
            if len(prefix) >= length:
                within.setdefault(prefix[:length], set()).update(zones_)
        for number in range(10 ** (length - len(begin))):
            area = f"{begin}{number:0{length - len(begin)}}"
            # What is said of the shortest digits is of the whole country, and no word on an area.
            above = [area[:n] for n in range(length, len(begin), -1) if area[:n] in inside]
            names = within.get(area, set())
            if above or names:
                found[area] = frozenset(names.union(inside[above[0]] if above else ()))
    return found


@functools.cache
def _zones_by_region() -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Map (country, region) to its zones, as the area codes there have them."""
    found: dict[tuple[str, str], set[str]] = {}
    for code, regions in regions_by_area_code().items():
        for country, region in regions:
            near = _zones_by_prefix().get(f"1{code}", frozenset())
            found.setdefault((country, region), set()).update(near & set(zones_by_country()[country]))
    return {key: _by_people(key[0], sorted(names)) for key, names in found.items() if names}


def zones_of_country(country: str, region: str = "") -> tuple[str, ...]:
    """Return the zones of a country, or of the region of it where those are known; the most populous first."""
    return _zones_by_region().get((country, region)) or zones_by_country().get(country, ())


@functools.cache
def has_clock(country: str, region: str, name: str) -> bool:
    """Say whether the clock of a zone may be that of a region: yes where the region's zones are not known."""
    names = _zones_by_region().get((country, region))
    return names is None or _clock(name) in {_clock(each) for each in names}


def of_prefix(digits: str) -> Places:
    """Return the places that numbers with these first digits may mean; by area code where there is one (QH-3)."""
    country = country_of(int(digits)) if digits else ""
    possible = zones_by_country().get(country, ())
    if not possible:
        return (Place(NOWHERE, country),)
    regions: tuple[str, ...] = ("",)
    prefix = digits[: 4 if digits[0] == "1" else _BY_AREA.get(country, 0)]
    if digits[0] == "1":
        named = regions_by_area_code().get(digits[1:4], ())
        regions = tuple(region for of, region in named if of == country) or ("",)
    near = _zones_by_prefix().get(prefix, frozenset()) if prefix else frozenset()
    # The library names one zone for all that are alike; what belongs to another country is an error of it.
    names = tuple(name for name in possible if name in near) or possible
    return tuple(Place(name, country, region) for name in names for region in regions)


def everywhere(places: Places) -> Places:
    """Widen the places of a number to all of its country: people keep numbers when they move (QH-4, strict)."""
    countries = dict.fromkeys(place.country for place in places)
    return tuple(Place(name, country) for country in countries for name in zones_by_country().get(country, (NOWHERE,)))


def whereabouts(clues: Clues, now: datetime, *, is_strict: bool = False) -> Whereabouts:
    """Climb the ladder: the first clue that there is decides (QH-3).

    is_strict  the pack does not trust the area code of a number (QH-4)
    """
    by_number = of_prefix(str(clues.number))
    for name, source in (
        (clues.stated, Source.STATED),
        (clues.device if _is_fresh(clues.device_at, now, DEVICE_AGE) else "", Source.DEVICE),
        (clues.location if _is_fresh(clues.location_at, now, LOCATION_AGE) else "", Source.LOCATION),
    ):
        if name and is_zone(name):
            return Whereabouts(in_zone(name, by_number, clues.country, clues.region), source)
    if names := zones_of_country(clues.country, clues.region):
        return Whereabouts(tuple(Place(name, clues.country, clues.region) for name in names), Source.ADDRESS)
    country = by_number[0].country
    is_area = by_number != of_prefix(_widest(country, str(clues.number)))
    if is_strict:
        return Whereabouts(everywhere(by_number), Source.POSSIBLE)
    is_known = is_area or len(zones_by_country().get(country, ())) == 1
    return Whereabouts(by_number, Source.NUMBER if is_known else Source.POSSIBLE)


def _widest(country: str, digits: str) -> str:
    """Shortest digits that still mean the country: what its number says without an area code."""
    return digits[:1] if digits[0] == "1" and country == "US" else next(
        (digits[:n] for n in range(1, len(digits) + 1) if country_of(int(digits[:n])) == country), digits
    )  # fmt: skip


def _is_fresh(at: datetime | None, now: datetime, age: timedelta) -> bool:
    return at is not None and now - at <= age


def in_zone(name: str, by_number: Places, country: str = "", region: str = "") -> Places:
    """Return the laws that may hold for somebody whose clock is known.

    The address's country decides; else the number's, and beside it that of a clock which is not one of its country.
    The region is the address's; else the number's, if it has that clock.
    """
    if country:
        return (Place(name, country, region),)
    found: dict[Place, None] = {}
    for place in by_number:
        is_there = bool(place.region) and has_clock(place.country, place.region, name)
        found[Place(name, place.country, place.region if is_there else "")] = None
    at_home = {place.country for place in by_number}
    owners = _countries_by_zone().get(name, frozenset())
    if owners and not owners & at_home:
        found.update(dict.fromkeys(Place(name, owner) for owner in sorted(owners)))
    return tuple(found)


class PlaceSets:
    """Sets of places, each by a small number, and which of them a number alone means.

    starts  first number, laid out on 15 digits, of each range; ascending, the first is 0
    ids     the set of each range; both for a compiled loop
    """

    def __init__(self, *, is_strict: bool = False, strict_countries: Iterable[str] = ()) -> None:
        self._id_by_places: dict[Places, int] = {}
        self._places: list[Places] = []
        self._of_person: dict[tuple[str, str, str, int], int] = {}
        self.starts = array("q")
        self.ids = array("H")
        strict = frozenset(strict_countries)
        for start, digits in _ranges():
            places = of_prefix(digits)
            if is_strict or places[0].country in strict:
                places = everywhere(places)
            known = self.intern(places)
            if not self.ids or self.ids[-1] != known:
                self.starts.append(start)
                self.ids.append(known)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, id_: int) -> Places:
        return self._places[id_]

    def intern(self, places: Places) -> int:
        """Return the number of a set, a new one where it has none yet; it never changes."""
        known = self._id_by_places.get(places)
        if known is None:
            known = self._id_by_places[places] = len(self._places)
            self._places.append(places)
        return known

    def of_number(self, number: int) -> int:
        """Return the set that a number alone means."""
        return self.ids[bisect.bisect_right(self.starts, laid_out(number)) - 1]

    def of_person(self, number: int, zone: str, country: str = "", region: str = "") -> int:
        """Return the set of a number whose owner's clock is known; that of the number where the zone is no zone."""
        by_number = self.of_number(number)
        key = (zone, country, region, by_number)
        known = self._of_person.get(key)
        if known is None:
            known = by_number
            if is_zone(zone):
                known = self.intern(in_zone(zone, self._places[by_number], country, region))
            self._of_person[key] = known
        return known


def _ranges() -> Sequence[tuple[int, str]]:
    """Return (first number on 15 digits, some digits of the range that say where it is), ascending."""
    prefixes = {*country_by_prefix(), *_zones_by_prefix(), *(f"1{code}" for code in regions_by_area_code())}
    bounds = {0}
    for prefix in prefixes:
        scale = 10 ** (NUMBER_DIGITS - len(prefix))
        bounds.update((int(prefix) * scale, (int(prefix) + 1) * scale))
    # Past the last number of 15 digits there is nothing; below the first prefix are no numbers either.
    ordered = sorted(bound for bound in bounds if bound < 10**NUMBER_DIGITS)
    return [(bound, f"{bound:0{NUMBER_DIGITS}}" if bound >= 10 ** (NUMBER_DIGITS - 1) else "") for bound in ordered]
