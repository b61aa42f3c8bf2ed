# cython: auto_pickle=False
"""The message centre's side of the wire, a read buffer at a time: what the simulator answers, and when.

    octets of a link ──turn()──► submit_sm parsed ─► fate decided ─┬─► response, receipt: into the link's output, now
                                                                   └─► a node on the timer wheel ──advance()──► output
    output of a link ──pending()──► the kernel ──handed()──► the ledger knows what left

Nothing here reads a clock, a socket or a file: octets and `now_ns` (monotonic) come in; octets for links and for the
ledger go out. Chance is a hash of (seed, salt, number of the message): a fate depends on nothing but the seed and the
order of arrival, however the octets were chunked and whatever the receipts did meanwhile.

Handled here once a link is bound: submit_sm, enquire_link, deliver_sm_resp, data_sm_resp, generic_nack of a receipt.
Every other PDU is handed out whole (`other`), in its place in the stream: turn() stops behind it.
Not here: binds, states and rare requests (gateway.smpp.session), policy of binds (gateway.simulator.smsc).

The ledger, one line an event, comma separated; octets of addresses outside 0x21..0x7E, comma, quote, percent are %XX:

    S,at_ns,link,system_id,sequence,source,destination,esm_class,data_coding,registered,octets,fnv1a64|hex,status,id,offset
    R,at_ns,link,sequence,status,id,offset          a response written later than its submit (S then has offset 0)
    D,at_ns,link,sequence,id,state,offset           a receipt written; sequence is ours
    M,at_ns,link,sequence,source,destination,offset an inbound (MO) message written
    K,at_ns,link,sequence,id,status                 the ESME's answer to D or M (id empty for M)
    O,at_ns,link,offset                             octets of this link's output handed to the kernel so far
    B,at_ns,link,system_id,mode,version             bound
    X,at_ns,link,reason                             gone
    E,at_ns,first_id,carrier                        the simulator started; links count from 1 again

`offset` is the place in the link's output where the PDU ends: it left if a later O of that link reaches it.
"""

import base64

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from _fastpath.frame cimport DEFAULT_CAP_OCTETS, FRAME_LOST, FRAME_WAIT, HEADER_OCTETS, frame_length
from _fastpath.wire cimport cstring, load16, load32, store16, store32

from _fastpath.faults import LostFraming


cdef extern from *:
    """
    #define ctz64(x) __builtin_ctzll(x)
    #define LOW_32 0xFFFFFFFFu
    """
    int ctz64(uint64_t) noexcept nogil
    const uint32_t LOW_32


cdef enum:
    SUBMIT_SM = 0x00000004
    DELIVER_SM = 0x00000005
    ENQUIRE_LINK = 0x00000015
    DATA_SM = 0x00000103
    GENERIC_NACK = 0x80000000
    SUBMIT_SM_RESP = 0x80000004
    DELIVER_SM_RESP = 0x80000005
    SUBMIT_MULTI_RESP = 0x80000021
    DATA_SM_RESP = 0x80000103

    HIGH_WATER = 4 << 20       # a link with more output than this is given no receipt: they wait with the account
    RECENT = 1 << 16           # messages that query_sm and cancel_sm can still find
    UNACKED_ROOM = 1 << 20     # receipts a link may owe an answer for before the oldest are forgotten

    TICK_SHIFT = 18            # a tick of the wheel is 2^18 ns = 0.26 ms; nothing is early, all is at most a tick late
    SLOTS = 4096               # of a wheel: 1.07 s in the near one, 73 minutes in the far one
    WORDS = 64                 # of a bitmap over the slots
    SLAB_SHIFT = 12

    RESPONSE = 1               # kinds of node
    RECEIPT = 2
    REPLY = 3
    MO = 4
    MO_TICK = 5

    LIMIT_NONE = 0             # models of a rate limit
    LIMIT_SECOND = 1
    LIMIT_SLIDING = 2
    LIMIT_GAP = 3
    LIMIT_SLOW = 4

    SALT_STATUS = 0            # one stream of chance a question
    SALT_DELAY = 1
    SALT_LATE = 2
    SALT_LATE_BY = 3
    SALT_SILENT = 4
    SALT_STATE = 5
    SALT_RECEIPT_DELAY = 6
    SALT_EARLY = 7
    SALT_DUPLICATE = 8
    SALT_MISSING = 9
    SALT_DROP = 10
    SALT_REPLY = 11
    SALT_REPLY_TEXT = 12
    SALT_MO = 13
    SALT_ID = 14
    SALT_PART = 15
    SALT_PART_TWICE = 16
    SALT_SHAPE = 17
    SALTS = 18

    UDH_8 = 1                  # how a part says which it is
    UDH_16 = 2
    SAR = 3

    FORM_DECIMAL = 0
    FORM_HEX = 1
    FORM_HEX_UPPER = 2
    FORM_UUID = 3
    FORM_UUID_UPPER = 4
    FORM_SAR = 5               # SAR-, thirteen digits, the number, two more
    FORM_BASE32 = 6            # 26 characters
    FORM_NONE = 7

    TLV_ID = 1                 # what a receipt has in TLVs
    TLV_STATE = 2
    TLV_ERROR = 4
    TLV_VENDOR = 8

    OP_LITERAL = 0             # pieces of a receipt's text
    OP_ID = 1
    OP_STATE = 2
    OP_ERROR = 3
    OP_DELIVERED = 4
    OP_TEXT = 5
    OP_SUBMIT = 6              # + 16 * form of date
    OP_DONE = 7
    OP_SOURCE = 8
    OP_DESTINATION = 9
    OP_CODE = 10
    OP_LISTED = 11             # 00 delivered, 01 not

    DATE_10 = 0                # YYMMDDhhmm
    DATE_12 = 1                # YYMMDDhhmmss
    DATE_14 = 2                # YYYYMMDDhhmmss
    DATE_LONG_12 = 3           # YYYYMMDDhhmm
    DATE_SMPP = 4              # YYMMDDhhmmsst00+


cdef struct Node:
    int64_t due
    int64_t submit_ns
    uint64_t serial
    uint32_t next
    uint32_t link              # a response goes to this link; a receipt to any of its account
    uint32_t sequence          # of the request (RESPONSE); ours, while an answer is owed (RECEIPT, REPLY, MO)
    uint32_t status            # of a response; of a message of a handset which part, from 0
    uint32_t command           # of the response
    uint16_t account
    uint8_t kind
    uint8_t state              # index into the mix of states; 0xFF: no receipt
    uint8_t ston
    uint8_t snpi
    uint8_t dton
    uint8_t dnpi
    uint8_t slen
    uint8_t dlen
    uint8_t tlen
    uint8_t tries
    uint8_t octets[72]         # source, destination, start of the text, without NULs


cdef struct Link:
    uint8_t* out
    size_t head
    size_t tail
    size_t room
    uint64_t base              # octets handed to the kernel so far: the place of out[head] in the stream
    uint32_t number
    uint32_t sequence          # our last request on this link
    uint32_t* unacked          # node by sequence & mask
    uint32_t unacked_room
    uint32_t unacked_count
    uint32_t open              # requests of the ESME without a response that left turn()
    uint32_t answered          # of them, those whose response is in the output since the last pending()
    uint64_t submits
    int account
    uint8_t version
    uint8_t tx
    uint8_t rx
    uint8_t cut
    uint8_t dirty


cdef struct Account:
    char name[72]
    uint32_t window            # requests in flight a link may have; 0: any number
    uint64_t tps               # 0: unlimited
    int64_t gap_ns
    int64_t second
    uint64_t count
    int64_t slot_ns            # when the next message may pass (gap, slow)
    int64_t* ring              # times of the last `tps` accepted (sliding second)
    uint64_t ring_at
    uint32_t* receivers
    uint32_t receiver_count
    uint32_t receiver_room
    uint32_t cursor
    uint32_t wait_head
    uint32_t wait_tail
    uint64_t waiting


cdef struct State:
    char name[24]
    char error[16]
    uint8_t name_length
    uint8_t error_length
    uint8_t code
    uint32_t upto              # chance below this 32-bit number picks the state


cdef struct Fault:
    uint32_t status            # of a response; of a message of a handset which part, from 0
    uint32_t upto


cdef struct Op:
    uint8_t kind
    uint8_t form
    uint16_t offset
    uint16_t length


cdef struct Form:
    uint8_t kind
    uint8_t width


cdef struct Shape:
    Op* ops
    uint32_t op_count
    Form response_form
    Form receipt_form
    Form tlv_form
    uint8_t tlvs
    uint8_t esm_class
    uint8_t data_coding        # 8: the text in UCS-2
    bint payload
    bint data_sm
    uint32_t upto              # chance below this 32-bit number picks the shape


cdef struct Recent:
    uint64_t serial
    int64_t done_ns
    uint32_t source
    uint8_t code
    uint8_t cancelled


