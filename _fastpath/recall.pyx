"""Which segment a message_id belongs to, for the receipts that come while the memory is fresh.

Two tables of open addressing, young and old; when the young one holds `capacity` ids it becomes the old one, and the old
one is forgotten. So the last `capacity` ids at least are known, in bounded memory: 64 octets an id at the most.

A receipt that is found here is written with its chunk and position at once; one that is not (early, weeks late, another
worker's, after a restart) waits in Postgres and is matched there. This is a short cut, never the record.

Ids are kept as a 64-bit hash and 32 bits of another: two different ids meet once in about 10^17 pairs.
"""

from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


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


cdef class Recall:
    """Remembers at least the last `capacity` message_ids (1 … 16 M), at most twice as many."""

    def __cinit__(self, int capacity=1 << 18):
        if not 1 <= capacity <= 1 << 24:
            raise ValueError(f"recall: expected 1 to {1 << 24} ids, got {capacity}")
        self.capacity = capacity
        self.young_mask = 63
        self.young = <Memory*>PyMem_RawCalloc(64, sizeof(Memory))
        self.old = NULL
        if self.young == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.young)
        PyMem_RawFree(self.old)

    def add(self, bytes message_id, int64_t chunk_id, int32_t pos, int segment=1, double sent_at=0.0):
        """Remember an id."""
        self.remember(<const uint8_t*><const char*>message_id, <int>len(message_id), chunk_id, pos, segment, sent_at)

    def get(self, bytes message_id):
        """-> (chunk_id, pos, segment) or None."""
        cdef Memory* memory = self.find(<const uint8_t*><const char*>message_id, <int>len(message_id))
        if memory == NULL:
            return None
        return memory.chunk_id, memory.pos, memory.segment

    cdef int remember(self, const uint8_t* message_id, int octets, int64_t chunk_id, int32_t pos, int segment, double sent_at) except -1:
        cdef uint64_t key = hash_id(message_id, octets)
        cdef uint32_t at, i, mask
        cdef Memory* bigger
        if self.kept >= self.capacity:
            PyMem_RawFree(self.old)
            self.old = self.young
            self.old_mask = self.young_mask
            self.young = <Memory*>PyMem_RawCalloc(<size_t>self.old_mask + 1, sizeof(Memory))
            if self.young == NULL:
                raise MemoryError
            self.kept = 0
        elif <uint32_t>self.kept * 2 > self.young_mask:
            mask = self.young_mask * 2 + 1
            bigger = <Memory*>PyMem_RawCalloc(<size_t>mask + 1, sizeof(Memory))
            if bigger == NULL:
                raise MemoryError
            for i in range(self.young_mask + 1):
                if self.young[i].key:
                    at = <uint32_t>self.young[i].key & mask
                    while bigger[at].key:
                        at = (at + 1) & mask
                    bigger[at] = self.young[i]
            PyMem_RawFree(self.young)
            self.young = bigger
            self.young_mask = mask
        at = <uint32_t>key & self.young_mask
        while self.young[at].key and self.young[at].key != key:
            at = (at + 1) & self.young_mask
        if self.young[at].key == 0:
            self.kept += 1
        self.young[at].key = key
        self.young[at].check = check_id(message_id, octets)
        self.young[at].chunk_id = chunk_id
        self.young[at].pos = pos
        self.young[at].segment = <uint16_t>segment
        self.young[at].sent_10us = <uint32_t><uint64_t>(sent_at * 1e5)
        return 0

    cdef Memory* find(self, const uint8_t* message_id, int octets) noexcept:
        cdef uint64_t key = hash_id(message_id, octets)
        cdef uint32_t at = <uint32_t>key & self.young_mask
        cdef uint32_t check = check_id(message_id, octets)
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
