"""The key of erased numbers, and what stands for one: a hash of it that only who has the key can make (CN-12).

    SLUICE_KEY ─► digest of it   kept in the database, so that another key is noticed
              └─► Pseudonyms     number ─► one above all that there are, which stands for it in the feed of STOPs

Without the key nobody can say whether a number was erased: then nothing that would bring numbers in is taken.
Not here: what is erased, and how (store/erasures.py); the hash (_fastpath/pseudonym.pyx).
"""

import array
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from _fastpath.numbers import NumberSet
from _fastpath.pseudonym import FIRST, Pseudonyms
from gateway.errors import StoreError
from gateway.secret import key_of

SOURCE = "erased"
"""Of the entries in the feed of STOPs."""


class Key(Struct, frozen=True):
    """What is derived from the key of secrets: digest names it, pseudonyms are made with it."""

    digest: bytes
    pseudonyms: Any

    def of(self, numbers: Iterable[int]) -> list[int]:
        """The pseudonyms of numbers."""
        return [self.pseudonyms.of(number) for number in numbers]


def key_in(environment: Mapping[str, str]) -> Key | None:
    """Derive it from SLUICE_KEY or SLUICE_KEY_FILE; None where neither is set. raises ConfigError."""
    if not (environment.get("SLUICE_KEY") or environment.get("SLUICE_KEY_FILE")):
        return None
    return derived(key_of(environment))


def derived(secret: bytes) -> Key:
    """Derive it from the 32 octets that secrets are sealed with; neither half tells the other, or those."""
    made = hashlib.blake2b(secret, digest_size=16, person=b"sluice erasure k").digest()
    return Key(hashlib.blake2b(secret, digest_size=16, person=b"sluice erasure d").digest(), Pseudonyms(made))


def is_number(number: int) -> bool:
    """Say whether it is a number, and not what stands for an erased one."""
    return number < FIRST


def shown(number: int) -> str:
    """A number as a person reads it."""
    return f"+{number}" if is_number(number) else f"(erased {number - FIRST:016x})"


class Erased:
    """Who was erased, by pseudonym, when a door was opened: what comes in is asked for in it.

    digest  that the database names; None: nobody was ever erased
    raises  StoreError: somebody was, and the key is missing or another
    """

    def __init__(self, digest: bytes | None, key: Key | None, pseudonyms: Iterable[int] = ()):
        if digest is not None and (key is None or key.digest != digest):
            found = "none" if key is None else "another one"
            raise StoreError(f"SLUICE_KEY: expected the key that numbers were erased with, found {found}")
        self._key = key
        self._pseudonyms = NumberSet(pseudonyms)

    def __bool__(self) -> bool:
        return bool(self._key) and len(self._pseudonyms) > 0

    def places(self, numbers: "array.array[int]") -> list[int]:
        """Where in an array of 8-octet numbers those stand that were erased."""
        if self._key is None or not self:
            return []
        found: list[int] = self._key.pseudonyms.places(numbers, self._pseudonyms)
        return found

    def among(self, numbers: Iterable[int]) -> set[int]:
        """Those of some numbers that were erased."""
        if not self:
            return set()
        told = array.array("q", numbers)
        return {told[at] for at in self.places(told)}


NOBODY = Erased(None, None)
