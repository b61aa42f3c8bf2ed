"""Where a text is cut: see segment.pyx."""

from libc.stdint cimport uint8_t, uint32_t

cdef enum:
    ALPHABET_GSM7 = 0
    ALPHABET_LATIN1 = 1
    ALPHABET_BINARY = 2
    ALPHABET_UCS2 = 3
    ALPHABET_UTF8 = 4

cdef int cut(
    const uint8_t* payload, Py_ssize_t octets, int alphabet, Py_ssize_t single_octets, Py_ssize_t multi_octets,
    bint grapheme, uint32_t* ends, int max_parts, int single_shift, int locking,
) noexcept nogil
