"""What the gate asks of a run: column `gate` of `run`, as JSON, and the words in which people write it.

    caps = ["1 per day", "4 per 7d", {limit = 1, per = "7d", tags = ["exclusive"]}]
            limit per period: Nh, Nd, Nw rolling; day, week, month of the recipient's calendar (CP-1)

A message counts once, whatever its parts; conversations, codes and confirmations never do, transactional ones where a
cap names the class (CP-2). Windows are those of rules.py; what a reason is called, of reasons.py.
Not here: how it is decided (campaign.admission, _fastpath.gate), whom a run is for (predicate).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.consent import reach_of
from gateway.happening import Sought
from gateway.message import MessageClass
from gateway.routing import Problem

Needs = Literal["none", "transactional", "promotional"]
Scope = Literal["brand", "endpoint", "sender"]
ClassName = Literal["transactional", "triggered", "bulk"]
CLASS_BY_NAME: Mapping[str, MessageClass] = {
    "transactional": MessageClass.TRANSACTIONAL,
    "triggered": MessageClass.TRIGGERED,
    "bulk": MessageClass.BULK,
}
PERIODS = ("day", "week", "month")
_HOURS = {"h": 1, "d": 24, "w": 168}
MOST_HOURS = 24 * 366
MOST_PRIORITY = 127
MOST_VALUE = 255
_WORDS = re.compile(r"\s*(\d{1,3})\s+per\s+(\S+)\s*")


class Cap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """At most `limit` messages per period.

    per      day, week or month of the recipient's calendar, or a length: 16h, 7d, 4w
    classes  that count
    tags     one of these on the message counted; none: any
    scope    brand: messages of this brand; endpoint: of all brands; sender: from this sender to this number
    """

    limit: Annotated[int, Meta(ge=0, le=254)]
    per: str
    classes: tuple[ClassName, ...] = ("triggered", "bulk")
    tags: tuple[str, ...] = ()
    scope: Scope = "brand"

    @property
    def words(self) -> str:
        """How people write it: `4 per 7d`."""
        tags = f" tagged {'/'.join(self.tags)}" if self.tags else ""
        return f"{self.limit} per {self.per}{tags}" + ("" if self.scope == "brand" else f" a {self.scope}")

    @property
    def hours(self) -> int:
        """Length of a rolling period; 0: it is a calendar's."""
        return 0 if self.per in PERIODS else hours_of(self.per)


