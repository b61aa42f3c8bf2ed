"""Characters and the octets they travel as: GSM 03.38 with its national tables, UCS-2, Latin-1, ASCII, binary.

    gsm7, one septet an octet             packed, 7 bits a septet, least significant first
    "a€"  61 1B 65                        E1 CD 19          (3GPP TS 23.038 §6.1.2.1)
             ESC code of the extension

SMPP carries gsm7 unpacked; the MC packs for the radio, some want it packed already. ESC opens the extension table, or
the single shift table a UDH names; a locking shift table stands in for the default alphabet itself.
The tables are data (tables/*.json) and reach C by tables/generate_alphabets.py.

Not here: which alphabet a text should take (gateway.dispatch.compose), cutting it (segment.pyx).
"""

import unicodedata

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc

from _fastpath.faults import NotEncodable

cdef extern from "alphabet_tables.h":
    const uint16_t fp_locking[14][128]
    const uint16_t fp_single[14][128]

cdef extern from "Python.h":
    int PyUnicode_4BYTE_KIND
    object PyUnicode_FromKindAndData(int kind, const void* buffer, Py_ssize_t size)

cdef enum:
    ESC = 0x1B
    NO_CODE = 0xFFFF
    LANGUAGES = 14

# The alphabets of SMPP 3.4 §5.2.19 that Python already reads; ours to name, not to tabulate.
# jis is read as Shift JIS, which is what carriers put behind data_coding 5; not measured on a live one.
_CODECS = {
    "latin1": "latin-1",
    "ascii": "ascii",
    "binary": "latin-1",
    "utf8": "utf-8",
    "cyrillic": "iso8859-5",
    "hebrew": "iso8859-8",
    "jis": "shift_jis",
    "iso2022jp": "iso2022_jp",
    "jis0212": "euc_jp",
    "ksc5601": "euc_kr",
}

# data_coding 0x00..0x0F, SMPP 3.4 §5.2.19. Reserved values are the default alphabet (3GPP TS 23.038 §4); pictograms (9)
# have no table anywhere and stay octets.
_SMPP_ALPHABETS = (
    "gsm7", "ascii", "binary", "latin1", "binary", "jis", "cyrillic", "hebrew",
    "ucs2", "binary", "iso2022jp", "gsm7", "gsm7", "jis0212", "ksc5601", "gsm7",
)

# (single shift, locking) -> {code point: septet, or ESC << 8 | code}; filled when a pair of tables is first used.
_codes = {}


def encode(str text, str alphabet, *, int single_shift=0, int locking=0):
    """Put a text into an alphabet's octets; gsm7 one septet an octet, ucs2 as UTF-16BE without byte order mark.

    alphabet      gsm7, ucs2, latin1, ascii, utf8, binary (a character an octet), or another name alphabet_of() gives
    single_shift  national language 1..13 whose table stands behind ESC, 0 the default extension; gsm7 only
    locking       national language whose table stands for the default alphabet; 0 the default, 2 has none
    A text that does not fit as it stands is tried as NFC; ucs2 and utf8 are always verbatim.
    raises        NotEncodable(reason, index of the character in `text`); ValueError for an unknown alphabet or table
    cost          one pass; national tables a dictionary lookup a character
    """
    cdef Py_ssize_t fault
    cdef str composed
    octets, fault = _encode(text, alphabet, single_shift, locking)
    if octets is not None:
        return octets
    if alphabet != "ucs2" and alphabet != "utf8":
        composed = unicodedata.normalize("NFC", text)
        octets, _ = _encode(composed, alphabet, single_shift, locking)
        if octets is not None:
            return octets
    raise NotEncodable(f"U+{ord(text[fault]):04X} has no code in {_named(alphabet, single_shift, locking)}", fault)


