from libc.stdint cimport uint8_t, uint16_t


cdef class National:
    cdef readonly int single_shift
    cdef readonly int locking
    cdef uint16_t keys[512]
    cdef uint16_t codes[512]
    cdef void _enter(self, uint16_t cp, uint16_t code) noexcept
    cdef Py_ssize_t write(self, const uint8_t* wide, Py_ssize_t octets, uint8_t* dst, Py_ssize_t room) noexcept nogil
