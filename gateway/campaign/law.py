"""What a country asks for: its pack, and what a text, a consent and a request must be by it. Data: packs/*.toml.

    default ─► country ─► region        each says only what differs; every leaf has its source and its confidence

A country without a file has the default's. The strictest value seen is the one that is taken.
Not here: instants (quiet_hours.py), counting towards a cap (frequency.py), who has consented (consent.py).
"""

import functools
import re
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from importlib import resources

import msgspec

from gateway.errors import ConfigError
from gateway.message import MessageClass
from gateway.rules import DAY, Pack, Problem, Spans, Window, joined, read_pack, read_window

DEFAULT = ""
# Promotional: what quiet hours, labels and footers are for. Of the rest only transactional has a window at all (QH-10).
PROMOTIONAL = (MessageClass.TRIGGERED, MessageClass.BULK)
EXEMPT = (MessageClass.OTP, MessageClass.COMPLIANCE, MessageClass.CONVERSATION)


@functools.cache
def packs() -> Mapping[str, Pack]:
    """Every pack that is shipped, by the two letters of its country; the default under an empty text.

    raises  ConfigError naming every leaf that is wrong
    """
    documents = {
        file.name.removesuffix(".toml"): tomllib.loads(file.read_text("utf-8"))
        for file in resources.files("gateway.campaign").joinpath("packs").iterdir()
        if file.name.endswith(".toml")
    }
    return read_packs(documents)


def read_packs(documents: Mapping[str, Mapping[str, object]]) -> Mapping[str, Pack]:
    """Read packs out of documents by name, `default` among them.

    raises  ConfigError naming every leaf that is wrong
    """
    problems: list[Problem] = []
    found: dict[str, Pack] = {}
    default = ("default", documents["default"])
    for name, document in sorted(documents.items()):
        country = DEFAULT if name == "default" else name
        layers = [default] if country == DEFAULT else [default, (name, document)]
        pack = read_pack(country, layers, problems)
        regions: dict[str, Pack] = {}
        states = document.get("states", {})
        if not isinstance(states, Mapping):
            problems.append((f"{name}.states", "a table of regions", repr(states)[:80]))
            continue
        for region, below in states.items():
            part = read_pack(country, [*layers, (f"{name}.states.{region}", below)], problems, region)
            if part is not None:
                regions[region] = part
        if pack is not None:
            found[country] = msgspec.structs.replace(pack, regions=regions)
    if problems:
        raise ConfigError(problems)
    return found


def pack_of(country: str, region: str = "") -> Pack:
    """Return what holds in a country, or in a region of it."""
    pack = packs().get(country) or packs()[DEFAULT]
    return pack.regions.get(region, pack)


def packs_of(country: str, region: str = "") -> tuple[Pack, ...]:
    """Return all that may hold: where the region is not known, each region's is possible (QH-4)."""
    pack = packs().get(country) or packs()[DEFAULT]
    return (pack.regions.get(region, pack),) if region else (pack, *pack.regions.values())


def version() -> str:
    """Say which packs these are: the newest among their versions."""
    return max(pack.version for pack in packs().values())


def window_of(
    pack: Pack, class_: MessageClass, *, has_night_consent: bool = False, to_hard_limit: bool = False
) -> Window | None:
    """Return the legal window of a class, closed on the pack's holidays; None: no window at all (QH-10).

    to_hard_limit  the brand has asked for all that the law allows, where the pack's own window is narrower
    """
    if class_ in EXEMPT:
        return None
    if class_ not in PROMOTIONAL:
        return pack.transactional_window
    window = pack.hard_window if to_hard_limit and pack.hard_window is not None else pack.promo_window
    if has_night_consent and pack.night is not None:
        extra = read_window(pack.night.hours, "night", [])
        if extra is not None:
            window = _either(window, extra)
    return msgspec.structs.replace(window, holidays=()) if pack.holidays else window


def _either(one: Window, other: Window) -> Window:
    """What one window or the other opens, and no gap of an instant where they meet."""

    def both(mine: Spans, theirs: Spans, eve: Spans) -> Spans:
        # What begins on the eve and lasts into this day is written as this day's, so that neighbours join.
        late = tuple((0, end - DAY) for _, end in eve if end > DAY)
        cut = tuple((begin, min(end, DAY)) for begin, end in (*mine, *theirs))
        return tuple(joined((*cut, *late)))

    eves = [(*one.days[i - 1], *other.days[i - 1]) for i in range(7)]
    mon, tue, wed, thu, fri, sat, sun = (both(one.days[i], other.days[i], eves[i]) for i in range(7))
    return Window(days=(mon, tue, wed, thu, fri, sat, sun), holidays=one.holidays)


