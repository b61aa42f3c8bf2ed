"""Big-endian load and store, and the scan for a C-octet string. Inline; the caller has checked the bounds
unless the function takes an end."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy

cdef extern from *:
    """
    #define fp_bswap16(x) __builtin_bswap16(x)
    #define fp_bswap32(x) __builtin_bswap32(x)
    #define fp_bswap64(x) __builtin_bswap64(x)
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    #error "a little-endian machine is expected"
    #endif
    """
    uint16_t fp_bswap16(uint16_t) noexcept nogil
    uint32_t fp_bswap32(uint32_t) noexcept nogil
    uint64_t fp_bswap64(uint64_t) noexcept nogil


cdef inline uint16_t load16(const uint8_t* p) noexcept nogil:
    cdef uint16_t v
    memcpy(&v, p, 2)
    return fp_bswap16(v)


cdef inline uint32_t load32(const uint8_t* p) noexcept nogil:
    cdef uint32_t v
    memcpy(&v, p, 4)
    return fp_bswap32(v)


cdef inline uint64_t load64(const uint8_t* p) noexcept nogil:
    cdef uint64_t v
    memcpy(&v, p, 8)
    return fp_bswap64(v)


cdef inline void store16(uint8_t* p, uint16_t v) noexcept nogil:
    v = fp_bswap16(v)
    memcpy(p, &v, 2)


cdef inline void store32(uint8_t* p, uint32_t v) noexcept nogil:
    v = fp_bswap32(v)
    memcpy(p, &v, 4)


cdef inline void store64(uint8_t* p, uint64_t v) noexcept nogil:
    v = fp_bswap64(v)
    memcpy(p, &v, 8)


cdef inline Py_ssize_t cstring(const uint8_t* p, const uint8_t* end, Py_ssize_t limit) noexcept nogil:
    """Octets of the C-octet string at p with its NUL; 0 when no NUL stands before `end` or within `limit` octets."""
    cdef Py_ssize_t room = end - p
    cdef const void* nul
    if room > limit:
        room = limit
    if room <= 0:
        return 0
    nul = memchr(p, 0, room)
    if nul == NULL:
        return 0
    return <const uint8_t*>nul - p + 1
