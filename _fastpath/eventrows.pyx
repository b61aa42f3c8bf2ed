"""What persons did -> the octets of a Postgres binary COPY into person_event.

One row, big-endian (PostgreSQL documentation, COPY, "Binary Format"; jsonb_recv takes version 1 and JSON text):

    00 0A | bucket int32 | flags int16 | profile, id, occurred_at, received_at int64 | source, event_id, name text
          | 01 {"property":"value", ... }                     each value with its length, int32, before it

Times are microseconds since 1970; Postgres counts them from 2000.
Not here: who did it, and what follows from it (gateway.store.profiles).
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.datetime cimport datetime as Datetime
from cpython.datetime cimport import_datetime, timedelta_days, timedelta_microseconds, timedelta_seconds
from cpython.unicode cimport PyUnicode_Check
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

import datetime as _datetime

from _fastpath.wire cimport store16, store32, store64

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

import_datetime()

cdef enum:
    # The count of columns, six numbers and four lengths, and the version of jsonb.
    FIXED_OCTETS = 2 + (4 + 4) + (4 + 2) + 4 * (4 + 8) + 4 * 4 + 1

cdef int64_t FROM_1970_TO_2000_US = 946_684_800_000_000
cdef object EPOCH = _datetime.datetime(1970, 1, 1, tzinfo=_datetime.timezone.utc)

COLUMNS = (
    "bucket", "flags", "profile", "id", "occurred_at", "received_at", "source", "event_id", "name", "properties",
)
"""What COPY is told, in this order."""


def microseconds(Datetime at not None):
    """Return an instant as microseconds since 1970.

    raises  TypeError for a time without a zone
    cost    60 ns, a sixth of what arithmetic in Python takes (measured 2026-11)
    """
    cdef object past = at - EPOCH
    return (<int64_t>timedelta_days(past) * 86400 + timedelta_seconds(past)) * 1000000 + timedelta_microseconds(past)


cdef inline Py_ssize_t put(uint8_t* out, Py_ssize_t w, const char* octets, Py_ssize_t size) noexcept nogil:
    store32(out + w, <uint32_t>size)
    memcpy(out + w + 4, octets, <size_t>size)
    return w + 4 + size


def pack(list rows not None, int64_t received_us):
    """Write the rows of some events, header and trailer of the COPY included.

    rows         (bucket, flags, profile, id, occurred_us, source, event_id, name, properties): properties is JSON as
                 bytes, the texts are str, the others are int
    received_us  of all of them
    raises       TypeError where a value is of another type; OverflowError where a number has no room in its column, or
                 a value is longer than Postgres takes (1 GB); UnicodeEncodeError for a lone surrogate
    cost         two passes, one allocation; 0.15 µs a row (measured 2026-11)
    """
    cdef Py_ssize_t total = 19 + 2, w, size = 0
    cdef const char* text
    cdef tuple row
    cdef bytes properties, result
    cdef uint8_t* out
    cdef int column
    cdef short flags
    cdef int bucket
    cdef int64_t profile, id_, at
    for item in rows:
        row = item
        if row is None or len(row) != 9:
            raise TypeError("a row is a tuple of nine values")
        total += FIXED_OCTETS
        for column in range(5, 8):
            if not PyUnicode_Check(row[column]):
                raise TypeError(f"column {column}: expected str, got {type(row[column]).__name__}")
            PyUnicode_AsUTF8AndSize(row[column], &size)
            if size > 1 << 29:
                raise OverflowError(f"column {column}: a text of {size} octets")
            total += size
        if not isinstance(row[8], bytes):
            raise TypeError(f"column 8: expected bytes, got {type(row[8]).__name__}")
        if PyBytes_GET_SIZE(row[8]) > 1 << 29:
            raise OverflowError(f"column 8: JSON of {len(row[8])} octets")
        total += PyBytes_GET_SIZE(row[8])
    result = PyBytes_FromStringAndSize(NULL, total)
    out = <uint8_t*>PyBytes_AS_STRING(result)
    memcpy(out, b"PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00", 19)
    w = 19
    for item in rows:
        row = item
        bucket, flags, profile, id_, at = row[0], row[1], row[2], row[3], row[4]
        store16(out + w, 10)
        store32(out + w + 2, 4)
        store32(out + w + 6, <uint32_t>bucket)
        store32(out + w + 10, 2)
        store16(out + w + 14, <uint16_t>flags)
        store32(out + w + 16, 8)
        store64(out + w + 20, <uint64_t>profile)
        store32(out + w + 28, 8)
        store64(out + w + 32, <uint64_t>id_)
        store32(out + w + 40, 8)
        store64(out + w + 44, <uint64_t>(at - FROM_1970_TO_2000_US))
        store32(out + w + 52, 8)
        store64(out + w + 56, <uint64_t>(received_us - FROM_1970_TO_2000_US))
        w += 64
        for column in range(5, 8):
            text = PyUnicode_AsUTF8AndSize(row[column], &size)
            w = put(out, w, text, size)
        properties = row[8]
        size = PyBytes_GET_SIZE(properties)
        store32(out + w, <uint32_t>(size + 1))
        out[w + 4] = 1
        memcpy(out + w + 5, PyBytes_AS_STRING(properties), <size_t>size)
        w += 5 + size
    store16(out + w, 0xFFFF)
    assert w + 2 == total
    return result
