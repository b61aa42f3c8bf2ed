"""Characters to octets, inline for the rooms that compose: GSM 03.38, UTF-16BE and Latin-1 out of UTF-8.

Source is UTF-8 because templates, Postgres and JSON hand it over as such; no code point array stands between.
Each writer checks the room before it writes, reads nothing at or behind src + n, and stops at the first octet it
cannot carry. What was written before a refusal stays in dst and means nothing.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

cdef extern from "alphabet_tables.h":
    const uint8_t fp_gsm_by_octet[256]
    const uint16_t fp_gsm_near[0x400]
    uint16_t fp_gsm_far(uint32_t cp) noexcept nogil

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    typedef uint8_t fp_octets16 __attribute__((vector_size(16)));

    /* Whether the 16 octets at p are their own septets: printable ASCII but $ @ [ \\ ] ^ _ ` { | } ~ DEL.
       Line ends are left to the table: one comparison less pays more. Becomes SSE2 or NEON, both always there. */
    static inline int fp_gsm_same16(const uint8_t* p)
    {
        fp_octets16 c, odd;
        uint64_t halves[2];
        memcpy(&c, p, 16);
        odd = (fp_octets16)(c < 0x20) | (fp_octets16)(c == 0x24) | (fp_octets16)(c == 0x40)
            | (fp_octets16)((c - 0x5B) < 6) | (fp_octets16)(c > 0x7A);
        memcpy(halves, &odd, 16);
        return (halves[0] | halves[1]) == 0;
    }

    static inline int fp_ascii16(const uint8_t* p)
    {
        uint64_t halves[2];
        memcpy(halves, p, 16);
        return ((halves[0] | halves[1]) & 0x8080808080808080ULL) == 0;
    }

    /* 16 octets of ASCII as UTF-16BE, four at a time spread over a register. */
    static inline void fp_widen16(uint8_t* dst, const uint8_t* src)
    {
        int i;
        for (i = 0; i < 4; i++) {
            uint32_t four;
            uint64_t wide;
            memcpy(&four, src + 4 * i, 4);
            wide = ((uint64_t)four << 16 | four) & 0x0000FFFF0000FFFFULL;
            wide = (wide << 8 | wide) & 0x00FF00FF00FF00FFULL;
            wide <<= 8;
            memcpy(dst + 8 * i, &wide, 8);
        }
    }
    """
    bint fp_gsm_same16(const uint8_t* p) noexcept nogil
    bint fp_ascii16(const uint8_t* p) noexcept nogil
    void fp_widen16(uint8_t* dst, const uint8_t* src) noexcept nogil


cdef inline uint16_t gsm_code(uint32_t cp) noexcept nogil:
    """Septet of a code point (< 0x80), 0x1B00 | code of an escape pair, or 0xFFFF where the alphabet has none."""
    if cp < 0x400:
        return fp_gsm_near[cp]
    return fp_gsm_far(cp)


cdef inline int utf8_next(const uint8_t* p, const uint8_t* end, uint32_t* cp) noexcept nogil:
    """Octets of the character at p (1..4), its code point in cp; -1 when malformed or at the end.

    Malformed as RFC 3629 has it: overlong forms, surrogates and code points above U+10FFFF too.
    """
    cdef uint32_t c
    cdef uint32_t value
    if p >= end:
        return -1
    c = p[0]
    if c < 0x80:
        cp[0] = c
        return 1
    if c < 0xE0:
        if c < 0xC2 or end - p < 2 or (p[1] & 0xC0) != 0x80:
            return -1
        cp[0] = (c & 0x1F) << 6 | (p[1] & 0x3F)
        return 2
    if c < 0xF0:
        if end - p < 3 or (p[1] & 0xC0) != 0x80 or (p[2] & 0xC0) != 0x80:
            return -1
        value = (c & 0x0F) << 12 | <uint32_t>(p[1] & 0x3F) << 6 | (p[2] & 0x3F)
        if value < 0x800 or (value & 0xF800) == 0xD800:
            return -1
        cp[0] = value
        return 3
    if c > 0xF4 or end - p < 4 or (p[1] & 0xC0) != 0x80 or (p[2] & 0xC0) != 0x80 or (p[3] & 0xC0) != 0x80:
        return -1
    value = (c & 0x07) << 18 | <uint32_t>(p[1] & 0x3F) << 12 | <uint32_t>(p[2] & 0x3F) << 6 | (p[3] & 0x3F)
    if value < 0x10000 or value > 0x10FFFF:
        return -1
    cp[0] = value
    return 4


