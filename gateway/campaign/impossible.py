"""What a document asks for that can never be: said when it is applied and before it is launched, not after a week.

    never_open   windows of brand, campaign and law that leave no time to send in ─► a problem
    too_late     a filter that asks for what is long past when a text is due ─► a slip

Pure. Not here: names of nothing (automation/launching.py), a text by itself (linter.py).
"""

import heapq
from collections.abc import Iterable

from gateway.brand import BrandSettings
from gateway.campaign import law, quiet_hours
from gateway.campaign.workflow import Plan, places_after
from gateway.delay import After, At, Delay
from gateway.document import Ask, Document, Send, Wait
from gateway.message import MessageClass
from gateway.predicate import And, Compare, Count, Duration, Message, Predicate
from gateway.routing import Problem
from gateway.rules import Window, read_window

DAY_S = 86_400


def never_open(document: Document, brand: BrandSettings, class_: MessageClass) -> list[Problem]:
    """Judge the windows that a text of a class meets where the brand is at home.

    Windows by the clock of the house are left out: by another clock they may open whenever they like.
    """
    if class_ not in law.PROMOTIONAL:
        return []
    windows: dict[str, Window] = {}
    for name, words in brand.windows.items():
        window = None if name in brand.own_clock else read_window(words, name, [])
        if window is not None:
            windows[f"brands.{document.brand}.windows.{name}"] = window
    own = None if document.hours is None else read_window(document.hours, "hours", [])
    if own is not None:
        windows["hours"] = own
    for pack in law.packs_of(brand.country, "") if brand.country else ():
        of_law = law.window_of(pack, class_, to_hard_limit=brand.to_hard_limit)
        if of_law is not None:
            windows[f"the law of {pack.country or 'any country'}"] = of_law
    found = quiet_hours.never_open(windows) if windows else None
    return [("hours", "a time of the week that all windows leave", found)] if found else []


def too_late(plan: Plan) -> list[str]:
    """Name what the filter wants of the last days where a text goes only when they are over.

    It is asked at the entry and again when the text is due: so it holds only of who does it twice.
    """
    asked = [] if plan.filter is None else list(_within(plan.filter))
    found = []
    for place, least_s in sorted(_least_waits(plan).items()):
        if not isinstance(plan.steps[place].step, Send | Ask):
            continue
        key = "message" if plan.document.kind == "campaign" else f"steps[{place}]"
        found += [
            f"filter: {name} in the last {_said(long.seconds)}, and the text of {key} goes {_said(least_s)} later at "
            "the earliest, when it is asked again: nobody gets it who has not done it once more"
            for name, long in asked
            if long.seconds < least_s
        ]
    return found


def _within(tree: Predicate) -> Iterable[tuple[str, Duration]]:
    """Name what has to have happened lately, whatever else is so."""
    match tree:
        case And(of=parts):
            for part in parts:
                yield from _within(part)
        case Compare(what=Count(event=name, window=window), op=">" | ">=" | "=", to=int(least)) if window.rolling:
            if least >= (0 if tree.op == ">" else 1):
                yield name, window.rolling
        case Message(kind=kind, window=window) if window.rolling:
            yield kind, window.rolling


def _least_waits(plan: Plan) -> dict[int, int]:
    """Say of each step how many seconds after the cause somebody is there at the earliest."""
    least: dict[int, int] = {}
    ahead = [(0, 0)]
    while ahead:
        at_s, place = heapq.heappop(ahead)
        if place in least or place >= len(plan.steps):
            continue
        least[place] = at_s
        here = plan.steps[place]
        waits_s = _least(here.delay) if isinstance(here.step, Wait) else 0
        for after in places_after(here):
            heapq.heappush(ahead, (at_s + waits_s, after))
    return least


def _least(delay: Delay | None) -> int:
    match delay:
        case After(seconds=seconds, supply=None):
            return max(0, seconds)
        case At(days=days, months=months, supply=None):
            # From the end of a day to the begin of another.
            return max(0, 28 * months + days - 1) * DAY_S
    return 0


def _said(seconds: int) -> str:
    for unit, long in (("d", DAY_S), ("h", 3600), ("min", 60)):
        if seconds >= long and seconds % long == 0:
            return f"{seconds // long} {unit}"
    return f"{seconds} s"
