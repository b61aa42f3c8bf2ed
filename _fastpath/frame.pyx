# cython: auto_pickle=False
"""Byte stream -> whole PDUs; keeps what is left over for the next read.

Wire:

    LL LL LL LL | CC CC CC CC | TT TT TT TT | SS SS SS SS | body ...
    |             command_id    command_status sequence_number
    +-- command_length: octets of the whole PDU, these four included; 16 .. cap

There is no resynchronisation: behind a command_length that cannot be, nothing can be read (SMPP 3.4 §3.2).
Not here: what stands inside a PDU (inbound.pyx for the hot ones, gateway.smpp.pdu for the rest).
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memmove

from _fastpath.frame cimport DEFAULT_CAP_OCTETS, FRAME_LOST, HEADER_OCTETS, frame_length
from _fastpath.wire cimport load32

from _fastpath.faults import LostFraming


cdef class Frames:
    """The cutter of one link.

    cap      most octets a PDU may have, 16 .. 2**31 - 1
    raises   ValueError on a cap outside these bounds
    memory   never more than one incomplete PDU (under `cap` octets) and the octets of one feed
    """

    cdef bytearray _rest
    cdef uint32_t _cap
    cdef object _lost

    def __init__(self, cap: int = DEFAULT_CAP_OCTETS):
        if not HEADER_OCTETS <= cap <= 0x7FFFFFFF:
            raise ValueError(f"cap: {cap} octets, expected {HEADER_OCTETS} to 2147483647")
        self._cap = cap
        self._rest = bytearray()
        self._lost = None

    def feed(self, octets: bytes | bytearray | memoryview) -> list[bytes]:
        """Take what a read brought and give out the PDUs it completes, in order.

        When framing is lost behind some of them, these are still given out and `lost` says why: look at it after
        every feed. Nothing behind the loss is kept.
        raises   LostFraming when fed again after the loss
        cost     one copy of each PDU, and one of what is left over
        """
        if self._lost is not None:
            raise self._lost
        cdef const uint8_t[::1] view
        cdef const uint8_t* p
        cdef Py_ssize_t n, held = PyByteArray_GET_SIZE(self._rest)
        n = len(octets)
        if n == 0:
            return []
        view = octets
        n = view.shape[0]
        if held == 0:
            return self._cut(&view[0], n, False)
        PyByteArray_Resize(self._rest, held + n)
        p = <const uint8_t*>PyByteArray_AS_STRING(self._rest)
        memcpy(<uint8_t*>p + held, &view[0], n)
        return self._cut(p, held + n, True)

    cdef list _cut(self, const uint8_t* p, Py_ssize_t n, bint held):
        """Cut n octets at p; `held` says that p is our own buffer, else the tail is copied into it."""
        cdef list pdus = []
        cdef Py_ssize_t offset = 0, length
        while True:
            length = frame_length(p + offset, n - offset, self._cap)
            if length <= 0:
                break
            pdus.append(PyBytes_FromStringAndSize(<const char*>p + offset, length))
            offset += length
        if length == FRAME_LOST:
            self._lost = LostFraming(
                f"command_length {load32(p + offset)}, expected {HEADER_OCTETS} to {self._cap}"
            )
            self._rest = bytearray()
        elif not held:
            PyByteArray_Resize(self._rest, n - offset)
            memcpy(PyByteArray_AS_STRING(self._rest), p + offset, n - offset)
        elif offset:
            memmove(PyByteArray_AS_STRING(self._rest), p + offset, n - offset)
            PyByteArray_Resize(self._rest, n - offset)
        return pdus

    @property
    def lost(self) -> LostFraming | None:
        """Why nothing more can be read from this link; None while framing is sound."""
        return self._lost

    @property
    def rest(self) -> bytes:
        """The octets of a PDU that is not whole yet."""
        return bytes(self._rest)
