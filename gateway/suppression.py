"""Why a number is suppressed, and what lifts that: the values of stop_feed.source. CN-7, CN-9, CN-11, CN-12.

    START of the handset   what it has stopped itself, and what only says that nobody is there: it is
    a new grant            a sunset, and what says that somebody else has the number now
    time                   a number that is invalid is given to somebody else one day ([retention] invalid_days)
    a person of yours      everything but an erasure

A number may be suppressed for several reasons at once: it is free when each of them is lifted, so a START never lifts a
complaint, and time never a STOP. Not here: the feed (store/stops.py), who finds the reasons (automation/blocks.py).
"""

from collections.abc import Mapping

from msgspec import Struct


class Kind(Struct, frozen=True):
    """One reason; by_time: after the days of the settings."""

    about: str
    by_start: bool = False
    by_grant: bool = False
    by_time: bool = False
    by_person: bool = True


KINDS: Mapping[str, Kind] = {
    "keyword": Kind("a STOP of the handset", by_start=True),
    "doubt": Kind("seems to have had enough, and was asked", by_start=True),
    "command": Kind("entered by a person"),
    "api": Kind("entered by a program"),
    "import": Kind("of a file of opt-outs"),
    "agent": Kind("told to a person"),
    "manual": Kind("decided by a person"),
    "carrier": Kind("blocked at the carrier", by_start=True),
    "invalid": Kind("no such number, as its carrier says", by_start=True, by_time=True),
    "landline": Kind("no handset that takes texts", by_start=True),
    "recycled": Kind("given to somebody else", by_start=True, by_grant=True),
    "sunset": Kind("silent for too long", by_start=True, by_grant=True),
    "complaint": Kind("has complained"),
    "legal": Kind("for a reason of law"),
    "age": Kind("too young"),
    "erased": Kind("has asked to be forgotten", by_person=False),
}
# What a person may give as the reason (`sluice stop --source`), and what an answer of a carrier may mean.
BY_PERSON = ("manual", "complaint", "landline", "recycled", "age", "legal", "sunset", "invalid", "carrier")
BY_CARRIER = ("carrier", "invalid", "complaint", "landline")
BY_START = tuple(name for name, kind in KINDS.items() if kind.by_start)
BY_GRANT = tuple(name for name, kind in KINDS.items() if kind.by_grant)
BY_TIME = tuple(name for name, kind in KINDS.items() if kind.by_time)
# So many messages in a row have to be answered so; one alone may be a slip of the carrier (CN-11).
STRIKES: Mapping[str, int] = {"invalid": 2}


def problems(words: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What is wrong with the answers of a carrier that suppress: (key, expected, found)."""
    found = []
    for key in words:
        try:
            code_of(key)
        except ValueError:
            found.append((key, "a command_status such as 0x0B, or err:CODE of a receipt such as err:034", repr(key)))
    return found


def code_of(key: str) -> int | str:
    """Read a key: a command_status above 0 as a number, or the err of a receipt as text; ValueError."""
    if key.startswith("err:"):
        code = key.removeprefix("err:").strip()
        if not code:
            raise ValueError(key)
        return code
    status = int(key, 0)
    if not 0 < status <= 0x7FFFFFFF:
        raise ValueError(key)
    return status
