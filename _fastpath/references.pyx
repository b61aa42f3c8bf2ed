"""The reference of a concatenated message: no two alike from one source to one number within 24 hours.

A handset joins parts by (source, reference, parts in all): a second message with the reference of the first, while
parts of the first are missing, is joined with them. Time itself counts, so that nothing is stored over a restart:

    step     = max(step of the clock, last step of this source and number + 1)
    reference = (step + hash of source and number) mod 2**bits

    wall     ──┬──────┬──────┬──────┬──────►   a step is 1.5 s with 16 bits, 337.5 s with 8
    step       700    701    702    703
    messages   a      bcd           e          a 700, b 701, c 702, d 703, e 704

16 bits of 1.5 s are 27.3 hours: a burst to one number may run 3.3 hours ahead of the clock, 7936 messages, and still no
reference comes twice within 24 hours. Beyond that, and with 8 bits, all 65,536 or 256 are used before one comes again.
Only sources and numbers whose last step the clock has not passed are remembered, 8 octets each; two with one hash share
their steps, which keeps the promise. The step of the clock at the first question is left out: another process may have
used it just before.
Two processes that send from one source to one number within one step, or that both began in it, know nothing of each
other.
Not here: which messages need a reference (exchange.pyx), where it is written (outbound.pyx).
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.math cimport floor
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef enum:
    SMALLEST = 64

cdef double STEP_16_S = 1.5
cdef double STEP_8_S = 86400.0 / 256.0


cdef inline uint64_t _spread(uint64_t h) noexcept nogil:
    """Neighbours far apart (the finaliser of splitmix64)."""
    h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9ULL
    h = (h ^ (h >> 27)) * 0x94D049BB133111EBULL
    return h ^ (h >> 31)


cdef inline uint32_t _step_of(double wall_s, double step_s) noexcept nogil:
    """The step of the clock, from 1; a clock before its epoch stands still."""
    cdef double step = floor(wall_s / step_s)
    if not step >= 0.0:
        return 1
    return <uint32_t>(<uint64_t>min(step, 4.0e9) + 1)


@cython.final
cdef class References:
    """What was given out of late; one for all binds, and for all carriers, of a process."""

    def __cinit__(self):
        self.mask = SMALLEST - 1
        self.table = <Taken*>PyMem_RawCalloc(SMALLEST, sizeof(Taken))
        if self.table == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.table)

    def __len__(self):
        """Sources and numbers remembered, those that the clock has passed since too."""
        return self.used

    def take(self, uint64_t source_key, int64_t number, double wall_s, int bits=16):
        """The next reference from a source to a number.

        source_key  stands for the source address (Form.source_key)
        wall_s      seconds of the wall clock, from any fixed moment; 0 or more
        bits        8 or 16
        raises      ValueError for another width
        """
        if bits != 8 and bits != 16:
            raise ValueError(f"bits: {bits}, expected 8 or 16")
        return self.give(source_key, number, wall_s, bits)

    cdef uint32_t give(self, uint64_t source_key, int64_t number, double wall_s, int bits) except? 0xFFFFFFFF:
        """As take(); bits is 8 or 16."""
        cdef int width = 0 if bits == 8 else 1
        cdef uint64_t h = _spread(source_key ^ <uint64_t>number * 0x9E3779B97F4A7C15ULL)
        # Never 0; the lowest bit tells the widths apart, whose steps are of different lengths.
        cdef uint32_t who = (<uint32_t>h & ~<uint32_t>3) | 2 | <uint32_t>width
        cdef uint32_t step = _step_of(wall_s, STEP_8_S if width == 0 else STEP_16_S)
        cdef uint32_t at
        cdef Taken* place
        if self.floor[width] == 0:
            self.floor[width] = step + 1
        if step < self.floor[width]:
            step = self.floor[width]
        if self.used * 4 > self.mask * 3:
            self.tidy(_step_of(wall_s, STEP_8_S), _step_of(wall_s, STEP_16_S))
        at = who >> 2 & self.mask
        while True:
            place = &self.table[at]
            if place.who == who:
                # Also what the clock has passed: it is the same source and number.
                if place.step >= step:
                    step = place.step + 1
                break
            if place.who == 0:
                place.who = who
                self.used += 1
                break
            at = (at + 1) & self.mask
        place.step = step
        return (step + <uint32_t>(h >> 32)) & (0xFF if width == 0 else 0xFFFF)

    cdef int tidy(self, uint32_t now_8, uint32_t now_16) except -1:
        """Forget what the clock has passed, and take a table that what is left fills to a half at most."""
        cdef Taken* old = self.table
        cdef Taken* table
        cdef uint32_t i, at, kept = 0, mask = SMALLEST - 1
        now_8 = max(now_8, self.floor[0])
        now_16 = max(now_16, self.floor[1])
        for i in range(self.mask + 1):
            if old[i].who and old[i].step >= (now_16 if old[i].who & 1 else now_8):
                kept += 1
        while mask + 1 < 4 * kept:
            mask = 2 * mask + 1
        table = <Taken*>PyMem_RawCalloc(<size_t>mask + 1, sizeof(Taken))
        if table == NULL:
            raise MemoryError
        for i in range(self.mask + 1):
            if old[i].who and old[i].step >= (now_16 if old[i].who & 1 else now_8):
                at = old[i].who >> 2 & mask
                while table[at].who:
                    at = (at + 1) & mask
                table[at] = old[i]
        PyMem_RawFree(old)
        self.table = table
        self.mask = mask
        self.used = kept
        return 0
