from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t


cdef union Whose:
    void* batch             # borrowed: the backlog keeps a batch while any of its segments is unsettled; NULL = none
    int64_t chunk_id        # of a tombstone, whose batch may be gone


cdef union Kept:
    uint32_t reference      # in flight: of its message's parts
    int32_t epoch           # of a tombstone


cdef enum:
    # Slot.late
    TOMBSTONE = 1           # the response timer fired; the slot remembers until the session dies
    NAMELESS = 2            # it belonged to no batch
    RECEIPTED = 4           # a receipt was asked for


cdef struct Slot:
    uint32_t sequence       # 0 = free
    int32_t pos
    Kept kept
    uint8_t segment
    uint8_t segments
    uint8_t attempt
    uint8_t late            # 0 = in flight
    Whose whose
    double sent_at


cdef class Window:
    cdef Slot* slots
    cdef uint32_t mask
    cdef readonly int size
    cdef readonly int in_flight
    cdef uint32_t next
    cdef Slot* open_slot(self, double now) except NULL nogil
    cdef Slot* find(self, uint32_t sequence) noexcept nogil
    cdef void free_slot(self, Slot* slot) noexcept nogil
    cdef void bury(self, Slot* slot, int64_t chunk_id, int32_t epoch, int kind) noexcept nogil
    cdef int grow(self) except -1 nogil
    cdef uint32_t take_sequence(self) except 0 nogil
