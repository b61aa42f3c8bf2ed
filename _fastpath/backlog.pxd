from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from _fastpath.batch cimport Batch


cdef struct Again:
    void* batch             # borrowed, as in window.Slot
    int32_t pos
    uint16_t segment        # from 1; 0 = the whole message, of which nothing was written yet
    uint16_t segments
    uint16_t attempt
    uint32_t reference      # of its message's parts
    uint32_t status         # that the SMSC refused it with; 0 = it never left
    double not_before


cdef struct Delayed:
    Again again
    uint64_t serial


cdef class AgainQueue:
    cdef Again* items
    cdef Py_ssize_t first
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t room
    cdef int push(self, Again* item) except -1
    cdef Again* head(self) noexcept
    cdef void pop(self) noexcept


cdef class Later:
    cdef Delayed* items
    cdef readonly Py_ssize_t count
    cdef Py_ssize_t room
    cdef uint64_t serial
    cdef int push(self, Again* item) except -1
    cdef Again* head(self) noexcept
    cdef void pop(self) noexcept


cdef class Backlog:
    cdef list lists
    cdef Batch head
    cdef dict open
    cdef list finished
    cdef readonly AgainQueue throttled
    cdef readonly Later delayed
    cdef readonly AgainQueue urgent_throttled
    cdef readonly Later urgent_delayed
    cdef readonly double hold_until
    cdef readonly int64_t handed_out
    # nothing at all leaves, segments to be sent again included: an operator paused the carrier
    cdef public bint paused
    # nothing is begun or goes on at or after that monotonic moment: our lease may be another's
    cdef public double fence_at
    cdef double promotional_until_
    cdef double recheck_at          # a batch that lacked room may have it then
    cdef double head_until          # the choice of the head stands so long
    cdef bint lacks_intent
    cdef bint lacks_feed
    cdef bint is_bulks_turn
    cdef int turn                   # messages until the other of the two shared classes has its turn
    cdef int finish(self, Batch batch) except -1
    cdef int sweep(self) except -1
    cdef int leave_list(self, Batch batch, list waiting, Py_ssize_t at) except -1
    cdef Batch current(self, double now)
    cdef Batch choose(self, double now)
    cdef bint pop_again(self, bint urgent, double now, Again* item) noexcept
    cdef int throttle(self, Again* item) except -1
    cdef int delay(self, Again* item) except -1
    cdef int settle(self, Batch batch, int segments) except -1
    cdef list drain(self, AgainQueue throttled, Later delayed, list found)
    cdef int refuse(self, Batch batch) except -1
