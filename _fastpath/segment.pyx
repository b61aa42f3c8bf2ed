"""Cut one encoded text into the parts of a concatenated short message, and head each part.

Wire (3GPP TS 23.040 §9.2.3.24); esm_class bit 0x40 says that a header is there:

    05 00 03 RR TT NN | payload           06 08 04 RR RR TT NN | payload
    |  |  |  |  |  +- number of this part, from 1
    |  |  |  |  +---- parts in all, 1..255
    |  |  |  +------- reference, the same in all parts (16 bits in element 08)
    |  |  +---------- length of this element
    |  +------------- element: 00 concatenation; 24 single shift, 25 locking shift (01 LL) follow it
    +---------------- length of the header, itself not counted

Room beside a header of h octets, its length octet counted: (140 - h) * 8 / 7 septets, 140 - h octets, or the whole
UCS-2 units of 140 - h octets: 160 / 140 / 70 alone, 153 / 134 / 67 with an 8-bit reference, 152 / 133 / 66 with 16.

Each part is filled as far as it goes, but an escape pair and a surrogate pair are never cut, and by option no grapheme
cluster (UAX #29, extended) that a part could hold: it moves whole to the next part. A longer cluster is cut between
code points, where the part is full. Only the surroundings of the cuts are read:

    part start          back to a boundary ◄── full part
    ├───────────────────────────────┼─────────┤──► on to the next boundary: does the cluster fit a part at all?

Not here: choosing the alphabet (gateway.dispatch.compose), SAR TLVs and writing the PDU (outbound.pyx).
"""

from libc.stdint cimport uint16_t
from _fastpath.alphabet cimport utf8_next

from _fastpath.faults import TooManyParts

cdef extern from "alphabet_tables.h":
    const uint16_t fp_locking[14][128]
    const uint16_t fp_single[14][128]

cdef extern from "grapheme_tables.h":
    const uint32_t fp_grapheme_runs[]
    const int FP_GRAPHEME_RUNS
    const int GB_OTHER, GB_CR, GB_LF, GB_CONTROL, GB_EXTEND, GB_CONJOINING, GB_LINKER, GB_ZWJ, GB_REGIONAL
    const int GB_PREPEND, GB_SPACING, GB_L, GB_V, GB_T, GB_SYLLABLE, GB_PICTOGRAPH, GB_CONSONANT

cdef enum:
    ESC = 0x1B
    REPLACEMENT = 0xFFFD
    USER_DATA = 140  # octets of TP-UD, 3GPP TS 23.040 §9.2.3.16
    MOST_PARTS = 255  # one octet counts them
    LANGUAGES = 14

cdef struct Text:
    const uint8_t* p
    Py_ssize_t octets
    int alphabet
    const uint16_t* base  # GSM: the tables that say what a septet is
    const uint16_t* shifted


