"""Who writes: what all messages of a brand have in common, `[brands.NAME]` of sluice.toml, and the gate that follows.

    [brands.acme]
    country = "GB"
    zone = "Europe/London"
    windows = {shop = {mon-sat = ["09:00-19:00"]}, phones = "10:00-18:00"}
    own_clock = ["phones"]
    caps = ["1 per day", "4 per 7d", {limit = 1, per = "7d", tags = ["exclusive"]}]

A gate is asked of the run that was made with it: a brand that is changed later changes what is enqueued later, but for
limits that are lowered and applied (`sluice brand apply`).
Not here: what a gate asks for (gate.py), the words of windows (rules.py), how sluice.toml is read (config.py).
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Meta, Struct

from gateway.countries import countries
from gateway.gate import Around, Gate, Local, Needs, read_caps
from gateway.link import domain_problems
from gateway.message import MessageClass
from gateway.page import Theme, theme_problems
from gateway.routing import Problem
from gateway.rules import read_window, weekly

Word = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
# Braces would be a field of the text.
LabelWords = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^{}\r\n]+$")]
# E.164 as people write it, of people of ours.
StaffNumber = Annotated[str, Meta(pattern=r"^\+[1-9]\d{6,14}$")]
Seconds = Annotated[int, Meta(ge=0, le=86400 * 31)]
# CP-1.
CAPS: tuple[Any, ...] = ("1 per day", "4 per 7d", {"limit": 1, "per": "7d", "tags": ["exclusive"]})
_NEEDS: dict[MessageClass, Needs] = {
    MessageClass.TRANSACTIONAL: "transactional",
    MessageClass.TRIGGERED: "promotional",
    MessageClass.BULK: "promotional",
}
# What ends with the footer: who is advertised to must know the way out.
PROMOTIONAL = (MessageClass.TRIGGERED, MessageClass.BULK)


class BrandSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose messages they are.

    programmes    with a consent of their own, NAME/PROGRAMME in the ledger; `sluice send --programme` names one
    country       of numbers that are written without +, where nothing else says it
    zone          of the house: calendar days of its audiences, and the clock of the windows in own_clock
    windows       by name, all must be open: words as in docs/quiet-hours.md, by the recipient's clock
    own_clock     windows by the clock of the house
    caps          how often a person is written to (CP-1)
    gap_s         between any two messages; 0 = none
    to_hard_limit by all hours that the law allows, where a pack's own windows are narrower (`sluice packs FR`)
    on_cap        what meets a cap or the gap is skipped, or waits for at most defer_s (CP-5)
    outside       what meets a closed window waits, or is skipped (QH-5)
    hold_s        for at most so long; 0 = as long as the run, a triggered message a day
    spread_s      over which what waited is released (QH-7)
    may_bypass    who may pass over caps with a promotional text, USER or USER@HOST; "*" = everybody (CP-6)
    footer        words that triggered and bulk texts end with, such as "STOP to 12345"
    label         what the labels of countries are filled with: {optout_080 = "080-123-4567"}; `sluice packs KR`
    international countries that are written to from abroad alone, so that no template has to be registered there
    control       percent of numbers that campaigns send nothing that advertises, the same as long as it stands (AB-2)
    link_domain   of short links, go.acme.example; it leads to `sluice links serve` (docs/links.md)
    theme         how landing pages look
    untested      what no test was sent of is launched all the same, and it is said; or --untested asks for it (S1.28)
    staff         people of ours whom campaigns may tell of a person, by name: {kitchen = ["+447700900100"]} (S1.6)
    """

    programmes: Annotated[tuple[Word, ...], Meta(min_length=0, max_length=100)] = ()
    country: str = ""
    zone: str = "UTC"
    windows: dict[str, Any] = {}
    own_clock: Annotated[tuple[str, ...], Meta(min_length=0, max_length=100)] = ()
    caps: Annotated[tuple[Any, ...], Meta(min_length=0, max_length=12)] = CAPS
    gap_s: Seconds = 600
    to_hard_limit: bool = False
    on_cap: Literal["skip", "defer"] = "skip"
    defer_s: Seconds = 86400
    outside: Literal["hold", "skip"] = "hold"
    hold_s: Annotated[int, Meta(ge=0, le=86400 * 366)] = 0
    spread_s: Annotated[int, Meta(ge=0, le=86400)] = 1800
    may_bypass: Annotated[tuple[str, ...], Meta(min_length=0, max_length=100)] = ()
    footer: Annotated[str, Meta(max_length=160)] = ""
    label: dict[str, LabelWords] = {}
    international: Annotated[tuple[str, ...], Meta(min_length=0, max_length=300)] = ()
    control: Annotated[float, Meta(ge=0, le=10)] = 0.0
    link_domain: Annotated[str, Meta(max_length=80)] = ""
    theme: Theme = Theme()
    untested: Literal["nag", "enforce"] = "nag"
    staff: dict[Word, Annotated[tuple[StaffNumber, ...], Meta(min_length=1, max_length=20)]] = {}


