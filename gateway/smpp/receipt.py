"""A receipt in one of the forms that the compiled path leaves: taken apart here, judged by the carrier's Reading.

    data_sm                   text in message_payload, or TLVs alone
    UCS-2 body                data_coding 8: decoded first
    header in the text        UDHI: what stands behind the header
    00,0210021543,…,ID        a list with commas, as Vodafone UK sends it (below)

    status, status time, accepted time, error, destination, origin, reserved
    |       |                                                       +- an id of theirs: the message_id
    |       +- DDMMYYhhmm is not told: no time is read
    +- 00 delivered, 01 not, 02 … kept for a word of its own; 01 with error 30 will be tried again
    (Kannel's developers' list, msg02229; nobody published more)

What comes out is the same, field for field, as _fastpath/inbound.pyx makes. Not here: whose receipt it is (recall.pyx).
"""

from datetime import datetime

from msgspec import Struct

from _fastpath.inbound import Reading
from gateway.config import CarrierSettings, zone_of
from gateway.message import RECEIPT_STATES
from gateway.smpp.pdu import Pdu

TYPE_BITS = 0x3C
RECEIPT_TYPES = (0x04, 0x20)
UDHI = 0x40
CODING_BITS, CODING_UCS2 = 0x0C, 0x08
# Longer is no message_id that an SMSC could have given (SMPP 5.0 §4.8.4.43).
MESSAGE_ID_OCTETS = 64
LIST_FIELDS = 7
WILL_RETRY = "30"
DELIVERED, ENROUTE, UNDELIVERABLE, UNKNOWN = 2, 1, 5, -1
_LIST_STATES = {"00": DELIVERED, "01": UNDELIVERABLE}


class Receipt(Struct, frozen=True, kw_only=True):
    """What a receipt says.

    state           0..9, message_state of SMPP 5.0 §4.7.15; -1 = a word outside it
    number, other   source and destination where they are numbers
    done_at_us      microseconds since 2000-01-01 UTC
    raw             the text's octets as they came
    """

    message_id: bytes
    state: int
    err: bytes | None
    number: int | None
    other: int | None
    done_at_us: int | None
    raw: bytes


def reading_of(settings: CarrierSettings) -> Reading:
    """How this carrier's receipts are read; its zone is set by `zone_s`, whose answer changes with the season."""
    state_by_name = {name: state for state, name in RECEIPT_STATES.items() if state >= 0}
    return Reading(
        settings.receipt_recognised_by,
        settings.receipt_prefers,
        {word: state_by_name[name] for word, name in settings.receipt_states.items()},
    )


def zone_s(zone: str, wall: datetime) -> float:
    """How many seconds a zone of the settings is ahead of UTC at a moment: a receipt is about as old as its coming."""
    offset = wall.astimezone(zone_of(zone)).utcoffset()
    return offset.total_seconds() if offset is not None else 0.0


def read(pdu: Pdu, reading: Reading) -> Receipt | None:
    """Read a deliver_sm or data_sm; None when it is no receipt, or none that names a message."""
    esm_class = int(pdu.fields["esm_class"])
    is_typed = esm_class & TYPE_BITS in RECEIPT_TYPES
    raw = bytes(pdu.message)
    text = _plain(raw, esm_class, int(pdu.fields["data_coding"]))
    receipted = pdu.tlv("receipted_message_id")
    state_octet = pdu.tlv("message_state")
    found = reading.read(
        text,
        None if receipted is None else receipted.partition(b"\x00")[0],
        state_octet[0] if state_octet is not None and len(state_octet) == 1 else None,
        pdu.tlv("network_error_code"),
        is_typed,
    )
    message_id, state, err, done_at_us = (
        (found["message_id"], found["state"], found["err"], found["done_at_us"])
        if found is not None
        else _of_list(text, is_typed)
    )
    if not 0 < len(message_id) <= MESSAGE_ID_OCTETS:
        return None
    return Receipt(
        message_id=message_id,
        state=state,
        err=err,
        number=_number(str(pdu.fields["source_addr"])),
        other=_number(str(pdu.fields["destination_addr"])),
        done_at_us=done_at_us,
        raw=raw,
    )


def _plain(octets: bytes, esm_class: int, data_coding: int) -> bytes:
    """The text in an alphabet that has ASCII, behind its header."""
    if esm_class & UDHI and octets:
        octets = octets[octets[0] + 1 :]
    if data_coding & CODING_BITS == CODING_UCS2 and not data_coding & 0xC0 == 0xC0:
        return octets.decode("utf-16-be", "replace").lstrip("\ufeff").encode("latin-1", "replace")
    return octets


def _of_list(text: bytes, is_typed: bool) -> tuple[bytes, int, bytes | None, None]:
    """A receipt as a list with commas; an empty id where it is none. Only its type tells it from a person's list."""
    fields = text.rstrip(b"\x00 \r\n").decode("latin-1").split(",")
    if not is_typed or len(fields) != LIST_FIELDS or not (fields[0].isdecimal() and len(fields[0]) == 2):
        return b"", UNKNOWN, None, None
    state = _LIST_STATES.get(fields[0], UNKNOWN)
    if state == UNDELIVERABLE and fields[3] == WILL_RETRY:
        state = ENROUTE
    return fields[6].strip().encode("latin-1"), state, fields[3].encode("latin-1") or None, None


def _number(address: str) -> int | None:
    address = address.removeprefix("+")
    return int(address) if address.isascii() and address.isdecimal() and len(address) <= 18 else None
