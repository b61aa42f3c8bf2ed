"""Facts of consent and the chain that they stand in: what the ledger is made of. CN-1.

    fact 1 ─► hash ─► fact 2 ─► hash ─► …      a chain for each number; a hash covers fact, place and the hash before

So a row that was changed, taken out or exchanged is found and named (`faults_of`). It is no secret how a hash is made:
who may write every row of a number, the head among them, can write another chain; heads kept elsewhere tell of that.
Not here: what facts mean (campaign/consent.py), where they are kept (store/consents.py).
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Literal

import msgspec
from msgspec import Struct

EVERYTHING = "*"
CLASSES = ("promotional", "transactional", "night")
Class = Literal["promotional", "transactional", "night", "all"]
Action = Literal["grant", "pending", "confirm", "revoke", "suppress", "release"]
Source = Literal[
    "form", "checkout", "keyword", "import", "agent", "api", "carrier", "sunset", "complaint", "legal", "command",
    "invalid", "age", "landline", "recycled", "erased", "manual", "doubt",
]  # fmt: skip
# What stands before the first row of a chain.
NO_HASH = bytes(32)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class State(IntEnum):
    """How a number stands with a brand and class, as consent_state has it."""

    NONE = 0
    PENDING = 1
    GRANTED = 2
    REVOKED = 3


class Standing(Struct, frozen=True):
    """How a number stands with one brand; since: when the promotional class became so."""

    promotional: State
    transactional: State
    night: State
    since: datetime | None


class Fact(Struct, frozen=True, kw_only=True):
    """One row of the ledger (CN-1), without its place in the chain.

    brand         * everything, NAME, NAME/PROGRAMME, or sender:NAME
    effective_at  None: nobody knows; only what takes away may be so
    entry         the row of stop_feed that it is the proof of
    """

    number: int
    brand: str
    class_: Class
    action: Action
    source: Source
    recorded_at: datetime
    effective_at: datetime | None = None
    method: str = ""
    wording: str = ""
    wording_version: str = ""
    url: str = ""
    ip: str = ""
    agent: str = ""
    message_id: int | None = None
    entry: int | None = None
    proof: bytes | None = None


class Link(Struct, frozen=True, kw_only=True):
    """A fact at its place in the chain of its number; id counts from 1."""

    id: int
    fact: Fact
    previous: bytes
    hash: bytes


def reach_of(brand: str) -> tuple[str, ...]:
    """Name those whose consent holds for a brand or programme, the widest first: acme, acme/club (CN-7).

    What is said of the last of them that anything is said of holds; a brand has itself alone.
    """
    return (*(brand[:at] for at, letter in enumerate(brand) if letter == "/"), brand)


def hash_of(fact: Fact, id_: int, previous: bytes) -> bytes:
    """SHA-256 over every field in a fixed order, the place and the hash before; times in microseconds."""
    values: list[object] = [previous.hex(), id_]
    for field in Fact.__struct_fields__:
        value = getattr(fact, field)
        if isinstance(value, datetime):
            value = microseconds(value)
        elif isinstance(value, bytes):
            value = value.hex()
        values.append(value)
    return hashlib.sha256(msgspec.json.encode(values)).digest()


def chain(facts: Iterable[Fact], last_id: int, last_hash: bytes) -> list[Link]:
    """Put rows behind the last one of their number."""
    links = []
    for fact in facts:
        last_id += 1
        digest = hash_of(fact, last_id, last_hash)
        links.append(Link(id=last_id, fact=fact, previous=last_hash, hash=digest))
        last_hash = digest
    return links


def faults_of(links: Sequence[Link], head_id: int, head_hash: bytes) -> list[str]:
    """Verify the chain of one number, rows by id; -> each fault in words, [] = it is whole."""
    found = []
    before = NO_HASH
    expected = 1
    for link in links:
        if link.id != expected:
            gone = f"row {expected} is" if link.id == expected + 1 else f"rows {expected} to {link.id - 1} are"
            found.append(f"{gone} missing")
        elif link.previous != before:
            found.append(f"row {link.id} does not follow row {link.id - 1}: one of them was exchanged")
        if hash_of(link.fact, link.id, link.previous) != link.hash:
            found.append(f"row {link.id} was changed after it was written")
        before, expected = link.hash, link.id + 1
    if head_id != expected - 1:
        found.append(f"the head names row {head_id}, the last one that is there is {expected - 1}")
    elif before != head_hash:
        found.append(f"the head does not agree with row {head_id}")
    return found


def microseconds(at: datetime) -> int:
    """A time as the ledger has it, without the rounding of a float."""
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
