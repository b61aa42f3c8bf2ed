"""Rows on their way into Postgres, as the octets of COPY … (FORMAT binary).

Wire (PostgreSQL manual, COPY, binary format); integers are big-endian:

    "PGCOPY\\n\\377\\r\\n\\0" | flags 4 | extension 4 |  row  row  row … | -1 (2 octets)
                                             |
                    columns 2 | length 4 | value | length 4 | value …      length -1 = NULL

A row is written once, where its message is finished with, and never becomes a Python object: 0.07-0.11 us a row against
0.7-0.9 for tuples (measured in a trial of this shape). Not here: reading rows (batch.pyx), people (peoplerows.pyx).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from libc.stdint cimport INT64_MIN, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from _fastpath.recall cimport as_decimal, as_hex
from _fastpath.wire cimport store16, store32, store64

SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
OUTCOME_COLUMNS = ("lane", "chunk_id", "pos", "segment", "segments", "epoch", "status", "at", "rtt_us", "message_id")
RECEIPT_COLUMNS = ("lane", "chunk_id", "pos", "segment", "at", "message_id", "state", "err", "done_at", "number", "raw")
WAITING_COLUMNS = (
    "lane", "at", "message_id", "state", "err", "done_at", "number", "raw", "other", "id_key", "as_hex", "as_decimal",
)

cdef enum:
    LONGEST_NUMBER = 20  # of recall.pxd
    SIGNATURE_OCTETS = 19

cdef extern from *:
    """
    #define FP_HIGH 0x8080808080808080ULL
    """
    const uint64_t HIGH "FP_HIGH"


cdef inline uint8_t* put16(uint8_t* p, int16_t v) noexcept nogil:
    store32(p, 2)
    store16(p + 4, <uint16_t>v)
    return p + 6


cdef inline uint8_t* put32(uint8_t* p, int32_t v) noexcept nogil:
    store32(p, 4)
    store32(p + 4, <uint32_t>v)
    return p + 8


cdef inline uint8_t* put64(uint8_t* p, int64_t v) noexcept nogil:
    store32(p, 8)
    store64(p + 4, <uint64_t>v)
    return p + 12


cdef inline uint8_t* put_octets(uint8_t* p, const uint8_t* v, int32_t octets) noexcept nogil:
    """octets -1 = NULL."""
    store32(p, <uint32_t>octets)
    p += 4
    if octets > 0:
        memcpy(p, v, octets)
        p += octets
    return p


cdef inline bint is_plain(uint64_t v) noexcept nogil:
    """Whether each of eight octets is 0x20 to 0x7E: none above 0x7F, none that one more makes so, and none that 0x60
    more does not."""
    return (v | (v + 0x0101010101010101ULL)) & HIGH == 0 and (v + 0x6060606060606060ULL) & HIGH == HIGH


cdef uint8_t* put_text(uint8_t* p, const uint8_t* v, int32_t octets) noexcept nogil:
    """Text of unknown making as UTF-8: what is not plain ASCII becomes `?`, since one bad octet would refuse the whole
    COPY. An id with other octets is kept exactly in `raw`."""
    cdef int32_t i
    store32(p, <uint32_t>octets)
    p += 4
    for i in range(octets):
        p[i] = v[i] if 0x20 <= v[i] < 0x7F else 0x3F
    return p + octets if octets > 0 else p


cdef inline uint8_t* put_id(uint8_t* p, const uint8_t* v, int32_t octets) noexcept nogil:
    """The same for a message_id: those of usual length as their first eight octets and, over them, their last."""
    cdef uint64_t first, last
    if 8 <= octets <= 16:
        memcpy(&first, v, 8)
        memcpy(&last, v + octets - 8, 8)
        if is_plain(first) and is_plain(last):
            store32(p, <uint32_t>octets)
            memcpy(p + 4, &first, 8)
            memcpy(p + octets - 4, &last, 8)
            return p + 4 + octets
    return put_text(p, v, octets)


cdef inline uint8_t* put_key(uint8_t* p, const uint8_t* v, int32_t octets) noexcept nogil:
    """An id as put_text writes it, without case and leading zeros: what sql/queue.sql calls id_key."""
    cdef uint8_t* start = p
    cdef uint8_t c
    while octets > 0 and v[0] == 0x30:
        v += 1
        octets -= 1
    p += 4
    while octets > 0:
        c = v[0] if 0x20 <= v[0] < 0x7F else 0x3F
        p[0] = c | 0x20 if 0x41 <= c <= 0x5A else c
        p += 1
        v += 1
        octets -= 1
    store32(start, <uint32_t>(p - start - 4))
    return p


cdef inline uint8_t* put_maybe64(uint8_t* p, int64_t v) noexcept nogil:
    """INT64_MIN = NULL."""
    if v == INT64_MIN:
        store32(p, <uint32_t>-1)
        return p + 4
    return put64(p, v)


cdef inline uint8_t* put_receipt(uint8_t* p, int64_t at_us, const uint8_t* message_id, int32_t id_octets, int16_t state,
                                 const uint8_t* err, int32_t err_octets, int64_t done_at_us, int64_t number,
                                 const uint8_t* raw, int32_t raw_octets) noexcept nogil:
    """The columns that `receipt` and `receipt_waiting` end with."""
    p = put64(p, at_us)
    p = put_id(p, message_id, id_octets)
    p = put16(p, state)
    p = put_text(p, err, err_octets)
    p = put_maybe64(p, done_at_us)
    p = put_maybe64(p, number)
    return put_octets(p, raw, raw_octets)


cdef class Rows:
    """A growing buffer of COPY rows; `take()` empties it."""

    def __cinit__(self):
        self.room = 1 << 16
        self.data = <uint8_t*>PyMem_RawMalloc(self.room)
        if self.data == NULL:
            raise MemoryError
        memcpy(self.data, PyBytes_AS_STRING(SIGNATURE), SIGNATURE_OCTETS)
        self.size = SIGNATURE_OCTETS
        self.count = 0

    def __dealloc__(self):
        PyMem_RawFree(self.data)

    def __len__(self):
        return self.count

    @property
    def octets(self):
        """Octets held, signature and trailer included."""
        return self.size + 2

    def take(self):
        """Hand out everything as one COPY stream and start anew. Call it before the first await of a flush: rows that
        come later belong to the next one."""
        cdef bytes stream = PyBytes_FromStringAndSize(NULL, self.size + 2)
        cdef uint8_t* p = <uint8_t*>PyBytes_AS_STRING(stream)
        memcpy(p, self.data, self.size)
        store16(p + self.size, 0xFFFF)
        self.size = SIGNATURE_OCTETS
        self.count = 0
        return stream

    cdef uint8_t* reserve(self, Py_ssize_t octets) except NULL nogil:
        """A pointer to room for so many octets behind the rows; the caller moves `size`."""
        cdef Py_ssize_t room = self.room
        cdef uint8_t* data
        if self.size + octets > room:
            while self.size + octets > room:
                room *= 2
            data = <uint8_t*>PyMem_RawRealloc(self.data, room)
            if data == NULL:
                with gil:
                    raise MemoryError
            self.data = data
            self.room = room
        return self.data + self.size


@cython.final
cdef class OutcomeRows(Rows):
    """Rows of `outcome`: what came of one segment."""

    def __init__(self, int32_t lane):
        self.lane = lane

    cdef int add(self, int64_t chunk_id, int32_t pos, int16_t segment, int16_t segments, int32_t epoch,
                 int32_t status, int64_t at_us, int32_t rtt_us,
                 const uint8_t* message_id, int32_t id_octets) except -1 nogil:
        cdef uint8_t* start = self.reserve(100 + (id_octets if id_octets > 0 else 0))
        cdef uint8_t* p = start
        store16(p, 10)
        p = put32(p + 2, self.lane)
        p = put64(p, chunk_id)
        p = put32(p, pos)
        p = put16(p, segment)
        p = put16(p, segments)
        p = put32(p, epoch)
        p = put32(p, status)
        p = put64(p, at_us)
        p = put32(p, rtt_us)
        p = put_id(p, message_id, id_octets)
        self.size += p - start
        self.count += 1
        return 0

    def add_row(self, int64_t chunk_id, int32_t pos, int16_t segment, int16_t segments, int32_t epoch, int32_t status,
                int64_t at_us, int32_t rtt_us, bytes message_id):
        """One row from Python, for what is rare: message_id None = NULL."""
        cdef const uint8_t* p = NULL
        cdef int32_t octets = -1
        if message_id is not None:
            p = <const uint8_t*>PyBytes_AS_STRING(message_id)
            octets = <int32_t>len(message_id)
        self.add(chunk_id, pos, segment, segments, epoch, status, at_us, rtt_us, p, octets)


@cython.final
cdef class ReceiptRows(Rows):
    """Rows of `receipt`: receipts whose segment is known."""

    def __init__(self, int32_t lane):
        self.lane = lane

    cdef int add(self, int64_t chunk_id, int32_t pos, int16_t segment, int64_t at_us,
                 const uint8_t* message_id, int32_t id_octets, int16_t state,
                 const uint8_t* err, int32_t err_octets, int64_t done_at_us, int64_t number,
                 const uint8_t* raw, int32_t raw_octets) except -1 nogil:
        cdef uint8_t* start = self.reserve(
            120 + (id_octets if id_octets > 0 else 0) + (err_octets if err_octets > 0 else 0)
            + (raw_octets if raw_octets > 0 else 0))
        cdef uint8_t* p = start
        store16(p, 11)
        p = put32(p + 2, self.lane)
        p = put64(p, chunk_id)
        p = put32(p, pos)
        p = put16(p, segment)
        p = put_receipt(p, at_us, message_id, id_octets, state, err, err_octets, done_at_us, number, raw, raw_octets)
        self.size += p - start
        self.count += 1
        return 0


@cython.final
cdef class WaitingRows(Rows):
    """Rows of `receipt_waiting`: receipts that came before their response, or for a message of another worker.

    Each with the forms its message_id may have in the response, so that Postgres compares and computes nothing.
    """

    def __init__(self, int32_t lane):
        self.lane = lane

    cdef int add(self, int64_t at_us, const uint8_t* message_id, int32_t id_octets, int16_t state,
                 const uint8_t* err, int32_t err_octets, int64_t done_at_us, int64_t number, int64_t other,
                 const uint8_t* raw, int32_t raw_octets) except -1 nogil:
        cdef uint8_t form[LONGEST_NUMBER]
        cdef uint8_t* start = self.reserve(
            200 + (2 * id_octets if id_octets > 0 else 0) + (err_octets if err_octets > 0 else 0)
            + (raw_octets if raw_octets > 0 else 0))
        cdef uint8_t* p = start
        store16(p, 12)
        p = put32(p + 2, self.lane)
        p = put_receipt(p, at_us, message_id, id_octets, state, err, err_octets, done_at_us, number, raw, raw_octets)
        p = put_maybe64(p, other)
        p = put_key(p, message_id, id_octets)
        p = put_octets(p, form, as_hex(message_id, id_octets, form))
        p = put_octets(p, form, as_decimal(message_id, id_octets, form))
        self.size += p - start
        self.count += 1
        return 0
