"""What a person wrote: octets, data_coding and user data header of a deliver_sm -> text. Any octets give a text.

    short_message with esm_class 0x40        or, seen without that bit and taken all the same
    05 00 03 RR TT NN | text                 06 08 04 RR RR TT NN | text
     |  |  |  |  |  +- number of this part, from 1
     |  |  |  |  +---- parts in all
     |  |  |  +------- reference, the same in all parts
     |  |  +---------- length of this element
     |  +------------- element: 00, 08 concatenation; 24, 25 national tables
     +---------------- length of the header

data_coding is what the carrier says, not what is true (Latin-1 under 0, little-endian UCS-2, packed septets): what
cannot be read as said is tried as what was seen in its place, in the order of `_eight_bit` and `_ucs2`. Where a
carrier's codings are known (`inbound_data_coding`), nothing is guessed but octets that its alphabet has not.
The parts of one message are read together: a character may be cut between two of them.
Not here: which parts belong together (dispatch/assembly.py), the alphabets themselves (_fastpath/alphabet.pyx).
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec import Struct

from _fastpath.alphabet import alphabet_of, decode, unpack

# U+FFFD: what could not be read.
REPLACEMENT = "\ufffd"
HEADER_BIT = 0x40
_CONCATENATION_8, _CONCATENATION_16, _SINGLE_SHIFT, _LOCKING = 0x00, 0x08, 0x24, 0x25
# Of a text that is none, every other character is of these by chance; of one that is, nearly all.
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,!?'-:;/()\n\r+&\"")
_PLAIN_SHARE = 0.9
# UCS-2 that costs so much less the other way round was little-endian. See `_oddity`.
_MARGIN = 2
# ASCII under a UCS-2 coding, from so many octets on: four Chinese characters of ASCII octets alone are one text in 400.
_ASCII_OCTETS = 8


class Header(NamedTuple):
    """The user data header of one part.

    octets       its length, the length octet included; 0 = there is none
    kind         8 or 16, the bits of the reference; 0 = no concatenation
    total        parts of the message, and `number` which of them this is, from 1
    """

    octets: int = 0
    kind: int = 0
    reference: int = 0
    total: int = 1
    number: int = 1
    single_shift: int = 0
    locking: int = 0


class Piece(NamedTuple):
    """The user data of one part: its octets, header included, and the header's length."""

    octets: bytes
    header_octets: int


class Reading(Struct, frozen=True):
    """A text, the alphabet it was read by, and whether something in it could not be read."""

    text: str
    alphabet: str
    is_lossy: bool


_NONE = Header()


def header_of(octets: bytes, esm_class: int) -> Header:
    """Read the user data header; one that is longer than its message is none, and all of it is text.

    A concatenation out of range (number above total, 0 of either) is ignored: the message stands alone.
    """
    if not esm_class & HEADER_BIT and not _has_header_unsaid(octets):
        return _NONE
    if not octets or octets[0] + 1 > len(octets):
        return _NONE
    end = octets[0] + 1
    found = _NONE._replace(octets=end)
    place = 1
    while place + 2 <= end and place + 2 + octets[place + 1] <= end:
        element, size = octets[place], octets[place + 1]
        value = octets[place + 2 : place + 2 + size]
        place += 2 + size
        if (element, size) in ((_CONCATENATION_8, 3), (_CONCATENATION_16, 4)):
            total, number = value[-2], value[-1]
            if 1 <= number <= total:
                reference = int.from_bytes(value[:-2], "big")
                found = found._replace(kind=8 * (size - 2), reference=reference, total=total, number=number)
        elif element == _SINGLE_SHIFT and size == 1:
            found = found._replace(single_shift=value[0])
        elif element == _LOCKING and size == 1:
            found = found._replace(locking=value[0])
    return found


def _has_header_unsaid(octets: bytes) -> bool:
    """Tell a concatenation header in a message whose esm_class forgot it: no text of a person begins so."""
    if octets[:3] == b"\x05\x00\x03" and len(octets) >= 6:
        return 1 <= octets[5] <= octets[4] and octets[4] > 1
    return octets[:3] == b"\x06\x08\x04" and len(octets) >= 7 and 1 <= octets[6] <= octets[5] and octets[5] > 1


def read(
    pieces: Sequence[Piece],
    data_coding: int,
    *,
    single_shift: int = 0,
    locking: int = 0,
    alphabets: Mapping[int, str] | None = None,
) -> Reading:
    """Read neighbouring parts of one message as text; nothing is raised, whatever the octets.

    data_coding  0..255
    alphabets    what this carrier's codings mean, where they are known: the names of alphabet_of(), gsm7-packed, ucs2le
    cost         2-20 us a part; the doubtful ones up to 100
    """
    declared = (alphabets or {}).get(data_coding)
    alphabet = declared or alphabet_of(data_coding)
    octets = b"".join(piece.octets[piece.header_octets :] for piece in pieces)
    if alphabet == "gsm7-packed":
        text = _unpacked(pieces, single_shift, locking)
    elif alphabet == "gsm7":
        if octets.isascii():
            text = decode(octets, "gsm7", single_shift=single_shift, locking=locking)
        else:
            text, alphabet = _eight_bit(octets, pieces, single_shift, locking)
    elif alphabet in ("ucs2", "ucs2le"):
        text, alphabet = _ucs2(octets, declared)
    elif alphabet == "binary":
        text, alphabet = _binary(octets, declared)
    else:
        octets = octets.rstrip(b"\0")
        if alphabet in ("ascii", "latin1", "utf8") and not octets.isascii():
            text, alphabet = _latin(octets, declared)
        else:
            text = decode(octets, alphabet)
    # Postgres has no U+0000 in a text, and nobody wrote one.
    text = text.replace("\0", REPLACEMENT)
    return Reading(text, alphabet, REPLACEMENT in text)


