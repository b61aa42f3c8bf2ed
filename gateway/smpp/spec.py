"""SMPP 3.3, 3.4 and 5.0 as tables: commands, their fields, TLVs, bits and limits.

One row here drives decode, encode and validation (pdu.py); nothing else knows where an octet stands.
Not here: what a command_status means (status.py), who may send what and when (session.py), times (times.py).
§ is a section of the SMPP 3.4 issue 1.2 document; rows of 5.0 say so.

A PDU on the wire:

    LL LL LL LL  CC CC CC CC  TT TT TT TT  SS SS SS SS | fields, in the order of the table | TLVs, in any order
    length       id           status       sequence    |                                   | TT TT LL LL value

If you add a command: its row in COMMANDS, its place in session.TABLE; the property tests draw from the rows.
"""

from collections.abc import Container
from enum import IntEnum, IntFlag

from msgspec import Struct

HEADER_OCTETS = 16
RESPONSE_BIT = 0x80000000
MAX_SEQUENCE = 0x7FFFFFFF
# 64 KiB for the largest message_payload and 1 KiB for the fields around it; the same figure as _fastpath/frame.pxd.
MAX_PDU_OCTETS = 65536 + 1024

VERSION_33 = 0x33
VERSION_34 = 0x34
VERSION_50 = 0x50


class Kind(IntEnum):
    """How a field or a TLV value lies on the wire."""

    INTEGER = 0  # `octets` octets, big-endian, unsigned
    TEXT = 1  # C-octet string, at most `octets` with its NUL
    TIME = 2  # C-octet string, empty or 16 characters (times.py)
    OCTETS = 3  # raw; in a TLV only
    MESSAGE = 4  # sm_length, 1 octet, then that many of short_message
    DESTINATIONS = 5  # number_of_dests, 1 octet, then that many of DESTINATION_BY_FLAG
    FAILURES = 6  # no_unsuccess, 1 octet, then that many of FAILURE


class Field(Struct, frozen=True):
    """One mandatory field.

    octets    INTEGER: its width; TEXT, TIME: the most it may have, NUL included; else 0
    fault     the command_status that answers a value outside the limit
    """

    name: str
    kind: Kind
    octets: int
    fault: int
    section: str = ""
    may_be_empty: bool = True


class Tlv(Struct, frozen=True):
    """One optional parameter.

    lengths       the octets its value may have
    values        what an INTEGER may hold; None where all values are taken or reserved ones are to be ignored
    is_repeatable may stand more than once in a PDU
    commands      where it is expected; anywhere else it is ignored
    since         interface_version
    """

    tag: int
    name: str
    kind: Kind
    lengths: Container[int]
    commands: frozenset[str]
    values: Container[int] | None = None
    is_repeatable: bool = False
    since: int = VERSION_34
    section: str = ""


class Command(Struct, frozen=True):
    """One PDU.

    has_response   a request that is answered by `<name>_resp`; False for outbind, alert_notification and responses
    required_tlvs  tags without which the request is refused
    """

    name: str
    id: int
    fields: tuple[Field, ...]
    has_response: bool = False
    since: int = VERSION_33
    section: str = ""
    required_tlvs: tuple[int, ...] = ()

    @property
    def is_response(self) -> bool:
        """Tell a response by its bit, generic_nack included."""
        return self.id >= RESPONSE_BIT


class EsmClass(IntFlag):
    """§5.2.12. The type is `esm_class & TYPE`, the mode `esm_class & MODE`."""

    MODE = 0x03
    MODE_DATAGRAM = 0x01
    MODE_TRANSACTION = 0x02
    MODE_STORE_AND_FORWARD = 0x03
    TYPE = 0x3C
    TYPE_RECEIPT = 0x04
    TYPE_DELIVERY_ACK = 0x08
    TYPE_MANUAL_ACK = 0x10
    TYPE_CONVERSATION_ABORT = 0x18
    TYPE_INTERMEDIATE = 0x20
    UDHI = 0x40
    REPLY_PATH = 0x80


class RegisteredDelivery(IntFlag):
    """§5.2.17. Value 3 of RECEIPT is "on success only" in 5.0 and reserved in 3.4."""

    RECEIPT = 0x03
    RECEIPT_FINAL = 0x01
    RECEIPT_ON_FAILURE = 0x02
    RECEIPT_ON_SUCCESS = 0x03
    SME_DELIVERY_ACK = 0x04
    SME_USER_ACK = 0x08
    INTERMEDIATE = 0x10


