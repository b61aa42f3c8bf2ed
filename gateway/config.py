"""Settings: a TOML file and the environment, into Structs; refused as a whole when anything is wrong.

    sluice.toml                         environment (wins)
    [database]                          SLUICE__DATABASE__DSN=postgresql://…
    dsn = "postgresql://…"
    [profiles.acme-group]
    inherits = ["strict-3.4", "hex-ids"]
    [carriers.acme]                     SLUICE__CARRIERS__ACME__PASSWORD=…
    profile = "acme-group"
    host = "smsc.acme.example"

Units are in the names. Every problem is reported, not the first alone: key, what was expected, what was found. What
may be a secret is never shown; where else a password may stand says secret.py. In a variable the names of carriers
are folded: `acme-uk` and `Acme.UK` are ACME_UK.
Where each setting of a carrier comes from is kept (`Settings.origins`), and told when two of them contradict.
Not here: what profiles hold and how they inherit (profiles.py), who changes settings while running (store/control.py).
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta, timezone, tzinfo
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

from gateway import brand, inbox, link, reporting, rfm, secret, suppression, webhook
from gateway.brand import BrandSettings
from gateway.countries import countries
from gateway.errors import ConfigError
from gateway.inbox import InboxSettings
from gateway.keywords import tokens_of, words
from gateway.link import LinkSettings
from gateway.profiles import OF_A_CARRIER, OF_A_PROFILE, Laid, Profile, lay, loop_of, profile_of, shipped
from gateway.rate import CostSettings, cost_problems
from gateway.reporting import ReportSettings
from gateway.rfm import RfmSettings
from gateway.routing import Problem as Problem
from gateway.routing import RouteCarrier, RouteSettings, RoutingSettings, SenderSettings, judge
from gateway.webhook import WebhookSettings

Port = Annotated[int, Meta(ge=1, le=65535)]
Octet = Annotated[int, Meta(ge=0, le=255)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Days = Annotated[int, Meta(ge=0, le=36500)]
Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
StateWord = Annotated[str, Meta(min_length=1, max_length=23, pattern=r"^[!-~]+$")]
ReceiptState = Literal[
    "scheduled", "enroute", "delivered", "expired", "deleted", "undeliverable", "accepted", "unknown", "rejected",
    "skipped",
]  # fmt: skip
Alphabet = Literal["gsm7", "latin1", "ucs2"]
Coded = Literal["gsm7", "latin1", "ucs2", "binary"]
# _fastpath.national.LANGUAGE_BY_NAME has their numbers.
Language = Literal[
    "turkish", "spanish", "portuguese", "bengali", "gujarati", "hindi", "kannada", "malayalam", "oriya", "punjabi",
    "tamil", "telugu", "urdu",
]  # fmt: skip
# gateway.smpp.status.DISPOSITION_BY_WORD says what each asks for.
Word = Literal["ok", "throttle", "retry", "reject", "session", "config", "reroute", "destination"]
InboundAlphabet = Literal["gsm7", "gsm7-packed", "ascii", "latin1", "utf8", "ucs2", "ucs2le", "binary"]

FILE_NAME = "sluice.toml"
ENVIRONMENT_PREFIX = "SLUICE__"


class Discreet(Struct, frozen=True, kw_only=True):
    """Settings that say all of themselves but their secrets: a repr ends in logs and tracebacks."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={('(not shown)' if name in SECRET_KEYS and value else value)!r}"
            for name, value in ((name, getattr(self, name)) for name in self.__struct_fields__)
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class DatabaseSettings(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the queue lives.

    dsn               of any Postgres 15 to 18; empty: our own embedded server under data_root
    data_root         folder of the embedded server, from the file's own folder on; empty: `.sluice`
    deadline_s        our own limit on every database wait; then the connection is ended
    start_patience_s  how long `sluice run` waits for a server that is away, recovers or shuts down; 0 = not at all
    min_free_mb       on the embedded server's file system, below which nothing new is enqueued or claimed; 0 = none
    """

    dsn: str = ""
    data_root: str = ""
    deadline_s: Seconds = 10.0
    start_patience_s: Annotated[float, Meta(ge=0.0, le=86400.0)] = 60.0
    allow_data_loss: bool = False
    min_free_mb: Annotated[int, Meta(ge=0, le=1 << 30)] = 256


class WorkerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a worker takes from the queue and settles.

    flush_interval_s   longest wait of an outcome or receipt before it is written
    intent_s           traffic, in seconds of the current rate, that a watermark may run ahead of what has left
    node               name of this node among all on the database, one each; empty: one of its own at every start
    lease_s            a worker that others have not seen alive for so long is dead; by itself it stops 30 % earlier
    evidence_s         before an uncertain segment is sent again under at_least_once
    recall_ids         message_ids kept in memory, a lane, to match receipts without asking Postgres
    memory_limit_mb    of the worker's memory, beside the limits of machine and container; 0 = none
    metrics_listen     address and port where Prometheus reads figures, such as 127.0.0.1:9464 (of several workers
                       of a node each has the next port); empty: none
    """

    flush_interval_s: Annotated[float, Meta(ge=0.001, le=1.0)] = 0.025
    intent_s: Annotated[float, Meta(ge=0.005, le=1.0)] = 0.05
    node: Annotated[str, Meta(max_length=64)] = ""
    lease_s: Annotated[float, Meta(ge=2.0, le=600.0)] = 6.0
    match_interval_s: Annotated[float, Meta(ge=0.05, le=60.0)] = 0.5
    evidence_s: Annotated[float, Meta(ge=0.0, le=604800.0)] = 120.0
    recall_ids: Annotated[int, Meta(ge=1024, le=1 << 24)] = 1 << 18
    memory_limit_mb: Annotated[int, Meta(ge=0, le=1 << 30)] = 0
    metrics_listen: str = ""


class RetentionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """For how many days what is kept; 0 = for ever. One worker of all drops what is older, in small steps.

    message_days   outcomes and receipts of single messages, by the day; then the final state of each stands in `result`
                   and the sums of its run in `counter`, and a receipt that comes later finds no message any more
    payload_days   numbers and field values of chunks that are done, counted from when they were begun
    chunk_days     chunks that are done, with what is left of them: their results too
    run_days       runs over a list, with their counters; a campaign's runs of a step, as its people go (campaign_days)
    list_days      people of lists that `sluice send` made of a file, counted from when it was read last, once its runs
                   have nothing open; lists that were imported by a name stay
    inbound_days   what handsets wrote, as it came and as it was read
    event_days     events
    order_days     orders of operators that are no longer in force
    contact_days   who was written to, by the month; never less than the longest cap of a run looks back
    person_event_days  what persons did, by the month; what follows from it stays
    seen_days      what was told of persons, so that it is taken once; at least 30
    campaign_days  who was in campaigns, counted from when that ended, and what their steps did; occurrences, orders by
                   text, arms of experiments that are over. Never less than what persons did is kept: it is reckoned
                   with it; what decides whether somebody may enter once more stays
    invalid_days   after which a number that was suppressed as invalid is somebody else's, and free
    """

    message_days: Days = 30
    payload_days: Days = 30
    chunk_days: Days = 60
    run_days: Days = 400
    list_days: Days = 30
    inbound_days: Days = 90
    event_days: Days = 30
    order_days: Days = 400
    contact_days: Days = 400
    person_event_days: Days = 400
    seen_days: Annotated[int, Meta(ge=30, le=36_500)] = 45
    campaign_days: Days = 400
    invalid_days: Days = 180


class KeywordSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What handsets may write to be left alone, beside the words that everybody knows (keywords.toml).

    stop   more words and short phrases, each a message by itself
    start  more that take it back
    scope  all: a STOP is meant for every sender; sender: for the one that was written to
    doubt  of a message that may ask to be left alone: pause what is promotional, and ask; or ignore
    """

    stop: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=1000)] = ()
    start: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=100)], ...], Meta(max_length=1000)] = ()
    scope: Literal["all", "sender"] = "all"
    doubt: Literal["pause", "ignore"] = "pause"


class TlvSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One optional parameter that a carrier wants in every submit_sm: what a tag means differs by carrier.

    tag        0 to 65535; 0x1400 and up is the carriers' own
    name       for people
    type       cstring (with its NUL), octets, or an integer of 1, 2 or 4 octets
    value      the same in every message; or
    field      the column of the recipients that holds it
    required   a message without a value is refused; otherwise it leaves without the parameter
    max        octets of the value, at most, the NUL not counted; a longer one is refused, never cut
    """

    tag: Annotated[int, Meta(ge=0, le=0xFFFF)]
    name: str = ""
    type: Literal["cstring", "octets", "int1", "int2", "int4"] = "cstring"
    value: str = ""
    field: str = ""
    required: bool = False
    max: Annotated[int, Meta(ge=1, le=1000)] = 254


class LimitSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one sender, campaign or country may send over an account; each hard in any span of it, 0 = no limit.

    unit  what is counted: PDUs, as carriers do, or messages
    """

    tps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    per_minute: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    per_day: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    unit: Literal["pdu", "message"] = "pdu"


class CarrierSettings(Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account at one operator.

    profile                the profile that this section is laid over
    bind                   trx, or tx+rx: each of the two `binds` times
    window                 unanswered requests a bind
    binds                  of the account, over all workers, who share them; tps likewise
    tps                    PDUs a second over all binds, hard in every sliding second; 0 = no limit
    long_password          allow more than the 8 characters of the standard
    assume_version         version of an SMSC that names none in its bind response (decides whether TLVs are sent)
    response_timeout_s     after it a submit_sm is uncertain
    concatenation          udh16, udh8, sar (TLVs) or payload (message_payload, not cut by us)
    data_coding            by alphabet, where the carrier departs from 0 / 3 / 8 / 4 (binary)
    alphabets              that the carrier takes: the one with the fewest parts is used, of several alike the first
    national               languages whose GSM shift tables the carrier and its handsets know
    transliterate          what may be replaced so that a text fits GSM and saves a part: off, safe (quotes, dashes,
                           spaces), lossy (accents and symbols too)
    packed                 GSM text travels as 7 bits a septet
    class_coding           how a flash message says so: data_coding 0x10 or 0xF0, or dest_addr_subunit (subunit)
    ports                  where port numbers stand: in the header of the text (udh) or in TLVs (tlv)
    validity               whether and how validity_period tells the remaining life of a message: of a run that expires,
                           and of a window that closes (QH-6). auto: relative where windows are asked for, else not;
                           none: for an SMSC that refuses it, which may try by night then what it has
    validity_zone          what the SMSC's clock is ahead of UTC, in validity = "absolute"
    more_messages          say by TLV whether more parts of the message follow
    tlvs                   optional parameters of this carrier
    statuses               what a command_status asks for here, where the table of the standard is wrong about it:
                           by number or name, one of ok, throttle, retry, reject, session, config, reroute, destination
    network_errors         the same by network_error_code, which goes before the status: { "3:21" = "retry" },
                           network type and code; "*:21" = of any type
    suppress               which answers say that a number is not to be written to any more, and why: by command_status,
                           { "0x0B" = "invalid" }, or by the err of a receipt, { "err:034" = "carrier" }
    retry_delay_s          before the second attempt at a temporary error; doubled each time, up to retry_longest_s
    queue_full_delay_s     before the next attempt where one recipient's queue is full; at most queue_full_attempts
    destination_outstanding  messages that may wait for their response to one number; 0 = any number
    weight                 share of a run that is spread over several carriers

    adaptive               find the rate that the carrier bears, from its answers, and the window from its response
                           times; left out: where tps is set. With tps = 0 no limit is known, and one is looked for
    adaptive_start         share of tps that a new account starts from
    throttle_hold_s        after too many answers "throttled" the rate stays where it was cut to
    throttle_silence       and nothing at all is sent meanwhile
    probe_interval_s       before more than what was accepted is tried again; twice as long after one that failed
    pacing                 bucket: up to a twentieth of a second at once; gap: evenly, never two closer than 1 / rate;
                           auto: bucket, until an adaptive account finds that the carrier measures gaps
    window_floor           an adaptive window is never made smaller by response times; window is its ceiling
    reroute_errors         err of a receipt that says undeliverable, such as "050", after which a message goes to the
                           next route it has, as it does after a status whose word is reroute
    reroute_undelivered    every receipt that says undeliverable has it
    failover_after_s       down for so long, what waits here goes to the next route that is up
    short_code_ton         TON of a short code as sender: 3, or 0 or 6 where the carrier wants that
    sender_plus            long numbers as sender begin with +

    tps_unit                 what tps, bind_tps, host_tps, per_minute and per_day count
    bind_tps, host_tps       of each bind, of each host; tps is that of the account
    per_minute, per_day      of the account; a day is any 24 hours, or with day_zone = "US/Pacific" one of its calendar
    sender_limits …          of each sender, campaign (by its run's name) and country: { Sluice = { per_day = 2000 } };
                             the key * stands for every one that is not named

    inbound_data_coding      what a data_coding means in handsets' messages, { 0 = "latin1" }; others by the standard
    inbound_parts_timeout_s  for the missing parts of a long message; then it is told of without them
    inbound_dedupe_s         a message that comes again so soon is the same, unless the SMSC had our answer to the first
    inbound_busy_status      answer while Postgres is behind; RMSGQFUL is retried by all, RX_T_APPN not by Vonage
    inbound_prefix           of the country whose handsets' numbers come with a 0 in its place, such as 44
    stop_reply               text that confirms a STOP, once, from the number that was written to; empty: none
    doubt_reply              text that asks, once, who may want to be left alone ("Reply STOP to end"); empty: none
    doubt_replies            the same in other languages, by how numbers begin: { "49" = "Antworten Sie STOP …" }
    help_reply               text that answers HELP, to whoever asks, opted out or not; empty: none

    Binds: which hosts, and what is done about refusals and sessions that wear out
    hosts                  more of the account, "host" or "host:port", in order of preference behind `host`
    host_policy            order: all binds at the first host that is well; spread: each begins at another
    refused_pause_s        after a refusal that asks for a person; half of it at least
    bind_statuses          what a refusal means here: { "0x03" = "config" }; stale, busy or config
    idle_timeout_s         after so long in silence the SMSC ends a session: enquire_link at half of it; 0 = unknown
    unreadable_most        PDUs of a session that could not be read, until it is bound anew; 0 = any number
    recycle_after          messages the SMSC allows a session, which is then drained and bound anew; 0 = any number
    half_dead_s            messages accepted and not one receipt for so long: alarm, and bind anew, one bind each time;
                           0 = ten times the median delay of the receipts, a minute at least
    breaker_after          segments refused or unanswered in a row, none accepted, "throttled" not counted: all but 5 a
                           minute wait until one is accepted, with an alarm; 0 = never
    needs_receiver         of tx+rx: submit nothing while no rx has been bound for receiver_grace_s
    outbind_listen         "address:port" where the SMSC calls us; the binds that receive wait for it and call nobody
    outbind_system_id      what the SMSC must call itself; empty: anything
    outbind_peers          addresses and networks that may call; empty: any

    TLS
    tls_server_name        whom the certificate is for, and SNI; empty: the host
    tls_ca_file            who may sign it; empty: whom the system trusts
    tls_certificate_file   ours, where the SMSC asks for one; tls_key_file, unless the key is in the same file

    Receipts
    receipt_recognised_by  esm_class; pattern: an id and a state make a receipt, whatever its type; either
    receipt_prefers        tlv or text: what counts where a receipt has an id or a state in both
    receipt_states         state by the carrier's own word, before the words everybody knows: { FAILED = "rejected" }
    receipt_ids            how its ids are those of the responses: auto (learnt), verbatim, loose (but for case and
                           leading zeros), hex (response hexadecimal, receipt decimal), decimal (the other way round)
    receipt_zone           of the dates in its receipts: a name such as Europe/Vienna, or an offset such as +03:00
    receipt_unknown_is_final    UNKNOWN ends a message
    receipt_delivered_wins      DELIVRD counts though another final state came before it
    receipt_waiting_days   after them a receipt that found no message is an orphan
    receipt_deadline_s     accepted, and no final receipt so long after it: no_receipt; 0 = never
    query_sm               ask the SMSC for the state of what no final receipt came for, within a day of query_after_s
    query_after_s          so long after it was accepted; 0 = receipt_deadline_s
    query_per_s            questions a second of a worker at most; each counts as a PDU of tps, and messages go first
    cancel_sm              ask the SMSC to take back what an exception came too late for; each counts as a PDU of tps

    Capture
    pcap_octets            the last so many octets of each bind, both ways, stay in memory for `sluice pcap`; 0 = none;
                           it rests while traffic would fill it within 20 ms
    """

    host: Annotated[str, Meta(min_length=1)]
    profile: str = ""
    port: Port = 2775
    system_id: str = ""
    password: str = ""
    system_type: str = ""
    address_range: str = ""
    long_password: bool = False
    version: Literal["3.3", "3.4", "5.0"] = "3.4"
    assume_version: Literal["", "3.3", "3.4", "5.0"] = ""
    bind: Literal["trx", "tx+rx"] = "trx"
    binds: Annotated[int, Meta(ge=1, le=256)] = 1
    window: Annotated[int, Meta(ge=1, le=65536)] = 10
    tps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    connect_timeout_s: Seconds = 10.0
    bind_timeout_s: Seconds = 10.0
    response_timeout_s: Seconds = 30.0
    enquire_link_s: Seconds = 30.0
    inactivity_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    unbind_timeout_s: Seconds = 5.0
    reconnect_first_s: Seconds = 1.0
    reconnect_longest_s: Seconds = 60.0
    throttle_pause_s: Annotated[float, Meta(ge=0.001, le=600)] = 0.25
    retry_delay_s: Annotated[float, Meta(ge=0.001, le=3600)] = 1.0
    retry_longest_s: Annotated[float, Meta(ge=0.001, le=86400)] = 60.0
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 3
    queue_full_delay_s: Annotated[float, Meta(ge=0.001, le=3600)] = 30.0
    queue_full_attempts: Annotated[int, Meta(ge=1, le=100)] = 4
    network_errors: dict[str, Word] = {}
    destination_outstanding: Annotated[int, Meta(ge=0, le=1000)] = 0
    statuses: dict[str, Word] = {}
    suppress: dict[str, Literal["carrier", "invalid", "complaint", "landline"]] = {}
    source: str = "Sluice"
    source_ton: Octet = 5
    source_npi: Octet = 0
    dest_ton: Octet = 1
    dest_npi: Octet = 1
    plus: bool = False
    service_type: str = ""
    esm_class: Octet = 0
    protocol_id: Octet = 0
    priority_flag: Octet = 0
    registered_delivery: Octet = 1
    alphabets: Annotated[tuple[Alphabet, ...], Meta(min_length=1, max_length=3)] = ("gsm7", "ucs2")
    data_coding: dict[Coded, Octet] = {}
    concatenation: Literal["udh16", "udh8", "sar", "payload"] = "udh16"
    max_parts: Annotated[int, Meta(ge=1, le=255)] = 10
    grapheme: bool = True
    # Text, and what travels beside it.
    national: Annotated[tuple[Language, ...], Meta(min_length=0, max_length=13)] = ()
    transliterate: Literal["off", "safe", "lossy"] = "off"
    packed: bool = False
    class_coding: Literal["0x10", "0xF0", "subunit"] = "0x10"
    ports: Literal["udh", "tlv"] = "udh"
    # What it does not let through, for `sluice template lint`.
    banned_words: Annotated[tuple[str, ...], Meta(min_length=0, max_length=1000)] = ()
    validity: Literal["auto", "none", "relative", "absolute"] = "auto"
    validity_zone: Annotated[str, Meta(pattern=r"^[+-]((0\d|1[01]):(00|15|30|45)|12:00)$")] = "+00:00"
    more_messages: bool = False
    tlvs: Annotated[tuple[TlvSettings, ...], Meta(min_length=0, max_length=32)] = ()
    weight: Annotated[int, Meta(ge=1, le=1000)] = 1
    # Pace: the rate, the window and the pacing that follow the carrier's answers.
    adaptive: bool | None = None
    adaptive_start: Annotated[float, Meta(gt=0, le=1)] = 0.2
    throttle_hold_s: Annotated[float, Meta(ge=0.1, le=600)] = 2.0
    throttle_silence: bool = False
    probe_interval_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    pacing: Literal["auto", "bucket", "gap"] = "auto"
    window_floor: Annotated[int, Meta(ge=1, le=65536)] = 10
    # Limits beside tps.
    tps_unit: Literal["pdu", "message"] = "pdu"
    bind_tps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    host_tps: Annotated[int, Meta(ge=0, le=10_000_000)] = 0
    per_minute: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    per_day: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    day_zone: str = ""
    sender_limits: dict[str, LimitSettings] = {}
    campaign_limits: dict[str, LimitSettings] = {}
    country_limits: dict[str, LimitSettings] = {}
    # Messages from handsets.
    inbound_data_coding: dict[str, InboundAlphabet] = {}
    inbound_parts_timeout_s: Annotated[float, Meta(ge=1, le=604800)] = 86400.0
    inbound_dedupe_s: Annotated[float, Meta(ge=0, le=86400)] = 600.0
    inbound_busy_status: Literal["RMSGQFUL", "RTHROTTLED", "RSYSERR", "RX_T_APPN"] = "RMSGQFUL"
    inbound_prefix: Annotated[str, Meta(pattern="^([1-9][0-9]{0,3})?$")] = ""
    stop_reply: Annotated[str, Meta(max_length=1600)] = ""
    help_reply: Annotated[str, Meta(max_length=1600)] = ""
    doubt_reply: Annotated[str, Meta(max_length=1600)] = ""
    doubt_replies: Mapping[
        Annotated[str, Meta(pattern="^[1-9][0-9]{0,14}$")], Annotated[str, Meta(min_length=1, max_length=1600)]
    ] = {}
    # receipts
    receipt_recognised_by: Literal["esm_class", "pattern", "either"] = "esm_class"
    receipt_prefers: Literal["tlv", "text"] = "tlv"
    receipt_states: Annotated[dict[StateWord, ReceiptState], Meta(max_length=32)] = {}
    receipt_ids: Literal["auto", "verbatim", "loose", "hex", "decimal"] = "auto"
    receipt_zone: str = "UTC"
    receipt_unknown_is_final: bool = False
    receipt_delivered_wins: bool = False
    receipt_waiting_days: Annotated[float, Meta(ge=0.01, le=365)] = 7.0
    receipt_deadline_s: Annotated[float, Meta(ge=0, le=2592000)] = 0.0
    query_sm: bool = False
    query_after_s: Annotated[float, Meta(ge=0, le=2592000)] = 0.0
    query_per_s: Annotated[int, Meta(ge=1, le=1000)] = 5
    cancel_sm: bool = False
    # Routes.
    reroute_errors: Annotated[tuple[str, ...], Meta(min_length=0, max_length=256)] = ()
    reroute_undelivered: bool = False
    failover_after_s: Seconds = 60.0
    short_code_ton: Octet = 3
    sender_plus: bool = False
    # Binds
    hosts: Annotated[tuple[str, ...], Meta(min_length=0, max_length=16)] = ()
    host_policy: Literal["order", "spread"] = "order"
    refused_pause_s: Seconds = 300.0
    bind_statuses: dict[str, Literal["stale", "busy", "config"]] = {}
    idle_timeout_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    recycle_after: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    unreadable_most: Annotated[int, Meta(ge=0, le=1_000_000)] = 20
    half_dead_s: Annotated[float, Meta(ge=0, le=86400)] = 0.0
    breaker_after: Annotated[int, Meta(ge=0, le=1_000_000)] = 500
    needs_receiver: bool = True
    receiver_grace_s: Seconds = 10.0
    outbind_listen: str = ""
    outbind_system_id: str = ""
    outbind_password: str = ""
    outbind_peers: Annotated[tuple[str, ...], Meta(min_length=0, max_length=256)] = ()
    # TLS
    tls: bool = False
    tls_verify: bool = True
    tls_server_name: str = ""
    tls_ca_file: str = ""
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    # Capture
    pcap_octets: Annotated[int, Meta(ge=0, le=1 << 28)] = 1 << 18

    @property
    def is_adaptive(self) -> bool:
        """Whether the rate follows the carrier's answers."""
        if self.tps_unit == "message":
            return False
        return self.tps > 0 if self.adaptive is None else self.adaptive

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Every host of the account with its port, `host` first, each once."""
        more = (address_of(text, self.port) for text in self.hosts)
        return tuple(dict.fromkeys([(self.host, self.port), *(address for address in more if address is not None)]))

    @property
    def outbind_address(self) -> tuple[str, int]:
        """Where to listen for the SMSC."""
        return address_of(self.outbind_listen, 0) or ("", 0)

    @property
    def needs_tlvs(self) -> str:
        """The settings that send TLVs, by name; empty when there are none."""
        needing = {
            f"concatenation {self.concatenation!r}": self.concatenation in ("sar", "payload"),
            "tlvs": bool(self.tlvs),
            "more_messages": self.more_messages,
            "ports 'tlv'": self.ports == "tlv",
            "class_coding 'subunit'": self.class_coding == "subunit",
        }
        return ", ".join(name for name, is_set in needing.items() if is_set)


class Settings(Struct, frozen=True, kw_only=True):
    """Everything of one sluice.toml.

    profiles  those of the file
    origins   by carrier, by setting: `profile NAME`, `carrier` or `variable NAME`; what is in none has its default
    lineages  by carrier: its profiles in the order they are laid
    """

    database: DatabaseSettings = DatabaseSettings()
    worker: WorkerSettings = WorkerSettings()
    retention: RetentionSettings = RetentionSettings()
    rfm: RfmSettings = RfmSettings()
    links: LinkSettings = LinkSettings()
    reports: ReportSettings = ReportSettings()
    carriers: dict[str, CarrierSettings] = {}
    routes: tuple[RouteSettings, ...] = ()
    senders: dict[str, SenderSettings] = {}
    routing: RoutingSettings = RoutingSettings()
    keywords: KeywordSettings = KeywordSettings()
    brands: dict[str, BrandSettings] = {}
    inboxes: dict[str, InboxSettings] = {}
    costs: CostSettings = CostSettings()
    webhooks: WebhookSettings = WebhookSettings()
    source: str = ""
    profiles: Mapping[str, Profile] = {}
    origins: dict[str, dict[str, str]] = {}
    lineages: dict[str, tuple[str, ...]] = {}

    def carrier(self, name: str) -> CarrierSettings:
        """Find a carrier; ConfigError with the names there are."""
        try:
            return self.carriers[name]
        except KeyError:
            names = tuple(sorted(self.carriers))
            expected = _known(name, names) if names else "at least one [carriers.NAME] section"
            raise ConfigError([(f"carriers.{name}", expected, "no such section")]) from None

    def brand(self, name: str) -> BrandSettings:
        """Find a brand; ConfigError with the names there are."""
        try:
            return self.brands[name]
        except KeyError:
            names = tuple(sorted(self.brands))
            expected = _known(name, names) if names else "at least one [brands.NAME] section"
            raise ConfigError([(f"brands.{name}", expected, "no such section")]) from None

    @property
    def data_root(self) -> Path:
        """Folder of the embedded server."""
        if not self.database.data_root and os.environ.get("SLUICE_HOME"):
            return Path(os.environ["SLUICE_HOME"])
        return self.beside / Path(self.database.data_root or ".sluice").expanduser()

    @property
    def beside(self) -> Path:
        """The folder that files named in the settings are looked for in."""
        return Path(self.source).absolute().parent if self.source else Path.cwd()


_Section = TypeVar("_Section", bound=Struct)

# What may change while a carrier runs. If you add one, see that Carrier.tune has it take effect.
LIVE = (
    "tps", "window", "window_floor", "adaptive", "adaptive_start", "throttle_hold_s", "throttle_silence",
    "throttle_pause_s", "probe_interval_s", "retry_delay_s", "retry_longest_s", "max_attempts", "queue_full_delay_s",
    "queue_full_attempts", "breaker_after",
)  # fmt: skip
INTERFACE_VERSION = {"3.3": 0x33, "3.4": 0x34, "5.0": 0x50}
# Of those carriers issue beyond the standard's 8 characters.
LONGEST_PASSWORD = 64
# Secrets are never shown when they are wrong.
SECRET_KEYS = ("password", "dsn", "outbind_password", "secret")
SECTIONS = (
    "database",
    "worker",
    "retention",
    "rfm",
    "links",
    "reports",
    "profiles",
    "carriers",
    "routes",
    "senders",
    "routing",
    "keywords",
    "brands",
    "inboxes",
    "costs",
    "webhooks",
)
NAMED = ("profiles", "carriers", "brands", "inboxes")
DSN_FORM = "postgresql://user:password@host:port/database, special characters as %XX"
# §5.2 of SMPP 3.4: octets of a field without its NUL.
_OCTETS = (("system_id", 15), ("system_type", 12), ("address_range", 40), ("service_type", 5), ("source", 20))


# A message that left before midnight has its end the day after; failover looks a day back.
SHORTEST_DAYS = 2


def address_of(text: str, port: int) -> tuple[str, int] | None:
    """Read "host", "host:port", an IPv6 address or "[IPv6]:port"; `port` where none is said, None for another form."""
    host, bracket, rest = text[1:].partition("]") if text.startswith("[") else ("", "", text)
    if bracket:
        said = rest.removeprefix(":") if rest.startswith(":") else rest
        if rest and not rest.startswith(":"):
            return None
    elif text.count(":") > 1:
        host, said = text, ""
    else:
        host, colon, said = text.partition(":")
        if colon and not said:
            return None
    if not host or set(host) & set("/@[] \t") or not host.isprintable():
        return None
    if said and not (said.isascii() and said.isdecimal() and int(said) < 65536):
        return None
    return host, int(said) if said else port


def load(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read a file and the environment.

    path         None: $SLUICE_CONFIG, else `sluice.toml` in the current folder if there is one, else defaults alone
    environment  None: os.environ
    raises       ConfigError with every problem
    """
    environment = os.environ if environment is None else environment
    if path is None and environment.get("SLUICE_CONFIG"):
        path = Path(environment["SLUICE_CONFIG"])
    if path is None and Path(FILE_NAME).is_file():
        path = Path(FILE_NAME)
    document = _read(path) if path is not None else {}
    problems: list[Problem] = []
    variable_by_key = _overlay(document, environment, problems)
    secret.reveal(document, path.absolute().parent if path is not None else Path.cwd(), environment, problems)
    settings = decode(document, str(path) if path is not None else "", problems, variable_by_key)
    if problems:
        raise ConfigError([_located(problem, variable_by_key) for problem in problems])
    return settings


def decode(
    document: Mapping[str, Any], source: str, problems: list[Problem], variable_by_key: Mapping[str, str] | None = None
) -> Settings:
    """Turn a document into Settings; what is wrong is appended to `problems`, and defaults stand in for it."""
    for key in document:
        if key not in SECTIONS:
            problems.append((key, _known(key, SECTIONS), "an unknown section"))
    database, faulty = _section(DatabaseSettings, document.get("database", {}), "database", problems)
    if database is not None:
        problems.extend(_database_problems(database, faulty))
    worker, faulty = _section(WorkerSettings, document.get("worker", {}), "worker", problems)
    if worker is not None and worker.metrics_listen and "metrics_listen" not in faulty:
        try:
            endpoint(worker.metrics_listen)
        except ValueError as error:
            problems.append(("worker.metrics_listen", str(error), repr(worker.metrics_listen)))
    profiles, faulty_by_profile = _profiles(document, problems)
    carriers: dict[str, CarrierSettings] = {}
    laid_by_carrier: dict[str, Laid] = {}
    for name, section in _named(document, "carriers", problems).items():
        key = f"carriers.{name}"
        wanted = section.get("profile", "") if isinstance(section, Mapping) else ""
        if isinstance(wanted, str) and wanted and wanted not in profiles:
            problems.append((f"{key}.profile", _known(wanted, tuple(profiles)), _found("profile", wanted)))
        if isinstance(section, Mapping):
            laid = lay(section, [wanted] if isinstance(wanted, str) else [], profiles)
            laid.origins.update(_variables_below(key, variable_by_key or {}))
            laid_by_carrier[name] = laid
            section = laid.values
        carrier, faulty = _section(CarrierSettings, section, key, problems)
        if carrier is not None:
            for each in laid_by_carrier[name].lineage:
                # Told where it stands; here nothing is judged that hangs on it.
                faulty |= faulty_by_profile.get(each, set()) - laid_by_carrier[name].values.keys()
            problems.extend(_carrier_problems(key, carrier, faulty, laid_by_carrier[name].origins))
            carriers[name] = carrier
    laid_already = {each for laid in laid_by_carrier.values() for each in laid.lineage}
    for name in faulty_by_profile.keys() - laid_already:
        problems.extend(_problems_of_a_profile(name, profiles, faulty_by_profile))
    routes, senders, routing = _routing(document, carriers, problems)
    retention, faulty = _section(RetentionSettings, document.get("retention", {}), "retention", problems)
    if retention is not None and not faulty:
        problems.extend(_retention_problems(retention, carriers))
    scores, faulty = _section(RfmSettings, document.get("rfm", {}), "rfm", problems)
    if scores is not None and not faulty:
        problems.extend(rfm.problems_of("rfm", scores))
    links, faulty = _section(LinkSettings, document.get("links", {}), "links", problems)
    if links is not None and not faulty:
        problems.extend(link.settings_problems("links", links))
    reports, faulty = _section(ReportSettings, document.get("reports", {}), "reports", problems)
    if reports is not None and not faulty:
        problems.extend(reporting.problems_of("reports", reports))
    keywords, faulty = _section(KeywordSettings, document.get("keywords", {}), "keywords", problems)
    if keywords is not None:
        problems.extend(_keyword_problems(keywords, faulty))
    brands: dict[str, BrandSettings] = {}
    for name, section in _named(document, "brands", problems).items():
        made, faulty = _section(BrandSettings, section, f"brands.{name}", problems)
        if made is not None:
            for problem in brand.problems_of(f"brands.{name}", made):
                if re.split(r"[.\[]", problem[0].removeprefix(f"brands.{name}."))[0] not in faulty:
                    problems.append(problem)
            brands[name] = made
    inboxes = _inboxes(document, brands, problems)
    costs, faulty = _section(CostSettings, document.get("costs", {}), "costs", problems)
    if costs is not None and not faulty:
        problems.extend(cost_problems(costs, countries(), carriers))
    calls, faulty = _section(WebhookSettings, document.get("webhooks", {}), "webhooks", problems)
    if calls is not None and not faulty:
        problems.extend(webhook.problems_of("webhooks", calls))
    return Settings(
        webhooks=calls or WebhookSettings(),
        costs=costs or CostSettings(),
        database=database or DatabaseSettings(),
        worker=worker or WorkerSettings(),
        retention=retention or RetentionSettings(),
        rfm=scores or RfmSettings(),
        links=links or LinkSettings(),
        reports=reports or ReportSettings(),
        carriers=carriers,
        routes=routes,
        senders=senders,
        routing=routing,
        keywords=keywords or KeywordSettings(),
        brands=brands,
        inboxes=inboxes,
        source=source,
        profiles={name: profile for name, profile in profiles.items() if not profile.is_shipped},
        origins={name: laid.origins for name, laid in laid_by_carrier.items()},
        lineages={name: laid.lineage for name, laid in laid_by_carrier.items()},
    )


def _inboxes(
    document: Mapping[str, Any], brands: Mapping[str, BrandSettings], problems: list[Problem]
) -> dict[str, InboxSettings]:
    """Read who reads what handsets write."""
    inboxes: dict[str, InboxSettings] = {}
    for name, section in _named(document, "inboxes", problems).items():
        made, faulty = _section(InboxSettings, section, f"inboxes.{name}", problems)
        if made is not None:
            for problem in inbox.problems_of(f"inboxes.{name}", made, brands):
                if re.split(r"[.\[]", problem[0].removeprefix(f"inboxes.{name}."))[0] not in faulty:
                    problems.append(problem)
            inboxes[name] = made
    problems.extend(inbox.problems_between(inboxes))
    return inboxes


def _routing(
    document: Mapping[str, Any], carriers: Mapping[str, Any], problems: list[Problem]
) -> tuple[tuple[RouteSettings, ...], dict[str, SenderSettings], RoutingSettings]:
    """Read routes, senders and what holds for all of them; contradictions are judged where their parts are right."""
    before = len(problems)
    routing, _ = _section(RoutingSettings, document.get("routing", {}), "routing", problems)
    routes: list[RouteSettings] = []
    for at, section in enumerate(_tables(document.get("routes", []), "routes", problems), 1):
        parts = dict(section) if isinstance(section, Mapping) else section
        below = parts.pop("carriers", []) if isinstance(parts, dict) else []
        route, _ = _section(RouteSettings, parts, f"routes[{at}]", problems)
        taken = [
            _section(RouteCarrier, one, f"routes[{at}].carriers[{number}]", problems)[0]
            for number, one in enumerate(_tables(below, f"routes[{at}].carriers", problems), 1)
        ]
        if route is not None:
            routes.append(msgspec.structs.replace(route, carriers=tuple(one for one in taken if one is not None)))
    senders: dict[str, SenderSettings] = {}
    sections = document.get("senders", {})
    if not isinstance(sections, Mapping):
        problems.append(("senders", "sections [senders.GB] and [senders.default]", _kind_of(sections)))
        sections = {}
    for country, section in sections.items():
        sender, _ = _section(SenderSettings, section, f"senders.{country}", problems)
        if sender is not None:
            senders[country] = sender
    if len(problems) == before:
        problems.extend(judge(routes, senders, routing or RoutingSettings(), carriers))
    return tuple(routes), senders, routing or RoutingSettings()


def _tables(value: Any, key: str, problems: list[Problem]) -> list[Any]:
    """The tables of a list; a problem when it is no list."""
    if isinstance(value, list):
        return value
    problems.append((key, f"a list of tables such as [[{key}]]", _kind_of(value)))
    return []


def _named(document: Mapping[str, Any], kind: str, problems: list[Problem]) -> Mapping[str, Any]:
    """Take the sections [KIND.NAME]; names that are none are problems."""
    sections = document.get(kind, {})
    if not isinstance(sections, Mapping):
        problems.append((kind, f"sections [{kind}.NAME]", _kind_of(sections)))
        return {}
    for name in sections:
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            expected = "a name of 1 to 64 letters, digits, `_`, `.` and `-` that begins with a letter or a digit"
            problems.append((f"{kind}.{name}", expected, repr(name)))
    return sections


def _profiles(document: Mapping[str, Any], problems: list[Problem]) -> tuple[dict[str, Profile], dict[str, set[str]]]:
    """Take our profiles and those of a document; -> them, and by name the settings that were wrong and are left out."""
    profiles = dict(shipped())
    faulty_by_profile: dict[str, set[str]] = {}
    for name, section in _named(document, "profiles", problems).items():
        key = f"profiles.{name}"
        if not isinstance(section, Mapping):
            problems.append((key, f"a section [{key}]", _kind_of(section)))
            continue
        if name in shipped():
            problems.append((key, "a name that no profile of ours has", repr(name)))
            continue
        own, faulty = _profile_values(key, section, problems)
        profiles[name] = profile_of(name, own)
        faulty_by_profile[name] = faulty
    for name in faulty_by_profile:
        for parent in profiles[name].inherits:
            if parent not in profiles:
                others = tuple(each for each in profiles if each != name)
                problems.append((f"profiles.{name}.inherits", _known(parent, others), repr(parent)))
        loop = loop_of(name, profiles)
        if loop and name == min(loop):
            problems.append((f"profiles.{name}.inherits", "profiles that do not inherit themselves", " → ".join(loop)))
    return profiles, faulty_by_profile


def _problems_of_a_profile(
    name: str, profiles: Mapping[str, Profile], faulty_by_profile: Mapping[str, set[str]]
) -> list[Problem]:
    """Say what of a profile that no carrier has yet contradicts itself, or what it inherits."""
    laid = lay({}, [name], profiles)
    values = {field: value for field, value in laid.values.items() if field in CarrierSettings.__struct_fields__}
    carrier, faulty = _section(CarrierSettings, {**values, "host": "unknown"}, f"profiles.{name}", [])
    if carrier is None:
        return []
    for each in laid.lineage:
        faulty |= faulty_by_profile.get(each, set())
    return _carrier_problems(f"profiles.{name}", carrier, faulty, laid.origins, is_whole=False)


def _profile_values(key: str, section: Mapping[str, Any], problems: list[Problem]) -> tuple[dict[str, Any], set[str]]:
    """Judge the settings of a profile one by one; -> those that are right, and the names of the others."""
    hints = get_type_hints(CarrierSettings, include_extras=True)
    right: dict[str, Any] = {}
    faulty: set[str] = set()
    for field, value in section.items():
        if field in OF_A_CARRIER:
            problems.append(
                (f"{key}.{field}", "settings that carriers can share", "one that belongs to a carrier alone")
            )
        elif field == "inherits":
            if isinstance(value, str) or (isinstance(value, list) and all(isinstance(each, str) for each in value)):
                right[field] = value
            else:
                problems.append((f"{key}.inherits", "the name of a profile, or a list of names", _found(field, value)))
        elif field not in hints and field not in OF_A_PROFILE:
            known = (*OF_A_PROFILE, *(each for each in hints if each not in OF_A_CARRIER))
            problems.append((f"{key}.{field}", _known(field, known), "an unknown key"))
        else:
            hint = hints.get(field, str)
            try:
                msgspec.convert(value, hint, strict=True)
                right[field] = value
            except msgspec.ValidationError:
                problems.extend(_misfits(f"{key}.{field}", hint, field, value))
                faulty.add(field)
    return right, faulty


def _variables_below(key: str, variable_by_key: Mapping[str, str]) -> dict[str, str]:
    """Say which settings of a section came from the environment."""
    prefix = f"{key}."
    return {
        each.removeprefix(prefix): f"variable {variable}"
        for each, variable in variable_by_key.items()
        if each.startswith(prefix)
    }


def tuned(name: str, carrier: CarrierSettings, changes: Mapping[str, Any]) -> CarrierSettings:
    """Lay other values over the settings of a running carrier.

    changes  by setting, of `LIVE`; typed as the settings are
    raises   ConfigError with every problem, contradictions with what stays included
    """
    hints = get_type_hints(CarrierSettings, include_extras=True)
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for field, value in changes.items():
        key = f"carriers.{name}.{field}"
        if field not in hints:
            problems.append((key, _known(field, LIVE), "an unknown key"))
        elif field not in LIVE:
            problems.append((key, f"one of {', '.join(LIVE)}", "a setting whose change needs a restart"))
        else:
            try:
                values[field] = msgspec.convert(value, hints[field], strict=True)
            except msgspec.ValidationError:
                problems.extend(_misfits(key, hints[field], field, value))
    changed = msgspec.structs.replace(carrier, **values)
    if not problems:
        problems = _carrier_problems(f"carriers.{name}", changed, set(), {})
    if problems:
        raise ConfigError(problems)
    return changed


def endpoint(text: str, lowest: int = 1) -> tuple[str, int]:
    """Cut `127.0.0.1:9464` or `[::1]:9464` into address and port; ValueError says what was expected."""
    host, _, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host if ":" not in host else ""
    if not host or not host.isprintable() or " " in host or not (port.isascii() and port.isdecimal()):
        raise ValueError("an address and a port, such as 127.0.0.1:9464 or [::1]:9464")
    if not lowest <= int(port[:6]) <= 65535:
        raise ValueError(f"a port from {lowest} to 65535")
    return host, int(port)


def zone_of(given: str) -> tzinfo | None:
    """Read a time zone: a name of the IANA table, or an offset such as +03:00; None where it is neither."""
    if found := re.fullmatch(r"([+-])(\d\d):([0-5]\d)", given):
        offset = timedelta(hours=int(found[2]), minutes=int(found[3]))
        return timezone(offset if found[1] == "+" else -offset) if offset <= timedelta(hours=14) else None
    try:
        return ZoneInfo(given)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def dsn_problem(key: str, dsn: str) -> Problem | None:
    """What is wrong with the form of a DSN; None if nothing. Nothing of the DSN itself is told.

    A password with `/`, `?` or `#` in it moves the borders of the other parts, and whoever reports those parts
    reports the password.
    """
    try:
        parts = urlsplit(dsn)
        is_right = parts.scheme in ("postgresql", "postgres") and "://" in dsn and not parts.fragment
        for place in parts.netloc.rpartition("@")[2].split(","):
            port = place.rpartition("]")[2].rpartition(":")[2] if ":" in place.rpartition("]")[2] else ""
            is_right = is_right and (not port or (port.isdecimal() and 0 < int(port) < 65536))
        if parts.query:
            parse_qsl(parts.query, strict_parsing=True)
    except ValueError:
        is_right = False
    return None if is_right else (key, DSN_FORM, "another form (not shown)")


def _read(path: Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError when it cannot be."""
    try:
        # Windows' editors put a mark before UTF-8.
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError([(str(path), "a readable file", (error.strerror or str(error)).lower())]) from error
    except UnicodeDecodeError as error:
        found = f"octet 0x{error.object[error.start]:02x} at {error.start}"
        raise ConfigError([(str(path), "TOML in UTF-8", found)]) from error
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        raise ConfigError([(str(path), "TOML", text[:1].lower() + text[1:])]) from error
    except (ValueError, RecursionError) as error:
        # Not TOMLDecodeError: an integer of more than 4300 digits, a file name with a NUL.
        found = "sections or lists too deep" if isinstance(error, RecursionError) else "a number or a name too long"
        raise ConfigError([(str(path), "TOML", found)]) from error


def _database_problems(database: DatabaseSettings, faulty: set[str]) -> list[Problem]:
    """What the types cannot say."""
    problems: list[Problem] = []
    if database.dsn and (problem := dsn_problem("database.dsn", database.dsn)):
        problems.append(problem)
    try:
        Path(database.data_root).expanduser()
        is_path = "\0" not in database.data_root
    except RuntimeError:
        is_path = False
    if not is_path:
        problems.append(("database.data_root", "a folder", repr(database.data_root)))
    return [problem for problem in problems if problem[0].rpartition(".")[2] not in faulty]


def _retention_problems(kept: RetentionSettings, carriers: Mapping[str, CarrierSettings]) -> list[Problem]:
    """Judge what is kept against what needs it: runs are counted from chunks, chunks from outcomes."""
    problems: list[Problem] = []
    for name in ("message_days", "payload_days"):
        if 0 < getattr(kept, name) < SHORTEST_DAYS:
            problems.append((f"retention.{name}", f"0 or at least {SHORTEST_DAYS}", str(getattr(kept, name))))
    above = (
        ("chunk_days", kept.message_days + SHORTEST_DAYS, "message_days"),
        ("run_days", kept.chunk_days, "chunk_days"),
    )
    for name, least, below in above:
        days = getattr(kept, name)
        if days and not getattr(kept, below):
            problems.append((f"retention.{name}", f"0, as {below} is", str(days)))
        elif 0 < days < least:
            problems.append(
                (f"retention.{name}", f"0 or at least {least}, since {below} is {getattr(kept, below)}", str(days))
            )
    if kept.message_days:
        for carrier, settings in carriers.items():
            for name, extra in (("receipt_deadline_s", 0), ("query_after_s", 86400)):
                longest = kept.message_days * 86400 - extra
                if getattr(settings, name) > longest:
                    problems.append(
                        (
                            f"carriers.{carrier}.{name}",
                            f"at most {longest}, while retention.message_days is {kept.message_days}",
                            f"{getattr(settings, name):g}",
                        )
                    )
    return problems


def _keyword_problems(keywords: KeywordSettings, faulty: set[str]) -> list[Problem]:
    """Find words that are none, and those that would mean two things."""
    problems: list[Problem] = []
    for field, wish in (("stop", "stop"), ("start", "start")):
        if {"stop", "start"} & faulty:
            break
        for text in getattr(keywords, field):
            if not tokens_of(text):
                problems.append((f"keywords.{field}", "words with a letter or digit in them", repr(text)))
            elif words(keywords.stop, keywords.start).wish(text) != wish:
                problems.append(
                    (f"keywords.{field}", f"a word that does not mean another thing than {wish}", repr(text))
                )
    return problems


def _carrier_problems(
    key: str, carrier: CarrierSettings, faulty: set[str], origins: Mapping[str, str], is_whole: bool = True
) -> list[Problem]:
    """What the types cannot say. `faulty` fields hold their defaults, and nothing that hangs on one is judged.

    origins   where each setting comes from: told of the settings that contradict one another, unless all of them stand
              in the carrier's own section
    is_whole  whether what is not set has its default; of a profile it is not known yet
    """
    problems: list[Problem] = []

    def whence(names: list[str]) -> str:
        if not any(origins.get(name, "").startswith("profile ") for name in names):
            return ""
        told = []
        for name in names:
            value = _found(name, msgspec.to_builtins(getattr(carrier, name)))
            shown = "(not shown)" if name in SECRET_KEYS else value
            told.append(f"{name} = {shown} of {origins.get(name, 'default')}")
        return f" ({', '.join(told)})"

    def unless(is_right: bool, fields: str, expected: str, found: str = "") -> None:
        # The first of the fields is the one that is named.
        names = fields.split()
        if not is_whole and not origins.keys() >= set(names):
            return
        if not is_right and not faulty.intersection(names):
            problems.append(
                (f"{key}.{names[0]}", expected, (found or repr(getattr(carrier, names[0]))) + whence(names))
            )

    if "suppress" not in faulty:
        problems += [
            (f"{key}.suppress.{name}", expected, found)
            for name, expected, found in suppression.problems(carrier.suppress)
        ]
    host = carrier.host
    unless(
        not set(host) & set("/@ \t") and host.isprintable() and host.count(":") != 1,
        "host",
        "a host name or an address alone",
        "another form (not shown)",
    )
    for field, limit in _OCTETS:
        value = getattr(carrier, field)
        unless(
            len(value) <= limit and value.isascii() and value.isprintable(),
            field,
            f"at most {limit} printable ASCII characters (SMPP 3.4 §5.2)",
        )
    longest = LONGEST_PASSWORD if carrier.long_password else 8
    unless(
        len(carrier.password) <= longest and carrier.password.isascii() and "\0" not in carrier.password,
        "password long_password",
        f"at most {longest} ASCII characters{'' if carrier.long_password else ', or long_password = true'}",
        f"{len(carrier.password)} characters (not shown)",
    )
    unless(
        (carrier.version, carrier.bind) != ("3.3", "trx"),
        "bind version",
        '"tx+rx", since SMPP 3.3 has no transceiver',
    )
    unless(
        _is_source(carrier.source, carrier.source_ton),
        "source source_ton",
        _SOURCE_BY_TON.get(carrier.source_ton, "a sender"),
    )
    unless(carrier.pcap_octets == 0 or carrier.pcap_octets >= 1024, "pcap_octets", "0, or at least 1024")
    for field, is_set in (
        ("tlvs", bool(carrier.tlvs)),
        ("more_messages", carrier.more_messages),
        ("ports", carrier.ports == "tlv"),
        ("class_coding", carrier.class_coding == "subunit"),
    ):
        unless(
            not is_set or carrier.version != "3.3",
            f"{field} version",
            "nothing that needs TLVs, since SMPP 3.3 has none",
            "a list" if field == "tlvs" else "",
        )
    unless(
        carrier.transliterate == "off" or "gsm7" in carrier.alphabets,
        "transliterate alphabets",
        '"off", since alphabets has no gsm7 to turn a text into',
    )
    unless(
        not carrier.national or "gsm7" in carrier.alphabets,
        "national alphabets",
        "no languages, since alphabets has no gsm7 that their tables stand for",
    )
    unless(
        not carrier.national or carrier.concatenation != "payload",
        "national concatenation",
        "no languages, since what an SMSC cuts itself has no table in its parts",
    )
    unless(
        not carrier.packed or "gsm7" in carrier.alphabets,
        "packed alphabets",
        "false, since alphabets has no gsm7",
    )
    for number, tlv in enumerate(carrier.tlvs):
        if bool(tlv.value) == bool(tlv.field):
            found = "both" if tlv.value else "neither"
            problems.append((f"{key}.tlvs[{number}]", "a value or a field, one of them", found))
        elif tlv.value and tlv.type.startswith("int"):
            most = 256 ** int(tlv.type[3:]) - 1
            if not (tlv.value.isascii() and tlv.value.isdecimal() and len(tlv.value) <= 10 and int(tlv.value) <= most):
                problems.append((f"{key}.tlvs[{number}].value", f"a number of at most {most}", repr(tlv.value)))
        elif len(tlv.value.encode()) > tlv.max:
            expected = f"at most {tlv.max} octets, as its max says"
            problems.append((f"{key}.tlvs[{number}].value", expected, f"{len(tlv.value.encode())} octets"))
        elif "\0" in tlv.value:
            problems.append((f"{key}.tlvs[{number}].value", "a text without NUL", repr(tlv.value)))
    unless(
        carrier.version != "3.3" or carrier.concatenation not in ("sar", "payload"),
        "concatenation version",
        "udh16 or udh8, since SMPP 3.3 has no TLVs",
    )
    unless(
        carrier.reconnect_first_s <= carrier.reconnect_longest_s,
        "reconnect_first_s reconnect_longest_s",
        f"at most reconnect_longest_s, {carrier.reconnect_longest_s:g}",
    )
    unless(
        carrier.retry_delay_s <= carrier.retry_longest_s,
        "retry_delay_s retry_longest_s",
        f"at most retry_longest_s, {carrier.retry_longest_s:g}",
    )
    unless(
        zone_of(carrier.receipt_zone) is not None,
        "receipt_zone",
        "a time zone such as Europe/Vienna, UTC, or +03:00",
    )
    unless(
        len({word.lower() for word in carrier.receipt_states}) == len(carrier.receipt_states),
        "receipt_states",
        "each word once, in whatever case",
    )
    unless(
        not carrier.receipt_deadline_s or carrier.registered_delivery & 0x03 == 1,
        "receipt_deadline_s registered_delivery",
        "0, since registered_delivery does not ask for a receipt of every message",
    )
    unless(
        not carrier.query_sm or carrier.registered_delivery & 0x03 == 1,
        "query_sm registered_delivery",
        "false, since registered_delivery does not ask for a receipt of every message",
    )
    unless(
        not carrier.query_sm or bool(carrier.query_after_s or carrier.receipt_deadline_s),
        "query_after_s query_sm receipt_deadline_s",
        "a time, or receipt_deadline_s, since query_sm asks after it",
    )
    unless(
        carrier.query_sm or not carrier.query_after_s,
        "query_after_s query_sm",
        "0, or query_sm = true",
    )
    unless(len(set(carrier.alphabets)) == len(carrier.alphabets), "alphabets", "each alphabet once")
    unless(
        carrier.is_adaptive or not carrier.throttle_silence,
        "throttle_silence adaptive tps",
        "false, or an adaptive account: adaptive = true",
    )
    unless(
        carrier.tps_unit == "pdu" or not carrier.adaptive,
        "adaptive tps_unit",
        "false: carriers refuse PDUs, so an adaptive rate counts PDUs, and tps_unit is message",
    )
    unless(
        not carrier.day_zone or (zone_of(carrier.day_zone) is not None and carrier.day_zone[:1] not in "+-"),
        "day_zone",
        "a time zone such as US/Pacific, or nothing",
    )
    for country in carrier.country_limits:
        if country != "*" and country not in countries():
            problems.append(
                (f"{key}.country_limits.{country}", "a country of two letters such as GB, or *", repr(country))
            )
    codings = [coding_of(coding) for coding in carrier.inbound_data_coding]
    unless(
        None not in codings and len(set(codings)) == len(codings),
        "inbound_data_coding",
        "each data_coding once, 0 to 255 or 0x00 to 0xFF",
        ", ".join(carrier.inbound_data_coding),
    )
    unless(
        not (carrier.reroute_undelivered and carrier.reroute_errors),
        "reroute_errors reroute_undelivered",
        "none, since reroute_undelivered takes every error",
    )
    _judge_binds(carrier, unless)
    return problems


def _judge_binds(carrier: CarrierSettings, unless: Callable[..., None]) -> None:
    """What the types cannot say of hosts, sessions, outbind and TLS."""
    for text in carrier.hosts:
        address = address_of(text, carrier.port)
        unless(address is not None and address[1] > 0, "hosts", '"host" or "host:port"', "another form (not shown)")
    unless(
        not carrier.recycle_after or carrier.recycle_after >= 2 * carrier.window,
        "recycle_after window",
        f"at least 2 windows, {2 * carrier.window}, since what is in flight counts too",
    )
    unless(
        not carrier.inactivity_s or not carrier.idle_timeout_s or carrier.inactivity_s <= carrier.idle_timeout_s,
        "inactivity_s idle_timeout_s",
        f"at most idle_timeout_s, {carrier.idle_timeout_s:g}: the SMSC would be first",
    )
    listen = address_of(carrier.outbind_listen, 0)
    unless(
        not carrier.outbind_listen or (listen is not None and listen[1] > 0),
        "outbind_listen",
        '"address:port" of this machine',
    )
    unless(
        not carrier.outbind_listen or bool(carrier.outbind_password or carrier.outbind_peers),
        "outbind_password outbind_listen outbind_peers",
        "a password, or the addresses that may call in outbind_peers",
        "neither",
    )
    unless(
        bool(carrier.outbind_listen)
        or not (carrier.outbind_password or carrier.outbind_peers or carrier.outbind_system_id),
        "outbind_listen outbind_peers outbind_system_id",
        "an address to listen on, since other settings of outbind are there",
        "nothing",
    )
    unless(
        not (carrier.outbind_listen and carrier.tls),
        "outbind_listen tls",
        "nothing, since tls = true: TLS is spoken on connections that we make",
    )
    for peer in carrier.outbind_peers:
        unless(
            _is_network(peer), "outbind_peers", 'addresses or networks, as "192.0.2.7" or "192.0.2.0/24"', repr(peer)
        )
    set_for_nothing = [
        name
        for name in ("tls_server_name", "tls_ca_file", "tls_certificate_file", "tls_key_file")
        if getattr(carrier, name)
    ]
    unless(
        carrier.tls or not set_for_nothing,
        f"tls {' '.join(set_for_nothing)}",
        f"true, since {set_for_nothing[0] if set_for_nothing else ''} is there",
    )
    unless(
        carrier.tls_verify or not carrier.tls_ca_file,
        "tls_verify tls_ca_file",
        "true, since tls_ca_file says who is to be believed",
    )
    unless(
        not carrier.tls_key_file or bool(carrier.tls_certificate_file),
        "tls_certificate_file tls_key_file",
        "the certificate that tls_key_file belongs to",
        "nothing",
    )


def coding_of(text: str) -> int | None:
    """Read the data_coding that a key of a map names; None if it is none."""
    try:
        coding = int(text, 0)
    except ValueError:
        return None
    return coding if 0 <= coding <= 255 else None


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True


_SOURCE_BY_TON = {
    1: "an international number of 5 to 15 digits (source_ton 1)",
    2: "digits (source_ton 2)",
    3: "a short code of 2 to 12 digits (source_ton 3)",
    5: "at most 11 characters of GSM for an alphanumeric sender (source_ton 5)",
    6: "a short code of 2 to 12 digits (source_ton 6)",
}


def _is_source(source: str, ton: int) -> bool:
    """Whether a sender is of its type of number; none at all is for the carrier to fill in."""
    digits = source.removeprefix("+") if ton == 1 else source
    is_number = digits.isascii() and digits.isdecimal()
    if not source or ton not in _SOURCE_BY_TON:
        return True
    if ton == 5:
        # A character of the extension takes two of the eleven septets, and GSM has no back-tick.
        return "`" not in source and len(source) + sum(source.count(c) for c in "^{}\\[~]|") <= 11
    return is_number and {1: 5 <= len(digits) <= 15, 2: True}.get(ton, 2 <= len(digits) <= 12)


def _section(kind: type[_Section], section: Any, key: str, problems: list[Problem]) -> tuple[_Section | None, set[str]]:
    """Decode field by field, so that each problem has its whole path and none hides another.

    ->  the section and the fields that were wrong, which hold their defaults; None if it is no section at all
    """
    if not isinstance(section, Mapping):
        problems.append((key, f"a section [{key}]", _kind_of(section)))
        return None, set()
    hints = get_type_hints(kind, include_extras=True)
    values: dict[str, Any] = {}
    faulty: set[str] = set()
    for field, value in section.items():
        if field not in hints:
            problems.append((f"{key}.{field}", _known(field, tuple(hints)), "an unknown key"))
            continue
        try:
            values[field] = msgspec.convert(value, hints[field], strict=True)
        except msgspec.ValidationError:
            problems.extend(_misfits(f"{key}.{field}", hints[field], field, value))
            faulty.add(field)
    for known in msgspec.structs.fields(kind):
        if known.required and known.name not in values:
            if known.name not in faulty:
                problems.append((f"{key}.{known.name}", _wanted(hints[known.name]), "nothing"))
            # Every field that must be given is a text.
            values[known.name] = ""
            faulty.add(known.name)
    return kind(**values), faulty


def _misfits(key: str, hint: Any, field: str, value: Any) -> list[Problem]:
    """Say what of a value does not fit its type: of a table each wrong entry, by its own path."""
    if get_origin(hint) is dict and isinstance(value, Mapping):
        kinds = get_args(hint)
        found: list[Problem] = []
        for entry, each in value.items():
            for kind, part in zip(kinds, (entry, each), strict=True):
                try:
                    msgspec.convert(part, kind, strict=True)
                except msgspec.ValidationError:
                    found.append((f"{key}.{entry}", _wanted(kind), _found(field, part)))
        return found
    kind = get_args(get_args(hint)[0])[0] if get_origin(hint) is Annotated and get_args(get_args(hint)[0]) else None
    if isinstance(value, list) and isinstance(kind, type) and issubclass(kind, Struct):
        entries: list[Problem] = []
        for number, entry in enumerate(value):
            _section(kind, entry, f"{key}[{number}]", entries)
        return entries or [(key, _wanted(hint), f"{len(value)} of them")]
    return [(key, _wanted(hint), _found(field, value))]


def _wanted(hint: Any) -> str:
    """Say in words what a type takes."""
    meta = Meta()
    if get_origin(hint) is Annotated:
        hint, meta = get_args(hint)[:2]
    if get_origin(hint) is Literal:
        return f"one of {', '.join(repr(choice) for choice in get_args(hint))}"
    if get_origin(hint) is tuple:
        return f"a list of {meta.min_length} to {meta.max_length}, each {_wanted(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        key, value = get_args(hint)
        return f"a section with keys {_wanted(key)} and values {_wanted(value)}"
    if isinstance(hint, type) and issubclass(hint, Struct):
        return f"a section with keys {', '.join(hint.__struct_fields__)}"
    if hint is Any:
        return "a value"
    if hint is bool:
        return "true or false"
    if hint is str and meta.pattern:
        return f"a text of the form {meta.pattern}"
    if hint is str:
        return "a text" if not meta.min_length else "a text that is not empty"
    low = f"above {meta.gt:g}" if meta.gt is not None else f"at least {meta.ge:g}" if meta.ge is not None else ""
    return f"{'an integer' if hint is int else 'a number'} {low}, at most {meta.le:.10g}"


def _known(key: str, names: tuple[str, ...]) -> str:
    """Name what there is, or what was probably meant."""
    close = difflib.get_close_matches(key, names, n=1)
    return f"a known name (did you mean {close[0]!r}?)" if close else f"one of {', '.join(names)}"


def _kind_of(value: Any) -> str:
    """Name the kind of a value without the value: in the place of a section a DSN may stand."""
    kinds = {bool: "true or false", int: "an integer", float: "a number", str: "a text", list: "a list"}
    return kinds.get(type(value), "a section" if isinstance(value, Mapping) else f"a {type(value).__name__}")


def _found(field: str, value: Any) -> str:
    """Show a value that is no secret, shortened."""
    if field in SECRET_KEYS:
        return f"{_kind_of(value)} (not shown)"
    if isinstance(value, Mapping) or (
        isinstance(value, list) and any(isinstance(one, Mapping | list) for one in value)
    ):
        return _kind_of(value)
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _located(problem: Problem, variable_by_key: Mapping[str, str]) -> Problem:
    """Say which variable a wrong value came from; make a stranger's key fit for a terminal."""
    key, expected, found = problem
    variable = variable_by_key.get(key)
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in key)
    return shown, expected, f"{found} in {variable}" if variable else found


def _overlay(document: dict[str, Any], environment: Mapping[str, str], problems: list[Problem]) -> dict[str, str]:
    """Lay SLUICE__SECTION__KEY=value over the document; -> the variable of each key.

    The value of a text is taken as it stands (a password of digits is a password); of others as TOML.
    """
    variable_by_key: dict[str, str] = {}
    for variable, text in sorted(environment.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        path = _path_of(variable, document, problems)
        if not path:
            continue
        place: Any = document
        for part in path[:-1]:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            problems.append((variable, "SLUICE__SECTION__KEY", f"no section {'.'.join(path[:-1])}"))
            continue
        place[path[-1]] = text if _is_text(path) else _value_of(text)
        variable_by_key[".".join(path)] = variable
    return variable_by_key


def _path_of(variable: str, document: Mapping[str, Any], problems: list[Problem]) -> list[str]:
    """Cut a variable into the keys it names; nothing when it names none, which is a problem."""
    rest = variable[len(ENVIRONMENT_PREFIX) :].lower()
    path = rest.split("__")
    if path[0] in NAMED and len(path) > 2:
        below = rest.removeprefix(f"{path[0]}__")
        sections = document.get(path[0])
        named = [name for name in sections if _fits(name, below)] if isinstance(sections, Mapping) else []
        longest = max((len(name) for name in named), default=0)
        named = [name for name in named if len(name) == longest]
        if len(named) > 1:
            problems.append(
                (variable, f"a variable that fits one {path[0][:-1]}", f"it fits {' and '.join(sorted(named))}")
            )
            return []
        if named:
            path = [path[0], named[0], *below[longest + 2 :].split("__")]
    if len(path) < 2 or not all(path):
        problems.append((variable, "SLUICE__SECTION__KEY", "a variable that names no setting"))
        return []
    return path


def _fits(name: str, below: str) -> bool:
    return below.startswith(name.lower().replace("-", "_").replace(".", "_") + "__")


def _is_text(path: list[str]) -> bool:
    """Whether the setting takes a text, by its type."""
    kinds: dict[str, type[Struct]] = {
        "database": DatabaseSettings,
        "worker": WorkerSettings,
        "retention": RetentionSettings,
    }
    kinds["routing"] = RoutingSettings
    kind = kinds.get(path[0])
    if path[0] in NAMED and len(path) == 3:
        named: dict[str, type[Struct]] = {"brands": BrandSettings, "inboxes": InboxSettings}
        kind = named.get(path[0], CarrierSettings)
    hint = get_type_hints(kind, include_extras=True).get(path[-1]) if kind is not None else None
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint is str or (get_origin(hint) is Literal and isinstance(get_args(hint)[0], str))


def _value_of(text: str) -> Any:
    try:
        document = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    # A line end in the text could bring more keys than one.
    return document["value"] if len(document) == 1 else text
