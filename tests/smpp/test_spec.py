"""The tables agree with themselves; that they agree with the standard is what the golden PDUs say."""

from gateway.smpp.spec import (
    COMMAND_BY_NAME,
    COMMANDS,
    RESPONSE_BIT,
    TLV_BY_TAG,
    TLVS,
    Kind,
    is_vendor_tag,
)
from gateway.smpp.status import STATUS_BY_VALUE


def test_ids_and_names_of_commands_are_unique():
    assert len({command.id for command in COMMANDS}) == len({command.name for command in COMMANDS}) == len(COMMANDS)


def test_every_request_with_a_response_has_it_under_its_own_id():
    for command in COMMANDS:
        if command.has_response:
            assert COMMAND_BY_NAME[command.name + "_resp"].id == command.id | RESPONSE_BIT


def test_only_outbind_and_alert_notification_are_requests_without_response():
    silent = {command.name for command in COMMANDS if not command.is_response and not command.has_response}
    assert silent == {"outbind", "alert_notification"}


def test_every_row_names_its_section():
    assert all(command.section for command in COMMANDS)
    assert all(tlv.section for tlv in TLVS)


def test_every_fault_of_a_field_is_a_status_of_the_standard():
    assert all(field.fault in STATUS_BY_VALUE for command in COMMANDS for field in command.fields)


def test_field_names_do_not_repeat_in_a_command():
    for command in COMMANDS:
        names = [field.name for field in command.fields]
        assert len(set(names)) == len(names)


def test_tags_and_names_of_tlvs_are_unique():
    assert len(TLV_BY_TAG) == len({tlv.name for tlv in TLVS}) == len(TLVS)


def test_tlvs_are_expected_only_in_commands_there_are():
    assert all(name in COMMAND_BY_NAME for tlv in TLVS for name in tlv.commands)
    assert all(tag in TLV_BY_TAG for command in COMMANDS for tag in command.required_tlvs)


def test_integer_tlvs_have_one_width_and_values_that_fit_it():
    for tlv in TLVS:
        if tlv.kind is Kind.INTEGER:
            (octets,) = tlv.lengths
            assert tlv.values is None or max(tlv.values) < 1 << (8 * octets)


def test_vendor_tags_are_none_of_the_standard():
    assert is_vendor_tag(0x1400)
    assert is_vendor_tag(0x3FFF)
    assert not is_vendor_tag(0x13FF)
    assert not any(is_vendor_tag(tag) for tag in TLV_BY_TAG)
