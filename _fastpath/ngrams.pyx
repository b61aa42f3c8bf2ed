r"""How much a text is like those of one of two kinds: weights of its n-grams and words, added up.

    " stop texting me ? "     folded words with one space around each of them
      1 to 5 characters       across words as well: "to", "op t", "exti"
      1 word, 2 in a row,     "stop"; "stop texting"; "stop … me"
      2 with one between

Each of these is hashed (FNV-1a, mixed once) into a place of a table whose size is a power of two; a place counts
once, however often a text hits it. The score is the sum of the weights at the places over the root of their number, so
that a long text weighs no more than a short one. Other texts may share a place: the table is trained with that.
Not here: what is folded away, what a score means (gateway/keywords.py), how weights are made (tests/keywords/train.py).
"""

from array import array

from cpython cimport array as c_array
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport sqrt
from libc.stdint cimport int8_t, uint8_t, uint32_t
from libc.string cimport memset

cdef extern from "Python.h":
    int PyUnicode_KIND(object text)
    void* PyUnicode_DATA(object text)
    Py_UCS4 PyUnicode_READ(int kind, void* data, Py_ssize_t index)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)

cdef enum:
    LONGEST = 400  # characters that are looked at
    MOST_N = 5
    MOST_BITS = 17
    MOST_PLACES = LONGEST * (MOST_N + 3)
    SEEN_OCTETS = (1 << MOST_BITS) // 8

cdef uint32_t FNV = 2166136261u
cdef uint32_t PRIME = 16777619u


cdef inline uint32_t mixed(uint32_t h) noexcept nogil:
    h ^= h >> 15
    h *= 0x2C1B3C6Du
    h ^= h >> 13
    return h


cdef inline int placed(uint32_t h, uint32_t mask, uint8_t* seen, uint32_t* places, int count) noexcept nogil:
    """Take up a place that is not there yet; -> how many there are."""
    cdef uint32_t place = mixed(h) & mask
    if seen[place >> 3] & (1 << (place & 7)):
        return count
    seen[place >> 3] |= <uint8_t>(1 << (place & 7))
    places[count] = place
    return count + 1


cdef int found(str text, uint32_t mask, uint32_t* places) except -1:
    """Find the places of a text; `places` has room for MOST_PLACES."""
    cdef uint8_t[SEEN_OCTETS] seen
    cdef int kind = PyUnicode_KIND(text)
    cdef void* data = PyUnicode_DATA(text)
    cdef Py_ssize_t length = min(PyUnicode_GET_LENGTH(text), <Py_ssize_t>LONGEST)
    cdef Py_ssize_t at, to
    cdef uint32_t h, c, word = FNV ^ 0x57, before = 0, earlier = 0
    cdef int count = 0, words = 0
    memset(seen, 0, (mask >> 3) + 1)
    for at in range(length):
        h = FNV
        for to in range(at, min(at + MOST_N, length)):
            h = (h ^ <uint32_t>PyUnicode_READ(kind, data, to)) * PRIME
            count = placed(h, mask, seen, places, count)
        c = <uint32_t>PyUnicode_READ(kind, data, at)
        if c != 32:
            word = (word ^ c) * PRIME
        if (c == 32 or at == length - 1) and word != FNV ^ 0x57:
            count = placed(word, mask, seen, places, count)
            if words >= 1:
                count = placed((before * 31 + word) ^ 0xB1, mask, seen, places, count)
            if words >= 2:
                count = placed((earlier * 37 + word) ^ 0x5C, mask, seen, places, count)
            earlier, before, word = before, word, FNV ^ 0x57
            words += 1
    return count


def places_of(str text not None, int bits):
    """Name the places of the first 400 characters in a table of 2 ** bits, each once, in the order they are found.

    raises  ValueError unless 3 <= bits <= 17
    """
    if not 3 <= bits <= MOST_BITS:
        raise ValueError(f"ngrams: expected 3 to {MOST_BITS} bits, got {bits}")
    cdef uint32_t[MOST_PLACES] places
    cdef int count = found(text, (1u << bits) - 1, places), at
    cdef c_array.array made = c_array.clone(array("I"), count, zero=False)
    for at in range(count):
        made.data.as_uints[at] = places[at]
    return made


def score(str text not None, bytes weights not None):
    """Add up what a text weighs: signed octets of the table at its places, over the root of how many there are.

    weights  2 ** 3 to 2 ** 17 octets
    raises   ValueError when they are of another size
    cost     about 2 us for 40 characters
    """
    cdef Py_ssize_t size = PyBytes_GET_SIZE(weights)
    if size < 8 or size > 1 << MOST_BITS or size & (size - 1):
        raise ValueError(f"ngrams: expected 8 to {1 << MOST_BITS} weights, a power of two, got {size}")
    cdef uint32_t[MOST_PLACES] places
    cdef const int8_t* table = <const int8_t*>PyBytes_AS_STRING(weights)
    cdef int count = found(text, <uint32_t>(size - 1), places), at
    cdef long total = 0
    for at in range(count):
        total += table[places[at]]
    return total / sqrt(<double>count) if count else 0.0