def segment(
    payload, str alphabet, ref, int ref_bits=16, *,
    bint grapheme=True, int single_shift=0, int locking=0, int max_parts=255, extra_ies=b"",
):
    """Cut encoded octets into parts with their headers.

    payload       as encode() gives it: gsm7 one septet an octet, ucs2 big-endian, others octets
    alphabet      gsm7, ucs2, utf8; any other name is cut between octets, and latin1 and ascii not inside CR LF
    ref           of the concatenation, chosen by the caller; ref_bits 8 or 16
    grapheme      keep grapheme clusters whole
    single_shift  national language 1..13 of the text's tables, named in every part; 0 the default. So locking
    extra_ies     further information elements for every part, whole, put last
    ->            [(udh, payload of the part)]; udh is empty where one part needs no element
    raises        TooManyParts over max_parts (255 at most); ValueError for a ref that ref_bits cannot hold, elements
                  that leave no room, octets that are not the alphabet's (ESC without partner, bit 7, half a unit)
    cost          a look around each cut, one copy of the payload
    """
    cdef bytes whole = payload if type(payload) is bytes else bytes(payload)
    cdef bytes extra = extra_ies if type(extra_ies) is bytes else bytes(extra_ies)
    cdef bytes shift = b""
    cdef Py_ssize_t octets = len(whole)
    cdef Py_ssize_t alone
    cdef Py_ssize_t among
    cdef Py_ssize_t start = 0
    cdef uint32_t ends[MOST_PARTS]
    cdef int count
    cdef int i
    cdef Text text
    if ref_bits != 8 and ref_bits != 16:
        raise ValueError(f"ref_bits: {ref_bits}, expected 8 or 16")
    if not 0 <= ref < 1 << ref_bits:
        raise ValueError(f"ref: {ref}, expected 0..{(1 << ref_bits) - 1}")
    if not 1 <= max_parts <= MOST_PARTS:
        raise ValueError(f"max_parts: {max_parts}, expected 1..{MOST_PARTS}")
    if not 0 <= single_shift < LANGUAGES or not 0 <= locking < LANGUAGES or not fp_locking[locking][0x20]:
        raise ValueError(f"single_shift, locking: {single_shift}, {locking}, expected 0..13, and not 2 as locking")
    if (single_shift or locking) and alphabet != "gsm7":
        raise ValueError(f"single_shift, locking: {single_shift}, {locking}, expected 0 with alphabet {alphabet!r}")
    _check_elements(extra)
    if single_shift:
        shift += bytes((0x24, 1, single_shift))
    if locking:
        shift += bytes((0x25, 1, locking))
    shift += extra
    alone = capacity(alphabet, 1 + len(shift) if shift else 0)
    among = capacity(alphabet, (6 if ref_bits == 8 else 7) + len(shift))

    text.p = whole
    text.octets = octets
    text.alphabet = _alphabet_number(alphabet)
    text.base = fp_locking[locking]
    text.shifted = fp_single[single_shift]
    _check_payload(&text)
    if octets > alone and among < 4:
        raise ValueError(f"extra_ies: {len(extra)} octets leave no room for a character")
    with nogil:
        count = _cut(&text, alone, among, grapheme, ends, max_parts)
    if count < 0:
        raise TooManyParts(f"more than {max_parts} parts for {octets} octets of {alphabet}")
    if count == 1:
        return [(bytes((len(shift),)) + shift if shift else b"", whole)]
    parts = []
    for i in range(count):
        if ref_bits == 8:
            head = bytes((5 + len(shift), 0x00, 3, ref, count, i + 1))
        else:
            head = bytes((6 + len(shift), 0x08, 4, ref >> 8, ref & 0xFF, count, i + 1))
        parts.append((head + shift, whole[start:ends[i]]))
        start = ends[i]
    return parts


def capacity(str alphabet, int udh_octets):
    """Octets of payload, in the form segment() takes, that fit beside a UDH; gsm7 counts septets, one an octet.

    udh_octets  with its length octet; 0 without a UDH
    raises      ValueError outside 0..140
    """
    if not 0 <= udh_octets <= USER_DATA:
        raise ValueError(f"udh_octets: {udh_octets}, expected 0..{USER_DATA}")
    if alphabet == "gsm7":
        return (USER_DATA - udh_octets) * 8 // 7
    if alphabet == "ucs2":
        return (USER_DATA - udh_octets) // 2 * 2
    return USER_DATA - udh_octets


def first_graphemes(str text, Py_ssize_t most):
    """The first grapheme clusters of a text: what a person takes for so many characters.

    cost  one pass up to there
    """
    cdef bytes octets
    cdef Text whole
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t origin = 0
    cdef Py_ssize_t found = 0
    cdef int step
    if most <= 0:
        return ""
    if len(text) <= most:  # a cluster is a character at least
        return text
    octets = text.encode("utf-8", "surrogatepass")
    whole.p = octets
    whole.octets = len(octets)
    whole.alphabet = ALPHABET_UTF8
    whole.base = whole.shifted = NULL
    while at < whole.octets:
        _character_at(&whole, at, &step)
        at += step
        if _is_boundary(&whole, origin, at):
            origin = at
            found += 1
            if found == most:
                break
    return octets[:at].decode("utf-8", "surrogatepass")


