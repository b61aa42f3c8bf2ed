from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef struct Taken:
    uint32_t who            # a hash of source, destination and width; 0 = free
    uint32_t step           # the last one given out


cdef class References:
    cdef Taken* table
    cdef uint32_t mask
    cdef uint32_t used      # places that are not free, those of the past too
    cdef uint32_t[2] floor  # the first step of each width, 8 and 16 bits; 0 = nothing asked yet
    cdef uint32_t give(self, uint64_t source_key, int64_t number, double wall_s, int bits) except? 0xFFFFFFFF
    cdef int tidy(self, uint32_t now_8, uint32_t now_16) except -1
