from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Memory:
    uint64_t key            # 0 = free
    int64_t chunk_id
    int32_t pos
    uint32_t check
    uint32_t sent_10us
    uint16_t segment
    uint16_t unused


cdef enum:
    PENDING = 16


cdef class Recall:
    cdef Memory ring[16]
    cdef int pending
    cdef Memory* young
    cdef Memory* old
    cdef uint32_t young_mask
    cdef uint32_t old_mask
    cdef readonly int kept
    cdef readonly int capacity
    cdef int remember(self, const uint8_t* message_id, int octets,
                      int64_t chunk_id, int32_t pos, int segment,
                      double sent_at) except -1
    cdef int enter(self) except -1
    cdef int make_room(self) except -1
    cdef Memory* find(self, const uint8_t* message_id, int octets) noexcept
