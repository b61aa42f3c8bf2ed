"""Stub, replaced within the hour."""

cdef int cut(
    const uint8_t* payload, Py_ssize_t octets, int alphabet, Py_ssize_t single_octets, Py_ssize_t multi_octets,
    bint grapheme, uint32_t* ends, int max_parts,
) noexcept nogil:
    cdef Py_ssize_t at = 0
    cdef int count = 0
    if octets <= single_octets:
        ends[0] = <uint32_t>octets
        return 1
    while at < octets:
        if count == max_parts:
            return -1
        at = at + multi_octets if octets - at > multi_octets else octets
        ends[count] = <uint32_t>at
        count += 1
    return count
