"""Cutting a text into parts, slow and obvious, from 3GPP TS 23.040 and UAX #29; no code of ours below it.

Clusters are taken by the regular expression of UAX #29 §3.1 (tables 1b and 1c), its classes from `regex`.
"""

import regex

CLUSTER = regex.compile(
    r"""
    \r\n
    | [\p{GCB=Control}\r\n]
    | \p{GCB=Prepend}*
      (?: \p{GCB=L}*(?:\p{GCB=V}+|\p{GCB=LV}\p{GCB=V}*|\p{GCB=LVT})\p{GCB=T}* | \p{GCB=L}+ | \p{GCB=T}+
        | \p{GCB=Regional_Indicator}{2}
        | \p{Extended_Pictographic}(?:\p{GCB=Extend}*\u200d\p{Extended_Pictographic})*
        | \p{InCB=Consonant}
          (?:[\p{InCB=Extend}\p{InCB=Linker}]*\p{InCB=Linker}[\p{InCB=Extend}\p{InCB=Linker}]*\p{InCB=Consonant})+
        | [^\p{GCB=Control}\r\n] )
      [\p{GCB=Extend}\u200d\p{GCB=SpacingMark}]*
    | \p{GCB=Prepend}+
    """,
    regex.VERBOSE | regex.V1,
)


def clusters(text: str) -> list[str]:
    """Extended grapheme clusters."""
    return CLUSTER.findall(text)


def capacity(alphabet: str, udh_octets: int) -> int:
    """Units beside a header: septets, UTF-16 units or octets."""
    octets = 140 - udh_octets
    return {"gsm7": octets * 8 // 7, "ucs2": octets // 2}.get(alphabet, octets)


def cut(units: list[bytes], single: int, multi: int) -> list[bytes]:
    """Greedy parts of units that are never cut; capacities in octets. A unit longer than a part is the caller's."""
    if sum(map(len, units)) <= single:
        return [b"".join(units)]
    parts = [b""]
    for unit in units:
        if len(parts[-1]) + len(unit) > multi:
            parts.append(b"")
        parts[-1] += unit
    return parts


def parts_of(text: str, encoded: dict[str, bytes], single: int, multi: int, grapheme: bool) -> list[bytes]:
    """Parts of a text: clusters whole where a part holds them, else its characters, each by `encoded`."""
    units: list[bytes] = []
    for cluster in clusters(text) if grapheme else text:
        octets = [encoded[character] for character in cluster]
        units += [b"".join(octets)] if sum(map(len, octets)) <= multi else octets
    return cut(units, single, multi)


def headers(ref: int, ref_bits: int, parts: int, shift: bytes = b"") -> list[bytes]:
    """The UDH of every part."""
    if parts == 1:
        return [bytes([len(shift)]) + shift if shift else b""]
    heads = []
    for number in range(1, parts + 1):
        if ref_bits == 8:
            element = bytes([0x00, 3, ref, parts, number])
        else:
            element = bytes([0x08, 4, ref // 256, ref % 256, parts, number])
        heads.append(bytes([len(element + shift)]) + element + shift)
    return heads
