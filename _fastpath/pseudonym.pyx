"""Keyed hashes of phone numbers that were erased (CN-12): SipHash-2-4, 62 bits behind a bit that no number has.

    pseudonym = 2**62 | (siphash(key, number as 8 octets, little-endian) & 2**62 - 1)

So it is a positive 63-bit integer as numbers are, stands wherever they do, and is never taken for one: the longest
has 15 digits, which are 50 bits. Who has no key cannot say whose it is; two numbers have the same once in 2**31
erasures. Not here: where the key is from (gateway/erasure.py), who asks (dispatch.stops, at a claim).
"""

cimport cython
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

from _fastpath.batch cimport Batch
from _fastpath.numbers cimport NumberSet

FIRST = 1 << 62


cdef inline uint64_t rotated(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


@cython.final
cdef class Pseudonyms:
    """Makes them with one key of 16 octets."""

    cdef uint64_t k0
    cdef uint64_t k1

    def __init__(self, bytes key):
        cdef const uint8_t* octets = <const uint8_t*>key
        if len(key) != 16:
            raise ValueError(f"key: expected 16 octets, got {len(key)}")
        # The machine is little-endian, as setup.py's only platform is.
        memcpy(&self.k0, octets, 8)
        memcpy(&self.k1, octets + 8, 8)

    cdef int64_t of_number(self, int64_t number) noexcept nogil:
        cdef uint64_t v0 = self.k0 ^ 0x736F6D6570736575ULL
        cdef uint64_t v1 = self.k1 ^ 0x646F72616E646F6DULL
        cdef uint64_t v2 = self.k0 ^ 0x6C7967656E657261ULL
        cdef uint64_t v3 = self.k1 ^ 0x7465646279746573ULL
        cdef uint64_t word = <uint64_t>number
        cdef int block, _i
        # Two blocks: the number, and the length of 8 octets in the last one's highest. Behind them four rounds more.
        for block in range(3):
            if block == 1:
                word = 8ULL << 56
            if block < 2:
                v3 ^= word
            else:
                v2 ^= 0xFF
            for _i in range(2 if block < 2 else 4):
                v0 += v1
                v2 += v3
                v1 = rotated(v1, 13) ^ v0
                v3 = rotated(v3, 16) ^ v2
                v0 = rotated(v0, 32)
                v2 += v1
                v0 += v3
                v1 = rotated(v1, 17) ^ v2
                v3 = rotated(v3, 21) ^ v0
                v2 = rotated(v2, 32)
            if block < 2:
                v0 ^= word
        return <int64_t>(((v0 ^ v1 ^ v2 ^ v3) & 0x3FFFFFFFFFFFFFFFULL) | 0x4000000000000000ULL)

    def of(self, int64_t number):
        """The pseudonym of a number."""
        return self.of_number(number)

    def places(self, numbers, NumberSet erased not None):
        """Where in an array of numbers (signed, 8 octets each) those stand that are erased; 0 is no number.

        erased  pseudonyms, among others
        cost    about 20 ns a number
        """
        cdef Py_buffer view
        cdef const int64_t* at
        cdef Py_ssize_t i
        found = []
        PyObject_GetBuffer(numbers, &view, PyBUF_ND | PyBUF_FORMAT)
        try:
            if view.itemsize != 8 or view.ndim != 1 or view.format[0] not in (b"q", b"l"):
                raise ValueError("numbers: expected an array of signed integers of 8 octets")
            at = <const int64_t*>view.buf
            for i in range(view.shape[0]):
                if at[i] and erased.has(self.of_number(at[i])):
                    found.append(i)
        finally:
            PyBuffer_Release(&view)
        return found

    def among(self, Batch batch not None, NumberSet erased not None):
        """The numbers of a claimed batch that are erased.

        cost  about 20 ns a number
        """
        cdef Py_ssize_t i
        found = []
        for i in range(batch.n):
            if erased.has(self.of_number(batch.numbers[i])):
                found.append(batch.numbers[i])
        return found
