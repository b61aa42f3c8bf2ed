"""Alphabets, slow and obvious, from the tables as JSON and 3GPP TS 23.038; no code of ours below it."""

import json
from pathlib import Path

TABLES = Path(__file__).parents[2] / "_fastpath" / "tables"
ESC = 0x1B


def _table(name: str, key: str) -> dict[int, str]:
    table = json.loads((TABLES / name).read_text("utf-8"))[key] or {}
    return {int(code, 16): character for code, character in table.items()}


BASE = _table("gsm0338.json", "code_to_char")
EXTENSION = _table("gsm0338_ext.json", "code_to_char")
NATIONAL = {int(path.name[9:11]): path.name for path in sorted(TABLES.glob("national_*.json"))}
SINGLE = {0: EXTENSION} | {language: _table(name, "single_shift") for language, name in NATIONAL.items()}
LOCKING = {0: BASE} | {language: _table(name, "locking") for language, name in NATIONAL.items() if language != 2}


def encode(text: str, single_shift: int = 0, locking: int = 0) -> bytes | None:
    """Septets of a text, one an octet; None where a character has none. The base table first, then the lower code."""
    septets = b""
    for character in text:
        base = [code for code, one in LOCKING[locking].items() if one == character]
        shifted = [code for code, one in SINGLE[single_shift].items() if one == character]
        if base:
            septets += bytes([min(base)])
        elif shifted:
            septets += bytes([ESC, min(shifted)])
        else:
            return None
    return septets


def decode(octets: bytes, single_shift: int = 0, locking: int = 0) -> str:
    """Text of septets, one an octet, whatever they are."""
    base = LOCKING.get(locking, BASE)
    shifted = SINGLE.get(single_shift, EXTENSION)
    text = ""
    rest = list(octets)
    while rest:
        code = rest.pop(0)
        if code != ESC:
            text += base.get(code, "\ufffd")
        elif not rest or rest[0] == ESC:
            text += " "
            del rest[:1]
        else:
            code = rest.pop(0)
            text += shifted.get(code) or base.get(code) or "\ufffd"
    return text


def pack(septets: bytes, fill_bits: int = 0) -> bytes:
    """The septets as one row of bits, least significant first, cut into octets."""
    bits = "0" * fill_bits + "".join(f"{septet:07b}"[::-1] for septet in septets)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))
