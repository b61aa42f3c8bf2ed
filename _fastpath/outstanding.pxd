from libc.stdint cimport int64_t, uint64_t


cdef struct Place:
    int64_t number          # 0 = free
    int64_t count


cdef class Outstanding:
    cdef readonly int most
    cdef Place* places
    cdef uint64_t mask
    cdef uint64_t taken             # places with a number, those of count 0 too
    cdef Place* find(self, int64_t number) noexcept nogil
    cdef bint has_room(self, int64_t number) noexcept nogil
    cdef int take(self, int64_t number) except -1
    cdef void give(self, int64_t number) noexcept nogil
    cdef int lay_out(self) except -1
