"""A set of phone numbers: 64-bit integers in open addressing, 16 to 32 octets a number, asked without the GIL.

The suppression set of every sender: one look just before the octets are written. 0 marks a free place; numbers are
positive, so it is never a member. Not here: who fills it (stoprows.pyx, dispatch.stops).
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int64_t, uint64_t


cdef inline uint64_t spread(int64_t number) noexcept nogil:
    """Neighbouring numbers far apart (the finaliser of splitmix64)."""
    cdef uint64_t h = <uint64_t>number * 0x9E3779B97F4A7C15ULL
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ULL
    return h ^ (h >> 31)


@cython.final
cdef class NumberSet:
    """A set of positive integers below 2**63."""

    def __cinit__(self, numbers=()):
        self.mask = 63
        self.table = <int64_t*>PyMem_RawCalloc(64, sizeof(int64_t))
        if self.table == NULL:
            raise MemoryError

    def __init__(self, numbers=()):
        for number in numbers:
            self.add(number)

    def __dealloc__(self):
        PyMem_RawFree(self.table)

    def __len__(self):
        return self.count

    def __contains__(self, int64_t number):
        return self.has(number)

    def reserve(self, int64_t numbers):
        """Make room for so many members at once: a set that grows by doubling copies itself each time."""
        if numbers < 0 or numbers > 1 << 40:
            raise ValueError(f"reserve: expected 0 to 2**40 numbers, got {numbers}")
        if <uint64_t>numbers * 2 > self.mask:
            self.grow(<uint64_t>numbers * 2)

    cdef int grow(self, uint64_t places) except -1:
        """Have more than so many places."""
        cdef uint64_t at, i, mask = self.mask
        cdef int64_t* bigger
        while mask < places:
            mask = mask * 2 + 1
        bigger = <int64_t*>PyMem_RawCalloc(mask + 1, sizeof(int64_t))
        if bigger == NULL:
            raise MemoryError
        for i in range(self.mask + 1):
            if self.table[i]:
                at = spread(self.table[i]) & mask
                while bigger[at]:
                    at = (at + 1) & mask
                bigger[at] = self.table[i]
        PyMem_RawFree(self.table)
        self.table = bigger
        self.mask = mask
        return 0

    cpdef bint add(self, int64_t number) except -1:
        """Enter a number; -> whether it is new. ValueError below 1."""
        cdef uint64_t at
        if number < 1:
            raise ValueError(f"number: expected a positive integer, got {number}")
        if <uint64_t>self.count * 2 > self.mask:
            self.grow(self.mask + 1)
        at = spread(number) & self.mask
        while self.table[at]:
            if self.table[at] == number:
                return False
            at = (at + 1) & self.mask
        self.table[at] = number
        self.count += 1
        return True

    cpdef bint discard(self, int64_t number) except -1:
        """Take a number out; -> whether it was there."""
        cdef uint64_t hole, at, home
        if number < 1 or not self.has(number):
            return False
        hole = spread(number) & self.mask
        while self.table[hole] != number:
            hole = (hole + 1) & self.mask
        # Close the gap: every later member of the run that may stand in the hole moves there (no tombstones).
        at = hole
        while True:
            at = (at + 1) & self.mask
            if self.table[at] == 0:
                break
            home = spread(self.table[at]) & self.mask
            if ((at - home) & self.mask) >= ((at - hole) & self.mask):
                self.table[hole] = self.table[at]
                hole = at
        self.table[hole] = 0
        self.count -= 1
        return True

    cdef bint has(self, int64_t number) noexcept nogil:
        cdef uint64_t at = spread(number) & self.mask
        while self.table[at]:
            if self.table[at] == number:
                return True
            at = (at + 1) & self.mask
        return False
