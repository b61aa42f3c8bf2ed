"""How a simulated carrier behaves: its accounts, limits, answers, receipts, messages from handsets and accidents.

Settings are Structs, read from TOML (`load`) or made by the command line; `centre_arguments` turns one carrier into
what the compiled room takes. A wrong setting is a ConfigError with its key, what was expected and what was found.
Not here: doing any of it (_fastpath/centre.pyx, smsc.py).

    seed = 7
    ledger = "carrier.csv"
    [[carrier]]
    name = "north"
    port = 2775
    [[carrier.account]]
    system_id = "acme"
    password = "secret"
    tps = 100
    [carrier.limit]
    model = "sliding"
    [carrier.receipts]
    delay_ms = 2000
    states = { DELIVRD = 0.95, "UNDELIV:050" = 0.05 }
"""

import os
import re
import string
import tomllib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from _fastpath.faults import TooManyParts
from _fastpath.segment import segment
from gateway.errors import ConfigError
from gateway.smpp.status import VALUE_BY_NAME

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[float, Meta(ge=0, le=86_400_000 * 14)]
BindKind = Literal["tx", "rx", "trx"]

# message_state by the word of the receipt (SMPP 3.4 appendix B); then words of single vendors and the state they mean.
STATE_BY_WORD = {
    "SCHEDLD": 0,
    "ENROUTE": 1,
    "DELIVRD": 2,
    "EXPIRED": 3,
    "DELETED": 4,
    "UNDELIV": 5,
    "ACCEPTD": 6,
    "UNKNOWN": 7,
    "REJECTD": 8,
    "SKIPPED": 9,
    "BUFFRED": 1,
    "BUFFERD": 1,
    "ACKED": 6,
    "DELIVERED": 2,
    "UNDELIVERABLE": 5,
    "FAILED": 5,
    "DND_REJECTED": 8,
}

_COUNTS = "sub:001 dlvrd:{dlvrd}"
_DATED = "submit date:{submit:10} done date:{done:10}"
_ENDED = "stat:{stat} err:{err}"

# How the text of a receipt looks; each was seen at a carrier or in the tests of a library. Fields: id, stat, err,
# dlvrd, code, listed, source, destination, text, and submit and done with the form of the date.
RECEIPT_FORMATS = {
    "book": f"id:{{id}} {_COUNTS} {_DATED} {_ENDED} text:{{text}}",
    "capital": f"id:{{id}} {_COUNTS} {_DATED} {_ENDED} Text:{{text}}",
    "seconds": f"id:{{id}} {_COUNTS} submit date:{{submit:12}} done date:{{done:12}} {_ENDED} text:{{text}}",
    "long": f"id:{{id}} submit date:{{submit:long}} done date:{{done:long}} {_ENDED}",
    "full": f"id:{{id}} submit date:{{submit:14}} done date:{{done:14}} {_ENDED}",
    "smpp": f"id:{{id}} {_COUNTS} submit date:{{submit:smpp}} done date:{{done:smpp}} {_ENDED} text:{{text}}",
    "no-counts": f"id:{{id}} {_DATED} {_ENDED} text:{{text}}",
    "short": f"id:{{id}} {_ENDED}",
    "joined": f"id:{{id}} {_COUNTS} submitdate:{{submit:12}} donedate:{{done:12}} {_ENDED} text:",
    "err-first": f"id:{{id}} {_COUNTS} {_DATED} err:{{err}} stat:{{stat}} text:{{text}}",
    "scrambled": "sub:001 id:{id} err:{err} done date:{done:10} submit date:{submit:10} text: stat:{stat}",
    "nonsense": f"id:{{id}} sub:1 dlvrd:28 submit date:{{submit:10}} done date:0000000000 {_ENDED} text:{{text}}",
    "null-counts": f"id:{{id}} sub:null dlvrd:null {_DATED} {_ENDED} text:",
    "spaced": "id: {id}  submit date: {submit:10}  done date: {done:10}  stat: {stat}  err: {err}  text: {text}",
    "numeric": f"id:{{id}} {_COUNTS} {_DATED} stat:{{code}} err:{{err}} text:{{text}}",
    "nul": f"id:{{id}} {_COUNTS} {_DATED} {_ENDED}\0",
    "quoting": f"id:{{id}} {_COUNTS} {_DATED} {_ENDED} text:id:1 stat:X",
    "undated": f"id:{{id}} {_COUNTS} submitdate:{{submit:12}} donedate:000000000000 {_ENDED} text:",
    "dots": f"id:{{id}} sub:... dlvrd:... {_DATED} {_ENDED} text:",
    "profile": f"id:{{id}} {_COUNTS} {_DATED} {_ENDED} text:-PROFILE",
    "raw": f"id:{{id}} {_COUNTS} {_DATED} {_ENDED} text:\x04\x1a\x84A\x89O",
    "no-id": f"{_COUNTS} {_DATED} {_ENDED} text:{{text}}",
    "list": "{listed},{done:10},{submit:10},{err},{destination},{source},{id}",
    "empty": "",
}


