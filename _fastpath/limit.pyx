"""One limit of a carrier's tree: per second, per minute and per day, in PDUs or in messages.

    bind ─ host ─ account        one Exchange: every PDU it writes is counted by each of them
    sender ─ campaign ─ country  one Batch: a chunk has one sender, one run, one country

All of them must have room before any is spent, so a small limit never burns what a big one allows. Each is hard: no
sliding second, minute or day holds more, wherever it starts. A minute is counted in buckets of a second, a day in
buckets of a minute, one bucket more than the span as in throttle.pyx.
Limits of senders, campaigns and countries take a message with all its parts or not at all, for parts travel together;
one that is larger than the limit itself goes when nothing else is in the span.
A purse is a limit too: so many messages as were granted, and no more until more are (dispatch/rates.py).
Not here: who hangs under which limit (smpp.carrier), how many may wait for one number (outstanding.pyx).
"""

cimport cython
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.math cimport INFINITY, floor, nextafter
from libc.stdint cimport int64_t, uint32_t
from libc.string cimport memset

from _fastpath.throttle cimport Throttle

cdef enum:
    # A purse is asked again so soon: who grants it cannot name the moment.
    AGAIN_MS = 20

# No clock reaches its end: what counts in such a span counts for good.
cdef double FOR_GOOD_S = 1e18


@cython.final
cdef class Span:
    """At most `most` in any sliding `buckets * width_s` seconds."""

    def __cinit__(self, int64_t most, int buckets, double width_s):
        if most < 1:
            raise ValueError(f"limit: expected at least 1, got {most}")
        if buckets < 1 or width_s <= 0.0:
            raise ValueError(f"limit: expected a span, got {buckets} buckets of {width_s} s")
        self.most = most
        self.width_s = width_s
        self.size = buckets + 1
        self.counts = <uint32_t*>PyMem_RawCalloc(self.size, sizeof(uint32_t))
        if self.counts == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.counts)

    cdef void slide(self, double now) noexcept nogil:
        cdef int64_t bucket = <int64_t>floor(now / self.width_s)
        cdef int64_t k
        if bucket <= self.newest:
            return
        if bucket - self.newest >= self.size:
            memset(self.counts, 0, self.size * sizeof(uint32_t))
            self.used = 0
        else:
            for k in range(self.newest + 1, bucket + 1):
                self.used -= self.counts[k % self.size]
                self.counts[k % self.size] = 0
        self.newest = bucket

    cdef int64_t room(self, double now) noexcept nogil:
        self.slide(now)
        return self.most - self.used if self.used < self.most else 0

    cdef void add(self, int64_t n, double now) noexcept nogil:
        self.slide(now)
        self.counts[self.newest % self.size] += <uint32_t>n
        self.used += n

    cdef void recall(self, int64_t n, double at) noexcept nogil:
        """Count what was written at a moment in the past; what is older than the span does not matter."""
        cdef int64_t bucket = <int64_t>floor(at / self.width_s)
        if bucket > self.newest:
            self.slide(at)
        if self.newest - bucket < self.size and bucket >= 0:
            self.counts[bucket % self.size] += <uint32_t>n
            self.used += n

    cdef void clear(self) noexcept nogil:
        memset(self.counts, 0, self.size * sizeof(uint32_t))
        self.used = 0

    cdef double ready_at(self, int64_t n, double now) noexcept nogil:
        """The first moment when `n` have room, at most all of `most`."""
        cdef int64_t k
        cdef int64_t over
        cdef double at
        self.slide(now)
        over = self.used + n - self.most
        if over <= 0:
            return now
        for k in range(self.newest - self.size + 1, self.newest + 1):
            if k < 0:
                continue
            over -= self.counts[k % self.size]
            if over <= 0:
                at = (k + self.size) * self.width_s
                while <int64_t>floor(at / self.width_s) < k + self.size:
                    at = nextafter(at, INFINITY)
                return at
        return now + self.size * self.width_s


