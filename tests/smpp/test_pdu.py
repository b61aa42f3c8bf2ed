"""PDUs: golden octets both ways, what answers a broken one, and properties over every row of the table.

Invariant: any octets either decode or raise MalformedPdu with a status of the standard; never another error.
"""

import json
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.faults import MalformedPdu
from gateway.errors import EncodeError
from gateway.smpp.pdu import (
    ANYTHING,
    CARRIER,
    STRICT,
    Pdu,
    Tlv,
    Tolerance,
    decode,
    encode,
    from_json,
    header,
    salvage,
    to_json,
)
from gateway.smpp.spec import COMMANDS, DESTINATION_BY_FLAG, FAILURE, TAG_BY_NAME, TLV_BY_TAG, Command, Field, Kind
from gateway.smpp.status import STATUS_BY_VALUE

GOLDEN_PATH = Path(__file__).parents[1] / "golden/vectors"
GOLDEN = json.loads((GOLDEN_PATH / "pdu.json").read_text("utf-8"))
MALFORMED = json.loads((GOLDEN_PATH / "malformed.json").read_text("utf-8"))


# -- strategies, drawn from the rows of the table ---------------------------------------------------------------------

latin1 = st.characters(min_codepoint=1, max_codepoint=255)
times = st.sampled_from(["", "261224183000004+", "000001120000000R", "991231235959948-"])


def values_of(field: Field) -> st.SearchStrategy:
    if field.kind is Kind.INTEGER:
        return st.integers(0, (1 << 8 * field.octets) - 1)
    if field.kind is Kind.TEXT:
        return st.text(latin1, min_size=0 if field.may_be_empty else 1, max_size=field.octets - 1)
    if field.kind is Kind.TIME:
        return times
    if field.kind is Kind.MESSAGE:
        return st.binary(max_size=255)
    if field.kind is Kind.DESTINATIONS:
        entries = [
            st.fixed_dictionaries({"dest_flag": st.just(flag), **{part.name: values_of(part) for part in table}})
            for flag, table in DESTINATION_BY_FLAG.items()
        ]
        return st.lists(st.one_of(entries), min_size=1, max_size=5)
    return st.lists(st.fixed_dictionaries({part.name: values_of(part) for part in FAILURE}), max_size=5)


def tlvs_of(command: Command) -> st.SearchStrategy:
    # Tags that the standard leaves to vendors, or to nobody, may hold anything anywhere.
    strange = st.integers(0, 0xFFFF).filter(lambda tag: tag not in TLV_BY_TAG)
    drawn = st.lists(st.builds(Tlv, strange, st.binary(max_size=20)), max_size=4)
    required = [
        st.builds(Tlv, st.just(tag), st.binary(min_size=min(lengths), max_size=min(lengths)))
        for tag, lengths in ((tag, TLV_BY_TAG[tag].lengths) for tag in command.required_tlvs)
    ]
    return st.tuples(st.tuples(*required), drawn).map(lambda both: (*both[0], *both[1]))


def pdus_of(command: Command) -> st.SearchStrategy:
    numbers = st.integers(0, 0xFFFFFFFF)
    whole = st.builds(
        Pdu,
        command=st.just(command.name),
        command_status=numbers,
        sequence_number=numbers,
        fields=st.fixed_dictionaries({field.name: values_of(field) for field in command.fields}),
        tlvs=tlvs_of(command),
    )
    if not (command.is_response and command.fields):
        return whole
    bare = st.builds(
        Pdu, command=st.just(command.name), command_status=numbers, sequence_number=numbers, body_absent=st.just(True)
    )
    return whole | bare


any_pdu = st.sampled_from(COMMANDS).flatmap(pdus_of)


def request_of(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets[4:]


# -- golden -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tolerance", [STRICT, CARRIER, ANYTHING])
@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["id"])
def test_golden_pdu_is_read_and_written_back_octet_for_octet(vector, tolerance):
    octets = bytes.fromhex(vector["hex"])
    decoded = to_json(decode(octets, tolerance), len(octets))
    assert decoded == vector["decoded"]
    if vector["encode_roundtrip"]:
        assert encode(from_json(json.loads(json.dumps(vector["decoded"])))) == octets