class Shape(Struct, frozen=True, kw_only=True):
    """One of several ways in which an account's receipts look (`receipts.formats`); None: as the account says.

    text         a name of RECEIPT_FORMATS
    id           of the response; receipt_id: in the receipt, "same" as in the response
    tlvs         id, state, error, vendor
    data_coding  8: the text is UCS-2
    """

    text: str
    id: str | None = None
    receipt_id: str | None = None
    tlvs: tuple[str, ...] | None = None
    data_coding: int = 0
    pdu: Literal["deliver_sm", "data_sm"] | None = None
    place: Literal["short_message", "message_payload"] | None = None


# What is more than a text; the names of RECEIPT_FORMATS are shapes too.
RECEIPT_SHAPES = {name: Shape(text=name) for name in RECEIPT_FORMATS} | {
    "zero-padded": Shape(text="book", id="hex", receipt_id="decimal:20", tlvs=()),
    "in-decimal": Shape(text="book", id="hex", receipt_id="decimal", tlvs=()),
    "without-zeros": Shape(text="book", id="decimal:10", receipt_id="decimal", tlvs=()),
    "with-zeros": Shape(text="book", id="decimal", receipt_id="decimal:12", tlvs=()),
    "hex32": Shape(text="full", id="hex:32", tlvs=()),
    "uuid": Shape(text="no-counts", id="uuid", receipt_id="UUID", tlvs=()),
    "sar": Shape(text="short", id="sar", tlvs=()),
    "base32": Shape(text="short", id="base32", tlvs=()),
    "vendor-tlvs": Shape(text="book", tlvs=("id", "state", "error", "vendor")),
    "tlvs": Shape(text="empty", tlvs=("id", "state")),
    "tlvs-error": Shape(text="empty", tlvs=("id", "state", "error")),
    "id-tlv": Shape(text="no-id", tlvs=("id",)),
    "ucs2": Shape(text="book", tlvs=(), data_coding=8),
    "payload": Shape(text="book", tlvs=(), place="message_payload"),
    "data_sm": Shape(text="book", tlvs=(), pdu="data_sm"),
    "data_sm-tlvs": Shape(text="empty", tlvs=("id", "state"), pdu="data_sm"),
    "list": Shape(text="list", id="base32", tlvs=()),
}
_TLV_BITS = {"id": 1, "state": 2, "error": 4, "vendor": 8}
_DATES = {"": 0, "10": 0, "12": 1, "14": 2, "long": 3, "smpp": 4}
_FIELDS = {"id", "stat", "err", "dlvrd", "code", "listed", "text", "source", "destination", "submit", "done"}
_ID = re.compile(r"(decimal|hex|HEX|uuid|UUID|sar|base32|none)(?::([0-9]{1,2}))?")
_WHERE = re.compile(r"^(?P<what>.*?)(?: - at `\$\.?(?P<key>[^`]*)`)?$", re.DOTALL)


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may bind, how, and how much.

    password        None: any will do
    max_binds       open at once; 0: any number. One more is answered RALYBND
    tps             messages a second, by carrier.limit; 0: unlimited
    window          requests in flight on one link; 0: unlimited
    bind_refusals   statuses for its first binds, one each; then they are welcome. With refuse_always the last one stays
    """

    system_id: Annotated[str, Meta(max_length=64)] = "test"
    password: str | None = None
    binds: tuple[BindKind, ...] = ("tx", "rx", "trx")
    max_binds: Count = 0
    tps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    window: Count = 0
    bind_refusals: tuple[str | int, ...] = ()
    refuse_always: bool = False


class Limit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How an account's tps is enforced.

    model        second: counted in each second of the clock. sliding: in any second. gap: a message sooner than 1/tps
                 after the one before is refused. slow: none is refused, the responses come at that rate
    status       of the refused
    gap_slack    share of the gap that is forgiven
    steps        (seconds after the start, tps): from then on every account has this limit
    over_window  status where more than account.window are in flight
    """

    model: Literal["none", "second", "sliding", "gap", "slow"] = "second"
    status: str | int = "RTHROTTLED"
    gap_slack: Share = 0.1
    steps: tuple[tuple[float, Count], ...] = ()
    over_window: str | int = "RTHROTTLED"


