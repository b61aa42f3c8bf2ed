"""Where one PDU ends in a byte stream. Shared by every room that walks a read buffer."""

from libc.stdint cimport uint8_t, uint32_t

from _fastpath.wire cimport load32

cdef enum:
    FRAME_WAIT = 0
    FRAME_LOST = -1
    HEADER_OCTETS = 16
    # 64 KiB for the largest message_payload and 1 KiB for the fields around it (SMPP 3.4 §5.3.2.32).
    DEFAULT_CAP_OCTETS = 66560


cdef inline Py_ssize_t frame_length(const uint8_t* p, Py_ssize_t available, uint32_t cap) noexcept nogil:
    """Octets of the whole PDU at p; FRAME_WAIT when more octets are needed; FRAME_LOST when command_length cannot be.

    Judged from the first four octets alone: a length bomb is seen before anything is buffered for it.
    """
    cdef uint32_t length
    if available < 4:
        return FRAME_WAIT
    length = load32(p)
    if length < HEADER_OCTETS or length > cap:
        return FRAME_LOST
    if <Py_ssize_t>length > available:
        return FRAME_WAIT
    return <Py_ssize_t>length
