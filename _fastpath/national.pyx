"""Text into GSM by national language tables: a single shift table behind ESC, a locking one for the alphabet itself.

    Turkish "ş"    default          no code: the whole message is UCS-2, 70 characters a part
                   single shift 1   1B 73, two septets, 155 of them beside the element 24 01 01
                   locking shift 1  1C, one septet, 155 of them beside the element 25 01 01

A message that takes a table names it in the header of every part (3GPP TS 23.040 §9.2.3.24.15 and .16; tables: 23.038
annex A). Here code point -> septet is a small open-addressing table, made once for a form.
Not here: which tables a carrier takes, and whether they save a segment (outbound.pyx).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memset

cdef extern from "alphabet_tables.h":
    const uint16_t fp_locking[14][128]
    const uint16_t fp_single[14][128]

cdef enum:
    ESC = 0x1B
    NONE = 0xFFFF

# 3GPP TS 23.038 §6.2.1.2.4
LANGUAGE_BY_NAME = {
    "turkish": 1, "spanish": 2, "portuguese": 3, "bengali": 4, "gujarati": 5, "hindi": 6, "kannada": 7,
    "malayalam": 8, "oriya": 9, "punjabi": 10, "tamil": 11, "telugu": 12, "urdu": 13,
}


def shifts_of(int language):
    """(single shift, locking) pairs by which a language is written: the single table, the locking one, both.

    Spanish has no locking table.
    """
    if not fp_locking[language][0x20]:
        return [(language, 0)]
    return [(language, 0), (0, language), (language, language)]


cdef inline uint32_t _place(uint32_t cp) noexcept nogil:
    return (cp * 0x9E3779B1U) >> 23


@cython.final
cdef class National:
    """The codes of a pair of tables.

    single_shift, locking   language 1..13, 0 = the default extension, the default alphabet
    raises                  ValueError for a language outside, or Spanish (2) as locking
    """

    def __init__(self, int single_shift, int locking):
        cdef int code
        if not 0 <= single_shift < 14:
            raise ValueError(f"single_shift: {single_shift}, expected 0..13")
        if not 0 <= locking < 14 or not fp_locking[locking][0x20]:
            raise ValueError(f"locking: {locking}, expected 0, 1 or 3..13")
        self.single_shift = single_shift
        self.locking = locking
        memset(self.codes, 0xFF, sizeof(self.codes))
        # The first entry stays: the alphabet before the shift table, one septet before two; the lowest code of several.
        for code in range(128):
            self._enter(fp_locking[locking][code], <uint16_t>code)
        for code in range(128):
            self._enter(fp_single[single_shift][code], <uint16_t>(ESC << 8 | code))

    cdef void _enter(self, uint16_t cp, uint16_t code) noexcept:
        cdef uint32_t at = _place(cp)
        if cp == 0:
            return
        while self.codes[at] != NONE:
            if self.keys[at] == cp:
                return
            at = (at + 1) & 511
        self.keys[at] = cp
        self.codes[at] = code

    def encode(self, str text):
        """The septets of a text, one an octet; None when the tables lack a character."""
        cdef bytes wide = text.encode("utf-16-be", "surrogatepass")
        cdef bytes octets = PyBytes_FromStringAndSize(NULL, len(wide))
        cdef Py_ssize_t n = self.write(<const uint8_t*>PyBytes_AS_STRING(wide), len(wide),
                                       <uint8_t*>PyBytes_AS_STRING(octets), len(wide))
        return octets[:n] if n >= 0 else None

    cdef Py_ssize_t write(self, const uint8_t* wide, Py_ssize_t octets, uint8_t* dst, Py_ssize_t room) noexcept nogil:
        """Write the septets of UTF-16BE text; how many, -1 when a character has none, -2 when room is short."""
        cdef Py_ssize_t at
        cdef Py_ssize_t written = 0
        cdef uint32_t place, cp
        cdef uint16_t code
        for at in range(0, octets - 1, 2):
            cp = <uint32_t>wide[at] << 8 | wide[at + 1]
            place = _place(cp)
            while self.codes[place] != NONE and self.keys[place] != cp:
                place = (place + 1) & 511
            code = self.codes[place]
            if code == NONE:
                return -1
            if room - written < 2:
                if room == written or code > 0x7F:
                    return -2
            if code > 0x7F:
                dst[written] = ESC
                written += 1
            dst[written] = <uint8_t>(code & 0x7F)
            written += 1
        return written