def decode(octets, str alphabet, *, int single_shift=0, int locking=0):
    """Read octets as text, whatever they are: what cannot be read is U+FFFD, and nothing is raised for it.

    gsm7    one septet an octet. A code the extension lacks shows the base character of that code; ESC ESC and an ESC
            at the end show a space (3GPP TS 23.038 §6.2.1, §6.2.1.1); bit 7 set, or a hole in a table: U+FFFD.
            A language without the asked table is read by the default one (§6.2.1.2.4)
    ucs2    UTF-16BE; lone surrogates and an odd last octet: U+FFFD. A leading FE FF is dropped; behind FF FE the rest
            is little-endian if it reads without a fault so
    binary  a character an octet
    raises  ValueError for an alphabet without a name here
    """
    cdef bytes whole = octets if type(octets) is bytes else bytes(octets)
    if alphabet == "gsm7":
        return _decode_gsm(whole, single_shift, locking)
    if alphabet == "ucs2":
        if whole[:2] == b"\xfe\xff":
            whole = whole[2:]
        elif whole[:2] == b"\xff\xfe" and len(whole) > 2:
            try:
                return whole[2:].decode("utf-16-le")
            except UnicodeDecodeError:
                pass
        return whole.decode("utf-16-be", "replace")
    return whole.decode(_codec(alphabet), "replace")


def measure(str text, str alphabet, *, int single_shift=0, int locking=0):
    """Units a text takes: septets of gsm7 (a pair is 2), 16-bit units of ucs2, octets of the others.

    raises  as encode()
    cost    that of encode()
    """
    cdef Py_ssize_t octets = len(encode(text, alphabet, single_shift=single_shift, locking=locking))
    return octets // 2 if alphabet == "ucs2" else octets


def is_gsm(str text):
    """Whether the default alphabet and its extension hold the whole text, as it stands or as NFC."""
    if _gsm_fault(text) < 0:
        return True
    return _gsm_fault(unicodedata.normalize("NFC", text)) < 0


def pack(septets, int fill_bits=0):
    """Pack septets, one an octet, into 7 bits each, least significant first (3GPP TS 23.038 §6.1.2.1).

    fill_bits  0..6 zero bits in front: (7 - 8h mod 7) mod 7 behind a UDH of h octets, its length octet counted
    ->         ceil((7n + fill_bits) / 8) octets. 8n - 1 septets leave seven zero bits, an apparent last "@"
    raises     ValueError for an octet above 0x7F, or fill_bits outside 0..6
    """
    cdef bytes whole = septets if type(septets) is bytes else bytes(septets)
    cdef const uint8_t* src = whole
    cdef Py_ssize_t n = len(whole)
    cdef Py_ssize_t i
    cdef Py_ssize_t octets
    cdef bytes packed
    if not 0 <= fill_bits <= 6:
        raise ValueError(f"fill_bits: {fill_bits}, expected 0..6")
    for i in range(n):
        if src[i] > 0x7F:
            raise ValueError(f"septets: 0x{src[i]:02x} at {i}, expected 0..0x7f")
    octets = (n * 7 + fill_bits + 7) // 8
    packed = PyBytes_FromStringAndSize(NULL, octets)
    pack_septets(src, n, fill_bits, <uint8_t*>PyBytes_AS_STRING(packed), octets)
    return packed


def unpack(octets, Py_ssize_t septets, int fill_bits=0):
    """Take `septets` septets out of packed octets, skipping fill_bits (0..6) bits; the inverse of pack().

    ->      one septet an octet; octets behind the last septet are not looked at
    raises  ValueError when the octets hold fewer septets, or for fill_bits outside 0..6
    """
    cdef bytes whole = octets if type(octets) is bytes else bytes(octets)
    cdef const uint8_t* src = whole
    cdef Py_ssize_t n = len(whole)
    cdef Py_ssize_t i
    cdef Py_ssize_t bit
    cdef uint32_t pair
    cdef bytes unpacked
    cdef uint8_t* dst
    if not 0 <= fill_bits <= 6:
        raise ValueError(f"fill_bits: {fill_bits}, expected 0..6")
    # No septets fit into anything: user data that are a header alone.
    if septets < 0 or septets > n * 8 // 7 or (septets and septets * 7 + fill_bits > n * 8):
        raise ValueError(f"septets: {septets}, at most {max(0, (n * 8 - fill_bits) // 7)} in {n} octets")
    unpacked = PyBytes_FromStringAndSize(NULL, septets)
    dst = <uint8_t*>PyBytes_AS_STRING(unpacked)
    for i in range(septets):
        bit = i * 7 + fill_bits
        pair = src[bit >> 3]
        if (bit & 7) > 1:
            pair |= <uint32_t>src[(bit >> 3) + 1] << 8
        dst[i] = pair >> (bit & 7) & 0x7F
    return unpacked