class DataCoding(IntEnum):
    """§5.2.19. Above 0x0F stand values of GSM 03.38: take the alphabet from their bits, not from the low nibble."""

    DEFAULT = 0x00
    ASCII = 0x01
    BINARY_ALIAS = 0x02
    LATIN1 = 0x03
    BINARY = 0x04
    JIS = 0x05
    CYRILLIC = 0x06
    HEBREW = 0x07
    UCS2 = 0x08
    PICTOGRAM = 0x09
    ISO_2022_JP = 0x0A
    JIS_X_0212 = 0x0D
    KS_C_5601 = 0x0E
    GSM_FLASH = 0x10
    UCS2_FLASH = 0x18
    GSM_CLASS_0 = 0xF0


class Ton(IntEnum):
    """Type of number, §5.2.5."""

    UNKNOWN = 0
    INTERNATIONAL = 1
    NATIONAL = 2
    NETWORK_SPECIFIC = 3
    SUBSCRIBER = 4
    ALPHANUMERIC = 5
    ABBREVIATED = 6


class Npi(IntEnum):
    """Numbering plan, §5.2.6."""

    UNKNOWN = 0
    ISDN = 1
    DATA = 3
    TELEX = 4
    LAND_MOBILE = 6
    NATIONAL = 8
    PRIVATE = 9
    ERMES = 10
    IP = 14
    WAP = 18


def _int1(name: str, fault: int, section: str = "") -> Field:
    return Field(name, Kind.INTEGER, 1, fault, section)


def _text(name: str, octets: int, fault: int, section: str = "", *, may_be_empty: bool = True) -> Field:
    return Field(name, Kind.TEXT, octets, fault, section, may_be_empty)


# -- fields that several commands share -------------------------------------------------------------------------------
# Faults: 0x0A RINVSRCADR, 0x0B RINVDSTADR, 0x0C RINVMSGID, 0x0D RBINDFAIL, 0x0E RINVPASWD, 0x0F RINVSYSID,
# 0x15 RINVSERTYP, 0x33 RINVNUMDESTS, 0x34 RINVDLNAME, 0x53 RINVSYSTYP, 0x61 RINVSCHED, 0x62 RINVEXPIRY, …

_SYSTEM_ID = _text("system_id", 16, 0x0F, "5.2.1")
_PASSWORD = _text("password", 9, 0x0E, "5.2.2")
_SERVICE_TYPE = _text("service_type", 6, 0x15, "5.2.11")
_MESSAGE_ID = _text("message_id", 65, 0x0C, "5.2.23")
_SCHEDULE = Field("schedule_delivery_time", Kind.TIME, 17, 0x61, "5.2.15")
_VALIDITY = Field("validity_period", Kind.TIME, 17, 0x62, "5.2.16")
_REGISTERED = _int1("registered_delivery", 0x07, "5.2.17")
_REPLACE_FLAG = _int1("replace_if_present_flag", 0x54, "5.2.18")
_DATA_CODING = _int1("data_coding", 0x104, "5.2.19")
_DEFAULT_MESSAGE = _int1("sm_default_msg_id", 0x63, "5.2.20")
_PRIORITY = _int1("priority_flag", 0x06, "5.2.14")
_ESM_CLASS = _int1("esm_class", 0x43, "5.2.12")
_SHORT_MESSAGE = Field("short_message", Kind.MESSAGE, 0, 0x01, "5.2.22")


def _source(octets: int = 21) -> tuple[Field, ...]:
    return (
        _int1("source_addr_ton", 0x48, "5.2.5"),
        _int1("source_addr_npi", 0x49, "5.2.6"),
        _text("source_addr", octets, 0x0A, "5.2.8"),
    )


def _destination(octets: int = 21, *, may_be_empty: bool = True) -> tuple[Field, ...]:
    return (
        _int1("dest_addr_ton", 0x50, "5.2.5"),
        _int1("dest_addr_npi", 0x51, "5.2.6"),
        _text("destination_addr", octets, 0x0B, "5.2.9", may_be_empty=may_be_empty),
    )


