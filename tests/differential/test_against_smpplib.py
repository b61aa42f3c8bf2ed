"""The third opinion on every octet: smpplib reads what we write and we read what it writes.

What it sees differently is in divergences.py, by name. Not here: its client against our simulator (tests/simulator).
"""

import json
import logging
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.faults import MalformedPdu
from gateway.smpp.pdu import CARRIER, Pdu, Tlv, decode, encode
from gateway.smpp.spec import COMMAND_BY_NAME, COMMANDS, TAG_BY_NAME, TLV_BY_TAG, Command, Field, Kind
from tests.differential import divergences

smpp = pytest.importorskip("smpplib.smpp")
exceptions = pytest.importorskip("smpplib.exceptions")
logging.getLogger("smpplib").setLevel(logging.CRITICAL)

GOLDEN_PATH = Path(__file__).parents[1] / "golden/vectors"
GOLDEN = json.loads((GOLDEN_PATH / "pdu.json").read_text("utf-8"))
MALFORMED = {
    vector["id"]: bytes.fromhex(vector["hex"])
    for vector in json.loads((GOLDEN_PATH / "malformed.json").read_text("utf-8"))
}
SHARED = [command for command in COMMANDS if command.name not in divergences.COMMANDS_IT_LACKS]


class Numbers:
    """What smpplib asks of a client: a number for requests it makes."""

    sequence = 1

    def next_sequence(self) -> int:
        return self.sequence


def theirs(octets: bytes):
    return smpp.parse_pdu(octets, client=Numbers(), allow_unknown_opt_params=True)


def written_by_them(pdu: Pdu) -> bytes:
    made = smpp.make_pdu(pdu.command, client=Numbers())
    # Set one by one: its constructor keeps its own interface_version, whatever is given.
    for name, value in pdu.fields.items():
        setattr(made, name, value)
    made.sequence = pdu.sequence_number
    made.status = pdu.command_status
    return made.generate()


def as_ours(value, field: Field):
    """Bring what they read into our form: text as Latin-1, nothing as empty."""
    if field.kind is Kind.MESSAGE:
        return value or b""
    if field.kind is Kind.INTEGER:
        return value or 0
    return (value or b"").decode("latin-1")


def assert_read_alike(pdu: Pdu, other) -> None:
    assert (other.command, other.status, other.sequence) == (pdu.command, pdu.command_status, pdu.sequence_number)
    if pdu.body_absent:
        return
    for field in COMMAND_BY_NAME[pdu.command].fields:
        assert as_ours(getattr(other, field.name), field) == pdu.fields[field.name], field.name
    for tlv in pdu.tlvs:
        if tlv.name is None or not hasattr(other, tlv.name):
            continue
        if (pdu.command, tlv.name) in divergences.TLVS_IT_MISREADS:
            continue
        value = getattr(other, tlv.name)
        expected = int.from_bytes(tlv.value, "big") if TLV_BY_TAG[tlv.tag].kind is Kind.INTEGER else tlv.value
        if TLV_BY_TAG[tlv.tag].kind is Kind.TEXT:
            expected = tlv.value.rstrip(b"\0")
        assert value == expected, tlv.name


ascii_text = st.characters(min_codepoint=0x20, max_codepoint=0x7E)


def values_of(command: Command, field: Field) -> st.SearchStrategy:
    if field.kind is Kind.INTEGER:
        return st.integers(0, (1 << 8 * field.octets) - 1)
    if field.kind is Kind.TIME:
        return st.sampled_from(["", "261224183000004+", "000001120000000R"])
    if field.kind is Kind.MESSAGE:
        return st.binary(max_size=254)
    # It writes no query without a message_id, which the standard asks for as well (§4.8.1).
    is_wanted = command.name == "query_sm" or not field.may_be_empty
    limit = divergences.LIMIT_OCTETS_IT_LOWERS.get((command.name, field.name), field.octets)
    return st.text(ascii_text, min_size=1 if is_wanted else 0, max_size=limit - 1)