def alphabet_of(int data_coding):
    """Name the alphabet of a data_coding, by the bits of its coding group and not by its low half.

        0000 xxxx  the table of SMPP 3.4 §5.2.19
        0x xx aacc  00 above 0x0F, 01: general and auto-deletion groups; bit 5 compressed, aa alphabet, cc class
        110x xxxx  message waiting, gsm7        1110 xxxx  message waiting, ucs2
        1111 xbcc  message class, b = 8-bit data

    ->      gsm7, ascii, latin1, ucs2, binary, jis, cyrillic, hebrew, iso2022jp, jis0212 or ksc5601. Reserved codings
            are gsm7 (3GPP TS 23.038 §4); compressed text cannot be read here and is binary
    raises  ValueError outside 0..255
    """
    if not 0 <= data_coding <= 0xFF:
        raise ValueError(f"data_coding: {data_coding}, expected 0..255")
    if data_coding < 0x10:
        return _SMPP_ALPHABETS[data_coding]
    if data_coding < 0x80:
        if data_coding & 0x20:
            return "binary"
        return ("gsm7", "binary", "ucs2", "gsm7")[data_coding >> 2 & 3]
    if data_coding >= 0xF0:
        return "binary" if data_coding & 0x04 else "gsm7"
    return "ucs2" if data_coding >= 0xE0 else "gsm7"


def _write(const uint8_t[::1] utf8 not None, str alphabet, Py_ssize_t room):
    """Run a writer of alphabet.pxd (gsm7, ucs2, latin1) on octets and room of just their size: for tests and the
    sanitizer, which see a step outside. -> the octets written, or the writer's -1 or -2."""
    cdef Py_ssize_t n = utf8.shape[0]
    cdef Py_ssize_t written
    cdef uint8_t* src = <uint8_t*>PyMem_Malloc(n)
    cdef uint8_t* dst = <uint8_t*>PyMem_Malloc(room)
    try:
        if src == NULL or dst == NULL:
            raise MemoryError
        if n:
            memcpy(src, &utf8[0], n)
        if alphabet == "gsm7":
            written = gsm_from_utf8(src, n, dst, room)
        elif alphabet == "ucs2":
            written = utf16_from_utf8(src, n, dst, room)
        else:
            written = latin1_from_utf8(src, n, dst, room)
        return (<char*>dst)[:written] if written >= 0 else written
    finally:
        PyMem_Free(src)
        PyMem_Free(dst)


cdef str _codec(str alphabet):
    """Python's name of an alphabet that is not tabulated here; ValueError for a name that is none of ours."""
    try:
        return _CODECS[alphabet]
    except KeyError:
        names = ", ".join(["gsm7", "ucs2", *_CODECS])
        raise ValueError(f"alphabet: {alphabet!r}, expected one of {names}") from None


cdef str _named(str alphabet, int single_shift, int locking):
    """The alphabet as an error names it."""
    cdef str name = alphabet
    if single_shift:
        name += f" with single shift {single_shift}"
    if locking:
        name += f" with locking shift {locking}"
    return name


cdef tuple _encode(str text, str alphabet, int single_shift, int locking):
    """(octets, -1), or (None, index of the first character without a code)."""
    if alphabet == "gsm7":
        if single_shift or locking:
            return _encode_national(text, _national_codes(single_shift, locking))
        return _encode_gsm(text)
    if single_shift or locking:
        raise ValueError(f"single_shift, locking: {single_shift}, {locking}, expected 0 with alphabet {alphabet!r}")
    try:
        return text.encode("utf-16-be" if alphabet == "ucs2" else _codec(alphabet)), -1
    except UnicodeEncodeError as refusal:
        return None, refusal.start