cdef inline Py_ssize_t gsm_from_utf8(const uint8_t* src, Py_ssize_t n, uint8_t* dst, Py_ssize_t room) noexcept nogil:
    """Write the septets of a text, one an octet; how many, -1 when a character has none, -2 when room is short.

    A text that fits the alphabet only as NFC (e + U+0301) is refused here: encode() composes it first.
    """
    cdef const uint8_t* p = src
    cdef const uint8_t* end = src + n
    cdef const uint8_t* block
    cdef uint8_t* out = dst
    cdef uint8_t* limit = dst + room
    cdef uint32_t cp
    cdef uint16_t code
    cdef uint8_t septet
    cdef int step
    while p < end:
        # Most of a text is letters that are their own septets: copied 16 at a time.
        if end - p >= 16 and limit - out >= 16 and fp_gsm_same16(p):
            memcpy(out, p, 16)
            p += 16
            out += 16
            continue
        block = p + 16 if end - p >= 16 else end
        while p < block:
            septet = fp_gsm_by_octet[p[0]]
            if septet != 0xFF:
                if out >= limit:
                    return -2
                out[0] = septet
                out += 1
                p += 1
                continue
            step = utf8_next(p, end, &cp)
            if step < 0:
                return -1
            code = gsm_code(cp)
            if code == 0xFFFF:
                return -1
            if code >= 0x80:
                if limit - out < 2:
                    return -2
                out[0] = 0x1B
                out[1] = code & 0x7F
                out += 2
            else:
                if out >= limit:
                    return -2
                out[0] = <uint8_t>code
                out += 1
            p += step
    return out - dst


cdef inline Py_ssize_t utf16_from_utf8(const uint8_t* src, Py_ssize_t n, uint8_t* dst, Py_ssize_t room) noexcept nogil:
    """Write a text as UTF-16BE without byte order mark; octets written, -1 malformed UTF-8, -2 when room is short."""
    cdef const uint8_t* p = src
    cdef const uint8_t* end = src + n
    cdef const uint8_t* block
    cdef uint8_t* out = dst
    cdef uint8_t* limit = dst + room
    cdef uint32_t cp
    cdef int step
    while p < end:
        if end - p >= 16 and limit - out >= 32 and fp_ascii16(p):
            fp_widen16(out, p)
            p += 16
            out += 32
            continue
        block = p + 16 if end - p >= 16 else end
        while p < block:
            step = utf8_next(p, end, &cp)
            if step < 0:
                return -1
            p += step
            if cp < 0x10000:
                if limit - out < 2:
                    return -2
                out[0] = <uint8_t>(cp >> 8)
                out[1] = <uint8_t>cp
                out += 2
            else:
                if limit - out < 4:
                    return -2
                cp -= 0x10000
                out[0] = <uint8_t>(0xD8 | cp >> 18)
                out[1] = <uint8_t>(cp >> 10)
                out[2] = <uint8_t>(0xDC | (cp >> 8 & 0x03))
                out[3] = <uint8_t>cp
                out += 4
    return out - dst


cdef inline Py_ssize_t latin1_from_utf8(const uint8_t* src, Py_ssize_t n, uint8_t* dst, Py_ssize_t room) noexcept nogil:
    """Write a text as ISO-8859-1; octets written, -1 when a character has none, -2 when room is short."""
    cdef const uint8_t* p = src
    cdef const uint8_t* end = src + n
    cdef const uint8_t* block
    cdef uint8_t* out = dst
    cdef uint8_t* limit = dst + room
    cdef uint32_t cp
    cdef int step
    while p < end:
        if end - p >= 16 and limit - out >= 16 and fp_ascii16(p):
            memcpy(out, p, 16)
            p += 16
            out += 16
            continue
        block = p + 16 if end - p >= 16 else end
        while p < block:
            step = utf8_next(p, end, &cp)
            if step < 0 or cp > 0xFF:
                return -1
            if out >= limit:
                return -2
            out[0] = <uint8_t>cp
            out += 1
            p += step
    return out - dst


cdef inline Py_ssize_t pack_septets(
    const uint8_t* src, Py_ssize_t n, int fill_bits, uint8_t* dst, Py_ssize_t room,
) noexcept nogil:
    """Pack n septets (3GPP TS 23.038 §6.1.2.1.1) behind fill_bits (0..6) zero bits; octets written, -2 when room is
    short. dst may be src: an octet is written only when the septets it is made of have been read."""
    cdef Py_ssize_t octets = (n * 7 + fill_bits + 7) >> 3
    cdef Py_ssize_t i
    cdef Py_ssize_t o = 0
    cdef uint32_t bits = 0
    cdef int held = fill_bits
    if octets > room:
        return -2
    for i in range(n):
        bits |= <uint32_t>(src[i] & 0x7F) << held
        held += 7
        if held >= 8:
            dst[o] = <uint8_t>bits
            o += 1
            bits >>= 8
            held -= 8
    if held > 0:
        dst[o] = <uint8_t>bits
        o += 1
    return o
