from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from _fastpath.batch cimport Batch
from _fastpath.template cimport Template

cdef enum:
    # outcome.status of what never left; the names are gateway.message.Refusal's.
    NOT_ENCODABLE = -10
    TOO_MANY_PARTS = -11
    MISSING_FIELD = -12
    EXPIRED = -13
    EMPTY = -14

cdef enum:
    BY_UDH16 = 0
    BY_UDH8 = 1
    BY_SAR = 2
    BY_PAYLOAD = 3


cdef class Form:
    cdef readonly Template template
    cdef readonly str concatenation
    cdef int joining
    cdef readonly int max_parts
    cdef readonly bint grapheme
    cdef readonly bint wants_receipts
    cdef int alphabets[3]
    cdef int alphabet_count
    cdef uint8_t data_coding[4]
    cdef int single[4]
    cdef int multi[4]
    cdef bytes head
    cdef bytes tail
    cdef const uint8_t* head_octets
    cdef const uint8_t* tail_octets
    cdef int head_size
    cdef int tail_size
    cdef uint8_t esm_class
    cdef readonly int reference_bits        # 8 or 16
    cdef readonly uint64_t source_key       # the source address, for References
    cdef Py_ssize_t largest         # octets of the longest PDU this form can write


cdef class Composer:
    cdef uint8_t* scratch
    cdef Py_ssize_t octets
    cdef int alphabet
    cdef int count
    cdef uint32_t ends[256]
    cdef uint32_t reference         # of a message of several segments; set by the caller after load
    cdef Form constant_form         # whose one-segment text, without fields, stands in the scratch
    cdef int load(self, Form form, Batch batch, int32_t pos) noexcept
    cdef Py_ssize_t write(self, Form form, int64_t number, uint32_t sequence, int index, uint8_t* dst) noexcept
