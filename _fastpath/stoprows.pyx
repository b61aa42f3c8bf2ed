r"""The suppression of millions of numbers, from the octets of a COPY straight into the sets that senders ask.

    "PGCOPY\n\377\r\n\0" | flags 4 | extension 4 |  row  row  row … | -1 (2 octets)
                                             |
        00 04 | 0008 seq | 0008 number | 0001 is_stop | length scope (UTF-8)       each length has 4 octets

A COPY comes in pieces that are cut anywhere: what is left of the last row waits for the next piece. Rows are applied in
their order, and twice the same is once.
Not here: what is read (store.stops), the set itself (numbers.pyx).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t
from libc.string cimport memcmp

from _fastpath.numbers cimport NumberSet
from _fastpath.wire cimport load16, load32, load64

cdef enum:
    HEADER_OCTETS = 19
    FIXED_OCTETS = 35  # of a row, its scope left out
    LONGEST_SCOPE = 4096


@cython.final
cdef class StopReader:
    """Applies rows to sets by scope, which it makes where there is none.

    sets  dict[str, NumberSet], changed in place
    """
    cdef dict sets
    cdef bytes rest
    cdef bytes scope
    cdef NumberSet numbers
    cdef readonly int64_t rows
    cdef readonly int64_t upto
    cdef readonly bint is_ended
    cdef bint has_header

    def __cinit__(self, dict sets not None):
        self.sets = sets
        self.rest = b""
        self.scope = None

    def feed(self, bytes octets not None):
        """Apply every row that is whole with this piece.

        raises  ValueError when the octets are not of that form
        cost    about 60 ns a row, most of it the memory of a set larger than the caches
        """
        cdef bytes piece = self.rest + octets if self.rest else octets
        cdef const uint8_t* base = <const uint8_t*>PyBytes_AS_STRING(piece)
        cdef const uint8_t* p
        cdef Py_ssize_t size = PyBytes_GET_SIZE(piece), at = 0
        cdef int32_t length
        cdef int64_t seq, number
        cdef int16_t columns
        if not self.has_header:
            if size < HEADER_OCTETS:
                self.rest = piece
                return
            if memcmp(base, b"PGCOPY\n\xff\r\n\x00", 11) != 0:
                raise ValueError("stop rows: expected the COPY signature")
            self.has_header = True
            at = HEADER_OCTETS
        while size - at >= 2:
            p = base + at
            columns = <int16_t>load16(p)
            if columns == -1:
                self.is_ended = True
                at = size
                break
            if columns != 4:
                raise ValueError(f"stop rows: expected 4 columns, got {columns}")
            if size - at < FIXED_OCTETS:
                break
            if load32(p + 2) != 8 or load32(p + 14) != 8 or load32(p + 26) != 1:
                raise ValueError(f"stop rows: expected seq, number and is_stop of 8, 8 and 1 octets behind {self.upto}")
            seq = <int64_t>load64(p + 6)
            number = <int64_t>load64(p + 18)
            length = <int32_t>load32(p + 31)
            if not 0 < length <= LONGEST_SCOPE:
                raise ValueError(f"stop rows: seq {seq}: expected a scope of 1 to {LONGEST_SCOPE} octets, got {length}")
            if size - at < FIXED_OCTETS + length:
                break
            if (self.scope is None or PyBytes_GET_SIZE(self.scope) != length
                    or memcmp(PyBytes_AS_STRING(self.scope), p + FIXED_OCTETS, length) != 0):
                self.scope = (<const char*>p + FIXED_OCTETS)[:length]
                name = self.scope.decode()
                if name not in self.sets:
                    self.sets[name] = NumberSet()
                self.numbers = self.sets[name]
            if p[30]:
                self.numbers.add(number)
            else:
                self.numbers.discard(number)
            if seq > self.upto:
                self.upto = seq
            self.rows += 1
            at += FIXED_OCTETS + length
        self.rest = piece[at:]
