"""The codec door: every kind of question, and every way not to ask one."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import codec
from gateway.smpp.pdu import Pdu, Tlv, encode
from gateway.smpp.session import TABLE, Role, State

VECTORS = [
    vector
    for path in sorted((Path(__file__).parent / "golden/vectors").glob("*.json"))
    for vector in json.loads(path.read_text("utf-8"))
]
SUBMIT = {"source_addr": "1", "destination_addr": "2", "short_message": b"hi"}


def bad(octets: bytes) -> dict:
    found = codec.answer({"kind": "pdu_bad", "hex": octets.hex()})
    return {name: found[name] for name in ("action", "status", "then")}


def sized(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets[4:]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_golden_vector_passes(vector):
    found = codec.answer(vector)
    assert found["id"] == vector["id"]
    assert codec.passes(vector, found), found
    # What goes out is JSON and comes back as it was.
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_wrong_answer_does_not_pass(vector):
    assert not codec.passes(vector, {"id": vector["id"], "error": "no"})
    found = codec.answer(vector)
    for name in found.keys() - {"id", "kind", "encoded", "status", "then", "parts"}:
        assert not codec.passes(vector, {**found, name: "something else"}), name


# -- judging broken PDUs ----------------------------------------------------------------------------------------------


def test_whole_request_of_either_role_is_accepted():
    for command in ("submit_sm", "deliver_sm"):
        assert bad(encode(Pdu(command=command, fields=SUBMIT))) == {"action": "accept", "status": None, "then": "stay"}
    assert bad(encode(Pdu(command="enquire_link", sequence_number=0)))["action"] == "accept"


@pytest.mark.parametrize("command", sorted(TABLE[State.BOUND_TRX][Role.ESME] | TABLE[State.BOUND_TRX][Role.SMSC]))
def test_stray_octets_behind_any_request_get_its_own_response(command):
    fields = {"submit_multi": {"dest_address": [{"dest_flag": 2, "dl_name": "all"}]}}.get(
        command, SUBMIT if command in ("submit_sm", "deliver_sm") else {}
    )
    found = bad(sized(encode(Pdu(command=command, fields=fields)) + b"\1\2\3"))
    if command == "alert_notification":
        assert found == {"action": "log_only", "status": None, "then": "stay"}
    else:
        assert found == {"action": "resp", "status": 0xC0, "then": "stay"}


def test_second_bind_is_answered_already_bound():
    octets = encode(Pdu(command="bind_transceiver", fields={"system_id": "lab"}))
    assert bad(octets) == {"action": "resp", "status": 5, "then": "stay"}


def test_outbind_on_a_bound_session_is_logged_only():
    assert bad(encode(Pdu(command="outbind")))["action"] == "log_only"


def test_response_is_judged_by_whether_it_can_be_read():
    whole = encode(Pdu(command="submit_sm_resp", fields={"message_id": "1"}))
    assert bad(whole)["action"] == "accept"
    assert bad(sized(whole + b"\1"))["action"] == "log_only"
    assert bad(bytes.fromhex("0000001080000999000000000000004d"))["action"] == "log_only"
    assert bad(encode(Pdu(command="generic_nack", command_status=2)))["action"] == "accept"


def test_unknown_tlv_and_tlv_of_another_pdu_are_accepted():
    for tlv in (Tlv(0x1501, b"x"), Tlv(0x0210, b"\0\0\0"), Tlv(0xFFFF, b"")):
        assert bad(encode(Pdu(command="submit_sm", fields=SUBMIT, tlvs=(tlv,))))["action"] == "accept"


@pytest.mark.parametrize("length", [0, 4, 15, 66561, 0xFFFFFFFF])
def test_length_that_cannot_be_is_nacked_and_closes(length):
    octets = length.to_bytes(4, "big") + bytes(12)
    assert bad(octets) == {"action": "generic_nack", "status": 2, "then": "close"}


def test_octets_that_are_no_whole_pdu_yet_are_waited_for():
    assert bad(b"\0\0\0") == {"action": "log_only", "status": None, "then": "stay"}
    assert bad(b"\0\0\0\x20" + bytes(12))["then"] == "stay"


@given(st.binary(max_size=120))
def test_any_octets_are_judged(octets):
    found = bad(octets)
    assert found["action"] in ("generic_nack", "resp", "accept", "log_only")
    assert found["then"] in ("stay", "close")
    assert (found["status"] is None) == (found["action"] in ("accept", "log_only"))


def test_password_of_a_generous_carrier_is_decoded_and_written_back():
    octets = encode(Pdu(command="bind_transmitter", fields={"password": "x" * 8})).replace(b"x" * 8, b"x" * 30)
    found = codec.answer({"kind": "pdu", "hex": sized(octets).hex()})
    assert found["decoded"]["fields"]["password"] == "x" * 30
    assert found["encoded"] == sized(octets).hex()


def test_stream_that_is_lost_keeps_nothing_and_hears_no_more():
    found = codec.answer({"kind": "stream", "chunks": ["00000004", "000000100000001500000000000000ff"]})
    assert (found["pdus"], found["leftover"], found["fatal"]) == ([], "", True)


# -- message ids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("responded", "receipted"),
    [
        ("0a1B2c3D", "0a1B2c3D"),
        ("0a1B2c3D", "0A1b2C3d"),
        ("77", "0000000077"),
        ("00B8BE19", "b8be19"),
        ("0", "0000"),
        ("33e95179", "870928761"),
        ("870928761", "33E95179"),
        ("0D2C4A5E", "0221006430"),
        ("812FC7470000001B", "9308878062554710043"),
        ("ffffffffffffffff", "18446744073709551615"),
        ("10", "16"),
        ("16", "10"),
        ("0118Z-0122I-2309U-57DGB", "0118z-0122i-2309u-57dgb"),
        ("123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"),
    ],
)
def test_ids_that_can_be_one_message_match(responded, receipted):
    assert codec.is_same_id(responded, receipted)
    assert codec.is_same_id(receipted, responded)


@pytest.mark.parametrize(
    ("responded", "receipted"),
    [
        ("", ""),
        ("", "0"),
        ("77", "78"),
        ("10", "22"),
        ("10", "2"),
        ("a", "11"),
        ("0x1a", "26"),
        ("-1", "18446744073709551615"),
        ("812FC7470000001B", "-9137866011154841573"),
        ("10000000000000000", "18446744073709551616"),
        ("f" * 32, "340282366920938463463374607431768211455"),
        ("1_0", "16"),
        ("+10", "16"),
        ("1e2", "100"),
        ("٣", "3"),
        ("straße", "STRASSE"),
        ("abc", "abcd"),
        ("1234-5", "12345"),
    ],
)
def test_ids_that_cannot_be_one_message_do_not_match(responded, receipted):
    assert not codec.is_same_id(responded, receipted)
    assert not codec.is_same_id(receipted, responded)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, 10), st.booleans())
def test_hex_and_decimal_of_one_number_match_with_any_zeros_and_case(number, zeros, upper):
    written = f"{number:X}" if upper else f"{number:x}"
    assert codec.is_same_id("0" * zeros + written, str(number))
    assert codec.is_same_id(str(number).zfill(zeros), written)


@given(st.text(max_size=30), st.text(max_size=30))
def test_matching_is_symmetric_and_takes_any_text(one, other):
    assert codec.is_same_id(one, other) == codec.is_same_id(other, one)


# -- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector",
    [
        {"kind": "encode", "text": "Ж", "alphabet": "gsm7"},
        {"kind": "encode", "text": "\ud800", "alphabet": "ucs2"},
        {"kind": "encode", "text": "a", "alphabet": "klingon"},
        {"kind": "decode", "hex": "00", "alphabet": "klingon"},
        {"kind": "segment", "text": "a" * 153 * 256, "alphabet": "gsm7", "ref": 1, "ref_bits": 8},
        {"kind": "segment", "text": "a", "alphabet": "gsm7", "ref": 256, "ref_bits": 8},
        {"kind": "segment", "text": "a", "alphabet": "gsm7", "ref": 1, "ref_bits": 7},
        {"kind": "pdu", "hex": "00"},
        {"kind": "pdu", "hex": "00000010000000150000000000000009ff"},
    ],
)
def test_what_must_be_refused_has_an_error_and_its_kind(vector):
    found = codec.answer({"id": "x", **vector})
    assert found.keys() == {"id", "kind", "error"}
    assert codec.passes({**vector, "error": True}, found)


def test_binary_is_cut_as_octets():
    found = codec.answer({"kind": "segment", "binary_hex": "00" * 141, "alphabet": "binary", "ref": 1, "ref_bits": 8})
    assert found["parts"] == 2
    assert [len(part["payload"]) // 2 for part in found["segments"]] == [134, 7]


def test_national_tables_are_named_in_every_part():
    vector = {"kind": "segment", "text": "ş" * 100, "alphabet": "gsm7", "ref": 7, "ref_bits": 8, "single_shift": 1}
    found = codec.answer({**vector, "locking": None})
    assert all(part["udh"].startswith("08000307") and part["udh"].endswith("240101") for part in found["segments"])


@pytest.mark.parametrize(
    ("text", "field", "expect"),
    [
        (
            "000001000000000R",
            "validity_period",
            {"relative": dict(years=0, months=0, days=1, hours=0, minutes=0, seconds=0)},
        ),
        ("000001000000000R", "final_date", {"error": True}),
        ("000101000000048+", "validity_period", {"utc": "1999-12-31T12:00:00Z"}),
        ("", "final_date", {"default": True}),
    ],
)
def test_time_is_read_by_what_its_field_may_hold(text, field, expect):
    assert codec.answer({"kind": "time", "smpp": text, "field": field})["expect"] == expect


# -- no question ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "vector",
    [
        {},
        {"kind": None},
        {"kind": ["pdu"]},
        {"kind": "poetry"},
        {"kind": "pdu"},
        {"kind": "pdu", "hex": 7},
        {"kind": "pdu", "hex": "zz"},
        {"kind": "stream", "chunks": "00"},
        {"kind": "stream", "chunks": [None]},
        {"kind": "pack", "unpacked": "61", "fill_bits": "1"},
        {"kind": "segment", "text": "a", "alphabet": "gsm7"},
        {"kind": "segment", "text": "a", "alphabet": "gsm7", "ref": True},
        {"kind": "time", "smpp": None},
        {"kind": "id_match", "resp": 10, "receipt": "16"},
    ],
)
def test_object_that_asks_nothing_is_a_value_error(vector):
    with pytest.raises(ValueError):
        codec.answer(vector)


def test_choice_of_an_alphabet_is_explained_by_the_settings_of_a_carrier():
    found = codec.answer({"kind": "choose", "id": 1, "text": "“Zoë” " * 15, "transliterate": "lossy"})
    assert (found["alphabet"], found["segments"], found["saved"], found["text"]) == ("gsm7", 1, 1, '"Zoe" ' * 15)
    assert [(way["alphabet"], way["segments"]) for way in found["ways"]] == [("gsm7", 0), ("ucs2", 2), ("gsm7", 1)]
    assert codec.passes({"kind": "choose", "alphabet": "gsm7", "segments": 1}, found)


def test_message_that_cannot_be_sent_says_why_and_how_many_parts_it_needs():
    found = codec.answer({"kind": "choose", "text": "x" * 1000, "max_parts": 3})
    assert (found["reason"], found["needed"], found["segments"]) == ("too_many_parts", 7, 0)
    assert codec.answer({"kind": "choose", "text": "ж", "alphabets": ["gsm7"]})["reason"] == "not_encodable"
    with pytest.raises(ValueError, match="settings"):
        codec.answer({"kind": "choose", "text": "x", "max_parts": 0})
