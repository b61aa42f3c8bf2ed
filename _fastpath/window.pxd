from libc.stdint cimport uint16_t, int32_t, uint32_t, uint64_t


cdef struct Slot:
    uint32_t sequence       # 0 = free
    uint16_t segment
    uint16_t segments
    void* batch             # borrowed: the backlog keeps a batch while any of its segments is unanswered
    int32_t pos
    uint16_t attempt
    uint16_t late           # 1 = the response timer fired; the slot remembers until the session dies
    double sent_at


cdef class Window:
    cdef Slot* slots
    cdef uint32_t mask
    cdef readonly int size
    cdef readonly int in_flight
    cdef uint32_t next
    cdef uint32_t oldest
    cdef Slot* open_slot(self, double now) except NULL nogil
    cdef Slot* find(self, uint32_t sequence) noexcept nogil
    cdef void free_slot(self, Slot* slot) noexcept nogil
    cdef int grow(self) except -1 nogil
    cdef uint32_t take_sequence(self) except 0 nogil
