"""Cutting: the public vectors, the oracle at every kind of cut, and grapheme clusters against two other opinions."""

import json
import random
import runpy
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.alphabet import encode
from _fastpath.faults import TooManyParts
from _fastpath.segment import capacity, first_graphemes, segment
from tests.oracle import alphabet as alphabet_oracle
from tests.oracle import segment as oracle

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests/golden/vectors/segmentation.json").read_text("utf-8"))

# One of each grapheme break class and of each rule's partners.
AWKWARD = [
    *"ab\r\nж漢©👩👦🦊🇭🇷🇧가각\x00\u0301\u200d\u200c\ufe0f\U0001f3fd\u0600\u0903\u1100\u1161\u11a8\u0e33\u00ad\u200b",
    *"\u0915\u094d\u0937\u093c\u0995\u09cd",
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["id"])
@pytest.mark.parametrize("policy", ["grapheme", "codepoint"])
def test_public_vector_is_cut_as_its_policy_says(vector, policy):
    accepted = {one["policy"]: one["segments"] for one in vector["accept"]}
    payload = encode(vector["text"], vector["alphabet"])
    got = segment(payload, vector["alphabet"], vector["ref"], vector["ref_bits"], grapheme=policy == "grapheme")
    assert [{"udh": udh.hex(), "payload": part.hex()} for udh, part in got] == accepted.get(policy, accepted.get("any"))


@pytest.mark.parametrize(
    ("udh_octets", "septets", "octets", "units"),
    [(0, 160, 140, 70), (4, 155, 136, 68), (5, 154, 135, 67), (6, 153, 134, 67), (7, 152, 133, 66), (9, 149, 131, 65),
     (10, 148, 130, 65), (12, 146, 128, 64), (13, 145, 127, 63), (140, 0, 0, 0)],
)  # fmt: skip
def test_capacity_beside_a_header_is_that_of_23_040(udh_octets, septets, octets, units):
    assert capacity("gsm7", udh_octets) == septets
    assert capacity("latin1", udh_octets) == capacity("binary", udh_octets) == octets
    assert capacity("ucs2", udh_octets) == 2 * units


def expected(text, alphabet, encoded, ref, ref_bits, grapheme, shift=b""):
    """The oracle's parts of a text, headers and all."""
    unit = 2 if alphabet == "ucs2" else 1
    alone = unit * oracle.capacity(alphabet, 1 + len(shift) if shift else 0)
    among = unit * oracle.capacity(alphabet, (6 if ref_bits == 8 else 7) + len(shift))
    parts = oracle.parts_of(text, encoded, alone, among, grapheme)
    return list(zip(oracle.headers(ref, ref_bits, len(parts), shift), parts, strict=True))


@given(
    st.lists(st.sampled_from(AWKWARD), max_size=7, min_size=1).flatmap(
        lambda few: st.text(st.sampled_from(few), max_size=400)
    ),
    st.sampled_from([8, 16]),
    st.booleans(),
    st.sampled_from(["ucs2", "utf8"]),
)
def test_unicode_text_is_cut_as_the_oracle_cuts_it(text, ref_bits, grapheme, alphabet):
    codec = {"ucs2": "utf-16-be", "utf8": "utf-8"}[alphabet]
    encoded = {character: character.encode(codec) for character in AWKWARD}
    got = segment(text.encode(codec), alphabet, 200, ref_bits, grapheme=grapheme)
    assert got == expected(text, alphabet, encoded, 200, ref_bits, grapheme)


def test_clusters_hold_through_thousands_of_seeded_texts():
    encoded = {character: character.encode("utf-16-be") for character in AWKWARD}
    draw = random.Random(20261121)
    for _ in range(3000):
        few = draw.sample(AWKWARD, draw.choice([3, 6, len(AWKWARD)]))
        text = "".join(draw.choices(few, k=draw.randint(70, 400)))
        got = segment(text.encode("utf-16-be"), "ucs2", 5, 8)
        assert got == expected(text, "ucs2", encoded, 5, 8, True), ascii(text)


