from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct Memory:
    uint64_t key            # of the id without its case and its leading zeros; 0 = free
    int64_t chunk_id
    int32_t pos
    uint32_t tail           # the last 9 digits of the number it went to; NO_TAIL = not known
    uint32_t sent_10us
    uint16_t check          # of the id as it stands
    uint16_t segment


cdef enum:
    PENDING = 16
    NO_TAIL = 0xFFFFFFFF
    LONGEST_NUMBER = 20     # decimal digits of 64 bits; 16 hexadecimal ones

cdef enum:
    # By which rule an id of a receipt is one of a response.
    RULE_NONE = 0           # not learnt yet
    RULE_VERBATIM = 1
    RULE_LOOSE = 2          # but for its case and its leading zeros
    RULE_HEX = 3            # the receipt's is the decimal form of the response's, which is hexadecimal
    RULE_DECIMAL = 4        # the receipt's is the hexadecimal form of the response's, which is decimal


cdef class Recall:
    cdef Memory ring[16]
    cdef int pending
    cdef Memory* young
    cdef Memory* old
    cdef uint32_t young_mask
    cdef uint32_t old_mask
    cdef readonly int kept
    cdef readonly int capacity
    cdef int learnt
    cdef readonly bint is_fixed
    cdef readonly uint64_t strays
    cdef readonly int changes
    cdef int rival
    cdef uint64_t rivals
    cdef uint64_t hits[5]
    cdef uint64_t unproven
    cdef uint64_t ambiguous
    cdef int remember(self, const uint8_t* message_id, int octets,
                      int64_t chunk_id, int32_t pos, int segment,
                      double sent_at, int64_t number) except -1
    cdef int enter(self) except -1
    cdef int make_room(self) except -1
    cdef Memory* find(self, const uint8_t* message_id, int octets) noexcept
    cdef Memory* match(self, const uint8_t* message_id, int octets, int64_t number, int64_t other) noexcept
    cdef Memory* judge(self, const uint8_t* message_id, int octets, int64_t number, int64_t other,
                       int* rule) noexcept
    cdef int gather(self, uint64_t key, Memory** found, int most) noexcept
    cdef void weigh(self, Memory* memory, int64_t number, int64_t other, int r, Memory** by_rule,
                    bint* contested) noexcept
    cdef void count(self, int rule, uint64_t n) noexcept


cdef int as_hex(const uint8_t* message_id, int octets, uint8_t* out) noexcept nogil
cdef int as_decimal(const uint8_t* message_id, int octets, uint8_t* out) noexcept nogil
