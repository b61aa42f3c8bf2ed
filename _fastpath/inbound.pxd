"""What the SMSC sends, as spans of the read buffer: see inbound.pyx."""

from libc.stdint cimport int64_t, uint8_t, uint32_t


cdef struct Response:
    uint32_t status
    uint32_t sequence
    const uint8_t* message_id
    int id_octets               # below 1: none that can be read


cdef struct Told:
    int congestion              # congestion_state 0..100; -1 = not told, as for the others
    int network_type
    int network_error
    int failure_reason


cdef struct Receipt:
    uint32_t sequence
    const uint8_t* message_id
    int id_octets               # 1..255
    int state                   # 0..9 as message_state of SMPP 5.0 §4.7.15; -1 = a word outside it
    const uint8_t* err
    int err_octets              # -1 = absent
    int64_t done_at_us          # since 2000-01-01 UTC; INT64_MIN = absent
    int64_t number              # whose handset: source_addr as digits; INT64_MIN = none of up to 18
    int64_t other               # destination_addr, likewise: some SMSCs do not turn the two round
    const uint8_t* text
    int text_octets
    uint8_t network_error[8]    # what err points to where a TLV gave it


cdef enum:
    MOST_WORDS = 32
    LONGEST_STATE = 23


cdef struct StateWord:
    int octets
    int state
    uint8_t word[24]            # in small letters


cdef struct Rules:
    bint by_esm_class
    bint by_pattern
    bint text_first
    int64_t zone_us             # that the dates of this SMSC are ahead of UTC
    int words
    StateWord word[32]


cdef class Reading:
    cdef Rules rules


cdef void read_response(const uint8_t* p, Py_ssize_t octets, Response* out) noexcept nogil
cdef bint read_receipt(const uint8_t* p, Py_ssize_t octets, const Rules* rules, Receipt* out) noexcept nogil
cdef void read_told(const uint8_t* p, Py_ssize_t octets, const Response* response, Told* out) noexcept nogil