_BIND = (
    _SYSTEM_ID,
    _PASSWORD,
    _text("system_type", 13, 0x53, "5.2.3"),
    _int1("interface_version", 0x0D, "5.2.4"),
    _int1("addr_ton", 0x0D, "5.2.5"),
    _int1("addr_npi", 0x0D, "5.2.6"),
    _text("address_range", 41, 0x0D, "5.2.7"),
)
_BIND_RESP = (_SYSTEM_ID,)
# From field 8 on, submit_multi is submit_sm again.
_TAIL = (
    _ESM_CLASS,
    _int1("protocol_id", 0x08, "5.2.13"),
    _PRIORITY,
    _SCHEDULE,
    _VALIDITY,
    _REGISTERED,
    _REPLACE_FLAG,
    _DATA_CODING,
    _DEFAULT_MESSAGE,
    _SHORT_MESSAGE,
)

DESTINATION_BY_FLAG: dict[int, tuple[Field, ...]] = {
    1: _destination(may_be_empty=False),
    2: (_text("dl_name", 21, 0x34, "5.2.27", may_be_empty=False),),
}
FAILURE = (*_destination(), Field("error_status_code", Kind.INTEGER, 4, 0x08, "5.2.26"))

COMMANDS: tuple[Command, ...] = (
    Command("generic_nack", 0x80000000, (), section="4.3"),
    Command("bind_receiver", 0x00000001, _BIND, True, section="4.1.3"),
    Command("bind_receiver_resp", 0x80000001, _BIND_RESP, section="4.1.4"),
    Command("bind_transmitter", 0x00000002, _BIND, True, section="4.1.1"),
    Command("bind_transmitter_resp", 0x80000002, _BIND_RESP, section="4.1.2"),
    Command("query_sm", 0x00000003, (_MESSAGE_ID, *_source()), True, section="4.8.1"),
    Command(
        "query_sm_resp",
        0x80000003,
        (
            _MESSAGE_ID,
            Field("final_date", Kind.TIME, 17, 0x08, "7.1.1"),
            _int1("message_state", 0x08, "5.2.28"),
            _int1("error_code", 0x08),
        ),
        section="4.8.2",
    ),
    Command(
        "submit_sm",
        0x00000004,
        (_SERVICE_TYPE, *_source(), *_destination(may_be_empty=False), *_TAIL),
        True,
        section="4.4.1",
    ),
    Command("submit_sm_resp", 0x80000004, (_MESSAGE_ID,), section="4.4.2"),
    Command("deliver_sm", 0x00000005, (_SERVICE_TYPE, *_source(), *_destination(), *_TAIL), True, section="4.6.1"),
    Command("deliver_sm_resp", 0x80000005, (_MESSAGE_ID,), section="4.6.2"),
    Command("unbind", 0x00000006, (), True, section="4.2.1"),
    Command("unbind_resp", 0x80000006, (), section="4.2.2"),
    Command(
        "replace_sm",
        0x00000007,
        (_MESSAGE_ID, *_source(), _SCHEDULE, _VALIDITY, _REGISTERED, _DEFAULT_MESSAGE, _SHORT_MESSAGE),
        True,
        section="4.10.1",
    ),
    Command("replace_sm_resp", 0x80000007, (), section="4.10.2"),
    Command("cancel_sm", 0x00000008, (_SERVICE_TYPE, _MESSAGE_ID, *_source(), *_destination()), True, section="4.9.1"),
    Command("cancel_sm_resp", 0x80000008, (), section="4.9.2"),
    Command("bind_transceiver", 0x00000009, _BIND, True, VERSION_34, "4.1.5"),
    Command("bind_transceiver_resp", 0x80000009, _BIND_RESP, since=VERSION_34, section="4.1.6"),
    Command("outbind", 0x0000000B, (_SYSTEM_ID, _PASSWORD), False, VERSION_34, "4.1.7"),
    Command("enquire_link", 0x00000015, (), True, section="4.11.1"),
    Command("enquire_link_resp", 0x80000015, (), section="4.11.2"),
    Command(
        "submit_multi",
        0x00000021,
        (_SERVICE_TYPE, *_source(), Field("dest_address", Kind.DESTINATIONS, 0, 0x33, "4.5.1.1"), *_TAIL),
        True,
        section="4.5.1",
    ),
    Command(
        "submit_multi_resp",
        0x80000021,
        (_MESSAGE_ID, Field("unsuccess_sme", Kind.FAILURES, 0, 0x08, "4.5.2.1")),
        section="4.5.2",
    ),
    Command(
        "alert_notification",
        0x00000102,
        (
            *_source(65),
            _int1("esme_addr_ton", 0x08, "5.2.5"),
            _int1("esme_addr_npi", 0x08, "5.2.6"),
            _text("esme_addr", 65, 0x08, "5.2.10"),
        ),
        False,
        VERSION_34,
        "4.12.1",
    ),
    Command(
        "data_sm",
        0x00000103,
        (_SERVICE_TYPE, *_source(65), *_destination(65), _ESM_CLASS, _REGISTERED, _DATA_CODING),
        True,
        VERSION_34,
        "4.7.1",
    ),
    Command("data_sm_resp", 0x80000103, (_MESSAGE_ID,), since=VERSION_34, section="4.7.2"),
    Command(
        "broadcast_sm",
        0x00000111,
        (
            _SERVICE_TYPE,
            *_source(),
            _MESSAGE_ID,
            _PRIORITY,
            _SCHEDULE,
            _VALIDITY,
            _REPLACE_FLAG,
            _DATA_CODING,
            _DEFAULT_MESSAGE,
        ),
        True,
        VERSION_50,
        "5.0 4.4.1",
        required_tlvs=(0x0606, 0x0601, 0x0604, 0x0605),
    ),
    Command("broadcast_sm_resp", 0x80000111, (_MESSAGE_ID,), since=VERSION_50, section="5.0 4.4.1"),
    Command("query_broadcast_sm", 0x00000112, (_MESSAGE_ID, *_source()), True, VERSION_50, "5.0 4.6.1"),
    Command("query_broadcast_sm_resp", 0x80000112, (_MESSAGE_ID,), since=VERSION_50, section="5.0 4.6.1"),
    Command("cancel_broadcast_sm", 0x00000113, (_SERVICE_TYPE, _MESSAGE_ID, *_source()), True, VERSION_50, "5.0 4.6.2"),
    Command("cancel_broadcast_sm_resp", 0x80000113, (), since=VERSION_50, section="5.0 4.6.2"),
)