cdef tuple _encode_gsm(str text):
    """As _encode(), by the default alphabet and its extension."""
    cdef Py_ssize_t n = len(text)
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t o = 0
    cdef bytearray octets = bytearray(2 * n)
    cdef uint8_t* dst = <uint8_t*>PyByteArray_AS_STRING(octets)
    cdef Py_UCS4 character
    cdef uint16_t code
    for character in text:
        code = gsm_code(character)
        if code == NO_CODE:
            return None, i
        if code > 0x7F:
            dst[o] = ESC
            o += 1
        dst[o] = code & 0x7F
        o += 1
        i += 1
    return PyBytes_FromStringAndSize(<char*>dst, o), -1


cdef Py_ssize_t _gsm_fault(str text) except -2:
    """Index of the first character outside the default alphabet and its extension, or -1."""
    cdef Py_ssize_t i = 0
    cdef Py_UCS4 character
    for character in text:
        if gsm_code(character) == NO_CODE:
            return i
        i += 1
    return -1


cdef dict _national_codes(int single_shift, int locking):
    """Code point -> septet or ESC << 8 | code, for a pair of tables. A character in both is taken from the locking
    table, where it costs one septet; one that stands twice in a table takes the lower code."""
    cdef int code
    cdef dict codes = _codes.get((single_shift, locking))
    if codes is not None:
        return codes
    if not 0 <= single_shift < LANGUAGES:
        raise ValueError(f"single_shift: {single_shift}, expected 0..{LANGUAGES - 1}")
    # Every locking table has the space; the one language without a table (2, Spanish) is a row of zeros.
    if not 0 <= locking < LANGUAGES or not fp_locking[locking][0x20]:
        raise ValueError(f"locking: {locking}, expected 0, 1 or 3..{LANGUAGES - 1}")
    codes = {}
    for code in range(127, -1, -1):
        if fp_single[single_shift][code]:
            codes[fp_single[single_shift][code]] = ESC << 8 | code
    for code in range(127, -1, -1):
        if fp_locking[locking][code]:
            codes[fp_locking[locking][code]] = code
    _codes[single_shift, locking] = codes
    return codes


cdef tuple _encode_national(str text, dict codes):
    """As _encode(), by the codes of a pair of tables."""
    cdef Py_ssize_t i = 0
    cdef bytearray octets = bytearray()
    cdef Py_UCS4 character
    cdef int code
    for character in text:
        code = codes.get(<uint32_t>character, NO_CODE)
        if code == NO_CODE:
            return None, i
        if code > 0x7F:
            octets.append(ESC)
        octets.append(code & 0x7F)
        i += 1
    return bytes(octets), -1


cdef str _decode_gsm(bytes octets, int single_shift, int locking):
    """As decode(), alphabet gsm7."""
    cdef Py_ssize_t n = len(octets)
    cdef Py_ssize_t i = 0
    cdef Py_ssize_t o = 0
    cdef const uint8_t* src = octets
    cdef const uint16_t* base
    cdef const uint16_t* shifted
    cdef uint32_t* out
    cdef uint32_t cp
    if not 0 <= single_shift < LANGUAGES:
        single_shift = 0
    if not 0 <= locking < LANGUAGES or not fp_locking[locking][0x20]:
        locking = 0
    base = fp_locking[locking]
    shifted = fp_single[single_shift]
    out = <uint32_t*>PyMem_Malloc((n + 1) * sizeof(uint32_t))
    if out == NULL:
        raise MemoryError
    try:
        while i < n:
            if src[i] == ESC:
                if i + 1 == n or src[i + 1] == ESC:
                    cp = 0x20
                elif src[i + 1] > 0x7F:
                    cp = 0xFFFD
                else:
                    cp = shifted[src[i + 1]]
                    if cp == 0:
                        cp = base[src[i + 1]]
                i += 2
            else:
                cp = base[src[i]] if src[i] < 0x80 else 0xFFFD
                i += 1
            out[o] = cp if cp else 0xFFFD
            o += 1
        return PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, out, o)
    finally:
        PyMem_Free(out)
