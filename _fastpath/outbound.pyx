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
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree, PyMem_RawMalloc
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from _fastpath.alphabet cimport pack_septets
from _fastpath.national cimport National
from _fastpath.references cimport References
from _fastpath.segment cimport ALPHABET_BINARY, ALPHABET_GSM7, ALPHABET_LATIN1, ALPHABET_UCS2, cut
from _fastpath.transliteration cimport LOSSY, SAFE, gsm_in_place_of
from _fastpath.validity cimport write_absolute, write_relative
from _fastpath.wire cimport store16, store32

from _fastpath.alphabet import decode
from _fastpath import national as nationals
from _fastpath.segment import capacity

cdef enum:
    SCRATCH = 65536
    SUBMIT_SM = 0x00000004
    UDHI = 0x40
    VALIDITY_AT = 5         # in the tail
    MOST_TLVS = 32
    MOST_TLV_OCTETS = 2048

cdef dict CONCATENATIONS = {"udh16": BY_UDH16, "udh8": BY_UDH8, "sar": BY_SAR, "payload": BY_PAYLOAD}
cdef dict ALPHABETS = {"gsm7": ALPHABET_GSM7, "latin1": ALPHABET_LATIN1, "ucs2": ALPHABET_UCS2}
cdef dict NAMES = {
    ALPHABET_GSM7: "gsm7", ALPHABET_LATIN1: "latin1", ALPHABET_UCS2: "ucs2", ALPHABET_BINARY: "binary",
}
# SMPP 3.4 §5.2.19
cdef dict CODINGS = {"gsm7": 0x00, "latin1": 0x03, "binary": 0x04, "ucs2": 0x08}
# 3GPP TS 23.038 §4: the general group with its class bits valid, and the group of data coding and message class.
cdef dict CLASS_CODINGS = {"0x10": 0x10, "0xF0": 0xF0, "subunit": 0}
cdef dict TRANSLITERATIONS = {"off": 0, "safe": SAFE, "lossy": LOSSY}
cdef dict VALIDITIES = {"none": NO_VALIDITY, "relative": RELATIVE, "absolute": ABSOLUTE}
# Octets of an integer; 0 = as many as the value has.
cdef dict KINDS = {
    "cstring": (CSTRING, 0), "octets": (OCTETS, 0), "int1": (INT1, 1), "int2": (INT2, 2), "int4": (INT4, 4),
}
cdef double NEVER = INFINITY

cdef extern from *:
    """
    #define FP_ZEROS 0x3030303030303030ULL
    """
    const uint64_t ZEROS "FP_ZEROS"
    int trailing_zeros "__builtin_ctzll"(unsigned long long) noexcept nogil

# Of the message whose ways are compared, within one call and under the GIL: as UTF-16BE, and in the way that is tried.
cdef uint8_t[SCRATCH] wide_text
cdef uint8_t[SCRATCH] trial
cdef uint32_t[256] trial_ends

cdef inline uint64_t eight_digits(uint64_t v) noexcept nogil:
    """Eight decimal digits of a number below 10**8, as values, the first in the lowest octet: by halves, two at a time,
    with multiplications for the quotients (10486 / 2**20 and 103 / 2**10 are exact for so small a number)."""
    cdef uint64_t fours = v // 10000 + ((v % 10000) << 32)
    cdef uint64_t twos = ((fours * 10486) >> 20) & 0x0000007F0000007FULL
    twos += (fours - 100 * twos) << 16
    v = ((twos * 103) >> 10) & 0x000F000F000F000FULL
    return v + ((twos - 10 * v) << 8)


