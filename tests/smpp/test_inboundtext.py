"""What handsets write is read, whatever the carrier says it is: nothing is dropped or cut for its octets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.alphabet import alphabet_of, encode, pack
from gateway.smpp.inboundtext import Header, Piece, Reading, header_of, read

PHRASES = {
    "english": "Yes please, call me at 5 pm - it's OK!",
    "german": "Schöne Grüße aus Köln, größer geht's nicht",
    "french": "Été à Orléans, ça va très bien",
    "russian": "Спасибо, не звоните мне больше",
    "greek": "Ευχαριστώ πολύ, τα λέμε αύριο",
    "arabic": "شكرا جزيلا لكم",
    "hebrew": "תודה רבה לכם",
    "chinese": "你好，请不要再给我发短信了，谢谢",
    "japanese": "ありがとうございます、もう送らないでください",
    "korean": "감사합니다 더 이상 보내지 마세요",
    "hindi": "धन्यवाद, फिर मिलेंगे",
    "emoji": "Great 👍🏽👨‍👩‍👧 see you",
}


def one(octets: bytes, data_coding: int = 0, **how) -> Reading:
    return read([Piece(octets, 0)], data_coding, **how)


@pytest.mark.parametrize(
    ("octets", "data_coding", "text", "alphabet"),
    [
        (b"\x00 user@x", 0, "@ user¡x", "gsm7"),
        (b"1@", 0, "1¡", "gsm7"),
        (b"A\x00", 0, "A@", "gsm7"),
        (b"\x1be 5", 0x10, "€ 5", "gsm7"),
        (b"\x04\x1f", 0x18, "П", "ucs2"),
        (b"gr\xfc\xdfe", 3, "grüße", "latin1"),
        (b"it\x92s", 3, "it’s", "latin1"),
        ("grüße".encode(), 3, "grüße", "utf8"),
        (b"plain", 1, "plain", "ascii"),
        (b"plain\x00\x00", 3, "plain", "latin1"),
        ("Привет".encode("iso8859-5"), 6, "Привет", "cyrillic"),
        (b"plain text", 4, "plain text", "utf8"),
        (b"caf\xe9", 2, "café", "latin1"),
        (b"\x01\x02\xff\x03", 4, "\x01\x02ÿ\x03", "binary"),
        (b"hello", 0xF1, "hello", "gsm7"),
        (b"\x00h\x00i", 0xE0, "hi", "ucs2"),
        (b"", 0, "", "gsm7"),
        (b"", 8, "", "ucs2"),
    ],
)
def test_text_is_read_by_the_alphabet_of_its_data_coding_class_and_group_bits(octets, data_coding, text, alphabet):
    assert one(octets, data_coding) == Reading(text, alphabet, False)


@pytest.mark.parametrize(
    ("octets", "text", "alphabet"),
    [
        ("Grüße an Köln".encode("latin-1"), "Grüße an Köln", "latin1"),
        ("Grüße an Köln".encode(), "Grüße an Köln", "utf8"),
        ("“Yes” – ça".encode("cp1252"), "“Yes” – ça", "latin1"),
        (pack(encode("Hello, is it 5 pm today?", "gsm7")), "Hello, is it 5 pm today?", "gsm7-packed"),
        (pack(b"hellohello"), "hellohello", "gsm7-packed"),
    ],
)
def test_quirk_42_data_coding_0_with_octets_that_are_no_septets_is_read_as_what_they_are(octets, text, alphabet):
    assert one(octets, 0) == Reading(text, alphabet, False)


def test_quirk_42_invalid_octets_stay_as_replacements_and_are_told_of():
    assert one(b"\x81\x02A\x02\x90", 0) == Reading("\ufffd$A$\ufffd", "gsm7", True)
    assert one(b"\xd8\x00\x00A", 8, alphabets={8: "ucs2"}) == Reading("\ufffdA", "ucs2", True)
    assert one(b"a\xff\xffb", 2, alphabets={2: "utf8"}) == Reading("a\ufffd\ufffdb", "utf8", True)


def test_a_carriers_own_map_goes_over_the_standard():
    assert one(b"a@b_c", 0, alphabets={0: "latin1"}) == Reading("a@b_c", "latin1", False)
    assert one(b"a\x00b", 1, alphabets={1: "gsm7"}) == Reading("a@b", "gsm7", False)
    assert one(pack(b"1234567"), 0, alphabets={0: "gsm7-packed"}).text == "1234567"
    assert one("é".encode(), 0, alphabets={0: "latin1"}).text == "Ã©"
    assert one(b"O\0K\0", 8, alphabets={8: "ucs2"}).text == "伀䬀"
    assert one(b"O\0", 8, alphabets={8: "ucs2le"}).text == "O"


def test_quirk_23_nul_is_a_letter_of_gsm_and_padding_elsewhere():
    assert one(b"\x00\x00", 0).text == "@@"
    assert one(b"\x00h\x00i\x00\x00", 8).text == "hi"
    assert one(b"\x00h\x00i\x00", 8).text == "hi"
    assert one(b"a\x00b\x00", 3) == Reading("a\ufffdb", "latin1", True)


@pytest.mark.parametrize("name", PHRASES)
def test_quirk_25_ucs2_is_read_in_either_order_with_and_without_its_mark(name):
    text = PHRASES[name]
    assert one(text.encode("utf-16-be"), 8) == Reading(text, "ucs2", False)
    assert one(b"\xfe\xff" + text.encode("utf-16-be"), 8).text == text
    assert one(b"\xff\xfe" + text.encode("utf-16-le"), 8).text == text
    assert one(text.encode("utf-16-le"), 8) == Reading(text, "ucs2le", False)


@pytest.mark.parametrize("text", ["OK", "Да", "一", "好的", "YES", "Нет", "👍", "謝謝", "是"])
def test_short_ucs2_is_taken_for_what_the_standard_says(text):
    assert one(text.encode("utf-16-be"), 8).text == text


def test_ascii_under_a_ucs2_coding_is_no_chinese():
    assert one(b"STOP please", 8) == Reading("STOP please", "ascii", False)
    assert one(b"no", 8).text == "湯"


def test_odd_octet_of_ucs2_is_told_of():
    assert one(b"\x04\x1f\x04", 8) == Reading("П\ufffd", "ucs2", True)


# -- the header -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("050003070302", Header(6, 8, 7, 3, 2)),
        ("06080401020302", Header(7, 16, 0x102, 3, 2)),
        ("0b0003070302" + "0504000a000b", Header(12, 8, 7, 3, 2)),
        ("08" + "0003070302" + "240101", Header(9, 8, 7, 3, 2, 1, 0)),
        ("06" + "240103" + "250103", Header(7, 0, 0, 1, 1, 3, 3)),
        ("050003070304", Header(6)),
        ("050003070300", Header(6)),
        ("050003070000", Header(6)),
        ("0500030703", Header()),
        ("ff0003070302", Header()),
        ("00", Header(1)),
        ("", Header()),
        ("050009070302", Header(6)),
    ],
)
def test_header_is_read_and_what_is_out_of_range_in_it_ignored(header, found):
    assert header_of(bytes.fromhex(header), 0x40) == found


def test_quirk_41_header_whose_bit_was_forgotten_is_taken_and_other_text_is_not():
    assert header_of(b"\x05\x00\x03\x07\x02\x01Hello", 0) == Header(6, 8, 7, 2, 1)
    assert header_of(b"\x06\x08\x04\x01\x07\x02\x01Hello", 0) == Header(7, 16, 0x107, 2, 1)
    for octets in (
        b"\x05\x00\x03\x07\x02\x03Hello",
        b"\x05\x00\x04\x07\x02\x01",
        b"\x05\x00\x03\x07\x01\x01x",
        b"STOP",
    ):
        assert header_of(octets, 0) == Header()


def test_national_tables_of_the_header_are_used():
    octets = encode("Şğ çok güzel", "gsm7", single_shift=1)
    assert read([Piece(b"\x03\x24\x01\x01" + octets, 4)], 0, single_shift=1) == Reading("Şğ çok güzel", "gsm7", False)
    octets = encode("Şğ çok güzel", "gsm7", locking=1)
    assert one(octets, 0, locking=1).text == "Şğ çok güzel"


def test_packed_parts_are_unpacked_each_behind_its_own_header():
    septets = [encode("Hello [world] ", "gsm7"), encode("and good bye", "gsm7")]
    pieces = [Piece(bytes([5, 0, 3, 1, 2, n]) + pack(part, fill_bits=1), 6) for n, part in enumerate(septets, 1)]
    assert read(pieces, 0, alphabets={0: "gsm7-packed"}).text == "Hello [world] and good bye"


# -- any octets -------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=254), st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_any_octets_of_any_coding_give_a_text_that_postgres_takes(octets, data_coding, single_shift, locking):
    for esm_class in (0, 0x40):
        header = header_of(octets, esm_class)
        assert 0 <= header.octets <= len(octets) and 1 <= header.number <= header.total <= 255
        piece = Piece(octets, header.octets)
        found = read([piece], data_coding, single_shift=single_shift, locking=locking)
        assert "\0" not in found.text and found.text.encode() is not None
        assert found.is_lossy == ("\ufffd" in found.text) and found.alphabet


def test_any_octets_under_any_map_give_a_text():
    chance = random.Random(7)
    names = ("gsm7", "gsm7-packed", "ascii", "latin1", "utf8", "ucs2", "ucs2le", "binary")
    for _ in range(3000):
        octets, coding = chance.randbytes(chance.randrange(40)), chance.randrange(256)
        found = one(octets, coding, alphabets={coding: chance.choice(names)})
        assert "\0" not in found.text and found.text.encode() is not None


@given(st.text(st.sampled_from("@£$ΔabcZ09 €[]{}\n?¿äöñ"), max_size=160))
def test_what_is_gsm_is_read_as_it_was_written(text):
    assert one(encode(text, "gsm7"), 0) == Reading(text, "gsm7", False)


def test_every_coding_has_an_alphabet_that_can_be_read():
    for coding in range(256):
        assert isinstance(one(b"Hello 12", coding).text, str) and alphabet_of(coding)
