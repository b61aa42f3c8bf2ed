"""Write _fastpath/transliteration_tables.h from transliteration.json beside this file.

Run it after a change of the JSON:  python _fastpath/tables/generate_transliteration.py
tests/fastpath/test_transliteration.py fails while header and JSON disagree. Not part of a build: the header is
committed.

A character that stands in several lists takes the gentlest: safe, then lossy, then Greek capitals, lossy too.
"""

import json
import runpy
from pathlib import Path

TABLES = Path(__file__).parent
HEADER = TABLES.parent / "transliteration_tables.h"
SAFE, LOSSY = 1, 2
MOST = 6  # septets of a replacement


def replacements() -> dict[int, tuple[int, list[int]]]:
    """Code point -> (level, septets), for every character that the default alphabet lacks."""
    codes: dict[int, int] = runpy.run_path(str(TABLES / "generate_alphabets.py"))["codes"]()
    lists = json.loads((TABLES / "transliteration.json").read_text("utf-8"))
    found: dict[int, tuple[int, list[int]]] = {}
    for name, level in (("greek_upper", LOSSY), ("lossy", LOSSY), ("safe", SAFE)):
        for character, instead in lists[name].items():
            if ord(character) in codes:
                continue
            octets = b"".join(codes[ord(c)].to_bytes(2 if codes[ord(c)] > 0x7F else 1, "big") for c in instead)
            assert len(octets) <= MOST, character
            found[ord(character)] = level, list(octets)
    return found


def render() -> str:
    """The whole header."""
    rows = sorted(replacements().items())
    cells = "\n".join(
        f"    {{0x{cp:04X}, {level}, {len(septets)}, {{{', '.join(f'0x{septet:02X}' for septet in septets) or '0'}}}}},"
        for cp, (level, septets) in rows
    )
    return f"""\
/* Written by tables/generate_transliteration.py from the JSON beside it: change that, not this. */
#ifndef FP_TRANSLITERATION_TABLES_H
#define FP_TRANSLITERATION_TABLES_H
#include <stdint.h>

/* What stands for a character the default alphabet lacks, by code point; septets, an escape pair as two.
   level {SAFE}: the meaning stays; level {LOSSY}: accents, symbols or case are lost. */
struct fp_replacement {{ uint16_t cp; uint8_t level; uint8_t septets; uint8_t instead[{MOST}]; }};
static const struct fp_replacement fp_replacements[{len(rows)}] = {{
{cells}
}};
enum {{ FP_REPLACEMENTS = {len(rows)} }};

#endif
"""


if __name__ == "__main__":
    HEADER.write_text(render(), "utf-8")