def consent_needed(pack: Pack, class_: MessageClass, minute: int, weekday: int = 0) -> str | None:
    """Name the consent that a message needs at a local minute: promotional, transactional, night, or none.

    minute  of the day, 0 to 1439; weekday from Monday
    """
    if class_ in EXEMPT:
        return None
    if class_ not in PROMOTIONAL:
        return "transactional"
    if pack.night is not None and not any(begin <= minute < end for begin, end in pack.promo_window.days[weekday]):
        return "night"
    return "promotional"


# The text.


def labelled(text: str, pack: Pack, values: Mapping[str, str] | None = None) -> str:
    """Put the label of a country around a promotional text, once; what comes out is what is cut and counted.

    values  of the fields of the label, such as brand or optout_080
    raises  KeyError with the field that is missing
    """
    prefix, suffix = _filled(pack.label.prefix, values), _filled(pack.label.suffix, values)
    if prefix and not text.startswith(prefix):
        text = f"{prefix} {text}" if prefix[-1] == ")" else prefix + text
    if suffix and not text.endswith(suffix):
        text = f"{text} {suffix}"
    return text


def label_fields(pack: Pack) -> tuple[str, ...]:
    """Name the fields that must be given before a promotional text can be labelled."""
    return tuple(dict.fromkeys(re.findall(r"\{(\w+)\}", f"{pack.label.prefix or ''}{pack.label.suffix or ''}")))


def _filled(words: str | None, values: Mapping[str, str] | None) -> str:
    return re.sub(r"\{(\w+)\}", lambda field: (values or {})[field[1]], words or "")


# The word of a label between any brackets, with anything but letters between its own: "[광고]", "(광 고)", "(광/고)".
_BRACKETS = r"[(\[{<【〔「（［]", r"[)\]}>】〕」）］]"


def label_faults(text: str, pack: Pack) -> list[str]:
    """Name what stands in the text in the label's place and is not the label."""
    prefix = pack.label.prefix or ""
    word = prefix[1:-1]
    if len(prefix) < 3 or "{" in word or prefix[0] not in "([":
        return []
    between = r"[\W_]*"
    variant = rf"{_BRACKETS[0]}{between}{between.join(map(re.escape, word))}{between}{_BRACKETS[1]}"
    return [found[0] for found in re.finditer(variant, text) if found[0] != prefix or found.start() > 0]


def footer_due(pack: Pack, texts_since: int | None, since: timedelta | None) -> bool:
    """Say whether this promotional text must tell the way out.

    texts_since  promotional texts since the last one that told it, this one not counted; None: none has ever told it
    since        time since that text
    """
    every = pack.optout.footer_every
    if texts_since is None or texts_since + 1 >= every.messages:
        return True
    return every.days is not None and since is not None and since >= timedelta(days=every.days)


# India: the registered template.


def template_problems(pack: Pack, given: Mapping[str, str]) -> list[Problem]:
    """Name what a registered template must carry and this one does not: pe_id, template_id, header, category."""
    if pack.dlt is None:
        return []
    wanted = msgspec.to_builtins(pack.dlt)
    return [
        (key, f"as registered in {pack.country}", "none")
        for key, how in wanted.items()
        if how == "required" and not given.get(key)
    ]


VARIABLE = "{#var#}"


def matches_template(template: str, text: str) -> bool:
    """Say whether the fixed text of a registered template stands in the text byte for byte, {#var#} being anything.

    cost  linear: each fixed part is taken where it first stands, which leaves the most for those behind it
    """
    first, *rest = template.split(VARIABLE)
    if not rest:
        return text == first
    *between, last = rest
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in between:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def may_ask(pack: Pack, asked_before: bool, since: timedelta | None = None) -> bool:
    """Say whether a request for consent may be sent: again after 90 days (CN-4), where the pack says once never."""
    if not asked_before:
        return True
    return not pack.optin.ask_once and since is not None and since >= timedelta(days=90)