cdef struct Fields:
    const uint8_t* source
    const uint8_t* destination
    const uint8_t* text
    uint32_t octets
    uint8_t slen
    uint8_t dlen
    uint8_t ston
    uint8_t snpi
    uint8_t dton
    uint8_t dnpi
    uint8_t esm_class
    uint8_t registered
    uint8_t data_coding


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    # The finaliser of splitmix64 (Steele, Lea, Flood 2014): each input bit reaches every output bit.
    x += <uint64_t>0x9E3779B97F4A7C15
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint64_t fnv1a(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef uint64_t h = <uint64_t>0xCBF29CE484222325
    cdef Py_ssize_t i
    for i in range(n):
        h = (h ^ p[i]) * <uint64_t>0x100000001B3
    return h


cdef inline Py_ssize_t decimal(uint8_t* out, uint64_t value, int width) noexcept nogil:
    """Digits of value, zero-padded to width (at most 20 octets, or width)."""
    cdef uint8_t digits[24]
    cdef Py_ssize_t n = 0
    cdef Py_ssize_t i = 0
    while True:
        digits[n] = <uint8_t>(48 + value % 10)
        value //= 10
        n += 1
        if value == 0:
            break
    while i + n < width:
        out[i] = 48
        i += 1
    while n:
        n -= 1
        out[i] = digits[n]
        i += 1
    return i


cdef inline Py_ssize_t hexadecimal(uint8_t* out, uint64_t value, int width, bint upper) noexcept nogil:
    cdef const char* letters = "0123456789ABCDEF" if upper else "0123456789abcdef"
    cdef Py_ssize_t n = 1
    cdef Py_ssize_t i
    while n < 16 and (value >> (4 * n)) != 0:
        n += 1
    if n < width:
        n = width
    for i in range(n):
        out[i] = letters[(value >> (4 * (n - 1 - i))) & 15] if n - 1 - i < 16 else 48
    return n


cdef void civil(uint8_t* full, int64_t unix_s) noexcept nogil:
    """Write YYYYMMDDhhmmss; days to a civil date by the algorithm of Hinnant."""
    cdef int64_t days, z, era, doe, yoe, doy, mp, day, month, year, rest
    if unix_s < 0:
        unix_s = 0
    days = unix_s // 86400
    rest = unix_s - days * 86400
    z = days + 719468
    era = z // 146097
    doe = z - era * 146097
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    day = doy - (153 * mp + 2) // 5 + 1
    month = mp + 3 if mp < 10 else mp - 9
    year = yoe + era * 400 + (1 if month <= 2 else 0)
    decimal(full, <uint64_t>(year % 10000), 4)
    decimal(full + 4, <uint64_t>month, 2)
    decimal(full + 6, <uint64_t>day, 2)
    decimal(full + 8, <uint64_t>(rest // 3600), 2)
    decimal(full + 10, <uint64_t>(rest % 3600 // 60), 2)
    decimal(full + 12, <uint64_t>(rest % 60), 2)


cdef inline Py_ssize_t date(uint8_t* out, const uint8_t* full, int form) noexcept nogil:
    """Write a date that civil() made in one of the five forms."""
    if form == DATE_14:
        memcpy(out, full, 14)
        return 14
    if form == DATE_LONG_12:
        memcpy(out, full, 12)
        return 12
    if form == DATE_12:
        memcpy(out, full + 2, 12)
        return 12
    if form == DATE_SMPP:
        memcpy(out, full + 2, 12)
        memcpy(out + 12, <const uint8_t*>"000+", 4)
        return 16
    memcpy(out, full + 2, 10)
    return 10


cdef inline bint wrong_tlv_length(uint32_t tag, uint32_t length) noexcept nogil:
    """Is this a TLV of a submission whose length is fixed, and is it another? (SMPP 5.0 §4.8.4)"""
    if tag == 0x0005 or tag == 0x0006 or tag == 0x0007 or tag == 0x000D or tag == 0x000E or tag == 0x000F:
        return length != 1
    if tag == 0x0010 or tag == 0x0019 or tag == 0x0030 or tag == 0x0201 or tag == 0x0205:
        return length != 1
    if tag == 0x020D or tag == 0x020E or tag == 0x020F or tag == 0x0302 or tag == 0x0304:
        return length != 1
    if tag == 0x0421 or tag == 0x0426 or tag == 0x0501 or tag == 0x1201 or tag == 0x1380:
        return length != 1
    if tag == 0x0008 or tag == 0x0204 or tag == 0x020A or tag == 0x020B or tag == 0x020C:
        return length != 2
    if tag == 0x1203 or tag == 0x1383:
        return length != 2
    if tag == 0x0017:
        return length != 4
    if tag == 0x130C:
        return length > 1
    return False


cdef uint32_t parse_submit(const uint8_t* pdu, uint32_t length, Fields* f) noexcept nogil:
    """Read a whole submit_sm into f; the command_status to answer with, 0 if it is sound (SMPP 5.0 §4.2.1.1).

    A string that runs off the end is 0x02, one over its limit has the field's own code. One stray NUL behind
    short_message is taken: clients in the field send it.
    """
    cdef const uint8_t* p = pdu + 16
    cdef const uint8_t* end = pdu + length
    cdef Py_ssize_t n
    cdef uint32_t tag, size
    n = cstring(p, end, 6)
    if n == 0:
        return 0x15 if end - p >= 6 else 0x02
    p += n
    if end - p < 2:
        return 0x02
    f.ston = p[0]
    f.snpi = p[1]
    p += 2
    n = cstring(p, end, 21)
    if n == 0:
        return 0x0A if end - p >= 21 else 0x02
    f.source = p
    f.slen = <uint8_t>(n - 1)
    p += n
    if end - p < 2:
        return 0x02
    f.dton = p[0]
    f.dnpi = p[1]
    p += 2
    n = cstring(p, end, 21)
    if n == 0:
        return 0x0B if end - p >= 21 else 0x02
    f.destination = p
    f.dlen = <uint8_t>(n - 1)
    p += n
    if end - p < 3:
        return 0x02
    f.esm_class = p[0]
    p += 3
    n = cstring(p, end, 17)
    if n == 0:
        return 0x61 if end - p >= 17 else 0x02
    if n != 1 and n != 17:
        return 0x61
    p += n
    n = cstring(p, end, 17)
    if n == 0:
        return 0x62 if end - p >= 17 else 0x02
    if n != 1 and n != 17:
        return 0x62
    p += n
    if end - p < 5:
        return 0x02
    f.registered = p[0]
    f.data_coding = p[2]
    f.octets = p[4]
    p += 5
    if end - p < <Py_ssize_t>f.octets:
        return 0x01
    f.text = p
    p += f.octets
    if end - p == 1 and p[0] == 0:
        p += 1
    while end - p >= 4:
        tag = load16(p)
        size = load16(p + 2)
        p += 4
        if end - p < <Py_ssize_t>size:
            return 0xC0
        if wrong_tlv_length(tag, size):
            return 0xC2
        if tag == 0x0424 and f.octets == 0:
            f.text = p
            f.octets = size
        p += size
    if p != end:
        return 0xC0
    if f.dlen == 0:
        return 0x0B
    return 0


cdef inline int next_set(const uint64_t* bits, uint32_t start) noexcept nogil:
    """Distance from slot `start`, going round, to the first slot that is not empty; -1 if all are."""
    cdef uint32_t word = start >> 6
    cdef uint64_t w = bits[word] & (~<uint64_t>0 << (start & 63))
    cdef uint32_t i
    for i in range(65):
        if w:
            return <int>(((((word + i) & 63) << 6) + <uint32_t>ctz64(w) - start) & (SLOTS - 1))
        w = bits[(word + i + 1) & 63]
    return -1


cdef object share_limit(object share):
    return min(int(share * 4294967296.0), 0xFFFFFFFF)


# A shape where nothing is said: the form of the book, in short.
SHAPE = {
    "text": ("id:", ("id", 0), " stat:", ("stat", 0), " err:", ("err", 0), " text:", ("text", 0)),
    "response_id": ("decimal", 10), "receipt_id": ("decimal", 10), "tlv_id": ("decimal", 10),
    "tlvs": TLV_ID | TLV_STATE, "esm_class": 4, "data_coding": 0, "payload": False, "data_sm": False,
}


cdef int form_of(object value, Form* form) except -1:
    name, width = value
    kinds = {
        "decimal": FORM_DECIMAL, "hex": FORM_HEX, "HEX": FORM_HEX_UPPER, "uuid": FORM_UUID, "UUID": FORM_UUID_UPPER,
        "sar": FORM_SAR, "base32": FORM_BASE32, "none": FORM_NONE,
    }
    if name not in kinds:
        raise ValueError(f"form of id: expected one of {', '.join(kinds)}, found {name!r}")
    if not 0 <= width <= 60:
        raise ValueError(f"width of id: expected 0 to 60, found {width}")
    form.kind = kinds[name]
    form.width = width
    return 0


@cython.final
cdef class Centre:
    """One message centre: its accounts, links, timers, fates and ledger. Not safe for use by two threads.

    All times are nanoseconds, all shares 0..1. Memory: 128 octets a message that waits for its response, its receipt or
    the receipt's answer; nothing for the others.
    """

    cdef uint64_t salted[SALTS]
    cdef uint64_t first_serial
    cdef uint64_t serial
    cdef uint64_t mo_ordinal
    cdef int64_t epoch_ns
    # links and accounts
    cdef Link** links
    cdef uint32_t link_count
    cdef uint32_t link_room
    cdef uint32_t* dirty_links
    cdef uint32_t dirty_count
    cdef uint32_t dirty_room
    cdef Account* accounts
    cdef uint32_t account_count
    # nodes and wheels
    cdef Node** slabs
    cdef uint32_t slab_count
    cdef uint32_t free_node
    cdef uint64_t live_nodes
    cdef uint64_t timed_nodes
    cdef int64_t tick
    cdef uint32_t near_head[SLOTS]
    cdef uint32_t near_tail[SLOTS]
    cdef uint64_t near_bits[WORDS]
    cdef uint32_t far_head[SLOTS]
    cdef uint32_t far_tail[SLOTS]
    cdef uint64_t far_bits[WORDS]
    cdef uint32_t beyond_head
    # behaviour
    cdef int limit
    cdef uint32_t limit_status
    cdef uint32_t window_status
    cdef int64_t delay_ns
    cdef int64_t jitter_ns
    cdef uint32_t late
    cdef int64_t late_ns
    cdef uint32_t silent
    cdef Fault* faults
    cdef uint32_t fault_count
    cdef int receipts                  # 0 never, 1 as registered_delivery asks, 2 always
    cdef int64_t receipt_delay_ns
    cdef int64_t receipt_jitter_ns
    cdef State* states
    cdef uint32_t state_count
    cdef uint32_t early
    cdef int64_t early_ns
    cdef uint32_t duplicate
    cdef uint32_t missing
    cdef Shape* shapes
    cdef uint32_t shape_count
    cdef bint receipt_swap
    cdef uint32_t receipt_window
    cdef int64_t retry_ns
    cdef uint32_t retries
    cdef bytes literals
    cdef const uint8_t* literal_octets
    cdef int error_body                # 0 none, 1 a NUL, 2 an id
    cdef int congestion                # -1 none, 0..100 fixed, 101 from the load
    cdef uint64_t drop_every
    cdef uint32_t drop_share
    cdef bint drop_answers
    cdef list inbound_texts
    cdef list reply_texts
    cdef int inbound_how
    cdef uint32_t inbound_twice
    cdef bytes inbound_source
    cdef bytes inbound_destination
    cdef int64_t inbound_gap_ns
    cdef uint32_t reply
    cdef int64_t reply_delay_ns
    cdef Recent* recent
    cdef int64_t dated_s[2]
    cdef uint8_t dated_digits[32]
    # ledger
    cdef bint keeps_ledger
    cdef bint ledger_text
    cdef uint8_t* book
    cdef size_t book_length
    cdef size_t book_room
    # totals
    cdef uint64_t n_submits, n_accepted, n_refused, n_malformed, n_throttled, n_over_window, n_silent
    cdef uint64_t n_responses, n_dead_responses, n_receipts, n_receipts_acked, n_receipts_refused, n_redelivered
    cdef uint64_t n_forgotten, n_inbound, n_inbound_acked, n_replies, n_unknown_responses, n_enquiries, n_cuts
    cdef uint64_t n_octets_in, n_octets_out, n_peak_window, n_message_octets, n_duplicates, n_early, n_missing
    cdef uint64_t n_second_peak
    cdef int64_t first_ns, last_ns

    cdef readonly object other
    """The PDU that the last turn() stopped at, whole, or None."""

    def __cinit__(self):
        self.links = NULL
        self.free_node = 0
        self.dated_s[0] = self.dated_s[1] = -1
        self.slab_count = 0

    def __init__(
        self,
        int64_t now_ns,
        *,
        seed=0,
        int64_t epoch_ns=0,
        uint64_t first_id=268435456,
        accounts=(("test", 0, 0),),
        limit="none",
        uint32_t limit_status=0x58,
        uint32_t window_status=0x58,
        double gap_slack=0.1,
        int64_t delay_ns=0,
        int64_t jitter_ns=0,
        double late_share=0.0,
        int64_t late_ns=5_000_000,
        double silent_share=0.0,
        errors=(),
        receipts="requested",
        int64_t receipt_delay_ns=0,
        int64_t receipt_jitter_ns=0,
        states=(("DELIVRD", 2, "000", 1.0),),
        double early_share=0.0,
        int64_t early_ns=0,
        double duplicate_share=0.0,
        double missing_share=0.0,
        bint receipt_swap=True,
        uint32_t receipt_window=0,
        int64_t retry_ns=1_000_000_000,
        uint32_t retries=5,
        shapes=({},),
        int error_body=0,
        int congestion=-1,
        uint64_t drop_every=0,
        double drop_share=0.0,
        bint drop_answers=False,
        inbound_texts=(),
        bytes inbound_source=b"447700900123",
        bytes inbound_destination=b"12345",
        double inbound_per_s=0.0,
        int inbound_how=UDH_16,
        double inbound_duplicate_share=0.0,
        double reply_share=0.0,
        int64_t reply_delay_ns=0,
        bint ledger=False,
        bint ledger_text=False,
    ):
        """Take the behaviour; see gateway.simulator.behaviour for what each setting means.

        accounts     of (system_id, tps, window); 0: no limit. Places in this list are the `account` of bind()
        errors       of (command_status, share)
        states       of (stat, message_state, err, share)
        shapes       of mappings: how a receipt looks, and the ids of its message. Each key may be missing:
            share        of the messages that have it (1.0)
            text         literals and (field, form): id, stat, err, dlvrd, text, source, destination, code, listed (form
                         unused), submit, done (form 0: YYMMDDhhmm, 1: with ss, 2: YYYYMMDDhhmmss, 3: YYYYMMDDhhmm,
                         4: SMPP absolute)
            response_id, receipt_id, tlv_id   (decimal | hex | HEX | uuid | UUID | sar | base32 | none, least width,
                         filled with zeros)
            tlvs         1 receipted_message_id, 2 message_state, 4 network_error_code, 8 two of a vendor's; added up
            esm_class, data_coding   8: the text in UCS-2
            payload, data_sm         the text in message_payload; the receipt as data_sm
        inbound_texts of (parts, data_coding); of several parts each says which it is, by inbound_how: 1 an 8-bit, 2 a
                     16-bit reference in a header, 3 SAR TLVs. Replies take those of one part
        epoch_ns     local wall clock minus monotonic clock, for the dates in receipts
        raises       ValueError on a setting out of its range; MemoryError
        """
        cdef uint64_t base
        cdef uint32_t i
        if self.links != NULL:
            raise ValueError("a Centre is made once")
        self.links = <Link**>self.taken(64 * sizeof(Link*))
        self.link_room = 64
        # Link 0 is nobody.
        self.links[0] = NULL
        self.link_count = 1
        self.dirty_room = 64
        self.dirty_links = <uint32_t*>self.taken(64 * sizeof(uint32_t))
        base = mixed(<uint64_t>(seed & 0xFFFFFFFFFFFFFFFF))
        for i in range(SALTS):
            self.salted[i] = mixed(base + i)
        self.tick = now_ns >> TICK_SHIFT
        self.first_serial = first_id
        self.serial = first_id
        self.epoch_ns = epoch_ns
        limits = {
            "none": LIMIT_NONE, "second": LIMIT_SECOND, "sliding": LIMIT_SLIDING, "gap": LIMIT_GAP, "slow": LIMIT_SLOW,
        }
        if limit not in limits:
            raise ValueError(f"limit: expected one of {', '.join(limits)}, found {limit!r}")
        self.limit = limits[limit]
        self.limit_status = limit_status
        self.window_status = window_status
        if not 1 <= len(accounts) < 65535:
            raise ValueError("accounts: expected 1 to 65534")
        self.accounts = <Account*>self.taken(len(accounts) * sizeof(Account))
        self.account_count = len(accounts)
        for i, (name, tps, window) in enumerate(accounts):
            octets = name.encode("latin-1")
            if len(octets) > 64:
                raise ValueError(f"accounts[{i}]: expected a system_id of at most 64 octets, found {len(octets)}")
            memcpy(self.accounts[i].name, <const char*>octets, len(octets))
            self.accounts[i].window = window
            self.set_tps(i, tps, gap_slack)
        self.delay_ns = max(delay_ns, 0)
        self.jitter_ns = max(jitter_ns, 0)
        self.late = share_limit(late_share)
        self.late_ns = max(late_ns, 1)
        self.silent = share_limit(silent_share)
        self.fault_count = len(errors)
        self.faults = <Fault*>self.taken(max(len(errors), 1) * sizeof(Fault))
        reached = 0.0
        for i, (status, share) in enumerate(errors):
            reached += share
            self.faults[i].status = status
            self.faults[i].upto = share_limit(reached)
        whens = {"never": 0, "requested": 1, "always": 2}
        if receipts not in whens:
            raise ValueError(f"receipts: expected never, requested or always, found {receipts!r}")
        self.receipts = whens[receipts]
        self.receipt_delay_ns = max(receipt_delay_ns, 0)
        self.receipt_jitter_ns = max(receipt_jitter_ns, 0)
        if not 1 <= len(states) <= 64:
            raise ValueError("states: expected 1 to 64")
        self.state_count = len(states)
        self.states = <State*>self.taken(len(states) * sizeof(State))
        whole = sum(entry[3] for entry in states)
        if whole <= 0:
            raise ValueError("states: expected shares that add up to more than 0")
        reached = 0.0
        for i, (name, code, error, share) in enumerate(states):
            reached += share / whole
            octets = name.encode("latin-1")
            problem = error.encode("latin-1")
            if len(octets) > 23 or len(problem) > 15:
                raise ValueError(f"states: {name!r} or its err {error!r} is too long (23 and 15 octets)")
            memcpy(self.states[i].name, <const char*>octets, len(octets))
            memcpy(self.states[i].error, <const char*>problem, len(problem))
            self.states[i].name_length = len(octets)
            self.states[i].error_length = len(problem)
            self.states[i].code = code
            self.states[i].upto = share_limit(reached)
        self.states[self.state_count - 1].upto = LOW_32
        self.early = share_limit(early_share)
        self.early_ns = max(early_ns, 0)
        self.duplicate = share_limit(duplicate_share)
        self.missing = share_limit(missing_share)
        self.receipt_swap = receipt_swap
        self.receipt_window = receipt_window
        self.retry_ns = max(retry_ns, 0)
        self.retries = retries
        self.take_shapes(shapes)
        self.error_body = error_body
        self.congestion = congestion
        self.drop_every = drop_every
        self.drop_share = share_limit(drop_share)
        self.drop_answers = drop_answers
        self.inbound_texts = [(tuple(map(bytes, parts)), int(coding)) for parts, coding in inbound_texts]
        for parts, _ in self.inbound_texts:
            longest = max(map(len, parts), default=0)
            if not 1 <= len(parts) <= 255 or longest + (7 if len(parts) > 1 else 0) > 254:
                raise ValueError(f"inbound_texts: expected 1 to 255 parts of at most 254 octets, with their header, "
                                 f"found {len(parts)} of up to {longest}")
        if not UDH_8 <= inbound_how <= SAR:
            raise ValueError(f"inbound_how: expected 1 to 3, found {inbound_how}")
        self.inbound_how = inbound_how
        self.inbound_twice = share_limit(inbound_duplicate_share)
        self.reply_texts = [entry for entry in self.inbound_texts if len(entry[0]) == 1]
        if len(inbound_source) > 20 or len(inbound_destination) > 20:
            raise ValueError("inbound addresses: expected at most 20 octets")
        self.inbound_source = inbound_source
        self.inbound_destination = inbound_destination
        self.inbound_gap_ns = int(1e9 / inbound_per_s) if inbound_per_s > 0 and self.inbound_texts else 0
        self.reply = share_limit(reply_share) if self.reply_texts else 0
        self.reply_delay_ns = max(reply_delay_ns, 0)
        self.recent = <Recent*>self.taken(RECENT * sizeof(Recent))
        self.keeps_ledger = ledger
        self.ledger_text = ledger_text
        if self.inbound_gap_ns:
            self.insert(self.new_node(MO_TICK), now_ns + self.inbound_gap_ns)

    def __dealloc__(self):
        cdef uint32_t i
        if self.links != NULL:
            for i in range(1, self.link_count):
                self.free_link(self.links[i])
            PyMem_RawFree(self.links)
        PyMem_RawFree(self.dirty_links)
        if self.accounts != NULL:
            for i in range(self.account_count):
                PyMem_RawFree(self.accounts[i].ring)
                PyMem_RawFree(self.accounts[i].receivers)
            PyMem_RawFree(self.accounts)
        if self.slabs != NULL:
            for i in range(self.slab_count):
                PyMem_RawFree(self.slabs[i])
            PyMem_RawFree(self.slabs)
        PyMem_RawFree(self.faults)
        PyMem_RawFree(self.states)
        if self.shapes != NULL:
            for i in range(self.shape_count):
                PyMem_RawFree(self.shapes[i].ops)
            PyMem_RawFree(self.shapes)
        PyMem_RawFree(self.recent)
        PyMem_RawFree(self.book)

    # ---- memory ----

    cdef void* taken(self, size_t n) except NULL:
        """n octets of zeros."""
        cdef void* p = PyMem_RawMalloc(n)
        if p == NULL:
            raise MemoryError()
        memset(p, 0, n)
        return p

    cdef inline Node* node(self, uint32_t i) noexcept nogil:
        return &self.slabs[i >> SLAB_SHIFT][i & ((1 << SLAB_SHIFT) - 1)]

    cdef uint32_t new_node(self, uint8_t kind) except 0:
        """A node of this kind; all else in it is stale and must be set by the caller."""
        cdef uint32_t i
        cdef uint32_t k
        cdef Node* fresh
        cdef Node** slabs
        if self.free_node == 0:
            slabs = <Node**>PyMem_RawRealloc(self.slabs, (self.slab_count + 1) * sizeof(Node*))
            if slabs == NULL:
                raise MemoryError()
            self.slabs = slabs
            fresh = <Node*>self.taken((1 << SLAB_SHIFT) * sizeof(Node))
            self.slabs[self.slab_count] = fresh
            # Chained so that nodes are given out in the order they lie in memory; number 0 means none.
            for k in range((1 << SLAB_SHIFT) - 1, 0, -1):
                fresh[k].next = self.free_node
                self.free_node = (self.slab_count << SLAB_SHIFT) + k
            if self.slab_count > 0:
                fresh[0].next = self.free_node
                self.free_node = self.slab_count << SLAB_SHIFT
            self.slab_count += 1
        i = self.free_node
        fresh = self.node(i)
        self.free_node = fresh.next
        fresh.next = 0
        fresh.kind = kind
        fresh.tries = 0
        self.live_nodes += 1
        return i

    cdef inline void drop_node(self, uint32_t i) noexcept nogil:
        self.node(i).next = self.free_node
        self.free_node = i
        self.live_nodes -= 1

    cdef void free_link(self, Link* link) noexcept:
        if link != NULL:
            PyMem_RawFree(link.out)
            PyMem_RawFree(link.unacked)
            PyMem_RawFree(link)

    cdef inline uint8_t* room(self, Link* link, size_t n) except NULL:
        """A place for n octets at the tail of the link's output; the caller moves the tail."""
        if link.room - link.tail < n:
            self.make_room(link, n)
        return link.out + link.tail

    cdef int make_room(self, Link* link, size_t n) except -1:
        cdef size_t held = link.tail - link.head
        cdef size_t wanted
        cdef uint8_t* out
        if link.head and link.room - held >= n and link.head >= held:
            memcpy(link.out, link.out + link.head, held)
            link.head = 0
            link.tail = held
            return 0
        wanted = 2 * link.room if link.room else 1 << 16
        while wanted - link.tail < n:
            wanted *= 2
        out = <uint8_t*>PyMem_RawRealloc(link.out, wanted)
        if out == NULL:
            raise MemoryError()
        link.out = out
        link.room = wanted
        return 0

    cdef inline int soil(self, Link* link) except -1:
        """Note that the link has output for the shell to write."""
        cdef uint32_t* grown
        if link.dirty:
            return 0
        if self.dirty_count == self.dirty_room:
            grown = <uint32_t*>PyMem_RawRealloc(self.dirty_links, 2 * self.dirty_room * sizeof(uint32_t))
            if grown == NULL:
                raise MemoryError()
            self.dirty_links = grown
            self.dirty_room *= 2
        self.dirty_links[self.dirty_count] = link.number
        self.dirty_count += 1
        link.dirty = 1
        return 0

    cdef inline Link* link_of(self, uint32_t number) noexcept nogil:
        return self.links[number] if number < self.link_count else NULL

    cdef Link* known(self, uint32_t number) except NULL:
        cdef Link* link = self.link_of(number)
        if link == NULL:
            raise KeyError(number)
        return link

    # ---- chance ----

    cdef inline uint32_t chance(self, int salt, uint64_t ordinal) noexcept nogil:
        return <uint32_t>(mixed(self.salted[salt] + ordinal * <uint64_t>0xD1342543DE82EF95) >> 32)

    cdef inline bint hit(self, int salt, uint64_t ordinal, uint32_t share) noexcept nogil:
        return share != 0 and (share == LOW_32 or self.chance(salt, ordinal) < share)

    cdef inline int64_t spread(self, int salt, uint64_t ordinal, int64_t width) noexcept nogil:
        """Uniform in 0..width."""
        if width <= 0:
            return 0
        return <int64_t>((<double>self.chance(salt, ordinal)) * (<double>width) * (1.0 / 4294967296.0))

    # ---- the wheel ----

    cdef inline void place(self, uint32_t i, int64_t t) noexcept nogil:
        cdef int64_t ahead = t - self.tick
        cdef uint32_t slot
        self.node(i).next = 0
        if ahead < SLOTS:
            slot = <uint32_t>(t & (SLOTS - 1))
            if self.near_head[slot] == 0:
                self.near_head[slot] = i
                self.near_bits[slot >> 6] |= <uint64_t>1 << (slot & 63)
            else:
                self.node(self.near_tail[slot]).next = i
            self.near_tail[slot] = i
        elif ahead < <int64_t>SLOTS * (SLOTS - 1):
            slot = <uint32_t>((t >> 12) & (SLOTS - 1))
            if self.far_head[slot] == 0:
                self.far_head[slot] = i
                self.far_bits[slot >> 6] |= <uint64_t>1 << (slot & 63)
            else:
                self.node(self.far_tail[slot]).next = i
            self.far_tail[slot] = i
        else:
            self.node(i).next = self.beyond_head
            self.beyond_head = i

    cdef inline void insert(self, uint32_t i, int64_t due) noexcept nogil:
        """Fire node i at the first tick at or after `due`, and no sooner than the next."""
        cdef int64_t t = (due + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT
        self.node(i).due = due
        if t <= self.tick:
            t = self.tick + 1
        self.place(i, t)
        self.timed_nodes += 1

    cdef void cascade(self) noexcept nogil:
        """A new turn of the near wheel: bring down what the far one holds for it."""
        cdef uint32_t slot = <uint32_t>((self.tick >> 12) & (SLOTS - 1))
        cdef uint32_t i = self.far_head[slot]
        cdef uint32_t after
        cdef int64_t t
        self.far_head[slot] = 0
        self.far_tail[slot] = 0
        self.far_bits[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
        while i:
            after = self.node(i).next
            t = (self.node(i).due + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT
            self.place(i, t if t > self.tick else self.tick)
            i = after
        if slot == 0:
            i = self.beyond_head
            self.beyond_head = 0
            while i:
                after = self.node(i).next
                t = (self.node(i).due + (1 << TICK_SHIFT) - 1) >> TICK_SHIFT
                self.place(i, t if t > self.tick else self.tick)
                i = after

    cdef int run_to(self, int64_t now) except -1:
        """Fire all that is due at `now`, in order of ticks."""
        cdef int64_t target = now >> TICK_SHIFT
        cdef int64_t stop
        cdef int ahead
        while self.tick < target:
            if self.timed_nodes == 0:
                self.tick = target
                break
            stop = (self.tick | (SLOTS - 1)) + 1
            ahead = next_set(self.near_bits, <uint32_t>((self.tick + 1) & (SLOTS - 1)))
            if ahead >= 0 and self.tick + 1 + ahead < stop:
                stop = self.tick + 1 + ahead
            if stop > target:
                self.tick = target
                break
            self.tick = stop
            if (stop & (SLOTS - 1)) == 0:
                self.cascade()
            self.fire_slot(<uint32_t>(stop & (SLOTS - 1)), now)
        return 0

    cdef int fire_slot(self, uint32_t slot, int64_t now) except -1:
        cdef uint32_t i = self.near_head[slot]
        cdef uint32_t after
        self.near_head[slot] = 0
        self.near_tail[slot] = 0
        self.near_bits[slot >> 6] &= ~(<uint64_t>1 << (slot & 63))
        while i:
            after = self.node(i).next
            self.timed_nodes -= 1
            self.fire(i, now)
            i = after
        return 0

    cdef int fire(self, uint32_t i, int64_t now) except -1:
        cdef Node* node = self.node(i)
        cdef Link* link
        if node.kind == RESPONSE:
            link = self.link_of(node.link)
            if link == NULL:
                self.n_dead_responses += 1
            else:
                self.respond(link, node.command, node.sequence, node.status, node.serial)
                if self.keeps_ledger:
                    self.log_response(link, node, now)
            if node.state == 0xFF:
                self.drop_node(i)
            else:
                self.start_receipt(i, now)
        elif node.kind == MO_TICK:
            self.inbound_tick(i, now)
        else:
            self.deliver(i, now)
        return 0

    # ---- writing PDUs ----

    cdef inline Py_ssize_t write_id(self, uint8_t* out, uint64_t serial, Form form) noexcept nogil:
        """At most 64 octets."""
        cdef uint64_t scrambled
        cdef const char* letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
        cdef Py_ssize_t n
        cdef bint is_upper
        if form.kind == FORM_DECIMAL:
            return decimal(out, serial, form.width)
        if form.kind == FORM_HEX:
            return hexadecimal(out, serial, form.width, False)
        if form.kind == FORM_HEX_UPPER:
            return hexadecimal(out, serial, form.width, True)
        if form.kind == FORM_NONE:
            return 0
        # Of the rest the first half looks random and repeats with the seed, the second holds the number.
        scrambled = mixed(self.salted[SALT_ID] ^ serial)
        if form.kind == FORM_SAR:
            memcpy(out, <const char*>"SAR-", 4)
            decimal(out + 4, scrambled % <uint64_t>10000000000000, 13)
            out[17] = 45
            n = 18 + hexadecimal(out + 18, serial, 8, True)
            memcpy(out + n, <const char*>"-2-1", 4)
            return n + 4
        if form.kind == FORM_BASE32:
            for n in range(13):
                out[n] = <uint8_t>letters[(scrambled >> (5 * n)) & 31]
                out[25 - n] = <uint8_t>letters[(serial >> (5 * n)) & 31]
            return 26
        # 8-4-4-4-12
        is_upper = form.kind == FORM_UUID_UPPER
        hexadecimal(out, scrambled >> 32, 8, is_upper)
        out[8] = 45
        hexadecimal(out + 9, (scrambled >> 16) & 0xFFFF, 4, is_upper)
        out[13] = 45
        hexadecimal(out + 14, scrambled & 0xFFFF, 4, is_upper)
        out[18] = 45
        hexadecimal(out + 19, (serial >> 48) & 0xFFFF, 4, is_upper)
        out[23] = 45
        hexadecimal(out + 24, serial & <uint64_t>0xFFFFFFFFFFFF, 12, is_upper)
        return 36

    cdef inline Shape* shape_of(self, uint64_t serial) noexcept nogil:
        """How the receipts of a message look."""
        cdef uint32_t i = 0, drawn
        if self.shape_count > 1:
            drawn = self.chance(SALT_SHAPE, serial - self.first_serial)
            while drawn >= self.shapes[i].upto and i < self.shape_count - 1:
                i += 1
        return &self.shapes[i]

    cdef inline Form form_for(self, Link* link, Form form) noexcept nogil:
        """Version 3.3 has ids of at most 8 characters."""
        if link.version < 0x34:
            form.kind = FORM_HEX
            form.width = 0
        return form

    cdef int respond(self, Link* link, uint32_t command, uint32_t sequence, uint32_t status, uint64_t serial) except -1:
        """Write a submit_sm_resp, data_sm_resp or submit_multi_resp."""
        cdef uint8_t* p = self.room(link, 128)
        cdef Py_ssize_t n = 16
        if status == 0 or self.error_body == 2:
            n += self.write_id(p + 16, serial & LOW_32 if link.version < 0x34 else serial,
                               self.form_for(link, self.shape_of(serial).response_form))
            p[n] = 0
            n += 1
        elif self.error_body == 1 or command == SUBMIT_MULTI_RESP:
            p[n] = 0
            n += 1
        if command == SUBMIT_MULTI_RESP:
            p[n] = 0
            n += 1
        if self.congestion >= 0 and link.version >= 0x50:
            if n == 16:
                p[n] = 0
                n += 1
            store16(p + n, 0x0428)
            store16(p + n + 2, 1)
            p[n + 4] = self.congestion_of(link)
            n += 5
        store32(p, <uint32_t>n)
        store32(p + 4, command)
        store32(p + 8, status)
        store32(p + 12, sequence)
        link.tail += n
        link.answered += 1
        self.n_responses += 1
        return self.soil(link)

    cdef inline uint8_t congestion_of(self, Link* link) noexcept nogil:
        cdef Account* account
        cdef uint64_t load
        if self.congestion <= 100 or link.account < 0:
            return <uint8_t>(self.congestion if self.congestion <= 100 else 0)
        account = &self.accounts[link.account]
        load = 100 * account.count // account.tps if account.tps else 0
        return <uint8_t>(load if load < 100 else 100)

    cdef int short_answer(self, Link* link, uint32_t command, uint32_t sequence, uint32_t status) except -1:
        cdef uint8_t* p = self.room(link, 16)
        store32(p, 16)
        store32(p + 4, command)
        store32(p + 8, status)
        store32(p + 12, sequence)
        link.tail += 16
        return self.soil(link)

    cdef inline uint32_t next_sequence_of(self, Link* link) noexcept nogil:
        link.sequence = 1 if link.sequence >= 0x7FFFFFFF else link.sequence + 1
        return link.sequence

    # ---- receipts and inbound messages ----

    cdef int start_receipt(self, uint32_t i, int64_t now) except -1:
        """The response has been given: the node waits for its receipt from now on."""
        cdef Node* node = self.node(i)
        cdef int64_t wait = self.receipt_delay_ns
        if self.receipt_jitter_ns:
            wait += self.spread(SALT_RECEIPT_DELAY, node.serial - self.first_serial, self.receipt_jitter_ns)
        node.kind = RECEIPT
        if wait > 0:
            self.insert(i, now + wait)
            return 0
        return self.deliver(i, now)

    cdef Link* receiver(self, Account* account) noexcept nogil:
        """The next link of the account that can take a receipt, or NULL."""
        cdef uint32_t _
        cdef Link* link
        for _ in range(account.receiver_count):
            if account.cursor >= account.receiver_count:
                account.cursor = 0
            link = self.link_of(account.receivers[account.cursor])
            account.cursor += 1
            if link == NULL or link.cut or link.tail - link.head > HIGH_WATER:
                continue
            if self.receipt_window and link.unacked_count >= self.receipt_window:
                continue
            return link
        return NULL

    cdef int deliver(self, uint32_t i, int64_t now) except -1:
        """Send what the node holds, or let it wait with its account."""
        cdef Node* node = self.node(i)
        cdef Account* account = &self.accounts[node.account]
        cdef Link* link = self.receiver(account) if account.wait_head == 0 else NULL
        cdef uint32_t copy
        if link == NULL:
            node.next = 0
            if account.wait_head == 0:
                account.wait_head = i
            else:
                self.node(account.wait_tail).next = i
            account.wait_tail = i
            account.waiting += 1
            # A first receipt may stand in the queue while links have got room: try.
            return self.drain(account, now)
        if (node.kind == RECEIPT and node.tries == 0 and
                self.hit(SALT_DUPLICATE, node.serial - self.first_serial, self.duplicate)):
            copy = self.new_node(RECEIPT)
            node = self.node(i)
            self.node(copy)[0] = node[0]
            self.node(copy).tries = 1
            self.n_duplicates += 1
            self.send(link, i, now)
            return self.deliver(copy, now)
        return self.send(link, i, now)

    cdef int drain(self, Account* account, int64_t now) except -1:
        cdef uint32_t i
        cdef Link* link
        while account.wait_head:
            link = self.receiver(account)
            if link == NULL:
                return 0
            i = account.wait_head
            account.wait_head = self.node(i).next
            if account.wait_head == 0:
                account.wait_tail = 0
            account.waiting -= 1
            self.node(i).next = 0
            self.send(link, i, now)
        return 0

    cdef int owe(self, Link* link, uint32_t i) except -1:
        """Remember that the ESME owes an answer to this node's sequence number."""
        cdef uint32_t sequence = self.node(i).sequence
        cdef uint32_t* grown
        cdef uint32_t wanted
        cdef uint32_t k
        cdef uint32_t held
        if link.unacked_room == 0:
            link.unacked = <uint32_t*>self.taken(1024 * sizeof(uint32_t))
            link.unacked_room = 1024
        while link.unacked[sequence & (link.unacked_room - 1)] != 0:
            if link.unacked_room >= UNACKED_ROOM:
                self.drop_node(link.unacked[sequence & (link.unacked_room - 1)])
                link.unacked[sequence & (link.unacked_room - 1)] = 0
                link.unacked_count -= 1
                self.n_forgotten += 1
                break
            wanted = link.unacked_room * 2
            grown = <uint32_t*>self.taken(wanted * sizeof(uint32_t))
            for k in range(link.unacked_room):
                held = link.unacked[k]
                if held:
                    grown[self.node(held).sequence & (wanted - 1)] = held
            PyMem_RawFree(link.unacked)
            link.unacked = grown
            link.unacked_room = wanted
        link.unacked[sequence & (link.unacked_room - 1)] = i
        link.unacked_count += 1
        return 0

    cdef int send(self, Link* link, uint32_t i, int64_t now) except -1:
        cdef Node* node = self.node(i)
        if node.kind == RECEIPT:
            self.write_receipt(link, node, now)
        else:
            self.write_inbound(link, node, now)
        self.owe(link, i)
        return self.soil(link)

    cdef inline Py_ssize_t write_addresses(self, uint8_t* p, Node* node, bint swap) noexcept nogil:
        """service_type, then both addresses; swapped, the recipient of the message is the source."""
        cdef Py_ssize_t n = 0
        cdef const uint8_t* first = node.octets
        cdef const uint8_t* second = node.octets + node.slen
        p[0] = 0
        n = 1
        if swap:
            p[n] = node.dton
            p[n + 1] = node.dnpi
            memcpy(p + n + 2, second, node.dlen)
            n += 2 + node.dlen
            p[n] = 0
            n += 1
            p[n] = node.ston
            p[n + 1] = node.snpi
            memcpy(p + n + 2, first, node.slen)
            n += 2 + node.slen
        else:
            p[n] = node.ston
            p[n + 1] = node.snpi
            memcpy(p + n + 2, first, node.slen)
            n += 2 + node.slen
            p[n] = 0
            n += 1
            p[n] = node.dton
            p[n + 1] = node.dnpi
            memcpy(p + n + 2, second, node.dlen)
            n += 2 + node.dlen
        p[n] = 0
        return n + 1

    cdef inline const uint8_t* dated(self, int which, int64_t at_ns) noexcept nogil:
        """The civil date of a monotonic time; the last of each kind is kept, most receipts share their second."""
        cdef int64_t unix_s = (at_ns + self.epoch_ns) // 1000000000
        if unix_s != self.dated_s[which]:
            self.dated_s[which] = unix_s
            civil(self.dated_digits + 16 * which, unix_s)
        return self.dated_digits + 16 * which

    cdef Py_ssize_t write_text(self, uint8_t* p, Link* link, Node* node, State* state, Shape* shape,
                               int64_t now) noexcept nogil:
        """The receipt's text by its compiled form; at most 1,700 octets (compile_text), twice so many in UCS-2."""
        cdef Py_ssize_t n = 0
        cdef uint32_t k
        cdef Op* op
        for k in range(shape.op_count):
            op = &shape.ops[k]
            if op.kind == OP_LITERAL:
                memcpy(p + n, self.literal_octets + op.offset, op.length)
                n += op.length
            elif op.kind == OP_ID:
                n += self.write_id(p + n, node.serial & LOW_32 if link.version < 0x34 else node.serial,
                                   self.form_for(link, shape.receipt_form))
            elif op.kind == OP_STATE:
                memcpy(p + n, state.name, state.name_length)
                n += state.name_length
            elif op.kind == OP_ERROR:
                memcpy(p + n, state.error, state.error_length)
                n += state.error_length
            elif op.kind == OP_DELIVERED:
                n += decimal(p + n, 1 if state.code == 2 else 0, 3)
            elif op.kind == OP_TEXT:
                memcpy(p + n, node.octets + node.slen + node.dlen, node.tlen)
                n += node.tlen
            elif op.kind == OP_SUBMIT:
                n += date(p + n, self.dated(0, node.submit_ns), op.form)
            elif op.kind == OP_DONE:
                n += date(p + n, self.dated(1, now), op.form)
            elif op.kind == OP_SOURCE:
                memcpy(p + n, node.octets, node.slen)
                n += node.slen
            elif op.kind == OP_DESTINATION:
                memcpy(p + n, node.octets + node.slen, node.dlen)
                n += node.dlen
            elif op.kind == OP_LISTED:
                n += decimal(p + n, 0 if state.code == 2 else 1, 2)
            else:
                n += decimal(p + n, state.code, 0)
        if shape.data_coding == 8:
            # In place, from behind.
            k = <uint32_t>n
            while k > 0:
                k -= 1
                p[2 * k + 1] = p[k]
                p[2 * k] = 0
            n *= 2
        return n

    cdef int write_receipt(self, Link* link, Node* node, int64_t now) except -1:
        cdef uint8_t* p = self.room(link, 4096)
        cdef uint8_t* lengths = NULL
        cdef Py_ssize_t n = 16
        cdef Py_ssize_t size
        cdef Recent* recent = &self.recent[node.serial & (RECENT - 1)]
        cdef State cancelled
        cdef State* state = &self.states[node.state]
        cdef Shape* shape = self.shape_of(node.serial)
        cdef bint tlvs = link.version >= 0x34
        cdef bint payload
        cdef int i
        if recent.serial == node.serial and recent.cancelled:
            memset(&cancelled, 0, sizeof(State))
            memcpy(cancelled.name, <const char*>"DELETED", 7)
            memcpy(cancelled.error, <const char*>"000", 3)
            cancelled.name_length = 7
            cancelled.error_length = 3
            cancelled.code = 4
            state = &cancelled
        node.sequence = self.next_sequence_of(link)
        n += self.write_addresses(p + n, node, self.receipt_swap)
        if shape.data_sm and tlvs:
            p[n] = shape.esm_class
            p[n + 1] = 0
            p[n + 2] = shape.data_coding
            n += 3
            payload = True
        else:
            p[n] = shape.esm_class
            memset(p + n + 1, 0, 8)
            p[n + 7] = shape.data_coding
            n += 9
            lengths = p + n
            n += 1
            payload = shape.payload and tlvs
        if payload:
            size = self.write_text(p + n + 4, link, node, state, shape, now)
            if lengths != NULL:
                lengths[0] = 0
            store16(p + n, 0x0424)
            store16(p + n + 2, <uint16_t>size)
            n += 4 + size
        else:
            size = self.write_text(p + n, link, node, state, shape, now)
            if size > 254 and tlvs:
                memmove(p + n + 4, p + n, size)
                lengths[0] = 0
                store16(p + n, 0x0424)
                store16(p + n + 2, <uint16_t>size)
                n += 4 + size
            else:
                if size > 254:
                    size = 254
                lengths[0] = <uint8_t>size
                n += size
        if tlvs and shape.tlvs & TLV_ID:
            size = self.write_id(p + n + 4, node.serial, shape.tlv_form)
            p[n + 4 + size] = 0
            store16(p + n, 0x001E)
            store16(p + n + 2, <uint16_t>(size + 1))
            n += 5 + size
        if tlvs and shape.tlvs & TLV_STATE:
            store16(p + n, 0x0427)
            store16(p + n + 2, 1)
            p[n + 4] = state.code
            n += 5
        if tlvs and shape.tlvs & TLV_ERROR:
            size = 0
            for i in range(state.error_length):
                if 0x30 <= <uint8_t>state.error[i] <= 0x39:
                    size = (size * 10 + <uint8_t>state.error[i] - 0x30) & 0xFFFF
            store16(p + n, 0x0423)
            store16(p + n + 2, 3)
            # 3: the number is one of GSM.
            p[n + 4] = 3
            store16(p + n + 5, <uint16_t>size)
            n += 7
        if tlvs and shape.tlvs & TLV_VENDOR:
            store16(p + n, 0x1454)
            store16(p + n + 2, 1)
            p[n + 4] = 120
            store16(p + n + 5, 0x1418)
            store16(p + n + 7, 2)
            store16(p + n + 9, 0x7979)
            n += 11
        store32(p, <uint32_t>n)
        store32(p + 4, DATA_SM if shape.data_sm and tlvs else DELIVER_SM)
        store32(p + 8, 0)
        store32(p + 12, node.sequence)
        link.tail += n
        self.n_receipts += 1
        if self.keeps_ledger:
            p = self.line(512)
            n = self.log_head(p, 68, now, link.number)
            n += decimal(p + n, node.sequence, 0)
            p[n] = 44
            n += 1
            n += self.write_id(p + n, node.serial, self.shape_of(node.serial).response_form)
            p[n] = 44
            n += 1
            memcpy(p + n, state.name, state.name_length)
            n += state.name_length
            self.log_tail(p, n, self.offset(link))
        return 0

    cdef int write_inbound(self, Link* link, Node* node, int64_t now) except -1:
        """A message from a handset: MO, or a reply to a message (then the addresses change sides)."""
        cdef uint8_t* p = self.room(link, 512)
        cdef Py_ssize_t n = 16
        cdef object entry = self.inbound_texts[node.serial % len(self.inbound_texts)] if node.kind == MO else \
            self.reply_texts[self.chance(SALT_REPLY_TEXT, node.serial - self.first_serial) % len(self.reply_texts)]
        cdef bytes text = entry[0][node.status if node.kind == MO else 0]
        cdef Py_ssize_t size = len(text)
        cdef Py_ssize_t header = 0
        cdef uint8_t total = <uint8_t>len(entry[0])
        cdef uint16_t reference = <uint16_t>(node.serial >> 32)
        node.sequence = self.next_sequence_of(link)
        n += self.write_addresses(p + n, node, node.kind == REPLY)
        memset(p + n, 0, 9)
        p[n + 7] = entry[1]
        if total > 1 and self.inbound_how != SAR:
            p[n] = 0x40
            header = 6 if self.inbound_how == UDH_8 else 7
            p[n + 10] = <uint8_t>(header - 1)
            p[n + 11] = 0 if self.inbound_how == UDH_8 else 8
            p[n + 12] = <uint8_t>(header - 3)
            if self.inbound_how == UDH_8:
                p[n + 13] = reference & 0xFF
            else:
                store16(p + n + 13, reference)
            p[n + 8 + header] = total
            p[n + 9 + header] = <uint8_t>(node.status + 1)
        p[n + 9] = <uint8_t>(header + size)
        memcpy(p + n + 10 + header, <const char*>text, size)
        n += 10 + header + size
        if total > 1 and self.inbound_how == SAR:
            store32(p + n, 0x020C0002)
            store16(p + n + 4, reference)
            store32(p + n + 6, 0x020E0001)
            p[n + 10] = total
            store32(p + n + 11, 0x020F0001)
            p[n + 15] = <uint8_t>(node.status + 1)
            n += 16
        store32(p, <uint32_t>n)
        store32(p + 4, DELIVER_SM)
        store32(p + 8, 0)
        store32(p + 12, node.sequence)
        link.tail += n
        if node.kind == REPLY:
            self.n_replies += 1
        else:
            self.n_inbound += 1
        if self.keeps_ledger:
            p = self.line(512)
            n = self.log_head(p, 77, now, link.number)
            n += decimal(p + n, node.sequence, 0)
            p[n] = 44
            n += 1
            n += self.log_address(p + n, node.octets + (node.slen if node.kind == REPLY else 0),
                                  node.dlen if node.kind == REPLY else node.slen)
            p[n] = 44
            n += 1
            n += self.log_address(p + n, node.octets + (0 if node.kind == REPLY else node.slen),
                                  node.slen if node.kind == REPLY else node.dlen)
            self.log_tail(p, n, self.offset(link))
        return 0

    cdef int inbound_tick(self, uint32_t i, int64_t now) except -1:
        """Send one inbound message to each account that has a receiver, parts out of order; be back after the gap."""
        cdef uint32_t k
        cdef uint32_t part
        cdef uint64_t serial
        cdef int64_t due = self.node(i).due + self.inbound_gap_ns
        cdef list parts
        cdef Py_ssize_t n
        cdef Py_ssize_t place
        for k in range(self.account_count):
            if self.accounts[k].receiver_count == 0 or self.accounts[k].waiting > 100000:
                continue
            # 64 bits: one draw has 32.
            serial = self.chance(SALT_MO, self.mo_ordinal) | <uint64_t>self.chance(SALT_PART, self.mo_ordinal) << 32
            parts = list(range(len(self.inbound_texts[serial % len(self.inbound_texts)][0])))
            if len(parts) > 1:
                parts += [part for part in parts if self.hit(SALT_PART_TWICE, serial + part, self.inbound_twice)]
                order = sorted([(self.chance(SALT_PART, serial + n), n) for n in range(len(parts))])
                parts = [parts[place] for _, place in order]
            for part in parts:
                self.new_inbound(k, serial, part, now)
            self.mo_ordinal += 1
        # Behind by more than a second: the missed ones are not made up for.
        if due < now - 1000000000:
            due = now
        self.insert(i, due)
        return 0

    cdef int new_inbound(self, uint32_t account, uint64_t serial, uint32_t part, int64_t now) except -1:
        cdef uint32_t fresh = self.new_node(MO)
        cdef Node* node = self.node(fresh)
        cdef uint64_t tail
        cdef Py_ssize_t n
        node.account = <uint16_t>account
        node.serial = serial
        node.status = part
        node.submit_ns = now
        node.state = 0xFF
        node.ston = node.snpi = node.dton = node.dnpi = 1
        node.tlen = 0
        n = len(self.inbound_source)
        memcpy(node.octets, <const char*>self.inbound_source, n)
        # The last three digits of the handset change with each message.
        if n > 3:
            tail = self.chance(SALT_MO, self.mo_ordinal + (<uint64_t>1 << 40)) % 1000
            decimal(node.octets + n - 3, tail, 3)
        node.slen = <uint8_t>n
        n = len(self.inbound_destination)
        memcpy(node.octets + node.slen, <const char*>self.inbound_destination, n)
        node.dlen = <uint8_t>n
        self.deliver(fresh, now)
        return 0

    cdef int answered_by_esme(self, Link* link, uint32_t sequence, uint32_t status, int64_t now) except -1:
        """A deliver_sm_resp, data_sm_resp or generic_nack; 1 if it belongs to something we sent, 0 if not."""
        cdef uint32_t i
        cdef Node* node
        cdef uint8_t* p
        cdef Py_ssize_t n
        if link.unacked_room == 0:
            return 0
        i = link.unacked[sequence & (link.unacked_room - 1)]
        if i == 0 or self.node(i).sequence != sequence:
            return 0
        link.unacked[sequence & (link.unacked_room - 1)] = 0
        link.unacked_count -= 1
        node = self.node(i)
        if self.keeps_ledger:
            p = self.line(256)
            n = self.log_head(p, 75, now, link.number)
            n += decimal(p + n, sequence, 0)
            p[n] = 44
            n += 1
            if node.kind == RECEIPT:
                n += self.write_id(p + n, node.serial, self.shape_of(node.serial).response_form)
            self.log_tail(p, n, status)
        if status == 0:
            if node.kind == RECEIPT:
                self.n_receipts_acked += 1
            else:
                self.n_inbound_acked += 1
            self.drop_node(i)
        else:
            self.n_receipts_refused += 1
            node.tries += 1
            # What Vonage retries, and the application's temporary error (SMPP 5.0 §4.7.6); all else ends it.
            if node.tries <= self.retries and (status == 0x64 or status == 0x58 or status == 0x08 or status == 0x14 or
                                               status == 0x45 or status == 0x67 or status == 0xFE or status == 0xFF):
                self.n_redelivered += 1
                self.insert(i, now + self.retry_ns)
            else:
                self.drop_node(i)
        if link.account >= 0 and self.accounts[link.account].wait_head:
            self.drain(&self.accounts[link.account], now)
        return 1

    # ---- the fate of a message ----

    cdef inline uint32_t over_limit(self, Link* link, Account* account, int64_t now, int64_t* due) noexcept nogil:
        """The status that the rate limit gives this message, 0 if it may pass; `due` moves where answers are slow."""
        cdef int64_t second = now // 1000000000
        if second != account.second:
            account.second = second
            account.count = 0
        account.count += 1
        if account.count > self.n_second_peak:
            self.n_second_peak = account.count
        if account.tps == 0 or self.limit == LIMIT_NONE:
            return 0
        if self.limit == LIMIT_SECOND:
            if account.count > account.tps:
                return self.limit_status
        elif self.limit == LIMIT_SLIDING:
            # The place to be written holds the time of the message `tps` before this one; -1: none yet.
            if account.ring[account.ring_at] >= 0 and now - account.ring[account.ring_at] < 1000000000:
                return self.limit_status
            account.ring[account.ring_at] = now
            account.ring_at += 1
            if account.ring_at == account.tps:
                account.ring_at = 0
        elif self.limit == LIMIT_GAP:
            if now < account.slot_ns:
                return self.limit_status
            account.slot_ns = now + account.gap_ns
        else:
            if account.slot_ns < now:
                account.slot_ns = now
            account.slot_ns += account.gap_ns
            if due[0] < account.slot_ns:
                due[0] = account.slot_ns
        return 0

    cdef int decide(self, Link* link, uint32_t command, uint32_t sequence, uint32_t status, Fields* f, int64_t now,
                    uint64_t shared_serial) except -1:
        """Settle what becomes of one message, and write or plan all that follows from it.

        status         of a malformed one; then f holds nothing
        command        of the response; 0: no response (a further destination of a submit_multi, with its serial)
        """
        cdef Account* account = &self.accounts[link.account]
        cdef uint64_t serial
        cdef uint64_t ordinal
        cdef int64_t due = now
        cdef uint32_t k
        cdef uint32_t r
        cdef uint32_t i
        cdef uint32_t state = 0
        cdef uint8_t code
        cdef bint silent = False
        cdef bint wanted = False
        cdef bint early = False
        cdef bint cut = False
        cdef bint sound = status == 0
        if shared_serial:
            serial = shared_serial
        else:
            self.serial += 1
            serial = self.serial
        ordinal = serial - self.first_serial
        self.last_ns = now
        if self.first_ns == 0:
            self.first_ns = now
        self.n_submits += 1
        link.submits += 1
        if command:
            link.open += 1
            if link.open > self.n_peak_window:
                self.n_peak_window = link.open
        if self.delay_ns or self.jitter_ns:
            due += self.delay_ns + self.spread(SALT_DELAY, ordinal, self.jitter_ns)
        if self.late and self.hit(SALT_LATE, ordinal, self.late):
            due += 1 + self.spread(SALT_LATE_BY, ordinal, self.late_ns)
        if not sound:
            self.n_malformed += 1
        elif account.window and link.open > account.window:
            status = self.window_status
            self.n_over_window += 1
        else:
            status = self.over_limit(link, account, now, &due)
            if status:
                self.n_throttled += 1
            elif self.fault_count and not shared_serial:
                r = self.chance(SALT_STATUS, ordinal)
                for k in range(self.fault_count):
                    if r < self.faults[k].upto:
                        status = self.faults[k].status
                        break
        if status:
            self.n_refused += 1
        else:
            self.n_accepted += 1
            self.n_message_octets += f.octets
            if self.silent:
                silent = self.hit(SALT_SILENT, ordinal, self.silent)
                self.n_silent += silent
            if self.state_count > 1:
                r = self.chance(SALT_STATE, ordinal)
                while r >= self.states[state].upto and state < self.state_count - 1:
                    state += 1
            code = self.states[state].code
            if self.receipts == 2:
                wanted = True
            # No receipt in transaction mode: there the response tells the outcome.
            elif self.receipts == 1 and (f.registered & 3) and (f.esm_class & 3) != 2:
                k = f.registered & 3
                wanted = k == 1 or (k == 2 and code != 2) or (k == 3 and code == 2)
            if wanted and self.missing and self.hit(SALT_MISSING, ordinal, self.missing):
                wanted = False
                self.n_missing += 1
            if wanted and self.early:
                early = self.hit(SALT_EARLY, ordinal, self.early)
            if shared_serial == 0:
                k = <uint32_t>(serial & (RECENT - 1))
                self.recent[k].serial = serial
                self.recent[k].done_ns = due + self.receipt_delay_ns
                self.recent[k].code = code
                self.recent[k].cancelled = 0
                self.recent[k].source = <uint32_t>fnv1a(f.source, f.slen)
        if self.drop_every and link.submits % self.drop_every == 0:
            cut = True
        elif self.drop_share and self.hit(SALT_DROP, ordinal, self.drop_share):
            cut = True
        if command == 0 or silent:
            due = now
        if early:
            self.n_early += 1
            i = self.kept(RECEIPT, link, command, sequence, serial, f, state, now)
            self.deliver(i, now)
            wanted = False
            if due < now + self.early_ns:
                due = now + self.early_ns
        if due > now or cut:
            if self.keeps_ledger:
                self.log_submit(link, sequence, status, serial, f if sound else NULL, now, 0)
            # A response still to come dies with its link, but not the receipt: it waits for the next one.
            if command and not silent:
                i = self.kept(RESPONSE, link, command, sequence, serial, f if sound else NULL,
                              state if wanted else 0xFF, now)
                self.node(i).status = status
                if cut and self.drop_answers and due <= now:
                    self.fire(i, now)
                else:
                    self.insert(i, due)
            elif wanted:
                self.start_receipt(self.kept(RECEIPT, link, command, sequence, serial, f, state, now), now)
        else:
            if command and not silent:
                self.respond(link, command, sequence, status, serial)
            if self.keeps_ledger:
                self.log_submit(link, sequence, status, serial, f if sound else NULL, now,
                                self.offset(link) if command and not silent else 0)
            if wanted:
                self.start_receipt(self.kept(RECEIPT, link, command, sequence, serial, f, state, now), now)
        if self.reply and status == 0 and self.hit(SALT_REPLY, ordinal, self.reply):
            i = self.kept(REPLY, link, command, sequence, serial, f, state, now)
            self.insert(i, due + self.reply_delay_ns)
        if cut:
            link.cut = 1
            self.n_cuts += 1
        return <int>status

    cdef uint32_t kept(self, uint8_t kind, Link* link, uint32_t command, uint32_t sequence, uint64_t serial, Fields* f,
                       uint32_t state, int64_t now) except 0:
        """A node with what the rest of this message's life needs."""
        cdef uint32_t i = self.new_node(kind)
        cdef Node* node = self.node(i)
        cdef Py_ssize_t k
        cdef Py_ssize_t start = 0
        cdef Py_ssize_t n
        cdef uint8_t* text
        node.link = link.number
        node.account = <uint16_t>link.account
        node.command = command
        node.sequence = sequence
        node.serial = serial
        node.status = 0
        node.state = <uint8_t>state
        node.submit_ns = now
        node.slen = node.dlen = node.tlen = 0
        if f == NULL or state == 0xFF:
            return i
        node.ston = f.ston
        node.snpi = f.snpi
        node.dton = f.dton
        node.dnpi = f.dnpi
        # A deliver_sm has no room for the 64 octets that a data_sm's address may have.
        node.slen = f.slen if f.slen < 21 else 20
        node.dlen = f.dlen if f.dlen < 21 else 20
        memcpy(node.octets, f.source, node.slen)
        memcpy(node.octets + node.slen, f.destination, node.dlen)
        text = node.octets + node.slen + node.dlen
        # The user data header is no text; what is not printable ASCII is shown as a dot.
        if f.esm_class & 0x40 and f.octets:
            start = 1 + f.text[0]
        n = <Py_ssize_t>f.octets - start
        if n > 20:
            n = 20
        if n < 0:
            n = 0
        for k in range(n):
            text[k] = f.text[start + k] if 0x20 <= f.text[start + k] < 0x7F else 46
        node.tlen = <uint8_t>n
        return i

    # ---- the ledger ----

    cdef uint8_t* line(self, size_t n) except NULL:
        """A place for a line of at most n octets."""
        cdef uint8_t* grown
        cdef size_t wanted
        if self.book_room - self.book_length < n:
            wanted = 2 * self.book_room if self.book_room else 1 << 16
            while wanted - self.book_length < n:
                wanted *= 2
            grown = <uint8_t*>PyMem_RawRealloc(self.book, wanted)
            if grown == NULL:
                raise MemoryError()
            self.book = grown
            self.book_room = wanted
        return self.book + self.book_length

    cdef inline uint64_t offset(self, Link* link) noexcept nogil:
        return link.base + (link.tail - link.head)

    cdef inline Py_ssize_t log_head(self, uint8_t* p, uint8_t kind, int64_t now, uint32_t link) noexcept nogil:
        cdef Py_ssize_t n = 2
        p[0] = kind
        p[1] = 44
        n += decimal(p + n, <uint64_t>now, 0)
        p[n] = 44
        n += 1
        n += decimal(p + n, link, 0)
        p[n] = 44
        return n + 1

    cdef inline void log_tail(self, uint8_t* p, Py_ssize_t n, uint64_t last) noexcept nogil:
        p[n] = 44
        n += 1
        n += decimal(p + n, last, 0)
        p[n] = 10
        self.book_length += n + 1

    cdef inline Py_ssize_t log_address(self, uint8_t* p, const uint8_t* a, Py_ssize_t length) noexcept nogil:
        cdef Py_ssize_t n = 0
        cdef Py_ssize_t k
        for k in range(length):
            if a[k] < 0x21 or a[k] > 0x7E or a[k] == 44 or a[k] == 34 or a[k] == 37:
                p[n] = 37
                hexadecimal(p + n + 1, a[k], 2, True)
                n += 3
            else:
                p[n] = a[k]
                n += 1
        return n

    cdef int log_submit(self, Link* link, uint32_t sequence, uint32_t status, uint64_t serial, Fields* f, int64_t now,
                        uint64_t offset) except -1:
        cdef size_t text = 2 * f.octets if f != NULL and self.ledger_text else 16
        cdef uint8_t* p = self.line(1024 + text)
        cdef Account* account = &self.accounts[link.account]
        cdef Py_ssize_t n = self.log_head(p, 83, now, link.number)
        cdef Py_ssize_t k = 0
        while account.name[k]:
            k += 1
        n += self.log_address(p + n, <const uint8_t*>account.name, k)
        p[n] = 44
        n += 1
        n += decimal(p + n, sequence, 0)
        p[n] = 44
        n += 1
        if f != NULL:
            n += self.log_address(p + n, f.source, f.slen)
            p[n] = 44
            n += 1
            n += self.log_address(p + n, f.destination, f.dlen)
            p[n] = 44
            n += 1
            n += decimal(p + n, f.esm_class, 0)
            p[n] = 44
            n += 1
            n += decimal(p + n, f.data_coding, 0)
            p[n] = 44
            n += 1
            n += decimal(p + n, f.registered, 0)
            p[n] = 44
            n += 1
            n += decimal(p + n, f.octets, 0)
            p[n] = 44
            n += 1
            if self.ledger_text:
                for k in range(f.octets):
                    n += hexadecimal(p + n, f.text[k], 2, False)
            else:
                n += hexadecimal(p + n, fnv1a(f.text, f.octets), 16, False)
        else:
            memcpy(p + n, <const char*>",,,,,,", 6)
            n += 6
        p[n] = 44
        n += 1
        n += decimal(p + n, status, 0)
        p[n] = 44
        n += 1
        if status == 0:
            n += self.write_id(p + n, serial, self.shape_of(serial).response_form)
        self.log_tail(p, n, offset)
        return 0

    cdef int log_response(self, Link* link, Node* node, int64_t now) except -1:
        cdef uint8_t* p = self.line(256)
        cdef Py_ssize_t n = self.log_head(p, 82, now, link.number)
        n += decimal(p + n, node.sequence, 0)
        p[n] = 44
        n += 1
        n += decimal(p + n, node.status, 0)
        p[n] = 44
        n += 1
        if node.status == 0:
            n += self.write_id(p + n, node.serial, self.shape_of(node.serial).response_form)
        self.log_tail(p, n, self.offset(link))
        return 0

    def note(self, bytes line):
        """Add a line of the shell's own to the ledger, if one is kept; without its line end."""
        cdef Py_ssize_t n = len(line)
        cdef uint8_t* p
        if self.keeps_ledger:
            p = self.line(n + 1)
            memcpy(p, <const char*>line, n)
            p[n] = 10
            self.book_length += n + 1

    def take_ledger(self):
        """The ledger's lines since the last call, as octets, or None."""
        cdef object taken
        if self.book_length == 0:
            return None
        taken = PyBytes_FromStringAndSize(<char*>self.book, self.book_length)
        self.book_length = 0
        return taken

    # ---- what the shell calls ----

    def set_tps(self, uint32_t account, uint64_t tps, double gap_slack=0.1):
        """Give the account another rate limit from now on; 0: none. raises IndexError; ValueError over 10,000,000."""
        cdef Account* a
        cdef uint64_t k
        if account >= self.account_count:
            raise IndexError(account)
        if tps > 10000000:
            raise ValueError(f"tps: expected at most 10000000, found {tps}")
        a = &self.accounts[account]
        PyMem_RawFree(a.ring)
        a.ring = NULL
        a.tps = 0
        if tps and self.limit == LIMIT_SLIDING:
            a.ring = <int64_t*>self.taken(tps * sizeof(int64_t))
            for k in range(tps):
                a.ring[k] = -1
        a.ring_at = 0
        a.tps = tps
        a.gap_ns = 0
        if tps:
            # A refused gap has some slack (carriers measure with jitter); slow answers have none.
            a.gap_ns = <int64_t>(1e9 / <double>tps * (1.0 - gap_slack if self.limit == LIMIT_GAP else 1.0))

    def open(self):
        """A new link, not bound: turn() hands out all its PDUs. -> its number, from 1, never used twice."""
        cdef Link** grown
        cdef Link* link
        if self.link_count == self.link_room:
            grown = <Link**>PyMem_RawRealloc(self.links, 2 * self.link_room * sizeof(Link*))
            if grown == NULL:
                raise MemoryError()
            self.links = grown
            self.link_room *= 2
        link = <Link*>self.taken(sizeof(Link))
        link.number = self.link_count
        link.account = -1
        link.version = 0x34
        self.links[self.link_count] = link
        self.link_count += 1
        return link.number

    def bind(self, uint32_t number, uint32_t account, bint tx, bint rx, uint8_t version, int64_t now_ns):
        """The link is bound: submit_sm is answered here from now on, receipts that wait for the account go out.

        raises  KeyError for a link that is closed; IndexError for no such account
        """
        cdef Link* link = self.known(number)
        cdef Account* a
        cdef uint32_t* grown
        if account >= self.account_count:
            raise IndexError(account)
        self.unlist(link)
        a = &self.accounts[account]
        link.account = <int>account
        link.tx = tx
        link.rx = rx
        link.version = version
        if rx:
            if a.receiver_count == a.receiver_room:
                grown = <uint32_t*>PyMem_RawRealloc(a.receivers, (2 * a.receiver_room + 8) * sizeof(uint32_t))
                if grown == NULL:
                    raise MemoryError()
                a.receivers = grown
                a.receiver_room = 2 * a.receiver_room + 8
            a.receivers[a.receiver_count] = number
            a.receiver_count += 1
        self.run_to(now_ns)
        self.drain(a, now_ns)

    def unbind(self, uint32_t number):
        """No more submit_sm and no more receipts on this link; answers to those sent still count."""
        cdef Link* link = self.known(number)
        self.unlist(link)
        link.tx = 0
        link.rx = 0

    cdef int unlist(self, Link* link) except -1:
        cdef Account* a
        cdef uint32_t k
        if link.account < 0:
            return 0
        a = &self.accounts[link.account]
        for k in range(a.receiver_count):
            if a.receivers[k] == link.number:
                memmove(&a.receivers[k], &a.receivers[k + 1], (a.receiver_count - k - 1) * sizeof(uint32_t))
                a.receiver_count -= 1
                break
        return 0

    def close(self, uint32_t number, int64_t now_ns):
        """Forget the link; receipts whose answer is owed go out again, on the next link of the account."""
        cdef Link* link = self.link_of(number)
        cdef uint32_t k
        cdef uint32_t i
        cdef uint32_t step
        if link == NULL:
            return
        self.unlist(link)
        self.links[number] = NULL
        # From the oldest on: the ring begins behind the last number given out.
        for step in range(link.unacked_room):
            k = (link.sequence + 1 + step) & (link.unacked_room - 1)
            i = link.unacked[k]
            if i:
                self.node(i).tries += 1
                if self.node(i).tries > self.retries:
                    self.drop_node(i)
                    self.n_forgotten += 1
                else:
                    self.n_redelivered += 1
                    self.deliver(i, now_ns)
        self.free_link(link)

    def turn(self, uint32_t number, const uint8_t[::1] octets, Py_ssize_t start, Py_ssize_t end, int64_t now_ns):
        """Take the whole PDUs of octets[start:end], all arrived at now_ns.

        ->      where the first octet stands that was not used: a PDU still coming, or what follows `other`
        raises  LostFraming on a command_length below 16 or over 66,560, when all before it is done;
                KeyError for no such link; ValueError for a range outside the octets
        cost    about 0.1 us a submit_sm with response and receipt; one Python object only for `other`
        """
        cdef Link* link = self.known(number)
        cdef Py_ssize_t at = start
        cdef const uint8_t* p
        cdef Py_ssize_t whole
        cdef uint32_t length
        cdef uint32_t command
        cdef uint32_t sequence
        cdef Fields f
        self.other = None
        if start < 0 or end > octets.shape[0] or start > end:
            raise ValueError(f"turn: {start}..{end} is not within {octets.shape[0]} octets")
        self.run_to(now_ns)
        while end - at >= 4 and not link.cut:
            p = &octets[at]
            length = load32(p)
            whole = frame_length(p, end - at, DEFAULT_CAP_OCTETS)
            if whole == FRAME_LOST:
                raise LostFraming(f"command_length {length}: expected {HEADER_OCTETS} to {DEFAULT_CAP_OCTETS}")
            if whole == FRAME_WAIT:
                break
            at += whole
            self.n_octets_in += length
            command = load32(p + 4)
            sequence = load32(p + 12)
            if command == SUBMIT_SM and link.tx:
                self.decide(link, SUBMIT_SM_RESP, sequence, parse_submit(p, length, &f), &f, now_ns, 0)
            elif (command == DELIVER_SM_RESP or command == DATA_SM_RESP) and link.account >= 0:
                if not self.answered_by_esme(link, sequence, load32(p + 8), now_ns):
                    self.n_unknown_responses += 1
            elif command == ENQUIRE_LINK and (link.tx or link.rx):
                self.n_enquiries += 1
                self.short_answer(link, 0x80000015, sequence, 0)
            elif command == GENERIC_NACK and self.answered_by_esme(link, sequence, load32(p + 8), now_ns):
                pass
            else:
                self.other = PyBytes_FromStringAndSize(<const char*>p, length)
                break
        return at

    def accept(self, uint32_t number, uint32_t sequence, uint32_t command, source, destination, uint8_t esm_class,
               uint8_t registered, uint8_t data_coding, bytes text, int64_t now_ns, bytes message_id=None):
        """Take one message that came in another PDU than submit_sm: data_sm, submit_multi.

        command      of the response, 0 for none
        source       (ton, npi, address), address at most 64 octets; so destination
        message_id   that of an earlier destination of the same submit_multi
        ->           (command_status, message_id)
        """
        cdef Link* link = self.known(number)
        cdef Fields f
        cdef bytes source_octets = source[2]
        cdef bytes destination_octets = destination[2]
        cdef uint64_t serial, shared = 0
        cdef uint8_t out[80]
        cdef int status
        if link.account < 0:
            raise ValueError("accept: the link is not bound")
        if len(source_octets) > 64 or len(destination_octets) > 64:
            raise ValueError("accept: an address has more than 64 octets")
        if message_id is not None:
            shared = self.serial_of(message_id)
        self.run_to(now_ns)
        f.source = <const uint8_t*><const char*>source_octets
        f.slen = len(source_octets)
        f.destination = <const uint8_t*><const char*>destination_octets
        f.dlen = len(destination_octets)
        f.text = <const uint8_t*><const char*>text
        f.octets = len(text)
        f.ston, f.snpi = source[0], source[1]
        f.dton, f.dnpi = destination[0], destination[1]
        f.esm_class = esm_class
        f.registered = registered
        f.data_coding = data_coding
        status = self.decide(link, command, sequence, 0x0B if f.dlen == 0 else 0, &f, now_ns, shared)
        serial = shared if shared else self.serial
        return status, PyBytes_FromStringAndSize(
            <char*>out, self.write_id(out, serial, self.shape_of(serial).response_form))

    cdef uint64_t serial_of(self, bytes message_id) except? 0:
        """The number behind an id as the response gave it; 0 if it is none of ours."""
        cdef uint8_t written[64]
        cdef uint64_t serial
        cdef uint32_t i
        cdef Py_ssize_t n
        if self.shape_count == 1:
            return self.read_id(message_id, self.shapes[0].response_form)
        for i in range(self.shape_count):
            serial = self.read_id(message_id, self.shapes[i].response_form)
            if serial:
                n = self.write_id(written, serial, self.shape_of(serial).response_form)
                if PyBytes_FromStringAndSize(<char*>written, n) == message_id:
                    return serial
        return 0

    cdef uint64_t read_id(self, bytes message_id, Form form) except? 0:
        try:
            if form.kind == FORM_DECIMAL:
                return int(message_id)
            if form.kind == FORM_UUID or form.kind == FORM_UUID_UPPER:
                return int(message_id.replace(b"-", b"")[16:], 16)
            if form.kind == FORM_SAR:
                return int(message_id[18:].partition(b"-")[0], 16)
            if form.kind == FORM_BASE32:
                return int.from_bytes(base64.b32decode(b"AAA" + message_id[13:]), "big")
            return int(message_id, 16)
        except (ValueError, OverflowError):
            return 0

    def state_of(self, bytes message_id, int64_t now_ns, bytes source=None):
        """What query_sm says of a message: (message_state, final date as unix seconds or 0), None if it is not known.

        source  if given must be that of the submission
        """
        cdef uint64_t serial = self.serial_of(message_id)
        cdef Recent* recent = &self.recent[serial & (RECENT - 1)]
        if serial == 0 or recent.serial != serial:
            return None
        if source is not None and <uint32_t>fnv1a(<const uint8_t*><const char*>source, len(source)) != recent.source:
            return None
        if recent.cancelled:
            return 4, (recent.done_ns + self.epoch_ns) // 1000000000
        if now_ns < recent.done_ns:
            return 1, 0
        return recent.code, (recent.done_ns + self.epoch_ns) // 1000000000

    def cancel(self, bytes message_id, int64_t now_ns, bytes source=None):
        """Cancel a message that is not final yet. -> whether it was done; its receipt, if any, says DELETED."""
        cdef object state = self.state_of(message_id, now_ns, source)
        cdef uint64_t serial
        if state is None or state[0] != 1:
            return False
        serial = self.serial_of(message_id)
        self.recent[serial & (RECENT - 1)].cancelled = 1
        self.recent[serial & (RECENT - 1)].done_ns = now_ns
        return True

    def advance(self, int64_t now_ns):
        """Write all that is due at now_ns into the outputs of its links."""
        self.run_to(now_ns)

    def next_due(self):
        """When advance() has something to do, in ns (up to a second early, never late); -1: nothing is planned."""
        cdef int ahead
        cdef int64_t best = -1
        cdef int64_t turn_start
        if self.timed_nodes == 0:
            return -1
        ahead = next_set(self.near_bits, <uint32_t>((self.tick + 1) & (SLOTS - 1)))
        if ahead >= 0:
            best = self.tick + 1 + ahead
        ahead = next_set(self.far_bits, <uint32_t>(((self.tick >> 12) + 1) & (SLOTS - 1)))
        if ahead < 0 and self.beyond_head:
            ahead = <int>(SLOTS - 1 - ((self.tick >> 12) & (SLOTS - 1)))
        if ahead >= 0:
            turn_start = ((self.tick >> 12) + 1 + ahead) << 12
            if best < 0 or turn_start < best:
                best = turn_start
        return best << TICK_SHIFT

    def dirty(self):
        """Numbers of the links that got output since the last call."""
        cdef list numbers = []
        cdef uint32_t k
        cdef Link* link
        for k in range(self.dirty_count):
            link = self.link_of(self.dirty_links[k])
            if link != NULL:
                link.dirty = 0
                numbers.append(link.number)
        self.dirty_count = 0
        return numbers

    def write(self, uint32_t number, const uint8_t[::1] octets):
        """Append octets of the session's own to the link's output."""
        cdef Link* link = self.known(number)
        cdef uint8_t* p
        cdef Py_ssize_t n = octets.shape[0]
        if n:
            p = self.room(link, n)
            memcpy(p, &octets[0], n)
            link.tail += n
            self.soil(link)

    def pending(self, uint32_t number):
        """The link's output as a view that is good until the next call of anything here; None if there is none.

        What it shows counts as answered for the window: it is about to leave.
        """
        cdef Link* link = self.known(number)
        link.open = link.open - link.answered if link.open > link.answered else 0
        link.answered = 0
        if link.tail == link.head:
            return None
        return PyMemoryView_FromMemory(<char*>(link.out + link.head), link.tail - link.head, PyBUF_READ)

    def handed(self, uint32_t number, size_t octets, int64_t now_ns):
        """So many octets of pending() are in the kernel. -> how many are left."""
        cdef Link* link = self.known(number)
        cdef uint8_t* p
        cdef Py_ssize_t n
        if octets > link.tail - link.head:
            raise ValueError(f"handed: {octets} octets, but only {link.tail - link.head} are there")
        link.head += octets
        link.base += octets
        self.n_octets_out += octets
        if link.head == link.tail:
            link.head = 0
            link.tail = 0
        if self.keeps_ledger and octets:
            p = self.line(128)
            n = self.log_head(p, 79, now_ns, number)
            n += decimal(p + n, link.base, 0)
            p[n] = 10
            self.book_length += n + 1
        if link.account >= 0 and self.accounts[link.account].wait_head:
            self.drain(&self.accounts[link.account], now_ns)
        return link.tail - link.head

    def backlog(self, uint32_t number):
        """Octets of the link's output that are not handed yet."""
        cdef Link* link = self.known(number)
        return link.tail - link.head

    def next_sequence(self, uint32_t number):
        """The next sequence_number of our own requests on the link, 1..0x7FFFFFFF, shared with the receipts."""
        return self.next_sequence_of(self.known(number))

    def is_cut(self, uint32_t number):
        """Has the behaviour decided to break this link?"""
        return self.known(number).cut != 0

    def unanswered(self, uint32_t number):
        """Requests of the ESME on this link that have no response yet."""
        return self.known(number).open

    def waiting(self):
        """(messages that wait for a response, a receipt or its answer, those that wait for a receiver)."""
        cdef uint64_t held = 0
        cdef uint32_t k
        for k in range(self.account_count):
            held += self.accounts[k].waiting
        return self.live_nodes - (1 if self.inbound_gap_ns else 0), held

    def totals(self):
        """Counts of everything so far, by name."""
        return {
            "submits": self.n_submits,
            "accepted": self.n_accepted,
            "refused": self.n_refused,
            "malformed": self.n_malformed,
            "throttled": self.n_throttled,
            "over_window": self.n_over_window,
            "silent": self.n_silent,
            "responses": self.n_responses,
            "responses_to_dead_links": self.n_dead_responses,
            "receipts": self.n_receipts,
            "receipts_acked": self.n_receipts_acked,
            "receipts_refused": self.n_receipts_refused,
            "receipts_redelivered": self.n_redelivered,
            "receipts_forgotten": self.n_forgotten,
            "receipts_duplicate": self.n_duplicates,
            "receipts_early": self.n_early,
            "receipts_missing": self.n_missing,
            "inbound": self.n_inbound,
            "inbound_acked": self.n_inbound_acked,
            "replies": self.n_replies,
            "unknown_responses": self.n_unknown_responses,
            "enquiries": self.n_enquiries,
            "cuts": self.n_cuts,
            "octets_in": self.n_octets_in,
            "octets_out": self.n_octets_out,
            "message_octets": self.n_message_octets,
            "peak_window": self.n_peak_window,
            "peak_second": self.n_second_peak,
            "last_id": self.serial,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
        }

    cdef int take_shapes(self, object given) except -1:
        """Take how receipts look, and how often each."""
        cdef uint32_t i
        cdef Shape* shape
        if not 1 <= len(given) <= 256:
            raise ValueError(f"shapes: expected 1 to 256, found {len(given)}")
        whole = sum(one.get("share", 1.0) for one in given)
        if whole <= 0:
            raise ValueError("shapes: expected shares that add up to more than 0")
        self.shapes = <Shape*>self.taken(len(given) * sizeof(Shape))
        self.shape_count = len(given)
        self.literals = b""
        reached = 0.0
        for i, one in enumerate(given):
            unknown = one.keys() - SHAPE.keys() - {"share"}
            if unknown:
                raise ValueError(f"shapes[{i}]: unknown {', '.join(sorted(unknown))}")
            one = SHAPE | one
            reached += one.get("share", 1.0) / whole
            shape = &self.shapes[i]
            shape.upto = share_limit(reached)
            form_of(one["response_id"], &shape.response_form)
            form_of(one["receipt_id"], &shape.receipt_form)
            form_of(one["tlv_id"], &shape.tlv_form)
            shape.tlvs = one["tlvs"]
            shape.esm_class = one["esm_class"]
            shape.data_coding = one["data_coding"]
            shape.payload = one["payload"]
            shape.data_sm = one["data_sm"]
            self.compile_text(shape, one["text"])
        self.literal_octets = <const uint8_t*><const char*>self.literals
        return 0

    cdef int compile_text(self, Shape* shape, object pieces) except -1:
        """Turn the receipt's form into ops over one string of literals."""
        cdef uint32_t k = 0
        cdef object kinds = {
            "id": (OP_ID, 64), "stat": (OP_STATE, 23), "err": (OP_ERROR, 15), "dlvrd": (OP_DELIVERED, 3),
            "text": (OP_TEXT, 20), "submit": (OP_SUBMIT, 16), "done": (OP_DONE, 16), "source": (OP_SOURCE, 20),
            "destination": (OP_DESTINATION, 20), "code": (OP_CODE, 3), "listed": (OP_LISTED, 2),
        }
        pieces = list(pieces)
        shape.ops = <Op*>self.taken(max(len(pieces), 1) * sizeof(Op))
        shape.op_count = len(pieces)
        most = 0
        for k, piece in enumerate(pieces):
            if isinstance(piece, str):
                octets = piece.encode("latin-1")
                shape.ops[k].kind = OP_LITERAL
                shape.ops[k].offset = min(len(self.literals), 65535)
                shape.ops[k].length = min(len(octets), 65535)
                self.literals += octets
                most += len(octets)
            else:
                name, form = piece
                if name not in kinds or not 0 <= form <= DATE_SMPP:
                    raise ValueError(f"receipt_text: unknown field {name!r}, form {form}")
                shape.ops[k].kind, length = kinds[name]
                shape.ops[k].form = form
                most += length
            if most > 1700:
                raise ValueError("receipt_text: expected at most 1700 octets")
        if len(self.literals) > 65535:
            raise ValueError("receipt_text: expected at most 65535 octets in all shapes")
        return 0
