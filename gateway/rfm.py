"""How recently, how often and for how much people buy: scores from 1 to 5, and the groups that they make (SG-9).

    [rfm]
    groups = [
        { name = "champions", r = "4-5", f = "4-5", m = "4-5" },     # the first that fits; what is not said is 1-5
        { name = "lost" },
    ]

A score is that of the percentile rank among all who ever bought: with `below` of `all` buyers who are worse and `same`
who are alike, themselves included, it is 1 + floor(5 * (below + same / 2) / all). So who is alike has the same score,
and if all are, all have 3. R counts whole days since the last order, fewer are better; F orders of the last `days`; M
what was paid for them, net, in one currency.

With `hold` a score that somebody has changes only when the next run finds the same one again.
Not here: how it is reckoned (store/rfm.py), when (automation/rfm.py), who asks for it (campaign/audience.py).
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Meta, Struct

GROUPS = ("champions", "loyal", "new", "promising", "at-risk", "can't-lose", "hibernating", "lost")
SCORES = 5
_SPAN = re.compile(r"([1-5])(?:-([1-5]))?")

Problem = tuple[str, str, str]


class Group(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who belongs to a group: each score is one, or one of a span such as 4-5."""

    name: str
    r: str = "1-5"
    f: str = "1-5"
    m: str = "1-5"


# Read from the top: whoever fits none above is judged by the next.
SHIPPED = (
    Group(name="champions", r="4-5", f="4-5", m="4-5"),
    Group(name="loyal", r="3-5", f="3-5"),
    Group(name="new", r="5"),
    Group(name="promising", r="3-4"),
    Group(name="can't-lose", f="4-5", m="4-5"),
    Group(name="at-risk", f="3-5"),
    Group(name="hibernating", r="2"),
    Group(name="lost"),
)


class RfmSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scores of those who buy, and when they are reckoned.

    at        of the day, by the clock of `zone`; what was missed is done as soon as a worker runs
    days      of which orders count for F and M
    currency  in which M is counted; "" = that in which most have paid
    hold      a score changes only if two runs in a row find the same
    groups    the first that fits has them; together they have everybody
    """

    at: Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = "03:00"
    zone: str = "UTC"
    days: Annotated[int, Meta(ge=1, le=3660)] = 365
    currency: Annotated[str, Meta(pattern="^([A-Z]{3})?$")] = ""
    hold: bool = False
    groups: Annotated[tuple[Group, ...], Meta(max_length=125)] = SHIPPED


class Scale(Struct, frozen=True, kw_only=True):
    """What one version scores by: the same for all people, whoever goes on with it.

    r, f, m  the least values of the scores 2 to 5, ascending; fewer where nobody has the highest. r: negative days
    groups   by 25 (r - 1) + 5 (f - 1) + m - 1
    """

    days: int
    hold: bool
    groups: tuple[str, ...]
    r: tuple[int, ...]
    f: tuple[int, ...]
    m: tuple[int, ...]


def groups_of(table: Sequence[Group]) -> tuple[str, ...]:
    """Name the group of each of the 125 combinations, in the order of `Scale`; "" where none fits."""
    none = range(0)
    spans = [(one.name, _span(one.r) or none, _span(one.f) or none, _span(one.m) or none) for one in table]
    scores = range(1, SCORES + 1)
    return tuple(
        next((name for name, rs, fs, ms in spans if r in rs and f in fs and m in ms), "")
        for r in scores
        for f in scores
        for m in scores
    )


def _span(text: str) -> range | None:
    found = _SPAN.fullmatch(text)
    if found is None or int(found[2] or found[1]) < int(found[1]):
        return None
    return range(int(found[1]), int(found[2] or found[1]) + 1)


def problems_of(key: str, settings: RfmSettings) -> list[Problem]:
    """Say what is wrong with settings whose parts are well-formed."""
    problems = []
    try:
        ZoneInfo(settings.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        problems.append((f"{key}.zone", "a zone such as Europe/Berlin", repr(settings.zone)))
    for number, group in enumerate(settings.groups, 1):
        if group.name not in GROUPS:
            problems.append((f"{key}.groups[{number}].name", f"one of {', '.join(GROUPS)}", repr(group.name)))
        for part in ("r", "f", "m"):
            if _span(getattr(group, part)) is None:
                expected = "a score from 1 to 5, or a span such as 4-5"
                problems.append((f"{key}.groups[{number}].{part}", expected, repr(getattr(group, part))))
    if not problems and "" in (names := groups_of(settings.groups)):
        r, rest = divmod(names.index(""), 25)
        f, m = divmod(rest, 5)
        found = f"none for r = {r + 1}, f = {f + 1}, m = {m + 1}"
        problems.append((f"{key}.groups", "a group for all scores, such as a last one without any", found))
    return problems


def due_since(settings: RfmSettings, now: datetime) -> datetime:
    """The last instant at which scores were to be reckoned: the newest version is to be no older."""
    hour, minute = map(int, settings.at.split(":"))
    at = now.astimezone(ZoneInfo(settings.zone)).replace(hour=hour, minute=minute, second=0, microsecond=0, fold=0)
    # A day earlier by the clock of the zone, whose days are not all as long.
    return at if at <= now else at - timedelta(days=1)
