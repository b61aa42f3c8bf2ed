"""submit_sm out of a batch: a form of constant octets, patched message by message.

    00 00 00 LL  00 00 00 04  00 00 00 00  SS SS SS SS     header: length, command_id, status, sequence_number
    service_type NUL | ton npi source_addr NUL | ton npi   \\ head of the form, the same for a whole run
    destination_addr NUL                                    patched: the number
    esm_class | protocol_id | priority_flag |              \\
    schedule NUL | validity NUL | registered_delivery |      tail of the form; esm_class, data_coding, sm_length patched
    replace | data_coding | sm_default_msg_id | sm_length  /
    [UDH] text                                              from the composer
    TLVs                                                    sar_* or message_payload

SMPP 3.4 §4.4.1; concatenation: 3GPP TS 23.040 §9.2.3.24.1 and .8. The reference is the caller's: taken anew for a new
message (references.pyx), kept with its segments, and set again for a segment that is sent again.
Not here: when to send (exchange.pyx), which runs use which form (dispatch.compose).
"""

import hashlib

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from _fastpath.references cimport References
from _fastpath.segment cimport ALPHABET_GSM7, ALPHABET_LATIN1, ALPHABET_UCS2, cut
from _fastpath.wire cimport store16, store32

cdef enum:
    SCRATCH = 65536
    SUBMIT_SM = 0x00000004
    UDHI = 0x40

cdef dict CONCATENATIONS = {"udh16": BY_UDH16, "udh8": BY_UDH8, "sar": BY_SAR, "payload": BY_PAYLOAD}
cdef dict ALPHABETS = {"gsm7": ALPHABET_GSM7, "latin1": ALPHABET_LATIN1, "ucs2": ALPHABET_UCS2}
# Octets of short_message for text, by alphabet: 140 on the radio path are 160 septets, 140 octets, 70 units.
cdef dict SINGLE = {"gsm7": 160, "latin1": 140, "ucs2": 140}
# With a header of 6 octets (8-bit reference; also what an SMSC writes for sar_*) and of 7 (16-bit). UCS-2 stays even.
cdef dict MULTI = {
    BY_UDH8: (153, 134, 134), BY_UDH16: (152, 133, 132), BY_SAR: (153, 134, 134), BY_PAYLOAD: (65535, 65535, 65534),
}

cdef char DIGITS[200]
cdef int _k
for _k in range(100):
    DIGITS[2 * _k] = 48 + _k // 10
    DIGITS[2 * _k + 1] = 48 + _k % 10


cdef inline int write_number(int64_t number, uint8_t* dst) noexcept nogil:
    """Decimal digits, no NUL; -> how many (at most 19)."""
    cdef uint8_t[20] reversed_digits
    cdef uint64_t v = <uint64_t>number
    cdef int at = 20
    cdef int pair
    while v >= 100:
        pair = <int>(v % 100) * 2
        v //= 100
        at -= 2
        reversed_digits[at] = DIGITS[pair]
        reversed_digits[at + 1] = DIGITS[pair + 1]
    if v >= 10:
        at -= 2
        reversed_digits[at] = DIGITS[v * 2]
        reversed_digits[at + 1] = DIGITS[v * 2 + 1]
    else:
        at -= 1
        reversed_digits[at] = <uint8_t>(48 + v)
    memcpy(dst, &reversed_digits[at], 20 - at)
    return 20 - at


def _cstring_of(name, text, limit):
    """A C-octet string field; ValueError with the field's name when it is too long, not ASCII, or holds a NUL."""
    try:
        octets = text.encode("ascii")
    except UnicodeEncodeError as error:
        raise ValueError(f"submit_sm.{name}: expected ASCII, got {text!r}") from error
    if len(octets) + 1 > limit or b"\x00" in octets:
        raise ValueError(f"submit_sm.{name}: {len(octets)} octets, at most {limit - 1} and a NUL (SMPP 3.4 §5.2)")
    return octets + b"\x00"


def _octet_of(name, value):
    """An integer field of one octet; ValueError with the field's name when it does not fit."""
    if not 0 <= value <= 255:
        raise ValueError(f"submit_sm.{name}: {value}, expected 0 to 255")
    return bytes((value,))


