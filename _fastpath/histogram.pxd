from libc.stdint cimport uint64_t


cdef class Histogram:
    cdef uint64_t counts[1024]
    cdef readonly uint64_t total
    cdef void add_us(self, double us) noexcept nogil
