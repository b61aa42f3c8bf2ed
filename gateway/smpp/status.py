"""command_status: its name, what it says, and what to do about it.

One table, so that no `if status == 0x58` stands anywhere else. Carriers reuse codes freely: a route may override any
row (`overrides`), and the vendor range 0x400..0x4FF fails the message until it does.
Not here: which status answers a malformed PDU (pdu.py), waiting and retrying (the links and the dispatcher).

    OK        taken
    THROTTLE  slow down, then send the same message again; it does not count as an attempt
    RETRY     the SMSC's trouble of the moment: send again later, with back-off, a limited number of times
    FAIL      permanent for this message
    SESSION   this bind is no good: close it, back off, bind anew; then send again
    CONFIG    nothing but a person can mend it: stop using the bind or route for this
    REROUTE   not by this carrier: the next route of the message, if it has one
    DESTINATION  this recipient takes no more for now: hold back messages to this number, and to no other

Where the standard's remedy depends on more than the number, the row holds the one for a submit_sm_resp, and `bind`
the one for the response to a bind. A generic_nack that carries 0x02 says that the SMSC lost the framing: SESSION,
whatever the row says (`of_nack`).
"""

from collections.abc import Mapping
from enum import IntEnum

from msgspec import Struct


class Disposition(IntEnum):
    """What to do next. The numbers are the octets of `table` and are read by compiled rooms: do not renumber."""

    OK = 0
    THROTTLE = 1
    RETRY = 2
    FAIL = 3
    SESSION = 4
    CONFIG = 5
    REROUTE = 6
    DESTINATION = 7


OK, THROTTLE, RETRY, FAIL, SESSION, CONFIG, REROUTE, DESTINATION = Disposition

# What an operator calls the three kinds of a refused bind (`bind_statuses`): an old session still lives there, they
# have no room for the moment, a person must act.
REFUSALS: Mapping[str, Disposition] = {"stale": SESSION, "busy": RETRY, "config": CONFIG}

ROK = 0x00
RINVMSGLEN = 0x01
RINVCMDLEN = 0x02
RINVCMDID = 0x03
RINVBNDSTS = 0x04
RALYBND = 0x05
RSYSERR = 0x08
RBINDFAIL = 0x0D
RINVPASWD = 0x0E
RINVSYSID = 0x0F
RMSGQFUL = 0x14
RTHROTTLED = 0x58
RX_T_APPN = 0x64
RDELIVERYFAILURE = 0xFE

VENDOR = range(0x400, 0x500)
TABLE_OCTETS = 0x500


class Status(Struct, frozen=True):
    """One row. `formerly` is the name of 3.4 where 5.0 renamed it; `bind` what a bind response with it asks for."""

    value: int
    name: str
    text: str
    submit: Disposition
    bind: Disposition = SESSION
    formerly: str = ""


