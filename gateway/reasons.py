"""Why a message went or did not: the closed list. Every considered (person, message) ends in exactly one of them.

A reason is a value of `outcome.status`: above 0 the SMSC's own word, 0 accepted, below 0 ours. Those the path itself
finds (an expired message, too many parts) are gateway.message.Refusal; those of the gate stand here, with the rule that
asks for each. A cap has a value of its own for each rule of its run, since people ask which one it was.
Not here: who decides (campaign.admission), what is counted (store/results.py).
"""

from collections.abc import Sequence
from enum import IntEnum

from gateway.message import Refusal

# The first cap of a run is −100, the second −101 …
FIRST_CAP = -100
MOST_CAPS = 16


class Reason(IntEnum):
    """What the gate refuses for; a hold is none of them, for it is no end."""

    NO_CONSENT = -30
    PENDING_CONSENT = -31
    STOP = -32
    COMPLAINT = -33
    INVALID = -34
    SUNSET = -35
    LEGAL = -36
    AGE = -37
    CARRIER = -38
    ERASED = -39
    EXCEPTION = -40
    GOAL_MET = -41
    AUDIENCE_LEFT = -42
    CAMPAIGN_ENDED = -43
    PAUSED = -44
    OUTSIDE_WINDOW = -45
    WINDOW_EXPIRED = -46
    LATE = -47
    MISSED = -48
    MIN_GAP = -49
    LEGAL_CAP = -50
    ARBITRATION_LOST = -51
    DUPLICATE_ENDPOINT = -52
    ABORT = -53
    COUPON_EMPTY = -54
    LINK_ERROR = -55
    COUNTRY_BLOCKED = -56
    BUDGET = -57
    TEST_ONLY = -58
    CONTROL_GROUP = -59
    LOOP_GUARD = -60
    NO_NUMBER = -61


# Reason → (word of the closed list, rule that asks for it).
WORDS: dict[int, tuple[str, str]] = {
    Reason.NO_CONSENT: ("no_consent", "CN-2"),
    Reason.PENDING_CONSENT: ("pending_consent", "CN-4"),
    Reason.STOP: ("suppressed:stop", "CN-10"),
    Reason.COMPLAINT: ("suppressed:complaint", "CN-11"),
    Reason.INVALID: ("suppressed:invalid", "CN-11"),
    Reason.SUNSET: ("suppressed:sunset", "CN-11"),
    Reason.LEGAL: ("suppressed:legal", "CN-11"),
    Reason.AGE: ("suppressed:age", "CN-11"),
    Reason.CARRIER: ("suppressed:carrier", "CN-7"),
    Reason.ERASED: ("suppressed:erased", "CN-12"),
    Reason.EXCEPTION: ("exception", "EX-2"),
    Reason.GOAL_MET: ("goal_met", "GL-7"),
    Reason.AUDIENCE_LEFT: ("segment_left", "SG-6"),
    Reason.CAMPAIGN_ENDED: ("campaign_ended", "TR-9"),
    Reason.PAUSED: ("paused", "WF-9"),
    Reason.OUTSIDE_WINDOW: ("outside_window", "QH-5"),
    Reason.WINDOW_EXPIRED: ("window_expired", "QH-5"),
    Reason.LATE: ("late", "DL-2"),
    Reason.MISSED: ("missed", "TR-7"),
    Reason.MIN_GAP: ("min_gap", "CP-1"),
    Reason.LEGAL_CAP: ("legal_cap", "CP-7"),
    Reason.ARBITRATION_LOST: ("arbitration_lost", "CP-4"),
    Reason.DUPLICATE_ENDPOINT: ("duplicate_endpoint", "TH-9"),
    Reason.ABORT: ("abort", "TP-2"),
    Reason.COUPON_EMPTY: ("coupon_empty", "TP-5"),
    Reason.LINK_ERROR: ("link_error", "TP-6"),
    Reason.COUNTRY_BLOCKED: ("country_blocked", "CN-11"),
    Reason.BUDGET: ("budget", "TH-5"),
    Reason.TEST_ONLY: ("test_only", "TP-13"),
    Reason.CONTROL_GROUP: ("control_group", "AB-6"),
    Reason.LOOP_GUARD: ("loop_guard", "WF-7"),
    Reason.NO_NUMBER: ("no_number", "SG-10"),
    Refusal.UNCERTAIN: ("unknown_outcome", "TH-8"),
    Refusal.NOT_ENCODABLE: ("abort:not_encodable", "TP-9"),
    Refusal.TOO_MANY_PARTS: ("too_long", "TP-10"),
    Refusal.MISSING_FIELD: ("render_missing", "TP-2"),
    Refusal.EXPIRED: ("expired", "TH-6"),
    Refusal.EMPTY: ("abort:empty", "TP-2"),
    Refusal.INVALID_TLV: ("abort:invalid_tlv", "TP-2"),
    Refusal.SUPPRESSED: ("suppressed_after_claim", "CN-10"),
    Refusal.ABANDONED: ("abort:part_refused", "CN-10"),
    Refusal.CANCELLED: ("campaign_ended:cancelled", "TR-9"),
    Refusal.NO_ROUTE: ("no_route", "TH-4"),
}

# What stands in stop_feed.source and is not a person's own word → the reason it gives.
BY_SOURCE: dict[str, Reason] = {
    "complaint": Reason.COMPLAINT,
    "invalid": Reason.INVALID,
    "landline": Reason.INVALID,
    "recycled": Reason.INVALID,
    "sunset": Reason.SUNSET,
    "legal": Reason.LEGAL,
    "age": Reason.AGE,
    "carrier": Reason.CARRIER,
    "erased": Reason.ERASED,
}


def of_source(source: str) -> Reason:
    """Return why a number is suppressed by what entered it into the feed of STOPs."""
    return BY_SOURCE.get(source, Reason.STOP)


def cap(place: int) -> int:
    """Return the status of the cap at a place of a run's rules, from 0."""
    if not 0 <= place < MOST_CAPS:
        raise ValueError(f"cap: expected a place from 0 to {MOST_CAPS - 1}, got {place}")
    return FIRST_CAP - place


def word_of(status: int, caps: Sequence[str] = ()) -> str:
    """Name the end that a status is, as the closed list has it; "" for an accepted message.

    caps  of its run, as they are written, in their order
    """
    if status == 0:
        return ""
    if status > 0:
        return f"smsc:{status:#06x}"
    if FIRST_CAP - MOST_CAPS < status <= FIRST_CAP:
        place = FIRST_CAP - status
        return f"cap:{caps[place] if place < len(caps) else place}"
    return WORDS[status][0] if status in WORDS else f"unknown:{status}"


def rule_of(status: int) -> str:
    """Name the rule that asks for a reason; "" where the SMSC has spoken."""
    if FIRST_CAP - MOST_CAPS < status <= FIRST_CAP:
        return "CP-1"
    return WORDS[status][1] if status in WORDS else ""
