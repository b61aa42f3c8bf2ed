from libc.stdint cimport int32_t, uint8_t, uint32_t


cdef struct Piece:
    int32_t field           # -1 = literal, else the index of the field
    bint required           # a field without default
    int32_t least           # octets below which a value gives way to the default: 0, or 1
    # Where the literal, or the default, stands in `store` in each alphabet; octets -1 = this alphabet lacks it.
    uint32_t at[4]
    int32_t octets[4]


cdef class Template:
    cdef readonly str text
    cdef readonly tuple fields
    cdef readonly tuple required
    cdef readonly bint constant
    cdef Piece* pieces
    cdef int count
    cdef bytes store
    cdef const uint8_t* octets
    cdef Py_ssize_t compose(self, int alphabet, const uint8_t* base, const uint32_t* starts, const int32_t* lengths,
                            uint8_t* dst, Py_ssize_t room) noexcept nogil
