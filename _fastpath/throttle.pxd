from libc.stdint cimport int64_t, uint32_t


cdef class Throttle:
    cdef readonly int per_s
    cdef readonly double burst
    cdef double tokens
    cdef double gap_s               # 0 = none
    cdef double spent_at
    cdef double refilled_at
    cdef uint32_t* milliseconds
    cdef int64_t newest
    cdef int64_t in_window
    cdef int allowance_at(self, double now) noexcept nogil
    cdef void spend_at(self, int n, double now) noexcept nogil
    cdef void slide(self, double now) noexcept nogil
