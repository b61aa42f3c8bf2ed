"""The wire by itself: one JSON object in, one out; no session, no socket, no clock.

A door for people and for conformance vectors. Each object has a `kind`, the fields that are given and, on the way
out, the fields that are found:

    kind       given                                          found
    pdu        hex                                            decoded, encoded
    pdu_bad    hex, one PDU arriving on a bound session       action, status, then
    stream     chunks                                         pdus, leftover, fatal
    encode     text, alphabet [single_shift, locking]         hex
    decode     hex, alphabet [single_shift, locking]          text
    pack       unpacked, fill_bits                            packed
    segment    text or binary_hex, alphabet, ref, ref_bits    parts, segments
    choose     text [settings of a carrier]                   segments, alphabet, ways …, or reason; savings
    receipt    text                                           fields, message_state
    time       smpp [field]                                   expect: utc, relative, default or error
    id_match   resp, receipt                                  match

What must be refused has `error` in place of what would be found. `id` is copied.
Not here: lines and files (commands/codec.py), the meaning of anything (the rooms this calls).
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from _fastpath import alphabet as alphabets
from _fastpath import receipttext
from _fastpath import segment as segments
from _fastpath.frame import Frames
from _fastpath.outbound import explain
from gateway.config import CarrierSettings
from gateway.dispatch.compose import form_of_text, savings
from gateway.errors import EncodeError
from gateway.message import Refusal
from gateway.smpp import times
from gateway.smpp.pdu import ANYTHING, STRICT, decode, encode, from_json, header, salvage, to_json
from gateway.smpp.session import TABLE, Refused, Role, Session, State, Unreadable
from gateway.smpp.spec import BINDS, COMMAND_BY_ID, RESPONSE_BIT

Vector = Mapping[str, Any]
Answer = dict[str, Any]


def answer(vector: Vector) -> Answer:
    """Find what one object asks for.

    ->      `id` and `kind` as given, then what was found, or `error` where the thing itself must be refused
    raises  ValueError where the object is no question: unknown kind, a field missing or of another type
    """
    kind = vector.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(_KINDS)}")
    found: Answer = {"id": vector["id"]} if "id" in vector else {}
    found["kind"] = kind
    found.update(_KINDS[kind](vector))
    return found


def passes(vector: Vector, found: Answer) -> bool:
    """Judge an answer by the expected fields of the vector itself."""
    kind = vector.get("kind")
    expect = vector.get("expect")
    if vector.get("error") or (kind != "time" and isinstance(expect, dict) and expect.get("error")):
        return "error" in found
    if "error" in found:
        return False
    if kind == "pdu":
        same = found["decoded"] == vector["decoded"]
        return same and (not vector.get("encode_roundtrip") or found["encoded"] == vector["hex"].lower())
    if kind == "pdu_bad":
        return any(_is_acceptable(found, accepted) for accepted in vector["acceptable"])
    if kind == "segment":
        return found["parts"] == vector["parts"] and any(
            found["segments"] == accepted["segments"] for accepted in vector["accept"]
        )
    return all(found[name] == vector[name] for name in _EXPECTED[str(kind)])


_EXPECTED: Mapping[str, tuple[str, ...]] = {
    "stream": ("pdus", "leftover", "fatal"),
    "encode": ("hex",),
    "decode": ("text",),
    "pack": ("packed",),
    "choose": ("alphabet", "segments"),
    "receipt": ("fields", "message_state"),
    "time": ("expect",),
    "id_match": ("match",),
}


def _is_acceptable(found: Answer, accepted: Mapping[str, Any]) -> bool:
    if found["action"] != accepted["action"]:
        return False
    if "status" in accepted and accepted["status"] is not None and found["status"] not in accepted["status"]:
        return False
    return "then" not in accepted or bool(found["then"] == accepted["then"])


# -- fields of the question -------------------------------------------------------------------------------------------


def _text(vector: Vector, name: str) -> str:
    value = vector.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name}: {value!r:.60}, expected text")
    return value


def _octets(vector: Vector, name: str) -> bytes:
    text = _text(vector, name)
    try:
        return bytes.fromhex(text)
    except ValueError as wrong:
        raise ValueError(f"{name}: {wrong}, expected hex") from None


def _number(vector: Vector, name: str, default: int | None = None) -> int:
    value = vector.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name}: {value!r:.60}, expected a whole number")
    return value


def _tables(vector: Vector) -> tuple[int, int]:
    """Take the national tables, single_shift and locking; absent and null are 0."""
    single_shift, locking = (
        0 if vector.get(name) is None else _number(vector, name) for name in ("single_shift", "locking")
    )
    return single_shift, locking


# -- PDUs -------------------------------------------------------------------------------------------------------------


def _pdu(vector: Vector) -> Answer:
    octets = _octets(vector, "hex")
    try:
        decoded = to_json(decode(octets, ANYTHING), len(octets))
    except ValueError as fault:
        return {"error": str(fault)}
    return {"decoded": decoded, "encoded": encode(from_json(decoded), ANYTHING).hex()}


def _pdu_bad(vector: Vector) -> Answer:
    """Feed the octets to a bound session of the role that would get them, and read its answer off its output."""
    frames = Frames()
    pdus = frames.feed(_octets(vector, "hex"))
    then = "stay" if frames.lost is None else "close"
    for octets in pdus:
        _, command_id, _, _ = header(octets)
        command = COMMAND_BY_ID.get(command_id)
        if command_id & RESPONSE_BIT:
            # Whose request it answers is not part of the question: only whether it can be read.
            if salvage(octets, STRICT)[1] is None:
                continue
            return {"action": "log_only", "status": None, "then": then}
        is_for_smsc = command is None or command.name in BINDS | TABLE[State.BOUND_TRX][Role.ESME]
        role = Role.SMSC if is_for_smsc else Role.ESME
        session = Session(role, now=0.0, state=State.BOUND_TRX, tolerance=STRICT)
        if any(isinstance(event, (Unreadable, Refused)) for event in session.receive(octets, 0.0)):
            return {**_said(session), "then": then}
    if frames.lost is not None:
        session = Session(Role.SMSC, now=0.0, state=State.BOUND_TRX)
        session.lose_framing()
        return {**_said(session), "then": then}
    # Octets that are no whole PDU yet are waited for.
    return {"action": "accept" if pdus else "log_only", "status": None, "then": then}


def _said(session: Session) -> Answer:
    output = session.take_output()
    if not output:
        return {"action": "log_only", "status": None}
    pdu = decode(output)
    return {"action": "generic_nack" if pdu.command == "generic_nack" else "resp", "status": pdu.command_status}


def _stream(vector: Vector) -> Answer:
    chunks = vector.get("chunks")
    if not isinstance(chunks, list):
        raise ValueError(f"chunks: {chunks!r:.60}, expected a list of hex")
    frames = Frames()
    pdus: list[bytes] = []
    for number in range(len(chunks)):
        octets = _octets({f"chunks[{number}]": chunks[number]}, f"chunks[{number}]")
        if frames.lost is None:
            pdus += frames.feed(octets)
    return {
        "pdus": [pdu.hex() for pdu in pdus],
        "leftover": frames.rest.hex(),
        "fatal": frames.lost is not None,
    }


# -- text -------------------------------------------------------------------------------------------------------------


def _encode(vector: Vector) -> Answer:
    text, alphabet = _text(vector, "text"), _text(vector, "alphabet")
    single_shift, locking = _tables(vector)
    try:
        return {"hex": alphabets.encode(text, alphabet, single_shift=single_shift, locking=locking).hex()}
    except ValueError as fault:
        return {"error": _said_by(fault)}


def _decode(vector: Vector) -> Answer:
    octets, alphabet = _octets(vector, "hex"), _text(vector, "alphabet")
    single_shift, locking = _tables(vector)
    try:
        return {"text": alphabets.decode(octets, alphabet, single_shift=single_shift, locking=locking)}
    except ValueError as fault:
        return {"error": _said_by(fault)}


def _pack(vector: Vector) -> Answer:
    septets, fill_bits = _octets(vector, "unpacked"), _number(vector, "fill_bits", 0)
    try:
        return {"packed": alphabets.pack(septets, fill_bits).hex()}
    except ValueError as fault:
        return {"error": _said_by(fault)}


def _segment(vector: Vector) -> Answer:
    alphabet = _text(vector, "alphabet")
    ref, ref_bits = _number(vector, "ref"), _number(vector, "ref_bits", 8)
    single_shift, locking = _tables(vector)
    text = None if vector.get("binary_hex") is not None else _text(vector, "text")
    octets = _octets(vector, "binary_hex") if text is None else b""
    try:
        if text is not None:
            octets = alphabets.encode(text, alphabet, single_shift=single_shift, locking=locking)
        parts = segments.segment(octets, alphabet, ref, ref_bits, single_shift=single_shift, locking=locking)
    except ValueError as fault:
        return {"error": _said_by(fault)}
    return {
        "parts": len(parts),
        "segments": [{"udh": udh.hex(), "payload": payload.hex()} for udh, payload in parts],
    }


def _choose(vector: Vector) -> Answer:
    """Say how a carrier would be sent a text: the alphabet, the parts, what every other way would take, and why not."""
    text = _text(vector, "text")
    given = {name: value for name, value in vector.items() if name not in ("id", "kind", "text")}
    try:
        carrier = msgspec.convert({"host": "h", **given}, CarrierSettings)
    except msgspec.ValidationError as fault:
        raise ValueError(f"settings: {fault}") from None
    try:
        found = explain(form_of_text(text, carrier))
        saved = savings([text], carrier)
    except EncodeError as fault:
        return {"error": str(fault)}
    reason = found.pop("reason")
    said = {} if reason is None else {"reason": Refusal(reason).name.lower()}
    return {**found, **said, "saved": max(0, saved.without - saved.segments)}


def _said_by(fault: ValueError) -> str:
    return ": ".join(str(arg) for arg in fault.args[:1]) or type(fault).__name__


def _receipt(vector: Vector) -> Answer:
    read = receipttext.parse(_text(vector, "text").encode("utf-8", "surrogatepass"))
    if read is None:
        return {"fields": None, "message_state": None}
    fields = {name: value for name, value in read.items() if name != "message_state"}
    return {"fields": fields, "message_state": read["message_state"]}


def _time(vector: Vector) -> Answer:
    text = _text(vector, "smpp")
    try:
        found = times.parse(text, may_be_relative=vector.get("field") not in ("final_date", "broadcast_end_time"))
    except (ValueError, OverflowError):
        return {"expect": {"error": True}}
    if found is None:
        return {"expect": {"default": True}}
    if isinstance(found, datetime):
        precision = "milliseconds" if found.microsecond else "seconds"
        return {"expect": {"utc": found.replace(tzinfo=None).isoformat(timespec=precision) + "Z"}}
    return {"expect": {"relative": found._asdict()}}


# -- message ids ------------------------------------------------------------------------------------------------------

_DECIMAL = re.compile(r"[0-9]+", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_BIT_64 = 1 << 64


def _id_match(vector: Vector) -> Answer:
    return {"match": is_same_id(_text(vector, "resp"), _text(vector, "receipt"))}


def is_same_id(responded: str, receipted: str) -> bool:
    """Tell whether the id of a receipt can be the message_id of a response, for one carrier account.

    Tried in order: verbatim; without regard to ASCII case; without leading zeros; one as hex and the other as decimal,
    either way round, unsigned and within 64 bits. At most one conversion stands between the two, so that "10" can be
    "16" (hex and decimal) but not "22" (by way of "16"). An empty id is nobody's.
    """
    if not responded or not receipted:
        return False
    if _plain(responded) == _plain(receipted):
        return True
    return _as_number(responded, 16) == _as_number(receipted, 10) != -1 or (
        _as_number(responded, 10) == _as_number(receipted, 16) != -1
    )


def _plain(text: str) -> str:
    # Of ASCII alone: casefold would make "ß" of an id equal "ss".
    lowered = "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)
    return lowered.lstrip("0") or "0"


def _as_number(text: str, base: int) -> int:
    """Read unsigned 64-bit digits; -1 for anything else, signs, prefixes, underscores and other scripts included."""
    # 20 decimal digits hold 64 bits; the rest of a longer run could only be leading zeros.
    digits = text.lstrip("0") or "0"
    if len(digits) > 20 or not (_HEX if base == 16 else _DECIMAL).fullmatch(digits):
        return -1
    number = int(digits, base)
    return number if number < _BIT_64 else -1


_KINDS: Mapping[str, Callable[[Vector], Answer]] = {
    "pdu": _pdu,
    "pdu_bad": _pdu_bad,
    "stream": _stream,
    "encode": _encode,
    "decode": _decode,
    "pack": _pack,
    "segment": _segment,
    "choose": _choose,
    "receipt": _receipt,
    "time": _time,
    "id_match": _id_match,
}
