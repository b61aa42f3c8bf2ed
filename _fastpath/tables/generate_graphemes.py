"""Write _fastpath/grapheme_tables.h: the grapheme break class of every code point, as ranges.

    pip install regex; python _fastpath/tables/generate_graphemes.py

The classes are Unicode's Grapheme_Cluster_Break (UAX #29 table 2) and, from the properties its rules GB9c and GB11 ask
for, Indic_Conjunct_Break and Extended_Pictographic; `regex` carries them for the Unicode version the header names.
The header is committed; no build and no run needs `regex`, only tests/fastpath/test_segment.py, which compares.
"""

from pathlib import Path

import regex

HEADER = Path(__file__).parent.parent / "grapheme_tables.h"

# The order is the value in C. LV and LVT are told apart by arithmetic, LV being every 28th of one block. Three linkers
# (U+1CF5, U+1CF6, U+11A3A) are Prepend as well and stay so: as nothing breaks behind a Prepend, GB9c could only speak
# of them with a mark between, which no script writes.
CLASSES = (
    ("OTHER", None),
    ("CR", r"\p{GCB=CR}"),
    ("LF", r"\p{GCB=LF}"),
    ("CONTROL", r"\p{GCB=Control}"),
    ("EXTEND", r"[\p{GCB=Extend}--\p{InCB=Extend}--\p{InCB=Linker}]"),
    ("CONJOINING", r"[\p{GCB=Extend}&&\p{InCB=Extend}]"),
    ("LINKER", r"[\p{GCB=Extend}&&\p{InCB=Linker}]"),
    ("ZWJ", r"\p{GCB=ZWJ}"),
    ("REGIONAL", r"\p{GCB=Regional_Indicator}"),
    ("PREPEND", r"\p{GCB=Prepend}"),
    ("SPACING", r"\p{GCB=SpacingMark}"),
    ("L", r"\p{GCB=L}"),
    ("V", r"\p{GCB=V}"),
    ("T", r"\p{GCB=T}"),
    ("SYLLABLE", r"[\p{GCB=LV}\p{GCB=LVT}]"),
    ("PICTOGRAPH", r"\p{Extended_Pictographic}"),
    ("CONSONANT", r"\p{InCB=Consonant}"),
)


def classes() -> bytearray:
    """Class of each code point; a code point of two classes is a fault of this file's list."""
    found = bytearray(0x110000)
    everything = "".join(map(chr, range(0x110000)))
    for value, (name, pattern) in enumerate(CLASSES[1:], 1):
        for run in regex.finditer(f"(?:{pattern})+", everything, regex.V1):
            first, behind = run.span()
            assert not any(found[first:behind]), f"U+{first:04X}..U+{behind - 1:04X} has a class and is {name}"
            found[first:behind] = bytes([value]) * (behind - first)
    return found


def ranges(found: bytearray) -> list[tuple[int, int]]:
    """(first code point, class) of each run of one class, from U+0000 on."""
    starts = [cp for cp in range(0x110000) if cp == 0 or found[cp] != found[cp - 1]]
    return [(cp, found[cp]) for cp in starts]


def unicode_version() -> str:
    """The version of `regex`'s tables, by the first release that assigned these code points."""
    releases = (("17.0", 0x1FA8A), ("16.0", 0x1FAE9), ("15.1", 0x2FFC), ("15.0", 0x1FAE8))
    return next((version for version, cp in releases if regex.match(r"\p{Assigned}", chr(cp))), "before 15.0")


def render() -> str:
    """The whole header."""
    runs = ranges(classes())
    cells = [f"0x{cp << 8 | value:08X}" for cp, value in runs]
    lines = ",\n    ".join(", ".join(cells[i : i + 10]) for i in range(0, len(cells), 10))
    names = ",\n    ".join(f"GB_{name} = {value}" for value, (name, _) in enumerate(CLASSES))
    return f"""\
/* Written by tables/generate_graphemes.py from `regex` {regex.__version__}, Unicode {unicode_version()}.
   Change that, not this. */
#ifndef FP_GRAPHEME_TABLES_H
#define FP_GRAPHEME_TABLES_H
#include <stdint.h>

enum {{
    {names}
}};

/* First code point << 8 | class, ascending; a run ends where the next begins. */
static const uint32_t fp_grapheme_runs[] = {{
    {lines}
}};
#define FP_GRAPHEME_RUNS ((int)(sizeof(fp_grapheme_runs) / sizeof(fp_grapheme_runs[0])))
#endif
"""


if __name__ == "__main__":
    HEADER.write_text(render(), "utf-8")