@given(
    st.text(st.sampled_from("ab@\r\n€[^\f"), max_size=700),
    st.sampled_from([8, 16]),
    st.booleans(),
)
def test_gsm_text_is_cut_as_the_oracle_cuts_it(text, ref_bits, grapheme):
    encoded = {character: alphabet_oracle.encode(character) for character in set(text)}
    got = segment(encode(text, "gsm7"), "gsm7", 90, ref_bits, grapheme=grapheme)
    assert got == expected(text, "gsm7", encoded, 90, ref_bits, grapheme)


@pytest.mark.parametrize(("single", "locking"), [(1, 0), (0, 1), (3, 3), (6, 6), (6, 0), (13, 13), (4, 4)])
@pytest.mark.parametrize("ref_bits", [8, 16])
def test_national_text_names_its_tables_in_every_part_and_keeps_its_clusters(single, locking, ref_bits):
    shift = (bytes([0x24, 1, single]) if single else b"") + (bytes([0x25, 1, locking]) if locking else b"")
    characters = sorted({*alphabet_oracle.SINGLE[single].values(), *alphabet_oracle.LOCKING[locking].values()})
    encoded = {character: alphabet_oracle.encode(character, single, locking) for character in characters}
    draw = random.Random(single * 100 + locking)
    for length in (0, 40, 100, 155, 300, 600):
        text = "".join(draw.choices(characters, k=length))
        payload = encode(text, "gsm7", single_shift=single, locking=locking)
        got = segment(payload, "gsm7", 7, ref_bits, single_shift=single, locking=locking)
        assert got == expected(text, "gsm7", encoded, 7, ref_bits, True, shift)


@given(st.binary(max_size=1000), st.sampled_from(["latin1", "binary"]), st.booleans(), st.sampled_from([8, 16]))
def test_octets_are_cut_as_the_oracle_cuts_them(payload, alphabet, grapheme, ref_bits):
    text = payload.decode("latin-1")
    encoded = {character: character.encode("latin-1") for character in text}
    got = segment(payload, alphabet, 0, ref_bits, grapheme=grapheme)
    assert got == expected(text, alphabet, encoded, 0, ref_bits, grapheme and alphabet == "latin1")


