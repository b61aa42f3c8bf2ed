from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t


cdef struct Slice:
    double at
    uint64_t start          # where it stands in all that was ever kept
    uint64_t offset         # of its first octet in this direction of its connection
    uint32_t octets
    int32_t skip            # octets before the first PDU that begins in it; -1 = not known
    uint32_t connection
    bint is_out


cdef class Ring:
    cdef uint8_t* kept
    cdef Slice* slices_at
    cdef readonly Py_ssize_t room
    cdef Py_ssize_t slice_room
    cdef uint64_t head
    cdef uint64_t slice_count
    cdef uint64_t offset_in, offset_out
    cdef double last_at
    cdef uint32_t connection
    cdef bint is_whole
    cdef dict ends_by_connection
    cdef void add(self, bint is_out, const uint8_t* octets, Py_ssize_t n, int32_t skip, double now) noexcept nogil
    cdef uint64_t oldest_slice(self) noexcept
    cdef void wrote(self, const uint8_t* octets, Py_ssize_t n, Py_ssize_t waiting, double now) noexcept nogil
