"""The same offer on another channel: what a document says of it, and the question that the gate asks (XC-2).

    [content]
    key = "spring-20"                   what mails, pushes and pop-ups with the same offer carry as `content_key`
    within = "72h"
    otherwise = ""                      "" = who had it elsewhere is skipped; else the name of the variant they get

Other channels tell of theirs as events of persons (`email_sent` …, docs/people.md). The question is a tree like any
audience: as an exception of a run's gate it is asked as each message leaves, so a mail that was sent a moment ago
counts.
Not here: how trees are asked (store/audiences.py), which variants there are (the document).
"""

import re
from typing import Annotated

from msgspec import Meta, Struct

from gateway.predicate import Attribute, Compare, Count, Duration, Or, Predicate, Window
from gateway.routing import Problem

CHANNELS = ("email_sent", "push_sent", "popup_shown", "whatsapp_sent")
KEY_PROPERTY = "content_key"
_SPAN = re.compile(r"([1-9]\d{0,3})(min|h|d|w)")
EventName = Annotated[str, Meta(min_length=1, max_length=200)]


class Content(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a message offers, by a key that is the same on all channels.

    within     so long after it was told elsewhere it is not told again in the same way
    otherwise  the variant for whoever had it elsewhere; "" = they are skipped
    channels   events that tell of it
    """

    key: Annotated[str, Meta(min_length=1, max_length=200)]
    within: str = "72h"
    otherwise: str = ""
    channels: Annotated[tuple[EventName, ...], Meta(min_length=1, max_length=20)] = CHANNELS


def problems_of(key: str, content: Content) -> list[Problem]:
    """Say what is wrong with it: key, expected, found."""
    if _SPAN.fullmatch(content.within):
        return []
    return [(f"{key}.within", "a length such as 90min, 72h, 3d or 2w", repr(content.within))]


def told_elsewhere(content: Content) -> Predicate:
    """Ask whether a person had the same offer on another channel lately (S4.59).

    raises  ValueError: within is no length
    """
    found = _SPAN.fullmatch(content.within)
    if found is None:
        raise ValueError(f"within: expected a length such as 72h, found {content.within!r}")
    window = Window(rolling=Duration(int(found[1]), found[2]))  # type: ignore[arg-type]  # one of the four above
    same = Compare(Attribute((KEY_PROPERTY,)), "=", content.key)
    asked = tuple(Compare(Count(name, window, same), ">", 0) for name in dict.fromkeys(content.channels))
    return Or(asked) if len(asked) > 1 else asked[0]


def excepting(exception: Predicate | None, content: Content | None) -> Predicate | None:
    """Add the question to an exception of a gate, where whoever had it elsewhere is skipped."""
    if content is None or content.otherwise:
        return exception
    asked = told_elsewhere(content)
    return asked if exception is None else Or((exception, asked))