# 3.4 §5.1.3 table 5-2; 0x100 and above: 5.0 §4.7.6.
STATUSES: tuple[Status, ...] = (
    Status(0x00, "ESME_ROK", "success", OK, OK),
    Status(0x01, "ESME_RINVMSGLEN", "message length invalid", FAIL),
    Status(0x02, "ESME_RINVCMDLEN", "command_length invalid", FAIL),
    Status(0x03, "ESME_RINVCMDID", "command not known or not supported", CONFIG, CONFIG),
    Status(0x04, "ESME_RINVBNDSTS", "not allowed in this state of the session", SESSION),
    # On a bind: an old session of ours still lives at the SMSC and must time out first.
    Status(0x05, "ESME_RALYBND", "already bound", SESSION),
    Status(0x06, "ESME_RINVPRTFLG", "priority invalid", FAIL),
    Status(0x07, "ESME_RINVREGDLVFLG", "registered_delivery invalid or not permitted", FAIL),
    Status(0x08, "ESME_RSYSERR", "system error of the SMSC", RETRY, RETRY),
    Status(0x0A, "ESME_RINVSRCADR", "source address invalid", FAIL),
    Status(0x0B, "ESME_RINVDSTADR", "destination address invalid", FAIL),
    Status(0x0C, "ESME_RINVMSGID", "message id invalid or not found", FAIL),
    Status(0x0D, "ESME_RBINDFAIL", "bind failed", SESSION, CONFIG),
    Status(0x0E, "ESME_RINVPASWD", "password invalid", CONFIG, CONFIG),
    Status(0x0F, "ESME_RINVSYSID", "system_id invalid", CONFIG, CONFIG),
    Status(0x11, "ESME_RCANCELFAIL", "cancel failed", FAIL),
    Status(0x13, "ESME_RREPLACEFAIL", "replace failed", FAIL),
    # Of the recipient or of the whole SMSC: its spread over numbers tells which.
    Status(0x14, "ESME_RMSGQFUL", "queue full, of the destination or of the whole", DESTINATION, RETRY),
    Status(0x15, "ESME_RINVSERTYP", "service_type invalid", CONFIG, CONFIG),
    Status(0x33, "ESME_RINVNUMDESTS", "number of destinations invalid", FAIL),
    Status(0x34, "ESME_RINVDLNAME", "name of the distribution list invalid", FAIL),
    Status(0x40, "ESME_RINVDESTFLAG", "destination flag invalid", FAIL),
    Status(0x42, "ESME_RINVSUBREP", "submit with replace not possible", FAIL),
    Status(0x43, "ESME_RINVESMCLASS", "esm_class invalid", FAIL),
    Status(0x44, "ESME_RCNTSUBDL", "cannot submit to the distribution list", FAIL),
    # Vendors mean both a moment's trouble and a verdict by it: a few retries, then the limit fails the message.
    Status(0x45, "ESME_RSUBMITFAIL", "submission failed", RETRY),
    Status(0x48, "ESME_RINVSRCTON", "source TON invalid", CONFIG),
    Status(0x49, "ESME_RINVSRCNPI", "source NPI invalid", CONFIG),
    Status(0x50, "ESME_RINVDSTTON", "destination TON invalid", CONFIG),
    Status(0x51, "ESME_RINVDSTNPI", "destination NPI invalid", CONFIG),
    Status(0x53, "ESME_RINVSYSTYP", "system_type invalid", CONFIG, CONFIG),
    Status(0x54, "ESME_RINVREPFLAG", "replace flag invalid", FAIL),
    Status(0x55, "ESME_RINVNUMMSGS", "number of messages invalid", FAIL),
    Status(0x58, "ESME_RTHROTTLED", "rate exceeded", THROTTLE, RETRY),
    Status(0x61, "ESME_RINVSCHED", "scheduled time invalid", FAIL),
    Status(0x62, "ESME_RINVEXPIRY", "validity period invalid", FAIL),
    Status(0x63, "ESME_RINVDFTMSGID", "predefined message invalid", FAIL),
    Status(0x64, "ESME_RX_T_APPN", "receiver: temporary error", RETRY),
    Status(0x65, "ESME_RX_P_APPN", "receiver: permanent error", FAIL),
    Status(0x66, "ESME_RX_R_APPN", "receiver: this message rejected", FAIL),
    Status(0x67, "ESME_RQUERYFAIL", "query failed", FAIL),
    Status(0xC0, "ESME_RINVTLVSTREAM", "TLV part broken", FAIL, formerly="ESME_RINVOPTPARSTREAM"),
    Status(0xC1, "ESME_RTLVNOTALLWD", "TLV not allowed here", FAIL, formerly="ESME_ROPTPARNOTALLWD"),
    Status(0xC2, "ESME_RINVTLVLEN", "TLV length invalid", FAIL, formerly="ESME_RINVPARLEN"),
    Status(0xC3, "ESME_RMISSINGTLV", "TLV missing", FAIL, formerly="ESME_RMISSINGOPTPARAM"),
    Status(0xC4, "ESME_RINVTLVVAL", "TLV value invalid", FAIL, formerly="ESME_RINVOPTPARAMVAL"),
    # In transaction mode the response is the outcome; delivery_failure_reason decides (`of_delivery_failure`).
    Status(0xFE, "ESME_RDELIVERYFAILURE", "delivery failed", FAIL),
    Status(0xFF, "ESME_RUNKNOWNERR", "unknown error", RETRY),
    Status(0x100, "ESME_RSERTYPUNAUTH", "not authorised for this service_type", CONFIG, CONFIG),
    Status(0x101, "ESME_RPROHIBITED", "operation prohibited", CONFIG, CONFIG),
    Status(0x102, "ESME_RSERTYPUNAVAIL", "service_type unavailable", RETRY),
    Status(0x103, "ESME_RSERTYPDENIED", "service_type denied, for the content", FAIL),
    Status(0x104, "ESME_RINVDCS", "data_coding invalid or unsupported", FAIL),
    Status(0x105, "ESME_RINVSRCADDRSUBUNIT", "source subunit invalid", FAIL),
    Status(0x106, "ESME_RINVDSTADDRSUBUNIT", "destination subunit invalid", FAIL),
    Status(0x107, "ESME_RINVBCASTFREQINT", "broadcast frequency invalid", FAIL),
    Status(0x108, "ESME_RINVBCASTALIAS_NAME", "broadcast alias invalid", FAIL),
    Status(0x109, "ESME_RINVBCASTAREAFMT", "broadcast area format invalid", FAIL),
    Status(0x10A, "ESME_RINVNUMBCAST_AREAS", "number of broadcast areas invalid", FAIL),
    Status(0x10B, "ESME_RINVBCASTCNTTYPE", "broadcast content type invalid", FAIL),
    Status(0x10C, "ESME_RINVBCASTMSGCLASS", "broadcast message class invalid", FAIL),
    Status(0x10D, "ESME_RBCASTFAIL", "broadcast failed", FAIL),
    Status(0x10E, "ESME_RBCASTQUERYFAIL", "broadcast query failed", FAIL),
    Status(0x10F, "ESME_RBCASTCANCELFAIL", "broadcast cancel failed", FAIL),
    Status(0x110, "ESME_RINVBCAST_REP", "broadcast repetition invalid", FAIL),
    Status(0x111, "ESME_RINVBCASTSRVGRP", "broadcast service group invalid", FAIL),
    Status(0x112, "ESME_RINVBCASTCHANIND", "broadcast channel invalid", FAIL),
)

