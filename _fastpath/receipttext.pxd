"""What a delivery receipt's text says: see receipttext.pyx."""

from libc.stdint cimport int64_t, uint8_t

cdef struct ReceiptText:
    # Pointers into the octets that were parsed; NULL where the field is absent, a length of 0 where it is empty.
    const uint8_t* id
    int id_len
    int state  # 1..9 as SMPP 5.0 §4.7.15; 0 = a word without a number; else one of RECEIPT_…
    const uint8_t* stat
    int stat_len
    const uint8_t* err
    int err_len
    int64_t done_at_us  # microseconds since 2000-01-01 as read, no zone applied; INT64_MIN = absent, zero or unsound
    int64_t submit_at_us
    int done_zone_min  # minutes that done_at_us is ahead of UTC, where the date says so itself; else NO_ZONE
    const uint8_t* text
    int text_len
    const uint8_t* sub
    int sub_len
    const uint8_t* dlvrd
    int dlvrd_len

cdef enum:
    NO_ZONE = 0x7FFF
    RECEIPT_SCHEDULED = 10  # SCHEDLD, whose number in SMPP is 0; not final
    RECEIPT_FAILED = 11  # FAILED: final, not delivered
    RECEIPT_BUFFERED = 12  # BUFFRED, BUFFERD: waits at the MC; not final
    RECEIPT_ACKED = 13  # ACKED: taken by the next MC; not final

cdef int receipt_state(const uint8_t* p, Py_ssize_t octets) noexcept nogil
cdef bint receipt_text(const uint8_t* p, Py_ssize_t n, ReceiptText* out) noexcept nogil
