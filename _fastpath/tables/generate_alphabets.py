"""Write _fastpath/alphabet_tables.h from the alphabets beside this file.

Run it after a change of the JSON:  python _fastpath/tables/generate_alphabets.py
tests/fastpath/test_alphabet.py fails while header and JSON disagree. Not part of a build: the header is committed.

Sources: 3GPP TS 23.038 §6.2.1 (default alphabet and extension), annex A (national tables); disputed.json names the
cells on which public copies of the annex differ, and which reading was taken.
"""

import json
from pathlib import Path

TABLES = Path(__file__).parent
HEADER = TABLES.parent / "alphabet_tables.h"
NONE = 0xFFFF
ESCAPE = 0x1B
NEAR = 0x400  # code points looked up directly; the Greek capitals end at U+03A9
LANGUAGES = 14  # national language identifiers 1..13; row 0 is the default alphabet


def characters(name: str, key: str) -> list[int]:
    """128 code points by septet, 0 where the table has none (no table has U+0000)."""
    row = [0] * 128
    for code, character in (json.loads((TABLES / name).read_text("utf-8"))[key] or {}).items():
        row[int(code, 16)] = ord(character)
    return row


def national() -> tuple[list[list[int]], list[list[int]]]:
    """Locking and single shift tables by language; row 0 is base and extension."""
    locking = [characters("gsm0338.json", "code_to_char")] + [[0] * 128 for _ in range(1, LANGUAGES)]
    single = [characters("gsm0338_ext.json", "code_to_char")] + [[0] * 128 for _ in range(1, LANGUAGES)]
    for path in TABLES.glob("national_*.json"):
        language = int(path.name[9:11])
        locking[language] = characters(path.name, "locking")
        single[language] = characters(path.name, "single_shift")
    return locking, single


def codes() -> dict[int, int]:
    """Code point -> septet, or 0x1B00 | code for an escape pair."""
    locking, single = national()
    found = {cp: ESCAPE << 8 | code for code, cp in enumerate(single[0]) if cp}
    found |= {cp: code for code, cp in enumerate(locking[0]) if cp}
    return found


def rows(values: list[int], width: int, digits: int) -> str:
    """C initialisers, `width` a line."""
    cells = [f"0x{value:0{digits}X}" for value in values]
    return ",\n    ".join(", ".join(cells[i : i + width]) for i in range(0, len(cells), width))


def render() -> str:
    """The whole header."""
    code_by_cp = codes()
    octets = [code_by_cp.get(cp, NONE) if cp < 0x80 else NONE for cp in range(256)]
    octets = [code if code < 0x80 else 0xFF for code in octets]
    near = [code_by_cp.get(cp, NONE) for cp in range(NEAR)]
    far = "\n".join(
        f"    case 0x{cp:04X}: return 0x{code:04X};" for cp, code in sorted(code_by_cp.items()) if cp >= NEAR
    )
    locking, single = national()
    tables = "\n".join(
        f"static const uint16_t {name}[{LANGUAGES}][128] = {{\n"
        + ",\n".join("  {\n    " + rows(row, 16, 4) + "\n  }" for row in table)
        + "\n};\n"
        for name, table in (("fp_locking", locking), ("fp_single", single))
    )
    return f"""\
/* Written by tables/generate_alphabets.py from the JSON beside it: change that, not this.
   3GPP TS 23.038 section 6.2.1 and annex A. */
#ifndef FP_ALPHABET_TABLES_H
#define FP_ALPHABET_TABLES_H
#include <stdint.h>

/* UTF-8 octet -> septet of the default alphabet; 0xFF = a pair, not in the alphabet, or not ASCII. */
static const uint8_t fp_gsm_by_octet[256] = {{
    {rows(octets, 16, 2)}
}};

/* Code point below 0x{NEAR:X} -> septet, 0x1B00 | code for a pair, 0xFFFF = none. */
static const uint16_t fp_gsm_near[0x{NEAR:X}] = {{
    {rows(near, 16, 4)}
}};

/* The same for the code points above. */
static inline uint16_t fp_gsm_far(uint32_t cp)
{{
    switch (cp) {{
{far}
    default: return 0xFFFF;
    }}
}}

/* Septet -> code point by language; row 0 is the default alphabet (locking) and its extension (single); 0 = none. */
{tables}
#endif
"""


if __name__ == "__main__":
    HEADER.write_text(render(), "utf-8")
