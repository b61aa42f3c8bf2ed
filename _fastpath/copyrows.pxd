from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t


cdef class Rows:
    cdef uint8_t* data
    cdef Py_ssize_t size
    cdef Py_ssize_t room
    cdef readonly Py_ssize_t count
    cdef uint8_t* reserve(self, Py_ssize_t octets) except NULL nogil


cdef class OutcomeRows(Rows):
    cdef readonly int32_t lane
    cdef int add(self, int64_t chunk_id, int32_t pos, int16_t segment, int16_t segments, int32_t epoch,
                 int32_t status, int64_t at_us, int32_t rtt_us,
                 const uint8_t* message_id, int32_t id_octets) except -1 nogil


cdef class ReceiptRows(Rows):
    cdef readonly int32_t lane
    cdef int add(self, int64_t chunk_id, int32_t pos, int16_t segment, int64_t at_us,
                 const uint8_t* message_id, int32_t id_octets, int16_t state,
                 const uint8_t* err, int32_t err_octets, int64_t done_at_us, int64_t number,
                 const uint8_t* raw, int32_t raw_octets) except -1 nogil


cdef class WaitingRows(Rows):
    cdef readonly int32_t lane
    cdef int add(self, int64_t at_us, const uint8_t* message_id, int32_t id_octets, int16_t state,
                 const uint8_t* err, int32_t err_octets, int64_t done_at_us, int64_t number, int64_t other,
                 const uint8_t* raw, int32_t raw_octets) except -1 nogil
