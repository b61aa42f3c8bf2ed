"""What a country asks for: its pack, and what a text, a consent and a request must be by it. Data: packs/*.toml.

    default ─► country ─► region        each says only what differs; every leaf has its source and its confidence

A country without a file has the default's. The strictest value seen is the one that is taken.
Not here: instants (quiet_hours.py), counting towards a cap (frequency.py), who has consented (consent.py).
"""

import functools
import re
import tomllib
import unicodedata
from collections.abc import Mapping
from importlib import resources
from typing import Literal

import msgspec

from gateway.errors import ConfigError
from gateway.gate import Around
from gateway.message import MessageClass
from gateway.rules import DAY, Pack, Problem, Spans, Window, joined, read_pack, read_window

DEFAULT = ""
WHOLE = ("label", "optin", "optout", "dlt")
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
            # What a text says is decided by chunks, which are alike in country.
            problems += [
                (f"{name}.states.{region}.{key}", "what holds in the whole country", "a value of the region's own")
                for key in WHOLE
                if key in below
            ]
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


# The text.


def around(pack: Pack, values: Mapping[str, str]) -> Around:
    """Say what stands around a promotional text to a country; values fill in its fields, such as optout_080."""
    prefix, suffix = pack.label.prefix or "", pack.label.suffix or ""
    if prefix.endswith(")"):
        prefix += " "
    if suffix:
        suffix = " " + suffix
    lacks = tuple(field for field in label_fields(pack) if not values.get(field))
    if lacks:
        return Around(lacks=lacks)

    def filled(words: str) -> str:
        return unicodedata.normalize("NFC", _FIELD.sub(lambda field: values[field[1]], words))

    return Around(prefix=filled(prefix), suffix=filled(suffix))


def labels(values: Mapping[str, str]) -> dict[str, Around]:
    """Say what stands around a promotional text, by country: of all whose law wants a label."""
    return {
        country: around(pack, values) for country, pack in packs().items() if pack.label.prefix or pack.label.suffix
    }


def label_fields(pack: Pack) -> tuple[str, ...]:
    """Name the fields that must be given before a promotional text can be labelled."""
    return tuple(dict.fromkeys(_FIELD.findall(f"{pack.label.prefix or ''}{pack.label.suffix or ''}")))


_FIELD = re.compile(r"\{(\w+)\}")
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


def footer_wanted(pack: Pack) -> Literal["each", "some", "none"]:
    """Say whether promotional texts must tell the way out: each, some of them, or none since the label does."""
    if pack.label.suffix:
        return "none"
    return "each" if pack.optout.footer_every.messages == 1 else "some"


# India: the registered template.


def template_problems(pack: Pack, given: Mapping[str, str]) -> list[Problem]:
    """Name what a text must carry where templates are registered, and this one does not: pe_id, template_id, header."""
    if pack.dlt is None:
        return []
    wanted = msgspec.to_builtins(pack.dlt)
    return [
        (key, f"what is registered in {pack.country}", "none")
        for key, how in wanted.items()
        if how == "required" and not given.get(key)
    ]
