from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t

from _fastpath.numbers cimport NumberSet

cdef enum:
    # Of a verdict: the position went on in another chunk, which waits. 0 = it may go, below 0 why it never goes.
    HELD = 1


cdef class Batch:
    cdef readonly int64_t chunk_id
    cdef readonly int64_t run
    cdef readonly int32_t epoch
    cdef readonly int32_t n
    cdef readonly int32_t columns
    cdef object owner               # keeps the claimed octets alive: the field values are read in place
    cdef const uint8_t* base
    cdef int64_t* numbers
    cdef uint32_t* starts           # n * columns, row by row
    cdef int32_t* lengths           # -1 = absent
    cdef readonly int32_t stride
    cdef int32_t cursor             # position of the next rank
    cdef readonly int32_t next_rank  # ranks handed to a bind so far
    cdef readonly int32_t committed  # ranks that a committed watermark covers
    cdef readonly int32_t in_flight  # segments written and not settled, those waiting for another try included
    cdef readonly int32_t refused   # positions that never left, with their reason
    cdef readonly object form       # outbound.Form, dressed by the dispatcher
    cdef readonly double expires_at  # monotonic; infinity = never
    cdef readonly int class_        # gateway.message.MessageClass: a lower number goes first
    cdef readonly int country       # of all its numbers, for limits and pauses; 0 = mixed
    cdef public bint paused         # an operator's word: nothing of it leaves
    cdef readonly tuple limits      # of its sender, run and country
    cdef void* limit_at[4]          # the same, borrowed
    cdef int limit_count
    cdef readonly tuple suppressed  # sets of numbers that have said STOP to its sender, or to all; alive and growing
    cdef void* suppressed_at[4]     # the same, borrowed
    cdef int suppressed_count
    cdef int16_t* verdicts          # of the gate, a position each; NULL = nothing asks the gate
    cdef double* until              # when its window closes, a position each
    cdef readonly double closes_at  # the first of them: from then on the rest is asked anew; infinity = none closes
    cdef set broken                 # positions of which a part was refused for good; None = none yet
    cdef double held_until          # one of its limits has no room before that moment
    cdef readonly bint dropped      # the chunk belongs to another owner now
    cdef int classify(self, int class_, int country) except -1
    cdef int prepare_verdicts(self) except -1
    cdef int judge(self, int32_t pos, int16_t verdict, double until) except -1
    cdef inline double ends_at(self, int32_t pos) noexcept nogil:
        """When a message is worth nothing any more, or may not lie with the carrier any more (QH-6)."""
        if self.until == NULL or self.until[pos] > self.expires_at:
            return self.expires_at
        return self.until[pos]
    cdef inline bint is_suppressed(self, int32_t pos) noexcept nogil:
        cdef int i
        for i in range(self.suppressed_count):
            if (<NumberSet>self.suppressed_at[i]).has(self.numbers[pos]):
                return True
        return False
    cdef inline int32_t position(self, int32_t rank) noexcept nogil:
        return <int32_t>((<int64_t>rank * self.stride + self.chunk_id % self.n) % self.n)
