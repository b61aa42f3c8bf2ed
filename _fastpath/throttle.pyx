"""How many PDUs may leave now: never more than `per_s` in any sliding second, and evenly inside it.

Two bounds, both kept:

    tokens      refill at per_s, at most `burst_s` of them saved: an even flow
    window      PDUs written in the last 1005 buckets of a millisecond: the hard limit. One bucket more than a second,
                so that no sliding second can hold more, wherever it starts; and four that the way to the SMSC may
                squeeze together, for it counts arrivals (with 1001 it saw 101 of 100 within a second, over loopback).
                Costs 0.5 % of the rate

With `gap` a third one: no PDU sooner than 1/per_s after the one before, for SMSCs that measure so (a text of two parts
at an idle moment is refused by them otherwise).
Not here: the adaptive rate (smpp.pace), minutes and days (limit.pyx), a wait (the caller sleeps until `ready_at`).
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.math cimport INFINITY, floor, nextafter
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

cdef enum:
    BUCKETS = 1024
    WINDOW_MS = 1005


cdef int check_rate(int per_s, double burst_s) except -1:
    if not 0 <= per_s <= 10_000_000:
        raise ValueError(f"throttle: expected 0 to 10000000 PDUs a second, got {per_s}")
    if not 0.0 <= burst_s <= 1.0:
        raise ValueError(f"throttle: expected a burst of 0 to 1 s, got {burst_s}")
    return 0


@cython.final
cdef class Throttle:
    """A limit in PDUs a second; 0 = no limit.

    per_s    0 … 10,000,000
    burst_s  seconds of the rate that an idle throttle may save up, at least one PDU
    gap      keep 1/per_s between any two PDUs
    """

    def __cinit__(self, int per_s=0, double burst_s=0.05, bint gap=False):
        check_rate(per_s, burst_s)
        self.milliseconds = <uint32_t*>PyMem_RawCalloc(BUCKETS, sizeof(uint32_t))
        if self.milliseconds == NULL:
            raise MemoryError
        self.per_s = per_s
        self.burst = max(1.0, per_s * burst_s)
        self.gap_s = 1.0 / per_s if gap and per_s else 0.0
        self.spent_at = -INFINITY
        self.tokens = 1.0
        self.refilled_at = -1.0
        self.newest = 0
        self.in_window = 0

    def __dealloc__(self):
        PyMem_RawFree(self.milliseconds)

    def allowance(self, double now):
        """PDUs that may be written at `now` (monotonic seconds)."""
        return self.allowance_at(now)

    def spend(self, int n, double now):
        """Count n PDUs as written at `now`."""
        self.spend_at(n, now)

    @property
    def has_gap(self):
        """Whether it keeps a gap between any two PDUs."""
        return self.gap_s > 0.0

    def change(self, int per_s, double burst_s=0.05, bint gap=False):
        """Set another limit; what was written in the last second still counts."""
        check_rate(per_s, burst_s)
        self.per_s = per_s
        self.gap_s = 1.0 / per_s if gap and per_s else 0.0
        self.burst = max(1.0, per_s * burst_s)
        self.tokens = min(self.tokens, self.burst)

    def ready_at(self, double now):
        """The first moment, not before `now`, when at least one PDU may be written."""
        cdef int64_t k, left
        cdef double at = now
        if self.per_s == 0 or self.allowance_at(now) > 0:
            return now
        # Where the clock's last digit is worth a PDU, the moment that was calculated may be a digit short of it.
        if self.tokens < 1.0:
            # Tokens grow from where they were counted last, which a clock that steps back stands before.
            at = max(now, self.refilled_at) + (1.0 - self.tokens) / self.per_s
            while self.tokens + (at - self.refilled_at) * self.per_s + 1e-9 < 1.0:
                at = nextafter(at, INFINITY)
        if self.gap_s > 0.0:
            at = max(at, self.spent_at + self.gap_s)
        left = self.in_window - self.per_s
        if left >= 0:
            # The oldest buckets leave the window one by one, until there is room for one PDU.
            for k in range(self.newest - WINDOW_MS + 1, self.newest + 1):
                left -= self.milliseconds[k & (BUCKETS - 1)]
                if left < 0:
                    at = max(at, (k + WINDOW_MS) / 1000.0)
                    while <int64_t>floor(at * 1000.0) < k + WINDOW_MS:
                        at = nextafter(at, INFINITY)
                    break
        return at

    cdef void slide(self, double now) noexcept nogil:
        cdef int64_t bucket = <int64_t>floor(now * 1000.0)
        cdef int64_t k
        if bucket <= self.newest:
            return
        if bucket - self.newest >= BUCKETS:
            memset(self.milliseconds, 0, BUCKETS * sizeof(uint32_t))
            self.in_window = 0
        else:
            for k in range(self.newest + 1, bucket + 1):
                # Bucket k - WINDOW_MS falls out as k comes in; the place of k itself was emptied 19 steps ago.
                self.in_window -= self.milliseconds[(k - WINDOW_MS) & (BUCKETS - 1)]
                self.milliseconds[(k - WINDOW_MS) & (BUCKETS - 1)] = 0
        self.newest = bucket

    cdef int allowance_at(self, double now) noexcept nogil:
        cdef int64_t room
        if self.per_s == 0:
            return 0x7FFFFFFF
        self.slide(now)
        if self.refilled_at < 0.0:
            self.refilled_at = now
        if now > self.refilled_at:
            self.tokens += (now - self.refilled_at) * self.per_s
            self.refilled_at = now
            if self.tokens > self.burst:
                self.tokens = self.burst
        room = self.per_s - self.in_window
        # A hair of rounding must not cost a PDU that is due now.
        if self.tokens + 1e-9 < room:
            room = <int64_t>floor(self.tokens + 1e-9)
        if self.gap_s > 0.0 and room > 0:
            room = 1 if now >= self.spent_at + self.gap_s else 0
        return <int>room if room > 0 else 0

    cdef void spend_at(self, int n, double now) noexcept nogil:
        if n <= 0:
            return
        self.slide(now)
        # Without a limit too what was written counts: one may be set within the second.
        if self.per_s:
            self.tokens -= n
        self.spent_at = now
        self.milliseconds[self.newest & (BUCKETS - 1)] += n
        self.in_window += n
