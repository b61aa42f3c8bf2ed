"""The gate, slow and obvious: one person at a time, dicts and lists, no pages.

Held against _fastpath.gate by tests/fastpath/test_gate.py. Rules are those of Rules(...) as a dict; a contact is a dict
of kind, run, class, brand, priority, sender, tags, at_us.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.reasons import Reason

HOLD = 1


def undone(contact: Mapping[str, Any], contacts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a later act of the same run took it back or carried it out."""
    return any(
        other["run"] == contact["run"] and other["kind"] > contact["kind"] and other["at_us"] >= contact["at_us"]
        for other in contacts
    )


def counts_for(cap: tuple[Any, ...], contact: Mapping[str, Any], since_us: int) -> bool:
    """Whether a cap counts a contact."""
    _, _, _, classes, tags, brand, sender, _ = cap
    return bool(
        contact["at_us"] > since_us
        and classes >> contact["class"] & 1
        and (not tags or tags & contact["tags"])
        and brand in (-1, contact["brand"])
        and sender in (0, contact["sender"])
    )


def judge(
    person: Mapping[str, Any], rules: Mapping[str, Any], opening: Mapping[str, Any], now: int
) -> tuple[int, int | None]:
    """Decide for one person; -> (verdict, until of a hold).

    person   promotional, transactional, night (0 none 1 pending 2 granted 3 revoked), refusal, contacts; `above` where
             nothing was said of the programme: the words that he has said of its brand, by the same names
    opening  closes, opens (None = closed, none), begins and ends of day, week, month
    """
    contacts = [one for one in person["contacts"] if one["kind"] != 2 and not undone(one, person["contacts"])]
    reserved = [one for one in contacts if one["kind"] == 1 and one["run"] != rules["run"]]
    mine = any(one["kind"] == 1 and one["run"] == rules["run"] for one in contacts)
    # Who announces a run twice says no more than once.
    rivals = [
        one
        for at, one in enumerate(contacts)
        if one["kind"] == 0
        and one not in contacts[:at]
        and one["run"] != rules["run"]
        and one["priority"] < rules["priority"]
        and one["at_us"] <= now + rules["arbitration_us"]
    ]

    def wait(until: int, last: int, otherwise: int) -> tuple[int, int | None]:
        return (otherwise, None) if last == 0 or until > last else (HOLD, until)

    refusal, person = person["refusal"], person.get("above") or person
    if Reason.ERASED <= refusal <= Reason.STOP:
        return refusal, None
    if rules["needs"]:
        state = person["promotional"]
        if rules["needs"] == 2 and state != 2:
            state = person["transactional"] or state
        if state != 2:
            return {0: Reason.NO_CONSENT, 1: Reason.PENDING_CONSENT, 3: Reason.STOP}[state], None
    if refusal:
        return refusal, None
    # A local time of each zone: None = it had passed, and nobody is written to there.
    due = opening.get("due", 0)
    if due is None:
        return Reason.MISSED, None
    if due > now:
        return HOLD, due
    if rules["has_windows"]:
        is_open = opening["closes"] is not None and opening["closes"] - now >= rules["min_left_us"]
        if not is_open:
            if not rules["hold_until_us"]:
                return Reason.OUTSIDE_WINDOW, None
            if opening["opens"] is None:
                return Reason.WINDOW_EXPIRED, None
            return wait(opening["opens"], rules["hold_until_us"], Reason.WINDOW_EXPIRED)

    def free(cap: tuple[Any, ...]) -> int:
        limit, span, period = cap[:3]
        if limit == 0:
            return 2**63 - 1
        if span:
            return int(opening["ends"][span - 1])
        times = sorted((one["at_us"] for one in reserved if counts_for(cap, one, now - period)), reverse=True)
        return int(times[limit - 1]) + period if len(times) >= limit else now

    for is_legal in (True, False):
        for place, cap in enumerate(rules["caps"]):
            limit, span, period = cap[:3]
            if cap[7] != is_legal or (not is_legal and rules["has_bypass"]):
                continue
            since = opening["begins"][span - 1] - 1 if span else now - period
            had = sum(counts_for(cap, one, since) for one in reserved)
            due = sum(counts_for(cap, one, since) for one in rivals)
            if had >= limit:
                return wait(free(cap), rules["defer_until_us"], Reason.LEGAL_CAP if is_legal else -100 - place)
            if due and not mine and had + due >= limit:
                return wait(now + rules["arbitration_us"], rules["defer_until_us"], Reason.ARBITRATION_LOST)
    last = max((one["at_us"] for one in reserved if one["class"] != 2), default=None)
    if rules["gap_us"] and not rules["has_bypass"] and last is not None and last + rules["gap_us"] > now:
        return wait(last + rules["gap_us"], rules["defer_until_us"], Reason.MIN_GAP)
    return 0, None
