"""What carriers want of a submit_sm: quirks 18 to 29, each by its number, and the choice of the fewest parts."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath import alphabet
from _fastpath.batch import Batch
from _fastpath.national import LANGUAGE_BY_NAME, shifts_of
from _fastpath.outbound import Form, encode_batch, explain
from _fastpath.template import Template
from gateway.message import Refusal
from gateway.smpp.pdu import Pdu, Tlv, decode
from tests.oracle import outbound as oracle

NUMBER = 447700900123


def composed(text, *, values=(), expires_at=float("inf"), wall_s=0.0, now=0.0, fields="text", **form):
    """The PDUs of one text, and the refusal of it."""
    batch = Batch.of(1, [NUMBER], [[text, *values]])
    batch.dress(Form(Template("{{ text }}"), **form), expires_at)
    octets, _, refused = encode_batch(batch, wall_s=wall_s, now=now)
    pdus = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        pdus.append(decode(octets[:length]))
        octets = octets[length:]
    return pdus, refused.get(0)


def elements_of(pdu: Pdu) -> dict[int, bytes]:
    """The information elements of a part, and its text under -1."""
    message = pdu.fields["short_message"]
    if not pdu.fields["esm_class"] & 0x40:
        return {-1: message}
    found = {-1: message[message[0] + 1 :]}
    at = 1
    while at < message[0] + 1:
        found[message[at]] = message[at + 2 : at + 2 + message[at + 1]]
        at += 2 + message[at + 1]
    assert at == message[0] + 1
    return found


def text_of(pdus: list[Pdu]) -> str:
    """What a handset shows."""
    text = ""
    for pdu in pdus:
        parts = elements_of(pdu)
        single_shift, locking = (parts.get(element, b"\0")[0] for element in (0x24, 0x25))
        name = alphabet.alphabet_of(pdu.fields["data_coding"])
        text += alphabet.decode(parts[-1], name, single_shift=single_shift, locking=locking)
    return text


# -- the fewest parts -------------------------------------------------------------------------------------------------

PIECES = st.one_of(
    st.sampled_from(["a", "ş", "ğ", "İ", "€", "{", "é", "ç", "ж", "\U0001f600", "க", "é", "ã", "Ü", " ", "“", "ê"]),
    st.characters(exclude_categories=["Cs"], max_codepoint=0x0D7F),
)
TEXTS = st.tuples(st.lists(PIECES, min_size=1, max_size=12), st.integers(1, 40)).map(
    lambda two: "".join(two[0]) * two[1]
)


def fewest(text: str, alphabets: tuple[str, ...], national: tuple[str, ...], udh_octets: int) -> int | None:
    """Parts of the best way, each tried by the slow encoder and the slow cutter; None when no way carries the text."""
    ways: list[tuple[str, int, int]] = [(name, 0, 0) for name in alphabets]
    ways += [("gsm7", *pair) for name in national for pair in shifts_of(LANGUAGE_BY_NAME[name])]
    counts = []
    for name, single_shift, locking in ways:
        encoded = {}
        for character in set(text):
            try:
                encoded[character] = alphabet.encode(character, name, single_shift=single_shift, locking=locking)
            except ValueError:
                break
        else:
            extra = 3 * ((single_shift > 0) + (locking > 0))
            unit = 2 if name == "ucs2" else 1
            alone = oracle.segment.capacity(name, 1 + extra if extra else 0) * unit
            multi = oracle.segment.capacity(name, udh_octets + extra) * unit
            counts.append(len(oracle.segment.parts_of(text, encoded, alone, multi, True)))
    return min(counts, default=None)


@settings(max_examples=300, deadline=None)
@given(
    text=TEXTS,
    alphabets=st.sampled_from([("gsm7", "ucs2"), ("gsm7", "latin1", "ucs2"), ("ucs2", "gsm7"), ("gsm7",)]),
    national=st.sampled_from([(), ("turkish",), ("spanish", "portuguese"), ("tamil", "turkish")]),
    concatenation=st.sampled_from(["udh16", "udh8"]),
)
def test_parts_are_the_fewest_of_all_ways_and_read_as_the_text(text, alphabets, national, concatenation):
    pdus, refused = composed(text, alphabets=alphabets, national=national, concatenation=concatenation)
    expected = fewest(text, alphabets, national, 7 if concatenation == "udh16" else 6)
    if expected is None:
        # What an alphabet has only as NFC is for UCS-2 here.
        assert refused == Refusal.NOT_ENCODABLE
        return
    assert refused is None and len(pdus) == expected
    assert text_of(pdus) == text
    for pdu in pdus:
        message = pdu.fields["short_message"]
        header = message[0] + 1 if pdu.fields["esm_class"] & 0x40 else 0
        is_gsm = alphabet.alphabet_of(pdu.fields["data_coding"]) == "gsm7"
        assert header + (-(-(len(message) - header) * 7 // 8) if is_gsm else len(message) - header) <= 140


def test_of_ways_alike_the_more_widely_supported_is_taken():
    # 50 characters fit one part of UCS-2 as well as of a national table.
    pdus, _ = composed("ş" * 50, national=("turkish",))
    assert pdus[0].fields["data_coding"] == 8
    # 75 do not; a single shift table, the more widely known, takes them in 150 septets.
    pdus, _ = composed("ş" * 75, national=("turkish",))
    assert len(pdus) == 1 and elements_of(pdus[0])[0x24] == b"\x01" and 0x25 not in elements_of(pdus[0])
    # 100 need the locking table.
    pdus, _ = composed("ş" * 100, national=("turkish",))
    assert len(pdus) == 1 and elements_of(pdus[0])[0x25] == b"\x01" and 0x24 not in elements_of(pdus[0])


def test_latin1_takes_what_gsm_would_write_with_pairs():
    pdus, _ = composed("{" * 140, alphabets=("gsm7", "latin1", "ucs2"))
    assert len(pdus) == 1 and pdus[0].fields["data_coding"] == 3
    pdus, _ = composed("{" * 80, alphabets=("gsm7", "latin1", "ucs2"))
    assert len(pdus) == 1 and pdus[0].fields["data_coding"] == 0


def test_text_without_fields_is_chosen_once_and_written_alike_for_everybody():
    batch = Batch.of(1, [NUMBER, NUMBER + 1], None)
    batch.dress(Form(Template("ş" * 200), national=("turkish",)))
    octets, segments, _ = encode_batch(batch)
    assert segments == 4
    messages = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        messages.append(elements_of(decode(octets[:length]))[-1])
        octets = octets[length:]
    assert messages[:2] == messages[2:] and len(b"".join(messages[:2])) == 200


# -- transliteration --------------------------------------------------------------------------------------------------


def test_transliteration_replaces_only_where_it_saves_a_part():
    short, long = "“Zoë”", "“Zoe” " * 15
    assert text_of(composed(short, transliterate="lossy")[0]) == short
    pdus, _ = composed(long, transliterate="safe")
    assert len(pdus) == 1 and text_of(pdus) == '"Zoe" ' * 15
    assert len(composed(long)[0]) == 2


def test_text_that_cannot_be_replaced_wholly_stays_as_it_is():
    text = "“Привет” " * 15
    assert text_of(composed(text, transliterate="lossy")[0]) == text
    text = "“Zoë” " * 15
    assert text_of(composed(text, transliterate="safe")[0]) == text
    assert text_of(composed(text, transliterate="lossy")[0]) == '"Zoe" ' * 15


@settings(max_examples=200, deadline=None)
@given(text=TEXTS, level=st.sampled_from(["safe", "lossy"]))
def test_transliteration_never_costs_a_part_and_leaves_alone_what_it_does_not_save(text, level):
    plain, _ = composed(text)
    pdus, refused = composed(text, transliterate=level)
    assert refused is None and len(pdus) <= len(plain)
    if len(pdus) == len(plain):
        assert text_of(pdus) == text


def test_choice_is_explained():
    found = explain(Form(Template("{{ x }}"), national=("turkish",), transliterate="lossy"), ["ş" * 160])
    assert (found["segments"], found["alphabet"], found["replaced"], found["text"]) == (1, "gsm7", 160, "s" * 160)
    ways = [(way["alphabet"], way["single_shift"], way["locking"], way["segments"]) for way in found["ways"]]
    assert ways == [
        ("gsm7", 0, 0, 0),
        ("ucs2", 0, 0, 3),
        ("gsm7", 1, 0, 3),
        ("gsm7", 0, 1, 2),
        ("gsm7", 1, 1, 2),
        ("gsm7", 0, 0, 1),
    ]
    assert [way["transliterated"] for way in found["ways"]] == [False] * 5 + [True]


# -- quirks -----------------------------------------------------------------------------------------------------------


def test_quirk_18_more_messages_to_send_stands_only_where_it_is_wanted():
    pdus, _ = composed("x" * 400, more_messages=True)
    assert [pdu.tlv_integer("more_messages_to_send") for pdu in pdus] == [1, 1, 0]
    assert composed("x", more_messages=True)[0][0].tlvs == ()
    assert all(pdu.tlvs == () for pdu in composed("x" * 400)[0])


def test_quirk_19_all_parts_have_one_source_reference_coding_and_validity():
    for concatenation in ("udh16", "udh8", "sar"):
        pdus, _ = composed(
            "x" * 400, concatenation=concatenation, source="Sluice", validity="relative", expires_at=100.0, now=40.0
        )
        varying = {"short_message", "sm_length"}
        assert len({str([(k, v) for k, v in pdu.fields.items() if k not in varying]) for pdu in pdus}) == 1
        assert pdus[0].fields["validity_period"] == "000000000100000R"


def test_quirk_20_message_payload_leaves_short_message_empty():
    (pdu,), _ = composed("x" * 1000, concatenation="payload")
    assert pdu.fields["short_message"] == b"" and pdu.tlvs == (Tlv(0x0424, b"x" * 1000),)
    (pdu,), _ = composed("x" * 1000, concatenation="payload", destination_port=2948)
    assert pdu.fields["esm_class"] & 0x40 and pdu.tlvs[0].value == b"\x06\x05\x04\x0b\x84\x00\x00" + b"x" * 1000


@pytest.mark.parametrize(
    ("text", "form", "sizes"),
    [
        ("a" * 161, {"concatenation": "udh8"}, [153, 8]),
        ("a" * 161, {"concatenation": "udh16"}, [152, 9]),
        ("ж" * 71, {"concatenation": "udh8"}, [134, 8]),
        ("ж" * 71, {"concatenation": "udh16"}, [132, 10]),
        ("ş" * 75 + "aaaaa", {"national": ("turkish",)}, [155]),
        ("ş" * 155, {"national": ("turkish",)}, [155]),
        ("ş" * 156, {"national": ("turkish",), "concatenation": "udh8"}, [149, 7]),
        ("ş" * 156, {"national": ("turkish",), "concatenation": "udh16"}, [148, 8]),
    ],
)
def test_quirk_21_parts_have_the_sizes_that_their_header_leaves(text, form, sizes):
    pdus, _ = composed(text, **form)
    assert [len(elements_of(pdu)[-1]) for pdu in pdus] == sizes
    assert all(bool(pdu.fields["esm_class"] & 0x40) == (len(elements_of(pdu)) > 1) for pdu in pdus)


def test_quirk_21_two_shift_tables_leave_146_septets():
    # In Portuguese ∞ stands in the locking table alone, Γ in the single shift table alone.
    text = "∞∞∞∞Γ" * 30
    pdus, _ = composed(text, national=("portuguese",), alphabets=("gsm7",), concatenation="udh8")
    parts = [elements_of(pdu) for pdu in pdus]
    assert text_of(pdus) == text
    assert [(part[0x24], part[0x25], len(part[-1])) for part in parts] == [
        (b"\x03", b"\x03", 146),
        (b"\x03", b"\x03", 34),
    ]


def test_quirk_21_binary_counts_octets():
    octets = bytes(range(256)) * 2
    pdus, _ = composed(octets.hex(), binary=True, concatenation="udh8")
    assert [len(elements_of(pdu)[-1]) for pdu in pdus] == [134, 134, 134, 110]
    assert b"".join(elements_of(pdu)[-1] for pdu in pdus) == octets
    assert {pdu.fields["data_coding"] for pdu in pdus} == {4}
    assert composed("0g", binary=True) == ([], Refusal.NOT_ENCODABLE)
    assert composed("012", binary=True) == ([], Refusal.NOT_ENCODABLE)


@pytest.mark.parametrize(("class_coding", "coding"), [("0x10", (0x10, 0x18, 0x14)), ("0xF0", (0xF0, 0x18, 0xF4))])
def test_quirk_22_flash_has_the_data_coding_that_the_carrier_wants(class_coding, coding):
    def found(text: str, **form: object) -> int:
        (pdu,), _ = composed(text, message_class=0, class_coding=class_coding, **form)
        return int(pdu.fields["data_coding"])

    assert (found("a"), found("ж"), found("00", binary=True)) == coding


def test_quirk_22_flash_by_subunit_leaves_the_data_coding_plain():
    (pdu,), _ = composed("a", message_class=0, class_coding="subunit")
    assert pdu.fields["data_coding"] == 0 and pdu.tlvs == (Tlv(0x0005, b"\x01"),)


def test_quirk_22_alphabets_have_the_codes_of_the_carrier():
    assert composed("a", data_coding={"gsm7": 1})[0][0].fields["data_coding"] == 1
    (pdu,), _ = composed("é" * 140, alphabets=("latin1", "ucs2"), data_coding={"latin1": 0})
    assert pdu.fields["data_coding"] == 0 and pdu.fields["short_message"] == b"\xe9" * 140


def test_quirk_23_commercial_at_is_zero_and_nothing_is_trimmed():
    (pdu,), _ = composed("@a@ ")
    assert pdu.fields["short_message"] == b"\x00a\x00 "


@pytest.mark.parametrize("character", ["`", "’", "а", "с", "“", "\t"])
def test_quirk_24_what_gsm_lacks_is_ucs2_and_never_a_wrong_code(character):
    (pdu,), _ = composed(f"x{character}")
    assert pdu.fields["data_coding"] == 8 and pdu.fields["short_message"] == f"x{character}".encode("utf-16-be")


def test_quirk_25_ucs2_is_big_endian_without_a_mark_and_in_pairs():
    (pdu,), _ = composed("ж\U0001f600")
    assert pdu.fields["short_message"].hex() == "0436d83dde00"


@settings(max_examples=100, deadline=None)
@given(
    length=st.integers(1, 500),
    concatenation=st.sampled_from(["udh16", "udh8"]),
    port=st.sampled_from([-1, 2948]),
)
def test_quirk_26_packed_text_is_read_again_at_every_length(length, concatenation, port):
    text = ("Hello @ {€} " * 50)[:length]
    pdus, _ = composed(text, packed=True, concatenation=concatenation, destination_port=port)
    read = b""
    for pdu in pdus:
        message = pdu.fields["short_message"]
        assert len(message) <= 140
        header = message[0] + 1 if pdu.fields["esm_class"] & 0x40 else 0
        fill = -8 * header % 7
        septets = ((len(message) - header) * 8 - fill) // 7
        read += alphabet.unpack(message[header:], septets, fill).removesuffix(b"\r")
    assert alphabet.decode(read, "gsm7") == text


def test_quirk_26_seven_bits_to_spare_are_no_commercial_at():
    (pdu,), _ = composed("abcdefg", packed=True)
    assert alphabet.unpack(pdu.fields["short_message"], 8) == b"abcdefg\r"
    assert alphabet.pack(b"abcdefgh").hex() == composed("abcdefgh", packed=True)[0][0].fields["short_message"].hex()


@pytest.mark.parametrize(
    ("ton", "npi", "source"), [(5, 0, "Brand"), (3, 0, "12345"), (0, 0, "12345"), (1, 1, "447700900000")]
)
def test_quirk_27_source_is_written_with_the_type_of_number_that_was_set(ton, npi, source):
    (pdu,), _ = composed("x", source=source, source_ton=ton, source_npi=npi)
    fields = pdu.fields
    assert (fields["source_addr_ton"], fields["source_addr_npi"], fields["source_addr"]) == (ton, npi, source)


@pytest.mark.covers("X.4")
def test_quirk_28_validity_is_the_remaining_life_as_the_carrier_reads_it():
    def found(**form: object) -> tuple[str, str]:
        (pdu,), _ = composed("x", expires_at=1000.0, now=100.0, wall_s=86400.0, **form)
        return pdu.fields["validity_period"], pdu.fields["schedule_delivery_time"]

    assert found() == ("", "")
    assert found(validity="relative") == ("000000001500000R", "")
    assert found(validity="absolute") == ("000102001500000+", "")
    assert found(validity="absolute", validity_quarters=-20) == ("000101191500020-", "")
    # A run that never expires says nothing.
    assert composed("x", validity="relative")[0][0].fields["validity_period"] == ""


def test_quirk_29_tlvs_are_typed_and_stand_behind_the_text():
    tlvs = [
        (0x1400, "cstring", "110010", -1, False, 20),
        (0x1401, "octets", None, 1, True, 6),
        (0x1402, "int2", None, 2, False, 2),
        (0x1403, "int4", "70000", -1, False, 4),
    ]
    pdus, refused = composed("x" * 200, values=("entity", "513"), tlvs=tlvs)
    expected = (
        Tlv(0x1400, b"110010\0"),
        Tlv(0x1403, b"\x00\x01\x11\x70"),
        Tlv(0x1401, b"entity"),
        Tlv(0x1402, b"\x02\x01"),
    )
    assert refused is None and [pdu.tlvs for pdu in pdus] == [expected, expected]
    assert composed("x", values=("entities", "1"), tlvs=tlvs) == ([], Refusal.INVALID_TLV)
    assert composed("x", values=("entity", "65536"), tlvs=tlvs) == ([], Refusal.INVALID_TLV)
    assert composed("x", values=("entity", "1x"), tlvs=tlvs) == ([], Refusal.INVALID_TLV)
    assert composed("x", values=(None, "1"), tlvs=tlvs) == ([], Refusal.MISSING_FIELD)
    assert composed("x", values=("entity", None), tlvs=tlvs)[0][0].tlvs == expected[:3]


@pytest.mark.parametrize(
    ("tlv", "reason"),
    [
        ((0x1400, "float", "1", -1, False, 4), "kind"),
        ((0x1400, "int1", "256", -1, False, 1), "number of 1 octets"),
        ((0x1400, "cstring", "abcdef", -1, False, 5), "6 octets, at most 5"),
        ((0x1400, "cstring", None, -1, False, 5), "column"),
        ((0x1400, "cstring", "a\0b", -1, False, 5), "NUL"),
        ((0x1400, "octets", None, 1, False, 5000), "expected 1 to"),
    ],
)
def test_tlvs_that_cannot_be_are_refused_with_their_tag(tlv, reason):
    with pytest.raises(ValueError, match=f"0x1400.*{reason}"):
        Form(Template("x"), tlvs=[tlv])


# -- ports and limits -------------------------------------------------------------------------------------------------


def test_ports_stand_in_every_part_or_in_tlvs():
    pdus, _ = composed("x" * 200, destination_port=2948, source_port=9200)
    assert [elements_of(pdu)[5] for pdu in pdus] == [b"\x0b\x84\x23\xf0"] * 2
    assert [len(elements_of(pdu)[-1]) for pdu in pdus] == [145, 55]
    (pdu,), _ = composed("x", destination_port=240, source_port=1, port_bits=8)
    assert elements_of(pdu)[4] == b"\xf0\x01"
    (pdu,), _ = composed("x", destination_port=2948, ports="tlv")
    assert pdu.tlv_integer("destination_port") == 2948 and not pdu.fields["esm_class"] & 0x40


def test_message_over_max_parts_is_refused_with_the_count_and_nothing_is_cut():
    form = Form(Template("{{ x }}"), max_parts=3)
    assert composed("x" * 457, max_parts=3) == ([], Refusal.TOO_MANY_PARTS)
    assert explain(form, ["x" * 1000])["needed"] == 7
    assert explain(form, ["x" * 456])["segments"] == 3
    assert explain(Form(Template("{{ x }}"), max_parts=2, national=("turkish",)), ["ş" * 400])["needed"] == 3
    assert explain(form, ["x" * 40_000])["needed"] == 0


@settings(max_examples=100, deadline=None)
@given(text=TEXTS, most=st.integers(1, 4))
def test_refused_are_just_the_messages_that_need_too_many(text, most):
    free = explain(Form(Template("{{ x }}"), national=("turkish",)), [text])["segments"]
    found = explain(Form(Template("{{ x }}"), national=("turkish",), max_parts=most), [text])
    assert found["segments"] == (free if free <= most else 0)
    assert found["needed"] == (None if free <= most else free)


@pytest.mark.parametrize(
    "wrong",
    [
        {"national": ("klingon",)},
        {"transliterate": "much"},
        {"message_class": 4},
        {"class_coding": "0x20"},
        {"destination_port": 65536},
        {"destination_port": 256, "port_bits": 8},
        {"validity": "soon"},
        {"validity_quarters": 49},
        {"message_class": 0, "alphabets": ("latin1",)},
        {"ports": "sms"},
    ],
)
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) if "alphabets" not in wrong else "alphabets"):
        Form(Template("x"), **wrong)


def test_references_of_parts_follow_one_another():
    batch = Batch.of(1, [NUMBER] * 3, [["x" * 400]] * 3)
    batch.dress(Form(Template("{{ text }}")))
    octets, _, _ = encode_batch(batch)
    references = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        references.append(int.from_bytes(elements_of(decode(octets[:length]))[8][:2], "big"))
        octets = octets[length:]
    assert [(b - a) % 65536 for a, b in pairwise(references)] == [0, 0, 1, 0, 0, 1, 0, 0]