@given(st.binary(max_size=1200), st.sampled_from(["ucs2", "utf8"]), st.booleans())
def test_octets_that_are_no_text_are_cut_without_loss(payload, alphabet, grapheme):
    payload = payload[: len(payload) // 2 * 2]
    got = segment(payload, alphabet, 0, 8, grapheme=grapheme)
    assert b"".join(part for _, part in got) == payload
    assert all(len(part) <= 134 for _, part in got) or len(got) == 1


def test_longer_cluster_than_a_part_is_cut_between_characters_where_the_part_is_full():
    text = "ж" * 10 + "a" + "\u0301" * 200 + "ж"
    parts = [part for _, part in segment(text.encode("utf-16-be"), "ucs2", 1, 8)]
    assert [len(part) // 2 for part in parts] == [67, 67, 67, 11]


def test_cr_lf_of_gsm_moves_whole_unless_code_points_are_asked_for():
    payload = b"a" * 152 + b"\r\n" + b"b" * 20
    assert [len(part) for _, part in segment(payload, "gsm7", 1, 8)] == [152, 22]
    assert [len(part) for _, part in segment(payload, "gsm7", 1, 8, grapheme=False)] == [153, 21]


def test_further_elements_stand_last_in_every_part_and_alone_too():
    ports = bytes.fromhex("0504158a0000")
    assert segment(b"\x01", "binary", 1, 8, extra_ies=ports) == [(b"\x06" + ports, b"\x01")]
    parts = segment(bytes(150), "binary", 1, 8, extra_ies=ports)
    assert [(udh.hex(), len(part)) for udh, part in parts] == [
        ("0b00030102010504158a0000", 128),
        ("0b00030102020504158a0000", 22),
    ]
    shifted = segment(b"a", "gsm7", 1, 8, single_shift=1, extra_ies=ports)
    assert shifted == [(b"\x09\x24\x01\x01" + ports, b"a")]


def test_the_last_part_that_can_be_counted_is_the_255th():
    assert len(segment(b"a" * 153 * 255, "gsm7", 1, 8)) == 255
    with pytest.raises(TooManyParts, match="more than 255 parts"):
        segment(b"a" * (153 * 255 + 1), "gsm7", 1, 8)
    assert len(segment(b"a" * 306, "gsm7", 1, 8, max_parts=2)) == 2
    for max_parts in (1, 2):
        with pytest.raises(TooManyParts):
            segment(b"a" * 307, "gsm7", 1, 8, max_parts=max_parts)


def test_empty_text_is_one_part_without_header():
    assert segment(b"", "gsm7", 0) == [(b"", b"")]


@pytest.mark.parametrize(
    ("payload", "alphabet", "options", "named"),
    [
        (b"a", "gsm7", {"ref": 256, "ref_bits": 8}, "ref"),
        (b"a", "gsm7", {"ref": -1, "ref_bits": 8}, "ref"),
        (b"a", "gsm7", {"ref": 65536}, "ref"),
        (b"a", "gsm7", {"ref_bits": 12}, "ref_bits"),
        (b"a\x1b", "gsm7", {}, "ESC"),
        (b"\x1b\x1b\x1b", "gsm7", {}, "ESC"),
        (b"a\x80", "gsm7", {}, "septets"),
        (b"a", "ucs2", {}, "16-bit units"),
        (b"a", "gsm7", {"locking": 2}, "locking"),
        (b"a", "gsm7", {"single_shift": 14}, "single_shift"),
        (b"aa", "ucs2", {"single_shift": 1}, "single_shift"),
        (b"a", "gsm7", {"max_parts": 256}, "max_parts"),
        (b"a", "gsm7", {"max_parts": 0}, "max_parts"),
        (b"a", "binary", {"extra_ies": b"\x05\x04\x00"}, "past the end"),
        (b"a", "binary", {"extra_ies": b"\x05"}, "past the end"),
        (b"a", "binary", {"extra_ies": b"\x70\x7e" + bytes(126)}, "extra_ies"),
        (b"a" * 99, "gsm7", {"extra_ies": b"\x70\x7d" + bytes(125), "single_shift": 1, "locking": 1}, "no room"),
    ],
)
def test_what_cannot_be_headed_is_refused_by_name(payload, alphabet, options, named):
    with pytest.raises(ValueError, match=named):
        segment(payload, alphabet, **{"ref": 1} | options)


def generator():
    return runpy.run_path(str(ROOT / "_fastpath/tables/generate_graphemes.py"))


def test_grapheme_header_holds_what_unicode_says():
    tables = generator()
    header = (ROOT / "_fastpath/grapheme_tables.h").read_text("utf-8")
    version = f"Unicode {tables['unicode_version']()}"
    if f"{version}.\n" not in header:
        pytest.skip(f"regex carries {version}, another than the header")
    assert header.split("\n", 1)[1] == tables["render"]().split("\n", 1)[1]


def test_clusters_of_the_oracle_are_those_of_regex_but_for_a_linker_without_consonant():
    # regex 2026.11 joins a consonant to any linker before it; UAX #29 GB9c asks for a consonant before that.
    draw = random.Random(29)
    for _ in range(5000):
        text = "".join(draw.choices(AWKWARD, k=12))
        theirs = regex.findall(r"\X", text)
        ours = oracle.clusters(text)
        assert "".join(ours) == text
        if ours != theirs:
            assert any(linker in text for linker in "\u094d\u09cd"), ascii(text)


@given(st.lists(st.sampled_from(AWKWARD), max_size=30).map("".join), st.integers(-1, 31))
def test_the_first_graphemes_are_those_of_another_opinion(text, most):
    assert first_graphemes(text, most) == "".join(regex.findall(r"\X", text)[: max(most, 0)])


def test_a_family_and_a_flag_are_one_grapheme_each():
    assert first_graphemes("👩‍👩‍👧🇭🇷x", 2) == "👩‍👩‍👧🇭🇷"
