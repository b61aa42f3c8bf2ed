"""The events that others act on: each kind with its fields, once, so that writers and readers mean the same.

An event is a row of the table `event`, written in the transaction of what it tells: it exists if and only if that does.
Numbers are counted by lane without gaps, and rows of a lane become visible in their order: a reader that remembers the
last number misses none (store/events.py).
Not here: logs (each room's own), counters and figures (the compiled rooms).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct


class Kind(Struct, frozen=True):
    """What an event tells, whom its `subject` names, and the fields of its body."""

    sentence: str
    subject: str
    fields: Mapping[str, str]


# If you add a kind, emit it through `event` with its name written out: tests/house/test_events.py looks for that.
KINDS: Mapping[str, Kind] = {
    "inbound.received": Kind(
        "a handset's message is whole, or its missing parts are waited for no longer",
        "the address of the handset, as the SMSC wrote it",
        {
            "message": "id in inbound_message",
            "destination": "the address written to",
            "text": "what was written; U+FFFD stands for what could not be read",
            "parts": "how many the message has, those that never came included",
            "missing": "numbers, from 1, of the parts that never came",
            "alphabet": "what the octets were read as",
            "is_lossy": "whether something could not be read",
        },
    ),
    "stop.received": Kind(
        "a handset asks not to be written to any more; it is in the feed of STOPs when this is written",
        "the address of the handset, as the SMSC wrote it",
        {
            "message": "id in inbound_message",
            "number": "of the handset",
            "scope": "* everything, or sender:NAME",
            "is_new": "whether it was not stopped already",
        },
    ),
    "doubt.received": Kind(
        "a message may ask not to be written to any more: what is promotional is paused, somebody should read it",
        "the address of the handset, as the SMSC wrote it",
        {
            "message": "id in inbound_message",
            "number": "of the handset",
            "is_new": "whether it was not paused or stopped already",
        },
    ),
    "doubt.lifted": Kind(
        "a handset that was asked what it means has answered something ordinary: what is promotional goes on",
        "the address of the handset, as the SMSC wrote it",
        {"message": "id in inbound_message", "number": "of the handset"},
    ),
    "start.received": Kind(
        "a handset takes its STOP back; what others than itself have stopped stays stopped",
        "the address of the handset, as the SMSC wrote it",
        {
            "message": "id in inbound_message",
            "number": "of the handset",
            "scope": "where it was written to: * everything, or sender:NAME",
            "is_new": "whether there was something to lift",
        },
    ),
    "consent.confirmed": Kind(
        "a handset says yes to the request for its consent; the ledger has it when this is written",
        "the address of the handset, as the SMSC wrote it",
        {
            "message": "id in inbound_message",
            "number": "of the handset",
            "brands": "whose request it answers",
        },
    ),
    "coupons.low": Kind(
        "a pool of codes runs dry: 10 % of it are left, or 2 %",
        "the pool",
        {
            "left": "free codes, or fewer",
            "total": "codes that were imported",
            "percent": "10 or 2: what was fallen below",
        },
    ),
    "conversation.late": Kind(
        "an answer to a handset was due, and nobody has given it (IN-4)",
        "the number of the handset",
        {
            "conversation": "its id, for `sluice inbox show`",
            "inbox": "by name",
            "assigned_to": "whose it is; empty: nobody's",
            "is_first": "whether it would have been the first answer of the conversation",
        },
    ),
    "conversation.handed_over": Kind(
        "what answers by itself has given a conversation to people (IN-6)",
        "the number of the handset",
        {
            "conversation": "its id, for `sluice inbox show`",
            "inbox": "by name",
            "why": "by which limit",
        },
    ),
    "receipts.rule_changed": Kind(
        "a carrier's receipts name their messages by another rule than they did: 200 in a row matched by it",
        "the carrier",
        {
            "before": "verbatim, loose, hex or decimal: how an id of a receipt was one of a response",
            "now": "how it is since",
        },
    ),
    "campaign.paused": Kind(
        "a campaign cannot be carried out and stands, so that the others go on; somebody should look",
        "the campaign",
        {"why": "what went wrong"},
    ),
    "experiment.arm_stopped": Kind(
        "nobody gets a variant any more: people leave, or messages fail, twice as often as with the best of the others",
        "the experiment",
        {
            "arm": "the variant",
            "what": "opt-outs or failures",
            "events": "how many it had",
            "ratio": "of its rate to the other's; null where the other's is 0",
            "p": "the chance of that without a difference",
        },
    ),
    "experiment.decided": Kind(
        "an experiment is decided, by the rule or by a person",
        "the experiment",
        {"winner": "the variant, null for nobody", "by": "who, sluice for the rule", "why": "in words"},
    ),
    "experiment.held": Kind(
        "an experiment is due and nobody has won: it waits for a person", "the experiment", {"why": "in words"}
    ),
    "experiment.stopped": Kind(
        "a person has ended an experiment without a winner: nobody gets anything more by it",
        "the experiment",
        {"by": "who", "why": "in words"},
    ),
    "run.stopped": Kind(
        "a run has passed a threshold or its budget, and stands still until somebody lets it go on",
        "the name of the run",
        {"run": "its number", "carrier": "on which alone; empty: on all", "reason": "what was passed, in words"},
    ),
    "handset.reachable": Kind(
        "the SMSC tells that a handset is to be had (alert_notification)",
        "the address of the handset",
        {
            "address": "ours, that had asked for it",
            "status": "ms_availability_status: 0 available, 1 denied, 2 unavailable; null where it was not told",
        },
    ),
}


class Event(Struct, frozen=True, kw_only=True):
    """One event, before it has its number."""

    kind: str
    at: datetime
    subject: str
    body: Mapping[str, Any]


def event(kind: str, at: datetime, subject: str, **body: Any) -> Event:
    """Make an event of the catalogue.

    body    exactly the fields of its kind; values that JSON has
    raises  ValueError: an unknown kind, or other fields than it has
    """
    known = KINDS.get(kind)
    if known is None:
        raise ValueError(f"event {kind!r}: expected one of {', '.join(KINDS)}")
    if body.keys() != known.fields.keys():
        raise ValueError(f"event {kind}: expected {', '.join(known.fields)}, found {', '.join(body) or 'nothing'}")
    return Event(kind=kind, at=at, subject=subject, body=body)
