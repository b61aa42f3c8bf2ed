"""What stands for characters that GSM lacks: see transliteration.pyx."""

from libc.stdint cimport uint8_t

cdef enum:
    SAFE = 1
    LOSSY = 2

cdef Py_ssize_t gsm_in_place_of(
    const uint8_t* wide, Py_ssize_t octets, int level, uint8_t* dst, Py_ssize_t room, int* replaced,
) noexcept nogil
