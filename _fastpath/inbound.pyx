"""Responses and delivery receipts, read in place.

    submit_sm_resp   header 16 | message_id NUL | TLVs              the body may be missing, whatever the status
    deliver_sm       header 16 | service_type NUL | ton npi source_addr NUL | ton npi destination_addr NUL |
                     esm_class protocol_id priority_flag | schedule NUL | validity NUL |
                     registered_delivery replace data_coding sm_default_msg_id sm_length | short_message | TLVs

SMPP 3.4 §4.4.2, §4.6.1; receipts: appendix B and 5.0 §4.8.4. A receipt is a deliver_sm of type 0x04, or 0x20
(intermediate), that names a message_id and a state; a carrier's Reading may say that the words make it one, whatever
its type. TLVs go before the text, or behind it: receipted_message_id, message_state; network_error_code where the text
has no err; the text may stand in message_payload. What is no receipt, has a header in its text (UDHI), or contradicts
itself is left to the session.
Not here: which segment it belongs to (recall.pyx), the words of its text (receipttext.pyx), forms that are rare: UCS-2,
data_sm, lists with commas (gateway.smpp.receipt).
"""

cimport cython
from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint16_t
from libc.string cimport memcpy

from _fastpath.frame cimport DEFAULT_CAP_OCTETS, frame_length
from _fastpath.receipttext cimport (
    NO_ZONE, RECEIPT_ACKED, RECEIPT_BUFFERED, RECEIPT_FAILED, RECEIPT_SCHEDULED, ReceiptText, receipt_text,
)
from _fastpath.wire cimport cstring, load16, load32

cdef enum:
    DELIVER_SM = 0x00000005
    TYPE_BITS = 0x3C
    TYPE_RECEIPT = 0x04
    TYPE_INTERMEDIATE = 0x20
    UDHI = 0x40
    RECEIPTED_MESSAGE_ID = 0x001E
    DELIVERY_FAILURE_REASON = 0x0425
    MESSAGE_STATE = 0x0427
    CONGESTION_STATE = 0x0428
    MESSAGE_PAYLOAD = 0x0424
    NETWORK_ERROR_CODE = 0x0423
    CODING_BITS = 0x0C
    CODING_UCS2 = 0x08
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


@cython.final
cdef class Reading:
    """How the receipts of one carrier are read.

    recognised_by  esm_class: type 0x04 or 0x20; pattern: an id and a state, whatever the type; either
    prefers        tlv or text: which counts where both have it
    states         state word, in any case -> message_state: before the words everybody knows
    raises         ValueError: more than 32 words, a word of more than 23 octets
    """

    def __init__(self, str recognised_by="esm_class", str prefers="tlv", states=None):
        cdef StateWord* entry
        cdef bytes octets
        if recognised_by not in ("esm_class", "pattern", "either"):
            raise ValueError(f"recognised_by: expected esm_class, pattern or either, got {recognised_by}")
        if prefers not in ("tlv", "text"):
            raise ValueError(f"prefers: expected tlv or text, got {prefers}")
        self.rules.by_esm_class = recognised_by != "pattern"
        self.rules.by_pattern = recognised_by != "esm_class"
        self.rules.text_first = prefers == "text"
        self.rules.words = 0
        for word, state in (states or {}).items():
            octets = word.lower().encode()
            if self.rules.words >= MOST_WORDS or not 0 < len(octets) <= LONGEST_STATE or not -1 <= state <= 9:
                raise ValueError(f"states: expected at most {MOST_WORDS} words of 1 to {LONGEST_STATE} octets, each "
                                 f"with a state from -1 to 9, got {word!r} = {state}")
            entry = &self.rules.word[self.rules.words]
            entry.octets = <int>len(octets)
            entry.state = state
            memcpy(entry.word, <const uint8_t*><const char*>octets, len(octets))
            self.rules.words += 1

    @property
    def zone_s(self):
        """Seconds that the SMSC's dates are ahead of UTC."""
        return self.rules.zone_us / 1e6

    @zone_s.setter
    def zone_s(self, double seconds):
        self.rules.zone_us = <int64_t>(seconds * 1e6)

    def read(self, bytes text not None, bytes message_id, state, bytes network_error, bint is_typed):
        """Read what was taken apart elsewhere; -> fields, or None when it is no receipt.

        text           octets in an alphabet that has ASCII; b"" = none
        message_id … network_error  values of the TLVs, None where they are missing
        is_typed       esm_class says that it is a receipt: with the id alone it is one of unknown state
        """
        cdef Receipt found
        cdef const uint8_t* id_octets = NULL
        cdef const uint8_t* error = NULL
        cdef int id_n = -1
        if message_id is not None:
            id_octets = <const uint8_t*><const char*>message_id
            id_n = <int>len(message_id)
        if network_error is not None and len(network_error) == 3:
            error = <const uint8_t*><const char*>network_error
        found.text = <const uint8_t*><const char*>text
        found.text_octets = <int>len(text)
        found.sequence = 0
        found.number = found.other = INT64_MIN
        if not conclude(&found, id_octets, id_n, NO_STATE if state is None else state, error, &self.rules, is_typed):
            if not is_typed or not self.rules.by_esm_class or not 0 < id_n <= 255 or found.state != NO_STATE:
                return None
            found.message_id = id_octets
            found.id_octets = id_n
            found.state = -1
        return fields_of(&found)