class Local(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A time by each recipient's clock (QH-8).

    minute, day  of that clock; day as 2026-03-02
    passed       where that had passed when the run was made: the next day, at once if the windows are open, or never
    since        when the run was made, in seconds since 1970
    """

    minute: Annotated[int, Meta(ge=0, le=1439)]
    day: Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    passed: Literal["next_day", "now_if_open", "skip"] = "next_day"
    since: int


class Around(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the law of a country puts around a promotional text: (광고) … 무료수신거부 080-123-4567.

    lacks  what nobody has said and must stand there: such a text is not composed
    """

    prefix: str = ""
    suffix: str = ""
    lacks: tuple[str, ...] = ()

    def put(self, text: str) -> str:
        """Put it around a text, or a template, once; what comes out is what is cut and counted.

        raises  ValueError naming what it lacks
        """
        if self.lacks:
            raise ValueError(f"label: expected {', '.join(self.lacks)}, found none")
        if not text.startswith(self.prefix.rstrip()):
            text = self.prefix + text
        return text if text.endswith(self.suffix.lstrip()) else text + self.suffix


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a run asks of everybody at the moment of sending.

    brand             who writes; "" = nobody's: no consent is known then
    programme         of the brand: its own consent is asked for, and where nothing was said of it, the brand's
    needs             which consent (CN-2)
    caps, gap_s       how often a person is written to (CP-1); the gap between any two messages
    on_cap            what a cap or the gap meets is skipped, or waits for at most defer_s (CP-5)
    windows           of the brand, the campaign and the step, by name: all must be open, with the law's (QH-1)
    zones             whose clock a window is by, where not the recipient's (S1.9), by the same names
    outside           what meets a closed window waits, or is skipped (QH-5)
    hold_s            for at most so long; 0 = as long as the run, a triggered message a day
    spread_s          over which what waited is released (QH-7)
    arbitration_s     a message of higher priority that is due so soon goes before (CP-4)
    value             of two runs of one priority the one that is worth more goes before
    announces         another run goes behind this one: it tells whom it means to write to (store/rivals.py sets it)
    tags              of this run's messages, for caps
    audience          tree of who must still match (SG-6)
    exception         tree of what must not have happened since the run was made (EX-2)
    days_zone         of the calendar days of both
    bypass            why caps that are no law are passed over, and by whose word; "" = they are not (CP-6)
    local             nobody is written to before that time of his clock (QH-8)
    labels            by country of two letters, what its law puts around a promotional text
    to_hard_limit     the windows that the law allows at most, where a pack's own are narrower
    campaign          whose people these are: each is written to as long as they are under way in it (EX-2)
    exceptions, goal  what must not have happened to them since their cause
    expires_s         a text of a step is not sent later than that after it was made (TH-6); 0 = whenever
    """

    brand: str = ""
    programme: str = ""
    needs: Needs = "promotional"
    caps: tuple[Cap, ...] = ()
    gap_s: Annotated[int, Meta(ge=0, le=86400 * 31)] = 600
    on_cap: Literal["skip", "defer"] = "skip"
    defer_s: Annotated[int, Meta(ge=0, le=86400 * 31)] = 86400
    windows: Mapping[str, Any] = {}
    zones: Mapping[str, str] = {}
    outside: Literal["hold", "skip"] = "hold"
    hold_s: Annotated[int, Meta(ge=0, le=86400 * 366)] = 0
    least_left_s: Annotated[int, Meta(ge=0, le=86400)] = 300
    spread_s: Annotated[int, Meta(ge=0, le=86400)] = 1800
    arbitration_s: Annotated[int, Meta(ge=0, le=86400)] = 900
    value: Annotated[int, Meta(ge=0, le=MOST_VALUE)] = 0
    announces: bool = False
    tags: tuple[str, ...] = ()
    audience: Any = None
    exception: Any = None
    days_zone: str = "UTC"
    bypass: str = ""
    bypass_by: str = ""
    local: Local | None = None
    labels: Mapping[str, Around] = {}
    to_hard_limit: bool = False
    campaign: int = 0
    exceptions: tuple[Sought, ...] = ()
    goal: Sought | None = None
    expires_s: Annotated[int, Meta(ge=0, le=86400 * 366)] = 0

    @property
    def consent_of(self) -> str:
        """What the ledger calls whose consent is asked for."""
        return f"{self.brand}/{self.programme}" if self.programme else self.brand

    @property
    def consents_of(self) -> tuple[str, ...]:
        """Those whose consent holds, the widest first: of a programme that of its brand, where it has none (CN-7)."""
        return reach_of(self.consent_of)


def rank_of(priority: int, value: int) -> int:
    """Fold priority and value into one number of 16 bits: the lower goes before (CP-4); 0 = nothing was said."""
    return max(-MOST_PRIORITY, min(MOST_PRIORITY, priority)) * (MOST_VALUE + 1) - value


def is_counted(class_: int) -> bool:
    """Whether caps may count messages of a class."""
    return class_ in CLASS_BY_NAME.values()


def announces(class_: int, rank: int, gate: Gate) -> bool:
    """Whether a run tells of what it means to write: one that goes before those of which nothing was said, and one that
    some other goes behind (CP-4)."""
    return (rank < 0 or gate.announces) and is_counted(class_)


def hours_of(per: str) -> int:
    """Read a length of time: 16h, 7d, 4w; -> hours.

    raises  ValueError
    """
    found = re.fullmatch(r"(\d{1,4})([hdw])", per)
    hours = int(found[1]) * _HOURS[found[2]] if found else 0
    if not 1 <= hours <= MOST_HOURS:
        raise ValueError(f"expected day, week, month or a length such as 16h, 7d, 4w up to a year, found {per!r}")
    return hours


def read_cap(value: Any, key: str, problems: list[Problem]) -> Cap | None:
    """Read one cap, as words or as a table; None and a problem where it is none."""
    if isinstance(value, str):
        found = _WORDS.fullmatch(value)
        if found is None:
            problems.append((key, 'a cap such as "4 per 7d"', repr(value)))
            return None
        value = {"limit": int(found[1]), "per": found[2]}
    try:
        cap = msgspec.convert(value, Cap)
    except msgspec.ValidationError as error:
        problems.append((key, "a cap: limit, per, classes, tags, scope", str(error)))
        return None
    if cap.per not in PERIODS:
        try:
            hours_of(cap.per)
        except ValueError as error:
            problems.append(
                (f"{key}.per", str(error).partition(", found ")[0].removeprefix("expected "), repr(cap.per))
            )
            return None
    return cap


def tightened(gate: Gate, caps: Sequence[Cap], gap_s: int) -> tuple[Gate, list[str]]:
    """Lower the limits of a gate to others; -> it, and each change in words (CP-8).

    A limit that is higher, or is not there any more, changes nothing: what was enqueued under it stays under it. Caps
    keep their places, since their reasons are numbered by them; new ones stand behind.
    """
    said: list[str] = []
    found = list(gate.caps)
    places = {msgspec.structs.replace(cap, limit=0): at for at, cap in enumerate(found)}
    for cap in caps:
        at = places.get(msgspec.structs.replace(cap, limit=0))
        if at is None:
            found.append(cap)
            said.append(f"new: {cap.words}")
        elif cap.limit < found[at].limit:
            said.append(f"{found[at].words} → {cap.words}")
            found[at] = cap
    if gap_s > gate.gap_s:
        said.append(f"gap {gate.gap_s} s → {gap_s} s")
    return msgspec.structs.replace(gate, caps=tuple(found), gap_s=max(gap_s, gate.gap_s)), said


def read_caps(values: Sequence[Any], key: str, problems: list[Problem]) -> tuple[Cap, ...]:
    """Read caps; those that are none become problems."""
    read = (read_cap(value, f"{key}[{at}]", problems) for at, value in enumerate(values))
    return tuple(cap for cap in read if cap is not None)


def gate_of(text: str | None) -> Gate | None:
    """Read the column; None: nothing is asked.

    raises  ValueError when it is not of that form
    """
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Gate)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ValueError(f"gate: {error}") from error
