"""Seeded texts, and the octets a claim, a response and a receipt would have: the same seed gives the same octets.

Three cases, every message of a case of the same length but with other field values:

    gsm_80      80 characters of GSM 03.38                                1 segment
    gsm_400     400 characters of GSM 03.38                               3 segments of 153 septets, 152 by 16-bit UDH
    ucs2_120    120 UTF-16 units: Cyrillic, two emoji of 2 units each     2 segments of 67 units, 66 by 16-bit UDH

Each is a template of two fields, `first_name` and `order`: the second makes up the length the first leaves open.
Every GSM character used has its ASCII code in both tables, and none is an escape pair: that flatters a peer that has to
borrow Python's latin-1 for a GSM codec, and it is the only text on which that is right at all.
Not here: odd texts. How alphabets and cuts behave is for tests.
"""

import random
import struct
from typing import NamedTuple

SEED = 20
FIRST_NUMBER = 447_700_900_000
SOURCE = "sluice"
NAMES = ("Ann", "Li", "Omar", "Katarina", "Mohammed", "Sofia", "Henrik", "Maria", "Tom", "Beatrice")
CYRILLIC_NAMES = ("Анна", "Ли", "Омар", "Катарина", "Мухаммед", "София", "Игорь", "Мария", "Том", "Вера")
FIELDS = ("first_name", "order")
ORDER_LETTERS = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZ"

GSM_80 = 'Hi {{ first_name|default("there") }}, order {{ order }} has left our depot and arrives on Friday before 18 h.'
GSM_400 = (
    'Hello {{ first_name|default("there") }}, thank you for shopping with us. Order {{ order }} has left our depot '
    "today and is on its way to you. The driver calls half an hour before he arrives, between 14:00 and 16:00 h on "
    "Friday. Is nobody at home then? Answer LATER and choose another day, or SHOP and collect it from the shop next "
    "to you within 14 days. Your receipt is waiting in your account. Reply STOP if you want no more."
)
UCS2_120 = (
    'Здравствуйте, {{ first_name|default("друг") }}! 🎉 '
    "Заказ {{ order }} уже в пути и будет у вас в пятницу, с 14 до 16 часов. Спасибо! 🚚"
)


class Case(NamedTuple):
    """One kind of message.

    template    as `_fastpath.template.Template` takes it
    units       septets or UTF-16 units of every message
    segments    PDUs of every message
    """

    name: str
    template: str
    alphabet: str
    units: int
    segments: int
    names: tuple[str, ...]


CASES = (
    Case("gsm_80", GSM_80, "gsm7", 80, 1, NAMES),
    Case("gsm_400", GSM_400, "gsm7", 400, 3, NAMES),
    Case("ucs2_120", UCS2_120, "ucs2", 120, 2, CYRILLIC_NAMES),
)


def units_of(text: str, alphabet: str) -> int:
    """Length as the alphabet counts; every GSM character here is one septet."""
    return len(text.encode("utf-16-be")) // 2 if alphabet == "ucs2" else len(text)


def format_of(case: Case) -> str:
    """The template as `str.format` takes it: what a peer without templates merges with."""
    head, rest = case.template.split("{{ first_name", 1)
    middle, tail = rest.split("}}", 1)[1].split("{{ order }}", 1)
    return head + "{}" + middle + "{}" + tail


def params_of(case: Case, n: int, seed: int = SEED) -> list[tuple[str, str]]:
    """(first_name, order) of n messages, each message of the case's length exactly."""
    chance = random.Random(seed)
    open_units = case.units - units_of(format_of(case).format("", ""), case.alphabet)
    drawn = []
    for _ in range(n):
        name = chance.choice(case.names)
        drawn.append((name, "".join(chance.choices(ORDER_LETTERS, k=open_units - units_of(name, case.alphabet)))))
    return drawn


def texts_of(case: Case, n: int, seed: int = SEED) -> list[str]:
    """The same messages, merged."""
    merged = format_of(case)
    return [merged.format(*values) for values in params_of(case, n, seed)]


def numbers(n: int) -> list[int]:
    """Numbers in a row from the range Ofcom keeps for fiction."""
    return list(range(FIRST_NUMBER, FIRST_NUMBER + n))


def responses(first_sequence: int, n: int, first_id: int = 0) -> bytes:
    """The submit_sm_resp to n requests, as one read: message_id of ten digits each."""
    return b"".join(
        struct.pack(">IIII", 27, 0x80000004, 0, first_sequence + at) + b"%010d\0" % (first_id + at) for at in range(n)
    )


def receipts(n: int, first_id: int = 0, first_sequence: int = 1, tlvs: bool = True) -> bytes:
    """The deliver_sm of n receipts, as one read; without TLVs the text alone says which message, and its state."""
    made = []
    for at in range(n):
        message_id = b"%010d" % (first_id + at)
        text = (
            b"id:%s sub:001 dlvrd:001 submit date:2611012200 done date:2611012201 stat:DELIVRD err:000 text:"
            % message_id
        )
        body = (
            b"\0\x01\x01%d\0\x05\0%s\0\x04\0\0\0\0\0\0\0\0" % (FIRST_NUMBER + at, SOURCE.encode())
            + bytes([len(text)])
            + text
        )
        if tlvs:
            body += b"\x00\x1e\x00\x0b" + message_id + b"\0" + b"\x04\x27\x00\x01\x02"
        made.append(struct.pack(">IIII", 16 + len(body), 5, 0, first_sequence + at) + body)
    return b"".join(made)


# Where the chunk id stands in what `claimed` makes: the COPY head, the number of columns, its own length.
CHUNK_ID_AT = 19 + 2 + 4


def claimed(case: Case, n: int, chunk_id: int = 1, seed: int = SEED) -> bytes:
    """One chunk as a claim reads it from Postgres: see `_fastpath.batch.read_batches` for the columns."""

    def array(element: int, shape: tuple[int, ...], values: list[bytes]) -> bytes:
        head = struct.pack(">III", len(shape), 0, element) + b"".join(struct.pack(">II", size, 1) for size in shape)
        return head + b"".join(struct.pack(">I", len(value)) + value for value in values)

    def field(octets: bytes) -> bytes:
        return struct.pack(">I", len(octets)) + octets

    texts = [value.encode() for row in params_of(case, n, seed) for value in row]
    row = struct.pack(">H", 8) + field(struct.pack(">q", chunk_id)) + field(struct.pack(">q", 1))
    row += field(struct.pack(">i", 1)) + field(struct.pack(">i", 0)) + field(struct.pack(">h", 5)) + field(bytes(2))
    row += field(array(20, (n,), [struct.pack(">q", number) for number in numbers(n)]))
    row += field(array(25, (n, len(FIELDS)), texts))
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + row + b"\xff\xff"
