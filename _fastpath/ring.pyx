"""The last octets of a bind in both directions, as they crossed its socket: one copy a read or write, none a message.

    kept    ...xxxxxxxx|yyyy|zzzzzzzzz|          room octets, written round and round
    slices  ...   A       B      C               when, which way, where in its stream; one a read or write

A bind's ring outlives its connections: each one opens its own streams, whose octets are numbered from 0. What is
overwritten is gone, from the oldest octet on. Times are the caller's; `skip` finds the first PDU behind a gap.
Not here: what is made of it (gateway.smpp.capture), when a bind has one (pcap_octets).
"""

from collections import namedtuple

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef enum:
    SMALLEST = 1024
    LARGEST = 1 << 28
    # One slice for so many octets: a lonely submit_sm and its response, which are shorter, push out older ones.
    SLICE_OCTETS = 64

Kept = namedtuple("Kept", ("at", "connection", "is_out", "offset", "skip", "octets"))


@cython.final
cdef class Ring:
    """The last `octets` of one bind, 1 kB to 256 MB.

    raises  ValueError for another size
    """

    def __cinit__(self, Py_ssize_t octets):
        if not SMALLEST <= octets <= LARGEST:
            raise ValueError(f"octets: expected {SMALLEST} to {LARGEST}, got {octets}")
        self.room = octets
        self.slice_room = octets // SLICE_OCTETS
        self.kept = <uint8_t*>PyMem_RawCalloc(self.room, 1)
        self.slices_at = <Slice*>PyMem_RawCalloc(self.slice_room, sizeof(Slice))
        if self.kept == NULL or self.slices_at == NULL:
            raise MemoryError
        self.ends_by_connection = {}
        self.is_whole = True

    def __dealloc__(self):
        PyMem_RawFree(self.kept)
        PyMem_RawFree(self.slices_at)

    def open(self, local, peer, double now):
        """A new connection between these ends begins: both its streams count from 0."""
        self.ends_by_connection = self.connections()
        self.connection += 1
        self.ends_by_connection[self.connection] = (local, peer, now)
        self.offset_in = 0
        self.offset_out = 0
        self.is_whole = True
        self.last_at = now

    def keep_read(self, bytes octets not None, double now, int32_t skip=0):
        """Keep octets that were read; `skip` of them end a PDU that began before."""
        self.add(False, <const uint8_t*>PyBytes_AS_STRING(octets), PyBytes_GET_SIZE(octets), skip, now)

    def keep_written(self, bytes octets not None, double now, Py_ssize_t waiting=0):
        """Keep octets that were written; so many of the same PDUs wait behind them."""
        cdef Py_ssize_t n = PyBytes_GET_SIZE(octets)
        self.wrote(<const uint8_t*>PyBytes_AS_STRING(octets), n, n + waiting, now)

    cdef void wrote(self, const uint8_t* octets, Py_ssize_t n, Py_ssize_t waiting, double now) noexcept nogil:
        """So many octets of those waiting were taken by the socket; PDUs are whole where all of them were."""
        self.add(True, octets, n, 0 if self.is_whole else -1, now)
        self.is_whole = n == waiting

    cdef void add(self, bint is_out, const uint8_t* octets, Py_ssize_t n, int32_t skip, double now) noexcept nogil:
        cdef Slice* slice
        cdef Py_ssize_t at, first, cut = 0
        if n <= 0:
            return
        # Who has no clock at hand says 0: it was just after what came before.
        if now <= 0:
            now = self.last_at
        self.last_at = now
        slice = self.slices_at + self.slice_count % <uint64_t>self.slice_room
        self.slice_count += 1
        slice.at = now
        slice.start = self.head
        slice.octets = <uint32_t>n
        slice.skip = skip
        slice.connection = self.connection
        slice.is_out = is_out
        if is_out:
            slice.offset = self.offset_out
            self.offset_out += n
        else:
            slice.offset = self.offset_in
            self.offset_in += n
        if n > self.room:
            cut = n - self.room
        at = <Py_ssize_t>((self.head + cut) % <uint64_t>self.room)
        first = min(n - cut, self.room - at)
        memcpy(self.kept + at, octets + cut, first)
        memcpy(self.kept, octets + cut + first, n - cut - first)
        self.head += n

    cdef uint64_t oldest_slice(self) noexcept:
        """The number of the first slice of which an octet is left."""
        cdef uint64_t i = self.slice_count - <uint64_t>self.slice_room
        cdef uint64_t gone = self.head - <uint64_t>self.room if self.head > <uint64_t>self.room else 0
        cdef Slice* slice
        if self.slice_count <= <uint64_t>self.slice_room:
            i = 0
        while i < self.slice_count:
            slice = self.slices_at + i % <uint64_t>self.slice_room
            if slice.start + slice.octets > gone:
                break
            i += 1
        return i

    def connections(self):
        """Connections of which an octet is left, and the present one: number -> (local, peer, when it began)."""
        cdef uint64_t i = self.oldest_slice()
        cdef uint32_t oldest = self.connection
        if i < self.slice_count:
            oldest = (self.slices_at + i % <uint64_t>self.slice_room).connection
        return {number: ends for number, ends in self.ends_by_connection.items() if number >= oldest}

    def slices(self):
        """All that is left, in the order in which it crossed the socket; the oldest one without what is overwritten.

        cost  one copy; call it on the loop, so that nothing is written meanwhile
        """
        cdef uint64_t i
        cdef uint64_t gone = self.head - <uint64_t>self.room if self.head > <uint64_t>self.room else 0
        cdef Slice* slice
        cdef Py_ssize_t cut, n, at, first
        cdef int skip
        cdef char* p
        found = []
        for i in range(self.oldest_slice(), self.slice_count):
            slice = self.slices_at + i % <uint64_t>self.slice_room
            cut = <Py_ssize_t>(gone - slice.start) if gone > slice.start else 0
            n = <Py_ssize_t>slice.octets - cut
            skip = slice.skip
            if cut:
                skip = skip - <int>cut if skip >= cut else -1
            octets = PyBytes_FromStringAndSize(NULL, n)
            p = PyBytes_AS_STRING(octets)
            at = <Py_ssize_t>((slice.start + cut) % <uint64_t>self.room)
            first = min(n, self.room - at)
            memcpy(p, self.kept + at, first)
            memcpy(p + first, self.kept, n - first)
            found.append(Kept(slice.at, slice.connection, bool(slice.is_out), slice.offset + cut, skip, octets))
        return found