@pytest.mark.parametrize("vector", MALFORMED, ids=lambda vector: vector["id"])
def test_malformed_pdu_names_an_acceptable_answer(vector):
    with pytest.raises(MalformedPdu) as fault:
        decode(bytes.fromhex(vector["hex"]))
    assert fault.value.command_status in {
        status for accepted in vector["acceptable"] for status in accepted.get("status", [])
    }


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["id"])
def test_every_truncation_is_read_or_answered_by_the_table(vector):
    octets = bytes.fromhex(vector["hex"])
    for end in range(16, len(octets)):
        cut = request_of(octets[:end])
        pdu, fault = salvage(cut)
        assert (pdu.command_id, pdu.command_status, pdu.sequence_number) == header(octets)[1:]
        if fault is None:
            # Only where the mandatory part is whole and the cut falls between TLVs, or a response may lack its body.
            assert pdu.body_absent or set(pdu.fields) == set(decode(octets).fields)
        else:
            assert fault.command_status in (0x01, 0x02, 0xC0, 0xC3)
            assert 0 <= fault.offset <= end


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["id"])
def test_every_truncation_that_keeps_its_old_length_is_no_whole_pdu(vector):
    octets = bytes.fromhex(vector["hex"])
    for end in range(len(octets)):
        with pytest.raises(MalformedPdu):
            decode(octets[:end])


# -- properties -------------------------------------------------------------------------------------------------------


@given(any_pdu)
def test_what_is_written_reads_back(pdu):
    assert decode(encode(pdu)) == pdu


@given(any_pdu)
def test_json_form_reads_back(pdu):
    octets = encode(pdu)
    assert from_json(json.loads(json.dumps(to_json(pdu, len(octets))))) == pdu


@given(
    command_id=st.sampled_from([command.id for command in COMMANDS]) | st.integers(0, 0xFFFFFFFF),
    body=st.binary(max_size=120),
    tolerance=st.sampled_from([STRICT, CARRIER, ANYTHING]),
)
def test_any_octets_decode_or_raise_malformed_pdu(command_id, body, tolerance):
    octets = (16 + len(body)).to_bytes(4, "big") + command_id.to_bytes(4, "big") + bytes(8) + body
    try:
        pdu = decode(octets, tolerance)
    except MalformedPdu as fault:
        assert fault.command_status in STATUS_BY_VALUE
        assert 0 <= fault.offset <= len(octets)
    else:
        # What was read can be written, and what was written reads the same: a fixpoint.
        assert decode(encode(pdu, ANYTHING), ANYTHING) == pdu


@given(pdu=any_pdu, at=st.integers(0, 400), octet=st.integers(0, 255))
def test_one_changed_octet_decodes_or_raises_malformed_pdu(pdu, at, octet):
    octets = bytearray(encode(pdu))
    octets[at % len(octets)] = octet
    try:
        decode(bytes(octets))
    except MalformedPdu as fault:
        assert fault.command_status in STATUS_BY_VALUE


@given(st.binary(max_size=40))
def test_octets_without_a_header_raise_malformed_pdu(octets):
    with pytest.raises(MalformedPdu):
        decode(octets[:15])


# -- limits -----------------------------------------------------------------------------------------------------------

SUBMIT = {"source_addr": "1", "destination_addr": "2", "short_message": b"hi"}


def lengthened(command: str, name: str, text: str) -> bytes:
    fields = dict(SUBMIT) if command == "submit_sm" else {}
    return encode(Pdu(command=command, sequence_number=5, fields={**fields, name: text}), ANYTHING)


@pytest.mark.parametrize(
    ("command", "name", "limit", "status"),
    [
        ("bind_transceiver", "system_id", 15, 0x0F),
        ("bind_transceiver", "password", 8, 0x0E),
        ("bind_transceiver", "system_type", 12, 0x53),
        ("bind_transceiver", "address_range", 40, 0x0D),
        ("submit_sm", "service_type", 5, 0x15),
        ("submit_sm", "source_addr", 20, 0x0A),
        ("submit_sm", "destination_addr", 20, 0x0B),
        ("query_sm", "message_id", 64, 0x0C),
        ("data_sm", "source_addr", 64, 0x0A),
        ("alert_notification", "esme_addr", 64, 0x08),
    ],
)
def test_string_over_its_limit_is_answered_by_the_code_of_the_field(command, name, limit, status):
    assert decode(lengthened(command, name, "x" * limit)).fields[name] == "x" * limit
    with pytest.raises(MalformedPdu) as fault:
        decode(lengthened(command, name, "x" * (limit + 1)))
    assert fault.value.command_status == status
    assert decode(lengthened(command, name, "x" * (limit + 1)), ANYTHING).fields[name] == "x" * (limit + 1)


