"""An event of a person that is looked for: its name, what its properties are, and what it has in common with a cause.

    Happening  as it is written in a document: conditions in words        Sought  as it is asked: conditions as a tree

A pattern of addresses is what is written, with `*` for anything; the query, the fragment and a slash at the end of an
address are not looked at unless the pattern has them (S2.14). The same in Python and in Postgres: `is_at`, `LIKE`.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from msgspec import Meta, Struct

from gateway.predicate import Predicate

Condition: TypeAlias = Annotated[str, Meta(max_length=20_000)]
EventName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=200)]
Key: TypeAlias = Annotated[str, Meta(max_length=200)]
URL_PROPERTY = "url"


class Happening(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event of a person, told by its name and what its properties are.

    where  conditions on its properties, in the language of audiences
    key    the property that has to be the same as in the cause: cart_id of the same cart
    url    a pattern for its property `url`
    """

    event: EventName
    where: Condition = ""
    key: Key = ""
    url: str = ""


class Sought(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The same with its conditions read.

    also      other names that the event goes by
    audience  in place of an event: who is in it now, or with is_in false was and is no more
    """

    event: str = ""
    where: Predicate | None = None
    key: str = ""
    url: str = ""
    also: tuple[str, ...] = ()
    audience: str = ""
    is_in: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """Of the events that are looked for."""
        return (self.event, *self.also) if self.event else ()


def bare(address: str, pattern: str = "") -> str:
    """Leave away of an address what a pattern does not look at."""
    if "#" not in pattern:
        address = address.partition("#")[0]
    if "?" not in pattern:
        address = address.partition("?")[0]
    return address.removesuffix("/")


def is_at(pattern: str, address: Any) -> bool:
    """Say whether an address fits a pattern."""
    if not isinstance(address, str):
        return False
    parts = (re.escape(part) for part in pattern.removesuffix("/").split("*"))
    return re.fullmatch(".*".join(parts), bare(address, pattern), re.S) is not None


def like(pattern: str) -> str:
    """Write a pattern as Postgres compares it: LIKE of `bare`."""
    for letter in ("\\", "%", "_"):
        pattern = pattern.replace(letter, "\\" + letter)
    return pattern.removesuffix("/").replace("*", "%")


def value_at(properties: Mapping[str, Any], key: str) -> str:
    """Read the value of a key, as text; "" where there is none. A dotted key goes into objects."""
    found: Any = properties
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return ""
        found = found[name]
    if found is None or isinstance(found, Mapping | list):
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    return str(found)