cdef inline int write_number(int64_t number, uint8_t* dst) noexcept nogil:
    """Decimal digits, no NUL; -> how many (at most 19). There is room for 24.

    72 instructions fewer for twelve digits than with a table of pairs (callgrind, 2026-11-22).
    """
    cdef uint64_t v = <uint64_t>number
    cdef uint64_t rest = 0
    cdef int digits, behind = 0
    cdef uint64_t head
    if v >= 10000000000000000ULL:
        rest = v % 100000000
        v //= 100000000
        behind = 8
    if v >= 100000000:
        head = eight_digits(v // 100000000)
        # What stands before the first digit is shifted out.
        digits = 8 - (trailing_zeros(head) >> 3)
        head = (head | ZEROS) >> (64 - 8 * digits)
        memcpy(dst, &head, 8)
        head = eight_digits(v % 100000000) | ZEROS
        memcpy(dst + digits, &head, 8)
        digits += 8
        if behind:
            head = eight_digits(rest) | ZEROS
            memcpy(dst + digits, &head, 8)
        return digits + behind
    head = eight_digits(v)
    digits = 8 - (trailing_zeros(head) >> 3) if v else 1
    head = (head | ZEROS) >> (64 - 8 * digits)
    memcpy(dst, &head, 8)
    return digits


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


def _value_of(kind, value, most):
    """The octets of a constant TLV value; ValueError when it is none of its kind."""
    if kind.startswith("int"):
        if not value.isascii() or not value.isdecimal() or int(value) >= 1 << 8 * KINDS[kind][1]:
            raise ValueError(f"value: {value!r}, expected a number of {KINDS[kind][1]} octets")
        return int(value).to_bytes(KINDS[kind][1], "big")
    octets = value.encode()
    if len(octets) > most:
        raise ValueError(f"value: {len(octets)} octets, at most {most}")
    if kind == "cstring" and b"\x00" in octets:
        raise ValueError("value: a NUL inside, expected none")
    return octets + b"\x00" if kind == "cstring" else octets


@cython.final
cdef class Form:
    """What all messages of one run have in common on one carrier.

    template             the text; of a binary message, hexadecimal digits
    alphabets            that the carrier takes: the one that needs the fewest parts; of two alike the first
    data_coding          by alphabet
    national             languages whose shift tables the carrier takes (national.pyx); they stand behind the alphabets
    transliterate        off, safe or lossy: what may be replaced so that a text fits GSM and saves a part
    concatenation        udh16, udh8, sar, or payload (one PDU, message_payload)
    max_parts            1..255; a longer message is refused, never cut
    grapheme             whether a cut also spares grapheme clusters
    packed               whether GSM text travels as 7 bits a septet
    message_class        0 (flash) to 3, -1 = none; by class_coding 0x10, 0xF0 or subunit (the TLV dest_addr_subunit)
    binary               the template gives hexadecimal digits, the message is octets
    destination_port     -1 = none; with source_port, of port_bits 16 or 8, as ports says: udh or tlv
    validity             none, relative, absolute: how validity_period says when the batch expires
    validity_quarters    quarter hours that the SMSC's clock is ahead of UTC
    tlvs                 (tag, kind, value or None, column or -1, required, most octets): constants and columns
    more_messages        say by TLV whether more parts of the message follow
    raises               ValueError with the field for what submit_sm cannot hold
    """

    def __cinit__(self):
        # Three alphabets, and three ways by each of 13 languages.
        self.ways = <Way*>PyMem_RawCalloc(3 + 39, sizeof(Way))
        self.fields = <FieldTlv*>PyMem_RawCalloc(MOST_TLVS, sizeof(FieldTlv))
        if self.ways == NULL or self.fields == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.ways)
        PyMem_RawFree(self.fields)

    def __init__(self, Template template not None, *, str source="", int source_ton=5, int source_npi=0,
                 int dest_ton=1, int dest_npi=1,
                 bint plus=False, str service_type="", int esm_class=0, int protocol_id=0, int priority_flag=0,
                 str validity_period="", int registered_delivery=1, alphabets=("gsm7", "ucs2"),
                 data_coding=None, str concatenation="udh16", int max_parts=255, bint grapheme=True,
                 national=(), str transliterate="off", bint packed=False, int message_class=-1,
                 str class_coding="0x10", bint binary=False, int destination_port=-1, int source_port=0,
                 int port_bits=16, str ports="udh", str validity="none", int validity_quarters=0,
                 tlvs=(), bint more_messages=False):
        cdef int joined_octets
        codings = {**CODINGS, **(data_coding or {})}
        if len(codings) > len(CODINGS):
            raise ValueError(f"data_coding: expected some of {', '.join(CODINGS)}, got {', '.join(data_coding)}")
        if concatenation not in CONCATENATIONS:
            raise ValueError(f"concatenation: expected one of {', '.join(CONCATENATIONS)}, got {concatenation!r}")
        if not alphabets or len(alphabets) > 3 or any(name not in ALPHABETS for name in alphabets):
            raise ValueError(f"alphabets: expected some of {', '.join(ALPHABETS)}, got {alphabets!r}")
        if not 1 <= max_parts <= 255:
            raise ValueError(f"max_parts: expected 1 to 255, got {max_parts}")
        if len(validity_period) not in (0, 16):
            raise ValueError(f"submit_sm.validity_period: expected 0 or 16 characters, got {len(validity_period)}")
        if transliterate not in TRANSLITERATIONS:
            raise ValueError(f"transliterate: {transliterate!r}, expected one of {', '.join(TRANSLITERATIONS)}")
        if not -1 <= message_class <= 3 or class_coding not in CLASS_CODINGS:
            raise ValueError(f"message_class, class_coding: {message_class}, {class_coding!r}, "
                             f"expected -1 to 3 and one of {', '.join(CLASS_CODINGS)}")
        if port_bits not in (8, 16) or ports not in ("udh", "tlv"):
            raise ValueError(f"port_bits, ports: {port_bits}, {ports!r}, expected 8 or 16, and udh or tlv")
        if not -1 <= destination_port < 1 << port_bits or not 0 <= source_port < 1 << port_bits:
            raise ValueError(f"destination_port, source_port: {destination_port}, {source_port}, "
                             f"expected numbers of {port_bits} bits")
        if validity not in VALIDITIES:
            raise ValueError(f"validity: {validity!r}, expected one of {', '.join(VALIDITIES)}")
        if not -48 <= validity_quarters <= 48:
            raise ValueError(f"validity_quarters: {validity_quarters}, expected -48 to 48")
        self.template = template
        self.columns = <int>len(template.fields)
        self.concatenation = concatenation
        self.joining = CONCATENATIONS[concatenation]
        # message_payload is one PDU, however long.
        self.max_parts = 1 if self.joining == BY_PAYLOAD else max_parts
        self.grapheme = grapheme
        self.packed = packed
        self.binary = binary
        self.tables = []
        self.gsm_way = -1
        elements = b""
        trailer = b""
        if destination_port >= 0 and ports == "udh":
            octets = port_bits // 8
            elements = (bytes((0x05 if octets == 2 else 0x04, 2 * octets))
                        + destination_port.to_bytes(octets, "big") + source_port.to_bytes(octets, "big"))
        elif destination_port >= 0:
            trailer += b"\x02\x0a\x00\x02" + source_port.to_bytes(2, "big")
            trailer += b"\x02\x0b\x00\x02" + destination_port.to_bytes(2, "big")
        if message_class >= 0 and class_coding == "subunit":
            if message_class > 2:
                raise ValueError(f"message_class: {message_class}, expected 0 to 2 with class_coding subunit")
            trailer += b"\x00\x05\x00\x01" + bytes((message_class + 1,))
        elif message_class >= 0:
            for name in codings:
                # The class groups hold no Latin-1, and 0xF0 no UCS-2: that takes the general group.
                if name == "ucs2":
                    codings[name] = 0x18 | message_class
                elif name != "latin1":
                    codings[name] = CLASS_CODINGS[class_coding] | (4 if name == "binary" else 0) | message_class
            alphabets = [name for name in alphabets if name != "latin1"]
            if not alphabets and not binary:
                raise ValueError("alphabets: latin1 alone, expected gsm7 or ucs2 for a message with a class")
        for name, coding in codings.items():
            _octet_of(f"data_coding of {name}", coding)
        if binary:
            self._add_way(ALPHABET_BINARY, 0, 0, codings["binary"], elements)
        else:
            for name in alphabets:
                if name == "gsm7":
                    self.gsm_way = self.way_count
                self._add_way(ALPHABETS[name], 0, 0, codings[name], elements)
            if national:
                shifts = [pair for name in national for pair in _shifts_of(name)]
                # Single shift is more widely supported than locking, and that than both.
                for single_shift, locking in sorted(dict.fromkeys(shifts), key=lambda pair: (pair[1] > 0, pair[0] > 0)):
                    self._add_way(ALPHABET_GSM7, single_shift, locking, codings["gsm7"], elements)
            self.transliterates = TRANSLITERATIONS[transliterate] if self.gsm_way >= 0 else 0
            self.chooses = self.transliterates > 0 or (
                self.way_count > 1 and not (self.way_count == 2 and self.gsm_way == 0 and alphabets[1] == "ucs2"))
            # Nothing beats the default alphabet but an octet for what it writes with two septets.
            self.rivals = self.chooses and (self.gsm_way != 0 or "latin1" in alphabets or any(
                self.ways[i].locking for i in range(self.way_count)))
        self.validity = VALIDITIES[validity]
        self.validity_quarters = validity_quarters
        self.more_messages = more_messages
        self.reference_bits = 8 if self.joining == BY_UDH8 else 16
        self.source_key = int.from_bytes(hashlib.blake2b(
            f"{source_ton}/{source_npi}/{source}".encode(errors="replace"), digest_size=8).digest(), "big")
        self.wants_receipts = registered_delivery & 0x13 != 0
        self.trailer = trailer + self._add_tlvs(tlvs)
        self.trails = len(self.trailer) > 0 or self.field_count > 0 or more_messages
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
        joined_octets = 4 + 65535 if self.joining == BY_PAYLOAD else 255
        # Behind the number's 20 digits and 16 octets of validity: a header of 19, the text, sar_*, more_messages, TLVs.
        room = sum([4 + self.fields[i].most + 1 for i in range(self.field_count)])
        if room > MOST_TLV_OCTETS:
            raise ValueError(f"tlvs: {room} octets of fields, at most {MOST_TLV_OCTETS}")
        self.largest = (self.head_size + self.tail_size + 20 + 16 + 19 + joined_octets + 16 + 5 + len(self.trailer)
                        + room)

    def _add_way(self, int alphabet, int single_shift, int locking, int data_coding, bytes elements):
        """Work out the capacities of one more way."""
        cdef Way* way = &self.ways[self.way_count]
        cdef str name = "gsm7" if alphabet == ALPHABET_GSM7 else "ucs2" if alphabet == ALPHABET_UCS2 else "binary"
        shift = bytes((0x24, 1, single_shift)) if single_shift else b""
        shift += bytes((0x25, 1, locking)) if locking else b""
        shift += elements
        way.alphabet = alphabet
        way.single_shift = single_shift
        way.locking = locking
        way.table = -1
        if single_shift or locking:
            way.table = <int>len(self.tables)
            self.tables.append(National(single_shift, locking))
        way.data_coding = <uint8_t>data_coding
        way.element_octets = <int>len(shift)
        memcpy(way.elements, PyBytes_AS_STRING(shift), len(shift))
        way.bare = not shift and not (self.packed and alphabet == ALPHABET_GSM7)
        way.single = capacity(name, 1 + len(shift) if shift else 0)
        if self.joining == BY_PAYLOAD:
            way.multi = 65535 - (1 + <int>len(shift) if shift else 0)
        else:
            # An SMSC that is told by sar_* writes the header with the 8-bit reference.
            way.multi = capacity(name, (7 if self.joining == BY_UDH16 else 6) + len(shift))
        self.way_count += 1

    def _add_tlvs(self, tlvs):
        """Keep the TLVs whose values are fields; -> the octets of those that are constant."""
        cdef FieldTlv* field
        constant = b""
        if len(tlvs) > MOST_TLVS:
            raise ValueError(f"tlvs: {len(tlvs)}, at most {MOST_TLVS}")
        for tag, kind, value, column, required, most in tlvs:
            if kind not in KINDS:
                raise ValueError(f"tlv 0x{tag:04x}: kind {kind!r}, expected one of {', '.join(KINDS)}")
            if not 0 <= tag <= 0xFFFF or not 1 <= most <= MOST_TLV_OCTETS:
                raise ValueError(f"tlv 0x{tag:04x}: at most {most} octets, expected 1 to {MOST_TLV_OCTETS}")
            if value is not None:
                try:
                    octets = _value_of(kind, value, most)
                except ValueError as error:
                    raise ValueError(f"tlv 0x{tag:04x}: {error}") from None
                constant += tag.to_bytes(2, "big") + len(octets).to_bytes(2, "big") + octets
                continue
            if not 0 <= column < 65536:
                raise ValueError(f"tlv 0x{tag:04x}: column {column}, expected one of the chunk's")
            field = &self.fields[self.field_count]
            field.tag = tag
            field.kind = KINDS[kind][0]
            field.column = column
            field.required = required
            field.most = most if KINDS[kind][1] == 0 else KINDS[kind][1]
            self.columns = max(self.columns, column + 1)
            self.field_count += 1
        return constant