cdef inline int word_state(const Rules* rules, const ReceiptText* parsed) noexcept nogil:
    """The state of a text's word: the carrier's own table first."""
    cdef int i, k
    if rules.words:
        for i in range(rules.words):
            if rules.word[i].octets == parsed.stat_len:
                k = 0
                while k < parsed.stat_len and own_lower(parsed.stat[k]) == rules.word[i].word[k]:
                    k += 1
                if k == parsed.stat_len:
                    return rules.word[i].state
    return state_of(parsed.state)


cdef inline uint8_t own_lower(uint8_t c) noexcept nogil:
    return c | 0x20 if 0x41 <= c <= 0x5A else c


cdef bint conclude(Receipt* out, const uint8_t* tlv_id, int tlv_id_octets, int tlv_state, const uint8_t* error,
                   const Rules* rules, bint is_typed) noexcept nogil:
    """Put the text's fields and the TLVs' together; -> False when it is no receipt. tlv_id_octets < 1 = none."""
    cdef ReceiptText parsed
    cdef int state
    cdef int64_t done
    cdef int code
    receipt_text(out.text, out.text_octets, &parsed)
    out.message_id = tlv_id
    out.id_octets = tlv_id_octets
    if parsed.id_len > 0 and (out.id_octets <= 0 or rules.text_first):
        out.message_id = parsed.id
        out.id_octets = parsed.id_len
    state = tlv_state
    if parsed.stat_len > 0 and (state == NO_STATE or state > 9 or rules.text_first):
        # Whichever of the two goes first: one that says nothing known leaves the word to the other.
        state = word_state(rules, &parsed)
        if state < 0 and tlv_state != NO_STATE:
            state = tlv_state
    out.state = state
    out.err = parsed.err
    out.err_octets = parsed.err_len if parsed.err_len > 0 else -1
    if error != NULL and out.err_octets < 0:
        code = load16(error + 1)
        out.err = out.network_error
        out.err_octets = 0
        if code >= 10000:
            out.network_error[out.err_octets] = <uint8_t>(0x30 + code // 10000)
            out.err_octets += 1
        if code >= 1000:
            out.network_error[out.err_octets] = <uint8_t>(0x30 + code // 1000 % 10)
            out.err_octets += 1
        out.network_error[out.err_octets] = <uint8_t>(0x30 + code // 100 % 10)
        out.network_error[out.err_octets + 1] = <uint8_t>(0x30 + code // 10 % 10)
        out.network_error[out.err_octets + 2] = <uint8_t>(0x30 + code % 10)
        out.err_octets += 3
    done = parsed.done_at_us
    if done != INT64_MIN:
        done -= rules.zone_us if parsed.done_zone_min == NO_ZONE else <int64_t>parsed.done_zone_min * 60_000_000
    out.done_at_us = done
    if out.id_octets <= 0 or out.id_octets > 255 or out.state == NO_STATE:
        return False
    if out.state > 9 or out.state < 0:
        out.state = -1
    return (is_typed and rules.by_esm_class) or rules.by_pattern


cdef void read_response(const uint8_t* p, Py_ssize_t octets, Response* out) noexcept nogil:
    """Read a whole submit_sm_resp of at least 16 octets. An id without its NUL, or too long, is no id."""
    out.status = load32(p + 8)
    out.sequence = load32(p + 12)
    out.message_id = p + 16
    out.id_octets = <int>cstring(p + 16, p + octets, 65) - 1


cdef void read_told(const uint8_t* p, Py_ssize_t octets, const Response* response, Told* out) noexcept nogil:
    """What a submit_sm_resp says beside its id, in TLVs; those that do not fit are not there."""
    cdef const uint8_t* end = p + octets
    cdef const uint8_t* q = p + 16
    cdef uint16_t tag, length
    out.congestion = -1
    out.network_type = -1
    out.network_error = -1
    out.failure_reason = -1
    # The body of a refusal may lack the message_id, too: then TLVs, if any, begin at once.
    if response.id_octets >= 0:
        q += response.id_octets + 1
    while end - q >= 4:
        tag = load16(q)
        length = load16(q + 2)
        q += 4
        if end - q < length:
            return
        if tag == CONGESTION_STATE and length == 1 and q[0] <= 100:
            out.congestion = q[0]
        elif tag == NETWORK_ERROR_CODE and length == 3:
            out.network_type = q[0]
            out.network_error = load16(q + 1)
        elif tag == DELIVERY_FAILURE_REASON and length == 1:
            out.failure_reason = q[0]
        q += length


cdef bint read_receipt(const uint8_t* p, Py_ssize_t octets, const Rules* rules, Receipt* out) noexcept nogil:
    """Read a whole deliver_sm of at least 16 octets; -> False when it is no receipt, or broken."""
    cdef const uint8_t* end = p + octets
    cdef const uint8_t* q = p + 16
    cdef const uint8_t* source
    cdef const uint8_t* destination
    cdef const uint8_t* tlv_id = NULL
    cdef const uint8_t* error = NULL
    cdef Py_ssize_t n, source_octets, destination_octets
    cdef uint16_t tag, length
    cdef int tlv_id_octets = -1, tlv_state = NO_STATE
    cdef bint is_typed
    out.sequence = load32(p + 12)
    n = cstring(q, end, 6)
    if n == 0 or end - q < n + 2:
        return False
    q += n + 2
    source = q
    source_octets = cstring(q, end, 21)
    if source_octets == 0 or end - q < source_octets + 2:
        return False
    q += source_octets + 2
    destination = q
    destination_octets = cstring(q, end, 21)
    if destination_octets == 0 or end - q < destination_octets + 3:
        return False
    q += destination_octets
    is_typed = (q[0] & TYPE_BITS) == TYPE_RECEIPT or (q[0] & TYPE_BITS) == TYPE_INTERMEDIATE
    if not rules.by_pattern and not is_typed:
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
    # UCS-2 has NULs for blanks: gateway.smpp.receipt decodes it first.
    if ((q - 3)[0] & CODING_BITS) == CODING_UCS2:
        return False
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
        if tag == RECEIPTED_MESSAGE_ID and tlv_id_octets < 1:
            tlv_id = q
            # With or without its NUL.
            n = cstring(q, q + length, length)
            tlv_id_octets = <int>n - 1 if n else length
        elif tag == MESSAGE_STATE and length == 1 and tlv_state == NO_STATE:
            tlv_state = q[0]
        elif tag == MESSAGE_PAYLOAD and out.text_octets == 0:
            out.text = q
            out.text_octets = length
        elif tag == NETWORK_ERROR_CODE and length == 3 and error == NULL:
            error = q
        q += length
    if q != end:
        return False
    if not conclude(out, tlv_id, tlv_id_octets, tlv_state, error, rules, is_typed):
        return False
    out.number = digits(source, source_octets - 1)
    out.other = digits(destination, destination_octets - 1)
    return True


cdef object fields_of(Receipt* found):
    return {
        "message_id": found.message_id[:found.id_octets],
        "state": found.state,
        "err": None if found.err_octets < 0 else found.err[:found.err_octets],
        "done_at_us": None if found.done_at_us == INT64_MIN else found.done_at_us,
    }


def receipt(bytes pdu, Reading reading=None):
    """Read one whole deliver_sm as the compiled path does; -> its fields, or None when it is left to the session.

    raises  ValueError when this is no whole deliver_sm
    """
    cdef Receipt found
    cdef const uint8_t* p = <const uint8_t*><const char*>pdu
    if frame_length(p, len(pdu), DEFAULT_CAP_OCTETS) != len(pdu) or load32(p + 4) != DELIVER_SM:
        raise ValueError(f"deliver_sm: expected one whole PDU, got {len(pdu)} octets")
    if reading is None:
        reading = Reading()
    if not read_receipt(p, len(pdu), &reading.rules, &found):
        return None
    return {
        "sequence_number": found.sequence,
        **fields_of(&found),
        "number": None if found.number == INT64_MIN else found.number,
        "other": None if found.other == INT64_MIN else found.other,
        "text": found.text[:found.text_octets],
    }
