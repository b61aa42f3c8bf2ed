"""What a campaign is for: up to four goals, the first of which is the primary one (GL-1).

    [[goal]]
    name = "bought"                                       # by default what it asks for
    event = "order_placed"                                # one of event, url, joined, left, reply, redeemed
    where = "total > 50"                                  # of its properties, in the language of audiences
    within = "3d"                                         # of an hour to 90 days
    starts = "submitted"                                  # or clicked, entered
    exits = true                                          # who has reached the primary goal is written to no more

An event may be one of a page (`url` beside it); else exactly one of the six is given. Documents have the same
(`[[goals]]`, gateway/document.py).

The window is half-open: what happens at its start is in, what happens at its end is not (GL-9: by the event's own time
against the message's). A message of nobody starts none.
Not here: who has reached a goal (campaign/attribution.py, store/conversions.py), when a campaign's goals hold
(store/conversions.py).
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.routing import Problem

MOST_GOALS = 4
LONGEST = timedelta(days=90)
SHORTEST = timedelta(minutes=1)
Starts = Literal["submitted", "clicked", "entered"]
KINDS = ("event", "url", "joined", "left", "reply", "redeemed")
_LENGTH = re.compile(r"(\d{1,6})(s|m|min|h|d|w)")
_UNITS = {
    "s": timedelta(seconds=1), "m": timedelta(minutes=1), "min": timedelta(minutes=1), "h": timedelta(hours=1),
    "d": timedelta(days=1), "w": timedelta(weeks=1),
}  # fmt: skip
# Of which the URL is asked: what a page of the shop, and one of ours, is told as.
PAGE_EVENTS = ("page", "page_viewed", "page_opened")
REDEEMED = "coupon_redeemed"


class Goal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One of them; of event, url, joined, left, reply and redeemed exactly one is given, or an event with its url.

    event     that is told of the person; where: a condition on its properties
    url       a page that was visited, or of the event; * stands for anything (gateway/happening.py)
    joined    an audience that is watched, or left it
    reply     an answer that is no STOP and no START
    redeemed  a code of the campaign
    within    so long after the start; 1min to 90d
    starts    with the message, the first human click on it, or with the enrolment
    exits     who has reached it leaves the campaign; of the primary goal alone
    """

    name: Annotated[str, Meta(max_length=80)] = ""
    event: Annotated[str, Meta(max_length=200)] = ""
    where: Annotated[str, Meta(max_length=10_000)] = ""
    url: Annotated[str, Meta(max_length=2000)] = ""
    joined: Annotated[str, Meta(max_length=200)] = ""
    left: Annotated[str, Meta(max_length=200)] = ""
    reply: bool = False
    redeemed: bool = False
    within: str = "3d"
    starts: Starts = "submitted"
    exits: bool = True

    @property
    def kind(self) -> str:
        """Which of them it is."""
        return next(kind for kind in KINDS if getattr(self, kind))

    @property
    def title(self) -> str:
        """What it is called."""
        value = getattr(self, self.kind)
        return self.name or (self.kind if value is True else f"{self.kind} {value}")

    @property
    def window(self) -> timedelta:
        """How long."""
        return length_of(self.within)


def length_of(text: str) -> timedelta:
    """Read a length such as 3d.

    raises  ValueError
    """
    found = _LENGTH.fullmatch(text)
    length = int(found[1]) * _UNITS[found[2]] if found else timedelta(0)
    if not SHORTEST <= length <= LONGEST:
        raise ValueError(f"expected a length from 1min to 90d such as 36h or 3d, found {text!r}")
    return length


def read_goal(
    value: Any, key: str, problems: list[Problem], check_where: Callable[[str, str], str] | None = None
) -> Goal | None:
    """Read one goal; None and what is wrong where it is none.

    check_where  says what is wrong with a condition on an event: (event, where) -> fault, "" = nothing
    """
    if not isinstance(value, Mapping):
        problems.append((key, 'a goal such as {event = "order_placed", within = "3d"}', repr(value)))
        return None
    before = len(problems)
    for name in value:
        if name not in Goal.__struct_fields__:
            near = difflib.get_close_matches(str(name), Goal.__struct_fields__, 1)
            problems.append((f"{key}.{name}", f"did you mean {near[0]!r}?" if near else _FIELDS, "an unknown key"))
    try:
        goal = msgspec.convert({name: one for name, one in value.items() if name in Goal.__struct_fields__}, Goal)
    except msgspec.ValidationError as error:
        said, _, at = str(error).partition(" - at `$.")
        problems.append((f"{key}.{at.rstrip('`')}" if at else key, _expected(said), _found(said)))
        return None
    given = [kind for kind in KINDS if getattr(goal, kind) and not (kind == "url" and goal.event)]
    if len(given) != 1:
        problems.append((key, f"one of {', '.join(KINDS)}", ", ".join(given) or "none of them"))
    if goal.where and not goal.event:
        problems.append((f"{key}.where", "an event that it is a condition on", "none"))
    elif goal.where and check_where is not None and (fault := check_where(goal.event, goal.where)):
        problems.append((f"{key}.where", "a condition on the event's properties", fault))
    try:
        length_of(goal.within)
    except ValueError as error:
        problems.append((f"{key}.within", str(error).partition(", found ")[0].removeprefix("expected "), goal.within))
    return goal if len(problems) == before else None


def read_goals(
    values: Any, key: str, problems: list[Problem], check_where: Callable[[str, str], str] | None = None
) -> tuple[Goal, ...]:
    """Read the goals of a campaign, the primary one first; those that are none become problems."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        problems.append((key, "a list of goals", repr(values)))
        return ()
    if len(values) > MOST_GOALS:
        problems.append((key, f"at most {MOST_GOALS} goals", str(len(values))))
    read = [read_goal(value, f"{key}[{at}]", problems, check_where) for at, value in enumerate(values)]
    goals = [goal for goal in read if goal is not None]
    names = [goal.title for goal in goals]
    for at, name in enumerate(names):
        if name in names[:at]:
            problems.append((f"{key}[{at}].name", "a name that no other goal has", repr(name)))
    return tuple(goals)


_FIELDS = f"one of {', '.join(Goal.__struct_fields__)}"


def _expected(said: str) -> str:
    return said.partition(", got ")[0].removeprefix("Expected ").lower()


def _found(said: str) -> str:
    return said.partition(", got ")[2] or said