@pytest.mark.parametrize(("name", "status"), [("schedule_delivery_time", 0x61), ("validity_period", 0x62)])
@pytest.mark.parametrize("text", ["2612241830", "261324183000004+", "261224183000049+", "26122418300000x+", "x" * 17])
def test_broken_time_is_answered_by_the_code_of_its_field(name, status, text):
    with pytest.raises(MalformedPdu) as fault:
        decode(lengthened("submit_sm", name, text))
    assert fault.value.command_status == status


def test_longer_password_passes_where_it_is_agreed():
    agreed = Tolerance(password_octets=33)
    octets = lengthened("bind_transmitter", "password", "p" * 32)
    assert decode(octets, agreed).fields["password"] == "p" * 32
    assert encode(Pdu(command="bind_transmitter", sequence_number=5, fields={"password": "p" * 32}), agreed) == octets
    with pytest.raises(MalformedPdu):
        decode(octets)


def with_tlv(tag: int, value: bytes, command: str = "submit_sm") -> bytes:
    return encode(Pdu(command=command, sequence_number=5, fields=SUBMIT, tlvs=(Tlv(tag, value),)))


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("user_message_reference", b"\x07", 0xC2),
        ("message_payload", b"", None),
        ("sar_total_segments", b"\0", 0xC4),
        ("privacy_indicator", b"\4", 0xC4),
        ("callback_num", b"123", 0xC2),
        ("callback_num", b"1234", None),
        ("alert_on_message_delivery", b"", None),
        ("ms_validity", b"\0\0", 0xC2),
        ("language_indicator", b"\xff", None),
        ("message_state", b"\0\0\0", None),  # not expected in submit_sm: ignored
    ],
)
def test_known_tlv_of_wrong_length_or_value_is_answered(name, value, status):
    octets = with_tlv(TAG_BY_NAME[name], value)
    if status is None:
        assert decode(octets).tlv(name) == value
        return
    with pytest.raises(MalformedPdu) as fault:
        decode(octets)
    assert fault.value.command_status == status
    assert decode(octets, CARRIER).tlv(name) == value


def test_receipt_with_an_odd_message_state_is_read_from_a_carrier():
    octets = with_tlv(TAG_BY_NAME["message_state"], b"\0\2", "deliver_sm")
    assert decode(octets, CARRIER).tlv_integer("message_state") == 2


def test_unknown_tlv_is_carried_and_has_no_name():
    (found,) = decode(with_tlv(0x1501, b"vendor")).tlvs
    assert (found.tag, found.value, found.name) == (0x1501, b"vendor", None)


def test_first_of_two_equal_tlvs_wins_and_both_are_kept():
    reference = TAG_BY_NAME["user_message_reference"]
    pdu = Pdu(command="submit_sm", fields=SUBMIT, tlvs=(Tlv(reference, b"\0\1"), Tlv(reference, b"\0\2")))
    read = decode(encode(pdu))
    assert read.tlv_integer("user_message_reference") == 1
    assert len(read.tlvs) == 2


@pytest.mark.parametrize("tlvs", [(), (Tlv(0x001E, b"77\0"),)])
def test_nul_behind_short_message_is_forgiven_to_a_carrier(tlvs):
    plain = encode(Pdu(command="deliver_sm", fields=SUBMIT, tlvs=()))
    octets = request_of(plain + b"\0" + encode(Pdu(command="deliver_sm", fields=SUBMIT, tlvs=tlvs))[len(plain) :])
    assert decode(octets, CARRIER).message == b"hi"
    assert decode(octets, CARRIER).tlvs == tlvs
    with pytest.raises(MalformedPdu):
        decode(octets)