def problems_of(key: str, brand: BrandSettings) -> list[Problem]:
    """Find what the types of its values cannot say: key, expected, found."""
    problems: list[Problem] = []
    if brand.country and brand.country not in countries():
        problems.append((f"{key}.country", "a country of two letters such as GB, or nothing", repr(brand.country)))
    for country in brand.international:
        if country not in countries():
            problems.append((f"{key}.international", "countries of two letters such as IN", repr(country)))
    try:
        ZoneInfo(brand.zone)
    except (KeyError, ValueError, OSError):
        problems.append((f"{key}.zone", "a zone such as Europe/London", repr(brand.zone)))
    read = [read_window(words, f"{key}.windows.{name}", problems) for name, words in brand.windows.items()]
    windows = [window for window in read if window is not None]
    if len(windows) == len(read) > 1 and not weekly(windows) and not brand.own_clock:
        problems.append((f"{key}.windows", "windows that are open together at some time", "none is"))
    for name in brand.own_clock:
        if name not in brand.windows:
            close = difflib.get_close_matches(name, brand.windows, 1)
            wanted = f"the name of a window (did you mean {close[0]!r}?)" if close else "names of windows"
            problems.append((f"{key}.own_clock", wanted, repr(name)))
    read_caps(brand.caps, f"{key}.caps", problems)
    if brand.link_domain:
        problems += domain_problems(f"{key}.link_domain", brand.link_domain)
    return problems + theme_problems(f"{key}.theme", brand.theme)


def gate_of_brand(
    name: str,
    brand: BrandSettings,
    class_: MessageClass,
    *,
    programme: str = "",
    tags: Sequence[str] = (),
    audience: Any = None,
    exception: Any = None,
    days_zone: str = "",
    bypass: str = "",
    bypass_by: str = "",
    value: int = 0,
    local: Local | None = None,
    labels: Mapping[str, Around] | None = None,
) -> Gate:
    """Say what a run of a brand asks of everybody.

    audience, exception  trees of JSON; days_zone: of their calendar days, by default the brand's
    bypass               why caps that are no law are passed over; bypass_by: who says so
    value                of a message, against runs of the same priority
    labels               what the law of a country puts around a promotional text
    local                a time of each recipient's clock, before which nobody is written to
    """
    problems: list[Problem] = []
    caps = read_caps(brand.caps, f"brands.{name}.caps", problems)
    if problems:
        raise ValueError("; ".join(f"{key}: expected {expected}, found {found}" for key, expected, found in problems))
    return Gate(
        brand=name,
        programme=programme,
        needs=_NEEDS.get(class_, "none"),
        caps=caps,
        gap_s=brand.gap_s,
        on_cap=brand.on_cap,
        defer_s=brand.defer_s,
        windows=brand.windows,
        zones={window: brand.zone for window in brand.own_clock},
        outside=brand.outside,
        hold_s=brand.hold_s,
        spread_s=brand.spread_s,
        tags=tuple(dict.fromkeys(tags)),
        audience=audience,
        exception=exception,
        days_zone=days_zone or brand.zone,
        bypass=bypass,
        bypass_by=bypass_by if bypass else "",
        value=value,
        local=local,
        labels=labels or {},
        to_hard_limit=brand.to_hard_limit,
    )


def staff_of(brand: BrandSettings, named: Sequence[str]) -> tuple[list[int], list[str]]:
    """Find the numbers of people of ours by the names of their lists, or by themselves; () = all.

    ->  the numbers, each once, and what of the named is neither a list of the brand nor a number in one
    """
    found: dict[str, None] = {}
    listed = {number for numbers in brand.staff.values() for number in numbers}
    unknown = []
    for one in named or brand.staff:
        if one in brand.staff:
            found |= dict.fromkeys(brand.staff[one])
        elif one in listed:
            found[one] = None
        else:
            unknown.append(one)
    return [int(number.removeprefix("+")) for number in found], unknown


def may_bypass(brand: BrandSettings, class_: MessageClass, who: str) -> bool:
    """Whether somebody may pass over the caps: of a text that advertises only whom the settings name (CP-6).

    who  USER@HOST
    """
    return class_ not in PROMOTIONAL or bool({who, who.partition("@")[0], "*"} & set(brand.may_bypass))


def with_footer(text: str, brand: BrandSettings, class_: MessageClass) -> str:
    """End a triggered or bulk text with the brand's footer, unless it is in it."""
    if not brand.footer or class_ not in PROMOTIONAL or brand.footer in text:
        return text
    return f"{text}\n{brand.footer}"
