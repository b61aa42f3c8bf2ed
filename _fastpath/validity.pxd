"""Time fields on their way out: see validity.pyx."""

from libc.stdint cimport int64_t, uint8_t

cdef void write_relative(double span_s, uint8_t* dst) noexcept nogil
cdef void write_absolute(int64_t at_s, int quarters, uint8_t* dst) noexcept nogil