def test_submission_to_nobody_is_answered_invalid_destination():
    octets = encode(Pdu(command="submit_sm", fields={"short_message": b"hi"}))
    with pytest.raises(MalformedPdu) as fault:
        decode(octets)
    assert fault.value.command_status == 0x0B


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"\0" * 4 + b"\0", 0x33),
        (b"\0" * 4 + b"\1\3", 0x40),
        (b"\0" * 4 + b"\2\2list\0", 0x02),
        (b"\0" * 4 + b"\1\2" + b"x" * 21 + b"\0", 0x34),
    ],
)
def test_destination_list_that_is_broken_is_answered_by_its_own_codes(body, status):
    octets = request_of(bytes(4) + (0x21).to_bytes(4, "big") + bytes(8) + body)
    with pytest.raises(MalformedPdu) as fault:
        decode(octets)
    assert fault.value.command_status == status


def test_broadcast_without_its_mandatory_tlvs_is_answered_missing():
    with pytest.raises(MalformedPdu, match="broadcast_area_identifier: missing") as fault:
        decode(encode(Pdu(command="broadcast_sm")))
    assert fault.value.command_status == 0xC3


# -- responses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 0x58])
@pytest.mark.parametrize("body", ["", "00", "373700", "00" + "001d0003626164", "373700" + "0428000156"])
def test_response_is_read_with_and_without_body_whatever_its_status(status, body):
    octets = request_of(bytes(4) + b"\x80\0\0\4" + status.to_bytes(4, "big") + b"\0\0\0\7" + bytes.fromhex(body))
    pdu = decode(octets)
    assert pdu.body_absent == (body == "")
    assert encode(pdu) == octets


def test_message_id_in_front_of_broken_tlvs_is_kept():
    octets = request_of(bytes(4) + b"\x80\0\0\4" + bytes(8) + b"77\0\xff")
    pdu, fault = salvage(octets)
    assert pdu.fields == {"message_id": "77"}
    assert fault is not None
    assert fault.command_status == 0xC0


def test_response_is_never_refused_for_a_long_string_or_an_odd_tlv():
    pdu = Pdu(command="submit_sm_resp", fields={"message_id": "x" * 80}, tlvs=(Tlv(0x0428, b"\0\x56"),))
    assert decode(encode(pdu, ANYTHING)).tlv_integer("congestion_state") == 86


# -- refusing to write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"source_addr": "1" * 21}, "submit_sm.source_addr: 21 octets, at most 20 and a NUL"),
        ({"source_addr": "\u0416"}, "expected Latin-1"),
        ({"source_addr": "a\0b"}, "without a NUL"),
        ({"source_addr": 1}, "expected text"),
        ({"esm_class": 256}, "esm_class: 256"),
        ({"esm_class": -1}, "esm_class: -1"),
        ({"esm_class": "1"}, "esm_class: '1'"),
        ({"short_message": bytes(256)}, "at most 255 octets"),
        ({"short_message": "text"}, "at most 255 octets"),
        ({"validity_period": "2612241830"}, "expected none or 16"),
        ({"sm_length": 1}, "no such field"),
        ({"dest_address": []}, "no such field"),
    ],
)
def test_field_that_does_not_fit_is_named_with_what_fits(fields, said):
    with pytest.raises(EncodeError, match=said):
        encode(Pdu(command="submit_sm", fields=fields))


def test_header_that_does_not_fit_is_refused():
    for pdu in (
        Pdu(command="enquire_link", sequence_number=1 << 32),
        Pdu(command="enquire_link", command_status=-1),
        Pdu(command="enquire_links"),
        Pdu(command="submit_sm", tlvs=(Tlv(0x10000, b""),)),
        Pdu(command="submit_sm", tlvs=(Tlv(0x424, bytes(65536)),)),
        Pdu(command="submit_multi", fields={"dest_address": [{"dest_flag": 3}]}),
        Pdu(command="submit_multi", fields={"dest_address": [{"dest_flag": 1}] * 256}),
    ):
        with pytest.raises(EncodeError):
            encode(pdu)


def test_message_travels_in_either_place():
    assert Pdu(command="submit_sm", fields={"short_message": b"a"}).message == b"a"
    assert Pdu(command="data_sm", tlvs=(Tlv(TAG_BY_NAME["message_payload"], b"b"),)).message == b"b"
    assert Pdu(command="submit_sm").message == b""


def test_every_printable_character_of_a_string_survives():
    text = string.printable.replace("\0", "")[:15]
    assert decode(encode(Pdu(command="outbind", fields={"system_id": text}))).fields["system_id"] == text
