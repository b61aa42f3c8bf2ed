"""The rules of consent: how the facts of a number make its state, what a grant needs, when it may be asked.

    rows of one number ─► states_at ─► by brand and class: none | pending | granted | revoked
    a new row          ─► problems  ─► [] or what is missing, by field         CN-3
    a YES              ─► confirmed ─► the rows that it makes                  CN-4

State is the latest row by the time that it holds from; at one time a revoke beats a grant (CN-2). A no of a brand
reaches its programmes (NAME/PROGRAMME), a no of * every brand; a yes of a brand reaches a programme that nothing else
was said of, and a yes of a programme itself alone (CN-7). A no of unknown time is later than any import.
Not here: the chain (gateway/consent.py), where rows are kept (store/consents.py), who may be written to (admission).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, get_args

from gateway.consent import CLASSES, EVERYTHING, Action, Class, Fact, Source, Standing, State, reach_of

# A request that is not answered by then is refused (CN-4); after a request no other for so long.
ANSWER_WITHIN = timedelta(hours=24)
ASK_AGAIN_AFTER = timedelta(days=90)
_GIVES = ("grant", "confirm")
_LIFTS_ALL = ("command", "agent", "manual")
# Sources of the feed behind which a person stands who asked for it.
_ASKED = ("keyword", "command", "api", "import", "agent", "manual")


def problems(fact: Fact) -> list[tuple[str, str, str]]:
    """What a row lacks: (field, expected, found); [] = it may be appended (CN-3)."""
    found = []
    if fact.number <= 0:
        found.append(("number", "a phone number", str(fact.number)))
    if not fact.brand.strip():
        found.append(("brand", "the brand or programme by name", "nothing"))
    if fact.action in _GIVES or fact.action == "pending":
        if fact.brand == EVERYTHING:
            found.append(("brand", "a brand or programme by name: consent is to somebody", EVERYTHING))
        if fact.class_ == "all":
            found.append(("class", "one of promotional, transactional, night", "all"))
        if fact.effective_at is None:
            found.append(("effective_at", "when consent was given", "nothing"))
        elif fact.effective_at > fact.recorded_at:
            found.append(("effective_at", "a time that has been", fact.effective_at.isoformat()))
        if not fact.wording.strip() and fact.source != "keyword":
            found.append(("wording", "the words that were shown, which name text messages", "nothing"))
        if not fact.method.strip():
            found.append(("method", "how it was given: a box ticked, a keyword sent, a paper signed", "nothing"))
    return found


def states_of(facts: Sequence[Fact]) -> dict[str, Standing]:
    """Fold the rows of one number, in the order they were recorded; -> by brand, programmes among them."""
    return _folded(facts, None)


def states_at(facts: Sequence[Fact], now: datetime) -> dict[str, Standing]:
    """Fold them as they stand at a moment: a request that nobody has answered for a day is none any more (CN-4)."""
    return _folded(facts, now)


def agrees(kept: Mapping[str, Standing], facts: Sequence[Fact], now: datetime) -> bool:
    """Say whether what is kept follows from the rows; a request that is over may stand there for a minute."""
    of, at = states_of(facts), states_at(facts, now)
    return kept.keys() == of.keys() and all(one in (of[brand], at[brand]) for brand, one in kept.items())


def _folded(facts: Sequence[Fact], now: datetime | None) -> dict[str, Standing]:
    brands = sorted({fact.brand for fact in facts if fact.action != "suppress"})
    found = {}
    for brand in brands:
        rows = [fact for fact in facts if _reaches(fact, brand)]
        states = [_state(rows, brand, class_) for class_ in CLASSES]
        if now is not None:
            states = [(State.NONE, None) if _is_over(*one, now) else one for one in states]
        (promotional, since), (transactional, _), (night, _) = states
        found[brand] = Standing(promotional, transactional, night, since)
    return found


def _is_over(state: State, since: datetime | None, now: datetime) -> bool:
    return state == State.PENDING and state_now(state, since, now) != State.PENDING


def state_now(state: State, since: datetime | None, now: datetime) -> State:
    """A request that was not answered in time is a refusal (CN-4)."""
    if state == State.PENDING and since is not None and now - since >= ANSWER_WITHIN:
        return State.NONE
    return state


def may_ask(
    facts: Iterable[Fact], brand: str, now: datetime, class_: str = "promotional", *, is_once: bool = False
) -> bool:
    """Whether a number may be asked for its consent (CN-4): not after a no, nor within 90 days of a request.

    is_once  its country lets nobody ask a second time
    """
    rows = [fact for fact in facts if _reaches(fact, brand)]
    if _state(rows, brand, class_)[0] in (State.GRANTED, State.REVOKED):
        return False
    asked = [_time(fact) for fact in rows if fact.action == "pending"]
    return not asked or (not is_once and now - max(asked) >= ASK_AGAIN_AFTER)


def asks_twice(fact: Fact, is_double: bool) -> bool:
    """Say whether a grant of a file counts only when its handset has said YES to a request of ours (CN-4).

    is_double  its country asks for it; who says how it was done twice already, has the proof
    """
    is_done = re.search(r"double[ -]?opt[ -]?in", fact.method, re.IGNORECASE) is not None
    return is_double and fact.action == "grant" and fact.source in ("import", "form") and not is_done


def request(
    number: int, brand: str, class_: Class, *, words: str, sender: str, by: str, now: datetime, source: Source = "agent"
) -> Fact:
    """Make the row of a request that leaves now.

    words   of its text: the first proof
    sender  that it comes from, and that is answered to
    """
    return Fact(
        number=number, brand=brand, class_=class_, action="pending", source=source, method="asked by text",
        wording=words, url=f"sms:{sender}" if sender else "", agent=by, effective_at=now, recorded_at=now,
    )  # fmt: skip


def answered(facts: Sequence[Fact], now: datetime, destination: str) -> list[str]:
    """Name the brands whose request a YES answers: those asked from where it is written to; else the only one."""
    waiting = {fact.brand: fact for fact in facts if fact.action == "pending" and now - _time(fact) < ANSWER_WITHIN}
    same = [brand for brand, fact in waiting.items() if fact.url and _bare(fact.url) == _bare(destination)]
    return sorted(same or (waiting if len(waiting) == 1 else ()))


def _bare(address: str) -> str:
    """An address as it is compared: without its scheme, a + and what parts digits."""
    text = address.removeprefix("sms:").casefold()
    digits = re.sub(r"[\s().+-]", "", text)
    return (digits.removeprefix("00") or digits) if digits.isdecimal() else text


def confirmed(
    facts: Sequence[Fact], now: datetime, message_id: int | None, wording: str, brands: Iterable[str] = ()
) -> list[Fact]:
    """The rows that a YES of the handset makes: one for each request that waits and is not too old (CN-4).

    wording  what it wrote: the second proof, beside that of the request
    brands   only these; by default all that wait
    """
    made = []
    wanted = set(brands)
    for brand in sorted({fact.brand for fact in facts if fact.action == "pending"}):
        rows = [fact for fact in facts if _reaches(fact, brand)]
        for class_ in CLASSES:
            state, since = _state(rows, brand, class_)
            if state_now(state, since, now) != State.PENDING or (wanted and brand not in wanted):
                continue
            asked = max((f for f in rows if f.action == "pending" and f.class_ == class_), key=_time)
            made.append(
                Fact(
                    number=asked.number, brand=brand, class_=asked.class_, action="confirm", source="keyword",
                    method="double opt-in", wording=f"{asked.wording}\n{wording}", effective_at=now, recorded_at=now,
                    wording_version=asked.wording_version, url=asked.url, message_id=message_id,
                )
            )  # fmt: skip
    return made


def proof_of_stop(entry: Mapping[str, Any]) -> Fact:
    """The row that proves an entry of the feed of STOPs: seq, number, at, is_stop, scope, source, note.

    What a person asked for, by handset or by way of somebody, takes consent back or restores it; any other entry says
    why a number is suppressed, and leaves its consent as it was (CN-11).
    """
    source = entry["source"]
    is_persons = source in _ASKED
    is_promotional = entry["scope"] == "promotional"
    action: Action = ("revoke" if is_persons else "suppress") if entry["is_stop"] else "release"
    return Fact(
        number=entry["number"], brand=EVERYTHING if is_promotional else entry["scope"],
        class_="promotional" if is_promotional else "all", action=action,
        source=source if source in get_args(Source) else "api", method="feed of STOPs", wording=entry["note"],
        effective_at=entry["at"], recorded_at=entry["at"], entry=entry["seq"],
    )  # fmt: skip


def _reaches(fact: Fact, brand: str) -> bool:
    return fact.brand == EVERYTHING or fact.brand in reach_of(brand)


def _time(fact: Fact) -> datetime:
    return fact.effective_at or fact.recorded_at


def _state(rows: Sequence[Fact], brand: str, class_: str) -> tuple[State, datetime | None]:
    """How a brand or programme stands by the rows that reach it; the order in which they were recorded says nothing."""
    of_class = [fact for fact in rows if fact.class_ in (class_, "all")]
    releases = [fact for fact in of_class if fact.action == "release"]
    # A START lifts what the handset itself has stopped (CN-9), a program what it has
    # entered, and a person who answers for it any.
    counted = [
        fact
        for fact in of_class
        if fact.action != "revoke"
        or not any(one.source in (fact.source, *_LIFTS_ALL) and _time(one) >= _time(fact) for one in releases)
    ]
    # What nobody knows the time of may be later than anything that a file says.
    if any(fact.action == "revoke" and fact.effective_at is None for fact in counted):
        counted = [fact for fact in counted if fact.action not in _GIVES or fact.source != "import"]
    above: tuple[State, datetime | None] = (State.NONE, None)
    for name in (EVERYTHING, *reach_of(brand)):
        above = _below(above, _latest([fact for fact in counted if fact.brand == name]))
    return above


def _latest(rows: Sequence[Fact]) -> tuple[State, datetime | None]:
    """What the rows of one name say, of themselves."""
    revoked = max((_time(fact) for fact in rows if fact.action == "revoke"), default=None)
    granted = max((_time(fact) for fact in rows if fact.action in _GIVES), default=None)
    if revoked is not None and (granted is None or revoked >= granted):
        return State.REVOKED, revoked
    if granted is not None:
        return State.GRANTED, granted
    asked = max((_time(fact) for fact in rows if fact.action == "pending"), default=None)
    return (State.NONE, None) if asked is None else (State.PENDING, asked)


def _below(above: tuple[State, datetime | None], own: tuple[State, datetime | None]) -> tuple[State, datetime | None]:
    """What is so of a programme, given what is so of all that it is part of, and what was said of itself (CN-7)."""
    (wide, wide_since), (state, since) = above, own
    if since is None:
        return above
    if wide != State.REVOKED or wide_since is None:
        # A yes to all of it takes no word back that was said of this alone.
        return own
    # A no to all of it ends what was said of this before, and no request puts an end to a no.
    return above if state == State.PENDING or since <= wide_since else own


def merged(states: Mapping[str, Standing], brand: str) -> Standing:
    """How a number stands with a brand or programme, which may have no row of its own: as the next above it (CN-7)."""
    none = Standing(State.NONE, State.NONE, State.NONE, None)
    for name in reversed(reach_of(brand)):
        if name in states:
            return states[name]
    # Consent is to somebody: of everything only a no holds.
    every = states.get(EVERYTHING, none)
    no = [
        state if state == State.REVOKED else State.NONE
        for state in (every.promotional, every.transactional, every.night)
    ]
    return Standing(no[0], no[1], no[2], every.since)