cdef int cut(
    const uint8_t* payload, Py_ssize_t octets, int alphabet, Py_ssize_t single_octets, Py_ssize_t multi_octets,
    bint grapheme, uint32_t* ends, int max_parts, int single_shift, int locking,
) noexcept nogil:
    """Fill ends[i] with the offset just behind part i; how many parts, or -1 when max_parts do not suffice.

    payload  GSM unpacked, by the national tables of single_shift and locking (0 = the default ones); or octets
    ends     room for max_parts
    Capacities are octets of the payload's form. One that holds no character (under 2 septets, 4 octets) is -1 too.
    """
    cdef Text text
    text.p = payload
    text.octets = octets
    text.alphabet = alphabet
    text.base = fp_locking[locking]
    text.shifted = fp_single[single_shift]
    return _cut(&text, single_octets, multi_octets, grapheme, ends, max_parts)


cdef int _cut(
    const Text* text, Py_ssize_t single_octets, Py_ssize_t multi_octets, bint grapheme, uint32_t* ends, int max_parts,
) noexcept nogil:
    """As cut()."""
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t full
    cdef Py_ssize_t at
    cdef Py_ssize_t behind
    # Where the cluster that holds `start` began: no rule has to look further back.
    cdef Py_ssize_t origin = 0
    cdef int count = 0
    cdef int step
    if max_parts < 1:
        return -1
    if text.octets <= single_octets:
        ends[0] = <uint32_t>text.octets
        return 1
    if text.alphabet == ALPHABET_UCS2:
        multi_octets &= ~<Py_ssize_t>1
    if multi_octets < 1:
        return -1
    while text.octets - start > multi_octets:
        if count == max_parts:
            return -1
        full = _whole_characters(text, start, start + multi_octets)
        if full <= start:
            return -1
        at = full
        if grapheme and text.alphabet != ALPHABET_BINARY:
            while at > start and not _is_boundary(text, origin, at):
                _character_before(text, start, at, &step)
                at -= step
            if at == full:
                origin = full
            else:
                if at > start:
                    origin = at
                # The cluster that begins at `origin` crosses the end of the part. Does it fit another?
                behind = full
                while behind - origin <= multi_octets and behind < text.octets:
                    _character_at(text, behind, &step)
                    behind += step
                    if _is_boundary(text, origin, behind):
                        break
                if behind - origin > multi_octets:
                    at = full
        start = at
        ends[count] = <uint32_t>start
        count += 1
    if count == max_parts:
        return -1
    ends[count] = <uint32_t>text.octets
    return count + 1


cdef inline Py_ssize_t _escapes_before(const Text* text, Py_ssize_t floor, Py_ssize_t at) noexcept nogil:
    """How many ESC in a row end at `at`: odd means that the last of them opens a pair."""
    cdef Py_ssize_t i = at
    while i > floor and text.p[i - 1] == ESC:
        i -= 1
    return at - i


cdef inline uint32_t _unit(const Text* text, Py_ssize_t at) noexcept nogil:
    """UTF-16 unit at an offset that has two octets behind it."""
    return <uint32_t>text.p[at] << 8 | text.p[at + 1]


cdef inline Py_ssize_t _whole_characters(const Text* text, Py_ssize_t start, Py_ssize_t limit) noexcept nogil:
    """The last place up to `limit` that is not inside a character; limit < octets."""
    cdef Py_ssize_t at = limit
    if text.alphabet == ALPHABET_GSM7:
        return limit - (_escapes_before(text, start, limit) & 1)
    if text.alphabet == ALPHABET_UCS2:
        if limit - start >= 2 and limit + 2 <= text.octets:
            if _unit(text, limit - 2) & 0xFC00 == 0xD800 and _unit(text, limit) & 0xFC00 == 0xDC00:
                return limit - 2
    elif text.alphabet == ALPHABET_UTF8:
        while at > start and limit - at < 3 and text.p[at] & 0xC0 == 0x80:
            at -= 1
        if text.p[at] & 0xC0 == 0x80:
            return limit  # four continuations in a row: not UTF-8, cut anywhere
    return at


