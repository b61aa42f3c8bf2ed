"""How many messages to one number wait for their response: carriers allow x of them, often one.

Open addressing by number, 16 octets a place; a number whose count falls to 0 leaves its place behind until the table
is laid out anew. Only carriers with such a limit have one. Not here: who waits, and for how long (exchange.pyx).
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int64_t, uint64_t


@cython.final
cdef class Outstanding:
    """At most `most` (from 1) unanswered requests to one number."""

    def __cinit__(self, int most):
        if most < 1:
            raise ValueError(f"outstanding: expected at least 1, got {most}")
        self.most = most
        self.mask = 63
        self.places = <Place*>PyMem_RawCalloc(64, sizeof(Place))
        if self.places == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.places)

    def count(self, int64_t number):
        """Unanswered requests to a number."""
        return self.find(number).count

    def enter(self, int64_t number):
        """One more."""
        self.take(number)

    def leave(self, int64_t number):
        """One is answered, or given up."""
        self.give(number)

    cdef Place* find(self, int64_t number) noexcept nogil:
        """The place of a number, or the free one where it would stand."""
        cdef uint64_t h = <uint64_t>number * 0x9E3779B97F4A7C15ULL
        cdef uint64_t at = (h ^ (h >> 29)) & self.mask
        while self.places[at].number and self.places[at].number != number:
            at = (at + 1) & self.mask
        return &self.places[at]

    cdef bint has_room(self, int64_t number) noexcept nogil:
        return self.find(number).count < self.most

    cdef int take(self, int64_t number) except -1:
        cdef Place* place = self.find(number)
        if place.number == 0:
            if self.taken * 2 >= self.mask:
                self.lay_out()
                place = self.find(number)
            place.number = number
            self.taken += 1
        place.count += 1
        return 0

    cdef void give(self, int64_t number) noexcept nogil:
        cdef Place* place = self.find(number)
        if place.count > 0:
            place.count -= 1

    cdef int lay_out(self) except -1:
        """A new table, without the numbers that nobody waits for."""
        cdef Place* old = self.places
        cdef uint64_t i, end = self.mask + 1, living = 0
        cdef Place* place
        for i in range(end):
            if old[i].count > 0:
                living += 1
        while self.mask < living * 4:
            self.mask = self.mask * 2 + 1
        self.places = <Place*>PyMem_RawCalloc(self.mask + 1, sizeof(Place))
        if self.places == NULL:
            self.places = old
            self.mask = end - 1
            raise MemoryError
        self.taken = living
        for i in range(end):
            if old[i].count > 0:
                place = self.find(old[i].number)
                place[0] = old[i]
        PyMem_RawFree(old)
        return 0
