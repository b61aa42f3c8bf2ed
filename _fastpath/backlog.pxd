from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t

from _fastpath.batch cimport Batch


cdef struct Again:
    void* batch             # borrowed, as in window.Slot
    int32_t pos
    uint16_t segment
    uint16_t segments
    uint16_t attempt
    uint32_t reference      # of its message's parts
    double not_before


cdef class AgainQueue:
    cdef Again* items
    cdef Py_ssize_t first
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t room
    cdef int push(self, Again* item) except -1
    cdef Again* head(self) noexcept
    cdef void pop(self) noexcept


cdef class Backlog:
    cdef list waiting
    cdef Batch head
    cdef dict open
    cdef list finished
    cdef readonly AgainQueue throttled
    cdef readonly AgainQueue delayed
    cdef readonly double hold_until
    cdef readonly int64_t handed_out
    cdef int finish(self, Batch batch) except -1
    cdef Batch current(self)
    cdef bint pop_again(self, double now, Again* item) noexcept
    cdef int settle(self, Batch batch, int segments) except -1
    cdef int refuse(self, Batch batch) except -1