@cython.final
cdef class Limit:
    """What one bind, host, account, sender, campaign or country may send.

    name         whose limit it is, for reports: "account", "sender Sluice"
    per_s        0 … 10,000,000; 0 = none, as for the others
    per_message  counted in messages; otherwise in PDUs, which is what carriers count
    raises       ValueError below 0
    """

    def __init__(self, str name not None, int per_s=0, int64_t per_minute=0, int64_t per_day=0, *,
                 bint per_message=False, double burst_s=0.05):
        if per_minute < 0 or per_day < 0:
            raise ValueError(f"limit of {name}: expected at least 0, got {min(per_minute, per_day)}")
        self.name = name
        self.per_message = per_message
        self.throttle = Throttle(per_s, burst_s)
        self.minute = Span(per_minute, 60, 1.0) if per_minute else None
        self.day = Span(per_day, 1440, 60.0) if per_day else None

    @property
    def per_s(self):
        """PDUs or messages a second; 0 = none."""
        return self.throttle.per_s

    @property
    def per_minute(self):
        """In any sliding minute; 0 = none."""
        return 0 if self.minute is None else self.minute.most

    @property
    def per_day(self):
        """In any sliding day, or since `clear_day`; 0 = none."""
        return 0 if self.day is None or self.day.width_s >= FOR_GOOD_S else self.day.most

    def allowance(self, double now):
        """How many may be written at `now` (monotonic seconds)."""
        return self.allowance_at(now)

    def spend(self, int n, double now):
        """Count so many as written at `now`."""
        self.spend_at(n, now)

    def ready_at(self, double now, int n=1):
        """The first moment, not before `now`, when `n` may be written."""
        return self.ready(n, now)

    def recall(self, int64_t n, double at):
        """Count what was written before this process began: minutes and days outlive it."""
        if self.minute is not None:
            self.minute.recall(n, at)
        if self.day is not None:
            self.day.recall(n, at)

    def grant(self, int64_t n, int per_s=0):
        """Make a purse of a limit without days, with nothing in it, and put `n` messages in; at most per_s a second.

        raises  ValueError below 0, and on a limit of days
        """
        if n < 0 or (self.day is not None and self.day.width_s < FOR_GOOD_S):
            raise ValueError(f"limit of {self.name}: expected a purse and at least 0, got {n}")
        if self.day is None:
            self.day = Span(1, 1, FOR_GOOD_S)
            self.day.most = 0
        self.day.most += n
        if per_s != self.throttle.per_s:
            self.throttle.change(per_s)

    @property
    def left(self):
        """What is left in a purse; None of any other limit."""
        return self.day.most - self.day.used if self.day is not None and self.day.width_s >= FOR_GOOD_S else None

    def clear_day(self):
        """Begin a day of the calendar."""
        if self.day is not None and self.day.width_s < FOR_GOOD_S:
            self.day.clear()

    def used(self, double now):
        """What the last minute and the last day hold: (minute, day); 0 where there is no limit."""
        cdef int64_t minute = 0, day = 0
        if self.minute is not None:
            self.minute.slide(now)
            minute = self.minute.used
        if self.day is not None:
            self.day.slide(now)
            day = self.day.used
        return minute, day

    cdef int allowance_at(self, double now) noexcept nogil:
        cdef int64_t room = self.throttle.allowance_at(now)
        if self.minute is not None:
            room = min(room, self.minute.room(now))
        if self.day is not None:
            room = min(room, self.day.room(now))
        return <int>room

    cdef bint has_room(self, int n, double now) noexcept nogil:
        """Whether `n` may be written together: all of them, or as many as the limit ever allows at once."""
        cdef int per_s = self.throttle.per_s
        if per_s and (self.throttle.allowance_at(now) < 1
                      or per_s - self.throttle.in_window < min(<int64_t>n, <int64_t>per_s)):
            return False
        if self.minute is not None and self.minute.room(now) < min(<int64_t>n, self.minute.most):
            return False
        if self.day is not None and self.day.room(now) < (
                <int64_t>n if self.day.width_s >= FOR_GOOD_S else min(<int64_t>n, self.day.most)):
            return False
        return True

    cdef void spend_at(self, int n, double now) noexcept nogil:
        if n <= 0:
            return
        self.throttle.spend_at(n, now)
        if self.minute is not None:
            self.minute.add(n, now)
        if self.day is not None:
            self.day.add(n, now)

    cdef double ready(self, int n, double now) noexcept:
        cdef double at = self.throttle.ready_at(now) if self.throttle.per_s else now
        if self.minute is not None:
            at = max(at, self.minute.ready_at(min(<int64_t>n, self.minute.most), now))
        if self.day is not None and self.day.width_s >= FOR_GOOD_S:
            if self.day.used >= self.day.most:
                at = max(at, now + AGAIN_MS / 1e3)
        elif self.day is not None:
            at = max(at, self.day.ready_at(min(<int64_t>n, self.day.most), now))
        return at