@cython.final
cdef class Form:
    """What all messages of one run have in common on one carrier.

    template             the text
    alphabets            tried in this order: the first that has every character is taken
    data_coding          by alphabet
    concatenation        udh16, udh8, sar, or payload (one PDU, message_payload)
    max_parts            1..255; a longer message is refused, never cut
    grapheme             whether a cut also spares grapheme clusters
    raises               ValueError with the field for what submit_sm cannot hold
    """

    def __init__(self, Template template not None, *, str source="", int source_ton=5, int source_npi=0,
                 int dest_ton=1, int dest_npi=1,
                 bint plus=False, str service_type="", int esm_class=0, int protocol_id=0, int priority_flag=0,
                 str validity_period="", int registered_delivery=1, alphabets=("gsm7", "ucs2"),
                 data_coding=None, str concatenation="udh16", int max_parts=255, bint grapheme=True):
        cdef int i
        codings = {"gsm7": 0x00, "latin1": 0x03, "ucs2": 0x08, **(data_coding or {})}
        if len(codings) > len(ALPHABETS):
            raise ValueError(f"data_coding: expected some of {', '.join(ALPHABETS)}, got {', '.join(data_coding)}")
        if concatenation not in CONCATENATIONS:
            raise ValueError(f"concatenation: expected one of {', '.join(CONCATENATIONS)}, got {concatenation!r}")
        if not alphabets or len(alphabets) > 3 or any(name not in ALPHABETS for name in alphabets):
            raise ValueError(f"alphabets: expected some of {', '.join(ALPHABETS)}, got {alphabets!r}")
        if not 1 <= max_parts <= 255:
            raise ValueError(f"max_parts: expected 1 to 255, got {max_parts}")
        if len(validity_period) not in (0, 16):
            raise ValueError(f"submit_sm.validity_period: expected 0 or 16 characters, got {len(validity_period)}")
        self.template = template
        self.concatenation = concatenation
        self.joining = CONCATENATIONS[concatenation]
        self.max_parts = max_parts
        self.grapheme = grapheme
        self.alphabet_count = len(alphabets)
        for i, name in enumerate(alphabets):
            self.alphabets[i] = ALPHABETS[name]
        for i, (name, code) in enumerate(ALPHABETS.items()):
            self.data_coding[code] = _octet_of(f"data_coding of {name}", codings[name])[0]
            self.single[code] = SINGLE[name]
            self.multi[code] = MULTI[self.joining][i]
        self.esm_class = esm_class
        self.reference_bits = 8 if self.joining == BY_UDH8 else 16
        self.source_key = int.from_bytes(hashlib.blake2b(
            f"{source_ton}/{source_npi}/{source}".encode(errors="replace"), digest_size=8).digest(), "big")
        self.wants_receipts = registered_delivery & 0x13 != 0
        self.head = (
            bytes(4) + SUBMIT_SM.to_bytes(4, "big") + bytes(8)
            + _cstring_of("service_type", service_type, 6)
            + _octet_of("source_addr_ton", source_ton) + _octet_of("source_addr_npi", source_npi)
            + _cstring_of("source_addr", source, 21)
            + _octet_of("dest_addr_ton", dest_ton) + _octet_of("dest_addr_npi", dest_npi) + (b"+" if plus else b""))
        self.tail = (
            b"\x00" + _octet_of("esm_class", esm_class) + _octet_of("protocol_id", protocol_id)
            + _octet_of("priority_flag", priority_flag) + b"\x00"
            + _cstring_of("validity_period", validity_period, 17)
            + _octet_of("registered_delivery", registered_delivery) + bytes(4))
        self.head_octets = <const uint8_t*>PyBytes_AS_STRING(self.head)
        self.tail_octets = <const uint8_t*>PyBytes_AS_STRING(self.tail)
        self.head_size = <int>len(self.head)
        self.tail_size = <int>len(self.tail)
        # 20 digits, a header of 7, 255 of text, three sar_* TLVs; or the head of message_payload and all it can hold.
        self.largest = self.head_size + self.tail_size + 20 + (
            4 + 65535 if self.joining == BY_PAYLOAD else 7 + 255 + 16)