STATUS_BY_VALUE: dict[int, Status] = {status.value: status for status in STATUSES}
VALUE_BY_NAME: dict[str, int] = {
    **{status.formerly: status.value for status in STATUSES if status.formerly},
    **{status.name: status.value for status in STATUSES},
}


# What settings call them; FAIL is a verdict on the message, and so `reject`.
DISPOSITION_BY_WORD: dict[str, Disposition] = {
    "reject" if each is FAIL else each.name.lower(): each for each in Disposition
}


def number_of(key: str) -> int:
    """Read a status as settings have it: `0x401`, `1025`, `RSYSERR` or `ESME_RSYSERR`.

    raises  ValueError, when it is none, or is above the table
    """
    name = key.upper()
    value = VALUE_BY_NAME.get(name, VALUE_BY_NAME.get(f"ESME_{name}"))
    if value is None:
        try:
            value = int(key, 0)
        except ValueError:
            raise ValueError("a number such as 0x401, or a name such as RSYSERR") from None
    if not 0 < value < TABLE_OCTETS:
        raise ValueError(f"a status from 0x1 to 0x{TABLE_OCTETS - 1:x}")
    return value


def problems(words: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Say what is wrong with a carrier's own words about statuses: (entry, expected, found)."""
    found: list[tuple[str, str, str]] = []
    key_by_value: dict[int, str] = {}
    for key, word in words.items():
        try:
            value = number_of(key)
        except ValueError as error:
            found.append((key, str(error), repr(key)))
            continue
        other = key_by_value.setdefault(value, key)
        if words[other] != word:
            found.append((key, f"the same as {other!r}, {words[other]!r}: both are {name(value)}", repr(word)))
    return found


def overrides(words: Mapping[str, str]) -> dict[int, Disposition]:
    """Turn a carrier's own words about statuses into the rows of the table that they replace; ValueError if wrong."""
    for key, expected, found in problems(words):
        raise ValueError(f"statuses.{key}: expected {expected}, found {found}")
    return {number_of(key): DISPOSITION_BY_WORD[word] for key, word in words.items()}


def refusals(words: Mapping[str, str]) -> dict[int, Disposition]:
    """Turn a carrier's own words about refused binds into rows; ValueError, as `number_of`."""
    return {number_of(key): REFUSALS[word] for key, word in words.items()}


def network_error_of(key: str) -> tuple[int, int]:
    """Read a network_error_code, such as 3:21 or *:7 for any network (type -1); ValueError if it is none."""
    network, colon, code = key.strip().partition(":")
    kind = -1 if network == "*" else int(network, 0)
    value = int(code, 0)
    if not colon or not -1 <= kind <= 255 or (kind < 0 and network != "*") or not 0 <= value <= 0xFFFF:
        raise ValueError(key)
    return kind, value


def network_problems(words: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What is wrong with a carrier's words about network errors: (key, expected, found)."""
    found = []
    seen: dict[tuple[int, int], str] = {}
    for key, word in words.items():
        try:
            error = network_error_of(key)
        except ValueError:
            found.append((key, "a network type and a code, such as 3:21 or *:7", repr(key)))
            continue
        if error in seen:
            found.append((key, f"each error once: {seen[error]!r} is the same", repr(key)))
        elif word == "ok":
            found.append((key, "another word: what was refused was not taken", repr(word)))
        seen[error] = key
    return found


def network_overrides(words: Mapping[str, str]) -> dict[tuple[int, int], Disposition]:
    """Turn a carrier's own words about network errors into what the compiled path takes; ValueError if wrong."""
    for key, expected, found in network_problems(words):
        raise ValueError(f"network_errors.{key}: expected {expected}, found {found}")
    return {network_error_of(key): DISPOSITION_BY_WORD[word] for key, word in words.items()}


def describe(value: int) -> Status:
    """Find the row of any number; vendor and reserved ones get one made up, which fails the message."""
    row = STATUS_BY_VALUE.get(value)
    if row is not None:
        return row
    if value in VENDOR:
        return Status(value, f"vendor 0x{value:03x}", "this carrier's own", FAIL)
    return Status(value, f"reserved 0x{value:08x}", "not in the standard", FAIL)


def name(value: int) -> str:
    """Name any number: the newest name of the standard, or `vendor 0x4…`, or `reserved 0x…`."""
    return describe(value).name


def of_submit(value: int, overrides: Mapping[int, Disposition] | None = None) -> Disposition:
    """Say what a submit_sm_resp with this status asks for; a route's override goes first."""
    if overrides and value in overrides:
        return overrides[value]
    return describe(value).submit


def of_bind(value: int, overrides: Mapping[int, Disposition] | None = None) -> Disposition:
    """Say what the response to a bind asks for: RETRY and SESSION back off and bind anew, CONFIG waits for a person."""
    if overrides and value in overrides:
        return overrides[value]
    return describe(value).bind


def of_refusal(value: int, overrides: Mapping[int, Disposition] | None = None) -> Disposition:
    """Say which kind of refusal of a bind this is: SESSION (stale), RETRY (busy) or CONFIG (a person must act)."""
    disposition = of_bind(value, overrides)
    if disposition in (THROTTLE, DESTINATION, RETRY):
        return RETRY
    return CONFIG if disposition in (FAIL, CONFIG) else SESSION


def of_nack(value: int) -> Disposition:
    """Say what a generic_nack asks for: as a submit_sm_resp, but a lost framing ends the session."""
    return SESSION if value == RINVCMDLEN else of_submit(value)


def of_delivery_failure(reason: int | None) -> Disposition:
    """Judge 0xFE by TLV delivery_failure_reason: 0 unavailable and 3 temporary are worth another try (§5.3.2.33)."""
    return RETRY if reason in (0, 3) else FAIL


def table(rows: Mapping[int, Disposition] | None = None) -> bytes:
    """Lay out one octet of Disposition for each status 0..0x4FF of a submit_sm_resp, for the compiled rooms.

    Statuses above the table fail, as reserved ones do. `rows` replaces some (`overrides`).
    raises  ValueError on an override outside the table
    """
    octets = bytearray(describe(value).submit for value in range(TABLE_OCTETS))
    for value, disposition in (rows or {}).items():
        if not 0 <= value < TABLE_OCTETS:
            raise ValueError(f"command_status 0x{value:x}: expected 0 to 0x{TABLE_OCTETS - 1:x}")
        octets[value] = disposition
    return bytes(octets)