COMMAND_BY_ID: dict[int, Command] = {command.id: command for command in COMMANDS}
COMMAND_BY_NAME: dict[str, Command] = {command.name: command for command in COMMANDS}
BINDS: frozenset[str] = frozenset({"bind_receiver", "bind_transmitter", "bind_transceiver"})

# -- TLVs -------------------------------------------------------------------------------------------------------------

_SUBMISSION = frozenset({"submit_sm", "submit_multi", "data_sm"})
_DELIVERY = frozenset({"deliver_sm", "data_sm"})
_SUBMISSION_RESP = frozenset({"submit_sm_resp", "submit_multi_resp", "data_sm_resp"})
_DELIVERY_RESP = frozenset({"deliver_sm_resp", "data_sm_resp"})
_BROADCAST = frozenset({"broadcast_sm"})
_BROADCAST_RESPS = frozenset({"broadcast_sm_resp", "query_broadcast_sm_resp"})
_BROADCAST_CARE = frozenset({"query_broadcast_sm", "query_broadcast_sm_resp", "cancel_broadcast_sm"})
_BIND_RESPS = frozenset({"bind_receiver_resp", "bind_transmitter_resp", "bind_transceiver_resp"})
_RESPONSES = frozenset(command.name for command in COMMANDS if command.is_response)
_BOTH = _SUBMISSION | _DELIVERY
_ALL = _BOTH | _BROADCAST


def _int(
    tag: int, name: str, octets: int, where: frozenset[str], section: str, values: Container[int] | None = None
) -> Tlv:
    return Tlv(tag, name, Kind.INTEGER, (octets,), where, values, section=section)


def _raw(
    tag: int, name: str, lengths: Container[int], where: frozenset[str], section: str, is_repeatable: bool = False
) -> Tlv:
    return Tlv(tag, name, Kind.OCTETS, lengths, where, is_repeatable=is_repeatable, section=section)


