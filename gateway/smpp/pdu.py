"""PDUs between octets and fields, by the tables of spec.py.

This is the road of every PDU that is not hot: binds, queries, cancels, broadcasts, whatever a peer sends before a
bind, and all of them in tests and in `sluice codec`. submit_sm and deliver_sm of a bound link go through
_fastpath (outbound, inbound) and never come here.
Not here: framing (_fastpath/frame.pyx), what a session allows (session.py), the meaning of a status (status.py).

A fault names what to answer, as the table "bad PDU" of the standard's error codes has it:

    mandatory part ends early, no NUL      RINVCMDLEN 0x02
    sm_length past the end                 RINVMSGLEN 0x01
    string longer than its limit           the field's own code
    stray octets, TLV past the end         RINVTLVSTREAM 0xC0
    known TLV: length, value, missing      0xC2, 0xC4, 0xC3
    unknown TLV, TLV of another PDU        nothing: it is carried, and ignored
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from _fastpath.faults import MalformedPdu
from gateway.errors import EncodeError
from gateway.smpp import times
from gateway.smpp.spec import (
    COMMAND_BY_ID,
    COMMAND_BY_NAME,
    DESTINATION_BY_FLAG,
    FAILURE,
    HEADER_OCTETS,
    TAG_BY_NAME,
    TLV_BY_TAG,
    Command,
    Field,
    Kind,
)

_RINVMSGLEN = 0x01
_RINVCMDLEN = 0x02
_RINVCMDID = 0x03
_RINVDESTFLAG = 0x40
_RINVTLVSTREAM = 0xC0
_RINVTLVLEN = 0xC2
_RMISSINGTLV = 0xC3
_RINVTLVVAL = 0xC4


class Tolerance(Struct, frozen=True, kw_only=True):
    """What of a sound-looking PDU is forgiven. Structure never is: a read stays inside the PDU whatever is set.

    any_value        TLVs may have any length and value, times any characters, lists no entries
    any_length       strings may exceed their limits
    stray_nul        one NUL behind short_message that sm_length does not count, seen from several SMSCs
    password_octets  the limit of `password`, NUL included; carriers are known to issue longer ones than 9
    """

    any_value: bool = False
    any_length: bool = False
    stray_nul: bool = False
    password_octets: int = 9


STRICT = Tolerance()
# Towards a carrier a receipt is worth more than the rule: none is refused for an odd TLV.
CARRIER = Tolerance(any_value=True, stray_nul=True)
# The structure and nothing else.
ANYTHING = Tolerance(any_value=True, any_length=True, stray_nul=True)


class Tlv(NamedTuple):
    """One optional parameter as it stood on the wire."""

    tag: int
    value: bytes

    @property
    def name(self) -> str | None:
        """The name of the table; None for a tag it does not have."""
        row = TLV_BY_TAG.get(self.tag)
        return row.name if row else None


class Pdu(Struct, frozen=True, kw_only=True):
    """One PDU.

    fields       by the names of spec.py: int, str (Latin-1), bytes for short_message, and for submit_multi a list
                 of mappings; sm_length and the counts are derived, not kept
    tlvs         in wire order, unknown ones too
    body_absent  a response whose table has fields and whose wire had none
    """

    command: str
    command_status: int = 0
    sequence_number: int = 0
    fields: Mapping[str, Any] = {}
    tlvs: tuple[Tlv, ...] = ()
    body_absent: bool = False
    unknown_id: int = 0

    @property
    def command_id(self) -> int:
        """The number of the command."""
        return COMMAND_BY_NAME[self.command].id if self.command else self.unknown_id

    @property
    def is_response(self) -> bool:
        """Tell a response, generic_nack included, by its bit."""
        return self.command_id >= 0x80000000

    def tlv(self, name: str) -> bytes | None:
        """Find a TLV by name; the first one wins when it stands twice."""
        tag = TAG_BY_NAME[name]
        for found in self.tlvs:
            if found.tag == tag:
                return found.value
        return None

    def tlv_integer(self, name: str) -> int | None:
        """Find a TLV by name and read it as a big-endian number, whatever its width; None when absent or empty."""
        value = self.tlv(name)
        return int.from_bytes(value, "big") if value else None

    @property
    def message(self) -> bytes:
        """The user data, wherever it travels: short_message, or message_payload when that is empty."""
        return self.fields.get("short_message") or self.tlv("message_payload") or b""


# -- octets -> fields -------------------------------------------------------------------------------------------------


def header(octets: bytes | memoryview) -> tuple[int, int, int, int]:
    """Read command_length, command_id, command_status and sequence_number of at least 16 octets."""
    number = int.from_bytes
    return (
        number(octets[0:4], "big"),
        number(octets[4:8], "big"),
        number(octets[8:12], "big"),
        number(octets[12:16], "big"),
    )


def decode(octets: bytes, tolerance: Tolerance = STRICT) -> Pdu:
    """Decode one whole PDU.

    raises  MalformedPdu: what is wrong, the command_status that answers it, where
    cost    about 0.4 us a field; every length is checked against the end
    """
    pdu, fault = salvage(octets, tolerance)
    if fault is not None:
        raise fault
    return pdu


def salvage(octets: bytes, tolerance: Tolerance = STRICT) -> tuple[Pdu, MalformedPdu | None]:
    """Decode what can be read: the header always, then fields and TLVs up to the fault, which comes beside.

    A response settles its request by its header alone, and a message_id in front of broken TLVs is worth keeping.
    raises  MalformedPdu only where there is no whole PDU: under 16 octets, or another length than command_length
    """
    if len(octets) < HEADER_OCTETS:
        raise MalformedPdu(f"{len(octets)} octets, at least {HEADER_OCTETS}", _RINVCMDLEN, 0)
    length, command_id, status, sequence = header(octets)
    if length != len(octets):
        raise MalformedPdu(f"command_length {length}, found {len(octets)} octets", _RINVCMDLEN, 0)
    command = COMMAND_BY_ID.get(command_id)
    if command is None:
        pdu = Pdu(command="", command_status=status, sequence_number=sequence, unknown_id=command_id)
        return pdu, MalformedPdu(f"command_id 0x{command_id:08x}: unknown", _RINVCMDID, 4)
    body_absent = command.is_response and bool(command.fields) and length == HEADER_OCTETS
    fields: dict[str, Any] = {}
    tlvs: list[Tlv] = []
    fault = None
    if not body_absent:
        cursor = _Cursor(octets, command, tolerance)
        try:
            cursor.fields(command.fields, fields)
            cursor.tlvs(tlvs)
        except MalformedPdu as found:
            fault = found
    pdu = Pdu(
        command=command.name,
        command_status=status,
        sequence_number=sequence,
        fields=fields,
        tlvs=tuple(tlvs),
        body_absent=body_absent,
    )
    return pdu, fault


class _Cursor:
    """A place in the body of one PDU. Every read checks the end first."""

    __slots__ = ("_checks_length", "_checks_value", "_command", "_octets", "_offset", "_tolerance")

    def __init__(self, octets: bytes, command: Command, tolerance: Tolerance):
        self._octets = octets
        self._offset = HEADER_OCTETS
        self._command = command
        self._tolerance = tolerance
        # Nothing answers a response, so refusing a value in one could only lose what it says.
        self._checks_length = not (tolerance.any_length or command.is_response)
        self._checks_value = not (tolerance.any_value or command.is_response)

    def _fault(self, name: str, what: str, status: int) -> MalformedPdu:
        return MalformedPdu(f"{self._command.name}.{name}: {what}", status, self._offset)

    def fields(self, table: Sequence[Field], into: dict[str, Any]) -> None:
        for field in table:
            if field.kind is Kind.INTEGER:
                into[field.name] = self._integer(field.name, field.octets)
            elif field.kind is Kind.TEXT or field.kind is Kind.TIME:
                into[field.name] = self._text(field)
            elif field.kind is Kind.MESSAGE:
                into[field.name] = self._message()
            else:
                into[field.name] = self._list(field)

    def _integer(self, name: str, width: int) -> int:
        end = self._offset + width
        if end > len(self._octets):
            raise self._fault(name, f"the PDU ends {end - len(self._octets)} octets early", _RINVCMDLEN)
        value = int.from_bytes(self._octets[self._offset : end], "big")
        self._offset = end
        return value

    def _text(self, field: Field) -> str:
        limit = field.octets
        if field.name == "password":
            limit = self._tolerance.password_octets
        end = self._octets.find(0, self._offset)
        if self._checks_length:
            found = (end if end >= 0 else len(self._octets)) - self._offset
            if found >= limit:
                raise self._fault(field.name, f"{found} octets, at most {limit - 1} and a NUL", field.fault)
        if end < 0:
            raise self._fault(field.name, "no NUL before the end of the PDU", _RINVCMDLEN)
        text = self._octets[self._offset : end].decode("latin-1")
        if self._checks_value:
            if not text and not field.may_be_empty:
                raise self._fault(field.name, "empty", field.fault)
            if field.kind is Kind.TIME:
                try:
                    times.parse(text)
                except ValueError as wrong:
                    raise self._fault(field.name, str(wrong), field.fault) from None
        self._offset = end + 1
        return text

    def _message(self) -> bytes:
        length = self._integer("sm_length", 1)
        end = self._offset + length
        if end > len(self._octets):
            raise self._fault("sm_length", f"{length} octets, {len(self._octets) - self._offset} follow", _RINVMSGLEN)
        message = self._octets[self._offset : end]
        self._offset = end
        return message

    def _list(self, field: Field) -> list[dict[str, Any]]:
        is_destinations = field.kind is Kind.DESTINATIONS
        count = self._integer("number_of_dests" if is_destinations else "no_unsuccess", 1)
        if count == 0 and is_destinations and self._checks_value:
            raise self._fault(field.name, "no destination, at least 1", field.fault)
        entries: list[dict[str, Any]] = []
        for _ in range(count):
            entry: dict[str, Any] = {}
            table: Sequence[Field] = FAILURE
            if is_destinations:
                flag = self._integer("dest_flag", 1)
                if flag not in DESTINATION_BY_FLAG:
                    self._offset -= 1
                    raise self._fault("dest_flag", f"{flag}, expected 1 or 2", _RINVDESTFLAG)
                entry["dest_flag"] = flag
                table = DESTINATION_BY_FLAG[flag]
            self.fields(table, entry)
            entries.append(entry)
        return entries

    def tlvs(self, into: list[Tlv]) -> None:
        start = self._offset
        try:
            self._walk(into)
        except MalformedPdu:
            skip = self._tolerance.stray_nul and self._octets[start : start + 1] == b"\0"
            if not (skip and any(field.kind is Kind.MESSAGE for field in self._command.fields)):
                raise
            into.clear()
            self._offset = start + 1
            self._walk(into)
        if self._checks_value and self._command.required_tlvs:
            present = {tlv.tag for tlv in into}
            for tag in self._command.required_tlvs:
                if tag not in present:
                    raise self._fault(TLV_BY_TAG[tag].name, "missing", _RMISSINGTLV)

    def _walk(self, into: list[Tlv]) -> None:
        octets = self._octets
        while self._offset < len(octets):
            left = len(octets) - self._offset
            if left < 4:
                raise self._fault("tlv", f"{left} stray octets, a TLV has at least 4", _RINVTLVSTREAM)
            tag = int.from_bytes(octets[self._offset : self._offset + 2], "big")
            length = int.from_bytes(octets[self._offset + 2 : self._offset + 4], "big")
            if length > left - 4:
                raise self._fault(f"tlv 0x{tag:04x}", f"{length} octets, {left - 4} follow", _RINVTLVSTREAM)
            value = octets[self._offset + 4 : self._offset + 4 + length]
            if self._checks_value:
                self._check(tag, value)
            into.append(Tlv(tag, value))
            self._offset += 4 + length

    def _check(self, tag: int, value: bytes) -> None:
        row = TLV_BY_TAG.get(tag)
        if row is None or self._command.name not in row.commands:
            return
        if len(value) not in row.lengths:
            raise self._fault(row.name, f"{len(value)} octets, which this TLV cannot have", _RINVTLVLEN)
        if row.values is not None and int.from_bytes(value, "big") not in row.values:
            raise self._fault(row.name, f"value {int.from_bytes(value, 'big')}, which is reserved", _RINVTLVVAL)


# -- fields -> octets -------------------------------------------------------------------------------------------------


def encode(pdu: Pdu, tolerance: Tolerance = STRICT) -> bytes:
    """Encode a PDU; a field that is not given is empty or 0, lengths and counts are derived.

    raises  EncodeError: field, what was given, what fits
    """
    command = COMMAND_BY_NAME.get(pdu.command)
    if command is None:
        raise EncodeError(f"command {pdu.command!r}: unknown")
    body = bytearray()
    if not pdu.body_absent:
        known = {field.name for field in command.fields}
        for name in pdu.fields:
            if name not in known:
                raise EncodeError(f"{pdu.command}.{name}: no such field")
        for field in command.fields:
            _put(body, field, pdu.fields, pdu.command, tolerance)
        for tag, value in pdu.tlvs:
            if not 0 <= tag <= 0xFFFF or len(value) > 0xFFFF:
                raise EncodeError(
                    f"{pdu.command}.tlv 0x{tag:04x}: {len(value)} octets, at most 65535 and a 2-octet tag"
                )
            body += tag.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value
    for name, number in (("command_status", pdu.command_status), ("sequence_number", pdu.sequence_number)):
        if not 0 <= number <= 0xFFFFFFFF:
            raise EncodeError(f"{pdu.command}.{name}: {number}, expected 4 octets")
    return b"".join(
        part.to_bytes(4, "big")
        for part in (HEADER_OCTETS + len(body), command.id, pdu.command_status, pdu.sequence_number)
    ) + bytes(body)


def _put(body: bytearray, field: Field, fields: Mapping[str, Any], where: str, tolerance: Tolerance) -> None:
    value = fields.get(field.name)
    name = f"{where}.{field.name}"
    if field.kind is Kind.INTEGER:
        number = 0 if value is None else value
        if not isinstance(number, int) or not 0 <= number < 1 << (8 * field.octets):
            raise EncodeError(f"{name}: {number!r}, expected a number of {field.octets} octets (§{field.section})")
        body += number.to_bytes(field.octets, "big")
    elif field.kind is Kind.TEXT or field.kind is Kind.TIME:
        body += _text_octets(name, field, "" if value is None else value, tolerance)
    elif field.kind is Kind.MESSAGE:
        message = b"" if value is None else value
        if not isinstance(message, (bytes, bytearray, memoryview)) or len(message) > 255:
            raise EncodeError(f"{name}: {message!r:.40}, expected at most 255 octets (§{field.section})")
        body.append(len(message))
        body += message
    else:
        entries = [] if value is None else value
        if len(entries) > 255:
            raise EncodeError(f"{name}: {len(entries)} entries, at most 255 (§{field.section})")
        body.append(len(entries))
        for entry in entries:
            table: Sequence[Field] = FAILURE
            if field.kind is Kind.DESTINATIONS:
                flag = entry.get("dest_flag")
                if flag not in DESTINATION_BY_FLAG:
                    raise EncodeError(f"{name}.dest_flag: {flag!r}, expected 1 or 2")
                body.append(flag)
                table = DESTINATION_BY_FLAG[flag]
            for part in table:
                _put(body, part, entry, name, tolerance)


def _text_octets(name: str, field: Field, text: Any, tolerance: Tolerance) -> bytes:
    limit = tolerance.password_octets if field.name == "password" else field.octets
    if not isinstance(text, str) or "\0" in text:
        raise EncodeError(f"{name}: {text!r:.40}, expected text without a NUL (§{field.section})")
    try:
        octets = text.encode("latin-1")
    except UnicodeEncodeError as wrong:
        raise EncodeError(f"{name}: {text[wrong.start]!r} at {wrong.start}, expected Latin-1") from None
    if len(octets) >= limit and not tolerance.any_length:
        raise EncodeError(f"{name}: {len(octets)} octets, at most {limit - 1} and a NUL (§{field.section})")
    if field.kind is Kind.TIME and not tolerance.any_value and len(octets) not in (0, 16):
        raise EncodeError(f"{name}: {len(octets)} octets, expected none or 16 (§{field.section})")
    return octets + b"\0"


# -- the form of JSON -------------------------------------------------------------------------------------------------


def to_json(pdu: Pdu, command_length: int) -> dict[str, Any]:
    """Lay a PDU out as the conformance vectors have it: short_message in hex behind its sm_length, TLVs with names."""
    fields: dict[str, Any] = {}
    for name, value in pdu.fields.items():
        if name == "short_message":
            fields["sm_length"] = len(value)
            value = value.hex()
        fields[name] = value
    return {
        "command": pdu.command,
        "command_length": command_length,
        "command_id": pdu.command_id,
        "command_status": pdu.command_status,
        "sequence_number": pdu.sequence_number,
        "body_absent": pdu.body_absent,
        "fields": fields,
        "tlvs": [{"tag": tlv.tag, "hex": tlv.value.hex(), "name": tlv.name} for tlv in pdu.tlvs],
    }


def from_json(decoded: Mapping[str, Any]) -> Pdu:
    """Take back what `to_json` laid out; lengths, ids and names of TLVs are ignored, since they are derived.

    raises  ValueError, KeyError or TypeError on another shape
    """
    fields = {name: value for name, value in decoded["fields"].items() if name != "sm_length"}
    if "short_message" in fields:
        fields["short_message"] = bytes.fromhex(fields["short_message"])
    return Pdu(
        command=decoded["command"],
        command_status=decoded["command_status"],
        sequence_number=decoded["sequence_number"],
        fields=fields,
        tlvs=tuple(Tlv(tlv["tag"], bytes.fromhex(tlv["hex"])) for tlv in decoded["tlvs"]),
        body_absent=decoded["body_absent"],
    )