class Responses(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a submit_sm is answered, and when.

    delay_ms, jitter_ms   uniform in delay..delay + jitter; jitter puts responses out of order
    late_share, late_ms   of them so many come up to late_ms later than their turn
    silent_share          accepted, but never answered
    errors                status -> share
    error_body            what a refusal carries behind its header
    congestion            congestion_state for peers of version 5.0: none, 0..100, or "load"
    id                    decimal, hex, HEX, uuid, UUID, sar, base32 or none; numbers have a least width: "decimal:10"
    """

    delay_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    late_share: Share = 0
    late_ms: Milliseconds = 5
    silent_share: Share = 0
    errors: dict[str, Share] = {}
    error_body: Literal["none", "nul", "id"] = "none"
    congestion: Annotated[int, Meta(ge=0, le=100)] | Literal["none", "load"] = "none"
    id: str = "decimal:10"


class Receipts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is told of a message's end, and when.

    when               requested: as registered_delivery asks
    states             word, or word:err -> share
    format             a name of RECEIPT_FORMATS, or a form of one's own with {id}, {stat}, {done:12} …
    formats            name of RECEIPT_SHAPES -> share, in place of format: each message has one, with its id
    id, tlv_id         as responses.id; "same" is the form of the response
    esm_class          0x04 by the standard; some SMSCs send 0
    early_share        so many come before their response, early_ms ahead
    duplicate_share    so many come twice
    missing_share      so many never come
    window             receipts without an answer a link may have; 0: unlimited
    retry_ms, retries  after a temporary error in deliver_sm_resp; a link that dies counts as one
    """

    when: Literal["never", "requested", "always"] = "requested"
    delay_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    states: dict[str, Share] = msgspec.field(default_factory=lambda: {"DELIVRD": 1.0})
    format: str = "book"
    formats: dict[str, Share] = {}
    id: str = "same"
    tlvs: bool = True
    tlv_id: str = "same"
    esm_class: Annotated[int, Meta(ge=0, le=255)] = 4
    pdu: Literal["deliver_sm", "data_sm"] = "deliver_sm"
    place: Literal["short_message", "message_payload"] = "short_message"
    swap_addresses: bool = True
    early_share: Share = 0
    early_ms: Milliseconds = 0
    duplicate_share: Share = 0
    missing_share: Share = 0
    window: Count = 0
    retry_ms: Milliseconds = 1000
    retries: Annotated[int, Meta(ge=0, le=200)] = 5


class Inbound(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages from handsets: so many a second to each account that has a receiver, and replies to what was sent.

    parts            how the parts of a long text say which they are; they come out of order. Replies take short texts
    duplicate_share  of the parts so many come twice
    """

    per_s: Annotated[float, Meta(ge=0, le=100_000)] = 0
    texts: tuple[str, ...] = ("STOP", "Yes please", "Кто это?")
    source: Annotated[str, Meta(max_length=20)] = "447700900123"
    destination: Annotated[str, Meta(max_length=20)] = "12345"
    parts: Literal["udh8", "udh16", "sar"] = "udh16"
    duplicate_share: Share = 0
    reply_share: Share = 0
    reply_delay_ms: Milliseconds = 1000


class Drops(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Links that are cut: at every so many messages, or by chance at any; then or not with the last answers written."""

    every: Count = 0
    share: Share = 0
    answers_first: bool = False


class Timers(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a session waits, in seconds; 0 switches a timer off."""

    session_init_s: Annotated[float, Meta(ge=0)] = 10.0
    enquire_link_s: Annotated[float, Meta(ge=0)] = 0.0
    inactivity_s: Annotated[float, Meta(ge=0)] = 0.0


class Carrier(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One message centre on one port.

    port       0: any that is free
    version    the newest spoken: 0x33, 0x34 or 0x50
    system_id  its name in bind responses
    anybody    any system_id may bind; it gets the first account's settings, and shares its limits and receipts
    first_id   message ids are counted from here; 0: from 0x10000000, or behind the last of the ledger
    zone_min   minutes that the clock in its receipts is ahead of UTC
    """

    name: str = "carrier"
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    version: Literal["3.3", "3.4", "5.0"] = "3.4"
    system_id: Annotated[str, Meta(max_length=15)] = "sluice-sim"
    anybody: bool = False
    first_id: Count = 0
    zone_min: Annotated[int, Meta(ge=-840, le=840)] = 0
    account: tuple[Account, ...] = (Account(),)
    limit: Limit = Limit()
    responses: Responses = Responses()
    receipts: Receipts = Receipts()
    inbound: Inbound = Inbound()
    drops: Drops = Drops()
    timers: Timers = Timers()


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One simulator process.

    ledger        file that every message is written to before it is answered; appended to
    ledger_sync   and forced to the disk (fdatasync) before it is answered: survives a power cut, not only a kill
    ledger_text   with the message's octets instead of their hash
    """

    seed: int = 0
    ledger: str | None = None
    ledger_sync: bool = False
    ledger_text: bool = False
    carrier: tuple[Carrier, ...] = (Carrier(),)


VERSIONS = {"3.3": 0x33, "3.4": 0x34, "5.0": 0x50}


def status_value(given: str | int) -> int:
    """Read a command_status: a number, 0x58, RTHROTTLED or ESME_RTHROTTLED. raises ValueError."""
    if isinstance(given, int):
        return given
    name = given.strip().upper().removeprefix("ESME_")
    for known, value in VALUE_BY_NAME.items():
        if known.upper().removeprefix("ESME_") == name:
            return value
    return int(given, 0)


def parse_id_form(given: str) -> tuple[str, int]:
    """Read the form of an id, such as hex, decimal:10, HEX:8. raises ValueError."""
    found = _ID.fullmatch(given)
    if not found:
        raise ValueError(given)
    return found[1], int(found[2] or 0)


def parse_format(form: str) -> tuple[str | tuple[str, int], ...]:
    """Cut the form of a receipt's text into literals and (field, form of date). raises ValueError."""
    pieces: list[str | tuple[str, int]] = []
    for literal, field, spec, _ in string.Formatter().parse(form):
        if literal:
            pieces.append(literal)
        if field is None:
            continue
        if field not in _FIELDS:
            raise ValueError(f"unknown field {{{field}}}")
        if (spec or "") not in _DATES or (spec and field not in {"submit", "done"}):
            raise ValueError(f"unknown form {spec!r} of {{{field}}}")
        pieces.append((field, _DATES[spec or ""]))
    return tuple(pieces)


def parse_state(given: str, share: float) -> tuple[str, int, str, float]:
    """Read a state of the mix, WORD or WORD:err; without one, err is 000 for DELIVRD and 001 for the others."""
    word, _, error = given.partition(":")
    code = STATE_BY_WORD.get(word.upper(), 7)
    return word, code, error or ("000" if code == 2 else "001"), share


def encode_text(text: str) -> tuple[tuple[bytes, ...], int]:
    """Encode a handset's text, in as many parts as it takes: ASCII as data_coding 0, all else as UCS-2.

    raises  TooManyParts
    """
    octets, name, coding = (
        (text.encode("ascii"), "gsm7", 0) if text.isascii() else (text.encode("utf-16-be"), "ucs2", 8)
    )
    return tuple(payload for _, payload in segment(octets, name, 0, 16)), coding


def problems(settings: Settings) -> list[tuple[str, str, str]]:
    """What the types cannot say, as (key, expected, found); empty when all is well."""
    found: list[tuple[str, str, str]] = []

    def tried(key: str, expected: str, given: Any, read: Any) -> None:
        try:
            read(given)
        except ValueError as error:
            text = str(error)
            found.append((key, expected, f"{given!r}" if text in repr(given) else f"{given!r} ({text})"))

    a_status = "a command_status such as RTHROTTLED or 0x58"
    an_id = "decimal, hex, HEX, uuid, UUID, sar, base32 or none, and a width up to 60, such as decimal:10"
    if not settings.carrier:
        found.append(("carrier", "at least one", "none"))
    ports = [(carrier.host, carrier.port) for carrier in settings.carrier if carrier.port]
    for i, carrier in enumerate(settings.carrier):
        at = f"carrier[{i}]"
        if carrier.port and ports.count((carrier.host, carrier.port)) > 1:
            found.append((f"{at}.port", "a port of its own", str(carrier.port)))
        names = [account.system_id for account in carrier.account]
        if not names:
            found.append((f"{at}.account", "at least one", "none"))
        for j, account in enumerate(carrier.account):
            if names.count(account.system_id) > 1:
                found.append((f"{at}.account[{j}].system_id", "a name of its own", account.system_id))
            for status in account.bind_refusals:
                tried(f"{at}.account[{j}].bind_refusals", a_status, status, status_value)
        for j, (_, tps) in enumerate(carrier.limit.steps):
            if tps > 10_000_000:
                found.append((f"{at}.limit.steps[{j}]", "at most 10000000", str(tps)))
        tried(f"{at}.limit.status", a_status, carrier.limit.status, status_value)
        tried(f"{at}.limit.over_window", a_status, carrier.limit.over_window, status_value)
        for status in carrier.responses.errors:
            tried(f"{at}.responses.errors", a_status, status, status_value)
        if sum(carrier.responses.errors.values()) > 1 + 1e-9:
            found.append((f"{at}.responses.errors", "at most 1 in all", str(sum(carrier.responses.errors.values()))))
        tried(f"{at}.responses.id", an_id, carrier.responses.id, parse_id_form)
        for key in ("id", "tlv_id"):
            given = getattr(carrier.receipts, key)
            if given != "same":
                tried(f"{at}.receipts.{key}", an_id, given, parse_id_form)
        tried(
            f"{at}.receipts.format",
            f"one of {', '.join(RECEIPT_FORMATS)}, or a form with fields such as {{id}}",
            carrier.receipts.format,
            lambda given: parse_format(format_of(given)),
        )
        for name in carrier.receipts.formats:
            if name not in RECEIPT_SHAPES:
                found.append((f"{at}.receipts.formats", f"one of {', '.join(RECEIPT_SHAPES)}", name))
        if carrier.receipts.formats and sum(carrier.receipts.formats.values()) <= 0:
            found.append((f"{at}.receipts.formats", "shares that add up to more than 0", str(carrier.receipts.formats)))
        if sum(carrier.receipts.states.values()) <= 0:
            found.append((f"{at}.receipts.states", "shares that add up to more than 0", str(carrier.receipts.states)))
        for text in carrier.inbound.texts:
            try:
                encode_text(text)
            except TooManyParts:
                found.append((f"{at}.inbound.texts", "at most 255 parts each", f"{len(text)} characters"))
        short = [text for text in carrier.inbound.texts if len(text) <= 70]
        if carrier.inbound.reply_share and carrier.inbound.texts and not short:
            found.append((f"{at}.inbound.texts", "one of at most 70 characters, to reply with", "none"))
    return found


def format_of(given: str) -> str:
    """Find the form behind a name, or take what has a field for one. raises ValueError."""
    if given in RECEIPT_FORMATS:
        return RECEIPT_FORMATS[given]
    if "{" not in given:
        raise ValueError("unknown name")
    return given


def checked(settings: Settings) -> Settings:
    """Return the settings if they are sound. raises ConfigError with all that is wrong."""
    wrong = problems(settings)
    if wrong:
        raise ConfigError(wrong)
    return settings


def from_mapping(given: Any) -> Settings:
    """Convert what TOML or JSON gave. raises ConfigError."""
    try:
        settings = msgspec.convert(given, Settings)
    except msgspec.ValidationError as error:
        where = _WHERE.match(str(error))
        what, key = (where["what"], where["key"]) if where else (str(error), "")
        expected, _, got = what.partition(", got ")
        raise ConfigError([(key or "settings", expected.removeprefix("Expected "), got or "something else")]) from error
    return checked(settings)


def load(path: str | os.PathLike[str]) -> Settings:
    """Read a TOML file. raises ConfigError, also where the file is missing or is no TOML."""
    try:
        with open(path, "rb") as file:
            return from_mapping(tomllib.load(file))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError([(os.fspath(path), "a readable TOML file", str(error))]) from error


def centre_arguments(carrier: Carrier, settings: Settings) -> dict[str, Any]:
    """Turn sound settings into the keywords of _fastpath.centre.Centre; all but first_id, seed and epoch_ns."""
    responses, receipts, inbound = carrier.responses, carrier.receipts, carrier.inbound
    congestion = {"none": -1, "load": 101}.get(str(responses.congestion), responses.congestion)
    return {
        "accounts": tuple((account.system_id, account.tps, account.window) for account in carrier.account),
        "limit": carrier.limit.model,
        "limit_status": status_value(carrier.limit.status),
        "window_status": status_value(carrier.limit.over_window),
        "gap_slack": carrier.limit.gap_slack,
        "delay_ns": _ns(responses.delay_ms),
        "jitter_ns": _ns(responses.jitter_ms),
        "late_share": responses.late_share,
        "late_ns": _ns(responses.late_ms),
        "silent_share": responses.silent_share,
        "errors": tuple((status_value(status), share) for status, share in responses.errors.items()),
        "error_body": {"none": 0, "nul": 1, "id": 2}[responses.error_body],
        "congestion": congestion,
        "receipts": receipts.when,
        "receipt_delay_ns": _ns(receipts.delay_ms),
        "receipt_jitter_ns": _ns(receipts.jitter_ms),
        "states": tuple(parse_state(word, share) for word, share in receipts.states.items()),
        "shapes": tuple(
            {"share": share, **shape_arguments(RECEIPT_SHAPES[name], carrier)}
            for name, share in receipts.formats.items()
        )
        or (shape_arguments(Shape(text=receipts.format), carrier),),
        "receipt_swap": receipts.swap_addresses,
        "early_share": receipts.early_share,
        "early_ns": _ns(receipts.early_ms),
        "duplicate_share": receipts.duplicate_share,
        "missing_share": receipts.missing_share,
        "receipt_window": receipts.window,
        "retry_ns": _ns(receipts.retry_ms),
        "retries": receipts.retries,
        "inbound_texts": tuple(encode_text(text) for text in inbound.texts),
        "inbound_source": inbound.source.encode("latin-1", "replace"),
        "inbound_destination": inbound.destination.encode("latin-1", "replace"),
        "inbound_per_s": inbound.per_s,
        "inbound_how": {"udh8": 1, "udh16": 2, "sar": 3}[inbound.parts],
        "inbound_duplicate_share": inbound.duplicate_share,
        "reply_share": inbound.reply_share,
        "reply_delay_ns": _ns(inbound.reply_delay_ms),
        "drop_every": carrier.drops.every,
        "drop_share": carrier.drops.share,
        "drop_answers": carrier.drops.answers_first,
        "ledger": settings.ledger is not None,
        "ledger_text": settings.ledger_text,
    }


def shape_arguments(shape: Shape, carrier: Carrier) -> dict[str, Any]:
    """Turn a shape, and where it says nothing its carrier, into what Centre takes for one."""
    receipts = carrier.receipts
    response_id = shape.id or carrier.responses.id
    receipt_id = shape.receipt_id or (receipts.id if shape.id is None else "same")
    tlv_id = receipts.tlv_id if shape.id is None else "same"
    tlvs = shape.tlvs if shape.tlvs is not None else ("id", "state") if receipts.tlvs else ()
    return {
        "text": parse_format(format_of(shape.text)),
        "response_id": parse_id_form(response_id),
        "receipt_id": parse_id_form(response_id if receipt_id == "same" else receipt_id),
        "tlv_id": parse_id_form(response_id if tlv_id == "same" else tlv_id),
        "tlvs": sum(_TLV_BITS[name] for name in tlvs),
        "esm_class": receipts.esm_class,
        "data_coding": shape.data_coding,
        "payload": (shape.place or receipts.place) == "message_payload",
        "data_sm": (shape.pdu or receipts.pdu) == "data_sm",
    }


def _ns(milliseconds: float) -> int:
    return round(milliseconds * 1_000_000)
