"""The nouns on the path: states of a message, reasons why one never left.

    queued → claimed → submitted → delivered | undeliverable | expired | rejected | unknown | no_receipt
                  ╲→ refused (ours)      ╲→ partial (some parts taken, one rejected: the rest is not sent)
                                         ╲→ uncertain (the octets left, no answer came) → by the campaign's policy

A state is never stored: it follows from the rows of `outcome` and `receipt` (store/sql/results.sql).
"""

from enum import IntEnum, StrEnum
from typing import Annotated, Literal

from msgspec import Meta, Struct

Port = Annotated[int, Meta(ge=0, le=65535)]


class Refusal(IntEnum):
    """Values of outcome.status below 0: what we decided ourselves. Those of _fastpath/outbound.pxd are the same."""

    UNCERTAIN = -1
    NOT_ENCODABLE = -10
    TOO_MANY_PARTS = -11
    MISSING_FIELD = -12
    EXPIRED = -13
    EMPTY = -14
    INVALID_TLV = -15
    # Who it is for has said STOP.
    SUPPRESSED = -16
    # Another part of the message was refused for good: this one would be a fragment.
    ABANDONED = -17
    # Its run was cancelled before it left.
    CANCELLED = -18
    NO_ROUTE = -20


class Policy(StrEnum):
    """What happens to a segment whose octets left and whose answer never came.

    once           never sent again; a receipt may still settle it
    at_least_once  sent again after the evidence period, marked as a possible duplicate
    ask            held until a person decides
    """

    ONCE = "once"
    AT_LEAST_ONCE = "at_least_once"
    ASK = "ask"


class Encoding(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a run asks for beside its text; column `encoding` of `run`, as JSON.

    flash             shown at once and not kept (class 0)
    binary            the text is hexadecimal digits, the message their octets
    destination_port  of an application on the handset, with source_port; both of port_bits
    max_parts         of a message, where its carrier would take more; 0 = what the carrier takes (TP-10)
    """

    flash: bool = False
    binary: bool = False
    destination_port: Port | None = None
    source_port: Port = 0
    port_bits: Literal[8, 16] = 16
    max_parts: Annotated[int, Meta(ge=0, le=255)] = 0


class ReceiptPolicy(StrEnum):
    """How the state of a message follows from those of its segments.

    all    delivered when every one is; nothing is said of it before each has its end
    any    delivered when one is; until then pending, and failed when none can be
    worst  the worst of them, as soon as it is known
    last   that of the last segment
    """

    ALL = "all"
    ANY = "any"
    WORST = "worst"
    LAST = "last"


class MessageClass(IntEnum):
    """What may overtake what: a lower number goes first."""

    OTP = 0
    COMPLIANCE = 1
    CONVERSATION = 2
    TRANSACTIONAL = 3
    TRIGGERED = 4
    BULK = 5


class ChunkState(IntEnum):
    """Where a chunk stands in the queue. MOVED: what was left of it went to another lane."""

    READY = 0
    CLAIMED = 1
    DONE = 2
    HELD = 3
    CANCELLED = 4
    MOVED = 5


# message_state of SMPP 5.0 §4.7.15 as stored in receipt.state; -1 = a word the table does not know.
RECEIPT_STATES = {
    0: "scheduled",
    1: "enroute",
    2: "delivered",
    3: "expired",
    4: "deleted",
    5: "undeliverable",
    6: "accepted",
    7: "unknown",
    8: "rejected",
    9: "skipped",
    -1: "unknown",
}
# UNKNOWN is no final word: it stands until another comes.
FINAL_RECEIPT_STATES = (2, 3, 4, 5, 8, 9)


def literal(text: str) -> str:
    """A template that says just this, whatever braces are in it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'{{{{ "{escaped}" }}}}'