def _shifts_of(name):
    """The tables of a language by name; ValueError for one there is not."""
    if name not in nationals.LANGUAGE_BY_NAME:
        raise ValueError(f"national: {name!r}, expected some of {', '.join(nationals.LANGUAGE_BY_NAME)}")
    return nationals.shifts_of(nationals.LANGUAGE_BY_NAME[name])


@cython.final
cdef class Composer:
    """One message at a time: its text encoded once, cut once, written segment by segment.

    transliterated   messages in which characters were replaced
    segments_saved   parts that this saved
    """

    def __cinit__(self):
        self.scratch = <uint8_t*>PyMem_RawMalloc(SCRATCH)
        if self.scratch == NULL:
            raise MemoryError

    def __dealloc__(self):
        PyMem_RawFree(self.scratch)

    cdef void at(self, double now, int64_t wall_offset_us) noexcept:
        """Messages that are loaded from here on leave at that moment; once a turn is enough.

        wall_offset_us  as Ledger's
        """
        self.now = now
        self.wall_offset_us = wall_offset_us
        if self.worn is not None and self.worn.validity:
            self.worn = None

    cdef void wear(self, Form form, double until) noexcept:
        """Take the form's tail, with the validity_period of messages that end at a moment."""
        cdef double wall_s
        self.worn = form
        self.worn_until = until
        if form.validity == NO_VALIDITY or until >= NEVER:
            memcpy(self.tail, form.tail_octets, form.tail_size)
            self.tail_size = form.tail_size
            return
        memcpy(self.tail, form.tail_octets, VALIDITY_AT)
        if form.validity == RELATIVE:
            write_relative(until - self.now, self.tail + VALIDITY_AT)
        else:
            wall_s = until + self.wall_offset_us * 1e-6
            write_absolute(<int64_t>max(min(wall_s, 1e10), 0.0), form.validity_quarters, self.tail + VALIDITY_AT)
        self.tail[VALIDITY_AT + 16] = 0
        # registered_delivery, replace_if_present_flag, data_coding, sm_default_msg_id, sm_length
        memcpy(self.tail + VALIDITY_AT + 17, form.tail_octets + form.tail_size - 5, 5)
        self.tail_size = VALIDITY_AT + 22

    cdef int load(self, Form form, Batch batch, int32_t pos) noexcept:
        """Encode and cut the message at a position; -> its segments, or a negative reason why it cannot leave."""
        cdef Py_ssize_t octets = -1
        cdef const uint32_t* starts
        cdef const int32_t* lengths
        cdef Way* way = form.ways
        cdef int i = 0, reason
        if batch.numbers[pos] < 1:
            return NOT_ENCODABLE
        if self.worn is not form or self.worn_until != batch.ends_at(pos):
            self.wear(form, batch.ends_at(pos))
        # A text without fields is in the scratch already, encoded and cut.
        if self.constant_form is form:
            return self.count
        self.constant_form = None
        starts = batch.starts + <Py_ssize_t>pos * batch.columns
        lengths = batch.lengths + <Py_ssize_t>pos * batch.columns
        if form.field_count:
            reason = self.load_tlvs(form, batch, pos)
            if reason < 0:
                return reason
        while True:
            octets = form.template.compose(
                ALPHABET_LATIN1 if form.binary else way.alphabet, batch.base, starts, lengths,
                self.scratch, SCRATCH - 1)
            if octets != -1 or form.chooses or i + 1 == form.way_count:
                break
            i += 1
            way += 1
        if form.binary and octets > 0:
            octets = _octets_of_hexadecimal(self.scratch, octets)
        if octets == -1 and form.chooses or octets > way.single and form.rivals:
            self.count = self.choose(form, batch, pos)
            if self.count < 0:
                return self.count
        else:
            if octets < 0:
                self.needed = 0
                return NOT_ENCODABLE if octets == -1 else TOO_MANY_PARTS if octets == -2 else MISSING_FIELD
            if octets == 0:
                return EMPTY
            self.octets = octets
            self.way = i
            self.replaced = 0
            if octets <= way.single:
                self.count = 1
                self.ends[0] = <uint32_t>octets
                self.bare = way.bare
                if form.template.constant and not form.field_count:
                    self.constant_form = form
                return 1
            self.count = cut(self.scratch, octets, way.alphabet, way.single, way.multi, form.grapheme,
                             self.ends, form.max_parts, 0, 0)
            if self.count < 0:
                self.needed = max(0, cut(self.scratch, octets, way.alphabet, way.single, way.multi, form.grapheme,
                                         self.ends, 255, 0, 0))
                return TOO_MANY_PARTS
        way = &form.ways[self.way]
        self.bare = self.count == 1 and way.bare and self.octets <= way.single
        if form.template.constant and not form.field_count:
            self.constant_form = form
        return self.count

    cdef Py_ssize_t put(self, Form form, const Way* way, Py_ssize_t wide, uint8_t* dst) noexcept:
        """Encode the text in `wide` in one way; octets, -1 when a character has no code, -2 when room is short."""
        cdef Py_ssize_t i
        cdef uint8_t* out = dst
        if way.table >= 0:
            return (<National>form.tables[way.table]).write(wide_text, wide, dst, SCRATCH - 1)
        if way.alphabet == ALPHABET_UCS2:
            memcpy(dst, wide_text, wide)
            return wide
        if way.alphabet == ALPHABET_LATIN1:
            for i in range(0, wide, 2):
                if wide_text[i]:
                    return -1
                out[0] = wide_text[i + 1]
                out += 1
            return out - dst
        return gsm_in_place_of(wide_text, wide, 0, dst, SCRATCH - 1, &self.replaced)

    cdef int choose(self, Form form, Batch batch, int32_t pos) noexcept:
        """Find the way that needs the fewest parts, of several alike the first; -> its parts, or a negative reason.

        cost  the text once as UTF-16, and once more in each way until one part is enough
        """
        cdef Py_ssize_t octets
        cdef Py_ssize_t wide
        cdef Way* way
        cdef int i, count, replaced, best = 0, needed = 0
        cdef bint fits = False
        wide = form.template.compose(
            ALPHABET_UCS2, batch.base, batch.starts + <Py_ssize_t>pos * batch.columns,
            batch.lengths + <Py_ssize_t>pos * batch.columns, wide_text, SCRATCH - 1)
        if wide <= 0:
            self.needed = 0
            return (EMPTY if wide == 0 else NOT_ENCODABLE if wide == -1 else TOO_MANY_PARTS if wide == -2
                    else MISSING_FIELD)
        for i in range(form.way_count + 1):
            replaced = 0
            if i < form.way_count:
                way = &form.ways[i]
                octets = self.put(form, way, wide, trial)
            elif form.transliterates and (best == 0 or self.way != form.gsm_way):
                # Last, so that nothing is replaced unless it saves a part.
                way = &form.ways[form.gsm_way]
                octets = gsm_in_place_of(wide_text, wide, form.transliterates, trial, SCRATCH - 1, &replaced)
            else:
                break
            if octets <= 0:
                continue
            fits = True
            count = cut(trial, octets, way.alphabet, way.single, way.multi, form.grapheme, trial_ends,
                        min(best - 1, 255) if best else 255, way.single_shift, way.locking)
            if count < 0:
                continue
            if count > form.max_parts:
                needed = count if needed == 0 else min(count, needed)
                continue
            if replaced:
                self.transliterated += 1
                self.saved = best - count if best else 0
                self.segments_saved += self.saved
            best = count
            self.way = i if i < form.way_count else form.gsm_way
            self.octets = octets
            self.replaced = replaced
            memcpy(self.scratch, trial, octets)
            memcpy(self.ends, trial_ends, count * sizeof(uint32_t))
            if best == 1:
                break
        if best:
            return best
        self.needed = needed
        return TOO_MANY_PARTS if fits else NOT_ENCODABLE

    cdef void uncount(self) noexcept:
        """The message that was loaded does not leave now, or left before: it is counted another time."""
        if self.replaced:
            self.transliterated -= 1
            self.segments_saved -= self.saved

    cdef int load_tlvs(self, Form form, Batch batch, int32_t pos) noexcept:
        """Write the TLVs of a message's own fields; -> 0, or a negative reason why it cannot leave."""
        cdef int i
        cdef FieldTlv* field
        cdef const uint8_t* value
        cdef int32_t octets, at
        cdef uint64_t number
        cdef int size
        cdef uint8_t* p = self.tlvs
        for i in range(form.field_count):
            field = &form.fields[i]
            octets = batch.lengths[<Py_ssize_t>pos * batch.columns + field.column]
            if octets <= 0:
                if field.required:
                    return MISSING_FIELD
                continue
            value = batch.base + batch.starts[<Py_ssize_t>pos * batch.columns + field.column]
            store16(p, field.tag)
            if field.kind >= INT1:
                size = field.most
                number = 0
                for at in range(octets):
                    if not 48 <= value[at] <= 57:
                        return INVALID_TLV
                    number = number * 10 + value[at] - 48
                    if number >> (8 * size):
                        return INVALID_TLV
                store16(p + 2, <uint16_t>size)
                for at in range(size):
                    p[4 + at] = <uint8_t>(number >> (8 * (size - 1 - at)))
                p += 4 + size
                continue
            if octets > field.most:
                return INVALID_TLV
            memcpy(p + 4, value, octets)
            if field.kind == CSTRING:
                for at in range(octets):
                    if value[at] == 0:
                        return INVALID_TLV
                p[4 + octets] = 0
                octets += 1
            store16(p + 2, <uint16_t>octets)
            p += 4 + octets
        self.tlv_octets = <int>(p - self.tlvs)
        return 0

    cdef Py_ssize_t write(self, Form form, int64_t number, uint32_t sequence, int index, uint8_t* dst) noexcept:
        """Write segment `index` (from 0) as a whole submit_sm; the caller gives room for `form.largest`. -> octets."""
        cdef uint8_t* p = dst
        cdef uint8_t* tail
        cdef const Way* way
        cdef Py_ssize_t start, octets
        memcpy(p, form.head_octets, form.head_size)
        p += form.head_size
        p += write_number(number, p)
        tail = p
        memcpy(p, self.tail, self.tail_size)
        p += self.tail_size
        way = &form.ways[self.way]
        tail[self.tail_size - 3] = way.data_coding
        if self.bare:
            tail[self.tail_size - 1] = <uint8_t>self.octets
            memcpy(p, self.scratch, self.octets)
            p += self.octets
        elif form.joining == BY_UDH16 and way.bare:
            # The usual part, of several: written here, for a call costs a tenth of it.
            start = self.ends[index - 1] if index else 0
            octets = self.ends[index] - start
            tail[1] |= UDHI
            tail[self.tail_size - 1] = <uint8_t>(7 + octets)
            p[0] = 6
            p[1] = 8
            p[2] = 4
            store16(p + 3, <uint16_t>self.reference)
            p[5] = <uint8_t>self.count
            p[6] = <uint8_t>(index + 1)
            memcpy(p + 7, self.scratch + start, octets)
            p += 7 + octets
        else:
            p = self.write_part(form, index, tail, p)
        if form.trails:
            p = self.write_trailer(form, index, p)
        store32(dst, <uint32_t>(p - dst))
        store32(dst + 12, sequence)
        return p - dst

    cdef uint8_t* write_part(self, Form form, int index, uint8_t* tail, uint8_t* p) noexcept:
        """Write a header and the part's text, in short_message or in message_payload, and sar_*; -> behind them."""
        cdef Way* way = &form.ways[self.way]
        cdef Py_ssize_t start = self.ends[index - 1] if index else 0
        cdef Py_ssize_t octets = self.ends[index] - start
        cdef bint is_payload = form.joining == BY_PAYLOAD and octets > way.single
        cdef uint8_t* begin
        cdef Py_ssize_t header, packed
        cdef int fill
        if is_payload:
            store16(p, 0x0424)
            p += 4
        begin = p
        p += 1
        if self.count > 1 and form.joining == BY_UDH16:
            p[0] = 8
            p[1] = 4
            store16(p + 2, <uint16_t>self.reference)
            p[4] = <uint8_t>self.count
            p[5] = <uint8_t>(index + 1)
            p += 6
        elif self.count > 1 and form.joining == BY_UDH8:
            p[0] = 0
            p[1] = 3
            p[2] = <uint8_t>self.reference
            p[3] = <uint8_t>self.count
            p[4] = <uint8_t>(index + 1)
            p += 5
        if way.element_octets:
            memcpy(p, way.elements, way.element_octets)
            p += way.element_octets
        header = p - begin
        if header > 1:
            begin[0] = <uint8_t>(header - 1)
            tail[1] |= UDHI
        else:
            header = 0
            p = begin
        if form.packed and way.alphabet == ALPHABET_GSM7:
            fill = (7 - <int>(8 * header % 7)) % 7
            packed = pack_septets(self.scratch + start, octets, fill, p, 65535)
            p += packed
            # Seven bits to spare would be read as one more "@": a carriage return shows nothing (23.038 §6.1.2.3.1).
            if 8 * packed - fill - 7 * octets == 7:
                (p - 1)[0] |= 0x0D << 1
        else:
            memcpy(p, self.scratch + start, octets)
            p += octets
        if is_payload:
            store16(begin - 2, <uint16_t>(p - begin))
        else:
            tail[self.tail_size - 1] = <uint8_t>(p - begin)
        if self.count > 1 and form.joining == BY_SAR:
            store32(p, 0x020C0002)
            store16(p + 4, <uint16_t>self.reference)
            store32(p + 6, 0x020E0001)
            p[10] = <uint8_t>self.count
            store32(p + 11, 0x020F0001)
            p[15] = <uint8_t>(index + 1)
            p += 16
        return p

    cdef uint8_t* write_trailer(self, Form form, int index, uint8_t* p) noexcept:
        """Write the TLVs of the carrier and of the message; -> behind them."""
        if form.more_messages and self.count > 1:
            store32(p, 0x04260001)
            p[4] = 1 if index + 1 < self.count else 0
            p += 5
        memcpy(p, PyBytes_AS_STRING(form.trailer), PyBytes_GET_SIZE(form.trailer))
        p += PyBytes_GET_SIZE(form.trailer)
        if form.field_count:
            memcpy(p, self.tlvs, self.tlv_octets)
            p += self.tlv_octets
        return p


