"""Octets made strange: known good ones, cut, spliced, flipped and stretched. Seeded, so a find can be had again."""

import json
import os
import random
import time
from collections.abc import Callable
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


def run(name: str, one: Callable[[random.Random], None]) -> None:
    """Call `one` with fresh chance for $FUZZ_SECONDS (1 s without it); print how often. $FUZZ_SEED begins elsewhere."""
    seconds = float(os.environ.get("FUZZ_SECONDS", "1"))
    first = seed = int(os.environ.get("FUZZ_SEED", str(time.time_ns() % 1_000_000_000)))
    ends = time.monotonic() + seconds
    # The clock is looked at now and then: an input takes less time than that.
    while (seed - first) % 256 or time.monotonic() < ends:
        try:
            one(random.Random(seed))
        except BaseException:
            print(f"{name}: broken by FUZZ_SEED={seed}")
            raise
        seed += 1
    print(f"{name}: {seed - first} inputs from seed {first}, none broke it")