@cython.final
cdef class Composer:
    """One message at a time: its text encoded once, cut once, written segment by segment."""

    def __cinit__(self):
        self.scratch = <uint8_t*>PyMem_RawMalloc(SCRATCH)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.scratch)

    cdef int load(self, Form form, Batch batch, int32_t pos) noexcept:
        """Encode and cut the message at a position; -> its segments, or a negative reason why it cannot leave."""
        cdef Py_ssize_t octets = -1
        cdef int i, alphabet = 0
        if batch.numbers[pos] < 1:
            return NOT_ENCODABLE
        # A text without fields is in the scratch already, encoded and cut.
        if self.constant_form is form:
            return 1
        self.constant_form = None
        for i in range(form.alphabet_count):
            alphabet = form.alphabets[i]
            octets = form.template.compose(
                alphabet, batch.base, batch.starts + <Py_ssize_t>pos * batch.columns,
                batch.lengths + <Py_ssize_t>pos * batch.columns,
                self.scratch, SCRATCH - 1)
            if octets != -1:
                break
        if octets < 0:
            return NOT_ENCODABLE if octets == -1 else TOO_MANY_PARTS if octets == -2 else MISSING_FIELD
        if octets == 0:
            return EMPTY
        self.octets = octets
        self.alphabet = alphabet
        if octets <= form.single[alphabet]:
            self.count = 1
            self.ends[0] = <uint32_t>octets
            if form.template.constant:
                self.constant_form = form
            return 1
        self.count = cut(self.scratch, octets, alphabet, form.single[alphabet], form.multi[alphabet], form.grapheme,
                         self.ends, form.max_parts)
        if self.count < 0:
            return TOO_MANY_PARTS
        return self.count

    cdef Py_ssize_t write(self, Form form, int64_t number, uint32_t sequence, int index, uint8_t* dst) noexcept:
        """Write segment `index` (from 0) as a whole submit_sm; the caller gives room for `form.largest`. -> octets."""
        cdef uint8_t* p = dst
        cdef uint8_t* tail
        cdef Py_ssize_t start = self.ends[index - 1] if index else 0
        cdef Py_ssize_t octets = self.ends[index] - start
        cdef int header = 0
        memcpy(p, form.head_octets, form.head_size)
        p += form.head_size
        p += write_number(number, p)
        tail = p
        memcpy(p, form.tail_octets, form.tail_size)
        p += form.tail_size
        tail[form.tail_size - 3] = form.data_coding[self.alphabet]
        if form.joining == BY_PAYLOAD and octets > form.single[self.alphabet]:
            store16(p, 0x0424)
            store16(p + 2, <uint16_t>octets)
            p += 4
            memcpy(p, self.scratch + start, octets)
            p += octets
        else:
            if self.count > 1 and form.joining <= BY_UDH8:
                tail[1] |= UDHI
                if form.joining == BY_UDH16:
                    p[0] = 6
                    p[1] = 8
                    p[2] = 4
                    store16(p + 3, <uint16_t>self.reference)
                    p[5] = <uint8_t>self.count
                    p[6] = <uint8_t>(index + 1)
                    header = 7
                else:
                    p[0] = 5
                    p[1] = 0
                    p[2] = 3
                    p[3] = <uint8_t>self.reference
                    p[4] = <uint8_t>self.count
                    p[5] = <uint8_t>(index + 1)
                    header = 6
                p += header
            tail[form.tail_size - 1] = <uint8_t>(header + octets)
            memcpy(p, self.scratch + start, octets)
            p += octets
            if self.count > 1 and form.joining == BY_SAR:
                store32(p, 0x020C0002)
                store16(p + 4, <uint16_t>self.reference)
                store32(p + 6, 0x020E0001)
                p[10] = <uint8_t>self.count
                store32(p + 11, 0x020F0001)
                p[15] = <uint8_t>(index + 1)
                p += 16
        store32(dst, <uint32_t>(p - dst))
        store32(dst + 12, sequence)
        return p - dst


def encode_batch(Batch batch not None, uint32_t sequence=1, References references=None, double wall_s=0.0):
    """All submit_sm of a dressed batch, in the order of sending; for benchmarks, tests and dry runs.

    references  of concatenated messages; by default from a new one
    ->  (octets, segments, {pos: reason}): what was written, in how many PDUs, and which positions were refused
    """
    cdef Form form = batch.form
    cdef Composer composer = Composer()
    cdef Py_ssize_t size = 0, room = 1 << 16
    cdef bytes buffer = PyBytes_FromStringAndSize(NULL, room)
    cdef int32_t rank, pos
    cdef int count, index, segments = 0
    cdef bytes bigger
    refused = {}
    if references is None:
        references = References()
    if form is None:
        raise ValueError(f"batch: chunk {batch.chunk_id} is not dressed")
    if not 1 <= sequence <= 0x7FFFFFFF:
        raise ValueError(f"sequence_number: expected 1 to 0x7fffffff, got {sequence}")
    for rank in range(batch.n):
        pos = batch.position(rank)
        count = composer.load(form, batch, pos)
        if count < 0:
            refused[pos] = count
            continue
        if count > 1:
            composer.reference = references.give(form.source_key, batch.numbers[pos], wall_s, form.reference_bits)
        if room - size < count * form.largest:
            while room - size < count * form.largest:
                room *= 2
            bigger = PyBytes_FromStringAndSize(NULL, room)
            memcpy(PyBytes_AS_STRING(bigger), PyBytes_AS_STRING(buffer), size)
            buffer = bigger
        for index in range(count):
            size += composer.write(
                form, batch.numbers[pos], sequence, index, <uint8_t*>PyBytes_AS_STRING(buffer) + size)
            sequence = 1 if sequence >= 0x7FFFFFFF else sequence + 1
            segments += 1
    return buffer[:size], segments, refused