cdef Py_ssize_t _octets_of_hexadecimal(uint8_t* text, Py_ssize_t n) noexcept nogil:
    """Read digits in place; how many octets, -1 for what is no pair of digits."""
    cdef Py_ssize_t i
    cdef int digit
    if n % 2:
        return -1
    for i in range(n):
        digit = text[i]
        if 48 <= digit <= 57:
            digit -= 48
        elif 65 <= (digit & 0xDF) <= 70:
            digit = (digit & 0xDF) - 55
        else:
            return -1
        if i % 2:
            text[i >> 1] |= <uint8_t>digit
        else:
            text[i >> 1] = <uint8_t>(digit << 4)
    return n >> 1


def explain(Form form not None, values=(), double expires_at=INFINITY):
    """How one message would be written, and what every other way would take; for dry runs and people.

    values  of the form's columns: str or None
    ->      {"segments", "reason", "needed", "alphabet", "single_shift", "locking", "data_coding", "replaced", "text",
            "ways": [{"alphabet", "single_shift", "locking", "transliterated", "segments"}]}. segments is 0 and reason
            the refusal's number where nothing would leave; needed is what a message with too many parts would take.
            The segments of a way are 0 where a character has no code in it; over 255 they are 256. text is what a
            handset would show
    """
    cdef Composer composer = Composer()
    cdef Batch batch = Batch.of(1, [1], [list(values)] if values else None)
    cdef Way* way
    cdef Py_ssize_t wide, octets
    cdef int count, i, replaced = 0
    cdef Composer other = Composer()
    batch.dress(form, expires_at)
    composer.at(0.0, 0)
    count = composer.load(form, batch, 0)
    found = {"segments": max(count, 0), "reason": None if count > 0 else count,
             "needed": composer.needed if count == TOO_MANY_PARTS else None,
             "alphabet": None, "single_shift": 0, "locking": 0, "data_coding": None, "replaced": 0, "text": None,
             "ways": []}
    if count > 0:
        way = &form.ways[composer.way]
        found.update(
            alphabet=NAMES[way.alphabet], single_shift=way.single_shift, locking=way.locking,
            data_coding=way.data_coding, replaced=composer.replaced,
            text=decode((<char*>composer.scratch)[:composer.octets], NAMES[way.alphabet],
                        single_shift=way.single_shift, locking=way.locking))
    if form.binary:
        return found
    wide = form.template.compose(ALPHABET_UCS2, batch.base, batch.starts, batch.lengths, wide_text, SCRATCH - 1)
    for i in range(form.way_count + (1 if form.transliterates else 0)):
        way = &form.ways[i if i < form.way_count else form.gsm_way]
        octets = -1
        if wide > 0 and i < form.way_count:
            octets = other.put(form, way, wide, trial)
        elif wide > 0:
            octets = gsm_in_place_of(wide_text, wide, form.transliterates, trial, SCRATCH - 1, &replaced)
        count = 0
        if octets > 0:
            count = cut(trial, octets, way.alphabet, way.single, way.multi, form.grapheme, other.ends, 255,
                        way.single_shift, way.locking)
            if count < 0:
                count = 256
        found["ways"].append({
            "alphabet": NAMES[way.alphabet], "single_shift": way.single_shift, "locking": way.locking,
            "transliterated": i == form.way_count, "segments": count})
    return found


def encode_batch(Batch batch not None, uint32_t sequence=1, References references=None, double wall_s=0.0,
                 double now=0.0):
    """All submit_sm of a dressed batch, in the order of sending; for benchmarks, tests and dry runs.

    references  of concatenated messages; by default from a new one
    wall_s      seconds behind 2000-01-01 UTC, and the same moment by the monotonic clock: for references and validity
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
    composer.at(now, <int64_t>((wall_s - now) * 1e6))
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
