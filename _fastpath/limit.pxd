from libc.stdint cimport int64_t, uint32_t

from _fastpath.throttle cimport Throttle


cdef class Span:
    cdef int64_t most
    cdef int64_t used
    cdef int64_t newest             # the bucket that `now` falls into
    cdef int64_t size               # buckets kept: one more than the span
    cdef double width_s
    cdef uint32_t* counts
    cdef void slide(self, double now) noexcept nogil
    cdef int64_t room(self, double now) noexcept nogil
    cdef void add(self, int64_t n, double now) noexcept nogil
    cdef void recall(self, int64_t n, double at) noexcept nogil
    cdef void clear(self) noexcept nogil
    cdef double ready_at(self, int64_t n, double now) noexcept nogil


cdef class Limit:
    cdef readonly str name
    cdef readonly bint per_message
    cdef readonly Throttle throttle
    cdef Span minute
    cdef Span day
    cdef int allowance_at(self, double now) noexcept nogil
    cdef bint has_room(self, int n, double now) noexcept nogil
    cdef void spend_at(self, int n, double now) noexcept nogil
    cdef double ready(self, int n, double now) noexcept
