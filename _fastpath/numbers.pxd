from libc.stdint cimport int64_t, uint64_t


cdef class NumberSet:
    cdef int64_t* table
    cdef uint64_t mask
    cdef readonly Py_ssize_t count
    cdef bint has(self, int64_t number) noexcept nogil