def _five(
    tag: int,
    name: str,
    kind: Kind,
    lengths: Container[int],
    where: frozenset[str],
    values: Container[int] | None = None,
    is_repeatable: bool = False,
) -> Tlv:
    """A row of 5.0; § 4.8.4 of that document, whose rows stand in alphabetical order."""
    return Tlv(tag, name, kind, lengths, where, values, is_repeatable, VERSION_50, "5.0 4.8.4")


# `values` is closed only where the document lists every value and names no reserved ones to be ignored: networks,
# bearers, languages and USSD operations grow by vendor.
TLVS: tuple[Tlv, ...] = (
    _int(0x0005, "dest_addr_subunit", 1, _ALL, "5.3.2.1", range(5)),
    _int(0x0006, "dest_network_type", 1, _SUBMISSION, "5.3.2.3"),
    _int(0x0007, "dest_bearer_type", 1, _SUBMISSION, "5.3.2.5"),
    _int(0x0008, "dest_telematics_id", 2, _SUBMISSION, "5.3.2.7"),
    _int(0x000D, "source_addr_subunit", 1, _ALL, "5.3.2.2", range(5)),
    # deliver_sm is 3.4 practice, not its text.
    _int(0x000E, "source_network_type", 1, _BOTH, "5.3.2.4"),
    _int(0x000F, "source_bearer_type", 1, _SUBMISSION, "5.3.2.6"),
    _int(0x0010, "source_telematics_id", 1, _SUBMISSION, "5.3.2.8"),
    _int(0x0017, "qos_time_to_live", 4, _SUBMISSION, "5.3.2.9"),
    _int(0x0019, "payload_type", 1, _ALL, "5.3.2.10", range(2)),
    Tlv(
        0x001D,
        "additional_status_info_text",
        Kind.TEXT,
        range(1, 257),
        _SUBMISSION_RESP | _DELIVERY_RESP,
        section="5.3.2.11",
    ),
    Tlv(0x001E, "receipted_message_id", Kind.TEXT, range(1, 66), _DELIVERY, section="5.3.2.12"),
    _int(0x0030, "ms_msg_wait_facilities", 1, _SUBMISSION, "5.3.2.13"),
    _int(0x0201, "privacy_indicator", 1, _ALL, "5.3.2.14", range(4)),
    _raw(0x0202, "source_subaddress", range(2, 24), _ALL, "5.3.2.15"),
    _raw(0x0203, "dest_subaddress", range(2, 24), _ALL - {"submit_multi"}, "5.3.2.16"),
    _int(0x0204, "user_message_reference", 2, _ALL | _BROADCAST_CARE, "5.3.2.17"),
    _int(0x0205, "user_response_code", 1, _BOTH, "5.3.2.18"),
    _int(0x020A, "source_port", 2, _ALL, "5.3.2.20"),
    _int(0x020B, "destination_port", 2, _ALL, "5.3.2.21"),
    _int(0x020C, "sar_msg_ref_num", 2, _BOTH, "5.3.2.22"),
    _int(0x020D, "language_indicator", 1, _ALL, "5.3.2.19"),
    _int(0x020E, "sar_total_segments", 1, _BOTH, "5.3.2.23", range(1, 256)),
    _int(0x020F, "sar_segment_seqnum", 1, _BOTH, "5.3.2.24", range(1, 256)),
    _int(0x0210, "sc_interface_version", 1, _BIND_RESPS, "5.3.2.25"),
    _int(0x0302, "callback_num_pres_ind", 1, _ALL, "5.3.2.37"),
    _raw(0x0303, "callback_num_atag", range(66), _ALL, "5.3.2.38", is_repeatable=True),
    _int(0x0304, "number_of_messages", 1, _SUBMISSION, "5.3.2.39", range(100)),
    _raw(0x0381, "callback_num", range(4, 20), _ALL, "5.3.2.36", is_repeatable=True),
    _int(0x0420, "dpf_result", 1, _SUBMISSION_RESP | _DELIVERY, "5.3.2.28", range(2)),
    _int(0x0421, "set_dpf", 1, _SUBMISSION, "5.3.2.29", range(2)),
    _int(0x0422, "ms_availability_status", 1, frozenset({"alert_notification"}), "5.3.2.30", range(3)),
    _raw(0x0423, "network_error_code", (3,), _SUBMISSION_RESP | _DELIVERY_RESP | _DELIVERY, "5.3.2.31"),
    _raw(0x0424, "message_payload", range(65536), _ALL | {"replace_sm"}, "5.3.2.32"),
    _int(0x0425, "delivery_failure_reason", 1, _SUBMISSION_RESP | _DELIVERY_RESP, "5.3.2.33", range(4)),
    _int(0x0426, "more_messages_to_send", 1, _SUBMISSION, "5.3.2.34", range(2)),
    _int(0x0427, "message_state", 1, _DELIVERY | {"query_broadcast_sm_resp"}, "5.3.2.35", range(10)),
    _five(0x0428, "congestion_state", Kind.INTEGER, (1,), _RESPONSES, range(101)),
    _int(0x0501, "ussd_service_op", 1, _BOTH, "5.3.2.44"),
    _five(0x0600, "broadcast_channel_indicator", Kind.INTEGER, (1,), _BROADCAST, range(2)),
    _five(0x0601, "broadcast_content_type", Kind.OCTETS, (3,), _BROADCAST | {"cancel_broadcast_sm"}),
    _five(0x0602, "broadcast_content_type_info", Kind.OCTETS, range(1, 256), _BROADCAST),
    _five(0x0603, "broadcast_message_class", Kind.INTEGER, (1,), _BROADCAST),
    _five(0x0604, "broadcast_rep_num", Kind.INTEGER, (2,), _BROADCAST),
    _five(0x0605, "broadcast_frequency_interval", Kind.OCTETS, (3,), _BROADCAST),
    # In broadcast_sm_resp the same tag is called failed_broadcast_area_identifier.
    _five(
        0x0606,
        "broadcast_area_identifier",
        Kind.OCTETS,
        range(1, 102),
        _BROADCAST | _BROADCAST_RESPS,
        is_repeatable=True,
    ),
    _five(0x0607, "broadcast_error_status", Kind.INTEGER, (4,), frozenset({"broadcast_sm_resp"}), is_repeatable=True),
    _five(
        0x0608,
        "broadcast_area_success",
        Kind.INTEGER,
        (1,),
        frozenset({"query_broadcast_sm_resp"}),
        (*range(101), 255),
        True,
    ),
    _five(0x0609, "broadcast_end_time", Kind.TIME, (1, 16, 17), frozenset({"query_broadcast_sm_resp"})),
    _five(0x060A, "broadcast_service_group", Kind.OCTETS, range(1, 256), _BROADCAST),
    _five(0x060B, "billing_identification", Kind.OCTETS, range(1, 1025), _SUBMISSION),
    _five(0x060D, "source_network_id", Kind.TEXT, range(7, 66), _BOTH),
    _five(0x060E, "dest_network_id", Kind.TEXT, range(7, 66), _BOTH),
    _five(0x060F, "source_node_id", Kind.OCTETS, (6,), _BOTH),
    _five(0x0610, "dest_node_id", Kind.OCTETS, (6,), _BOTH),
    _five(0x0611, "dest_addr_np_resolution", Kind.INTEGER, (1,), _BOTH),
    _five(0x0612, "dest_addr_np_information", Kind.OCTETS, (10,), _BOTH),
    _five(0x0613, "dest_addr_np_country", Kind.OCTETS, range(1, 6), _BOTH),
    _int(0x1201, "display_time", 1, _SUBMISSION | _BROADCAST, "5.3.2.26", range(3)),
    _int(0x1203, "sms_signal", 2, _SUBMISSION | _BROADCAST, "5.3.2.40"),
    _raw(0x1204, "ms_validity", (1, 4), _SUBMISSION | _BROADCAST, "5.3.2.27"),
    _raw(0x130C, "alert_on_message_delivery", (0, 1), _ALL, "5.3.2.41"),
    _int(0x1380, "its_reply_type", 1, _BOTH, "5.3.2.42"),
    _raw(0x1383, "its_session_info", (2,), _BOTH, "5.3.2.43"),
)

TLV_BY_TAG: dict[int, Tlv] = {tlv.tag: tlv for tlv in TLVS}
TAG_BY_NAME: dict[str, int] = {tlv.name: tlv.tag for tlv in TLVS}


def is_vendor_tag(tag: int) -> bool:
    """Tell a TLV whose meaning is the carrier's own (§5.3.1: 0x1400 to 0x3FFF)."""
    return 0x1400 <= tag <= 0x3FFF
