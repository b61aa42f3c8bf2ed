from libc.stdint cimport int64_t, uint64_t


cdef class NumberSet:
    cdef int64_t* table
    cdef uint64_t mask
    cdef readonly Py_ssize_t count
    cdef int grow(self, uint64_t places) except -1
    cpdef bint add(self, int64_t number) except -1
    cpdef bint discard(self, int64_t number) except -1
    cdef bint has(self, int64_t number) noexcept nogil
