"""Carrier profiles: sets of settings that inherit from one another, ours (profiles.toml) and those of sluice.toml.

    default ◄─ what a profile inherits, in its order ◄─ the profile ◄─ [carriers.NAME] ◄─ environment
                                            the one on the right wins

    [profiles.acme-group]                       [carriers.acme-uk]
    inherits = ["strict-3.4", "hex-ids"]        profile = "acme-group"
    window = 20                                 host = "smsc.acme.example"

A profile comes in once, however often it is inherited, and before those that inherit it. Settings that are tables
(data_coding, statuses) are laid over one another key by key.
Not here: which settings there are and what they may hold (config.py).
"""

import functools
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

# What tells one account from another: no profile has it.
OF_A_CARRIER = ("host", "hosts", "system_id", "password", "outbind_password", "profile")
OF_A_PROFILE = ("inherits", "about")


class Profile(Struct, frozen=True, kw_only=True):
    """A named set of settings; `values` as in TOML, `about` one sentence."""

    name: str
    about: str = ""
    inherits: tuple[str, ...] = ()
    values: Mapping[str, Any] = {}
    is_shipped: bool = False


class Laid(Struct, frozen=True, kw_only=True):
    """Settings of a carrier, layer on layer. `origins` says where each comes from: `profile NAME` or `carrier`.

    The key of an entry of a table is `table.entry`. `lineage`: the profiles in the order they were laid.
    """

    values: dict[str, Any]
    origins: dict[str, str]
    lineage: tuple[str, ...]


@functools.cache
def shipped() -> Mapping[str, Profile]:
    """Read the library of this package, once."""
    document = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return {name: profile_of(name, section, is_shipped=True) for name, section in document.items()}


def profile_of(name: str, section: Mapping[str, Any], is_shipped: bool = False) -> Profile:
    """Make a profile of a section whose `inherits` and `about` are right."""
    inherits = section.get("inherits", ())
    return Profile(
        name=name,
        about=section.get("about", ""),
        inherits=(inherits,) if isinstance(inherits, str) else tuple(inherits),
        values={key: value for key, value in section.items() if key not in OF_A_PROFILE},
        is_shipped=is_shipped,
    )


def lineage(name: str, profiles: Mapping[str, Profile]) -> tuple[str, ...]:
    """Name a profile and all it inherits, those that are laid first in front; what is unknown or a loop is left out."""
    found: dict[str, None] = {}

    def visit(each: str, below: tuple[str, ...]) -> None:
        if each in below or each not in profiles:
            return
        for parent in profiles[each].inherits:
            visit(parent, (*below, each))
        found.setdefault(each)

    visit(name, ())
    return tuple(found)


def loop_of(name: str, profiles: Mapping[str, Profile]) -> tuple[str, ...]:
    """Find the way from a profile back to itself; nothing when there is none."""
    ways: list[tuple[str, ...]] = [(name,)]
    seen: set[str] = set()
    while ways:
        way = ways.pop(0)
        for parent in profiles[way[-1]].inherits if way[-1] in profiles else ():
            if parent == name:
                return (*way, name)
            if parent not in seen:
                seen.add(parent)
                ways.append((*way, parent))
    return ()


def lay(section: Mapping[str, Any], names: Iterable[str], profiles: Mapping[str, Profile]) -> Laid:
    """Lay a carrier's own section over its profiles, and those over what they inherit."""
    order: dict[str, None] = {}
    for name in names:
        order.update(dict.fromkeys(lineage(name, profiles)))
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    layers = [(f"profile {name}", profiles[name].values) for name in order]
    for origin, layer in [*layers, ("carrier", section)]:
        for key, value in layer.items():
            if isinstance(value, Mapping):
                # A variable's entries come in small letters.
                folded = {entry.lower() for entry in value}
                below = values.get(key)
                kept = below if isinstance(below, Mapping) else {}
                values[key] = {entry: each for entry, each in kept.items() if entry.lower() not in folded} | {**value}
                origins.update({f"{key}.{entry}": origin for entry in value})
            else:
                values[key] = value
            origins[key] = origin
    return Laid(values=values, origins=origins, lineage=tuple(order))
