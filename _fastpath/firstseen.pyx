"""Where a number was first met in a file: an open-addressing table of (number, line).

What it is: the memory of one import, 16 octets a slot and at most 3/4 full: a million numbers take 32 MB, where a dict
of Python ints takes about 120. What it is not: the suppression set, which lives as long as the sender (numbers.pyx).
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free

cdef struct Slot:
    int64_t number           # 0 = free; no phone number is 0
    int64_t line


cdef inline uint64_t scatter(uint64_t n) noexcept nogil:
    """Spread consecutive numbers over the slots (the finaliser of splitmix64)."""
    n = (n ^ (n >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    n = (n ^ (n >> 27)) * <uint64_t>0x94D049BB133111EB
    return n ^ (n >> 31)


@cython.final
@cython.auto_pickle(False)
cdef class FirstSeen:
    """The numbers met so far, each with the line of its first appearance."""

    cdef Slot* slots
    cdef Py_ssize_t mask
    cdef Py_ssize_t used

    def __cinit__(self):
        self.slots = <Slot*>calloc(4096, sizeof(Slot))
        if self.slots == NULL:
            raise MemoryError("first-seen table")
        self.mask = 4095
        self.used = 0

    def __dealloc__(self):
        free(self.slots)

    def __len__(self):
        return self.used

    cdef inline Slot* find(self, int64_t number) noexcept nogil:
        cdef Py_ssize_t at = <Py_ssize_t>(scatter(<uint64_t>number) & <uint64_t>self.mask)
        while self.slots[at].number != 0 and self.slots[at].number != number:
            at = (at + 1) & self.mask
        return &self.slots[at]

    cdef int grow(self) except -1:
        cdef Slot* old = self.slots
        cdef Py_ssize_t size = self.mask + 1, i
        cdef Slot* new = <Slot*>calloc(<size_t>size * 2, sizeof(Slot))
        if new == NULL:
            raise MemoryError(f"first-seen table of {size * 2} slots")
        self.slots, self.mask = new, size * 2 - 1
        for i in range(size):
            if old[i].number != 0:
                self.find(old[i].number)[0] = old[i]
        free(old)
        return 0

    def add(self, const int64_t[::1] numbers not None, const int64_t[::1] lines not None, int64_t[::1] firsts not None):
        """Enter a block; say which numbers were there before.

        numbers  0 = skip
        lines    the line each stands in, over 0
        firsts   filled: 0 for a first appearance (or a skipped item), else the line of the first
        ->       int, how many were there before
        raises   ValueError when lines or firsts are shorter than numbers; MemoryError
        cost     15-60 ns a number, by the size of the table
        """
        cdef Py_ssize_t n = numbers.shape[0], i
        cdef Py_ssize_t known = 0
        cdef Slot* slot
        if lines.shape[0] < n or firsts.shape[0] < n:
            raise ValueError(f"lines and firsts: {lines.shape[0]} and {firsts.shape[0]} items for {n} numbers")
        for i in range(n):
            firsts[i] = 0
            if numbers[i] == 0:
                continue
            if self.used * 4 >= (self.mask + 1) * 3:
                self.grow()
            slot = self.find(numbers[i])
            if slot.number == 0:
                slot.number, slot.line = numbers[i], lines[i]
                self.used += 1
            else:
                firsts[i] = slot.line
                known += 1
        return known
