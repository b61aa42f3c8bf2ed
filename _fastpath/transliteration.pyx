"""What stands in GSM for characters that GSM lacks, so that one typographic quote does not make a text UCS-2.

    “Straße – naïve”  safe   not wholly GSM: ï is missing, nothing is changed
                      lossy  "Straße - naive"

safe   quotes, dashes, spaces, dots, invisible characters: the meaning stays
lossy  accents, symbols, the case of Greek letters are lost
A text is changed only as a whole: where one character has nothing that may stand for it, all stay as they are.
The table is data (tables/transliteration.json) and reaches C by tables/generate_transliteration.py.
Not here: whether it saves a segment (outbound.pyx).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint16_t, uint32_t
from libc.string cimport memcpy

from _fastpath.alphabet cimport gsm_code

cdef extern from "transliteration_tables.h":
    struct fp_replacement:
        uint16_t cp
        uint8_t level
        uint8_t septets
        uint8_t* instead
    const fp_replacement fp_replacements[]
    const int FP_REPLACEMENTS

cdef dict LEVELS = {"safe": SAFE, "lossy": LOSSY}


def transliterate(str text, str level="safe"):
    """Put a text into GSM septets, one an octet, with what may stand for what GSM lacks.

    ->      (octets, how many characters were replaced); None where a character has nothing that may stand for it
    raises  ValueError for a level that is not safe or lossy
    """
    cdef bytes wide = text.encode("utf-16-be", "surrogatepass")
    cdef bytes octets = PyBytes_FromStringAndSize(NULL, 3 * len(wide) + 8)
    cdef int replaced = 0
    cdef Py_ssize_t n
    if level not in LEVELS:
        raise ValueError(f"level: {level!r}, expected safe or lossy")
    n = gsm_in_place_of(<const uint8_t*>PyBytes_AS_STRING(wide), len(wide), LEVELS[level],
                        <uint8_t*>PyBytes_AS_STRING(octets), 3 * len(wide) + 8, &replaced)
    return (octets[:n], replaced) if n >= 0 else None


cdef Py_ssize_t gsm_in_place_of(
    const uint8_t* wide, Py_ssize_t octets, int level, uint8_t* dst, Py_ssize_t room, int* replaced,
) noexcept nogil:
    """Write the septets of UTF-16BE text; how many, -1 when a character has nothing that may stand for it, -2 when room
    is short."""
    cdef Py_ssize_t at
    cdef Py_ssize_t written = 0
    cdef uint32_t cp
    cdef uint16_t code
    cdef int low, high, middle
    replaced[0] = 0
    for at in range(0, octets - 1, 2):
        cp = <uint32_t>wide[at] << 8 | wide[at + 1]
        if room - written < 8:
            return -2
        code = gsm_code(cp)
        if code != 0xFFFF:
            if code > 0x7F:
                dst[written] = 0x1B
                written += 1
            dst[written] = <uint8_t>(code & 0x7F)
            written += 1
            continue
        low = 0
        high = FP_REPLACEMENTS
        while high - low > 1:
            middle = (low + high) >> 1
            if fp_replacements[middle].cp <= cp:
                low = middle
            else:
                high = middle
        if fp_replacements[low].cp != cp or fp_replacements[low].level > level:
            return -1
        memcpy(dst + written, fp_replacements[low].instead, fp_replacements[low].septets)
        written += fp_replacements[low].septets
        replaced[0] += 1
    return written
