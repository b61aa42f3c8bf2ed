"""Octets made strange: known good ones, cut, spliced, flipped and stretched. Seeded, so a find can be had again."""

import json
import random
from pathlib import Path

VECTORS = Path(__file__).parents[1] / "golden" / "vectors"
# Values at the edges of lengths and counts.
EDGES = (0, 1, 2, 15, 16, 17, 127, 128, 254, 255)


def pdus() -> list[bytes]:
    """Every PDU of the golden vectors, good and bad."""
    return [
        bytes.fromhex(vector["hex"])
        for name in ("pdu", "malformed")
        for vector in json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    ]


def receipts() -> list[bytes]:
    """Every receipt text of the golden vectors."""
    found = json.loads((VECTORS / "receipts.json").read_text(encoding="utf-8"))
    return [vector["text"].encode() for vector in found]


def user_data() -> list[bytes]:
    """short_message with and without headers: concatenation, national tables, ports; whole and cut."""
    text = b"Hello \x00\x1b\x65 world"
    heads = (
        "0500030c0201",
        "06080412340201",
        "09000301020124012504",
        "250101",
        "0b05040b8423f0000303",
        "ff00",
        "0500ff",
    )
    return [text, b"", "Жизнь".encode("utf-16-be"), *(bytes.fromhex(head) + text for head in heads)]


def mutated(chance: random.Random, octets: bytes, others: list[bytes]) -> bytes:
    """Change a few things about some octets."""
    work = bytearray(octets)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(work) + 1)
        kind = chance.randrange(6)
        if kind == 0 and work:
            work[at % len(work)] ^= 1 << chance.randrange(8)
        elif kind == 1 and work:
            work[at % len(work)] = chance.choice(EDGES)
        elif kind == 2:
            del work[at : at + chance.randrange(1, 9)]
        elif kind == 3:
            work[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif kind == 4:
            other = chance.choice(others)
            cut = chance.randrange(len(other) + 1)
            work[at:at] = other[cut : cut + chance.randrange(1, 40)]
        elif len(work) >= 4:
            # A command_length that is true makes the inside count.
            work[0:4] = len(work).to_bytes(4, "big")
    return bytes(work)
