"""Responses and delivery receipts, read in place.

    submit_sm_resp   header 16 | message_id NUL | TLVs              the body may be missing, whatever the status
    deliver_sm       header 16 | service_type NUL | ton npi source_addr NUL | ton npi destination_addr NUL |
                     esm_class protocol_id priority_flag | schedule NUL | validity NUL |
                     registered_delivery replace data_coding sm_default_msg_id sm_length | short_message | TLVs

SMPP 3.4 §4.4.2, §4.6.1; receipts: appendix B and 5.0 §4.8.4. A receipt is a deliver_sm of type 0x04, or 0x20
(intermediate), that names a message_id and a state. TLVs go before the text: receipted_message_id, message_state; the
text may stand in message_payload. What is no receipt, has a header in its text (UDHI), or contradicts itself is left to
the session.
Not here: which segment it belongs to (recall.pyx), the words of its text (receipttext.pyx).
"""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint16_t

from _fastpath.frame cimport DEFAULT_CAP_OCTETS, frame_length
from _fastpath.receipttext cimport (
    RECEIPT_ACKED, RECEIPT_BUFFERED, RECEIPT_FAILED, RECEIPT_SCHEDULED, ReceiptText, receipt_text,
)
from _fastpath.wire cimport cstring, load16, load32

cdef enum:
    DELIVER_SM = 0x00000005
    TYPE_BITS = 0x3C
    TYPE_RECEIPT = 0x04
    TYPE_INTERMEDIATE = 0x20
    UDHI = 0x40
    RECEIPTED_MESSAGE_ID = 0x001E
    MESSAGE_STATE = 0x0427
    MESSAGE_PAYLOAD = 0x0424
    NO_STATE = -2


cdef inline int64_t digits(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    """A number of up to 18 digits, a leading + allowed; INT64_MIN for anything else."""
    cdef int64_t v = 0
    if n > 0 and p[0] == 0x2B:
        p += 1
        n -= 1
    if n < 1 or n > 18:
        return INT64_MIN
    while n > 0:
        if not 0x30 <= p[0] <= 0x39:
            return INT64_MIN
        v = v * 10 + p[0] - 0x30
        p += 1
        n -= 1
    return v


cdef inline int state_of(int word) noexcept nogil:
    """The state of a parsed word: those outside SMPP 5.0 §4.7.15 by their meaning, an unknown one -1."""
    if word == RECEIPT_SCHEDULED:
        return 0
    if word == RECEIPT_FAILED:
        return 5
    if word == RECEIPT_BUFFERED:
        return 1
    if word == RECEIPT_ACKED:
        return 6
    return -1 if word == 0 else word


cdef void read_response(const uint8_t* p, Py_ssize_t octets, Response* out) noexcept nogil:
    """Read a whole submit_sm_resp of at least 16 octets. An id without its NUL, or too long, is no id."""
    out.status = load32(p + 8)
    out.sequence = load32(p + 12)
    out.message_id = p + 16
    out.id_octets = <int>cstring(p + 16, p + octets, 65) - 1


cdef bint read_receipt(const uint8_t* p, Py_ssize_t octets, Receipt* out) noexcept nogil:
    """Read a whole deliver_sm of at least 16 octets; -> False when it is no receipt, or broken."""
    cdef const uint8_t* end = p + octets
    cdef const uint8_t* q = p + 16
    cdef const uint8_t* source
    cdef Py_ssize_t n, source_octets
    cdef uint16_t tag, length
    cdef ReceiptText parsed
    out.sequence = load32(p + 12)
    out.message_id = NULL
    out.id_octets = -1
    out.state = NO_STATE
    out.err = NULL
    out.err_octets = -1
    out.done_at_us = INT64_MIN
    n = cstring(q, end, 6)
    if n == 0 or end - q < n + 2:
        return False
    q += n + 2
    source = q
    source_octets = cstring(q, end, 21)
    if source_octets == 0 or end - q < source_octets + 2:
        return False
    q += source_octets + 2
    n = cstring(q, end, 21)
    if n == 0 or end - q < n + 3:
        return False
    q += n
    if (q[0] & TYPE_BITS) != TYPE_RECEIPT and (q[0] & TYPE_BITS) != TYPE_INTERMEDIATE:
        return False
    if q[0] & UDHI:
        return False
    q += 3
    n = cstring(q, end, 17)
    if n == 0:
        return False
    q += n
    n = cstring(q, end, 17)
    if n == 0 or end - q < n + 5:
        return False
    q += n + 5
    out.text = q
    out.text_octets = (q - 1)[0]
    if end - q < out.text_octets:
        return False
    q += out.text_octets
    while end - q >= 4:
        tag = load16(q)
        length = load16(q + 2)
        q += 4
        if end - q < length:
            return False
        # A TLV given twice: the first one counts (SMPP leaves it undefined).
        if tag == RECEIPTED_MESSAGE_ID and out.id_octets < 1:
            out.message_id = q
            # With or without its NUL.
            n = cstring(q, q + length, length)
            out.id_octets = <int>n - 1 if n else length
        elif tag == MESSAGE_STATE and length == 1 and out.state == NO_STATE:
            out.state = q[0]
        elif tag == MESSAGE_PAYLOAD and out.text_octets == 0:
            out.text = q
            out.text_octets = length
        q += length
    if q != end:
        return False
    if receipt_text(out.text, out.text_octets, &parsed):
        if out.id_octets <= 0:
            out.message_id = parsed.id
            out.id_octets = parsed.id_len
        if out.state == NO_STATE:
            out.state = state_of(parsed.state)
        out.err = parsed.err
        out.err_octets = parsed.err_len if parsed.err_len > 0 else -1
        out.done_at_us = parsed.done_at_us
    if out.id_octets <= 0 or out.id_octets > 255 or out.state == NO_STATE:
        return False
    if out.state > 9:
        out.state = -1
    out.number = digits(source, source_octets - 1)
    return True


def receipt(bytes pdu):
    """Read one whole deliver_sm as the compiled path does; -> its fields, or None when it is left to the session.

    raises  ValueError when this is no whole deliver_sm
    """
    cdef Receipt found
    cdef const uint8_t* p = <const uint8_t*><const char*>pdu
    if frame_length(p, len(pdu), DEFAULT_CAP_OCTETS) != len(pdu) or load32(p + 4) != DELIVER_SM:
        raise ValueError(f"deliver_sm: expected one whole PDU, got {len(pdu)} octets")
    if not read_receipt(p, len(pdu), &found):
        return None
    return {
        "sequence_number": found.sequence,
        "message_id": found.message_id[:found.id_octets],
        "state": found.state,
        "err": None if found.err_octets < 0 else found.err[:found.err_octets],
        "done_at_us": None if found.done_at_us == INT64_MIN else found.done_at_us,
        "number": None if found.number == INT64_MIN else found.number,
        "text": found.text[:found.text_octets],
    }
