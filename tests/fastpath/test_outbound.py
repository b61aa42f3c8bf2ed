"""submit_sm of a batch: the octets are those of the slow codec, for every concatenation, alphabet and length."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.batch import Batch
from _fastpath.outbound import Form, encode_batch
from _fastpath.references import References
from _fastpath.template import Template
from gateway.message import Refusal
from gateway.smpp.pdu import ANYTHING, Pdu, decode
from tests.oracle.outbound import PAYLOAD, SAR_NUMBER, SAR_REFERENCE, SAR_TOTAL, Route, parts_of, submit_sm

CONCATENATIONS = ["udh16", "udh8", "sar", "payload"]
PIECE = st.one_of(
    st.sampled_from(["a", "€", "{", "é", "ß", "ж", "\U0001f600", "👨‍👩‍👧", "🇩🇪🇫🇷", "\r\n", "e\u0301", "👍🏽", "ç"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=3),
)
# Short, about one part, about two, some.
TEXTS = st.one_of(
    st.lists(PIECE, max_size=8).map("".join),
    st.tuples(
        st.sampled_from(["a", "€", "ж", "\U0001f600", "👨‍👩‍👧"]), st.integers(60, 340), st.lists(PIECE, max_size=4)
    ).map(lambda part: part[0] * part[1] + "".join(part[2])),
)


def pdus_of(octets: bytes) -> list[bytes]:
    pdus = []
    while octets:
        length = int.from_bytes(octets[:4], "big")
        pdus.append(octets[:length])
        octets = octets[length:]
    return pdus


def composed(text: str, *, numbers=(447700900123,), chunk_id=1, sequence=1, **form):
    """The PDUs of one text for some numbers, in the order of the positions."""
    batch = Batch.of(chunk_id, list(numbers), [[text]] * len(numbers))
    batch.dress(Form(Template("{{ text }}"), **form))
    octets, segments, refused = encode_batch(batch, sequence)
    pdus = pdus_of(octets)
    assert len(pdus) == segments
    return pdus, refused


def reference_of(pdu: Pdu) -> int:
    """The reference that a part carries, 0 for a message of one."""
    for tlv in pdu.tlvs:
        if tlv.tag == SAR_REFERENCE:
            return int.from_bytes(tlv.value, "big")
    if pdu.fields["esm_class"] & 0x40:
        message = pdu.fields["short_message"]
        return int.from_bytes(message[3:5], "big") if message[0] == 6 else message[3]
    return 0


@settings(max_examples=400)
@given(
    text=TEXTS,
    concatenation=st.sampled_from(CONCATENATIONS),
    alphabets=st.sampled_from([("gsm7", "ucs2"), ("gsm7", "latin1", "ucs2"), ("ucs2",), ("latin1", "ucs2"), ("gsm7",)]),
    grapheme=st.booleans(),
    number=st.integers(1, 10**15),
    chunk_id=st.integers(0, 2**63 - 1),
    sequence=st.integers(1, 0x7FFFFF00),
)
def test_octets_are_those_of_the_slow_codec(text, concatenation, alphabets, grapheme, number, chunk_id, sequence):
    route = Route(
        alphabets=alphabets,
        concatenation=concatenation,
        grapheme=grapheme,
        fields={
            "service_type": "CMT",
            "source_addr_ton": 5,
            "source_addr_npi": 0,
            "source_addr": "Sluice",
            "dest_addr_ton": 1,
            "dest_addr_npi": 1,
            "esm_class": 3,
            "protocol_id": 65,
            "priority_flag": 2,
            "validity_period": "000001000000000R",
            "registered_delivery": 1,
        },
        data_coding={"gsm7": 0xF1, "latin1": 3, "ucs2": 0x18},
    )
    pdus, refused = composed(
        text,
        numbers=[number],
        chunk_id=chunk_id,
        sequence=sequence,
        service_type="CMT",
        source="Sluice",
        esm_class=3,
        protocol_id=65,
        priority_flag=2,
        validity_period="000001000000000R",
        data_coding={"gsm7": 0xF1, "ucs2": 0x18},
        concatenation=concatenation,
        alphabets=alphabets,
        grapheme=grapheme,
    )
    if not text:
        assert (pdus, refused) == ([], {0: Refusal.EMPTY})
        return
    if parts_of(text, route) is None:
        assert (pdus, refused) == ([], {0: Refusal.NOT_ENCODABLE})
        return
    reference = reference_of(decode(pdus[0]))
    assert refused == {}
    assert [pdu.hex() for pdu in pdus] == [pdu.hex() for pdu in submit_sm(number, text, reference, route, sequence)]


@pytest.mark.parametrize("concatenation", CONCATENATIONS)
@pytest.mark.parametrize(("character", "unit"), [("a", 1), ("€", 2), ("ж", 2), ("\U0001f600", 4), ("🇩🇪", 8)])
@pytest.mark.parametrize("octets", [2, 138, 140, 142, 158, 160, 162, 300, 306, 308, 459, 1000, 30_000])
def test_joined_parts_are_the_text_at_every_edge(concatenation, character, unit, octets):
    count = max(1, octets // unit)
    pdus, refused = composed(character * count, concatenation=concatenation)
    assert refused == {}
    joined = b""
    for index, octets_of_pdu in enumerate(pdus):
        pdu = decode(octets_of_pdu)
        message = pdu.fields["short_message"]
        assert len(message) <= 254
        if pdu.fields["esm_class"] & 0x40:
            assert message[message[0] - 1] == len(pdus) and message[message[0]] == index + 1
            message = message[message[0] + 1 :]
        for tlv in pdu.tlvs:
            if tlv.tag == PAYLOAD:
                assert message == b""
                message = tlv.value
            elif tlv.tag == SAR_TOTAL:
                assert tlv.value[0] == len(pdus)
            elif tlv.tag == SAR_NUMBER:
                assert tlv.value[0] == index + 1
        assert message
        joined += message
    coding = decode(pdus[0]).fields["data_coding"]
    assert joined == (character.encode("utf-16-be") if coding == 8 else {"a": b"a", "€": b"\x1be"}[character]) * count
    assert len({reference_of(decode(pdu)) for pdu in pdus}) == 1


@given(number=st.integers(1, 2**63 - 1))
def test_number_is_written_in_decimal(number):
    pdus, _ = composed("x", numbers=[number])
    assert decode(pdus[0], ANYTHING).fields["destination_addr"] == str(number)


def test_numbers_of_every_length_are_written_in_decimal_zeros_and_all():
    edges = {10**size + more for size in range(19) for more in (-1, 0, 1)} | {2**63 - 1, 10**12 + 70, 9 * 10**8}
    numbers = sorted(edges - {0})
    pdus, refused = composed("x", numbers=numbers)
    assert not refused
    assert sorted(int(decode(pdu, ANYTHING).fields["destination_addr"]) for pdu in pdus) == numbers
    assert all(decode(pdu, ANYTHING).fields["destination_addr"][0] != "0" for pdu in pdus)


def test_plus_stands_before_the_number_when_the_carrier_wants_it():
    pdus, _ = composed("x", plus=True, dest_ton=0, dest_npi=0)
    fields = decode(pdus[0]).fields
    assert fields["destination_addr"] == "+447700900123"
    assert (fields["dest_addr_ton"], fields["dest_addr_npi"]) == (0, 0)


@pytest.mark.parametrize("concatenation", CONCATENATIONS[:3])
def test_messages_to_one_number_have_references_of_their_own(concatenation):
    pdus, _ = composed("x" * 200, numbers=[447700900123] * 200, concatenation=concatenation)
    assert len({reference_of(decode(pdu)) for pdu in pdus}) == 200


def test_references_go_on_from_batch_to_batch_and_differ_by_source():
    references = References()
    found = []
    for source in ("Sluice", "Sluice", "Other"):
        batch = Batch.of(1, [447700900123])
        batch.dress(Form(Template("x" * 200), source=source))
        octets, _, _ = encode_batch(batch, references=references, wall_s=1000.0)
        found.append(reference_of(decode(pdus_of(octets)[0])))
    assert found[1] == (found[0] + 1) % 65536
    assert len(references) == 2


def test_batch_is_written_in_the_order_of_sending_with_numbers_that_wrap():
    numbers = [10**11 + i for i in range(97)]
    batch = Batch.of(12345, numbers)
    batch.dress(Form(Template("hello")))
    octets, segments, refused = encode_batch(batch, 0x7FFFFFF0)
    pdus = [decode(pdu) for pdu in pdus_of(octets)]
    assert (segments, refused) == (97, {})
    assert [int(pdu.fields["destination_addr"]) for pdu in pdus] == [numbers[pos] for pos in batch.ranks(0, 97)]
    assert [pdu.sequence_number for pdu in pdus] == [*range(0x7FFFFFF0, 0x80000000), *range(1, 82)]


def test_what_cannot_leave_is_refused_with_its_reason_and_the_rest_goes_on():
    rows = [["ok"], ["ж"], ["x" * 500], [None], [""], ["ok too"], ["x" * 70_000]]
    batch = Batch.of(1, [447700900000 + i for i in range(6)] + [1], rows)
    batch.dress(Form(Template("{{ text }}"), alphabets=("gsm7",), max_parts=3))
    octets, segments, refused = encode_batch(batch)
    assert refused == {
        1: Refusal.NOT_ENCODABLE,
        2: Refusal.TOO_MANY_PARTS,
        3: Refusal.MISSING_FIELD,
        4: Refusal.EMPTY,
        6: Refusal.TOO_MANY_PARTS,
    }
    assert segments == 2
    assert {decode(pdu).fields["short_message"] for pdu in pdus_of(octets)} == {b"ok", b"ok too"}


@pytest.mark.parametrize("number", [0, -1, -(2**63)])
def test_number_that_is_none_is_refused(number):
    assert composed("x", numbers=[number]) == ([], {0: Refusal.NOT_ENCODABLE})


@pytest.mark.parametrize(("concatenation", "parts"), [("udh16", 152), ("udh8", 153), ("sar", 153)])
def test_255_parts_leave_and_256_do_not(concatenation, parts):
    pdus, refused = composed("x" * (255 * parts), concatenation=concatenation)
    assert len(pdus) == 255 and refused == {}
    assert composed("x" * (255 * parts + 1), concatenation=concatenation) == ([], {0: Refusal.TOO_MANY_PARTS})


def test_payload_holds_what_its_length_can_say():
    pdus, _ = composed("x" * 65535, concatenation="payload")
    assert decode(pdus[0]).message == b"x" * 65535
    assert composed("x" * 65536, concatenation="payload")[1] == {0: Refusal.TOO_MANY_PARTS}


@given(
    values=st.lists(st.tuples(st.integers(1, 10**15), st.none() | TEXTS), min_size=1, max_size=12),
    concatenation=st.sampled_from(CONCATENATIONS),
)
def test_message_does_not_depend_on_those_around_it(values, concatenation):
    def write(chosen, template):
        batch = Batch.of(5, [number for number, _ in chosen], [[text] for _, text in chosen])
        batch.dress(Form(Template(template), concatenation=concatenation))
        octets, _, refused = encode_batch(batch)
        messages: dict[str, list[bytes]] = {}
        for octets_of_pdu in pdus_of(octets):
            pdu = decode(octets_of_pdu, ANYTHING)
            messages.setdefault(pdu.fields["destination_addr"], []).append(pdu.message)
        return messages, refused

    values = list({number: (number, text) for number, text in values}.values())
    # A default makes texts of a constant and of a field alternate.
    template = "{{ text|default('nothing of note') }}"
    together, refused = write(values, template)
    for pos, value in enumerate(values):
        alone, refused_alone = write([value], template)
        assert refused.get(pos) == refused_alone.get(0)
        for number, parts in alone.items():
            bare = 7 if concatenation == "udh16" else 6
            cut = bare if len(parts) > 1 and concatenation.startswith("udh") else 0
            assert [part[cut:] for part in together[number]] == [part[cut:] for part in parts]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"source": "x" * 21}, "source_addr: 21 octets, at most 20"),
        ({"source": "é"}, "source_addr: expected ASCII"),
        ({"source": "a\x00b"}, "source_addr"),
        ({"service_type": "TOOLONG"}, "service_type"),
        ({"validity_period": "123"}, "validity_period: expected 0 or 16"),
        ({"source_ton": 256}, "source_addr_ton: 256"),
        ({"source_npi": -1}, "source_addr_npi: -1"),
        ({"dest_ton": 1000}, "dest_addr_ton"),
        ({"dest_npi": 256}, "dest_addr_npi"),
        ({"esm_class": 256}, "esm_class"),
        ({"protocol_id": -1}, "protocol_id"),
        ({"priority_flag": 300}, "priority_flag"),
        ({"registered_delivery": 256}, "registered_delivery"),
        ({"data_coding": {"gsm7": 256}}, "data_coding of gsm7"),
        ({"data_coding": {"gsm": 1}}, "data_coding: expected some of gsm7"),
        ({"alphabets": ()}, "alphabets"),
        ({"alphabets": ("gsm7", "utf8")}, "alphabets"),
        ({"alphabets": ("gsm7",) * 4}, "alphabets"),
        ({"concatenation": "udh"}, "concatenation: expected one of udh16"),
        ({"max_parts": 0}, "max_parts"),
        ({"max_parts": 256}, "max_parts"),
    ],
)
def test_what_submit_sm_cannot_hold_is_refused_with_its_field(wrong, error):
    with pytest.raises(ValueError, match=error):
        Form(Template("x"), **wrong)


def test_batch_is_written_only_when_it_is_dressed_and_numbered_in_the_standard():
    with pytest.raises(ValueError, match="not dressed"):
        encode_batch(Batch.of(1, [1]))
    batch = Batch.of(1, [1])
    batch.dress(Form(Template("x")))
    for sequence in (0, 0x80000000):
        with pytest.raises(ValueError, match="sequence_number"):
            encode_batch(batch, sequence)
    with pytest.raises(TypeError):
        encode_batch(None)
    with pytest.raises(TypeError):
        Form(None)
