# cython: auto_pickle=False
"""The readers that every octet of a carrier meets, fuzzed without Python between two inputs: a million a second.

Each input is laid into memory of exactly its size, so that AddressSanitizer sees the first octet behind it. What is
read must lie inside the input: a span that does not is counted and ends the run. Compiled by `./dev fuzz` alone.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from _fastpath.alphabet cimport gsm_from_utf8, latin1_from_utf8, pack_septets, utf16_from_utf8
from _fastpath.frame cimport FRAME_LOST, FRAME_WAIT, frame_length
from _fastpath.inbound cimport Reading, Receipt, Response, Rules, Told, read_receipt, read_response, read_told
from _fastpath.receipttext cimport ReceiptText, receipt_text
from _fastpath.wire cimport load32, store32

cdef enum:
    ROOM = 4096
    STREAM = 0
    RECEIPT = 1
    TEXT = 2
    RESPONSE_BIT = 0x80000000

cdef uint8_t* EDGES = [0, 1, 2, 15, 16, 17, 27, 127, 128, 254, 255, 0x3A]


cdef inline uint64_t draw(uint64_t* state) noexcept nogil:
    state[0] ^= state[0] << 13
    state[0] ^= state[0] >> 7
    state[0] ^= state[0] << 17
    return state[0] >> 11


cdef inline bint lies(const uint8_t* q, Py_ssize_t n, const uint8_t* p, Py_ssize_t octets) noexcept nogil:
    """Whether a span, if there is one, is inside the input."""
    return q == NULL or n <= 0 or (q >= p and q <= p + octets and n <= p + octets - q)


cdef bint stream(const uint8_t* p, Py_ssize_t n, const Rules* rules) noexcept nogil:
    """Cut and read as exchange.pyx does."""
    cdef Py_ssize_t at = 0, length
    cdef Response response
    cdef Receipt receipt
    cdef Told told
    while True:
        length = frame_length(p + at, n - at, 66560)
        if length == FRAME_WAIT or length == FRAME_LOST:
            return True
        if length < 16 or length > n - at:
            return False
        if load32(p + at + 4) & RESPONSE_BIT:
            read_response(p + at, length, &response)
            if not lies(response.message_id, response.id_octets, p + at, length):
                return False
            read_told(p + at, length, &response, &told)
            if told.congestion > 100:
                return False
        elif read_receipt(p + at, length, rules, &receipt):
            if not (0 < receipt.id_octets <= 255 and -1 <= receipt.state <= 9):
                return False
            if not lies(receipt.message_id, receipt.id_octets, p + at, length):
                return False
            if not lies(receipt.text, receipt.text_octets, p + at, length):
                return False
            if receipt.err != receipt.network_error and not lies(receipt.err, receipt.err_octets, p + at, length):
                return False
        at += length


cdef bint text_of_receipt(const uint8_t* p, Py_ssize_t n) noexcept nogil:
    cdef ReceiptText found
    receipt_text(p, n, &found)
    return (lies(found.id, found.id_len, p, n) and lies(found.stat, found.stat_len, p, n)
            and lies(found.err, found.err_len, p, n) and lies(found.text, found.text_len, p, n)
            and lies(found.sub, found.sub_len, p, n) and lies(found.dlvrd, found.dlvrd_len, p, n))


cdef bint text(const uint8_t* p, Py_ssize_t n, Py_ssize_t room) noexcept nogil:
    """Encode octets that should be UTF-8 into memory that may be short."""
    cdef uint8_t* out = <uint8_t*>malloc(<size_t>room + 1)
    cdef uint8_t* packed
    cdef Py_ssize_t written
    if out == NULL:
        return False
    written = utf16_from_utf8(p, n, out, room)
    if written > room:
        return False
    written = latin1_from_utf8(p, n, out, room)
    if written > room:
        return False
    written = gsm_from_utf8(p, n, out, room)
    if written > room:
        return False
    if written > 0:
        packed = <uint8_t*>malloc(<size_t>((written * 7 + 6 + 7) >> 3))
        if packed != NULL:
            pack_septets(out, written, <int>(room % 7), packed, (written * 7 + 13) >> 3)
            free(packed)
    free(out)
    return True


def run(str target, list seeds, uint64_t n, uint64_t seed):
    """Run n inputs made of the seeds; -> n. raises AssertionError with the octets of an input that broke a promise."""
    cdef uint8_t work[4096]
    cdef uint8_t* exact
    cdef const uint8_t* other
    cdef uint64_t state = seed * 2 + 1, i, kind
    cdef Py_ssize_t octets, at, size, rest, which, step
    cdef int way = {"stream": STREAM, "receipt": RECEIPT, "text": TEXT}[target]
    cdef Py_ssize_t count = len(seeds)
    cdef Reading plain = Reading(), either = Reading("either", "text", {"ok": 2})
    cdef bint holds = True
    cdef const uint8_t** begins = <const uint8_t**>malloc(<size_t>count * sizeof(void*))
    cdef Py_ssize_t* sizes = <Py_ssize_t*>malloc(<size_t>count * sizeof(Py_ssize_t))
    for i in range(<uint64_t>count):
        begins[i] = <const uint8_t*><const char*>(<bytes>seeds[i])
        sizes[i] = min(len(<bytes>seeds[i]), ROOM // 2)
    with nogil:
        for i in range(n):
            which = <Py_ssize_t>(draw(&state) % <uint64_t>count)
            octets = sizes[which]
            memcpy(work, begins[which], <size_t>octets)
            for step in range(1 + <Py_ssize_t>(draw(&state) & 3)):
                kind = draw(&state) % 7
                at = <Py_ssize_t>(draw(&state) % <uint64_t>(octets + 1))
                if kind == 0 and octets:
                    work[at % octets] ^= 1 << (draw(&state) & 7)
                elif kind == 1 and octets:
                    work[at % octets] = EDGES[draw(&state) % 12]
                elif kind == 2:
                    size = min(<Py_ssize_t>(1 + (draw(&state) & 7)), octets - at)
                    memmove(work + at, work + at + size, <size_t>(octets - at - size))
                    octets -= size
                elif kind == 3 and octets < ROOM:
                    memmove(work + at + 1, work + at, <size_t>(octets - at))
                    work[at] = <uint8_t>draw(&state)
                    octets += 1
                elif kind == 4:
                    which = <Py_ssize_t>(draw(&state) % <uint64_t>count)
                    other = begins[which]
                    rest = <Py_ssize_t>(draw(&state) % <uint64_t>(sizes[which] + 1))
                    size = min(min(<Py_ssize_t>(1 + (draw(&state) & 63)), sizes[which] - rest), ROOM - octets)
                    if size > 0:
                        memmove(work + at + size, work + at, <size_t>(octets - at))
                        memcpy(work + at, other + rest, <size_t>size)
                        octets += size
                elif kind == 5 and octets >= 4:
                    # A command_length that is true makes the inside count.
                    store32(work, <uint32_t>octets)
                elif octets:
                    octets = at
            if way == STREAM and octets >= 4 and draw(&state) & 1:
                store32(work, <uint32_t>octets)
            exact = <uint8_t*>malloc(<size_t>(octets if octets else 1))
            memcpy(exact, work, <size_t>octets)
            if way == STREAM:
                holds = stream(exact, octets, &either.rules if i & 1 else &plain.rules)
            elif way == RECEIPT:
                holds = text_of_receipt(exact, octets)
            else:
                holds = text(exact, octets, <Py_ssize_t>(draw(&state) % 700))
            free(exact)
            if not holds:
                break
    free(begins)
    free(sizes)
    if not holds:
        raise AssertionError(f"{target}: input {i} of seed {seed}: {work[:octets].hex()}")
    return n