def pdus_of(command: Command) -> st.SearchStrategy:
    return st.builds(
        Pdu,
        command=st.just(command.name),
        command_status=st.just(0) if not command.is_response else st.sampled_from([0, 8, 0x58]),
        sequence_number=st.integers(1, 0x7FFFFFFF),
        fields=st.fixed_dictionaries({field.name: values_of(command, field) for field in command.fields}),
    )


shared_pdu = st.sampled_from(SHARED).flatmap(pdus_of)


@pytest.mark.parametrize("vector", GOLDEN, ids=lambda vector: vector["id"])
def test_golden_pdu_reads_alike(vector):
    octets = bytes.fromhex(vector["hex"])
    pdu = decode(octets)
    if pdu.command in divergences.COMMANDS_IT_LACKS:
        with pytest.raises(exceptions.UnknownCommandError):
            theirs(octets)
    else:
        assert_read_alike(pdu, theirs(octets))


@given(shared_pdu)
def test_what_we_write_they_read(pdu):
    assert_read_alike(pdu, theirs(encode(pdu)))


@given(shared_pdu)
def test_what_they_write_we_read_and_both_write_the_same_octets(pdu):
    octets = written_by_them(pdu)
    read = decode(octets, CARRIER)
    assert read == pdu or read.body_absent
    assert encode(read) == octets


def test_tlvs_of_data_sm_resp_lose_an_octet_with_them():
    tlvs = (
        Tlv(TAG_BY_NAME["delivery_failure_reason"], b"\3"),
        Tlv(TAG_BY_NAME["network_error_code"], b"\3\0\x1b"),
    )
    octets = encode(Pdu(command="data_sm_resp", sequence_number=1, fields={"message_id": "1"}, tlvs=tlvs))
    other = theirs(octets)
    assert (other.delivery_failure_reason, other.network_error_code) == (b"", b"\3\0")
    assert decode(octets).tlvs == tlvs


def test_string_without_nul_is_taken_by_them_and_answered_by_us():
    assert divergences.TAKES_STRINGS_WITHOUT_NUL
    other = theirs(MALFORMED["pub-bad-04"])
    assert other.protocol_id != 0
    with pytest.raises(MalformedPdu):
        decode(MALFORMED["pub-bad-04"])


def test_long_string_is_read_by_them_and_answered_by_us():
    assert divergences.TAKES_LONG_STRINGS
    assert theirs(MALFORMED["pub-bad-08"]).system_id == b"x" * 16
    with pytest.raises(MalformedPdu):
        decode(MALFORMED["pub-bad-08"])


def test_long_string_is_cut_by_them_and_refused_by_us():
    assert divergences.CUTS_LONG_STRINGS
    made = smpp.make_pdu("submit_sm", client=Numbers(), source_addr="1" * 30, destination_addr="2")
    assert decode(made.generate()).fields["source_addr"] == "1" * 20


@pytest.mark.parametrize(("command", "field"), sorted(divergences.LIMIT_OCTETS_IT_LOWERS))
def test_long_address_of_the_standard_is_cut_by_them_and_kept_by_us(command, field):
    pdu = Pdu(command=command, sequence_number=1, fields={field: "1" * 64})
    assert decode(encode(pdu)).fields[field] == "1" * 64
    assert decode(written_by_them(decode(encode(pdu)))).fields[field] == "1" * 20


@pytest.mark.parametrize("name", ["pub-bad-05", "pub-bad-06"])
def test_length_past_the_end_is_taken_by_them_and_answered_by_us(name):
    assert divergences.TAKES_LENGTHS_PAST_THE_END
    assert theirs(MALFORMED[name]).short_message == b"hi"
    with pytest.raises(MalformedPdu):
        decode(MALFORMED[name])


@pytest.mark.parametrize("name", ["pub-bad-07", "pub-bad-09"])
def test_broken_tlv_leaves_struct_error_with_them_and_a_status_with_us(name):
    assert divergences.LEAVES_STRUCT_ERROR
    with pytest.raises(struct.error):
        theirs(MALFORMED[name])
    with pytest.raises(MalformedPdu) as fault:
        decode(MALFORMED[name])
    assert fault.value.command_status in (0xC0, 0xC2)