cdef uint32_t _character_at(const Text* text, Py_ssize_t at, int* octets) noexcept nogil:
    """Code point at an offset below the end, and its octets; U+FFFD and one unit where there is none."""
    cdef uint32_t cp
    cdef uint32_t low
    octets[0] = 1
    if text.alphabet == ALPHABET_GSM7:
        if text.p[at] != ESC:
            cp = text.base[text.p[at] & 0x7F]
        elif at + 1 == text.octets:
            return REPLACEMENT
        else:
            octets[0] = 2
            cp = text.shifted[text.p[at + 1] & 0x7F]
            if cp == 0:
                cp = text.base[text.p[at + 1] & 0x7F]
        return cp if cp else REPLACEMENT
    if text.alphabet == ALPHABET_UCS2:
        if at + 2 > text.octets:
            return REPLACEMENT
        octets[0] = 2
        cp = _unit(text, at)
        if cp & 0xFC00 == 0xD800 and at + 4 <= text.octets:
            low = _unit(text, at + 2)
            if low & 0xFC00 == 0xDC00:
                octets[0] = 4
                return 0x10000 + ((cp & 0x3FF) << 10) + (low & 0x3FF)
        return cp
    if text.alphabet == ALPHABET_UTF8:
        octets[0] = utf8_next(text.p + at, text.p + text.octets, &cp)
        if octets[0] > 0:
            return cp
        octets[0] = 1
        return REPLACEMENT
    return text.p[at]


cdef uint32_t _character_before(const Text* text, Py_ssize_t floor, Py_ssize_t at, int* octets) noexcept nogil:
    """Code point that ends at `at`, above `floor`, which is no place inside a character."""
    cdef Py_ssize_t begin = at - 1
    if text.alphabet == ALPHABET_GSM7:
        begin -= _escapes_before(text, floor, at - 1) & 1
    elif text.alphabet == ALPHABET_UCS2:
        if at - floor >= 2:
            begin = at - 2
        if at - floor >= 4 and _unit(text, at - 2) & 0xFC00 == 0xDC00 and _unit(text, at - 4) & 0xFC00 == 0xD800:
            begin = at - 4
    elif text.alphabet == ALPHABET_UTF8:
        while begin > floor and at - begin < 4 and text.p[begin] & 0xC0 == 0x80:
            begin -= 1
        _character_at(text, begin, octets)
        if octets[0] != at - begin:  # not UTF-8: octet by octet
            begin = at - 1
    return _character_at(text, begin, octets)


cdef int _break_class(uint32_t cp) noexcept nogil:
    """Grapheme break class of a code point, by binary search."""
    cdef int low = 0
    cdef int high = FP_GRAPHEME_RUNS
    cdef int middle
    while high - low > 1:
        middle = (low + high) >> 1
        if fp_grapheme_runs[middle] >> 8 <= cp:
            low = middle
        else:
            high = middle
    return fp_grapheme_runs[low] & 0xFF


cdef bint _is_boundary(const Text* text, Py_ssize_t origin, Py_ssize_t at) noexcept nogil:
    """Whether a grapheme cluster ends at `at`; origin is a place before it where one began (or the start).

    The rules in the order of UAX #29 §3.1.1. Cost: two lookups; a walk back only behind a ZWJ, a linker or a flag.
    """
    cdef int step
    cdef uint32_t left_cp
    cdef uint32_t right_cp
    cdef int left
    cdef int right
    if at <= origin or at >= text.octets:
        return True
    left_cp = _character_before(text, origin, at, &step)
    right_cp = _character_at(text, at, &step)
    if left_cp < 0x300 and right_cp < 0x300:  # below the first combining mark only CR LF holds together
        return not (left_cp == 0x0D and right_cp == 0x0A)
    right = _break_class(right_cp)
    left = _break_class(left_cp)
    if left == GB_CONTROL or left == GB_CR or left == GB_LF:  # GB4
        return True
    if right == GB_CONTROL or right == GB_CR or right == GB_LF:  # GB5
        return True
    if left == GB_L and (right == GB_L or right == GB_V or right == GB_SYLLABLE):  # GB6
        return False
    if right == GB_V:  # GB7
        if left == GB_V or (left == GB_SYLLABLE and (left_cp - 0xAC00) % 28 == 0):
            return False
    if right == GB_T and (left == GB_V or left == GB_T or left == GB_SYLLABLE):  # GB7, GB8
        return False
    if GB_EXTEND <= right <= GB_ZWJ or right == GB_SPACING or left == GB_PREPEND:  # GB9, GB9a, GB9b
        return False
    if right == GB_CONSONANT and GB_CONJOINING <= left <= GB_ZWJ:  # GB9c
        return not _conjoins(text, origin, at)
    if right == GB_PICTOGRAPH and left == GB_ZWJ:  # GB11
        return not _joins_pictograph(text, origin, at)
    if right == GB_REGIONAL and left == GB_REGIONAL:  # GB12, GB13
        return _flags_before(text, origin, at) % 2 == 0
    return True