def _eight_bit(octets: bytes, pieces: Sequence[Piece], single_shift: int, locking: int) -> tuple[str, str]:
    """Read what should be one septet an octet and is not: UTF-8, Latin-1, packed septets, Windows-1252."""
    text = _utf8(octets)
    if text is not None:
        return text, "utf8"
    text = octets.rstrip(b"\0").decode("latin-1")
    if _is_clean(text):
        return text, "latin1"
    packed = _unpacked(pieces, single_shift, locking)
    if packed and sum(char in _PLAIN for char in packed) >= _PLAIN_SHARE * len(packed):
        return packed, "gsm7-packed"
    text = octets.rstrip(b"\0").decode("cp1252", "replace")
    if _is_clean(text) and REPLACEMENT not in text:
        return text, "latin1"
    return decode(octets, "gsm7", single_shift=single_shift, locking=locking), "gsm7"


def _latin(octets: bytes, declared: str | None) -> tuple[str, str]:
    """Read octets above 0x7F: as UTF-8 where they are it and the carrier has not said otherwise."""
    if declared != "latin1":
        text = _utf8(octets)
        if text is not None:
            return text, "utf8"
    if declared == "utf8":
        return octets.decode("utf-8", "replace"), "utf8"
    text = octets.decode("latin-1")
    if declared is None and not _is_clean(text):
        # 0x80..0x9F are controls of Latin-1 that nobody types, and Windows' quotation marks.
        text = octets.decode("cp1252", "replace")
    return text, "latin1"


def _ucs2(octets: bytes, declared: str | None) -> tuple[str, str]:
    """Read UTF-16, of the order that makes more of a text of it; a stray NUL behind it is none of it."""
    if len(octets) % 2 and octets.endswith(b"\0"):
        octets = octets[:-1]
    while octets.endswith(b"\0\0"):
        octets = octets[:-2]
    if declared == "ucs2le":
        return octets.decode("utf-16-le", "replace").removeprefix("\ufeff"), "ucs2le"
    if declared or octets[:2] in (b"\xfe\xff", b"\xff\xfe"):
        return decode(octets, "ucs2"), "ucs2"
    if octets.isascii() and octets.decode("ascii").isprintable() and (len(octets) % 2 or len(octets) >= _ASCII_OCTETS):
        return octets.decode("ascii"), "ascii"
    if _is_little_endian(octets):
        return octets.decode("utf-16-le", "replace"), "ucs2le"
    return decode(octets, "ucs2"), "ucs2"


def _binary(octets: bytes, declared: str | None) -> tuple[str, str]:
    """Read 8-bit data: it is mostly text that a carrier did not know the alphabet of."""
    text = _utf8(octets.rstrip(b"\0"))
    if declared is None and text is not None and _is_clean(text):
        return text, "utf8"
    text = octets.rstrip(b"\0").decode("latin-1")
    if declared is None and _is_clean(text):
        return text, "latin1"
    return decode(octets, "binary"), "binary"


def _unpacked(pieces: Sequence[Piece], single_shift: int, locking: int) -> str:
    """Unpack septets, part by part: each begins at a septet border behind its header."""
    septets = b""
    for piece in pieces:
        octets = piece.octets[piece.header_octets :]
        fill_bits = -8 * piece.header_octets % 7
        found = unpack(octets, max(0, (8 * len(octets) - fill_bits) // 7), fill_bits)
        # Seven bits that are left over look like a last "@"; who fills them by the book writes CR.
        if (8 * len(octets) - fill_bits) % 7 == 0 and found[-1:] in (b"\0", b"\r"):
            found = found[:-1]
        septets += found
    return decode(septets, "gsm7", single_shift=single_shift, locking=locking)


def _utf8(octets: bytes) -> str | None:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _is_clean(text: str) -> bool:
    """Whether there is no control character in it but those of lines."""
    return all(char in "\r\n\t" or unicodedata.category(char) != "Cc" for char in text)


def _is_little_endian(octets: bytes) -> bool:
    if len(octets) < 4 or len(octets) % 2:
        return False
    high, low = octets[0::2], octets[1::2]
    if not any(low) and len(set(high)) > 1 and high.isascii() and high.decode("ascii").isprintable():
        return True
    oddity = _oddity(octets.decode("utf-16-be", "replace"))
    return oddity > _MARGIN + 1 and _oddity(octets.decode("utf-16-le", "replace")) + _MARGIN < oddity


def _oddity(text: str) -> int:
    """Weigh how little it looks like a text: one for each block of 256 it draws on, four for what no text has."""
    characters = set(text)
    blocks = {ord(char) >> 8 for char in characters}
    strange = sum(unicodedata.category(char) in ("Cc", "Cn", "Co", "Cs") for char in characters - {"\r", "\n", "\t"})
    return len(blocks) + 4 * (strange + (REPLACEMENT in characters))
