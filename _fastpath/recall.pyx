"""Which segment a message_id belongs to, for the receipts that come while the memory is fresh.

Two tables of open addressing, young and old; when the young one holds `capacity` ids it becomes the old one, and the
old one is forgotten. So the last `capacity` ids at least are known, in bounded memory: 64 octets an id at the most.

What is added waits in a ring of 16 while the processor fetches its place: the tables are larger than any cache, and a
miss for every message cost 0.2 us (perf, window 1000). Pages of 2 MB are asked for, for the same reason.

A receipt that is found here is written with its chunk and position at once; one that is not (early, weeks late, another
worker's, after a restart) waits in Postgres and is matched there. This is a short cut, never the record.

Ids are kept as a 64-bit hash and 32 bits of another: two different ids meet once in about 10^17 pairs.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* Zeroed octets, on pages of 2 MB where the system has them and the table is worth one. */
    static void* fp_table(size_t octets) {
        void* table = NULL;
        if (posix_memalign(&table, octets >= (1u << 21) ? (1u << 21) : 64, octets)) return NULL;
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (octets >= (1u << 21)) madvise(table, octets, MADV_HUGEPAGE);
    #endif
        memset(table, 0, octets);
        return table;
    }
    #define fp_prefetch(p) __builtin_prefetch((p), 1)
    """
    void* fp_table(size_t octets) nogil
    void fp_prefetch(const void* p) noexcept nogil


cdef inline uint64_t hash_id(const uint8_t* p, int octets) noexcept nogil:
    """64 bits out of an id of any length; never 0."""
    cdef uint64_t h = 0x9E3779B97F4A7C15ULL ^ (<uint64_t>octets * 0xFF51AFD7ED558CCDULL)
    cdef uint64_t word
    while octets >= 8:
        memcpy(&word, p, 8)
        h = (h ^ word) * 0xBF58476D1CE4E5B9ULL
        h ^= h >> 29
        p += 8
        octets -= 8
    if octets > 0:
        word = 0
        memcpy(&word, p, octets)
        h = (h ^ word) * 0xBF58476D1CE4E5B9ULL
        h ^= h >> 29
    h *= 0x94D049BB133111EBULL
    h ^= h >> 32
    return h if h else 1


cdef inline uint32_t check_id(const uint8_t* p, int octets) noexcept nogil:
    cdef uint32_t h = 2166136261u
    cdef int i
    for i in range(octets):
        h = (h ^ p[i]) * 16777619u
    return h


@cython.final
cdef class Recall:
    """Remembers at least the last `capacity` message_ids (1 … 16 M), at most twice as many."""

    def __cinit__(self, int capacity=1 << 18):
        if not 1 <= capacity <= 1 << 24:
            raise ValueError(f"recall: expected 1 to {1 << 24} ids, got {capacity}")
        self.capacity = capacity
        self.young_mask = 63
        self.young = <Memory*>fp_table(64 * sizeof(Memory))
        self.old = NULL
        if self.young == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.young)
        free(self.old)

    def add(self, bytes message_id, int64_t chunk_id, int32_t pos, int segment=1, double sent_at=0.0):
        """Remember an id."""
        self.remember(<const uint8_t*><const char*>message_id, <int>len(message_id), chunk_id, pos, segment, sent_at)

    def get(self, bytes message_id):
        """-> (chunk_id, pos, segment) or None."""
        cdef Memory* memory = self.find(<const uint8_t*><const char*>message_id, <int>len(message_id))
        if memory == NULL:
            return None
        return memory.chunk_id, memory.pos, memory.segment

    cdef int remember(self, const uint8_t* message_id, int octets,
                      int64_t chunk_id, int32_t pos, int segment, double sent_at) except -1:
        cdef Memory* entry
        if self.pending == PENDING:
            self.enter()
        entry = &self.ring[self.pending]
        entry.key = hash_id(message_id, octets)
        entry.check = check_id(message_id, octets)
        entry.chunk_id = chunk_id
        entry.pos = pos
        entry.segment = <uint16_t>segment
        entry.sent_10us = <uint32_t><uint64_t>(sent_at * 1e5)
        fp_prefetch(&self.young[<uint32_t>entry.key & self.young_mask])
        self.pending += 1
        return 0

    cdef int enter(self) except -1:
        """Put what waits in the ring into the young table."""
        cdef uint32_t at
        cdef int i
        cdef Memory* entry
        for i in range(self.pending):
            if self.kept >= self.capacity or <uint32_t>self.kept * 2 > self.young_mask:
                self.make_room()
            entry = &self.ring[i]
            at = <uint32_t>entry.key & self.young_mask
            while self.young[at].key and self.young[at].key != entry.key:
                at = (at + 1) & self.young_mask
            if self.young[at].key == 0:
                self.kept += 1
            self.young[at] = entry[0]
        self.pending = 0
        return 0

    cdef int make_room(self) except -1:
        """Double the young table, or, when it holds `capacity` ids, let it grow old."""
        cdef uint32_t at, i, mask
        cdef Memory* table
        if self.kept >= self.capacity:
            table = self.old
            if table != NULL and self.old_mask == self.young_mask:
                memset(table, 0, (<size_t>self.old_mask + 1) * sizeof(Memory))
            else:
                free(table)
                table = <Memory*>fp_table((<size_t>self.young_mask + 1) * sizeof(Memory))
                if table == NULL:
                    self.old = NULL
                    raise MemoryError
            self.old = self.young
            self.old_mask = self.young_mask
            self.young = table
            self.kept = 0
            return 0
        mask = self.young_mask * 2 + 1
        table = <Memory*>fp_table((<size_t>mask + 1) * sizeof(Memory))
        if table == NULL:
            raise MemoryError
        for i in range(self.young_mask + 1):
            if self.young[i].key:
                at = <uint32_t>self.young[i].key & mask
                while table[at].key:
                    at = (at + 1) & mask
                table[at] = self.young[i]
        free(self.young)
        self.young = table
        self.young_mask = mask
        return 0

    cdef Memory* find(self, const uint8_t* message_id, int octets) noexcept:
        cdef uint64_t key = hash_id(message_id, octets)
        cdef uint32_t at = <uint32_t>key & self.young_mask
        cdef uint32_t check = check_id(message_id, octets)
        cdef int i
        # A receipt right behind its response: the newest entries have not left the ring.
        for i in range(self.pending - 1, -1, -1):
            if self.ring[i].key == key and self.ring[i].check == check:
                return &self.ring[i]
        while self.young[at].key:
            if self.young[at].key == key and self.young[at].check == check:
                return &self.young[at]
            at = (at + 1) & self.young_mask
        if self.old != NULL:
            at = <uint32_t>key & self.old_mask
            while self.old[at].key:
                if self.old[at].key == key and self.old[at].check == check:
                    return &self.old[at]
                at = (at + 1) & self.old_mask
        return NULL