cdef bint _conjoins(const Text* text, Py_ssize_t origin, Py_ssize_t at) noexcept nogil:
    """Whether a consonant stands before `at` with a linker, and nothing but marks that conjoin, between."""
    cdef bint linked = False
    cdef int step
    cdef int kind
    while at > origin:
        kind = _break_class(_character_before(text, origin, at, &step))
        at -= step
        if kind == GB_CONSONANT:
            return linked
        if kind == GB_LINKER:
            linked = True
        elif kind != GB_CONJOINING and kind != GB_ZWJ:
            return False
    return False


cdef bint _joins_pictograph(const Text* text, Py_ssize_t origin, Py_ssize_t at) noexcept nogil:
    """Whether the ZWJ before `at` stands behind a pictograph, with nothing but extenders between."""
    cdef int step
    cdef int kind
    _character_before(text, origin, at, &step)
    at -= step
    while at > origin:
        kind = _break_class(_character_before(text, origin, at, &step))
        at -= step
        if kind == GB_PICTOGRAPH:
            return True
        if not GB_EXTEND <= kind <= GB_LINKER:
            return False
    return False


cdef Py_ssize_t _flags_before(const Text* text, Py_ssize_t origin, Py_ssize_t at) noexcept nogil:
    """How many regional indicators in a row end at `at`."""
    cdef Py_ssize_t count = 0
    cdef int step
    while at > origin and _break_class(_character_before(text, origin, at, &step)) == GB_REGIONAL:
        at -= step
        count += 1
    return count


cdef int _alphabet_number(str alphabet) except -1:
    """The alphabet as cut() takes it."""
    if alphabet == "gsm7":
        return ALPHABET_GSM7
    if alphabet == "ucs2":
        return ALPHABET_UCS2
    if alphabet == "utf8":
        return ALPHABET_UTF8
    if alphabet == "latin1" or alphabet == "ascii":
        return ALPHABET_LATIN1
    return ALPHABET_BINARY


cdef int _check_elements(bytes elements) except -1:
    """Raise ValueError unless the octets are whole information elements that fit a header."""
    cdef const uint8_t* p = elements
    cdef Py_ssize_t octets = len(elements)
    cdef Py_ssize_t at = 0
    while at < octets:
        if octets - at < 2 or octets - at - 2 < p[at + 1]:
            raise ValueError(f"extra_ies: element at {at} runs past the end")
        at += 2 + p[at + 1]
    # Both shift elements (6) and the longer concatenation (6) go before them, and a length octet.
    if octets > USER_DATA - 13:
        raise ValueError(f"extra_ies: {octets} octets, at most {USER_DATA - 13}")
    return 0


cdef int _check_payload(const Text* text) except -1:
    """Raise ValueError for octets that the alphabet's encoder cannot have made."""
    cdef Py_ssize_t i
    if text.alphabet == ALPHABET_UCS2 and text.octets % 2:
        raise ValueError(f"payload: {text.octets} octets of ucs2, expected whole 16-bit units")
    if text.alphabet == ALPHABET_GSM7:
        for i in range(text.octets):
            if text.p[i] > 0x7F:
                raise ValueError(f"payload: 0x{text.p[i]:02x} at {i}, expected septets")
        if _escapes_before(text, 0, text.octets) % 2:
            raise ValueError(f"payload: ESC at {text.octets - 1} without the code behind it")
    return 0
