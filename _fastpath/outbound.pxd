from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from _fastpath.batch cimport Batch
from _fastpath.template cimport Template

cdef enum:
    # outcome.status of what never left; the names are gateway.message.Refusal's.
    NOT_ENCODABLE = -10
    TOO_MANY_PARTS = -11
    MISSING_FIELD = -12
    EXPIRED = -13
    EMPTY = -14
    SUPPRESSED = -16
    ABANDONED = -17

cdef enum:
    # What the carrier's own fields lack; see Form, `tlvs`.
    INVALID_TLV = -15

cdef enum:
    BY_UDH16 = 0
    BY_UDH8 = 1
    BY_SAR = 2
    BY_PAYLOAD = 3

cdef enum:
    NO_VALIDITY = 0
    RELATIVE = 1
    ABSOLUTE = 2

cdef enum:
    CSTRING = 0
    OCTETS = 1
    INT1 = 2
    INT2 = 3
    INT4 = 4

# A way to write a message: an alphabet, with its tables, and what follows from them.
cdef struct Way:
    int alphabet
    int single_shift
    int locking
    int table               # index in Form.tables; -1 = the default alphabet, or another
    uint8_t data_coding
    bint bare               # a single part is the text alone: no header, not packed
    int element_octets
    uint8_t elements[12]    # shift tables and ports, in every part
    int single              # capacity of one part, in octets of the unpacked text
    int multi               # of each of several

# A TLV whose value is a column of the chunk.
cdef struct FieldTlv:
    uint16_t tag
    int kind
    int column
    bint required
    int most                # octets of the value, without the NUL of a cstring


cdef class Form:
    cdef readonly Template template
    cdef readonly str concatenation
    cdef int joining
    cdef readonly int max_parts
    cdef readonly bint grapheme
    cdef readonly bint wants_receipts
    cdef readonly int columns       # how many the chunk must have
    cdef Way* ways
    cdef int way_count
    cdef list tables                # National
    cdef bint chooses               # what the first way cannot carry is compared over all ways
    cdef bint rivals                # so is what it carries in several parts
    cdef int transliterates         # 0, SAFE, LOSSY
    cdef int gsm_way                # index of the default alphabet's; -1 = the carrier does not take it
    cdef bint binary                # the text is hexadecimal digits of octets
    cdef bint packed
    cdef int validity
    cdef int validity_quarters
    cdef bint more_messages
    cdef bint trails                # something stands behind the text besides sar_*
    cdef bytes trailer
    cdef FieldTlv* fields
    cdef int field_count
    cdef bytes head
    cdef bytes tail
    cdef const uint8_t* head_octets
    cdef const uint8_t* tail_octets
    cdef int head_size
    cdef int tail_size
    cdef readonly int reference_bits        # 8 or 16
    cdef readonly uint64_t source_key       # the source address, for References
    cdef Py_ssize_t largest         # octets of the longest PDU this form can write


cdef class Composer:
    cdef uint8_t* scratch           # the text as it will be cut
    cdef Py_ssize_t octets
    cdef int way
    cdef bint bare
    cdef int count
    cdef int needed                 # parts of a message that has too many; 0 = over 255
    cdef int replaced               # characters that transliteration replaced
    cdef uint32_t ends[256]
    cdef uint32_t reference         # of a message of several segments; set by the caller after load
    cdef Form constant_form         # whose text, without fields, stands in the scratch
    # The tail of the form with its validity_period, for messages that end at one moment.
    cdef Form worn
    cdef double worn_until
    cdef uint8_t tail[32]
    cdef int tail_size
    cdef double now
    cdef int64_t wall_offset_us
    cdef uint8_t tlvs[2048]          # of this message
    cdef int tlv_octets
    cdef readonly uint64_t transliterated, segments_saved
    cdef int saved                  # parts that the last transliteration saved
    cdef void uncount(self) noexcept
    cdef void at(self, double now, int64_t wall_offset_us) noexcept
    cdef void wear(self, Form form, double until) noexcept
    cdef int load(self, Form form, Batch batch, int32_t pos) noexcept
    cdef int choose(self, Form form, Batch batch, int32_t pos) noexcept
    cdef Py_ssize_t put(self, Form form, const Way* way, Py_ssize_t wide, uint8_t* dst) noexcept
    cdef int load_tlvs(self, Form form, Batch batch, int32_t pos) noexcept
    cdef Py_ssize_t write(self, Form form, int64_t number, uint32_t sequence, int index, uint8_t* dst) noexcept
    cdef uint8_t* write_part(self, Form form, int index, uint8_t* tail, uint8_t* p) noexcept
    cdef uint8_t* write_trailer(self, Form form, int index, uint8_t* p) noexcept
