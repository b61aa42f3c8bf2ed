"""Durations counted in buckets of at most 6.25 % width, from 1 us to 10 days; adding costs about 2 ns.

Bucket of v microseconds: the exponent of v and the four bits behind its first one, as in HDR histograms.
"""

cimport cython
from libc.math cimport ldexp
from libc.stdint cimport uint64_t
from libc.string cimport memcpy, memset


cdef extern from *:
    int leading_zeros "__builtin_clzll"(unsigned long long) noexcept nogil


cdef inline int bucket_of(uint64_t v) noexcept nogil:
    cdef int exponent
    if v < 16:
        return <int>v
    exponent = 59 - leading_zeros(v)
    return 16 + exponent * 16 + <int>((v >> exponent) - 16)


@cython.final
cdef class Histogram:
    """Counts of durations in microseconds."""

    cdef void add_us(self, double us) noexcept nogil:
        cdef uint64_t v = 0 if not us > 0 else <uint64_t>us if us < 1e15 else 1000000000000000
        cdef int at = bucket_of(v)
        self.counts[at if at < 1024 else 1023] += 1
        self.total += 1

    def add(self, double us):
        """Count one duration; a negative one counts as 0."""
        self.add_us(us)

    def merge(self, Histogram other not None):
        """Add the counts of another histogram."""
        cdef int i
        for i in range(1024):
            self.counts[i] += other.counts[i]
        self.total += other.total

    def copy(self):
        """Take the counts as they stand now."""
        cdef Histogram taken = Histogram()
        memcpy(taken.counts, self.counts, sizeof(self.counts))
        taken.total = self.total
        return taken

    def since(self, Histogram before not None):
        """What was counted after `before` was copied from this histogram, which must not have been cleared since."""
        cdef Histogram taken = self.copy()
        cdef int i
        if before.total > self.total:
            raise ValueError(f"histogram: {self.total} counted, fewer than the {before.total} of the copy before")
        for i in range(1024):
            taken.counts[i] -= before.counts[i]
        taken.total -= before.total
        return taken

    def clear(self):
        """Forget all counts."""
        memset(self.counts, 0, sizeof(self.counts))
        self.total = 0

    def quantile(self, double q):
        """Microseconds at quantile q (0..1): the middle of its bucket; None when nothing was counted."""
        cdef uint64_t rank, seen = 0
        cdef int i, exponent
        if not 0.0 <= q <= 1.0:
            raise ValueError(f"quantile: expected 0 to 1, got {q}")
        if self.total == 0:
            return None
        rank = <uint64_t>(q * (self.total - 1))
        for i in range(1024):
            seen += self.counts[i]
            if seen > rank:
                if i < 32:
                    return float(i)
                exponent = (i - 16) // 16
                return ldexp((16 + (i - 16) % 16) + 0.5, exponent)
        return None

    def below_powers(self, int first, int last):
        """How many durations were shorter than 2**first, 2**(first + 1) … 2**last microseconds, exactly.

        first, last  4 to 59: powers of two are borders of buckets there
        """
        cdef uint64_t seen = 0
        cdef int at = 0, exponent
        if not 4 <= first <= last <= 59:
            raise ValueError(f"below_powers: expected 4 <= first <= last <= 59, got {first} and {last}")
        found = []
        for exponent in range(first, last + 1):
            while at < 16 + (exponent - 4) * 16:
                seen += self.counts[at]
                at += 1
            found.append(seen)
        return found

    @property
    def sum_us(self):
        """The sum of all durations, each taken as the middle of its bucket: at most 3.2 % off."""
        cdef double total = 0.0
        cdef int i
        for i in range(1024):
            if self.counts[i]:
                total += <double>self.counts[i] * (
                    i if i < 32 else ldexp((16 + (i - 16) % 16) + 0.5, (i - 16) // 16))
        return total
